"""Tracking on four small graphs whose sums are known, run by the real ONNX Runtime: grouping, bounds and faults.

Of these graphs (tiny_sam2): a prompted box or point is seen, what is tracked from memory is hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
from tests.engines.tiny_sam2 import sound_folder
from tests.engines.watched_sam2 import BOX, Watched, runs, view, watched

from scene_r1_engines.errors import BadPrompt, DeviceOutOfMemory
from scene_r1_engines.sam2.engine import Sam2
from scene_r1_engines.sam2.manifest import Profiles, Sam2Manifest, read_sam2_manifest
from scene_r1_engines.sam2.memory_bank import KEPT_CONDITIONING
from scene_r1_engines.sam2.module import Value
from scene_r1_engines.sam2.tracker import Sam2Video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sound_folder(tmp_path / "model")


@pytest.fixture
def sam2(folder: Path) -> Iterator[Sam2]:
    with Sam2(folder, threads=1) as engine:
        yield engine


def test_a_hint_that_is_no_better_than_what_is_known_changes_nothing(folder: Path) -> None:
    with Sam2(folder, threads=1) as sam2:
        video = sam2.video()
        video.prompt(0, view(0), "it", BOX)
        video.track(0, view(0))
        assert not video.track(1, view(1))["it"].visible
        assert video.suggest(1, view(1), "it", BOX) is not None
        remembered = video.banks["it"].latest(1)
        assert video.suggest(1, view(1), "it", BOX) is None
        assert video.banks["it"].latest(1) is remembered
        assert video.banks["it"].conditioning(1) is None


def test_a_hint_for_what_was_not_tracked_is_refused(sam2: Sam2) -> None:
    video = sam2.video()
    with pytest.raises(BadPrompt, match="hint"):
        video.suggest(0, view(0), "it", BOX)
    video.prompt(0, view(0), "it", BOX)
    with pytest.raises(BadPrompt, match=r"frame 1 .*'it'"):
        video.suggest(1, view(1), "it", BOX)


def test_objects_of_one_structure_share_a_run_and_others_have_their_own(folder: Path) -> None:
    sam2, modules = watched(folder)
    with sam2:
        video = sam2.video()
        for object_id in "abcd":
            video.prompt(0, view(0), object_id, BOX)
        video.prompt(1, view(1), "late", BOX)
        video.track(0, view(0))
        assert list(video.track(2, view(2))) == ["a", "b", "c", "d", "late"]
        assert [s["feat"][0] for s in modules["memory_attention"].shapes[-3:]] == [3, 1, 1]
        assert runs(modules["image_encoder"]) == 3
        video.forget("a")
        assert list(video.track(3, view(3))) == ["b", "c", "d", "late"]
        with pytest.raises(BadPrompt, match="'a' is not tracked"):
            video.forget("a")


def test_a_device_without_room_is_asked_once_more_with_half_the_memories(folder: Path) -> None:
    sam2, modules = watched(folder, most_memories=3)
    with sam2:
        video = sam2.video()
        video.prompt(0, view(0), 0, BOX)
        for number in range(12):
            video.track(number, view(number))
        # It fails once, at four, and the track goes on with two.
        assert [s["mem"][1] for s in modules["memory_attention"].shapes] == [1, 2, 3, 4, *[2] * 8]
        assert len(video.banks[0]) == 12


def test_a_device_that_still_has_no_room_is_an_error_and_the_frame_can_be_tried_again(folder: Path) -> None:
    sam2, modules = watched(folder, most_memories=0)
    with sam2:
        video = sam2.video()
        video.prompt(0, view(0), 0, BOX)
        video.track(0, view(0))
        with pytest.raises(DeviceOutOfMemory):
            video.track(1, view(1))
        assert len(video.banks[0]) == 1
        modules["memory_attention"].most_memories = 99
        assert list(video.track(1, view(1))) == [0]


def test_an_endless_stream_is_tracked_within_flat_memory(sam2: Sam2) -> None:
    video = sam2.video()
    sizes = set()
    for number in range(600):
        if number % 10 == 0:
            video.prompt(number, view(0), "it", BOX)
        video.track(number, view(0))
        if number > 400:
            sizes.add((len(video.banks["it"]), video.banks["it"].nbytes))
    assert len({size for size, _ in sizes}) == 1
    assert len({nbytes for _, nbytes in sizes}) == 1
    assert next(iter(sizes))[0] == KEPT_CONDITIONING + 32


def test_a_model_without_pointer_ages_is_not_fed_them(folder: Path) -> None:
    manifest: Sam2Manifest = read_sam2_manifest(folder)
    attention = replace(
        manifest.memory_attention, inputs=manifest.memory_attention.inputs.replace("; ptr_t float32 P", "")
    )
    assert [spec.name for spec in attention.takes] == ["feat", "mem", "tpos", "ptr"]
    fed: list[set[str]] = []

    class Silent(Watched):
        def run(self, feeds: Mapping[str, Value], keep: Collection[str] = ()) -> dict[str, Value]:
            if "mem" in feeds:
                fed.append(set(feeds))
                feeds = {**feeds, "ptr_t": np.zeros(feeds["ptr"].shape[1], np.float32)}
            return super().run(feeds, keep)

    sam2, modules = watched(folder)
    with sam2:
        graphs = type(sam2.graphs)(
            replace(manifest, memory_attention=attention, profiles=Profiles(memories=7, pointers=16)),
            {part: Silent(module, 99) for part, module in modules.items()},
        )
        video = Sam2Video(type(sam2.features)(graphs, 0))
        video.prompt(0, view(0), 0, BOX)
        video.track(0, view(0))
        video.track(1, view(1))
    assert fed == [{"feat", "mem", "tpos", "ptr"}]
