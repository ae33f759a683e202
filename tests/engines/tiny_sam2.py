"""A folder of four small graphs with the inputs and outputs of SAM2's: plain sums that numpy can repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.sam2.extents import Extent
from scene_r1_engines.sam2.manifest import (
    PARTS,
    GraphFile,
    MemoryRules,
    Profiles,
    Sam2Manifest,
    TensorSpec,
    sam2_manifest_to_toml,
    tensors,
)

SIDE = 64
OPSET = 17
NUMBERS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32}
IO = {
    "image_encoder": ("image float32 B 3 64 64", "s0 float32 B 32 16 16; s1 float32 B 64 8 8; feat float32 B 256 4 4"),
    "mask_decoder": (
        "feat float32 B 256 4 4; s0 float32 B 32 16 16; s1 float32 B 64 8 8; coords float32 B N 2; labels int32 B N; "
        "mask_in float32 B 1 16 16; has_mask float32 B; multimask float32 B; alone float32 B",
        "low float32 B 1 16 16; iou float32 B 1; ptr float32 B 256; score float32 B 1",
    ),
    "memory_encoder": (
        "feat float32 B 256 4 4; mask float32 B 1 H W; score float32 B 1; binarize float32 B",
        "mem float32 B 64 4 4",
    ),
    "memory_attention": (
        "feat float32 B 256 4 4; mem float32 B M 64 4 4; tpos int32 M; ptr float32 B P 256; ptr_t float32 P",
        "feat_mem float32 B 256 4 4",
    ),
}


def node(operator: str, takes: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, takes.split(), gives.split(), **attributes)


def weight(name: str, array: NDArray[Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, NUMBERS[spec.dtype], list(spec.shape))


def model(
    nodes: Sequence[onnx.NodeProto], takes: str, gives: str, weights: Sequence[onnx.TensorProto] = (), ir: int = 8
) -> onnx.ModelProto:
    """A model of these nodes. takes, gives: as a manifest says them."""
    graph = helper.make_graph(nodes, "tiny", [value(s) for s in tensors(takes)], [value(s) for s in tensors(gives)])
    graph.initializer.extend(weights)
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=ir)
    return made


def _encoder() -> onnx.ModelProto:
    """Each output is the mean over its square of the picture's three colours, times the number of the channel."""
    nodes, weights = [], []
    for name, channels, stride in (("s0", 32, 4), ("s1", 64, 8), ("feat", 256, 16)):
        scale = np.arange(channels, dtype=np.float32)[:, None, None, None] / (3 * stride**2)
        weights.append(weight(f"w_{name}", np.broadcast_to(scale, (channels, 3, stride, stride)).copy()))
        nodes.append(node("Conv", f"image w_{name}", name, strides=[stride, stride], kernel_shape=[stride, stride]))
    return model(nodes, *IO["image_encoder"], weights)


def _decoder() -> onnx.ModelProto:
    """low = mask_in·has_mask + mean(s0) + mean(s1), iou = mean(coords), ptr = mean(feat) of each channel, score =
    multimask + alone + sum(labels)."""
    column = weight("column", np.array([-1, 1], np.int64))
    corner = weight("corner", np.array([-1, 1, 1, 1], np.int64))
    nodes = [
        node("Reshape", "has_mask corner", "has"),
        node("Mul", "mask_in has", "given"),
        node("ReduceMean", "s0", "mean0", axes=[1, 2, 3]),
        node("ReduceMean", "s1", "mean1", axes=[1, 2, 3]),
        node("Sum", "given mean0 mean1", "low"),
        node("ReduceMean", "coords", "mean", axes=[1, 2], keepdims=0),
        node("Reshape", "mean column", "iou"),
        node("ReduceMean", "feat", "ptr", axes=[2, 3], keepdims=0),
        node("Cast", "labels", "said", to=TensorProto.FLOAT),
        node("ReduceMean", "said", "label", axes=[1], keepdims=0),
        node("Sum", "multimask alone label", "total"),
        node("Reshape", "total column", "score"),
    ]
    return model(nodes, *IO["mask_decoder"], [column, corner])


def _memory_encoder() -> onnx.ModelProto:
    """mem = the first 64 channels of feat + mean(mask) + score + binarize."""
    weights = [
        weight("from", np.array([0], np.int64)),
        weight("to", np.array([64], np.int64)),
        weight("axis", np.array([1], np.int64)),
        weight("corner", np.array([-1, 1, 1, 1], np.int64)),
    ]
    nodes = [
        node("Slice", "feat from to axis", "some"),
        node("ReduceMean", "mask", "mean", axes=[1, 2, 3]),
        node("Reshape", "score corner", "sure"),
        node("Reshape", "binarize corner", "sharp"),
        node("Sum", "some mean sure sharp", "mem"),
    ]
    return model(nodes, *IO["memory_encoder"], weights)


def _attention() -> onnx.ModelProto:
    """feat_mem = feat + mean(mem) + mean(tpos) + mean(ptr) + mean(ptr_t)."""
    nodes = [
        node("ReduceMean", "mem", "m", axes=[1, 2, 3, 4], keepdims=0),
        node("Cast", "tpos", "rows", to=TensorProto.FLOAT),
        node("ReduceMean", "rows", "t"),
        node("ReduceMean", "ptr", "p", axes=[1, 2], keepdims=0),
        node("ReduceMean", "ptr_t", "a"),
        node("Sum", "m t p a", "all"),
        node("Reshape", "all corner", "more"),
        node("Add", "feat more", "feat_mem"),
    ]
    return model(nodes, *IO["memory_attention"], [weight("corner", np.array([-1, 1, 1, 1], np.int64))])


def said_of(path: Path, takes: str, gives: str) -> GraphFile:
    data = path.read_bytes()
    return GraphFile(path.name, hashlib.sha256(data).hexdigest(), len(data), "fp32", takes, gives)


def seal(folder: Path, io: dict[str, tuple[str, str]] | None = None, **changes: Any) -> Sam2Manifest:
    """Write a manifest that fits the files as they are now, but for the changes."""
    said = {part: said_of(folder / f"{part}.onnx", *(io or IO)[part]) for part in PARTS}
    facts: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "family": "sam2",
        "license": "none",
        "source_sha256": "0" * 64,
        "made_by": "a test",
        "opset": OPSET,
        "precision": "fp32",
        "input_px": SIDE,
        "memory": MemoryRules(7, 16),
        "profiles": Profiles(objects=3, points=8, memories=7, pointers=16),
    }
    manifest = Sam2Manifest(**{**facts, **said, **changes})
    (folder / MANIFEST).write_text(sam2_manifest_to_toml(manifest), encoding="utf-8")
    return manifest


def sound_folder(folder: Path) -> Path:
    """A folder that is what its manifest says."""
    folder.mkdir(parents=True)
    made = (_encoder(), _decoder(), _memory_encoder(), _attention())
    for part, one in zip(PARTS, made, strict=True):
        onnx.checker.check_model(one)
        (folder / f"{part}.onnx").write_bytes(one.SerializeToString())
    seal(folder)
    return folder


def any_extents(**ends: tuple[int, int]) -> dict[str, Extent]:
    return {letter: Extent(least, least, most) for letter, (least, most) in ends.items()}
