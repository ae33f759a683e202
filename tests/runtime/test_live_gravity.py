"""Which way is down, from simulated turns of a camera with an IMU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene_r1.live.gravity import STANDARD_M_S2, Gravity

STEP_NS = 5_000_000
DOWN_WORLD = np.array([0.0, 0.0, -1.0])


def angle_deg(a: np.ndarray | None, b: np.ndarray) -> float:
    assert a is not None
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def test_nothing_is_known_before_an_acceleration_that_can_be_believed() -> None:
    gravity = Gravity()
    gravity.gyro(0, (1.0, 0.0, 0.0))
    for bad in ((0.0, 0.0, 0.0), (np.nan, 0.0, 9.8), (np.inf, 0.0, 0.0), (0.0, 30.0, 0.0)):
        gravity.accel(1, bad)
    assert gravity.down is None
    gravity.accel(2, (0.0, -9.8, 0.0))
    assert gravity.down is not None
    assert gravity.down == pytest.approx([0.0, 1.0, 0.0])


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_down_is_followed_through_turns_and_a_shaking_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    R_world_imu = Rotation.random(random_state=rng)
    gravity = Gravity()
    turn = rng.normal(0.0, 1.0, 3)
    for i in range(600):
        if i % 60 == 0:
            turn = rng.normal(0.0, 1.0, 3)  # rad/s, in the IMU's axes
        R_world_imu = R_world_imu * Rotation.from_rotvec(turn * STEP_NS / 1e9)
        down = R_world_imu.inv().apply(DOWN_WORLD)
        gravity.gyro(i * STEP_NS, turn + rng.normal(0.0, 0.01, 3))
        gravity.accel(i * STEP_NS, -STANDARD_M_S2 * down + rng.normal(0.0, 0.5, 3))
        if i > 200:
            assert angle_deg(gravity.down, down) < 4.0


def test_one_blow_hardly_moves_it() -> None:
    gravity = Gravity()
    for i in range(100):
        gravity.accel(i * STEP_NS, (0.0, -9.8, 0.0))
    gravity.accel(100 * STEP_NS, (9.8, 0.0, 0.0))
    assert angle_deg(gravity.down, np.array([0.0, 1.0, 0.0])) < 0.5


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(-(2**62), 2**62),
            st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 3),
        ),
        max_size=30,
    )
)
def test_whatever_an_imu_says_down_is_a_unit_vector_or_unknown(said: list) -> None:
    gravity = Gravity()
    gravity.accel(0, (0.0, -9.8, 0.1))
    for turning, timestamp_ns, vector in said:
        (gravity.gyro if turning else gravity.accel)(timestamp_ns, vector)
    assert np.linalg.norm(gravity.down) == pytest.approx(1.0)
