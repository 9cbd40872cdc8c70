"""The shipped test kit: a plug-in author inherits a class of tests and gets the whole battery."""
