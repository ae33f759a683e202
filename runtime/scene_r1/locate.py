"""From a 2D box in one frame to a metric 3D box: segment, look for it in the keyframes, lift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer, Evidence, Status
from scene_r1.frame import RgbdFrame
from scene_r1.lift import Lifted, Lifter, MaskedView
from scene_r1.lift.lift import NOTHING
from scene_r1.registration import view_of
from scene_r1.reproject import reproject
from scene_r1.timings import Timings
from scene_r1_engines.errors import BadFrame, BadPrompt
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.segmenter import Segmenter
from scene_r1_engines.view import Prompt

LEAST_VISIBLE = 0.25
"""Share of the object's points that a keyframe must show for it to be asked."""
LEAST_KEPT = 0.5
"""Share of the reprojected object that the refined mask must keep; less, and the segmenter has found something else."""
MOST_VIEWS = 16


Xyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """What a 2D box in one frame shows, from that frame alone.

    xyxy: pixels of the frame's colour image. mask: (H, W) bool and score: the segmenter's. lifted: its box is None
    where nothing could be lifted, and then `reason` says why.
    """

    frame: RgbdFrame
    xyxy: Xyxy
    mask: NDArray[np.bool_]
    score: float
    lifted: Lifted
    reason: str = ""

    @property
    def evidence(self) -> Evidence:
        """The look as it stands in an answer that has no box."""
        return Evidence(self.frame.index, self.xyxy, self.mask, self.score, supports=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    view: MaskedView
    score: float


def locate(
    frame: RgbdFrame,
    xyxy: Xyxy,
    keyframes: Iterable[RgbdFrame],
    segmenter: Segmenter,
    lifter: Lifter,
    timings: Timings | None = None,
) -> Answer:
    """The metric box of what a 2D box in one frame shows.

    xyxy: pixels of the frame's colour image. keyframes: other frames that may show the object, posed; the frame itself
    among them is passed over. Raises BadPrompt for a box outside the image, BadFrame for a frame without a pose.
    """
    clock = timings or Timings()
    return followed(look_at(frame, xyxy, segmenter, lifter, clock), keyframes, segmenter, lifter, clock)


def look_at(frame: RgbdFrame, xyxy: Xyxy, segmenter: Segmenter, lifter: Lifter, clock: Timings) -> FirstLook:
    """The first half of `locate`: box -> mask -> points of this frame. Raises as `locate`."""
    check_box(frame.color_intrinsics, xyxy, frame.index)
    if frame.T_world_camera is None:
        raise BadFrame(f"frame {frame.index} has no camera pose, so nothing in it has a place in the world")
    with clock.stage("segment"):
        found = segmenter.segment(view_of(frame), [Prompt(xyxy=xyxy)])
    mask, score = found.masks[0], float(found.scores[0])
    if not mask.any():
        return FirstLook(frame, xyxy, mask, score, NOTHING, "the segmenter found nothing in that box")
    with clock.stage("lift"):
        seed = lifter([MaskedView(frame, mask)])
    reason = "no valid depth inside the object's mask" if seed.box is None else ""
    return FirstLook(frame, xyxy, mask, score, seed, reason)


def followed(
    first: FirstLook, keyframes: Iterable[RgbdFrame], segmenter: Segmenter, lifter: Lifter, clock: Timings
) -> Answer:
    """The second half of `locate`: the object of a first look, sought in the keyframes and lifted from all of them."""
    looks = [_Look(MaskedView(first.frame, first.mask), first.score)]
    if first.lifted.box is None:
        return _not_found(first.reason, segmenter, clock, looks, first.xyxy)
    looks += _other_views(first.frame, first.lifted.xyz, keyframes, segmenter, clock)
    with clock.stage("lift"):
        lifted = lifter([look.view for look in looks])
    if lifted.box is None:
        return _not_found("the views do not agree on one object", segmenter, clock, looks, first.xyxy)
    return _answer(lifted, segmenter, clock, looks, first.xyxy)


def check_box(camera: Intrinsics, xyxy: Xyxy, index: int) -> None:
    """Raises BadPrompt for a 2D box that is empty or reaches beyond the colour image of frame `index`."""
    x0, y0, x1, y1 = xyxy
    if not all(np.isfinite(xyxy)) or not (0.0 <= x0 < x1 <= camera.width and 0.0 <= y0 < y1 <= camera.height):
        raise BadPrompt(
            f"xyxy must be x0 y0 x1 y1 with 0 <= x0 < x1 <= {camera.width} and 0 <= y0 < y1 <= {camera.height} "
            f"in frame {index}, got {' '.join(f'{v:g}' for v in xyxy)}"
        )


def _other_views(
    frame: RgbdFrame,
    xyz: NDArray[np.float32],
    keyframes: Iterable[RgbdFrame],
    segmenter: Segmenter,
    clock: Timings,
) -> list[_Look]:
    """The object in the keyframes that show enough of it: reprojected, then refined by the segmenter."""
    sightings = []
    for other in keyframes:
        if other.index == frame.index or other.T_world_camera is None:
            continue
        with clock.stage("reproject"):
            sighting = reproject(xyz, other)
        if sighting is not None and sighting.visible >= LEAST_VISIBLE:
            sightings.append((other, sighting))
    sightings.sort(key=lambda pair: -pair[1].visible)
    looks = []
    for other, sighting in sightings[: MOST_VIEWS - 1]:
        with clock.stage("refine"):
            refined = segmenter.segment(view_of(other), [sighting.prompt()])
        mask = refined.masks[0]
        if np.count_nonzero(mask & sighting.mask) >= LEAST_KEPT * np.count_nonzero(sighting.mask):
            looks.append(_Look(MaskedView(other, mask), float(refined.scores[0])))
    return looks


def _answer(lifted: Lifted, segmenter: Segmenter, clock: Timings, looks: list[_Look], xyxy: Xyxy) -> Answer:
    return Answer(
        Status.OK,
        lifted.box,
        {"segmenter": segmenter.name},
        clock.ms(),
        _evidence(looks, lifted.used, xyxy),
        degraded=("segmenter",) if segmenter.degraded else (),
        xyz=lifted.xyz,
        rgb=lifted.rgb,
    )


def _not_found(reason: str, segmenter: Segmenter, clock: Timings, looks: list[_Look], xyxy: Xyxy) -> Answer:
    return Answer(
        Status.NOT_FOUND,
        None,
        {"segmenter": segmenter.name},
        clock.ms(),
        _evidence(looks, (), xyxy),
        reason,
        ("segmenter",) if segmenter.degraded else (),
    )


def _evidence(looks: list[_Look], used: tuple[int, ...], asked: Xyxy) -> tuple[Evidence, ...]:
    """One entry for each view, the one asked about first."""
    return tuple(
        Evidence(
            frame=look.view.frame.index,
            xyxy=asked if i == 0 else _extent(look.view.mask),
            mask=look.view.mask,
            score=look.score,
            supports=i in used,
        )
        for i, look in enumerate(looks)
    )


def _extent(mask: NDArray[np.bool_]) -> Xyxy:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
