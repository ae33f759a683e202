"""One module of torch becomes one ONNX graph: standard operators of opset 17, simplified, its tensors as promised."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from scene_r1_engines.errors import EngineFailed, MissingExtra
from scene_r1_engines.sam2.manifest import TensorSpec, tensors

OPSET = 17
"""What the parser of JetPack 6's TensorRT 10.3 reads, and the first with LayerNormalization."""
EXAMPLE = {"B": 2, "N": 3, "M": 3, "P": 2}
"""Extents of what a module is traced with: not 1, which would be broadcast, and not equal where they meet."""
LEFT_APART = ("fuse_qkv", "fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched")
"""What simplifying leaves undone: these would put reshapes around products of more than two dimensions, and split what
one product for queries, keys and values gives, which copies it."""
ONNX_TYPES = {"float32": 1, "float16": 10, "int32": 6}


def to_onnx(module: nn.Module, takes: str, gives: str, scratch: Path | None = None) -> Any:
    """The module as an onnx.ModelProto. takes, gives: its tensors, as in a manifest; arguments of the module that takes
    does not name are None. scratch: an existing folder for the exporter's file, None for the system's.

    Raises EngineFailed where the result is not what was promised, MissingExtra.
    """
    onnx, onnxsim = _packages()
    inputs, outputs = tensors(takes), tensors(gives)
    with TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "traced.onnx"
        _trace(module.eval(), inputs, outputs, path)
        traced = onnx.load(str(path))
    model, same = onnxsim.simplify(traced, skipped_optimizers=list(LEFT_APART))
    if not same:
        raise EngineFailed("simplifying the graph has changed it: export it with other versions of onnx and onnxsim")
    _declare(model.graph.input, inputs)
    _declare(model.graph.output, outputs)
    _check(onnx, model)
    return model


def examples(specs: Sequence[TensorSpec], extents: Mapping[str, int], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random values for a graph's inputs: flags are 0 or 1, labels -1..3, coordinates and the rest near 0."""
    draw = torch.Generator().manual_seed(seed)
    made = {}
    for spec in specs:
        shape = [extents[extent] if isinstance(extent, str) else extent for extent in spec.shape]
        if spec.dtype == "int32":
            least, most = (-1, 4) if spec.name == "labels" else (0, 7)
            made[spec.name] = torch.randint(least, most, shape, generator=draw, dtype=torch.int32)
        elif spec.name in ("has_mask", "multimask", "alone", "binarize"):
            made[spec.name] = torch.randint(0, 2, shape, generator=draw).float()
        else:
            made[spec.name] = torch.randn(shape, generator=draw)
    return made


def arguments(module: nn.Module, given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    """The given values in the order of the module's arguments, None for those that are not given."""
    return tuple(given.get(name) for name in inspect.signature(module.forward).parameters)


def _packages() -> tuple[Any, Any]:
    try:
        return import_module("onnx"), import_module("onnxsim")
    except ImportError as error:
        raise MissingExtra("sam2", "exporting SAM2", str(error)) from error


def _trace(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], path: Path) -> None:
    side = next((spec.shape[-1] for spec in inputs if spec.name == "feat"), 0)
    given = examples(inputs, {**EXAMPLE, "H": 4 * int(side), "W": 4 * int(side)})
    axes = {
        spec.name: {axis: extent for axis, extent in enumerate(spec.shape) if isinstance(extent, str)}
        for spec in (*inputs, *outputs)
    }
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of every Python number that it takes as fixed, which all are meant to be, and of its age:
        # its successor cannot trace a window partition of a batch that varies, and gives no opset 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            arguments(module, given),
            str(path),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _declare(values: Any, specs: Sequence[TensorSpec]) -> None:
    """Say the shapes of inputs or outputs as the manifest does; what inference has left open is known here."""
    if [value.name for value in values] != [spec.name for spec in specs]:
        raise EngineFailed(
            f"the graph has the tensors {', '.join(value.name for value in values)}, where "
            f"{', '.join(spec.name for spec in specs)} were asked for: try other versions of torch and onnxsim"
        )
    for value, spec in zip(values, specs, strict=True):
        said = value.type.tensor_type
        if said.elem_type != ONNX_TYPES[spec.dtype]:
            raise EngineFailed(f"the graph's {spec.name} is of ONNX type {said.elem_type} and not {spec.dtype}")
        said.shape.ClearField("dim")
        for extent in spec.shape:
            one = said.shape.dim.add()
            if isinstance(extent, str):
                one.dim_param = extent
            else:
                one.dim_value = extent


def _check(onnx: Any, model: Any) -> None:
    onnx.checker.check_model(model, full_check=True)
    strange = sorted(
        {f"{node.domain}:{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    )
    if strange:
        raise EngineFailed(f"the graph has operators that are not ONNX's own: {', '.join(strange)}")
    versions = [(one.domain, one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if [version for _, version in versions] != [OPSET]:
        raise EngineFailed(f"the graph is of opset {versions} and not {OPSET}")
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
