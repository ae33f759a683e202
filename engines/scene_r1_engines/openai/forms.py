"""The form of an answer as one JSON object: the schema a server holds the model to, and the reading of what came."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scene_r1_engines.answer_format.bounds import Seconds, Sides
from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.answer_format.scripts import MOST_ANSWER, MOST_LABEL
from scene_r1_engines.answer_format.steps import Verdict
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.limits import Limits
from scene_r1_engines.reasoner import Box, Finish

THINK, WINDOW, BOX, LABEL, ANSWER = "think", "window_s", "bbox_2d", "label", "answer"

WHEN_PROMPT = (
    "The pictures are from one recording of a room, which runs from {start}s to {end}s. "
    "Find the time span in which the thing described here can be seen: {question}\n"
    'Reply with one JSON object: {{think}"window_s": [start, end]}, in whole seconds. '
    'If it is never seen, write "window_s": null.'
)
WHERE_PROMPT = (
    "Find the thing described here in the picture and give its bounding box: {question}\n"
    'Reply with one JSON object: {{think}"bbox_2d": [x1, y1, x2, y2], "label": "what it is"}. '
    'If it is not in the picture, write "bbox_2d": null, "label": "".'
)
ANSWER_PROMPT = (
    "The pictures are from one recording of a room. Answer this question about it: {question}\n"
    'Reply with one JSON object: {{think}"answer": "a short answer"}.'
)
THINK_PROMPT = '"think": "first what you consider", '

CHARACTERS_PER_TOKEN = 4
MOST_THOUGHT = 1000
"""Characters. llama.cpp refuses a grammar that repeats something 2000 times, and its Python binding one of 1500."""


def json_prompts() -> Prompts:
    """The default instructions for a model that answers in JSON; `{think}` is yet to be filled in, see `with_think`."""
    return Prompts(WHEN_PROMPT, WHERE_PROMPT, ANSWER_PROMPT)


def with_think(prompts: Prompts, limits: Limits) -> Prompts:
    """The instructions with the word about thinking, or without it where thinking is switched off."""
    said = THINK_PROMPT if limits.think_tokens else ""
    texts = (prompts.when_template, prompts.where_template, prompts.answer_template)
    return Prompts(*(text.replace("{think}", said) for text in texts))


def most_thought(limits: Limits) -> int:
    """Characters that the thinking may have. A schema counts characters, not tokens."""
    return min(MOST_THOUGHT, limits.think_tokens * CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Form:
    """One task's JSON object. key: what its value is called. properties: of the schema, in the order of writing.
    most_thought: characters of thinking; 0: it has none."""

    key: str
    properties: Mapping[str, Any]
    most_thought: int

    @classmethod
    def of(cls, key: str, properties: Mapping[str, Any], limits: Limits) -> Form:
        room = most_thought(limits)
        think = {THINK: {"type": "string", "maxLength": room}} if room else {}
        return cls(key, {**think, **properties}, room)

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.properties),
            "additionalProperties": False,
        }

    def response_format(self, constrain: str) -> dict[str, Any]:
        """How a server is told, see OpenAiSettings.constrain."""
        if constrain == "json_object":
            return {"type": "json_object", "schema": self.schema}
        return {"type": "json_schema", "json_schema": {"name": self.key, "strict": True, "schema": self.schema}}

    def fields(self, text: str) -> tuple[dict[str, Any], Verdict]:
        """The object's values, and a verdict that has the thinking but no value yet. Raises BadAnswer."""
        found = _json_object(text)
        unknown = found.keys() - self.properties.keys() - {THINK}
        missing = self.properties.keys() - found.keys() - {THINK}  # a model that thought nothing has still answered
        if unknown or missing:
            held = f"lacks {', '.join(sorted(missing))}" if missing else f"has {len(unknown)} keys too many"
            raise BadAnswer(f"the model's JSON object {held}: does the server hold answers to a schema? See constrain")
        thought = found.get(THINK, "")
        if not isinstance(thought, str):
            raise BadAnswer("the model's think must be text")
        forced = 0 < self.most_thought <= len(thought)
        return found, Verdict(Finish.NOT_FOUND, None, _harmless(thought), forced)

    def span(self, text: str) -> tuple[int, int]:
        """Where in an object that was read its value stands."""
        *_, last = re.finditer(rf'"{self.key}"\s*:\s*', text)  # an unescaped quote stands in no string before it
        return last.end(), json.JSONDecoder(strict=False).raw_decode(text, last.end())[1]


def when_form(seconds: Seconds, limits: Limits) -> Form:
    second = {"type": "integer", "minimum": seconds.first, "maximum": seconds.last}
    return Form.of(WINDOW, {WINDOW: _or_null([second, second])}, limits)


def where_form(sides: Sides, limits: Limits) -> Form:
    x = {"type": "integer", "minimum": 0, "maximum": sides.width}
    y = {"type": "integer", "minimum": 0, "maximum": sides.height}
    label = {"type": "string", "maxLength": MOST_LABEL}
    return Form.of(BOX, {BOX: _or_null([x, y, x, y]), LABEL: label}, limits)


def answer_form(limits: Limits) -> Form:
    return Form.of(ANSWER, {ANSWER: {"type": "string", "minLength": 1, "maxLength": MOST_ANSWER}}, limits)


def read_when(form: Form, text: str, seconds: Seconds) -> Verdict:
    """value: a Window inside the seconds. Raises BadAnswer."""
    found, verdict = form.fields(text)
    if found[WINDOW] is None:
        return verdict
    start_s, end_s = _numbers(found[WINDOW], 2, WINDOW)
    if not seconds.hold((start_s, end_s)):
        raise BadAnswer(
            f"the model's {WINDOW} must have {seconds.first} <= start < end <= {seconds.last}, "
            f"got {start_s:g} and {end_s:g}"
        )
    return Verdict(Finish.OK, (start_s, end_s), verdict.rationale, verdict.think_forced)


def read_where(form: Form, text: str, sides: Sides) -> Verdict:
    """value: Boxes, one, inside the sides. Raises BadAnswer."""
    found, verdict = form.fields(text)
    label = found[LABEL]
    if found[BOX] is None:
        return verdict
    x0, y0, x1, y1 = _numbers(found[BOX], 4, BOX)
    box: Box = (x0, y0, x1, y1)
    if not sides.hold(box):
        raise BadAnswer(
            f"the model's {BOX} must have 0 <= x1 < x2 <= {sides.width} and 0 <= y1 < y2 <= {sides.height}, "
            f"got {' '.join(f'{v:g}' for v in box)}"
        )
    if not isinstance(label, str) or len(label) > MOST_LABEL or _harmless(label) != label.strip():
        raise BadAnswer(f"the model's {LABEL} must be text of at most {MOST_LABEL} characters that can be printed")
    return Verdict(Finish.OK, ((box, label.strip()),), verdict.rationale, verdict.think_forced)


def read_answer(form: Form, text: str) -> Verdict:
    """value: the words, stripped; none, or as many as the form has room for, is `truncated`. Raises BadAnswer."""
    found, verdict = form.fields(text)
    words = found[ANSWER]
    if not isinstance(words, str) or _harmless(words) != words.strip():
        raise BadAnswer(f"the model's {ANSWER} must be text that can be printed")
    finish = Finish.OK if words.strip() and len(words) < MOST_ANSWER else Finish.TRUNCATED
    return Verdict(finish, words.strip() if finish is Finish.OK else None, verdict.rationale, verdict.think_forced)


def _harmless(text: str) -> str:
    """The text stripped, with a space for what moves a terminal's cursor or cannot be printed at all."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text.strip()
    ).strip()


def _or_null(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of just these, or null."""
    count = len(items)
    return {"anyOf": [{"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}, {"type": "null"}]}


def _json_object(text: str) -> dict[str, Any]:
    try:
        # strict=False: llama.cpp's grammars let line breaks stand in strings
        found = json.JSONDecoder(
            strict=False, object_pairs_hook=_once, parse_constant=_refused, parse_int=_integer
        ).decode(text)
    except RecursionError:
        raise BadAnswer("the model's answer is nested too deeply") from None
    except ValueError:
        raise BadAnswer(
            "the model's answer is not one JSON object: does the server hold answers to a schema? See constrain"
        ) from None
    if not isinstance(found, dict):
        raise BadAnswer("the model's answer is JSON, but not an object: see constrain")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadAnswer("the model's answer says one key twice: two answers are none")
    return found


def _refused(word: str) -> None:
    raise BadAnswer(f"the model wrote {word}, which is no number")


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise BadAnswer("the model wrote a number of more than 20 digits")
    return int(digits)


def _numbers(value: object, count: int, key: str) -> list[float]:
    """Raises BadAnswer unless it is a list of so many numbers. Infinity (1e999) is kept: it is in no picture."""
    if not isinstance(value, list) or len(value) != count:
        raise BadAnswer(f"the model's {key} must be a list of {count} numbers or null")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        raise BadAnswer(f"the model's {key} must be {count} numbers, got something else among them")
    return [float(one) + 0.0 for one in value]  # + 0.0: no -0.0
