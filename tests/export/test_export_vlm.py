"""A checkpoint becomes a model folder, whole and vouched for, and a wish that cannot be granted is refused at once."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.export.checkpoint_parts import CONVERTER, copied, write_adapter

from scene_r1_engines.errors import BadConfig, OutputExists
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.vouch import vouch
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.cli import main
from scene_r1_export.fixtures.chat_template import WITH_DEFAULT_SYSTEM
from scene_r1_export.vlm import VlmExport, export_vlm


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return copied(tiny_checkpoint, tmp_path)


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
    write_adapter(tmp_path / "adapter")
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
