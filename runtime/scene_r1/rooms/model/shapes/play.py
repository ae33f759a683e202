"""Toys."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import ball, box, lathe, rounded, tube
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.shapes.tones import COAL, CREAM, FINE_M, Color, darker, lighter, metal


def small_ball(color: Color, rng: np.random.Generator) -> Mesh:
    """A ball to hold in a hand, 8..12 cm."""
    r = rng.uniform(0.04, 0.06)
    return ball((r, r, r), (0, 0, 0), Material("stripes", color, lighter(color), r * 0.9, gloss=0.4))


def big_ball(color: Color, rng: np.random.Generator) -> Mesh:
    """A ball to kick or to sit on, 24..44 cm."""
    r = rng.uniform(0.12, 0.22)
    return ball((r, r, r), (0, 0, 0), Material("stripes", color, lighter(color), r * 0.8, gloss=0.3), segments=36)


def ring(color: Color, rng: np.random.Generator) -> Mesh:
    """A torus lying flat, 16..24 cm across."""
    small = rng.uniform(0.018, 0.026)
    big = rng.uniform(0.08, 0.12) - small
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    path = np.stack([big * np.cos(t), 0 * t, big * np.sin(t)], axis=1)
    lying = tube(path, small, Material("plain", color, gloss=0.3), closed=True, segments=16).turned(0)
    return lying.moved((0, 0, -float(lying.vertices[:, 2].min())))


def cone(color: Color, rng: np.random.Generator) -> Mesh:
    """A road cone, 28..40 cm."""
    h = rng.uniform(0.28, 0.4)
    body = Material("stripes", color, CREAM, h * 0.45)
    plate = box((0.26, 0.26, 0.02), (0, 0, 0), Material("plain", color), 0.04)
    return join([plate, lathe([(0.1, 0.02), (0.022, h), (0, h)], body, spacing_m=FINE_M)])


def toy_car(color: Color, rng: np.random.Generator) -> Mesh:
    """With dark windows and four wheels, 20..28 cm long."""
    n = rng.uniform(0.9, 1.2)
    paint, glass = Material("plain", color, gloss=0.6), Material("plain", (58, 66, 76), gloss=0.8)
    rubber = Material("plain", COAL)
    parts = [rounded((0.22, 0.1, 0.042), (0, 0, 0.02), paint, 0.014, 0.03),
             rounded((0.12, 0.088, 0.032), (-0.012, 0, 0.058), glass, 0.012, 0.03),
             rounded((0.1, 0.086, 0.016), (-0.014, 0, 0.082), paint, 0.007, 0.03)]  # fmt: skip
    wheel = lathe([(0, 0), (0.022, 0), (0.024, 0.003), (0.024, 0.015), (0.022, 0.018), (0.012, 0.018)], rubber, 20)
    hub = lathe([(0.012, 0.018), (0, 0.0185)], metal(), 20)
    wheel = join([wheel, hub]).turned(0)
    for x in (-0.066, 0.066):
        parts += [wheel.moved((x, -0.036, 0.024)), wheel.moved((x, 0.036, 0.024), np.pi)]
    lights = [
        ball((0.008, 0.008, 0.008), (0.106, s * 0.032, 0.034), Material("plain", CREAM, gloss=0.8), 10) for s in (-1, 1)
    ]
    return join([*parts, *lights]).scaled(n)


def teddy_bear(color: Color, rng: np.random.Generator) -> Mesh:
    """Sitting, 26..34 cm."""
    n = rng.uniform(0.9, 1.15)
    fur, snout = Material("weave", color, scale_m=0.004), Material("weave", lighter(color), scale_m=0.004)
    ink = Material("plain", COAL, gloss=0.7)
    parts = [ball((0.085, 0.072, 0.095), (0, 0, 0), fur), ball((0.07, 0.062, 0.06), (0, -0.008, 0.165), fur)]
    parts += [ball((0.024, 0.014, 0.024), (s * 0.054, 0, 0.252), fur, 16) for s in (-1, 1)]
    parts.append(ball((0.03, 0.026, 0.024), (0, -0.062, 0.185), snout, 18))
    parts.append(ball((0.009, 0.007, 0.007), (0, -0.09, 0.208), ink, 10))
    parts += [ball((0.008, 0.006, 0.009), (s * 0.026, -0.066, 0.232), ink, 10) for s in (-1, 1)]
    for s in (-1, 1):
        arm = ball((0.028, 0.028, 0.06), (0, 0, -0.12), fur, 18).tilted(0, -0.7).tilted(1, -s * 0.5)
        parts.append(arm.moved((s * 0.078, -0.015, 0.155)))
        leg = ball((0.036, 0.036, 0.07), (0, 0, -0.14), fur, 18).tilted(0, -1.45)
        parts += [
            leg.moved((s * 0.062, 0.0, 0.038)),
            ball((0.026, 0.008, 0.026), (s * 0.062, -0.139, 0.018), snout, 14),
        ]
    return join(parts).on_floor().scaled(n)


def toy_rocket(color: Color, rng: np.random.Generator) -> Mesh:
    """Upright on three fins, 30..40 cm."""
    n = rng.uniform(0.9, 1.2)
    paint, dark = Material("plain", color, gloss=0.5), Material("plain", darker(color), gloss=0.5)
    z = np.linspace(0, 1, 14)
    r = (
        0.034
        + 0.026 * np.sin(np.pi * np.minimum(0.15 + 0.75 * z, 0.5 + 0.4 * z))
        - 0.06 * np.maximum(z - 0.62, 0) ** 1.2 * 2.6
    )
    hull = np.stack([np.maximum(r, 0.0), 0.05 + 0.28 * z], axis=1)
    hull[-1, 0] = 0.0
    nozzle = lathe([(0, 0.036), (0.032, 0.03), (0.03, 0.052)], metal(), 24)
    fin = np.array([[0.03, 0.0, 0.13], [0.09, 0.0, 0.045], [0.1, 0.0, 0.0]])
    fins = [
        tube(fin, (0.012, 0.012, 0.009), dark, segments=8).moved(yaw=k * 2 * np.pi / 3 - np.pi / 2) for k in range(3)
    ]
    port = join([lathe([(0.022, -0.01), (0.022, 0.006), (0.015, 0.006)], metal(), 20),
                 lathe([(0.015, 0.005), (0, 0.005)], Material("plain", CREAM, gloss=0.8), 20)]).turned(0)  # fmt: skip
    return (
        join([lathe([(0, 0.05), *hull], paint, 28, FINE_M), nozzle, *fins, port.moved((0, -0.056, 0.2))])
        .on_floor()
        .scaled(n)
    )


def drum(color: Color, rng: np.random.Generator) -> Mesh:
    """A toy drum with a zigzag cord, 22..28 cm across."""
    r, h = rng.uniform(0.11, 0.14), rng.uniform(0.14, 0.19)
    side = lathe([(r, 0.015), (r, h - 0.015)], Material("zigzag", color, CREAM, 0.62 * h, 0.3), 40, FINE_M)
    paint = Material("plain", darker(color), gloss=0.4)
    hoop = lathe([(0, 0), (r + 0.006, 0), (r + 0.006, 0.018), (r, 0.018)], paint, 40)
    hoops = [hoop, hoop.moved((0, 0, h - 0.018))]
    return join([side, *hoops, lathe([(r, h), (0, h)], Material("plain", CREAM), 40, 0.03)])
