"""NVIDIA's cuVSLAM, in its RGB-D mode, behind the seam of all trackers.

Written from the public Python interface (`cuvslam`, release 15: Camera, Rig, Odometry, Tracker); it has never been run
here, for want of the library and of a GPU. The library is installed by hand, from NVIDIA's releases page.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.registration import registered_depth
from scene_r1.tracking.tracker import Tracked, TrackState, lost
from scene_r1_engines.errors import BadFrame, BadState, EngineFailed, MissingExtra
from scene_r1_engines.intrinsics import Intrinsics


class CuvslamTracker:
    """Odometry of cuVSLAM. The world is the first frame's camera; there is one anchor, 0, the world itself.

    The library wants depth registered to colour: with two cameras it is registered here. Times have to grow; a frame
    that is not later than the one before is LOST. Its loop closing is not used, so the revision stays 0.
    Raises MissingExtra where the library is absent.
    """

    name = "cuvslam"
    revision = 0

    def __init__(self) -> None:
        try:
            self._library: Any = import_module("cuvslam")
        except ImportError as error:
            raise MissingExtra("cuvslam", "the cuvslam tracker", "by hand, from the releases of nvidia-isaac/cuVSLAM") \
                from error  # fmt: skip
        self._tracker: Any = None
        self._camera: tuple[Intrinsics, float] | None = None
        self._last_ns = -1
        self._was_lost = False
        self._closed = False

    def track(self, frame: RgbdFrame) -> Tracked:
        """Where this frame's camera was. Raises BadState after `close`, BadFrame where the camera changes on the way,
        EngineFailed where the library does."""
        if self._closed:
            raise BadState("this tracker was closed: open another one")
        camera = (frame.color_intrinsics, frame.depth_scale)
        if self._camera is not None and camera != self._camera:
            raise BadFrame(f"frame {frame.index}: another camera than before: open a new cuvslam tracker for it")
        if frame.timestamp_ns <= self._last_ns:
            return self._lost()
        depth = frame.depth_raw
        if not frame.one_camera:
            depth = depth_counts(registered_depth(frame), frame.depth_scale)
        try:
            if self._tracker is None:
                self._tracker = self._open(*camera)
                self._camera = camera
            estimate, _ = self._tracker.track(frame.timestamp_ns, images=[frame.color], depths=[depth])
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise EngineFailed(f"cuvslam at frame {frame.index}: {error}") from error
        self._last_ns = frame.timestamp_ns
        if estimate.world_from_rig is None:
            return self._lost()
        found = estimate.world_from_rig.pose
        T = pose.from_quaternion(np.asarray(found.translation, np.float64), np.asarray(found.rotation, np.float64))
        state = TrackState.RELOCALISED if self._was_lost else TrackState.TRACKING
        self._was_lost = False
        return Tracked(state, T, 0, T, self.revision)

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """The identity for the one anchor there is."""
        return np.eye(4) if anchor == 0 else None

    def close(self) -> None:
        """Let the library's tracker go."""
        self._tracker, self._closed = None, True

    def __enter__(self) -> CuvslamTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _lost(self) -> Tracked:
        self._was_lost = self._last_ns >= 0
        return lost(self.revision)

    def _open(self, camera: Intrinsics, depth_scale: float) -> Any:
        """The library's tracker for one registered RGB-D camera."""
        v = self._library
        if camera.model == "inverse_brown_conrady" and not camera.is_pinhole:
            raise BadFrame("cuvslam knows no inverse Brown-Conrady lens: undistort the picture before it is pushed")
        # Its Brown model orders the coefficients k1, k2, k3, p1, p2.
        k1, k2, p1, p2, k3 = camera.coefficients
        lens = v.Distortion(v.Distortion.Model.Pinhole)
        if not camera.is_pinhole:
            lens = v.Distortion(v.Distortion.Model.Brown, [k1, k2, k3, p1, p2])
        one = v.Camera(
            size=[camera.width, camera.height],
            principal=[camera.cx, camera.cy],
            focal=[camera.fx, camera.fy],
            distortion=lens,
        )
        depth = v.Tracker.OdometryRGBDSettings()
        depth.depth_scale_factor = 1.0 / depth_scale
        depth.depth_camera_id = 0
        depth.enable_depth_stereo_tracking = False
        # Adjustment in a thread of its own would give other poses each time.
        config = v.Tracker.OdometryConfig(
            async_sba=False, odometry_mode=v.Tracker.OdometryMode.RGBD, rgbd_settings=depth
        )  # fmt: skip
        return v.Tracker(v.Rig([one]), config)
