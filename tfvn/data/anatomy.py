"""Seeded knee-like coronal slices with fine detail, of any size.

Anatomy lives in the continuous coordinates of `tfvn.data.drawing`, where one unit is about 80 mm. A
subject is the same at every size; only the pixels differ. The contrast is proton density with fat
suppressed: fluid and cartilage bright, marrow and fat dark grey, cortical bone, menisci and
ligaments nearly black.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from tfvn.data.drawing import (
    Canvas,
    Texture,
    axes,
    capsule,
    ellipse,
    intersection,
    smoothstep,
    union,
)

__all__ = ["knee_slice", "smooth_phase"]


class _Subject(NamedTuple):
    """What all structures are drawn with.

    u, v: anatomical coordinates of every pixel, (height, width).
    rng: draws of sizes and places.
    texture: random fields.
    fine: a field of fine detail.
    """

    u: np.ndarray
    v: np.ndarray
    rng: np.random.Generator
    texture: Texture
    fine: np.ndarray


class _Bones(NamedTuple):
    """Signed distances of the bones, and of the notch between the condyles."""

    femur: np.ndarray
    tibia: np.ndarray
    fibula: np.ndarray
    notch: np.ndarray


def knee_slice(height, width, seed, blur=0.0, detail=1.0):
    """A coronal, fat-suppressed, proton-density knee.

    Args:
        height, width: pixels, at least 16 each. Pixels are square; a longer side shows more of the
            leg.
        seed: a whole number >= 0 or a sequence of them: the subject.
        blur: deviation of a Gaussian that smooths the image, in pixels; 0: none does.
        detail: strength of the fine random texture in the tissues, such as fibres, septa and
            trabeculae; 0: the tissues have none, and only vessels and edges are fine.

    Returns:
        complex64 (height, width): magnitude in [0, 1], smooth phase.

    Raises:
        ValueError: for a side below 16 pixels.
    """
    y, x, pixel = axes(height, width)
    y, x = y[:, None], x[None]
    numbers = np.atleast_1d(seed).tolist()
    rng = np.random.default_rng([0, *numbers])
    texture = Texture((height, width), pixel, numbers, detail)
    u, v = _deform(y, x, rng, texture)
    subject = _Subject(u, v, rng, texture, texture.octaves(0.1, 5))
    canvas = Canvas(u.shape, pixel)
    _draw_soft_tissue(canvas, subject)
    bones = _bones(u, v, rng)
    _draw_joint(canvas, subject, bones)
    _draw_bones(canvas, subject, bones)
    if rng.uniform() < 0.35:
        _draw_lesion(canvas, subject, bones)
    magnitude = np.clip(canvas.image * (1 + 0.06 * texture.field(0.9)), 0, 1)
    phase = _phase(y, x, rng, texture)
    image = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    if blur:
        image = gaussian_filter(image, blur)
    return image


def smooth_phase(height, width, seed):
    """The smooth phase of an image, as a knee has it.

    Args:
        height, width: pixels, at least 16 each.
        seed: a whole number >= 0 or a sequence of them.

    Returns:
        float32 (height, width), in radians.

    Raises:
        ValueError: for a side below 16 pixels.
    """
    y, x, pixel = axes(height, width)
    numbers = np.atleast_1d(seed).tolist()
    texture = Texture((height, width), pixel, numbers)
    return _phase(y[:, None], x[None], np.random.default_rng([3, *numbers]), texture)


def _deform(y, x, rng, texture):
    """Anatomical coordinates (u, v) of every pixel: left or right knee, affine map, smooth warp."""
    angle = rng.uniform(-0.1, 0.1)
    stretch = 1 / rng.uniform(0.93, 1.07, 2)
    shift = rng.uniform(-0.05, 0.05, 2)
    shear = rng.uniform(-0.05, 0.05)
    mirror = rng.choice([-1.0, 1.0])
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = x - shift[0], y - shift[1]
    u = mirror * stretch[0] * (cos * x + (sin + shear) * y)
    u = u + 0.02 * texture.field(0.8) + 0.005 * texture.field(0.3)
    v = stretch[1] * (cos * y - sin * x)
    v = v + 0.02 * texture.field(0.8) + 0.005 * texture.field(0.3)
    return u.astype(np.float32), v.astype(np.float32)


def _draw_soft_tissue(canvas, subject):
    """Skin, subcutaneous fat with septa, muscle with fibres and fasciae, vessels."""
    u, v, rng, texture, fine = subject
    waist = 0.06 * np.exp(-(((v - 0.1) / 0.35) ** 2))
    leg = np.abs(u) - (0.82 - waist - 0.06 * smoothstep((v - 0.2) / 1.6))
    muscle = leg + rng.uniform(0.08, 0.14) + 0.015 * texture.field(0.5)
    septa = texture.detail * np.exp(-((texture.field(0.09, 0.7) / 0.12) ** 2))
    canvas.fill(leg, 0.30 + 0.04 * fine)
    canvas.fill(leg + 0.016, 0.14 + 0.025 * fine + 0.08 * septa)
    waves = 2 * np.pi * (9 * u + 2.5 * v * np.sign(u)) + 2.2 * texture.field(0.35, 2)
    visible = 0.5 * texture.detail * smoothstep(1 / (18 * canvas.pixel) - 0.7)
    fibres = visible * np.sin(waves) + texture.octaves(0.06, 4, stretch=5)
    fascia = texture.detail * np.exp(-((texture.field(0.3, 2.5) / 0.07) ** 2))
    canvas.fill(muscle, 0.37 * (1 + 0.16 * fibres + 0.06 * fine) - 0.2 * fascia)
    canvas.stroke(muscle, 0.008, 0.10)
    _draw_vessels(canvas, subject, muscle)


def _draw_vessels(canvas, subject, muscle):
    """Vessels that cross the slice, and two that branch in it."""
    u, v, rng = subject.u, subject.v, subject.rng
    for _ in range(rng.integers(6, 10)):
        x = rng.choice([-1, 1]) * rng.uniform(0.42, 0.68)
        y = rng.choice([-1, 1]) * rng.uniform(0.45, 1.3)
        segment = (x, y), (x, y + 1e-3), rng.uniform(0.008, 0.022)
        _draw_vessel(canvas, u, v, muscle, [segment])
    for level in (-1, 1):
        x = rng.choice([-1, 1]) * 0.60
        start = np.array([x, level * rng.uniform(0.85, 1.0)])
        direction = level * rng.uniform(-1.9, -1.3)
        segments = _branches(start, direction, 0.17, 0.013, 4, rng)
        _draw_vessel(canvas, u, v, muscle, segments)


def _branches(start, direction, length, radius, depth, rng):
    """Segments (start, end, radius) of a vessel that forks `depth` times."""
    end = start + length * np.array([np.cos(direction), np.sin(direction)])
    segments = [(start, end, radius)]
    if not depth:
        return segments
    # Both turns are drawn before what grows from them.
    for turn in (rng.uniform(0.05, 0.4), -rng.uniform(0.2, 0.6)):
        shorter = length * rng.uniform(0.6, 0.8)
        segments += _branches(end, direction + turn, shorter, 0.7 * radius, depth - 1, rng)
    return segments


def _draw_vessel(canvas, u, v, muscle, segments):
    """Bright, with a thin dark wall, inside the muscle."""
    points = []
    for start, end, _ in segments:
        points += [start, end]
    window = canvas.window(u, v, points, margin=0.05)
    # Finer ones would not be seen.
    segments = [segment for segment in segments if segment[2] > 0.2 * canvas.pixel]
    if not window or not segments:
        return
    u, v = u[window], v[window]
    tubes = [capsule(u, v, start, end, r, 0.8 * r) for start, end, r in segments]
    tube = functools.reduce(np.minimum, tubes)
    canvas.fill(np.maximum(tube - 0.005, muscle[window] + 0.005), 0.18, window=window)
    canvas.fill(np.maximum(tube, muscle[window] + 0.01), 0.80, window=window)


def _bones(u, v, rng):
    side = np.abs(u)
    shaft = side - (0.19 + 0.31 * smoothstep((v + 0.95) / 0.75))
    shaft = intersection(shaft, v + 0.18, 0.1)
    radii = rng.uniform(0.255, 0.28), rng.uniform(0.235, 0.255)
    condyles = ellipse(side, v, (0.28, -0.19), radii)
    notch = ellipse(u, v, (rng.uniform(-0.02, 0.02), 0.04), (0.095, 0.20))
    femur = intersection(union(shaft, condyles, 0.08), -notch, 0.03)
    spines = 0.065 * np.exp(-(((side - 0.05) / 0.03) ** 2))
    spines = spines - 0.018 * np.exp(-(((side - 0.28) / 0.14) ** 2))
    flank = side - (0.18 + 0.34 * smoothstep((0.9 - v) / 0.65))
    tibia = intersection(flank, 0.145 - spines - v, 0.07)
    fibula = capsule(u, v, (0.56, 0.48), (0.45, 2.6), 0.075, 0.05)
    return _Bones(femur, tibia, fibula, notch)


def _draw_joint(canvas, subject, bones):
    """Capsule, fluid, ligaments, cartilage on the bone ends, menisci between them."""
    u, v, rng, texture, fine = subject
    femur, tibia = bones.femur, bones.tibia
    hull = ellipse(u, v, (0, 0.08), (0.60, 0.36))
    folds = texture.detail * np.exp(-((texture.field(0.07) / 0.2) ** 2))
    canvas.fill(hull, 0.25 + 0.05 * fine + 0.06 * folds)
    canvas.stroke(hull, 0.010, 0.08)
    fluid = np.maximum(np.maximum(femur, tibia) - 0.10, hull + 0.03)
    canvas.fill(fluid, 0.93 + 0.03 * fine)
    _draw_ligaments(canvas, subject)
    swelling = 1 + 0.12 * texture.field(0.25)
    femoral = rng.uniform(0.038, 0.050) * swelling
    tibial = rng.uniform(0.034, 0.044) * swelling
    taper = smoothstep((v + 0.27) / 0.15) * smoothstep(bones.notch / 0.05)
    _draw_cartilage(canvas, femur, femoral, taper, fine)
    taper = smoothstep((0.25 - v) / 0.07) * smoothstep((np.abs(u) - 0.08) / 0.05)
    _draw_cartilage(canvas, tibia, tibial, taper, fine)
    # The menisci.
    side = np.abs(u)
    apex = rng.uniform(0.30, 0.36)
    rim = 0.545 + 0.02 * texture.field(0.4)
    between = np.maximum(femoral + 0.010 - femur, tibial + 0.008 - tibia)
    wedge = np.maximum(between, np.maximum(apex - side, side - rim))
    canvas.fill(np.maximum(wedge, np.abs(v - 0.06) - 0.13), 0.07 + 0.02 * fine)


def _draw_ligaments(canvas, subject):
    """The two cruciate ligaments, then the two at the sides."""
    u, v, _, texture, fine = subject
    strands = 0.12 + 0.10 * texture.octaves(0.03, 3, stretch=3)
    canvas.fill(capsule(u, v, (0.07, -0.13), (-0.05, 0.13), 0.030, 0.024), strands)
    canvas.fill(ellipse(u, v, (-0.055, -0.06), (0.028, 0.045)), 0.08 + 0.02 * fine)
    for start, end in (((-0.545, -0.32), (-0.50, 0.62)), ((0.55, -0.28), (0.59, 0.44))):
        canvas.fill(capsule(u, v, start, end, 0.017, 0.013), 0.6 * strands)


def _draw_cartilage(canvas, bone, depth, taper, fine):
    """Two laminae: the deep one, on the bone, is darker.

    Where it tapers off, the layer sinks below the bone's edge.
    """
    depth = (depth + 0.02) * taper - 0.02
    canvas.fill(bone - depth, 0.70 + 0.07 * fine)
    canvas.fill(bone - 0.45 * depth, 0.56 + 0.07 * fine)


def _draw_bones(canvas, subject, bones):
    """Dark cortex, thicker along the shafts; marrow with trabeculae; scars of the growth plates."""
    v, texture, fine = subject.v, subject.texture, subject.fine
    trabeculae = texture.octaves(0.035, 3, stretch=2) + 0.6 * fine
    marrow = 0.21 * (1 + 0.17 * trabeculae + 0.10 * texture.field(0.3))
    shaft = smoothstep((np.abs(v - 0.1) - 0.45) / 0.5)
    for bone, thickness in (
        (bones.femur, 0.014 + 0.030 * shaft),
        (bones.tibia, 0.014 + 0.026 * shaft),
        (bones.fibula, 0.018),
    ):
        canvas.fill(bone, 0.045)
        canvas.fill(bone + thickness, marrow)
    wave = 0.03 * texture.field(0.25) + 0.006 * texture.field(0.08)
    for bone, level in ((bones.femur, -0.43), (bones.tibia, 0.47)):
        canvas.stroke(v - level - wave, 0.010, 0.12, within=bone + 0.02)


def _draw_lesion(canvas, subject, bones):
    """A bright, soft marrow oedema below the joint surface with a small cyst in it."""
    u, v, rng, _, fine = subject
    places = ((bones.femur, -0.05), (bones.tibia, 0.24))
    bone, level = places[rng.integers(2)]
    x = rng.choice([-1, 1]) * rng.uniform(0.2, 0.36)
    y = level + rng.uniform(-0.03, 0.03)
    size = rng.uniform(0.05, 0.11)
    oedema = np.exp(-(((u - x) ** 2 + (v - y) ** 2) / size**2))
    canvas.fill(bone + 0.014, 0.6 + 0.05 * fine, 0.8 * oedema)
    canvas.fill(ellipse(u, v, (x, y), (0.25 * size, 0.2 * size)), 0.92)


def _phase(y, x, rng, texture):
    a = rng.uniform(-1, 1, 5)
    linear = a[0] * y + a[1] * x
    quadratic = a[2] * y * x + a[3] * y**2 + a[4] * x**2
    phase = 0.8 * linear + 0.4 * quadratic + rng.uniform(-3, 3)
    return (phase + 0.2 * texture.field(0.7) + 0.04 * texture.field(0.15)).astype(np.float32)
