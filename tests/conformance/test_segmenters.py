"""What every Segmenter promises, asked of each engine in the table in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.conformance.lent_sam2 import lent_engines

from scene_r1_engines import BadPrompt, EngineFailed, Intrinsics, Masks, Prompt, Segmenter, View
from scene_r1_engines.errors import BadConfig
from scene_r1_engines.segmenter import SEGMENTERS, open_segmenter

W, H = 160, 120
CAMERA = Intrinsics(140.0, 140.0, 79.5, 59.5, W, H)
THING = (-0.12, -0.1, 0.12, 0.1)
"""A red board, metres: left, top, right, bottom at z = 1 of view 0's camera; a grey wall stands at z = 2."""


def seen_from(x_m: float, id: int = 0, holes: bool = True) -> View:
    """The board seen by a camera that has moved sideways and looks the same way; a touch of noise in both images."""
    rng = np.random.default_rng(1000 + id)
    image = np.full((H, W, 3), (150, 150, 145), np.float64)
    depth = np.full((H, W), 2.0)
    x0, y0, x1, y1 = thing_xyxy(x_m)
    v, u = np.mgrid[:H, :W] + 0.5
    on = (u > x0) & (u < x1) & (v > y0) & (v < y1)
    image[on], depth[on] = (190, 40, 35), 1.0
    image += cv2.GaussianBlur(rng.normal(0.0, 12.0, (H, W, 3)), (0, 0), 1.5) + rng.normal(0.0, 2.0, (H, W, 3))
    depth += rng.normal(0.0, 0.002, (H, W)) * depth**2
    if holes:
        depth[rng.random((H, W)) < 0.02] = 0.0
    T = np.eye(4)
    T[0, 3] = x_m
    return View(id, np.clip(image, 0, 255).astype(np.uint8), depth.astype(np.float32), CAMERA, T)


def thing_xyxy(x_m: float) -> tuple[float, float, float, float]:
    """Where the board is in the picture: continuous pixel coordinates, as of `Prompt`."""
    x0, y0, x1, y1 = THING
    f, cx, cy = CAMERA.fx, CAMERA.cx + 0.5, CAMERA.cy + 0.5
    return f * (x0 - x_m) + cx, f * y0 + cy, f * (x1 - x_m) + cx, f * y1 + cy


def points(*xy: tuple[float, float], label: int = 1) -> Prompt:
    return Prompt(points_xy=np.array(xy, np.float32), points_label=np.full(len(xy), label, np.int8))


def rough_mask() -> np.ndarray:
    x0, y0, x1, y1 = (round(c) for c in thing_xyxy(0.0))
    mask = np.zeros((H, W), np.bool_)
    mask[y0 + 3 : y1 + 2, x0 + 3 : x1 + 2] = True
    return mask


PROMPTS = {
    "a box": Prompt(xyxy=thing_xyxy(0.0)),
    "a mask": Prompt(mask=rough_mask()),
    "points": points((79.5, 59.5), (72.0, 55.0)),
    "a box and a mask": Prompt(xyxy=thing_xyxy(0.0), mask=rough_mask()),
}
OUTSIDE = {
    "a box to the right": Prompt(xyxy=(W + 5.0, 10.0, W + 40.0, 50.0)),
    "a box above": Prompt(xyxy=(10.0, -60.0, 50.0, -5.0)),
    "a box far away": Prompt(xyxy=(1e6, 1e6, 2e6, 2e6)),
    "a point to the left": points((-4.0, 50.0)),
    "a point below": points((50.0, H + 4.0)),
    "a mask of another image": Prompt(mask=np.ones((H // 2, W // 2), np.bool_)),
    "a mask turned on its side": Prompt(mask=np.ones((W, H), np.bool_)),
}


UNTRAINED = "sam2"
"""It comes without weights: here with random ones, which keep every promise but that of finding the thing."""


Opener = Callable[[], Segmenter]


@pytest.fixture(scope="module")
def lent(sam2_folder: Path) -> Iterator[Opener]:
    with lent_engines(sam2_folder) as opener:
        yield opener


@pytest.fixture(params=sorted(SEGMENTERS))
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == UNTRAINED:
        lent: Opener = request.getfixturevalue("lent")
        return lent
    return lambda: open_segmenter(request.param)


@pytest.fixture
def segmenter(opener: Opener) -> Iterator[Segmenter]:
    with opener() as engine:
        yield engine


def check(masks: Masks, view: View, count: int) -> Masks:
    """The form of every result."""
    assert masks.view_id == view.id
    assert masks.masks.shape == (count, H, W)
    assert masks.masks.dtype == np.bool_
    assert masks.scores.shape == (count,)
    assert masks.scores.dtype == np.float32
    assert np.all((masks.scores >= 0.0) & (masks.scores <= 1.0))
    for mask, score, found_by in zip(masks.masks, masks.scores, masks.found_by, strict=True):
        assert (score == 0.0) == (not mask.any())
        assert (score == 0.0) == (found_by == "")
    return masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b)) / max(1, int(np.count_nonzero(a | b)))


def finds(segmenter: Segmenter, mask: np.ndarray, where: np.ndarray) -> bool:
    """Whether a mask is of the thing, where that is to be expected."""
    return segmenter.name == UNTRAINED or iou(mask, where) > 0.7


def truth(x_m: float = 0.0) -> np.ndarray:
    x0, y0, x1, y1 = thing_xyxy(x_m)
    v, u = np.mgrid[:H, :W] + 0.5
    return np.asarray((u > x0) & (u < x1) & (v > y0) & (v < y1))


def test_it_is_a_segmenter_under_its_name_in_the_table(segmenter: Segmenter) -> None:
    assert isinstance(segmenter, Segmenter)
    assert segmenter.name in SEGMENTERS
    assert isinstance(segmenter.degraded, bool)
    assert type(segmenter).__name__ == SEGMENTERS[segmenter.name][1]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadConfig, match="depth_cut"):
        open_segmenter("depth_cat")


def test_entering_gives_the_engine_itself(segmenter: Segmenter) -> None:
    with segmenter as entered:
        assert entered is segmenter


def test_no_prompts_give_no_masks(segmenter: Segmenter) -> None:
    view = seen_from(0.0)
    check(segmenter.segment(view, []), view, 0)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_kind_of_prompt_finds_the_thing(segmenter: Segmenter, prompt: str) -> None:
    view = seen_from(0.0)
    masks = check(segmenter.segment(view, [PROMPTS[prompt]]), view, 1)
    assert finds(segmenter, masks.masks[0], truth())


def test_masks_come_in_the_order_of_their_prompts(segmenter: Segmenter) -> None:
    view = seen_from(0.0)
    wall = Prompt(xyxy=(5.0, 5.0, 40.0, 110.0))
    prompts = [PROMPTS["a box"], wall, PROMPTS["a box"]]
    together = check(segmenter.segment(view, prompts), view, 3)
    for number, prompt in enumerate(prompts):
        alone = segmenter.segment(view, [prompt])
        assert np.array_equal(together.masks[number], alone.masks[0])
        assert together.scores[number] == alone.scores[0]


def test_a_score_is_zero_exactly_where_the_mask_is_empty(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(4)
    corners = np.sort(rng.uniform((0, 0), (W - 12, H - 12), (12, 2, 2)), axis=1)
    boxes = [Prompt(xyxy=(float(a[0]), float(a[1]), float(b[0]) + 12, float(b[1]) + 12)) for a, b in corners]
    view = seen_from(0.0)
    blank = View(1, np.zeros((H, W, 3), np.uint8), np.zeros((H, W), np.float32), CAMERA, np.eye(4))
    for picture in (view, blank, replace(blank, depth_m=None)):
        check(segmenter.segment(picture, boxes), picture, len(boxes))


def test_the_same_call_gives_the_same_masks(segmenter: Segmenter, opener: Opener) -> None:
    view = seen_from(0.0)
    prompts = list(PROMPTS.values())
    first = segmenter.segment(view, prompts)
    segmenter.segment(seen_from(0.1, 7), [Prompt(xyxy=(20.0, 20.0, 60.0, 60.0))])  # what was asked before is forgotten
    np.random.default_rng().random(8)
    second = segmenter.segment(view, prompts)
    assert np.array_equal(first.masks, second.masks)
    assert np.array_equal(first.scores, second.scores)
    with opener() as other:
        assert np.array_equal(other.segment(view, prompts).masks, first.masks)


@pytest.mark.parametrize("prompt", OUTSIDE)
def test_a_prompt_that_is_not_in_the_image_is_refused(segmenter: Segmenter, prompt: str) -> None:
    view = seen_from(0.0, id=31)
    with pytest.raises(BadPrompt, match="31"):
        segmenter.segment(view, [OUTSIDE[prompt]])
    with pytest.raises(BadPrompt, match="31"):
        segmenter.segment(view, [PROMPTS["a box"], OUTSIDE[prompt]])
    check(segmenter.segment(view, [PROMPTS["a box"]]), view, 1)  # and the engine is as good as before


def test_a_box_partly_outside_is_clipped(segmenter: Segmenter) -> None:
    view = seen_from(0.55)
    x0, y0, _, y1 = thing_xyxy(0.55)
    masks = check(segmenter.segment(view, [Prompt(xyxy=(x0 - 30.0, y0, 20.0, y1))]), view, 1)
    assert segmenter.name == UNTRAINED or not masks.masks[0][:, 24:].any()


@pytest.mark.parametrize("missing", ["depth", "pose", "both"])
def test_a_view_without_depth_or_pose_is_segmented_by_what_it_has(segmenter: Segmenter, missing: str) -> None:
    view = seen_from(0.0)
    if missing != "pose":
        view = replace(view, depth_m=None)
    if missing != "depth":
        view = replace(view, T_world_camera=None)
    masks = check(segmenter.segment(view, [PROMPTS["a box"]]), view, 1)
    assert finds(segmenter, masks.masks[0], truth())


def copies(view: View) -> list[np.ndarray]:
    return [np.copy(a) for a in (view.image, view.depth_m, view.T_world_camera) if a is not None]


def test_inputs_are_not_modified_and_may_be_read_only(segmenter: Segmenter) -> None:
    views = [seen_from(0.0, 0), seen_from(0.05, 1)]
    prompts = list(PROMPTS.values())
    before = [copies(view) for view in views]
    asked = [np.copy(a) for p in prompts for a in (p.mask, p.points_xy, p.points_label) if a is not None]
    segmenter.segment(views[0], prompts)
    list(segmenter.track(views, {0: prompts[1]}))
    for view, arrays in zip(views, before, strict=True):
        for now, then in zip(copies(view), arrays, strict=True):
            np.testing.assert_array_equal(now, then)
    now_asked = [a for p in prompts for a in (p.mask, p.points_xy, p.points_label) if a is not None]
    for now, then in zip(now_asked, asked, strict=True):
        np.testing.assert_array_equal(now, then)
    for array in (views[0].image, views[0].depth_m, views[0].T_world_camera):
        assert array is not None
        array.flags.writeable = False
    check(segmenter.segment(views[0], [PROMPTS["a box"]]), views[0], 1)


def test_results_are_not_changed_by_later_calls(segmenter: Segmenter) -> None:
    view = seen_from(0.0)
    first = segmenter.segment(view, [PROMPTS["a box"]])
    kept = first.masks.copy()
    segmenter.segment(view, [Prompt(xyxy=(5.0, 5.0, 40.0, 110.0))])
    assert np.array_equal(first.masks, kept)


@pytest.mark.parametrize("prompted", [0, 2, 4])
def test_track_gives_one_mask_for_each_view_in_their_order(segmenter: Segmenter, prompted: int) -> None:
    places = [0.0, 0.04, 0.08, 0.12, 0.16]
    views = [seen_from(x, id) for id, x in zip((10, 7, 8, 30, 2), places, strict=True)]
    prompts = {views[prompted].id: Prompt(xyxy=thing_xyxy(places[prompted]))}
    tracked = list(segmenter.track(iter(views), prompts))
    assert [masks.view_id for masks in tracked] == [view.id for view in views]
    for masks, view in zip(tracked, views, strict=True):
        check(masks, view, 1)
    assert finds(segmenter, tracked[prompted].masks[0], truth(places[prompted]))


def test_track_follows_the_thing_into_views_without_a_prompt(segmenter: Segmenter) -> None:
    places = [0.0, 0.05, 0.1]
    views = [seen_from(x, id) for id, x in enumerate(places)]
    tracked = list(segmenter.track(views, {0: PROMPTS["a box"]}))
    assert all(finds(segmenter, masks.masks[0], truth(x)) for masks, x in zip(tracked, places, strict=True))


def test_each_mask_says_whether_a_prompt_or_the_views_before_it_found_it(segmenter: Segmenter) -> None:
    views = [seen_from(x, id) for id, x in enumerate((0.0, 0.05, 0.1))]
    alone = segmenter.segment(views[0], [PROMPTS["a box"], PROMPTS["points"]])
    assert set(alone.found_by) <= {"prompt", ""}
    first, *others = segmenter.track(views, {0: PROMPTS["a box"]})
    assert first.found_by[0] in ("prompt", "")
    assert {masks.found_by[0] for masks in others} <= {"memory", ""}
    if segmenter.name != UNTRAINED:
        assert (*alone.found_by, *first.found_by, *others[0].found_by) == ("prompt", "prompt", "prompt", "memory")


def test_a_hint_serves_where_no_view_before_has_shown_the_thing(segmenter: Segmenter) -> None:
    """Without any prompt a hint is all that is known, and gives what a prompt would."""
    views = [seen_from(0.0, 4), seen_from(0.05, 9)]
    hinted, other = segmenter.track(views, {}, {4: PROMPTS["a box and a mask"]})
    plain = segmenter.segment(views[0], [PROMPTS["a box and a mask"]])
    check(hinted, views[0], 1)
    assert np.array_equal(hinted.masks, plain.masks)
    assert hinted.scores[0] == plain.scores[0]
    assert hinted.found_by[0] == ("hint" if plain.masks.any() else "")
    assert not check(other, views[1], 1).masks.any()


@pytest.mark.parametrize("prompted", [0, 1, 2])
def test_hints_leave_order_and_prompts_as_they_are(segmenter: Segmenter, prompted: int) -> None:
    places = [0.0, 0.04, 0.08]
    views = [seen_from(x, id) for id, x in zip((10, 7, 30), places, strict=True)]
    boxes = {view.id: Prompt(xyxy=thing_xyxy(x)) for view, x in zip(views, places, strict=True)}
    asked = views[prompted].id
    tracked = list(segmenter.track(iter(views), {asked: boxes[asked]}, boxes))
    assert [masks.view_id for masks in tracked] == [10, 7, 30]
    for number, (masks, view) in enumerate(zip(tracked, views, strict=True)):
        check(masks, view, 1)
        assert masks.found_by[0] in (("prompt", "") if number == prompted else ("memory", "hint", ""))
        assert finds(segmenter, masks.masks[0], truth(places[number]))
    plain = list(segmenter.track(iter(views), {asked: boxes[asked]}))
    assert np.array_equal(tracked[prompted].masks, plain[prompted].masks)


def test_a_view_waits_for_the_first_prompt_also_behind_a_hint(segmenter: Segmenter) -> None:
    places = [0.0, 0.04, 0.08]
    views = [seen_from(x, id) for id, x in enumerate(places)]
    boxes = [Prompt(xyxy=thing_xyxy(x)) for x in places]
    tracked = list(segmenter.track(iter(views), {2: boxes[2]}, {1: boxes[1]}))
    assert [masks.view_id for masks in tracked] == [0, 1, 2]
    assert finds(segmenter, tracked[0].masks[0], truth(places[0]))


def test_a_hint_that_is_used_and_is_not_in_the_image_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(BadPrompt, match="31"):
        list(segmenter.track([seen_from(0.0, id=31)], {}, {31: OUTSIDE["a box above"]}))


def test_track_says_nothing_where_nothing_was_asked(segmenter: Segmenter) -> None:
    views = [seen_from(0.0, 0), seen_from(0.05, 1)]
    assert list(segmenter.track([], {0: PROMPTS["a box"]})) == []
    for masks, view in zip(segmenter.track(views, {}), views, strict=True):
        check(masks, view, 1)
        assert not masks.masks.any()


def test_track_refuses_a_prompt_that_is_not_in_its_view(segmenter: Segmenter) -> None:
    with pytest.raises(BadPrompt):
        list(segmenter.track([seen_from(0.0, 0)], {0: OUTSIDE["a box above"]}))


def test_track_lives_through_views_without_depth_or_pose(segmenter: Segmenter) -> None:
    views = [seen_from(0.03 * i, i) for i in range(4)]
    views[1], views[2] = replace(views[1], depth_m=None), replace(views[2], T_world_camera=None)
    tracked = list(segmenter.track(views, {0: PROMPTS["a box"]}))
    assert [masks.view_id for masks in tracked] == [0, 1, 2, 3]
    for masks, view in zip(tracked, views, strict=True):
        check(masks, view, 1)


def test_a_track_left_early_does_not_disturb_the_engine(segmenter: Segmenter) -> None:
    views = [seen_from(0.03 * i, i) for i in range(3)]
    running = segmenter.track(views, {0: PROMPTS["a box"]})
    first = next(iter(running))
    del running
    again = list(segmenter.track(views, {0: PROMPTS["a box"]}))
    assert len(again) == 3
    assert np.array_equal(again[0].masks, first.masks)


def test_closing_twice_is_fine(segmenter: Segmenter) -> None:
    segmenter.close()
    segmenter.close()


def test_what_is_asked_after_close_is_refused_at_once(segmenter: Segmenter) -> None:
    view = seen_from(0.0)
    segmenter.close()
    with pytest.raises(EngineFailed):
        segmenter.segment(view, [PROMPTS["a box"]])
    with pytest.raises(EngineFailed):
        segmenter.segment(view, [])
    with pytest.raises(EngineFailed):
        segmenter.track([view], {0: PROMPTS["a box"]})
    with pytest.raises(EngineFailed):
        segmenter.__enter__()


def test_a_track_does_not_end_quietly_when_its_engine_is_closed_under_it(segmenter: Segmenter) -> None:
    views = [seen_from(0.03 * i, i) for i in range(3)]
    running = segmenter.track(views, {0: PROMPTS["a box"]})
    next(running)
    segmenter.close()
    with pytest.raises(EngineFailed):
        list(running)
