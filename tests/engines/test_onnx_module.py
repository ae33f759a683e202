"""A graph runs in ONNX Runtime as its manifest says, with the provider that was asked for, or says why it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from tests.engines.tiny_sam2 import any_extents, model, node, said_of, weight

from scene_r1_engines.errors import (
    BadConfig,
    BadInput,
    BadModelFile,
    DeviceOutOfMemory,
    EngineFailed,
    MissingExtra,
)
from scene_r1_engines.onnx_module.module import DeviceTensor, OnnxModule
from scene_r1_engines.onnx_module.providers import PROVIDERS, check_runs, setup_of
from scene_r1_engines.sam2.manifest import TensorSpec, tensors
from scene_r1_engines.sam2.module import Held, Module

ort: Any = pytest.importorskip("onnxruntime")
CUDA = "CUDAExecutionProvider" in ort.get_available_providers()

TAKES, GIVES = "x float32 B N 2; n int32 B", "y float32 B N 2; total float32 B"
EXTENTS = any_extents(B=(1, 3), N=(2, 4))
Open = Callable[..., OnnxModule]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Writes a graph and loads it; without arguments y = 2·x + n and total = n + 1."""

    def make(
        nodes: Sequence[onnx.NodeProto] | None = None,
        takes: str = TAKES,
        gives: str = GIVES,
        weights: Sequence[onnx.TensorProto] = (),
        **more: Any,
    ) -> OnnxModule:
        if nodes is None:
            weights = [weight("corner", np.array([-1, 1, 1], np.int64)), weight("one", np.ones(1, np.float32))]
            nodes = [
                node("Cast", "n", "number", to=TensorProto.FLOAT),
                node("Reshape", "number corner", "high"),
                node("Sum", "x x high", "y"),
                node("Add", "number one", "total"),
            ]
        path = tmp_path / "tiny.onnx"
        path.write_bytes(model(nodes, takes, gives, weights).SerializeToString())
        return OnnxModule(path, said_of(path, takes, gives), more.pop("extents", EXTENTS), **more)

    return make


def feeds(b: int = 2, n: int = 3) -> dict[str, NDArray[Any]]:
    return {"x": np.arange(b * n * 2, dtype=np.float32).reshape(b, n, 2), "n": np.arange(b, dtype=np.int32)}


def test_all_outputs_come_back_by_name(opened: Open) -> None:
    module, fed = opened(), feeds()
    out = module.run(fed)
    np.testing.assert_array_equal(out["y"], 2 * fed["x"] + fed["n"][:, None, None])
    np.testing.assert_array_equal(out["total"], fed["n"] + 1)
    assert isinstance(module, Module)
    assert module.backend == "onnxruntime:CPUExecutionProvider"


def test_outputs_of_one_run_are_not_those_of_the_next(opened: Open) -> None:
    module = opened()
    first = module.run(feeds())["y"]
    before = np.array(first)
    module.run({**feeds(), "x": -feeds()["x"]})
    np.testing.assert_array_equal(first, before)
    module.close()
    np.testing.assert_array_equal(first, before)
    assert isinstance(first, np.ndarray)
    assert first.flags.owndata


def test_arrays_are_cast_to_the_dtype_of_the_graph_and_need_not_be_contiguous(opened: Open) -> None:
    fed = feeds()
    strided = np.asfortranarray(np.repeat(fed["x"], 2, axis=2).astype(np.float64))[:, :, ::2]
    out = opened().run({"x": strided, "n": fed["n"].astype(np.int64)})
    np.testing.assert_array_equal(out["y"], opened().run(fed)["y"])
    assert out["y"].dtype == np.float32  # type: ignore[union-attr]


def test_half_precision_stays_in_the_graph(opened: Open) -> None:
    half = opened([node("Add", "x x", "y")], "x float16 B", "y float16 B")
    out = half.run({"x": np.array([0.1, 1e6], np.float32)[:1]})["y"]
    assert out.dtype == np.float32  # type: ignore[union-attr]
    np.testing.assert_array_equal(out, np.float32([2 * np.float16(0.1)]))
    assert np.isinf(half.run({"x": np.float32([1e6])})["y"]).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": None}, "tiny: .*x is missing"),
        ({"z": np.zeros(2)}, "'z'"),
        ({"x": np.zeros((2, 3), np.float32)}, r"x must have the shape BxNx2, got \(2, 3\)"),
        ({"x": np.zeros((2, 3, 3), np.float32)}, r"x must have the shape BxNx2, got \(2, 3, 3\)"),
        ({"n": np.zeros(3, np.int32)}, "B = 3, another input B = 2"),
        ({"x": np.zeros((2, 5, 2), np.float32)}, "N = 5"),
        ({"x": np.zeros((2, 1, 2), np.float32)}, "N = 1"),
        ({"x": np.zeros((0, 3, 2), np.float32), "n": np.zeros(0, np.int32)}, "B = 0"),
        ({"n": np.float32([0.5, 1.0])}, "n must be int32, got float32"),
        ({"x": np.zeros((2, 3, 2), complex)}, "x must be float32, got complex128"),
        ({"n": np.array(["a", "b"])}, "n must be int32, got <U1"),
    ],
)
def test_a_feed_that_does_not_fit_is_named(change: dict[str, Any], reason: str, opened: Open) -> None:
    fed = {name: one for name, one in {**feeds(), **change}.items() if one is not None}
    with pytest.raises(BadInput, match=reason):
        opened().run(fed)


def test_only_outputs_can_be_kept(opened: Open) -> None:
    with pytest.raises(BadInput, match="gives no x"):
        opened().run(feeds(), keep=("x", "y"))


def test_what_is_held_is_fed_as_it_is_or_through_the_host(opened: Open) -> None:
    module, fed = opened(), feeds()
    spec = TensorSpec("x", "float32", ("B", "N", 2))
    held = DeviceTensor(ort.OrtValue.ortvalue_from_numpy(fed["x"]), spec)
    assert isinstance(held, Held)
    assert (held.shape, held.nbytes) == ((2, 3, 2), 48)
    want = module.run(fed)["y"]
    np.testing.assert_array_equal(module.run({**fed, "x": held})["y"], want)
    half = DeviceTensor(ort.OrtValue.ortvalue_from_numpy(fed["x"].astype(np.float16)), replace(spec, dtype="float16"))
    assert (half.nbytes, half.numpy().dtype) == (24, np.float32)
    np.testing.assert_array_equal(module.run({**fed, "x": half})["y"], want)


def test_a_cpu_keeps_arrays(opened: Open) -> None:
    out = opened().run(feeds(), keep=("y", "total"))
    assert all(isinstance(one, np.ndarray) for one in out.values())


@pytest.mark.skipif(not CUDA, reason="this onnxruntime has no CUDA")
def test_a_gpu_holds_what_is_kept_and_gives_what_a_cpu_gives(opened: Open) -> None:
    module = opened(provider="cuda")
    first = module.run(feeds(), keep=("y",))
    held = first["y"]
    assert not isinstance(held, np.ndarray)
    assert isinstance(first["total"], np.ndarray)
    np.testing.assert_allclose(held.numpy(), opened().run(feeds())["y"], rtol=1e-6)
    twice = module.run({**feeds(), "x": held})["y"]
    np.testing.assert_allclose(twice, opened().run({**feeds(), "x": held.numpy()})["y"], rtol=1e-6)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_not_replaced_by_another(name: str, opened: Open) -> None:
    if PROVIDERS[name].name in ort.get_available_providers():
        pytest.skip(f"this onnxruntime has {name}")
    with pytest.raises(MissingExtra, match=f"{PROVIDERS[name].name} needs the extra 'gpu'.*has only"):
        opened(provider=name)


def test_a_provider_whose_library_does_not_load_is_found_out(opened: Open) -> None:
    session = opened()._session  # what ONNX Runtime hands out after it fell back
    with pytest.raises(EngineFailed, match=r"asked for CUDAExecutionProvider and runs CPUExecutionProvider.*cuDNN"):
        check_runs(PROVIDERS["cuda"], session.get_providers())
    check_runs(PROVIDERS["cpu"], session.get_providers())


def test_without_onnxruntime_it_is_said_what_to_install(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'scene-r1-edge\[cpu\]'"):
        opened()


def test_impossible_settings_are_refused(opened: Open) -> None:
    with pytest.raises(BadConfig, match="unknown provider 'gpu' of ONNX Runtime; known: cpu, cuda, tensorrt"):
        opened(provider="gpu")
    with pytest.raises(BadConfig, match="threads must be in"):
        opened(threads=0)


def test_where_memory_runs_out_it_is_said_so_and_the_module_lives_on(opened: Open) -> None:
    weights = [weight("corner", np.array([-1], np.int64))]
    nodes = [
        node("Cast", "size", "long", to=TensorProto.INT64),
        node("Expand", "x long", "much"),
        node("ReduceMean", "much", "y", axes=[0, 1], keepdims=0),
        node("Reshape", "y corner", "z"),
    ]
    module = opened(nodes, "x float32 B; size int32 3", "z float32 B", weights, extents=any_extents(B=(1, 1)))
    with pytest.raises(DeviceOutOfMemory, match=r"tiny has no room with onnxruntime.* for x \(1,\), size \(3,\)"):
        module.run({"x": np.ones(1), "size": np.array([1 << 22, 1 << 22, 1])})
    np.testing.assert_array_equal(module.run({"x": np.ones(1), "size": np.array([3, 3, 1])})["z"], [1.0])


def test_a_run_that_breaks_names_the_graph(opened: Open) -> None:
    nodes = [node("Cast", "n", "long", to=TensorProto.INT64), node("Reshape", "x long", "y")]
    module = opened(nodes, "x float32 B; n int32 2", "y float32 B B")
    with pytest.raises(EngineFailed, match=r"^tiny broke with onnxruntime:CPU.*: .*[Rr]eshape") as caught:
        module.run({"x": np.ones(3), "n": np.array([5, 7])})
    assert not isinstance(caught.value, DeviceOutOfMemory)


def test_an_output_of_another_shape_than_promised_is_no_answer(opened: Open) -> None:
    nodes = [node("Cast", "n", "long", to=TensorProto.INT64), node("Tile", "x long", "y")]
    module = opened(nodes, "x float32 B; n int32 1", "y float32 B")
    np.testing.assert_array_equal(module.run({"x": np.ones(2), "n": np.array([1])})["y"], [1.0, 1.0])
    with pytest.raises(EngineFailed, match=r"gave y as \(4,\), not as y float32 B"):
        module.run({"x": np.ones(2), "n": np.array([2])})


def test_a_graph_that_onnxruntime_does_not_take_is_a_bad_file(opened: Open) -> None:
    with pytest.raises(BadModelFile, match=r"tiny\.onnx: ONNX Runtime does not take it.*Whatever"):
        opened([node("Whatever", "x", "y")], "x float32 B", "y float32 B")


def test_a_file_with_other_names_than_its_manifest_is_refused(opened: Open, tmp_path: Path) -> None:
    opened()
    path = tmp_path / "tiny.onnx"
    with pytest.raises(BadModelFile, match="has x, n, its manifest says a float32 B"):
        OnnxModule(path, said_of(path, "a float32 B", GIVES), EXTENTS)


def test_closing_twice_is_fine_and_nothing_runs_after(opened: Open) -> None:
    with opened() as module:
        module.run(feeds())
    module.close()
    with pytest.raises(EngineFailed, match="tiny was closed"):
        module.run(feeds())


def test_tensorrt_is_told_the_shapes_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "g.onnx").write_bytes(b"x")
    graph = replace(said_of(tmp_path / "g.onnx", TAKES + "; all float16 4", GIVES), precision="fp16")
    names, options = zip(*setup_of(PROVIDERS["tensorrt"], graph, EXTENTS), strict=True)
    assert names == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    setup = options[0]
    assert setup["trt_profile_min_shapes"] == "x:1x2x2,n:1"
    assert setup["trt_profile_max_shapes"] == "x:3x4x2,n:3"
    assert (setup["trt_fp16_enable"], setup["trt_int8_enable"]) == ("1", "0")
    cache = Path(setup["trt_engine_cache_path"])
    assert (cache.name, cache.stat().st_mode & 0o777) == (graph.sha256[:16], 0o700)
    cache.chmod(0o777)  # where anyone could put an engine, which is native code
    assert "trt_engine_cache_path" not in setup_of(PROVIDERS["tensorrt"], graph, EXTENTS)[0][1]


def test_nothing_heavy_is_imported_before_a_graph_is_opened(repository: Path) -> None:
    code = (
        "import sys, scene_r1_engines.sam2.folder, scene_r1_engines.onnx_module\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'tensorrt', 'cuda'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(repository / "engines")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_specs_and_graphs_speak_of_the_same_letters() -> None:
    assert {one for spec in tensors(TAKES) for one in spec.shape if isinstance(one, str)} == set(EXTENTS)
