"""How a checkpoint is to be asked: picture sizes, time in words and instructions, as its model folder will say them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scene_r1_engines.answer_format import Prompts, check_question, neutralised
from scene_r1_engines.errors import BadConfig, BadFrame
from scene_r1_engines.llama.picture import fit
from scene_r1_engines.manifest import FAMILIES, ImageRules, TimeRules
from scene_r1_export.architecture import ARCHITECTURES
from scene_r1_export.chat_layout import check_chat_layout
from scene_r1_export.checkpoint import read_checkpoint
from scene_r1_export.image_rules import LEAST_TOKENS, MOST_TOKENS, image_rules

Message = dict[str, Any]
PATCH = 28
PUBLISHED = ImageRules(PATCH, LEAST_TOKENS * PATCH**2, MOST_TOKENS * PATCH**2, "abs_resized")
"""Of the published Qwen2.5-VL, as its export says them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """family, image, time: as in a manifest. system: the system message, "" for none. Time is said in words: the
    processors that trainers use give pictures no times of their own."""

    family: str = "qwen2_5_vl"
    system: str = "You are a helpful assistant."
    image: ImageRules = PUBLISHED
    time: TimeRules = field(default_factory=TimeRules)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES or self.time.encoding != "text":
            raise BadConfig(f"family must be one of {', '.join(FAMILIES)}, and time said as text")

    def size(self, height: int, width: int, pixels: int) -> tuple[int, int]:
        """(height, width) that a picture is shown at, of at most so many pixels: the runtime's rule. Raises BadFrame
        for a picture so narrow that whole patches take more."""
        most = min(max(pixels, self.image.min_pixels), self.image.max_pixels)
        size = fit(height, width, self.image.patch_multiple, self.image.min_pixels, most)
        if size[0] * size[1] > most:
            raise BadFrame(f"a picture of {width} x {height} pixels does not fit into {most} pixels of whole patches")
        return size

    def spoken_sides(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the space that boxes are said in, for a picture shown at `size` (height, width)."""
        return (1000, 1000) if self.image.box_space == "rel_1000" else (size[1], size[0])

    def when_prompt(self, question: str, times_s: Sequence[float], span_s: tuple[float, float]) -> list[Message]:
        """times_s: of the keyframes, whose pictures are in that order. span_s: of the recording. Raises BadQuestion, as
        the others do."""
        return self._asked(self._told(times_s), Prompts().when_text(_plain(question), *span_s))

    def answer_prompt(self, question: str, times_s: Sequence[float]) -> list[Message]:
        """A free question about all keyframes."""
        return self._asked(self._told(times_s), Prompts().answer_text(_plain(question)))

    def where_prompt(self, question: str) -> list[Message]:
        """About one picture alone, which is told no time."""
        return self._asked([{"type": "image"}], Prompts().where_text(_plain(question)))

    def _told(self, times_s: Sequence[float]) -> list[Message]:
        parts: list[Message] = []
        for seconds in times_s:
            parts += [_text(self.time.said(seconds)), {"type": "image"}, _text("\n")]
        return parts

    def _asked(self, parts: list[Message], instruction: str) -> list[Message]:
        system = [{"role": "system", "content": [_text(self.system)]}] if self.system else []
        return [*system, {"role": "user", "content": [*parts, _text(instruction)]}]


def layout_of(checkpoint: str | os.PathLike[str], grounding_pixels: int | None = None) -> Layout:
    """That of a checkpoint's folder: what its export will say. Raises BadModelFile for a checkpoint that cannot be
    exported (a chat template that is not the engine's layout too), BadConfig for sizes that it does not take."""
    vetted = read_checkpoint(checkpoint)
    chat = check_chat_layout(vetted)
    family = vetted.architecture.family
    time = TimeRules(text=ARCHITECTURES[family].time_text)
    return Layout(family, chat.system, image_rules(vetted, None, grounding_pixels), time)


def _plain(question: str) -> str:
    """As it is put to a model. A processor reads special tokens wherever they stand, so none may be left in it."""
    return neutralised(check_question(question))


def _text(text: str) -> Message:
    return {"type": "text", "text": text}
