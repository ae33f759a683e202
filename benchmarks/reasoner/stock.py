"""The rival: llama-cpp-python's own chat handler for Qwen2.5-VL, asked the same over the same pictures and files."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reasoner.race import Asked
from scene_r1_engines.errors import EngineFailed, MissingExtra
from scene_r1_engines.llama.context import GGML_TYPES
from scene_r1_engines.llama.settings import LlamaSettings
from scene_r1_engines.manifest import Manifest

DIFFERENCES = (
    "the handler's prompt ends without the last newline (one token less)",
    "it writes freely, ours under a grammar and with the words that frame its thinking and answer written for it",
    "it decodes a PNG for each picture and question; ours were resized when they were watched",
    "its KV cache is cleared at every call, so nothing is left of the question before",
)
"""What is not the same on both sides; type and size of the KV cache, flash attention, batch and threads are."""


class _CountedImages:
    """The handler's own bindings, which count the pictures that go through the vision tower."""

    def __init__(self, bindings: Any) -> None:
        self._bindings = bindings
        self.encodes = 0

    def __getattr__(self, name: str) -> Any:
        if name == "mtmd_helper_eval_chunk_single":  # called for pictures only: text goes through Llama.eval
            self.encodes += 1
        return getattr(self._bindings, name)


class StockHandler:
    """`Qwen25VLChatHandler` behind `Llama.create_chat_completion(stream=True)`, greedy. A context manager.

    n_ctx: cells, as many as ours. Raises MissingExtra where llama-cpp-python is absent.
    """

    def __init__(self, manifest: Manifest, settings: LlamaSettings, n_ctx: int) -> None:
        try:
            llama_cpp, formats = import_module("llama_cpp"), import_module("llama_cpp.llama_chat_format")
        except ImportError as error:
            raise MissingExtra("vlm", "the stock chat handler", str(error)) from None
        folder = settings.model
        self._system = manifest.prompt.system
        self._said = manifest.time.said
        self._handler = formats.Qwen25VLChatHandler(f"{folder}/{manifest.mmproj.file}", verbose=False)
        self._images = self._handler._mtmd_cpp = _CountedImages(self._handler._mtmd_cpp)
        self._llama = llama_cpp.Llama(
            f"{folder}/{manifest.text.file}",
            chat_handler=self._handler,
            n_ctx=n_ctx,
            n_batch=settings.batch,
            n_ubatch=settings.batch,
            n_threads=settings.working_threads,
            n_threads_batch=settings.working_threads,
            n_gpu_layers=settings.gpu_layers,
            flash_attn=settings.flash_attention,
            type_k=GGML_TYPES[settings.kv_type],
            type_v=GGML_TYPES[settings.kv_type],
            verbose=False,
        )

    def ask(self, pictures: Sequence[tuple[float, str]], instruction: str, tokens: int) -> Asked:
        """One question. pictures: (seconds, data URI) in order; tokens: how many are generated."""
        content: list[dict[str, Any]] = []
        for seconds, uri in pictures:
            content += [
                {"type": "text", "text": self._said(seconds)},
                {"type": "image_url", "image_url": {"url": uri}},
                {"type": "text", "text": "\n"},
            ]
        content.append({"type": "text", "text": instruction})
        system = [{"role": "system", "content": self._system}] if self._system else []
        before, first, reason, chunks = self._images.encodes, 0, None, 0
        start = time.perf_counter_ns()
        for chunk in self._llama.create_chat_completion(
            [*system, {"role": "user", "content": content}],
            temperature=0.0,
            repeat_penalty=1.0,
            max_tokens=tokens,
            stream=True,
        ):
            first = first or time.perf_counter_ns()  # the first chunk comes with the first token
            reason = chunk["choices"][0]["finish_reason"] or reason
            chunks += "content" in chunk["choices"][0]["delta"]
        end = time.perf_counter_ns()
        if not first:
            raise EngineFailed("the stock handler gave no answer")
        written = tokens if reason == "length" else chunks
        return Asked((first - start) / 1e6, (end - start) / 1e6, written, self._images.encodes - before)

    def close(self) -> None:
        self._llama.close()

    def __enter__(self) -> StockHandler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def data_uri(image: NDArray[np.uint8]) -> str:
    """A picture as a PNG in a data URI. image: (H, W, 3) uint8 RGB."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("vlm", "pictures for the stock handler", str(error)) from None
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
