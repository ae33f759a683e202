"""The capturing process's own side: opens the camera, and puts what it gives into the ring until it is told to stop."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import cv2

from scene_r1.live.device import CameraInfo, Device, RawFrame
from scene_r1.live.messages import Ended, Fault, Open, Opened, Order, Play, Stop, travelling
from scene_r1.live.ring import Ring
from scene_r1.live.timeline import Timeline
from scene_r1_engines.errors import BadConfig, BadRecording, CameraLost
from scene_r1_engines.worker.child import die_with

LOOK_S = 0.1
"""How long the camera is waited for before the pipe is looked at again."""


def main(pipe: Connection[Any, Any], ring_fd: int, wake_fd: int, parent: int) -> None:
    """The whole life of a capturing process; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the caller decides
    die_with(parent)
    cv2.setNumThreads(1)  # more would wait for cores that the session and the model have
    faulthandler.enable(all_threads=False)  # where Python was when native code aborted: among the last words
    code = 1
    try:
        code = _live(pipe, ring_fd, wake_fd)
    except (EOFError, OSError):
        pass  # the caller is gone: nobody is left to be told
    except BaseException:  # noqa: BLE001 - of closing the camera; told among the last words
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # not the interpreter's own way out, on which native libraries may hang or abort


def _live(pipe: Connection[Any, Any], ring_fd: int, wake_fd: int) -> int:
    device: Device | None = None
    try:
        order = _unpacked(pipe.recv_bytes())
        device = order.make()
        info = _insisted(device.open(order.serial), order.serial)
        pipe.send(Opened(info))
        Capturing(device, order, info.recorded, pipe, ring_fd, wake_fd).serve()
    except (EOFError, BrokenPipeError):
        raise
    except BaseException as error:  # noqa: BLE001 - not swallowed: the caller's process is told
        traceback.print_exc()
        pipe.send(Fault(travelling(error)))
        return 1
    finally:
        if device is not None:
            device.close()
    return 0


def _unpacked(data: bytes) -> Open:
    try:
        order = pickle.loads(data)
    except Exception as error:
        raise BadConfig(
            f"the capturing process cannot rebuild the camera ({error}): define it in a module that can be imported, "
            "not in the script or session that is running"
        ) from error
    assert isinstance(order, Open)
    return order


def _insisted(info: CameraInfo, serial: str | None) -> CameraInfo:
    """Raises CameraLost for another camera than the one that was lost: its poses and its map are not this one's."""
    if serial is not None and info.serial != serial:
        raise CameraLost(f"another camera is there, {info.name} {info.serial}: plug {serial} in again")
    return info


class Capturing:
    """From the camera into the ring, by one thread."""

    def __init__(
        self, device: Device, order: Open, recorded: bool, pipe: Connection[Any, Any], ring_fd: int, wake_fd: int
    ) -> None:
        self._device, self._order, self._recorded = device, order, recorded
        self._pipe, self._ring_fd, self._wake_fd = pipe, ring_fd, wake_fd
        self._timeline = Timeline(recorded, order.after)
        self._index = order.index
        self._ring: Ring | None = None
        self._run: int | None = None

    def serve(self) -> None:
        """Until a Stop. Raises what the camera raises, EOFError or OSError when the caller's process is gone."""
        while True:
            if self._run is None or self._pipe.poll():
                order: Order = self._pipe.recv()
                if isinstance(order, Stop):
                    return
                self._play(order)
            self._step()

    def _play(self, order: Play) -> None:
        if self._ring is None:
            self._ring = Ring(self._ring_fd, order.layout)
        else:  # a second playing: only recordings are asked for one
            self._device.close()
            self._device.open(self._order.serial)
            self._timeline = Timeline(self._recorded)
        self._run = order.run

    def _step(self) -> None:
        assert self._ring is not None
        assert self._run is not None
        try:
            raw = self._device.wait(LOOK_S)
        except BadRecording as error:
            self._pipe.send(Ended(self._run, error))  # it can be played again, as far as it goes
            self._run = None
            return
        if raw is not None:
            self._take(self._ring, self._run, raw)
        elif self._device.ended:
            self._pipe.send(Ended(self._run))
            self._run = None
        timeline = self._timeline
        self._ring.count(
            duplicates=timeline.duplicates,
            stale=timeline.stale,
            clock_jumps=timeline.clock_jumps,
            unpaired=self._device.unpaired,
        )

    def _take(self, ring: Ring, run: int, raw: RawFrame) -> None:
        placed = self._timeline.place(raw.number, raw.timestamp_ns, raw.domain, raw.received_ns)
        if placed is None:
            return
        index = raw.number if self._recorded else self._index
        ring.write(run, index, raw, placed, self._timeline.mark)
        self._index += 1
        os.eventfd_write(self._wake_fd, 1)
