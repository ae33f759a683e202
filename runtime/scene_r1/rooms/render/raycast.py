"""Ray casting against triangles: Embree through embreex, or through Open3D where embreex has no wheel."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import MissingExtra

NO_HIT = -1


class RayCaster(Protocol):
    """Answers two questions about rays; directions need not be of length 1, distances count in their lengths."""

    def first_hit(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.int32]:
        """Which triangle each ray meets first. origins, directions: (N, 3) float32. Returns (N,) int32; -1 = none."""
        ...

    def blocked(
        self, origins: NDArray[np.float32], directions: NDArray[np.float32], reach: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Whether anything lies within `reach` ((N,) float32, in lengths of the direction). Returns (N,) bool."""
        ...


def ray_caster(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> RayCaster:
    """A caster for one triangle mesh. vertices: (V, 3) metres. faces: (F, 3) vertex indices.

    Raises MissingExtra when neither embreex nor Open3D is installed.
    """
    try:
        return _EmbreexCaster(vertices, faces)
    except ModuleNotFoundError:
        pass
    try:
        return _Open3dCaster(vertices, faces)
    except ModuleNotFoundError:
        raise MissingExtra("rooms", "rendering a synthetic room", "neither embreex nor open3d is installed") from None


class _EmbreexCaster:
    def __init__(self, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
        # The low-level scene takes float32 arrays as they are: 7 million rays a second on one core, where trimesh's
        # wrapper around it first copies them to float64 and normalises.
        scenes: Any = import_module("embreex.rtcore_scene")
        meshes: Any = import_module("embreex.mesh_construction")
        self._scene = scenes.EmbreeScene()
        self._mesh = meshes.TriangleMesh(
            self._scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
        )

    def first_hit(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.int32]:
        return np.asarray(self._scene.run(origins, directions), dtype=np.int32)

    def blocked(
        self, origins: NDArray[np.float32], directions: NDArray[np.float32], reach: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        # run() uses `dists` as its work space, so it gets a copy.
        return np.asarray(self._scene.run(origins, directions, dists=reach.copy(), query="OCCLUDED") >= 0)


class _Open3dCaster:
    def __init__(self, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
        o3d: Any = import_module("open3d")
        self._core = o3d.core
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            self._core.Tensor(np.ascontiguousarray(vertices, np.float32)),
            self._core.Tensor(np.ascontiguousarray(faces, np.uint32)),
        )

    def first_hit(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.int32]:
        hits = self._scene.cast_rays(self._rays(origins, directions), nthreads=1)["primitive_ids"].numpy()
        return np.asarray(hits.astype(np.int64) % 2**32, dtype=np.uint32).view(np.int32)  # "none" is 2**32 - 1: -1

    def blocked(
        self, origins: NDArray[np.float32], directions: NDArray[np.float32], reach: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        # test_occlusions knows one reach for all rays, so each direction is stretched until its reach is 1.
        rays = self._rays(origins, directions * reach[:, None])
        return np.asarray(self._scene.test_occlusions(rays, tnear=0.0, tfar=1.0, nthreads=1).numpy(), dtype=np.bool_)

    def _rays(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> Any:
        return self._core.Tensor(np.concatenate([origins, directions], axis=1, dtype=np.float32))
