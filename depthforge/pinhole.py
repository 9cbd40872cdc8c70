"""A camera in a user's file: in the block of a source whose files hold none, and in a sensor's preset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from depthforge.frame import Camera

__all__ = ["PinholeBlock"]


class PinholeBlock(BaseModel):
    """A pinhole camera, in pixels; the centre of the first pixel is (0, 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    width: int = Field(gt=0, le=16384, description="of the depth images")
    height: int = Field(gt=0, le=16384)
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float

    def camera(self) -> Camera:
        """Return it as the house's Camera."""
        return Camera(self.fx, self.fy, self.cx, self.cy, self.width, self.height)
