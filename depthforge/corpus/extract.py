"""One frame of a corpus as ordinary files, for whoever has no reader at hand: images, text, arrays, and what they mean.

Depth is a 16-bit PNG in the corpus' own steps (float32 depth: .npy in metres), colour the carried JPEG file or a PNG,
ids and other images of one or three channels of 8 or 16 bits PNG, matrices text, everything else .npy. ``frame.json``
says of each file its units, scale and meaning. Numbers are those that are stored, to the last bit.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY
from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import InputError
from depthforge.labels.spec import LabelSpec
from depthforge.storage import Place

__all__ = ["extract"]


def extract(root: Place, key: str, folder: Path) -> list[Path]:
    """Write every field of the frame ``key`` into ``folder``, made if need be, and return the files.

    Raises MissingDataError for an unknown key, InputError when ``folder`` holds files, StorageError when it cannot be
    written.
    """
    reader = CorpusReader(root, allow_unfinished=True)
    position = reader.position(key)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("the folder holds files already", where=folder, remedy="name one that is new or empty")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    said: dict[str, Any] = {}
    written = []
    for spec in reader.schema.stored:
        if spec.name not in (DEPTH_CLEAN, DEPTH_NOISY) and not reader.has(spec.name, position):
            continue
        name, content = _file_of(reader, spec, position)
        write_atomically(folder / name, content)
        written.append(folder / name)
        said[name] = {"field": spec.name, "dtype": spec.dtype, "units": spec.units, "meaning": spec.description}
        if spec.name in (DEPTH_CLEAN, DEPTH_NOISY) and reader.schema.depth.dtype == "uint16":
            said[name] |= {"metres_per_step": reader.schema.depth.scale_m, "no_measurement": 0}
    about = {"key": key, "corpus": reader.info.name, "fingerprint": reader.info.fingerprint, "files": said}
    write_atomically(folder / "frame.json", (json.dumps(about, indent=2) + "\n").encode())
    return [*written, folder / "frame.json"]


def _file_of(reader: CorpusReader, spec: LabelSpec, position: int) -> tuple[str, bytes]:
    file = reader.jpeg_file(spec.name, position) if reader.schema.is_jpeg(spec.name) else None
    if file is not None:
        return f"{spec.name}.jpg", file
    values = reader.stored(spec.name, position)
    is_picture = values.dtype in (np.uint8, np.uint16) and (values.ndim == 2 or values.shape[2:] == (3,))
    if spec.layout == "image" and is_picture:
        image = values if values.ndim == 2 else np.ascontiguousarray(values[..., ::-1])
        return f"{spec.name}.png", cv2.imencode(".png", image)[1].tobytes()
    if spec.layout == "image" and values.dtype == np.bool_ and values.ndim == 2:
        return f"{spec.name}.png", cv2.imencode(".png", values.astype(np.uint8) * 255)[1].tobytes()
    if spec.layout == "frame" and values.ndim <= 2 and values.dtype.kind == "f":
        return f"{spec.name}.txt", _text(np.atleast_2d(values))
    array = io.BytesIO()
    np.save(array, values)
    return f"{spec.name}.npy", array.getvalue()


def _text(matrix: npt.NDArray[Any]) -> bytes:
    """Return a matrix as text, every number so that it reads back as the same."""
    return "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in matrix).encode()
