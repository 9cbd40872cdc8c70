from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from depthforge.errors import InputError, StorageError
from depthforge.manifest import Manifest
from depthforge.sensors.preset import parse_sensor
from depthforge.stages.estimate import Estimate, available_memory_bytes, estimate, require_memory
from depthforge.stages.prepare import prepare

MIB = 2**20


def cost(**changes: object) -> Estimate:
    made = Estimate(
        num_frames=100,
        num_shards=4,
        num_workers=8,
        raw_bytes=0,
        worker_bytes=500 * MIB,
        available_bytes=2100 * MIB,
        seconds_per_frame=0.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_time_counts_no_more_workers_than_shards() -> None:
    assert cost().seconds == 100 * 0.5 / 4
    assert cost(num_workers=2).seconds == 25.0
    assert cost(seconds_per_frame=None).seconds is None


def test_the_remedy_is_as_many_workers_as_fit() -> None:
    with pytest.raises(InputError, match="--workers 4"):
        require_memory(cost())
    with pytest.raises(InputError, match="not even one worker fits"):
        require_memory(cost(available_bytes=100 * MIB))
    require_memory(cost(num_workers=4))
    require_memory(cost(available_bytes=None))


def test_memory_is_bounded_by_the_frame_and_not_by_the_shard(tiny: Callable[..., Manifest]) -> None:
    def bound(**corpus: int) -> int:
        with prepare(tiny(corpus=corpus)) as prepared:
            made = estimate(prepared, num_workers=2, sample_frames=0)
            assert made.raw_bytes == 12 * prepared.schema.bytes_per_frame
            return made.worker_bytes

    assert bound(shard_frames=1) == bound(shard_frames=64)
    assert (available_memory_bytes() or 0) > 10 * MIB


def test_memory_counts_the_sensor_and_the_size_in_which_frames_are_read(tiny: Callable[..., Manifest]) -> None:
    def bound(**changes: object) -> tuple[int, int]:
        with prepare(tiny(**changes)) as prepared:
            height, width = prepared.source.size
            return estimate(prepared, num_workers=1, sample_frames=0).worker_bytes, height * width * 4

    plain, image_bytes = bound(translator="identity")
    sensor = parse_sensor("kinect_v1").working_bytes
    with prepare(tiny(translator="simulation")) as prepared:
        needed = sensor(*prepared.source.size)
    assert needed > 8 * image_bytes
    assert bound(translator="simulation")[0] == plain + needed
    tiny_source = tiny().source.config.model_dump(exclude_defaults=True)
    resized, small_bytes = bound(
        translator="identity", source={"name": "procedural", **tiny_source, "resize": {"width": 8, "height": 8}}
    )
    assert small_bytes == 256
    assert resized > plain - 12 * image_bytes + 4 * image_bytes


@pytest.fixture
def small_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of one page."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    (mount / "full").write_bytes(bytes(4096))
    monkeypatch.setattr(tempfile, "tempdir", str(mount))
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)  # the traceback still holds the file


def test_no_room_for_the_plan_is_said(tiny: Callable[..., Manifest], small_temporary_folder: Path) -> None:
    with pytest.raises(StorageError, match="set TMPDIR") as caught, prepare(tiny()):
        pass
    assert str(small_temporary_folder) in str(caught.value)
