"""The error that no method can be below, under changes of the data up to a radius.

Let y and y' be images with || A (y' - y) ||_2 <= 2 rho, and k and k' = k + A (y' - y) data of them.
The data halfway between are within rho of both. A method has one answer u to them, so

    max( || u - |y| ||, || u - |y'| || )  >=  || |y'| - |y| || / 2.

This holds for every map from data to images, and for changes A r alone. So no method can keep the
worst error over all || d ||_2 <= rho below it for both images of the pair. It is a statement about
the pair: a method may be right about one of both. An attack that stays below it at y proves nothing
of y': it may have missed the worst d, and y is only one of both. The larger || y' - y || is by
|| A (y' - y) ||, the more it says. y' is here

* y with a lesion, a disc that is brighter or darker by one number, with the phase of y;
* y with a texture in such a disc, the one of the Gram matrix of A in it that the data show least;
* the magnitude of the slice before it, with the phase of y: a pair of the library.

Lesions change no magnitude by more than a share of the largest one: y' must be an image that there
could be. The Gram matrix on pixels p and q is sum_c conj(S_c,p) S_c,q T(p - q), T the point spread
of the squared mask. It is exact, and no operator is applied.

Both are in units of the scale of y, max |A^H k| of its data, and have its maps. Both are held fixed
while the data change.

    floor.csv   a row for each slice, kind of pair and radius
    floor.md    their means over the slices

Gottschling, Antun, Hansen, Adcock, The Troublesome Kernel, SIAM Review 2025.
"""

from typing import NamedTuple

import numpy as np

from tfvn import attacks, data, progress, tables
from tfvn.attacks.discs import grid
from tfvn.attacks.region import in_disc
from tfvn.certificates.draws import check_radii
from tfvn.physics.sense import Sense
from tfvn.results.candidates import cases, open_candidates
from tfvn.results.writing import prepare_folder, write_table
from tfvn.runs import locks

__all__ = [
    "FILES",
    "Floor",
    "KINDS",
    "Pair",
    "floor_of_run",
    "floors",
    "gram",
    "lesion_floors",
    "pair_floors",
    "pair_of",
]

FILES = ("floor.csv", "floor.md")
KINDS = ("lesion", "texture", "pair")
# Radius of a lesion, in pixels, and how much of the largest magnitude it may change.
_RADIUS = 4
_CONTRAST = 0.5
# A disc lies in the object if its mean magnitude is at least this share of the largest one.
_IN_OBJECT = 0.1
# The threat whose radius is that of a floor.
_BALL = "kspace"


class Floor(NamedTuple):
    """What no method can be below.

    kind: one of `KINDS`.
    radius: rho, of || A r ||_2.
    error: the largest || |y'| - |y| || / 2 of all pairs within 2 rho; 0 where there is none.
    """

    kind: str
    radius: float
    error: float


class Pair(NamedTuple):
    """Two images of one scan.

    radius: || A (y' - y) ||_2 / 2, from which on the pair says something.
    error: || |y'| - |y| ||_2 / 2.
    """

    radius: float
    error: float


def floors(case, sense, radii, before=None):
    """The `Floor`s of a slice, of each kind and radius.

    Args:
        case: a `tfvn.results.candidates.Case` with a reference.
        sense: the `Sense` of A.
        radii: of || A r ||_2, a list.
        before: the reference of another slice of the same size, (rows, width); None without one.
    """
    found = lesion_floors(case, sense, radii)
    if before is not None and before.shape == case.reference.shape[1:]:
        found += pair_floors(pair_of(case, sense, before), radii)
    return found


def pair_of(case, sense, before):
    """The `Pair` of a slice and of another one's magnitude with its phase."""
    reference = case.reference.numpy()
    other = np.abs(before) * _phase(reference)
    change = (other - reference).astype(reference.dtype)
    data = sense.forward(change, case.inputs["sensitivity_maps"], case.inputs["mask"])
    error = np.linalg.norm(np.abs(other).astype(float) - np.abs(reference)) / 2
    return Pair(float(np.linalg.norm(data.numpy().astype(np.complex128))) / 2, float(error))


def pair_floors(pair, radii):
    """The `Floor` of one pair at each radius."""
    return [Floor("pair", r, pair.error if pair.radius <= r else 0.0) for r in radii]


def lesion_floors(case, sense, radii, disc=_RADIUS, contrast=_CONTRAST):
    """The `Floor`s of a lesion and of a texture at each radius, each in its worst place.

    Args:
        case, sense, radii: as for `floors`.
        disc: the radius of a lesion, in pixels.
        contrast: how much of the largest magnitude of the slice a lesion may change.
    """
    reference = case.reference[0].numpy().astype(np.complex128)
    maps, spread = _operands(case, sense)
    largest = np.abs(reference).max()
    errors = {"lesion": np.zeros(len(radii)), "texture": np.zeros(len(radii))}
    for pixels in _discs(disc, reference.shape):
        there = reference[pixels]
        if np.abs(there).mean() < _IN_OBJECT * largest:
            continue
        matrix = _real(gram(maps, spread, pixels), _phase(there))
        # Of changes x of magnitudes: || A x ||^2 = x^T matrix x.
        lesion = np.ones((len(there), 1))
        textures = np.linalg.eigh(matrix)[1]
        for kind, changes in (("lesion", lesion), ("texture", textures)):
            own = _largest(np.abs(there), changes, matrix, np.array(radii), contrast * largest)
            errors[kind] = np.maximum(errors[kind], own)
    found, order = [], np.argsort(radii)
    for kind, values in errors.items():
        # A pair within a radius is within every larger one, where another change may be less.
        values[order] = np.maximum.accumulate(values[order])
        found += [Floor(kind, r, float(error)) for r, error in zip(radii, values)]
    return found


def _discs(radius, shape):
    """Yields the pixels of discs that cover an image, as their rows and columns."""
    side = 2 * radius + 1
    rows, columns = np.nonzero(in_disc(radius, radius, radius, side, side).numpy())
    for row, column, _ in grid(radius, *shape):
        yield row - radius + rows, column - radius + columns


def _operands(case, sense):
    """The coil maps on the rows of the image, and T."""
    maps = np.asarray(case.inputs["sensitivity_maps"])[0].astype(np.complex128)
    mask = np.asarray(case.inputs["mask"])[0, 0].astype(float)
    height, width = maps.shape[1:]
    top, rows, _ = sense.rows(height)
    weights = np.broadcast_to(mask**2, (height, width))
    return maps[:, top : top + rows], np.fft.ifft2(np.fft.ifftshift(weights))


def gram(maps, spread, pixels):
    """A^H A between pixels of the image, complex (pixels, pixels).

    Args:
        maps: the coil maps on the rows of the image, (coils, rows, width).
        spread: T, (height, width) of the k-space.
        pixels: their rows and columns, two arrays (pixels,).
    """
    rows, columns = pixels
    own = maps[:, rows, columns]
    apart = spread[
        (rows[:, None] - rows) % spread.shape[0], (columns[:, None] - columns) % spread.shape[1]
    ]
    return (own.conj().T @ own) * apart


def _phase(image):
    """exp(i phase); 1 where there is none."""
    magnitude = np.abs(image)
    return np.where(magnitude > 0, image / np.where(magnitude > 0, magnitude, 1), 1)


def _real(matrix, phase):
    """A^H A of images with that phase, between their real factors."""
    return (phase.conj()[:, None] * matrix * phase).real


def _largest(magnitude, changes, matrix, radii, most):
    """The largest || |y'| - |y| || / 2 at each radius, of changes in the columns and their
    negatives.

    Each is made as large as the radius and the contrast `most` allow.
    """
    changes = np.concatenate([changes, -changes], 1)
    seen = np.sqrt(np.maximum((changes * (matrix @ changes)).sum(0), 0))
    with np.errstate(divide="ignore"):
        amounts = np.minimum(most / np.abs(changes).max(0), 2 * radii[:, None] / seen)
    # (radii, pixels, changes)
    changed = np.abs(magnitude[:, None] + amounts[:, None] * changes)
    return np.linalg.norm(changed - magnitude[:, None], axis=1).max(1) / 2


def floor_of_run(run_dir, output, radii=(), overrides=()):
    """Writes the floors of the test slices of a run, see `FILES`. Its model does not matter.

    A row of `floor.csv` has the slice and its `name`, the `kind` of pair, the `radius`, and the
    `error` that no method can be below: 0 where no pair is within it.

    Args:
        run_dir: a run directory; its data count.
        output: the folder of the files.
        radii: of || A r ||_2; none for the radii of the balls of k-space that the run was attacked
            in. A ball of r has another radius: || A r || is not || r ||.
        overrides: as for `tfvn.results.evaluate.evaluate`.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: for data without a reference, for no radii, and what cannot be read or written.
    """
    (candidate,) = open_candidates([run_dir], overrides)
    radii = check_radii(radii or _radii_of(candidate))
    if not radii:
        raise ValueError(
            f"radii must be given: {run_dir} has no attack in a ball of k-space whose radii they"
            " could be. They are norms of what is added to the data, and not of an image r. Add"
            " --radii 1.5 2.5 3.5."
        )
    source = data.source(candidate.config, "test")
    sense = Sense(candidate.config.dataset.readout_oversampling)
    prepare_folder(output, FILES)
    rows, before = [], None
    with (
        locks.alone(output, "writes floors into it"),
        progress.bar(total=len(source), desc=f"floor {candidate.name}", unit="slice") as bar,
    ):
        for case in cases(candidate.config, source):
            reference = case.reference[0].numpy()
            if not np.isfinite(reference).all():
                raise ValueError(f"{case.name} has no reference, and a floor is one of its error.")
            for floor in floors(case, sense, radii, before):
                rows.append({"slice": case.index, "name": case.name, **floor._asdict()})
            before = reference
            bar.update()
        return _write(rows, output)


def _radii_of(candidate):
    """The radii of the l2 balls of k-space that a run was attacked in, in their order."""
    radii = set()
    for kind, size in candidate.attacks:
        attack = attacks.of(kind)
        if attack.ball == _BALL and attack.comparable:
            radii.add(size)
    return sorted(radii)


def _write(rows, output):
    """Writes and prints the rows. Returns the paths of the files."""
    lines = [["floor", "radius", "error", "slices with such a pair"]]
    for kind, radius in dict.fromkeys((row["kind"], row["radius"]) for row in rows):
        own = [row["error"] for row in rows if (row["kind"], row["radius"]) == (kind, radius)]
        there = sum(error > 0 for error in own)
        mean = tables.digits(float(np.mean(own)))
        lines.append([kind, tables.digits(radius), mean, f"{there} of {len(own)}"])
    text = (
        f"{tables.aligned(lines)}\nError: mean over the slices. No method can keep its worst"
        " error over all changes of the data with a norm up to the radius below it for both images"
        " of the pair. Compare it slice by slice, and with attacks on k-space of that radius alone"
        " (threat=kspace). lesion: the slice with a disc of another brightness; texture: with what"
        " its data show least in a disc; pair: with the magnitude of the slice before it.\n"
    )
    return write_table(output, "floor", rows, text)
