"""What the core cannot do without: Python, numpy, scipy, OpenCV, numba."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from scene_r1.doctor.check import Check
from scene_r1.doctor.probes import Finding, Probes, ask_python

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
MINIMUM = {"numpy": "1.26", "scipy": "1.11", "numba": "0.60", "tqdm": "4.60", "opencv-python": "4.10"}
CV2_PACKAGES = r"opencv-(contrib-)?python(-rolling)?(-headless)?"

NUMBA_CODE = """
import os, re, time
from importlib import import_module
from pathlib import Path
import numba
@numba.njit
def double(x): return x + x
assert double(21.0) == 42.0
import scene_r1
root = Path(scene_r1.__path__[0])
names = []
for path in sorted(root.rglob("*.py")):
    if re.search(r"^@(numba\\.)?njit", path.read_text(encoding="utf-8"), re.MULTILINE):
        names.append(".".join(path.relative_to(root.parent).with_suffix("").parts))
folders, kernels, compiled = set(), 0, 0
for name in names:
    module = import_module(name)
    for kernel in vars(module).values():
        if isinstance(kernel, numba.core.registry.CPUDispatcher) and kernel.py_func.__module__ == name:
            if kernel.py_func.__name__.startswith("_") or not kernel.stats.cache_path:
                continue  # part of another kernel, or not cached
            folder, code = Path(kernel.stats.cache_path), kernel.py_func.__code__
            folders.add(str(folder))
            kernels += 1
            tag = f"py{sys.version_info[0]}{sys.version_info[1]}"
            indices = folder.glob(f"*{kernel.py_func.__name__}-{code.co_firstlineno}.{tag}*.nbi")
            compiled += any(i.stat().st_mtime >= os.stat(code.co_filename).st_mtime for i in indices)
def writable(folder):
    path = Path(folder)
    while not path.exists(): path = path.parent
    return os.access(path, os.W_OK)
closed = [folder for folder in sorted(folders) if not writable(folder)]
tell(version=numba.__version__, kernels=kernels, compiled=compiled, closed=closed)
"""


def python(probes: Probes) -> Iterable[Check]:
    """Is this a Python that the packages have wheels for?"""
    text = ".".join(map(str, probes.python))
    if OLDEST_PYTHON <= probes.python[:2] <= NEWEST_PYTHON:
        yield Check("python", "ok", text, required=True)
    else:
        yield Check("python", "broken", f"{text} is not one of 3.10 to 3.13", "python3.12 -m venv .venv", required=True)


def numpy(probes: Probes) -> Iterable[Check]:
    yield _core_package(probes, "numpy", "import numpy; assert numpy.ones(2).sum() == 2; tell(v=numpy.__version__)")


def scipy(probes: Probes) -> Iterable[Check]:
    yield _core_package(probes, "scipy", "import scipy, scipy.ndimage, scipy.spatial; tell(v=scipy.__version__)")


def small_packages(probes: Probes) -> Iterable[Check]:
    """Those that are pure Python and need only be there."""
    for name in ("tqdm", "tomli") if probes.python < (3, 11) else ("tqdm",):
        if name in probes.installed:
            yield _old_or_ok(name, probes.installed[name])
        else:
            yield Check(name, "missing", "not installed", f"pip install {name}", required=True)


def opencv(probes: Probes) -> Iterable[Check]:
    """Does cv2 import and work, and with this numpy?"""
    packages = probes.packages_of("cv2", CV2_PACKAGES)
    if not packages and not probes.finds("cv2"):
        yield Check("opencv", "missing", "not installed", "pip install 'opencv-python>=4.10'", required=True)
        return
    numpy_version = probes.installed.get("numpy")
    for name, version in packages.items():
        if numpy_version and _release(version) >= (5,) and _release(numpy_version) < (2,):
            detail = f"{name} {version} needs numpy 2 or newer, this is {numpy_version}"
            yield Check("opencv", "broken", detail, f"pip install '{name}>=4.10,<5'", required=True)
            return
    code = "import cv2, numpy; assert cv2.resize(numpy.zeros((4, 4), 'u1'), (2, 2)).shape == (2, 2)"
    found = ask_python(probes, f"{code}; tell(v=cv2.__version__)")
    if found.facts is None:
        yield Check(
            "opencv", "broken", f"cv2 does not import: {found.trouble}", _mend_cv2(probes, found), required=True
        )
    else:
        yield _old_or_ok("opencv-python", str(found.facts["v"]), label="opencv")


def opencv_packages(probes: Probes) -> Iterable[Check]:
    """Only one package may provide cv2: two overwrite each other's files, and removing one breaks the other."""
    packages = probes.packages_of("cv2", CV2_PACKAGES)
    listed = ", ".join(f"{name} {version}" for name, version in packages.items())
    if len(packages) < 2:
        yield Check("opencv packages", "ok", listed or "not from pip", required=True)
        return
    mixed = len({_release(version)[:3] for version in packages.values()}) > 1
    state: Literal["broken", "warning"] = "broken" if mixed else "warning"
    keep = "opencv-contrib-python" if any("contrib" in name for name in packages) else "opencv-python"
    if all("headless" in name for name in packages):
        keep += "-headless"
    mend = f"pip uninstall -y {' '.join(packages)} && pip install '{keep}>=4.10'"
    yield Check("opencv packages", state, f"several provide the one module cv2: {listed}", mend, required=True)


def numba(probes: Probes) -> Iterable[Check]:
    """Does it compile, can it keep what it compiled, and are the kernels compiled already?"""
    if "numba" not in probes.installed and not probes.finds("numba"):
        yield Check("numba", "missing", "not installed", f"pip install 'numba>={MINIMUM['numba']}'", required=True)
        return
    found = ask_python(probes, NUMBA_CODE, timeout_s=40.0)
    own_cache = 'export NUMBA_CACHE_DIR="$HOME/.cache/numba"  # or any folder that can be written to'
    if found.facts is None:
        mend = own_cache if "cannot cache function" in found.trouble else "pip install --upgrade numba numpy"
        yield Check("numba", "broken", f"does not compile: {found.trouble}", mend, required=True)
        return
    yield _old_or_ok("numba", str(found.facts["version"]))
    kernels, compiled = int(found.facts["kernels"]), int(found.facts["compiled"])
    if found.facts["closed"]:
        yield Check("numba cache", "warning", "its folder is not writable: every start compiles anew", own_cache)
    elif kernels and not compiled:
        detail = f"none of {kernels} kernels is compiled yet: the first frame waits seconds"
        yield Check("numba cache", "warning", detail, "scene-r1 warmup")
    else:
        yield Check("numba cache", "ok", f"writable, {compiled} of {kernels} kernels compiled")


def _core_package(probes: Probes, name: str, code: str) -> Check:
    if name not in probes.installed and not probes.finds(name):
        return Check(name, "missing", "not installed", f"pip install '{name}>={MINIMUM[name]}'", required=True)
    found = ask_python(probes, code)
    if found.facts is None:
        mend = f"pip install --force-reinstall '{name}>={MINIMUM[name]}'"
        return Check(name, "broken", f"does not import: {found.trouble}", mend, required=True)
    return _old_or_ok(name, str(found.facts["v"]))


def _old_or_ok(name: str, version: str, label: str = "") -> Check:
    minimum = MINIMUM.get(name)
    if minimum and _release(version) < _release(minimum):
        mend = f"pip install '{name}>={minimum}'"
        return Check(label or name, "broken", f"{version} is older than {minimum}", mend, required=True)
    return Check(label or name, "ok", version, required=True)


def _mend_cv2(probes: Probes, found: Finding) -> str:
    said = f"{found.trouble}\n{found.err}"
    for library, package in (("libGL.so", "libgl1"), ("libgthread", "libglib2.0-0"), ("libglib", "libglib2.0-0")):
        if library in said:
            return f"{probes.sudo}apt-get install {package}"
    if "multiarray" in said or "_ARRAY_API" in said or "compiled using NumPy" in said:
        old_numpy = _release(probes.installed.get("numpy", "2")) < (2,)
        return "pip install 'opencv-python>=4.10,<5'" if old_numpy else "pip install --upgrade 'opencv-python>=4.10'"
    return "pip install --force-reinstall 'opencv-python>=4.10'"


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "5.0.0.93" -> (5, 0, 0, 93), "2.4.6rc1" -> (2, 4, 6)."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
