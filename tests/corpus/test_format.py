from __future__ import annotations

import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray

import depthforge
from depthforge.corpus import layout
from depthforge.corpus.layout import FORMAT_VERSION, CorpusInfo
from depthforge.corpus.schema import CorpusSchema
from depthforge.encoding import DepthEncoding
from tests.corpus.corpora import (
    FIELDS,
    HEIGHT,
    WIDTH,
    make_frame,
    make_info,
    metres,
    new_root,
    noisy_mm,
    one_item,
    write_shard,
)


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).resolve().parents[2] / "docs/corpus-format.md").read_text()


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.S)


def run(code: str, corpus: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"corpus": str(corpus)}
    exec(compile(code, "docs/corpus-format.md", "exec"), names)
    return names


def test_the_examples_run_and_read_the_same_frame(page: str, corpus: Path) -> None:
    with_zarr, with_xarray, from_bytes, _ = (run(code, corpus) for code in blocks(page))
    number = int(with_zarr["frame"]["key"][-4:])
    expected = np.where(noisy_mm(number) > 0, noisy_mm(number) / 1000, np.nan)
    np.testing.assert_allclose(with_zarr["depth_m"], expected, rtol=1e-7)
    np.testing.assert_allclose(with_xarray["depth_m"], expected, rtol=1e-7)
    np.testing.assert_array_equal(from_bytes["stored"], noisy_mm(number))
    np.testing.assert_array_equal(with_zarr["T_cam_object"], make_frame(number).labels["object_pose"])


def test_the_page_names_every_file_column_and_field(page: str, corpus: Path) -> None:
    assert f"version {FORMAT_VERSION}" in page.splitlines()[0]
    for path in corpus.iterdir():
        assert path.name in page
    for field in CorpusInfo.load(corpus).model_dump(by_alias=True):
        assert f"`{field}`" in page
    for column in pq.read_schema(corpus / "index/train-000000.parquet").names:
        generic = re.sub(r"^(has|hash)_.*", lambda m: f"{m[1]}_<{'label' if m[1] == 'has' else 'field'}>", column)
        assert f"`{generic}`" in page
    for part in ("plan/frames.parquet", "rejects/train-000001.parquet"):
        for column in pq.read_schema(corpus / part).names:
            assert f"`{column}`" in page


def test_versions_are_those_of_the_writing_packages_that_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_pyarrow(package: str) -> str:
        if package == "pyarrow":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(layout, "version", without_pyarrow)
    info, _ = make_info(tmp_path, 1)
    installed = {package: version(package) for package in ("numcodecs", "numpy")}
    assert info.versions == {"depthforge": depthforge.__version__, **installed}


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_xarray_alone_gives_metres_with_holes_as_nan_and_labels_as_they_are(tmp_path: Path, dtype: str) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(0, 1), CorpusSchema(HEIGHT, WIDTH, FIELDS, DepthEncoding(dtype=dtype)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shard = xarray.open_zarr(root / "shards/train-000000.zarr", consolidated=False)
    for row in (0, 1):
        expected = np.where(noisy_mm(row) > 0, metres(noisy_mm(row)), np.nan)
        np.testing.assert_allclose(shard["depth_noisy"][row].values, expected, rtol=2e-7)
    assert shard["depth_noisy"].dims == ("frame", "y", "x")
    assert shard["depth_noisy"].attrs["units"] == "m"
    assert shard["semantic"].dtype == np.uint16
    assert np.array_equal(shard["semantic"][1], make_frame(1).labels["semantic"])
    np.testing.assert_allclose(shard["normals"][1], make_frame(1).labels["normals"] / 32767, atol=1e-6)
    assert shard.sizes == {
        "frame": 2,
        "y": HEIGHT,
        "x": WIDTH,
        "channel": 3,
        "axis": 3,
        "row_3": 3,
        "column_3": 3,
        "row_4": 4,
        "column_4": 4,
        "object_id_row": 1,
        "object_pose_row": 1,
    }
