"""A box read off the state that looks: its truth is what is said, its gradient reaches the head that looks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.export.nano_parts import EXCHANGES, language, lively_model

from scene_r1_export.nano.begin.look import LAYER
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.train.fetching import BoxHead
from scene_r1_export.nano.train.packing import Batch, pack, together
from scene_r1_export.nano.train.speaking import states_of
from scene_r1_export.nano.words import Drill, coordinates

CELLS = TINY.cells[0] * TINY.cells[1]
BOXES = ((12, 20, 60, 72), (32, 28, 56, 56))
"""Of the first exchange, and of an exercise; xyxy pixels on the grid."""


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_model()


def batch_of() -> Batch:
    drill = Drill("mug", coordinates(BOXES[1], TINY.picture))
    said = [language().said(EXCHANGES[0]), language().said(EXCHANGES[1]), language().drilled(drill)]
    return together([pack(language(), (None,), TINY.cells, said)])


def states(model: Any, batch: Batch) -> list[torch.Tensor]:
    tokens = torch.randn(CELLS, TINY.width, generator=torch.Generator().manual_seed(4))
    return states_of(model, batch, tokens)


def saying(*boxes: tuple[int, int, int, int]) -> tuple[BoxHead, list[torch.Tensor]]:
    """A head that reads boxes off the first four numbers of a state, and states in which they stand."""
    batch = batch_of()
    rows, columns = batch.place.nonzero(as_tuple=True)
    made = torch.zeros(1, batch.ids.shape[1], TINY.width)
    height, width = TINY.picture
    shares = torch.tensor(boxes) / torch.tensor([width, height, width, height])
    made[rows, columns - 1, :4] = shares.repeat_interleave(4, dim=0)
    head = BoxHead(TINY.width)
    head.norm = torch.nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.weight[:, :4] = torch.eye(4)
        head.out.bias.zero_()
    return head, [made] * (LAYER + 2)


def test_the_right_boxes_cost_nothing_and_the_wrong_ones_more() -> None:
    head, right = saying(*BOXES)
    loss, overlap = head.loss(batch_of(), right, language(), TINY.picture)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-4)
    assert overlap == pytest.approx(1.0, abs=1e-4)
    head, swapped = saying(BOXES[1], BOXES[0])
    worse, overlap = head.loss(batch_of(), swapped, language(), TINY.picture)
    assert float(worse.detach()) > 0.5
    assert 0.1 < overlap < 0.5


def test_it_teaches_the_layer_that_looks_and_those_below(model: Any) -> None:
    batch = batch_of()
    loss, _ = BoxHead(TINY.width).loss(batch, states(model, batch), language(), TINY.picture)
    model.zero_grad()
    torch.autograd.backward(loss)
    layers = model.model.language_model.layers
    assert all(float(layers[n].self_attn.v_proj.weight.grad.abs().max()) > 0 for n in range(LAYER + 1))
    assert all(layer.self_attn.v_proj.weight.grad is None for layer in layers[LAYER + 1 :])


def test_where_no_box_is_said_there_is_nothing_to_learn(model: Any) -> None:
    batch = together([pack(language(), (None,), TINY.cells, [language().said(EXCHANGES[1])])])
    loss, overlap = BoxHead(TINY.width).loss(batch, states(model, batch), language(), TINY.picture)
    assert (float(loss), overlap) == (0.0, 0.0)
