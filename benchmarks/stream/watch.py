"""One open-loop run: frames come at the camera's pace whatever the session does, with or without questions beside."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.percentiles import Summary, summarise
from benchmarks.process_tree import PROC
from benchmarks.stream.laps import Laps
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.selector import Decision
from scene_r1.session import Counters, Session
from scene_r1_engines.errors import SceneR1Error

TICKS_PER_S = 100.0
"""Of /proc/PID/stat on Linux, whatever the kernel's own."""


@dataclass(slots=True)
class Seen:
    """What was measured, frame by frame. age_ms: from the moment a frame was in this machine's memory (both images) to
    the moment it had been observed. asking: whether a question was at work then."""

    age_ms: list[float] = field(default_factory=list)
    asking: list[bool] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    thread_s: float = 0.0
    wall_s: float = 0.0
    capture_s: float = 0.0
    counters: Counters = field(default_factory=Counters)

    def ages(self, asking: bool | None = None) -> Summary | None:
        """Of the frames that came while a question was at work, or while none was; None where there are none."""
        chosen = [age for age, asked in zip(self.age_ms, self.asking, strict=True) if asking in (None, asked)]
        return summarise(chosen) if chosen else None

    @property
    def dropped(self) -> int:
        return self.counters.source.get("dropped", 0)

    def stages(self) -> Mapping[str, float]:
        """Share of one core by stage of the thread that hands frames in; `read`: taking them out of the ring."""
        shares = {stage: ms / 1e3 / self.wall_s for stage, ms in self.counters.cpu_ms.items()}
        return {"read": self.thread_s / self.wall_s - sum(shares.values()), **shares}

    def as_dict(self) -> dict[str, Any]:
        ages = {"all": self.ages(), "asking": self.ages(True), "idle": self.ages(False)}
        return {
            "frames": len(self.age_ms),
            "dropped": self.dropped,
            "frame_age_ms": {name: None if one is None else asdict(one) for name, one in ages.items()},
            "core_share": self.thread_s / self.wall_s,
            "core_share_by_stage": dict(self.stages()),
            "capture_core_share": self.capture_s / self.wall_s,
            "wall_s": self.wall_s,
            "questions": dict(self.outcomes),
            "keyframes": self.counters.keyframes,
            "lost": self.counters.lost,
            "skipped": self.counters.skipped,
        }


def streamed(session: Session, source: Laps, seconds: float, questions: Sequence[str] = ()) -> Seen:
    """Observe a source for so long. questions: put one after the other, round and round, while it runs.

    Raises what the source raises; what a question raises is an outcome.
    """
    seen, asking, done = Seen(), threading.Event(), threading.Event()
    started: list[tuple[float, float, float]] = []

    def note(frame: RgbdFrame, decision: Decision) -> None:
        now_ns = time.monotonic_ns()
        if not started:
            started.append((time.thread_time(), time.monotonic(), _cpu_s(source.pid)))
            source.stop_after(seconds)
        seen.age_ms.append((now_ns - frame.received_ns) / 1e6)
        seen.asking.append(asking.is_set())

    def ask() -> None:
        for question in itertools.cycle(questions):
            while not session.keyframes and not done.wait(0.05):
                pass
            if done.is_set():
                return
            asking.set()
            try:
                seen.outcomes[session.ask(question).status.value] += 1
            except SceneR1Error as error:
                seen.outcomes[type(error).__name__] += 1
            asking.clear()

    asker = threading.Thread(target=ask, daemon=True)
    if questions:
        asker.start()
    try:
        session.run(source, note)
        seen.counters = session.counters
        if started:
            thread_s, wall_s, capture_s = started[0]
            seen.thread_s, seen.wall_s = time.thread_time() - thread_s, time.monotonic() - wall_s
            seen.capture_s = _cpu_s(source.pid) - capture_s
    finally:
        done.set()
    return seen


def _cpu_s(pid: int | None) -> float:
    """CPU time of a process so far; 0 where it has ended."""
    try:
        words = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(words[11]) + int(words[12])) / TICKS_PER_S
