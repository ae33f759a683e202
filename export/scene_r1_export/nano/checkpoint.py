"""The small model as a checkpoint's folder, as a hub would have it: what transformers and the exporter read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.model.make import make_model
from scene_r1_export.nano.model.sizes import CELL, PATCH, Sizes
from scene_r1_export.nano.model.tokenizer import PRE_TOKENIZER, write_tokenizer
from scene_r1_export.nano.model.vision import MEAN, STD

SPECIAL = ("<|endoftext|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
ROOM = 3400
"""Pixels that a picture may have beyond `Sizes.picture`, so that a 4:3 frame is resized to just that."""


def new_model(sizes: Sizes, tokenizer: Tokenizer, seed: int = 0) -> Any:
    """A model with random weights for a tokenizer's words. Raises BadInput where Qwen's special tokens are missing."""
    ids = {name: _id(tokenizer, name) for name in SPECIAL}
    vocabulary = -(-tokenizer.get_vocab_size() // 32) * 32
    return make_model(sizes, ids, vocabulary, seed)


def write_checkpoint(model: Any, tokenizer: Tokenizer, sizes: Sizes, folder: Path, card: str) -> None:
    """Write config, weights, tokenizer, picture rules and card into an empty folder."""
    model.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    pixels = sizes.picture[0] * sizes.picture[1]
    rules: dict[str, Any] = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "image_processor_type": "Qwen2VLImageProcessor",
        "max_pixels": pixels + ROOM,
        "merge_size": 2,
        "min_pixels": 8 * CELL * CELL,
        "patch_size": PATCH,
        "processor_class": "Qwen2_5_VLProcessor",
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": {"shortest_edge": 8 * CELL * CELL, "longest_edge": pixels + ROOM},
        "temporal_patch_size": 2,
    }
    _write(folder / "preprocessor_config.json", rules)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["scene_r1"] = {"pre_tokenizer": PRE_TOKENIZER}
    _write(folder / "config.json", config)
    # The safetensors library makes files that only their owner can read.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")
    (folder / "README.md").write_text(card, encoding="utf-8")


def _id(tokenizer: Tokenizer, name: str) -> int:
    id = tokenizer.token_to_id(name)
    if id is None:
        raise BadInput(f"the tokenizer has no {name}: make it with `train_tokenizer`")
    return int(id)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
