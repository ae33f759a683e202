import json
import warnings
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scene_r1_engines.errors import BadIntrinsics
from scene_r1_engines.intrinsics import MODELS, Intrinsics, brown_conrady, invert_brown_conrady

GOOD = {"fx": 600.0, "fy": 601.0, "cx": 320.0, "cy": 240.0, "width": 640, "height": 480}
LENS = (0.12, -0.25, 0.001, -0.0008, 0.09)
"""Of the size that librealsense reports for D435 colour cameras and OpenCV finds for webcams."""


@st.composite
def cameras(draw):
    """Cameras of 50 to 90 degrees with lenses as they are calibrated, the principal point near the middle."""
    width, height = draw(st.sampled_from([(640, 480), (1280, 720), (848, 480), (17, 9)]))
    model = draw(st.sampled_from(MODELS))
    f = width * draw(st.floats(0.5, 1.1))
    k1 = draw(st.floats(-0.3, 0.3))
    lens = (k1, -k1 * draw(st.floats(0.0, 1.0)), *draw(st.tuples(*[st.floats(-0.002, 0.002)] * 2)), 0.0)
    return Intrinsics(
        f,
        f * draw(st.floats(0.98, 1.02)),
        (width - 1) * draw(st.floats(0.45, 0.55)),
        (height - 1) * draw(st.floats(0.45, 0.55)),
        width,
        height,
        model,
        (0.0,) * 5 if model == "none" else lens,
    )


@settings(max_examples=100, deadline=None)
@given(camera=cameras(), seed=st.integers(0, 10**6))
def test_the_ray_of_a_pixel_projects_onto_the_pixel(camera, seed):
    pixels = np.random.default_rng(seed).uniform((-0.5, -0.5), (camera.width - 0.5, camera.height - 0.5), (50, 2))
    rays = camera.rays(pixels)
    found = np.isfinite(rays).all(axis=1)
    depth = np.random.default_rng(seed).uniform(0.1, 20.0, (len(rays), 1))
    points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth
    back = camera.project(points)
    assert np.abs(back[found] - pixels[found]).max(initial=0.0) < 1e-6
    assert found.all() or np.abs(camera.coefficients).max() > 0.1


@settings(max_examples=100, deadline=None)
@given(camera=cameras(), seed=st.integers(0, 10**6))
def test_a_point_in_front_of_the_camera_lies_on_the_ray_of_its_pixel(camera, seed):
    assume(np.abs(camera.coefficients).max() < 0.12)  # no fold inside the picture: the ray is the only one
    reach = (camera.width / camera.fx / 2.0, camera.height / camera.fy / 2.0)
    xy = np.random.default_rng(seed).uniform(-0.9, 0.9, (50, 2)) * reach
    points = np.concatenate([xy, np.ones((50, 1))], axis=1) * 3.0
    assert np.abs(camera.rays(camera.project(points)) - xy).max() < 1e-8


@settings(max_examples=60, deadline=None)
@given(camera=cameras(), seed=st.integers(0, 10**6))
def test_brown_conrady_is_opencvs(camera, seed):
    camera = replace(camera, model="brown_conrady", coefficients=LENS)
    points = np.random.default_rng(seed).uniform((-1, -1, 1), (1, 1, 4), (40, 3))
    wanted, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.K, np.array(camera.coefficients))
    assert np.abs(camera.project(points) - wanted[:, 0]).max() < 1e-8


def test_the_pinhole_is_its_matrix():
    camera = Intrinsics(**GOOD)
    points = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 4), (40, 3))
    image = points @ camera.K.T
    np.testing.assert_allclose(camera.project(points), image[:, :2] / image[:, 2:], atol=1e-9)
    assert camera.is_pinhole
    assert Intrinsics.from_K(camera.K, 640, 480) == camera


def test_the_models_are_each_others_inverse():
    forward = Intrinsics(**GOOD, model="brown_conrady", coefficients=LENS)
    inverse = replace(forward, model="inverse_brown_conrady")
    xy = np.random.default_rng(2).uniform(-0.4, 0.4, (50, 2))
    points = np.concatenate([xy, np.ones((50, 1))], axis=1)
    seen = (forward.project(points) - (forward.cx, forward.cy)) / (forward.fx, forward.fy)
    assert np.abs(inverse.project(np.concatenate([seen, np.ones((50, 1))], axis=1)) - points[:, :2] @ inverse.K[:2, :2]
                  - (inverse.cx, inverse.cy)).max() < 1e-9  # fmt: skip


def test_no_ray_reaches_a_pixel_beyond_the_fold():
    """r (1 - 0.5 r^2) rises to 0.544 at r = 0.816 and then falls: no direction is seen further out."""
    camera = Intrinsics(**GOOD, model="brown_conrady", coefficients=(-0.5, 0.0, 0.0, 0.0, 0.0))
    top = np.sqrt(2.0 / 3.0) * (1.0 - 0.5 * 2.0 / 3.0)
    radius = np.array([0.0, 0.3, 0.5, top - 1e-4])
    inside = camera.rays(np.stack([camera.cx + camera.fx * radius, np.full(4, camera.cy)], axis=1))
    assert np.isfinite(inside).all()
    assert inside[:, 0].max() <= np.sqrt(2.0 / 3.0) + 1e-9
    folded = brown_conrady(inside, camera.coefficients)
    np.testing.assert_allclose(folded[:, 0], radius, atol=1e-9)
    v, u = np.mgrid[:480:7, :640:7]
    pixels = np.stack([u, v], axis=-1).reshape(-1, 2).astype(float)
    reached = np.hypot((pixels[:, 0] - camera.cx) / camera.fx, (pixels[:, 1] - camera.cy) / camera.fy) <= top
    assert 0.4 < reached.mean() < 0.95
    assert np.array_equal(np.isfinite(camera.rays(pixels)).all(axis=1), reached)


def test_a_polynomial_without_a_solution_gives_no_ray():
    """Strong tangential terms reach to one side only: x + 0.9 x^2 + ... has a least value."""
    lens = (0.0, 0.0, 0.3, 0.3, 0.0)
    xy = np.array([[-5.0, -5.0], [0.1, 0.1]])
    solved = invert_brown_conrady(xy, lens)
    assert np.isnan(solved[0]).all()
    np.testing.assert_allclose(brown_conrady(solved[1:], lens), xy[1:], atol=1e-9)
    assert invert_brown_conrady(np.empty((0, 2)), lens).shape == (0, 2)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_not_in_front_has_no_pixel_and_raises_no_warning(model):
    camera = Intrinsics(**GOOD, model=model, coefficients=(0.0,) * 5 if model == "none" else LENS)
    behind = [(0, 0, 0), (0, 0, -1), (1, 2, -3), (0, 0, np.nan), (np.nan, 0, 1), (1e300, 0, 1e-300), (np.inf, 0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = camera.project(behind)
        assert not np.isfinite(pixels[:5]).all(axis=1).any()
        assert np.isnan(pixels[:4]).all()
        assert camera.project(np.empty((0, 3))).shape == (0, 2)
        assert camera.rays(np.empty((0, 2))).shape == (0, 2)
        assert np.isnan(camera.rays([(np.nan, 3.0)])).any()


@settings(max_examples=100, deadline=None)
@given(camera=cameras(), width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_a_scaled_camera_sees_the_same_ray_at_the_same_part_of_the_picture(camera, width, height):
    scaled = camera.scaled(width, height)
    assert (scaled.width, scaled.height, scaled.model) == (width, height, camera.model)
    whole = np.array([(camera.width, camera.height)])
    for share in ([(0.5, 0.5)], [(0.3, 0.6)]):
        old, new = np.array(share) * whole - 0.5, np.array(share) * (width, height) - 0.5
        a, b = camera.rays(old), scaled.rays(new)
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("side", [1, 3, 7, 640, 1279, 16384])
@pytest.mark.parametrize("to", [1, 3, 7, 333, 16384])
def test_a_principal_point_on_the_border_survives_scaling(side, to):
    for c in (-0.5, side - 0.5):
        scaled = Intrinsics(10.0, 10.0, c, c, side, side).scaled(to, to)
        assert scaled.cx == pytest.approx(-0.5 if c < 0 else to - 0.5, abs=1e-9)


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, bad) for name in ("fx", "fy") for bad in (0.0, -1.0, np.nan, np.inf, 1e7, "600", None, 1j)]
    + [(name, bad) for name in ("cx", "cy") for bad in (-1.0, 640.0, np.nan, -np.inf, None, "c")]
    + [(name, bad) for name in ("width", "height") for bad in (0, -5, 64.0, 16385, "640", None, np.nan, True)]
    + [("model", bad) for bad in ("fisheye", None, "BROWN_CONRADY", "")]
    + [("coefficients", bad) for bad in ((0.1,) * 4, (0.1,) * 6, (np.nan, 0, 0, 0, 0), None, 5, "00000", ("a",) * 5)],
)
def test_a_bad_field_is_refused_by_its_name(field, value):
    with pytest.raises(BadIntrinsics, match=field):
        Intrinsics(**{**GOOD, "model": "brown_conrady", field: value})


def test_coefficients_without_a_model_are_refused():
    with pytest.raises(BadIntrinsics, match="coefficients"):
        Intrinsics(**GOOD, coefficients=LENS)


@pytest.mark.parametrize(
    "K",
    [
        np.eye(4),
        np.full((3, 3), np.nan),
        [[600, 5, 320], [0, 600, 240], [0, 0, 1]],
        [[600, 0, 320], [1, 600, 240], [0, 0, 1]],
        [[600, 0, 320], [0, 600, 240], [0, 0, 2]],
        [[-600, 0, 320], [0, 600, 240], [0, 0, 1]],
    ],
)
def test_a_matrix_that_is_no_pinhole_is_refused(K):
    with pytest.raises(BadIntrinsics):
        Intrinsics.from_K(K, 640, 480)


@pytest.mark.parametrize("whole", [np.int16, np.int32, np.int64, np.uint16, np.uint64])
@pytest.mark.parametrize("real", [np.float32, np.float64, np.int32])
def test_numbers_of_numpy_make_the_same_camera(whole, real):
    given = Intrinsics(real(600), real(601), real(320), real(240), whole(640), whole(480), "brown_conrady",
                       np.array(LENS))  # fmt: skip
    plain = Intrinsics(**GOOD, model="brown_conrady", coefficients=LENS)
    assert given == plain
    assert hash(given) == hash(plain)
    assert json.loads(json.dumps(asdict(given))) == json.loads(json.dumps(asdict(plain)))


def test_a_model_whose_coefficients_are_all_zero_is_a_pinhole():
    camera = Intrinsics(**GOOD, model="inverse_brown_conrady")
    assert camera.is_pinhole
    assert np.array_equal(camera.rays([(3.0, 4.0)]), Intrinsics(**GOOD).rays([(3.0, 4.0)]))
