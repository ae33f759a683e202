"""One HTTP request in a thread of its own, so that who waits for it can leave at any time."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from scene_r1_engines.errors import BadAnswer

MOST_BYTES = 8 << 20
"""Of an answer. 4096 tokens with their probabilities were about 1 MB."""
MOST_FAULT_BYTES = 64 << 10
"""Of the body of a refusal, which is only looked through for a word that we know."""
CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Reply:
    """status: of HTTP. headers: lower-case names. body: whole, or of a refusal the first part."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Sockets:
    """The sockets that an attempt opened, so that another thread can hang up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._hung_up = False

    def add(self, one: socket.socket) -> None:
        with self._lock:
            self._open.append(one)
            hung_up = self._hung_up
        if hung_up:  # the caller left while the connection was being made: nothing may be sent any more
            raise OSError("hung up")

    def hang_up(self) -> None:
        with self._lock:
            self._hung_up = True
            for one in self._open:
                with suppress(OSError):  # it is closed already
                    # socket's own: that of an SSLSocket would take the encryption from under the reading thread
                    socket.socket.shutdown(one, socket.SHUT_RDWR)


class Attempt:
    """A POST that has begun. `hang_up` ends it; what it comes to is then of no interest."""

    def __init__(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        read_timeout_s: float,
        verified: ssl.SSLContext | None,
        proxy: str | None = None,
    ) -> None:
        self._sockets = _Sockets()
        self._reply: Future[Reply] = Future()
        arguments = (url, body, dict(headers), urllib3.Timeout(connect_timeout_s, read_timeout_s), verified, proxy)
        # A daemon: a name server that never answers must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, args=arguments, name="openai-request", daemon=True)
        self._thread.start()

    def done(self, wait_s: float) -> bool:
        """Whether the reply is there, waited for so long at most."""
        return bool(wait([self._reply], wait_s).done)

    def reply(self) -> Reply:
        """The reply, once done. Raises urllib3's errors, OSError, or BadAnswer for a body that is not taken."""
        return self._reply.result()

    def hang_up(self) -> None:
        self._sockets.hang_up()
        self._thread.join(0.5)

    def _work(self, *arguments: Any) -> None:
        try:
            self._reply.set_result(self._post(*arguments))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._reply.set_exception(error)

    def _post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        timeout: urllib3.Timeout,
        verified: ssl.SSLContext | None,
        proxy: str | None,
    ) -> Reply:
        pools: dict[str, Any] = {} if verified is None else {"ssl_context": verified}
        manager = urllib3.ProxyManager(proxy, **pools) if proxy else urllib3.PoolManager(**pools)
        try:
            pool = manager.connection_from_url(url)
            pool.ConnectionCls = _noting(self._sockets, https=url.startswith("https:"))
            response = manager.request(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                most = MOST_BYTES if response.status == 200 else MOST_FAULT_BYTES
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, _body(response, most))
            finally:
                # Not only shut down: a server whose window is full learns of the end by the close alone.
                response.close()
        finally:
            manager.clear()


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for this address, None without one."""
    parts = urllib3.util.parse_url(url)
    if urllib.request.proxy_bypass(parts.host or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme or "")


def _noting(sockets: _Sockets, https: bool) -> type[HTTPConnection]:
    """urllib3's connection, which also tells which socket it has."""

    class Noting(HTTPSConnection if https else HTTPConnection):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    return Noting


def _body(response: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """The whole body, or its first `most` bytes of a refusal. Raises BadAnswer for an answer that is longer."""
    if response.status == 200 and response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadAnswer("the server packs its answer though it was asked not to: it is not unpacked")
    body = bytearray()
    for chunk in response.stream(CHUNK, decode_content=False):
        body += chunk
        if len(body) > most:
            if response.status == 200:
                raise BadAnswer(f"the server's answer has more than {MOST_BYTES} bytes: this is no answer")
            break
    return bytes(body)
