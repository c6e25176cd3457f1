"""Attacks that are made of a threat, a goal and a search, each chosen on its own."""

import copy
import itertools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.base import (
    Attack,
    check_result,
    compute,
    finite_image,
    measured,
    numbers_of,
)
from tfvn.attacks.goals import GOALS, goal_of
from tfvn.attacks.objective import NOISES, Objective, numbered_keys, takes_fresh_draws
from tfvn.attacks.region import check_region
from tfvn.attacks.result import AttackResult, Wanted
from tfvn.attacks.threats import THREATS, threat_of
from tfvn.physics import measurement
from tfvn.physics import noise as noises

__all__ = ["Found", "Problem", "SearchedAttack", "kinds_of"]


# The array that holds what is left of the way to a target.
_LEFT = "left"


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

    >>> list(kinds_of("apgd"))[:2]
    ['apgd-l2', 'apgd-l2-error']
    """
    found = {}
    for threat, goal in itertools.product(threats, goals):
        found[_kind(name, threat, goal)] = {"threat": threat, "goal": goal}
    return found


def _kind(name, threat, goal):
    if goal == "effect":
        return f"{name}-{threat}"
    return f"{name}-{threat}-{goal}"


class SearchedAttack(Attack):
    """An attack with a threat and a goal. A subclass adds the search.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e.
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

    # The function that searches: (problem, numbers, *fixed) to `Found`. A static method.
    search = None

    def __init__(self, sizes, threat, goal, threat_region, goal_region, noise, draws, seed):
        self.sizes = self.check_sizes(sizes)
        self.threat = checks.choice("threat", threat, THREATS)
        self.goal = checks.choice("goal", goal, GOALS)
        self.threat_region = check_region("threat_region", threat_region)
        self.goal_region = check_region("goal_region", goal_region)
        self.noise = checks.choice("noise", noise, NOISES)
        self.draws = checks.whole("draws", draws, 1, most=ranges.MOST)
        self.seed = checks.whole("seed", seed)
        self.changes = threat_of(self.threat, self.threat_region)
        self.wants = goal_of(self.goal, self.goal_region)

    @property
    def kind(self):
        """The names of the search, of the threat and, where it is not the effect, of the goal."""
        return _kind(self.name, self.threat, self.goal)

    @property
    def prefix(self):
        """The beginning of the names of its folders and datasets."""
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
        return self.wants.needs_reference

    @property
    def measures_effect(self):
        """Whether E is half the squared change of the model's answer."""
        return self.goal == "effect" and not self.goal_region

    def norm_of(self, perturbation):
        """The norm of a change that a radius bounds, in double precision."""
        return float(self.changes.size(perturbation.astype(np.complex128)[None])[0])

    def arrays(self, result):
        """What is stored beside the perturbation: E, and what is left of the way to a target."""
        found = super().arrays(result)
        if result.left is not None:
            found[_LEFT] = result.left[0].numpy()
        return found

    def remark(self, found):
        """On how many images the answer has gone half of the way to its target."""
        left = [float(arrays[_LEFT]) for arrays in found if _LEFT in arrays]
        if not left:
            return ""
        reached = sum(share < 0.5 for share in left)
        return f"{self.goal}: {reached} of {len(left)} (mean left {np.mean(left):.2f})"

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
            reference: the true images, complex or real (batch, rows, width), for the goal "error".
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
        given = measured(model, inputs)
        index = numbers_of(index, given)
        like = self.changes.zero(model.sense, given)
        tensors = {
            "support": self.changes.support(inputs, like),
            "known": self.changes.known(model.sense, inputs),
            "reference": self._reference(model, given, reference),
            "start": _start(like, start),
        }
        real = like.dtype.real_dtype
        numbers = {
            "radius": tf.constant(radius, real),
            "seed": tf.constant(self.seed),
            "sets": tf.constant(self._sets(model)),
            **self.numbers(real),
        }
        settings = (type(self).search, self.fixed(), self.changes, self.wants, self._sees(model))
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
        return math.ceil(self.draws / model.draws)

    def _reference(self, model, inputs, reference):
        """|y|, real (batch, rows, width), or None for a goal without."""
        if not self.needs_reference:
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


class Problem:
    """What a search is to solve, inside a graph: a change in a ball with a large E.

    Args:
        objective: the `Objective`.
        threat: what a change is.
        goal: what is made large.
        support: where a change may differ from 0; None for everywhere.
        radius: of the ball, a tensor of one real number.
        start: a change to begin with, or None.
        index: int32 (batch,), the numbers that name the images.
        seed: of random starts.

    Attributes:
        like: zeros of the shape of a change, complex (batch, ...).
        radius: of the ball, a little less than what was asked for: rounding must not leave it.
        start: as given, and 0 where it must be.
        start_share: of the goal: what random starts are of the size of the ball.
    """

    def __init__(self, objective, threat, goal, support, radius, start, index, seed):
        self.objective = objective
        self.threat = threat
        self.start_share = goal.start_share
        self.like = objective.like
        self.radius = radius * (1 - 1e-6)
        self.start = start if start is None or support is None else support * start
        self._support = support
        self._index = index
        self._seed = seed

    def counting(self, inside):
        """The same problem, with a goal that counts in a part of the image alone.

        Args:
            inside: which pixels count, bool (rows, width).
        """
        other = copy.copy(self)
        other.objective = self.objective.counting(inside)
        return other

    def value(self, change, step=None):
        """E of a change, (batch,): the mean over all draws, in every step."""
        del step
        return self.objective.value(change)

    def value_and_gradient(self, change, step=None):
        """E of a change and its gradient, which is 0 where a change must be."""
        del step
        return self.objective.value_and_gradient(change)

    def project(self, change, radius=None):
        """The nearest change inside the ball, or inside one of another radius."""
        return self.threat.project(change, self.radius if radius is None else radius)

    def keys(self, number):
        """Keys for random numbers of every image, int32 (batch, 2).

        Args:
            number: which one of the random things of an attack they are for.
        """
        return numbered_keys(self._seed, noises.ATTACK_START, number, self._index)

    def random(self, number, radius=None):
        """A random change on the surface of the ball, or of one of another radius.

        It is nearer to no change where the goal is a target.

        Args:
            number: of the change, a whole number.
            radius: of the other ball.
        """
        radius = self.radius if radius is None else radius
        radius *= self.start_share
        if self._support is None:
            return self.threat.draw(self.like, self.keys(number), radius)
        # On the surface again after the entries outside are gone.
        change = self._support * self.threat.draw(self.like, self.keys(number), radius)
        size = loop.by_image(self.threat.size(change), change)
        factor = tf.math.divide_no_nan(radius, size)
        return self.project(loop.scaled(factor, change), radius)


def _solve(model, search, fixed, threat, goal, fresh, inputs, index, tensors, numbers):
    """The result of a search, see `SearchedAttack.run`."""
    objective = Objective(
        model,
        inputs,
        index,
        sets=numbers["sets"] if fresh else None,
        seed=numbers["seed"],
        threat=threat,
        goal=goal,
        reference=tensors["reference"],
        support=tensors["support"],
        known=tensors["known"],
    )
    problem = Problem(
        objective,
        threat,
        goal,
        tensors["support"],
        numbers["radius"],
        tensors["start"],
        index,
        numbers["seed"],
    )
    found = search(problem, numbers, *fixed)
    answer, value = objective.answer(found.best)
    left = objective.left(answer)
    return AttackResult(found.best, answer, value, found.history, left=left)
