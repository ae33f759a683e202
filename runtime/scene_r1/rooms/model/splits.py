"""Which rooms are for learning and which for judging, and what only the latter may show."""

from __future__ import annotations

from typing import Literal, get_args

from scene_r1.rooms.model.material import COLORS
from scene_r1_engines.errors import BadInput

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LAST_DIGIT: dict[Split, tuple[int, ...]] = {"train": tuple(range(8)), "val": (8,), "test": (9,)}
"""A room's split is decided by the last digit of its seed, for ever."""
BLOCK = 10_000
"""Seeds that `room_seeds` takes its rooms from for one number of the caller's: different numbers share no room."""
HELD_OUT_EVERY = 7


def split_of(seed: int) -> Split:
    """The split that the room of that seed belongs to."""
    return next(split for split, digits in LAST_DIGIT.items() if seed % 10 in digits)


def room_seeds(split: Split, seed: int, count: int) -> tuple[int, ...]:
    """The first `count` seeds of rooms of a split in the block `seed`; the same for the same arguments.

    Raises BadInput for an unknown split, a negative seed, or more rooms than a block has (train 8000, others 1000).
    """
    if split not in SPLITS:
        raise BadInput(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput(f"a seed must be a whole number >= 0, got {seed!r}")
    digits = LAST_DIGIT[split]
    if not 1 <= count <= BLOCK // 10 * len(digits):
        raise BadInput(f"{split} has 1..{BLOCK // 10 * len(digits)} rooms for each seed, not {count}")
    return tuple(seed * BLOCK + 10 * (i // len(digits)) + digits[i % len(digits)] for i in range(count))


def held_out(shape_number: int, color: str) -> bool:
    """Whether no room for training or validation has this shape in this colour; rooms for tests may.

    shape_number: the shape's place in the list of all shapes. One pair in seven, so laid out that every shape and
    every colour is met in training, only not together.
    """
    return (3 * shape_number + list(COLORS).index(color)) % HELD_OUT_EVERY == 0
