"""What the command does: it computes what a board lacks, and writes the board.

Each row is trained, attacked, measured and probed. Every one of these is stored under the hash of
what it depends on. So a call that was killed goes on, a row more costs only itself, and a call with
nothing to do reads what is there.
"""

import gc
import os

from tfvn import data, files
from tfvn.leaderboard import page, shown, store, submission, summary, told, transfers
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
    "compute_row",
    "leaderboard",
    "learns",
    "measured",
    "missing_slices",
    "times_of",
    "told_of_attack",
    "told_of_training",
    "trained",
]


def leaderboard(path, output):
    """Computes what is missing of a board, and writes its files.

    Args:
        path: the YAML file, see `tfvn.leaderboard.board`.
        output: the folder of its results, made if need be.

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
        known = [compute_row(there, entry.config, watch) for entry in board.entries]
        entrants = {}
        for entry, own in zip(board.entries, known):
            entrant = entrant_of(there.row(entry.config), there.resolved(entry.config))
            entrants[entry.name] = entrant, own["hashes"]["model"]
        rows, pictures = [], []
        for entry, own in zip(board.entries, known):
            others = transfers.transferred(entry.name, entrants, board.radii())
            found = submission.submitted(there.row(entry.config))
            rows.append(told.row_of(board, entry, own, others, found))
            drawn = *entrants[entry.name], own["rows"], board.middle()
            pictures.append(shown.pictures_of(*drawn))
        return page.write(board, rows, [own["rows"] for own in known], output, pictures)


def compute_row(there, config, watch):
    """All that is known of a row, see `tfvn.leaderboard.summary`, read or computed.

    Args:
        there: the `Store`.
        config: the row's `tfvn.config.Config`.
        watch: a `tfvn.paper.protocol.Stopwatch`.
    """
    folder = there.row(config)
    path = os.path.join(folder, store.name_of_row(config))
    known = store.read_json(path)
    if known is not None:
        return known
    training = trained(there, config, watch)
    for name in (directory.MODEL, "trained_on.json"):
        store.share(training, folder, name)
    entrant = entrant_of(folder, there.resolved(config))
    for part in config.attacks:
        _attack(entrant, part, watch)
    rows = measured(entrant)
    store.write_json(path, summary.summary_of(entrant, config, training, rows))
    # Models are cycles of references, and the next row has another one.
    gc.collect()
    return store.read_json(path)


def trained(there, config, watch):
    """The run directory of a row's network, which is trained unless that is done."""
    run_dir = there.training(config)
    if os.path.exists(os.path.join(run_dir, directory.MODEL)):
        return run_dir
    resolved = there.resolved(config)
    directory.begin(run_dir, resolved)

    def train():
        train_run(run_dir, resolved)

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
    folder = entrant.folder(part)
    config = _with_attacks(entrant.config, (part,))
    for name in (directory.MODEL, "trained_on.json"):
        store.share(entrant.run_dir, folder, name)
    directory.begin(folder, config)
    count = len(data.source(config, "test"))
    missing = missing_slices(entrant, part, count)
    if not missing:
        return
    attack = part.make(seed=config.seed)
    work = len(missing) * attack.num_gradients / len(attack.sizes)
    what = told_of_attack(config, attack)
    watch.measure(what, round(work), lambda: attack_run(folder, config))


def missing_slices(entrant, part, count):
    """The files of an attack that are not there, for all sizes and slices."""
    found = []
    for kind, size in entrant.only(part).attacks:
        paths = [entrant.attack_path(kind, size, index) for index in range(count)]
        found.extend(path for path in paths if not os.path.exists(path))
    return found


def _with_attacks(config, parts):
    """The same configuration with other attacks."""
    settings = {key: value for key, value in vars(config).items() if key != "dataset"}
    return type(config)(**{**settings, "attacks": parts})


def measured(entrant):
    """The rows of all slices, as `results.csv` has them, read or measured: clean ones, then those
    of each attack.
    """
    found = _measured_under(entrant._replace(attacks=[]), entrant.run_dir)
    for part in entrant.config.attacks:
        rows = _measured_under(entrant.only(part), entrant.folder(part))
        found.extend(row for row in rows if not is_clean(row))
    return found


def _measured_under(entrant, folder):
    """The rows of all slices under the attacks of a candidate, slice by slice."""
    source = data.source(entrant.config, "test")
    paths = []
    for index in range(len(source)):
        paths.append(os.path.join(folder, "measured", f"{slice_name(index)}.json"))
    known = [store.read_json(path) for path in paths]
    if None in known:
        loaded = measure.load(entrant)
        for case, path in zip(cases(entrant.config, source), paths):
            if known[case.index] is None:
                _, known[case.index] = measure.measure_slice(entrant, case, loaded)
                store.write_json(path, known[case.index])
    return [row for rows in known for row in rows]
