"""Physical noise models on arrays, one file per sensor principle."""

from typing import Final

PLUGINS: Final = (
    "active_stereo",
    "dexnet",
    "gaussian_dropout",
    "lidar",
    "matched_stereo",
    "matched_structured_light",
    "redwood",
    "structured_light",
    "time_of_flight",
)
"""Names of the modules that hold a sensor each; the others serve them."""
