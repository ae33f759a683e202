"""What stands on desks and shelves."""

from __future__ import annotations

import numpy as np

from scene_r1.rooms.model.forms import ball, box, lathe, rounded, tube
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.shapes.tones import COAL, CREAM, FINE_M, Color, lighter, metal


def book(color: Color, rng: np.random.Generator) -> Mesh:
    """Lying flat."""
    w, d, h = rng.uniform(0.2, 0.28), rng.uniform(0.14, 0.2), rng.uniform(0.03, 0.05)
    cover = Material("stripes", color, lighter(color), 0.5, gloss=0.15)
    boards = [box((w, d, 0.004), (0, 0, z), cover, 0.03) for z in (0, h - 0.004)]
    spine = box((w, 0.004, h - 0.008), (0, -d / 2 + 0.002, 0.004), cover, 0.03)
    block = box((w - 0.008, d - 0.008, h - 0.008), (0, 0.0, 0.004), Material("pages", CREAM), 0.03)
    return join([*boards, spine, block])


def carton(color: Color, rng: np.random.Generator) -> Mesh:
    """A packet standing upright, 20..30 cm."""
    w, d, h = rng.uniform(0.12, 0.2), rng.uniform(0.06, 0.1), rng.uniform(0.2, 0.3)
    return box((w, d, h), (0, 0, 0), Material("dots", color, lighter(color), 0.045, gloss=0.1), 0.03)


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
    bare = metal()
    foot = lathe([(0, 0), (0.075, 0), (0.075, 0.012), (0.01, 0.022), (0.008, h - 0.06), (0, h - 0.06)], bare)
    low, high = (0.12, h - 0.16), (0.06, h)
    hood = lathe([low, high, (0.057, h), (0.117, h - 0.16), low], shade, segments=36, spacing_m=FINE_M)
    cap = lathe([(0, h - 0.065), (0.0575, h - 0.065), (0.0575, h - 0.06), (0, h - 0.06)], bare)
    return join([foot, hood, cap])


def alarm_clock(color: Color, rng: np.random.Generator) -> Mesh:
    """A round dial with two bells, on two feet, 15..20 cm."""
    r, d = rng.uniform(0.06, 0.075), 0.05
    paint = Material("plain", color, gloss=0.5)
    body = lathe(
        [(0, 0), (0.9 * r, 0), (r, 0.01), (r, d), (0.74 * r, d + 0.006), (0.74 * r, d - 0.002)], paint, 36, FINE_M
    )
    dial = lathe([(0.74 * r, d - 0.002), (0, d - 0.002)], Material("plain", CREAM), 36)
    case = join([body, dial]).turned(0).moved((0, d / 2, r + 0.014))
    front, middle = -d / 2 - 0.0005, r + 0.014
    ink = Material("plain", COAL)
    hours = [box((0.006, 0.002, 0.012), (0.6 * r * np.sin(a), front, middle + 0.6 * r * np.cos(a) - 0.006), ink)
             for a in np.arange(12) * np.pi / 6]  # fmt: skip
    turn = rng.uniform(-np.pi, np.pi)
    hands = [box((0.006, 0.002, length), (0, 0, -0.008), ink).tilted(1, a).moved((0, front - 0.002, middle))
             for length, a in ((0.34 * r, turn), (0.5 * r, 12.0 * turn))]  # fmt: skip
    bells = [ball((0.026, 0.026, 0.02), (s * 0.5 * r, 0, 2 * r + 0.004), paint, 18) for s in (-1, 1)]
    feet = [lathe([(0, 0), (0.007, 0), (0.007, 0.03)], metal(), 10).moved((s * 0.62 * r, 0, 0)) for s in (-1, 1)]
    return join([case, *hours, *hands, *bells, *feet])


def headphones(color: Color, rng: np.random.Generator) -> Mesh:
    """Standing on their cups, the band up, 18..22 cm."""
    r, cup = rng.uniform(0.082, 0.092), rng.uniform(0.042, 0.05)
    shell, pad = Material("plain", color, gloss=0.4), Material("plain", COAL)
    t = np.linspace(-0.15, np.pi + 0.15, 28)
    band = np.stack([r * np.cos(t), 0 * t, 1.1 * r * np.sin(t) + cup + 0.035], axis=1)
    outer = [ball((0.024, cup, cup), (s * r, 0, 0), shell, 20) for s in (-1, 1)]
    inner = [ball((0.02, 0.92 * cup, 0.92 * cup), (s * (r - 0.022), 0, 0.08 * cup), pad, 20) for s in (-1, 1)]
    return join([tube(band, 0.013, shell, segments=12), *outer, *inner])


def radio(color: Color, rng: np.random.Generator) -> Mesh:
    """A portable radio with a round loudspeaker, 24..30 cm wide."""
    w, h, d = rng.uniform(0.24, 0.3), rng.uniform(0.15, 0.18), 0.085
    case = rounded((w, d, h), (0, 0, 0), Material("plain", color, gloss=0.35), 0.02, 0.03)
    grill = Material("dots", COAL, (110, 110, 114), 0.012)
    speaker = lathe([(0.052, -0.003), (0.052, 0.003), (0, 0.003)], grill, 28, FINE_M).turned(0)
    dial = box((0.3 * w, 0.004, 0.045), (0.25 * w, -d / 2, 0.62 * h), Material("stripes", CREAM, COAL, 0.045))
    knobs = [lathe([(0.013, -0.002), (0.013, 0.014), (0, 0.014)], metal(), 16).turned(0).moved((x, -d / 2, 0.3 * h))
             for x in (0.15 * w, 0.34 * w)]  # fmt: skip
    t = np.linspace(0, np.pi, 14)
    grip = np.stack([0.34 * w * np.cos(t), 0 * t, h - 0.004 + 0.05 * np.sin(t) ** 0.5], axis=1)
    return join([case, speaker.moved((-0.22 * w, -d / 2, 0.5 * h)), dial, *knobs, tube(grip, 0.006, metal(0.5))])


def gift(color: Color, rng: np.random.Generator) -> Mesh:
    """A wrapped present with a ribbon and a bow, 16..28 cm."""
    w, d, h = rng.uniform(0.16, 0.26), rng.uniform(0.14, 0.2), rng.uniform(0.1, 0.18)
    paper = Material("plain", color, gloss=0.3)
    ribbon = Material("plain", CREAM, gloss=0.5)
    bands = [
        box((0.02, d + 0.003, h + 0.0015), (0, 0, 0), ribbon),
        box((w + 0.003, 0.02, h + 0.0015), (0, 0, 0), ribbon),
    ]
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    loop = np.stack([0.034 + 0.03 * np.cos(t), 0 * t, 0.018 * np.sin(t)], axis=1)
    bow = [tube(loop, 0.006, ribbon, closed=True, segments=8).tilted(1, s * 0.3).moved((0, 0, h + 0.022), yaw)
           for s, yaw in ((-1, 0.5), (-1, np.pi - 0.5))]  # fmt: skip
    return join([box((w, d, h), (0, 0, 0), paper, 0.03), *bands, *bow])
