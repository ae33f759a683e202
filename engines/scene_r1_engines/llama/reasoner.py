"""The reasoner on llama.cpp: every keyframe goes through the vision tower once, a question costs its own tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.answer_format.question import check_question
from scene_r1_engines.answer_format.scripts import answer_script, when_script, where_script
from scene_r1_engines.answer_format.steps import Script
from scene_r1_engines.errors import BadQuestion, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.context import LlamaContext, Stopped
from scene_r1_engines.llama.conversation import Conversation, Stretch
from scene_r1_engines.llama.embedding_cache import EmbeddingCache
from scene_r1_engines.llama.model import Embedded, LlamaModel
from scene_r1_engines.llama.picture import check_picture, resized
from scene_r1_engines.llama.prefix import PREFIX, QUESTION, Prefix, decode_stretch
from scene_r1_engines.llama.settings import QUESTION_ROOM, LlamaSettings
from scene_r1_engines.llama.watchlist import Watched, Watchlist
from scene_r1_engines.llama.writing import Outcome, Writer
from scene_r1_engines.reasoner import Box, Effort, Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding
from scene_r1_engines.vouch import vouch

TIME_TOKENS = 32
"""Cells counted for what stands around a keyframe's picture."""


@dataclass(slots=True)
class _Cost:
    """Milliseconds and images of one call, as they come."""

    began_ns: int
    encodes: int = 0
    late_encodes: int = 0
    encode_ns: int = 0
    prefix_ns: int = 0

    def effort(self, outcome: Outcome | None) -> Effort:
        timings = {"encode": self.encode_ns, "prefix": self.prefix_ns}
        if outcome is None:
            return Effort(self.encodes, self.late_encodes, timings_ms=_ms(timings))
        timings |= {"prefill": outcome.prefill_ns, "decode": outcome.decode_ns}
        if outcome.first_token_ns:
            timings["first_token"] = outcome.first_token_ns - self.began_ns
        return Effort(
            self.encodes,
            self.late_encodes,
            outcome.prompt_tokens,
            sum(outcome.free),
            outcome.verdict.think_forced,
            _ms(timings),
        )


class LlamaReasoner:
    """Implements Reasoner through llama.cpp's C interface. Not for several threads at once.

    While the camera runs, keyframes are encoded one by one (`settle`) and laid into a KV prefix. A question is decoded
    on a fork of that prefix, which is thrown away afterwards. The embeddings are what is always valid; the prefix is
    brought up to date from the first keyframe that changed.
    """

    name = "llama_cpp"

    def __init__(self, settings: LlamaSettings) -> None:
        """Load the model. Raises BadModelFile for a folder that its manifest does not vouch for, MissingExtra."""
        self.settings = settings
        vouched = vouch(settings.model, settings.verify_files)
        self.manifest = vouched.manifest
        rules = self.manifest.image
        self.grounding_pixels = rules.grounding_pixels
        self.prompts = Prompts.of(self.manifest.prompt)
        self.encodes = 0
        """Images through the vision tower since the start."""
        self._watchlist = Watchlist(settings, rules)
        token = rules.patch_multiple**2
        shown = min(max(settings.image_pixels, rules.min_pixels), rules.max_pixels) // token
        looked_at = max(shown, (rules.grounding_pixels or 0) // token)
        cells = settings.keyframes * (shown + TIME_TOKENS) + looked_at + QUESTION_ROOM + settings.answer_tokens
        with ExitStack() as stack:
            threads = settings.working_threads
            self.model = stack.enter_context(
                LlamaModel(vouched.text_path, vouched.mmproj_path, settings.gpu_layers, threads, max(looked_at, 8))
            )
            self.context = stack.enter_context(
                LlamaContext(
                    self.model,
                    -(-cells // 256) * 256,
                    settings.kv_type,
                    settings.flash_attention,
                    settings.batch,
                    threads,
                )
            )
            self._conversation = Conversation(self.model, self.manifest)
            self.prefix = Prefix(self.context, self._conversation)
            self._cache = None if settings.cache is None else EmbeddingCache(settings.cache, self.manifest, settings)
            self._resources = stack.pop_all()
        self._closed = False

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        self._check_open()
        self._watchlist.add(keyframe_id, image, timestamp_s)

    def forget(self, keyframe_id: int) -> None:
        self._check_open()
        self._watchlist.remove(keyframe_id)

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        """As Reasoner.settle. At the end of a stream it also writes the cache, where there is one."""
        self._check_open()

        def enough() -> bool:
            return deadline_ns is not None and time.monotonic_ns() >= deadline_ns

        while (one := self._watchlist.due(now_s)) is not None:
            self._encode(one, now_s)
            if enough():
                return False
        wanted = self._watchlist.encoded()
        if not self.prefix.is_current([one.shown for one in wanted]):
            if enough() or not self._bring_up_to_date(wanted, enough):
                return False
            if now_s is None and self._cache is not None:
                self._cache.save_prefix(self.prefix, self.context, wanted)
        return True

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        question, cost = check_question(question), self._begin()
        encoded = self._ready(limits, cost)
        if isinstance(encoded, Finish):
            return TimeGrounding(encoded, effort=cost.effort(None))
        start_s, end_s = math.floor(encoded[0].timestamp_s), max(self._watchlist.last_s, encoded[-1].timestamp_s)
        instruction = self.prompts.when_text(question, start_s, end_s)
        done = self._over_prefix(encoded, instruction, when_script(start_s, end_s, limits), limits, cost)
        if isinstance(done, Finish):
            return TimeGrounding(done, effort=cost.effort(None))
        verdict, effort = done.verdict, cost.effort(done)
        if verdict.finish is not Finish.OK:
            return TimeGrounding(verdict.finish, None, verdict.rationale, 0.0, done.text, effort)
        window: tuple[float, float] = verdict.value  # type: ignore[assignment]
        return TimeGrounding(Finish.OK, window, verdict.rationale, done.confidence, done.text, effort)

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        question, cost = check_question(question), self._begin()
        encoded = self._ready(limits, cost)
        if isinstance(encoded, Finish):
            return TextAnswer(encoded, effort=cost.effort(None))
        done = self._over_prefix(encoded, self.prompts.answer_text(question), answer_script(limits), limits, cost)
        if isinstance(done, Finish):
            return TextAnswer(done, effort=cost.effort(None))
        verdict, effort = done.verdict, cost.effort(done)
        if verdict.finish is not Finish.OK:
            return TextAnswer(verdict.finish, "", verdict.rationale, 0.0, done.text, effort)
        return TextAnswer(Finish.OK, str(verdict.value), verdict.rationale, done.confidence, done.text, effort)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        question, cost = check_question(question), self._begin()
        one = self._watchlist[keyframe_id]
        stop = _stop(limits)
        if stop():
            return ImageGrounding(_why(limits), keyframe_id, effort=cost.effort(None))
        picture, size = self._look(one, image, cost)
        height, width = (1000, 1000) if self.manifest.image.box_space == "rel_1000" else size
        done = self._alone(
            picture, self.prompts.where_text(question), where_script(width, height, limits), limits, stop, cost
        )
        if isinstance(done, Finish):
            return ImageGrounding(done, keyframe_id, effort=cost.effort(None))
        verdict, effort = done.verdict, cost.effort(done)
        if verdict.finish is not Finish.OK:
            return ImageGrounding(verdict.finish, keyframe_id, (), verdict.rationale, done.text, effort)
        found: Sequence[tuple[Box, str]] = verdict.value  # type: ignore[assignment]
        boxes = tuple(
            LabelledBox(to_original(box, (height, width), one.size), label, done.confidence) for box, label in found
        )
        return ImageGrounding(Finish.OK, keyframe_id, boxes, verdict.rationale, done.text, effort)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._resources.close()

    def __enter__(self) -> LlamaReasoner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("the reasoner is closed")

    def _begin(self) -> _Cost:
        self._check_open()
        return _Cost(time.perf_counter_ns())

    def _encode(self, one: Watched, now_s: float | None) -> bool:
        """Give a keyframe its embedding; returns whether the vision tower had to run for it."""
        assert one.picture is not None
        embedded = None if self._cache is None else self._cache.get(one.digest, self.model.width)
        ran = embedded is None
        if embedded is None:
            embedded = self._through_tower(one.picture)
            if self._cache is not None:
                self._cache.put(one.digest, embedded)
        self._watchlist.note_encoded(one, embedded, now_s)
        return ran

    def _through_tower(self, picture: NDArray[np.uint8]) -> Embedded:
        embedded = self.model.encode(picture)
        multiple = self.manifest.image.patch_multiple
        if (embedded.ny * multiple, embedded.nx * multiple) != picture.shape[:2]:
            raise EngineFailed(
                f"the vision tower made {embedded.nx} x {embedded.ny} tokens of {picture.shape[1]} x "
                f"{picture.shape[0]} pixels, not one for each {multiple} x {multiple}: its boxes would be wrong"
            )
        self.encodes += 1
        return embedded

    def _bring_up_to_date(self, wanted: list[Watched], enough: Callable[[], bool]) -> bool:
        shown = [one.shown for one in wanted]
        if self._cache is not None and not self.prefix.shown:
            self._cache.load_prefix(self.prefix, self.context, wanted)
        return self.prefix.update(shown, self._embedding, enough=enough)

    def _embedding(self, keyframe_id: int) -> Embedded:
        embedded = self._watchlist[keyframe_id].embedded
        assert embedded is not None
        return embedded

    def _ready(self, limits: Limits, cost: _Cost) -> list[Watched] | Finish:
        """The keyframes that a question is put to, after a few that were still pending have been encoded."""
        stop = _stop(limits)
        for one in self._watchlist.pending()[: self.settings.late_encodes]:
            if stop():
                return _why(limits)
            self._encode_in_call(one, cost)
        return self._watchlist.encoded() or Finish.NOT_READY

    def _encode_in_call(self, one: Watched, cost: _Cost) -> None:
        start = time.perf_counter_ns()
        if self._encode(one, None):
            cost.encodes += 1
            cost.late_encodes += 1
        cost.encode_ns += time.perf_counter_ns() - start

    def _look(self, one: Watched, image: NDArray[np.uint8] | None, cost: _Cost) -> tuple[Embedded, tuple[int, int]]:
        """What `where` looks at, and its size (height, width) as the model sees it."""
        if self.grounding_pixels is not None and image is not None:
            height, width = check_picture(image, one.keyframe_id).shape[:2]
            size = self._watchlist.picture_size(height, width, self.grounding_pixels)
            if size != one.picture_size:
                start = time.perf_counter_ns()
                picture = self._through_tower(resized(image, size))
                cost.encodes += 1
                cost.encode_ns += time.perf_counter_ns() - start
                return picture, size
        if one.embedded is None:
            self._encode_in_call(one, cost)
        return self._embedding(one.keyframe_id), one.picture_size

    def _over_prefix(
        self, encoded: list[Watched], instruction: str, script: Script, limits: Limits, cost: _Cost
    ) -> Outcome | Finish:
        stop = _stop(limits)
        start = time.perf_counter_ns()
        try:
            self.prefix.update([one.shown for one in encoded], self._embedding, stop=stop)
        except Stopped:
            return _why(limits)
        finally:
            cost.prefix_ns += time.perf_counter_ns() - start
        self.context.fork(PREFIX, QUESTION)
        return self._write(self._conversation.question(instruction), self.prefix.next_position, script, limits, stop)

    def _alone(
        self,
        picture: Embedded,
        instruction: str,
        script: Script,
        limits: Limits,
        stop: Callable[[], bool],
        cost: _Cost,
    ) -> Outcome | Finish:
        """One picture by itself, in the second sequence: the prefix stays as it is."""
        already = self.context.cells
        start = time.perf_counter_ns()
        opening = Stretch(self._conversation.opening, None, ())
        try:
            position = decode_stretch(self.context, opening, 0, QUESTION, stop)
            position = decode_stretch(self.context, self._conversation.single(picture), position, QUESTION, stop)
        except BaseException as error:
            self.context.remove(QUESTION, -1, self.context.cells - already)
            if isinstance(error, Stopped):
                return _why(limits)
            raise
        finally:
            cost.prefix_ns += time.perf_counter_ns() - start
        prompt = self._conversation.alone(instruction)
        return self._write(prompt, position, script, limits, stop, self.context.cells - already)

    def _write(
        self,
        prompt: Sequence[int],
        position: int,
        script: Script,
        limits: Limits,
        stop: Callable[[], bool],
        own_cells: int = 0,
    ) -> Outcome | Finish:
        """Write an answer in the second sequence and give that sequence up again. own_cells: it has already."""
        already = self.context.cells
        try:
            if len(prompt) > QUESTION_ROOM:
                raise BadQuestion(f"the question takes {len(prompt)} tokens; at most {QUESTION_ROOM}: say it shorter")
            return Writer(self.model, self.context, QUESTION, position, limits).run(prompt, script, stop)
        except Stopped:
            return _why(limits)
        finally:
            self.context.remove(QUESTION, -1, self.context.cells - already + own_cells)


def to_original(box: Box, seen: tuple[int, int], original: tuple[int, int]) -> Box:
    """A box in the space that the model speaks, in pixels of the original picture. seen, original: (height, width)."""
    down, across = original[0] / seen[0], original[1] / seen[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _stop(limits: Limits) -> Callable[[], bool]:
    def asked() -> bool:
        return limits.remaining_s <= 0.0 or limits.cancelled()

    return asked


def _why(limits: Limits) -> Finish:
    return Finish.CANCELLED if limits.cancelled() else Finish.TIMED_OUT


def _ms(spent_ns: dict[str, int]) -> dict[str, float]:
    return {name: round(ns / 1e6, 3) for name, ns in spent_ns.items()}
