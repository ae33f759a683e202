"""A checkpoint becomes a model folder: whole, vouched for, and refused early when it is not what it should be."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed, OutputExists
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.vouch import vouch
from scene_r1_export.adapter import read_adapter
from scene_r1_export.chat_layout import check_chat_layout, system_block
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.cli import main
from scene_r1_export.converter_source import find_converter
from scene_r1_export.fixtures.chat_template import WITH_DEFAULT_SYSTEM, WITHOUT_DEFAULT_SYSTEM
from scene_r1_export.image_rules import image_rules
from scene_r1_export.merge import merge
from scene_r1_export.vlm import VlmExport, export_vlm

CHECKOUT = os.environ.get("SCENE_R1_LLAMA_CPP")
CONVERTER = ["--llama-cpp", CHECKOUT] if CHECKOUT else []
NO_CONVERTER = """
import os, sys, time
def main():
    print("reading the weights", flush=True)
    if os.environ.get("PID_FILE"):
        with open(os.environ["PID_FILE"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    print("a layer has the wrong name", file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A llama.cpp checkout whose converter fails, or hangs when PID_FILE is set."""
    folder = tmp_path / "llama.cpp"
    for name, text in {
        "convert_hf_to_gguf.py": NO_CONVERTER,
        "conversion/__init__.py": "",
        "conversion/base.py": "class TextModel:\n    def get_vocab_base_pre(self, tokenizer): ...\n",
        "gguf-py/gguf/__init__.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def _template(folder: Path, text: str | None) -> None:
    _edit(folder / "tokenizer_config.json", lambda one: one.update(chat_template=text))


# The model folder


def test_the_manifest_vouches_for_what_the_checkpoint_says(tiny_model: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(tiny_model)
    assert manifest.family == "qwen2_5_vl"
    assert manifest.license == "apache-2.0"
    assert manifest.source_sha256 == read_checkpoint(tiny_checkpoint).sha256()
    assert (manifest.image.patch_multiple, manifest.image.box_space) == (28, "abs_resized")
    # The checkpoint allows 4 to 16384 tokens, llama.cpp 8 to 4096.
    assert (manifest.image.min_pixels, manifest.image.max_pixels) == (8 * 28**2, 4096 * 28**2)
    assert manifest.prompt.pre_tokenizer == "qwen2"
    assert manifest.prompt.system == "You are a helpful assistant."
    assert manifest.prompt.chat_template_sha256 == sha256(WITH_DEFAULT_SYSTEM.encode()).hexdigest()
    assert (manifest.time.encoding, manifest.time.tokens_per_second) == ("text", 2.0)
    assert (manifest.text.quantization, manifest.mmproj.quantization) == ("F32", "F32")
    for file in (manifest.text, manifest.mmproj):
        data = (tiny_model / file.file).read_bytes()
        assert (sha256(data).hexdigest(), len(data)) == (file.sha256, file.bytes)
    assert sorted(path.name for path in tiny_model.iterdir()) == ["manifest.toml", "mmproj-F32.gguf", "text-F32.gguf"]


def test_the_files_state_their_origin(tiny_model: Path) -> None:
    found = vouch(tiny_model)
    for file in (found.text, found.mmproj):
        assert file.metadata["general.name"] == "tiny_checkpoint"
        assert file.metadata["general.license"] == "apache-2.0"
        assert file.metadata["scene_r1.box_space"] == "abs_resized"
    assert found.text.metadata["tokenizer.ggml.pre"] == "qwen2"


def test_llama_cpp_splits_text_as_the_checkpoints_tokenizer_does(tiny_model: Path, tiny_checkpoint: Path) -> None:
    from llama_cpp import Llama
    from transformers import AutoTokenizer

    llama = Llama(str(tiny_model / "text-F32.gguf"), vocab_only=True, verbose=False)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    text = "<|im_start|>user\nWhere is  the\n\n red mug, I'LL ask? 3333 wh-éü 🚀<think>ok</think><|im_end|>\n"
    assert llama.tokenize(text.encode(), add_bos=False, special=True) == tokenizer.encode(text)
    llama.close()


def test_the_video_model_is_the_same_but_for_its_time(tiny_model: Path, tiny_video_model: Path) -> None:
    video = vouch(tiny_video_model).manifest
    assert video.time.encoding == "video"
    assert video.text == read_manifest(tiny_model).text


def test_an_adapter_is_merged_and_both_files_are_quantised_in_one_command(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    halves = {name: value.to(torch.bfloat16) for name, value in load_torch(copy / "model.safetensors").items()}
    save_torch(halves, copy / "model.safetensors", {"format": "pt"})
    _adapter(tmp_path / "adapter")
    out = tmp_path / "models" / "edge"
    command = ["vlm", str(copy), "--out", str(out), "--lora", str(tmp_path / "adapter"), *CONVERTER, "--json"]
    command += ["--quantize", "Q4_K_M", "--override", "attn_v=Q8_0", "--mmproj-quantize", "F16", "--name", "Edge"]
    command += ["--time-encoding", "video", "--box-space", "rel_1000", "--grounding-pixels", "802816"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = vouch(out)
    manifest = found.manifest
    assert said["manifest"]["text"]["sha256"] == manifest.text.sha256
    assert (manifest.name, manifest.time.encoding, manifest.image.box_space) == ("Edge", "video", "rel_1000")
    assert manifest.image.grounding_pixels == 802816
    assert (manifest.text.quantization, manifest.text.overrides) == ("Q4_K_M", "attn_v=Q8_0")
    types = {name: tensor.type for name, tensor in found.text.tensors.items()}
    assert types["blk.0.attn_v.weight"] == "Q8_0"
    assert types["blk.0.attn_q.weight"] == "Q4_K"
    assert manifest.source_sha256 != read_checkpoint(copy).sha256()  # the adapter counts
    assert [path.name for path in out.parent.iterdir()] == ["edge"]


# Checkpoints that are not what they should be

BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda at: (at / "config.json").unlink(), "config.json: is missing"),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "tokenizer.json: is missing"),
    "config is no JSON": (lambda at: (at / "config.json").write_text("{"), "is no JSON"),
    "config is a list": (lambda at: (at / "config.json").write_text("[]"), "must hold a JSON object"),
    "config is nested deeply": (lambda at: (at / "config.json").write_text("[" * 100_000), "is no JSON"),
    "config is huge": (lambda at: (at / "config.json").write_bytes(b" " * (5 << 20)), "is too large"),
    "another architecture": (
        lambda at: _edit(at / "config.json", lambda one: one.update(model_type="llama")),
        "is not exported; known",
    ),
    "another class": (
        lambda at: _edit(at / "config.json", lambda one: one.update(architectures=["LlamaForCausalLM"])),
        "is not exported; known",
    ),
    "programs to run": (
        lambda at: _edit(at / "tokenizer_config.json", lambda one: one.update(auto_map={"AutoTokenizer": "x.Y"})),
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
        lambda at: _edit(at / "config.json", lambda one: one["vision_config"].update(depth=6)),
        "vision_config.depth is 6, but the weights hold 4",
    ),
    "wrong number of layers": (
        lambda at: _edit(at / "config.json", lambda one: one["text_config"].update(num_hidden_layers=3)),
        "num_hidden_layers is 3, but the weights hold 2",
    ),
    "wrong width": (
        lambda at: _edit(at / "config.json", lambda one: one["text_config"].update(hidden_size=512)),
        "layer 0 should hold",
    ),
    "wrong vocabulary": (
        lambda at: _edit(at / "config.json", lambda one: one["text_config"].update(vocab_size=151936)),
        "embed_tokens.weight of shape",
    ),
    "a width of text": (
        lambda at: _edit(at / "config.json", lambda one: one["text_config"].update(hidden_size="256")),
        "must be a positive whole number",
    ),
    "vision made for another text model": (
        lambda at: _edit(at / "config.json", lambda one: one["vision_config"].update(out_hidden_size=2048)),
        "is not the text model's width",
    ),
    "full attention at odd places": (
        lambda at: _edit(at / "config.json", lambda one: one["vision_config"].update(fullatt_block_indexes=[0, 3])),
        "fullatt_block_indexes",
    ),
    "an output layer that is missing": (
        lambda at: _edit(
            at / "config.json",
            lambda one: one.update(tie_word_embeddings=False) or one["text_config"].update(tie_word_embeddings=False),
        ),
        "lm_head.weight",
    ),
    "a tensor that is missing": (lambda at: _drop(at, "layers.1.mlp.gate_proj.weight"), "layer 1 should hold"),
    "a declaration that is no name": (
        lambda at: _edit(at / "config.json", lambda one: one.update(scene_r1={"pre_tokenizer": "../x"})),
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
    _edit(copy / "preprocessor_config.json", lambda one: one.update(change))
    with pytest.raises(BadModelFile, match=reason):
        image_rules(read_checkpoint(copy), None, None)


# Adapters


def _adapter(folder: Path, width: int = 256, prefix: str = "base_model.model.model.layers.") -> dict[str, Any]:
    """An adapter as PEFT wrote it over transformers 4.49, whose layers had other names. Returns its tensors."""
    draw = np.random.default_rng(3)
    places = {"0.self_attn.q_proj": (256, width, 4), "1.mlp.down_proj": (256, 512, 8)}
    tensors = {}
    for place, (rows, columns, rank) in places.items():
        tensors[f"{prefix}{place}.lora_A.weight"] = draw.normal(0, 0.1, (rank, columns)).astype(np.float32)
        tensors[f"{prefix}{place}.lora_B.weight"] = draw.normal(0, 0.1, (rows, rank)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    config |= {"alpha_pattern": {"1.mlp.down_proj": 2}, "megatron_core": "no.such.module", "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return tensors


def test_merged_weights_are_the_sum_in_float32(tiny_checkpoint: Path, tmp_path: Path) -> None:
    parts = {
        name.removeprefix("base_model.model.model.layers."): one for name, one in _adapter(tmp_path / "adapter").items()
    }
    for name in ("merged", "scratch"):
        (tmp_path / name).mkdir()
    checkpoint = read_checkpoint(tiny_checkpoint)
    merge(checkpoint, read_adapter(tmp_path / "adapter"), tmp_path / "merged", tmp_path / "scratch")
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(tmp_path / "merged/model.safetensors")
    assert before.keys() == after.keys()
    scales = {"0.self_attn.q_proj": 8 / 4, "1.mlp.down_proj": 2 / 8}
    for name, weight in before.items():
        place = next((one for one in scales if name == f"model.layers.{one}.weight"), None)
        if place is None:
            np.testing.assert_array_equal(after[name], weight, name)
        else:
            added = parts[f"{place}.lora_B.weight"] @ parts[f"{place}.lora_A.weight"]
            np.testing.assert_allclose(after[name], weight + scales[place] * added, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: _adapter(at, width=512), "is of another base: .* is 256x256 there"),
        (lambda at: _adapter(at, prefix="base_model.model.model.blocks."), "has no linear layer"),
        (lambda at: (at / "adapter_model.safetensors").unlink(), "is missing"),
        (lambda at: os.truncate(at / "adapter_model.safetensors", 2000), "is not whole"),
        (lambda at: _edit(at / "adapter_config.json", lambda one: one.update(peft_type="IA3")), "only LORA"),
        (lambda at: _edit(at / "adapter_config.json", lambda one: one.update(bias="all")), "bias is trained"),
        (lambda at: _edit(at / "adapter_config.json", lambda one: one.update(lora_alpha="8")), "must be a number"),
        (lambda at: _edit(at / "adapter_config.json", lambda one: one.update(layer_replication=[[0, 2]])), "is set"),
        (lambda at: save_file({"x.lora_A.weight": np.ones((4, 256))}, at / "adapter_model.safetensors"), "no pair"),
        (lambda at: save_file({"x.lora_E": np.ones(4)}, at / "adapter_model.safetensors"), "of a kind"),
        (lambda at: _with_nan(at), "cannot be merged"),
    ],
)
def test_an_adapter_of_another_base_or_kind_is_refused(
    spoil: Callable[[Path], object], reason: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    _adapter(tmp_path / "adapter")
    spoil(tmp_path / "adapter")
    for name in ("merged", "scratch"):
        (tmp_path / name).mkdir()
    with pytest.raises(BadModelFile, match=reason):
        merge(
            read_checkpoint(tiny_checkpoint),
            read_adapter(tmp_path / "adapter"),
            tmp_path / "merged",
            tmp_path / "scratch",
        )


def _with_nan(folder: Path) -> None:
    tensors = _adapter(folder)
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")


# The converter


def test_a_tokenizer_that_nobody_knows_or_declares_is_refused_by_its_hash(copy: Path, tmp_path: Path) -> None:
    _edit(copy / "config.json", lambda one: one.pop("scene_r1"))
    with pytest.raises(BadModelFile, match=r"hash [0-9a-f]{64}.*declare it in config.json"):
        export_vlm(VlmExport(copy, tmp_path / "out", llama_cpp=Path(CHECKOUT) if CHECKOUT else None))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_converter_that_fails_says_why_and_leaves_nothing(tiny_checkpoint: Path, failing: Path) -> None:
    out = failing.parent / "out"
    with pytest.raises(EngineFailed, match=r"ended with code 3(.|\n)*a layer has the wrong name"):
        export_vlm(VlmExport(tiny_checkpoint, out, llama_cpp=failing))
    assert [path.name for path in failing.parent.iterdir()] == ["llama.cpp"]


def test_an_export_that_is_stopped_takes_its_converter_with_it(
    tiny_checkpoint: Path, failing: Path, repository: Path
) -> None:
    pid_file, out = failing.parent / "pid", failing.parent / "out"
    rooms = os.pathsep.join(str(repository / room) for room in ("runtime", "engines", "export"))
    command = [sys.executable, "-m", "scene_r1_export.cli", "vlm", str(tiny_checkpoint), "--out", str(out)]
    with subprocess.Popen(
        [*command, "--llama-cpp", str(failing)],
        env={**os.environ, "PYTHONPATH": rooms, "PID_FILE": str(pid_file)},
        stderr=subprocess.PIPE,
        text=True,
    ) as export:
        while not (pid_file.exists() and pid_file.read_text()) and export.poll() is None:
            time.sleep(0.05)
        export.send_signal(signal.SIGTERM)
        _, said = export.communicate(timeout=60)
    assert (export.returncode, said.strip()) == (143, "scene-r1-export vlm: terminated")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert sorted(path.name for path in failing.parent.iterdir()) == ["llama.cpp", "pid"]


def test_a_folder_without_a_converter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="name llama"):
        find_converter(checkout=tmp_path)


def _sdist(path: Path, converter: Path, *more: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(converter, "llama_cpp_python-9.9.9/vendor/llama.cpp")
        for member, data in more:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"llama_cpp_python-9.9.9/vendor/llama.cpp/{name}")
    member.type, member.linkname = kind, link
    return member


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scene-r1-edge" / "llama.cpp"


def test_only_the_converter_comes_out_of_a_source_distribution(
    failing: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sdist = _sdist(
        tmp_path / "llama_cpp_python-9.9.9.tar.gz",
        failing,
        (_member("conversion/../../../../evil.py"), b"evil"),
        (_member("conversion/link.py", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (_member("conversion/hard.py", tarfile.LNKTYPE, "conversion/base.py"), b""),
        (_member("conversion/qwenvl.py"), b"# a model"),
        (_member("src/llama.cpp"), b"int main;"),
    )
    folder = find_converter(sdist=sdist)
    assert folder.parent == cache
    assert "never looked at" in caplog.text
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    assert names == [
        "conversion/__init__.py",
        "conversion/base.py",
        "conversion/qwenvl.py",
        "convert_hf_to_gguf.py",
        "gguf-py/gguf/__init__.py",
    ]
    assert not list(tmp_path.rglob("evil.py"))
    assert find_converter(sdist=sdist) == folder
    assert list(cache.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: os.truncate(at, at.stat().st_size // 2), "is no whole .tar.gz"),
        (lambda at: at.write_bytes(b"no archive"), "is no whole .tar.gz"),
        (lambda at: at.unlink(), "is no file"),
        (lambda at: tarfile.open(at, "w:gz").close(), "holds no vendor/llama.cpp"),
    ],
)
def test_a_source_distribution_that_is_broken_is_refused(
    spoil: Callable[[Path], object], reason: str, failing: Path, cache: Path, tmp_path: Path
) -> None:
    sdist = _sdist(tmp_path / "llama_cpp_python-9.9.9.tar.gz", failing)
    spoil(sdist)
    with pytest.raises(BadModelFile, match=reason):
        find_converter(sdist=sdist)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_known_version_with_other_bytes_is_refused(failing: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"not that of llama-cpp-python 0\.3\.36"):
        find_converter(sdist=_sdist(tmp_path / "llama_cpp_python-0.3.36.tar.gz", failing))
    assert not cache.exists()


def test_without_a_package_index_the_error_says_how_to_give_a_checkout(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(EngineFailed, match=r"cannot be downloaded(.|\n)*--llama-cpp DIR"):
        find_converter()
    assert not cache.exists()


# Wishes that cannot be granted


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"overrides": (("attn_v", "Q8_0"),)}, "give --quantize TYPE too"),
        ({"quantize": "Q4_K_X"}, "unknown file type"),
        ({"mmproj_quantize": "Q99"}, "unknown file type"),
        ({"grounding_pixels": 100}, "must lie in 6272..3211264"),
        ({"name": ""}, "printable"),
        ({"llama_cpp": Path("a"), "llama_cpp_sdist": Path("b")}, "give one"),
        ({"box_space": "feet"}, "--box-space"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_at_once(
    wish: dict[str, Any], reason: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match=reason):
        export_vlm(VlmExport(tiny_checkpoint, tmp_path / "out", **wish))
    assert not list(tmp_path.iterdir())


def test_video_time_is_only_for_a_model_that_has_it_in_its_positions(copy: Path, tmp_path: Path) -> None:
    from scene_r1_export.fixtures import make_fixture

    third = make_fixture("qwen3_vl", tmp_path / "third")
    with pytest.raises(BadConfig, match="told the time in words"):
        export_vlm(VlmExport(third, tmp_path / "out", time_encoding="video"))


def test_a_place_that_is_taken_is_left_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputExists):
        export_vlm(VlmExport(tiny_checkpoint, tmp_path))
    assert (tmp_path / "file").read_text() == "kept"


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vlm", str(tmp_path / "gone"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f"scene-r1-export vlm: {tmp_path / 'gone'}: is not a folder: name the folder of a checkpoint"]
    with pytest.raises(SystemExit, match="2"):
        main(["vlm", str(tmp_path), "--out", str(tmp_path / "out"), "--override", "no-type"])
    assert "must be PATTERN=TYPE" in capsys.readouterr().err
