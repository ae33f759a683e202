"""ROS bags with standard topics, written by `rosbags`, come out as the frames that went in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.recorded_frames import CAMERA, SMALL_DEPTH, make_frames, same
from tests.runtime.ros_writer import (
    COLOR,
    COLOR_FRAME,
    COLOR_INFO,
    DEPTH,
    DEPTH_INFO,
    KINDS,
    Bag,
    mounted,
    place,
    recorded,
    shoot,
)

from scene_r1 import pose
from scene_r1.cli import main
from scene_r1.frame import RgbdFrame
from scene_r1.sources import open_source
from scene_r1.sources.ros import RosBag, Topics
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording
from scene_r1_engines.intrinsics import Intrinsics

LENS = Intrinsics(31.5, 30.25, 7.1, 5.3, 16, 12, "brown_conrady", (0.1, -0.05, 0.001, -0.002, 0.01))
T_COLOR_DEPTH = pose.from_quaternion((0.015, -0.002, 0.0003), (0.0, 0.01, 0.0, 0.99995))
SECOND_NS = 1_000_000_000


def two_cameras(count: int = 6, **options: object) -> list[RgbdFrame]:
    return make_frames(count, color=LENS, depth=SMALL_DEPTH, T_color_depth=T_COLOR_DEPTH, **options)


def read(path: Path, topics: Topics | None = None) -> list[RgbdFrame]:
    with RosBag(path, topics) as source:
        return list(source.frames())


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_gives_the_frames_that_went_into_it(tmp_path: Path, kind: str) -> None:
    frames = two_cameras()
    path = recorded(tmp_path / "room", frames, kind)
    with open_source(path) as source:
        assert isinstance(source, RosBag)
        assert (source.info.has_poses, source.info.timestamps, source.info.frames) == (True, "recorded", None)
        assert source.info.intrinsics_from == f"{COLOR_INFO} and {DEPTH_INFO}"
        read = list(source.frames())
    assert len(read) == len(frames)
    for got, wanted in zip(read, frames, strict=True):
        same(got, wanted)
        assert got.depth_scale == 0.001


def test_one_camera_is_known_by_its_frame(tmp_path: Path) -> None:
    assert all(frame.one_camera for frame in read(recorded(tmp_path / "room", make_frames(3))))


@pytest.mark.parametrize(
    ("kind", "mode"), [("mcap", "STORAGE"), ("mcap", "MESSAGE"), ("db3", "MESSAGE")], ids=lambda one: one.lower()
)
def test_compressed_bags_are_read(tmp_path: Path, kind: str, mode: str) -> None:
    frames = two_cameras()
    path = recorded(tmp_path / "room", frames, kind, compression="ZSTD", mode=mode)
    read_back = read(path if mode == "STORAGE" else path.parent)
    assert len(read_back) == len(frames)
    for got, wanted in zip(read_back, frames, strict=True):
        same(got, wanted)


def test_a_file_compressed_as_a_whole_is_told_how_to_be_opened(tmp_path: Path) -> None:
    path = recorded(tmp_path / "room", make_frames(2), "db3", compression="ZSTD", mode="FILE")
    with pytest.raises(BadRecording, match="zstd -d"):
        open_source(path.parent)


def test_a_folder_is_read_split_after_split_with_or_without_its_metadata(tmp_path: Path) -> None:
    frames = two_cameras(11)
    splits = tmp_path / "walk"
    splits.mkdir()
    for n, frame in enumerate(frames):  # eleven, so that names sorted as text would come in another order
        recorded(tmp_path / f"part{n}", [frame]).rename(splits / f"walk_{n}.mcap")
    for got, wanted in zip(open_source(splits).frames(), frames, strict=True):
        assert got.timestamp_ns == wanted.timestamp_ns
    listed = "".join(f"    - walk_{n}.mcap\n" for n in range(3, 6))
    (splits / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:\n{listed}")
    assert [f.timestamp_ns for f in open_source(splits).frames()] == [f.timestamp_ns for f in frames[3:6]]
    (splits / "walk_4.mcap").unlink()
    with pytest.raises(BadRecording, match=r"walk_4.mcap: is missing"):
        open_source(splits)


@pytest.mark.parametrize("text", ["", "- 1", "rosbag2_bagfile_information: 3", "a: [", "\x00", "&a [*a]"])
def test_a_folder_with_broken_metadata_says_so(tmp_path: Path, text: str) -> None:
    folder = recorded(tmp_path / "room", make_frames(2)).parent
    (folder / "metadata.yaml").write_text(text)
    with pytest.raises(BadRecording, match=r"metadata\.yaml"):
        open_source(folder)


def test_images_are_paired_by_their_stamps_whatever_the_order_of_recording(tmp_path: Path) -> None:
    frames = make_frames(20)
    with Bag(tmp_path / "room") as bag:
        for i in (1, 0, 3, 2, 4, *range(5, 20)):
            frame = frames[i]
            bag.info(COLOR_INFO, frame.timestamp_ns, COLOR_FRAME, CAMERA)
            bag.info(DEPTH_INFO, frame.timestamp_ns, COLOR_FRAME, CAMERA)
            if i != 7:
                bag.image(DEPTH, frame.timestamp_ns - 3_000_000, COLOR_FRAME, frame.depth_raw, "16UC1")
            if i != 11:
                bag.image(COLOR, frame.timestamp_ns, COLOR_FRAME, frame.color, "rgb8")
    with RosBag(bag.path) as source:
        got = list(source.frames())
        assert source.info.counters["frames_unpaired"] == 2
        assert not source.info.has_poses
    assert [f.timestamp_ns for f in got] == [f.timestamp_ns for f in frames if f.index not in (7, 11)]
    assert all(np.array_equal(g.depth_raw, f.depth_raw) for g, f in zip(got[:7], frames, strict=False))


def test_a_pose_between_two_transforms_is_interpolated_and_one_far_from_all_is_unknown(tmp_path: Path) -> None:
    frames = [replace(frame, timestamp_ns=(10 + i) * SECOND_NS) for i, frame in enumerate(make_frames(6))]
    turn = pose.from_quaternion((0.0, 0.0, 0.0), (0.0, 0.0, np.sin(0.2), np.cos(0.2)))
    half = pose.from_quaternion((0.0, 0.0, 0.0), (0.0, 0.0, np.sin(0.1), np.cos(0.1)))
    with Bag(tmp_path / "room") as bag:
        for frame in frames:
            shoot(bag, frame, one_camera=True)
            if frame.index in (1, 3):
                bag.tf("/tf", frame.timestamp_ns, ("world", COLOR_FRAME, frame.timestamp_ns - 200_000_000, np.eye(4)))
                after = frame.timestamp_ns + 200_000_000  # recorded when it was, after the image
                bag.tf("/tf", after, ("world", COLOR_FRAME, after, turn))
    with RosBag(bag.path) as source:
        got = list(source.frames())
        assert source.info.counters["without_pose"] == 4
    assert [frame.T_world_camera is None for frame in got] == [True, False, True, False, True, True]
    np.testing.assert_allclose(got[1].T_world_camera, half, atol=1e-9)


def test_map_comes_before_odom_and_the_choice_can_be_told(tmp_path: Path) -> None:
    frames = make_frames(8)
    T_map_odom = pose.from_quaternion((5.0, 0.0, 0.0), (0.0, 0.0, 0.6, 0.8))
    with Bag(tmp_path / "room") as bag:
        mounted(bag, frames[0].timestamp_ns, np.eye(4))
        for frame in frames:
            bag.tf("/tf", frame.timestamp_ns, ("odom", "base_link", frame.timestamp_ns, np.eye(4)))
            shoot(bag, frame, one_camera=True)
            if frame.index > 2:  # a localiser takes a while
                bag.tf("/tf", frame.timestamp_ns, ("map", "odom", frame.timestamp_ns, T_map_odom))
    got, told = read(bag.path), read(bag.path, Topics(fixed_frame="odom"))
    assert [f.T_world_camera is None for f in got] == [True] * 2 + [False] * 6  # the third is near enough
    assert all(f.T_world_camera is not None for f in told)
    np.testing.assert_allclose(got[5].T_world_camera, T_map_odom @ told[5].T_world_camera, atol=1e-9)
    with pytest.raises(BadRecording, match=r"not below 'moon', only below .*'odom', 'map'"):
        RosBag(bag.path, Topics(fixed_frame="moon"))


def test_odometry_and_a_cameras_pose_topic_place_the_camera_where_tf_does_not(tmp_path: Path) -> None:
    frames = make_frames(4)
    with Bag(tmp_path / "odometry") as bag:
        mounted(bag, frames[0].timestamp_ns, np.eye(4))
        for frame in frames:
            bag.pose("/odom", frame.timestamp_ns, "odom", np.eye(4), child="base_link")
            bag.pose("/goal_pose", frame.timestamp_ns, "map", np.eye(4))
            shoot(bag, frame, one_camera=True)
    T_base_color = read(recorded(tmp_path / "still", [replace(f, T_world_camera=None) for f in frames]))
    assert T_base_color[0].T_world_camera is None
    for got in read(bag.path):
        np.testing.assert_allclose(got.T_world_camera[:3, 3], (0.21, 0.015, 1.1), atol=1e-12)
        np.testing.assert_allclose(got.T_world_camera[:3, 2], (1.0, 0.0, 0.0), atol=1e-12)  # looks along x
    with Bag(tmp_path / "posed") as bag:
        for frame in frames:
            bag.pose("/slam/camera_pose", frame.timestamp_ns, "slam_origin", frame.T_world_camera)
            shoot(bag, frame, one_camera=True)
    for got, wanted in zip(read(bag.path), frames, strict=True):
        same(got, wanted)
    assert all(f.T_world_camera is None for f in read(bag.path, Topics(poses="none")))
    with pytest.raises(BadRecording, match=r"no poses on '/nowhere'.*camera_pose"):
        RosBag(bag.path, Topics(poses="/nowhere"))


def shot(bag: Bag, frame: RgbdFrame, color: str, depth: str) -> None:
    for topic, array, encoding in ((color, frame.color, "rgb8"), (depth, frame.depth_raw, "16UC1")):
        bag.info(f"{topic.rpartition('/')[0]}/camera_info", frame.timestamp_ns, COLOR_FRAME, CAMERA)
        bag.image(topic, frame.timestamp_ns, COLOR_FRAME, array, encoding)


def test_usual_names_are_preferred_and_several_cameras_have_to_be_told_apart(tmp_path: Path) -> None:
    frames = make_frames(2)
    with Bag(tmp_path / "one") as bag:
        for frame in frames:
            shot(bag, frame, "/c/infra1/image_rect_raw", "/c/depth/image_rect_raw")
            shot(bag, frame, "/c/color/image_raw", "/c/aligned_depth_to_color/image_raw")
    with RosBag(bag.path) as source:
        assert source.info.notes[0] == "colour /c/color/image_raw, depth /c/aligned_depth_to_color/image_raw"
    with Bag(tmp_path / "two") as bag:
        for frame in frames:
            for name in ("left_arm", "right_arm"):
                shot(bag, frame, f"/{name}/color/image_raw", f"/{name}/depth/image_raw")
    with pytest.raises(BadRecording, match=r"several.*/left_arm/color.*/right_arm/color.*topics\.toml"):
        RosBag(bag.path)
    (bag.path.parent / "topics.toml").write_text('color = "/right_arm/color/image_raw"\n')
    for path in (bag.path, bag.path.parent):
        with RosBag(path) as source:
            assert source.info.notes[0].endswith("depth /right_arm/depth/image_raw")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('colour = "/a"', "did you mean 'color'"),
        ("color = 3", "color must be the name"),
        ('color = "/a"', "no images on '/a' (named as color); it has /camera/color/image_raw (Image)"),
        ('depth_info = "/a"', "no camera_info '/a'"),
        ("depth_scale = 5", "depth_scale must be metres"),
        ("T_color_depth = [[1, 2]]", "T_color_depth must be four rows"),
        ("color = ", "Invalid value"),
    ],
)
def test_a_wrong_topics_file_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = recorded(tmp_path / "room", make_frames(1))
    (path.parent / "topics.toml").write_text(text)
    with pytest.raises(BadRecording) as caught:
        open_source(path)
    assert words in str(caught.value)


def test_settings_are_checked_where_they_are_made() -> None:
    makes: list[Callable[[], Topics]] = [
        lambda: Topics(color=""),
        lambda: Topics(depth_scale=float("nan")),
        lambda: Topics(depth_scale=True),
        lambda: Topics(T_color_depth=((1.0,) * 4,) * 4),
    ]
    for make in makes:
        with pytest.raises(BadConfig):
            make()


def test_two_cameras_without_a_transform_between_them_need_to_be_told_it(tmp_path: Path) -> None:
    frames = two_cameras(2)
    with Bag(tmp_path / "room") as bag:
        for frame in frames:
            shoot(bag, frame)
    with pytest.raises(BadRecording, match=r"/tf_static leads from its depth camera .* as T_color_depth"):
        RosBag(bag.path)
    told = Topics(T_color_depth=tuple(map(tuple, T_COLOR_DEPTH)), depth_scale=0.0005)
    for frame in read(bag.path, told):
        np.testing.assert_allclose(frame.T_color_depth, T_COLOR_DEPTH, atol=1e-12)
        assert frame.depth_scale == 0.0005


def test_what_is_not_in_a_bag_is_listed_with_what_is(tmp_path: Path) -> None:
    frame = make_frames(1)[0]
    with Bag(tmp_path / "no depth") as bag:
        bag.info(COLOR_INFO, 1, COLOR_FRAME, CAMERA)
        bag.image(COLOR, 1, COLOR_FRAME, frame.color, "rgb8")
    with pytest.raises(BadRecording, match=r"no topic of depth images; it has /camera/color/image_raw \(Image\)"):
        RosBag(bag.path)
    with Bag(tmp_path / "no info") as bag:
        bag.image(COLOR, 1, COLOR_FRAME, frame.color, "rgb8")
        bag.image(DEPTH, 1, COLOR_FRAME, frame.depth_raw, "16UC1")
    with pytest.raises(BadRecording, match=r"no camera_info '/camera/color/camera_info'.*none of that kind"):
        RosBag(bag.path)
    with Bag(tmp_path / "far apart") as bag:
        shoot(bag, frame, one_camera=True, depth_late_ns=SECOND_NS)
    with RosBag(bag.path) as source, pytest.raises(BadRecording, match=r"within 0\.02 s"):
        list(source.frames())


def test_a_closed_bag_is_not_read(tmp_path: Path) -> None:
    source = RosBag(recorded(tmp_path / "room", make_frames(3)))
    frames = source.frames()
    source.close()
    source.close()
    for again in (source.frames, lambda: next(frames)):
        with pytest.raises(BadInput, match="closed"):
            again()


@pytest.mark.parametrize("kind", ["mcap", "db3"])
def test_inspect_and_convert_take_bags(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    frames = make_frames(5)
    path = recorded(tmp_path / "room", frames, kind)
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames"] == 5
    assert main(["convert", str(path.parent), str(tmp_path / "folder")]) == 0
    with open_source(tmp_path / "folder") as source:
        for got, wanted in zip(source.frames(), frames, strict=True):
            same(got, wanted)


def test_place_and_shoot_agree_with_the_tree_of_frames(tmp_path: Path) -> None:
    """The writer's own arithmetic: a camera that looks along the robot's x axis, 1.1 m above its base."""
    frame = make_frames(1)[0]
    with Bag(tmp_path / "room") as bag:
        mounted(bag, frame.timestamp_ns, np.eye(4))
        shoot(bag, frame, one_camera=True)
        place(bag, frame)
    np.testing.assert_allclose(read(bag.path)[0].T_world_camera, frame.T_world_camera, atol=1e-9)
