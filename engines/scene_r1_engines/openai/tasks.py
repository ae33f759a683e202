"""What a task is to the server: an instruction, a form for the answer, and how the answer is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scene_r1_engines.answer_format import Prompts, Verdict, parse_answer, parse_when, parse_where
from scene_r1_engines.answer_format.bounds import Seconds, Sides
from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.limits import Limits
from scene_r1_engines.openai.forms import (
    Form,
    answer_form,
    json_prompts,
    read_answer,
    read_when,
    read_where,
    when_form,
    where_form,
    with_think,
)
from scene_r1_engines.openai.settings import OpenAiSettings

NO_THOUGHT = "\nDo not think about it first: leave <think></think> empty."


@dataclass(frozen=True, slots=True)
class Task:
    """said: the instruction. response_format: for the server, None = it is not told. read: the verdict on what the
    model wrote; raises BadAnswer. span: (start, end) of the answer itself in what was read."""

    said: str
    response_format: dict[str, Any] | None
    read: Callable[[str], Verdict]
    span: Callable[[str], tuple[int, int]]


def when_task(question: str, start_s: float, end_s: float, limits: Limits, settings: OpenAiSettings) -> Task:
    """start_s, end_s: the first and the last held keyframe's time."""
    said = _prompts(settings, limits).when_text(question, start_s, end_s)
    if settings.constrain == "text":
        return _as_text(said, limits, lambda text: parse_when(text, start_s, end_s))
    seconds = Seconds.of(start_s, end_s)
    form = when_form(seconds, limits)
    return _as_json(said, form, lambda text: read_when(form, text, seconds), settings)


def where_task(question: str, width: int, height: int, limits: Limits, settings: OpenAiSettings) -> Task:
    """width, height: of the picture in the space that the model speaks."""
    said = _prompts(settings, limits).where_text(question)
    if settings.constrain == "text":
        return _as_text(said, limits, lambda text: parse_where(text, width, height))
    sides = Sides(width, height)
    form = where_form(sides, limits)
    return _as_json(said, form, lambda text: read_where(form, text, sides), settings)


def answer_task(question: str, limits: Limits, settings: OpenAiSettings) -> Task:
    said = _prompts(settings, limits).answer_text(question)
    if settings.constrain == "text":
        return _as_text(said, limits, parse_answer)
    form = answer_form(limits)
    return _as_json(said, form, lambda text: read_answer(form, text), settings)


def _prompts(settings: OpenAiSettings, limits: Limits) -> Prompts:
    default = Prompts() if settings.constrain == "text" else with_think(json_prompts(), limits)
    own = settings.prompts
    return Prompts(
        own.when or default.when_template, own.where or default.where_template, own.answer or default.answer_template
    )


def _as_text(said: str, limits: Limits, read: Callable[[str], Verdict]) -> Task:
    return Task(
        said if limits.think_tokens else said + NO_THOUGHT, None, lambda text: _unquoted(read, text), _answer_span
    )


def _as_json(said: str, form: Form, read: Callable[[str], Verdict], settings: OpenAiSettings) -> Task:
    return Task(said, form.response_format(settings.constrain), read, form.span)


def _unquoted(read: Callable[[str], Verdict], text: str) -> Verdict:
    """Raises BadAnswer without the words that it quotes of the text: the model may have repeated the question."""
    try:
        return read(text)
    except BadAnswer as error:
        said = re.split(r"['\"(]", str(error), maxsplit=1)[0].rstrip(" :")
        raise BadAnswer(f"{said}: this is not the form that was asked for; see constrain") from None


def _answer_span(text: str) -> tuple[int, int]:
    """What stands inside the last <answer></answer>; all of it where a model left them out."""
    start = text.rfind("<answer>")
    end = text.find("</answer>", start)
    return (start + len("<answer>") if start >= 0 else 0, end if end >= 0 else len(text))
