"""Sam2 on the four small graphs of `tiny_sam2`, each of which notes what it is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from scene_r1_engines.errors import DeviceOutOfMemory
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.onnx_module import OnnxModule
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.extents import extents_of
from scene_r1_engines.sam2.manifest import GraphFile, read_sam2_manifest
from scene_r1_engines.sam2.module import Module, Value
from scene_r1_engines.view import Prompt, View

H, W = 48, 64
BOX = Prompt(xyxy=(8.0, 6.0, 40.0, 30.0))
POINT = Prompt(points_xy=np.array([[20, 20]], np.float32), points_label=np.ones(1, np.int8))


def view(id: int, seed: int | None = None, hw: tuple[int, int] = (H, W)) -> View:
    """Bright, so that the small decoder's masks, which are its mean features, lie above 0."""
    image = np.random.default_rng(id if seed is None else seed).integers(150, 255, (*hw, 3), np.uint8)
    return View(id, image, None, Intrinsics(60.0, 60.0, hw[1] / 2, hw[0] / 2, hw[1], hw[0]))


class Watched:
    """A real module that notes what it is asked, and may be out of room for many memories."""

    def __init__(self, module: Module, most_memories: int) -> None:
        self.module, self.most_memories = module, most_memories
        self.shapes: list[dict[str, tuple[int, ...]]] = []

    @property
    def backend(self) -> str:
        return self.module.backend

    def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
        self.shapes.append({name: tuple(value.shape) for name, value in feeds.items()})
        if "mem" in feeds and feeds["mem"].shape[1] > self.most_memories:
            raise DeviceOutOfMemory(f"no room for {feeds['mem'].shape[1]} memories")
        return self.module.run(feeds, keep)

    def close(self) -> None:
        self.module.close()


def watched(
    folder: Path, most_memories: int = 99, kind: type[Watched] = Watched, **settings: float
) -> tuple[Sam2, dict[str, Watched]]:
    manifest = read_sam2_manifest(folder)
    modules: dict[str, Watched] = {}

    def open_module(path: Path, graph: GraphFile) -> Module:
        extents = extents_of(manifest, path.stem)
        modules[path.stem] = kind(OnnxModule(path, graph, extents, threads=1), most_memories)
        return modules[path.stem]

    return Sam2(folder, open_module=open_module, **settings), modules  # type: ignore[arg-type]


def runs(module: Watched) -> int:
    return len(module.shapes)
