"""Contrastive losses between the generator's features of a clean depth image and of the noisy one it made of it.

Patch-NCE (CUT) compares the two at the same position, so that each place of the noisy image stays recognisably made
from that place of the clean one. The differential loss (DCL) compares the *difference* of two positions: depth may
shift, as a sensor's does, but the geometry between two points must not. Both are InfoNCE: of P candidates the one from
the same place must be the nearest in direction; the others are the negatives.

Positions are arguments, drawn by ``draw_pairs`` and ``draw_positions`` from a generator that the caller seeds. A layer
costs B x P x P dot products of 128 (8.4 million multiplications an image at P = 256), little beside the encoder pass
behind it. ``same_anchor`` compares against P x P differences instead of P, and runs the head over all of them: 256
times the vectors.

Sources: Park et al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020, equation 3; Shen et
al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022, equations 4 and 5. Where
DCL's paper and published code differ, the code is followed: positions are uniform (the paper: Gaussian around the
anchor, sigma not given), negatives are other pairs of the same image (the paper: other partners of the same anchor),
layers are averaged (the paper: summed), and the head acts on the difference (the paper can be read the other way).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.precision import without_autocast

__all__ = [
    "Heads",
    "Negatives",
    "Pairs",
    "at_positions",
    "differences",
    "differential_losses",
    "draw_pairs",
    "draw_positions",
    "info_nce",
    "layer_mean",
    "patch_losses",
    "unit_vectors",
]

Heads = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Vectors (..., C_l) of every layer to their projections: a ``PatchHeads``, or ``list`` for none."""

Negatives = Literal["same_image", "same_anchor", "batch"]


class Pairs(NamedTuple):
    """Flat row-major positions (P,) int64 of the two ends of P differences: anchors and partners."""

    anchor: Tensor
    partner: Tensor


def draw_positions(height: int, width: int, count: int, random: torch.Generator) -> Tensor:
    """Return min(count, height x width) different positions (P,) int64, uniform over the layer."""
    return torch.randperm(height * width, generator=random)[:count]


def draw_pairs(height: int, width: int, count: int, random: torch.Generator, *, sigma_px: float | None = None) -> Pairs:
    """Return min(count, height x width) pairs of positions on a layer of this size.

    Anchors are different from each other and uniform. Partners are too, drawn independently; with ``sigma_px`` each
    is Gaussian around its anchor instead, cut off at the border, that many pixels of the layer wide. Either way a
    pair may fall on one position: its difference is 0 and teaches nothing.
    """
    anchor = draw_positions(height, width, count, random)
    if sigma_px is None:
        return Pairs(anchor, draw_positions(height, width, count, random))
    row = _gaussian_around(anchor // width, height, sigma_px, random)
    column = _gaussian_around(anchor % width, width, sigma_px, random)
    return Pairs(anchor, row * width + column)


def _gaussian_around(centre: Tensor, size: int, sigma_px: float, random: torch.Generator) -> Tensor:
    # By inverting the distribution function between the two borders: no rejection, and no heap at the border.
    if not sigma_px > 0:
        raise InputError("the pair distance must be positive", where="pair sigma", expected="> 0", found=sigma_px)
    uniform = torch.rand(centre.shape, generator=random, dtype=torch.float64)
    low = torch.special.ndtr((-0.5 - centre) / sigma_px)
    high = torch.special.ndtr((size - 0.5 - centre) / sigma_px)
    offset_px = sigma_px * torch.special.ndtri(low + (high - low) * uniform)
    position: Tensor = (centre + offset_px).round().clamp(0, size - 1).long()
    return position


def differential_losses(
    query: Sequence[Tensor],
    key: Sequence[Tensor],
    pairs: Sequence[Pairs],
    heads: Heads = list,
    *,
    temperature: float = 0.07,
    negatives: Negatives = "same_image",
) -> list[Tensor]:
    """Return DCL's loss of every pair, (B * P_l,) for each layer l, image by image.

    ``query`` are the features (B, C_l, H_l, W_l) of the generated depth, ``key`` those of the clean depth, which get
    no gradient. ``negatives`` are the other pairs of the image, the other partners of the same anchor (the paper's
    equation 4), or the other pairs of the whole batch.
    """
    compared = unit_vectors(heads(differences(query, pairs)))
    with torch.no_grad():
        offered = _fans(key, pairs) if negatives == "same_anchor" else differences(key, pairs)
        candidates = unit_vectors(heads(offered))
    return _each_layer(compared, candidates, temperature, whole_batch=negatives == "batch")


def patch_losses(
    query: Sequence[Tensor],
    key: Sequence[Tensor],
    positions: Sequence[Tensor],
    heads: Heads = list,
    *,
    temperature: float = 0.07,
    negatives: Literal["same_image", "batch"] = "same_image",
) -> list[Tensor]:
    """Return patch-NCE of every position, (B * P_l,) for each layer l, image by image; see ``differential_losses``."""
    compared = unit_vectors(heads(at_positions(query, positions)))
    with torch.no_grad():
        candidates = unit_vectors(heads(at_positions(key, positions)))
    return _each_layer(compared, candidates, temperature, whole_batch=negatives == "batch")


def info_nce(query: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """Return (G * P,) cross-entropies of finding each query's own candidate among P.

    ``query`` is (G, P, D). ``candidates`` is (G, P, D), the p-th being the positive of the p-th query, or
    (G, P, P, D), where query p has candidates of its own, [:, p, p] the positive. The published code puts the
    positive first and a logit of -10 / temperature in its old place: less than 1e-55 of the sum at 0.07, so the same
    in double precision.
    """
    # Over the temperature, an error of bfloat16's 8 bits would be 0.05 of a logit.
    with without_autocast(query.device):
        if candidates.ndim == 4:
            logits = torch.einsum("gpd,gpqd->gpq", query, candidates)
        else:
            logits = query @ candidates.mT
    groups, count, _ = logits.shape
    target = torch.arange(count, device=logits.device).repeat(groups)
    return functional.cross_entropy(logits.flatten(0, 1) / temperature, target, reduction="none")


def layer_mean(losses: Sequence[Tensor]) -> Tensor:
    """Return the mean over layers of the mean over each layer's terms: a scalar, every layer of equal weight."""
    return torch.stack([loss.mean() for loss in losses]).mean()


def differences(features: Sequence[Tensor], pairs: Sequence[Pairs]) -> list[Tensor]:
    """Return features at the anchors less features at the partners, (B, P_l, C_l) for each layer l."""
    anchors = at_positions(features, [p.anchor for p in pairs])
    partners = at_positions(features, [p.partner for p in pairs])
    return [anchor - partner for anchor, partner in zip(anchors, partners, strict=True)]


def at_positions(features: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
    """Return features (B, C_l, H_l, W_l) at flat positions (P_l,), as (B, P_l, C_l) for each layer l."""
    # Picked from rows of channels, so that the gradient lies as the features do.
    return [f.flatten(2).mT.index_select(1, p) for f, p in zip(features, positions, strict=True)]


def unit_vectors(vectors: Sequence[Tensor]) -> list[Tensor]:
    """Return vectors (..., D) over their length plus 1e-7, in float32 at least.

    The zero vector stays zero, with gradient zero. In the published code it gets NaN, which the ReLU of the heads
    keeps from the generator but not from the heads: DCL's could not have been trained there.
    """
    vectors = [v.to(torch.promote_types(v.dtype, torch.float32)) for v in vectors]
    return [v / (torch.linalg.vector_norm(v, dim=-1, keepdim=True) + 1e-7) for v in vectors]


def _fans(features: Sequence[Tensor], pairs: Sequence[Pairs]) -> list[Tensor]:
    """Every anchor against every partner: (B, P_l, P_l, C_l)."""
    anchors = at_positions(features, [p.anchor for p in pairs])
    partners = at_positions(features, [p.partner for p in pairs])
    return [anchor[:, :, None] - partner[:, None] for anchor, partner in zip(anchors, partners, strict=True)]


def _each_layer(query: list[Tensor], candidates: list[Tensor], temperature: float, whole_batch: bool) -> list[Tensor]:
    if whole_batch:
        query, candidates = ([v.flatten(0, 1)[None] for v in vectors] for vectors in (query, candidates))
    return [info_nce(q, k, temperature) for q, k in zip(query, candidates, strict=True)]
