"""Making rooms on disk: those that are there already are kept, a room that fails does not end the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from scene_r1.files import make_folder
from scene_r1.rooms.dataset.folder import open_rooms, write_index
from scene_r1.rooms.dataset.room_folder import check_kept, questions_of, room_name
from scene_r1.rooms.dataset.settings import RoomsSettings
from scene_r1.rooms.dataset.sheet import preview_sheet, write_jpeg
from scene_r1.rooms.dataset.worker import RoomDone, make_each
from scene_r1_engines.errors import BadInput, BadRecording, SceneR1Error

SHEET = "contact_sheet.jpg"
MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class MadeRooms:
    """made, kept: names of the rooms made now, and of those that were there. failed: name -> why.
    questions: of all rooms that are there now."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    failed: Mapping[str, str]
    questions: int


def make_rooms(
    out: str | os.PathLike[str],
    seeds: Sequence[int],
    *,
    size: tuple[int, int] = (320, 240),
    frames: int = 120,
    rate_hz: float = 4.0,
    questions: int = 6,
    preview: bool = False,
    workers: int | None = None,
    on_room: Callable[[RoomDone], None] | None = None,
) -> MadeRooms:
    """Make the rooms of those seeds, with walks through them and questions about them, as a folder for `open_rooms`.

    Rooms in the folder that were made with the same settings are kept. The depth noise is that of a D4xx, in metres,
    whatever the size. preview: also a contact sheet for people. workers: how many processes render (default: one for
    each core, as far as there are rooms). on_room: called with each room when it is done.

    `rooms.json` and `questions.jsonl` are written at the end and name exactly the rooms asked for that did not fail.
    Raises BadInput for what cannot be asked for, OutputExists where a room was made otherwise, MissingExtra without a
    ray caster, SceneR1Error when every room failed or the disk refuses.
    """
    made = RoomsSettings(size=tuple(size), frames=frames, rate_hz=rate_hz, questions=questions)  # type: ignore[arg-type]
    _check_seeds(seeds)
    folder = make_folder(out)
    count = _cores() if workers is None else _checked_workers(workers)
    results: dict[int, RoomDone] = {}
    by_name = {room_name(seed): seed for seed in seeds}

    def done(one: RoomDone) -> None:
        results[by_name[one.name]] = one
        if on_room is not None:
            on_room(one)

    missing = []
    for seed in seeds:  # all of them before any work: a folder made otherwise is told at once
        kept = _kept(folder, seed, made)
        if kept is None:
            missing.append(seed)
        else:
            done(kept)
    with closing(make_each(folder, missing, made, min(count, max(1, len(missing))))) as each:
        for one in each:
            done(one)
    whole = [seed for seed in seeds if results[seed].how != "failed"]
    failed = {one.name: one.reason for seed in seeds if (one := results[seed]).how == "failed"}
    if not whole:
        raise SceneR1Error(f"none of {len(seeds)} rooms could be made: {next(iter(failed.values()))}")
    asked = [question for seed in whole for question in questions_of(folder, seed)]
    write_index(folder, whole, made, asked)
    if preview:
        rooms = open_rooms(folder)
        write_jpeg(folder / SHEET, preview_sheet(rooms.scenes))
    return MadeRooms(
        made=tuple(room_name(seed) for seed in seeds if results[seed].how == "made"),
        kept=tuple(room_name(seed) for seed in seeds if results[seed].how == "kept"),
        failed=failed,
        questions=len(asked),
    )


def _kept(folder: Path, seed: int, made: RoomsSettings) -> RoomDone | None:
    try:
        if not check_kept(folder, seed, made):
            return None
        return RoomDone(room_name(seed), "kept", sum(1 for _ in questions_of(folder, seed)))
    except BadRecording as error:
        return RoomDone(room_name(seed), "failed", 0, str(error))


def _check_seeds(seeds: Sequence[int]) -> None:
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise BadInput(f"a room's seed must be a whole number >= 0, got {seed!r}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise BadInput(
            f"make at least one room, and each only once: got {len(seeds)} seeds, {len(set(seeds))} of them different"
        )


def _checked_workers(workers: int) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST_WORKERS:
        raise BadInput(f"workers must be a whole number in 1..{MOST_WORKERS}, got {workers!r}")
    return workers


def _cores() -> int:
    """Cores this process may run on."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)))
