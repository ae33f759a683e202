"""Which colour and depth image belong together by their stamps, while they stream by."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Generic, TypeVar

from scene_r1.sources.association import CrowdedTimes, associate

MAX_WAITING = 32
"""Images of one stream that wait for the other; more, and the oldest is given up (32 of 1280x720 in colour: 88 MB)."""
T = TypeVar("T")


class StampPairing(Generic[T]):
    """Pairs as `associate` makes them of two whole lists of times, from a window of the streams.

    Images may come out of order inside the window. What is not older than the last pair's colour image is refused.
    unpaired: images without a partner. late: images refused for their stamp.
    """

    def __init__(self, max_dt_ns: int) -> None:
        self.unpaired = 0
        self.late = 0
        self._max_dt_ns = max_dt_ns
        self._color: list[tuple[int, T]] = []
        self._depth: list[tuple[int, T]] = []
        self._last_ns: int | None = None

    def add(self, stream: str, stamp_ns: int, image: T) -> Iterator[tuple[int, T, T]]:
        """Take one image in; yield (the colour image's stamp, colour, depth) of the pairs that are now certain."""
        waiting = self._color if stream == "color" else self._depth
        low = None if self._last_ns is None else self._last_ns - (0 if stream == "color" else self._max_dt_ns)
        at = bisect.bisect_left(waiting, stamp_ns, key=lambda entry: entry[0])
        if (low is not None and stamp_ns <= low) or (at < len(waiting) and waiting[at][0] == stamp_ns):
            self.late += 1
            return
        waiting.insert(at, (stamp_ns, image))
        yield from self._pairs(ended=False)

    def end(self) -> Iterator[tuple[int, T, T]]:
        """No more images: yield the last pairs and count the rest."""
        yield from self._pairs(ended=True)
        self.unpaired += len(self._color) + len(self._depth)
        self._color.clear()
        self._depth.clear()

    def _pairs(self, ended: bool) -> Iterator[tuple[int, T, T]]:
        while self._color and self._depth:
            stamp_ns = self._color[0][0]
            # Its partner may itself be better off with the next colour image, which must be seen to know.
            known_ns = min(self._color[-1][0], self._depth[-1][0])
            full = max(len(self._color), len(self._depth)) > MAX_WAITING
            if known_ns < stamp_ns + 2 * self._max_dt_ns and not ended and not full:
                return
            partner = self._partner()
            image = self._color.pop(0)[1]
            if partner is None:
                self.unpaired += 1
                self._forget_depth(self._color[0][0] if self._color else None)
            else:
                self._last_ns = stamp_ns
                depth = self._depth.pop(partner)[1]
                self._forget_depth(self._color[0][0] if self._color else None)
                yield stamp_ns, image, depth
        for waiting in (self._color, self._depth):
            while len(waiting) > MAX_WAITING:
                waiting.pop(0)
                self.unpaired += 1

    def _partner(self) -> int | None:
        """Which depth image belongs to the oldest colour image, of those in the window."""
        try:
            pairs = associate([ns for ns, _ in self._color], [ns for ns, _ in self._depth], self._max_dt_ns)
        except CrowdedTimes:  # cannot be: the window is smaller than the number of candidates allowed
            return None
        return dict(pairs).get(0)

    def _forget_depth(self, next_color_ns: int | None) -> None:
        """Drop depth images that are too old for every colour image to come."""
        while self._depth and next_color_ns is not None and self._depth[0][0] <= next_color_ns - self._max_dt_ns:
            self._depth.pop(0)
            self.unpaired += 1
