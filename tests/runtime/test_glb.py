"""Scenes as GLB: their bytes by the specification, their content by trimesh."""

from __future__ import annotations

import errno
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.block_walk import record
from tests.runtime.scripted_reasoner import ScriptedReasoner
from tests.runtime.shown_block import BOX, COUNT, moved, showing

from scene_r1.answer import Answer, Status
from scene_r1.backproject import BackProjector
from scene_r1.cli import main
from scene_r1.cli.viewing import shown
from scene_r1.grounder import Grounder
from scene_r1.viewer import Showing, scene_cloud, write_glb
from scene_r1.viewer.glb import upright
from scene_r1.viewer.gltf import POINTS, Document
from scene_r1.viewer.showing import AXES
from scene_r1_engines.errors import BadInput, OutputExists, SceneR1Error
from scene_r1_engines.segmenter import open_segmenter

NUMBERS = {5126: np.dtype("<f4"), 5125: np.dtype("<u4")}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


def chunks(data: bytes) -> tuple[dict, bytes]:
    """JSON and binary part of a GLB, by its structure alone; every length in it is checked."""
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    found, at = [], 12
    while at < len(data):
        size, kind = struct.unpack_from("<I4s", data, at)
        assert size % 4 == 0
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    assert at == len(data)
    assert [kind for kind, _ in found] == [b"JSON", b"BIN\0"][: len(found)]
    document = json.loads(found[0][1].decode("utf-8"))
    binary = found[1][1] if len(found) > 1 else b""
    assert sum(buffer["byteLength"] for buffer in document.get("buffers", [])) <= len(binary)
    return document, binary


def values(document: dict, binary: bytes, number: int) -> np.ndarray:
    """What an accessor describes; it lies inside its view, and the view inside the buffer, at multiples of 4."""
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype, width = NUMBERS[accessor["componentType"]], WIDTH[accessor["type"]]
    assert view["byteOffset"] % 4 == 0
    assert accessor["count"] * width * dtype.itemsize == view["byteLength"]
    assert view["byteOffset"] + view["byteLength"] <= document["buffers"][0]["byteLength"]
    out = np.frombuffer(binary, dtype, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
    if "min" in accessor:
        assert np.array_equal(out.min(axis=0), np.array(accessor["min"], np.float32))
        assert np.array_equal(out.max(axis=0), np.array(accessor["max"], np.float32))
    return out


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "room.glb"
    write_glb(path, showing())
    return path


def node(document: dict, name: str) -> dict:
    (found,) = [thing for thing in document["nodes"] if thing.get("name") == name]
    return found


def test_every_length_offset_and_bound_is_what_the_specification_wants(written: Path) -> None:
    document, binary = chunks(written.read_bytes())
    assert document["asset"]["version"] == "2.0"
    for number in range(len(document["accessors"])):
        assert np.all(np.isfinite(values(document, binary, number)))
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            counts = {document["accessors"][a]["count"] for a in primitive["attributes"].values()}
            assert len(counts) == 1
            if "indices" in primitive:
                assert values(document, binary, primitive["indices"]).max() < counts.pop()
    for picture in document["images"]:
        view = document["bufferViews"][picture["bufferView"]]
        assert binary[view["byteOffset"] :].startswith(b"\xff\xd8\xff")


def test_trimesh_shows_the_block_upright_inside_its_box(written: Path) -> None:
    scene = trimesh.load(written)
    T, name = scene.graph["box"]
    corners = trimesh.transform_points(scene.geometry[name].vertices, T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    np.testing.assert_allclose(low, (BOX.low[0], BOX.low[2], -BOX.high[1]), atol=1e-6)
    np.testing.assert_allclose(high, (BOX.high[0], BOX.high[2], -BOX.low[1]), atol=1e-6)
    T, name = scene.graph["scene"]
    cloud = trimesh.transform_points(scene.geometry[name].vertices, T)
    inside = np.all((cloud > low + 0.01) & (cloud < high + 0.03), axis=1)  # its sides and top, and not the table
    red = np.asarray(scene.geometry[name].colors)[inside][:, :3].mean(axis=0)
    assert inside.sum() > 30
    assert red[0] > 4 * max(red[1], red[2])  # light, where a camera's 190, 40, 35 is 0.51, 0.02, 0.02
    below = cloud[:, 1] < -0.5
    assert 0.0 < below.mean() < 1.0  # the floor is under the table


def test_each_keyframe_has_its_camera_where_it_was_taken(written: Path) -> None:
    document, _ = chunks(written.read_bytes())
    frames = showing().keyframes
    assert len(document["cameras"]) == len(document["images"]) == COUNT
    for frame in frames:
        seen = node(document, f"frame {frame.index}")
        np.testing.assert_allclose(np.reshape(seen["matrix"], (4, 4)).T, frame.T_world_camera)
        assert seen["extras"] == {"frame": frame.index, "time_s": 1.5 * frame.index}
    paint = [
        document["meshes"][node(document, f"frame {i}")["mesh"]]["primitives"][0]["material"] for i in range(COUNT)
    ]
    assert paint[0] != paint[1] == paint[2]


def test_the_reasons_are_in_the_scenes_extras(written: Path) -> None:
    document, _ = chunks(written.read_bytes())
    extras = document["scenes"][0]["extras"]
    assert extras["question"] == "where is the red block?"
    assert extras["rationale"] == "The *block* is <red>;\nhalf a pair: ?"
    assert (
        extras["box_3d"] == BOX.to_json() == {k: v for k, v in node(document, "box")["extras"].items() if k != "label"}
    )
    assert node(document, "box")["extras"]["label"] == "red block"


def test_pictures_can_be_left_out(tmp_path: Path, written: Path) -> None:
    write_glb(tmp_path / "bare.glb", showing(), pictures=False)
    document, _ = chunks((tmp_path / "bare.glb").read_bytes())
    assert "images" not in document
    assert (tmp_path / "bare.glb").stat().st_size < written.stat().st_size


def test_an_answer_without_anything_is_still_a_scene(tmp_path: Path) -> None:
    nothing = Answer(Status.NOT_FOUND, None, {}, {}, reason="nothing was seen")
    write_glb(tmp_path / "empty.glb", Showing(nothing, ()))
    document, binary = chunks((tmp_path / "empty.glb").read_bytes())
    assert binary == b""
    assert document["scenes"][0]["extras"]["reason"] == "nothing was seen"
    assert "meshes" not in document


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 99), words=st.text(max_size=30))
def test_whatever_goes_into_a_document_comes_out(count: int, seed: int, words: str) -> None:
    rng = np.random.default_rng(seed)
    xyz, rgb = rng.normal(size=(count, 3)).astype(np.float32), rng.integers(0, 256, (count, 3), dtype=np.uint8)
    document = Document("test")
    document.picture(rng.bytes(seed % 7 + 1), "image/jpeg")  # of a length that is no multiple of 4
    mesh = document.mesh(POINTS, xyz, document.material(), rgb=rgb)
    document.add("nodes", {"mesh": mesh, "name": words})
    read, binary = chunks(document.glb())
    attributes = read["meshes"][mesh]["primitives"][0]["attributes"]
    assert np.array_equal(values(read, binary, attributes["POSITION"]), xyz)
    light = values(read, binary, attributes["COLOR_0"])
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    assert np.array_equal(np.rint(srgb * 255.0).astype(np.uint8), rgb)
    assert read["nodes"][0]["name"] == words


@pytest.mark.parametrize("up", range(6))
def test_up_is_found_from_the_cameras_and_becomes_y(up: int) -> None:
    T = np.eye(4)
    T[:3, :3] = np.linalg.inv(upright(AXES[up])[:3, :3]) @ upright(AXES[2])[:3, :3]  # a world in which that axis is up
    given_z = showing()
    turned = replace(given_z, keyframes=tuple(moved(frame, T) for frame in given_z.keyframes))
    assert np.array_equal(turned.up, AXES[up])
    assert np.allclose(upright(turned.up)[:3, :3] @ turned.up, (0.0, 1.0, 0.0))
    assert np.linalg.det(upright(turned.up)[:3, :3]) == pytest.approx(1.0)


def test_the_cloud_has_one_point_a_voxel_and_no_more_than_it_may() -> None:
    frames = showing().keyframes
    cloud = scene_cloud(frames, 0.05)
    voxels = np.unique(np.floor(cloud.xyz * np.float32(20.0)).astype(int), axis=0)
    assert len(voxels) == len(cloud)
    every = {p.tobytes() for frame in frames for p in BackProjector()(frame).xyz}
    assert {p.tobytes() for p in cloud.xyz} <= every
    assert 100 < len(scene_cloud(frames, 0.05, most=1000)) <= 1000
    assert len(scene_cloud([])) == 0


def test_many_keyframes_are_thinned_evenly_and_those_of_the_evidence_stay() -> None:
    held = list(range(0, 1000, 2))
    chosen = shown(held, (4, 998, 3), most=10)
    assert len(chosen) == 12
    assert {4, 998} <= set(chosen) <= set(held)
    assert max(np.diff(chosen)) <= 110
    assert shown([1, 2, 3], ()) == [1, 2, 3]


def test_frames_that_cannot_be_shown_are_refused_or_left_out() -> None:
    one, two, _ = showing().keyframes
    lost = replace(one, T_world_camera=None)
    with pytest.raises(BadInput, match="frame 0 has no pose"):
        Showing(showing().answer, (lost,))
    with pytest.raises(BadInput, match="frame 0 follows frame 1"):
        Showing(showing().answer, (two, one))
    assert [f.index for f in Showing.of(showing().answer, {1: two, 0: lost}, None).keyframes] == [1]


def test_a_taken_name_another_ending_and_a_full_disk_leave_nothing_half_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "taken.glb").write_text("mine")
    with pytest.raises(OutputExists, match=r"taken\.glb"):
        write_glb(tmp_path / "taken.glb", showing(), overwrite=False)
    assert (tmp_path / "taken.glb").read_text() == "mine"
    with pytest.raises(BadInput, match=r"end the name in \.glb"):
        write_glb(tmp_path / "room.gltf", showing())

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SceneR1Error, match=r"full\.glb: cannot be written: No space left"):
        write_glb(tmp_path / "full.glb", showing())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken.glb"]


def test_locate_writes_it_and_refuses_a_taken_name_before_it_reads(tmp_path: Path, capsys) -> None:
    boxes = record(tmp_path / "walk", 4)
    line = ["locate", str(tmp_path / "walk"), "--frame", "1", "--xyxy", *map(str, boxes[1]), "--glb"]
    assert main([*line, str(tmp_path / "room.glb")]) == 0
    document, _ = chunks((tmp_path / "room.glb").read_bytes())
    assert node(document, "frame 1")["extras"]["time_s"] >= 0.0
    assert document["scenes"][0]["extras"]["box_3d"] is not None
    capsys.readouterr()
    assert main([*line, str(tmp_path / "room.glb")]) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*line, str(tmp_path / "room.ply")]) == 2
    assert "end the name in .glb" in capsys.readouterr().err
    line[1] = str(tmp_path / "absent")
    assert main([*line, str(tmp_path / "room.glb")]) == 2
    assert "already there" in capsys.readouterr().err  # the recording was not even opened


def test_ask_writes_it_with_every_keyframe_and_the_reasons(tmp_path: Path, monkeypatch) -> None:
    boxes = record(tmp_path / "walk", 4)
    held: list[int] = []

    def opened(config, model) -> Grounder:
        reasoner = ScriptedReasoner(lambda index: held.append(index) or (boxes[index],))
        return Grounder(lambda replay: reasoner, open_segmenter("depth_cut"), config)

    monkeypatch.setattr("scene_r1.cli.ask.open_grounder", opened)
    line = ["ask", str(tmp_path / "walk"), "where is the block?", "--model", "any", "--glb", str(tmp_path / "room.glb")]
    assert main(line) == 0
    document, _ = chunks((tmp_path / "room.glb").read_bytes())
    extras = document["scenes"][0]["extras"]
    assert (extras["question"], extras["status"]) == ("where is the block?", "ok")
    assert extras["rationale"]
    frames = [thing["extras"]["frame"] for thing in document["nodes"] if thing.get("name", "").startswith("frame ")]
    assert {view["frame"] for view in extras["views"]} | set(held) <= set(frames) <= {0, 1, 2, 3}
    assert node(document, "box")["extras"]["label"] == "block"
