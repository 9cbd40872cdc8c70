"""Batches of random crops, each a pure function of (seed, step, worker).

No state is kept between steps, so a resumed training draws what the uninterrupted one would have. Frames come in
random order, each once before any comes twice. The two sides are drawn independently; ``fixed_pairing`` gives every
clean frame the same real one in all epochs, as the published loader does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.seeding import frame_generator
from depthforge.training.frames import DecodedFrames
from depthforge.training.objective import Batch

__all__ = ["CropBatches", "frame_at"]

# A crop with less valid depth than this is drawn again, a few times: a window full of holes teaches nothing.
_LEAST_VALID = 0.1
_TRIES = 8


ImagesOf = Callable[[Frame], Mapping[str, npt.NDArray[np.float32]]]
"""What a method sees of a frame: images (C, H, W) by name."""


@dataclass(frozen=True)
class CropBatches:
    """Crops of clean and real frames: ``batch_size`` of each side for this one of ``world_size`` workers."""

    clean: DecodedFrames
    real: DecodedFrames
    images_of: ImagesOf
    seed: int
    batch_size: int
    crop_px: int | None
    fixed_pairing: bool = False
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name, frames in (("clean", self.clean), ("real", self.real)):
            if self.crop_px is not None and min(frames.size) < self.crop_px:
                raise InputError(
                    f"the {name} frames are smaller than the crops",
                    where="training.crop_px",
                    expected=f"frames of at least {self.crop_px}x{self.crop_px}",
                    found=f"{frames.size[0]}x{frames.size[1]} (height x width)",
                    remedy=f"training.crop_px: {min(*self.clean.size, *self.real.size) // 4 * 4}",
                )
        if self.crop_px is None and self.clean.size != self.real.size:
            raise InputError(
                "whole frames of different sizes cannot share a batch",
                where="training.crop_px: null",
                expected=f"{self.clean.size} (clean)",
                found=f"{self.real.size} (real)",
                remedy="set training.crop_px",
            )

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``last`` - 1, each drawn while the one before is in use."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.draw, first) if first < last else None
            for step in range(first, last):
                assert coming is not None
                batch = coming.result()
                coming = pool.submit(self.draw, step + 1) if step + 1 < last else None
                yield batch

    def draw(self, step: int) -> Batch:
        """Return the batch of one step: of each side, images (B, C, h, w) float32 by name."""
        random = frame_generator(self.seed, f"batch/{step}/{self.rank}", "training")
        clean, real = [], []
        for place in range(self.batch_size):
            number = (step * self.world_size + self.rank) * self.batch_size + place
            chosen = self._chosen("clean", number)
            partner = chosen % len(self.real) if self.fixed_pairing else self._chosen("real", number)
            clean.append(self._crop(self.clean, chosen, random))
            real.append(self._crop(self.real, partner, random))
        return Batch(_stacked(clean), _stacked(real))

    def _chosen(self, side: str, number: int) -> int:
        count = min(len(self.clean), len(self.real)) if self.fixed_pairing else len(getattr(self, side))
        return int(_order(self.seed, side, number // count, count)[number % count])

    def _crop(
        self, frames: DecodedFrames, index: int, random: np.random.Generator
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        if self.crop_px is None:
            return self.images_of(frame_at(frames, index))
        height, width = frames.size
        for _ in range(_TRIES):
            top = int(random.integers(height - self.crop_px + 1))
            left = int(random.integers(width - self.crop_px + 1))
            window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
            if frames.depth_m is None or (frames.depth_m[index][window] > 0).mean() >= _LEAST_VALID:
                break
        return self.images_of(frame_at(frames, index, window))


def _stacked(crops: list[Mapping[str, npt.NDArray[np.float32]]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([crop[name] for crop in crops])) for name in crops[0]}


@lru_cache(maxsize=8)
def _order(seed: int, side: str, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return frame_generator(seed, f"order/{side}/{epoch}", "training").permutation(count)


def frame_at(frames: DecodedFrames, index: int, window: tuple[slice, slice] | None = None) -> Frame:
    """Return a decoded frame, or a window of it, as a Frame; its camera is that of the window.

    Without depth, no pixel is valid.
    """
    rows, columns = window or (slice(None), slice(None))
    height, width = (len(range(*part.indices(side))) for part, side in zip((rows, columns), frames.size, strict=True))
    if frames.depth_m is None:
        depth_m = np.zeros((height, width), np.float32)
    else:
        depth_m = np.array(frames.depth_m[index, rows, columns])
    camera = frames.camera
    camera = replace(
        camera, cx=camera.cx - (columns.start or 0), cy=camera.cy - (rows.start or 0), width=width, height=height
    )
    rgb = None if frames.rgb is None else np.array(frames.rgb[index, rows, columns])
    return Frame(frames.keys[index], depth_m, depth_m > 0, camera, rgb=rgb)
