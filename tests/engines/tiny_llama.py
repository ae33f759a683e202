"""A tiny random Qwen2.5-VL on llama.cpp for tests: how it is opened, shown pictures and compared."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.limits import Limits
from scene_r1_engines.llama import LlamaReasoner, LlamaSettings
from scene_r1_engines.llama.conversation import Conversation
from scene_r1_engines.llama.prefix import PREFIX, QUESTION
from scene_r1_engines.manifest import MANIFEST, ImageRules, PromptRules, manifest_to_toml, read_manifest

QUICK = Limits(max_tokens=140, think_tokens=3)


def picture(seed: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: blocks of random colours."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(blocks[np.arange(height) * 8 // height][:, np.arange(width) * 8 // width])


def open_tiny(model: Path, **settings: object) -> LlamaReasoner:
    """Opened small: four keyframes of at most 16 tokens, one thread, a float32 cache that is compared exactly."""
    small: dict[str, object] = {
        "keyframes": 4, "image_pixels": 112 * 112, "threads": 1, "kv_type": "f32", "flash_attention": False,
        "answer_tokens": 160,
    }  # fmt: skip
    return LlamaReasoner(LlamaSettings(str(model), **{**small, **settings}))  # type: ignore[arg-type]


def changed_model(
    model: Path, folder: Path, image: dict[str, object] | None = None, prompt: dict[str, object] | None = None
) -> Path:
    """A copy of a model folder with other rules in its manifest."""
    shutil.copytree(model, folder)
    manifest = read_manifest(folder)
    rules: ImageRules = replace(manifest.image, **(image or {}))  # type: ignore[arg-type]
    prompts: PromptRules = replace(manifest.prompt, **(prompt or {}))  # type: ignore[arg-type]
    (folder / MANIFEST).write_text(manifest_to_toml(replace(manifest, image=rules, prompt=prompts)))
    return folder


def question_logits(reasoner: LlamaReasoner, question: str = "where is it?") -> NDArray[np.float32]:
    """(n_vocab,) float32 after a question over the prefix as it is."""
    context, already = reasoner.context, reasoner.context.cells
    tokens = Conversation(reasoner.model, reasoner.manifest).question(question)
    context.fork(PREFIX, QUESTION)
    context.decode_tokens(tokens, reasoner.prefix.next_position, QUESTION)
    logits = context.logits().copy()
    context.remove(QUESTION, -1, context.cells - already)
    return logits
