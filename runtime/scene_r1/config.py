"""Every setting of the runtime in one place: frozen dataclasses, and the TOML file that says them.

Importing it imports the modules whose settings it gathers, and so numba and OpenCV: import it on use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from scene_r1.files import write_text
from scene_r1.keyframes import ObservationSettings, SelectionSettings
from scene_r1.lift import LiftSettings
from scene_r1.memory import OVERHEAD_BYTES, SceneMemory
from scene_r1.reasoner_config import LimitsConfig, ReasonerConfig
from scene_r1.tracking.tracker import TRACKERS
from scene_r1_engines.errors import BadConfig
from scene_r1_engines.segmenter import FROM_FOLDER, ModelSettings, Segmenter, check_name, is_folder, open_segmenter
from scene_r1_engines.settings_file import nearest, read_settings, settings_from, to_toml

MAX_TABLE_BYTES = 256 << 20
"""What the selector's voxel table may take. The default takes 3.7 MB."""


@dataclass(frozen=True, slots=True)
class KeyframesConfig:
    """k: keyframes held. selection: when a frame becomes one. observation: how a frame is turned into voxels."""

    k: int = 16
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    observation: ObservationSettings = field(default_factory=ObservationSettings)

    def __post_init__(self) -> None:
        capacity = self.selection.voxel_capacity
        if not 1 <= self.k <= 1024 or not 64 <= capacity <= 1 << 24:
            raise BadConfig(
                f"k must be in 1..1024 and selection.voxel_capacity in 64..{1 << 24}, got {self.k} and {capacity}"
            )
        table_bytes = capacity * (2 * self.k + 24)
        if table_bytes > MAX_TABLE_BYTES:
            raise BadConfig(
                f"k = {self.k} and selection.voxel_capacity = {capacity} together take {table_bytes >> 20} MB of "
                f"memory, more than {MAX_TABLE_BYTES >> 20}: lower one of them"
            )


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """max_bytes, jpeg_quality: as SceneMemory takes them."""

    max_bytes: int = 32 << 20
    jpeg_quality: int | None = 92

    def __post_init__(self) -> None:
        SceneMemory(self.max_bytes, self.jpeg_quality)  # it knows what it takes, and costs nothing while empty


@dataclass(frozen=True, slots=True)
class SegmenterConfig:
    """name: of a segmenter in the table of engines. folder, backend, max_feature_mb, threads: as in ModelSettings, for
    one with weights."""

    name: str = "depth_cut"
    folder: str | None = None
    backend: str = "auto"
    max_feature_mb: int = 320
    threads: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        self.model()  # it knows what it takes
        if self.name in FROM_FOLDER and self.folder is None:
            raise BadConfig(f"the segmenter {self.name} needs the folder of its model: name it as segmenter.folder")
        if self.name not in FROM_FOLDER and self.folder is not None:
            raise BadConfig(f'folder does nothing with the segmenter {self.name}: set name = "sam2", or leave it out')

    def model(self) -> ModelSettings:
        """The settings of one with weights. Raises BadConfig."""
        return ModelSettings(self.folder, self.backend, self.max_feature_mb, self.threads)

    def named(self, named: str) -> SegmenterConfig:
        """These settings with the segmenter that a command line names: by its name or by its model's folder."""
        if is_folder(named):
            return replace(self, name="sam2", folder=named)
        return replace(self, name=named, folder=self.folder if named in FROM_FOLDER else None)

    def open(self) -> Segmenter:
        """The segmenter, opened. Raises as `open_segmenter`."""
        return open_segmenter(self.name, self.model())


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """tracker: where poses come from while a camera runs, by name: host (they come with the frames), visual (built in),
    cuvslam, or auto: host where the first frame has a pose, else visual.
    opencv_threads: of OpenCV in the whole process that a session runs in, 0 = as it is. What is done to a frame is
    little: more threads make it no faster, and wait for cores that the camera and the model have."""

    tracker: str = "auto"
    opencv_threads: int = 1

    def __post_init__(self) -> None:
        if self.tracker not in TRACKERS:
            raise BadConfig(f"there is no tracker {self.tracker[:60]!r}; {nearest(self.tracker, TRACKERS)}")
        threads = self.opencv_threads
        if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= 256:
            raise BadConfig(f"opencv_threads must be a whole number in 0..256, got {threads!r}")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; each field is a table of the TOML file. Raises BadConfig for values that contradict each other."""

    keyframes: KeyframesConfig = field(default_factory=KeyframesConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    lift: LiftSettings = field(default_factory=LiftSettings)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    reasoner: ReasonerConfig = field(default_factory=ReasonerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    live: LiveConfig = field(default_factory=LiveConfig)

    def __post_init__(self) -> None:
        least = self.keyframes.k * OVERHEAD_BYTES
        if self.memory.max_bytes < least:
            raise BadConfig(
                f"memory.max_bytes = {self.memory.max_bytes} cannot hold keyframes.k = {self.keyframes.k} keyframes: "
                f"they take {least} bytes before the first pixel"
            )


def load_config(path: str | os.PathLike[str] | None) -> Config:
    """The settings of a TOML file; what it does not name has its default. None: all defaults.

    Raises BadConfig with the file, the line and the key: for a file that cannot be read, is too large or is no TOML,
    for an unknown key (and the nearest known one), for a wrong type, for values that are impossible or contradict.
    """
    return Config() if path is None else read_settings(Config, path)


def config_from(mapping: Mapping[str, object], where: str) -> Config:
    """The settings of nested mappings, as `as_dict` gives them. where: what errors name. Raises BadConfig."""
    return settings_from(Config, mapping, where)


def config_to_toml(config: Config) -> str:
    """The effective settings as a file that `load_config` reads back to an equal Config."""
    return "# Every setting that was in effect.\n" + to_toml(config)


def with_options(config: Config, k: int | None = None, segmenter: str | None = None) -> Config:
    """The settings with what a command line says in their place; None leaves them. Raises BadConfig."""
    if k is not None:
        config = replace(config, keyframes=replace(config.keyframes, k=k))
    if segmenter is not None:
        config = replace(config, segmenter=config.segmenter.named(segmenter))
    return config


def save_config(config: Config, path: str | os.PathLike[str]) -> None:
    """Write the effective settings beside results; whole or absent. Raises SceneR1Error when the disk refuses."""
    write_text(path, config_to_toml(config))


def as_dict(config: Config) -> dict[str, Any]:
    """Nested dictionaries of plain values."""
    return asdict(config)
