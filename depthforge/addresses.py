"""Where a run may write and a reader may look, as a user says it: a folder, and never a folder named like a URL.

``Path("s3://bucket/corpus")`` is the relative path ``s3:/bucket/corpus``: taken at its word, a run fills a local folder
of that name and nobody finds the corpus. So every place where such a text enters asks here first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from depthforge.errors import InputError

__all__ = ["local_folder"]

# What a shell would have filled: nobody names a folder so.
_VARIABLE = re.compile(r"(?:^|/)\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)(?=/|$)")
# A scheme and a slash (of two, pathlib keeps one); and what no one means as the name of a folder.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|(?:s3[an]?|gs|gcs|azs?|abfss?|adl|wasbs?|hdfs|hf|https?|ftp|file):")


def local_folder(address: Path | str, *, where: object = None) -> Path:
    """Return ``address`` as a path, a ``~`` at its head as the home that it means.

    Raises InputError, naming ``where`` it was said, when it is a URL, a variable stands in it that nobody filled, or
    the home is not known.
    """
    text = os.fspath(address)
    if _URL.match(text):
        raise InputError(
            "a URL is no folder: depthforge reads and writes mounted file systems",
            where=where,
            expected="a path",
            found=text,
            remedy="use a folder, and copy from or to the object store; or mount it",
        )
    variable = _VARIABLE.search(text)
    if variable is not None:
        name = variable[0].strip("/${}")
        raise InputError(
            f"nobody has filled in ${name}",
            where=where,
            expected="the path itself",
            found=text,
            remedy=f"in a manifest write ${{{name}}} (or ~ for the home); on a command line let the shell fill it in, "
            "without single quotes",
        )
    try:
        return Path(address).expanduser()
    except RuntimeError:
        raise InputError(
            "nobody knows which folder ~ is here",
            where=where,
            expected="HOME, or a user of that name",
            found=text,
            remedy="write the path out",
        ) from None
