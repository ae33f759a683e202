"""Several questions in one sequence are each answered as if alone, and as transformers' whole model would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.nano_parts import (
    EXCHANGES,
    for_transformers,
    language,
    lively_model,
    noise,
)
from torch import Tensor

from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.train.grpo import log_probabilities
from scene_r1_export.nano.train.packing import Packed, pack, together
from scene_r1_export.nano.train.speaking import SPREAD_PX, states_of, word_losses
from scene_r1_export.nano.words import GRID, Said

ALONE: tuple[float | None, ...] = (None,)
WALK: tuple[float | None, ...] = (1.0, 4.25, 6.0)
NEAR = 1e-4


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_model()


def said() -> list[Said]:
    return [language().said(exchange) for exchange in EXCHANGES]


def packed(seconds: Sequence[float | None], questions: Sequence[Said]) -> Packed:
    return pack(language(), seconds, TINY.cells, questions)


def tokens_of(model: Any, count: int, seed: int = 0) -> Tensor:
    with torch.no_grad():
        return embed_pictures(model.model.visual, noise(count, seed=seed))[0].flatten(0, 1)


@torch.no_grad()
def spoken(model: Any, sequences: Sequence[Packed], tokens: Tensor) -> Tensor:
    return log_probabilities(model, together(sequences), tokens)


@pytest.mark.parametrize("seconds", [ALONE, WALK])
def test_packed_questions_are_answered_as_each_alone(model: Any, seconds: tuple[float | None, ...]) -> None:
    tokens = tokens_of(model, len(seconds))
    at_once = spoken(model, [packed(seconds, said())], tokens)
    alone = torch.cat([spoken(model, [packed(seconds, [one])], tokens) for one in said()])
    assert at_once.shape == alone.shape
    assert float(at_once.std()) > 0.01
    assert float((at_once - alone).abs().max()) < NEAR


@pytest.mark.parametrize("seconds", [ALONE, WALK])
def test_each_is_answered_as_by_transformers_whole_model(model: Any, seconds: tuple[float | None, ...]) -> None:
    ours = spoken(model, [packed(seconds, said())], tokens_of(model, len(seconds)))
    values, grid = for_transformers(noise(len(seconds)))
    theirs = []
    for one in said():
        sequence = packed(seconds, [one])
        ids = torch.from_numpy(sequence.ids)[None]
        with torch.no_grad():
            logits = model(
                input_ids=ids,
                pixel_values=values,
                image_grid_thw=grid,
                mm_token_type_ids=(ids == language().image).int(),
            ).logits[0, :-1]
        learned = torch.from_numpy(sequence.weight[1:] > 0)
        theirs.append(logits.log_softmax(dim=-1)[learned].gather(1, ids[0, 1:][learned][:, None])[:, 0])
    assert float((ours - torch.cat(theirs)).abs().max()) < NEAR


def test_what_stands_beside_a_shorter_sequence_changes_nothing(model: Any) -> None:
    long, short = packed(WALK, said()), packed(ALONE, said()[:1])
    of_long, of_short = tokens_of(model, 3), tokens_of(model, 1, seed=5)
    both = spoken(model, [long, short], torch.cat((of_long, of_short)))
    apart = torch.cat((spoken(model, [long], of_long), spoken(model, [short], of_short)))
    assert float((both - apart).abs().max()) < NEAR


def test_a_picture_changes_what_is_said_of_it(model: Any) -> None:
    sequence = packed(ALONE, said())
    one, other = (spoken(model, [sequence], tokens_of(model, 1, seed=seed)) for seed in (0, 1))
    assert float((one - other).abs().max()) > 10 * NEAR


def test_only_what_the_model_says_itself_is_learned() -> None:
    for exchange, one in zip(EXCHANGES, said(), strict=True):
        assert len(one.weights) == len(one.ids)
        assert not any(one.weights[: one.learn])
        assert language().text(one.ids[: one.learn]).endswith("assistant\n")
        text = f"<think>{exchange.thought or ''}</think><answer>{''.join(map(str, exchange.answer))}</answer>"
        assert language().text(one.ids[one.learn :]) == text
        assert [language().text([one.ids[place]]) for place in one.places] == [
            str(part) for part in exchange.answer if isinstance(part, int)
        ]
    silent = said()[1]
    closing = language().tokens("</think>")[0]
    assert silent.weights[silent.ids.index(closing)] == 0.0  # else it would learn not to think when it is asked to


def test_words_cost_their_surprise_and_coordinates_that_of_their_neighbourhood(model: Any) -> None:
    batch, tokens = together([packed(ALONE, said())]), tokens_of(model, 1)
    with torch.no_grad():
        last = states_of(model, batch, tokens)[-1]
        loss, weight, place, right = word_losses(model, batch, last, language())
        logs = (last[0] @ model.model.language_model.embed_tokens.weight.T).log_softmax(dim=-1)
    learned = [n for n in range(1, batch.ids.shape[1]) if batch.weight[0, n] > 0]
    assert len(learned) == len(loss) == len(weight) == len(place) == len(right)
    for k, n in enumerate(learned):
        id = int(batch.ids[0, n])
        if not batch.place[0, n]:
            wanted = -float(logs[n - 1, id])
        else:
            value = language().numbers.index(id)
            bell = {x: np.exp(-0.5 * ((x - value) / SPREAD_PX) ** 2) for x in range(0, 1000, GRID)}
            whole = sum(bell.values())
            wanted = -sum(share / whole * float(logs[n - 1, language().numbers[x]]) for x, share in bell.items())
        assert float(loss[k]) == pytest.approx(wanted, abs=1e-3)
        assert bool(right[k]) == (int(logs[n - 1].argmax()) == id)
    assert int(place.sum()) == 4


def test_an_answered_box_lies_on_the_grid_and_in_the_picture() -> None:
    assert len(said()[0].places) == 4
    numbers = [part for part in EXCHANGES[0].answer if isinstance(part, int)]
    assert numbers == [12, 20, 60, 72]  # 70 is halfway, and goes to the even one
