"""The engines of a SAM2 folder, built beside its graphs on the machine that will run them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scene_r1.files import whole_file, write_text
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.folder_file import check_same_file
from scene_r1_engines.sam2.extents import extents_of, profile_of, said_profile
from scene_r1_engines.sam2.folder import VouchedSam2, vouch_sam2
from scene_r1_engines.tensorrt_module.device import Device
from scene_r1_engines.tensorrt_module.library import make_log, tensorrt
from scene_r1_engines.tensorrt_module.sidecar import (
    FORMAT,
    Machine,
    Sidecar,
    engine_file,
    read_engine,
    read_sidecar,
    sidecar_path,
    sidecar_to_toml,
    stale,
)
from scene_r1_export.tensorrt.network import BuildOptions, build, configure, make_builder, parse
from scene_r1_export.tensorrt.progress import watched
from scene_r1_export.tensorrt.timing_cache import attach, cache_file, keep

Told = Callable[[str, int, int], None]
"""Called with the part that is built, the steps that are done and those there are."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """One engine. kept: whether it was there already, and right."""

    part: str
    sidecar: Sidecar
    kept: bool


def build_folder(
    folder: str | os.PathLike[str],
    options: BuildOptions = BuildOptions(),  # noqa: B008 - frozen
    timing_cache: Path | None = None,
    told: Told | None = None,
    again: bool = False,
) -> list[Built]:
    """Build what is missing or stale, one engine after the other; each is whole or not there.

    timing_cache: a folder for the caches. again: build also what is there and right. Raises MissingExtra where TensorRT
    is absent, EngineFailed where there is no GPU or a build fails, BadModelFile for a folder that is not vouched for.
    """
    trt = tensorrt()
    found = vouch_sam2(folder)
    device = Device()
    try:
        return build_parts(
            trt, device.machine(str(trt.__version__)), found, Path(folder), options, timing_cache, told, again
        )
    finally:
        device.close()


def build_parts(
    trt: Any,
    machine: Machine,
    found: VouchedSam2,
    folder: Path,
    options: BuildOptions,
    timing_cache: Path | None = None,
    told: Told | None = None,
    again: bool = False,
) -> list[Built]:
    """The same with a given TensorRT, for a given machine."""
    built = []
    for part in found.paths:
        there = None if again else _there(found, part, folder, machine, options)
        if there is not None:
            log.info("%s: is there and right", folder / there.file)
            built.append(Built(part, there, True))
            continue
        built.append(Built(part, _build_one(trt, machine, found, part, folder, options, timing_cache, told), False))
    return built


def _there(found: VouchedSam2, part: str, folder: Path, machine: Machine, options: BuildOptions) -> Sidecar | None:
    """What is said of an engine that need not be built; None where it must be."""
    try:
        sidecar = read_sidecar(folder, part)
        graph = found.manifest.graphs[part]
        profile = said_profile(profile_of(graph.takes, extents_of(found.manifest, part)))
        same = (sidecar.version_compatible, sidecar.hardware) == (options.version_compatible, options.hardware)
        if not same or stale(sidecar, machine, graph.sha256, profile) is not None:
            return None
        read_engine(folder, sidecar)
    except BadModelFile:
        return None
    return sidecar


def _build_one(
    trt: Any,
    machine: Machine,
    found: VouchedSam2,
    part: str,
    folder: Path,
    options: BuildOptions,
    timing_cache: Path | None,
    told: Told | None,
) -> Sidecar:
    graph, path, tlog = found.manifest.graphs[part], found.paths[part], make_log(trt)
    profile = profile_of(graph.takes, extents_of(found.manifest, part))
    data = path.read_bytes()
    check_same_file(path, found.identities[part])
    builder = make_builder(trt, tlog)
    network, parser = parse(trt, tlog, builder, data, graph, path)
    config, flags = configure(trt, tlog, builder, profile, options)
    file = cache_file(timing_cache, machine)
    cache = attach(tlog, config, file)
    with watched(trt, config, None if told is None else lambda done, total: told(part, done, total)):
        plan = build(tlog, builder, network, config, path)
    keep(config, file)
    del cache, network, parser, config, builder  # in this order: each was made by a later one
    sidecar = Sidecar(
        format=FORMAT,
        file=engine_file(part),
        sha256=hashlib.sha256(plan).hexdigest(),
        bytes=len(plan),
        onnx_sha256=graph.sha256,
        profile=said_profile(profile),
        version_compatible=options.version_compatible,
        hardware=options.hardware,
        flags=flags,
        built_by=f"scene-r1-export {version('scene-r1-edge')}",
        machine=machine,
    )
    with whole_file(folder / sidecar.file) as temporary:
        temporary.write_bytes(plan)
    write_text(sidecar_path(folder, part), sidecar_to_toml(sidecar))
    return sidecar
