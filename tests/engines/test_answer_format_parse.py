"""Reading answers that nothing constrained: what is taken, what is refused, and that no text does anything else."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1_engines.answer_format import Verdict, parse_answer, parse_when, parse_where
from scene_r1_engines.answer_format.parse import MOST_TEXT
from scene_r1_engines.errors import BadAnswer, BadInput
from scene_r1_engines.reasoner import Finish

MUG = '{"bbox_2d": [10, 20, 30, 40], "label": "mug"}'
BOX = (10.0, 20.0, 30.0, 40.0)


def when(text: str) -> Verdict:
    return parse_when(text, 0.4, 42.2)


def where(text: str) -> Verdict:
    return parse_where(text, 640, 480)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("<think>I see it.</think><answer>5s to 10s</answer>", (5.0, 10.0)),
        ("<think>I see it.</think>\n\n<answer>\n5s to 10s\n</answer>\nThat is all.", (5.0, 10.0)),
        ("I see it.</think><answer>5s to 10s</answer>", (5.0, 10.0)),
        ("<THINK>no</THINK><ANSWER>5S TO 10S</ANSWER>", (5.0, 10.0)),
        ("<answer>0s to 43s</answer>", (0.0, 43.0)),
        ("<answer>4.25s to 10.5 seconds</answer>", (4.25, 10.5)),
        ("<answer>5 to 10</answer>", (5.0, 10.0)),
        ("<answer>5-10s</answer>", (5.0, 10.0)),
        ("<answer>5s – 10s.</answer>", (5.0, 10.0)),
        ("<answer>`5s to 10s`</answer>", (5.0, 10.0)),
        ("<answer>```\n5s to 10s\n```</answer>", (5.0, 10.0)),
        ("<answer>The mug is there from 5s to 10s, on the table.</answer>", (5.0, 10.0)),
        ("The mug is there from 5s to 10s. Yes, from 5.0s to 10.0s.", (5.0, 10.0)),
        ("It stands between chairs 2 to 4, from 5 to 10 s", (5.0, 10.0)),
        ("5s to 10s</answer>", (5.0, 10.0)),
        ("<answer>5s to 10s</answer> again: <answer>5.0s to 10.0s</answer>", (5.0, 10.0)),
        ("<think><answer>1s to 2s</answer></think><answer>5s to 10s</answer>", (5.0, 10.0)),
        ("<think>a<think>b</think>c</think><answer>5s to 10s</answer>", (5.0, 10.0)),
    ],
)
def test_a_time_span_is_read_with_or_without_words_around_it(text: str, window: tuple[float, float]):
    verdict = when(text)
    assert (verdict.finish, verdict.value) == (Finish.OK, window)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<answer>5s to 10s</answer><answer>6s to 10s</answer>", "two different answers"),
        ("<answer>5s to 10s or 12s to 13s</answer>", "two different answers"),
        ("<answer>not found, or 5s to 10s</answer>", "two different answers"),
        ("<answer>not found</answer><answer>5s to 10s</answer>", "two different answers"),
        ("<answer>10s to 5s</answer>", "got 10 to 5"),
        ("<answer>5s to 5s</answer>", "got 5 to 5"),
        ("<answer>5s to 44s</answer>", "<= 43 s, got 5 to 44"),
        ("<answer>5s to 43.5s</answer>", "got 5 to 43.5"),
        ("<answer>5s to 999999999s</answer>", "got 5 to"),
        ("<answer>5s to 9999999999s</answer>", "no time span"),
        ("<answer>-5s to 10s</answer>", "no time span"),
        ("<answer>−5s to 10s</answer>", "no time span"),
        ("<answer>5s to 1e308s</answer>", "no time span"),
        ("<answer>1e1s to 20s</answer>", "no time span"),
        ("<answer>NaN to 10s</answer>", "no time span"),
        ("<answer>5s to infinity</answer>", "no time span"),
        ("<answer>٥s to ١٠s</answer>", "no time span"),
        ("<answer>5s to 1０s</answer>", "no time span"),
        ("<answer>1²s to 10s</answer>", "no time span"),
        ("<answer>1,005s to 10s</answer>", "no time span"),
        ("<answer>0:05 to 0:10</answer>", "no time span"),
        ("<answer>1/5s to 10s</answer>", "no time span"),
        ("<answer>5% to 10%</answer>", "no time span"),
        ("<answer>frames 5 to 10</answer>", "no time span"),
        ("<answer>5s to 10s to 15s</answer>", "a start and an end"),
        (f"<answer>{' to '.join('123456789')}s</answer>", "a start and an end"),
        ("<answer>1 minute 5s to 8s</answer>", "must be in seconds"),
        ("<answer>5 to 10 ms</answer>", "must be in seconds"),
        ("<answer>soon</answer>", "no time span"),
        ("<answer>5s</answer>", "no time span"),
        ("<answer>5s to 10s<answer>", "do not pair up"),
        ("<answer>5s to 10s</answer></answer>", "do not pair up"),
        ("5" * (MOST_TEXT + 1), "more than"),
    ],
)
def test_what_is_no_time_span_of_the_recording_is_refused(text: str, said: str):
    with pytest.raises(BadAnswer, match=said):
        when(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"<think>…</think><answer>{MUG}</answer>", ((BOX, "mug"),)),
        (f"Here it is:\n```json\n{MUG}\n```\nThe [red] mug.", ((BOX, "mug"),)),
        (f"<answer>```json\n[{MUG}]\n```</answer>", ((BOX, "mug"),)),
        (f'<answer>[{MUG}, {{"bbox_2d": [0, 0, 640, 480]}}]</answer>', ((BOX, "mug"), ((0.0, 0.0, 640.0, 480.0), ""))),
        (f"<answer>[{MUG}, {MUG}]</answer>", ((BOX, "mug"),)),
        ("<answer>[10, 20, 30, 40]</answer>", ((BOX, ""),)),
        ("<answer>[[10, 20, 30, 40], [1, 2, 3, 4]]</answer>", ((BOX, ""), ((1.0, 2.0, 3.0, 4.0), ""))),
        ('{"bbox_2d": [10.25, 20, 30.5, 4e1], "label": "mug", "score": 1}', (((10.25, 20.0, 30.5, 40.0), "mug"),)),
        ('<answer>{"label": "a  \\"big\\"\\n mug", "bbox_2d": [10,20,30,40]}</answer>', ((BOX, 'a "big" mug'),)),
        ('<answer>{"bbox_2d": [10, 20, 30, 40], "label": "}]杯"}</answer>', ((BOX, "}]杯"),)),
        (f"In a picture of [640, 480] it is at {MUG}.", ((BOX, "mug"),)),
        (f"{MUG}\n{MUG}", ((BOX, "mug"),)),
    ],
)
def test_boxes_are_read_from_json_with_or_without_words_around_it(text: str, found: object):
    verdict = where(text)
    assert (verdict.finish, verdict.value) == (Finish.OK, found)


def box(corners: str, label: str = '"mug"') -> str:
    return f'<answer>{{"bbox_2d": {corners}, "label": {label}}}</answer>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (box("[10, 20, 641, 40]"), "x2 <= 640"),
        (box("[10, 20, 30, 480.5]"), "y2 <= 480"),
        (box("[-1, 20, 30, 40]"), "got .-1, 20"),
        (box("[30, 20, 30, 40]"), "x1 < x2"),
        (box("[30, 20, 10, 40]"), "x1 < x2"),
        (box("[10, 40, 30, 20]"), "y1 < y2"),
        (box("[10, 20, 30, 1e308]"), "1e[+]308"),
        (box("[10, 20, 30, 1e999]"), "inf"),
        (box(f"[10, 20, 30, 1{'0' * 400}]"), "y2 <= 480"),
        (box(f"[10, 20, 30, 1{'0' * 5000}]"), "no JSON|y2 <= 480"),
        (box("[10, 20, 30, NaN]"), "NaN is no number"),
        (box("[-Infinity, 20, 30, 40]"), "-Infinity is no number"),
        (box("[10, 20, 30, ٤٠]"), "no JSON"),
        (box("[10, 20, 30, 040]"), "no JSON"),
        (box("[10, 20, 30]"), "four numbers"),
        (box("[10, 20, 30, 40, 50]"), "four numbers"),
        (box('["10", 20, 30, 40]'), "four numbers"),
        (box("[true, 20, 30, 40]"), "four numbers"),
        (box('"10 20 30 40"'), "four numbers"),
        (box("{}"), "four numbers"),
        (box("[10, 20, 30, 40]", "7"), "a label must be text"),
        (box("[10, 20, 30, 40]", '"' + "x" * 300 + '"'), "a label must be text"),
        (box("[10, 20, 30, 40]", '"\\u0007"'), "a label must be text"),
        (box("[10, 20, 30, 40]", '"\\ud83d"'), "a label must be text"),
        ("<answer>[1, 2, 3, 4], [1, 2, 3, 5]</answer>", "two different answers"),
        (f"<answer>{MUG}</answer><answer>[10, 20, 30, 41]</answer>", "two different answers"),
        (f"<answer>{MUG} or not found</answer>", "two different answers"),
        ('{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [1, 2, 3, 5]}', "a key is there twice"),
        (f"<answer>[{MUG}, null]</answer>", "four numbers"),
        (f"<answer>[{MUG}, {{}}]</answer>", "four numbers"),
        ('<answer>{"bbox_2d": [1, 2, 3, 4}]</answer>', "do not pair up"),
        ('<answer>{"bbox_2d": [1, 2, 3</answer>', "never ends"),
        ("<answer>" + "[" * 9000 + "]" * 9000 + "</answer>", "nested deeper"),
        ("<answer>" + '{"bbox_2d":' * 5000 + "</answer>", "nested deeper"),
        (f"<answer>[{', '.join([MUG] * 65)}]</answer>", "65 boxes"),
        ("<answer>on the table</answer>", "no box"),
        ("<answer>[640, 480]</answer>", "no box"),
        ("<answer>5s to 10s</answer>", "no box"),
        (MUG + " " * MOST_TEXT, "more than"),
    ],
)
def test_what_is_no_box_of_the_picture_is_refused(text: str, said: str):
    with pytest.raises(BadAnswer, match=said):
        where(text)


@pytest.mark.parametrize("words", ["not found", "Not found.", '"not found"', "none", "null", "```\nnot found\n```"])
def test_not_found_is_an_answer_to_when_and_where(words: str):
    for text in (words, f"<answer>{words}</answer>", f"<think>hm</think>\n<answer>\n{words}\n</answer>"):
        assert when(text).finish is where(text).finish is Finish.NOT_FOUND
        assert when(text).value is where(text).value is None
    assert when("The mug is not found in it.").finish is Finish.NOT_FOUND


@pytest.mark.parametrize("nothing", ["[]", '{"bbox_2d": null}', '[{"bbox_2d": [], "label": "mug"}]'])
def test_json_without_a_box_is_not_found(nothing: str):
    assert where(f"<answer>{nothing}</answer>") == Verdict(Finish.NOT_FOUND)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "<answer></answer>",
        "<think>only thought</think>",
        "<think>hm, <answer>5s to 10s</answer>",
        f"<think>hm, <answer>{MUG}</answer>",
        "<think>hm <think> hm</think><answer>5s to 10s</answer>",
        "<think>hm</think><answer>5s to 1",
        f"<answer>{MUG}</answer><answer>",
    ],
)
def test_what_was_not_finished_is_truncated(text: str):
    for verdict in (when(text), where(text), parse_answer(text)):
        assert (verdict.finish, verdict.value) == (Finish.TRUNCATED, None)


def test_json_that_ends_in_its_middle_is_truncated_where_the_text_ends_with_it():
    assert where('Here: [{"bbox_2d": [10, 20, 30, 40]}, {"bbox_2d": [1, 2').finish is Finish.TRUNCATED


def test_the_rationale_is_all_that_was_thought():
    assert when("<think> one </think>and<think>two</think><answer>5s to 10s</answer>").rationale == "one\ntwo"
    assert when("one</think><answer>5s to 10s</answer>").rationale == "one"
    assert when("<think>never closed").rationale == "never closed"


def test_words_are_the_answer_to_a_free_question():
    assert parse_answer("<think>hm</think><answer> two mugs </answer>") == Verdict(Finish.OK, "two mugs", "hm")
    assert parse_answer("Two mugs.") == Verdict(Finish.OK, "Two mugs.")
    assert parse_answer("<answer>none</answer>") == Verdict(Finish.OK, "none")
    assert parse_answer("a \ud83d mug").value == "a ? mug"
    with pytest.raises(BadAnswer, match="two different answers"):
        parse_answer("<answer>two</answer><answer>three</answer>")
    with pytest.raises(BadAnswer, match="must be text, got NoneType"):
        parse_answer(None)  # type: ignore[arg-type]


def test_a_picture_or_recording_that_cannot_be_is_the_callers_fault():
    with pytest.raises(BadInput, match="a picture's sides"):
        parse_where(MUG, 0, 480)
    with pytest.raises(BadInput, match="a recording's span"):
        parse_when("5s to 10s", 3.0, 2.0)


MARKS = (
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    '"bbox_2d"',
    '"label"',
    " to ",
    "s",
    " ",
    "\n",
    ".",
    "-",
    "–",
    "٣",
    "\ud800",
)
WORDS = ("<think>", "</think>", "<answer>", "</answer>", "not found", "none", "null", "NaN", "1e308", "```json\n")
PIECES = st.one_of(
    st.sampled_from([*MARKS, *WORDS, MUG, "[1, 2, 3, 4]", "5s to 10s"]),
    st.integers(-5, 700).map(str),
    st.floats().map(str),
    st.text(max_size=6),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["bbox_2d", "label", "x"]), inner, max_size=3)
    ),
    max_leaves=20,
).map(json.dumps)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join), JSON, JSON.map("<answer>{}</answer>".format)))
def test_every_text_is_a_verdict_or_a_bad_answer(text: str):
    for read in (when, where, parse_answer):
        try:
            verdict = read(text)
        except BadAnswer:
            continue
        assert verdict.rationale.encode() is not None
        assert (verdict.value is not None) == (verdict.finish is Finish.OK)
        if verdict.finish is not Finish.OK:
            assert verdict.finish in (Finish.NOT_FOUND, Finish.TRUNCATED)
        elif read is when:
            start, end = verdict.value
            assert 0 <= start < end <= 43
        elif read is where:
            for (x0, y0, x1, y1), label in verdict.value:
                assert 0 <= x0 < x1 <= 640
                assert 0 <= y0 < y1 <= 480
                assert label.encode() is not None
        else:
            assert verdict.value.strip()
            assert verdict.value.encode()


@settings(deadline=None)
@given(st.integers(0, 42), st.data())
def test_a_time_span_survives_writing_and_reading(start: int, data: st.DataObject):
    end = data.draw(st.integers(start + 1, 43))
    assert when(f"<think>…</think><answer>{start}s to {end}s</answer>").value == (start, end)


@settings(deadline=None)
@given(st.integers(0, 639), st.integers(0, 479), st.text(max_size=40), st.data())
def test_a_box_survives_writing_and_reading(x0: int, y0: int, label: str, data: st.DataObject):
    x1, y1 = data.draw(st.integers(x0 + 1, 640)), data.draw(st.integers(y0 + 1, 480))
    said = json.dumps({"bbox_2d": [x0, y0, x1, y1], "label": label.translate(dict.fromkeys(range(32), " "))})
    if any(unicodedata.category(one) == "Cc" and not one.isspace() for one in json.loads(said)["label"]):
        with pytest.raises(BadAnswer, match="a label must be text"):
            where(f"<answer>{said}</answer>")
        return
    verdict = where(f"<answer>{said}</answer>")
    assert verdict.value[0][0] == (x0, y0, x1, y1)
    assert verdict.value[0][1].split() == label.translate(dict.fromkeys(range(32), " ")).split()
