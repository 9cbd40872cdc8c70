"""Frames in batches through a model, while one thread reads ahead of it and another writes behind it.

The model works in the calling thread and waits for neither PNG nor zstd as long as each of them alone is faster than
it. Everything happens in the order of the plan, each end in a single thread, so sources and writers need not be
thread-safe. Read ahead and written behind is one batch at most: with the one in the model that is three batches of
frames in memory, however long the shard is. A process for each end would copy every image twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from depthforge.errors import StorageError
from depthforge.frame import Capture, Frame, FrameRef

__all__ = ["BLAMELESS", "Rejected", "attempt", "convert_in_batches", "frames_in_flight"]

# What befalls a worker, or the output, and says nothing about the frame in hand. SystemError is how a worker that is
# being shut down sees its exit from inside compiled code: such a frame must be read again by whoever goes on.
BLAMELESS: Final = (MemoryError, SystemError, StorageError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a frame could not be converted: ``stage`` is read, translate or write."""

    stage: str
    error: Exception


def attempt(stage: str, function: Callable[..., T], *arguments: Any) -> T | Rejected:
    """Call ``function``; what it raises is a reject of the frame in hand, unless it is BLAMELESS.

    A bug in a plug-in must not lose the other frames: it becomes a row that names it.
    """
    try:
        return function(*arguments)
    except BLAMELESS:
        raise
    except Exception as error:
        return Rejected(stage, error.with_traceback(None))  # the traceback would keep the images of the frame


def frames_in_flight(batch_size: int) -> int:
    """Return how many frames :func:`convert_in_batches` holds at most."""
    return 3 * batch_size + 1


def convert_in_batches(
    refs: Sequence[FrameRef],
    *,
    batch_size: int,
    read: Callable[[FrameRef], Frame],
    translate: Callable[[Sequence[Frame]], list[Capture]],
    write: Callable[[Frame, Capture], None],
    reject: Callable[[FrameRef, Rejected], None],
) -> None:
    """Read, translate and write every frame of ``refs``; each ends in one call of ``write`` or of ``reject``.

    ``read`` is called in one thread, ``write`` and ``reject`` in another, ``translate`` in this one. A batch that
    fails is repeated frame by frame, so that only the frame at fault is rejected. BLAMELESS errors are raised.
    """

    def end(ref: FrameRef, frame: Frame | Rejected, capture: Capture | Rejected) -> None:
        rejected: Rejected | None
        if isinstance(frame, Rejected):
            rejected = frame
        elif isinstance(capture, Rejected):
            rejected = capture
        else:
            rejected = attempt("write", write, frame, capture)
        if rejected is not None:
            reject(ref, rejected)

    with _thread("read") as reader, _thread("write") as writer:
        writing: deque[Future[None]] = deque()
        for batch in _batches(refs, _ahead(reader, read, refs, batch_size), batch_size):
            frames = [frame for _, frame in batch if not isinstance(frame, Rejected)]
            captures = iter(_translated(translate, frames))
            for ref, frame in batch:
                if len(writing) == batch_size:
                    writing.popleft().result()
                writing.append(writer.submit(end, ref, frame, frame if isinstance(frame, Rejected) else next(captures)))
        for ended in writing:
            ended.result()


def _ahead(
    reader: ThreadPoolExecutor, read: Callable[[FrameRef], Frame], refs: Iterable[FrameRef], limit: int
) -> Iterator[Frame | Rejected]:
    """Yield what ``read`` returns for each of ``refs``, ``limit`` of them read ahead."""
    reading: deque[Future[Frame | Rejected]] = deque()
    for ref in refs:
        reading.append(reader.submit(attempt, "read", read, ref))
        if len(reading) > limit:
            yield reading.popleft().result()
    while reading:
        yield reading.popleft().result()


def _batches(
    refs: Iterable[FrameRef], frames: Iterable[Frame | Rejected], size: int
) -> Iterator[list[tuple[FrameRef, Frame | Rejected]]]:
    """Yield runs of ``size`` sound frames and whatever rejects lie between; the last run may be shorter."""
    batch: list[tuple[FrameRef, Frame | Rejected]] = []
    num_sound = 0
    for ref, frame in zip(refs, frames, strict=True):
        batch.append((ref, frame))
        num_sound += not isinstance(frame, Rejected)
        if num_sound == size:
            yield batch
            batch, num_sound = [], 0
    if batch:
        yield batch


def _translated(translate: Callable[[Sequence[Frame]], list[Capture]], frames: list[Frame]) -> list[Capture | Rejected]:
    if not frames:
        return []
    together = attempt("translate", translate, frames)
    if not isinstance(together, Rejected):
        return [*together]
    if len(frames) == 1:
        return [together]
    return [outcome for frame in frames for outcome in _translated(translate, [frame])]


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread that does one thing after the other; what it has not begun when the block fails is dropped."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
