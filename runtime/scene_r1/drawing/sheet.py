"""Many pictures on one sheet: the views that support an answer, or the keyframes that are held."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scene_r1.drawing import text
from scene_r1.drawing.layers import resized
from scene_r1.drawing.palette import PAPER
from scene_r1.drawing.picture import Exhibit
from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadInput

GAP_PX = 8
NARROWEST_PX = 64
"""A picture on a sheet has at least this width; captions need it, and so do eyes."""
WIDEST_PX = 16384
MOST_PIXELS = 100_000_000
"""Of a whole sheet: beyond it viewers give up, and so does a small machine's memory."""


def evidence_sheet(views: Sequence[Exhibit], columns: int | None = None, width: int = 1600) -> NDArray[np.uint8]:
    """Several views of an answer side by side, each drawn at its size on the sheet, so that lines and text stay crisp.

    columns: pictures in a row, else chosen by their number. width: of the sheet in pixels. Returns (H, width, 3)
    uint8 RGB. Raises BadInput for no views, or a width or number of columns that leaves too little for a picture.
    """
    return _sheet([view.drawn for view in views], columns, width)


def contact_sheet(
    frames: Sequence[RgbdFrame], captions: Sequence[str], columns: int | None = None, width: int = 1600
) -> NDArray[np.uint8]:
    """Colour images as thumbnails, one caption below each. columns, width, result and errors as `evidence_sheet`;
    BadInput also where there are not as many captions as frames."""
    if len(captions) != len(frames):
        raise BadInput(f"a contact sheet needs one caption for each frame: got {len(captions)} for {len(frames)}")

    def thumbnail(frame: RgbdFrame, caption: str) -> Callable[[int], NDArray[np.uint8]]:
        def drawn(cell: int) -> NDArray[np.uint8]:
            height = max(1, round(frame.color.shape[0] * cell / frame.color.shape[1]))
            return np.concatenate([resized(frame.color, cell, height), text.strip(caption, cell)])

        return drawn

    return _sheet([thumbnail(frame, words) for frame, words in zip(frames, captions, strict=True)], columns, width)


def columns_for(pictures: int) -> int:
    """As many as fit side by side up to three, else a square or a little higher."""
    return pictures if pictures <= 3 else math.ceil(math.sqrt(pictures))


def _sheet(
    pictures: Sequence[Callable[[int], NDArray[np.uint8]]], columns: int | None, width: int
) -> NDArray[np.uint8]:
    if not pictures:
        raise BadInput("a sheet needs at least one picture")
    columns = columns_for(len(pictures)) if columns is None else columns
    if columns < 1:
        raise BadInput(f"columns must be 1 or more, got {columns}")
    if width > WIDEST_PX:
        raise BadInput(f"a sheet may be {WIDEST_PX} pixels wide, got {width}")
    cell = (width - GAP_PX) // columns - GAP_PX
    if cell < NARROWEST_PX:
        needed = columns * (NARROWEST_PX + GAP_PX) + GAP_PX
        raise BadInput(f"{columns} columns in {width} pixels leave {cell} for a picture: make it {needed} wide or more")
    rows, total = [], GAP_PX
    for start in range(0, len(pictures), columns):
        row = _row([draw(cell) for draw in pictures[start : start + columns]], cell, width)
        total += len(row)
        if total * width > MOST_PIXELS:
            raise BadInput(f"{len(pictures)} pictures on one sheet pass {MOST_PIXELS} pixels: fewer, or less width")
        rows.append(row)
    return np.concatenate([_paper(GAP_PX, width), *rows])


def _row(pictures: Sequence[NDArray[np.uint8]], cell: int, width: int) -> NDArray[np.uint8]:
    out = _paper(max(len(picture) for picture in pictures) + GAP_PX, width)
    for number, picture in enumerate(pictures):
        x = GAP_PX + number * (cell + GAP_PX)
        out[: len(picture), x : x + cell] = picture
    return out


def _paper(height: int, width: int) -> NDArray[np.uint8]:
    out: NDArray[np.uint8] = np.full((height, width, 3), PAPER, np.uint8)
    return out
