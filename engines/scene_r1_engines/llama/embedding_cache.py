"""What a reasoner keeps on disk between runs: embeddings by the picture's content, and the last whole prefix."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.model import Embedded
from scene_r1_engines.llama.prefix import PREFIX, Prefix
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.llama.watchlist import Watched
from scene_r1_engines.manifest import Manifest

log = logging.getLogger(__name__)

STATE, INDEX = "prefix.state", "prefix.json"
MAX_INDEX_BYTES = 1 << 16


class EmbeddingCache:
    """A folder that may be deleted at any time. Everything in it is keyed by what it was made from, so that another
    model, picture or setting misses instead of being served something stale; a damaged file is a miss too.

    A disk that is full or read-only costs the cache, not the answer: it is logged once.
    """

    def __init__(self, folder: str, manifest: Manifest, settings: LlamaSettings) -> None:
        """Raises BadConfig when the folder cannot be made."""
        self._folder = Path(folder)
        self._tower = manifest.mmproj.sha256
        self._settings = settings
        self._manifest = manifest
        self._warned = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadConfig(f"cache {folder}: cannot be made ({error.strerror}): name a folder to write to") from None

    def get(self, picture: str, width: int) -> Embedded | None:
        """The embedding of a picture by its digest; width: of a row. None for a miss."""
        path = self._embedding(picture)
        try:
            with open(path, "rb") as file:
                ny, nx = (int(n) for n in np.load(file, allow_pickle=False))
                rows = np.load(file, allow_pickle=False)
                checksum = file.read(64).decode("ascii")
        except (OSError, ValueError, EOFError, TypeError):
            return None
        if rows.dtype != np.float32 or rows.shape != (ny * nx, width) or checksum != _checksum(rows):
            return None
        rows.flags.writeable = False
        return Embedded(rows, nx, ny)

    def put(self, picture: str, embedded: Embedded) -> None:
        """Keep the embedding of a picture."""

        def write(file: IO[bytes]) -> None:
            np.save(file, np.array([embedded.ny, embedded.nx]), allow_pickle=False)
            np.save(file, embedded.rows, allow_pickle=False)
            file.write(_checksum(embedded.rows).encode())

        self._write(self._embedding(picture), write)

    def save_prefix(self, prefix: Prefix, context: LlamaContext, wanted: Sequence[Watched]) -> None:
        """Keep the prefix over these keyframes, and of the embeddings only theirs."""
        key = self._key(wanted)
        if self._index().get("key") == key:
            return
        state = self._folder / STATE
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as beside:
                written = Path(beside) / STATE
                context.save(str(written), PREFIX)
                index = {"key": key, "sha256": _file_checksum(written), "bytes": written.stat().st_size}
                (self._folder / INDEX).unlink(missing_ok=True)  # never an index of another state
                os.replace(written, state)
        except OSError as error:
            self._warn(error)
            return
        self._write(self._folder / INDEX, lambda file: file.write(json.dumps(index).encode()))
        kept = {self._embedding(one.digest).name for one in wanted}
        for path in self._folder.glob("*.embedding"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def load_prefix(self, prefix: Prefix, context: LlamaContext, wanted: Sequence[Watched]) -> bool:
        """Take the saved prefix into an empty context, where it is that of these keyframes. Returns whether it was."""
        index = self._index()
        state = self._folder / STATE
        if not wanted or index.get("key") != self._key(wanted):
            return False
        try:
            if state.stat().st_size != index.get("bytes") or _file_checksum(state) != index.get("sha256"):
                log.warning("%s is damaged and is made again", state)
                return False
        except OSError:
            return False
        pictures = {one.keyframe_id: one.embedded for one in wanted}

        def picture(keyframe_id: int) -> Embedded:
            embedded = pictures[keyframe_id]
            assert embedded is not None
            return embedded

        return prefix.adopt(
            [one.shown for one in wanted], picture, lambda cells: context.load(str(state), PREFIX, cells)
        )

    def _embedding(self, picture: str) -> Path:
        name = hashlib.sha256(f"{self._tower} {picture}".encode()).hexdigest()
        return self._folder / f"{name}.embedding"

    def _key(self, wanted: Sequence[Watched]) -> str:
        """Changes with anything that the cells depend on."""
        said = [
            self._manifest.text.sha256,
            self._tower,
            self._settings.kv_type,
            self._settings.flash_attention,
            self._settings.batch,
            repr(self._manifest.time),
            self._manifest.prompt.system,
            [(one.keyframe_id, one.digest, one.timestamp_s) for one in wanted],
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _index(self) -> dict[str, object]:
        try:
            with open(self._folder / INDEX, "rb") as file:
                index = json.loads(file.read(MAX_INDEX_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return index if isinstance(index, dict) else {}

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        """Whole or not at all."""
        name = None
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                name = file.name
                write(file)
            os.replace(name, path)
        except OSError as error:
            if name is not None:
                Path(name).unlink(missing_ok=True)
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            log.warning("the cache in %s is not written: %s", self._folder, error.strerror or error)
            self._warned = True


def _checksum(rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def _file_checksum(path: Path) -> str:
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()
