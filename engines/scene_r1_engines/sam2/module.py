"""What runs one graph: ONNX Runtime or TensorRT, behind one small Protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Held(Protocol):
    """A tensor that stays where the module that made it has put it, such as in the memory of a GPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int: ...

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory."""
        ...


Value = NDArray[Any] | Held


@runtime_checkable
class Module(Protocol):
    """One graph, loaded. A context manager; `close()` twice is fine."""

    @property
    def backend(self) -> str:
        """Who runs it and where, such as `onnxruntime:CPUExecutionProvider`."""
        ...

    def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        """All outputs by name. feeds: every input by name; arrays are cast to the graph's dtype. keep: outputs that
        may stay on the device, as Held; the others come back as arrays, float16 as float32.

        Raises BadInput for a feed that is missing, unknown or of another shape, EngineFailed where the run breaks, and
        its subclass DeviceOutOfMemory where the device has no room.
        """
        ...

    def close(self) -> None: ...


def host(value: Value) -> NDArray[Any]:
    """The tensor in the host's memory."""
    return value if isinstance(value, np.ndarray) else value.numpy()
