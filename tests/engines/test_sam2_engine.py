"""Sam2 as a segmenter, on four small graphs whose sums are known, run by the real ONNX Runtime.

Of these graphs (tiny_sam2): a prompted box or point is seen, what is tracked from memory is hidden, and a mask's IoU is
rated by where the points are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from tests.engines.tiny_sam2 import sound_folder
from tests.engines.watched_sam2 import BOX, POINT, H, W, Watched, runs, view, watched

from scene_r1_engines.errors import BadConfig, BadFrame, BadModelFile, BadPrompt, EngineFailed
from scene_r1_engines.sam2.engine import MOST_WAITING, Sam2
from scene_r1_engines.sam2.module import Value
from scene_r1_engines.segmenter import Segmenter
from scene_r1_engines.view import Prompt, View


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sound_folder(tmp_path / "model")


@pytest.fixture
def sam2(folder: Path) -> Iterator[Sam2]:
    with Sam2(folder, threads=1) as engine:
        yield engine


def test_it_is_a_segmenter_with_weights(sam2: Sam2) -> None:
    assert isinstance(sam2, Segmenter)
    assert (sam2.name, sam2.degraded) == ("sam2", False)


def test_prompts_of_one_view_cost_one_encoding_and_one_run_for_those_alike(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        masks = sam2.segment(view(3), [BOX, POINT, BOX, BOX, BOX])
        assert runs(modules["image_encoder"]) == 1
        # Four boxes are three points each, and the model's engines take three objects at once; a point is two.
        assert [shape["coords"] for shape in modules["mask_decoder"].shapes] == [(3, 3, 2), (1, 3, 2), (1, 2, 2)]
    assert len(masks) == 5
    assert masks.view_id == 3
    assert masks.masks.shape == (5, H, W)
    assert masks.found_by == ("prompt",) * 5
    assert ((masks.scores > 0.0) & (masks.scores <= 1.0)).all()
    assert masks.masks.all()
    assert np.ptp(masks.scores[[0, 2, 3, 4]]) == 0.0


def test_no_prompts_are_no_masks_and_no_work(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        assert len(sam2.segment(view(3), [])) == 0
        assert runs(modules["image_encoder"]) == 0


def test_a_mask_alone_is_refined_within_its_box(folder: Path) -> None:
    sam2, modules = watched(folder)
    mask = np.zeros((H, W), np.bool_)
    mask[10:30, 12:40] = True
    with sam2:
        sam2.segment(view(0), [Prompt(mask=mask)])
    (asked,) = modules["mask_decoder"].shapes
    assert asked["coords"] == (1, 3, 2)


def test_a_picture_is_encoded_once_for_all_questions_within_the_bound(folder: Path) -> None:
    sam2, modules = watched(folder, max_feature_mb=0.26)
    with sam2:
        for question in range(5):
            sam2.segment(view(1), [BOX])
            list(sam2.track([view(1), view(2), view(3)], {1: BOX}))
            assert runs(modules["image_encoder"]) == 3, question
        assert (sam2.features.hits, sam2.features.misses) == (5 * 4 - 3, 3)
        each = sam2.features.nbytes // 3
        for other in range(100, 130):
            sam2.segment(view(other), [BOX])
            assert sam2.features.nbytes <= 0.26 * (1 << 20)
        assert len(sam2.features) == int(0.26 * (1 << 20)) // each < 30
        again = runs(modules["image_encoder"])
        sam2.segment(view(1), [BOX])
        assert runs(modules["image_encoder"]) == again + 1, "the least recently used had to go"


def test_another_recording_that_reuses_an_id_is_encoded_anew(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        sam2.segment(view(1, seed=1), [BOX])
        sam2.segment(view(1, seed=2), [BOX])
        assert runs(modules["image_encoder"]) == 2


def test_a_view_that_is_prompted_says_so_and_what_is_hidden_has_no_mask(sam2: Sam2) -> None:
    first, second = sam2.track([view(0), view(1)], {0: BOX})
    assert (first.found_by, bool(first.masks.all())) == (("prompt",), True)
    assert (second.found_by, bool(second.masks.any()), second.scores[0]) == (("",), False, 0.0)


def test_where_memory_is_not_sure_a_hint_is_taken_and_remembered(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        masks = list(sam2.track([view(i) for i in range(4)], {0: BOX}, {2: Prompt(mask=np.ones((H, W), np.bool_))}))
        assert [one.found_by[0] for one in masks] == ["prompt", "", "hint", ""]
        assert masks[2].masks.any()
        # Memory of the hinted view is made twice, as tracked and as hinted, and only the second is looked at.
        assert runs(modules["memory_encoder"]) == 5
        assert modules["memory_attention"].shapes[-1]["mem"][1] == 3


@pytest.mark.parametrize(("iou", "score", "by"), [(0.6, 4.0, "memory"), (0.4, 4.0, "hint"), (0.6, -0.1, "hint")])
def test_a_hint_is_tried_only_where_memory_is_not_sure(folder: Path, iou: float, score: float, by: str) -> None:
    class Rated(Watched):
        """Tracked masks, which are asked for by padding alone, are rated as given."""

        def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
            given = super().run(feeds, keep)
            if "labels" in feeds and (np.asarray(feeds["labels"]) == -1).all():
                given |= {"iou": np.full((1, 1), iou, np.float32), "score": np.full((1, 1), score, np.float32)}
            return given

    sam2, modules = watched(folder, kind=Rated)
    with sam2:
        _, second = sam2.track([view(0), view(1)], {0: BOX}, {1: BOX})
    assert second.found_by == (by,)
    assert second.scores[0] == pytest.approx(iou if by == "memory" else 1.0)
    assert runs(modules["mask_decoder"]) == (2 if by == "memory" else 3)


def test_views_before_the_first_prompt_are_tracked_backward_and_come_in_order(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        masks = list(sam2.track([view(i) for i in (4, 9, 2, 7)], {2: BOX}))
        assert [one.view_id for one in masks] == [4, 9, 2, 7]
        assert masks[2].found_by == ("prompt",)
        # The view next to the prompt first, with the prompt alone; then with one more; the last has all three.
        assert [shape["mem"][1] for shape in modules["memory_attention"].shapes] == [1, 2, 3]


def test_views_that_wait_too_long_for_a_prompt_are_answered_as_not_seen(sam2: Sam2) -> None:
    views = [view(i, seed=0) for i in range(MOST_WAITING + 5)]
    asked = 0

    def counted() -> Iterator[View]:
        nonlocal asked
        for one in views:
            asked += 1
            yield one

    found = sam2.track(counted(), {})
    assert next(found).view_id == 0
    assert asked == MOST_WAITING + 1
    rest = list(found)
    assert [one.view_id for one in rest] == list(range(1, MOST_WAITING + 5))
    assert not any(one.masks.any() or one.scores.any() or one.found_by[0] for one in rest)


def test_where_no_prompt_comes_hints_are_all_there_is(sam2: Sam2) -> None:
    masks = list(sam2.track([view(0), view(1)], {}, {1: BOX}))
    assert [one.found_by[0] for one in masks] == ["", "hint"]
    assert masks[1].masks.any()


def test_another_size_in_the_middle_of_a_track_is_refused_by_the_view_s_name(sam2: Sam2) -> None:
    masks = sam2.track([view(0), view(1), view(5, hw=(W, H))], {0: BOX})
    next(masks)
    next(masks)
    with pytest.raises(BadFrame, match=r"view 5.*48x64.*64x48"):
        next(masks)


def test_one_prompt_outside_spoils_all_before_any_work_is_done(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        with pytest.raises(BadPrompt, match="view 0, prompt 1: box"):
            sam2.segment(view(0), [BOX, Prompt(xyxy=(500.0, 1.0, 600.0, 9.0))])
        with pytest.raises(BadPrompt, match=r"frame 0 \(view 8\)"):
            list(sam2.track([view(8)], {8: Prompt(xyxy=(500.0, 1.0, 600.0, 9.0))}))
        with pytest.raises(BadPrompt, match="nothing to track"):
            sam2.video().track(0, view(0))
        assert runs(modules["image_encoder"]) == 0


def test_masks_that_are_not_numbers_are_an_error_and_not_a_mask(folder: Path) -> None:
    class Broken(Watched):
        def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
            given = super().run(feeds, keep)
            return {**given, "low": np.full_like(given["low"], np.nan)} if "low" in given else given

    sam2, _ = watched(folder, kind=Broken)
    with sam2, pytest.raises(EngineFailed, match=r"mask_decoder\.onnx.*fp32"):
        sam2.segment(view(0), [BOX])


def test_once_closed_it_says_so_and_closing_twice_is_fine(folder: Path) -> None:
    sam2 = Sam2(folder)
    masks = sam2.track([view(0), view(1)], {0: BOX})
    next(masks)
    sam2.close()
    sam2.close()
    for use in (lambda: next(masks), lambda: sam2.segment(view(0), [BOX]), lambda: sam2.track([], {})):
        with pytest.raises(EngineFailed, match="closed"):
            use()


def test_impossible_settings_are_refused(folder: Path) -> None:
    for settings, word in (({"slots": 8}, "slots"), ({"slots": 0}, "slots"), ({"max_feature_mb": -1.0}, "bound")):
        with pytest.raises(BadConfig, match=word):
            Sam2(folder, **settings)  # type: ignore[arg-type]
    with Sam2(folder) as sam2, pytest.raises(BadConfig, match="frames"):
        sam2.video(frames=0)
    with pytest.raises(BadModelFile, match="nowhere"):
        Sam2(folder.parent / "nowhere")


def test_neither_opening_nor_tracking_imports_torch(folder: Path, repository: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from scene_r1_engines import Intrinsics, Prompt, View\n"
        "from scene_r1_engines.sam2.engine import Sam2\n"
        "image, camera = np.full((48, 64, 3), 200, np.uint8), Intrinsics(60., 60., 32., 24., 64, 48)\n"
        "views = [View(i, image, None, camera) for i in (0, 1)]\n"
        "with Sam2(sys.argv[1]) as sam2:\n"
        "    assert len(list(sam2.track(views, {0: Prompt(xyxy=(8., 6., 40., 30.))}))) == 2\n"
        "assert not {'torch', 'sam2', 'torchvision'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository / "engines")}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
