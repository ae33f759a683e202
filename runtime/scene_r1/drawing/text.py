"""Text in pictures: plain ASCII in OpenCV's Hershey font, wrapped by its measured width."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.drawing.palette import INK, PAPER, Color

FONT = cv2.FONT_HERSHEY_SIMPLEX
SIZE = 0.5
LINE_PX = 21
"""From one line of text to the next."""
BASELINE_PX = 15
"""From the top of a line to the feet of its letters; the rest has room for g, j, p, q, y."""
NARROWEST_PX = 3
"""Of letters: no line holds more of them than its room has of these."""
MARGIN_PX = 8
SWATCH_PX = 11
MOST_LINES = 8
"""A rationale may be long, and a picture is no page: what is over ends in '...'."""

_SPELLED = str.maketrans(
    {"×": "x", "–": "-", "—": "-", "−": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "ß": "ss"}
)


class Key(NamedTuple):
    """What a colour stands for."""

    color: Color
    text: str


def plain(text: str) -> str:
    """The text in printable ASCII, which is all the font has: accents are dropped, other letters become '?'."""
    apart = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    kept = "".join(c for c in apart if not unicodedata.combining(c))
    return " ".join("".join(c if " " <= c <= "~" else " " if c.isspace() else "?" for c in kept).split())


def width_px(text: str) -> int:
    """Width of one line of plain text."""
    return int(cv2.getTextSize(text, FONT, SIZE, 1)[0][0]) if text else 0


def wrapped(text: str, room_px: int) -> list[str]:
    """Lines of plain text that fit into `room_px`; words wider than that are broken. At most MOST_LINES."""
    lines: list[str] = []
    line = ""
    most = room_px // NARROWEST_PX + 2  # letters of a line
    for word in plain(text[: 2 * most * (MOST_LINES + 1)]).split():
        longer = f"{line} {word}" if line else word
        if width_px(longer) <= room_px:
            line = longer
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and width_px(word[:most]) > room_px and len(lines) <= MOST_LINES:
            fits = next((n for n in range(min(len(word), most), 1, -1) if width_px(word[:n]) <= room_px), 1)
            lines.append(word[:fits])
            word = word[fits:]
        line = word
        if len(lines) > MOST_LINES:
            break
    if line:
        lines.append(line)
    if len(lines) > MOST_LINES:
        last = lines[MOST_LINES - 1]
        while last and width_px(last + "...") > room_px:
            last = last[:-1]
        lines[MOST_LINES - 1 :] = [last.rstrip() + "..."]
    return lines


def put(image: NDArray[np.uint8], text: str, x: int, y: int, color: Color = INK) -> None:
    """Write one line of plain text into the image; x, y: its upper left corner in pixels."""
    cv2.putText(image, text, (x, y + BASELINE_PX), FONT, SIZE, color, 1, cv2.LINE_AA)


def strip(caption: str, width: int, keys: Sequence[Key] = ()) -> NDArray[np.uint8]:
    """A band of text to put below a picture: (h, width, 3) uint8, h = 0 where there is nothing to say."""
    room = max(1, width - 2 * MARGIN_PX)
    lines = wrapped(caption, room)
    rows = _flowed(keys, room)
    if not lines and not rows:
        return np.zeros((0, width, 3), np.uint8)
    out: NDArray[np.uint8] = np.full(((len(lines) + len(rows)) * LINE_PX + MARGIN_PX, width, 3), PAPER, np.uint8)
    y = MARGIN_PX // 2
    for row in rows:
        x = MARGIN_PX
        for key in row:
            top = y + BASELINE_PX - SWATCH_PX
            cv2.rectangle(out, (x, top), (x + SWATCH_PX - 1, top + SWATCH_PX - 1), key.color, cv2.FILLED)
            put(out, key.text, x + SWATCH_PX + 6, y)
            x += _key_px(key)
        y += LINE_PX
    for line in lines:
        put(out, line, MARGIN_PX, y)
        y += LINE_PX
    return out


def _key_px(key: Key) -> int:
    return SWATCH_PX + 6 + width_px(key.text) + 2 * MARGIN_PX


def _flowed(keys: Sequence[Key], room_px: int) -> list[list[Key]]:
    rows: list[list[Key]] = []
    left = 0
    for color, text in keys:
        key = Key(color, plain(text))
        needed = _key_px(key)
        if not rows or needed - 2 * MARGIN_PX > left:
            rows.append([])
            left = room_px
        rows[-1].append(key)
        left -= needed
    return rows
