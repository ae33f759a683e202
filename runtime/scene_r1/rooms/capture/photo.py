"""What a phone's camera makes of the light: exposure that follows, blur, falling-off corners, unsteady white, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from scene_r1_engines.errors import BadInput
from scene_r1_engines.intrinsics import Intrinsics

LAG_S = 0.45
"""Time constant of the automatic exposure: phones take one to two seconds from a window to a dark corner."""
COMPENSATION = 0.7
"""Share, in stops, of a change of brightness that is made up for: what is dark stays a little darker."""
STOPS = 2.0
"""The exposure stays within so many of the room's even one."""
LONGEST_S, SHORTEST_S = 1.0 / 30.0, 1.0 / 1000.0
UNIT_GAIN_S = 1.0 / 350.0
"""Exposure time at which light comes out with a gain of 1; when the time is at its longest, the rest is amplified."""
FULL_WELL = 2500.0
"""Electrons at white, of a pixel of the small picture, when nothing is amplified."""
READ_NOISE = 6.0
"""Electrons, of the same pixel."""
WHITE_WOBBLE = 0.02
"""Standard deviation of red and blue against green; it drifts over seconds."""
WOBBLE_S = 1.0
VIGNETTE = (0.1, 0.28)
"""Share of the light that the farthest corner lacks: what is left after a phone's own correction."""
BLUR_STEP_PX = 1.2
MOST_BLUR_STEPS = 17
LEAST_BLUR_PX = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """How each frame of a recording is exposed.

    gain: (N,) float64, what linear light is multiplied with. exposure_s: (N,) float64, how long the shutter is open.
    amplified: (N,) float64 >= 1, the factor of the gain that is not light. white: (N, 3) float64, factors on red,
    green and blue. vignette: share of the light missing in the corners.
    """

    gain: NDArray[np.float64]
    exposure_s: NDArray[np.float64]
    amplified: NDArray[np.float64]
    white: NDArray[np.float64]
    vignette: float


def automatic_exposure(
    brightness: NDArray[np.float64], even_gain: float, rate_hz: float, seed: Sequence[int]
) -> Exposure:
    """The exposure of every frame of a walk.

    The gain follows the mean brightness with a lag, around `even_gain` at the walk's middle brightness: who looks at
    the window sees the room go dark, and for a moment a dark corner stays darker than it will be. A dark room is
    exposed longer, and amplified when that is not enough. Frame 0 is settled.

    brightness: (N,) mean linear light of each frame, any unit. even_gain: what shows the room evenly. seed: of vignette
    and wobble. Raises BadInput for brightness or gains that are not positive numbers.
    """
    if (
        brightness.ndim != 1
        or len(brightness) == 0
        or not (np.all(np.isfinite(brightness)) and brightness.min() >= 0.0)
    ):
        raise BadInput(f"brightness must be (N,) numbers >= 0, got {brightness.shape}")
    if not 0.0 < even_gain < math.inf:
        raise BadInput(f"even_gain must be a number > 0, got {even_gain!r}")
    stops = np.log2(np.maximum(brightness, 1e-6))
    wanted = np.clip(-COMPENSATION * (stops - np.median(stops)), -STOPS, STOPS)
    keep = math.exp(-1.0 / (rate_hz * LAG_S))
    followed = np.empty_like(wanted)
    now = wanted[0]
    for i, one in enumerate(wanted):
        now = keep * now + (1.0 - keep) * one
        followed[i] = now
    gain = even_gain * np.exp2(followed)
    exposure_s = np.clip(gain * UNIT_GAIN_S, SHORTEST_S, LONGEST_S)
    amplified = np.maximum(gain * UNIT_GAIN_S / exposure_s, 1.0)
    rng = np.random.default_rng([*seed, 0xA3])
    vignette = float(rng.uniform(*VIGNETTE))
    return Exposure(gain, exposure_s, amplified, _wobble(len(gain), rate_hz, rng), vignette)


def blurred(
    linear: NDArray[np.float32], intrinsics: Intrinsics, turning: NDArray[np.float64], exposure_s: float
) -> NDArray[np.float32]:
    """The mean light while the shutter is open and the camera turns.

    The pictures in between are made from this one by the homographies K R K^-1, exact for a camera that turns in
    place; that it also walks is left out: at half a metre a second that is 2 % of a metre in 1/30 s, and the picture
    of what is near would need rendering again. What comes in at the border is its last pixel.

    linear: (H, W, 3) float32, of the middle of the exposure. intrinsics: of `linear`, without distortion. turning:
    (3,) radians a second, camera frame. Returns (H, W, 3) float32.
    """
    K = intrinsics.K
    half = 0.5 * exposure_s * np.asarray(turning, np.float64)
    corners = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)])
    corners = np.column_stack([corners * (intrinsics.width - 1, intrinsics.height - 1), np.ones(5)])
    moved = corners @ _homography(K, half).T
    length_px = 2.0 * float(np.linalg.norm(moved[:, :2] / moved[:, 2:] - corners[:, :2], axis=1).max())
    if length_px < LEAST_BLUR_PX:
        return linear
    steps = min(MOST_BLUR_STEPS, 2 + int(length_px / BLUR_STEP_PX))
    size = (intrinsics.width, intrinsics.height)
    total = np.zeros_like(linear)
    # The middles of equal parts of the exposure.
    for part in (np.arange(steps) + 0.5) / steps * 2.0 - 1.0:
        step = cv2.warpPerspective(
            linear, _homography(K, part * half), size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        cv2.accumulate(step, total)
    return np.asarray(total * np.float32(1.0 / steps), np.float32)


def exposed(
    linear: NDArray[np.float32], exposure: Exposure, index: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The light of one frame as the sensor reports it: to be developed with a gain of 1.

    Darker towards the corners, times the gain, tinted by the unsteady white balance, with shot noise (its variance
    grows with the light) and read noise; both grow with amplification. linear: (H, W, 3) float32. Returns the
    same shape.
    """
    amplified = float(exposure.amplified[index])
    # Noise in parts of white: var = light * amplified / FULL_WELL + (READ_NOISE * amplified / FULL_WELL)^2.
    light = linear * (np.float32(exposure.gain[index]) * _corners(linear.shape[:2], exposure.vignette)[:, :, None])
    variance = np.clip(light, 0.0, 1.0)
    variance *= np.float32(amplified / FULL_WELL)
    variance += np.float32((READ_NOISE * amplified / FULL_WELL) ** 2)
    grain = rng.standard_normal(linear.shape, dtype=np.float32)
    grain *= np.sqrt(variance, out=variance)
    light += grain
    light *= exposure.white[index].astype(np.float32)
    return np.asarray(light, np.float32)


def _homography(K: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a pixel of the camera turned by `rotation` (radians, its own axes) lies in the one not turned."""
    return np.asarray(K @ Rotation.from_rotvec(rotation).as_matrix() @ np.linalg.inv(K))


def _corners(shape: tuple[int, ...], vignette: float) -> NDArray[np.float32]:
    """(H, W) float32: the share of the light that arrives, 1 in the middle."""
    v, u = (np.linspace(-1.0, 1.0, n, dtype=np.float32) * np.float32(n) for n in shape[:2])
    far = np.float32(shape[0] ** 2 + shape[1] ** 2)
    return np.asarray(1.0 - np.float32(vignette) * (v[:, None] ** 2 + u**2) / far, np.float32)


def _wobble(n: int, rate_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 3) factors around 1, alike over WOBBLE_S; green is left as it is."""
    sigma = WOBBLE_S * rate_hz
    noise = rng.standard_normal((n, 2))
    smooth = gaussian_filter1d(noise, sigma, axis=0, mode="wrap") if n > 1 else noise
    # The standard deviation that such a filter leaves.
    left = math.sqrt(1.0 / max(1.0, 2.0 * math.sqrt(math.pi) * sigma))
    factors = np.clip(WHITE_WOBBLE * smooth / left, -3.0 * WHITE_WOBBLE, 3.0 * WHITE_WOBBLE)
    return np.column_stack([1.0 + factors[:, 0], np.ones(n), 1.0 + factors[:, 1]])
