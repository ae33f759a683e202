"""Boxes in the JSON that a model wrote freely, with words around it or not."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

from scene_r1_engines.answer_format.bounds import Boxes, Sides
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.reasoner import Box

MOST_DEPTH = 6
MOST_BOXES = 64
MOST_LABEL = 200
KEY = "bbox_2d"


class UnclosedJson(BadAnswer):
    """The JSON of an answer ends in its middle."""


def read_boxes(text: str, sides: Sides) -> tuple[Boxes, str]:
    """The boxes of the one JSON value in the text that holds any, and the words around it.

    Read are `{"bbox_2d": [x1, y1, x2, y2], "label": "…"}`, with or without the label, `[x1, y1, x2, y2]`, and a list of
    either; () where it says null, [] or `{"bbox_2d": null}`, and where there is no such JSON. Brackets that hold
    something else are words. Raises BadAnswer for everything that speaks of boxes but is none, for a box outside the
    picture, and for two values that differ; UnclosedJson for one without end.
    """
    found: list[Boxes] = []
    words, end = [], 0
    for start, stop in _bracketed(text):
        boxes = _boxes_of(text[start:stop], sides)
        if boxes is not None:
            words.append(text[end:start])
            end = stop
            found.append(boxes)
    if any(boxes != found[0] for boxes in found):
        raise BadAnswer(f"two different answers: {found[0]} and {next(b for b in found if b != found[0])}")
    words.append(text[end:])
    return (found[0] if found else ()), " ".join(words)


def _bracketed(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each outermost {...} or [...], nothing in it parsed."""
    open_brackets: list[str] = []
    start, in_string = 0, False
    for token in re.finditer(r'\\.|["{}\[\]]', text, re.DOTALL):
        mark = token[0]
        if not open_brackets:
            if mark in ("{", "["):
                start, in_string = token.start(), False
                open_brackets.append(mark)
        elif mark == '"':
            in_string = not in_string
        elif in_string or mark[0] == "\\":
            continue
        elif mark in ("{", "["):
            open_brackets.append(mark)
            if len(open_brackets) > MOST_DEPTH:
                raise BadAnswer(f"JSON nested deeper than {MOST_DEPTH} brackets: {text[start : start + 80]!r}")
        elif (open_brackets.pop() == "{") != (mark == "}"):
            raise BadAnswer(f"brackets that do not pair up: {text[start : start + 80]!r}")
        elif not open_brackets:
            yield start, token.end()
    if open_brackets and KEY in text[start:]:
        raise UnclosedJson(f"JSON that never ends: {text[start : start + 80]!r}")


def _boxes_of(text: str, sides: Sides) -> Boxes | None:
    """The boxes of one JSON value; None where it does not speak of boxes."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except ValueError as error:  # also int()'s own, for thousands of digits
        if KEY not in text:
            return None
        if isinstance(error, BadAnswer):
            raise
        raise BadAnswer(f"no JSON ({str(error)[:80]}): {text[:80]!r}") from None
    if KEY not in text and not _speaks_of_boxes(value):
        return None
    items = value if isinstance(value, list) and not _is_four_numbers(value) else [value]
    if len(items) > MOST_BOXES:
        raise BadAnswer(f"{len(items)} boxes, more than {MOST_BOXES}")
    if len(items) == 1 and isinstance(items[0], dict) and items[0].get(KEY, ...) in (None, []):
        return ()
    return tuple(dict.fromkeys(_box(item, sides) for item in items))


def _speaks_of_boxes(value: object) -> bool:
    return value == [] or _is_four_numbers(value) or (isinstance(value, list) and all(map(_is_four_numbers, value)))


def _is_four_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(one) in (int, float) for one in value)


def _box(item: object, sides: Sides) -> tuple[Box, str]:
    corners, label = (item.get(KEY), item.get("label", "")) if isinstance(item, dict) else (item, "")
    if not isinstance(corners, list) or not _is_four_numbers(corners):
        raise BadAnswer(f"a box must be four numbers, got {repr(item)[:80]}")
    x0, y0, x1, y1 = corners
    if not sides.hold((x0, y0, x1, y1)):  # before float(), which an integer may overflow
        raise BadAnswer(
            f"a box must have 0 <= x1 < x2 <= {sides.width} and 0 <= y1 < y2 <= {sides.height}, "
            f"got {repr(corners)[:80]}"
        )
    return (float(x0) + 0.0, float(y0) + 0.0, float(x1), float(y1)), _label(label)  # + 0.0: no -0.0


def _label(value: object) -> str:
    label = " ".join(value.split()) if isinstance(value, str) else None
    if label is None or len(label) > MOST_LABEL or any(unicodedata.category(c) in ("Cc", "Cs") for c in label):
        raise BadAnswer(f"a label must be text of up to {MOST_LABEL} characters, got {repr(value)[:80]}")
    return label


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError(f"a key is there twice among {', '.join(key for key, _ in pairs)[:60]}")
    return dict(pairs)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
