"""The training loop: stretches of iterations, each of which ends in a checkpoint.

What an interrupted training has done after its last checkpoint is lost, and done again in the same
way when the training continues.
"""

import numpy as np
from tensorflow import keras

from tfvn import data

__all__ = ["ProgressBar", "train_to"]


def train_to(
    iterations,
    trainer,
    batches,
    every,
    validation=None,
    callbacks=(),
    record=None,
    checkpoints=None,
):
    """Trains until so many iterations are done, or until a callback stops the training.

    Args:
        iterations: their number, with those that the trainer has done before.
        trainer: a `Trainer`.
        batches: `batches(done)` is the `tfvn.data.Batches` of training after `done` iterations.
        every: iterations of a stretch. To Keras it is an epoch.
        validation: the `Batches` that are gone through after each stretch; None: none are.
        callbacks: Keras callbacks. They come before a stretch is checked and recorded.
        record: `record(iteration, logs)` is called after each stretch with what Keras knows of it,
            before its checkpoint is written.
        checkpoints: the `Checkpoints` that a stretch ends with; None: there are none.

    Raises:
        FloatingPointError: if the loss or a weight is no longer finite. What was recorded last, and
            the last checkpoint, are of the stretch before.
        ValueError: for data that cannot be read, or if a checkpoint cannot be written.
    """
    callbacks = [*callbacks, _EndOfStretch(record, checkpoints)]
    stopped = False
    while not stopped and (done := int(trainer.steps_done)) < iterations:
        stretches = _stretches(done, iterations, every)
        _fit(trainer, batches(done), validation, callbacks, stretches)
        stopped = trainer.stop_training


def _stretches(done, iterations, every):
    """The epochs of a fit, as Keras wants them."""
    count, steps = divmod(iterations - done, every)
    if count:
        steps = every
    else:
        # A rest that is shorter than a stretch gets a fit of its own.
        count = 1
    first = -(-done // every)
    return {"initial_epoch": first, "epochs": first + count, "steps_per_epoch": steps}


def _fit(trainer, training, validation, callbacks, stretches):
    read = [training]
    validated = None
    if validation is not None:
        read.append(validation)
        validated = validation.dataset()
    with data.clear_errors(*read):
        trainer.fit(
            training.dataset(),
            validation_data=validated,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
            **stretches,
        )


class _EndOfStretch(keras.callbacks.Callback):
    """Checks that a training has not diverged, records what it has reached, and saves it."""

    def __init__(self, record, checkpoints):
        super().__init__()
        self._record = record
        self._checkpoints = checkpoints

    def on_epoch_end(self, epoch, logs=None):
        iteration = int(self.model.steps_done)
        numbers = [logs["loss"], *self.model.network.get_weights()]
        if not all(np.isfinite(x).all() for x in numbers):
            raise FloatingPointError(f"diverged before iteration {iteration}")
        if self._record:
            self._record(iteration, logs)
        if self._checkpoints:
            self._checkpoints.save(iteration)


class ProgressBar(keras.callbacks.Callback):
    """Moves a bar of `tfvn.progress` on by one with each iteration.

    Args:
        bar: the bar.
    """

    def __init__(self, bar):
        super().__init__()
        self._bar = bar

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        told = {"loss": f"{logs['loss']:.4g}"}
        # Only a validation has one.
        if "val_nrmse" in logs:
            told["nrmse"] = f"{logs['val_nrmse']:.4f}"
        self._bar.set_postfix(**told)
