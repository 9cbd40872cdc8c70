"""Compiled functions work where nothing can be cached: a read-only package, and a user without a home."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba.core import caching

from depthforge.kernels import njit


def test_without_a_place_for_a_cache_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])

    def doubled(value: int) -> int:
        return 2 * value

    assert njit()(doubled)(21) == 42


def test_no_module_asks_numba_itself_for_a_cache(repository: Path) -> None:
    """Defect: four decoders of labels and of compressed depth could not be imported by a user without a home."""
    asking = [path.name for path in (repository / "depthforge").rglob("*.py") if "cache=True" in path.read_text()]
    assert asking == ["kernels.py"]
