"""The search of hyper-parameters by Keras Tuner: `train.py --tune`.

It looks for the least error under attack, or without one where `search.radius` is 0. A trial trains
the configured network with other values of some keys. A model without weights is only judged. It is
judged by its RMSE under a short projected attack, as the paper defines both. If it was trained with
noise, it is smoothed. Trials are judged on the last `search.validation` training slices and train
on the others. The test slices, on which the result will be reported, are never read.

Below `tuning` in the run directory are:

    trials/VALUES/    a trial: result_N.json after N iterations, and its checkpoints
    search/           Keras Tuner's own files, for looking at
    tuning.csv        all trials, the best first
    best.yaml         the configuration with the best values, for train.py --config

A search that is called again goes through its trials from the first on and takes every finished one
from its file. The same results in the same order make Keras Tuner propose the same next values. So
nothing depends on the state that it keeps, which a killed process may leave half written, and an
interrupted search ends like an uninterrupted one.

Several processes can search together as Keras Tuner's chief and workers, on one or more machines
that share the run directory. All are given KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. The
chief is given KERASTUNER_TUNER_ID=chief, and each worker one of its own (tuner0, tuner1, ...). The
chief trains nothing. It ends, and writes the table, when the last worker has ended. It waits for a
killed worker too: start that again. The order of trials then depends on who is faster. A search
begun again takes over the trials that it meets again; of a Bayesian search these may not be all.

TensorFlow keeps about 0.1 GB of every trial's compiled code. Should a long search come to the end
of the memory: call it again.
"""

import os
import re
import time

import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import TrialStatus

from tfvn import data, files, tables
from tfvn.files import replacing
from tfvn.runs import directory, locks
from tfvn.runs.train import build_network, has_weights, trainer_of
from tfvn.tools import trials
from tfvn.tools.search_space import (
    OBJECTIVE,
    largest_of,
    oracle_of,
    share_of_iterations,
    space_of,
    typed,
    with_values,
)

__all__ = ["OBJECTIVE", "tune"]

_ADDRESS = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
# A process is one of these.
_ALONE, _CHIEF, _WORKER = "alone", "chief", "worker"
# Seconds that a worker waits before it asks again.
_PAUSE = 0.2


def tune(run_dir, config):
    """Searches as configured; writes `tuning/tuning.csv` and `tuning/best.yaml`.

    Raises:
        ValueError: for keys that cannot be searched, values that make no space or too large a
            network, too few training slices, chief or worker without an address, files there that
            no search has written, another search at work there, or if no trial has a finite error.
    """
    space = space_of(config)
    budget = config.training.time_budget
    if budget:
        raise ValueError(
            "a search has trials of so many iterations each. Received:"
            f" training.time_budget={budget}. Set training.time_budget=0."
        )
    role = _role()
    # A network that is too large, a wrong setting of the defence, a package that is missing or a
    # learning rate that the optimizer refuses is told before any data are read.
    largest = largest_of(config, space)
    largest.check_models()
    network = build_network(largest)
    if has_weights(network):
        trainer_of(network, largest)
    if config.dataset.has_files and role != _WORKER:
        data.check(config, ("train",))
    data.load(config, "validation", held_out=config.search.validation)
    folder = os.path.join(run_dir, "tuning")
    oracle = oracle_of(config, space)
    if role == _WORKER:
        _Search(oracle, folder, config, role).search()
        return
    _check_folder(folder)
    with locks.alone(run_dir, "searches in it"):
        search = _Search(oracle, folder, config, role)
        search.search()
        rows = search.write_table()
    if not rows or "failed" in rows[0]:
        reason = rows[0]["failed"] if rows else "Keras Tuner proposed none"
        raise ValueError(
            f"no trial of {len(rows)} came to an end ({reason}). Search smaller values."
        )
    search.write_best(rows)
    search.print_table(rows)


def _role():
    """Whether this process searches alone, or is the chief or a worker of several."""
    missing = [name for name in _ADDRESS if name not in os.environ]
    if "KERASTUNER_ORACLE_IP" in os.environ and missing:
        raise ValueError(
            f"chief and workers of a search need {', '.join(_ADDRESS)}. Missing:"
            f" {', '.join(missing)}"
        )
    if missing:
        return _ALONE
    return _CHIEF if "chief" in os.environ["KERASTUNER_TUNER_ID"] else _WORKER


def _check_folder(folder):
    """Keras Tuner removes its folder of an earlier search, and so only such a one may be there."""
    files.check_replaceable(folder, ("tuning.csv", "best.yaml"))
    own = os.path.join(folder, "search")
    wrong = []
    if os.path.islink(own) or (os.path.lexists(own) and not os.path.isdir(own)):
        wrong = ["a file or a link"]
    elif os.path.isdir(own):
        of_a_search = re.compile(r"oracle\.json|tuner\w*\.json|chief\.json|trial_\w+")
        wrong = sorted(name for name in os.listdir(own) if not of_a_search.fullmatch(name))
    if wrong:
        raise ValueError(
            f"{own} is no folder of an earlier search alone ({', '.join(wrong)[:200]}), and would"
            " be removed. Move it away, or use another --run-dir."
        )


class _Search(BaseTuner):
    """A search over trials: Keras Tuner proposes them and is told their scores."""

    def __init__(self, oracle, folder, config, role):
        self._folder = folder
        self._config = config
        self._role = role
        oracle.verbose = 0
        overwrite = role != _WORKER
        super().__init__(oracle, directory=folder, project_name="search", overwrite=overwrite)

    def search(self):
        """Goes through all trials. The chief of several processes waits for those of the workers.

        Raises:
            ValueError: for wrong data, a full disk and whatever else is no fault of the values.
        """
        if self._role == _CHIEF:
            super().search()
            return
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return
            if trial.status == TrialStatus.IDLE:
                # It waits for the others.
                time.sleep(_PAUSE)
                continue
            self._run(trial)
            self.on_trial_end(trial)
            if self._role == _ALONE:
                self.write_table()

    def _run(self, trial):
        planned = self._planned(trial)
        try:
            row = trials.stored(planned)
            if row is None:
                row = trials.finished(planned, self._config)
                print(f"trial {trial.trial_id}: {_in_words(row)}", flush=True)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"{type(error).__name__}: {files.reason(error)}") from error
        if "failed" in row:
            trial.status = TrialStatus.FAILED
            trial.message = row["failed"]
            return
        scores = {key: row[key] for key in ("clean_rmse", "clean_ssim", OBJECTIVE)}
        self.oracle.update_trial(trial.trial_id, scores)
        trial.status = TrialStatus.COMPLETED

    def _planned(self, trial):
        """A trial of Keras Tuner as a `SearchTrial`."""
        given = trial.hyperparameters.values
        values = {}
        for parameter in trial.hyperparameters.space:
            # Chief and workers exchange single precision.
            values[parameter.name] = typed(parameter.name, f"{given[parameter.name]:.6g}")
        iterations = share_of_iterations(self._config, given)
        name = "-".join(f"{key}_{value}" for key, value in values.items())
        return trials.SearchTrial(values, iterations, os.path.join(self._folder, "trials", name))

    def _names(self):
        """The hyper-parameters that are searched."""
        return [parameter.name for parameter in self.oracle.get_space().space]

    def write_table(self):
        """Writes `tuning.csv`. Returns its rows, the best first.

        The best is one of those that trained longest, as an error under attack does not fall
        steadily. Those that failed are the last.
        """
        rows = []
        for trial in self.oracle.trials.values():
            row = trials.stored(self._planned(trial))
            if row:
                rows.append({"trial": trial.trial_id, **row})
        rows.sort(key=lambda row: ("failed" in row, -row["iterations"], row.get(OBJECTIVE)))
        columns = ["trial", *self._names(), *trials.RESULTS, "failed"]
        with replacing(os.path.join(self._folder, "tuning.csv")) as temporary:
            tables.write_csv(temporary, rows, columns)
        return rows

    def write_best(self, rows):
        """Writes `best.yaml`."""
        best, trained = rows[0], rows[0]["iterations"]
        rivals = [row for row in rows if row["iterations"] == trained and "failed" not in row]
        values = {name: best[name] for name in self._names()}
        config = with_values(self._config, values)
        with replacing(self._best_path()) as temporary:
            tables.write_text(
                temporary,
                f"# The best of the {len(rivals)} trials of {trained} iterations: {OBJECTIVE}"
                f" {best[OBJECTIVE]:.4g} on held-out training slices.\n{config.to_yaml()}",
            )

    def _best_path(self):
        return os.path.join(self._folder, "best.yaml")

    def print_table(self, rows):
        """Prints the table, and what is next."""
        heads = ["trial", *self._names(), *trials.RESULTS]
        lines = [heads]
        for row in rows:
            lines.append([_text(row.get(key, "failed")) for key in heads])
        best = self._best_path()
        next_command = directory.command(
            "python", "train.py", "--config", directory.as_argument(best)
        )
        print(f"\n{tables.aligned(lines)}")
        print(f"wrote {os.path.join(self._folder, 'tuning.csv')}\nwrote {best}")
        print(f"Next: {next_command}")


def _in_words(row):
    return ", ".join(f"{key} {_text(value)}" for key, value in row.items())


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
