"""The rival: the package `sam2` in torch, as its authors publish it, with the same weights on the same pictures."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sam2.film import Film
from scene_r1_engines.errors import BadModelFile
from scene_r1_export.sam2.official import official_model


class Original:
    """SAM2VideoPredictor on the CPU, with the settings that the package gives it. threads: of torch."""

    def __init__(self, checkpoint: Path, config: str, input_px: int, threads: int) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(threads)
        with _quiet():
            self.model = official_model(config, input_px)
        try:
            state = self.torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
            self.model.load_state_dict(state)
        except Exception as error:  # torch, pickle and zip raise anything over a broken file
            why = f"no checkpoint of {config} ({type(error).__name__}): name the --config that it was trained with"
            raise BadModelFile(checkpoint, why) from error

    def track(self, film: Film) -> Iterator[NDArray[np.bool_]]:
        """Masks (H, W) of the film's pictures from its box on, each found when it is asked for.

        All pictures are read before the first, and the first is encoded: what is timed is a tracked frame.
        """
        with _quiet():
            state = self.model.init_state(str(film.folder))
            self.model.add_new_points_or_box(state, 0, 1, box=np.array(film.box, np.float32))
            frames = self.model.propagate_in_video(state)
        for _ in film.views:
            with _quiet():
                _, _, logits = next(frames)
            yield np.asarray((logits[0, 0] > 0.0).numpy())
        frames.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and warnings of the package: it reports every step, and every frame that its compiled
    part for filling holes is absent, as it is on any CPU."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
