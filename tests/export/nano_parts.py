"""The smallest nano for tests: a room, its words, questions, and a model whose weights tell things apart."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from scene_r1.rooms.model.splits import room_seeds
from scene_r1_export.nano.checkpoint import new_model
from scene_r1_export.nano.commands.data import BLOCK, SMOKE
from scene_r1_export.nano.data.make import make_room_shard, shard_path
from scene_r1_export.nano.data.shard import RoomShard, write_shard
from scene_r1_export.nano.model.sizes import TINY
from scene_r1_export.nano.model.tokenizer import train_tokenizer
from scene_r1_export.nano.model.vision import MEAN, STD
from scene_r1_export.nano.run import texts
from scene_r1_export.nano.words import Exchange, Language, box_answer, window_answer
from scene_r1_export.rewards import AnswerTruth, WhenTruth, WhereTruth

SEED = room_seeds("train", BLOCK, 1)[0]
HEIGHT, WIDTH = TINY.picture
BOX = (12.0, 20.0, 60.0, 70.0)
EXCHANGES = (
    Exchange(
        "where",
        "Where is the red mug?",
        "It is the red mug on the table.",
        box_answer(BOX, "red mug", TINY.picture),
        WhereTruth(BOX, WIDTH, HEIGHT),
    ),
    Exchange("when", "Find the blue ball.", None, window_answer(3, 7), WhenTruth(((3.0, 7.0),), 0.0, 9.0)),
    Exchange("answer", "How many mugs are there?", "I see none.", ("0",), AnswerTruth("0", "number")),
)


@lru_cache(maxsize=1)
def small_room() -> RoomShard:
    """A room of the split `train`, as `data --smoke` makes it."""
    return make_room_shard(SEED, SMOKE)


def put_room(folder: Path, seed: int = SEED) -> Path:
    """The small room as a file of a folder, under the name of a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(shard_path(folder, seed), small_room())
    return shard_path(folder, seed)


@lru_cache(maxsize=1)
def words() -> Tokenizer:
    return train_tokenizer([*texts(), *(exchange.question for exchange in EXCHANGES)])


def language() -> Language:
    return Language(words())


def lively_model(seed: int = 0, spread: float = 0.08) -> Any:
    """A tiny model that does not say the same to everything, as one with its first weights nearly does."""
    model = new_model(TINY, words(), seed).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=spread)
    return model


def noise(count: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Tensor:
    """Pictures (count, height, width, 3) uint8."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def for_transformers(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """pixel_values and image_grid_thw of pictures, written as Qwen2-VL's image processor writes them."""
    count, rows, columns = len(pictures), pictures.shape[1] // 14, pictures.shape[2] // 14
    pixels = (pictures.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    frames = pixels.permute(0, 3, 1, 2)[:, None].repeat(1, 2, 1, 1, 1)
    parts = frames.reshape(count, 1, 2, 3, rows // 2, 2, 14, columns // 2, 2, 14)
    values = parts.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(count * rows * columns, -1)
    return values, torch.tensor([[1, rows, columns]] * count)
