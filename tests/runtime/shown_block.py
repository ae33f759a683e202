"""A few keyframes of the walk around the red block with the answer that is true of them: what viewers are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.runtime.block_walk import BLOCK, frames

from scene_r1.answer import Answer, Box2D, Evidence, Status
from scene_r1.backproject import BackProjector
from scene_r1.box import Box3D
from scene_r1.frame import RgbdFrame
from scene_r1.viewer import Showing

COUNT = 3
START_NS = 7_000_000_000
BOX = Box3D.from_corners(BLOCK.low, BLOCK.high, 0.004, 2)
THOUGHT = "The *block* is <red>;\nhalf a pair: \ud800"


def showing(question: str = "where is the red block?") -> Showing:
    """Keyframes 0, 1, 2 at 0, 1.5 and 3 s; 0 supports the answer, 1 does not, 2 was not looked at."""
    kept, views, clouds = [], [], []
    for frame, xyxy in frames(COUNT):
        frame = replace(frame, timestamp_ns=START_NS + frame.index * 1_500_000_000)
        mask = np.zeros(frame.color.shape[:2], np.bool_)
        x0, y0, x1, y1 = (int(v) for v in xyxy)
        mask[y0:y1, x0:x1] = True
        if frame.index < 2:
            views.append(Evidence(frame.index, xyxy, mask, 0.9, supports=frame.index == 0))
            clouds.append(BackProjector()(frame, mask).copy())
        kept.append(frame)
    answer = Answer(
        Status.OK,
        BOX,
        {"segmenter": "exact"},
        {"total": 1.0},
        tuple(views),
        xyz=clouds[0].xyz,
        rgb=clouds[0].rgb,
        answer="red block",
        rationale=THOUGHT,
        boxes_2d=(Box2D(0, views[0].xyxy, "red block"),),
        confidence=0.5,
    )
    return Showing(answer, tuple(kept), START_NS, question)


def moved(frame: RgbdFrame, T_new_old: np.ndarray) -> RgbdFrame:
    """The same frame in a world with other axes."""
    return replace(frame, T_world_camera=T_new_old @ frame.T_world_camera)
