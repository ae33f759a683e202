"""What the lift benchmark lifts: objects of synthetic rooms in the frames that the selector keeps, and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import WALK_NOISE
from scene_r1 import pose
from scene_r1.backproject.projector import extent_px
from scene_r1.box import Box3D
from scene_r1.frame import RgbdFrame
from scene_r1.keyframes import KeyframeSelector
from scene_r1.lift import MaskedView
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.render.visibility import Visibility

LARGE_M = 0.2
"""An object is large when its longest side is at least this."""
LEAST_SEEN = 0.6
NEAREST_M = (0.6, 2.0)
"""How much of an object the kept frames must have seen, and from how near: what nobody saw, no lift can measure."""
LEAST_PX = 60
DILATED = (0.05, 0.15)
"""A bad mask is dilated by so much of its longer side ..."""
REPLACED = 0.15
"""... and this share of the masks shows something else."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How a room is recorded. noise_scale: see `SyntheticRecording`; half for half the size, as the focal length is."""

    frames: int
    size: tuple[int, int]
    rate_hz: float
    noise_scale: float


WALK = Walk(150, (640, 480), 10.0, 1.0)
QUICK_WALK = Walk(40, (320, 240), 4.0, WALK_NOISE)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One object, and the kept frames in which it has LEAST_PX.

    truth: the extent of its mesh. views: frames with their instance images (H, W) int16, pixels of colour.
    """

    room: int
    id: int
    name: str
    truth: Box3D
    views: tuple[tuple[RgbdFrame, NDArray[np.int16]], ...]

    @property
    def is_large(self) -> bool:
        return max(self.truth.size) >= LARGE_M

    def clean(self) -> list[MaskedView]:
        """Its true masks."""
        return [MaskedView(frame, instance == self.id) for frame, instance in self.views]

    def noisy(self) -> list[MaskedView]:
        """Masks as a segmenter gives them on a bad day: too wide, and some of another thing. The same each time."""
        rng = np.random.default_rng([self.room, self.id])
        return [MaskedView(frame, _spoilt(instance, self.id, rng)) for frame, instance in self.views]


def lift_room(seed: int, cache: Path, walk: Walk) -> SyntheticRecording:
    """A walk through the room of that seed: two cameras, the depth noise of a D435."""
    return SyntheticRecording(
        seed, walk.frames, walk.size, cache_dir=cache, rate_hz=walk.rate_hz, noise_scale=walk.noise_scale
    )


def kept_frames(recording: SyntheticRecording, k: int) -> list[RgbdFrame]:
    """The frames that the online selection holds at the end of the walk, in order of time."""
    selector, held = KeyframeSelector(k), dict[int, RgbdFrame]()
    for frame in recording.frames():
        decision = selector.offer(frame)
        _keep(held, decision.inserted, decision.evicted)
    decision = selector.settle()
    _keep(held, decision.inserted, decision.evicted)
    return [held[index] for index in selector.keyframes]


def cases_of(recording: SyntheticRecording, kept: Sequence[RgbdFrame]) -> list[Case]:
    """The objects that the kept frames saw well enough to be measured."""
    indices = [frame.index for frame in kept]
    instances = [recording.truth(index).instance for index in indices]
    cases = []
    for thing, seen in zip(recording.room.objects, recording.visible_fraction(indices), strict=True):
        views = tuple(
            (frame, instance)
            for frame, instance in zip(kept, instances, strict=True)
            if np.count_nonzero(instance == thing.id) >= LEAST_PX
        )
        if views and _measurable(seen):
            truth = Box3D.from_corners(thing.box.low, thing.box.high)
            cases.append(Case(recording.room.seed, thing.id, thing.name, truth, views))
    return cases


def often_seen(
    recording: SyntheticRecording, cases: Sequence[Case], count: int
) -> tuple[Case, list[MaskedView]] | None:
    """Of the large objects, if there are any, the one most often in the picture, and `count` true masks of it.

    The views are spread evenly over those frames of the whole walk in which it has LEAST_PX; None where no object has
    so many.
    """
    chosen = [case for case in cases if case.is_large] or list(cases)
    in_picture = {case.id: _frames_with(recording, case.truth) for case in chosen}
    for case in sorted(chosen, key=lambda case: -len(in_picture[case.id])):
        masks: dict[int, NDArray[np.bool_]] = {}
        for index in in_picture[case.id]:
            mask = recording.truth(index).mask(case.id)
            if np.count_nonzero(mask) >= LEAST_PX:
                masks[index] = mask
        if len(masks) >= count:
            at = np.linspace(0, len(masks) - 1, count).round().astype(int)
            wanted = [list(masks)[i] for i in at]
            return case, [MaskedView(f, masks[f.index]) for f in recording.frames() if f.index in wanted]
    return None


def _keep(held: dict[int, RgbdFrame], inserted: RgbdFrame | None, evicted: int | None) -> None:
    if inserted is not None:
        held[inserted.index] = inserted
    if evicted is not None:
        del held[evicted]


def _measurable(seen: Visibility) -> bool:
    return seen.fraction >= LEAST_SEEN and NEAREST_M[0] <= seen.nearest_m <= NEAREST_M[1]


def _frames_with(recording: SyntheticRecording, box: Box3D) -> list[int]:
    """Frames with the middle of the box in the colour picture; what hides it is not asked."""
    color = recording.cameras[0]
    found = []
    for index, T_world_camera in enumerate(recording.poses):
        point = pose.apply(pose.inverse(T_world_camera), np.array([box.center]))
        u, v = color.project(point)[0]
        if point[0, 2] > 0.0 and 0.0 <= u < color.width and 0.0 <= v < color.height:
            found.append(index)
    return found


def _spoilt(instance: NDArray[np.int16], id: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    mask = np.asarray(instance == id)
    share, replaced = rng.uniform(*DILATED), rng.random() < REPLACED
    ids, pixels = np.unique(instance, return_counts=True)
    others = ids[(ids >= 0) & (ids != id) & (pixels >= LEAST_PX)]  # objects, and the furniture they stand on
    if replaced and len(others):
        return np.asarray(instance == rng.choice(others))
    _, _, width, height = extent_px(mask)
    radius = max(1, round(share * max(width, height)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.view(np.uint8), disc)).view(np.bool_)
