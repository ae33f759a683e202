"""What the small model is told and what it says: prompts, thoughts and answers, as tokens in the runtime's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tokenizers import Tokenizer

from scene_r1_engines.manifest import TimeRules
from scene_r1_export.rewards import Truth

Task = Literal["when", "where", "answer"]
WHEN = "When is it seen? {question}"
WHERE = "Where is it in the picture? {question}"
ANSWER = "Answer: {question}"
TIME = TimeRules(encoding="text", text="{seconds:.0f}s: ")
OPENING = "<|im_start|>user\n"
CLOSING = "<|im_end|>\n<|im_start|>assistant\n"
FIXED = 0.2
"""Weight in the loss of what the runtime writes for the model: it must know it only where nobody does."""
GRID = 4
"""Pixels: the coordinates that it is taught are multiples of it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its right answer. thought: None where it is answered without thinking. answer: texts, and
    coordinates as int, cut as the runtime's scripts cut them. truth: what an answer is judged by. shown: ids of the
    things that one must look at to say each number, in the order of the numbers of thought and answer."""

    task: Task
    question: str
    thought: str | None
    answer: tuple[str | int, ...]
    truth: Truth
    shown: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Drill:
    """An exercise: a name, and what is to be said at once after it, texts and coordinates as in Exchange; shown too."""

    name: str
    answer: tuple[str | int, ...]
    shown: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """Where in the tokens of an exchange stands a number that one reads off pictures: off these things in them."""

    at: int
    number: int
    things: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Tokens of one exchange after the pictures. ids: all of them. learn: from which on they are the model's own.
    weights: of each token in the loss. places: where in ids a coordinate of a box stands. looks: of its numbers."""

    ids: list[int]
    learn: int
    weights: list[float] = field(default_factory=list)
    places: tuple[int, ...] = ()
    looks: tuple[Look, ...] = ()


class Language:
    """Texts as tokens, cut where the runtime's scripts cut them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.numbers = [self._one(str(n)) for n in range(1000)]
        self._number_of = {id: number for number, id in enumerate(self.numbers)}
        self.image = self._one("<|image_pad|>")
        self.vision_start, self.vision_end = self._one("<|vision_start|>"), self._one("<|vision_end|>")
        self.end = self._one("<|im_end|>")
        self.opening, self.closing = self.tokens(OPENING), self.tokens(CLOSING)
        self.newline = self.tokens("\n")

    def tokens(self, text: str) -> list[int]:
        """Ids of a text by itself."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def before_picture(self, seconds: float | None) -> list[int]:
        """What stands before a picture; seconds: its time, None for one that is looked at alone."""
        return [*([] if seconds is None else self.tokens(TIME.said(seconds))), self.vision_start]

    def after_picture(self, timed: bool) -> list[int]:
        """What stands after it."""
        return [self.vision_end, *(self.newline if timed else ())]

    def asked(self, task: Task, question: str) -> list[int]:
        """The instruction and the beginning of the answer's turn."""
        template = {"when": WHEN, "where": WHERE, "answer": ANSWER}[task]
        return [*self.tokens(template.replace("{question}", question)), *self.closing]

    def said(self, exchange: Exchange) -> Said:
        """The tokens of a whole exchange."""
        ids = self.asked(exchange.task, exchange.question)
        learn = len(ids)
        weights = [0.0] * learn
        places: list[int] = []

        def put(new: Sequence[int], weight: float) -> None:
            ids.extend(new)
            weights.extend([weight] * len(new))

        put(self.tokens("<think>"), FIXED)
        if exchange.thought is None:
            put(self.tokens("</think>"), 0.0)
        else:
            put(self.tokens(exchange.thought), 1.0)
            put(self.tokens("</think>"), 1.0)
        thought = range(learn, len(ids))
        put(self.tokens("<answer>"), FIXED)
        for part in exchange.answer:
            if isinstance(part, int):
                places.append(len(ids))
                put([self.numbers[part]], 1.0)
            else:
                put(self.tokens(part), 1.0)
        put(self.tokens("</answer>"), 1.0)
        put([self.end], FIXED)
        return Said(ids, learn, weights, tuple(places), self._looks(ids, thought, places, exchange.shown))

    def drilled(self, drill: Drill) -> Said:
        """The tokens of an exercise."""
        ids = self.tokens(drill.name)
        learn = len(ids)
        weights = [0.0] * learn
        places = []
        for part in drill.answer:
            new = [self.numbers[part]] if isinstance(part, int) else self.tokens(part)
            if isinstance(part, int):
                places.append(len(ids))
            ids.extend(new)
            weights.extend([1.0] * len(new))
        told = range(learn, learn if places else len(ids))
        return Said(ids, learn, weights, tuple(places), self._looks(ids, told, places, drill.shown))

    def _looks(
        self, ids: Sequence[int], told: range, places: Sequence[int], shown: Sequence[tuple[int, ...]]
    ) -> tuple[Look, ...]:
        numbers = [at for at in told if ids[at] in self._number_of] + list(places)
        return tuple(
            Look(at, self._number_of[ids[at]], things) for at, things in zip(numbers, shown, strict=False) if things
        )

    def _one(self, text: str) -> int:
        ids = self.tokens(text)
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens")
        return ids[0]


def box_answer(box: Sequence[float], label: str, picture: tuple[int, int]) -> tuple[str | int, ...]:
    """The parts of `{"bbox_2d": …, "label": …}`. box: xyxy pixels of a picture of (height, width)."""
    x0, y0, x1, y1 = on_grid(box, picture)
    return ('{"', 'bbox_2d": [', x0, ", ", y0, ",", " ", x1, ", ", y1, "],", ' "label": "', label, '"}')


def coordinates(box: Sequence[float], picture: tuple[int, int]) -> tuple[str | int, ...]:
    """The parts of ` [x0, y0, x1, y1]`, for an exercise."""
    x0, y0, x1, y1 = on_grid(box, picture)
    return (" [", x0, ", ", y0, ",", " ", x1, ", ", y1)


def on_grid(box: Sequence[float], picture: tuple[int, int]) -> tuple[int, int, int, int]:
    """The nearest box whose sides the model is taught: never empty, and inside a picture of (height, width)."""
    height, width = picture
    x0, y0 = (round(value / GRID) * GRID for value in box[:2])
    x1, y1 = (round(value / GRID) * GRID for value in box[2:])
    x0, y0 = min(x0, width - GRID), min(y0, height - GRID)
    return x0, y0, min(max(x1, x0 + GRID), width), min(max(y1, y0 + GRID), height)


def said_seconds(seconds: float) -> str:
    """A picture's time as it is said before it: `5s`."""
    return TIME.said(seconds).removesuffix(": ")


def window_answer(start_s: int, end_s: int) -> tuple[str | int, ...]:
    """The parts of `5s to 10s`."""
    return (str(start_s), "s", " to ", str(end_s), "s")


NOT_FOUND: tuple[str, ...] = ("not found",)
