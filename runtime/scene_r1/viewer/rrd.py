"""An answer and how it came about as a Rerun recording: keyframes on a timeline in seconds, the box in the scene."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.box import Box3D
from scene_r1.drawing.palette import BOX_2D, BOX_3D, MASK, TRUTH
from scene_r1.files import whole_file
from scene_r1.frame import RgbdFrame
from scene_r1.viewer.cloud import MOST_POINTS, VOXEL_M, scene_cloud
from scene_r1.viewer.report import report
from scene_r1.viewer.showing import AXES, Showing, text
from scene_r1_engines.errors import BadInput, MissingExtra, SceneR1Error
from scene_r1_engines.intrinsics import Intrinsics

TIMELINE = "time"
JPEG_QUALITY = 90
OBJECT_CLASS = 1
UP = ("X_UP", "Y_UP", "Z_UP", "X_DOWN", "Y_DOWN", "Z_DOWN")
"""What Rerun calls each of AXES."""
OFF = ("0", "false", "off")
NEEDED = ("set_time", "binary_stream", "send_blueprint")
"""What a RecordingStream has from version 0.23 on."""


def require_rerun() -> None:
    """Asked before long work. Raises MissingExtra where Rerun is not there, does not import or is older than 0.23,
    SceneR1Error where its environment variable RERUN has switched it off."""
    rerun_module()


def write_rrd(
    path: str | os.PathLike[str],
    showing: Showing,
    *,
    voxel_m: float = VOXEL_M,
    most_points: int = MOST_POINTS,
    overwrite: bool = True,
) -> None:
    """Write what Rerun's viewer opens; no window is opened and nothing is sent anywhere. Whole or absent.

    Always there: `world/scene`, `world/object`, `world/answer` (the box with its label) and `world/answer/spread` (the
    box with each face one standard deviation further out), `world/walk` (from where keyframes were taken), `answer`
    (question, reasons and views as Markdown). On the timeline `time`, for each keyframe: `world/camera` with its image,
    depth, mask and 2D boxes, and a line of `selection`. A depth camera of its own is `world/depth_camera`.

    voxel_m, most_points: as `scene_cloud`. Memory: twice the file, about 1 MB for each
    640x480 keyframe. Raises MissingExtra without Rerun,
    BadInput for a name that does not end in .rrd, OutputExists where the name is taken, SceneR1Error when the disk
    refuses or Rerun was switched off by its environment variable RERUN.
    """
    if Path(path).suffix.lower() != ".rrd":
        raise BadInput(f"{path}: Rerun's recordings are written as RRD: end the name in .rrd")
    rr = rerun_module()
    data = _recorded(rr, showing, voxel_m, most_points)
    try:
        with whole_file(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise SceneR1Error(f"{path}: cannot be written: {error.strerror or error}") from error


def _recorded(rr: Any, showing: Showing, voxel_m: float, most_points: int) -> bytes:
    """The whole recording. Through memory and not by `save`, which tells nobody of a disk that is full; read once, as
    newer versions end what each read returns with a table of its contents."""
    recording = rr.RecordingStream("scene_r1_edge")
    stream = recording.binary_stream()
    try:
        one_camera = not showing.keyframes or showing.keyframes[0].one_camera
        recording.send_blueprint(_blueprint(one_camera))
        _always(rr, recording, showing, voxel_m, most_points)
        for number, frame in enumerate(showing.keyframes, 1):
            recording.set_time(TIMELINE, duration=showing.seconds(frame))
            _keyframe(rr, recording, showing, frame)
            words = f"keyframe {number} of {len(showing.keyframes)}: frame {frame.index}"
            recording.log("selection", rr.TextLog(words))
        return bytes(stream.read(flush=True))
    finally:
        recording.disconnect()


def rerun_module() -> Any:
    """Rerun, imported. Raises as `require_rerun`."""
    try:
        rr = import_module("rerun")
        import_module("rerun.blueprint")
        old = not all(hasattr(rr.RecordingStream, name) for name in NEEDED)
    except (ImportError, AttributeError) as error:
        raise MissingExtra("viewer", "writing .rrd", str(error)) from error
    if old:
        raise MissingExtra("viewer", "writing .rrd", f"rerun-sdk {rr.__version__} is too old, 0.23 or later is needed")
    if os.environ.get("RERUN", "").lower() in OFF:  # it would then record nothing, and say so to nobody
        raise SceneR1Error("writing .rrd: Rerun is switched off by RERUN in the environment: unset it")
    return rr


def _blueprint(one_camera: bool) -> Any:
    """The scene on the left; the keyframe, the reasons and the order of selection on the right."""
    views = import_module("rerun.blueprint")
    # Depth would lie over the picture, and in the room over its own points; it has a tab of its own.
    picture = views.Spatial2DView(origin="world/camera", contents=["$origin/**", "- $origin/depth"], name="keyframe")
    depth = views.Spatial2DView(origin="world/camera/depth" if one_camera else "world/depth_camera", name="depth")
    right = views.Vertical(
        views.Tabs(picture, depth, active_tab=0),
        views.TextDocumentView(origin="answer", name="answer"),
        views.TextLogView(origin="selection", name="selection"),
        row_shares=[5, 4, 2],
    )
    without_depth = ["$origin/**", "- world/camera/depth", "- world/depth_camera/depth"]
    room = views.Spatial3DView(origin="world", contents=without_depth, name="room")
    return views.Blueprint(views.Horizontal(room, right, column_shares=[3, 2]), collapse_panels=True)


def _always(rr: Any, recording: Any, showing: Showing, voxel_m: float, most_points: int) -> None:
    """What does not change with time."""
    answer, box = showing.answer, showing.answer.box_3d
    up = UP[int(np.argmax(AXES @ showing.up))]
    recording.log("world", getattr(rr.ViewCoordinates, f"RIGHT_HAND_{up}"), static=True)
    words = rr.AnnotationInfo(id=OBJECT_CLASS, label=showing.label, color=MASK)
    beside = rr.AnnotationInfo(id=0, color=(0, 0, 0, 0))  # else what is not the object is tinted red
    recording.log("world", rr.AnnotationContext([beside, words]), static=True)
    cloud = scene_cloud(showing.keyframes, voxel_m, most_points)
    recording.log("world/scene", rr.Points3D(cloud.xyz, colors=cloud.rgb, radii=0.4 * voxel_m), static=True)
    recording.log("world/object", rr.Points3D(answer.xyz, colors=answer.rgb, radii=0.2 * voxel_m), static=True)
    if box is not None:
        log_box(rr, recording, box, showing.label, static=True)
    if len(showing.keyframes) > 1:
        eyes = [frame.T_world_depth[:3, 3] for frame in showing.keyframes]
        recording.log("world/walk", rr.LineStrips3D([np.array(eyes)], colors=[TRUTH]), static=True)
    recording.log("answer", rr.TextDocument(report(showing), media_type="text/markdown"), static=True)


def _keyframe(rr: Any, recording: Any, showing: Showing, frame: RgbdFrame) -> None:
    """What a keyframe shows, at the time that is set. What it has none of is cleared, or the last one's would stay."""
    log_frame(rr, recording, frame)
    view = showing.evidence(frame)
    if view is None:
        recording.log("world/camera/mask", rr.Clear(recursive=False))
    else:
        recording.log("world/camera/mask", rr.SegmentationImage(view.mask.astype(np.uint8) * OBJECT_CLASS))
    boxes = [(box.xyxy, text(box.label), BOX_2D) for box in showing.answer.boxes_2d if box.frame == frame.index]
    if view is not None:
        agrees = "agrees" if view.supports else "does not agree"
        boxes.append((view.xyxy, f"seen, {agrees}, score {view.score:.2f}", MASK))
    if not boxes:
        recording.log("world/camera/boxes", rr.Clear(recursive=False))
        return
    corners, labels, colors = zip(*boxes, strict=True)
    drawn = rr.Boxes2D(
        array=np.array(corners, np.float32), array_format=rr.Box2DFormat.XYXY, labels=labels, colors=colors
    )
    recording.log("world/camera/boxes", drawn)


def log_frame(rr: Any, recording: Any, frame: RgbdFrame) -> None:
    """Picture, depth and camera of a frame, at the time that is set. Without a pose it stays where the last one was."""
    T = frame.T_world_camera
    if T is not None:
        _camera(rr, recording, "world/camera", frame.color_intrinsics, T)
    image = rr.EncodedImage(contents=_jpeg(frame.color), media_type="image/jpeg")
    recording.log("world/camera/image", image)
    depth = rr.DepthImage(frame.depth_raw, meter=1.0 / frame.depth_scale)
    if frame.one_camera:
        recording.log("world/camera/depth", depth)
        return
    if T is not None:
        _camera(rr, recording, "world/depth_camera", frame.depth_intrinsics, frame.T_world_depth)
    recording.log("world/depth_camera/depth", depth)


def log_box(rr: Any, recording: Any, box: Box3D, label: str, static: bool = False) -> None:
    """An answer's box with its label, and with each face one standard deviation further out."""
    half = np.multiply(box.size, 0.5)
    size = " x ".join(f"{side:.2f}" for side in box.size)
    words = f"{label}: {size} m, each face +- {box.spread_m:.3f} m"
    solid = rr.Boxes3D(centers=[box.center], half_sizes=[half], labels=[words], colors=[BOX_3D])
    spread = rr.Boxes3D(centers=[box.center], half_sizes=[half + box.spread_m], colors=[(*BOX_3D, 90)])
    recording.log("world/answer", solid, static=static)
    recording.log("world/answer/spread", spread, static=static)


def _camera(rr: Any, recording: Any, entity: str, camera: Intrinsics, T_world: NDArray[np.float64]) -> None:
    """A camera where it was. Rerun has no lens distortion: images are shown as they are, points were undistorted."""
    recording.log(entity, rr.Transform3D(translation=T_world[:3, 3], mat3x3=T_world[:3, :3]))
    lens = rr.Pinhole(
        resolution=[camera.width, camera.height],
        focal_length=[camera.fx, camera.fy],
        principal_point=[camera.cx, camera.cy],
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=0.2,
    )
    recording.log(entity, lens)


def _jpeg(color: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(color[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise SceneR1Error(f"OpenCV cannot encode a picture of {color.shape} as JPEG")
    return data.tobytes()
