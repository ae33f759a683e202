"""The way to a server: attempts, deadlines and the errors, against servers that misbehave on real sockets."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("urllib3")

from tests.engines.scripted_server import Behaviour, ScriptedServer, drips, hangs_up, says, status

from scene_r1_engines import BadConfig, EngineFailed, SceneR1Error
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.limits import Limits
from scene_r1_engines.openai import OpenAiSettings
from scene_r1_engines.openai.attempt import MOST_BYTES
from scene_r1_engines.openai.connection import Connection, Stopped
from scene_r1_engines.reasoner import Finish

KEY = "sk-never-to-be-shown-8841"
QUESTION = "where did I hide the diamond"
BODY = json.dumps({"question": QUESTION}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over, so that no server of it goes on."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)


def connection(server: ScriptedServer | str, **given: Any) -> Connection:
    url = server if isinstance(server, str) else server.url
    quick: dict[str, Any] = {"retries": 2, "retry_wait_s": 0.01, "timeout_s": 5.0, "connect_timeout_s": 2.0}
    return Connection(OpenAiSettings(url, "m", "THE_KEY", **{**quick, **given}))


def in_s(seconds: float) -> Limits:
    return Limits(deadline_ns=time.monotonic_ns() + int(seconds * 1e9))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_question_is_posted_once_with_the_key_and_its_answer_comes_back() -> None:
    with ScriptedServer(status(200, b'{"a": 1}')) as server:
        assert connection(server).post(BODY, Limits()) == (b'{"a": 1}', "application/json")
        ((path, headers, body),) = server.requests
    assert (path, body) == ("/v1/chat/completions", BODY)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Accept-Encoding"] == "identity"


def test_without_a_key_none_is_sent() -> None:
    with ScriptedServer(status(200)) as server:
        Connection(OpenAiSettings(server.url, "m")).post(BODY, Limits())
        assert "Authorization" not in server.requests[0][1]


def test_a_busy_server_is_asked_again_until_it_answers() -> None:
    for code in (429, 502, 503, 504):
        with ScriptedServer(status(code), status(code, Retry_After="0"), status(200, b"{}")) as server:
            assert connection(server).post(BODY, Limits())[0] == b"{}"
            assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_given_up_after_the_retries() -> None:
    with ScriptedServer(status(503)) as server:
        with pytest.raises(EngineFailed, match=r"too busy \(status 503, asked 3 times\)"):
            connection(server).post(BODY, Limits())
        assert len(server.requests) == 3


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    with ScriptedServer(status(429, Retry_After="30")) as server:
        with pytest.raises(Stopped) as stopped:
            connection(server).post(BODY, in_s(2.0))
        assert stopped.value.finish is Finish.TIMED_OUT
        assert len(server.requests) == 1


def test_a_server_that_asks_for_an_hour_has_failed() -> None:
    with ScriptedServer(status(429, Retry_After="3600")) as server, pytest.raises(EngineFailed, match="3600 s"):
        connection(server).post(BODY, Limits())


def test_a_retry_after_that_is_no_time_is_passed_over() -> None:
    with ScriptedServer(status(429, Retry_After="soon"), status(200, b"{}")) as server:
        assert connection(server).post(BODY, Limits())[0] == b"{}"


@pytest.mark.parametrize("code", [400, 405, 413, 422, 500, 501])
def test_other_refusals_are_not_repeated(code: int) -> None:
    with ScriptedServer(status(code, b'{"error": {"code": "context_length_exceeded"}}')) as server:
        with pytest.raises(EngineFailed, match=rf"status {code}\): hold fewer keyframes"):
            connection(server).post(BODY, Limits())
        assert len(server.requests) == 1


@pytest.mark.parametrize(("code", "setting"), [(401, "api_key_env"), (403, "api_key_env"), (404, "model 'm', and url")])
def test_a_refusal_that_a_setting_mends_names_the_setting(code: int, setting: str) -> None:
    with ScriptedServer(status(code)) as server:
        with pytest.raises(BadConfig, match=setting):
            connection(server).post(BODY, Limits())
        assert len(server.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_so_the_key_stays_with_its_server(code: int) -> None:
    with ScriptedServer(status(200)) as other, ScriptedServer(status(code, Location=f"{other.url}/chat")) as server:
        with pytest.raises(BadConfig, match="elsewhere"):
            connection(server).post(BODY, Limits())
        assert not other.requests
        assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_tried_as_often_as_told() -> None:
    with pytest.raises(EngineFailed, match="nothing listens there; tried 3 times"):
        connection(f"http://127.0.0.1:{free_port()}/v1").post(BODY, Limits())


def test_a_host_that_has_no_address_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a real look-up takes as long as the name server likes
    with pytest.raises(EngineFailed, match="no known address; tried once"):
        connection("http://nowhere.invalid/v1", retries=0).post(BODY, Limits())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00\x01 what?\r\n\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz",
    ],
    ids=["nothing", "no HTTP", "half a body", "no chunk"],
)
def test_a_connection_that_breaks_off_is_tried_again_and_then_given_up(head: bytes) -> None:
    with ScriptedServer(hangs_up(head)) as server:
        with pytest.raises(EngineFailed, match="broke off; tried 3 times"):
            connection(server).post(BODY, Limits())
        assert len(server.requests) == 3


def test_a_connection_that_broke_off_once_costs_nothing() -> None:
    with ScriptedServer(hangs_up(HEAD + b"Content-Length: 9\r\n\r\n{"), status(200, b"{}")) as server:
        assert connection(server).post(BODY, Limits())[0] == b"{}"


SLOW = [
    ("no word at all", b"", b""),
    ("slow headers", b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    ("slow body", HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    ("slow chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
]


@pytest.mark.parametrize(("head", "drop"), [one[1:] for one in SLOW], ids=[one[0] for one in SLOW])
class TestASlowServer:
    def test_stops_at_the_deadline(self, head: bytes, drop: bytes, over: threading.Event) -> None:
        with ScriptedServer(drips(over, head, drop)) as server:
            with pytest.raises(Stopped) as stopped:
                connection(server).post(BODY, in_s(0.15))
            assert stopped.value.finish is Finish.TIMED_OUT
            assert len(server.requests) <= 1

    def test_stops_when_the_caller_wishes_it(self, head: bytes, drop: bytes, over: threading.Event) -> None:
        with ScriptedServer(drips(over, head, drop)) as server:
            wish = threading.Event()
            threading.Timer(0.1, wish.set).start()
            with pytest.raises(Stopped) as stopped:
                connection(server).post(BODY, Limits(cancelled=wish.is_set))
            assert stopped.value.finish is Finish.CANCELLED

    def test_is_not_asked_again_after_its_time(self, head: bytes, drop: bytes, over: threading.Event) -> None:
        with ScriptedServer(drips(over, head, drop)) as server:
            with pytest.raises(EngineFailed, match=r"within 0.15 s: raise timeout_s"):
                connection(server, timeout_s=0.15).post(BODY, Limits())
            assert len(server.requests) <= 1


def test_who_stops_hangs_up_so_that_the_server_can_stop_too(over: threading.Event) -> None:
    with ScriptedServer(drips(over, HEAD + b"Content-Length: 100000000\r\n\r\n")) as server:
        with pytest.raises(Stopped):
            connection(server).post(BODY, Limits(cancelled=lambda: bool(server.requests)))
        assert server.left.wait(5.0)
    for thread in [one for one in threading.enumerate() if one.name == "openai-request"]:
        thread.join(5.0)
        assert not thread.is_alive()


def test_a_question_that_is_cancelled_already_is_not_sent() -> None:
    with ScriptedServer(status(200)) as server:
        with pytest.raises(Stopped):
            connection(server).post(BODY, Limits(cancelled=lambda: True))
        with pytest.raises(Stopped):
            connection(server).post(BODY, in_s(0.0))
        assert not server.requests


def test_closing_ends_a_request_that_another_thread_waits_for(over: threading.Event) -> None:
    with ScriptedServer(drips(over)) as server:
        way = connection(server)
        threading.Timer(0.1, way.close).start()
        with pytest.raises(EngineFailed, match="closed"):
            way.post(BODY, Limits())


def endless(framed: bool, sent: list[int]) -> Behaviour:
    """A body of a gigabyte, announced or in chunks."""

    def behave(to: BaseHTTPRequestHandler) -> None:
        piece = b" " * (1 << 16)
        to.wfile.write(
            HEAD + (b"Content-Length: %d\r\n\r\n" % (1 << 30) if framed else b"Transfer-Encoding: chunked\r\n\r\n")
        )
        for _ in range(1 << 14):
            to.wfile.write(piece if framed else b"10000\r\n" + piece + b"\r\n")
            sent[0] += len(piece)

    return behave


@pytest.mark.parametrize("framed", [True, False], ids=["announced", "in chunks"])
def test_a_gigabyte_is_not_read(framed: bool) -> None:
    sent = [0]
    with ScriptedServer(endless(framed, sent)) as server:
        with pytest.raises(BadAnswer, match=f"more than {MOST_BYTES} bytes"):
            connection(server).post(BODY, Limits())
        assert server.left.wait(5.0)
    assert sent[0] < 8 * MOST_BYTES


def test_a_packed_answer_is_not_unpacked() -> None:
    packed = status(200, b"\x1f\x8b", Content_Encoding="gzip")
    with ScriptedServer(packed) as server, pytest.raises(BadAnswer, match="packs"):
        connection(server).post(BODY, Limits())


def test_neither_key_nor_question_is_in_any_error_or_log_line(
    caplog: pytest.LogCaptureFixture, over: threading.Event
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"key {KEY}: {QUESTION}".encode()
    faults = [status(code, echo, X_Echo=KEY, Retry_After=KEY) for code in (302, 400, 401, 403, 404, 429, 500, 503)]
    faults += [hangs_up(echo + b"\r\n\r\n"), hangs_up(HEAD + b"Content-Length: 9999\r\n\r\n" + echo), drips(over)]
    for fault in faults:
        with ScriptedServer(fault) as server:
            way = connection(server, timeout_s=1.0)
            with pytest.raises(SceneR1Error) as raised:
                way.post(BODY, Limits())
            assert any(QUESTION.encode() in body for _, _, body in server.requests)
        seen, chain = [repr(way), repr(vars(raised.value))], raised.value
        seen += [str(chain), repr(chain), repr(chain.__cause__)]
        assert not [one for one in seen if KEY in one or QUESTION in one]
    assert caplog.records
    assert KEY not in caplog.text
    assert QUESTION not in caplog.text


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "nön-ascii", "x" * 5000])
def test_a_key_that_is_none_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", value)
    with pytest.raises(BadConfig, match="THE_KEY") as raised:
        connection("http://127.0.0.1:1/v1")
    assert not value.strip() or value not in str(raised.value)


def test_a_key_that_is_not_in_the_environment_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(BadConfig, match=r"THE_KEY .* is not set"):
        connection("http://127.0.0.1:1/v1")


def test_a_proxy_of_the_environment_is_used_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(status(200, b'"direct"')) as server, ScriptedServer(status(200, b'"proxy"')) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert connection(server).post(BODY, Limits())[0] == b'"direct"'
        assert not proxy.requests
        assert connection(server, environment_proxy=True).post(BODY, Limits())[0] == b'"proxy"'
        assert proxy.requests[0][0] == f"{server.url}/chat/completions"


def test_a_far_server_without_encryption_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    connection("http://192.0.2.7:8000/v1")
    assert "pictures and the key go to 192.0.2.7:8000 unencrypted" in caplog.text
    caplog.clear()
    connection("http://localhost:8000/v1")
    connection("https://192.0.2.7/v1")
    assert not caplog.records


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody vouches for, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made = ["-out", f"{folder}/cert.pem", "-keyout", f"{folder}/key.pem"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, "-days", "2", *made, *named], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def encrypted(server: ScriptedServer, certificate: tuple[Path, Path]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return f"https://127.0.0.1:{server.port}/v1"


def test_a_certificate_that_nobody_vouches_for_ends_the_connection(certificate: tuple[Path, Path]) -> None:
    with ScriptedServer(status(200)) as server:
        with pytest.raises(EngineFailed, match="certificate cannot be verified"):
            connection(encrypted(server, certificate)).post(BODY, Limits())
        assert not server.requests


def test_an_encrypted_server_answers_and_can_be_left(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, over: threading.Event
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with ScriptedServer(says("hello"), drips(over)) as server:
        way = connection(encrypted(server, certificate))
        assert b"hello" in way.post(BODY, Limits())[0]
        with pytest.raises(Stopped):
            way.post(BODY, Limits(cancelled=lambda: len(server.requests) == 2))
        assert server.left.wait(5.0)
