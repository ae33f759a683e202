"""DepthCut: the segmenter without weights, for machines and tests where no learned one is at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scene_r1_engines.depth_cut.carry import Sighting, apart, carried_mask, sighting
from scene_r1_engines.depth_cut.cut import cut
from scene_r1_engines.depth_cut.target import target
from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.view import Masks, Prompt, View

MOST_WAITING = 64
"""Views that `track` holds while it waits for the first prompt; the oldest beyond it is answered as not seen."""

MOST_SIGHTINGS = 16
"""Segmented views that `track` carries from; the oldest is forgotten."""


class DepthCut:
    """Boxes, points and coarse masks to masks by depth edges and colour (a degraded stand-in for a learned engine).

    Depth decides where it is valid: surfaces that are continuous, that stay within the box and that are on none of
    the planes around it. Colour (GrabCut) decides the outline and where depth is missing. The same call gives the
    same masks; no random state is read or written.

    Good for compact opaque things. It knows no categories: a thing that touches another of the same colour is not
    told from it, and of a flat thing on its support (a magazine, a poster) only colour says where it ends.

        with DepthCut() as segmenter:
            masks = segmenter.segment(view, [Prompt(xyxy=(209, 316, 265, 371))])
    """

    name = "depth_cut"
    degraded = True

    def __init__(self) -> None:
        self._closed = False

    def segment(self, view: View, prompts: Sequence[Prompt]) -> Masks:
        """Masks of one view, one for each prompt, N = 0 included.

        A box partly outside is clipped; one with a mask or points uses all of them. Raises BadPrompt for a box, point
        or mask that is not in the image, EngineFailed after `close`.
        """
        self._check_open()
        masks = np.zeros((len(prompts), view.intrinsics.height, view.intrinsics.width), np.bool_)
        scores = np.zeros(len(prompts), np.float32)
        targets = [target(view, prompt) for prompt in prompts]  # All are checked before any is worked on.
        for i, wanted in enumerate(targets):
            masks[i], scores[i] = cut(view, wanted)
        return Masks(view.id, masks, scores, tuple("prompt" if score > 0.0 else "" for score in scores))

    def track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt] = {}
    ) -> Iterator[Masks]:
        """One object through many views: one Masks of N = 1 for each view, in their order.

        A view with a prompt is segmented, and else one with a hint by its hint: what is carried here is never surer
        than that. Into the others the object's points are carried from the prompted view
        whose camera is nearest (seen so far), tested against the depth there, and the outline is found anew. Without
        pose or depth, or when the object is hidden there, the mask is empty and its score 0. Views before the first
        prompt are held back until it has come, MOST_WAITING at most.

        Raises BadPrompt and EngineFailed as `segment`.
        """
        self._check_open()  # Here and not in the generator, which would say it only when the first mask is asked for.
        return self._track(views, prompts, hints)

    def close(self) -> None:
        """Nothing is held; what is called afterwards raises EngineFailed."""
        self._closed = True

    def __enter__(self) -> DepthCut:
        self._check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt]
    ) -> Iterator[Masks]:
        sightings: deque[Sighting] = deque(maxlen=MOST_SIGHTINGS)
        waiting: deque[View] = deque()  # in their order, so one with a hint waits behind those before it
        for view in views:
            self._check_open()
            prompted = None
            if view.id in prompts:
                prompted = self.segment(view, [prompts[view.id]])
                seen = sighting(view, prompted.masks[0])
                if seen is not None:
                    sightings.append(seen)
            elif not sightings and _may_see(view) and (waiting or view.id not in hints):
                waiting.append(view)
                if len(waiting) > MOST_WAITING:
                    yield self._unprompted(waiting.popleft(), sightings, hints)
                continue
            while waiting:
                yield self._unprompted(waiting.popleft(), sightings, hints)
            yield self._unprompted(view, sightings, hints) if prompted is None else prompted
        while waiting:
            yield self._unprompted(waiting.popleft(), sightings, hints)

    def _unprompted(self, view: View, sightings: Sequence[Sighting], hints: Mapping[int, Prompt]) -> Masks:
        if view.id not in hints:
            return self._carried(view, sightings)
        found = self.segment(view, [hints[view.id]])
        return replace(found, found_by=("hint",)) if found.masks.any() else found

    def _carried(self, view: View, sightings: Sequence[Sighting]) -> Masks:
        self._check_open()
        T = view.T_world_camera
        if T is None or not sightings:
            return _nothing(view)
        for seen in sorted(sightings, key=lambda s: apart(s.T_world_camera, T)):
            found = carried_mask(seen, view)
            if found is not None:
                mask, share = found
                refined, score = cut(view, target(view, Prompt(mask=mask)))
                scores = np.array([score * share**0.5], np.float32)
                return Masks(view.id, refined[None], scores, ("memory" if score > 0.0 else "",))
        return _nothing(view)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("depth_cut was closed; open a new one with open_segmenter('depth_cut')")


def _may_see(view: View) -> bool:
    """Whether anything can be carried into a view."""
    return view.depth_m is not None and view.T_world_camera is not None


def _nothing(view: View) -> Masks:
    return Masks(
        view.id, np.zeros((1, view.intrinsics.height, view.intrinsics.width), np.bool_), np.zeros(1, np.float32)
    )
