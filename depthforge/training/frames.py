"""Decoded frames on disk, memory-mapped: a training step reads crops and never waits for PNG.

Decoding a 640x480 depth PNG takes 2 to 5 ms, reading a 256x256 crop of a decoded one 0.03 ms. A side of 2000 frames is
2.5 GB (4.3 with colour, 1.8 of colour alone); the page cache holds what memory allows. Depth is kept in metres as
float32, 0 where there is no measurement, and colour as it is, so that the cache depends on no setting but the choice of
frames and on which of the two the method reads.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.durable import remove_temporaries, storage_errors, sync_directory, temporary_beside, write_atomically
from depthforge.errors import FrameError, InputError, StorageError, told
from depthforge.frame import Camera, Frame
from depthforge.labels.catalogue import DEPTH_RAW

__all__ = ["DecodedFrames", "RangeSummary", "decode_frames", "overlap", "summarise_range"]

_PIXEL_BYTES = {"depth": 4, "rgb": 3, "scan": 4}
_PLANES = "planes_"

ImagesOf = Callable[[Frame], Mapping[str, npt.NDArray[np.float32]]]
"""What a method sees of a frame: images (C, H, W) by name."""
_LEAST_VALID = 0.01
_BIN_M = 0.25
_RANGE_M = 100.0


@dataclass(frozen=True)
class DecodedFrames:
    """Frames of one side: ``depth_m`` (N, H, W) float32, ``rgb`` (N, H, W, 3) uint8, both memory-mapped.

    One of the two may be None: what the method does not read. ``camera`` is that of the first frame. Of pairs,
    ``depth_m`` is the truth and ``scan_m`` (N, H, W) float32 what was measured in the same views, 0 where nothing;
    ``planes`` are what the method makes of each whole frame, (N, C, H, W) float16 by name. ``poses`` are T_world_cam
    (4, 4) of each frame, None for one without.
    """

    keys: tuple[str, ...]
    depth_m: npt.NDArray[np.float32] | None
    rgb: npt.NDArray[np.uint8] | None
    camera: Camera
    scan_m: npt.NDArray[np.float32] | None = None
    planes: Mapping[str, npt.NDArray[np.float16]] = field(default_factory=dict)
    poses: Sequence[npt.NDArray[np.float64] | None] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self.camera.size

    def split(self, held_out: float) -> tuple[DecodedFrames, DecodedFrames]:
        """Return the frames to train on and the last share of them, held out, at least one of each.

        The end of a recording, not a random choice: neighbouring frames are nearly the same picture.
        """
        if len(self) < 2:
            raise InputError(
                "one frame cannot be both trained on and held out",
                where=self.keys[0] if self.keys else None,
                expected="at least 2 frames of each side; hundreds mean something",
            )
        cut = min(max(1, round(len(self) * (1 - held_out))), len(self) - 1)
        return self[:cut], self[cut:]

    def __getitem__(self, part: slice) -> DecodedFrames:
        depth_m = None if self.depth_m is None else self.depth_m[part]
        rgb = None if self.rgb is None else self.rgb[part]
        scan_m = None if self.scan_m is None else self.scan_m[part]
        planes = {name: plane[part] for name, plane in self.planes.items()}
        return DecodedFrames(self.keys[part], depth_m, rgb, self.camera, scan_m, planes, self.poses[part])

    @classmethod
    def load(cls, folder: Path) -> DecodedFrames:
        """Map the frames of a folder that :func:`decode_frames` made."""
        described = json.loads((folder / "frames.json").read_text())
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        planes = {name.removeprefix(_PLANES): array for name, array in arrays.items() if name.startswith(_PLANES)}
        camera = Camera(**described["camera"])
        keys = tuple(described["keys"])
        poses = [None if pose is None else np.array(pose, np.float64) for pose in described.get("poses", ())]
        return cls(keys, arrays.get("depth_m"), arrays.get("rgb"), camera, arrays.get("scan_m"), planes, poses)


def decode_frames(
    folder: Path,
    read: Callable[[int], Frame],
    count: int,
    size: tuple[int, int],
    *,
    wanted: frozenset[str],
    name: str,
    images_of: ImagesOf | None = None,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> DecodedFrames:
    """Read ``count`` frames of one side by ``read(index)`` into ``folder``; a folder that is there is taken as it is.

    ``wanted`` is of ``depth``, ``rgb`` and ``scan`` (the label ``depth_raw`` of pairs); ``images_of`` makes the planes
    of whole frames, where a method cannot make them of crops. Frames that cannot be read or lack wanted colour, and
    where depth is wanted those with less than 1 % of it, are left out. Raises InputError when none is left,
    StorageError when they do not fit on the disk.
    """
    if (folder / "frames.json").exists():
        return DecodedFrames.load(folder)
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder.parent)
        _require_room(folder.parent, count * size[0] * size[1] * sum(_PIXEL_BYTES[image] for image in wanted), name)
        temporary = temporary_beside(folder)
        temporary.mkdir()
        try:
            _write(temporary, read, count, size, wanted, name, images_of, note)
            os.replace(temporary, folder)
            sync_directory(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return DecodedFrames.load(folder)


def _write(
    folder: Path,
    read: Callable[[int], Frame],
    count: int,
    size: tuple[int, int],
    wanted: frozenset[str],
    name: str,
    images_of: ImagesOf | None,
    note: Callable[[int, int], None],
) -> None:
    keys, cameras, poses, problems, empty = [], [], [], [], 0
    planes: dict[str, _Rows] = {}
    with ExitStack() as files:
        depth = files.enter_context(_Rows(folder / "depth_m.npy", np.float32, size)) if "depth" in wanted else None
        rgb = files.enter_context(_Rows(folder / "rgb.npy", np.uint8, (*size, 3))) if "rgb" in wanted else None
        scan = files.enter_context(_Rows(folder / "scan_m.npy", np.float32, size)) if "scan" in wanted else None
        for index in range(count):
            note(index, count)
            try:
                frame = read(index).require_sound()
                if rgb is not None and frame.rgb is None:
                    raise FrameError("the frame has no colour", where=frame.key)
            except FrameError as error:
                problems.append(error)
                continue
            if depth is not None and frame.valid.mean() < _LEAST_VALID:
                empty += 1
                continue
            for plane, images in (images_of(frame) if images_of is not None else {}).items():
                if plane not in planes:
                    _require_room(folder, (count - index) * images.size * 2, name)
                    rows = _Rows(folder / f"{_PLANES}{plane}.npy", np.float16, images.shape)
                    planes[plane] = files.enter_context(rows)
                planes[plane].add(images)
            keys.append(frame.key)
            cameras.append(frame.camera)
            poses.append(None if frame.T_world_cam is None else frame.T_world_cam.tolist())
            if depth is not None:
                depth.add(frame.depth_m)
            if rgb is not None and frame.rgb is not None:
                rgb.add(frame.rgb)
            if scan is not None:
                measured_m = frame.labels[DEPTH_RAW.name].astype(np.float32).reshape(size)
                scan.add(np.nan_to_num(measured_m, posinf=0.0))
    if not keys:
        least = {"depth": f"at least {_LEAST_VALID:.0%} valid depth", "rgb": "colour"}
        raise InputError(
            f"no frame of the {name} side can be trained on",
            where=problems[0].where if problems else name,
            expected="frames with " + " and ".join(least[image] for image in sorted(wanted)),
            found=f"of {count} frames {empty} without depth, {len(problems)} unreadable"
            + (f" ({told(dict.fromkeys(each.message for each in problems), joint='; ')})" if problems else ""),
            remedy="depthforge check MANIFEST; the unit and the invalid values of the source are the usual cause",
        )
    described = {"keys": keys, "camera": asdict(cameras[0]), "poses": poses, "skipped": count - len(keys)}
    write_atomically(folder / "frames.json", json.dumps(described).encode())


class _Rows:
    """A .npy file that grows by one array at a time; its header is written last, when the count is known."""

    HEADER_BYTES = 128

    def __init__(self, path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._dtype, self._shape, self._count = np.dtype(dtype), shape, 0
        self._file.write(b"\0" * self.HEADER_BYTES)

    def __enter__(self) -> _Rows:
        return self

    def add(self, array: npt.NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(array, self._dtype).data)
        self._count += 1

    def __exit__(self, *failure: object) -> None:
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count, *self._shape)}
        magic = b"\x93NUMPY\x01\x00"
        text = repr(description).encode().ljust(self.HEADER_BYTES - len(magic) - 3) + b"\n"
        self._file.seek(0)
        self._file.write(magic + len(text).to_bytes(2, "little") + text)
        self._file.close()


def _require_room(folder: Path, wanted: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise StorageError(
            f"the decoded frames of the {name} side do not fit on the disk",
            where=folder,
            expected=f"{wanted / 2**30:.1f} GiB free",
            found=f"{free / 2**30:.1f} GiB",
            remedy="lower training.max_frames, or choose another training.out",
        )


@dataclass(frozen=True)
class RangeSummary:
    """The depths of one side: percentiles in metres, and the share of valid pixels in bins of 0.25 m."""

    name: str
    percentiles_m: tuple[float, ...]
    hole_fraction: float
    shares: npt.NDArray[np.float64]

    PERCENTS = (5, 25, 50, 75, 95)

    def __str__(self) -> str:
        values = " / ".join(f"{value:.2f}" for value in self.percentiles_m)
        percents = " / ".join(str(percent) for percent in self.PERCENTS)
        return f"{self.name}: {values} m ({percents} % of the pixels are nearer), {self.hole_fraction:.1%} holes"


def summarise_range(frames: DecodedFrames, name: str, most: int = 50) -> RangeSummary:
    """Return the depths of at most ``most`` frames, evenly spaced; ValueError for frames without depth."""
    if frames.depth_m is None:
        raise ValueError(f"the {name} side holds no depth")
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int))
    sampled = np.concatenate([frames.depth_m[index, ::4, ::4].ravel() for index in chosen])
    depths_m = sampled[sampled > 0]
    shares = np.histogram(depths_m, bins=int(_RANGE_M / _BIN_M), range=(0, _RANGE_M))[0] / max(len(depths_m), 1)
    percentiles = np.percentile(depths_m, RangeSummary.PERCENTS) if len(depths_m) else np.full(5, np.nan)
    return RangeSummary(name, tuple(float(p) for p in percentiles), 1 - len(depths_m) / len(sampled), shares)


def overlap(first: RangeSummary, second: RangeSummary) -> float:
    """Return the share of depths that two sides have in common, from 0 to 1."""
    return float(np.minimum(first.shares, second.shares).sum())
