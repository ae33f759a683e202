"""A SAM2 manifest reads back as it was written, says nothing impossible, and what is wrong with one is named."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.sam2.manifest import (
    MOST_SLOTS,
    PARTS,
    GraphFile,
    MaskRules,
    MemoryRules,
    Profiles,
    Sam2Manifest,
    TensorSpec,
    read_sam2_manifest,
    sam2_manifest_to_toml,
    tensors,
)

GRAPH = GraphFile("a.onnx", "a" * 64, 1 << 20, "fp16", "image float32 B 3 512 512", "feat float16 B 256 32 32")
WHOLE = Sam2Manifest(
    format=1,
    name="sam2.1_hiera_t",
    family="sam2",
    license="apache-2.0",
    source_sha256="c" * 64,
    made_by='a "test"',
    opset=17,
    precision="fp16",
    input_px=512,
    image_encoder=GRAPH,
    mask_decoder=replace(GRAPH, file="b.onnx", precision="fp32"),
    memory_encoder=replace(GRAPH, file="c.onnx"),
    memory_attention=replace(GRAPH, file="d.onnx"),
    memory=MemoryRules(7, 16, signed_ages=False),
    masks=MaskRules(kernel=(0.25,) * 16, bias=-0.5, track_multimask=False),
    profiles=Profiles(objects=2),
)
TEXT = sam2_manifest_to_toml(WHOLE)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
EXTENTS = st.one_of(st.integers(1, 999_999), st.sampled_from("BNMPHW"))
SPECS = st.builds(
    TensorSpec,
    NAMES,
    st.sampled_from(("float32", "float16", "int32")),
    st.lists(EXTENTS, min_size=1, max_size=6).map(tuple),
)


def read(folder: Path, text: str | bytes) -> Sam2Manifest:
    (folder / MANIFEST).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_sam2_manifest(folder)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT) == WHOLE
    assert list(WHOLE.graphs) == list(PARTS)
    assert WHOLE.mask_decoder.takes == (TensorSpec("image", "float32", ("B", 3, 512, 512)),)
    assert WHOLE.mask_decoder.gives == (TensorSpec("feat", "float16", ("B", 256, 32, 32)),)


@settings(max_examples=60, deadline=None)
@given(specs=st.lists(SPECS, min_size=1, max_size=5, unique_by=lambda spec: spec.name))
def test_tensors_read_back_as_they_are_said(specs: list[TensorSpec]) -> None:
    assert tensors("; ".join(map(str, specs))) == tuple(specs)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("axB1 0;-_float32int6\n"), max_size=40))
@example("image float32 B 0")
@example("image float32")
@example("image float64 B")
@example("Image float32 B")
@example("image float32 B 1234567")
@example("image float32 B; ")
@example("image float32 B b")
@example("a int32 1 2 3 4 5 6 7")
@example("")
def test_what_is_no_list_of_tensors_is_refused(text: str) -> None:
    try:
        found = tensors(text)
    except BadConfig as error:
        assert "tensor" in str(error)  # noqa: PT017
        return
    assert "; ".join(map(str, found)) == text


def test_two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(BadConfig, match="two tensors have one name: a, a"):
        tensors("a int32 B; a float32 N")


@pytest.mark.parametrize("file", ["../x.onnx", "/etc/x.onnx", "a/b.onnx", "", ".x", "-x", "a\nb", "a" * 129, "C:x"])
def test_a_file_is_a_plain_name(file: str) -> None:
    with pytest.raises(BadConfig, match="plain file name"):
        replace(GRAPH, file=file)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "A" * 64}, "64 lower-case hex"),
        ({"sha256": "a" * 63}, "64 lower-case hex"),
        ({"bytes": 0}, "below 2 GiB"),
        ({"bytes": 1 << 31}, "below 2 GiB"),
        ({"precision": "bf16"}, "fp32, fp16, int8"),
        ({"inputs": "image"}, "name dtype extent"),
        ({"outputs": "feat float32 *"}, "name dtype extent"),
    ],
)
def test_an_impossible_graph_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadConfig, match=reason):
        replace(GRAPH, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "another version of scene-r1-export"),
        ({"family": "qwen3_vl"}, "no segmenter's folder"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"input_px": 1000}, "multiple of 64"),
        ({"input_px": 0}, "multiple of 64"),
        ({"input_px": 8192}, "multiple of 64"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be above 0"),
        ({"mask_decoder": GRAPH}, "two graphs are one file"),
    ],
)
def test_an_impossible_manifest_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadConfig, match=reason):
        replace(WHOLE, **changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MemoryRules(0, 16),
        lambda: MemoryRules(MOST_SLOTS + 1, 16),
        lambda: MemoryRules(7, 65),
        lambda: MemoryRules(7, 16, channels=0),
        lambda: Profiles(objects=0),
        lambda: Profiles(points=2),
        lambda: Profiles(memories=MOST_SLOTS + 1),
        lambda: Profiles(pointers=129),
    ],
)
def test_rules_out_of_their_bounds_are_refused(make: Any) -> None:
    with pytest.raises(BadConfig, match=r"must be in \d+\.\.\d+, got"):
        make()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("input_px = 512", "input_px = 513", "multiple of 64"),
        ("input_px = 512", "input_px = true", "input_px"),
        ("input_px = 512", "inputs_px = 512", "input_px"),
        ("opset = 17", "", "opset"),
        ('file = "b.onnx"', 'file = "../b.onnx"', "plain file name"),
        ("[memory]", "[memories]", "memory"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert old in TEXT
    with pytest.raises(BadModelFile, match=reason) as caught:
        read(tmp_path, TEXT.replace(old, new, 1))
    assert caught.value.path == str(tmp_path / MANIFEST)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(TEXT) - 1))
def test_a_manifest_that_is_cut_is_refused_or_lacks_only_what_has_a_default(cut: int, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).unlink(missing_ok=True)
    with suppress(BadModelFile):
        found = read(tmp_path, TEXT[:cut])
        assert cut > TEXT.index("[memory]")
        assert found.graphs == WHOLE.graphs


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(TEXT.encode()) - 1), byte=st.integers(0, 255))
def test_a_manifest_with_a_changed_byte_is_refused_or_read(place: int, byte: int, tmp_path: Path) -> None:
    data = bytearray(TEXT.encode())
    data[place] = byte
    with suppress(BadModelFile):
        assert isinstance(read(tmp_path, bytes(data)), Sam2Manifest)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="No such file"):
        read_sam2_manifest(tmp_path)
