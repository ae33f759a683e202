"""The vision tower in batches says what transformers' own says, forwards and backwards; patches know what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.export.nano_parts import for_transformers, lively_model, noise

from scene_r1_export.nano.data.views import NOTHING, OBJECT, by_cells, centers, dense
from scene_r1_export.nano.model.vision import embed_pictures
from scene_r1_export.nano.train.heads import DenseHead, Truths, iou
from scene_r1_export.nano.train.vision import by_cells_of

NEAR = 1e-4


@pytest.mark.parametrize("size", [(252, 336), (84, 112), (224, 224), (140, 252), (28, 28)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_of_pictures_is_seen_as_transformers_sees_each(size: tuple[int, int], seed: int) -> None:
    visual = lively_model(seed).model.visual
    pictures = noise(2, *size, seed=seed)
    values, grid = for_transformers(pictures)
    with torch.no_grad():
        ours, patches = embed_pictures(visual, pictures)
        theirs = visual(values, grid_thw=grid).pooler_output
    assert patches.shape == (2, theirs.shape[0] // 2, 4, visual.config.hidden_size)
    assert float(theirs.abs().max()) > 0.01
    assert float((ours.flatten(0, 1) - theirs).abs().max()) < NEAR


@pytest.mark.parametrize("size", [(84, 112), (140, 252)])
def test_weights_are_moved_as_transformers_would_move_them(size: tuple[int, int]) -> None:
    pictures = noise(2, *size)
    values, grid = for_transformers(pictures)
    gradients = []
    for ours in (True, False):
        visual = lively_model().model.visual
        tokens = (
            embed_pictures(visual, pictures)[0].flatten(0, 1) if ours else visual(values, grid_thw=grid).pooler_output
        )
        wanted = torch.sin(torch.arange(tokens.numel())).reshape(tokens.shape)
        (tokens * wanted).mean().backward()
        gradients.append({name: parameter.grad for name, parameter in visual.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, theirs in gradients[1].items():
        assert theirs is not None, name
        scale = float(theirs.abs().max())
        assert float((gradients[0][name] - theirs).abs().max()) <= 1e-3 * scale + 1e-7, name


def test_one_picture_never_changes_how_another_is_seen() -> None:
    visual = lively_model().model.visual
    first, second, other = noise(3)
    with torch.no_grad():
        with_second, _ = embed_pictures(visual, torch.stack((first, second)))
        with_other, _ = embed_pictures(visual, torch.stack((first, other)))
    assert torch.allclose(with_second[0], with_other[0], atol=1e-6)
    assert not torch.allclose(with_second[1], with_other[1], atol=1e-3)


def test_a_cells_truth_stands_where_the_tower_puts_its_four_patches() -> None:
    """A picture whose every patch is its own grey: sorted as the tower sorts, truths name the patch they are about."""
    rows, columns = 4, 6
    instance = np.full((rows * 14, columns * 14), NOTHING, np.uint8)
    for n in range(rows * columns):
        y, x = divmod(n, columns)
        instance[y * 14 : y * 14 + 14, x * 14 : x * 14 + 14] = n
    things = np.stack([[n + 1, 1, OBJECT] for n in range(rows * columns)])
    sorted_ = by_cells(dense(instance, things, 14), rows, columns)
    middles = centers(rows, columns, 14)
    square = centers(4, 4, 14)
    assert sorted_.kind[:6].tolist() == [1, 2, 7, 8, 3, 4]
    numbers = sorted_.kind - 1
    assert np.allclose((sorted_.box[:, :2] + sorted_.box[:, 2:]) / 2, middles[numbers])
    assert by_cells_of(square, 4)[:5].tolist() == [[7, 7], [21, 7], [7, 21], [21, 21], [35, 7]]


def test_pictures_that_show_nothing_teach_without_breaking_the_weights() -> None:
    head = DenseHead(8)
    nothing = torch.zeros(6, dtype=torch.int64)
    loss, _ = head.loss(torch.randn(6, 8), Truths(nothing, nothing - 1, torch.zeros(6, 4), torch.zeros(6, 2)))
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in head.parameters() if p.grad is not None)


def test_boxes_overlap_as_far_as_they_do() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0]])
    b = torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    assert torch.allclose(iou(a, b), torch.tensor([1 / 3, 0.0, 0.0, 1.0]), atol=1e-5)
