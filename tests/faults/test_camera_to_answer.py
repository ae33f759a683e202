"""From the camera's process to the answer: what goes wrong with a camera never becomes a wrong answer or an end."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.faults.seen_walk import Seen
from tests.faults.walking_camera import packed, walking
from tests.runtime.block_walk import BLOCK
from tests.runtime.scripted_camera import HURRIED, SECOND_NS, Life, eventually, scripted
from tests.runtime.session_parts import Gated, PacedSource, Walk, half_turn, in_thread, session_of

from scene_r1.answer import Status
from scene_r1.box import iou
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes.selector import Decision
from scene_r1.session import State
from scene_r1.tracking import open_tracker
from scene_r1_engines.errors import BadInput, CameraLost, StaleFrame

STEPS = 12
QUESTION = "where is the red block?"


@pytest.fixture(scope="module")
def walk() -> Walk:
    return half_turn(STEPS)


@pytest.fixture(scope="module")
def stored(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> str:
    return packed([frame for frame, _ in walk], tmp_path_factory.mktemp("walk") / "walk.npz")


def test_an_unplugged_camera_degrades_the_session_which_answers_on_and_runs_again_when_it_is_back(
    walk: Walk, stored: str, tmp_path: Path
) -> None:
    seen = Seen(walk)
    patience = replace(HURRIED, reopen_s=60.0, hung_s=600.0)
    away = [Life(opens="no")] * 1000
    with (
        session_of(seen.reasoner, 6, open_tracker("host")) as session,
        walking(
            stored, tmp_path, Life(STEPS, "unplug"), *away, Life(STEPS, "stall", period_s=0.2), patience=patience
        ) as source,
    ):
        thread, ran = in_thread(lambda: session.run(source, seen))
        eventually(lambda: len(seen.indices) == STEPS)
        eventually(lambda: any("not plugged in" in reason for reason in session.reasons), 60.0)
        assert session.state is State.DEGRADED
        held = session.keyframes
        answers = [session.ask(QUESTION) for _ in range(2)]
        for count in range(1000):  # plugged in: the next opening is the last life's
            (tmp_path / "openings" / f"more {count}").touch()
        eventually(lambda: len(seen.indices) > STEPS and session.state is State.RUNNING, 120.0)
        eventually(lambda: len(seen.indices) == 2 * STEPS)
        later, counted = session.ask(QUESTION), session.counters
        session.close()
    thread.join(20.0)
    assert ran == [None]
    assert held
    for answer in answers:
        assert answer.status is Status.OK
        assert iou(answer.box_3d, BLOCK.box) > 0.6
        assert answer.live.evidence_age_ms >= answer.live.stale_ms > 0.0
    assert answers[1].live.stale_ms > answers[0].live.stale_ms  # nothing newer came meanwhile
    assert later.status is Status.OK
    assert seen.indices == list(range(2 * STEPS))
    assert all(b > a for a, b in pairwise(seen.times_ns))
    assert counted.source["reconnects"] == 1
    assert counted.frames == counted.mapped == 2 * STEPS


def test_another_camera_in_its_place_keeps_the_session_degraded_until_the_same_one_is_back(
    walk: Walk, stored: str, tmp_path: Path
) -> None:
    other = Life(serial="9999")
    seen = Seen(walk)
    with (
        walking(stored, tmp_path, Life(4, "unplug"), other, other, Life()) as source,
        session_of(seen.reasoner, 6, open_tracker("host")) as session,
    ):
        thread, _ = in_thread(lambda: session.run(source, seen))
        eventually(lambda: any("another camera is there" in reason for reason in session.reasons))
        assert session.state is State.DEGRADED
        assert seen.indices == [0, 1, 2, 3]
        assert session.ask(QUESTION).status is Status.OK
        eventually(lambda: session.state is State.RUNNING and len(seen.indices) > 4)
        assert source.camera.serial == "1234"
        session.close()
        thread.join(20.0)
    assert seen.indices == list(range(len(seen.indices)))


@pytest.mark.parametrize("fault", ["stall", "repeat"])
def test_a_frame_that_is_given_again_or_goes_stale_never_becomes_a_keyframe_twice(
    walk: Walk, stored: str, tmp_path: Path, fault: str
) -> None:
    seen = Seen(walk)
    slow_to_kill = replace(HURRIED, hung_s=600.0)
    with (
        walking(stored, tmp_path, Life(5, fault), patience=slow_to_kill) as source,
        session_of(seen.reasoner, 6, open_tracker("host")) as session,
    ):
        thread, _ = in_thread(lambda: session.run(source, seen))
        eventually(lambda: len(seen.indices) == 5)
        eventually(lambda: session.state is State.DEGRADED)
        if fault == "repeat":
            eventually(lambda: source.counters["duplicates"] > 10)
        session.ask(QUESTION)  # settles the candidate
        assert seen.indices == list(range(5))
        held = [keyframe.index for keyframe in session.keyframes]
        assert len(held) == len(set(held))
        assert set(held) <= set(range(5))
        assert (session.counters.frames, session.counters.repeated) == (5, 0)
        with pytest.raises((CameraLost, StaleFrame)):
            source.read_latest(50.0)
        session.close()
        thread.join(20.0)


def test_a_session_ten_times_too_slow_loses_the_oldest_frames_counted_and_holds_no_more(tmp_path: Path) -> None:
    """Who looks on takes as long for each frame as the camera for ten."""
    me, last, waiting = psutil.Process(), 600, 4
    took: list[int] = []
    rss: list[int] = []

    def look_on(frame: RgbdFrame, decision: Decision) -> None:
        took.append(frame.index)
        rss.append(me.memory_info().rss)
        until = min(last, source.counters["frames"] + 10)
        eventually(lambda: source.counters["frames"] >= until)

    fast = Life(last, "stall", size=(320, 240), period_s=0.001)
    patience = replace(HURRIED, hung_s=600.0)
    with session_of(Gated([])) as session, scripted(tmp_path, fast, patience=patience, waiting=waiting) as source:
        thread, _ = in_thread(lambda: session.run(source, look_on))
        eventually(lambda: took[-1:] == [last - 1], 120.0)
        counted = session.counters
        session.close()
        thread.join(20.0)
    assert counted.source["frames"] == counted.source["dropped"] + len(took) == last
    assert len(took) <= last / 10 + 1 + waiting
    assert all(b > a for a, b in pairwise(took))
    assert counted.frames == counted.lost == len(took)  # without poses
    third = len(rss) // 3
    assert max(rss[2 * third :]) - max(rss[third : 2 * third]) < 4 << 20


@pytest.mark.parametrize("jump_ns", [3600 * SECOND_NS, -3600 * SECOND_NS])
def test_a_clock_that_jumps_an_hour_leaves_the_stream_of_time_and_the_answers_as_they_are(
    walk: Walk, stored: str, tmp_path: Path, jump_ns: int
) -> None:
    seen = Seen(walk)
    life = Life(20, "stall", starts_ns=10_000 * SECOND_NS, jumps={6: jump_ns, 13: -jump_ns})
    with (
        walking(stored, tmp_path, life, patience=replace(HURRIED, hung_s=600.0)) as source,
        session_of(seen.reasoner, 6, open_tracker("host")) as session,
    ):
        thread, _ = in_thread(lambda: session.run(source, seen))
        eventually(lambda: len(seen.indices) == 18)  # each jump costs the frame that is its first witness
        answer = session.ask(QUESTION)
        counted, keyframes = session.counters, session.keyframes
        session.close()
        thread.join(20.0)
    assert answer.status is Status.OK
    assert iou(answer.box_3d, BLOCK.box) > 0.6
    assert seen.segments[-1] == 2
    assert counted.source["clock_jumps"] == 2
    assert counted.backward == 0
    assert 0 < seen.times_ns[-1] - seen.times_ns[0] < 60 * SECOND_NS
    assert [one.timestamp_ns for one in keyframes] == sorted(one.timestamp_ns for one in keyframes)
    assert 0.0 <= answer.live.stale_ms <= answer.live.evidence_age_ms < 600_000.0


def test_what_breaks_in_the_watching_thread_of_a_camera_reaches_the_session(
    walk: Walk, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no more processes")

    seen = Seen(walk)
    resting = replace(HURRIED, rests_s=(1.0, 0.1))
    with (
        session_of(seen.reasoner, 6, open_tracker("host")) as session,
        walking(stored, tmp_path, Life(3, "unplug"), Life(), patience=resting) as source,
    ):
        monkeypatch.setattr("scene_r1.live.watchdog.CaptureProcess", broken)
        thread, _ = in_thread(lambda: session.run(source, seen))
        eventually(lambda: any("no more processes" in reason for reason in session.reasons))
        assert session.state is State.DEGRADED
        with pytest.raises(CameraLost, match="no more processes"):
            source.read_latest(1000.0)
        monkeypatch.undo()
        eventually(lambda: len(seen.indices) > 3 and session.state is State.RUNNING)  # it was only for a while
        session.close()
        thread.join(20.0)
    assert seen.indices == list(range(len(seen.indices)))


def test_an_error_of_no_kind_of_ours_in_a_source_is_raised_as_it_is_and_degrades_the_session(walk: Walk) -> None:
    source = PacedSource([frame for frame, _ in walk], endless=True)
    source.fault = RuntimeError("a bug in a driver")
    seen = Seen(walk)
    with session_of(seen.reasoner) as session:
        with pytest.raises(RuntimeError, match="a bug in a driver") as raised:
            session.run(source)
        assert any(entry.name == "frames" for entry in raised.traceback)
        assert session.state is State.DEGRADED
        assert session.reasons == ("the camera gives nothing: a bug in a driver",)
        session.run(PacedSource([replace(walk[0][0], index=100, timestamp_ns=100 * SECOND_NS)]))
        assert session.state is State.RUNNING


def test_a_source_that_is_closed_under_a_session_ends_its_run_with_an_error_that_says_so(
    walk: Walk, stored: str, tmp_path: Path
) -> None:
    seen = Seen(walk)
    with walking(stored, tmp_path, Life()) as source, session_of(seen.reasoner) as session:
        thread, ran = in_thread(lambda: session.run(source, seen))
        eventually(lambda: len(seen.indices) > 2)
        source.close()
        thread.join(20.0)
        assert isinstance(ran[0], BadInput)
        assert "closed" in str(ran[0])
        assert session.state is State.DEGRADED
    assert not [one for one in threading.enumerate() if one.name.startswith("scene-r1")]


def test_no_frame_is_a_view_of_the_ring_that_the_camera_writes_to(walk: Walk, stored: str, tmp_path: Path) -> None:
    kept = []
    with (
        walking(stored, tmp_path, Life(STEPS, "stall")) as source,
        session_of(Seen(walk).reasoner, 6, open_tracker("host")) as session,
    ):
        thread, _ = in_thread(lambda: session.run(source, lambda frame, decision: kept.append(frame)))
        eventually(lambda: len(kept) == STEPS)
        session.close()
        thread.join(20.0)
    for frame, (truth, _) in zip(kept, walk, strict=True):
        assert np.array_equal(frame.depth_raw, truth.depth_raw)
        assert np.array_equal(frame.color, truth.color)
