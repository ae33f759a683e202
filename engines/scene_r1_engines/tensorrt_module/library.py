"""TensorRT itself: found, of a version that is known here, its log turned into Python's, an engine loaded by it."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from scene_r1_engines.errors import BadModelFile, DeviceOutOfMemory, EngineFailed, MissingExtra
from scene_r1_engines.sam2.manifest import TensorSpec
from scene_r1_engines.tensorrt_module.sidecar import Sidecar, rebuild

OLDEST, TOO_NEW = (10, 3), (12,)
DTYPES: Final = {"float32": "FLOAT", "float16": "HALF", "int32": "INT32"}
"""TensorRT's names of the manifest's types."""
OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory|FAILED_ALLOCATION|cudaErrorMemoryAllocation", re.IGNORECASE)
log = logging.getLogger(__name__)


def tensorrt() -> Any:
    """The module `tensorrt`. Raises MissingExtra where it is not installed, EngineFailed for an unknown version."""
    try:
        trt = import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        detail = f"on a Jetson: apt-get install python3-libnvinfer, and a .venv with --system-site-packages; {error}"
        raise MissingExtra("tensorrt", "running TensorRT engines", detail) from None
    check_version(str(trt.__version__))
    return trt


def check_version(version: str) -> None:
    """Raises EngineFailed for a TensorRT that this was not written for."""
    numbers = tuple(int(one) for one in re.findall(r"\d+", version)[:2])
    if not OLDEST <= numbers < TOO_NEW:
        raise EngineFailed(f"TensorRT {version} is not known here: install 10.3 or later, before 12")


def make_log(trt: Any) -> Any:
    """A logger for TensorRT: its words go to Python's logging; `errors` and `warnings` keep the last of them.

    An error recorder is not set: one that is set takes the errors away from the log.
    """
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,  # it warns about what is asked for, such as engines for several shapes
        severity.INFO: logging.DEBUG,
    }

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants its own called, not super()'s
            self.errors: deque[str] = deque(maxlen=8)
            self.warnings: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            level, text = levels.get(severity), message.strip()[:2000]
            if level is None:
                return
            if level == logging.ERROR:
                self.errors.append(text[:400])
            elif level == logging.INFO:
                self.warnings.append(text[:400])
            # An error is raised as one of ours, with these words; who listens closer hears all of them.
            log.log(min(level, logging.INFO), "%s", text)

    return Log()


def failure(errors: Sequence[str], what: str) -> EngineFailed:
    """What TensorRT's last errors mean: DeviceOutOfMemory where memory ran out, else EngineFailed."""
    said = " | ".join(errors)[-900:] or "it said nothing"
    if OUT_OF_MEMORY.search(said):
        return DeviceOutOfMemory(f"{what}: the GPU is out of memory, ask for fewer objects or slots: {said}")
    return EngineFailed(f"{what}: {said}")


def deserialize(trt: Any, log: Any, plan: bytes, sidecar: Sidecar, folder: Path) -> tuple[Any, Any]:
    """The runtime and the engine of a plan whose sidecar was checked. The runtime must outlive the engine.

    Host code inside a plan is never allowed. So one that is version-compatible holds no runtime, and in another version
    than its own it is run by the lean runtime of its version, which must be installed.
    Raises BadModelFile where TensorRT refuses it, DeviceOutOfMemory where it does not fit.
    """
    path = folder / sidecar.file
    try:
        runtime = trt.Runtime(log)
    except (TypeError, RuntimeError):  # pybind11's word for a null pointer
        raise failure(list(log.errors), "TensorRT's runtime does not start") from None
    if sidecar.machine.tensorrt != trt.__version__:
        lean = f"libnvinfer_lean.so.{'.'.join(sidecar.machine.tensorrt.split('.')[:3])}"
        runtime = runtime.load_runtime(lean)
        if runtime is None:
            raise BadModelFile(path, f"needs {lean}, which does not load: install it, or {rebuild(folder)}")
    log.errors.clear()
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        why = failure(list(log.errors), "TensorRT refuses it")
        if isinstance(why, DeviceOutOfMemory):
            raise why
        raise BadModelFile(path, f"{why}; {rebuild(folder)}")
    return runtime, engine


def check_tensors(
    trt: Any, engine: Any, takes: Sequence[TensorSpec], gives: Sequence[TensorSpec], path: Path, mend: str
) -> None:
    """An engine's inputs and outputs are those of the manifest, in the GPU's memory. Raises BadModelFile."""
    wanted = {spec.name: (spec, trt.TensorIOMode.INPUT) for spec in takes}
    wanted |= {spec.name: (spec, trt.TensorIOMode.OUTPUT) for spec in gives}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    if set(names) != set(wanted):
        raise BadModelFile(path, f"has the tensors {', '.join(names)}, the manifest {', '.join(wanted)}: {mend}")
    for name in names:
        spec, mode = wanted[name]
        shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
        same = len(shape) == len(spec.shape) and all(
            got in (-1, one) if isinstance(one, int) else True for got, one in zip(shape, spec.shape, strict=True)
        )
        if engine.get_tensor_mode(name) != mode or not same or dtype != getattr(trt.DataType, DTYPES[spec.dtype]):
            raise BadModelFile(path, f"its tensor {name} is {dtype} {shape}, the manifest says {spec}: {mend}")
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise BadModelFile(path, f"wants its tensor {name} in the host's memory: export the model again")
