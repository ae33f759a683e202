"""The data's folder, read again: every row checked before a run begins, pictures on use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene_r1.rooms.dataset.fields import parse_json
from scene_r1_engines.errors import BadInput, BadRecording, MissingExtra
from scene_r1_engines.settings_file import read_settings
from scene_r1_export.recipe.data import ROWS, SETTINGS
from scene_r1_export.recipe.data_settings import DataSettings
from scene_r1_export.recipe.rows import Row
from scene_r1_export.rewards import truth_of

MAX_LINE_BYTES = 4 << 20
MAX_ROWS = 10_000_000
MAX_PICTURE_BYTES = 64 << 20
ROLES = ("system", "user")


@dataclass(frozen=True, slots=True, eq=False)
class RecipeData:
    """What `make_data` wrote. rows: checked, their pictures not yet opened."""

    folder: Path
    settings: DataSettings
    rows: tuple[Row, ...]

    def pictures(self, row: Row) -> list[Any]:
        """The pictures of a row as Pillow's, RGB. Raises BadRecording for one that is missing or damaged."""
        return [read_picture(self.folder / name) for name in row["images"]]


def read_data(path: str | os.PathLike[str]) -> RecipeData:
    """Raises BadRecording naming file and line, BadConfig for settings that cannot be read."""
    folder = Path(path)
    settings = read_settings(DataSettings, folder / SETTINGS)
    file_path = folder / ROWS
    rows: list[Row] = []
    try:
        with file_path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                rows.append(_row(line, file_path, len(rows) + 1))
                if len(rows) > MAX_ROWS:
                    raise BadRecording(file_path, f"has more than {MAX_ROWS} rows: divide it")
    except OSError as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(file_path, f"cannot be read ({error.strerror or error}): make the data again") from error
    if not rows:
        raise BadRecording(file_path, "has no row: make the data again")
    return RecipeData(folder, settings, tuple(rows))


def read_picture(path: Path) -> Any:
    """A picture of the data's folder, RGB. Raises BadRecording, MissingExtra without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("export", "reading pictures", str(error)) from None
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise BadRecording(path, f"has more than {MAX_PICTURE_BYTES} bytes: make the data again")
        with Image.open(path, formats=["JPEG"]) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording(path, f"is no picture ({str(error)[:120]}): make the data again") from None


def _row(line: bytes, path: Path, number: int) -> Row:
    where = f"line {number}: "
    if len(line) > MAX_LINE_BYTES:
        raise BadRecording(path, f"{where}has more than {MAX_LINE_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise BadRecording(path, f"{where}is cut short (no line end): make the data again")
    try:
        row = parse_json(line.decode("utf-8"), path, where)
    except UnicodeDecodeError as error:
        raise BadRecording(path, f"{where}is not UTF-8 text (byte {error.start})") from None
    if not isinstance(row, dict):
        raise BadRecording(path, f"{where}must be an object {{...}}: make the data again")
    try:
        truth_of(row)
    except BadInput as error:
        raise BadRecording(path, f"{where}{error}") from None
    if not _is_prompt(row.get("prompt")):
        raise BadRecording(path, f"{where}prompt must be messages of {' and '.join(ROLES)}, with texts and images")
    images, places = row.get("images"), _places(row["prompt"])
    if not isinstance(images, list) or not all(map(_is_inside, images)) or len(images) != places:
        raise BadRecording(
            path, f"{where}images must be {places} paths inside the data's folder, as many as the prompt has places"
        )
    return row


def _is_prompt(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(one, Mapping)
        and one.get("role") in ROLES
        and isinstance(one.get("content"), list)
        and all(map(_is_part, one["content"]))
        for one in value
    )


def _is_part(part: object) -> bool:
    if not isinstance(part, Mapping):
        return False
    return part == {"type": "image"} or (
        part.keys() == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)
    )


def _places(prompt: list[Any]) -> int:
    """Where the prompt holds a picture."""
    return sum(part["type"] == "image" for message in prompt for part in message["content"])


def _is_inside(name: object) -> bool:
    """Whether it is a path that stays in the folder."""
    if not isinstance(name, str) or "\0" in name or not name:
        return False
    return not os.path.isabs(name) and ".." not in Path(name).parts
