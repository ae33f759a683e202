"""How times, memory and environments are measured and written down."""

from __future__ import annotations

import csv
import gc
import getpass
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from benchmarks import process_tree
from benchmarks.arguments import argument_parser, real_recording, run
from benchmarks.environment import environment, git_state, installed_versions, plain
from benchmarks.measure import RESOLUTIONS_PER_SAMPLE, Interleaved, Timing, clock_resolution, interleaved
from benchmarks.memory import MemorySampler, flatness, rss_now_bytes, rss_peak_bytes
from benchmarks.percentiles import samples_needed, summarise
from benchmarks.report import NOT_MEASURED, Report, read_result, table_lines
from hypothesis import given
from hypothesis import strategies as st

from scene_r1_engines.errors import BadInput

MIB = 2**20


def test_percentiles_need_as_many_samples_as_mlperf_asks() -> None:
    assert [samples_needed(p) for p in (50, 90, 95, 99)] == [11, 64, 130, 662]


@pytest.mark.parametrize("percentile", [0, 100, -1])
def test_a_percentile_that_is_none_is_refused(percentile: int) -> None:
    with pytest.raises(BadInput, match=r"1\.\.99"):
        samples_needed(percentile)


def test_a_percentile_with_too_few_samples_is_none_and_printed_as_such() -> None:
    few, enough = summarise(np.arange(1.0, 64.0)), summarise(np.arange(1.0, 65.0))
    assert few.p90_ms is None
    assert few.cell(90) == "n/a (n=63)"
    assert enough.p90_ms == 58.0
    assert enough.cell(90) == "58 ms"
    assert enough.p99_ms is None


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(662, 700), decimals=st.integers(0, 9))
def test_each_percentile_is_a_time_that_was_seen_and_bounds_its_share(seed: int, n: int, decimals: int) -> None:
    samples = np.random.default_rng(seed).exponential(3.0, n).round(decimals).tolist()  # few decimals: many ties
    summary = summarise(samples)
    for percentile in (50, 90, 95, 99):
        value = getattr(summary, f"p{percentile}_ms")
        assert value in samples
        assert sum(s <= value for s in samples) >= len(samples) * percentile / 100
        assert sum(s < value for s in samples) < len(samples) * percentile / 100
    assert summary.min_ms == min(samples)
    assert summary.max_ms == max(samples)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_a_summary_of_nothing_or_of_nan_is_refused(samples: list[float]) -> None:
    with pytest.raises(BadInput, match="finite times"):
        summarise(samples)


def test_interleaved_candidates_each_run_once_a_round_in_changing_order() -> None:
    order: list[str] = []

    def candidate(name: str) -> None:
        order.append(name)
        time.sleep(0.0005)  # far above the clocks' resolution: one call a sample

    timed = interleaved({name: lambda name=name: candidate(name) for name in "abc"}, 20, warmup_rounds=2, seed=1)  # type: ignore[misc]
    rounds = ["".join(order[-60:][i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) > 3
    assert timed.rounds == 20
    assert timed.warmup_rounds == 2
    assert all(t.calls_per_sample == 1 and len(t.wall_ms) == len(t.cpu_ms) == 20 for t in timed.timings.values())


def test_sleeping_counts_as_wall_time_and_not_as_cpu_time() -> None:
    timed = interleaved({"sleep": lambda: time.sleep(0.002)}, 11)
    timing = timed.timings["sleep"]
    assert timing.wall_ms.min() >= 2.0
    assert np.median(timing.cpu_ms) < 0.5 * np.median(timing.wall_ms)


def test_calls_shorter_than_the_clock_can_tell_are_batched() -> None:
    timed = interleaved({"nothing": lambda: None}, 12)
    timing = timed.timings["nothing"]
    assert timing.calls_per_sample > 1
    span_ns = float(np.median(timing.wall_ms)) * 1e6 * timing.calls_per_sample
    coarsest_ns = max(timed.resolution.wall_ns, timed.resolution.cpu_ns)
    assert timing.coarse == (span_ns < 0.9 * RESOLUTIONS_PER_SAMPLE * coarsest_ns)


def test_clock_resolutions_are_positive() -> None:
    resolution = clock_resolution(readings=20)
    assert resolution.wall_ns > 0
    assert resolution.cpu_ns > 0


def test_no_round_is_begun_after_the_limit_but_one_is_always_finished() -> None:
    timed = interleaved({"a": lambda: time.sleep(0.001), "b": lambda: None}, 1000, limit_s=0.0)
    assert timed.rounds == 1
    assert timed.stopped_early
    assert len(timed.timings["a"].wall_ms) == 1


def test_what_a_candidate_raises_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        interleaved({"broken": lambda: 1 // 0}, 3)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(BadInput, match="nothing to time"):
        interleaved({}, 3)
    with pytest.raises(BadInput, match="1 or more"):
        interleaved({"a": lambda: None}, 0)


def _timed(**wall_ms: list[float]) -> Interleaved:
    timings = {name: Timing(name, np.array(ms), np.zeros(len(ms)), 1, False) for name, ms in wall_ms.items()}
    return Interleaved(timings, len(next(iter(wall_ms.values()))), 1, 0, False, clock_resolution(5))


def test_a_ratio_compares_within_each_round_so_that_a_slowing_machine_cancels_out() -> None:
    slowing = np.linspace(1.0, 50.0, 21)
    ratio = _timed(slow=list(3.0 * slowing), fast=list(slowing)).ratio("slow", "fast")
    assert ratio.median == pytest.approx(3.0)
    assert ratio.low == pytest.approx(3.0)
    assert ratio.high == pytest.approx(3.0)


def test_the_interval_of_a_ratio_holds_its_median_and_is_not_claimed_from_few_rounds() -> None:
    rng = np.random.default_rng(2)
    many = _timed(a=list(rng.uniform(1, 3, 41)), b=list(rng.uniform(1, 3, 41))).ratio("a", "b")
    assert many.low is not None
    assert many.high is not None
    assert many.low < many.median < many.high
    few = _timed(a=[1.0, 2.0], b=[1.0, 1.0]).ratio("a", "b")
    assert (few.low, few.high) == (None, None)
    assert str(few) == "1.50x (n=2)"


def test_a_ratio_to_an_unknown_name_or_on_a_clock_that_stood_still_is_refused() -> None:
    timed = _timed(a=[1.0], b=[1.0])
    with pytest.raises(BadInput, match="'c' was not timed"):
        timed.ratio("a", "c")
    with pytest.raises(BadInput, match="other clock"):
        timed.ratio("a", "b", "cpu")


def test_the_sampler_sees_memory_come_and_keeps_its_csv(tmp_path: Path) -> None:
    with MemorySampler(tmp_path / "telemetry.csv", rate_hz=50.0) as sampler:
        gc.collect()  # what other tests have left must not go while this one looks
        before = rss_now_bytes()
        held = np.ones(256 * MIB, np.uint8)
        _wait_for(lambda: len(sampler.samples) and sampler.samples[-1].rss_bytes > before + 50 * MIB)
        del held
    summary = sampler.summary()
    assert summary["rss_peak_bytes"] > before + 50 * MIB
    assert summary["vmhwm_peak_bytes"] >= summary["rss_peak_bytes"] / summary["processes_max"] * 0.99
    assert rss_peak_bytes() > before + 50 * MIB
    with (tmp_path / "telemetry.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rss_bytes"]) for row in rows] == [s.rss_bytes for s in sampler.samples]
    if summary["pss_peak_bytes"] is None:
        assert summary["pss_uss_missing_because"]
    else:
        assert summary["uss_peak_bytes"] <= summary["pss_peak_bytes"]
        # read a moment later, while memory comes
        assert summary["pss_peak_bytes"] <= summary["rss_peak_bytes"] + 64 * MIB


CHILD = "import sys; held = bytearray(b'x') * (48 << 20); print('ready', flush=True); sys.stdin.read()"


def test_the_sampler_counts_children_too_and_bears_that_they_end() -> None:
    with MemorySampler(rate_hz=50.0) as sampler:
        with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            own = rss_now_bytes()
            _wait_for(lambda: sampler.samples and sampler.samples[-1].rss_bytes > own + 40 * MIB)
            assert child.stdin is not None
            child.stdin.close()
        seen = len(sampler.samples)
        _wait_for(lambda: len(sampler.samples) > seen + 1)
    assert sampler.summary()["processes_max"] >= 2
    assert sampler.samples[-1].processes < sampler.summary()["processes_max"]


@pytest.mark.parametrize("by_scan", [False, True])
def test_grandchildren_belong_to_the_tree(by_scan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_scan:  # as on a kernel that lists no children
        monkeypatch.setattr(process_tree, "_children_by_task", lambda pid: process_tree._children_by_scan()(pid))
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        tree = process_tree.process_tree(child.pid)
        child.stdin.close()
    assert len(tree) == 2
    assert tree[0] == child.pid


def test_what_was_sampled_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, signal\nfrom benchmarks.memory import MemorySampler\n"
        f"sampler = MemorySampler({os.fspath(tmp_path / 'telemetry.csv')!r}, rate_hz=50.0).__enter__()\n"
        "while len(sampler.samples) < 4: time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, timeout=60)
    assert ended.returncode == -9
    with (tmp_path / "telemetry.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= 3


def test_unreadable_pss_is_none_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_text

    def closed(path: Path, *args: object, **kwargs: object) -> str:
        if path.name == "smaps_rollup":
            raise PermissionError("closed")
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", closed)
    with MemorySampler(rate_hz=50.0) as sampler:
        _wait_for(lambda: len(sampler.samples) > 1)
    summary = sampler.summary()
    assert summary["pss_peak_bytes"] is None
    assert summary["uss_peak_bytes"] is None
    assert "PermissionError" in summary["pss_uss_missing_because"]
    assert summary["rss_peak_bytes"] > 0


def test_gpu_memory_stands_apart_under_the_name_of_its_source() -> None:
    with MemorySampler(rate_hz=50.0, gpu=("a_counter", lambda: 7 * 2**40)) as sampler:
        _wait_for(lambda: len(sampler.samples) > 1)
    summary = sampler.summary()
    assert summary["gpu_peak_bytes"] == 7 * 2**40
    assert summary["gpu_source"] == "a_counter"
    assert summary["rss_peak_bytes"] < 2**40
    assert MemorySampler().summary()["gpu_source"] == "none"


def test_a_gpu_source_that_breaks_is_an_error_and_not_a_silence() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        MemorySampler(rate_hz=50.0, gpu=("broken", lambda: 1 // 0)),
    ):
        time.sleep(0.05)


def test_flatness_of_steady_memory_is_zero_and_of_a_leak_is_its_slope() -> None:
    times = np.arange(0.0, 900.0, 1.0)
    flat = flatness([(t, 2e9) for t in times])
    assert (flat.spread_last_third, flat.spread_middle_third, flat.growth) == (0.0, 0.0, 0.0)
    assert flat.slope_mb_per_h == pytest.approx(0.0, abs=1e-6)
    leak = flatness([(t, 2e9 + 1e6 * t) for t in times])
    assert leak.slope_mb_per_h == pytest.approx(3600.0)
    assert leak.growth == pytest.approx(300e6 / 2.4495e9, rel=1e-3)


def test_what_happens_in_the_first_third_does_not_count_against_flatness() -> None:
    warm = flatness([(float(t), 1e9 if t < 30 else 2e9) for t in range(90)])
    assert warm.spread_middle_third == warm.spread_last_third == 0.0
    assert warm.slope_mb_per_h == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("samples", [[(0.0, 1.0)] * 9, [(float(i), 1.0) for i in range(8)], []])
def test_flatness_of_too_little_or_of_standing_time_is_refused(samples: list[tuple[float, float]]) -> None:
    with pytest.raises(BadInput, match="nine"):
        flatness(samples)


@dataclass(frozen=True)
class Config:
    model: Path
    other: str
    sizes: tuple[int, int]
    rate: float


def test_the_environment_names_the_machine_and_not_its_owner() -> None:
    block = environment(Config(Path("/somewhere/private/model.gguf"), "/home/someone/x.toml", (1, 2), float("nan")))
    text = json.dumps(block, allow_nan=False)
    assert block["config"] == {"model": "model.gguf", "other": "x.toml", "sizes": [1, 2], "rate": None}
    assert block["packages"]["numpy"] == np.__version__
    assert block["cpu_cores_usable"] == len(os.sched_getaffinity(0))
    assert block["memory_total_bytes"] > block["memory_available_bytes_at_start"] > 0
    for secret in ("somewhere", "someone", platform.node(), os.fspath(Path.cwd())):
        assert len(secret) < 3 or secret not in text
    assert len(getpass.getuser()) < 5 or getpass.getuser() not in text


def test_versions_are_asked_for_without_importing() -> None:
    code = "import sys; from benchmarks.environment import environment; environment(); print(*sys.modules)"
    paths = os.pathsep.join(p for p in sys.path if p)
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert out.returncode == 0, out.stderr
    assert not {"numba", "cv2", "scipy", "pyrealsense2"} & set(out.stdout.split())
    assert "numba" in installed_versions()


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)


def test_a_change_makes_the_checkout_dirty(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    sha, dirty = git_state(tmp_path)
    assert sha is not None
    assert len(sha) == 40
    assert dirty is False
    (tmp_path / "new.py").write_text("")
    assert git_state(tmp_path) == (sha, True)


def test_arrays_sets_and_unknown_objects_become_plain() -> None:
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": {2, 1}, "d": object(), "e": float("inf"), 5: True}
    assert plain(value) == {"a": 0.5, "b": [0, 1, 2], "c": [1, 2], "d": "object", "e": None, "5": True}


def test_a_report_is_written_whole_and_its_last_line_is_the_same_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("kernels", tmp_path, config={"quick": True})
    report.card()
    report.add("times", interleaved({"a": lambda: None}, 12).as_dict())
    report.table("Times", ("kernel", "p50"), [("a", "1 ms"), ("b", None)])
    report.not_measured("real_recording", "none was given")
    path = report.finish()
    lines = capsys.readouterr().out.splitlines()
    result = read_result(path)
    assert json.loads(lines[-1]) == result
    assert result["schema_version"] == 1
    assert result["results"]["real_recording"] == {"status": NOT_MEASURED, "because": "none was given"}
    assert result["results"]["times"]["candidates"]["a"]["wall"]["n"] == 12
    assert path.parent.parent == tmp_path
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]
    assert os.fspath(tmp_path) not in "\n".join(lines)
    assert any(NOT_MEASURED in line for line in lines if line.startswith("| b"))


def test_two_reports_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    assert len({Report("a", tmp_path).folder for _ in range(3)}) == 3


def test_a_measurement_is_not_overwritten(tmp_path: Path) -> None:
    report = Report("a", tmp_path)
    report.add("x", 1)
    with pytest.raises(BadInput, match="'x' is in this report already"):
        report.add("x", 2)
    with pytest.raises(BadInput):
        report.not_measured("x", "why")


def test_results_that_cannot_be_written_name_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="another --out"):
        _ = Report("a", tmp_path / "file").folder


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 999}'])
def test_a_broken_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(BadInput, match="run the benchmark again"):
        read_result(tmp_path / "result.json")


def test_tables_are_aligned() -> None:
    lines = table_lines(("what", "ms"), [("a", 1.25), ("longer", None)])
    assert len({len(line) for line in lines}) == 1
    with pytest.raises(BadInput, match="2 cells"):
        table_lines(("what", "ms"), [("a",)])


def test_data_comes_from_the_variable_and_a_wrong_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SCENE_R1_DATA", raising=False)
    assert real_recording(argument_parser("x", "").parse_args([])) is None
    monkeypatch.setenv("SCENE_R1_DATA", os.fspath(tmp_path))
    assert real_recording(argument_parser("x", "").parse_args([])) == tmp_path
    monkeypatch.setenv("SCENE_R1_DATA", os.fspath(tmp_path / "gone"))

    def main(args: object) -> int:
        real_recording(args)  # type: ignore[arg-type]
        return 0

    assert run(main, argument_parser("x", ""), []) == 2
    assert "no such recording" in capsys.readouterr().err


def _wait_for(true: object) -> None:
    end = time.monotonic() + 30.0
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "the sampler has stopped"
        time.sleep(0.01)
