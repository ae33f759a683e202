"""A reasoner in a process of its own: what comes through, what survives its death, and what it leaves behind."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.engines.small_reasoners import Behaviour, checksum, open_fragile_llama, open_obedient

from scene_r1_engines.errors import (
    BadConfig,
    BadFrame,
    BadInput,
    BadModelFile,
    BadQuestion,
    BudgetExceeded,
    EngineFailed,
)
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, Reasoner
from scene_r1_engines.worker import IsolatedReasoner
from scene_r1_engines.worker.isolated import nothing
from scene_r1_engines.worker.parcels import Parcels

ROOM = np.random.default_rng(5).integers(0, 60, (48, 64, 3), dtype=np.uint8)
NO_LIMITS = Limits()


def opened(behaviour: Behaviour | None = None, replay=nothing, **more) -> IsolatedReasoner:
    return IsolatedReasoner("obedient", behaviour or Behaviour(), replay, opener=open_obedient, **more)


def within(seconds: float = 5.0) -> Limits:
    return Limits(deadline_ns=time.monotonic_ns() + int(seconds * 1e9))


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "never came true"
        time.sleep(0.01)


def stands_again(reasoner: IsolatedReasoner) -> None:
    eventually(lambda: reasoner.when("", NO_LIMITS).finish is not Finish.NOT_READY)


def living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    me = psutil.Process()
    before = me.num_fds(), threading.active_count(), len(me.children(recursive=True))
    yield
    gc.collect()
    eventually(lambda: threading.active_count() <= before[1])
    assert (me.num_fds(), threading.active_count(), len(me.children(recursive=True))) == before


@pytest.fixture(scope="module")
def standing() -> Iterator[IsolatedReasoner]:
    with opened() as one:
        yield one


@pytest.fixture
def reasoner(standing: IsolatedReasoner) -> Iterator[IsolatedReasoner]:
    """One that other tests use too, and that must not die; it holds nothing."""
    yield standing
    for keyframe_id in standing._supervisor.parcels._held.copy():
        standing.forget(keyframe_id)
    assert standing.settle(None)
    assert standing.deaths == 0


def test_it_is_a_reasoner_with_the_name_and_pixels_of_the_one_inside(reasoner):
    assert isinstance(reasoner, Reasoner)
    assert (reasoner.name, reasoner.grounding_pixels) == ("obedient", 1234)
    assert int(reasoner.when("pid", NO_LIMITS).text) == reasoner.worker_pid != os.getpid()


@pytest.mark.parametrize(
    "picture",
    [ROOM, ROOM[:, ::-2], ROOM.transpose(1, 0, 2), ROOM[::3], ROOM[:1, :1], np.asfortranarray(ROOM)],
    ids=["plain", "reversed", "transposed", "rows", "one pixel", "fortran"],
)
def test_pictures_arrive_as_they_were_whatever_their_strides(reasoner, picture):
    reasoner.watch(3, picture, 0.5)
    seen = reasoner.where("", 3, NO_LIMITS, picture[::-1]).text
    assert seen == f"{checksum(picture)} again {checksum(picture[::-1])}"


def test_a_picture_is_taken_as_it_is_at_the_call_and_may_be_changed_after_it(reasoner):
    threading.Thread(target=reasoner.when, args=("sleep 0.2", NO_LIMITS)).start()
    picture = ROOM.copy()
    reasoner.watch(1, picture, 0.0)
    picture[:] = 0
    assert reasoner.when("held", NO_LIMITS).text == f"1@0:{checksum(ROOM)}"


def test_a_large_picture_after_a_small_one_and_back(reasoner):
    large = np.arange(1200 * 1600 * 3, dtype=np.uint8).reshape(1200, 1600, 3)
    for keyframe_id, picture in enumerate([ROOM, large, ROOM[:5]]):
        reasoner.watch(keyframe_id, picture, 0.0)
    text = reasoner.when("held", NO_LIMITS).text
    assert text == " ".join(f"{i}@0:{checksum(one)}" for i, one in enumerate([ROOM, large, ROOM[:5]]))


def test_limits_come_through_as_they_are(reasoner):
    ends = time.monotonic_ns() + 10**11
    assert reasoner.answer("limits", Limits(ends, 7, 5, 2.5)).text == f"{ends} 7 5 2.5"


def test_typed_errors_come_back_as_they_were(reasoner):
    with pytest.raises(BadModelFile, match="is truncated") as caught:
        reasoner.when("model-file", NO_LIMITS)
    assert caught.value.path == "text.gguf"
    for word, said in (("unknown", "Unknown: two arguments"), ("odd", "OddError: odd 1 2"), ("exit-python", "Exit")):
        with pytest.raises(EngineFailed, match=said):
            reasoner.answer(word, NO_LIMITS)
    with pytest.raises(EngineFailed, match="cannot be sent"):
        reasoner.when("unpicklable", NO_LIMITS)
    assert reasoner.when("", NO_LIMITS).finish is Finish.OK
    assert reasoner.deaths == 0


def test_noise_of_the_worker_stays_out_of_the_callers_output(reasoner, capfd):
    assert reasoner.when("noise", NO_LIMITS).finish is Finish.OK
    assert capfd.readouterr().out == ""


def test_bad_arguments_are_refused_at_the_call(reasoner):
    for bad in (ROOM.astype(np.float32), ROOM[..., :2], ROOM[0], ROOM[:0], [[1]]):
        with pytest.raises(BadFrame, match="keyframe 1: image must"):
            reasoner.watch(1, bad, 0.0)
    with pytest.raises(BadFrame, match="finite"):
        reasoner.watch(1, ROOM, float("nan"))
    with pytest.raises(BadInput, match="keyframe 1 is not held"):
        reasoner.forget(1)
    with pytest.raises(BadInput, match="keyframe 1 is not held"):
        reasoner.where("", 1, NO_LIMITS)
    with pytest.raises(BadQuestion):
        reasoner.when("x" * 100_000, NO_LIMITS)
    reasoner.watch(1, ROOM, 0.0)
    with pytest.raises(BadFrame, match="held already"):
        reasoner.watch(1, ROOM, 0.0)


def test_what_the_reasoner_refuses_is_raised_by_the_next_call_and_not_held(reasoner):
    for keyframe_id in range(9):
        reasoner.watch(keyframe_id, ROOM, float(keyframe_id))
    eventually(lambda: reasoner._supervisor.refusals)
    assert reasoner.held == set(range(8))
    with pytest.raises(BudgetExceeded, match="eight are enough"):
        reasoner.settle(9.0)
    with pytest.raises(BadInput, match="keyframe 8 is not held"):
        reasoner.forget(8)
    reasoner.forget(0)
    reasoner.watch(8, ROOM, 9.0)
    assert reasoner.settle(9.0)


@pytest.mark.parametrize("known", [True, False], ids=["refused before", "refused meanwhile"])
def test_a_question_about_a_keyframe_that_is_refused_raises_the_cause_and_is_not_put_to_the_rest(known):
    with opened(Behaviour(settle_s=0.3, refuse=frozenset({2}))) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        eventually(lambda: reasoner._supervisor._worker.block.working_ns)  # so that the next one waits
        reasoner.watch(2, ROOM, 0.0)
        assert reasoner.held == {1, 2}
        if known:
            eventually(lambda: reasoner.held == {1})
        with pytest.raises(BadFrame, match="keyframe 2 is too narrow"):
            reasoner.when("exit 1", NO_LIMITS)
        assert reasoner.held == {1}
        assert reasoner.when("held", NO_LIMITS).text == f"1@0:{checksum(ROOM)}"
        assert reasoner.settle(None)
        assert reasoner.deaths == 0


def test_a_refused_keyframe_that_is_given_up_is_in_no_questions_way_and_still_told():
    with opened(Behaviour(refuse=frozenset({1}))) as reasoner:
        reasoner.watch(1, ROOM, 0.0)
        eventually(lambda: not reasoner.held)
        with pytest.raises(BadInput, match="keyframe 1 is not held"):
            reasoner.forget(1)
        assert reasoner.when("", NO_LIMITS).finish is Finish.OK
        with pytest.raises(BadFrame, match="too narrow"):
            reasoner.settle(None)


def test_watch_and_forget_do_not_wait_for_a_running_question(reasoner):
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(reasoner.when("until-cancelled", limits).text))
    stop = threading.Event()
    limits = Limits(cancelled=stop.is_set)
    asking.start()
    reasoner.watch(1, ROOM, 0.0)
    reasoner.watch(2, ROOM, 0.0)
    reasoner.forget(1)
    assert asking.is_alive()
    stop.set()
    asking.join()
    assert answers == ["cancelled"]
    assert reasoner.when("held", NO_LIMITS).text == f"2@0:{checksum(ROOM)}"


def test_what_waits_for_a_busy_worker_is_bounded(monkeypatch):
    monkeypatch.setattr("scene_r1_engines.worker.parcels.MOST_WAITING", 3)
    monkeypatch.setattr("scene_r1_engines.worker.parcels.MOST_WAITING_BYTES", 3 * ROOM.nbytes)
    parcels = Parcels(None)
    parcels.watch(1, ROOM, 0.0)
    with pytest.raises(BudgetExceeded, match="bytes of pictures wait"):
        parcels.watch(2, np.concatenate([ROOM] * 3), 0.0)
    parcels.watch(2, ROOM, 0.0)
    parcels.watch(3, ROOM, 0.0)
    with pytest.raises(BudgetExceeded):
        parcels.watch(4, ROOM[:1], 0.0)
    parcels.forget(2)
    parcels.watch(4, ROOM, 0.0)
    assert [parcels.take().order.keyframe_id for _ in range(3)] == [1, 3, 4]
    assert parcels.empty


def test_keyframes_beyond_the_settings_are_refused_at_the_call():
    parcels = Parcels(2)
    parcels.watch(1, ROOM, 0.0)
    parcels.watch(2, ROOM, 0.0)
    with pytest.raises(BudgetExceeded, match="2 keyframes are held"):
        parcels.watch(3, ROOM, 0.0)
    parcels.forget(1)
    parcels.watch(3, ROOM, 0.0)


def test_it_settles_by_itself_so_that_a_question_finds_it_done():
    with opened(Behaviour(settle_s=0.02)) as reasoner:
        for keyframe_id in range(5):
            reasoner.watch(keyframe_id, ROOM, 1.0 + keyframe_id)
        eventually(lambda: reasoner.when("pending", NO_LIMITS).text == "[]")
        assert reasoner.when("settled-at", NO_LIMITS).text.endswith("5.0]")
        assert reasoner.settle(None)
        assert reasoner.when("settled-at", NO_LIMITS).text.endswith("None]")


def test_settle_tells_the_time_and_waits_no_longer_than_its_deadline():
    with opened(Behaviour(settle_s=0.3)) as reasoner:
        for keyframe_id in range(4):
            reasoner.watch(keyframe_id, ROOM, 0.0)
        assert not reasoner.settle(7.0, time.monotonic_ns())
        assert not reasoner.settle(7.5, time.monotonic_ns() + 20_000_000)
        assert reasoner.settle(8.0)
        assert reasoner.when("pending", NO_LIMITS).text == "[]"
        assert "8.0" in reasoner.when("settled-at", NO_LIMITS).text


def test_a_fault_while_settling_is_raised_by_settle_and_does_not_end_the_worker(reasoner):
    bad = np.full_like(ROOM, 77)
    reasoner.watch(1, bad, 0.0)
    eventually(lambda: reasoner._supervisor.faults)
    with pytest.raises(EngineFailed, match="77"):
        reasoner.settle(1.0)
    reasoner.forget(1)
    assert reasoner.settle(1.0)
    assert reasoner.deaths == 0


def test_cancelling_reaches_the_worker(reasoner):
    began = time.monotonic()
    limits = Limits(cancelled=lambda: time.monotonic() - began > 0.1)
    assert reasoner.when("until-cancelled", limits).text == "cancelled"
    assert reasoner.when("until-cancelled", within(0.1)).text == "deadline"
    assert reasoner.when("until-cancelled", Limits(cancelled=lambda: True)).finish is Finish.CANCELLED


def test_a_cancelled_question_that_does_not_come_back_is_left_behind():
    with opened(grace_s=0.1) as reasoner:
        began = time.monotonic()
        limits = Limits(cancelled=lambda: time.monotonic() - began > 0.1)
        assert reasoner.when("sleep 0.6", limits).finish is Finish.CANCELLED
        assert reasoner.when("pid", NO_LIMITS).text == str(reasoner.worker_pid)
        assert reasoner.deaths == 0


def test_an_error_of_the_cancel_callback_is_the_callers_and_the_worker_goes_on(reasoner):
    def broken() -> bool:
        raise ZeroDivisionError("the caller's own")

    with pytest.raises(ZeroDivisionError):
        reasoner.when("until-cancelled", Limits(cancelled=broken))
    assert reasoner.when("", NO_LIMITS).finish is Finish.OK


def test_two_threads_take_turns_each_within_its_own_limits(reasoner):
    began = threading.Event()
    first = threading.Thread(target=lambda: (began.set(), reasoner.when("sleep 0.5", NO_LIMITS)))
    first.start()
    began.wait()
    time.sleep(0.1)
    assert reasoner.when("", within(0.1)).finish is Finish.TIMED_OUT
    assert reasoner.answer("", Limits(cancelled=lambda: True)).finish is Finish.CANCELLED
    assert reasoner.when("", NO_LIMITS).finish is Finish.OK
    first.join()
    assert reasoner.deaths == 0


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


def test_what_opening_raises_is_raised_and_an_abort_in_it_too():
    with pytest.raises(BadModelFile, match="is not there"):
        opened(Behaviour(open="raise"))
    with pytest.raises(EngineFailed, match=r"(?s)signal 6.*opening obedient"):
        opened(Behaviour(open="abort"))
    with pytest.raises(EngineFailed, match=r"did not open the reasoner within 0.5 s"):
        opened(Behaviour(open="hang"), start_timeout_s=0.5)
    with pytest.raises(BadConfig, match="unknown reasoner 'nobody'"):
        IsolatedReasoner("nobody", None)


def test_what_cannot_be_sent_to_a_worker_is_bad_config(monkeypatch):
    with pytest.raises(BadConfig, match="cannot be sent"):
        IsolatedReasoner("obedient", None, opener=lambda name, settings: None)  # type: ignore[arg-type, return-value]
    local = type("Local", (), {"__module__": "__main__", "__qualname__": "Local"})
    monkeypatch.setattr(sys.modules["__main__"], "Local", local, raising=False)
    with pytest.raises(BadConfig, match="in a module that can be imported"):
        opened(local())
    for bad in ({"grace_s": -1.0}, {"start_timeout_s": float("inf")}, {"restarts": -1}):
        with pytest.raises(BadConfig, match=next(iter(bad))):
            opened(**bad)


def test_close_ends_the_worker_and_every_call_after_it_is_an_error():
    reasoner = opened()
    pid = reasoner.worker_pid
    reasoner.watch(1, ROOM, 0.0)
    reasoner.close()
    reasoner.close()
    assert not psutil.pid_exists(pid)
    assert reasoner.worker_pid is None
    for call in (
        lambda: reasoner.watch(2, ROOM, 0.0),
        lambda: reasoner.forget(1),
        lambda: reasoner.settle(None),
        lambda: reasoner.when("", NO_LIMITS),
        lambda: reasoner.where("", 1, NO_LIMITS),
        lambda: reasoner.answer("", NO_LIMITS),
    ):
        with pytest.raises(EngineFailed, match="closed"):
            call()


@pytest.mark.parametrize("state", ["busy", "settling", "stopped", "dead", "restarting"])
def test_close_ends_a_worker_in_any_state(state):
    go = threading.Event()
    reasoner = opened(Behaviour(settle_s=600), replay=lambda: go.wait(0.5) and [])
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            reasoner.when("sleep 600", NO_LIMITS)
        except EngineFailed as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    if state == "busy":
        asking.start()
        eventually(lambda: reasoner._supervisor._in_hand)
    if state == "settling":
        reasoner.watch(1, ROOM, 0.0)
        eventually(lambda: reasoner._supervisor._worker.block.working_ns)
    if state == "stopped":
        os.kill(reasoner.worker_pid, signal.SIGSTOP)
    if state in ("dead", "restarting"):
        os.kill(reasoner.worker_pid, signal.SIGKILL)
    if state == "restarting":
        eventually(lambda: reasoner.deaths)
    reasoner.close()
    if state == "busy":
        asking.join(5)
        assert "closed" in str(caught[0])
    go.set()


def test_a_reasoner_that_is_let_go_of_ends_its_worker():
    reasoner = opened()
    pid = reasoner.worker_pid
    del reasoner
    gc.collect()
    eventually(lambda: not psutil.pid_exists(pid))


def test_many_keyframes_come_and_go_without_growth(reasoner):
    me, worker = psutil.Process(), psutil.Process(reasoner.worker_pid)
    before = None
    for keyframe_id in range(200):
        reasoner.watch(keyframe_id, ROOM, keyframe_id / 10)
        if keyframe_id >= 4:
            reasoner.forget(keyframe_id - 4)
        if keyframe_id % 50 == 49:
            assert reasoner.settle(keyframe_id / 10)
            seen = me.num_fds(), worker.num_fds(), me.num_threads()
            before = before or seen
            assert seen == before
    held = [int(one.split("@")[0]) for one in reasoner.when("held", NO_LIMITS).text.split() if "@" in one]
    assert held == [196, 197, 198, 199]


SCRIPT = """
from scene_r1_engines.limits import Limits
from scene_r1_engines.worker import IsolatedReasoner
from tests.engines.small_reasoners import Behaviour, open_obedient
import os, signal, sys, time
print("once", flush=True)
reasoner = IsolatedReasoner("obedient", Behaviour(), opener=open_obedient)
print(reasoner.worker_pid, flush=True)
"""


def run(script: str, tmp_path: Path, repository: Path, *, stdin: bool = False) -> subprocess.Popen[str]:
    """A caller of its own, from a plain script or from stdin. Warnings of the interpreter's exit show in its stderr."""
    paths = [str(repository), str(repository / "engines")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"}
    text = SCRIPT + textwrap.dedent(script)
    file = tmp_path / "caller.py"
    file.write_text(text)
    caller = subprocess.Popen(
        [sys.executable, "-" if stdin else str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    assert caller.stdin is not None
    if stdin:
        caller.stdin.write(text)
    caller.stdin.close()
    caller.stdin = None
    return caller


def said(caller: subprocess.Popen[str]) -> int:
    """The worker's pid, once the caller has said it."""
    assert caller.stdout is not None
    assert caller.stdout.readline() == "once\n"
    return int(caller.stdout.readline())


@pytest.mark.parametrize("stdin", [False, True], ids=["script", "stdin"])
def test_a_plain_script_needs_no_idiom_and_its_end_is_the_workers(tmp_path, repository, stdin):
    caller = run('print(reasoner.when("pid", Limits()).text)', tmp_path, repository, stdin=stdin)
    out, err = caller.communicate(timeout=60)
    once, pid, text = out.split()
    assert (once, pid, err, caller.returncode) == ("once", text, "", 0)
    assert not living(int(pid))


def test_a_killed_caller_takes_its_busy_worker_with_it(tmp_path, repository):
    caller = run('reasoner.when("sleep 600", Limits())', tmp_path, repository)
    pid = said(caller)
    time.sleep(0.2)
    assert living(pid)
    caller.kill()
    caller.communicate()
    eventually(lambda: not living(pid))


def test_an_interrupt_at_the_terminal_is_the_callers_to_judge(tmp_path, repository):
    caller = run(
        """
        try:
            reasoner.when("until-cancelled", Limits())
        except KeyboardInterrupt:
            print(reasoner.when("pid", Limits()).text, reasoner.deaths)
        """,
        tmp_path,
        repository,
    )
    pid = said(caller)
    time.sleep(0.2)
    os.killpg(caller.pid, signal.SIGINT)
    out, err = caller.communicate(timeout=60)
    assert (out.split(), err, caller.returncode) == ([str(pid), "0"], "", 0)
    assert not living(pid)


def test_a_fork_of_the_caller_does_not_end_the_worker(tmp_path, repository):
    caller = run(
        """
        child = os.fork()
        if child == 0:
            reasoner.close()
            sys.exit(0)
        os.waitpid(child, 0)
        print(reasoner.when("pid", Limits()).text, reasoner.deaths)
        """,
        tmp_path,
        repository,
    )
    pid = said(caller)
    out, _ = caller.communicate(timeout=60)
    assert out.split() == [str(pid), "0"]


def test_every_error_of_the_engines_survives_the_pipe():
    for error in (BadModelFile("a", "b"), BadFrame("c"), BudgetExceeded("d")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


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
