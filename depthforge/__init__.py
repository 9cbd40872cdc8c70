"""Clean depth in, sensor-real depth out, every label carried.

``import depthforge`` is light: torch, ray and open3d load only when something that needs them is used.
``depthforge.simulate`` runs one array or batch through a simulated sensor; see ``depthforge.simulating``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthforge.simulating import simulate as simulate

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from depthforge.simulating import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
