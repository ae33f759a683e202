"""Reasoners that ask a server, for tests: how they are opened, shown pictures and asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tests.engines.scripted_server import ScriptedServer

from scene_r1_engines.errors import BadAnswer
from scene_r1_engines.limits import Limits
from scene_r1_engines.openai import OpenAiReasoner, OpenAiSettings

H, W = 120, 200
T = TypeVar("T")
THINKING, PLAIN = Limits(), Limits(think_tokens=0)


def picture(seed: int = 0, height: int = H, width: int = W) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def to(server: ScriptedServer | str, **given: Any) -> OpenAiReasoner:
    url = server if isinstance(server, str) else server.url
    return OpenAiReasoner(OpenAiSettings(url, "the-model", **{"retry_wait_s": 0.01, "timeout_s": 20.0, **given}))


def watching(server: ScriptedServer | str, **given: Any) -> OpenAiReasoner:
    """Three keyframes: 4 at 2.0 s, 7 at 4.5 s and 9 at 11.2 s, watched in another order."""
    reasoner = to(server, **given)
    for keyframe_id, timestamp_s in ((7, 4.5), (4, 2.0), (9, 11.2)):
        reasoner.watch(keyframe_id, picture(keyframe_id), timestamp_s)
    return reasoner


def outcome(ask: Callable[[], T]) -> T | BadAnswer:
    """What a call returns, or the BadAnswer that it raises; any other error goes on."""
    try:
        return ask()
    except BadAnswer as error:
        return error
