"""The processor of a checkpoint for pictures and words alone."""

from __future__ import annotations

from typing import Any

from scene_r1_engines.manifest import ImageRules
from scene_r1_export.checkpoint import Checkpoint

PROCESSORS = {"qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
PARTS = ["image_processor", "tokenizer"]


def picture_processor(transformers: Any, checkpoint: Checkpoint, image: ImageRules) -> Any:
    """transformers' own processor of the checkpoint's family, without its video half.

    That half needs torchvision, of the very build of the torch that is there; the recipe shows pictures only. They go
    through the image processor on Pillow, as in `scene-r1-export verify`, and keep their size: it is a fit already.
    """
    folder = str(checkpoint.folder)
    on_pillow = getattr(transformers, "Qwen2VLImageProcessorPil", None) or transformers.Qwen2VLImageProcessor
    pictures = on_pillow.from_pretrained(
        folder, local_files_only=True, min_pixels=image.min_pixels, max_pixels=image.max_pixels
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    whole = getattr(transformers, PROCESSORS[checkpoint.architecture.family])
    without_video = type(whole.__name__, (whole,), {"get_attributes": classmethod(lambda cls: list(PARTS))})
    return without_video(pictures, tokenizer, None, chat_template=tokenizer.chat_template)
