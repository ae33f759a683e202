"""What lies beside an engine: from what, by what and for what it was built. Read before the engine is touched."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.folder_file import open_in_folder
from scene_r1_engines.settings_file import read_settings, to_toml

FORMAT = 1
HARDWARE = ("exact", "ampere_plus", "same_compute_capability")
MOST_BYTES = 1 << 32
"""Of an engine; the largest that is known here, of SAM2 large's image encoder in float32, has about 900 MB."""
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_HASH = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"(\d{1,4})(?:\.\d{1,9}){1,3}(?:\.[a-z0-9]+)?")


@dataclass(frozen=True, slots=True)
class Machine:
    """What an engine is built on and for. tensorrt: its version. gpu: as the driver names it. compute_capability: such
    as "8.7". multiprocessors: of the GPU; boards of one name differ in it. platform: such as "linux-aarch64"."""

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    platform: str

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.tensorrt):
            raise BadConfig(f"tensorrt must be a version such as 10.3.0, got {self.tensorrt[:40]!r}")
        if not re.fullmatch(r"\d{1,3}\.\d{1,2}", self.compute_capability):
            raise BadConfig(f"compute_capability must be such as 8.7, got {self.compute_capability[:40]!r}")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is said of one engine file.

    file: its name. sha256, bytes: of the engine. onnx_sha256: of the graph that it was built from. profile: the shapes
    that it takes, as `extents.said_profile` writes them. version_compatible: later TensorRT runs it too. hardware:
    which GPUs run it, one of HARDWARE. flags: the builder's, by name. built_by: program and version.
    """

    format: int
    file: str
    sha256: str
    bytes: int
    onnx_sha256: str
    profile: str
    version_compatible: bool
    hardware: str
    flags: str
    built_by: str
    machine: Machine

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadConfig(f"format must be {FORMAT}, got {self.format}: built by another version of scene-r1-export")
        if not _PLAIN.fullmatch(self.file):
            raise BadConfig(f"file must be a plain file name of the folder, got {self.file[:80]!r}")
        for name in ("sha256", "onnx_sha256"):
            if not _HASH.fullmatch(getattr(self, name)):
                raise BadConfig(f"{name} must be 64 lower-case hex digits, got {getattr(self, name)[:80]!r}")
        if not 0 < self.bytes < MOST_BYTES:
            raise BadConfig(f"bytes must be the engine's size, below 4 GiB, got {self.bytes}")
        if self.hardware not in HARDWARE:
            raise BadConfig(f"hardware must be one of {', '.join(HARDWARE)}, got {self.hardware[:40]!r}")


def engine_file(part: str) -> str:
    return f"{part}.engine"


def sidecar_path(folder: str | os.PathLike[str], part: str) -> Path:
    return Path(folder) / f"{engine_file(part)}.toml"


def here() -> str:
    """The platform that this program runs on, as `Machine.platform` says it."""
    return f"{platform.system()}-{platform.machine()}".lower()


def rebuild(folder: str | os.PathLike[str]) -> str:
    """The command that mends a folder whose engine cannot be used."""
    return f"build it on this machine: scene-r1-export tensorrt {shlex.quote(os.fspath(folder))}"


def sidecar_to_toml(sidecar: Sidecar) -> str:
    """The text that `read_sidecar` reads back to an equal one."""
    return "# What this engine was built from and for. Written by scene-r1-export tensorrt.\n" + to_toml(sidecar)


def read_sidecar(folder: str | os.PathLike[str], part: str) -> Sidecar:
    """What is said of a part's engine, which is not looked at. Raises BadModelFile with the command to build it."""
    path = sidecar_path(folder, part)
    if not path.exists():
        raise BadModelFile(path, f"is missing: there is no engine of {part} yet, {rebuild(folder)}")
    try:
        sidecar = read_settings(Sidecar, path)
    except BadConfig as error:
        reason = str(error).removeprefix(f"{path}").lstrip(":, ")
        raise BadModelFile(path, f"{reason}; {rebuild(folder)}") from None
    if sidecar.file != engine_file(part):
        raise BadModelFile(path, f"speaks of {sidecar.file}, not of {engine_file(part)}: {rebuild(folder)}")
    return sidecar


def stale(sidecar: Sidecar, machine: Machine, onnx_sha256: str, profile: str) -> str | None:
    """Why an engine cannot be used on a machine for a graph; None where it can. Nothing native is asked.

    Without compatibility TensorRT runs an engine only in the version that built it, down to the build number, and only
    on the GPU it was built on: its kernels were timed there. A version-compatible one runs in that version and later
    ones, up to the next major. https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/inference-library/engine-compatibility.html
    """
    built = sidecar.machine
    if sidecar.onnx_sha256 != onnx_sha256:
        return f"was built from another graph (sha256 {sidecar.onnx_sha256[:12]}…, not {onnx_sha256[:12]}…)"
    if sidecar.profile != profile:
        return "was built for other shapes than those of the manifest"
    if built.platform != machine.platform:
        return f"was built on {built.platform[:60]}, this is {machine.platform}"
    if not _version_fits(sidecar, machine.tensorrt):
        what = "version-compatible from" if sidecar.version_compatible else "built by"
        return f"is {what} TensorRT {built.tensorrt}, here is {machine.tensorrt}"
    return _gpu_differs(sidecar, machine)


def check_sidecar(
    folder: str | os.PathLike[str], part: str, machine: Machine, onnx_sha256: str, profile: str
) -> Sidecar:
    """What is said of a part's engine, once that says it can be used here. Raises BadModelFile where it cannot."""
    sidecar = read_sidecar(folder, part)
    why = stale(sidecar, machine, onnx_sha256, profile)
    if why is not None:
        raise BadModelFile(Path(folder) / sidecar.file, f"{why}: {rebuild(folder)}")
    return sidecar


def read_engine(folder: str | os.PathLike[str], sidecar: Sidecar) -> bytes:
    """The engine's bytes, of the size and the hash of its sidecar: what is checked is what is given to TensorRT.

    Raises BadModelFile for a file that leads out of its folder, is missing, truncated, too long or changed.
    """
    with open_in_folder(os.path.realpath(folder), sidecar) as opened:
        if opened.nbytes != sidecar.bytes:
            how = "is truncated" if opened.nbytes < sidecar.bytes else "is too long"
            raise BadModelFile(
                opened.path, f"{how}: {opened.nbytes} bytes, its sidecar says {sidecar.bytes}: {rebuild(folder)}"
            )
        data = b"".join(opened.chunks())
    if hashlib.sha256(data).hexdigest() != sidecar.sha256:
        raise BadModelFile(Path(folder) / sidecar.file, f"was changed since it was built: {rebuild(folder)}")
    return data


def _version_fits(sidecar: Sidecar, version: str) -> bool:
    built = sidecar.machine.tensorrt
    if not sidecar.version_compatible or built == version:
        return built == version
    return _numbers(built) <= _numbers(version) and _numbers(version)[0] <= _numbers(built)[0] + 1


def _gpu_differs(sidecar: Sidecar, machine: Machine) -> str | None:
    built = sidecar.machine
    if sidecar.hardware == "ampere_plus":
        old = _numbers(machine.compute_capability) < (8,)
        return f"runs on Ampere and later, this GPU is of {machine.compute_capability}" if old else None
    if built.compute_capability != machine.compute_capability:
        return f"was built for compute capability {built.compute_capability}, this GPU is {machine.compute_capability}"
    other = (built.gpu, built.multiprocessors) != (machine.gpu, machine.multiprocessors)
    if sidecar.hardware == "exact" and other:
        return (
            f"was built on {built.gpu[:60]!r} with {built.multiprocessors} multiprocessors, "
            f"here is {machine.gpu!r} with {machine.multiprocessors}"
        )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """10.3.0.30 as numbers; what is no number ends it."""
    return tuple(int(one) for one in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))  # type: ignore[index]
