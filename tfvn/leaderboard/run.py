"""What the command does: it computes what a board lacks, and writes the board.

Each row is trained, attacked, measured and probed. Every one of these is stored under the hash of
what it depends on. So a call that was killed goes on, a row more costs only itself, and a call with
nothing to do reads what is there.
"""

import gc
import os

from tfvn import data, files
from tfvn.leaderboard import floors, page, shown, store, submission, summary, told, transfers
from tfvn.leaderboard.board import read
from tfvn.leaderboard.entrant import entrant_of
from tfvn.paper.protocol import Stopwatch
from tfvn.results import measure
from tfvn.results.candidates import cases
from tfvn.results.images import slice_name
from tfvn.results.rows import is_clean
from tfvn.runs import directory, locks
from tfvn.runs.attack import attack_run
from tfvn.runs.train import train_run

__all__ = [
    "attack_begun",
    "attack_left",
    "attacked_part",
    "begun",
    "clean_part",
    "compute_row",
    "leaderboard",
    "learns",
    "measured_path",
    "missing_slices",
    "row_entrant",
    "rows_of",
    "times_of",
    "told_of_attack",
    "told_of_training",
    "trained",
]


def leaderboard(path, output, ahead=None):
    """Computes what is missing of a board, and writes its files.

    Args:
        path: the YAML file, see `tfvn.leaderboard.board`.
        output: the folder of its results, made if need be.
        ahead: computes what it can in other processes, given the `Store`, the `Board` and the
            `Stopwatch`, see `tfvn.leaderboard.tasks`. What it leaves is computed here.

    Returns:
        The paths of the files that tell the results.

    Raises:
        ValueError: for a wrong file, a row that cannot be trained or attacked, and if another
            process computes there. What is done is kept.
    """
    board = read(path)
    page.check_output(output)
    directory.make_folder(output)
    there = store.Store(output)
    with locks.alone(output, "computes a leaderboard in it"):
        files.remove_stale(output)
        watch = Stopwatch(there.times)
        if ahead is not None:
            ahead(there, board, watch)
        known = [compute_row(there, entry.config, watch) for entry in board.entries]
        entrants = {}
        for entry, own in zip(board.entries, known):
            entrants[entry.name] = row_entrant(there, entry.config), own["hashes"]["model"]
        rows, pictures, lowest = [], [], floors.floors_of(there, board)
        for entry, own in zip(board.entries, known):
            others = transfers.transferred(entry.name, entrants, board.radii())
            found = submission.submitted(there.row(entry.config))
            rows.append(told.row_of(board, entry, own, others, found, lowest))
            drawn = *entrants[entry.name], own["rows"], board.middle()
            pictures.append(shown.pictures_of(*drawn))
        measured = [own["rows"] for own in known]
        return page.write(board, rows, measured, output, pictures, lowest)


def compute_row(there, config, watch):
    """All that is known of a row, see `tfvn.leaderboard.summary`, read or computed.

    Args:
        there: the `Store`.
        config: the row's `tfvn.config.Config`.
        watch: a `tfvn.paper.protocol.Stopwatch`.
    """
    path = there.told(config)
    known = store.read_json(path)
    if known is not None:
        return known
    training = trained(there, config, watch)
    entrant = begun(there, config)
    for part in config.attacks:
        _attack(entrant, part, watch)
    rows = rows_of(entrant)
    store.write_json(path, summary.summary_of(entrant, config, training, rows))
    # Models are cycles of references, and the next row has another one.
    gc.collect()
    return store.read_json(path)


def row_entrant(there, config):
    """The `Entrant` of a row of the store."""
    return entrant_of(there.row(config), there.resolved(config))


def begun(there, config):
    """The same, with its trained network in its folder."""
    entrant = row_entrant(there, config)
    _share(there.training(config), entrant.run_dir)
    return entrant


def _share(run_dir, folder):
    """Gives another folder the network of a run directory too."""
    for name in (directory.MODEL, "trained_on.json"):
        store.share(run_dir, folder, name)


def trained(there, config, watch):
    """The run directory of a row's network, which is trained unless that is done."""
    run_dir = there.training(config)
    if os.path.exists(os.path.join(run_dir, directory.MODEL)):
        return run_dir
    resolved = there.resolved(config)
    directory.begin(run_dir, resolved)

    def train():
        train_run(run_dir, resolved, tells_next=False)

    if learns(config):
        watch.measure(told_of_training(config), config.training.iterations, train)
    else:
        train()
    return run_dir


def learns(config):
    """Whether a row has anything to train: it has weights, and none are given."""
    if config.model.file:
        return False
    network = config.model.make(
        readout_oversampling=config.dataset.readout_oversampling, seed=config.seed
    )
    network.make_weights()
    return bool(network.trainable_weights)


def told_of_training(config):
    """What `times.csv` calls a training."""
    return f"train {config.model.name}, iterations"


def told_of_attack(config, attack):
    """What `times.csv` calls an attack."""
    return f"attack {config.model.name} {config.defence.name} {attack.kind}, gradients"


def times_of(there):
    """The rows of `times.csv`, dicts of text, oldest first."""
    return Stopwatch(there.times).rows


def _attack(entrant, part, watch):
    """Makes one attack on all slices of a row, unless that is done."""
    folder, config = attack_begun(entrant, part)
    indices = range(len(data.source(config, "test")))
    if missing_slices(entrant, part, indices):
        told = attack_left(entrant, part, indices)
        watch.measure(*told, lambda: attack_run(folder, config, tells_next=False))


def attack_begun(entrant, part):
    """The run directory of an attack on a row, with the network in it, and its configuration."""
    folder = entrant.folder(part)
    config = _with_attacks(entrant.config, (part,))
    _share(entrant.run_dir, folder)
    directory.begin(folder, config)
    return folder, config


def attack_left(entrant, part, indices):
    """What `times.csv` calls an attack on a row, and how many gradients of some slices are missing
    of it.
    """
    attack = part.make(seed=entrant.config.seed)
    missing = missing_slices(entrant, part, indices)
    work = len(missing) * attack.num_gradients / max(len(attack.sizes), 1)
    return told_of_attack(entrant.config, attack), round(work)


def missing_slices(entrant, part, indices):
    """The files of an attack on some slices that are not there, for all sizes."""
    found = []
    for kind, size in entrant.only(part).attacks:
        paths = [entrant.attack_path(kind, size, index) for index in indices]
        found.extend(path for path in paths if not os.path.exists(path))
    return found


def _with_attacks(config, parts):
    """The same configuration with other attacks."""
    settings = {key: value for key, value in vars(config).items() if key != "dataset"}
    return type(config)(**{**settings, "attacks": parts})


def rows_of(entrant):
    """The rows of all slices, as `results.csv` has them, read or measured: clean ones, then those
    of each attack.
    """
    found = _measured_under(*clean_part(entrant))
    for part in entrant.config.attacks:
        rows = _measured_under(*attacked_part(entrant, part))
        found.extend(row for row in rows if not is_clean(row))
    return found


def clean_part(entrant):
    """A row without its attacks, and the folder of what is measured of it."""
    return entrant._replace(attacks=[]), entrant.run_dir


def attacked_part(entrant, part):
    """A row under one attack, and the folder of what is measured of it."""
    return entrant.only(part), entrant.folder(part)


def measured_path(folder, index):
    """The file of what was measured of one slice."""
    return os.path.join(folder, "measured", f"{slice_name(index)}.json")


def _measured_under(entrant, folder):
    """The rows of all slices under the attacks of a candidate, slice by slice."""
    source = data.source(entrant.config, "test")
    paths = [measured_path(folder, index) for index in range(len(source))]
    known = [store.read_json(path) for path in paths]
    if None in known:
        loaded = measure.load(entrant)
        for case, path in zip(cases(entrant.config, source), paths):
            if known[case.index] is None:
                _, known[case.index] = measure.measure_slice(entrant, case, loaded)
                store.write_json(path, known[case.index])
    return [row for rows in known for row in rows]
