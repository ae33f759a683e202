"""SAM2's image encoder in eight bits, in the explicit form that engines build from: Q and DQ before each product."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scene_r1_engines.errors import BadInput, BadModelFile, EngineFailed, MissingExtra
from scene_r1_export.sam2.precision.magnitudes import Magnitudes

LEAST_PICTURES = 4
PRODUCTS = ("Gemm", "MatMul")
"""What is quantised. Convolutions are a tenth of the work, but the first sees the picture, the last make the features:
left alone, the error of s0 falls to a third and masks agree better (IoU 0.992, with them 0.988; 256 px)."""
LEVELS, WEIGHT_LEVELS = 127, 64
"""Steps on either side of zero; engines take no zero point but 0. Weights have 64, not 127: processors without VNNI add
two products of bytes in 16 bits, where 2 x 255 x 127 saturates (error of feat 0.165 in place of 0.024) and 2 x 255 x 64
does not (0.033 on all)."""
STRIDE = 7
"""Every seventh value of a tensor is looked at: no number of channels of these models is a multiple of it."""

Picture = NDArray[np.uint8]
Preprocess = Callable[[Picture], NDArray[np.float32]]


def quantized(
    path: str | os.PathLike[str],
    pictures: Iterable[Picture],
    preprocess: Preprocess,
    advance: Callable[[], None] = lambda: None,
) -> ModelProto:
    """The image encoder with int8 weights and int8 inputs of its products; everything else stays float32.

    path: its float32 graph. pictures: (H, W, 3) uint8 RGB, of the places where it will be used, at least four; all are
    looked at, one at a time. preprocess: a picture as the graph's input, (1, 3, S, S) float32. advance: called after
    each picture.

    A weight has a step for each output channel, by its largest. An input has one, at which the squared error is least
    (what is clipped against how coarse the steps are). Outputs and biases are left as they are: NVIDIA's parser takes
    no int32 biases.

    Raises BadModelFile for a graph that cannot be read, BadInput for pictures that are too few or none, EngineFailed
    where the graph does not run, MissingExtra.
    """
    model = _read(path)
    products = _products(model)
    if not products:
        raise BadModelFile(path, "has no product with constant weights: this is no float32 image encoder")
    names = sorted({one.activation for one in products})
    session = _session(_watched(model, names), path)
    seen = {name: Magnitudes() for name in names}
    count = 0
    for picture in pictures:
        _check(picture, count)
        for name, values in zip(names, _run(session, preprocess(picture), count), strict=True):
            seen[name].add(values)
        count += 1
        advance()
    if count < LEAST_PICTURES:
        raise BadInput(
            f"int8 wants at least {LEAST_PICTURES} pictures of the place where it will be used, got {count}: "
            "give a longer recording"
        )
    return _with_steps(model, products, {name: one.step(LEVELS) for name, one in seen.items()})


@dataclass(frozen=True, slots=True)
class _Product:
    """A node to quantise. out: its output's name. axis: of its weight, that of the output channels."""

    out: str
    activation: str
    weight: str
    axis: int


def _read(path: str | os.PathLike[str]) -> ModelProto:
    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise BadModelFile(path, f"cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - protobuf's errors have no public base
        reason = str(error).strip().splitlines() or [""]
        raise BadModelFile(path, f"is no ONNX graph: {reason[0][:200]}") from None
    return model


def _products(model: ModelProto) -> list[_Product]:
    """Those nodes that multiply something computed with a constant matrix."""
    constants = {one.name: one for one in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in PRODUCTS or node.input[0] in constants:
            continue
        weight = constants.get(node.input[1])
        if weight is not None and weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2:
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            found.append(_Product(node.output[0], node.input[0], weight.name, 0 if transposed else 1))
    return found


def _watched(model: ModelProto, names: list[str]) -> ModelProto:
    """The graph with every STRIDE-th value of these tensors as its outputs."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    del graph.output[:]
    end = np.iinfo(np.int64).max
    for name, value in (("watch/flat", -1), ("watch/from", 0), ("watch/to", end), ("watch/step", STRIDE)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    for name in names:
        flat, some = f"watch/flat/{name}", f"watch/some/{name}"
        graph.node.append(helper.make_node("Reshape", [name, "watch/flat"], [flat]))
        graph.node.append(
            helper.make_node("Slice", [flat, "watch/from", "watch/to", "watch/from", "watch/step"], [some])
        )
        graph.output.append(helper.make_tensor_value_info(some, TensorProto.FLOAT, [None]))
    return made


def _session(model: ModelProto, path: str | os.PathLike[str]) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra("sam2", "calibrating int8", str(error)) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its errors have no public base
        raise EngineFailed(f"{os.fspath(path)}: ONNX Runtime does not take it: {str(error)[:200]}") from None


def _check(picture: Any, index: int) -> None:
    """Raises BadInput for what is no picture."""
    if not isinstance(picture, np.ndarray):
        raise BadInput(f"picture {index} must be (H, W, 3) uint8 RGB, got {type(picture).__name__}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise BadInput(f"picture {index} must be (H, W, 3) uint8 RGB, got {picture.shape} {picture.dtype}")


def _run(session: Any, image: NDArray[np.float32], index: int) -> list[NDArray[np.float32]]:
    """What is watched while a picture is encoded."""
    try:
        found: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: image})
    except Exception as error:  # noqa: BLE001 - its errors have no public base
        raise EngineFailed(
            f"picture {index}, as {image.shape} {image.dtype}, cannot be encoded: {str(error)[:200]}"
        ) from None
    if not all(np.isfinite(values).all() for values in found):
        raise EngineFailed(
            f"encoding picture {index} gives what is no number: are the weights those of a trained model?"
        )
    return found


def _with_steps(model: ModelProto, products: list[_Product], steps: dict[str, float]) -> ModelProto:
    """The graph with a QuantizeLinear and a DequantizeLinear before each input of the products."""
    adding = _Adding({one.name: one for one in model.graph.initializer})
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    del graph.node[:], graph.value_info[:], graph.initializer[:]
    by_out = {one.out: one for one in products}
    for node in model.graph.node:
        product = by_out.get(node.output[0])
        if product is not None:
            inputs = adding.activation(product.activation, steps[product.activation]), adding.weight(product)
            graph.node.extend(adding.take())
        graph.node.append(node)
        if product is not None:
            graph.node[-1].input[0], graph.node[-1].input[1] = inputs
    read = {name for node in graph.node for name in node.input}
    graph.initializer.extend(one for one in adding.initializers.values() if one.name in read)
    onnx.checker.check_model(made, full_check=True)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


class _Adding:
    """What is put before the products, each once."""

    def __init__(self, initializers: dict[str, TensorProto]) -> None:
        self.initializers = initializers
        self._nodes: list[NodeProto] = []
        self._done: set[str] = set()

    def take(self) -> list[NodeProto]:
        """The nodes since the last call."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def activation(self, name: str, step: float) -> str:
        """The name under which a tensor comes out of its eight bits."""
        put = f"{name}/int8"
        if put not in self._done:
            self._done.add(put)
            scale = [self._constant(f"{put}/scale", np.array(step, np.float32))]
            scale.append(self._constant("int8/zero", np.zeros((), np.int8)))
            self._nodes.append(helper.make_node("QuantizeLinear", [name, *scale], [put], f"{put}/Q"))
            self._nodes.append(helper.make_node("DequantizeLinear", [put, *scale], [f"{put}/DQ"], f"{put}/DQ"))
        return f"{put}/DQ"

    def weight(self, product: _Product) -> str:
        put = f"{product.weight}/int8/{product.axis}"
        if put not in self._done:
            self._done.add(put)
            values, steps = _rounded(numpy_helper.to_array(self.initializers[product.weight]), product.axis)
            inputs = [self._constant(put, values), self._constant(f"{put}/scale", steps)]
            inputs.append(self._constant(f"{put}/zero", np.zeros(steps.shape, np.int8)))
            self._nodes.append(
                helper.make_node("DequantizeLinear", inputs, [f"{put}/DQ"], f"{put}/DQ", axis=product.axis)
            )
        return f"{put}/DQ"

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.initializers[name] = numpy_helper.from_array(value, name)
        return name


def _rounded(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as int8, and the step of each of its output channels."""
    steps = np.abs(weight).max(1 - axis) / WEIGHT_LEVELS
    steps = np.where(steps > 0, steps, 1.0).astype(np.float32)
    rounded = np.rint(weight / np.expand_dims(steps, 1 - axis))
    return np.clip(rounded, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8), steps
