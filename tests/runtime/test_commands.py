"""`scene-r1` keyframes, inspect, convert and warmup from end to end, and how commands end when they must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.block_walk import FRAMES, record

from scene_r1.cli import main
from scene_r1.config import load_config
from scene_r1.files import check_output_folder, make_folder, write_text
from scene_r1.keyframes import KeyframeSelector
from scene_r1.sources import open_source
from scene_r1_engines.errors import OutputExists, SceneR1Error

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would this
from scene_r1.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands") / "walk"
    record(path)
    return path


def last_line(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """The command in a Python of its own that sees what this one sees."""
    paths = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **{"stdout": subprocess.PIPE, **options},
    )


def test_keyframes_says_what_it_kept_and_how_good_that_is(walk: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["keyframes", str(walk), "-k", "4", "--json", "--out", str(out)]) == 0
    found = last_line(capsys)
    assert set(found) >= {
        "coverage",
        "coverage_greedy",
        "coverage_uniform",
        "coverage_raw",
        "min_prefix_ratio",
        "inserted",
        "frames",
        "ms_per_frame",
        "kept",
    }
    assert (found["frames"], found["k"]) == (FRAMES, 4)
    assert len(found["kept"]) <= 4 <= found["inserted"]
    assert set(found["kept"]) <= set(range(FRAMES))
    assert 0.5 < found["coverage"] <= found["coverage_greedy"] * 1.05 <= 1.05
    assert 0.0 < found["min_prefix_ratio"] <= 1.05
    with open_source(walk) as source:
        selector = KeyframeSelector(4)
        for frame in source.frames():
            selector.offer(frame)
    selector.settle()
    assert tuple(found["kept"]) == selector.keyframes
    assert sorted(p.name for p in out.iterdir()) == ["config.toml", "keyframes.json", "keyframes.png"]
    written = json.loads((out / "keyframes.json").read_text(encoding="utf-8"))
    assert written["kept"] == found["kept"]
    assert load_config(out / "config.toml").keyframes.k == 4


@pytest.mark.parametrize(
    ("lacks", "reason"), [("posed", "no frame with a pose"), ("depth", "shows a surface 0.25 to 5 m away")]
)
def test_keyframes_of_a_recording_that_has_nothing_to_select_from_leave_nothing(
    lacks: str, reason: str, tmp_path: Path, capsys
) -> None:
    record(tmp_path / "walk", 2, **{lacks: False})
    assert main(["keyframes", str(tmp_path / "walk"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert reason in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("k", ["0", "-1", "5000"])
def test_keyframes_refuses_a_k_that_cannot_be(walk: Path, k: str, capsys) -> None:
    assert main(["keyframes", str(walk), "-k", k]) == 2
    assert "k must be in 1..1024" in capsys.readouterr().err


def test_inspect_says_in_words_and_in_numbers_what_there_is(walk: Path, capsys) -> None:
    assert main(["inspect", str(walk), "--json"]) == 0
    found = last_line(capsys)
    assert found["frames"] == FRAMES
    assert found["poses"]["share"] == 1.0
    assert found["fault"] is None
    assert main(["inspect", str(walk)]) == 0
    assert f"frames       {FRAMES}," in capsys.readouterr().out


def test_inspect_of_one_frame_does_not_judge_its_pose(tmp_path: Path, capsys) -> None:
    record(tmp_path / "one", 1)
    assert main(["inspect", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert "not known: too few pairs of frames" in said
    assert "agreement" not in said
    assert "inverted" not in said


def test_convert_there_and_back_keeps_every_depth_count(walk: Path, tmp_path: Path, capsys) -> None:
    tum, back = tmp_path / "tum", tmp_path / "back"
    assert main(["convert", str(walk), str(tum), "--format", "tum", "--json"]) == 0
    assert last_line(capsys)["frames"] == FRAMES
    assert main(["convert", str(tum), str(back)]) == 0
    with open_source(walk) as first, open_source(back) as last:
        for a, b in zip(first.frames(), last.frames(), strict=True):
            assert np.allclose(a.depth_m, b.depth_m, rtol=0.0, atol=1e-6)
            assert np.array_equal(a.color, b.color)
    assert main(["convert", str(walk), str(back)]) == 2
    assert "already there" in capsys.readouterr().err


def test_convert_of_a_recording_cut_short_keeps_all_or_nothing_unless_told(tmp_path: Path, capsys) -> None:
    record(tmp_path / "walk", 4)
    depth = tmp_path / "walk" / "frame-000002.depth.png"
    depth.write_bytes(depth.read_bytes()[:2000])
    out = tmp_path / "out"
    assert main(["convert", str(tmp_path / "walk"), str(out)]) == 2
    said = capsys.readouterr().err
    assert "(frame 2): is a PNG cut short inside its IDAT chunk" in said
    assert "--keep-good-prefix" in said
    assert [p.name for p in tmp_path.iterdir()] == ["walk"]
    assert main(["convert", str(tmp_path / "walk"), str(out), "--keep-good-prefix", "--json"]) == 0
    assert last_line(capsys)["frames"] == 2


@pytest.mark.parametrize("command", ["inspect", "keyframes", "convert"])
@pytest.mark.parametrize("what", ["absent", "empty", "text.db3", "void.db3", "text.bag"])
def test_what_is_no_recording_is_one_line(command: str, what: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.db3").write_text("hello\n", encoding="utf-8")
    (tmp_path / "text.bag").write_text("hello\n", encoding="utf-8")
    (tmp_path / "void.db3").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    more = [str(tmp_path / "out")] if command == "convert" else []
    code = main([command, str(tmp_path / what), *more])
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    if "needs the extra 'realsense'" in line:
        pytest.skip(line)
    assert code == 2
    assert line.startswith(f"scene-r1 {command}: {tmp_path / what}: ")
    assert sorted(tmp_path.iterdir()) == before


def test_warmup_names_each_kernel_it_compiled(capsys) -> None:
    assert main(["warmup"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= {"backproject", "keyframes", "registration", "reproject", "lift"}
    assert all(float(line.split()[1]) >= 0.0 and line.endswith(" s") for line in lines)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_run_that_is_stopped_removes_what_it_had_begun(number: int, code: int, word: str, tmp_path: Path) -> None:
    record(tmp_path / "walk", 2)
    slow = tmp_path / "walk"
    for i in range(2, 400):  # long enough that it is stopped while it writes
        for ending in ("color.png", "depth.png", "pose.txt"):
            (slow / f"frame-{i:06d}.{ending}").symlink_to(slow / f"frame-{i % 2:06d}.{ending}")
    (slow / "timestamps.txt").unlink(missing_ok=True)
    place = tmp_path / "place"
    place.mkdir()
    with start("convert", str(slow), str(place / "out")) as process:
        while process.poll() is None and not list(place.rglob("*.png")):
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said == f"scene-r1 convert: {word}\n"
    assert list(place.iterdir()) == []


def test_a_reader_of_the_output_that_goes_away_is_no_traceback(walk: Path) -> None:
    with start("inspect", str(walk)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_an_answer_that_cannot_be_written_is_a_fault_in_one_line(walk: Path) -> None:
    with open("/dev/full", "w") as full, start("inspect", str(walk), stdout=full) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "scene-r1 inspect: No space left on device\n"


def test_an_output_folder_is_judged_before_the_work_and_made_after_it(tmp_path: Path) -> None:
    there = tmp_path / "a" / "b"
    assert check_output_folder(there) == there
    assert not (tmp_path / "a").exists()
    assert make_folder(there).is_dir()
    assert make_folder(there) == there
    write_text(there / "x", "é\n")
    assert (there / "x").read_bytes() == "é\n".encode()
    with pytest.raises(OutputExists, match="is not a folder"):
        check_output_folder(there / "x")
    with pytest.raises(OutputExists, match="is not a folder"):
        make_folder(there / "x" / "y")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_a_fault_before_the_work(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(SceneR1Error, match="nothing may be written"):
        check_output_folder(closed / "out")


def test_a_disk_that_refuses_is_named() -> None:
    for refused in (lambda: make_folder("/proc/none-such"), lambda: write_text("/proc/none-such/x", "x")):
        with pytest.raises(SceneR1Error, match=r"^/proc/none-such.*(cannot|may) be"):
            refused()
