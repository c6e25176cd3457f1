"""Steps that are repeated: their gradient, and what is kept for it."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.repeat import repeat


def step(x, y, operand):
    """A step whose every state is needed for the gradient."""
    return tf.sin(x) * y + operand, tf.cos(y) * x


def plain(count, x, y, operand):
    for _ in range(count):
        x, y = step(x, y, operand)
    return x, y


def repeated(count, x, y, operand):
    return repeat(step, count, (x, y), (operand,))


def with_gradients(function, count, tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        x, y = function(count, *tensors)
        value = tf.reduce_sum(x**2 + 3 * y)
    return x, y, *tape.gradient(value, tensors)


@pytest.mark.slow_cases
@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 10])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_steps_and_their_gradients_are_those_made_one_by_one(count, compiled):
    rng = np.random.default_rng(count)
    tensors = tuple(tf.constant(rng.standard_normal((2, 3))) for _ in range(3))
    function = with_gradients
    if compiled:
        function = tf.function(with_gradients, autograph=False)
    found = function(repeated, count, tensors)
    for one, other in zip(found, with_gradients(plain, count, tensors)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


_MEMORY = """
import numpy as np, tensorflow as tf
from tfvn.models.repeat import repeat
count = int(sys.argv[1])

@tf.function(autograph=False)
def gradient(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        found, = repeat(lambda x: (tf.sin(x),), count, (x,))
    return tape.gradient(found, x)

gradient(tf.ones(10))
report_peak()
gradient(tf.ones(1_000_000))
report_peak()
"""


@pytest.mark.slow
def test_the_memory_grows_with_the_root_of_the_count(peak_memory):
    # A state has 4 MB. All of 400 would take 1600 MB.
    before, after = peak_memory(_MEMORY, "400")
    assert after - before < 400e6
