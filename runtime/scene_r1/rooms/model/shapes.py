"""The objects of a room: each a function of its colour and a random generator, standing at the origin on z = 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scene_r1.rooms.model.material import COLORS, Material
from scene_r1.rooms.model.mesh import Mesh, ball, box, join, lathe, tube

Color = tuple[int, int, int]
Shape = Callable[[Color, np.random.Generator], Mesh]

CREAM: Color = (236, 230, 214)
STEEL: Color = (150, 152, 156)
EARTH: Color = (62, 44, 32)
FINE_M = 0.02
"""Cell size of small things: fine enough for light to round a mug."""


def mug(color: Color, rng: np.random.Generator) -> Mesh:
    """8..12 cm, with a handle."""
    h, r = rng.uniform(0.085, 0.115), rng.uniform(0.038, 0.046)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, _lighter(color), 0.03, gloss=0.5)
    wall = 0.004
    profile = [(0, 0), (r, 0), (r, h), (r - wall, h), (r - wall, 0.006), (0, 0.006)]
    t = np.linspace(-np.pi / 2, np.pi / 2, 12)
    path = np.stack([r - 0.003 + 0.026 * np.cos(t), 0 * t, h * 0.52 + 0.3 * h * np.sin(t)], axis=1)
    return join([lathe(profile, glaze, spacing_m=FINE_M), tube(path, 0.006, glaze)])


def bottle(color: Color, rng: np.random.Generator) -> Mesh:
    """24..32 cm, with a label and a cap."""
    h, r = rng.uniform(0.24, 0.32), rng.uniform(0.033, 0.042)
    glass, label = Material("plain", color, gloss=0.9), Material("stripes", CREAM, color, 0.05)
    t = np.linspace(0, np.pi / 2, 7)
    neck = 0.013
    shoulder = np.stack([neck + (r - neck) * np.cos(t), 0.62 * h + 0.16 * h * np.sin(t)], axis=1)
    body = lathe([(0, 0), (r, 0), (r, 0.18 * h)], glass, spacing_m=FINE_M)
    band = lathe([(r + 0.0005, 0.18 * h), (r + 0.0005, 0.52 * h)], label, spacing_m=FINE_M)
    top = lathe([(r, 0.52 * h), *shoulder, (neck, 0.92 * h)], glass, spacing_m=FINE_M)
    cap = lathe([(0.016, 0.92 * h), (0.016, h), (0, h)], Material("plain", CREAM, gloss=0.3), spacing_m=FINE_M)
    return join([body, band, top, cap])


def bowl(color: Color, rng: np.random.Generator) -> Mesh:
    """14..22 cm across, open."""
    r = rng.uniform(0.07, 0.11)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, _lighter(color), 0.024, gloss=0.6)
    t = np.linspace(-np.pi / 2 + 0.45, -0.05, 9)
    outside = np.stack([r * np.cos(t), 0.75 * r * (1 + np.sin(t))], axis=1)
    outside[:, 1] -= outside[0, 1] - 0.004
    inside = outside[::-1] - (0.005, -0.005)
    inside[0, 1] = outside[-1, 1]
    profile = [(0, 0), (outside[0, 0], 0), *outside, *inside, (0, inside[-1, 1])]
    return lathe(profile, glaze, segments=36, spacing_m=FINE_M)


def can(color: Color, rng: np.random.Generator) -> Mesh:
    """A tin, 10..14 cm."""
    h, r = rng.uniform(0.1, 0.14), rng.uniform(0.033, 0.048)
    label, tin = Material("stripes", color, CREAM, h * 0.6), Material("plain", STEEL, gloss=0.8)
    side = lathe([(r, 0.006), (r, h - 0.006)], label, spacing_m=FINE_M)
    ends = lathe([(0, 0), (r + 0.001, 0), (r + 0.001, 0.006), (r, 0.006)], tin, spacing_m=FINE_M)
    lid = lathe([(r, h - 0.006), (r + 0.001, h - 0.006), (r + 0.001, h), (r - 0.004, h), (r - 0.004, h - 0.004),
                 (0, h - 0.004)], tin, spacing_m=FINE_M)  # fmt: skip
    return join([side, ends, lid])


def book(color: Color, rng: np.random.Generator) -> Mesh:
    """Lying flat."""
    w, d, h = rng.uniform(0.2, 0.28), rng.uniform(0.14, 0.2), rng.uniform(0.03, 0.05)
    cover = Material("stripes", color, _lighter(color), 0.5, gloss=0.15)
    boards = [box((w, d, 0.004), (0, 0, z), cover, 0.03) for z in (0, h - 0.004)]
    spine = box((w, 0.004, h - 0.008), (0, -d / 2 + 0.002, 0.004), cover, 0.03)
    block = box((w - 0.008, d - 0.008, h - 0.008), (0, 0.0, 0.004), Material("pages", CREAM), 0.03)
    return join([*boards, spine, block])


def carton(color: Color, rng: np.random.Generator) -> Mesh:
    """A packet standing upright, 20..30 cm."""
    w, d, h = rng.uniform(0.12, 0.2), rng.uniform(0.06, 0.1), rng.uniform(0.2, 0.3)
    return box((w, d, h), (0, 0, 0), Material("dots", color, _lighter(color), 0.045, gloss=0.1), 0.03)


def laptop(color: Color, rng: np.random.Generator) -> Mesh:
    """Open, its screen leaning back."""
    shell, keys = Material("plain", color, gloss=0.3), Material("checks", (52, 52, 56), (28, 28, 30), 0.02)
    screen = Material("picture", (60, 120, 190), (30, 60, 40), region=(-0.15, 0.0, 0.15, 0.2))
    base = [box((0.33, 0.23, 0.016), (0, 0, 0), shell, 0.03), box((0.28, 0.11, 0.001), (0, 0.04, 0.016), keys, 0.03)]
    lid = join([box((0.33, 0.008, 0.22), (0, 0, 0), shell, 0.03), box((0.3, 0.001, 0.19), (0, -0.0045, 0.015), screen)])
    lean = rng.uniform(0.15, 0.35)
    c, s = np.cos(lean), np.sin(lean)
    r = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    vertices = lid.vertices @ r.T + (0, 0.111, 0.018)
    leant = Mesh(vertices, lid.normals @ r.T, lid.texture, lid.faces, lid.face_material, lid.materials)
    return join([*base, leant])


def desk_lamp(color: Color, rng: np.random.Generator) -> Mesh:
    """A conical shade on a stem, 36..46 cm."""
    h = rng.uniform(0.36, 0.46)
    shade = Material("plain", color, gloss=0.2)
    metal = Material("plain", STEEL, gloss=0.8)
    foot = lathe([(0, 0), (0.075, 0), (0.075, 0.012), (0.01, 0.022), (0.008, h - 0.06), (0, h - 0.06)], metal)
    low, high = (0.12, h - 0.16), (0.06, h)
    hood = lathe([low, high, (0.057, h), (0.117, h - 0.16), low], shade, segments=36, spacing_m=FINE_M)
    cap = lathe([(0, h - 0.065), (0.0575, h - 0.065), (0.0575, h - 0.06), (0, h - 0.06)], metal)
    return join([foot, hood, cap])


def cone(color: Color, rng: np.random.Generator) -> Mesh:
    """A road cone, 28..40 cm."""
    h = rng.uniform(0.28, 0.4)
    body = Material("stripes", color, CREAM, h * 0.45)
    plate = box((0.26, 0.26, 0.02), (0, 0, 0), Material("plain", color), 0.04)
    return join([plate, lathe([(0.1, 0.02), (0.022, h), (0, h)], body, spacing_m=FINE_M)])


def small_ball(color: Color, rng: np.random.Generator) -> Mesh:
    """A ball to hold in a hand, 8..12 cm."""
    r = rng.uniform(0.04, 0.06)
    return ball((r, r, r), (0, 0, 0), Material("stripes", color, _lighter(color), r * 0.9, gloss=0.4))


def big_ball(color: Color, rng: np.random.Generator) -> Mesh:
    """A ball to kick or to sit on, 24..44 cm."""
    r = rng.uniform(0.12, 0.22)
    return ball((r, r, r), (0, 0, 0), Material("stripes", color, _lighter(color), r * 0.8, gloss=0.3), segments=36)


def ring(color: Color, rng: np.random.Generator) -> Mesh:
    """A torus lying flat, 16..24 cm across."""
    small = rng.uniform(0.018, 0.026)
    big = rng.uniform(0.08, 0.12) - small
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    path = np.stack([big * np.cos(t), 0 * t, big * np.sin(t)], axis=1)
    lying = tube(path, small, Material("plain", color, gloss=0.3), closed=True, segments=16).turned(0)
    return lying.moved((0, 0, -float(lying.vertices[:, 2].min())))


def vase(color: Color, rng: np.random.Generator) -> Mesh:
    """24..34 cm, bellied."""
    h = rng.uniform(0.24, 0.34)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, _lighter(color), h * 0.25, gloss=0.7)
    z = np.linspace(0, 1, 14)
    r = 0.045 + 0.04 * np.sin(np.pi * (z**0.8)) - 0.012 * z
    outside = np.stack([r, z * h], axis=1)
    inside = outside[:5:-1] - (0.005, 0.0)
    return lathe([(0, 0), *outside, *inside, (0, inside[-1, 1])], glaze, segments=32, spacing_m=FINE_M)


def plant(color: Color, rng: np.random.Generator) -> Mesh:
    """Foliage in a coloured pot, 45..75 cm."""
    ph, r, h = rng.uniform(0.2, 0.28), rng.uniform(0.11, 0.14), rng.uniform(0.5, 0.75)
    pot = Material("plain", color, gloss=0.3)
    rim = 0.86 * ph
    sides = [(0, 0), (0.72 * r, 0), (0.95 * r, rim), (r, rim), (r, ph), (0.88 * r, ph), (0.86 * r, 0.8 * ph)]
    soil = lathe([(0.86 * r, 0.8 * ph), (0, 0.82 * ph)], Material("plain", EARTH))
    leaf = Material("leaves", (46, 96, 40), (104, 150, 62), 0.03, gloss=0.1)
    parts = [lathe([*sides], pot, spacing_m=0.03), soil, lathe([(0.012, 0.8 * ph), (0.012, 0.75 * h), (0, 0.75 * h)],
             Material("plain", EARTH))]  # fmt: skip
    for i in range(9):
        turn, up = 2.4 * i + rng.uniform(-0.3, 0.3), ph + (h - ph - 0.14) * (i / 8)
        out = rng.uniform(0.05, 0.1) * (1.2 - 0.7 * i / 8)
        size = rng.uniform(0.055, 0.085)
        at = (out * np.cos(turn), out * np.sin(turn), up)
        parts.append(ball((size, size, size * 0.8), at, leaf, segments=16))
    return join(parts)


def crate(color: Color, rng: np.random.Generator) -> Mesh:
    """An open crate of slats, 32..44 cm long."""
    w, d, h = rng.uniform(0.36, 0.44), rng.uniform(0.28, 0.34), rng.uniform(0.24, 0.32)
    wood = Material("wood", color, _darker(color))
    parts = [box((w, d, 0.015), (0, 0, 0), wood)]
    slat = (h - 0.015) / 3
    for i in range(3):
        z, tall = 0.015 + i * slat, slat - (0.018 if i < 2 else 0.0)
        parts += [box((w, 0.014, tall), (0, s * (d / 2 - 0.007), z), wood) for s in (-1, 1)]
        parts += [box((0.014, d - 0.028, tall), (s * (w / 2 - 0.007), 0, z), wood) for s in (-1, 1)]
    posts = [(sx * (w / 2 - 0.026), sy * (d / 2 - 0.026), 0.015) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [box((0.024, 0.024, h - 0.015), p, wood) for p in posts]
    return join(parts)


def stool(color: Color, rng: np.random.Generator) -> Mesh:
    """A round seat on four legs, 42..50 cm."""
    h, r = rng.uniform(0.42, 0.5), rng.uniform(0.16, 0.19)
    seat, wood = Material("plain", color, gloss=0.2), Material("wood", (176, 128, 80), (140, 94, 54))
    profile = [(0, h - 0.05), (r, h - 0.05), (r, h - 0.01), (r - 0.01, h), (0, h)]
    a = r * 0.66
    legs = [box((0.03, 0.03, h - 0.05), (x, y, 0), wood) for x in (-a, a) for y in (-a, a)]
    rails = [box((2 * a - 0.03, 0.02, 0.02), (0, y, 0.15), wood) for y in (-a, a)]
    return join([lathe(profile, seat, segments=36), *legs, *rails])


def chair(color: Color, rng: np.random.Generator) -> Mesh:
    """A chair with a slatted back, 80..92 cm high."""
    h, w, d, sh = rng.uniform(0.8, 0.92), 0.42, 0.42, 0.45
    paint = Material("wood", color, _darker(color), gloss=0.2)
    x, y = w / 2 - 0.02, d / 2 - 0.02
    legs = [box((0.036, 0.036, sh - 0.03), (s * x, -y, 0), paint) for s in (-1, 1)]
    legs += [box((0.036, 0.036, h), (s * x, y, 0), paint) for s in (-1, 1)]
    seat = box((w, d - 0.036, 0.03), (0, -0.018, sh - 0.03), paint)
    slats = [box((w - 0.076, 0.018, 0.07), (0, y, z), paint) for z in (h - 0.08, h - 0.2, h - 0.32)]
    return join([*legs, seat, *slats])


SMALL: dict[str, Shape] = {
    # what stands on tables and boards
    "mug": mug,
    "bottle": bottle,
    "bowl": bowl,
    "can": can,
    "book": book,
    "carton": carton,
    "laptop": laptop,
    "lamp": desk_lamp,
    "ball": small_ball,
    "ring": ring,
    "vase": vase,
}
LARGE: dict[str, Shape] = {
    # what stands on the floor
    "chair": chair,
    "stool": stool,
    "crate": crate,
    "plant": plant,
    "beach ball": big_ball,
    "cone": cone,
}


def srgb(color: str) -> Color:
    """The sRGB of a colour's name."""
    return COLORS[color]


def _lighter(color: Color) -> Color:
    return (color[0] + (255 - color[0]) // 2, color[1] + (255 - color[1]) // 2, color[2] + (255 - color[2]) // 2)


def _darker(color: Color) -> Color:
    return (color[0] * 7 // 10, color[1] * 7 // 10, color[2] * 7 // 10)
