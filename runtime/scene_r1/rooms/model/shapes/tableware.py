"""What is eaten, drunk and served from, and a hat that lies about."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import lathe, tube
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.shapes.tones import COAL, CREAM, FINE_M, Color, lighter, metal, patterned


def mug(color: Color, rng: np.random.Generator) -> Mesh:
    """8..12 cm, with a handle."""
    h, r = rng.uniform(0.085, 0.115), rng.uniform(0.038, 0.046)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, lighter(color), 0.03, gloss=0.5)
    wall = 0.004
    profile = [(0, 0), (r, 0), (r, h), (r - wall, h), (r - wall, 0.006), (0, 0.006)]
    t = np.linspace(-np.pi / 2, np.pi / 2, 12)
    path = np.stack([r - 0.003 + 0.026 * np.cos(t), 0 * t, h * 0.52 + 0.3 * h * np.sin(t)], axis=1)
    return join([lathe(profile, glaze, spacing_m=FINE_M), tube(path, 0.006, glaze)])


def bottle(color: Color, rng: np.random.Generator) -> Mesh:
    """24..32 cm, with a label and a cap."""
    h, r = rng.uniform(0.24, 0.32), rng.uniform(0.033, 0.042)
    glass, label = Material("plain", color, gloss=0.9), Material("stripes", CREAM, color, 0.03)
    t = np.linspace(0, np.pi / 2, 7)
    neck = 0.013
    shoulder = np.stack([neck + (r - neck) * np.cos(t), 0.62 * h + 0.16 * h * np.sin(t)], axis=1)
    body = lathe([(0, 0), (r, 0), (r, 0.22 * h)], glass, spacing_m=FINE_M)
    band = lathe([(r + 0.0005, 0.22 * h), (r + 0.0005, 0.42 * h)], label, spacing_m=FINE_M)
    top = lathe([(r, 0.42 * h), *shoulder, (neck, 0.92 * h)], glass, spacing_m=FINE_M)
    cap = lathe([(0.016, 0.92 * h), (0.016, h), (0, h)], Material("plain", CREAM, gloss=0.3), spacing_m=FINE_M)
    return join([body, band, top, cap])


def bowl(color: Color, rng: np.random.Generator) -> Mesh:
    """14..22 cm across, open."""
    r = rng.uniform(0.07, 0.11)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, lighter(color), 0.024, gloss=0.6)
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
    label, tin = Material("stripes", color, CREAM, h * 0.6), metal()
    side = lathe([(r, 0.006), (r, h - 0.006)], label, spacing_m=FINE_M)
    ends = lathe([(0, 0), (r + 0.001, 0), (r + 0.001, 0.006), (r, 0.006)], tin, spacing_m=FINE_M)
    lid = lathe([(r, h - 0.006), (r + 0.001, h - 0.006), (r + 0.001, h), (r - 0.004, h), (r - 0.004, h - 0.004),
                 (0, h - 0.004)], tin, spacing_m=FINE_M)  # fmt: skip
    return join([side, ends, lid])


def vase(color: Color, rng: np.random.Generator) -> Mesh:
    """24..34 cm, bellied."""
    h = rng.uniform(0.24, 0.34)
    glaze = Material(str(rng.choice(["plain", "stripes"])), color, lighter(color), h * 0.25, gloss=0.7)
    z = np.linspace(0, 1, 14)
    r = 0.045 + 0.04 * np.sin(np.pi * (z**0.8)) - 0.012 * z
    outside = np.stack([r, z * h], axis=1)
    inside = outside[:5:-1] - (0.005, 0.0)
    return lathe([(0, 0), *outside, *inside, (0, inside[-1, 1])], glaze, segments=32, spacing_m=FINE_M)


def teapot(color: Color, rng: np.random.Generator) -> Mesh:
    """Bellied, with a spout, a handle and a lid, 14..18 cm."""
    r, h = rng.uniform(0.07, 0.085), rng.uniform(0.12, 0.14)
    glaze = patterned(color, rng, ("plain", "plain", "dots"), 0.04, 0.7)
    t = np.linspace(-np.pi / 2 + 0.5, np.pi / 2 - 0.45, 12)
    belly = np.stack([r * np.cos(t), 0.5 * h + 0.5 * h * np.sin(t)], axis=1)
    belly[:, 1] -= belly[0, 1]
    top = belly[-1]
    lid = [(top[0] + 0.004, top[1]), (top[0] + 0.002, top[1] + 0.008), (0.02, top[1] + 0.018), (0.008, top[1] + 0.022)]
    knob = [(0.014, top[1] + 0.032), (0.01, top[1] + 0.04), (0, top[1] + 0.042)]
    s = np.linspace(0.0, 1.0, 9)
    spout = np.stack([0.8 * r + 0.085 * s, 0 * s, 0.3 * h + 0.55 * h * s**1.8], axis=1)
    t = np.linspace(np.pi / 2, 3 * np.pi / 2, 12)
    grip = np.stack([-0.82 * r + 0.05 * np.cos(t), 0 * t, 0.5 * h + 0.3 * h * np.sin(t)], axis=1)
    return join([lathe([(0, 0), *belly], glaze, 36, FINE_M), lathe([*lid, *knob], glaze, 24, FINE_M),
                 tube(spout, 0.018 - 0.009 * s, glaze), tube(grip, 0.007, glaze)])  # fmt: skip


def cooking_pot(color: Color, rng: np.random.Generator) -> Mesh:
    """Enamel, with two handles and a lid, 22..28 cm over its handles."""
    r, h = rng.uniform(0.09, 0.11), rng.uniform(0.11, 0.14)
    enamel = Material("plain", color, gloss=0.7)
    pot = lathe([(0, 0), (r - 0.01, 0), (r, 0.01), (r, h)], enamel, 36, FINE_M)
    rim = lathe([(r, h), (r + 0.004, h), (r + 0.004, h + 0.006), (r - 0.002, h + 0.006)], metal(), 36)
    lid = lathe([(r, h + 0.006), (0.7 * r, h + 0.02), (0.3 * r, h + 0.028), (0, h + 0.03)], enamel, 36, FINE_M)
    knob = lathe([(0.008, h + 0.026), (0.008, h + 0.036), (0.018, h + 0.042), (0.016, h + 0.052), (0, h + 0.054)],
                 Material("plain", COAL, gloss=0.4), 20)  # fmt: skip
    t = np.linspace(-np.pi / 2, np.pi / 2, 10)
    ear = np.stack([r - 0.004 + 0.03 * np.cos(t), 0 * t, 0.035 * np.sin(t)], axis=1)
    ears = [tube(ear, 0.006, enamel).tilted(0, np.pi / 2).moved((0, 0, 0.75 * h), yaw) for yaw in (0.0, np.pi)]
    return join([pot, rim, lid, knob, *ears])


def candle(color: Color, rng: np.random.Generator) -> Mesh:
    """A thick candle on a dark plate, 14..22 cm."""
    h, r = rng.uniform(0.13, 0.2), rng.uniform(0.035, 0.045)
    plate = lathe([(0, 0), (r + 0.015, 0), (r + 0.022, 0.008), (r + 0.016, 0.01), (0, 0.01)], metal(0.4), 32, FINE_M)
    wax = [(0, 0.01), (r, 0.01), (r, h), (r - 0.008, h + 0.004), (0.5 * r, h - 0.004), (0, h - 0.005)]
    wick = lathe([(0.0015, h - 0.005), (0.0015, h + 0.012), (0, h + 0.012)], Material("plain", COAL), 6)
    return join([plate, lathe(wax, Material("plain", color, scale_m=0.03, gloss=0.3), 32, FINE_M), wick])


def hat(color: Color, rng: np.random.Generator) -> Mesh:
    """With a broad brim and a dark band, 30..36 cm across."""
    r, h = rng.uniform(0.085, 0.1), rng.uniform(0.1, 0.13)
    felt, band = Material("weave", color, scale_m=0.006), Material("plain", COAL)
    brim = rng.uniform(0.15, 0.18)
    under = [(0, 0.003), (r, 0.003), (brim - 0.02, 0.0), (brim, 0.012), (brim - 0.004, 0.017), (brim - 0.02, 0.006)]
    crown = [(r, 0.04), (0.95 * r, 0.7 * h), (0.82 * r, h), (0.5 * r, h - 0.008), (0, h - 0.014)]
    return join([lathe([*under, (r + 0.002, 0.009)], felt, 40, FINE_M),
                 lathe([(r + 0.002, 0.009), (r + 0.001, 0.04)], band, 40, FINE_M),
                 lathe(crown, felt, 40, FINE_M)])  # fmt: skip
