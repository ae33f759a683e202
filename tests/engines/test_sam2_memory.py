"""What the tracker remembers of one object: which frames it looks back at, and that it never grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.sam2.manifest import MOST_SLOTS, MemoryRules, Profiles
from scene_r1_engines.sam2.memory_bank import KEPT_CONDITIONING, MemoryBank, Remembered

RULES = MemoryRules(slots=7, pointers=16)


def found(frame: int) -> Remembered:
    """As of a tiny model; the pointer says which frame it is of."""
    return Remembered(
        np.full((2, 2, 2), frame % 2048, np.float16),
        np.array([frame], np.float32),
        np.zeros((8, 8), np.float32),
        0.9,
        3.0,
    )


def bank_of(
    prompted: list[int], tracked: list[int], rules: MemoryRules = RULES, profiles: Profiles | None = None, **more: int
) -> MemoryBank:
    bank = MemoryBank(rules, profiles or Profiles(), **more)
    for frame in prompted:
        bank.prompt(frame, found(frame), conditioning=True)
    bank.settle(prompted[-1])
    for frame in tracked:
        bank.add(frame, found(frame), backward=False)
    return bank


def looked_at(bank: MemoryBank, frame: int, backward: bool = False, most: int | None = None) -> list[int]:
    """The frames whose memories are attended to, in order."""
    return [int(one.pointer[0]) for one in bank.recall(frame, backward, most).seen]


def pointed_at(bank: MemoryBank, frame: int, backward: bool = False) -> list[int]:
    return bank.recall(frame, backward).pointers[:, 0].astype(int).tolist()


def test_the_prompted_frame_and_the_six_before_are_looked_at() -> None:
    bank = bank_of([0], list(range(1, 20)))
    recall = bank.recall(20, backward=False)
    assert looked_at(bank, 20) == [0, 14, 15, 16, 17, 18, 19]
    assert recall.rows == (6, 5, 4, 3, 2, 1, 0)
    assert pointed_at(bank, 20) == [0, *range(19, 4, -1)]
    assert np.allclose(recall.ages, [20 / 15, *(age / 15 for age in range(1, 16))])


def test_backward_the_frames_ahead_are_looked_at() -> None:
    bank = bank_of([30], [29, 28, 27])
    recall = bank.recall(26, backward=True)
    assert looked_at(bank, 26, backward=True) == [30, 29, 28, 27]
    assert recall.rows == (6, 2, 1, 0)
    assert pointed_at(bank, 26, backward=True) == [30, 27, 28, 29]
    assert np.allclose(recall.ages, [4 / 15, 1 / 15, 2 / 15, 3 / 15])


def test_a_short_video_ages_pointers_by_its_length() -> None:
    bank = bank_of([0], [1, 2, 3], frames=5)
    assert np.allclose(bank.recall(4, backward=False).ages, [4 / 4, 1 / 4, 2 / 4, 3 / 4])


def test_memories_of_prompts_ahead_are_used_and_their_pointers_are_not() -> None:
    bank = bank_of([0, 9], [1, 2])
    assert looked_at(bank, 3) == [0, 9, 1, 2]
    assert pointed_at(bank, 3) == [0, 2, 1]
    both = bank_of([0, 9], [1, 2], MemoryRules(slots=7, pointers=16, past_pointers_only=False, signed_ages=False))
    assert pointed_at(both, 3) == [0, 9, 2, 1]
    assert np.allclose(both.recall(3, backward=False).ages, [3 / 15, 6 / 15, 1 / 15, 2 / 15])


def test_where_all_prompts_lie_ahead_their_pointers_stand_in() -> None:
    bank = bank_of([9], [])
    assert pointed_at(bank, 3) == [9]
    assert bank.recall(3, backward=False).ages == (-6 / 15,)


def test_of_many_prompts_the_first_and_the_nearest_are_looked_at() -> None:
    bank = bank_of([50, *range(0, 40, 2)], [38])
    seen = looked_at(bank, 39)
    assert seen[:9] == [50, 24, 26, 28, 30, 32, 34, 36, 38]
    assert len(seen) <= MOST_SLOTS
    early = bank_of([*range(0, 40, 2)], [])
    assert looked_at(early, 39)[:9] == [0, 24, 26, 28, 30, 32, 34, 36, 38]


def test_a_prompt_that_is_not_among_the_nearest_still_is_a_neighbour() -> None:
    few = bank_of([0, 20, 19, 18], [], profiles=Profiles(memories=8))
    recall = few.recall(21, backward=False)
    assert looked_at(few, 21) == [0, 20, 18, 19]
    assert recall.rows == (6, 6, 2, 1)


@pytest.mark.parametrize(("most", "want"), [(7, [0, 14, 15, 16, 17, 18, 19]), (3, [0, 18, 19]), (1, [0])])
def test_with_fewer_memories_the_oldest_neighbours_are_left_out(most: int, want: list[int]) -> None:
    assert looked_at(bank_of([0], list(range(1, 20))), 20, most=most) == want


def test_fewer_slots_than_the_model_s_keep_the_rows_of_its_table() -> None:
    recall = bank_of([0], list(range(1, 20)), slots=3).recall(20, backward=False)
    assert recall.memories[:, 0, 0, 0].tolist() == [0, 18, 19]
    assert recall.rows == (6, 1, 0)
    for wrong in (0, 8):
        with pytest.raises(BadConfig, match="slots"):
            bank_of([0], [], slots=wrong)


def test_prompts_are_no_memory_before_tracking_goes_on() -> None:
    bank = bank_of([0], [1, 2])
    bank.prompt(2, found(77), conditioning=False)
    assert looked_at(bank, 3) == [0, 1, 2]
    latest = bank.latest(2)
    assert latest is not None
    assert latest.pointer[0] == 77
    bank.settle(3)
    assert looked_at(bank, 3) == [0, 1, 77]
    bank.prompt(2, found(88), conditioning=True)
    bank.settle(3)
    assert looked_at(bank, 3) == [0, 88, 1]
    assert bank.conditioning(2) is not None


def test_an_endless_stream_stays_within_its_bound() -> None:
    bank = bank_of([0], list(range(1, 100)))
    held, nbytes = len(bank), bank.nbytes
    for frame in range(100, 5000):
        bank.add(frame, found(frame), backward=False)
        assert len(bank) == held
    assert bank.nbytes == nbytes
    assert looked_at(bank, 5000) == [0, 4994, 4995, 4996, 4997, 4998, 4999]
    assert bank.tracked(4999) is False
    assert bank.tracked(17) is None


def test_endless_prompts_stay_within_their_bound_and_the_first_is_kept() -> None:
    bank = bank_of([0], [])
    for frame in range(1, 500):
        bank.prompt(frame, found(frame), conditioning=True)
        assert len(bank) <= 2 * KEPT_CONDITIONING + 1
    bank.settle(499)
    assert len(bank) == KEPT_CONDITIONING
    assert looked_at(bank, 500) == [0, 492, 493, 494, 495, 496, 497, 498, 499]


frames = st.integers(0, 60)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(frames, min_size=1, max_size=9, unique=True), st.lists(frames, max_size=30, unique=True), frames,
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_up_to_nine_prompts_it_looks_at_what_the_official_predictor_does(
    prompted: list[int], others: list[int], now: int, backward: bool, signed: bool, past: bool
) -> None:
    others = [frame for frame in others if frame not in prompted]
    rules = MemoryRules(slots=7, pointers=16, signed_ages=signed, past_pointers_only=past)
    recall = bank_of(prompted, others, rules, kept=64).recall(now, backward)

    # The official rule said anew, as one loop over all frames: how far back each is, seen from where tracking comes.
    ago = {frame: (frame - now) if backward else (now - frame) for frame in range(61)}
    seen = [(frame, 6) for frame in prompted]
    seen += [(frame, ago[frame] - 1) for back in range(6, 0, -1) for frame in others if ago[frame] == back]
    pointed = [(frame, ago[frame] if signed else abs(ago[frame])) for frame in prompted if not past or ago[frame] >= 0]
    pointed += [(frame, back) for back in range(1, 16) for frame in others if ago[frame] == back]

    assert recall.memories[:, 0, 0, 0].tolist() == [frame for frame, _ in seen]
    assert recall.rows == tuple(row for _, row in seen)
    if pointed:
        assert recall.pointers[:, 0].tolist() == [frame for frame, _ in pointed]
        assert np.allclose(recall.ages, [age / 15 for _, age in pointed])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["prompt", "forward", "backward"]), st.integers(0, 10**6)), min_size=1),
    st.integers(1, 15), st.integers(1, 31),
)  # fmt: skip
def test_whatever_is_done_the_extents_stay_within_the_engines_profiles(
    steps: list[tuple[str, int]], memories: int, pointers: int
) -> None:
    profiles = Profiles(memories=memories, pointers=pointers)
    bank = bank_of([0], [], profiles=profiles)
    for what, frame in steps:
        bank.settle(frame)
        recall = bank.recall(frame, what == "backward")
        assert 1 <= len(recall.rows) == len(recall.memories) <= memories
        assert 1 <= len(recall.ages) == len(recall.pointers) <= pointers
        if what == "prompt":
            bank.prompt(frame, found(frame), conditioning=True)
        elif bank.conditioning(frame) is None:
            bank.add(frame, found(frame), what == "backward")
        assert len(bank) <= 2 * KEPT_CONDITIONING + 32
