"""What ``reframe`` cannot give: pixels beyond the view of the data set's frames, and detail that they do not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from depthforge.frame import Finding, Frame
from depthforge.labels.sampling import onto_camera

__all__ = ["reframing_findings"]

_MOST_ENLARGED: Final = 1.5


def reframing_findings(frames: Iterable[Frame]) -> Iterator[Finding]:
    """Yield a warning where reframed ``frames`` have an empty border, and one where they are enlarged too far."""
    least_covered, most_enlarged = 1.0, 1.0
    first: Frame | None = None
    for frame in frames:
        if frame.reframed_from is None:
            continue
        first = first or frame
        sampling = onto_camera(frame.reframed_from, frame.camera)
        least_covered = min(least_covered, sampling.covered)
        most_enlarged = max(most_enlarged, sampling.columns.scale, sampling.rows.scale)
    if first is None or first.reframed_from is None:
        return
    if least_covered < 1:
        yield Finding(
            "warning",
            first.key,
            f"the camera of `reframe` sees more than the frames do: up to {1 - least_covered:.1%} of its pixels have "
            "no depth",
            "render with a wider field of view, or reframe to a camera with a narrower one",
        )
    if most_enlarged > _MOST_ENLARGED:
        yield Finding(
            "warning",
            first.key,
            f"`reframe` enlarges the frames {most_enlarged:.2g} times: the sensor would see more detail than they have",
            f"render at a focal length of {first.camera.fx:.0f} px or more",
        )
