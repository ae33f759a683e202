"""A Reasoner that holds encoded keyframes and asks a server about them."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.answer_format import Verdict, check_question, neutralised
from scene_r1_engines.errors import BadFrame, BadInput, BudgetExceeded, EngineFailed, MissingExtra
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.picture import check_picture
from scene_r1_engines.openai.completion import Completion, read_completion
from scene_r1_engines.openai.pictures import Picture, encoded
from scene_r1_engines.openai.settings import OpenAiSettings
from scene_r1_engines.openai.tasks import Task, answer_task, when_task, where_task
from scene_r1_engines.reasoner import Effort, Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding

if TYPE_CHECKING:
    from scene_r1_engines.openai.connection import Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    id: int
    timestamp_s: float
    picture: Picture


@dataclass(frozen=True, slots=True)
class _Outcome:
    verdict: Verdict
    confidence: float = 0.0
    text: str = ""
    effort: Effort = field(default_factory=Effort)


class OpenAiReasoner:
    """Temporal and image grounding by a model behind an OpenAI-compatible server.

    Pictures are resized and encoded when they are watched, and sent with each question, oldest first; nothing is sent
    before. One request is one answer: the server counts its own tokens, so that of the limits `think_s` cannot be kept,
    and `think_tokens` holds the thinking to so many times four characters where the server is told a form, else only to
    be there or not. `Effort.encodes` counts the pictures sent, though a server may have known them;
    `timings_ms["request"]` is the whole request. Confidence comes from the probabilities of the tokens of the answer's
    value; it is 0.5 where the server gives none.

    Raises BadConfig when the environment lacks the key, MissingExtra without urllib3. Methods raise, beside what
    Reasoner says: EngineFailed when the server cannot be reached, breaks or takes too long; BadAnswer when what it or
    its model says is not of the form; BadConfig when it knows no such key, model or address. No error and no log line
    holds the key or the question.
    """

    name = "openai"

    def __init__(self, settings: OpenAiSettings) -> None:
        self.grounding_pixels = settings.grounding_pixels
        self._settings = settings
        self._connection = _connection(settings)
        self._held: dict[int, _Held] = {}
        self._closed = False

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        self._check_open()
        pixels = check_picture(image, keyframe_id)
        if not (math.isfinite(timestamp_s) and timestamp_s >= 0.0):
            raise BadFrame(f"keyframe {keyframe_id}: timestamp_s must be 0 or more seconds, got {timestamp_s!r}")
        if keyframe_id in self._held:
            raise BadFrame(f"keyframe {keyframe_id} is held already: forget it first")
        if len(self._held) >= self._settings.keyframes:
            raise BudgetExceeded(
                f"keyframe {keyframe_id}: {len(self._held)} keyframes are held, as many as keyframes allows: forget one"
            )
        picture = encoded(pixels, self._settings.image_pixels, self._settings)
        self._held[keyframe_id] = _Held(keyframe_id, float(timestamp_s), picture)

    def forget(self, keyframe_id: int) -> None:
        self._check_open()
        if self._held.pop(keyframe_id, None) is None:
            raise BadInput(f"keyframe {keyframe_id} is not held")

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        """Nothing is ever pending: True."""
        self._check_open()
        return True

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        asked, held = self._asked(question), self._by_time()
        if not held:
            return TimeGrounding(Finish.NOT_READY)
        task = when_task(asked, held[0].timestamp_s, held[-1].timestamp_s, limits, self._settings)
        out = self._ask(task, held, limits)
        window: Any = out.verdict.value
        return TimeGrounding(out.verdict.finish, window, out.verdict.rationale, out.confidence, out.text, out.effort)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        """As Reasoner says. Without `image` the picture that is held is looked at, whatever `grounding_pixels` asks."""
        asked, held = self._asked(question), self._held.get(keyframe_id)
        if held is None:
            raise BadInput(f"keyframe {keyframe_id} is not held")
        if image is not None and self.grounding_pixels is not None:
            held = replace(held, picture=self._again(held, image, self.grounding_pixels))
        space, picture = self._settings.box_space, held.picture
        task = where_task(asked, *picture.box_size(space), limits, self._settings)
        out = self._ask(task, [held], limits, timed=False)
        boxes: Any = out.verdict.value or ()
        return ImageGrounding(
            out.verdict.finish,
            keyframe_id,
            tuple(LabelledBox(picture.xyxy(box, space), label, out.confidence) for box, label in boxes),
            out.verdict.rationale,
            out.text,
            out.effort,
        )

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        asked, held = self._asked(question), self._by_time()
        if not held:
            return TextAnswer(Finish.NOT_READY)
        out = self._ask(answer_task(asked, limits, self._settings), held, limits)
        words: Any = out.verdict.value or ""
        return TextAnswer(out.verdict.finish, words, out.verdict.rationale, out.confidence, out.text, out.effort)

    def close(self) -> None:
        self._closed = True
        self._held.clear()
        self._connection.close()

    def __enter__(self) -> OpenAiReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, task: Task, held: list[_Held], limits: Limits, timed: bool = True) -> _Outcome:
        """One question with the pictures it is about. timed: each has its time before it."""
        from scene_r1_engines.openai.connection import Stopped

        started = time.perf_counter()
        effort = Effort(encodes=len(held))
        body = self._request(task, held, limits, timed)
        try:
            answer, kind = self._connection.post(body, limits)
        except Stopped as stopped:
            effort = replace(effort, timings_ms={"request": _ms_since(started)})
            return _Outcome(Verdict(stopped.finish), effort=effort)
        got = read_completion(answer, kind)
        effort = replace(
            effort,
            prompt_tokens=got.prompt_tokens,
            generated_tokens=got.generated_tokens,
            timings_ms={"request": _ms_since(started)},
        )
        if got.cut:
            return _Outcome(Verdict(Finish.TRUNCATED, None, got.thought), text=got.text, effort=effort)
        return _judged(task, got, effort)

    def _request(self, task: Task, held: list[_Held], limits: Limits, timed: bool) -> bytes:
        settings = self._settings
        content: list[dict[str, Any]] = []
        for one in held:
            if timed:
                content.append({"type": "text", "text": settings.time.said(one.timestamp_s)})
            content.append({"type": "image_url", "image_url": {"url": one.picture.url}})
        content.append({"type": "text", "text": task.said})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if settings.prompts.system:
            messages.insert(0, {"role": "system", "content": settings.prompts.system})
        request: dict[str, Any] = {
            "model": settings.model,
            "messages": messages,
            "max_tokens": limits.max_tokens,
            "temperature": 0.0,
            "stream": False,
        }
        if settings.logprobs:
            request |= {"logprobs": True, "top_logprobs": 1}  # llama-cpp-python gives none without top_logprobs
        if task.response_format is not None:
            request["response_format"] = task.response_format
        return json.dumps(request).encode()

    def _asked(self, question: str) -> str:
        self._check_open()
        return neutralised(check_question(question))

    def _by_time(self) -> list[_Held]:
        return sorted(self._held.values(), key=lambda one: (one.timestamp_s, one.id))

    def _again(self, held: _Held, image: NDArray[np.uint8], pixels: int) -> Picture:
        """The keyframe's picture again, larger."""
        shape = check_picture(image, held.id).shape[:2]
        if shape != held.picture.original:
            raise BadFrame(
                f"keyframe {held.id}: image must be the one that was watched, of (height, width) "
                f"{held.picture.original}, got {shape}"
            )
        return encoded(image, pixels, self._settings)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("the reasoner was closed: open another one")


def _judged(task: Task, got: Completion, effort: Effort) -> _Outcome:
    """What was written, read. Raises BadAnswer."""
    verdict = task.read(got.text)
    confidence = got.confidence(*task.span(got.text)) if verdict.finish is Finish.OK else 0.0
    verdict = replace(verdict, rationale=verdict.rationale or got.thought)
    return _Outcome(verdict, confidence, got.text, replace(effort, think_forced=verdict.think_forced))


def _connection(settings: OpenAiSettings) -> Connection:
    try:
        from scene_r1_engines.openai.connection import Connection
    except ImportError as error:
        raise MissingExtra("openai", "asking a model behind a server", str(error)) from None
    return Connection(settings)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
