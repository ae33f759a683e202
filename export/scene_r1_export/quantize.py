"""Quantising a GGUF file, text model or vision tower, through llama.cpp. What can be checked before is."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadConfig, BadModelFile, BudgetExceeded, EngineFailed, OutputExists
from scene_r1_engines.gguf_file import TENSOR_TYPES, GgufFile, GgufTensor, read_gguf
from scene_r1_export.file_types import (
    NEED_IMATRIX,
    PLAIN,
    TENSORS_NEED_IMATRIX,
    VISION_CANNOT,
    file_type,
    tensor_type,
    usual_tensor_type,
)
from scene_r1_export.imatrix_file import Imatrix, read_imatrix
from scene_r1_export.quantizer_process import run_quantizer

logger = logging.getLogger(__name__)

LONGEST_TEXT = 127
"""Bytes of a key or a string that llama.cpp takes; its fields are char[128]."""
LONGEST_PATTERN = 200
RESERVED = ("general.architecture", "general.type", "general.alignment", "general.file_type")
RESERVED_PREFIXES = ("quantize.imatrix.", "tokenizer.", "split.", "GGUF.")


def quantize(
    src: Path,
    dst: Path,
    type: str,
    overrides: Sequence[tuple[str, str]] = (),
    imatrix: Path | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `dst`, the model of `src` in another type; it is whole or absent, and never written over.

    type: as llama.cpp names it, e.g. "Q4_K_M". overrides: (regular expression, tensor type) pairs, such as
    ("attn_v", "Q8_0"); the first that is found in a tensor's name counts, and each must have an effect. imatrix: a file
    of `scene-r1-export imatrix` or of llama-imatrix. metadata: strings to write beside those of `src`.

    Rows whose length no block of the type divides fall back as llama.cpp has it: to a type with blocks of 32, else F16.

    Raises BadConfig for what cannot be asked, BadModelFile for a `src` or `imatrix` that cannot be used, OutputExists,
    BudgetExceeded where the disk is too full, EngineFailed where llama.cpp fails or dies, MissingExtra.
    """
    src, dst = Path(src), Path(dst)
    number = file_type(type)
    if dst.exists() or dst.is_symlink():
        raise OutputExists(f"{dst} is already there: name another place or remove it")
    header = _source(src)
    if header.said("general.architecture") == "clip" and type in VISION_CANNOT:
        raise BadConfig(f"{src} is a vision tower, of which llama.cpp makes no {type}: use Q8_0, Q6_K, Q4_K_M or F16")
    asked = [(pattern, name.upper()) for pattern, name in overrides]
    chosen = _chosen(header, type, asked)
    weights = _weights(header, type, chosen, imatrix)
    _check_disk(header, dst, type, chosen)
    job = {
        "src": os.fspath(src),
        "type": number,
        "overrides": [(f"^{re.escape(name)}$", tensor_type(kind)) for name, (_, kind) in chosen.items()],
        "imatrix": None if imatrix is None else os.fspath(imatrix),
        "metadata": _metadata(header, metadata or {}, imatrix, weights),
    }
    with whole_file(dst, overwrite=False) as temporary:
        run_quantizer({**job, "dst": os.fspath(temporary)}, type, len(header.tensors))
        _check_result(header, temporary, number, chosen)


def _source(src: Path) -> GgufFile:
    header = read_gguf(src)
    if header.said("general.type") == "imatrix":
        raise BadModelFile(src, "is an importance matrix, no model")
    if not header.said("general.architecture"):
        raise BadModelFile(src, "names no general.architecture: this is no model that llama.cpp can read")
    if header.metadata.get("split.count", 0) not in (0, 1):
        parts = header.metadata["split.count"]
        raise BadModelFile(src, f"is one of {parts} parts: merge them with llama-gguf-split")
    for tensor in header.tensors.values():
        if tensor.type not in PLAIN:
            raise BadModelFile(
                src, f"is quantised already (tensor {tensor.name} is {tensor.type}): give the F32, F16 or BF16 file"
            )
    return header


Chosen = Mapping[str, tuple[int, str]]
"""Tensor name → (index of the override that chose it, its type)."""


def _chosen(header: GgufFile, type: str, overrides: Sequence[tuple[str, str]]) -> Chosen:
    """Which tensors the overrides are about. Their names go to llama.cpp, not the patterns: Python's and C++'s regular
    expressions differ."""
    if overrides and type in PLAIN:
        raise BadConfig(f"overrides have no effect on the file type {type}: llama.cpp looks at them in quantised files")
    chosen: dict[str, tuple[int, str]] = {}
    for index, (pattern, kind) in enumerate(overrides):
        tensor_type(kind)
        if not 0 < len(pattern) <= LONGEST_PATTERN:
            raise BadConfig(f"an override's pattern must have 1 to {LONGEST_PATTERN} characters, got {len(pattern)}")
        try:
            expression = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise BadConfig(f"the override {pattern!r} is no regular expression: {error}") from None
        found = [name for name in header.tensors if expression.search(name)]
        if not found:
            some = ", ".join(list(header.tensors)[:3])
            raise BadConfig(f"the override {pattern!r} matches no tensor of {header.path}, which has {some}, …")
        for name in found:
            chosen.setdefault(name, (index, kind))
        if not any(at == index for at, _ in chosen.values()):
            raise BadConfig(f"the override {pattern!r} has no effect: earlier ones match all its tensors")
    return chosen


def _weights(header: GgufFile, type: str, chosen: Chosen, path: Path | None) -> Imatrix | None:
    """The importance matrix, of which each tensor is one of the model's and of its row's length."""
    if path is None:
        wanting = next((kind for _, kind in chosen.values() if kind in TENSORS_NEED_IMATRIX), None)
        if type in NEED_IMATRIX or wanting:
            raise BadConfig(f"{wanting or type} needs an importance matrix: make one with `scene-r1-export imatrix`")
        return None
    if type in PLAIN:
        raise BadConfig(f"an importance matrix has no effect on the file type {type}: leave it out")
    matrix = read_imatrix(path)
    for name, sums in matrix.sums.items():
        tensor = header.tensors.get(name)
        if tensor is None:
            raise BadModelFile(path, f"is of another model: {header.path} has no tensor {name}")
        wanted = tensor.shape[0] * (tensor.shape[2] if len(tensor.shape) > 2 else 1)
        if sums.size != wanted:
            raise BadModelFile(
                path, f"is of another model: {name} has {sums.size} values, {header.path} needs {wanted}"
            )
    lacking = [one.name for one in header.tensors.values() if _is_block(one) and one.name not in matrix.sums]
    if lacking:
        logger.warning("%s knows nothing of %d tensors: %s, …", path, len(lacking), ", ".join(lacking[:3]))
    return matrix


def _is_block(tensor: GgufTensor) -> bool:
    """Whether it is a matrix of a transformer block, which is what gets quantised."""
    name = tensor.name
    return len(tensor.shape) > 1 and ".blk." in f".{name}" and name.endswith(".weight") and "_norm." not in name


def _metadata(
    header: GgufFile, metadata: Mapping[str, str], path: Path | None, matrix: Imatrix | None
) -> dict[str, str | int]:
    """The caller's strings, and of the importance matrix what llama-quantize records."""
    written: dict[str, str | int] = {}
    for key, text in metadata.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", key) or key in RESERVED or key.startswith(RESERVED_PREFIXES):
            raise BadConfig(f"the metadata key {key[:80]!r} cannot be set")
        if not isinstance(header.metadata.get(key, ""), str):
            raise BadConfig(f"the metadata key {key!r} is no string in {header.path}: it cannot be set")
        if len(key.encode()) > LONGEST_TEXT or len(text.encode()) > LONGEST_TEXT or "\0" in text:
            raise BadConfig(f"metadata {key[:80]!r}: key and text must have at most {LONGEST_TEXT} bytes and no NUL")
        written[key] = text
    if path is not None and matrix is not None:
        written["quantize.imatrix.file"] = _shortened(path.name)
        if matrix.datasets:
            written["quantize.imatrix.dataset"] = _shortened(matrix.datasets[0])
        written["quantize.imatrix.entries_count"] = len(matrix.sums)
        written["quantize.imatrix.chunks_count"] = matrix.chunk_count
    return written


def _shortened(text: str) -> str:
    return text.replace("\0", "").encode()[:LONGEST_TEXT].decode(errors="ignore")


def _check_disk(header: GgufFile, dst: Path, type: str, chosen: Chosen) -> None:
    """Raises BudgetExceeded where the disk has less room than the file will take, going by its usual type."""
    sizes = {name: (values, size) for name, values, size in TENSOR_TYPES.values()}
    usual = usual_tensor_type(type)
    needed = 0.0
    for tensor in header.tensors.values():
        kind = chosen[tensor.name][1] if tensor.name in chosen else usual
        values, size = sizes.get(kind, (1, 4))
        shrinks = len(tensor.shape) > 1 and tensor.shape[0] % values == 0
        needed += min(tensor.nbytes, tensor.elements * size / values) if shrinks else tensor.nbytes
    folder = dst.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BudgetExceeded(
            f"{dst} will take about {needed / 1e6:.0f} MB as {type}, and {folder} has {free / 1e6:.0f} MB free: "
            "make room or name another place"
        )


def _check_result(header: GgufFile, made: Path, number: int, chosen: Chosen) -> None:
    """Raises EngineFailed where a tensor is lost, BadConfig where an override had no effect."""
    try:
        result = read_gguf(made)
    except BadModelFile as error:
        raise EngineFailed(f"llama.cpp wrote a file that cannot be read: it {error.reason}") from None
    if {name: one.shape for name, one in result.tensors.items()} != {
        name: one.shape for name, one in header.tensors.items()
    } or result.metadata.get("general.file_type") != number:
        raise EngineFailed(f"llama.cpp wrote other tensors than {header.path} has: nothing was kept")
    obeyed = {index for name, (index, kind) in chosen.items() if result.tensors[name].type == kind}
    for name, (index, kind) in chosen.items():
        if index not in obeyed:
            raise BadConfig(
                f"the override to {kind} has no effect: {name}, of {header.tensors[name].shape[0]} values a row, "
                f"is {result.tensors[name].type}; name matrices whose rows the type's blocks divide"
            )
