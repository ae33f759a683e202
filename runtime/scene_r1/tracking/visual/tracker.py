"""The built-in tracker: flow to a first pose, landmarks of the local map to a good one, keyframes to a better map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.backproject.projector import RayTables
from scene_r1.frame import DepthRange, RgbdFrame
from scene_r1.tracking import twist
from scene_r1.tracking.tracker import Tracked, TrackState, lost
from scene_r1.tracking.visual.bundle import adjust
from scene_r1.tracking.visual.fix import Fix, carried, fix
from scene_r1.tracking.visual.flow import flow
from scene_r1.tracking.visual.keyframe import MapKeyframe, make_keyframe
from scene_r1.tracking.visual.link import Link
from scene_r1.tracking.visual.local_view import LocalView
from scene_r1.tracking.visual.loop import TRIED, close_loop, look_alikes, recognise
from scene_r1.tracking.visual.picture import Picture, picture_of
from scene_r1.tracking.visual.places import Place, PlaceFinder
from scene_r1.tracking.visual.refine import refine
from scene_r1.tracking.visual.settings import VisualSettings
from scene_r1.tracking.visual.sparse_map import SparseMap
from scene_r1.tracking.visual.surface import surface_of
from scene_r1_engines.errors import BadState

RECENT: Final = 5
"""Of the local map's keyframes, so many are the newest; the others are those that see most alike."""
LONGEST_S: Final = 0.5
"""Beyond such a gap between two frames nothing is said of how the camera moved on."""
FASTEST_M_S: Final = 4.0
FASTEST_DEG_S: Final = 500.0
"""No hand moves a camera faster; the slack is for frames that come in quick succession."""
SLACK_M: Final = 0.05
SLACK_DEG: Final = 5.0
LATE: Final = 10
"""A loop is looked for to keyframes older than so many."""
NO_LANDMARKS: Final = (np.empty((0, 3)), np.empty((0, 2)), np.empty(0))
TIED: Final = 3
"""A new keyframe is tied by its depth to so many around it."""
LAID: Final = 0.7
"""Share of the depth points that agree when one surface is laid onto another."""
RANSAC_PX: Final = 4.0


class VisualTracker:
    """Follows an RGB-D camera on the CPU. The world is the first frame's camera.

    Landmarks with the depth camera's depth are found in each picture by their patches, the pose is fitted to them and
    to the depth image; keyframes and landmarks are refined together; places seen before are recognised.
    Takes about 10 ms a frame of 640x480 on one core. See VisualSettings for what bounds it.
    """

    name = "visual"

    def __init__(self, settings: VisualSettings | None = None) -> None:
        self.settings = settings or VisualSettings()
        self._range = DepthRange(self.settings.near_m, self.settings.far_m)
        self._rays = RayTables()
        self._finder = PlaceFinder()
        self._map = SparseMap(self.settings.keyframes, self.settings.anchors)
        self._view: LocalView | None = None
        self._reference = 0
        self._before: tuple[Picture, Fix] | None = None
        self._velocity = np.zeros(6)  # of the camera, a second
        self._since_keyframe = 0
        self._links: list[Link] = []
        self._errand: Iterator[None] = iter(())
        self._revision = 0
        self._segment = 0
        self._lost_at_ns: int | None = None
        self._tried = 0
        self._closed = False

    @property
    def revision(self) -> int:
        """Of the map: goes up by one with each correction of it."""
        return self._revision

    def track(self, frame: RgbdFrame) -> Tracked:
        """Where this frame's camera was. Raises BadState after `close`."""
        if self._closed:
            raise BadState("this tracker was closed: open another one")
        picture = picture_of(frame, self._range, self._rays)
        if not len(self._map):
            return self._begin(picture, np.eye(4))
        found = self._follow(picture)
        state = None
        if found is None:
            self._finish()
            state = TrackState.RELOCALISED
            found = self._find_again(picture)
        if found is None:
            return self._begin_again(picture)
        self._remember(picture, found)
        return self._told(state)

    def T_world_anchor(self, anchor: int) -> NDArray[np.float64] | None:
        """Pose of a keyframe of the map as it stands now, (4, 4); None when it is no longer held."""
        return self._map.T_world_anchor(anchor)

    def close(self) -> None:
        """Forget the map."""
        self._closed = True
        self._view = self._before = None
        self._errand = iter(())
        self._map = SparseMap(self.settings.keyframes, 0)

    def __enter__(self) -> VisualTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _begin(self, picture: Picture, T: NDArray[np.float64]) -> Tracked:
        """The first keyframe of a map, or of a part of it, taken at T."""
        keyframe = self._keyframe(picture, T, np.empty((0, 2)), self._finder.place_of(picture))
        if len(keyframe.rays) < self.settings.enough:
            return lost(self._revision)
        self._map.insert(keyframe)
        self._look_around(T)
        view = self._local()
        rows = np.arange(len(view))
        first = Fix(T, rows, keyframe.pixels, keyframe.rays, 1.0 / keyframe.measured, len(rows), 0.0, 1.0, 1.0, 0)
        self._before = (picture, first)
        self._velocity, self._reference, self._lost_at_ns = np.zeros(6), 0, None
        return self._told(None)

    def _begin_again(self, picture: Picture) -> Tracked:
        """What to say of a frame that nothing is known of; a new part of the map, where that is wanted and due."""
        now_ns = picture.frame.timestamp_ns
        if self._lost_at_ns is None:
            self._lost_at_ns = now_ns
        self._before = None
        after = self.settings.new_map_after_s
        if after is None or now_ns - self._lost_at_ns < after * 1e9:
            return lost(self._revision)
        self._segment += 1
        begun = self._begin(picture, np.eye(4))
        if begun.state is TrackState.LOST:
            self._segment -= 1
            return begun
        self._revision += 1
        return self._told(TrackState.RELOCALISED)

    def _find_again(self, picture: Picture) -> Fix | None:
        """Recognise the place after the camera was lost: what looks alike first, then all others in turn."""
        place = self._finder.place_of(picture)
        mine = list(self._map)
        likely = look_alikes(place, mine, TRIED)
        self._tried += 1
        candidates = [*likely, *([one] if (one := mine[self._tried % len(mine)]) not in likely else [])]
        done = recognise(picture, place, candidates, mine, self._finder, self.settings)
        if done is None:
            return None
        found, view = done
        if view.keyframes[0].segment != self._segment:
            self._segment = view.keyframes[0].segment
            self._revision += 1
        self._look_around(found.T_world_camera)
        self._velocity = np.zeros(6)
        again = fix(picture, self._local(), found.T_world_camera, 0, self.settings)
        return again if self._believed(again) else None

    def _follow(self, picture: Picture) -> Fix | None:
        """The pose of the next frame, or None."""
        if self._before is None:
            return None
        before, last = self._before
        view = self._local()
        dt = (picture.frame.timestamp_ns - before.frame.timestamp_ns) * 1e-9
        T_ahead = last.T_world_camera
        if 0.0 < dt < LONGEST_S:
            T_ahead = last.T_world_camera @ twist.exp(self._velocity * dt)
        T_first = self._by_flow(before, last, picture, T_ahead)
        found = fix(picture, view, T_ahead if T_first is None else T_first, self._reference, self.settings)
        if not self._believed(found) or not self._possible(last.T_world_camera, found.T_world_camera, dt):
            return None
        moved = twist.log(pose.inverse(last.T_world_camera) @ found.T_world_camera)
        self._velocity = moved / dt if 0.0 < dt < LONGEST_S else np.zeros(6)
        return found

    def _by_flow(
        self, before: Picture, last: Fix, now: Picture, T_ahead: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """A first pose from optical flow: the landmarks of the last frame where they are now, and P3P with RANSAC."""
        if before.grey.shape != now.grey.shape:
            return None
        world = self._local().world[last.rows]
        expected = now.camera.project(pose.apply(pose.inverse(T_ahead), world))
        usable = np.isfinite(expected).all(axis=1)
        places, ok = flow(before, now, last.pixels[usable], expected[usable])
        rays, points = now.camera.rays(places[ok]), world[usable][ok]
        if len(points) < self.settings.least:
            return None
        done, rotation, translation, inliers = cv2.solvePnPRansac(
            points.reshape(-1, 1, 3), rays.reshape(-1, 1, 2), np.eye(3), np.zeros(0),
            iterationsCount=60, reprojectionError=RANSAC_PX / now.camera.fx, confidence=0.995, flags=cv2.SOLVEPNP_AP3P,
        )  # fmt: skip
        if not done or inliers is None or len(inliers) < max(self.settings.least, 0.4 * len(points)):
            return None
        T_camera_world = np.eye(4)
        T_camera_world[:3, :3] = cv2.Rodrigues(rotation)[0]
        T_camera_world[:3, 3] = np.reshape(translation, 3)
        return pose.inverse(T_camera_world)

    def _believed(self, found: Fix) -> bool:
        s = self.settings
        return len(found.rows) >= s.least and found.share >= s.share and found.depth_share >= 0.6

    @staticmethod
    def _possible(T_before: NDArray[np.float64], T_now: NDArray[np.float64], dt: float) -> bool:
        """Whether a hand could have moved the camera so far in this time."""
        seconds = min(max(dt, 0.0), LONGEST_S)
        metres = float(np.linalg.norm(T_now[:3, 3] - T_before[:3, 3]))
        degrees = pose.angle_deg(T_before, T_now)
        return metres < SLACK_M + FASTEST_M_S * seconds and degrees < SLACK_DEG + FASTEST_DEG_S * seconds

    def _remember(self, picture: Picture, found: Fix) -> None:
        """Go on from here; take a keyframe where one is due."""
        self._before = (picture, found)
        self._reference, self._lost_at_ns = found.anchor, None
        self._since_keyframe += 1
        if self._is_due(found):
            self._finish()
            self._insert(*self._before)
        else:
            next(self._errand, None)

    def _finish(self) -> None:
        """Do at once what is left to do for the newest keyframe."""
        for _ in self._errand:
            pass

    def _is_due(self, found: Fix) -> bool:
        s = self.settings
        if self._since_keyframe < 3 or len(found.rows) < s.enough:
            return False
        view = self._local()
        depth = float(np.median(found.depth[found.depth > 0.0])) if (found.depth > 0.0).any() else 1.0
        near = [
            np.linalg.norm(one.T_world_camera[:3, 3] - found.T_world_camera[:3, 3]) < s.apart_m * depth
            and pose.angle_deg(one.T_world_camera, found.T_world_camera) < s.apart_deg
            for one in view.keyframes
        ]
        return not any(near) or len(found.rows) < s.few * s.landmarks * 0.7

    def _insert(self, picture: Picture, found: Fix) -> None:
        """Take a keyframe, whose landmarks are looked for from now on; the rest of the work is left for later."""
        view = self._local()
        place = self._finder.place_of(picture)
        keyframe = self._keyframe(picture, found.T_world_camera, found.pixels, place)
        for home in np.unique(view.home[found.rows]):
            mine = view.home[found.rows] == home
            numbers = view.number[found.rows[mine]]
            keyframe.sightings.append((view.keyframes[home].id, numbers, found.rays[mine], found.depth[mine]))
        self._since_keyframe = 0
        self._map.insert(keyframe, keep=[one.id for one in view.keyframes])
        self._look_again(found.T_world_camera)
        self._errand = self._settled(picture, keyframe, view, place)

    def _settled(self, picture: Picture, keyframe: MapKeyframe, view: LocalView, place: Place) -> Iterator[None]:
        """Refine the map around a new keyframe, then look for a loop: a piece of the work for each frame that follows,
        so that no frame waits for all of it."""
        window = [*view.keyframes, keyframe]
        self._links.extend(self._tied(picture, keyframe, view))
        T_anchor_camera = self._hung()
        adjust(window, self._links, max(1, len(window) // 4), self.settings.pixel_sigma, self.settings.relative_sigma)
        ids = {one.id for one in self._map}
        self._links = [link for link in self._links if link.a in ids and link.b in ids]
        self._look_again(self._anchor().T_world_camera @ T_anchor_camera)
        yield
        if self.settings.loops:
            yield from self._close_loop(picture, keyframe, place)

    def _close_loop(self, picture: Picture, keyframe: MapKeyframe, place: Place) -> Iterator[None]:
        """Look for an old place in a new keyframe, one candidate at a time, and correct the map by it."""
        shared: dict[int, int] = {home: len(numbers) for home, numbers, _, _ in keyframe.sightings}
        old = [
            one for one in self._map
            if one.id < keyframe.id - LATE and one.segment == self._segment and shared.get(one.id, 0) < 15
        ]  # fmt: skip
        if any(home < keyframe.id - LATE and count >= 15 for home, count in shared.items()) or not old:
            return  # old landmarks are in use already: the loop is closed
        near = np.argsort(SparseMap.distances(keyframe.T_world_camera, old), kind="stable")[:1]
        likely = look_alikes(place, old, TRIED - 1)
        likely += [old[int(i)] for i in near if old[int(i)] not in likely]
        for one in likely:
            done = recognise(picture, place, [one], old, self._finder, self.settings)
            if done is not None:
                T_anchor_camera = self._hung()
                if close_loop(self._map, keyframe, *done):
                    self._revision += 1
                    self._look_again(self._anchor().T_world_camera @ T_anchor_camera)
                return
            yield

    def _tied(self, picture: Picture, keyframe: MapKeyframe, view: LocalView) -> list[Link]:
        """Links of a new keyframe to those around it, by their depth alone: it goes where landmarks have little say."""
        s = self.settings
        if s.plane_weight == 0.0:
            return []
        points = picture.depth_points()
        far = SparseMap.distances(keyframe.T_world_camera, view.keyframes)
        out = []
        for place in np.argsort(far, kind="stable")[:TIED]:
            other = view.keyframes[int(place)]
            laid = refine(
                keyframe.T_world_camera, *NO_LANDMARKS, points=points, reference=other.surface,
                T_world_reference=other.T_world_camera, relative_sigma=s.relative_sigma, plane_weight=s.plane_weight,
            )  # fmt: skip
            if laid.plane_share > LAID:
                T = pose.inverse(other.T_world_camera) @ laid.T_world_camera
                out.append(Link(other.id, keyframe.id, T, laid.information))
        return out

    def _keyframe(
        self, picture: Picture, T: NDArray[np.float64], taken: NDArray[np.float64], place: Place
    ) -> MapKeyframe:
        surface = surface_of(picture.frame, self._range, self._rays)
        keyframe = make_keyframe(self._map.next_id, picture, surface, T.copy(), taken, place, self.settings)
        keyframe.segment = self._segment
        return keyframe

    def _look_around(self, T_world_camera: NDArray[np.float64]) -> None:
        """Make the table of landmarks anew."""
        window = self.settings.window
        self._view = LocalView(self._map.around(T_world_camera, window, min(RECENT, window // 2), self._segment))

    def _look_again(self, T_world_camera: NDArray[np.float64]) -> None:
        """Make the table anew while the camera is followed; it is at this pose in the map as that is now."""
        assert self._before is not None
        picture, found = self._before
        old = self._local()
        old.hand_back()
        self._look_around(T_world_camera)
        now = carried(found, old, self._local(), T_world_camera)
        self._before, self._reference = (picture, now), now.anchor

    def _anchor(self) -> MapKeyframe:
        """The keyframe that the last frame hangs on."""
        assert self._before is not None
        return self._local().keyframes[self._before[1].anchor]

    def _hung(self) -> NDArray[np.float64]:
        """T_anchor_camera of the last frame."""
        assert self._before is not None
        T: NDArray[np.float64] = pose.inverse(self._anchor().T_world_camera) @ self._before[1].T_world_camera
        return T

    def _local(self) -> LocalView:
        assert self._view is not None
        return self._view

    def _told(self, state: TrackState | None) -> Tracked:
        assert self._before is not None
        found = self._before[1]
        if state is None:
            sure = len(found.rows) >= self.settings.enough
            state = TrackState.TRACKING if sure else TrackState.DEGRADED
        return Tracked(state, found.T_world_camera.copy(), self._anchor().id, self._hung(), self._revision)
