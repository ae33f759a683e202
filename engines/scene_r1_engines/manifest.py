"""The manifest of a model folder: which files it vouches for, and what the model speaks."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from scene_r1_engines.errors import BadConfig, BadModelFile
from scene_r1_engines.settings_file import read_settings, to_toml

MANIFEST = "manifest.toml"
FORMAT = 1
FAMILIES = ("qwen2_5_vl", "qwen3_vl")
BOX_SPACES = ("abs_resized", "rel_1000")
TIME_ENCODINGS = ("text", "video")
MOST_PROMPT = 800
"""Characters of a prompt, so that with its quotes escaped it fits a line that `settings_file` reads."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the folder. file: its name, no path. sha256: of its bytes, lower-case hex. bytes: its size.
    quantization: as llama.cpp names it, e.g. "Q4_K_M" or "F32". overrides: per-tensor types, "pattern=type, …"."""

    file: str
    sha256: str
    bytes: int
    quantization: str
    overrides: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", self.file):
            raise BadConfig(f"file must be a plain file name of the folder, got {self.file[:80]!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise BadConfig(f"sha256 must be 64 lower-case hex digits, got {self.sha256[:80]!r}")
        if not 0 < self.bytes < 1 << 42:
            raise BadConfig(f"bytes must be the file's size, got {self.bytes}")


@dataclass(frozen=True, slots=True)
class ImageRules:
    """How pictures are put to the model. patch_multiple: both sides are multiples of it, one token is that square.
    min_pixels, max_pixels: of the resized picture. box_space: what its boxes mean: absolute pixels of the resized
    picture, or 0..1000 of it. grounding_pixels: `where` looks at its frame again at this many pixels; None: at what
    was encoded."""

    patch_multiple: int
    min_pixels: int
    max_pixels: int
    box_space: str
    grounding_pixels: int | None = None

    def __post_init__(self) -> None:
        if not 4 <= self.patch_multiple <= 256:
            raise BadConfig(f"patch_multiple must be in 4..256, got {self.patch_multiple}")
        if not self.patch_multiple**2 <= self.min_pixels <= self.max_pixels <= 1 << 26:
            raise BadConfig(
                f"patch_multiple² <= min_pixels <= max_pixels <= {1 << 26} must hold, "
                f"got {self.min_pixels} and {self.max_pixels}"
            )
        if self.box_space not in BOX_SPACES:
            raise BadConfig(f"box_space must be one of {', '.join(BOX_SPACES)}, got {self.box_space[:40]!r}")
        if self.grounding_pixels is not None and not self.min_pixels <= self.grounding_pixels <= self.max_pixels:
            raise BadConfig(f"grounding_pixels must lie between min_pixels and max_pixels, got {self.grounding_pixels}")


@dataclass(frozen=True, slots=True)
class TimeRules:
    """How the time of a keyframe is said. encoding: `text` writes `text` before each picture (one `{seconds}` in it,
    with an optional format); `video` puts all pictures into one vision block and the time into the rotary positions,
    `tokens_per_second` of them."""

    encoding: str = "text"
    text: str = "t = {seconds:.1f} s: "
    tokens_per_second: float = 2.0

    def __post_init__(self) -> None:
        if self.encoding not in TIME_ENCODINGS:
            raise BadConfig(f"encoding must be one of {', '.join(TIME_ENCODINGS)}, got {self.encoding[:40]!r}")
        if not re.fullmatch(r"[^{}]{0,80}\{seconds(:\.[0-3]f)?\}[^{}]{0,80}", self.text, re.DOTALL):
            raise BadConfig(
                f'text must hold one {{seconds}}, such as "t = {{seconds:.1f}} s: ", got {self.text[:80]!r}'
            )
        if not (math.isfinite(self.tokens_per_second) and 0.0 < self.tokens_per_second <= 100.0):
            raise BadConfig(f"tokens_per_second must be above 0 and at most 100, got {self.tokens_per_second!r}")

    def said(self, seconds: float) -> str:
        """What stands before a picture of that time."""
        return self.text.format(seconds=seconds)


def check_instructions(when: str, where: str, answer: str) -> None:
    """Raises BadConfig unless each is "" or holds `{question}` once."""
    for name, text in (("when", when), ("where", where), ("answer", answer)):
        if text and text.count("{question}") != 1:
            raise BadConfig(f"{name} must hold {{question}} once, got {text[:80]!r}")


def system_block(system: str) -> str:
    """How a system message is said in ChatML, the chat layout of the Qwen-VL family; "" is left out."""
    return f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""


@dataclass(frozen=True, slots=True)
class PromptRules:
    """What the model was trained to be told. system: the system message; "" leaves it out. when, where, answer: the
    instruction of each task with one `{question}` in it; "" is the default of `answer_format.prompts`.
    chat_template_sha256: of the checkpoint's template; its rendering was compared with ours at export.
    pre_tokenizer: llama.cpp's name for how text is split."""

    chat_template_sha256: str
    pre_tokenizer: str
    system: str = "You are a helpful assistant."
    when: str = ""
    where: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        check_instructions(self.when, self.where, self.answer)
        for name in ("system", "when", "where", "answer"):
            if len(getattr(self, name)) > MOST_PROMPT:
                raise BadConfig(f"{name} has more than {MOST_PROMPT} characters: say it shorter")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder with a text model and its vision tower (mmproj) says of itself.

    mmproj_for_sha256: the text file that the vision tower belongs to. source_sha256: of the checkpoint it was made
    from. license: as the checkpoint states it. made_by: program and versions.
    """

    format: int
    name: str
    family: str
    license: str
    source_sha256: str
    made_by: str
    mmproj_for_sha256: str
    text: ModelFile
    mmproj: ModelFile
    image: ImageRules
    prompt: PromptRules
    time: TimeRules = field(default_factory=TimeRules)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadConfig(f"format must be {FORMAT}, got {self.format}: made by another version of scene-r1-export")
        if self.family not in FAMILIES:
            raise BadConfig(f"family must be one of {', '.join(FAMILIES)}, got {self.family[:40]!r}")
        if self.mmproj_for_sha256 != self.text.sha256:
            raise BadConfig(
                "mmproj_for_sha256 is not the sha256 of the text file: the vision tower belongs to another model"
            )
        if self.text.file == self.mmproj.file:
            raise BadConfig(f"text and mmproj are the same file, {self.text.file}")


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of a model folder; its files are not looked at. Raises BadModelFile with the line and the key."""
    path = Path(folder) / MANIFEST
    try:
        return read_settings(Manifest, path)
    except BadConfig as error:
        raise BadModelFile(path, str(error).removeprefix(f"{path}").lstrip(":, ")) from None


def manifest_to_toml(manifest: Manifest) -> str:
    """The text of `manifest.toml`, which `read_manifest` reads back to an equal Manifest."""
    return "# What this folder vouches for. Written by scene-r1-export; edit only what you know.\n" + to_toml(manifest)
