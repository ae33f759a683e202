"""DepthCut: the segmenter without weights, for machines and tests where no learned one is at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
        return Masks(view.id, masks, scores)

    def track(self, views: Iterable[View], prompts: Mapping[int, Prompt]) -> Iterator[Masks]:
        """One object through many views: one Masks of N = 1 for each view, in their order.

        A view with a prompt is segmented. Into the others the object's points are carried from the prompted view
        whose camera is nearest (seen so far), tested against the depth there, and the outline is found anew. Without
        pose or depth, or when the object is hidden there, the mask is empty and its score 0. Views before the first
        prompt are held back until it has come, MOST_WAITING at most.

        Raises BadPrompt and EngineFailed as `segment`.
        """
        self._check_open()  # Here and not in the generator, which would say it only when the first mask is asked for.
        return self._track(views, prompts)

    def close(self) -> None:
        """Nothing is held; what is called afterwards raises EngineFailed."""
        self._closed = True

    def __enter__(self) -> DepthCut:
        self._check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _track(self, views: Iterable[View], prompts: Mapping[int, Prompt]) -> Iterator[Masks]:
        sightings: deque[Sighting] = deque(maxlen=MOST_SIGHTINGS)
        waiting: deque[View] = deque()
        for view in views:
            self._check_open()
            if view.id in prompts:
                masks = self.segment(view, [prompts[view.id]])
                seen = sighting(view, masks.masks[0])
                if seen is not None:
                    sightings.append(seen)
                    while waiting:
                        yield self._carried(waiting.popleft(), sightings)
                elif waiting:
                    # Order is promised, so views that wait are answered before this one.
                    while waiting:
                        yield _nothing(waiting.popleft())
                yield masks
            elif sightings or view.depth_m is None or view.T_world_camera is None:
                while waiting:
                    yield _nothing(waiting.popleft())
                yield self._carried(view, sightings)
            else:
                waiting.append(view)
                if len(waiting) > MOST_WAITING:
                    yield _nothing(waiting.popleft())
        while waiting:
            yield _nothing(waiting.popleft())

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
                return Masks(view.id, refined[None], np.array([score * share**0.5], np.float32))
        return _nothing(view)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("depth_cut was closed; open a new one with open_segmenter('depth_cut')")


def _nothing(view: View) -> Masks:
    return Masks(
        view.id, np.zeros((1, view.intrinsics.height, view.intrinsics.width), np.bool_), np.zeros(1, np.float32)
    )
