"""Read an image file: its stages, their instructions, and what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Instruction", "Stage", "environment_of", "read_stages"]


@dataclass(frozen=True)
class Instruction:
    """One instruction with its lines joined; ``name`` in capitals."""

    name: str
    value: str


@dataclass
class Stage:
    """A base image and what is done to it, in order."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return the values of every instruction ``name``."""
        return [item.value for item in self.instructions if item.name == name]


def read_stages(path: Path) -> list[Stage]:
    """Return the stages of an image file; raises ValueError on what is no instruction."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in text.splitlines():
        match = re.fullmatch(r"([A-Z]+)\s+(.+)", line)
        if match is None:
            raise ValueError(f"{path}: not an instruction: {line!r}")
        name, value = match.groups()
        if name == "FROM":
            base, _, alias = value.partition(" AS ")
            stages.append(Stage(base, alias or None))
        else:
            stages[-1].instructions.append(Instruction(name, value))
    return stages


def environment_of(stage: Stage) -> dict[str, str]:
    """Return the variables that the stage sets, in order, as they are written."""
    return {name: value.strip('"') for item in stage.all("ENV") for name, value in re.findall(r"(\w+)=(\S+)", item)}
