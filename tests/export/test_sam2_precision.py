"""SAM2's graphs in half precision: they say what the float32 ones say, in types that engines are built from."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.export.sam2_precision_parts import Graphs, error, feeds, iou, loaded, onnx, run, types

from scene_r1_engines.errors import BadConfig, BadInput
from scene_r1_engines.sam2.manifest import PARTS
from scene_r1_export.sam2.precision.half import HALF_TENSORS, to_half


@pytest.fixture(scope="module")
def exported(sam2_folder: Path) -> Graphs:
    return partial(loaded, sam2_folder)


@pytest.fixture(scope="module")
def halved(exported: Graphs) -> Graphs:
    return cache(lambda part: to_half(exported(part), part))


@pytest.mark.parametrize("part", PARTS)
def test_a_half_graph_says_what_the_whole_one_says(part: str, exported: Graphs, halved: Graphs) -> None:
    whole, half = run(exported(part), feeds(part)), run(halved(part), feeds(part))
    for name, expected in whole.items():
        assert error(half[name], expected) < 3e-3, name
    if part == "mask_decoder":
        assert 0.1 < (whole["low"] > 0).mean() < 0.9
        assert iou(half["low"], whole["low"]) > 0.998


@pytest.mark.parametrize("part", PARTS)
def test_what_stays_on_the_device_is_half_the_rest_keeps_its_type(part: str, exported: Graphs, halved: Graphs) -> None:
    before, after = exported(part).graph, halved(part).graph
    for old, new in zip((*before.input, *before.output), (*after.input, *after.output), strict=True):
        assert new.name == old.name
        assert new.type.tensor_type.shape == old.type.tensor_type.shape
        expected = TensorProto.FLOAT16 if old.name in HALF_TENSORS else old.type.tensor_type.elem_type
        assert new.type.tensor_type.elem_type == expected, new.name


@pytest.mark.parametrize("part", PARTS)
def test_no_operator_mixes_types_and_all_are_standard(part: str, halved: Graphs) -> None:
    model = halved(part)
    kinds = types(model)
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    for node in model.graph.node:
        assert node.domain == ""
        if node.op_type not in ("Cast", "Resize"):  # whose scales are float32 always
            assert len({kinds[name] for name in (*node.input, *node.output) if name and kinds[name] in floats}) < 2, (
                node.name
            )
    onnx.checker.check_model(model, full_check=True)


def test_the_memories_products_are_half_and_weigh_half(exported: Graphs, halved: Graphs) -> None:
    model, kinds = halved("memory_attention"), types(halved("memory_attention"))
    heavy = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Softmax", "LayerNormalization")]
    assert heavy
    assert {kinds[node.output[0]] for node in heavy} == {TensorProto.FLOAT16}
    assert model.ByteSize() < 0.52 * exported("memory_attention").ByteSize()


def test_masks_are_decoded_with_whole_weights(exported: Graphs, halved: Graphs) -> None:
    assert TensorProto.FLOAT16 not in {one.data_type for one in halved("mask_decoder").graph.initializer}
    given = {name: value.astype(np.float16).astype(value.dtype) for name, value in feeds("mask_decoder").items()}
    whole, half = run(exported("mask_decoder"), given), run(halved("mask_decoder"), given)
    assert error(half["low"], whole["low"]) < 1e-5


@pytest.mark.parametrize("part", ["mask_decoder", "memory_attention"])
def test_sines_are_taken_of_whole_angles(part: str, halved: Graphs) -> None:
    model, kinds = halved(part), types(halved(part))
    sines = [node for node in model.graph.node if node.op_type in ("Sin", "Cos")]
    assert len(sines) == 2
    assert {kinds[name] for node in sines for name in node.input} == {TensorProto.FLOAT}


def test_a_hidden_thing_has_no_mask_and_is_remembered_in_numbers(exported: Graphs, halved: Graphs) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(exported("mask_decoder"))
    bias = next(node.input[2] for node in model.graph.node if "score" in node.output)
    for one in model.graph.initializer:
        if one.name == bias:
            one.CopyFrom(numpy_helper.from_array(np.full(one.dims, -50.0, np.float32), bias))
    hidden = run(to_half(model, "mask_decoder"), feeds("mask_decoder"))
    assert hidden["score"].max() < 0
    assert (hidden["low"] == -1024.0).all()
    assert np.isfinite(hidden["ptr"]).all()
    seen = feeds("memory_encoder") | {"mask": hidden["low"], "score": hidden["score"]}
    expected = run(exported("memory_encoder"), seen)["mem"]
    assert error(run(halved("memory_encoder"), seen)["mem"], expected) < 3e-3


def test_fifteen_memories_are_attended_to_in_half(exported: Graphs, halved: Graphs) -> None:
    many = feeds("memory_attention", slots=15)
    expected = run(exported("memory_attention"), many)["feat_mem"]
    assert error(run(halved("memory_attention"), many)["feat_mem"], expected) < 3e-3


def test_the_given_model_is_left_as_it_is(exported: Graphs) -> None:
    before = exported("memory_encoder").SerializeToString(deterministic=True)
    to_half(exported("memory_encoder"), "memory_encoder")
    assert exported("memory_encoder").SerializeToString(deterministic=True) == before


def small(nodes: list[Any], shape: list[int], out: list[int], **constants: NDArray[Any]) -> Any:
    """A graph from `feat` to `score`."""
    takes = helper.make_tensor_value_info("feat", TensorProto.FLOAT, shape)
    gives = helper.make_tensor_value_info("score", TensorProto.FLOAT, out)
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", [takes], [gives], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_pixels_of_a_whole_mask_can_be_counted() -> None:
    nodes = [
        helper.make_node("Greater", ["feat", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ones"], ["score"], keepdims=0),
    ]
    model = to_half(small(nodes, [1, 65536], [], zero=np.float32(0)), "memory_encoder")
    assert run(model, {"feat": np.ones((1, 65536), np.float32)})["score"] == 65536.0


@pytest.mark.parametrize("constant", [1e-12, 1e6])
def test_numbers_that_half_cannot_hold_stay_whole(constant: float) -> None:
    nodes = [helper.make_node("Mul", ["feat", "by"], ["score"])]
    model = to_half(small(nodes, [1, 2], [1, 2], by=np.float32(constant)), "memory_encoder")
    found = run(model, {"feat": np.array([[1.0, 2.0]], np.float32)})["score"]
    assert found == pytest.approx(np.array([[constant, 2 * constant]]), rel=1e-6)


def test_a_weight_that_both_kinds_of_arithmetic_use_is_there_in_both() -> None:
    nodes = [
        helper.make_node("MatMul", ["feat", "weight"], ["product"]),
        helper.make_node("Sin", ["weight"], ["sines"]),
        helper.make_node("MatMul", ["product", "sines"], ["score"]),
    ]
    weight = np.array([[0.5, 0.25], [-1.0, 2.0]], np.float32)
    model = to_half(small(nodes, [1, 2], [1, 2], weight=weight), "memory_encoder")
    found = run(model, {"feat": np.array([[1.0, 2.0]], np.float32)})["score"]
    assert found == pytest.approx(np.array([[1.0, 2.0]]) @ weight @ np.sin(weight), rel=2e-3)


def test_what_cannot_be_made_half_is_refused(exported: Graphs, halved: Graphs) -> None:
    with pytest.raises(BadConfig, match="part must be one of image_encoder"):
        to_half(exported("memory_encoder"), "decoder")
    with pytest.raises(BadInput, match="float16 tensors already"):
        to_half(halved("mask_decoder"), "mask_decoder")
    own = small([helper.make_node("Fast", ["feat"], ["score"], domain="own.ops")], [1, 2], [1, 2])
    with pytest.raises(BadInput, match="Fast is no standard operator"):
        to_half(own, "memory_encoder")
    cut = small([helper.make_node("Sin", ["absent"], ["score"])], [1, 2], [1, 2])
    with pytest.raises(BadInput, match="no sound ONNX graph"):
        to_half(cut, "memory_encoder")
