"""`scene-r1-export vlm`: a vision-language checkpoint becomes a model folder for llama.cpp."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from scene_r1.program import OK
from scene_r1_engines.manifest import BOX_SPACES, TIME_ENCODINGS, Manifest
from scene_r1_export.vlm import VlmExport, export_vlm


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT_DIR", help="config.json, safetensors, tokenizer")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder; must not exist yet")
    parser.add_argument("--quantize", metavar="TYPE", help="of the text model, e.g. Q4_K_M (default: its own floats)")
    parser.add_argument("--mmproj-quantize", metavar="TYPE", help="of the vision tower (default: its own floats)")
    parser.add_argument(
        "--override",
        type=_override,
        action="append",
        default=[],
        metavar="PATTERN=TYPE",
        help="another type for the text model's tensors whose name the pattern is found in, e.g. attn_v=Q8_0",
    )
    parser.add_argument("--imatrix", type=Path, metavar="FILE", help="of scene-r1-export imatrix or llama-imatrix")
    parser.add_argument("--lora", type=Path, metavar="DIR", help="a PEFT adapter to merge first")
    parser.add_argument(
        "--time-encoding",
        choices=TIME_ENCODINGS,
        default="text",
        help="how the model is told when a picture was taken: in words, or as a video's rotary positions",
    )
    parser.add_argument("--box-space", choices=BOX_SPACES, help="what the checkpoint's boxes mean (default: by family)")
    parser.add_argument(
        "--grounding-pixels", type=int, metavar="N", help="look at the frame again at so many pixels to find a box"
    )
    parser.add_argument("--name", help="of the model (default: the checkpoint's folder)")
    parser.add_argument("--llama-cpp", type=Path, metavar="DIR", help="a llama.cpp checkout to take the converter from")
    parser.add_argument(
        "--llama-cpp-sdist", type=Path, metavar="FILE", help="or a llama-cpp-python source distribution"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(args: argparse.Namespace) -> int:
    task = VlmExport(
        checkpoint=args.checkpoint,
        out=args.out,
        quantize=args.quantize,
        mmproj_quantize=args.mmproj_quantize,
        overrides=tuple(args.override),
        imatrix=args.imatrix,
        lora=args.lora,
        time_encoding=args.time_encoding,
        box_space=args.box_space,
        grounding_pixels=args.grounding_pixels,
        name=args.name,
        llama_cpp=args.llama_cpp,
        llama_cpp_sdist=args.llama_cpp_sdist,
    )
    manifest = export_vlm(task)
    if args.json:
        print(json.dumps({"out": str(args.out), "manifest": asdict(manifest)}))
    else:
        print(_in_words(args.out, manifest))
    return OK


def _override(text: str) -> tuple[str, str]:
    pattern, equals, kind = text.rpartition("=")
    if not (pattern and equals and kind):
        raise argparse.ArgumentTypeError(f"must be PATTERN=TYPE, such as attn_v=Q8_0, got {text[:80]!r}")
    return pattern, kind


def _in_words(out: Path, manifest: Manifest) -> str:
    files = ", ".join(f"{one.file} ({one.bytes / 1e6:.1f} MB)" for one in (manifest.text, manifest.mmproj))
    image = manifest.image
    return (
        f"{out}: {manifest.name}, {manifest.family}, licence {manifest.license}: {files}; boxes {image.box_space}, "
        f"pictures of {image.min_pixels} to {image.max_pixels} pixels, time as {manifest.time.encoding}"
    )
