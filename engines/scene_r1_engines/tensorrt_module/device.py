"""One GPU and its memory, shared by the engines of a model: owned once, grown when more is needed, freed at the end."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.tensorrt_module.driver import Driver, load_driver
from scene_r1_engines.tensorrt_module.sidecar import Machine, here

MOST_SPARE: Final = 8
"""Blocks of tensors that were let go of, kept for the next ones: asking the driver for memory stops the GPU."""


class Device:
    """A GPU with one stream and one block of working memory, for engines that run one after another.

    Each engine that uses it calls `join`, and `leave` at its end; with the last one all memory is freed. `lock` is held
    through a run: engines share the working memory, which saves the sum of what each would reserve but the largest.
    """

    def __init__(self, ordinal: int = 0, driver: Driver | None = None) -> None:
        """ordinal: which GPU. Raises EngineFailed where there is no driver or no such GPU."""
        self.lock = threading.RLock()
        self._driver = driver if driver is not None else load_driver()
        self._handle, self.gpu, self.compute_capability, self.multiprocessors = self._driver.device(ordinal)
        self._users = 0
        self._scratch = (0, 0)  # address, bytes
        self._spare: deque[tuple[int, int]] = deque()
        self._held: dict[int, int] = {}
        self._let_go: deque[tuple[int, int]] = deque()  # what a finalizer may touch at any time, so no lock
        with ExitStack() as undo:
            self._context = self._driver.retain_context(self._handle)
            undo.callback(self._driver.release_context, self._handle)
            self._driver.use_context(self._context)
            self.stream = self._driver.make_stream()
            undo.pop_all()
        self._open = True

    def machine(self, tensorrt: str) -> Machine:
        """What engines on this GPU must be built for. tensorrt: its version."""
        return Machine(tensorrt, self.gpu, self.compute_capability, self.multiprocessors, here())

    def join(self) -> None:
        """One more engine uses it."""
        self.check_open()
        self._users += 1

    def leave(self) -> None:
        """One engine less uses it; the last one closes it."""
        self._users -= 1
        if self._users <= 0:
            self.close()

    def use(self) -> None:
        """From now on this thread works on this GPU. Raises EngineFailed once it is closed."""
        self.check_open()
        self._driver.use_context(self._context)

    def check_open(self) -> None:
        if not self._open:
            raise EngineFailed("the GPU's memory was freed when its engines were closed: open the model again")

    def allocate(self, nbytes: int) -> int:
        """The address of new memory, for whoever frees it again. Raises DeviceOutOfMemory."""
        self._reclaim()
        return self._driver.allocate(max(1, nbytes))

    def free(self, address: int) -> None:
        if address and self._open:
            self._driver.free(address)

    def scratch(self, nbytes: int) -> tuple[int, int]:
        """Address and size of the working memory that all engines share, of so many bytes or more.

        Raises DeviceOutOfMemory; then there is none, and the next call asks again.
        """
        address, size = self._scratch
        if size < nbytes:
            self.synchronize()  # a run that still uses the old one
            self._scratch = (0, 0)
            self.free(address)  # first let go of the old one: both may not fit
            self._scratch = (self.allocate(nbytes), nbytes)
        return self._scratch

    def hold(self, of: int, shape: tuple[int, ...], dtype: DTypeLike) -> OnDevice:
        """A copy of the tensor at an address; it stays until nobody has it any more. Raises DeviceOutOfMemory."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = self._block(nbytes)
        self._held[block[0]] = block[1]
        held = OnDevice(self, block[0], shape, np.dtype(dtype))
        weakref.finalize(held, self._let_go.append, block)
        self.copy(block[0], of, nbytes)
        return held

    def upload(self, to: int, values: NDArray[Any]) -> None:
        """values: in C order; they must live until `synchronize`."""
        if values.nbytes:
            self._driver.upload(to, values.ctypes.data, values.nbytes, self.stream)

    def download(self, values: NDArray[Any], of: int) -> None:
        """Fill an array in C order; it holds the values after `synchronize`."""
        if values.nbytes:
            self._driver.download(values.ctypes.data, of, values.nbytes, self.stream)

    def copy(self, to: int, of: int, nbytes: int) -> None:
        if nbytes:
            self._driver.copy(to, of, nbytes, self.stream)

    def synchronize(self) -> None:
        """Wait for all that was put into the stream."""
        self._driver.synchronize(self.stream)

    def capture(self, work: Callable[[], None]) -> int:
        return self._driver.capture(self.stream, work)

    def launch(self, graph: int) -> None:
        self._driver.launch(graph, self.stream)

    def destroy_graph(self, graph: int) -> None:
        if self._open:
            self._driver.destroy_graph(graph)

    def close(self) -> None:
        """Free everything. What is still held can no longer be read."""
        with self.lock:
            if not self._open:
                return
            with suppress(EngineFailed):  # a GPU that broke has nothing left to wait for or to free
                self._driver.use_context(self._context)
                self.synchronize()
                self._reclaim()
                for address in (self._scratch[0], *self._held, *(block[0] for block in self._spare)):
                    self.free(address)
                self._driver.destroy_stream(self.stream)
                self._driver.release_context(self._handle)
            self._open = False
            self._scratch = (0, 0)
            self._spare.clear()
            self._held.clear()

    def _block(self, nbytes: int) -> tuple[int, int]:
        """Address and size of a spare block of just that size, or of a new one."""
        self._reclaim()
        for block in self._spare:
            if block[1] == nbytes:
                self._spare.remove(block)
                return block
        return self._driver.allocate(max(1, nbytes)), nbytes

    def _reclaim(self) -> None:
        """What was let go of becomes spare; the oldest beyond MOST_SPARE are freed."""
        while self._let_go:
            block = self._let_go.popleft()
            if self._held.pop(block[0], None) is not None:
                self._spare.append(block)
        while len(self._spare) > MOST_SPARE:
            self.free(self._spare.popleft()[0])


class OnDevice:
    """A tensor in the memory of a GPU: a `Held`. Its memory is used again once nobody has it."""

    __slots__ = ("__weakref__", "address", "device", "dtype", "shape")

    def __init__(self, device: Device, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.device, self.address, self.shape, self.dtype = device, address, shape, dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def numpy(self) -> NDArray[Any]:
        """A copy in the host's memory; float16 as float32. Raises EngineFailed once the model is closed."""
        values = np.empty(self.shape, self.dtype)
        with self.device.lock:
            self.device.use()
            self.device.download(values, self.address)
            self.device.synchronize()
        return values.astype(np.float32) if self.dtype == np.float16 else values
