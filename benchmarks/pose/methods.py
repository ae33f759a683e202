"""What is compared: our tracker, OpenCV 5's odometry, ORB against a keyframe, and ORB-SLAM3 where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.frame import RgbdFrame
from scene_r1.registration import view_of
from scene_r1.tracking import open_tracker

Follow = Callable[[RgbdFrame], NDArray[np.float64] | None]
"""The pose of the next frame, (4, 4) in a world of the method's own, or None."""

ODOMETRY_SIZE = (320, 240)
ORB_FEATURES = 1000
KEYFRAME_M, KEYFRAME_DEG, KEYFRAME_INLIERS = 0.15, 12.0, 80


def visual() -> Follow:
    """The built-in tracker."""
    tracker = open_tracker("visual")
    return lambda frame: tracker.track(frame).T_world_camera


def opencv_odometry() -> Follow:
    """cv2.Odometry, RGB and depth, frame to frame at 320x240 (it does not take a first guess well)."""
    library: Any = cv2
    settings = library.OdometrySettings()
    state: dict[str, Any] = {"before": None, "T": np.eye(4), "odometry": None}

    def follow(frame: RgbdFrame) -> NDArray[np.float64] | None:
        camera = frame.color_intrinsics.scaled(*ODOMETRY_SIZE)
        if state["odometry"] is None:
            settings.setCameraMatrix(camera.K.astype(np.float32))
            state["odometry"] = library.Odometry(
                library.OdometryType_RGB_DEPTH, settings, library.OdometryAlgoType_COMMON
            )
        depth = view_of(frame).depth_m
        assert depth is not None
        small = cv2.resize(depth, ODOMETRY_SIZE, interpolation=cv2.INTER_NEAREST)
        color = cv2.resize(frame.color, ODOMETRY_SIZE, interpolation=cv2.INTER_AREA)
        now = library.OdometryFrame(small, color)
        state["odometry"].prepareFrame(now)
        before, state["before"] = state["before"], now
        if before is not None:
            done, T = state["odometry"].compute(before, now)
            if not done or not np.all(np.isfinite(T)):
                return None
            # It gives the earlier camera's points in the later one.
            state["T"] = state["T"] @ np.linalg.inv(T)
        return np.array(state["T"])

    return follow


def orb_to_keyframe() -> Follow:
    """ORB features matched to one keyframe, P3P with RANSAC; a new keyframe when few match or the camera has moved."""
    library: Any = cv2
    orb = library.ORB_create(nfeatures=ORB_FEATURES)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    state: dict[str, Any] = {"descriptors": None}

    def keep(frame: RgbdFrame, keypoints: Any, descriptors: Any, T: NDArray[np.float64]) -> None:
        depth = view_of(frame).depth_m
        assert depth is not None
        pixels = np.array([k.pt for k in keypoints])
        z = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        good = z > 0.0
        rays = frame.color_intrinsics.rays(pixels[good])
        points = np.column_stack([rays, np.ones(len(rays))]) * z[good, None]
        state.update(descriptors=descriptors[good], points=points, T=T)

    def follow(frame: RgbdFrame) -> NDArray[np.float64] | None:
        keypoints, descriptors = orb.detectAndCompute(cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY), None)
        if descriptors is None:
            return None
        if state["descriptors"] is None:
            keep(frame, keypoints, descriptors, np.eye(4))
            return np.eye(4)
        matches = matcher.match(state["descriptors"], descriptors)
        if len(matches) < 10:
            return None
        rays = frame.color_intrinsics.rays(np.array([keypoints[m.trainIdx].pt for m in matches]))
        points = state["points"][[m.queryIdx for m in matches]]
        done, rotation, translation, inliers = cv2.solvePnPRansac(
            points.reshape(-1, 1, 3), rays.reshape(-1, 1, 2), np.eye(3), np.zeros(0), iterationsCount=200,
            reprojectionError=3.0 / frame.color_intrinsics.fx,
        )  # fmt: skip
        if not done or inliers is None or len(inliers) < 12:
            return None
        T_now_keyframe = np.eye(4)
        T_now_keyframe[:3, :3], T_now_keyframe[:3, 3] = cv2.Rodrigues(rotation)[0], np.reshape(translation, 3)
        T_keyframe_now = pose.inverse(T_now_keyframe)
        T: NDArray[np.float64] = state["T"] @ T_keyframe_now
        away = float(np.linalg.norm(T_keyframe_now[:3, 3]))
        if (
            len(inliers) < KEYFRAME_INLIERS
            or away > KEYFRAME_M
            or pose.angle_deg(np.eye(4), T_now_keyframe) > KEYFRAME_DEG
        ):
            keep(frame, keypoints, descriptors, T)
        return T

    return follow


def methods() -> tuple[dict[str, Callable[[], Follow]], dict[str, str]]:
    """(what can be run here, by name; why the others cannot)."""
    found: dict[str, Callable[[], Follow]] = {"visual": visual, "orb_to_keyframe": orb_to_keyframe}
    missing = {}
    if hasattr(cv2, "Odometry"):
        found["opencv_odometry"] = opencv_odometry
    else:
        missing["opencv_odometry"] = f"OpenCV {cv2.__version__} has no cv2.Odometry: it came with 5"
    if find_spec("pyorbslam3") is None:
        missing["orb_slam3"] = "pyorbslam3 is not installed"
    else:
        missing["orb_slam3"] = "pyorbslam3 is installed, and brings no vocabulary: train one and run it by hand"
    return found, missing
