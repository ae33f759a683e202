"""What the recorder and its process tell each other: one JSON text a packet, over a pair of sockets that keep packets.

To the process: {"card", "file_fd", "slots_fd"} first, then {"slot", "stamp_ns", "record", "T_world_camera"} of a
frame, {"event": text}, {"close": true}. From it: {"ready": true}, {"free": slot}, {"failed": why}, {"done": true}; all
but the first with the bytes, frames and events written so far and the CPU seconds it took.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 128 << 10
"""Of a packet: an event, quoted as JSON once more."""
SEND_BUFFER_BYTES = 512 << 10


def pair() -> tuple[socket.socket, socket.socket]:
    """The recorder's end, which never waits, and its process's, which does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


def packed(packet: Mapping[str, object]) -> bytes:
    return json.dumps(packet).encode()


def received(end: socket.socket, timeout_s: float | None) -> dict[str, Any] | None:
    """The next packet, None after the timeout; None for timeout_s waits as long as it takes. Raises EOFError when the
    other end is closed, OSError when it is broken."""
    waiting = select.poll()
    waiting.register(end, select.POLLIN)
    if not waiting.poll(None if timeout_s is None else timeout_s * 1000.0):
        return None
    data = end.recv(MOST_BYTES)
    if not data:
        raise EOFError
    packet: dict[str, Any] = json.loads(data)
    return packet
