"""Looking: what was named just before is gathered in the first layer, and looked for in pictures in the second."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene_r1_export.nano.begin.stream import COLUMN, FARTHEST, KEY, OTHERS, OWN, ROW, STEADY, WORD, steady_in, word_in
from scene_r1_export.nano.begin.times import TIMES
from scene_r1_export.nano.begin.turns import turns_that_score
from scene_r1_export.nano.model.sizes import Sizes

LAYER, HEAD = 1, -1
"""Of the head that looks; the layer below it gathers."""
NEAR, FAR_FROM = 50, 80
"""Tokens back that a question and its answer reach, and from which on the words are another's."""
GATHERED = 6.0
LOOKED = 4.0
WORDS = -240.0
"""Score of words, which say the name more loudly than any picture shows it."""
STILL_RAD = 0.8
"""A pair that turns less over FARTHEST positions tells what something is, wherever it is."""


@torch.no_grad()
def gather_names(model: Any, sizes: Sizes, names: Tensor) -> int:
    """First layer: a token adds up what the words before it name. names: (n, width), directions of names. Returns how
    many of the head's values it takes; TIMES are left."""
    attention, head, first = _last_group(model, sizes, LAYER - 1)
    half = head // 2
    near, far = np.arange(NEAR), np.arange(FAR_FROM, FARTHEST, 3)
    score = turns_that_score(sizes, half, np.tile(near, (3, 1)), np.zeros(NEAR), np.tile(far, (3, 1)))
    query = torch.from_numpy(score).float() * math.sqrt(head) / KEY
    keys = slice(first, first + head)
    asks = sizes.heads - sizes.heads // sizes.kv_heads
    rows = slice(asks * head, (asks + 1) * head)
    attention.q_proj.weight[rows] = 0.0
    attention.q_proj.bias[rows] = torch.cat((query[0], -query[1]))
    attention.k_proj.weight[keys] = 0.0
    attention.k_proj.bias[keys] = 0.0
    attention.k_proj.weight[first : first + half - 1, WORD] = KEY / word_in(sizes)
    steady = math.sqrt(-OTHERS * math.sqrt(head))
    attention.q_proj.bias[asks * head + half - 1] = steady
    attention.k_proj.weight[first + half - 1, STEADY] = -steady / steady_in(sizes)
    basis = _basis(names, head - TIMES)
    attention.v_proj.weight[keys] = 0.0
    attention.v_proj.weight[first : first + len(basis)] = basis
    attention.v_proj.bias[keys] = 0.0
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[:, rows.start : rows.start + len(basis)] = GATHERED * basis.T
    return len(basis)


@torch.no_grad()
def look_for_names(model: Any, sizes: Sizes, names: Tensor, box: Tensor, times: Tensor) -> None:
    """Second layer: its last head looks at the tokens of pictures that show what was gathered, and fetches where and
    when they are. names: (n, width). box: (4, width), the directions of a box's sides; times: (n, width), of times."""
    attention, head, first = _last_group(model, sizes, LAYER)
    half = head // 2
    keys = slice(first, first + head)
    rows = slice((sizes.heads + HEAD) * head, (sizes.heads + HEAD + 1) * head)
    frequencies = sizes.rope_base ** -(np.arange(half) / half)
    still = np.flatnonzero(frequencies[: half - 1] * FARTHEST < STILL_RAD)
    places = torch.from_numpy(np.concatenate((still, still + half)))
    basis = _basis(names, len(places))
    attention.q_proj.weight[rows], attention.q_proj.bias[rows] = 0.0, 0.0
    attention.k_proj.weight[keys], attention.k_proj.bias[keys] = 0.0, 0.0
    attention.q_proj.weight[rows.start + places[: len(basis)]] = LOOKED * basis
    attention.k_proj.weight[first + places[: len(basis)]] = basis
    steady = math.sqrt(-WORDS * math.sqrt(head))
    attention.q_proj.bias[rows.start + half - 1] = steady
    attention.k_proj.weight[first + half - 1, WORD] = -steady / word_in(sizes)
    own = torch.zeros(2, sizes.width)
    own[0, ROW], own[1, COLUMN] = 1.0, 1.0
    free = torch.randn(head, sizes.width, generator=torch.Generator().manual_seed(5))
    free[:, OWN] = 0.0
    fetched = torch.linalg.qr(torch.cat((own, box, times, free)).T)[0].T[:head]
    attention.v_proj.weight[keys], attention.v_proj.bias[keys] = fetched, 0.0
    attention.o_proj.weight[:, rows] = fetched.T


def _last_group(model: Any, sizes: Sizes, layer: int) -> tuple[Any, int, int]:
    """A layer's attention, the width of a head, and where the keys of the last group of heads begin."""
    attention = model.model.language_model.layers[layer].self_attn
    return attention, attention.head_dim, (sizes.kv_heads - 1) * attention.head_dim


def _basis(names: Tensor, most: int) -> Tensor:
    """Up to `most` orthonormal vectors (n, width) that span most of what tells names apart."""
    _, values, directions = torch.linalg.svd(names, full_matrices=False)
    kept: Tensor = directions[: min(most, int((values > 1e-3 * values[0]).sum()))]
    return kept
