"""Real recordings with poses, beside the checkout: fused to their own truth, and put through sensors in the same views.

They lie in data/real of the folder ``shared`` beside the checkout, or of DEPTHFORGE_SHARED; none of them is in the
project. Of each, the presets that stand beside it were tuned on the first half of its frames at most: ``half`` 2 is
what judges. mug_carmine is of 24 frames that hardly see each other, and no preset of a Kinect was tuned on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.timing import shared_folder
from depthforge.fitting.approaches import plan_for
from depthforge.fitting.fit import Fit, fit_sensor
from depthforge.fitting.scans import cuts_of, read_scans
from depthforge.frame import BoolImage, DepthImage, Frame, FrameRef, NoisyDepth
from depthforge.manifest import PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.realism import views
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.base import Source, SourceConfig
from depthforge.sources.resized import build_source
from depthforge.stages.prepare import make_translator
from depthforge.translators.base import Translator
from depthforge.translators.hole_sampling import LEVELS
from depthforge.translators.hybrid import Hybrid

__all__ = [
    "RECORDINGS",
    "Recording",
    "Trained",
    "View",
    "fitted",
    "fused",
    "half_of",
    "in_pairs",
    "measured_by",
    "sensor_for",
    "view_of",
]


class Recording(NamedTuple):
    """A recording as a source block, the size of its voxels and the largest residual of a frame that is kept, metres.

    ``presets`` are what it is held against: the drawn default of earlier versions first, then the camera's own.
    ``own`` is the preset that was tuned on its first half. ``baseline_m`` is the real camera's, by its data sheet.
    ``options`` are those of matched presets for its frames; ``blank_band`` says whether the stream has a blind border.
    """

    block: dict[str, Any]
    voxel_m: float
    max_residual_m: float
    presets: tuple[str, ...]
    own: str | None
    baseline_m: float
    options: dict[str, Any]
    blank_band: bool = True


RECORDINGS: Final = {
    "table_d435i": Recording(
        {
            "depth": "images_depths/{frame}.png",
            "rgb": "images_depths/{frame}.jpg",
            "depth_scale": 1000,
            "max_depth_m": 3.0,
            "camera": {"matrix_file": "config/intrinsics_matrix.npy"},
            "pose": {"file": "T_data/T_base2ee0{frame}.npz", "offset": -1, "T_hand_cam": "hand_eye.txt"},
        },
        voxel_m=0.003,
        max_residual_m=0.006,
        presets=("d435_drawn", "d435", "d435i"),
        own="d435i",
        baseline_m=0.05,
        options={"focal_length_px": 641.0, "aligned_offset_m": 0.015},
        blank_band=False,
    ),
    "lab_d4xx": Recording(
        {
            "depth": "depth/{frame}.png",
            "depth_scale": 1000,
            "invalid": [0, 65535],
            "max_depth_m": 10,
            "camera": {"width": 640, "height": 480, "fx": 383, "fy": 383, "cx": 320, "cy": 238},
            "pose": {"file": "poses/{frame}.txt"},
        },
        voxel_m=0.015,
        max_residual_m=0.02,
        presets=("d435_drawn", "d435", "d435i"),
        own="d435",
        baseline_m=0.05,
        options={"focal_length_px": 383.0},
    ),
    "redkitchen_kinect": Recording(
        {
            "depth": "frame-{frame}.depth.png",
            "rgb": "frame-{frame}.color.jpg",
            "depth_scale": 1000,
            "invalid": [0, 65535],
            "camera": {"width": 640, "height": 480, "fx": 585, "fy": 585, "cx": 320, "cy": 240},
            "pose": {"file": "frame-{frame}.pose.txt"},
        },
        voxel_m=0.01,
        max_residual_m=0.012,
        presets=("kinect_v1_published", "kinect_v1", "kinect_v1_matched", "primesense"),
        own="kinect_v1",
        baseline_m=0.075,
        options={},
    ),
    "mug_carmine": Recording(
        {
            "depth": "{frame}_depth.png",
            "rgb": "{frame}_rgb.png",
            "depth_scale": 1000,
            "camera": {"width": 640, "height": 480, "fx": 571.585632, "fy": 571.516967, "cx": 315.98, "cy": 243.74},
            "pose": {"file": "{frame}_pose.txt"},
        },
        voxel_m=0.005,
        max_residual_m=0.012,
        presets=("kinect_v1_published", "kinect_v1", "kinect_v1_matched", "primesense"),
        own=None,
        baseline_m=0.075,
        options={},
    ),
}
_INSIDE: Final = {"mug_carmine": "data"}


class View(NamedTuple):
    """The fused truth of one view as a frame, and what the real camera measured there, (H, W) metres, 0 is nothing."""

    clean: Frame
    real_m: DepthImage


def fused(name: str, folder: Path) -> tuple[Source, list[FrameRef]]:
    """Fuse a recording, its mesh kept in ``folder``; return the source of its truth and its frames in key order."""
    recording = RECORDINGS[name]
    block = {
        "name": "fused",
        "prepared": str(folder / name),
        "voxel_m": recording.voxel_m,
        "max_residual_m": recording.max_residual_m,
        "of": _scans_block(name),
    }
    source = build_source("fused", PluginBlock.parse(sources, block).config)
    source.prepare()
    return source, list(source.frames())


def _scans_block(name: str) -> dict[str, Any]:
    root = shared_folder("data", "real", name)
    if root is None:
        raise SystemExit(f"no recording {name}: ../shared/data/real or DEPTHFORGE_SHARED")
    inside = str(root / _INSIDE.get(name, ""))
    return {"name": "rgbd_folder", "root": inside, "dataset": name, **RECORDINGS[name].block}


def half_of(refs: Sequence[FrameRef], half: int) -> list[FrameRef]:
    """Return the first or the second (1, 2) half of a recording's frames; 0 is all of them."""
    middle = len(refs) // 2
    return list(refs if half == 0 else refs[:middle] if half == 1 else refs[middle:])


def in_pairs(refs: Sequence[FrameRef], count: int) -> list[FrameRef]:
    """Return ``count`` of the frames: evenly spaced ones, each with the next, as figures between frames want."""
    return [refs[place] for place in views.in_pairs(len(refs), count)]


def view_of(source: Source, ref: FrameRef) -> View:
    """Read one view; the frame has its pose, and colour where the recording has it."""
    wanted = {"rgb", "depth_raw", "T_world_cam"}
    frame = source.read(ref, frozenset(wanted & set(source.labels)))
    raw_m = np.asarray(frame.labels["depth_raw"], np.float32).reshape(frame.camera.size)
    return View(frame, np.nan_to_num(raw_m, posinf=0.0))


class Trained:
    """A trained translator of a manifest in the place of a sensor, which refuses no frame."""

    def __init__(self, manifest: Path, **changes: Any) -> None:
        made = make_translator(load_manifest(manifest).with_weights().translator)
        self.translator: Translator = type(made)(made.config.model_copy(update={"min_kept": 0.0, **changes}))
        self.translator.load()

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return the noisy depth that it makes of a frame."""
        depth = self.translator.translate(frame, words).depth
        assert depth is not None
        return depth

    def hole_probability(self, frame: Frame) -> DepthImage | None:
        """Return the probability of a hole (H, W) that it gives itself; None where it only draws."""
        if not isinstance(self.translator, Hybrid):
            return None
        levels = self.translator.hole_levels(frame, frame_words(0, frame.key, "same room"))
        return (levels / np.float32(LEVELS)).astype(np.float32)


def sensor_for(name: str, recording: Recording) -> Sensor | Trained:
    """Return a sensor by its preset or file, with what the stream of the recording asks of it.

    The manifest of a training stands for the translator that it left.
    """
    if Path(name).suffix == ".yaml" and "translator:" in Path(name).read_text():
        return Trained(Path(name))
    sensor = parse_sensor(name)
    fields = type(sensor).model_fields
    options: dict[str, Any] = {"blank_band": recording.blank_band} if "blank_band" in fields else {}
    if sensor.name == "matched_stereo":
        options |= recording.options
    return parse_sensor({"preset": name, **options}) if options else sensor


def fitted(name: str, preset: str, folder: Path, num_frames: int = 16) -> Fit:
    """Fit a sensor to the first half of a recording's frames alone, as `depthforge fit` does to posed scans.

    It begins at a preset or file, with what the stream of the recording asks of it.
    """
    recording = RECORDINGS[name]
    source, refs = fused(name, folder)
    of = PluginBlock.parse(sources, _scans_block(name)).config
    assert isinstance(of, SourceConfig)
    start = sensor_for(preset, recording)
    assert isinstance(start, Sensor)
    plan = plan_for(start)
    scans = read_scans(
        source,
        num_frames,
        limit=len(half_of(refs, 1)),
        wanted=start.uses,
        fewest=plan.fewest_frames,
        require=plan.require,
        is_truth=True,
        cuts_m=cuts_of(of),
    )
    return fit_sensor(start, scans)


def measured_by(sensor: Sensor | Trained, clean: Frame, seed: int = 0) -> Measured:
    """Return what a sensor makes of the truth, in whole millimetres as the recordings are."""
    measured = sensor.measure(clean, frame_words(seed, clean.key, "same room"))
    depth_m = (np.rint(measured.depth_m * 1000) / 1000).astype(np.float32)
    valid: BoolImage = measured.valid & (depth_m > 0)
    return Measured(np.where(valid, depth_m, np.float32(0)), valid)


def same_view(view: View, candidates: dict[str, Measured], probability: dict[str, DepthImage]) -> SameView:
    """Return a view with what ``candidates`` made of it and how likely they are to lose each pixel."""
    clean = view.clean
    return SameView(
        clean.key,
        clean.camera,
        Measured(clean.depth_m, clean.valid),
        Measured(view.real_m, view.real_m > 0),
        candidates,
        clean.T_world_cam,
        probability,
    )
