"""How a constrained answer is written: what is put there for the model, and what it may write itself."""

from __future__ import annotations

import re
from collections.abc import Generator

from scene_r1_engines.answer_format.bounds import Boxes, Seconds, Sides, Window
from scene_r1_engines.answer_format.notation import NOT_UTF8, any_number, either, literal, none_of, one_of, then, words
from scene_r1_engines.answer_format.numbers import integer_between
from scene_r1_engines.answer_format.steps import Let, Script, Verdict, Write, Written
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish

MOST_LABEL = 40
MOST_ANSWER = 400
"""Characters. An answer that is so long was cut short by the grammar, and its verdict is `truncated`."""
WHEN_ROOM, WHERE_ROOM, ANSWER_ROOM = 32, 128, 160
"""Tokens of `max_tokens` that thinking leaves to the answer: its longest form at one digit a token and, for words, at
about three characters a token."""

CONTROLS = ("\x00-\x08", "\x0b-\x1f", "\x7f")
"""All of ASCII's but tab and line feed."""
NOT_FOUND = literal("not found")
THOUGHT = then(any_number(none_of("<", *CONTROLS)), literal("</think>"))
WORDS = words(none_of("<", " ", "\t", "\n", *CONTROLS), none_of("<", *CONTROLS), MOST_ANSWER)
LETTERS = (
    "A-Z", "a-z", "0-9",
    "\u00c0-\u024f", "\u0370-\u052f", "\u0590-\u074f", "\u0900-\u0eff",  # Latin, Greek, Cyrillic, Semitic, Indic
    "\u3040-\u30ff", "\u4e00-\u9fff", "\uac00-\ud7a3",  # kana, Han, Hangul
)  # fmt: skip
LABEL = words(one_of(*LETTERS), one_of(*LETTERS, *" -_.,'()&/+#"), MOST_LABEL)
"""No quote, backslash or <, so that it stands in JSON as it is and ends nothing early."""


def when_script(start_s: float, end_s: float, limits: Limits) -> Script:
    """`<answer>5s to 10s</answer>` or not found. value: a Window of whole seconds, between start_s rounded down and
    end_s rounded up. Raises BadInput, at once, for a span that is none."""
    return _when(Seconds.of(start_s, end_s), limits)


def where_script(width: int, height: int, limits: Limits) -> Script:
    """`<answer>{"bbox_2d": [x1, y1, x2, y2], "label": "…"}</answer>` or not found. value: Boxes, exactly one, in whole
    pixels of a picture of width x height as the model speaks of it. Raises BadInput, at once, for impossible sides."""
    return _where(Sides(width, height), limits)


def answer_script(limits: Limits) -> Script:
    """`<answer>…</answer>` around a few words. value: the words, stripped, a str."""
    return _answer(limits)


def _when(seconds: Seconds, limits: Limits) -> Script:
    rationale, forced = yield from _think(limits, WHEN_ROOM)
    yield Write("<answer>")
    start = then(integer_between(seconds.first, seconds.last - 1), literal("s"))
    first = yield either(NOT_FOUND, start).let()
    if not first.complete:
        return Verdict(Finish.TRUNCATED, None, rationale, forced)
    if first.text == "not found":
        yield Write("</answer>")
        return Verdict(Finish.NOT_FOUND, None, rationale, forced)
    start_s = int(first.text[:-1])
    yield Write(" to ")
    last = yield then(integer_between(start_s + 1, seconds.last), literal("s")).let()
    if not last.complete:
        return Verdict(Finish.TRUNCATED, None, rationale, forced)
    yield Write("</answer>")
    window: Window = (float(start_s), float(last.text[:-1]))
    return Verdict(Finish.OK, window, rationale, forced)


def _where(sides: Sides, limits: Limits) -> Script:
    rationale, forced = yield from _think(limits, WHERE_ROOM)
    yield Write("<answer>")
    truncated = Verdict(Finish.TRUNCATED, None, rationale, forced)
    # the fixed words are cut where Qwen's own splitting of text cuts them, so that the model reads its usual tokens
    first = yield either(NOT_FOUND, literal('{"')).let()
    if not first.complete:
        return truncated
    if first.text == "not found":
        yield Write("</answer>")
        return Verdict(Finish.NOT_FOUND, None, rationale, forced)
    yield Write('bbox_2d": [')
    x, y = integer_between(0, sides.width - 1), integer_between(0, sides.height - 1)
    corner = yield then(x, literal(", "), y, literal(",")).let()
    if not corner.complete:
        return truncated
    x0, y0 = _integers(corner)
    x, y = integer_between(x0 + 1, sides.width), integer_between(y0 + 1, sides.height)
    corner = yield then(literal(" "), x, literal(", "), y, literal("],")).let()
    if not corner.complete:
        return truncated
    x1, y1 = _integers(corner)
    yield Write(' "label": "')
    label = yield then(LABEL, literal('"}')).let()
    if not label.complete:
        return truncated
    yield Write("</answer>")
    said = " ".join(_utf8(label.text[:-2]).split())
    boxes: Boxes = (((float(x0), float(y0), float(x1), float(y1)), said),)
    return Verdict(Finish.OK, boxes, rationale, forced)


def _answer(limits: Limits) -> Script:
    rationale, forced = yield from _think(limits, ANSWER_ROOM)
    yield Write("<answer>")
    written = yield then(WORDS, literal("</answer>")).let()
    text = written.text.removesuffix("</answer>")
    said = _utf8(text)
    if not written.complete or len(text) >= MOST_ANSWER or not said:
        return Verdict(Finish.TRUNCATED, None, rationale, forced)
    return Verdict(Finish.OK, said, rationale, forced)


def _think(limits: Limits, room: int) -> Generator[Write | Let, Written, tuple[str, bool]]:
    """The thinking, closed in any case. Returns what was thought, and whether it was cut. room: of `max_tokens`, for
    what comes after it; without it thinking is switched off."""
    tokens = min(limits.think_tokens, limits.max_tokens - room)
    if tokens <= 0 or limits.think_s == 0.0:
        yield Write("<think></think>")
        return "", False
    yield Write("<think>")
    thought = yield THOUGHT.let(tokens, limits.think_s, counts=False)
    said, begun, closing = thought.text.partition("<")
    if not thought.complete:
        yield Write("</think>".removeprefix(begun + closing))  # the budget may end inside of it
    return _utf8(said), not thought.complete


def _integers(written: Written) -> list[int]:
    return [int(digits) for digits in re.findall("[0-9]+", written.text)]


def _utf8(text: str) -> str:
    return text.replace(NOT_UTF8, "").strip()
