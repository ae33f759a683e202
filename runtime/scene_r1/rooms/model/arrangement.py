"""Furnishing a room: a table in its middle, the rest along its walls, and light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scene_r1.rooms.model.furniture import lamps, seats, shell, storage, tables
from scene_r1.rooms.model.furniture.piece import Piece, Top
from scene_r1.rooms.model.mesh import Mesh
from scene_r1.rooms.model.mood import Light
from scene_r1.rooms.model.plan import GAP_M, Plan, half_of, on_wall, yaw_of
from scene_r1.rooms.model.room import Box, Window

SILL_M = 1.05
WAY_M = 0.6
"""Between what stands at the table and what stands at the walls."""
AT_THE_END_M = 0.6
"""Deep enough for a chair at a short end of the table."""
DEEP_M = 2.1
"""From the middle of a room to a wall with room for a sofa, and a way past it."""


def arrange(plan: Plan, light: Light, rng: np.random.Generator) -> Window:
    """Put furniture into an empty room; what is in it and how it is arranged follows the dice. Returns the window."""
    table = tables.table(rng)
    plan.place(table, (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)), 0.0)
    if rng.random() < 0.65:
        _push_under_table(plan, rng)
    _keep_way(plan, rng)
    sides = [int(side) for side in rng.permutation(4)]
    _door(plan, sides[0], rng)
    window = _window(plan, sides[1], light, rng)
    others = [*sides[1:], sides[0]]
    if rng.random() < 0.5:
        _sit_down(plan, seats.sofa(rng), others, rng)
    _store(plan, others, rng)
    if rng.random() < 0.35:
        _sit_down(plan, seats.armchair(rng), others, rng)
    if rng.random() < 0.45:
        _anywhere(plan, (tables.side_table(rng),), sides, rng)
    if rng.random() < 0.48:
        _corner(plan, lamps.floor_lamp(light.standing, rng), others, rng)
    if rng.random() < 0.5:
        _anywhere(plan, (tables.wall_shelf(rng),), sides[2:], rng)
    for side in sides:
        half, _ = half_of(plan.size, side)
        plan.hang(shell.picture(rng), side, rng.uniform(-0.6, 0.6) * half, rng.uniform(1.35, 1.5), only_where_free=True)
    return window


def _push_under_table(plan: Plan, rng: np.random.Generator) -> None:
    box = plan.pieces[0].box
    if len(plan.pieces[0].parts) == 3:  # a round one: its chairs would stand in a ring
        return
    for chair, x, y, yaw in seats.dining_chairs((float(box.size[0]), float(box.size[1])), rng):
        plan.place(chair, (float(box.center[0] + x), float(box.center[1] + y)), yaw)


def _keep_way(plan: Plan, rng: np.random.Generator) -> None:
    """Reserve floor around the table and its chairs; at the table's ends, too, where the room is long enough."""
    boxes = [piece.box for piece in plan.pieces]
    low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
    if len(boxes) == 1 and plan.size[0] / 2 - float(high[0]) > AT_THE_END_M + WAY_M + 0.6 and rng.random() < 0.6:
        for x0, x1 in ((low[0] - AT_THE_END_M, low[0] - GAP_M), (high[0] + GAP_M, high[0] + AT_THE_END_M)):
            plan.ends.append(Top(float(x0), float(low[1]) - 0.05, float(x1), float(high[1]) + 0.05, 0.0, 2.0))
        low[0], high[0] = low[0] - AT_THE_END_M, high[0] + AT_THE_END_M
    plan.way = Box.around(np.stack([low - np.array([WAY_M, WAY_M, 0.0]), high + np.array([WAY_M, WAY_M, 2.0])]))


def _door(plan: Plan, side: int, rng: np.random.Generator) -> None:
    half, _ = half_of(plan.size, side)
    along = (1.0 if rng.random() < 0.5 else -1.0) * (half - rng.uniform(0.65, 1.0))
    plan.hang(shell.door(), side, along, 0.0)
    x, y = on_wall(plan.size, side, along)
    plan.taken.append(Box((x - 0.7, y - 0.7, 0.0), (x + 0.7, y + 0.7, 2.0)))  # it must open


def _window(plan: Plan, side: int, light: Light, rng: np.random.Generator) -> Window:
    wide, tall = rng.uniform(1.3, 1.8), rng.uniform(1.0, 1.2)
    along = rng.uniform(-0.3, 0.3)
    pane = plan.hang(shell.window(wide, tall, light.pane), side, along, SILL_M)
    if rng.random() < 0.65:
        bottom = 0.02 if rng.random() < 0.5 else SILL_M - 0.14
        for part in shell.curtains(wide, bottom - SILL_M, SILL_M + tall + 0.12 - SILL_M, rng):
            plan.hang([part], side, along, SILL_M)
    return shell.daylight(pane[0], (wide / 2, tall / 2), yaw_of(side), light, rng)


def _store(plan: Plan, sides: list[int], rng: np.random.Generator) -> None:
    """Two to four pieces along the walls, two of which carry things."""
    makers: list[Callable[[np.random.Generator], Piece]] = [storage.bookcase, storage.sideboard, tables.desk]
    chosen: list[tuple[Piece, ...]] = [
        (makers[int(i)](rng),) for i in rng.permutation(3)[: 2 + int(rng.random() < 0.35)]
    ]
    if rng.random() < 0.4:
        chosen.append(tables.tv_stand(rng))
    elif rng.random() < 0.5:
        chosen.append((storage.cabinet(rng),))
    for i, pieces in enumerate(chosen):
        # Each begins with another wall, so that not all crowd on one.
        _anywhere(plan, pieces, [sides[(i + j) % 4] for j in range(1, 5)], rng)


def _sit_down(plan: Plan, piece: Piece, sides: list[int], rng: np.random.Generator) -> None:
    _anywhere(plan, (piece,), [side for side in sides if half_of(plan.size, side)[1] > DEEP_M], rng)


def _anywhere(plan: Plan, pieces: tuple[Piece, ...], sides: list[int], rng: np.random.Generator) -> bool:
    for side in sides:
        half, _ = half_of(plan.size, side)
        start = rng.uniform(-half, 0.3 * half)
        if (
            plan.against(pieces, side, (start, half)) is not None
            or plan.against(pieces, side, (-half, half)) is not None
        ):
            return True
    return False


def _corner(plan: Plan, piece: Piece, sides: list[int], rng: np.random.Generator) -> None:
    for side in sides:
        half, _ = half_of(plan.size, side)
        for end in rng.permutation([-1.0, 1.0]):
            if plan.against((piece,), side, (end * half - 0.6, end * half + 0.6)) is not None:
                return


def rug_under(table: Box, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A rectangle around the table: x0, y0, x1, y1."""
    x, y = rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.5)
    return table.low[0] - x, table.low[1] - y, table.high[0] + x, table.high[1] + y


def shell_of(plan: Plan, light: Light, rng: np.random.Generator) -> tuple[list[Mesh], tuple[float, float, float]]:
    """Walls, floor, ceiling, what hangs there and the lamp at the ceiling, and the lowest point of that lamp.

    If it is on, it is added to the plan's lamps.
    """
    # A desk lamp alone leaves corners in which nobody could tell one colour from another.
    dark = light.mood == "evening" and not any(piece.name == "floor lamp" for piece in plan.pieces)
    fixture, on = lamps.ceiling_lamp(light.standing if dark else light.ceiling, plan.size[2], rng)
    plan.lamps += on
    lowest = min(float(part.vertices[:, 2].min()) for part in fixture)
    walls = shell.walls(plan.size, rug_under(plan.pieces[0].box, rng), rng)
    return [walls, *fixture, *plan.hung], (0.0, 0.0, lowest)
