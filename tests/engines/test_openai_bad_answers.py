"""What a server may send that is no answer is a BadAnswer of the reasoner that asked, and quotes nothing."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("urllib3")
pytest.importorskip("PIL")

from tests.engines.openai_reasoners import PLAIN, THINKING, outcome, watching
from tests.engines.scripted_server import Behaviour, ScriptedServer, says, status

from scene_r1_engines.answer_format.bounds import Seconds, Sides
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.openai.completion import read_completion
from scene_r1_engines.openai.forms import answer_form, read_answer, read_when, read_where, when_form, where_form
from scene_r1_engines.reasoner import Finish

QUESTION = "where did I hide the diamond"


FAULTS: dict[str, Behaviour] = {
    "a web page": status(200, f"<html>{QUESTION}</html>".encode(), Content_Type="text/html"),
    "nothing": status(200, b""),
    "no UTF-8": status(200, b'{"choices": "\xff"}'),
    "depth": status(200, b'{"choices": ' + b"[" * 200_000),
    "depth in an object": status(200, b'{"a":' * 200_000),
    "a million digits": status(200, b'{"choices": ' + b"9" * 1_000_000 + b"}"),
    "a list": status(200, b"[]"),
    "an error": status(200, json.dumps({"error": {"message": QUESTION}}).encode()),
    "choices that are none": status(200, b'{"choices": []}'),
    "choices of another kind": status(200, b'{"choices": {"0": 1}}'),
    "a choice that is a number": status(200, b'{"choices": [1]}'),
    "no message": status(200, b'{"choices": [{"text": "hello"}]}'),
    "a message that is text": status(200, json.dumps({"choices": [{"message": QUESTION}]}).encode()),
    "null": says(None),
    "a number": says(5),
    "parts": says([{"type": "text", "text": QUESTION}]),
    "a tool call": says(None, message={"content": None, "tool_calls": [{"id": "1"}]}),
    "a tool call in its finish": says('{"window_s": [3, 8]}', "tool_calls"),
    "a filter": says("", "content_filter"),
    "a very long text": says("x" * 100_000),
    "an empty text": says(""),
    "words": says(f"I was asked {QUESTION}"),
    "another form": says("<answer>3s to 8s</answer>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_no_answer_is_a_bad_answer_and_quotes_nothing(
    fault: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(fault) as server, watching(server) as reasoner:
        with pytest.raises(BadAnswer) as raised:
            reasoner.when(QUESTION, PLAIN)
        assert len(server.requests) == 1
    assert "diamond" not in str(raised.value) + caplog.text


@pytest.mark.parametrize(
    "content",
    [
        f"<answer>{QUESTION}</answer>",
        f"<answer>{QUESTION}</answer><answer>5s to 6s</answer>",
        f"{QUESTION}</answer></answer>",
        f'<answer>{{"bbox_2d": [1, 2, 3, 4], "{QUESTION}": 1, "{QUESTION}": 2}}</answer>',
        f'<answer>{{"bbox_2d": ["{QUESTION}"]}}</answer>',
        f'<answer>{{"bbox_2d": [1, 2, 3, 4], "label": "{QUESTION * 20}"}}</answer>',
    ],
)
def test_text_that_is_no_answer_is_not_quoted_either(content: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(says(content)) as server, watching(server, constrain="text") as reasoner:
        outcomes = [
            outcome(lambda: reasoner.when(QUESTION, PLAIN)),
            outcome(lambda: reasoner.where(QUESTION, 4, PLAIN)),
        ]
    faults = [one for one in outcomes if isinstance(one, BadAnswer)]
    assert faults
    assert not [one for one in faults if "diamond" in str(one) + repr(one.__cause__)]
    assert "diamond" not in caplog.text


SECONDS, SIDES = Seconds(2, 12), Sides(196, 112)


@pytest.mark.parametrize(
    "written",
    [
        "[3, 8]",
        "null",
        "{}",
        '{"window_s": [3, 8]} and more',
        '{"window_s": [3, 8]',
        '{"window_s": [3, 8], "window_s": [4, 8]}',
        '{"window_s": [3, 8], "also": 1}',
        '{"window_s": [3, 8], "think": 5}',
        '{"window_s": [3]}',
        '{"window_s": [3, 8, 9]}',
        '{"window_s": "3 to 8"}',
        '{"window_s": ["3", 8]}',
        '{"window_s": [true, 8]}',
        '{"window_s": [8, 3]}',
        '{"window_s": [3, 3]}',
        '{"window_s": [1, 8]}',
        '{"window_s": [3, 13]}',
        '{"window_s": [-3, 8]}',
        '{"window_s": [3, NaN]}',
        '{"window_s": [3, Infinity]}',
        '{"window_s": [3, 1e999]}',
        '{"window_s": [3, 8.5e307]}',
        '{"window_s": [3, ' + "9" * 5000 + "]}",
        '{"window_s": ' + "[" * 50_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_window_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(BadAnswer):
        read_when(when_form(SECONDS, PLAIN), written, SECONDS)


@pytest.mark.parametrize(
    "box", ["[5, 5, 5, 9]", "[9, 5, 5, 9]", "[0, 0, 197, 9]", "[0, 0, 9, 113]", "[-1, 0, 9, 9]", "[0, 0, 9]", '"x"']
)
def test_a_box_that_is_none_or_leaves_the_picture_is_refused(box: str) -> None:
    with pytest.raises(BadAnswer, match="bbox_2d"):
        read_where(where_form(SIDES, PLAIN), f'{{"bbox_2d": {box}, "label": "mug"}}', SIDES)


@pytest.mark.parametrize("label", ["5", "null", '"' + "x" * 41 + '"', r'"\u001b[2J"', r'"\ud800"'])
def test_a_label_that_cannot_be_shown_is_refused(label: str) -> None:
    with pytest.raises(BadAnswer, match="label"):
        read_where(where_form(SIDES, PLAIN), f'{{"bbox_2d": [0, 0, 9, 9], "label": {label}}}', SIDES)


def test_no_words_or_as_many_as_there_is_room_for_are_truncated() -> None:
    form = answer_form(PLAIN)
    assert read_answer(form, '{"answer": " "}').finish is Finish.TRUNCATED
    assert read_answer(form, json.dumps({"answer": "x" * 400})).finish is Finish.TRUNCATED
    assert read_answer(form, json.dumps({"answer": "x" * 399})).value == "x" * 399
    with pytest.raises(BadAnswer, match="can be printed"):
        read_answer(form, r'{"answer": "\u001b[2J"}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["think", "window_s", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON.map(json.dumps) | st.text(max_size=60) | st.text('{}[]",:think window_s0123456789.-', max_size=60))
def test_any_text_is_a_window_in_the_recording_not_found_or_a_bad_answer(written: str) -> None:
    form = when_form(SECONDS, THINKING)
    try:
        verdict = read_when(form, written, SECONDS)
    except BadAnswer:
        return
    assert verdict.finish in (Finish.OK, Finish.NOT_FOUND)
    if verdict.finish is Finish.OK:
        assert isinstance(verdict.value, tuple)
        assert 2.0 <= verdict.value[0] < verdict.value[1] <= 12.0
        start, end = form.span(written)
        assert json.loads(written[start:end]) == list(verdict.value)


@settings(max_examples=150, deadline=None)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_any_body_is_a_completion_or_a_bad_answer(body: bytes) -> None:
    for whole in (body, b'{"choices": [{"message": ' + body + b"}]}", b'{"choices": [' + body + b"]}"):
        found = outcome(lambda whole=whole: read_completion(whole, ""))
        assert isinstance(found, BadAnswer) or isinstance(found.text, str)
