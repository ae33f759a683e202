"""Rows of the data set: a question about a recording becomes prompts over its keyframes, each with its truth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from scene_r1.memory import Keyframe
from scene_r1.rooms.questions.question import Question, Xyxy
from scene_r1_engines.errors import BadInput
from scene_r1_engines.reasoner import Box
from scene_r1_export.recipe.data_settings import DataSettings
from scene_r1_export.recipe.shown import Shown

Row = dict[str, Any]
"""See docs/grpo.md: id, scene, family, task, frame, prompt, images, rationale, and the truth's columns."""
Size = tuple[int, int]
EMPTY: Row = dict.fromkeys(
    ("frame", "windows_s", "start_s", "end_s", "box", "width", "height", "answer", "answer_kind"), None
)
LEAST_BOX_PX = 4.0
"""A box with a shorter side, in the picture as it is shown, is no aim: a whole pixel more or less decides its IoU."""

One = TypeVar("One")


class Rows:
    """The rows about one recording.

    picture: writes a keyframe at a size (height, width) and returns its path in the data's folder. unseen: questions
    about a thing that no keyframe shows, of which no row was made: nobody could answer them.
    """

    def __init__(self, name: str, shown: Shown, settings: DataSettings, picture: Callable[[Keyframe, Size], str]):
        self._name, self._shown, self._settings, self._picture = name, shown, settings, picture
        self._layout = settings.layout
        self.unseen = 0

    def of(self, question: Question) -> Iterator[Row]:
        """Raises BadInput for a box outside of its picture, or a text that cannot be asked."""
        if question.task == "vqa":
            prompt = self._layout.answer_prompt(question.text, self._shown.times_s)
            truth: Row = {"answer": question.answer, "answer_kind": question.answer_kind}
            yield self._row(question, "answer", "answer", prompt, self._all_pictures(), truth)
            return
        if question.windows_s and not any(one.index in question.boxes_2d for one in self._shown.keyframes):
            self.unseen += 1
            return
        span_s = self._shown.span_s
        prompt = self._layout.when_prompt(question.text, self._shown.times_s, span_s)
        truth = {"windows_s": [list(one) for one in question.windows_s], "start_s": span_s[0], "end_s": span_s[1]}
        yield self._row(question, "when", "when", prompt, self._all_pictures(), truth)
        for keyframe in self._views(question):
            yield from self._where(question, keyframe)

    def _where(self, question: Question, keyframe: Keyframe) -> Iterator[Row]:
        """The row about one picture; none where the thing is too small in it."""
        layout, camera = self._layout, keyframe.color_intrinsics
        size = layout.size(camera.height, camera.width, layout.image.grounding_pixels or self._settings.image_pixels)
        seen = self._size(keyframe)
        if size[0] * size[1] <= seen[0] * seen[1]:  # as the runtime: it looks again only where it sees more
            size = seen
        width, height = layout.spoken_sides(size)
        box = None
        if keyframe.index in question.boxes_2d:
            xyxy = question.boxes_2d[keyframe.index]
            if xyxy[2] > camera.width or xyxy[3] > camera.height:
                raise BadInput(
                    f"the box {[*xyxy]} of frame {keyframe.index} is not inside the picture "
                    f"of {camera.width} x {camera.height} pixels: boxes are xyxy pixels of the colour image"
                )
            spoken = scaled(xyxy, (camera.width, camera.height), (size[1], size[0]))
            if min(spoken[2] - spoken[0], spoken[3] - spoken[1]) < LEAST_BOX_PX:
                return
            box = [*scaled(xyxy, (camera.width, camera.height), (width, height))]
        prompt = layout.where_prompt(question.text)
        truth = {"frame": keyframe.index, "box": box, "width": width, "height": height}
        pictures = [self._picture(keyframe, size)]
        yield self._row(question, "where", f"where-{keyframe.index}", prompt, pictures, truth)

    def _row(self, question: Question, task: str, part: str, prompt: Any, images: list[str], truth: Row) -> Row:
        about = {"id": f"{question.id}/{part}", "scene": self._name, "family": question.family, "task": task}
        return {**about, **EMPTY, **truth, "rationale": question.rationale, "prompt": prompt, "images": images}

    def _all_pictures(self) -> list[str]:
        return [self._picture(keyframe, self._size(keyframe)) for keyframe in self._shown.keyframes]

    def _size(self, keyframe: Keyframe) -> Size:
        camera = keyframe.color_intrinsics
        return self._layout.size(camera.height, camera.width, self._settings.image_pixels)

    def _views(self, question: Question) -> list[Keyframe]:
        """Some that show the thing, spread over those that do, and some that do not, by chance that the id decides."""
        keyframes = self._shown.keyframes
        show = [one for one in keyframes if one.index in question.boxes_2d]
        others = [one for one in keyframes if one.index not in question.boxes_2d]
        chance = np.random.default_rng(zlib.crc32(question.id.encode("utf-8", "replace")))
        picked = chance.permutation(len(others))[: self._settings.absent_views]
        return [*spread(show, self._settings.views), *(others[i] for i in sorted(picked))]


def scaled(xyxy: Xyxy, size: tuple[int, int], to: tuple[int, int]) -> Box:
    """A box in pixels of a picture of `size` (width, height), in those of `to`."""
    # multiplied first: a side that is the whole picture's then comes out exactly, not one rounding outside of it
    x0, x1 = (x * to[0] / size[0] for x in (xyxy[0], xyxy[2]))
    y0, y1 = (y * to[1] / size[1] for y in (xyxy[1], xyxy[3]))
    return x0, y0, x1, y1


def spread(those: Sequence[One], most: int) -> list[One]:
    """At most so many of them, evenly spread; the middle one where it is one."""
    if len(those) <= most:
        return list(those)
    if most == 1:
        return [those[len(those) // 2]]
    return [those[round(i * (len(those) - 1) / (most - 1))] for i in range(most)]
