"""What a sensor brings that is not fitted by stages: parameters in its own way, and curves to be judged by.

The stages (``recipes``) need a clean guess of each scan, and parameters that one candidate after another can be tried
for. Where a scan allows no guess, as the rows of a lidar, or where parameters are told directly, a sensor has an
estimator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from depthforge.fitting.burst import Burst
from depthforge.fitting.candidates import Target
from depthforge.fitting.scan_curves import Curves
from depthforge.fitting.scans import Scans
from depthforge.frame import Frame
from depthforge.sensors.base import Sensor

__all__ = ["CurveKind", "Estimate", "Estimator"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CurveKind:
    """How a curve is shown: what its places are, its unit, and how its stretched values are turned into that."""

    places_are: str
    unit: str
    places: Callable[[int], Float64]
    in_unit: Callable[[Float64], Float64]
    log_places: bool = False


@dataclass(frozen=True)
class Estimate:
    """Parameters as found, and for those that were not, why they keep the value that the fit starts from."""

    values: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)


class Estimator(Protocol):
    """A sensor's own way to its parameters."""

    @property
    def kinds(self) -> Mapping[str, CurveKind]:
        """The curves that it is judged by."""

    @property
    def fewest_frames(self) -> int:
        """How many scans it needs, held out ones included."""

    @property
    def most_burst_frames(self) -> int:
        """How many frames of a static burst it uses; 0 when a burst says nothing."""

    @property
    def shares_factor(self) -> bool:
        """Whether all depths of a frame may share a factor, which a burst is freed of."""

    @property
    def uses_truth(self) -> bool:
        """Whether the truth of the views that it is given scans of says anything to it."""

    def require(self, frames: Sequence[Frame], unit_m: float, where: str) -> None:
        """Raise InputError for scans that cannot be this sensor's."""

    def estimate(self, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]) -> Estimate:
        """Find what the scans tell; InputError when that is nothing."""

    def curves_of_fit(
        self, frames: Sequence[Frame], unit_m: float, start: Sensor, fitted: Sensor
    ) -> tuple[Target, Curves, Curves]:
        """Return the curves of scans, and those of the sensor before and after, simulated on them."""
