"""Small random SAM2 graphs, what is fed to them, and how far two of their answers are apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")

PX = 256
SIDE = PX // 16
Arrays = dict[str, NDArray[Any]]


Graphs = Callable[[str], Any]
"""The graph of a part."""


@cache
def loaded(folder: Path, part: str) -> Any:
    return onnx.load(str(folder / f"{part}.onnx"))


def run(model: Any, feeds: Arrays, optimised: bool = True) -> Arrays:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    halves = {one.name for one in session.get_inputs() if one.type == "tensor(float16)"}
    given = {name: value.astype(np.float16) if name in halves else value for name, value in feeds.items()}
    found = session.run(None, given)
    return {one.name: np.asarray(value, np.float32) for one, value in zip(session.get_outputs(), found, strict=True)}


def feeds(part: str, slots: int = 2) -> Arrays:
    draw = np.random.default_rng(3)

    def near_zero(*shape: int) -> NDArray[np.float32]:
        return (0.3 * draw.standard_normal(shape)).astype(np.float32)

    feat = near_zero(1, 256, SIDE, SIDE)
    none, once = np.zeros(1, np.float32), np.ones(1, np.float32)
    if part == "image_encoder":
        return {"image": prepared(picture(9))}
    if part == "mask_decoder":
        return {
            "feat": feat,
            "s0": near_zero(1, 32, 4 * SIDE, 4 * SIDE),
            "s1": near_zero(1, 64, 2 * SIDE, 2 * SIDE),
            "coords": np.array([[[40.5, 60.25], [200.0, 180.75], [0.0, 0.0]]], np.float32),
            "labels": np.array([[2, 3, -1]], np.int32),
            "mask_in": near_zero(1, 1, 4 * SIDE, 4 * SIDE),
            "has_mask": none,
            "multimask": none,
            "alone": once,
        }
    if part == "memory_encoder":
        mask = 9.0 * near_zero(1, 1, 4 * SIDE, 4 * SIDE)
        return {"feat": feat, "mask": mask, "score": 3.0 * np.ones((1, 1), np.float32), "binarize": none}
    return {
        "feat": feat,
        "mem": near_zero(1, slots, 64, SIDE, SIDE),
        "tpos": np.arange(slots, dtype=np.int32) % 7,
        "ptr": near_zero(1, 3, 256),
        "ptr_t": np.array([0.0, 0.2, 1.0], np.float32),
    }


def picture(seed: int, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """Soft blobs of colour, noise over them."""
    draw = np.random.default_rng(seed)
    soft = cv2.resize(draw.uniform(0.0, 255.0, (6, 8, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    noisy: NDArray[np.uint8] = np.clip(soft + draw.normal(0.0, 8.0, soft.shape), 0, 255).astype(np.uint8)
    return noisy


def prepared(shown: NDArray[np.uint8]) -> NDArray[np.float32]:
    square = cv2.resize(shown, (PX, PX)).astype(np.float32) / 255.0
    scaled = (square - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def iou(found: NDArray[Any], expected: NDArray[Any]) -> float:
    a, b = found > 0, expected > 0
    return float((a & b).sum() / (a | b).sum())


def types(model: Any) -> dict[str, int]:
    graph = model.graph
    values = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    return values | {one.name: one.data_type for one in graph.initializer}
