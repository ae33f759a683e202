"""Point clouds on disk: read back by a parser of their own, and by trimesh."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.box import EDGES, Box3D
from scene_r1.ply import EDGE_STEP_M, MOST_STEPS, write_ply
from scene_r1_engines.errors import BadInput, OutputExists, SceneR1Error

MUG = Box3D((1.0, -2.0, 0.75), (0.1, 0.08, 0.12), 0.0, 3)
ROOM = Box3D((0.0, 0.0, 1.25), (6.0, 5.0, 2.5), 0.0, 1)
RED, GREEN = (220, 40, 30), (40, 200, 90)


def cloud(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)).astype(np.float32), rng.integers(0, 256, (count, 3), dtype=np.uint8)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xyz, rgb and edges of a file, by its header alone."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1", "int": "<i4"}
    found: dict[str, np.ndarray] = {}
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in lines[2:]:
        words = line.split()
        if words[0] == "element":
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property":
            elements[-1][2].append((words[2], kinds[words[1]]))
    for name, count, properties in elements:
        dtype = np.dtype(properties)
        found[name] = np.frombuffer(body[: count * dtype.itemsize], dtype)
        body = body[count * dtype.itemsize :]
    assert body == b""
    vertex = found["vertex"]
    none = np.empty(0, [("vertex1", "<i4"), ("vertex2", "<i4")])
    edge = found.get("edge", none)
    return (
        np.stack([vertex[name] for name in "xyz"], axis=1),
        np.stack([vertex[name] for name in ("red", "green", "blue")], axis=1),
        np.stack([edge["vertex1"], edge["vertex2"]], axis=1),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 300), st.integers(0, 3), st.booleans(), st.integers(0, 1000))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, points: int, boxes: int, edge_points: bool, seed: int
) -> None:
    path = tmp_path_factory.mktemp("ply") / "room.ply"
    xyz, rgb = cloud(points, seed)
    drawn = [(MUG, RED), (ROOM, GREEN), (MUG, (0, 0, 255))][:boxes]
    write_ply(path, xyz, rgb, drawn, edge_points=edge_points)
    got_xyz, got_rgb, edges = read(path)
    assert np.array_equal(got_xyz[:points], xyz)
    assert np.array_equal(got_rgb[:points], rgb)
    assert edges.shape == (12 * boxes, 2)
    for number, (box, color) in enumerate(drawn):
        own = edges[12 * number : 12 * number + 12]
        np.testing.assert_allclose(got_xyz[own], box.corners[np.array(EDGES)], atol=1e-6)
        assert np.all(got_rgb[own] == color)
    if not edge_points:
        assert len(got_xyz) == points + 8 * boxes


def test_points_along_the_edges_are_close_and_lie_on_the_edges(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", *cloud(5), [(MUG, RED)])
    xyz, rgb, _ = read(tmp_path / "a.ply")
    along = xyz[5 + 8 :]
    assert np.all(rgb[5:] == RED)
    at_face = np.isclose(along, MUG.low, atol=1e-5) | np.isclose(along, MUG.high, atol=1e-5)
    assert np.all(at_face.sum(axis=1) == 2)
    length = 4.0 * sum(MUG.size)
    assert len(along) == pytest.approx(length / EDGE_STEP_M, rel=0.1)


def test_a_large_box_has_no_more_points_than_it_may(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", *cloud(0), [(Box3D((0.0, 0.0, 0.0), (1e4, 1e4, 1e4), 0.0, 1), RED)])
    assert len(read(tmp_path / "a.ply")[0]) <= 8 + 12 * MOST_STEPS


@pytest.mark.parametrize("points", [0, 1, 200])
@pytest.mark.parametrize("edge_points", [True, False])
def test_trimesh_reads_it(tmp_path: Path, points: int, edge_points: bool) -> None:
    trimesh = pytest.importorskip("trimesh")
    xyz, rgb = cloud(points)
    write_ply(tmp_path / "points.ply", xyz, rgb)
    write_ply(tmp_path / "boxes.ply", xyz, rgb, [(MUG, RED), (ROOM, GREEN)], edge_points=edge_points)
    if points:
        loaded = trimesh.load(tmp_path / "points.ply")
        np.testing.assert_allclose(loaded.vertices, xyz, atol=1e-6)
        assert np.array_equal(loaded.colors[:, :3], rgb)
    with_edges = trimesh.load(tmp_path / "boxes.ply")
    np.testing.assert_allclose(with_edges.vertices[:points], xyz, atol=1e-6)
    assert with_edges.length == pytest.approx(4.0 * (sum(MUG.size) + sum(ROOM.size)), rel=1e-4)


def test_float64_points_and_views_of_arrays_are_taken(tmp_path: Path) -> None:
    xyz, rgb = cloud(20)
    write_ply(tmp_path / "a.ply", xyz.astype(np.float64)[::2], rgb[::2])
    assert np.array_equal(read(tmp_path / "a.ply")[0], xyz[::2])


@pytest.mark.parametrize(
    ("xyz", "rgb", "said"),
    [
        (np.zeros((4, 2)), np.zeros((4, 2), np.uint8), r"\(N, 3\)"),
        (np.zeros((4, 3), np.int32), np.zeros((4, 3), np.uint8), "float"),
        (np.zeros((4, 3)), np.zeros((3, 3), np.uint8), r"\(4, 3\) uint8"),
        (np.zeros((4, 3)), np.zeros((4, 3), np.float32), r"\(4, 3\) uint8"),
        (np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]), np.zeros((2, 3), np.uint8), "point 1 of 2"),
        (np.array([[0.0, 0.0, 1e300]]), np.zeros((1, 3), np.uint8), "point 0 of 1"),
    ],
)
def test_arrays_that_are_no_points_are_refused(tmp_path: Path, xyz: np.ndarray, rgb: np.ndarray, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        write_ply(tmp_path / "a.ply", xyz, rgb)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (0, 0), (0.5, 0.5, 0.5)])
def test_colours_that_are_none_are_refused(tmp_path: Path, color: tuple[int, int, int]) -> None:
    with pytest.raises(BadInput, match=r"0\.\.255"):
        write_ply(tmp_path / "a.ply", *cloud(3), [(MUG, color)])
    assert os.listdir(tmp_path) == []


def test_the_name_ends_in_ply(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.ply"):
        write_ply(tmp_path / "a.pcd", *cloud(3))


def test_a_file_is_replaced_a_folder_is_not(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", *cloud(3))
    write_ply(tmp_path / "a.ply", *cloud(7))
    assert len(read(tmp_path / "a.ply")[0]) == 7
    (tmp_path / "b.ply").mkdir()
    with pytest.raises(OutputExists):
        write_ply(tmp_path / "b.ply", *cloud(3))
    assert sorted(os.listdir(tmp_path)) == ["a.ply", "b.ply"]


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SceneR1Error, match="is not a folder"):
        write_ply(tmp_path / "file" / "a.ply", *cloud(3))


def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ply(tmp_path / "a.ply", *cloud(3))
    before = (tmp_path / "a.ply").read_bytes()

    def full(*paths: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scene_r1.files.os.replace", full)
    with pytest.raises(SceneR1Error, match=r"a\.ply: cannot be written: No space left"):
        write_ply(tmp_path / "a.ply", *cloud(9))
    assert os.listdir(tmp_path) == ["a.ply"]
    assert (tmp_path / "a.ply").read_bytes() == before
