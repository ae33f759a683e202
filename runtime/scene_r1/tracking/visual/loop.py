"""Closing loops: a keyframe that shows a place seen long ago, and what that says of all keyframes between."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scene_r1 import pose
from scene_r1.tracking import twist
from scene_r1.tracking.visual.fix import Fix, fix
from scene_r1.tracking.visual.keyframe import MapKeyframe
from scene_r1.tracking.visual.link import Link
from scene_r1.tracking.visual.local_view import LocalView
from scene_r1.tracking.visual.picture import Picture
from scene_r1.tracking.visual.places import Place, PlaceFinder, alike
from scene_r1.tracking.visual.pose_graph import solve_graph
from scene_r1.tracking.visual.settings import VisualSettings
from scene_r1.tracking.visual.sparse_map import SparseMap

SHARED: Final = 15
"""Landmarks that two keyframes share so that they are tied."""
TIE_M: Final = 0.01
TIE_RAD: Final = 0.005
"""How sure the relative pose of two keyframes is that share SHARED landmarks."""
TRIED: Final = 3
"""Places that are compared by their points, for each keyframe or each frame that is lost."""
SEARCH_PX: Final = 10.0
SMALL_M: Final = 0.015
SMALL_RAD: Final = 0.009
"""A loop that misses by less needs no correction."""


def recognise(
    picture: Picture, place: Place, candidates: list[MapKeyframe], among: list[MapKeyframe], finder: PlaceFinder,
    settings: VisualSettings,
) -> tuple[Fix, LocalView] | None:  # fmt: skip
    """Where a picture was taken, from keyframes it may show; None unless landmarks and depth agree. Best first.

    candidates: in the order to try. among: the keyframes whose landmarks may be used.
    """
    for one in candidates:
        T_place_camera = finder.match(one.place, place)
        if T_place_camera is None:
            continue
        T_guess = one.T_world_camera @ T_place_camera
        mine = [other for other in among if other.segment == one.segment]
        near = np.argsort(SparseMap.distances(one.T_world_camera, mine), kind="stable")[: settings.window // 2]
        view = LocalView([mine[int(i)] for i in np.sort(near)])
        reference = [other.id for other in view.keyframes].index(one.id)
        found = fix(picture, view, T_guess, reference, settings, SEARCH_PX)
        found = fix(picture, view, found.T_world_camera, found.anchor, settings)
        if len(found.rows) >= settings.enough and found.share >= settings.share and found.depth_share >= 0.7:
            return found, view
    return None


def look_alikes(place: Place, keyframes: list[MapKeyframe], count: int) -> list[MapKeyframe]:
    """Those whose pictures look most like a place's, best first."""
    order = np.argsort(-alike([one.place for one in keyframes], place), kind="stable")
    return [keyframes[int(i)] for i in order[:count]]


def close_loop(sparse_map: SparseMap, newest: MapKeyframe, found: Fix, view: LocalView) -> bool:
    """Tie the newest keyframe to the place it shows again. Returns whether the map was corrected.

    found: its pose by the landmarks of `view`, which are those of the old place.
    """
    old = view.keyframes[found.anchor]
    T_old_new = pose.inverse(old.T_world_camera) @ found.T_world_camera
    for place in np.unique(view.home[found.rows]):
        mine = view.home[found.rows] == place
        numbers = view.number[found.rows[mine]]
        newest.sightings.append((view.keyframes[place].id, numbers, found.rays[mine], found.depth[mine]))
    off = twist.log(pose.inverse(found.T_world_camera) @ newest.T_world_camera)
    if np.linalg.norm(off[:3]) < SMALL_M and np.linalg.norm(off[3:]) < SMALL_RAD:
        return False
    mine = [one for one in sparse_map if one.segment == newest.segment]
    links = [*ties(mine, leave_out=newest.id), Link(old.id, newest.id, T_old_new, _information(len(found.rows)))]
    previous = [one for one in mine if one.id < newest.id][-1:]
    links += [_tie(one, newest, 2 * SHARED) for one in previous]
    solved = solve_graph({one.id: one.T_world_camera for one in mine}, links, mine[0].id)
    for one in mine:
        one.T_world_camera = solved[one.id]
    return True


def ties(keyframes: list[MapKeyframe], leave_out: int) -> list[Link]:
    """What holds the map together as it stands: each keyframe to the one before, and to all it shares landmarks with.

    leave_out: id of the one whose ties are not wanted.
    """
    by_id = {one.id: one for one in keyframes if one.id != leave_out}
    listed = list(by_id.values())
    links = [_tie(a, b, SHARED) for a, b in pairwise(listed)]
    for one in listed:
        for home, numbers, _, _ in one.sightings:
            if len(numbers) >= SHARED and home in by_id:
                links.append(_tie(by_id[home], one, len(numbers)))
    return links


def _tie(a: MapKeyframe, b: MapKeyframe, shared: int) -> Link:
    return Link(a.id, b.id, pose.inverse(a.T_world_camera) @ b.T_world_camera, _information(shared))


def _information(shared: int) -> NDArray[np.float64]:
    return np.diag([shared / SHARED / TIE_M**2] * 3 + [shared / SHARED / TIE_RAD**2] * 3)
