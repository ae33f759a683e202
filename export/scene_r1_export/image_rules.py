"""The picture rules of a checkpoint: sizes its preprocessor_config.json allows, within what llama.cpp can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.manifest import ImageRules
from scene_r1_export.architecture import Architecture
from scene_r1_export.checkpoint import Checkpoint

LEAST_TOKENS, MOST_TOKENS = 8, 4096
"""Of a picture in llama.cpp, whatever the checkpoint says; its files carry no such limit for these families."""


def image_rules(checkpoint: Checkpoint, box_space: str | None, grounding_pixels: int | None) -> ImageRules:
    """What the manifest says of pictures. box_space: None for that of the published models.

    Raises BadModelFile for limits that make no sense, BadConfig for a wish outside of them.
    """
    path = checkpoint.folder / "preprocessor_config.json"
    given = checkpoint.json(path.name)
    architecture = checkpoint.architecture
    _check_processing(path, given, architecture)
    multiple = 2 * architecture.patch_size
    least, most = _pixels(path, given)
    floor, ceiling = LEAST_TOKENS * multiple**2, MOST_TOKENS * multiple**2
    if not 0 < least <= most or least > ceiling or most < floor:
        raise BadModelFile(path, f"allows pictures of {least} to {most} pixels; llama.cpp has {floor} to {ceiling}")
    least, most = max(least, floor), min(most, ceiling)
    if grounding_pixels is not None and not least <= grounding_pixels <= most:
        raise BadConfig(f"--grounding-pixels must lie in {least}..{most} for this checkpoint, got {grounding_pixels}")
    return ImageRules(multiple, least, most, box_space or architecture.box_space, grounding_pixels)


def _pixels(path: Path, given: Mapping[str, Any]) -> tuple[int, int]:
    """The smallest and the largest number of pixels. Newer files say it as `size`, in spite of the names there."""
    size = given.get("size")
    size = size if isinstance(size, Mapping) else {}
    least, most = given.get("min_pixels"), given.get("max_pixels")  # also there and null
    least = size.get("shortest_edge") if least is None else least
    most = size.get("longest_edge") if most is None else most
    return _count(path, least), _count(path, most)


def _count(path: Path, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 40:
        raise BadModelFile(path, f"says no min_pixels and max_pixels, or impossible ones: {str(value)[:40]}")
    return value


def _check_processing(path: Path, given: Mapping[str, Any], architecture: Architecture) -> None:
    """llama.cpp takes mean and deviation from the file, but the rest as it is for the published models."""
    expected = {"patch_size": architecture.patch_size, "merge_size": 2, "temporal_patch_size": 2}
    for name, value in expected.items():
        if given.get(name, value) != value:
            raise BadModelFile(path, f"{name} is {str(given[name])[:40]}, not {architecture.family}'s {value}")
    for name in ("image_mean", "image_std"):
        values = given.get(name)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(isinstance(one, int | float) and 0.0 <= one <= 1.0 for one in values)
            or (name == "image_std" and 0.0 in values)
        ):
            raise BadModelFile(path, f"{name} must be three numbers in 0..1, is {str(values)[:80]}")
