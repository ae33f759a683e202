"""The original model, as the package `sam2` builds it: what is exported, and what exports are compared with."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from scene_r1_engines.errors import MissingExtra
from scene_r1_export.sam2.config import check_input_px, config_file

BY_HAND = "and SAM2_BUILD_CUDA=0 pip install --no-deps --no-build-isolation sam2==1.1.0"


def official_model(name: str, input_px: int = 1024) -> Any:
    """A SAM2VideoPredictor on the CPU, in eval mode, with random weights and the settings that the package gives it.

    name: of CONFIGS. input_px: side of the square it sees; position tables that depend on it are made for it.
    Raises BadConfig, MissingExtra.
    """
    config = config_file(name)
    check_input_px(input_px)
    try:
        build: Any = import_module("sam2.build_sam")
    except ImportError as error:
        raise MissingExtra("sam2", "exporting SAM2", f"{error}; {BY_HAND}") from error
    return build.build_sam2_video_predictor(
        config, ckpt_path=None, device="cpu", hydra_overrides_extra=[f"++model.image_size={input_px}"]
    )
