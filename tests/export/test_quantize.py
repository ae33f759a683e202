"""Quantising: which type each tensor becomes, what is refused before llama.cpp is asked, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import struct
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from scene_r1_engines.errors import BadConfig, BadModelFile, BudgetExceeded, EngineFailed, OutputExists
from scene_r1_engines.gguf_file import read_gguf
from scene_r1_engines.manifest import read_manifest
from scene_r1_export.file_types import NEED_IMATRIX, file_types, usual_tensor_type
from scene_r1_export.imatrix_file import Imatrix, write_imatrix
from scene_r1_export.quantize import quantize


@pytest.fixture(scope="module")
def text(tiny_model: Path) -> Path:
    """The tiny text model in float32."""
    return tiny_model / read_manifest(tiny_model).text.file


@pytest.fixture(scope="module")
def tower(tiny_model: Path) -> Path:
    """Its vision tower in float32."""
    return tiny_model / read_manifest(tiny_model).mmproj.file


@pytest.fixture(scope="module")
def matrix(text: Path) -> Imatrix:
    """An importance matrix of every block's weights, with a few columns that matter far more than others."""
    rng = np.random.default_rng(7)
    sums, counts = {}, {}
    for tensor in read_gguf(text).tensors.values():
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            sums[tensor.name] = (64 * rng.lognormal(0, 3, (1, tensor.shape[0]))).astype(np.float32)
            counts[tensor.name] = np.array([64], np.float32)
    return Imatrix(sums, counts, ("kitchen talk",), 3, 512)


@pytest.fixture
def imatrix(matrix: Imatrix, tmp_path: Path) -> Path:
    path = tmp_path / "importance.gguf"
    write_imatrix(path, matrix)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where to write to; in the end nothing half-written may lie beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "made.gguf"
    assert set(os.listdir(folder)) <= {"made.gguf"}


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def data(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}


def metadata(path: Path) -> dict[str, object]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def loads(path: Path) -> bool:
    """Whether llama.cpp makes a model of it."""
    from llama_cpp import llama_cpp

    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        return False
    llama_cpp.llama_model_free(model)
    return True


@pytest.mark.parametrize("type", ["F16", "Q8_0", "Q6_K", "Q4_K_M", "IQ4_XS"])
def test_each_type_gives_a_smaller_file_that_loads_and_holds_that_type(text: Path, out: Path, type: str) -> None:
    quantize(text, out, type)
    assert out.stat().st_size < 0.6 * text.stat().st_size
    made = types(out)
    assert made["blk.0.attn_q.weight"] == usual_tensor_type(type)
    assert made["output_norm.weight"] == "F32"
    assert metadata(out)["general.file_type"] == file_types()[type]
    assert loads(out)


def test_quantised_weights_are_near_the_ones_they_were_made_from(text: Path, out: Path) -> None:
    quantize(text, out, "Q8_0")
    name = "blk.1.ffn_down.weight"
    [before] = [tensor for tensor in gguf.GGUFReader(text).tensors if tensor.name == name]
    [after] = [tensor for tensor in gguf.GGUFReader(out).tensors if tensor.name == name]
    difference = gguf.dequantize(after.data, after.tensor_type) - before.data
    assert np.abs(difference).max() < np.abs(before.data).max() / 127


def test_an_importance_matrix_changes_the_weights_and_is_recorded(text: Path, imatrix: Path, out: Path) -> None:
    plain = out.parent.parent / "plain.gguf"
    quantize(text, plain, "Q4_K_M")
    quantize(text, out, "Q4_K_M", imatrix=imatrix)
    kinds, before = types(plain), data(plain)
    assert types(out) == kinds
    changed = {name for name, values in data(out).items() if values != before[name]}
    assert changed == {name for name, kind in kinds.items() if name.startswith("blk.") and kind != "F32"}
    said = metadata(out)
    assert said["quantize.imatrix.file"] == "importance.gguf"
    assert said["quantize.imatrix.dataset"] == "kitchen talk"
    assert said["quantize.imatrix.entries_count"] == len(changed)
    assert said["quantize.imatrix.chunks_count"] == 3


def test_columns_that_matter_are_kept_better_than_without_the_matrix(text: Path, matrix: Imatrix, out: Path) -> None:
    plain, path = out.parent.parent / "plain.gguf", out.parent.parent / "importance.gguf"
    write_imatrix(path, matrix)
    quantize(text, plain, "Q4_K_S")
    quantize(text, out, "Q4_K_S", imatrix=path)
    truth = {tensor.name: tensor.data for tensor in gguf.GGUFReader(text).tensors}
    weights = matrix.weights()

    def loss(made: Path) -> float:
        return sum(
            float((weights[one.name] * (gguf.dequantize(one.data, one.tensor_type) - truth[one.name]) ** 2).sum())
            for one in gguf.GGUFReader(made).tensors
            if one.name in weights
        )

    assert loss(out) < 0.8 * loss(plain)


def test_an_override_sets_the_type_of_the_tensors_it_matches(text: Path, out: Path) -> None:
    quantize(text, out, "Q4_K_S", [(r"blk\.1\.attn_v", "F16"), ("attn_v", "q8_0"), ("^token_embd", "Q4_K")])
    made = types(out)
    assert made["blk.0.attn_v.weight"] == "Q8_0"
    assert made["blk.1.attn_v.weight"] == "F16"
    assert made["token_embd.weight"] == "Q4_K"
    assert made["blk.1.attn_q.weight"] == "Q4_K"


def test_a_vision_tower_is_quantised_but_for_its_patches_and_positions(tower: Path, out: Path) -> None:
    quantize(tower, out, "Q8_0")
    made = types(out)
    assert "Q8_0" in made.values()
    assert all(kind in ("F32", "F16") for name, kind in made.items() if "patch_embd" in name or name.endswith(".bias"))
    assert metadata(out)["general.architecture"] == "clip"
    assert out.stat().st_size < tower.stat().st_size


def test_metadata_is_written_and_that_of_the_model_stays(text: Path, out: Path) -> None:
    quantize(text, out, "Q8_0", metadata={"scene_r1.checkpoint_sha256": "é" * 60})
    before, after = metadata(text), metadata(out)
    assert after["scene_r1.checkpoint_sha256"] == "é" * 60
    kept = {key for key in before if not key.startswith("GGUF.") and key != "general.file_type"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}


@pytest.mark.parametrize("type", NEED_IMATRIX)
def test_a_type_that_needs_an_importance_matrix_is_refused_without_one(text: Path, out: Path, type: str) -> None:
    with pytest.raises(BadConfig, match=f"{type} needs an importance matrix"):
        quantize(text, out, type)
    assert not out.exists()


def test_a_type_of_two_bits_is_made_with_an_importance_matrix(text: Path, imatrix: Path, out: Path) -> None:
    quantize(text, out, "IQ2_XXS", imatrix=imatrix)
    assert types(out)["blk.0.attn_q.weight"] == "IQ2_XXS"
    assert loads(out)


@pytest.mark.parametrize(
    ("type", "overrides", "said"),
    [
        ("Q4_KM", [], "did you mean Q4_K_M"),
        ("Q4_K_M", [("attn_v", "Q8_K")], "unknown tensor type 'Q8_K'"),
        ("Q4_K_M", [("attn_w", "Q8_0")], "'attn_w' matches no tensor"),
        ("Q4_K_M", [("attn_(v", "Q8_0")], "is no regular expression"),
        ("Q4_K_M", [("", "Q8_0")], "1 to 200 characters"),
        ("Q4_K_M", [("attn_", "Q8_0"), ("attn_v", "Q6_K")], "earlier ones match all its tensors"),
        ("Q4_K_M", [("attn_norm", "Q8_0")], "no effect: blk.0.attn_norm.weight"),
        ("Q4_K_M", [("attn_v", "IQ2_XXS")], "IQ2_XXS needs an importance matrix"),
        ("F16", [("attn_v", "Q8_0")], "no effect on the file type F16"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    text: Path, out: Path, type: str, overrides: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(BadConfig, match=said.replace("(", r"\(")):
        quantize(text, out, type, overrides)
    assert not out.exists()


def test_a_vision_tower_is_refused_in_types_that_make_llama_cpp_abort(tower: Path, out: Path) -> None:
    with pytest.raises(BadConfig, match="is a vision tower"):
        quantize(tower, out, "IQ4_XS")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("general.architecture", "llama", "cannot be set"),
        ("tokenizer.ggml.model", "gpt2", "cannot be set"),
        ("scene r1", "x", "cannot be set"),
        ("qwen2vl.block_count", "2", "is no string"),
        ("scene_r1.note", "x" * 128, "at most 127 bytes"),
        ("scene_r1.note", "a\0b", "no NUL"),
    ],
)
def test_metadata_that_would_break_the_file_is_refused(text: Path, out: Path, key: str, value: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        quantize(text, out, "Q8_0", metadata={key: value})


def test_a_file_that_is_there_is_never_written_over(text: Path, out: Path) -> None:
    out.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        quantize(text, out, "Q8_0")
    assert out.read_bytes() == b"mine"


def test_an_importance_matrix_of_another_model_is_refused(text: Path, matrix: Imatrix, out: Path) -> None:
    name = "blk.0.attn_q.weight"
    sums, counts = {name: matrix.sums[name]}, {name: matrix.counts[name]}
    for label, broken, said in (
        ("longer", Imatrix({name: np.ones((1, 512), np.float32)}, counts, ("x",), 1, 512), "has 512 values"),
        ("deeper", Imatrix({"blk.9.attn_q.weight": sums[name]}, {"blk.9.attn_q.weight": counts[name]}, ("x",), 1, 512),
         "no tensor blk.9.attn_q.weight"),
    ):  # fmt: skip
        path = out.parent.parent / f"{label}.gguf"
        write_imatrix(path, broken)
        with pytest.raises(BadModelFile, match=said) as caught:
            quantize(text, out, "Q4_K_M", imatrix=path)
        assert caught.value.path == str(path)


def test_a_matrix_that_would_have_no_effect_is_refused(text: Path, imatrix: Path, out: Path) -> None:
    with pytest.raises(BadConfig, match="no effect on the file type F16"):
        quantize(text, out, "F16", imatrix=imatrix)


def test_a_model_that_is_quantised_already_is_refused(text: Path, out: Path) -> None:
    once = out.parent.parent / "once.gguf"
    quantize(text, once, "Q8_0")
    with pytest.raises(BadModelFile, match="is quantised already"):
        quantize(once, out, "Q4_K_M")


@pytest.mark.parametrize("keep", [0, 3, 20, 100, 5000, 30000, -10])
def test_a_truncated_model_is_refused(text: Path, out: Path, keep: int) -> None:
    broken = out.parent.parent / "broken.gguf"
    broken.write_bytes(text.read_bytes()[:keep])
    with pytest.raises(BadModelFile, match=r"broken\.gguf"):
        quantize(broken, out, "Q8_0")


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused(text: Path, out: Path) -> None:
    whole = text.read_bytes()
    broken = out.parent.parent / "broken.gguf"
    for at in (8, 16):
        broken.write_bytes(whole[:at] + struct.pack("<Q", 1 << 60) + whole[at + 8 :])
        with pytest.raises(BadModelFile, match=r"states \d+ tensors and \d+ keys, more than"):
            quantize(broken, out, "Q8_0")
    array = whole.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8
    broken.write_bytes(whole[:array] + struct.pack("<Q", 1 << 60) + whole[array + 8 :])
    with pytest.raises(BadModelFile, match="more than the file can hold"):
        quantize(broken, out, "Q8_0")


def test_no_flipped_byte_of_a_header_gives_anything_but_a_header_or_a_typed_error(text: Path, tmp_path: Path) -> None:
    whole = text.read_bytes()
    broken = tmp_path / "broken.gguf"
    rng = np.random.default_rng(3)
    small = whole[: read_gguf(text).tensors["token_embd.weight"].offset]
    refused = 0
    for at in rng.choice(len(small), 300, replace=False):
        bent = bytearray(small)
        bent[at] ^= 1 << rng.integers(8)
        broken.write_bytes(bent)
        with pytest.raises(BadModelFile):  # at the latest because the tensors' data are missing
            read_gguf(broken)
        refused += 1
    assert refused == 300


def test_when_llama_cpp_refuses_its_reason_is_told_and_nothing_stays(text: Path, out: Path) -> None:
    broken = out.parent.parent / "broken.gguf"
    broken.write_bytes(text.read_bytes().replace(b"qwen2vl.context_length", b"qwen2vl.contest_length"))
    with pytest.raises(EngineFailed, match=r"failed.*qwen2vl\.context_length"):
        quantize(broken, out, "Q8_0")
    assert not out.exists()


def test_when_llama_cpp_aborts_the_caller_lives_on(text: Path, out: Path) -> None:
    whole = text.read_bytes()
    at = whole.index(b"qwen2vl.block_count") + len(b"qwen2vl.block_count") + 4
    broken = out.parent.parent / "broken.gguf"
    broken.write_bytes(whole[:at] + struct.pack("<I", 1_000_000) + whole[at + 4 :])
    with pytest.raises(EngineFailed, match=f"died of signal {int(signal.SIGABRT)}.*GGML_ASSERT"):
        quantize(broken, out, "Q8_0")
    assert not out.exists()


def test_a_full_disk_is_told_before_the_work(text: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(BudgetExceeded, match="about 2 MB as Q8_0"):
        quantize(text, out, "Q8_0")


def test_the_estimate_of_the_size_is_near_the_size(
    text: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quantize(text, out, "Q8_0")
    usage = namedtuple("usage", "total used free")
    size = out.stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, int(0.9 * size)))
    with pytest.raises(BudgetExceeded):
        quantize(text, tmp_path / "no room.gguf", "Q8_0")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, int(1.1 * size)))
    quantize(text, tmp_path / "room.gguf", "Q8_0")
