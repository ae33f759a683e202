"""Vouching: nothing of a model folder is given to native code before its manifest, its header and its hash agree."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scene_r1_engines.errors import BadModelFile
from scene_r1_engines.folder_file import FolderFile, check_hashes, check_same_file, open_in_folder
from scene_r1_engines.gguf_file import GgufFile, read_open_gguf
from scene_r1_engines.manifest import Manifest, read_manifest
from scene_r1_engines.verified_files import Identity

NATIVE = {
    # family of the manifest: (architecture of the text file, projector of its vision tower)
    "qwen2_5_vl": ("qwen2vl", "qwen2.5vl_merger"),
    "qwen3_vl": ("qwen3vl", "qwen3vl_merger"),
}
# Numbers that llama.cpp divides by, or aborts for: 512 is its LLAMA_MAX_LAYERS.
TEXT_NUMBERS = {
    "block_count": 512,
    "context_length": 1 << 24,
    "embedding_length": 1 << 16,
    "feed_forward_length": 1 << 20,
    "attention.head_count": 1024,
    "attention.head_count_kv": 1024,
}
VISION_NUMBERS = {
    "image_size": 1 << 14,
    "patch_size": 256,
    "projection_dim": 1 << 16,
    "embedding_length": 1 << 16,
    "feed_forward_length": 1 << 20,
    "block_count": 512,
    "attention.head_count": 1024,
}
VISION_TYPES = {
    # what clip.cpp reads when it is there, without asking for its type first: it aborts for another one
    "clip.has_vision_encoder": "BOOL",
    "clip.has_audio_encoder": "BOOL",
    "clip.use_gelu": "BOOL",
    "clip.use_silu": "BOOL",
    "clip.vision.attention.head_count_kv": "UINT32",
    "clip.vision.attention.head_dim": "UINT32",
    "clip.vision.attention.layer_norm_epsilon": "FLOAT32",
    "clip.vision.n_wa_pattern": "UINT32",
}


@dataclass(frozen=True, slots=True)
class Vouched:
    """A model folder that is what its manifest says. text_path, mmproj_path: absolute, without links.
    text, mmproj: their headers. identities: of the two files that were looked at."""

    manifest: Manifest
    text_path: Path
    mmproj_path: Path
    text: GgufFile
    mmproj: GgufFile
    identities: tuple[Identity, Identity]

    def check_unchanged(self) -> None:
        """To be called once native code has loaded both paths: raises BadModelFile when one is no longer the file that
        was vouched for."""
        for path, identity in zip((self.text_path, self.mmproj_path), self.identities, strict=True):
            check_same_file(path, identity)


def vouch(
    folder: str | os.PathLike[str],
    verify_hashes: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Vouched:
    """The files of a model folder, once they are what its manifest says: there, whole, sound, of one model, unchanged.

    verify_hashes: also compare the SHA-256 of both files, seconds for gigabytes; one that was verified before and was
    not touched since is not read again. progress: called with the bytes that are hashed and those there are to hash.
    Raises BadModelFile.
    """
    manifest = read_manifest(folder)
    root = os.path.realpath(folder)
    with ExitStack() as stack:
        text = stack.enter_context(open_in_folder(root, manifest.text))
        mmproj = stack.enter_context(open_in_folder(root, manifest.mmproj))
        _check_sizes(text, mmproj)
        found = Vouched(
            manifest,
            Path(text.path),
            Path(mmproj.path),
            read_open_gguf(text.file, text.path),
            read_open_gguf(mmproj.file, mmproj.path),
            (text.identity, mmproj.identity),
        )
        _check_text(found)
        _check_mmproj(found)
        _check_pair(found)
        if verify_hashes:
            check_hashes((text, mmproj), progress)
    return found


def _check_sizes(text: FolderFile, mmproj: FolderFile) -> None:
    if text.nbytes != mmproj.nbytes and (text.nbytes, mmproj.nbytes) == (mmproj.said.bytes, text.said.bytes):
        raise _swapped(text.path, mmproj.path)
    for one in (text, mmproj):
        one.check_size()


def _swapped(text_path: str | Path, mmproj_path: str | Path) -> BadModelFile:
    return BadModelFile(
        text_path, f"is the vision tower, and {Path(mmproj_path).name} the text model: they are swapped, rename them"
    )


def _check_text(found: Vouched) -> None:
    """The text file is of the manifest's family, whole in itself, and all there is."""
    text, family = found.text, found.manifest.family
    architecture = text.text("general.architecture")
    if architecture == "clip":
        if found.mmproj.metadata.get("general.architecture") == "clip":
            raise BadModelFile(text.path, "is a vision tower and no text model: name the text model in the manifest")
        raise _swapped(found.text_path, found.mmproj_path)
    if architecture != NATIVE[family][0]:
        raise BadModelFile(
            text.path, f"is a {architecture[:40]!r} model, but {family} is {NATIVE[family][0]!r}: export it again"
        )
    if text.metadata.get("split.count", 1) not in (0, 1):
        # llama.cpp would load the other parts by their names, and nobody vouches for them
        raise BadModelFile(text.path, "is one part of a split model: join the parts to one file and export it again")
    for name, most in TEXT_NUMBERS.items():
        text.number(f"{architecture}.{name}", 1, most)
    _check_shape(text, "token_embd.weight", text.number(f"{architecture}.embedding_length", 1, 1 << 16), 2)
    splitter, said = text.text("tokenizer.ggml.pre"), found.manifest.prompt.pre_tokenizer
    if splitter != said:
        raise BadModelFile(
            text.path, f"splits text as {splitter[:40]!r}, its manifest says {said[:40]!r}: export again"
        )


def _check_mmproj(found: Vouched) -> None:
    """The vision tower is of the manifest's family, and has nothing that clip.cpp aborts for or divides by."""
    mmproj, family = found.mmproj, found.manifest.family
    architecture = mmproj.text("general.architecture")
    if architecture != "clip":
        raise BadModelFile(
            mmproj.path, f"is a {architecture[:40]!r} model and no vision tower (mmproj): name that in the manifest"
        )
    projector = mmproj.text("clip.projector_type")
    if projector != NATIVE[family][1]:
        raise BadModelFile(
            mmproj.path,
            f"has the projector {projector[:40]!r}, but {family} has {NATIVE[family][1]!r}: export it again",
        )
    for name, most in VISION_NUMBERS.items():
        mmproj.number(f"clip.vision.{name}", 1, most)
    for key, type in VISION_TYPES.items():
        if key in mmproj.metadata:
            mmproj.value(key, type)
    for key in ("clip.vision.image_mean", "clip.vision.image_std"):
        if len(mmproj.array(key, "FLOAT32")) != 3:
            raise BadModelFile(mmproj.path, f"{key} must be three numbers: export it again")
    if not mmproj.value("clip.has_vision_encoder", "BOOL"):
        raise BadModelFile(mmproj.path, "has no vision encoder: export it again")


def _check_pair(found: Vouched) -> None:
    """The tower's output is what the text model takes, and both cut pictures as the manifest says."""
    text, mmproj = found.text, found.mmproj
    architecture = text.text("general.architecture")
    width = text.number(f"{architecture}.embedding_length", 1, 1 << 16)
    projected = mmproj.number("clip.vision.projection_dim", 1, 1 << 16)
    if projected != width:
        raise BadModelFile(
            mmproj.path,
            f"projects to {projected} values a token, {found.text_path.name} takes {width}: it is another model's",
        )
    _check_shape(mmproj, "mm.2.bias", width, 1)  # which is what clip.cpp takes for the width, whatever the key says
    given = sum(re.fullmatch(r"v\.deepstack\.\d+\.fc1\.weight", name) is not None for name in mmproj.tensors)
    key = f"{architecture}.n_deepstack_layers"
    taken = text.number(key, 0, 512) if key in text.metadata else 0
    if given != taken:
        raise BadModelFile(
            mmproj.path,
            f"has {given} deepstack layers, {found.text_path.name} takes {taken}: it is another model's",
        )
    blocks = text.number(f"{architecture}.block_count", 1, TEXT_NUMBERS["block_count"])
    if taken >= blocks:  # llama.cpp adds the last of them where only the last token is left, and aborts
        raise BadModelFile(text.path, f"takes {taken} deepstack layers and has {blocks} blocks: it needs one more")
    key = "clip.vision.spatial_merge_size"
    merge = mmproj.number(key, 1, 16) if key in mmproj.metadata else 2  # clip.cpp's default
    square, said = mmproj.number("clip.vision.patch_size", 1, 256) * merge, found.manifest.image.patch_multiple
    if square != said:
        raise BadModelFile(
            mmproj.path, f"makes one token of {square} pixels square, its manifest says patch_multiple = {said}"
        )


def _check_shape(gguf: GgufFile, name: str, width: int, dimensions: int) -> None:
    tensor = gguf.tensors.get(name)
    if tensor is None or len(tensor.shape) != dimensions or tensor.shape[0] != width:
        got = "is missing" if tensor is None else f"has the shape {tensor.shape}"
        raise BadModelFile(gguf.path, f"its tensor {name} {got}, {width} must be its first extent: export it again")
