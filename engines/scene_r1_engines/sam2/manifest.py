"""The manifest of a SAM2 folder: which four graphs it vouches for, and what the model asks of whoever runs them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.settings_file import read_settings, to_toml

FORMAT = 1
FAMILY = "sam2"
PRECISIONS = ("fp32", "fp16", "int8")
PARTS = ("image_encoder", "mask_decoder", "memory_encoder", "memory_attention")
MOST_SLOTS = 15
"""Memories that are attended to at once: with 16 of them the normaliser of a half-precision softmax overflows."""
DTYPES = ("float32", "float16", "int32")
_TENSOR = re.compile(r"([a-z][a-z0-9_]{0,39}) (float32|float16|int32)((?: (?:[1-9][0-9]{0,5}|[A-Z])){1,6})")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph. shape: numbers, and letters for what may vary (B, N, M, P)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return " ".join((self.name, self.dtype, *map(str, self.shape)))


def tensors(text: str) -> tuple[TensorSpec, ...]:
    """`image float32 B 3 1024 1024; …` as specs. Raises BadConfig."""
    found = []
    for part in text.split("; "):
        match = _TENSOR.fullmatch(part)
        if match is None:
            raise BadConfig(
                f'a tensor must be said as "name dtype extent …", such as "mem float32 B M", got {part[:80]!r}'
            )
        shape = tuple(int(one) if one.isdigit() else one for one in match[3].split())
        found.append(TensorSpec(match[1], match[2], shape))
    names = [spec.name for spec in found]
    if len(set(names)) != len(names):
        raise BadConfig(f"two tensors have one name: {', '.join(names)}")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class GraphFile:
    """One ONNX file of the folder. file: its name, no path. sha256: lower-case hex. inputs, outputs: its tensors, in
    its order, as `tensors` reads them."""

    file: str
    sha256: str
    bytes: int
    precision: str
    inputs: str
    outputs: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", self.file):
            raise BadConfig(f"file must be a plain file name of the folder, got {self.file[:80]!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise BadConfig(f"sha256 must be 64 lower-case hex digits, got {self.sha256[:80]!r}")
        if not 0 < self.bytes < 1 << 31:
            raise BadConfig(f"bytes must be the file's size, below 2 GiB as all of ONNX, got {self.bytes}")
        if self.precision not in PRECISIONS:
            raise BadConfig(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision[:40]!r}")
        tensors(self.inputs)
        tensors(self.outputs)

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        return tensors(self.inputs)

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        return tensors(self.outputs)


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """How the model remembers, as its configuration says.

    slots: memories that it attends to at once when tracking, those of conditioning frames not counted (num_maskmem).
    pointers: object pointers at once (max_obj_ptrs_in_encoder). channels: of a memory. signed_ages: whether a pointer's
    age has a sign. past_pointers_only: whether pointers of conditioning frames that lie ahead are left out.
    """

    slots: int
    pointers: int
    channels: int = 64
    signed_ages: bool = True
    past_pointers_only: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (("slots", 1, MOST_SLOTS), ("pointers", 1, 64), ("channels", 1, 1024)):
            if not least <= getattr(self, name) <= most:
                raise BadConfig(f"{name} must be in {least}..{most}, got {getattr(self, name)}")


F = float
Kernel = tuple[F, F, F, F, F, F, F, F, F, F, F, F, F, F, F, F]


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How the model's decoder is asked. multimask_least, multimask_most: with so many points it chooses among several
    masks (a box counts as two). track_multimask: whether it does on frames without a prompt. binarize: whether masks
    of prompted frames are made black and white before they are remembered. occlusion: whether it says that a thing is
    hidden. kernel, bias: of the 4x4 convolution of stride 4 by which a mask prompt is made small (row after row)."""

    multimask_least: int = 0
    multimask_most: int = 1
    track_multimask: bool = True
    binarize: bool = True
    occlusion: bool = True
    kernel: Kernel = (0.0625,) * 16
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class Profiles:
    """Extents up to which engines are built: objects at once (B), points (N), memories (M), pointers (P); the least of
    each is 1, of points 2."""

    objects: int = 4
    points: int = 16
    memories: int = MOST_SLOTS
    pointers: int = 31

    def __post_init__(self) -> None:
        for name, least, most in (
            ("objects", 1, 64), ("points", 3, 256), ("memories", 1, MOST_SLOTS), ("pointers", 1, 128),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise BadConfig(f"{name} must be in {least}..{most}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Sam2Manifest:
    """What a folder with the four graphs of a SAM2 says of itself.

    name: such as `sam2.1_hiera_t`. input_px: side of the square that every picture is resized to. mean, std: of RGB in
    0..1. source_sha256: of the checkpoint. precision: of the whole, each graph says its own too.
    """

    format: int
    name: str
    family: str
    license: str
    source_sha256: str
    made_by: str
    opset: int
    precision: str
    input_px: int
    image_encoder: GraphFile
    mask_decoder: GraphFile
    memory_encoder: GraphFile
    memory_attention: GraphFile
    memory: MemoryRules
    masks: MaskRules = field(default_factory=MaskRules)
    profiles: Profiles = field(default_factory=Profiles)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadConfig(f"format must be {FORMAT}, got {self.format}: made by another version of scene-r1-export")
        if self.family != FAMILY:
            raise BadConfig(f"family must be {FAMILY}, got {self.family[:40]!r}: this is no segmenter's folder")
        if self.precision not in PRECISIONS:
            raise BadConfig(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision[:40]!r}")
        if self.input_px % 64 or not 64 <= self.input_px <= 4096:
            raise BadConfig(f"input_px must be a multiple of 64 in 64..4096, got {self.input_px}")
        if not all(value > 0.0 for value in self.std):
            raise BadConfig(f"std must be above 0, got {self.std}")
        files = [graph.file for graph in self.graphs.values()]
        if len(set(files)) != len(files):
            raise BadConfig(f"two graphs are one file: {', '.join(files)}")

    @property
    def graphs(self) -> dict[str, GraphFile]:
        """The four, by the names of PARTS."""
        return {part: getattr(self, part) for part in PARTS}


def read_sam2_manifest(folder: str | os.PathLike[str]) -> Sam2Manifest:
    """The manifest of a SAM2 folder; its files are not looked at. Raises BadModelFile with the line and the key."""
    path = Path(folder) / MANIFEST
    try:
        return read_settings(Sam2Manifest, path)
    except BadConfig as error:
        raise BadModelFile(path, str(error).removeprefix(f"{path}").lstrip(":, ")) from None


def sam2_manifest_to_toml(manifest: Sam2Manifest) -> str:
    """The text of `manifest.toml`, which `read_sam2_manifest` reads back to an equal one."""
    return "# What this folder vouches for. Written by scene-r1-export; edit only what you know.\n" + to_toml(manifest)
