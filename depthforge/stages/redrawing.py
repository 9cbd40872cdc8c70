"""The translator of a corpus once more: how often does each pixel come out as a hole?

A corpus holds one drawing of the noise, and one mask says little of where the simulation expects holes. Its translator,
built again from what the corpus says of it (with the weights that the corpus keeps), draws the same clean frame several
times, by other seeds than the corpus'. The clean depth is that of the corpus: rounded to its step, which moves an edge
of the sensor's range by as much. Cost: what the translator costs, for each draw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusFrame, CorpusReader
from depthforge.frame import Camera, Frame
from depthforge.labels.catalogue import INTRINSICS, POSE, RGB
from depthforge.manifest import PluginBlock
from depthforge.realism.same_view.hole_places import frequency
from depthforge.registry import translators
from depthforge.seeding import frame_words
from depthforge.stages.prepare import make_translator
from depthforge.translators.base import Translator

__all__ = ["HoleFrequency", "baseline_of", "translator_of"]


class HoleFrequency:
    """The probability of a hole at each pixel of a frame of a corpus, by ``draws`` drawings of its translator."""

    def __init__(self, translator: Translator, seed: int, draws: int) -> None:
        self._translator, self._seed, self._draws = translator, seed, draws
        self._translator.load()

    @property
    def labels(self) -> frozenset[str]:
        """Labels that the translator reads."""
        return self._translator.wanted | self._translator.uses

    def __call__(self, frame: CorpusFrame, camera: Camera) -> npt.NDArray[np.float32]:
        """Return the probabilities (H, W) float32 of a frame as read; raises as the translator does."""
        apart = {RGB.name, POSE.name, INTRINSICS.name}
        return self.of(
            Frame(
                frame.key,
                frame.clean_depth_m,
                frame.clean_valid,
                camera,
                rgb=frame.labels.get(RGB.name),
                T_world_cam=frame.labels.get(POSE.name),
                labels={name: value for name, value in frame.labels.items() if name not in apart},
            )
        )

    def of(self, clean: Frame) -> npt.NDArray[np.float32]:
        """Return the probabilities (H, W) float32 of a clean frame."""
        holes = np.zeros(clean.valid.shape, np.int64)
        for draw in range(1, self._draws + 1):
            words = frame_words(self._seed + draw, clean.key, self._translator.fingerprint)
            noisy = self._translator.translate(clean, words).depth
            assert noisy is not None
            holes += ~noisy.valid
        return frequency(holes, self._draws)


def translator_of(reader: CorpusReader) -> Translator:
    """Build the translator that made a corpus, which refuses no frame.

    Raises ManifestError when what the corpus says of it does not fit this version, UnknownNameError for a plug-in that
    is not installed.
    """
    fields = dict(reader.info.manifest["translator"])
    plugin = translators.get(fields["name"])
    folder = reader.translator_folder
    if "weights" in plugin.Config.model_fields:
        fields["weights"] = str(folder)
    translator = make_translator(PluginBlock.parse(translators, fields))
    config = translator.relocated(folder) if folder.is_dir() else translator.config
    if "min_kept" in type(config).model_fields:
        config = config.model_copy(update={"min_kept": 0.0})
    return type(translator)(config)


def baseline_of(reader: CorpusReader) -> float | None:
    """Return the distance between the two eyes of the sensor of a corpus in metres, None where it does not say.

    That of the camera that the source block states, else that of the simulated sensor: a sensor that is to be held
    against a recording has that recording's.
    """
    block = reader.info.manifest["source"]
    camera = block.get("of", block).get("camera")
    if isinstance(camera, dict) and camera.get("baseline_m") is not None:
        return float(camera["baseline_m"])
    fields = reader.info.manifest["translator"]
    plugin = translators.get(fields["name"])
    if "sensor" not in plugin.Config.model_fields:
        return None
    config = PluginBlock.parse(translators, fields).config
    baseline_m = getattr(getattr(config, "sensor", None), "baseline_m", None)
    return None if baseline_m is None else float(baseline_m)
