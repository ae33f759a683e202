"""Scene-R1 Edge: a question about a room becomes a metric 3D box, on the device that holds the depth camera."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("scene-r1-edge")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
