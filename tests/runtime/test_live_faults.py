"""A camera that is unplugged, stalls, repeats itself, hangs or crashes: the source says so, and goes on later."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import psutil
import pytest
from tests.runtime.scripted_camera import (
    HURRIED,
    SECOND_NS,
    Life,
    ScriptedCamera,
    eventually,
    is_whole,
    openings,
    scripted,
)

from scene_r1.live import LiveFrame, LiveSource, State
from scene_r1_engines.errors import BadConfig, BadInput, CameraLost, StaleFrame

GOOD = Life(frames=5)


def taken(source, count: int) -> list[LiveFrame]:
    frames = list(islice(source.frames(), count))
    assert all(is_whole(frame) for frame in frames)
    assert all(b.index > a.index and b.timestamp_ns > a.timestamp_ns for a, b in pairwise(frames))
    return frames


@pytest.mark.parametrize("fault", ["unplug", "break", "stall", "repeat", "hang", "crash", "shrink"])
def test_after_a_fault_the_same_loop_goes_on_with_the_next_index_and_a_later_time(tmp_path: Path, fault: str) -> None:
    with scripted(tmp_path, Life(5, fault), Life(starts_ns=0)) as source:
        frames = taken(source, 9)
        assert [frame.index for frame in frames] == list(range(9))
        assert [frame.capture.number for frame in frames] == [0, 1, 2, 3, 4, 0, 1, 2, 3]
        assert [frame.capture.segment for frame in frames] == [0] * 5 + [1] * 4
        assert frames[5].timestamp_ns - frames[4].timestamp_ns < 60 * SECOND_NS
        eventually(lambda: source.status.state is State.STREAMING)
        assert source.counters["reconnects"] == 1
    assert openings(tmp_path) == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("repeat", "no new frame for .* times the last one again"),
        ("exit", "(?s)exited with code 3.*the driver gives up"),
        ("crash", "SIGSEGV"),
    ],
)
def test_the_newest_frame_of_a_lost_camera_is_refused_with_the_reason(tmp_path: Path, fault: str, said: str) -> None:
    resting = replace(HURRIED, rests_s=(60.0,))
    with scripted(tmp_path, Life(5, fault), patience=resting) as source:
        taken(source, 5)
        eventually(lambda: source.status.state is not State.STREAMING)
        with pytest.raises(CameraLost, match="scripted: "):
            source.read_latest(60_000.0)
        eventually(lambda: source.pid is None)
        with pytest.raises(CameraLost, match=said):
            source.read_latest(60_000.0)


def test_a_repeated_frame_is_handed_out_once_and_counted(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(again=(1, 2, 5))) as source:
        assert [frame.capture.number for frame in taken(source, 8)] == list(range(8))
        assert source.counters["duplicates"] == 3


def test_a_frame_too_old_is_stale_while_the_camera_runs(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(1, period_s=0.01, then="stall"), patience=replace(HURRIED, silent_s=30.0)) as source:
        taken(source, 1)
        time.sleep(0.05)
        with pytest.raises(StaleFrame) as stale:
            source.read_latest(20.0)
        assert stale.value.age_ms > 20.0


def test_another_camera_in_its_place_is_refused_until_the_same_one_is_back(tmp_path: Path) -> None:
    other = replace(GOOD, serial="9999")
    with scripted(tmp_path, Life(3, "unplug"), other, other, GOOD) as source:
        loop = source.frames()
        for _ in range(3):
            next(loop)
        eventually(lambda: "another camera is there, a scripted camera 9999" in source.status.reason)
        assert is_whole(next(loop))
        assert source.camera.serial == "1234"
    assert openings(tmp_path) == 4


def test_a_camera_that_comes_back_with_another_resolution_is_read_anew(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(3, "unplug"), replace(GOOD, size=(64, 48))) as source:
        frames = taken(source, 6)
        assert [frame.color.shape for frame in frames] == [(24, 32, 3)] * 3 + [(48, 64, 3)] * 3
        assert source.info.color_intrinsics.width == frames[-1].color_intrinsics.width == 64


def test_a_camera_that_stays_away_is_lost_and_comes_back_all_the_same(tmp_path: Path) -> None:
    away = Life(opens="no")
    with scripted(tmp_path, Life(3, "unplug"), away, away, away, away, GOOD) as source:
        loop = source.frames()
        for _ in range(3):
            next(loop)
        eventually(lambda: source.status.state is State.LOST)
        with pytest.raises(CameraLost, match="it is not plugged in"):
            source.read_latest(1000.0)
        assert next(loop).index == 3
        eventually(lambda: source.status.state is State.STREAMING)


@pytest.mark.parametrize(("opens", "said"), [("no", "not plugged in"), ("exit", "exited with code 3")])
def test_a_camera_that_cannot_be_opened_at_first_is_an_error_at_once(tmp_path: Path, opens: str, said: str) -> None:
    with pytest.raises(CameraLost, match=said), scripted(tmp_path, Life(opens=opens)):
        pass
    assert openings(tmp_path) == 1


def test_a_camera_that_hangs_while_it_opens_is_given_up(tmp_path: Path) -> None:
    short = replace(HURRIED, open_s=1.0)
    with (
        pytest.raises(CameraLost, match="did not open within 1 s"),
        scripted(tmp_path, Life(opens="hang"), patience=short),
    ):
        pass


def test_a_recording_whose_reader_crashes_gives_what_it_had_then_the_reason_and_is_not_opened_again(
    tmp_path: Path,
) -> None:
    with scripted(tmp_path, Life(5, "exit", recorded=True)) as source:
        loop = source.frames()
        assert [next(loop).index for _ in range(5)] == list(range(5))
        with pytest.raises(CameraLost, match="exited with code 3"):
            next(loop)
        assert source.status.state is State.LOST
        with pytest.raises(CameraLost, match="exited with code 3"):
            next(source.frames())
    assert openings(tmp_path) == 1


HOUR_NS = 3600 * SECOND_NS


@pytest.mark.parametrize("jump_ns", [HOUR_NS, -HOUR_NS])
def test_a_jump_of_the_cameras_clock_begins_a_segment_and_time_goes_on(tmp_path: Path, jump_ns: int) -> None:
    life = Life(jumps={4: jump_ns}, starts_ns=10_000 * SECOND_NS)
    with scripted(tmp_path, life) as source:
        frames = taken(source, 8)
        assert [frame.capture.number for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert [frame.capture.segment for frame in frames] == [0] * 4 + [1] * 4
        assert frames[4].timestamp_ns - frames[3].timestamp_ns < 60 * SECOND_NS
        assert source.counters["clock_jumps"] == 1


def test_one_frame_with_an_impossible_time_is_left_out(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(jumps={4: HOUR_NS, 5: -HOUR_NS})) as source:
        frames = taken(source, 8)
        assert [frame.capture.number for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert {frame.capture.segment for frame in frames} == {0}
        assert source.counters["clock_jumps"] == 1


def test_a_flood_drops_the_oldest_and_counts_each(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(400, "stall", period_s=0.001), waiting=3) as source:
        loop = source.frames()
        frames = [next(loop)]
        eventually(lambda: source.counters["frames"] == 400)
        frames += [next(loop) for _ in range(3)]
        assert [frame.index for frame in frames[1:]] == [397, 398, 399]
        assert all(is_whole(frame) for frame in frames)
        assert source.counters["dropped"] == 400 - len(frames)


@pytest.mark.parametrize("fault", ["hang", "more"])
def test_closing_ends_the_capturing_process_even_when_it_hangs(tmp_path: Path, fault: str) -> None:
    with scripted(tmp_path, Life(1, fault, closes="hang")) as source:
        taken(source, 1)
        pid = source.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)
    assert source.status.state is State.ENDED


def test_a_capturing_process_that_is_killed_or_stopped_is_replaced(tmp_path: Path) -> None:
    with scripted(tmp_path, GOOD) as source:
        loop = source.frames()
        for sent in (signal.SIGKILL, signal.SIGSTOP):
            assert is_whole(next(loop))
            pid, before = source.pid, source.counters["reconnects"]
            assert pid is not None
            os.kill(pid, sent)
            eventually(lambda: source.counters["reconnects"] > before)  # noqa: B023
            assert is_whole(next(loop))
            assert source.pid != pid
            assert not psutil.pid_exists(pid)


DIES = """
import os, signal, sys
from functools import partial
from pathlib import Path
from tests.runtime.scripted_camera import Life, ScriptedCamera
from scene_r1.live import LiveSource
source = LiveSource(partial(ScriptedCamera, sys.argv[1], (Life(2, "hang"),)))
next(source.frames())
print(source.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_capturing_process_dies_with_its_caller(tmp_path: Path, repository: Path) -> None:
    paths = [*sys.path, str(repository)]
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    pid = int(done.stdout)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_opening_closing_and_losing_cameras_leaves_nothing_behind(tmp_path: Path) -> None:
    def once(n: int) -> tuple[int, int, int]:
        folder = tmp_path / str(n)
        folder.mkdir()
        with scripted(folder, Life(2, "unplug"), GOOD) as source:
            taken(source, 4)
        del source
        gc.collect()
        me = psutil.Process()
        return me.num_fds(), threading.active_count(), len(me.children(recursive=True))

    first = once(0)
    assert [once(n) for n in range(1, 4)] == [first] * 3


def test_a_loop_is_ended_by_stop_quietly_and_by_close_with_an_error(tmp_path: Path) -> None:
    with scripted(tmp_path, Life(2, "stall"), patience=replace(HURRIED, silent_s=60.0, hung_s=60.0)) as source:
        loop = source.frames()
        assert [next(loop).index for _ in range(2)] == [0, 1]
        threading.Timer(0.1, source.stop).start()
        assert list(loop) == []
        loop = source.frames()
        threading.Timer(0.1, source.close).start()
        with pytest.raises(BadInput, match="closed"):
            next(loop)


def test_a_camera_that_cannot_be_made_in_another_process_is_refused_at_once() -> None:
    with pytest.raises(BadConfig, match="a module that can be imported"):
        LiveSource(lambda: ScriptedCamera("nowhere", (GOOD,)))
