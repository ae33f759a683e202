"""The small model as a folder that the engine loads: two GGUF files, the manifest in its own words, and its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scene_r1.files import whole_folder
from scene_r1_engines.manifest import MANIFEST, Manifest, manifest_to_toml
from scene_r1_engines.vouch import vouch
from scene_r1_export.nano.words import ANSWER, TIME, WHEN, WHERE
from scene_r1_export.vlm import VlmExport, export_vlm

CARD = "MODEL_CARD.md"


def export_nano(checkpoint: Path, out: Path, quantize: str | None = "Q8_0", llama_cpp: Path | None = None) -> Manifest:
    """Export a checkpoint of `write_checkpoint`. The folder `out` is whole or absent. Raises as `export_vlm`."""
    with whole_folder(out) as folder:
        inner = folder / "exported"
        made = export_vlm(
            VlmExport(
                checkpoint,
                inner,
                quantize=quantize,
                mmproj_quantize=quantize,
                name="Scene-R1 nano",
                llama_cpp=llama_cpp,
            )
        )
        for file in inner.iterdir():
            file.rename(folder / file.name)
        inner.rmdir()
        prompt = replace(made.prompt, when=WHEN, where=WHERE, answer=ANSWER)
        made = replace(made, prompt=prompt, time=replace(TIME, tokens_per_second=made.time.tokens_per_second))
        (folder / MANIFEST).write_text(manifest_to_toml(made), encoding="utf-8")
        (folder / CARD).write_text((checkpoint / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
        vouch(folder, verify_hashes=True)
    return made
