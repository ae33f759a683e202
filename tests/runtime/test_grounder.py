"""The grounder: the reasoner is kept in step with the memory whatever breaks, and questions find it so."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.engines.small_reasoners import Behaviour, open_obedient
from tests.runtime.block_walk import BLOCK, frames
from tests.runtime.scripted_reasoner import ScriptedReasoner
from tests.runtime.three_blocks import walk

from scene_r1.answer import Status
from scene_r1.box import iou
from scene_r1.config import Config, KeyframesConfig, MemoryConfig
from scene_r1.frame import RgbdFrame
from scene_r1.grounder import Grounder, open_grounder
from scene_r1.memory import OVERHEAD_BYTES
from scene_r1.reasoner_config import LimitsConfig, ReasonerConfig, ServerConfig
from scene_r1_engines.errors import BadConfig, BadFrame, BadInput, BudgetExceeded, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.reasoner import Finish
from scene_r1_engines.segmenter import open_segmenter
from scene_r1_engines.worker import IsolatedReasoner


@pytest.fixture(scope="module")
def half_turn() -> list[tuple[RgbdFrame, tuple[float, float, float, float]]]:
    return list(frames(30))


def grounder_of(reasoner: ScriptedReasoner, k: int = 16, max_bytes: int = 32 << 20) -> Grounder:
    config = Config(keyframes=KeyframesConfig(k), memory=MemoryConfig(max_bytes))
    return Grounder(lambda replay: reasoner, open_segmenter("depth_cut"), config)


def scripted(half_turn, **more) -> ScriptedReasoner:
    return ScriptedReasoner(lambda index: (half_turn[index][1],), **more)


def isolated_grounder(behaviour: Behaviour, k: int = 4) -> Grounder:
    """Its reasoner lives in a worker."""
    return Grounder(
        lambda replay: IsolatedReasoner("obedient", behaviour, replay, opener=open_obedient),
        open_segmenter("depth_cut"),
        Config(keyframes=KeyframesConfig(k)),
    )


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "never came true"
        time.sleep(0.01)


def stands_again(reasoner: IsolatedReasoner) -> bool:
    return reasoner.deaths > 0 and reasoner.when("", Limits()).finish is Finish.OK


def held(grounder: Grounder) -> list[int]:
    return [keyframe.index for keyframe in grounder.memory]


@pytest.mark.parametrize(("k", "frames_of_memory"), [(16, 40), (4, 40), (6, 3), (1, 40)])
def test_the_reasoner_watches_what_the_memory_holds_after_every_frame(half_turn, k: int, frames_of_memory: int) -> None:
    reasoner = scripted(half_turn)
    swapped = 0
    with grounder_of(reasoner, k, frames_of_memory * 90_000) as grounder:
        for frame, _ in half_turn:
            decision = grounder.take(frame)
            swapped += decision.evicted is not None
            assert sorted(reasoner.watched) == held(grounder)
            assert len(reasoner.watched) <= k
        assert grounder.end()
        assert sorted(reasoner.watched) == held(grounder) == list(grounder.selector.keyframes)
    assert swapped or k == 16 or frames_of_memory < k


def test_a_keyframe_that_the_memory_refuses_is_not_watched_either(half_turn) -> None:
    reasoner = scripted(half_turn)
    with grounder_of(reasoner, 1, OVERHEAD_BYTES) as grounder:
        for frame, _ in half_turn[:5]:
            grounder.take(frame)
            assert not reasoner.watched


def test_the_reasoner_sees_the_pixels_of_the_memory_and_the_time_since_the_first_frame() -> None:
    reasoner = ScriptedReasoner(lambda index: ())
    with grounder_of(reasoner) as grounder:
        grounder.take(replace(walk().frames[0], T_world_camera=None))  # no keyframe, but the clock starts here
        for frame in walk().frames[1:]:
            grounder.take(frame)
        grounder.end()
        for index, (image, seconds) in reasoner.watched.items():
            assert seconds == pytest.approx(float(index))
            assert np.array_equal(image, grounder.memory[index].frame().color)
        again = list(grounder.keyframes_again())
    assert [(index, seconds) for index, _, seconds in again] == [
        (i, s) for i, (_, s) in sorted(reasoner.watched.items())
    ]
    assert all(np.array_equal(image, reasoner.watched[index][0]) for index, image, _ in again)
    assert reasoner.settled[:3] == [0.0, 1.0, 2.0]
    assert reasoner.settled[-1] is None


def test_a_question_while_the_camera_runs_is_about_the_newest_keyframe_too(half_turn) -> None:
    reasoner = scripted(half_turn)
    with grounder_of(reasoner, 3) as grounder:
        for frame, _ in half_turn:
            grounder.take(frame)
            if grounder.selector.if_settled != grounder.selector.keyframes:
                break
        wanted = list(grounder.selector.if_settled)
        assert grounder.ask("where is the block?").status is Status.OK
        assert sorted(reasoner.watched) == held(grounder) == wanted
        grounder.take(half_turn[-1][0])  # and the stream goes on


def test_a_streamed_walk_ends_in_the_box_of_the_block_and_the_evidence_can_be_shown(half_turn) -> None:
    with grounder_of(scripted(half_turn), 8) as grounder:
        for frame, _ in half_turn:
            grounder.take(frame)
        grounder.end()
        answer = grounder.ask("where is the block?")
        shown = grounder.frames(answer)
    assert answer.box_3d is not None
    assert iou(answer.box_3d, BLOCK.box) > 0.7
    assert [frame.index for frame in shown] == [view.frame for view in answer.evidence]
    assert all(np.array_equal(frame.depth_raw, half_turn[frame.index][0].depth_raw) for frame in shown)
    stages = {name: ms for name, ms in answer.timings_ms.items() if "." not in name and name != "total"}
    assert "watch" in stages
    assert 0.95 * answer.timings_ms["total"] - 2.0 <= sum(stages.values()) <= 1.001 * answer.timings_ms["total"]


def test_a_question_before_the_first_frame_is_what_the_reasoner_says_it_is() -> None:
    with grounder_of(ScriptedReasoner(lambda index: (), Finish.NOT_READY)) as grounder:
        assert grounder.ask("where?").status is Status.NOT_READY


@pytest.mark.parametrize("broken", ["watch", "forget", "settle"])
def test_a_reasoner_that_breaks_while_nobody_asks_does_not_stop_the_stream(half_turn, broken: str, caplog) -> None:
    reasoner = scripted(half_turn)
    with grounder_of(reasoner, 4) as grounder:
        for frame, _ in half_turn[:10]:
            grounder.take(frame)
        reasoner.failing = {broken}
        for frame, _ in half_turn[10:]:
            grounder.take(frame)
        assert grounder.selector.counters.offered == len(half_turn)
        assert grounder.failures > 0
        if broken == "settle":
            assert not grounder.end()
        reasoner.failing = set()
        with caplog.at_level(logging.WARNING):
            assert grounder.ask("where is the block?").status is Status.OK
        assert f"{broken} broke" in caplog.text
        assert sorted(reasoner.watched) == held(grounder)


def test_a_reasoner_that_stays_broken_makes_the_question_an_error_each_time(half_turn) -> None:
    reasoner = scripted(half_turn, failing={"watch"})
    with grounder_of(reasoner, 4) as grounder:
        for frame, _ in half_turn[:8]:
            grounder.take(frame)
        for _ in range(2):
            with pytest.raises(EngineFailed, match="watch broke"):
                grounder.ask("where is the block?")
        assert not reasoner.asked
        reasoner.failing = set()
        assert grounder.ask("where is the block?").status is Status.OK


def test_a_reasoner_that_takes_no_more_keyframes_says_so_when_it_is_asked(half_turn) -> None:
    class Full(ScriptedReasoner):
        def watch(self, keyframe_id, image, timestamp_s) -> None:
            if len(self.watched) >= 2:
                raise BudgetExceeded("2 keyframes are held already")
            super().watch(keyframe_id, image, timestamp_s)

    with grounder_of(Full(lambda index: ()), 4) as grounder:
        for frame, _ in half_turn[:8]:
            grounder.take(frame)
        with pytest.raises(BudgetExceeded, match="2 keyframes"):
            grounder.ask("where?")


@pytest.mark.parametrize("refuse", [range(100), range(1, 100)], ids=["all", "all but the first"])
def test_what_a_worker_refuses_while_nobody_asks_is_offered_again_and_said_to_each_question(half_turn, refuse) -> None:
    with isolated_grounder(Behaviour(refuse=frozenset(refuse))) as grounder:
        for frame, _ in half_turn[:12]:
            grounder.take(frame, idle_s=0.01)
        assert grounder.selector.counters.offered == 12
        assert len(held(grounder)) > 1
        for _ in range(3):
            for task in ("find", "vqa"):
                with pytest.raises(BadFrame, match="too narrow"):
                    grounder.ask("held", task=task)  # type: ignore[arg-type]
        assert grounder.failures > 0
        assert grounder.reasoner.deaths == 0  # type: ignore[attr-defined]


def test_a_keyframe_that_a_worker_refused_and_that_is_evicted_since_is_in_no_questions_way(half_turn) -> None:
    with isolated_grounder(Behaviour(refuse=frozenset({0})), 1) as grounder:
        for frame, _ in half_turn:
            grounder.take(frame)
            if held(grounder) not in ([], [0]):
                break
        assert held(grounder) != [0]
        eventually(lambda: grounder.reasoner.held == set(held(grounder)))  # type: ignore[attr-defined]
        answer = grounder.reasoner.when("held", Limits())
        assert answer.text.startswith(f"{held(grounder)[0]}@")
        assert grounder.ask("held", task="vqa").status is Status.OK


def test_a_grounder_with_a_worker_that_is_let_go_of_unclosed_takes_the_worker_with_it(half_turn) -> None:
    before = threading.active_count()
    grounder = isolated_grounder(Behaviour())
    for frame, _ in half_turn[:8]:
        grounder.take(frame)
    reasoner = grounder.reasoner
    assert isinstance(reasoner, IsolatedReasoner)
    os.kill(reasoner.worker_pid, signal.SIGKILL)  # so that a replay has run too
    eventually(partial(stands_again, reasoner))
    shown = [int(one.split("@")[0]) for one in reasoner.when("held", Limits()).text.split() if "@" in one]
    assert shown == held(grounder)
    pid, seen = reasoner.worker_pid, weakref.ref(grounder)
    del grounder, reasoner
    gc.collect()
    assert seen() is None
    eventually(lambda: threading.active_count() == before)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_end_waits_until_the_reasoner_is_done_and_shows_progress(half_turn) -> None:
    class Slow(ScriptedReasoner):
        def settle(self, now_s=None, deadline_ns=None) -> bool:
            super().settle(now_s, deadline_ns)
            return self.settled.count(None) >= 4

    reasoner = Slow(lambda index: ())
    waits = itertools.count()
    with grounder_of(reasoner) as grounder:
        grounder.take(half_turn[0][0])
        assert grounder.end(on_wait=lambda: next(waits))
    assert next(waits) == 3


def test_the_end_does_not_wait_beyond_its_deadline(half_turn) -> None:
    class Never(ScriptedReasoner):
        def settle(self, now_s=None, deadline_ns=None) -> bool:
            return False

    with grounder_of(Never(lambda index: ())) as grounder:
        grounder.take(half_turn[0][0])
        assert grounder.end(time.monotonic_ns() + 50_000_000) is False


def test_closing_closes_the_engines_and_twice_is_fine() -> None:
    reasoner = ScriptedReasoner(lambda index: ())
    grounder = grounder_of(reasoner)
    grounder.close()
    grounder.close()
    assert reasoner.closed == 1
    with pytest.raises(EngineFailed, match="closed"):
        grounder.ask("where?")


def test_an_engine_that_cannot_be_opened_leaves_the_other_closed() -> None:
    segmenter = open_segmenter("depth_cut")
    closed = []
    segmenter.close = lambda: closed.append(1)  # type: ignore[method-assign]

    def refuse(replay):
        raise BadConfig("no model")

    with pytest.raises(BadConfig, match="no model"):
        Grounder(refuse, segmenter)
    assert closed == [1]


def test_another_task_is_refused_with_the_known_ones() -> None:
    with grounder_of(ScriptedReasoner(lambda index: ())) as grounder, pytest.raises(BadInput, match="find, vqa"):
        grounder.ask("where?", task="guess")  # type: ignore[arg-type]


def test_the_settings_of_the_reasoner_are_those_of_the_engine_with_the_same_defaults() -> None:
    assert ReasonerConfig().llama("folder", 16, LlamaSettings("x").answer_tokens) == LlamaSettings("folder")
    ours = set(ReasonerConfig.__slots__) - {"name", "isolation", "niceness", "server"}
    assert ours == set(LlamaSettings.__slots__) - {"model", "keyframes", "answer_tokens"}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ReasonerConfig(name="llama"), "did you mean llama_cpp"),
        (lambda: ReasonerConfig(isolation="thread"), "process, inline"),
        (lambda: ReasonerConfig(niceness=20), "niceness"),
        (lambda: ReasonerConfig(kv_type="q9"), "kv_type"),
        (lambda: ReasonerConfig(image_pixels=3), "image_pixels"),
        (lambda: ReasonerConfig(threads=0), "threads"),
        (lambda: ReasonerConfig(server=ServerConfig(url="ftp://x")), "url"),
        (lambda: ReasonerConfig(server=ServerConfig(constrain="hope")), "constrain"),
        (lambda: LimitsConfig(max_tokens=0), "max_tokens"),
        (lambda: LimitsConfig(think_s=-1.0), "think_s"),
        (lambda: LimitsConfig(search_s=math.nan), "search_s"),
        (lambda: LimitsConfig(timeout_s=0.0), "timeout_s"),
        (lambda: LimitsConfig(settle_s=float("inf")), "settle_s"),
        (lambda: open_grounder(Config(reasoner=ReasonerConfig(name="openai"))), "--url"),
    ],
)
def test_an_impossible_setting_is_refused_by_its_name(make, reason: str) -> None:
    with pytest.raises(BadConfig, match=reason):
        make()


def test_limits_from_now_end_after_the_timeout_and_without_one_never() -> None:
    limits = LimitsConfig(timeout_s=100.0, think_tokens=0).from_now()
    assert 0.0 < limits.remaining_s <= 100.0
    assert limits.think_tokens == 0
    assert LimitsConfig(timeout_s=None).from_now().deadline_ns is None
