"""Attacks that are made of a threat, a goal and a search, each chosen on its own."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks.base import (
    Attack,
    check_result,
    checked_measurement,
    compute,
    finite_image,
    numbers_of,
)
from tfvn.attacks.goals import GOALS, goal_of
from tfvn.attacks.objective import CHECK_DRAWS, NOISES, Objective, takes_fresh_draws
from tfvn.attacks.problem import Problem
from tfvn.attacks.region import check_region
from tfvn.attacks.result import AttackResult, Start, Wanted
from tfvn.attacks.threats import THREATS, threat_of
from tfvn.choices import SURROGATE
from tfvn.models.backward import check_gradient_exists
from tfvn.physics import measurement

__all__ = ["Found", "SearchedAttack", "kinds_of"]


# The arrays that hold what is left of the way to a target, and E on draws that the attack has not
# seen.
_LEFT, _UNSEEN = "left", "unseen"


class Found(NamedTuple):
    """What a search found.

    Attributes:
        best: the change with the largest E that it came by, of the shape of a change.
        history: E at every step, (searches, steps, batch).
    """

    best: tf.Tensor
    history: tf.Tensor


def kinds_of(name, goals=tuple(GOALS), threats=tuple(THREATS)):
    """The variants of a searched attack: those of each threat and goal that it knows.

    The threat is no setting of an attack that has its name.

    >>> list(kinds_of("apgd"))[:2]
    ['apgd-l2', 'apgd-l2-error']
    >>> list(kinds_of("lines", threats=["lines"]))[:2]
    ['lines', 'lines-error']
    """
    found = {}
    for threat, goal in itertools.product(threats, goals):
        settings = {"threat": threat, "goal": goal}
        if threat == name:
            settings = {"goal": goal}
        found[_kind(name, threat, goal)] = settings
    return found


def _kind(name, threat, goal):
    parts = [name]
    if threat != name:
        parts.append(threat)
    if goal != "effect":
        parts.append(goal)
    return "-".join(parts)


class SearchedAttack(Attack):
    """An attack with a threat and a goal. A subclass adds the search.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over. Loss and gradient see the same.
        seed: the seed of random starts and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    # The threats that it may have, by the names that settings have.
    threats = THREATS
    # The function that searches: (problem, numbers, *fixed) to `Found`. A static method.
    search = None
    # Which member of a suite it is. Each has random numbers of its own.
    place = 0
    # What the search takes for the gradient of the model, see `tfvn.models.backward`.
    gradient = "full"

    def __init__(self, sizes, threat, goal, threat_region, goal_region, noise, draws, seed):
        self.sizes = self.check_sizes(sizes)
        self.threat = checks.choice("threat", threat, self.threats)
        self.goal = checks.choice("goal", goal, GOALS)
        self.threat_region = check_region("threat_region", threat_region)
        self.goal_region = check_region("goal_region", goal_region)
        self.noise = checks.choice("noise", noise, NOISES)
        self.draws = checks.whole("draws", draws, 1, most=ranges.MOST)
        self.seed = checks.whole("seed", seed)
        self.changes = threat_of(self.threat, self.threat_region, self.threats)
        self.wants = goal_of(self.goal, self.goal_region)

    @property
    def kind(self):
        """The names of the search, of the threat and, where it is not the effect, of the goal."""
        return _kind(self.name, self.threat, self.goal)

    @property
    def prefix(self):
        """The beginning of the names of its folders and datasets."""
        if self.size_name == self.name:
            return self.kind
        return f"{self.kind}_{self.size_name}"

    @property
    def ball(self):
        """The threat."""
        return self.threat

    @property
    def bounded_in_l2(self):
        """Whether a size is the largest l2 norm of r."""
        return self.threat == "l2"

    @property
    def needs_reference(self):
        """Whether `run` needs the true image."""
        return self.wants.needs_reference or self.changes.needs_truth

    @property
    def measures_effect(self):
        """Whether E is half the squared change of the model's answer."""
        return self.goal == "effect" and not self.goal_region

    @property
    def measures_error(self):
        """Whether E is half the squared error of the model's answer, to the image of the data."""
        if self.changes.needs_truth:
            return False
        return self.goal == "error" and not self.goal_region

    def check_sizes(self, sizes):
        """The radii; in ascending order, where each goes on from the one before."""
        found = super().check_sizes(sizes)
        if not self.continues:
            return found
        if len(set(found)) < len(found):
            raise ValueError(
                f"sizes must be different numbers. Received: sizes={checks.shown(sizes)}"
            )
        return tuple(sorted(found))

    def identity(self, size):
        """The same as of other attacks, with the radius that this one goes on from; 0 for none."""
        found = super().identity(size)
        if self.continues:
            smaller = [other for other in self.sizes if other < size]
            found["goes_on_from"] = max(smaller, default=0.0)
        return found

    def start_from(self, arrays, size):
        """The `Start` that the stored arrays of the size before stand for."""
        if not self.continues:
            return super().start_from(arrays, size)
        return Start(arrays["perturbation"][None], size=size)

    def norm_of(self, perturbation):
        """The norm of a change that a radius bounds, in double precision."""
        return float(self.changes.size(perturbation.astype(np.complex128)[None])[0])

    def arrays(self, result):
        """What is stored beside the perturbation: E, and what is left of the way to a target."""
        found = super().arrays(result)
        for name, value in ((_LEFT, result.left), (_UNSEEN, result.unseen)):
            if value is not None:
                found[name] = value[0].numpy()
        return found

    def remark(self, found):
        """On how many images the answer has gone half of the way to its target, and what is left of
        the effect on draws that the attack has not seen.
        """
        told = []
        left = [float(arrays[_LEFT]) for arrays in found if _LEFT in arrays]
        if left:
            reached = sum(share < 0.5 for share in left)
            told.append(f"{self.goal}: {reached} of {len(left)} (mean left {np.mean(left):.2f})")
        both = [self.on_draws(arrays) for arrays in found]
        both = [pair for pair in both if pair is not None]
        if both:
            seen, unseen = np.mean(both, axis=0)
            told.append(f"on its own draws {seen:.4g}, on {CHECK_DRAWS} others {unseen:.4g}")
        return "; ".join(told)

    def on_draws(self, stored):
        if _UNSEEN not in stored or self.wants.sign < 0:
            return None
        # Of all that a search came by, the largest E is kept.
        seen, unseen = np.max(stored["history"]), stored[_UNSEEN]
        return tuple(math.sqrt(2 * max(float(value), 0)) for value in (seen, unseen))

    def wanted(self, stored, clean):
        """The target, of a goal that has one."""
        region = tuple(stored["settings"].get("goal_region", ()))
        target = goal_of(self.goal, region).target(tf.constant(clean[None]))
        if target is None:
            return None
        return Wanted(self.goal, target[0].numpy())

    def numbers(self, real):
        """Settings of the search that may change without compiling anew, a dict of tensors.

        Args:
            real: the type of real numbers.
        """
        del real
        return {}

    def fixed(self):
        """Settings that another function must be compiled for, a tuple of plain values."""
        return ()

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Attacks every image of a batch, each on its own.

        Of all changes that the search came by, the one with the largest E is kept. Against fresh
        draws that is the E of those draws; `objective` is measured again on the model's own.

        Args:
            model: a `Reconstructor`.
            inputs: the measurement k, a dict of `kspace`, `sensitivity_maps` and `mask`.
            size: the radius.
            reference: the true images, complex or real (batch, rows, width), for the goal "error";
                complex for threats that need what was not measured.
            start: a `Start` whose change is one of those that the search begins with. None: it
                chooses its own.
            index: whole numbers (batch,) that name the images. Random numbers of an image depend
                on its own. None names all images 0.

        Returns:
            An `AttackResult`. Its `perturbation` has the shape of a change of the threat.

        Raises:
            ValueError: for what is no model; for inputs that do not fit, are not finite or hold an
                `initial_image`; for a reference that is missing or of another shape; for answers
                of the model that are not finite.
        """
        radius = self.check_size(size)
        given = checked_measurement(model, inputs)
        index = numbers_of(index, given)
        like = self.changes.zero(model.sense, given)
        truth = self._truth(model, given, reference)
        tensors = {
            "support": self.changes.support(inputs, like),
            "known": self.changes.known(model.sense, inputs, truth),
            "reference": self._reference(model, given, reference),
            "start": _start(like, start),
        }
        real = like.dtype.real_dtype
        numbers = {
            "radius": tf.constant(radius, real),
            "seed": tf.constant(self.seed),
            "sets": tf.constant(self._sets(model)),
            "check_sets": tf.constant(_sets_of(CHECK_DRAWS, model)),
            "place": tf.constant(self.place),
            **self.numbers(real),
        }
        check_gradient_exists(model, self.gradient)
        searched = (type(self).search, self.fixed(), self.gradient)
        settings = (*searched, self.changes, self.wants, self._sees(model))
        result = compute(_solve, model, settings, given, index, tensors, numbers)
        check_result(model, result)
        return result

    def _sees(self, model):
        """Whether the attack sees fresh draws of the model."""
        return takes_fresh_draws(model, self.noise)

    def _sets(self, model):
        """How many answers have at least as many draws as were asked for."""
        if not self._sees(model):
            return 1
        return _sets_of(self.draws, model)

    def _reference(self, model, inputs, reference):
        """|y|, real (batch, rows, width), or None for a goal without."""
        if not self.wants.needs_reference:
            return None
        if reference is None:
            raise ValueError(
                f"goal={self.goal!r} needs the true image. Received: reference=None. Give it to"
                " run."
            )
        image = tf.abs(finite_image("reference", reference))
        like = measurement.zero_filled(model.sense, inputs)
        _check_shape("reference", image, like)
        return tf.cast(image, like.dtype.real_dtype)

    def _truth(self, model, inputs, reference):
        """The true images for a threat that needs them, complex (batch, rows, width), or None."""
        if not self.changes.needs_truth or reference is None:
            return None
        image = finite_image("reference", reference)
        like = measurement.zero_filled(model.sense, inputs)
        _check_shape("reference", image, like)
        if not image.dtype.is_complex:
            raise ValueError(
                f"reference must be complex for attacks={self.name}: the k-space of the object"
                f" needs its phase. Received: {image.dtype.name}"
            )
        return tf.cast(image, like.dtype)


def _sets_of(draws, model):
    """How many answers of a model have at least so many draws."""
    return math.ceil(draws / max(model.draws, 1))


def _start(like, start):
    """The change that a `Start` holds, or None."""
    if start is None:
        return None
    change = finite_image("start", start.perturbation)
    _check_shape("start", change, like)
    return tf.cast(change, like.dtype)


def _check_shape(name, image, like):
    if not image.shape.is_compatible_with(like.shape):
        raise ValueError(
            f"{name} must have the shape {tuple(like.shape)}. Received: {tuple(image.shape)}"
        )


def _solve(model, search, fixed, gradient, threat, goal, fresh, inputs, index, tensors, numbers):
    """The result of a search, see `SearchedAttack.run`."""

    def objective_through(gradient):
        return Objective(
            model,
            inputs,
            index,
            gradient,
            sets=numbers["sets"] if fresh else None,
            seed=numbers["seed"],
            threat=threat,
            goal=goal,
            reference=tensors["reference"],
            support=tensors["support"],
            known=tensors["known"],
        )

    objective = objective_through(gradient)
    problem = Problem(
        objective,
        threat,
        goal,
        tensors["support"],
        numbers["radius"],
        tensors["start"],
        index,
        numbers["seed"],
        numbers["place"],
        tensors["known"],
    )
    found = search(problem, numbers, *fixed)
    if gradient == SURROGATE:
        # The search knows E of the surrogate alone. What counts is that of the model.
        objective = objective_through("full")
        found = found._replace(history=objective.value(found.best)[None, None])
    answer, value = objective.answer(found.best)
    unseen = objective.unseen(found.best, numbers["check_sets"]) if fresh else None
    left = objective.left(answer, found.best)
    return AttackResult(found.best, answer, value, found.history, left=left, unseen=unseen)
