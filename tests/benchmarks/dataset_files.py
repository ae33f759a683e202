"""Small files in the layouts of published data sets, made for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1 import pose

QUARTER_TURN = np.array([[0.0, -1.0, 0.0, 2.0], [1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
"""T_aligned_scan of a made scan: exact in binary, so that boxes are too."""
Corners = tuple[ArrayLike, ArrayLike]
CUBE: Corners = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SECOND_CUBE: Corners = ((4.0, 0.0, 0.0), (5.0, 1.0, 1.0))


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def mesh_bytes(xyz: NDArray[np.floating], order: str = "<", number: str = "f4") -> bytes:
    """A mesh as ScanNet stores it: coloured vertices, then faces. order: of bytes, or "" for text."""
    kind = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    name = {"f4": "float", "f8": "double"}[number]
    lines = ["ply", f"format {kind} 1.0", "comment VCGLIB generated", f"element vertex {len(xyz)}"]
    lines += [f"property {name} {axis}" for axis in "xyz"]
    lines += [f"property uchar {color}" for color in ("red", "green", "blue", "alpha")]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    head = "\n".join(lines).encode() + b"\n"
    if not order:
        body = "".join(f"{x!r} {y!r} {z!r} 1 2 3 255\n" for x, y, z in xyz.tolist()) + "3 0 1 2\n"
        return head + body.encode()
    vertices = np.zeros(len(xyz), [("xyz", order + number, 3), ("rgba", "u1", 4)])
    vertices["xyz"] = xyz
    return head + vertices.tobytes() + b"\x03" + np.array([0, 1, 2], order + "i4").tobytes()


def write_scan(data: Path, scan: str, objects: Mapping[int, Corners], *, recorded: bool = True) -> Path:
    """A ScanNet scan in data/scans: every object is the 8 corners of a box of the aligned frame, in two segments."""
    folder = data / "scans" / scan
    folder.mkdir(parents=True)
    corners, segments, groups = [np.array([[9.0, 9.0, 9.0]])], [5], []
    for target, (low, high) in objects.items():
        bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
        corners.append(np.where(bits, np.asarray(high, float), np.asarray(low, float)))
        segments += [100 + 2 * target + i % 2 for i in range(8)]
        names = [100 + 2 * target, 101 + 2 * target]
        groups.append({"id": target, "objectId": target, "segments": names, "label": "thing"})
    xyz = pose.apply(pose.inverse(QUARTER_TURN), np.concatenate(corners))
    (folder / f"{scan}_vh_clean_2.ply").write_bytes(mesh_bytes(xyz))
    write_json(folder / f"{scan}_vh_clean_2.0.010000.segs.json", {"sceneId": scan, "segIndices": segments})
    write_json(folder / f"{scan}.aggregation.json", {"sceneId": scan, "segGroups": groups})
    alignment = " ".join(str(number) for number in QUARTER_TURN.ravel())
    (folder / f"{scan}.txt").write_text(f"appVersionId = 7\naxisAlignment = {alignment} \ncolorHeight = 968\n")
    if recorded:
        (folder / f"{scan}.sens").write_bytes(b"recorded")
    return folder


def described(scene: str, target: int, name: str, ann: int = 0) -> dict[str, Any]:
    """A row of ScanRefer, whose ids are strings."""
    return {
        "scene_id": scene,
        "object_id": str(target),
        "object_name": name,
        "ann_id": str(ann),
        "description": f"the {name} number {target}, {ann}",
        "token": ["the"],
    }


def write_labels(path: Path, classes: Mapping[str, str]) -> Path:
    """ScanNet's table of labels, with the columns that are read where they are in the real one."""
    rows = ["id\traw_category\tcategory\tcount\tnyu40id\teigen13id\tnyuClass\tnyu40class\teigen13class"]
    rows += [f"1\t{raw}\t{raw}\t9\t0\t0\t\t{nyu40}\tObjects" for raw, nyu40 in classes.items()]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_visit(
    data: Path,
    visit: str,
    scan: NDArray[np.floating],
    annotations: Sequence[tuple[str, str, Sequence[int]]],
    descriptions: Sequence[tuple[str, Sequence[str], str]],
    *,
    kept: NDArray[np.bool_] | None = None,
    T_arkit_laser: NDArray[np.float64] | None = None,
) -> Path:
    """A SceneFun3D visit with one low-resolution video. annotations: (id, label, indices). descriptions: (id, of
    which annotations, text)."""
    folder = data / visit
    video = folder / "42445021"
    for name, suffix in (("lowres_wide", "png"), ("lowres_depth", "png"), ("lowres_wide_intrinsics", "pincam")):
        (video / name).mkdir(parents=True)
        (video / name / f"42445021_1.000.{suffix}").write_bytes(b"recorded")
    (video / "lowres_poses.traj").write_text("1.0 0 0 0 0 0 0\n")
    np.save(video / "42445021_transform.npy", np.eye(4) if T_arkit_laser is None else T_arkit_laser)
    (folder / f"{visit}_laser_scan.ply").write_bytes(mesh_bytes(scan, number="f8"))
    np.save(folder / f"{visit}_crop_mask.npy", np.ones(len(scan), bool) if kept is None else kept)
    rows = [{"annot_id": name, "label": label, "indices": list(indices)} for name, label, indices in annotations]
    write_json(folder / f"{visit}_annotations.json", {"visit_id": visit, "annotations": rows})
    tasks = [{"desc_id": name, "annot_id": list(of), "description": text} for name, of, text in descriptions]
    write_json(folder / f"{visit}_descriptions.json", {"visit_id": visit, "descriptions": tasks})
    return folder
