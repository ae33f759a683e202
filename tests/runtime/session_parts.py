"""What the tests of the session share: a tracker and a reasoner that obey, and a source that is paced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from tests.runtime.block_walk import frames
from tests.runtime.scripted_reasoner import ScriptedReasoner

from scene_r1 import pose
from scene_r1.config import Config, KeyframesConfig, LiveConfig, MemoryConfig
from scene_r1.frame import RgbdFrame
from scene_r1.session import Session
from scene_r1.tracking.tracker import Tracked, TrackState, lost
from scene_r1_engines.segmenter import open_segmenter

Walk = list[tuple[RgbdFrame, tuple[float, float, float, float]]]


def half_turn(count: int = 30) -> Walk:
    """Half a turn around the red block, each frame with the block's 2D box."""
    return list(frames(count))


class SmallTracker:
    """Takes each frame's own pose; an anchor every `every` frames. `correct` moves the world; `dropped` are lost."""

    name = "small"

    def __init__(self, every: int = 5) -> None:
        self.revision = 0
        self.closed = 0
        self.lost_at: set[int] = set()
        self.dropped: set[int] = set()
        self._every = every
        self._anchors: dict[int, np.ndarray] = {}
        self._T_now_true = np.eye(4)

    def track(self, frame: RgbdFrame) -> Tracked:
        if frame.T_world_camera is None or frame.index in self.lost_at:
            return lost(self.revision)
        anchor = frame.index // self._every
        T = self._T_now_true @ frame.T_world_camera
        T_world_anchor = self._anchors.setdefault(anchor, T)
        return Tracked(TrackState.TRACKING, T, anchor, pose.inverse(T_world_anchor) @ T, self.revision)

    def correct(self, T_new_old: np.ndarray) -> None:
        self._T_now_true = T_new_old @ self._T_now_true
        self._anchors = {anchor: T_new_old @ T for anchor, T in self._anchors.items()}
        self.revision += 1

    def T_world_anchor(self, anchor: int) -> np.ndarray | None:
        return None if anchor in self.dropped else self._anchors.get(anchor)

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> SmallTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Gated(ScriptedReasoner):
    """Stands still in `when` until `go` is set, or the question is cancelled. Notes from which thread it is told what,
    and what it was told while a question was at work."""

    def __init__(self, walk: Walk, **more: object) -> None:
        super().__init__(lambda index: (walk[index][1],), **more)  # type: ignore[arg-type]
        self.go, self.asked_now = threading.Event(), threading.Event()
        self.tellers: set[int] = set()
        self.told_meanwhile: list[str] = []

    def when(self, question, limits):
        self.asked_now.set()
        while not self.go.wait(0.005) and not limits.cancelled() and limits.remaining_s > 0.0:
            pass
        self.asked_now.clear()
        return super().when(question, limits)

    def _tell(self, what: str) -> None:
        self.tellers.add(threading.get_ident())
        if self.asked_now.is_set():
            self.told_meanwhile.append(what)

    def watch(self, keyframe_id, image, timestamp_s) -> None:
        self._tell("watch")
        super().watch(keyframe_id, image, timestamp_s)

    def forget(self, keyframe_id) -> None:
        self._tell("forget")
        super().forget(keyframe_id)

    def settle(self, now_s=None, deadline_ns=None) -> bool:
        self._tell("settle")
        return super().settle(now_s, deadline_ns)


class PacedSource:
    """Frames `period_s` apart, and then, where `endless`, nothing until `close`. status as a live source's."""

    def __init__(self, items: Iterable[RgbdFrame], period_s: float = 0.0, endless: bool = False) -> None:
        self.items, self.period_s, self.endless = list(items), period_s, endless
        self.info = SimpleNamespace(path="paced")
        self.status = SimpleNamespace(state=SimpleNamespace(value="streaming"), reason="")
        self.closed = threading.Event()
        self.fault: Exception | None = None

    def frames(self) -> Iterator[RgbdFrame]:
        for item in self.items:
            if self.closed.wait(self.period_s):
                return
            yield item
        while self.endless and not self.closed.wait(0.01) and self.fault is None:
            pass
        if self.fault is not None:
            raise self.fault

    @property
    def counters(self) -> dict[str, int]:
        return {"frames": len(self.items), "dropped": 0}

    def gone(self, reason: str) -> None:
        self.status = SimpleNamespace(
            state=SimpleNamespace(value="reconnecting" if reason else "streaming"), reason=reason
        )

    def close(self) -> None:
        self.closed.set()

    def __enter__(self) -> PacedSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def session_of(
    reasoner: object, k: int = 6, tracker: object | None = None, max_bytes: int = 32 << 20, opencv_threads: int = 1
) -> Session:
    """A session that is ready."""
    live = LiveConfig(opencv_threads=opencv_threads)
    config = Config(keyframes=KeyframesConfig(k), memory=MemoryConfig(max_bytes), live=live)
    theirs = tracker or SmallTracker()
    session = Session(
        lambda replay: reasoner,  # type: ignore[arg-type,return-value]
        lambda: open_segmenter("depth_cut"),
        config,
        tracker=lambda: theirs,  # type: ignore[arg-type,return-value]
    )
    session.start()
    return session


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "never came true"
        time.sleep(0.005)


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run it on a thread; what it returns or raises is in the list when the thread has ended."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


def again(walk: Walk, times: int = 2) -> list[RgbdFrame]:
    """The walk's frames, several times over, as one stream."""
    out = []
    for lap in range(times):
        for frame, _ in walk:
            index = lap * len(walk) + frame.index
            out.append(replace(frame, index=index, timestamp_ns=index * 33_000_000))
    return out
