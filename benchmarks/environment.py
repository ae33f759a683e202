"""The environment block: what a reader must know of the machine to believe a figure, and nothing of its owner."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from scene_r1 import machine

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = (
    "scene-r1-edge",
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "pyrealsense2",
    "llama-cpp-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "torch",
    "trimesh",
    "embreex",
    "open3d",
)


def environment(config: object = None, root: Path = machine.ROOT) -> dict[str, Any]:
    """Everything about this run that is not a measurement, ready for JSON.

    config: the effective configuration, a dataclass or a mapping. Versions come from the packages' metadata, so that
    asking for them imports nothing. root: of the file system (tests give a folder).
    """
    sha, dirty = git_state()
    gpus, _ = machine.gpus()
    return {
        "utc": utc_now().isoformat(timespec="seconds"),
        "device": machine.device_name(root),
        "platform": platform.system().lower() + "-" + platform.release(),
        "machine": platform.machine(),
        "jetson_model": machine.jetson_model(root),
        "l4t_release": machine.l4t_release(root),
        "power_mode": machine.power_mode(),
        "cpu_model": machine.cpu_model(root),
        "cpu_cores_usable": machine.cores(),
        "cpu_governor": machine.governor(root),
        "load_average_1min_at_start": round(os.getloadavg()[0], 2),
        "memory_total_bytes": machine.total_memory_bytes(root),
        "memory_available_bytes_at_start": machine.available_memory_bytes(root),
        "gpus": gpus,
        "python": platform.python_version(),
        "packages": installed_versions(),
        "git_sha": sha,
        "git_dirty": dirty,
        "config": plain(config),
    }


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide a figure, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(repository: Path = REPOSITORY) -> tuple[str | None, bool | None]:
    """The commit measured and whether the tree differs from it; (None, None) outside a checkout of its own."""
    at = ["git", "-C", os.fspath(repository)]
    if not (repository / ".git").exists():  # installed below somebody else's checkout: that one's commit means nothing
        return None, None
    sha = machine.run_command([*at, "rev-parse", "HEAD"], 5.0)
    status = machine.run_command([*at, "status", "--porcelain"], 20.0)
    return (sha.out.strip() or None) if sha.ok else None, bool(status.out.strip()) if status.ok else None


def plain(value: object) -> Any:
    """A value as JSON knows it: dataclasses become objects, arrays lists, NaN and infinity null, paths their last name.

    Where a file lies on this machine is nobody's business; what it is called may matter.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, PurePath) or (isinstance(value, str) and value.startswith(("/", "~"))):
        return PurePath(value).name
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return type(value).__name__


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
