"""Folders in the 7-Scenes layout: what is written comes back, and what is broken is named."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.runtime.recorded_frames import CAMERA, DISTORTED, SMALL_DEPTH, H, W, make_frames, random_pose, same

from scene_r1.frame import RgbdFrame
from scene_r1.sources.seven_scenes import SevenScenesSource, read_pose
from scene_r1.sources.seven_scenes_sink import SevenScenesSink
from scene_r1_engines.errors import BadConfig, BadFrame, BadInput, BadRecording, OutputExists, SceneR1Error
from scene_r1_engines.intrinsics import Intrinsics


def write(path: Path, frames: list[RgbdFrame], **options: object) -> Path:
    with SevenScenesSink(path, **options) as sink:
        for frame in frames:
            sink.write(frame)
    return path


def read_all(path: Path) -> tuple[list[RgbdFrame], BadRecording | None]:
    """The good prefix, and the fault that ended it."""
    frames: list[RgbdFrame] = []
    try:
        with SevenScenesSource(path) as source:
            for frame in source.frames():
                frames.append(frame)
    except BadRecording as error:
        return frames, error
    return frames, None


def decode_threads() -> int:
    return sum(thread.name == "decode-ahead" for thread in threading.enumerate())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4), two=st.booleans(), lost=st.booleans())
def test_what_is_written_is_read_back_bit_by_bit(seed: int, count: int, two: bool, lost: bool) -> None:
    rng = np.random.default_rng(seed)
    cameras = {"color": DISTORTED, "depth": SMALL_DEPTH, "T_color_depth": random_pose(rng)} if two else {}
    frames = make_frames(count, seed, lost=(count - 1,) if lost else (), **cameras)
    with tempfile.TemporaryDirectory() as folder, SevenScenesSource(write(Path(folder) / "out", frames)) as source:
        assert source.info.frames == count
        assert source.info.timestamps == "recorded"
        back = list(source.frames())
        assert source.info.counters["without_pose"] == int(lost)
    assert len(back) == count
    for a, b in zip(frames, back, strict=True):
        same(a, b)
        assert b.one_camera == (not two)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("good") / "recording", make_frames(3))


VICTIMS = (
    "frame-000001.color.png",
    "frame-000001.depth.png",
    "frame-000001.pose.txt",
    "camera.toml",
    "camera-intrinsics.txt",
    "timestamps.txt",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(victim=st.sampled_from(VICTIMS), data=st.data())
def test_arbitrary_bytes_in_one_file_give_frames_or_bad_recording(good: Path, victim: str, data: st.DataObject) -> None:
    original = (good / victim).read_bytes()
    kind = data.draw(st.sampled_from(["random", "cut", "flip", "insert"]))
    if kind == "random":
        content = data.draw(st.binary(max_size=200))
    else:
        at = data.draw(st.integers(0, len(original) - 1))
        if kind == "cut":
            content = original[:at]
        elif kind == "flip":
            content = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
        else:
            content = original[:at] + data.draw(st.binary(min_size=1, max_size=20)) + original[at:]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(good, copy)
        (copy / victim).write_bytes(content)
        frames, fault = read_all(copy)
    assert len(frames) == 3 or fault is not None
    if fault is not None and victim.startswith("frame-"):
        assert fault.path.endswith(victim)
        assert fault.frame == 1
        assert [frame.index for frame in frames] == [0]


@pytest.mark.parametrize("victim", ["frame-000001.color.png", "frame-000001.depth.png"])
def test_a_png_cut_anywhere_is_never_a_picture(good: Path, tmp_path: Path, victim: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    original = (copy / victim).read_bytes()
    for length in range(0, len(original), 7):
        (copy / victim).write_bytes(original[:length])
        frames, fault = read_all(copy)
        assert len(frames) == 1
        assert fault is not None
        assert fault.path.endswith(victim)


def test_a_jpeg_cut_anywhere_is_never_a_picture(tmp_path: Path) -> None:
    folder = write(tmp_path / "jpeg", make_frames(2), jpeg_quality=90)
    victim = folder / "frame-000001.color.jpg"
    assert read_all(folder)[1] is None
    original = victim.read_bytes()
    for length in range(0, len(original), 23):
        victim.write_bytes(original[:length])
        frames, fault = read_all(folder)
        assert len(frames) == 1
        assert fault is not None
        assert fault.path.endswith("frame-000001.color.jpg")


def test_a_progressive_jpeg_with_restarts_is_a_picture(tmp_path: Path) -> None:
    frames = make_frames(1)
    folder = write(tmp_path / "jpeg", frames, jpeg_quality=90)
    smooth = cv2.GaussianBlur(np.array(frames[0].color[:, :, ::-1]), (0, 0), 3)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    (folder / "frame-000000.color.jpg").write_bytes(cv2.imencode(".jpg", smooth, options)[1].tobytes() + b"\0\0")
    back, fault = read_all(folder)
    assert fault is None
    assert np.abs(back[0].color.astype(int) - smooth[:, :, ::-1].astype(int)).mean() < 10


def test_an_image_bomb_is_refused_before_it_is_decoded(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    (copy / "frame-000001.color.png").write_bytes(
        bomb + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    frames, fault = read_all(copy)
    assert len(frames) == 1
    assert fault is not None
    assert "30000x30000" in fault.reason


@pytest.mark.parametrize(
    ("victim", "image", "words"),
    [
        ("frame-000001.color.png", np.zeros((H, W), np.uint8), "1 channel"),
        ("frame-000001.color.png", np.zeros((H, W, 3), np.uint16), "16 bits"),
        ("frame-000001.color.png", np.zeros((H, W + 1, 3), np.uint8), "17x12"),
        ("frame-000001.depth.png", np.zeros((H, W), np.uint8), "8 bits"),
        ("frame-000001.depth.png", np.zeros((H, W, 3), np.uint16), "3 channel"),
        ("frame-000001.depth.png", np.zeros((H + 1, W), np.uint16), "16x13"),
    ],
)
def test_an_image_of_the_wrong_kind_is_named(
    good: Path, tmp_path: Path, victim: str, image: np.ndarray, words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / victim).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    frames, fault = read_all(copy)
    assert len(frames) == 1
    assert fault is not None
    assert fault.path.endswith(victim)
    assert words in fault.reason


@pytest.mark.parametrize("how", ["missing", "empty", "folder", "loop", "fifo"])
def test_a_file_that_is_none_ends_the_reading_after_the_good_prefix(good: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    victim = copy / "frame-000002.depth.png"
    victim.unlink()
    if how == "empty":
        victim.touch()
    elif how == "folder":
        victim.mkdir()
    elif how == "loop":
        victim.symlink_to(victim)
    elif how == "fifo":
        os.mkfifo(victim)
    frames, fault = read_all(copy)
    assert len(frames) == 2
    assert fault is not None
    assert fault.path.endswith("frame-000002.depth.png")
    assert fault.frame == 2


@pytest.mark.parametrize("text", [None, "nan " * 16, "-inf " * 16, "1 0 0 0 0 1 0 0 0 0 1 nan 0 0 0 1"])
def test_a_lost_pose_is_a_frame_without_one_and_counted(good: Path, tmp_path: Path, text: str | None) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    victim = copy / "frame-000001.pose.txt"
    if text is None:
        victim.unlink()
    else:
        victim.write_text(text)
    with SevenScenesSource(copy) as source:
        for _ in range(2):  # counted anew each time
            assert [frame.T_world_camera is None for frame in source.frames()] == [False, True, False]
            assert source.info.counters["without_pose"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0 0 0", "4 numbers"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 one", "'one'"),
        ("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "not rigid"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "mirrors"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", "row"),
        ("0 " * 16, "row"),
        ("1_0 " * 16, "'1_0'"),
    ],
)
def test_a_corrupt_pose_is_a_fault_and_not_a_lost_one(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "frame-000000.pose.txt"
    path.write_text(text)
    with pytest.raises(BadRecording, match=words):
        read_pose(path, 0)


def test_a_rounded_rotation_is_made_orthonormal_and_its_rounding_reported(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    np.savetxt(copy / "frame-000000.pose.txt", np.diag([1.0002, 1.0, 0.9999, 1.0]))
    with SevenScenesSource(copy) as source:
        first = next(source.frames())
        assert 190 <= source.info.counters["rotation_rounding_ppm"] <= 210
    assert first.T_world_camera is not None
    np.testing.assert_allclose(first.T_world_camera, np.eye(4), atol=1e-12)


def test_intrinsics_come_from_the_best_place_there_is_and_it_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "scene" / "seq-01", make_frames(1))
    assert SevenScenesSource(folder).info.intrinsics_from == "camera.toml"
    (folder / "camera.toml").unlink()
    assert SevenScenesSource(folder).info.intrinsics_from == "camera-intrinsics.txt"
    shutil.move(folder / "camera-intrinsics.txt", tmp_path / "scene" / "camera-intrinsics.txt")
    info = SevenScenesSource(tmp_path / "scene").info  # the one sequence there is
    assert info.color_intrinsics == CAMERA
    (tmp_path / "scene" / "camera-intrinsics.txt").unlink()
    with pytest.raises(BadRecording, match="16x12"):
        SevenScenesSource(folder)


def test_the_usual_intrinsics_are_taken_for_640_by_480_alone(tmp_path: Path) -> None:
    vga = Intrinsics(500.0, 500.0, 300.0, 200.0, 640, 480)
    folder = write(tmp_path / "vga", make_frames(1, color=vga, depth=vga))
    (folder / "camera.toml").unlink()
    (folder / "camera-intrinsics.txt").unlink()
    info = SevenScenesSource(folder).info
    assert (info.color_intrinsics.fx, info.color_intrinsics.cx) == (585.0, 320.0)
    assert "usual" in info.intrinsics_from


def test_a_scene_of_several_sequences_says_which_to_open(tmp_path: Path) -> None:
    for name in ("seq-01", "seq-02"):
        write(tmp_path / name, make_frames(1))
    with pytest.raises(BadRecording, match="seq-01, seq-02"):
        SevenScenesSource(tmp_path)


def test_an_index_is_the_rank_by_number(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", make_frames(3))
    for old, new in ((2, 1000000), (1, 999999), (0, 7)):
        for file in folder.glob(f"frame-{old:06d}.*"):
            file.rename(folder / file.name.replace(f"{old:06d}", f"{new:06d}"))
    frames, fault = read_all(folder)
    assert fault is None
    for a, b in zip(make_frames(3), frames, strict=True):
        same(a, b)
    assert "from 7 to 1000000" in SevenScenesSource(folder).info.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("depth_scale = 0.001", "depth_scale = 0.0", "depth_scale"),
        ("depth_scale = 0.001", "depth_scale = nan", "depth_scale"),
        ("depth_scale = 0.001", "depth_scale = true", "depth_scale"),
        ("depth_scale = 0.001", "depth_scal = 0.001", "did you mean 'depth_scale'"),
        ("depth_scale = 0.001", "depth_scale = 1" + "0" * 5000, "TOML"),
        ("version = 1", "version = 2", "version"),
        ("[color]", "[colour]", "did you mean 'color'"),
        ("[color]", "[color]\nextra = 1", "extra"),
        ("width = 16", "width = 16.0", "width"),
        ("width = 16", "width = true", "width"),
        ("fx = 20.0", "fx = -20.0", "fx"),
        ("fx = 20.0", "", "'fx' is missing"),
        ("cx = 7.5", "cx = 700.0", "cx"),
        ('model = "none"', 'model = "fisheye"', "model"),
        ("  [1.0, 0.0, 0.0, 0.0],", "  [2.0, 0.0, 0.0, 0.0],", "not rigid"),
        ("version = 1", "version = " + "[" * 3000, "TOML"),
    ],
)
def test_a_hostile_camera_file_is_refused_with_the_key_at_fault(
    good: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    text = (copy / "camera.toml").read_text()
    assert old in text
    (copy / "camera.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(BadRecording, match=words):
        SevenScenesSource(copy)


def test_timestamps_must_be_one_for_each_frame(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / "timestamps.txt").write_text("1\n2\n")
    with pytest.raises(BadRecording, match="2 times for 3 frames"):
        SevenScenesSource(copy)
    (copy / "timestamps.txt").write_text("1\n2\n3.5\n")
    with pytest.raises(BadRecording, match="line 3"):
        SevenScenesSource(copy)


def test_made_up_times_stay_made_up_when_written_again(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    (copy / "timestamps.txt").unlink()
    with SevenScenesSource(copy) as source:
        assert source.info.timestamps == "assumed"
        again = write(tmp_path / "again", list(source.frames()), like=source.info)
    assert SevenScenesSource(again).info.timestamps == "assumed"


def test_no_thread_is_left_after_leaving_early_or_closing(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", make_frames(12))
    source = SevenScenesSource(folder)
    reader = source.frames()
    next(reader)
    assert decode_threads() == 1
    reader.close()
    assert decode_threads() == 0
    for frame in source.frames():
        if frame.index == 2:
            break
    del frame
    half_way = source.frames()
    next(half_way)
    source.close()
    source.close()
    assert decode_threads() == 0
    with pytest.raises(BadInput, match="closed"):
        list(half_way)
    with pytest.raises(BadInput, match="closed"):
        source.frames()


def test_frames_start_from_the_beginning_at_each_call(good: Path) -> None:
    with SevenScenesSource(good) as source:
        next(source.frames())
        assert [frame.index for frame in source.frames()] == [0, 1, 2]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    frames = make_frames(1)
    with pytest.raises(BadFrame, match="in order"):
        write(tmp_path / "out", [frames[0], frames[0]])
    with pytest.raises(BadInput, match="no frame"), SevenScenesSink(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "out", make_frames(1))
    with pytest.raises(OutputExists):
        write(tmp_path / "out", make_frames(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failing", range(1, 12))
def test_a_disk_that_refuses_the_nth_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = 0

    def limited(original: object) -> object:
        def write_some(self: Path, *args: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(28, "No space left on device")
            return original(self, *args, **options)  # type: ignore[operator]

        return write_some

    monkeypatch.setattr(Path, "write_bytes", limited(Path.write_bytes))
    monkeypatch.setattr(Path, "write_text", limited(Path.write_text))
    # Three frames are nine files, and three describe them all.
    with pytest.raises(SceneR1Error, match="No space left") as caught:
        write(tmp_path / "out", make_frames(3))
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_frames_out_of_order_or_of_another_camera_are_refused(tmp_path: Path) -> None:
    frames = make_frames(2)
    with pytest.raises(BadFrame, match="frame 1 came where frame 0"):
        write(tmp_path / "out", frames[1:])
    with pytest.raises(BadFrame, match="another camera"):
        write(tmp_path / "out", [frames[0], make_frames(2, color=DISTORTED)[1]])
    with pytest.raises(BadConfig):
        SevenScenesSink(tmp_path / "out", jpeg_quality=0)
    with pytest.raises(BadInput, match="'with'"):
        SevenScenesSink(tmp_path / "out").write(frames[0])


def test_depth_of_another_unit_is_rescaled_and_the_loss_is_told(tmp_path: Path) -> None:
    frame = make_frames(1, depth_scale=0.0025)[0]
    with SevenScenesSink(tmp_path / "out") as sink:
        sink.write(frame)
    back = read_all(tmp_path / "out")[0][0]
    assert back.depth_scale == 0.001
    far = (frame.depth_raw * 0.0025 > 65.5345) & (frame.depth_raw != 65535)
    assert sink.depth_overflow_px == np.count_nonzero(far)
    assert np.count_nonzero(far) > 0
    kept = ~far & (frame.depth_raw != 65535)
    assert np.all(back.depth_raw[~kept] == 0)
    loss = np.abs(back.depth_raw[kept] * 0.001 - frame.depth_raw[kept] * 0.0025)
    assert sink.max_depth_rounding_m == pytest.approx(loss.max(), abs=1e-12)
    assert 0.0 < sink.max_depth_rounding_m <= 0.0005 + 1e-12
