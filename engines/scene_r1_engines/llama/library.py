"""llama.cpp's C interface, imported on use, with its log kept off the terminal."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from functools import lru_cache
from types import ModuleType
from typing import Any

from scene_r1_engines.errors import MissingExtra

NEEDED = ("llama_memory_seq_cp", "llama_model_n_embd_inp", "llama_set_abort_callback", "llama_sampler_init_grammar")
WARNING = 3
"""ggml_log_level: none 0, debug 1, info 2, warn 3, error 4, cont 5."""


class Library:
    """The two modules of bindings. llama: `llama_cpp.llama_cpp`; mtmd: `llama_cpp.mtmd_cpp`. version: of both.

    Untyped on purpose: the bindings' own annotations describe C pointers that mypy cannot follow.
    """

    def __init__(self, llama: ModuleType, mtmd: ModuleType, version: str) -> None:
        self.version = version
        self.llama: Any = llama
        self.mtmd: Any = mtmd
        self._said: deque[str] = deque(maxlen=40)
        # ctypes frees a callback that nobody holds, and llama.cpp goes on calling it.
        self._on_log = llama.llama_log_callback(self._note)
        llama.llama_log_set(self._on_log, ctypes.c_void_p(0))
        mtmd.mtmd_log_set(self._on_log, ctypes.c_void_p(0))
        mtmd.mtmd_helper_log_set(self._on_log, ctypes.c_void_p(0))
        llama.llama_backend_init()

    def _note(self, level: int, text: bytes, _: object) -> None:
        if level >= WARNING and text:
            self._said.append(text.decode(errors="replace"))

    def last_words(self) -> str:
        """The last warnings and errors that llama.cpp logged, one line; forgets them."""
        words = " ".join("".join(self._said).split())
        self._said.clear()
        return words[-600:]


@lru_cache(maxsize=1)
def library() -> Library:
    """The bindings, loaded once. Raises MissingExtra where they are absent or too old for this engine."""
    try:
        from llama_cpp import __version__, llama_cpp, mtmd_cpp
    except ImportError as error:
        raise MissingExtra("vlm", "the llama_cpp reasoner", str(error)) from None
    except (OSError, RuntimeError) as error:  # the shared library does not load on this machine
        raise MissingExtra("vlm", "the llama_cpp reasoner", f"llama-cpp-python does not load: {error}") from None
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # else an abort starts a debugger in the dying process
    lacking = [name for name in NEEDED if not hasattr(llama_cpp, name)]
    if lacking:
        raise MissingExtra("vlm", "the llama_cpp reasoner", f"this llama-cpp-python has no {', '.join(lacking)}")
    return Library(llama_cpp, mtmd_cpp, __version__)


def offloads() -> bool:
    """Whether this build of llama.cpp has a GPU to put layers on. Raises MissingExtra as `library`."""
    return bool(library().llama.llama_supports_gpu_offload())
