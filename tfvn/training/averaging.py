"""The exponential moving average of the weights of a training.

    average <- average + (1 - d_n) (weights - average),    d_n = min(decay, (1 + n) / (10 + n))

after step n = 0, 1, 2, ... The first steps keep less, so that a short training is no mean of what
it began with. A decay counts from step n = (10 decay - 1) / (1 - decay) on: 80 of 0.9, 290 of 0.97,
890 of 0.99 and 8990 of 0.999. Trainings that end before have one average, whatever their decay.

A constraint set of the networks here is convex, and so the average lies in it too. It is a property
of a training and no recipe: whatever a network is trained on, its weights may be averaged.

Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992, averaged equally; the growing decay is that
of TensorFlow's `tf.train.ExponentialMovingAverage`.
"""

import contextlib

import tensorflow as tf

from tfvn import replicas
from tfvn.compat import variable_of

__all__ = ["WeightAverage", "averaged"]


class WeightAverage(tf.Module):
    """The average of a network's trainable weights, which a checkpoint finds.

    Args:
        network: the model. Its weights are what the average begins with.
        decay: what a late step keeps of the average, in (0, 1). It counts from the step
            (10 decay - 1) / (1 - decay) on; before it a step keeps less.
        strategy: the `tf.distribute` strategy of the network, or None.
    """

    def __init__(self, network, decay, strategy=None):
        super().__init__(name="weight_average")
        self.decay = decay
        self._strategy = strategy
        self._weights = [variable_of(weight) for weight in network.trainable_weights]
        self.averages = []
        for number, weight in enumerate(self._weights):
            start = tf.convert_to_tensor(weight)
            average = tf.Variable(start, trainable=False, name=f"average_{number}")
            self.averages.append(average)

    def update(self, steps_done):
        """Takes the weights after a step.

        Args:
            steps_done: the number of the step, from 0 on.
        """
        for average, weight in zip(self.averages, self._weights):
            number = tf.cast(steps_done, average.dtype)
            kept = tf.minimum(tf.constant(self.decay, average.dtype), (1 + number) / (10 + number))
            average.assign_add((1 - kept) * (tf.convert_to_tensor(weight) - average))

    def take(self):
        """Gives the network the average. Its own weights are gone."""
        self._assign([tf.identity(average) for average in self.averages])

    def swap(self):
        """Gives the network the average. Returns its own weights, for `put_back`."""
        own = [tf.identity(weight) for weight in self._weights]
        self.take()
        return own

    def put_back(self, own):
        """Gives the network its own weights again."""
        self._assign(own)

    def _assign(self, values):
        with replicas.scope(self._strategy):
            for weight, value in zip(self._weights, values):
                weight.assign(value)


@contextlib.contextmanager
def averaged(average):
    """Inside, a network has its averaged weights. None stands for no average.

    Args:
        average: its `WeightAverage`.
    """
    if average is None:
        yield
        return
    own = average.swap()
    try:
        yield
    finally:
        average.put_back(own)
