"""A prompt in the model's own terms: points of its square picture, and a mask of a quarter of its side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadPrompt
from scene_r1_engines.sam2.picture import smoothed
from scene_r1_engines.view import Prompt

PAD, BESIDE, ON, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""Labels of points. The model was trained with one PAD behind all points, and it changes what comes out."""
MIN_SIDE_PX = 2.0
SURE = 10.0
"""Logit of a pixel of a given mask, as in the official code: its sigmoid is 1 to within 5e-5."""


@dataclass(frozen=True, slots=True)
class ModelPrompt:
    """A prompt as the mask decoder takes it.

    coords: (N, 2) float32 pixels of the model's S x S input, labels: (N,) int32; the last is PAD. said: points without
    padding, a box counts as two. mask_in: (S/4, S/4) float32 logits of a mask to be refined. drawn: (S, S) float32, 0
    or 1, a mask that is to be the answer itself; nothing else is said then.
    """

    coords: NDArray[np.float32]
    labels: NDArray[np.int32]
    said: int
    mask_in: NDArray[np.float32] | None = None
    drawn: NDArray[np.float32] | None = None


def nothing_said(padding: int = 2) -> ModelPrompt:
    """What the decoder is asked with where there is no prompt: two points of padding, as the official predictor."""
    return ModelPrompt(np.zeros((padding, 2), np.float32), np.full(padding, PAD, np.int32), 0)


def outlined(prompt: Prompt) -> Prompt:
    """The prompt with a box around its mask, where a mask is all it says: then the mask is refined, not repeated."""
    pointed = prompt.points_xy is not None and len(prompt.points_xy) > 0
    if prompt.mask is None or prompt.xyxy is not None or pointed or not prompt.mask.any():
        return prompt
    columns, rows = np.flatnonzero(prompt.mask.any(axis=0)), np.flatnonzero(prompt.mask.any(axis=1))
    # A line of one pixel gets a pixel more at either side, so that it still is a box at the border of the image.
    x, y = float(len(columns) < MIN_SIDE_PX), float(len(rows) < MIN_SIDE_PX)
    return replace(prompt, xyxy=(columns[0] - x, rows[0] - y, columns[-1] + 1.0 + x, rows[-1] + 1.0 + y))


def model_prompt(prompt: Prompt, hw: tuple[int, int], side: int, most_points: int, where: str) -> ModelPrompt:
    """A prompt about an image of hw = (height, width) for a model of `side` pixels.

    A box partly outside is clipped. A mask alone is the answer (`drawn`); with a box or points it is a guess to be
    refined. most_points: that the decoder takes, padding counted. where: names the view in errors.

    Raises BadPrompt for a box, points or a mask that are not in the image, points without a meaning, an empty mask.
    """
    xy, labels = _points(prompt, hw, where)
    if prompt.xyxy is not None:
        corners = np.array(_clipped(prompt.xyxy, hw, where), np.float32).reshape(2, 2)
        xy, labels = np.concatenate([corners, xy]), np.concatenate([(TOP_LEFT, BOTTOM_RIGHT), labels])
    if len(xy) + 1 > most_points:
        raise BadPrompt(f"{where}: {len(xy)} points are too many, the model's engines take {most_points - 1}")
    mask = None if prompt.mask is None else _checked(prompt.mask, hw, where)
    if mask is not None and len(xy) == 0:
        drawn = (smoothed(mask, side, side) >= 0.5).astype(np.float32)
        if not drawn.any():
            raise BadPrompt(f"{where}: the mask is too thin to be seen at {side} x {side} pixels; give a box or points")
        return replace(nothing_said(), drawn=drawn)
    if len(xy) == 0:
        raise BadPrompt(f"{where}: a prompt of no points says nothing; give a box, points or a mask")
    # In this order and in single precision, as the official predictor does.
    coords = xy / np.array([hw[1], hw[0]], np.float32) * np.float32(side)
    coords = np.concatenate([coords, np.zeros((1, 2), np.float32)])
    logits = None if mask is None else 2 * SURE * smoothed(mask, side // 4, side // 4) - np.float32(SURE)
    return ModelPrompt(coords, np.concatenate([labels, [PAD]]).astype(np.int32), len(xy), logits)


def _clipped(
    xyxy: tuple[float, float, float, float], hw: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    x0, y0 = max(0.0, float(xyxy[0])), max(0.0, float(xyxy[1]))
    x1, y1 = min(float(hw[1]), float(xyxy[2])), min(float(hw[0]), float(xyxy[3]))
    if min(x1 - x0, y1 - y0) < MIN_SIDE_PX:
        raise BadPrompt(
            f"{where}: box {tuple(round(float(c), 1) for c in xyxy)} has less than {MIN_SIDE_PX:.0f} pixels of width "
            f"or height in the {hw[1]}x{hw[0]} image; give xyxy in pixels of the original image"
        )
    return x0, y0, x1, y1


def _points(prompt: Prompt, hw: tuple[int, int], where: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    if prompt.points_xy is None or prompt.points_label is None:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    xy, labels = np.asarray(prompt.points_xy, np.float32), np.asarray(prompt.points_label)
    # Said this way round, a NaN that was written in later is outside too.
    outside = ~((xy >= 0.0) & (xy <= (hw[1], hw[0]))).all(axis=1)
    if outside.any():
        raise BadPrompt(f"{where}: point {xy[outside][0].tolist()} is outside the {hw[1]}x{hw[0]} image")
    unknown = ~np.isin(labels, (BESIDE, ON))
    if unknown.any():
        raise BadPrompt(
            f"{where}: a point's label must be 1 (on the object) or 0 (beside it), got {labels[unknown][0]}"
        )
    if prompt.xyxy is None and prompt.mask is None and len(xy) and not (labels == ON).any():
        raise BadPrompt(f"{where}: a prompt of points alone needs one with label 1 (on the object)")
    return xy, labels.astype(np.int32)


def _checked(mask: NDArray[np.bool_], hw: tuple[int, int], where: str) -> NDArray[np.float32]:
    if mask.shape != hw:
        raise BadPrompt(f"{where}: the mask is {mask.shape[1]}x{mask.shape[0]}, the image {hw[1]}x{hw[0]} pixels")
    if not mask.any():
        raise BadPrompt(f"{where}: the mask is empty, so that nothing is prompted; leave the prompt away")
    return mask.astype(np.float32)
