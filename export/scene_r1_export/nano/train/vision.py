"""The vision tower learns to see: kind, colour and box of what every patch shows, before any word is spoken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_export.nano.data.views import Views, by_cells, centers, cut, dense, relit
from scene_r1_export.nano.model.sizes import CELL, PATCH
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.state import read_state, write_state
from scene_r1_export.nano.train.heads import DenseHead, Truths
from scene_r1_export.nano.train.optimizer import Optimizer, share_of_rate


@dataclass(frozen=True, slots=True)
class VisionTraining:
    """batch pictures of `side` pixels a step, cut so that things are `zoom` times as large as when the whole view is
    looked at. fall_from: the step from which the rate falls, to its end at `steps`; None keeps it up."""

    steps: int
    batch: int = 24
    side: int = 224
    zoom: tuple[float, float] = (0.9, 1.8)
    rate: float = 2e-3
    warm: int = 100
    fall_from: int | None = None
    save_every: int = 250
    seed: int = 0


def train_vision(
    visual: Any, views: Views, scale: float, made: VisionTraining, state: Path, say: Callable[[str], None]
) -> None:
    """Train until `steps`, from where the file `state` was left, or from the beginning. scale: of a whole view in the
    picture that the model is given."""
    patch_head = DenseHead(visual.config.hidden_size)
    cell_head = DenseHead(visual.config.out_hidden_size)
    heads = torch.nn.ModuleList((patch_head, cell_head))
    matrices = [p for n, p in visual.named_parameters() if p.ndim == 2]
    others = [p for n, p in visual.named_parameters() if p.ndim != 2] + list(heads.parameters())
    optimizer = Optimizer(matrices, others, made.rate)
    step = 0
    if state.exists():
        kept = read_state(state)
        visual.load_state_dict(kept["visual"])
        heads.load_state_dict(kept["heads"])
        optimizer.load_state_dict(kept["optimizer"])
        step = kept["step"]
    begun, first = time.time(), step
    told: dict[str, float] = {}
    while step < made.steps:
        # Of the step alone, so that a run that was stopped goes on as if it had not been.
        rng = np.random.default_rng([made.seed, step])
        pictures, at_patches, at_cells = batch(views, scale, made, rng)
        cells, patches = embed_pictures(visual, pictures)
        loss_cells, seen = cell_head.loss(cells.flatten(0, 1), at_cells)
        loss_patches, _ = patch_head.loss(patches.flatten(0, 2), at_patches)
        torch.autograd.backward(loss_cells + 0.5 * loss_patches)
        optimizer.step(share_of_rate(step, made.warm, made.fall_from, made.steps))
        step += 1
        seen["loss"] = loss_cells.item()
        keep = 0.98 if told else 0.0
        told = {name: keep * told.get(name, value) + (1 - keep) * value for name, value in seen.items()}
        if step % 50 == 0 or step == made.steps:
            rate = (step - first) * made.batch / (time.time() - begun)
            line = {"step": step, "views": len(views.views), "per_s": rate, **told}
            say(json.dumps({name: round(value, 4) for name, value in line.items()}))
        if step % made.save_every == 0 or step == made.steps:
            kept = {"visual": visual.state_dict(), "heads": heads.state_dict(), "optimizer": optimizer.state_dict()}
            write_state(state, {**kept, "step": step})
            views.refresh()


def head_of_cells(kept: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the DenseHead that was asked about cells, out of a state that `train_vision` has left."""
    return {name.removeprefix("1."): value for name, value in kept["heads"].items() if name.startswith("1.")}


def batch(views: Views, scale: float, made: VisionTraining, rng: np.random.Generator) -> tuple[Tensor, Truths, Truths]:
    """Pictures (B, side, side, 3) uint8, and what their patches and their cells show."""
    pictures, fine, coarse = [], [], []
    grid = made.side // PATCH
    for _ in range(made.batch):
        view = views.views[int(rng.integers(len(views.views)))]
        picture, instance = cut(view, made.side, scale, made.zoom, rng)
        pictures.append(relit(picture, rng))
        fine.append(by_cells(dense(instance, view.things, PATCH), grid, grid))
        coarse.append(dense(instance, view.things, CELL))
    order = by_cells_of(centers(grid, grid, PATCH), grid)
    return (
        torch.from_numpy(np.stack(pictures)),
        _truths(fine, order, made.batch),
        _truths(coarse, centers(grid // 2, grid // 2, CELL), made.batch),
    )


def by_cells_of(values: Any, grid: int) -> Any:
    """Rows of patches in the order of cells."""
    return values.reshape(grid // 2, 2, grid // 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(grid * grid, -1)


def _truths(parts: Any, center: Any, count: int) -> Truths:
    return Truths(
        torch.from_numpy(np.concatenate([part.kind for part in parts])),
        torch.from_numpy(np.concatenate([part.color for part in parts])),
        torch.from_numpy(np.concatenate([part.box for part in parts])),
        torch.from_numpy(np.tile(center, (count, 1))),
    )
