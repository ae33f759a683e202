"""A checkpoint as model hubs give it: config.json, safetensors, tokenizer. Vetted before anything else reads it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadModelFile
from scene_r1_export.architecture import Architecture, architecture_of, check_tensors
from scene_r1_export.json_file import read_json_object
from scene_r1_export.license import license_of
from scene_r1_export.weights import INDEX, Weights, read_weights

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
READ = {
    # name: most bytes. What the converter may see; weights come on top, programs (*.py) and pickles never do.
    CONFIG: 4 << 20,
    TOKENIZER: 128 << 20,
    "tokenizer_config.json": 4 << 20,
    "preprocessor_config.json": 1 << 20,
    "video_preprocessor_config.json": 1 << 20,
    "processor_config.json": 1 << 20,
    "generation_config.json": 1 << 20,
    "special_tokens_map.json": 1 << 20,
    "added_tokens.json": 4 << 20,
    "vocab.json": 64 << 20,
    "merges.txt": 64 << 20,
    "chat_template.json": 1 << 20,
    "chat_template.jinja": 1 << 20,
    INDEX: 64 << 20,
}
SPOKEN = {"README.md": 4 << 20, "LICENSE": 1 << 20}
"""name: most bytes. Where a licence is stated; nobody else reads them."""
HASHED_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that is whole and of a known architecture.

    files: the real path of every file that is used, by its name. config: of config.json. pre_tokenizer: declared by
    config.json's `"scene_r1": {"pre_tokenizer": …}`, None where llama.cpp is to know it. license: as it states itself.
    """

    folder: Path
    name: str
    architecture: Architecture
    config: Mapping[str, Any]
    files: Mapping[str, Path]
    weights: Weights
    pre_tokenizer: str | None
    license: str

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The text model's part of config.json; older checkpoints have it at the top."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the checkpoint, {} where it has none."""
        return read_json_object(self.files[name], READ[name]) if name in self.files else {}

    def stage(self, folder: Path) -> None:
        """Link the vetted files, and nothing else, into an empty folder."""
        for name, path in self.files.items():
            (folder / name).symlink_to(path)

    def sha256(self, advance: Callable[[int], None] = lambda _: None) -> str:
        """Of the contents of all used files by name, in whatever order the folder lists them. advance: called with the
        number of bytes that were read."""
        return sha256_of_files(self.files, advance)


def read_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Vet a checkpoint's folder; of the weights only headers are read.

    Raises BadModelFile for what is missing, cut short, no regular file, outside of the folder, of an architecture that
    is not exported, or at odds with config.json.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise BadModelFile(folder, "is not a folder: name the folder of a checkpoint")
    files = _files(root)
    for name in (CONFIG, TOKENIZER, "tokenizer_config.json", "preprocessor_config.json"):
        if name not in files:
            raise BadModelFile(root / name, "is missing: name the folder of a whole checkpoint")
        if "auto_map" in read_json_object(files[name], READ[name]):
            raise BadModelFile(root / name, "names programs to run (auto_map); checkpoints are data here")
    config = read_json_object(files[CONFIG], READ[CONFIG])
    architecture = architecture_of(root / CONFIG, config)
    weights = read_weights(root, files)
    used = {name: path for name, path in files.items() if name in READ or name in weights.files}
    check_tensors(root / CONFIG, architecture, config, weights)
    return Checkpoint(
        root,
        _name(root),
        architecture,
        config,
        used,
        weights,
        _declared_pre_tokenizer(root / CONFIG, config),
        license_of(files),
    )


def sha256_of_files(files: Mapping[str, Path], advance: Callable[[int], None] = lambda _: None) -> str:
    """One hash over many files: over lines of each file's sha256 and name, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{sha256_of(files[name], advance)}  {name}\n".encode())
    return total.hexdigest()


def sha256_of(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(HASHED_PIECE):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()


def _files(root: Path) -> dict[str, Path]:
    """Real paths of the files that may be used, by name. The cache of a model hub links `snapshots/X/file` to `blobs/`
    beside; any other way out of the folder is refused."""
    real = root.resolve()
    homes = [real, real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [real]
    sizes = {**READ, **SPOKEN}
    files: dict[str, Path] = {}
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        if entry.name not in sizes and not entry.name.endswith(".safetensors"):
            continue
        path = root / entry.name
        try:
            target = path.resolve(strict=True)
            regular = stat.S_ISREG(target.stat().st_mode)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise BadModelFile(path, f"leads nowhere: {getattr(error, 'strerror', None) or error}") from None
        if not any(target.is_relative_to(home) for home in homes):
            raise BadModelFile(path, "is a link that leads out of the checkpoint's folder: copy the file there")
        if not regular:
            raise BadModelFile(path, "is not a regular file")
        if target.stat().st_size > sizes.get(entry.name, 1 << 42):
            raise BadModelFile(path, f"is too large: {target.stat().st_size} bytes")
        files[entry.name] = target
    return files


def _declared_pre_tokenizer(path: Path, config: Mapping[str, Any]) -> str | None:
    ours = config.get("scene_r1", {})
    declared = ours.get("pre_tokenizer") if isinstance(ours, Mapping) else ours
    if declared is None:
        return None
    if not isinstance(declared, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", declared):
        raise BadModelFile(path, f"scene_r1.pre_tokenizer must be a name of llama.cpp's, is {str(declared)[:60]!r}")
    return declared


def _name(root: Path) -> str:
    """The folder's name; of a model hub's cache, that of the model."""
    owner = root.parent.parent.name
    hub = root.parent.name == "snapshots" and owner.startswith("models--")
    return owner.removeprefix("models--").replace("--", "/") if hub else root.name
