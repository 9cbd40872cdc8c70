from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from depthforge.corpus import CorpusReader, iter_frames, to_torch
from depthforge.errors import UnknownNameError


def test_frames_come_in_order_as_metres_and_labels(corpus: Path) -> None:
    reader = CorpusReader(corpus, "train")
    frames = list(iter_frames(corpus, "train"))
    assert [frame["key"] for frame in frames] == reader.keys.to_pylist()
    for position, frame in enumerate(frames):
        record = reader.read(position)
        np.testing.assert_array_equal(np.nan_to_num(frame["depth_noisy"]), record.noisy_depth_m)
        np.testing.assert_array_equal(np.isfinite(frame["depth_clean"]), record.clean_valid)
        assert set(frame) == {"key", "depth_clean", "depth_noisy", *record.labels}
        for name, label in record.labels.items():
            np.testing.assert_array_equal(frame[name], label)
    with pytest.raises(UnknownNameError, match="unknown field 'depht_noisy'"):
        iter_frames(corpus, fields=["depht_noisy"])


def test_a_loader_gives_every_frame_once_in_an_order_of_its_seed(corpus: Path) -> None:
    def keys(seed: int | None) -> list[str]:
        return [key for batch in to_torch(corpus, None, batch_size=4, seed=seed) for key in batch["key"]]

    expected = CorpusReader(corpus).keys.to_pylist()
    assert keys(None) == expected
    assert keys(1) == keys(1) != keys(2)
    assert sorted(keys(1)) == sorted(expected)


def test_the_examples_of_the_page_run(corpus: Path, repository: Path) -> None:
    page = (repository / "docs" / "export.md").read_text()
    example = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "iter_frames" in code)
    lines = [line for line in example.splitlines() if "ray" not in line and "rows" not in line]
    code = "\n".join(lines).replace('"corpora/demo"', repr(str(corpus)))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "(12, 16)" in done.stdout
    assert "torch.Size([8, 1, 12, 16])" in done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_ray_data_reads_every_frame(corpus: Path) -> None:
    ray = pytest.importorskip("ray.data")
    from depthforge.stages.ray_data import to_ray

    assert ray is not None
    import ray as started

    started.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = {row["key"]: row for row in to_ray(str(corpus), "train", ["depth_noisy", "K"]).take_all()}
    finally:
        started.shutdown()
    expected = list(iter_frames(corpus, "train", ["depth_noisy", "K"]))
    assert len(rows) == len(expected)
    for frame in expected:
        np.testing.assert_array_equal(rows[frame["key"]]["depth_noisy"], frame["depth_noisy"])
        np.testing.assert_array_equal(rows[frame["key"]]["K"], frame["K"])
