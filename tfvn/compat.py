"""What differs between the two stacks.

They are TensorFlow 2.15 with Keras 2, and current TensorFlow with Keras 3. Nothing else here or
elsewhere asks which one is installed.
"""

import re
import warnings

from tensorflow import keras

__all__ = [
    "KERAS_3",
    "SAVED_AS",
    "addons",
    "hidden_variables",
    "initial_seed",
    "plain_message",
    "variable_of",
    "weights_in_order",
]

KERAS_3 = hasattr(keras, "ops")
# What `keras.Model.save` needs to be told for a file NAME.keras. Keras 2 takes the ending for that
# of HDF5 in all threads but the one that imported it.
SAVED_AS = {} if KERAS_3 else {"save_format": "keras_v3"}
# The largest one below 2^31 - 2.
_PRIME = 2**31 - 19


def variable_of(weight):
    """The `tf.Variable` of a layer's weight, as `tf.GradientTape` wants it.

    Keras 3 has a variable of its own around it.
    """
    return weight.value if KERAS_3 else weight


def initial_seed(number):
    """A whole number as a seed of Keras' initializers.

    Models give a thousand times their own seed and the number of a layer. Keras 3 takes that modulo
    2^31 - 2, by which models of the seeds 0 and 2^30 - 1 would begin alike. The modulus here is a
    prime, so that no two seeds below it do. Smaller numbers stay as they are.
    """
    return number % _PRIME


def weights_in_order(model):
    """A model's weights, in an order that stays the same when some of its layers are frozen."""
    if KERAS_3:
        return model.weights
    # Keras 2 lists all that are trained first.
    found = {}
    for layer in model._flatten_layers():
        for weight in (*layer._trainable_weights, *layer._non_trainable_weights):
            found[id(weight)] = weight
    return list(found.values())


def hidden_variables(trainer):
    """The `tf.Variable`s of a compiled model that `tf.train.Checkpoint` does not find by itself.

    Keras 3 keeps them in lists of its own.
    """
    if not KERAS_3:
        return []
    weights = [*trainer.weights, *trainer.optimizer.variables]
    return [variable_of(weight) for weight in weights]


def plain_message(error):
    """The text of an exception without what Keras puts around it where a layer raised it."""
    wrapped = (
        r"Exception encountered when calling [^\n]*\n\n(.*?)\n\n(Call arguments|Arguments) received"
        r" by .*"
    )
    # Keras 3 prints it bold.
    return re.sub(r"\x1b\[\d+m", "", re.sub(wrapped, r"\1", str(error), flags=re.DOTALL))


def addons(purpose, instead):
    """The module tensorflow_addons. Importing it is slow and warns, so it is imported here.

    Args:
        purpose: what needs it, such as "the optimizer radam-lookahead".
        instead: what to use without it.

    Raises:
        ValueError: if the package is not there.
    """
    try:
        with warnings.catch_warnings():
            # It tells at every import that it is at the end of its life.
            warnings.simplefilter("ignore")
            import tensorflow_addons
    except ImportError as error:
        raise ValueError(
            f"{purpose} needs tensorflow-addons, which exists only for TensorFlow up to 2.15"
            f" (Python 3.9 to 3.11). Use {instead}."
        ) from error
    return tensorflow_addons
