"""Sam2: the learned segmenter, from a folder with its four graphs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.sam2.features import FeatureCache
from scene_r1_engines.sam2.folder import open_folder
from scene_r1_engines.sam2.graphs import Graphs
from scene_r1_engines.sam2.manifest import GraphFile, Sam2Manifest, read_sam2_manifest
from scene_r1_engines.sam2.module import Module
from scene_r1_engines.sam2.prompt_points import model_prompt, outlined
from scene_r1_engines.sam2.tracker import Sam2Video, Tracked
from scene_r1_engines.view import Masks, Prompt, View

MOST_WAITING = 64
"""Views that `track` holds while it waits for the first prompt; the oldest beyond it is answered as not seen."""

LEAST_IOU = 0.5
"""Memory is trusted where the model sees the object (object score logit above 0) and rates its own mask at this IoU or
more; below, a hint is tried. An overlap of half is where a mask is counted as found at all; SAMURAI (arXiv 2411.11922)
takes the same two bounds to decide which frames are worth remembering. Not tuned here: no trained model was at hand."""

NO_HINTS: Mapping[int, Prompt] = MappingProxyType({})
OpenModule = Callable[[Path, GraphFile], Module]


class Sam2:
    """Boxes, points and masks to masks by SAM 2 (arXiv 2408.00714), in pictures and through video, without PyTorch.

    folder: as `scene-r1-export sam2` writes it. backend: `cpu`, `cuda`, `tensorrt-ep` or `tensorrt` (open_folder).
    max_feature_mb: MiB of encoded pictures that are kept, 16 for each at 1024 px; every question about a view that is
    kept costs no encoding. slots: fewer memories than the model's own are faster. threads: of the CPU. open_module:
    opens one graph of the folder, where none of our backends is to; then nobody has vouched for its file.

    Raises BadModelFile for a folder that is not sound, MissingExtra where the backend's package is absent, BadConfig.

        with Sam2("models/sam2.1-tiny") as segmenter:
            masks = segmenter.segment(view, [Prompt(xyxy=(209, 316, 265, 371))])
    """

    name = "sam2"
    degraded = False

    def __init__(
        self, folder: str | os.PathLike[str], *, backend: str = "cpu", threads: int | None = None,
        max_feature_mb: float = 256.0, slots: int | None = None, open_module: OpenModule | None = None,
    ) -> None:  # fmt: skip
        with ExitStack() as opened:
            manifest, modules = _opened(Path(folder), backend, threads, open_module, opened)
            self.manifest = manifest
            self.graphs = Graphs(manifest, modules)
            self.features = FeatureCache(self.graphs, round(max_feature_mb * (1 << 20)))
            self._slots = slots
            self.video()  # so that impossible slots are said here
            self._opened = opened.pop_all()
        self._closed = False

    def video(self, frames: int | None = None, corrections_condition: bool = False) -> Sam2Video:
        """A new track of any number of objects, which shares this engine's features; as of Sam2Video."""
        return Sam2Video(self.features, frames=frames, slots=self._slots, corrections_condition=corrections_condition)

    def segment(self, view: View, prompts: Sequence[Prompt]) -> Masks:
        """Masks of one view, one for each prompt, N = 0 included; the picture is encoded once.

        A mask alone is refined within its box. Raises BadPrompt for a box, point or mask that is not in the image,
        EngineFailed after `close`.
        """
        self._check_open()
        hw = view.intrinsics.height, view.intrinsics.width
        most = self.manifest.profiles
        asked = [
            model_prompt(outlined(prompt), hw, self.manifest.input_px, most.points, f"view {view.id}, prompt {i}")
            for i, prompt in enumerate(prompts)
        ]  # All are checked before any is worked on.
        if not asked:
            return _masks(view, [])
        features = self.features.of(view)
        found: dict[int, Tracked] = {}
        alike: dict[int, list[int]] = {}
        for i, one in enumerate(asked):
            alike.setdefault(len(one.coords), []).append(i)
        for group in alike.values():
            for start in range(0, len(group), most.objects):
                batch = group[start : start + most.objects]
                decoded = self.graphs.decode(features.feat, features, [asked[i] for i in batch], alone=True)
                for row, i in enumerate(batch):
                    found[i] = Tracked(decoded.low[row], float(decoded.iou[row]), float(decoded.score[row]))
        return _masks(view, [(found[i], "prompt") for i in range(len(asked))])

    def track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt] = NO_HINTS
    ) -> Iterator[Masks]:
        """One object through many views: one Masks of N = 1 for each view, in their order, which is the order in time
        as far as the model's memory goes.

        A view of `prompts` conditions the memory, the others are found by memory, forward from the first prompt and
        backward to the views before it; those are held back until it has come, MOST_WAITING at most. hints: where the
        object may be in views far apart, such as its points seen from elsewhere; one is tried where memory is not sure
        (LEAST_IOU), and taken where the model is surer with it. Where no prompt ever comes, hints are all there is.

        Raises BadPrompt and EngineFailed as `segment`, BadFrame for a view of another size than those before it.
        """
        self._check_open()  # Here and not in the generator, which would say it only when the first mask is asked for.
        return self._track(views, prompts, hints)

    def close(self) -> None:
        """Give the graphs back; what is called afterwards raises EngineFailed."""
        if not self._closed:
            self._closed = True
            self.features.clear()
            self._opened.close()

    def __enter__(self) -> Sam2:
        self._check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt]
    ) -> Iterator[Masks]:
        video = self.video()
        waiting: deque[tuple[int, View]] = deque()
        begun = False
        for number, view in enumerate(views):
            self._check_open()
            if view.id in prompts:
                video.prompt(number, view, 0, prompts[view.id])
                found = video.track(number, view)[0]  # It conditions, so that this only marks it as looked at.
                if not begun:
                    begun = True
                    earlier = [_step(video, n, one, hints, backward=True) for n, one in reversed(waiting)]
                    waiting.clear()
                    yield from reversed(earlier)
                yield _masks(view, [(found, "prompt")])
            elif begun:
                yield _step(video, number, view, hints, backward=False)
            else:
                waiting.append((number, view))
                if len(waiting) > MOST_WAITING:
                    yield self._guessed(waiting.popleft()[1], hints)
            self._check_open()
        while waiting:
            yield self._guessed(waiting.popleft()[1], hints)

    def _guessed(self, view: View, hints: Mapping[int, Prompt]) -> Masks:
        """A view of which no prompt tells and nothing is remembered."""
        if view.id not in hints:
            return _masks(view, [(None, "")])
        guessed = self.segment(view, [hints[view.id]])
        return Masks(view.id, guessed.masks, guessed.scores, ("hint" if guessed.scores[0] > 0.0 else "",))

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("sam2 was closed; open a new one from its folder")


def _step(video: Sam2Video, number: int, view: View, hints: Mapping[int, Prompt], backward: bool) -> Masks:
    found, by = video.track(number, view, backward)[0], "memory"
    if view.id in hints and not (found.visible and found.iou >= LEAST_IOU):
        better = video.suggest(number, view, 0, hints[view.id])
        if better is not None:
            found, by = better, "hint"
    return _masks(view, [(found, by)])


def _masks(view: View, found: Sequence[tuple[Tracked | None, str]]) -> Masks:
    """Masks at the size of the view. Hidden, or with no pixel: score 0, and by nothing."""
    hw = view.intrinsics.height, view.intrinsics.width
    masks: NDArray[np.bool_] = np.zeros((len(found), *hw), np.bool_)
    scores = np.zeros(len(found), np.float32)
    found_by = [""] * len(found)
    for i, (one, by) in enumerate(found):
        if one is None or not one.visible:
            continue
        mask = one.mask(hw)
        if mask.any() and one.iou > 0.0:
            masks[i], scores[i], found_by[i] = mask, min(1.0, one.iou), by
    return Masks(view.id, masks, scores, tuple(found_by))


def _opened(
    folder: Path, backend: str, threads: int | None, open_module: OpenModule | None, opened: ExitStack
) -> tuple[Sam2Manifest, Mapping[str, Module]]:
    """The manifest and the four modules, which `opened` closes."""
    if open_module is None:
        whole = opened.enter_context(open_folder(folder, backend, threads=threads))
        return whole.manifest, whole.modules
    manifest = read_sam2_manifest(folder)
    modules: dict[str, Module] = {}
    for part, graph in manifest.graphs.items():
        modules[part] = open_module(folder / graph.file, graph)
        opened.callback(modules[part].close)
    return manifest, modules
