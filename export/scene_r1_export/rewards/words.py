"""How right an answer in words is: the same words, the same number, or a length near the true one."""

from __future__ import annotations

import re
from typing import Literal, get_args

from scene_r1.rooms.questions.scores import mean_relative_accuracy

AnswerKind = Literal["word", "number", "metres", "square_metres"]
"""Those of the questions about rooms."""
ANSWER_KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
MOST_LETTERS = 200
"""An answer of a few words is shorter; a longer one is no answer, and is not looked at."""
ARTICLES = ("the", "a", "an")
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
UNITS: dict[AnswerKind, str] = {
    "number": "",
    "metres": r"(?:\s?(?:m|metres?|meters?))?",
    "square_metres": r"(?:\s?(?:m2|m²|m\^2|sq\.? ?m|sqm|square (?:metres?|meters?)))?",
}
MEASURES: dict[str, re.Pattern[str]] = {kind: re.compile(NUMBER + unit) for kind, unit in UNITS.items()}


def answer_match(said: str, answer: str, kind: AnswerKind) -> float:
    """How right an answer is, in [0, 1].

    word: 1 for the same words, whatever their case, articles and punctuation. number: 1 for the same number, in digits
    or as a word up to twelve. metres, square_metres: `mean_relative_accuracy` of the number, with its unit or without.
    answer: the true one, as an AnswerTruth has it.
    """
    if len(said) > MOST_LETTERS:
        return 0.0
    if kind == "word":
        return float(plain_words(said) == plain_words(answer))
    number, true = number_in(said, kind), number_in(answer, kind)
    if number is None or true is None:
        return 0.0
    return float(number == true) if kind == "number" else mean_relative_accuracy(number, true)


def plain_words(said: str) -> str:
    """The words in lower case, without articles and punctuation: "The red mug." is "red mug"."""
    words = re.findall(r"\w+", said.casefold())
    return " ".join(word for word in words if word not in ARTICLES)


def number_in(said: str, kind: AnswerKind) -> float | None:
    """The number that an answer is, with the unit that its kind may have; None where it is anything else.

    A number among other words, with a sign or a comma, is none: what was asked for is the number.
    """
    bare = said.strip().rstrip(".").casefold()
    if bare in NUMBER_WORDS:
        return float(NUMBER_WORDS.index(bare))
    found = MEASURES[kind].fullmatch(bare)
    return None if found is None else float(found[1])
