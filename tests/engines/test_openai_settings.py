"""The settings of the reasoner that asks a server: what is refused and never shown, and what opening needs."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("urllib3")
pytest.importorskip("PIL")

from tests.engines.openai_reasoners import to

from scene_r1_engines import BadConfig, MissingExtra
from scene_r1_engines.manifest import TimeRules
from scene_r1_engines.openai import OpenAiReasoner, OpenAiSettings, PromptTexts


class TestSettings:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost:8000",
            "ftp://host/v1",
            "file:///v1",
            "http://",
            "http:///v1",
            "http://host:99999/v1",
            "http://host:0/v1",
            "http://[::1/v1",
            "http://host/v1?key=secret-9",
            "http://host/v1#secret-9",
            "http://me:secret-9@host/v1",
            "http://secret-9@host/v1",
            "http://host/ v1",
            "http://host/v1\r\nX: secret-9",
            "http://hóst/v1",
            "http://host/" + "a" * 3000,
        ],
    )
    def test_an_address_that_is_none_is_refused_and_not_shown(self, url: str) -> None:
        with pytest.raises(BadConfig, match="url must be the API's base") as raised:
            OpenAiSettings(url, "m")
        assert "secret-9" not in str(raised.value)

    @pytest.mark.parametrize(
        "given",
        [
            {"model": ""},
            {"model": "two\nlines"},
            {"keyframes": 0},
            {"image_pixels": 10},
            {"min_pixels": 10},
            {"grounding_pixels": 10},
            {"patch_multiple": 2},
            {"box_space": "percent"},
            {"constrain": "xml"},
            {"picture": "webp"},
            {"jpeg_quality": 0},
            {"time": TimeRules("video")},
            {"timeout_s": 0.0},
            {"connect_timeout_s": math.inf},
            {"retry_wait_s": math.nan},
            {"retries": -1},
        ],
    )
    def test_an_impossible_value_is_refused_by_its_name(self, given: dict[str, Any]) -> None:
        with pytest.raises(BadConfig, match=next(iter(given))):
            OpenAiSettings(**{"url": "http://host/v1", "model": "m", **given})

    def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(self) -> None:
        with pytest.raises(BadConfig, match="api_key_env must be the name") as raised:
            OpenAiSettings("http://host/v1", "m", "sk-abc-123")
        assert "sk-abc" not in str(raised.value)

    def test_a_prompt_without_its_question_is_refused(self) -> None:
        with pytest.raises(BadConfig, match="where must hold"):
            PromptTexts(where="find it")

    def test_settings_travel_to_another_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THE_KEY", "sk-secret")
        given = OpenAiSettings("https://host/v1", "m", "THE_KEY", box_space="rel_1000")
        again = pickle.loads(pickle.dumps(given))
        assert again == given
        assert b"sk-secret" not in pickle.dumps(given)
        assert "sk-secret" not in repr(OpenAiReasoner(given)) + repr(given)


def test_without_urllib3_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    for name in ("attempt", "connection"):
        monkeypatch.delitem(sys.modules, f"scene_r1_engines.openai.{name}", raising=False)
    with pytest.raises(MissingExtra, match=r"scene-r1-edge\[openai\]"):
        to("http://127.0.0.1:1/v1")


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, scene_r1_engines.openai as o; s = o.OpenAiSettings('http://127.0.0.1/v1', 'm'); "
        "print(sorted({'urllib3', 'PIL', 'llama_cpp', 'torch'} & set(sys.modules)))"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True
    )
    assert ran.stdout.strip() == "[]"
