"""From a 2D box in one frame to a metric 3D box: segment, look for it in the keyframes, lift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer, Evidence, Status
from scene_r1.frame import RgbdFrame
from scene_r1.lift import Lifted, Lifter, MaskedView
from scene_r1.lift.lift import NOTHING
from scene_r1.registration import view_of
from scene_r1.reproject import Sighting, reproject
from scene_r1.timings import Timings
from scene_r1_engines.errors import BadFrame, BadPrompt
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.segmenter import Segmenter
from scene_r1_engines.view import Masks, Prompt

LEAST_VISIBLE = 0.25
"""Share of the object's points that a keyframe must show for it to be asked."""
LEAST_KEPT = 0.5
"""Share of the reprojected object that the refined mask must keep; less, and the segmenter has found something else."""
MOST_VIEWS = 16


Xyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """What a 2D box in one frame shows, from that frame alone.

    xyxy: pixels of the frame's colour image. mask: (H, W) bool, score and found_by: the segmenter's. lifted: its box is
    None where nothing could be lifted, and then `reason` says why.
    """

    frame: RgbdFrame
    xyxy: Xyxy
    mask: NDArray[np.bool_]
    score: float
    found_by: str
    lifted: Lifted
    reason: str = ""

    @property
    def evidence(self) -> Evidence:
        """The look as it stands in an answer that has no box."""
        return Evidence(self.frame.index, self.xyxy, self.mask, self.score, False, self.found_by)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    view: MaskedView
    score: float
    found_by: str


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
    mask, score, found_by = found.masks[0], float(found.scores[0]), found.found_by[0]
    if not mask.any():
        return FirstLook(frame, xyxy, mask, score, found_by, NOTHING, "the segmenter found nothing in that box")
    with clock.stage("lift"):
        seed = lifter([MaskedView(frame, mask)])
    reason = "no valid depth inside the object's mask" if seed.box is None else ""
    return FirstLook(frame, xyxy, mask, score, found_by, seed, reason)


def followed(
    first: FirstLook, keyframes: Iterable[RgbdFrame], segmenter: Segmenter, lifter: Lifter, clock: Timings
) -> Answer:
    """The second half of `locate`: the object of a first look, sought in the keyframes and lifted from all of them."""
    looks = [_Look(MaskedView(first.frame, first.mask), first.score, first.found_by)]
    if first.lifted.box is None:
        return _not_found(first.reason, segmenter, clock, looks, first.xyxy)
    looks += _other_views(first, keyframes, segmenter, clock)
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


def _other_views(first: FirstLook, keyframes: Iterable[RgbdFrame], segmenter: Segmenter, clock: Timings) -> list[_Look]:
    """The object in the keyframes that show enough of it, most of it first: reprojected, then tracked there.

    Where it should be is a hint, which a segmenter with a memory takes where it is not sure by itself. What it found
    must be there; where it is not, and came from memory, the hint decides: two mugs are alike, but in two places.
    """
    sighted = []
    for other in keyframes:
        if other.index == first.frame.index or other.T_world_camera is None:
            continue
        with clock.stage("reproject"):
            sighting = reproject(first.lifted.xyz, other)
        if sighting is not None and sighting.visible >= LEAST_VISIBLE:
            sighted.append((other, sighting))
    sighted.sort(key=lambda pair: -pair[1].visible)
    del sighted[MOST_VIEWS - 1 :]
    if not sighted:
        return []
    with clock.stage("refine"):
        found = _tracked(first, sighted, segmenter)
    return [
        _Look(MaskedView(other, masks.masks[0]), float(masks.scores[0]), masks.found_by[0])
        for (other, sighting), masks in zip(sighted, found, strict=True)
        if _keeps(masks, sighting)
    ]


def _tracked(first: FirstLook, sighted: Sequence[tuple[RgbdFrame, Sighting]], segmenter: Segmenter) -> list[Masks]:
    """The masks of the frames, in their order.

    They are tracked from the view asked about outwards, the most like it next: by how far the camera has moved around
    the object and towards it. So what a memory takes in first is what it is surest of. Time would be no such order: a
    camera that comes back sees the same again minutes later, and seconds later the other side.
    """
    hints = {other.index: sighting.prompt() for other, sighting in sighted}
    middle = first.lifted.xyz.mean(axis=0, dtype=np.float64)
    outwards = sorted(range(len(sighted)), key=lambda i: _apart(middle, first.frame, sighted[i][0]))
    views = [view_of(frame) for frame in (first.frame, *(sighted[i][0] for i in outwards))]
    _, *tracked = segmenter.track(views, {first.frame.index: Prompt(xyxy=first.xyxy)}, hints)
    found = dict(zip(outwards, tracked, strict=True))
    for i, (other, sighting) in enumerate(sighted):
        if found[i].found_by[0] == "memory" and not _keeps(found[i], sighting):
            found[i] = replace(segmenter.segment(view_of(other), [hints[other.index]]), found_by=("hint",))
    return [found[i] for i in range(len(sighted))]


def _keeps(masks: Masks, sighting: Sighting) -> bool:
    """Whether enough of the object is in the mask where it should be."""
    return bool(np.count_nonzero(masks.masks[0] & sighting.mask) >= LEAST_KEPT * np.count_nonzero(sighting.mask))


def _apart(middle: NDArray[np.float64], a: RgbdFrame, b: RgbdFrame) -> float:
    """How unlike two frames show a thing at `middle`, (3,) metres in the world: the angle between their lines of sight
    to it in radians, and the logarithm of how many times nearer one of them is."""
    lines = [middle - frame.T_world_camera[:3, 3] for frame in (a, b) if frame.T_world_camera is not None]
    lengths = [max(float(np.linalg.norm(line)), 1e-6) for line in lines]
    cosine = float(lines[0] @ lines[1]) / (lengths[0] * lengths[1])
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))) + abs(float(np.log(lengths[0] / lengths[1])))


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
            found_by=look.found_by,
        )
        for i, look in enumerate(looks)
    )


def _extent(mask: NDArray[np.bool_]) -> Xyxy:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
