"""One ONNX graph through NVIDIA's parser and builder, in the one form that TensorRT 10.3 to 11.x all take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scene_r1_engines.errors import BadConfig, BadModelFile, EngineFailed
from scene_r1_engines.sam2.extents import InputProfile
from scene_r1_engines.sam2.manifest import GraphFile
from scene_r1_engines.tensorrt_module.library import DTYPES, failure
from scene_r1_engines.tensorrt_module.sidecar import HARDWARE

MOST_ERRORS: Final = 8


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How engines are built. workspace_bytes: working memory that a kernel may ask for, None for all of the GPU's.
    version_compatible: later TensorRT runs them too. hardware: which GPUs run them, one of sidecar.HARDWARE."""

    workspace_bytes: int | None = None
    version_compatible: bool = False
    hardware: str = "exact"

    def __post_init__(self) -> None:
        if self.workspace_bytes is not None and not 1 << 20 <= self.workspace_bytes < 1 << 42:
            raise BadConfig(f"the workspace must be 1 MiB or more, below 4 TiB, got {self.workspace_bytes} bytes")
        if self.hardware not in HARDWARE:
            raise BadConfig(f"hardware must be one of {', '.join(HARDWARE)}, got {self.hardware[:40]!r}")


def make_builder(trt: Any, log: Any) -> Any:
    """Raises EngineFailed where TensorRT cannot work, such as without a driver."""
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError):  # pybind11's word for a null pointer
        raise failure(list(log.errors), "TensorRT's builder does not start") from None


def parse(trt: Any, log: Any, builder: Any, data: bytes, graph: GraphFile, path: Path) -> tuple[Any, Any]:
    """The network of a graph, and its parser, which must outlive it: it owns the weights.

    data: the file's bytes; files that it may name are not looked for. Types are those of the graph: 10.x is told so, 11
    knows nothing else. Raises BadModelFile with the node that the parser refuses, and where inputs differ from graph.
    """
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(data):
        said = [_said(parser.get_error(index)) for index in range(min(parser.num_errors, MOST_ERRORS))]
        raise BadModelFile(path, f"TensorRT's parser refuses it: {' | '.join(said) or 'it does not say why'}")
    _check_inputs(trt, network, graph, path)
    return network, parser


def configure(
    trt: Any, log: Any, builder: Any, profile: Sequence[InputProfile], options: BuildOptions
) -> tuple[Any, str]:
    """How a network is built, and the names of the flags that were set. Raises EngineFailed for what TensorRT lacks."""
    config, flags = builder.create_builder_config(), []
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.version_compatible:
        # Without the lean runtime: with it a plan holds code for the host, and loading one would run that.
        flags = ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
        for name in flags:
            config.set_flag(getattr(trt.BuilderFlag, name))
    if options.hardware != "exact":
        level = getattr(trt.HardwareCompatibilityLevel, options.hardware.upper(), None)
        if level is None:
            raise EngineFailed(f"TensorRT {trt.__version__} has no hardware compatibility {options.hardware}")
        config.hardware_compatibility_level = level
    shapes = builder.create_optimization_profile()
    try:
        for one in profile:
            shapes.set_shape(one.name, one.least, one.usual, one.most)
        taken = config.add_optimization_profile(shapes)
    except (ValueError, RuntimeError) as error:
        raise EngineFailed(f"TensorRT refuses the shapes of the manifest: {error}") from None
    if taken < 0:
        raise failure(list(log.errors), "TensorRT refuses the shapes of the manifest")
    return config, " ".join(flags)


def build(log: Any, builder: Any, network: Any, config: Any, path: Path) -> bytes:
    """The plan of a network. Raises EngineFailed, DeviceOutOfMemory."""
    log.errors.clear()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise failure(list(log.errors), f"{path}: TensorRT builds no engine of it")
    return bytes(plan)


def _check_inputs(trt: Any, network: Any, graph: GraphFile, path: Path) -> None:
    found = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        found[tensor.name] = (tuple(tensor.shape), tensor.dtype)
    for spec in graph.takes:
        wanted = (
            tuple(one if isinstance(one, int) else -1 for one in spec.shape),
            getattr(trt.DataType, DTYPES[spec.dtype]),
        )
        if found.pop(spec.name, None) != wanted:
            raise BadModelFile(path, f"does not take {spec}, as its manifest says: export the model again")
    if found:
        raise BadModelFile(path, f"takes {min(found)}, of which its manifest says nothing: export the model again")


def _said(error: Any) -> str:
    return f"{error.node_operator()} {error.node_name()[:80]!r}: {error.desc().strip()[:300]}"
