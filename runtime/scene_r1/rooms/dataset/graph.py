"""A room's scene graph on disk: what is in it, where, and how much of it the walk has seen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scene_r1.files import write_text
from scene_r1.rooms.dataset.fields import Fields, parse_json
from scene_r1.rooms.dataset.settings import FORMAT, RoomsSettings, settings_of
from scene_r1.rooms.model.room import BACKGROUND, Box, Room
from scene_r1.rooms.model.splits import SPLITS, Split, split_of
from scene_r1.rooms.render.visibility import Visibility
from scene_r1.sources.recorded_file import read_text

MAX_BYTES = 16 << 20
MOST_SEED = 1 << 62
MOST_ID = 32767


@dataclass(frozen=True, slots=True)
class GraphObject:
    """Something one may ask for. support: id of the furniture it stands on, or BACKGROUND. visible: share (0..1) of
    its surface that the walk has seen. nearest_m: from where it was seen best, inf where it was not."""

    id: int
    shape: str
    color: str
    name: str
    box: Box
    support: int
    visible: float
    nearest_m: float


@dataclass(frozen=True, slots=True)
class GraphFurniture:
    """Something that objects stand on or beside."""

    id: int
    name: str
    box: Box


@dataclass(frozen=True, slots=True)
class SceneGraph:
    """size_m: of the room, along x, y, z; its floor's middle is the world's origin. light: the mood of the light.
    made: how it was made. objects: in the order of their ids, which are 0, 1, 2, ..."""

    seed: int
    split: Split
    made: RoomsSettings
    size_m: tuple[float, float, float]
    light: str
    objects: tuple[GraphObject, ...]
    furniture: tuple[GraphFurniture, ...]

    def object(self, id: int) -> GraphObject | None:
        """The object of that id, or None."""
        return self.objects[id] if 0 <= id < len(self.objects) else None


def graph_of(room: Room, visible: Sequence[Visibility], made: RoomsSettings) -> SceneGraph:
    """The graph of a room that a walk has seen. visible: of each object, in the order of their ids."""
    objects = [
        GraphObject(thing.id, thing.shape, thing.color, thing.name, thing.box, thing.support, v.fraction, v.nearest_m)
        for thing, v in zip(room.objects, visible, strict=True)
    ]
    furniture = [GraphFurniture(piece.id, piece.name, piece.box) for piece in room.furniture]
    light = room.mood
    return SceneGraph(room.seed, split_of(room.seed), made, room.size_m, light, tuple(objects), tuple(furniture))


def write_graph(path: Path, graph: SceneGraph) -> None:
    """Write a scene graph, whole or absent. Raises SceneR1Error when the disk refuses."""
    text = {
        "format": FORMAT,
        "seed": int(graph.seed),
        "split": graph.split,
        "made": graph.made.to_json(),
        "size_m": [float(side) for side in graph.size_m],
        "light": graph.light,
        "objects": [
            {
                "id": int(one.id),
                "shape": one.shape,
                "color": one.color,
                "name": one.name,
                **_corners(one.box),
                "support": int(one.support),
                "visible": float(one.visible),
                "nearest_m": float(one.nearest_m) if math.isfinite(one.nearest_m) else None,
            }
            for one in graph.objects
        ],
        "furniture": [{"id": int(one.id), "name": one.name, **_corners(one.box)} for one in graph.furniture],
    }
    write_text(path, json.dumps(text, indent=1, allow_nan=False) + "\n")


def read_graph(path: Path) -> SceneGraph:
    """The scene graph of a file. Raises BadRecording naming the file and what is wrong in it."""
    fields = Fields(parse_json(read_text(path, limit_bytes=MAX_BYTES), path), path)
    check_format(fields)
    seed = fields.whole("seed", 0, MOST_SEED)
    split = fields.word("split", SPLITS)
    if split != split_of(seed):
        raise fields.fault(f"a room of seed {seed} is of the split {split_of(seed)}, not {split}")
    made = fields.table("made")
    settings = settings_of(made)
    made.end()
    size_m = fields.point("size_m")
    light = fields.text("light", empty=True)
    furniture = tuple(_furniture(one) for one in fields.tables("furniture"))
    standing = {BACKGROUND, *(one.id for one in furniture)}
    if len(standing) != len(furniture) + 1:
        raise fields.fault("furniture: two pieces have one id")
    objects = tuple(_object(one, i, standing) for i, one in enumerate(fields.tables("objects")))
    fields.end()
    return SceneGraph(seed, split, settings, size_m, light, objects, furniture)


def check_format(fields: Fields) -> None:
    """Refuse files that a later version wrote. Raises BadRecording."""
    found = fields.whole("format", 1, 1 << 31)
    if found != FORMAT:
        raise fields.fault(f"is of format {found}, and {FORMAT} is read here: make the rooms again")


def _object(fields: Fields, number: int, standing: set[int]) -> GraphObject:
    support = fields.whole("support", BACKGROUND, MOST_ID)
    if support not in standing:
        raise fields.fault(f"support {support} is no furniture of this room")
    one = GraphObject(
        id=fields.whole("id", number, number),
        shape=fields.text("shape"),
        color=fields.text("color"),
        name=fields.text("name"),
        box=fields.box(),
        support=support,
        visible=fields.number("visible", 0.0, 1.0),
        nearest_m=fields.number("nearest_m", 0.0) if fields.has("nearest_m") else math.inf,
    )
    fields.end()
    return one


def _furniture(fields: Fields) -> GraphFurniture:
    one = GraphFurniture(fields.whole("id", 0, MOST_ID), fields.text("name"), fields.box())
    fields.end()
    return one


def _corners(box: Box) -> dict[str, list[float]]:
    return {"low": [float(v) for v in box.low], "high": [float(v) for v in box.high]}
