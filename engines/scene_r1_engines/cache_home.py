"""Where what can be made again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path | None:
    """$XDG_CACHE_HOME/scene-r1-edge, or that of ~/.cache; None where there is neither. It need not exist."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(given):  # the standard says to take no notice of a relative one
        given = os.path.expanduser("~/.cache")
    return Path(given, "scene-r1-edge") if os.path.isabs(given) else None
