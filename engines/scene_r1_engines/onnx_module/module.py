"""One ONNX graph in ONNX Runtime, on a CPU or an NVIDIA GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig, BadInput, BadModelFile, DeviceOutOfMemory, EngineFailed
from scene_r1_engines.onnx_module.providers import Extents, check_runs, onnxruntime, provider_of, setup_of
from scene_r1_engines.sam2.extents import Letters, letters_of, shape_of
from scene_r1_engines.sam2.manifest import GraphFile, TensorSpec
from scene_r1_engines.sam2.module import Value, host

NO_ROOM = re.compile(
    # ONNX Runtime has no error type for it: it says so in these words, those of CUDA, cuBLAS, cuDNN or of C++.
    r"failed to allocate|out of memory|bad.?alloc|ALLOC_FAILED|available memory of \d+ is smaller|OutOfMemory",
    re.IGNORECASE,
)
GPU_AT_FAULT = ("EPFail", "EngineError", "RuntimeException", "RuntimeError")
"""Names of ONNX Runtime's errors that may come from a GPU while a graph is loaded; any other is about its file."""
QUIET = 3
"""Errors only: at each start ONNX Runtime warns of what it cannot fold."""


class DeviceTensor:
    """A tensor that stays in the memory of a GPU, for other graphs of ONNX Runtime to read there."""

    __slots__ = ("dtype", "ort_value", "shape")

    def __init__(self, ort_value: Any, spec: TensorSpec) -> None:
        self.ort_value = ort_value
        self.shape: tuple[int, ...] = tuple(ort_value.shape())
        self.dtype = np.dtype(spec.dtype)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory, float16 as float32."""
        return _owned(self.ort_value.numpy())


class OnnxModule:
    """A graph, loaded (sam2.module.Module). A context manager; `close()` twice is fine. Not for two threads at once.

    path: a file that was vouched for; native code reads it. graph: what its manifest says of it. extents: of its
    letters, which bound what it is fed. provider: "cpu", "cuda" or "tensorrt". threads: of the CPU, those this process
    may use if None.

    Raises BadConfig for an unknown provider, MissingExtra where it is not installed, EngineFailed where it does not
    run here, DeviceOutOfMemory, and BadModelFile for a graph that it does not take.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        graph: GraphFile,
        extents: Extents,
        provider: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._name, self._extents = Path(graph.file).stem, dict(extents)
        self._takes, self._gives = graph.takes, graph.gives
        self._provider = provider_of(provider)
        if threads is not None and not 1 <= threads <= 256:
            raise BadConfig(f"threads must be in 1..256, got {threads}")
        self._ort = onnxruntime(self._provider)
        self._errors = _errors_of(self._ort)
        self._options = self._ort.RunOptions()
        if self._provider.device == "cpu":
            # Each graph has an arena of its own, and only one of the four runs at a time: what one gives back after its
            # run is what the next one takes. At 1024 px and 7 memories the peak was 1633 MB without it and 1054 with
            # it. On a GPU it would wait for all work at each run.
            self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._session: Any = self._load(os.fspath(path), graph, threads or len(os.sched_getaffinity(0)))
        try:
            check_runs(self._provider, self._session.get_providers())
            self._check_io(os.fspath(path))
        except BaseException:
            self.close()
            raise

    @property
    def backend(self) -> str:
        return f"onnxruntime:{self._provider.name}"

    def __enter__(self) -> OnnxModule:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._session = None

    def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        """As sam2.module.Module says. With "cpu" nothing is kept: all come back as arrays."""
        if self._session is None:
            raise EngineFailed(f"{self._name} was closed: open its folder again")
        try:
            letters = letters_of(self._takes, {name: tuple(one.shape) for name, one in feeds.items()}, self._extents)
        except BadInput as error:
            raise BadInput(f"{self._name}: {error}") from None
        unknown = set(keep) - {spec.name for spec in self._gives}
        if unknown:
            raise BadInput(f"{self._name} gives no {', '.join(sorted(unknown))} to keep")
        ready = {spec.name: self._ready(spec, feeds[spec.name]) for spec in self._takes}
        try:
            given = self._run_bound(ready, keep)
        except self._errors as error:
            raise self._failed(error, feeds) from None
        return {spec.name: self._taken(spec, value, letters) for spec, value in zip(self._gives, given, strict=True)}

    def _ready(self, spec: TensorSpec, value: Value) -> NDArray[Any] | DeviceTensor:
        """The feed as the graph takes it: what a GPU holds in the right type stays there."""
        if isinstance(value, DeviceTensor) and value.dtype == spec.dtype:
            return value
        array = host(value)
        if not np.can_cast(array.dtype, spec.dtype, "same_kind"):  # such as a fraction to a whole number
            raise BadInput(f"{self._name}: {spec.name} must be {spec.dtype}, got {array.dtype}")
        with np.errstate(over="ignore"):  # what is beyond half precision becomes infinite, as on a GPU
            return np.ascontiguousarray(array, spec.dtype)

    def _run_bound(self, ready: Mapping[str, NDArray[Any] | DeviceTensor], keep: Collection[str]) -> list[Any]:
        """The outputs in order: arrays, and OrtValues of those that stay on the device.

        ONNX Runtime reads the arrays of `ready` where they are, so they must live until it has run.
        """
        binding = self._session.io_binding()
        for name, value in ready.items():
            if isinstance(value, DeviceTensor):
                binding.bind_ortvalue_input(name, value.ort_value)
            else:
                binding.bind_cpu_input(name, value)
        device = self._provider.device
        stay = [device != "cpu" and spec.name in keep for spec in self._gives]
        for spec, kept in zip(self._gives, stay, strict=True):
            binding.bind_output(spec.name, device if kept else "cpu")
        self._session.run_with_iobinding(binding, self._options)
        values = binding.get_outputs()
        return [value if kept else value.numpy() for value, kept in zip(values, stay, strict=True)]

    def _taken(self, spec: TensorSpec, value: Any, letters: Letters) -> Value:
        """An output as callers get it, once its shape is that of the manifest."""
        held = value if isinstance(value, np.ndarray) else DeviceTensor(value, spec)
        if tuple(held.shape) != shape_of(spec, letters):
            raise EngineFailed(f"{self._name} gave {spec.name} as {held.shape}, not as {spec}: export it again")
        return _owned(held) if isinstance(held, np.ndarray) else held

    def _load(self, path: str, graph: GraphFile, threads: int) -> Any:
        options = self._ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A thread that waits for work would spin, and take a core from the graph that runs next, whose threads are
        # others: at 256 px the four took 0.85 CPU seconds a frame with it, 0.45 without.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A pattern is one block for all tensors of a run, planned ahead, which fits worse: at 1024 px and 7 memories
        # the peak was 2686 MB with it and 1633 without, in the same time.
        options.enable_mem_pattern = False
        try:
            return self._ort.InferenceSession(
                path, options, providers=setup_of(self._provider, graph, self._extents), enable_fallback=0
            )
        except self._errors as error:
            said = _one_line(error)
            if NO_ROOM.search(said):
                raise DeviceOutOfMemory(f"{self._name} does not fit into memory with {self.backend}: {said}") from None
            if self._provider.device != "cpu" and type(error).__name__ in GPU_AT_FAULT:
                raise EngineFailed(f"{self._name} does not load with {self.backend}: {said}") from None
            raise BadModelFile(path, f"ONNX Runtime does not take it, export it again: {said}") from None

    def _check_io(self, path: str) -> None:
        """What ONNX Runtime itself says that the graph takes and gives."""
        for specs, found in ((self._takes, self._session.get_inputs()), (self._gives, self._session.get_outputs())):
            names = [one.name for one in found]
            if names != [spec.name for spec in specs]:
                raise BadModelFile(path, f"has {', '.join(names)}, its manifest says {'; '.join(map(str, specs))}")

    def _failed(self, error: Exception, feeds: Mapping[str, Value]) -> EngineFailed:
        said = _one_line(error)
        if NO_ROOM.search(said) or isinstance(error, MemoryError):
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in feeds.items())
            return DeviceOutOfMemory(f"{self._name} has no room with {self.backend} for {shapes}: {said}")
        return EngineFailed(f"{self._name} broke with {self.backend}: {said}")


def _errors_of(package: Any) -> tuple[type[Exception], ...]:
    """All that ONNX Runtime raises: its own errors have no root but Exception."""
    state = package.capi.onnxruntime_pybind11_state
    own = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*own, RuntimeError, ValueError, MemoryError)


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy, float16 as float32: what ONNX Runtime gives lies in its arena, which would keep a large block for it."""
    return np.array(array, np.float32 if array.dtype == np.float16 else array.dtype)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:600]
