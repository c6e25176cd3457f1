"""Pictures in continuous coordinates: signed distances on a canvas, and random textures.

The origin is the centre pixel, x grows with the columns, y with the rows, one unit is half the
shorter side. A structure is a signed distance d in units, negative inside, drawn with the coverage
smoothstep(1/2 - d / pixel): edges are about one pixel wide. Texture is made of smooth random
lattices; one that is finer than the pixels fades out instead of aliasing.
"""

import functools

import numpy as np

from tfvn.checks import whole

__all__ = [
    "Canvas",
    "Texture",
    "axes",
    "capsule",
    "ellipse",
    "intersection",
    "smoothstep",
    "union",
]

# Lattices repeat after this many units: more than is seen of one leg, and a subject is the same in
# every window.
_LATTICE_PERIOD = 4.0
# The mean over a cell of the sum of squared spline weights. Each axis takes its root from the
# deviation of a texture.
_SQUARED_WEIGHTS = 0.479
_SMALLEST = 16


def axes(height, width):
    """Coordinates (height,) of the rows and (width,) of the columns, and the size of a pixel.

    Raises:
        ValueError: for a side below 16 pixels.
    """
    height = whole("height", height, least=_SMALLEST)
    width = whole("width", width, least=_SMALLEST)
    pixel = 2 / min(height, width)
    return _coordinates(height, pixel), _coordinates(width, pixel), pixel


def _coordinates(size, pixel):
    return (np.arange(size, dtype=np.float32) - size // 2) * np.float32(pixel)


def smoothstep(t):
    """0 below 0, 1 above 1, and a cubic between them."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def union(a, b, rounding):
    """The distance of two structures together, of which the edge between them is rounded."""
    overlap = np.maximum(rounding - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap**2 / (4 * rounding)


def intersection(a, b, rounding):
    """The distance of what two structures share."""
    return -union(-a, -b, rounding)


def ellipse(x, y, centre, radii):
    """The distance of an ellipse, to first order: the level over its gradient."""
    x = (x - centre[0]) / radii[0]
    y = (y - centre[1]) / radii[1]
    radius = np.hypot(x, y)
    gradient = np.hypot(x / radii[0], y / radii[1])
    return radius * (radius - 1) / np.maximum(gradient, 1e-6)


def capsule(x, y, start, end, radius, end_radius):
    """The distance of a segment whose radius goes linearly from `radius` to `end_radius`."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy)
    along = np.clip(along, 0, 1)
    distance = np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
    return distance - radius - (end_radius - radius) * along


@functools.lru_cache(maxsize=128)
def _spline_weights(size, pixel, nodes):
    """The values of periodic cubic B-splines at the pixels of an axis.

    Returns:
        A matrix (size, nodes), from the coefficients of the splines to the values.
    """
    t = (np.arange(size) - size // 2) * (pixel * nodes / _LATTICE_PERIOD)
    first = np.floor(t).astype(int)
    weights = np.zeros((size, nodes), np.float32)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(t - first - offset)
        inner = 2 / 3 - distance**2 * (1 - distance / 2)
        outer = np.maximum(2 - distance, 0) ** 3 / 6
        columns = (first + offset) % nodes
        weights[np.arange(size), columns] += np.where(distance < 1, inner, outer)
    return weights


class Texture:
    """Smooth random fields of zero mean and unit variance on the pixels.

    Each is keyed by the seed and by how many were asked for before it.

    Args:
        shape: (height, width).
        pixel: size of a pixel.
        seed: a list of whole numbers.
        detail: the deviation of sums of fields, see `octaves`.
    """

    def __init__(self, shape, pixel, seed, detail=1.0):
        self.shape = shape
        self.pixel = pixel
        self.seed = seed
        self.detail = float(detail)
        self.count = 0

    def field(self, cell, stretch=1.0):
        """A cubic B-spline of white noise on cells of (cell * stretch, cell) units.

        Returns:
            (height, width), or 0 where the cells are finer than the pixels.
        """
        self.count += 1
        fade = smoothstep(cell / self.pixel - 1)
        if fade == 0:
            return np.float32(0)
        nodes = [max(4, round(_LATTICE_PERIOD / size)) for size in (cell * stretch, cell)]
        rng = np.random.default_rng([self.count, *self.seed])
        noise = rng.standard_normal(nodes, np.float32)
        rows = _spline_weights(self.shape[0], self.pixel, nodes[0])
        columns = _spline_weights(self.shape[1], self.pixel, nodes[1])
        return np.float32(fade / _SQUARED_WEIGHTS) * (rows @ noise @ columns.T)

    def octaves(self, cell, number, stretch=1.0):
        """The mean of fields of cells cell, cell / 2, cell / 4, ..., of the deviation `detail`."""
        total = sum(self.field(cell / 2**n, stretch) for n in range(number))
        return self.detail * (total / np.float32(np.sqrt(number)))


class Canvas:
    """A grey image on which signed distances are painted one over the other.

    Args:
        shape: (height, width).
        pixel: size of a pixel.
    """

    def __init__(self, shape, pixel):
        self.image = np.zeros(shape, np.float32)
        self.pixel = pixel

    def cover(self, distance):
        """The part of each pixel that a structure covers."""
        return smoothstep(0.5 - distance / np.float32(self.pixel))

    def fill(self, distance, value, opacity=1.0, window=...):
        """Paints a structure."""
        part = self.image[window]
        part += self.cover(distance) * np.asarray(opacity, np.float32) * (value - part)

    def stroke(self, distance, thickness, value, within=-np.inf):
        """Paints a line along distance = 0 where within < 0.

        Below a pixel it is drawn fainter, as partial volume does.
        """
        half = np.float32(max(thickness, self.pixel) / 2)
        line = np.maximum(np.abs(distance) - half, within)
        self.fill(line, value, min(1.0, thickness / self.pixel))

    @staticmethod
    def window(u, v, points, margin):
        """Rows and columns of all pixels within `margin` of the box round `points` (m, 2).

        Returns:
            Two slices; None where the box is outside of the image.
        """
        low = np.min(points, 0) - margin
        high = np.max(points, 0) + margin
        inside = (u > low[0]) & (u < high[0]) & (v > low[1]) & (v < high[1])
        rows = np.flatnonzero(inside.any(1))
        columns = np.flatnonzero(inside.any(0))
        if not len(rows):
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
