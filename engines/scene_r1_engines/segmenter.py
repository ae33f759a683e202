"""The Segmenter protocol, and the one table in which engines are found by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol, runtime_checkable

from scene_r1_engines.errors import BadConfig
from scene_r1_engines.settings_file import nearest
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

    def track(
        self, views: Iterable[View], prompts: Mapping[int, Prompt], hints: Mapping[int, Prompt] = {}
    ) -> Iterator[Masks]:
        """One object through many views: `prompts[view.id]` where it is known. One Masks of N = 1 for each view.

        hints: by view id, where it should be (its points reprojected from another view): weaker than a prompt, and
        used where the engine itself is not sure. `Masks.found_by` says what was. Raises BadPrompt as `segment`.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Segmenter: ...

    def __exit__(self, *exc: object) -> None: ...


SEGMENTERS: dict[str, tuple[str, str]] = {
    # name: (module, class); imported on use, so that a missing extra costs only who asks for it
    "depth_cut": ("scene_r1_engines.depth_cut", "DepthCut"),
    "sam2": ("scene_r1_engines.sam2.engine", "Sam2"),
}
FROM_FOLDER = ("sam2",)
"""Those that have weights, and so need the folder that holds them."""
BACKENDS = ("auto", "tensorrt", "tensorrt-ep", "cuda", "cpu")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a segmenter with weights is run.

    folder: with its graphs and `manifest.toml`. backend: what runs them: TensorRT with engines that lie beside the
    graphs, or ONNX Runtime with its provider of that name; "auto": the first of tensorrt, cuda and cpu that can.
    max_feature_mb: of memory for what encoded pictures leave; the longest unused are forgotten. A picture of 1024 px
    takes 17 MB in float32, so the default holds 16 keyframes and the picture that is asked about. threads: on the CPU,
    None for the runtime's own choice.
    """

    folder: str | None = None
    backend: str = "auto"
    max_feature_mb: int = 320
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise BadConfig(f"there is no backend {self.backend[:60]!r}; {nearest(self.backend, BACKENDS)}")
        if not 1 <= self.max_feature_mb <= 1 << 20:
            raise BadConfig(f"max_feature_mb must be in 1..{1 << 20}, got {self.max_feature_mb}")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise BadConfig(f"threads must be in 1..1024, got {self.threads}")


def is_folder(named: str) -> bool:
    """Whether a segmenter is named by a folder: what is no name of the table, and is there or has a separator."""
    return named not in SEGMENTERS and (os.sep in named or os.path.exists(named))


def check_name(name: str) -> None:
    """Raises BadConfig for a name that is not in the table."""
    if name not in SEGMENTERS:
        raise BadConfig(f"there is no segmenter {name[:60]!r}; {nearest(name, SEGMENTERS)}")


def open_segmenter(named: str, settings: ModelSettings | None = None) -> Segmenter:
    """The segmenter of that name, or the one whose model lies in the folder of that name.

    settings: for one with weights; the defaults where there are none. Raises BadConfig for an unknown name and where a
    folder is missing, MissingExtra where a package is absent, BadModelFile for a folder that cannot be vouched for,
    EngineFailed where its backend does not work here.
    """
    given = settings or ModelSettings()
    if is_folder(named):
        named, given = "sam2", replace(given, folder=named)
    check_name(named)
    module, attribute = SEGMENTERS[named]
    if named in FROM_FOLDER and given.folder is None:
        raise BadConfig(f"the segmenter {named} needs the folder of its model: name that, or segmenter.folder")
    if named in FROM_FOLDER:
        from scene_r1_engines.sam2.backend import open_sam2  # on use, as the engines themselves

        return open_sam2(given)
    engine: Segmenter = getattr(import_module(module), attribute)()
    return engine
