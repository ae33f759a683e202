"""Scans of ScanNet (Dai et al., CVPR 2017) on this disk: their recordings, and the true boxes of their objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grounding.datasets.entries import Entry, read_entries, read_json
from benchmarks.grounding.datasets.mesh import read_vertices
from scene_r1 import pose
from scene_r1.box import Box3D
from scene_r1.frame import IDENTITY
from scene_r1.sources.scannet.alignment import read_alignment
from scene_r1.sources.scannet_export import looks_like_scannet_export
from scene_r1_engines.errors import BadRecording

PLACES = ("scans", "scannet/scans", "scannet", "")
"""Where, below the data folder, a scan's own folder is looked for."""
THINNEST_M = 1e-6
"""A box needs a volume; an object whose vertices lie in a plane of the axes has none, and no box overlaps with it."""


class ScanNet:
    """The scans below a folder: `<id>/` in it or in scans/, scannet/ or scannet/scans/ of it.

    A scan's recording is `<id>/<id>.sens`, else an export: `<id>/` itself, `<id>/exported/`, or beside scans/ in
    EmbodiedScan's posed_images/<id>/. Its truth is in `<id>.aggregation.json`, `<id>_vh_clean_2.0.010000.segs.json`,
    `<id>_vh_clean_2.ply` and `<id>.txt` (axisAlignment, by which the recording's poses are aligned too).
    """

    def __init__(self, data: Path) -> None:
        self._data = data

    def folder(self, scan: str) -> Path | None:
        """Of a scan, or None where it is not on this disk."""
        return next((path for place in PLACES if (path := self._data / place / scan).is_dir()), None)

    def recording(self, scan: str) -> Path | None:
        """What `open_source` opens, or None."""
        folder = self.folder(scan)
        if folder is None:
            return None
        if (folder / f"{scan}.sens").is_file():
            return folder / f"{scan}.sens"
        exported = [folder, folder / "exported"]
        if folder.parent == self._data / "scans":
            exported.append(self._data / "posed_images" / scan)  # where the reader finds the scan's alignment
        return next((one for one in exported if one.is_dir() and looks_like_scannet_export(one)), None)

    def boxes(self, scan: str) -> dict[int, Box3D]:
        """Object id to the box around all vertices of its segments, metres, axis-aligned frame of ScanRefer.

        As the published loaders do it, but for one thing: where two objects share a segment, which happens in scans
        that were annotated twice, each keeps it. Raises BadRecording naming the file at fault.
        """
        folder = self.folder(scan)
        if folder is None:
            raise BadRecording(self._data / scan, "the scan is not on this disk: put its folder here or into scans/")
        T_aligned_scan = read_alignment(folder / f"{scan}.txt")  # None: a test scan, whose frame is its own
        vertices = read_vertices(folder / f"{scan}_vh_clean_2.ply")
        xyz = pose.apply(IDENTITY if T_aligned_scan is None else T_aligned_scan, vertices)
        segments_file = folder / f"{scan}_vh_clean_2.0.010000.segs.json"
        values = read_json(segments_file)
        segment_of = Entry(segments_file, "it", values if isinstance(values, dict) else {}).wholes("segIndices")
        if len(segment_of) != len(xyz):
            raise BadRecording(
                segments_file, f"has {len(segment_of)} vertices, but the mesh beside it has {len(xyz)}: get both again"
            )
        corners = _Corners(segment_of, xyz)
        groups = read_entries(folder / f"{scan}.aggregation.json", "segGroups")
        return {group.whole("objectId"): corners.box(group) for group in groups}


class _Corners:
    """The box of every segment of a mesh, so that an object's box is the union of few."""

    def __init__(self, segment_of: NDArray[np.int64], xyz: NDArray[np.float64]) -> None:
        """segment_of: (N,) of each vertex. xyz: (N, 3) metres."""
        order = np.argsort(segment_of, kind="stable")
        self._ids, first = np.unique(segment_of[order], return_index=True)
        self._low = np.minimum.reduceat(xyz[order], first) if len(first) else np.empty((0, 3))
        self._high = np.maximum.reduceat(xyz[order], first) if len(first) else np.empty((0, 3))

    def box(self, group: Entry) -> Box3D:
        segments = group.wholes("segments")
        if len(segments) == 0:
            group.refuse("the object has no segments")
        rows = np.searchsorted(self._ids, segments)
        unknown = (rows >= len(self._ids)) | (self._ids[np.minimum(rows, len(self._ids) - 1)] != segments)
        if np.any(unknown):
            group.refuse(f"segment {segments[unknown][0]} has no vertex in the mesh")
        low, high = self._low[rows].min(axis=0), self._high[rows].max(axis=0)
        return Box3D.from_corners(low, np.maximum(high, low + THINNEST_M))
