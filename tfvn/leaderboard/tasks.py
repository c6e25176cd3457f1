"""The work of a board as tasks for other processes, see `tfvn.cluster`.

    train      a network, once for all rows that have it
    attack     one slice of a row, with one attack at all its sizes
    measure    one slice of a row, without an attack or under one
    tell       all that is known of a row
    floor      one slice: what no method can be below
    transfer   the changes that were found for some rows, on the model of another
    pictures   of a row

Each does a part of what `tfvn.leaderboard.run` does in one process, and writes the same files. What
is there is no task.
"""

import os

from tfvn import data, files, progress
from tfvn.cluster import Task
from tfvn.leaderboard import addresses, floors, run, shown, store, transfers
from tfvn.results import measure
from tfvn.results.candidates import cases
from tfvn.runs import attack, directory, elsewhere

__all__ = [
    "compute",
    "floor_tasks",
    "picture_tasks",
    "row_tasks",
    "training_tasks",
    "transfer_tasks",
]

_SPLITS = ("train", "test")
# The sources of one transfer. More of them read the target's slices fewer times, and more is lost
# with a worker that is killed.
_SOURCES = 8


def compute(cluster, there, board, watch):
    """Computes what is missing of a board.

    Args:
        cluster: the `tfvn.cluster.Cluster`.
        there: the `Store`, in a folder that all workers see.
        board: the `Board`.
        watch: the `tfvn.paper.protocol.Stopwatch` that keeps how long trainings and attacks took.

    Raises:
        ValueError: as `Cluster.compute`. What is done is kept.
    """
    try:
        trainings = training_tasks(there, board)
        tasks = [*trainings.values(), *row_tasks(there, board, trainings)]
        tasks += floor_tasks(there, board)
        _perform(cluster, tasks, there, watch, "leaderboard")
        tasks = [*transfer_tasks(there, board), *picture_tasks(there, board)]
        _perform(cluster, tasks, there, watch, "transfers and pictures")
    finally:
        # Of workers that were killed.
        files.remove_stale(there.output)


def _perform(cluster, tasks, there, watch, title):
    """Computes tasks, and tells how long the trainings and attacks among them took."""
    spent = {}
    try:
        with progress.bar(total=len(tasks), desc=title, unit="task") as bar:
            for _, answer in cluster.compute(tasks, there.output):
                if answer.result is not None:
                    what, units = answer.result
                    earlier = spent.get(what, (0, 0.0, 0))
                    peak = max(earlier[2], answer.peak)
                    spent[what] = earlier[0] + units, earlier[1] + answer.seconds, peak
                bar.update()
    finally:
        for what, (units, seconds, peak) in spent.items():
            watch.record(what, units, seconds, peak)


# Trainings


def training_tasks(there, board):
    """The trainings that are missing, as a dict from their hashes to tasks."""
    found = {}
    for entry in board.entries:
        config = entry.config
        run_dir = there.training(config)
        address = os.path.basename(run_dir)
        is_there = os.path.exists(os.path.join(run_dir, directory.MODEL))
        if is_there or address in found or there.knows(config):
            continue
        given = there.output, config, elsewhere.state_of_data(config, _SPLITS)
        after = _names(addresses.of_others(config), found)
        found[address] = Task(f"train {entry.name}", _train, given, after)
    return found


def _names(trainings, planned):
    """The names of the tasks of those trainings that are planned."""
    return tuple(planned[one].name for one in trainings if one in planned)


class _Unwatched:
    """In the place of a stopwatch: who asked for a task measures it."""

    def measure(self, what, units, work):
        del what, units
        return work()


def _train(output, config, state):
    elsewhere.ready(config, state, _SPLITS)
    run.trained(store.Store(output), config, _Unwatched())
    if run.learns(config):
        return run.told_of_training(config), config.training.iterations
    return None


# Rows


def row_tasks(there, board, trainings):
    """What is missing of all rows, a list of tasks.

    Args:
        there: the `Store`.
        board: the `Board`.
        trainings: the `training_tasks`.
    """
    found, seen = [], set()
    for entry in board.entries:
        path = there.told(entry.config)
        # Two rows of one hash are one.
        if path not in seen and not there.knows(entry.config):
            seen.add(path)
            found.extend(_Row(there, entry, trainings).tasks())
    return found


class _Row:
    """The tasks of one row.

    Args:
        there, entry, trainings: as for `row_tasks`, and the `Entry` of the row.
    """

    def __init__(self, there, entry, trainings):
        self._name = entry.name
        self._config = entry.config
        self._entrant = run.row_entrant(there, entry.config)
        self._given = there.output, entry.config, elsewhere.state_of_data(entry.config, _SPLITS)
        self._count = len(data.source(entry.config, "test"))
        needed = [os.path.basename(there.training(entry.config))]
        needed += addresses.of_others(entry.config)
        self._after = _names(needed, trainings)

    def tasks(self):
        """All that is missing, the last of which tells it."""
        found = self._measures(None, {})
        for number in range(len(self._config.attacks)):
            attacked = self._attacks(number)
            found += [*attacked.values(), *self._measures(number, attacked)]
        after = (*self._after, *(task.name for task in found))
        return [*found, Task(f"tell {self._name}", _tell, self._given, after)]

    def _attacks(self, number):
        """The slices that are to be attacked, as a dict from their numbers to tasks."""
        part = self._config.attacks[number]
        found = {}
        for index in range(self._count):
            if run.missing_slices(self._entrant, part, [index]):
                name = f"attack {number + 1} on {self._name}, slice {index}"
                after = self._after
                if part.make(seed=0).learns and found:
                    # The first one writes what all others begin with.
                    after = (*after, next(iter(found.values())).name)
                found[index] = Task(name, _attack, (*self._given, number, index), after)
        return found

    def _measures(self, number, attacked):
        """The slices that are to be measured, a list of tasks, some of which are to be attacked."""
        _, folder = _part(self._entrant, number)
        what = "clean" if number is None else f"attack {number + 1}"
        found = []
        for index in range(self._count):
            if store.read_json(run.measured_path(folder, index)) is None:
                after = self._after
                if index in attacked:
                    after = (*after, attacked[index].name)
                name = f"measure {what} on {self._name}, slice {index}"
                found.append(Task(name, _measure, (*self._given, number, index), after))
        return found


def _part(entrant, number):
    """A row under one of its attacks, or without for None, and the folder of what is measured."""
    if number is None:
        return run.clean_part(entrant)
    return run.attacked_part(entrant, entrant.config.attacks[number])


def _attack(output, config, state, number, index):
    elsewhere.ready(config, state, _SPLITS)
    entrant = run.begun(store.Store(output), config)
    part = entrant.config.attacks[number]
    folder, own = run.attack_begun(entrant, part)
    what, units = run.attack_left(entrant, part, [index])
    attack.attack_slice(folder, own, 0, index)
    return what, units


def _measure(output, config, state, number, index):
    elsewhere.ready(config, state, _SPLITS)
    entrant, folder = _part(run.begun(store.Store(output), config), number)
    source = data.source(entrant.config, "test")
    (case,) = cases(entrant.config, source, start=index, step=len(source))
    _, rows = measure.measure_slice(entrant, case, measure.load_kept(entrant))
    store.write_json(run.measured_path(folder, index), rows)


def _tell(output, config, state):
    elsewhere.ready(config, state, _SPLITS)
    there = store.Store(output)
    entrant = run.begun(there, config)
    for part in entrant.config.attacks:
        attack.conclude(*run.attack_begun(entrant, part))
    run.compute_row(there, config, _Unwatched())


# Floors


def floor_tasks(there, board):
    """The slices whose floor is missing, a list of tasks."""
    if not board.floor:
        return []
    config, radii = board.protocol, board.radii()
    state, found = elsewhere.state_of_data(config), []
    for index in range(len(data.source(config, "test"))):
        if store.read_json(floors.path_of(there, config, radii, index)) is None:
            given = there.output, config, radii, state, index
            found.append(Task(f"floor of slice {index}", _floor, given))
    return found


def _floor(output, config, radii, state, index):
    elsewhere.ready(config, state)
    floors.compute(store.Store(output), config, radii, index)


# Transfers and pictures, of rows that are told


def transfer_tasks(there, board):
    """What is missing of the transfers between rows that are told, a list of tasks.

    A task has one target. Its slices are read once for several sources.
    """
    waiting, told = {}, {}
    for target, source in transfers.missing(there, board):
        if source.name not in told:
            told[source.name] = _told(there, source)
        waiting.setdefault(target.name, (target, []))[1].append(told[source.name])
    found = []
    for target, sources in waiting.values():
        state = elsewhere.state_of_data(target.config, _SPLITS)
        for start in range(0, len(sources), _SOURCES):
            some = sources[start : start + _SOURCES]
            given = there.output, (target.name, target.config), some, board.radii(), state
            names = ", ".join(name for name, _, _ in some)
            found.append(Task(f"transfer from {names} to {target.name}", _transfer, given))
    return found


def _told(there, entry):
    """Name, configuration and hash of the network of a row that is told."""
    known = store.read_json(there.told(entry.config))
    return entry.name, entry.config, known["hashes"]["model"]


def _transfer(output, target, sources, radii, state):
    name, config = target
    elsewhere.ready(config, state, _SPLITS)
    there = store.Store(output)
    entrants = {name: (run.row_entrant(there, config), None)}
    for other, other_config, digest in sources:
        entrants[other] = run.row_entrant(there, other_config), digest
    transfers.transferred(name, entrants, radii, measure.load_kept)


def picture_tasks(there, board):
    """The rows whose pictures are missing, a list of tasks."""
    found, seen = [], set()
    for entry in board.entries:
        path = shown.path_of(run.row_entrant(there, entry.config), board.middle())
        if path in seen or store.read_json(path) is not None:
            continue
        seen.add(path)
        state = elsewhere.state_of_data(entry.config, _SPLITS)
        given = there.output, entry.config, state, board.middle()
        found.append(Task(f"pictures of {entry.name}", _show, given))
    return found


def _show(output, config, state, radius):
    elsewhere.ready(config, state, _SPLITS)
    there = store.Store(output)
    known = store.read_json(there.told(config))
    drawn = run.row_entrant(there, config), known["hashes"]["model"], known["rows"], radius
    shown.pictures_of(*drawn, measure.load_kept)
