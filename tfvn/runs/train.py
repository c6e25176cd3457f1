"""What `train.py` does: it trains the network of a run directory."""

import contextlib
import functools
import os

import tensorflow as tf

from tfvn import compat, data, progress, replicas
from tfvn.models.network_files import load_model
from tfvn.runs import directory, locks, trained_on
from tfvn.runs.models import network_of, save_network
from tfvn.training import history, loop, tensorboard
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.trainer import Trainer
from tfvn.workers import ALONE

__all__ = ["build_network", "build_trainer", "has_weights", "train_run", "trainer_of"]

_UNFINISHED, _CURVE = "unfinished.keras", "history.csv"

# Settings that a network only begins with, and what does not belong to it: two networks that differ
# in nothing else compute the same with the same weights.
_NOT_OF_NETWORK = ("name", "dtype", "seed", "readout_oversampling")
_OF_BEGINNING = "initial_"
# What TensorFlow raises where another process of a training has gone or stands still.
_OF_LOST_WORKERS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
# What is told of the last validation, and in which words.
_SCORES = {"rmse": "RMSE", "nrmse": "NRMSE", "ssim": "SSIM"}


def build_network(config):
    """A new model as configured; with the weights of `training.initial_weights` where given.

    Raises:
        ValueError: if those weights belong to a network of other settings, or to a model of another
            class.
    """
    network = config.model.make(
        readout_oversampling=config.dataset.readout_oversampling, seed=config.seed
    )
    network.make_weights()
    path = config.training.initial_weights
    if path:
        given = load_model(path)
        _check_same_network(given, network, path)
        network.begin_with(given)
    return network


def _check_same_network(given, network, path):
    """Checks that the weights of a given network mean the same in the configured one."""
    expected = type(network).__name__
    if type(given) is not type(network):
        raise ValueError(
            f"training.initial_weights must be the file of a {expected}. Received:"
            f" training.initial_weights={path}, of a {type(given).__name__}. Name another file."
        )
    ours = _settings_of(network)
    differences = []
    # A setting that the given one lacks is of a part that begins anew.
    for key, theirs in _settings_of(given).items():
        if key not in ours:
            differences.append(f"{key}={theirs!r} (configured: none)")
        elif ours[key] != theirs:
            differences.append(f"{key}={theirs!r} (configured: {ours[key]!r})")
    if differences:
        raise ValueError(
            f"training.initial_weights={path} belong to another network:"
            f" {', '.join(differences)}. Configure the same."
        )


def _settings_of(network):
    """The settings that a network's weights have their meaning by."""
    found = {}
    for key, value in network.get_config().items():
        if key not in _NOT_OF_NETWORK and not key.startswith(_OF_BEGINNING):
            found[key] = value
    return found


def build_trainer(config, strategy=None):
    """The `Trainer` of a new network, as configured.

    Raises:
        ValueError: as `build_network` and `Trainer`.
    """
    with replicas.scope(strategy):
        network = build_network(config)
    return trainer_of(network, config, strategy)


def has_weights(network):
    """Whether there is anything to train."""
    return any(network.parameter_blocks.values())


def trainer_of(network, config, strategy=None):
    """The `Trainer` of a network that is there, as configured."""
    steps = config.training.optimizer.make(iterations=config.training.iterations)
    recipe = config.training.recipe.make()
    averaging = config.training.averaging
    return Trainer(network, steps, recipe, config.seed, strategy, averaging)


def train_run(run_dir, config, checked=False, workers=ALONE, tells_next=True):
    """Trains to `training.iterations` and writes `model.keras`.

    An interrupted training continues where it stopped. A training that comes to the end of
    `training.time_budget` stops at its next checkpoint. It writes the network as it is then under
    another name, `unfinished.keras`: no later step takes it for the one that was configured.

    A model without weights is written as it is.

    Args:
        run_dir: the run directory.
        config: its configuration.
        checked: whether the data have been read once. If not, those from files are read before the
            first iteration.
        workers: the `Workers`. They need one run directory. All of them train, and the first one
            writes.
        tells_next: whether to say by which command the trained network is attacked.

    Raises:
        ValueError: if it cannot be trained as configured, or another process trains it.
    """
    path = os.path.join(run_dir, directory.MODEL)
    if os.path.exists(path):
        # A damaged one is no end of a training.
        network_of(run_dir, config)
        print(f"{run_dir} is already trained: {path}")
        return
    # What is missing for them is told before anything is done.
    _addons_callbacks(config.training)
    if config.training.time_budget and workers.count > 1:
        raise ValueError(
            "several processes would stop at different times. Set training.time_budget=0, and stop"
            " them all by hand."
        )
    directory.make_folder(run_dir)
    # Two trainings would write into each other's checkpoints and curves.
    with locks.alone(run_dir, "trains it", workers.index or None):
        if config.model.file:
            _take_given_network(run_dir, config, checked)
        else:
            with _named_where_another_stops(workers):
                # TensorFlow wants it before it computes anything.
                strategy = workers.strategy()
                _make(run_dir, config, strategy, checked, workers)
    there = config.model.file or os.path.exists(path)
    if tells_next and there and workers.index == 0:
        print(_next_is_attack(run_dir))


def _make(run_dir, config, strategy, checked, workers):
    """Makes the configured model and trains it, if it has weights to train."""
    with replicas.scope(strategy):
        network = build_network(config)
    # What it is going to be attacked in: a wrong setting is told before the training.
    config.defended(network, strategy)
    if has_weights(network):
        # Before data are read: what it lacks is told at once.
        trainer = trainer_of(network, config, strategy)
        if not checked:
            _check_data(run_dir, config, ("train", "test"))
        _train(run_dir, config, trainer, workers)
    elif workers.index == 0:
        _keep_untrained(run_dir, config, network, checked)
    # None ends before the others: they would take it for lost, or end without the network.
    replicas.agree(strategy, 0)


def _addons_callbacks(training):
    """The Keras callbacks of tensorflow-addons that are asked for."""
    found = []
    if training.time_budget:
        callbacks = compat.addons(
            "training.time_budget",
            "training.time_budget=0 and Ctrl-C: a training called again continues",
        ).callbacks
        found.append(callbacks.TimeStopping(training.time_budget))
    if training.progress == "addons":
        purpose = "training.progress=addons"
        callbacks = compat.addons(purpose, "training.progress=tqdm").callbacks
        bars = callbacks.TQDMProgressBar()
        # In a log file it writes no more lines than ours.
        bars.tqdm = progress.bar
        found.append(bars)
    return found


def _check_data(run_dir, config, splits):
    """Reads all data from files once, before the first iteration.

    Hours of training must not end at a file that could have been looked at before.
    """
    begun = os.path.exists(os.path.join(run_dir, "checkpoints"))
    if config.dataset.has_files and not begun:
        data.check(config, splits)
        trained_on.warn_of_trained_slices(config)


def _take_given_network(run_dir, config, checked):
    config.check_models()
    if not checked:
        _check_data(run_dir, config, ("test",))
    network_of(run_dir, config)
    trained_on.warn_of_data(config.model.file, config)
    trained_on.write(run_dir, config)
    print(f"nothing to train: the network is {config.model.file}")


def _keep_untrained(run_dir, config, network, checked):
    """Writes a model that has no weights to train."""
    if not checked:
        _check_data(run_dir, config, ("test",))
    trained_on.write_untrained(run_dir)
    save_network(network, run_dir)
    print(f"nothing to train: {config.model.name} has no weights")


@contextlib.contextmanager
def _named_where_another_stops(workers):
    """Inside, TensorFlow's errors of a worker that another has left become a sentence."""
    try:
        yield
    except _OF_LOST_WORKERS as error:
        if workers.count == 1:
            raise
        raise ValueError(
            "another worker has stopped. Start the same command in all again: it continues after"
            " the last checkpoint."
        ) from error


def _train(run_dir, config, trainer, workers):
    # A file that is no learning curve is told before anything is done.
    rows = history.read_history(os.path.join(run_dir, _CURVE))
    checkpoints = Checkpoints(trainer.checkpoint(), os.path.join(run_dir, "checkpoints"))
    if checkpoints.restore():
        print(f"continuing {run_dir} at iteration {int(trainer.steps_done)}")
    elif rows:
        print(
            f"{checkpoints.folder} holds no checkpoint: the training of"
            f" {os.path.join(run_dir, _CURVE)} begins again at iteration 0"
        )
    done = int(trainer.steps_done)
    if not replicas.agree(trainer.strategy, done):
        raise ValueError(
            f"the workers do not continue at one iteration: {run_dir} must be one folder that all"
            " of them see."
        )
    writes = workers.index == 0
    # At the end the data may be gone, and the network must be saved all the same.
    if writes and done < config.training.iterations:
        slices = config.training.iterations * config.training.batch_size
        trained_on.write(run_dir, config, slices * trainer.gradients_of_slice)
    try:
        _iterate(run_dir, config, trainer, checkpoints, writes)
    except FloatingPointError as error:
        raise ValueError(
            f"{run_dir}: the training {error}: its loss or a weight is not finite. Lower the"
            " learning rate, and check that the references are finite. The last good checkpoint is"
            " kept."
        ) from error
    if writes:
        _write(run_dir, config.training.iterations, trainer)


def _iterate(run_dir, config, trainer, checkpoints, writes):
    """Trains to `training.iterations`, and logs it if this process writes.

    Raises:
        FloatingPointError: if the training diverges.
    """
    training = config.training
    done = int(trainer.steps_done)
    # Then no data are needed: they may be gone.
    if done >= training.iterations:
        return
    with contextlib.ExitStack() as stack:
        bar = progress.bar(
            total=training.iterations,
            initial=done,
            desc=f"train {os.path.basename(run_dir)}",
            unit="it",
            disable=not writes or training.progress == "addons",
        )
        callbacks = [loop.ProgressBar(stack.enter_context(bar))]
        settings = {}
        if writes:
            log = stack.enter_context(tensorboard.TrainingSummaries(run_dir, config, done))
            callbacks = [log, *callbacks, *_addons_callbacks(training)]
            curve = os.path.join(run_dir, _CURVE)
            settings["record"] = functools.partial(history.add_row, curve)
            settings["checkpoints"] = checkpoints
        loop.train_to(
            training.iterations,
            trainer,
            batches=lambda done: data.load(config, "train", start=done),
            every=training.checkpoint_every,
            validation=data.load(config, "test"),
            callbacks=callbacks,
            **settings,
        )


def _write(run_dir, iterations, trainer):
    """Writes the network, finished or not."""
    done = int(trainer.steps_done)
    unfinished = os.path.join(run_dir, _UNFINISHED)
    if done < iterations:
        save_network(trainer.trained_network(), run_dir, _UNFINISHED)
        there = directory.attack_elsewhere(run_dir, unfinished, f"{run_dir}-unfinished")
        print(
            f"stopped by the time budget at iteration {done} of {iterations}. The same"
            " command continues. To attack or evaluate the network as it is:"
            f" {directory.command(*there)}"
        )
        return
    save_network(trainer.trained_network(), run_dir)
    if os.path.exists(unfinished):
        os.remove(unfinished)
    for name in (_CURVE, "logs", "checkpoints"):
        path = os.path.join(run_dir, name)
        if os.path.exists(path):
            print(f"wrote {path}")
    print(f"trained {done} iterations{_last_scores(run_dir)}")


def _last_scores(run_dir):
    """The scores of the last validation, in words; nothing where there was none."""
    rows = history.read_history(os.path.join(run_dir, _CURVE))
    if not rows:
        return ""
    scores = history.validation_scores(rows[-1])
    told = [f"{label} {scores[key]:.4g}" for key, label in _SCORES.items() if key in scores]
    return f"; validation: {', '.join(told)}"


def _next_is_attack(run_dir):
    words = directory.command("python", "attack.py", "--run-dir", directory.as_argument(run_dir))
    return f"Next: {words}"
