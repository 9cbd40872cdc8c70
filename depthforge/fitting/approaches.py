"""How each sensor is fitted: by a recipe of stages, or by an estimator of its own."""

from __future__ import annotations

from typing import Final

from depthforge.errors import InputError
from depthforge.fitting.dexnet import DexNetEstimator
from depthforge.fitting.estimators import Estimator
from depthforge.fitting.lidar import LidarEstimator
from depthforge.fitting.recipes import RECIPES, Recipe
from depthforge.sensors.base import Sensor

__all__ = ["PLANS", "plan_for"]

PLANS: Final[dict[str, Recipe | Estimator]] = {**RECIPES, "dexnet": DexNetEstimator(), "lidar": LidarEstimator()}


def plan_for(sensor: Sensor) -> Recipe | Estimator:
    """Return how a sensor is fitted; InputError for one whose parameters scans cannot tell."""
    plan = PLANS.get(sensor.name)
    if plan is None:
        raise InputError(
            f"the sensor {sensor.name} has no parameters that are fitted",
            where="SENSOR",
            expected=f"one of: {', '.join(sorted(PLANS))}, or a preset of one of them",
            found=sensor.name,
            remedy="write its preset by hand; depthforge.fitting.approaches says what a fit needs",
        )
    return plan
