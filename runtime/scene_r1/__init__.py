"""Scene-R1 Edge: a question about a room becomes a metric 3D box, on the device that holds the depth camera."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scene_r1.session import Session

try:
    __version__ = version("scene-r1-edge")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["Session", "__version__"]


def __getattr__(name: str) -> object:
    """`Session`, imported on use: it brings numba and OpenCV, which a worker or a check of the version does without."""
    if name == "Session":
        from scene_r1.session import Session

        return Session
    raise AttributeError(f"module 'scene_r1' has no attribute {name!r}")
