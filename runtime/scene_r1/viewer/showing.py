"""What is shown to people in a 3D viewer: an answer, and the keyframes that it was found in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene_r1.answer import Answer, Evidence
from scene_r1.frame import RgbdFrame
from scene_r1_engines.errors import BadInput

AXES: NDArray[np.float64] = np.concatenate([np.eye(3), -np.eye(3)])
AXES.flags.writeable = False
CLEARLY_UP = 0.5
"""Cosine from which z counts as up: cameras that all look down and the same way have their own up far off it."""


@dataclass(frozen=True, slots=True, eq=False)
class Showing:
    """keyframes: posed, in order of time, which is also the order in which the selector took them: its candidate is
    always later than all that it holds. start_ns: the time that is 0 s. question: what was asked, or empty.

    Raises BadInput for a keyframe without a pose, two of one index, or an order that is not that of time.
    """

    answer: Answer
    keyframes: tuple[RgbdFrame, ...]
    start_ns: int = 0
    question: str = ""

    def __post_init__(self) -> None:
        for frame in self.keyframes:
            if frame.T_world_camera is None:
                raise BadInput(f"frame {frame.index} has no pose and cannot be shown in space: leave it out")
        for before, after in zip(self.keyframes, self.keyframes[1:], strict=False):
            if after.index <= before.index or after.timestamp_ns < before.timestamp_ns:
                raise BadInput(f"frame {after.index} follows frame {before.index}: give each once, in order of time")

    @classmethod
    def of(cls, answer: Answer, frames: dict[int, RgbdFrame], start_ns: int | None, question: str = "") -> Showing:
        """From frames by their index, in any order; those without a pose are left out. start_ns: None: the first's."""
        posed = tuple(frames[index] for index in sorted(frames) if frames[index].T_world_camera is not None)
        first = posed[0].timestamp_ns if posed else 0
        return cls(answer, posed, first if start_ns is None else start_ns, question)

    @property
    def label(self) -> str:
        """The model's word for the thing, else `object`."""
        return text(self.answer.boxes_2d[0].label if self.answer.boxes_2d else self.answer.answer) or "object"

    def seconds(self, frame: RgbdFrame) -> float:
        return (frame.timestamp_ns - self.start_ns) / 1e9

    def evidence(self, frame: RgbdFrame) -> Evidence | None:
        """What the answer saw in a keyframe."""
        return next((view for view in self.answer.evidence if view.frame == frame.index), None)

    @property
    def up(self) -> NDArray[np.float64]:
        """(3,) the axis of the world, or its opposite, that is up.

        Recordings do not say: in most it is z, in those that begin at their first camera -y. People hold cameras
        upright, so it is z if the cameras' own up agrees with it on average, else the axis closest to that.
        """
        ups = [-frame.T_world_camera[:3, 1] for frame in self.keyframes if frame.T_world_camera is not None]
        mean = np.mean(ups, axis=0) if ups else AXES[2]
        if mean[2] >= CLEARLY_UP * np.linalg.norm(mean):
            return np.asarray(AXES[2])
        return np.asarray(AXES[int(np.argmax(AXES @ mean))])


def text(words: str) -> str:
    """What a model wrote, as UTF-8 can hold it: half a surrogate pair becomes a question mark."""
    return words.encode("utf-8", "replace").decode("utf-8")
