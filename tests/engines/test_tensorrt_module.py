"""Engines run through the driver's binary interface: who owns which memory, what is captured, what every fault becomes.

The driver is compiled C over the host's memory, and TensorRT adds up what it is fed (`tiny_cuda`): no GPU is needed,
and none is claimed.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.engines.tiny_cuda import TinyTensorRt, compiled, counts
from tests.engines.tiny_engines import MACHINE, engine_folder, plan_of, put

from scene_r1_engines.errors import (
    BadInput,
    BadModelFile,
    DeviceOutOfMemory,
    EngineFailed,
    MissingExtra,
)
from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.manifest import PARTS, Sam2Manifest
from scene_r1_engines.sam2.module import Held, Module
from scene_r1_engines.tensorrt_module import TensorRtModule, open_engine, open_engines
from scene_r1_engines.tensorrt_module import module as module_file
from scene_r1_engines.tensorrt_module.device import MOST_SPARE, Device
from scene_r1_engines.tensorrt_module.driver import Driver, load_driver
from scene_r1_engines.tensorrt_module.library import check_version, failure
from scene_r1_engines.view import Prompt, View


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ctypes.CDLL(str(compiled(tmp_path_factory.mktemp("driver"))))


@pytest.fixture
def tiny(library: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyTensorRt]:
    """TensorRT and a driver where `open_engines` looks for them; whatever a test does, nothing is left in use."""
    trt = TinyTensorRt(library)
    library.tiny_limit(ctypes.c_size_t(-1))
    library.tiny_refuse_captures(0)
    monkeypatch.setattr(module_file, "tensorrt", lambda: trt)
    monkeypatch.setattr("scene_r1_engines.tensorrt_module.device.load_driver", lambda: Driver(library))
    yield trt
    library.tiny_limit(ctypes.c_size_t(-1))
    gc.collect()
    used = counts(library)
    used.pop("launches")
    assert used == dict.fromkeys(used, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sam2Manifest]:
    """A folder with engines. Do not write to it."""
    folder = tmp_path_factory.mktemp("engines") / "model"
    return folder, engine_folder(folder)


@pytest.fixture
def modules(tiny: TinyTensorRt, made: tuple[Path, Sam2Manifest]) -> Iterator[dict[str, TensorRtModule]]:
    opened = open_engines(*made)
    yield opened
    for one in opened.values():
        one.close()


def attention(memories: int = 1, pointers: int = 1, objects: int = 1, fill: float = 0.0) -> dict[str, NDArray[Any]]:
    return {
        "feat": np.full((objects, 256, 4, 4), fill, np.float32),
        "mem": np.zeros((objects, memories, 64, 4, 4), np.float16),
        "tpos": np.arange(memories, dtype=np.int64),
        "ptr": np.ones((objects, pointers, 256), np.float32),
        "ptr_t": np.zeros(pointers, np.float64),
    }


def total(feeds: Mapping[str, NDArray[Any]]) -> float:
    return sum(float(one.astype(np.float64).sum()) for one in feeds.values())


def test_four_engines_open_are_modules_and_leave_nothing_when_they_are_closed(
    modules: dict[str, TensorRtModule], library: Any
) -> None:
    assert tuple(modules) == PARTS
    assert all(isinstance(one, Module) for one in modules.values())
    assert modules[PARTS[0]].backend == "tensorrt:Tiny"
    modules["memory_attention"].run(attention())
    assert counts(library)["used"] > 0
    for one in modules.values():
        one.close()
        one.close()
    assert [counts(library)[name] for name in ("used", "blocks", "contexts", "streams", "graphs")] == [0] * 5
    with pytest.raises(EngineFailed, match="memory_attention was closed"):
        modules["memory_attention"].run(attention())


def test_a_run_gives_what_the_engine_makes_of_its_feeds_in_the_types_it_was_built_for(
    modules: dict[str, TensorRtModule],
) -> None:
    for memories, pointers, objects in ((1, 1, 1), (7, 16, 3), (2, 3, 1), (1, 1, 1)):
        feeds = attention(memories, pointers, objects)
        out = modules["memory_attention"].run(feeds)["feat_mem"]
        assert isinstance(out, np.ndarray)
        assert out.dtype == np.float32
        assert out.shape == (objects, 256, 4, 4)
        assert (out == total(feeds)).all()


def test_what_is_kept_stays_on_the_device_and_feeds_another_engine(modules: dict[str, TensorRtModule]) -> None:
    picture = np.full((1, 3, 64, 64), 0.5, np.float32)
    kept = modules["image_encoder"].run({"image": picture}, keep=("feat", "s0"))
    feat = kept["feat"]
    assert isinstance(feat, Held)
    assert isinstance(kept["s1"], np.ndarray)
    assert feat.nbytes == 256 * 16 * 4
    modules["image_encoder"].run({"image": picture * 2})  # what is held must not change with the next run
    assert (feat.numpy() == picture.sum()).all()
    feeds = attention()
    out = modules["memory_attention"].run({**feeds, "feat": feat})["feat_mem"]
    assert isinstance(out, np.ndarray)
    assert out.flat[0] == picture.sum() * feat.numpy().size + total(feeds)


def test_memory_of_what_nobody_holds_any_more_is_used_again(modules: dict[str, TensorRtModule], library: Any) -> None:
    picture = np.zeros((1, 3, 64, 64), np.float32)
    sizes = []
    for _ in range(20):
        kept = modules["image_encoder"].run({"image": picture}, keep=("feat",))
        del kept
        sizes.append(counts(library)["used"])
    assert len(set(sizes[2:])) == 1
    many = [modules["image_encoder"].run({"image": picture}, keep=("feat",))["feat"] for _ in range(3 * MOST_SPARE)]
    full = counts(library)["blocks"]
    del many
    modules["image_encoder"].run({"image": picture}, keep=("feat",))
    assert counts(library)["blocks"] <= full - 2 * MOST_SPARE + 1


def test_what_is_held_after_the_model_was_closed_says_so(modules: dict[str, TensorRtModule]) -> None:
    kept = modules["image_encoder"].run({"image": np.zeros((1, 3, 64, 64), np.float32)}, keep=("feat",))["feat"]
    for one in modules.values():
        one.close()
    assert isinstance(kept, Held)
    with pytest.raises(EngineFailed, match="open the model again"):
        kept.numpy()


def test_shapes_that_come_back_are_captured_and_launched_with_the_right_numbers(
    modules: dict[str, TensorRtModule], library: Any
) -> None:
    before = counts(library)["launches"]
    for turn in range(6):
        for memories in (2, 5):
            feeds = attention(memories, fill=float(turn))
            out = modules["memory_attention"].run(feeds)["feat_mem"]
            assert isinstance(out, np.ndarray)
            assert (out == total(feeds)).all()
    assert counts(library)["launches"] - before >= 6
    assert counts(library)["graphs"] == 2


def test_a_buffer_that_grows_does_not_leave_a_graph_that_reads_where_it_was(
    modules: dict[str, TensorRtModule], library: Any
) -> None:
    mask = np.ones((3, 1, 64, 64), np.float32)
    large = {"feat": np.zeros((3, 256, 4, 4), np.float32), "mask": mask, "score": mask[:, :, 0, 0]}
    modules["memory_encoder"].run({**large, "binarize": np.zeros(3, np.float32)})  # so the working memory stays
    for turn, memories in enumerate((1, 1, 1, 7, 7, 1, 1, 1, 7)):
        feeds = attention(memories, 7)
        feeds["mem"] += np.float16(turn)
        out = modules["memory_attention"].run(feeds)["feat_mem"]
        assert isinstance(out, np.ndarray)
        assert (out == total(feeds)).all()
    assert counts(library)["graphs"] >= 2


def test_no_more_graphs_are_kept_than_asked_for(
    tiny: TinyTensorRt, made: tuple[Path, Sam2Manifest], library: Any
) -> None:
    for most in (0, 2):
        modules = open_engines(*made, graphs=most)
        for _ in range(3):
            for memories in range(1, 8):
                modules["memory_attention"].run(attention(memories, 7))
        assert counts(library)["graphs"] == most
        for one in modules.values():
            one.close()


def test_where_nothing_can_be_captured_engines_run_without(modules: dict[str, TensorRtModule], library: Any) -> None:
    library.tiny_refuse_captures(1)
    for turn in range(4):
        feeds = attention(fill=float(turn))
        out = modules["memory_attention"].run(feeds)["feat_mem"]
        assert isinstance(out, np.ndarray)
        assert (out == total(feeds)).all()
    assert counts(library)["graphs"] == 0


def test_half_precision_is_cast_on_the_way_in_and_out(tiny: TinyTensorRt, tmp_path: Path) -> None:
    manifest = engine_folder(tmp_path / "half", half=True)
    modules = open_engines(tmp_path / "half", manifest)
    feeds = attention()
    out = modules["memory_attention"].run(feeds)["feat_mem"]
    kept = modules["memory_attention"].run({**feeds, "feat": feeds["feat"] + 1e9}, keep=("feat_mem",))["feat_mem"]
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float32
    assert (out == total(feeds)).all()
    assert isinstance(kept, Held)
    assert kept.nbytes == 256 * 16 * 2
    assert np.isinf(kept.numpy()).all()
    assert kept.numpy().dtype == np.float32
    for one in modules.values():
        one.close()


def test_a_whole_track_over_engines_is_that_over_onnx_runtime(tiny: TinyTensorRt, tmp_path: Path, library: Any) -> None:
    """The same graphs behind both backends: features stay on the device, shapes change, graphs are captured."""
    folder = tmp_path / "model"
    manifest = engine_folder(folder)
    for part in PARTS:
        put(folder, manifest, part, plan_of(manifest, part, onnx=str(folder / f"{part}.onnx")))
    random = np.random.default_rng(3)
    frames = [random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(12)]
    camera = Intrinsics(60.0, 60.0, 32.0, 24.0, 64, 48)
    views = [View(number, frame, None, camera) for number, frame in enumerate(frames)]
    before = counts(library)["launches"]
    said = []
    for backend in ("cpu", "tensorrt"):
        with Sam2(folder, backend=backend, max_feature_mb=1.0) as segmenter:
            said.append(list(segmenter.track(views, {2: Prompt(xyxy=(10.0, 8.0, 40.0, 30.0))})))
    assert len(said[0]) == len(views)
    for ours, theirs in zip(*said, strict=True):
        assert (ours.masks == theirs.masks).all()
        assert np.allclose(ours.scores, theirs.scores, atol=1e-5)
    assert any(one.masks.any() for one in said[0])
    assert counts(library)["launches"] > before


def test_feeds_and_outputs_that_there_are_not_are_refused(modules: dict[str, TensorRtModule]) -> None:
    run = modules["memory_attention"].run
    with pytest.raises(BadInput, match="no output 'mem' to keep"):
        run(attention(), keep=("mem",))
    with pytest.raises(BadInput, match="ptr_t is missing"):
        run({name: one for name, one in attention().items() if name != "ptr_t"})
    with pytest.raises(BadInput, match="M = 8"):
        run(attention(memories=8))
    with pytest.raises(BadInput, match="tpos must be int32, got float64"):
        run({**attention(), "tpos": np.zeros(1)})
    assert (run(attention())["feat_mem"] == total(attention())).all()  # type: ignore[union-attr]


def test_memory_that_runs_out_is_said_to_and_less_can_be_asked_for(
    modules: dict[str, TensorRtModule], library: Any
) -> None:
    run = modules["memory_attention"].run
    run(attention())
    library.tiny_limit(ctypes.c_size_t(counts(library)["used"] + 20_000))
    with pytest.raises(DeviceOutOfMemory, match="fewer objects or slots"):
        run(attention(memories=7, objects=3))
    feeds = attention(memories=2)
    assert (run(feeds)["feat_mem"] == total(feeds)).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Cuda Runtime (out of memory)", DeviceOutOfMemory),
        ("defaultAllocator.cpp::allocate: Cuda error 2 (OutOfMemory)", DeviceOutOfMemory),
        ("Cask convolution failed", EngineFailed),
    ],
)
def test_a_run_that_tensorrt_fails_raises_what_its_log_says(
    tiny: TinyTensorRt, modules: dict[str, TensorRtModule], said: str, kind: type[EngineFailed]
) -> None:
    tiny.fails = said
    with pytest.raises(EngineFailed, match="memory_attention failed") as error:
        modules["memory_attention"].run(attention())
    assert type(error.value) is kind
    assert said in str(error.value)
    tiny.fails = ""
    modules["memory_attention"].run(attention())


def test_an_engine_that_is_stale_truncated_or_missing_never_reaches_tensorrt(
    tiny: TinyTensorRt, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    manifest = engine_folder(folder)
    plan = plan_of(manifest, "mask_decoder")
    for change in ("stale", "truncated", "missing"):
        put(folder, manifest, "mask_decoder", plan, **({"onnx_sha256": "f" * 64} if change == "stale" else {}))
        if change == "truncated":
            (folder / "mask_decoder.engine").write_bytes(plan[:-1])
        elif change == "missing":
            (folder / "mask_decoder.engine").unlink()
        tiny.asked.clear()
        with pytest.raises(BadModelFile, match=r"mask_decoder\.engine"):
            open_engines(folder, manifest)
        assert tiny.asked == ["deserialize"]  # that of the image encoder, which comes first


def test_an_engine_with_other_tensors_than_its_manifest_is_refused(tiny: TinyTensorRt, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    manifest = engine_folder(folder)
    for plan, why in (
        (plan_of(manifest, "memory_encoder"), "has the tensors"),
        (plan_of(manifest, "mask_decoder").replace(b"float32", b"float16"), "the manifest says"),
        (plan_of(manifest, "mask_decoder", location="host"), "in the host's memory"),
        (b"no engine at all", "TensorRT refuses it.*this plan is none"),
    ):
        put(folder, manifest, "mask_decoder", plan)
        with pytest.raises(BadModelFile, match=why):
            open_engines(folder, manifest)


def test_a_version_compatible_engine_asks_for_the_lean_runtime_of_its_version(
    tiny: TinyTensorRt, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    manifest = engine_folder(folder)
    for part in PARTS:
        put(folder, manifest, part, plan_of(manifest, part), version_compatible=True)
    tiny.__version__ = "10.7.0"
    with pytest.raises(BadModelFile, match=r"needs libnvinfer_lean\.so\.10\.3\.0"):
        open_engines(folder, manifest)
    assert tiny.asked == ["libnvinfer_lean.so.10.3.0"]


def test_one_engine_alone_owns_its_device(tiny: TinyTensorRt, made: tuple[Path, Sam2Manifest], library: Any) -> None:
    device = Device(driver=Driver(library))
    assert device.machine("10.3.0") == MACHINE
    with open_engine(*made, "memory_encoder", device, tiny) as one:
        mask = np.ones((1, 1, 64, 64), np.float32)
        feeds = {"feat": np.zeros((1, 256, 4, 4), np.float32), "mask": mask, "score": mask[:, :, 0, 0]}
        out = one.run({**feeds, "binarize": np.zeros(1, np.float32)})["mem"]
    assert (out == 64 * 64 + 1).all()  # type: ignore[union-attr]
    assert counts(library)["contexts"] == 0


def test_a_gpu_that_there_is_not_and_a_driver_that_is_too_old_are_said(library: Any) -> None:
    with pytest.raises(EngineFailed, match="refused cuDeviceGet: refused by the tiny driver"):
        Device(3, Driver(library))
    with pytest.raises(EngineFailed, match=r"older than CUDA 11\.4"):
        Driver(ctypes.CDLL(None))


def test_versions_before_10_3_and_from_12_on_are_not_known_here() -> None:
    for good in ("10.3.0", "10.13.3.9.post1", "11.5.0.1"):
        check_version(good)
    for bad in ("8.6.1", "10.2.0", "12.0.0"):
        with pytest.raises(EngineFailed, match=r"install 10\.3 or later"):
            check_version(bad)
    assert type(failure([], "x")) is EngineFailed


def test_without_tensorrt_the_extra_and_the_jetson_package_are_named(made: tuple[Path, Sam2Manifest]) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match=r"python3-libnvinfer.*scene-r1-edge\[tensorrt\]"):
            open_engines(*made)


def test_without_a_driver_that_is_said() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(EngineFailed, match="no NVIDIA driver"):
            load_driver()
