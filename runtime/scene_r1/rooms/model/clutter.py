"""Small things that stand about and that nobody asks for: grey, brown or beige. They hide a little of the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scene_r1.rooms.model.forms import ball, box, lathe, rounded, tube
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join

Litter = Callable[[np.random.Generator], Mesh]

PAPER = Material("plain", (222, 218, 208), scale_m=0.02)
BOARD = Material("plain", (176, 146, 112))
GREY = Material("plain", (112, 112, 114), gloss=0.2)
DARK = Material("plain", (76, 74, 74), gloss=0.2)
TIN = Material("plain", (158, 158, 160), gloss=0.8)
EARTHENWARE = Material("plain", (198, 188, 172), gloss=0.5)
STONES = ((132, 128, 122), (160, 152, 142), (108, 104, 100))


def papers(rng: np.random.Generator) -> Mesh:
    """A few sheets, none quite on the other."""
    sheets = []
    for i in range(int(rng.integers(2, 5))):
        x, y, yaw = rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02), rng.uniform(-0.25, 0.25)
        sheets.append(box((0.297, 0.21, 0.002), (x, y, 0.002 * i), PAPER).moved(yaw=yaw))
    return join(sheets)


def grey_books(rng: np.random.Generator) -> Mesh:
    """Two or three lying on each other."""
    parts, z = [], 0.0
    for _ in range(int(rng.integers(2, 4))):
        w, d, h = rng.uniform(0.18, 0.25), rng.uniform(0.13, 0.17), rng.uniform(0.018, 0.035)
        cover = Material("plain", (90 + int(rng.integers(60)),) * 3, gloss=0.1)
        boards = [box((w, d, 0.003), (0, 0, at), cover) for at in (z, z + h - 0.003)]
        spine = box((w, 0.003, h - 0.006), (0, -d / 2 + 0.0015, z + 0.003), cover)
        block = box((w - 0.006, d - 0.006, h - 0.006), (0, 0.0015, z + 0.003), Material("pages", (214, 206, 190)))
        parts.append(join([*boards, spine, block]).moved(yaw=rng.uniform(-0.3, 0.3)))
        z += h
    return join(parts)


def pebbles(rng: np.random.Generator) -> Mesh:
    """Three or four smooth stones beside each other."""
    parts = []
    for i in range(int(rng.integers(3, 5))):
        size = rng.uniform(0.6, 1.0) * np.array([0.035, 0.026, 0.018])
        stone = Material("marble", STONES[rng.integers(3)], (190, 186, 180), 0.03, gloss=0.2)
        parts.append(ball(size, (0.06 * i, rng.uniform(-0.02, 0.02), 0), stone, 16))
    return join(parts).moved((-0.09, 0, 0))


def plate(rng: np.random.Generator) -> Mesh:
    """Earthenware, 18..24 cm across."""
    r = rng.uniform(0.09, 0.12)
    profile = [(0, 0), (0.6 * r, 0), (r, 0.018), (0.99 * r, 0.021), (0.62 * r, 0.006), (0, 0.006)]
    return lathe(profile, EARTHENWARE, 36, 0.03)


def bare_tin(rng: np.random.Generator) -> Mesh:
    """A tin that has lost its label."""
    h, r = rng.uniform(0.08, 0.12), rng.uniform(0.033, 0.042)
    return lathe([(0, 0), (r, 0), (r, h), (r - 0.003, h), (r - 0.003, h - 0.004), (0, h - 0.004)], TIN, 28, 0.02)


def pencil_holder(rng: np.random.Generator) -> Mesh:
    """A dark beaker with pencils of bare wood."""
    beaker = lathe([(0, 0), (0.038, 0), (0.04, 0.1), (0.036, 0.1), (0.034, 0.006), (0, 0.006)], DARK, 24, 0.03)
    wood = Material("plain", (186, 158, 122))
    stick = lathe([(0, 0.006), (0.004, 0.006), (0.004, 0.15), (0, 0.165)], wood, 8, 0.06)
    pencils = [stick.tilted(1, rng.uniform(0.06, 0.13)).moved((-0.016, 0, 0), turn) for turn in rng.uniform(0, 6.28, 4)]
    return join([beaker, *pencils]).on_floor()


def folded_cloth(rng: np.random.Generator) -> Mesh:
    """A towel, folded three times."""
    shade = ((196, 186, 168), (150, 146, 140), (168, 150, 128))[rng.integers(3)]
    cloth = Material("weave", shade, scale_m=0.006)
    layers = int(rng.integers(2, 4))
    return join(
        [
            rounded((0.26 - 0.006 * i, 0.18 - 0.004 * i, 0.022), (0, 0, 0.0215 * i), cloth, 0.011, 0.05)
            for i in range(layers)
        ]
    )


def remote_control(rng: np.random.Generator) -> Mesh:
    """Dark, with rows of keys."""
    keys = [
        box((0.009, 0.009, 0.002), (x, y, 0.018), GREY)
        for x in (-0.013, 0.0, 0.013)
        for y in np.linspace(-0.05, 0.05, 6)
    ]
    return join([rounded((0.045, 0.16, 0.018), (0, 0, 0), DARK, 0.006, 0.04), *keys])


def cable(rng: np.random.Generator) -> Mesh:
    """A coil with a loose end, lying flat."""
    t = np.linspace(0.0, rng.uniform(4.2, 5.6) * np.pi, 60)
    r = 0.05 + 0.012 * np.sin(0.37 * t) + 0.0022 * t
    path = np.stack([r * np.cos(t), 0 * t, r * np.sin(t)], axis=1)
    return tube(path, 0.0035, DARK, segments=6).turned(0).on_floor()


def cardboard_box(rng: np.random.Generator) -> Mesh:
    """Open, its flaps out."""
    w, d, h, t = rng.uniform(0.28, 0.4), rng.uniform(0.24, 0.32), rng.uniform(0.18, 0.28), 0.006
    parts = [box((w, d, t), (0, 0, 0), BOARD)]
    parts += [box((w, t, h - t), (0, s * (d / 2 - t / 2), t), BOARD) for s in (-1, 1)]
    parts += [box((t, d - 2 * t, h - t), (s * (w / 2 - t / 2), 0, t), BOARD) for s in (-1, 1)]
    for s in (-1, 1):
        flap = box((0.1, d - 0.01, 0.004), (0.05, 0, 0), BOARD).tilted(1, rng.uniform(0.2, 0.9))
        parts.append(flap.moved((0, 0, 0), 0.0 if s > 0 else np.pi).moved((s * w / 2, 0, h - 0.006)))
    return join(parts)


def slippers(rng: np.random.Generator) -> Mesh:
    """A pair, side by side."""
    felt = Material("weave", ((128, 122, 116), (150, 128, 104))[rng.integers(2)], scale_m=0.006)
    one = join([rounded((0.09, 0.26, 0.018), (0, 0, 0), DARK, 0.008, 0.06),
                rounded((0.092, 0.14, 0.06), (0, -0.06, 0.012), felt, 0.028, 0.04, 3)])  # fmt: skip
    return join([one.moved((-0.06, 0, 0), 0.08), one.moved((0.06, rng.uniform(-0.03, 0.03), 0), -0.06)])


def newspapers(rng: np.random.Generator) -> Mesh:
    """A stack on the floor."""
    return join(
        [
            box((0.29, 0.2, 0.012), (0, 0, 0.012 * i), PAPER).moved(yaw=rng.uniform(-0.12, 0.12))
            for i in range(int(rng.integers(3, 8)))
        ]
    )


ON_TOPS: dict[str, Litter] = {
    "papers": papers,
    "grey books": grey_books,
    "pebbles": pebbles,
    "plate": plate,
    "bare tin": bare_tin,
    "pencil holder": pencil_holder,
    "folded cloth": folded_cloth,
    "remote control": remote_control,
    "cable": cable,
}
ON_FLOOR: dict[str, Litter] = {
    "cardboard box": cardboard_box,
    "slippers": slippers,
    "newspapers": newspapers,
}
