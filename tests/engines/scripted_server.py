"""A server on this machine that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer:
    """behaviours: of the first request, the second, …; the last one of all that follow. requests: (path, headers,
    body) of each. left: set when a client hung up while it was being answered."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = behaviours
        self.requests: list[tuple[str, Mapping[str, str], bytes]] = []
        self.left = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.path, dict(self.headers), body))
                behaviour = outer.behaviours[min(len(outer.requests), len(outer.behaviours)) - 1]
                self.close_connection = True
                try:
                    behaviour(self)
                except OSError:
                    outer.left.set()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self, number: int = -1) -> Any:
        """The JSON of a request."""
        return json.loads(self.requests[number][2])

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def status(code: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    """A whole reply. Underscores in the headers' names stand for dashes."""

    def behave(to: BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        given = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
        for name, value in given.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return behave


def says(content: object, finish: str = "stop", **more: Any) -> Behaviour:
    """A chat completion. more: of its choice, and usage."""
    usage = more.pop("usage", {"prompt_tokens": 7, "completion_tokens": 5})
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish, **more}
    return status(200, json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode())


def drips(stop: threading.Event, head: bytes = b"", drop: bytes = b" ") -> Behaviour:
    """Sends head and then a drop every 20 ms, until the client goes away or the test is over."""

    def behave(to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(head)
        while not stop.wait(0.02):
            to.wfile.write(drop)
            to.wfile.flush()

    return behave


def hangs_up(head: bytes) -> Behaviour:
    """Sends head and closes the connection."""

    def behave(to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(head)
        to.wfile.flush()
        with suppress(OSError):
            to.connection.close()

    return behave
