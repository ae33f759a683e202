"""A room from a seed: furnished, stocked with objects, and strewn with what nobody asks for."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model import clutter, shapes
from scene_r1.rooms.model.arrangement import arrange, shell_of
from scene_r1.rooms.model.choice import Wanted, choose
from scene_r1.rooms.model.furniture.lamps import desk_lamp_light
from scene_r1.rooms.model.furniture.piece import Top
from scene_r1.rooms.model.mesh import join
from scene_r1.rooms.model.mood import Light, light_of
from scene_r1.rooms.model.plan import Plan, along_walls
from scene_r1.rooms.model.room import Room
from scene_r1.rooms.model.walkway import walkway
from scene_r1_engines.errors import BadInput, SceneR1Error

MIN_OBJECTS = 10
MAX_LAYOUTS = 50
LOW = ("beach ball", "crate", "basket", "bucket", "backpack", "cushion", "cone", "watering can", "stool")
"""Large shapes that fit below a table."""
FOR_THE_FLOOR = ("ball", "toy car", "drum", "teddy bear", "gift", "carton", "toy rocket", "ring")
"""Small shapes that lie on the floor as well."""


def make_room(seed: int) -> Room:
    """A furnished room of about 4.6..6.2 m by 4.2..5.3 m by 2.5 m: the same for the same seed.

    A table in the middle, furniture along the walls, and 10 to 16 objects on them, under them and on the floor, none
    touching another. Rooms whose seed ends in 9 show pairs of shape and colour that others never do (see `splits`).

    Raises BadInput for a seed that is not a whole number >= 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise BadInput(f"a room's seed must be a whole number >= 0, got {seed!r}")
    rng = np.random.default_rng([int(seed), 0x5CE4E])
    for _ in range(MAX_LAYOUTS):
        room = _furnish(int(seed), rng)
        if len(room.objects) >= MIN_OBJECTS and walkway(room) is not None:
            return room
    raise SceneR1Error(f"seed {seed} gave no room with {MIN_OBJECTS} objects and space to walk: take another seed")


def _furnish(seed: int, rng: np.random.Generator) -> Room:
    plan = Plan((float(rng.uniform(4.6, 6.2)), float(rng.uniform(4.2, 5.3)), float(rng.uniform(2.45, 2.65))))
    light = light_of(rng)
    window = arrange(plan, light, rng)
    names = {piece.name for piece in plan.pieces}
    without = {
        shape for shape, mistaken in (("chair", {"chair", "armchair"}), ("lamp", {"floor lamp"})) if names & mistaken
    }
    for wanted in choose(seed, without, rng):
        _put(plan, wanted, light, rng)
    _strew(plan, rng)
    shell, lamp_at = shell_of(plan, light, rng)
    return Room(
        seed,
        plan.size,
        join(shell),
        tuple(plan.pieces),
        tuple(plan.objects),
        window,
        lamp_at,
        tuple(plan.clutter),
        tuple(plan.lamps),
        light.mood,
    )


def _put(plan: Plan, wanted: Wanted, light: Light, rng: np.random.Generator) -> None:
    large = wanted.shape in shapes.LARGE
    maker = shapes.LARGE[wanted.shape] if large else shapes.SMALL[wanted.shape]
    mesh = maker(shapes.srgb(wanted.color), rng).scaled(wanted.scale)
    for top in _places(plan, wanted.shape, large, rng):
        if plan.stand(wanted.shape, wanted.color, mesh, top, rng):
            if wanted.shape == "lamp":
                plan.lamps += desk_lamp_light(*plan.objects[-1].box, light.standing)
            return


def _places(plan: Plan, shape: str, large: bool, rng: np.random.Generator) -> list[Top]:
    """Where a shape may stand, best first."""

    def shuffled(tops: list[Top]) -> list[Top]:
        return [tops[int(i)] for i in rng.permutation(len(tops))]

    seats = shuffled([top for name, top in plan.tops if name in ("sofa", "armchair")]) if shape in shapes.SOFT else []
    under, floor = shuffled([top for _, top in plan.under]), shuffled(along_walls(plan))
    if rng.random() < 0.5:
        seats = []
    if large:
        if shape in ("chair", "stool"):
            return [*shuffled(plan.ends), *floor]
        return [*seats, *under, *floor] if shape in LOW and rng.random() < 0.3 else [*seats, *floor]
    table = [top for name, top in plan.tops if name == "table"]
    boards = shuffled([top for name, top in plan.tops if name not in ("table", "sofa", "armchair")])
    on = [*table, *boards] if rng.random() < 0.6 else [*boards, *table]
    if shape in FOR_THE_FLOOR and rng.random() < 0.35:
        return [*(under if rng.random() < 0.5 else []), *floor, *on]
    return [*seats, *on]


def _strew(plan: Plan, rng: np.random.Generator) -> None:
    """Four to nine things that nobody asks for."""
    tops = [top for name, top in plan.tops if name not in ("sofa", "armchair")]
    for i in rng.permutation(len(clutter.ON_TOPS))[: int(rng.integers(3, 7))]:
        name = list(clutter.ON_TOPS)[int(i)]
        plan.strew(name, clutter.ON_TOPS[name](rng), tops[int(rng.integers(len(tops)))], rng)
    floor = [*along_walls(plan), *(top for _, top in plan.under)]
    for i in rng.permutation(len(clutter.ON_FLOOR))[: int(rng.integers(1, 4))]:
        name = list(clutter.ON_FLOOR)[int(i)]
        plan.strew(name, clutter.ON_FLOOR[name](rng), floor[int(rng.integers(len(floor)))], rng)
