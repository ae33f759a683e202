"""What keyframes take in the cache of a reasoner, and what it costs to mend, keep and restore it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.percentiles import summarise
from scene_r1_engines.errors import EngineFailed
from scene_r1_engines.gguf_file import TENSOR_TYPES, read_gguf
from scene_r1_engines.llama import LlamaReasoner
from scene_r1_engines.llama.context import GGML_TYPES
from scene_r1_engines.llama.library import library
from scene_r1_engines.llama.prefix import PREFIX

Pictures = Sequence[NDArray[np.uint8]]
CORNER = 112
NOW_S = 1e6
"""A time of the stream at which every keyframe is due; settling then, unlike at the end of a stream, writes no file."""


def watch_all(reasoner: LlamaReasoner, pictures: Pictures) -> None:
    """Show the pictures as keyframes 0, 1, 2, ... at as many seconds."""
    for keyframe_id, picture in enumerate(pictures):
        reasoner.watch(keyframe_id, picture, float(keyframe_id))


def settled(reasoner: LlamaReasoner, now_s: float | None = NOW_S) -> None:
    """Settle whatever is pending; the settings must not space the encodes out. Raises EngineFailed if it cannot."""
    if not reasoner.settle(now_s):
        raise EngineFailed("the reasoner says that work is left although it had all the time it wanted")


def bytes_per_keyframe(reasoner: LlamaReasoner, pictures: Pictures) -> dict[str, Any]:
    """What one keyframe takes: by the model's own extents, and as the state of the cache grows by it.

    The embedding is that of a corner of the picture, by its tokens: on CPU a whole one may take half a minute. The
    observed state also says position and sequence of each cell, some bytes a cell. Leaves the keyframes as they
    were; the last is encoded again unless the reasoner has a cache.
    """
    last = len(pictures) - 1
    cells, state = reasoner.prefix.cells, _state_bytes(reasoner)
    reasoner.forget(last)
    settled(reasoner)
    cells, state = cells - reasoner.prefix.cells, state - _state_bytes(reasoner)
    reasoner.watch(last, pictures[last], float(last))
    settled(reasoner)
    corner = reasoner.model.encode(np.ascontiguousarray(pictures[last][:CORNER, :CORNER]))
    tokens = pictures[last].shape[0] * pictures[last].shape[1] // reasoner.manifest.image.patch_multiple**2
    return {
        "cells_per_keyframe": cells,
        "kv_bytes_per_cell": kv_bytes_per_cell(reasoner),
        "kv_bytes_per_keyframe": round(cells * kv_bytes_per_cell(reasoner)),
        "kv_state_bytes_per_keyframe": state,
        "embedding_bytes_per_keyframe": corner.rows.nbytes * tokens // len(corner.rows),
    }


def kv_bytes_per_cell(reasoner: LlamaReasoner) -> float:
    """Keys and values of one token in all layers, by the header of the model's file."""
    manifest = reasoner.manifest
    header = read_gguf(Path(reasoner.settings.model) / manifest.text.file)
    architecture = header.text("general.architecture")

    def extent(name: str) -> int:
        return int(header.number(f"{architecture}.{name}", 1, 1 << 20))

    heads, width = extent("attention.head_count"), extent("embedding_length")
    head = (
        extent("attention.key_length") if f"{architecture}.attention.key_length" in header.metadata else width // heads
    )
    numbers = 2 * extent("block_count") * extent("attention.head_count_kv") * head
    _, elements, size = TENSOR_TYPES[GGML_TYPES[reasoner.settings.kv_type]]
    return numbers * size / elements


def rebuild_ms(
    reasoner: LlamaReasoner, pictures: Pictures, rounds: int, seed: int, anew: bool = True
) -> dict[str, Any]:
    """Milliseconds until the prefix is whole again after the eviction of one keyframe, against all from anew.

    anew: every picture through the vision tower and the prefix decoded from its first token on; False leaves it out.
    Between two of these the keyframe is put back, which is not timed. Candidates take turns, in an order shuffled each
    round.
    """
    count = len(pictures)
    places = {"first": 0, "middle": count // 2, "last": count - 1}
    taken: dict[str, list[float]] = {name: [] for name in (*places, "prefill_all", *(["anew"] if anew else []))}
    rng = np.random.default_rng(seed)
    names = list(taken)
    for _ in range(rounds):
        for i in rng.permutation(len(names)):
            name = names[i]
            if name in places:
                reasoner.forget(places[name])
                taken[name].append(_ms(lambda: settled(reasoner)))
                reasoner.watch(places[name], pictures[places[name]], float(places[name]))
                settled(reasoner)
                continue
            encode = _ms(lambda: [reasoner.model.encode(picture) for picture in pictures]) if name == "anew" else 0.0
            reasoner.prefix.drop()
            taken[name].append(encode + _ms(lambda: settled(reasoner)))
    return {name: summarise(times) for name, times in taken.items()}


def saved_and_restored(reasoner: LlamaReasoner, pictures: Pictures, rounds: int) -> dict[str, Any]:
    """Save: the cells to a file. Restore: all keyframes watched again, embeddings and prefix read from the cache of
    disk and compared with their checksums. The reasoner must have a cache, and have seen these pictures before.

    Raises EngineFailed where a restore ran the vision tower or decoded a keyframe, for then it was none.
    """
    reasoner.prefix.drop()
    settled(reasoner, None)  # as at the end of a stream: writes the cache
    save, restore = [], []
    with tempfile.TemporaryDirectory(prefix="scene-r1-") as folder:
        path = Path(folder) / "cells"
        for _ in range(rounds):
            save.append(_ms(lambda: reasoner.context.save(str(path), PREFIX)))
            size = path.stat().st_size
            for keyframe_id in range(len(pictures)):
                reasoner.forget(keyframe_id)
            settled(reasoner)
            encodes = reasoner.encodes
            with CountedDecodes() as decodes:
                watch_all(reasoner, pictures)
                restore.append(_ms(lambda: settled(reasoner, None)))
            if reasoner.encodes != encodes or decodes.calls:
                raise EngineFailed("the cache on disk was not taken: what was timed is no restore")
    return {"save_ms": summarise(save), "restore_ms": summarise(restore), "saved_bytes": size}


class CountedDecodes:
    """Notes every call into llama.cpp that a question makes while it is written: (start, nanoseconds) of each.

    The engine reaches the library by the module's names, so these are replaced for as long as this lasts.
    """

    NAMES = ("llama_decode", "llama_get_logits_ith", "llama_sampler_apply", "llama_sampler_accept")

    def __init__(self) -> None:
        self.spent: list[tuple[int, int]] = []
        self.calls = 0
        """Of llama_decode."""
        self._llama = library().llama
        self._own: dict[str, Callable[..., Any]] = {name: getattr(self._llama, name) for name in self.NAMES}

    def __enter__(self) -> CountedDecodes:
        for name, function in self._own.items():
            setattr(self._llama, name, self._noted(name, function))
        return self

    def __exit__(self, *exc: object) -> None:
        for name, function in self._own.items():
            setattr(self._llama, name, function)

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        decodes = name == "llama_decode"

        def call(*arguments: Any) -> Any:
            start = time.perf_counter_ns()
            result = function(*arguments)
            self.spent.append((start, time.perf_counter_ns() - start))
            self.calls += decodes
            return result

        return call


def _state_bytes(reasoner: LlamaReasoner) -> int:
    return int(library().llama.llama_state_seq_get_size(reasoner.context.handle, PREFIX))


def _ms(work: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / 1e6
