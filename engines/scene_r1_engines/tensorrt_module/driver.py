"""The few calls of the CUDA driver that an engine needs: memory, a stream, captured graphs.

They go to libcuda through ctypes. It is there wherever a GPU works, under one name for every CUDA (libcudart has one
for JetPack 6, which is CUDA 12, and another for JetPack 7, which is CUDA 13), and its calls keep their binary form. The
packages cuda-python and cupy would have to fit the toolkit and the Python of each JetPack, and bring megabytes for 22
calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Any, Final

from scene_r1_engines.errors import DeviceOutOfMemory, EngineFailed

LIBRARY: Final = "libcuda.so.1"
OUT_OF_MEMORY: Final = 2
NON_BLOCKING: Final = 1
"""Of a stream: it does not wait for the default one."""
THREAD_LOCAL: Final = 1
"""Of a capture: what other threads do meanwhile neither enters nor spoils it."""
MULTIPROCESSORS, MAJOR, MINOR = 16, 75, 76
"""CUdevice_attribute."""

_P = POINTER(c_void_p)
PROTOTYPES: Final = {
    # name in the library: its arguments; all return a CUresult. Names with _v2 are those that cuda.h means without it.
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_P, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (_P, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _P),
    "cuGraphInstantiateWithFlags": (_P, c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


def load_driver() -> Driver:
    """The driver of this machine. Raises EngineFailed where there is none or no GPU."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise EngineFailed(
            f"there is no NVIDIA driver here ({error}): run on a machine with an NVIDIA GPU, or choose another backend"
        ) from None
    return Driver(library)


class Driver:
    """The calls with their errors raised. Addresses, streams, graphs and contexts are plain integers."""

    def __init__(self, library: Any) -> None:
        """library: libcuda as ctypes loads it. Raises EngineFailed where it is too old or has no device."""
        self._calls: dict[str, Callable[..., int]] = {}
        for name, arguments in PROTOTYPES.items():
            try:
                call = getattr(library, name)
            except AttributeError:
                raise EngineFailed(f"the NVIDIA driver has no {name}: it is older than CUDA 11.4, update it") from None
            call.argtypes, call.restype = arguments, c_int
            self._calls[name] = call
        self._ask("cuInit", 0)

    def device(self, ordinal: int) -> tuple[int, str, str, int]:
        """A device's handle, name, compute capability such as "8.7", and number of multiprocessors."""
        handle, name = c_int(), ctypes.create_string_buffer(256)
        self._ask("cuDeviceGet", byref(handle), ordinal)
        self._ask("cuDeviceGetName", name, len(name), handle)
        major, minor, processors = (self._attribute(one, handle) for one in (MAJOR, MINOR, MULTIPROCESSORS))
        return handle.value, name.value.decode("utf-8", "replace"), f"{major}.{minor}", processors

    def retain_context(self, device: int) -> int:
        """The device's primary context, which TensorRT uses too; to be released as often as it was retained."""
        return self._made("cuDevicePrimaryCtxRetain", device)

    def release_context(self, device: int) -> None:
        self._ask("cuDevicePrimaryCtxRelease_v2", device)

    def use_context(self, context: int) -> None:
        """From now on this thread works in that context."""
        self._ask("cuCtxSetCurrent", context)

    def allocate(self, nbytes: int) -> int:
        """An address of new memory, a multiple of 256. Raises DeviceOutOfMemory."""
        address = c_uint64()
        self._ask("cuMemAlloc_v2", byref(address), nbytes)
        return address.value

    def free(self, address: int) -> None:
        self._ask("cuMemFree_v2", address)

    def upload(self, to: int, host: int, nbytes: int, stream: int) -> None:
        self._ask("cuMemcpyHtoDAsync_v2", to, host, nbytes, stream)

    def download(self, host: int, of: int, nbytes: int, stream: int) -> None:
        self._ask("cuMemcpyDtoHAsync_v2", host, of, nbytes, stream)

    def copy(self, to: int, of: int, nbytes: int, stream: int) -> None:
        self._ask("cuMemcpyDtoDAsync_v2", to, of, nbytes, stream)

    def make_stream(self) -> int:
        return self._made("cuStreamCreate", NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        self._ask("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        self._ask("cuStreamDestroy_v2", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """What `work` puts into the stream, as a graph that can be launched again and again; none of it is done now.

        Raises EngineFailed where it cannot be captured, and what `work` raises; the stream works on in either case.
        """
        self._ask("cuStreamBeginCapture_v2", stream, THREAD_LOCAL)
        graph = c_void_p()
        try:
            work()
        except BaseException:
            self._calls["cuStreamEndCapture"](stream, byref(graph))  # ends it; that it failed is known already
            if graph.value:
                self._ask("cuGraphDestroy", graph)
            raise
        self._ask("cuStreamEndCapture", stream, byref(graph))
        try:
            return self._made("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            self._ask("cuGraphDestroy", graph)

    def launch(self, executable: int, stream: int) -> None:
        self._ask("cuGraphLaunch", executable, stream)

    def destroy_graph(self, executable: int) -> None:
        self._ask("cuGraphExecDestroy", executable)

    def _attribute(self, attribute: int, device: c_int) -> int:
        value = c_int()
        self._ask("cuDeviceGetAttribute", byref(value), attribute, device)
        return value.value

    def _made(self, name: str, *arguments: object) -> int:
        """What a call puts where its first argument points."""
        made = c_void_p()
        self._ask(name, byref(made), *arguments)
        return made.value or 0

    def _ask(self, name: str, *arguments: object) -> None:
        code = self._calls[name](*arguments)
        if code == OUT_OF_MEMORY:
            raise DeviceOutOfMemory(f"the GPU is out of memory ({name}): free some, or ask for fewer objects or slots")
        if code:
            text = c_char_p()
            self._calls["cuGetErrorString"](code, byref(text))
            said = (text.value or b"unknown").decode("utf-8", "replace")
            raise EngineFailed(f"the CUDA driver refused {name}: {said} (error {code})")
