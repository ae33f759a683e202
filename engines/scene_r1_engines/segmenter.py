"""The Segmenter protocol, and the one table in which engines are found by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Protocol, runtime_checkable

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.view import Masks, Prompt, View


@runtime_checkable
class Segmenter(Protocol):
    """Turns prompts into masks. A context manager; `close()` twice is fine.

    name: as in the table, and as every answer names the engine it came from.
    degraded: True when the engine is a stand-in for a learned one, and its answers must say so.
    """

    @property
    def name(self) -> str: ...

    @property
    def degraded(self) -> bool: ...

    def segment(self, view: View, prompts: Sequence[Prompt]) -> Masks:
        """Masks of one view, one for each prompt. Raises BadPrompt for a prompt that is not in the image."""
        ...

    def track(self, views: Iterable[View], prompts: Mapping[int, Prompt]) -> Iterator[Masks]:
        """One object through many views: `prompts[view.id]` where it is known. One Masks of N = 1 for each view."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Segmenter: ...

    def __exit__(self, *exc: object) -> None: ...


SEGMENTERS: dict[str, tuple[str, str]] = {
    # name: (module, class); imported on use, so that a missing extra costs only who asks for it
    "depth_cut": ("scene_r1_engines.depth_cut", "DepthCut"),
}


def open_segmenter(name: str) -> Segmenter:
    """The segmenter of that name. Raises BadConfig for an unknown one, MissingExtra where its package is absent."""
    if name not in SEGMENTERS:
        raise BadConfig(f"unknown segmenter {name!r}; known: {', '.join(sorted(SEGMENTERS))}")
    module, attribute = SEGMENTERS[name]
    engine: Segmenter = getattr(import_module(module), attribute)()
    return engine
