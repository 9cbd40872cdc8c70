"""Presets: every shipped one is whole, and a user's file is read, checked and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import ManifestError, UnknownNameError
from depthforge.frame import Camera, Frame
from depthforge.registry import sensors
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.preset import load_preset, parse_sensor, preset_camera, preset_names
from depthforge.testing.translators import clean_frame


def test_the_cameras_that_are_shipped() -> None:
    assert {"dexnet", "gaussian_dropout", "hdl_64e", "hdl_64e_kitti", "kinect_v1", "primesense"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_shipped_preset_is_whole(name: str) -> None:
    preset = load_preset(name)
    assert preset.sensor in sensors.names()
    assert len(preset.description) > 40, "a preset says which camera it is and where its values come from"
    sensor = parse_sensor(name)
    assert sensor.preset == name
    assert set(preset.parameters) <= set(type(sensor).model_fields) - {"preset"}
    written = sensor.model_dump(mode="json")
    assert parse_sensor(written) == sensor
    frame = clean_frame(48, 64)
    measured = sensor.measure(frame, (1, 2))
    assert measured.valid.any()
    # Nobody's wall is off by a tenth.
    error = np.abs(measured.depth_m - frame.depth_m)[measured.valid]
    assert np.median(error) < 0.1 * np.median(frame.depth_m)


def test_the_camera_of_a_preset_is_the_one_that_its_parameters_are_of(tmp_path: Path) -> None:
    kinect = preset_camera("kinect_v1").camera()
    assert kinect == Camera(585, 585, 319.5, 239.5, 640, 480)
    for name in preset_names():
        camera, parameters = load_preset(name).camera, load_preset(name).parameters
        assert (camera is None) == (name in {"gaussian_dropout", "hdl_64e"}), name
        if camera is None:
            continue
        # Centred to 6 % of the image; and where the parameters have a focal length, it is the same.
        assert camera.cx == pytest.approx((camera.width - 1) / 2, abs=0.06 * camera.width)
        assert camera.cy == pytest.approx((camera.height - 1) / 2, abs=0.06 * camera.height)
        assert parameters.get("focal_length_px") in (None, camera.fx), name
    path = tmp_path / "mine.yaml"
    path.write_text("sensor: gaussian_dropout\n")
    with pytest.raises(ManifestError, match="the preset 'mine' states no camera") as raised:
        preset_camera(path)
    assert "kinect_v1" in str(raised.value.expected)
    assert "gaussian_dropout" not in str(raised.value.expected)
    path.write_text("sensor: gaussian_dropout\ncamera: {width: 4, height: 3, fx: 0, fy: 1, cx: 0, cy: 0}\n")
    with pytest.raises(ManifestError, match="greater than 0"):
        preset_camera(path)


def test_parameters_beside_the_preset_change_it() -> None:
    sensor = parse_sensor({"preset": "gaussian_dropout", "pixel_dropout": 0.5})
    assert isinstance(sensor, GaussianDropout)
    assert (sensor.pixel_dropout, sensor.blob_px, sensor.preset) == (0.5, 12, "gaussian_dropout")
    bare = parse_sensor({"name": "gaussian_dropout", "pixel_dropout": 0.5})
    assert isinstance(bare, GaussianDropout)
    assert (bare.blob_dropout, bare.preset) == (0, None)


def test_the_name_of_a_sensor_is_enough_where_no_preset_has_it() -> None:
    assert parse_sensor("redwood") == parse_sensor({"name": "redwood"})
    # Where both have it, the preset is meant.
    assert parse_sensor("dexnet").preset == "dexnet"


def test_a_file_is_a_preset_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "my_camera.yaml"
    path.write_text("sensor: gaussian_dropout\nparameters: {correlation_px: 3}\nfit: {frames: 12}\n")
    sensor = parse_sensor(str(path))
    assert isinstance(sensor, GaussianDropout)
    assert (sensor.correlation_px, sensor.preset) == (3, "my_camera")
    assert load_preset(path).fit == {"frames": 12}
    assert str(tmp_path) not in str(sensor.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sensor: gaussian_dropout\nparameters: {sigma: 1}\n", "unknown field 'sigma'"),
        ("sensor: gaussian_dropout\nparameters: {pixel_dropout: 7}\n", "less than or equal to 1"),
        ("parameters: {}\n", "not a sensor preset"),
        ("- a\n- list\n", "not a sensor preset"),
        ("sensor: [unclosed\n", "not YAML"),
    ],
)
def test_a_wrong_file_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        parse_sensor(str(path))


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="hdl_64"):
        parse_sensor({"preset": "hdl_64"})
    with pytest.raises(UnknownNameError, match="gausian_dropout"):
        parse_sensor("gausian_dropout")
    with pytest.raises(ManifestError, match="no such preset file") as caught:
        parse_sensor(str(tmp_path / "none.yaml"))
    assert "depthforge fit" in str(caught.value.remedy)
    with pytest.raises(ManifestError, match="a preset or a mapping"):
        parse_sensor({"pixel_dropout": 0.5})


def test_the_published_kinect_is_the_sensor_with_its_defaults() -> None:
    assert load_preset("kinect_v1_published").parameters == {}
    assert parse_sensor("kinect_v1_published").identity == parse_sensor("structured_light").identity


@pytest.mark.parametrize("name", ["kinect_v1", "kinect_v1_matched", "primesense"])
@pytest.mark.parametrize(("z_m", "least"), [(0.45, 0.8), (0.6, 0.9), (1.5, 0.9)])
def test_a_kinect_measures_a_table_top(name: str, z_m: float, least: float) -> None:
    """Scans of a real Carmine begin at 0.27 m; of what is 0.4 to 0.5 m away they lose a tenth."""
    camera = preset_camera(name).camera()
    depth_m = np.full(camera.size, z_m, np.float32)
    valid = parse_sensor(name).measure(Frame("test/table/0", depth_m, depth_m > 0, camera), (1, 2)).valid
    assert least < valid[:, 100:600].mean() <= 1.0
    assert not valid[:, -8:].any()
    assert valid[:, 100].any()


@pytest.mark.parametrize("name", ["kinect_v1", "kinect_v1_matched", "primesense"])
def test_a_kinect_leaves_a_shadow_left_of_near_things_and_none_along_the_frame(name: str) -> None:
    camera = preset_camera(name).camera()
    depth_m = np.full(camera.size, 2.0, np.float32)
    depth_m[120:360, 240:440] = 1.2  # a jump of 14.6 px
    valid = parse_sensor(name).measure(Frame("test/box/0", depth_m, depth_m > 0, camera), (1, 2)).valid
    left, right = ((~valid[150:330, columns]).sum(axis=1).mean() for columns in (np.s_[215:245], np.s_[435:465]))
    assert 6 < left < 18
    assert right < left / 3
    assert min(valid[0].mean(), valid[-1].mean(), valid[:, 100].mean()) > 0.5
