"""The reasoner's benchmark: its figures are those of the engine, and a random model is one that loads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from benchmarks.reasoner import __main__ as reasoner
from benchmarks.reasoner import random_model
from benchmarks.reasoner.cache import CountedDecodes, kv_bytes_per_cell, rebuild_ms, settled, watch_all
from benchmarks.reasoner.questions import QUESTION, asked, limits
from benchmarks.reasoner.race import Asked, pictures, race
from benchmarks.reasoner.random_model import write_random_model
from benchmarks.reasoner.random_shapes import SHAPES, Shape, tensor_bytes, text_tensors, vision_tensors
from benchmarks.report import NOT_MEASURED

from scene_r1_engines.errors import BadConfig, BudgetExceeded, EngineFailed
from scene_r1_engines.gguf_file import read_gguf
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.library import offloads
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.manifest import read_manifest

pytest.importorskip("llama_cpp", reason="the reasoner's benchmark runs the real library")

TINY = Shape(2, 256, 512, 4, 2, 64, 1280, True, 4, 64, 128, 2)


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("random") / "model"
    write_random_model(out, TINY, "random tiny")
    return out


@pytest.fixture(scope="module")
def settled_reasoner(random_folder: Path) -> Iterator[LlamaReasoner]:
    settings = LlamaSettings(str(random_folder), keyframes=4, threads=1, encode_after_s=0.0, encode_every_s=0.0)
    with LlamaReasoner(settings) as opened:
        watch_all(opened, pictures(4, 112, 0))
        settled(opened)
        yield opened


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    out = tmp_path / "out"
    arguments = ["--quick", "--model", os.fspath(tiny_model), "--frames", "4", "--threads", "1"]
    assert reasoner.main([*arguments, "--cache", os.fspath(tmp_path), "--out", os.fspath(out)]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["image_encodes_per_question"] == 0.0
    assert results["stock_image_encodes_per_question"] == 16
    assert results["real_recording"]["status"] == NOT_MEASURED
    for k in (4, 8, 16):
        assert results["race"]["image_encodes"][f"stock k={k}"] == k
        assert results["race"]["image_encodes"][f"ours k={k}"] == 0
        ours, stock = (results["race"]["first_token_ms"][f"{who} k={k}"] for who in ("ours", "stock"))
        assert results[f"ttft_speedup_k{k}"] == pytest.approx(np.median(np.divide(stock, ours)))
        assert 0.0 < results[f"ttft_ms_k{k}"] < results[f"total_ms_k{k}"]
        assert 0.0 < results[f"stock_ttft_ms_k{k}"] < results[f"stock_total_ms_k{k}"]
        assert results[f"total_speedup_k{k}"] > 0.0
    assert results["ttft_k16_vs_k4"] > 0.0
    assert results["kv_bytes_per_keyframe"] == round(results["cells_per_keyframe"] * results["kv_bytes_per_cell"])
    # the state says position and sequence of each cell too
    assert 1.0 < results["kv_state_bytes_per_keyframe"] / results["kv_bytes_per_keyframe"] < 1.2
    assert results["embedding_bytes_per_keyframe"] == (112 // 28) ** 2 * 256 * 4
    assert {"first", "middle", "last", "prefill_all", "anew"} < set(results["rebuild_ms"])
    assert results["rebuild_ms"]["last"]["n"] == results["save_ms"]["n"] == results["restore_ms"]["n"] == 2
    assert results["saved_bytes"] > 16 * results["kv_bytes_per_keyframe"]
    assert results["decode_ms_per_token"] > 0.0
    assert 0.0 < results["decode_python_share"] < 1.0
    stream = results["streams"]["room 0"]
    assert stream["frames"] == 4
    assert stream["encodes"] <= stream["inserted"] <= 4
    assert stream["after_first_k_per_1000_frames"] == 0.0
    assert results["encodes_per_1000_frames"]["room 0"] == pytest.approx(250.0 * stream["encodes"])
    assert results["soak"]["cycles"] == 4 * results["soak"]["questions"] == results["soak"]["encodes"]
    assert -50.0 < results["rss_growth_percent"] < 50.0
    assert len(list(out.glob("*/result.json"))) == 1


def test_a_race_that_cannot_be_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["-k", "2"], ["--image", "100"], ["--real-size", "3b", "--model", "x"]):
        assert reasoner.main(["--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path / "out"), *wrong]) == 2
    assert "multiple of 28" in capsys.readouterr().err


def test_a_race_asks_everybody_once_a_round_and_discards_the_warm_up() -> None:
    calls: list[str] = []

    def runner(name: str, ms: float) -> Any:
        def ask() -> Asked:
            calls.append(name)
            return Asked(ms, 2.0 * ms, 7, 1)

        return ask

    run = race({"fast": runner("fast", 1.0), "slow": runner("slow", 3.0)}, 5, warmup_rounds=2)
    assert calls.count("fast") == calls.count("slow") == 7
    assert all(set(calls[i : i + 2]) == {"fast", "slow"} for i in range(0, 14, 2))
    assert run.first.timings["slow"].wall_ms.shape == (5,)
    assert run.first.ratio("slow", "fast").median == 3.0
    assert run.total.timings["slow"].summary().mean_ms == 6.0


def test_a_question_that_had_to_encode_is_no_time_of_a_settled_reasoner(random_folder: Path) -> None:
    settings = LlamaSettings(str(random_folder), keyframes=4, threads=1)
    with LlamaReasoner(settings) as unsettled:
        watch_all(unsettled, pictures(2, 112, 0))
        with pytest.raises(EngineFailed, match="2 pictures encoded"):
            asked(unsettled, 4)


def test_rebuilding_leaves_the_keyframes_as_they_were(settled_reasoner: LlamaReasoner) -> None:
    shown, before = pictures(4, 112, 0), settled_reasoner.prefix.shown
    said = settled_reasoner.when(QUESTION, limits(4)).text
    times = rebuild_ms(settled_reasoner, shown, 1, 0)
    assert all(summary.n == 1 and summary.min_ms > 0.0 for summary in times.values())
    assert settled_reasoner.prefix.shown == before
    assert settled_reasoner.when(QUESTION, limits(4)).text == said


def test_calls_into_the_library_are_counted_and_then_left_alone(settled_reasoner: LlamaReasoner) -> None:
    with CountedDecodes() as native:
        said = settled_reasoner.when(QUESTION, limits(4))
    # the prompt, then one for each token but the last, and for words that were written for the model
    assert said.effort.generated_tokens <= native.calls <= said.effort.generated_tokens + 8
    counted = native.calls
    settled_reasoner.when(QUESTION, limits(4))
    assert native.calls == counted


def test_a_random_model_has_the_extents_that_were_asked_for(random_folder: Path) -> None:
    manifest = read_manifest(random_folder)
    for file, expected in (
        (manifest.text.file, [(name, kind) for name, kind, _, _ in text_tensors(TINY)]),
        (manifest.mmproj.file, [(name, kind) for name, kind, _ in vision_tensors(TINY)]),
    ):
        tensors = gguf.GGUFReader(random_folder / file).tensors
        assert [(one.name, one.tensor_type.name) for one in tensors] == expected
    text = {one.name: one for one in gguf.GGUFReader(random_folder / manifest.text.file).tensors}
    assert list(text["token_embd.weight"].shape) == [256, 1280]
    for name in ("blk.0.ffn_down.weight", "blk.0.ffn_up.weight", "blk.1.attn_k.weight"):
        weights = gguf.dequantize(text[name].data, text[name].tensor_type)
        assert abs(float(weights.mean())) < 0.002
        assert 0.01 < float(weights.std()) < 0.04
    header = read_gguf(random_folder / manifest.text.file)
    assert header.number("qwen2vl.block_count", 1, 99) == 2
    assert header.text("tokenizer.ggml.pre") == manifest.prompt.pre_tokenizer
    assert sum(tensor_bytes(kind, rows, columns) for _, kind, rows, columns in text_tensors(TINY)) == TINY.text_bytes
    assert 0 <= manifest.text.bytes - TINY.text_bytes < 1 << 20
    assert 0 <= manifest.mmproj.bytes - TINY.mmproj_bytes < 1 << 17


def test_a_random_model_answers(settled_reasoner: LlamaReasoner) -> None:
    assert settled_reasoner.model.n_vocab == 1280
    assert asked(settled_reasoner, 4).generated_tokens >= 4
    # 2 layers, 2 heads of 64, keys and values, 2 bytes a number where no GPU is
    assert kv_bytes_per_cell(settled_reasoner) == 2 * 2 * 64 * 2 * (34 / 32 if offloads() else 2)


def test_the_real_sizes_are_those_of_the_published_models() -> None:
    for name, parameters in (("3b", 3.09e9), ("7b", 7.62e9)):
        shape = SHAPES[name]
        counted = sum(rows * max(1, columns) for _, _, rows, columns in text_tensors(shape))
        assert counted == pytest.approx(parameters, rel=0.005)
    vision = sum(int(np.prod(extents)) for _, _, extents in vision_tensors(SHAPES["3b"]))
    assert vision == pytest.approx(669e6, rel=0.01)


def test_a_shape_that_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig, match="multiple of 256"):
        write_random_model(tmp_path / "a", replace(TINY, feed_forward=500), "odd")
    with pytest.raises(BadConfig, match="vocabulary"):
        write_random_model(tmp_path / "b", replace(TINY, vocabulary=100), "few words")

    class Full:
        free = 1

    monkeypatch.setattr(random_model.shutil, "disk_usage", lambda _: Full)
    with pytest.raises(BudgetExceeded, match="are free"):
        write_random_model(tmp_path / "c", TINY, "no room")
    assert list(tmp_path.iterdir()) == []
