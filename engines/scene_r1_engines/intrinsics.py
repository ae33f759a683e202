"""Camera intrinsics: the pinhole with Brown-Conrady distortion, or with its inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scene_r1_engines.errors import BadIntrinsics

DistortionModel = Literal["none", "brown_conrady", "inverse_brown_conrady"]
MODELS: tuple[DistortionModel, ...] = ("none", "brown_conrady", "inverse_brown_conrady")
MAX_SIDE_PX = 16384


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """How one camera maps directions to pixels. Pixel (0, 0) is the centre of the upper-left pixel.

    fx, fy: focal lengths in pixels. cx, cy: principal point in pixels. width, height: of the image, in pixels.
    model: `none` (pinhole); `brown_conrady` (OpenCV's: the coefficients map an ideal ray to the distorted one);
        `inverse_brown_conrady` (librealsense's for colour cameras: they map the distorted ray to the ideal one).
    coefficients: k1, k2, p1, p2, k3, as OpenCV and librealsense order them; all zero where model is `none`.

    Raises BadIntrinsics naming the field at fault.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    model: DistortionModel = "none"
    coefficients: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or not 0 < value <= MAX_SIDE_PX:
                raise BadIntrinsics(f"{name} must be a whole number of pixels in 1..{MAX_SIDE_PX}, got {value!r}")
            object.__setattr__(self, name, int(value))
        for name in ("fx", "fy"):
            value = getattr(self, name)
            if not (_finite(value) and 0.0 < value < 1e6):
                raise BadIntrinsics(f"{name} must be a positive number of pixels, got {value!r}")
            object.__setattr__(self, name, float(value))
        for name, side in (("cx", self.width), ("cy", self.height)):
            value = getattr(self, name)
            if not (_finite(value) and -0.5 <= value <= side - 0.5):
                raise BadIntrinsics(f"{name} must lie inside the image (-0.5..{side - 0.5}), got {value!r}")
            object.__setattr__(self, name, float(value))
        if self.model not in MODELS:
            raise BadIntrinsics(f"model must be one of {', '.join(MODELS)}, got {self.model!r}")
        given = self.coefficients
        if not isinstance(given, tuple | list | np.ndarray) or len(given) != 5 or not all(_finite(c) for c in given):
            raise BadIntrinsics(f"coefficients must be five finite numbers, got {given!r}")
        # Plain floats in a tuple, whatever they came in: cameras are compared, hashed and written to files.
        object.__setattr__(self, "coefficients", tuple(float(c) for c in given))
        if self.model == "none" and any(self.coefficients):
            raise BadIntrinsics(f"model is 'none' but coefficients are {self.coefficients!r}")

    @classmethod
    def from_K(cls, K: ArrayLike, width: int, height: int) -> Intrinsics:
        """From a 3x3 pinhole matrix. Raises BadIntrinsics when it is not one (skew, last row, shape)."""
        k = np.asarray(K, dtype=np.float64)
        if k.shape != (3, 3) or not np.all(np.isfinite(k)):
            raise BadIntrinsics(f"K must be a finite 3x3 matrix, got shape {k.shape}")
        if np.any(k[2] != (0.0, 0.0, 1.0)) or k[1, 0] != 0.0 or abs(k[0, 1]) > 1e-6 * abs(k[0, 0]):
            raise BadIntrinsics(f"K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {k.tolist()}")
        return cls(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)

    @property
    def K(self) -> NDArray[np.float64]:
        """(3, 3) float64 pinhole matrix, without the distortion."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_pinhole(self) -> bool:
        """True when no distortion is to be applied (model none, or all coefficients zero)."""
        return self.model == "none" or not any(self.coefficients)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """The same camera read out at another size (pixel centres at whole numbers, so c' = (c + 0.5) s - 0.5)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=min((self.cx + 0.5) * sx - 0.5, width - 0.5),  # on the border rounding must not lead out of the image
            cy=min((self.cy + 0.5) * sy - 0.5, height - 0.5),
            width=width,
            height=height,
        )

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Pixels of points in front of the camera.

        points: (N, 3) metres, camera frame (OpenCV axes). Returns (N, 2) float64 pixels (u, v), not clipped to the
        image; NaN for points at or behind the camera plane, and so far out that the lens polynomial has folded over.
        """
        p = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        z = np.where(p[:, 2] > 0.0, p[:, 2], np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # far off the axis: infinite or NaN, and so no pixel
            xy = self._distort(p[:, :2] / z[:, None])
        return np.asarray(xy * (self.fx, self.fy) + (self.cx, self.cy))

    def rays(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Directions of pixels with z = 1, so that a point is `ray * depth`.

        pixels: (N, 2) pixels (u, v). Returns (N, 2) float64: x and y at z = 1, camera frame; NaN where the lens
        polynomial has folded over and no ray reaches the pixel.
        """
        uv = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        return self._undistort((uv - (self.cx, self.cy)) / (self.fx, self.fy))

    def _distort(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.is_pinhole:
            return xy
        if self.model == "brown_conrady":
            return self._polynomial(xy)
        return invert_brown_conrady(xy, self.coefficients)

    def _undistort(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.is_pinhole:
            return xy
        if self.model == "brown_conrady":
            return invert_brown_conrady(xy, self.coefficients)
        return self._polynomial(xy)

    def _polynomial(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        out = brown_conrady(xy, self.coefficients)
        out[np.hypot(xy[:, 0], xy[:, 1]) > fold_radius(self.coefficients)] = np.nan
        return out


def _finite(value: object) -> bool:
    return isinstance(value, float | int | np.floating | np.integer) and math.isfinite(value)


def brown_conrady(xy: NDArray[np.float64], coefficients: tuple[float, ...]) -> NDArray[np.float64]:
    """Brown-Conrady polynomial on (N, 2) normalised coordinates; coefficients k1, k2, p1, p2, k3 (Brown 1966)."""
    k1, k2, p1, p2, k3 = coefficients
    x, y = xy[:, 0], xy[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
            y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
        ],
        axis=1,
    )


def fold_radius(coefficients: tuple[float, ...]) -> float:
    """Radius at which the radial part of `brown_conrady` first stops growing, infinity where it never does.

    Beyond it two directions share a pixel, which no real lens does: the polynomial is not valid there.
    """
    k1, k2, _, _, k3 = (c if abs(c) > 1e-9 else 0.0 for c in coefficients)  # smaller ones turn nothing near an image
    roots = np.roots([7.0 * k3, 5.0 * k2, 3.0 * k1, 1.0])  # of d(r radial)/dr, in r squared
    turns = [float(root.real) for root in roots if abs(root.imag) < 1e-12 and root.real > 0.0]
    return math.sqrt(min(turns)) if turns else math.inf


def invert_brown_conrady(xy: NDArray[np.float64], coefficients: tuple[float, ...]) -> NDArray[np.float64]:
    """Solve `brown_conrady(result) = xy` by Newton's method with the exact Jacobian; (N, 2) normalised.

    NaN where no solution is found to 1e-9, or only one beyond the `fold_radius`: there the polynomial has folded over
    and no ray reaches the pixel.
    """
    k1, k2, p1, p2, k3 = coefficients
    s: NDArray[np.float64] = xy.copy()
    with np.errstate(all="ignore"):
        for _ in range(20):
            x, y = s[:, 0], s[:, 1]
            r2 = x * x + y * y
            radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
            slope = 2.0 * (k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3))
            error = brown_conrady(s, coefficients) - xy
            jxx = radial + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x
            jyy = radial + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x
            jxy = x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y
            det = jxx * jyy - jxy * jxy
            step = np.stack([jyy * error[:, 0] - jxy * error[:, 1], jxx * error[:, 1] - jxy * error[:, 0]], axis=1)
            step /= det[:, None]
            s = s - step
            if not np.any(np.abs(step) > 1e-14):
                break
        bad = ~(np.abs(brown_conrady(s, coefficients) - xy).max(axis=1, initial=0.0) < 1e-9)
        bad |= ~(np.hypot(s[:, 0], s[:, 1]) <= fold_radius(coefficients))
    s[bad] = np.nan
    return s
