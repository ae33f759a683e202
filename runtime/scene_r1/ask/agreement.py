"""Which of the things that several views point at are one and the same in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scene_r1.box import Box3D, iou

LEAST_IOU = 0.1
"""Boxes that overlap at least so much are one thing. One view sees one side of it, so two views' boxes may share
little; a mug and the table below it share less."""
NEAR = 0.5
"""Centres nearer than this share of the smaller box's diagonal are one thing: its two sides, seen from opposite."""
NEAR_M = 0.05
"""And so are centres nearer than this, whatever the size: depth noise and pose error of a good recording."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One view's say. view: its frame's index. box: lifted from this view alone. confidence: in [0, 1], of the model
    in its 2D box."""

    view: int
    box: Box3D
    confidence: float


def agreeing(claims: Sequence[Claim]) -> tuple[int, ...]:
    """Positions of the largest group of claims about one thing, at most one of each view, the most confident first.

    A group is one claim and, from each other view, the most confident that agrees with it; among groups of as many
    views the one with the higher sum of confidences wins. Where one view alone claims something, that is the group.
    Empty without claims, and where several views claim something and no two of them agree.
    """
    groups = [_around(i, claims) for i in range(len(claims))]
    if not groups:
        return ()
    best = max(groups, key=lambda group: (len(group), sum(claims[i].confidence for i in group)))
    if len(best) == 1 and len({claim.view for claim in claims}) > 1:
        return ()
    return tuple(sorted(best, key=lambda i: -claims[i].confidence))


def same_thing(a: Box3D, b: Box3D) -> bool:
    """Whether two boxes, each from one view, are of one thing: they overlap, or their centres are near."""
    apart_m = float(np.linalg.norm(np.subtract(a.center, b.center)))
    smaller_m = min(float(np.linalg.norm(a.size)), float(np.linalg.norm(b.size)))
    return iou(a, b) >= LEAST_IOU or apart_m <= max(NEAR_M, NEAR * smaller_m)


def _around(center: int, claims: Sequence[Claim]) -> list[int]:
    """The claim at `center`, and of each other view the most confident claim that agrees with it."""
    chosen: dict[int, int] = {claims[center].view: center}
    for i, claim in enumerate(claims):
        if claim.view == claims[center].view or not same_thing(claims[center].box, claim.box):
            continue
        rival = chosen.get(claim.view)
        if rival is None or claim.confidence > claims[rival].confidence:
            chosen[claim.view] = i
    return list(chosen.values())
