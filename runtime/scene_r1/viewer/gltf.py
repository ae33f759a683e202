"""A glTF 2.0 document being put together, and its one-file form GLB (Khronos, glTF 2.0 specification)."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1_engines.errors import BadInput

POINTS, LINES, TRIANGLES = 0, 1, 4
COMPONENTS = {np.dtype("<f4"): 5126, np.dtype("<u4"): 5125}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
VERTICES, INDICES = 34962, 34963
LARGEST = 2**32 - 1
"""Lengths in a GLB are 32 bits."""
LINEAR: NDArray[np.float64] = np.where(
    (_S := np.arange(256) / 255.0) <= 0.04045, _S / 12.92, ((_S + 0.055) / 1.055) ** 2.4
)
"""What glTF wants of a colour that is no picture: light, not the sRGB value of a camera's pixel."""


class Document:
    """Things are added and named by their number in the document, as glTF does it."""

    def __init__(self, generator: str) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0", "generator": generator}, "scene": 0}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, kind: str, thing: dict[str, Any]) -> int:
        """Append to `nodes`, `meshes`, `materials`, ...; returns its number."""
        things = self.json.setdefault(kind, [])
        things.append(thing)
        return len(things) - 1

    def material(self, rgb: tuple[int, int, int] = (255, 255, 255), texture: int | None = None) -> int:
        """A colour that no light changes; texture: a picture in its place."""
        self._uses("KHR_materials_unlit")
        surface: dict[str, Any] = {"baseColorFactor": [*(float(c) for c in LINEAR[list(rgb)]), 1.0]}
        if texture is not None:
            surface["baseColorTexture"] = {"index": texture}
        surface |= {"metallicFactor": 0.0, "roughnessFactor": 1.0}
        extensions: dict[str, Any] = {"KHR_materials_unlit": {}}
        return self.add("materials", {"pbrMetallicRoughness": surface, "doubleSided": True, "extensions": extensions})

    def picture(self, data: bytes, media_type: str) -> int:
        """A texture of an encoded image."""
        image = self.add("images", {"bufferView": self._view(data), "mimeType": media_type})
        sampler = 0 if "samplers" in self.json else self.add("samplers", {"wrapS": 33071, "wrapT": 33071})
        return self.add("textures", {"source": image, "sampler": sampler})

    def mesh(
        self,
        mode: int,
        xyz: NDArray[np.floating],
        material: int,
        rgb: NDArray[np.uint8] | None = None,
        uv: NDArray[np.floating] | None = None,
        indices: NDArray[np.integer] | None = None,
    ) -> int:
        """A mesh of one primitive. mode: POINTS, LINES, TRIANGLES. xyz: (N, 3) metres, N >= 1. rgb: (N, 3) uint8 of a
        camera. uv: (N, 2) of the picture, from its upper left corner. indices: of triangles; lines are pairs of
        vertices without, for some readers (trimesh) ignore theirs."""
        attributes = {"POSITION": self._accessor(np.asarray(xyz, "<f4"), VERTICES, bounds=True)}
        if rgb is not None:
            # float: in 8 bits of light the dark half of a picture has 50 steps, and some readers garble 16
            attributes["COLOR_0"] = self._accessor(LINEAR.astype("<f4")[rgb], VERTICES)
        if uv is not None:
            attributes["TEXCOORD_0"] = self._accessor(np.asarray(uv, "<f4"), VERTICES)
        primitive: dict[str, Any] = {"attributes": attributes, "mode": mode, "material": material}
        if indices is not None:
            primitive["indices"] = self._accessor(np.asarray(indices, "<u4").reshape(-1, 1), INDICES)
        return self.add("meshes", {"primitives": [primitive]})

    def glb(self) -> bytes:
        """The whole document as one file. Raises BadInput beyond 4 GB."""
        if self._size:
            self.json["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(self.json, allow_nan=False, separators=(",", ":")).encode("ascii")
        chunks = _chunk(b"JSON", text, b" ")
        if self._size:
            chunks += _chunk(b"BIN\0", b"".join(self._parts), b"\0")
        total = 12 + len(chunks)
        if total > LARGEST:
            raise BadInput(f"a GLB holds {LARGEST} bytes and this takes {total}: show fewer points or pictures")
        return struct.pack("<4sII", b"glTF", 2, total) + chunks

    def _accessor(self, values: NDArray[Any], target: int, bounds: bool = False) -> int:
        """The description of (N, C) numbers in the buffer."""
        accessor: dict[str, Any] = {
            "bufferView": self._view(values.tobytes(), target),
            "componentType": COMPONENTS[values.dtype],
            "count": len(values),
            "type": SHAPES[values.shape[1]],
        }
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        return self.add("accessors", accessor)

    def _view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes to the buffer, at a multiple of 4."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        padded = data + b"\0" * (-len(data) % 4)
        self._parts.append(padded)
        self._size += len(padded)
        return self.add("bufferViews", view)

    def _uses(self, extension: str) -> None:
        used = self.json.setdefault("extensionsUsed", [])
        if extension not in used:
            used.append(extension)


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    padded = data + padding * (-len(data) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded
