"""Clean Frame to noisy depth, one file per method; see ``base.Translator`` for the contract."""
