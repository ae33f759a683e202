"""RealSense recordings: `.db3` (librealsense 2.58 and later) and legacy `.bag`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from scene_r1.frame import RgbdFrame
from scene_r1.sources import realsense_db3
from scene_r1.sources.realsense_db3 import Contents
from scene_r1.sources.realsense_pairing import Pair, Pairing
from scene_r1.sources.realsense_playback import Cameras, Playback
from scene_r1.sources.realsense_sdk import rgb, sdk
from scene_r1.sources.realsense_stored import StoredPlayback
from scene_r1.sources.source import SourceInfo
from scene_r1_engines.errors import BadFrame, BadInput, BadRecording, MissingExtra


class RealSenseRecording:
    """A FrameSource over one `.db3` or `.bag` file. A frame is a depth and a colour image taken together.

    `index` counts the pairs from 0; `timestamp_ns` is the colour image's device time. Poses come from the topic
    /scene_r1/T_world_camera of a `.db3` (see pose_topic), None where it has none. A `.db3` that was cut off is
    copied, as far as it goes, into a temporary folder and read from there; then BadRecording is raised at the cut.

    `info.counters`, live: `frames` (pairs yielded), `frames_unpaired` (images left without a partner),
    `paired_by_timestamp` (1 when the streams' frame counters do not run together) of the latest `frames()`.

    librealsense: True: its own library plays the file; False: a `.db3` is read without it (realsense_stored), which
    gives the same frames; None: by librealsense where it is installed, else without, and `info.notes` says so.

    Raises BadRecording naming the file and what is wrong with it; MissingExtra('realsense').
    """

    def __init__(self, path: str, librealsense: bool | None = None) -> None:
        self._player: type[Playback | StoredPlayback] = Playback
        self._without: str | None = None
        self._choose_player(Path(path).suffix.lower() == ".db3", librealsense)
        self._path = str(path)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False
        self._counters = {"frames": 0, "frames_unpaired": 0, "paired_by_timestamp": 0}
        kind = realsense_db3.check_kind(self._path)
        self._playable = self._path
        self._fault: str | None = None
        try:
            self._contents = self._open_db3() if kind == ".db3" else Contents()
            with self._player(self._playable, self._path) as player:
                self._info = self._describe(player.cameras(), kind)
        except BadRecording as error:
            self.close()
            if self._playable == self._path:
                raise
            reason = f"too little of it is left to be played; {self._fault} ({error.reason})"
            raise BadRecording(self._path, reason) from error
        except BaseException:
            self.close()
            raise

    def _choose_player(self, stored: bool, librealsense: bool | None) -> None:
        if librealsense is False and stored:
            self._player, self._without = StoredPlayback, "read without librealsense"
            return
        try:
            sdk("reading RealSense recordings")
        except MissingExtra as error:
            if librealsense or not stored:
                raise
            self._player = StoredPlayback
            self._without = f"read without librealsense, which is not installed ({error.detail})"

    def _open_db3(self) -> Contents:
        contents = realsense_db3.inspect(self._path)
        if contents.fault is None:
            return contents
        self._fault = contents.fault
        self._folder = tempfile.TemporaryDirectory(prefix="scene-r1-")
        saved = Path(self._folder.name) / "saved.db3"
        rest = realsense_db3.salvage(self._path, saved)
        self._playable = str(saved)
        return rest

    def _describe(self, cameras: Cameras, kind: str) -> SourceInfo:
        card, whole = self._contents.card, self._fault is None
        self._color_format = cameras.color_format
        notes = [note for note in (*cameras.notes, self._without, self._fault) if note]
        return SourceInfo(
            path=self._path,
            format=f"realsense {kind}",
            frames=len(card.timestamps_ns) if card is not None and whole else None,
            rate_hz=card.rate_hz if card is not None else cameras.rate_hz,
            timestamps="recorded",
            color_intrinsics=card.color_intrinsics if card is not None else cameras.color,
            depth_intrinsics=card.depth_intrinsics if card is not None else cameras.depth,
            T_color_depth=card.T_color_depth if card is not None else cameras.T_color_depth,
            depth_scale=card.depth_scale if card is not None else cameras.depth_scale,
            intrinsics_from="the recording (exact)" if card is not None else "the recorded device",
            has_poses=len(self._contents.poses.stamps_ns) > 0,
            notes=tuple(notes),
            counters=self._counters,
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[RgbdFrame]:
        """All frames from the beginning. Raises BadRecording where the file ends too early, after what was whole."""
        self._check_open()
        return self._frames()

    def _frames(self) -> Iterator[RgbdFrame]:
        self._counters.update(frames=0, frames_unpaired=0, paired_by_timestamp=0)
        pairing = Pairing(round(1e9 / self._info.rate_hz))
        seen = {"depth": 0, "color": 0}
        fault: BadRecording | None = None
        with self._player(self._playable, self._path) as player:
            images = player.images()
            while True:
                try:
                    image = next(images)
                except StopIteration:
                    break
                except BadRecording as error:
                    fault = error
                    break
                self._check_open()
                seen[image.stream] += 1
                for pair in pairing.add(image):
                    yield self._frame(pair, pairing)
            for pair in pairing.end():
                yield self._frame(pair, pairing)
        self._counters["frames_unpaired"] = pairing.unpaired
        if fault is not None and self._fault is None:
            raise BadRecording(fault.path, fault.reason, self._counters["frames"]) from fault
        self._check_complete(seen)

    def _frame(self, pair: Pair, pairing: Pairing) -> RgbdFrame:
        depth, color = pair
        index, info, card = self._counters["frames"], self._info, self._contents.card
        timestamp_ns = color.timestamp_ns if card is None else card.exact(color.timestamp_ns)
        try:
            size = info.color_intrinsics
            frame = RgbdFrame(
                index=index,
                timestamp_ns=timestamp_ns,
                color=rgb(color.pixels, size.width, size.height, self._color_format),
                color_intrinsics=info.color_intrinsics,
                depth_raw=depth.pixels,
                depth_scale=info.depth_scale,
                depth_intrinsics=info.depth_intrinsics,
                T_color_depth=info.T_color_depth,
                T_world_camera=self._contents.poses.at(timestamp_ns, round(0.5e9 / info.rate_hz)),
            )
        except (BadFrame, ValueError) as error:
            raise BadRecording(self._path, f"an image is not what its stream says: {error}", index) from error
        self._counters.update(
            frames=index + 1, frames_unpaired=pairing.unpaired, paired_by_timestamp=int(pairing.by == "timestamp")
        )
        return frame

    def _check_complete(self, seen: dict[str, int]) -> None:
        index = self._counters["frames"]
        if self._fault is not None:
            raise BadRecording(self._path, f"{self._fault}; the frames before the cut were read", index)
        for kind, stored in self._contents.stored.items():
            if seen[kind] < stored:
                raise BadRecording(self._path, f"only {seen[kind]} of {stored} {kind} images could be played", index)
        if index == 0:
            raise BadRecording(self._path, f"it has no depth image with a colour image to it ({seen})")

    def _check_open(self) -> None:
        if self._closed:
            raise BadInput(f"{self._path}: the recording was closed; open it again")

    def close(self) -> None:
        self._closed = True
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> RealSenseRecording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
