"""Writing the TUM RGB-D layout, with the sidecar that keeps both cameras."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.sources.camera_file import CameraFile
from scene_r1.sources.folder_sink import FolderSink
from scene_r1.sources.tum import COLOR_LIST, DEPTH_LIST, DEPTH_SCALE, MAX_TIME_S, POSE_LIST
from scene_r1_engines.errors import BadFrame


class TumSink(FolderSink):
    """`rgb.txt`, `depth.txt`, `groundtruth.txt` and the images they name, depth in counts of 1/5000 m.

    A frame without a pose gets no line in `groundtruth.txt`. The layout knows frames by their time: times must grow
    from frame to frame (BadFrame), and are written to the nanosecond.
    """

    depth_unit_m = DEPTH_SCALE
    poses_at_frames = True

    def _place(self, frame: RgbdFrame, depth_raw: NDArray[np.uint16]) -> None:
        if self._timestamps_ns and frame.timestamp_ns <= self._timestamps_ns[-1]:
            raise BadFrame(
                f"frame {frame.index} is not later than the frame before it, and this layout knows frames by their "
                "time: write seven_scenes instead"
            )
        if not 0 <= frame.timestamp_ns < MAX_TIME_S * 1_000_000_000:
            raise BadFrame(f"frame {frame.index}: {frame.timestamp_ns} ns is no time of this layout: use seven_scenes")
        time = f"{frame.timestamp_ns // 1_000_000_000}.{frame.timestamp_ns % 1_000_000_000:09d}"
        for name in ("rgb", "depth"):
            (self._folder / name).mkdir(exist_ok=True)
        color = self._write_color(self._folder / "rgb" / time, frame)
        self._write_depth(self._folder / "depth" / f"{time}.png", depth_raw)
        self._append(COLOR_LIST, "# timestamp filename", f"{time} rgb/{color.name}")
        self._append(DEPTH_LIST, "# timestamp filename", f"{time} depth/{time}.png")
        line = None
        if frame.T_world_camera is not None:
            T = frame.T_world_camera
            numbers = [*T[:3, 3], *pose.to_quaternion(T)]
            line = f"{time} " + " ".join(repr(float(v)) for v in numbers)
        self._append(POSE_LIST, "# timestamp tx ty tz qx qy qz qw (camera to world)", line)

    def _append(self, name: str, head: str, line: str | None) -> None:
        path = self._folder / name
        with open(path, "a", encoding="ascii") as file:
            if file.tell() == 0:
                file.write(head + "\n")
            if line is not None:
                file.write(line + "\n")

    def _finish(self, camera: CameraFile) -> None:
        """Nothing more: the lists grew with the frames."""
