"""What stands on the floor."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import ball, box, lathe, pillow, rounded, tube
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.shapes.tones import COAL, EARTH, Color, darker, lighter, metal


def plant(color: Color, rng: np.random.Generator) -> Mesh:
    """A small bush in a large coloured pot, 38..50 cm."""
    ph, r = rng.uniform(0.24, 0.3), rng.uniform(0.13, 0.16)
    pot = Material("plain", color, gloss=0.3)
    rim = 0.84 * ph
    sides = [(0, 0), (0.76 * r, 0), (0.95 * r, rim), (r, rim), (r, ph), (0.88 * r, ph), (0.86 * r, 0.86 * ph)]
    soil = lathe([(0.86 * r, 0.86 * ph), (0, 0.88 * ph)], Material("plain", EARTH))
    leaf = Material("leaves", (46, 96, 40), (104, 150, 62), 0.03, gloss=0.1)
    parts = [lathe(sides, pot, spacing_m=0.03), soil]
    for i in range(6):
        turn, out = 2.4 * i + rng.uniform(-0.3, 0.3), 0.045 * (i > 0)
        size = rng.uniform(0.034, 0.05)
        at = (out * np.cos(turn), out * np.sin(turn), 0.88 * ph + rng.uniform(0.0, 0.1) + 0.05 * (i == 0))
        parts.append(ball((size, size, 0.9 * size), at, leaf, segments=16))
    parts.append(lathe([(0.01, 0.86 * ph), (0.008, ph + 0.05), (0, ph + 0.05)], Material("plain", EARTH)))
    return join(parts)


def crate(color: Color, rng: np.random.Generator) -> Mesh:
    """An open crate of slats, 32..44 cm long."""
    w, d, h = rng.uniform(0.36, 0.44), rng.uniform(0.28, 0.34), rng.uniform(0.24, 0.32)
    wood = Material("wood", color, darker(color))
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
    seat, wood = Material("plain", color, gloss=0.2), Material("wood", color, darker(color), gloss=0.1)
    profile = [(0, h - 0.05), (r, h - 0.05), (r, h - 0.01), (r - 0.01, h), (0, h)]
    a = r * 0.66
    legs = [box((0.03, 0.03, h - 0.05), (x, y, 0), wood) for x in (-a, a) for y in (-a, a)]
    rails = [box((2 * a - 0.03, 0.02, 0.02), (0, y, 0.15), wood) for y in (-a, a)]
    return join([lathe(profile, seat, segments=36), *legs, *rails])


def chair(color: Color, rng: np.random.Generator) -> Mesh:
    """A chair with a slatted back, 80..92 cm high."""
    h, w, d, sh = rng.uniform(0.8, 0.92), 0.42, 0.42, 0.45
    paint = Material("wood", color, darker(color), gloss=0.2)
    x, y = w / 2 - 0.02, d / 2 - 0.02
    legs = [box((0.036, 0.036, sh - 0.03), (s * x, -y, 0), paint) for s in (-1, 1)]
    legs += [box((0.036, 0.036, h), (s * x, y, 0), paint) for s in (-1, 1)]
    seat = box((w, d - 0.036, 0.03), (0, -0.018, sh - 0.03), paint)
    slats = [box((w - 0.076, 0.018, 0.07), (0, y, z), paint) for z in (h - 0.08, h - 0.2, h - 0.32)]
    return join([*legs, seat, *slats])


def basket(color: Color, rng: np.random.Generator) -> Mesh:
    """Woven, with a hoop to carry it, 34..46 cm high."""
    r, h = rng.uniform(0.15, 0.19), rng.uniform(0.17, 0.22)
    wicker = Material("weave", color, scale_m=0.03, gloss=0.1)
    sides = [(0, 0), (0.78 * r, 0), (r, h), (0.96 * r, h), (0.75 * r, 0.012), (0, 0.012)]
    rim = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    edge = tube(
        np.stack([0.98 * r * np.cos(rim), 0 * rim, 0.98 * r * np.sin(rim)], 1), 0.011, wicker, closed=True, segments=8
    )
    t = np.linspace(0, np.pi, 24)
    hoop = np.stack([0.97 * r * np.cos(t), 0 * t, h + 1.05 * r * np.sin(t)], axis=1)
    return join(
        [lathe(sides, wicker, 36, 0.03), edge.turned(0).moved((0, 0, h)), tube(hoop, 0.011, wicker, segments=8)]
    )


def bucket(color: Color, rng: np.random.Generator) -> Mesh:
    """With a wire handle, 26..32 cm."""
    r, h = rng.uniform(0.13, 0.155), rng.uniform(0.24, 0.29)
    plastic = Material("plain", color, gloss=0.4)
    sides = [
        (0, 0),
        (0.72 * r, 0),
        (0.97 * r, h - 0.03),
        (r, h - 0.03),
        (r, h),
        (0.94 * r, h),
        (0.68 * r, 0.012),
        (0, 0.012),
    ]
    t = np.linspace(0, np.pi, 22)
    wire = np.stack([r * np.cos(t), 0 * t, 0.95 * r * np.sin(t)], axis=1)
    lying = tube(wire, 0.004, metal(), segments=6).tilted(0, rng.uniform(0.95, 1.2)).moved((0, 0, h - 0.012))
    return join([lathe(sides, plastic, 36, 0.03), lying])


def backpack(color: Color, rng: np.random.Generator) -> Mesh:
    """With a front pocket, straps and a loop, 40..48 cm."""
    n = rng.uniform(0.9, 1.1)
    cloth, trim = Material("weave", color, scale_m=0.005), Material("plain", darker(color))
    zip_ = Material("plain", COAL)
    parts = [rounded((0.3, 0.17, 0.42), (0, 0, 0), cloth, 0.075, 0.05, 4),
             rounded((0.24, 0.07, 0.2), (0, -0.095, 0.03), cloth, 0.034, 0.05, 3),
             box((0.2, 0.004, 0.006), (0, -0.1305, 0.185), zip_),
             box((0.26, 0.01, 0.008), (0, -0.082, 0.3), zip_)]  # fmt: skip
    t = np.linspace(-np.pi / 2, np.pi / 2, 14)
    strap = np.stack([0.045 * np.cos(t), 0 * t, 0.15 * np.sin(t)], axis=1)
    parts += [
        tube(strap, 0.014, trim, segments=8).moved((0, 0, 0), np.pi / 2).moved((x, 0.08, 0.21)) for x in (-0.08, 0.08)
    ]
    t = np.linspace(0, np.pi, 10)
    parts.append(tube(np.stack([0.03 * np.cos(t), 0 * t, 0.41 + 0.035 * np.sin(t)], axis=1), 0.008, trim, segments=8))
    return join(parts).scaled(n)


def suitcase(color: Color, rng: np.random.Generator) -> Mesh:
    """Upright on wheels, its grip pulled out, 60..75 cm."""
    n = rng.uniform(0.85, 1.05)
    shell, ridge = Material("plain", color, gloss=0.4), Material("plain", darker(color), gloss=0.4)
    parts = [rounded((0.38, 0.22, 0.52), (0, 0, 0.04), shell, 0.05, 0.05, 3)]
    parts += [rounded((0.014, 0.232, 0.44), (x, 0, 0.08), ridge, 0.006, 0.06, 1) for x in (-0.12, -0.04, 0.04, 0.12)]
    poles = [lathe([(0.007, 0.55), (0.007, 0.69)], metal(), 8, 0.08).moved((x, 0.07, 0)) for x in (-0.09, 0.09)]
    grip = rounded((0.21, 0.028, 0.028), (0, 0.07, 0.685), Material("plain", COAL), 0.012, 0.08)
    wheel = lathe([(0, 0), (0.022, 0), (0.022, 0.024), (0, 0.024)], Material("plain", COAL), 16).turned(0)
    wheels = [wheel.moved((x, y, 0.022)) for x in (-0.14, 0.14) for y in (-0.05, 0.074)]
    return join([*parts, *poles, grip, *wheels]).scaled(n)


def watering_can(color: Color, rng: np.random.Generator) -> Mesh:
    """With a long spout and a rose, 40..50 cm over all."""
    n = rng.uniform(0.9, 1.15)
    tin = Material("plain", color, gloss=0.4)
    body = lathe([(0, 0), (0.095, 0), (0.1, 0.01), (0.09, 0.2), (0.05, 0.215), (0.045, 0.205), (0, 0.2)], tin, 32, 0.03)
    s = np.linspace(0.0, 1.0, 8)
    spout = np.stack([0.085 + 0.19 * s, 0 * s, 0.05 + 0.2 * s], axis=1)
    rose = lathe([(0.012, -0.02), (0.034, 0.02), (0, 0.026)], tin, 20).tilted(1, 0.76).moved((0.278, 0, 0.254))
    t = np.linspace(-0.5 * np.pi, 0.62 * np.pi, 20)
    grip = np.stack([-0.07 - 0.075 * np.cos(t), 0 * t, 0.15 + 0.105 * np.sin(t)], axis=1)
    return join([body, tube(spout, 0.02 - 0.008 * s, tin), rose, tube(grip, 0.01, tin)]).scaled(n)


def cushion(color: Color, rng: np.random.Generator) -> Mesh:
    """A square sofa cushion lying flat, 36..46 cm."""
    w = rng.uniform(0.36, 0.46)
    cloth = Material(str(rng.choice(["weave", "plaid"])), color, lighter(color), 0.07)
    cloth = Material("weave", color, scale_m=0.006) if cloth.pattern == "weave" else cloth
    return pillow((w, w, rng.uniform(0.13, 0.17)), (0, 0, 0), cloth, 14)
