"""The order in which frames of several corpora are drawn, in proportion to weights: a function of (seed, epoch) alone.

Each corpus gives its share of an epoch to the frame (largest remainders). Its frames are drawn without replacement: a
corpus whose share is larger than it is goes through all its frames before any comes again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.seeding import frame_generator

__all__ = ["FrameSampler", "require_weights", "shares", "weighted_order"]

Order = Callable[[int, int], npt.NDArray[np.int64]]
"""(number of frames, pass) to an order of their positions."""


def require_weights(weights: Sequence[float] | None, counts: Sequence[int]) -> tuple[float, ...] | None:
    """Return the weights of some corpora of ``counts`` frames; InputError unless each has one and they can be drawn."""
    if weights is None:
        return None
    given = tuple(float(weight) for weight in weights)
    if (
        len(given) != len(counts)
        or not all(math.isfinite(weight) and weight >= 0 for weight in given)
        or sum(given) <= 0
        or any(weight > 0 and not count for weight, count in zip(given, counts, strict=True))
    ):
        raise InputError(
            "these weights draw from no corpora",
            expected=f"{len(counts)} numbers from 0 on, of which one is above 0, and none above 0 of an empty corpus",
            found=f"{list(given)} for corpora of {list(counts)} frames",
        )
    return given


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Return how many of ``total`` draws each weight has: proportional, rounded so that they add up."""
    exact = [weight / sum(weights) * total for weight in weights]
    counts = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def weighted_order(
    counts: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int, order: Order
) -> npt.NDArray[np.int64]:
    """Return positions (sum of counts,) int64 of an epoch; ``order`` says how one corpus is gone through."""
    total = sum(counts)
    drawn = []
    for first, count, share in zip(np.cumsum([0, *counts[:-1]]), counts, shares(weights, total), strict=True):
        passes = [order(count, number) for number in range(math.ceil(share / count))] if share else []
        drawn.append(first + np.concatenate(passes)[:share] if passes else np.empty(0, np.int64))
    whose = np.repeat(np.arange(len(counts)), [len(each) for each in drawn])
    whose = frame_generator(seed, f"epoch {epoch}", "corpora").permutation(whose)
    positions = np.empty(total, np.int64)
    for number, own in enumerate(drawn):
        positions[whose == number] = own
    return positions


class FrameSampler:
    """Positions of one rank in the order of an epoch, as the ``sampler`` of a DataLoader over a ``CorpusDataset``.

    Every rank has equally many; what is left over is dropped. A DataLoader asks ahead, so whoever saves a position says
    how many frames were used: ``state_dict(used)``; the pass that follows ``load_state_dict`` is the rest of its epoch.
    """

    def __init__(
        self,
        identity: Mapping[str, Any],
        epoch_order: Callable[[int], npt.NDArray[np.int64]],
        num_frames: int,
        *,
        rank: int,
        world_size: int,
    ) -> None:
        if not 0 <= rank < world_size or num_frames < world_size:
            raise InputError(
                "the rank lies outside the world, or there are not enough frames for every rank",
                found=f"rank {rank} of {world_size}, {num_frames} frames",
            )
        self._state_of = {**identity, "world_size": world_size}
        self._epoch_order = epoch_order
        self._num_frames, self.rank, self.world_size = num_frames // world_size, rank, world_size
        self.epoch, self._start = 0, 0

    def __len__(self) -> int:
        return self._num_frames - self._start

    def __iter__(self) -> Iterator[int]:
        order = self._epoch_order(self.epoch)[: self._num_frames * self.world_size]
        start, self._start = self._start, 0
        yield from order[self.rank :: self.world_size][start:].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Follow the order of ``epoch`` from its start; the epoch that was loaded goes on where it was."""
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def state_dict(self, used: int) -> dict[str, Any]:
        """Return where this rank is after ``used`` of its frames in this epoch."""
        return {**self._state_of, "epoch": self.epoch, "used": used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after a saved state; InputError when it is of other corpora, weights, seed or split by rank."""
        for name, value in self._state_of.items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved position is of another {name}", expected=value, found=state.get(name, "nothing")
                )
        self.epoch, self._start = int(state["epoch"]), int(state["used"])
