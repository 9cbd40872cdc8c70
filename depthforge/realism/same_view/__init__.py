"""A sensor and its simulation held against each other in the same view; see ``comparison`` for the whole of it."""
