"""The kernels that turn ray hits into depth, instance ids and light."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from scene_r1.rooms.render.pattern import GLOW, SKIRTING, SKY, pattern


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
    texture: Any, light: Any, material: Any, materials: Any, sun: Any, lamps: Any, sunny: Any,
    out: Any,
) -> None:  # fmt: skip
    """Linear light (N, 3) float32 that comes back along each ray.

    pixel: angle a pixel covers, radians. sunny: (N,) float32, the share of the sun that falls on what each ray meets.
    """
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
        mix, tone = pattern(m, tx, ty, tz, depth * pixel)
        if mix == SKIRTING:
            red = green = blue = 0.78 * tone
        else:
            red = tone * (m[1] * (1.0 - mix) + m[4] * mix)
            green = tone * (m[2] * (1.0 - mix) + m[5] * mix)
            blue = tone * (m[3] * (1.0 - mix) + m[6] * mix)
        if m[0] == SKY or m[0] == GLOW:
            out[i, 0], out[i, 1], out[i, 2] = m[8] * red, m[8] * green, m[8] * blue
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
        soft = (lr + lg + lb) / 3.0
        if sunny[i] > 0.0:
            lr, lg, lb = lr + sun[14] * sunny[i], lg + sun[15] * sunny[i], lb + sun[16] * sunny[i]
        out[i, 0], out[i, 1], out[i, 2] = red * lr, green * lg, blue * lb
        if m[8] > 0.0:
            ray = math.sqrt(dx * dx + dy * dy + dz * dz)
            ex, ey, ez = dx / ray, dy / ray, dz / ray
            shine = 0.6 * m[8] * soft * _highlights(lamps, px, py, pz, ex, ey, ez, mx, my, mz, 30.0 + 60.0 * m[8])
            pane = 0.5 * m[8] * _pane(sun, px, py, pz, ex, ey, ez, mx, my, mz, 0.03 + 0.25 * (1.0 - m[8]))
            out[i, 0] += shine + pane * sun[17]
            out[i, 1] += shine + pane * sun[18]
            out[i, 2] += shine + pane * sun[19]


@njit(cache=True, nogil=True, inline="always")
def _highlights(
    lamps: Any, px: float, py: float, pz: float, ex: float, ey: float, ez: float, nx: float, ny: float, nz: float,
    sharp: float,
) -> float:  # fmt: skip
    """Blinn's highlights of all lamps at p, seen along the unit ray e, on a surface with normal n."""
    total = 0.0
    for k in range(len(lamps)):
        hx, hy, hz = lamps[k, 0] - px, lamps[k, 1] - py, lamps[k, 2] - pz
        far = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        if hx * nx + hy * ny + hz * nz <= 0.0:
            continue
        hx, hy, hz = hx / far - ex, hy / far - ey, hz / far - ez
        half = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        dot = (hx * nx + hy * ny + hz * nz) / half
        if dot > 0.0:
            total += dot**sharp
    return total


@njit(cache=True, nogil=True, inline="always")
def _pane(
    sun: Any, px: float, py: float, pz: float, ex: float, ey: float, ez: float, nx: float, ny: float, nz: float,
    rough: float,
) -> float:  # fmt: skip
    """How much of the window a surface at p mirrors towards the unit ray e (Schlick's Fresnel term); n its normal."""
    cos = -(ex * nx + ey * ny + ez * nz)
    if cos <= 0.0:
        return 0.0
    rx, ry, rz = ex + 2.0 * cos * nx, ey + 2.0 * cos * ny, ez + 2.0 * cos * nz
    facing = -(rx * sun[6] + ry * sun[7] + rz * sun[8])
    if facing <= 1e-6:
        return 0.0
    reach = ((px - sun[0]) * sun[6] + (py - sun[1]) * sun[7] + (pz - sun[2]) * sun[8]) / facing
    qx, qy, qz = px + reach * rx - sun[0], py + reach * ry - sun[1], pz + reach * rz - sun[2]
    soft = rough * reach + 0.01
    u = (sun[12] - abs(qx * sun[3] + qy * sun[4])) / soft + 0.5
    v = (sun[13] - abs(qz)) / soft + 0.5
    seen = min(max(u, 0.0), 1.0) * min(max(v, 0.0), 1.0)
    return float(seen * (0.05 + 0.95 * (1.0 - cos) ** 5))


@njit(cache=True, nogil=True)
def sun_on(points: Any, normals: Any, sun: Any, out: Any) -> None:
    """Share of the sun (0..1) that the window lets through to points (N, 3) with normals (N, 3), its angle included.

    What stands in the room does not count. Writes out (N,) float32.
    """
    for i in range(len(points)):
        out[i] = 0.0
        facing = normals[i, 0] * sun[9] + normals[i, 1] * sun[10] + normals[i, 2] * sun[11]
        if facing > 0.0:
            out[i] = facing * _sunlit(sun, points[i, 0], points[i, 1], points[i, 2])


@njit(cache=True, nogil=True)
def surface(
    hits: Any, rays: Any, rotation: Any, origin: Any, vertices: Any, faces: Any, normals: Any, points: Any, across: Any
) -> None:
    """The point each ray meets, and the smooth normal there. Writes points and across (N, 3) float64; 0 for no hit."""
    for i in range(len(hits)):
        face = hits[i]
        for k in range(3):
            points[i, k] = across[i, k] = 0.0
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
        ox, oy, oz = vertices[a, 0] - origin[0], vertices[a, 1] - origin[1], vertices[a, 2] - origin[2]
        depth = (nx * ox + ny * oy + nz * oz) / along
        points[i, 0], points[i, 1] = origin[0] + depth * dx, origin[1] + depth * dy
        points[i, 2] = origin[2] + depth * dz
        size = 0.0
        for k in range(3):  # the mean of the corners: near enough to ask whether the sun shines on it
            across[i, k] = normals[a, k] + normals[b, k] + normals[c, k]
            size += across[i, k] ** 2
        size = math.sqrt(size) + 1e-12
        for k in range(3):
            across[i, k] /= size


@njit(cache=True, nogil=True)
def develop(linear: Any, gain: float, table: Any, out: Any) -> None:
    """Linear light (N, 3) to sRGB bytes (N, 3) through a table over the square root of light times gain, 0..1."""
    top = len(table) - 1
    for i in range(len(linear)):
        for k in range(3):
            x = linear[i, k] * gain
            out[i, k] = table[int(math.sqrt(min(x, 1.0)) * top)] if x > 0.0 else table[0]
