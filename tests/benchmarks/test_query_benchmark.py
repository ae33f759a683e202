"""The query benchmark: the shipped path with its worker, every stage accounted for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from benchmarks.query import __main__ as query
from benchmarks.query.path import Asked, questions, reached, statuses
from benchmarks.report import NOT_MEASURED

pytest.importorskip("llama_cpp", reason="the query benchmark runs the real library")


def test_a_quick_run_ends_with_every_promised_key_and_they_hold_together(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    out = tmp_path / "out"
    arguments = ["--quick", "--model", os.fspath(tiny_model), "--frames", "4", "--think", "4", "--threads", "1"]
    assert query.main([*arguments, "--cache", os.fspath(tmp_path), "--out", os.fspath(out)]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert results["watched"]["frames"] == 4
    assert 1 <= results["watched"]["keyframes"] <= 4
    assert sum(results["statuses"].values()) == results["total"]["n"] == 3
    assert results["total"]["p90_ms"] is None  # three questions say nothing of a tail
    assert results["share_reaching_stage"]["when"] == 1.0
    assert 0.0 < results["stages"]["when"]["mean_ms"] <= results["total"]["mean_ms"]
    assert results["stages"]["when.prefill"]["mean_ms"] < results["stages"]["when"]["mean_ms"]
    assert 0.0 <= results["unattributed_percent"] <= results["unattributed_percent_max"] <= 100.0
    assert results["memory"]["processes_max"] >= 2  # the model's worker is one of them
    assert results["peak_rss_bytes"] > results["memory"]["pss_peak_bytes"] > 0
    assert results["accuracy"]["status"] == NOT_MEASURED
    (cold,) = results["cold_start"]["runs"]
    parts = [cold[part] for part in ("start_ms", "import_ms", "open_ms", "watch_ms", "first_answer_ms")]
    assert min(parts) > 0.0
    assert sum(parts) == pytest.approx(cold["total_ms"])
    rows = [json.loads(line) for line in next(out.glob("*/queries.jsonl")).read_text().splitlines()]
    assert [row["status"] for row in rows].count(rows[0]["status"]) == results["statuses"][rows[0]["status"]]
    assert len(list(out.glob("*/telemetry.csv"))) == 1


def test_no_questions_and_a_missing_recording_are_bad_input(tmp_path: Path) -> None:
    out = ["--cache", os.fspath(tmp_path), "--out", os.fspath(tmp_path / "out")]
    assert query.main([*out, "--questions", "-1"]) == 2
    assert query.main([*out, "--recording", os.fspath(tmp_path / "none")]) == 2


def test_questions_differ_and_are_the_same_for_the_same_seed() -> None:
    asked = questions(64, 3)
    assert len(set(asked)) == 64
    assert asked == questions(64, 3) != questions(64, 4)
    assert len(questions(1000, 0)) == 1000


def test_what_no_stage_accounts_for_is_said() -> None:
    stages = {"when": 60.0, "when.decode": 50.0, "where": 20.0, "total": 80.0}
    one = Asked("a?", "ok", 100.0, stages, 2)
    assert one.unattributed == pytest.approx(0.2)
    failed = Asked("b?", "EngineFailed", 10.0, {}, 0)
    assert reached([one, failed]) == {"when": 0.5, "where": 0.5}
    assert statuses([one, failed, one]) == {"ok": 2, "EngineFailed": 1}
