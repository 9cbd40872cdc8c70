"""A camera that the manifest states, where the files of a data set hold none."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from depthforge.frame import Camera

__all__ = ["PinholeBlock"]


class PinholeBlock(BaseModel):
    """The pinhole of every frame, in pixels; the centre of the first pixel is (0, 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(gt=0, le=16384, description="of the depth images")
    height: int = Field(gt=0, le=16384)
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float

    def camera(self) -> Camera:
        """Return it as the house's Camera."""
        return Camera(self.fx, self.fy, self.cx, self.cy, self.width, self.height)
