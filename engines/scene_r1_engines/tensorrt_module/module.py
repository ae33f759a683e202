"""One graph as a TensorRT engine: fed from the host or from what another engine left on the GPU."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadInput, EngineFailed
from scene_r1_engines.sam2.extents import (
    Extent,
    Letters,
    Shape,
    extents_of,
    letters_of,
    profile_of,
    said_profile,
    shape_of,
)
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest, TensorSpec
from scene_r1_engines.sam2.module import Value, host
from scene_r1_engines.tensorrt_module.captures import MOST_GRAPHS, Captures
from scene_r1_engines.tensorrt_module.device import Device, OnDevice
from scene_r1_engines.tensorrt_module.library import check_tensors, deserialize, failure, make_log, tensorrt
from scene_r1_engines.tensorrt_module.sidecar import check_sidecar, read_engine, rebuild

Key = tuple[tuple[Shape, ...], tuple[int, ...], tuple[int, int]]
"""What a captured graph depends on: shapes of the inputs, addresses of all tensors, the working memory."""


def open_engines(
    folder: str | os.PathLike[str], manifest: Sam2Manifest, ordinal: int = 0, graphs: int = MOST_GRAPHS
) -> dict[str, TensorRtModule]:
    """The engines of a SAM2 folder by the names of PARTS, on one GPU, which share its working memory and one stream.

    manifest: of that folder. ordinal: which GPU. graphs: CUDA graphs that each keeps, 0 for none. Raises MissingExtra
    where TensorRT is absent, EngineFailed where there is no GPU, BadModelFile for an engine that is missing, stale, of
    another GPU or version, truncated or changed (with the command that builds it), DeviceOutOfMemory where they do not
    fit. What was opened is closed then.
    """
    trt = tensorrt()
    device = Device(ordinal)
    with ExitStack() as stack:
        stack.callback(device.close)
        modules = {}
        for part in PARTS:
            modules[part] = open_engine(folder, manifest, part, device, trt, graphs)
            stack.callback(modules[part].close)
        stack.pop_all()
    return modules


def open_engine(
    folder: str | os.PathLike[str],
    manifest: Sam2Manifest,
    part: str,
    device: Device,
    trt: Any,
    graphs: int = MOST_GRAPHS,
) -> TensorRtModule:
    """One engine on a device. trt: the module `tensorrt`. Raises as `open_engines`."""
    graph, extents = manifest.graphs[part], extents_of(manifest, part)
    machine = device.machine(str(trt.__version__))
    sidecar = check_sidecar(folder, part, machine, graph.sha256, said_profile(profile_of(graph.takes, extents)))
    plan = read_engine(folder, sidecar)
    with device.lock:
        device.use()
        log = make_log(trt)
        runtime, engine = deserialize(trt, log, plan, sidecar, Path(folder))
        path = Path(folder) / sidecar.file
        check_tensors(trt, engine, graph.takes, graph.gives, path, rebuild(folder))
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise failure(list(log.errors), f"{part}: TensorRT gives no execution context")
        return TensorRtModule(
            part, (graph.takes, graph.gives), extents, device, (context, engine, runtime, log), graphs
        )


class TensorRtModule:
    """A `Module` over a TensorRT engine.

    Every tensor has a buffer of its own on the GPU, which grows when a larger one comes. Inputs are copied into theirs,
    from the host or from the GPU, and kept outputs are copied out: addresses stay, so that captured CUDA graphs stay
    right, at the price of copies within the GPU (8 MB for a picture of 1024 px in half precision).
    """

    def __init__(
        self,
        part: str,
        tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
        extents: Mapping[str, Extent],
        device: Device,
        native: tuple[Any, Any, Any, Any],
        graphs: int = MOST_GRAPHS,
    ) -> None:
        """tensors: what it takes and gives. native: execution context, engine, runtime and log, freed in that order."""
        self.part = part
        self.backend = f"tensorrt:{device.gpu}"
        self._takes, self._gives = tensors
        self._extents = extents
        self._device = device
        self._native: list[Any] | None = list(native)
        self._captures = Captures(device, graphs)
        self._buffers: dict[str, tuple[int, int]] = {}  # name: address, bytes
        self._shapes: tuple[Shape, ...] | None = None  # that the context was given last
        self._needs: dict[tuple[Shape, ...], int] = {}  # bytes of working memory
        device.join()

    def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        """All outputs by name; see `Module.run`. Raises BadInput, EngineFailed, DeviceOutOfMemory."""
        if unknown := set(keep) - {spec.name for spec in self._gives}:
            raise BadInput(f"{self.part} has no output {min(unknown)[:60]!r} to keep")
        with self._device.lock:
            context, _, _, log = self._opened()
            shapes = {name: tuple(value.shape) for name, value in feeds.items()}
            letters = letters_of(self._takes, shapes, self._extents)
            ready = {spec.name: self._ready(spec, feeds[spec.name]) for spec in self._takes}
            self._device.use()
            self._feed(ready)
            self._execute(context, log, tuple(shapes[spec.name] for spec in self._takes), letters)
            outputs = self._collect(letters, keep)
            self._device.synchronize()
        return {name: _widened(value) for name, value in outputs.items()}

    def close(self) -> None:
        """Free the engine and its memory. Twice is fine."""
        with self._device.lock:
            if self._native is None:
                return
            self._device.use()
            self._device.synchronize()
            self._captures.clear()
            while self._native:
                self._native.pop(0)  # the context before its engine, that before its runtime
            self._native = None
            for address, _ in self._buffers.values():
                self._device.free(address)
            self._buffers.clear()
            self._device.leave()

    def __enter__(self) -> TensorRtModule:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _opened(self) -> list[Any]:
        if self._native is None:
            raise EngineFailed(f"{self.part} was closed: open the model again")
        return self._native

    def _ready(self, spec: TensorSpec, value: Value) -> NDArray[Any] | OnDevice:
        """The feed as the engine takes it: left on this GPU where it is there in the right type, else an array."""
        dtype = np.dtype(spec.dtype)
        if isinstance(value, OnDevice) and value.device is self._device and value.dtype == dtype:
            return value
        values = host(value)
        if not np.can_cast(values.dtype, dtype, "same_kind"):
            raise BadInput(f"{self.part}: {spec.name} must be {spec.dtype}, got {values.dtype}")
        with np.errstate(over="ignore"):  # what is beyond half precision becomes infinite, as on the GPU
            return np.ascontiguousarray(values, dtype)

    def _feed(self, ready: Mapping[str, NDArray[Any] | OnDevice]) -> None:
        for name, value in ready.items():
            address = self._buffer(name, value.nbytes)
            if isinstance(value, OnDevice):
                self._device.copy(address, value.address, value.nbytes)
            else:
                self._device.upload(address, value)

    def _execute(self, context: Any, log: Any, shapes: tuple[Shape, ...], letters: Letters) -> None:
        """Put the engine's work for these shapes into the stream."""
        for spec in self._gives:
            self._buffer(spec.name, _nbytes(shape_of(spec, letters), spec))
        names = [spec.name for spec in (*self._takes, *self._gives)]
        addresses = tuple(self._buffers[name][0] for name in names)
        log.errors.clear()
        if shapes in self._needs:
            key: Key = (shapes, addresses, self._device.scratch(self._needs[shapes]))
            if self._captures.knows(key):
                self._captures.launch(key)
                return
        self._shape(context, log, shapes)
        scratch = self._device.scratch(self._needs[shapes])
        context.set_device_memory(*scratch)
        for name, address in zip(names, addresses, strict=True):
            if not context.set_tensor_address(name, address):
                raise failure(list(log.errors), f"{self.part}: TensorRT takes no memory for {name}")

        def work() -> None:
            if not context.execute_async_v3(self._device.stream):
                raise failure(list(log.errors), f"{self.part} failed")

        self._captures.run((shapes, addresses, scratch), work)

    def _shape(self, context: Any, log: Any, shapes: tuple[Shape, ...]) -> None:
        """Give the context these shapes, unless it has them. Asks then how much working memory they need."""
        if shapes == self._shapes:
            return
        self._shapes = None
        for spec, shape in zip(self._takes, shapes, strict=True):
            if not context.set_input_shape(spec.name, shape):
                raise failure(list(log.errors), f"{self.part}: TensorRT refuses {spec.name} of shape {shape}")
        # Asked at each change, since TensorRT divides the memory up in it.
        self._needs[shapes] = int(context.update_device_memory_size_for_shapes())
        self._shapes = shapes

    def _collect(self, letters: Letters, keep: Collection[str]) -> dict[str, Value]:
        """The outputs, in the stream: kept ones copied on the GPU, the others on their way into arrays."""
        outputs: dict[str, Value] = {}
        for spec in self._gives:
            shape, address = shape_of(spec, letters), self._buffers[spec.name][0]
            if spec.name in keep:
                outputs[spec.name] = self._device.hold(address, shape, spec.dtype)
                continue
            values = np.empty(shape, spec.dtype)
            self._device.download(values, address)
            outputs[spec.name] = values
        return outputs

    def _buffer(self, name: str, nbytes: int) -> int:
        """The address of a tensor's buffer, of so many bytes or more. Raises DeviceOutOfMemory."""
        address, size = self._buffers.get(name, (0, 0))
        if size < nbytes:
            self._device.synchronize()
            self._buffers.pop(name, None)
            self._device.free(address)  # first let go of the old one: both may not fit
            self._buffers[name] = (self._device.allocate(nbytes), nbytes)
        return self._buffers[name][0]


def _nbytes(shape: Shape, spec: TensorSpec) -> int:
    return int(np.prod(shape)) * np.dtype(spec.dtype).itemsize


def _widened(value: Value) -> Value:
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value
