"""What a new model is given and need not learn: places, numbers that lie near each other, even tokens."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.nano_parts import language, words
from torch import Tensor

from scene_r1_export.nano.checkpoint import new_model
from scene_r1_export.nano.model.begin import COLUMN, OWN, ROW, STEADY, begin, numbers_on_a_curve
from scene_r1_export.nano.model.sizes import NANO, TINY, Sizes
from scene_r1_export.nano.train.packing import pack, together
from scene_r1_export.nano.train.speaking import states_of
from scene_r1_export.nano.words import Drill

TIMES = (0.0, 5.0, 11.0, 30.0, 31.0, 60.0, 80.0)


def uneven(count: int, width: int) -> Tensor:
    """Tokens with a mean, and directions of very unlike strength."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(width, width, generator=generator) @ torch.diag(torch.linspace(4.0, 0.0, width).exp())
    return torch.randn(count, width, generator=generator) @ mixed + 7.0


def begun(sizes: Sizes) -> Any:
    model = new_model(sizes, words())
    begin(model, sizes, language(), uneven(2000, sizes.width))
    return model


@pytest.mark.parametrize("sizes", [TINY, NANO])
@pytest.mark.parametrize("seconds", [(None,), TIMES])
def test_after_one_layer_a_token_knows_its_row_and_column(sizes: Sizes, seconds: tuple[float | None, ...]) -> None:
    model = begun(sizes)
    batch = together([pack(language(), seconds, sizes.cells, [language().drilled(Drill("red mug", (" not found",)))])])
    rows, columns = sizes.cells
    tokens = torch.randn(len(seconds) * rows * columns, sizes.width, generator=torch.Generator().manual_seed(2))
    tokens[:, OWN] = 0.0
    tokens[:, STEADY] = model.model.visual.merger.mlp[2].bias[STEADY].detach()
    with torch.no_grad():
        states = states_of(model, batch, tokens)[1][batch.cells].reshape(len(seconds), rows, columns, -1).numpy()
    row, column = states[..., ROW], states[..., COLUMN]
    for values, axis, steps in ((row, 1, rows), (column, 2, columns)):
        by_step = np.moveaxis(values, axis, 0).reshape(steps, -1)
        line = np.polyval(np.polyfit(np.arange(steps), by_step.mean(axis=1), 1), np.arange(steps))
        step = abs(line[1] - line[0])
        assert step > 0.3
        assert float(np.abs(by_step - line[:, None]).max()) < 0.8 * step  # seven pictures, one curve


def test_the_towers_last_layer_gives_tokens_of_even_strength() -> None:
    model = new_model(NANO, words())
    last = model.model.visual.merger.mlp[2]
    before = copy.deepcopy(last)
    inner = uneven(3000, last.in_features)
    with torch.no_grad():
        begin(model, NANO, language(), before(inner))
        tokens = last(inner)
    assert float(tokens[:, [own for own in OWN if own != STEADY]].abs().max()) < 1e-3
    assert float(tokens[:, STEADY].std()) < 1e-3
    rest = tokens[:, len(OWN) :]
    assert float(rest.mean().abs()) < 0.05
    assert float(rest.pow(2).mean().sqrt()) == pytest.approx(1.0, abs=0.1)
    strengths = torch.linalg.svdvals(rest - rest.mean(dim=0))
    unlike = torch.linalg.svdvals(before(inner) - before(inner).mean(dim=0))
    assert float(strengths[0] / strengths[100]) < float(unlike[0] / unlike[100]) ** 0.5


def test_numbers_lie_on_a_curve() -> None:
    embedding = torch.randn(1100, 256, generator=torch.Generator().manual_seed(1)) * 0.02
    others = embedding[1000:].clone()
    numbers_on_a_curve(embedding, list(range(1000)))
    points = embedding[:1000, len(OWN) :]
    like = torch.nn.functional.cosine_similarity(points[100:101], points)
    assert like[100] == pytest.approx(1.0)
    assert like[104] > like[112] > like[140] > like[300].abs()
    assert like[96] == pytest.approx(float(like[104]), abs=1e-3)
    assert torch.equal(embedding[1000:], others)
