import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene_r1 import pose
from scene_r1_engines.errors import BadFrame

unit = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.05)
metres = st.lists(st.floats(-100, 100), min_size=3, max_size=3)


def transform(q, t=(0.0, 0.0, 0.0)):
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(np.array(q) / np.linalg.norm(q)).as_matrix()
    T[:3, 3] = t
    return T


@settings(max_examples=100, deadline=None)
@given(q=unit, t=metres, seed=st.integers(0, 1000), size=st.sampled_from([0.0, 1e-7, 1e-4]))
def test_rounding_is_repaired_and_the_pose_hardly_moved(q, t, seed, size):
    exact = transform(q, t)
    rounded = exact.copy()
    rounded[:3, :3] += np.random.default_rng(seed).uniform(-size, size, (3, 3))
    repaired = pose.rigid(rounded)
    assert np.abs(repaired[:3, :3] @ repaired[:3, :3].T - np.eye(3)).max() < 2e-15
    assert np.linalg.det(repaired[:3, :3]) == pytest.approx(1.0, abs=1e-12)
    assert np.abs(repaired[:3, :3] - exact[:3, :3]).max() <= 3.0 * size + 1e-14
    assert np.array_equal(repaired[:3, 3], t)
    assert repaired.dtype == np.float64
    assert not repaired.flags.writeable


def test_the_callers_matrix_is_left_alone():
    given = np.eye(4)
    pose.rigid(given)[:3]
    given[0, 3] = 5.0
    assert given.flags.writeable


def changed(where, value):
    T = transform((0.1, 0.2, 0.3, 0.9), (1.0, 2.0, 3.0))
    T[where] = value
    return T


ROTATION = np.s_[:3, :3]
TURNED = transform((0.1, 0.2, 0.3, 0.9))[:3, :3]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.eye(3), "4x4"),
        (np.zeros((2, 4, 4)), "4x4"),
        (None, "4x4"),
        ("a pose", "4x4"),
        ([[1, 2], [3]], "4x4"),
        ([["x"] * 4] * 4, "4x4"),
        (changed((0, 3), np.nan), "NaN or infinite"),
        (changed((1, 1), np.inf), "NaN or infinite"),
        (np.full((4, 4), -np.inf), "NaN or infinite"),
        (changed((3, 0), 0.1), "0 0 0 1"),
        (changed((3, 3), 2.0), "0 0 0 1"),
        (changed(ROTATION, 1.002 * TURNED), "not rigid"),
        (changed(ROTATION, 0.001 * TURNED), "not rigid"),
        (changed(ROTATION, 1e200 * TURNED), "not rigid"),
        (changed(ROTATION, np.zeros((3, 3))), "not rigid"),
        (changed(ROTATION, TURNED @ [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]]), "not rigid"),
        (changed(ROTATION, TURNED @ np.diag([1, 1, -1])), "mirrors"),
        (changed(ROTATION, -TURNED), "mirrors"),
    ],
)
def test_what_is_not_a_rigid_transform_is_refused_by_name(bad, said):
    with pytest.raises(BadFrame, match=f"T_a_b.*{said}"):
        pose.rigid(bad, "T_a_b")


@settings(max_examples=100, deadline=None)
@given(q=unit, t=metres)
def test_an_inverse_undoes_its_transform(q, t):
    T = pose.rigid(transform(q, t))
    assert np.abs(pose.inverse(T) @ T - np.eye(4)).max() < 1e-12
    assert np.abs(T @ pose.inverse(T) - np.eye(4)).max() < 1e-10
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.abs(pose.apply(pose.inverse(T), pose.apply(T, points)) - points).max() < 1e-12


def test_points_are_moved_as_the_matrix_says():
    T = transform((0.1, -0.5, 0.2, 0.4), (1.0, -2.0, 0.5))
    points = np.random.default_rng(1).normal(size=(7, 3))
    homogeneous = np.concatenate([points, np.ones((7, 1))], axis=1)
    np.testing.assert_allclose(pose.apply(T, points), (homogeneous @ T.T)[:, :3], atol=1e-14)
    assert pose.apply(T, np.empty((0, 3))).shape == (0, 3)


@settings(max_examples=200, deadline=None)
@given(q=unit, t=metres)
def test_a_quaternion_comes_back_as_it_went_in(q, t):
    given_q = np.array(q) / np.linalg.norm(q)
    T = pose.from_quaternion(t, given_q)
    assert np.abs(T - transform(q, t)).max() < 1e-12
    back = pose.to_quaternion(T)
    assert back[3] >= 0.0
    assert abs(np.linalg.norm(back) - 1.0) < 1e-14
    assert min(np.abs(back - given_q).max(), np.abs(back + given_q).max()) < 1e-12


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1), (-3, 2, 1e-9)])
@pytest.mark.parametrize("off_deg", [0.0, 1e-7, 1e-3])
def test_a_half_turn_comes_back_as_it_went_in(axis, off_deg):
    axis = np.array(axis) / np.linalg.norm(axis)
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(np.radians(180.0 - off_deg) * axis).as_matrix()
    assert np.abs(pose.from_quaternion((0, 0, 0), pose.to_quaternion(T)) - T).max() < 1e-12
    assert pose.angle_deg(np.eye(4), T) == pytest.approx(180.0 - off_deg, abs=1e-9)


@pytest.mark.parametrize(
    "bad", [(0, 0, 0, 0), (0, 0, 0, 2), (np.nan, 0, 0, 1), (np.inf, 0, 0, 0), (0, 0, 1), (0.5, 0.5, 0.5, 0.4)]
)
def test_what_is_not_a_unit_quaternion_is_refused(bad):
    with pytest.raises(BadFrame, match="quaternion"):
        pose.from_quaternion((0, 0, 0), bad)


@pytest.mark.parametrize("bad", [(np.nan, 0, 0), (0, np.inf, 0), (1.0,), (1.0, 2.0), 5.0])
def test_a_translation_that_is_not_three_numbers_is_refused(bad):
    with pytest.raises(BadFrame):
        pose.from_quaternion(bad, (0, 0, 0, 1))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-5, 0.01, 1.0, 45.0, 90.0, 135.0, 179.0, 179.99999, 180.0])
def test_angles_are_exact_at_both_ends(angle):
    rng = np.random.default_rng(5)
    for _ in range(10):
        axis = rng.normal(size=3)
        T = transform(rng.normal(size=4), rng.normal(size=3))
        turned = T.copy()
        turned[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix()
        assert pose.angle_deg(T, turned) == pytest.approx(angle, rel=1e-6, abs=3e-14 if angle < 1.0 else 1e-9)
        assert pose.angle_deg(turned, T) == pytest.approx(pose.angle_deg(T, turned), abs=1e-12)
