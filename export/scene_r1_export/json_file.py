"""JSON files of others, read with bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile


def read_json_object(path: Path, most_bytes: int = 4 << 20) -> dict[str, Any]:
    """The object that a JSON file holds. Raises BadModelFile when it is too large, no JSON or no object."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise BadModelFile(path, f"cannot be read: {error.strerror or error}") from None
    if len(data) > most_bytes:
        raise BadModelFile(path, f"has more than {most_bytes} bytes")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, a number of thousands of digits
        raise BadModelFile(path, f"is no JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise BadModelFile(path, f"must hold a JSON object, holds a {type(value).__name__}")
    return value
