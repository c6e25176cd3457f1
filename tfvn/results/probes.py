"""Probes: what a model shows of itself in a few passes and gradients, as flags.

E(e) = 1/2 || f(k + e) - f(k) ||^2 is what attacks make large, and its gradient what they follow.
The probes ask whether the answer is one at all, whether that gradient is its derivative, and
whether a short search with it does what a search has to do.

The gradient is taken in the k-space, and that in an image r is A^H of it. Differences of answers
are taken in double precision, of answers in the precision of the model. A random model has the same
keys in all passes but one.

Source: Carlini et al., On Evaluating Adversarial Robustness, arXiv 1902.06705, 2019, section 5.
"""

import math

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.attacks.base import numbers_of
from tfvn.models.contract import check_model
from tfvn.physics import measurement, noise
from tfvn.results.asked import (
    SEARCH_STEPS,
    STEPS,
    Asked,
    Unknown,
    norms,
    products,
    scaled,
    told_of,
    unit,
)
from tfvn.results.flags import OF_OTHERS, Case, flag_of, unchecked
from tfvn.results.rules import GRADIENT, NO_BETTER, OF_MODELS, REPEATED, STILL

__all__ = ["flags_of_model"]

# The radius of the linear law, in units of images of maximum 1.
_SMALL = 0.01
# Gradients: of the largest singular value, of the small attack, and of the unbounded one. The
# second has more than the first, as its answers are not quite linear.
_LINEAR_STEPS, _SMALL_STEPS, _UNBOUNDED_STEPS = 8, 12, 10
# Pixels below this share of the brightest are empty.
_EMPTY = 1e-5
# A change of so many roundings leaves a pixel as it was in one of as many cases at most.
_SEEN = 3e3
# By what batch mates are multiplied.
_LOUDER = 2


def flags_of_model(model, inputs, reference=None, index=None, radius=None, rules=None):
    """Probes a model on a batch, with 46 gradients and about 75 passes.

    A random model takes 15 gradients and 30 passes more.

    A bad model raises no error here: flags say what was seen of it. What a fault makes meaningless
    is not checked.

    Args:
        model: a `Reconstructor`.
        inputs: the measurement k, a dict of `kspace`, `sensitivity_maps` and `mask`.
        reference: the true images, (batch, rows, width), NaN where there is none. Without any, the
            rules that need one are not checked.
        index: whole numbers (batch,) that name the images, and stand in the flags. The draws of an
            image depend on its own. None: draws are those of number 0, and the flags count from 0.
        radius: at which a search is tried; None: 5 % of || f(k) ||.
        rules: the names of those that are applied, "no answer" among them; None: all.

    Returns:
        A list with a `tfvn.results.flags.Flag` for each rule of `tfvn.results.rules.OF_MODELS`. Of
        all slices it holds the number that went furthest.

    Raises:
        ValueError: for what is no model, and for inputs that do not fit.
    """
    check_model(model)
    measurement.check(inputs, model.dtype)
    numbers_of(index, {"sensitivity_maps": tf.convert_to_tensor(inputs["sensitivity_maps"])})
    if "initial_image" in inputs:
        raise ValueError("Probes start the model at A^H k. Remove `initial_image` from the inputs.")
    if radius is not None:
        radius = checks.number("radius", radius, above=0)
    applied = [rule for rule in OF_MODELS if rules is None or rule.name in rules]
    try:
        subject = Asked(model, inputs, index, radius)
    # A model is anybody's, and may raise anything.
    except Exception as error:
        first, *others = applied
        flag = flag_of(first, [Case(math.inf, note=told_of(error))])
        return [flag, *(unchecked(rule, "There is no answer.") for rule in others)]
    truth = _truth(reference, subject)
    found = {}
    for rule in applied:
        reason = _reason(rule, found, subject)
        if reason:
            found[rule.name] = unchecked(rule, reason)
        else:
            found[rule.name] = _probed(rule, subject, truth)
    return list(found.values())


def _truth(reference, subject):
    """|y|, double precision (batch, rows, width); NaN where there is none.

    Raises:
        ValueError: for another shape.
    """
    if reference is None:
        return np.full(subject.clean.shape, math.nan)
    truth = np.abs(np.asarray(reference, np.complex128))
    if truth.shape != subject.clean.shape:
        raise ValueError(
            f"reference must have the shape {subject.clean.shape}. Received: {truth.shape}"
        )
    return truth


def _reason(rule, found, subject):
    """Why a rule says nothing after what was found before; "" where it does."""
    raised = [name for name, flag in found.items() if flag.raised]
    if "no answer" in raised:
        return "There is no answer."
    if "random" in raised and subject.repeated.max() > REPEATED:
        return "Answers to the same data differ."
    if "zero gradient" in raised and rule.name in _OF_GRADIENTS:
        return "There is no gradient."
    return ""


def _probed(rule, subject, truth):
    """The flag of a rule."""
    try:
        if rule.name in _OF_TRUTH:
            cases = _OF_TRUTH[rule.name](subject, truth)
        else:
            cases = _PROBES[rule.name](subject)
    except Exception as error:
        return unchecked(rule, told_of(error))
    return flag_of(rule, cases, "The answer does not change.")


def _shares(numbers, others):
    """numbers / others, NaN where that is 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numbers) / np.asarray(others)


def _no_answer(subject):
    return subject.cases(np.sum(~np.isfinite(subject.clean), axis=(1, 2)))


def _random(subject):
    found = subject.repeated
    if not subject.model.draws:
        other = subject.image(keys=noise.keys(1, noise.ATTACK, subject.numbers))
        found = np.maximum(found, subject.changed_by(norms(other - subject.clean)))
    return subject.cases(found)


def _batch_dependence(subject):
    given, keys, count = subject.given, subject.keys, len(subject.size)
    differences = np.zeros(count)
    if count == 1:
        twice = {name: tf.repeat(x, 2, 0) for name, x in given.items()}
        louder = _louder(subject.model, twice, np.array([False, True]))
        nothing = np.zeros(louder["sensitivity_maps"].shape)
        image = subject.image(nothing, tf.repeat(keys, 2, 0), louder)[:1]
        return subject.cases(subject.changed_by(norms(image - subject.clean)))
    kept = np.arange(count) % 2 == 0
    for still in (kept, ~kept):
        image = subject.image(inputs=_louder(subject.model, given, ~still))
        differences = np.where(still, norms(image - subject.clean), differences)
    return subject.cases(subject.changed_by(differences))


def _louder(model, inputs, which):
    """The measurement with the data of some slices multiplied."""
    data = inputs[model.reads]
    factors = np.where(which, _LOUDER, 1).reshape(-1, *[1] * (len(data.shape) - 1))
    return measurement.with_data(inputs, model.reads, data * tf.constant(factors, data.dtype))


def _saturated_output(subject):
    changed = subject.image(subject.forward(subject.start))
    smallest = _SEEN * np.finfo(subject.real).eps
    found, notes = [], []
    for image, other in zip(subject.clean, changed):
        shown = image > _EMPTY * image.max()
        values, moved = image[shown], np.abs(other - image)[shown]
        if not moved.any() or np.median(moved[moved > 0]) < smallest * image.max():
            found.append(math.nan)
            notes.append("The answer moves too little to tell.")
            continue
        found.append(np.mean(moved == 0))
        notes.append(
            f"{np.unique(values).size} values in {values.size} pixels,"
            f" {np.sum(values == values.max())} of them the largest"
        )
    return subject.cases(found, notes)


def _zero_gradient(subject):
    try:
        image, gradient = subject.slope
    except Unknown as error:
        return [Case(0.0, note=str(error))]
    moved = np.square(norms(image - subject.clean))
    # The product of the gradient with r of a linear answer is the squared effect.
    length = norms(subject.adjoint(gradient)) * norms(subject.start)
    return subject.cases(_shares(length, moved))


def _gradient_wrong(subject):
    _, gradient = subject.slope
    inner = subject.adjoint(gradient)
    directions = subject.directions(subject.clean)
    told = np.array([products(inner, one) for one in directions])
    measured = subject.derivatives([subject.forward(one) for one in directions])
    larger = np.maximum(np.linalg.norm(told, axis=0), np.linalg.norm(measured, axis=1).max(0))
    off = _shares(np.linalg.norm(measured - told, axis=1).min(0), larger)
    # What the two steps differ by, the derivative is not known to.
    spread = _shares(np.linalg.norm(measured[0] - measured[1], axis=0), larger)
    unknown = (off > GRADIENT) & (off - spread <= GRADIENT)
    notes = []
    for one, other in zip(off, spread):
        notes.append(f"off by {one:.2g}, differences of two steps by {other:.2g}")
    return subject.cases(np.where(unknown, math.nan, off), notes)


def _partial_data_path(subject):
    _, gradient = subject.slope
    directions = subject.directions(gradient, subject.support)
    told = np.array([products(gradient, one) for one in directions])
    measured = subject.derivatives(directions)
    shares = _shares(np.sum(told * measured, 1), np.sum(np.square(measured), 1))
    return subject.cases(shares.max(0))


def _linear_law_broken(subject):
    begin = unit(subject.start)
    direction, largest = begin, np.zeros(len(subject.size))
    step = STEPS[0] * subject.size
    for _ in range(_LINEAR_STEPS):
        change = scaled(step, subject.forward(direction))
        moved = scaled(0.5 / step, subject.image(change) - subject.image(-change))
        largest = np.maximum(largest, norms(moved))
        # That of 1/2 || f(k + e) - other ||^2 at e = 0 is J^T (f(k) - other).
        _, gradient = subject.gradient(None, subject.clean - moved)
        direction = unit(subject.adjoint(gradient), direction)
    small = np.full(len(step), _SMALL)
    r, effect = subject.climbed(begin, small, subject.clean, _SMALL_STEPS)
    # Of r and -r one does at least as much as the linear answer, if the answer is smooth.
    opposite = subject.image(subject.forward(-r))
    effect = np.maximum(effect, norms(opposite - subject.clean))
    notes = [f"largest singular value found {one:.4g}" for one in largest]
    return subject.cases(_shares(effect, largest * small), notes)


def _single_step_wins(subject):
    _, gradient = subject.slope
    step = scaled(subject.radius, unit(subject.adjoint(gradient), subject.start))
    single = norms(subject.image(subject.forward(step)) - subject.clean)
    _, furthest = subject.search
    notes = []
    for one, other, radius in zip(single, furthest, subject.radius):
        notes.append(f"{one:.4g}, and {other:.4g} of {SEARCH_STEPS} steps, at radius {radius:.3g}")
    return subject.cases(_shares(single, furthest) - 1, notes)


def _known_draws_are_no_help(subject):
    if not subject.model.draws:
        raise Unknown(OF_OTHERS)
    # All of a model's passes here have the same draws.
    _, known = subject.search
    notes = []
    for one, other in zip(known, subject.unforeseen):
        notes.append(f"{one:.4g} of a search that knows the draws, {other:.4g} without")
    return subject.cases(_shares(subject.unforeseen, known) - 1, notes)


def _unbounded_attack_fails(subject, truth):
    best, _ = subject.search
    # Where the truth is not known, the clean answer stands for it.
    known = np.isfinite(truth).all((1, 2), keepdims=True)
    truth = np.where(known, truth, subject.clean)
    _, furthest = subject.climbed(best, norms(truth), truth, _UNBOUNDED_STEPS)
    return subject.cases(_shares(furthest, norms(truth)))


def _constant_output(subject, truth):
    if np.isnan(truth).all():
        raise Unknown("It needs the true image.")
    zero_filled = measurement.zero_filled(subject.model.sense, subject.given)
    plain = norms(np.abs(zero_filled.numpy()) - truth)
    clean = norms(subject.clean - truth)
    gains = _furthest(subject) / subject.radius
    # A model that is better may move as little as it can.
    found = np.where(clean < NO_BETTER * plain, np.maximum(gains, STILL), gains)
    notes = []
    for one, other, gain in zip(clean, plain, gains):
        notes.append(
            f"effect {gain:.3g} of the radius, clean error {one:.4g}, zero-filled {other:.4g}"
        )
    return subject.cases(np.where(np.isnan(clean), math.nan, found), notes)


def _furthest(subject):
    """How far the search got, or a random r where there is no gradient, (batch,)."""
    try:
        return subject.search[1]
    except Exception:
        r = scaled(subject.radius, unit(subject.start))
        return norms(subject.image(subject.forward(r)) - subject.clean)


# Rules that say nothing where there is no gradient.
_OF_GRADIENTS = (
    "partial data path",
    "linear law broken",
    "single step wins",
    "known draws are no help",
    "unbounded attack fails",
)
_PROBES = {
    "no answer": _no_answer,
    "random": _random,
    "batch dependence": _batch_dependence,
    "saturated output": _saturated_output,
    "zero gradient": _zero_gradient,
    "gradient wrong": _gradient_wrong,
    "partial data path": _partial_data_path,
    "linear law broken": _linear_law_broken,
    "single step wins": _single_step_wins,
    "known draws are no help": _known_draws_are_no_help,
}
_OF_TRUTH = {
    "unbounded attack fails": _unbounded_attack_fails,
    "constant output": _constant_output,
}
