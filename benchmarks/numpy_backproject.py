"""Back-projection as one writes it in numpy: what the kernels are timed against. One camera, as `BackProjector` does
it with the edge filter off, or, for `voxels`, on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject import EDGE_RATIO
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1_engines.intrinsics import Intrinsics

Cloud = tuple[NDArray[np.floating], NDArray[np.uint8]]
"""World points (N, 3) and their colours (N, 3), in reading order."""


def naive(frame: RgbdFrame, mask: NDArray[np.bool_]) -> Cloud:
    """The textbook: pixel grid, float64, whole-image arrays, all made anew for each frame.

    Rotated by sums and not by a matrix product, whose threads the thread clock would not see.
    """
    camera = frame.depth_intrinsics
    z = frame.depth_raw * frame.depth_scale
    keep = _in_range(frame) & mask
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x = (u - camera.cx) / camera.fx * z
    y = (v - camera.cy) / camera.fy * z
    T = frame.T_world_depth
    world = [T[i, 0] * x + T[i, 1] * y + T[i, 2] * z + T[i, 3] for i in range(3)]
    return np.stack(world, axis=-1)[keep], frame.color[keep]


class Vectorised:
    """numpy written with care: float32, rays of the camera computed once, no matrix product (which would use threads),
    one pass of look-ups. `dense` rotates the rays by broadcasting and picks afterwards, best where most pixels count;
    `gather` picks first, best under a small mask.

    buffers: True keeps every array between calls, as BackProjector keeps its own, which takes about half the time;
    results are then views that the next call overwrites.
    """

    def __init__(self, camera: Intrinsics, buffers: bool = False) -> None:
        self._x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)[None]
        self._y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)[:, None]
        shape = (camera.height, camera.width)
        self._flat_x = np.broadcast_to(self._x, shape).ravel()
        self._flat_y = np.broadcast_to(self._y, shape).ravel()
        self._buffers = _Buffers(shape) if buffers else None

    def dense(self, frame: RgbdFrame, mask: NDArray[np.bool_]) -> Cloud:
        """World points and colours; mask (H, W) bool."""
        b = self._buffers or _Buffers(frame.depth_raw.shape)
        index = _index(frame, mask, b)
        T = frame.T_world_depth.astype(np.float32)
        np.multiply(frame.depth_raw, np.float32(frame.depth_scale), out=b.z, dtype=np.float32, casting="unsafe")
        xyz, column = b.xyz[: len(index)], b.column[: len(index)]
        for axis in range(3):
            np.add(T[axis, 0] * self._x, T[axis, 1] * self._y + T[axis, 2], out=b.plane)
            b.plane *= b.z
            b.plane += T[axis, 3]
            xyz[:, axis] = np.take(b.plane.ravel(), index, out=column, mode="clip")
        return xyz, _colors(frame, index, b)

    def gather(self, frame: RgbdFrame, mask: NDArray[np.bool_]) -> Cloud:
        """The same, picking first."""
        b = self._buffers or _Buffers(frame.depth_raw.shape)
        index = _index(frame, mask, b)
        T = frame.T_world_depth.astype(np.float32)
        n = len(index)
        xyz, column, term = b.xyz[:n], b.column[:n], b.plane.ravel()[:n]
        x, y, z = b.x[:n], b.y[:n], b.z.ravel()[:n]
        np.take(frame.depth_raw.ravel(), index, out=b.counts[:n], mode="clip")
        np.multiply(b.counts[:n], np.float32(frame.depth_scale), out=z, dtype=np.float32, casting="unsafe")
        np.take(self._flat_x, index, out=x, mode="clip")
        np.take(self._flat_y, index, out=y, mode="clip")
        x *= z
        y *= z
        for axis in range(3):
            np.multiply(x, T[axis, 0], out=column)
            column += np.multiply(y, T[axis, 1], out=term)
            column += np.multiply(z, T[axis, 2], out=term)
            np.add(column, T[axis, 3], out=xyz[:, axis])
        return xyz, _colors(frame, index, b)

    def voxels(self, frame: RgbdFrame, mask: NDArray[np.bool_], voxel_m: float) -> Cloud:
        """With the edge filter, and of each voxel its first point: `np.unique` over packed keys."""
        xyz, rgb = self.dense(frame, mask & _smooth(frame.depth_raw))
        cell = np.floor(xyz * np.float32(1.0 / voxel_m)).astype(np.int64) & 0xFFFF
        _, first = np.unique((cell[:, 0] << 32) | (cell[:, 1] << 16) | cell[:, 2], return_index=True)
        first.sort()
        return xyz[first], rgb[first]


class _Buffers:
    """Fresh ones cost what `np.empty` costs, as any temporary of numpy does: the page faults come with the writing."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape))
        self.keep, self.low_enough = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        self.z, self.plane = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.x, self.y, self.column = (np.empty(size, np.float32) for _ in range(3))
        self.counts = np.empty(size, np.uint16)
        self.xyz, self.rgb = np.empty((size, 3), np.float32), np.empty((size, 3), np.uint8)


def _in_range(frame: RgbdFrame) -> NDArray[np.bool_]:
    lowest, highest = DepthRange().counts(frame.depth_scale)
    return (frame.depth_raw >= lowest) & (frame.depth_raw <= highest)


def _index(frame: RgbdFrame, mask: NDArray[np.bool_], b: _Buffers) -> NDArray[np.intp]:
    lowest, highest = DepthRange().counts(frame.depth_scale)
    np.greater_equal(frame.depth_raw, lowest, out=b.keep)
    np.less_equal(frame.depth_raw, highest, out=b.low_enough)
    b.keep &= b.low_enough
    b.keep &= mask
    return np.flatnonzero(b.keep)


def _colors(frame: RgbdFrame, index: NDArray[np.intp], b: _Buffers) -> NDArray[np.uint8]:
    return np.take(frame.color.reshape(-1, 3), index, axis=0, out=b.rgb[: len(index)], mode="clip")


def _smooth(depth_raw: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """No 4-neighbour further off than EDGE_RATIO of the depth."""
    depth = depth_raw.astype(np.float32)
    limit = np.float32(EDGE_RATIO) * depth
    out = np.ones(depth.shape, np.bool_)
    down, across = np.abs(np.diff(depth, axis=0)), np.abs(np.diff(depth, axis=1))
    out[:-1] &= down <= limit[:-1]
    out[1:] &= down <= limit[1:]
    out[:, :-1] &= across <= limit[:, :-1]
    out[:, 1:] &= across <= limit[:, 1:]
    return out
