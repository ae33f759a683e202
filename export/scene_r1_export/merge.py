"""Merging a LoRA adapter into its checkpoint, in float32."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile, BudgetExceeded, MissingExtra
from scene_r1_export.adapter import Adapter, write_for_peft
from scene_r1_export.checkpoint import Checkpoint
from scene_r1_export.weights import FLOATS, INDEX

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
logger = logging.getLogger(__name__)


def merge(checkpoint: Checkpoint, adapter: Adapter, folder: Path, scratch: Path) -> None:
    """Write the checkpoint with the adapter's weights added to its own into an empty `folder`, in the checkpoint's
    float type. scratch: an empty folder for what is needed on the way.

    Takes memory for the whole model in float32: four bytes a weight. Raises BadModelFile for an adapter of another
    base, BudgetExceeded on a machine that is too small, MissingExtra where peft, torch or transformers is absent.
    """
    try:
        torch, transformers = import_module("torch"), import_module("transformers")
        peft = import_module("peft")
    except ImportError as error:
        raise MissingExtra("export", "merging an adapter", str(error)) from error
    _check_memory(checkpoint)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    staged, told, merged = (scratch / name for name in ("base", "adapter", "merged"))
    for one in (staged, told, merged):
        one.mkdir()
    checkpoint.stage(staged)
    logger.info("merging %s into %s", adapter.folder, checkpoint.folder)
    try:
        model: Any = transformers.AutoModelForImageTextToText.from_pretrained(staged, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadModelFile(checkpoint.folder, f"transformers cannot load it: {str(error)[:300]}") from error
    _check_fit(model, adapter, torch.nn.Linear)
    write_for_peft(adapter, told)
    try:
        tuned = peft.PeftModel.from_pretrained(model, told)
        taken = peft.get_peft_model_state_dict(tuned).keys()
        if missed := set(adapter.names.values()) ^ set(taken):
            raise BadModelFile(
                adapter.folder, f"does not fit {checkpoint.folder}: {min(missed)[:120]} has no counterpart"
            )
        whole = tuned.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        if isinstance(error, BadModelFile):
            raise
        raise BadModelFile(adapter.folder, f"cannot be merged into {checkpoint.folder}: {str(error)[:300]}") from error
    whole.to(getattr(torch, DTYPES[checkpoint.weights.float_type])).save_pretrained(merged)
    for name, path in checkpoint.files.items():
        if name not in checkpoint.weights.files and name != INDEX:
            (folder / name).symlink_to(path)
    for path in [*merged.glob("*.safetensors"), *merged.glob(INDEX)]:
        path.rename(folder / path.name)


def _check_memory(checkpoint: Checkpoint) -> None:
    weights = checkpoint.weights
    needed = 4 * weights.bytes // FLOATS[weights.float_type]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory < needed:
        raise BudgetExceeded(
            f"merging into {checkpoint.folder} takes {needed / 1e9:.1f} GB in memory, this machine has "
            f"{memory / 1e9:.1f} GB: merge on a larger one"
        )


def _check_fit(model: Any, adapter: Adapter, linear: Any) -> None:
    """Every matrix of the adapter has a linear layer of its shape. Raises BadModelFile."""
    layers: dict[str, Any] = dict(model.named_modules())
    tied = bool(model.config.tie_word_embeddings)
    for name, parts in adapter.parts.items():
        layer = layers.get(name)
        if not isinstance(layer, linear):
            raise BadModelFile(adapter.folder, f"is of another base: this checkpoint has no linear layer {name[:120]}")
        if tied and name == "lm_head":
            raise BadModelFile(adapter.folder, "changes lm_head, which this checkpoint shares with its embeddings")
        rows, columns = layer.weight.shape
        rank = parts["lora_A"][0]
        if parts["lora_A"] != (rank, columns) or parts["lora_B"] != (rows, rank):
            raise BadModelFile(
                adapter.folder,
                f"is of another base: {name[:120]} is {rows}x{columns} there, the adapter has lora_A "
                f"{parts['lora_A']} and lora_B {parts['lora_B']}",
            )
