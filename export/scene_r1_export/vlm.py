"""From a vision-language checkpoint to a model folder: two GGUF files and the manifest that vouches for them."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from scene_r1.files import check_output_folder, whole_folder
from scene_r1_engines.errors import BadConfig, BudgetExceeded, OutputExists
from scene_r1_engines.manifest import (
    BOX_SPACES,
    FORMAT,
    MANIFEST,
    TIME_ENCODINGS,
    Manifest,
    ModelFile,
    PromptRules,
    TimeRules,
    manifest_to_toml,
)
from scene_r1_engines.vouch import vouch
from scene_r1_export.adapter import Adapter, read_adapter
from scene_r1_export.chat_layout import check_chat_layout
from scene_r1_export.checkpoint import Checkpoint, read_checkpoint, sha256_of, sha256_of_files
from scene_r1_export.converter import Conversion, convert_text, convert_vision
from scene_r1_export.converter_source import find_converter, source_id
from scene_r1_export.image_rules import image_rules
from scene_r1_export.merge import merge

LONGEST_NAME = 120
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VlmExport:
    """What to make. checkpoint: the folder to read. out: the folder to write, not there yet.

    quantize, mmproj_quantize: llama.cpp's name of a file type; None keeps the checkpoint's floats. overrides: (pattern,
    tensor type) pairs for the text model. imatrix: of the text model. lora: a PEFT adapter to merge first. box_space:
    None for that of the family. llama_cpp, llama_cpp_sdist: see `find_converter`.

    Raises BadConfig for options that contradict each other.
    """

    checkpoint: Path
    out: Path
    quantize: str | None = None
    mmproj_quantize: str | None = None
    overrides: tuple[tuple[str, str], ...] = field(default=())
    imatrix: Path | None = None
    lora: Path | None = None
    time_encoding: str = "text"
    box_space: str | None = None
    grounding_pixels: int | None = None
    name: str | None = None
    llama_cpp: Path | None = None
    llama_cpp_sdist: Path | None = None

    def __post_init__(self) -> None:
        if self.quantize is None and (self.overrides or self.imatrix is not None):
            raise BadConfig("--override and --imatrix are about quantising: give --quantize TYPE too")
        if self.time_encoding not in TIME_ENCODINGS:
            raise BadConfig(f"--time-encoding must be one of {', '.join(TIME_ENCODINGS)}, got {self.time_encoding!r}")
        if self.box_space is not None and self.box_space not in BOX_SPACES:
            raise BadConfig(f"--box-space must be one of {', '.join(BOX_SPACES)}, got {self.box_space!r}")
        if self.name is not None and not (0 < len(self.name) <= LONGEST_NAME and self.name.isprintable()):
            raise BadConfig(f"--name must have 1 to {LONGEST_NAME} printable characters")
        if self.llama_cpp is not None and self.llama_cpp_sdist is not None:
            raise BadConfig("--llama-cpp and --llama-cpp-sdist name two converters: give one")


def export_vlm(task: VlmExport) -> Manifest:
    """Make the model folder; it is whole or absent. Everything that can be refused is refused before the long work.

    Raises BadModelFile for a checkpoint or adapter that cannot be used, BadConfig, OutputExists, BudgetExceeded where
    the disk is too full, EngineFailed where the converter fails, MissingExtra.
    """
    _check_out(task.out)
    checkpoint = read_checkpoint(task.checkpoint)
    adapter = None if task.lora is None else read_adapter(task.lora)
    layout = check_chat_layout(checkpoint)
    images = image_rules(checkpoint, task.box_space, task.grounding_pixels)
    times = _time_rules(checkpoint, task.time_encoding)
    kinds = _kinds(task, checkpoint)
    converter = find_converter(task.llama_cpp, task.llama_cpp_sdist)
    _check_disk(task, checkpoint)
    with whole_folder(task.out) as folder:
        work = folder / "work"
        work.mkdir()
        source = _source(checkpoint, adapter, work)
        conversion = Conversion(
            source,
            checkpoint.folder,
            converter,
            checkpoint.weights.float_type,
            checkpoint.pre_tokenizer,
            _name(task, checkpoint),
            {
                "general.license": checkpoint.license,
                "scene_r1.box_space": images.box_space,
                "scene_r1.time_encoding": times.encoding,
            },
        )
        pre_tokenizer, text, mmproj = _files(task, conversion, kinds, folder, work)
        manifest = Manifest(
            format=FORMAT,
            name=_name(task, checkpoint),
            family=checkpoint.architecture.family,
            license=checkpoint.license,
            source_sha256=_source_sha256(checkpoint, adapter),
            made_by=_made_by(converter),
            mmproj_for_sha256=text.sha256,
            text=text,
            mmproj=mmproj,
            image=images,
            prompt=PromptRules(layout.sha256, pre_tokenizer, layout.system),
            time=times,
        )
        shutil.rmtree(work)
        (folder / MANIFEST).write_text(manifest_to_toml(manifest), encoding="utf-8")
        vouch(folder, verify_hashes=False)  # what the engine would refuse is not handed out
    return manifest


def _check_out(out: Path) -> None:
    folder = check_output_folder(out)
    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{out} is already there: name another place or remove it")


def _time_rules(checkpoint: Checkpoint, encoding: str) -> TimeRules:
    architecture = checkpoint.architecture
    if encoding == "video" and not architecture.video_time:
        raise BadConfig(
            f"--time-encoding video is not for {architecture.family}, which is told the time in words: text"
        )
    vision = checkpoint.config.get("vision_config")
    stated = vision.get("tokens_per_second") if isinstance(vision, dict) else None
    per_second = float(stated) if isinstance(stated, int | float) else TimeRules().tokens_per_second
    return TimeRules(encoding, architecture.time_text, per_second)


def _kinds(task: VlmExport, checkpoint: Checkpoint) -> tuple[str, str]:
    """The types of the two files. Raises BadConfig for a name that llama.cpp does not have."""
    kept = checkpoint.weights.float_type
    kinds = (task.quantize or kept, task.mmproj_quantize or kept)
    if task.quantize is not None or task.mmproj_quantize is not None:
        from scene_r1_export.file_types import file_type  # llama_cpp is only needed here

        for kind in kinds:
            file_type(kind)
    return kinds


def _check_disk(task: VlmExport, checkpoint: Checkpoint) -> None:
    """The converted files, once more when they are quantised, and once more for merged weights."""
    copies = 1 + (task.quantize is not None or task.mmproj_quantize is not None) + (task.lora is not None)
    needed = copies * checkpoint.weights.bytes + (256 << 20)
    there = Path(os.path.abspath(task.out))
    while not there.exists():
        there = there.parent
    if (free := shutil.disk_usage(there).free) < needed:
        raise BudgetExceeded(
            f"exporting to {task.out} may take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: make room or name "
            "another place"
        )


def _source(checkpoint: Checkpoint, adapter: Adapter | None, work: Path) -> Path:
    """A folder with only what was vetted, for the converter; with the adapter merged where there is one."""
    source = work / "source"
    source.mkdir()
    if adapter is None:
        checkpoint.stage(source)
    else:
        scratch = work / "merging"
        scratch.mkdir()
        merge(checkpoint, adapter, source, scratch)
        shutil.rmtree(scratch)
    return source


def _files(
    task: VlmExport, conversion: Conversion, kinds: tuple[str, str], folder: Path, work: Path
) -> tuple[str, ModelFile, ModelFile]:
    """Convert and quantise both. Returns the pre-tokenizer's name and what the manifest says of the files."""
    raw_text, raw_mmproj = work / "text.gguf", work / "mmproj.gguf"
    pre_tokenizer = convert_text(conversion, raw_text)
    text = _finished(raw_text, folder / f"text-{kinds[0]}.gguf", kinds[0], task.quantize, task.overrides, task.imatrix)
    convert_vision(conversion, raw_mmproj)
    mmproj = _finished(raw_mmproj, folder / f"mmproj-{kinds[1]}.gguf", kinds[1], task.mmproj_quantize)
    return pre_tokenizer, text, mmproj


def _finished(
    raw: Path,
    final: Path,
    kind: str,
    quantized: str | None,
    overrides: tuple[tuple[str, str], ...] = (),
    imatrix: Path | None = None,
) -> ModelFile:
    """Bring a converted file to its place, quantised where that is asked; the converted one is gone afterwards."""
    if quantized is None:
        raw.rename(final)
    else:
        from scene_r1_export.quantize import quantize

        quantize(raw, final, quantized, overrides, imatrix)
        raw.unlink()
    said = ", ".join(f"{pattern}={one}" for pattern, one in overrides)
    return ModelFile(final.name, sha256_of(final), final.stat().st_size, kind, said)


def _source_sha256(checkpoint: Checkpoint, adapter: Adapter | None) -> str:
    """Of the checkpoint's files, and of the adapter's where one was merged."""
    if adapter is None:
        return checkpoint.sha256()
    return sha256_of_files({**checkpoint.files, **{f"adapter/{name}": path for name, path in adapter.files.items()}})


def _name(task: VlmExport, checkpoint: Checkpoint) -> str:
    name = task.name or checkpoint.name
    return "".join(one for one in name if one.isprintable())[:LONGEST_NAME] or checkpoint.architecture.family


def _made_by(converter: Path) -> str:
    parts = [f"scene-r1-export {version('scene-r1-edge')}", f"llama.cpp converter {source_id(converter)}"]
    parts += [f"{name} {version(name)}" for name in ("torch", "transformers")]
    return ", ".join(parts)
