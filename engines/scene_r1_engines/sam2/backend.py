"""What opens a SAM2 folder where nobody says with which backend: the fastest one that works here."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from scene_r1_engines.errors import BadModelFile, EngineFailed, MissingExtra
from scene_r1_engines.manifest import MANIFEST, read_manifest
from scene_r1_engines.sam2.manifest import PARTS, read_sam2_manifest
from scene_r1_engines.segmenter import ModelSettings
from scene_r1_engines.tensorrt_module.sidecar import engine_file

if TYPE_CHECKING:
    from scene_r1_engines.sam2.engine import Sam2

log = logging.getLogger(__name__)


def open_sam2(settings: ModelSettings) -> Sam2:
    """The segmenter of a folder. With the backend "auto" those that may work here are tried one after the other, and
    why one did not is logged.

    Raises BadModelFile, MissingExtra, EngineFailed and BadConfig as Sam2 does.
    """
    from scene_r1_engines.sam2.engine import Sam2  # on use: it is not needed to name a backend

    folder = check_family(settings.folder or "")
    *others, last = [settings.backend] if settings.backend != "auto" else backends_here(folder)
    for backend in others:
        try:
            return _opened(Sam2, folder, backend, settings)
        except (EngineFailed, MissingExtra, BadModelFile) as error:
            if isinstance(error, BadModelFile) and backend != "tensorrt":
                raise  # a graph that cannot be vouched for is no better elsewhere; only an engine may be stale
            log.warning("%s is not run by %s: %s", folder, backend, error)
    return _opened(Sam2, folder, last, settings)


def backends_here(folder: Path) -> list[str]:
    """Those worth trying, the fastest first: TensorRT where engines lie beside the graphs and its package is installed,
    CUDA where ONNX Runtime was built with it, and the CPU."""
    backends = []
    if all((folder / engine_file(part)).is_file() for part in PARTS) and find_spec("tensorrt") is not None:
        backends.append("tensorrt")
    if "CUDAExecutionProvider" in _providers():
        backends.append("cuda")
    return [*backends, "cpu"]


def check_family(folder: str | os.PathLike[str]) -> Path:
    """The folder, once its manifest is that of a SAM2. Raises BadModelFile, which says what else it is."""
    path = Path(folder)
    made_by = "name a folder that `scene-r1-export sam2` wrote"
    if not path.is_dir():
        raise BadModelFile(path, f"is no folder: {made_by}")
    if not (path / MANIFEST).exists():
        raise BadModelFile(path, f"has no {MANIFEST}: {made_by}")
    try:
        read_sam2_manifest(path)
    except BadModelFile:
        try:
            other = read_manifest(path)
        except BadModelFile:
            pass
        else:
            reason = f"is a {other.family}, which is asked and no segmenter: give it as --model, and here {made_by}"
            raise BadModelFile(path, reason) from None
        raise
    return path


def _opened(kind: type[Sam2], folder: Path, backend: str, settings: ModelSettings) -> Sam2:
    return kind(folder, backend=backend, threads=settings.threads, max_feature_mb=settings.max_feature_mb)


def _providers() -> list[str]:
    """Of ONNX Runtime; empty where it is not installed or does not load, which opening it will say."""
    try:
        providers: list[str] = import_module("onnxruntime").get_available_providers()
    except ImportError:
        return []
    return providers
