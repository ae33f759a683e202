"""What an engine was built from and for is known, and checked, before TensorRT sees a byte of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.tiny_engines import MACHINE, engine_folder, plan_of, put, sidecar_of

from scene_r1_engines.errors import BadConfig, BadInput, BadModelFile
from scene_r1_engines.sam2.extents import (
    Extent,
    extents_of,
    letters_of,
    profile_of,
    said_profile,
    shape_of,
)
from scene_r1_engines.sam2.manifest import Sam2Manifest, tensors
from scene_r1_engines.tensorrt_module.sidecar import (
    check_sidecar,
    read_engine,
    read_sidecar,
    sidecar_path,
    sidecar_to_toml,
    stale,
)

PART = "memory_attention"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write to it."""
    path = tmp_path_factory.mktemp("engines") / "model"
    engine_folder(path)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Sam2Manifest:
    return engine_folder(tmp_path / "model")


def profile(manifest: Sam2Manifest, part: str = PART) -> str:
    return said_profile(profile_of(manifest.graphs[part].takes, extents_of(manifest, part)))


def test_a_profile_goes_from_the_least_to_what_the_manifest_allows(manifest: Sam2Manifest) -> None:
    rows = {one.name: one for one in profile_of(manifest.memory_attention.takes, extents_of(manifest, PART))}
    assert (rows["mem"].least, rows["mem"].usual, rows["mem"].most) == (
        (1, 1, 64, 4, 4),
        (1, 7, 64, 4, 4),
        (3, 7, 64, 4, 4),
    )
    assert str(rows["ptr_t"]) == "ptr_t 1 16 16"


def test_the_image_encoder_is_built_for_one_picture_and_a_mask_for_both_its_sizes(manifest: Sam2Manifest) -> None:
    (image,) = profile_of(manifest.image_encoder.takes, extents_of(manifest, "image_encoder"))
    assert image.least == image.most == (1, 3, 64, 64)
    rows = profile_of(manifest.memory_encoder.takes, extents_of(manifest, "memory_encoder"))
    assert str(rows[1]) == "mask 1x1x16x16 1x1x16x16 3x1x64x64"


def test_a_letter_that_nobody_knows_and_a_part_that_there_is_not_are_refused(manifest: Sam2Manifest) -> None:
    with pytest.raises(BadConfig, match="letter Q"):
        profile_of(tensors("feat float32 B Q"), extents_of(manifest, PART))
    with pytest.raises(BadConfig, match="no part"):
        extents_of(manifest, "prompt_encoder")
    with pytest.raises(BadConfig, match="no input says what M is"):
        shape_of(tensors("mem float32 M")[0], {"B": 1})


@given(st.lists(st.integers(1, 5), min_size=3, max_size=3), st.integers(-2, 9), st.integers(0, 2))
def test_what_is_fed_fits_the_letters_or_is_refused_by_name(extents: list[int], odd: int, where: int) -> None:
    takes = tensors("feat float32 B 8; mem float32 B M 4; tpos int32 M")
    batch, memories, other = extents
    ends = {"B": Extent(1, 1, 3), "M": Extent(1, 2, 4)}
    shapes: dict[str, tuple[int, ...]] = {"feat": (batch, 8), "mem": (batch, memories, 4), "tpos": (other,)}
    if odd >= 0:
        name = ("feat", "mem", "tpos")[where]
        shapes[name] = (*shapes[name][:-1], odd)
    legal = (
        batch <= 3
        and 1 <= memories <= 4
        and shapes["tpos"] == (memories,)
        and shapes["feat"] == (batch, 8)
        and shapes["mem"] == (batch, memories, 4)
    )
    if legal:
        letters = letters_of(takes, shapes, ends)
        assert letters == {"B": batch, "M": memories}
        assert shape_of(tensors("out float32 M B 2")[0], letters) == (memories, batch, 2)
    else:
        with pytest.raises(BadInput, match=r"feat|mem|tpos"):
            letters_of(takes, shapes, ends)


def test_a_missing_an_unknown_and_a_flat_feed_are_refused() -> None:
    takes, ends = tensors("feat float32 B 8; ptr float32 B 2"), {"B": Extent(1, 1, 3)}
    with pytest.raises(BadInput, match="the input ptr is missing"):
        letters_of(takes, {"feat": (1, 8)}, ends)
    with pytest.raises(BadInput, match="no input 'mask'"):
        letters_of(takes, {"feat": (1, 8), "ptr": (1, 2), "mask": (1,)}, ends)
    with pytest.raises(BadInput, match=r"Bx8, got \(8,\)"):
        letters_of(takes, {"feat": (8,), "ptr": (1, 2)}, ends)
    with pytest.raises(BadInput, match=r"B = 4, 1 to 3 is taken.*build its engines again"):
        letters_of(takes, {"feat": (4, 8), "ptr": (4, 2)}, ends)


@given(
    st.booleans(),
    st.sampled_from(("exact", "ampere_plus", "same_compute_capability")),
    st.integers(1, (1 << 32) - 1),
    st.text(min_size=0, max_size=60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sidecar_reads_back_as_it_was_written(
    folder: Path, tmp_path: Path, compatible: bool, hardware: str, size: int, gpu: str
) -> None:
    said = replace(
        read_sidecar(folder, PART),
        version_compatible=compatible,
        hardware=hardware,
        bytes=size,
        machine=replace(MACHINE, gpu=gpu),
    )
    sidecar_path(tmp_path, PART).write_text(sidecar_to_toml(said), encoding="utf-8")
    assert read_sidecar(tmp_path, PART) == said


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_sidecar_cut_or_flipped_anywhere_is_refused_or_says_the_same_kind_of_thing(
    folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    text = sidecar_path(folder, PART).read_bytes()
    at = data.draw(st.integers(0, len(text) - 1))
    if data.draw(st.booleans()):
        hurt = text[:at]
    else:
        hurt = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    sidecar_path(tmp_path, PART).write_bytes(hurt)
    said = ""
    try:
        file = read_sidecar(tmp_path, PART).file
    except BadModelFile as error:
        file, said = f"{PART}.engine", str(error)
    assert file == f"{PART}.engine"
    assert not said or "scene-r1-export tensorrt" in said


def test_a_missing_sidecar_says_how_engines_are_built(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"is missing.*scene-r1-export tensorrt '.*a b'"):
        read_sidecar(tmp_path / "a b", PART)


def test_a_sidecar_of_another_part_is_refused(folder: Path, tmp_path: Path) -> None:
    sidecar_path(tmp_path, PART).write_bytes(sidecar_path(folder, "mask_decoder").read_bytes())
    with pytest.raises(BadModelFile, match=r"speaks of mask_decoder\.engine"):
        read_sidecar(tmp_path, PART)


@pytest.mark.parametrize(
    ("changes", "machine", "why"),
    [
        ({}, {}, None),
        ({"onnx_sha256": "f" * 64}, {}, "another graph"),
        ({"profile": "mem 1 2 3"}, {}, "other shapes"),
        ({}, {"platform": "linux-sparc"}, "linux-sparc"),
        ({}, {"tensorrt": "10.3.1"}, "built by TensorRT 10.3.0, here is 10.3.1"),
        ({}, {"tensorrt": "11.4.0.106"}, "here is 11.4.0.106"),
        ({"version_compatible": True}, {"tensorrt": "10.7.0"}, None),
        ({"version_compatible": True}, {"tensorrt": "11.4.0.106"}, None),
        ({"version_compatible": True}, {"tensorrt": "10.2.9"}, "version-compatible from"),
        ({"version_compatible": True}, {"tensorrt": "12.0.0"}, "version-compatible from"),
        ({}, {"compute_capability": "8.6"}, "built for compute capability 8.7"),
        ({}, {"multiprocessors": 16}, "with 4 multiprocessors"),
        ({}, {"gpu": "Orin"}, "here is 'Orin'"),
        ({"hardware": "same_compute_capability"}, {"multiprocessors": 16}, None),
        ({"hardware": "same_compute_capability"}, {"compute_capability": "8.6"}, "compute capability"),
        ({"hardware": "ampere_plus"}, {"compute_capability": "12.0", "gpu": "Other"}, None),
        ({"hardware": "ampere_plus"}, {"compute_capability": "7.5"}, "Ampere and later"),
    ],
)
def test_an_engine_is_used_where_it_was_built_and_where_its_flags_say(
    manifest: Sam2Manifest, changes: dict[str, Any], machine: dict[str, str], why: str | None
) -> None:
    said = replace(sidecar_of(b"plan", manifest, PART), **changes)
    found = stale(said, replace(MACHINE, **machine), manifest.memory_attention.sha256, profile(manifest))
    assert (found is None) if why is None else (found is not None and why in found)


def test_a_stale_engine_is_refused_with_the_command_that_builds_it(manifest: Sam2Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    put(folder, manifest, PART, plan_of(manifest, PART), onnx_sha256="f" * 64)
    with pytest.raises(BadModelFile, match=rf"another graph.*scene-r1-export tensorrt {folder}") as error:
        check_sidecar(folder, PART, MACHINE, manifest.memory_attention.sha256, profile(manifest))
    assert error.value.path == str(folder / f"{PART}.engine")


@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_an_engine_cut_or_changed_in_any_byte_is_refused(folder: Path, tmp_path: Path, at: float, flip: int) -> None:
    sidecar, plan = read_sidecar(folder, PART), (folder / f"{PART}.engine").read_bytes()
    where = int(at * len(plan))
    file = tmp_path / f"{PART}.engine"
    file.write_bytes(plan[:where] + bytes([plan[where] ^ flip]) + plan[where + 1 :])
    if flip:
        with pytest.raises(BadModelFile, match="was changed since it was built"):
            read_engine(tmp_path, sidecar)
    else:
        assert read_engine(tmp_path, sidecar) == plan
    file.write_bytes(plan[:where])
    with pytest.raises(BadModelFile, match=r"truncated.*scene-r1-export tensorrt"):
        read_engine(tmp_path, sidecar)
    file.write_bytes(plan + b"x")
    with pytest.raises(BadModelFile, match="too long"):
        read_engine(tmp_path, sidecar)


def test_an_engine_that_is_a_link_out_of_its_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / f"{PART}.engine").symlink_to(folder / f"{PART}.engine")
    with pytest.raises(BadModelFile, match="link out of its folder"):
        read_engine(tmp_path, read_sidecar(folder, PART))


def test_the_profile_of_the_longest_part_at_the_largest_size_is_a_line_that_settings_may_have() -> None:
    """settings_file refuses lines of more than 1000 characters."""
    takes = tensors(
        "feat float32 B 256 256 256; s0 float32 B 32 1024 1024; s1 float32 B 64 512 512; coords float32 B N 2; "
        "labels int32 B N; mask_in float32 B 1 1024 1024; has_mask float32 B; multimask float32 B; alone float32 B"
    )
    said = said_profile(profile_of(takes, {"B": Extent(1, 1, 64), "N": Extent(2, 3, 256)}))
    assert 250 < len(said) < 900
