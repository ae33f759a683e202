"""The importance matrix as a file, in the GGUF format of llama.cpp's `llama-imatrix`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadModelFile, EngineFailed, MissingExtra, SceneR1Error
from scene_r1_engines.gguf_file import GgufArray, GgufFile, read_gguf

SUMS, COUNTS = ".in_sum2", ".counts"
MOST_COUNTED = float(1 << 62)
"""llama.cpp turns counts into 64-bit integers."""


@dataclass(frozen=True, slots=True)
class Imatrix:
    """How strongly each column of each weight matrix is used.

    sums: tensor name → (m, n) float32, squares of the n inputs summed over tokens; m matrices (experts), else 1.
    counts: tensor name → (m,) float32, the tokens. datasets: what it was computed from. chunk_count: passes;
    chunk_size: tokens of a pass, at most.
    """

    sums: Mapping[str, NDArray[np.float32]]
    counts: Mapping[str, NDArray[np.float32]]
    datasets: tuple[str, ...]
    chunk_count: int
    chunk_size: int

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Tensor name → (m * n,) float32, the mean of the squares; 1 where nothing was counted, as llama.cpp has it."""
        found = {}
        for name, sums in self.sums.items():
            counts = np.rint(self.counts[name])[:, np.newaxis]
            found[name] = np.where(counts > 0, sums / np.maximum(counts, 1), np.float32(1)).ravel()
        return found


def read_imatrix(path: str | os.PathLike[str]) -> Imatrix:
    """The importance matrix of a file of llama-imatrix (its GGUF format) or of `write_imatrix`.

    Raises BadModelFile for another kind of file, a truncated one, sums without counts, and values that are not finite
    or below 0.
    """
    header = read_gguf(path)
    if header.said("general.type") != "imatrix":
        raise BadModelFile(path, 'is no importance matrix: its general.type is not "imatrix"')
    for key in ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"):
        if key not in header.metadata:
            raise BadModelFile(path, f"lacks {key}, which llama-quantize needs: compute it anew")
    names = [name.removesuffix(SUMS) for name in header.tensors if name.endswith(SUMS)]
    counted = {name.removesuffix(COUNTS) for name in header.tensors if name.endswith(COUNTS)}
    if not names:
        raise BadModelFile(path, f"holds no tensor that ends with {SUMS}")
    if unpaired := counted.symmetric_difference(names):
        raise BadModelFile(path, f"has only one of {SUMS} and {COUNTS} for {min(unpaired)}")
    all_sums, all_counts = {}, {}
    for name in names:
        counts = _float32(header, name + COUNTS).ravel()
        sums = _float32(header, name + SUMS)
        if sums.size % counts.size:
            raise BadModelFile(path, f"{name} has {sums.size} sums, no multiple of its {counts.size} counts")
        if not (np.isfinite(sums).all() and (sums >= 0).all()):
            raise BadModelFile(path, f"{name}{SUMS} has values that are not finite or below 0")
        if not ((counts >= 0).all() and (counts < MOST_COUNTED).all()):
            raise BadModelFile(path, f"{name}{COUNTS} has values that no count can have")
        all_sums[name], all_counts[name] = sums.reshape(counts.size, -1), counts
    datasets = header.metadata["imatrix.datasets"]
    known = datasets.items if isinstance(datasets, GgufArray) and datasets.type == "STRING" else None
    return Imatrix(
        all_sums,
        all_counts,
        tuple(str(name) for name in known or ()),
        header.number("imatrix.chunk_count", 0, (1 << 32) - 1),
        header.number("imatrix.chunk_size", 0, (1 << 32) - 1),
    )


def _float32(header: GgufFile, name: str) -> NDArray[np.float32]:
    """The values of an F32 tensor, in numpy's order of axes (a row last). Raises BadModelFile for another type."""
    tensor = header.tensors[name]
    if tensor.type != "F32":
        raise BadModelFile(header.path, f"tensor {name} must be F32, it is {tensor.type}")
    values = np.fromfile(header.path, np.dtype("<f4"), tensor.elements, offset=tensor.offset)
    if values.size != tensor.elements:
        raise BadModelFile(header.path, f"tensor {name} ends early: the file changed while it was read")
    return values.reshape(tensor.shape[::-1]).astype(np.float32, copy=False)


def write_imatrix(path: Path, matrix: Imatrix) -> None:
    """Write the file, whole or absent, in the order of names as llama-imatrix does.

    Raises OutputExists, EngineFailed for an empty matrix, SceneR1Error when the disk refuses, MissingExtra.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("export", "writing an importance matrix", str(error)) from None
    if not matrix.sums:
        raise EngineFailed("the importance matrix is empty: no tensor was activated")
    try:
        with whole_file(path, overwrite=False) as temporary:
            writer = gguf.GGUFWriter(temporary, "imatrix")
            del writer.kv_data[0][gguf.Keys.General.ARCHITECTURE]  # put there by the writer; llama-imatrix has none
            writer.add_type("imatrix")
            writer.add_array("imatrix.datasets", list(matrix.datasets))
            writer.add_uint32("imatrix.chunk_count", matrix.chunk_count)
            writer.add_uint32("imatrix.chunk_size", matrix.chunk_size)
            for name in sorted(matrix.sums):
                writer.add_tensor(name + SUMS, np.ascontiguousarray(matrix.sums[name], np.float32))
                writer.add_tensor(name + COUNTS, np.ascontiguousarray(matrix.counts[name], np.float32)[:, np.newaxis])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise SceneR1Error(f"{path} cannot be written ({error.strerror or error}): name another place") from error
