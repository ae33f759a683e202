"""Where the model should look while it says a number: at the thing whose box or time it is.

What a coordinate's loss alone teaches is mostly a guess of places, for a long time: that one has to look, and at what,
is told to nobody. Here one head of one layer is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene_r1_export.nano.begin.look import HEAD, LAYER
from scene_r1_export.nano.data.sights import Picture
from scene_r1_export.nano.model.sizes import CELL
from scene_r1_export.nano.model.text import scores, turns_of
from scene_r1_export.nano.train.packing import Batch


def looking_loss(
    model: Any, batch: Batch, states: Sequence[Tensor], groups: Sequence[Sequence[Picture]], cells: tuple[int, int]
) -> tuple[Tensor, float]:
    """Cross entropy of looking at the right thing among all tokens that can be seen, and the share of the looks that
    it gets. states: of `states_of`. groups: the pictures of each sequence. cells: rows and columns of tokens of one.
    """
    language = model.model.language_model
    asks, right = targets(batch, groups, cells)
    if len(right) == 0:
        return states[0].new_zeros(()), 0.0
    rows, columns = (part.flatten() for part in torch.meshgrid(*map(torch.arange, batch.ids.shape), indexing="ij"))
    part = batch.part[rows, columns][None]
    seen = (rows[None] == asks[0][:, None]) & (columns[None] <= asks[1][:, None])
    seen &= (part == 0) | (part == batch.part[asks][:, None])
    whole = torch.zeros(len(right), len(rows), dtype=torch.bool)
    whole[:, batch.cells[0] * batch.ids.shape[1] + batch.cells[1]] = right
    turns = turns_of(language, batch.positions)
    layer = language.layers[LAYER]
    heads = layer.self_attn.q_proj.out_features // layer.self_attn.head_dim
    found = scores(layer, heads + HEAD, states[LAYER], turns, asks, (rows, columns)).masked_fill(~seen, -torch.inf)
    logs = found.log_softmax(dim=-1)
    loss = -logs.masked_fill(~whole, -torch.inf).logsumexp(dim=-1).mean()
    return loss, float((logs.detach().exp() * whole).sum(dim=-1).mean())


def targets(
    batch: Batch, groups: Sequence[Sequence[Picture]], cells: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Of every number that is read off a picture: row and column of the token that predicts it, and (k, m) bool, which
    of all picture tokens show what it is read off. Those that no token shows are left out."""
    size = cells[0] * cells[1]
    whole = sum(len(group) for group in groups) * size
    rows, columns, right = [], [], []
    before = 0
    for row, (looks, group) in enumerate(zip(batch.looks, groups, strict=True)):
        shown = [cells_showing(picture, cells) for picture in group]
        for look in looks:
            mask = np.zeros(whole, np.bool_)
            for number, picture in enumerate(group):
                if len(group) > 1 and round(picture.seconds) != look.number:
                    continue
                at = (before + number) * size
                for thing in look.things:
                    if thing in shown[number]:
                        mask[at : at + size] |= shown[number][thing]
            if mask.any():
                rows.append(row)
                columns.append(look.at - 1)
                right.append(mask)
        before += len(group)
    stacked = np.stack(right) if right else np.zeros((0, whole), np.bool_)
    return (torch.tensor(rows, dtype=torch.int64), torch.tensor(columns, dtype=torch.int64)), torch.from_numpy(stacked)


def cells_showing(picture: Picture, cells: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
    """Which tokens (rows * columns,) show each object of a picture: those it fills more of than others do, or else the
    one in its middle."""
    rows, columns = cells
    y, x = (np.mgrid[:rows, :columns].reshape(2, -1)) * CELL
    best, winner = np.zeros(rows * columns), np.full(rows * columns, -1)
    objects = [sight for sight in picture.sights if sight.thing.kind == "object"]
    for sight in objects:
        x0, y0, x1, y1 = sight.box
        across = np.clip(np.minimum(x + CELL, x1) - np.maximum(x, x0), 0, None)
        down = np.clip(np.minimum(y + CELL, y1) - np.maximum(y, y0), 0, None)
        area = (x1 - x0) * (y1 - y0)
        share = across * down / min(CELL * CELL, area)
        # Of two that fill a token alike the smaller one is in front as a rule.
        worth = np.where(share > 0.3, 1.0 + share - area / 1e6, 0.0)
        wins = worth > best
        best[wins], winner[wins] = worth[wins], sight.thing.id
    found = {}
    for sight in objects:
        mask = winner == sight.thing.id
        if not mask.any():
            x0, y0, x1, y1 = sight.box
            middle = int((y0 + y1) / 2 // CELL) * columns + int((x0 + x1) / 2 // CELL)
            mask[min(middle, rows * columns - 1)] = True
        found[sight.thing.id] = mask
    return found
