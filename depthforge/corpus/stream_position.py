"""Where a stream is in its epoch, shared with the loader workers of a process, which hand nothing back.

The position to go on from counts for one pass: all workers of that pass start from it, and every later pass is whole.
But a worker sees neither the passes nor the other workers, and the process that starts them is told of neither: workers
may live for one pass (then each is a fresh copy) or for many. So each worker claims the position in shared memory, in a
slot of its own, under the seed that torch draws for the workers of a loader. A free slot beside claims of the same seed
is the same pass; a claimed slot, or claims of another seed, are a later one. Slots need no lock, and the claim of a
slot tells passes apart even when torch is seeded alike before each.

What this cannot see: a worker that begins a pass which was broken off only after the next position was loaded, while
it lives on (persistent workers, left before each of them had begun).
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils.data import get_worker_info

from depthforge.errors import InputError

__all__ = ["StreamPosition"]

_MOST_WORKERS: Final = 1024
_FREE: Final = -1
_THIS_PROCESS: Final = -2


class StreamPosition:
    """The epoch that is followed, the item its next pass starts at, and who has begun that pass.

    ``following`` is the item after the last one that was yielded in this process.
    """

    def __init__(self) -> None:
        self._epoch_and_first = torch.zeros(2, dtype=torch.int64)
        self._claims = torch.full((_MOST_WORKERS,), _FREE, dtype=torch.int64)
        self.following = 0
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share()

    def _share(self) -> None:
        """Have the workers of this process see what is set later, those of a copy of the stream too."""
        self._epoch_and_first.share_memory_()  # type: ignore[no-untyped-call]
        self._claims.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch whose order is followed."""
        return int(self._epoch_and_first[0])

    @property
    def begun_by_workers(self) -> bool:
        """Whether loader workers have begun a pass of what was set last: then this process knows no position."""
        return bool((self._claims >= 0).any())

    def set(self, epoch: int, first_item: int) -> None:
        """Have the next pass go through ``epoch`` from ``first_item``, and those after it through all of it."""
        self._epoch_and_first[:] = torch.tensor([epoch, first_item])
        self._claims[:] = _FREE
        self.following = first_item

    def begin_pass(self) -> int:
        """Return the item at which a pass starts that begins here, in this process or in a loader worker."""
        worker = get_worker_info()
        if worker is None:
            is_first = bool((self._claims == _FREE).all())
            self._claims[:] = torch.where(self._claims == _FREE, _THIS_PROCESS, self._claims)
        elif worker.num_workers > _MOST_WORKERS:
            raise InputError(
                "a stream cannot be shared by so many loader workers",
                expected=f"at most {_MOST_WORKERS}",
                found=worker.num_workers,
            )
        else:
            of_loader = worker.seed - worker.id
            claims = self._claims[self._claims != _FREE]
            is_first = int(self._claims[worker.id]) == _FREE and bool((claims == of_loader).all())
            if int(self._claims[worker.id]) == _FREE:
                self._claims[worker.id] = of_loader
        self.following = int(self._epoch_and_first[1]) if is_first else 0
        return self.following
