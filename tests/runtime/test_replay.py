"""A live session, recorded and played again: the same keyframes, the same answers, and what differs is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.live_recordings import SOON_S, hand_over, info_of, written
from tests.runtime.recorded_frames import make_frames
from tests.runtime.walked_room import CAMERA, depth_of_a_room, random_walk

pytest.importorskip("rosbags")

from scene_r1 import pose
from scene_r1.cli import main
from scene_r1.config import Config, KeyframesConfig, config_to_toml
from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.reasoner_config import LimitsConfig, ReasonerConfig
from scene_r1.recorder import Recorder, keyframe_fields
from scene_r1.recorder.asked_again import AskedAgain, alike
from scene_r1.recorder.recording import LiveRecording
from scene_r1.recorder.replay import settings_of
from scene_r1.recorder.replayed_map import RecordedTracker
from scene_r1.session.scene_map import SceneMap
from scene_r1.sources import open_source

CONFIG = Config(
    keyframes=KeyframesConfig(k=4),
    reasoner=ReasonerConfig(isolation="inline", threads=1, image_pixels=12544),
    limits=LimitsConfig(max_tokens=32, think_tokens=0),
)
QUESTION = "where is the pillar?"
Change = Callable[[str, dict[str, Any]], dict[str, Any]]


def walked(count: int = 60) -> list[RgbdFrame]:
    """A walk with noisy depth, and pictures of which some are blurred: the selector minds how sharp they are."""
    rng = np.random.default_rng(5)
    frames = []
    for index, T in enumerate(random_walk(3, count)):
        noisy = depth_of_a_room(T) * (1.0 + 0.004 * rng.normal(size=(CAMERA.height, CAMERA.width)))
        picture = rng.integers(0, 256, (CAMERA.height // 4, CAMERA.width // 4, 3), dtype=np.uint8)
        picture = cv2.resize(picture, (CAMERA.width, CAMERA.height), interpolation=cv2.INTER_LINEAR)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.5 + 2.0 * rng.random()), np.uint8)
        counts = depth_counts(noisy, 0.001)
        frames.append(RgbdFrame(index, index * 33_333_333, picture, CAMERA, counts, 0.001, CAMERA, T_world_camera=T))
    return frames


FRAMES = walked()


def live(
    path: Path,
    asker: AskedAgain | None = None,
    ask_at: int = 40,
    moved_at: int | None = None,
    quality: bool = True,
    changed: Change = lambda kind, fields: fields,
    drop: tuple[int, ...] = (),
) -> tuple[int, ...]:
    """Stream the walk through a session's map and record it as a session does. Returns the keyframes at the end.

    moved_at: the map is corrected before this frame. changed: what is written for an event in its place. drop: frames
    that the recorder did not get.
    """
    tracker = RecordedTracker()
    scene = SceneMap(CONFIG, tracker)
    with Recorder() as recorder:
        recorder.start(path, info_of(FRAMES[0]))

        def event(kind: str, fields: Mapping[str, Any]) -> None:
            recorder.event(kind, changed(kind, dict(fields)))

        def settled() -> Any:
            decision, now = scene.settled()
            decided(decision)
            return now

        def decided(decision: Any) -> None:
            if decision.inserted is not None or decision.evicted is not None:
                event("keyframe", keyframe_fields(decision))

        event("settings", {"toml": config_to_toml(CONFIG), "model": "" if asker is None else asker.name})
        for frame in FRAMES:
            if frame.index == moved_at:
                shift = pose.from_quaternion((0.5, 0.03, 0.02), (0.0, 0.1, 0.0, np.sqrt(0.99)))
                poses = {one.index: shift @ one.T_world_camera for one in scene.keyframes}
                event("moved", {"poses": {str(index): T.ravel().tolist() for index, T in poses.items()}})
                tracker.move(poses)
            taken = scene.take(frame)
            if frame.index not in drop:
                hand_over(recorder, taken.frame, taken.decision.quality if quality else None)
            decided(taken.decision)
            if asker is not None and frame.index == ask_at:
                event("question", {"id": 1, "question": QUESTION, "task": "find"})
                answer = asker.ask(QUESTION, "find", settled())
                event("answer", {"id": 1, "answer": answer.to_json()})
        settled()
        assert recorder.close(SOON_S).failed is None
    return tuple(keyframe.index for keyframe in scene.keyframes)


def replayed(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["replay", str(path), "--json", *options])
    said = capsys.readouterr()
    assert code in (0, 1), said.err
    return code, json.loads(said.out.splitlines()[-1])


@pytest.fixture(scope="module")
def asked(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recording with one question, and the model it was put to."""
    path = tmp_path_factory.mktemp("asked") / "walk.mcap"
    with AskedAgain(CONFIG, str(tiny_model)) as asker:
        live(path, asker)
    return path, tiny_model


def test_a_replay_keeps_the_keyframes_that_were_kept_live(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = live(tmp_path / "walk.mcap")
    code, found = replayed(tmp_path / "walk.mcap", capsys)
    assert (code, found["same"], found["first_difference"]) == (0, True, None)
    assert tuple(found["keyframes"]) == kept
    assert found["changes_recorded"] == found["changes_replayed"] > 6
    assert found["notes"] == []


def test_a_replay_gives_the_same_answers(asked: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path, model = asked
    code, found = replayed(path, capsys, "--model", str(model))
    assert (code, found["questions"]) == (0, 1)
    assert [(one["question"], one["same"]) for one in found["compared"]] == [(QUESTION, True)]


def test_questions_are_not_put_to_another_model_than_was_asked(
    asked: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = replayed(asked[0], capsys)
    assert (code, found["questions"], found["compared"]) == (0, 1, [])
    assert "--model" in found["unasked"]
    assert replayed(asked[0], capsys, "--no-questions")[1]["unasked"] == "--no-questions"


def test_an_answer_that_differs_is_named_by_its_field(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "answer": {**fields["answer"], "answer": "a cat"}} if kind == "answer" else fields

    with AskedAgain(CONFIG, str(tiny_model)) as asker:
        live(tmp_path / "walk.mcap", asker, changed=other)
    code, found = replayed(tmp_path / "walk.mcap", capsys, "--model", str(tiny_model))
    (one,) = found["compared"]
    assert (code, one["same"]) == (1, False)
    assert one["differences"][0].startswith("answer was 'a cat'")


def test_a_keyframe_that_differs_is_said_with_its_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def other(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "inserted": 1} if kind == "keyframe" and fields["inserted"] == 0 else fields

    live(tmp_path / "walk.mcap", changed=other)
    code, found = replayed(tmp_path / "walk.mcap", capsys)
    assert (code, found["same"]) == (1, False)
    assert found["first_difference"].startswith("change 0: recorded frame 1 in, none out, at frame 0; replayed frame 0")


def test_a_map_that_was_corrected_is_corrected_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = live(tmp_path / "walk.mcap", moved_at=30)
    code, found = replayed(tmp_path / "walk.mcap", capsys)
    assert (code, tuple(found["keyframes"])) == (0, kept)
    unmoved = live(tmp_path / "unmoved.mcap")
    assert kept != unmoved  # so the correction counted


def test_frames_that_were_not_recorded_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live(tmp_path / "walk.mcap", quality=False)
    _, found = replayed(tmp_path / "walk.mcap", capsys)
    assert any("judged by their JPEG" in note for note in found["notes"])


def test_what_no_session_recorded_is_no_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.runtime.ros_writer import recorded

    bag = recorded(tmp_path / "bag", make_frames(3))
    assert main(["replay", str(bag)]) == 2
    assert "no recording of `scene-r1 live" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "missing.mcap")]) == 2
    assert "missing.mcap" in capsys.readouterr().err


def test_without_settings_the_defaults_are_used_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "walk.mcap", FRAMES[:3])
    _, found = replayed(tmp_path / "walk.mcap", capsys)
    assert found["frames"] == 3
    assert any("defaults" in note for note in found["notes"])


@pytest.mark.parametrize("toml", ["keyframes = 3", "a" * 1001 + " = 1", "= =", "[keyframes]\nk = 0"])
def test_settings_that_are_none_are_a_fault_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str
) -> None:
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        recorder.event("settings", {"toml": toml, "model": ""})
        hand_over(recorder, FRAMES[0])
    assert main(["replay", str(tmp_path / "walk.mcap")]) == 2
    assert "its settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("toml", "withheld"),
    [
        ('[reasoner]\nname = "openai"\n[reasoner.server]\nurl = "http://elsewhere/v1"\nmodel = "x"\n', "a server"),
        ('[segmenter]\nname = "sam2"\nfolder = "/somebody/elses"\n', "a segmenter's folder"),
    ],
)
def test_a_recording_chooses_no_server_and_no_folder_for_whoever_replays_it(
    toml: str, withheld: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        recorder.event("settings", {"toml": toml, "model": "x"})
        hand_over(recorder, FRAMES[0])
        recorder.event("question", {"id": 1, "question": QUESTION, "task": "find"})
    with open_source(tmp_path / "walk.mcap") as recording:
        assert isinstance(recording, LiveRecording)
        recorded = settings_of(recording)
    assert recorded is not None
    assert recorded.withheld == withheld
    assert recorded.config.reasoner == Config().reasoner
    assert recorded.config.segmenter == Config().segmenter
    _, found = replayed(tmp_path / "walk.mcap", capsys)
    assert found["questions"] == 1
    assert withheld in found["unasked"]
    assert not found["compared"]


def test_neither_a_cache_nor_unverified_files_come_with_a_recording(tmp_path: Path) -> None:
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        recorder.event("settings", {"toml": '[reasoner]\ncache = "/tmp"\nverify_files = false\n', "model": ""})
        hand_over(recorder, FRAMES[0])
    with open_source(tmp_path / "walk.mcap") as recording:
        assert isinstance(recording, LiveRecording)
        recorded = settings_of(recording)
    assert recorded is not None
    assert recorded.config == Config()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(values, values)
def test_alike_is_equality_but_for_the_last_digits(a: Any, b: Any) -> None:
    assert alike(a, a)
    assert alike(a, json.loads(json.dumps(a)))
    assert alike(a, b) == alike(b, a)
    if a == b and not _has_bool(a) and not _has_bool(b):
        assert alike(a, b)


def test_the_memory_of_a_replay_holds_the_very_pictures_of_the_live_one(tmp_path: Path) -> None:
    from scene_r1.recorder.recording import LiveRecording, RecordedFrame
    from scene_r1.recorder.replayed_map import replayed_map

    tracker = RecordedTracker()
    scene = SceneMap(CONFIG, tracker)
    with Recorder() as recorder:
        recorder.start(tmp_path / "walk.mcap", info_of(FRAMES[0]))
        for frame in FRAMES[:20]:
            taken = scene.take(frame)
            hand_over(recorder, taken.frame, taken.decision.quality)
    with LiveRecording(tmp_path / "walk.mcap") as source:
        again = replayed_map(CONFIG, source.card.jpeg_quality, RecordedTracker())
        for item in source.items():
            assert isinstance(item, RecordedFrame)
            again.take(replace(item))
    assert len(scene.keyframes) == len(again.keyframes) == 4
    for one, other in zip(scene.keyframes, again.keyframes, strict=True):
        assert (one.index, one.color, one.depth) == (other.index, other.color, other.depth)


def _has_bool(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_bool, value.values()))
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_has_bool, value)))
