"""A SAM2 checkpoint as its authors publish it: one file of torch with {"model": names and tensors}."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scene_r1_engines.errors import BadModelFile
from scene_r1_export.sam2.config import TRUNKS

MOST_BYTES = 4 << 30
"""The largest SAM2 has 0.9 GB; one with its optimizer's state three times as much."""
NAMED = 5
"""How many names an error lists."""


def read_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU. Nothing of the file is run: it is read with weights_only.

    Raises BadModelFile for what is missing, cut short, of another form, or holds numbers that are not finite.
    """
    _check_file(Path(path))
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises whatever it likes
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadModelFile(path, f"cannot be read as a checkpoint of torch ({reason}): copy it again") from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise BadModelFile(path, 'holds no {"model": names and tensors}, as SAM2\'s checkpoints do: name one of those')
    if not all(isinstance(name, str) for name in state):
        raise BadModelFile(path, "has tensors without a name: name a checkpoint of SAM2")
    _check_tensors(path, state)
    return dict(state)


def load_state(model: Any, state: Mapping[str, torch.Tensor], path: str | os.PathLike[str], config: str) -> None:
    """Put a checkpoint's tensors into an official model. config: what the model is called.

    Raises BadModelFile where they are another model's, saying which where that is known.
    """
    _refuse_relatives(path, state)
    found = name_of(state)
    if found is not None and found != config:
        raise BadModelFile(path, f"is a {found}, not a {config}: say --config {found}")
    wanted = model.state_dict()
    missing, strange = [name for name in wanted if name not in state], [name for name in state if name not in wanted]
    if missing or strange:
        said = [
            f"{len(some)} {what} ({_some(some)})" for what, some in (("missing", missing), ("unknown", strange)) if some
        ]
        raise BadModelFile(
            path, f"does not have the tensors of {config}: {', '.join(said)}: name that model's checkpoint"
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise BadModelFile(
                path, f"its {name} has the shape {tuple(tensor.shape)}, {config} takes {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(dict(state))


def name_of(state: Mapping[str, torch.Tensor]) -> str | None:
    """The config that a checkpoint belongs to by its tensors, or None for what is no SAM2 of the package."""
    patches = state.get("image_encoder.trunk.patch_embed.proj.weight")
    prefix = "image_encoder.trunk.blocks."
    blocks = {name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)}
    if patches is None or "image_encoder.trunk.pos_embed_window" not in state:
        return None
    size = TRUNKS.get((patches.shape[0], len(blocks)))
    # Both came with 2.1: the mark on memories of a hidden thing, and ages of object pointers.
    family = "sam2.1" if "no_obj_embed_spatial" in state or "obj_ptr_tpos_proj.weight" in state else "sam2"
    return None if size is None else f"{family}_hiera_{size}"


def _check_file(path: Path) -> None:
    """Only torch's own archive of uncompressed parts: so nothing that is unpacked is larger than the file."""
    try:
        info = path.stat()
    except OSError as error:
        raise BadModelFile(path, f"cannot be read ({error.strerror or error}): name a checkpoint file") from None
    if not stat.S_ISREG(info.st_mode):
        raise BadModelFile(path, "is no file: name the checkpoint itself, such as sam2.1_hiera_tiny.pt")
    if info.st_size > MOST_BYTES:
        raise BadModelFile(path, f"has {info.st_size} bytes, more than any checkpoint of SAM2: name one of those")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadModelFile(path, f"is no checkpoint of torch, or is cut short ({error}): copy it again") from None
    unpacked = sum(part.file_size for part in parts)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or unpacked > info.st_size:
        raise BadModelFile(path, "has compressed parts, which torch writes none of: name the checkpoint as published")


def _check_tensors(path: str | os.PathLike[str], state: Mapping[str, torch.Tensor]) -> None:
    room = os.stat(path).st_size
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in state.values()}
    numbers = sum(one.numel() * one.element_size() for one in state.values())  # a view may repeat what is stored once
    if max(sum(storages.values()), numbers) > room:
        raise BadModelFile(path, "claims more numbers than it has bytes: it is damaged, copy it again")
    for name, tensor in state.items():
        if tensor.layout != torch.strided or not tensor.is_floating_point() or tensor.device.type != "cpu":
            raise BadModelFile(path, f"its {name} is no plain tensor of floats: name a checkpoint of SAM2")
        if not bool(torch.isfinite(tensor).all()):
            raise BadModelFile(path, f"its {name} has values that are not finite: the training that made it had failed")


def _refuse_relatives(path: str | os.PathLike[str], state: Mapping[str, torch.Tensor]) -> None:
    """EdgeTAM and EfficientTAM keep SAM2's names for most parts, but are built otherwise."""
    if any(name.startswith(("spatial_perceiver.", "image_encoder.trunk.body.")) for name in state):
        raise BadModelFile(
            path,
            "is an EdgeTAM: a RepViT trunk where SAM2 has Hiera, and a perceiver that condenses each memory to a few "
            "hundred latents before memory attention. The package sam2 has neither, so it cannot be exported here",
        )
    patches = state.get("image_encoder.trunk.patch_embed.proj.weight")
    plain = "image_encoder.trunk.blocks.0.attn.qkv.weight" in state and patches is not None
    if plain and "image_encoder.trunk.pos_embed_window" not in state:
        raise BadModelFile(
            path,
            "is an EfficientTAM: a plain ViT trunk with one level of features where SAM2 has Hiera's four, and cross-"
            "attention over pooled memories. The package sam2 has neither, so it cannot be exported here",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
