"""What a session was given by a walking camera, and a reasoner that knows from it where the block is."""

from __future__ import annotations

from tests.faults.walking_camera import there_and_back
from tests.runtime.session_parts import Gated, Walk

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.selector import Decision
from scene_r1.live import LiveFrame


class Seen:
    """`on_frame` of Session.run. reasoner: points at the block in every frame that it was told of."""

    def __init__(self, walk: Walk) -> None:
        self.indices: list[int] = []
        self.times_ns: list[int] = []
        self.segments: list[int] = []
        self.reasoner = Gated(walk)
        self.reasoner.boxes = lambda index: (self._walk[self._place[index]][1],)
        self.reasoner.go.set()
        self._walk = walk
        self._place: dict[int, int] = {}

    def __call__(self, frame: RgbdFrame, decision: Decision) -> None:
        assert isinstance(frame, LiveFrame)
        self._place[frame.index] = there_and_back(frame.capture.number, len(self._walk))
        self.times_ns.append(frame.timestamp_ns)
        self.segments.append(frame.capture.segment)
        self.indices.append(frame.index)  # last: who waits for the frame finds the rest
