"""Prompts and pictures in SAM2's own terms: what the mask decoder and the image encoder are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scene_r1_engines.errors import BadPrompt
from scene_r1_engines.sam2.picture import smoothed, to_square
from scene_r1_engines.sam2.prompt_points import ModelPrompt, model_prompt, outlined
from scene_r1_engines.view import Prompt

HW = (120, 160)
SIDE = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def asked(prompt: Prompt, hw: tuple[int, int] = HW, most_points: int = 16) -> ModelPrompt:
    return model_prompt(prompt, hw, SIDE, most_points, "view 7")


def points(*xy: tuple[float, float], labels: tuple[int, ...] | None = None) -> Prompt:
    said = (1,) * len(xy) if labels is None else labels
    return Prompt(points_xy=np.array(xy, np.float32).reshape(-1, 2), points_label=np.array(said, np.int8))


def block(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros(HW, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_box_is_two_corners_and_a_point_of_padding() -> None:
    box = asked(Prompt(xyxy=(16.0, 12.0, 80.0, 60.0)))
    assert box.labels.tolist() == [2, 3, -1]
    assert np.allclose(box.coords, [[25.6, 25.6], [128.0, 128.0], [0.0, 0.0]])
    assert box.said == 2
    assert box.mask_in is None
    assert box.drawn is None


def test_points_follow_the_corners_of_the_box() -> None:
    prompt = Prompt((16.0, 12.0, 80.0, 60.0), np.array([[40, 30], [2, 2]], np.float32), np.array([1, 0], np.int8))
    both = asked(prompt)
    assert both.labels.tolist() == [2, 3, 1, 0, -1]
    assert both.said == 4
    assert np.allclose(both.coords[2], [64.0, 64.0])


def test_a_box_that_reaches_out_of_the_picture_is_clipped() -> None:
    inside = asked(Prompt(xyxy=(0.0, 0.0, 160.0, 60.0)))
    assert np.array_equal(asked(Prompt(xyxy=(-50.0, -1e9, 4000.0, 60.0))).coords, inside.coords)


def test_a_mask_alone_is_the_answer_and_with_a_box_a_guess() -> None:
    mask = block(40, 30, 80, 60)
    alone, both = asked(Prompt(mask=mask)), asked(Prompt(xyxy=(38.0, 28.0, 84.0, 62.0), mask=mask))
    assert alone.drawn is not None
    assert alone.drawn.shape == (SIDE, SIDE)
    assert set(np.unique(alone.drawn)) == {0.0, 1.0}
    assert abs(alone.drawn.mean() - mask.mean()) < 0.005
    assert alone.mask_in is None
    assert both.drawn is None
    assert both.mask_in is not None
    assert both.mask_in.shape == (SIDE // 4, SIDE // 4)
    assert both.mask_in.min() == -10.0
    assert both.mask_in.max() == 10.0
    assert abs((both.mask_in > 0).mean() - mask.mean()) < 0.01


def test_the_outline_of_a_mask_is_its_box() -> None:
    prompt = outlined(Prompt(mask=block(40, 30, 80, 60)))
    assert prompt.xyxy == (40.0, 30.0, 80.0, 60.0)
    assert prompt.mask is not None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 159), st.integers(0, 119))
def test_a_mask_of_one_pixel_anywhere_can_be_outlined(x: int, y: int) -> None:
    box = asked(outlined(Prompt(mask=block(x, y, x + 1, y + 1))))
    assert box.said == 2
    (x0, y0), (x1, y1) = box.coords[:2] * np.array([160, 120]) / SIDE
    assert x0 - 1e-3 <= x < x1 + 1e-3
    assert y0 - 1e-3 <= y < y1 + 1e-3


def test_what_has_a_box_or_points_is_not_outlined_anew() -> None:
    mask = block(40, 30, 80, 60)
    boxed = Prompt(xyxy=(1.0, 2.0, 30.0, 40.0), mask=mask)
    pointed = Prompt(mask=mask, points_xy=np.ones((1, 2), np.float32), points_label=np.ones(1, np.int8))
    assert outlined(boxed) is boxed
    assert outlined(pointed) is pointed
    nowhere = Prompt(mask=mask, points_xy=np.zeros((0, 2), np.float32), points_label=np.zeros(0, np.int8))
    assert outlined(nowhere).xyxy is not None


BAD = {
    "a box beside the image": (Prompt(xyxy=(170.0, 10.0, 190.0, 50.0)), "box"),
    "a box above it": (Prompt(xyxy=(10.0, -60.0, 50.0, -5.0)), "box"),
    "a sliver of a box": (Prompt(xyxy=(10.0, 10.0, 11.0, 50.0)), "box"),
    "a point to the left": (points((-4.0, 50.0)), "point"),
    "a point below": (points((50.0, 124.0)), "point"),
    "no points": (points(), "no points"),
    "points that are all beside it": (points((4.0, 50.0), labels=(0,)), "label 1"),
    "a label without a meaning": (points((4.0, 50.0), labels=(5,)), "label"),
    "too many points": (points(*[(4.0, 50.0)] * 16), "too many"),
    "an empty mask": (Prompt(mask=np.zeros(HW, np.bool_)), "empty"),
    "a mask of another image": (Prompt(mask=np.ones((60, 80), np.bool_)), "80x60"),
    "a mask turned on its side": (Prompt(mask=np.ones((160, 120), np.bool_)), "120x160"),
    "an empty mask with a box": (Prompt((1.0, 1.0, 9.0, 9.0), mask=np.zeros(HW, np.bool_)), "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_prompt_that_is_not_in_the_image_is_refused_by_the_name_of_its_view(name: str) -> None:
    prompt, word = BAD[name]
    with pytest.raises(BadPrompt, match=word) as error:
        asked(prompt)
    assert str(error.value).startswith("view 7: ")


def test_a_point_that_becomes_nan_after_it_was_checked_is_refused() -> None:
    prompt = points((4.0, 50.0))
    assert prompt.points_xy is not None
    prompt.points_xy[0, 0] = np.nan
    with pytest.raises(BadPrompt, match="nan"):
        asked(prompt)


def test_a_mask_too_thin_for_the_model_is_refused_and_not_an_empty_answer() -> None:
    thin = np.zeros((2000, 2000), np.bool_)
    thin[7] = True
    with pytest.raises(BadPrompt, match="too thin"):
        asked(Prompt(mask=thin), (2000, 2000))


corner = st.floats(-1e4, 1e4, width=32)


@settings(deadline=None, max_examples=60)
@given(corner, corner, st.floats(0.0, 1e4, width=32), st.floats(0.0, 1e4, width=32))
def test_any_box_is_refused_or_lies_in_the_model_s_square(x: float, y: float, w: float, h: float) -> None:
    if x + w <= x or y + h <= y:
        return
    try:
        box = asked(Prompt(xyxy=(x, y, x + w, y + h)))
    except BadPrompt:
        assert min(min(x + w, 160.0) - max(x, 0.0), min(y + h, 120.0) - max(y, 0.0)) < 2.0
        return
    assert (box.coords >= 0.0).all()
    assert (box.coords <= SIDE).all()
    assert (box.coords[1] > box.coords[0]).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_a_picture_is_fed_as_the_official_loader_does(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    square = to_square(image, 64, MEAN, STD)
    theirs = np.array(Image.fromarray(image).convert("RGB").resize((64, 64))) / 255.0
    want = theirs.astype(np.float32).transpose(2, 0, 1)
    want -= np.array(MEAN, np.float32)[:, None, None]
    want /= np.array(STD, np.float32)[:, None, None]
    assert square.dtype == np.float32
    assert square.shape == (1, 3, 64, 64)
    assert np.array_equal(square[0], want)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 80), st.integers(2, 80), st.integers(2, 80), st.integers(2, 80), st.integers(0, 2**32 - 1))
def test_masks_are_resized_as_torch_does_with_antialiasing(h: int, w: int, to_h: int, to_w: int, seed: int) -> None:
    torch = pytest.importorskip("torch")
    plane = np.random.default_rng(seed).random((h, w), np.float32)
    want = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None, None], (to_h, to_w), mode="bilinear", align_corners=False, antialias=True
    )
    assert np.allclose(smoothed(plane, to_h, to_w), want[0, 0].numpy(), atol=2e-5)
