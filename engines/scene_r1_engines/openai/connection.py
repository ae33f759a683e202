"""Asking the server: deadlines, the caller's wish to stop, attempts that are made again, and errors that say what."""

from __future__ import annotations

import logging
import os
import ssl
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.retry import Retry

from scene_r1_engines.errors import BadConfig, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.openai.attempt import Attempt, Reply, environment_proxy
from scene_r1_engines.openai.settings import OpenAiSettings
from scene_r1_engines.reasoner import Finish

log = logging.getLogger(__name__)

BUSY = (429, 502, 503, 504)
"""Statuses after which the server is asked again."""
LONGEST_WAIT_S = 60.0
"""A server that wants to be left alone for longer is one that failed."""
POLL_S = 0.02
KNOWN_FAULTS = {
    # Words of refusals, and what to do. What else a refusal says is not shown: it may hold the question.
    b"context_length_exceeded": "hold fewer keyframes or make image_pixels smaller",
    b"exceed_context_size_error": "hold fewer keyframes or make image_pixels smaller",
    b"maximum context length": "hold fewer keyframes or make image_pixels smaller",
    b"image(s) may be provided": "the server allows fewer pictures: raise its limit, or hold fewer keyframes",
    b"response_format": "the server does not take the form of the answer: try another value of constrain",
    b"guided": "the server does not take the form of the answer: try another value of constrain",
    b"grammar": "the server does not take the form of the answer: try another value of constrain",
    b"logprobs": "the server gives no probabilities: set logprobs = false",
    b"image_url": "the server's model takes no pictures: is it a vision-language model?",
    b"mmproj": "the server's model takes no pictures: is it started with its vision tower?",
}


class Stopped(Exception):
    """The caller's deadline passed or it wished to stop. finish: TIMED_OUT or CANCELLED."""

    def __init__(self, finish: Finish) -> None:
        self.finish = finish
        super().__init__(finish.value)


class Connection:
    """The way to one server. The key is read from the environment once, and is in nothing that is shown.

    Raises BadConfig when the environment has no such key.
    """

    def __init__(self, settings: OpenAiSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/") + "/chat/completions"
        self._host = urlsplit(settings.url).netloc
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "scene-r1-edge",
        }
        key = _key(settings.api_key_env)
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        if settings.url.startswith("http:") and not _is_here(settings.url):
            log.warning("pictures%s go to %s unencrypted", " and the key" if key else "", self._host)
        self._verified = ssl.create_default_context() if settings.url.startswith("https:") else None
        self._closed = False

    def post(self, body: bytes, limits: Limits) -> tuple[bytes, str]:
        """The body of the server's answer to a chat completion, and its content type.

        Raises Stopped at the deadline or when cancelled, EngineFailed when the server cannot be reached, breaks or
        takes too long, BadAnswer for a body that is too long or packed, BadConfig where a setting must be wrong.
        """
        retry = Retry(
            total=self._settings.retries,
            status_forcelist=BUSY,
            allowed_methods=None,
            backoff_factor=self._settings.retry_wait_s,
            backoff_jitter=self._settings.retry_wait_s,
            backoff_max=LONGEST_WAIT_S,
        )
        while True:
            fault: Exception | None = None
            reply: Reply | None = None
            try:
                reply = self._attempt(body, limits)
            except SSLError as error:
                raise EngineFailed(f"{self._host}: no encrypted connection ({_reason(error)}): see url") from None
            except (ReadTimeoutError, TimeoutError):
                self._check(limits)
                raise self._too_slow() from None
            except (NewConnectionError, ConnectTimeoutError, ProtocolError, ProxyError) as error:
                fault = error
            except (HTTPError, OSError) as error:
                raise EngineFailed(f"{self._host}: the request failed ({type(error).__name__})") from None
            self._check(limits)
            if reply is not None and reply.status not in BUSY:
                return self._accepted(reply)
            try:
                retry = retry.increment("POST", "/chat/completions", error=fault)
            except (MaxRetryError, HTTPError):
                raise self._gave_up(fault, reply) from None
            self._rest(self._wait_s(retry, reply), limits)

    def close(self) -> None:
        """Hang up, also on a request that another thread waits for."""
        self._closed = True

    def _attempt(self, body: bytes, limits: Limits) -> Reply:
        self._check(limits)
        settings = self._settings
        left_s = min(settings.timeout_s, limits.remaining_s)
        proxy = environment_proxy(self._url) if settings.environment_proxy else None
        ends = time.monotonic() + left_s
        connect_s = max(POLL_S, min(settings.connect_timeout_s, left_s))
        attempt = Attempt(self._url, body, self._headers, connect_s, left_s + POLL_S, self._verified, proxy)
        try:
            # Not the reads' own timeouts: a server that sends a byte now and then would never meet them.
            while not attempt.done(POLL_S):
                self._check(limits)
                if time.monotonic() > ends:
                    self._check(limits)  # the deadline may be what has just passed
                    raise self._too_slow()
            return attempt.reply()
        finally:
            attempt.hang_up()

    def _check(self, limits: Limits) -> None:
        """Raises Stopped, or EngineFailed after `close`."""
        if self._closed:
            raise EngineFailed("the reasoner was closed: open another one")
        if limits.cancelled():
            raise Stopped(Finish.CANCELLED)
        if limits.remaining_s <= 0.0:
            raise Stopped(Finish.TIMED_OUT)

    def _rest(self, seconds: float, limits: Limits) -> None:
        if seconds >= limits.remaining_s:
            raise Stopped(Finish.TIMED_OUT)  # nothing can come of waiting
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0.0:
            self._check(limits)
            time.sleep(min(POLL_S, left))

    def _wait_s(self, retry: Retry, reply: Reply | None) -> float:
        """Seconds until the next attempt, as the server asks for or doubling."""
        wait_s = max(retry.get_backoff_time(), self._settings.retry_wait_s)
        asked = None if reply is None else reply.headers.get("retry-after")
        if asked is not None and len(asked) < 64:
            try:
                wait_s = float(retry.parse_retry_after(asked))
            except (InvalidHeader, ValueError, OverflowError):
                log.debug("the server's Retry-After is no time")
        if wait_s > LONGEST_WAIT_S:
            raise EngineFailed(f"{self._host}: the server is busy and asks to be left alone for {wait_s:.0f} s")
        log.info("%s did not answer, asked again in %.1f s", self._host, wait_s)
        return wait_s

    def _accepted(self, reply: Reply) -> tuple[bytes, str]:
        """The body and type of a reply that is an answer. Raises what any other status means."""
        status, settings = reply.status, self._settings
        if status == 200:
            return reply.body, reply.headers.get("content-type", "")
        if status in (401, 403):
            what = f"the key in {settings.api_key_env}" if settings.api_key_env else "a request without a key"
            raise BadConfig(f"{self._host}: the server refuses {what} (status {status}): see api_key_env")
        if status == 404:
            raise BadConfig(
                f"{self._host}: no such model or address (status 404): see model {settings.model!r}, and url, "
                "which mostly ends in /v1"
            )
        if 300 <= status < 400:
            raise BadConfig(
                f"{self._host}: the server sends us elsewhere (status {status}), which is not followed: "
                "give the address it lives at as url"
            )
        advice = next((text for word, text in KNOWN_FAULTS.items() if word in reply.body), "")
        if not advice:
            advice = "its log says why" if status >= 500 else "see model, constrain and logprobs"
        verb = "broke" if status >= 500 else "refuses the request"
        raise EngineFailed(f"{self._host}: the server {verb} (status {status}): {advice}")

    def _too_slow(self) -> EngineFailed:
        seconds = self._settings.timeout_s
        return EngineFailed(f"{self._host}: no whole answer within {seconds:g} s: raise timeout_s, or ask for less")

    def _gave_up(self, fault: Exception | None, reply: Reply | None) -> EngineFailed:
        tries = self._settings.retries + 1
        often = "once" if tries == 1 else f"{tries} times"
        if reply is not None:
            return EngineFailed(f"{self._host}: the server is too busy (status {reply.status}, asked {often})")
        reason = "it could not be reached" if fault is None else _reason(fault)
        return EngineFailed(f"{self._host}: no answer ({reason}; tried {often}): is the server up, and url right?")


def _key(name: str) -> str:
    """The key that the environment has under that name, "" where no name is given."""
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise BadConfig(f"the environment variable {name} (api_key_env) is not set: put the server's key into it")
    if not (key.isascii() and key.isprintable()) or " " in key or len(key) > 4096:
        raise BadConfig(f"the environment variable {name} (api_key_env) holds something that is no key")
    return key


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    """Why there was no connection, in our words: urllib3's own hold addresses of objects and repeat themselves."""
    if isinstance(error, SSLError):
        return "its certificate cannot be verified" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "TLS failed"
    if isinstance(error, ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, NameResolutionError):
        return "its host has no known address"
    if isinstance(error, NewConnectionError):  # before the next one, of which it is a kind
        return "nothing listens there"
    if isinstance(error, ConnectTimeoutError):
        return "timed out while connecting"
    return "the connection broke off"
