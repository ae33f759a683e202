"""The tracker against the authors' own video predictor, frame by frame, on a random model of full size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sam2")
pytest.importorskip("onnxruntime")
import onnx
from onnx import numpy_helper
from tests.engines.sam2_film import BOX, H, W, disc, film, official, propagated, worst

from scene_r1_engines.onnx_module import OnnxModule
from scene_r1_engines.sam2.extents import extents_of
from scene_r1_engines.sam2.features import FeatureCache
from scene_r1_engines.sam2.folder import Sam2Folder, open_folder
from scene_r1_engines.sam2.graphs import Graphs
from scene_r1_engines.sam2.tracker import Sam2Video
from scene_r1_engines.view import Prompt, View

FRAMES, DARK = 5, 3
LEAST_IOU = 0.999
"""The random model's logits lie close to 0, so that the least error flips pixels; a trained one is far easier."""


@dataclass(frozen=True)
class Both:
    """The same weights and the same film, in the official predictor and in ours."""

    model: Any
    folder: Sam2Folder
    graphs: Path
    features: FeatureCache
    views: list[View]
    path: Path

    def begin(self, **settings: bool) -> tuple[Any, Sam2Video]:
        state = self.model.init_state(str(self.path))
        return state, Sam2Video(self.features, frames=FRAMES, **settings)

    def at(self, *numbers: int) -> Iterator[tuple[int, View]]:
        return ((number, self.views[number]) for number in numbers)


@pytest.fixture(scope="module")
def both(sam2_folder: Path, sam2_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    path = tmp_path_factory.mktemp("film") / "frames"
    views = film(path, FRAMES, dark=DARK)
    with open_folder(sam2_folder, threads=1) as folder:
        model = official(sam2_checkpoint, folder.manifest.name, folder.manifest.input_px)
        features = FeatureCache(Graphs(folder.manifest, folder.modules), 1 << 28)
        yield Both(model, folder, sam2_folder, features, views, path)


def points(*xy: tuple[float, float], labels: tuple[int, ...] = (1,)) -> Prompt:
    return Prompt(points_xy=np.array(xy, np.float32), points_label=np.array(labels, np.int8))


def add(model: Any, state: Any, frame: int, object_id: int, prompt: Prompt) -> np.ndarray:
    """The same prompt for the official predictor; its logits of that object."""
    if prompt.mask is not None:
        _, ids, logits = model.add_new_mask(state, frame, object_id, prompt.mask)
    else:
        box = None if prompt.xyxy is None else np.array(prompt.xyxy, np.float32)
        _, ids, logits = model.add_new_points_or_box(
            state, frame, object_id, points=prompt.points_xy, labels=prompt.points_label, box=box
        )
    return logits[ids.index(object_id)].numpy()


def test_two_objects_and_a_correction_in_the_middle_are_tracked_as_the_official_predictor_does(both: Both) -> None:
    state, video = both.begin()
    for object_id, prompt in ((1, Prompt(xyxy=BOX)), (2, points((120, 60)))):
        theirs = add(both.model, state, 0, object_id, prompt)
        ours = video.prompt(0, both.views[0], object_id, prompt)
        assert worst([(0, {object_id: ours})], {0: theirs}) >= LEAST_IOU
    assert worst(video.propagate(both.at(0, 1, 2, 3, 4)), propagated(both.model, state, 0)) >= LEAST_IOU

    before = video.track(2, both.views[2])[1].mask((H, W))
    better = points((58, 60), (5, 5), labels=(1, 0))
    theirs = add(both.model, state, 2, 1, better)
    ours = video.prompt(2, both.views[2], 1, better)
    assert worst([(2, {1: ours})], {2: theirs}) >= LEAST_IOU
    assert (ours.mask((H, W)) != before).mean() > 0.01, "the correction changes nothing, so that nothing is shown"
    assert worst(video.propagate(both.at(3, 4)), propagated(both.model, state, 3)) >= LEAST_IOU


def test_corrections_that_condition_are_those_of_the_official_setting(both: Both) -> None:
    state, video = both.begin(corrections_condition=True)
    both.model.add_all_frames_to_correct_as_cond = True
    try:
        add(both.model, state, 0, 1, Prompt(xyxy=BOX))
        video.prompt(0, both.views[0], 1, Prompt(xyxy=BOX))
        propagated(both.model, state, 0)
        list(video.propagate(both.at(0, 1, 2, 3, 4)))
        add(both.model, state, 1, 1, points((54, 60)))
        video.prompt(1, both.views[1], 1, points((54, 60)))
        assert worst(video.propagate(both.at(1, 2, 3, 4)), propagated(both.model, state, 1)) >= LEAST_IOU
        assert video.banks[1].conditioning(1) is not None
    finally:
        both.model.add_all_frames_to_correct_as_cond = False


def test_from_a_frame_in_the_middle_it_goes_backward_and_then_forward(both: Both) -> None:
    state, video = both.begin()
    for object_id, prompt in ((1, Prompt(xyxy=(42.0, 36.0, 90.0, 84.0))), (2, Prompt(mask=disc(111, 60, 17)))):
        add(both.model, state, 3, object_id, prompt)
        video.prompt(3, both.views[3], object_id, prompt)
    theirs = propagated(both.model, state, 3, backward=True)
    assert worst(video.propagate(both.at(3, 2, 1, 0), backward=True), theirs) >= LEAST_IOU
    assert worst(video.propagate(both.at(3, 4)), propagated(both.model, state, 3)) >= LEAST_IOU


def test_a_mask_prompt_is_the_answer_and_is_remembered_as_the_official_predictor_does(both: Both) -> None:
    state, video = both.begin()
    prompt = Prompt(mask=disc(120, 60, 18))
    theirs = add(both.model, state, 0, 7, prompt)
    ours = video.prompt(0, both.views[0], 7, prompt)
    assert worst([(0, {7: ours})], {0: theirs}) >= LEAST_IOU
    assert (ours.mask((H, W)) & disc(120, 60, 18)).sum() / disc(120, 60, 18).sum() > 0.95
    assert (ours.iou, ours.visible) == (1.0, True)
    assert worst(video.propagate(both.at(0, 1, 2, 3, 4)), propagated(both.model, state, 0)) >= LEAST_IOU


def test_hidden_and_seen_again_it_agrees_with_the_official_predictor(both: Both, tmp_path: Path) -> None:
    state, _ = both.begin()
    prompt = Prompt(mask=disc(120, 60, 18))
    add(both.model, state, 0, 1, prompt)
    propagated(both.model, state, 0)
    held = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
    scores = {frame: one["object_score_logits"].item() for frame, one in held.items()}
    # Lowered by so much that the model sees the object on the dark frame alone, which it rates otherwise than the rest.
    others = [score for frame, score in scores.items() if frame != DARK]
    down = (scores[DARK] + max(others)) / 2
    bias = both.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    kept = bias.detach().clone()
    bias.data -= down
    try:
        modules = {**both.folder.modules, "mask_decoder": lowered(both, tmp_path, float(kept), down)}
        features = FeatureCache(Graphs(both.folder.manifest, modules), 1 << 28)
        video = Sam2Video(features, frames=FRAMES)
        state = both.model.init_state(str(both.path))
        add(both.model, state, 0, 1, prompt)
        video.prompt(0, both.views[0], 1, prompt)
        theirs = propagated(both.model, state, 0)
        ours = dict(video.propagate(both.at(*range(FRAMES))))
        hidden = [frame for frame in theirs if (theirs[frame] == -1024.0).all()]
        assert 1 in hidden
        assert len(hidden) < FRAMES - 1, "it is never seen again, so that only half is shown"
        assert [frame for frame in ours if not ours[frame][1].visible] == hidden
        assert worst(ours.items(), theirs) >= LEAST_IOU
    finally:
        bias.data = kept


def lowered(both: Both, out: Path, bias: float, down: float) -> OnnxModule:
    """The mask decoder with another bias of the object score."""
    graph = both.folder.manifest.mask_decoder
    model = onnx.load(both.graphs / graph.file)
    found = [
        one for one in model.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and np.array_equal(numpy_helper.to_array(one), [np.float32(bias)])
    ]  # fmt: skip
    assert len(found) == 1
    found[0].CopyFrom(numpy_helper.from_array(np.array([bias - down], np.float32), found[0].name))
    onnx.save(model, out / graph.file)
    return OnnxModule(out / graph.file, graph, extents_of(both.folder.manifest, "mask_decoder"), threads=1)
