"""Coloured points and boxes as PLY (Turk 1994), as MeshLab, CloudCompare, Blender and Open3D read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1.box import EDGES, Box3D
from scene_r1.files import whole_file
from scene_r1_engines.errors import BadInput, SceneR1Error

EDGE_STEP_M = 0.004
MOST_STEPS = 500
"""Per edge, so that a box the size of a house stays small on disk."""

VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
EDGE = np.dtype("<i4")
"""Of an edge's vertices. Edges have the colour of their corners and none of their own, which trimesh 4 cannot read."""


def write_ply(
    path: str | os.PathLike[str],
    xyz: NDArray[np.floating],
    rgb: NDArray[np.uint8],
    boxes: Sequence[tuple[Box3D, tuple[int, int, int]]] = (),
    *,
    edge_points: bool = True,
) -> None:
    """Write points and boxes in place of whatever file was there: binary, little-endian, whole or absent.

    xyz: (N, 3) metres, world frame, stored as float32; N = 0 is legal. rgb: (N, 3) uint8. boxes: each with its colour.
    Vertices are the points, then 8 corners for each box, then points along its edges every EDGE_STEP_M, for viewers
    that ignore the 12 `edge` elements of each box (edge_points=False leaves them out).

    Raises BadInput for arrays or colours that are not these or a name that does not end in .ply, OutputExists where
    a folder has the name, SceneR1Error when the disk refuses.
    """
    _check(path, xyz, rgb)
    parts = [_vertices(xyz, rgb)]
    colors = [_checked_color(path, color) for _, color in boxes]
    parts.extend(_vertices(box.corners, color) for (box, _), color in zip(boxes, colors, strict=True))
    if edge_points:
        parts.extend(_vertices(_along_edges(box), color) for (box, _), color in zip(boxes, colors, strict=True))
    edges = np.array([np.array(EDGES) + len(xyz) + 8 * number for number in range(len(boxes))], EDGE)
    vertices = np.concatenate(parts)
    try:
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            file.write(_header(len(vertices), 12 * len(boxes)))
            file.write(vertices.tobytes())
            file.write(edges.tobytes())
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error


def _header(vertices: int, edges: int) -> bytes:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment Scene-R1 Edge: metres, world frame",
        f"element vertex {vertices}",
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
    ]
    if edges:
        lines += [f"element edge {edges}", "property int vertex1", "property int vertex2"]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def _vertices(xyz: NDArray[np.floating], rgb: NDArray[np.uint8]) -> NDArray[np.void]:
    """(N,) vertices; rgb: (N, 3), or (3,) for all of them."""
    out = np.empty(len(xyz), VERTEX)
    out["xyz"] = xyz
    out["rgb"] = rgb
    return out


def _along_edges(box: Box3D) -> NDArray[np.float64]:
    """(M, 3) points between the corners of each edge, metres, world frame."""
    corners, points = box.corners, []
    for i, j in EDGES:
        steps = int(np.clip(np.ceil(np.linalg.norm(corners[j] - corners[i]) / EDGE_STEP_M), 1, MOST_STEPS))
        t = np.arange(1, steps)[:, None] / steps
        points.append(corners[i] + t * (corners[j] - corners[i]))
    return np.concatenate(points)


def _check(path: str | os.PathLike[str], xyz: NDArray[np.floating], rgb: NDArray[np.uint8]) -> None:
    if Path(path).suffix.lower() != ".ply":
        raise BadInput(f"{path}: point clouds are written as PLY: end the name in .ply")
    if xyz.ndim != 2 or xyz.shape[1] != 3 or not np.issubdtype(xyz.dtype, np.floating):
        raise BadInput(f"{path}: xyz must be (N, 3) float metres, got {xyz.shape} {xyz.dtype}")
    if rgb.shape != xyz.shape or rgb.dtype != np.uint8:
        raise BadInput(f"{path}: rgb must be {xyz.shape} uint8 like xyz, got {rgb.shape} {rgb.dtype}")
    wrong = np.flatnonzero(~np.all(np.abs(xyz) <= np.finfo(np.float32).max, axis=1))  # NaN is not either
    if len(wrong):
        raise BadInput(f"{path}: point {wrong[0]} of {len(xyz)} is not finite in float32: leave such points out")


def _checked_color(path: str | os.PathLike[str], color: ArrayLike) -> NDArray[np.uint8]:
    values = np.asarray(color)
    if values.shape != (3,) or not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 255:
        raise BadInput(f"{path}: a box's colour must be red, green, blue in 0..255, got {color!r}")
    return values.astype(np.uint8)
