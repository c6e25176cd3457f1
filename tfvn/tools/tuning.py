"""The search of hyper-parameters by Keras Tuner, for the least error under attack: `train.py
--tune`.

A trial trains the configured network with other values of some keys and is judged by its RMSE under
a short projected attack, as the paper defines both, smoothed if it was trained with noise. Trials
train on the training slices without the last `tune_validation` and are judged on those: the test
slices, on which the result will be reported, are never read.

    <run-dir>/tuning/trials/<values>/result_N.json    a trial after N iterations; checkpoints/ beside it
    <run-dir>/tuning/search/                          Keras Tuner's own files, for looking at
    <run-dir>/tuning/tuning.csv                       all trials, the best first
    <run-dir>/tuning/best.yaml                        the configuration with the best values, for train.py --config

A search that is called again goes through its trials from the first on and takes every finished one
from its file: the same results in the same order make Keras Tuner propose the same next values. So
nothing depends on the state that it keeps, which a killed process may leave half written, and an
interrupted search ends like an uninterrupted one.

Several processes, on one or more machines that share the run directory, search together as Keras
Tuner's chief and workers. All are given KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT, the chief
KERASTUNER_TUNER_ID=chief, each worker one of its own (tuner0, tuner1, ...). The chief trains
nothing; it ends, and writes the table, when the last worker has (it waits for a killed one too:
start that again). The order of trials then depends on who is faster: a search begun again takes
over what it meets again, and of a Bayesian one that may not be all.

TensorFlow keeps about 0.1 GB of every trial's compiled code. Should a long search come to the end
of the memory: call it again.
"""

import dataclasses
import gc
import json
import math
import os
import re
import time

import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.src import config as tuner_settings

from tfvn import data, defences, files, metrics, tables
from tfvn.attacks import ProjectedGradientAscent
from tfvn.files import replacing
from tfvn.runs import directory, locks
from tfvn.runs.train import build_trainer
from tfvn.training.checkpoints import Checkpoints

__all__ = ["OBJECTIVE", "tune"]

# What a trial is judged by.
OBJECTIVE = "attacked_rmse"
_RESULTS = ("iterations", "clean_rmse", "clean_ssim", OBJECTIVE, "seconds")
# What can be searched, and the type of its values.
_PARAMETERS = {
    "sigma": float,
    "num_stages": int,
    "filters": int,
    "momentum": float,
    "learning_rate": float,
}
_FACTOR = 3  # each round of Hyperband trains so many times longer, and so many times fewer trials
_ADDRESS = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def tune(run_dir, config):
    """Searches as configured; writes `tuning/tuning.csv` and `tuning/best.yaml`.

    Raises:
        ValueError: for keys that cannot be searched, values that make no space or too large a
            network, too few training slices, chief or worker without an address, files there that
            no search has written, another search at work there, or if no trial has a finite error.
    """
    space = _space(config)
    largest = {
        p.name: _PARAMETERS[p.name](max(getattr(config, f"tune_{p.name}"))) for p in space.space
    }
    # A network that is too large is told before any data are read.
    largest = dataclasses.replace(config, **largest)
    if config.time_budget:
        raise ValueError(
            "a search has trials of so many iterations each: set time_budget=0. Received:"
            f" {config.time_budget}"
        )
    missing = [name for name in _ADDRESS if name not in os.environ]
    if "KERASTUNER_ORACLE_IP" in os.environ and missing:
        raise ValueError(
            f"chief and workers of a search need {', '.join(_ADDRESS)}. Missing:"
            f" {', '.join(missing)}"
        )
    worker = not missing and "chief" not in os.environ["KERASTUNER_TUNER_ID"]
    if config.dataset != "synthetic" and not worker:
        data.check(config, ("train",))
    data.load(config, "validation", held_out=config.tune_validation)
    # A package that is missing, or a learning rate that the optimizer refuses, is told before the
    # first trial.
    build_trainer(largest)
    folder = os.path.join(run_dir, "tuning")
    if worker:
        _Search(_oracle(config, space), folder, config, worker).search()
        return
    _check_folder(folder)
    with locks.alone(run_dir, "searches in it"):
        search = _Search(_oracle(config, space), folder, config, worker)
        search.search()
        rows = search.write_table()
    if not rows or "failed" in rows[0]:
        reason = rows[0]["failed"] if rows else "Keras Tuner proposed none"
        raise ValueError(
            f"no trial of {len(rows)} came to an end ({reason}). Search smaller values."
        )
    search.write_best(rows)


def _check_folder(folder):
    """Keras Tuner removes its folder of an earlier search, and so only such a one may be there."""
    files.check_replaceable(folder, ("tuning.csv", "best.yaml"))
    own = os.path.join(folder, "search")
    names = os.listdir(own) if os.path.isdir(own) else []
    theirs = [
        name
        for name in names
        if not re.fullmatch(r"oracle\.json|tuner\w*\.json|chief\.json|trial_\w+", name)
    ]
    if os.path.islink(own) or (os.path.lexists(own) and not os.path.isdir(own)) or theirs:
        raise ValueError(
            f"{own} is no folder of an earlier search alone"
            f" ({', '.join(sorted(theirs))[:200] or 'a file or a link'}), and would be removed."
            " Move it away, or use another --run-dir."
        )


def _space(config):
    """The search space, a `keras_tuner.HyperParameters`."""
    names = [name.strip() for name in config.tune_parameters.split(",")]
    allowed = dict(_PARAMETERS)
    del allowed["learning_rate" if config.optimizer == "ipalm" else "momentum"]
    if config.initial_weights:
        del allowed["num_stages"], allowed["filters"]
    if config.model:
        raise ValueError(
            "a search trains networks, so it cannot take a trained one. Received:"
            f" model={config.model!r}"
        )
    if not set(names) <= set(allowed) or len(set(names)) < len(names):
        raise ValueError(
            f"tune_parameters must be different ones of {', '.join(allowed)} (with"
            f" optimizer={config.optimizer!r}, initial_weights={config.initial_weights!r})."
            f" Received: tune_parameters={config.tune_parameters!r}"
        )
    space = keras_tuner.HyperParameters()
    for name in names:
        given = getattr(config, f"tune_{name}")
        values = [_PARAMETERS[name](value) for value in given]
        if values != given or (len(values) == 2 and values[0] >= values[1]):
            raise ValueError(
                f"tune_{name} must be {'whole ' * (_PARAMETERS[name] is int)}numbers, two of them"
                f" in ascending order. Received: tune_{name}={given}"
            )
        if len(values) != 2:
            space.Choice(name, values)
        elif _PARAMETERS[name] is int:
            space.Int(name, *values)
        else:
            space.Float(name, *values, sampling="log" if name == "learning_rate" else "linear")
    return space


def _oracle(config, space):
    shared = dict(
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        hyperparameters=space,
        # 0 stands for a random one.
        seed=config.seed + 1,
        # Some values diverge, or do not fit into the memory: no number of them ends the search.
        max_consecutive_failed_trials=10**9,
    )
    if config.tune_method == "hyperband":
        _check_hyperband(config, space)
        return keras_tuner.oracles.HyperbandOracle(
            max_epochs=_epochs(config), factor=_FACTOR, **shared
        )
    try:
        return keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=config.tune_trials, **shared
        )
    except ImportError as error:
        raise ValueError(
            "tune_method=bayesian needs scikit-learn: pip install scikit-learn. Or use hyperband."
        ) from error


def _check_hyperband(config, space):
    if config.tune_first_iterations > config.tune_iterations:
        raise ValueError(
            "hyperband's shortest trials cannot be longer than whole ones. Received:"
            f" tune_first_iterations={config.tune_first_iterations},"
            f" tune_iterations={config.tune_iterations}"
        )
    # Keras Tuner ends a Hyperband that finds no new values, whatever rounds are under way: they
    # must be plenty.
    if any(isinstance(p, keras_tuner.engine.hyperparameters.Float) for p in space.space):
        return
    combinations = math.prod(len(tuple(p.values)) for p in space.space)
    rounds = math.log(_epochs(config), _FACTOR)
    needed = sum(
        math.ceil(math.ceil(1 + rounds) / (b + 1) * _FACTOR**b)
        for b in range(int(rounds + 1e-9) + 1)
    )
    # Drawn at random, up to half of them are found in a few draws each.
    if combinations < 2 * needed:
        raise ValueError(
            f"hyperband begins {needed} trials here and needs twice as many combinations of values."
            f" Received: {combinations} of tune_parameters={config.tune_parameters!r}. Use"
            " tune_method=bayesian, or a larger tune_first_iterations."
        )


def _epochs(config):
    """Hyperband's unit of training is the shortest trial."""
    return round(config.tune_iterations / config.tune_first_iterations)


class _Search(keras_tuner.Tuner):
    """Keras Tuner's loop over trials, in one process or in a worker."""

    def __init__(self, oracle, folder, config, worker):
        self._folder, self._settings, self._worker = folder, config, worker
        oracle.verbose = 0
        # A trial that fails is told in a line, and needs no stack trace.
        tuner_settings.DEBUG = False
        super().__init__(oracle, directory=folder, project_name="search", overwrite=not worker)

    def pre_create_trial(self):
        # A worker that has to wait for the others asks again at once.
        if self._worker:
            time.sleep(0.2)

    def run_trial(self, trial):
        try:
            row = self._row(trial) or self._finish(trial)
        # Wrong data or a full disk: not for Keras Tuner to count as a bad trial.
        except ValueError as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        except (OSError, tf.errors.OpError) as error:
            raise keras_tuner.errors.FatalValueError(
                f"{type(error).__name__}: {files.reason(error)}"
            ) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(
                f"a trial ended in {type(error).__name__}"
            ) from error
        if "failed" in row:
            raise keras_tuner.errors.FailedTrialError(row["failed"])
        return {key: row[key] for key in ("clean_rmse", "clean_ssim", OBJECTIVE)}

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        if not self._worker:
            self.write_table()

    def _place(self, trial):
        """The values of a trial, its iterations and its folder."""
        given = trial.hyperparameters.values
        # Chief and workers exchange single precision.
        values = {
            p.name: _PARAMETERS[p.name](f"{given[p.name]:.6g}") for p in trial.hyperparameters.space
        }
        iterations = self._settings.tune_iterations
        if "tuner/epochs" in given:
            iterations = max(1, round(iterations * given["tuner/epochs"] / _epochs(self._settings)))
        name = "-".join(f"{key}_{value}" for key, value in values.items())
        return values, iterations, os.path.join(self._folder, "trials", name)

    def _row(self, trial):
        """The stored result of a finished trial, else None."""
        _, iterations, folder = self._place(trial)
        path = os.path.join(folder, f"result_{iterations}.json")
        try:
            with open(path, encoding="utf-8") as file:
                row = json.load(file)
        # Not there, or no such result: judged again, from its checkpoint on.
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        except OSError as error:
            raise ValueError(
                f"cannot read {path}: {error.strerror}. It is left as it is."
            ) from error
        whole = isinstance(row, dict) and (
            "failed" in row or np.isfinite(row.get(OBJECTIVE, math.nan))
        )
        return row if whole else None

    def _finish(self, trial):
        values, iterations, folder = self._place(trial)
        start = time.monotonic()
        directory.make_folder(folder)
        config = dataclasses.replace(
            self._settings, **values, iterations=self._settings.tune_iterations
        )
        try:
            found = _judge(_trained(config, iterations, folder), config)
        except (FloatingPointError, tf.errors.ResourceExhaustedError) as error:
            found = {"failed": str(error).splitlines()[0]}
        row = {
            **values,
            "iterations": iterations,
            **found,
            "seconds": round(time.monotonic() - start, 3),
        }
        with replacing(os.path.join(folder, f"result_{iterations}.json")) as temporary:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(row, file)
        told = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        print(f"trial {trial.trial_id}: {told}", flush=True)
        # Keras models are cycles of references.
        gc.collect()
        return row

    def write_table(self):
        """Writes `tuning.csv`. Returns its rows, the best first: of those that trained longest, as
        an error under attack does not fall steadily. Those that failed are the last."""
        found = [(trial.trial_id, self._row(trial)) for trial in self.oracle.trials.values()]
        rows = [{"trial": trial, **row} for trial, row in found if row]
        rows.sort(key=lambda row: ("failed" in row, -row["iterations"], row.get(OBJECTIVE)))
        names = [p.name for p in self.oracle.get_space().space]
        path = os.path.join(self._folder, "tuning.csv")
        with replacing(path) as temporary:
            tables.write_csv(temporary, rows, ["trial", *names, *_RESULTS, "failed"])
        return rows

    def write_best(self, rows):
        """Writes `best.yaml` and prints the table."""
        names = [p.name for p in self.oracle.get_space().space]
        path = os.path.join(self._folder, "best.yaml")
        best = dataclasses.replace(self._settings, **{name: rows[0][name] for name in names})
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            error = rows[0][OBJECTIVE]
            trained = rows[0]["iterations"]
            count = sum(row["iterations"] == trained and "failed" not in row for row in rows)
            file.write(
                f"# The best of the {count} trials of {trained} iterations: {OBJECTIVE} {error:.4g}"
                " on held-out training slices.\n"
            )
            file.write(best.to_yaml())
        heads = ("trial", *names, *_RESULTS)

        def text(value):
            return f"{value:.4g}" if isinstance(value, float) else str(value)

        print(
            "\n"
            + tables.aligned(
                [list(heads), *([text(row.get(key, "failed")) for key in heads] for row in rows)]
            )
        )
        print(f"wrote {os.path.join(self._folder, 'tuning.csv')}\nwrote {path}")
        print(
            f"Next: {directory.command('python', 'train.py', '--config', directory.as_argument(path))}"
        )


def _trained(config, iterations, folder):
    """The network after `iterations`, from the last checkpoint of a shorter or interrupted trial of
    the same values on.

    Raises:
        FloatingPointError: if it diverges.
    """
    trainer = build_trainer(config)
    checkpoints = Checkpoints(trainer.checkpoint(), os.path.join(folder, "checkpoints"), keep=1)
    checkpoints.restore()
    while (done := int(trainer.steps_done)) < iterations:
        batches = data.load(config, "train", start=done, held_out=config.tune_validation)
        steps = min(config.checkpoint_every, iterations - done)
        with data.clear_errors(batches):
            history = trainer.fit(
                batches.dataset(), steps_per_epoch=steps, shuffle=False, verbose=0
            )
        if not np.isfinite(
            [history.history["loss"][0], *(np.abs(w).max() for w in trainer.network.get_weights())]
        ).all():
            raise FloatingPointError(f"diverged before iteration {int(trainer.steps_done)}")
        checkpoints.save(int(trainer.steps_done))
    return trainer.network


def _judge(network, config):
    """RMSE and SSIM of the network's predictions for the held-out slices, and RMSE under attack.

    Raises:
        FloatingPointError: if one of them is not finite.
    """
    model = defences.from_config(config, network, config.tune_num_samples)
    attack = ProjectedGradientAscent(steps=config.tune_steps, seed=config.seed)
    clean, ssim, attacked = [], [], []
    for inputs, reference in data.load(config, "validation", held_out=config.tune_validation):
        image = model.reconstruct(inputs)
        if not np.isfinite(image).all():
            raise FloatingPointError("its reconstructions are not finite")
        clean.append(metrics.rmse(image, reference))
        ssim.append(metrics.ssim(image, reference))
        found = attack.run(model, inputs, config.tune_radius, index=inputs["sample_index"])
        attacked.append(metrics.rmse(found.reconstruction, reference))
    clean, attacked = (float(np.sqrt(np.mean(np.square(errors)))) for errors in (clean, attacked))
    if not np.isfinite([clean, attacked]).all():
        raise FloatingPointError("its reconstructions are not finite")
    return {"clean_rmse": clean, "clean_ssim": float(np.mean(ssim)), OBJECTIVE: attacked}
