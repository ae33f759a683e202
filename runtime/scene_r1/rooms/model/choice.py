"""Which objects a room holds: shapes and colours, with kin that must be told apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scene_r1.rooms.model import shapes
from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.splits import held_out, split_of

ONE_SIZE = ("chair", "stool", "suitcase", "laptop", "plant", "hat", "cone")
"""Shapes that come in about one size."""
SMALL_LARGE = (0.78, 1.0, 1.25)
"""Kin differ in size by at least a quarter."""
MOST = 16
LEAST_HELD_OUT = 2
"""Pairs of shape and colour in a test room that no room for training has."""


class Wanted(NamedTuple):
    """An object that a room should hold: its shape, its colour's name, and how many times its usual size."""

    shape: str
    color: str
    scale: float


def choose(seed: int, without: set[str], rng: np.random.Generator) -> list[Wanted]:
    """Up to MOST objects, those first that matter most. without: shapes for which one might take the room's furniture.

    One or two shapes come in several colours and sizes, some colours come in several shapes, and in one room of three
    one object has a twin of another size. Otherwise no two share both shape and colour.
    """
    test = split_of(seed) == "test"
    small = [str(s) for s in rng.permutation(list(shapes.SMALL)) if s not in without]
    large = [str(s) for s in rng.permutation(list(shapes.LARGE)) if s not in without]
    if "beach ball" in large[:5] and "ball" in small:
        small.remove("ball")  # either may be called a ball
    picked = [*small[: int(rng.integers(6, 9))], *large[: int(rng.integers(3, 6))]]
    palette = [str(c) for c in rng.permutation(list(COLORS))][: int(rng.integers(7, 11))]
    wanted: list[Wanted] = []

    def want(shape: str, scale: float, colors: list[str]) -> None:
        fits = [c for c in colors if test or not held_out(shapes.shape_number(shape), c)]
        fits = [c for c in fits if not any(w.shape == shape and w.color == c for w in wanted)]
        if fits:
            wanted.append(Wanted(shape, fits[int(rng.integers(len(fits)))], scale))

    kin = [shape for shape in picked if shape not in ONE_SIZE][:: int(rng.integers(2, 4))][: int(rng.integers(1, 3))]
    for shape in kin:
        for size in rng.permutation(SMALL_LARGE)[: int(rng.integers(2, 4))]:
            want(shape, float(size), palette)
    for i, shape in enumerate(shape for shape in picked if shape not in kin):
        near = 0.05 if shape in ONE_SIZE else 0.12
        # The first ones take the colours in turn: many colours in every room.
        want(
            shape,
            float(rng.uniform(1.0 - near, 1.0 + near)),
            palette if i >= len(palette) else [palette[i]] * 3 + palette,
        )
    if rng.random() < 0.35:
        _add_twin(wanted, rng)
    if test:
        _hold_out(wanted, rng)
    order = rng.permutation(len(wanted) - 4) + 4  # kin and the first others are placed first
    return [*wanted[:4], *(wanted[int(i)] for i in order)][:MOST]


def _add_twin(wanted: list[Wanted], rng: np.random.Generator) -> None:
    """One more of the same shape and colour, half as large again or smaller."""
    for i in rng.permutation(len(wanted)):
        one = wanted[int(i)]
        if one.shape not in ONE_SIZE:
            wanted[int(i)] = one._replace(scale=SMALL_LARGE[0])
            wanted.insert(int(rng.integers(3)), one._replace(scale=SMALL_LARGE[-1]))
            return


def _hold_out(wanted: list[Wanted], rng: np.random.Generator) -> None:
    """Give some of the first objects colours in which only test rooms show their shape, twins left alone."""
    pairs = [(one.shape, one.color) for one in wanted]
    have = sum(held_out(shapes.shape_number(shape), color) for shape, color in pairs)
    for i, one in enumerate(wanted):
        if have >= LEAST_HELD_OUT + 1:  # one to spare: not all are sure to find a place
            return
        number = shapes.shape_number(one.shape)
        if held_out(number, one.color) or pairs.count(pairs[i]) > 1:
            continue
        free = [c for c in COLORS if held_out(number, c) and (one.shape, c) not in pairs]
        if free:
            wanted[i] = one._replace(color=free[int(rng.integers(len(free)))])
            pairs[i] = (one.shape, wanted[i].color)
            have += 1
