"""Crops are a pure function of (seed, step, worker), every frame comes once before any comes twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch

from depthforge.errors import InputError
from depthforge.frame import Camera, Frame
from depthforge.training.crops import CropBatches, frame_at
from depthforge.training.frames import DecodedFrames
from depthforge.training.objective import Images

Image = npt.NDArray[np.float32]


def frames(count: int, height: int = 40, width: int = 48, offset: float = 0.0) -> DecodedFrames:
    """Frame i holds the depth i + 1 + offset, and a ramp of thousandths that says where a pixel was."""
    ramp = np.arange(height * width, dtype=np.float32).reshape(height, width) / (height * width) / 2
    depth_m = np.stack([ramp + index + 1 + offset for index in range(count)])
    camera = Camera(40.0, 40.0, (width - 1) / 2, (height - 1) / 2, width, height)
    return DecodedFrames(tuple(f"a/b/{index}" for index in range(count)), depth_m, None, camera)


def images_of(frame: Frame) -> dict[str, Image]:
    return {"depth": frame.depth_m[None]}


def batches(**changes: object) -> CropBatches:
    options: dict[str, object] = {
        "clean": frames(6),
        "real": frames(4, offset=100.0),
        "images_of": images_of,
        "seed": 3,
        "batch_size": 2,
        "crop_px": 32,
    }
    return CropBatches(**{**options, **changes})  # type: ignore[arg-type]


def chosen(side: Images) -> list[int]:
    return [int(value) for value in side["depth"][:, 0, 0, 0]]


def test_a_batch_depends_on_seed_step_and_worker_alone() -> None:
    one, other = batches().draw(5), batches().draw(5)
    assert torch.equal(one.clean["depth"], other.clean["depth"])
    assert torch.equal(one.real["depth"], other.real["depth"])
    assert one.clean["depth"].shape == (2, 1, 32, 32)
    assert one.clean["depth"].dtype == torch.float32
    for changed in (batches(seed=4).draw(5), batches(rank=1, world_size=2).draw(5), batches().draw(6)):
        assert not torch.equal(one.clean["depth"], changed.clean["depth"])


def test_steps_are_the_draws() -> None:
    for step, batch in enumerate(batches().steps(2, 5), start=2):
        assert torch.equal(batch.clean["depth"], batches().draw(step).clean["depth"])
    assert list(batches().steps(3, 3)) == []


def test_every_frame_comes_once_before_any_comes_twice() -> None:
    source = batches()
    drawn = [index for step in range(6) for index in chosen(source.draw(step).clean)]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == [1, 2, 3, 4, 5, 6]
    assert drawn[:6] != drawn[6:]


def test_workers_share_the_frames_between_them() -> None:
    parts = [batches(batch_size=1, rank=rank, world_size=2) for rank in range(2)]
    drawn = [chosen(part.draw(step).clean)[0] for step in range(3) for part in parts]
    assert sorted(drawn) == [1, 2, 3, 4, 5, 6]


def test_pairs_are_drawn_anew_unless_they_are_fixed() -> None:
    def pairs(source: CropBatches, first: int) -> set[tuple[int, int]]:
        drawn = (source.draw(step) for step in range(first, first + 2))
        return {pair for b in drawn for pair in zip(chosen(b.clean), chosen(b.real), strict=True)}

    fixed = batches(clean=frames(4), fixed_pairing=True)
    assert pairs(fixed, 0) == pairs(fixed, 2) == {(1, 101), (2, 102), (3, 103), (4, 104)}
    free = batches(clean=frames(4))
    assert len({frozenset(pairs(free, first)) for first in range(0, 12, 2)}) > 1


def test_crops_are_windows_of_the_frame_anywhere_in_it() -> None:
    source, whole = batches(), frames(6)
    corners: Counter[float] = Counter()
    for step in range(40):
        for crop in source.draw(step).clean["depth"][:, 0].numpy():
            index = int(crop[0, 0]) - 1
            top, left = np.argwhere(whole.depth_m[index] == crop[0, 0])[0]
            np.testing.assert_array_equal(crop, whole.depth_m[index, top : top + 32, left : left + 32])
            corners[float(crop[0, 0] % 1)] += 1
    assert len(corners) > 50


def test_windows_of_holes_are_drawn_again() -> None:
    holey = frames(6)
    holey.depth_m[:, :, :40] = 0
    crops = batches(clean=holey, crop_px=32)
    shares = [(crops.draw(step).clean["depth"] > 0).float().mean(dim=(1, 2, 3)).min().item() for step in range(20)]
    assert np.mean([share >= 0.1 for share in shares]) > 0.9


def test_whole_frames() -> None:
    batch = batches(clean=frames(6), real=frames(4), crop_px=None).draw(0)
    assert batch.clean["depth"].shape == (2, 1, 40, 48)
    with pytest.raises(InputError, match="different sizes"):
        batches(real=frames(4, height=44), crop_px=None)


def test_frames_smaller_than_the_crop_are_an_error_with_the_crop_that_fits() -> None:
    with pytest.raises(InputError, match="the real frames are smaller") as caught:
        batches(real=frames(4, height=30))
    assert caught.value.remedy == "training.crop_px: 28"


def test_a_window_keeps_its_rays() -> None:
    whole = frames(1)
    window = frame_at(whole, 0, np.s_[8:40, 4:36])
    assert (window.camera.fx, window.camera.cx, window.camera.cy) == (40.0, 23.5 - 4, 19.5 - 8)
    assert window.camera.size == (32, 32)
    window.require_sound()


def test_every_named_image_reaches_its_side_of_the_batch() -> None:
    def seen(frame: Frame) -> dict[str, Image]:
        depth = frame.depth_m[None]
        return {"depth": depth, "negative": -depth} if frame.depth_m.min() < 50 else {"depth": depth}

    batch = batches(images_of=seen).draw(0)
    assert (set(batch.clean), set(batch.real)) == ({"depth", "negative"}, {"depth"})
    assert torch.equal(batch.clean["depth"], -batch.clean["negative"])
    assert batch.num_images == 4


def test_colour_without_depth_makes_crops_of_colour() -> None:
    with_depth = frames(6)
    rgb = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), np.uint8)
    side = DecodedFrames(with_depth.keys, None, rgb, with_depth.camera)

    def seen(frame: Frame) -> dict[str, Image]:
        assert not frame.valid.any()
        assert frame.rgb is not None
        return {"rgb": frame.rgb.transpose(2, 0, 1).astype(np.float32)}

    crops = batches(clean=side, real=side[:4], images_of=seen).draw(2)
    assert crops.clean["rgb"].shape == crops.real["rgb"].shape == (2, 3, 32, 32)
    windows = np.lib.stride_tricks.sliding_window_view(rgb, (32, 32), axis=(1, 2))
    for crop in crops.clean["rgb"].numpy():
        assert (windows == crop).all(axis=(3, 4, 5)).any(), "a crop is a window of a frame"
