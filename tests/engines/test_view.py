import numpy as np
import pytest

from scene_r1_engines.errors import BadFrame, BadInput, BadPrompt
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.view import Masks, Prompt, View, read_only

CAMERA = Intrinsics(20.0, 20.0, 7.5, 5.5, 16, 12)
IMAGE = np.zeros((12, 16, 3), np.uint8)
DEPTH = np.ones((12, 16), np.float32)


def test_a_view_holds_what_it_is_given():
    view = View(3, IMAGE, DEPTH, CAMERA, np.eye(4))
    assert view.image is IMAGE
    assert view.depth_m is DEPTH
    assert View(3, IMAGE, None, CAMERA).T_world_camera is None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("image", np.zeros((12, 16), np.uint8), r"image must be \(12, 16, 3\) uint8.*got \(12, 16\)"),
        ("image", np.zeros((16, 12, 3), np.uint8), r".*got \(16, 12, 3\)"),
        ("image", np.zeros((12, 16, 4), np.uint8), r".*got \(12, 16, 4\)"),
        ("image", np.zeros((12, 16, 3), np.float32), ".*got .* float32"),
        ("image", [[0]], "image must be .* got list"),
        ("image", None, "image must be .* got NoneType"),
        ("depth_m", np.zeros((12, 16), np.float64), "depth_m must be .* float64"),
        ("depth_m", np.zeros((12, 16), np.uint16), "depth_m must be .* uint16"),
        ("depth_m", np.zeros((6, 8), np.float32), r"depth_m must be .* \(6, 8\)"),
        ("depth_m", [1.0], "depth_m must be .* got list"),
        ("T_world_camera", np.eye(3), r"T_world_camera must be .* \(3, 3\)"),
        ("T_world_camera", np.eye(4).tolist(), "T_world_camera must be .* got list"),
    ],
)
def test_a_view_that_does_not_fit_its_camera_is_refused(field, value, said):
    fields = {"image": IMAGE, "depth_m": DEPTH, "T_world_camera": np.eye(4), field: value}
    with pytest.raises(BadFrame, match=f"view 7: {said}"):
        View(7, intrinsics=CAMERA, **fields)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({}, "needs a box"),
        ({"xyxy": (0.0, 0.0, 0.0, 5.0)}, "x1 > x0"),
        ({"xyxy": (5.0, 5.0, 4.0, 9.0)}, "x1 > x0"),
        ({"xyxy": (0.0, 5.0, 4.0, 5.0)}, "y1 > y0"),
        ({"xyxy": (0.0, 0.0, np.nan, 5.0)}, "finite"),
        ({"xyxy": (0.0, 0.0, np.inf, 5.0)}, "finite"),
        ({"xyxy": (0.0, 0.0, 5.0)}, "four numbers"),
        ({"xyxy": (0.0, 0.0, 5.0, 5.0, 5.0)}, "four numbers"),
        ({"points_xy": np.zeros((2, 3), np.float32), "points_label": np.ones(2, np.int8)}, "points_xy must be"),
        ({"points_xy": np.zeros(2, np.float32), "points_label": np.ones(1, np.int8)}, "points_xy must be"),
        ({"points_xy": np.zeros((2, 2), np.float32)}, "points_label must be"),
        ({"points_xy": np.zeros((2, 2), np.float32), "points_label": np.ones(3, np.int8)}, "points_label must be"),
        ({"points_xy": np.full((2, 2), np.nan, np.float32), "points_label": np.ones(2, np.int8)}, "finite"),
        ({"xyxy": (0.0, 0.0, 5.0, 5.0), "points_label": np.ones(3, np.int8)}, "without points"),
        ({"mask": np.zeros((12, 16), np.uint8)}, "mask prompt must be .* uint8"),
        ({"mask": np.zeros((1, 12, 16), bool)}, "mask prompt must be"),
    ],
)
def test_a_prompt_that_says_nothing_or_nonsense_is_refused(prompt, said):
    with pytest.raises(BadPrompt, match=said):
        Prompt(**prompt)


def test_any_one_of_box_points_and_mask_is_a_prompt():
    Prompt(xyxy=(1.0, 2.0, 1.5, 2.5))
    Prompt(points_xy=np.zeros((1, 2), np.float32), points_label=np.ones(1, np.int8))
    Prompt(mask=np.zeros((12, 16), bool))


def test_masks_have_one_score_each_and_may_be_none():
    assert len(Masks(1, np.zeros((0, 12, 16), bool), np.zeros(0, np.float32))) == 0
    assert len(Masks(1, np.zeros((2, 12, 16), bool), np.zeros(2, np.float32))) == 2


@pytest.mark.parametrize(
    ("masks", "scores", "said"),
    [
        (np.zeros((12, 16), bool), np.zeros(1, np.float32), "masks must be"),
        (np.zeros((1, 12, 16), np.uint8), np.zeros(1, np.float32), "masks must be .* uint8"),
        (np.zeros((2, 12, 16), bool), np.zeros(1, np.float32), r"scores must be \(2,\)"),
        (np.zeros((1, 12, 16), bool), np.zeros((1, 1), np.float32), r"scores must be \(1,\)"),
    ],
)
def test_masks_of_another_shape_are_refused(masks, scores, said):
    with pytest.raises(BadFrame, match=said):
        Masks(1, masks, scores)


def test_each_mask_says_by_what_it_was_found_or_nothing_is_said():
    masks, scores = np.zeros((2, 12, 16), bool), np.zeros(2, np.float32)
    assert Masks(1, masks, scores).found_by == ("", "")
    assert Masks(1, masks, scores, ("prompt", "")).found_by == ("prompt", "")
    assert Masks(1, masks[:0], scores[:0]).found_by == ()
    for wrong in (("prompt",), ("memory",) * 3, ("hint", "guess")):
        with pytest.raises(BadFrame, match="found_by must be 2 of 'prompt', 'memory', 'hint', ''"):
            Masks(1, masks, scores, wrong)


def test_the_errors_are_bad_input_and_value_errors():
    with pytest.raises(BadInput) as caught:
        Prompt()
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 2


def test_read_only_arrays_cannot_be_written():
    array = np.zeros(3)
    read_only(array)
    with pytest.raises(ValueError):
        array[0] = 1.0
