"""A RealSense camera as a Device, through librealsense's sensors.

Not through its pipeline: that blocks for 15 s when there is no camera, hangs when one is lost, and its syncer repeats
images. The sensors hand every image to a callback; which belong together is decided here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.live import realsense_models
from scene_r1.live.device import CameraInfo, RawFrame
from scene_r1.live.realsense_inbox import Inbox, ReceivedImage
from scene_r1.live.realsense_models import SIZE, Profiles
from scene_r1.sources.realsense_pairing import Pair, Pairing
from scene_r1.sources.realsense_sdk import intrinsics_from, rgb, sdk, shortest, transform_from
from scene_r1_engines.errors import BadConfig, BadFrame, BadInput, BadRecording, CameraLost

_log = logging.getLogger(__name__)

WHAT = "a RealSense camera"


class Bus:
    """The cameras that are plugged in. The context is kept: its callbacks go with it."""

    def __init__(self, rs: Any) -> None:
        self._context = rs.context()

    def devices(self) -> Sequence[Any]:
        return list(self._context.query_devices())

    def on_removal(self, device: Any, call: Callable[[], None]) -> None:
        """Call `call`, in a thread of librealsense, when this device is unplugged."""

        def changed(event: Any) -> None:
            if event.was_removed(device):
                call()

        self._context.set_devices_changed_callback(changed)


class RealSenseDevice:
    """A Device. serial: of the camera; None: the only one that is plugged in. size: (width, height) of both images.

    Depth goes through librealsense's threshold and temporal filters. `timestamp_ns` and `number` are the colour
    image's. Intrinsics, depth scale and extrinsics are read anew at each `open`.

    Raises CameraLost, BadConfig, BadFrame (a camera model that is not read here), MissingExtra('realsense').
    """

    def __init__(
        self, serial: str | None = None, size: tuple[int, int] | None = None, bus: Callable[[Any], Bus] = Bus
    ) -> None:
        self._serial, self._size, self._find = serial, size or SIZE, bus
        self._bus: Bus | None = None
        self._device: Any = None
        self._started: list[Any] = []
        self._inbox: Inbox | None = None
        self._profiles: Profiles | None = None
        self._pairing = Pairing(1)
        self._pairs: deque[Pair] = deque()
        self._R_color_imu: NDArray[np.float64] | None = None
        self._called = ""

    @property
    def ended(self) -> bool:
        return False

    @property
    def unpaired(self) -> int:
        return self._pairing.unpaired + (0 if self._inbox is None else self._inbox.dropped)

    def open(self, serial: str | None = None) -> CameraInfo:
        self.close()
        rs = sdk(WHAT)
        try:
            return self._open(rs, serial or self._serial)
        except RuntimeError as error:  # librealsense's own, of a camera that goes while it is opened
            self.close()
            raise CameraLost(f"{self._called or WHAT}: it cannot be opened: {error}") from error
        except BaseException:
            self.close()
            raise

    def wait(self, timeout_s: float) -> RawFrame | None:
        inbox, profiles = self._inbox, self._profiles
        if inbox is None or profiles is None:
            raise BadInput("the camera is not open")
        ends_s = time.monotonic() + timeout_s
        while not self._pairs:
            if inbox.unplugged.is_set():
                raise CameraLost(f"{self._called} was unplugged: plug it in again")
            try:
                image = inbox.get(max(0.0, ends_s - time.monotonic()))
            except (RuntimeError, ValueError) as error:
                raise CameraLost(f"{self._called}: an image cannot be taken: {error}") from error
            if image is None:
                return None
            self._pairs.extend(self._pairing.add(image))
        return self._raw(self._pairs.popleft(), profiles, inbox)

    def close(self) -> None:
        for sensor in self._started:
            for end in (sensor.stop, sensor.close):
                try:
                    end()
                except RuntimeError as error:  # of a camera that is gone
                    _log.debug("%s: %s", self._called, error)
        self._started = []
        self._device = self._bus = self._inbox = self._profiles = None
        self._pairs.clear()

    def _open(self, rs: Any, serial: str | None) -> CameraInfo:
        self._bus = self._find(rs)
        device, name, number = picked(rs, self._bus.devices(), serial)
        self._device, self._called = device, f"{name} {number}"
        model = realsense_models.model_of(name)
        sensors = list(device.query_sensors())
        profiles = self._profiles = realsense_models.choose(sensors, self._size)
        realsense_models.set_up(rs, profiles.depth_sensor, model)
        inbox = self._inbox = Inbox(realsense_models.filters(rs, model))
        self._bus.on_removal(device, inbox.unplugged.set)
        self._pairing = Pairing(round(1e9 / profiles.rate_hz), at_once=True)
        info = self._describe(rs, profiles, name, number)
        for sensor in {id(s): s for s in (profiles.depth_sensor, profiles.color_sensor)}.values():
            chosen = [
                profile
                for owner, profile in ((profiles.depth_sensor, profiles.depth), (profiles.color_sensor, profiles.color))
                if owner is sensor
            ]
            self._start(sensor, chosen, inbox.on_frame)
        return self._with_motion(info, sensors, profiles, inbox)

    def _describe(self, rs: Any, profiles: Profiles, name: str, serial: str) -> CameraInfo:
        units = rs.option.depth_units
        if not profiles.depth_sensor.supports(units):
            raise BadFrame(f"{self._called}: its depth sensor does not say its depth units")
        try:
            color, color_note = intrinsics_from(self._called, profiles.color)
            depth, depth_note = intrinsics_from(self._called, profiles.depth)
            T_color_depth = transform_from(self._called, profiles.depth.get_extrinsics_to(profiles.color))
        except BadRecording as error:  # what these say of a recording goes for a camera too
            raise BadFrame(str(error)) from error
        slow = f"{profiles.rate_hz} Hz: is it on USB 2?" if profiles.rate_hz < realsense_models.RATE_HZ else None
        return CameraInfo(
            serial=serial,
            name=name,
            color_intrinsics=color,
            depth_intrinsics=depth,
            T_color_depth=T_color_depth,
            depth_scale=shortest(profiles.depth_sensor.get_option(units)),
            rate_hz=float(profiles.rate_hz),
            notes=tuple(note for note in (color_note, depth_note, slow) if note),
        )

    def _with_motion(self, info: CameraInfo, sensors: Sequence[Any], profiles: Profiles, inbox: Inbox) -> CameraInfo:
        """Start the IMU, where there is one. It often may not be read by everybody: then it is done without."""
        self._R_color_imu = None
        motion = realsense_models.motion_profiles(sensors)
        if motion is None:
            return info
        sensor, chosen = motion
        try:
            T = transform_from(self._called, chosen["accel"].get_extrinsics_to(profiles.color))
            self._start(sensor, list(chosen.values()), inbox.on_motion)
        except (RuntimeError, BadRecording) as error:
            note = f"its IMU cannot be read ({error}): which way is down stays unknown"
            _log.warning("%s: %s", self._called, note)
            return replace(info, notes=(*info.notes, note))
        self._R_color_imu = T[:3, :3]
        return replace(info, has_gravity=True)

    def _start(self, sensor: Any, profiles: list[Any], callback: Callable[[Any], None]) -> None:
        sensor.open(profiles)
        self._started.append(sensor)
        sensor.start(callback)

    def _raw(self, pair: Pair, profiles: Profiles, inbox: Inbox) -> RawFrame:
        depth, color = pair
        assert isinstance(depth, ReceivedImage)
        assert isinstance(color, ReceivedImage)
        down, R = inbox.down, self._R_color_imu
        try:
            pixels = rgb(color.pixels, *self._size, profiles.color.format().name)
        except ValueError as error:
            raise CameraLost(f"{self._called}: a colour image is not what its stream says: {error}") from error
        return RawFrame(
            number=color.number,
            timestamp_ns=color.timestamp_ns,
            domain=color.domain,
            received_ns=max(depth.received_ns, color.received_ns),
            color=pixels,
            depth_raw=depth.pixels,
            gravity=None if down is None or R is None else R @ down,
        )


def picked(rs: Any, devices: Sequence[Any], serial: str | None) -> tuple[Any, str, str]:
    """The camera with this serial, or the only one: device, name, serial. Raises CameraLost, BadConfig."""
    found = [(device, *(_said(rs, device, what) for what in ("name", "serial_number"))) for device in devices]
    there = ", ".join(f"{name} (realsense:{number})" for _, name, number in found)
    if not found:
        raise CameraLost(
            "no RealSense camera is connected: plug one in, into a USB 3 port; `scene-r1 doctor` looks whether it may "
            "be opened"
        )
    if serial is None and len(found) > 1:
        raise BadConfig(f"there are {len(found)} RealSense cameras, say which: {there}")
    chosen = [one for one in found if serial in (None, one[2])]
    if not chosen:
        raise CameraLost(f"no RealSense camera with serial {serial} is connected; there is: {there}")
    return chosen[0]


def _said(rs: Any, device: Any, what: str) -> str:
    info = getattr(rs.camera_info, what)
    return str(device.get_info(info)) if device.supports(info) else f"without a {what.replace('_', ' ')}"
