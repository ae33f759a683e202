"""The licence that a checkpoint states: in its README's front matter, or by a LICENSE file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scene_r1_engines.errors import BadModelFile

UNKNOWN = "unknown"
FIELD = re.compile(r"""^(license|license_name):[ \t]*["']?([^"'\r\n#]{1,100}?)["']?[ \t]*(?:#.*)?\r?$""", re.MULTILINE)
KNOWN = (
    # what a LICENSE file says in its first lines, and its SPDX name
    (re.compile(r"Apache License\s+Version 2\.0"), "apache-2.0"),
    (re.compile(r"\bMIT License\b"), "mit"),
)


def license_of(files: Mapping[str, Path]) -> str:
    """A short name: an SPDX identifier where there is one, `unknown` where nothing is said. files: paths by name."""
    readme = _start_of(files.get("README.md"))
    if found := re.match(r"\s*---\r?\n(.*?)\r?\n---", readme, re.DOTALL):
        stated = dict(FIELD.findall(found[1]))
        name = stated.get("license_name") if stated.get("license") == "other" else stated.get("license")
        if name:
            return str(name).strip()
    text = _start_of(files.get("LICENSE"))
    for pattern, name in KNOWN:
        if pattern.search(text[:2000]):
            return name
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(one for one in first if one.isprintable())[:100] or UNKNOWN


def _start_of(path: Path | None) -> str:
    """The first 64 kB of a text, "" where there is none."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return file.read(64 << 10).decode("utf-8-sig", "replace")
    except OSError as error:
        raise BadModelFile(path, f"cannot be read: {error.strerror or error}") from None
