"""Does a graph compute what the module did that it was traced from?"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scene_r1_engines.errors import EngineFailed, MissingExtra
from scene_r1_engines.sam2.manifest import tensors
from scene_r1_export.sam2.graph import arguments, examples

LARGEST = 1e-3
"""Of the largest value of an output. Rounding makes 1e-6; an extent that the tracer took for fixed 1e-1, or nothing."""
OTHER = {"B": 1, "N": 2, "M": 1, "P": 1}
"""Extents, none of which is that of the trace."""


def check_parity(path: Path, module: nn.Module, takes: str) -> float:
    """The largest difference between a float32 graph in ONNX Runtime and its module, relative to each output's largest
    value. takes: its inputs, as in the manifest.

    Raises EngineFailed where they differ or the graph does not run, MissingExtra.
    """
    try:
        runtime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtra("cpu", "comparing a graph with its checkpoint", str(error)) from error
    specs = tensors(takes)
    side = next((int(spec.shape[-1]) for spec in specs if spec.name == "feat"), 0)
    given = examples(specs, {**OTHER, "H": 16 * side, "W": 16 * side}, seed=1)
    if "multimask" in given:
        given["multimask"].fill_(1.0)  # else a count of pixels decides, and one of them may tip it
    with torch.inference_mode():
        result = module(*arguments(module, given))
    expected = result if isinstance(result, tuple) else (result,)
    try:
        options = runtime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        got = session.run(None, {name: value.numpy() for name, value in given.items()})
    except Exception as error:  # onnxruntime's own errors have no common class
        raise EngineFailed(f"{path.name} does not run in ONNX Runtime {runtime.__version__}: {error}") from error
    worst = 0.0
    for wanted, value in zip(expected, got, strict=True):
        scale = float(wanted.abs().max()) or 1.0
        off = float((wanted - torch.from_numpy(value)).abs().max()) / scale
        if not off <= LARGEST:  # not a number is no agreement either
            raise EngineFailed(
                f"{path.name} differs from its checkpoint by {off:.1e} of its largest value: export it with other "
                "versions of torch, onnx and onnxsim"
            )
        worst = max(worst, off)
    return worst
