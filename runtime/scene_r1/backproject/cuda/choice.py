"""Where a projector works: on the CPU, on the GPU, or wherever a frame is done sooner."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import Final

from scene_r1_engines.errors import BadConfig, EngineFailed, MissingExtra
from scene_r1_engines.settings_file import nearest

DEVICES = ("cpu", "auto", "cuda")
WORTH_PIXELS: Final = 1 << 20
"""Depth pixels from which `auto` asks the GPU. Reckoned, not measured: the CPU's kernel takes about 3 ns a pixel, and a
discrete GPU's copies about 2 ns a pixel and some 0.2 ms of launches for each call."""
log = logging.getLogger(__name__)


def check_device(device: str) -> None:
    """Raises BadConfig for a device that there is not; MissingExtra or EngineFailed where `cuda` cannot be had."""
    if device not in DEVICES:
        raise BadConfig(f"there is no device {device[:60]!r}; {nearest(device, DEVICES)}")
    if device == "cuda":
        why = trouble()
        if why and not _importable():
            raise MissingExtra("cuda", "back-projection on the GPU", why)
        if why:
            raise EngineFailed(f"back-projection on the GPU cannot start ({why}): mend the driver, or use the CPU")


@cache
def trouble() -> str:
    """Why no CUDA GPU can be used, in one line; empty where one can. Looked at once for the process, logged once."""
    try:
        cuda = import_module("numba.cuda")
        cuda.get_current_device()
        return ""
    except Exception as error:  # noqa: BLE001 - a driver breaks in its own ways, and none of them may break the CPU's path
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = f"{type(error).__name__}: {' '.join(lines)[:200]}"
    log.warning("no CUDA GPU can be used, the CPU does its work: %s", why)
    return why


def _importable() -> bool:
    try:
        import_module("numba.cuda")
    except ImportError:
        return False
    return True
