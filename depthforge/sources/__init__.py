"""One file per dataset, all yielding Frames; see ``base.Source`` for the contract.

``check_source`` says whether a data set on disk is complete and readable; it is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthforge.sources._check import CheckReport, check_source

__all__ = ["CheckReport", "check_source"]


def __getattr__(name: str) -> Any:
    # The check needs OpenCV-sized imports; `import depthforge.sources.base` must stay light.
    if name in __all__:
        from depthforge.sources import _check

        return getattr(_check, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
