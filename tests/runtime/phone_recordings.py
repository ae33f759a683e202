"""Writes small recordings in the layouts of phone apps and of the data sets made with phones."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources.record3d.lzfse_stream import lzfse
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.intrinsics import Intrinsics

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def fault(read: Callable[[], object]) -> BadRecording | None:
    """What stopped the reading, if anything did; whatever else is raised is a failure."""
    try:
        read()
    except BadRecording as error:
        return error
    return None


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image)
    assert done
    path.write_bytes(data.tobytes())


def seconds(time_ns: int, digits: int = 3) -> str:
    return f"{time_ns / 1e9:.{digits}f}"


def pincam(one: Intrinsics) -> str:
    return f"{one.width} {one.height} {one.fx!r} {one.fy!r} {one.cx!r} {one.cy!r}\n"


def traj_line(time_ns: int, T_world_camera: np.ndarray) -> str:
    """World to camera: an axis-angle vector, then the translation."""
    T = pose.inverse(T_world_camera)
    numbers = [*cv2.Rodrigues(T[:3, :3])[0].ravel(), *T[:3, 3]]
    return " ".join([seconds(time_ns, 9), *(repr(float(number)) for number in numbers)])


def write_arkit_scenes(
    folder: Path,
    frames: Sequence[RgbdFrame],
    confidence: Sequence[np.ndarray] = (),
    stream: str = "lowres",
    video: str = "41048143",
) -> Path:
    """A video with one stream, as ARKitScenes (lowres) or SceneFun3D (hires) have it. Times are cut to milliseconds."""
    traj = "lowres_wide.traj" if stream == "lowres" else "hires_poses.traj"
    folder.mkdir(parents=True)
    lines = []
    for i, frame in enumerate(frames):
        name = f"{video}_{seconds(frame.timestamp_ns)}"
        suffix = ".png" if stream == "lowres" else ".jpg"
        write_image(folder / f"{stream}_wide" / f"{name}{suffix}", frame.color)
        write_image(folder / f"{stream}_depth" / f"{name}.png", frame.depth_raw)
        sidecar = folder / f"{stream}_wide_intrinsics" / f"{name}.pincam"
        sidecar.parent.mkdir(exist_ok=True)
        sidecar.write_text(pincam(frame.color_intrinsics))
        if len(confidence):
            write_image(folder / "confidence" / f"{name}.png", confidence[i])
        if frame.T_world_camera is not None:
            lines.append(traj_line(frame.timestamp_ns, frame.T_world_camera))
    (folder / traj).write_text("\n".join(lines) + "\n")
    return folder


def write_stray(
    folder: Path,
    frames: Sequence[RgbdFrame],
    confidence: Sequence[np.ndarray] = (),
    npy: bool = False,
    old: bool = False,
    own_intrinsics: bool = False,
    pictures: int | None = None,
    codec: str = "mp4v",
) -> Path:
    """A recording of the Stray Scanner app. old: odometry without times and names, as its first version wrote it.

    pictures: how many the video gets, if not one a frame.
    """
    folder.mkdir(parents=True)
    first = frames[0]
    size = (first.color_intrinsics.width, first.color_intrinsics.height)
    video = cv2.VideoWriter(str(folder / "rgb.mp4"), cv2.VideoWriter_fourcc(*codec), 60.0, size)
    assert video.isOpened()
    for frame in frames[:pictures]:
        video.write(cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR))
    video.release()
    (folder / "camera_matrix.csv").write_text(
        "\n".join(", ".join(repr(float(v)) for v in row) for row in first.color_intrinsics.K)
    )
    head = "timestamp, frame, x, y, z, qx, qy, qz, qw"
    if own_intrinsics:
        head += ", fx, fy, cx, cy, distortion_center_x, distortion_center_y"
    lines = [] if old else [head]
    for i, frame in enumerate(frames):
        numbers = [float("nan")] * 7
        if frame.T_world_camera is not None:
            numbers = [*frame.T_world_camera[:3, 3], *pose.to_quaternion(frame.T_world_camera)]
        words = [repr(float(number)) for number in numbers]
        if not old:
            words = [seconds(frame.timestamp_ns, 9), f"{i:06d}", *words]
        if own_intrinsics:
            one = frame.color_intrinsics
            words += [repr(one.fx), repr(one.fy), repr(one.cx), repr(one.cy), "", ""]
        lines.append(", ".join(words))
        if npy:
            (folder / "depth").mkdir(exist_ok=True)
            np.save(folder / "depth" / f"{i:06d}.npy", frame.depth_raw)
        else:
            write_image(folder / "depth" / f"{i:06d}.png", frame.depth_raw)
        if len(confidence):
            write_image(folder / "confidence" / f"{i:06d}.png", confidence[i])
    (folder / "odometry.csv").write_text("\n".join(lines))
    return folder


def record3d_metadata(frames: Sequence[RgbdFrame], own_intrinsics: bool = False) -> dict[str, object]:
    """As the app writes it: K by columns, poses with OpenGL's camera axes. A lost pose is NaN."""
    first = frames[0]
    color, depth = first.color_intrinsics, first.depth_intrinsics
    poses = []
    for frame in frames:
        if frame.T_world_camera is None:
            poses.append([float("nan")] * 7)
        else:
            T = frame.T_world_camera @ OPENGL
            poses.append([*pose.to_quaternion(T).tolist(), *T[:3, 3].tolist()])
    found: dict[str, object] = {
        "K": color.K.T.ravel().tolist(),
        "w": color.width,
        "h": color.height,
        "dw": depth.width,
        "dh": depth.height,
        "fps": 30,
        "poses": poses,
        "initPose": [0, 0, 0, 1, 0, 0, 0],
        "frameTimestamps": [frame.timestamp_ns / 1e9 for frame in frames],
    }
    if own_intrinsics:
        cameras = (frame.color_intrinsics for frame in frames)
        found["perFrameIntrinsicCoeffs"] = [[one.fx, one.fy, one.cx, one.cy] for one in cameras]
    return found


def write_record3d(
    path: Path,
    frames: Sequence[RgbdFrame],
    confidence: Sequence[np.ndarray] = (),
    metadata: dict[str, object] | None = None,
) -> Path:
    """A `.r3d`: depth as LZFSE-compressed float32 metres."""
    package = lzfse()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("metadata", json.dumps(record3d_metadata(frames) if metadata is None else metadata))
        for i, frame in enumerate(frames):
            done, data = cv2.imencode(".jpg", cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR))
            assert done
            out.writestr(f"rgbd/{i}.jpg", data.tobytes())
            depth_m = (frame.depth_raw * frame.depth_scale).astype("<f4")
            out.writestr(f"rgbd/{i}.depth", package.compress(depth_m.tobytes()))
            if len(confidence):
                out.writestr(f"rgbd/{i}.conf", package.compress(confidence[i].tobytes()))
    return path
