"""Frozen dataclasses said by a TOML file: read with every key and type checked, and written back."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import reprlib
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from scene_r1_engines.errors import BadConfig, BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

NONE = "none"
"""What stands for None in a file, since TOML has no word for it."""
MAX_BYTES = 64 << 10
MAX_LINE = 1000
"""Checked before parsing: tomllib took 28 s for a line of 64 kB that is one dotted key; its time grows with the square
of the line."""

Settings = TypeVar("Settings")
Place = tuple[str, ...]


def read_settings(kind: type[Settings], path: str | os.PathLike[str]) -> Settings:
    """The settings of a TOML file; what it does not name has its default. Raises BadConfig with file, line and key."""
    where = os.fspath(path)
    text = _read(where)
    try:
        mapping = tomllib.loads(text)
    except RecursionError:
        raise BadConfig(f"{where}: is not a file of settings: its arrays or tables are nested too deeply") from None
    except ValueError as error:  # tomllib's own error, or that of int() for numbers of thousands of digits
        raise BadConfig(f"{where}: is not TOML: {str(error)[:200]}") from None
    return _table(kind, mapping, (), _Document(where, kind, text))


def settings_from(kind: type[Settings], mapping: Mapping[str, object], where: str) -> Settings:
    """A dataclass of int, float, bool, str, tuples of a fixed length, `X | None` and dataclasses of these.

    Whole numbers count as float; nothing else is converted. Floats must be finite, and "none" stands for None. Raises
    BadConfig naming `where` and the key.
    """
    return _table(kind, mapping, (), _Document(where, kind))


def to_toml(settings: object) -> str:
    """All values of such a dataclass, as a file that `read_settings` reads back to an equal one."""
    return "\n".join(_written(settings, ())).lstrip("\n") + "\n"


def nearest(word: str, known: Iterable[str]) -> str:
    """What an error about an unknown word says: the nearest known one, or all of them where none is near."""
    near = difflib.get_close_matches(word[:64], list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


@dataclass(frozen=True, slots=True)
class _Document:
    """Where settings come from, for what errors say. text: of the file, "" where there is none."""

    where: str
    kind: type
    text: str = ""

    def fault(self, at: Place, reason: str) -> BadConfig:
        line = _line_of(self.text, at)
        return BadConfig(f"{self.where}: {reason}" if line is None else f"{self.where}, line {line}: {reason}")


def _table(kind: type[Settings], value: object, at: Place, document: _Document) -> Settings:
    if not isinstance(value, Mapping):
        raise document.fault(at, f"{_dotted(at)} must be a table, got {_show(value)}")
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, given_value in value.items():
        here = (*at, str(key))
        if key not in hints:
            raise document.fault(here, f"{_dotted(here)} is no setting; {_nearest_setting(here, hints, document.kind)}")
        hint = hints[key]
        if is_dataclass(hint) and isinstance(hint, type):
            given[key] = _table(hint, given_value, here, document)
            continue
        try:
            given[key] = _plain(hint, given_value)
        except TypeError:
            raise document.fault(here, f"{_dotted(here)} must be {_wanted(hint)}, got {_show(given_value)}") from None
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name not in given and one.default is MISSING and one.default_factory is MISSING:
            here = (*at, one.name)
            raise document.fault(at, f"{_dotted(here)} is missing: it must be {_wanted(hints[one.name])}")
    try:
        return kind(**given)
    except BadInput as error:  # what the dataclass itself has against its values
        raise document.fault(at, f"{_dotted(at)}: {error}" if at else str(error)) from None


def _plain(hint: Any, value: object) -> object:
    """The value as the hint wants it. Raises TypeError where it is something else."""
    inner = _optional(hint)
    if inner is not None:
        return None if value is None or value == NONE else _plain(inner, value)
    if get_origin(hint) is tuple:
        hints = get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(hints):
            raise TypeError
        return tuple(_plain(one, v) for one, v in zip(hints, value, strict=True))
    if isinstance(value, int) and not isinstance(value, bool) and hint in (int, float):
        if not -(1 << 63) <= value < 1 << 63:  # TOML's own bounds
            raise TypeError
        return hint(value)
    if not isinstance(value, hint) or isinstance(value, bool) is not (hint is bool):
        raise TypeError
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError
    return hint(value)


def _optional(hint: Any) -> Any:
    """X of `X | None`; None for any other hint."""
    if get_origin(hint) not in (Union, UnionType):
        return None
    (inner,) = (one for one in get_args(hint) if one is not NoneType)
    return inner


def _wanted(hint: Any) -> str:
    inner = _optional(hint)
    if inner is not None:
        return f'{_wanted(inner)} or "{NONE}"'
    if is_dataclass(hint):
        return "a table"
    if get_origin(hint) is tuple:
        return f"an array of {len(get_args(hint))}: [{', '.join(_wanted(one) for one in get_args(hint))}]"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "a string"}[hint]


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        return "a whole number of more than 64 bits"
    return "a table" if isinstance(value, Mapping) else reprlib.repr(value)


def _dotted(at: Place) -> str:
    """keyframes.k; a part that is no plain word, or very long, is quoted and shortened."""
    return ".".join(one if re.fullmatch(r"[\w-]{1,64}", one) else reprlib.repr(one) for one in at) or "it"


def _nearest_setting(at: Place, hints: Mapping[str, object], kind: type) -> str:
    """Of a key that is unknown: the nearest one of its table, else the same word in another table."""
    elsewhere = [name for name in _names(kind, ()) if name.split(".")[-1] == at[-1]]
    if elsewhere and not difflib.get_close_matches(at[-1], hints):
        return f"did you mean {' or '.join(elsewhere)}?"
    return nearest(at[-1], hints)


def _names(kind: type, at: Place) -> Iterator[str]:
    """The dotted names of all settings and tables."""
    for name, hint in get_type_hints(kind).items():
        yield ".".join((*at, name))
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _names(hint, (*at, name))


def _written(settings: Any, at: Place) -> Iterator[str]:
    tables = []
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value):
            tables.append((value, (*at, one.name)))
        else:
            yield f"{one.name} = {_literal(value)}"
    for table, place in tables:
        yield f"\n[{'.'.join(place)}]"
        yield from _written(table, place)


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(one) for one in value)}]"
    if value is None or isinstance(value, bool | str):
        text = NONE if value is None else value
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's strings are JSON's, but for DEL
    return repr(value)


def _read(where: str) -> str:
    data = None
    try:
        if stat.S_ISREG(os.stat(where).st_mode):  # opening a pipe may wait for ever
            with open(where, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise BadConfig(f"{where}: cannot be read ({reason}): name a TOML file") from None
    if data is None:
        raise BadConfig(f"{where}: is not a regular file: name a TOML file")
    if len(data) > MAX_BYTES:
        raise BadConfig(f"{where}: has more than {MAX_BYTES} bytes: this is no file of settings")
    try:
        text = data.decode("utf-8-sig")  # some editors put a byte order mark first
    except UnicodeDecodeError as error:
        raise BadConfig(f"{where}: is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise BadConfig(f"{where}, line {number}: has {len(line)} characters, more than {MAX_LINE}: break it up")
    return text


HEADER = re.compile(r"\s*\[+([^\[\]]+)\]")
KEY = re.compile(r"\s*([^\s=#\[{][^=#\[{]*)=")


def _line_of(text: str, at: Place) -> int | None:
    """The first line that names a setting, or the innermost table of it that is named; None where nothing is."""
    table: Place = ()
    best, found = 0, None
    for number, line in enumerate(text.split("\n"), 1):
        header, key = HEADER.match(line), KEY.match(line)
        if header:
            table = named = _parts(header[1])
        elif key:
            named = (*table, *_parts(key[1]))
        else:
            continue
        common = next((n for n, (a, b) in enumerate(zip(named, at, strict=False)) if a != b), min(len(named), len(at)))
        if common > best:
            best, found = common, number
    return found


def _parts(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
