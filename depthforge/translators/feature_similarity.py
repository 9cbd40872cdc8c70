"""What a generator holds to be alike: the features of one place against those of all others, before and after.

The contrast of DCL and CUT is taken in the generator's own features. If it did its work, the place in the clean depth
and the same place in the noisy depth are alike to the same other places: the two maps of cosine similarity look the
same, as in Fig. 8 of DCL's paper. Two passes of the encoder and one of the generator.

Source: Shen et al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022, Fig. 8. The
layer is not stated there; ``TAPS`` are the five that the published code compares, the middle one is the default.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.networks.generator import DepthGenerator, pad_to_multiple
from depthforge.training.weights import load_networks
from depthforge.translators.learned_depth import LearnedDepth

__all__ = ["TAPS", "SimilarPlaces", "similar_places", "similarity_to"]

TAPS: Final = (3, 12, 14, 16, 18)
"""Layers of the published code's list whose features the contrast compares."""


class SimilarPlaces(NamedTuple):
    """Cosine similarity (h, w) float32 of every place of a layer to the one asked for, which is ``at`` (row, column).

    ``clean`` is of the features of the clean depth, ``noisy`` of those of what the generator made of it.
    """

    clean: npt.NDArray[np.float32]
    noisy: npt.NDArray[np.float32]
    at: tuple[int, int]

    @property
    def agreement(self) -> float:
        """Pearson's correlation of both maps, 1 where the noise changes nothing of what is alike; NaN of a flat map."""
        if self.clean.std() == 0 or self.noisy.std() == 0:
            return float("nan")
        return float(np.corrcoef(self.clean.ravel(), self.noisy.ravel())[0, 1])


def similarity_to(features: Tensor, row: int, column: int) -> Tensor:
    """Return the cosine similarity (h, w) of each place of ``features`` (C, h, w) to one of them, in [-1, 1]."""
    unit = functional.normalize(features, dim=0)
    return torch.einsum("chw,c->hw", unit, unit[:, row, column]).clamp(-1, 1)


def similar_places(
    translator: LearnedDepth, frame: Frame, words: tuple[int, int], at_px: tuple[int, int], tap: int = 14
) -> SimilarPlaces:
    """Return what the generator of ``translator`` holds to be like the pixel ``at_px`` (row, column) of ``frame``.

    ``words`` key the noise. InputError for a pixel outside the frame, a layer that is none of ``TAPS``, and a method
    without the generator of DCL; raises as the translator does.
    """
    height, width = frame.valid.shape
    if not (0 <= at_px[0] < height and 0 <= at_px[1] < width):
        raise InputError(
            "the place is outside of the frame",
            where=frame.key,
            expected=f"a row under {height} and a column under {width}",
            found=at_px,
        )
    if tap not in TAPS:
        raise InputError("the contrast compares no such layer", expected=f"one of {list(TAPS)}", found=tap)
    generator = _generator_of(translator)
    clean = torch.from_numpy(translator.images(frame)["depth"])[None]
    noisy = torch.from_numpy(translator.outputs([frame], [words])[0].share)[None, None]
    maps, place = [], (0, 0)
    for depth in (clean, noisy):
        with torch.inference_mode():
            features = generator.encode(pad_to_multiple(depth.float()))[TAPS.index(tap)][0]
        scale = pad_to_multiple(depth).shape[-1] // features.shape[-1]
        rows, columns = -(-height // scale), -(-width // scale)
        place = (at_px[0] // scale, at_px[1] // scale)
        maps.append(similarity_to(features[:, :rows, :columns], *place).numpy())
    return SimilarPlaces(maps[0], maps[1], place)


def _generator_of(translator: LearnedDepth) -> DepthGenerator:
    """Return its trained generator, whose features can be asked for, on the CPU."""
    networks = type(translator).make_networks(translator.config)
    generator = networks.get("generator")
    if not isinstance(generator, DepthGenerator):
        raise InputError(
            f"the translator {translator.name} has no generator whose features are compared",
            expected="dcl or cut",
            found=translator.name,
        )
    translator.load()
    load_networks(translator.folder, networks)
    return generator.eval()
