"""In little what happens in hours: nothing grows with the frames, the questions or the sessions that there were."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
from tests.faults.walking_camera import there_and_back
from tests.runtime.session_parts import Gated, PacedSource, Walk, half_turn, session_of

from scene_r1.answer import Status
from scene_r1.frame import RgbdFrame
from scene_r1.session import State
from scene_r1.tracking import open_tracker

SESSIONS = 250
FRAMES = 1500
STEPS = 12


@pytest.fixture(scope="module")
def walk() -> Walk:
    return half_turn(STEPS)


def stream(walk: Walk, count: int) -> Iterator[RgbdFrame]:
    for index in range(count):
        frame = walk[there_and_back(index, len(walk))][0]
        yield replace(frame, index=index, timestamp_ns=index * 33_333_333)


def reasoner_for(walk: Walk) -> Gated:
    reasoner = Gated(walk)
    reasoner.go.set()
    return reasoner


def held() -> tuple[int, int, int]:
    """Descriptors, threads, children."""
    gc.collect()
    children = psutil.Process().children(recursive=True)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)


def test_hundreds_of_sessions_opened_and_closed_leave_nothing_behind(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once() -> None:
        reasoner = reasoner_for(walk)
        with session_of(reasoner, 2, open_tracker("host")) as session:
            session.run(PacedSource(stream(walk, 2)))
            assert session.ask("how many?", task="vqa").status is Status.OK
        assert session.state is State.CLOSED
        assert reasoner.closed == 1

    once()
    monkeypatch.setattr("scene_r1.session.session.warm_up", lambda: iter(()))  # compiling once is not what is looked at
    before, rss, me = held(), [], psutil.Process()
    for _ in range(SESSIONS):
        once()
        rss.append(me.memory_info().rss)
    assert held() == before
    third = len(rss) // 3
    assert max(rss[2 * third :]) - max(rss[third : 2 * third]) < 4 << 20


def test_frames_by_the_thousand_and_questions_between_them_hold_memory_descriptors_and_threads_as_they_are(
    walk: Walk,
) -> None:
    with session_of(reasoner_for(walk), 6, open_tracker("host")) as session:
        rss, before, me = [], (0, 0, 0), psutil.Process()
        for frame in stream(walk, FRAMES):
            session.observe(frame)
            if frame.index % 50 == 49:
                assert session.ask("how many?", task="vqa").status is Status.OK
                rss.append(me.memory_info().rss)
            if frame.index == FRAMES // 3:
                before = held()
        assert held() == before
        counted = session.counters
    assert counted.frames == counted.mapped == FRAMES
    assert counted.questions == counted.answered == FRAMES // 50
    assert counted.keyframes <= 6
    assert counted.inserted - counted.evicted == counted.keyframes
    third = len(rss) // 3
    assert max(rss[2 * third :]) - max(rss[third : 2 * third]) < 4 << 20
