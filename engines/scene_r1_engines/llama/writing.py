"""Carrying out the script of an answer: words written for the model, words the model writes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scene_r1_engines.answer_format.steps import Let, Script, Verdict, Write, Written
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.model import LlamaModel
from scene_r1_engines.llama.sampling import GrammarSampler, log_probability
from scene_r1_engines.reasoner import Finish


@dataclass(slots=True)
class Outcome:
    """What came of a script. text: all of it. tokens: ids, in order, and `free`: which of them the model chose.
    confidence: geometric mean of the probabilities of those chosen tokens that count; 0 where none does.
    first_token_ns, decode_ns: on perf_counter, when the first token was chosen; what came after the prompt."""

    verdict: Verdict
    text: str
    tokens: list[int] = field(default_factory=list)
    free: list[bool] = field(default_factory=list)
    confidence: float = 0.0
    first_token_ns: int = 0
    prefill_ns: int = 0
    decode_ns: int = 0
    prompt_tokens: int = 0


class Writer:
    """One answer being written after a prompt, in one sequence of a context."""

    def __init__(self, model: LlamaModel, context: LlamaContext, seq: int, position: int, limits: Limits) -> None:
        self._model = model
        self._context = context
        self._seq = seq
        self._position = position
        self._limits = limits
        self._pending: list[int] = []
        self._outcome = Outcome(Verdict(Finish.OK), "")
        self._free = 0
        self._log_probabilities: list[float] = []
        self._written = bytearray()

    def run(self, prompt: Sequence[int], script: Script, stop: Callable[[], bool]) -> Outcome:
        """Decode the prompt and follow the script to its verdict. Raises Stopped where `stop` says so.

        Words of the script are decoded together with what stands before them, in one step.
        """
        self._pending = list(prompt)
        outcome = self._outcome
        outcome.prompt_tokens = len(prompt)
        try:
            step = next(script)
            while True:
                step = script.send(self._write(step) if isinstance(step, Write) else self._let(step, stop))
        except StopIteration as end:
            outcome.verdict = end.value
        finally:
            script.close()
        outcome.text = self._written.decode(errors="replace")
        if self._log_probabilities:
            outcome.confidence = math.exp(sum(self._log_probabilities) / len(self._log_probabilities))
        return outcome

    def _write(self, step: Write) -> Written:
        tokens = self._model.tokens(step.text)
        self._note(tokens, False)
        self._pending += tokens
        self._written += step.text.encode()
        return Written(step.text, True)

    def _let(self, step: Let, stop: Callable[[], bool]) -> Written:
        began, mine, count = time.monotonic(), bytearray(), 0
        with GrammarSampler(self._model, step.grammar) as sampler:
            while True:
                spent = self._free >= self._limits.max_tokens
                over = step.tokens is not None and count >= step.tokens
                late = step.seconds is not None and count > 0 and time.monotonic() - began >= step.seconds
                if spent or over or late:
                    return Written(mine.decode(errors="ignore"), False)
                token = self._next(sampler, stop)
                if step.counts:
                    self._log_probabilities.append(log_probability(self._context.logits(), token))
                count += 1
                self._free += 1
                piece = self._model.piece(token)
                mine += piece
                self._written += piece
                self._note([token], True)
                text = mine.decode(errors="ignore")
                if step.done.fullmatch(text):
                    return Written(text, True)

    def _next(self, sampler: GrammarSampler, stop: Callable[[], bool]) -> int:
        start = time.perf_counter_ns()
        self._position = self._context.decode_tokens(self._pending, self._position, self._seq, stop)
        chosen = sampler.choose(self._context.logits())
        self._pending = [chosen]
        now = time.perf_counter_ns()
        if self._outcome.first_token_ns:
            self._outcome.decode_ns += now - start
        else:
            self._outcome.first_token_ns = now
            self._outcome.prefill_ns = now - start
        return chosen

    def _note(self, tokens: Sequence[int], free: bool) -> None:
        self._outcome.tokens += tokens
        self._outcome.free += [free] * len(tokens)
