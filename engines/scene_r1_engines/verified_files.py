"""The memory of model files whose hash was verified, so that gigabytes are not read again at each start."""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from scene_r1_engines.cache_home import cache_home
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.gguf_file import open_model_file

log = logging.getLogger(__name__)

Identity = tuple[int, int, int, int, int]
"""device, inode, size, mtime_ns, ctime_ns: whoever changes a file's bytes changes one of them."""

MOST_REMEMBERED = 64
MOST_BYTES = 64 << 10
SETTLED_NS = 2_000_000_000
"""A file that was changed so lately is not remembered: one more change may fall into the same tick of its clock."""


def identity_of(facts: os.stat_result) -> Identity:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def was_verified(identity: Identity, sha256: str) -> bool:
    """Whether this very file was seen to have this hash. No, where the memory is missing, damaged or another user's."""
    return _remembered().get(_key(identity)) == sha256


def remember_verified(identity: Identity, sha256: str) -> None:
    """Take note of a file's hash, in $XDG_CACHE_HOME/scene-r1-edge; the oldest is forgotten beyond MOST_REMEMBERED.

    That it cannot be written only costs time at the next start, so it is logged and no error.
    """
    path = _memory_path()
    if path is None or time.time_ns() - max(identity[3:]) < SETTLED_NS:
        return
    memory = _remembered()
    memory.pop(_key(identity), None)
    memory[_key(identity)] = sha256
    newest = dict(list(memory.items())[-MOST_REMEMBERED:])
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.json")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(newest, file, indent=1)
        os.replace(temporary, path)
    except OSError as error:
        log.info("%s: verified files are not remembered (%s)", path, error.strerror or error)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _key(identity: Identity) -> str:
    return "-".join(str(number) for number in identity)


def _memory_path() -> Path | None:
    """Where the memory is; None where there is no place for it."""
    home = cache_home()
    return None if home is None else home / "vouched.json"


def _remembered() -> dict[str, str]:
    """sha256 by identity; the latest last."""
    path = _memory_path()
    if path is None:
        return {}
    try:
        with open_model_file(path) as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o022 or facts.st_size > MOST_BYTES:
                return {}
            memory = json.loads(file.read(MOST_BYTES))
    except (BadModelFile, OSError, ValueError, RecursionError):
        return {}
    if not isinstance(memory, dict) or not all(isinstance(one, str) for one in memory.values()):
        return {}
    return memory
