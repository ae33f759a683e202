"""Back-projection on a CUDA GPU: the same points in the same order as the kernels of the CPU. Imported on use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject.cuda import kernels
from scene_r1.backproject.cuda.buffers import Buffers
from scene_r1.backproject.cuda.kernels import cuda
from scene_r1.backproject.points import Points
from scene_r1.backproject.projector import ray_tables
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.intrinsics import MODELS, Intrinsics


class CudaBackProjector:
    """What BackProjector does with a window of a frame, on the GPU of this thread's context. For one thread.

    Memory on the GPU: 22 bytes for each depth pixel, 4 for each colour pixel, and with voxels 28 to 52 bytes more for
    each depth pixel. The voxel table has more slots than a window has pixels, so it never gets full.
    """

    def __init__(
        self, depth_range: DepthRange, edge_ratio: float, voxel_m: float | None, mapped: bool | None = None
    ) -> None:
        """mapped: share memory with the CPU; None: where the GPU says that it is part of the same chip (Jetson)."""
        if mapped is None:
            mapped = bool(getattr(cuda.get_current_device(), "INTEGRATED", 0))
        self.depth_range = depth_range
        self.edge_ratio = edge_ratio
        self.voxel_m = voxel_m
        self.buffers = Buffers(cuda, mapped)
        self._rays_of: Intrinsics | None = None

    def __call__(
        self, frame: RgbdFrame, mask: NDArray[np.uint8] | None, T: NDArray[np.float32], window: tuple[slice, slice]
    ) -> Points:
        """World points of a window of the depth image; arguments as the CPU's path has them, all checked.

        mask: (H, W) uint8, 0 or 1, of the colour image; None: everywhere. T: (3, 4) float32 world from depth camera.
        Returns views of this object's buffers: valid until the next call. What CUDA raises passes through.
        """
        depth_raw = frame.depth_raw[window]
        h, w = depth_raw.shape
        one = frame.one_camera
        color = frame.color[window] if one else frame.color
        height, width = color.shape[:2]
        allowed = np.empty(0, np.uint8) if mask is None else mask[window] if one else mask
        lowest, highest = self.depth_range.counts(frame.depth_scale)
        camera = frame.color_intrinsics
        model = 0 if camera.is_pinhole else MODELS.index(camera.model)
        depth = self.buffers.put("depth", depth_raw)
        parameters = self.buffers.put("parameters", self._parameters(frame, T))
        pixel = self.buffers.get("pixel", h * w, np.int32)
        counts = self.buffers.get("counts", h, np.int32)
        rays = (*self._rays(frame.depth_intrinsics), window[0].start, window[1].start, parameters)
        kernels.find_pixels[h, kernels.BLOCK](
            depth, self.buffers.put("mask", allowed), int(mask is not None), *rays, int(one), model, lowest, highest,
            h, w, width, height, pixel, counts,
        )  # fmt: skip
        if self.voxel_m is not None:
            self._keep_first(depth, pixel, counts, rays, h, w)
        starts = self.buffers.get("starts", h + 1, np.int32)
        kernels.row_starts[1, kernels.BLOCK](counts, h, starts)
        xyz = self.buffers.get("xyz", 3 * h * w, np.float32)
        rgb = self.buffers.get("rgb", 3 * h * w, np.uint8)
        kernels.write_points[h, kernels.BLOCK](
            depth, pixel, self.buffers.put("color", color), *rays, h, w, starts, xyz, rgb
        )
        n = int(self.buffers.read("starts", 1, at=h)[0])
        return Points(
            self.buffers.read("xyz", 3 * n).reshape(n, 3),
            self.buffers.read("rgb", 3 * n).reshape(n, 3),
        )

    def _keep_first(self, depth: Any, pixel: Any, counts: Any, rays: tuple[Any, ...], h: int, w: int) -> None:
        slots = 1 << (h * w).bit_length()
        keys = self.buffers.get("keys", slots, np.int64)
        first = self.buffers.get("first", slots, np.int32)
        slot_of = self.buffers.get("slot_of", h * w, np.int32)
        per_voxel = np.float32(1.0 / (self.voxel_m or 1.0))
        kernels.empty_table[(slots + kernels.BLOCK - 1) // kernels.BLOCK, kernels.BLOCK](keys, first, slots)
        kernels.claim_voxels[h, kernels.BLOCK](depth, pixel, *rays, per_voxel, h, w, keys, first, slots, slot_of)
        kernels.keep_first[h, kernels.BLOCK](pixel, slot_of, first, h, w, counts)

    def _rays(self, camera: Intrinsics) -> tuple[Any, Any, int]:
        """(rays_x, rays_y, columns) of the depth camera, sent to the GPU once."""
        if self._rays_of != camera:
            x, y = ray_tables(camera)
            self.buffers.put("rays_x", x)
            self.buffers.put("rays_y", y)
            self._rays_of = camera
        separable = camera.is_pinhole and camera.width > 1
        return self.buffers.get("rays_x", 0, np.float32), self.buffers.get("rays_y", 0, np.float32), (
            0 if separable else camera.width
        )  # fmt: skip

    def _parameters(self, frame: RgbdFrame, T: NDArray[np.float32]) -> NDArray[np.float32]:
        c = frame.color_intrinsics
        reach = 1.2 * max(max(c.cx, c.width - c.cx) / c.fx, max(c.cy, c.height - c.cy) / c.fy)
        numbers = [*T.ravel(), *frame.T_color_depth[:3].ravel(), c.fx, c.fy, c.cx, c.cy, *c.coefficients]
        return np.array([*numbers, reach, frame.depth_scale, self.edge_ratio], np.float32)
