"""Weights to begin with: what need not be learned is set.

A picture's tokens know where they are by the rotary turn against other tokens alone, and a model of this size takes
ten thousand pictures to make a place out of that. But the turn is known, so the answer can be written down: in the
first layer one head weighs `<|vision_start|>` against the first token of the chat by a score that is linear in the
row, another one by the column. The numbers of coordinates begin as points on a curve, near ones near each other, and
the vision tower's tokens leave it with all their directions of a like strength.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene_r1_export.nano.model.sizes import Sizes
from scene_r1_export.nano.words import Language

START, FIRST, ROW, COLUMN, STEADY = range(5)
"""Directions of the residual stream that nothing else begins in: the mark of `<|vision_start|>`, the mark of the chat's
first token, a token's place, and one that is the same for all tokens of pictures, so that norms leave them alike."""
OWN = [START, FIRST, ROW, COLUMN, STEADY]
PLACE_STRENGTH, STEADY_STRENGTH, MARK_STRENGTH = 5.0, 2.0, 0.3
OTHERS = -15.0
"""Score of all tokens but the two."""
APART = 16
"""Tokens that lie at least between two pictures' beginnings."""
FARTHEST = 420
FAR = -7.0
"""Score of the beginnings of earlier pictures, or less."""
KEY = 3.0
NUMBER_SCALES = ((10.0, 48), (40.0, 48), (150.0, 29))
"""How near two numbers are on their curve: pixels, and how many waves of that length."""
WHITENING = 0.8


@torch.no_grad()
def begin(model: Any, sizes: Sizes, language: Language, tokens: Tensor) -> None:
    """Set a new model's first weights in place. tokens: (n, width) float32, what its vision tower makes of some
    pictures; the tower's last layer is turned so that they become white."""
    whiten(model.model.visual.merger.mlp[2], tokens)
    numbers_on_a_curve(model.model.language_model.embed_tokens.weight, language.numbers)
    know_places(model, sizes, language)


@torch.no_grad()
def whiten(last: Any, tokens: Tensor) -> None:
    """Turn and scale what a linear layer gives out: no mean, directions of like strength, none in OWN but STEADY."""
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


@torch.no_grad()
def numbers_on_a_curve(embedding: Tensor, numbers: list[int]) -> None:
    """Give number n a place whose product with that of m depends on |n - m|, and falls with it."""
    generator = torch.Generator().manual_seed(3)
    values = torch.arange(len(numbers)).float()[:, None]
    width = embedding.shape[1] - len(OWN)
    waves = []
    for scale, count in NUMBER_SCALES:
        turns = values * (torch.randn(max(1, count * width // 251), generator=generator) / scale)
        waves += [turns.cos(), turns.sin()]
    curve = torch.cat(waves, dim=1)[:, :width]
    curve = curve / curve.norm(dim=1, keepdim=True)
    mixed = torch.linalg.qr(torch.randn(width, width, generator=generator))[0][: curve.shape[1]]
    size = float(embedding.std()) * math.sqrt(embedding.shape[1])
    embedding[torch.tensor(numbers)[:, None], torch.arange(len(OWN), embedding.shape[1])[None]] = size * curve @ mixed


@torch.no_grad()
def know_places(model: Any, sizes: Sizes, language: Language) -> None:
    """Set the first layer so that after it every token of a picture has its row and its column in two directions."""
    text = model.model.language_model
    embedding, attention = text.embed_tokens.weight, text.layers[0].self_attn
    mark = float(embedding.std()) * math.sqrt(sizes.width)
    embedding[:, OWN] = 0.0
    strengths = []
    for token, own in ((language.vision_start, START), (language.opening[0], FIRST)):
        embedding[token] *= MARK_STRENGTH
        embedding[token, own] = mark
        strengths.append(float(embedding[token, own] / embedding[token].pow(2).mean().sqrt()))
    for number, layer in enumerate(text.layers):
        layer.mlp.down_proj.weight[OWN] = 0.0
        layer.self_attn.o_proj.weight[OWN] = 0.0
        if number == 0:
            continue
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
        score = torch.from_numpy(turning_score(sizes, half, axis, steps)).float() * math.sqrt(head) / KEY
        query = slice(number * head, (number + 1) * head)
        attention.q_proj.weight[query] = 0.0
        attention.q_proj.bias[query] = torch.cat((score[0], -score[1]))
        attention.q_proj.bias[number * head + half - 1] = steady
        attention.o_proj.weight[:, number * head] = 0.0
        attention.o_proj.weight[own, number * head] = PLACE_STRENGTH


def turning_score(sizes: Sizes, pairs: int, axis: int, steps: int) -> NDArray[np.float64]:
    """(2, pairs): a and b of the score sum a cos(f d) + b sin(f d), d the distance to the picture's beginning along
    each pair's axis, that makes a share sigmoid(score) linear in the distance along `axis`, 1 to `steps`; and low for
    earlier pictures. The last pair, the slowest, is left at 0."""
    axes = np.repeat([0, 1, 2], sizes.rope_sections)
    frequencies = sizes.rope_base ** -(np.arange(pairs) / pairs)
    used = (axes > 0) & (np.arange(pairs) < pairs - 1)

    def waves(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
        turns = np.where(axes[None, used] == 1, row.ravel()[:, None], column.ravel()[:, None]) * frequencies[used]
        return np.concatenate((np.cos(turns), np.sin(turns)), axis=1)

    row, column = np.mgrid[1 : sizes.cells[0] + 1, 1 : sizes.cells[1] + 1]
    share = 0.85 - 0.7 * ((row, column)[axis - 1].ravel() - 1) / max(1, steps - 1)
    near, wanted = waves(row, column), np.log(share / (1.0 - share))
    gaps = np.concatenate((np.arange(APART, 120, 3), np.arange(120, FARTHEST, 10)))
    far = np.concatenate([waves(row + gap, column + gap)[::7] for gap in gaps])
    solved = np.zeros(near.shape[1])
    for _ in range(60):  # least squares over those of the far ones that are still too high
        high = far[far @ solved > FAR]
        left = 5.0 * near.T @ near / len(near) + high.T @ high / len(far) + 1e-4 * np.eye(len(solved))
        right = 5.0 * near.T @ wanted / len(near) + high.sum(axis=0) * FAR / len(far)
        solved = 0.5 * solved + 0.5 * np.linalg.solve(left, right)
    score = np.zeros((2, pairs))
    score[:, used] = solved.reshape(2, -1)
    return score
