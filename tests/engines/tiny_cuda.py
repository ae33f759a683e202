"""A CUDA driver over the host's memory, with the binary interface of the real one, and a TensorRT that adds numbers.

No GPU is here when tests run. What goes through ctypes, who owns which memory, and in which order TensorRT is asked can
be seen all the same: the driver is compiled C, and refuses what the real one refuses (copies while it captures, memory
beyond its limit). That the names of TensorRT are right is the business of test_tensorrt_names.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef void (*work)(void);
typedef struct { int count; work items[64]; } graph;
static size_t used, limit = SIZE_MAX;
static int blocks, contexts, streams, graphs, launches, refuse_captures;
static graph *capturing;
int cuInit(unsigned f) { return 0; }
int cuGetErrorString(int code, const char **text) { *text = "refused by the tiny driver"; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? 101 : 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Tiny", length); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
  *value = which == 16 ? 4 : which == 75 ? 8 : 7; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { contexts++; *context = (void *)1; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { contexts--; return 0; }
int cuCtxSetCurrent(void *context) { return contexts > 0 ? 0 : 201; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (!size || capturing) return 1;
  if (used + size > limit) return 2;
  char *block; if (posix_memalign((void **)&block, 256, size + 256)) return 2;
  *(size_t *)block = size; used += size; blocks++; *address = (uint64_t)(block + 256); return 0; }
int cuMemFree_v2(uint64_t address) {
  char *block = (char *)address - 256; used -= *(size_t *)block; blocks--; free(block); return 0; }
static int copy(void *to, const void *of, size_t n) { if (capturing) return 900; memcpy(to, of, n); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *of, size_t n, void *s) { return copy((void *)to, of, n); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t of, size_t n, void *s) { return copy(to, (void *)of, n); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t of, size_t n, void *s) { return copy((void *)to, (void *)of, n); }
int cuStreamCreate(void **stream, unsigned flags) { streams++; *stream = (void *)7; return flags == 1 ? 0 : 1; }
int cuStreamSynchronize(void *stream) { return capturing ? 900 : stream == (void *)7 ? 0 : 400; }
int cuStreamDestroy_v2(void *stream) { streams--; return 0; }
int cuStreamBeginCapture_v2(void *stream, int mode) {
  if (refuse_captures) return 901;
  capturing = calloc(1, sizeof(graph)); return 0; }
int cuStreamEndCapture(void *stream, void **made) { *made = capturing; capturing = 0; graphs++; return 0; }
int cuGraphInstantiateWithFlags(void **made, void *of, unsigned long long flags) {
  *made = malloc(sizeof(graph)); memcpy(*made, of, sizeof(graph)); graphs++; return 0; }
int cuGraphLaunch(void *of, void *stream) {
  launches++; for (int i = 0; i < ((graph *)of)->count; i++) ((graph *)of)->items[i](); return 0; }
int cuGraphExecDestroy(void *of) { free(of); graphs--; return 0; }
int cuGraphDestroy(void *of) { free(of); graphs--; return 0; }
void tiny_kernel(work of) { if (capturing) capturing->items[capturing->count++] = of; else of(); }
void tiny_limit(size_t bytes) { limit = bytes; }
void tiny_refuse_captures(int yes) { refuse_captures = yes; }
void tiny_counts(long *to) {
  to[0] = used; to[1] = blocks; to[2] = contexts; to[3] = streams; to[4] = graphs; to[5] = launches; }
"""
COUNTS = ("used", "blocks", "contexts", "streams", "graphs", "launches")


def compiled(folder: Path) -> Path:
    """The driver as a shared library."""
    source, library = folder / "tiny_cuda.c", folder / "libtiny_cuda.so"
    source.write_text(SOURCE, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source)], check=True)
    return library


def counts(library: Any) -> dict[str, int]:
    """What is in use: bytes, blocks, contexts, streams, graphs; and how many graphs were launched."""
    numbers = (ctypes.c_long * len(COUNTS))()
    library.tiny_counts(numbers)
    return dict(zip(COUNTS, numbers, strict=True))


class Severity:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class TinyLogger:
    def __init__(self) -> None: ...


TinyLogger.Severity = Severity  # type: ignore[attr-defined]


class TinyTensorRt:
    """What of `tensorrt` runs engines. A plan is JSON: {"takes": [[name, dtype, shape]], "gives": …, "add": n}.

    Each output is the sum of all numbers of all inputs, plus n, in every place; or, where "onnx" names a file, what
    ONNX Runtime makes of that.
    """

    __version__ = "10.3.0"
    ILogger = TinyLogger
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    TensorLocation = SimpleNamespace(DEVICE="device", HOST="host")
    DataType = SimpleNamespace(FLOAT="float32", HALF="float16", INT32="int32")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="mine")

    def __init__(self, library: Any) -> None:
        self.library = library
        self.asked: list[str] = []
        self.fails = ""  # what execute_async_v3 logs as its error; "" where it works

    def Runtime(self, log: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self._engine(plan, log), load_runtime=self._lean)

    def _lean(self, path: str) -> None:
        self.asked.append(path)

    def _engine(self, plan: bytes, log: Any) -> Any:
        self.asked.append("deserialize")
        try:
            said = json.loads(plan)
        except ValueError:
            log.log(Severity.ERROR, "this plan is none")
            return None
        rows = {name: ("in", dtype, shape) for name, dtype, shape in said["takes"]}
        rows |= {name: ("out", dtype, shape) for name, dtype, shape in said["gives"]}
        names = list(rows)
        return SimpleNamespace(
            num_io_tensors=len(rows),
            get_tensor_name=names.__getitem__,
            get_tensor_mode=lambda name: rows[name][0],
            get_tensor_dtype=lambda name: rows[name][1],
            get_tensor_shape=lambda name: tuple(-1 if isinstance(one, str) else one for one in rows[name][2]),
            get_tensor_location=lambda name: said.get("location", "device"),
            create_execution_context=lambda strategy: TinyContext(self, rows, said, log),
        )


class TinyContext:
    """An execution context that wants its shapes, then its memory, then its addresses."""

    def __init__(self, trt: TinyTensorRt, rows: dict[str, Any], said: dict[str, Any], log: Any) -> None:
        self._trt, self._rows, self._add, self._log = trt, rows, said["add"], log
        self._session = onnxruntime.InferenceSession(said["onnx"]) if "onnx" in said else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = (0, 0)
        self._kernels: list[Any] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return sum(int(np.prod(shape)) for shape in self._shapes.values()) + 64

    def set_device_memory(self, address: int, size: int) -> None:
        self._memory = (address, size)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address % 256 == 0

    def execute_async_v3(self, stream: int) -> bool:
        if self._trt.fails:
            self._log.log(Severity.ERROR, self._trt.fails)
            return False
        assert self._memory[1] >= self.update_device_memory_size_for_shapes()
        assert set(self._addresses) == set(self._rows)
        kernel = ctypes.CFUNCTYPE(None)(self._kernel(dict(self._shapes), dict(self._addresses), self._memory))
        self._kernels.append(kernel)  # captured graphs call it later
        self._trt.library.tiny_kernel(kernel)
        return True

    def _kernel(self, shapes: dict[str, Any], addresses: dict[str, int], memory: tuple[int, int]) -> Any:
        letters: dict[Any, int] = {}
        for name, shape in shapes.items():
            letters |= dict(zip(self._rows[name][2], shape, strict=True))

        def values(name: str, shape: tuple[int, ...]) -> Any:
            dtype = np.dtype(self._rows[name][1])
            raw = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(addresses[name])
            return np.frombuffer(raw, dtype).reshape(shape)

        def work() -> None:
            ctypes.memset(memory[0], 0xFF, memory[1])  # as if it were working memory
            feeds = {name: values(name, shape) for name, shape in shapes.items()}
            gives = {name: shape for name, (mode, _, shape) in self._rows.items() if mode == "out"}
            if self._session is not None:
                made = dict(zip(gives, self._session.run(list(gives), feeds), strict=True))
            else:
                total = sum(float(one.astype(np.float64).sum()) for one in feeds.values()) + self._add
                made = dict.fromkeys(gives, np.array(total))
            for name, shape in gives.items():
                values(name, tuple(letters.get(one, one) for one in shape))[...] = made[name]

        return work
