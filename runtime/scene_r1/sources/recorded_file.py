"""One file of a recording, read whole under a size cap; anything wrong with it is a BadRecording that names it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scene_r1_engines.errors import BadRecording

MAX_TEXT_BYTES = 64 << 20
"""An hour of poses at 100 Hz is 30 MB."""


def read_bytes(path: Path, limit_bytes: int, frame: int | None = None) -> bytes:
    """The content of a regular file. Raises BadRecording when it is missing, empty, too large or no regular file.

    Pipes and devices are refused before they are opened, since opening one may wait for ever.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadRecording(path, "is not a regular file: put the recorded file here", frame)
        if status.st_size > limit_bytes:
            raise BadRecording(path, f"has {status.st_size} bytes, more than the {limit_bytes} that fit here", frame)
        with open(path, "rb") as file:
            data = file.read(limit_bytes)
    except FileNotFoundError:
        raise BadRecording(path, "is missing: copy the recording again, or cut it before this frame", frame) from None
    except (OSError, ValueError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"cannot be read ({getattr(error, 'strerror', None) or error})", frame) from error
    if not data:
        raise BadRecording(path, "is empty: copy the recording again, or cut it before this frame", frame)
    return data


def read_text(path: Path, frame: int | None = None, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """The content of a UTF-8 text file, without a byte order mark. Raises BadRecording as `read_bytes` does."""
    try:
        return read_bytes(path, limit_bytes, frame).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecording(path, f"is not a text file (byte {error.start} is no UTF-8)", frame) from None


def parse_floats(text: str) -> list[float]:
    """Numbers separated by white space; nan and inf are numbers. Raises ValueError naming the first that is none."""
    numbers = []
    for word in text.split():
        # float() also takes 1_000 and the digits of every script, which no recorder writes
        if len(word) > 64 or not word.isascii() or "_" in word:
            raise ValueError(f"{word[:64]!r} is not a number")
        try:
            numbers.append(float(word))
        except ValueError:
            raise ValueError(f"{word!r} is not a number") from None
    return numbers
