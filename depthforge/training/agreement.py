"""A training in several processes: what fails in one of them ends all of them, with one error.

Whatever the processes exchange, they first exchange one word: whether all is well here. A process in which anything
fails, at any point, says with that word that it is not, and so meets the others at whatever they wait for next; nobody
has to know where it failed. Then all tell what happened to them, and all raise the error of the first that failed.

The word costs 0.5 ms of the processor between two processes of one machine, two or three times in a step
(``tests.training.test_distributed`` has a bound), and nothing in a training of one. It travels as a CPU tensor, so that
no process waits for its GPU. The alternative, a time limit on every message, has to be longer than the longest
evaluation, for which the others wait too.
"""

from __future__ import annotations

import pickle
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import torch
from torch import Tensor, distributed

from depthforge.errors import DepthforgeError

__all__ = ["ProcessLostError", "all_agree", "average", "failing_together", "from_first", "num_processes"]

_FAILED: Final = 0
_NO: Final = 1
_YES: Final = 2


class ProcessLostError(RuntimeError):
    """Another process of the training is gone, or cannot be reached: nothing can be agreed on with the others."""


class _FailedElsewhere(Exception):  # noqa: N818 (a signal within this module)
    """Another process has failed; which error it was is told next."""


class _Told(NamedTuple):
    """What a process says of its failure: where it runs, the error, pickled, and its traceback."""

    host: str
    error: bytes
    traceback: str


def num_processes() -> int:
    """Return how many processes train together: those of torch's process group, 1 where there is none."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def all_agree(here: bool = True) -> bool:
    """Return whether ``here`` is true in every process; each waits until all have come here, and are well.

    To be called within :func:`failing_together`, which ends when another process has failed. Raises ProcessLostError
    when one is gone.
    """
    if num_processes() == 1:
        return here
    word = _exchange(_YES if here else _NO, distributed.ReduceOp.MIN)
    if word == _FAILED:
        raise _FailedElsewhere
    return word == _YES


def from_first(number: int) -> int:
    """Return the ``number`` that the first process gives; as :func:`all_agree` where one has failed."""
    if num_processes() == 1:
        return number
    all_agree()
    return _exchange(number if distributed.get_rank() == 0 else 0, distributed.ReduceOp.SUM)


def average(message: Tensor) -> None:
    """Replace ``message`` by its mean over the processes, on its device; as :func:`all_agree` where one has failed."""
    all_agree()
    _all_reduce(message, distributed.ReduceOp.SUM)
    message /= num_processes()


@contextmanager
def failing_together() -> Iterator[None]:
    """A block that all processes run: none leaves it before all have, and one that fails has all fail.

    Each then raises the error of the first process (by rank) that failed: that process its own, the others one of the
    same class that names it. A process that dies is a ProcessLostError in the others.
    """
    if num_processes() == 1:
        yield
        return
    try:
        yield
        all_agree()
    except ProcessLostError:
        raise
    except Exception as error:
        failed = not isinstance(error, _FailedElsewhere)
        if failed:
            _exchange(_FAILED, distributed.ReduceOp.MIN)
        first, told = _first_failure(error if failed else None)
        if first == distributed.get_rank():
            raise
        raise _error_of(told, first) from None


def _exchange(number: int, operation: distributed.ReduceOp.RedOpType) -> int:
    """Return what ``operation`` makes of the numbers of all processes."""
    # A group of NCCL alone takes no CPU tensor.
    device = "cpu" if "cpu" in distributed.get_backend_config() else "cuda"
    answer = torch.tensor([number], device=device)
    _all_reduce(answer, operation)
    return int(answer.item())


def _all_reduce(message: Tensor, operation: distributed.ReduceOp.RedOpType) -> None:
    try:
        distributed.all_reduce(message, op=operation)
    except RuntimeError as error:
        raise ProcessLostError(f"another process of the training cannot be reached: {error}") from error


def _first_failure(error: Exception | None) -> tuple[int, _Told]:
    """Tell the others of ``error``, if any; return the first rank that failed and what it told."""
    told = None if error is None else _Told(socket.gethostname(), _pickled(error), _text_of(error))
    answers: list[_Told | None] = [None] * num_processes()
    try:
        distributed.all_gather_object(answers, told)
    except RuntimeError as lost:
        raise ProcessLostError(f"another process of the training cannot be reached: {lost}") from (error or lost)
    return next((rank, answer) for rank, answer in enumerate(answers) if answer is not None)


def _pickled(error: Exception) -> bytes:
    """Return the error as it can be read elsewhere: one that cannot be pickled as a RuntimeError of its text."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content


def _text_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _error_of(told: _Told, rank: int) -> Exception:
    """Return the error of process ``rank`` as another one raises it."""
    error = pickle.loads(told.error)
    worker = f"worker {rank} of {num_processes()}, on {told.host}"
    if isinstance(error, DepthforgeError):
        error.where = worker if error.where is None else f"{error.where} ({worker})"
    else:
        error.add_note(f"in {worker}:\n{told.traceback}")
    assert isinstance(error, Exception)
    return error
