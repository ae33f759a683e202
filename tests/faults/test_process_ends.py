"""`scene-r1 live` ended before it runs, or killed: nothing of it runs on, and what it wrote is whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from tests.runtime.block_walk import record
from tests.runtime.scripted_camera import eventually
from tests.runtime.test_live_cli import QUICK, answered, gone, start

from scene_r1.sources import open_source

STEPS = 8


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ends") / "walk"
    record(path, STEPS)
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_model_loads_ends_it_and_leaves_no_process_and_no_file(
    walk: Path, tmp_path: Path, number: int, code: int
) -> None:
    process = start("--source", f"{walk}@1hz", "--record", str(tmp_path / "live.mcap"), *QUICK)
    me = psutil.Process(process.pid)
    eventually(lambda: me.children(), 60.0)  # the camera's: the model comes after it
    children = me.children(recursive=True)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert said == ""
    assert gone(children)
    assert not list(tmp_path.iterdir())


def test_what_is_killed_leaves_no_process_and_a_recording_to_be_read_and_the_next_start_is_as_the_first(
    walk: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rosbags")
    shared = set(os.listdir("/dev/shm"))
    recorded = tmp_path / "live.mcap"
    process = start("--source", f"{walk}@5hz", "--record", str(recorded), "--json", *QUICK)
    answered(process, "/vqa what is there?")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3  # the camera's, the model's, the recorder's
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert gone(children)
    assert sorted(tmp_path.iterdir()) == [recorded]
    with open_source(recorded) as source:
        indices = [frame.index for frame in source.frames()]
    assert indices
    assert indices == list(range(len(indices)))
    assert not {name for name in set(os.listdir("/dev/shm")) - shared if "scene" in name}
    again = start("--source", f"{walk}@30hz", "--record", str(tmp_path / "again.mcap"), "--json", *QUICK)
    answered(again, "/vqa what is there?")
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
