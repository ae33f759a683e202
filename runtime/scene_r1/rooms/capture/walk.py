"""How a person walks through a room with a camera: around its middle, looking at one thing after the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from scene_r1.rooms.model.room import Room
from scene_r1.rooms.model.walkway import walkway
from scene_r1_engines.errors import BadInput

SPEED_M_S = 0.45
TURN_RAD_S = math.radians(38.0)
STEP_S = 1.0 / 60.0
STRIDE_M = 0.3
"""At least this far from one object looked at to the next."""


def camera_path(room: Room, n: int, seed: int = 0, rate_hz: float = 30.0) -> NDArray[np.float64]:
    """A hand-held walk around the room's middle.

    The camera goes at most about half a metre a second at 1.2..1.8 m height, dwells on one object after the other
    (those seen least come first, those that ask for little turning are preferred) and trembles as hands do. One round
    takes about 20 s: fewer frames see less of the room, a lower rate sees more with the same number.

    n: frames. rate_hz: frames a second. Returns (n, 4, 4) float64 T_world_camera, OpenCV axes.
    Raises BadInput for n < 1, a rate outside 0.1..1000 Hz, a negative seed, or a room without space to walk.
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
    rng = np.random.default_rng([room.seed, int(seed), 0xCA3E])
    times = np.arange(n) / rate_hz
    fine = np.arange(0.0, times[-1] + 2.0, STEP_S)
    positions, targets = _script(room, way, len(fine), rng)
    gaze = targets - positions
    gaze /= np.linalg.norm(gaze, axis=1, keepdims=True)
    gaze = gaussian_filter1d(gaze, 0.35 / STEP_S, axis=0, mode="nearest")
    positions = positions + _tremor(len(fine), 0.004, rng)
    gaze = gaze / np.linalg.norm(gaze, axis=1, keepdims=True) + _tremor(len(fine), 0.006, rng)
    roll = _tremor(len(fine), 0.015, rng)[:, 0]

    def sample(values: NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.arange(len(fine)) * STEP_S
        return np.stack([np.interp(times, at, column) for column in values.reshape(len(fine), -1).T], axis=1)

    return _look(sample(positions), sample(gaze), sample(roll)[:, 0])


def _script(
    room: Room, way: NDArray[np.float64], steps: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the camera is and what it looks at, (steps, 3) metres each, before smoothing."""
    closed = np.concatenate([way, way[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    direction = 1.0 if rng.random() < 0.5 else -1.0
    start = rng.uniform(0.0, length[-1])
    height = rng.uniform(1.4, 1.55)
    phase = rng.uniform(0.0, 2.0 * math.pi, 2)

    def at(walked: float) -> NDArray[np.float64]:
        s = (start + direction * walked) % length[-1]
        z = height + 0.14 * math.sin(0.9 * walked + phase[0]) + 0.06 * math.sin(2.3 * walked + phase[1])
        return np.array([np.interp(s, length, closed[:, 0]), np.interp(s, length, closed[:, 1]), z])

    centers = np.array([thing.box.center for thing in room.objects])
    looked = np.zeros(len(centers))
    table = room.furniture[0].box.center
    positions, targets = np.empty((steps, 3)), np.empty((steps, 3))
    walked, i = 0.0, 0
    here = at(0.0)
    target = np.array([table[0], table[1], 0.75])
    while i < steps:
        soon = at(walked + STRIDE_M)
        away = np.linalg.norm(centers - soon, axis=1)
        angle = _angle(target - here, centers - soon)
        cost = 1.1 * angle + 1.1 * looked + 1.5 * np.maximum(away - 1.9, 0.0) + np.maximum(0.7 - away, 0.0) * 4.0
        chosen = int(np.argmin(cost))
        looked[chosen] += 1.0
        seconds = max(STRIDE_M / SPEED_M_S, float(angle[chosen]) / TURN_RAD_S) + 0.2
        full = max(1, round(seconds / STEP_S))
        count = min(full, steps - i)
        gone = SPEED_M_S * STEP_S * np.arange(1, count + 1)
        positions[i : i + count] = [at(float(walked + s)) for s in gone]
        walked += SPEED_M_S * STEP_S * full
        ahead = at(walked)
        # The gaze is eased from one target to the next along the arc between them, not through the camera.
        ease = np.minimum(np.arange(1, count + 1) / (0.8 * full), 1.0)
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


def _tremor(steps: int, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(steps, 3): a sway of about `size` (standard deviation) between 0.5 and 4 Hz."""
    noise = rng.standard_normal((steps, 3))
    shake = gaussian_filter1d(noise, 0.05 / STEP_S, axis=0) - gaussian_filter1d(noise, 0.3 / STEP_S, axis=0)
    # 0.24: the standard deviation of that difference at a step of 1/60 s.
    return np.asarray(shake * (size / 0.24))


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
