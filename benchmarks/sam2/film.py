"""The pictures that are tracked through: JPEG files, since the original reads nothing else, and the same as views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.view import View

BOX = (0.3125, 0.3125, 0.65625, 0.79)
"""The prompt in the first picture, as shares of its width and height."""


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A short film on disk. folder: holds `00000.jpg` and so on. views: the same, decoded, ids from 0; without depth,
    for nothing here asks for it."""

    folder: Path
    views: tuple[View, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The prompt, xyxy pixels of the first picture."""
        height, width = self.views[0].image.shape[:2]
        return BOX[0] * width, BOX[1] * height, BOX[2] * width, BOX[3] * height


def read_film(folder: Path) -> Film:
    """A film that `write_film` wrote. Decoded by Pillow, as the original does: another decoder rounds otherwise."""
    paths = sorted(folder.glob("*.jpg"))
    return Film(folder, tuple(_view(i, _decoded(path)) for i, path in enumerate(paths)))


def _view(number: int, image: NDArray[np.uint8]) -> View:
    """A picture as a view with the intrinsics of no particular camera: nothing here is put into the world."""
    height, width = image.shape[:2]
    return View(number, image, None, Intrinsics(width, width, width / 2, height / 2, width, height))


def _decoded(path: Path) -> NDArray[np.uint8]:
    from PIL import Image  # an extra: what needs it says so when it is used

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
