"""`scene-r1 locate --segmenter FOLDER`: a SAM2 folder in the place of the stand-in. Its weights are random, so what is
shown is the path, and that the 3D side holds against masks that are of anything."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.block_walk import BLOCK, frames, record
from tests.runtime.scripted_reasoner import ScriptedReasoner

from scene_r1.box import iou
from scene_r1.cli import main
from scene_r1.config import SegmenterConfig, config_from, load_config, with_options
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import Grounder
from scene_r1.lift import Lifter
from scene_r1.locate import locate
from scene_r1.registration import view_of
from scene_r1.reproject import reproject
from scene_r1_engines.depth_cut import DepthCut
from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed, MissingExtra
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.nano import model_folder
from scene_r1_engines.sam2.backend import backends_here
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.manifest import PARTS
from scene_r1_engines.segmenter import ModelSettings, open_segmenter
from scene_r1_engines.tensorrt_module.sidecar import engine_file
from scene_r1_engines.view import Masks, Prompt

FRAMES = 4


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float, ...]]]:
    path = tmp_path_factory.mktemp("sam2") / "walk"
    return path, record(path, FRAMES)


def asked(recording: Path, frame: int, xyxy: tuple[float, ...], segmenter: Path | str, *more: str) -> list[str]:
    box = [f"{v:g}" for v in xyxy]
    return ["locate", str(recording), "--frame", str(frame), "--xyxy", *box, "--segmenter", str(segmenter), *more]


def test_a_folder_takes_the_place_of_the_stand_in(
    walk: tuple[Path, list[tuple[float, ...]]], sam2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, boxes = walk
    out = tmp_path / "out"
    code = main(asked(recording, 1, boxes[1], sam2_folder, "--json", "--out", str(out)))
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, answer["status"]) in ((0, "ok"), (3, "not_found"))
    assert answer["engine"] == {"segmenter": "sam2"}
    assert answer["degraded"] == []
    first, *others = answer["views"]
    assert (first["frame"], first["found_by"]) == (1, "prompt")
    assert first["mask_px"] > 0
    assert {view["found_by"] for view in others} <= {"memory", "hint"}
    settings = load_config(out / "config.toml").segmenter
    assert (settings.name, settings.folder) == ("sam2", str(sam2_folder))


def test_a_settings_file_may_name_the_folder_and_how_it_is_run(
    walk: tuple[Path, list[tuple[float, ...]]], sam2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, boxes = walk
    settings = tmp_path / "edge.toml"
    settings.write_text(
        f'[segmenter]\nname = "sam2"\nfolder = "{sam2_folder}"\nbackend = "cpu"\nthreads = 1\nmax_feature_mb = 8\n'
    )
    arguments = asked(recording, 1, boxes[1], "sam2", "--config", str(settings), "--json")
    assert main(arguments) in (0, 3)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["engine"] == {"segmenter": "sam2"}


def test_each_keyframe_is_encoded_once_for_all_questions_of_a_grounder(sam2_folder: Path) -> None:
    """Keyframes are decoded from JPEG for each question: the same picture, under the same id."""
    walked = list(frames(FRAMES))
    reasoner = ScriptedReasoner(lambda index: (walked[index][1],))
    with Sam2(sam2_folder, threads=1) as segmenter, Grounder(lambda replay: reasoner, segmenter) as grounder:
        for frame, _ in walked:
            grounder.take(frame)
        grounder.end()
        first = grounder.ask("where is the block?")
        encoded = segmenter.features.misses
        again = grounder.ask("where is the red block?")
        assert 2 <= encoded <= len(grounder.memory)
        assert segmenter.features.misses == encoded
    assert first.engine["segmenter"] == "sam2"
    assert first.evidence[0].found_by == "prompt"
    assert [one.found_by for one in again.evidence] == [one.found_by for one in first.evidence]
    assert again.box_3d == first.box_3d


class Recorder(DepthCut):
    """DepthCut, and what it was asked to track."""

    def __init__(self, answer: Callable[[Masks], Masks] = lambda masks: masks) -> None:
        super().__init__()
        self.calls: list[tuple[list[int], dict[int, Prompt], dict[int, Prompt]]] = []
        self._answer = answer

    def track(self, views, prompts, hints={}):  # type: ignore[no-untyped-def]  # noqa: B006
        views = list(views)
        self.calls.append(([view.id for view in views], dict(prompts), dict(hints)))
        for masks in super().track(views, prompts, hints):
            yield self._answer(masks)


def seen_of(frame: RgbdFrame, xyxy: tuple[float, float, float, float]) -> list[int]:
    """Frames of the walk that show enough of what `locate` lifts first, by a way of its own."""
    with DepthCut() as engine:
        alone = locate(frame, xyxy, [], engine, Lifter())
    sightings = {other.index: reproject(alone.xyz, other) for other, _ in frames() if other.index != frame.index}
    return [index for index, seen in sightings.items() if seen is not None and seen.visible >= 0.25]


def test_the_views_are_tracked_in_one_go_from_the_one_asked_about_outwards() -> None:
    walked = list(frames())
    frame, xyxy = walked[5]
    with Recorder() as segmenter:
        locate(frame, xyxy, [one for one, _ in reversed(walked)], segmenter, Lifter())
    ((order, prompts, hints),) = segmenter.calls
    assert order[0] == 5
    assert {index: prompt.xyxy for index, prompt in prompts.items()} == {5: xyxy}
    assert sorted(order[1:]) == sorted(hints) == sorted(seen_of(frame, xyxy))
    assert all(hint.mask is not None and hint.xyxy is not None for hint in hints.values())
    away = [abs(index - 5) for index in order]  # the walk goes evenly around the block, one frame after the other
    assert away == sorted(away)


def test_a_stand_in_without_memory_gives_what_each_view_gives_by_its_hint() -> None:
    """As it was before engines had a memory: each keyframe by itself, by the object's points in it."""
    walked = list(frames())
    frame, xyxy = walked[5]
    with DepthCut() as segmenter:
        answer = locate(frame, xyxy, [one for one, _ in walked], segmenter, Lifter())
    with Recorder() as recorder:
        locate(frame, xyxy, [one for one, _ in walked], recorder, Lifter())
        ((_, _, hints),) = recorder.calls
    assert answer.box_3d is not None
    assert iou(answer.box_3d, BLOCK.box) > 0.7
    assert [view.found_by for view in answer.evidence] == ["prompt"] + ["hint"] * (len(answer.evidence) - 1)
    assert len(answer.evidence) > 2
    with DepthCut() as segmenter:
        for view in answer.evidence[1:]:
            alone = segmenter.segment(view_of(walked[view.frame][0]), [hints[view.frame]])
            assert np.array_equal(alone.masks[0], view.mask)
            assert float(alone.scores[0]) == view.score


def test_what_memory_took_for_the_thing_elsewhere_is_sought_again_where_it_should_be() -> None:
    def elsewhere(masks: Masks) -> Masks:
        if masks.found_by[0] != "hint":
            return masks
        wrong = np.zeros_like(masks.masks)
        wrong[:, :12, :12] = True
        return Masks(masks.view_id, wrong, masks.scores, ("memory",))

    walked = list(frames())
    frame, xyxy = walked[5]
    keyframes = [one for one, _ in walked]
    with DepthCut() as plain, Recorder(elsewhere) as misled:
        right = locate(frame, xyxy, keyframes, plain, Lifter())
        found = locate(frame, xyxy, keyframes, misled, Lifter())
    assert found.box_3d == right.box_3d
    assert [view.found_by for view in found.evidence] == [view.found_by for view in right.evidence]
    for one, other in zip(found.evidence, right.evidence, strict=True):
        assert np.array_equal(one.mask, other.mask)


def bad_folder(kind: str, folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "model"
    if kind == "missing":
        return out
    if kind == "file":
        out.write_text("", encoding="utf-8")
        return out
    if kind == "empty":
        out.mkdir()
        return out
    if kind == "language model":
        return Path(model_folder(None))
    out.mkdir()
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    edit = {"other family": ('family = "sam2"', 'family = "sam3"'), "damaged": ("opset = 17", "opset = [")}
    old, new = edit.get(kind, ("", ""))
    assert old in text
    (out / MANIFEST).write_text(text.replace(old, new, 1), encoding="utf-8")
    return out


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "model: is no folder: name a folder that `scene-r1-export sam2` wrote"),
        ("file", "model: is no folder"),
        ("empty", "model: has no manifest.toml"),
        ("language model", "which is asked and no segmenter: give it as --model"),
        ("graphs lacking", "image_encoder.onnx"),
        ("other family", "family must be sam2, got 'sam3'"),
        ("damaged", "manifest.toml: is not TOML"),
    ],
)
def test_a_folder_that_is_no_segmenter_is_one_line_that_names_it(
    kind: str,
    reason: str,
    walk: tuple[Path, list[tuple[float, ...]]],
    sam2_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recording, boxes = walk
    folder = bad_folder(kind, sam2_folder, tmp_path)
    out = tmp_path / "out"
    assert main(asked(recording, 1, boxes[1], folder, "--out", str(out))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("scene-r1 locate: ")
    assert str(folder) in line
    assert reason in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"name": "sam2"}, "the segmenter sam2 needs the folder of its model"),
        ({"folder": "models/x"}, "folder does nothing with the segmenter depth_cut"),
        ({"name": "sam2", "folder": "x", "backend": "cudo"}, "there is no backend 'cudo'; did you mean cuda?"),
        ({"name": "sam2", "folder": "x", "max_feature_mb": 0}, "max_feature_mb must be in 1.."),
        ({"name": "sam2", "folder": "x", "threads": 0}, "threads must be in 1..1024, got 0"),
    ],
)
def test_settings_that_no_segmenter_can_have_are_refused(table: dict[str, object], says: str) -> None:
    with pytest.raises(BadConfig, match=r"^here: segmenter: ") as refused:
        config_from({"segmenter": table}, "here")
    assert says in str(refused.value)


def test_a_command_line_names_an_engine_or_a_folder_and_leaves_how_it_is_run(tmp_path: Path) -> None:
    config = config_from({"segmenter": {"name": "sam2", "folder": "a/b", "backend": "cpu", "threads": 3}}, "here")
    assert with_options(config, segmenter="c/d").segmenter == SegmenterConfig("sam2", "c/d", "cpu", threads=3)
    assert with_options(config, segmenter="sam2").segmenter == config.segmenter
    assert with_options(config, segmenter="depth_cut").segmenter == SegmenterConfig(backend="cpu", threads=3)
    assert with_options(config, segmenter=str(tmp_path)).segmenter.folder == str(tmp_path)
    with pytest.raises(BadConfig, match="there is no segmenter 'sam9'; did you mean sam2"):
        with_options(config, segmenter="sam9")
    with pytest.raises(BadConfig, match="sam2 needs the folder"):
        open_segmenter("sam2")


def test_auto_begins_with_tensorrt_only_where_all_its_engines_and_its_package_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scene_r1_engines.sam2.backend.find_spec", lambda name: object())
    for part in PARTS:
        assert "tensorrt" not in backends_here(tmp_path)
        (tmp_path / engine_file(part)).touch()
    assert backends_here(tmp_path)[0] == "tensorrt"
    assert backends_here(tmp_path)[-1] == "cpu"
    monkeypatch.setattr("scene_r1_engines.sam2.backend.find_spec", lambda name: None)
    assert "tensorrt" not in backends_here(tmp_path)


def test_auto_goes_on_to_the_next_backend_and_says_why_and_a_named_one_is_not_left(
    sam2_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scene_r1_engines.sam2.backend.backends_here", lambda folder: ["tensorrt", "cpu"])
    view = view_of(next(iter(frames(1)))[0])
    auto = ModelSettings(threads=1)
    with caplog.at_level(logging.WARNING), open_segmenter(str(sam2_folder), auto) as segmenter:
        assert segmenter.segment(view, [Prompt(xyxy=(10.0, 10.0, 90.0, 90.0))]).masks.any()
    assert f"{sam2_folder} is not run by tensorrt: " in caplog.text
    with pytest.raises((MissingExtra, EngineFailed, BadModelFile)):  # as far as TensorRT is here: there are no engines
        open_segmenter(str(sam2_folder), ModelSettings(backend="tensorrt"))
