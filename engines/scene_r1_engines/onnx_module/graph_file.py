"""The structure of an ONNX file: what it takes, gives and holds, checked whole before native code sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from scene_r1_engines.folder_file import FolderFile
from scene_r1_engines.gguf_file import open_model_file
from scene_r1_engines.onnx_module.wire import BYTES, FIXED32, FIXED64, VARINT, Field, Kind, Schema, Wire

LEAST_IR, MOST_IR = 7, 10
"""ONNX Runtime 1.20 reads up to 10."""
LEAST_OPSET, MOST_OPSET = 13, 20
"""From 13 on QDQ is per channel; TensorRT 10.3 reads up to 20."""
STANDARD = ("", "ai.onnx")
"""Both are names of the standard operators' domain."""
DEEPEST = 8
"""Graphs within graphs, as branches of If have them."""
MOST_EXTENT = 1 << 40

FLOAT, INT32, INT64, DOUBLE, UINT64 = "float_data", "int32_data", "int64_data", "double_data", "uint64_data"
ELEMENTS = {
    # number of the type: (name, its bytes, the field that holds such values where they are not raw)
    1: ("float32", 4, FLOAT),
    2: ("uint8", 1, INT32),
    3: ("int8", 1, INT32),
    4: ("uint16", 2, INT32),
    5: ("int16", 2, INT32),
    6: ("int32", 4, INT32),
    7: ("int64", 8, INT64),
    9: ("bool", 1, INT32),
    10: ("float16", 2, INT32),
    11: ("float64", 8, DOUBLE),
    12: ("uint32", 4, UINT64),
    13: ("uint64", 8, UINT64),
    16: ("bfloat16", 2, INT32),
}


def _some(name: str) -> Kind:
    return Kind(name, BYTES, repeated=True)


MODEL: Schema = {
    1: Kind("ir_version", VARINT),
    2: Kind("producer_name", BYTES),
    3: Kind("producer_version", BYTES),
    4: Kind("domain", BYTES),
    5: Kind("model_version", VARINT),
    6: Kind("doc_string", BYTES),
    7: Kind("graph", BYTES),
    8: _some("opset_import"),
    14: _some("metadata_props"),
    20: _some("training_info"),
    25: _some("functions"),
}
OPSET: Schema = {1: Kind("domain", BYTES), 2: Kind("version", VARINT)}
GRAPH: Schema = {
    1: _some("node"),
    2: Kind("name", BYTES),
    5: _some("initializer"),
    10: Kind("doc_string", BYTES),
    11: _some("input"),
    12: _some("output"),
    13: _some("value_info"),
    14: _some("quantization_annotation"),
    15: _some("sparse_initializer"),
    16: _some("metadata_props"),
}
NODE: Schema = {
    1: _some("input"),
    2: _some("output"),
    3: Kind("name", BYTES),
    4: Kind("op_type", BYTES),
    5: _some("attribute"),
    6: Kind("doc_string", BYTES),
    7: Kind("domain", BYTES),
    8: Kind("overload", BYTES),
    9: _some("metadata_props"),
}
ATTRIBUTE: Schema = {
    1: Kind("name", BYTES),
    2: Kind("f", FIXED32),
    3: Kind("i", VARINT),
    4: Kind("s", BYTES),
    5: Kind("t", BYTES),
    6: Kind("g", BYTES),
    7: Kind("floats", FIXED32, repeated=True),
    8: Kind("ints", VARINT, repeated=True),
    9: _some("strings"),
    10: _some("tensors"),
    11: _some("graphs"),
    13: Kind("doc_string", BYTES),
    14: Kind("tp", BYTES),
    15: _some("type_protos"),
    20: Kind("type", VARINT),
    21: Kind("ref_attr_name", BYTES),
    22: Kind("sparse_tensor", BYTES),
    23: _some("sparse_tensors"),
}
TENSOR: Schema = {
    1: Kind("dims", VARINT, repeated=True),
    2: Kind("data_type", VARINT),
    3: Kind("segment", BYTES),
    4: Kind(FLOAT, FIXED32, repeated=True),
    5: Kind(INT32, VARINT, repeated=True),
    6: _some("string_data"),
    7: Kind(INT64, VARINT, repeated=True),
    8: Kind("name", BYTES),
    9: Kind("raw_data", BYTES),
    10: Kind(DOUBLE, FIXED64, repeated=True),
    11: Kind(UINT64, VARINT, repeated=True),
    12: Kind("doc_string", BYTES),
    13: _some("external_data"),
    14: Kind("data_location", VARINT),
    16: _some("metadata_props"),
}
VALUE: Schema = {
    1: Kind("name", BYTES),
    2: Kind("type", BYTES),
    3: Kind("doc_string", BYTES),
    4: _some("metadata_props"),
}
TYPE: Schema = {
    1: Kind("tensor_type", BYTES),
    4: Kind("sequence_type", BYTES),
    5: Kind("map_type", BYTES),
    6: Kind("denotation", BYTES),
    8: Kind("sparse_tensor_type", BYTES),
    9: Kind("optional_type", BYTES),
}
TENSOR_TYPE: Schema = {1: Kind("elem_type", VARINT), 2: Kind("shape", BYTES)}
SHAPE: Schema = {1: _some("dim")}
EXTENT: Schema = {1: Kind("dim_value", VARINT), 2: Kind("dim_param", BYTES), 3: Kind("denotation", BYTES)}
REFUSED = {
    # fields that ONNX knows and our exports never use
    "training_info": "holds how to train it",
    "functions": "defines operators of its own",
    "sparse_initializer": "holds sparse tensors",
    "sparse_tensor": "holds sparse tensors",
    "sparse_tensors": "holds sparse tensors",
    "ref_attr_name": "takes attributes of a function",
    "tp": "has types as attributes",
    "type_protos": "has types as attributes",
    "segment": "holds parts of tensors",
    "string_data": "holds texts as tensors",
    "overload": "chooses among functions",
    "external_data": "keeps weights in another file",
}


@dataclass(frozen=True, slots=True)
class GraphValue:
    """An input or output. dtype: as numpy names it. shape: numbers, and names of what varies ("" where it has none)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """An ONNX file that is sound in itself: standard operators, and all weights inside with as many bytes as they
    claim. operators: names of those that occur. weight_bytes: of all tensors."""

    path: str
    ir_version: int
    opset: int
    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    operators: frozenset[str]
    nodes: int
    weight_bytes: int


def read_onnx(path: str | os.PathLike[str]) -> OnnxGraph:
    """The structure of an ONNX file; weights are passed over. Takes time and memory by what it really holds.

    Raises BadModelFile for any defect, for external data, and for operators that are not standard ones.
    """
    with open_model_file(path) as file:
        return _Reader(Wire(file, os.fspath(path))).model()


def read_open_onnx(one: FolderFile) -> OnnxGraph:
    """As `read_onnx`, of a file that is already open."""
    return _Reader(Wire(one.file, one.path)).model()


class _Reader:
    """Walks one file once."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.operators: set[str] = set()
        self.nodes = self.weight_bytes = 0

    def model(self) -> OnnxGraph:
        ir_version, opsets, graphs = 0, [], []
        for field in self._fields("the model", Field("", 0, 0, self.wire.size), MODEL):
            if field.name == "ir_version":
                ir_version = field.value
            elif field.name == "opset_import":
                opsets.append(self._opset(field))
            elif field.name == "graph":
                graphs.append(field)
        if not LEAST_IR <= ir_version <= MOST_IR:
            self.wire.fail(f"has the ONNX format {ir_version}, read are {LEAST_IR} to {MOST_IR}")
        # Imports of other domains are left behind by quantizers, and mean nothing where no node is of them.
        standard = [version for domain, version in opsets if domain in STANDARD]
        if len(standard) != 1 or not LEAST_OPSET <= standard[0] <= MOST_OPSET:
            said = ", ".join(map(str, standard)) or "none"
            self.wire.fail(f"must have one opset in {LEAST_OPSET}..{MOST_OPSET}, it has {said}")
        if not graphs:
            self.wire.fail("is truncated or damaged: it holds no graph")
        inputs, outputs = self._graph(graphs[0], 0)
        found = self.wire.path, ir_version, standard[0], inputs, outputs
        return OnnxGraph(*found, frozenset(self.operators), self.nodes, self.weight_bytes)

    def _fields(self, what: str, within: Field, schema: Schema) -> Iterator[Field]:
        for field in self.wire.message(what, within.start, within.end, schema):
            if field.name in REFUSED and (field.value or field.nbytes):
                self.wire.fail(f"{REFUSED[field.name]} ({field.name} of {what}), which is refused")
            yield field

    def _opset(self, within: Field) -> tuple[str, int]:
        domain, version = "", 0
        for field in self._fields("an opset", within, OPSET):
            if field.name == "domain":
                domain = self.wire.text("the domain of an opset", field)
            else:
                version = field.value
        return domain, version

    def _graph(self, within: Field, depth: int) -> tuple[tuple[GraphValue, ...], tuple[GraphValue, ...]]:
        """inputs, outputs."""
        if depth > DEEPEST:
            self.wire.fail(f"has graphs within graphs, more than {DEEPEST} deep")
        inputs, outputs = [], []
        for field in self._fields("a graph", within, GRAPH):
            if field.name == "node":
                self._node(field, depth)
            elif field.name == "initializer":
                self._tensor(field)
            elif depth == 0 and field.name == "input":
                inputs.append(self._value(field))
            elif depth == 0 and field.name == "output":
                outputs.append(self._value(field))
        return tuple(inputs), tuple(outputs)

    def _node(self, within: Field, depth: int) -> None:
        operator = domain = ""
        self.nodes += 1
        for field in self._fields("a node", within, NODE):
            if field.name == "op_type":
                operator = self.wire.text("the operator of a node", field)
            elif field.name == "domain":
                domain = self.wire.text("the domain of a node", field)
            elif field.name == "attribute":
                self._attribute(field, depth)
        if domain not in STANDARD:
            self.wire.fail(f"has the operator {operator[:40]!r} of {domain[:40]!r}, only standard ones of ONNX are run")
        self.operators.add(operator)

    def _attribute(self, within: Field, depth: int) -> None:
        for field in self._fields("an attribute", within, ATTRIBUTE):
            if field.name in ("t", "tensors"):
                self._tensor(field)
            elif field.name in ("g", "graphs"):
                self._graph(field, depth + 1)

    def _tensor(self, within: Field) -> None:
        name, number, dims = "", 0, list[int]()
        held: dict[str, int] = {}  # by field, bytes of raw ones and numbers of the others
        for field in self._fields("a tensor", within, TENSOR):
            if field.name == "dims":
                dims += self.wire.numbers(field) if field.end else [field.signed]
            elif field.name == "data_type":
                number = field.value
            elif field.name == "data_location":
                if field.value:
                    self.wire.fail("keeps weights in another file (data_location of a tensor), which is refused")
            elif field.name == "name":
                name = self.wire.text("the name of a tensor", field)
            elif field.name == "raw_data":
                held[field.name] = field.nbytes
            elif field.name in (FLOAT, INT32, INT64, DOUBLE, UINT64):
                held[field.name] = held.get(field.name, 0) + self._count(field)
        self._check_tensor(f"its tensor {name[:80]!r}", number, dims, {kind: n for kind, n in held.items() if n})

    def _count(self, field: Field) -> int:
        """Numbers in one field of a tensor's values."""
        if not field.end:
            return 1
        size = {FLOAT: 4, DOUBLE: 8}.get(field.name)
        if size is None:
            return self.wire.count_varints(field)
        if field.nbytes % size:
            self.wire.fail(f"is damaged: the last number of {field.name} is cut")
        return field.nbytes // size

    def _check_tensor(self, what: str, number: int, dims: list[int], held: dict[str, int]) -> None:
        if number not in ELEMENTS:
            self.wire.fail(f"{what} has the element type {number}, which our exports never have")
        dtype, size, where = ELEMENTS[number]
        if any(not 0 <= extent <= MOST_EXTENT for extent in dims) or len(dims) > 16:
            self.wire.fail(f"{what} has the shape {dims[:16]}")
        elements = prod(dims)
        have = held.get(where, 0) if "raw_data" not in held else held["raw_data"] / size
        if len(held) > 1 or set(held) - {"raw_data", where} or have != elements:
            holds = ", ".join(f"{n} {'bytes' if kind == 'raw_data' else 'of ' + kind}" for kind, n in held.items())
            self.wire.fail(f"{what} claims {elements} {dtype} and holds {holds or 'nothing'}")
        self.weight_bytes += elements * size

    def _value(self, within: Field) -> GraphValue:
        name, dtype, shape = "", "", tuple[int | str, ...]()
        for field in self._fields("an input or output", within, VALUE):
            if field.name == "name":
                name = self.wire.text("the name of an input or output", field)
            elif field.name == "type":
                dtype, shape = self._type(field)
        if not dtype:
            self.wire.fail(f"its input or output {name[:80]!r} has no type")
        return GraphValue(name, dtype, shape)

    def _type(self, within: Field) -> tuple[str, tuple[int | str, ...]]:
        for outer in self._fields("a type", within, TYPE):
            if outer.name == "denotation":
                continue
            if outer.name != "tensor_type":
                self.wire.fail(f"takes or gives a {outer.name}, which our exports never do")
            number, shape = 0, tuple[int | str, ...]()
            for field in self._fields("a type", outer, TENSOR_TYPE):
                if field.name == "elem_type":
                    number = field.value
                else:
                    shape = tuple(self._extent(one) for one in self._fields("a shape", field, SHAPE))
            return ELEMENTS.get(number, (f"type {number}",))[0], shape
        return "", ()

    def _extent(self, within: Field) -> int | str:
        extent: int | str = ""
        for field in self._fields("an extent", within, EXTENT):
            if field.name == "dim_value":
                extent = field.signed
            elif field.name == "dim_param":
                extent = self.wire.text("the name of an extent", field)
        return extent
