"""Weights to begin with: what need not be learned is set.

Left to itself a model of this size is slow to find out that it can look, and where a picture's token is. Both can be
written down. The rotary turn is known, so two heads of the first layer are set to read a token's row and column off it,
one to gather what was named just before, and one to tell the tokens of a picture at what time it was taken. The vision
tower was asked what every token shows, so the words begin as the directions of its answers, and a head of the second
layer looks where they agree, and fetches place and time. Numbers begin on a curve, near ones near each other. All of it
is learned on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scene_r1.rooms.model.shapes import SHAPES
from scene_r1_export.nano.begin.look import gather_names, look_for_names
from scene_r1_export.nano.begin.names import SIZE, name_what_is_seen, numbers_on_a_curve, seen_directions, whiten
from scene_r1_export.nano.begin.places import know_places
from scene_r1_export.nano.begin.times import know_times, time_directions
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.words import Language

__all__ = ["begin"]


@torch.no_grad()
def begin(model: Any, sizes: Sizes, language: Language, tokens: Tensor, head: Mapping[str, Tensor]) -> None:
    """Set a new model's first weights in place.

    tokens: (n, width) float32, what its vision tower makes of some pictures; the tower's last layer is turned so that
    they become white. head: the weights of the DenseHead by which the tower's tokens were asked.
    """
    kind, color, box = seen_directions(head, whiten(model.model.visual.merger.mlp[2], tokens))
    embedding = model.model.language_model.embed_tokens.weight
    embedding *= SIZE
    numbers_on_a_curve(embedding, language.numbers)
    name_what_is_seen(embedding, language, kind, color)
    know_places(model, sizes, language)
    names = torch.cat((kind[: len(SHAPES)], color))
    times = time_directions(embedding, language)
    taken = gather_names(model, sizes, torch.cat((kind, color)))
    know_times(model, sizes, times, taken)
    look_for_names(model, sizes, names, box, times)
