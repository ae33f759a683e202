"""What a stage of the training has left in its file: weights, optimizers, and how far it came."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scene_r1.files import whole_file
from scene_r1_engines.errors import BadInput


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write it, whole or not at all."""
    with whole_file(path) as temporary:
        torch.save(dict(state), temporary)


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote. Raises BadInput for a damaged file; no code in it is run."""
    try:
        state = torch.load(path, weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: damaged ({reason[:200]}): remove it and run its stage again") from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise BadInput(f"{path}: not a state of this training: remove it and run its stage again")
    return state
