"""How a model is written to a file NAME.keras, and what its weights are called there.

`tfvn.models.network_files` reads the file.
"""

import numpy as np
from tensorflow import keras

from tfvn import checks
from tfvn.compat import KERAS_3, SAVED_AS, weights_in_order

__all__ = ["Stored"]

# The weights of one model stand in another order under Keras 2 than under Keras 3.
_ORDER = "keras3" if KERAS_3 else "keras2"


class Stored(keras.Model):
    """A Keras model whose file holds its weights in one order, whatever its layers are called."""

    def save(self, filepath, *args, **kwargs):
        """Writes the model to a file NAME.keras, as Keras does, that `tfvn.load_model` reads.

        Raises:
            ValueError: for another kind of file, and for weights that are not finite: neither could
                be read.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                "A network is saved to a file with the ending .keras. Received: "
                f"filepath={checks.shown(filepath)}. For weights alone call save_weights, for "
                "TensorFlow Serving tfvn.tools.serving.export."
            )
        if not all(np.isfinite(weight).all() for weight in self.get_weights()):
            raise ValueError(
                f"{filepath}: the network's weights are NaN or infinite: it has diverged and is "
                "not saved. Train it again with a lower learning rate."
            )
        return super().save(filepath, *args, **{**SAVED_AS, **kwargs})

    def places(self, names):
        """Where the weights lie in the file of weights: a dict from paths to weights.

        Args:
            names: of what lies at the top of the file.
        """
        del names
        found = {}
        for number, weight in enumerate(weights_in_order(self)):
            found[f"vars/{_ORDER}_{number}"] = weight
        return found

    def save_own_variables(self, store):
        # Keras also writes those of each layer by themselves, under names that depend on more than
        # the class.
        for number, weight in enumerate(weights_in_order(self)):
            store[f"{_ORDER}_{number}"] = np.array(weight)

    def load_own_variables(self, store):
        for number, weight in enumerate(weights_in_order(self)):
            weight.assign(store[f"{_ORDER}_{number}"])
