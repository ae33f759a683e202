"""What the exported model makes of a case, through the very layers that the runtime asks it through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.conversation import Conversation, Stretch
from scene_r1_engines.llama.model import Embedded, LlamaModel
from scene_r1_engines.llama.picture import fit, resized
from scene_r1_engines.llama.prefix import PREFIX, QUESTION, Prefix, Shown, decode_stretch
from scene_r1_engines.manifest import Manifest
from scene_r1_engines.vouch import vouch
from scene_r1_export.verify.cases import Case

PICTURE = -1
"""Stands for the token of a picture's patch in what is compared: each side has its own name for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a case. tokens: of the prompt, PICTURE for a patch. greedy: the likeliest tokens after it, one after
    the other. logits: (1 + len(greedy), n_vocab) float32: after the prompt, and after each of them. sizes: (height,
    width) of each picture as the model saw it."""

    tokens: tuple[int, ...]
    greedy: tuple[int, ...]
    logits: NDArray[np.float32]
    sizes: tuple[tuple[int, int], ...]


class Exported:
    """A model folder, opened with an exact KV cache (f32, no flash attention) so that differences are the files'.

    Raises BadModelFile for a folder that its manifest does not vouch for. A context manager.
    """

    def __init__(self, folder: str | os.PathLike[str], cells: int = 8192) -> None:
        vouched = vouch(folder)
        self.manifest: Manifest = vouched.manifest
        rules = self.manifest.image
        threads = max(1, len(os.sched_getaffinity(0)) - 1)  # torch runs beside it; spinning threads in each other's way
        most = rules.max_pixels // rules.patch_multiple**2
        self._model = LlamaModel(vouched.text_path, vouched.mmproj_path, 0, threads, most)
        try:
            self._context = LlamaContext(self._model, cells, "f32", False, 1024, threads)
        except BaseException:
            self._model.close()
            raise

    @property
    def n_vocab(self) -> int:
        return self._model.n_vocab

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that the runtime resizes a picture to."""
        rules = self.manifest.image
        return fit(height, width, rules.patch_multiple, rules.min_pixels, rules.max_pixels)

    def run(self, case: Case, greedy: int) -> Run:
        """The case's prompt at once, then `greedy` tokens."""
        embedded = [self._embedded(picture) for picture in case.pictures]
        conversation, stretches = self._laid_out(case, embedded)
        question = conversation.question(case.question) if case.seconds else conversation.alone(case.question)
        if case.seconds:
            position = self._as_keyframes(conversation, case, embedded)
        else:
            position = 0
            for stretch in stretches:
                position = decode_stretch(self._context, stretch, position, PREFIX)
        try:
            logits, chosen = self._greedily(question, position, PREFIX, greedy)
        finally:
            self._context.remove(PREFIX, -1, self._context.cells)
        sizes = tuple(self.picture_size(*picture.shape[:2]) for picture in case.pictures)
        return Run((*_tokens(stretches), *question), tuple(chosen), logits, sizes)

    def streamed(self, case: Case, greedy: int) -> Run:
        """The same keyframes as the runtime meets them: laid one by one, asked in between on a fork, one evicted and
        put back. What comes out must not differ from `run`."""
        embedded = [self._embedded(picture) for picture in case.pictures]
        conversation, stretches = self._laid_out(case, embedded)
        question = conversation.question(case.question)
        prefix = Prefix(self._context, conversation)
        shown = _shown(case)
        try:
            for kept in (shown[:1], shown, [shown[0], *shown[2:]], shown):
                prefix.update(kept, embedded.__getitem__)
                before = self._context.cells
                self._context.fork(PREFIX, QUESTION)
                logits, chosen = self._greedily(question, prefix.next_position, QUESTION, greedy)
                self._context.remove(QUESTION, -1, self._context.cells - before)
        finally:
            prefix.drop()
        sizes = tuple(self.picture_size(*picture.shape[:2]) for picture in case.pictures)
        return Run((*_tokens(stretches), *question), tuple(chosen), logits, sizes)

    def close(self) -> None:
        self._context.close()
        self._model.close()

    def __enter__(self) -> Exported:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _embedded(self, picture: NDArray[np.uint8]) -> Embedded:
        return self._model.encode(resized(picture, self.picture_size(*picture.shape[:2])))

    def _laid_out(self, case: Case, embedded: Sequence[Embedded]) -> tuple[Conversation, list[Stretch]]:
        encoding = "video" if case.video else "text"
        conversation = Conversation(
            self._model, replace(self.manifest, time=replace(self.manifest.time, encoding=encoding))
        )
        if not case.seconds:
            opening = Stretch(conversation.opening, None, ())
            return conversation, [opening, *(conversation.single(picture) for picture in embedded)]
        stretches, before = [conversation.head()], None
        for picture, seconds in zip(embedded, case.seconds, strict=True):
            stretches.append(conversation.keyframe(picture, seconds, before))
            before = stretches[-1].time
        return conversation, stretches

    def _as_keyframes(self, conversation: Conversation, case: Case, embedded: Sequence[Embedded]) -> int:
        prefix = Prefix(self._context, conversation)
        prefix.update(_shown(case), embedded.__getitem__)
        return prefix.next_position

    def _greedily(
        self, prompt: Sequence[int], position: int, seq: int, count: int
    ) -> tuple[NDArray[np.float32], list[int]]:
        logits, chosen, pending = [], [], list(prompt)
        for left in range(count, -1, -1):
            position = self._context.decode_tokens(pending, position, seq)
            logits.append(self._context.logits().copy())
            if left:
                pending = [int(logits[-1].argmax())]
                chosen += pending
        return np.stack(logits), chosen


def _shown(case: Case) -> list[Shown]:
    return [Shown(i, str(i), seconds) for i, seconds in enumerate(case.seconds)]


def _tokens(stretches: Sequence[Stretch]) -> list[int]:
    tokens: list[int] = []
    for stretch in stretches:
        patches = 0 if stretch.picture is None else len(stretch.picture.rows)
        tokens += [*stretch.before, *[PICTURE] * patches, *stretch.after]
    return tokens
