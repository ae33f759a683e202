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
"""Candidates that the grammar is asked about once it refused the likeliest; asking about the whole vocabulary takes
milliseconds."""
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
"""llama_token_data."""


class GrammarSampler:
    """Greedy choice under a GBNF grammar. A context manager. Raises EngineFailed for a grammar llama.cpp refuses."""

    def __init__(self, model: LlamaModel, grammar: str) -> None:
        self._lib = library()
        self._handle: Any = self._lib.llama.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        if not self._handle:
            raise EngineFailed(f"llama.cpp refuses the grammar: {self._lib.last_words() or grammar[:200]}")

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The likeliest token that the grammar allows; of equals the one with the lower id. The grammar moves on by it.

        logits: (n_vocab,) float32. Raises EngineFailed when they are not finite or the grammar allows nothing.
        """
        first = int(logits.argmax())  # the first NaN, where there is one
        if not math.isfinite(logits[first]):
            raise EngineFailed("the model's logits are not finite: its weights are damaged, or their type overflows")
        token = self._best_allowed(np.array([first]), logits)
        if token is None and len(logits) > FIRST_LOOK:
            token = self._best_allowed(np.argpartition(logits, -FIRST_LOOK)[-FIRST_LOOK:], logits)
        if token is None:
            token = self._best_allowed(np.arange(len(logits)), logits)
        if token is None:
            raise EngineFailed("no token of the vocabulary continues what the grammar wants")
        self._lib.llama.llama_sampler_accept(self._handle, token)
        return token

    def _best_allowed(self, tokens: NDArray[np.intp], logits: NDArray[np.float32]) -> int | None:
        llama = self._lib.llama
        candidates = np.empty(len(tokens), CANDIDATE)
        candidates["id"], candidates["logit"], candidates["p"] = tokens, logits[tokens], 0.0
        given = llama.llama_token_data_array()
        given.data = candidates.ctypes.data_as(llama.llama_token_data_p)
        given.size, given.selected, given.sorted = len(tokens), -1, False
        llama.llama_sampler_apply(self._handle, ctypes.byref(given))
        allowed = candidates["logit"]  # minus infinity where it is not
        best = allowed.max()
        return int(candidates["id"][allowed == best].min()) if math.isfinite(best) else None

    def close(self) -> None:
        if self._handle:
            self._lib.llama.llama_sampler_free(self._handle)
            self._handle = None

    def __enter__(self) -> GrammarSampler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def log_probability(logits: NDArray[np.float32], token: int) -> float:
    """How likely the model thought a token among all of them, whatever a grammar allows."""
    over = logits - logits[token]
    top = over.max()  # float32 would overflow beyond 88
    return -float(top) - math.log(float(np.exp(over - top, out=over).sum()))
