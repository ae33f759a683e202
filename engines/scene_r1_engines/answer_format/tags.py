"""The think and answer tags in what a model wrote freely."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scene_r1_engines.errors import BadAnswer

THINK = re.compile("<(/?)think>", re.IGNORECASE | re.ASCII)
ANSWER = re.compile("<(/?)answer>", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Tagged:
    """answers: what stands in each pair of answer tags, or all that is no thought where there are none; stripped, none
    empty. whole: nothing that was opened is left open. tagged: there were answer tags."""

    rationale: str
    answers: tuple[str, ...]
    whole: bool
    tagged: bool


def read_tags(text: str) -> Tagged:
    """Thoughts apart from answers. An opening tag may be missing where it was part of the prompt.

    An answer inside a thought is a thought. Raises BadAnswer where answer tags do not pair up.
    """
    thoughts, rest, thinking = _thoughts(text)
    rationale = "\n".join(one.strip() for one in thoughts if one.strip())
    answers, end, inside, tags = [], 0, False, list(ANSWER.finditer(rest))
    for number, tag in enumerate(tags):
        closes = bool(tag[1])
        if closes != inside and not (closes and number == 0):
            raise BadAnswer(f"the tags around the answer do not pair up: {rest[end:][:80]!r}")
        if closes:
            answers.append(rest[end : tag.start()].strip())
        inside, end = not closes, tag.end()
    if not tags:
        answers = [rest.strip()]
    return Tagged(rationale, tuple(one for one in answers if one), not (thinking or inside), bool(tags))


def _thoughts(text: str) -> tuple[list[str], str, bool]:
    """The thoughts, what is left of the text without them, and whether the last thought never ends."""
    thoughts: list[str] = []
    rest: list[str] = []
    depth = end = 0
    for tag in THINK.finditer(text):
        piece = text[end : tag.start()]
        end = tag.end()
        (thoughts if depth else rest).append(piece)
        if not tag[1]:
            depth += 1
        elif depth:
            depth -= 1
        else:  # it was opened by the prompt: all so far was thought
            thoughts += rest
            rest = []
    (thoughts if depth else rest).append(text[end:])
    return thoughts, "\n".join(rest), depth > 0
