"""Every name of TensorRT and of the CUDA driver that is used here exists in NVIDIA's own bindings.

The bindings are those of TensorRT-RTX, a sibling of TensorRT 11 that loads without a GPU. TensorRT 10.3 and 11.4 need
libraries of gigabytes to load; all names below were found in the strings of their bindings, but for those of ONLY_NEW.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from scene_r1_engines import tensorrt_module
from scene_r1_engines.tensorrt_module.driver import PROTOTYPES
from scene_r1_export import tensorrt as builder_package
from scene_r1_export.tensorrt.rtx import BINDINGS, LIBRARIES

CLASSES = {
    # file: what class of TensorRT its variables hold
    "library.py": {"trt": "", "runtime": "Runtime", "engine": "ICudaEngine"},
    "module.py": {"trt": "", "engine": "ICudaEngine", "context": "IExecutionContext"},
    "network.py": {
        "trt": "",
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "shapes": "IOptimizationProfile",
        "tensor": "ITensor",
        "error": "ParserError",
    },
    "progress.py": {"trt": "", "config": "IBuilderConfig"},
    "timing_cache.py": {"config": "IBuilderConfig", "cache": "ITimingCache"},
    "check_process.py": {"trt": "", "network": "INetworkDefinition"},
    "build.py": {"trt": ""},
}
ONLY_NEW = {"HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY"}
"""Not in 10.3, and so asked for with getattr."""
GONE = (
    "EXPLICIT_BATCH",
    "INT8",
    "FP16",
    "int8_calibrator",
    "execute_async_v2",
    "set_precision",
    "platform_has_fast_fp16",
    "max_workspace_size",
    "device_memory_size",
)
"""Of TensorRT 10, and no longer of 11."""
OVERRIDDEN = {
    "ILogger": ("log",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
}
BY_GETATTR = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "BuilderFlag": ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"),
    "HardwareCompatibilityLevel": ("AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
    "DataType": ("FLOAT", "HALF", "INT32"),
}
ASK = """
import json, sys
from scene_r1_export.tensorrt.rtx import load_rtx
trt = load_rtx()
names = {"": dir(trt)} | {one: dir(getattr(trt, one)) for one in dir(trt) if isinstance(getattr(trt, one), type)}
json.dump({"version": trt.__version__, "names": names}, sys.stdout)
"""


@pytest.fixture(scope="module")
def bindings() -> dict[str, list[str]]:
    """The names of each class; "" is the module. Asked in another process: the libraries make all symbols global."""
    if find_spec(BINDINGS) is None or find_spec(LIBRARIES) is None:
        pytest.skip("the extra tensorrt-check is not installed; it is for Linux on x86-64")
    asked = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    said = json.loads(asked.stdout)
    names: dict[str, list[str]] = said["names"]
    return names


def sources() -> Iterator[Path]:
    for package in (tensorrt_module, builder_package):
        yield from (Path(next(iter(package.__path__))) / name for name in CLASSES)


def uses(file: Path) -> Iterator[tuple[str, str]]:
    """(class, name) of every attribute that is asked of an object of TensorRT in a file."""
    known = CLASSES[file.name]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in known:
            yield known[node.value.id], node.attr
        inner = node.value
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "trt":
            yield inner.attr, node.attr


def test_every_name_that_is_used_exists_in_nvidias_bindings(bindings: dict[str, list[str]]) -> None:
    found = {use for file in sources() if file.is_file() for use in uses(file)}
    assert len(found) > 50  # the walk sees what it should
    for one, name in (("IExecutionContext", "execute_async_v3"), ("OnnxParser", "parse"), ("", "Runtime")):
        assert (one, name) in found
    missing = [f"{one}.{name}" for one, name in sorted(found) if one in bindings and name not in bindings[one]]
    assert missing == []
    assert {one for one, _ in found} <= set(bindings)


def test_every_name_that_is_overridden_or_asked_for_by_its_text_exists_too(bindings: dict[str, list[str]]) -> None:
    for one, names in {**OVERRIDDEN, **BY_GETATTR}.items():
        assert [name for name in names if name not in bindings[one]] == []
    assert "ILogger" in bindings
    assert {"INTERNAL_ERROR", "ERROR", "WARNING", "INFO"} <= set(bindings["ILogger"])


def test_names_that_10_3_lacks_are_never_asked_for_directly() -> None:
    direct = {f"{one}.{name}" for file in sources() if file.is_file() for one, name in uses(file)}
    assert not direct & ONLY_NEW


def test_nothing_that_tensorrt_11_took_away_is_used_or_named() -> None:
    for package in (tensorrt_module, builder_package):
        for file in Path(next(iter(package.__path__))).glob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert [name for name in GONE if re.search(rf"\b{name}\b", text)] == []


def test_host_code_in_an_engine_is_never_allowed() -> None:
    for file in Path(next(iter(tensorrt_module.__path__))).glob("*.py"):
        assert "engine_host_code_allowed" not in file.read_text(encoding="utf-8")


def test_every_call_of_the_driver_has_the_name_that_nvidias_bindings_give_it() -> None:
    """cuda.bindings names calls as cuda.h does: without the _v2 of the library, or cuGraphInstantiate's WithFlags."""
    driver = pytest.importorskip("cuda.bindings.driver", reason="comes with numba-cuda's toolkits only")
    plain = {re.sub(r"_v2$|WithFlags$", "", name) for name in PROTOTYPES}
    assert [name for name in sorted(plain) if not hasattr(driver, name)] == []


def test_the_numbers_of_the_driver_are_those_of_nvidias_bindings() -> None:
    from scene_r1_engines.tensorrt_module import driver as ours

    nvidia = pytest.importorskip("cuda.bindings.driver", reason="comes with numba-cuda's toolkits only")
    attribute = nvidia.CUdevice_attribute
    assert int(nvidia.CUresult.CUDA_ERROR_OUT_OF_MEMORY) == ours.OUT_OF_MEMORY
    assert int(nvidia.CUstream_flags.CU_STREAM_NON_BLOCKING) == ours.NON_BLOCKING
    assert int(nvidia.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == ours.THREAD_LOCAL
    assert int(attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == ours.MULTIPROCESSORS
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == ours.MAJOR
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == ours.MINOR
