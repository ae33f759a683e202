"""The weights of a checkpoint: which tensors its safetensors files hold. Only headers are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from scene_r1_engines.errors import BadModelFile, MissingExtra
from scene_r1_export.json_file import read_json_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = {"F32": 4, "BF16": 2, "F16": 2}
"""Types of weights that are converted, and their bytes. Others (F8, I8) are quantised checkpoints."""
MOST_SHARDS = 1000


@dataclass(frozen=True, slots=True)
class Weights:
    """files: names of the safetensors files, sorted. shapes: of every tensor by its name. float_type: the type that
    most bytes have: F32, BF16 or F16. bytes: of all tensors."""

    files: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    float_type: str
    bytes: int


def read_weights(folder: Path, files: Mapping[str, Path]) -> Weights:
    """What the safetensors of a checkpoint hold. files: real paths by name, as `Checkpoint` has them.

    Raises BadModelFile for a shard that is missing, truncated or no safetensors, a tensor that is not where the index
    says or twice there, or weights that are not floats; MissingExtra where safetensors is absent.
    """
    placed = _index(folder, files)
    shapes: dict[str, tuple[int, ...]] = {}
    size_of_type: Counter[str] = Counter()
    names = sorted(set(placed.values())) if placed is not None else [SINGLE]
    for name in names:
        if name not in files:
            raise BadModelFile(folder / name, "this part of the weights is missing: download the checkpoint again")
        for tensor, (kind, shape) in _header(files[name]).items():
            if tensor in shapes or (placed is not None and placed.get(tensor) != name):
                raise BadModelFile(files[name], f"holds {tensor[:120]}, which {INDEX} does not place there")
            if kind not in FLOATS:
                raise BadModelFile(
                    files[name],
                    f"{tensor[:120]} is {kind}, not F32, BF16 or F16: export the checkpoint before its quantisation",
                )
            shapes[tensor] = shape
            size_of_type[kind] += FLOATS[kind] * prod(shape)
    if placed is not None and (absent := placed.keys() - shapes.keys()):
        raise BadModelFile(folder / INDEX, f"names {min(absent)[:120]}, which no file holds")
    if not shapes:
        raise BadModelFile(folder / names[0], "holds no tensors")
    return Weights(tuple(names), shapes, size_of_type.most_common(1)[0][0], size_of_type.total())


def _index(folder: Path, files: Mapping[str, Path]) -> dict[str, str] | None:
    """The file of each tensor; None where one file holds all."""
    if INDEX not in files:
        if SINGLE in files:
            return None
        raise BadModelFile(folder, f"holds neither {SINGLE} nor {INDEX}; pickled weights (.bin) are never read")
    placed = read_json_object(files[INDEX], most_bytes=64 << 20).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise BadModelFile(files[INDEX], "has no table weight_map of tensors and files")
    if len(set(placed.values())) > MOST_SHARDS:
        raise BadModelFile(files[INDEX], f"names more than {MOST_SHARDS} files")
    for name in set(placed.values()):
        # The converter reads what is called model*.safetensors.
        if "/" in name or not (name.startswith("model") and name.endswith(".safetensors")):
            raise BadModelFile(files[INDEX], f"names the file {name[:80]!r}; it must be a model*.safetensors beside it")
    return {str(tensor): str(name) for tensor, name in placed.items()}


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor. The library checks that they fill the file without gaps or overlaps."""
    try:
        import safetensors
    except ImportError as error:
        raise MissingExtra("export", "reading a checkpoint's weights", str(error)) from error
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    try:
        with safetensors.safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                piece = file.get_slice(name)
                found[name] = (piece.get_dtype(), tuple(piece.get_shape()))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BadModelFile(path, f"is not whole: {str(error)[:200]}") from None
    return found
