"""What is remembered of one object: a memory and a pointer for each frame, within a bound however long the stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.sam2.manifest import MOST_SLOTS, MemoryRules, Profiles

KEPT_CONDITIONING = 32
"""Prompted frames that are held, some of which are attended to: the first and the nearest."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One object on one frame, S = input_px.

    memory: (C, S/16, S/16) float16. pointer: (256,) float32. low: (S/4, S/4) logits of its mask, float32, of frames
    without a prompt float16. iou: as the model rates the mask. score: logit of being in the picture.
    """

    memory: NDArray[np.float16]
    pointer: NDArray[np.float32]
    low: NDArray[np.floating]
    iou: float
    score: float

    @property
    def nbytes(self) -> int:
        return self.memory.nbytes + self.pointer.nbytes + self.low.nbytes


@dataclass(frozen=True, slots=True)
class Recall:
    """What one frame is looked at with: M memories of `seen`, P pointers of `pointed`.

    rows: M rows of the model's table of temporal encodings. ages: P ages over the greatest.
    """

    seen: tuple[Remembered, ...]
    rows: tuple[int, ...]
    pointed: tuple[Remembered, ...]
    ages: tuple[float, ...]

    @property
    def structure(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Objects for which this is equal can be looked for in one run."""
        return self.rows, self.ages

    @property
    def memories(self) -> NDArray[np.float16]:
        """(M, C, S/16, S/16)."""
        return np.stack([one.memory for one in self.seen])

    @property
    def pointers(self) -> NDArray[np.float32]:
        """(P, 256)."""
        return np.stack([one.pointer for one in self.pointed])


class MemoryBank:
    """The frames of one object, by number; the rules are those of `_prepare_memory_conditioned_features` in the
    official sam2_base.py 1.1.0, with two bounds that it lacks.

    *Attended to*: the `slots - 1` frames next to the present one on the side it comes from, and prompted
    (conditioning) frames: the first of all, which most often is the one that the question was about, and the nearest
    in time, so that there are never more than `most` memories. *Held*: `kept` frames without a prompt and
    KEPT_CONDITIONING with one; the first prompted frame always stays, of the others go those that are farthest from
    the present one, on whichever side. A frame that was let go is a new one when it comes back.

    frames: of the whole video where that is known; the official code ages pointers by it in short ones.
    slots: fewer than the model's own cost less.
    """

    def __init__(
        self, rules: MemoryRules, profiles: Profiles, *, frames: int | None = None, slots: int | None = None,
        kept: int = 32,
    ) -> None:  # fmt: skip
        self._rules = rules
        self._slots = rules.slots if slots is None else slots
        if not 1 <= self._slots <= rules.slots:
            raise BadConfig(f"slots must be in 1..{rules.slots}, as many as the model was made for, got {slots}")
        # As far back as the model looks is held in any case.
        self._kept = max(kept, rules.pointers, rules.slots)
        self._most_pointers = profiles.pointers
        self._span = min(rules.pointers, frames or rules.pointers)
        self.most = min(MOST_SLOTS, profiles.memories)
        """Memories attended to at once."""
        self._conditioning: dict[int, Remembered] = {}
        self._others: dict[int, Remembered] = {}
        self._tracked: dict[int, bool] = {}
        self._pending: dict[int, tuple[bool, Remembered]] = {}

    def __len__(self) -> int:
        """Frames that are held."""
        return len(self._conditioning) + len(self._others) + len(self._pending)

    @property
    def nbytes(self) -> int:
        """Of the host's memory."""
        held = (*self._conditioning.values(), *self._others.values(), *(one for _, one in self._pending.values()))
        return sum(one.nbytes for one in held)

    def tracked(self, frame: int) -> bool | None:
        """Whether the frame was tracked backward; None where it was not tracked yet, or let go."""
        return self._tracked.get(frame)

    def conditioning(self, frame: int) -> Remembered | None:
        """The frame as it was prompted, or None."""
        return self._conditioning.get(frame)

    def latest(self, frame: int) -> Remembered | None:
        """What was found on the frame last, prompts that wait included."""
        if frame in self._pending:
            return self._pending[frame][1]
        return self._conditioning.get(frame) or self._others.get(frame)

    def prompt(self, frame: int, found: Remembered, conditioning: bool) -> None:
        """Take what a prompt gave. It waits until tracking goes on, as in the official predictor: corrections of
        several frames do not see each other."""
        self._pending[frame] = conditioning, found
        if len(self._pending) > KEPT_CONDITIONING:
            self.settle(frame)

    def settle(self, now: int) -> None:
        """Let the prompts that wait become memory, before frame `now` is looked at."""
        for frame, (conditioning, found) in self._pending.items():
            if conditioning:
                self._conditioning[frame] = found
            else:
                self._others[frame] = found
        self._pending.clear()
        for frame in self._conditioning:
            self._others.pop(frame, None)
        self._let_go(now)

    def add(self, frame: int, found: Remembered, backward: bool) -> None:
        """Take what tracking found on a frame."""
        self._others[frame] = replace(found, low=found.low.astype(np.float16))
        self.passed(frame, backward)
        self._let_go(frame)

    def passed(self, frame: int, backward: bool) -> None:
        """Note that tracking has come by."""
        self._tracked[frame] = backward

    def recall(self, frame: int, backward: bool, most: int | None = None) -> Recall:
        """What to look at a frame with, coming from later ones where `backward`. most: fewer memories than `self.most`.

        At least one prompted frame must have settled. Where the model takes only pointers of the past and there are
        none, those of prompted frames ahead stand in, since a graph cannot take an empty list.
        """
        most = self.most if most is None else min(most, self.most)
        step = 1 if backward else -1
        chosen = self._chosen(frame, max(1, most - (self._slots - 1)))
        near = []
        for away in range(self._slots - 1, 0, -1):
            at = frame + step * away
            one = self._others.get(at)
            if one is None and at not in chosen:
                one = self._conditioning.get(at)
            if one is not None:
                near.append((away - 1, one))
        near = near[max(0, len(near) - (most - len(chosen))) :] if most > len(chosen) else []
        row = self._rules.slots - 1
        memories = [(row, self._conditioning[at]) for at in chosen] + near
        pointers = self._pointers(frame, step, chosen)
        span = max(1, self._span - 1)
        return Recall(
            tuple(one for _, one in memories),
            tuple(row for row, _ in memories),
            tuple(one for _, one in pointers),
            tuple(age / span for age, _ in pointers),
        )

    def _chosen(self, frame: int, most: int) -> list[int]:
        """Prompted frames to attend to, in the order of their prompts."""
        first, *rest = self._conditioning
        nearest = sorted(rest, key=lambda at: abs(at - frame))[: most - 1]
        return [at for at in self._conditioning if at == first or at in nearest]

    def _pointers(self, frame: int, step: int, chosen: Iterable[int]) -> list[tuple[int, Remembered]]:
        """(age, whose pointer), age in frames."""
        ahead: list[tuple[int, Remembered]] = []
        found: list[tuple[int, Remembered]] = []
        for at in chosen:
            age = (at - frame) * step
            one = (age if self._rules.signed_ages else abs(age), self._conditioning[at])
            (ahead if self._rules.past_pointers_only and age < 0 else found).append(one)
        for age in range(1, self._span):
            one_near = self._others.get(frame + step * age)
            if one_near is None and frame + step * age not in chosen:
                one_near = self._conditioning.get(frame + step * age)
            if one_near is not None:
                found.append((age, one_near))
        return (found or ahead)[: self._most_pointers]

    def _let_go(self, now: int) -> None:
        for held, most in ((self._others, self._kept), (self._conditioning, KEPT_CONDITIONING)):
            while len(held) > most:
                first, *rest = held
                everyone = rest if held is self._conditioning else [first, *rest]
                held.pop(max(everyone, key=lambda at: abs(at - now)))
        if len(self._tracked) > self._kept + KEPT_CONDITIONING:
            still = self._others.keys() | self._conditioning.keys()
            self._tracked = {at: way for at, way in self._tracked.items() if at in still}
