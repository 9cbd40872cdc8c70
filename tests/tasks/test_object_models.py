"""Models for figures of pose: points, diameter and symmetries as BOP and GraspNet lay them out, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.meshes import Mesh, encode_ply
from depthforge.tasks.object_models import load_object_model

pytest.importorskip("open3d")

CORNERS_M = np.array([[x, y, z] for x in (0, 0.03) for y in (0, 0.04) for z in (0, 0.12)])
TRIANGLES = np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7]], np.uint32)


def write(path: Path, scale: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_ply(Mesh((CORNERS_M * scale).astype(np.float32), TRIANGLES)))


def test_a_model_of_graspnet_is_in_metres_and_has_no_known_symmetry(tmp_path: Path) -> None:
    write(tmp_path / "005/nontextured.ply", 1)
    model = load_object_model(tmp_path, 5)
    np.testing.assert_allclose(model.points_m, CORNERS_M, atol=1e-7)
    assert model.diameter_m == pytest.approx(0.13)
    assert model.symmetry.axis is None
    assert model.symmetry.turns.tolist() == [[1, 0, 0, 0]]


def test_a_model_of_bop_is_in_millimetres_with_symmetries(tmp_path: Path) -> None:
    write(tmp_path / "obj_000008.ply", 1000)
    half = np.diag([-1.0, -1.0, 1.0, 1.0]).ravel().tolist()
    info = {
        "diameter": 131.0,
        "symmetries_discrete": [half],
        "symmetries_continuous": [{"axis": [0, 0, 2], "offset": [0, 0, 0]}],
    }
    (tmp_path / "models_info.json").write_text(json.dumps({"8": info}))
    model = load_object_model(tmp_path, 8)
    np.testing.assert_allclose(model.points_m, CORNERS_M, atol=1e-6)
    assert model.diameter_m == pytest.approx(0.131)
    assert model.symmetry.axis is not None
    assert model.symmetry.axis.tolist() == [0, 0, 1]
    np.testing.assert_allclose(np.abs(model.symmetry.turns), [[1, 0, 0, 0], [0, 0, 0, 1]], atol=1e-9)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no model of object 3") as caught:
        load_object_model(tmp_path, 3)
    assert "obj_000003.ply" in str(caught.value)
    assert "003/nontextured.ply" in str(caught.value)
    write(tmp_path / "obj_000003.ply", 1000)
    for text, message in (
        ("{", "list of models"),
        ('{"3": {"symmetries_discrete": [[1, 2]]}}', "symmetries of a model"),
    ):
        (tmp_path / "models_info.json").write_text(text)
        with pytest.raises(DecodeError, match=message):
            load_object_model(tmp_path, 3)
