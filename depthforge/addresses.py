"""Where a run may write and a reader may look, as a user says it: a folder, or a place in an object store by its URL.

``Path("s3://bucket/corpus")`` is the relative path ``s3:/bucket/corpus``: taken at its word, a run fills a local folder
of that name and nobody finds the corpus. So every place where such a text enters asks here first.

A URL is written in one way, ``s3://bucket/prefix``, so that two that mean one place are equal. It never holds a
credential: what stands before an ``@`` or after a ``?`` is refused, and not said again in the error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from depthforge.errors import InputError

__all__ = ["SCHEMES", "Address", "address_of", "is_url", "local_folder"]

SCHEMES: Final = ("s3", "gs", "az")
"""Object stores that corpora lie in: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

Address = Path | str
"""A folder, or the URL of a place in an object store as :func:`address_of` writes it."""

# What a shell would have filled: nobody names a folder so.
_VARIABLE = re.compile(r"(?:^|/)\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)(?=/|$)")
# A scheme and a slash (of two, pathlib keeps one); and what no one means as the name of a folder.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|(?:s3[an]?|gs|gcs|azs?|abfss?|adl|wasbs?|hdfs|hf|https?|ftp|file):")


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_OTHER_NAMES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "azs": "az", "azure": "az", "abfs": "az", "abfss": "az"}


def is_url(address: object) -> bool:
    """Say whether a text or a path is, or was meant as, a URL."""
    return isinstance(address, str | Path) and _URL.match(os.fspath(address)) is not None


def address_of(address: Address, *, where: object = None) -> Address:
    """Return a folder as a path, or the URL of an object store in its one way of writing.

    Raises InputError, naming ``where`` it was said, for a URL of another kind or with a credential in it, and for what
    :func:`local_folder` refuses.
    """
    if not is_url(address):
        return local_folder(address, where=where)
    text = os.fspath(address)
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if isinstance(address, Path) and rest.startswith("/") and not rest.startswith("//"):
        rest = f"/{rest}"  # pathlib has made one slash of two
    if "@" in rest or "?" in rest or "#" in rest:
        raise InputError(
            "a place is named without a user, a password, a key or a query in its URL (it is not repeated here)",
            where=where,
            expected=f"{scheme}://bucket/prefix",
            remedy="give credentials as the environment does: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and its key, or the role of the machine",
        )
    if scheme not in SCHEMES or not rest.startswith("//"):
        known = _OTHER_NAMES.get(scheme, scheme if scheme in SCHEMES else None)
        raise InputError(
            "no corpus lies at a URL of this kind",
            where=where,
            expected="a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
            found=text,
            remedy=f"write {known}://bucket/prefix" if known else "copy from or to a folder or an object store",
        )
    bucket, _, prefix = rest.removeprefix("//").partition("/")
    parts = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
    if not _BUCKET.fullmatch(bucket) or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InputError(
            "this is no place in an object store",
            where=where,
            expected=f"{scheme}://bucket/prefix: a bucket, and a prefix without '.', '..' and empty parts",
            found=text,
        )
    return "/".join((f"{scheme}://{bucket}", *parts))


def local_folder(address: Path | str, *, where: object = None) -> Path:
    """Return ``address`` as a path, a ``~`` at its head as the home that it means: for what can only be a folder.

    Raises InputError, naming ``where`` it was said, when it is a URL, a variable stands in it that nobody filled, or
    the home is not known.
    """
    text = os.fspath(address)
    if _URL.match(text):
        raise InputError(
            "a URL is no folder: this is read and written in mounted file systems",
            where=where,
            expected="a path",
            found=_without_secrets(text),
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


def _without_secrets(url: str) -> str:
    """Return a URL without what may be a credential: what stands before an ``@`` or after a ``?`` or ``#``."""
    return re.sub(r"[?#].*", "", re.sub(r"(:/*).*@", r"\1", url))
