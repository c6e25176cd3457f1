"""The row of a board as one JSON, from what was measured of it.

    rmse        sqrt(mean_i e_i^2) with e_i = || f_i - |y_i| ||_2, over the slices
    worst case  of every slice the worst e_i of all attacks of a radius, and then the same
    interval    from the 2.5th to the 97.5th percentile of the rmse of slices that are drawn again,
                whole patients at a time, 2000 times (Efron, Annals of Statistics 7, 1979)

The score is the mean over slices of the worst result, and never the worst of the means. Numbers are
in units of images of maximum 1.
"""

import math

import numpy as np

from tfvn.leaderboard.schema import FORMAT
from tfvn.results.flags import RAISED
from tfvn.results.rows import attack_of, is_clean, size_of
from tfvn.results.strongest import strongest

__all__ = ["interval", "numbers_of", "row_of"]

_DRAWN_AGAIN, _SEED = 2000, 0
_INTERVAL = (2.5, 97.5)
# Means over the slices.
_MEANS = ("nrmse", "ssim", "psnr", "effect", "norm", "kspace_norm", "relative_radius")


def row_of(board, entry, known, transferred=()):
    """The row of an entry, a dict as `row.schema.json` says.

    Args:
        board: the `tfvn.leaderboard.board.Board`.
        entry: its `Entry`.
        known: the dict of `tfvn.leaderboard.summary.summary_of`.
        transferred: what changes found for other rows do to this one, a list of dicts of `source`,
            `radius` and `rmse`, that of the slices together.
    """
    rows, patients = known["rows"], known["patients"]
    worst = strongest(rows)
    at = {}
    for radius in board.radii():
        own = [one for one in worst if not is_clean(one) and size_of(one) == radius]
        at[radius] = {"radius": radius, **numbers_of(own, patients)}
    flags = [_flag(flag) for flag in known["flags"]]
    return {
        "format": FORMAT,
        "name": entry.name,
        "about": entry.about,
        "protocol": {"title": board.title, "version": board.version, "middle": board.middle()},
        "hashes": known["hashes"],
        "origin": known["origin"],
        "track": known["model"]["track"],
        "model": known["model"],
        "slices": len(patients),
        "patients": len(set(patients)),
        "clean": numbers_of([one for one in rows if is_clean(one)], patients),
        "attacks": [_attacked(own, patients) for own in _by_attack(rows)],
        "worst": list(at.values()),
        "best_known": _best_known(at, transferred),
        "flags": flags,
        "unreliable": any(flag["state"] == RAISED for flag in flags),
        "certificates": [_plain(claim) for claim in known["certificates"]],
    }


def numbers_of(rows, patients):
    """What the rows of one attack, a row a slice, say together.

    Args:
        rows: as of `results.csv`.
        patients: the patient of each slice.
    """
    errors = np.array([row["rmse"] for row in rows], float)
    low, high = interval(errors, [patients[row["slice"]] for row in rows])
    furthest = int(np.argmax(np.nan_to_num(errors, nan=-1)))
    found = {
        "rmse": _number(np.sqrt(np.mean(np.square(errors)))),
        "interval": [_number(low), _number(high)],
        "mean": _number(np.mean(errors)),
        "median": _number(np.median(errors)),
        "worst": _number(errors[furthest]),
        "worst_slice": rows[furthest]["slice"],
    }
    for key in _MEANS:
        found[key] = _number(np.mean([row[key] for row in rows]))
    return found


def interval(errors, patients):
    """Between which two numbers the rmse lies where other patients are drawn, a pair.

    Of slices of one patient alone nothing is known, and both are NaN.

    Args:
        errors: e_i of each slice.
        patients: the patient of each slice. Where all are of one, as in data that do not tell, each
            slice stands for itself.
    """
    groups = {}
    for place, patient in enumerate(patients):
        groups.setdefault(patient, []).append(place)
    groups = list(groups.values())
    if len(groups) == 1:
        groups = [[place] for place in groups[0]]
    if len(groups) == 1:
        return math.nan, math.nan
    squares = np.array([np.sum(np.square(errors[group])) for group in groups])
    counts = np.array([len(group) for group in groups])
    drawn = np.random.default_rng(_SEED).integers(len(groups), size=(_DRAWN_AGAIN, len(groups)))
    means = squares[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(np.sqrt(means), _INTERVAL)
    return float(low), float(high)


def _by_attack(rows):
    """The attacked rows, as a list for each attack and size."""
    found = {}
    for row in rows:
        if not is_clean(row):
            found.setdefault((row["attack"], size_of(row)), []).append(row)
    return list(found.values())


def _attacked(rows, patients):
    first = rows[0]
    size = size_of(first)
    named = {"attack": first["attack"], "size_name": attack_of(first).size_name, "size": size}
    return {**named, **numbers_of(rows, patients)}


def _best_known(at, transferred):
    """Of each radius the largest rmse that anybody's changes reach, and whose they are."""
    found = []
    for radius, own in at.items():
        best = {"radius": radius, "rmse": own["rmse"], "found_for": "this row"}
        for one in transferred:
            if one["radius"] == radius and one["rmse"] > best["rmse"]:
                best.update(rmse=_number(one["rmse"]), found_for=one["source"])
        found.append(best)
    return found


def _flag(flag):
    """A flag without the name of its model."""
    found = _plain(flag)
    del found["model"]
    if found["slice"] == "":
        found["slice"] = None
    return found


def _plain(values):
    """A dict whose numbers JSON knows."""
    return {
        key: _number(value) if isinstance(value, float) else value for key, value in values.items()
    }


def _number(value):
    """A number of eight digits; None for one that is not finite."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.8g}")
