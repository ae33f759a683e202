"""The demo's answers beside the truth, as people read them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from scene_r1.box import Box3D
from scene_r1.demo.given_box import GivenBox
from scene_r1.demo.judged import Judged

WIDTH = 100
LABEL = 9
KINDS = {
    "attribute": "find a thing by what it is like",
    "relation": "find a thing by where it is",
    "absent": "find a thing that is not there",
}
MOST_BOXES = 4
"""2D boxes that are told one by one; more would hide the rest."""
MOST_LINES = 5
"""Of one thought; the JSON has all of it."""


def lines(number: int, one: Judged) -> Iterator[str]:
    """A question, what the model thought and said, and the truth; a miss is called a miss."""
    question, answer = one.question, one.answer
    yield f"{number}. {question.text}   [{KINDS.get(question.family, 'answer in words')}]"
    if one.fault:
        yield from _entry("fault", one.fault)
    for thought in answer.rationale.splitlines():
        yield from _entry("thought", thought)
    if question.task == "vqa":
        yield from _entry("answer", answer.answer or f"none: {answer.reason}")
        yield from _entry("truth", question.answer + _unit(question.answer_kind))
    elif not one.fault:
        yield from _entry("window", _window(one))
        yield from _boxes_2d(one)
        yield from _entry("3D box", _box(answer.box_3d) if answer.box_3d else f"none: {answer.reason}")
    if question.task == "find":
        yield from _entry("truth", _box(one.truth) if one.truth else "it is not in the room")
    yield from _entry("result", verdict(one))
    yield from _entry("time", f"{one.seconds:.1f} s")


def verdict(one: Judged) -> str:
    """In a few words how right it is."""
    if one.question.task == "vqa":
        return "right" if one.right else "wrong"
    if one.truth is None:
        return "right: it says so" if one.right else "wrong: it should have said so"
    if one.answer.box_3d is None:
        return "missed: no box"
    return f"{'found' if one.right else 'missed'}: {_compared(one.iou, one.off_m)}"


def given_line(one: GivenBox) -> str:
    """One line of the section in which the 2D box is given."""
    if one.answer.box_3d is None:
        said = f"nothing lifted: {one.answer.reason}"
    else:
        said = f"{'found' if one.right else 'missed'}: {_compared(one.iou, one.off_m)}"
    return f"   {one.name}, frame {one.frame}: {said}"


def _window(one: Judged) -> str:
    true = " or ".join(f"{start:.1f} s to {end:.1f} s" for start, end in one.question.windows_s)
    seen = f"it is seen {true}" if true else "it is never seen"
    if one.answer.window_s is None:
        return f"none; {seen}"
    start, end = one.answer.window_s
    match = f" (IoU {one.temporal_iou:.2f})" if true else ""
    return f"{start:g} s to {end:g} s; {seen}{match}"


def _boxes_2d(one: Judged) -> Iterator[str]:
    if not one.answer.boxes_2d:
        yield from _entry("2D box", "none")
    for box, match in list(zip(one.answer.boxes_2d, one.box_ious, strict=True))[:MOST_BOXES]:
        corners = " ".join(f"{v:.0f}" for v in box.xyxy)
        said = "the thing is not clearly seen there" if match is None else f"IoU {match:.2f} with what is seen of it"
        yield from _entry("2D box", f"frame {box.frame}: {corners} {box.label!r}; {said}")
    if len(one.answer.boxes_2d) > MOST_BOXES:
        yield from _entry("", f"and {len(one.answer.boxes_2d) - MOST_BOXES} more")


def _box(box: Box3D) -> str:
    size, center = " x ".join(f"{side:.2f}" for side in box.size), ", ".join(f"{side:.2f}" for side in box.center)
    return f"{size} m at ({center}) m"


def _compared(match: float, off_m: float | None) -> str:
    return f"IoU {match:.2f}" + ("" if off_m is None else f", centre {off_m * 100:.1f} cm off")


def _unit(kind: str) -> str:
    return {"metres": " m", "square_metres": " square metres"}.get(kind, "")


def _entry(label: str, words: str) -> list[str]:
    """Words behind their label, wrapped, and without what a terminal would obey: a model wrote some of them."""
    plain = "".join(c if c.isprintable() else " " for c in words)
    first, rest = f"   {label:<{LABEL}}", " " * (3 + LABEL)
    wrapped = textwrap.wrap(
        plain, WIDTH, initial_indent=first, subsequent_indent=rest, max_lines=MOST_LINES, placeholder=" ..."
    )
    return wrapped or [first.rstrip()]
