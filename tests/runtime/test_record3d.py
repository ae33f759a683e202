"""Recordings of the Record3D app: a zip of JPEG pictures and LZFSE-compressed depth."""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.phone_recordings import fault, record3d_metadata, write_record3d
from tests.runtime.walked_room import depth_of_a_room, walk

from scene_r1.frame import RgbdFrame, depth_counts
from scene_r1.inspection import inspect
from scene_r1.sources import open_source
from scene_r1.sources.record3d import Record3dSource
from scene_r1.sources.record3d.lzfse_stream import decompress
from scene_r1.sources.record3d.metadata import parse_metadata
from scene_r1_engines.errors import BadInput, BadRecording, MissingExtra
from scene_r1_engines.intrinsics import Intrinsics

lzfse = pytest.importorskip("lzfse")

CAMERA = Intrinsics(60.0, 60.5, 35.0, 47.5, 72, 96)
DEPTH = CAMERA.scaled(36, 48)


def recorded(count: int = 6) -> list[RgbdFrame]:
    """A walk through a room, held upright as the app does."""
    return [
        RgbdFrame(
            index=i,
            timestamp_ns=2_000_000_000 + i * 33_333_333,
            color=np.full((CAMERA.height, CAMERA.width, 3), 20 + 15 * (i % 15), np.uint8),
            color_intrinsics=replace(CAMERA, fx=CAMERA.fx + 0.01 * i),
            depth_raw=depth_counts(depth_of_a_room(T, DEPTH), 0.00025),
            depth_scale=0.00025,
            depth_intrinsics=DEPTH,
            T_world_camera=T,
        )
        for i, T in enumerate(walk(count))
    ]


def read_all(path: Path, **options: int) -> list[RgbdFrame]:
    with Record3dSource(path, **options) as source:
        return list(source.frames())


def changed(path: Path, members: dict[str, bytes | None]) -> Path:
    """The same zip with some files replaced, or left out where they are None."""
    with zipfile.ZipFile(path) as old:
        kept = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in {**kept, **members}.items():
            if data is not None:
                new.writestr(name, data)
    return path


@pytest.mark.parametrize("own", [False, True])
def test_what_the_app_recorded_is_read(tmp_path: Path, own: bool) -> None:
    frames = recorded()
    path = write_record3d(tmp_path / "room.r3d", frames, metadata=record3d_metadata(frames, own))
    with open_source(path) as source:
        assert (source.info.format, source.info.timestamps) == ("record3d", "recorded")
        back = list(source.frames())
    for got, wanted in zip(back, frames, strict=True):
        assert got.timestamp_ns == wanted.timestamp_ns
        assert np.abs(got.color.astype(int) - wanted.color).max() <= 3
        assert np.array_equal(got.depth_raw, wanted.depth_raw)
        np.testing.assert_allclose(got.T_world_camera, wanted.T_world_camera, atol=1e-12)
        assert got.color_intrinsics.fx == pytest.approx(wanted.color_intrinsics.fx if own else CAMERA.fx)
        assert (got.color_intrinsics.cx, got.color_intrinsics.cy) == (CAMERA.cx, CAMERA.cy)
        assert got.depth_intrinsics == got.color_intrinsics.scaled(36, 48)


def test_poses_are_turned_from_opengl_axes_and_agree_with_depth(tmp_path: Path) -> None:
    with open_source(write_record3d(tmp_path / "room.r3d", recorded(40))) as source:
        found = inspect(source)
    assert found.better_reading is None
    assert found.reprojection[0].error is not None
    assert found.reprojection[0].error < 0.01


def test_pictures_larger_than_the_metadata_says_scale_its_intrinsics(tmp_path: Path) -> None:
    frames = recorded(3)
    metadata = record3d_metadata(frames)
    metadata.update(w=36, h=48, K=DEPTH.K.T.ravel().tolist())
    with Record3dSource(write_record3d(tmp_path / "room.r3d", frames, metadata=metadata)) as source:
        assert any("scaled" in note for note in source.info.notes)
        assert source.info.color_intrinsics.fx == pytest.approx(CAMERA.fx)
        assert source.info.color_intrinsics.cx == pytest.approx(CAMERA.cx)
        assert next(source.frames()).color.shape == (96, 72, 3)
    metadata.update(w=48, h=36, K=CAMERA.scaled(48, 36).K.T.ravel().tolist())
    with pytest.raises(BadRecording, match=r"72x96.*48x36"):
        Record3dSource(write_record3d(tmp_path / "other.r3d", frames, metadata=metadata))


def test_an_old_recording_without_a_depth_size_is_known_by_its_length(tmp_path: Path) -> None:
    lidar = CAMERA.scaled(192, 256)
    frames = [
        replace(one, depth_intrinsics=lidar, depth_raw=np.full((256, 192), 4000, np.uint16)) for one in recorded(2)
    ]
    metadata = {key: value for key, value in record3d_metadata(frames).items() if key not in ("dw", "dh")}
    back = read_all(write_record3d(tmp_path / "room.r3d", frames, metadata=metadata))
    assert [one.depth_raw.shape for one in back] == [(256, 192)] * 2
    unknown = write_record3d(tmp_path / "odd.r3d", recorded(2), metadata=metadata)
    with pytest.raises(BadRecording, match="names no depth size"):
        open_source(unknown)


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_depth_below_the_confidence_threshold_is_no_return(tmp_path: Path, threshold: int) -> None:
    frames = recorded(4)
    levels = [np.random.default_rng(i).integers(0, 3, (48, 36), dtype=np.uint8) for i in range(4)]
    path = write_record3d(tmp_path / "room.r3d", frames, levels)
    for got, wanted, level in zip(read_all(path, min_confidence=threshold), frames, levels, strict=True):
        assert np.array_equal(got.depth_raw, np.where(level < threshold, 0, wanted.depth_raw))
    changed(path, {"rgbd/2.conf": None})
    with Record3dSource(path, threshold) as source:
        list(source.frames())
        assert source.info.counters["without_confidence"] == (threshold > 0)


def test_depth_that_is_no_number_or_out_of_reach_is_no_return(tmp_path: Path) -> None:
    path = write_record3d(tmp_path / "room.r3d", recorded(2))
    depth_m = np.full((48, 36), 2.0, "<f4")
    depth_m[0, :5] = (np.nan, np.inf, -1.0, 0.0, 1000.0)
    changed(path, {"rgbd/1.depth": lzfse.compress(depth_m.tobytes())})
    back = read_all(path)[1].depth_raw
    assert not back[0, :5].any()
    assert (back.ravel()[5:] == 8000).all()


def test_a_lost_pose_or_one_not_in_the_list_is_none_and_counted(tmp_path: Path) -> None:
    frames = recorded(4)
    frames[1] = replace(frames[1], T_world_camera=None)
    metadata = record3d_metadata(frames)
    metadata["poses"] = list(metadata["poses"])[:3]  # type: ignore[call-overload]
    with Record3dSource(write_record3d(tmp_path / "room.r3d", frames, metadata=metadata)) as source:
        assert [frame.T_world_camera is None for frame in source.frames()] == [False, True, False, True]
        assert source.info.counters["without_pose"] == 2


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"rgbd/2.depth": None}, "missing in the zip"),
        ({"rgbd/2.depth": b""}, "empty"),
        ({"rgbd/2.depth": b"bvx$"}, "0 bytes"),
        ({"rgbd/2.depth": b"what is this"}, "no LZFSE stream"),
        ({"rgbd/2.depth": b"bvx-" + struct.pack("<I", 2**32 - 1)}, "cut short"),
        ({"rgbd/2.depth": b"bvxn" + struct.pack("<II", 2**32 - 1, 4) + b"abcd" + b"bvx$"}, "4294967295 bytes"),
        ({"rgbd/2.depth": bytes(50_000_000)}, "more than the"),
        ({"rgbd/2.jpg": b"\xff\xd8\xff\xd9"}, "2.jpg"),
    ],
)
def test_a_damaged_frame_is_named_and_those_before_it_are_read(
    tmp_path: Path, members: dict[str, bytes | None], says: str
) -> None:
    path = changed(write_record3d(tmp_path / "room.r3d", recorded(4)), members)
    frames: list[RgbdFrame] = []
    with Record3dSource(path) as source:
        error = fault(lambda: frames.extend(iter(source.frames())))
    assert error is not None
    assert says in str(error)
    assert error.frame == 2
    assert len(frames) in (0, 2)  # extend keeps what it got, or nothing, by the version of Python


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = write_record3d(tmp_path / "room.r3d", recorded(2))
    whole = path.read_bytes()
    for length in [0, 1, 30, *range(31, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:length])
        error = fault(lambda: read_all(path))
        assert error is not None
        assert "room.r3d" in str(error)


def test_a_folder_a_missing_file_and_another_zip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.r3d").mkdir()
    for name, says in (("folder.r3d", "regular file"), ("absent.r3d", "missing")):
        with pytest.raises(BadRecording, match=says):
            Record3dSource(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.r3d", "w") as out:
        out.writestr("letter.txt", "hello")
    with pytest.raises(BadRecording, match="is it a Record3D recording"):
        open_source(tmp_path / "other.r3d")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"w": 0}, "w must be"),
        ({"h": 10**9}, "h must be"),
        ({"K": [1, 2, 3]}, "K must be 9 numbers"),
        ({"K": [60, 0, 0, 0, 60, 0, 35, float("nan"), 1]}, "K must be"),
        ({"poses": 3}, "poses must be a list"),
        ({"poses": [[0, 0, 0, 2, 0, 0, 0]]}, r"poses\[0\].*length 1"),
        ({"poses": [[0, 0, 0, "1", 0, 0, 0]]}, r"poses\[0\]"),
        ({"frameTimestamps": [-1.0]}, r"frameTimestamps\[0\]"),
        ({"fps": 0}, "fps"),
        ({"dw": 10_000, "dh": 10_000}, "4000000 pixels"),
        ({"perFrameIntrinsicCoeffs": [[1, 2, 3]]}, "perFrameIntrinsicCoeffs"),
    ],
)
def test_metadata_that_makes_no_sense_is_named_by_its_key(tmp_path: Path, change: dict[str, object], says: str) -> None:
    frames = recorded(2)
    path = write_record3d(tmp_path / "room.r3d", frames, metadata={**record3d_metadata(frames), **change})
    with pytest.raises(BadRecording, match=says) as caught:
        Record3dSource(path)
    assert "metadata" in caught.value.path


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=9), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    key=st.sampled_from(["K", "w", "h", "dw", "poses", "frameTimestamps", "fps", "perFrameIntrinsicCoeffs"]), value=JSON
)
def test_any_value_of_any_key_is_taken_or_refused(key: str, value: object) -> None:
    metadata = {**record3d_metadata(recorded(1)), key: value}
    error = fault(lambda: parse_metadata(json.dumps(metadata).encode(), Path("room.r3d/metadata")))
    assert error is None or error.path == str(Path("room.r3d/metadata"))


@settings(max_examples=60, deadline=None)
@given(
    data=st.one_of(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=40).map(lambda one: one * 400)),
    cut=st.integers(0, 400),
)
def test_a_stream_unpacks_to_what_went_in_and_one_cut_short_is_refused(data: bytes, cut: int) -> None:
    packed = lzfse.compress(data)
    assert decompress(packed, len(data)) == data
    with pytest.raises(ValueError, match="unpacks to"):
        decompress(packed, len(data) + 1)
    if cut < len(packed):
        with pytest.raises(ValueError, match=r"cut short|no LZFSE"):
            decompress(packed[:cut], len(data))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_the_size(at: int, bit: int) -> None:
    data = np.linspace(0.5, 3.0, 1728).astype("<f4").tobytes()
    packed = bytearray(lzfse.compress(data))
    packed[at % len(packed)] ^= 1 << bit
    try:
        found = decompress(bytes(packed), len(data))
    except ValueError:
        return
    assert len(found) == len(data)


def test_a_closed_recording_is_not_read(tmp_path: Path) -> None:
    source = Record3dSource(write_record3d(tmp_path / "room.r3d", recorded(6)))
    loop = source.frames()
    next(loop)
    source.close()
    source.close()
    with pytest.raises(BadInput, match="closed"):
        list(loop)


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_record3d(Path(folder) / "room.r3d", recorded(1))
        monkeypatch.setitem(sys.modules, "lzfse", None)
        with pytest.raises(MissingExtra, match="record3d"):
            open_source(path)
