"""How long kernels took when they were tried: kept, so that the next build on this GPU need not try them again."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

from scene_r1.files import whole_file
from scene_r1_engines.cache_home import cache_home
from scene_r1_engines.tensorrt_module.sidecar import Machine

MOST_BYTES: Final = 256 << 20
log = logging.getLogger(__name__)


def cache_file(folder: Path | None, machine: Machine) -> Path | None:
    """The cache of this TensorRT on this GPU; one for each, since what one measured means nothing to another.

    folder: that of $XDG_CACHE_HOME/scene-r1-edge if None; None comes back where there is no place at all.
    """
    home = folder if folder is not None else cache_home()
    if home is None:
        return None
    words = (machine.tensorrt, machine.gpu, machine.compute_capability, str(machine.multiprocessors))
    return home / f"tensorrt-{'-'.join(re.sub(r'[^A-Za-z0-9.]+', '_', word)[:60] for word in words)}.timing"


def attach(log_: Any, config: Any, path: Path | None) -> Any:
    """Give a build the cache of a file, or an empty one where that is missing, damaged or of another machine.

    Returns the cache, which must live until the build is done.
    """
    data = _read(path) if path is not None else b""
    cache = config.create_timing_cache(data)
    if data and (cache is None or not config.set_timing_cache(cache, False)):
        log.warning("%s: is no timing cache of this TensorRT and GPU, a new one is begun", path)
        cache, data = config.create_timing_cache(b""), b""
    if not data and cache is not None:
        config.set_timing_cache(cache, False)
    log_.errors.clear()
    return cache


def keep(config: Any, path: Path | None) -> None:
    """Write down what a build has measured. That it cannot be written costs only time, so it is logged and no error."""
    cache = config.get_timing_cache()
    if path is None or cache is None:
        return
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))
    except OSError as error:
        log.warning("%s: the timing cache is not kept (%s)", path, error.strerror or error)


def _read(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return path.read_bytes()
    except OSError as error:
        log.warning("%s: the timing cache cannot be read (%s)", path, error.strerror or error)
    return b""
