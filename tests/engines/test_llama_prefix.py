"""The prefix after any history is that of a fresh start with the same keyframes, to the bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.engines.tiny_llama import QUICK, open_tiny, picture, question_logits

from scene_r1_engines.errors import BadQuestion, BudgetExceeded
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.reasoner import Finish

pytest.importorskip("llama_cpp")

MODELS = ("tiny_model", "tiny_video_model")
CACHES = ({"kv_type": "f32", "flash_attention": False}, {"kv_type": "q8_0", "flash_attention": True})


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture
def reasoner(model: Path) -> Iterator[LlamaReasoner]:
    with open_tiny(model) as opened:
        yield opened


def fresh_logits(model: Path, held: dict[int, tuple[int, float]], **settings: object) -> np.ndarray:
    """Those of a reasoner that has only ever seen these keyframes. held: (seed of the picture, time) by id."""
    with open_tiny(model, **settings) as reasoner:
        for keyframe_id, (seed, time_s) in held.items():
            reasoner.watch(keyframe_id, picture(seed), time_s)
        assert reasoner.settle()
        return question_logits(reasoner)


def stopping_after(count: int) -> Limits:
    """Limits of a question that is cancelled the count-th time that it asks."""
    asked = iter(range(count))
    return replace(QUICK, cancelled=lambda: next(asked, None) is None)


class Walk:
    """A random history of a reasoner, and what it should hold after it."""

    def __init__(self, reasoner: LlamaReasoner, seed: int) -> None:
        self.reasoner = reasoner
        self.random = np.random.default_rng(seed)
        self.held: dict[int, tuple[int, float]] = {}
        self.now_s = 0.0
        self.next_id = 0

    def step(self) -> None:
        moves = (self.watch, self.watch, self.forget, self.settle, self.ask, self.ask_and_stop, self.err)
        moves[self.random.integers(len(moves))]()
        assert self.reasoner.context.cells == self.reasoner.prefix.cells

    def watch(self) -> None:
        self.now_s += float(self.random.choice([0.0, 0.1, 1.7]))
        self.next_id += 1
        seed = int(self.random.integers(100))
        try:
            self.reasoner.watch(self.next_id, picture(seed), self.now_s)
            self.held[self.next_id] = (seed, self.now_s)
        except BudgetExceeded:
            assert len(self.held) == self.reasoner.settings.keyframes
            self.forget()

    def forget(self) -> None:
        if self.held:
            keyframe_id = int(self.random.choice(list(self.held)))
            del self.held[keyframe_id]
            self.reasoner.forget(keyframe_id)

    def settle(self) -> None:
        self.now_s += 1.0
        deadline_ns = time.monotonic_ns() if self.random.integers(3) == 0 else None
        self.reasoner.settle(self.now_s, deadline_ns)

    def ask(self) -> None:
        kind = self.random.integers(3)
        if kind == 0 and self.held:
            self.reasoner.where("the mug", int(self.random.choice(list(self.held))), QUICK)
        elif kind == 1:
            self.reasoner.when("the mug", QUICK)
        else:
            self.reasoner.answer("how many?", replace(QUICK, max_tokens=20))

    def ask_and_stop(self) -> None:
        limits = stopping_after(int(self.random.integers(1, 60)))
        if self.random.integers(2) or not self.held:
            self.reasoner.when("the mug", limits)
        else:
            self.reasoner.where("the mug", next(iter(self.held)), limits)

    def err(self) -> None:
        with pytest.raises(BadQuestion):
            self.reasoner.when("", QUICK)


@pytest.mark.parametrize("cache", CACHES, ids=["f32", "q8_0"])
@pytest.mark.parametrize("seed", [1, 2])
def test_after_any_history_a_question_reads_what_a_fresh_reasoner_reads(
    model: Path, cache: dict[str, object], seed: int
) -> None:
    with open_tiny(model, **cache) as reasoner:
        walk = Walk(reasoner, seed)
        for number in range(40):
            walk.step()
            if number % 10 == 9:
                assert reasoner.settle()
                assert np.array_equal(question_logits(reasoner), fresh_logits(model, walk.held, **cache))


def test_a_question_leaves_the_prefix_to_the_bit_as_it_was(reasoner: LlamaReasoner) -> None:
    for number in range(3):
        reasoner.watch(number, picture(number), 1.5 * number)
    reasoner.settle()
    before = question_logits(reasoner)
    first = reasoner.when("the mug", QUICK)
    reasoner.where("the chair", 1, QUICK)
    reasoner.answer("how many?", QUICK)
    again = reasoner.when("the mug", QUICK)
    assert np.array_equal(question_logits(reasoner), before)
    assert (again.text, again.confidence) == (first.text, first.confidence)


def test_an_evicted_keyframe_leaves_no_trace_whichever_it_was(model: Path) -> None:
    times = {1: (1, 0.6), 2: (2, 0.7), 3: (3, 0.8), 4: (4, 3.0)}  # the first three fall on one temporal position
    for gone in times:
        with open_tiny(model) as reasoner:
            for keyframe_id, (seed, time_s) in times.items():
                reasoner.watch(keyframe_id, picture(seed), time_s)
            reasoner.settle()
            reasoner.forget(gone)
            reasoner.settle()
            left = {keyframe_id: one for keyframe_id, one in times.items() if keyframe_id != gone}
            assert np.array_equal(question_logits(reasoner), fresh_logits(model, left))


def test_a_question_that_is_stopped_anywhere_leaves_nothing_behind(model: Path) -> None:
    held = {number: (number, 1.0 * number) for number in range(3)}
    expected = fresh_logits(model, held)
    with open_tiny(model, late_encodes=4) as reasoner:
        count, stopped = 1, 0
        while count < 100_000:
            for number in held:
                reasoner.watch(number, picture(number), 1.0 * number)
            seen = reasoner.when("the mug", stopping_after(count))
            assert reasoner.context.cells == reasoner.prefix.cells
            if seen.finish is not Finish.CANCELLED:
                break
            assert reasoner.settle()
            assert np.array_equal(question_logits(reasoner), expected), count
            for number in held:
                reasoner.forget(number)
            reasoner.prefix.drop()
            count, stopped = count + 1 + count // 4, stopped + 1
        assert stopped > 12
        assert seen.finish is Finish.OK


def test_a_deadline_that_passes_within_the_work_is_kept_apart_from_a_cancel(reasoner: LlamaReasoner) -> None:
    reasoner.watch(1, picture(1), 0.0)
    reasoner.settle()
    assert reasoner.when("the mug", Limits(deadline_ns=0)).finish is Finish.TIMED_OUT
    assert reasoner.where("the mug", 1, Limits(deadline_ns=0)).finish is Finish.TIMED_OUT
    late = Limits(deadline_ns=time.monotonic_ns() + 1_000_000, max_tokens=140, think_tokens=100)
    assert reasoner.answer("how many?", late).finish is Finish.TIMED_OUT
    assert reasoner.when("the mug", stopping_after(1)).finish is Finish.CANCELLED
    assert reasoner.context.cells == reasoner.prefix.cells


def test_an_error_from_the_caller_within_the_work_comes_out_and_leaves_nothing_behind(reasoner: LlamaReasoner) -> None:
    for number in range(3):
        reasoner.watch(number, picture(number), 1.5 * number)
    reasoner.settle()
    before = question_logits(reasoner)
    for count in (1, 2, 5, 40):  # before the work, and inside of what llama.cpp computes
        asked = iter(range(count))

        def cancelled() -> bool:
            if next(asked, None) is None:  # noqa: B023 - called within this turn
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            reasoner.where("the mug", 1, replace(QUICK, cancelled=cancelled))
        assert reasoner.context.cells == reasoner.prefix.cells
        assert np.array_equal(question_logits(reasoner), before)


def test_pictures_larger_than_a_batch_are_read_as_whole(model: Path) -> None:
    with open_tiny(model, batch=16, image_pixels=224 * 224) as small, open_tiny(model, image_pixels=224 * 224) as large:
        for reasoner in (small, large):
            reasoner.watch(1, picture(1, 224, 280), 0.0)
            reasoner.watch(2, picture(2, 224, 280), 1.0)
            reasoner.settle()
        difference = np.abs(question_logits(small) - question_logits(large)).max()
        assert small.prefix.cells == large.prefix.cells > 100
        assert difference < 1e-3  # the order of a sum differs, nothing else
