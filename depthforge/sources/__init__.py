"""One file per dataset, all yielding Frames; see ``base.Source`` for the contract."""
