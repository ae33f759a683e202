"""A SAM2 folder is opened only when each of its files is what the manifest says, and all are of one model."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.tiny_sam2 import IO, SIDE, node, seal, sound_folder

from scene_r1_engines import verified_files
from scene_r1_engines.errors import BadConfig, BadInput, BadModelFile, EngineFailed, MissingExtra
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.sam2.folder import BACKENDS, open_folder, vouch_sam2
from scene_r1_engines.sam2.manifest import PARTS, MemoryRules
from scene_r1_engines.sam2.module import Module, host

pytest.importorskip("onnxruntime")
DECODER = "mask_decoder.onnx"
Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified files are remembered in a place of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sound_folder(tmp_path / "model")


def refused(folder: Path, reason: str, name: str = DECODER, verify_hashes: bool = True) -> None:
    with pytest.raises(BadModelFile, match=reason) as caught:
        open_folder(folder, verify_hashes=verify_hashes).close()
    assert Path(caught.value.path).name == name


def edited(folder: Path, edit: Edit, name: str = DECODER) -> None:
    made = onnx.load(folder / name)
    edit(made)
    (folder / name).write_bytes(made.SerializeToString())


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_folder_is_opened_and_its_graphs_fit_together(folder: Path) -> None:
    with open_folder(folder) as opened:
        assert list(opened.modules) == list(PARTS)
        assert all(isinstance(one, Module) for one in opened.modules.values())
        image = np.full((1, 3, SIDE, SIDE), 2.0, np.float32)
        seen = opened.modules["image_encoder"].run({"image": image}, keep=("s0", "s1", "feat"))
        np.testing.assert_allclose(host(seen["feat"])[0, :, 0, 0], 2.0 * np.arange(256), rtol=1e-5)
        recalled = opened.modules["memory_attention"].run(
            {
                "feat": seen["feat"],
                "mem": np.ones((1, 2, 64, 4, 4), np.float16),
                "tpos": np.array([6, 0]),
                "ptr": np.zeros((1, 1, 256)),
                "ptr_t": np.array([0.5]),
            },
            keep=("feat_mem",),
        )
        np.testing.assert_allclose(host(recalled["feat_mem"]), host(seen["feat"]) + 1.0 + 3.0 + 0.5, rtol=1e-5)
        decoded = opened.modules["mask_decoder"].run(
            {
                "feat": recalled["feat_mem"],
                "s0": seen["s0"],
                "s1": seen["s1"],
                "coords": np.full((1, 3, 2), 8.0),
                "labels": np.array([[2, 3, -1]]),
                "mask_in": np.full((1, 1, 16, 16), 5.0),
                "has_mask": np.ones(1),
                "multimask": np.zeros(1),
                "alone": np.zeros(1),
            }
        )
        np.testing.assert_allclose(decoded["low"], 5.0 + 31.0 + 63.0, rtol=1e-5)
        remembered = opened.modules["memory_encoder"].run(
            {"feat": seen["feat"], "mask": decoded["low"], "score": decoded["score"], "binarize": np.ones(1)}
        )
        assert host(remembered["mem"]).shape == (1, 64, 4, 4)
    with pytest.raises(EngineFailed, match="image_encoder was closed"):
        opened.modules["image_encoder"].run({"image": image})
    opened.close()


def test_the_manifest_bounds_what_is_fed(folder: Path) -> None:
    with open_folder(folder) as opened, pytest.raises(BadInput, match=r"image_encoder: .*B = 2"):
        opened.modules["image_encoder"].run({"image": np.zeros((2, 3, SIDE, SIDE))})


@pytest.mark.parametrize("verify_hashes", [True, False])
def test_a_truncated_or_longer_file_is_refused(verify_hashes: bool, folder: Path) -> None:
    size = (folder / DECODER).stat().st_size
    os.truncate(folder / DECODER, size - 1)
    refused(folder, f"is truncated: {size - 1} of the {size} bytes", DECODER, verify_hashes)
    os.truncate(folder / DECODER, size + 1)
    refused(folder, "another file", DECODER, verify_hashes)


def test_a_changed_weight_is_found_by_the_hash(folder: Path) -> None:
    at = (folder / "image_encoder.onnx").read_bytes().index(np.float32(3 / 48).tobytes())
    damage(folder / "image_encoder.onnx", at)
    refused(folder, "has the sha256 .*changed or damaged", "image_encoder.onnx")
    open_folder(folder, verify_hashes=False).close()


def test_a_verified_folder_is_not_hashed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_files, "SETTLED_NS", 0)
    said: list[tuple[int, int]] = []
    vouch_sam2(folder, progress=lambda done, total: said.append((done, total)))
    whole = sum((folder / f"{part}.onnx").stat().st_size for part in PARTS)
    assert said[-1] == (whole, whole)
    said.clear()
    vouch_sam2(folder, progress=lambda done, total: said.append((done, total)))
    assert said == []


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / DECODER).rename(outside)
    (folder / DECODER).symlink_to(outside)
    refused(folder, "link out of its folder")
    (folder / DECODER).unlink()
    outside.rename(folder / "blob")
    (folder / DECODER).symlink_to("blob")
    open_folder(folder).close()


def test_what_is_no_file_is_refused_and_none_is_waited_for(folder: Path) -> None:
    (folder / DECODER).unlink()
    refused(folder, "No such file")
    os.mkfifo(folder / DECODER)
    refused(folder, "not a regular file")
    (folder / MANIFEST).unlink()
    refused(folder, "No such file|cannot be read", MANIFEST)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "link.bin", "beside.bin"])
def test_weights_outside_of_the_graph_are_refused(location: str, folder: Path) -> None:
    (folder.parent / "outside.bin").write_bytes(bytes(8))
    (folder / "beside.bin").write_bytes(bytes(8))
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")

    def edit(made: onnx.ModelProto) -> None:
        made.graph.initializer[0].ClearField("raw_data")
        made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
        made.graph.initializer[0].external_data.add(key="location", value=location)

    edited(folder, edit)
    seal(folder)
    refused(folder, "keeps weights in another file")


def first_shape(made: onnx.ModelProto) -> Any:
    """The extents of the first input."""
    return made.graph.input[0].type.tensor_type.shape.dim


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda made: setattr(made.graph.node[0], "domain", "com.microsoft"), "only standard ones"),
        (lambda made: setattr(made.graph.node[0], "op_type", "Nonsense"), "ONNX Runtime does not take it"),
        (lambda made: setattr(made.opset_import[0], "version", 18), "has opset 18, its manifest says 17"),
        (lambda made: setattr(made.graph.input[0], "name", "features"), "takes features float32 B 256 4 4; s0"),
        (lambda made: made.graph.input.pop(), "takes feat .*its manifest says"),
        (lambda made: made.graph.output.reverse(), "gives score .*its manifest says low"),
        (lambda made: setattr(made.graph.input[4].type.tensor_type, "elem_type", 7), "labels int64 B N"),
        (lambda made: setattr(first_shape(made)[1], "dim_value", 255), "feat float32 B 255"),
        (lambda made: setattr(first_shape(made)[0], "dim_value", 1), "feat float32 1 256"),
        (lambda made: setattr(first_shape(made)[2], "dim_param", "h"), "256 h 4"),
        (lambda made: made.graph.initializer[0].dims.append(1 << 38), "claims 549755813888 int64"),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(edit: Edit, reason: str, folder: Path) -> None:
    edited(folder, edit)
    seal(folder)
    refused(folder, reason)


@pytest.mark.parametrize(
    ("part", "takes", "gives", "reason"),
    [
        ("memory_attention", None, "out float32 B 256 4 4", "memory_attention gives no feat_mem"),
        ("memory_attention", None, "feat_mem float32 B 256 8 8", "memory_attention has feat_mem float32 B 256 8 8"),
        ("memory_encoder", "feat float32 B 128 4 4; mask float32 B 1 H W", None, "memory_encoder has feat .*another"),
        ("memory_encoder", "feat float32 B 256 4 4; mask float32 B 1 Q W", None, "takes the letter Q"),
        ("memory_encoder", None, "mem float32 B 32 4 4", "gives mem of .*memory.channels is 64"),
        ("memory_encoder", None, "mem float32 N 64 4 4", "gives the letter N, which none"),
        ("image_encoder", "image float32 B 3 128 128", None, "must take one image B 3 64 64"),
        ("mask_decoder", None, "low float32 B 1 16 16; iou float32 B 1", "gives no ptr, score"),
    ],
)
def test_a_manifest_whose_graphs_do_not_fit_each_other_is_refused(
    part: str, takes: str | None, gives: str | None, reason: str, folder: Path
) -> None:
    seal(folder, {**IO, part: (takes or IO[part][0], gives or IO[part][1])})
    refused(folder, reason, MANIFEST)


def test_a_model_with_other_memories_than_its_manifest_is_refused(folder: Path) -> None:
    seal(folder, memory=MemoryRules(7, 16, channels=32))
    refused(folder, "memory.channels is 32", MANIFEST)


def test_a_file_that_is_replaced_while_it_is_loaded_is_found(folder: Path) -> None:
    found = vouch_sam2(folder)
    found.check_unchanged()
    data = (folder / DECODER).read_bytes()
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / DECODER)
    with pytest.raises(BadModelFile, match="changed or replaced"):
        found.check_unchanged()


def test_no_descriptor_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    vouch_sam2(folder)
    damage(folder / DECODER, -1)
    with pytest.raises(BadModelFile):
        vouch_sam2(folder)
    (folder / DECODER).unlink()
    with pytest.raises(BadModelFile):
        vouch_sam2(folder)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unknown_backend_is_named_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(BadConfig, match=f"unknown backend 'gpu'; known: {', '.join(BACKENDS)}"):
        open_folder(folder, "gpu")


def test_engines_that_nobody_built_are_not_opened(folder: Path) -> None:
    with pytest.raises((MissingExtra, EngineFailed, BadModelFile), match=r"tensorrt|GPU|CUDA"):
        open_folder(folder, "tensorrt")


def test_an_unused_input_may_be_left_out_of_graph_and_manifest(folder: Path) -> None:
    def edit(made: onnx.ModelProto) -> None:
        del made.graph.input[4], made.graph.node[4]
        made.graph.node[4].CopyFrom(node("Sum", "m t p", "all"))

    edited(folder, edit, "memory_attention.onnx")
    takes, gives = IO["memory_attention"]
    seal(folder, {**IO, "memory_attention": (takes.removesuffix("; ptr_t float32 P"), gives)})
    with open_folder(folder) as opened:
        assert "ptr_t" not in {spec.name for spec in opened.manifest.memory_attention.takes}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound folder whose decoder hypothesis damages and puts back."""
    return sound_folder(tmp_path_factory.mktemp("kept") / "model")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1, exclude_max=True), sealed=st.booleans())
def test_a_graph_that_is_cut_anywhere_is_refused(cut: float, sealed: bool, kept: Path) -> None:
    """Also where its manifest was written after it was cut."""
    whole = (kept / DECODER).read_bytes()
    try:
        (kept / DECODER).write_bytes(whole[: max(1, int(cut * len(whole)))])
        if sealed:
            seal(kept)
        refused(kept, "copy|export", DECODER, verify_hashes=False)
    finally:
        (kept / DECODER).write_bytes(whole)
        seal(kept)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_graph_loads_only_without_its_hash_if_at_all(place: float, flip: int, kept: Path) -> None:
    whole = (kept / DECODER).read_bytes()
    data = bytearray(whole)
    data[int(place * len(whole))] ^= flip
    try:
        (kept / DECODER).write_bytes(data)
        refused(kept, "copy|export", DECODER)
        with suppress(BadModelFile):
            open_folder(kept, verify_hashes=False).close()
    finally:
        (kept / DECODER).write_bytes(whole)


def test_the_graph_of_another_model_is_refused_although_it_fits(folder: Path) -> None:
    manifest = seal(folder)
    edited(folder, lambda made: setattr(made, "producer_name", "another"))
    newer = replace(manifest.mask_decoder, bytes=(folder / DECODER).stat().st_size)
    seal(folder, mask_decoder=newer)
    refused(folder, "sha256")
