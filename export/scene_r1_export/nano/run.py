"""One training run as a folder: its data, its words, its states, its logs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from scene_r1.files import make_folder, whole_file, write_text
from scene_r1.rooms.model.material import COLORS
from scene_r1.rooms.model.shapes import SHAPES
from scene_r1.rooms.questions import phrases
from scene_r1.rooms.questions.naming import plural
from scene_r1_engines.errors import BadInput
from scene_r1_export.nano.checkpoint import new_model
from scene_r1_export.nano.data.classes import KINDS
from scene_r1_export.nano.data.shard import RoomShard
from scene_r1_export.nano.data.sights import read_rooms
from scene_r1_export.nano.model.sizes import NANO, TINY, Sizes
from scene_r1_export.nano.model.tokenizer import train_tokenizer
from scene_r1_export.nano.state import read_state
from scene_r1_export.nano.words import ANSWER, WHEN, WHERE, Language

Stage = Literal["vision", "language", "grpo"]
SAYS = (
    "It is the in view at from and on floor I do not see none a an look walls The A An Are Is they",
    "not found bbox d label s to yes no system user assistant object thing objects things",
)
"""Words of its thoughts and of the chat's layout."""


@dataclass(frozen=True, slots=True)
class Run:
    """folder: where it lies. sizes: of its model."""

    folder: Path
    sizes: Sizes

    @classmethod
    def begin(cls, folder: Path, smoke: bool) -> Run:
        """A run that is new or goes on. Raises BadInput for one of a model of other sizes, or whose file is damaged."""
        kept, wanted = make_folder(folder) / "sizes.json", "tiny" if smoke else "nano"
        if kept.exists():
            try:
                sizes = json.loads(kept.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                sizes = None
            if sizes not in ("tiny", "nano"):
                raise BadInput(f'{kept}: damaged: it must hold "nano", or "tiny" for a run with --smoke')
            if sizes != wanted:
                raise BadInput(
                    f"{folder} is a run with {'the real' if smoke else '--smoke'} sizes: name another folder"
                )
        else:
            write_text(kept, json.dumps(wanted) + "\n")
        return cls(folder, TINY if smoke else NANO)

    def data(self, split: str) -> Path:
        """Where the rooms of a split lie."""
        return self.folder / "data" / split

    def rooms(self, split: str) -> list[RoomShard]:
        """The rooms of a split. Raises BadInput where there are none."""
        rooms = read_rooms(self.data(split))
        if not rooms:
            raise BadInput(f"{self.data(split)} holds no rooms: run `data` first")
        return rooms

    def state(self, stage: Stage) -> Path:
        """Where a stage keeps its weights and its optimizer."""
        return self.folder / f"{stage}.pt"

    def language(self, begins: bool = False) -> Language:
        """The words of this run. begins: make them where they are not there yet. Raises BadInput for a run without
        words, and for a damaged file."""
        path = self.folder / "tokenizer.json"
        if begins and not path.exists():
            with whole_file(path) as temporary:
                train_tokenizer(texts()).save(str(temporary))
        if not path.exists():
            raise BadInput(f"{path} is not there: run `train` first")
        try:
            return Language(Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises nothing narrower
            raise BadInput(f"{path}: damaged ({error}): the weights of this run go with it, begin another") from error

    def model(self, language: Language, stage: Stage | None = None) -> Any:
        """The model, with the weights that a stage has left. Raises BadInput where it has left none."""
        model = new_model(self.sizes, language.tokenizer)
        if stage is None:
            return model
        path = self.state(stage)
        if not path.exists():
            raise BadInput(f"{path} is not there: run the stage `{stage}` first")
        kept = read_state(path)
        if stage == "vision":
            model.model.visual.load_state_dict(kept["visual"])
        else:
            model.load_state_dict(kept["model"])
        return model

    def last(self) -> Stage:
        """The last stage that has left weights. Raises BadInput where none has."""
        stages: tuple[Stage, ...] = ("grpo", "language")
        for stage in stages:
            if self.state(stage).exists():
                return stage
        raise BadInput(f"{self.folder} has no trained language model: run `train` first")

    @contextmanager
    def log(self, name: str) -> Iterator[Callable[[str], None]]:
        """Lines of JSON, appended to a file of the run and said on stderr."""
        with (self.folder / f"log-{name}.jsonl").open("a", encoding="utf-8") as file:

            def say(line: str) -> None:
                file.write(line + "\n")
                file.flush()
                sys.stderr.write(line + "\n")

            yield say


def texts() -> Iterator[str]:
    """All words that questions, answers and thoughts are made of."""
    for ways in phrases.RELATIONS.values():
        yield from ways
    for family in (
        phrases.FIND, phrases.COUNT, phrases.COLOR, phrases.EXISTENCE, phrases.CLOSER, phrases.BIGGER, phrases.TALLER,
        phrases.ROOM_SIZE, phrases.DISTANCE,
    ):  # fmt: skip
        yield from family
    yield from (plural(shape) for shape in SHAPES)
    yield from (*KINDS, *COLORS, WHEN, WHERE, ANSWER, *SAYS)
