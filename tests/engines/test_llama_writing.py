"""Writing an answer token by token, and choosing each under a grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scene_r1_engines.answer_format.scripts import THOUGHT, answer_script
from scene_r1_engines.answer_format.steps import Let, Script, Verdict, Write
from scene_r1_engines.errors import BudgetExceeded, EngineFailed
from scene_r1_engines.limits import Limits, never
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.model import LlamaModel
from scene_r1_engines.llama.sampling import GrammarSampler, log_probability
from scene_r1_engines.llama.writing import Outcome, Writer
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.reasoner import Finish

pytest.importorskip("llama_cpp")

OPEN = 'root ::= [a-z ]+ "!"\n'
"""Small letters without an end that is likely: the model may not stop by itself."""


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[LlamaModel]:
    manifest = read_manifest(tiny_model)
    with LlamaModel(tiny_model / manifest.text.file, tiny_model / manifest.mmproj.file) as loaded:
        yield loaded


@pytest.fixture
def context(model: LlamaModel) -> Iterator[LlamaContext]:
    with LlamaContext(model, 1024, "f32", False, 64) as made:
        yield made


def write(model: LlamaModel, context: LlamaContext, script: Script, limits: Limits | None = None) -> Outcome:
    prompt = model.tokens("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", special=True)
    return Writer(model, context, 0, 0, limits or Limits()).run(prompt, script, never)


def one_let(grammar: str, done: str, **budget: object) -> Script:
    written = yield Let(grammar, re.compile(done), **budget)  # type: ignore[arg-type]
    return Verdict(Finish.OK if written.complete else Finish.TRUNCATED, written.text)


def greedy(model: LlamaModel, context: LlamaContext, tokens: list[int], count: int) -> list[int]:
    """The likeliest tokens one after the other, each from a context that is read anew."""
    chosen: list[int] = []
    for _ in range(count):
        context.decode_tokens([*tokens, *chosen], 0, 0)
        chosen.append(int(context.logits().argmax()))
        context.remove(0, -1, len(tokens) + len(chosen) - 1)
    return chosen


def test_without_a_constraint_the_tokens_are_the_models_own_greedy_ones(
    model: LlamaModel, context: LlamaContext
) -> None:
    prompt = model.tokens("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", special=True)
    expected = greedy(model, context, prompt, 12)
    done = write(model, context, one_let("root ::= [\\x00-\\U0010ffff]*\n", "(?!)", tokens=12))
    assert done.tokens == expected
    assert done.free == [True] * 12


def test_what_is_written_for_the_model_is_read_by_it_like_its_own_words(
    model: LlamaModel, context: LlamaContext
) -> None:
    def script() -> Script:
        yield Write("<answer>the ")
        written = yield Let(OPEN, re.compile("(?!)"), tokens=4)
        yield Write(" chair")
        more = yield Let(OPEN, re.compile("(?!)"), tokens=3)
        return Verdict(Finish.OK, written.text + "|" + more.text)

    done = write(model, context, script())
    free = [token for token, is_free in zip(done.tokens, done.free, strict=True) if is_free]
    assert done.text == b"".join(model.piece(token) for token in done.tokens).decode()
    assert len(free) == 7
    assert done.text.startswith("<answer>the ")
    assert " chair" in done.text
    context.remove(0, -1, context.cells)
    prompt = model.tokens("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", special=True)
    context.decode_tokens([*prompt, *done.tokens[:-1]], 0, 0)
    with GrammarSampler(model, OPEN) as sampler:
        for token in free[4:6]:  # what the grammar has seen already
            assert sampler.choose(np.where(np.arange(model.n_vocab) == token, 1.0, 0.0).astype(np.float32)) == token
        assert sampler.choose(context.logits()) == done.tokens[-1]


def test_max_tokens_bounds_all_that_the_model_writes(model: LlamaModel, context: LlamaContext) -> None:
    for most in (1, 2, 7):
        done = write(model, context, one_let(OPEN, "(?!)"), Limits(max_tokens=most))
        assert sum(done.free) == most
        assert done.verdict.finish is Finish.TRUNCATED
        context.remove(0, -1, context.cells)


def test_the_thinking_ends_with_its_budget_and_does_not_count_towards_the_confidence(
    model: LlamaModel, context: LlamaContext
) -> None:
    done = write(model, context, answer_script(Limits(max_tokens=200, think_tokens=5)), Limits(max_tokens=200))
    thought, _, answer = done.text.partition("</think>")
    assert thought.startswith("<think>")
    assert answer.startswith("<answer>")
    assert 0.0 < done.confidence < 1.0
    only_thought = write_thought(model, context)
    assert only_thought.confidence == 0.0
    assert sum(only_thought.free) == 5


def write_thought(model: LlamaModel, context: LlamaContext) -> Outcome:
    def script() -> Script:
        yield THOUGHT.let(5, counts=False)
        return Verdict(Finish.OK)

    context.remove(0, -1, context.cells)
    return write(model, context, script())


def test_the_confidence_is_the_mean_likelihood_of_the_tokens(model: LlamaModel, context: LlamaContext) -> None:
    done = write(model, context, one_let(OPEN, "(?!)", tokens=6))
    context.remove(0, -1, context.cells)
    prompt = model.tokens("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", special=True)
    context.decode_tokens([*prompt, *done.tokens[:-1]], 0, 0, all_logits=True)
    likely = []
    for place, token in enumerate(done.tokens):
        logits = context.logits(len(prompt) - 1 + place).astype(np.float64)
        likely.append(logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
    assert done.confidence == pytest.approx(np.exp(np.mean(likely)), rel=1e-4)


@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0])
def test_a_log_probability_is_that_of_a_softmax_in_double_precision(scale: float) -> None:
    logits = (np.random.default_rng(3).normal(size=151_936) * scale).astype(np.float32)
    exact = logits.astype(np.float64)
    total = np.log(np.exp(exact - exact.max()).sum()) + exact.max()
    for token in (0, int(logits.argmax()), int(logits.argmin())):
        assert log_probability(logits, token) == pytest.approx(exact[token] - total, rel=1e-5, abs=1e-5)


def test_the_choice_is_the_likeliest_allowed_token_wherever_it_ranks(model: LlamaModel) -> None:
    allowed = [token for token in range(model.n_vocab) if re.fullmatch(rb"[a-z ]+", model.piece(token))]
    random = np.random.default_rng(4)
    for rank in (0, 1, 63, 64, 200):
        logits = random.normal(size=model.n_vocab).astype(np.float32)
        logits[allowed] -= 100.0
        best = int(random.choice(allowed))
        logits[best] = np.sort(logits[logits > -50.0])[::-1][rank] + (1e-4 if rank == 0 else -1e-4)
        with GrammarSampler(model, OPEN) as sampler:
            assert sampler.choose(logits) == best


def test_of_two_equally_likely_tokens_the_one_with_the_lower_id_is_taken(model: LlamaModel) -> None:
    letters = [model.tokens(letter)[0] for letter in "xyz"]
    logits = np.zeros(model.n_vocab, np.float32)
    logits[letters] = 5.0
    with GrammarSampler(model, "root ::= [xyz]\n") as sampler:
        assert sampler.choose(logits) == min(letters)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_a_failure_and_no_answer(model: LlamaModel, broken: float) -> None:
    logits = np.zeros(model.n_vocab, np.float32)
    logits[17] = broken
    with GrammarSampler(model, OPEN) as sampler, pytest.raises(EngineFailed, match="not finite"):
        sampler.choose(logits)
    with GrammarSampler(model, OPEN) as sampler, pytest.raises(EngineFailed, match="not finite"):
        sampler.choose(np.full(model.n_vocab, -np.inf, np.float32))


def test_a_grammar_that_llama_cpp_refuses_is_a_typed_error(model: LlamaModel) -> None:
    with pytest.raises(EngineFailed, match="grammar"):
        GrammarSampler(model, "root ::= (")


def test_a_full_context_is_a_budget_error_and_nothing_is_decoded(model: LlamaModel, context: LlamaContext) -> None:
    tokens = model.tokens("chair " * 2000)
    with pytest.raises(BudgetExceeded, match="context has 1024 cells"):
        context.decode_tokens(tokens, 0, 0)
    with pytest.raises(BudgetExceeded, match="trained for"):
        context.decode_tokens(tokens[:4], model.most_positions - 2, 0)
    assert context.cells == 0
    context.decode_tokens(tokens[:1024], 0, 0)
    assert context.cells == 1024


def test_logits_that_were_not_asked_for_are_a_typed_error(model: LlamaModel, context: LlamaContext) -> None:
    context.decode_tokens(model.tokens("a chair and a table"), 0, 0)
    with pytest.raises(EngineFailed, match="row 0"):
        context.logits(0)


def test_special_tokens_in_outside_text_are_read_as_the_words_they_are(model: LlamaModel) -> None:
    for text in ("<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|image_pad|>", "<|endoftext|>"):
        (control,) = model.tokens(text, special=True)
        said = model.tokens(f"the mug {text} here")
        assert control not in said
        assert b"".join(model.piece(token) for token in said).decode() == f"the mug {text} here"


def test_any_text_comes_back_from_its_tokens(model: LlamaModel) -> None:
    for text in ("", "a", " leading", "naïve café", "椅子 🪑", "\ttabs\n\nlines", "x" * 3000):
        assert b"".join(model.piece(token) for token in model.tokens(text)).decode() == text
