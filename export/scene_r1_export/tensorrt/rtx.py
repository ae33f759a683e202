"""NVIDIA's parser and builder without a GPU: those of TensorRT-RTX, a sibling of TensorRT with the same Python names.

They come in two packages of one version: the bindings, and the libraries, which lie in the package of an execution
provider of ONNX Runtime. Parsing and building need no driver; what is built here is only counted, never run.
"""

from __future__ import annotations

import ctypes
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from scene_r1_engines.errors import EngineFailed, MissingExtra

EXTRA, WHAT = "tensorrt-check", "checking graphs with NVIDIA's parser"
BINDINGS, LIBRARIES = "tensorrt_rtx_bindings", "onnxruntime_ep_nv_tensorrt_rtx"
NAMES: Final = ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so")


def check_installed() -> None:
    """Raises MissingExtra where a package is absent; nothing native is loaded."""
    for package in (BINDINGS, LIBRARIES):
        if find_spec(package) is None:
            raise MissingExtra(EXTRA, WHAT, f"{package} is not installed; there is one for Linux on x86-64 only")


def load_rtx() -> Any:
    """The module of the bindings, with its libraries loaded. Raises MissingExtra, EngineFailed."""
    check_installed()
    spec = find_spec(LIBRARIES)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    try:
        for name in NAMES:
            # By their full names, which are files; the short ones are links that the package makes when it is imported.
            ctypes.CDLL(str(_library(folder, name)), ctypes.RTLD_GLOBAL)
        return import_module(BINDINGS)
    except (ImportError, OSError) as error:
        raise EngineFailed(f"TensorRT-RTX does not load: {error}: install both packages of '{EXTRA}' again") from None


def _library(folder: Path, name: str) -> Path:
    found = sorted(path for path in folder.glob(f"{name}.*") if path.is_file() and not path.is_symlink())
    if not found:
        raise MissingExtra(EXTRA, WHAT, f"{folder} has no {name}")
    return found[-1]
