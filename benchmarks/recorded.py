"""The tasks of a leaderboard, with the seconds that a real one has recorded in its `times.csv`.

A board computes its trainings, attacks, measurements and summaries as `tfvn.leaderboard.tasks`
says. Here nothing is computed: each task has the seconds of its iterations or gradients, at the
rate that was measured of the same model and attack.
"""

import functools
import tempfile
from typing import NamedTuple

from tfvn import tables
from tfvn.leaderboard import plan, run, store, tasks
from tfvn.leaderboard.board import read

__all__ = ["Recorded", "longest_chain", "recorded_tasks"]


class Recorded(NamedTuple):
    """A task that sleeps.

    name: of the task.
    seconds: that it takes.
    after: the names of the tasks before it.
    """

    name: str
    seconds: float
    after: tuple


def recorded_tasks(board, times, other):
    """All tasks of a board of which nothing has been computed, a list of `Recorded`.

    Args:
        board: the YAML file of the board.
        times: a `times.csv` of a board with such rows.
        other: the seconds of a task that is no training and no attack. They are not recorded.

    Raises:
        ValueError: if nothing like a task was recorded.
    """
    _, rows = tables.read_csv(times)
    found, board = [], read(board)
    with tempfile.TemporaryDirectory() as folder:
        there = store.Store(folder)
        trainings = tasks.training_tasks(there, board)
        every = [*trainings.values(), *tasks.row_tasks(there, board, trainings)]
        for task in [*every, *tasks.floor_tasks(there, board)]:
            work = _work(there, task)
            seconds = plan.seconds_left(work, rows) if work is not None else other
            if seconds is None:
                raise ValueError(f"{times} has nothing like {work[0].what}. Give that of a board.")
            found.append(Recorded(task.name, seconds, task.after))
    return found


def _work(there, task):
    """What is recorded of a task, a list of `plan.Work`; None for one that is not recorded."""
    kind, _, config, *rest = task.name.split()[0], *task.arguments
    if kind == "train":
        if not run.learns(config):
            return []
        return [plan.Work(run.told_of_training(config), config.training.iterations)]
    if kind == "attack":
        _, number, index = rest
        entrant = run.row_entrant(there, config)
        return [plan.Work(*run.attack_left(entrant, config.attacks[number], [index]))]
    return None


def longest_chain(recorded):
    """The most seconds of tasks that wait for each other: no number of workers is faster."""
    by_name = {one.name: one for one in recorded}

    @functools.cache
    def end(name):
        one = by_name[name]
        return one.seconds + max(map(end, one.after), default=0.0)

    return max(map(end, by_name))
