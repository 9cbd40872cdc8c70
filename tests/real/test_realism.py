"""Realism on real data: the Kinect is near itself, clean depth is far, simulated depth is nearer in its noise."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from depthforge.frame import Frame
from depthforge.manifest import Manifest
from depthforge.manifest_file import load_manifest
from depthforge.realism.compare import HELD_OUT, REFERENCE, Comparison, compare
from depthforge.realism.describe import describe
from depthforge.realism.views import DepthView, source_views
from depthforge.seeding import frame_words
from depthforge.stages.prepare import make_source, make_translator

NUM_FRAMES = 12


@pytest.fixture
def comparison(repository: Path, shared_data: Path) -> Comparison:
    return _measure(repository / "manifests", shared_data)


@lru_cache(maxsize=1)
def _measure(manifests: Path, data: Path) -> Comparison:
    """Compare clean livingroom1 and its simulation with RedKitchen."""
    living_room = _manifest(manifests / "livingroom1.yaml", data / "clean")
    kitchen = _manifest(manifests / "redkitchen.yaml", data / "real")
    translator = make_translator(living_room.translator)
    clean = list(source_views(make_source(living_room.source), NUM_FRAMES))
    simulated = []
    for index, view in enumerate(clean):
        frame = Frame(f"livingroom1/0/{index:05d}", view.depth_m, view.valid, view.camera)
        noisy = translator.translate(frame, frame_words(0, frame.key, translator.fingerprint)).depth
        simulated.append(DepthView(*noisy, view.camera, (view.depth_m, view.valid)))
    real = describe(source_views(make_source(kitchen.source), 2 * NUM_FRAMES))
    return compare({"clean": describe(clean), "simulated": describe(simulated)}, real)


def _manifest(path: Path, data: Path) -> Manifest:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATA_ROOT", str(data))
        return load_manifest(path)


def test_the_kinect_is_near_itself(comparison: Comparison) -> None:
    assert comparison.value("noise against depth", HELD_OUT) < 0.3
    assert comparison.value("step against depth", HELD_OUT) < 0.2
    assert comparison.value("holes a frame, Wasserstein", HELD_OUT) < 4
    assert comparison.value("roughness, Wasserstein", HELD_OUT) < 2
    assert comparison.value("patches told apart, AUC", HELD_OUT) == pytest.approx(0.5, abs=0.15)
    assert comparison.value("patches, MMD, p", HELD_OUT) > 0.05


def test_the_kinect_has_the_steps_and_the_holes_that_are_known_of_it(comparison: Comparison) -> None:
    """About 272 distinct depths; z^2 / (8 * 585 px * 75 mm): 8.2 mm at 1.7 m, 16.2 mm at 2.4 m; 11 % holes."""
    assert comparison.value("distinct depths in a frame", REFERENCE) == pytest.approx(272, rel=0.15)
    assert comparison.value("step at 1.4 to 2 m", REFERENCE) == pytest.approx(8.2, abs=1.5)
    assert comparison.value("step at 2 to 2.8 m", REFERENCE) == pytest.approx(16.2, abs=1.5)
    assert comparison.value("holes", REFERENCE) == pytest.approx(11, abs=2)


def test_clean_depth_is_far_and_simulated_depth_is_nearer_in_its_noise(comparison: Comparison) -> None:
    for figure in (
        "noise against depth",
        "step against depth",
        "roughness, Wasserstein",
        "holes a frame, Wasserstein",
        "patches, MMD squared x 1000",
    ):
        floor, simulated, clean = (comparison.value(figure, name) for name in (HELD_OUT, "simulated", "clean"))
        assert floor < simulated < clean, figure
    assert comparison.value("noise against depth", "clean") > 3
    assert comparison.value("patches told apart, AUC", "clean") > 0.95
