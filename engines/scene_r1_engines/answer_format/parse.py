"""Reading an answer that nothing constrained: one verdict or one BadAnswer for every text, and nothing is guessed.

A verdict's value is the same as in `scripts`: a Window for `when`, Boxes for `where`, a str for `answer`. Numbers may
have decimals here. What was not finished (a thought or an answer without its end, no answer at all) is `truncated`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from scene_r1_engines.answer_format.bounds import Boxes, Seconds, Sides, Window
from scene_r1_engines.answer_format.json_boxes import UnclosedJson, read_boxes
from scene_r1_engines.answer_format.steps import Verdict
from scene_r1_engines.answer_format.tags import Tagged, read_tags
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.reasoner import Finish

MOST_TEXT = 1 << 16
"""Characters; the longest answer that a reasoner may generate, 4096 tokens, has far fewer."""

NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,20})?"
UNIT = r"\s?(?:seconds?|secs?|s)\b"
TO = r"\s{0,4}(?:to|until|-|–|—)\s{0,4}"
SPAN = re.compile(
    rf"(?<![\w.,:/+\-−–—]){NUMBER}(?:{UNIT})?(?:{TO}{NUMBER}(?:{UNIT})?){{1,3}}(?![\w:/%])(?![.,][0-9])(?!{TO}[0-9])",
    re.IGNORECASE,
)
"""Two to four times in a row; bounded, so that no text takes long. No part of a longer number, of a clock time, of a
fraction or of a negative one."""
OTHER_UNIT = re.compile(r"[0-9]\s?(?:ms|m|min|mins|minutes?|h|hours?)\b", re.IGNORECASE)
NOTHING = re.compile("not found|none|null", re.IGNORECASE | re.ASCII)
NOT_FOUND = re.compile(r"\bnot found\b", re.IGNORECASE | re.ASCII)
FENCE = re.compile(r"```[a-z]{0,10}\s(.*)```", re.DOTALL)


def parse_when(text: str, start_s: float, end_s: float) -> Verdict:
    """The time span that a text names. start_s, end_s: the recording's, which holds every answer; rounded outwards to
    whole seconds, as a constrained answer is. Raises BadAnswer, and BadInput for a span of the recording that is none.
    """
    seconds = Seconds.of(start_s, end_s)
    return _verdict(_tagged(text), lambda answer: _window(answer, seconds))


def parse_where(text: str, width: int, height: int) -> Verdict:
    """The boxes that a text names. width, height: of the picture in the space the model speaks. Raises BadAnswer, and
    BadInput for impossible sides."""
    sides, tagged = Sides(width, height), _tagged(text)
    try:
        return _verdict(tagged, lambda answer: _boxes(answer, sides))
    except UnclosedJson:
        if tagged.tagged:
            raise
        return Verdict(Finish.TRUNCATED, None, tagged.rationale)


def parse_answer(text: str) -> Verdict:
    """The words that a text answers with. Raises BadAnswer."""
    return _verdict(_tagged(text), lambda answer: answer)


def _tagged(text: str) -> Tagged:
    if not isinstance(text, str):
        raise BadAnswer(f"an answer must be text, got {type(text).__name__}")
    if len(text) > MOST_TEXT:
        raise BadAnswer(f"an answer of {len(text)} characters, more than {MOST_TEXT}: nothing was read of it")
    return read_tags(text.encode("utf-8", "replace").decode("utf-8"))  # half a surrogate pair could never be printed


def _verdict(tagged: Tagged, read: Callable[[str], Window | Boxes | str | None]) -> Verdict:
    """What `read` makes of each answer, which must be the same. None from it: not found."""
    if not tagged.whole or not tagged.answers:
        return Verdict(Finish.TRUNCATED, None, tagged.rationale)
    first, *others = [read(answer) for answer in tagged.answers]
    for other in others:
        if other != first:
            raise BadAnswer(f"two different answers: {repr(first)[:80]} and {repr(other)[:80]}")
    return Verdict(Finish.NOT_FOUND if first is None else Finish.OK, first, tagged.rationale)


def _window(answer: str, seconds: Seconds) -> Window | None:
    bare = _bare(answer)
    if NOTHING.fullmatch(bare):
        return None
    if OTHER_UNIT.search(bare):
        raise BadAnswer(f"times must be in seconds, got {answer[:80]!r}")
    alone = SPAN.fullmatch(bare) is not None  # among words a span must say that it is one of seconds
    spans = [span for span in SPAN.findall(bare) if alone or re.search(rf"{UNIT}$", span, re.IGNORECASE)]
    windows = {_times(span) for span in spans}
    if NOT_FOUND.search(bare):
        if windows:
            raise BadAnswer(f"two different answers, not found and a time span: {answer[:80]!r}")
        return None
    if not windows:
        raise BadAnswer(f"no time span such as 5s to 10s in {answer[:80]!r}")
    if len(windows) > 1:
        raise BadAnswer(f"two different answers: {sorted(windows)[:2]}")
    window = windows.pop()
    if not seconds.hold(window):
        raise BadAnswer(
            f"a time span must have {seconds.first} <= start < end <= {seconds.last} s, "
            f"got {window[0]:g} to {window[1]:g}"
        )
    return window


def _times(span: str) -> Window:
    times = [float(number) for number in re.findall(NUMBER, span)]
    if len(times) != 2:
        raise BadAnswer(f"a time span has a start and an end, got {span[:80]!r}")
    return times[0], times[1]


def _boxes(answer: str, sides: Sides) -> Boxes | None:
    if NOTHING.fullmatch(_bare(answer)):
        return None
    boxes, words = read_boxes(answer, sides)
    said_not_found = NOT_FOUND.search(words) is not None
    if boxes and said_not_found:
        raise BadAnswer(f"two different answers, not found and a box: {answer[:80]!r}")
    if not boxes and not said_not_found and words.strip() == answer.strip():
        raise BadAnswer(f"no box such as [x1, y1, x2, y2] in {answer[:80]!r}")
    return boxes or None


def _bare(answer: str) -> str:
    """Without a fence of code, quotes and a full stop around it."""
    fenced = FENCE.fullmatch(answer)
    return (fenced[1] if fenced else answer).strip("\"'`. \t\r\n")
