"""The errors of Scene-R1 Edge. Each says what is wrong, which thing it is about, and what to do."""

from __future__ import annotations

import os
from typing import ClassVar


class SceneR1Error(Exception):
    """Root of every error this project raises on purpose.

    `exit_code` is what the command line returns for it: 1 for a fault of ours or of the machine, 2 for bad input.
    """

    exit_code: ClassVar[int] = 1


class BadInput(SceneR1Error, ValueError):
    """What the caller gave cannot be used as it is."""

    exit_code: ClassVar[int] = 2


class BadRecording(BadInput):
    """A recording is missing, truncated, corrupt or not what its name says.

    Attributes: `path` (the file at fault), `frame` (zero-based index in the source, or None), `reason`.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, frame: int | None = None) -> None:
        self.path = os.fspath(path)
        self.frame = frame
        self.reason = reason
        where = self.path if frame is None else f"{self.path} (frame {frame})"
        super().__init__(f"{where}: {reason}")

    def __reduce__(self) -> tuple[type[BadRecording], tuple[str, str, int | None]]:
        return type(self), (self.path, self.reason, self.frame)


class BadFrame(BadInput):
    """One RGB-D frame has a wrong dtype, shape, depth scale, pose or camera model."""


class BadIntrinsics(BadInput):
    """A camera model that no camera can have; the message names the field."""


class BadPrompt(BadInput):
    """A box, point or mask prompt that does not fit the image it is about."""


class BadQuestion(BadInput):
    """A question that is empty, too long or not text."""


class BadModelFile(BadInput):
    """A model's file or manifest is missing, truncated, hostile or not what its manifest vouches for.

    Attributes: `path` (the file at fault), `reason`.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[BadModelFile], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class BadConfig(BadInput):
    """A setting with an unknown name, a wrong type or an impossible value."""


class OutputExists(BadInput):
    """The place to write to is taken; nothing was overwritten."""


class MissingExtra(SceneR1Error, ImportError):
    """An optional dependency is not installed. Attributes: `extra` (what to install) and `what` needed it."""

    def __init__(self, extra: str, what: str, detail: str = "") -> None:
        self.extra = extra
        self.what = what
        self.detail = detail
        tail = f" ({detail})" if detail else ""
        super().__init__(f"{what} needs the extra '{extra}'{tail}: pip install 'scene-r1-edge[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str, str]]:
        return type(self), (self.extra, self.what, self.detail)


class EngineFailed(SceneR1Error):
    """A model engine broke while working; its caller lives on."""


class DeviceOutOfMemory(EngineFailed):
    """The device that a model runs on has no room for what was asked."""


class BadAnswer(EngineFailed):
    """What a model wrote is not of the form that was asked for; nothing was guessed from it."""


class BudgetExceeded(SceneR1Error):
    """A stated limit on memory, time or size would have been passed."""


class CameraLost(SceneR1Error):
    """The camera is gone, or gives nothing any more; what was seen so far is kept."""


class StaleFrame(SceneR1Error):
    """The newest frame is older than was asked for. Attribute: `age_ms`, of device or host time, whichever is worse."""

    def __init__(self, age_ms: float, max_age_ms: float) -> None:
        self.age_ms = age_ms
        self.max_age_ms = max_age_ms
        super().__init__(f"the newest frame is {age_ms:.0f} ms old, more than the {max_age_ms:.0f} ms asked for")

    def __reduce__(self) -> tuple[type[StaleFrame], tuple[float, float]]:
        return type(self), (self.age_ms, self.max_age_ms)


class Busy(SceneR1Error):
    """A question is being answered and another one waits already: ask again when one of them is done."""


class BadState(BadInput):
    """A call that the session's state does not allow; the message names both."""


class RecordingStopped(SceneR1Error):
    """What is seen is no longer recorded (disk full, a folder that is gone); answering goes on."""
