"""A reasoner in a process of its own: what survives when that process aborts, is killed, hangs or is late."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from tests.engines.isolated_reasoners import (
    NO_LIMITS,
    ROOM,
    eventually,
    nothing_left_behind,
    opened,
    stands_again,
    within,
)
from tests.engines.small_reasoners import Behaviour, checksum, open_fragile_llama

from scene_r1_engines.errors import BadFrame, BadInput, BudgetExceeded, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish
from scene_r1_engines.worker import IsolatedReasoner


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


def test_an_abort_is_an_error_of_the_question_and_its_keyframes_come_back():
    pictures = {4: ROOM, 9: ROOM[::-1], 7: ROOM[:9, :9]}

    def replay():
        assert threading.current_thread() is not threading.main_thread()
        return [(i, one, i / 2) for i, one in pictures.items()]

    with opened(replay=replay) as reasoner:
        for keyframe_id, picture in pictures.items():
            reasoner.watch(keyframe_id, picture, keyframe_id / 2)
        reasoner.settle(11.0)
        reasoner.forget(7)
        before = reasoner.when("held", NO_LIMITS).text
        first = reasoner.worker_pid
        with pytest.raises(EngineFailed, match=r"(?s)died during where: it was killed by signal 6 .*n > 0. failed"):
            reasoner.where("abort", 4, NO_LIMITS)
        assert reasoner.when("held", NO_LIMITS).finish is Finish.NOT_READY
        assert reasoner.where("", 4, NO_LIMITS).finish is Finish.NOT_READY
        assert reasoner.answer("", NO_LIMITS).finish is Finish.NOT_READY
        assert not reasoner.settle(12.0)
        stands_again(reasoner)
        assert reasoner.when("held", NO_LIMITS).text == before
        assert before.startswith(f"4@2:{checksum(ROOM)} 9@4.5:")
        assert reasoner.settle(12.0)
        assert reasoner.worker_pid != first
        assert reasoner.deaths == 1


def test_what_is_noted_while_no_worker_stands_is_there_when_one_does():
    held = {1: ROOM, 2: ROOM[::-1]}
    go = threading.Event()

    def replay():
        go.wait(10)
        return [(i, one, 0.0) for i, one in held.items()]

    with opened(replay=replay) as reasoner:
        for keyframe_id, picture in held.items():
            reasoner.watch(keyframe_id, picture, 0.0)
        with pytest.raises(EngineFailed, match="exited with code 5"):
            reasoner.when("exit 5", NO_LIMITS)
        held[3] = ROOM[:7]
        reasoner.watch(3, held[3], 0.0)
        reasoner.watch(4, ROOM[:8], 0.0)
        reasoner.forget(1)
        reasoner.forget(4)
        with pytest.raises(BadFrame, match="held already"):
            reasoner.watch(2, ROOM, 0.0)
        assert reasoner.when("", NO_LIMITS).finish is Finish.NOT_READY
        go.set()
        stands_again(reasoner)
        assert reasoner.when("held", NO_LIMITS).text == f"2@0:{checksum(ROOM[::-1])} 3@0:{checksum(ROOM[:7])}"
        assert reasoner.settle(None)


def test_keyframes_that_nobody_gives_again_are_lost_and_may_be_watched_anew(capfd):
    with opened() as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        reasoner.watch(2, ROOM, 0.0)
        with pytest.raises(EngineFailed, match="native words on stdout"):
            reasoner.when("abort", NO_LIMITS)
        stands_again(reasoner)
        with pytest.raises(BadInput, match="keyframe 1 was lost"):
            reasoner.where("", 1, NO_LIMITS)
        assert not reasoner.held
        reasoner.forget(2)
        reasoner.watch(1, ROOM[:3], 0.0)
        assert reasoner.where("", 1, NO_LIMITS).text.startswith(checksum(ROOM[:3]))
    assert capfd.readouterr().out == ""


def test_a_replay_that_breaks_is_an_error_of_the_next_call():
    def replay():
        yield 1, ROOM, 0.0
        raise ZeroDivisionError("no more frames")

    with opened(replay=replay) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        reasoner.watch(2, ROOM, 0.0)
        with pytest.raises(EngineFailed):
            reasoner.when("abort", NO_LIMITS)
        stands_again(reasoner)
        with pytest.raises(EngineFailed, match="no more frames"):
            reasoner.settle(None)
        assert reasoner.when("held", NO_LIMITS).text == f"1@0:{checksum(ROOM)}"


def test_a_kill_while_it_settles_is_an_error_of_settle_and_it_recovers():
    frames = [(i, ROOM, 0.0) for i in range(3)]
    with opened(Behaviour(settle_s=0.3), replay=lambda: frames) as reasoner:
        for frame in frames:
            reasoner.watch(*frame)
        eventually(lambda: reasoner._supervisor._worker.block.working_ns)
        threading.Timer(0.1, os.kill, (reasoner.worker_pid, signal.SIGKILL)).start()
        with pytest.raises(EngineFailed, match=r"signal 9 .*memory runs out"):
            reasoner.settle(None)
        stands_again(reasoner)
        assert reasoner.settle(None)
        assert reasoner.when("held", NO_LIMITS).text.count(checksum(ROOM)) == 3


def test_a_question_that_is_late_times_out_and_its_worker_lives_on_with_all_that_it_holds():
    with opened(grace_s=0.1) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        assert reasoner.settle(None)
        pid = reasoner.worker_pid
        assert reasoner.when("sleep 1.5", within(0.1)).finish is Finish.TIMED_OUT
        assert reasoner.answer("", within(0.1)).finish is Finish.TIMED_OUT  # it waits its turn, and no longer
        reasoner.watch(2, ROOM, 1.0)
        assert reasoner.when("held", within(15)).text.count(checksum(ROOM)) == 2
        assert reasoner.when("pid", NO_LIMITS).text == str(pid)
        assert reasoner.deaths == 0


def late(reasoner: IsolatedReasoner) -> Finish:
    return reasoner.when("sleep 600", within(0.1)).finish


def given_up(reasoner: IsolatedReasoner) -> Finish:
    began = time.monotonic()
    return reasoner.when("sleep 600", Limits(cancelled=lambda: time.monotonic() - began > 0.1)).finish


@pytest.mark.parametrize(
    ("ask", "finish", "why"),
    [(late, Finish.TIMED_OUT, "its deadline"), (given_up, Finish.CANCELLED, "it was given up")],
)
def test_a_question_that_never_comes_back_costs_the_worker_behind_the_callers_back(ask, finish, why):
    with opened(replay=lambda: [(1, ROOM, 0.0)], grace_s=0.1, step_timeout_s=2.0) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        assert reasoner.settle(None)
        pid = reasoner.worker_pid
        assert ask(reasoner) is finish
        assert reasoner.when("", within(0.1)).finish is Finish.TIMED_OUT
        assert (reasoner.deaths, reasoner.worker_pid) == (0, pid)
        with pytest.raises(EngineFailed, match=f"when was not back 2 s after {why}: a deadlock"):
            reasoner.answer("", within(30))
        stands_again(reasoner)
        assert reasoner.when("held", NO_LIMITS).text == f"1@0:{checksum(ROOM)}"
        assert reasoner.deaths == 1
        assert reasoner.worker_pid != pid


def test_a_worker_that_hangs_while_it_has_nothing_to_do_is_replaced():
    with opened(grace_s=0.2) as reasoner:
        os.kill(reasoner.worker_pid, signal.SIGSTOP)
        with pytest.raises(EngineFailed, match=r"did not take an order for 0.2 s"):
            reasoner.when("", NO_LIMITS)
        stands_again(reasoner)


def test_a_question_behind_a_long_step_of_settling_times_out_and_costs_nothing():
    with opened(Behaviour(settle_s=1.0), grace_s=0.1) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        eventually(lambda: reasoner._supervisor._worker.block.working_ns)
        assert reasoner.when("", within(0.2)).finish is Finish.TIMED_OUT
        assert reasoner.when("", within(10)).finish is Finish.OK
        assert reasoner.deaths == 0


def test_settling_that_never_ends_costs_the_worker():
    with opened(Behaviour(settle_s=600), step_timeout_s=0.2) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        with pytest.raises(EngineFailed, match=r"one step of settling took more than 0.2 s"):
            reasoner.settle(None)


def test_it_gives_up_after_so_many_deaths_without_an_answer():
    with opened(restarts=1) as reasoner:
        for _ in range(2):  # a question answered in between counts anew
            with pytest.raises(EngineFailed):
                reasoner.when("abort", NO_LIMITS)
            stands_again(reasoner)
        with pytest.raises(EngineFailed):
            reasoner.when("exit 1", NO_LIMITS)
        eventually(lambda: reasoner.worker_pid)
        os.kill(reasoner.worker_pid, signal.SIGKILL)
        eventually(lambda: reasoner.deaths == 4)
        for call in (
            lambda: reasoner.when("", NO_LIMITS),
            lambda: reasoner.answer("", NO_LIMITS),
            lambda: reasoner.watch(1, ROOM, 0.0),
            lambda: reasoner.settle(None),
        ):
            with pytest.raises(EngineFailed, match=r"given up.*signal 9"):
                call()


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_llama_cpp_answers_again_after_it_was_killed_at_work_and_its_abort_is_an_error(tiny_model):
    from scene_r1_engines.llama.settings import LlamaSettings

    settings = LlamaSettings(str(tiny_model), keyframes=4, answer_tokens=64, threads=1)
    frames = [(i, np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8), float(i)) for i in range(3)]
    limits = Limits(max_tokens=48, think_tokens=16)
    with IsolatedReasoner("llama_cpp", settings, lambda: frames, opener=open_fragile_llama) as reasoner:
        for frame in frames:
            reasoner.watch(*frame)
        assert reasoner.settle(None)
        before = reasoner.when("Where is the cup?", limits)
        assert before.effort.encodes == 0
        reasoner.watch(7, ROOM, 7.0)
        with pytest.raises(BudgetExceeded, match="4 keyframes are held"):
            reasoner.watch(8, ROOM, 8.0)
        reasoner.forget(7)

        def ask_for_ever() -> None:
            while reasoner.when("Where is the cup?", limits).finish is not Finish.NOT_READY:
                pass

        threading.Timer(0.02, os.kill, (reasoner.worker_pid, signal.SIGKILL)).start()
        with pytest.raises(EngineFailed, match="signal 9"):
            ask_for_ever()
        eventually(lambda: reasoner.when("Where is the cup?", limits).finish is not Finish.NOT_READY, 60)
        assert reasoner.settle(None)
        after = reasoner.when("Where is the cup?", limits)
        assert (after.finish, after.text) == (before.finish, before.text)
        with pytest.raises(EngineFailed, match=r"(?s)during answer: it was killed by signal 6.*GGML_ASSERT"):
            reasoner.answer("abort", limits)
        assert reasoner.deaths == 2
