"""Small model folders for tests: how they are written, sealed, damaged and refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import MANIFEST, ImageRules, Manifest, ModelFile, PromptRules, manifest_to_toml
from scene_r1_engines.vouch import NATIVE, vouch

TEXT, MMPROJ = "text.gguf", "mmproj.gguf"
WIDTH = 64
MERGE = {"qwen2_5_vl": 28, "qwen3_vl": 32}
Edit = Callable[[gguf.GGUFWriter], None]


def remembered_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verified files are remembered during a test, from now on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scene-r1-edge" / "vouched.json"


def _finish(writer: gguf.GGUFWriter, edit: Edit | None) -> None:
    if edit is not None:
        edit(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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


def said_of(path: Path) -> ModelFile:
    data = path.read_bytes()
    return ModelFile(path.name, hashlib.sha256(data).hexdigest(), len(data), "F32")


def seal(folder: Path, family: str = "qwen2_5_vl", **changes: Any) -> Manifest:
    """Write a manifest that fits the files as they are now, but for the changes."""
    text, mmproj = said_of(folder / TEXT), said_of(folder / MMPROJ)
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


def sound_folder(where: Path) -> Path:
    """A sound model folder, made there."""
    where.mkdir()
    write_text(where / TEXT)
    write_mmproj(where / MMPROJ)
    seal(where)
    return where


def refused(folder: Path, reason: str, at: str = "") -> BadModelFile:
    with pytest.raises(BadModelFile, match=reason) as caught:
        vouch(folder)
    assert caught.value.path.endswith(at)
    return caught.value


def damage(path: Path, at: int = -1) -> None:
    """Flip one bit of a file, in a later tick of its clock than its last change."""
    before = path.stat().st_ctime_ns
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    while path.stat().st_ctime_ns == before:
        path.write_bytes(data)
