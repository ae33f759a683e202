"""How keyframes and questions are laid out as one conversation: tokens, pictures, and the position of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.answer_format.numbers import BOUND
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.llama.model import Embedded, LlamaModel
from scene_r1_engines.manifest import Manifest, system_block

LONGEST_S = BOUND - 3 + 1 / 3
"""A time with as many digits as there can be: the latest that an answer may speak of."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens, then perhaps a picture, then tokens: what one keyframe adds to the conversation.

    time: the temporal position of the picture relative to where the first picture begins; None: wherever it comes.
    """

    before: tuple[int, ...]
    picture: Embedded | None
    after: tuple[int, ...]
    time: int | None = None

    @property
    def cells(self) -> int:
        return len(self.before) + len(self.after) + (0 if self.picture is None else len(self.picture.rows))


class Conversation:
    """The chat layout of the Qwen-VL family (ChatML, pictures inside the user's message), by a model's manifest.

    `text` time: every keyframe is a picture of its own with its time in words before it. `video` time: all pictures
    stand in one vision block, and a picture's temporal position says its time, as Qwen2.5-VL reads videos; each
    keyframe is then one temporal patch (two equal frames).
    """

    def __init__(self, model: LlamaModel, manifest: Manifest) -> None:
        self._model = model
        self._time = manifest.time
        self.is_video = manifest.time.encoding == "video"
        opening = system_block(manifest.prompt.system) + "<|im_start|>user\n"
        self.opening = tuple(model.tokens(opening, special=True))
        """Before the first picture or word of the user."""
        self._vision_start = self._control("<|vision_start|>", manifest)
        self._vision_end = self._control("<|vision_end|>", manifest)
        self._closing = tuple(model.tokens("<|im_end|>\n<|im_start|>assistant\n", special=True))
        self._newline = tuple(model.tokens("\n"))

    def _control(self, name: str, manifest: Manifest) -> int:
        tokens = self._model.tokens(name, special=True)
        if len(tokens) != 1:
            raise BadModelFile(manifest.text.file, f"has no token {name}: this is no text model of the Qwen-VL family")
        return tokens[0]

    def head(self) -> Stretch:
        """What stands before all keyframes."""
        block = (self._vision_start,) if self.is_video else ()
        return Stretch((*self.opening, *block), None, ())

    def tokens_around(self) -> int:
        """The most tokens that stand around a keyframe's picture."""
        if self.is_video:
            return 0
        return max(len(self._model.tokens(self._time.said(time))) for time in (0.0, LONGEST_S)) + 2 + len(self._newline)

    def keyframe(self, picture: Embedded, timestamp_s: float, after: int | None) -> Stretch:
        """One keyframe. after: the temporal position of the keyframe before, None for the first (video time only)."""
        if self.is_video:
            time = math.floor(timestamp_s * self._time.tokens_per_second)
            # Two keyframes at one temporal position would not be told apart, neither by the model nor by the cache.
            return Stretch((), picture, (), time if after is None else max(time, after + 1))
        said = self._model.tokens(self._time.said(timestamp_s))
        return Stretch((*said, self._vision_start), picture, (self._vision_end, *self._newline))

    def question(self, instruction: str) -> tuple[int, ...]:
        """What stands after the keyframes: the instruction as plain words, whatever they look like."""
        block = (self._vision_end,) if self.is_video else ()
        return (*block, *self._model.tokens(instruction), *self._closing)

    def single(self, picture: Embedded) -> Stretch:
        """One picture without a time, to be looked at alone; stands after `opening`."""
        return Stretch((self._vision_start,), picture, (self._vision_end,))

    def alone(self, instruction: str) -> tuple[int, ...]:
        """What stands after `single`."""
        return (*self._model.tokens(instruction), *self._closing)


def picture_positions(picture: Embedded, time: int, corner: int) -> NDArray[np.int32]:
    """(3, n) int32 M-RoPE positions: all patches at `time`, rows and columns counted from `corner`."""
    n = picture.nx * picture.ny
    place = np.arange(n, dtype=np.int32)
    positions = np.empty((3, n), np.int32)
    positions[0] = time
    positions[1] = corner + place // picture.nx
    positions[2] = corner + place % picture.nx
    return positions
