"""The SAM2 benchmark: both sides compute the same, and what is divided by what."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.report import NOT_MEASURED
from benchmarks.sam2 import __main__ as sam2
from benchmarks.sam2.apart import apart
from benchmarks.sam2.film import read_film
from benchmarks.sam2.filming import EVERY, recorded_room, write_film
from benchmarks.sam2.models import CONFIG
from benchmarks.sam2.race import clocked, race
from benchmarks.sam2.video import iou, side_by_side
from numpy.typing import NDArray

from scene_r1_engines.errors import BadInput, BadModelFile, EngineFailed
from scene_r1_engines.sam2.manifest import read_sam2_manifest

pytest.importorskip("sam2", reason="the SAM2 benchmark runs the original beside ours")
PX = 256


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a synthetic room, long enough for three frames of a film."""
    cache = tmp_path_factory.mktemp("cache")
    return recorded_room(0, cache, 2 * EVERY + 1, tmp_path_factory.mktemp("recording") / "room")


@pytest.fixture(scope="module")
def models(sam2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for --models with the export that other tests use too."""
    folder = tmp_path_factory.mktemp("models")
    (folder / f"{CONFIG}-{PX}-fp32").symlink_to(sam2_folder, target_is_directory=True)
    return folder


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    sam2_folder: Path,
    sam2_checkpoint: Path,
    models: Path,
    room: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = read_sam2_manifest(sam2_folder)
    assert (manifest.name, manifest.input_px, manifest.precision) == (CONFIG, PX, "fp32")
    out = tmp_path / "out"
    arguments = ["--quick", "--data", os.fspath(room), "--checkpoint", os.fspath(sam2_checkpoint)]
    assert sam2.main([*arguments, "--models", os.fspath(models), "--out", os.fspath(out)]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    parts = results["parts"]
    attention = [f"memory_attention {count}" for count in (1, 3, 7)]
    assert list(parts) == ["image_encoder", "mask_decoder", "memory_encoder", *attention]
    for part in parts.values():
        assert part["relative_error"] < 1e-5
        assert part["cpu_vs_torch"] == pytest.approx(np.median(np.divide(part["ours_cpu_s"], part["torch_cpu_s"])))
    assert results["encoder_cpu_vs_torch"] == parts["image_encoder"]["cpu_vs_torch"] > 0.0
    assert results["memory_attention_7_vs_torch"] == parts["memory_attention 7"]["cpu_vs_torch"] > 0.0
    video = results["video"]
    assert list(video) == ["original", "fp32", "fp32, slots 1"]
    assert video["original"]["min_iou"] == video["original"]["cpu_vs_original"] == 1.0
    assert results["video_min_iou_fp32"] == min(video["fp32"]["iou"]) > 0.999
    assert video["fp32, slots 1"]["iou"][:2] == video["fp32"]["iou"][:2]  # one memory is all there is until then
    assert video["fp32, slots 1"]["iou"][2] < video["fp32"]["iou"][2]
    assert results["video_min_iou_int8"]["status"] == results["video_min_iou_fp16"]["status"] == NOT_MEASURED
    assert all(len(one["wall_s"]) == len(one["cpu_s"]) == 2 and min(one["cpu_s"]) > 0.0 for one in video.values())
    assert results["without_torch"]["torch_imported"] is False
    file_bytes = sum(graph.bytes for graph in manifest.graphs.values())
    assert results["without_torch"]["rss_before_bytes"] + file_bytes < results["peak_rss_bytes"] < 2_000_000_000
    assert results["bytes_per_memory_slot"] == 2 * 64 * (PX // 16) ** 2 + 4 * 256
    assert results["feature_misses"] == 3
    assert results["feature_hits"] == 3 * (results["without_torch"]["questions"] - 1)
    assert results["soak"]["frames"] == results["soak"]["encodes"] == 12
    assert results["soak"]["pictures_held"] < 12
    assert results["threads"]["torch"] == results["threads"]["onnxruntime"] == 1
    assert len(list(out.glob("*/result.json"))) == 1
    assert sorted(models.iterdir()) == [models / f"{CONFIG}-{PX}-fp32"]


def test_what_cannot_be_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--quick", "--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path / "out")]
    for wrong in (["--input-px", "300"], ["--frames", "2"], ["--soak-frames", "3"], ["--threads", "0"]):
        assert sam2.main([*out, *wrong]) == 2
    assert sam2.main([*out, "--data", os.fspath(tmp_path / "none")]) == 2
    assert "1024" in capsys.readouterr().err


def test_an_unknown_config_and_a_missing_checkpoint_are_said_before_anything_is_made(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--quick", "--data", os.fspath(room), "--out", os.fspath(tmp_path / "out")]
    assert sam2.main([*out, "--config", "sam2.1_hiera_tt"]) == 2
    assert sam2.main([*out, "--checkpoint", os.fspath(tmp_path / "none.pt")]) == 2
    said = capsys.readouterr().err
    assert "sam2.1_hiera_t?" in said
    assert "--checkpoint" in said
    assert list(tmp_path.iterdir()) == []


def test_exports_of_another_checkpoint_are_not_measured(
    sam2_checkpoint: Path, models: Path, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(sam2_checkpoint.read_bytes()[:1000])
    arguments = ["--quick", "--data", os.fspath(room), "--checkpoint", os.fspath(other), "--models", os.fspath(models)]
    assert sam2.main([*arguments, "--out", os.fspath(tmp_path / "out")]) == BadModelFile.exit_code
    assert "other.pt" in capsys.readouterr().err


def test_a_film_is_the_recordings_own_pictures_and_reads_back_as_it_is(room: Path, tmp_path: Path) -> None:
    film = write_film(room, 3, tmp_path / "film")
    assert [view.id for view in film.views] == [0, 1, 2]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(film.views, read_film(film.folder).views, strict=True))
    height, width = film.views[0].image.shape[:2]
    assert (width, height) == (320, 240)
    assert 0.0 < film.box[0] < film.box[2] < width
    assert 0.0 < film.box[1] < film.box[3] < height
    from scene_r1.sources import open_source

    with open_source(room) as source:
        shown = [frame.color for frame in source.frames()][::EVERY]
    apart_by = [np.abs(view.image.astype(int) - color).mean() for view, color in zip(film.views, shown, strict=False)]
    assert max(apart_by) < 5.0  # as far as JPEG goes


def test_a_recording_that_is_too_short_is_bad_input(room: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fewer --frames"):
        write_film(room, 9, tmp_path / "film")


def test_cpu_time_counts_every_thread_of_the_process() -> None:
    def work() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass

    def elsewhere() -> None:
        one = threading.Thread(target=work)
        one.start()
        one.join()

    assert clocked(elsewhere)[1][1] >= 50_000_000


def test_a_race_calls_everybody_once_a_round_and_discards_the_warm_up() -> None:
    calls: list[str] = []
    run = race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 4, warmup_rounds=2)
    assert all(set(calls[i : i + 2]) == {"a", "b"} for i in range(0, 12, 2))
    assert len(calls) == 12
    assert run.timings["a"].wall_ms.shape == run.timings["b"].cpu_ms.shape == (4,)
    with pytest.raises(BadInput, match="rounds"):
        race({}, 1)
    with pytest.raises(BadInput, match="rounds"):
        race({"a": int}, 0)


def test_everybody_is_asked_for_one_picture_in_turn_and_the_prompted_one_is_not_timed() -> None:
    asked: list[str] = []

    def masks(name: str, wrong: int) -> Iterator[NDArray[np.bool_]]:
        for number in range(4):
            asked.append(name)
            mask = np.zeros((4, 4), np.bool_)
            mask[:2] = True
            if number == wrong:
                mask[1] = False
            yield mask

    found: dict[str, Any] = side_by_side({"a": masks("a", -1), "b": masks("b", 2)}, 0)
    assert all(set(asked[i : i + 2]) == {"a", "b"} for i in range(0, 8, 2))
    assert found["a"].masks.shape == (4, 4, 4)
    assert found["a"].wall_s.shape == found["b"].cpu_s.shape == (3,)
    assert found["b"].ious(found["a"]) == [1.0, 1.0, 0.5, 1.0]
    assert found["b"].as_dict(found["a"])["min_iou"] == 0.5


def test_masks_that_are_both_empty_agree() -> None:
    nothing, something = np.zeros((2, 3), np.bool_), np.ones((2, 3), np.bool_)
    assert iou(nothing, nothing) == iou(something, something) == 1.0
    assert iou(nothing, something) == 0.0


def test_what_breaks_apart_says_why(tmp_path: Path) -> None:
    write_nothing = tmp_path / "film"
    write_nothing.mkdir()
    with pytest.raises(EngineFailed, match="manifest"):
        apart("soak", folder=tmp_path, film=write_nothing, threads=1, frames=12)
