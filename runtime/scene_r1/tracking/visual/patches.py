"""Finding landmarks in a picture: small patches, warped as the view changes, aligned to a fraction of a pixel.

Inverse-compositional alignment (Baker and Matthews, IJCV 2004, section 3.2) of each landmark's patch to the picture, as
in SVO (Forster et al., ICRA 2014, section IV-B), with gain and offset of the light. The patch is always that of the
keyframe that first saw the landmark, so that positions do not drift from frame to frame.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene_r1.jit import JIT

HALF: Final = 5
"""A patch of 11 x 11 pixels is aligned."""
STORED_HALF: Final = 10
"""Of 21 x 21 stored ones: room for views that are turned or nearer."""
STORED: Final = 2 * STORED_HALF + 1


@njit(**JIT)
def cut(image, pixels, out):  # type: ignore[no-untyped-def]
    """Copy the STORED x STORED pixels around each whole pixel (N, 2); what is outside the image repeats its border."""
    h, w = image.shape
    for i in range(len(pixels)):
        u, v = np.int64(round(pixels[i, 0])), np.int64(round(pixels[i, 1]))
        for y in range(STORED):
            row = min(max(v + y - STORED_HALF, 0), h - 1)
            for x in range(STORED):
                out[i, y, x] = image[row, min(max(u + x - STORED_HALF, 0), w - 1)]


@njit(**JIT)
def align(image, patches, warps, start, found, score, steps):  # type: ignore[no-untyped-def]
    """Find each patch near where it is expected.

    image: (H, W) uint8. patches: (N, STORED, STORED) uint8. warps: (N, 2, 2) pixels of the patch for a pixel of the
    image. start: (N, 2) pixels expected. found: (N, 2) out. score: (N,) out, correlation in 0..1, 0 = not found.
    """
    side = 2 * HALF + 1
    wide = side + 2
    h, w = image.shape
    T = np.empty((wide, wide), np.float32)
    H = np.empty((4, 4))
    for i in range(len(patches)):
        score[i] = 0.0
        found[i, 0], found[i, 1] = start[i, 0], start[i, 1]
        a, b, c, d = warps[i, 0, 0], warps[i, 0, 1], warps[i, 1, 0], warps[i, 1, 1]
        reach = (HALF + 1) * max(abs(a) + abs(b), abs(c) + abs(d))
        if not reach < STORED_HALF:
            continue
        patch = patches[i]
        for y in range(wide):
            for x in range(wide):
                px = STORED_HALF + a * (x - HALF - 1) + b * (y - HALF - 1)
                py = STORED_HALF + c * (x - HALF - 1) + d * (y - HALF - 1)
                x0, y0 = np.int64(px), np.int64(py)
                fx, fy = np.float32(px - x0), np.float32(py - y0)
                top = patch[y0, x0] + fx * (np.float32(patch[y0, x0 + 1]) - np.float32(patch[y0, x0]))
                low = patch[y0 + 1, x0] + fx * (np.float32(patch[y0 + 1, x0 + 1]) - np.float32(patch[y0 + 1, x0]))
                T[y, x] = top + fy * (low - top)
        mean = np.float32(0.0)
        for y in range(1, side + 1):
            for x in range(1, side + 1):
                mean += T[y, x]
        mean /= np.float32(side * side)
        H[:] = 0.0
        for y in range(1, side + 1):
            for x in range(1, side + 1):
                gx = 0.5 * (T[y, x + 1] - T[y, x - 1])
                gy = 0.5 * (T[y + 1, x] - T[y - 1, x])
                t = T[y, x] - mean
                H[0, 0] += gx * gx
                H[0, 1] += gx * gy
                H[1, 1] += gy * gy
                H[0, 3] -= gx * t
                H[1, 3] -= gy * t
                H[0, 2] -= gx
                H[1, 2] -= gy
                H[3, 3] += t * t
        H[2, 2] = side * side
        for y in range(4):
            for x in range(y):
                H[y, x] = H[x, y]
        if H[3, 3] < 4.0 * side * side or H[0, 0] * H[1, 1] - H[0, 1] ** 2 < 1e-4 * (H[0, 0] + H[1, 1]) ** 2:
            continue  # next to no texture: nothing to hold on to
        inverse = np.linalg.inv(H)
        u, v, offset, gain = start[i, 0], start[i, 1], 0.0, 0.0
        first = True
        for _ in range(steps):
            if not (u >= HALF and v >= HALF and u < w - HALF - 1 and v < h - HALF - 1):
                first = True
                break
            x0, y0 = np.int64(u), np.int64(v)
            fx, fy = np.float32(u - x0), np.float32(v - y0)
            w00, w01 = (1 - fx) * (1 - fy), fx * (1 - fy)
            w10, w11 = (1 - fx) * fy, fx * fy
            if first:  # begin with the mean brightness of both made equal
                total = np.float32(0.0)
                for y in range(-HALF, HALF + 1):
                    for x in range(-HALF, HALF + 1):
                        total += np.float32(image[y0 + y, x0 + x])
                offset = total / (side * side) - mean
                first = False
            r0 = r1 = r2 = r3 = np.float32(0.0)
            for y in range(-HALF, HALF + 1):
                row, below = image[y0 + y], image[y0 + y + 1]
                t_row, t_up, t_down = T[y + HALF + 1], T[y + HALF], T[y + HALF + 2]
                for x in range(-HALF, HALF + 1):
                    k = x + HALF + 1
                    j = x0 + x
                    value = w00 * row[j] + w01 * row[j + 1] + w10 * below[j] + w11 * below[j + 1]
                    t = t_row[k] - mean
                    r = np.float32(value - mean - t - offset - gain * t)
                    r0 += r * np.float32(0.5) * (t_row[k + 1] - t_row[k - 1])
                    r1 += r * np.float32(0.5) * (t_down[k] - t_up[k])
                    r2 -= r
                    r3 -= r * t
            du = inverse[0, 0] * r0 + inverse[0, 1] * r1 + inverse[0, 2] * r2 + inverse[0, 3] * r3
            dv = inverse[1, 0] * r0 + inverse[1, 1] * r1 + inverse[1, 2] * r2 + inverse[1, 3] * r3
            offset -= inverse[2, 0] * r0 + inverse[2, 1] * r1 + inverse[2, 2] * r2 + inverse[2, 3] * r3
            gain -= inverse[3, 0] * r0 + inverse[3, 1] * r1 + inverse[3, 2] * r2 + inverse[3, 3] * r3
            u -= du
            v -= dv
            if du * du + dv * dv < 4e-4:
                break
        if first or not (u >= HALF and v >= HALF and u < w - HALF - 1 and v < h - HALF - 1):
            continue
        score[i] = _correlation(image, T, u, v, mean)
        found[i, 0], found[i, 1] = u, v


@njit(**JIT)
def _correlation(image, T, u, v, mean):  # type: ignore[no-untyped-def]
    """Normalised cross-correlation of the warped patch and the image around (u, v), not below 0."""
    side = 2 * HALF + 1
    x0, y0 = np.int64(u), np.int64(v)
    fx, fy = np.float32(u - x0), np.float32(v - y0)
    s = ss = st = tt = np.float32(0.0)
    for y in range(-HALF, HALF + 1):
        for x in range(-HALF, HALF + 1):
            top = image[y0 + y, x0 + x] + fx * (np.float32(image[y0 + y, x0 + x + 1]) - image[y0 + y, x0 + x])
            low = image[y0 + y + 1, x0 + x] + fx * (
                np.float32(image[y0 + y + 1, x0 + x + 1]) - image[y0 + y + 1, x0 + x]
            )
            value = top + fy * (low - top)
            t = T[y + HALF + 1, x + HALF + 1] - mean
            s += value
            ss += value * value
            st += value * t
            tt += t * t
    var = ss - s * s / (side * side)
    if var <= 0.0 or tt <= 0.0:
        return 0.0
    return max(0.0, st / np.sqrt(var * tt))


def patches_at(image: NDArray[np.uint8], pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(N, STORED, STORED) uint8 patches around whole pixels (N, 2) of an image (H, W)."""
    out = np.empty((len(pixels), STORED, STORED), np.uint8)
    cut(image, np.ascontiguousarray(pixels, dtype=np.float64), out)
    return out


def find_patches(
    image: NDArray[np.uint8],
    patches: NDArray[np.uint8],
    warps: NDArray[np.float64],
    expected: NDArray[np.float64],
    steps: int = 8,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(pixels (N, 2), scores (N,) in 0..1, 0 = not found) of patches; arguments as `align`."""
    found, score = np.empty((len(patches), 2)), np.zeros(len(patches))
    align(image, patches, np.ascontiguousarray(warps), np.ascontiguousarray(expected), found, score, steps)
    return found, score
