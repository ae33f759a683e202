"""Which keyframe goes through the vision tower, and when."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.tiny_llama import picture

from scene_r1_engines.errors import BadConfig, BadFrame, BadInput, BudgetExceeded
from scene_r1_engines.llama.model import Embedded
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.llama.watchlist import Watchlist
from scene_r1_engines.manifest import ImageRules

RULES = ImageRules(28, 784, 1 << 22, "abs_resized")
EMBEDDED = Embedded(np.zeros((1, 4), np.float32), 1, 1)


def watchlist(**settings: object) -> Watchlist:
    return Watchlist(LlamaSettings("a model", image_pixels=56 * 56, **settings), RULES)  # type: ignore[arg-type]


def test_a_keyframe_is_due_once_it_has_survived_and_not_before() -> None:
    held = watchlist(encode_after_s=2.0)
    held.add(1, picture(1), 10.0)
    assert held.due(11.99) is None
    one = held.due(12.0)
    assert one is not None
    assert one.keyframe_id == 1


def test_one_keyframe_is_due_in_each_second_of_the_stream() -> None:
    held = watchlist(keyframes=64, encode_after_s=2.0, encode_every_s=1.0)
    for number in range(40):
        held.add(number, picture(number), 0.1 * number)
    encoded_at = []
    for tick in range(200):
        now_s = tick * 0.1
        while (one := held.due(now_s)) is not None:
            held.note_encoded(one, EMBEDDED, now_s)
            encoded_at.append(now_s)
    assert len(encoded_at) == 18  # from 2.0 s to 19.0 s
    assert np.diff(encoded_at).min() >= 1.0 - 1e-9
    assert [one.keyframe_id for one in held.encoded()] == list(range(18))


def test_at_the_end_of_the_stream_all_are_due_the_oldest_first() -> None:
    held = watchlist()
    for number, time_s in ((5, 3.0), (6, 1.0), (7, 2.0)):
        held.add(number, picture(number), time_s)
    order = []
    while (one := held.due(None)) is not None:
        held.note_encoded(one, EMBEDDED, None)
        order.append(one.keyframe_id)
    assert order == [6, 7, 5]


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0, 50)), max_size=8, unique_by=lambda one: one[0]))
def test_keyframes_stand_in_order_of_their_time_whatever_order_they_come_in(given: list[tuple[int, float]]) -> None:
    held = watchlist()
    for number, time_s in given:
        held.add(number, picture(number % 3), time_s)
    expected = [number for time_s, number in sorted((time_s, number) for number, time_s in given)]
    assert [one.keyframe_id for one in held.pending()] == expected


def test_the_pictures_held_are_copies_of_the_callers() -> None:
    held = watchlist()
    image = picture(0, 56, 56)  # of the very size that it is shown at
    held.add(1, image, 0.0)
    image[:] = 0
    pixels = held[1].picture
    assert pixels is not None
    assert pixels.any()


def test_a_picture_is_given_up_once_it_has_been_encoded() -> None:
    held = watchlist()
    held.add(1, picture(1), 0.0)
    held.note_encoded(held[1], EMBEDDED, 5.0)
    assert held[1].picture is None
    assert held.pending() == []


def test_one_keyframe_more_than_the_context_is_sized_for_is_refused() -> None:
    held = watchlist(keyframes=2)
    held.add(1, picture(1), 0.0)
    held.add(2, picture(2), 1.0)
    with pytest.raises(BudgetExceeded, match="forget one"):
        held.add(3, picture(3), 2.0)
    assert len(held) == 2
    assert held.last_s == 1.0
    held.remove(1)
    held.add(3, picture(3), 2.0)


@pytest.mark.parametrize("time_s", [math.nan, math.inf, -math.inf, -0.1, 1e7])
def test_a_time_that_no_answer_could_name_is_refused(time_s: float) -> None:
    held = watchlist()
    with pytest.raises(BadFrame, match="keyframe 1: timestamp_s"):
        held.add(1, picture(1), time_s)
    with pytest.raises(BadInput, match="now_s"):
        held.due(time_s)
    assert len(held) == 0
    assert held.last_s == 0.0


def test_a_keyframe_is_held_once_and_given_up_once() -> None:
    held = watchlist()
    held.add(1, picture(1), 0.0)
    with pytest.raises(BadFrame, match="keyframe 1 is held already"):
        held.add(1, picture(2), 1.0)
    held.remove(1)
    with pytest.raises(BadInput, match="keyframe 1 is not held"):
        held.remove(1)


def test_a_strip_that_takes_more_patches_than_the_context_has_room_for_is_refused() -> None:
    held = watchlist()
    with pytest.raises(BadFrame, match="does not fit"):
        held.add(1, picture(1, 10, 1900), 0.0)
    assert len(held) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keyframes": 0}, "keyframes"),
        ({"image_pixels": 100}, "image_pixels"),
        ({"kv_type": "q5_1"}, "q8_0"),
        ({"kv_type": "q4_0", "flash_attention": False}, "flash_attention"),
        ({"threads": 0}, "threads"),
        ({"batch": 8}, "batch"),
        ({"answer_tokens": 5000}, "answer_tokens"),
        ({"encode_after_s": math.nan}, "encode_after_s"),
        ({"encode_every_s": -1.0}, "encode_every_s"),
        ({"late_encodes": -1}, "late_encodes"),
        ({"gpu_layers": -2}, "gpu_layers"),
        ({"cache": " "}, "cache"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        LlamaSettings("a model", **settings)  # type: ignore[arg-type]
