"""An ONNX file is read without trust: what it claims is held against what it has, and it may reach for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.engines.tiny_sam2 import model, node, weight

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.onnx_module import wire
from scene_r1_engines.onnx_module.graph_file import ELEMENTS, OnnxGraph, read_onnx

Edit = Callable[[onnx.ModelProto], None]


def small() -> onnx.ModelProto:
    """y = x·W + 1, with a weight as bytes and a constant as numbers."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [node("MatMul", "x W", "h"), node("Constant", "", "c", value=one), node("Add", "h c", "y")]
    return model(nodes, "x float32 B 2", "y float32 B 3", [weight("W", np.ones((2, 3), np.float32))])


@pytest.fixture
def read(tmp_path: Path) -> Callable[[onnx.ModelProto], OnnxGraph]:
    def write_and_read(made: onnx.ModelProto) -> OnnxGraph:
        (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
        return read_onnx(tmp_path / "m.onnx")

    return write_and_read


Read = Callable[[onnx.ModelProto], OnnxGraph]


def test_a_sound_file_is_read(read: Read) -> None:
    found = read(small())
    assert [(one.name, one.dtype, one.shape) for one in found.inputs] == [("x", "float32", ("B", 2))]
    assert [(one.name, one.dtype, one.shape) for one in found.outputs] == [("y", "float32", ("B", 3))]
    assert (found.ir_version, found.opset, found.nodes, found.weight_bytes) == (8, 17, 3, 28)
    assert found.operators == {"MatMul", "Constant", "Add"}


@pytest.mark.parametrize("number", ELEMENTS)
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_type_are_counted_raw_and_as_numbers(number: int, raw: bool, read: Read) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(number)
    values = np.array([[1, 0, 1], [0, 1, 100]]).astype(dtype)
    made = small()
    made.graph.initializer.append(
        helper.make_tensor("more", number, [2, 3], values.tobytes() if raw else values.flatten(), raw)
    )
    assert read(made).weight_bytes == 28 + 6 * dtype.itemsize
    made.graph.initializer[-1].dims[0] = 3
    with pytest.raises(BadModelFile, match=rf"m\.onnx: its tensor 'more' claims 9 {ELEMENTS[number][0]} and holds"):
        read(made)


def test_weights_in_branches_count_too(read: Read) -> None:
    branch = small().graph
    branch.node[1].attribute[0].t.dims[:] = [1 << 30]
    made = small()
    made.graph.node.append(node("If", "flag", "z", then_branch=branch, else_branch=small().graph))
    with pytest.raises(BadModelFile, match="claims 1073741824 float32 and holds 1 of float_data"):
        read(made)
    branch.node[1].attribute[0].t.dims[:] = [1]
    made.graph.node[-1].CopyFrom(node("If", "flag", "z", then_branch=branch, else_branch=small().graph))
    assert read(made).weight_bytes == 3 * 28


@pytest.mark.parametrize(
    "dims", [[1 << 62], [1 << 32, 1 << 32], [-1, -6], [2, 3, 1 << 62, 1 << 62], [0], [1] * 17, [-6]]
)
def test_a_tensor_that_claims_what_the_file_does_not_hold_is_refused(dims: list[int], read: Read) -> None:
    made = small()
    made.graph.initializer[0].dims[:] = dims
    with pytest.raises(BadModelFile, match=r"its tensor 'W' (claims|has the shape).*copy or export it again"):
        read(made)


def elsewhere(made: onnx.ModelProto, path: str, flag: bool = True) -> None:
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    if flag:
        tensor.data_location = TensorProto.EXTERNAL
    if path:
        tensor.external_data.add(key="location", value=path)


def in_a_branch(made: onnx.ModelProto) -> None:
    inner = small()
    elsewhere(inner, "beside.bin")
    made.graph.node.append(node("If", "flag", "z", then_branch=inner.graph, else_branch=small().graph))


def as_a_constant(made: onnx.ModelProto) -> None:
    tensor = made.graph.node[1].attribute[0].t
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="beside.bin")


@pytest.mark.parametrize(
    "edit",
    [
        lambda made: elsewhere(made, "../../secret.bin"),
        lambda made: elsewhere(made, "/etc/passwd"),
        lambda made: elsewhere(made, "beside.bin"),
        lambda made: elsewhere(made, "beside.bin", flag=False),
        lambda made: elsewhere(made, ""),
        in_a_branch,
        as_a_constant,
    ],
    ids=["parent", "absolute", "beside", "without the flag", "only the flag", "branch", "constant"],
)
def test_weights_in_another_file_are_refused_wherever_it_is(edit: Edit, read: Read, tmp_path: Path) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(24))
    made = small()
    edit(made)
    with pytest.raises(BadModelFile, match=r"m\.onnx: keeps weights in another file .* refused: copy or export it"):
        read(made)


def with_function(made: onnx.ModelProto) -> None:
    made.functions.append(
        helper.make_function("mine", "F", ["a"], ["b"], [node("Neg", "a", "b")], [helper.make_opsetid("", 17)])
    )


def nested(made: onnx.ModelProto) -> None:
    inner = small().graph
    for _ in range(12):
        outer = small().graph
        outer.node.append(node("Loop", "times flag", "z", body=inner))
        inner = outer
    made.graph.CopyFrom(inner)


def sequence_input(made: onnx.ModelProto) -> None:
    made.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2]))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda made: setattr(made.graph.node[0], "domain", "com.microsoft"), "'MatMul' of 'com.microsoft'"),
        (lambda made: setattr(made.graph.node[0], "domain", "evil"), "only standard ones"),
        (with_function, "defines operators of its own"),
        (lambda made: made.training_info.add().initialization_binding.add(key="a", value="b"), "how to train it"),
        (lambda made: setattr(made.opset_import[0], "version", 12), r"one opset in 13\.\.20, it has 12"),
        (lambda made: setattr(made.opset_import[0], "version", 21), "it has 21"),
        (lambda made: made.opset_import.pop(), "it has none"),
        (lambda made: made.opset_import.add(domain="ai.onnx", version=17), "it has 17, 17"),
        (lambda made: setattr(made, "ir_version", 99), "the ONNX format 99, read are 7 to 10"),
        (lambda made: made.ClearField("ir_version"), "the ONNX format 0"),
        (lambda made: made.ClearField("graph"), "holds no graph"),
        (nested, "more than 8 deep"),
        (sequence_input, "takes or gives a sequence_type"),
        (lambda made: made.graph.input[0].ClearField("type"), "'x' has no type"),
        (lambda made: setattr(made.graph.initializer[0], "data_type", TensorProto.STRING), "the element type 8"),
        (lambda made: setattr(made.graph.initializer[0], "data_type", 77), "the element type 77"),
        (lambda made: made.graph.initializer[0].float_data.append(1.0), "claims 6 float32 and holds"),
        (lambda made: made.graph.sparse_initializer.add().dims.append(2), "holds sparse tensors"),
    ],
)  # fmt: skip
def test_what_our_exports_never_have_is_refused(edit: Edit, reason: str, read: Read) -> None:
    made = small()
    edit(made)
    with pytest.raises(BadModelFile, match=reason):
        read(made)


def test_an_opset_of_another_domain_that_no_node_uses_is_fine(read: Read) -> None:
    made = small()
    made.opset_import.add(domain="com.microsoft", version=1)
    made.graph.node[0].domain = "ai.onnx"
    assert read(made).opset == 17


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the ONNX format 0"),
        (b"\x08\x08" * 2, "ir_version twice"),
        (b"GGUF" + bytes(64), "unknown field|wire type"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "is said to have 18446744073709551615 bytes"),
        (b"\x3a\xff\xff\xff\xff\x7f", "34359738367 bytes at byte 6, 0 are left"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
        (b"\x08\xff", "a number is cut"),
        (b"\x0b\x08", "wire type 3"),
        (b"\x0d\x00\x00\x00\x00", "wire type 5"),
        (b"\x98\x3f\x00", "unknown field 1011"),
        (b"\x08\x08" + b"\x3a\x02\x0a\x00" + b"\x3a\x00", "graph twice"),
    ],
)
def test_bytes_that_are_no_model_are_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BadModelFile, match=reason):
        read_onnx(tmp_path / "m.onnx")


def test_a_file_of_endless_little_fields_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_FIELDS", 1000)
    (tmp_path / "m.onnx").write_bytes(b"\x42\x00" * 2000)
    with pytest.raises(BadModelFile, match="more than 1000 fields"):
        read_onnx(tmp_path / "m.onnx")


def test_a_name_that_is_too_long_or_no_text_is_refused(read: Read) -> None:
    made = small()
    made.graph.initializer[0].name = "a" * 70_000
    with pytest.raises(BadModelFile, match="70000 bytes long, more than 65535"):
        read(made)
    damaged = small().SerializeToString().replace(b"MatMul", b"\xff\xfeMul\xff")
    with pytest.raises(BadModelFile, match="not UTF-8"):
        read(onnx_bytes(damaged))


class onnx_bytes:
    """Bytes in the place of a model."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def SerializeToString(self) -> bytes:
        return self.data


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.onnx", "No such file"), (tmp_path, "not a regular file")):
        with pytest.raises(BadModelFile, match=reason):
            read_onnx(path)


WHOLE = small().SerializeToString()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_anywhere_is_refused(cut: int, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(WHOLE[:cut])
    with pytest.raises(BadModelFile, match=r"m\.onnx: "):
        read_onnx(tmp_path / "m.onnx")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_is_refused_or_read_as_onnx_reads_it(places: list[tuple[int, int]], tmp_path: Path) -> None:
    data = bytearray(WHOLE)
    for at, byte in places:
        data[at] = byte
    (tmp_path / "m.onnx").write_bytes(data)
    try:
        found = read_onnx(tmp_path / "m.onnx")
    except BadModelFile:
        return
    known = onnx.load_model_from_string(bytes(data))
    assert [one.name for one in found.inputs] == [one.name for one in known.graph.input]
    assert found.operators == {one.op_type for one in known.graph.node}
    assert [one.version for one in known.opset_import if one.domain in ("", "ai.onnx")] == [found.opset]
