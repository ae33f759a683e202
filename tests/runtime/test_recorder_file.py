"""The file of a live recording: what is in it, what other programs make of it, and what a fault leaves of it."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.live_recordings import info_of, read, read_until_a_fault, said_of, same_but_for_jpeg, written
from tests.runtime.recorded_frames import CAMERA, DISTORTED, SMALL_DEPTH, make_frames, random_pose

pytest.importorskip("rosbags")

from scene_r1.recorder import channels, mcap_writer
from scene_r1.recorder.card import LiveCard
from scene_r1.recorder.events import RecordedEvent
from scene_r1.recorder.recording import LiveRecording
from scene_r1.recorder.writer import RecordingWriter
from scene_r1.sources import open_source
from scene_r1.sources.ros import RosBag
from scene_r1.sources.ros.mcap_file import McapFile
from scene_r1_engines.errors import BadInput, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

FRAMES = make_frames(6, lost=(3,))
TWO_CAMERAS = make_frames(
    3, 1, DISTORTED, SMALL_DEPTH, random_pose(np.random.default_rng(4)), depth_scale=0.0001, lost=(1,)
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "walk.mcap"
    written(path, FRAMES)
    return path.read_bytes()


@pytest.mark.parametrize("frames", [FRAMES, TWO_CAMERAS], ids=["one camera", "two"])
def test_all_but_colour_comes_back_bit_for_bit(tmp_path: Path, frames: Any) -> None:
    path = tmp_path / "walk.mcap"
    written(path, frames)
    with open_source(path) as source:
        assert isinstance(source, LiveRecording)
        assert source.info.has_poses
        got = list(source.frames())
        assert [frame.index for frame in got] == list(range(len(frames)))
        assert source.info.counters == {"frames": len(frames), "without_pose": 1, "frames_dropped": 0}
    for one, wanted in zip(got, frames, strict=True):
        same_but_for_jpeg(one, wanted)


def test_any_ros_tool_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "walk.mcap"
    frames = make_frames(40)
    written(path, frames)
    with RosBag(path) as source:
        got = list(source.frames())
    assert len(got) == len(frames)
    for one, wanted in zip(got, frames, strict=True):
        assert one.timestamp_ns == wanted.timestamp_ns
        assert np.array_equal(one.depth_raw, wanted.depth_raw)
        np.testing.assert_allclose(one.T_world_camera, wanted.T_world_camera, atol=1e-9)


@pytest.mark.filterwarnings("ignore:start_time is deprecated")
def test_the_mcap_package_finds_every_message_by_the_index_and_every_checksum_right(
    tmp_path: Path, whole: bytes
) -> None:
    reader = pytest.importorskip("mcap.reader")
    stream = pytest.importorskip("mcap.stream_reader")
    path = tmp_path / "walk.mcap"
    path.write_bytes(whole)
    with open(path, "rb") as file:
        indexed = reader.make_reader(file, validate_crcs=True)
        summary = indexed.get_summary()
        counts = {c.topic: summary.statistics.channel_message_counts.get(c.id, 0) for c in summary.channels.values()}
        found = [channel.topic for _, channel, _ in indexed.iter_messages()]
        by_time = [message.log_time for _, _, message in indexed.iter_messages(start_time=FRAMES[2].timestamp_ns)]
        metadata = {one.name: one.metadata for one in indexed.iter_metadata()}
        file.seek(0)
        for _ in stream.StreamReader(file, validate_crcs=True).records:
            pass
    assert counts[channels.FRAME] == counts[channels.COLOR] == counts[channels.EVENT] == len(FRAMES)
    assert counts[channels.TF_TOPIC] == len(FRAMES) - 1
    assert len(found) == sum(counts.values())
    assert min(by_time) == FRAMES[2].timestamp_ns
    assert LiveCard.from_json(metadata["scene_r1"]["recording"]).depth_scale == 0.001


def test_a_foxglove_topic_has_its_camera_info_beside_it_and_a_frame_below_the_map(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "walk.mcap"
    path.write_bytes(whole)
    types = {topic.name: topic.type for topic in McapFile(path).topics}
    for image in (channels.COLOR, channels.DEPTH):
        beside = f"{image.partition('/image_raw')[0]}/camera_info"
        assert types[beside] == "sensor_msgs/msg/CameraInfo"
    assert types[channels.TF_TOPIC] == types[channels.TF_STATIC] == "tf2_msgs/msg/TFMessage"


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_cut_anywhere_it_gives_the_frames_before_the_cut(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.mcap"
    path.write_bytes(whole[: int(share * len(whole))])
    frames, error = read_until_a_fault(path)
    for got, wanted in zip(frames, FRAMES, strict=False):
        same_but_for_jpeg(got, wanted)
    assert frames or error is not None
    assert error is None or error.path == str(path)


def test_without_its_end_it_is_whole_up_to_the_last_chunk_and_says_so(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    path.write_bytes(whole[: whole.rindex(b"\x0f\x04" + bytes(7))])  # DataEnd, and all that a close writes after it
    with LiveRecording(path) as source:
        assert len(list(source.frames())) == len(FRAMES)
        assert any("its end is missing" in note for note in source.info.notes)


def test_zeros_at_the_end_are_no_frames(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "power.mcap"
    path.write_bytes(whole[: whole.rindex(b"\x0f\x04" + bytes(7))] + bytes(1 << 20))
    assert len(read(path)) == len(FRAMES)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.0, 1.0, exclude_max=True), value=st.integers(0, 255))
def test_a_byte_changed_anywhere_is_a_fault_that_is_named_or_changes_nothing_that_was_checked(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, share: float, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.mcap"
    damaged = bytearray(whole)
    damaged[int(share * len(whole))] = value
    path.write_bytes(damaged)
    got, fault = [], None
    try:
        with open_source(path) as source:
            got = list(source.frames())
    except BadRecording as error:
        fault = error
    assert fault is None or str(path) in str(fault)
    for one, wanted in zip(got, FRAMES, strict=False):
        assert np.array_equal(one.depth_raw, wanted.depth_raw)


class _Disk:
    """pwrite that has no room left from its nth call on."""

    def __init__(self, n: int, short: bool) -> None:
        self.n, self.short, self.calls, self.full = n, short, 0, False
        self._pwrite = os.pwrite

    def __call__(self, fd: int, data: Any, place: int) -> int:
        self.calls += 1
        if self.calls > self.n and not self.full:
            self.full = True
            if self.short:  # some of it finds room, the rest does not
                return self._pwrite(fd, memoryview(data)[: len(data) // 2], place)
        if self.calls > self.n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._pwrite(fd, data, place)


@pytest.mark.parametrize("short", [False, True], ids=["at once", "half-way"])
def test_a_disk_that_is_full_at_the_nth_write_leaves_all_chunks_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    failures = 0
    for n in range(200):
        path = tmp_path / f"{n}.mcap"
        disk = _Disk(n, short)
        monkeypatch.setattr(mcap_writer.os, "pwrite", disk)
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        sure = 0
        try:
            writer = RecordingWriter(fd, LiveCard.of(info_of(FRAMES[0]), 92))
            try:
                for frame in FRAMES:
                    writer.frame(frame.timestamp_ns, frame.color, frame.depth_raw, said_of(frame))
                    writer.flush()
                    sure = writer.frames
            finally:
                writer.close()
        except OSError:
            failures += 1
        else:
            break
        finally:
            os.close(fd)
            monkeypatch.undo()
        frames, fault = read_until_a_fault(path)
        assert len(frames) == sure
        assert (fault is None) == (sure > 0)
        if sure:
            assert McapFile(path).finished is False
    assert failures > len(FRAMES)
    assert len(read(path)) == len(FRAMES)


def test_with_room_for_the_end_alone_the_file_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "walk.mcap"
    pwrite = os.pwrite

    def small(fd: int, data: Any, place: int) -> int:
        if bytes(data[-8:]) == mcap_writer.MAGIC and len(data) > 200:  # the end with a summary before it
            raise OSError(errno.ENOSPC, "no room")
        return pwrite(fd, data, place)

    monkeypatch.setattr(mcap_writer.os, "pwrite", small)
    with pytest.raises(OSError, match="no room"):
        written(path, make_frames(40), chunk_each=1)
    monkeypatch.undo()
    assert McapFile(path).finished
    frames, fault = read_until_a_fault(path)
    assert fault is None
    assert len(frames) == 40


floats = st.floats(1e-3, 1e3)


@given(fx=floats, fy=floats, scale=st.floats(1e-6, 0.1), rate=floats, five=st.tuples(*[st.floats(-1, 1)] * 5))
def test_a_card_says_cameras_exactly(fx: float, fy: float, scale: float, rate: float, five: Any) -> None:
    color = Intrinsics(fx, fy, 7.25, 5.125, 16, 12, "inverse_brown_conrady", five)
    T = random_pose(np.random.default_rng(7))
    card = LiveCard(color, CAMERA, T, scale, rate, 92, "a camera")
    again = LiveCard.from_json(card.to_json())
    assert (again.color_intrinsics, again.depth_intrinsics) == (color, CAMERA)
    assert (again.depth_scale, again.rate_hz) == (scale, rate)
    assert np.array_equal(again.T_color_depth, T)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
CARD = json.loads(LiveCard.of(info_of(FRAMES[0]), 92).to_json())


@given(key=st.sampled_from(sorted(CARD)), value=json_values)
def test_a_hostile_card_is_refused_or_a_card(key: str, value: object) -> None:
    try:
        LiveCard.from_json(json.dumps({**CARD, key: value}))
    except (ValueError, KeyError, TypeError, OverflowError):
        return


@given(json_values)
def test_a_hostile_event_is_refused_or_an_event(value: object) -> None:
    for text in (json.dumps(value), json.dumps({"kind": "x", "after": 1, "fields": value})):
        with suppress(ValueError):
            assert isinstance(RecordedEvent.from_json(text), RecordedEvent)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_an_event_comes_back_as_it_was_or_is_no_json(fields: dict[str, object]) -> None:
    event = RecordedEvent("counters", 3, fields)
    try:
        text = event.to_json()
    except BadInput:
        return
    again = RecordedEvent.from_json(text)
    assert (again.kind, again.after) == ("counters", 3)
    assert json.loads(text)["fields"] == again.fields
