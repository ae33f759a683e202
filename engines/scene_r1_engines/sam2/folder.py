"""A SAM2 folder: its four graphs are vouched for, then opened with the backend that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.folder_file import FolderFile, check_hashes, check_same_file, open_in_folder
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.onnx_module.graph_file import GraphValue, OnnxGraph, read_open_onnx
from scene_r1_engines.onnx_module.module import OnnxModule
from scene_r1_engines.sam2.extents import extents_of
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest, TensorSpec, read_sam2_manifest
from scene_r1_engines.sam2.module import Module

ONNX_BACKENDS = {"cpu": "cpu", "cuda": "cuda", "tensorrt-ep": "tensorrt"}
"""Ours: the provider of ONNX Runtime."""
BACKENDS = (*ONNX_BACKENDS, "tensorrt")
NEEDED = {
    # part: what whoever runs the four asks it for
    "image_encoder": ("feat",),
    "mask_decoder": ("low", "iou", "ptr", "score"),
    "memory_encoder": ("mem",),
    "memory_attention": ("feat_mem",),
}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class VouchedSam2:
    """A SAM2 folder that is what its manifest says. paths: absolute, without links; graphs: their structure; both by
    the names of PARTS. identities: of the files that were looked at."""

    manifest: Sam2Manifest
    paths: Mapping[str, Path]
    graphs: Mapping[str, OnnxGraph]
    identities: Mapping[str, tuple[int, int, int, int, int]]

    def check_unchanged(self) -> None:
        """To be called once native code has loaded the files: raises BadModelFile when one is no longer the file that
        was vouched for."""
        for part, path in self.paths.items():
            check_same_file(path, self.identities[part])


def vouch_sam2(
    folder: str | os.PathLike[str], verify_hashes: bool = True, progress: Progress | None = None
) -> VouchedSam2:
    """The files of a SAM2 folder, once they are what its manifest says: there, whole, with all weights inside, of
    standard operators, taking and giving what it says, of one model, unchanged.

    verify_hashes: also compare the SHA-256 of all four; one that was verified before and not touched since is not read
    again. progress: called with the bytes that are hashed and those there are to hash. Raises BadModelFile.
    """
    manifest = read_sam2_manifest(folder)
    _check_manifest(manifest, Path(folder) / MANIFEST)
    root = os.path.realpath(folder)
    with ExitStack() as stack:
        opened: dict[str, FolderFile] = {}
        for part, graph in manifest.graphs.items():
            opened[part] = stack.enter_context(open_in_folder(root, graph))
            opened[part].check_size()
        found = {part: read_open_onnx(one) for part, one in opened.items()}
        for part, structure in found.items():
            _check_graph(manifest, part, structure)
        if verify_hashes:
            check_hashes(tuple(opened.values()), progress)
        paths = {part: Path(one.path) for part, one in opened.items()}
        return VouchedSam2(manifest, paths, found, {part: one.identity for part, one in opened.items()})


@dataclass(frozen=True, slots=True)
class Sam2Folder:
    """The four modules of a folder by the names of PARTS, loaded. A context manager; `close()` twice is fine."""

    manifest: Sam2Manifest
    modules: Mapping[str, Module]

    def close(self) -> None:
        for module in self.modules.values():
            module.close()

    def __enter__(self) -> Sam2Folder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_folder(
    folder: str | os.PathLike[str],
    backend: str = "cpu",
    *,
    verify_hashes: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Sam2Folder:
    """A SAM2 folder, vouched for and loaded.

    backend: `cpu`, `cuda`, `tensorrt-ep` (the providers of ONNX Runtime), or `tensorrt` (engines that were built
    beside the graphs, on this machine). verify_hashes, progress: as of `vouch_sam2`; engines are always verified, and
    their graphs not read. threads: of the CPU, those this process may use if None.

    Raises BadConfig for an unknown backend, BadModelFile, MissingExtra, EngineFailed, DeviceOutOfMemory; what was
    opened by then is closed.
    """
    if backend not in BACKENDS:
        raise BadConfig(f"unknown backend {backend[:40]!r}; known: {', '.join(BACKENDS)}")
    if backend == "tensorrt":
        from scene_r1_engines.tensorrt_module import open_engines

        manifest = read_sam2_manifest(folder)
        _check_manifest(manifest, Path(folder) / MANIFEST)
        return Sam2Folder(manifest, open_engines(folder, manifest))
    found = vouch_sam2(folder, verify_hashes, progress)
    with ExitStack() as stack:
        modules: dict[str, Module] = {}
        for part, graph in found.manifest.graphs.items():
            extents = extents_of(found.manifest, part)
            modules[part] = OnnxModule(found.paths[part], graph, extents, ONNX_BACKENDS[backend], threads)
            stack.callback(modules[part].close)
        found.check_unchanged()
        stack.pop_all()
    return Sam2Folder(found.manifest, modules)


def _check_manifest(manifest: Sam2Manifest, path: Path) -> None:
    """The four graphs are said to fit each other: what one gives is what another takes."""
    for part in PARTS:
        graph, letters = manifest.graphs[part], extents_of(manifest, part)
        lacking = set(NEEDED[part]) - {spec.name for spec in graph.gives}
        if lacking:
            raise BadModelFile(path, f"{part} gives no {', '.join(sorted(lacking))}: export it again")
        taken = _letters(graph.takes)
        if unknown := sorted(taken - letters.keys()):
            raise BadModelFile(path, f"{part} takes the letter {unknown[0]}, known are {', '.join(letters)}")
        if free := sorted(_letters(graph.gives) - taken):
            raise BadModelFile(path, f"{part} gives the letter {free[0]}, which none of its inputs has")
    side = ("B", 3, manifest.input_px, manifest.input_px)
    image = {spec.name: spec.shape for spec in manifest.image_encoder.takes}
    if image != {"image": side}:
        raise BadModelFile(path, f"image_encoder must take one image {' '.join(map(str, side))}, got {image}")
    given = {spec.name: spec.shape for spec in manifest.image_encoder.gives}
    features = {"feat_mem": given["feat"], **given}
    for part in PARTS[1:]:
        for spec in (*manifest.graphs[part].takes, *manifest.graphs[part].gives):
            if spec.shape != features.get(spec.name, spec.shape):
                want = " ".join(map(str, features[spec.name]))
                raise BadModelFile(path, f"{part} has {spec}, the image_encoder gives {want}: it is another model's")
    memory = {spec.name: spec.shape[1:] for spec in manifest.memory_encoder.gives}["mem"]
    if memory != (manifest.memory.channels, *given["feat"][2:]):
        raise BadModelFile(path, f"memory_encoder gives mem of {memory}, memory.channels is {manifest.memory.channels}")


def _letters(specs: Iterable[TensorSpec]) -> set[str]:
    return {one for spec in specs for one in spec.shape if isinstance(one, str)}


def _check_graph(manifest: Sam2Manifest, part: str, graph: OnnxGraph) -> None:
    """The file takes and gives what its manifest says, in that order."""
    said = manifest.graphs[part]
    if graph.opset != manifest.opset:
        raise BadModelFile(graph.path, f"has opset {graph.opset}, its manifest says {manifest.opset}: export it again")
    for what, specs, values in (("takes", said.takes, graph.inputs), ("gives", said.gives, graph.outputs)):
        if len(specs) != len(values) or not all(map(_agree, specs, values)):
            held = "; ".join(" ".join((one.name, one.dtype, *(str(n) or "?" for n in one.shape))) for one in values)
            raise BadModelFile(
                graph.path, f"{what} {held[:600]}, its manifest says {'; '.join(map(str, specs))}: export it again"
            )


def _agree(spec: TensorSpec, value: GraphValue) -> bool:
    """Numbers are equal; for a letter the file may have any name."""
    return (spec.name, spec.dtype, len(spec.shape)) == (value.name, value.dtype, len(value.shape)) and all(
        isinstance(found, str) if isinstance(said, str) else found == said
        for said, found in zip(spec.shape, value.shape, strict=True)
    )
