"""What differs between the two stacks: TensorFlow 2.15 with Keras 2, and current TensorFlow with Keras 3. Nothing else here
or elsewhere asks which one is installed."""
from tensorflow import keras

KERAS_3 = hasattr(keras, "ops")


def variable_of(weight):
    """The `tf.Variable` of a layer's weight, as `tf.GradientTape` wants it. Keras 3 has a variable of its own around it."""
    return weight.value if KERAS_3 else weight


def hidden_variables(trainer):
    """The `tf.Variable`s of a compiled model that `tf.train.Checkpoint` does not find by itself: Keras 3 keeps them in lists
    of its own."""
    return [variable_of(weight) for weight in (*trainer.weights, *trainer.optimizer.variables)] if KERAS_3 else []
