"""The eight models of the package `sam2`, by the short names that people know them by."""

from __future__ import annotations

import difflib

from scene_r1_engines.errors import BadConfig

CONFIGS = {
    f"{family}_hiera_{size}": f"configs/{family}/{family}_hiera_{size}.yaml"
    for family in ("sam2", "sam2.1")
    for size in ("t", "s", "b+", "l")
}
"""name: the package's own configuration file."""
TRUNKS = {
    # (channels of the first stage, blocks in all): what the name says of the size
    (96, 12): "t",
    (96, 16): "s",
    (112, 24): "b+",
    (144, 48): "l",
}
INPUTS_PX = (1024, 768, 512, 256)
"""Sides of the square that a model may be exported for. All were trained at 1024; 256 is for tests."""


def config_file(name: str) -> str:
    """The package's configuration of that name. Raises BadConfig naming the nearest known one."""
    if name in CONFIGS:
        return CONFIGS[name]
    near = difflib.get_close_matches(name, CONFIGS, 1, 0.0)
    raise BadConfig(f"unknown config {name[:80]!r}: did you mean {near[0]}? known: {', '.join(CONFIGS)}")


def check_input_px(input_px: int) -> None:
    """Raises BadConfig for a side that no export is made for."""
    if input_px not in INPUTS_PX:
        raise BadConfig(f"--input-px must be one of {', '.join(map(str, INPUTS_PX))}, got {input_px}")
