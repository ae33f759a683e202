from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.box_room import SMALL, frame_at, turn

from scene_r1.keyframes import KeyframeSelector, SelectionSettings
from scene_r1.memory import SceneMemory
from scene_r1.stream import remember, stream

EAGER = SelectionSettings(c=0.05, c_at_once=0.05, patience=1, swaps_per_1000=None, fill=0.0)


def frames(count=60, lost=()):
    return [frame_at(i, T, SMALL, posed=i not in lost) for i, T in enumerate(turn(count))]


def test_memory_and_selector_hold_the_same_frames_at_every_step():
    selector, memory = KeyframeSelector(5, EAGER), SceneMemory(jpeg_quality=None)
    decisions = []
    for decision in stream(frames(lost=(3, 4, 50)), selector, memory):
        decisions.append(decision)
        assert tuple(k.index for k in memory) == selector.keyframes
    assert [d.index for d in decisions] == [*range(60), -1]  # the last settles the candidate
    assert selector.if_settled == selector.keyframes
    assert selector.counters.evicted > 0
    assert selector.counters.without_pose == 3
    assert len(memory) == 5


def test_what_is_remembered_is_the_frame_itself():
    selector, memory = KeyframeSelector(4), SceneMemory(jpeg_quality=None)
    recording = frames(30)
    for _ in stream(recording, selector, memory):
        pass
    for keyframe in memory:
        assert np.array_equal(keyframe.frame().depth_raw, recording[keyframe.index].depth_raw)
        assert np.array_equal(keyframe.frame().color, recording[keyframe.index].color)


@pytest.mark.parametrize("places", [0.5, 1.5, 3.5])
def test_they_stay_in_step_when_the_memory_refuses(places):
    one = SceneMemory(jpeg_quality=None).put(frames(1)[0]).nbytes
    selector, memory = KeyframeSelector(5, EAGER), SceneMemory(int(places * one), jpeg_quality=None)
    refused = 0
    for decision in stream(frames(), selector, memory):
        kept = tuple(k.index for k in memory)
        assert kept == selector.keyframes
        assert decision.inserted is None or decision.inserted.index in kept
        assert decision.evicted is None or decision.evicted not in kept
        assert memory.nbytes <= memory.max_bytes
        refused = selector.counters.forgotten
    assert refused > 0
    assert len(memory) <= places
    counters = selector.counters
    assert counters.inserted - counters.evicted - counters.forgotten == len(selector.keyframes)


def test_a_refused_swap_gives_up_the_keyframe_it_was_to_replace_and_goes_on():
    """The newcomer is a picture of noise, which compresses to more than there is room for."""
    calm = [replace(f, color=np.full_like(f.color, 128)) for f in frames(40)]
    one = max(SceneMemory().put(f).nbytes for f in calm)
    rng = np.random.default_rng(0)
    selector, memory = KeyframeSelector(2, EAGER), SceneMemory(2 * one + 500)
    seen_refusal = False
    for i, frame in enumerate(calm):
        loud = i % 3 == 2
        noisy = replace(frame, color=rng.integers(0, 256, frame.color.shape, dtype=np.uint8)) if loud else frame
        decision, last = stream([noisy], selector, memory)
        assert last.inserted is None
        assert tuple(k.index for k in memory) == selector.keyframes
        if loud and decision.evicted is not None and decision.inserted is None:
            seen_refusal = True
    assert seen_refusal
    assert selector.counters.forgotten > 0


def test_a_stream_is_read_one_frame_at_a_time():
    taken = []

    def source():
        for frame in frames(10):
            taken.append(frame.index)
            yield frame

    steps = stream(source(), KeyframeSelector(3), SceneMemory())
    next(steps)
    assert taken == [0]
    next(steps)
    assert taken == [0, 1]


def test_an_error_of_the_source_comes_through_and_what_was_kept_stays():
    def source():
        yield from frames(10)
        raise OSError("the cable")

    selector, memory = KeyframeSelector(3), SceneMemory()
    steps = stream(source(), selector, memory)
    with pytest.raises(OSError, match="the cable"):
        list(steps)
    assert tuple(k.index for k in memory) == selector.keyframes != ()


def test_remembering_a_recording_hands_back_the_frames_asked_for():
    recording, counted = frames(12), []
    selector, memory = KeyframeSelector(3), SceneMemory()
    also = remember(recording, selector, memory, also={2, 7, 99}, on_frame=lambda: counted.append(1))
    assert set(also) == {2, 7}
    assert also[7] is recording[7]
    assert len(counted) == 12
    assert tuple(k.index for k in memory) == selector.keyframes
