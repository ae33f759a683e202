from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import box_room
from tests.runtime.box_room import SMALL, look, turn

from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import (
    FULL,
    KeyframeSelector,
    Observation,
    Observer,
    QualityMeter,
    SelectionSettings,
    evaluate,
)
from scene_r1.keyframes.offline import Universe, greedy, uniform
from scene_r1.keyframes.voxel_table import gains
from scene_r1_engines.errors import BadConfig
from scene_r1_engines.intrinsics import Intrinsics

DOT = Intrinsics(1.0, 1.0, 0.0, 0.0, 1, 1)
BOUNDED = SelectionSettings(c=1.0, c_at_once=1.0, patience=1, swaps_per_1000=None, fill=0.0)
GREEDY = SelectionSettings(c=0.0, c_at_once=0.0, patience=1, swaps_per_1000=None, fill=0.0)

any_settings = st.builds(
    lambda c, more, **others: SelectionSettings(c=c, c_at_once=c + more, **others),
    c=st.sampled_from([0.0, 0.15, 1.0]),
    more=st.sampled_from([0.0, 0.2, 3.0]),
    patience=st.integers(1, 8),
    unbeaten=st.integers(0, 5),
    swaps_per_1000=st.sampled_from([None, 50.0, 500.0]),
    burst=st.sampled_from([1.0, 16.0]),
    fill=st.sampled_from([0.0, 0.02, 0.5]),
)


def frame_at(index, T, **how):
    return box_room.frame_at(index, T, SMALL, **how)


def bare(index):
    """A frame of one pixel, where the observation is given beside it."""
    return RgbdFrame(index, index, np.zeros((1, 1, 3), np.uint8), DOT, np.zeros((1, 1), np.uint16), 0.001, DOT)


def walk(seed, count=40, universe=300, most=80):
    """Observations like a camera's: runs of neighbouring voxels that drift, jump at times and overlap."""
    rng = np.random.default_rng(seed)
    numbering = rng.permutation(1 << 20)[:universe]
    at, out = int(rng.integers(universe)), []
    for _ in range(count):
        at = int(rng.integers(universe)) if rng.random() < 0.15 else at + int(rng.integers(-20, 21))
        seen = np.unique(np.arange(at, at + int(rng.integers(0, most))) % universe)
        out.append(Observation(numbering[seen].astype(np.int64), rng.integers(1, FULL + 1, len(seen), dtype=np.uint16)))
    return out


def f(observations, kept):
    """By brute force: sum over voxels of the best q of any kept frame."""
    best = {}
    for i in kept:
        for key, q in zip(observations[i].keys.tolist(), observations[i].q.tolist(), strict=True):
            best[key] = max(best.get(key, 0), q)
    return sum(best.values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 7), chosen=any_settings)
def test_f_never_falls_and_every_gain_is_what_was_predicted(seed, k, chosen):
    observations = walk(seed)
    selector = KeyframeSelector(k, chosen)
    universe, before, held = Universe.of(observations), 0, set()
    for i, observation in enumerate(observations):
        decision = selector.consider(bare(i), observation)
        held |= {decision.inserted.index} if decision.inserted else set()
        held -= {decision.evicted}
        after = universe.value(selector.keyframes)
        assert decision.gain * FULL == after - before
        assert (decision.gain > 0.0) == (decision.inserted is not None)
        assert set(selector.keyframes) == held
        assert len(held) <= k
        before = after
    expected = selector.if_settled
    last = selector.settle()
    assert selector.keyframes == expected == selector.if_settled
    assert last.gain * FULL == f(observations, expected) - before
    counters = selector.counters
    assert counters.inserted - counters.evicted - counters.forgotten == len(expected)
    assert selector.settle().inserted is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), chosen=any_settings)
def test_what_is_counted_as_frames_come_equals_a_count_from_scratch(seed, k, chosen):
    observations = walk(seed, count=25)
    selector = KeyframeSelector(k, chosen)
    for i, observation in enumerate(observations):
        selector.consider(bare(i), observation)
        kept = selector.keyframes
        value = f(observations, kept)
        assert selector._value == value
        assert selector.coverage == pytest.approx(value / max(1, f(observations, range(i + 1))))
        for place, index in enumerate(selector._places):
            lost = value - f(observations, [other for other in kept if other != index])
            assert selector._loss[place] == (0 if index is None else lost)
        table = selector.table
        n = len(table)
        ordered = np.sort(table.q[:n], axis=1)
        assert np.array_equal(table.best[:n], ordered[:, -1])
        assert np.array_equal(table.second[:n], ordered[:, -2] if k > 1 else np.zeros(n))
        assert np.array_equal(table.q[np.arange(n), table.owner[:n]], table.best[:n])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6))
def test_the_gain_of_every_swap_is_known_from_one_pass(seed, k):
    observations = walk(seed, count=k + 1)
    selector = KeyframeSelector(k, BOUNDED)
    for i in range(k):
        selector.consider(bare(i), observations[i])
    rows, q = selector.table.rows_of(observations[k])
    net = np.zeros(k, np.int64)
    table = selector.table
    add = gains(rows, q, table.best, table.second, table.owner, selector._loss, net)
    kept = selector.keyframes
    value = f(observations, kept)
    assert add == f(observations, [*kept, k]) - value
    for place, index in enumerate(selector._places):
        swapped = [i for i in kept if i != index] + [k]
        assert net[place] == f(observations, swapped) - value


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), most=st.integers(2, 120))
def test_the_bounded_rule_keeps_a_quarter_of_greedy(seed, k, most):
    observations = walk(seed, count=50, universe=200, most=most)
    selector = KeyframeSelector(k, BOUNDED)
    universe = Universe.of(observations)
    for i, observation in enumerate(observations):
        selector.consider(bare(i), observation)
        if i % 10 == 9:
            assert universe.value(selector.keyframes) >= 0.25 * universe.value(greedy(universe, k, i + 1))


def test_the_bounded_rule_survives_the_order_made_against_it():
    """Frames that each outweigh the last a little less than twice: the worst case of swapping."""
    sizes = [int(1.9**i) for i in range(14)]
    starts = np.cumsum([0, *sizes])
    observations = [
        Observation(np.arange(a, b, dtype=np.int64), np.full(b - a, FULL, np.uint16)) for a, b in pairwise(starts)
    ]
    universe = Universe.of(observations)
    for k in (1, 2, 4):
        selector = KeyframeSelector(k, BOUNDED)
        for i, observation in enumerate(observations):
            selector.consider(bare(i), observation)
        assert universe.value(selector.keyframes) >= 0.25 * universe.value(greedy(universe, k))


def test_the_default_settings_come_close_to_greedy_in_a_room():
    poses = turn(60) + turn(60, (0.6, -1.6, 1.2))
    result = evaluate((frame_at(i, T) for i, T in enumerate(poses)), k=6)
    assert result.frames == 120
    assert len(result.kept) == 6
    assert 0.9 <= result.min_prefix_ratio <= result.mean_prefix_ratio
    assert result.coverage >= 0.9 * result.coverage_greedy
    assert result.coverage > result.coverage_uniform - 0.05
    assert result.inserted < 40


def test_an_evaluation_keeps_what_the_selector_alone_keeps():
    frames = [frame_at(i, T, posed=i % 5 != 2) for i, T in enumerate(turn(30))]
    decisions = []
    result = evaluate(frames, k=4, on_decision=decisions.append)
    alone = KeyframeSelector(4)
    offered = [alone.offer(frame) for frame in frames]
    offered = [d for d in offered if d.quality is not None] + [alone.settle()]
    assert result.kept == alone.keyframes
    assert result.frames == len(decisions) - 1 == 24  # the last settles the candidate
    assert result.inserted == alone.counters.inserted
    assert [d.gain for d in decisions] == [d.gain for d in offered]


def test_an_evaluation_of_nothing_is_all_zero():
    result = evaluate([frame_at(0, look((0, 0, 1), (1, 0, 1)), posed=False)], k=4)
    assert (result.frames, result.coverage, result.kept) == (0, 0.0, ())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8))
def test_lazy_greedy_is_greedy(seed, k):
    universe = Universe.of(walk(seed, count=20))
    plain = []
    for _ in range(k):
        values = [universe.value([*plain, i]) for i in range(len(universe))]
        plain.append(int(np.argmax(values)))
    assert universe.value(greedy(universe, k)) == universe.value(plain)


def test_uniform_takes_first_and_last():
    assert uniform(100, 5) == [0, 25, 50, 74, 99]
    assert uniform(3, 8) == [0, 1, 2]
    assert uniform(0, 4) == []


@pytest.mark.parametrize("patience", [1, 20, 10_000])
def test_the_first_frame_goes_in_at_once(patience):
    selector = KeyframeSelector(3, SelectionSettings(patience=patience))
    frame = frame_at(7, turn(4)[0])
    decision = selector.offer(frame)
    assert decision.inserted is frame
    assert decision.evicted is None
    assert selector.keyframes == (7,)
    assert selector.coverage == 1.0


def test_frames_without_a_pose_are_counted_and_left_out():
    selector = KeyframeSelector(4)
    for i, T in enumerate(turn(12)):
        decision = selector.offer(frame_at(i, T, posed=i % 3 != 0))
        if i % 3 == 0:
            assert (decision.inserted, decision.quality, decision.gain) == (None, None, 0.0)
    assert (selector.counters.offered, selector.counters.without_pose) == (12, 4)
    assert not {0, 3, 6, 9} & set(selector.keyframes)


def test_frames_that_show_nothing_are_never_kept():
    selector = KeyframeSelector(4)
    seen = frame_at(0, turn(4)[0])
    for i, value in enumerate([0, 65535, 1]):
        nothing = replace(seen, index=i, depth_raw=np.full(seen.depth_raw.shape, value, np.uint16))
        decision = selector.offer(nothing)
        assert decision.inserted is None
        assert np.isfinite(decision.quality.score)
    assert selector.coverage == 0.0
    assert selector.offer(replace(seen, index=3)).inserted is not None


@pytest.mark.parametrize("jitter_m", [0.0, 0.002])
def test_a_camera_that_stands_still_costs_its_free_places_at_the_most(jitter_m):
    """Depth noise alone fills new voxels, so free places may go to it; once they are taken, hardly a swap pays."""
    rng = np.random.default_rng(1)
    selector = KeyframeSelector(5)
    still = look((0.0, -1.0, 1.4), (0.1, 1.0, 0.6))
    inserted = []
    for i in range(160):
        T = still.copy()
        T[:3, 3] += jitter_m * rng.normal(size=3)
        if selector.offer(frame_at(i, T, noise=rng)).inserted is not None:
            inserted.append(i)
    assert inserted[0] == 0
    assert sum(i >= 40 for i in inserted) <= 2
    assert len(inserted) <= selector.k + 4


def test_places_spent_on_standing_still_are_given_up_for_the_room():
    rng = np.random.default_rng(2)
    selector = KeyframeSelector(5)
    poses = [look((0.0, -0.8, 1.4), (1.0, -0.8, 0.9))] * 40 + turn(60)
    for i, T in enumerate(poses):
        selector.offer(frame_at(i, T, noise=rng))
    assert sum(index < 40 for index in selector.keyframes) <= 1


def test_no_picture_is_inserted_twice():
    selector = KeyframeSelector(6, GREEDY)
    observe = Observer()
    seen = [observe(frame_at(i, T)) for i, T in enumerate(turn(10))]
    for round_ in range(3):
        for i, observation in enumerate(seen):
            decision = selector.consider(bare(10 * round_ + i), observation)
            if round_ == 2:
                assert decision.inserted is None
    assert len({index % 10 for index in selector.keyframes}) == len(selector.keyframes)


def test_a_stalled_camera_inserts_its_last_picture_once():
    selector = KeyframeSelector(6)
    for i, T in enumerate(turn(10)[:4]):
        selector.offer(frame_at(i, T))
    stuck = frame_at(4, turn(10)[4])
    inserted = [selector.offer(replace(stuck, index=i)).inserted for i in range(4, 120)]
    assert sum(frame is not None for frame in inserted) == 1


@pytest.mark.parametrize("sharp_first", [True, False])
def test_a_blurred_frame_loses_against_its_sharp_twin(sharp_first):
    selector = KeyframeSelector(2)
    here, there, new = look((0, -2, 1.4), (0, 2, 0.9)), look((0, -2, 1.4), (0.2, 2, 0.9)), look((0, 2, 1.4), (0, -2, 1))
    for i in range(30):
        selector.offer(frame_at(i, here if i % 2 else there))
    twins = [frame_at(30, new), frame_at(31, new, blur_px=3.0)]
    for twin in twins if sharp_first else twins[::-1]:
        selector.offer(twin)
    for i in range(32, 60):
        selector.offer(frame_at(i, here))
    assert 30 in selector.keyframes
    assert 31 not in selector.keyframes


def test_forgetting_frees_a_place_for_the_next_frame_that_adds():
    selector = KeyframeSelector(2, SelectionSettings(patience=1000))
    poses = turn(3)
    for i in range(2):
        selector.offer(frame_at(i, poses[i]))
    assert selector.keyframes == (0, 1)
    before = selector.coverage
    selector.forget(0)
    assert selector.keyframes == (1,)
    assert selector.coverage < before
    assert selector.counters.forgotten == 1
    assert selector.offer(frame_at(2, poses[2])).inserted.index == 2
    assert selector.keyframes == (1, 2)
    with pytest.raises(ValueError):
        selector.forget(0)


def test_the_best_candidate_of_a_wait_goes_in_and_not_the_last():
    keys = np.arange(100, dtype=np.int64)

    def see(first, last, q=FULL):
        return Observation(keys[first:last], np.full(last - first, q, np.uint16))

    selector = KeyframeSelector(1, SelectionSettings(c=0.1, c_at_once=10.0, patience=4, unbeaten=9))
    selector.consider(bare(0), see(0, 20))
    waited = [selector.consider(bare(i), see(20, 20 + n)) for i, n in enumerate((30, 60, 40, 25), start=1)]
    assert [d.inserted for d in waited[:3]] == [None] * 3
    assert waited[3].inserted.index == 2
    assert (waited[3].evicted, waited[3].gain) == (0, 40.0)


def test_a_candidate_that_nothing_beats_goes_in_before_its_patience_ends():
    keys = np.arange(100, dtype=np.int64)
    chosen = SelectionSettings(c=0.1, c_at_once=10.0, patience=50, unbeaten=2, swaps_per_1000=None)
    selector = KeyframeSelector(1, chosen)
    selector.consider(bare(0), Observation(keys[:20], np.full(20, FULL, np.uint16)))
    found = []
    for i, last in enumerate((40, 60, 50, 50, 50), start=1):
        decision = selector.consider(bare(i), Observation(keys[20:last], np.full(last - 20, FULL, np.uint16)))
        found.append(decision.inserted.index if decision.inserted else None)
    assert found == [None, None, None, 2, None]


def test_a_budget_of_swaps_is_kept_to_over_a_long_stream():
    rng = np.random.default_rng(0)
    swaps = {}
    for budget in (None, 20.0):
        selector = KeyframeSelector(4, SelectionSettings(c=0.01, c_at_once=0.01, swaps_per_1000=budget, burst=4.0))
        for i in range(1500):  # a walk that never returns: every frame shows something new
            keys = np.arange(5 * i, 5 * i + 100, dtype=np.int64)
            q = rng.integers(FULL // 2, FULL, 100, dtype=np.uint16)
            selector.consider(bare(i), Observation(keys, q))
        swaps[budget] = selector.counters.evicted
    assert 1 <= swaps[20.0] <= 0.5 * swaps[None]


def test_the_same_frames_give_the_same_decisions():
    def run():
        selector = KeyframeSelector(4)
        rng = np.random.default_rng(3)
        return [
            (d.inserted.index if d.inserted else None, d.evicted, d.gain)
            for d in (selector.offer(frame_at(i, T, noise=rng)) for i, T in enumerate(turn(25)))
        ]

    assert run() == run()


def test_the_offer_is_quality_observation_and_consideration():
    whole, parts = KeyframeSelector(3), KeyframeSelector(3)
    judge, observe = QualityMeter(), Observer()
    for i, T in enumerate(turn(12)):
        frame = frame_at(i, T)
        quality = judge(frame)
        one = whole.offer(frame)
        other = parts.consider(frame, observe(frame, quality.score), quality)
        assert (one.gain, one.evicted, one.quality) == (other.gain, other.evicted, other.quality)
    assert whole.keyframes == parts.keyframes


def test_the_table_is_sampled_and_the_selection_goes_on():
    poses = turn(60) + turn(60, (0.6, -1.6, 1.2))
    small = KeyframeSelector(6, SelectionSettings(voxel_capacity=512))
    whole = KeyframeSelector(6)
    judge, observe = QualityMeter(), Observer()
    observations = []
    for i, T in enumerate(poses):
        frame = frame_at(i, T)
        observations.append(observe(frame, judge(frame).score))
        for selector in (small, whole):
            selector.consider(frame, observations[-1])
    assert small.table.sampled < 1.0
    assert len(small.table) <= 512
    universe = Universe.of(observations)
    assert universe.value(small.keyframes) > 0.9 * universe.value(whole.keyframes)
    assert small.coverage == pytest.approx(universe.value(small.keyframes) / universe.value(range(120)), abs=0.05)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"c_at_once": -0.1}, "c_at_once"),
        ({"c": float("nan")}, "c must"),
        ({"fill": float("inf")}, "fill"),
        ({"c": 0.5, "c_at_once": 0.2}, "c must not exceed c_at_once"),
        ({"patience": 0}, "patience"),
        ({"unbeaten": -1}, "unbeaten"),
        ({"swaps_per_1000": 0.0}, "swaps_per_1000"),
        ({"swaps_per_1000": float("nan")}, "swaps_per_1000"),
        ({"burst": 0.0}, "burst"),
    ],
)
def test_impossible_settings_are_refused_by_name(bad, named):
    with pytest.raises(BadConfig, match=named):
        SelectionSettings(**bad)


@pytest.mark.parametrize("k", [0, -1, 1025])
def test_an_impossible_number_of_keyframes_is_refused(k):
    with pytest.raises(BadConfig, match="k must be"):
        KeyframeSelector(k)
