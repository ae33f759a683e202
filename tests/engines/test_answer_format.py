"""The form of an answer: what may be asked, how it is asked, and how a script turns what was written into a verdict."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1_engines.answer_format import (
    Let,
    Prompts,
    Script,
    Verdict,
    Write,
    Written,
    answer_script,
    check_question,
    neutralised,
    when_script,
    where_script,
)
from scene_r1_engines.answer_format.notation import any_number, either, literal, none_of, one_of, then
from scene_r1_engines.answer_format.numbers import BOUND, integer_between
from scene_r1_engines.answer_format.scripts import MOST_ANSWER
from scene_r1_engines.errors import BadInput, BadQuestion
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import PromptRules
from scene_r1_engines.reasoner import Finish

SILENT = Limits(think_tokens=0)
SPECIAL = [
    *(f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start")),
    *(f"<|{name}|>" for name in ("box_end", "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad")),
    *(f"<|{name}|>" for name in ("image_pad", "video_pad", "fim_prefix", "fim_middle", "fim_suffix", "fim_pad")),
    *("<|repo_name|>", "<|file_sep|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>", "<answer>", "</answer>", "<__media__>", "<__image__>", "<image>", "<s>", "</s>"),
]


def play(script: Script, *says: str) -> tuple[str, Verdict, list[Let]]:
    """Everything that was written, the verdict and the steps, for a model that says these words, step by step."""
    words, text, steps, written = list(says), "", [], None
    try:
        while True:
            step = script.send(written) if written else next(script)
            if isinstance(step, Write):
                written = Written(step.text, True)
            else:
                said = words.pop(0)
                steps.append(step)
                written = Written(said, step.done.fullmatch(said) is not None)
            text += written.text
    except StopIteration as end:
        assert not words, f"the script never asked for {words}"
        return text, end.value, steps


def test_a_question_loses_its_margins_and_control_characters():
    assert check_question("  where is\tthe\nmug?\x07\x85 ") == "where is the mug?"
    assert check_question("杯子在哪里？ a < b {x}") == "杯子在哪里？ a < b {x}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must not be empty"),
        (" \n\t ", "must not be empty"),
        ("\u200b\u200d\ufeff", "must not be empty"),
        ("\x01\x02", "must not be empty"),
        ("x" * 2001, "2000 characters, got 2001"),
        ("the\0mug", r"U\+0000 at character 3"),
        ("mug \ud83d", r"U\+D83D at character 4"),
        (None, "must be text, got NoneType"),
        (b"mug", "must be text, got bytes"),
    ],
)
def test_a_question_that_is_no_text_of_bounded_length_is_refused(text, said: str):
    with pytest.raises(BadQuestion, match=said):
        check_question(text)


@settings(deadline=None)
@given(st.text())
def test_a_checked_question_can_be_printed_and_is_checked_already(text: str):
    try:
        asked = check_question(text)
    except BadQuestion:
        return
    assert asked.encode()
    assert check_question(asked) == asked
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", asked)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SPECIAL, "<", "＜", "|", ">", " ", "mug"]), max_size=8).map("".join))
def test_no_special_token_survives_being_neutralised(text: str):
    harmless = neutralised(text)
    assert not [one for one in SPECIAL if one in harmless or one in harmless.replace("＜", "<")]
    assert neutralised(harmless) == harmless
    assert harmless.replace(" ", "") == text.replace(" ", "")


def test_plain_words_are_not_touched_by_neutralising():
    assert neutralised("is 3 < 4, and where's the mug > 2 m away?") == "is 3 < 4, and where's the mug > 2 m away?"


def test_the_default_prompts_name_the_form_that_the_scripts_write():
    prompts = Prompts()
    when, where, answer = prompts.when_text("a mug", 0.4, 42.2), prompts.where_text("a mug"), prompts.answer_text("?")
    assert "from 0s to 43s" in when
    assert "<answer>5s to 10s</answer>" in when
    assert '<answer>{"bbox_2d": [x1, y1, x2, y2], "label": "what it is"}</answer>' in where
    for text in (when, where, answer):
        assert "<think></think>" in text
        assert not re.search(r"\{(question|start|end)\}", text)


@pytest.mark.parametrize("question", ["{question}", "{start} {end}", "{", "}", "{0} {x!r}", "%s \\1 $1"])
def test_braces_of_a_question_are_only_braces(question: str):
    assert question in Prompts().when_text(question, 0, 9)
    assert question in Prompts().where_text(question)
    assert question in Prompts().answer_text(question)


def test_a_manifest_replaces_only_the_prompts_it_names():
    prompts = Prompts.of(PromptRules("0" * 64, "qwen2", where="Box of {question}, as {json}"))
    assert prompts.where_text("a mug") == "Box of a mug, as {json}"
    assert prompts.when_text("a mug", 0, 9) == Prompts().when_text("a mug", 0, 9)


@settings(deadline=None)
@given(st.data())
def test_a_range_of_numbers_takes_its_numbers_and_no_other_text(data: st.DataObject):
    lo, hi = sorted(data.draw(st.tuples(*[st.one_of(st.integers(0, 1200), st.integers(0, BOUND - 1))] * 2)))
    pattern = re.compile(integer_between(lo, hi).regex)
    near = st.sampled_from([lo, hi]).flatmap(lambda one: st.integers(max(0, one - 20), one + 20))
    for number in {lo, hi, max(0, lo - 1), hi + 1, *(10**digits for digits in range(8)), data.draw(near)}:
        assert (pattern.fullmatch(str(number)) is not None) == (lo <= number <= hi)
        assert not pattern.fullmatch(f"0{number}")
        assert not pattern.fullmatch(f"{number} ")


def test_every_number_of_a_small_range_is_taken_and_its_grammar_is_short():
    for lo in range(0, 130, 7):
        for hi in range(lo, 1250, 83):
            pattern = re.compile(integer_between(lo, hi).regex)
            assert [n for n in range(1300) if pattern.fullmatch(str(n))] == list(range(lo, hi + 1))
    assert len(integer_between(1234567, 8765432).gbnf) < 400


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (4, 3), (0, BOUND)])
def test_a_range_that_is_none_is_refused(lo: int, hi: int):
    with pytest.raises(BadInput, match=f"got {lo} and {hi}"):
        integer_between(lo, hi)


def test_a_form_says_the_same_in_both_notations():
    form = then(literal('"a\\b"\n'), either(one_of("a-z", "-", "]", "é-ü"), any_number(none_of("<", "^"))))
    assert form.gbnf == '"\\"a\\\\b\\"\\n" ([a-z\\x2d\\x5d\\u00e9-\\u00fc] | [^\\x3c\\x5e]*)'
    pattern = re.compile(form.regex)
    assert all(pattern.fullmatch(f'"a\\b"\n{end}') for end in ("q", "-", "]", "ê", "", "many words", "\ufffd"))
    assert not any(pattern.fullmatch(f'"a\\b"\n{end}') for end in ("^", "a<", "<"))


def test_a_time_span_is_thought_about_then_written():
    text, verdict, steps = play(
        when_script(3.7, 40.2, Limits(think_tokens=9)), "\nI see\na mug.\n</think>", "7s", "19s"
    )
    assert text == "<think>\nI see\na mug.\n</think><answer>7s to 19s</answer>"
    assert verdict == Verdict(Finish.OK, (7.0, 19.0), "I see\na mug.", False)
    assert [(step.tokens, step.seconds, step.counts) for step in steps] == [
        (9, 20.0, False),
        (None, None, True),
        (None, None, True),
    ]


def test_the_end_of_a_time_span_is_after_its_start_and_inside_the_recording():
    _, _, (first, second) = play(when_script(3.7, 40.2, SILENT), "39s", "40s")
    assert [n for n in range(99) if first.done.fullmatch(f"{n}s")] == list(range(3, 41))
    assert [n for n in range(99) if second.done.fullmatch(f"{n}s")] == [40, 41]


def test_a_recording_of_one_moment_has_a_window_of_one_second():
    text, verdict, _ = play(when_script(5.0, 5.0, SILENT), "5s", "6s")
    assert text == "<think></think><answer>5s to 6s</answer>"
    assert verdict.value == (5.0, 6.0)


@pytest.mark.parametrize("script", [when_script(0, 9, SILENT), where_script(64, 64, SILENT)])
def test_not_found_ends_the_answer(script: Script):
    text, verdict, _ = play(script, "not found")
    assert text == "<think></think><answer>not found</answer>"
    assert verdict == Verdict(Finish.NOT_FOUND)


def test_a_box_is_written_corner_by_corner():
    text, verdict, steps = play(where_script(644, 476, SILENT), '{"', "12, 0,", " 644, 33],", 'mug of"}')
    assert text == ('<think></think><answer>{"bbox_2d": [12, 0, 644, 33], "label": "mug of"}</answer>')
    assert verdict == Verdict(Finish.OK, (((12.0, 0.0, 644.0, 33.0), "mug of"),))
    first, second = steps[1], steps[2]
    assert [x for x in range(700) if first.done.fullmatch(f"{x}, 0,")] == list(range(644))
    assert [y for y in range(700) if first.done.fullmatch(f"0, {y},")] == list(range(476))
    assert [x for x in range(700) if second.done.fullmatch(f" {x}, 1],")] == list(range(13, 645))
    assert [y for y in range(700) if second.done.fullmatch(f" 13, {y}],")] == list(range(1, 477))


def test_a_step_is_done_only_when_all_of_it_is_there():
    _, _, steps = play(where_script(1000, 1000, Limits()), "so</think>", '{"', "1, 20,", " 300, 400],", 'a mug"}')
    for step, whole in zip(steps, ["so</think>", '{"', "1, 20,", " 300, 400],", 'a mug"}'], strict=True):
        assert [end for end in range(len(whole) + 1) if step.done.fullmatch(whole[:end])] == [len(whole)]


def test_words_are_the_answer_to_a_free_question():
    text, verdict, _ = play(answer_script(Limits()), "hm</think>", "two red mugs. </answer>")
    assert text == "<think>hm</think><answer>two red mugs. </answer>"
    assert verdict == Verdict(Finish.OK, "two red mugs.", "hm")


@pytest.mark.parametrize("cut", ["I wonder", "I wonder<", "I wonder</thi", "I wonder</think"])
def test_thinking_out_of_budget_is_closed_once_and_said_so(cut: str):
    text, verdict, _ = play(answer_script(Limits(think_tokens=3)), cut, "red</answer>")
    assert text == "<think>I wonder</think><answer>red</answer>"
    assert verdict == Verdict(Finish.OK, "red", "I wonder", True)


@pytest.mark.parametrize("limits", [SILENT, Limits(think_s=0.0), Limits(max_tokens=16)])
def test_thinking_that_has_no_budget_is_not_begun(limits: Limits):
    text, verdict, _ = play(answer_script(limits), "red</answer>")
    assert text == "<think></think><answer>red</answer>"
    assert verdict == Verdict(Finish.OK, "red")


@pytest.mark.parametrize("task", ["when", "where"])
def test_thinking_leaves_the_answer_its_tokens(task: str):
    limits = Limits(max_tokens=200, think_tokens=4096)
    script = when_script(0, 9, limits) if task == "when" else where_script(64, 64, limits)
    _, _, steps = play(script, "hm</think>", "not found")
    assert steps[0].tokens == {"when": 168, "where": 72}[task]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (when_script(0, 99, SILENT), ["1"]),
        (when_script(0, 99, SILENT), ["not fou"]),
        (when_script(0, 99, SILENT), ["1s", "2"]),
        (where_script(99, 99, SILENT), [""]),
        (where_script(99, 99, SILENT), ['{"', "1, 2"]),
        (where_script(99, 99, SILENT), ['{"', "1, 2,", " 4, 5"]),
        (where_script(99, 99, SILENT), ['{"', "1, 2,", " 4, 5],", "a mu"]),
        (answer_script(SILENT), ["a mu"]),
        (answer_script(SILENT), ["</answer>"]),
        (answer_script(SILENT), ["\u00a0</answer>"]),
        (answer_script(SILENT), ["x" * MOST_ANSWER + "</answer>"]),
    ],
)
def test_an_answer_that_was_cut_short_is_truncated_and_has_no_value(script: Script, says: list[str]):
    _, verdict, _ = play(script, *says)
    assert verdict == Verdict(Finish.TRUNCATED)


def test_bytes_that_are_no_text_do_not_end_up_in_an_answer():
    _, verdict, _ = play(where_script(9, 9, SILENT), '{"', "1, 2,", " 3, 4],", '\ufffdm\ufffd\ufffdug\ufffd"}')
    assert verdict.value == (((1.0, 2.0, 3.0, 4.0), "mug"),)
    _, verdict, _ = play(answer_script(SILENT), " \ufffdred\ufffd</answer>")
    assert verdict.value == "red"


@pytest.mark.parametrize("span", [(-1.0, 5.0), (5.0, 4.0), (float("nan"), 5.0), (0.0, float("inf")), (0.0, 1e308)])
def test_a_span_that_no_recording_has_is_refused_at_once(span: tuple[float, float]):
    with pytest.raises(BadInput, match="a recording's span"):
        when_script(*span, Limits())
    with pytest.raises(BadInput, match="a recording's span"):
        Prompts().when_text("a mug", *span)


@pytest.mark.parametrize("sides", [(0, 5), (5, -1), (BOUND, 5)])
def test_sides_that_no_picture_has_are_refused_at_once(sides: tuple[int, int]):
    with pytest.raises(BadInput, match=f"got {sides[0]} x {sides[1]}"):
        where_script(*sides, Limits())
