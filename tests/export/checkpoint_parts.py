"""What an export is made from in tests: a copied checkpoint, its JSON files, an adapter, and the converter's place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CHECKOUT = os.environ.get("SCENE_R1_LLAMA_CPP")
CONVERTER = ["--llama-cpp", CHECKOUT] if CHECKOUT else []


def copied(checkpoint: Path, folder: Path) -> Path:
    """A copy of a checkpoint, which may be changed."""
    return Path(shutil.copytree(checkpoint, folder / "checkpoint"))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_adapter(folder: Path, width: int = 256, prefix: str = "base_model.model.model.layers.") -> dict[str, Any]:
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
