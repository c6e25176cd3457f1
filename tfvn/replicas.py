"""Over the replicas of a `tf.distribute` strategy: what each of them does, and their sums.

A batch is split slice by slice and draws are split number by number: replica i of n takes i, i + n,
i + 2 n and so on. Sums over the replicas are all-reduced. So n replicas give what one gives, up to
the order of the summation.

A strategy of None stands for one device.
"""

import contextlib

import tensorflow as tf

__all__ = ["agree", "check_variables", "own_slices", "replica", "run", "scope", "total"]


def scope(strategy):
    """A context in which the variables of the strategy are made."""
    if strategy is None:
        return contextlib.nullcontext()
    return strategy.scope()


def run(strategy, function, *arguments):
    """`function(*arguments)` on every replica, once where `strategy` is None."""
    if strategy is None:
        return function(*arguments)
    return strategy.run(function, arguments)


def total(strategy, function, *arguments):
    """The list of tensors `function(*arguments)`, of one dtype, summed over the replicas."""
    if strategy is None:
        return function(*arguments)
    shapes = []

    def packed(*arguments):
        tensors = function(*arguments)
        shapes[:] = [tensor.shape for tensor in tensors]
        if not _all_known(shapes):
            return tensors
        # One message for all of them.
        return [tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)]

    sums = []
    for part in strategy.run(packed, arguments):
        sums.append(strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None))
    if not _all_known(shapes):
        return sums
    parts = tf.split(sums[0], [shape.num_elements() for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]


def _all_known(shapes):
    return all(shape.is_fully_defined() for shape in shapes)


def agree(strategy, number):
    """Whether all processes have the same whole number."""
    if strategy is None:
        return True

    def number_and_square():
        return [tf.constant([number, number**2], tf.float64)]

    summed = tf.function(lambda: total(strategy, number_and_square)[0], autograph=False)
    numbers, squares = summed().numpy().tolist()
    # By Cauchy and Schwarz they are all equal.
    return strategy.num_replicas_in_sync * squares == numbers**2


def replica():
    """Inside `run`: the number of this replica, and how many there are."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def own_slices(arrays, batch):
    """This replica's slices of a batch, and how many they are.

    A replica without a slice holds the last one, and the number 0.

    Args:
        arrays: nested arrays, whose first axes are `batch` or 1.
        batch: the number of slices.
    """
    number, replicas = replica()
    if replicas == 1:
        return arrays, batch
    own = tf.range(number, tf.maximum(batch, number + 1), replicas)

    def taken(array):
        return tf.gather(array, tf.minimum(own, tf.shape(array)[0] - 1))

    count = tf.where(number < batch, tf.size(own), 0)
    return tf.nest.map_structure(taken, arrays), count


def check_variables(strategy, variables):
    """Checks that the variables of a network were made for the strategy, if there is one.

    Raises:
        ValueError: if they were not.
    """
    if strategy is None:
        return
    if not all(strategy.extended.variable_created_in_scope(variable) for variable in variables):
        raise ValueError(
            "The network belongs to no strategy or to another. Make or load it inside `with"
            " strategy.scope():`."
        )
