"""The harness on a published data set, from the files on disk to the score, on a scan that was made for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from benchmarks.grounding import __main__ as harness
from benchmarks.grounding import published
from benchmarks.grounding.chance import GuessingReasoner
from benchmarks.grounding.told import Told
from benchmarks.sens_writer import SensWriter
from tests.benchmarks.dataset_files import QUARTER_TURN, described, write_json, write_scan

from scene_r1 import pose
from scene_r1.rooms import SyntheticRecording
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, ImageGrounding, LabelledBox, TimeGrounding

pytest.importorskip("embreex", reason="the scan is a rendered room")
FRAMES = 12
SCAN = "scene0000_00"


class Seer(GuessingReasoner):
    """Knows where one object is in every frame, and that a dog is in none."""

    def __init__(self, boxes: dict[int, tuple[float, float, float, float]]) -> None:
        super().__init__(Told(), {}, 0)
        self.boxes = boxes

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        if "dog" in question:
            return TimeGrounding(Finish.NOT_FOUND)
        times = [self._times[id] for id in self._times if id in self.boxes]
        return TimeGrounding(Finish.OK, (min(times), max(times) + 0.1), "", 1.0)

    def where(self, question, keyframe_id, limits, image=None) -> ImageGrounding:
        if keyframe_id not in self.boxes:
            return ImageGrounding(Finish.NOT_FOUND, keyframe_id)
        return ImageGrounding(Finish.OK, keyframe_id, (LabelledBox(self.boxes[keyframe_id], "thing", 1.0),))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, tuple[float, float, float, float]]]:
    """A `.sens` of a walk around a large object, in a scan's own frame, its true box; and where it is in each frame."""
    data = tmp_path_factory.mktemp("scannet")
    walk = SyntheticRecording(3, FRAMES, (640, 480), noise=False, one_camera=True, rate_hz=3.0)
    instances = [walk.truth(i).instance for i in range(FRAMES)]
    seen = {thing.id: sum(int((ids == thing.id).sum() > 1500) for ids in instances) for thing in walk.room.objects}
    thing = walk.room.object(max(seen, key=lambda id: (seen[id], max(walk.room.object(id).box.size))))
    folder = write_scan(data, SCAN, {7: (thing.box.low, thing.box.high)}, recorded=False)
    color, depth, _ = walk.cameras
    with SensWriter(folder / f"{SCAN}.sens", color, depth, FRAMES, packing=("png", "zlib_ushort")) as writer:
        for frame in walk.frames():
            assert frame.T_world_camera is not None
            writer.add(frame, pose.inverse(QUARTER_TURN) @ frame.T_world_camera, 1 + frame.timestamp_ns // 1000)
    boxes = {}
    for index, ids in enumerate(instances):
        rows, columns = np.nonzero(ids == thing.id)
        if len(rows) > 400:
            boxes[index] = (float(columns.min()), float(rows.min()), columns.max() + 1.0, rows.max() + 1.0)
    rows = [described(SCAN, 7, "thing"), described(SCAN, 7, "dog", 1), described("scene0999_00", 1, "sofa")]
    write_json(data / "ScanRefer_filtered_val.json", rows)
    return data, boxes


def judged(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert harness.main([os.fspath(one) if isinstance(one, Path) else str(one) for one in arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])["results"]


def test_an_object_that_is_seen_is_scored_in_the_data_sets_own_frame(
    scan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, boxes = scan
    monkeypatch.setattr(published, "reasoner_of", lambda config, model: lambda replay: Seer(boxes))
    results = judged(capsys, "--dataset", "scanrefer", "--data", data, "--model", tmp_path, "--out", tmp_path / "out")
    rows = results["scores"]["rows"]
    overall = rows["overall"]
    assert overall["n"] == 2
    assert overall["acc_25"] == 0.5  # the thing is found, of the dog it says that it is not there
    assert results["not_on_disk"] == {"scenes": 1, "cases": 1}
    assert results["dataset"]["asked"] == 2
    assert results["failed"] == {}
    lines = [json.loads(line) for line in next((tmp_path / "out").glob("*/questions.jsonl")).read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "not_found"]


def test_a_scan_that_breaks_off_fails_its_questions_and_ends_nothing(
    scan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, boxes = scan
    cut = tmp_path / "data"
    (cut / "scans").mkdir(parents=True)
    (cut / "scans" / SCAN).mkdir()
    for file in (data / "scans" / SCAN).iterdir():
        whole = file.read_bytes()
        (cut / "scans" / SCAN / file.name).write_bytes(whole[: len(whole) // 2] if file.suffix == ".sens" else whole)
    write_json(cut / "ScanRefer_filtered_val.json", [described(SCAN, 7, "thing")])
    monkeypatch.setattr(published, "reasoner_of", lambda config, model: lambda replay: Seer(boxes))
    results = judged(capsys, "--dataset", "scanrefer", "--data", cut, "--model", tmp_path, "--out", tmp_path / "out")
    assert list(results["failed"]) == [SCAN]
    assert "BadRecording" in results["failed"][SCAN]
    assert results["scores"]["rows"]["overall"]["acc_25"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "scanrefer"], "needs --model"),
        (["--dataset", "scanrefer", "--model", "m"], "needs --data"),
        (["--dataset", "scanrefer", "--model", "m", "--data", "d", "--oracle", "box"], "which only rooms have"),
        (["--every", "2"], "does nothing without --dataset"),
        (["--rooms", "0"], "must be 1 or more"),
        (["--oracle", "truth"], "no oracle 'truth'"),
        (["--reasoner", "guess", "--model", "m"], "asks no model"),
    ],
)
def test_options_that_contradict_each_other_are_told(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness.main([*arguments, "--out", os.fspath(tmp_path), "--cache", os.fspath(tmp_path)]) == 2
    assert words in capsys.readouterr().err
