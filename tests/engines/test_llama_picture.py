"""Pictures as the model is shown them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.tiny_llama import picture

from scene_r1_engines.errors import BadFrame
from scene_r1_engines.llama.picture import WIDEST, check_picture, digest, fit, resized

sides = st.integers(28, 4000)


@given(height=sides, width=sides, most=st.integers(16, 4096))
def test_a_picture_becomes_whole_patches_within_the_limits(height: int, width: int, most: int) -> None:
    if max(height, width) > 4 * min(height, width):
        return
    new_height, new_width = fit(height, width, 28, 4 * 784, most * 784)
    assert new_height % 28 == new_width % 28 == 0
    assert 4 * 784 <= new_height * new_width <= most * 784


@given(height=sides, width=sides)
def test_the_aspect_is_kept_to_within_one_patch(height: int, width: int) -> None:
    if max(height, width) > 3 * min(height, width):
        return
    new_height, new_width = fit(height, width, 28, 16 * 784, 1 << 26)
    scale = (new_height * new_width / (height * width)) ** 0.5
    assert abs(new_height - height * scale) <= 28
    assert abs(new_width - width * scale) <= 28


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [  # what Qwen's own smart_resize gives
        ((480, 640), (3136, 12845056), (476, 644)),
        ((968, 1296), (3136, 1003520), (840, 1148)),
        ((968, 1296), (3136, 12845056), (980, 1288)),
        ((480, 640), (6272, 200704), (364, 504)),
        ((10, 10), (6272, 200704), (84, 84)),
        ((14, 42), (784, 200704), (28, 56)),
    ],
)
def test_sizes_are_those_the_model_was_trained_with(
    size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fit(*size, 28, *limits) == expected


@pytest.mark.parametrize("size", [(1, WIDEST + 1), (WIDEST + 1, 1), (0, 5), (5, 0)])
def test_a_picture_that_is_a_line_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadFrame, match="aspect ratio"):
        fit(*size, 28, 3136, 200704)


def test_a_picture_is_stretched_over_all_of_its_patches_and_never_letterboxed() -> None:
    white = np.full((97, 333, 3), 255, np.uint8)
    for size in ((84, 84), (112, 28), (196, 560)):
        assert np.array_equal(resized(white, size), np.full((*size, 3), 255, np.uint8))


def test_resizing_smooths_before_it_drops_pixels() -> None:
    stripes = np.zeros((84, 840, 3), np.uint8)
    stripes[:, ::2] = 255
    middle = resized(stripes, (84, 84))[:, 10:-10]
    assert np.abs(middle.astype(int) - 127).max() <= 3  # without antialiasing these would be stripes again


def test_a_strided_view_gives_the_same_pixels_as_its_copy() -> None:
    whole = picture(0, 200, 300)
    view = whole[::2, ::-1]
    assert np.array_equal(resized(view, (56, 84)), resized(view.copy(), (56, 84)))
    assert np.array_equal(resized(view, (100, 300)), view)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        [[0, 0, 0]],
        None,
    ],
)
def test_anything_but_colour_bytes_is_refused_with_the_keyframe_named(image: object) -> None:
    with pytest.raises(BadFrame, match="keyframe 7"):
        check_picture(image, 7)


def test_a_digest_tells_pictures_apart_by_pixel_and_by_shape() -> None:
    one = picture(1, 56, 84)
    other = one.copy()
    other[3, 4, 1] ^= 1
    assert digest(one) == digest(one.copy()) == digest(np.asfortranarray(one))
    assert len({digest(one), digest(other), digest(one.reshape(84, 56, 3))}) == 3
