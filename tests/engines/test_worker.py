"""A reasoner in a process of its own: pictures, limits, errors and questions come through as they are."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from tests.engines.isolated_reasoners import NO_LIMITS, ROOM, eventually, nothing_left_behind, opened, within
from tests.engines.small_reasoners import Behaviour, checksum

from scene_r1_engines.errors import BadFrame, BadInput, BadModelFile, BadQuestion, BudgetExceeded, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Finish, Reasoner
from scene_r1_engines.worker import IsolatedReasoner
from scene_r1_engines.worker.parcels import Parcels


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


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


def test_every_error_of_the_engines_survives_the_pipe():
    for error in (BadModelFile("a", "b"), BadFrame("c"), BudgetExceeded("d")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
