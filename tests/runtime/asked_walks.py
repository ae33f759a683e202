"""Walks through rooms to ask about, and a second reading of their questions from the raw boxes and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from scipy.ndimage import label

from scene_r1.rooms import Box, RoomObject, camera_path, make_room, realsense_cameras, survey, visibility
from scene_r1.rooms.questions import SeenWalk
from scene_r1.rooms.questions.meaning import Meaning, Noun
from scene_r1.rooms.questions.solver import Solver

SIZE = (128, 96)
FRAMES, RATE_HZ = 22, 1.4
SEEDS = (*range(14), 19, 29, 39, 49, 59, 69)


@cache
def walk(seed: int) -> SeenWalk:
    """A quarter of a minute through the room of that seed."""
    room = make_room(seed)
    camera, _, _ = realsense_cameras(SIZE, one_camera=True)
    poses = camera_path(room, FRAMES, 0, RATE_HZ)
    pictures = [survey(room, T, camera).instance for T in poses]
    seen = visibility(room, poses, (camera, camera, np.eye(4)))
    return SeenWalk(room, camera, poses, np.arange(FRAMES) / RATE_HZ, pictures, seen)


@cache
def solver(seed: int) -> Solver:
    """The solver of that walk."""
    return Solver.of(walk(seed))


def gap(a: Box, b: Box) -> float:
    """Metres between two boxes."""
    out = 0.0
    for i in range(3):
        out += max(a.low[i] - b.high[i], b.low[i] - a.high[i], 0.0) ** 2
    return out**0.5


def box_of(walk: SeenWalk, noun: Noun) -> list[tuple[int, Box]]:
    """(id, box) of the objects and the furniture of that name."""
    found = [(thing.id, thing.box) for thing in objects(walk, noun)]
    return found + [(p.id, p.box) for p in walk.room.furniture if p.name == noun.shape and noun.color is None]


def gap_to(walk: SeenWalk, thing: RoomObject, noun: Noun) -> float:
    """Metres from an object to the nearest part of the one thing of that name."""
    ((id, box),) = box_of(walk, noun)
    parts = next((p.parts or (p.box,) for p in walk.room.furniture if p.id == id), (box,))
    return min(gap(thing.box, part) for part in parts)


def objects(walk: SeenWalk, noun: Noun) -> list[RoomObject]:
    """The objects of that shape and colour."""
    return [o for o in walk.room.objects if noun.shape in (None, o.shape) and noun.color in (None, o.color)]


@cache
def clear_frames(walk: SeenWalk, id: int) -> dict[int, tuple[int, int, int, int]]:
    """frame -> xyxy of every frame that shows a thing clearly, counted pixel by pixel."""
    out = {}
    for frame, image in enumerate(walk.instance):
        v, u = np.nonzero(image == id)
        if len(u) >= 0.001 * image.size:
            box = (int(u.min()), int(v.min()), int(u.max()) + 1, int(v.max()) + 1)
            if min(box[2] - box[0], box[3] - box[1]) >= 7 * image.shape[1] / 320:
                out[frame] = box
    return out


def stretches(walk: SeenWalk, id: int) -> set[tuple[float, float]]:
    """The windows of a thing, by closing the gaps in a row of frames and labelling what hangs together."""
    shown = np.zeros(len(walk.times_s), bool)
    shown[list(clear_frames(walk, id))] = True
    step = float(walk.times_s[1] - walk.times_s[0])
    bridge = int((1.0 + 1e-6) / step)
    for i in np.flatnonzero(shown):
        later = np.flatnonzero(shown[i + 1 : i + 2 + bridge])
        if len(later):
            shown[i : i + 1 + later[-1]] = True
    labels, n = label(shown)
    out = set()
    for run in range(1, n + 1):
        frames = np.flatnonzero(labels == run)
        start = max(walk.times_s[frames[0]] - step / 2, walk.times_s[0])
        end = min(walk.times_s[frames[-1]] + step / 2, walk.times_s[-1])
        if end - start >= 0.5 - 1e-6:
            out.add((round(float(start), 6), round(float(end), 6)))
    return out


def fitting(walk: SeenWalk, meaning: Meaning) -> set[int]:
    """Ids of the objects that a meaning fits, taken plainly: no margins at all, only objects, only exact words."""
    named = [box_of(walk, noun) for noun in meaning.anchors]
    assert all(len(found) == 1 for found in named), meaning
    anchors = [found[0] for found in named]
    rivals = [o for o in objects(walk, meaning.noun) if o.id not in [id for id, _ in anchors]]
    relation = meaning.relation
    if relation is None:
        return {o.id for o in rivals}
    if relation in ("tall", "short"):
        return _best(((o.id, o.box.size[2]) for o in rivals), relation == "tall")
    if relation in ("largest", "smallest", "big", "small"):
        return _best(((o.id, float(np.prod(o.box.size))) for o in rivals), relation in ("largest", "big"))
    if relation in ("closest_to", "farthest_from"):
        away = ((o.id, gap_to(walk, o, meaning.anchors[0])) for o in rivals)
        return _best(away, relation == "farthest_from")
    return {o.id for o in rivals if _holds(walk, relation, o, anchors, meaning.anchors[0])}


def beside(walk: SeenWalk, a: int, b: int) -> list[tuple[float, float]]:
    """Of every frame that clearly shows both objects: how much further right (widths) and deeper (metres) a is."""
    one, two = clear_frames(walk, a), clear_frames(walk, b)
    out = []
    for frame in sorted(set(one) & set(two)):
        to_camera = np.linalg.inv(walk.poses[frame])
        deep = [(to_camera @ [*walk.room.object(id).box.center, 1.0])[2] for id in (a, b)]
        middles = [(box[frame][0] + box[frame][2]) / 2 for box in (one, two)]
        out.append(((middles[0] - middles[1]) / walk.intrinsics.width, float(deep[0] - deep[1])))
    return out


def _holds(walk: SeenWalk, relation: str, o: RoomObject, anchors: list[tuple[int, Box]], name: Noun) -> bool:
    id, box = anchors[0]
    middle = o.box.center
    over = all(box.low[i] < middle[i] < box.high[i] for i in (0, 1))
    if relation == "on":
        return o.support == id
    if relation == "under":
        return over and o.box.low[2] < 0.01 and o.box.high[2] <= box.high[2] and o.support < 0
    if relation == "next_to":
        return gap_to(walk, o, name) <= 0.45 and o.support != id
    if relation == "between":
        a, b = (found[1].center for found in anchors)
        detour = np.linalg.norm((middle - a)[:2]) + np.linalg.norm((middle - b)[:2])
        return bool(detour <= 1.15 * np.linalg.norm((a - b)[:2]))
    sign = -1 if relation in ("left_of", "in_front_of") else 1
    column, margin = (0, 0.15) if relation in ("left_of", "right_of") else (1, 0.25)
    return any(sign * offset[column] >= margin for offset in beside(walk, o.id, id))


def _best(values: Iterable[tuple[int, float]], highest: bool) -> set[int]:
    ranked = sorted(values, key=lambda pair: pair[1], reverse=highest)
    assert len(ranked) > 1, "a superlative among one"
    return {ranked[0][0]} if ranked[0][1] != ranked[1][1] else set()
