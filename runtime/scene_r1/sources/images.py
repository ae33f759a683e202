"""Images of a recording: checked from the first byte to the last before OpenCV decodes them.

OpenCV returns partly decoded pictures for some damaged files, and reserves memory for whatever size a header claims.
So the structure of the file is walked first: size, bit depth, channels, PNG chunk checksums, and the end marker.
Flipped bits inside a JPEG's compressed data keep its structure and cannot be told from a picture.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.sources.recorded_file import read_bytes
from scene_r1_engines.errors import BadRecording

MAX_PIXELS = 64_000_000
MAX_IMAGE_BYTES = MAX_PIXELS * 3 + (1 << 20)
"""The largest picture allowed, not compressed at all."""
MAX_PARTS = 100_000
"""Chunks or segments in one image file; a 64 megapixel PNG in OpenCV's 8 kB chunks has 24,000."""

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The end of entropy-coded JPEG data: any marker but a stuffed zero, a restart or a fill byte."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says of itself. channels: as stored; a palette counts as one."""

    kind: str
    width: int
    height: int
    bits: int
    channels: int


def read_color(path: Path, size: tuple[int, int], frame: int | None = None) -> NDArray[np.uint8]:
    """A colour image, PNG or JPEG, 8 bits a channel.

    size: (width, height) in pixels that it must have. Returns (H, W, 3) uint8, RGB; alpha is dropped, and an
    orientation tag is not followed, since intrinsics and depth are of the sensor as it is. Raises BadRecording.
    """
    return decode_color(read_bytes(path, MAX_IMAGE_BYTES, frame), path, size, frame)


def decode_color(data: bytes, path: Path, size: tuple[int, int], frame: int | None = None) -> NDArray[np.uint8]:
    """As `read_color`, of an image file's content. path: of the recording that holds it, for the error."""
    header = _checked(data, path, frame)
    if header.bits != 8 or header.channels not in (3, 4):
        raise BadRecording(
            path,
            f"must be a colour image with 8 bits a channel, got a {header.kind} with {header.channels} channel(s) of "
            f"{header.bits} bits",
            frame,
        )
    _check_size(path, header, size, frame)
    image = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path, frame)
    if image.shape != (header.height, header.width, 3) or image.dtype != np.uint8:
        raise BadRecording(path, f"decodes to {image.shape} {image.dtype}, not to what its header says", frame)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_depth(path: Path, size: tuple[int, int], frame: int | None = None) -> NDArray[np.uint16]:
    """A depth image, PNG with one channel of 16 bits.

    size: (width, height) in pixels that it must have. Returns (h, w) uint16 counts. Raises BadRecording.
    """
    return decode_depth(read_bytes(path, MAX_IMAGE_BYTES, frame), path, size, frame)


def decode_depth(data: bytes, path: Path, size: tuple[int, int], frame: int | None = None) -> NDArray[np.uint16]:
    """As `read_depth`, of an image file's content. path: of the recording that holds it, for the error."""
    header = _checked(data, path, frame)
    if (header.kind, header.bits, header.channels) != ("PNG", 16, 1):
        raise BadRecording(
            path,
            f"must be a PNG with one channel of 16 bits, got a {header.kind} with {header.channels} channel(s) of "
            f"{header.bits} bits",
            frame,
        )
    _check_size(path, header, size, frame)
    image = _decode(data, cv2.IMREAD_UNCHANGED, path, frame)
    if image.shape != (header.height, header.width) or image.dtype != np.uint16:
        raise BadRecording(path, f"decodes to {image.shape} {image.dtype}, not to what its header says", frame)
    return np.asarray(image, dtype=np.uint16)


def read_size(path: Path, frame: int | None = None) -> tuple[int, int]:
    """(width, height) in pixels of an image file, not decoded. Raises BadRecording as for reading it."""
    header = _checked(read_bytes(path, MAX_IMAGE_BYTES, frame), path, frame)
    return header.width, header.height


def image_header(data: bytes) -> ImageHeader:
    """Walk an image file's structure to its end marker. Raises ValueError saying what is wrong with it."""
    if data.startswith(PNG):
        header = _png_header(data)
    elif data.startswith(JPEG):
        header = _jpeg_header(data)
    else:
        raise ValueError(f"is neither a PNG nor a JPEG (it starts with {data[:8].hex(' ')})")
    if header.width == 0 or header.height == 0:
        raise ValueError(f"has an empty picture, {header.width}x{header.height} pixels")
    if header.width * header.height > MAX_PIXELS:
        raise ValueError(f"is {header.width}x{header.height} pixels, more than the {MAX_PIXELS} that are decoded")
    return header


def _checked(data: bytes, path: Path, frame: int | None) -> ImageHeader:
    try:
        return image_header(data)
    except ValueError as error:
        raise BadRecording(path, str(error), frame) from None


def _check_size(path: Path, header: ImageHeader, size: tuple[int, int], frame: int | None) -> None:
    if (header.width, header.height) != size:
        raise BadRecording(
            path,
            f"is {header.width}x{header.height} pixels, but the intrinsics are of {size[0]}x{size[1]}: "
            "all images of a stream have one size",
            frame,
        )


def _decode(data: bytes, flags: int, path: Path, frame: int | None) -> NDArray[np.integer]:
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise BadRecording(path, f"does not decode ({error.err})", frame) from error
    if image is None:
        raise BadRecording(path, "does not decode: its compressed data is damaged", frame)
    return np.asarray(image)


def _png_header(data: bytes) -> ImageHeader:
    """PNG: signature, then chunks of length, type, data and CRC; the first is IHDR, the last IEND (ISO 15948)."""
    view = memoryview(data)
    header = None
    at = len(PNG)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            raise ValueError("is a PNG cut short (no IEND chunk)")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError(f"is a PNG cut short inside its {_kind(kind)} chunk")
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"is a damaged PNG: the checksum of its {_kind(kind)} chunk is wrong")
        if header is None:
            if kind != b"IHDR" or length != 13:
                raise ValueError("is a PNG that does not begin with its header")
            width, height, bits, color_type = struct.unpack_from(">IIBB", data, at + 8)
            if color_type not in PNG_CHANNELS:
                raise ValueError(f"is a PNG with the unknown colour type {color_type}")
            header = ImageHeader("PNG", width, height, bits, PNG_CHANNELS[color_type])
        if kind == b"IEND":
            return header
        at = end
    raise ValueError(f"is a PNG with more than {MAX_PARTS} chunks")


def _kind(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalpha() else repr(kind)


def _jpeg_header(data: bytes) -> ImageHeader:
    """JPEG: segments of marker, length and data; scans of entropy-coded data end at the next marker (ITU-T T.81 B)."""
    header = None
    at = 2
    for _ in range(MAX_PARTS):
        while data[at : at + 2] == b"\xff\xff":  # fill bytes before a marker
            at += 1
        if at + 2 > len(data):
            raise ValueError("is a JPEG cut short (no end marker)")
        if data[at] != 0xFF:
            raise ValueError(f"is a damaged JPEG: byte {at} should begin a marker")
        marker = data[at + 1]
        if marker == 0xD9:
            if header is None:
                raise ValueError("is a JPEG without a picture")
            return header
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            at += 2
            continue
        if at + 4 > len(data):
            raise ValueError("is a JPEG cut short (no end marker)")
        length = struct.unpack_from(">H", data, at + 2)[0]
        if length < 2 or at + 2 + length > len(data):
            raise ValueError("is a JPEG cut short inside a segment")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if length < 8 or header is not None:
                raise ValueError("is a JPEG with a damaged or a second frame header")
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            header = ImageHeader("JPEG", width, height, bits, channels)
        at += 2 + length
        if marker == 0xDA:
            found = MARKER_IN_SCAN.search(data, at)
            if found is None:
                raise ValueError("is a JPEG cut short (no end marker)")
            at = found.start()
    raise ValueError(f"is a JPEG with more than {MAX_PARTS} segments")
