"""LZFSE, as Apple's devices compress: its blocks are walked and held to the expected size before they are unpacked.

The decoder of the package grows its output until the stream fits, whatever size that is; so a stream is only handed
over when its blocks claim what a depth image takes and are small enough to mean it.
"""

from __future__ import annotations

import struct
from importlib import import_module
from typing import Any

from scene_r1_engines.errors import MissingExtra

MAX_BLOCKS = 4096
END, PLAIN, FSE, LZVN = b"bvx$", b"bvx-", b"bvx2", b"bvxn"


def lzfse() -> Any:
    """The package `lzfse`. Raises MissingExtra where it is absent."""
    try:
        return import_module("lzfse")
    except ImportError as error:
        raise MissingExtra("record3d", "the depth of a Record3D recording", str(error)) from error


def decompress(data: bytes, size: int) -> bytes:
    """The content of a whole LZFSE stream. size: bytes that it must have. Raises ValueError saying what is wrong."""
    claimed = _claimed_bytes(data)
    if claimed != size:
        raise ValueError(f"unpacks to {claimed} bytes, not the {size} of its picture")
    package = lzfse()
    try:
        unpacked = package.decompress(data)
    except (package.error, MemoryError) as error:
        raise ValueError(f"does not unpack: its compressed data is damaged ({error})") from None
    if len(unpacked) != size:
        raise ValueError(f"unpacks to {len(unpacked)} bytes, not the {size} of its picture")
    return bytes(unpacked)


def _claimed_bytes(data: bytes) -> int:
    """Sum of what the blocks say they hold, from the first to the end marker.

    Layout of the blocks: lzfse_internal.h of Apple's reference implementation. Raises ValueError.
    """
    total = at = 0
    for _ in range(MAX_BLOCKS):
        magic = data[at : at + 4]
        if magic == END:
            return total
        header = {PLAIN: 8, LZVN: 12, FSE: 32}.get(magic)
        if header is None:
            raise ValueError(f"is no LZFSE stream: byte {at} begins with {magic.hex(' ') or 'nothing'}")
        if at + header > len(data):
            raise ValueError("is cut short inside a block's header")
        held, payload = struct.unpack_from("<I", data, at + 4)[0], 0
        if magic == PLAIN:
            payload = held
        elif magic == LZVN:
            payload = struct.unpack_from("<I", data, at + 8)[0]
            if payload > held + 64:  # LZVN is only written where it is the shorter one
                raise ValueError("is damaged: a block is longer than what it holds")
        else:
            first, second, third = struct.unpack_from("<QQQ", data, at + 8)
            literals, literal_bytes, matches = (first >> shift & 0xFFFFF for shift in (0, 20, 40))
            header = third & 0xFFFFFFFF
            payload = literal_bytes + (second >> 40 & 0xFFFFF)
            # Each match makes at least one byte; without this a few bits could ask for gigabytes.
            if header < 32 or matches > held or literals > held + 4:
                raise ValueError("is damaged: a block's header contradicts itself")
        at += header + payload
        total += held
        if at > len(data):
            raise ValueError("is cut short inside a block")
    raise ValueError(f"has more than {MAX_BLOCKS} blocks")
