"""The grammars of the answer format against llama.cpp itself, on a tiny model's vocabulary: what it allows, and that a
random walk through what it allows is always a good answer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scene_r1_engines.answer_format import (
    Let,
    Script,
    Verdict,
    Write,
    Written,
    answer_script,
    parse_answer,
    parse_when,
    parse_where,
    when_script,
    where_script,
)
from scene_r1_engines.answer_format.notation import Form, any_number, either, literal, none_of, one_of, then, words
from scene_r1_engines.answer_format.numbers import BOUND, integer_between
from scene_r1_engines.answer_format.scripts import LABEL, MOST_ANSWER, THOUGHT, WORDS
from scene_r1_engines.limits import Limits
from scene_r1_engines.manifest import read_manifest
from scene_r1_engines.reasoner import Finish

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
MANY = 4000
"""Tokens; no form of the scripts has so many but a thought, which has its own budget."""


class Vocabulary:
    """The tokens of a GGUF file, and llama.cpp's judgement of which of them a grammar allows."""

    def __init__(self, file: Path) -> None:
        from scene_r1_engines.llama.library import library

        self.llama: Any = library().llama
        settings = self.llama.llama_model_default_params()
        settings.vocab_only = True
        self.model = self.llama.llama_model_load_from_file(str(file).encode(), settings)
        assert self.model
        self.handle = self.llama.llama_model_get_vocab(self.model)
        buffer = ctypes.create_string_buffer(512)
        self.pieces: list[bytes] = []
        for token in range(self.llama.llama_vocab_n_tokens(self.handle)):
            size = self.llama.llama_token_to_piece(self.handle, token, buffer, 512, 0, True)
            self.pieces.append(buffer.raw[: max(size, 0)])
        self.ends = {t for t in range(len(self.pieces)) if self.llama.llama_vocab_is_eog(self.handle, t)}
        self.of_byte = {piece: t for t, piece in reversed(list(enumerate(self.pieces))) if len(piece) == 1}

    def grammar(self, text: str) -> Any:
        sampler = self.llama.llama_sampler_init_grammar(self.handle, text.encode(), b"root")
        assert sampler, f"llama.cpp refuses {text[:300]}"
        return sampler

    def allowed(self, sampler: Any, tokens: np.ndarray) -> np.ndarray:
        candidates = np.zeros(len(tokens), CANDIDATE)
        candidates["id"] = tokens
        given = self.llama.llama_token_data_array()
        given.data = candidates.ctypes.data_as(self.llama.llama_token_data_p)
        given.size, given.selected, given.sorted = len(tokens), -1, False
        self.llama.llama_sampler_apply(sampler, ctypes.byref(given))
        return tokens[np.isfinite(candidates["logit"])]

    def takes(self, form: Form, text: str) -> bool:
        """Whether the grammar takes exactly this text, put to it byte by byte."""
        sampler = self.grammar(f"root ::= {form.gbnf}\n")
        try:
            for byte in text.encode():
                token = self.of_byte[bytes([byte])]
                if not len(self.allowed(sampler, np.array([token], np.int32))):
                    return False
                self.llama.llama_sampler_accept(sampler, token)
            return len(self.allowed(sampler, np.array(sorted(self.ends), np.int32))) > 0
        finally:
            self.llama.llama_sampler_free(sampler)

    def walk(self, let: Let, rng: np.random.Generator, errors: str) -> Written:
        """A step by a model that knows nothing: any allowed token, each as likely as the others, but that it
        ends its words now and then."""
        sampler, everything, said = self.grammar(let.grammar), np.arange(len(self.pieces), dtype=np.int32), b""
        try:
            for _ in range(let.tokens or MANY):
                allowed = self.allowed(sampler, everything)
                assert len(allowed), f"nothing may follow {said!r}"
                closing = [token for token in allowed if self.pieces[token][:1] == b"<"]
                token = int(rng.choice(closing if closing and rng.random() < 0.05 else allowed))
                assert token not in self.ends, f"the grammar ends where the step is not done: {said!r}"
                self.llama.llama_sampler_accept(sampler, token)
                said += self.pieces[token]
                text = said.decode(errors=errors)
                if let.done.fullmatch(text):
                    assert set(self.allowed(sampler, everything)) <= self.ends, f"more may follow {said!r}"
                    return Written(text, True)
            return Written(said.decode(errors=errors), False)
        finally:
            self.llama.llama_sampler_free(sampler)

    def play(self, script: Script, rng: np.random.Generator, errors: str) -> tuple[str, Verdict]:
        text, written = "", None
        try:
            while True:
                step = script.send(written) if written else next(script)
                written = Written(step.text, True) if isinstance(step, Write) else self.walk(step, rng, errors)
                text += written.text
        except StopIteration as end:
            return text, end.value


@pytest.fixture(scope="module")
def vocabulary(tiny_model: Path) -> Iterator[Vocabulary]:
    one = Vocabulary(tiny_model / read_manifest(tiny_model).text.file)
    yield one
    one.llama.llama_model_free(one.model)


SHORT, SILENT = Limits(think_tokens=12), Limits(think_tokens=0)


@pytest.mark.parametrize("errors", ["replace", "ignore"])
@pytest.mark.parametrize(
    ("script", "parse"),
    [
        (partial(when_script, 0.4, 42.2), partial(parse_when, start_s=0.4, end_s=42.2)),
        (partial(when_script, 99.0, 99.0), partial(parse_when, start_s=99.0, end_s=99.0)),
        (partial(where_script, 644, 476), partial(parse_where, width=644, height=476)),
        (partial(where_script, 1, 1), partial(parse_where, width=1, height=1)),
        (answer_script, parse_answer),
    ],
    ids=["when", "when in a recording of one moment", "where", "where in a picture of one pixel", "answer"],
)
def test_every_walk_through_what_the_grammar_allows_is_an_answer_that_the_parser_reads_alike(
    vocabulary: Vocabulary, script: Callable[..., Script], parse: Callable[[str], Verdict], errors: str
):
    rng, finishes = np.random.default_rng(7), []
    for round in range(25):
        text, verdict = vocabulary.play(script(limits=SILENT if round % 5 == 0 else SHORT), rng, errors)
        finishes.append(verdict.finish)
        if verdict.finish is Finish.TRUNCATED:  # words that were stopped by their bound, and nothing else
            assert script is answer_script
            assert len(text.partition("<answer>")[2].encode()) >= MOST_ANSWER
            continue
        if "\ufffd" not in text:
            read = parse(text)
            assert (read.finish, read.value) == (verdict.finish, verdict.value)
        assert verdict.value is not None or verdict.finish is Finish.NOT_FOUND
    assert finishes.count(Finish.OK) >= 8


def test_the_grammar_of_a_range_takes_its_numbers_and_no_other(vocabulary: Vocabulary):
    rng = np.random.default_rng(3)
    ranges = [(0, 0), (0, 9), (7, 13), (99, 101), (0, BOUND - 1), (999, 1000), (250, 250)]
    ranges += [tuple(sorted(map(int, rng.integers(0, 10**digits, 2)))) for digits in (1, 2, 3, 4, 7) for _ in range(4)]
    for lo, hi in ranges:
        form = integer_between(lo, hi)
        for number in {lo, hi, (lo + hi) // 2, lo - 1, hi + 1, lo + 1, hi - 1, 10 ** len(str(lo)), hi // 10, hi * 10}:
            if number >= 0:
                assert vocabulary.takes(form, str(number)) == (lo <= number <= hi), (lo, hi, number)
        assert not vocabulary.takes(form, f"0{hi}")
        assert not vocabulary.takes(form, "")


FORMS = {
    "label": then(LABEL, literal('"}')),
    "thought": THOUGHT,
    "words": then(WORDS, literal("</answer>")),
    "escapes": then(
        literal('a\\"b\n]'), either(one_of("^", "-", "]", "\\", '"'), words(one_of("é"), one_of("é", "x"), 3))
    ),
    "anything": then(any_number(none_of("a", "-", "]", "^")), literal("a")),
}


@pytest.mark.parametrize(
    ("form", "text", "taken"),
    [
        ("label", 'mug"}', True),
        ("label", "mug no. 2 (red), Anna's + co & \"}", True),
        ("label", '杯子"}', True),
        ("label", 'Küchenstuhl"}', True),
        ("label", "x" * 40 + '"}', True),
        ("label", '"}', False),
        ("label", ' mug"}', False),
        ("label", 'a "mug""}', False),
        ("label", 'a\\n"}', False),
        ("label", 'a <b>"}', False),
        ("label", 'mug"', False),
        ("thought", "</think>", True),
        ("thought", 'a\n\tb > c, 杯\U0001f642 "x" {}[]^-\\</think>', True),
        ("thought", "a < b</think>", False),
        ("thought", "a<|im_end|></think>", False),
        ("thought", "a\x07</think>", False),
        ("thought", "a</think> ", False),
        ("words", "two mugs\nand a {[cup]}^-\\</answer>", True),
        ("words", "x</answer>", True),
        ("words", "</answer>", False),
        ("words", " x</answer>", False),
        ("escapes", 'a\\"b\n]^', True),
        ("escapes", 'a\\"b\n]-', True),
        ("escapes", 'a\\"b\n]]', True),
        ("escapes", 'a\\"b\n]\\', True),
        ("escapes", 'a\\"b\n]"', True),
        ("escapes", 'a\\"b\n]éxé', True),
        ("escapes", 'a\\"b\n]_', False),
        ("escapes", 'a\\"bn]^', False),
        ("anything", "bcd\n[a", True),
        ("anything", "b-a", False),
        ("anything", "b^a", False),
        ("anything", "b]a", False),
    ],
)
def test_both_notations_of_a_form_take_the_same_texts(vocabulary: Vocabulary, form: str, text: str, taken: bool):
    assert vocabulary.takes(FORMS[form], text) is taken
    if not (form == "words" or text == '"}' or text == ' mug"}'):  # the start of free words is the grammar's alone
        assert (FORMS[form].let().done.fullmatch(text) is not None) is taken


def test_free_words_are_no_longer_than_their_bound(vocabulary: Vocabulary):
    assert vocabulary.takes(FORMS["words"], "x" * MOST_ANSWER + "</answer>")
    assert not vocabulary.takes(FORMS["words"], "x" * (MOST_ANSWER + 1) + "</answer>")
    assert not vocabulary.takes(FORMS["label"], "x" * 41 + '"}')
