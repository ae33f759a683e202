"""A graph of SAM2 in half precision, every tensor typed: engines that are built strongly typed run it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from scene_r1_engines.errors import BadConfig, BadInput
from scene_r1_engines.sam2.manifest import PARTS

FLOAT, HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
HALF_TENSORS = ("s0", "s1", "feat", "mem", "ptr", "feat_mem")
"""Inputs and outputs that become float16: they stay on the device or fill the memory bank. The others keep their type:
float16 knows no half pixels above 1024, and who thresholds a mask or a score wants all of its digits."""
WHOLE_PARTS = ("mask_decoder",)
"""Computed in float32, only what comes and goes is half. It is a hundredth of a frame's work (1.8 of some 200 billion
multiplications, 1024 px) and the cause of more than half of half precision's error: over 8 frames at 256 px its float16
alone leaves masks an IoU of 0.9978 (random weights), that of the image encoder 0.9989, of the other two 0.9997."""
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "Softmax")
"""Where time and memory go; half, whatever feeds them. Their sums are float32 inside. A softmax between casts would not
be fused with the two products around it: whole score matrices (4096 x 28,736 a layer) would go through memory."""
WIDE = (
    "Sin", "Cos", "ReduceMean", "ReduceSum", "Pow", "Sqrt", "Sigmoid",
    "ArgMax", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
)  # fmt: skip
"""What stays float32 in the others: sines of large angles; squares, and counts of pixels, which pass 65,504; what is
decided, as a decision flips. So does what they feed, up to the next of HEAVY."""
LARGEST, LEAST = 65504.0, 2.0**-14
"""float16's range with all its digits."""


def to_half(model: ModelProto, part: str) -> ModelProto:
    """The same graph with float16 weights and arithmetic, but float32 where half would not do: here and there, and in
    all of the mask decoder. The given one is left as it is.

    model: one of the four graphs, float32. part: which, of PARTS. Casts stand wherever the two types meet, so that no
    reader has to guess. The result has been checked and its shapes inferred.

    Raises BadConfig for an unknown part, BadInput for a model that cannot be made half.
    """
    if part not in PARTS:
        raise BadConfig(f"part must be one of {', '.join(PARTS)}, got {part[:40]!r}")
    old = _Old.of(model, part)
    made = ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    made.opset_import.extend(model.opset_import)
    made.metadata_props.extend(model.metadata_props)
    made.graph.name = model.graph.name
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(model.graph.output)
    for value in (*made.graph.input, *made.graph.output):
        if value.name in HALF_TENSORS and value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = HALF
    writing = _Writing(old, {value.name: value.type.tensor_type.elem_type for value in made.graph.input})
    wanted = {value.name: value.type.tensor_type.elem_type for value in made.graph.output}
    wide = [True] * len(old.nodes) if part in WHOLE_PARTS else _wide(old)
    for node, is_wide in zip(old.nodes, wide, strict=True):
        writing.add(node, FLOAT if is_wide else HALF, wanted)
    made.graph.node.extend(writing.nodes)
    made.graph.initializer.extend(writing.initializers.values())
    return _inferred(made, part)


@dataclass(frozen=True, slots=True)
class _Old:
    """The float32 graph. constants: its initializers and those that nodes hold. types: element type by tensor."""

    nodes: list[NodeProto]
    constants: dict[str, TensorProto]
    types: dict[str, int]
    opset: int

    @classmethod
    def of(cls, model: ModelProto, part: str) -> _Old:
        """Raises BadInput where the model is none of ours."""
        opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
        for node in model.graph.node:
            if node.domain not in ("", "ai.onnx") or any(one.HasField("g") or one.graphs for one in node.attribute):
                raise BadInput(f"{part}: {node.op_type} is no standard operator without branches: export it anew")
        types = {one.name: one.data_type for one in model.graph.initializer}
        inferred = _inferred(model, part).graph
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            types[value.name] = value.type.tensor_type.elem_type
        if HALF in types.values():
            raise BadInput(f"{part}: has float16 tensors already: give the float32 graph")
        nodes, constants = [], {one.name: one for one in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = node.attribute[0].t
            else:
                nodes.append(node)
        return cls(nodes, constants, types, opset)

    def floats(self, node: NodeProto) -> list[int]:
        """Which inputs of a node are float32 and could be float16 (the scales of a Resize could not)."""
        schema = onnx.defs.get_schema(node.op_type, self.opset)
        may = {one.type_param_str for one in schema.type_constraints if "tensor(float16)" in one.allowed_type_strs}
        kinds = [schema.inputs[min(at, len(schema.inputs) - 1)].type_str for at in range(len(node.input))]
        return [at for at, name in enumerate(node.input) if self.types.get(name) == FLOAT and kinds[at] in may]


def _wide(old: _Old) -> list[bool]:
    """Whether each node computes in float32."""
    maker = {name: index for index, node in enumerate(old.nodes) for name in node.output}
    before_sines: set[int] = set()
    waiting = [index for index, node in enumerate(old.nodes) if node.op_type in ("Sin", "Cos")]
    while waiting:
        index = waiting.pop()
        if index not in before_sines:
            before_sines.add(index)
            node = old.nodes[index]
            waiting.extend(maker[node.input[at]] for at in old.floats(node) if node.input[at] in maker)
    wide: dict[str, bool] = {}
    chosen = []
    for index, node in enumerate(old.nodes):
        floats = [node.input[at] for at in old.floats(node)]
        weights = [old.constants[name] for name in floats if name in old.constants]
        fed_wide = any(wide.get(name, name not in HALF_TENSORS) for name in floats if name not in old.constants)
        chosen.append(
            not floats
            or node.op_type in WIDE
            or index in before_sines
            or not all(map(_fits, weights))
            or (node.op_type not in HEAVY and fed_wide)
        )
        wide.update(dict.fromkeys(node.output, chosen[-1]))
    return chosen


@dataclass(slots=True)
class _Writing:
    """The half graph while it is written. now: the type of each of its float tensors."""

    old: _Old
    now: dict[str, int]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    names: dict[tuple[str, int], str] = field(default_factory=dict)

    def add(self, node: NodeProto, kind: int, wanted: Mapping[str, int]) -> None:
        """Append a node that computes in this type. wanted: types of the graph's outputs."""
        new = NodeProto()
        new.CopyFrom(node)
        floats = self.old.floats(node)
        for at, name in enumerate(node.input):
            if self.old.types.get(name) == FLOAT:
                new.input[at] = self._as(name, kind if at in floats else FLOAT)
            elif name in self.old.constants:
                self._as(name, self.old.constants[name].data_type)
        self.nodes.append(new)
        for at, name in enumerate(node.output):
            if self.old.types.get(name) != FLOAT:
                continue
            self.now[name] = kind
            if wanted.get(name, kind) != kind:
                self.now[name] = wanted[name]
                new.output[at] = self.names[name, kind] = self._free(name, kind)
                self._cast(new.output[at], name, wanted[name])

    def _as(self, name: str, kind: int) -> str:
        """The name of a tensor in this type."""
        if (name, kind) not in self.names:
            constant = self.old.constants.get(name)
            same = constant.data_type == kind if constant is not None else self.now[name] == kind
            put = self.names[name, kind] = name if same else self._free(name, kind)
            if constant is not None:
                array = numpy_helper.to_array(constant)
                self.initializers[put] = numpy_helper.from_array(array if same else array.astype(np.float16), put)
            elif not same:
                self._cast(name, put, kind)
        return self.names[name, kind]

    def _cast(self, name: str, put: str, kind: int) -> None:
        self.nodes.append(onnx.helper.make_node("Cast", [name], [put], f"{put}/Cast", to=kind))

    def _free(self, name: str, kind: int) -> str:
        """A name that the old graph has not."""
        put = f"{name}_{'half' if kind == HALF else 'float'}"
        while put in self.old.types:
            put += "_"
        return put


def _fits(weight: TensorProto) -> bool:
    """Whether float16 holds a constant: nothing in it too large, no lone number (a norm's epsilon, say) too small."""
    sizes = np.abs(numpy_helper.to_array(weight))
    sizes = sizes[np.isfinite(sizes)]
    return not (sizes > LARGEST).any() and not (sizes.size == 1 and 0 < sizes.max() < LEAST)


def _inferred(model: ModelProto, part: str) -> ModelProto:
    """The model with the type of every tensor. Raises BadInput where it is not sound."""
    try:
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise BadInput(f"{part}: is no sound ONNX graph: {reason}: export it anew") from None
