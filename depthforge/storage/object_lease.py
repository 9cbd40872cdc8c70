"""A lock in an object store: an object that its holder renews, and that anybody may take when it is no longer renewed.

Taking it is a conditional put (if there is none), renewing and taking over are conditional on the version that was
seen, so of many at once one does. A lease holds 60 seconds and is renewed every 15 by a thread. How old one is, the
store's own clock says, on both ends: whoever asks puts a ticket beside the lock and compares the two times. The clocks
of drivers play no part; what is assumed is that the store's nodes agree to within some seconds, and that a holder that
was stopped for a minute (a suspended laptop) looks at ``is_held`` before it goes on: it is told that it lost the lock.

A holder on this very machine that is dead is known at once (``processes.py``), so a killed run can be begun again there
without waiting; elsewhere its lock becomes free after a minute.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from depthforge.errors import StorageError
from depthforge.storage.base import Lock
from depthforge.storage.processes import ProcessName

if TYPE_CHECKING:
    from depthforge.storage.object_store import ObjectStorage, Version

__all__ = ["LEASE_S", "SETTLE_S", "Lease"]

LEASE_S: Final = 60.0
RENEW_EVERY_S: Final = 15.0
# How long who put a lock without a condition waits before it looks whose it is: longer than a put takes.
SETTLE_S: Final = 2.0
# A store keeps whole seconds, and its nodes differ a little.
_SLACK_S: Final = 5.0


class Lease(Lock):
    """A lock that this process holds and renews."""

    def __init__(self, storage: ObjectStorage, name: str, content: dict[str, Any], version: Version) -> None:
        self._storage, self._name = storage, name
        self._content, self._version = content, version
        self._renewed, self._is_lost = time.monotonic(), False
        self._pid, self._changing, self._ended = os.getpid(), threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="depthforge-lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, storage: ObjectStorage, name: str) -> Self | None:
        """Take the lock, from a holder that is dead too; None when another holds it."""
        content = {"token": os.urandom(12).hex(), "owner": "", "process": ProcessName.of_this().to_json()}
        version = storage.put_version(name, _bytes(content), mode="create")
        if version is None:
            version = _taken_over(storage, name, content)
        else:
            again = storage.put_version(name, _bytes(content), mode="create")
            if again is not None:  # a store that knows no condition and does not say so: who was last has it
                time.sleep(SETTLE_S)
                version = again if _token_of(storage, name) == content["token"] else None
        return None if version is None else cls(storage, name, content, version)

    @staticmethod
    def owner(content: bytes) -> str:
        """Return what the holder of a lock with this content says of itself."""
        value = _parsed(content).get("owner")
        return value if isinstance(value, str) else ""

    @property
    def is_held(self) -> bool:
        """False when another has taken it, or it was not renewed in time, for whatever reason."""
        return not self._is_lost and time.monotonic() - self._renewed < LEASE_S

    def sign(self, text: str) -> None:
        self._content["owner"] = text
        self._renew()

    def release(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child's copy: the parent holds it on
        self._ended.set()
        with self._changing:
            if self.is_held and _token_of(self._storage, self._name) == self._content["token"]:
                self._storage.delete(self._name)
            self._is_lost = True

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                self._renew()
            except StorageError:
                continue  # tried again at the next turn; is_held says when it is too late
            if self._is_lost:
                return

    def _renew(self) -> None:
        with self._changing:
            if self._ended.is_set() or self._is_lost:
                return
            begun = time.monotonic()
            if _token_of(self._storage, self._name) != self._content["token"]:
                self._is_lost = True
                return
            version = self._storage.put_version(self._name, _bytes(self._content), mode=self._version)
            if version is None:
                self._is_lost = True
            else:
                self._version, self._renewed = version, begun


def _bytes(content: dict[str, Any]) -> bytes:
    # No two contents are equal, so no two versions are: an e_tag is a hash of the content.
    return json.dumps({**content, "renewal": os.urandom(6).hex()}).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _token_of(storage: ObjectStorage, name: str) -> object:
    try:
        return _parsed(storage.read(name)).get("token")
    except FileNotFoundError:
        return None


def _taken_over(storage: ObjectStorage, name: str, content: dict[str, Any]) -> Version | None:
    """Take the lock of a holder that is dead, or did not renew it; return its version, None when another holds it."""
    try:
        seen, put_at = storage.version(name)
        held = storage.read(name)
    except FileNotFoundError:  # it was let go of just now
        return storage.put_version(name, _bytes(content), mode="create")
    if not _is_dead(held) and _now(storage, name) - put_at < LEASE_S + _SLACK_S:
        return None
    return storage.put_version(name, _bytes(content), mode=seen)


def _is_dead(content: bytes) -> bool:
    process = ProcessName.from_json(_parsed(content).get("process"))
    return process is not None and process.is_dead


def _now(storage: ObjectStorage, name: str) -> float:
    """Return the time by the clock of the store, in seconds."""
    folder, _, last = name.rpartition("/")
    ticket = f"{folder}{'/' if folder else ''}.{last.strip('.')}.{os.urandom(6).hex()}.tmp"
    storage.write(ticket, b"")
    try:
        return storage.version(ticket)[1]
    finally:
        storage.delete(ticket)
