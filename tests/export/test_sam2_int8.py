"""SAM2's image encoder in eight bits: masks stay, in the form that engines are built from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.export.sam2_precision_parts import Graphs, error, feeds, iou, loaded, onnx, picture, prepared, run, types

from scene_r1_engines.errors import BadInput, BadModelFile, EngineFailed
from scene_r1_export.sam2.precision.int8 import quantized
from scene_r1_export.sam2.precision.magnitudes import Magnitudes


@pytest.fixture(scope="module")
def exported(sam2_folder: Path) -> Graphs:
    return partial(loaded, sam2_folder)


@pytest.fixture(scope="module")
def eight(sam2_folder: Path) -> Any:
    path = sam2_folder / "image_encoder.onnx"
    told: list[int] = []
    model = quantized(path, (picture(seed) for seed in range(4)), prepared, lambda: told.append(1))
    assert len(told) == 4
    return model


def test_masks_are_nearly_the_same_with_eight_bits(eight: Any, exported: Graphs) -> None:
    image, asked = feeds("image_encoder"), feeds("mask_decoder")
    whole, found = run(exported("image_encoder"), image), run(eight, image)
    assert 1e-3 < error(found["feat"], whole["feat"]) < 0.05
    assert error(found["s0"], whole["s0"]) < 0.02
    masks = [run(exported("mask_decoder"), asked | features)["low"] for features in (found, whole)]
    assert iou(*masks) > 0.97


def test_eight_bits_say_the_same_in_integers_as_in_floats(eight: Any) -> None:
    # Integer kernels of processors without VNNI saturate where weights use all of their bits: 0.17. A value that is
    # rounded the other way, since sums have another order, makes 0.015.
    image = feeds("image_encoder")
    integers, floats = run(eight, image), run(eight, image, optimised=False)
    for name, expected in floats.items():
        assert error(integers[name], expected) < 0.05, name


def test_eight_bits_have_the_form_that_engines_are_built_from(eight: Any) -> None:
    graph, kinds = eight.graph, types(eight)
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    readers = {name: [node.op_type for node in graph.node if name in node.input] for name in kinds}
    assert {one.op_type for one in graph.node}.isdisjoint({"DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"})
    assert all(node.domain == "" for node in graph.node)
    products = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    maker = {name: node for node in graph.node for name in node.output}
    weighted = [node for node in products if maker[node.input[0]].op_type == "DequantizeLinear"]
    assert len(weighted) >= 48
    for node in weighted:
        activation, weight = (maker[name] for name in node.input[:2])
        source = maker[activation.input[0]]
        assert source.op_type == "QuantizeLinear"
        assert readers[source.output[0]] == ["DequantizeLinear"]
        assert constants[source.input[1]].shape == ()
        values, steps = constants[weight.input[0]], constants[weight.input[1]]
        assert values.dtype == np.int8
        axis = next(one.i for one in weight.attribute if one.name == "axis")
        assert steps.shape == (values.shape[axis],)
        assert np.abs(values.astype(int)).max() * 255 * 2 <= 32767
        assert kinds[node.input[2]] == TensorProto.FLOAT if len(node.input) > 2 else True
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not constants[node.input[2]].any()
            assert constants[node.input[2]].dtype == np.int8


def encoder(tmp_path: Path, weight: NDArray[Any] | None = None) -> Path:
    """A graph that stands in for an image encoder where the model does not matter."""
    nodes = [helper.make_node("MatMul", ["image", "weight"], ["s0"])]
    values = {"weight": np.eye(8, dtype=np.float32) if weight is None else weight}
    kept = [numpy_helper.from_array(value, name) for name, value in values.items()]
    takes = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, 8, 8])
    gives = helper.make_tensor_value_info("s0", TensorProto.FLOAT, ["B", 3, 8, 8])
    model = helper.make_model(
        helper.make_graph(nodes, "small", [takes], [gives], kept),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path / "image_encoder.onnx"
    onnx.save(model, str(path))
    return path


def tiny(shown: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(shown[:8, :8].transpose(2, 0, 1)[None], np.float32) / 255.0


def test_each_output_channel_of_a_weight_has_a_step_of_its_own(tmp_path: Path) -> None:
    weight = np.diag(10.0 ** np.arange(-4.0, 4.0)).astype(np.float32)
    model = quantized(encoder(tmp_path, weight), [picture(seed) for seed in range(4)], tiny)
    image = {"image": tiny(picture(5))}
    found, expected = run(model, image, optimised=False)["s0"], image["image"] @ weight
    assert (np.abs(found - expected).max((0, 1, 2)) < 0.01 * weight.max(0)).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_pictures_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(BadInput, match=f"at least 4 pictures .* got {count}"):
        quantized(encoder(tmp_path), [picture(seed) for seed in range(count)], tiny)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((60, 80, 3), np.float32),
        np.zeros((60, 80), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((0, 80, 3), np.uint8),
        "picture.png",
    ],
    ids=["float", "grey", "alpha", "empty", "name"],
)
def test_what_is_no_picture_is_refused_by_its_number(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(BadInput, match=r"picture 1 must be \(H, W, 3\) uint8 RGB"):
        quantized(encoder(tmp_path), [picture(0), wrong, picture(1), picture(2)], tiny)


def test_pictures_made_ready_for_another_graph_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"picture 0, as \(1, 3, 256, 256\) float32, cannot be encoded"):
        quantized(encoder(tmp_path), [picture(seed) for seed in range(4)], prepared)


def test_weights_that_give_no_numbers_are_an_error(tmp_path: Path) -> None:
    path = encoder(tmp_path, np.full((8, 8), np.nan, np.float32))
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("MatMul", ["s0", "weight"], ["s1"]))
    model.graph.output[0].name = "s1"
    onnx.save(model, str(path))
    with pytest.raises(EngineFailed, match="picture 0 gives what is no number"):
        quantized(path, [picture(seed) for seed in range(4)], tiny)


def test_a_graph_that_is_damaged_or_absent_is_refused(tmp_path: Path) -> None:
    whole = encoder(tmp_path).read_bytes()
    damaged = tmp_path / "damaged.onnx"
    pictures = [picture(seed) for seed in range(4)]
    for length in range(0, len(whole), 7):
        damaged.write_bytes(whole[:length])
        with pytest.raises(BadModelFile, match=r"damaged\.onnx"):
            quantized(damaged, pictures, tiny)
    with pytest.raises(BadModelFile, match="cannot be read"):
        quantized(tmp_path / "absent.onnx", pictures, tiny)


def test_a_graph_that_is_quantised_already_is_refused(tmp_path: Path) -> None:
    path = encoder(tmp_path)
    pictures = [picture(seed) for seed in range(4)]
    onnx.save(quantized(path, pictures, tiny), str(path))
    with pytest.raises(BadModelFile, match="no float32 image encoder"):
        quantized(path, pictures, tiny)


def squared_error(values: NDArray[np.float32], step: float) -> float:
    rounded = np.clip(np.rint(values / step), -127, 127) * step
    return float(((rounded - values) ** 2).sum(dtype=np.float64))


@given(seed=st.integers(0, 2**16), scale=st.floats(1e-6, 1e6), tail=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_chosen_step_loses_no_more_than_one_that_clips_nothing(seed: int, scale: float, tail: int) -> None:
    values = (scale * np.random.default_rng(seed).standard_normal(20000) ** tail).astype(np.float32)
    counted = Magnitudes()
    counted.add(values[:9000])
    counted.add(values[9000:])
    assert squared_error(values, counted.step(127)) <= 1.1 * squared_error(values, float(np.abs(values).max()) / 127)


def test_one_far_value_among_many_does_not_coarsen_them() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    values[7] = 40.0
    counted = Magnitudes()
    counted.add(values)
    assert squared_error(values[100:], counted.step(127)) < 0.3 * squared_error(values[100:], 40.0 / 127)


def test_nothing_but_zeros_has_a_step() -> None:
    counted = Magnitudes()
    counted.add(np.zeros((3, 4), np.float32))
    assert counted.step(127) == 1.0
