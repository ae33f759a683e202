"""`scene-r1 warmup`: compile the kernels now, so that the first frame need not wait."""

from __future__ import annotations

import argparse

from scene_r1.cli import OK
from scene_r1.warmup import warm_up


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compile every kernel for this processor and keep the result in numba's cache (NUMBA_CACHE_DIR, else beside "
        "the sources, else the user's cache folder). Once after installing, and again after an update."
    )


def run(args: argparse.Namespace) -> int:
    for name, seconds in warm_up():
        print(f"{name:<14} {seconds:6.2f} s")
    return OK
