"""Which way is down, by a camera's gyroscope and accelerometer: a complementary filter."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

STANDARD_M_S2 = 9.80665
SHAKEN_M_S2 = 1.5
"""An acceleration that is so far from gravity's is the hand's, and tells nothing of where down is."""
SMOOTHING_S = 1.0
"""What the accelerometer says is believed over this time, what the gyroscope says at once."""
LONGEST_STEP_S = 0.1
"""A turn over a longer gap is not known; the accelerometer puts it right."""


class Gravity:
    """Takes measurements in the order they come, both in the axes of one IMU, with device times of one clock.

    At rest an accelerometer measures the force that holds it up, so down is the opposite of what it says.
    """

    def __init__(self) -> None:
        self._down: NDArray[np.float64] | None = None
        self._accel_ns: int | None = None
        self._gyro_ns: int | None = None

    @property
    def down(self) -> NDArray[np.float64] | None:
        """(3,) unit vector in the IMU's axes; None before the first acceleration that can be believed."""
        return None if self._down is None else self._down.copy()

    def accel(self, timestamp_ns: int, force_m_s2: ArrayLike) -> None:
        """force_m_s2: (3,). NaN and infinity are passed over."""
        force = np.asarray(force_m_s2, dtype=np.float64)
        size = float(np.linalg.norm(force))
        if not abs(size - STANDARD_M_S2) <= SHAKEN_M_S2:  # also NaN
            return
        measured = -force / size
        step_s = _step_s(self._accel_ns, timestamp_ns)
        self._accel_ns = timestamp_ns
        if self._down is None:
            self._down = measured
            return
        share = 1.0 - math.exp(-step_s / SMOOTHING_S)
        self._down = _unit(self._down + share * (measured - self._down), self._down)

    def gyro(self, timestamp_ns: int, turn_rad_s: ArrayLike) -> None:
        """turn_rad_s: (3,) of the camera. What stands still in the room turns the other way as the camera sees it."""
        turn = np.asarray(turn_rad_s, dtype=np.float64)
        step_s = _step_s(self._gyro_ns, timestamp_ns)
        self._gyro_ns = timestamp_ns
        angle = float(np.linalg.norm(turn)) * step_s
        if self._down is None or not 0.0 < angle < math.pi:  # also NaN
            return
        axis = -turn / np.linalg.norm(turn)
        down = self._down  # Rodrigues' formula
        turned = math.cos(angle) * down + math.sin(angle) * np.cross(axis, down)
        self._down = _unit(turned + (1.0 - math.cos(angle)) * float(axis @ down) * axis, down)


def _step_s(before_ns: int | None, now_ns: int) -> float:
    """Of a clock that may jump: 0 for a step back."""
    return 0.0 if before_ns is None else min(max(0.0, (now_ns - before_ns) / 1e9), LONGEST_STEP_S)


def _unit(vector: NDArray[np.float64], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    size = float(np.linalg.norm(vector))
    return vector / size if size > 1e-9 else otherwise
