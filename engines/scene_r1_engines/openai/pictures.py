"""Keyframes as they travel: resized once to whole patches, and encoded to JPEG or PNG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import MissingExtra
from scene_r1_engines.llama.picture import fit, resized
from scene_r1_engines.openai.settings import OpenAiSettings
from scene_r1_engines.reasoner import Box


@dataclass(frozen=True, slots=True)
class Picture:
    """data: the encoded file. mime: its type. size, original: (height, width) pixels, as sent and as watched."""

    data: bytes
    mime: str
    size: tuple[int, int]
    original: tuple[int, int]

    @property
    def url(self) -> str:
        """A data URL, the only kind of address that is ever sent."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    def box_size(self, box_space: str) -> tuple[int, int]:
        """(width, height) of the space in which the model speaks of boxes."""
        return (1000, 1000) if box_space == "rel_1000" else (self.size[1], self.size[0])

    def xyxy(self, box: Box, box_space: str) -> Box:
        """A box of the model's space in pixels of the original picture."""
        (width, height), (rows, columns) = self.box_size(box_space), self.original
        x0, y0, x1, y1 = box
        return x0 * columns / width, y0 * rows / height, x1 * columns / width, y1 * rows / height


def encoded(image: NDArray[np.uint8], pixels: int, settings: OpenAiSettings) -> Picture:
    """(H, W, 3) uint8 RGB at no more than about `pixels`. Raises BadFrame for a picture that is too narrow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("openai", "encoding pictures for a server", str(error)) from None
    height, width = image.shape[:2]
    size = fit(height, width, settings.patch_multiple, settings.min_pixels, pixels)
    file = io.BytesIO()
    picture = Image.fromarray(resized(image, size))
    if settings.picture == "jpeg":
        # subsampling 0: whole colour resolution, for things that are small and known by their colour
        picture.save(file, "JPEG", quality=settings.jpeg_quality, subsampling=0)
    else:
        picture.save(file, "PNG")
    return Picture(file.getvalue(), f"image/{settings.picture}", size, (height, width))
