"""The simulation as a translator: deterministic, bounded, and loud when it measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError, field_serializer

from depthforge.errors import FrameError
from depthforge.frame import Camera, Frame, NoisyDepth
from depthforge.registry import translators
from depthforge.sensors.base import Sensor
from depthforge.sensors.dark_patches import surface_field
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.structured_light import StructuredLight, simulate
from depthforge.sensors.structured_light_shadows import PATCHES
from depthforge.testing.translators import TranslatorTests
from depthforge.translators.base import TranslatorConfig
from depthforge.translators.simulation import Simulation


class TestContract(TranslatorTests):
    @pytest.fixture
    def translator(self) -> Simulation:
        return Simulation(Simulation.Config())


class TestPublishedContract(TranslatorTests):
    @pytest.fixture
    def translator(self) -> Simulation:
        return Simulation(Simulation.Config(sensor=StructuredLight(published=True)))


WALL = np.full((48, 64), 2.0, np.float32)


def frame_of(depth_m: npt.NDArray[np.float32]) -> Frame:
    height, width = depth_m.shape
    return Frame("test/wall/0", depth_m, depth_m > 0, Camera(50, 50, width / 2, height / 2, width, height))


def test_is_found_by_its_name_and_configured_by_a_mapping() -> None:
    assert translators.get("simulation") is Simulation
    assert issubclass(Simulation.Config, TranslatorConfig)
    config = Simulation.Config.model_validate({"sensor": {"preset": "kinect_v1", "baseline_m": 0.05}})
    assert isinstance(config.sensor, StructuredLight)
    assert (config.sensor.baseline_m, config.sensor.published, config.sensor.window_px) == (0.05, False, 9)
    assert Simulation.Config.model_validate(config.model_dump(mode="json")) == config
    assert Simulation.Config().sensor == parse_sensor("kinect_v1")
    assert Simulation.Config().sensor.identity.fields["projector_side"] == "right", "the parameters of the preset, too"
    with pytest.raises(ValidationError, match="unknown field 'baseline'"):
        Simulation.Config.model_validate({"sensor": {"name": "structured_light", "baseline": 0.05}})


SENSOR = {"name": "structured_light"}


@pytest.mark.parametrize(
    "change",
    [
        {"sensor": {**SENSOR, "window_px": 10}},
        {"sensor": {**SENSOR, "baseline_m": 0}},
        {"sensor": {**SENSOR, "mass_fraction": 1}},
        {"min_kept": 1.5},
        {"sensor": "kinekt_v1"},
    ],
)
def test_bounds_of_the_configuration(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Simulation.Config.model_validate(change)


def test_every_parameter_says_what_it_is() -> None:
    for model in (Simulation.Config, StructuredLight):
        assert all(field.description for field in model.model_fields.values())


def test_translate_is_the_sensor_and_depends_on_the_words_alone() -> None:
    translator = Simulation(Simulation.Config())
    noisy = translator.translate(frame_of(WALL), (1, 2)).depth
    sensor = parse_sensor("kinect_v1")
    assert isinstance(sensor, StructuredLight)
    frame = frame_of(WALL)
    patches = surface_field(frame, (1, 2), sensor, stream=PATCHES)
    np.testing.assert_array_equal(noisy, simulate(WALL, WALL > 0, (1, 2), sensor, 50, patches))
    np.testing.assert_array_equal(Simulation(Simulation.Config()).translate(frame_of(WALL), (1, 2)).depth, noisy)
    assert (translator.translate(frame_of(WALL), (1, 3)).depth.depth_m != noisy.depth_m).any()


def test_parameters_change_the_fingerprint() -> None:
    prints = {
        Simulation(Simulation.Config.model_validate(c)).fingerprint
        for c in ({}, {"sensor": {**SENSOR, "published": True}}, {"min_kept": 0})
    }
    assert len(prints) == 2, "which frames are refused is not the noise's"


def test_a_frame_that_the_sensor_cannot_see_is_refused_with_its_name() -> None:
    millimetres = WALL * 1000
    translator = Simulation(Simulation.Config())
    with pytest.raises(FrameError, match="almost nothing") as caught:
        translator.translate(frame_of(millimetres), (1, 2))
    assert caught.value.where == "test/wall/0"
    assert caught.value.remedy is not None
    lenient = Simulation(Simulation.Config(min_kept=0))
    assert not lenient.translate(frame_of(millimetres), (1, 2)).depth.valid.any()


def test_empty_and_nearly_empty_frames_are_not_judged() -> None:
    translator = Simulation(Simulation.Config())
    assert not translator.translate(frame_of(WALL * 0), (1, 2)).depth.valid.any()
    speck = np.zeros_like(WALL)
    speck[20, 20] = 2.0
    assert not translator.translate(frame_of(speck), (1, 2)).depth.valid.any()


class Scanner(Sensor):
    """Keeps every hundredth pixel, and has a file."""

    name: ClassVar[str] = "scanner"
    sampled_share: ClassVar[float] = 0.01
    table: Path

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        valid = np.zeros_like(frame.valid)
        valid.reshape(-1)[:: 100 if frame.depth_m.max() < 100 else 10000] = True
        return NoisyDepth(np.where(valid, frame.depth_m, np.float32(0)), valid)

    def files(self) -> dict[str, bytes]:
        return {self.table.name: self.table.read_bytes()}

    def relocated(self, folder: Path) -> Sensor:
        return self.model_copy(update={"table": folder / self.table.name})

    @field_serializer("table")
    def _name(self, table: Path) -> str:
        return table.name


def test_of_a_scanner_the_pixels_that_it_looks_at_are_judged_and_its_files_travel(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.txt").write_text("1")
    translator = Simulation(Simulation.Config(sensor=Scanner(table=tmp_path / "here" / "table.txt")))
    assert translator.translate(frame_of(WALL), (1, 2)).depth.valid.mean() == pytest.approx(0.01, abs=1e-3)
    with pytest.raises(FrameError, match="almost nothing"):
        translator.translate(frame_of(WALL * 1000), (1, 2))

    assert translator.files() == {"table.txt": b"1"}
    elsewhere = Simulation(translator.relocated(tmp_path / "there"))
    assert elsewhere.fingerprint == translator.fingerprint
    assert elsewhere.config.sensor.files() == translator.files()
    (tmp_path / "there" / "table.txt").write_text("2")
    assert Simulation(elsewhere.config).fingerprint != translator.fingerprint
    assert elsewhere.fingerprint == translator.fingerprint, "read once, not for every frame"
