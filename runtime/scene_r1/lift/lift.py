"""Masks in several views -> one object's points and its metric box. No 3D detector, no 3D label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scene_r1.backproject import EDGE_RATIO, BackProjector, Points
from scene_r1.backproject.cuda import DEVICES
from scene_r1.backproject.projector import RayTables, extent_px
from scene_r1.box import Box3D
from scene_r1.depth_noise import SIGMA_PER_Z2
from scene_r1.frame import DepthRange
from scene_r1.lift.ballot import Ballot
from scene_r1.lift.denoise import LEFT, denoised
from scene_r1.lift.grid import EVERYWHERE, Place
from scene_r1.lift.masked_view import MaskedView
from scene_r1.lift.spread import disagreement, jackknife, percentile_box
from scene_r1.lift.support import Plane, fit_plane, ring
from scene_r1_engines.errors import BadConfig


@dataclass(frozen=True, slots=True)
class LiftSettings:
    """voxels_across: voxels along the object's extent; the voxel's side follows, within voxel_m (metres).

    agreement: share of the (weighted) views seeing a voxel that must have it in their mask. percentile: of the voxels
    left out at each end of each axis. erode_px: taken off each mask's rim; the edge filter and the vote do without,
    so 0 unless a segmenter is known to bleed. noise: sigma = noise * z^2, before depth is
    smoothed; 0 leaves depth as it is. device: where depth becomes points, see BackProjector.
    """

    voxels_across: int = 24
    voxel_m: tuple[float, float] = (0.004, 0.02)
    agreement: float = 0.75
    percentile: float = 0.5
    erode_px: int = 0
    edge_ratio: float = EDGE_RATIO
    noise: float = SIGMA_PER_Z2
    depth_range: DepthRange = field(default_factory=DepthRange)
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise BadConfig(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        if not 0.0 < self.agreement <= 1.0 or not 0.0 <= self.percentile < 50.0:
            raise BadConfig(f"agreement in (0, 1], percentile in [0, 50); got {self.agreement}, {self.percentile}")
        if not 1e-3 <= self.voxel_m[0] <= self.voxel_m[1] or self.voxels_across < 4 or self.erode_px < 0:
            raise BadConfig(f"voxel_m >= 0.001 and growing, voxels_across >= 4, erode_px >= 0; got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """box: None when nothing could be lifted. xyz: (N, 3) float32 metres, world; rgb: (N, 3) uint8: its points.

    voxel_m: side of the voxels it was voted in. used: positions in `views` of those that support it.
    """

    box: Box3D | None
    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    voxel_m: float
    used: tuple[int, ...]


NOTHING = Lifted(None, np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), 0.0, ())
FEWEST_POINTS = 12
"""A view with fewer points in its mask says nothing."""
MOST_POINTS = 3000
"""Of one view: two or three for each voxel that a view sees of a thing. More cost time and change nothing."""
FLATTEST = 0.3
"""Share of the agreed voxels that must stand out of the support plane for the plane to be cut away."""
HANGING = 0.3
"""Things rest on what surrounds them: a gap below the lowest seen part of an object is its own unseen underside, unless
it is more than this share of the object's height above the plane."""
SUPPORT_TRIES = 3
ROUGH_ACROSS = 12
ROUGH_VOXEL_M = (0.006, 0.04)
"""The first vote, which finds the views to trust and the place to look at, has coarser voxels."""
ROUGH_STRIDE = 3
"""Every how many-th point the first vote gathers; its voxels hold dozens."""
SAMPLE = 500
"""Points of a view that its distance and extent are taken from."""


class Lifter:
    """Visibility-aware voxel vote over views, largest component, percentile box. One object for one thread.

    Two votes. The first, coarse and by simple majority, tells which masks show the same thing, where it is, and which
    plane it stands on; the second, fine and stricter, is held among those views in that place.
    """

    def __init__(self, settings: LiftSettings | None = None) -> None:
        self.settings = settings or LiftSettings()
        self._rays = RayTables()
        self._project = BackProjector(self.settings.depth_range, 0.0, device=self.settings.device)

    def __call__(self, views: Sequence[MaskedView]) -> Lifted:
        """Lift one object. Views without depth in their mask give no points, but they still vote.

        Raises BadFrame for a frame without a pose, or a mask of another shape or dtype than its colour image.
        """
        s = self.settings
        views = [denoised(view, s.noise, s.depth_range, s.edge_ratio, self._rays) for view in views]
        clouds = [_thinned(self._project(view.frame, _eroded(view.mask, s.erode_px))) for view in views]
        looks = [_look(view, cloud) for view, cloud in zip(views, clouds, strict=True) if len(cloud) >= FEWEST_POINTS]
        if not looks:
            return NOTHING
        # What smoothing leaves of the noise decides how finely can be cut; what it hides still moves whole faces.
        noise_m = s.noise * min(distance for distance, _ in looks) ** 2
        sigma = LEFT * noise_m
        extent = float(np.median([extent for _, extent in looks]))

        every = [cloud.xyz for cloud in clouds]
        rough_m = _between(max(extent / ROUGH_ACROSS, sigma), ROUGH_VOXEL_M)
        rough = self._ballot(views, [xyz[::ROUGH_STRIDE].copy() for xyz in every], rough_m)
        rough.trust_views_of(rough.heaviest(rough.agreed(0.5)))
        plane = self._support(views, clouds, rough.trusted)
        place = rough.heaviest(rough.agreed(s.agreement))
        if not place.any():
            return NOTHING
        low, high = rough.grid.means[place].min(axis=0), rough.grid.means[place].max(axis=0)
        fine_m = _between(max(float((high - low).max()) / s.voxels_across, sigma), s.voxel_m)

        chosen = [int(i) for i in np.flatnonzero(rough.trusted)]
        around = (low - 2.0 * rough_m, high + 2.0 * rough_m)
        fine = self._ballot([views[i] for i in chosen], [every[i] for i in chosen], fine_m, around)
        cut_m = max(0.006, 0.5 * fine_m, 1.5 * sigma)
        kept, plane = self._object(fine, plane, cut_m)
        if not kept.any():
            return NOTHING
        return self._lifted(fine, kept, [clouds[i] for i in chosen], chosen, plane, cut_m, noise_m)

    def _ballot(
        self,
        views: Sequence[MaskedView],
        clouds: Sequence[NDArray[np.float32]],
        voxel_m: float,
        place: Place = EVERYWHERE,
    ) -> Ballot:
        return Ballot(views, clouds, voxel_m, self.settings.noise, self.settings.depth_range, place)

    def _object(self, ballot: Ballot, plane: Plane | None, height_m: float) -> tuple[NDArray[np.bool_], Plane | None]:
        """The voxels of the object, and the plane that was cut away from under it up to a height (None: none was)."""
        agreed = ballot.agreed(self.settings.agreement)
        if plane is not None:
            standing = agreed & (plane.height(ballot.grid.means) > height_m)
            if np.count_nonzero(standing) >= FLATTEST * np.count_nonzero(agreed):
                return ballot.heaviest(standing), plane
        return ballot.heaviest(agreed), None  # no plane, or a sheet or rug that would vanish with it

    def _support(
        self, views: Sequence[MaskedView], clouds: Sequence[Points], trusted: NDArray[np.bool_]
    ) -> Plane | None:
        """The plane around the object in the trusted view that has the most of it, or in the next one or two."""
        sizes = {i: len(cloud) for i, cloud in enumerate(clouds) if trusted[i] and len(cloud)}
        for i in sorted(sizes, key=lambda i: (-sizes[i], views[i].frame.index))[:SUPPORT_TRIES]:
            around = self._project(views[i].frame, ring(views[i].mask))
            if len(around) == 0:
                continue
            distance, _ = _look(views[i], around)
            tolerance_m = max(0.006, 2.0 * self.settings.noise * distance**2)
            plane = fit_plane(around.xyz, tolerance_m, views[i].frame.T_world_depth[:3, 3])
            if plane is not None:
                return plane
        return None

    def _lifted(
        self,
        ballot: Ballot,
        kept: NDArray[np.bool_],
        clouds: Sequence[Points],
        numbers: Sequence[int],
        plane: Plane | None,
        cut_m: float,
        noise_m: float,
    ) -> Lifted:
        grid, percentile = ballot.grid, self.settings.percentile
        own = [np.flatnonzero((rows >= 0) & kept[rows]) for rows in ballot.rows]
        supporting = [i for i, inside in enumerate(own) if len(inside) >= FEWEST_POINTS]
        seen_by = [np.bincount(ballot.rows[i][own[i]], minlength=len(grid))[kept] > 0 for i in supporting]
        apart = disagreement(ballot.offsets[supporting], kept)
        means = grid.means[kept]
        if plane is not None:  # what was cut off at the plane is given back: the object reaches down to it
            heights = plane.height(means)
            lowest, highest = np.percentile(heights, (percentile, 100.0 - percentile))
            # What begins where it was cut went on below it, however flat it is.
            reaches = lowest <= max(HANGING * highest, cut_m + 2.0 * grid.voxel_m)
            low_ones = heights <= max(3.0 * grid.voxel_m, lowest + 2.0 * grid.voxel_m) if reaches else heights < 0.0
            means = np.concatenate([means, plane.foot(means[low_ones])])
            seen_by = [np.concatenate([seen, seen[low_ones]]) for seen in seen_by]
        low, high = percentile_box(means, percentile)
        spread = float(np.sqrt(jackknife(means, seen_by, percentile) ** 2 + apart**2 + noise_m**2))
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, grid.voxel_m / 4.0)
        return Lifted(
            Box3D.from_corners(middle - half, middle + half, spread, len(supporting)),
            np.concatenate([cloud.xyz.take(inside, axis=0) for cloud, inside in zip(clouds, own, strict=True)]),
            np.concatenate([cloud.rgb.take(inside, axis=0) for cloud, inside in zip(clouds, own, strict=True)]),
            grid.voxel_m,
            tuple(numbers[i] for i in supporting),
        )


def _look(view: MaskedView, cloud: Points) -> tuple[float, float]:
    """(distance from the camera, extent) of a view's points, metres, both robust against a masked-in background."""
    some = np.sort(cloud.xyz[:: max(1, len(cloud) // SAMPLE)], axis=0)
    low, middle, high = (some[round(share * (len(some) - 1))] for share in (0.15, 0.5, 0.85))
    return float(np.linalg.norm(middle - view.frame.T_world_depth[:3, 3])), float((high - low).max() / 0.7)


def _thinned(cloud: Points) -> Points:
    """A copy of the points, or of every second, third, ... of more than MOST_POINTS."""
    step = -(-len(cloud) // MOST_POINTS) if len(cloud) else 1
    return Points(cloud.xyz[::step].copy(), cloud.rgb[::step].copy())


def _between(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, ends[0]), ends[1])


def _eroded(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask without its rim; unchanged where nothing would be left."""
    if pixels == 0 or mask.ndim != 2 or mask.dtype != np.bool_ or not mask.any():
        return mask
    left, top, width, height = extent_px(mask)
    y, x = max(0, top - pixels), max(0, left - pixels)
    part = np.s_[y : top + height + pixels, x : left + width + pixels]
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    inner = np.zeros_like(mask)
    inner[part] = cv2.erode(np.ascontiguousarray(mask[part]).view(np.uint8), kernel).view(np.bool_)
    return inner if np.count_nonzero(inner[part]) >= FEWEST_POINTS else mask
