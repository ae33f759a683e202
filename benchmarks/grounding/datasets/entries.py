"""Annotation files of data sets: JSON and JSON Lines, every field checked where it is taken."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.recorded_file import read_text
from scene_r1_engines.errors import BadRecording

MAX_BYTES = 512 << 20
"""ScanRefer's training file has 40 MB; a SceneFun3D visit's annotations list a few million indices."""
MAX_TEXT = 20_000
"""Characters of one field; the longest questions of these data sets have some 1,000."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of an annotation file. where: "entry 12" or "line 12", for errors.

    Each method takes one field; it raises BadRecording naming file, entry, key and what is there instead.
    """

    path: Path
    where: str
    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A string with something in it."""
        value = self._value(key)
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
            self.refuse(f"{key!r} must be text, got {_shown(value)}")
        return value

    def name(self, key: str) -> str:
        """A string, or a whole number as one, that can be part of a file's name."""
        value = self._value(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not 0 < len(value) <= 100 or not _is_name(value):
            self.refuse(f"{key!r} must be a name of letters, digits, _ and -, got {_shown(value)}")
        return value

    def whole(self, key: str) -> int:
        """A whole number, 0 or more; also one written as a string, as ScanRefer writes its ids."""
        value = self._value(key)
        if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
            self.refuse(f"{key!r} must be a whole number, 0 or more, got {_shown(value)}")
        return value

    def wholes(self, key: str) -> NDArray[np.int64]:
        """(N,) whole numbers, 0 or more."""
        value = self._list(key)
        if not all(type(one) is int and 0 <= one < 1 << 62 for one in value):
            self.refuse(f"{key!r} must be a list of whole numbers, 0 or more")
        return np.array(value, np.int64)

    def texts(self, key: str) -> tuple[str, ...]:
        """Strings with something in them."""
        value = self._list(key)
        if not all(isinstance(one, str) and one.strip() and len(one) <= MAX_TEXT for one in value):
            self.refuse(f"{key!r} must be a list of texts")
        return tuple(value)

    def refuse(self, reason: str) -> NoReturn:
        """Raise BadRecording about this entry."""
        raise BadRecording(self.path, f"{self.where}: {reason}: download the file again")

    def _value(self, key: str) -> Any:
        if key not in self.values:
            self.refuse(f"{key!r} is missing (there are {', '.join(sorted(self.values)[:12]) or 'no keys'})")
        return self.values[key]

    def _list(self, key: str) -> Sequence[Any]:
        value = self._value(key)
        if not isinstance(value, list):
            self.refuse(f"{key!r} must be a list, got {_shown(value)}")
        return value


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BadRecording when it is missing, too large or no JSON; NaN is none."""
    return _parse(path, "", read_text(path, limit_bytes=MAX_BYTES))


def read_entries(path: Path, key: str | None = None) -> tuple[Entry, ...]:
    """The objects of a file whose outermost value is a list, or has one under `key`.

    Raises BadRecording as `read_json`, and where that list is not there or holds something else.
    """
    found = read_json(path)
    if key is not None:
        found = Entry(path, "its outermost object", _object(path, "its outermost value", found))._list(key)
    if not isinstance(found, list):
        raise BadRecording(path, f"must hold a list of objects, found {_shown(found)}: is it the right file?")
    return checked_entries(path, found)


def read_lines(path: Path) -> tuple[Entry, ...]:
    """The objects of a JSON Lines file, one a line; empty lines are skipped. Raises BadRecording as `read_json`."""
    lines = enumerate(read_text(path, limit_bytes=MAX_BYTES).split("\n"), 1)
    named = ((f"line {number}", line) for number, line in lines if line.strip())
    return tuple(Entry(path, where, _object(path, where, _parse(path, where, line))) for where, line in named)


def checked_entries(path: Path, values: Iterable[object]) -> tuple[Entry, ...]:
    """Entries of values that were read from a file. Raises BadRecording for one that is no object."""
    return tuple(Entry(path, f"entry {i}", _object(path, f"entry {i}", value)) for i, value in enumerate(values))


def by_scene(entries: Iterable[Entry], key: str) -> Iterator[tuple[str, list[Entry]]]:
    """Entries of one scene together, scenes in the order in which they first occur."""
    scenes: dict[str, list[Entry]] = {}
    for entry in entries:
        scenes.setdefault(entry.name(key), []).append(entry)
    yield from scenes.items()


def _parse(path: Path, where: str, text: str) -> Any:
    def refuse_constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a value of JSON")

    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        place = f"{where}: " if where else ""
        raise BadRecording(path, f"{place}is not JSON ({said}): download the file again") from None


def _object(path: Path, where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRecording(path, f"{where} must be an object, got {_shown(value)}: download the file again")
    return value


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace("_", "").replace("-", "").isalnum()


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'dictionary'} of {len(value)}"
    return repr(value if not isinstance(value, int) or abs(value) < 1 << 64 else "a huge number")[:60]
