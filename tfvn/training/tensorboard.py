"""What TensorBoard shows of a run. It lies below `logs` of the run directory.

The x axis is the training iteration everywhere.

    train/        loss of each iteration, what the optimizer logs, data-term weights
    validation/   scores of the test slices; pictures of the middle one and of the parameters
    attack/NAME/  an attack's objective against its steps, a curve a slice; NAME is its folder
    hparams/      one row of the HParams table: settings, last validation, evaluation
    plugins/      the profiler's traces

Keras has a TensorBoard callback too. Its x axis counts epochs, which here are stretches between two
checkpoints. And it leaves points twice where a training goes on from a checkpoint. Here the points
after the checkpoint are removed from the files first.

Event files of a training grow while they are written. The last record of a killed process may be
cut off; readers leave it out. Files of attacks and of the HParams table are complete when they
appear.
"""

import contextlib
import os

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import data, ranges
from tfvn.training import events, history, pictures
from tfvn.training.hparams import write_hparams

__all__ = ["TrainingSummaries", "write_attack", "write_mean_attack"]

# What iPALM logs of each block.
_OF_IPALM = ("lipschitz_", "trials_")


class TrainingSummaries(keras.callbacks.Callback):
    """Logs a `Trainer` while it is fitted. It is a context that closes its files.

    Args:
        run_dir: the run directory.
        config: its configuration.
        iterations_done: where the training starts or goes on. Points after it are removed.
    """

    def __init__(self, run_dir, config, iterations_done=0):
        super().__init__()
        self.run_dir = run_dir
        self.config = config
        self._train = _continued(events.logs_dir(run_dir, "train"), iterations_done)
        self._validation = _continued(events.logs_dir(run_dir, "validation"), iterations_done)
        profiled = [0]
        if config.training.profile:
            profiled = ranges.numbers(config.training.profile)
        self._first_profiled = min(profiled)
        self._last_profiled = max(profiled)
        self._profiling = False
        self._shown = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # All of them, whichever fails.
        with contextlib.ExitStack() as stack:
            for close in (self._validation.close, self._train.close, self._stop_profiler):
                stack.callback(close)

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.steps_done) + 1 == self._first_profiled:
            tf.profiler.experimental.start(events.logs_dir(self.run_dir))
            self._profiling = True

    def on_train_batch_end(self, batch, logs=None):
        iteration = int(self.model.steps_done)
        if iteration == self._last_profiled:
            self._stop_profiler()
        values = {"error/loss": logs["step_loss"]}
        for key, value in logs.items():
            if key.startswith(_OF_IPALM):
                values[f"ipalm/{key}"] = value
        for index, stage in enumerate(self.model.network.drawn_stages()):
            weight = tf.convert_to_tensor(stage.data_weight)
            values[f"data_weight/{pictures.stage_name(index)}"] = weight
        _add_scalars(self._train, iteration, values)

    def on_epoch_end(self, epoch, logs=None):
        iteration = int(self.model.steps_done)
        scores = history.validation_scores(logs)
        values = {f"error/{name}": value for name, value in scores.items()}
        _add_scalars(self._validation, iteration, values)
        if self._are_pictures_due(iteration):
            self._add_pictures(iteration)
        # Before the checkpoint: a training that goes on from it must find all points up to here.
        self._train.flush()
        self._validation.flush()
        architecture = self.model.network.get_config()
        write_hparams(self.run_dir, self.config, architecture, validation=(iteration, logs))

    def _are_pictures_due(self, iteration):
        training = self.config.training
        if not training.log_images_every:
            return False
        number = -(-iteration // training.checkpoint_every)
        is_last = iteration == training.iterations
        return number % training.log_images_every == 0 or is_last

    def _add_pictures(self, iteration):
        inputs, reference = self._middle_slice()
        network = self.model.network
        zero_filled = network.zero_filled(inputs)
        after = network.stage_images(inputs)
        before = [zero_filled, *after[:-1]]
        reconstruction = after[-1] if network.drawn_stages() else network(inputs)
        images = pictures.image_summaries(
            zero_filled[0].numpy(),
            [image[0].numpy() for image in after],
            reconstruction[0].numpy(),
            reference,
        )
        self._validation.add(iteration, *images)
        self._validation.add(iteration, *pictures.stage_summaries(network.drawn_stages(), before))

    def _middle_slice(self):
        """The middle test slice: its inputs as in a validation, and its reference."""
        if self._shown is None:
            middle = len(data.source(self.config, "test")) // 2
            inputs, reference = next(iter(data.load(self.config, "test", start=middle)))
            inputs = self.model.validation_inputs(inputs, reference)
            self._shown = inputs, reference[0].numpy()
        return self._shown

    def _stop_profiler(self):
        if self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = False


def _continued(folder, iterations_done):
    """A file that grows, in a folder without points after an iteration."""
    events.drop_after(folder, iterations_done)
    return events.Growing(folder)


def _add_scalars(file, iteration, values):
    file.add(iteration, *(events.scalar(tag, value) for tag, value in values.items()))


def write_attack(run_dir, name, index, history, first_step=0, keep=False):
    """Writes the objective of an attack on one slice against its steps, a curve a restart.

    Args:
        run_dir, name: the run, and the attack's folder in it.
        index: of the slice.
        history: (restarts, steps + 1), the objective at every iterate.
        first_step: the step of the first one.
        keep: leave curves alone that are there already.
    """
    path = _attack_path(run_dir, name, f"slice_{index:05d}")
    if keep and os.path.exists(path):
        return
    curves = []
    for restart, values in enumerate(history):
        tag = f"attack/slice_{index:05d}"
        if restart:
            tag += f"_restart_{restart + 1}"
        curves += _curve(tag, values, first_step)
    events.write(path, curves)


def write_mean_attack(run_dir, name, histories, first_step=0):
    """Writes the mean over the slices of each slice's best restart, as in `write_attack`."""
    best = [history[np.argmax(history.max(1))] for history in histories]
    curve = _curve("attack/mean_of_slices", np.mean(best, 0), first_step)
    events.write(_attack_path(run_dir, name, "mean"), curve)


def _attack_path(run_dir, name, what):
    return events.logs_dir(run_dir, "attack", name, f"{events.PREFIX}.{what}")


def _curve(tag, values, first_step):
    return [(step, events.scalar(tag, value)) for step, value in enumerate(values, first_step)]
