"""The row of a board as one JSON, from what was measured of it.

    rmse        sqrt(mean_i e_i^2) with e_i = || f_i - |y_i| ||_2, over the slices
    worst case  of every slice the worst e_i of all attacks of a radius, and then the same
    interval    of that, see `tfvn.leaderboard.intervals`

The score is the mean over slices of the worst result, and never the worst of the means. Numbers are
in units of images of maximum 1.
"""

import math

import numpy as np

from tfvn.leaderboard.addresses import without_places
from tfvn.leaderboard.certified import certified_of
from tfvn.leaderboard.floors import floor_of
from tfvn.leaderboard.intervals import interval
from tfvn.leaderboard.ranking import is_preliminary, is_unreliable
from tfvn.leaderboard.schema import FORMAT
from tfvn.results.flags import Reached, flags_of_results
from tfvn.results.flags import row_of as row_of_flag
from tfvn.results.rows import attack_of, is_clean, size_of
from tfvn.results.strongest import strongest

__all__ = ["numbers_of", "row_of"]

# The rule that other rows are needed for, and that which changes of others may break too.
_TRANSFER, _BOUND = "transfer wins", "bound violated"
# Means over the slices.
_MEANS = ("nrmse", "ssim", "psnr", "effect", "norm", "kspace_norm", "relative_radius")


def row_of(board, entry, known, transferred, submitted=(), floors=()):
    """The row of an entry, a dict as `row.schema.json` says.

    Args:
        board: the `tfvn.leaderboard.board.Board`.
        entry: its `Entry`.
        known: the dict of `tfvn.leaderboard.summary.summary_of`.
        transferred: what changes found for other rows do to this one, a dict from the names of
            those to the lists of `tfvn.leaderboard.transfers.transferred`.
        submitted: what others have found for it, a list of dicts as
            `tfvn.leaderboard.submission.submitted` reads them.
        floors: of all slices, as `tfvn.leaderboard.floors.floors_of` gives them.
    """
    rows, patients = known["rows"], known["patients"]
    clean = [one for one in rows if is_clean(one)]
    worst = [one for one in strongest(rows) if not is_clean(one)]
    at, best = [], []
    for radius in board.radii():
        own = [one for one in worst if size_of(one) == radius]
        own.sort(key=lambda one: one["slice"])
        errors = [_number(one["rmse"]) for one in own]
        at.append({"radius": radius, "errors": errors, **numbers_of(own, patients)})
        best.append(_best_known(radius, own, transferred, submitted))
    flags = [_flag(flag) for flag in known["flags"]]
    beyond = _against_proofs(known["proved"], transferred, submitted)
    wins = _of_transfers(_sought(rows), worst, transferred)
    flags = _with_others(flags, [*wins, *beyond])
    return {
        "format": FORMAT,
        "name": entry.name,
        "about": entry.about,
        "protocol": _protocol(board, entry),
        "hashes": known["hashes"],
        "origin": known["origin"],
        "track": known["model"]["track"],
        "model": known["model"],
        "slices": len(patients),
        "patients": len(set(patients)),
        "patient_of": _numbered(patients),
        "clean": numbers_of(clean, patients),
        "attacks": [_attacked(own, patients) for own in _by_attack(rows)],
        "worst": at,
        "best_known": best,
        "transfer": _transfer(board, transferred),
        "submitted": [_submission(one) for one in submitted],
        "flags": flags,
        "unreliable": is_unreliable(flags),
        "preliminary": is_preliminary(flags),
        "proved": [_plain(one) for one in known["proved"]],
        "certified": certified_of(clean, known["proved"]),
        "floor": floor_of(floors, len(patients)),
        "certificates": [_plain(claim) for claim in known["certificates"]],
    }


def _protocol(board, entry):
    """What the row was measured by, with the gradients of each attack for a slice at all sizes."""
    gradients = {}
    for part in entry.config.attacks:
        attack = part.make(seed=entry.config.seed)
        gradients[attack.kind] = attack.num_gradients
    images, mask = without_places(board.protocol)
    return {
        "title": board.title,
        "version": board.version,
        "source": board.source,
        "data": images,
        "sampling": mask,
        "middle": board.middle(),
        "attacks": [part.tree() for part in entry.config.attacks],
        "gradients": gradients,
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


def _numbered(patients):
    """The number of the patient of each slice, from 0. Their names are nobody's business."""
    numbers = {}
    return [numbers.setdefault(patient, len(numbers)) for patient in patients]


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


def _best_known(radius, own, transferred, submitted):
    """The rmse of the worst that anybody's changes do to each slice, and whose these are.

    Args:
        radius: of the changes.
        own: the worst case of the row's own attacks, a row a slice.
        transferred, submitted: as for `row_of`.
    """
    errors = {one["slice"]: one["rmse"] for one in own}
    whose = {}
    for key, name, results in _of_others(transferred, submitted):
        for one in results:
            if one["radius"] == radius and one["rmse"] > errors[one["slice"]]:
                errors[one["slice"]] = one["rmse"]
                whose[one["slice"]] = key, name
    found = {"radius": radius, "rmse": _mean(errors.values())}
    for key in ("found_for", "found_by"):
        found[key] = sorted({name for other, name in whose.values() if other == key})
    return found


def _of_others(transferred, submitted):
    """What others have found, a list of ("found_for" or "found_by", name, results)."""
    found = [("found_for", name, results) for name, results in transferred.items()]
    return found + [("found_by", one["by"], one["results"]) for one in submitted]


def _mean(errors):
    """The root of the mean square, for JSON."""
    return _number(_root(list(errors)))


def _root(errors):
    return np.sqrt(np.mean(np.square(errors)))


def _transfer(board, transferred):
    """What the changes found for each other row do, at each radius: means over the slices."""
    found = []
    for name, results in transferred.items():
        for radius in board.radii():
            own = [one for one in results if one["radius"] == radius]
            effect = _number(np.mean([one["effect"] for one in own]))
            rmse = _mean(one["rmse"] for one in own)
            found.append({"found_for": name, "radius": radius, "effect": effect, "rmse": rmse})
    return found


def _submission(one):
    """A submitted change, and what it does on the mean."""
    found = {key: one[key] for key in ("hash", "by", "note", "radius")}
    found["effect"] = _number(np.mean([each["effect"] for each in one["results"]]))
    found["rmse"] = _mean(each["rmse"] for each in one["results"])
    return found


def _sought(rows):
    """What attacks in l2 balls make large: the "effect"; the "rmse" where none of them does that.

    An attack on the error alone has not searched for the largest effect, which a change for another
    row may well have.
    """
    for row in {row["attack"]: row for row in rows if not is_clean(row)}.values():
        attack = attack_of(row)
        if attack.bounded_in_l2 and attack.measures_effect:
            return "effect"
    return "rmse"


def _of_transfers(sought, worst, transferred):
    """What the changes found for other rows do, and the row's own, over the slices: `Reached`."""
    together = {"effect": np.mean, "rmse": _root}[sought]
    reached = []
    for radius in sorted({size_of(one) for one in worst}):
        own = together([one[sought] for one in worst if size_of(one) == radius])
        reached.append(Reached("its own attacks", None, radius, float(own)))
        for name, results in transferred.items():
            value = float(together([one[sought] for one in results if one["radius"] == radius]))
            reached.append(Reached(f"found for {name}", None, radius, value, "transfer"))
    return reached


def _against_proofs(proved, transferred, submitted):
    """What changes of others do to each slice, with what is proved of it: a list of `Reached`."""
    bounds = {one["radius"]: one["bound"] for one in proved}
    reached = []
    for key, name, results in _of_others(transferred, submitted):
        whose = f"{key.replace('_', ' ')} {name}"
        for one in results:
            place = whose, one["slice"], one["radius"], one["effect"], "transfer"
            bound = bounds.get(one["radius"], math.nan)
            reached.append(Reached(*place, ball=whose, bound=bound))
    return reached


def _with_others(flags, reached):
    """The flags, with what changes of others say: in the place of "transfer wins", and of "bound
    violated" where that is raised.
    """
    said = {}
    for flag in flags_of_results(reached):
        if flag.name == _TRANSFER or (flag.name == _BOUND and flag.raised):
            said[flag.name] = _flag(row_of_flag("", flag))
    return [*said.values(), *(flag for flag in flags if flag["flag"] not in said)]


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
