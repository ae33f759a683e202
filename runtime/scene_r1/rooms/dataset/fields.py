"""JSON from a file, read key by key: each with its type, none missing, none unknown."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from scene_r1.rooms.model.room import Box
from scene_r1_engines.errors import BadRecording
from scene_r1_engines.settings_file import nearest

MOST_TEXT = 4000
"""Letters of one text."""
Word = TypeVar("Word", bound=str)
FAR = 1e6
"""No length, time or pixel in these files is larger."""


def parse_json(text: str, path: Path, where: str = "") -> object:
    """The value of a JSON text. Raises BadRecording for what is no JSON, NaN, or a key said twice in one object."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_object)
    except RecursionError:
        raise BadRecording(path, f"{where}is nested too deeply") from None
    except ValueError as error:  # json's own, or that of int() for a number of thousands of digits
        raise BadRecording(path, f"{where}is no JSON: {str(error)[:200]}") from None


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {_short(next(key for key in keys if keys.count(key) > 1))} is there twice")
    return out


class Fields:
    """One JSON object. Ask for every key it may have, then call `end`, which refuses what nobody asked for.

    path: of the file. where: put before the key in errors, such as `line 3: `. Every method raises BadRecording
    naming file, place, key and what was found; numbers are finite.
    """

    def __init__(self, value: object, path: Path, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(value, dict):
            raise BadRecording(path, f"{where}must be an object {{...}}, got {_short(value)}")
        self._values: dict[str, object] = value
        self._asked: list[str] = []

    def fault(self, reason: str) -> BadRecording:
        """An error about this object."""
        return BadRecording(self.path, f"{self.where}{reason}")

    def has(self, key: str) -> bool:
        """Whether the key is there with something other than null."""
        self._asked.append(key)
        return self._values.get(key) is not None

    def text(self, key: str, empty: bool = False) -> str:
        """A text, not empty unless `empty`."""
        value = self._value(key)
        if not isinstance(value, str) or len(value) > MOST_TEXT or not (empty or value.strip()):
            raise self._wrong(key, f"a text of up to {MOST_TEXT} letters{'' if empty else ', not an empty one'}", value)
        return value

    def word(self, key: str, among: Sequence[Word]) -> Word:
        """One of the known words."""
        value = self._value(key)
        for one in among:
            if one == value:
                return one
        raise self._wrong(key, f"one of {', '.join(among)}", value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self._list(key)
        if not all(isinstance(value, str) and len(value) <= MOST_TEXT for value in values):
            raise self._wrong(key, "a list of texts", values)
        return tuple(str(value) for value in values)

    def flag(self, key: str) -> bool:
        """true or false."""
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number in low..high."""
        value = self._value(key)
        if not _is_whole(value, low, high):
            raise self._wrong(key, f"a whole number in {low}..{high}", value)
        return value

    def wholes(self, key: str, count: int, low: int, high: int) -> tuple[int, ...]:
        """`count` whole numbers in low..high."""
        values = self._list(key)
        found = tuple(value for value in values if _is_whole(value, low, high))
        if not len(found) == len(values) == count:
            raise self._wrong(key, f"{count} whole numbers in {low}..{high}", values)
        return found

    def number(self, key: str, low: float = -FAR, high: float = FAR) -> float:
        """A number in low..high."""
        value = self._value(key)
        if not _is_number(value, low, high):
            raise self._wrong(key, f"a number in {low:g}..{high:g}", value)
        return float(value)

    def numbers(self, key: str, count: int, low: float = -FAR, high: float = FAR) -> tuple[float, ...]:
        """`count` numbers in low..high."""
        return self._numbers(key, self._value(key), count, low, high)

    def rows(self, key: str, count: int, low: float = -FAR, high: float = FAR) -> tuple[tuple[float, ...], ...]:
        """A list of lists of `count` numbers each."""
        return tuple(self._numbers(f"{key}[{i}]", row, count, low, high) for i, row in enumerate(self._list(key)))

    def point(self, key: str) -> tuple[float, float, float]:
        """Three numbers: metres."""
        x, y, z = self.numbers(key, 3)
        return x, y, z

    def box(self) -> Box:
        """The box whose corners are the keys `low` and `high`."""
        low, high = self.point("low"), self.point("high")
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise self.fault(f"low must be below high along every axis, got {list(low)} and {list(high)}")
        return Box(low, high)

    def table(self, key: str) -> Fields:
        """An object inside this one."""
        return Fields(self._value(key), self.path, f"{self.where}{key}: ")

    def tables(self, key: str) -> Iterator[Fields]:
        """A list of objects."""
        for i, value in enumerate(self._list(key)):
            yield Fields(value, self.path, f"{self.where}{key}[{i}]: ")

    def keys(self) -> tuple[str, ...]:
        """All keys of this object; they count as asked for."""
        self._asked.extend(self._values)
        return tuple(self._values)

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                raise self.fault(f"{_short(key)} is no key here: {nearest(key, self._asked)}")

    def _value(self, key: str) -> object:
        self._asked.append(key)
        if key not in self._values:
            raise self.fault(f"{key} is missing")
        return self._values[key]

    def _list(self, key: str) -> list[object]:
        value = self._value(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def _numbers(self, key: str, value: object, count: int, low: float, high: float) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) != count or not all(_is_number(v, low, high) for v in value):
            raise self._wrong(key, f"{count} numbers in {low:g}..{high:g}", value)
        return tuple(float(v) for v in value)

    def _wrong(self, key: str, wanted: str, value: object) -> BadRecording:
        return self.fault(f"{key if len(key) <= 80 else _short(key)} must be {wanted}, got {_short(value)}")


def _is_whole(value: object, low: int, high: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: object, low: float, high: float) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (isinstance(value, int) or math.isfinite(value)) and low <= value <= high


def _short(value: object) -> str:
    return reprlib.repr(value)
