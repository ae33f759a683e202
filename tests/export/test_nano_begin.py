"""What a new model is given and need not learn: places, numbers on a curve, even tokens, and how to look for a name."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.nano_parts import language, words
from torch import Tensor
from torch.nn import functional

from scene_r1_export.nano.begin import begin
from scene_r1_export.nano.begin.look import HEAD, LAYER
from scene_r1_export.nano.begin.names import numbers_on_a_curve, seen_directions, whiten
from scene_r1_export.nano.begin.stream import COLUMN, OWN, ROW, STEADY
from scene_r1_export.nano.begin.times import time_directions
from scene_r1_export.nano.checkpoint import new_model
from scene_r1_export.nano.data.classes import COLOR_NAMES, KINDS, color_number, kind_number
from scene_r1_export.nano.model.sizes import NANO, TINY, Sizes
from scene_r1_export.nano.model.text import scores, turns_of
from scene_r1_export.nano.train.heads import DenseHead
from scene_r1_export.nano.train.packing import Batch, pack, together
from scene_r1_export.nano.train.speaking import states_of
from scene_r1_export.nano.words import Drill

TIMES = (0.0, 5.0, 11.0, 30.0, 31.0, 60.0, 80.0)


def uneven(count: int, width: int) -> Tensor:
    """Tokens with a mean, and directions of very unlike strength."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(width, width, generator=generator) @ torch.diag(torch.linspace(4.0, 0.0, width).exp())
    return torch.randn(count, width, generator=generator) @ mixed + 7.0


def head_of(width: int) -> dict[str, Tensor]:
    torch.manual_seed(6)
    return DenseHead(width).state_dict()


@lru_cache(maxsize=2)
def begun(sizes: Sizes) -> Any:
    model = new_model(sizes, words())
    begin(model, sizes, language(), uneven(2000, sizes.width), head_of(sizes.width))
    return model


@lru_cache(maxsize=1)
def directions() -> tuple[Tensor, Tensor]:
    """Of kinds and of colours, in the tokens of `begun(NANO)`."""
    turn = whiten(new_model(NANO, words()).model.visual.merger.mlp[2], uneven(2000, NANO.width))
    return seen_directions(head_of(NANO.width), turn)[:2]


def asked(sizes: Sizes, seconds: tuple[float | None, ...], name: str) -> Batch:
    return together([pack(language(), seconds, sizes.cells, [language().drilled(Drill(name, (" not found",)))])])


def shown(model: Any, sizes: Sizes, pictures: int) -> Tensor:
    """Tokens as the turned tower gives them out, of nothing in particular."""
    count = pictures * sizes.cells[0] * sizes.cells[1]
    tokens = torch.randn(count, sizes.width, generator=torch.Generator().manual_seed(2))
    tokens[:, OWN] = 0.0
    tokens[:, STEADY] = model.model.visual.merger.mlp[2].bias[STEADY].detach()
    return tokens


@pytest.mark.parametrize("sizes", [TINY, NANO], ids=["tiny", "nano"])
@pytest.mark.parametrize("seconds", [(None,), TIMES], ids=["one", "walk"])
def test_after_one_layer_a_token_knows_its_row_and_column(sizes: Sizes, seconds: tuple[float | None, ...]) -> None:
    sizes = replace(TINY, width=128) if sizes is TINY else sizes  # a head of 16 has too few turns for a whole walk
    sizes = replace(sizes, rope_sections=(1, 5, 10)) if sizes is not NANO else sizes
    model = begun(sizes)
    batch = asked(sizes, seconds, "red mug")
    rows, columns = sizes.cells
    with torch.no_grad():
        states = states_of(model, batch, shown(model, sizes, len(seconds)))[1][batch.cells]
    placed = states.reshape(len(seconds), rows, columns, -1).numpy()
    for own, axis, steps in ((ROW, 1, rows), (COLUMN, 2, columns)):
        by_step = np.moveaxis(placed[..., own], axis, 0).reshape(steps, -1)
        line = np.polyval(np.polyfit(np.arange(steps), by_step.mean(axis=1), 1), np.arange(steps))
        step = abs(line[1] - line[0])
        assert step > 0.3
        assert float(np.abs(by_step - line[:, None]).max()) < 0.8 * step


@pytest.mark.parametrize("seconds", [TIMES[:-1], (2.0, 3.0, 4.0, 6.0, 9.0, 12.0, 20.0, 21.0, 29.0)])
def test_after_one_layer_the_tokens_of_a_picture_know_its_time(seconds: tuple[float, ...]) -> None:
    model = begun(NANO)
    times = time_directions(model.model.language_model.embed_tokens.weight.detach(), language())
    numbers = model.model.language_model.embed_tokens.weight.detach()[language().numbers[:61]] @ times.T
    batch = asked(NANO, seconds, "red mug")
    with torch.no_grad():
        states = states_of(model, batch, shown(model, NANO, len(seconds)))[1][batch.cells]
    told = (states @ times.T).reshape(len(seconds), -1, len(times)).mean(dim=1)
    true = numbers[[int(second) for second in seconds]]
    told, apart = told - told.mean(dim=0), true - true.mean(dim=0)
    strength = float((told * apart).sum() / apart.pow(2).sum())
    assert strength > 5.0
    read = torch.cdist(told / strength + true.mean(dim=0), numbers).argmin(dim=1)
    assert (read - torch.tensor(seconds)).abs().max() <= 1


def test_what_is_looked_at_brings_its_time() -> None:
    """A thing is in one of six pictures; after two layers its name's last token says the time of that picture."""
    model, (kind, _) = begun(NANO), directions()
    times = time_directions(model.model.language_model.embed_tokens.weight.detach(), language())
    seconds = (2.0, 9.0, 15.0, 22.0, 28.0, 33.0)
    batch, said = asked(NANO, seconds, "mug"), []
    for picture in range(len(seconds)):
        tokens = shown(model, NANO, len(seconds))
        tokens[picture * 108 + 40] += 12.0 * kind[kind_number("mug") - 1]
        with torch.no_grad():
            states = states_of(model, batch, tokens)[LAYER + 1]
        said.append(states[0, batch.ids.shape[1] - 2] @ times.T)
    told = torch.stack(said) - torch.stack(said).mean(dim=0)
    numbers = model.model.language_model.embed_tokens.weight.detach()[language().numbers[:61]] @ times.T
    true = numbers[[int(second) for second in seconds]]
    likeness = functional.normalize(told, dim=1) @ functional.normalize(true - true.mean(dim=0), dim=1).T
    assert likeness.argmax(dim=1).tolist() == list(range(len(seconds)))


def test_words_have_no_place() -> None:
    model = begun(NANO)
    batch = asked(NANO, TIMES, "red mug")
    with torch.no_grad():
        states = states_of(model, batch, shown(model, NANO, len(TIMES)))[1]
    picture = torch.zeros(batch.ids.shape, dtype=torch.bool)
    picture[batch.cells] = True
    assert float(states[~picture][-5:, [ROW, COLUMN]].abs().max()) < 0.1
    assert float(states[picture][:, [ROW, COLUMN]].abs().mean()) > 1.0


@pytest.mark.parametrize("name", ["red mug", "teal suitcase", "mug", "teddy bear"])
def test_it_looks_at_what_is_named(name: str) -> None:
    """The picture shows a red mug, a teal suitcase, a blue mug and a pink teddy bear, as the tower's head would say."""
    model, (kind, color) = begun(NANO), directions()
    tokens = 0.5 * shown(model, NANO, 1)
    tokens[:, STEADY] *= 2.0
    things = {"red mug": 17, "teal suitcase": 40, "blue mug": 62, "pink teddy bear": 90}
    for thing, cell in things.items():
        hue, shape = thing.split(" ", 1)
        tokens[cell] += 6.0 * (kind[kind_number(shape) - 1] + color[color_number(hue) - 1])
    batch = asked(NANO, (None,), name)
    text = model.model.language_model
    with torch.no_grad():
        states = states_of(model, batch, tokens)
        last = (torch.zeros(1, dtype=torch.int64), torch.tensor([batch.ids.shape[1] - 2]))
        turns = turns_of(text, batch.positions)
        found = scores(text.layers[LAYER], NANO.heads + HEAD, states[LAYER], turns, last, batch.cells)[0]
    wanted = [cell for thing, cell in things.items() if thing.endswith(name)]
    assert sorted(found.topk(len(wanted)).indices.tolist()) == wanted


def test_the_towers_last_layer_gives_tokens_of_even_strength() -> None:
    last = new_model(NANO, words()).model.visual.merger.mlp[2]
    before = copy.deepcopy(last)
    inner = uneven(3000, last.in_features)
    with torch.no_grad():
        turn = whiten(last, before(inner))
        tokens, was = last(inner), before(inner)
        assert float(tokens[:, [own for own in OWN if own != STEADY]].abs().max()) < 1e-3
        assert float(tokens[:, STEADY].std()) < 1e-3
        rest = tokens[:, len(OWN) :]
        assert float((rest - ((was - was.mean(dim=0)) @ turn.T)[:, len(OWN) :]).abs().max()) < 1e-2
        assert float(rest.mean().abs()) < 0.05
        assert float(rest.pow(2).mean().sqrt()) == pytest.approx(1.0, abs=0.1)
        strengths, unlike = torch.linalg.svdvals(rest), torch.linalg.svdvals(was - was.mean(dim=0))
        assert float(strengths[0] / strengths[100]) < float(unlike[0] / unlike[100]) ** 0.75


def test_directions_are_those_in_which_the_head_tells_kinds_apart() -> None:
    """A step along the direction of a kind raises what the head says for it, seen back through the turn."""
    head, tokens = head_of(NANO.width), torch.randn(3000, NANO.width, generator=torch.Generator().manual_seed(8))
    turn = whiten(new_model(NANO, words()).model.visual.merger.mlp[2], tokens)
    kind, color, box = seen_directions(head, turn)
    assert (len(kind), len(color), len(box)) == (len(KINDS) - 1, len(COLOR_NAMES) - 1, 4)
    turned = (tokens - tokens.mean(dim=0)) @ turn.T
    said = tokens @ (head["out.weight"] * head["norm.weight"]).T
    for number in (0, 7, 33):
        logit = said[:, 1 + number] - said[:, 1 : len(KINDS)].mean(dim=1)
        assert float(torch.corrcoef(torch.stack((turned @ kind[number], logit)))[0, 1]) > 0.95


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
