"""How every kernel of the runtime is compiled."""

from typing import Any, Final

JIT: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Cached on disk, without the GIL, IEEE arithmetic but for fused multiply-add. Serial: with a second thread the same
kernel took 37 ms instead of 1 on a busy machine, waiting at the barrier.

Numba's cache looks at the age of a kernel's own file, not of those it takes functions from: who edits `voxels.py` or
`backproject/kernels.py` removes the `.nbi` files of the others (`make clean` does)."""

EXACT: Final[dict[str, Any]] = {**JIT, "fastmath": False}
"""Without fused multiply-add, for where two kernels must give the very same numbers: which products are fused is the
compiler's choice, another one on another CPU, and for the vector part of a loop and its rest."""
