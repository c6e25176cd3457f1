"""What the changes that were found for one row do to another.

A change that was made for another model and does more than a model's own says that the own attack
has failed. It raises a flag, and the best known error of the row.
"""

import os

import numpy as np
import tensorflow as tf

from tfvn import attacks, data, metrics
from tfvn.leaderboard import addresses, store
from tfvn.leaderboard.entrant import entrant_of
from tfvn.results import measure
from tfvn.results.candidates import cases
from tfvn.results.transfer import answer_to, balls

__all__ = ["missing", "path_of", "transferred"]


def transferred(name, entrants, radii, load=measure.load):
    """What the changes of all other rows do to one, read or computed.

    Args:
        name: of the row.
        entrants: pairs of an `Entrant` and the hash of its network by the names of all rows, a
            dict.
        radii: of the l2 balls.
        load: what gives the `tfvn.results.measure.Loaded` model of an `Entrant`.

    Returns:
        A dict from the names of the other rows to lists of dicts: `slice`, `radius`, and the
        largest `effect` and `rmse` of all attacks in l2 balls. They may be of two attacks.

    Raises:
        ValueError: if a change that is needed is not there.
    """
    target, _ = entrants[name]
    paths = {}
    for other, (source, _) in entrants.items():
        if not _is_one(source, target):
            paths[other] = path_of(target, source)
    found = {other: store.read_json(path) for other, path in paths.items()}
    needed = {other: entrants[other] for other, known in found.items() if known is None}
    if needed:
        print(f"transfer to {name}: from {', '.join(needed)}", flush=True)
        for other, results in _computed(target, needed, radii, load).items():
            store.write_json(paths[other], results)
            found[other] = results
    return found


def missing(there, board):
    """The pairs of rows (target, source) of a board between which nothing is known.

    Args:
        there: the `tfvn.leaderboard.store.Store`.
        board: the `tfvn.leaderboard.board.Board`.

    Returns:
        A list of pairs of `tfvn.leaderboard.board.Entry`, without those of two rows of one hash.
    """
    entrants = [entrant_of(there.row(entry.config), entry.config) for entry in board.entries]
    found = {}
    for target, changed in zip(board.entries, entrants):
        for source, given in zip(board.entries, entrants):
            path = path_of(changed, given)
            if not _is_one(changed, given) and store.read_json(path) is None:
                found.setdefault(path, (target, source))
    return list(found.values())


def _is_one(one, other):
    """Whether two rows are of one hash and were attacked alike: then they are one."""
    if one.run_dir != other.run_dir:
        return False
    return addresses.of_attacks(one.config) == addresses.of_attacks(other.config)


def path_of(target, source):
    """The file of what the changes of one `Entrant` do to another."""
    stem = f"{source.name}-{addresses.of_attacks(source.config)}.json"
    return os.path.join(target.run_dir, "transfer", stem)


def _computed(target, sources, radii, load):
    """The same, for some sources, computed."""
    for other, (source, _) in sources.items():
        _check(other, source)
    model = load(target).model
    slices = data.source(target.config, "test")
    found = {other: [] for other in sources}
    for case in cases(target.config, slices):
        clean = answer_to(model, case, None)
        for other, (source, digest) in sources.items():
            for radius in radii:
                worst = _worst(model, case, clean, source, digest, radius)
                found[other].append({"slice": case.index, "radius": radius, **worst})
    return found


def _check(name, source):
    """Checks that the changes found for a row are there. A published folder is without them."""
    for kind, size in balls(source):
        path = source.attack_path(kind, size, 0)
        if not os.path.exists(path):
            raise ValueError(
                f"the changes that were found for the row {name!r} are not there: {path}. A row"
                " more needs those of all others. To attack all again, remove the files"
                f" {os.path.join(os.path.dirname(source.run_dir), '*', 'row-*.json')}"
            )


def _worst(model, case, clean, source, digest, radius):
    """The largest effect and rmse that the changes of a source have on one slice of a model."""
    nothing = attacks.IMAGE.zero(model.sense, case.inputs)
    effects, errors = [], []
    for kind, size in balls(source):
        if size == radius:
            r = source.perturbation(kind, size, case, digest, nothing)
            image = answer_to(model, case, r)
            effects.append(float(tf.norm(image - clean)))
            errors.append(float(np.squeeze(metrics.error_norm(image, case.reference))))
    return {"effect": max(effects), "rmse": max(errors)}
