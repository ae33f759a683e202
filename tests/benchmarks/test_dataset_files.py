"""The files that data sets come in: annotations, subsets, meshes; and what is said when they are broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from benchmarks.grounding.datasets import DATASETS, Case, Outcome, open_dataset
from benchmarks.grounding.datasets.case import truth_of
from benchmarks.grounding.datasets.entries import Entry, read_entries, read_json, read_lines
from benchmarks.grounding.datasets.mesh import MAX_HEADER_BYTES, read_vertices
from benchmarks.grounding.datasets.queries import read_queries, select
from benchmarks.grounding.datasets.tally import Tally
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.benchmarks.dataset_files import mesh_bytes, write_json

from scene_r1.box import Box3D
from scene_r1.ply import write_ply
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording

IDS = ("scene0011_00_5_2", "scene0011_00_5_3", "scene0015_00_1_0")


def refused(path: Path, *words: str) -> Any:
    """What `path` raises must name it and say these words."""
    return pytest.raises(BadRecording, match=".*".join((path.name, *words)))


def vertices_or_fault(path: Path) -> NDArray[np.float32] | BadRecording:
    try:
        return read_vertices(path)
    except BadRecording as error:
        return error


def entry(**values: Any) -> Entry:
    return Entry(Path("a.json"), "entry 3", values)


@pytest.mark.parametrize(
    ("take", "values", "words"),
    [
        ("text", {}, "'k' is missing .there are no keys"),
        ("text", {"k": ""}, "must be text"),
        ("text", {"k": 5}, "must be text, got 5"),
        ("text", {"k": "a" * 30_000}, "must be text"),
        ("name", {"k": "../etc"}, "must be a name"),
        ("name", {"k": True}, "must be a name"),
        ("whole", {"k": -1}, "must be a whole number"),
        ("whole", {"k": 1.0}, "must be a whole number"),
        ("whole", {"k": True}, "must be a whole number"),
        ("whole", {"k": "٣"}, "must be a whole number"),
        ("whole", {"k": 10**30}, "a huge number"),
        ("wholes", {"k": "12"}, "must be a list"),
        ("wholes", {"k": [1, -2]}, "list of whole numbers"),
        ("wholes", {"k": [1, [2]]}, "list of whole numbers"),
        ("wholes", {"k": [10**30]}, "list of whole numbers"),
        ("texts", {"k": ["a", None]}, "list of texts"),
    ],
)
def test_a_field_of_the_wrong_kind_names_file_entry_and_key(take: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecording, match=rf"a\.json: entry 3: .*{words}"):
        getattr(entry(**values), take)("k")


def test_ids_may_be_numbers_or_strings_of_digits() -> None:
    one = entry(a="12", b=12, c="scene0000_00", d=[3, 1])
    assert (one.whole("a"), one.whole("b"), one.name("b"), one.name("c")) == (12, 12, "12", "scene0000_00")
    assert one.wholes("d").tolist() == [3, 1]


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a": NaN}', "[" * 200_000, "[" + "9" * 5000 + "]", "\xff"])
def test_what_is_not_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with refused(path):
        read_json(path)


def test_a_list_is_read_from_the_top_or_from_a_key_and_nothing_else(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"rows": [{"a": 1}], "odd": [3]})
    assert [one.whole("a") for one in read_entries(path, "rows")] == [1]
    with refused(path, "entry 0 must be an object"):
        read_entries(path, "odd")
    with refused(path, "'none' is missing .there are odd, rows"):
        read_entries(path, "none")
    with refused(path, "must hold a list"):
        read_entries(path)
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [one.whole("a") for one in read_lines(lines)] == [1, 2]
    lines.write_text('{"a": 1}\n[2]\n')
    with refused(lines, "line 2 must be an object"):
        read_lines(lines)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "# of a paper\nscene0011_00, 5, 2\n\nscene0015_00_1_0  # the other\n"),
        ("q.csv", "scene0011_00\t5\t2\nscene0015_00 1 0"),
        ("q.json", '[["scene0011_00", 5, "2"], "scene0015_00_1_0"]'),
        ("q.json", '[{"scene_id": "scene0011_00", "object_id": "5", "ann_id": 2, "x": 1}, "scene0015_00_1_0"]'),
    ],
)
def test_a_subset_is_named_by_ids_or_by_their_parts(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_queries(path, IDS) == {"scene0011_00_5_2", "scene0015_00_1_0"}
    named = [(one, entry()) for one in IDS]
    assert select(named, "val.json", path).said == "subset: 2 of 3 in val.json"
    assert select(named, "val.json", None).said == "all: 3 of 3 in val.json"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("q.txt", "scene0011_00 5 2\nscene0011_00 5 9\n", "line 2: 'scene0011_00_5_9' is not in the data set"),
        ("q.txt", "scene0011_00_5_2\nscene0011_00 5 2\n", "line 2: .*named twice"),
        ("q.txt", "# nothing\n", "names no queries"),
        ("q.json", '{"a": 1}', "must hold a list"),
        ("q.json", "[[1, null]]", "entry 0: a query is"),
        ("q.json", "[{}]", "entry 0: a query is"),
    ],
)
def test_a_subset_that_does_not_fit_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with refused(path, words):
        read_queries(path, IDS)


def test_the_same_case_twice_in_a_file_or_in_a_result_is_refused() -> None:
    with pytest.raises(BadRecording, match=r"entry 3: a is there twice"):
        select([("a", entry()), ("a", entry())], "val.json", None)
    tally = Tally(("unique",), ("acc",), 2)
    case = Case("a", "s", None, "where?", "find", None, ("unique",))
    tally.add(case, Outcome(failed="out of memory"), case.tags, {"acc": 1.0})
    with pytest.raises(BadInput, match="case a was added before"):
        tally.add(case, Outcome(), (), {"acc": 1.0})
    result = tally.result("d")
    assert (result["n"], result["of"], result["complete"], result["failed"]) == (1, 2, False, 1)
    assert result["rows"] == {"unique": {"n": 1, "acc": 1.0}, "overall": {"n": 1, "acc": 1.0}}
    assert Tally(("unique",), ("acc",), 2).row("unique") == {"n": 0, "acc": None}


@pytest.mark.parametrize(
    "values",
    [
        {"points": np.zeros((3, 2), np.float32)},
        {"points": np.full((1, 3), np.nan, np.float32)},
        {"confidence": 1.5},
        {"confidence": float("nan")},
    ],
)
def test_an_outcome_that_is_none_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Outcome(**values)


def test_every_data_set_of_the_table_opens_and_unknown_ones_are_named(tmp_path: Path) -> None:
    for name in DATASETS:
        with pytest.raises(BadRecording, match=r"put .* here"):
            open_dataset(name, tmp_path)
    with pytest.raises(BadConfig, match="'scanreferr': known are scanrefer, multi3drefer, scenefun3d, vsi-bench"):
        open_dataset("scanreferr", tmp_path)
    with pytest.raises(BadInput, match="its truth is no Box3D"):
        truth_of(Case("a", "s", None, "where?", "find", 5), Box3D)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 40), st.sampled_from(["<", ">", ""]), st.sampled_from(["f4", "f8"]), st.integers(0, 99))
def test_a_mesh_of_any_encoding_gives_its_vertices(
    tmp_path_factory: pytest.TempPathFactory, count: int, order: str, number: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("mesh") / "a.ply"
    xyz = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    path.write_bytes(mesh_bytes(xyz, order, number))
    assert np.array_equal(read_vertices(path), xyz)


def test_meshes_of_other_writers_are_read(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    for encoding in ("binary", "ascii"):
        box.export(tmp_path / "t.ply", encoding=encoding)
        assert np.allclose(read_vertices(tmp_path / "t.ply"), box.vertices, atol=1e-6)
    xyz = np.eye(3, dtype=np.float32)
    write_ply(tmp_path / "s.ply", xyz, np.zeros((3, 3), np.uint8))
    assert np.array_equal(read_vertices(tmp_path / "s.ply"), xyz)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(["<", ""]), st.data())
def test_a_mesh_cut_off_anywhere_is_whole_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, order: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("mesh") / "cut.ply"
    xyz = np.arange(15, dtype=np.float32).reshape(5, 3) + 0.5
    whole = mesh_bytes(xyz, order)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    found = vertices_or_fault(path)
    if isinstance(found, BadRecording):
        assert "cut.ply" in str(found)
    else:
        assert np.array_equal(found, xyz)  # only its faces are gone, which are not read


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_a_damaged_mesh_gives_finite_vertices_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], text: bool
) -> None:
    path = tmp_path_factory.mktemp("mesh") / "hurt.ply"
    content = bytearray(mesh_bytes(np.ones((5, 3), np.float32), "" if text else "<"))
    for at, byte in damage:
        content[at % len(content)] = byte
    path.write_bytes(content)
    found = vertices_or_fault(path)
    if isinstance(found, BadRecording):
        assert "hurt.ply" in str(found)
    else:
        assert found.shape[1] == 3
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"vertex 2", b"vertex 999999999999999999999", "says 999999999999999999 vertices, but there are at most 2"),
        (b"vertex 2", b"vertex -2", "not read here"),
        (b"property float x", b"property list uchar float x", "not read here"),
        (b"property float x", b"property float w", "not x, y and z once"),
        (b"property float x", b"property float y", "not x, y and z once"),
        (b"element vertex 2\n", b"element camera 1\nelement vertex 2\n", "'element camera 1', which is not read here"),
        (b"binary_little_endian", b"binary_middle_endian", "not read here"),
        (b"VCGLIB", b"x" * MAX_HEADER_BYTES, "is cut off or over"),
        (b"ply\n", b"PK\x03\x04", "is not PLY"),
    ],
)
def test_a_header_that_lies_is_refused_without_being_believed(
    tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(mesh_bytes(np.zeros((2, 3), np.float32)).replace(old, new, 1))
    with refused(path, words):
        read_vertices(path)


def test_vertices_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    for order in ("<", ""):
        path.write_bytes(mesh_bytes(np.array([[0, 0, 0], [0, np.inf, 0]]), order))
        with refused(path, "vertex 1 of 2 is not finite"):
            read_vertices(path)
    whole = mesh_bytes(np.zeros((2, 3)), "")
    path.write_bytes(whole.replace(b"0.0", b"zero", 1))
    with refused(path, "not made of numbers"):
        read_vertices(path)
    path.write_bytes(whole.replace(b"0.0", b"0" * 5000, 1))
    with refused(path, "more than 40 characters"):
        read_vertices(path)
    path.write_bytes(mesh_bytes(np.array([[1e300, 0.0, 0.0]]), "<", "f8"))
    with refused(path, "vertex 0 of 1 is not finite"):
        read_vertices(path)


def test_a_mesh_that_is_missing_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    with refused(tmp_path / "a.ply", "is missing"):
        read_vertices(tmp_path / "a.ply")
    os.mkfifo(tmp_path / "b.ply")
    with refused(tmp_path / "b.ply", "is not a regular file"):
        read_vertices(tmp_path / "b.ply")
