"""The kernels that turn ray hits into depth, instance ids and light."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

SUN_R, SUN_G, SUN_B = 3.4, 3.0, 2.4
"""Sunlight next to the soft light of the room."""


@njit(cache=True, nogil=True)
def depth_and_instance(
    hits: Any, rays: Any, rotation: Any, origin: Any, vertices: Any, faces: Any, instance: Any, depth: Any, ids: Any
) -> None:
    """Depth along the optical axis, from the plane of the triangle that was hit, in float64; and its instance.

    hits: (N,) int32 triangles, -1 = none. rays: (N, 2) float64, x and y at z = 1. rotation (3, 3), origin (3,):
    of the camera in the world. Writes depth (N,) float32 metres (0 = nothing) and ids (N,) int16.
    """
    for i in range(len(hits)):
        face = hits[i]
        depth[i] = 0.0
        ids[i] = -1
        if face < 0:
            continue
        dx = rotation[0, 0] * rays[i, 0] + rotation[0, 1] * rays[i, 1] + rotation[0, 2]
        dy = rotation[1, 0] * rays[i, 0] + rotation[1, 1] * rays[i, 1] + rotation[1, 2]
        dz = rotation[2, 0] * rays[i, 0] + rotation[2, 1] * rays[i, 1] + rotation[2, 2]
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        along = nx * dx + ny * dy + nz * dz
        if along == 0.0:
            continue
        gap = nx * (vertices[a, 0] - origin[0]) + ny * (vertices[a, 1] - origin[1]) + nz * (vertices[a, 2] - origin[2])
        z = gap / along
        if z > 0.0:
            depth[i] = z
            ids[i] = instance[face]


@njit(cache=True, nogil=True, inline="always")
def _hash(x: int, y: int, z: int) -> float:
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True, nogil=True)
def _noise(x: float, y: float, z: float) -> float:
    """Value noise in 0..1 with cells of size 1."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(i), int(j), int(k)
    low = (_hash(i, j, k) * (1 - u) + _hash(i + 1, j, k) * u) * (1 - v)
    low += (_hash(i, j + 1, k) * (1 - u) + _hash(i + 1, j + 1, k) * u) * v
    high = (_hash(i, j, k + 1) * (1 - u) + _hash(i + 1, j, k + 1) * u) * (1 - v)
    high += (_hash(i, j + 1, k + 1) * (1 - u) + _hash(i + 1, j + 1, k + 1) * u) * v
    return low * (1 - w) + high * w


@njit(cache=True, nogil=True)
def _pattern(m: Any, x: float, y: float, z: float, footprint: float) -> tuple[float, float]:
    """(mix, tone) of a material at texture point x, y, z: how much of its second colour, and a factor on both.

    footprint: metres a pixel covers there; detail finer than that fades, or it would crawl as the camera moves.
    """
    kind, scale = int(m[0]), m[7]
    mix, tone = 0.0, 1.0
    if kind == 0:  # plain
        tone = 0.97 + 0.06 * _noise(x / scale, y / scale, z / scale)
    elif kind == 1:  # floor
        x0, y0, x1, y1 = m[9], m[10], m[11], m[12]
        if x0 < x < x1 and y0 < y < y1:
            edge = min(min(x - x0, x1 - x), min(y - y0, y1 - y))
            mix = 1.0
            if 0.05 < edge < 0.09 or 0.12 < edge < 0.135:
                tone = 1.9
            elif edge > 0.2:
                cell = math.sin(x * 22.0) * math.sin(y * 22.0)
                tone = 1.25 if cell > 0.35 else 1.0
            tone *= 0.88 + 0.24 * _noise(x * 260.0, y * 260.0, 0.0) if footprint < 0.006 else 1.0
        else:
            row = math.floor(y / scale)
            shifted = x + 7.31 * _hash(int(row), 17, 3)
            board = math.floor(shifted / 1.1)
            tone = 0.8 + 0.35 * _hash(int(row), int(board), 5)
            tone *= 0.9 + 0.2 * _noise(shifted * 2.5, y * 45.0, 0.7 * row)
            seam = min(y - row * scale, (row + 1) * scale - y)
            seam = min(seam, min(shifted - board * 1.1, (board + 1) * 1.1 - shifted))
            width = max(0.0015, 0.6 * footprint)
            if seam < width:
                tone *= 1.0 - 0.6 * 0.0015 / width
    elif kind == 2:  # wall
        if z < 0.09:
            tone, mix = 1.0, 2.0
            if z > 0.084:
                tone = 0.7
        else:
            tone = 0.93 + 0.03 * z + 0.03 * _noise(x * 1.7, y * 1.7, z * 1.7)
            if footprint < 0.004:
                tone *= 0.985 + 0.03 * _noise(x * 180, y * 180, z * 180)
    elif kind == 3:  # wood
        bend = 0.35 * _noise(x * 1.5, y * 3.0, z * 3.0)
        rings = math.sin(70.0 * (y + z) + 14.0 * bend + 3.0 * x)
        mix = 0.3 + 0.3 * rings * (1.0 if footprint < 0.015 else 0.3)
        tone = 0.92 + 0.16 * _noise(x * 6.0, y * 90.0, z * 90.0)
    elif kind == 4:  # stripes
        mix = 1.0 if (z / scale - math.floor(z / scale)) > 0.7 else 0.0
    elif kind == 5:  # checks
        mix = float((math.floor(x / scale) + math.floor(y / scale)) & 1)
    elif kind == 6:  # dots
        u, v = (x + y) / scale, z / scale
        u += 0.5 * (math.floor(v) & 1)
        u, v = u - math.floor(u) - 0.5, v - math.floor(v) - 0.5
        mix = 1.0 if u * u + v * v < 0.06 else 0.0
    elif kind == 7:  # picture
        u, v = (x - m[9]) / (m[11] - m[9]), (z - m[10]) / (m[12] - m[10])
        far = 0.42 + 0.12 * math.sin(5.0 * u + 1.0) + 0.05 * math.sin(13.0 * u)
        near = 0.24 + 0.1 * math.sin(4.0 * u + 4.0) + 0.03 * math.sin(17.0 * u)
        tone = 0.75 + 0.7 * v
        if v < near:
            mix, tone = 1.0, 0.6 + 0.4 * _noise(u * 30, v * 30, 0.0)
        elif v < far:
            mix, tone = 0.65, 0.8
        elif (u - 0.7) ** 2 * (m[11] - m[9]) ** 2 + (v - 0.78) ** 2 * (m[12] - m[10]) ** 2 < 0.0025:
            tone = 2.6
    elif kind == 8:  # sky
        if m[12] > m[10]:
            v = (z - m[10]) / (m[12] - m[10])
            mix = 1.0 - v * 0.8
            tone = 1.0 if v > 0.22 + 0.05 * math.sin(9.0 * x) + 0.03 * math.sin(31.0 * x) else 0.42
    elif kind == 9:  # leaves
        mix = _noise(x / scale * 1.5, y / scale * 1.5, z / scale * 1.5)
        tone = 0.45 + 0.9 * _noise(x / scale * 4, y / scale * 4, z / scale * 4)
    elif kind == 10:  # pages
        tone = 0.85 + 0.15 * math.sin(z * 2600.0) if footprint < 0.0015 else 0.87
    elif kind == 11:  # spines
        which = math.floor(x / scale)
        mix = _hash(int(which), 1, 1)
        tone = 0.55 + 0.7 * _hash(int(which), 2, 1)
        place = x / scale - which
        if place < 0.06 or place > 0.94:
            tone *= 0.45
        if 0.72 < (z * 3.1 + _hash(int(which), 3, 1)) % 1.0 < 0.8:
            tone *= 1.5
    return mix, tone


@njit(cache=True, nogil=True)
def _sunlit(sun: Any, px: float, py: float, pz: float) -> float:
    """Share of the sun (0..1) that comes through the window's rectangle, past its bars, to a point in the world."""
    sn = sun[9] * sun[6] + sun[10] * sun[7] + sun[11] * sun[8]
    gap = (sun[0] - px) * sun[6] + (sun[1] - py) * sun[7] + (sun[2] - pz) * sun[8]
    reach = gap / sn
    if reach <= 0.0:
        return 0.0
    qx, qy, qz = px + reach * sun[9] - sun[0], py + reach * sun[10] - sun[1], pz + reach * sun[11] - sun[2]
    u = abs(qx * sun[3] + qy * sun[4])
    soft = 0.006 + 0.009 * reach  # the sun is half a degree wide
    lit = min(max((sun[12] - u) / soft, 0.0), 1.0) * min(max((sun[13] - abs(qz)) / soft, 0.0), 1.0)
    bar = abs(qz - 0.24 * sun[13])  # where the cross bar hangs: 62 % up the pane
    return float(lit * min(max((u - 0.018) / soft + 0.3, 0.0), 1.0) * min(max((bar - 0.018) / soft + 0.3, 0.0), 1.0))


@njit(cache=True, nogil=True)
def shade(
    hits: Any, rays: Any, rotation: Any, origin: Any, pixel: float, vertices: Any, faces: Any, normals: Any,
    texture: Any, light: Any, material: Any, materials: Any, sun: Any, lamp: Any, out: Any,
) -> None:  # fmt: skip
    """Linear light (N, 3) float32 that comes back along each ray. pixel: angle a pixel covers, radians."""
    for i in range(len(hits)):
        face = hits[i]
        out[i, 0] = out[i, 1] = out[i, 2] = 0.0
        if face < 0:
            continue
        dx = rotation[0, 0] * rays[i, 0] + rotation[0, 1] * rays[i, 1] + rotation[0, 2]
        dy = rotation[1, 0] * rays[i, 0] + rotation[1, 1] * rays[i, 1] + rotation[1, 2]
        dz = rotation[2, 0] * rays[i, 0] + rotation[2, 1] * rays[i, 1] + rotation[2, 2]
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        n2 = nx * nx + ny * ny + nz * nz
        along = nx * dx + ny * dy + nz * dz
        if along == 0.0:
            continue
        ox, oy, oz = vertices[a, 0] - origin[0], vertices[a, 1] - origin[1], vertices[a, 2] - origin[2]
        depth = (nx * ox + ny * oy + nz * oz) / along
        wx, wy, wz = depth * dx - ox, depth * dy - oy, depth * dz - oz
        # Barycentric coordinates of the hit (Ericson, Real-Time Collision Detection, 3.4).
        beta = ((wy * vz - wz * vy) * nx + (wz * vx - wx * vz) * ny + (wx * vy - wy * vx) * nz) / n2
        gamma = ((uy * wz - uz * wy) * nx + (uz * wx - ux * wz) * ny + (ux * wy - uy * wx) * nz) / n2
        beta, gamma = min(max(beta, 0.0), 1.0), min(max(gamma, 0.0), 1.0)
        alpha = 1.0 - beta - gamma
        m = materials[material[face]]
        tx = alpha * texture[a, 0] + beta * texture[b, 0] + gamma * texture[c, 0]
        ty = alpha * texture[a, 1] + beta * texture[b, 1] + gamma * texture[c, 1]
        tz = alpha * texture[a, 2] + beta * texture[b, 2] + gamma * texture[c, 2]
        mix, tone = _pattern(m, tx, ty, tz, depth * pixel)
        if mix > 1.5:  # a skirting board is white, whatever the paint
            red = green = blue = 0.78 * tone
        else:
            red = tone * (m[1] * (1.0 - mix) + m[4] * mix)
            green = tone * (m[2] * (1.0 - mix) + m[5] * mix)
            blue = tone * (m[3] * (1.0 - mix) + m[6] * mix)
        if m[0] == 8.0:
            out[i, 0], out[i, 1], out[i, 2] = 2.2 * red, 2.2 * green, 2.2 * blue
            continue
        mx = alpha * normals[a, 0] + beta * normals[b, 0] + gamma * normals[c, 0]
        my = alpha * normals[a, 1] + beta * normals[b, 1] + gamma * normals[c, 1]
        mz = alpha * normals[a, 2] + beta * normals[b, 2] + gamma * normals[c, 2]
        size = math.sqrt(mx * mx + my * my + mz * mz) + 1e-12
        mx, my, mz = mx / size, my / size, mz / size
        lr = alpha * light[a, 0] + beta * light[b, 0] + gamma * light[c, 0]
        lg = alpha * light[a, 1] + beta * light[b, 1] + gamma * light[c, 1]
        lb = alpha * light[a, 2] + beta * light[b, 2] + gamma * light[c, 2]
        px, py, pz = origin[0] + depth * dx, origin[1] + depth * dy, origin[2] + depth * dz
        shine = 0.0
        sunny = alpha * light[a, 3] + beta * light[b, 3] + gamma * light[c, 3]
        if sunny > 0.0:
            facing = mx * sun[9] + my * sun[10] + mz * sun[11]
            if facing > 0.0:
                sunny *= facing * _sunlit(sun, px, py, pz)
                lr, lg, lb = lr + SUN_R * sunny, lg + SUN_G * sunny, lb + SUN_B * sunny
        if m[8] > 0.0:  # Blinn's highlight of the lamp, as strong as the lamp is seen from there
            hx, hy, hz = lamp[0] - px, lamp[1] - py, lamp[2] - pz
            far = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            ray = math.sqrt(dx * dx + dy * dy + dz * dz)
            hx, hy, hz = hx / far - dx / ray, hy / far - dy / ray, hz / far - dz / ray
            half = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            dot = (hx * mx + hy * my + hz * mz) / half
            if dot > 0.0:
                shine = 0.6 * m[8] * min(lr, 1.0) * dot ** (30.0 + 60.0 * m[8])
        out[i, 0], out[i, 1], out[i, 2] = red * lr + shine, green * lg + shine, blue * lb + shine


@njit(cache=True, nogil=True)
def develop(linear: Any, gain: float, table: Any, out: Any) -> None:
    """Linear light (N, 3) to sRGB bytes (N, 3) through a table over the square root of light times gain, 0..1."""
    top = len(table) - 1
    for i in range(len(linear)):
        for k in range(3):
            x = linear[i, k] * gain
            out[i, k] = table[int(math.sqrt(min(x, 1.0)) * top)] if x > 0.0 else table[0]
