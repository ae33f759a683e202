"""The shell of a room: walls, floor and ceiling, and what hangs on walls with its back at y = 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scene_r1.rooms.model.forms import box, drape, patchwork, sheet
from scene_r1.rooms.model.furniture.piece import BIRCH, CLOTHS, METAL, WALNUT, WHITE
from scene_r1.rooms.model.material import Material
from scene_r1.rooms.model.mesh import Mesh, join
from scene_r1.rooms.model.mood import Light
from scene_r1.rooms.model.room import Window

PAINTS = ((230, 224, 210), (216, 222, 222), (232, 222, 214), (222, 224, 212), (238, 236, 230))
ACCENTS = ((160, 168, 172), (172, 156, 140), (158, 164, 152), (164, 156, 164))
RUGS = (
    # a ground and what is woven into it: muted, for no rug is an object
    ((150, 128, 104), (206, 194, 172)),
    ((120, 122, 126), (196, 194, 190)),
    ((200, 190, 172), (140, 120, 100)),
    ((104, 96, 90), (176, 162, 142)),
    ((176, 172, 164), (112, 108, 106)),
)


def walls(size: tuple[float, float, float], rug: tuple[float, float, float, float], rng: np.random.Generator) -> Mesh:
    """Floor with a rug woven into it, ceiling and four walls, seen from inside. rug: x0, y0, x1, y1."""
    w, d, h = size
    x, y = w / 2, d / 2
    plain = Material("wall", PAINTS[rng.integers(len(PAINTS))])
    painted = [_accent(plain.color, rng), plain, plain, plain]
    return join(
        [
            patchwork((-x, -y, x, y), rug, _floor(rng), _rug(rug, rng), 0.045),
            sheet((-x, -y, h), (0, d, 0), (w, 0, 0), Material("plain", (240, 238, 232)), 0.1),
            sheet((x, y, 0), (-w, 0, 0), (0, 0, h), painted[0], 0.07),
            sheet((-x, y, 0), (0, -d, 0), (0, 0, h), painted[1], 0.07),
            sheet((-x, -y, 0), (w, 0, 0), (0, 0, h), painted[2], 0.07),
            sheet((x, -y, 0), (0, d, 0), (0, 0, h), painted[3], 0.07),
        ]
    )


def _accent(paint: tuple[int, int, int], rng: np.random.Generator) -> Material:
    """One wall may differ: another paint, bricks or wallpaper."""
    kind = ("wall", "brick", "brick", "wallpaper", "wallpaper")[rng.integers(5)]
    if kind == "brick":
        stone = ((168, 128, 106), (206, 200, 190), (150, 140, 132))[rng.integers(3)]
        return Material("brick", stone, (188, 182, 172))
    if kind == "wallpaper":
        return Material("wallpaper", paint, ACCENTS[rng.integers(len(ACCENTS))], rng.uniform(0.14, 0.24))
    return Material("wall", ACCENTS[rng.integers(len(ACCENTS))])


def _floor(rng: np.random.Generator) -> Material:
    kind = ("planks", "planks", "herringbone", "herringbone", "tiles")[rng.integers(5)]
    if kind == "tiles":
        return Material(
            "tiles", ((190, 184, 174), (150, 146, 142), (176, 158, 138))[rng.integers(3)], (120, 116, 110), 0.33, 0.35
        )
    wood = ((176, 132, 88), (146, 104, 68), (198, 160, 116), (126, 94, 68))[rng.integers(4)]
    return Material(kind, wood, wood, 0.13 if kind == "planks" else 0.075, 0.25)


def _rug(rug: tuple[float, float, float, float], rng: np.random.Generator) -> Material:
    ground, woven = RUGS[rng.integers(len(RUGS))]
    kind = ("rug", "striped rug", "weave")[rng.integers(3)]
    scale = {"rug": rng.uniform(0.16, 0.3), "striped rug": rng.uniform(0.2, 0.4), "weave": 0.02}[kind]
    return Material(kind, ground, woven, scale, region=rug)


def curtains(w: float, bottom: float, top: float, rng: np.random.Generator) -> list[Mesh]:
    """Two lengths of cloth beside a window that is `w` wide, down to `bottom`, on a rod at `top`."""
    shade = (*CLOTHS, (206, 198, 184), (214, 212, 206))[rng.integers(len(CLOTHS) + 2)]
    cloth = Material("weave", shade, scale_m=0.008)
    wide = rng.uniform(0.26, 0.36)
    hung = [
        drape(wide, top - bottom, 0.09, cloth).moved((s * (w / 2 + 0.07 + wide / 2), -0.05, bottom)) for s in (-1, 1)
    ]
    return [*hung, box((w + 2 * wide + 0.3, 0.022, 0.022), (0, -0.075, top), METAL)]


def door() -> list[Mesh]:
    """Closed, with a frame and a handle; hangs on a wall."""
    leaf = Material("plain", (226, 222, 212), gloss=0.2)
    frame = [box((0.07, 0.035, 2.06), (s * 0.475, -0.0175, 0), WHITE) for s in (-1, 1)]
    frame.append(box((1.02, 0.035, 0.07), (0, -0.0175, 2.06), WHITE))
    panels = [box((0.6, 0.008, h), (0, -0.024, z), leaf) for z, h in ((0.2, 0.75), (1.1, 0.75))]
    handle = [
        box((0.03, 0.05, 0.03), (0.37, -0.045, 1.02), METAL),
        box((0.11, 0.016, 0.02), (0.33, -0.07, 1.025), METAL),
    ]
    return [box((0.88, 0.02, 2.06), (0, -0.01, 0), leaf, 0.08), *frame, *panels, *handle]


def picture(rng: np.random.Generator) -> list[Mesh]:
    """A framed landscape, or discs and bars."""
    w, h = rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.6)
    sky = [(126, 150, 172), (200, 158, 126), (150, 150, 166)][rng.integers(3)]
    land = [(92, 104, 86), (96, 74, 58), (78, 88, 98)][rng.integers(3)]
    kind = "picture" if rng.random() < 0.6 else "abstract"
    paper = Material(kind, sky, land, region=(-w / 2, 0.0, w / 2, h))
    frame = (WALNUT, BIRCH, WHITE, METAL)[rng.integers(4)]
    return [box((w, 0.012, h), (0, -0.006, 0), paper, 0.1), *_frame(w, h, 0.025, frame)]


def window(w: float, h: float, pane: Material) -> list[Mesh]:
    """A pane that gives light, with a frame, a cross bar and a sill."""
    pane = replace(pane, region=(-w / 2, 0.0, w / 2, h))
    bars = [box((0.035, 0.03, h), (0, -0.021, 0), WHITE), box((w, 0.03, 0.035), (0, -0.021, h * 0.62), WHITE)]
    sill = box((w + 0.2, 0.14, 0.03), (0, -0.07, -0.09), WHITE)
    return [box((w, 0.006, h), (0, -0.003, 0), pane, 0.3), *bars, sill, *_frame(w, h, 0.06, WHITE)]


def daylight(wall: Mesh, half: tuple[float, float], yaw: float, light: Light, rng: np.random.Generator) -> Window:
    """The window whose pane, already in the world, is `wall`; the sun stands somewhere outside it."""
    c, s = round(float(np.cos(yaw)), 15), round(float(np.sin(yaw)), 15)
    inward, along = np.array([s, -c, 0.0]), np.array([c, s, 0.0])
    center = (wall.vertices.min(axis=0) + wall.vertices.max(axis=0)) / 2
    sun = -inward + rng.uniform(-0.5, 0.5) * along + np.array([0.0, 0.0, rng.uniform(0.55, 0.9)])
    sun /= np.linalg.norm(sun)
    return Window(_triple(center), _triple(along), _triple(inward), half, _triple(sun), light.sun, light.sky)


def _triple(v: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])


def _frame(w: float, h: float, thick: float, material: Material) -> list[Mesh]:
    sides = [box((thick, 0.04, h + 2 * thick), (s * (w + thick) / 2, -0.02, -thick), material) for s in (-1, 1)]
    return sides + [box((w, 0.04, thick), (0, -0.02, z), material) for z in (-thick, h)]
