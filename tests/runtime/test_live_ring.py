"""The ring between the capturing process and its caller: nothing torn, nothing twice, the oldest dropped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene_r1.live.device import RawFrame
from scene_r1.live.ring import Layout, Ring, Taken
from scene_r1.live.timeline import Mark, Placed
from scene_r1_engines.errors import BadFrame, BudgetExceeded

SMALL = Layout((6, 8), (4, 5), 3)
VGA = Layout((480, 640), (480, 640), 2)


@contextmanager
def opened(layout: Layout) -> Iterator[tuple[int, Ring, Ring]]:
    """The file and both sides of a ring."""
    fd = os.memfd_create("test")
    try:
        os.ftruncate(fd, layout.bytes)
        writer, reader = Ring(fd, layout), Ring(fd, layout)
        yield fd, writer, reader
        writer.close()
        reader.close()
        reader.close()
    finally:
        os.close(fd)


def frame(n: int, layout: Layout = SMALL) -> RawFrame:
    return RawFrame(
        number=n,
        timestamp_ns=n * 1000,
        domain="hardware_clock",
        received_ns=n * 10 + 1,
        color=np.full((*layout.color, 3), n % 256, np.uint8),
        depth_raw=np.full(layout.depth, n % 65536, np.uint16),
        T_world_camera=np.arange(16.0).reshape(4, 4) + n if n % 2 else None,
        gravity=np.array([0.0, n, 1.0]) if n % 3 else None,
    )


def put(ring: Ring, n: int, layout: Layout = SMALL) -> None:
    ring.write(1, n, frame(n, layout), Placed(n * 1000 + 7, 2, n), Mark(n * 1000 + 7, n * 10 + 1, 7, 2))


def is_frame(taken: Taken | None, n: int) -> bool:
    assert taken is not None
    wanted = frame(n)
    for name in ("number", "timestamp_ns", "domain", "received_ns"):
        assert getattr(taken.raw, name) == getattr(wanted, name)
    for name in ("color", "depth_raw", "T_world_camera", "gravity"):
        got, right = getattr(taken.raw, name), getattr(wanted, name)
        assert (got is None) == (right is None)
        assert got is None or (np.array_equal(got, right) and got.dtype == right.dtype)
    return (taken.run, taken.index, taken.placed) == (1, n, Placed(n * 1000 + 7, 2, n))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["put", "put", "take", "peek"]), max_size=40))
def test_it_is_a_queue_that_drops_its_oldest(calls: list[str]) -> None:
    with opened(SMALL) as (_, writer, reader):
        waiting: deque[int] = deque()
        written = dropped = 0
        for call in calls:
            if call == "put":
                put(writer, written)
                waiting.append(written)
                written += 1
                if len(waiting) > SMALL.waiting:
                    waiting.popleft()
                    dropped += 1
            elif not waiting:
                assert reader.take(newest=call == "peek") is None
            elif call == "peek":
                assert is_frame(reader.take(newest=True), waiting[-1])
            else:
                assert is_frame(reader.take(), waiting.popleft())
            assert reader.counters["frames"] == written
            assert reader.counters["dropped"] == dropped
            assert reader.waiting == len(waiting)


def test_what_was_taken_is_the_takers_own() -> None:
    with opened(SMALL) as (_, writer, reader):
        put(writer, 1)
        taken = reader.take()
        for n in range(2, 9):
            put(writer, n)
        assert is_frame(taken, 1)
    assert is_frame(taken, 1)


def test_counters_and_the_last_mark_are_seen_on_the_other_side() -> None:
    with opened(SMALL) as (_, writer, reader):
        assert reader.mark is None
        assert reader.newest_ns == 0
        put(writer, 4)
        writer.count(duplicates=3, stale=2, unpaired=1, clock_jumps=5)
        assert reader.mark == Mark(4007, 41, 7, 2)
        assert reader.newest_ns == 41
        assert reader.counters == {
            "frames": 1,
            "dropped": 0,
            "duplicates": 3,
            "stale": 2,
            "unpaired": 1,
            "clock_jumps": 5,
        }


@pytest.mark.parametrize(
    ("color", "depth"),
    [
        (np.zeros((6, 9, 3), np.uint8), np.zeros((4, 5), np.uint16)),
        (np.zeros((6, 8), np.uint8), np.zeros((4, 5), np.uint16)),
        (np.zeros((6, 8, 3), np.float32), np.zeros((4, 5), np.uint16)),
        (np.zeros((6, 8, 3), np.uint8), np.zeros((4, 5), np.float32)),
        (np.zeros((6, 8, 3), np.uint8), np.zeros((5, 4), np.uint16)),
    ],
)
def test_images_of_another_size_or_type_are_refused_and_leave_the_ring_as_it_was(
    color: np.ndarray, depth: np.ndarray
) -> None:
    with opened(SMALL) as (_, writer, reader):
        put(writer, 1)
        with pytest.raises(BadFrame, match="frame 2: the camera gave"):
            writer.write(1, 2, RawFrame(2, 0, "", 1, color, depth), Placed(1, 0, 0), None)
        assert is_frame(reader.take(), 1)
        assert reader.take() is None


def test_a_ring_of_hostile_size_is_refused_before_it_is_made() -> None:
    with pytest.raises(BudgetExceeded, match="16384, 16384"):
        Layout((16384, 16384), (480, 640), 4)


CHILD = """
import os, sys
import numpy as np
from scene_r1.live.device import RawFrame
from scene_r1.live.ring import Layout, Ring
from scene_r1.live.timeline import Placed
fd, count = int(sys.argv[1]), int(sys.argv[2])
layout = Layout((480, 640), (480, 640), 2)
ring = Ring(fd, layout)
color, depth = np.empty((480, 640, 3), np.uint8), np.empty((480, 640), np.uint16)
print("up", flush=True)
n = 0
while n < count:
    color[:], depth[:] = n % 256, n
    ring.write(1, n, RawFrame(n, n, "", n + 1, color, depth), Placed(n, 0, 0), None)
    n += 1
"""
HOLDS = """
import fcntl, os, sys, time
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)
print("up", flush=True)
time.sleep(1e6)
"""


@contextmanager
def child(code: str, fd: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(fd), *arguments]
    with subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


def test_no_frame_is_torn_while_another_process_floods_the_ring() -> None:
    count, seen, newest = 1500, [], []
    with opened(VGA) as (fd, _, reader), child(CHILD, fd, str(count)) as process:
        while process.poll() is None or reader.waiting:
            peeked, taken = reader.take(newest=True), reader.take()
            for one, noted in ((peeked, newest), (taken, seen)):
                if one is not None:
                    assert np.all(one.raw.color == one.index % 256)
                    assert np.all(one.raw.depth_raw == one.index)
                    noted.append(one.index)
        assert reader.counters["frames"] == count
        assert reader.counters["dropped"] == count - len(seen)
    assert seen == sorted(set(seen))
    assert seen[-1] == count - 1
    assert newest == sorted(newest)  # the last may be written between a peek and the take after it


def test_a_process_that_is_killed_gives_the_lock_back() -> None:
    with opened(SMALL) as (fd, writer, reader), child(HOLDS, fd) as process:
        with pytest.raises(TimeoutError, match="holds its lock"):
            reader.take()
        process.kill()
        process.wait()
        put(writer, 3)
        assert is_frame(reader.take(), 3)


def test_rings_opened_and_closed_leave_no_descriptor_and_no_memory() -> None:
    def once() -> None:
        with opened(SMALL) as (_, writer, reader):
            put(writer, 1)
            assert reader.take() is not None

    def held() -> tuple[int, int]:
        with open("/proc/self/maps") as maps:
            return psutil.Process().num_fds(), sum("memfd" in line for line in maps)

    before = held()
    for _ in range(100):
        once()
    assert held() == before
