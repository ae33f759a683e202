"""Choosing the next token: the likeliest that a grammar allows, and how likely the model thought it."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.llama.library import library
from scene_r1_engines.llama.model import LlamaModel

FIRST_LOOK = 64
"""Candidates that the grammar is asked about first; asking about the whole vocabulary takes milliseconds."""


class GrammarSampler:
    """Greedy choice under a GBNF grammar. A context manager. Raises EngineFailed for a grammar llama.cpp refuses."""

    def __init__(self, model: LlamaModel, grammar: str) -> None:
        self._lib = library()
        self._handle: Any = self._lib.llama.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        if not self._handle:
            raise EngineFailed(f"llama.cpp refuses the grammar: {self._lib.last_words() or grammar[:200]}")

    def choose(self, logits: NDArray[np.float32]) -> tuple[int, float]:
        """(token, its log probability among all tokens, before the grammar); the grammar moves on by the token.

        logits: (n_vocab,) float32. Raises EngineFailed when they are not finite or the grammar allows nothing.
        """
        top = float(logits.max())
        if not math.isfinite(top):
            raise EngineFailed("the model's logits are not finite: its weights are damaged, or their type overflows")
        order = (
            np.argpartition(logits, -FIRST_LOOK)[-FIRST_LOOK:] if len(logits) > FIRST_LOOK else np.arange(len(logits))
        )
        token = self._best_allowed(order[np.argsort(-logits[order], kind="stable")], logits)
        if token is None:
            token = self._best_allowed(np.argsort(-logits, kind="stable"), logits)
        if token is None:
            raise EngineFailed("no token of the vocabulary continues what the grammar wants")
        self._lib.llama.llama_sampler_accept(self._handle, token)
        spread = logits.astype(np.float64) - top
        return token, float(spread[token] - math.log(np.exp(spread).sum()))

    def _best_allowed(self, order: NDArray[np.intp], logits: NDArray[np.float32]) -> int | None:
        llama = self._lib.llama
        candidates = np.zeros(len(order), np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")]))
        candidates["id"] = order
        candidates["logit"] = logits[order]
        given = llama.llama_token_data_array()
        given.data = candidates.ctypes.data_as(llama.llama_token_data_p)
        given.size, given.selected, given.sorted = len(order), -1, False
        llama.llama_sampler_apply(self._handle, ctypes.byref(given))
        allowed = np.flatnonzero(np.isfinite(candidates["logit"]))
        return int(candidates["id"][allowed[0]]) if len(allowed) else None

    def close(self) -> None:
        if self._handle:
            self._lib.llama.llama_sampler_free(self._handle)
            self._handle = None

    def __enter__(self) -> GrammarSampler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
