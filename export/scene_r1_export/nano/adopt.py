"""The weights of an exported small model, back into the model they came from: where the run is gone, it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene_r1_engines.errors import BadInput
from scene_r1_engines.vouch import vouch

Weights = Mapping[str, NDArray[np.float32]]
PATCHES = ("v.patch_embd.weight", "v.patch_embd.weight.1")
"""The two frames of a patch: llama.cpp keeps them apart."""


def adopt(model: Any, exported: Path) -> None:
    """Give a model the weights of a folder that `export_nano` wrote; of quantised ones, what they stand for.

    model: transformers' Qwen2.5-VL of the same sizes and words. Raises BadInput where the folder is damaged, or holds a
    model of other sizes; then nothing of `model` has changed.
    """
    manifest = vouch(exported, verify_hashes=True).manifest
    text = weights_of(exported / manifest.text.file)
    vision = weights_of(exported / manifest.mmproj.file)
    config = model.config
    names = (
        gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, config.text_config.num_hidden_layers),
        gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, config.vision_config.depth),
    )
    found = {}
    for name, parameter in model.named_parameters():
        visual = "visual" in name
        spoken = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        value = _read(vision if visual else text, names[visual], spoken)
        if value.shape != parameter.shape:
            raise BadInput(
                f"{exported}: {name} is {tuple(value.shape)} there and {tuple(parameter.shape)} in this run: it holds "
                "a model of other sizes or words"
            )
        found[name] = value
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(found[name])


def weights_of(path: Path) -> Weights:
    """All tensors of a GGUF file as float32, in torch's order of dimensions."""
    read = gguf.GGUFReader(path)
    return {
        one.name: np.asarray(gguf.dequantize(one.data, one.tensor_type), np.float32).reshape(
            tuple(int(n) for n in reversed(one.shape))
        )
        for one in read.tensors
    }


def _read(weights: Weights, names: gguf.TensorNameMap, name: str) -> Tensor:
    stem, _, kind = name.rpartition(".")
    if stem.endswith("attn.qkv"):
        parts = [_of(weights, names, stem.replace("qkv", one), kind) for one in "qkv"]
        return torch.from_numpy(np.concatenate(parts))
    if stem.endswith("patch_embed.proj"):
        return torch.from_numpy(np.stack([_named(weights, one) for one in PATCHES], axis=2))
    return torch.from_numpy(_of(weights, names, stem, kind).copy())


def _of(weights: Weights, names: gguf.TensorNameMap, stem: str, kind: str) -> NDArray[np.float32]:
    known = names.get_name(stem)
    if known is None:
        raise BadInput(f"llama.cpp has no name for {stem}: the installed gguf package is of another version")
    return _named(weights, f"{known}.{kind}")


def _named(weights: Weights, name: str) -> NDArray[np.float32]:
    if name not in weights:
        raise BadInput(f"the exported model has no tensor {name}: it is not a model of this kind")
    return weights[name]
