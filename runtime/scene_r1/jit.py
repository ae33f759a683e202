"""How every kernel of the runtime is compiled."""

from typing import Any, Final

JIT: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Cached on disk, without the GIL, IEEE arithmetic but for fused multiply-add. Serial: with a second thread the same
kernel took 37 ms instead of 1 on a busy machine, waiting at the barrier."""
