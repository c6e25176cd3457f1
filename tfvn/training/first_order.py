"""Optimizers with a learning rate: Adam of Keras, and two of tensorflow-addons.

Frank-Wolfe moves each filter k, with gradient g, towards the point s of its set where the
linearised loss is least:

    k <- (1 - rate) k + rate s
    s = -(g - mean g) / || g - mean g ||

The set holds all filters of zero mean and || k || <= 1. It is convex, so k never leaves it; what
rounding adds is projected away. The sets of other weights are unbounded and have no such point.
"""

import abc

from tensorflow import keras

from tfvn import checks, compat, replicas
from tfvn.projections import zero_mean_unit_ball, zero_mean_unit_sphere
from tfvn.training.steps import KerasSteps

__all__ = ["AdamSteps", "FrankWolfeSteps", "RadamLookaheadSteps"]

_SCHEDULES = ("constant", "cosine")


class _RateSteps(KerasSteps):
    """Steps of a Keras optimizer that has a learning rate. It is made when the steps are built."""

    def __init__(self, learning_rate=1e-3, schedule="constant", iterations=None):
        super().__init__(None)
        self._rate = _rate_of(learning_rate, schedule, iterations)

    def build(self, network, steps_done, strategy, beside):
        with replicas.scope(strategy):
            self.optimizer = self._made()
        super().build(network, steps_done, strategy, beside)

    @abc.abstractmethod
    def _made(self):
        """The Keras optimizer."""


def _rate_of(learning_rate, schedule, iterations):
    """A learning rate, as Keras' optimizers take it: a number or a schedule."""
    checks.choice("schedule", schedule, _SCHEDULES)
    if schedule == "constant" and callable(learning_rate):
        return learning_rate
    learning_rate = checks.number("learning_rate", learning_rate, above=0)
    if schedule == "constant":
        return learning_rate
    if iterations is None:
        raise ValueError(
            "iterations must be given for schedule=cosine, which ends there. Received:"
            " iterations=None"
        )
    iterations = checks.whole("iterations", iterations, 0)
    return keras.optimizers.schedules.CosineDecay(learning_rate, max(1, iterations))


class AdamSteps(_RateSteps):
    """Steps of Adam.

    Args:
        learning_rate: the learning rate; in Python also a schedule of Keras.
        schedule: what becomes of the rate, constant | cosine (to 0 over all iterations).
        beta_1: how much of the mean gradient is kept in a step, in [0, 1).
        iterations: how many there are in all. The schedule cosine needs them.

    Raises:
        ValueError: for values outside their limits, and for cosine without iterations.
    """

    name = "adam"

    def __init__(self, learning_rate=1e-3, schedule="constant", beta_1=0.9, iterations=None):
        super().__init__(learning_rate, schedule, iterations)
        self._beta_1 = checks.number("beta_1", beta_1, least=0, below=1)

    def _made(self):
        return keras.optimizers.Adam(self._rate, beta_1=self._beta_1)


class RadamLookaheadSteps(_RateSteps):
    """Steps of RectifiedAdam inside Lookahead. They need tensorflow-addons when they are built.

    Args:
        learning_rate: the learning rate; in Python also a schedule of Keras.
        schedule: what becomes of the rate, constant | cosine (to 0 over all iterations).
        iterations: how many there are in all. The schedule cosine needs them.

    Raises:
        ValueError: for values outside their limits, and for cosine without iterations.
    """

    name = "radam-lookahead"
    on_one_device = True

    def _made(self):
        addons = _addons_for(self)
        return addons.Lookahead(addons.RectifiedAdam(self._rate))


class FrankWolfeSteps(_RateSteps):
    """Steps of Frank-Wolfe in the filters, and of Adam in all other weights.

    A weight holds filters if `zero_mean_unit_ball` is its constraint. The steps need
    tensorflow-addons when they are built.

    Args:
        learning_rate: the learning rate of Adam, and the share of a filter that a step replaces: at
            most 1; in Python also a schedule of Keras.
        schedule: what becomes of the rate, constant | cosine (to 0 over all iterations).
        iterations: how many there are in all. The schedule cosine needs them.

    Raises:
        ValueError: for values outside their limits, and for cosine without iterations.
    """

    name = "conditional-gradient"
    on_one_device = True

    def __init__(self, learning_rate=1e-3, schedule="constant", iterations=None):
        super().__init__(learning_rate, schedule, iterations)
        first = learning_rate
        if callable(learning_rate):
            first = float(learning_rate(0))
        if not 0 <= first <= 1:
            raise ValueError(
                f"learning_rate must be at most 1. Received: learning_rate={first:g}. It is the"
                f" share of a filter that a step of {self.name} replaces."
            )

    def _made(self):
        self._conditional_gradient = _addons_for(self).ConditionalGradient
        return keras.optimizers.Adam(self._rate)

    def build(self, network, steps_done, strategy, beside):
        super().build(network, steps_done, strategy, beside)
        counts = {weight.shape[-1] for weight in self._weights if _holds_filters(weight)}
        if len(counts) != 1:
            raise ValueError(
                f"{self.name} needs a network with filters, weights of the constraint"
                " zero_mean_unit_ball, of which each holds the same number. Received:"
                f" {type(network).__name__} with the numbers {sorted(counts)}. Use adam."
            )
        self.filter_optimizer = self._frank_wolfe(counts.pop(), steps_done)

    def _build_optimizer(self, variables, strategy):
        others = [weight for weight in self._weights if not _holds_filters(weight)]
        super()._build_optimizer(others, strategy)

    def _frank_wolfe(self, count, steps_done):
        """ConditionalGradient over `count` filters a weight. In place of a gradient it is given its
        `zero_mean_unit_sphere`.

        tensorflow-addons moves a whole variable towards the point -lambda_ g / || g || of one ball
        around all its filters, where one filter may take up all the norm. Where each filter of g
        has norm 1, || g || is sqrt(count). With that lambda_ the point is -g, a vertex of the
        product of the filters' own sets. Its learning_rate is the share of the old value.
        """
        rate = self._rate
        if not callable(rate):
            return self._conditional_gradient(1 - rate, lambda_=count**0.5)

        def kept():
            return 1 - rate(steps_done)

        # It calls a function, but it cannot take a Keras schedule.
        return self._conditional_gradient(kept, lambda_=count**0.5)

    def _apply(self, gradients):
        filters, others = [], []
        for gradient, weight in zip(gradients, self._weights):
            if _holds_filters(weight):
                filters.append((zero_mean_unit_sphere(gradient), weight))
            else:
                others.append((gradient, weight))
        self.filter_optimizer.apply_gradients(filters)
        self.optimizer.apply_gradients(others)


def _addons_for(steps):
    """The optimizers of tensorflow-addons."""
    return compat.addons(f"the optimizer {steps.name}", "the optimizer adam").optimizers


def _holds_filters(weight):
    return weight.constraint is zero_mean_unit_ball
