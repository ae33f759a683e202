"""Objects through a video: prompts on any frame, tracking forward and backward from what is remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadConfig, BadFrame, BadPrompt, DeviceOutOfMemory
from scene_r1_engines.sam2.features import FeatureCache
from scene_r1_engines.sam2.graphs import Features
from scene_r1_engines.sam2.memory_bank import MemoryBank, Remembered
from scene_r1_engines.sam2.module import Value
from scene_r1_engines.sam2.picture import smoothed
from scene_r1_engines.sam2.prompt_points import SURE, ModelPrompt, model_prompt, nothing_said, outlined
from scene_r1_engines.view import Prompt, View

log = logging.getLogger(__name__)
Found = TypeVar("Found")

GREATEST_LOGIT = 32.0
"""Earlier masks are clamped to it before they are refined, as in the official predictor."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One object on one frame.

    low: (S/4, S/4) float32 logits, above 0 on the object. iou: the model's own estimate of its mask's IoU. score: logit
    of being in the picture at all; at 0 or below it is hidden and `low` is negative everywhere.
    """

    low: NDArray[np.float32]
    iou: float
    score: float

    @property
    def visible(self) -> bool:
        return self.score > 0.0

    def logits(self, hw: tuple[int, int]) -> NDArray[np.float32]:
        """(height, width) float32: `low` at the size of the view, bilinear between pixel centres."""
        return np.asarray(cv2.resize(self.low, (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR), np.float32)

    def mask(self, hw: tuple[int, int]) -> NDArray[np.bool_]:
        """(height, width) bool, at the size of the view."""
        return self.logits(hw) > 0.0


class Sam2Video:
    """The loop of the official SAM2VideoPredictor 1.1.0 without PyTorch, for streams that need not end.

    Frames are numbered by the caller and memory goes by the numbers: frame n looks back at n - 1, n - 2, … (forward)
    or n + 1, n + 2, … (backward). Pictures come along with each call, none is held longer than the cache holds it.
    All must be of one size.

    frames: of the whole video, where known (MemoryBank). slots: fewer memories than the model's own. kept: frames of an
    object that are remembered for later corrections. corrections_condition: a prompt on a frame that was tracked before
    makes it a conditioning frame. False is the official predictor's default; there, tracking over such a frame again
    replaces the correction, so go on from the next one. A corrected conditioning frame stays one in either case (the
    official predictor drops the correction).

        video = Sam2Video(features)
        video.prompt(0, view, "mug", Prompt(xyxy=(209, 316, 265, 371)))
        for number, view in enumerate(views):
            found = video.track(number, view)["mug"]
    """

    def __init__(
        self, features: FeatureCache, *, frames: int | None = None, slots: int | None = None,
        kept: int = 32, corrections_condition: bool = False,
    ) -> None:  # fmt: skip
        if frames is not None and frames < 1:
            raise BadConfig(f"frames must be 1 or more, or None where nobody knows, got {frames}")
        self._graphs = features.graphs
        self._features = features
        self._frames, self._slots, self._kept = frames, slots, kept
        self._corrections_condition = corrections_condition
        self._new_bank()  # so that impossible numbers are said here
        self._banks: dict[Hashable, MemoryBank] = {}
        self._hw: tuple[int, int] | None = None
        self._most: int | None = None

    @property
    def banks(self) -> dict[Hashable, MemoryBank]:
        """What is remembered of each object, in the order in which they were prompted first."""
        return dict(self._banks)

    def prompt(self, frame: int, view: View, object_id: Hashable, prompt: Prompt) -> Tracked:
        """Say where an object is on a frame, an object already known or a new one; the mask there.

        On a frame that was not tracked yet it is looked for without memory, and the frame becomes a conditioning one.
        On one that was, memory helps. Where there is a mask of the frame already, points and boxes refine it. A prompt
        replaces the earlier one of its frame: say all points again. A mask alone is taken as it is.

        Raises BadPrompt, BadFrame for a picture of another size, DeviceOutOfMemory, EngineFailed.
        """
        where = f"frame {frame} (view {view.id}), object {object_id!r}"
        hw = self._check(frame, view)
        most_points = self._graphs.manifest.profiles.points
        asked = model_prompt(prompt, hw, self._graphs.side, most_points, where)
        bank = self._banks.get(object_id) or self._new_bank()
        backward = bank.tracked(frame)
        features = self._features.of(view)
        if asked.drawn is not None:
            found = self._drawn(asked, features)
        else:
            earlier = bank.latest(frame)
            if asked.mask_in is None and earlier is not None:
                refine = np.clip(earlier.low.astype(np.float32), -GREATEST_LOGIT, GREATEST_LOGIT)
                asked = replace(asked, mask_in=refine)
            if backward is None:
                found = self._found(features.feat, features, [asked], alone=True, prompted=True)[0]
            else:
                way, said = backward, asked
                found = self._with_room(frame, [bank], way, lambda: self._corrected(frame, features, bank, way, said))
        conditioning = backward is None or self._corrections_condition or bank.conditioning(frame) is not None
        bank.prompt(frame, found, conditioning)
        self._banks[object_id] = bank
        self._hw = hw
        return _tracked(found)

    def track(self, frame: int, view: View, backward: bool = False) -> dict[Hashable, Tracked]:
        """All objects on a frame, by their ids. backward: what is known of later frames counts, not of earlier ones.

        A conditioning frame gives what its prompt gave. Raises as `prompt`; BadPrompt where nothing was prompted.
        """
        if not self._banks:
            raise BadPrompt(f"frame {frame} (view {view.id}): nothing to track; prompt an object first")
        self._check(frame, view)
        found: dict[Hashable, Remembered] = {}
        sought: dict[Hashable, MemoryBank] = {}
        for object_id, bank in self._banks.items():
            bank.settle(frame)
            known = bank.conditioning(frame)
            if known is None:
                sought[object_id] = bank
            else:
                found[object_id] = known
                bank.passed(frame, backward)
        if sought:
            features = self._features.of(view)
            found |= self._with_room(
                frame, sought.values(), backward, lambda: self._sought(frame, features, sought, backward)
            )
            for object_id, bank in sought.items():  # when all went well, so that a failed frame can be tried again
                bank.add(frame, found[object_id], backward)
        return {object_id: _tracked(found[object_id]) for object_id in self._banks}

    def suggest(self, frame: int, view: View, object_id: Hashable, hint: Prompt) -> Tracked | None:
        """Where an object may be on a frame that was just tracked, as guessed without the model.

        It is looked for by the hint alone, without memory. Where the model is surer of that than of what it tracked,
        this is the answer and takes the other's place in memory, but the frame conditions nothing; else None.
        Raises as `prompt`; BadPrompt also for a frame or an object that was not tracked.
        """
        where = f"frame {frame} (view {view.id}), object {object_id!r}"
        hw = self._check(frame, view)
        bank = self._banks.get(object_id)
        backward = None if bank is None else bank.tracked(frame)
        earlier = None if bank is None else bank.latest(frame)
        if bank is None or backward is None or earlier is None:
            raise BadPrompt(f"{where}: a hint is for what was tracked; prompt it, or track to this frame first")
        asked = model_prompt(outlined(hint), hw, self._graphs.side, self._graphs.manifest.profiles.points, where)
        features = self._features.of(view)
        found = self._found(features.feat, features, [asked], alone=True, prompted=True)[0]
        if (found.score > 0.0, found.iou) <= (earlier.score > 0.0, earlier.iou):
            return None
        if bank.conditioning(frame) is None:
            bank.add(frame, found, backward)
        return _tracked(found)

    def propagate(
        self, frames: Iterable[tuple[int, View]], backward: bool = False
    ) -> Iterator[tuple[int, dict[Hashable, Tracked]]]:
        """`track` over (number, view) in the order given: ascending numbers, descending ones where `backward`."""
        for frame, view in frames:
            yield frame, self.track(frame, view, backward)

    def forget(self, object_id: Hashable) -> None:
        """Let an object go with all that is remembered of it. Raises BadPrompt for one that is not known."""
        if object_id not in self._banks:
            raise BadPrompt(
                f"object {object_id!r} is not tracked; known: {', '.join(map(repr, self._banks)) or 'none'}"
            )
        del self._banks[object_id]

    def _new_bank(self) -> MemoryBank:
        manifest = self._graphs.manifest
        return MemoryBank(manifest.memory, manifest.profiles, frames=self._frames, slots=self._slots, kept=self._kept)

    def _check(self, frame: int, view: View) -> tuple[int, int]:
        hw = view.intrinsics.height, view.intrinsics.width
        if self._hw is not None and hw != self._hw:
            raise BadFrame(
                f"frame {frame} (view {view.id}): the picture is {hw[1]}x{hw[0]} pixels, those before it "
                f"{self._hw[1]}x{self._hw[0]}; begin a new track for another size"
            )
        return hw

    def _sought(
        self, frame: int, features: Features, banks: Mapping[Hashable, MemoryBank], backward: bool
    ) -> dict[Hashable, Remembered]:
        """Objects without a prompt; those that recall memories of one structure are looked for in one run."""
        recalls = {one: bank.recall(frame, backward, self._most) for one, bank in banks.items()}
        groups: dict[object, list[Hashable]] = {}
        for object_id, recall in recalls.items():
            groups.setdefault(recall.structure, []).append(object_id)
        most = self._graphs.manifest.profiles.objects
        found: dict[Hashable, Remembered] = {}
        for group in groups.values():
            for start in range(0, len(group), most):
                together = group[start : start + most]
                feat = self._graphs.attend(features, [recalls[one] for one in together])
                asked = [nothing_said()] * len(together)
                seen = self._found(feat, features, asked, alone=False, prompted=False)
                found.update(zip(together, seen, strict=True))
        return found

    def _corrected(
        self, frame: int, features: Features, bank: MemoryBank, backward: bool, asked: ModelPrompt
    ) -> Remembered:
        feat = self._graphs.attend(features, [bank.recall(frame, backward, self._most)])
        return self._found(feat, features, [asked], alone=False, prompted=True)[0]

    def _with_room(self, frame: int, banks: Iterable[MemoryBank], backward: bool, look: Callable[[], Found]) -> Found:
        """Where the device has no room, look once more with half as many memories; the track goes on with so many."""
        try:
            return look()
        except DeviceOutOfMemory:
            had = max(len(bank.recall(frame, backward).rows) for bank in banks)
            if self._most is not None or had == 1:
                raise
            self._most = had // 2
            self._features.clear()
            log.warning("frame %d: no room on the device for %d memories; going on with %d", frame, had, self._most)
        return look()

    def _found(
        self, feat: Value, features: Features, asked: Sequence[ModelPrompt], alone: bool, prompted: bool
    ) -> list[Remembered]:
        """Masks, one for each of `asked`, and what is to be remembered of them."""
        decoded = self._graphs.decode(feat, features, asked, alone)
        binarize = prompted and self._graphs.manifest.masks.binarize
        memories = self._graphs.remember(features, decoded.low, decoded.score, binarize)
        return [
            Remembered(memories[i], decoded.pointer[i], decoded.low[i], float(decoded.iou[i]), float(decoded.score[i]))
            for i in range(len(asked))
        ]

    def _drawn(self, asked: ModelPrompt, features: Features) -> Remembered:
        """A mask prompt as the answer: `_use_mask_as_output` of the official sam2_base.py. The decoder only gives the
        pointer, from the mask made small by the model's own convolution and without a word of memory."""
        assert asked.drawn is not None
        rules, side = self._graphs.manifest.masks, self._graphs.side
        blocks = asked.drawn.reshape(side // 4, 4, side // 4, 4).transpose(0, 2, 1, 3).reshape(side // 4, side // 4, 16)
        small = blocks @ np.array(rules.kernel, np.float32) + np.float32(rules.bias)
        pointer = self._graphs.decode(
            features.feat, features, [replace(asked, mask_in=small)], False, choose=False
        ).pointer
        low = smoothed(2 * SURE * asked.drawn - np.float32(SURE), side // 4, side // 4)
        score = np.full(1, SURE, np.float32)
        memory = self._graphs.remember(features, low[None], score, rules.binarize)[0]
        return Remembered(memory, pointer[0], low, 1.0, SURE)


def _tracked(found: Remembered) -> Tracked:
    return Tracked(found.low.astype(np.float32, copy=False), found.iou, found.score)
