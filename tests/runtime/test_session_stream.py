"""Frames and questions at once: neither waits for the other, and each question is about one moment."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.engines.small_reasoners import Behaviour, open_obedient
from tests.runtime.block_walk import BLOCK
from tests.runtime.session_parts import (
    Gated,
    PacedSource,
    SmallTracker,
    again,
    eventually,
    half_turn,
    in_thread,
    session_of,
)

from scene_r1.answer import Answer, Status
from scene_r1.box import iou
from scene_r1.config import Config, KeyframesConfig
from scene_r1.grounder import Grounder
from scene_r1.session import Session, State, heap
from scene_r1.session.scene_map import BEHIND
from scene_r1_engines.errors import BadInput, BadQuestion, BadState, Busy, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.segmenter import open_segmenter
from scene_r1_engines.worker import IsolatedReasoner


@pytest.fixture(scope="module")
def walk():
    return half_turn()


@pytest.fixture
def reasoner(walk) -> Gated:
    return Gated(walk)


def indices(session: Session) -> list[int]:
    return [keyframe.index for keyframe in session.keyframes]


def test_a_walk_that_is_observed_ends_in_the_box_of_the_block(walk, reasoner) -> None:
    reasoner.go.set()
    with session_of(reasoner, 8) as session:
        session.run(PacedSource([frame for frame, _ in walk]))
        eventually(lambda: session.at_rest)
        assert sorted(reasoner.watched) == indices(session)
        assert reasoner.settled[-1] is None  # the stream has ended: everything is due
        answer = session.ask("where is the block?")
        shown = session.frames(answer)
    assert answer.status is Status.OK
    assert iou(answer.box_3d, BLOCK.box) > 0.7
    assert [frame.index for frame in shown] == [view.frame for view in answer.evidence]
    stages = {name: ms for name, ms in answer.timings_ms.items() if "." not in name and name != "total"}
    assert {"wait", "watch", "when", "where"} <= stages.keys()


def test_the_same_frames_leave_the_same_keyframes_as_a_grounder(walk, reasoner) -> None:
    frames = again(walk)
    config = Config(keyframes=KeyframesConfig(5))
    with Grounder(lambda replay: Gated(walk), open_segmenter("depth_cut"), config) as grounder:
        for frame in frames:
            grounder.take(frame)
        grounder.end()
        expected = [keyframe.index for keyframe in grounder.memory]
    with session_of(reasoner, 5) as session:
        session.run(PacedSource(frames))
        assert indices(session) == expected


def test_frames_are_taken_while_a_question_is_at_work_and_it_is_about_its_own_moment(walk, reasoner) -> None:
    with session_of(reasoner, 3) as session:
        for frame, _ in walk[:10]:
            session.observe(frame)
        thread, found = in_thread(lambda: session.ask("where is the block?"))
        eventually(reasoner.asked_now.is_set)
        then = indices(session)
        for frame, _ in walk[10:]:
            session.observe(frame)
        assert indices(session) != then
        assert sorted(reasoner.watched) == then
        reasoner.go.set()
        thread.join(20.0)
        answer = found[0]
        assert isinstance(answer, Answer)
        assert answer.status is Status.OK
        assert {view.frame for view in answer.evidence} <= set(then)
        assert reasoner.told_meanwhile == []
        eventually(lambda: sorted(reasoner.watched) == indices(session))
        assert len(session.frames(answer)) == len(answer.evidence)  # of keyframes that have gone since, too
        assert len(reasoner.tellers) == 1
        assert threading.get_ident() not in reasoner.tellers


def test_one_question_waits_and_the_next_is_told_so(walk, reasoner) -> None:
    with session_of(reasoner) as session:
        for frame, _ in walk[:5]:
            session.observe(frame)
        one, first = in_thread(lambda: session.ask("where is the block?"))
        eventually(reasoner.asked_now.is_set)
        two, second = in_thread(lambda: session.ask("where is the red block?"))
        eventually(lambda: session.counters.waiting == 1)
        with pytest.raises(Busy, match="another one waits"):
            session.ask("where is the third?")
        reasoner.go.set()
        one.join(20.0)
        two.join(20.0)
        assert [answer.status for answer in (*first, *second)] == [Status.OK, Status.OK]
        counted = session.counters
        assert (counted.questions, counted.answered, counted.busy, counted.waiting) == (3, 2, 1, 0)


def test_a_question_that_waits_ends_at_its_deadline_and_when_it_is_cancelled(walk, reasoner) -> None:
    with session_of(reasoner) as session:
        session.observe(walk[0][0])
        thread, _ = in_thread(lambda: session.ask("where is the block?"))
        eventually(reasoner.asked_now.is_set)
        soon = Limits(time.monotonic_ns() + 50_000_000)
        assert session.ask("where?", soon).status is Status.TIMED_OUT
        gone = session.ask("where?", Limits(cancelled=lambda: True))
        assert gone.status is Status.TIMED_OUT
        assert "cancelled" in gone.reason
        reasoner.go.set()
        thread.join(20.0)
        assert session.ask("where is the block?").status is Status.OK  # nothing is left locked


def test_a_question_that_is_none_is_refused_before_it_takes_a_turn(walk, reasoner) -> None:
    with session_of(reasoner) as session:
        session.observe(walk[0][0])
        with pytest.raises(BadQuestion):
            session.ask("   ")
        with pytest.raises(BadInput, match="find, vqa"):
            session.ask("where?", task="guess")  # type: ignore[arg-type]
        assert session.counters.questions == 0


def test_a_reasoner_that_breaks_fails_the_question_alone(walk, reasoner) -> None:
    reasoner.go.set()
    with session_of(reasoner, 4) as session:
        for frame, _ in walk[:8]:
            session.observe(frame)
        eventually(lambda: sorted(reasoner.watched) == indices(session))
        reasoner.failing = {"when", "watch"}
        with pytest.raises(EngineFailed, match="broke"):
            session.ask("where is the block?")
        for frame, _ in walk[8:]:
            session.observe(frame)
        eventually(lambda: session.counters.reasoner_failures > 0)
        reasoner.failing = set()
        assert session.ask("where is the block?").status is Status.OK
        assert sorted(reasoner.watched) == indices(session)
        assert session.counters.failed == 1


def test_an_answer_says_how_old_the_newest_frame_and_its_evidence_are(walk, reasoner) -> None:
    reasoner.go.set()
    now = time.monotonic_ns()
    with session_of(reasoner) as session:
        session.observe(replace(walk[0][0], received_ns=now - 60_000_000_000))
        session.observe(replace(walk[15][0], depth_raw=np.zeros_like(walk[15][0].depth_raw), received_ns=now))
        answer = session.ask("where is the block?")
    assert answer.evidence
    assert answer.live.evidence_age_ms >= 60_000.0
    assert 0.0 <= answer.live.stale_ms < 60_000.0
    said = answer.to_json()
    assert said["evidence_age_ms"] == pytest.approx(answer.live.evidence_age_ms, abs=0.1)
    assert said["stale_ms"] == pytest.approx(answer.live.stale_ms, abs=0.1)
    assert said["revision"] == 0


def test_frames_that_repeat_or_go_back_in_time_are_left_out_and_counted(walk, reasoner) -> None:
    with session_of(reasoner) as session:
        for index in (0, 1, 1, 0, 2):
            session.observe(walk[index][0])
        session.observe(replace(walk[9][0], timestamp_ns=walk[1][0].timestamp_ns))
        session.observe(walk[10][0])
        counted = session.counters
    assert (counted.frames, counted.mapped, counted.repeated, counted.backward) == (7, 4, 2, 1)


@pytest.mark.skipif(heap._trim() is None, reason="another allocator than glibc's")
def test_what_a_question_has_freed_goes_back_to_the_machine(walk, reasoner) -> None:
    reasoner.go.set()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with session_of(reasoner) as session:
        session.observe(walk[0][0])
        parts = [bytes(64 << 10) for _ in range(2000)]  # of the heap, and none of them a mapping of its own
        before = resident()
        held = parts[1::2]  # what lies between them keeps the heap from shrinking by itself
        del parts
        session.ask("where is the block?")
        assert resident() < before - (32 << 20)
        assert len(held) == 1000


def test_a_clock_that_was_set_back_is_said_until_it_has_made_that_up(walk, reasoner) -> None:
    def shown(index: int, at_s: float) -> None:
        session.observe(replace(walk[index][0], timestamp_ns=int(at_s * 1e9)))

    with session_of(reasoner) as session:
        shown(0, 100.0)
        for index in range(1, BEHIND):
            shown(index, 40.0 + index)
        assert session.state is State.RUNNING
        shown(BEHIND, 40.0 + BEHIND)
        assert session.state is State.DEGRADED
        (reason,) = session.reasons
        assert "clock went back" in reason
        assert f"{60.0 - BEHIND:.1f} s" in reason
        shown(BEHIND + 1, 100.1)
        assert session.state is State.RUNNING
        assert session.counters.backward == BEHIND


def test_a_second_source_goes_on_where_the_first_ended_or_is_refused(walk, reasoner) -> None:
    frames = again(walk)
    with session_of(reasoner) as session:
        session.run(PacedSource(frames[:20]))
        session.run(PacedSource(frames[20:]))
        assert session.counters.mapped == len(frames)
        assert session.counters.source == {"frames": len(frames) - 20, "dropped": 0}
        with pytest.raises(BadInput, match="paced begins anew at frame 0"):
            session.run(PacedSource(frames))


def test_two_sources_at_once_are_refused(walk, reasoner) -> None:
    source = PacedSource([walk[0][0]], endless=True)
    with session_of(reasoner) as session:
        thread, _ = in_thread(lambda: session.run(source))
        eventually(lambda: session.counters.frames == 1)
        with pytest.raises(BadState, match="another"):
            session.run(PacedSource([]))
    thread.join(10.0)
    assert not thread.is_alive()


def test_closing_ends_the_source_that_runs_and_the_question_that_is_asked(walk, reasoner) -> None:
    source, tracker = PacedSource([frame for frame, _ in walk], endless=True), SmallTracker()
    session = session_of(reasoner, tracker=tracker)
    running, ran = in_thread(lambda: session.run(source))
    eventually(lambda: session.counters.frames == len(walk))
    asking, asked = in_thread(lambda: session.ask("where is the block?"))
    eventually(reasoner.asked_now.is_set)
    session.close()
    running.join(10.0)
    asking.join(10.0)
    assert ran == [None]
    assert asked[0].status is Status.TIMED_OUT  # type: ignore[attr-defined]
    assert source.closed.is_set()
    assert (reasoner.closed, tracker.closed) == (1, 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scene-r1")]


def test_the_memory_keeps_its_cap_and_what_it_refuses_is_counted(walk, reasoner) -> None:
    with session_of(reasoner, 16, max_bytes=16 * 4096 + 60_000) as session:
        for frame, _ in walk:
            session.observe(frame)
            assert session.counters.memory_bytes <= 16 * 4096 + 60_000
        counted = session.counters
    assert counted.refused > 0
    assert counted.keyframes < 16


def test_a_session_that_is_let_go_of_unclosed_takes_its_worker_and_thread_with_it(walk) -> None:
    before = threading.active_count()
    session = Session(
        lambda replay: IsolatedReasoner("obedient", Behaviour(), replay, opener=open_obedient),
        lambda: open_segmenter("depth_cut"),
        Config(keyframes=KeyframesConfig(4)),
        tracker=SmallTracker,
    )
    session.start()
    for frame, _ in walk[:8]:
        session.observe(frame)
    answer = session.ask("held", task="vqa")
    assert answer.status is Status.OK
    assert session.state is State.RUNNING
    seen = weakref.ref(session)
    del session
    gc.collect()
    assert seen() is None
    eventually(lambda: threading.active_count() == before)
