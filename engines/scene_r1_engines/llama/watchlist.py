"""The keyframes that a reasoner holds, and when each goes through the vision tower."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.answer_format.numbers import BOUND
from scene_r1_engines.errors import BadFrame, BadInput, BudgetExceeded
from scene_r1_engines.llama.model import Embedded
from scene_r1_engines.llama.picture import check_picture, digest, fit, resized
from scene_r1_engines.llama.prefix import Shown
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.manifest import ImageRules

LATEST_S = BOUND - 3
"""What an answer may speak of, with room to round up."""


@dataclass(slots=True)
class Watched:
    """One keyframe. size: (height, width) of the original. picture: resized, until it has been encoded."""

    keyframe_id: int
    timestamp_s: float
    size: tuple[int, int]
    picture_size: tuple[int, int]
    picture: NDArray[np.uint8] | None
    digest: str
    embedded: Embedded | None = None

    @property
    def shown(self) -> Shown:
        return Shown(self.keyframe_id, self.digest, self.timestamp_s)


class Watchlist:
    """Holds at most `settings.keyframes`, in order of time.

    A keyframe is due once it has survived `encode_after_s`, and one is encoded no more often than every
    `encode_every_s` of the stream's time: most candidates of a moving camera are replaced before they cost anything.
    """

    def __init__(self, settings: LlamaSettings, rules: ImageRules) -> None:
        self._settings = settings
        self._rules = rules
        self._held: dict[int, Watched] = {}
        self._last_encode_s = -math.inf
        self.last_s = 0.0
        """The latest time of the stream that is known."""

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, keyframe_id: int) -> Watched:
        """Raises BadInput for an id that is not held."""
        try:
            return self._held[keyframe_id]
        except KeyError:
            raise BadInput(f"keyframe {keyframe_id} is not held by the reasoner; held: {sorted(self._held)}") from None

    def add(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        """Raises BadFrame, BudgetExceeded as Reasoner.watch: then nothing has changed."""
        check_picture(image, keyframe_id)
        if not 0.0 <= timestamp_s < LATEST_S:  # false for NaN too
            raise BadFrame(
                f"keyframe {keyframe_id}: timestamp_s must be in 0..{LATEST_S} seconds from the start of the "
                f"recording, got {timestamp_s!r}"
            )
        if keyframe_id in self._held:
            raise BadFrame(f"keyframe {keyframe_id} is held already")
        if len(self._held) >= self._settings.keyframes:
            raise BudgetExceeded(
                f"{len(self._held)} keyframes are held already, and the context is sized for no more: forget one "
                "first, or raise the reasoner's `keyframes`"
            )
        height, width = image.shape[:2]
        size = self.picture_size(height, width, self._settings.image_pixels)
        picture = resized(image, size)
        if picture is image or np.shares_memory(picture, image):
            picture = picture.copy()  # the caller may use its array again
        self._held[keyframe_id] = Watched(keyframe_id, timestamp_s, (height, width), size, picture, digest(picture))
        self.last_s = max(self.last_s, timestamp_s)

    def picture_size(self, height: int, width: int, pixels: int) -> tuple[int, int]:
        """(height, width) that the model is shown, of at most so many pixels as far as its own limits allow.

        Raises BadFrame for a picture so narrow that whole patches take more than that.
        """
        rules = self._rules
        most = min(max(pixels, rules.min_pixels), rules.max_pixels)
        size = fit(height, width, rules.patch_multiple, rules.min_pixels, most)
        if size[0] * size[1] > most:
            raise BadFrame(
                f"a picture of {width} x {height} pixels does not fit into {most} pixels of whole patches: make "
                "image_pixels larger, or crop it"
            )
        return size

    def remove(self, keyframe_id: int) -> None:
        """Raises BadInput for an id that is not held."""
        self[keyframe_id]
        del self._held[keyframe_id]

    def encoded(self) -> list[Watched]:
        """Those whose embeddings are there, in order of time."""
        return [one for one in self._in_order() if one.embedded is not None]

    def pending(self) -> list[Watched]:
        """Those that wait, the oldest first."""
        return [one for one in self._in_order() if one.embedded is None]

    def due(self, now_s: float | None) -> Watched | None:
        """The keyframe to be encoded now. now_s: as Reasoner.settle. Raises BadInput for a time that is none."""
        if now_s is not None and not 0.0 <= now_s < LATEST_S:
            raise BadInput(f"now_s must be in 0..{LATEST_S} seconds from the start of the recording, got {now_s!r}")
        if now_s is not None:
            self.last_s = max(self.last_s, now_s)
        pending = self.pending()
        if not pending or now_s is None:
            return pending[0] if pending else None
        survived = pending[0].timestamp_s + self._settings.encode_after_s <= now_s
        return pending[0] if survived and self._last_encode_s + self._settings.encode_every_s <= now_s else None

    def note_encoded(self, one: Watched, embedded: Embedded, now_s: float | None) -> None:
        one.embedded, one.picture = embedded, None
        if now_s is not None:
            self._last_encode_s = now_s

    def _in_order(self) -> list[Watched]:
        return sorted(self._held.values(), key=lambda one: (one.timestamp_s, one.keyframe_id))
