"""The flags of an evaluation: of what the attacks of its runs reached, and of their models.

flags.csv   a row for each model and rule of `tfvn.results.rules`
"""

import math

import numpy as np

from tfvn import attacks
from tfvn.results.certified import smallest_bound
from tfvn.results.flags import (
    NOT_CHECKED,
    OF_OTHERS,
    Reached,
    flags_of_results,
    merged,
    row_of,
    unchecked,
)
from tfvn.results.rows import attack_of, is_clean, size_of
from tfvn.results.rules import OF_MODELS
from tfvn.runs import attack_files
from tfvn.tables import Table, digits

__all__ = ["flag_rows", "flag_table", "flag_text", "flags_of_run"]

_HEADS = ("model", "flag", "found", "limit", "slice", "size", "attack")
_NOT_PROBED = "Only evaluate.py --probe looks at the model."
# A search ends at what was measured, up to rounding. Where it does not, it made another number
# large: the error, or the effect on a part of the image.
_SAME = 1e-2


def flags_of_run(candidate, rows, certificates, probed=(), transferred=()):
    """The flags of one run.

    Args:
        candidate: the `Candidate`.
        rows: its rows of `results.csv`.
        certificates: what is claimed of its model, a list of `Certificate`.
        probed: what `tfvn.results.probes.flags_of_model` found; nothing, if nobody asked.
        transferred: the rows of a `transfer.csv`, as `tfvn.results.transfer.stored` reads them.

    Returns:
        A list with a `Flag` for every name of a rule.
    """
    reached = _of_others(candidate.name, rows, transferred)
    clean = {row["slice"]: row["rmse"] for row in rows if is_clean(row)}
    for row in rows:
        if not is_clean(row):
            bound = smallest_bound(row, rows, certificates)
            reached.extend(_of_row(candidate, row, clean.get(row["slice"], math.nan), bound))
    probed = probed or [unchecked(rule, _NOT_PROBED) for rule in OF_MODELS]
    return merged(flags_of_results(reached, rows[0]["track"]), probed)


def _of_row(candidate, row, clean, bound):
    """What a row and the file of its attack say, a list of `Reached`.

    Args:
        candidate: the `Candidate`.
        row: of an attack.
        clean: the error of the same slice without an attack; NaN where it is not known.
        bound: the largest effect that a certificate allows.
    """
    path = candidate.attack_path(row["attack"], size_of(row), row["slice"])
    stored = attack_files.read_attack(path, needed=("history",))
    attack = attacks.of(row["attack"], stored["settings"])
    one = _measured(attack, row, clean, bound)
    if one is None:
        return []
    members = _members(one, stored)
    one = one._replace(ways=tuple(member.sort for member in members))
    # Steps of an attack on a random model see other draws each, and draws make a largest value
    # larger.
    if row["num_samples"] > 1 or row["noise"]:
        return [_on_draws(one, attack.on_draws(stored))]
    one = _as_its_strongest(one, members)
    return [one, *members, *_with_less(one, attack, stored)]


def _measured(attack, row, clean, bound):
    """What an attack reached in its own measure, a `Reached`; None where that is another one.

    Arguments as for `_of_row`. The error is at most that without an attack and the effect.
    """
    # Other sizes bound no change, so that a larger one need not be worse.
    if not attack.comparable:
        return None
    place = attack.kind, row["slice"], size_of(row)
    if attack.measures_effect:
        return Reached(*place, row["effect"], attack.sort, attack.ball, bound=bound)
    if attack.measures_error:
        ball, bound = f"{attack.ball}, error", clean + bound
        return Reached(*place, row["rmse"], attack.sort, ball, bound=bound)
    return None


def _of_others(name, rows, transferred):
    """What changes of other models do to the model of this name, and its own, in the mean.

    Args:
        name: of the model.
        rows: its rows of `results.csv`.
        transferred: as for `flags_of_run`. Those of other attacks than of these rows are left out.
    """
    found = []
    for radius in sorted({row["radius"] for row in transferred}):
        effects = {}
        for row in transferred:
            if row["target"] == name and row["radius"] == radius:
                effects[row["source"]] = row["effect"]
        own = effects.pop(name, math.nan)
        if not _agree(own, _mean_of_the_worst(rows, radius)):
            continue
        found.append(Reached("its own attacks", None, radius, own))
        for source, effect in effects.items():
            found.append(Reached(f"found for {source}", None, radius, effect, "transfer"))
    return found


def _mean_of_the_worst(rows, radius):
    """The mean over the slices of the largest effect in an l2 ball; NaN without any."""
    worst = {}
    for row in rows:
        if not is_clean(row) and attack_of(row).bounded_in_l2 and size_of(row) == radius:
            worst[row["slice"]] = max(worst.get(row["slice"], 0.0), row["effect"])
    return float(np.mean(list(worst.values()))) if worst else math.nan


def _agree(one, other):
    """Whether two numbers are one, up to rounding. NaN agrees with nothing."""
    return abs(one - other) <= _SAME * other


def _on_draws(one, both):
    """The same, with what it is on the draws that the attack saw and on others, where both are
    known.
    """
    if both is None:
        return one
    seen, unseen = both
    return one._replace(seen=seen, unseen=unseen)


def _members(one, stored):
    """What the members of a suite reached, on the draws that they saw; `stored` is its file."""
    found = []
    for name, sort, objective in attacks.of(one.attack).members_of(stored):
        value = math.sqrt(2 * max(objective, 0))
        found.append(one._replace(attack=f"{one.attack}, {name}", value=value, sort=sort))
    return found


def _as_its_strongest(one, members):
    """A suite's result, as one of the sort of its strongest member."""
    if not members:
        return one
    strongest = max(members, key=lambda member: member.value)
    return one._replace(sort=strongest.sort)


def _with_less(one, attack, stored):
    """The same attack with one search less, and with all, as the history of its file says.

    A single search whose steps do not depend on their number is compared with the first half of
    it. The list is empty where the history says nothing of what was measured, and where the last
    search is of another kind: that it found no more says nothing of the others.
    """
    history = np.sqrt(2 * np.maximum(stored["history"], 0))
    searches, steps = history.shape
    whole = history.max()
    if not attack.repeats or not _agree(whole, one.value):
        return []
    if searches > 1:
        less, amounts = history[:-1].max(), (searches - 1, searches)
    elif attack.steady and steps > 2:
        less, amounts = history[0, : steps // 2 + 1].max(), (steps // 2, steps - 1)
    else:
        return []
    values = zip((float(less), one.value), amounts)
    return [one._replace(value=value, budget=amount) for value, amount in values]


def flag_rows(flags):
    """The rows of `flags.csv`.

    Args:
        flags: the flags of every model, a dict from its name to a list of `Flag`.
    """
    found = []
    for model, own in flags.items():
        found.extend(row_of(model, flag) for flag in own)
    return found


def flag_table(flags):
    """The raised flags as a `Table`; None where there are none. Argument as for `flag_rows`."""
    lines = [list(_HEADS)]
    for model, own in flags.items():
        lines.extend(_line(model, flag) for flag in own if flag.raised)
    if len(lines) == 1:
        return None
    title = "Flags: these say that a number is likely to be wrong"
    return Table(title, lines, ("",) * len(_HEADS), flag_text(flags))


def _line(model, flag):
    case = flag.case
    place = "-" if case.slice is None else str(case.slice)
    numbers = [digits(number) for number in (case.found, flag.rule.limit)]
    return [model, flag.name, *numbers, place, digits(case.size), case.attack or "-"]


def flag_text(flags):
    """How many rules were checked, and which were not, in words. Argument as for `flag_rows`."""
    every = [flag for own in flags.values() for flag in own]
    raised = [flag for flag in every if flag.raised]
    left = [flag for flag in every if flag.state == NOT_CHECKED]
    text = f"Flags: {len(raised)} raised of {len(every) - len(left)} that could be checked."
    known = (_NOT_PROBED, OF_OTHERS)
    names = dict.fromkeys(flag.name for flag in left if flag.case.note not in known)
    if names:
        text += f" Not checked, of some model at least: {', '.join(names)}."
    if any(flag.case.note == _NOT_PROBED for flag in left):
        text += f" {_NOT_PROBED}"
    return f"{text} All are in flags.csv, and told of in docs/howto/flags.md."
