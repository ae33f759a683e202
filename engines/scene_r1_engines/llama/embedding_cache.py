"""What a reasoner keeps on disk between runs: embeddings by the picture's content, and the last whole prefix."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scene_r1_engines.errors import BadConfig, EngineFailed
from scene_r1_engines.llama.context import LlamaContext
from scene_r1_engines.llama.library import library
from scene_r1_engines.llama.model import Embedded
from scene_r1_engines.llama.prefix import PREFIX, Prefix
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.llama.watchlist import Watched
from scene_r1_engines.manifest import Manifest

log = logging.getLogger(__name__)

INDEX = "prefix.json"
MAX_INDEX_BYTES = 1 << 16
HEADER = struct.Struct("<8s3I32s")
"""Of an embedding's file: MAGIC, rows and columns of patches, floats of a patch, and the sha256 of the floats and of
rows and columns; then the floats, little-endian float32."""
MAGIC = b"sr1-emb1"
KEPT_FOR_EACH = 2
"""Embeddings in the folder for each keyframe that is held, so that a camera that never stops does not fill the disk."""
STALE_S = 3600.0
"""A file that another run left half-written, as after a power cut, is removed once it is so old."""


class EmbeddingCache:
    """A folder that may be deleted at any time. Everything in it is keyed by what it was made from, so that another
    model, picture or setting misses instead of being served something stale; a damaged file is a miss too.

    A disk that is full or read-only costs the cache, not the answer: it is logged once.
    """

    def __init__(self, folder: str, manifest: Manifest, settings: LlamaSettings) -> None:
        """Raises BadConfig when the folder cannot be made."""
        self._folder = Path(folder)
        self._made_by = library().version
        self._tower = manifest.mmproj.sha256
        self._settings = settings
        self._saved_key = ""
        self._manifest = manifest
        self._warned = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadConfig(f"cache {folder}: cannot be made ({error.strerror}): name a folder to write to") from None
        for path in self._folder.glob("*.part"):
            self._remove(path, older_than_s=STALE_S)

    def get(self, picture: str, width: int) -> Embedded | None:
        """The embedding of a picture by its digest; width: of a row. None for a miss."""
        try:
            with open(self._embedding(picture), "rb") as file:
                magic, ny, nx, wide, checksum = HEADER.unpack(file.read(HEADER.size))
                nbytes = ny * nx * width * 4
                if magic != MAGIC or wide != width or os.fstat(file.fileno()).st_size != HEADER.size + nbytes:
                    return None
                data = file.read(nbytes)
        except (OSError, struct.error):
            return None
        if _checksum(ny, nx, data) != checksum:
            return None
        return Embedded(np.frombuffer(data, np.dtype("<f4")).reshape(ny * nx, width), nx, ny)

    def put(self, picture: str, embedded: Embedded) -> None:
        """Keep the embedding of a picture."""
        data = np.ascontiguousarray(embedded.rows, "<f4").tobytes()
        ny, nx, width = embedded.ny, embedded.nx, embedded.rows.shape[1]
        head = HEADER.pack(MAGIC, ny, nx, width, _checksum(ny, nx, data))
        self._write(self._embedding(picture), lambda part: part.write_bytes(head + data))
        kept = sorted(self._folder.glob("*.embedding"), key=_written_at)
        for path in kept[: -KEPT_FOR_EACH * self._settings.keyframes]:
            self._remove(path)

    def save_prefix(self, context: LlamaContext, wanted: Sequence[Watched]) -> None:
        """Keep the prefix over these keyframes, which the context holds, and of the embeddings only theirs."""
        key = self._key(wanted)
        if not wanted or key == self._saved_key or self._index().get("key") == key:
            return
        self._saved_key = key  # also where it fails: a full disk is not tried again for the same
        state, index = self._state(key), {"key": key}

        def write(part: Path) -> None:
            context.save(str(part), PREFIX)
            index.update(sha256=_file_checksum(part), bytes=str(part.stat().st_size))

        if not self._write(state, write):
            return
        if not self._write(self._folder / INDEX, lambda part: part.write_text(json.dumps(index))):
            return
        kept = {state, *(self._embedding(one.digest) for one in wanted)}
        for path in (*self._folder.glob("*.embedding"), *self._folder.glob("*.state")):
            if path not in kept:
                self._remove(path)

    def load_prefix(self, prefix: Prefix, context: LlamaContext, wanted: Sequence[Watched]) -> bool:
        """Take the saved prefix into an empty context, where it is that of these keyframes. Returns whether it was."""
        index, key = self._index(), self._key(wanted)
        # Its name is its key, so that a state that another process puts there in the meantime is the same one.
        state = self._state(key)
        if not wanted or index.get("key") != key:
            return False
        try:
            sound = str(state.stat().st_size) == index.get("bytes") and _file_checksum(state) == index.get("sha256")
        except OSError:
            sound = False
        if not sound:
            log.warning("%s is damaged and is made again", state)
            self._remove(self._folder / INDEX)
            return False
        pictures = {one.keyframe_id: one.embedded for one in wanted}

        def picture(keyframe_id: int) -> Embedded:
            embedded = pictures[keyframe_id]
            assert embedded is not None
            return embedded

        adopted = prefix.adopt(
            [one.shown for one in wanted], picture, lambda cells: context.load(str(state), PREFIX, cells)
        )
        if not adopted:
            self._remove(self._folder / INDEX)
        return adopted

    def _embedding(self, picture: str) -> Path:
        name = hashlib.sha256(f"{self._made_by} {self._tower} {picture}".encode()).hexdigest()
        return self._folder / f"{name}.embedding"

    def _state(self, key: str) -> Path:
        return self._folder / f"{key}.state"

    def _key(self, wanted: Sequence[Watched]) -> str:
        """Changes with anything that the cells depend on."""
        said = [
            self._made_by,
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

    def _write(self, path: Path, write: Callable[[Path], object]) -> bool:
        """Whole or not at all; returns whether it is there."""
        part = None
        try:
            descriptor, part = tempfile.mkstemp(".part", dir=self._folder)
            os.close(descriptor)
            write(Path(part))
            os.replace(part, path)
        except (OSError, EngineFailed) as error:  # llama.cpp does not say that it was the disk
            self._warn(error)
            return False
        finally:
            if part is not None:
                self._remove(Path(part))
        return True

    def _remove(self, path: Path, older_than_s: float = -math.inf) -> None:
        try:
            if time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()
        except FileNotFoundError:
            pass  # it was moved to its place, or another process was quicker
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError | EngineFailed) -> None:
        if not self._warned:
            log.warning("the cache in %s is not written: %s", self._folder, error)
            self._warned = True


def _checksum(ny: int, nx: int, data: bytes) -> bytes:
    whole = hashlib.sha256(struct.pack("<2I", ny, nx))
    whole.update(data)
    return whole.digest()


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _file_checksum(path: Path) -> str:
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()
