"""The reasoner that asks a server, the whole way to llama-cpp-python's own server with a real model."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("urllib3")
pytest.importorskip("PIL")

from tests.engines.openai_reasoners import PLAIN, outcome, watching

from scene_r1_engines import BadConfig
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.openai import OpenAiSettings
from scene_r1_engines.openai.completion import Completion, read_completion
from scene_r1_engines.reasoner import Finish, ImageGrounding, Reasoner, TextAnswer, TimeGrounding, open_reasoner

SERVER_PARTS = ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")


@pytest.fixture(scope="module")
def llama_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's own server with the tiny model, whose key is in THE_KEY."""
    missing = [one for one in SERVER_PARTS if find_spec(one) is None]
    if missing:
        pytest.skip(f"needs llama-cpp-python[server]: {', '.join(missing)}")
    manifest = read_manifest(tiny_model)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    given = {
        "model": tiny_model / manifest.text.file,
        "clip_model_path": tiny_model / manifest.mmproj.file,
        "chat_format": "qwen2.5-vl",
        "model_alias": "tiny",
        "host": "127.0.0.1",
        "port": port,
        "n_ctx": 2048,
        "n_threads": 1,
        "n_threads_batch": 1,
        "api_key": "sk-tiny",
    }
    command = [sys.executable, "-m", "llama_cpp.server"]
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)
        try:
            url = f"http://127.0.0.1:{port}/v1"
            for _ in range(600):
                if server.poll() is not None:
                    pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
                try:
                    urllib.request.urlopen(f"{url}/models", timeout=5.0).close()
                    break
                except urllib.error.HTTPError:
                    break  # it asks for the key, so it is up
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()
            server.wait(20)


SMALL: dict[str, Any] = {"image_pixels": 112 * 112, "constrain": "json_object", "api_key_env": "THE_KEY"}


class TestARealServer:
    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THE_KEY", "sk-tiny")

    def test_is_opened_by_name(self, llama_server: str) -> None:
        with open_reasoner("openai", OpenAiSettings(llama_server, "tiny", **SMALL)) as reasoner:
            assert isinstance(reasoner, Reasoner)
            assert reasoner.name == "openai"

    @pytest.mark.parametrize("task", ["window_s", "bbox_2d", "answer"])
    def test_holds_the_model_to_the_form_of_a_task(
        self, task: str, llama_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[Completion] = []

        def hear(body: bytes, kind: str) -> Completion:
            heard.append(read_completion(body, kind))
            return heard[-1]

        monkeypatch.setattr("scene_r1_engines.openai.reasoner.read_completion", hear)
        limits = Limits(max_tokens=400, think_tokens=12)
        with watching(llama_server, **SMALL) as reasoner:
            ask: dict[str, Callable[[], TimeGrounding | ImageGrounding | TextAnswer]] = {
                "window_s": lambda: reasoner.when("the red mug", limits),
                "bbox_2d": lambda: reasoner.where("the red mug", 4, limits),
                "answer": lambda: reasoner.answer("what is on the table?", limits),
            }
            found = outcome(ask[task])
        (completion,) = heard
        assert not completion.cut
        assert min(completion.generated_tokens, completion.prompt_tokens, len(completion.tokens)) > 0
        written = json.loads(completion.text, strict=False)
        assert list(written)[:2] == ["think", task]
        assert len(written["think"]) <= 48
        if isinstance(found, BadAnswer):  # random weights name times and places that are not there
            assert f"the model's {task} must" in str(found)
        else:
            assert (found.text, found.effort.generated_tokens) == (completion.text, completion.generated_tokens)

    def test_says_when_the_tokens_ran_out(self, llama_server: str) -> None:
        with watching(llama_server, **SMALL) as reasoner:
            found = reasoner.when("the red mug", Limits(max_tokens=6))
        assert found.finish is Finish.TRUNCATED
        assert found.effort.generated_tokens <= 6

    def test_answers_freely_and_the_parser_takes_or_refuses_it(self, llama_server: str) -> None:
        with watching(llama_server, **{**SMALL, "constrain": "text"}) as reasoner:
            found = outcome(lambda: reasoner.when("the red mug", Limits(max_tokens=60)))
        if not isinstance(found, BadAnswer):
            assert found.text
            assert found.finish in (Finish.TRUNCATED, Finish.NOT_FOUND, Finish.OK)

    def test_refuses_a_wrong_key(self, llama_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THE_KEY", "sk-wrong")
        with watching(llama_server, **SMALL) as reasoner, pytest.raises(BadConfig, match="THE_KEY") as raised:
            reasoner.when("the red mug", PLAIN)
        assert "sk-wrong" not in str(raised.value)

    def test_is_not_at_an_address_without_its_version(self, llama_server: str) -> None:
        reasoner = watching(llama_server.removesuffix("/v1"), **SMALL)
        with reasoner, pytest.raises(BadConfig, match="ends in /v1"):
            reasoner.when("the red mug", PLAIN)

    def test_a_call_that_is_cancelled_leaves_it_able_to_answer(self, llama_server: str) -> None:
        asked = [0]

        def soon() -> bool:
            asked[0] += 1
            return asked[0] > 3

        with watching(llama_server, **SMALL) as reasoner:
            assert reasoner.answer("what?", Limits(max_tokens=1500, cancelled=soon)).finish is Finish.CANCELLED
            assert reasoner.when("the red mug", Limits(max_tokens=4)).finish is Finish.TRUNCATED
