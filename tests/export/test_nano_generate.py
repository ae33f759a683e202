"""Answers in torch are what the whole model would say next, several at once, and end where a turn ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.export.nano_parts import EXCHANGES, for_transformers, language, lively_model, noise

from scene_r1_export.nano.model.generate import Prefix, answers, read_prefix
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.train.packing import pack

SECONDS = (1.0, 4.25, 6.0)
MOST = 12


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_model()


@pytest.fixture(scope="module")
def prefix(model: Any) -> Prefix:
    with torch.no_grad():
        tokens, _ = embed_pictures(model.model.visual, noise(3))
    return read_prefix(model, language(), SECONDS, TINY.cells, tokens)


def prompt() -> list[int]:
    return [*language().asked("when", EXCHANGES[1].question), *language().tokens("<think>")]


def test_the_likeliest_answer_is_the_whole_models_word_by_word(model: Any, prefix: Prefix) -> None:
    (said,) = answers(model, language(), prefix, prompt(), most=MOST)
    shown = pack(language(), SECONDS, TINY.cells, ()).ids.tolist()
    assert len(shown) == prefix.length
    before = len(shown) + len(prompt())
    ids = torch.tensor([[*shown, *prompt(), *said]])
    values, grid = for_transformers(noise(3))
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            pixel_values=values,
            image_grid_thw=grid,
            mm_token_type_ids=(ids == language().image).int(),
        ).logits[0]
    assert logits[before - 1 : -1].argmax(dim=-1).tolist() == said
    assert len(said) == MOST or said[-1] == language().end


def test_every_one_of_several_likeliest_answers_is_the_same(model: Any, prefix: Prefix) -> None:
    one, two, three = answers(model, language(), prefix, prompt(), count=3, most=MOST)
    assert one == two == three


def test_drawn_answers_differ_come_again_with_their_seed_and_leave_the_prefix_as_it_is(
    model: Any, prefix: Prefix
) -> None:
    before = answers(model, language(), prefix, prompt(), most=MOST)
    torch.manual_seed(7)
    drawn = answers(model, language(), prefix, prompt(), count=6, temperature=1.5, most=MOST)
    torch.manual_seed(7)
    again = answers(model, language(), prefix, prompt(), count=6, temperature=1.5, most=MOST)
    assert drawn == again
    assert len({tuple(ids) for ids in drawn}) > 1
    assert answers(model, language(), prefix, prompt(), most=MOST) == before


def test_a_low_temperature_says_the_likeliest(model: Any, prefix: Prefix) -> None:
    (likeliest,) = answers(model, language(), prefix, prompt(), most=4)
    torch.manual_seed(0)
    for ids in answers(model, language(), prefix, prompt(), count=3, temperature=1e-4, most=4):
        assert ids == likeliest


def test_an_answer_ends_with_its_turn_while_others_go_on(model: Any, prefix: Prefix) -> None:
    torch.manual_seed(3)
    drawn = answers(model, language(), prefix, prompt(), count=4, temperature=2.0, most=MOST)
    ending = language()
    ending.end = drawn[0][2]  # as if this word ended a turn
    torch.manual_seed(3)
    cut = answers(model, ending, prefix, prompt(), count=4, temperature=2.0, most=MOST)
    for short, long in zip(cut, drawn, strict=True):
        end = long.index(ending.end) + 1 if ending.end in long else MOST
        assert short == long[:end]
    assert len(cut[0]) <= 3
    assert max(map(len, cut)) > 3
