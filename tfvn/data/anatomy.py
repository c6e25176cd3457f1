"""Seeded knee-like coronal slices with fine detail, of any size.

Anatomy lives in continuous coordinates: the origin is the centre pixel, x grows with the columns, y
with the rows, one unit is half the shorter side (about 80 mm). A subject is the same at every size;
only the pixels differ. A structure is a signed distance d in units, negative inside, drawn with the
coverage smoothstep(1/2 - d / pixel): edges are about one pixel wide. Texture is made of smooth
random lattices; one that is finer than the pixels fades out instead of aliasing. The contrast is
proton density with fat suppressed: fluid and cartilage bright, marrow and fat dark grey, cortical
bone, menisci and ligaments nearly black.
"""

import functools

import numpy as np

from tfvn.checks import whole

__all__ = ["axes", "knee_slice"]

# Lattices repeat after this many units: more than is seen of one leg, and a subject is the same in
# every window.
_LATTICE_PERIOD = 4.0


def axes(height, width):
    """Coordinates (height,) of the rows and (width,) of the columns, and the size of a pixel.

    Raises:
        ValueError: for a side below 16 pixels.
    """
    height, width = whole("height", height, least=16), whole("width", width, least=16)
    pixel = 2 / min(height, width)
    return [
        (np.arange(size, dtype=np.float32) - size // 2) * np.float32(pixel)
        for size in (height, width)
    ] + [pixel]


def knee_slice(height, width, seed):
    """A coronal, fat-suppressed, proton-density knee.

    Args:
        height, width: pixels, at least 16 each. Pixels are square; a longer side shows more of the
            leg.
        seed: a whole number >= 0 or a sequence of them: the subject.

    Returns:
        complex64 (height, width): magnitude in [0, 1], smooth phase.

    Raises:
        ValueError: for a side below 16 pixels.
    """
    y, x, pixel = axes(height, width)
    rng, texture = (
        np.random.default_rng([0, *_numbers(seed)]),
        _Texture((height, width), pixel, seed),
    )
    u, v = _deform(y[:, None], x[None], rng, texture)
    canvas = _Canvas(u.shape, pixel)
    fine = texture.octaves(0.1, 5)
    _draw_soft_tissue(canvas, u, v, rng, texture, fine)
    femur, tibia, fibula, notch = _bones(u, v, rng)
    _draw_joint(canvas, u, v, femur, tibia, notch, rng, texture, fine)
    _draw_bones(canvas, v, femur, tibia, fibula, texture, fine)
    if rng.uniform() < 0.35:
        _draw_lesion(canvas, u, v, femur, tibia, rng, fine)
    magnitude = np.clip(canvas.image * (1 + 0.06 * texture.field(0.9)), 0, 1)
    return (magnitude * np.exp(1j * _phase(y[:, None], x[None], rng, texture))).astype(np.complex64)


def _numbers(seed):
    return np.atleast_1d(seed).tolist()


def _smoothstep(t):
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


@functools.lru_cache(maxsize=128)
def _spline_weights(size, pixel, nodes):
    """Matrix (size, nodes) from periodic cubic B-spline coefficients to the values at the pixels of
    an axis.
    """
    t = (np.arange(size) - size // 2) * (pixel * nodes / _LATTICE_PERIOD)
    first = np.floor(t).astype(int)
    weights = np.zeros((size, nodes), np.float32)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(t - first - offset)
        inner, outer = (
            2 / 3 - distance**2 * (1 - distance / 2),
            np.maximum(2 - distance, 0) ** 3 / 6,
        )
        weights[np.arange(size), (first + offset) % nodes] += np.where(distance < 1, inner, outer)
    return weights


class _Texture:
    """Smooth random fields of zero mean and unit variance on the pixels, keyed by (seed, number of
    the field).
    """

    def __init__(self, shape, pixel, seed):
        self.shape, self.pixel, self.seed, self.count = shape, pixel, _numbers(seed), 0

    def field(self, cell, stretch=1.0):
        """A cubic B-spline of white noise on cells of (cell * stretch, cell) units, (height,
        width); 0 if too fine.
        """
        self.count += 1
        fade = _smoothstep(cell / self.pixel - 1)
        if fade == 0:
            return np.float32(0)
        nodes = [max(4, round(_LATTICE_PERIOD / size)) for size in (cell * stretch, cell)]
        noise = np.random.default_rng([self.count, *self.seed]).standard_normal(nodes, np.float32)
        rows, columns = (
            _spline_weights(size, self.pixel, number) for size, number in zip(self.shape, nodes)
        )
        # 0.479 is the mean over a cell of the sum of squared weights: each axis takes its root from
        # the deviation.
        return np.float32(fade / 0.479) * (rows @ noise @ columns.T)

    def octaves(self, cell, number, stretch=1.0):
        """The mean of fields of cells cell, cell / 2, cell / 4, ..., times sqrt(number): of unit
        variance again.
        """
        return sum(self.field(cell / 2**n, stretch) for n in range(number)) / np.float32(
            np.sqrt(number)
        )


class _Canvas:
    """A grey image on which signed distances are painted one over the other."""

    def __init__(self, shape, pixel):
        self.image, self.pixel = np.zeros(shape, np.float32), pixel

    def cover(self, distance):
        return _smoothstep(0.5 - distance / np.float32(self.pixel))

    def fill(self, distance, value, opacity=1.0, window=...):
        part = self.image[window]
        part += self.cover(distance) * np.asarray(opacity, np.float32) * (value - part)

    def stroke(self, distance, thickness, value, within=-np.inf):
        """A line along distance = 0 where within < 0. Below a pixel it is drawn fainter, as partial
        volume does.
        """
        half = np.float32(max(thickness, self.pixel) / 2)
        self.fill(
            np.maximum(np.abs(distance) - half, within), value, min(1.0, thickness / self.pixel)
        )

    @staticmethod
    def window(u, v, points, margin):
        """Rows and columns of all pixels within `margin` of the box round `points` (m, 2); None
        outside the image.
        """
        low, high = np.min(points, 0) - margin, np.max(points, 0) + margin
        inside = (u > low[0]) & (u < high[0]) & (v > low[1]) & (v < high[1])
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        return (
            (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            if len(rows)
            else None
        )


def _union(a, b, rounding):
    return np.minimum(a, b) - np.maximum(rounding - np.abs(a - b), 0) ** 2 / (4 * rounding)


def _intersection(a, b, rounding):
    return -_union(-a, -b, rounding)


def _ellipse(x, y, centre, radii):
    x, y = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
    radius = np.hypot(x, y)
    # First-order distance: the level over its gradient.
    return radius * (radius - 1) / np.maximum(np.hypot(x / radii[0], y / radii[1]), 1e-6)


def _capsule(x, y, start, end, radius, end_radius):
    """A segment whose radius goes linearly from `radius` to `end_radius`."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return (
        np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
        - radius
        - (end_radius - radius) * along
    )


def _deform(y, x, rng, texture):
    """Anatomical coordinates (u, v) of every pixel: left or right knee, affine map, smooth warp."""
    angle, stretch = rng.uniform(-0.1, 0.1), 1 / rng.uniform(0.93, 1.07, 2)
    shift, shear, mirror = (
        rng.uniform(-0.05, 0.05, 2),
        rng.uniform(-0.05, 0.05),
        rng.choice([-1.0, 1.0]),
    )
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = x - shift[0], y - shift[1]
    u = (
        mirror * stretch[0] * (cos * x + (sin + shear) * y)
        + 0.02 * texture.field(0.8)
        + 0.005 * texture.field(0.3)
    )
    v = stretch[1] * (cos * y - sin * x) + 0.02 * texture.field(0.8) + 0.005 * texture.field(0.3)
    return u.astype(np.float32), v.astype(np.float32)


def _draw_soft_tissue(canvas, u, v, rng, texture, fine):
    """Skin, subcutaneous fat with septa, muscle with fibres and fasciae, vessels."""
    side = np.abs(u)
    leg = side - (
        0.82 - 0.06 * np.exp(-(((v - 0.1) / 0.35) ** 2)) - 0.06 * _smoothstep((v - 0.2) / 1.6)
    )
    muscle = leg + rng.uniform(0.08, 0.14) + 0.015 * texture.field(0.5)
    septa = np.exp(-((texture.field(0.09, 0.7) / 0.12) ** 2))
    canvas.fill(leg, 0.30 + 0.04 * fine)
    canvas.fill(leg + 0.016, 0.14 + 0.025 * fine + 0.08 * septa)
    waves = 2 * np.pi * (9 * u + 2.5 * v * np.sign(u)) + 2.2 * texture.field(0.35, 2)
    fibres = 0.5 * _smoothstep(1 / (18 * canvas.pixel) - 0.7) * np.sin(waves) + texture.octaves(
        0.06, 4, stretch=5
    )
    fascia = np.exp(-((texture.field(0.3, 2.5) / 0.07) ** 2))
    canvas.fill(muscle, 0.37 * (1 + 0.16 * fibres + 0.06 * fine) - 0.2 * fascia)
    canvas.stroke(muscle, 0.008, 0.10)
    for _ in range(rng.integers(6, 10)):
        x, y = (
            rng.choice([-1, 1]) * rng.uniform(0.42, 0.68),
            rng.choice([-1, 1]) * rng.uniform(0.45, 1.3),
        )
        _draw_vessel(canvas, u, v, muscle, [((x, y), (x, y + 1e-3), rng.uniform(0.008, 0.022))])
    for level in (-1, 1):
        start = np.array([rng.choice([-1, 1]) * 0.60, level * rng.uniform(0.85, 1.0)])
        _draw_vessel(
            canvas,
            u,
            v,
            muscle,
            _branches(start, level * rng.uniform(-1.9, -1.3), 0.17, 0.013, 4, rng),
        )


def _branches(start, direction, length, radius, depth, rng):
    """Segments (start, end, radius) of a vessel that forks `depth` times."""
    end = start + length * np.array([np.cos(direction), np.sin(direction)])
    segments = [(start, end, radius)]
    if depth:
        for turn in (rng.uniform(0.05, 0.4), -rng.uniform(0.2, 0.6)):
            segments += _branches(
                end, direction + turn, length * rng.uniform(0.6, 0.8), 0.7 * radius, depth - 1, rng
            )
    return segments


def _draw_vessel(canvas, u, v, muscle, segments):
    """Bright, with a thin dark wall, inside the muscle."""
    window = canvas.window(
        u, v, [point for start, end, _ in segments for point in (start, end)], margin=0.05
    )
    segments = [
        segment for segment in segments if segment[2] > 0.2 * canvas.pixel
    ]  # finer ones would not be seen
    if window and segments:
        u, v = u[window], v[window]
        tube = functools.reduce(
            np.minimum, (_capsule(u, v, start, end, r, 0.8 * r) for start, end, r in segments)
        )
        canvas.fill(np.maximum(tube - 0.005, muscle[window] + 0.005), 0.18, window=window)
        canvas.fill(np.maximum(tube, muscle[window] + 0.01), 0.80, window=window)


def _bones(u, v, rng):
    """Signed distances of femur, tibia, fibula and of the notch between the condyles."""
    side = np.abs(u)
    shaft = _intersection(side - (0.19 + 0.31 * _smoothstep((v + 0.95) / 0.75)), v + 0.18, 0.1)
    condyles = _ellipse(
        side, v, (0.28, -0.19), (rng.uniform(0.255, 0.28), rng.uniform(0.235, 0.255))
    )
    notch = _ellipse(u, v, (rng.uniform(-0.02, 0.02), 0.04), (0.095, 0.20))
    femur = _intersection(_union(shaft, condyles, 0.08), -notch, 0.03)
    spines = 0.065 * np.exp(-(((side - 0.05) / 0.03) ** 2)) - 0.018 * np.exp(
        -(((side - 0.28) / 0.14) ** 2)
    )
    tibia = _intersection(
        side - (0.18 + 0.34 * _smoothstep((0.9 - v) / 0.65)), 0.145 - spines - v, 0.07
    )
    fibula = _capsule(u, v, (0.56, 0.48), (0.45, 2.6), 0.075, 0.05)
    return femur, tibia, fibula, notch


def _draw_joint(canvas, u, v, femur, tibia, notch, rng, texture, fine):
    """Capsule, fluid, ligaments, cartilage on the bone ends, menisci between them."""
    side = np.abs(u)
    capsule = _ellipse(u, v, (0, 0.08), (0.60, 0.36))
    canvas.fill(capsule, 0.25 + 0.05 * fine + 0.06 * np.exp(-((texture.field(0.07) / 0.2) ** 2)))
    canvas.stroke(capsule, 0.010, 0.08)
    canvas.fill(np.maximum(np.maximum(femur, tibia) - 0.10, capsule + 0.03), 0.93 + 0.03 * fine)
    strands = 0.12 + 0.10 * texture.octaves(0.03, 3, stretch=3)
    canvas.fill(_capsule(u, v, (0.07, -0.13), (-0.05, 0.13), 0.030, 0.024), strands)
    canvas.fill(_ellipse(u, v, (-0.055, -0.06), (0.028, 0.045)), 0.08 + 0.02 * fine)
    for start, end in (((-0.545, -0.32), (-0.50, 0.62)), ((0.55, -0.28), (0.59, 0.44))):
        canvas.fill(_capsule(u, v, start, end, 0.017, 0.013), 0.6 * strands)
    swelling = 1 + 0.12 * texture.field(0.25)
    femoral, tibial = rng.uniform(0.038, 0.050) * swelling, rng.uniform(0.034, 0.044) * swelling
    for bone, depth, taper in (
        (femur, femoral, _smoothstep((v + 0.27) / 0.15) * _smoothstep(notch / 0.05)),
        (tibia, tibial, _smoothstep((0.25 - v) / 0.07) * _smoothstep((side - 0.08) / 0.05)),
    ):
        # Two laminae: the deep one, on the bone, is darker. Where it tapers off, the layer sinks
        # below the bone's edge.
        depth = (depth + 0.02) * taper - 0.02
        canvas.fill(bone - depth, 0.70 + 0.07 * fine)
        canvas.fill(bone - 0.45 * depth, 0.56 + 0.07 * fine)
    apex, rim = rng.uniform(0.30, 0.36), 0.545 + 0.02 * texture.field(0.4)
    wedge = np.maximum(
        np.maximum(femoral + 0.010 - femur, tibial + 0.008 - tibia),
        np.maximum(apex - side, side - rim),
    )
    canvas.fill(np.maximum(wedge, np.abs(v - 0.06) - 0.13), 0.07 + 0.02 * fine)


def _draw_bones(canvas, v, femur, tibia, fibula, texture, fine):
    """Dark cortex, thicker along the shafts; marrow with trabeculae; the scars of the growth
    plates.
    """
    trabeculae = texture.octaves(0.035, 3, stretch=2) + 0.6 * fine
    marrow = 0.21 * (1 + 0.17 * trabeculae + 0.10 * texture.field(0.3))
    shaft = _smoothstep((np.abs(v - 0.1) - 0.45) / 0.5)
    for bone, thickness in (
        (femur, 0.014 + 0.030 * shaft),
        (tibia, 0.014 + 0.026 * shaft),
        (fibula, 0.018),
    ):
        canvas.fill(bone, 0.045)
        canvas.fill(bone + thickness, marrow)
    wave = 0.03 * texture.field(0.25) + 0.006 * texture.field(0.08)
    for bone, level in ((femur, -0.43), (tibia, 0.47)):
        canvas.stroke(v - level - wave, 0.010, 0.12, within=bone + 0.02)


def _draw_lesion(canvas, u, v, femur, tibia, rng, fine):
    """A bright, soft marrow oedema below the joint surface with a small cyst in it."""
    bone, level = ((femur, -0.05), (tibia, 0.24))[rng.integers(2)]
    centre = (rng.choice([-1, 1]) * rng.uniform(0.2, 0.36), level + rng.uniform(-0.03, 0.03))
    size = rng.uniform(0.05, 0.11)
    oedema = np.exp(-(((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / size**2))
    canvas.fill(bone + 0.014, 0.6 + 0.05 * fine, 0.8 * oedema)
    canvas.fill(_ellipse(u, v, centre, (0.25 * size, 0.2 * size)), 0.92)


def _phase(y, x, rng, texture):
    a = rng.uniform(-1, 1, 5)
    phase = (
        0.8 * (a[0] * y + a[1] * x)
        + 0.4 * (a[2] * y * x + a[3] * y**2 + a[4] * x**2)
        + rng.uniform(-3, 3)
    )
    return (phase + 0.2 * texture.field(0.7) + 0.04 * texture.field(0.15)).astype(np.float32)
