"""RealSenseDevice over librealsense's software device: its real sensors, frames, filters and metadata."""

from __future__ import annotations

import sys
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest
from tests.runtime.needs_realsense import needs_sdk
from tests.runtime.software_camera import (
    COLOR,
    DEPTH,
    T_COLOR_DEPTH,
    T_COLOR_IMU,
    H,
    SoftwareCamera,
    Table,
    W,
    depth_image,
    running,
)

from scene_r1.live import LiveFrame, LiveSource, RawFrame, open_live
from scene_r1.live.realsense_device import RealSenseDevice
from scene_r1.live.realsense_inbox import MOST_IMAGES
from scene_r1.live.realsense_models import ANY, model_of
from scene_r1.sources.realsense_sdk import sdk
from scene_r1_engines.errors import BadConfig, BadInput, CameraLost, MissingExtra

pytestmark = needs_sdk
PERIOD_MS = 1000.0 / 30.0


def opened(*cameras: SoftwareCamera, serial: str | None = None, size: tuple[int, int] = (W, H)) -> RealSenseDevice:
    device = RealSenseDevice(serial, size, bus=lambda rs: Table(*cameras))
    device.open()
    return device


def all_of(device: RealSenseDevice) -> list[RawFrame]:
    frames = []
    while (frame := device.wait(0.05)) is not None:
        frames.append(frame)
    return frames


def test_what_the_camera_says_of_itself_is_read_from_the_device() -> None:
    device = RealSenseDevice(None, (W, H), bus=lambda rs: Table(SoftwareCamera(units=1e-4)))
    info = device.open()
    assert (info.serial, info.name, info.depth_scale, info.rate_hz) == ("4711", "Intel RealSense D435I", 1e-4, 30.0)
    for got, wanted in ((info.color_intrinsics, COLOR), (info.depth_intrinsics, DEPTH)):
        assert (got.model, got.width, got.height) == (wanted.model, W, H)
        assert (got.fx, got.fy, got.cx, got.cy) == pytest.approx((wanted.fx, wanted.fy, wanted.cx, wanted.cy))
        assert got.coefficients == pytest.approx(wanted.coefficients)
    np.testing.assert_allclose(info.T_color_depth, T_COLOR_DEPTH, atol=1e-7)
    assert not info.has_gravity
    device.close()
    device.close()
    with pytest.raises(BadInput, match="not open"):
        device.wait(0.01)


def test_images_come_in_pairs_with_device_and_host_times_and_are_copies() -> None:
    camera = SoftwareCamera()
    device = opened(camera)
    for n in range(1, 9):
        camera.give(n, 500.0 + n * PERIOD_MS)
    frames = all_of(device)
    assert [frame.number for frame in frames] == list(range(1, 9))
    for frame in frames:
        assert frame.timestamp_ns == round((500.0 + frame.number * PERIOD_MS) * 1e6)
        assert frame.domain == "hardware_clock"
        assert np.all(frame.color == frame.number)
        assert (frame.color.shape, frame.depth_raw.shape, frame.depth_raw.dtype) == ((H, W, 3), (H, W), np.uint16)
    received = [frame.received_ns for frame in frames]
    assert received == sorted(received)
    assert device.unpaired == 0
    device.close()


def test_streams_whose_counters_are_offset_are_paired_by_device_time_without_waiting_for_the_next() -> None:
    camera = SoftwareCamera()
    device = opened(camera)
    for n in range(1, 9):
        camera.give(n, n * PERIOD_MS, color_number=n + 40, color_ms=n * PERIOD_MS + 5.0, **images(n))
        frames = all_of(device)
        if n > 4:
            assert [frame.number for frame in frames] == [n + 40]
            assert np.array_equal(frames[0].depth_raw, depth_image(n))
    device.close()


def images(n: int) -> dict[str, np.ndarray]:
    return {"depth": depth_image(n), "color": np.full((H, W, 3), n, np.uint8)}


def test_a_camera_whose_one_sensor_gives_both_images_is_read_alike() -> None:
    camera = SoftwareCamera(name="Intel RealSense D405", units=1e-4, one_sensor=True)
    device = opened(camera)
    for n in range(1, 7):
        camera.give(n, n * PERIOD_MS)
    frames = all_of(device)
    assert [frame.number for frame in frames] == list(range(1, 7))
    assert all(np.array_equal(frame.depth_raw, depth_image(frame.number)) for frame in frames)
    device.close()


def test_without_librealsense_it_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(MissingExtra, match="realsense"):
        RealSenseDevice().open()


def test_an_image_without_its_partner_is_left_out_and_counted() -> None:
    camera = SoftwareCamera()
    device = opened(camera)
    for n in range(1, 9):
        camera.give(n, n * PERIOD_MS, **({"depth": images(n)["depth"]} if n == 6 else images(n)))
    assert [frame.number for frame in all_of(device)] == [1, 2, 3, 4, 5, 7, 8]
    assert device.unpaired == 1
    device.close()


def test_depth_out_of_the_models_range_is_no_depth() -> None:
    camera = SoftwareCamera(name="Intel RealSense D455")
    device = opened(camera)
    depth = np.full((H, W), 2000, np.uint16)
    depth[:10], depth[10:20] = 300, 12_000  # metres 0.3 and 12
    for n in range(1, 6):
        camera.give(n, n * PERIOD_MS, depth, np.zeros((H, W, 3), np.uint8))
    for frame in all_of(device):
        assert not frame.depth_raw[:20].any()
        assert np.all(frame.depth_raw[20:] == 2000)
    device.close()


def test_depth_noise_is_smoothed_over_time_and_a_hole_stays_a_hole() -> None:
    camera, rng = SoftwareCamera(), np.random.default_rng(3)
    device = opened(camera)
    for n in range(1, 15):
        depth = (2000 + rng.normal(0.0, 4.0, (H, W))).astype(np.uint16)
        depth[0] = 2000 if n < 14 else 0
        camera.give(n, n * PERIOD_MS, depth, np.zeros((H, W, 3), np.uint8))
    last = all_of(device)[-1].depth_raw
    assert last[1:].astype(float).std() < 3.0
    assert not last[0].any()
    device.close()


def test_an_inbox_that_nobody_empties_drops_its_oldest_and_counts() -> None:
    camera = SoftwareCamera()
    device = opened(camera)
    for n in range(1, 30):
        camera.give(n, n * PERIOD_MS)
    assert [frame.number for frame in all_of(device)] == list(range(30 - MOST_IMAGES // 2, 30))
    assert device.unpaired == 2 * 29 - MOST_IMAGES
    device.close()


def test_gravity_is_in_the_colour_cameras_axes() -> None:
    camera = SoftwareCamera(imu=True)
    device = RealSenseDevice(None, (W, H), bus=lambda rs: Table(camera))
    assert device.open().has_gravity
    for n in range(1, 7):
        camera.move("accel", n * PERIOD_MS, (0.0, -9.8, 0.0))
        camera.move("gyro", n * PERIOD_MS, (0.0, 0.0, 0.0))
        camera.give(n, n * PERIOD_MS)
    frames = all_of(device)
    assert len(frames) == 6
    for frame in frames:
        np.testing.assert_allclose(frame.gravity, T_COLOR_IMU[:3, :3] @ (0.0, 1.0, 0.0), atol=1e-6)
    device.close()


def test_a_camera_that_is_unplugged_says_so_at_once() -> None:
    camera = SoftwareCamera()
    table = Table(camera)
    device = RealSenseDevice(None, (W, H), bus=lambda rs: table)
    device.open()
    table.unplug()
    with pytest.raises(CameraLost, match="D435I 4711 was unplugged"):
        device.wait(0.01)
    device.close()


def test_a_camera_is_picked_by_its_serial_and_those_present_are_named() -> None:
    pair = (SoftwareCamera("111"), SoftwareCamera("222", name="Intel RealSense D405"))
    device = RealSenseDevice("222", (W, H), bus=lambda rs: Table(*pair))
    assert device.open().serial == "222"
    device.close()
    with pytest.raises(BadConfig, match=r"realsense:111.*realsense:222"):
        opened(*pair)
    with pytest.raises(CameraLost, match=r"333 is connected; there is:.*realsense:111.*realsense:222"):
        opened(*pair, serial="333")
    with pytest.raises(CameraLost, match="plug one in"):
        opened()


def test_a_size_or_a_rate_the_camera_has_not_is_refused_or_lowered() -> None:
    with pytest.raises(BadConfig, match=f"no depth and colour of 848x480.*sizes: {W}x{H}"):
        opened(SoftwareCamera(), size=(848, 480))
    slow = RealSenseDevice(None, (W, H), bus=lambda rs: Table(SoftwareCamera(rates=(15, 6))))
    info = slow.open()
    assert info.rate_hz == 15.0
    assert "USB 2" in info.notes[0]
    slow.close()


def test_every_model_has_its_own_range_and_an_unknown_one_is_not_refused() -> None:
    assert model_of("Intel RealSense D405").near_m < 0.1
    assert model_of("Intel RealSense D435I") is model_of("Intel RealSense D435")
    assert model_of("Intel RealSense D999") is ANY


def test_a_camera_opened_again_gives_frames_again() -> None:
    camera = SoftwareCamera()
    device = opened(camera)
    for first in (1, 100):
        for n in range(first, first + 5):
            camera.give(n, n * PERIOD_MS)
        assert len(all_of(device)) == 5
        device.open("4711")
    device.close()


def test_a_running_software_camera_streams_through_the_capturing_process() -> None:
    make: Any = partial(RealSenseDevice, None, (W, H), running)
    with LiveSource(make, "software", waiting=64) as source:
        frames = list(islice(source.frames(), 12))
        assert source.camera.serial == "4711"
        assert source.counters["unpaired"] == 0
    numbers = []
    for frame in frames:
        assert isinstance(frame, LiveFrame)
        numbers.append(frame.capture.number)
        assert np.all(frame.color == frame.capture.number % 256)
        assert np.array_equal(frame.depth_raw, depth_image(frame.capture.number))
    assert numbers == list(range(numbers[0], numbers[0] + 12))


def test_without_a_camera_opening_one_says_what_to_do() -> None:
    if sdk("these tests").context().query_devices().size():
        pytest.skip("a camera is plugged in")
    with pytest.raises(CameraLost, match="plug one in"):
        open_live("realsense")
    with pytest.raises(CameraLost, match="plug one in"):
        open_live("realsense:123456", size=(848, 480))
