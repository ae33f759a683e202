"""From a checkpoint to a folder that the runtime loads: four graphs and a manifest, whole or absent."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene_r1.files import check_output_folder, whole_folder
from scene_r1_engines.errors import BadConfig, EngineFailed, MissingExtra, OutputExists
from scene_r1_engines.manifest import MANIFEST
from scene_r1_engines.sam2.manifest import (
    FAMILY,
    FORMAT,
    PARTS,
    PRECISIONS,
    GraphFile,
    MaskRules,
    MemoryRules,
    Sam2Manifest,
    read_sam2_manifest,
    sam2_manifest_to_toml,
    tensors,
)
from scene_r1_engines.sam2.picture import to_square
from scene_r1_export.checkpoint import sha256_of
from scene_r1_export.sam2.calibration import calibration_pictures
from scene_r1_export.sam2.config import check_input_px, config_file

OPSET = 17
LICENSE = "apache-2.0"
"""Of the published checkpoints; they say it beside the file, not in it."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0..1, as all of SAM2's models were trained with."""
Advance = Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class Sam2Export:
    """What to make. checkpoint: the file to read. out: the folder to write, not there yet. config: of CONFIGS.

    precision: int8 quantises the image encoder and leaves the rest in fp32. input_px: side of the square that pictures
    are resized to. calibrate: a recording, for int8 alone. Raises BadConfig for options that contradict each other.
    """

    checkpoint: Path
    out: Path
    config: str
    precision: str = "fp32"
    input_px: int = 1024
    calibrate: Path | None = None

    def __post_init__(self) -> None:
        config_file(self.config)
        check_input_px(self.input_px)
        if self.precision not in PRECISIONS:
            raise BadConfig(f"--precision must be one of {', '.join(PRECISIONS)}, got {self.precision[:40]!r}")
        if (self.precision == "int8") != (self.calibrate is not None):
            raise BadConfig("--precision int8 and --calibrate RECORDING go together: give both or none")


def export_sam2(task: Sam2Export, advance: Advance = lambda _, __: None) -> Sam2Manifest:
    """Make the model folder; it is whole or absent. advance: called with each graph's name, and whether it is done.

    Raises BadModelFile for a checkpoint that cannot be used, BadConfig, BadRecording, OutputExists, MissingExtra,
    EngineFailed where a graph does not become what it should.
    """
    folder = check_output_folder(task.out)
    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{task.out} is already there: name another place or remove it")
    _check_packages(task.precision)
    pictures = [] if task.calibrate is None else calibration_pictures(task.calibrate)
    model, source_sha256 = _model(task), sha256_of(task.checkpoint)
    with whole_folder(task.out) as made:
        graphs = {part: _graph(task, model, part, made, pictures, advance) for part in PARTS}
        manifest = _manifest(task, model, graphs, source_sha256)
        (made / MANIFEST).write_text(sam2_manifest_to_toml(manifest), encoding="utf-8")
        if read_sam2_manifest(made) != manifest:
            raise EngineFailed(f"{task.out}: what was written of the manifest reads back otherwise")
    return manifest


def _check_packages(precision: str) -> None:
    """Asked before the long work. Raises MissingExtra."""
    for name in ("torch", "onnx", "onnxsim", "onnxruntime", *(("PIL",) if precision == "int8" else ())):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtra("sam2", "exporting SAM2", str(error)) from error


def _model(task: Sam2Export) -> Any:
    # Imported here: torch may be absent, and its seconds are not worth a wrong option.
    from scene_r1_export.sam2.checkpoint import load_state, read_state
    from scene_r1_export.sam2.official import official_model

    state = read_state(task.checkpoint)
    model = official_model(task.config, task.input_px)
    load_state(model, state, task.checkpoint, task.config)
    return model


def _graph(
    task: Sam2Export, model: Any, part: str, folder: Path, pictures: list[NDArray[np.uint8]], advance: Advance
) -> GraphFile:
    """Trace one part, bring it to its precision, and write it."""
    from scene_r1_export.sam2.graph import to_onnx
    from scene_r1_export.sam2.parity import check_parity
    from scene_r1_export.sam2.parts import module_of
    from scene_r1_export.sam2.tensors import tensors_of, unused_inputs

    advance(part, False)
    onnx: Any = import_module("onnx")
    takes, gives = tensors_of(part, task.input_px, unused_inputs(model))
    module = module_of(part, model)
    graph = to_onnx(module, takes, gives, folder)
    path = folder / f"{part}.onnx"
    onnx.save(graph, str(path))
    check_parity(path, module, takes)
    precision = "fp32" if task.precision == "int8" and part != "image_encoder" else task.precision
    if precision == "fp16":
        half: Any = import_module("scene_r1_export.sam2.precision.half")
        graph = half.to_half(graph, part)
        onnx.save(graph, str(path))
    elif precision == "int8":
        int8: Any = import_module("scene_r1_export.sam2.precision.int8")
        graph = int8.quantized(path, pictures, lambda picture: to_square(picture, task.input_px, MEAN, STD))
        onnx.save(graph, str(path))
    said = [_tensors(values) for values in (graph.graph.input, graph.graph.output)]
    del graph
    gc.collect()  # a quarter of a gigabyte at a time
    advance(part, True)
    return GraphFile(path.name, sha256_of(path), path.stat().st_size, precision, *said)


def _tensors(values: Any) -> str:
    """The tensors of a graph as the manifest says them."""
    names = {1: "float32", 6: "int32", 10: "float16"}
    said = []
    for value in values:
        kind = value.type.tensor_type
        extents = [one.dim_param or str(one.dim_value) for one in kind.shape.dim]
        said.append(" ".join((value.name, names[kind.elem_type], *extents)))
    text = "; ".join(said)
    tensors(text)
    return text


def _manifest(task: Sam2Export, model: Any, graphs: dict[str, GraphFile], source_sha256: str) -> Sam2Manifest:
    shrink = model.mask_downsample
    made_by = ", ".join(f"{name} {version(name)}" for name in ("sam2", "torch", "onnx", "onnxsim"))
    return Sam2Manifest(
        format=FORMAT,
        name=task.config,
        family=FAMILY,
        license=LICENSE,
        source_sha256=source_sha256,
        made_by=f"scene-r1-export {version('scene-r1-edge')}, {made_by}",
        opset=OPSET,
        precision=task.precision,
        input_px=task.input_px,
        image_encoder=graphs["image_encoder"],
        mask_decoder=graphs["mask_decoder"],
        memory_encoder=graphs["memory_encoder"],
        memory_attention=graphs["memory_attention"],
        memory=MemoryRules(
            slots=model.num_maskmem,
            pointers=model.max_obj_ptrs_in_encoder,
            channels=model.mem_dim,
            signed_ages=model.use_signed_tpos_enc_to_obj_ptrs,
            past_pointers_only=model.only_obj_ptrs_in_the_past_for_eval,
        ),
        mean=MEAN,
        std=STD,
        masks=MaskRules(
            multimask_least=model.multimask_min_pt_num,
            multimask_most=model.multimask_max_pt_num,
            track_multimask=model.multimask_output_for_tracking,
            binarize=model.binarize_mask_from_pts_for_mem_enc,
            occlusion=model.pred_obj_scores,
            kernel=tuple(float(one) for one in shrink.weight.detach().flatten()),  # type: ignore[arg-type]
            bias=float(shrink.bias.detach()),
        ),
    )
