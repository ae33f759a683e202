"""What a session recorded, with questions, lost frames and a corrected map, is the same when it is played again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.live_recordings import info_of, wait_for
from tests.runtime.scripted_reasoner import ScriptedReasoner
from tests.runtime.session_parts import SmallTracker, half_turn

pytest.importorskip("rosbags")

from scene_r1 import pose
from scene_r1.cli import main
from scene_r1.config import Config, KeyframesConfig
from scene_r1.recorder import Recorder, asked_again
from scene_r1.session import Session
from scene_r1_engines.segmenter import open_segmenter

CONFIG = Config(keyframes=KeyframesConfig(k=6))
WALK = half_turn(40)
CORRECTION = pose.from_quaternion((0.31, -0.2, 0.05), (0.0, 0.1, 0.0, np.sqrt(0.99)))


def reasoner(replay: object) -> ScriptedReasoner:
    return ScriptedReasoner(lambda index: (WALK[index][1],))


def session_recorded(path: Path, correct_at: int | None = None) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """The keyframes at the end, and the answers."""
    tracker = SmallTracker()
    tracker.lost_at = {7, 8, 9}
    recorder, answers = Recorder(), []
    recorder.start(path, info_of(WALK[0][0]))
    session = Session(reasoner, lambda: open_segmenter("depth_cut"), CONFIG, tracker=lambda: tracker)
    with session:
        session.record(recorder)
        for frame, _ in WALK:
            wait_for(lambda: recorder.free > 0)
            if frame.index == correct_at:
                tracker.correct(CORRECTION)
                tracker.dropped = {0}
            session.observe(frame)
            if frame.index in (18, 39):
                answers.append(session.ask("where is the red block?").to_json())
        kept = tuple(keyframe.index for keyframe in session.keyframes)
    assert recorder.failed is None
    return kept, answers


@pytest.mark.parametrize("correct_at", [None, 25], ids=["one map", "corrected"])
def test_a_session_played_again_keeps_the_same_and_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], correct_at: int | None
) -> None:
    monkeypatch.setattr(asked_again, "reasoner_of", lambda config, model: reasoner)
    monkeypatch.setattr(asked_again, "model_name", lambda config, model: "")
    kept, answers = session_recorded(tmp_path / "walk.mcap", correct_at)
    code = main(["replay", str(tmp_path / "walk.mcap"), "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert (code, found["first_difference"], found["notes"]) == (0, None, []), said.out
    assert tuple(found["keyframes"]) == kept
    assert [one["same"] for one in found["compared"]] == [True, True]
    assert all(answer["box_3d"] is not None for answer in answers)
    assert found["frames"] == len(WALK)
