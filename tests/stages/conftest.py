"""Tiny runs: procedural rooms at 96x72 through a named translator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from depthforge.manifest import Manifest, parse_manifest
from tests.stages.runs import TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Manifest]:
    """Return a maker of tiny manifests; keyword arguments replace top-level fields, ``out`` the output."""

    def make(*, out: Path | None = None, **changes: Any) -> Manifest:
        value = {**TINY, **changes}
        corpus = {**TINY["corpus"], **changes.get("corpus", {}), "out": str(out or tmp_path / "corpus")}
        return parse_manifest({**value, "corpus": corpus}, where="test")

    return make
