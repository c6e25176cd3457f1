"""One change for many measurements (Moosavi-Dezfooli et al., CVPR 2017).

    maximise mean_i E_i(r)    subject to || r || <= radius

over a set of slices, by APGD. What it says is told by slices that are not of the set: `attack.py`
finds r on training slices, and gives it to the test slices.
"""

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.result import Start, Wanted
from tfvn.attacks.search import Found, kinds_of
from tfvn.physics import measurement

__all__ = ["Universal"]


class Universal(AutoProjectedGradient):
    """APGD for one change that is the same for all slices.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        steps: the number of gradients of one search, each of all slices of the set.
        restarts: the number of searches. The strongest result is kept.
        num_slices: how many training slices the change is found on: the last ones. They must have
            one size, and are in memory together.
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

    name = "universal"
    kinds = kinds_of("universal")
    learns = True

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        steps=60,
        restarts=1,
        num_slices=8,
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(
            sizes=sizes,
            threat=threat,
            goal=goal,
            steps=steps,
            restarts=restarts,
            threat_region=threat_region,
            goal_region=goal_region,
            noise=noise,
            draws=draws,
            seed=seed,
        )
        self.num_slices = checks.whole("num_slices", num_slices, 1, most=ranges.MOST)

    @staticmethod
    def search(problem, numbers, start, sparse):
        if problem.start is not None:
            # It has been found on other slices.
            change = problem.project(problem.start)
            return Found(change, problem.value(change)[None, None])
        found = AutoProjectedGradient.search(_Shared(problem), numbers, start, sparse)
        count = tf.shape(problem.like)[0]
        history = tf.repeat(found.history, count, axis=2)
        return Found(_repeated(found.best, problem.like), history)

    def wanted(self, stored, clean):
        """That the change is the same for all slices, and the target, of a goal that has one."""
        text = f"one {self.changes.symbol} for all slices"
        return super().wanted(stored, clean) or Wanted(text)

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Finds one change for a batch, or tells what a given one does.

        Args:
            model, inputs, size, reference, index: as for `SearchedAttack.run`.
            start: a `Start` with one change, as `learn` returns it. It is given to all images, and
                nothing is searched. None: the change is found on this batch.

        Returns:
            An `AttackResult`. Its perturbation is the same for all images.
        """
        if start is not None:
            count = len(inputs["sensitivity_maps"])
            start = start._replace(perturbation=np.repeat(start.perturbation, count, 0))
        return super().run(model, inputs, size, reference, start, index)

    def learn(self, model, slices, size):
        """Finds the change on a set of slices.

        Args:
            model: the model.
            slices: batches (inputs, reference) of one slice each, as `tfvn.data` gives them.
            size: the radius.

        Returns:
            A `Start`, which `run` takes for other slices.

        Raises:
            ValueError: for slices of several sizes, for none, and for slices without a
                `sample_index`.
        """
        inputs, references, index = [], [], []
        for given, reference in slices:
            index.append(measurement.sample_index(given))
            inputs.append({key: given[key] for key in ("kspace", "sensitivity_maps", "mask")})
            references.append(reference)
        shapes = {tuple(given["kspace"].shape) for given in inputs}
        if len(shapes) != 1:
            raise ValueError(
                "a universal attack needs training slices of one size. Received: slices of"
                f" {sorted(shapes) or 'no size, as there are none'}"
            )
        batch = {}
        for key in inputs[0]:
            batch[key] = np.concatenate([given[key] for given in inputs])
        reference, index = np.concatenate(references), np.concatenate(index)
        result = self.run(model, batch, size, reference, index=index)
        return Start(result.perturbation[:1], size=size)


class _Shared:
    """A `tfvn.attacks.problem.Problem` of a batch with one change for all images.

    It is a batch of one: E is the mean over the images.

    Args:
        problem: that of the batch.
    """

    def __init__(self, problem):
        self._problem = problem
        self.like = problem.like[:1]
        self.radius = problem.radius
        self.threat = problem.threat
        self.start = None
        self.start_share = problem.start_share

    def value(self, change, step=None):
        return tf.reduce_mean(self._problem.value(self._for_all(change), step))[None]

    def value_and_gradient(self, change, step=None):
        value, gradient = self._problem.value_and_gradient(self._for_all(change), step)
        return tf.reduce_mean(value)[None], tf.reduce_mean(gradient, 0, keepdims=True)

    def project(self, change, radius=None):
        return self._problem.project(change, radius)

    def random(self, number, radius=None):
        return self._problem.random(number, radius)[:1]

    def _for_all(self, change):
        return _repeated(change, self._problem.like)


def _repeated(change, like):
    return tf.repeat(change, tf.shape(like)[0], axis=0)
