"""A checkpoint is read whole, and refused when its files, template or picture rules are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from tests.export.checkpoint_parts import copied, edit_json

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import system_block
from scene_r1_export.chat_layout import check_chat_layout
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.fixtures.chat_template import WITH_DEFAULT_SYSTEM, WITHOUT_DEFAULT_SYSTEM
from scene_r1_export.image_rules import image_rules


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return copied(tiny_checkpoint, tmp_path)


def _template(folder: Path, text: str | None) -> None:
    edit_json(folder / "tokenizer_config.json", lambda one: one.update(chat_template=text))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda at: (at / "config.json").unlink(), "config.json: is missing"),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "tokenizer.json: is missing"),
    "config is no JSON": (lambda at: (at / "config.json").write_text("{"), "is no JSON"),
    "config is a list": (lambda at: (at / "config.json").write_text("[]"), "must hold a JSON object"),
    "config is nested deeply": (lambda at: (at / "config.json").write_text("[" * 100_000), "is no JSON"),
    "config is huge": (lambda at: (at / "config.json").write_bytes(b" " * (5 << 20)), "is too large"),
    "another architecture": (
        lambda at: edit_json(at / "config.json", lambda one: one.update(model_type="llama")),
        "is not exported; known",
    ),
    "another class": (
        lambda at: edit_json(at / "config.json", lambda one: one.update(architectures=["LlamaForCausalLM"])),
        "is not exported; known",
    ),
    "programs to run": (
        lambda at: edit_json(at / "tokenizer_config.json", lambda one: one.update(auto_map={"AutoTokenizer": "x.Y"})),
        "auto_map",
    ),
    "truncated weights": (lambda at: os.truncate(at / "model.safetensors", 1 << 20), "is not whole"),
    "empty weights": (lambda at: os.truncate(at / "model.safetensors", 0), "is not whole"),
    "pickled weights only": (
        lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"),
        "pickled weights",
    ),
    "a missing shard": (
        lambda at: (at / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-2-of-2.safetensors"}}'
        ),
        "part of the weights is missing",
    ),
    "a shard elsewhere": (
        lambda at: (at / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}'),
        "beside it",
    ),
    "a tensor that no shard holds": (
        lambda at: (at / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {**dict.fromkeys(_names(at), "model.safetensors"), "more": "model.safetensors"}})
        ),
        "names more, which no file holds",
    ),
    "a tensor without its place": (
        lambda at: (at / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"model.language_model.norm.weight": "model.safetensors"}})
        ),
        "does not place there",
    ),
    "wrong vision depth": (
        lambda at: edit_json(at / "config.json", lambda one: one["vision_config"].update(depth=6)),
        "vision_config.depth is 6, but the weights hold 4",
    ),
    "wrong number of layers": (
        lambda at: edit_json(at / "config.json", lambda one: one["text_config"].update(num_hidden_layers=3)),
        "num_hidden_layers is 3, but the weights hold 2",
    ),
    "wrong width": (
        lambda at: edit_json(at / "config.json", lambda one: one["text_config"].update(hidden_size=512)),
        "layer 0 should hold",
    ),
    "wrong vocabulary": (
        lambda at: edit_json(at / "config.json", lambda one: one["text_config"].update(vocab_size=151936)),
        "embed_tokens.weight of shape",
    ),
    "a width of text": (
        lambda at: edit_json(at / "config.json", lambda one: one["text_config"].update(hidden_size="256")),
        "must be a positive whole number",
    ),
    "vision made for another text model": (
        lambda at: edit_json(at / "config.json", lambda one: one["vision_config"].update(out_hidden_size=2048)),
        "is not the text model's width",
    ),
    "full attention at odd places": (
        lambda at: edit_json(at / "config.json", lambda one: one["vision_config"].update(fullatt_block_indexes=[0, 3])),
        "fullatt_block_indexes",
    ),
    "an output layer that is missing": (
        lambda at: edit_json(
            at / "config.json",
            lambda one: one.update(tie_word_embeddings=False) or one["text_config"].update(tie_word_embeddings=False),
        ),
        "lm_head.weight",
    ),
    "a tensor that is missing": (lambda at: _drop(at, "layers.1.mlp.gate_proj.weight"), "layer 1 should hold"),
    "a declaration that is no name": (
        lambda at: edit_json(at / "config.json", lambda one: one.update(scene_r1={"pre_tokenizer": "../x"})),
        "pre_tokenizer must be a name",
    ),
    "a link that leads out": (lambda at: _link_out(at), "leads out of the checkpoint's folder"),
    "a link to nowhere": (
        lambda at: (at / "generation_config.json").unlink() or (at / "generation_config.json").symlink_to("gone"),
        "leads nowhere",
    ),
    "a pipe": (
        lambda at: (at / "merges.txt").unlink(missing_ok=True) or os.mkfifo(at / "merges.txt"),
        "is not a regular file",
    ),
}


def _names(folder: Path) -> list[str]:
    return list(load_file(folder / "model.safetensors"))


def _drop(folder: Path, ending: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    (name,) = (one for one in tensors if one.endswith(ending))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")


def _link_out(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder.parent / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(folder.parent / "elsewhere.json")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_before_it_is_converted(name: str, copy: Path) -> None:
    spoil, reason = BROKEN[name]
    spoil(copy)
    with pytest.raises(BadModelFile, match=reason):
        read_checkpoint(copy)


def test_the_links_of_a_hubs_cache_are_followed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    home = tmp_path / "models--Org--Tiny-VL"
    (home / "blobs").mkdir(parents=True)
    (home / "snapshots" / "abc").mkdir(parents=True)
    for path in tiny_checkpoint.iterdir():
        shutil.copy(path, home / "blobs" / f"{path.name}.blob")
        (home / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{path.name}.blob")
    checkpoint = read_checkpoint(home / "snapshots" / "abc")
    assert checkpoint.name == "Org/Tiny-VL"
    assert checkpoint.sha256() == read_checkpoint(tiny_checkpoint).sha256()


def test_weights_in_several_shards_are_read_as_one(copy: Path) -> None:
    whole = read_checkpoint(copy).weights
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    first = dict(list(tensors.items())[::2])
    shards = {"model-00001-of-00002.safetensors": first}
    shards["model-00002-of-00002.safetensors"] = {name: one for name, one in tensors.items() if name not in first}
    for name, part in shards.items():
        save_file(part, copy / name)
    placed = {tensor: name for name, part in shards.items() for tensor in part}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    weights = read_checkpoint(copy).weights
    assert weights.shapes == whole.shapes
    assert (weights.bytes, weights.float_type, len(weights.files)) == (whole.bytes, "F32", 2)


@pytest.mark.parametrize(
    ("files", "license"),
    [
        ({"README.md": "---\nlicense: other\nlicense_name: qwen-research\n---\n# Tiny"}, "qwen-research"),
        ({"README.md": "# Tiny", "LICENSE": "\n   Apache License\n   Version 2.0, January 2004\n"}, "apache-2.0"),
        ({"README.md": "# license: mit"}, "unknown"),
    ],
)
def test_the_licence_is_the_one_that_is_stated(copy: Path, files: dict[str, str], license: str) -> None:
    for name, text in files.items():
        (copy / name).write_text(text)
    assert read_checkpoint(copy).license == license


# Chat templates and pictures


def test_a_template_without_a_system_message_of_its_own_says_none(copy: Path) -> None:
    _template(copy, WITHOUT_DEFAULT_SYSTEM)
    assert check_chat_layout(read_checkpoint(copy)).system == system_block("") == ""


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "has no chat template"),
        ("{% if %}", "cannot be rendered"),
        (WITH_DEFAULT_SYSTEM.replace("assistant\n{%", "assistant{%"), "from character"),
        (WITH_DEFAULT_SYSTEM.replace("<|image_pad|>", "<image>"), "the template 'image>"),
        ("{{ raise_exception('not for pictures') }}", "not for pictures"),
        ("{{ messages.__class__.__mro__ }}", "cannot be rendered"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes too long"),
        ("{{ 'x' * 10 ** 10 }}", "MemoryError"),
    ],
)
def test_a_template_that_says_something_else_is_refused(copy: Path, template: str | None, reason: str) -> None:
    _template(copy, template)
    with pytest.raises(BadModelFile, match=reason):
        check_chat_layout(read_checkpoint(copy))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"min_pixels": 0}, "impossible"),
        ({"min_pixels": 10**9, "max_pixels": 10**9}, "llama.cpp has"),
        ({"max_pixels": None, "size": None}, "says no min_pixels"),
        ({"patch_size": 16}, "patch_size is 16"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std must be"),
    ],
)
def test_impossible_rules_for_pictures_are_refused(copy: Path, change: dict[str, Any], reason: str) -> None:
    edit_json(copy / "preprocessor_config.json", lambda one: one.update(change))
    with pytest.raises(BadModelFile, match=reason):
        image_rules(read_checkpoint(copy), None, None)
