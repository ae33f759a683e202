"""Many SAM2 engines one after the other on graphs that are loaded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.folder import open_folder
from scene_r1_engines.sam2.module import Module, Value


class Lent:
    """A graph that many engines use one after the other, and what it made of each picture: loading and encoding take
    longer than all else that is tried here."""

    def __init__(self, module: Module) -> None:
        self.backend, self._module = module.backend, module
        self._encoded: dict[bytes, dict[str, Value]] = {}

    def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        if "image" not in feeds:
            return self._module.run(feeds, keep)
        picture = np.asarray(feeds["image"]).tobytes()
        if picture not in self._encoded:
            self._encoded[picture] = self._module.run(feeds, keep)
        return dict(self._encoded[picture])

    def close(self) -> None:
        """It is its lender's to close."""


@contextmanager
def lent_engines(folder: Path) -> Iterator[Callable[[], Sam2]]:
    """What opens an engine of that folder, as often as it is called."""
    with open_folder(folder, threads=1) as loaded:
        graphs = loaded.manifest.graphs
        files = {graphs[part].file: Lent(module) for part, module in loaded.modules.items()}
        yield lambda: Sam2(folder, open_module=lambda path, graph: files[path.name])
