"""Writers of procedural scenes in a dataset's own layout on disk, one file per layout; see ``base.Layout``."""
