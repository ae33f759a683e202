"""Pictures of walks, kept with what the vision tower makes of them: for as long as the tower stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.data.sights import Picture, picture_of
from scene_r1_export.nano.data.views import relit
from scene_r1_export.nano.model.vision import embed_pictures

LIGHTS = 4
"""In how many lights a picture is kept. 100 walks of 16 pictures in 336 x 252: 0.4 GB of pictures, 0.35 of tokens."""


class KeptPictures:
    """Reads a picture of a walk once, and shows it to the tower once in each light."""

    def __init__(self, rooms: Sequence[RoomShard], size: tuple[int, int]) -> None:
        """size: (height, width) of what the tower is given."""
        self._rooms, self._size = rooms, size
        self._pictures: dict[tuple[int, int], Picture] = {}
        self._places: dict[Picture, tuple[int, int]] = {}
        self._tokens: dict[tuple[int, int, int], Tensor] = {}

    def picture(self, room: int, index: int) -> Picture:
        """The whole view `index` of a room."""
        at = (room, index)
        if at not in self._pictures:
            self._pictures[at] = picture_of(self._rooms[room], index, self._size)
            self._places[self._pictures[at]] = at
        return self._pictures[at]

    @torch.no_grad()
    def tokens(self, visual: Any, pictures: Sequence[Picture], rng: np.random.Generator) -> Tensor:
        """(n, cells, width) float32 of pictures given out here, each in a light of its own."""
        keys = [
            (*self._places[picture], int(light))
            for picture, light in zip(pictures, rng.integers(LIGHTS, size=len(pictures)), strict=True)
        ]
        new = [(key, picture) for key, picture in zip(keys, pictures, strict=True) if key not in self._tokens]
        if new:
            # The light depends on the picture alone, so that a run that was stopped goes on as if it had not been.
            images = np.stack([relit(picture.image, np.random.default_rng(key)) for key, picture in new])
            for (key, _), seen in zip(new, embed_pictures(visual, torch.from_numpy(images))[0], strict=True):
                self._tokens[key] = seen.half()
        return torch.stack([self._tokens[key] for key in keys]).float()
