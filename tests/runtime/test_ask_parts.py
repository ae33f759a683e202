"""The parts of the asking path by themselves: which views agree, how sure that is, and which keyframes are asked."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.three_blocks import BLOCKS, walk

from scene_r1.ask.agreement import Claim, agreeing, same_thing
from scene_r1.ask.candidates import MOST_FRAMES, candidates, further
from scene_r1.ask.confidence import confidence
from scene_r1.box import Box3D
from scene_r1.lift import Lifter
from scene_r1.locate import look_at
from scene_r1.timings import Timings
from scene_r1_engines.segmenter import open_segmenter


def test_boxes_lifted_from_single_views_of_one_thing_agree_and_those_of_others_do_not() -> None:
    with open_segmenter("depth_cut") as segmenter:
        lifted = [
            (block, look_at(frame, walk().boxes[frame.index][block], segmenter, Lifter(), Timings()).lifted.box)
            for frame in walk().frames[::2]
            for block in range(len(BLOCKS))
        ]
    assert all(box is not None for _, box in lifted)
    for (a, box_a), (b, box_b) in combinations(lifted, 2):
        assert same_thing(box_a, box_b) == (a == b)


def box_at(x: float, side: float = 0.2) -> Box3D:
    return Box3D((x, 0.0, 0.0), (side, side, side), 0.0, 1)


def test_among_groups_of_one_size_the_surer_wins() -> None:
    claims = [Claim(0, box_at(0.0), 0.5), Claim(1, box_at(5.0), 0.9), Claim(2, box_at(0.01), 0.6)]
    assert agreeing(claims) == (2, 0)
    assert agreeing([*claims, Claim(3, box_at(5.01), 0.4)]) == (1, 3)
    assert agreeing([*claims, Claim(3, box_at(5.01), 0.1)]) == (2, 0)


def test_two_boxes_of_one_view_are_never_two_votes() -> None:
    assert agreeing([Claim(0, box_at(0.0), 0.5), Claim(0, box_at(0.01), 0.7)]) == (1,)
    assert agreeing([Claim(0, box_at(0.0), 0.5), Claim(0, box_at(0.01), 0.7), Claim(1, box_at(9.0), 0.9)]) == ()


def test_a_thing_and_what_it_stands_on_are_two_things() -> None:
    mug, table = Box3D((0.0, 0.0, 0.05), (0.08, 0.08, 0.1), 0.0, 1), Box3D((0.3, 0.2, -0.3), (1.2, 0.8, 0.7), 0.0, 1)
    assert not same_thing(mug, table)
    assert not same_thing(mug, replace(mug, center=(0.12, 0.0, 0.05)))  # and so are two mugs side by side
    assert same_thing(mug, replace(mug, center=(0.04, 0.0, 0.05)))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-3, 3), st.floats(0.05, 2), st.floats(0, 1)), max_size=8))
def test_a_group_has_one_claim_of_a_view_and_all_agree_with_one_of_them(rows) -> None:
    claims = [Claim(view, box_at(x, side), sure) for view, x, side, sure in rows]
    group = agreeing(claims)
    views = [claims[i].view for i in group]
    assert len(set(views)) == len(views)
    assert [claims[i].confidence for i in group] == sorted((claims[i].confidence for i in group), reverse=True)
    if group:
        assert any(all(i == j or same_thing(claims[i].box, claims[j].box) for j in group) for i in group)
    several = any(a.view != b.view and same_thing(a.box, b.box) for a, b in combinations(claims, 2))
    assert (len(group) >= 2) == several
    assert bool(group) == (several or len({claim.view for claim in claims}) == 1)


PROBABILITY = st.floats(0.01, 1.0)


SURE = st.lists(PROBABILITY, min_size=1, max_size=4)


@given(PROBABILITY, SURE, st.integers(0, 3), st.floats(0, 1), st.floats(0.01, 3))
def test_confidence_is_in_0_to_1_and_moves_the_way_it_is_said_to(when, where, other, spread_m, side) -> None:
    agree, views = len(where), len(where) + other
    size = (side, 2.0 * side, side)
    sure = confidence(when, where, agree, views, spread_m, size)
    assert 0.0 < sure < 1.0
    assert confidence(0.9 * when, where, agree, views, spread_m, size) < sure
    assert confidence(when, [0.9 * where[0], *where[1:]], agree, views, spread_m, size) < sure
    assert confidence(when, where, agree, views + 1, spread_m, size) < sure
    assert confidence(when, where, agree, views, spread_m + 0.01, size) < sure
    assert confidence(when, where, agree, views, spread_m, (1.1 * side, 2.0 * side, side)) >= sure * (1 - 1e-12)
    if other:
        assert confidence(when, where, agree + 1, views, spread_m, size) > sure


def test_confidence_follows_its_formula() -> None:
    assert confidence(1.0, [1.0], 1, 1, 0.0, (1.0, 1.0, 1.0)) == 0.5
    expected = 0.8 * math.sqrt(0.4 * 0.9) * 2.0 / 4.0 * 0.2 / (0.2 + 0.05)
    assert confidence(0.8, [0.4, 0.9], 2, 3, 0.05, (0.1, 0.4, 0.2)) == pytest.approx(expected)
    assert confidence(0.8, [0.0, 0.9], 2, 3, 0.05, (0.1, 0.4, 0.2)) == 0.0
    assert confidence(0.8, [], 0, 3, 0.05, (0.1, 0.4, 0.2)) == 0.0


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True), st.floats(0, 30), st.floats(0.1, 30))
def test_candidates_lie_in_the_window_are_spread_over_it_and_there_is_always_one(times, start, length) -> None:
    def seconds(time: int) -> float:
        return time / 10.0

    window = (start, start + length)
    chosen = candidates(times, window, seconds)  # type: ignore[arg-type, type-var]
    inside = sorted(t for t in times if window[0] <= seconds(t) <= window[1])
    assert len(chosen) == max(1, min(MOST_FRAMES, len(inside)))
    if inside:
        assert set(chosen) <= set(inside)
        assert len(set(chosen)) == len(chosen)
        ranks = [sorted(chosen).index(time) for time in chosen]
        from_middle = [abs(rank - (len(chosen) - 1) / 2) for rank in ranks]
        assert from_middle == sorted(from_middle)
        assert (min(chosen), max(chosen)) == (inside[0], inside[-1])
    else:
        away = [max(window[0] - seconds(t), seconds(t) - window[1]) for t in times]
        assert max(window[0] - seconds(chosen[0]), seconds(chosen[0]) - window[1]) == min(away)
    more = further(times, window, seconds, chosen)  # type: ignore[arg-type, type-var]
    assert len(more) == len(times) - len(chosen)
    assert not set(more) & set(chosen)
    if more:
        off = [max(window[0] - seconds(t), seconds(t) - window[1], 0.0) for t in more]
        left = [max(window[0] - seconds(t), seconds(t) - window[1], 0.0) for t in set(times) - set(chosen)]
        assert off == sorted(left)[: len(off)]
