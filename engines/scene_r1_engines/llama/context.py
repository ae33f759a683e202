"""One KV cache: what was decoded into it, counted in cells and in positions."""

from __future__ import annotations

import ctypes
import os
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
        self._raised: BaseException | None = None
        self._on_abort = llama.ggml_abort_callback(self._asked_within)
        self._no_abort = llama.ggml_abort_callback()
        self._is_asked = False
        self.handle: Any = llama.llama_init_from_model(model.handle, wants)
        if not self.handle:
            raise EngineFailed(f"llama.cpp could not make a context of {n_ctx} cells: {self._lib.last_words()}")
        self._memory = llama.llama_get_memory(self.handle)
        self.n_ctx = int(llama.llama_n_ctx(self.handle))
        self.batch = batch
        self.cells = 0
        """Cells in use."""
        # What a batch points to is made once: a token on a small model takes less time than making it anew.
        self._ids, self._positions = np.zeros(batch, np.int32), np.zeros(4 * batch, np.int32)
        self._wanted = np.zeros(batch, np.int8)
        self._held = [np.ones(batch, np.int32)]
        pointer = ctypes.POINTER(ctypes.c_int32)
        sequences = [(ctypes.c_int32 * 1)(seq) for seq in range(2)]
        self._in_sequence = [(pointer * batch)(*[ctypes.cast(one, pointer)] * batch) for one in sequences]
        self._batch = llama.llama_batch()
        self._batch.pos = self._positions.ctypes.data_as(pointer)
        self._batch.n_seq_id = self._held[0].ctypes.data_as(pointer)
        self._batch.logits = self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._to_ids = self._ids.ctypes.data_as(pointer)
        self._row = ctypes.c_float * model.n_vocab

    def decode_tokens(
        self, tokens: Sequence[int], position: int, seq: int, stop: Callable[[], bool] = never, all_logits: bool = False
    ) -> int:
        """Decode text from `position` on; logits of the last token (or of all of one batch) are there afterwards.

        Returns the next free position. Raises BudgetExceeded before anything is decoded where cells or positions do not
        suffice, Stopped where `stop` says so (asked between batches, on CPU also within one of several tokens).
        """
        self._check_room(len(tokens), position + len(tokens))
        for start in range(0, len(tokens), self.batch):
            part = tokens[start : start + self.batch]
            count = len(part)
            self._ids[:count] = part
            self._positions[:count] = np.arange(position + start, position + start + count)
            self._wanted[:count] = all_logits
            self._wanted[count - 1] = start + count == len(tokens)
            self._batch.token, self._batch.embd = self._to_ids, None
            self._decode(count, seq, stop)
        return position + len(tokens)

    def decode_rows(
        self, rows: NDArray[np.float32], positions: NDArray[np.int32], seq: int, stop: Callable[[], bool] = never
    ) -> None:
        """Decode a picture. rows: (n, d) float32. positions: (3, n) int32: time, row and column of each. Raises as
        decode_tokens."""
        self._check_room(len(rows), int(positions.max()) + 1)
        for start in range(0, len(rows), self.batch):
            part = np.ascontiguousarray(rows[start : start + self.batch], np.float32)
            count = len(part)
            self._positions[: 3 * count] = positions[:, start : start + count].reshape(-1)
            self._positions[3 * count : 4 * count] = 0
            self._wanted[:count] = False
            self._batch.token, self._batch.embd = None, part.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            self._decode(count, seq, stop)

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

    def _decode(self, count: int, seq: int, stop: Callable[[], bool]) -> None:
        """Decode what stands in the batch."""
        llama = self._lib.llama
        if stop():
            raise Stopped
        self._batch.n_tokens = count
        self._batch.seq_id = self._in_sequence[seq]
        # Asking takes a call into Python at every node of the graph, too often for a step of one token.
        self._ask_within(count > 1 and stop is not never)
        self._stop = stop
        try:
            code = llama.llama_decode(self.handle, self._batch)
        finally:
            self._stop = never
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
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

    def _ask_within(self, wanted: bool) -> None:
        if wanted != self._is_asked:
            callback = self._on_abort if wanted else self._no_abort
            self._lib.llama.llama_set_abort_callback(self.handle, callback, ctypes.c_void_p(0))
            self._is_asked = wanted

    def _asked_within(self, _: object) -> bool:
        try:
            return self._raised is not None or self._stop()
        except BaseException as error:  # noqa: BLE001 - ctypes would print it and lose it, also a Ctrl-C
            self._raised = error
            return True

    def logits(self, row: int = -1) -> NDArray[np.float32]:
        """(n_vocab,) float32, of the last token decoded (or of one row of the last batch); valid until the next
        decode."""
        pointer = self._lib.llama.llama_get_logits_ith(self.handle, row)
        if not pointer:
            raise EngineFailed(f"llama.cpp has no logits of row {row}: {self._lib.last_words()}")
        row_of_floats: Any = ctypes.cast(pointer, ctypes.POINTER(self._row)).contents
        logits: NDArray[np.float32] = np.frombuffer(row_of_floats, np.float32)
        return logits

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
        if not self._lib.llama.llama_state_seq_save_file(self.handle, os.fsencode(path), seq, none, 0):
            raise EngineFailed(f"llama.cpp could not write {path}: {self._lib.last_words()}")

    def load(self, path: str, seq: int, cells: int) -> bool:
        """Read a sequence of that many cells back into this context, where it is empty. False where llama.cpp refuses:
        then the sequence is empty still."""
        count, room = ctypes.c_size_t(), (ctypes.c_int32 * 16)()
        llama = self._lib.llama
        done = llama.llama_state_seq_load_file(self.handle, os.fsencode(path), seq, room, 16, ctypes.byref(count))
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
