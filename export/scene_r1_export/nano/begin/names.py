"""Words and numbers: a name begins as the direction in which the vision tower shows what it names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scene_r1.rooms.questions.naming import plural
from scene_r1_export.nano.begin.stream import OWN, STEADY, STEADY_STRENGTH, WORD, WORD_STRENGTH
from scene_r1_export.nano.data.classes import COLOR_NAMES, KINDS
from scene_r1_export.nano.words import Language

NUMBER_SCALES = ((10.0, 48), (40.0, 48), (150.0, 29))
"""How near two numbers are on their curve: pixels, and how many waves of that length for each OF directions."""
OF = 251
WHITENING = 0.5
SIZE = 3.0
"""Times a new model's embeddings."""


@torch.no_grad()
def whiten(last: Any, tokens: Tensor) -> Tensor:
    """Turn and scale what a linear layer gives out: no mean, directions of like strength, none in OWN but STEADY.

    last: the tower's last layer. tokens: (n, width) float32, what it gives out now. Returns the turn (width, width).
    """
    mean = tokens.mean(dim=0)
    _, values, directions = torch.linalg.svd(tokens - mean, full_matrices=False)
    kept = len(mean) - len(OWN)
    strength = (values / math.sqrt(len(tokens))).clamp(min=float(values[0]) / math.sqrt(len(tokens)) * 1e-3)
    gain = strength[:kept] ** -WHITENING
    gain = gain / (strength[:kept] * gain).pow(2).mean().sqrt()
    generator = torch.Generator().manual_seed(1)
    mixed = torch.linalg.qr(torch.randn(kept, kept, generator=generator))[0]
    turn = torch.zeros(len(mean), len(mean))
    turn[len(OWN) :] = mixed @ (gain[:, None] * directions[:kept])
    last.weight.copy_(turn @ last.weight)
    last.bias.copy_(turn @ (last.bias - mean))
    last.bias[STEADY] = STEADY_STRENGTH * math.sqrt(len(mean))
    return turn


def seen_directions(head: Mapping[str, Tensor], turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (n, width) along which turned tokens differ: by kind, by colour (in the order of KINDS and
    COLOR_NAMES, none for the first of each), and by the four sides of the box.

    head: `norm.weight` and `out.weight` of the vision tower's DenseHead for tokens. turn: of `whiten`.
    """
    weights = (head["out.weight"] * head["norm.weight"]) @ torch.linalg.pinv(turn, rtol=1e-4)
    kind, color, box = weights.split([len(KINDS), len(COLOR_NAMES), 4])
    kind, color = kind[1:] - kind[1:].mean(dim=0), color[1:] - color[1:].mean(dim=0)
    found = [part / part.norm(dim=1, keepdim=True) for part in (kind, color, box)]
    return found[0], found[1], found[2]


@torch.no_grad()
def name_what_is_seen(embedding: Tensor, language: Language, kind: Tensor, color: Tensor) -> None:
    """Give the words for kinds and colours their directions, and all other words none of them."""
    meant: dict[int, list[Tensor]] = {}
    single: dict[int, Tensor] = {}
    for names, directions in ((KINDS[1:], kind), (COLOR_NAMES[1:], color)):
        for name, direction in zip(names, directions, strict=True):
            for written in (name, f" {name}", f" {plural(name)}", name.capitalize()):
                ids = language.tokens(written)
                if len(ids) == 1:
                    single[ids[0]] = direction
                elif len(ids) == 2 and " " in name:  # of `beach ball` both words; but a `ball` is a ball
                    for id in ids:
                        meant.setdefault(id, []).append(direction)
    size = embedding.norm(dim=1).mean()
    basis = torch.linalg.qr(torch.cat((kind, color)).T)[0]
    embedding -= embedding @ basis @ basis.T
    for id, parts in {**meant, **{id: [part] for id, part in single.items()}}.items():
        mean = torch.stack(parts).mean(dim=0)
        embedding[id] = size * mean / mean.norm()
    embedding[:, OWN] = 0.0
    embedding[:, WORD] = WORD_STRENGTH * size


@torch.no_grad()
def numbers_on_a_curve(embedding: Tensor, numbers: list[int]) -> None:
    """Give number n a place whose product with that of m depends on |n - m|, and falls with it."""
    generator = torch.Generator().manual_seed(3)
    values = torch.arange(len(numbers)).float()[:, None]
    width = embedding.shape[1] - len(OWN)
    waves = []
    for scale, count in NUMBER_SCALES:
        turns = values * (torch.randn(max(1, count * width // OF), generator=generator) / scale)
        waves += [turns.cos(), turns.sin()]
    curve = torch.cat(waves, dim=1)[:, :width]
    curve = curve / curve.norm(dim=1, keepdim=True)
    mixed = torch.linalg.qr(torch.randn(width, width, generator=generator))[0][: curve.shape[1]]
    size = float(embedding.std()) * math.sqrt(embedding.shape[1])
    embedding[torch.tensor(numbers)[:, None], torch.arange(len(OWN), embedding.shape[1])[None]] = size * curve @ mixed
