"""The live viewer: what it writes, what it drops, and that nobody waits for it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runtime.session_parts import Gated, PacedSource, eventually, half_turn, session_of
from tests.runtime.test_rrd import columns, rerun

import scene_r1.viewer.live as live
from scene_r1.answer import Answer, Status
from scene_r1.session.company import Company
from scene_r1.viewer.live import LiveViewer, check_target
from scene_r1_engines.errors import BadInput, MissingExtra, OutputExists, RecordingStopped, SceneR1Error

NEEDS_RERUN = pytest.mark.skipif(find_spec("rerun") is None, reason="rerun-sdk is not installed")


@pytest.fixture(scope="module")
def walk():
    return half_turn(12)


@NEEDS_RERUN
def test_a_session_that_is_shown_leaves_a_recording_that_rerun_finds_whole(walk, tmp_path: Path) -> None:
    reasoner, path = Gated(walk), tmp_path / "live.rrd"
    reasoner.go.set()
    viewer = LiveViewer(str(path), rate_hz=1e6)
    with session_of(reasoner, 2) as session:
        session.show(viewer)
        session.run(PacedSource([frame for frame, _ in walk], 0.02))
        answer = session.ask("where is the block?")
        session.observe(replace(walk[-1][0], index=99, timestamp_ns=99 * 10**9, T_world_camera=None))
        held = len(session.keyframes)
        counted = session.counters
    assert answer.status is Status.OK
    assert "verified without error" in rerun(tmp_path, "rrd", "verify", str(path))
    found = columns(tmp_path, path)
    assert found["/world/camera/image EncodedImage"] + counted.viewer_dropped == len(walk) + 1
    assert found["/world/answer Boxes3D"] == found["/world/object Points3D"] == 1
    assert found["/answer TextDocument"] == 1
    for number in range(len(answer.evidence)):
        assert found[f"/world/seen/{number}/mask SegmentationImage"] == 1
    shown = [key for key in found if key.startswith("/world/keyframes/") and key.endswith(" Points3D")]
    cleared = [key for key in found if key.startswith("/world/keyframes/") and key.endswith(" Clear")]
    assert len(shown) - len(cleared) == held
    assert not [thread for thread in threading.enumerate() if thread.name == "scene-r1-viewer"]


@NEEDS_RERUN
def test_a_viewer_that_is_slow_drops_the_oldest_and_counts_it(walk, tmp_path: Path, monkeypatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(live, "log_frame", lambda *_: go.wait(20.0))
    viewer = LiveViewer(str(tmp_path / "live.rrd"), rate_hz=1e6)
    try:
        viewer.frame(walk[0][0], "tracking", {})
        eventually(lambda: not viewer._waiting)  # the first is being logged
        for _ in range(live.WAITING + 5):
            time.sleep(1e-5)
            viewer.frame(walk[1][0], "tracking", {})
        assert viewer.dropped == 5
        assert len(viewer._waiting) == live.WAITING
    finally:
        go.set()
        viewer.close()
        viewer.close()


@NEEDS_RERUN
def test_frames_beyond_the_rate_are_not_shown_and_are_no_drops(walk, tmp_path: Path, monkeypatch) -> None:
    logged = []
    monkeypatch.setattr(live, "log_frame", lambda rr, recording, frame: logged.append(frame.index))
    viewer = LiveViewer(str(tmp_path / "live.rrd"), rate_hz=0.001)
    for frame, _ in walk:
        viewer.frame(frame, "tracking", {"select": 1.0})
    viewer.close()
    assert logged == [0]
    assert viewer.dropped == 0


@NEEDS_RERUN
def test_a_viewer_that_breaks_is_said_once_and_stops_nothing_else(walk, tmp_path: Path, monkeypatch, caplog) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the screen is gone")

    monkeypatch.setattr(live, "log_frame", broken)
    with session_of(Gated(walk)) as session:
        session.show(LiveViewer(str(tmp_path / "live.rrd")))
        for frame, _ in walk:
            session.observe(frame)
        eventually(lambda: "the screen is gone" in caplog.text)
        session.observe(replace(walk[-1][0], index=99, timestamp_ns=99 * 10**9))
        assert session.counters.mapped == len(walk) + 1
        assert not session.reasons
    assert caplog.text.count("the screen is gone") == 1


@NEEDS_RERUN
def test_another_target_is_refused_with_those_there_are(tmp_path: Path) -> None:
    taken = tmp_path / "taken.rrd"
    taken.touch()
    with pytest.raises(OutputExists, match="already there"):
        LiveViewer(str(taken))
    for target in ("film.mp4", "", "http://localhost:9876"):
        with pytest.raises(BadInput, match="say rerun"):
            check_target(target)
    with pytest.raises(BadInput, match="folder is not there"):
        check_target(str(tmp_path / "no" / "live.rrd"))


def test_without_rerun_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(MissingExtra, match="viewer"):
        LiveViewer("rerun")


def test_a_recorder_that_raises_is_told_no_more_and_the_rest_goes_on(walk, caplog) -> None:
    events = []

    def stopped(kind: str, fields: dict) -> None:
        events.append(kind)
        raise RecordingStopped("no room")

    company = Company()
    company.recorder = SimpleNamespace(failed=None, refuses="", dropped=0, event=stopped, close=lambda: None)
    company.event("question", {})
    company.event("answer", {})
    assert events == ["question"]
    assert company.recording_fault == "no room"
    assert caplog.text.count("no room") == 1


def test_a_viewer_that_raises_is_closed_and_told_no_more(caplog) -> None:
    closed = []

    def gone(question: str, answer: Answer) -> None:
        raise SceneR1Error("no screen")

    company = Company()
    company.viewer = SimpleNamespace(dropped=0, answer=gone, close=lambda: closed.append(1))
    for _ in range(2):
        company.answered("where?", Answer(Status.OK, None, {}, {}))
    company.close()
    assert closed == [1]
    assert caplog.text.count("no screen") == 1
