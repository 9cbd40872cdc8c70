"""A loopback HTTP proxy before an object server that answers some requests wrongly: errors, delays, cuts, lost answers.

``S3`` requests are signed over the Host header, so they reach the server as they were sent; only what comes back, or
whether it does, is tampered with. One thread a connection; the proxy ends with its block.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["500", "503", "slow", "truncated", "dropped", "lost answer", "ignored", "precondition"]
"""What happens to a request: the server is not asked and it fails; it comes late; its body is cut; the connection ends
before it is asked; it is carried out and the answer is lost; it is not carried out and the answer is success; 412."""

Rule = Callable[[str, str], "Fault | None"]
"""Which fault a request gets, by its method and its path with the query."""


class Proxy:
    """A running proxy: set ``rule``, and count in ``faults`` what was done."""

    def __init__(self, upstream_port: int) -> None:
        self.rule: Rule = lambda method, path: None
        self.faults: list[tuple[str, str, str]] = []
        self.num_requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, upstream_port))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"


@contextmanager
def running_proxy(upstream_port: int) -> Iterator[Proxy]:
    """Run a proxy before the server on ``upstream_port``."""
    proxy = Proxy(upstream_port)
    thread = threading.Thread(target=proxy._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy._server.shutdown()
        proxy._server.server_close()


def _handler(proxy: Proxy, upstream_port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.num_requests += 1
            fault = proxy.rule(self.command, self.path)
            if fault is not None:
                proxy.faults.append((fault, self.command, self.path))
            if fault in ("500", "503"):
                self._answer(int(fault), {}, b"<Error><Code>InternalError</Code></Error>")
            elif fault == "precondition":
                self._answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            elif fault == "ignored":
                self._answer(200, {"ETag": '"0"'}, b"")
            elif fault == "dropped":
                self._end()
            else:
                self._pass_on(body, fault)

        def _pass_on(self, body: bytes, fault: Fault | None) -> None:
            if fault == "slow":
                time.sleep(0.3)
            upstream = http.client.HTTPConnection("127.0.0.1", upstream_port, timeout=30)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault == "lost answer":
                self._end()
                return
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
            headers.setdefault("Content-Length", str(len(content)))
            if fault == "truncated":
                self._answer(answer.status, headers, content[: len(content) // 2])
                self._end()
            else:
                self._answer(answer.status, headers, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _end(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(2)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
