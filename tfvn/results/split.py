"""What an attack changes in an image, in two parts: `evaluate.py --parts`.

    c = f(k + A r) - f(k),    c = c_range + c_null

The part in the range of A^H is what the measured data say something of, and the part in the null
space of A is what only the network says: see `tfvn.defences.projected.parts`. A direction of
singular value s is measured to the share s^2 / (s^2 + 1e-4), so the norms of both parts depend on
that number.

f is the complex image of a model that has one. The answer of most defences is a magnitude. It gets
the phase of the reference: c = (|f(k + A r)| - |f(k)|) exp(i phase of y). Magnitudes of images that
differ in the range alone differ in the null space too, so c_null is then larger than what the
network has made up.

    parts.csv   a row for each model, slice and attack in an l2 ball
    parts.md    their means over the slices

Schwab, Antholzer and Haltmeier, Deep null space learning for inverse problems, Inverse Problems
35(2), 2019.
"""

import functools

import numpy as np
import tensorflow as tf

from tfvn import attacks, data, progress, tables
from tfvn.defences import projected
from tfvn.models import compiled
from tfvn.results.candidates import cases, check_attacks, open_candidates
from tfvn.results.measure import check_finite, load
from tfvn.results.transfer import answer_to, balls, measured_with
from tfvn.results.writing import prepare_folder, write_table
from tfvn.runs import locks

__all__ = ["FILES", "effect_in_parts"]

FILES = ("parts.csv", "parts.md")


def effect_in_parts(run_dirs, output, overrides=(), strategy=None):
    """Writes how much of each change lies in the range of A^H and in the null space of A, see
    `FILES`.

    `image` is "complex" or "magnitude", `change` is || c ||, and `range`^2 + `null`^2 is its
    square up to directions that are hardly measured. The attack's own r has parts too, of the norms
    `r_range` and `r_null`: what of it the data see, and what is lost in them.

    Args:
        run_dirs, output, overrides: as for `tfvn.results.evaluate.evaluate`. Runs without an attack
            in an l2 ball are left out, and named.
        strategy: a `tf.distribute` strategy over whose devices the draws are split.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: as `evaluate`; also if no run has an attack in an l2 ball, for an answer that is
            not finite, and for magnitudes of data without a reference.
    """
    candidates = open_candidates(run_dirs, overrides)
    attacked = [candidate for candidate in candidates if balls(candidate)]
    if not attacked:
        raise ValueError(
            "parts of an effect need a run with an attack in an l2 ball of images. None of these"
            " has one: python attack.py --run-dir RUN."
        )
    check_attacks(attacked, len(data.source(candidates[0].config, "test")))
    prepare_folder(output, FILES)
    left_out = [candidate.name for candidate in candidates if not balls(candidate)]
    with locks.alone(output, "evaluates into it"):
        rows = []
        for candidate in attacked:
            # One network at a time is in memory.
            rows.extend(_rows(candidate, load(candidate, strategy)))
        return _write(rows, left_out, output)


def _rows(candidate, loaded):
    """The rows of one run."""
    model, found = loaded.model, []
    # Conjugate gradients take long where each step is called by itself.
    split = tf.function(functools.partial(projected.parts, model.sense), autograph=False)
    source = data.source(candidate.config, "test")
    with progress.bar(total=len(source), desc=f"parts {candidate.name}", unit="slice") as bar:
        for case in cases(candidate.config, source):
            operands = {name: case.inputs[name] for name in ("sensitivity_maps", "mask")}
            operands = tf.nest.map_structure(tf.convert_to_tensor, operands)
            clean = _image(candidate, model, case, None)
            nothing = attacks.IMAGE.zero(model.sense, case.inputs)
            for kind, radius in balls(candidate):
                r = candidate.perturbation(kind, radius, case, loaded.digest, nothing)
                change = _image(candidate, model, case, r) - clean
                place = {"model": candidate.name, "slice": case.index, "name": case.name}
                place |= {"attack": kind, "radius": radius, "image": _kind_of(model)}
                norms = {"change": _norm(change)}
                for name, image in (("", change), ("r_", r)):
                    both = split(operands, image)
                    norms |= {f"{name}range": _norm(both.range), f"{name}null": _norm(both.null)}
                found.append({**place, **norms})
            bar.update()
    return found


def _kind_of(model):
    """Which image of a model is split."""
    return "complex" if model.has_phase and not model.draws else "magnitude"


def _image(candidate, model, case, r):
    """f of a slice with r in it or None, complex (1, rows, width).

    Raises:
        ValueError: if it is not finite, and for a magnitude without the phase of a reference.
    """
    if _kind_of(model) == "complex":
        image = compiled.shared(model, _complex_answer)(measured_with(model, case, r))
    else:
        phase = tf.math.angle(case.reference)
        phase = tf.exp(tf.complex(tf.zeros_like(phase), phase))
        if not np.isfinite(phase).all():
            raise ValueError(
                f"{case.name} has no reference, whose phase magnitudes need here. Leave"
                f" {candidate.name} out, or take test data that are fully sampled."
            )
        image = tf.cast(answer_to(model, case, r), phase.dtype) * phase
    check_finite(candidate, case.name, image)
    return image


def _complex_answer(model, given):
    return model.call_for(given, ())


def _norm(image):
    return float(np.linalg.norm(image.numpy().astype(np.complex128)))


def _write(rows, left_out, output):
    """Writes and prints the rows. Returns the paths of the files."""
    columns = ("change", "range", "null", "r_range", "r_null")
    heads = ["change", "in the range", "in the null space", "r in the range", "r in the null space"]
    lines = [["model", "image", "attack", *heads]]
    slices = {}
    for row in rows:
        place = row["model"], row["image"], row["attack"], row["radius"]
        slices.setdefault(place, []).append([row[column] for column in columns])
    for (model, image, kind, radius), norms in slices.items():
        means = [tables.digits(mean) for mean in np.mean(norms, 0)]
        lines.append([model, image, attacks.of(kind).label(radius), *means])
    text = (
        f"{tables.aligned(lines)}\nMeans of norms over the slices. Range: what the measured data"
        " say something of. Null space: directions that are hardly measured (s^2 < 1e-4 or so)."
        " Magnitudes have the phase of the reference, and more in the null space for it.\n"
    )
    if left_out:
        text += f"Left out, without an attack in an l2 ball: {', '.join(left_out)}.\n"
    return write_table(output, "parts", rows, text)
