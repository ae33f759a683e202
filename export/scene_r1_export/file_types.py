"""The names that llama.cpp has for quantised files and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scene_r1_engines.errors import BadConfig, MissingExtra
from scene_r1_engines.settings_file import nearest

PLAIN = ("F32", "F16", "BF16")
"""Types without blocks: nothing is rounded by importance, and llama.cpp takes no other type for a single tensor."""
NEED_IMATRIX = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S")
"""Types of files some of whose tensors llama.cpp makes with an importance matrix only (`tensor_requires_imatrix`)."""
TENSORS_NEED_IMATRIX = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")
TENSOR_TYPES = (
    *PLAIN,
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
)
"""What a single tensor may become. ggml has more types, which its quantiser aborts the process on."""
LEFT_OUT = ("NVFP4", "MXFP4_MOE", "Q1_0", "Q2_0")
"""File types that llama.cpp names but does not make of a dense model, or whose tensors gguf 0.19 does not know."""
VISION_CANNOT = ("Q2_K", "Q2_K_S", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", *NEED_IMATRIX)
"""Not for a vision tower. llama.cpp's rule for most of these asks for the number of attention heads a key has, which
no tower states, and aborts (measured with 0.5.0); no importance matrix is computed for towers."""
TENSOR_TYPE_OF = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S"}
"""What most tensors of a file become, where the file's name without _S, _M, _L does not say it."""


def bindings() -> Any:
    """llama.cpp's C interface. Raises MissingExtra where it is absent or does not load."""
    try:
        from llama_cpp import llama_cpp
    except ImportError as error:
        raise MissingExtra("vlm", "quantising", str(error)) from None
    except (OSError, RuntimeError) as error:  # the shared library does not load on this machine
        raise MissingExtra("vlm", "quantising", f"llama-cpp-python does not load: {error}") from None
    return llama_cpp


def file_types() -> dict[str, int]:
    """llama.cpp's number of each type of file, by name, e.g. {"Q4_K_M": 15}: those that the installed one has."""
    found: dict[str, int] = {}
    for constant, number in vars(bindings()).items():
        for prefix in ("LLAMA_FTYPE_ALL_", "LLAMA_FTYPE_MOSTLY_"):
            if constant.startswith(prefix) and constant.removeprefix(prefix) not in LEFT_OUT:
                found[constant.removeprefix(prefix)] = int(number)
    return found


def file_type(name: str) -> int:
    """The number of a type of file. Raises BadConfig for a name that the installed llama.cpp does not have."""
    return _number("file type", name, file_types())


def tensor_type(name: str) -> int:
    """The number of a type of tensor. Raises BadConfig for one that no tensor can be made."""
    library = bindings()
    known = {one: getattr(library, f"GGML_TYPE_{one}") for one in TENSOR_TYPES if hasattr(library, f"GGML_TYPE_{one}")}
    return _number("tensor type", name.upper(), known)


def usual_tensor_type(name: str) -> str:
    """What most tensors of a file of that type become, e.g. "Q4_K" for "Q4_K_M"."""
    if name in TENSOR_TYPE_OF:
        return TENSOR_TYPE_OF[name]
    return name[:-2] if name.endswith(("_K_S", "_K_M", "_K_L")) else name


def _number(what: str, name: str, known: Mapping[str, int]) -> int:
    if name not in known:
        raise BadConfig(f"unknown {what} {name[:40]!r}: {nearest(name, known)}")
    return int(known[name])
