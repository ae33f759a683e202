"""Places: after the first layer every token of a picture has its row and its column on a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scene_r1_export.nano.begin.stream import COLUMN, FARTHEST, FIRST, KEY, OTHERS, OWN, ROW, START, STEADY, steady_in
from scene_r1_export.nano.begin.turns import turns_that_score
from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.words import Language

PLACE_STRENGTH, MARK_STRENGTH = 5.0, 0.3
APART = 16
"""Tokens that lie at least between two pictures' beginnings."""


@torch.no_grad()
def know_places(model: Any, sizes: Sizes, language: Language) -> None:
    """Set the first layer so that after it every token of a picture has its row and its column in two directions."""
    text = model.model.language_model
    embedding, attention = text.embed_tokens.weight, text.layers[0].self_attn
    mark = float(embedding.norm(dim=1).mean())
    strengths = []
    for token, own in ((language.vision_start, START), (language.opening[0], FIRST)):
        embedding[token] *= MARK_STRENGTH
        embedding[token, own] = mark
        strengths.append(float(embedding[token, own] / embedding[token].pow(2).mean().sqrt()))
    for layer in text.layers:
        layer.mlp.down_proj.weight[OWN] = 0.0
        layer.self_attn.o_proj.weight[OWN] = 0.0
    head = attention.head_dim
    half, steady = head // 2, math.sqrt(-OTHERS * math.sqrt(head))
    rows, columns = sizes.cells
    # One key head serves both: all pairs of the start's key are alike, the query's make the score.
    key = torch.zeros(3, head)  # of other tokens, of the first one beyond that, of the start beyond that
    key[0, half - 1], key[1:, half - 1] = -steady, steady
    key[2, : half - 1] = KEY
    attention.k_proj.weight[:head] *= MARK_STRENGTH
    attention.k_proj.weight[:head, OWN] = 0.0
    attention.k_proj.bias[:head] = key[0]
    attention.k_proj.weight[:head, FIRST] = key[1] / strengths[1]
    attention.k_proj.weight[:head, START] = key[2] / strengths[0]
    attention.v_proj.weight[0], attention.v_proj.bias[0] = 0.0, 0.0
    attention.v_proj.weight[0, START], attention.v_proj.weight[0, FIRST] = 1.0 / strengths[0], -1.0 / strengths[1]
    for number, (axis, steps, own) in enumerate(((1, rows, ROW), (2, columns, COLUMN))):
        score = torch.from_numpy(place_score(sizes, half, axis, steps)).float() * math.sqrt(head) / KEY
        query = slice(number * head, (number + 1) * head)
        attention.q_proj.weight[query], attention.q_proj.bias[query] = 0.0, 0.0
        asked = torch.cat((score[0], -score[1]))
        asked[half - 1] = steady
        attention.q_proj.weight[query, STEADY] = asked / steady_in(sizes)  # words have no place, and do not ask
        attention.o_proj.weight[:, number * head] = 0.0
        attention.o_proj.weight[own, number * head] = PLACE_STRENGTH


def place_score(sizes: Sizes, pairs: int, axis: int, steps: int) -> NDArray[np.float64]:
    """The score (2, pairs) of a token for its picture's beginning that makes a share sigmoid(score) linear in the
    distance along `axis` (1 rows, 2 columns), 1 to `steps`; and low for the beginnings of earlier pictures."""
    row, column = (part.ravel() for part in np.mgrid[1 : sizes.cells[0] + 1, 1 : sizes.cells[1] + 1])
    share = 0.85 - 0.7 * ((row, column)[axis - 1] - 1) / max(1, steps - 1)
    near = np.stack((np.zeros_like(row), row, column))
    gaps = np.concatenate((np.arange(APART, 120, 3), np.arange(120, FARTHEST, 10)))
    far = np.concatenate([near[:, ::7] + gap for gap in gaps], axis=1)
    return turns_that_score(sizes, pairs, near, np.log(share / (1.0 - share)), far)
