"""Comparing an exported model with its checkpoint: what is right passes, and each kind of wrong is seen."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scene_r1_engines.errors import BadInput, BadModelFile
from scene_r1_engines.manifest import MANIFEST, manifest_to_toml, read_manifest
from scene_r1_export import cli
from scene_r1_export.fixtures import make_fixture
from scene_r1_export.verify import exported as exported_module
from scene_r1_export.verify import verify
from scene_r1_export.verify.cases import SIZES, Case, built_in_cases, cases_from, made_picture
from scene_r1_export.verify.report import EXACT, CaseReport, Report

verify_module = import_module("scene_r1_export.verify.verify")


@pytest.fixture
def few_cases(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Two small pictures, keyframes and one video: enough to see a difference, in a second."""
    cases = [
        case for case in built_in_cases(True) if case.name in ("100x150", "97x411", "keyframes", "video every 4 s")
    ]
    monkeypatch.setattr(verify_module, "built_in_cases", lambda video: [c for c in cases if video or not c.video])
    return cases


def test_an_f32_export_is_its_checkpoint(tiny_model: Path, tiny_checkpoint: Path) -> None:
    said: list[int] = []
    report = verify(tiny_model, tiny_checkpoint, advance=lambda: said.append(1))
    assert report.faults() == []
    result = report.to_json()
    assert result["ok"] is True
    assert 0.0 < result["max_logit_diff"] <= EXACT
    assert 0.0 < result["video_max_logit_diff"] <= EXACT
    assert result["max_box_error_px"] <= 0.5
    assert result["streamed_max_logit_diff"] == 0.0
    assert result["same_greedy"] is True
    assert len(said) == len(report.cases) >= 6


def test_most_built_in_pictures_are_no_multiple_of_a_patch() -> None:
    assert len(SIZES) >= 6
    assert sum(height % 28 != 0 or width % 28 != 0 for height, width in SIZES) > len(SIZES) / 2


def test_letterboxed_pictures_are_found_out(
    tiny_model: Path, tiny_checkpoint: Path, few_cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    def letterboxed(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
        inner = cv2.resize(image, (int(image.shape[1] * scale), int(image.shape[0] * scale)))
        padded = np.zeros((*size, 3), np.uint8)
        padded[: inner.shape[0], : inner.shape[1]] = inner
        return padded

    monkeypatch.setattr(exported_module, "resized", letterboxed)
    faults = verify(tiny_model, tiny_checkpoint).faults()
    assert any("97x411: logits differ" in fault for fault in faults)


def test_boxes_read_in_the_wrong_space_are_found_out(
    tiny_model: Path, tiny_checkpoint: Path, few_cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "to_original", lambda box, seen, original: box)
    assert any("boxes are off" in fault for fault in verify(tiny_model, tiny_checkpoint).faults())


def test_another_checkpoint_is_found_out(
    tiny_model: Path, tiny_checkpoint: Path, few_cases: list[Case], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    weights = load_file(other / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.mlp.down_proj.weight"))
    weights[name] = weights[name] + 0.05 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    report = verify(tiny_model, other)
    assert not report.to_json()["ok"]
    assert report.to_json()["max_logit_diff"] > 10 * EXACT


def test_another_system_prompt_is_seen_in_the_tokens(
    tiny_model: Path, tiny_checkpoint: Path, few_cases: list[Case], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    manifest = read_manifest(folder)
    said = replace(manifest, time=replace(manifest.time, text="<|im_end|>{seconds:.1f}: "))
    (folder / MANIFEST).write_text(manifest_to_toml(said))
    faults = verify(folder, tiny_checkpoint).faults()
    assert "keyframes: the prompt is tokenised differently" in faults  # our words never become control tokens


def test_without_a_checkpoint_the_files_and_the_streaming_are_checked(tiny_model: Path, few_cases: list[Case]) -> None:
    report = verify(tiny_model)
    assert report.faults() == []
    result = report.to_json()
    assert (result["reference"], result["max_logit_diff"], result["cases"]) == (False, None, [])
    assert result["streamed_max_logit_diff"] == 0.0


def test_given_pictures_take_the_place_of_the_built_in_ones(
    tiny_model: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mug.png"
    cv2.imwrite(str(path), made_picture(75, 133, 3))
    code = cli.main(["verify", str(tiny_model), "--reference", str(tiny_checkpoint), "--images", str(path), "--json"])
    assert code == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [case["name"] for case in result["cases"]] == ["mug.png"]
    assert result["video_max_logit_diff"] is None
    assert result["streamed_max_logit_diff"] is None  # one picture is no stream
    assert [case.name for case in cases_from([path, path])] == ["mug.png", "mug.png", "keyframes"]


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.png"
    path.write_text("no picture")
    with pytest.raises(BadInput, match=r"words\.png: is missing or no picture"):
        cases_from([path])


def test_a_checkpoint_that_is_none_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="transformers cannot load it"):
        verify(tiny_model, tmp_path)


def test_a_damaged_model_folder_is_refused_before_anything_is_compared(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    text = folder / read_manifest(folder).text.file
    data = bytearray(text.read_bytes())
    data[-100] ^= 1
    text.write_bytes(data)
    assert cli.main(["verify", str(folder)]) == 2
    assert "sha256" in capsys.readouterr().err


def test_a_lossy_type_is_reported_and_not_judged_by_its_logits() -> None:
    case = CaseReport("a", False, 3.0, True, 2, 0.0)
    assert Report("m", "Q4_K_M", "F16", True, (case,), 0.0).faults() == []
    assert Report("m", "F16", "Q8_0", True, (case,), 0.0).faults() == []
    assert len(Report("m", "F32", "F32", True, (case,), 0.0).faults()) == 2
    assert len(Report("m", "F32", "F16", True, (case,), 0.0).faults()) == 1


def test_a_nan_anywhere_is_a_fault() -> None:
    nan = float("nan")
    report = Report("m", "F32", "F32", True, (CaseReport("a", False, nan, True, None, nan),), nan)
    assert len(report.faults()) == 3
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["max_logit_diff"] is None


def test_made_pictures_are_the_same_for_the_same_seed_and_not_flat() -> None:
    first, again, other = made_picture(50, 60, 1), made_picture(50, 60, 1), made_picture(50, 60, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 20


def test_the_third_generation_is_its_checkpoint_too(few_cases: list[Case], tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "model"
    make_fixture("qwen3_vl", checkpoint)
    checkout = os.environ.get("SCENE_R1_LLAMA_CPP")
    given = ["--llama-cpp", checkout] if checkout else []
    assert cli.main(["vlm", str(checkpoint), "--out", str(folder), *given]) == 0
    report = verify(folder, checkpoint)
    assert report.faults() == []
    assert len(report.cases) == 3
    assert report.to_json()["video_max_logit_diff"] is None  # it is told the time in words
