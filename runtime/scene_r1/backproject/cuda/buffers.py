"""Memory that the GPU's kernels read and write, kept between calls and grown when more is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Flat arrays by name. mapped: CPU and GPU share their memory (Jetson), so nothing need be copied across.

    A mapped buffer is host memory that the GPU sees: an input is copied into it once, an output is read where it
    lies. Otherwise a buffer lives on the GPU, and outputs come back through page-locked host memory.
    """

    def __init__(self, cuda: Any, mapped: bool) -> None:
        """cuda: the module numba.cuda."""
        self.mapped = mapped
        self._cuda = cuda
        self._arrays: dict[str, Any] = {}
        self._hosts: dict[str, Any] = {}

    def put(self, name: str, values: NDArray[np.generic]) -> Any:
        """A buffer that begins with these values, in C order."""
        flat = np.ascontiguousarray(values).reshape(-1)
        array = self.get(name, flat.size, flat.dtype)
        if self.mapped:
            np.asarray(array)[: flat.size] = flat
        elif flat.size:
            array[: flat.size].copy_to_device(flat)
        return array

    def get(self, name: str, size: int, dtype: DTypeLike) -> Any:
        """A buffer of `size` elements or more; what is in it is whatever was there."""
        array = self._arrays.get(name)
        if array is None or array.size < size:
            self._arrays.pop(name, None)  # first let go of the old one: both may not fit
            self._hosts.pop(name, None)
            make = self._cuda.mapped_array if self.mapped else self._cuda.device_array
            array = self._arrays[name] = make(max(1, size), dtype=np.dtype(dtype))
        return array

    def read(self, name: str, size: int, at: int = 0) -> NDArray[Any]:
        """`size` elements of a buffer from `at` on, once the kernels are done; valid until its next use."""
        array = self._arrays[name]
        if self.mapped:
            self._cuda.synchronize()
            return np.asarray(array).view(np.ndarray)[at : at + size]
        if name not in self._hosts:
            self._hosts[name] = self._cuda.pinned_array(array.size, dtype=array.dtype)
        host: NDArray[Any] = np.asarray(self._hosts[name])[:size]
        if size:
            array[at : at + size].copy_to_host(host)
        return host
