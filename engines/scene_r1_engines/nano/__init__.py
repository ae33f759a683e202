"""Scene-R1 nano, the small model that comes with the package: where it is, and what a model's name means.

Beside this file lie its manifest.toml, the two GGUF files that it vouches for, and MODEL_CARD.md.
"""

from __future__ import annotations

import os
from pathlib import Path

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.manifest import MANIFEST, read_manifest

NANO = "nano"
"""The word that names it where a folder is named otherwise; a folder of that name is `./nano`."""
FOLDER = Path(__file__).resolve().parent


def nano_model() -> Path:
    """Its folder, with all of its files. Raises BadModelFile where one is absent: the installation is broken."""
    lacking = FOLDER / MANIFEST
    if lacking.is_file():
        manifest = read_manifest(FOLDER)
        paths = [FOLDER / one.file for one in (manifest.text, manifest.mmproj)]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return FOLDER
        lacking = missing[0]
    raise BadModelFile(
        lacking,
        "is not there, so the installation lacks its own model, Scene-R1 nano: install scene-r1-edge again, or name "
        "another model with --model FOLDER",
    )


def model_folder(named: str | os.PathLike[str] | None) -> Path:
    """The folder of a model that was named. None, or the word "nano": the one that comes with the package.

    Raises BadModelFile as `nano_model`; a folder of another name is not looked at.
    """
    return nano_model() if named is None or named == NANO else Path(named)


__all__ = ["NANO", "model_folder", "nano_model"]
