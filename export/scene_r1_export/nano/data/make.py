"""Rooms into training data: the keyframes that the runtime's own selector holds, and questions about the walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from scene_r1.keyframes import KeyframeSelector
from scene_r1.rooms.capture.recording import SyntheticRecording
from scene_r1.rooms.model.room import BACKGROUND, Room
from scene_r1.rooms.questions.draft import Draft
from scene_r1.rooms.questions.make import draft_questions
from scene_r1.rooms.questions.meaning import Noun
from scene_r1.rooms.questions.seen_walk import SeenWalk
from scene_r1.rooms.questions.solver import Solver
from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.data.shard import Asked, Named, RoomShard, Thing, write_shard


@dataclass(frozen=True, slots=True)
class DataSettings:
    """size: (width, height) of the views. coarse: of the pictures in which keyframes are chosen and questions made.
    frames at rate_hz are walked, of which `keyframes` are held; `more` other views are kept as well, for looking at
    single pictures. questions: at most, of one room."""

    size: tuple[int, int] = (448, 336)
    coarse: tuple[int, int] = (160, 120)
    frames: int = 120
    rate_hz: float = 4.0
    keyframes: int = 16
    more: int = 24
    questions: int = 48

    def __post_init__(self) -> None:
        if not (self.frames >= 1 and 0.1 <= self.rate_hz <= 1000.0):
            raise BadInput(f"frames >= 1 at 0.1..1000 Hz, got {self.frames} at {self.rate_hz}")
        if self.keyframes < 1 or self.more < 0 or self.questions < 1:
            raise BadInput("keyframes >= 1, more >= 0 and questions >= 1 must hold")


@dataclass(frozen=True, slots=True)
class LookSettings:
    """size: (width, height) of the views. views: so many, evenly over a walk of span_s."""

    size: tuple[int, int] = (400, 300)
    views: int = 14
    span_s: float = 30.0

    def __post_init__(self) -> None:
        if self.views < 1 or not 1.0 <= self.span_s <= 600.0:
            raise BadInput(f"views >= 1 in 1..600 s, got {self.views} in {self.span_s}")


def make_room_shard(seed: int, made: DataSettings) -> RoomShard:
    """Walk through the room of that seed. Raises MissingExtra without a ray caster."""
    with SyntheticRecording(seed, made.frames, made.coarse, rate_hz=made.rate_hz) as walk:
        selector = KeyframeSelector(made.keyframes)
        instance = []
        for index in range(len(walk)):
            frame, truth = walk.shot(index)
            selector.offer(frame)
            instance.append(truth.instance)
        selector.settle()
        held = list(selector.keyframes)
        times_s = np.arange(len(walk)) / made.rate_hz
        seen = SeenWalk(walk.room, walk.cameras[0], walk.poses, times_s, instance, walk.visible_fraction())
        solver, room = Solver.of(seen), walk.room
        drafts = draft_questions(solver, made.questions, seed)
        asked = tuple(_asked(solver, draft, f"room-{seed:06d}") for draft in drafts)
    others = [int(i) for i in np.linspace(0, made.frames - 1, made.more + 2)[1:-1]]
    chosen = sorted({*held, *others})
    images, shown = [], []
    with SyntheticRecording(seed, made.frames, made.size, one_camera=True, rate_hz=made.rate_hz) as walk:
        for index in chosen:
            frame, truth = walk.shot(index)
            images.append(frame.color)
            shown.append(truth.instance)
    return RoomShard(
        seed,
        (made.frames - 1) / made.rate_hz,
        np.array(chosen) / made.rate_hz,
        np.isin(chosen, held),
        tuple(images),
        tuple(shown),
        _things(room),
        asked,
    )


def make_look_shard(seed: int, made: LookSettings) -> RoomShard:
    """A few views of the room of that seed, and no questions: for learning what things look like, in a third of the
    time. Raises MissingExtra without a ray caster."""
    with SyntheticRecording(seed, made.views, made.size, one_camera=True, rate_hz=made.views / made.span_s) as walk:
        shots = [walk.shot(index) for index in range(len(walk))]
        seconds = np.arange(made.views) * made.span_s / made.views
        return RoomShard(
            seed,
            made.span_s,
            seconds,
            np.zeros(made.views, np.bool_),
            tuple(frame.color for frame, _ in shots),
            tuple(truth.instance for _, truth in shots),
            _things(walk.room),
            (),
        )


def _things(room: Room) -> tuple[Thing, ...]:
    things = [
        Thing(one.id, one.shape, one.color, "object", one.support, (one.box.low, one.box.high)) for one in room.objects
    ]
    for kind, pieces in (("furniture", room.furniture), ("clutter", room.clutter)):
        things += [Thing(one.id, one.name, "", kind, BACKGROUND, (one.box.low, one.box.high)) for one in pieces]
    return tuple(things)


def _asked(solver: Solver, draft: Draft, scene: str) -> Asked:
    question, meaning = draft.question(solver, scene, 0), draft.meaning
    return Asked(
        question.text,
        question.task,
        question.family,
        question.form,
        meaning.kind,
        _named(solver, meaning.noun),
        meaning.relation or "",
        tuple(_named(solver, anchor) for anchor in meaning.anchors),
        question.rationale,
        question.target,
        question.windows_s,
        question.answer,
        question.answer_kind,
        question.choices,
    )


def _named(solver: Solver, noun: Noun) -> Named:
    things = solver.named(noun)
    return Named(noun.shape or "", noun.color or "", things[0].id if len(things) == 1 else None)


def make_data(out: Path, seeds: Sequence[int], made: DataSettings | LookSettings, workers: int = 1) -> Iterator[Path]:
    """One file a room below `out`; those that are there already are kept. Yields each as it is done."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not shard_path(out, seed).exists()]
    if workers <= 1:
        yield from (_make(out, seed, made) for seed in missing)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(_make, [out] * len(missing), missing, [made] * len(missing))


def shard_path(out: Path, seed: int) -> Path:
    """Where the room of a seed lies."""
    return out / f"room-{seed:06d}.npz"


def _make(out: Path, seed: int, made: DataSettings | LookSettings) -> Path:
    path = shard_path(out, seed)
    room = make_look_shard(seed, made) if isinstance(made, LookSettings) else make_room_shard(seed, made)
    write_shard(path, room)
    return path


def _one_thread() -> None:
    import numba

    numba.set_num_threads(1)
