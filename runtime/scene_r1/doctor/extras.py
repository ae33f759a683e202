"""Optional packages: present or not, and do they import? Their absence breaks nothing but what needs them."""

from __future__ import annotations

from collections.abc import Iterable

from scene_r1 import machine
from scene_r1.doctor.check import Check
from scene_r1.doctor.probes import Probes, ask_python
from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.nano import nano_model
from scene_r1_engines.vouch import vouch

ONNXRUNTIMES = r"onnxruntime(-[a-z0-9]+)*"
NOT_RUNTIMES = (
    "onnxruntime-extensions",
    "onnxruntime-genai",
    "onnxruntime-tools",
    "onnxruntime-training-cpu",
    "onnxruntime-ep-nv-tensorrt-rtx-cu12",
)


def extra(name: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'scene-r1-edge[{name}]'"


def onnxruntime(probes: Probes) -> Iterable[Check]:
    """Which execution providers there are; two packages of it hide each other's."""
    packages = probes.packages_of("onnxruntime", ONNXRUNTIMES)
    packages = {name: version for name, version in packages.items() if name not in NOT_RUNTIMES}
    if len(packages) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in packages.items())
        keep = "gpu" if "onnxruntime-gpu" in packages else "cpu"
        mend = f"pip uninstall -y {' '.join(packages)} && {extra(keep)}"
        yield Check("onnxruntime packages", "broken", f"several provide the one module onnxruntime: {listed}", mend)
    gpu = "onnxruntime-gpu" in packages or bool(machine.gpus(probes.run)[0])
    code = "import onnxruntime as m; tell(v=m.__version__, more=', '.join(m.get_available_providers()))"
    yield _imports(probes, "onnxruntime", extra("gpu" if gpu else "cpu"), code)


def llama_cpp(probes: Probes) -> Iterable[Check]:
    yield _imports(probes, "llama_cpp", extra("vlm"))


def nano(probes: Probes) -> Iterable[Check]:
    """The model that comes with the package: are its files there, and are they what its manifest says?"""
    again = "pip install --force-reinstall --no-deps scene-r1-edge  # or in a checkout: git checkout engines"
    try:
        folder = nano_model()
    except BadModelFile as error:
        yield Check("nano", "missing", str(error), again)
        return
    try:
        found = vouch(folder)
    except BadModelFile as error:
        yield Check("nano", "broken", str(error), again)
        return
    size = (found.manifest.text.bytes + found.manifest.mmproj.bytes) / 1e6
    yield Check("nano", "ok", f"{found.manifest.name}, {size:.1f} MB, trained on synthetic rooms only")


def tensorrt(probes: Probes) -> Iterable[Check]:
    """On a Jetson it comes with JetPack, for the system's Python."""
    if machine.jetson_model(probes.root):
        mend = f"{probes.sudo}apt-get install python3-libnvinfer  # and a .venv made with --system-site-packages"
    else:
        mend = extra("tensorrt")
    yield _imports(probes, "tensorrt", mend)


def torch(probes: Probes) -> Iterable[Check]:
    code = "import torch as m; tell(v=m.__version__, more='CUDA' if m.cuda.is_available() else 'no CUDA')"
    yield _imports(probes, "torch", extra("export"), code)


def numba_cuda(probes: Probes) -> Iterable[Check]:
    """What back-projects on a GPU. Without a GPU it has nothing to do, and its absence is no fault."""
    if not machine.gpus(probes.run)[0] and not machine.jetson_model(probes.root):
        yield Check("numba_cuda", "ok", "no GPU to use it on")
        return
    code = "from numba import cuda; from importlib.metadata import version as v; cuda.get_current_device()"
    yield _imports(probes, "numba_cuda", extra("cuda"), f"{code}; tell(v=v('numba-cuda'))")


def rerun(probes: Probes) -> Iterable[Check]:
    yield _imports(probes, "rerun", extra("viewer"))


def rosbags(probes: Probes) -> Iterable[Check]:
    code = "import rosbags.highlevel; from importlib.metadata import version; tell(v=version('rosbags'))"
    yield _imports(probes, "rosbags", extra("realsense"), code)


def rooms(probes: Probes) -> Iterable[Check]:
    """The synthetic camera needs one of two ray casters."""
    casters = [name for name in ("embreex", "open3d") if probes.finds(name)]
    if not casters:
        yield Check("ray caster", "missing", "neither embreex nor open3d is installed", extra("rooms"))
        return
    code = {
        "embreex": "from embreex import rtcore_scene; from importlib.metadata import version as v",
        "open3d": "import open3d; from importlib.metadata import version as v",
    }
    found = ask_python(probes, f"{code[casters[0]]}; tell(v=v({casters[0]!r}))")
    if found.facts is None:
        yield Check("ray caster", "broken", f"{casters[0]} does not import: {found.trouble}", _again(casters[0]))
    else:
        yield Check("ray caster", "ok", f"{casters[0]} {found.facts['v']}")


def _imports(probes: Probes, module: str, mend: str, code: str = "") -> Check:
    if not probes.finds(module):
        return Check(module, "missing", "not installed", mend)
    found = ask_python(probes, code or f"import {module} as m; tell(v=getattr(m, '__version__', 'unknown version'))")
    if found.facts is None:
        return Check(module, "broken", f"does not import: {found.trouble}", _again(module))
    return Check(module, "ok", ", ".join(str(found.facts[key]) for key in ("v", "more") if key in found.facts))


def _again(module: str) -> str:
    package = {"llama_cpp": "llama-cpp-python", "rerun": "rerun-sdk", "numba_cuda": "numba-cuda"}.get(module, module)
    return f"pip install --force-reinstall {package}"
