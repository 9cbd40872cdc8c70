"""``python -m depthforge`` is the command line."""

from depthforge.cli.main import main

main()
