"""Several questions about the same pictures as one sequence: the pictures are read once, no question sees another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene_r1_export.nano.model.text import Layout
from scene_r1_export.nano.words import Language, Look, Said

PADDING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """One sequence. ids: (n,) int64. positions: (3, n) int64, of the rotary turn. part: (n,) int64, 0 for what all
    questions see, then 1, 2, ... . cells: (m,) int64, where the tokens of pictures stand. weight: (n,) float32, of
    predicting each token. place: (n,) bool, coordinates. looks: of numbers in ids."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    part: NDArray[np.int64]
    cells: NDArray[np.int64]
    weight: NDArray[np.float32]
    place: NDArray[np.bool_]
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sequences of one length. ids, part: (B, n). positions: (3, B, n). layouts: of each sequence. cells: rows and
    columns of all picture tokens, one sequence after the other. weight, place: (B, n). looks: of each sequence."""

    ids: Tensor
    part: Tensor
    positions: Tensor
    layouts: tuple[Layout, ...]
    cells: tuple[Tensor, Tensor]
    weight: Tensor
    place: Tensor
    looks: tuple[tuple[Look, ...], ...]


def pack(language: Language, seconds: Sequence[float | None], grid: tuple[int, int], said: Sequence[Said]) -> Packed:
    """Pictures and questions in the runtime's layout. seconds: of each picture, None for one that is looked at alone.
    grid: rows and columns of tokens of each picture."""
    ids: list[int] = []
    blocks: list[NDArray[np.int64]] = []
    cells: list[int] = []
    at = 0

    def put(tokens: Sequence[int]) -> None:
        nonlocal at
        ids.extend(tokens)
        blocks.append(np.tile(np.arange(at, at + len(tokens)), (3, 1)))
        at += len(tokens)

    put(language.opening)
    rows, columns = grid
    place = np.arange(rows * columns)
    picture = np.stack((np.zeros_like(place), place // columns, place % columns))
    for time in seconds:
        put(language.before_picture(time))
        cells.extend(range(len(ids), len(ids) + rows * columns))
        ids.extend([language.image] * (rows * columns))
        blocks.append(at + picture)
        at += max(rows, columns)
        put(language.after_picture(time is not None))
    shared = len(ids)
    part = [0] * shared
    weight, places = [0.0] * shared, [False] * shared
    begin = at
    looks: list[Look] = []
    for number, one in enumerate(said, start=1):
        at = begin
        looks += [replace(look, at=len(ids) + look.at) for look in one.looks]
        put(one.ids)
        part += [number] * len(one.ids)
        weight += one.weights
        marked = [False] * len(one.ids)
        for where in one.places:
            marked[where] = True
        places += marked
    return Packed(
        np.array(ids),
        np.concatenate(blocks, axis=1),
        np.array(part),
        np.array(cells),
        np.array(weight, np.float32),
        np.array(places),
        tuple(looks),
    )


def together(packed: Sequence[Packed]) -> Batch:
    """Sequences side by side, the shorter ones filled up at their end."""
    longest = max(len(one.ids) for one in packed)

    def filled(arrays: Sequence[NDArray[np.generic]], value: float) -> Tensor:
        out = np.full((len(arrays), longest), value, arrays[0].dtype)
        for row, array in enumerate(arrays):
            out[row, : len(array)] = array
        return torch.from_numpy(out)

    part = filled([one.part for one in packed], PADDING)
    positions = torch.stack([filled([one.positions[axis] for one in packed], 0) for axis in range(3)])
    rows = np.concatenate([np.full(len(one.cells), row) for row, one in enumerate(packed)])
    return Batch(
        filled([one.ids for one in packed], 0),
        part,
        positions,
        tuple(Layout.of(row) for row in part),
        (torch.from_numpy(rows), torch.from_numpy(np.concatenate([one.cells for one in packed]))),
        filled([one.weight for one in packed], 0.0),
        filled([one.place for one in packed], 0),
        tuple(one.looks for one in packed),
    )
