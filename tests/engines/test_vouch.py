"""Nothing of a model folder gets past `vouch` that is not there, whole, sound, of one model and unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from scene_r1_engines import verified_files
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import FAMILIES, MANIFEST, ImageRules, Manifest, ModelFile, PromptRules, manifest_to_toml
from scene_r1_engines.vouch import NATIVE, vouch

TEXT, MMPROJ = "text.gguf", "mmproj.gguf"
WIDTH = 64
MERGE = {"qwen2_5_vl": 28, "qwen3_vl": 32}
Edit = Callable[[gguf.GGUFWriter], None]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verified files are remembered during a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scene-r1-edge" / "vouched.json"


def _finish(writer: gguf.GGUFWriter, edit: Edit | None) -> None:
    if edit is not None:
        edit(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _set(name: str, value: Any, type: gguf.GGUFValueType | None) -> Edit:
    """Replaces what the writer has for a key; None takes it out."""

    def edit(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(name, None)
        if type is not None:
            writer.add_key_value(name, value, type, gguf.GGUFValueType.FLOAT32 if isinstance(value, list) else None)

    return edit


def write_text(
    path: Path,
    family: str = "qwen2_5_vl",
    width: int = WIDTH,
    deepstack: int = 1,
    edit: Edit | None = None,
    blocks: int = 2,
) -> None:
    architecture = NATIVE[family][0]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(blocks)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["a", "b"])
    if family == "qwen3_vl":
        writer.add_num_deepstack_layers(deepstack)
    writer.add_tensor("token_embd.weight", np.ones((2, width), np.float32))
    _finish(writer, edit)


def write_mmproj(
    path: Path, family: str = "qwen2_5_vl", width: int = WIDTH, bias: int | None = None, edit: Edit | None = None
) -> None:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(NATIVE[family][1])
    writer.add_vision_projection_dim(width)
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(MERGE[family] // 2)
    writer.add_vision_embedding_length(32)
    writer.add_vision_feed_forward_length(64)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(2)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.25, 0.25, 0.25])
    writer.add_vision_attention_layernorm_eps(1e-6)
    if family == "qwen3_vl":
        writer.add_vision_spatial_merge_size(2)
        writer.add_tensor("v.deepstack.0.fc1.weight", np.ones((4, 32), np.float32))
    else:
        writer.add_vision_n_wa_pattern(1)
    writer.add_tensor("mm.2.bias", np.ones(bias or width, np.float32))
    _finish(writer, edit)


def _said(path: Path) -> ModelFile:
    data = path.read_bytes()
    return ModelFile(path.name, hashlib.sha256(data).hexdigest(), len(data), "F32")


def seal(folder: Path, family: str = "qwen2_5_vl", **changes: Any) -> Manifest:
    """Write a manifest that fits the files as they are now, but for the changes."""
    text, mmproj = _said(folder / TEXT), _said(folder / MMPROJ)
    manifest = Manifest(
        format=1,
        name="test",
        family=family,
        license="none",
        source_sha256="0" * 64,
        made_by="a test",
        mmproj_for_sha256=text.sha256,
        text=text,
        mmproj=mmproj,
        image=ImageRules(MERGE[family], MERGE[family] ** 2, 1 << 20, "abs_resized"),
        prompt=PromptRules("0" * 64, "qwen2"),
    )
    manifest = replace(manifest, **changes)
    (folder / MANIFEST).write_text(manifest_to_toml(manifest), encoding="utf-8")
    return manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model folder."""
    where = tmp_path / "model"
    where.mkdir()
    write_text(where / TEXT)
    write_mmproj(where / MMPROJ)
    seal(where)
    return where


def _refused(folder: Path, reason: str, at: str = "") -> BadModelFile:
    with pytest.raises(BadModelFile, match=reason) as caught:
        vouch(folder)
    assert caught.value.path.endswith(at)
    return caught.value


def _damage(path: Path, at: int = -1) -> None:
    """Flip one bit of a file, in a later tick of its clock than its last change."""
    before = path.stat().st_ctime_ns
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    while path.stat().st_ctime_ns == before:
        path.write_bytes(data)


def test_the_manifest_and_this_module_know_the_same_families() -> None:
    assert tuple(NATIVE) == FAMILIES


def test_a_sound_folder_is_vouched_for(folder: Path) -> None:
    found = vouch(folder)
    assert (found.text_path, found.mmproj_path) == (folder / TEXT, folder / MMPROJ)
    assert found.text.tensors["token_embd.weight"].shape == (WIDTH, 2)
    assert found.mmproj.text("clip.projector_type") == "qwen2.5vl_merger"
    assert found.manifest.text == _said(folder / TEXT)
    found.check_unchanged()


def test_a_sound_folder_of_qwen3_vl_is_vouched_for(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl")
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder, "qwen3_vl")
    assert vouch(folder).manifest.family == "qwen3_vl"


def test_the_converted_model_is_vouched_for(tiny_model: Path) -> None:
    found = vouch(tiny_model)
    assert found.text.tensors
    assert found.mmproj.tensors


@pytest.mark.parametrize("name", [TEXT, MMPROJ])
@pytest.mark.parametrize("at", [-1, 60])
def test_a_changed_byte_is_found(name: str, at: int, folder: Path) -> None:
    before = _said(folder / name)
    _damage(folder / name, at)
    error = _refused(folder, "sha256|architecture|model", name)
    if at == -1:  # in the data, where only the hash can tell
        assert before.sha256[:12] in error.reason
        vouch(folder, verify_hashes=False)


@pytest.mark.parametrize("name", [TEXT, MMPROJ])
def test_a_truncated_file_is_called_truncated(name: str, folder: Path) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 32)
    _refused(folder, "is truncated", name)


def test_a_file_that_was_truncated_before_it_was_sealed_is_refused(folder: Path) -> None:
    os.truncate(folder / TEXT, (folder / TEXT).stat().st_size - 32)
    seal(folder)
    _refused(folder, "beyond the file's end", TEXT)


def test_a_file_that_grew_is_refused(folder: Path) -> None:
    with open(folder / TEXT, "ab") as file:
        file.write(bytes(32))
    _refused(folder, "another file", TEXT)


def test_swapped_files_are_called_swapped(folder: Path) -> None:
    (folder / TEXT).rename(folder / "other")
    (folder / MMPROJ).rename(folder / TEXT)
    (folder / "other").rename(folder / MMPROJ)
    _refused(folder, "swapped", TEXT)
    seal(folder)  # also where the manifest has them swapped
    _refused(folder, "swapped", TEXT)


def test_two_vision_towers_are_no_model(folder: Path) -> None:
    write_mmproj(folder / TEXT)
    seal(folder)
    _refused(folder, "is a vision tower and no text model", TEXT)


def test_two_text_models_are_no_model(folder: Path) -> None:
    write_text(folder / MMPROJ)
    seal(folder)
    _refused(folder, "no vision tower", MMPROJ)


def test_a_vision_tower_of_another_models_width_is_refused(folder: Path) -> None:
    write_mmproj(folder / MMPROJ, width=2 * WIDTH)
    seal(folder)
    _refused(folder, "projects to 128 values a token, text.gguf takes 64", MMPROJ)


def test_a_vision_tower_that_lies_about_its_width_is_refused(folder: Path) -> None:
    write_mmproj(folder / MMPROJ, bias=2 * WIDTH)
    seal(folder)
    _refused(folder, "mm.2.bias has the shape", MMPROJ)


def test_a_vision_tower_that_is_pinned_to_another_text_is_refused(folder: Path) -> None:
    sealed = manifest_to_toml(seal(folder))
    pin = f'mmproj_for_sha256 = "{_said(folder / TEXT).sha256}"'
    assert pin in sealed
    (folder / MANIFEST).write_text(sealed.replace(pin, f'mmproj_for_sha256 = "{"e" * 64}"'), encoding="utf-8")
    _refused(folder, "belongs to another model", MANIFEST)


def test_a_vision_tower_of_another_depth_of_deepstack_is_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl", deepstack=3)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder, "qwen3_vl")
    _refused(folder, "has 1 deepstack layers, text.gguf takes 3", MMPROJ)


def test_a_deepstack_as_deep_as_the_text_model_is_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl", blocks=1)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder, "qwen3_vl")
    _refused(folder, "takes 1 deepstack layers and has 1 blocks", TEXT)


def test_files_of_another_family_are_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl")
    seal(folder)
    _refused(folder, "'qwen3vl' model, but qwen2_5_vl is 'qwen2vl'", TEXT)
    write_text(folder / TEXT)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder)
    _refused(folder, "projector 'qwen3vl_merger'", MMPROJ)


def test_a_manifest_that_cuts_pictures_otherwise_is_refused(folder: Path) -> None:
    seal(folder, image=ImageRules(32, 1024, 1 << 20, "abs_resized"))
    _refused(folder, "token of 28 pixels square, its manifest says patch_multiple = 32", MMPROJ)


def test_a_manifest_that_splits_text_otherwise_is_refused(folder: Path) -> None:
    seal(folder, prompt=PromptRules("0" * 64, "llama-bpe"))
    _refused(folder, "splits text as 'qwen2'", TEXT)


V = gguf.GGUFValueType


@pytest.mark.parametrize(
    ("name", "value", "type", "reason"),
    [
        # llama.cpp asserts, divides by or allocates by each of these
        ("qwen2vl.block_count", 513, V.UINT32, "in 1..512, got 513"),
        ("qwen2vl.block_count", 0, V.UINT32, "in 1..512"),
        ("qwen2vl.block_count", -1, V.INT32, "must be a UINT32, got INT32"),
        ("qwen2vl.attention.head_count", 0, V.UINT32, "in 1..1024"),
        ("qwen2vl.context_length", 2**32 - 1, V.UINT32, "context_length must be in"),
        ("qwen2vl.embedding_length", 32, V.UINT32, "token_embd.weight has the shape"),
        ("qwen2vl.embedding_length", None, None, "got nothing"),
        ("general.architecture", 3, V.UINT32, "must be a STRING"),
        ("split.count", 2, V.UINT16, "one part of a split model"),
    ],
)
def test_a_text_file_that_native_code_would_choke_on_is_refused(
    name: str, value: Any, type: gguf.GGUFValueType | None, reason: str, folder: Path
) -> None:
    write_text(folder / TEXT, edit=_set(name, value, type))
    seal(folder)
    _refused(folder, reason, TEXT)


@pytest.mark.parametrize(
    ("name", "value", "type", "reason"),
    [
        ("clip.vision.patch_size", 0, V.UINT32, "in 1..256, got 0"),
        ("clip.vision.patch_size", 14, V.INT32, "must be a UINT32, got INT32"),
        ("clip.vision.attention.head_count", 0, V.UINT32, "in 1..1024"),
        ("clip.vision.spatial_merge_size", 0, V.UINT32, "in 1..16"),
        ("clip.vision.n_wa_pattern", 1, V.INT32, "must be a UINT32"),
        ("clip.vision.attention.layer_norm_epsilon", 1e-6, V.FLOAT64, "must be a FLOAT32"),
        ("clip.vision.image_mean", [0.5, 0.5], V.ARRAY, "three numbers"),
        ("clip.vision.image_std", None, None, "got nothing"),
        ("clip.has_vision_encoder", 1, V.UINT32, "must be a BOOL"),
        ("clip.has_vision_encoder", False, V.BOOL, "no vision encoder"),
        ("clip.projector_type", None, None, "got nothing"),
        ("clip.projector_type", "mlp", V.STRING, "projector 'mlp'"),
    ],
)
def test_a_vision_tower_that_native_code_would_choke_on_is_refused(
    name: str, value: Any, type: gguf.GGUFValueType | None, reason: str, folder: Path
) -> None:
    write_mmproj(folder / MMPROJ, edit=_set(name, value, type))
    seal(folder)
    _refused(folder, reason, MMPROJ)


@pytest.mark.parametrize("name", [TEXT, MMPROJ])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(name: str, folder: Path) -> None:
    outside = folder.parent / "outside.gguf"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    _refused(folder, "link out of its folder", name)
    (folder / name).unlink()
    (folder / name).symlink_to("../outside.gguf")
    _refused(folder, "link out of its folder", name)
    (folder / name).unlink()
    outside.rename(folder / "blob")
    (folder / name).symlink_to("blob")
    found = vouch(folder)
    assert folder / "blob" in (found.text_path, found.mmproj_path)


def test_a_sibling_whose_name_starts_like_the_folder_is_outside(folder: Path) -> None:
    beside = folder.with_name(folder.name + "-2")
    beside.mkdir()
    (folder / TEXT).rename(beside / TEXT)
    (folder / TEXT).symlink_to(beside / TEXT)
    _refused(folder, "link out of its folder", TEXT)


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder)
    assert vouch(folder.parent / "current").text_path == folder / TEXT


def test_what_is_no_file_is_refused_and_none_is_waited_for(folder: Path) -> None:
    (folder / TEXT).unlink()
    _refused(folder, "No such file", TEXT)
    (folder / TEXT).mkdir()
    _refused(folder, "not a regular file", TEXT)
    (folder / TEXT).rmdir()
    os.mkfifo(folder / TEXT)
    _refused(folder, "not a regular file", TEXT)
    (folder / TEXT).unlink()
    (folder / TEXT).symlink_to(TEXT)
    _refused(folder, "symbolic links", TEXT)
    (folder / TEXT).unlink()
    (folder / TEXT).touch()
    _refused(folder, "is truncated: 0 of", TEXT)


def test_no_descriptor_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    vouch(folder)
    _damage(folder / MMPROJ)
    _refused(folder, "sha256", MMPROJ)
    (folder / MMPROJ).unlink()
    _refused(folder, "No such file", MMPROJ)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_replaced_while_it_is_loaded_is_found_after(folder: Path) -> None:
    found = vouch(folder)
    data = (folder / TEXT).read_bytes()
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / TEXT)
    with pytest.raises(BadModelFile, match="changed or replaced"):
        found.check_unchanged()
    (folder / TEXT).unlink()
    with pytest.raises(BadModelFile, match="went away"):
        found.check_unchanged()


def test_a_file_that_is_written_while_it_is_hashed_is_refused(folder: Path) -> None:
    def write(done: int, total: int) -> None:
        with open(folder / TEXT, "r+b") as file:
            file.write(b"GGUF")
        os.utime(folder / TEXT, ns=(1, 1))

    with pytest.raises(BadModelFile, match="changed while it was read"):
        vouch(folder, progress=write)


def _hashed(folder: Path) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    vouch(folder, progress=lambda done, total: calls.append((done, total)))
    return calls


def test_progress_ends_at_the_bytes_of_both_files(folder: Path) -> None:
    both = (folder / TEXT).stat().st_size + (folder / MMPROJ).stat().st_size
    assert _hashed(folder)[-1] == (both, both)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written long ago."""
    monkeypatch.setattr(verified_files, "SETTLED_NS", 0)


@pytest.mark.usefixtures("settled")
def test_a_verified_file_is_not_hashed_again_until_it_is_touched(folder: Path) -> None:
    assert _hashed(folder)
    assert _hashed(folder) == []
    _damage(folder / MMPROJ)
    _refused(folder, "sha256", MMPROJ)
    _damage(folder / MMPROJ)  # as it was, but who knows
    assert _hashed(folder)[-1][1] == (folder / MMPROJ).stat().st_size
    assert _hashed(folder) == []


@pytest.mark.usefixtures("settled")
def test_a_restored_time_stamp_does_not_hide_a_change(folder: Path) -> None:
    vouch(folder)
    facts = (folder / TEXT).stat()
    _damage(folder / TEXT)
    os.utime(folder / TEXT, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    _refused(folder, "sha256", TEXT)


@pytest.mark.usefixtures("settled")
def test_what_was_verified_as_another_file_does_not_count(folder: Path) -> None:
    vouch(folder)
    sealed = seal(folder)
    seal(folder, mmproj=replace(sealed.mmproj, sha256="f" * 64))
    _refused(folder, "its manifest says ffffffffffff", MMPROJ)


def test_a_file_that_was_just_written_is_not_remembered(folder: Path, memory: Path) -> None:
    vouch(folder)
    assert not memory.exists()
    assert _hashed(folder)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"a": 1}', b"[" * 60000, b"\xff\xfe", b'{"' + b"a" * (1 << 17) + b'": ""}'],
    ids=["empty", "cut", "list", "null", "number", "deep", "not text", "long"],
)
def test_a_damaged_memory_is_ignored_and_written_anew(content: bytes, folder: Path, memory: Path) -> None:
    memory.parent.mkdir(parents=True)
    memory.write_bytes(content)
    memory.chmod(0o600)
    assert _hashed(folder)
    assert _hashed(folder) == []
    assert len(json.loads(memory.read_bytes())) == 2


@pytest.mark.usefixtures("settled")
def test_a_memory_that_others_can_write_is_not_believed(folder: Path, memory: Path) -> None:
    vouch(folder)
    memory.chmod(0o666)
    assert _hashed(folder)


@pytest.mark.usefixtures("settled")
def test_the_memory_is_bounded_and_leaves_nothing_beside_it(folder: Path, memory: Path) -> None:
    for number in range(verified_files.MOST_REMEMBERED + 10):
        verified_files.remember_verified((1, number, 1, 1, 1), "a" * 64)
    vouch(folder)
    assert len(json.loads(memory.read_bytes())) == verified_files.MOST_REMEMBERED
    assert memory.stat().st_size < verified_files.MOST_BYTES
    assert os.listdir(memory.parent) == [memory.name]
    assert _hashed(folder) == []


@pytest.mark.usefixtures("settled")
def test_a_memory_that_cannot_be_written_is_no_error(folder: Path, memory: Path) -> None:
    memory.parent.parent.mkdir(exist_ok=True)
    memory.parent.write_text("a file where the folder should be")
    vouch(folder)
    memory.parent.unlink()
    memory.mkdir(parents=True)
    vouch(folder)
    assert os.listdir(memory.parent) == [memory.name]


@pytest.mark.usefixtures("settled")
def test_a_relative_cache_folder_is_not_used(
    folder: Path, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    vouch(folder)
    assert not (tmp_path / "relative").exists()
    assert (tmp_path / "home" / ".cache" / "scene-r1-edge" / memory.name).exists()
