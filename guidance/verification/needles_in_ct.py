"""Needles found in a CT: metal lines, their subvoxel centrelines and their tips. Knows of no plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LSQUnivariateSpline
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares
from scipy.special import erf

from guidance.scene import NeedleDevice
from guidance.verification.metal_lines import MetalLine, find_metal_lines
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

STATION_STEP_MM = 1.0
DISC_MM = 2.1
"""Half width of the perpendicular patch in which a station's centroid is taken."""
DISC_STEP_MM = 0.3
KNOT_STEP_MM = 30.0
END_STEP_MM = 0.2
END_REACH_MM = 6.0
END_CLEAR_MM = 1.5
"""Centroids nearer the ends than this are not used: the end face pulls them."""
PAD_MM = 25.0
MAX_SPACING_MM = 3.0
MIN_CONFIDENCE_STATIONS = 20


@dataclass(frozen=True, eq=False)
class NeedleInImage:
    """One needle measured in an image, in that image's frame [mm].

    Args:
        tip_mm: The shaft's end, shape (3,).
        centreline_mm: From the hub's distal face to the tip in steps of about 1 mm, shape (n, 3).
        radius_mm: Radius of the shaft: the device's, for a shaft thinner than the blur cannot be measured.
        tip_covariance_mm2: Estimated from the scatter of the fit, shape (3, 3).
        confidence: 0 to 1: share of good stations, scatter, a hub at the far end, the length expected.
        length_mm: Hub to tip along the centreline.
        residual_mm: Rms lateral scatter of the stations about the centreline.
    """

    tip_mm: FloatArray
    centreline_mm: FloatArray
    radius_mm: float
    tip_covariance_mm2: FloatArray
    confidence: float
    length_mm: float
    residual_mm: float

    def point_mm(self, from_tip_mm: float) -> FloatArray:
        """Return the point of the centreline at an arc length [mm] behind the tip, shape (3,)."""
        line = self.centreline_mm[::-1]
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        return np.array([np.interp(from_tip_mm, arc, line[:, c]) for c in range(3)])

    def chord(self, exposure_mm: float) -> FloatArray:
        """Return the unit chord of an exposure of this length, towards the tip, shape (3,)."""
        along = self.tip_mm - self.point_mm(exposure_mm)
        unit: FloatArray = along / np.linalg.norm(along)
        return unit


def find_needles(check_ct: Volume, device: NeedleDevice, *, expected: int | None = None) -> tuple[NeedleInImage, ...]:
    """Find every needle in a CT and measure centreline and tip to a fraction of a voxel.

    Metal voxels are grouped into straight lines; along each line the intensity-weighted centroid is taken in
    perpendicular planes and smoothed by a cubic spline; the tip is where the profile along the spline passes
    half of its plateau. Spheres and dense bone are too short or not straight.

    Args:
        check_ct: The CT with needles, any frame.
        device: The electrode: its diameter, usable length and hub.
        expected: Keep at most this many, the most confident ones; None keeps all.

    Returns:
        Needles in the image's frame, ordered by confidence.

    Raises:
        InvalidInputError: The image is too coarse for a needle of this diameter.
    """
    if float(check_ct.spacing_mm.max()) > MAX_SPACING_MM:
        raise InvalidInputError(
            "the check CT is too coarse to measure needles in",
            value=[round(float(s), 3) for s in check_ct.spacing_mm],
            limit=MAX_SPACING_MM,
            unit="mm",
            file=check_ct.file,
            remedy="scan or reconstruct again at 0.7 × 0.7 × 1.0 mm",
        )
    found = [measure_needle(check_ct, line, device) for line in find_metal_lines(check_ct, device.usable_length_mm)]
    needles = sorted((n for n in found if n is not None), key=lambda n: (-n.confidence, tuple(n.tip_mm)))
    return tuple(needles if expected is None else needles[:expected])


def measure_needle(check_ct: Volume, line: MetalLine, device: NeedleDevice) -> NeedleInImage | None:
    """Measure the needle along a rough line; None when what lies there is not a needle."""
    image = _patch(check_ct, line)
    if _outside_score(image, line.high_mm, line) > _outside_score(image, line.low_mm, line):
        line = line.reversed()
    # From here on the line runs from the hub (low) to the tip (high).
    curve = _Centreline.fit(image, line)
    if curve is None:
        return None
    start, _ = _end(image, curve, line.low_mm, -1.0)
    tip, tip_sigma = _end(image, curve, line.high_mm, 1.0)
    if tip - start < 30.0:
        return None
    steps = np.linspace(start, tip, max(2, round(tip - start) + 1))
    points = curve.points(steps)
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    tangent = points[-1] - points[-3]
    tangent /= np.linalg.norm(tangent)
    lateral = (curve.residual_mm / np.sqrt(4.0)) ** 2 + 0.05**2
    covariance = lateral * (np.eye(3) - np.outer(tangent, tangent))
    covariance += (tip_sigma**2 + 0.1**2) * np.outer(tangent, tangent)
    confidence = curve.share * float(np.exp(-((curve.residual_mm / 0.5) ** 2)))
    if not _outside_score(image, line.low_mm, line) - _outside_score(image, line.high_mm, line) > 200.0:
        confidence *= 0.5  # which end is the tip is not certain
    if length < device.usable_length_mm - 5.0 or length > device.usable_length_mm + device.hub_length_mm + 5.0:
        confidence *= 0.5  # cut off, or not this device
    return NeedleInImage(
        tip_mm=read_only(points[-1]),
        centreline_mm=read_only(points),
        radius_mm=device.radius_mm,
        tip_covariance_mm2=read_only(covariance),
        confidence=float(np.clip(confidence, 0.0, 1.0)),
        length_mm=length,
        residual_mm=curve.residual_mm,
    )


@dataclass(frozen=True, eq=False)
class _Patch:
    """A part of the image as float32, sampled at points by trilinear interpolation (it keeps centroids)."""

    volume: Volume
    voxels: NDArray[np.float32]

    def sample(self, points_mm: FloatArray) -> FloatArray:
        index = self.volume.indices(points_mm.reshape(-1, 3)).T
        values = map_coordinates(self.voxels, index, order=1, mode="nearest")
        return np.asarray(values, dtype=np.float64).reshape(points_mm.shape[:-1])


def _patch(check_ct: Volume, line: MetalLine) -> _Patch:
    ends = line.points(np.array([line.low_mm - PAD_MM, line.high_mm + PAD_MM]))
    index = check_ct.indices(ends)
    pad = 10.0 / check_ct.spacing_mm
    part = check_ct.crop(np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1)
    return _Patch(part, part.voxels.astype(np.float32))


def _ring(u: FloatArray, v: FloatArray, radii_mm: tuple[float, ...]) -> FloatArray:
    turns = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    directions = np.cos(turns)[:, None] * u + np.sin(turns)[:, None] * v
    rings: FloatArray = np.concatenate([r * directions for r in radii_mm])
    return rings


def _outside_score(image: _Patch, end_mm: float, line: MetalLine) -> float:
    """HU of a hub standing in air, beyond this end, against tissue: high at the hub's end, low at the tip."""
    sign = 1.0 if end_mm == line.high_mm else -1.0
    beyond = line.points(end_mm + sign * np.arange(3.0, 22.0, 1.0))
    hub = image.sample(beyond[:, None, :] + _ring(line.u, line.v, (1.0, 2.5))[None])
    around = image.sample(beyond[:, None, :] + _ring(line.u, line.v, (7.0, 9.0))[None])
    # Median over stations: one bone or one gas bubble on the way does not decide.
    return float(np.median(hub.mean(axis=1) - around.mean(axis=1)) - 0.5 * np.median(around.mean(axis=1)))


@dataclass(frozen=True, eq=False)
class _Centreline:
    """Lateral position along a straight axis, as two cubic splines; straight beyond the stations used."""

    line: MetalLine
    splines: tuple[LSQUnivariateSpline, LSQUnivariateSpline]
    first_mm: float
    last_mm: float
    residual_mm: float
    share: float

    @classmethod
    def fit(cls, image: _Patch, line: MetalLine) -> _Centreline | None:
        stations = np.arange(line.low_mm + END_CLEAR_MM, line.high_mm - END_CLEAR_MM + 1e-9, STATION_STEP_MM)
        if len(stations) < MIN_CONFIDENCE_STATIONS:
            return None
        lateral = np.zeros((len(stations), 2))
        use = np.ones(len(stations), dtype=np.bool_)
        curve: _Centreline | None = None
        for turn in range(4):
            centroid, alone, good = _centroids(image, line, stations, lateral)
            if turn > 0:
                good &= alone  # only once the patch is centred does metal at its rim mean a neighbour
            use = good.copy()
            for _ in range(3):
                if use.sum() < MIN_CONFIDENCE_STATIONS:
                    return None
                curve = cls._splines(line, stations[use], centroid[use], float(use.mean()))
                off = np.linalg.norm(curve.lateral(stations) - centroid, axis=1)
                use = good & (off < max(0.15, 3.0 * float(np.median(off[use]))))
            if curve is not None:
                lateral = curve.lateral(stations)
        return curve

    @classmethod
    def _splines(cls, line: MetalLine, s: FloatArray, xy: FloatArray, share: float) -> _Centreline:
        inner = max(0, round((s[-1] - s[0]) / KNOT_STEP_MM) - 1)
        knots = np.linspace(s[0], s[-1], inner + 2)[1:-1]
        # Schoenberg–Whitney: each span needs stations of its own; drop knots over gaps.
        edges = np.concatenate([[s[0]], knots, [s[-1]]])
        counts = np.histogram(s, edges)[0]
        knots = np.array([t for n, t in enumerate(knots) if counts[n] >= 5 and counts[n + 1] >= 5])
        fits = (LSQUnivariateSpline(s, xy[:, 0], knots, k=3), LSQUnivariateSpline(s, xy[:, 1], knots, k=3))
        error = np.stack([f(s) for f in fits], axis=1) - xy
        rms = float(np.sqrt((error**2).sum(axis=1).mean()))
        return cls(line, fits, float(s[0]), float(s[-1]), rms, share)

    def lateral(self, s: FloatArray) -> FloatArray:
        inside = np.clip(s, self.first_mm, self.last_mm)
        xy = np.stack([f(inside) for f in self.splines], axis=1)
        # Beyond the last station the shaft goes on along its mean direction over the nearest 10 mm.
        for edge, inner in ((self.first_mm, self.first_mm + 10.0), (self.last_mm, self.last_mm - 10.0)):
            slope = np.array([(float(f(edge)) - float(f(inner))) / (edge - inner) for f in self.splines])
            out = s < edge if edge < inner else s > edge
            xy[out] += np.outer(s[out] - edge, slope)
        return np.asarray(xy, dtype=np.float64)

    def points(self, s: FloatArray) -> FloatArray:
        return self.line.points(s, self.lateral(s))


def _grid(line: MetalLine) -> tuple[FloatArray, FloatArray]:
    axis = np.arange(-DISC_MM, DISC_MM + 1e-9, DISC_STEP_MM)
    x, y = (g.ravel() for g in np.meshgrid(axis, axis, indexing="ij"))
    inside = np.hypot(x, y) <= DISC_MM
    offsets = np.stack([x[inside], y[inside]], axis=1)
    return offsets, offsets @ np.stack([line.u, line.v])


def _centroids(
    image: _Patch, line: MetalLine, stations: FloatArray, lateral: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Weighted centroids about the present centreline; where no metal is at the rim; where there is a metal spot."""
    offsets, steps = _grid(line)
    values = image.sample(line.points(stations, lateral)[:, None, :] + steps[None])
    rim = np.hypot(offsets[:, 0], offsets[:, 1]) > DISC_MM - 0.5
    background = np.median(values[:, rim], axis=1)
    peak = values.max(axis=1)
    contrast = np.maximum(peak - background, 1.0)
    weights = np.maximum(values - (background + 0.15 * contrast)[:, None], 0.0)
    centroid = lateral + (weights @ offsets) / np.maximum(weights.sum(axis=1), 1e-9)[:, None]
    moved = np.linalg.norm(centroid - lateral, axis=1)
    typical = float(np.median(contrast))
    good = (contrast > 0.5 * typical) & (contrast > 1000.0) & (moved < 1.8)
    alone = values[:, rim].max(axis=1) - background < 0.35 * contrast
    return centroid, alone, good


def _end(image: _Patch, curve: _Centreline, rough_mm: float, sign: float) -> tuple[float, float]:
    """Place [mm along the line] of one end, and its standard deviation.

    The end is where the sum over the perpendicular disc falls to half of its plateau: the sum does not depend on
    where in its voxels the needle runs, and a symmetric blur leaves the half-height crossing of a flat end.
    """
    _, steps = _grid(curve.line)
    s = rough_mm + sign * np.arange(-2.0 * END_REACH_MM, END_REACH_MM, END_STEP_MM)
    values = image.sample(curve.points(s)[:, None, :] + steps[None])
    rim = np.linalg.norm(steps, axis=1) > DISC_MM - 0.5
    profile = (values - np.median(values[:, rim], axis=1)[:, None]).mean(axis=1)
    along = sign * (s - rough_mm)
    plateau = float(np.median(profile[along < -3.0]))

    def misfit(p: FloatArray) -> FloatArray:
        step = 0.5 * (1.0 - erf((along - p[0]) / (np.sqrt(2.0) * abs(p[1]))))
        return np.asarray((p[3] + (p[2] - p[3]) * step - profile) / plateau, dtype=np.float64)

    fit = least_squares(misfit, np.array([0.0, 0.6, plateau, 0.0]), loss="soft_l1", f_scale=0.05)
    slope = 1.0 / (np.sqrt(2.0 * np.pi) * abs(float(fit.x[1])))
    scatter = float(np.sqrt(np.mean(misfit(fit.x) ** 2)))
    return rough_mm + sign * float(fit.x[0]), scatter / slope
