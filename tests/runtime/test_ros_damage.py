"""Damaged and hostile bags: what is whole comes out, then one error says what is wrong."""

from __future__ import annotations

import resource
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, make_frames, same
from tests.runtime.ros_writer import COLOR, COLOR_FRAME, COLOR_INFO, DEPTH, DEPTH_INFO, Bag, mounted, recorded, shoot

from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.ros import RosBag
from scene_r1.sources.ros.mcap_file import MAGIC, McapFile
from scene_r1.sources.ros.storage import bounded_zstd, zstd_module
from scene_r1_engines.errors import BadRecording

FRAMES = make_frames(8)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bags")
    made = {kind: recorded(folder / kind, FRAMES, kind) for kind in ("mcap", "db3", "bag")}
    made["mcap, compressed"] = recorded(folder / "packed", FRAMES, "mcap", compression="ZSTD")
    return {name: path.read_bytes() for name, path in made.items()}


def read_until_the_fault(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    frames: list[RgbdFrame] = []
    try:
        with open_source(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


@pytest.mark.parametrize("kind", ["mcap", "db3", "bag", "mcap, compressed"])
@given(share=st.floats(0.0, 0.999))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bag_cut_anywhere_gives_what_is_whole_and_then_says_so(
    bags: dict[str, bytes], tmp_path: Path, kind: str, share: float
) -> None:
    whole = bags[kind]
    path = tmp_path / f"cut.{kind[:4].strip(',')}"
    path.write_bytes(whole[: int(len(whole) * share)])
    frames, error = read_until_the_fault(path)
    assert len(frames) <= len(FRAMES)
    for got, wanted in zip(frames, FRAMES, strict=False):
        assert got.timestamp_ns == wanted.timestamp_ns
        assert np.array_equal(got.color, wanted.color)
        assert np.array_equal(got.depth_raw, wanted.depth_raw)
    if error is not None:
        assert "cut" in error.path
        assert error.frame in (None, len(frames))
    else:  # only the index at the end of a file that is read from front to back can go without a loss
        assert len(frames) == len(FRAMES)
        assert kind.startswith("mcap")


@pytest.mark.parametrize("compression", [None, "ZSTD"])
@pytest.mark.parametrize("kind", ["mcap", "db3"])
def test_most_of_a_bag_that_was_cut_near_its_end_is_read(tmp_path: Path, kind: str, compression: str | None) -> None:
    camera = CAMERA.scaled(64, 48)
    shot = make_frames(20, color=camera, depth=camera)
    path = recorded(tmp_path / "cut", shot, kind, compression=compression if kind == "mcap" else None)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    frames, error = read_until_the_fault(path)
    assert len(frames) >= 12
    for got, wanted in zip(frames[:-1], shot, strict=False):
        same(got, wanted)
    assert error is not None
    assert "truncated" in error.reason
    assert error.frame == len(frames)


@pytest.mark.parametrize("kind", ["mcap", "db3", "bag", "mcap, compressed"])
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_never_cause_anything_but_a_typed_error(
    bags: dict[str, bytes], tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    broken = bytearray(bags[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"flipped.{kind[:4].strip(',')}"
    path.write_bytes(broken)
    frames, error = read_until_the_fault(path)
    assert len(frames) <= len(FRAMES)
    assert error is None or str(path) in str(error)


def test_frames_before_an_image_of_the_wrong_size_are_read(tmp_path: Path) -> None:
    with Bag(tmp_path / "room") as bag:
        for frame in FRAMES[:3]:
            shoot(bag, frame, one_camera=True)
        broken = FRAMES[3]
        bag.image(DEPTH, broken.timestamp_ns, COLOR_FRAME, broken.depth_raw, "16UC1")
        bag.image(COLOR, broken.timestamp_ns, COLOR_FRAME, broken.color, "rgb8", data=broken.color.ravel()[:-7])
        shoot(bag, FRAMES[4], one_camera=True)
    frames, error = read_until_the_fault(bag.path)
    assert len(frames) == 3
    assert error is not None
    assert error.frame == 3
    assert "12 rows has 48 bytes a row and 569 in all; 576 are needed" in error.reason


@pytest.mark.parametrize("claimed", [{"height": 2**32 - 1}, {"step": 2**32 - 1}, {"width": 2**31}, {"step": 1}])
def test_an_image_that_claims_a_hostile_size_reserves_no_memory(tmp_path: Path, claimed: dict[str, int]) -> None:
    with Bag(tmp_path / "room") as bag:
        bag.info(COLOR_INFO, 1, COLOR_FRAME, CAMERA)
        bag.info(DEPTH_INFO, 1, COLOR_FRAME, CAMERA)
        bag.image(DEPTH, 1, COLOR_FRAME, FRAMES[0].depth_raw, "16UC1")
        bag.image(COLOR, 1, COLOR_FRAME, FRAMES[0].color, "rgb8", **claimed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frames, error = read_until_the_fault(bag.path)
    assert not frames
    assert error is not None
    assert error.frame == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_message_that_is_not_of_its_type_ends_the_reading_there(tmp_path: Path) -> None:
    with Bag(tmp_path / "room") as bag:
        for frame in FRAMES[:3]:
            shoot(bag, frame, one_camera=True)
        bag.write_raw(COLOR, "sensor_msgs/msg/Image", FRAMES[3].timestamp_ns, b"\x00\x01\x00\x00" + b"\xff" * 40)
    frames, error = read_until_the_fault(bag.path)
    assert len(frames) == 3
    assert error is not None
    assert f"a message of {COLOR} is no sensor_msgs/msg/Image" in error.reason


def test_a_quaternion_of_no_rotation_is_refused_by_topic(tmp_path: Path) -> None:
    with Bag(tmp_path / "room") as bag:
        mounted(bag, 1, np.eye(4))
        shoot(bag, FRAMES[0], one_camera=True)
        for frame in FRAMES[1:3]:
            bag.tf("/tf", frame.timestamp_ns, ("map", "base_link", frame.timestamp_ns, np.eye(4)))
            shoot(bag, frame, one_camera=True)
        kind = "geometry_msgs/msg/Quaternion"
        bag._quaternion = lambda T: bag.make(kind, x=0.0, y=0.0, z=0.0, w=0.0)  # type: ignore[method-assign]
        bag.tf("/tf", FRAMES[3].timestamp_ns, ("map", "base_link", FRAMES[3].timestamp_ns, np.eye(4)))
        shoot(bag, FRAMES[3], one_camera=True)
    frames, error = read_until_the_fault(bag.path)
    assert len(frames) == 3
    assert error is not None
    assert "/tf: the transform from 'base_link' to 'map' has a quaternion of length 0" in error.reason


def test_a_bag_without_its_index_of_times_is_read_as_it_was_written(bags: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "room.db3"
    path.write_bytes(bags["db3"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX timestamp_idx")
        connection.commit()
    frames, error = read_until_the_fault(path)
    assert (len(frames), error) == (len(FRAMES), None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is no MCAP file"),
        (MAGIC, "its end is missing"),
        (MAGIC + struct.pack("<BQ", 5, 2**63), "is truncated or damaged"),
        (MAGIC + struct.pack("<BQ", 3, 1) + b"\x00" + struct.pack("<BQ", 15, 0), "shorter than its fields"),
        (MAGIC + struct.pack("<BQ", 15, 0), "no topic of color images"),
    ],
)
def test_a_file_that_is_no_mcap_says_why(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "room.mcap"
    path.write_bytes(content)
    with pytest.raises(BadRecording) as caught:
        open_source(path)
    assert words in caught.value.reason


def chunk(raw_size: int, data: bytes, compression: bytes = b"zstd") -> bytes:
    body = struct.pack("<QQQI", 0, 1, raw_size, 0) + struct.pack("<I", len(compression)) + compression
    body += struct.pack("<Q", len(data)) + data
    return MAGIC + struct.pack("<BQ", 6, len(body)) + body


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (chunk(2**62, b""), "a chunk of 4611686018427387904 bytes"),
        (chunk(100, b"nonsense"), "is no Zstandard data"),
        (chunk(100, b"nonsense", b"lz4"), "is no LZ4 data"),
        (chunk(100, b"nonsense", b"rar"), "is compressed by 'rar'"),
        (chunk(100, b"nonsense", b""), "size or checksum is wrong"),
    ],
)
def test_a_chunk_is_checked_before_it_is_believed(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "room.mcap"
    path.write_bytes(content)
    with pytest.raises(BadRecording) as caught:
        McapFile(path)
    assert words in caught.value.reason


def test_a_decompression_bomb_stops_at_its_limit() -> None:
    bomb = zstd_module("this test").compress(bytes(64 << 20))
    assert len(bomb) < 10_000
    with pytest.raises(ValueError, match="more than the 1000 bytes"):
        bounded_zstd(bomb, 1000)
    assert bounded_zstd(bomb, 64 << 20) == bytes(64 << 20)


def test_an_sqlite_file_without_tables_of_a_bag_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.db3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats(name TEXT)")
    with pytest.raises(BadRecording, match="no topics and messages"):
        RosBag(path)


def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path: Path) -> None:
    """Images of 0.5 MB: 100 of each stream in the file, and a window of a few that are held."""
    color = np.zeros((300, 400, 3), dtype=np.uint8)
    depth = np.ones((300, 400), dtype=np.uint16)
    camera = CAMERA.scaled(400, 300)
    with Bag(tmp_path / "long", "db3") as bag:
        bag.info(COLOR_INFO, 1, COLOR_FRAME, camera)
        bag.info(DEPTH_INFO, 1, COLOR_FRAME, camera)
        for n in range(100):
            bag.tf("/tf", n, ("map", COLOR_FRAME, 33_000_000 * (n + 1), np.eye(4)))
            bag.image(COLOR, 33_000_000 * (n + 1), COLOR_FRAME, color, "rgb8")
            bag.image(DEPTH, 33_000_000 * (n + 1), COLOR_FRAME, depth, "16UC1")
    with RosBag(bag.path) as source:
        frames = source.frames()
        for _ in range(20):
            next(frames)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in frames) == 80
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 15_000  # KiB; the rest is 48 MB
