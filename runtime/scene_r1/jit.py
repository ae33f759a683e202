"""How every kernel of the runtime is compiled."""

from typing import Any, Final

JIT: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Cached on disk, without the GIL, IEEE arithmetic but for fused multiply-add. Serial: with a second thread the same
kernel took 37 ms instead of 1 on a busy machine, waiting at the barrier.

Numba's cache looks at the age of a kernel's own file, not of those it takes functions from: who edits `voxels.py` or
`backproject/kernels.py` removes the `.nbi` files of the others (`make clean` does)."""
