"""The recording process's own side: writes what it is handed until it is told to stop, or the recorder is gone."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from typing import Any

import cv2

from scene_r1.recorder import packets
from scene_r1.recorder.card import LiveCard
from scene_r1.recorder.slots import Layout, Slots
from scene_r1.recorder.writer import RecordingWriter


def main(end: socket.socket) -> None:
    """The whole life of the process. It ends its file well when the recorder's process dies, however that dies."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ):  # a whole group gets them; the recorder decides
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    order = packets.received(end, None)
    assert order is not None
    card = LiveCard.from_json(order["card"])
    slots = Slots(Layout.of(card), order["slots_fd"])
    desk = _Desk(end, slots)
    try:
        desk.serve(order["file_fd"], card)
    except OSError as error:
        desk.tell(failed=_why(error))
    os._exit(0)  # the views of the slots are still about: the way out that asks nobody


class _Desk:
    def __init__(self, end: socket.socket, slots: Slots) -> None:
        self._end, self._slots = end, slots
        self._writer: RecordingWriter | None = None

    def serve(self, fd: int, card: LiveCard) -> None:
        """Until told to close, or nobody is left to tell. Raises OSError when the file cannot be written."""
        self._writer = writer = RecordingWriter(fd, card)
        self.tell(ready=True)
        try:
            while True:
                try:
                    packet = packets.received(self._end, writer.due_s)
                except (EOFError, ConnectionError):
                    break
                if packet is None or writer.due_s <= 0.0:
                    writer.flush()
                if packet is not None and not self._carry_out(packet, writer):
                    break
        finally:
            writer.close()
        self.tell(done=True)

    def _carry_out(self, packet: dict[str, Any], writer: RecordingWriter) -> bool:
        """Whether to go on."""
        if "slot" in packet:
            color, depth_raw = self._slots.views(packet["slot"])
            writer.frame(packet["stamp_ns"], color, depth_raw, packet)
            self.tell(free=packet["slot"])
        elif "event" in packet:
            writer.event(packet["event"])
        return "close" not in packet

    def tell(self, **what: object) -> None:
        writer = self._writer
        written = (
            {} if writer is None else {"bytes": writer.file.nbytes, "frames": writer.frames, "events": writer.events}
        )
        try:
            self._end.send(packets.packed({**what, **written, "cpu_s": time.process_time()}))
        except OSError:
            return  # the recorder is gone; the next packet to read will be its end


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full ({error.strerror})"
    return f"the file cannot be written ({error.strerror or error})"
