"""llama.cpp's quantiser in a process of its own: what it is given may make it abort the one it is in."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from tqdm import tqdm

from scene_r1_engines.errors import EngineFailed
from scene_r1_export.file_types import bindings
from scene_r1_export.imatrix_file import read_imatrix

TENSOR = re.compile(r"\[ *(\d+)/ *(\d+)\] ")
"""How llama.cpp's line about each tensor begins."""
LISTING = "llama_model_loader: - "
"""How its lines about each key of the file begin, which would push the reason of a failure out of what is kept."""


def run_quantizer(job: Mapping[str, Any], type: str, tensors: int) -> None:
    """One call of llama_model_quantize in a child; its log moves a bar.

    job: src, dst, type (its number), overrides as [pattern, number] pairs, imatrix (a path or None), metadata (strings
    and whole numbers by key). type, tensors: for what is shown. Raises EngineFailed with llama.cpp's last words where
    it fails or dies; the child is gone in any case.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GGML_NO_BACKTRACE": "1",  # it starts a debugger, whose words would push out the reason
    }
    tail: deque[str] = deque(maxlen=12)
    child = subprocess.Popen(
        [sys.executable, "-m", "scene_r1_export.quantizer_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        assert child.stdin is not None
        assert child.stderr is not None
        with suppress(BrokenPipeError):  # a child that died at once says why on stderr
            json.dump(job, child.stdin)
            child.stdin.close()
        with tqdm(
            total=tensors, desc=f"to {type}", unit="tensor", file=sys.stderr, disable=not sys.stderr.isatty()
        ) as bar:
            for line in child.stderr:
                if line.strip() and not line.startswith(LISTING):
                    tail.append(line.strip()[:300])
                if found := TENSOR.match(line):
                    bar.update(int(found[1]) - bar.n)
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
    if code:
        how = f"died of signal {-code}" if code < 0 else "failed"
        said = " | ".join(tail)[-900:] or "it said nothing"
        raise EngineFailed(f"llama.cpp {how} while quantising {job['src']} to {type}: {said}")


def _child() -> int:
    """One native call, said by a JSON object on stdin. Runs in a process of its own."""
    job = json.load(sys.stdin)
    library = bindings()

    def say(_: int, text: bytes, __: object) -> None:
        with suppress(OSError):  # nobody listens any more; an exception could not leave a callback
            os.write(2, text or b"")

    on_log = library.llama_log_callback(say)
    library.llama_log_set(on_log, ctypes.c_void_p(0))
    params = library.llama_model_quantize_default_params()
    params.ftype = job["type"]
    params.nthread = len(os.sched_getaffinity(0))
    kept: list[object] = [on_log]  # ctypes frees what nobody holds

    if job["overrides"]:
        rules = (library.llama_model_tensor_override * (len(job["overrides"]) + 1))()
        for rule, (pattern, number) in zip(rules, job["overrides"], strict=False):
            rule.pattern, rule.type = pattern.encode(), number
        params.tt_overrides = rules
        kept.append(rules)
    if job["metadata"]:
        pairs = (library.llama_model_kv_override * (len(job["metadata"]) + 1))()
        for pair, (key, value) in zip(pairs, job["metadata"].items(), strict=False):
            pair.key = key.encode()
            if isinstance(value, int):
                pair.tag, pair.value.val_i64 = library.LLAMA_KV_OVERRIDE_TYPE_INT, value
            else:
                pair.tag, pair.value.val_str = library.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
        params.kv_overrides = pairs
        kept.append(pairs)
    if job["imatrix"] is not None:
        weights = read_imatrix(job["imatrix"]).weights()
        rows = (library.llama_model_imatrix_data * (len(weights) + 1))()
        for row, (name, values) in zip(rows, weights.items(), strict=False):
            values = np.ascontiguousarray(values, np.float32)
            row.name, row.size = name.encode(), values.size
            row.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            kept.append(values)
        params.imatrix = rows
        kept.append(rows)
    code: int = library.llama_model_quantize(os.fsencode(job["src"]), os.fsencode(job["dst"]), ctypes.byref(params))
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(_child())
