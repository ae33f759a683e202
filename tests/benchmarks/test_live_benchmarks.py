"""The benchmarks of a running session: what they hand over, and that their figures are what they say."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from benchmarks.soak.__main__ import Sample, growth
from benchmarks.soak.__main__ import main as soak
from benchmarks.stream.__main__ import main as stream
from benchmarks.stream.laps import laps
from benchmarks.stream.watch import Seen
from tests.runtime.block_walk import FRAMES, record

from scene_r1.session import Counters
from scene_r1_engines.errors import BadInput


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "walk"
    record(path)
    return path


def last_line(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])["results"]


def test_laps_are_one_stream_whose_indices_and_times_grow(walk: Path) -> None:
    with laps(walk, 200.0) as source:
        seen = []
        for frame in source.frames():
            seen.append((frame.index, frame.timestamp_ns))
            if len(seen) == 2 * FRAMES:
                source.stop()
        assert source.laps >= 1
        dropped = source.counters["dropped"]
    assert len(seen) == 2 * FRAMES
    assert seen == sorted(set(seen))
    assert seen[-1][0] - len(seen) + 1 <= dropped


def test_growth_is_between_the_maxima_of_the_last_two_thirds() -> None:
    rss = [900, 900, 900, 10, 12, 11, 13, 9, 9]
    samples = [Sample(float(i), value * 1_000_000, 5_000_000, 7, 3) for i, value in enumerate(rss)]
    assert growth(samples, "rss") == pytest.approx(1.0)
    assert growth(samples, "tree") == 0.0
    with pytest.raises(BadInput, match="too few"):
        growth(samples[:8], "rss")


def test_shares_by_stage_add_up_to_the_threads_own() -> None:
    counted = Counters(cpu_ms={"track": 100.0, "select": 300.0}, source={"dropped": 4})
    seen = Seen([1.0, 2.0, 3.0], [False, True, True], thread_s=0.5, wall_s=2.0, counters=counted)
    assert seen.stages() == pytest.approx({"read": 0.05, "track": 0.05, "select": 0.15})
    assert seen.dropped == 4
    assert seen.ages(True).max_ms == 3.0
    assert seen.ages(False).n == 1


def test_stream_and_soak_hand_over_every_key(walk: Path, tmp_path: Path, capsys) -> None:
    common = ["--data", str(walk), "--out", str(tmp_path / "out"), "--threads", "1"]
    threads = threading.active_count()
    assert stream([*common, "--seconds", "1.5"]) == 0
    found = last_line(capsys)
    assert {"frame_age_p50_ms", "frame_age_p99_ms", "frame_age_p99_ms_asking", "dropped", "ingest_core_share"} <= (
        found.keys()
    )
    assert found["frame_age_p99_ms"]["status"] == "not measured"  # too few frames for a p99
    assert found["idle"]["frames"] > 0
    assert found["idle"]["questions"] == {}
    assert soak([*common, "--minutes", "0.1"]) == 0
    found = last_line(capsys)
    keys = {"rss_growth_mb", "frames", "dropped", "fds_start", "fds_end", "threads_start", "threads_end"}
    assert keys <= found.keys()
    assert found["frames"] > 0
    assert threading.active_count() <= threads + 1  # a question that was cancelled may be on its way out
