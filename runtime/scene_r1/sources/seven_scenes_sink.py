"""Writing the 7-Scenes layout, with the sidecars that keep what the layout has no place for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene_r1.frame import RgbdFrame
from scene_r1.sources.camera_file import CameraFile
from scene_r1.sources.folder_sink import FolderSink
from scene_r1.sources.seven_scenes import DEPTH_SCALE, INTRINSICS_FILE, TIMESTAMPS_FILE


class SevenScenesSink(FolderSink):
    """`frame-XXXXXX.color.png`, `.depth.png` (millimetres), `.pose.txt`, `camera-intrinsics.txt` (colour, 3x3).

    A frame without a pose gets no pose file. `camera.toml` keeps both cameras; `timestamps.txt` keeps the times,
    unless the source made them up from its rate.
    """

    depth_unit_m = DEPTH_SCALE

    def _place(self, frame: RgbdFrame, depth_raw: NDArray[np.uint16]) -> None:
        stem = f"frame-{frame.index:06d}"
        self._write_color(self._folder / f"{stem}.color", frame)
        self._write_depth(self._folder / f"{stem}.depth.png", depth_raw)
        if frame.T_world_camera is not None:
            # repr gives the shortest text that reads back to the same double
            rows = (" ".join(repr(float(v)) for v in row) for row in frame.T_world_camera)
            (self._folder / f"{stem}.pose.txt").write_text("\n".join(rows) + "\n", encoding="ascii")

    def _finish(self, camera: CameraFile) -> None:
        rows = (" ".join(repr(float(v)) for v in row) for row in camera.color.K)
        (self._folder / INTRINSICS_FILE).write_text("\n".join(rows) + "\n", encoding="ascii")
        if self._like is None or self._like.timestamps == "recorded":
            text = "".join(f"{t}\n" for t in self._timestamps_ns)
            (self._folder / TIMESTAMPS_FILE).write_text(text, encoding="ascii")
