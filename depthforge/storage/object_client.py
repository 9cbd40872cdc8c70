"""Requests to an object store: obstore, opened in each process anew, and its errors in words that hold no secret.

obstore (Rust's object_store; 5.6 MB, no dependency) speaks the three protocols with conditional puts, multipart uploads
and retries, releases Python's lock and has no event loop. fsspec's s3fs, gcsfs and adlfs bring three SDKs and a loop in
a thread; pyarrow's file systems come for nothing and survive a fork, but know no conditional put. None of them offers
staging or locks, which are in the modules beside this one.

**Fork.** After one request in the parent, obstore hangs in a forked child for ever, even through a store that is opened
there: the runtime of its native library is one for the process, and its threads are not forked (measured with 0.12.1;
its authors say the same). Torch's DataLoader forks. So a forked child loads a second copy of that library, from a file
in memory, whose runtime is its own: 20 ms and 15 MB once in a process, and the parent notices nothing.

Requests are tried again by obstore, with back-off and jitter, after errors of the server (5xx), of the connection and,
where that is safe, after a time-out. Credentials come from the environment as the library reads it, at each opening.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from depthforge.errors import DepthforgeError, InputError, MissingDependencyError, StorageError

__all__ = ["connected", "library", "store_errors", "tried_again"]

_RETRIES: Final[Mapping[str, Any]] = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}
# A request carries 16 MiB at most, so a whole one takes no minute where any work can be done.
_CLIENT: Final[Mapping[str, Any]] = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "60s"}
_MAX_OPEN: Final = 16
_SETTINGS: Final = re.compile(r"(AWS|AZURE|GOOGLE|GCP|GCS)_")
_ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
)
_SECRETS: Final = re.compile(r"SECRET|TOKEN|KEY|PASSWORD|CREDENTIAL|SAS")

_REMEDIES: Final = {
    "credentials": "give credentials as the environment does (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or a role of the "
    "machine), and let them read, list, write and delete here; see docs/object-stores.md",
    "bucket": "make the bucket, or correct its name",
    "connection": "check the network, AWS_REGION and AWS_ENDPOINT_URL (a server without TLS needs "
    "AWS_ALLOW_HTTP=true), then run the same command again",
    "later": "run the same command again: what is committed is kept",
}


Answer = TypeVar("Answer")
_CUT_SHORT: Final = re.compile(
    r"response body|body error|decoding|incomplete|end of file|unexpected EOF", re.IGNORECASE
)


class _Process:
    """What of this module belongs to one process: the library and its open stores."""

    def __init__(self, *, is_forked: bool) -> None:
        self.lock = threading.Lock()
        self.library: Any = None
        self.stores: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], Any] = OrderedDict()
        self.is_forked = is_forked


_process = _Process(is_forked=False)


def _after_fork() -> None:
    global _process
    # The inherited stores are kept from being dropped: that waits for threads which are not here.
    _inherited.append(_process)
    _process = _Process(is_forked=_process.library is not None or _process.is_forked)


_inherited: list[_Process] = []
os.register_at_fork(after_in_child=_after_fork)


def library() -> Any:
    """Return the module obstore as this process can use it; MissingDependencyError when it is not installed."""
    process = _process
    with process.lock:
        if process.library is None:
            try:
                process.library = _loaded_anew() if process.is_forked else _loaded()
            except ModuleNotFoundError as error:
                raise MissingDependencyError(
                    "object stores need the library obstore",
                    expected="the extra `cloud`, or a folder in place of s3://, gs:// and az://",
                    remedy="pip install 'depthforge[cloud]'",
                ) from error
        return process.library


def connected(url: str) -> Any:
    """Return obstore's store for ``url``, which names paths below its prefix; InputError when it cannot be opened."""
    obstore, process = library(), _process
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if _SETTINGS.match(name)))
    with process.lock:
        store = process.stores.get((url, settings))
        if store is None:
            store = process.stores[url, settings] = _opened(obstore, url)
        process.stores.move_to_end((url, settings))
        if len(process.stores) > _MAX_OPEN:
            process.stores.popitem(last=False)
    return store


@contextmanager
def store_errors(where: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what obstore raises into FileNotFoundError or StorageError; what says that a condition failed passes."""
    exceptions = library().exceptions
    try:
        yield
    except (DepthforgeError, exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise
    except FileNotFoundError as error:
        if _lacks_bucket(error) or writing:
            raise _in_words(error, exceptions, where, writing) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", where) from None
    except exceptions.BaseError as error:
        # Not chained: the text of the library's own error may hold what signs a request.
        raise _in_words(error, exceptions, where, writing) from None


def tried_again(ask: Callable[[], Answer]) -> Answer:
    """Return what ``ask``, a request that changes nothing, returns; it is asked again when its answer was cut short.

    The library does so itself where a request fails, and not where the answer breaks off: of a listing, say.
    """
    errors = library().exceptions
    for pause_s in (0.05, 0.2, 0.8):
        try:
            return ask()
        except (errors.NotFoundError, errors.AlreadyExistsError, errors.PreconditionError):
            raise
        except errors.BaseError as error:
            if _CUT_SHORT.search(str(error)) is None:
                raise
            time.sleep(pause_s)
    return ask()


def _in_words(error: Exception, exceptions: Any, where: str, writing: bool) -> StorageError:
    reason = _reason(error)
    if _lacks_bucket(error):
        return StorageError("there is no such bucket", where=where, found=reason, remedy=_REMEDIES["bucket"])
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError) or (
        re.search(r"status code: 40[13]|[Cc]redential|169\.254\.169\.254", str(error)) is not None
    ):
        message = "the object store does not let us in, or not do this"
        return StorageError(message, where=where, found=reason, remedy=_REMEDIES["credentials"])
    what = "written" if writing else "read"
    is_answer = re.search(r"status code: \d", str(error)) is not None
    message = f"the object store {'cannot be reached' if not is_answer else 'failed'}: nothing could be {what}"
    return StorageError(message, where=where, found=reason, remedy=_REMEDIES["later" if is_answer else "connection"])


def _lacks_bucket(error: Exception) -> bool:
    return any(code in str(error) for code in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist"))


def _reason(error: Exception) -> str:
    """Return what an error of the library says, without requests, signatures and whatever the environment hides."""
    text = str(error).partition("\n\nDebug source")[0]
    status = re.search(r"status code: (\d+ [A-Za-z ]+)", text)
    code, message = re.search(r"<Code>([^<]*)", text), re.search(r"<Message>([^<]*)", text)
    if status is not None:
        parts = (status[1].strip(), *(each[1] for each in (code, message) if each is not None))
        text = ": ".join(parts)
    else:
        tries = re.search(r"after (\d+) retries", text)
        text = re.sub(r"\b[a-z]+://\S+", "the server", text.rpartition(" - ")[2] or text)
        text += f" ({tries[1]} retries)" if tries is not None else ""
    for name, value in os.environ.items():
        if len(value) >= 4 and _SETTINGS.match(name) and _SECRETS.search(name):
            text = text.replace(value, "(hidden)")
    return text[:300]


def _opened(obstore: Any, url: str) -> Any:
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    for name in _ENDPOINTS:
        if os.environ.get(name) and "@" in urlsplit(os.environ[name]).netloc:
            raise InputError(
                "the address of an object store holds a user or a password (it is not repeated here)",
                where=name,
                expected="http(s)://host:port",
                remedy="give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
    kind = {"s3": obstore.store.S3Store, "gs": obstore.store.GCSStore, "az": obstore.store.AzureStore}[scheme]
    allow_http = any(os.environ.get(name, "").lower() in ("true", "1", "yes") for name in _ALLOW_HTTP[scheme])
    options: dict[str, Any] = {"retry_config": dict(_RETRIES), "client_options": {**_CLIENT, "allow_http": allow_http}}
    if scheme == "s3" and os.environ.get("AWS_ENDPOINT_URL_S3"):
        options["endpoint"] = os.environ["AWS_ENDPOINT_URL_S3"]
    try:
        return kind(bucket, prefix=prefix or None, **options)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise InputError(
            "the object store cannot be opened", where=url, found=_reason(error), remedy=_REMEDIES["credentials"]
        ) from None


_ALLOW_HTTP: Final = {"s3": ("AWS_ALLOW_HTTP",), "gs": ("GOOGLE_ALLOW_HTTP",), "az": ("AZURE_ALLOW_HTTP",)}


def _loaded() -> Any:
    import obstore

    return obstore


def _loaded_anew() -> Any:
    """Load obstore once more, its native part from a copy in memory: the one that was forked waits for lost threads."""
    found = importlib.util.find_spec("obstore")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("obstore")
    native = next(Path(found.submodule_search_locations[0]).glob("_obstore*.so"))
    copy = os.memfd_create("obstore", os.MFD_CLOEXEC)
    with native.open("rb") as file:
        while os.sendfile(copy, file.fileno(), None, 2**26):
            pass
    for name in [name for name in sys.modules if name == "obstore" or name.startswith("obstore.")]:
        _inherited_modules.append(sys.modules.pop(name))
    path = f"/proc/self/fd/{copy}"
    loader = ExtensionFileLoader("obstore._obstore", path)
    spec = importlib.util.spec_from_file_location("obstore._obstore", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["obstore._obstore"] = module
    loader.exec_module(module)
    os.close(copy)
    return _loaded()


_inherited_modules: list[Any] = []
