"""What several test files share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

SAM2_CONFIG = "sam2.1_hiera_t"
SAM2_EXPORT = ("torch", "sam2", "hydra", "onnx", "onnxsim", "onnxruntime")
"""What exporting a SAM2 needs; sam2 itself is installed by hand."""


def pytest_configure() -> None:
    """A shell gives what it starts in the background an ignored SIGINT, and that is handed on to every process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_checkpoint(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Qwen2.5-VL checkpoint of the real architecture. Do not write to it."""

    def make(out: Path) -> None:
        _python(repository, "scene_r1_export.fixtures", "qwen2_5_vl", str(out))

    return _once(tmp_path_factory, "tiny_checkpoint", make)


@pytest.fixture(scope="session")
def tiny_model(repository: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of `tiny_checkpoint`, in float32, told the time in words. Do not write to it.

    The converter is that of the cache, or of the llama.cpp checkout that SCENE_R1_LLAMA_CPP names.
    """

    def make(out: Path) -> None:
        checkout = os.environ.get("SCENE_R1_LLAMA_CPP")
        source = ["--llama-cpp", checkout] if checkout else []
        _python(repository, "scene_r1_export.cli", "vlm", str(tiny_checkpoint), "--out", str(out), *source)

    return _once(tmp_path_factory, "tiny_model", make)


@pytest.fixture(scope="session")
def tiny_video_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files under a manifest that puts the time into the positions of one video. Do not write to it."""
    from scene_r1_engines.manifest import MANIFEST, manifest_to_toml, read_manifest

    def make(out: Path) -> None:
        manifest = read_manifest(tiny_model)
        video = replace(manifest, time=replace(manifest.time, encoding="video"))
        out.mkdir()
        for name in (manifest.text.file, manifest.mmproj.file):
            shutil.copyfile(tiny_model / name, out / name)  # a hard link would change what is read meanwhile
        (out / MANIFEST).write_text(manifest_to_toml(video), encoding="utf-8")

    return _once(tmp_path_factory, "tiny_video_model", make)


@pytest.fixture(scope="session")
def sam2_checkpoint(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as SAM2's authors publish it, of the smallest SAM2.1 with random weights. Do not write to it."""
    _need(*SAM2_EXPORT)

    def make(out: Path) -> None:
        _python(repository, "scene_r1_export.fixtures", "sam2", str(out), "--config", SAM2_CONFIG)

    return _once(tmp_path_factory, "sam2.pt", make)


@pytest.fixture(scope="session")
def sam2_folder(repository: Path, sam2_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The segmenter's folder of `sam2_checkpoint`, in float32 for pictures of 256 px. Do not write to it."""

    def make(out: Path) -> None:
        options = ["--config", SAM2_CONFIG, "--input-px", "256", "--out", str(out)]
        _python(repository, "scene_r1_export.cli", "sam2", str(sam2_checkpoint), *options)

    return _once(tmp_path_factory, "sam2", make)


def _need(*modules: str) -> None:
    """Skip what cannot be made here for want of packages; where all of them ought to be there, let it fail."""
    absent = [module for module in modules if find_spec(module) is None]
    if absent and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(absent)}")


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process of this test run makes, and all others wait for."""
    base = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # each worker has a folder of its own in that of the run
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            make(folder)
    return folder


def _python(repository: Path, module: str, *arguments: str) -> None:
    """Run a module in a process of its own, so that torch stays out of the tests' one."""
    rooms = os.pathsep.join(str(repository / room) for room in ("runtime", "engines", "export"))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": rooms, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{module} {' '.join(arguments)}\n{done.stderr}"
