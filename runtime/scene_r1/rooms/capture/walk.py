"""How a person walks through a room with a camera: around its middle, looking at one thing after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from scene_r1.rooms.model.room import Room
from scene_r1.rooms.model.walkway import walkway
from scene_r1_engines.errors import BadInput

SPEED_M_S = 0.45
TURN_RAD_S = math.radians(38.0)
STEP_S = 1.0 / 60.0
STRIDE_M = 0.3
"""At least this far from one object looked at to the next."""
LOWEST_M, HIGHEST_M, BOB_M = 1.2, 1.8, 0.06
LOOK_BACK, PAUSE, TURN_ABOUT = 0.06, 0.08, 0.15
"""How likely each is when the camera turns to something new."""
LOOK_BACK_RAD = math.radians(45.0)
PAUSE_S = (0.4, 1.2)
TURN_ABOUT_AFTER = 1.0
"""Rounds walked one way: who turns about before has seen half a room."""


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What a hand did with a camera. poses: (N, 4, 4) float64 T_world_camera, OpenCV axes. turning: (N, 3) float64,
    radians a second, camera frame: about which axis, and how fast, the camera turns at the moment of each pose."""

    poses: NDArray[np.float64]
    turning: NDArray[np.float64]


def camera_path(room: Room, n: int, seed: int = 0, rate_hz: float = 30.0) -> NDArray[np.float64]:
    """The poses of `hand_held`, (n, 4, 4) float64 T_world_camera, OpenCV axes. Arguments and errors are its own."""
    return hand_held(room, n, seed, rate_hz).poses


def hand_held(room: Room, n: int, seed: int = 0, rate_hz: float = 30.0) -> Walk:
    """A hand-held walk around the room's middle.

    The camera goes at most about half a metre a second at 1.2..1.8 m height and trembles as hands do. It dwells on one
    object after the other: those seen least come first, those that ask for little turning are preferred. Now and then
    it stands still for a moment, or looks back at something it has seen; after a whole round it may turn about and
    walk the other way. Which way round, how fast and how high is the walk's own. One round takes about 20 s: fewer
    frames see less of the room, a lower rate sees more with the same number.

    n: frames. rate_hz: frames a second. A longer walk begins as a shorter one. Raises BadInput for n < 1, a rate
    outside 0.1..1000 Hz, a negative seed, or a room without space to walk.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise BadInput(f"a path needs a whole number of frames >= 1, got {n!r}")
    if not 0.1 <= rate_hz <= 1000.0:
        raise BadInput(f"rate_hz must be in 0.1..1000, got {rate_hz!r}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise BadInput(f"a path's seed must be a whole number >= 0, got {seed!r}")
    way = walkway(room)
    if way is None:
        raise BadInput(f"room {room.seed} has no way around its middle that a camera fits through")
    script_rng, tremor_rng = (np.random.default_rng([room.seed, int(seed), 0xCA3E, part]) for part in (0, 1))
    times = np.arange(n) / rate_hz
    fine = np.arange(0.0, times[-1] + 2.0, STEP_S)
    positions, targets = _script(room, way, len(fine), script_rng)
    gaze = targets - positions
    gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
    gaze = gaussian_filter1d(gaze, 0.35 / STEP_S, axis=0, mode="nearest")
    gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
    # position, gaze and roll: each step's seven numbers drawn together, so that a longer walk begins as a shorter one
    tremor = _tremor(len(fine), 7, tremor_rng)
    positions = positions + 0.004 * tremor[:, :3]
    gaze = gaze + 0.006 * tremor[:, 3:6]
    roll = 0.015 * tremor[:, 6:7]

    def sample(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
        steps = np.arange(len(fine)) * STEP_S
        return np.stack([np.interp(at, steps, column) for column in values.T], axis=1)

    def posed(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return _look(sample(positions, at), sample(gaze, at), sample(roll, at)[:, 0])

    before, after = np.maximum(times - STEP_S / 2.0, 0.0), times + STEP_S / 2.0
    turned = posed(before)[:, :3, :3].transpose(0, 2, 1) @ posed(after)[:, :3, :3]
    turning = Rotation.from_matrix(turned).as_rotvec() / (after - before)[:, None]
    return Walk(posed(times), np.asarray(turning, np.float64))


def _script(
    room: Room, way: NDArray[np.float64], steps: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the camera is and what it looks at, (steps, 3) metres each, before smoothing."""
    closed = np.concatenate([way, way[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    direction = 1.0 if rng.random() < 0.5 else -1.0
    place = rng.uniform(0.0, length[-1])
    pace = SPEED_M_S * rng.uniform(0.9, 1.0)
    sway = rng.uniform(0.04, 0.14)
    height = rng.uniform(LOWEST_M + sway + BOB_M, HIGHEST_M - sway - BOB_M)
    phase = rng.uniform(0.0, 2.0 * math.pi, 2)

    def at(place: float, walked: float) -> NDArray[np.float64]:
        s = place % length[-1]
        z = height + sway * math.sin(0.9 * walked + phase[0]) + BOB_M * math.sin(2.3 * walked + phase[1])
        return np.array([np.interp(s, length, closed[:, 0]), np.interp(s, length, closed[:, 1]), z])

    centers = np.array([thing.box.center for thing in room.objects])
    looked = np.zeros(len(centers))
    table = room.furniture[0].box.center
    positions, targets = np.empty((steps, 3)), np.empty((steps, 3))
    walked, since, i = 0.0, 0.0, 0
    here = at(place, walked)
    target = np.array([table[0], table[1], 0.75])
    while i < steps:
        whim, pause_s = rng.random(), rng.uniform(*PAUSE_S)
        if whim > 1.0 - TURN_ABOUT and since > TURN_ABOUT_AFTER * length[-1]:
            direction, since = -direction, 0.0
        soon = at(place + direction * STRIDE_M, walked + STRIDE_M)
        away = np.linalg.norm(centers - soon, axis=1)
        angle = _angle(target - here, centers - soon)
        cost = 1.1 * angle + 1.1 * looked + 1.5 * np.maximum(away - 1.9, 0.0) + np.maximum(0.7 - away, 0.0) * 4.0
        behind = (looked > 0.0) & (angle > LOOK_BACK_RAD) & (away > 0.7) & (away < 3.0)
        if whim < LOOK_BACK and behind.any():
            cost = np.where(behind, angle, np.inf)
        chosen = int(np.argmin(cost))
        looked[chosen] += 1.0
        seconds = max(STRIDE_M / pace, float(angle[chosen]) / TURN_RAD_S) + 0.2
        moving = max(1, round(seconds / STEP_S))
        still = round(pause_s / STEP_S) if LOOK_BACK <= whim < LOOK_BACK + PAUSE else 0
        count = min(moving + still, steps - i)
        gone = pace * STEP_S * np.minimum(np.arange(1, count + 1), moving)
        positions[i : i + count] = [at(place + direction * s, walked + s) for s in gone.tolist()]
        stride = pace * STEP_S * moving
        walked, since, place = walked + stride, since + stride, place + direction * stride
        ahead = at(place, walked)
        # The gaze is eased from one target to the next along the arc between them, not through the camera.
        ease = np.minimum(np.arange(1, count + 1) / (0.8 * moving), 1.0)
        gaze = _arc(target - here, centers[chosen] - ahead, ease * ease * (3.0 - 2.0 * ease))
        targets[i : i + count] = positions[i : i + count] + gaze
        i += count
        here, target = ahead, centers[chosen]
    positions = gaussian_filter1d(positions, 0.25 / STEP_S, axis=0, mode="nearest")
    return positions, targets


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radians between one direction (3,) and many (N, 3)."""
    cos = b @ a / (np.linalg.norm(b, axis=1) * np.linalg.norm(a))
    return np.asarray(np.arccos(np.clip(cos, -1.0, 1.0)))


def _arc(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit directions from a to b, turning about the vertical first of all: heading and elevation, each eased."""
    turn = math.atan2(b[1], b[0]) - math.atan2(a[1], a[0])
    turn = (turn + math.pi) % (2.0 * math.pi) - math.pi
    heading = math.atan2(a[1], a[0]) + turn * t
    up_a, up_b = (math.atan2(v[2], math.hypot(v[0], v[1])) for v in (a, b))
    up = up_a + (up_b - up_a) * t
    return np.stack([np.cos(up) * np.cos(heading), np.cos(up) * np.sin(heading), np.sin(up)], axis=1)


def _tremor(steps: int, columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(steps, columns): a sway between 0.5 and 4 Hz, of standard deviation 1."""
    noise = rng.standard_normal((steps, columns))
    shake = gaussian_filter1d(noise, 0.05 / STEP_S, axis=0) - gaussian_filter1d(noise, 0.3 / STEP_S, axis=0)
    # 0.24: the standard deviation of that difference at a step of 1/60 s.
    return np.asarray(shake / 0.24)


def _look(positions: NDArray[np.float64], gaze: NDArray[np.float64], roll: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4, 4) T_world_camera: z along `gaze`, x level but for `roll` (radians)."""
    z = gaze / np.linalg.norm(gaze, axis=1, keepdims=True)
    x = np.cross(z, (0.0, 0.0, 1.0))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(z, x)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    out = np.zeros((len(z), 4, 4))
    out[:, :3, 0], out[:, :3, 1], out[:, :3, 2] = c * x + s * y, c * y - s * x, z
    out[:, :3, 3] = positions
    out[:, 3, 3] = 1.0
    return out
