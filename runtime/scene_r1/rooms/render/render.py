"""What an ideal RGB-D camera sees in a room: colour, exact depth, and which thing each pixel belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1 import pose
from scene_r1.rooms.model.room import Room
from scene_r1.rooms.render.shade import depth_and_instance, develop, shade, sun_on, surface
from scene_r1.rooms.render.stage import Stage, baked_light, stage, unhidden_sun
from scene_r1_engines.errors import BadInput
from scene_r1_engines.intrinsics import Intrinsics

EVEN_LIGHT = 0.68
"""The light on a room's surfaces, times the gain, in an evenly exposed picture."""
WHITEST = 6.0
"""Light times gain beyond this is white whatever it is."""
EDGE_OFFSETS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
"""Where, in pixels off the centre, colour is sampled again at edges."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is really there in one view by an RGB-D camera.

    instance: (H, W) int16, pixels of the colour image: an object's id, a furniture's id (from 100), or -1 for walls,
    floor, ceiling and what hangs on them; the id at the pixel's centre.
    depth_m: (h, w) float32, metres along the optical axis of the depth camera. depth_instance: (h, w) int16, as
    `instance`, pixels of `depth_m`. With one camera the two instance images are the same array.
    """

    instance: NDArray[np.int16]
    depth_m: NDArray[np.float32]
    depth_instance: NDArray[np.int16]

    def mask(self, id: int) -> NDArray[np.bool_]:
        """(H, W) bool, pixels of the colour image that belong to one thing."""
        return np.asarray(self.instance == id)


@dataclass(frozen=True, slots=True, eq=False)
class Rendering(Truth):
    """One view with its colour, without noise. color: (H, W, 3) uint8, RGB."""

    color: NDArray[np.uint8]


def realsense_cameras(
    size: tuple[int, int] = (640, 480), one_camera: bool = False
) -> tuple[Intrinsics, Intrinsics, NDArray[np.float64]]:
    """(color_intrinsics, depth_intrinsics, T_color_depth) like those of a D435 read out at `size` = (width, height).

    Colour 55 degrees wide (610 px at 640), depth 79 degrees (385 px), 15 mm beside it and a fraction of a degree
    askew. one_camera: depth is registered to colour. Raises BadInput for an impossible size.
    """
    if len(size) != 2:
        raise BadInput(f"a size is (width, height) in pixels, got {size!r}")
    width, height = size
    color = Intrinsics(610.0, 610.0, 319.5, 239.5, 640, 480)
    color = _resized(color, width, height)
    if one_camera:
        return color, color, np.eye(4)
    depth = _resized(Intrinsics(385.0, 385.0, 320.3, 238.9, 640, 480), width, height)
    T_color_depth = pose.from_quaternion((0.015, 0.0002, 0.0003), (0.0012, -0.0016, 0.0006, 1.0), "T_color_depth")
    return color, depth, T_color_depth


def _resized(intrinsics: Intrinsics, width: int, height: int) -> Intrinsics:
    check = Intrinsics(1.0, 1.0, 0.0, 0.0, width, height)  # refuses what no image can be, before any division
    return intrinsics.scaled(check.width, check.height)


def render(
    room: Room,
    T_world_camera: ArrayLike,
    color_intrinsics: Intrinsics,
    depth_intrinsics: Intrinsics | None = None,
    T_color_depth: ArrayLike | None = None,
) -> Rendering:
    """Render one view. Colour is sampled at pixel centres, and four times more where things meet.

    T_world_camera: of the colour camera. depth_intrinsics and T_color_depth: left out, depth is registered to
    colour. The first view of a room bakes its light (about a second); the last rooms are remembered.

    Raises BadFrame for a transform that is not rigid, BadInput for a camera outside the walls, MissingExtra without
    a ray caster.
    """
    linear, seen = render_linear(room, T_world_camera, color_intrinsics, depth_intrinsics, T_color_depth)
    return Rendering(seen.instance, seen.depth_m, seen.depth_instance, developed(linear, even_gain(room)))


def render_linear(
    room: Room,
    T_world_camera: ArrayLike,
    color_intrinsics: Intrinsics,
    depth_intrinsics: Intrinsics | None = None,
    T_color_depth: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], Truth]:
    """The light that reaches the colour camera, before any exposure, and the truth of the view.

    Returns linear: (H, W, 3) float32, RGB, linear radiance on one scale for all views of a room: what is added, as
    by motion blur and exposure, is added here. 0 = dark, no upper end (a lamp is many times as bright as paper).
    `developed(linear, even_gain(room))` is the colour of `render`. Arguments and errors are those of `render`.
    """
    view = _View.of(room, T_world_camera, color_intrinsics, depth_intrinsics, T_color_depth)
    seen, hits = _survey(view)
    return _paint(view, hits, seen.instance), seen


def developed(linear: NDArray[np.float32], gain: float) -> NDArray[np.uint8]:
    """Linear light times `gain` as an sRGB picture, with a shoulder that keeps bright paint from clipping.

    linear: (H, W, 3) float32, RGB, as of `render_linear`; what is negative or NaN is black. gain: > 0; about 1 stop
    brighter for twice the number. Returns (H, W, 3) uint8. Raises BadInput for another shape, dtype or gain.
    """
    if linear.ndim != 3 or linear.shape[2] != 3 or linear.dtype != np.float32:
        raise BadInput(f"linear light must be (H, W, 3) float32, got {linear.shape} {linear.dtype}")
    if not 0.0 < gain < math.inf:
        raise BadInput(f"a gain must be a finite number > 0, got {gain!r}")
    out = np.empty(linear.shape, np.uint8)
    develop(np.ascontiguousarray(linear).reshape(-1, 3), gain / WHITEST, _film(), out.reshape(-1, 3))
    return out


def even_gain(room: Room) -> float:
    """The gain that exposes a room evenly, whatever its light: from the light on its surfaces."""
    return _gain_of(stage_of(room))


def survey(
    room: Room,
    T_world_camera: ArrayLike,
    color_intrinsics: Intrinsics,
    depth_intrinsics: Intrinsics | None = None,
    T_color_depth: ArrayLike | None = None,
) -> Truth:
    """`render` without the colour: no light is baked and nothing shaded. Arguments and errors are those of `render`."""
    return _survey(_View.of(room, T_world_camera, color_intrinsics, depth_intrinsics, T_color_depth))[0]


@lru_cache(maxsize=2)
def stage_of(room: Room) -> Stage:
    """The stage of a room; those of the last two rooms are remembered (about 10 MB each)."""
    return stage(room)


@lru_cache(maxsize=2)
def _light_of(scene: Stage) -> NDArray[np.float32]:
    return baked_light(scene)


@lru_cache(maxsize=2)
def _gain_of(scene: Stage) -> float:
    a, b, c = (scene.vertices[scene.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    light = _light_of(scene)[:, :3].mean(axis=1)[scene.faces].mean(axis=1)
    area /= area.sum()
    mean = float(area @ light)
    # Bright places count for more, as for an exposure meter, but a pool of light under one lamp not for all.
    level = math.sqrt(float(area @ np.minimum(light, 3.0 * mean) ** 2))
    return EVEN_LIGHT / max(level, 1e-6)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Arguments of `render`, checked."""

    scene: Stage
    T: NDArray[np.float64]
    color: Intrinsics
    depth: Intrinsics
    T_color_depth: NDArray[np.float64]

    @classmethod
    def of(
        cls, room: Room, T: ArrayLike, color: Intrinsics, depth: Intrinsics | None, T_color_depth: ArrayLike | None
    ) -> _View:
        if (depth is None) != (T_color_depth is None):
            raise BadInput("give depth_intrinsics and T_color_depth together, or neither (depth registered to colour)")
        checked = pose.rigid(T)
        T_cd = np.eye(4) if T_color_depth is None else pose.rigid(T_color_depth, "T_color_depth")
        half = np.asarray(room.size_m) / 2.0
        for where in (checked, checked @ T_cd):
            if np.any(np.abs(where[:3, 3] - (0.0, 0.0, half[2])) >= half):
                raise BadInput(f"the camera at {np.round(where[:3, 3], 3).tolist()} is outside the room {room.size_m}")
        return cls(stage_of(room), checked, color, depth or color, T_cd)

    @property
    def one_camera(self) -> bool:
        return self.color == self.depth and np.array_equal(self.T_color_depth, np.eye(4))


def _survey(view: _View) -> tuple[Truth, NDArray[np.int32]]:
    """The truth, and which triangle each pixel of the colour image meets."""
    hits, rays = _cast(view.scene, view.T, view.color)
    depth_m, instance = _measure(view.scene, view.T, hits, rays, view.color)
    if view.one_camera:
        return Truth(instance, depth_m, instance), hits
    T_world_depth = view.T @ view.T_color_depth
    depth_hits, rays = _cast(view.scene, T_world_depth, view.depth)
    depth_m, depth_instance = _measure(view.scene, T_world_depth, depth_hits, rays, view.depth)
    return Truth(instance, depth_m, depth_instance), hits


@lru_cache(maxsize=8)
def _pixel_rays(intrinsics: Intrinsics) -> NDArray[np.float64]:
    v, u = np.mgrid[: intrinsics.height, : intrinsics.width]
    rays = intrinsics.rays(np.stack([u.ravel(), v.ravel()], axis=1))
    rays.flags.writeable = False
    return rays


def _cast(
    scene: Stage, T: NDArray[np.float64], intrinsics: Intrinsics, rays: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    rays = _pixel_rays(intrinsics) if rays is None else rays
    rotation = T[:3, :3].astype(np.float32)
    directions = rays.astype(np.float32) @ rotation[:, :2].T + rotation[:, 2]
    lost = ~np.isfinite(rays[:, 0])  # no ray reaches a pixel beyond the fold of its distortion
    if lost.any():
        directions[lost] = (0.0, 0.0, 1.0)
    origins = np.broadcast_to(T[:3, 3].astype(np.float32), directions.shape)
    hits = scene.caster.first_hit(np.ascontiguousarray(origins), directions)
    hits[lost] = -1
    return hits, rays


def _measure(
    scene: Stage, T: NDArray[np.float64], hits: NDArray[np.int32], rays: NDArray[np.float64], intrinsics: Intrinsics
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    depth, ids = np.empty(len(hits), np.float32), np.empty(len(hits), np.int16)
    r, o = np.ascontiguousarray(T[:3, :3]), np.ascontiguousarray(T[:3, 3])
    depth_and_instance(hits, rays, r, o, scene.vertices, scene.faces, scene.instance, depth, ids)
    shape = (intrinsics.height, intrinsics.width)
    return depth.reshape(shape), ids.reshape(shape)


def _paint(view: _View, hits: NDArray[np.int32], instance: NDArray[np.int16]) -> NDArray[np.float32]:
    scene, T, intrinsics = view.scene, view.T, view.color
    rays = _pixel_rays(intrinsics)
    light = _shaded(scene, T, hits, rays, intrinsics)
    edges = np.flatnonzero(_edges(instance, scene.material[hits].reshape(instance.shape)))
    if len(edges):
        offsets = np.array(EDGE_OFFSETS) / (intrinsics.fx, intrinsics.fy)
        more = (rays[edges][:, None] + offsets).reshape(-1, 2)
        again, _ = _cast(scene, T, intrinsics, more)
        # A lamp's edge is not all lamp: beyond paper white, more light would only make its rim jagged.
        extra = np.minimum(_shaded(scene, T, again, more, intrinsics), 1.5 / _gain_of(scene))
        light[edges] = extra.reshape(len(edges), len(EDGE_OFFSETS), 3).mean(axis=1)
    return light.reshape(intrinsics.height, intrinsics.width, 3)


def _shaded(
    scene: Stage, T: NDArray[np.float64], hits: NDArray[np.int32], rays: NDArray[np.float64], intrinsics: Intrinsics
) -> NDArray[np.float32]:
    out = np.empty((len(hits), 3), np.float32)
    r, o = np.ascontiguousarray(T[:3, :3]), np.ascontiguousarray(T[:3, 3])
    shade(
        hits, rays, r, o, 1.0 / intrinsics.fx, scene.vertices, scene.faces, scene.normals, scene.texture,
        _light_of(scene), scene.material, scene.materials, scene.sun, scene.lamps,
        _sunny(scene, r, o, hits, rays), out,
    )  # fmt: skip
    return out


def _sunny(
    scene: Stage,
    rotation: NDArray[np.float64],
    origin: NDArray[np.float64],
    hits: NDArray[np.int32],
    rays: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Share of the sun (0..1) that falls on what each ray meets, (N,): past what stands in the room, asked by ray."""
    share = np.zeros(len(hits), np.float32)
    if max(scene.room.window.sun_light) > 0.0:
        points, normals = np.empty((2, len(hits), 3))
        surface(hits, rays, rotation, origin, scene.vertices, scene.faces, scene.normals, points, normals)
        sun_on(points, normals, scene.sun, share)
        lit = np.flatnonzero(share)
        share[lit] *= unhidden_sun(scene, points[lit], normals[lit])
    return share


def _edges(instance: NDArray[np.int16], material: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels beside another thing or another material, (H, W) bool."""
    out = np.zeros(instance.shape, np.bool_)
    for axis in (0, 1):
        low = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        high = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        step = (instance[low] != instance[high]) | (material[low] != material[high])
        out[low] |= step
        out[high] |= step
    return out


@lru_cache(maxsize=1)
def _film() -> NDArray[np.uint8]:
    """sRGB of light times gain over 0..WHITEST, in 4096 steps of its square root: fine where the eye is."""
    x = WHITEST * np.linspace(0.0, 1.0, 4096) ** 2
    x = np.clip(x * (1.0 + 0.16 * x) / (1.0 + 0.72 * x) * 1.25, 0.0, 1.0)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255.0 * srgb), dtype=np.uint8)
