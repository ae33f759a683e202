"""The recorder and its process: nothing waits for it, and whatever dies, what was written is there."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.live_recordings import (
    SOON_S,
    hand_over,
    info_of,
    read,
    read_until_a_fault,
    recorded,
    same_but_for_jpeg,
    wait_for,
)
from tests.runtime.recorded_frames import CAMERA, make_frames, random_pose

pytest.importorskip("rosbags")

from scene_r1.frame import RgbdFrame
from scene_r1.recorder import RecordedEvent, Recorder
from scene_r1.recorder.events import MOST_BYTES
from scene_r1.recorder.recording import LiveRecording, RecordedFrame
from scene_r1.recorder.slots import Layout
from scene_r1.sources.ros.mcap_file import McapFile
from scene_r1_engines.errors import (
    BadConfig,
    BadFrame,
    BadInput,
    BadState,
    MissingExtra,
    OutputExists,
    RecordingStopped,
)
from scene_r1_engines.intrinsics import Intrinsics

FRAMES = make_frames(12)
LARGE_CAMERA = Intrinsics(300.0, 300.0, 319.5, 239.5, 640, 480)


def large_frames(count: int) -> list[RgbdFrame]:
    """Frames of which one or two make a chunk: noise, which nothing compresses."""
    return make_frames(count, 2, LARGE_CAMERA, LARGE_CAMERA)


def test_what_was_handed_over_is_in_the_file_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "walk.mcap"
    report = recorded(path, FRAMES, events=1)
    assert (report.frames, report.events, report.failed) == (len(FRAMES), len(FRAMES), None)
    assert (report.dropped_frames, report.refused_frames, report.dropped_events, report.lost_frames) == (0, 0, 0, 0)
    assert report.bytes == path.stat().st_size
    with LiveRecording(path) as source:
        items = list(source.items())
    assert [type(item) for item in items] == [RecordedFrame, RecordedEvent] * len(FRAMES)
    for place, wanted in enumerate(FRAMES):
        frame, event = items[2 * place : 2 * place + 2]
        assert isinstance(frame, RecordedFrame)
        assert isinstance(event, RecordedEvent)
        same_but_for_jpeg(frame, wanted)
        assert (event.kind, event.after, event.fields) == ("counters", wanted.index, {"at": wanted.index})


def test_the_pose_is_what_the_map_took_and_not_what_the_frame_came_with(tmp_path: Path) -> None:
    T = random_pose(np.random.default_rng(3))
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        recorder.frame(FRAMES[0], T, "relocalised")
        recorder.frame(FRAMES[1], None, "lost")
    with LiveRecording(tmp_path / "walk.mcap") as source:
        first, second = source.items()
    assert isinstance(first, RecordedFrame)
    assert isinstance(second, RecordedFrame)
    assert first.T_world_camera is not None
    np.testing.assert_allclose(first.T_world_camera, T, atol=1e-12)
    assert (first.state, second.state, second.T_world_camera) == ("relocalised", "lost", None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("taken.mcap", OutputExists),
        ("folder.mcap", OutputExists),
        ("missing/walk.mcap", BadInput),
        ("taken.mcap/walk.mcap", BadInput),
        ("walk.db3", BadInput),
        ("walk", BadInput),
        ("x" * 300 + ".mcap", BadInput),
        ("nul\0.mcap", BadInput),
    ],
)
def test_a_place_that_cannot_be_is_said_at_the_start(tmp_path: Path, name: str, error: type[Exception]) -> None:
    (tmp_path / "taken.mcap").write_text("mine")
    (tmp_path / "folder.mcap").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with Recorder() as recorder, pytest.raises(error):
        recorder.start(tmp_path / name, info_of(FRAMES[0]))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.mcap").read_text() == "mine"


def test_without_its_package_it_says_which_extra_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with Recorder() as recorder, pytest.raises(MissingExtra, match="ros"):
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
    assert not list(tmp_path.iterdir())


def test_a_process_that_does_not_start_is_said_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scene_r1.recorder.process.START", "raise SystemExit('no such luck')")
    with Recorder() as recorder, pytest.raises(RecordingStopped, match="no such luck"):
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
    assert not list(tmp_path.iterdir())


def test_calls_out_of_turn_are_refused(tmp_path: Path) -> None:
    recorder = Recorder()
    for call in (lambda: recorder.frame(FRAMES[0], None, "lost"), lambda: recorder.event("x", {}), recorder.close):
        with pytest.raises(BadState, match="not started"):
            call()
    recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
    with pytest.raises(BadState, match="already"):
        recorder.start(tmp_path / "other.mcap", info_of(FRAMES[0]))
    hand_over(recorder, FRAMES[0])
    assert recorder.close() == recorder.close()
    with pytest.raises(BadState, match="closed"):
        recorder.event("x", {})
    with pytest.raises(BadConfig):
        Recorder(jpeg_quality=0)


def test_what_cannot_be_recorded_is_counted_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_frames(1, 1, Intrinsics(20.0, 21.0, 8.5, 5.5, 18, 12))[0]
    early = RgbdFrame(0, -1, FRAMES[0].color, CAMERA, FRAMES[0].depth_raw, 0.001, CAMERA)
    with Recorder() as recorder, caplog.at_level(logging.WARNING):
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        for frame in (other, early, other):
            recorder.frame(frame, None, "lost")
            assert recorder.refuses
        recorder.event("long", {"text": "x" * MOST_BYTES})
        with pytest.raises(BadInput, match="JSON"):
            recorder.event("nan", {"value": float("nan")})
        with pytest.raises(BadFrame):
            recorder.frame(FRAMES[0], np.full((4, 4), np.nan), "tracking")
        hand_over(recorder, FRAMES[0])
        assert (recorder.refuses, recorder.dropped) == ("", 4)
        report = recorder.close()
    assert (report.frames, report.refused_frames, report.dropped_events) == (1, 3, 1)
    assert len(caplog.records) == 2
    assert len(read(tmp_path / "walk.mcap")) == 1


def test_a_process_that_is_held_up_costs_frames_and_never_time(tmp_path: Path) -> None:
    frames = make_frames(60)
    slots = Layout((12, 16), (12, 16)).count
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(frames[0]))
        assert recorder.pid is not None
        os.kill(recorder.pid, signal.SIGSTOP)  # whoever waits for it now waits for ever
        for frame in frames[:50]:
            recorder.frame(frame, frame.T_world_camera, "tracking")
            recorder.event("counters", {"text": "x" * 5000, "at": frame.index})
        assert recorder.counters["dropped_frames"] == recorder.dropped == 50 - slots
        os.kill(recorder.pid, signal.SIGCONT)
        for frame in frames[50:]:
            hand_over(recorder, frame)
        report = recorder.close(SOON_S)
    assert (report.frames, report.events, report.failed) == (slots + 10, 50, None)
    with LiveRecording(tmp_path / "walk.mcap") as source:
        items = list(source.items())
        assert source.info.counters["frames_dropped"] == 50 - slots
        indices = [item.index for item in items if isinstance(item, RecordedFrame)]
        assert indices == [*range(slots), *range(50, 60)]
        assert [frame.index for frame in source.frames()] == list(range(slots + 10))
    assert [item.fields["at"] for item in items if isinstance(item, RecordedEvent)] == list(range(50))


def test_a_process_that_is_killed_leaves_all_up_to_its_last_chunk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "walk.mcap"
    frames = large_frames(8)
    with Recorder() as recorder, caplog.at_level(logging.WARNING):
        recorder.start(path, info_of(frames[0]))
        for frame in frames[:6]:
            hand_over(recorder, frame)
        wait_for(lambda: recorder.failed is None and recorder.counters["bytes"] > 4 << 20)
        assert recorder.pid is not None
        os.kill(recorder.pid, signal.SIGKILL)
        wait_for(lambda: recorder.failed is not None)
        for frame in frames[6:]:
            recorder.frame(frame, frame.T_world_camera, "tracking")  # the caller goes on
            recorder.event("counters", {})
        assert "signal 9" in str(recorder.failed)
        report = recorder.close()
    assert report.failed is not None
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    got, fault = read_until_a_fault(path)
    assert fault is None
    assert report.frames <= len(got) <= 6
    assert len(got) >= 4
    for one, wanted in zip(got, frames, strict=False):
        same_but_for_jpeg(one, wanted)


def test_the_file_is_ended_well_when_its_caller_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "walk.mcap"
    script = textwrap.dedent(
        f"""
        import os, signal
        from tests.runtime.live_recordings import hand_over, info_of
        from tests.runtime.recorded_frames import make_frames
        from scene_r1.recorder import Recorder
        frames = make_frames(12)
        recorder = Recorder()
        recorder.start({str(path)!r}, info_of(frames[0]))
        print(recorder.pid, flush=True)
        for frame in frames:
            hand_over(recorder, frame)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    wait_for(lambda: path.exists() and McapFile(path).finished)
    for one, wanted in zip(read(path), FRAMES, strict=True):
        same_but_for_jpeg(one, wanted)
    wait_for(lambda: not _lives(int(done.stdout)))


def test_ctrl_c_in_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        assert recorder.pid is not None
        assert os.getpgid(recorder.pid) != os.getpgid(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(recorder.pid, number)
        for frame in FRAMES:
            hand_over(recorder, frame)
        assert recorder.close(SOON_S).frames == len(FRAMES)


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "walk.mcap"
    frames = large_frames(12)
    with Recorder() as recorder, caplog.at_level(logging.WARNING):
        recorder.start(path, info_of(frames[0]))
        assert recorder.pid is not None
        resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))
        for frame in frames:
            hand_over(recorder, frame)
        wait_for(lambda: recorder.failed is not None)
        assert isinstance(recorder.failed, RecordingStopped)
        assert "disk is full" in str(recorder.failed)
        for frame in frames:
            recorder.frame(frame, frame.T_world_camera, "tracking")
        report = recorder.close()
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    got, fault = read_until_a_fault(path)
    assert fault is None
    assert McapFile(path).finished  # there was room for an end
    assert 0 < report.frames == len(got) < len(frames)
    assert report.lost_frames > 0
    for one, wanted in zip(got, frames, strict=False):
        same_but_for_jpeg(one, wanted)


def test_nothing_is_left_behind_by_many_recordings(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), len(children)

    recorded(tmp_path / "first.mcap", FRAMES[:1])
    before = held()
    for n in range(4):
        recorded(tmp_path / f"{n}.mcap", FRAMES[:2])
        with pytest.raises(OutputExists):
            Recorder().start(tmp_path / "first.mcap", info_of(FRAMES[0]))
    assert held() == before


def test_a_recording_becomes_a_realsense_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyrealsense2")
    from scene_r1.cli import main
    from scene_r1.sources import open_source

    recorded(tmp_path / "walk.mcap", FRAMES)
    assert main(["convert", str(tmp_path / "walk.mcap"), str(tmp_path / "walk.db3"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == len(FRAMES)
    with open_source(tmp_path / "walk.db3") as source:
        for one, wanted in zip(source.frames(), FRAMES, strict=True):
            assert one.timestamp_ns == wanted.timestamp_ns
            assert np.array_equal(one.depth_raw, wanted.depth_raw)


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
