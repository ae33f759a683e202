"""Which depth image belongs to which colour image: by frame number, or else by device timestamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MAX_WAITING = 32
"""Images of one stream that may wait for the other; more, and the oldest is dropped and counted (colour may start a
second after depth; 32 colour images of 1280x720 are 88 MB)."""
CLEARLY_NEAR = 0.4
"""Of a period; images of a stream come a period apart, give or take the rest."""
PROBE = 4
"""Images of both streams that are looked at before deciding how to pair."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamImage:
    """One image of one stream, copied out of librealsense. `domain` names the clock of `timestamp_ns`."""

    stream: Literal["depth", "color"]
    number: int
    timestamp_ns: int
    domain: str
    pixels: NDArray[Any]


Pair = tuple[StreamImage, StreamImage]


class Pairing:
    """Pairs (depth, colour) out of two streams of images, each image used once, in constant memory.

    By equal frame numbers, as long as images of equal number were taken within half a period of each other (or their
    clocks cannot be compared). Otherwise the counters of the two streams are offset, as a real camera's often are:
    then by nearest timestamp, within half of the shorter period. `unpaired` counts images left without a partner.

    at_once: for a running camera: a depth image clearly nearer than half a period is taken for the nearest without
    waiting for the next one, which comes a period later.
    """

    def __init__(self, period_ns: int, at_once: bool = False) -> None:
        self._clear_ns = round(CLEARLY_NEAR * period_ns) if at_once else 0
        self.by: Literal["undecided", "number", "timestamp"] = "undecided"
        self.unpaired = 0
        self._half_ns = period_ns // 2
        self._depth: deque[StreamImage] = deque()
        self._color: deque[StreamImage] = deque()
        self._ended = False

    def add(self, image: StreamImage) -> Iterator[Pair]:
        """Take one image in; yield the pairs that are now certain."""
        waiting = self._depth if image.stream == "depth" else self._color
        waiting.append(image)
        yield from self._pairs()
        while len(waiting) > MAX_WAITING:
            self._drop(waiting)

    def end(self) -> Iterator[Pair]:
        """No more images: yield what can still be paired and count the rest."""
        self._ended = True
        yield from self._pairs()
        for waiting in (self._depth, self._color):
            while waiting:
                self._drop(waiting)

    def _pairs(self) -> Iterator[Pair]:
        if self.by == "undecided":
            if not self._ended and min(len(self._depth), len(self._color)) < PROBE:
                return
            self.by = self._choose()
        while self._depth and self._color:
            pair = self._next_by_number() if self.by == "number" else self._next_by_timestamp()
            if pair is None:
                return
            yield pair

    def _choose(self) -> Literal["number", "timestamp"]:
        if not (self._depth and self._color) or self._depth[0].domain != self._color[0].domain:
            return "number"
        numbers = {d.number: d for d in self._depth}
        common = [(numbers[c.number], c) for c in self._color if c.number in numbers]
        return "number" if common and all(self._together(d, c) for d, c in common) else "timestamp"

    def _together(self, d: StreamImage, c: StreamImage) -> bool:
        return d.domain != c.domain or abs(d.timestamp_ns - c.timestamp_ns) <= self._half_ns

    def _next_by_number(self) -> Pair | None:
        while self._depth and self._color:
            d, c = self._depth[0], self._color[0]
            if d.number == c.number:
                if not self._together(d, c):
                    self.by = "timestamp"  # a counter was reset or jumped: it no longer tells what belongs together
                    return self._next_by_timestamp()
                return self._depth.popleft(), self._color.popleft()
            self._drop(self._depth if d.number < c.number else self._color)
        return None

    def _next_by_timestamp(self) -> Pair | None:
        while self._depth and self._color:
            c = self._color[0]
            # A later depth image may be nearer still, so one at or after the colour image must be seen first.
            if (
                self._depth[-1].timestamp_ns + self._clear_ns < c.timestamp_ns
                and not self._ended
                and len(self._depth) <= MAX_WAITING
            ):
                return None
            gaps = [abs(d.timestamp_ns - c.timestamp_ns) for d in self._depth]
            nearest = int(np.argmin(gaps))
            if gaps[nearest] <= self._half_ns:
                for _ in range(nearest):
                    self._drop(self._depth)
                return self._depth.popleft(), self._color.popleft()
            self._drop(self._color)
            while len(self._depth) > 1 and self._color and self._depth[1].timestamp_ns <= self._color[0].timestamp_ns:
                self._drop(self._depth)
        return None

    def _drop(self, waiting: deque[StreamImage]) -> None:
        waiting.popleft()
        self.unpaired += 1
