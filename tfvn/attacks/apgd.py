"""Auto projected gradient descent, upwards (Croce and Hein, ICML 2020; for l1: ICML 2021).

    z <- project(r + step d),    r <- project(r + a (z - r) + (1 - a) (r - previous r))

d is the steepest direction of the ball, a is 1 in the first step and 0.75 later. The step begins
with the diameter of the ball. At some checkpoints it is halved, image by image, where E has grown
too seldom or the best E stands still: the search goes on from the best r then. There is no step
size to choose.

In an l1 ball, d has the signs of the largest parts of the gradient alone, and there is no momentum.
The share of the parts follows from how many of the best r differ from zero.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.power import SINGULAR_STEPS, singular_start
from tfvn.attacks.problem import MOVES
from tfvn.attacks.schedule import BALLS, ONE_BALL, plan_of
from tfvn.attacks.search import Found, SearchedAttack, kinds_of
from tfvn.choices import GRADIENTS, SURROGATE

__all__ = ["AutoProjectedGradient"]

STARTS = ("random", "singular", "larger", "moved", "beside")


class AutoProjectedGradient(SearchedAttack):
    """APGD: projected gradient ascent that chooses its step sizes itself.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        steps: the number of gradients of one search.
        restarts: the number of searches. Of every image the strongest result is kept.
        start: where a search begins. "random" is a random point on the surface of the ball,
            "singular" the worst direction for infinitely small changes, which takes 10 gradients
            more, and "larger" a search in balls of 3 and 2 times the radius, which takes 60 % of
            the steps. "moved" is a search like that, and then a second one: it takes the last 35 %
            of the steps, and begins with the r that was found, moved by a pixel. "beside" is a
            search from a random point, or from a given r, and two more, with 40 % of the steps
            each, that begin with what was found, moved by a pixel.
        gradient: what the search takes for the gradient of the model. "full" is that of its answer.
            "initial-image" goes through the first iterate alone, for models that read
            `initial_image`. "last-steps" goes through the last steps of a model that optimises
            for each measurement, "straight-through" is that of the model's surrogate, and with
            "surrogate" the search sees nothing of the model but that: what it finds is
            transferred.
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

    name = "apgd"
    kinds = kinds_of("apgd")

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        steps=100,
        restarts=1,
        start="random",
        gradient="full",
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(sizes, threat, goal, threat_region, goal_region, noise, draws, seed)
        self.start = checks.choice("start", start, STARTS)
        self.gradient = checks.choice("gradient", gradient, (*GRADIENTS, SURROGATE))
        # Each ball takes a step.
        self.steps = checks.whole("steps", steps, len(self._balls), most=ranges.MOST)
        self.restarts = checks.whole("restarts", restarts, 1, most=ranges.MOST)

    @property
    def sort(self):
        """What it works with: a change that is found on a surrogate is a transferred one."""
        if self.gradient == SURROGATE:
            return "transfer"
        return "single step" if self.steps == 1 else "gradient"

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        before = SINGULAR_STEPS if self.start == "singular" else 0
        return (before + self.steps) * self.restarts * len(self.sizes)

    @property
    def num_answers(self):
        """The number of answers of all sizes together that take no gradient, for one image."""
        radii = [radius for radius, _ in self._balls]
        moves = sum(now == then for now, then in zip(radii, radii[1:]))
        if not self._moves:
            moves = 0
        return moves * len(MOVES) * self.restarts * len(self.sizes)

    @property
    def _balls(self):
        return BALLS.get(self.start, ONE_BALL)

    @property
    def _moves(self):
        """Whether a change is moved: an image can be."""
        return self.start in ("moved", "beside") and self.changes.is_image

    @staticmethod
    def search(problem, numbers, start, sparse):
        return _search(problem, numbers, start, sparse)

    def numbers(self, real):
        return {
            "restarts": tf.constant(self.restarts),
            "plan": plan_of(self.steps, self._balls, self.threat == "l1", real),
        }

    def fixed(self):
        # Random starts and larger balls are one function, of other numbers.
        start = "singular" if self.start == "singular" else "random"
        return ("moved" if self._moves else start, self.threat == "l1")


class _State(NamedTuple):
    """Where a search stands.

    r, previous: this r and the one before, complex (batch, ...).
    best, best_gradient: the r of the largest E so far, and the gradient there.
    best_value, last_value: that E, and E of the r before, (batch,).
    grown: how often E has grown since the last checkpoint, (batch,).
    was_reduced: whether the step was reduced at the last checkpoint.
    checked_value: the largest E at the last checkpoint.
    step: the length of a step, (batch,).
    parts: in an l1 ball, how many parts of the gradient count, and of the best r at the last
        checkpoint how many were not 0, (batch,) each.
    """

    r: tf.Tensor
    previous: tf.Tensor
    best: tf.Tensor
    best_gradient: tf.Tensor
    best_value: tf.Tensor
    last_value: tf.Tensor
    grown: tf.Tensor
    was_reduced: tf.Tensor
    checked_value: tf.Tensor
    step: tf.Tensor
    parts: tf.Tensor
    nonzero: tf.Tensor


def _begin(problem, r, radius, sparse):
    """The state at the beginning of a search in a ball."""
    nothing = loop.nothing_yet(r)
    zeros = tf.zeros_like(nothing)
    count = tf.cast(2 * tf.size(r[0]), zeros.dtype)
    return _State(
        r=r,
        previous=r,
        best=r,
        best_gradient=tf.zeros_like(r),
        best_value=nothing,
        # The first E is no growth.
        last_value=-nothing,
        grown=zeros,
        was_reduced=tf.ones_like(zeros, tf.bool),
        checked_value=nothing,
        step=zeros + problem.start_share * (radius if sparse else 2 * radius),
        parts=zeros + tf.round(0.2 * count),
        nonzero=zeros + count,
    )


def _search(problem, numbers, start, sparse):
    """The best of all restarts."""
    plan = numbers["plan"]
    shape = [None, *problem.like.shape[:1]]
    histories = tf.TensorArray(problem.radius.dtype, size=numbers["restarts"], element_shape=shape)

    def body(restart, best, best_value, histories):
        first = _first(problem, restart, plan, start == "singular")
        found, value = _ascend(problem, first, plan, sparse, start == "moved")
        best, best_value = loop.better(found.best, value, best, best_value)
        return restart + 1, best, best_value, histories.write(restart, found.history)

    begin = (tf.constant(0), problem.like, loop.nothing_yet(problem.like), histories)
    _, best, _, histories = tf.while_loop(
        lambda restart, *_: restart < numbers["restarts"], body, begin, parallel_iterations=1
    )
    return Found(best, histories.stack())


def _first(problem, restart, plan, from_singular):
    """Where a search begins."""
    radius = problem.radius * plan.radius[0]
    first = singular_start(problem, restart) if from_singular else problem.random(restart, radius)
    if problem.start is None:
        return first
    # It stands in the place of the first.
    given = problem.project(problem.start, radius)
    return tf.where(restart == 0, given, first)


class _Ascent:
    """One search, step by step.

    Args:
        problem: the `tfvn.attacks.problem.Problem`.
        plan: its balls and checkpoints, see `tfvn.attacks.schedule`.
        sparse: whether the ball is one of l1.
        moves: whether a second search in a ball begins with what was found, moved by a pixel.
    """

    def __init__(self, problem, plan, sparse, moves):
        self._problem = problem
        self._plan = plan
        self._sparse = sparse
        self._moves = moves

    def begin(self, start):
        """The state before the first step."""
        return _begin(self._problem, start, self._radius(0), self._sparse)

    def step(self, number, state):
        """The state after a step, and E before it."""
        plan, radius = self._plan, self._radius(number)
        value, gradient = self._problem.value_and_gradient(state.r)
        state = _seen(state, value, gradient)
        longest = self._problem.start_share * radius
        state, gradient = tf.cond(
            plan.checks[number],
            lambda: _checked(state, gradient, plan.window[number], longest, self._sparse),
            lambda: (state, gradient),
        )
        begins = plan.begins[number]
        return _moved(self._problem, state, gradient, radius, begins, self._sparse), value

    def left_behind(self, number, state):
        """E of the best r, if another search begins in the same ball after a step; else nothing."""
        ends = self._plan.begins[number + 1] & self._stays(number)
        return tf.where(ends, state.best_value, loop.nothing_yet(self._problem.like))

    def enter(self, number, state):
        """The state at the beginning of the next search, if a step is the last of its own."""

        def next_search():
            radius = self._radius(number + 1)
            first = self._problem.project(state.best, radius)
            if self._moves:
                moved = functools.partial(self._problem.neighbour, first)
                first = tf.cond(self._stays(number), moved, lambda: first)
            return _begin(self._problem, first, radius, self._sparse)

        return tf.cond(self._plan.begins[number + 1], next_search, lambda: state)

    def _radius(self, number):
        return self._problem.radius * self._plan.radius[number]

    def _stays(self, number):
        """Whether the ball after a step is the same."""
        return self._plan.radius[number] == self._plan.radius[number + 1]


def _ascend(problem, start, plan, sparse, moves):
    """One search: what it `Found`, and E of that, (batch,)."""
    ascent = _Ascent(problem, plan, sparse, moves)
    steps = tf.shape(plan.radius)[0] - 1
    batch = problem.like.shape[:1]
    history = tf.TensorArray(problem.radius.dtype, size=steps + 1, element_shape=batch)

    def body(number, state, kept, kept_value, history):
        state, value = ascent.step(number, state)
        # What is left behind in the ball itself counts.
        left = ascent.left_behind(number, state)
        kept, kept_value = loop.better(state.best, left, kept, kept_value)
        state = ascent.enter(number, state)
        return number + 1, state, kept, kept_value, history.write(number, value)

    begin = (tf.constant(0), ascent.begin(start), start, loop.nothing_yet(problem.like), history)
    _, state, kept, kept_value, history = tf.while_loop(
        lambda number, *_: number < steps, body, begin, parallel_iterations=1
    )
    value = problem.value(state.r)
    best, best_value = loop.better(state.r, value, state.best, state.best_value)
    best, best_value = loop.better(kept, kept_value, best, best_value)
    # What was seen in larger balls is no E of a change in this one.
    inside = tf.boolean_mask(history.write(steps, value).stack(), plan.radius == 1)
    return Found(best, inside), best_value


def _seen(state, value, gradient):
    """The state that knows E of its r."""
    best_gradient, _ = loop.better(gradient, value, state.best_gradient, state.best_value)
    best, best_value = loop.better(state.r, value, state.best, state.best_value)
    grown = state.grown + tf.cast(value > state.last_value, value.dtype)
    return state._replace(
        best=best,
        best_gradient=best_gradient,
        best_value=best_value,
        last_value=value,
        grown=grown,
    )


def _checked(state, gradient, window, longest, sparse):
    """The state after a checkpoint, and the gradient to go on with.

    Args:
        state: the `_State`.
        gradient: at its r.
        window: the number of steps since the last checkpoint.
        longest: in an l1 ball, the longest step.
        sparse: whether it is one.
    """
    if sparse:
        return _checked_sparse(state, gradient, longest)
    often = state.grown > 0.75 * tf.cast(window, state.grown.dtype)
    stuck = ~state.was_reduced & (state.checked_value >= state.best_value)
    reduced = ~often | stuck
    state = state._replace(
        step=tf.where(reduced, state.step / 2, state.step),
        was_reduced=reduced,
        checked_value=state.best_value,
        grown=tf.zeros_like(state.grown),
    )
    return _from_best(state, gradient, reduced)


def _checked_sparse(state, gradient, longest):
    """The same in an l1 ball: the step is reset where the best r has become sparser."""
    parts = tf.stack([tf.math.real(state.best), tf.math.imag(state.best)], -1)
    axes = list(range(1, len(parts.shape)))
    nonzero = tf.cast(tf.math.count_nonzero(parts, axes), state.parts.dtype)
    sparser = nonzero < 0.95 * state.nonzero
    shortened = tf.maximum(state.step / 1.5, longest / 10)
    state = state._replace(
        step=tf.where(sparser, longest, shortened),
        parts=tf.maximum(tf.round(nonzero / 1.5), 1),
        nonzero=nonzero,
    )
    return _from_best(state, gradient, sparser)


def _from_best(state, gradient, which):
    """The state that goes on from its best r, for some images."""
    chosen = loop.by_image(which, gradient)
    gradient = tf.where(chosen, state.best_gradient, gradient)
    return state._replace(r=tf.where(chosen, state.best, state.r)), gradient


def _moved(problem, state, gradient, radius, is_first, sparse):
    """The state at the next r."""
    step = loop.by_image(state.step, gradient)
    if sparse:
        direction = _largest_parts(gradient, state.parts)
        moved = problem.project(state.r + loop.scaled(step, direction), radius)
        return state._replace(r=moved, previous=state.r)
    towards = state.r + loop.scaled(step, problem.threat.steepest(gradient))
    towards = problem.project(towards, radius)
    share = tf.where(is_first, tf.ones_like(radius), 0.75 * tf.ones_like(radius))
    moved = state.r + loop.scaled(share, towards - state.r)
    moved += loop.scaled(1 - share, state.r - state.previous)
    return state._replace(r=problem.project(moved, radius), previous=state.r)


def _largest_parts(gradient, count):
    """The signs of the `count` (batch,) largest real and imaginary parts of each image, divided by
    their number.
    """
    parts = tf.stack([tf.math.real(gradient), tf.math.imag(gradient)], -1)
    magnitudes = tf.reshape(tf.abs(parts), [tf.shape(parts)[0], -1])
    ordered = tf.sort(magnitudes, direction="DESCENDING")
    place = tf.cast(count, tf.int32) - 1
    smallest = tf.gather(ordered, place, batch_dims=1)
    kept = tf.cast(tf.abs(parts) >= loop.by_image(smallest, parts), parts.dtype)
    kept *= tf.sign(parts)
    total = tf.reduce_sum(tf.abs(kept), list(range(1, len(kept.shape))))
    kept = tf.math.divide_no_nan(kept, loop.by_image(total, kept))
    return tf.complex(kept[..., 0], kept[..., 1])
