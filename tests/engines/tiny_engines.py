"""A SAM2 folder with engines that only `tiny_cuda.TinyTensorRt` runs, and the machine that they were built on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.engines.tiny_sam2 import seal, sound_folder

from scene_r1_engines.sam2.extents import extents_of, profile_of, said_profile
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest, TensorSpec, read_sam2_manifest
from scene_r1_engines.tensorrt_module.sidecar import Machine, Sidecar, here, sidecar_path, sidecar_to_toml

MACHINE = Machine("10.3.0", "Tiny", "8.7", 4, here())
"""The GPU of `tiny_cuda`."""


def sidecar_of(plan: bytes, manifest: Sam2Manifest, part: str) -> Sidecar:
    graph = manifest.graphs[part]
    return Sidecar(
        format=1,
        file=f"{part}.engine",
        sha256=hashlib.sha256(plan).hexdigest(),
        bytes=len(plan),
        onnx_sha256=graph.sha256,
        profile=said_profile(profile_of(graph.takes, extents_of(manifest, part))),
        version_compatible=False,
        hardware="exact",
        flags="",
        built_by="a test",
        machine=MACHINE,
    )


def plan_of(manifest: Sam2Manifest, part: str, add: float = 0.0, **more: Any) -> bytes:
    def rows(specs: tuple[TensorSpec, ...]) -> list[list[Any]]:
        return [[spec.name, spec.dtype, list(spec.shape)] for spec in specs]

    graph = manifest.graphs[part]
    return json.dumps({"takes": rows(graph.takes), "gives": rows(graph.gives), "add": add, **more}).encode()


def put(folder: Path, manifest: Sam2Manifest, part: str, plan: bytes, **changes: Any) -> Sidecar:
    """Write an engine and what is said of it."""
    sidecar = replace(sidecar_of(plan, manifest, part), **changes)
    (folder / f"{part}.engine").write_bytes(plan)
    sidecar_path(folder, part).write_text(sidecar_to_toml(sidecar), encoding="utf-8")
    return sidecar


def engine_folder(folder: Path, half: bool = False) -> Sam2Manifest:
    """A folder with engines that add up what they are fed. half: with the big tensors in half precision."""
    sound_folder(folder)
    manifest = read_sam2_manifest(folder)
    if half:
        io = {part: (_halved(graph.inputs), _halved(graph.outputs)) for part, graph in manifest.graphs.items()}
        manifest = seal(folder, io, precision="fp16")
    for part in PARTS:
        put(folder, manifest, part, plan_of(manifest, part))
    return manifest


def _halved(text: str) -> str:
    words = [one.split(" ", 2) for one in text.split("; ")]
    big = ("s0", "s1", "feat", "mem", "ptr", "feat_mem")
    return "; ".join(" ".join((name, "float16" if name in big else dtype, shape)) for name, dtype, shape in words)
