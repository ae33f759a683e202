"""One KV cache: what was decoded into it, counted in cells and in positions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BudgetExceeded, EngineFailed
from scene_r1_engines.limits import never
from scene_r1_engines.llama.library import library
from scene_r1_engines.llama.model import LlamaModel

GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
NO_SLOT, ABORTED = 1, 2
"""What llama_decode returns for a full cache, and for an abort callback that said so."""


class Stopped(Exception):
    """Decoding was stopped by the caller's own wish; the sequence it was for holds a part and must be removed."""


class LlamaContext:
    """A KV cache of n_ctx cells and the compute around it; two sequences share its cells.

    With M-RoPE a picture of nx * ny cells takes max(nx, ny) positions, so cells and positions are counted apart: cells
    bound the memory, positions are bounded by what the model was trained for. Never calls seq_add, which aborts the
    process for such models. A context manager; close it before its model.
    """

    def __init__(
        self,
        model: LlamaModel,
        n_ctx: int,
        kv_type: str = "f16",
        flash_attention: bool = True,
        batch: int = 512,
        threads: int = 1,
    ) -> None:
        self._lib = library()
        self._model = model
        llama = self._lib.llama
        wants = llama.llama_context_default_params()
        wants.n_ctx, wants.n_batch, wants.n_ubatch, wants.n_seq_max = n_ctx, batch, batch, 2
        wants.n_threads = wants.n_threads_batch = threads
        wants.kv_unified = True
        wants.type_k = wants.type_v = GGML_TYPES[kv_type]
        wants.flash_attn_type = int(flash_attention)
        wants.no_perf = True
        self._stop: Callable[[], bool] = never
        self._on_abort = llama.ggml_abort_callback(lambda _: self._stop())
        self.handle: Any = llama.llama_init_from_model(model.handle, wants)
        if not self.handle:
            raise EngineFailed(f"llama.cpp could not make a context of {n_ctx} cells: {self._lib.last_words()}")
        llama.llama_set_abort_callback(self.handle, self._on_abort, ctypes.c_void_p(0))
        self._memory = llama.llama_get_memory(self.handle)
        self.n_ctx = int(llama.llama_n_ctx(self.handle))
        self.batch = batch
        self.cells = 0
        """Cells in use."""
        self._one = np.ones(batch, np.int32)
        self._sequences = [(ctypes.c_int32 * 1)(seq) for seq in range(2)]
        pointer = ctypes.POINTER(ctypes.c_int32)
        self._in_sequence = [(pointer * batch)(*[ctypes.cast(s, pointer)] * batch) for s in self._sequences]

    def decode_tokens(
        self, tokens: Sequence[int], position: int, seq: int, stop: Callable[[], bool] = never, all_logits: bool = False
    ) -> int:
        """Decode text from `position` on; logits of the last token (or of all of one batch) are there afterwards.

        Returns the next free position. Raises BudgetExceeded before anything is decoded where cells or positions do not
        suffice, Stopped where `stop` says so (asked within the work on CPU, between batches on GPU).
        """
        ids = np.asarray(tokens, np.int32)
        positions = np.arange(position, position + len(ids), dtype=np.int32)
        self._check_room(len(ids), position + len(ids))
        for start in range(0, len(ids), self.batch):
            part = slice(start, start + self.batch)
            last = start + self.batch >= len(ids)
            self._decode(ids[part], None, positions[part], seq, stop, last, all_logits)
        return position + len(ids)

    def decode_rows(
        self, rows: NDArray[np.float32], positions: NDArray[np.int32], seq: int, stop: Callable[[], bool] = never
    ) -> None:
        """Decode a picture. rows: (n, d) float32. positions: (3, n) int32: time, row and column of each. Raises as
        decode_tokens."""
        self._check_room(len(rows), int(positions.max()) + 1)
        for start in range(0, len(rows), self.batch):
            part = slice(start, start + self.batch)
            count = len(rows[part])
            laid_out = np.zeros((4, count), np.int32)
            laid_out[:3] = positions[:, part]
            self._decode(None, np.ascontiguousarray(rows[part]), laid_out.reshape(-1), seq, stop, False, False)

    def _check_room(self, cells: int, positions: int) -> None:
        if self.cells + cells > self.n_ctx:
            raise BudgetExceeded(
                f"the context has {self.n_ctx} cells, {self.cells} are taken and {cells} more are needed: hold fewer "
                "keyframes, make image_pixels smaller or ask a shorter question"
            )
        if positions > self._model.most_positions:
            raise BudgetExceeded(
                f"position {positions} is beyond the {self._model.most_positions} that the model was trained for"
            )

    def _decode(
        self,
        ids: NDArray[np.int32] | None,
        rows: NDArray[np.float32] | None,
        positions: NDArray[np.int32],
        seq: int,
        stop: Callable[[], bool],
        logits: bool,
        all_logits: bool,
    ) -> None:
        llama = self._lib.llama
        if stop():
            raise Stopped
        count = len(ids) if ids is not None else len(rows) if rows is not None else 0
        wanted = np.full(count, all_logits, np.int8)
        wanted[-1] = logits
        one = llama.llama_batch()
        one.n_tokens = count
        if ids is not None:
            one.token = ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        if rows is not None:
            one.embd = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        one.pos = positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        one.n_seq_id = self._one.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        one.seq_id = self._in_sequence[seq]
        one.logits = wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._stop = stop
        try:
            code = llama.llama_decode(self.handle, one)
        finally:
            self._stop = never
        if code == 0:
            self.cells += count
        elif code == ABORTED:
            raise Stopped
        elif code == NO_SLOT:
            raise BudgetExceeded(
                f"llama.cpp found no room for {count} tokens beside {self.cells} of {self.n_ctx} cells"
            )
        else:
            raise EngineFailed(f"llama_decode returned {code}: {self._lib.last_words()}")

    def logits(self, row: int = -1) -> NDArray[np.float32]:
        """(n_vocab,) float32, of the last token decoded (or of one row of the last batch); valid until the next
        decode."""
        pointer = self._lib.llama.llama_get_logits_ith(self.handle, row)
        return np.ctypeslib.as_array(pointer, (self._model.n_vocab,))

    def remove(self, seq: int, position: int, cells: int) -> None:
        """Take everything of a sequence from `position` on out. cells: how many of them no other sequence holds."""
        if not self._lib.llama.llama_memory_seq_rm(self._memory, seq, position, -1):
            raise EngineFailed("llama.cpp would not take a part of the context back")
        self.cells -= cells

    def fork(self, source: int, target: int, until: int = -1) -> None:
        """Make the first `until` positions (-1: all) of one sequence those of another, which is empty; no cell is
        copied."""
        self._lib.llama.llama_memory_seq_cp(self._memory, source, target, 0 if until >= 0 else -1, until)

    def save(self, path: str, seq: int) -> None:
        """Write the cells of a sequence to a file. Raises EngineFailed."""
        none = (ctypes.c_int32 * 1)(0)
        if not self._lib.llama.llama_state_seq_save_file(self.handle, path.encode(), seq, none, 0):
            raise EngineFailed(f"llama.cpp could not write {path}: {self._lib.last_words()}")

    def load(self, path: str, seq: int, cells: int) -> bool:
        """Read a sequence of that many cells back into this context, where it is empty. False where llama.cpp refuses:
        then the sequence is empty still."""
        count, room = ctypes.c_size_t(), (ctypes.c_int32 * 16)()
        llama = self._lib.llama
        done = llama.llama_state_seq_load_file(self.handle, path.encode(), seq, room, 16, ctypes.byref(count))
        if not done:
            llama.llama_memory_seq_rm(self._memory, seq, -1, -1)
            return False
        self.cells += cells
        return True

    def close(self) -> None:
        if self.handle:
            self._lib.llama.llama_free(self.handle)
            self.handle = None

    def __enter__(self) -> LlamaContext:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
