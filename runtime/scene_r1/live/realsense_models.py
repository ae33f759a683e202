"""How each model of RealSense camera is set up: which images, which preset, how near and far its depth is believed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scene_r1.sources.realsense_sdk import COLOR_FORMATS
from scene_r1_engines.errors import BadConfig

_log = logging.getLogger(__name__)

SIZE = (640, 480)
RATE_HZ = 30
SMOOTH_ALPHA, SMOOTH_DELTA = 0.4, 20.0
"""librealsense's own defaults of the temporal filter. It may not fill holes: in a hand, what was seen a moment ago is
somewhere else now."""


@dataclass(frozen=True, slots=True)
class Model:
    """name: how the device's name goes on after `Intel RealSense`. preset: one of librealsense's visual presets: rather
    no depth than a wrong one, where the model has that. near_m, far_m: depths outside are not given."""

    name: str
    preset: str | None
    near_m: float
    far_m: float


MODELS = (
    Model("D405", "default", 0.07, 2.0),  # short range: depth units of 0.1 mm, sharp from 7 cm on
    Model("D435", "high_accuracy", 0.2, 10.0),  # D435i too
    Model("D455", "high_accuracy", 0.4, 10.0),
)
ANY = Model("", None, 0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Profiles:
    """What is streamed: librealsense's stream profiles and the sensors that give them. rate_hz: of both."""

    depth_sensor: Any
    depth: Any
    color_sensor: Any
    color: Any
    rate_hz: int


def model_of(name: str) -> Model:
    return next((model for model in MODELS if model.name in name.upper()), ANY)


def choose(sensors: Iterable[Any], size: tuple[int, int], rate_hz: int = RATE_HZ) -> Profiles:
    """Depth and colour of this size, at the highest rate up to rate_hz that both have (USB 2 has fewer).

    Raises BadConfig, naming the sizes there are.
    """
    found: dict[tuple[str, int], list[tuple[int, Any, Any]]] = {}
    others: set[tuple[int, int]] = set()
    for sensor in sensors:
        for profile in sensor.get_stream_profiles():
            kind, form = profile.stream_type().name, profile.format().name
            formats: Sequence[str] = {"depth": ("z16",), "color": COLOR_FORMATS}.get(kind, ())
            if form not in formats:
                continue
            video = profile.as_video_stream_profile()
            others.add((video.width(), video.height()))
            if (video.width(), video.height()) == size and video.fps() <= rate_hz:
                found.setdefault((kind, video.fps()), []).append((formats.index(form), sensor, video))
    both = [rate for kind, rate in found if kind == "depth" and ("color", rate) in found]
    if not both:
        there = ", ".join(f"{w}x{h}" for w, h in sorted(others)) or "none"
        raise BadConfig(
            f"the camera has no depth and colour of {size[0]}x{size[1]} together at up to {rate_hz} Hz; sizes: {there}"
        )
    rate = max(both)
    _, depth_sensor, depth = min(found["depth", rate], key=lambda one: one[0])
    _, color_sensor, color = min(found["color", rate], key=lambda one: one[0])
    return Profiles(depth_sensor, depth, color_sensor, color, rate)


def motion_profiles(sensors: Iterable[Any]) -> tuple[Any, dict[str, Any]] | None:
    """The motion sensor and its profiles of `accel` and `gyro`, the slowest that will do; None without an IMU."""
    enough = {"accel": 50, "gyro": 100}
    for sensor in sensors:
        chosen: dict[str, Any] = {}
        for profile in sensor.get_stream_profiles():
            kind = profile.stream_type().name
            if kind in enough and profile.fps() >= enough[kind]:
                chosen[kind] = min(chosen.get(kind, profile), profile, key=lambda one: int(one.fps()))
        if "accel" in chosen:
            return sensor, chosen
    return None


def set_up(rs: Any, sensor: Any, model: Model) -> None:
    """The model's preset, where the depth sensor has such a thing."""
    option = rs.option.visual_preset
    if model.preset is None or not sensor.supports(option) or sensor.is_option_read_only(option):
        return
    try:
        sensor.set_option(option, float(int(getattr(rs.rs400_visual_preset, model.preset))))
    except RuntimeError as error:  # firmware that does not know it: the camera works without
        _log.warning("the camera does not take the preset %s: %s", model.preset, error)


def filters(rs: Any, model: Model) -> list[Any]:
    """What depth goes through, in librealsense's order. Not its spatial filter: 11 ms a frame."""
    temporal = rs.temporal_filter()
    for option, value in (
        (rs.option.filter_smooth_alpha, SMOOTH_ALPHA),
        (rs.option.filter_smooth_delta, SMOOTH_DELTA),
        (rs.option.holes_fill, 0.0),
    ):
        temporal.set_option(option, value)
    return [rs.threshold_filter(model.near_m, model.far_m), temporal]
