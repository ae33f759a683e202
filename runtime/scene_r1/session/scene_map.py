"""What is held of the room while the camera runs: keyframes that hang on the tracker's map and move with it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.config import Config
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.keyframes.selector import Decision
from scene_r1.memory import Keyframe, SceneMemory
from scene_r1.stream import kept_in_step
from scene_r1.tracking.tracker import PoseTracker, Tracked, TrackState
from scene_r1_engines.errors import BudgetExceeded

BEHIND = 5
"""Frames in a row that go back in time, from which on it is no stray one."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchored:
    """Where a keyframe hangs: `T_world_anchor(anchor) @ T_anchor_camera` is its pose at every revision of the map."""

    anchor: int
    T_anchor_camera: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The map at one moment. keyframes: in order of time. anchored: by keyframe. start_ns: timestamp_ns of the first
    frame of all."""

    keyframes: tuple[Keyframe, ...]
    anchored: Mapping[int, Anchored]
    revision: int
    start_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What became of one frame. frame: as it came, with its pose and the time it came in. tracked: None where it was
    left out before that. T_world_camera: as it went into the map, else None."""

    frame: RgbdFrame
    decision: Decision
    tracked: Tracked | None = None

    @property
    def T_world_camera(self) -> NDArray[np.float64] | None:
        return None if self.tracked is None else self.tracked.T_world_camera


@dataclass(slots=True)
class Tally:
    """As of Counters."""

    frames: int = 0
    mapped: int = 0
    lost: int = 0
    skipped: int = 0
    repeated: int = 0
    backward: int = 0
    starved: int = 0
    refused: int = 0
    unanchored: int = 0
    revisions: int = 0


class SceneMap:
    """Tracker, selector and memory in step. For several threads: frames come from one, snapshots are taken by others.

    When the tracker's map is corrected, the keyframes move with it at once; one whose place the tracker holds no longer
    is given up, for a wrong pose would be a wrong answer. The selector's voxels are in the world, so it is built anew,
    one keyframe with each frame that comes (decoding all at once would cost frames); those frames are not offered.
    """

    def __init__(self, config: Config, tracker: PoseTracker) -> None:
        keyframes, memory = config.keyframes, config.memory
        self.selector = KeyframeSelector(keyframes.k, keyframes.selection, keyframes.observation)
        self.memory = SceneMemory(memory.max_bytes, memory.jpeg_quality)
        self.tracker = tracker
        self.tally = Tally()
        self.track_state: TrackState | None = None
        """Of the newest frame; None before the first."""
        self.lock = threading.RLock()
        """Held while the map changes; by who has to tell others of two changes in their order, for longer."""
        self.keyframes: tuple[Keyframe, ...] = ()
        """Held now, in order of time; replaced, never changed."""
        self._anchored: dict[int, Anchored] = {}  # of the keyframes, and of the selector's candidate
        self._revision = tracker.revision
        self._rebuild: deque[int] = deque()
        self._half_done = False
        self._first_ns: int | None = None
        self._newest: tuple[int, int, int] | None = None  # index, timestamp_ns, received_ns
        self._behind: tuple[int, float] = (0, 0.0)  # frames in a row that went back in time, and how far the last did
        self._spent_ns = {"track": 0, "select": 0}

    def take(self, frame: RgbdFrame) -> Taken:
        """One frame of the stream. Raises what the tracker raises for a frame that it cannot work on, BudgetExceeded
        where there is no memory for it; the keyframes are then as they were."""
        with self.lock, self._counting_starved(), _memory_for(f"frame {frame.index}"):
            self.tally.frames += 1
            if frame.received_ns == 0:
                frame = replace(frame, received_ns=time.monotonic_ns())
            if self._out_of_order(frame):
                return Taken(frame, Decision(frame.index))
            self._newest = frame.index, frame.timestamp_ns, frame.received_ns
            if self._first_ns is None:
                self._first_ns = frame.timestamp_ns
            with self._stage("track"):
                tracked = self.tracker.track(frame)
                self.track_state = tracked.state
                frame = _posed(frame, tracked)
            with self._stage("select"), self._whole():
                return Taken(frame, self._offer(frame, tracked), tracked)

    def settled(self) -> tuple[Decision, Snapshot]:
        """The map with the newest candidate in it, for a question or at the end of the stream. Raises as `take`."""
        with self.lock, _memory_for("the newest keyframe"), self._whole():
            decision = Decision(-1) if self._half_done else self._keep(self.selector.settle())
            return decision, Snapshot(self.keyframes, dict(self._anchored), self._revision, self.start_ns)

    def T_world_anchor(self, anchor: int) -> tuple[NDArray[np.float64] | None, int]:
        """An anchor's pose now, and the map's revision."""
        with self.lock:
            return self.tracker.T_world_anchor(anchor), self._revision

    @property
    def start_ns(self) -> int:
        """timestamp_ns of the first frame; 0 before it."""
        return self._first_ns or 0

    @property
    def now_s(self) -> float:
        """The newest frame's time since the first."""
        return 0.0 if self._newest is None else (self._newest[1] - self.start_ns) / 1e9

    @property
    def newest_index(self) -> int:
        """Of the newest frame; -1 before the first."""
        return -1 if self._newest is None else self._newest[0]

    @property
    def clock_fault(self) -> str:
        """Why frames are left out for their time, in words for people; empty while they are not."""
        count, behind_s = self._behind
        if count < BEHIND:
            return ""
        return (
            f"the camera's clock went back: its frames are left out until it has made up {behind_s:.1f} s; open "
            "another session where that is too long"
        )

    def newest_ns(self) -> int | None:
        """When the newest frame came in, host monotonic; None before the first."""
        return None if self._newest is None else self._newest[2]

    def cpu_ms(self) -> dict[str, float]:
        """CPU time of the thread that hands frames in, by stage."""
        return {stage: ns / 1e6 for stage, ns in self._spent_ns.items()}

    def _out_of_order(self, frame: RgbdFrame) -> bool:
        if self._newest is None:
            return False
        if frame.index <= self._newest[0]:
            self.tally.repeated += 1
        elif frame.timestamp_ns < self._newest[1]:  # a clock was set back: no pose or time of it could be believed
            self.tally.backward += 1
            self._behind = self._behind[0] + 1, (self._newest[1] - frame.timestamp_ns) / 1e9
        else:
            self._behind = 0, 0.0
            return False
        return True

    def _offer(self, frame: RgbdFrame, tracked: Tracked) -> Decision:
        if tracked.revision != self._revision:
            self._revise(tracked.revision)
        elif self._half_done:
            self._start_over()
        if self._rebuild:
            self.tally.skipped += 1
            self.selector.hold(self.memory[self._rebuild.popleft()].frame())
            return Decision(frame.index)
        if frame.T_world_camera is None or tracked.T_anchor_camera is None:
            self.tally.lost += 1
            return Decision(frame.index)
        self.tally.mapped += 1
        self._anchored[frame.index] = Anchored(tracked.anchor, tracked.T_anchor_camera)
        decision = self._keep(self.selector.offer(frame))
        wanted = {*self.selector.keyframes, *self.selector.if_settled}  # the candidate, and whose place it would take
        self._anchored = {index: at for index, at in self._anchored.items() if index in wanted}
        return decision

    def _keep(self, decision: Decision) -> Decision:
        kept = kept_in_step(decision, self.selector, self.memory)
        self.tally.refused += decision.inserted is not None and kept.inserted is None
        if decision.inserted is not None:
            self.keyframes = tuple(self.memory)
        return kept

    def _revise(self, revision: int) -> None:
        """The tracker's map was corrected: every keyframe goes to where its anchor is now."""
        for keyframe in tuple(self.memory):
            at = self._anchored[keyframe.index]
            T_world_anchor = self.tracker.T_world_anchor(at.anchor)
            if T_world_anchor is None:
                self.memory.remove(keyframe.index)
                self.tally.unanchored += 1
            else:
                self.memory.move(keyframe.index, T_world_anchor @ at.T_anchor_camera)
        anchored = {keyframe.index: self._anchored[keyframe.index] for keyframe in self.memory}
        self._start_over()
        self._anchored = anchored
        self.tally.revisions += 1
        self._revision = revision  # last: what breaks half-way is done again with the next frame, and nothing shows it

    def _start_over(self) -> None:
        """Build the selector anew from what the memory holds."""
        self.selector.clear()
        self.keyframes = tuple(self.memory)
        self._rebuild = deque(keyframe.index for keyframe in self.keyframes)
        self._half_done = False

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """A block that breaks may leave the selector out of step with the memory, of which each step is all or
        nothing: the selector is then built anew with the next frames."""
        try:
            yield
        except BaseException:
            self._half_done = True
            raise

    def close(self) -> None:
        """Close the tracker, when nobody is using it."""
        with self.lock:
            self.tracker.close()

    @contextmanager
    def _counting_starved(self) -> Iterator[None]:
        try:
            yield
        except BudgetExceeded:
            self.tally.starved += 1
            raise

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.thread_time_ns()
        try:
            yield
        finally:
            self._spent_ns[name] += time.thread_time_ns() - start


@contextmanager
def _memory_for(what: str) -> Iterator[None]:
    """Raises BudgetExceeded where Python or OpenCV has no memory left."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise BudgetExceeded(f"{what}: no memory left for it: hold fewer keyframes, or end what else runs") from error


def _posed(frame: RgbdFrame, tracked: Tracked) -> RgbdFrame:
    """The frame with the tracker's pose; itself where that is its own already."""
    ours, theirs = frame.T_world_camera, tracked.T_world_camera
    if ours is theirs or (ours is not None and theirs is not None and np.array_equal(ours, theirs)):
        return frame
    return replace(frame, T_world_camera=None if theirs is None else pose.rigid(theirs))
