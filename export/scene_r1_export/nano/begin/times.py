"""Times: after the first layer every token of a picture knows what number was said just before the picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_export.nano.begin.stream import FARTHEST, KEY, STEADY, steady_in
from scene_r1_export.nano.begin.turns import turns_that_score
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.words import Language

TIMES = 6
"""Directions of a head that carry a time."""
SPAN_S = 60
"""Seconds of a walk."""
SAID = 5
"""Positions back from a picture's first token in which its time is said."""
APART = 18
"""From there to the same words of the picture before."""
STRENGTH = 24.0
"""Of a time among what a token shows."""


def time_directions(embedding: Tensor, language: Language) -> Tensor:
    """(TIMES, width), orthonormal: along which the numbers of a walk's seconds differ most."""
    curve = embedding[torch.tensor(language.numbers[: SPAN_S + 1])]
    found: Tensor = torch.linalg.svd(curve - curve.mean(dim=0), full_matrices=False)[2][:TIMES]
    return found


@torch.no_grad()
def know_times(model: Any, sizes: Sizes, times: Tensor, first_value: int) -> None:
    """Set the last head of the first layer so that tokens of pictures take the time from the words before them.

    times: of `time_directions`. first_value: of the head's values, from which on they are free for it. The keys are
    those of the head that gathers names, which shares them: words have one, tokens of pictures do not.
    """
    attention = model.model.language_model.layers[0].self_attn
    head = attention.head_dim
    half = head // 2
    rows, columns = sizes.cells
    row, column, back = (part.ravel() for part in np.mgrid[:rows, :columns, 1 : SAID + 1])
    near = np.stack((back, back + row, back + column))
    gaps = np.concatenate((np.arange(APART, 120, 3), np.arange(120, FARTHEST, 10)))
    far = np.concatenate([near[:, ::7] + gap for gap in gaps], axis=1)
    score = turns_that_score(sizes, half, near, np.zeros(near.shape[1]), far)
    asked = torch.from_numpy(score).float() * math.sqrt(head) / KEY
    asked = torch.cat((asked[0], -asked[1]))
    asked[half - 1] = attention.q_proj.bias[(sizes.heads - 2) * head + half - 1]  # as the head beside it: no pictures
    rows_of = slice((sizes.heads - 1) * head, sizes.heads * head)
    attention.q_proj.weight[rows_of], attention.q_proj.bias[rows_of] = 0.0, 0.0
    attention.q_proj.weight[rows_of, STEADY] = asked / steady_in(sizes)
    values = slice((sizes.kv_heads - 1) * head + first_value, (sizes.kv_heads - 1) * head + first_value + len(times))
    attention.v_proj.weight[values] = times
    attention.o_proj.weight[:, rows_of] = 0.0
    at = rows_of.start + first_value
    attention.o_proj.weight[:, at : at + len(times)] = STRENGTH * times.T
