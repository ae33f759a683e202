"""Who runs a graph in ONNX Runtime: its execution providers by our names, and how each is set up."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from scene_r1_engines.cache_home import cache_home
from scene_r1_engines.errors import BadConfig, EngineFailed, MissingExtra
from scene_r1_engines.sam2.extents import Extent, InputProfile, profile_of
from scene_r1_engines.sam2.manifest import GraphFile

Extents = Mapping[str, Extent]
"""Least, usual and most of each letter in the shapes of a manifest."""


@dataclass(frozen=True, slots=True)
class Provider:
    """name: as ONNX Runtime calls it. device: where its tensors are. extra: what installs it. after: those that take
    the nodes it has no kernel for, ONNX Runtime adds the CPU's. needs: what its library loads."""

    name: str
    device: str
    extra: str
    after: tuple[str, ...] = ()
    needs: str = ""


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "cpu", "cpu"),
    "cuda": Provider("CUDAExecutionProvider", "cuda", "gpu", (), "CUDA and cuDNN of the versions it was built for"),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "cuda",
        "gpu",
        ("CUDAExecutionProvider",),
        "libnvinfer of the TensorRT version it was built for (10), CUDA and cuDNN",
    ),
}


def provider_of(name: str) -> Provider:
    """Raises BadConfig for an unknown name."""
    if name not in PROVIDERS:
        raise BadConfig(f"unknown provider {name[:40]!r} of ONNX Runtime; known: {', '.join(PROVIDERS)}")
    return PROVIDERS[name]


def onnxruntime(provider: Provider) -> Any:
    """The package, imported on use. Raises MissingExtra where it is absent, does not load, or was built without the
    provider."""
    what = f"running a graph with {provider.name}"
    try:
        package: Any = import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtra(provider.extra, what, str(error)) from None
    if provider.name not in package.get_available_providers():
        # Both packages install one module, and which of them was installed last is what is there.
        raise MissingExtra(
            provider.extra,
            what,
            f"this onnxruntime {package.__version__} has only {', '.join(package.get_available_providers())}; "
            "uninstall onnxruntime first, on a Jetson install NVIDIA's onnxruntime-gpu",
        )
    return package


def setup_of(provider: Provider, graph: GraphFile, extents: Extents) -> list[tuple[str, dict[str, str]]]:
    """What InferenceSession is told of the providers, the one asked for first."""
    chain = [(name, _cuda()) for name in provider.after]
    if provider.name == "TensorrtExecutionProvider":
        return [(provider.name, _tensorrt(graph, extents)), *chain]
    return [(provider.name, _cuda() if provider.device == "cuda" else {}), *chain]


def check_runs(provider: Provider, running: list[str]) -> None:
    """Raises EngineFailed where another provider runs than was asked for: ONNX Runtime only logs that it falls back.

    running: what `InferenceSession.get_providers` says.
    """
    if running[:1] != [provider.name]:
        raise EngineFailed(
            f"ONNX Runtime was asked for {provider.name} and runs {', '.join(running) or 'none'}: its library did not "
            f"load, it needs {provider.needs or 'to be installed again'}; see what it logged, or ask for another "
            "backend"
        )


def _cuda() -> dict[str, str]:
    return {
        # The default doubles its pool at each growth, too much where CPU and GPU share one memory, as on Jetson.
        "arena_extend_strategy": "kSameAsRequested",
        # With the default, the first run at each shape tries all algorithms, some of them with large workspaces.
        "cudnn_conv_algo_search": "HEURISTIC",
        # float32 graphs are for those who want float32: TF32 has 10 bits of mantissa, as float16 has.
        "use_tf32": "0",
    }


def _tensorrt(graph: GraphFile, extents: Extents) -> dict[str, str]:
    profile = [one for one in profile_of(graph.takes, extents) if one.least != one.most]
    setup = {
        # The file says the precision of each node; without this TensorRT 10 refuses half precision.
        "trt_fp16_enable": "1" if "float16" in f"{graph.inputs}; {graph.outputs}" or graph.precision == "fp16" else "0",
        "trt_int8_enable": "1" if graph.precision == "int8" else "0",
        "trt_profile_min_shapes": _shapes(profile, "least"),
        "trt_profile_max_shapes": _shapes(profile, "most"),
        "trt_profile_opt_shapes": _shapes(profile, "usual"),
    }
    cache = _engine_cache(graph.sha256)
    if cache is not None:
        setup |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
        setup |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(cache)}
    return setup


def _shapes(profile: Sequence[InputProfile], end: str) -> str:
    """`coords:1x3x2,labels:1x3`. end: `least`, `usual` or `most`."""
    return ",".join(f"{one.name}:{'x'.join(map(str, getattr(one, end)))}" for one in profile)


def _engine_cache(sha256: str) -> Path | None:
    """A folder for the engines of one graph, which are native code: None where others could put one there."""
    home = cache_home()
    if home is None:
        return None
    folder = home / "onnxruntime-tensorrt" / sha256[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = os.lstat(folder)
    except OSError:
        return None
    mine = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022
    return folder if mine else None
