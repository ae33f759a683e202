"""How one answer compares with its truth."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from scene_r1.rooms.questions.question import Question

Window = tuple[float, float]
Xyxy = tuple[float, float, float, float]

THETAS = np.linspace(0.5, 0.95, 10)
NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
} | {"none": "0", "no": "0"}


def temporal_iou(window_s: Window | None, windows_s: Sequence[Window]) -> float:
    """The best overlap of a time span with any of those in which the thing is visible: intersection / union.

    A thing that is visible twice is grounded by either time; Scene-R1 answers with one. 0 where no time was said.
    """
    if window_s is None:
        return 0.0
    best = 0.0
    for start, end in windows_s:
        common = min(end, window_s[1]) - max(start, window_s[0])
        union = max(end, window_s[1]) - min(start, window_s[0])
        if common > 0.0:
            best = max(best, common / union)
    return best


def box_iou(a: Xyxy, b: Xyxy) -> float:
    """Intersection over union of two boxes in one picture, xyxy pixels."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def mean_relative_accuracy(said: float, true: float) -> float:
    """Mean over theta in 0.50, 0.55 … 0.95 of [|said - true| / true <= 1 - theta]; true > 0; said may be NaN.

    VSI-Bench's score of a number (arXiv 2412.14171, section 3). The paper's formula has <, the authors' code <=; this
    is the code, for figures that can be compared with theirs.
    """
    return float(np.mean(abs(said - true) / true <= 1.0 - THETAS))


def vqa_score(question: Question, said: str) -> float:
    """How right an answer in words is, in [0, 1].

    word: 1 when it says the right one of the choices and none of the others ("It is red." is "red"). number: 1 when
    it is that number. metres, square_metres: mean relative accuracy of the first number in it.
    """
    if question.answer_kind == "word":
        return float(_choice(said, question.choices) == question.answer.lower())
    number = _number(said)
    if number is None:
        return 0.0
    truth = float(question.answer)
    if question.answer_kind == "number":
        return float(number == truth)
    return mean_relative_accuracy(number, truth)


def _choice(said: str, choices: Sequence[str]) -> str | None:
    """The one choice that an answer names; None where it names none, or several of which none holds the others."""
    words = " ".join(re.findall(r"\w+", said.lower()))
    named = [one.lower() for one in choices if re.search(rf"\b{re.escape(_plain(one))}\b", words)]
    longest = max(named, key=len, default=None)
    if longest is None or any(_plain(one) not in _plain(longest) for one in named):
        return None
    return longest


def _plain(choice: str) -> str:
    """A choice without its article and punctuation: people say "the red mug" and "red mug"."""
    return re.sub(r"^(the|a|an) ", "", " ".join(re.findall(r"\w+", choice.lower())))


def _number(said: str) -> float | None:
    found = NUMBER.search(said)
    if found is not None:
        return float(found[0].replace(",", "."))
    words = re.findall(r"[a-z]+", said.lower())
    return next((float(NUMBER_WORDS[word]) for word in words if word in NUMBER_WORDS), None)
