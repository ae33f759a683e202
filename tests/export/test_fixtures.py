"""The tiny checkpoints: made alike each time, of the real architectures, and lively."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from scene_r1_engines.errors import BadConfig, OutputExists
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.fixtures import make_fixture
from scene_r1_export.fixtures.words import sentences


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fixture("qwen3_vl", tmp_path_factory.mktemp("qwen3") / "checkpoint")


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_seed_makes_the_same_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert _hashes(make_fixture("qwen2_5_vl", tmp_path / "again")) == _hashes(tiny_checkpoint)


def test_another_seed_makes_another_model(qwen3: Path, tmp_path: Path) -> None:
    other = _hashes(make_fixture("qwen3_vl", tmp_path / "other", seed=1))
    assert other["model.safetensors"] != _hashes(qwen3)["model.safetensors"]


def test_the_fixture_is_small_and_its_text_rows_take_k_quants(tiny_checkpoint: Path) -> None:
    assert sum(path.stat().st_size for path in tiny_checkpoint.iterdir()) < 8e6
    shapes = read_checkpoint(tiny_checkpoint).weights.shapes
    matrices = [shape for name, shape in shapes.items() if "visual" not in name and len(shape) == 2]
    assert len(matrices) == 1 + 2 * 7
    assert all(columns % 256 == 0 for _, columns in matrices)


def test_the_vision_tower_looks_through_windows_and_at_the_whole(tiny_checkpoint: Path) -> None:
    vision = read_checkpoint(tiny_checkpoint).config["vision_config"]
    assert (vision["depth"], vision["fullatt_block_indexes"], vision["window_size"]) == (4, [1, 3], 112)


def test_the_third_generation_has_patches_of_16_and_a_deepstack(qwen3: Path) -> None:
    checkpoint = read_checkpoint(qwen3)
    assert checkpoint.architecture.family == "qwen3_vl"
    assert checkpoint.config["vision_config"]["patch_size"] == 16
    assert any("deepstack" in name for name in checkpoint.weights.shapes)


def test_the_tokenizer_gives_text_back_and_knows_the_special_tokens(tiny_checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    text = "Where is  the\n\n red mug? I'll say 'RE 3333 wh-éü 🚀 <think>ok</think><answer>5s to 10s</answer>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("<|im_start|><|vision_start|><|image_pad|><|vision_end|><|im_end|>")) == 5
    assert len(tokenizer.encode(" laptop")) == 1  # a word of the lists
    assert len(tokenizer.encode("1234")) == 4  # Qwen splits numbers into digits


def test_the_training_text_is_the_same_each_time_and_fills_the_vocabulary(tiny_checkpoint: Path) -> None:
    assert list(sentences(20, 0)) == list(sentences(20, 0)) != list(sentences(20, 1))
    model = json.loads((tiny_checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert (len(model["vocab"]), len(model["merges"])) == (1000, 1000 - 256)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_pictures_and_words_both_move_the_answer(family: str, tiny_checkpoint: Path, qwen3: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    folder = tiny_checkpoint if family == "qwen2_5_vl" else qwen3
    model = AutoModelForImageTextToText.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    patch = model.config.vision_config.patch_size
    generator = torch.Generator().manual_seed(7)
    pictures = [torch.randn(24, 6 * patch**2, generator=generator) for _ in range(2)]

    def logits(thing: str, picture: torch.Tensor) -> torch.Tensor:
        said = f"<|vision_start|>{'<|image_pad|>' * 6}<|vision_end|>Where is the {thing}?"
        ids = torch.tensor([tokenizer.encode(said)])
        with torch.no_grad():
            out = model(
                input_ids=ids,
                pixel_values=picture,
                image_grid_thw=torch.tensor([[1, 4, 6]]),
                mm_token_type_ids=(ids == model.config.image_token_id).int(),
            )
        return out.logits[0, -1].float()

    mug = logits("mug", pictures[0])
    assert 1.5 < float(mug.std()) < 4.0
    assert float((mug - logits("mug", pictures[1])).abs().max()) > 0.5
    assert float((mug - logits("lamp", pictures[0])).abs().max()) > 0.5
    best = mug.topk(2).values
    assert float(best[0] - best[1]) > 1e-3


def test_an_unknown_fixture_or_a_taken_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="known: qwen2_5_vl"):
        make_fixture("gpt", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    with pytest.raises(OutputExists):
        make_fixture("qwen2_5_vl", tmp_path / "full")
    assert (tmp_path / "full" / "file").read_text() == "kept"
