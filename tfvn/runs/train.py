"""What `train.py` does: it trains the network of a run directory."""

import contextlib
import functools
import os

import tensorflow as tf

from tfvn import compat, data, progress, replicas
from tfvn.models.network_files import load_model
from tfvn.models.variational import VariationalNetwork
from tfvn.runs import directory, locks, trained_on
from tfvn.runs.models import network_of, save_network
from tfvn.training import history, loop, optimizers, recipes, tensorboard
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.trainer import Trainer
from tfvn.workers import ALONE, Watch

__all__ = ["build_network", "build_trainer", "train_run"]

_UNFINISHED, _CURVE = "unfinished.keras", "history.csv"

# What a network's weights mean depends on.
_ARCHITECTURE = (
    "num_stages",
    "filters",
    "kernel_size",
    "num_centers",
    "grid_limit",
    "bandwidth",
    "scale",
)
# What is told of the last validation, and in which words.
_SCORES = {"rmse": "RMSE", "nrmse": "NRMSE", "ssim": "SSIM"}


def build_network(config):
    """A new network as configured; with the weights of `config.initial_weights` where given.

    Raises:
        ValueError: if those weights belong to a network of another shape, or to a model of another
            class.
    """
    network = VariationalNetwork(
        num_stages=config.num_stages,
        filters=config.filters,
        kernel_size=config.kernel_size,
        num_centers=config.num_centers,
        grid_limit=config.grid_limit,
        bandwidth=config.bandwidth or None,
        scale=config.scale,
        initial_scale=config.initial_scale,
        initial_data_weight=config.initial_data_weight,
        readout_oversampling=config.readout_oversampling,
        seed=config.seed,
    )
    if config.initial_weights:
        given = load_model(config.initial_weights)
        _check_architecture(given, network, config)
        network.set_weights(given.get_weights())
    return network


def _check_architecture(given, network, config):
    if not isinstance(given, VariationalNetwork):
        raise ValueError(
            "initial_weights must be the file of a VariationalNetwork. Received:"
            f" initial_weights={config.initial_weights}, of a {type(given).__name__}. Name another"
            " file."
        )
    theirs = given.get_config()
    ours = network.get_config()
    rows = []
    for key in _ARCHITECTURE:
        if theirs[key] != ours[key]:
            rows.append(f"{key}={theirs[key]!r} (configured: {ours[key]!r})")
    if rows:
        raise ValueError(
            f"initial_weights={config.initial_weights} belong to another network:"
            f" {', '.join(rows)}. Configure the same."
        )


def build_trainer(config, strategy=None):
    """The `Trainer` of a new network, as configured.

    Raises:
        ValueError: as `build_network` and `Trainer`.
    """
    with replicas.scope(strategy):
        network = build_network(config)
    steps = optimizers.from_config(config, strategy)
    recipe = recipes.from_config(config)
    return Trainer(network, steps, recipe, seed=config.seed, strategy=strategy)


def train_run(run_dir, config, checked=False, workers=ALONE):
    """Trains to `config.iterations` and writes `model.keras`.

    An interrupted training continues where it stopped. A training that comes to the end of
    `config.time_budget` stops at its next checkpoint. It writes the network as it is then under
    another name, `unfinished.keras`: no later step takes it for the one that was configured.

    Args:
        run_dir: the run directory.
        config: its configuration.
        checked: whether the data have been read once. If not, those from files are read before the
            first iteration.
        workers: the `Workers`. They need one run directory. All of them train, and the first one
            writes.

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
    _addons_callbacks(config)
    if config.time_budget and workers.count > 1:
        raise ValueError(
            "several processes would stop at different times. Set time_budget=0, and stop them all"
            " by hand."
        )
    directory.make_folder(run_dir)
    # Two trainings would write into each other's checkpoints, curves and signs.
    only = locks.alone(run_dir, "trains it", workers.index or None)
    with only, Watch(os.path.join(run_dir, "workers"), workers, fatal=True) as watch:
        if config.model:
            _take_given_network(run_dir, config, checked)
            return
        # TensorFlow wants it before it computes anything.
        strategy = workers.strategy()
        if not checked:
            _check_data(run_dir, config, ("train", "test"))
        with _named_where_another_stops(workers):
            _train(run_dir, config, strategy, workers)
        if workers.index:
            watch.wait(lambda: not os.path.exists(path))


def _addons_callbacks(config):
    """The Keras callbacks of tensorflow-addons that are asked for."""
    found = []
    if config.time_budget:
        callbacks = compat.addons(
            "time_budget", "time_budget=0 and Ctrl-C: a training called again continues"
        ).callbacks
        found.append(callbacks.TimeStopping(config.time_budget))
    if config.progress == "addons":
        callbacks = compat.addons("progress=addons", "progress=tqdm").callbacks
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
    if not checked:
        _check_data(run_dir, config, ("test",))
    network_of(run_dir, config)
    trained_on.warn_of_data(config.model, config)
    trained_on.write(run_dir, config)
    print(f"nothing to train: the network is {config.model}. {_next_is_attack(run_dir)}")


@contextlib.contextmanager
def _named_where_another_stops(workers):
    """Inside, TensorFlow's errors of a worker that another has left become a sentence."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if workers.count == 1:
            raise
        raise ValueError(
            "another worker has stopped. Start the same command in all again: it continues after"
            " the last checkpoint."
        ) from error


def _train(run_dir, config, strategy, workers):
    # A file that is no learning curve is told before anything is done.
    rows = history.read_history(os.path.join(run_dir, _CURVE))
    trainer = build_trainer(config, strategy)
    checkpoints = Checkpoints(trainer.checkpoint(), os.path.join(run_dir, "checkpoints"))
    if checkpoints.restore():
        print(f"continuing {run_dir} at iteration {int(trainer.steps_done)}")
    elif rows:
        print(
            f"{checkpoints.folder} holds no checkpoint: the training of"
            f" {os.path.join(run_dir, _CURVE)} begins again at iteration 0"
        )
    done = int(trainer.steps_done)
    if not replicas.agree(strategy, done):
        raise ValueError(
            f"the workers do not continue at one iteration: {run_dir} must be one folder that all"
            " of them see."
        )
    writes = workers.index == 0
    # At the end the data may be gone, and the network must be saved all the same.
    if writes and done < config.iterations:
        trained_on.write(run_dir, config)
    try:
        _iterate(run_dir, config, trainer, checkpoints, writes)
    except FloatingPointError as error:
        raise ValueError(
            f"{run_dir}: the training {error}: its loss or a weight is not finite. Lower the"
            " learning rate, and check that the references are finite. The last good checkpoint is"
            " kept."
        ) from error
    if writes:
        _write(run_dir, config, trainer)


def _iterate(run_dir, config, trainer, checkpoints, writes):
    """Trains to `config.iterations`, and logs it if this process writes.

    Raises:
        FloatingPointError: if the training diverges.
    """
    done = int(trainer.steps_done)
    # Then no data are needed: they may be gone.
    if done >= config.iterations:
        return
    with contextlib.ExitStack() as stack:
        bar = progress.bar(
            total=config.iterations,
            initial=done,
            desc=f"train {os.path.basename(run_dir)}",
            unit="it",
            disable=not writes or config.progress == "addons",
        )
        callbacks = [loop.ProgressBar(stack.enter_context(bar))]
        settings = {}
        if writes:
            log = stack.enter_context(tensorboard.TrainingSummaries(run_dir, config, done))
            callbacks = [log, *callbacks, *_addons_callbacks(config)]
            curve = os.path.join(run_dir, _CURVE)
            settings["record"] = functools.partial(history.add_row, curve)
            settings["checkpoints"] = checkpoints
        loop.train_to(
            config.iterations,
            trainer,
            batches=lambda done: data.load(config, "train", start=done),
            every=config.checkpoint_every,
            validation=data.load(config, "test"),
            callbacks=callbacks,
            **settings,
        )


def _write(run_dir, config, trainer):
    """Writes the network, finished or not, and says what is next."""
    done = int(trainer.steps_done)
    unfinished = os.path.join(run_dir, _UNFINISHED)
    if done < config.iterations:
        save_network(trainer.network, run_dir, _UNFINISHED)
        there = directory.attack_elsewhere(run_dir, unfinished, f"{run_dir}-unfinished")
        print(
            f"stopped by the time budget at iteration {done} of {config.iterations}. The same"
            " command continues. To attack or evaluate the network as it is:"
            f" {directory.command(*there)}"
        )
        return
    save_network(trainer.network, run_dir)
    if os.path.exists(unfinished):
        os.remove(unfinished)
    for name in (_CURVE, "logs", "checkpoints"):
        path = os.path.join(run_dir, name)
        if os.path.exists(path):
            print(f"wrote {path}")
    print(f"trained {done} iterations{_last_scores(run_dir)}. {_next_is_attack(run_dir)}")


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
