"""Where in a room a person can walk: a closed way around its table."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from scene_r1.rooms.model.room import Box, Room

CLEARANCE_M = 0.2
"""Between the camera and anything else, sideways."""
BEARINGS = 240


def walkway(room: Room) -> NDArray[np.float64] | None:
    """A closed way around the table, (BEARINGS, 2) metres in the floor plane; None where there is no space for one.

    At each bearing from the table's middle it lies between what stands at the table and what stands at the walls.
    """
    middle = room.furniture[0].box.center[:2]
    inner, outer = _sides(room)
    # Half a step off the axes: a ray along a wall would meet it nowhere.
    bearing = (np.arange(BEARINGS) + 0.5) * (2.0 * math.pi / BEARINGS)
    rays = np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    near = np.max([_crossing(box, middle, rays)[1] for box in inner], axis=0)
    half = np.array(room.size_m[:2]) / 2.0
    far = np.min((np.sign(rays) * half - middle) / rays, axis=1)
    for box in outer:
        far = np.minimum(far, _crossing(box, middle, rays)[0])
    low, high = near + CLEARANCE_M, far - CLEARANCE_M
    # A box is met sideways too, so the free band at a bearing is that of its neighbours as well.
    low = np.max([np.roll(low, k) for k in range(-8, 9)], axis=0)
    high = np.min([np.roll(high, k) for k in range(-8, 9)], axis=0)
    if np.any(high - low < 0.1):
        return None
    wish = low + np.minimum(0.5 * (high - low), 0.6)
    r = np.clip(gaussian_filter1d(wish, 6.0, mode="wrap"), low, high)
    r = gaussian_filter1d(r, 2.0, mode="wrap")
    way = middle + r[:, None] * rays
    for height in (1.2, 1.8):
        if np.any(room.inside_things(np.column_stack([way, np.full(BEARINGS, height)]), 0.1)):
            return None
    return np.asarray(way)


def _sides(room: Room) -> tuple[list[Box], list[Box]]:
    """What stands at the table (it first), and what stands elsewhere on the floor."""
    table = room.furniture[0].box
    others = [piece.box for piece in room.furniture[1:]]
    others += [thing.box for thing in room.objects if thing.box.low[2] < 0.01]
    flat = [Box((*b.low[:2], 0.0), (*b.high[:2], 1.0)) for b in others]
    inner = [b for b in flat if b.overlaps(Box((*table.low[:2], 0.0), (*table.high[:2], 1.0)), 0.75)]
    inner = [b for b in inner if min(_gap(b, table)) < 0.3 and max(_gap(b, table)) < 0.3]
    return [table, *inner], [b for b in flat if b not in inner]


def _gap(a: Box, b: Box) -> tuple[float, float]:
    x, y = (max(a.low[i] - b.high[i], b.low[i] - a.high[i], 0.0) for i in (0, 1))
    return x, y


def _crossing(
    box: Box, origin: NDArray[np.float64], rays: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where rays (N, 2) enter and leave a box seen from above; inf and 0 where they miss it."""
    with np.errstate(divide="ignore"):
        a = (np.array(box.low[:2]) - origin) / rays
        b = (np.array(box.high[:2]) - origin) / rays
    enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    hit = (leave >= enter) & (leave > 0.0)
    return np.where(hit, np.maximum(enter, 0.0), np.inf), np.where(hit, leave, 0.0)
