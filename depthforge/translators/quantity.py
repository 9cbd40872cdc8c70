"""What a network is told of a distance: planar z, the length of the ray, or inverse depth; to the network and back.

``z`` is what sensors and corpora give. ``ray`` is what DCL's published weights were trained on: its loader reads
InteriorNet's images as they lie, which hold the length of the ray. ``disparity`` is inverse depth: a stereo or
structured-light camera's noise and steps are of one size there, at every distance, and a hole (0) is next to what is
infinitely far instead of next to the lens.

Whatever the quantity, the network sees it as a share of its range, 0 where there is no measurement. Exact there and
back but for the rounding of two float32 operations; 640x480: under 1 ms.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from depthforge.frame import BoolImage, Camera, DepthImage, Frame
from depthforge.geometry import ray_length_to_z, z_to_ray_length
from depthforge.networks.ending import Steps
from depthforge.training.translator_card import Normalisation

__all__ = ["DepthSteps", "Shares", "depth_of", "shares_of", "steps_of"]

Float32 = npt.NDArray[np.float32]


class Shares(NamedTuple):
    """Depth as a network has it: ``share`` (H, W) float32 of the range, 0 for holes; ``unit``, what 1 is: m, or 1/m."""

    share: Float32
    unit: float


class DepthSteps(BaseModel):
    """The values of depth that a sensor can give: even steps of depth, or of a camera's disparity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step_m: float | None = Field(default=None, gt=0, description="metres from one depth to the next")
    disparity_m_px: float | None = Field(
        default=None, gt=0, description="focal length in pixels x baseline in metres: steps are of its disparity"
    )
    steps_per_px: float = Field(default=8.0, gt=0, description="steps of disparity in a pixel; a Kinect v1 has 8")

    @model_validator(mode="after")
    def _one_of_both(self) -> DepthSteps:
        if (self.step_m is None) == (self.disparity_m_px is None):
            raise ValueError("give step_m (steps of depth) or disparity_m_px (steps of disparity), one of the two")
        return self


def shares_of(frame: Frame, scale: Normalisation) -> Shares:
    """Return what a network sees of the depth of ``frame``: 0 for holes, and for what is out of the range."""
    depth_m, valid = frame.depth_m, frame.valid
    if scale.quantity == "disparity":
        return _inverse(depth_m, valid, scale)
    if scale.quantity == "ray":
        depth_m = z_to_ray_length(depth_m, frame.camera)
    if scale.max_depth_m is not None:
        unit = scale.max_depth_m
        valid = valid & (depth_m <= unit)
    else:
        unit = float(depth_m.max(where=valid, initial=0.0)) or 1.0
    return Shares(np.where(valid, depth_m / np.float32(unit), np.float32(0)), unit)


def depth_of(found: Shares, valid: BoolImage, camera: Camera, scale: Normalisation) -> DepthImage:
    """Return planar depth (H, W) float32, metres, of what a network gave, 0 where not ``valid``.

    Where ``valid``, shares are above 0.
    """
    if scale.quantity == "disparity":
        return np.divide(np.float32(1 / found.unit), found.share, out=np.zeros_like(found.share), where=valid)
    depth_m = np.where(valid, found.share * np.float32(found.unit), np.float32(0))
    return ray_length_to_z(depth_m, camera) if scale.quantity == "ray" else depth_m


def _inverse(depth_m: DepthImage, valid: BoolImage, scale: Normalisation) -> Shares:
    if scale.min_depth_m is not None and scale.max_depth_m is not None:
        nearest_m = np.float32(scale.min_depth_m)
        valid = valid & (depth_m >= nearest_m) & (depth_m <= scale.max_depth_m)
    else:
        nearest_m = np.float32(depth_m.min(where=valid, initial=np.inf)) if valid.any() else np.float32(1)
    share = np.divide(nearest_m, depth_m, out=np.zeros_like(depth_m), where=valid)
    return Shares(share, 1 / float(nearest_m))


def steps_of(quantiser: DepthSteps | None, scale: Normalisation) -> Steps | None:
    """Return the steps of a sensor as shares of the range; ValueError where shares do not have them.

    Along rays a step is another share in every pixel, and with each image's own maximum another in every image.
    """
    if quantiser is None:
        return None
    if scale.mode != "fixed" or scale.quantity == "ray":
        raise ValueError("a quantiser wants `normalisation: fixed` and `quantity: z` or `disparity`")
    return Steps(*_spacing(quantiser, scale))


def _spacing(quantiser: DepthSteps, scale: Normalisation) -> tuple[Literal["even", "inverse"], float]:
    if scale.quantity == "disparity":
        assert scale.min_depth_m is not None
        if quantiser.step_m is not None:
            return "inverse", scale.min_depth_m / quantiser.step_m
        return "even", scale.min_depth_m / _steps_m(quantiser)
    assert scale.max_depth_m is not None
    if quantiser.step_m is not None:
        return "even", quantiser.step_m / scale.max_depth_m
    return "inverse", _steps_m(quantiser) / scale.max_depth_m


def _steps_m(quantiser: DepthSteps) -> float:
    """Return at how many metres a step of disparity is one: depth is that over the number of steps."""
    assert quantiser.disparity_m_px is not None
    return quantiser.disparity_m_px * quantiser.steps_per_px
