"""Batches of random crops, each a pure function of (seed, step, worker).

No state is kept between steps, so a resumed training draws what the uninterrupted one would have. Frames come in
random order, each once before any comes twice. The two sides are drawn independently; ``fixed_pairing`` gives every
clean frame the same real one in all epochs, as the published loader does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.seeding import frame_generator
from depthforge.training.frames import DecodedFrames, ImagesOf
from depthforge.training.objective import Batch

__all__ = ["CropBatches", "frame_at"]

# A crop with less valid depth than this is drawn again, a few times: a window full of holes teaches nothing.
_LEAST_VALID = 0.1
_TRIES = 8


@dataclass(frozen=True)
class CropBatches:
    """Crops of clean and real frames: ``batch_size`` of each side for this one of ``world_size`` workers.

    Without ``clean`` batches hold the real side alone, as of pairs.
    """

    clean: DecodedFrames | None
    real: DecodedFrames
    images_of: ImagesOf
    seed: int
    batch_size: int
    crop_px: int | None
    fixed_pairing: bool = False
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name, frames in self._sides.items():
            if self.crop_px is not None and min(frames.size) < self.crop_px:
                raise InputError(
                    f"the {name} frames are smaller than the crops",
                    where="training.crop_px",
                    expected=f"frames of at least {self.crop_px}x{self.crop_px}",
                    found=f"{frames.size[0]}x{frames.size[1]} (height x width)",
                    remedy=f"training.crop_px: {min(min(each.size) for each in self._sides.values()) // 4 * 4}",
                )
        if self.crop_px is None and self.clean is not None and self.clean.size != self.real.size:
            raise InputError(
                "whole frames of different sizes cannot share a batch",
                where="training.crop_px: null",
                expected=f"{self.clean.size} (clean)",
                found=f"{self.real.size} (real)",
                remedy="set training.crop_px",
            )

    @property
    def _sides(self) -> dict[str, DecodedFrames]:
        return {"real": self.real} if self.clean is None else {"clean": self.clean, "real": self.real}

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
            partner = None
            if self.clean is not None:
                chosen = self._chosen("clean", number)
                partner = chosen % len(self.real) if self.fixed_pairing else None
                clean.append(self._crop(self.clean, chosen, random))
            real.append(self._crop(self.real, self._chosen("real", number) if partner is None else partner, random))
        return Batch(_stacked(clean), _stacked(real))

    def _chosen(self, side: str, number: int) -> int:
        count = len(self._sides[side])
        if self.fixed_pairing:
            count = min(len(each) for each in self._sides.values())
        return int(_order(self.seed, side, number // count, count)[number % count])

    def _crop(
        self, frames: DecodedFrames, index: int, random: np.random.Generator
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        if self.crop_px is None:
            return self._seen(frames, index, np.s_[:, :])
        height, width = frames.size
        for _ in range(_TRIES):
            top = int(random.integers(height - self.crop_px + 1))
            left = int(random.integers(width - self.crop_px + 1))
            window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
            if frames.depth_m is None or (frames.depth_m[index][window] > 0).mean() >= _LEAST_VALID:
                break
        return self._seen(frames, index, window)

    def _seen(
        self, frames: DecodedFrames, index: int, window: tuple[slice, slice]
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        if not frames.planes:
            return self.images_of(frame_at(frames, index, window))
        return {name: plane[index, :, *window].astype(np.float32) for name, plane in frames.planes.items()}


def _stacked(crops: list[Mapping[str, npt.NDArray[np.float32]]]) -> dict[str, torch.Tensor]:
    if not crops:
        return {}
    return {name: torch.from_numpy(np.stack([crop[name] for crop in crops])) for name in crops[0]}


@lru_cache(maxsize=8)
def _order(seed: int, side: str, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return frame_generator(seed, f"order/{side}/{epoch}", "training").permutation(count)


def frame_at(frames: DecodedFrames, index: int, window: tuple[slice, slice] | None = None) -> Frame:
    """Return a decoded frame, or a window of it, as a Frame; its camera is that of the window.

    Without depth, no pixel is valid. Of pairs it has the scan as the label ``depth_raw``.
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
    labels = {} if frames.scan_m is None else {DEPTH_RAW.name: np.array(frames.scan_m[index, rows, columns])}
    pose = frames.poses[index] if frames.poses else None
    return Frame(frames.keys[index], depth_m, depth_m > 0, camera, rgb=rgb, labels=labels, T_world_cam=pose)
