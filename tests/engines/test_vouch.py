"""Nothing of a model folder gets past `vouch` that is not there, whole, sound, of one model and unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gguf
import pytest
from tests.engines.model_folder import (
    MMPROJ,
    TEXT,
    WIDTH,
    Edit,
    damage,
    refused,
    remembered_in,
    said_of,
    seal,
    sound_folder,
    write_mmproj,
    write_text,
)

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import FAMILIES, MANIFEST, ImageRules, PromptRules, manifest_to_toml
from scene_r1_engines.vouch import NATIVE, vouch

V = gguf.GGUFValueType


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verified files are remembered during a test."""
    return remembered_in(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model folder."""
    return sound_folder(tmp_path / "model")


def with_key(name: str, value: Any, type: gguf.GGUFValueType | None) -> Edit:
    """Replaces what the writer has for a key; None takes it out."""

    def edit(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(name, None)
        if type is not None:
            writer.add_key_value(name, value, type, gguf.GGUFValueType.FLOAT32 if isinstance(value, list) else None)

    return edit


def test_the_manifest_and_this_module_know_the_same_families() -> None:
    assert tuple(NATIVE) == FAMILIES


def test_a_sound_folder_is_vouched_for(folder: Path) -> None:
    found = vouch(folder)
    assert (found.text_path, found.mmproj_path) == (folder / TEXT, folder / MMPROJ)
    assert found.text.tensors["token_embd.weight"].shape == (WIDTH, 2)
    assert found.mmproj.text("clip.projector_type") == "qwen2.5vl_merger"
    assert found.manifest.text == said_of(folder / TEXT)
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
    before = said_of(folder / name)
    damage(folder / name, at)
    error = refused(folder, "sha256|architecture|model", name)
    if at == -1:  # in the data, where only the hash can tell
        assert before.sha256[:12] in error.reason
        vouch(folder, verify_hashes=False)


@pytest.mark.parametrize("name", [TEXT, MMPROJ])
def test_a_truncated_file_is_called_truncated(name: str, folder: Path) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 32)
    refused(folder, "is truncated", name)


def test_a_file_that_was_truncated_before_it_was_sealed_is_refused(folder: Path) -> None:
    os.truncate(folder / TEXT, (folder / TEXT).stat().st_size - 32)
    seal(folder)
    refused(folder, "beyond the file's end", TEXT)


def test_a_file_that_grew_is_refused(folder: Path) -> None:
    with open(folder / TEXT, "ab") as file:
        file.write(bytes(32))
    refused(folder, "another file", TEXT)


def test_swapped_files_are_called_swapped(folder: Path) -> None:
    (folder / TEXT).rename(folder / "other")
    (folder / MMPROJ).rename(folder / TEXT)
    (folder / "other").rename(folder / MMPROJ)
    refused(folder, "swapped", TEXT)
    seal(folder)  # also where the manifest has them swapped
    refused(folder, "swapped", TEXT)


def test_two_vision_towers_are_no_model(folder: Path) -> None:
    write_mmproj(folder / TEXT)
    seal(folder)
    refused(folder, "is a vision tower and no text model", TEXT)


def test_two_text_models_are_no_model(folder: Path) -> None:
    write_text(folder / MMPROJ)
    seal(folder)
    refused(folder, "no vision tower", MMPROJ)


def test_a_vision_tower_of_another_models_width_is_refused(folder: Path) -> None:
    write_mmproj(folder / MMPROJ, width=2 * WIDTH)
    seal(folder)
    refused(folder, "projects to 128 values a token, text.gguf takes 64", MMPROJ)


def test_a_vision_tower_that_lies_about_its_width_is_refused(folder: Path) -> None:
    write_mmproj(folder / MMPROJ, bias=2 * WIDTH)
    seal(folder)
    refused(folder, "mm.2.bias has the shape", MMPROJ)


def test_a_vision_tower_that_is_pinned_to_another_text_is_refused(folder: Path) -> None:
    sealed = manifest_to_toml(seal(folder))
    pin = f'mmproj_for_sha256 = "{said_of(folder / TEXT).sha256}"'
    assert pin in sealed
    (folder / MANIFEST).write_text(sealed.replace(pin, f'mmproj_for_sha256 = "{"e" * 64}"'), encoding="utf-8")
    refused(folder, "belongs to another model", MANIFEST)


def test_a_vision_tower_of_another_depth_of_deepstack_is_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl", deepstack=3)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder, "qwen3_vl")
    refused(folder, "has 1 deepstack layers, text.gguf takes 3", MMPROJ)


def test_a_deepstack_as_deep_as_the_text_model_is_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl", blocks=1)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder, "qwen3_vl")
    refused(folder, "takes 1 deepstack layers and has 1 blocks", TEXT)


def test_files_of_another_family_are_refused(folder: Path) -> None:
    write_text(folder / TEXT, "qwen3_vl")
    seal(folder)
    refused(folder, "'qwen3vl' model, but qwen2_5_vl is 'qwen2vl'", TEXT)
    write_text(folder / TEXT)
    write_mmproj(folder / MMPROJ, "qwen3_vl")
    seal(folder)
    refused(folder, "projector 'qwen3vl_merger'", MMPROJ)


def test_a_manifest_that_cuts_pictures_otherwise_is_refused(folder: Path) -> None:
    seal(folder, image=ImageRules(32, 1024, 1 << 20, "abs_resized"))
    refused(folder, "token of 28 pixels square, its manifest says patch_multiple = 32", MMPROJ)


def test_a_manifest_that_splits_text_otherwise_is_refused(folder: Path) -> None:
    seal(folder, prompt=PromptRules("0" * 64, "llama-bpe"))
    refused(folder, "splits text as 'qwen2'", TEXT)


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
    write_text(folder / TEXT, edit=with_key(name, value, type))
    seal(folder)
    refused(folder, reason, TEXT)


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
    write_mmproj(folder / MMPROJ, edit=with_key(name, value, type))
    seal(folder)
    refused(folder, reason, MMPROJ)


@pytest.mark.parametrize("name", [TEXT, MMPROJ])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(name: str, folder: Path) -> None:
    outside = folder.parent / "outside.gguf"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    refused(folder, "link out of its folder", name)
    (folder / name).unlink()
    (folder / name).symlink_to("../outside.gguf")
    refused(folder, "link out of its folder", name)
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
    refused(folder, "link out of its folder", TEXT)


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder)
    assert vouch(folder.parent / "current").text_path == folder / TEXT


def test_what_is_no_file_is_refused_and_none_is_waited_for(folder: Path) -> None:
    (folder / TEXT).unlink()
    refused(folder, "No such file", TEXT)
    (folder / TEXT).mkdir()
    refused(folder, "not a regular file", TEXT)
    (folder / TEXT).rmdir()
    os.mkfifo(folder / TEXT)
    refused(folder, "not a regular file", TEXT)
    (folder / TEXT).unlink()
    (folder / TEXT).symlink_to(TEXT)
    refused(folder, "symbolic links", TEXT)
    (folder / TEXT).unlink()
    (folder / TEXT).touch()
    refused(folder, "is truncated: 0 of", TEXT)


def test_no_descriptor_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    vouch(folder)
    damage(folder / MMPROJ)
    refused(folder, "sha256", MMPROJ)
    (folder / MMPROJ).unlink()
    refused(folder, "No such file", MMPROJ)
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
