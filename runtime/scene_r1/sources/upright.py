"""Turning the pictures of a recording by quarters, so that up in the room is up in the picture.

A phone held sideways records sideways pictures, and a model that looks at them was trained on upright ones. Turning
is exact: pixels move, none is resampled, and whatever is lifted from a turned frame lands where it did before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import IDENTITY, RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

UP_IN_PICTURE = np.array([(0.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
"""Where up points in a picture (x, y) that needs 0, 1, 2, 3 quarter turns clockwise."""

IN_WORDS = ("as they are", "a quarter turn clockwise", "upside down", "a quarter turn counterclockwise")


def turns_to_upright(
    T_world_cameras: Sequence[NDArray[np.float64]], up: tuple[float, float, float] = (0.0, 0.0, 1.0)
) -> int:
    """How many quarter turns clockwise, 0 to 3, bring the pictures of these cameras upright; 0 where there is none.

    T_world_cameras: (4, 4) each, OpenCV axes. up: a unit vector away from gravity, world frame. The one of the four
    turns that fits the median direction of up in the picture. After `decide_pose` of the SceneFun3D and ARKitScenes
    toolkits, which decides by a single pose; the median forgives the moments at which the camera looked at the floor.
    """
    if not T_world_cameras:
        return 0
    # up seen by each camera: the rows of its rotation are the world's axes
    seen = np.array([np.asarray(up) @ T[:3, :2] for T in T_world_cameras])
    return int(np.argmax(UP_IN_PICTURE @ np.median(seen, axis=0)))


def turned_frame(frame: RgbdFrame, turns: int) -> RgbdFrame:
    """The frame as a camera turned about its optical axis would have taken it.

    turns: quarter turns of the pictures clockwise. Both images, both intrinsics and both transforms are turned, so
    that every pixel keeps its point in the world.
    """
    turns %= 4
    if turns == 0:
        return frame
    T_new_old = turn(turns)
    T_old_new = T_new_old.T
    one = frame.T_color_depth is IDENTITY or np.array_equal(frame.T_color_depth, IDENTITY)
    return replace(
        frame,
        color=np.rot90(frame.color, -turns),
        color_intrinsics=turned_intrinsics(frame.color_intrinsics, turns),
        depth_raw=np.rot90(frame.depth_raw, -turns),
        depth_intrinsics=turned_intrinsics(frame.depth_intrinsics, turns),
        T_color_depth=IDENTITY if one else T_new_old @ frame.T_color_depth @ T_old_new,
        T_world_camera=None if frame.T_world_camera is None else frame.T_world_camera @ T_old_new,
    )


def turned_intrinsics(intrinsics: Intrinsics, turns: int) -> Intrinsics:
    """The same camera after quarter turns of its pictures clockwise, lens distortion included."""
    for _ in range(turns % 4):
        k1, k2, p1, p2, k3 = intrinsics.coefficients
        intrinsics = Intrinsics(
            fx=intrinsics.fy,
            fy=intrinsics.fx,
            cx=intrinsics.height - 1.0 - intrinsics.cy,
            cy=intrinsics.cx,
            width=intrinsics.height,
            height=intrinsics.width,
            model=intrinsics.model,
            # The radial part has no direction; the tangential one shifts along (p2, p1), which turns like a point.
            coefficients=(k1, k2, p2, 0.0 - p1, k3),
        )
    return intrinsics


def turn(turns: int) -> NDArray[np.float64]:
    """(4, 4) `T_new_old`: points of the camera as it was, in the axes of the turned one. Exact zeros and ones."""
    quarter = np.array([(0.0, -1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)])
    return np.linalg.matrix_power(quarter, turns % 4)
