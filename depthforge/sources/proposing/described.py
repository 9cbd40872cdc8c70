"""A source block as it grows: its fields in order, why each is as it is, what is to fill in and what is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from depthforge.yaml_files import FILL_IN

__all__ = ["FILL_IN", "Described", "number"]


@dataclass
class Described:
    """The fields of a source block in order, comments before each, what is to fill in, what could not be known."""

    block: dict[str, Any]
    comments: dict[str, list[str]] = field(default_factory=dict)
    fill_in: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    greatest_m: float = 0.0

    def say(self, name: str, *lines: str) -> None:
        """Add comments to a field."""
        self.comments.setdefault(name, []).extend(lines)


def number(value: float) -> int | float:
    """Return a number as a person writes it: without a point where it is whole."""
    return int(value) if value == int(value) else value
