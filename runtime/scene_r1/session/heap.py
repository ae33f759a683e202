"""What a question has used and freed, given back to the machine that the model shares."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Hand what the allocator holds and nobody uses to the system: 40 MB after a thing was found, in 2 ms. Nothing
    happens with an allocator other than glibc's."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
