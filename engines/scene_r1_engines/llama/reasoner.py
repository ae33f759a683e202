"""The reasoner on llama.cpp: every keyframe goes through the vision tower once, a question costs its own tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.answer_format.prompts import Prompts
from scene_r1_engines.answer_format.question import check_question
from scene_r1_engines.answer_format.scripts import answer_script, when_script, where_script
from scene_r1_engines.answer_format.steps import Script
from scene_r1_engines.errors import BadQuestion, EngineFailed
from scene_r1_engines.limits import Limits
from scene_r1_engines.llama.call import Call
from scene_r1_engines.llama.context import LlamaContext, Stopped
from scene_r1_engines.llama.conversation import Conversation, Stretch
from scene_r1_engines.llama.embedding_cache import EmbeddingCache
from scene_r1_engines.llama.keyframes import Keyframes
from scene_r1_engines.llama.library import offloads
from scene_r1_engines.llama.model import Embedded, LlamaModel
from scene_r1_engines.llama.prefix import PREFIX, QUESTION, Prefix, decode_stretch
from scene_r1_engines.llama.room import context_cells, largest_tokens
from scene_r1_engines.llama.settings import QUESTION_ROOM, LlamaSettings
from scene_r1_engines.llama.watchlist import Watched
from scene_r1_engines.llama.writing import Outcome, Writer
from scene_r1_engines.reasoner import Box, Finish, ImageGrounding, LabelledBox, TextAnswer, TimeGrounding
from scene_r1_engines.vouch import vouch


class LlamaReasoner:
    """Implements Reasoner through llama.cpp's C interface. Not for several threads at once.

    While the camera runs, keyframes are encoded one by one (`settle`) and laid into a KV prefix. A question is decoded
    on a fork of that prefix, which is thrown away afterwards.
    """

    name = "llama_cpp"

    def __init__(self, settings: LlamaSettings) -> None:
        """Load the model. Raises BadModelFile for a folder that its manifest does not vouch for, BadConfig for settings
        that ask more than the model was trained for, MissingExtra."""
        vouched = vouch(settings.model, settings.verify_files)
        self.settings = settings = settings.resolved(settings.gpu_layers != 0 and offloads())
        self.manifest = vouched.manifest
        rules = self.manifest.image
        self.grounding_pixels = rules.grounding_pixels
        self.prompts = Prompts.of(self.manifest.prompt)
        threads, most = settings.working_threads, max(largest_tokens(settings, rules), 8)
        with ExitStack() as stack:
            self.model = stack.enter_context(
                LlamaModel(vouched.text_path, vouched.mmproj_path, settings.gpu_layers, threads, most)
            )
            vouched.check_unchanged()
            self._conversation = Conversation(self.model, self.manifest)
            cells = context_cells(settings, rules, self._conversation, self.prompts, self.model.most_positions)
            wanted = (cells, settings.kv_type, settings.flash_attention, settings.batch, threads)
            self.context = stack.enter_context(LlamaContext(self.model, *wanted))
            self.prefix = Prefix(self.context, self._conversation)
            cache = None if settings.cache is None else EmbeddingCache(settings.cache, self.manifest, settings)
            self._keyframes = Keyframes(settings, rules, self.model, self.context, self.prefix, cache)
            self._resources = stack.pop_all()
        self._closed = False

    @property
    def encodes(self) -> int:
        """Images through the vision tower since the start."""
        return self._keyframes.encodes

    def watch(self, keyframe_id: int, image: NDArray[np.uint8], timestamp_s: float) -> None:
        self._check_open()
        self._keyframes.watchlist.add(keyframe_id, image, timestamp_s)

    def forget(self, keyframe_id: int) -> None:
        self._check_open()
        self._keyframes.watchlist.remove(keyframe_id)

    def settle(self, now_s: float | None = None, deadline_ns: int | None = None) -> bool:
        """As Reasoner.settle. At the end of a stream it also writes the cache, where there is one."""
        self._check_open()
        return self._keyframes.settle(now_s, deadline_ns)

    def when(self, question: str, limits: Limits) -> TimeGrounding:
        question, call = self._begin(question, limits)
        try:
            encoded = self._keyframes.ready(call)
            if not encoded:
                return TimeGrounding(Finish.NOT_READY, effort=call.effort())
            start_s = math.floor(encoded[0].timestamp_s)
            end_s = max(self._keyframes.watchlist.last_s, encoded[-1].timestamp_s)
            script = when_script(start_s, end_s, call.limits)
            done = self._over_prefix(encoded, self.prompts.when_text(question, start_s, end_s), script, call)
        except Stopped:
            return TimeGrounding(call.stopped, effort=call.effort())
        verdict, effort = done.verdict, call.effort(done)
        if verdict.finish is not Finish.OK:
            return TimeGrounding(verdict.finish, None, verdict.rationale, 0.0, done.text, effort)
        window: tuple[float, float] = verdict.value  # type: ignore[assignment]
        return TimeGrounding(Finish.OK, window, verdict.rationale, done.confidence, done.text, effort)

    def answer(self, question: str, limits: Limits) -> TextAnswer:
        question, call = self._begin(question, limits)
        try:
            encoded = self._keyframes.ready(call)
            if not encoded:
                return TextAnswer(Finish.NOT_READY, effort=call.effort())
            script = answer_script(call.limits)
            done = self._over_prefix(encoded, self.prompts.answer_text(question), script, call)
        except Stopped:
            return TextAnswer(call.stopped, effort=call.effort())
        verdict, effort = done.verdict, call.effort(done)
        if verdict.finish is not Finish.OK:
            return TextAnswer(verdict.finish, "", verdict.rationale, 0.0, done.text, effort)
        return TextAnswer(Finish.OK, str(verdict.value), verdict.rationale, done.confidence, done.text, effort)

    def where(
        self, question: str, keyframe_id: int, limits: Limits, image: NDArray[np.uint8] | None = None
    ) -> ImageGrounding:
        """As Reasoner.where. Raises BadFrame for an image that cannot be the keyframe's."""
        question, call = self._begin(question, limits)
        one = self._keyframes.watchlist[keyframe_id]
        try:
            if call.stop():
                raise Stopped
            picture, seen = self._keyframes.look(one, image, self.grounding_pixels or 0, call)
            height, width = (1000, 1000) if self.manifest.image.box_space == "rel_1000" else seen
            script = where_script(width, height, call.limits)
            done = self._alone(picture, self.prompts.where_text(question), script, call)
        except Stopped:
            return ImageGrounding(call.stopped, keyframe_id, effort=call.effort())
        verdict, effort = done.verdict, call.effort(done)
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

    def _begin(self, question: str, limits: Limits) -> tuple[str, Call]:
        """The question as it is put to the model, and the call, held to the tokens that the context has room for."""
        self._check_open()
        question = check_question(question)
        count = len(self.model.tokens(question))
        if count > QUESTION_ROOM:
            raise BadQuestion(f"the question takes {count} tokens, at most {QUESTION_ROOM} are taken: say it shorter")
        most = min(limits.max_tokens, self.settings.answer_tokens)
        return question, Call(replace(limits, max_tokens=most))

    def _over_prefix(self, encoded: list[Watched], instruction: str, script: Script, call: Call) -> Outcome:
        """A question about all keyframes, on a fork of the prefix."""
        self._keyframes.bring_up_to_date(encoded, call)
        prompt = self._conversation.question(instruction)
        with self._aside():
            self.context.fork(PREFIX, QUESTION)
            return self._written(prompt, self.prefix.next_position, script, call)

    def _alone(self, picture: Embedded, instruction: str, script: Script, call: Call) -> Outcome:
        """A question about one picture by itself: the prefix stays as it is."""
        prompt = self._conversation.alone(instruction)
        with self._aside():
            with call.stage("prefill"):
                position = 0
                for stretch in (Stretch(self._conversation.opening, None, ()), self._conversation.single(picture)):
                    position = decode_stretch(self.context, stretch, position, QUESTION, call.stop)
                    call.prompt_tokens += stretch.cells
            return self._written(prompt, position, script, call)

    def _written(self, prompt: Sequence[int], position: int, script: Script, call: Call) -> Outcome:
        return Writer(self.model, self.context, QUESTION, position, call.limits).run(prompt, script, call.stop)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """The second sequence, for one question: it is given up again, however that ends."""
        already = self.context.cells
        try:
            yield
        finally:
            self.context.remove(QUESTION, -1, self.context.cells - already)


def to_original(box: Box, seen: tuple[int, int], original: tuple[int, int]) -> Box:
    """A box in the space that the model speaks, in pixels of the original picture. seen, original: (height, width)."""
    # multiplied first: a side that is the whole picture's then comes out exactly, not one rounding outside of it
    x0, x1 = (x * original[1] / seen[1] for x in (box[0], box[2]))
    y0, y1 = (y * original[0] / seen[0] for y in (box[1], box[3]))
    return x0, y0, x1, y1
