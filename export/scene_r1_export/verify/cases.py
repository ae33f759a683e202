"""What an exported model is compared on: pictures of awkward sizes, keyframes with times, a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadInput

SIZES = ((112, 168), (100, 150), (240, 320), (480, 640), (333, 517), (97, 411), (484, 648))
"""(height, width). All but the first are no multiples of a patch in one direction at least: where a picture is
letterboxed instead of stretched, logits there are off by 0.1 and more."""
VIDEO_SIZE = (112, 168)
QUESTION = "Where is the red mug? Tell me its box."


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """pictures: (H, W, 3) uint8 RGB each. seconds: their times; empty: without. video: whether they stand in one vision
    block with their times in the rotary positions, else each by itself."""

    name: str
    pictures: tuple[NDArray[np.uint8], ...]
    seconds: tuple[float, ...] = ()
    video: bool = False
    question: str = QUESTION


def built_in_cases(video: bool) -> list[Case]:
    """One picture of each size, two keyframes with times, the plain question; and videos whose positions run beyond
    their pictures, for models that read videos so."""
    cases = [Case(f"{h}x{w}", (made_picture(h, w, h * w),)) for h, w in SIZES]
    cases.append(Case("words", ()))
    three = tuple(made_picture(*VIDEO_SIZE, seed) for seed in range(3))
    cases.append(Case("keyframes", three, (0.0, 2.4, 31.5)))
    if video:
        four = tuple(made_picture(*VIDEO_SIZE, seed) for seed in range(4))
        for step in (0.5, 1.0, 4.0):
            cases.append(Case(f"video every {step:g} s", four, tuple(step * i for i in range(4)), video=True))
    return cases


def cases_from(paths: Sequence[Path]) -> list[Case]:
    """One case for each picture file, and from two on the first three of them as keyframes. Raises BadInput for a file
    that is no picture."""
    import cv2

    cases = []
    for path in paths:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise BadInput(f"{path}: is missing or no picture that OpenCV reads")
        cases.append(Case(path.name, (np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8),)))
    if len(cases) > 1:
        few = cases[:3]
        pictures = tuple(case.pictures[0] for case in few)
        cases.append(Case("keyframes", pictures, tuple(2.4 * i for i in range(len(few)))))
    return cases


def made_picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: soft blobs of colour with some sharp edges, the same for the same seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.0, 255.0, (9, 12, 3))
    y, x = np.linspace(0.0, 8.0, height), np.linspace(0.0, 11.0, width)
    top, left = np.minimum(y.astype(int), 7), np.minimum(x.astype(int), 10)
    down, right = (y - top)[:, None, None], (x - left)[None, :, None]
    upper = coarse[top][:, left] * (1.0 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1.0 - right) + coarse[top + 1][:, left + 1] * right
    picture: NDArray[np.uint8] = (upper * (1.0 - down) + lower * down).astype(np.uint8)
    for _ in range(3):
        y0, x0 = int(rng.integers(0, height * 3 // 4)), int(rng.integers(0, width * 3 // 4))
        picture[y0 : y0 + height // 6, x0 : x0 + width // 6] = rng.integers(0, 255, 3)
    return picture
