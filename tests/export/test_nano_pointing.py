"""What the model is told to look at while it says numbers, and what it costs to look elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.nano_parts import HEIGHT, WIDTH, language, lively_model

from scene_r1_export.nano.begin.look import HEAD, LAYER
from scene_r1_export.nano.data.shard import Thing
from scene_r1_export.nano.data.sights import Picture, Sight
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.model.text import scores, turns_of
from scene_r1_export.nano.train.packing import Batch, pack, together
from scene_r1_export.nano.train.pointing import cells_showing, looking_loss, targets
from scene_r1_export.nano.train.speaking import states_of
from scene_r1_export.nano.words import Drill, Exchange, Look, box_answer, coordinates
from scene_r1_export.rewards import WhereTruth

CELLS = TINY.cells[0] * TINY.cells[1]
NOTHING = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MUG, TABLE, DOT = (
    Thing(3, "mug", "red", "object", 7, NOTHING),
    Thing(7, "table", "", "furniture", -1, NOTHING),
    Thing(9, "ball", "blue", "object", -1, NOTHING),
)
AT_MUG, AT_DOT = 5, 11


def picture(seconds: float = 0.0, dot: bool = True) -> Picture:
    sights = (
        Sight(TABLE, (0.0, 28.0, 112.0, 84.0), 6000, True),
        Sight(MUG, (30.0, 30.0, 54.0, 54.0), 500, True),
        *((Sight(DOT, (100.0, 70.0, 104.0, 74.0), 16, False),) if dot else ()),
    )
    return Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8), seconds, sights)


def boxed(thing: int) -> Drill:
    return Drill("mug", coordinates((30, 30, 54, 54), TINY.picture), ((thing,),) * 4)


def batch_of(seconds: tuple[float | None, ...], *drills: Drill) -> Batch:
    return together([pack(language(), seconds, TINY.cells, [language().drilled(drill) for drill in drills])])


def test_tokens_show_the_objects_that_fill_them_and_a_small_one_has_its_middle() -> None:
    found = cells_showing(picture(), TINY.cells)
    assert sorted(found) == [3, 9]  # nobody says where a table is
    assert np.flatnonzero(found[3]).tolist() == [AT_MUG]
    assert np.flatnonzero(found[9]).tolist() == [AT_DOT]


def test_of_every_coordinate_the_token_before_it_is_to_look() -> None:
    batch = batch_of((None,), boxed(9), boxed(3), Drill("cup", (" not found",)))
    (rows, columns), right = targets(batch, [[picture()]], TINY.cells)
    assert rows.tolist() == [0] * 8
    said = [int(batch.ids[0, column + 1]) for column in columns]
    assert [language().numbers.index(id) for id in said] == [32, 32, 56, 56] * 2  # 30 and 54, on the grid
    assert [np.flatnonzero(row).tolist() for row in right.numpy()] == [[AT_DOT]] * 4 + [[AT_MUG]] * 4


def test_a_time_is_read_off_the_picture_of_that_time() -> None:
    walk = [picture(2.0), picture(5.0), picture(9.0, dot=False)]
    told = Drill("ball", (" in view at ", "2s and 5s", "."), ((9,), (9,)))
    _, right = targets(batch_of((2.0, 5.0, 9.0), told), [walk], TINY.cells)
    assert [np.flatnonzero(row).tolist() for row in right.numpy()] == [[AT_DOT], [CELLS + AT_DOT]]


def test_numbers_of_nothing_that_is_shown_are_left_out() -> None:
    (rows, _), right = targets(batch_of((None,), boxed(9)), [[picture(dot=False)]], TINY.cells)
    assert len(rows) == 0
    assert right.shape == (0, CELLS)


def test_looks_stand_at_numbers_in_their_order() -> None:
    said = language().drilled(Drill("mug", (" in view at ", "3s, 8s and 9s", "."), ((3,), (), (4, 5))))
    assert [(look.number, look.things) for look in said.looks] == [(3, (3,)), (9, (4, 5))]
    assert all(language().text([said.ids[look.at]]) == str(look.number) for look in said.looks)
    assert isinstance(said.looks[0], Look)


def test_a_box_is_looked_for_while_its_four_sides_are_said_and_not_its_name() -> None:
    """`bbox_2d` has a number in it that is read off nothing."""
    answer = box_answer((30.0, 30.0, 54.0, 54.0), "red mug", TINY.picture)
    truth = WhereTruth((30.0, 30.0, 54.0, 54.0), WIDTH, HEIGHT)
    said = language().said(Exchange("where", "Find the mug.", None, answer, truth, ((3,),) * 4))
    assert tuple(look.at for look in said.looks) == said.places
    told = Exchange("when", "Find the mug.", "It is in view at 3s.", ("2", "s", " to ", "4", "s"), truth, ((3,),))
    assert [look.number for look in language().said(told).looks] == [3]


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_model()


def test_the_loss_is_the_share_of_attention_that_goes_elsewhere(model: Any) -> None:
    batch = batch_of((None,), boxed(3))
    tokens = torch.randn(CELLS, TINY.width, generator=torch.Generator().manual_seed(4))
    states = states_of(model, batch, tokens)
    loss, hits = looking_loss(model, batch, states, [[picture()]], TINY.cells)
    text = model.model.language_model
    (rows, columns), _ = targets(batch, [[picture()]], TINY.cells)
    wanted = 0.0
    turns = turns_of(text, batch.positions)
    for row, column in zip(rows, columns, strict=True):
        asks, seen = (row[None], column[None]), torch.arange(int(column) + 1)
        everything = (torch.zeros_like(seen), seen)
        found = scores(text.layers[LAYER], TINY.heads + HEAD, states[LAYER], turns, asks, everything)
        wanted -= float(found.detach().log_softmax(dim=-1)[0, batch.cells[1][AT_MUG]]) / len(rows)
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert 0.0 <= hits <= 1.0
    assert wanted > 0.1
    torch.autograd.backward(loss)
    assert float(text.layers[0].self_attn.q_proj.weight.grad.abs().max()) > 0


def test_scores_are_those_of_the_layers_own_attention(model: Any) -> None:
    """By transformers: eager attention gives its weights."""
    batch = batch_of((None,), boxed(3))
    tokens = torch.randn(CELLS, TINY.width, generator=torch.Generator().manual_seed(4))
    text = model.model.language_model
    with torch.no_grad():
        states = states_of(model, batch, tokens)
        embedded = text.embed_tokens(batch.ids).index_put(batch.cells, tokens)
        before = text.config._attn_implementation
        text.config._attn_implementation = "eager"
        try:
            theirs = text(inputs_embeds=embedded, position_ids=batch.positions, output_attentions=True).attentions
        finally:
            text.config._attn_implementation = before
        count = batch.ids.shape[1]
        everywhere = (torch.zeros(count, dtype=torch.int64), torch.arange(count))
        last = (torch.zeros(1, dtype=torch.int64), torch.tensor([count - 1]))
        for number in range(TINY.depth):
            for head in range(TINY.heads):
                turns = turns_of(text, batch.positions)
                ours = scores(text.layers[number], head, states[number], turns, last, everywhere).softmax(dim=-1)
                assert float((ours[0] - theirs[number][0, head, -1]).abs().max()) < 1e-5
                assert not math.isclose(float(ours[0].max()), 1.0 / count, rel_tol=0.05)
