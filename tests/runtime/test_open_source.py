"""Recordings are recognised by what they are; decoding ahead neither loses nor hides anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.recorded_frames import make_frames

from scene_r1.sources import FORMATS, create_sink, open_source
from scene_r1.sources.prefetch import DecodeAhead
from scene_r1.sources.seven_scenes import SevenScenesSource
from scene_r1.sources.seven_scenes_sink import SevenScenesSink
from scene_r1.sources.source import FrameSource
from scene_r1.sources.tum import TumSource
from scene_r1.sources.tum_sink import TumSink
from scene_r1_engines.errors import BadConfig, BadInput, BadRecording


@pytest.mark.parametrize(("format", "kind"), [(None, SevenScenesSource), ("tum", TumSource)])
def test_a_folder_is_opened_as_what_it_is(tmp_path: Path, format: str | None, kind: type) -> None:
    with create_sink(tmp_path / "my room", format) as sink:
        for frame in make_frames(2):
            sink.write(frame)
    for name in (tmp_path / "my room", str(tmp_path / "my room"), (tmp_path / "my room").as_uri()):
        with open_source(name) as source:
            assert isinstance(source, kind)
            assert isinstance(source, FrameSource)
            assert len(list(source.frames())) == 2


def test_what_is_not_a_recording_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.docx").write_text("hello")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder.db3").mkdir()
    cases = {
        "empty": "an empty folder",
        "notes.docx": "a file ending in '.docx'",
        "photos": "cat.jpg",
        "absent": "nothing at this path",
        "absent.db3": "nothing at this path",
        "loop": "neither a file nor a folder",
        "folder.db3": "an empty folder",
        "nul\0": "",
        "n" * 5000: "",
        "https://example.org/a.bag": "no address",
    }
    for name, words in cases.items():
        with pytest.raises(BadRecording) as caught:
            open_source(name if "://" in name else f"{tmp_path}/{name}")
        assert words in caught.value.reason
        if words and words != "no address":
            assert all(one.looks in caught.value.reason for one in FORMATS)


def test_sinks_go_by_suffix_and_format(tmp_path: Path) -> None:
    assert isinstance(create_sink(tmp_path / "a"), SevenScenesSink)
    assert isinstance(create_sink(tmp_path / "a", "tum"), TumSink)
    for path, format, quality in (
        ("a", "scannet", None),
        ("a.db3", "tum", None),
        ("a", "realsense", None),
        ("a.bag", None, None),
        ("a.db3", None, 90),
        ("a", None, 101),
    ):
        with pytest.raises(BadConfig):
            create_sink(tmp_path / path, format, jpeg_quality=quality)


def test_items_come_in_order_and_the_thread_ends_with_them() -> None:
    before = threading.active_count()
    assert list(DecodeAhead(iter(range(100)))) == list(range(100))
    assert threading.active_count() == before


def test_no_more_than_the_bound_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    for taken, _ in enumerate(DecodeAhead(items(), ahead=4), 1):
        # Handed over: `taken`. Waiting: at most 4. A further one may be in the making.
        assert len(made) <= taken + 5


def test_an_exception_of_the_thread_surfaces_after_the_items_before_it_and_keeps_its_cause() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise BadInput("broken") from cause

    seen: list[int] = []

    def read() -> None:
        seen.extend(DecodeAhead(items()))

    reader = iter(DecodeAhead(items()))
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(BadInput, match="broken") as caught:
        next(reader)
    assert isinstance(caught.value.__cause__, KeyError)
    assert any(entry.name == "items" for entry in caught.traceback)
    with pytest.raises(BadInput):
        read()
    assert not [thread for thread in threading.enumerate() if thread.name == "decode-ahead"]


def test_a_reader_that_waits_is_woken_when_the_recording_is_closed() -> None:
    gate = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        gate.wait(10)
        yield 2

    ahead = DecodeAhead(items())
    reader = iter(ahead)
    assert next(reader) == 1
    stopper = threading.Timer(0.05, ahead.stop)
    decoded = threading.Timer(0.2, gate.set)  # stopping waits for the item in the making, and for no more
    stopper.start()
    decoded.start()
    with pytest.raises(BadInput, match="closed"):
        next(reader)
    stopper.join()
    assert not stopper.is_alive()
