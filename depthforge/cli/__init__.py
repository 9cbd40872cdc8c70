"""The command line: a file per command, each a thin skin on one library function."""
