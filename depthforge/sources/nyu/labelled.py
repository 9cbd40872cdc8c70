"""``nyu_depth_v2_labeled.mat``: 1449 frames in one HDF5 file (MATLAB 7.3), read a frame at a time.

MATLAB stores columns first, so h5py sees every axis reversed: images (N, 3, W, H), depths (N, W, H). The file is
opened once in each process, when it is first needed: HDF5 must not be shared across a fork. A frame costs 2 ms
of depth and 5 ms more with colour and labels, when its chunks are not compressed.
Source: the data set's page, cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError

__all__ = ["LABELLED_FILE", "SPLITS_FILE", "LabelledSet", "read_split"]

LABELLED_FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
_AXES = {"images": "(N, 3, W, H)", "depths": "(N, W, H)", "rawDepths": "(N, W, H)", "labels": "(N, W, H)"}
_FETCH_AGAIN = f"fetch {LABELLED_FILE} (2.8 GB) again"


class LabelledSet:
    """The file at ``path``, of images of ``size`` (height, width); opened lazily, and again in a forked process."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path, self._size = path, size
        self._lock = threading.Lock()
        self._open: tuple[int, Any] | None = None
        self._scenes: list[str] | None = None

    def scenes(self) -> list[str]:
        """Return the scene of every frame, in order; raises MissingDataError and DecodeError naming the file."""
        if self._scenes is None:
            file = self._file()
            try:
                references = np.ravel(file["scenes"][()])
                self._scenes = ["".join(map(chr, np.ravel(file[reference][()]))) for reference in references]
            except (KeyError, OSError, ValueError, TypeError) as error:
                raise self._broken("scenes", error) from None
        return self._scenes

    def image(self, name: str, index: int) -> npt.NDArray[Any]:
        """Return frame ``index`` (from 0) of images (H, W, 3), or of another array (H, W), in its own type."""
        file = self._file()
        try:
            stored = file[name]
            inner = stored.shape[1:]
            if inner[-2:] != self._size[::-1]:
                raise DecodeError(
                    "an array of the labelled set has other axes",
                    where=f"{self._path}: {name}",
                    expected=f"{_AXES.get(name, '(N, W, H)')} with W, H = {self._size[1]}, {self._size[0]}",
                    found=stored.shape,
                    remedy=_FETCH_AGAIN,
                )
            return np.ascontiguousarray(np.asarray(stored[index]).T)
        except (KeyError, IndexError, OSError, ValueError, RuntimeError) as error:
            if isinstance(error, DecodeError):
                raise
            raise self._broken(name, error) from None

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        with self._lock:
            if self._open is not None and self._open[0] == os.getpid():
                self._open[1].close()
            self._open, self._scenes = None, None

    def _file(self) -> Any:
        import h5py

        with self._lock:
            if self._open is not None and self._open[0] == os.getpid():
                return self._open[1]
            if not self._path.is_file():
                raise MissingDataError(
                    "the labelled set of NYU Depth v2 is not there",
                    where=self._path,
                    expected=LABELLED_FILE,
                    remedy="depthforge sample --layout nyu DIR, then export NYU_ROOT=DIR; raw dumps: `files: raw`",
                )
            try:
                file = h5py.File(self._path, "r")
            except OSError as error:
                raise DecodeError(
                    "the labelled set cannot be opened",
                    where=self._path,
                    expected="HDF5 (MATLAB 7.3)",
                    found=error,
                    remedy=_FETCH_AGAIN,
                ) from None
            self._open = os.getpid(), file
            return file

    def _broken(self, name: str, error: Exception) -> DecodeError:
        return DecodeError(
            "an array of the labelled set cannot be read",
            where=f"{self._path}: {name}",
            found=f"{type(error).__name__}: {error}",
            remedy=_FETCH_AGAIN,
        )


def read_split(path: Path, split: str, num_frames: int) -> npt.NDArray[np.int64]:
    """Return the indices (from 0) of ``train`` or ``test`` in ``splits.mat``, which counts from 1.

    Raises MissingDataError and DecodeError, naming the file.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise MissingDataError(
            "no list of the split",
            where=path,
            expected=SPLITS_FILE,
            remedy=f"fetch {SPLITS_FILE} from the data set's page, or set `split: all`",
        )
    try:
        content = loadmat(path)
    except (ValueError, NotImplementedError, OSError, TypeError, IndexError) as error:
        raise DecodeError("the list of the split cannot be read", where=path, found=error) from None
    name = f"{split}Ndxs"
    numbers = np.ravel(content.get(name, ()))
    if not numbers.size or numbers.min() < 1 or numbers.max() > num_frames:
        raise DecodeError(
            "not the split of this set",
            where=f"{path}: {name}",
            expected=f"numbers from 1 to {num_frames}",
            found=f"{numbers.min()} to {numbers.max()}" if numbers.size else f"{sorted(content)}",
        )
    return np.unique(numbers.astype(np.int64)) - 1
