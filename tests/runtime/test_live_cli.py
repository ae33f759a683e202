"""`scene-r1 live` from end to end: a recording played as a camera, questions on stdin, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from tests.runtime.block_walk import FRAMES, record
from tests.runtime.test_rrd import columns, rerun

from scene_r1.cli import main
from scene_r1.sources import open_source

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would this
from scene_r1.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""
NANO = "trained on synthetic rooms only"
QUICK = ("--no-think", "--max-tokens", "48", "--threads", "1", "-k", "3")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "walk"
    record(path)
    return path


def start(*arguments: str) -> subprocess.Popen[str]:
    """`scene-r1 live` in a Python of its own that sees what this one sees."""
    paths = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "live", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answered(process: subprocess.Popen[str], question: str) -> dict:
    """Put a question, wait for its line of JSON."""
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10.0)
    return not alive


def test_questions_on_stdin_are_answered_while_the_camera_runs(walk: Path, tmp_path: Path) -> None:
    out, recorded, shown = tmp_path / "out", tmp_path / "live.mcap", tmp_path / "live.rrd"
    viewer = ("--viewer", str(shown)) if find_spec("rerun") else ()
    process = start("--source", f"{walk}@5hz", "--json", "--out", str(out), "--record", str(recorded), *viewer, *QUICK)
    first = answered(process, "where is the red block?")
    assert {"status", "stale_ms", "evidence_age_ms", "revision"} <= first.keys()
    assert first["engine"]["model"] == "Scene-R1 nano"
    assert answered(process, "/vqa how many blocks are there?")["status"] in ("ok", "truncated", "not_found")
    assert answered(process, "/nonsense")["error"] == "BadQuestion"
    said, errors = process.communicate(timeout=60)  # the input ends; the source is waited for
    assert process.returncode == 0, errors
    assert said == ""
    assert NANO in errors
    assert f"saw {FRAMES} frames (0 dropped)" in errors
    assert "scene-r1 live: there is no '/nonsense' here" in errors
    assert json.loads((out / "1" / "answer.json").read_text())["status"] == first["status"]
    with open_source(recorded) as source:
        assert [frame.index for frame in source.frames()] == list(range(FRAMES))
    assert main(["replay", str(recorded), "--no-questions"]) == 0
    if viewer:
        assert "verified without error" in rerun(tmp_path, "rrd", "verify", str(shown))
        found = columns(tmp_path, shown)
        assert found["/answer TextDocument"] == 2
        for entity in (
            "camera Pinhole",
            "camera/image EncodedImage",
            "camera/depth DepthImage",
            "keyframes/0 Points3D",
        ):
            assert found[f"/world/{entity}"] >= 1, entity
        assert found["/timings/frame/select Scalars"] == found["/world/camera/image EncodedImage"]
        assert found["/timings/answer/total Scalars"] == 2


@pytest.mark.parametrize(
    ("signals", "code"),
    [((signal.SIGTERM,), 143), ((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130)],
    ids=["SIGTERM", "SIGINT", "SIGINT twice"],
)
def test_a_signal_lets_the_camera_go_ends_the_recording_and_leaves_no_process(
    walk: Path, tmp_path: Path, signals: tuple[int, ...], code: int
) -> None:
    recorded = tmp_path / "live.mcap"
    process = start("--source", f"{walk}@1hz", "--record", str(recorded), "--json", *QUICK)
    answered(process, "/vqa what is there?")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3  # the camera's, the model's, the recorder's
    process.stdin.write("where is the red block?\n")  # one that is at work when the signal comes
    process.stdin.flush()
    time.sleep(0.1)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert gone(children)
    if len(signals) == 1:
        with open_source(recorded) as source:
            indices = [frame.index for frame in source.frames()]
        assert indices == list(range(len(indices)))
        assert indices


def test_what_cannot_be_opened_is_said_in_one_line(walk: Path, tmp_path: Path, capsys) -> None:
    taken = tmp_path / "taken.rrd"
    taken.touch()
    for arguments, reason in (
        (["--source", str(tmp_path / "nothing@30hz")], "nothing"),
        (["--source", f"{walk}@0hz"], "rate"),
        (["--source", f"{walk}@30hz", "--viewer", "film.mp4"], "no viewer"),
        (["--source", f"{walk}@30hz", "--viewer", str(taken)], "already there"),
        (["--source", f"{walk}@30hz", "--tracker", "visual", "--config", str(tmp_path / "no.toml")], "no.toml"),
        (["--source", f"{walk}@30hz", "--record", str(tmp_path / "film.bag"), *QUICK], ".mcap"),
    ):
        assert main(["live", *arguments]) == 2
        said = capsys.readouterr()
        assert reason in said.err
        assert said.err.splitlines()[-1].startswith("scene-r1 live: ")
        assert not said.out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
