"""Times of a running camera: repeats and jumps of its clock are found, and what is handed out only goes forward."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scene_r1.live.timeline import Mark, Placed, Timeline

MS = 1_000_000
SECOND = 1000 * MS
HOUR = 3600 * SECOND
PERIOD = 33 * MS
CLOCK = "hardware_clock"


def steady(
    timeline: Timeline, count: int, number: int = 0, device_ns: int = 7 * SECOND, host_ns: int = 0
) -> list[Placed]:
    placed = [
        timeline.place(number + i, device_ns + i * PERIOD, CLOCK, host_ns + i * PERIOD + 5 * MS) for i in range(count)
    ]
    assert all(placed)
    return [one for one in placed if one is not None]


def test_a_steady_clock_is_handed_out_as_it_is() -> None:
    timeline = Timeline()
    assert steady(timeline, 3) == [Placed(7 * SECOND + i * PERIOD, 0, 0) for i in range(3)]
    assert (timeline.duplicates, timeline.stale, timeline.clock_jumps) == (0, 0, 0)


@pytest.mark.parametrize(("number", "device_ns"), [(2, 7 * SECOND + 3 * PERIOD), (3, 7 * SECOND + 2 * PERIOD)])
def test_the_same_number_or_the_same_time_again_is_a_duplicate(number: int, device_ns: int) -> None:
    timeline = Timeline()
    steady(timeline, 3)
    assert timeline.place(number, device_ns, CLOCK, 3 * PERIOD) is None
    assert timeline.duplicates == 1


def test_an_older_frame_that_comes_late_is_stale_however_often() -> None:
    timeline = Timeline()
    steady(timeline, 9)
    for number in (4, 5, 6):
        assert timeline.place(number, 7 * SECOND + number * PERIOD + 1, CLOCK, 9 * PERIOD) is None
    assert (timeline.stale, timeline.clock_jumps) == (3, 0)
    assert steady(timeline, 3, 9, 7 * SECOND + 9 * PERIOD, 9 * PERIOD)[0].segment == 0


@pytest.mark.parametrize("jump", [HOUR, -HOUR, -200 * MS, 2 * SECOND, -7 * SECOND, -(2**32) * 1000])
def test_a_jump_that_lasts_costs_one_frame_and_begins_a_segment(jump: int) -> None:
    timeline = Timeline()
    before = steady(timeline, 5)
    assert timeline.place(5, 7 * SECOND + 5 * PERIOD + jump, CLOCK, 5 * PERIOD) is None
    after = steady(timeline, 3, 6, 7 * SECOND + 6 * PERIOD + jump, 6 * PERIOD)
    assert timeline.clock_jumps == 1
    assert [one.segment for one in after] == [1, 1, 1]
    assert after[0].timestamp_ns - before[-1].timestamp_ns == 2 * PERIOD
    assert after[1].timestamp_ns - after[0].timestamp_ns == PERIOD


def test_a_single_odd_time_is_left_out_and_begins_nothing() -> None:
    timeline = Timeline()
    steady(timeline, 5)
    assert timeline.place(5, HOUR, CLOCK, 5 * PERIOD) is None
    assert [one.segment for one in steady(timeline, 3, 6, 7 * SECOND + 6 * PERIOD, 6 * PERIOD)] == [0, 0, 0]


def test_a_change_of_domain_begins_a_segment_at_once() -> None:
    timeline = Timeline()
    before = steady(timeline, 2)[-1]
    after = timeline.place(2, 1_700_000_000 * SECOND, "global_time", 2 * PERIOD + 5 * MS)
    assert after == Placed(before.timestamp_ns + PERIOD, 1, 0)
    assert timeline.clock_jumps == 1


def test_a_pause_and_a_host_that_was_late_are_no_jumps() -> None:
    timeline = Timeline()
    steady(timeline, 5)
    paused = timeline.place(5, 7 * SECOND + 20 * SECOND, CLOCK, 20 * SECOND + 5 * MS)
    assert paused == Placed(27 * SECOND, 0, 0)
    late = timeline.place(6, 27 * SECOND + PERIOD, CLOCK, 24 * SECOND)
    assert late is not None
    assert late.lag_ns == pytest.approx(4 * SECOND - PERIOD - 5 * MS, abs=30 * MS)
    on_time = timeline.place(7, 31 * SECOND, CLOCK, 24 * SECOND + 5 * MS)
    assert on_time == Placed(31 * SECOND, 0, 0)
    assert timeline.clock_jumps == 0


def test_two_clocks_that_drift_apart_never_look_like_a_lag() -> None:
    timeline = Timeline()
    for i in range(20_000):
        placed = timeline.place(i, round(i * PERIOD * (1.0 - 5e-5)), CLOCK, i * PERIOD)
        assert placed is not None
        assert placed.lag_ns < MS


def test_a_recordings_own_times_need_not_run_as_the_hosts_clock() -> None:
    timeline = Timeline(recorded=True)
    times = [0, 5 * SECOND, HOUR, HOUR + 1]
    placed = [timeline.place(i, t, "recording", i * PERIOD) for i, t in enumerate(times)]
    assert placed == [Placed(t, 0, 0) for t in times]
    assert timeline.place(4, HOUR, "recording", 5 * PERIOD) is None
    assert timeline.stale == 1


@pytest.mark.parametrize(("device_ns", "segment"), [(7 * SECOND + 30 * SECOND, 0), (0, 1), (HOUR, 1)])
def test_after_a_loss_time_goes_on_with_the_old_clock_or_with_the_hosts(device_ns: int, segment: int) -> None:
    timeline = Timeline()
    last = steady(timeline, 3)[-1]
    mark = timeline.mark
    assert mark is not None
    again = Timeline(after=mark)
    assert again.mark == mark
    first = again.place(0, device_ns, CLOCK, 30 * SECOND)
    assert first is not None
    assert first.segment == segment
    assert 29 * SECOND < first.timestamp_ns - last.timestamp_ns < 31 * SECOND


steps = st.tuples(
    st.integers(-3, 40),
    st.one_of(st.integers(0, 80 * MS), st.integers(-2 * HOUR, 2 * HOUR)),
    st.sampled_from([CLOCK, CLOCK, CLOCK, "system_time"]),
    st.integers(0, 3 * SECOND),
)


@given(st.lists(steps, max_size=60), st.booleans(), st.none() | st.builds(Mark, *[st.integers(-HOUR, HOUR)] * 4))
def test_whatever_a_camera_says_time_goes_forward_and_every_frame_is_counted(
    said: list[tuple[int, int, str, int]], recorded: bool, after: Mark | None
) -> None:
    host_ns = HOUR if after is None else after.received_ns
    number = device_ns = 0
    timeline = Timeline(recorded, after)
    out = []
    for number_step, device_step, domain, host_step in said:
        number, device_ns, host_ns = number + number_step, device_ns + device_step, host_ns + host_step
        placed = timeline.place(number, device_ns, domain, host_ns)
        if placed is not None:
            out.append(placed)
    if not recorded:
        assert all(b.timestamp_ns > a.timestamp_ns for a, b in pairwise(out))
        assert after is None or not out or out[0].timestamp_ns > after.timestamp_ns
    assert all(b.segment >= a.segment and a.lag_ns >= 0 for a, b in pairwise(out))
    left_out = timeline.duplicates + timeline.stale + timeline.clock_jumps
    assert len(said) - len(out) <= left_out <= len(said)
