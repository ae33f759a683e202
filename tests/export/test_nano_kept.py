"""Pictures of walks are read and looked at once, and what is kept is what the tower makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.export.nano_parts import lively_model, small_room

from scene_r1_export.nano.data.sights import Picture, picture_of
from scene_r1_export.nano.data.views import relit
from scene_r1_export.nano.model import vision
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.train import kept
from scene_r1_export.nano.train.kept import LIGHTS, KeptPictures


@pytest.fixture
def pictures() -> KeptPictures:
    return KeptPictures([small_room()], TINY.picture)


def test_a_picture_is_the_whole_view_and_the_same_one_each_time(pictures: KeptPictures) -> None:
    first = pictures.picture(0, 2)
    view = picture_of(small_room(), 2, TINY.picture)
    assert pictures.picture(0, 2) is first
    assert np.array_equal(first.image, view.image)
    assert first.sights == view.sights


def test_tokens_are_the_towers_of_the_picture_in_one_of_its_lights(pictures: KeptPictures) -> None:
    visual = lively_model().model.visual
    shown = [pictures.picture(0, index) for index in (0, 3)]
    found = pictures.tokens(visual, shown, np.random.default_rng(1))
    for tokens, picture, index in zip(found, shown, (0, 3), strict=True):
        lit = [relit(picture.image, np.random.default_rng((0, index, light))) for light in range(LIGHTS)]
        with torch.no_grad():
            expected, _ = vision.embed_pictures(visual, torch.from_numpy(np.stack(lit)))
        apart = (expected - tokens).abs().amax(dim=(1, 2))
        assert float(apart.min()) <= 1e-3 * float(expected.abs().max())  # kept in half precision
        assert float(apart.max()) > 1e-2 * float(expected.abs().max())


def test_the_tower_sees_a_picture_once_in_each_light(pictures: KeptPictures, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    def counted(visual: object, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal seen
        seen += len(images)
        return vision.embed_pictures(visual, images)

    monkeypatch.setattr(kept, "embed_pictures", counted)
    visual, rng = lively_model().model.visual, np.random.default_rng(0)
    shown: list[Picture] = [pictures.picture(0, index) for index in range(3)]
    for _ in range(12):
        pictures.tokens(visual, shown, rng)
    assert seen == LIGHTS * len(shown)
