"""An answer and its scene as GLB: Blender, Windows, phones and web pages open it without anything installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import __version__
from scene_r1.box import EDGES
from scene_r1.drawing.palette import BOX_3D, MASK, TRUTH
from scene_r1.files import whole_file
from scene_r1.frame import RgbdFrame
from scene_r1.viewer.cloud import MOST_POINTS, VOXEL_M, scene_cloud
from scene_r1.viewer.gltf import LINES, POINTS, TRIANGLES, Document
from scene_r1.viewer.showing import Showing, text
from scene_r1_engines.errors import BadInput, SceneR1Error
from scene_r1_engines.intrinsics import Intrinsics

FRUSTUM_M = 0.15
"""How far before a camera its picture hangs."""
PICTURE_PX = 320
JPEG_QUALITY = 85
FRUSTUM_EDGES = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)])
"""Between the eye, 0, and the four corners."""
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""A glTF camera looks along -z with y up."""


def write_glb(
    path: str | os.PathLike[str],
    showing: Showing,
    *,
    voxel_m: float = VOXEL_M,
    most_points: int = MOST_POINTS,
    pictures: bool = True,
    overwrite: bool = True,
) -> None:
    """Write the scene's points, the object's points and box, and a camera for each keyframe; whole or absent.

    The world's numbers stay as they are, metres and its own axes; the one root node `world` turns its up
    (`Showing.up`) to glTF's y. Below it are `scene`, `object`, `box` (if there are any) and `frame <index>`, whose
    frustum is FRUSTUM_M deep and has one colour for views that support the answer and another for the rest. pictures:
    hang them in there. The scene's `extras` are the question and the answer as its JSON has them, with the rationale.

    voxel_m, most_points: as `scene_cloud`. Lens distortion is left out of frusta. Raises BadInput for a name that does
    not end in .glb, OutputExists where the name is taken, SceneR1Error when the disk refuses.
    """
    if Path(path).suffix.lower() != ".glb":
        raise BadInput(f"{path}: such scenes are written as GLB: end the name in .glb")
    data = _document(showing, voxel_m, most_points, pictures).glb()
    try:
        with whole_file(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error


def upright(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) rotation that takes an axis of the world to y, as glTF has up: of z it is x, y, z -> x, z, -y."""
    side = np.array((0.0, 1.0, 0.0) if abs(up[0]) > 0.5 else (1.0, 0.0, 0.0))
    out = np.eye(4)
    out[:3, :3] = np.stack([side, up, np.cross(side, up)])
    return out


def _document(showing: Showing, voxel_m: float, most_points: int, pictures: bool) -> Document:
    document = Document(f"Scene-R1 Edge {__version__}")
    white = document.material()
    children = []
    answer, cloud = showing.answer, scene_cloud(showing.keyframes, voxel_m, most_points)
    for name, xyz, rgb in (("scene", cloud.xyz, cloud.rgb), ("object", answer.xyz, answer.rgb)):
        if len(xyz):
            mesh = document.mesh(POINTS, xyz, white, rgb=rgb)
            children.append(document.add("nodes", {"name": name, "mesh": mesh}))
    if answer.box_3d is not None:
        box = document.mesh(LINES, answer.box_3d.corners[np.ravel(EDGES)], document.material(BOX_3D))
        extras = {"label": showing.label, **answer.box_3d.to_json()}
        children.append(document.add("nodes", {"name": "box", "mesh": box, "extras": extras}))
    paints = {True: document.material(TRUTH), False: document.material(MASK)}
    for frame in showing.keyframes:
        view = showing.evidence(frame)
        children.append(_camera(document, showing, frame, paints[view is not None and view.supports], pictures))
    root: dict[str, Any] = {"name": "world", "matrix": _columns(upright(showing.up))}
    if children:
        root["children"] = children
    extras = {"question": text(showing.question), **_plain(answer.to_json())}
    document.add("scenes", {"name": "Scene-R1", "nodes": [document.add("nodes", root)], "extras": extras})
    return document


def _camera(document: Document, showing: Showing, frame: RgbdFrame, paint: int, pictures: bool) -> int:
    """The node of a keyframe: its frustum, its picture, and a camera to look through."""
    camera = frame.color_intrinsics
    corners = _corners(camera)
    ends = np.concatenate([np.zeros((1, 3)), corners])
    lines = document.mesh(LINES, ends[FRUSTUM_EDGES.ravel()], paint)
    perspective = {
        "aspectRatio": camera.width * camera.fy / (camera.height * camera.fx),
        "yfov": float(2.0 * np.arctan(0.5 * camera.height / camera.fy)),
        "znear": 0.01,
    }
    lens = document.add("cameras", {"type": "perspective", "perspective": perspective})
    children = [document.add("nodes", {"name": f"eye {frame.index}", "camera": lens, "matrix": _columns(FLIP)})]
    if pictures:
        texture = document.picture(_jpeg(frame.color), "image/jpeg")
        mesh = document.mesh(
            TRIANGLES,
            corners,
            document.material(texture=texture),
            uv=np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32),
            indices=np.array([0, 3, 2, 0, 2, 1]),
        )
        children.append(document.add("nodes", {"name": f"picture {frame.index}", "mesh": mesh}))
    assert frame.T_world_camera is not None  # a Showing has no other
    node = {"name": f"frame {frame.index}", "mesh": lines, "matrix": _columns(frame.T_world_camera)}
    extras = {"frame": frame.index, "time_s": round(showing.seconds(frame), 6)}
    return document.add("nodes", {**node, "children": children, "extras": extras})


def _corners(camera: Intrinsics) -> NDArray[np.float64]:
    """(4, 3) where the picture's corners hang, camera frame: upper left, upper right, lower right, lower left."""
    w, h = camera.width - 0.5, camera.height - 0.5
    pixels = np.array([(-0.5, -0.5), (w, -0.5), (w, h), (-0.5, h)])
    rays = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return np.concatenate([rays, np.ones((4, 1))], axis=1) * FRUSTUM_M


def _jpeg(color: NDArray[np.uint8]) -> bytes:
    h, w = color.shape[:2]
    if w > PICTURE_PX:
        size = (PICTURE_PX, max(1, round(h * PICTURE_PX / w)))
        color = np.asarray(cv2.resize(color, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(color[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise SceneR1Error(f"OpenCV cannot encode a picture of {color.shape} as JPEG")
    return data.tobytes()


def _columns(T: NDArray[np.float64]) -> list[float]:
    """A matrix as glTF writes it, column by column."""
    return [float(x) for x in T.T.ravel()]


def _plain(value: Any) -> Any:
    """JSON in which every text is one that UTF-8 can hold."""
    if isinstance(value, dict):
        return {text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return text(value) if isinstance(value, str) else value
