from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.box_room import frame_at, look
from tests.runtime.recorded_frames import DISTORTED, SMALL_DEPTH, make_frames, same

from scene_r1.memory import OVERHEAD_BYTES, SceneMemory
from scene_r1_engines.errors import BadConfig, BadFrame, BudgetExceeded
from scene_r1_engines.intrinsics import Intrinsics

AT = look((0.2, -1.4, 1.4), (-0.3, 1.0, 0.7))


def state(memory):
    return memory.nbytes, [(k.index, k.color, k.depth) for k in memory]


@pytest.mark.parametrize("quality", [None, 92, 1, 100])
def test_depth_comes_back_bit_for_bit_whatever_the_colour(quality):
    memory = SceneMemory(jpeg_quality=quality)
    for frame in make_frames(4, seed=1, depth_scale=1e-4, lost=(2,)):
        memory.put(frame)
        same(memory[frame.index].frame(), frame, color=quality is None)


def test_colour_is_exact_raw_and_close_as_jpeg():
    frame = frame_at(3, AT)
    raw, jpeg = (SceneMemory(jpeg_quality=q).put(frame) for q in (None, 92))
    assert np.array_equal(raw.frame().color, frame.color)
    error = np.abs(jpeg.frame().color.astype(int) - frame.color)
    assert error.mean() < 8.0  # a pattern of one or two pixels: the worst that JPEG can meet
    assert (raw.color_coding, jpeg.color_coding) == ("raw", "jpeg")
    red = replace(frame, color=np.broadcast_to(np.array([200, 40, 10], np.uint8), frame.color.shape))
    back = SceneMemory().put(red).frame().color.reshape(-1, 3).mean(axis=0)
    assert np.abs(back - (200, 40, 10)).max() < 6  # red stays red: channels are not swapped


def test_two_cameras_with_lenses_survive():
    T = np.eye(4)
    T[:3, 3] = (0.015, 0.0, -0.003)
    frames = make_frames(2, color=DISTORTED, depth=SMALL_DEPTH, T_color_depth=T)
    memory = SceneMemory(jpeg_quality=None)
    for frame in frames:
        memory.put(replace(frame, received_ns=77))
        back = memory[frame.index].frame()
        same(back, frame)
        assert back.received_ns == 77
        assert not back.one_camera


def test_one_pixel_is_a_keyframe_too():
    dot = Intrinsics(1.0, 1.0, 0.0, 0.0, 1, 1)
    (frame,) = make_frames(1, color=dot, depth=dot)
    same(SceneMemory(jpeg_quality=None).put(frame).frame(), frame)
    same(SceneMemory().put(frame).frame(), frame, color=False)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), room=st.integers(0, 60_000), quality=st.sampled_from([None, 50, 92]))
def test_the_cap_is_never_passed_and_a_refusal_changes_nothing(seed, room, quality):
    rng = np.random.default_rng(seed)
    memory = SceneMemory(room + 1, quality)
    refused = 0
    for frame in make_frames(25, seed=seed % 100):
        held = [k.index for k in memory]
        leaving = int(rng.choice(held)) if held and rng.random() < 0.5 else None
        before = state(memory)
        try:
            keyframe = memory.put(frame, in_place_of=leaving)
        except BudgetExceeded:
            refused += 1
            assert state(memory) == before
        else:
            assert frame.index in memory
            assert leaving is None or leaving not in memory
            assert keyframe.nbytes == len(keyframe.color) + len(keyframe.depth) + OVERHEAD_BYTES
        assert memory.nbytes == sum(k.nbytes for k in memory) <= memory.max_bytes
    assert len(memory) > 0 or refused == 25


def test_the_default_cap_holds_sixteen_keyframes_of_pure_noise():
    camera = Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480)
    (frame,) = make_frames(1, color=camera, depth=camera)
    memory = SceneMemory()
    for i in range(16):
        memory.put(replace(frame, index=i))
    assert memory[0].nbytes < 1.6 * (1 << 20)
    assert memory.nbytes <= 32 << 20


def test_a_replacement_needs_room_only_for_the_difference():
    first, second = make_frames(2)
    exact = SceneMemory(jpeg_quality=None).put(first).nbytes
    memory = SceneMemory(exact + 200, jpeg_quality=None)
    memory.put(first)
    with pytest.raises(BudgetExceeded, match=f"frame 1 takes .* of {exact + 200} are taken"):
        memory.put(second)
    memory.put(second, in_place_of=first.index)
    assert [k.index for k in memory] == [second.index]


def test_a_frame_is_held_once():
    (frame,) = make_frames(1)
    memory = SceneMemory()
    memory.put(frame)
    before = state(memory)
    with pytest.raises(BadFrame, match="frame 0 is a keyframe already"):
        memory.put(frame)
    assert state(memory) == before


def test_what_is_not_held_cannot_be_taken_out():
    a, b = make_frames(2)
    memory = SceneMemory()
    memory.put(a)
    before = state(memory)
    for wrong in (lambda: memory[9], lambda: memory.remove(9), lambda: memory.put(b, in_place_of=9)):
        with pytest.raises(KeyError):
            wrong()
        assert state(memory) == before
    memory.remove(0)
    assert (len(memory), memory.nbytes) == (0, 0)


def test_keyframes_come_in_order_of_time():
    frames = make_frames(5)
    memory = SceneMemory()
    for i in (3, 0, 4, 1):
        memory.put(frames[i])
    assert [k.index for k in memory] == [0, 1, 3, 4]
    for keyframe in memory:  # leaving one out while looking at them is fine
        memory.remove(keyframe.index)
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("bad", "named"),
    [({"max_bytes": 0}, "max_bytes"), ({"max_bytes": -5}, "max_bytes"), ({"jpeg_quality": 0}, "jpeg_quality"),
     ({"jpeg_quality": 101}, "jpeg_quality")],
)  # fmt: skip
def test_impossible_settings_are_refused(bad, named):
    with pytest.raises(BadConfig, match=named):
        SceneMemory(**bad)
