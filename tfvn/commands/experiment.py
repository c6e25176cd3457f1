"""The commands that work on one run directory: train, tune and attack.

What takes long to import is imported where it is needed, after the command line has been read.
"""

import contextlib
import os

from tfvn import cli
from tfvn.commands.base import Command

__all__ = ["ATTACK", "TRAIN", "TUNE", "on_run_directory"]

_ADVICE = (
    "A configuration is given by --config FILE, a run directory by --run-dir DIR, a key by --set"
    " SECTION.KEY=VALUE, without blanks around = or in quotes"
)
_TRAIN = """Trains the network of a run directory. Run again, it continues an interrupted training.

    {0} --config configs/knee/original.yaml --set data.path=/data/knee
    {0} --run-dir runs/original
"""
_TUNE = """Searches hyper-parameters. Run again, it continues.

    {0} --config configs/smoke.yaml --run-dir runs/search
"""
_ATTACK = """Attacks the network of a run directory on every test slice. Run again, it continues.

    {0} --run-dir runs/original
    {0} --config configs/brain.yaml

The second has a trained network, which the key `model.file` names.
"""


def on_run_directory(arguments, parser, work, splits=("train", "test")):
    """Opens the run directory of a command line and works on it, or only checks its data.

    Args:
        arguments: parsed words with the flags that all commands of this file have.
        parser: what has parsed them.
        work: a function of a run directory, its configuration and the `tfvn.workers.Workers`.
        splits: the data that --check-data checks.

    Returns:
        The exit code.
    """
    if not arguments.run_dir and not arguments.config:
        parser.error("give --config FILE, or --run-dir DIR of an existing run")

    def open_and_work():
        run_dir = _run_dir(arguments)

        from tfvn import workers
        from tfvn.runs import directory, locks

        # TensorFlow wants it before it computes anything.
        own = workers.start(arguments.strategy, arguments.replicas)
        # A run that never began must not keep its directory from the corrected command. Other
        # processes may have begun.
        beginning = contextlib.nullcontext()
        if own.count == 1:
            beginning = locks.undoing(run_dir)
        with beginning:
            settings = directory.open_run(run_dir, arguments.config, arguments.set)
            work(run_dir, settings, own)

    def check():
        _check_data(arguments, splits)

    return cli.guarded(check if arguments.check_data else open_and_work)


def _run_dir(arguments):
    if arguments.run_dir:
        return os.path.normpath(arguments.run_dir)
    name = os.path.splitext(os.path.basename(arguments.config))[0]
    return os.path.join("runs", name)


def _check_data(arguments, splits):
    from tfvn import config, data
    from tfvn.runs import directory, trained_on

    # A configuration given is checked alone: this starts no run, so none has to fit it.
    if arguments.config:
        settings = config.load(arguments.config, arguments.set)
        settings.check_models()
    else:
        settings = directory.open_run(_run_dir(arguments), overrides=arguments.set)
    count, doubtful = data.review(settings, splits)
    trained_on.warn_of_trained_slices(settings)
    slices = "1 slice" if count == 1 else f"{count} slices"
    doubts = f", {doubtful} with doubts (see the warning)" if doubtful else ""
    print(f"read {slices} ({', '.join(splits)}): all can be used{doubts}")
    print("Next: the same command without --check-data")


def _add_run_flags(parser):
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file; needed to start a new run directory"
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where all results go (default: runs/<name of the config file>)",
    )
    cli.add_set(parser, "override configuration keys")
    parser.add_argument(
        "--check-data", action="store_true", help="only read all data once and list what is wrong"
    )


def _add_train_flags(parser):
    _add_run_flags(parser)
    parser.add_argument(
        "--tune", action="store_true", help="search hyper-parameters instead, as `tune` does"
    )
    cli.add_strategy(parser)


def _add_tune_flags(parser):
    _add_run_flags(parser)
    # Trials are trained on one device.
    parser.set_defaults(strategy="none", replicas=None)


def _add_attack_flags(parser):
    _add_run_flags(parser)
    cli.add_strategy_of_draws(parser)
    cli.add_cluster(parser)


def _train(arguments, parser, words):
    if arguments.tune:
        if arguments.strategy != "none":
            parser.error("--tune trains on one device: leave --strategy out.")
        return _tune(arguments, parser, words)

    def work(run_dir, settings, workers):
        from tfvn.runs.train import train_run

        train_run(run_dir, settings, workers=workers)

    return on_run_directory(arguments, parser, work)


def _tune(arguments, parser, words):
    del words

    def work(run_dir, settings, workers):
        del workers
        from tfvn.tools import tuning

        tuning.tune(run_dir, settings)

    return on_run_directory(arguments, parser, work)


def _attack(arguments, parser, words):
    del words
    cli.check_cluster(arguments, parser)

    def work(run_dir, settings, workers):
        from tfvn import cluster
        from tfvn.runs.attack import attack_run

        with cluster.connected(arguments.workers, arguments.scheduler) as others:
            attack_run(run_dir, settings, workers.strategy(), others)

    return on_run_directory(arguments, parser, work, splits=("test",))


TRAIN = Command("train the network of a run directory", _TRAIN, _add_train_flags, _train, _ADVICE)
TUNE = Command("search hyper-parameters", _TUNE, _add_tune_flags, _tune, _ADVICE)
ATTACK = Command(
    "attack the network of a run directory", _ATTACK, _add_attack_flags, _attack, _ADVICE
)
