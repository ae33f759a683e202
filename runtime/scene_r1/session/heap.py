"""What a question has used and freed, given back to the machine that the model shares."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> bool:
    """Hand what the allocator holds and nobody uses to the system: 40 MB after a thing was found, in 2 ms. Whether
    there was any; always False with an allocator other than glibc's, which is asked nothing."""
    trim = _trim()
    return trim is not None and bool(trim(0))


@cache
def _trim() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
