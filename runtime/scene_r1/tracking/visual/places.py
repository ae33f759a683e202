"""Recognising a place: pictures that look alike, then points that match, then a pose that depth agrees with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.tracking.visual.picture import Picture

FEATURES: Final = 500
THUMB: Final = (20, 15)
"""Width and height of the small picture by which places are compared first (Klein and Murray, ECCV 2008)."""
RATIO: Final = 0.85
"""Lowe's ratio of the nearest to the second-nearest descriptor, at the most."""
MATCHED: Final = 18
"""Points that agree on one pose, at the least."""
MATCH_PX: Final = 3.0
DEEP: Final = 0.05
"""A matched point's depth may differ from what the pose says by this share."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """How a picture is recognised. thumb: (w h,) float32 of mean 0 and length 1. descriptors: (N, 32) uint8 of ORB.

    rays: (N, 2) at z = 1; depth: (N,) metres, 0 = unknown. points: (N, 3) metres in its camera, NaN without depth.
    """

    thumb: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    rays: NDArray[np.float64]
    depth: NDArray[np.float64]

    @property
    def points(self) -> NDArray[np.float64]:
        z = np.where(self.depth > 0.0, self.depth, np.nan)
        return np.column_stack([self.rays, np.ones(len(self.rays))]) * z[:, None]


class PlaceFinder:
    """Makes places of pictures, and matches two of them."""

    def __init__(self) -> None:
        library: Any = cv2  # whose type stubs lack ORB_create
        self._orb = library.ORB_create(nfeatures=FEATURES, scaleFactor=1.3, nlevels=5, fastThreshold=10)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)

    def place_of(self, picture: Picture) -> Place:
        """What a picture is recognised by."""
        shrunk = cv2.resize(picture.half, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
        small = np.asarray(cv2.GaussianBlur(shrunk, (0, 0), 1.0), np.float32).reshape(-1)
        small -= small.mean()
        thumb = small / max(float(np.linalg.norm(small)), 1e-3 * len(small))
        keypoints, descriptors = self._orb.detectAndCompute(picture.grey, None)
        if descriptors is None or not keypoints:
            return Place(thumb, np.empty((0, 32), np.uint8), np.empty((0, 2)), np.empty(0))
        rays = picture.camera.rays(np.array([one.pt for one in keypoints], np.float64))
        known = np.isfinite(rays).all(axis=1)
        rays = rays[known]
        return Place(thumb, np.ascontiguousarray(descriptors[known]), rays, picture.depth_along(rays))

    def match(self, known: Place, seen: Place) -> NDArray[np.float64] | None:
        """T_known_seen (4, 4) of the two cameras, or None where they do not show the same place.

        P3P with RANSAC on the points of `known` (their depth) and the pixels of `seen`; then its depth has to agree.
        """
        pairs = self._pairs(known, seen)
        points = known.points[pairs[:, 0]]
        usable = np.isfinite(points).all(axis=1)
        pairs, points = pairs[usable], points[usable]
        if len(pairs) < MATCHED:
            return None
        rays = seen.rays[pairs[:, 1]]
        done, rotation, translation, inliers = cv2.solvePnPRansac(
            points.reshape(-1, 1, 3), rays.reshape(-1, 1, 2), np.eye(3), np.zeros(0),
            iterationsCount=200, reprojectionError=MATCH_PX / 500.0, confidence=0.999, flags=cv2.SOLVEPNP_AP3P,
        )  # fmt: skip
        if not done or inliers is None:
            return None
        T_camera_place = np.eye(4)
        T_camera_place[:3, :3] = cv2.Rodrigues(rotation)[0]
        T_camera_place[:3, 3] = np.reshape(translation, 3)
        chosen = inliers.reshape(-1)
        z = pose.apply(T_camera_place, points[chosen])[:, 2]
        depth = seen.depth[pairs[chosen, 1]]
        agree = (depth <= 0.0) | (np.abs(z - depth) < DEEP * z + 0.02)
        count = int((agree & (depth > 0.0)).sum())
        if count < MATCHED or count < 0.25 * len(pairs) or agree.mean() < 0.7:
            return None
        return pose.inverse(T_camera_place)

    def _pairs(self, known: Place, seen: Place) -> NDArray[np.int64]:
        """(N, 2) rows of descriptors that are each other's nearest, clearly."""
        if len(known.descriptors) < 2 or len(seen.descriptors) < 2:
            return np.empty((0, 2), np.int64)
        there = self._matcher.knnMatch(known.descriptors, seen.descriptors, k=2)
        pairs = [(m[0].queryIdx, m[0].trainIdx, m[0].distance) for m in there
                 if len(m) == 2 and m[0].distance < RATIO * m[1].distance and m[0].distance < 64]  # fmt: skip
        best: dict[int, tuple[float, int]] = {}
        for query, train, distance in pairs:
            if train not in best or distance < best[train][0]:
                best[train] = (distance, query)
        return np.array([(query, train) for train, (_, query) in best.items()], np.int64).reshape(-1, 2)


def alike(places: Sequence[Place], seen: Place) -> NDArray[np.float64]:
    """(N,) how much the small pictures look alike, correlation in -1..1."""
    if not places:
        return np.empty(0)
    return np.asarray(np.stack([one.thumb for one in places]) @ seen.thumb, np.float64)
