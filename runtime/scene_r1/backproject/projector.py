"""Back-projection with buffers that are allocated once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.backproject import kernels
from scene_r1.backproject.cuda import WORTH_PIXELS, check_device, trouble
from scene_r1.backproject.points import Points
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.errors import BadFrame, EngineFailed
from scene_r1_engines.intrinsics import MODELS, Intrinsics

if TYPE_CHECKING:
    from scene_r1.backproject.cuda.projector import CudaBackProjector

EDGE_RATIO = 0.02
"""A pixel whose depth differs from a neighbour's by more than this share is taken for a flying pixel."""

FIRST_TABLE = 1 << 16
"""Slots of the first voxel table: half a megabyte, inside the second-level cache; doubled when a frame needs more."""

LAST_TABLE = 1 << 22
log = logging.getLogger(__name__)

Window = tuple[slice, slice]
"""Rows and columns of a depth image."""


class BackProjector:
    """Masked depth -> world points with colour. Serial, without the GIL; one object for one thread.

    depth_range: which depths are believed. edge_ratio: see EDGE_RATIO; 0 switches the edge filter off.
    voxel_m: side of the voxels in which only the first point is kept (in reading order), or None for all points.
    device: `cpu`; `cuda`: the GPU, or MissingExtra, or EngineFailed; `auto`: the GPU for windows of WORTH_PIXELS or
    more where one works, else the CPU. Both keep the same points in the same order.

    Memory: 15 bytes for each depth pixel and the voxel table, kept between calls and grown for larger frames.
    """

    def __init__(
        self,
        depth_range: DepthRange | None = None,
        edge_ratio: float = EDGE_RATIO,
        voxel_m: float | None = None,
        device: str = "auto",
    ) -> None:
        if not (np.isfinite(edge_ratio) and edge_ratio >= 0.0):
            raise BadFrame(f"edge_ratio must be 0 or more, got {edge_ratio!r}")
        if voxel_m is not None and not (np.isfinite(voxel_m) and voxel_m >= 1e-3):
            raise BadFrame(f"voxel_m must be 0.001 m or more, got {voxel_m!r}")
        check_device(device)
        self.device = device
        self._gpu: CudaBackProjector | None = None
        self.depth_range = depth_range or DepthRange()
        self.edge_ratio = edge_ratio
        self.voxel_m = voxel_m
        self._rays = RayTables()
        self._xyz = np.empty(0, np.float32)
        self._rgb = np.empty(0, np.uint8)
        self._ones = np.empty((0, 0), np.uint8)
        self._pixel = np.empty(0, np.int32)
        self._table = np.zeros(FIRST_TABLE if voxel_m else 0, np.uint64)
        self._generation = 0

    def __call__(self, frame: RgbdFrame, mask: NDArray[np.bool_] | None = None) -> Points:
        """World points of the valid depth inside `mask`.

        mask: (H, W) bool in the *colour* image; None = everywhere. Where depth has its own camera, colour and mask
        are looked up through `T_color_depth` at the nearest pixel; points outside the colour image are left out.
        Returns views of this object's buffers: valid until the next call, `copy()` them to keep.
        Raises BadFrame for a frame without a pose or a mask of another shape or dtype.
        """
        T = np.ascontiguousarray(frame.T_world_depth[:3], dtype=np.float32)
        size = (frame.color_intrinsics.height, frame.color_intrinsics.width)
        allowed = self._mask(mask, size)
        window = whole_window(frame) if mask is None else depth_window(frame, mask, self.depth_range)
        if window is not None and self._is_for_gpu(window):
            points = self._on_gpu(frame, None if mask is None else allowed, T, window)
            if points is not None:
                return points
        self._reserve(frame.depth_raw.size)
        if window is None:
            n = 0
        elif frame.one_camera:
            n = self._registered(frame, allowed, T, window)
        else:
            n = self._through(frame, allowed, T, window)
        return Points(self._xyz[: 3 * n].reshape(n, 3), self._rgb[: 3 * n].reshape(n, 3))

    def _is_for_gpu(self, window: Window) -> bool:
        rows, columns = window
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
        if self.device == "auto":
            return pixels >= WORTH_PIXELS and not trouble()
        return self.device == "cuda" and pixels > 0

    def _on_gpu(
        self, frame: RgbdFrame, mask: NDArray[np.uint8] | None, T: NDArray[np.float32], window: Window
    ) -> Points | None:
        """The points, or None where the GPU broke and the CPU may do its work. Raises EngineFailed where it may not."""
        try:
            if self._gpu is None:
                from scene_r1.backproject.cuda.projector import CudaBackProjector

                self._gpu = CudaBackProjector(self.depth_range, self.edge_ratio, self.voxel_m)
            return self._gpu(frame, mask, T, window)
        except Exception as error:
            self._gpu = None
            if self.device == "cuda":
                raise EngineFailed(
                    f"frame {frame.index}: back-projection on the GPU broke ({type(error).__name__}: {error}): "
                    "mend the driver, or use the CPU"
                ) from error
            log.warning("the GPU broke, the CPU does its work from now on: %s: %s", type(error).__name__, error)
            self.device = "cpu"
            return None

    def _registered(self, frame: RgbdFrame, mask: NDArray[np.uint8], T: NDArray[np.float32], window: Window) -> int:
        rows, columns = window
        rays_x, rays_y = self._rays.window(frame.depth_intrinsics, window)
        depth_raw = np.ascontiguousarray(frame.depth_raw[window])
        h, w = depth_raw.shape
        lowest, highest = self.depth_range.counts(frame.depth_scale)
        arguments = (
            depth_raw,
            np.ascontiguousarray(frame.color[rows, columns]).reshape(h, 3 * w),
            np.ascontiguousarray(mask[window]),
            rays_x,
            rays_y,
            T,
            np.float32(frame.depth_scale),
            lowest,
            highest,
            np.float32(self.edge_ratio),
            np.empty((w + 7) & ~7, np.uint8),
        )
        if self.voxel_m is None:
            return int(kernels.registered(*arguments, self._xyz, self._rgb))
        per_voxel = np.float32(1.0 / self.voxel_m)
        while True:
            self._next_generation()
            n = kernels.registered_voxels(*arguments, per_voxel, self._table, self._generation, self._xyz, self._rgb)
            if n >= 0:
                return int(n)
            self._grow_table()

    def _through(self, frame: RgbdFrame, mask: NDArray[np.uint8], T: NDArray[np.float32], window: Window) -> int:
        depth_raw = np.ascontiguousarray(frame.depth_raw[window])
        if self._pixel.size < depth_raw.size:
            self._pixel = np.empty(frame.depth_raw.size, np.int32)
        pixel = self._pixel[: depth_raw.size].reshape(depth_raw.shape)
        color_pixels(frame, self.depth_range, self.edge_ratio, self._rays, pixel, window)
        rays_x, rays_y = self._rays.window(frame.depth_intrinsics, window)
        while True:
            n = kernels.through_pixels(
                depth_raw, pixel, frame.color.reshape(-1, 3), mask.reshape(-1), rays_x, rays_y, T,
                np.float32(frame.depth_scale), self._xyz, self._rgb,
            )  # fmt: skip
            if self.voxel_m is None:
                return int(n)
            self._next_generation()
            kept = kernels.first_of_voxels(
                self._xyz, self._rgb, n, np.float32(1.0 / self.voxel_m), self._table, self._generation
            )
            if kept >= 0:
                return int(kept)
            self._grow_table()

    def _reserve(self, pixels: int) -> None:
        if len(self._xyz) < 3 * pixels:
            self._xyz = np.empty(3 * pixels, np.float32)
            self._rgb = np.empty(3 * pixels, np.uint8)

    def _mask(self, mask: NDArray[np.bool_] | None, size: tuple[int, int]) -> NDArray[np.uint8]:
        if mask is None:
            if self._ones.shape != size:
                self._ones = np.ones(size, np.uint8)
            return self._ones
        if mask.shape != size or mask.dtype != np.bool_:
            raise BadFrame(f"a mask must be {size} bool like the colour image, got {mask.shape} {mask.dtype}")
        return np.ascontiguousarray(mask).view(np.uint8)

    def _next_generation(self) -> None:
        self._generation += 1
        if self._generation > 65535:
            self._table[:] = 0
            self._generation = 1

    def _grow_table(self) -> None:
        if len(self._table) >= LAST_TABLE:
            raise BadFrame(f"voxels of {self.voxel_m} m are too small: one frame fills more than {LAST_TABLE // 2}")
        self._table = np.zeros(2 * len(self._table), np.uint64)
        self._generation = 0


class RayTables:
    """Rays at z = 1 of the last few cameras, as the kernels want them.

    A pinhole gives (1, w) x and (h, 1) y; a distorted camera (h, w) each, NaN where no ray reaches the pixel.
    """

    KEPT = 4

    def __init__(self) -> None:
        self._tables: dict[Intrinsics, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def of(self, intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(x, y) float32 tables of a camera."""
        if intrinsics not in self._tables:
            while len(self._tables) >= self.KEPT:
                del self._tables[next(iter(self._tables))]
            self._tables[intrinsics] = ray_tables(intrinsics)
        return self._tables[intrinsics]

    def window(self, intrinsics: Intrinsics, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The tables of a part of a camera's image."""
        x, y = self.of(intrinsics)
        rows, columns = window
        if y.shape[1] == 1:
            return np.ascontiguousarray(x[:, columns]), y[rows]
        return np.ascontiguousarray(x[window]), np.ascontiguousarray(y[window])


def ray_tables(intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The tables of one camera; see RayTables."""
    u = np.arange(intrinsics.width, dtype=np.float64)
    v = np.arange(intrinsics.height, dtype=np.float64)
    if intrinsics.is_pinhole and intrinsics.width > 1:
        x = ((u - intrinsics.cx) / intrinsics.fx)[None]
        y = ((v - intrinsics.cy) / intrinsics.fy)[:, None]
    else:
        grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        x, y = intrinsics.rays(grid).T.reshape(2, intrinsics.height, intrinsics.width)
    return np.ascontiguousarray(x, dtype=np.float32), np.ascontiguousarray(y, dtype=np.float32)


def color_pixels(
    frame: RgbdFrame,
    depth_range: DepthRange,
    edge_ratio: float,
    rays: RayTables | None = None,
    out: NDArray[np.int32] | None = None,
    window: Window | None = None,
) -> NDArray[np.int32]:
    """For each depth pixel the colour pixel that shows its point.

    Returns (h, w) int32: v * W + u in the colour image, -1 where depth is invalid or the point is outside of it; of
    the window only, where one is given.
    """
    part = whole_window(frame) if window is None else window
    rays_x, rays_y = (rays or RayTables()).window(frame.depth_intrinsics, part)
    depth_raw = np.ascontiguousarray(frame.depth_raw[part])
    lowest, highest = depth_range.counts(frame.depth_scale)
    camera = frame.color_intrinsics
    pixel = np.empty(depth_raw.shape, np.int32) if out is None else out
    kernels.color_pixels(
        depth_raw,
        rays_x,
        rays_y,
        np.ascontiguousarray(frame.T_color_depth[:3], dtype=np.float32),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy, *camera.coefficients], np.float32),
        0 if camera.is_pinhole else MODELS.index(camera.model),
        np.float32(frame.depth_scale),
        lowest,
        highest,
        np.float32(edge_ratio),
        np.empty((depth_raw.shape[1] + 7) & ~7, np.uint8),
        camera.width,
        camera.height,
        pixel,
    )
    return pixel


def whole_window(frame: RgbdFrame) -> Window:
    """All of the depth image."""
    h, w = frame.depth_raw.shape
    return slice(0, h), slice(0, w)


def depth_window(frame: RgbdFrame, mask: NDArray[np.bool_], depth_range: DepthRange) -> Window | None:
    """The part of the depth image that can show what is inside a mask of the colour image, None for an empty mask.

    A rim of a pixel or more is around it, so that the edge filter sees every neighbour. With two cameras: what the
    frustum of the mask's extent covers, from the nearest to the farthest depth.
    """
    h, w = frame.depth_raw.shape
    left, top, width, tall = extent_px(mask)
    if tall == 0:
        return None
    right, bottom = left + width - 1, top + tall - 1
    if not frame.one_camera:
        rays = frame.color_intrinsics.rays(_border(left, top, right, bottom, frame.color_intrinsics))
        rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
        reach = np.concatenate([rays * depth_range.near_m, rays * depth_range.far_m])
        seen = frame.depth_intrinsics.project(pose.apply(pose.inverse(frame.T_color_depth), reach))
        if not np.all(np.isfinite(seen)):
            return whole_window(frame)
        (left, top), (right, bottom) = seen.min(axis=0).astype(int) - 2, seen.max(axis=0).astype(int) + 2
        if right < 0 or bottom < 0 or left >= w or top >= h:
            return None
    rows = slice(max(0, int(top) - 1), min(h, int(bottom) + 3))
    columns = slice(max(0, int(left) - 1), min(w, int(right) + 3))
    return rows, columns


def _border(left: int, top: int, right: int, bottom: int, camera: Intrinsics) -> NDArray[np.float64]:
    """(N, 2) pixels whose rays bound those of a rectangle: its corners, and where the lens bends its sides more."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if camera.is_pinhole:
        return np.array(corners, np.float64)
    along = np.linspace(0.0, 1.0, 8, endpoint=False)[:, None]
    ends = np.array([*corners, corners[0]], np.float64)
    return np.concatenate([ends[i] + along * (ends[i + 1] - ends[i]) for i in range(4)])


def extent_px(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the set pixels of a mask (H, W); all 0 for an empty one."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return int(left), int(top), int(width), int(height)
