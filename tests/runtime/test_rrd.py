"""Rerun recordings, checked by Rerun's own command line: what it verifies, and what it says is in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.runtime.block_walk import record
from tests.runtime.shown_block import COUNT, showing
from tests.runtime.test_backproject import two_cameras

import scene_r1.viewer.rrd as rrd
from scene_r1.answer import Answer, Status
from scene_r1.cli import main
from scene_r1.viewer import Showing, write_rrd
from scene_r1.viewer.report import report
from scene_r1_engines.errors import BadInput, MissingExtra, OutputExists, SceneR1Error

NEEDS_RERUN = pytest.mark.skipif(find_spec("rerun") is None, reason="rerun-sdk is not installed")


def rerun(home: Path, *arguments: str) -> str:
    """Rerun's command line; its settings, and its word about usage data, go to a folder of the test."""
    done = subprocess.run(
        [sys.executable, "-m", "rerun", *arguments],
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def columns(home: Path, path: Path) -> dict[str, int]:
    """Rows of each entity of the recording, by 'entity archetype', as Rerun lists them."""
    found: dict[str, int] = {}
    for rows, entity, listed in re.findall(
        r"with (\d+) rows.* - (/\S*) - (?:.*?)data columns: \[(.*?)\]", rerun(home, "rrd", "print", str(path))
    ):
        for archetype in {column.split(":")[0] for column in listed.split()}:
            key = f"{entity} {archetype.rpartition('.')[2]}"
            found[key] = found.get(key, 0) + int(rows)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rrd") / "room.rrd"
    write_rrd(path, showing())
    return path


@NEEDS_RERUN
def test_rerun_finds_no_fault_in_it(written: Path, tmp_path: Path) -> None:
    assert "verified without error" in rerun(tmp_path, "rrd", "verify", str(written))


@NEEDS_RERUN
def test_each_keyframe_and_all_of_the_answer_is_in_it(written: Path, tmp_path: Path) -> None:
    found = columns(tmp_path, written)
    for entity in ("camera Pinhole", "camera Transform3D", "camera/image EncodedImage", "camera/depth DepthImage"):
        assert found[f"/world/{entity}"] == COUNT, entity
    assert found["/world/camera/mask SegmentationImage"] == found["/world/camera/boxes Boxes2D"] == 2
    assert found["/world/camera/mask Clear"] == found["/world/camera/boxes Clear"] == 1
    assert found["/selection TextLog"] == COUNT
    for entity in ("scene Points3D", "object Points3D", "answer Boxes3D", "answer/spread Boxes3D", "walk LineStrips3D"):
        assert found[f"/world/{entity}"] == 1, entity
    assert found["/answer TextDocument"] == 1
    views = sum(rows for key, rows in found.items() if key.endswith("ViewBlueprint"))
    assert views == 5  # the room, the picture, depth, the answer, the selection


@NEEDS_RERUN
def test_the_timeline_is_seconds_since_the_start_of_the_recording(written: Path, tmp_path: Path) -> None:
    said = rerun(tmp_path, "rrd", "print", "-vvv", str(written))
    images = [part for part in said.split("Chunk(") if "/world/camera/image" in part[:300]]
    assert images
    for seconds in ("P0D", "PT1.5S", "PT3S"):
        assert seconds in "".join(images)


@NEEDS_RERUN
def test_a_depth_camera_of_its_own_has_its_own_place(tmp_path: Path) -> None:
    nothing = Answer(Status.NOT_FOUND, None, {}, {}, reason="nothing was seen")
    write_rrd(tmp_path / "two.rrd", Showing(nothing, (two_cameras(2),)))
    found = columns(tmp_path, tmp_path / "two.rrd")
    assert found["/world/depth_camera/depth DepthImage"] == found["/world/depth_camera Pinhole"] == 1
    assert not [key for key in found if key.startswith(("/world/camera/depth", "/world/answer", "/world/walk"))]


@NEEDS_RERUN
def test_locate_writes_both_kinds_at_once(tmp_path: Path, capsys) -> None:
    boxes = record(tmp_path / "walk", 3)
    line = ["locate", str(tmp_path / "walk"), "--frame", "1", "--xyxy", *map(str, boxes[1])]
    assert main([*line, "--rrd", str(tmp_path / "room.rrd"), "--glb", str(tmp_path / "room.glb")]) == 0
    assert (tmp_path / "room.glb").read_bytes().startswith(b"glTF")
    assert columns(tmp_path, tmp_path / "room.rrd")["/world/answer Boxes3D"] == 1


@NEEDS_RERUN
def test_a_taken_name_another_ending_and_a_rerun_that_is_off_leave_nothing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "taken.rrd").write_text("mine")
    with pytest.raises(OutputExists, match=r"taken\.rrd"):
        write_rrd(tmp_path / "taken.rrd", showing(), overwrite=False)
    with pytest.raises(BadInput, match=r"end the name in \.rrd"):
        write_rrd(tmp_path / "room.txt", showing())
    monkeypatch.setenv("RERUN", "off")
    with pytest.raises(SceneR1Error, match="switched off by RERUN"):
        write_rrd(tmp_path / "off.rrd", showing())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken.rrd"]
    assert (tmp_path / "taken.rrd").read_text() == "mine"


def test_without_rerun_the_extra_is_named_before_the_recording_is_opened(tmp_path: Path, monkeypatch, capsys) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(rrd, "import_module", absent)
    with pytest.raises(MissingExtra) as raised:
        write_rrd(tmp_path / "room.rrd", showing())
    assert raised.value.extra == "viewer"
    line = ["locate", str(tmp_path / "absent"), "--frame", "0", "--xyxy", "0", "0", "1", "1"]
    assert main([*line, "--rrd", str(tmp_path / "room.rrd")]) == 1
    assert "scene-r1-edge[viewer]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_rerun_from_before_0_23_is_too_old(monkeypatch) -> None:
    class Old:
        __version__ = "0.20.3"
        RecordingStream = type("RecordingStream", (), {})

    monkeypatch.setattr(rrd, "import_module", lambda name: Old)
    with pytest.raises(MissingExtra, match=r"0\.20\.3 is too old"):
        rrd.require_rerun()


def test_the_report_shows_what_a_model_wrote_and_does_not_obey_it() -> None:
    page = report(showing("# where?\n<script>"))
    assert page.splitlines()[0] == r"# \# where? \<script\>"
    assert r"The \*block\* is \<red\>; half a pair: ?" in page
    assert "| 0 | 0.00 | 0.90 | yes |" in page
    assert "| 1 | 1.50 | 0.90 | no |" in page
    assert "0, 1, 2" in page
