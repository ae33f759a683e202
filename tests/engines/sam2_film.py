"""A short film on disk and as views, and the official video predictor to compare with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene_r1_engines.intrinsics import Intrinsics
from scene_r1_engines.sam2.tracker import Tracked
from scene_r1_engines.view import View

H, W = 120, 160
CAMERA = Intrinsics(140.0, 140.0, 79.5, 59.5, W, H)
BOX = (28.0, 38.0, 74.0, 84.0)
"""Of the red board on the first frame."""


def film(folder: Path, frames: int, dark: int | None = None) -> list[View]:
    """A board and a ball that move over a background, as files that the official loader reads, and as views of what it
    reads. dark: a frame on which nothing is to be seen."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    scenery = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (W + 40, H), interpolation=cv2.INTER_CUBIC)
    views = []
    for i in range(frames):
        image = np.ascontiguousarray(scenery[:, 2 * i : 2 * i + W])
        cv2.rectangle(image, (30 + 4 * i, 40), (70 + 4 * i, 80), (220, 30, 40), -1)
        cv2.circle(image, (120 - 3 * i, 60), 18, (20, 200, 60), -1)
        if i == dark:
            image[:] = 0
        path = folder / f"{i:05d}.jpg"
        Image.fromarray(image).save(path, quality=95)
        views.append(View(i, np.asarray(Image.open(path).convert("RGB")), None, CAMERA))
    return views


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    v, u = np.mgrid[:H, :W]
    return np.asarray((u - x) ** 2 + (v - y) ** 2 <= radius**2)


def official(checkpoint: Path, config: str, input_px: int) -> Any:
    """The authors' SAM2VideoPredictor with the weights of a checkpoint. It encodes each picture once, so that several
    videos of the same pictures are quick."""
    import torch

    from scene_r1_export.sam2.official import official_model

    torch.set_num_threads(1)
    model = official_model(config, input_px)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    encode, known = model.forward_image, {}

    def forward_image(image: Any) -> Any:
        key = hash(image.numpy().tobytes())
        if key not in known:
            known[key] = encode(image)
        return {name: list(value) if isinstance(value, list) else value for name, value in known[key].items()}

    model.forward_image = forward_image
    return model


def propagated(model: Any, state: Any, start: int, backward: bool = False) -> dict[int, NDArray[np.float32]]:
    """frame: (objects, H, W) logits of the official predictor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it has no CUDA extension to fill holes with
        found: Iterator[Any] = model.propagate_in_video(state, start_frame_idx=start, reverse=backward)
        return {frame: logits[:, 0].numpy().copy() for frame, _, logits in found}


def ious(ours: Mapping[Any, Tracked], theirs: NDArray[np.float32]) -> list[float]:
    """Of each object's mask on one frame; two empty masks agree."""
    pairs = [(one.mask((H, W)), logits > 0.0) for one, logits in zip(ours.values(), theirs, strict=True)]
    return [float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0 for a, b in pairs]


def worst(ours: Iterable[tuple[int, Mapping[Any, Tracked]]], theirs: Mapping[int, NDArray[np.float32]]) -> float:
    """The least IoU of all objects on all frames. Both must be of the same frames."""
    tracked = dict(ours)
    assert list(tracked) == list(theirs)
    return min(iou for frame, found in tracked.items() for iou in ious(found, theirs[frame]))
