"""Clean Frame to noisy depth, one file per method; see ``base.Translator`` for the contract."""

from typing import Final

PLUGINS: Final = (
    "coupled",
    "cut",
    "cyclegan",
    "dcl",
    "hybrid",
    "identity",
    "simulation",
)
"""Names of the modules that hold a translator each; the others serve them."""
