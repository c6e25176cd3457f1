"""What TensorBoard shows of a run, written below `logs` of its directory; the x axis is the
training iteration everywhere.

    train/        loss of each iteration, curvature bound L and trials of each block, data-term weights
    validation/   loss, RMSE, nrmse and SSIM of the test slices; pictures of the middle one and of the parameters
    attack/NAME/  the attack's objective against its steps, slice by slice; NAME is the attack's folder
    hparams/      one row of the HParams table: settings, last validation, evaluation
    plugins/      the profiler's traces

Keras' own TensorBoard callback counts epochs, which here are stretches between two checkpoints, and
a training that goes on from a checkpoint leaves its earlier points doubled. Here what lies behind
the checkpoint is removed from the files first.

Event files grow while they are written: the last record of a killed process may be cut off, which
readers leave out. Those of attacks and of the HParams table are complete when they appear.
"""

import contextlib
import glob
import io
import math
import os
import time

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api
from tensorflow import keras

from tfvn import data, ranges
from tfvn.figures.stages import stage_picture
from tfvn.training import events, history

__all__ = [
    "ERROR_GAIN",
    "TrainingSummaries",
    "describe_stage",
    "logs_dir",
    "write_attack",
    "write_hparams",
    "write_mean_attack",
]

# The error is shown this many times brighter than the images.
ERROR_GAIN = 5

_TRAINED_KEYS = ("optimizer", "iterations", "batch_size", "seed")
_ARCHITECTURE = ("num_stages", "filters", "kernel_size", "num_centers")
_POINTS, _BINS, _SAMPLES = 101, 40, 16384


def logs_dir(run_dir, *names):
    """The folder of one of TensorBoard's runs, see above."""
    return os.path.join(run_dir, "logs", *names)


class TrainingSummaries(keras.callbacks.Callback):
    """Logs a `Trainer` while it is fitted; a context that closes its files.

    Args:
        run_dir: the run directory.
        config: its configuration.
        iterations_done: where the training starts or goes on. Points after it are removed.
    """

    def __init__(self, run_dir, config, iterations_done=0):
        super().__init__()
        self.run_dir, self.config = run_dir, config
        folders = [logs_dir(run_dir, name) for name in ("train", "validation")]
        for folder in folders:
            events.drop_after(folder, iterations_done)
        self._train, self._validation = (events.Growing(folder) for folder in folders)
        profiled = ranges.numbers(config.profile) if config.profile else [0]
        self._profiled, self._profiling = (min(profiled), max(profiled)), False
        self._shown = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.ExitStack() as stack:
            for close in (self._validation.close, self._train.close, self._stop_profiler):
                stack.callback(close)

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.steps_done) + 1 == self._profiled[0]:
            tf.profiler.experimental.start(logs_dir(self.run_dir))
            self._profiling = True

    def on_train_batch_end(self, batch, logs=None):
        iteration = int(self.model.steps_done)
        if iteration == self._profiled[1]:
            self._stop_profiler()
        values = {"error/loss": logs["step_loss"]}
        for key, value in logs.items():
            if key.startswith(("lipschitz_", "trials_")):
                values[f"ipalm/{key}"] = value
        for t, stage in enumerate(self.model.network.stages):
            values[f"data_weight/{_stage(t)}"] = tf.convert_to_tensor(stage.data_weight)
        self._train.add(iteration, *(events.scalar(tag, value) for tag, value in values.items()))

    def on_epoch_end(self, epoch, logs=None):
        iteration, every = int(self.model.steps_done), self.config.log_images_every
        for name, value in history.validation_scores(logs).items():
            self._validation.add(iteration, events.scalar(f"error/{name}", value))
        number = -(-iteration // self.config.checkpoint_every)
        if every and (number % every == 0 or iteration == self.config.iterations):
            inputs, reference = self._middle_slice()
            zero_filled, images = inputs["zero_filled"], self.model.network.stage_images(inputs)
            self._validation.add(
                iteration, *_images(zero_filled[0].numpy(), images[:, 0].numpy(), reference)
            )
            self._validation.add(
                iteration, *_parameters(self.model.network.stages, [zero_filled, *images[:-1]])
            )
        # Before the checkpoint: a training that goes on from it must find all points up to here.
        self._train.flush()
        self._validation.flush()
        write_hparams(
            self.run_dir, self.config, self.model.network.get_config(), validation=(iteration, logs)
        )

    def _stop_profiler(self):
        if self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = False

    def _middle_slice(self):
        """Inputs as in a validation, and reference, of the middle test slice."""
        if self._shown is None:
            middle = len(data.source(self.config, "test")) // 2
            inputs, reference = next(iter(data.load(self.config, "test", start=middle)))
            self._shown = self.model.validation_inputs(inputs, reference), reference[0].numpy()
        return self._shown


def _stage(t):
    return f"stage_{t + 1:02d}"


def _images(zero_filled, stages, reference):
    """Pictures of one slice: its zero-filled image, the image after every stage, (num_stages, rows,
    width), and the reference.
    """
    has_reference = np.isfinite(reference).all()
    white = np.percentile(np.abs(reference if has_reference else zero_filled), 99.9)
    images = {"1_zero_filled": zero_filled}
    images.update({f"2_{_stage(t)}": image for t, image in enumerate(stages)})
    images["3_reconstruction"] = stages[-1]
    if has_reference:
        images["4_reference"] = reference
        images[f"5_error_x{ERROR_GAIN}"] = ERROR_GAIN * (np.abs(stages[-1]) - np.abs(reference))
    note = (
        f"The middle test slice, as the validation sees it. White: {white:.3g}, the 99.9th"
        f" percentile of the {'reference' if has_reference else 'zero-filled image'}; the error's"
        f" magnitude is {ERROR_GAIN} times brighter."
    )
    for name, image in images.items():
        grey = np.clip(np.abs(np.nan_to_num(image)) / white, 0, 1)
        png = tf.io.encode_png(np.uint8(np.round(255 * grey))[..., None]).numpy()
        yield events.image(f"image/{name}", png, note)


def _parameters(stages, images):
    """Pictures of the stages; `images` are those that they begin with."""
    for t, (stage, image) in enumerate(zip(stages, images)):
        # The training is about to end with a sentence of its own where they are not finite.
        if all(np.isfinite(weight).all() for weight in stage.get_weights()):
            picture = io.BytesIO()
            stage_picture(picture, f"stage {t + 1}", *describe_stage(stage, image))
            yield events.image(f"parameters/{_stage(t)}", picture.getvalue())


def describe_stage(stage, image):
    """What a picture of a stage shows: its filters, its activation functions, and where their
    inputs lie.

    Args:
        stage: a `Stage`.
        image: the complex image (1, rows, width) that it begins with.

    Returns:
        kernel (kernel_size, kernel_size, 2, filters), x (points,), phi(x) (points, filters) and a
        histogram of K image, (bins, filters), over the range of x; this is half as large again as
        the one of 99.9 % of these inputs, at most that of the centres.
    """
    channels = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
    filtered = (
        tf.nn.conv2d(channels, tf.convert_to_tensor(stage.kernel), 1, "VALID")
        .numpy()
        .reshape(-1, stage.filters)
    )
    # Some of the pixels tell as much.
    filtered = np.nan_to_num(filtered[:: max(1, len(filtered) // _SAMPLES)])
    limit = min(stage.activation.grid_limit, max(1.5 * np.percentile(np.abs(filtered), 99.9), 1e-6))
    x = np.linspace(-limit, limit, _POINTS, dtype=filtered.dtype)
    phi, _ = stage.activation.value_and_derivative(tf.repeat(x[:, None], stage.filters, 1))
    counts = [np.histogram(column, _BINS, (-limit, limit))[0] for column in filtered.T]
    return stage.kernel.numpy(), x, phi.numpy(), np.stack(counts, 1)


def write_attack(run_dir, name, index, history, first_step=0, keep=False):
    """The objective of an attack on one slice against its steps, a curve a restart.

    Args:
        run_dir, name: the run, and the attack's folder in it.
        index: of the slice.
        history: (restarts, steps + 1), the objective at every iterate.
        first_step: the step of the first one.
        keep: leave curves alone that are there already.
    """
    path = logs_dir(run_dir, "attack", name, f"{events.PREFIX}.slice_{index:05d}")
    if keep and os.path.exists(path):
        return
    curves = []
    for restart, values in enumerate(history):
        curves += _curve(
            f"attack/slice_{index:05d}" + (f"_restart_{restart + 1}" if restart else ""),
            values,
            first_step,
        )
    events.write(path, curves)


def write_mean_attack(run_dir, name, histories, first_step=0):
    """The mean over the slices of each slice's best restart, as in `write_attack`."""
    best = [history[np.argmax(history.max(1))] for history in histories]
    path = logs_dir(run_dir, "attack", name, f"{events.PREFIX}.mean")
    events.write(path, _curve("attack/mean_of_slices", np.mean(best, 0), first_step))


def _curve(tag, values, first_step):
    return [(step, events.scalar(tag, value)) for step, value in enumerate(values, first_step)]


def write_hparams(run_dir, config, architecture, evaluation=None, validation=None):
    """The run's row of the HParams table: one file, replaced by the next call.

    Args:
        run_dir, config: the run. A directory that cannot be written is left as it is.
        architecture: `get_config()` of its network.
        evaluation: {name: number}, shown as `score/name`; NaN is left out.
        validation: (iteration, logs of Keras), shown as `score/val_...`; by default the last row of
            `history.csv`, if any.
    """
    if not os.access(run_dir, os.W_OK):
        return
    iteration, logs = validation or history.last_row(os.path.join(run_dir, "history.csv"))
    scores = history.validation_scores(logs)
    metrics = {f"val_{name}": scores[name] for name in ("rmse", "ssim") if name in scores}
    metrics.update(
        {name: value for name, value in (evaluation or {}).items() if not math.isnan(value)}
    )
    parent, name = os.path.abspath(run_dir).split(os.sep)[-2:]
    # By another name each time: a TensorBoard that runs does not read a file again. (It shows new
    # scores, but the settings that it read first.)
    folder = logs_dir(run_dir, "hparams")
    path = os.path.join(folder, f"{events.PREFIX}.{time.time_ns()}")
    # The table cuts long names off at their end.
    row = api.hparams_pb(_hparams(config, architecture), trial_id=f"{name} ({parent})")
    scores = [
        (iteration, events.scalar(f"score/{metric}", value)) for metric, value in metrics.items()
    ]
    events.write(path, [(0, row), *scores])
    for other in glob.glob(os.path.join(glob.escape(folder), f"{events.PREFIX}*")):
        if other != path:
            with contextlib.suppress(FileNotFoundError):
                os.remove(other)


def _hparams(config, architecture):
    """Settings by name; one that has no meaning for a run is not there, as None would make text of
    numbers.
    """
    values = {key: architecture[key] for key in _ARCHITECTURE}
    values["sigma"] = config.sigma
    # As in `results.csv`: without noise one draw says all.
    values["num_samples"] = config.num_samples if config.sigma else 1
    if config.sigma:
        values["noise"] = config.noise
    if not config.model:
        values.update({key: getattr(config, key) for key in _TRAINED_KEYS})
        own = "momentum" if config.optimizer == "ipalm" else "learning_rate"
        values[own] = getattr(config, own)
    return values
