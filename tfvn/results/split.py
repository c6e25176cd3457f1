"""What an attack changes in an answer, in two parts: `evaluate.py --parts`.

    c = (|f(k + A r)| - |f(k)|) exp(i phase of y),    c = c_range + c_null

The part in the range of A^H is what the measured data say something of, and the part in the null
space of A is what only the network says: see `tfvn.defences.projected.parts`. Every answer has the
phase of the reference, so that models with and without a phase of their own are measured alike, and
|| c || is the effect.

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
from tfvn.results.candidates import cases, check_attacks, open_candidates
from tfvn.results.measure import load
from tfvn.results.transfer import answer_to, balls
from tfvn.results.writing import prepare_folder, write_table
from tfvn.runs import locks

__all__ = ["FILES", "effect_in_parts"]

FILES = ("parts.csv", "parts.md")


def effect_in_parts(run_dirs, output, overrides=(), strategy=None):
    """Writes how much of each effect lies in the range of A^H and in the null space of A, see
    `FILES`.

    `effect_range`^2 + `effect_null`^2 is `effect`^2, up to directions that are hardly measured. The
    attack's own r has parts too, of the norms `r_range` and `r_null`: what of it the data see, and
    what is lost in them.

    Args:
        run_dirs, output, overrides: as for `tfvn.results.evaluate.evaluate`.
        strategy: a `tf.distribute` strategy over whose devices the draws are split.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: as `evaluate`; also if no run has an attack in an l2 ball, and for data without
            a reference.
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
    with locks.alone(output, "evaluates into it"):
        rows = []
        for candidate in attacked:
            # One network at a time is in memory.
            rows.extend(_rows(candidate, load(candidate, strategy)))
        return _write(rows, output)


def _rows(candidate, loaded):
    """The rows of one run."""
    model, found = loaded.model, []
    # Conjugate gradients take long where each step is called by itself.
    split = tf.function(functools.partial(projected.parts, model.sense), autograph=False)
    source = data.source(candidate.config, "test")
    with progress.bar(total=len(source), desc=f"parts {candidate.name}", unit="slice") as bar:
        for case in cases(candidate.config, source):
            if not np.isfinite(case.reference).all():
                raise ValueError(f"{case.name} has no reference, and parts have its phase.")
            clean = answer_to(model, case, None)
            for kind, radius in balls(candidate):
                nothing = attacks.IMAGE.zero(model.sense, case.inputs)
                r = candidate.perturbation(kind, radius, case, loaded.digest, nothing)
                change = answer_to(model, case, r) - clean
                place = {"model": candidate.name, "slice": case.index, "name": case.name}
                place |= {"attack": kind, "radius": radius}
                found.append({**place, **_norms(split, case, change, r)})
            bar.update()
    return found


def _norms(split, case, change, r):
    """The norms of a change of the magnitude, of its parts, and of those of r, a dict."""
    operands = {name: tf.constant(case.inputs[name]) for name in ("sensitivity_maps", "mask")}
    phase = tf.math.angle(case.reference)
    turned = tf.cast(change, r.dtype) * tf.cast(tf.exp(tf.complex(0 * phase, phase)), r.dtype)
    numbers = {"effect": _norm(turned)}
    for name, image in (("effect", turned), ("r", r)):
        in_range, in_null = split(operands, image)
        numbers |= {f"{name}_range": _norm(in_range), f"{name}_null": _norm(in_null)}
    return numbers


def _norm(image):
    return float(np.linalg.norm(image.numpy().astype(np.complex128)))


def _write(rows, output):
    """Writes and prints the rows. Returns the paths of the files."""
    columns = ("effect", "effect_range", "effect_null", "r_range", "r_null")
    lines = [["model", "attack", "effect", "in the range", "null space", "r in the range", "null"]]
    places = dict.fromkeys((row["model"], row["attack"], row["radius"]) for row in rows)
    for model, kind, radius in places:
        own = []
        for row in rows:
            if (row["model"], row["attack"], row["radius"]) == (model, kind, radius):
                own.append([row[column] for column in columns])
        means = [tables.digits(mean) for mean in np.mean(own, 0)]
        lines.append([model, attacks.of(kind).label(radius), *means])
    text = (
        f"{tables.aligned(lines)}\nMeans of norms over the slices. Range: what the measured data"
        " say something of. Null space: what only the network says. Answers have the phase of the"
        " reference.\n"
    )
    return write_table(output, "parts", rows, text)
