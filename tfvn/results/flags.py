"""Flags: signs that a robust number is wrong, each with the number that raised it.

A flag is one rule of `tfvn.results.rules` applied to one model. This file applies those on what
attacks reached, and `tfvn.results.probes` those on the model itself. A rule that the numbers do not
suffice for is "not checked", and never "passed".
"""

import math
from typing import NamedTuple, Optional

import numpy as np

from tfvn import checks
from tfvn.choices import TRACKS
from tfvn.results.rules import OF_RESULTS, RULES, Rule

__all__ = [
    "NOT_CHECKED",
    "OF_OTHERS",
    "PASSED",
    "RAISED",
    "SORTS",
    "Case",
    "Flag",
    "Reached",
    "flag_of",
    "flags_of_results",
    "merged",
    "row_of",
    "unchecked",
]

# What may have become of a rule.
RAISED, PASSED, NOT_CHECKED = "raised", "passed", "not checked"
# Why a rule is not checked that says nothing of such a model.
OF_OTHERS = "It is a rule of other models."
# What an attack works with. The last is a change that was found for another model.
SORTS = ("gradient", "single step", "no gradient", "transfer")
# Those that a dynamic model needs.
_WAYS = ("gradient", "no gradient", "transfer")


class Case(NamedTuple):
    """One number that a rule was applied to.

    found: the number.
    slice: of which slice; None for a mean over slices.
    size: of the attack; NaN without one.
    attack: its name.
    note: what else was seen.
    """

    found: float
    slice: Optional[int] = None
    size: float = math.nan
    attack: str = ""
    note: str = ""


class Flag(NamedTuple):
    """What became of a rule for one model.

    rule: the `Rule`.
    state: "raised", "passed" or "not checked".
    case: the `Case` that went furthest; of what was not checked one of NaN, with the reason as its
        note.
    """

    rule: Rule
    state: str
    case: Case

    @property
    def name(self):
        """That of the rule."""
        return self.rule.name

    @property
    def raised(self):
        """Whether a number is likely to be wrong."""
        return self.state == RAISED

    def __str__(self):
        text = f"{self.name}: {self.state}"
        case = self.case
        if not math.isnan(case.found):
            text += f", {case.found:.3g}, where {self._side()} {self.rule.limit:g} is right"
        places = []
        if case.slice is not None:
            places.append(f"slice {case.slice}")
        if not math.isnan(case.size):
            places.append(f"size {case.size:g}")
        if case.attack:
            places.append(case.attack)
        if places:
            text += f" ({', '.join(places)})"
        if case.note:
            text += f": {case.note}"
        return text

    def _side(self):
        return "at least" if self.rule.below else "at most"


def flag_of(rule, cases, reason=""):
    """The `Flag` of a rule that was applied to some cases.

    Args:
        rule: the `Rule`.
        cases: a list of `Case`. One of NaN says nothing, and its note why.
        reason: why there may be none, or none that says something.
    """
    known = [case for case in cases if not math.isnan(case.found)]
    if not known:
        reasons = [case.note for case in cases if case.note]
        return unchecked(rule, (reasons or [reason])[0])
    worst = min if rule.below else max
    case = worst(known, key=lambda case: case.found)
    state = RAISED if rule.broken_by(case.found) else PASSED
    return Flag(rule, state, case)


def unchecked(rule, reason):
    """The `Flag` of a rule that could not be applied, and why."""
    return Flag(rule, NOT_CHECKED, Case(math.nan, note=reason))


def merged(*found):
    """Lists of flags as one, with one flag of each name, in the order of `RULES`.

    Of several of a name the raised one counts first, then the one that was checked.
    """
    order = (RAISED, PASSED, NOT_CHECKED)
    best = {}
    for flag in sum(map(list, found), []):
        other = best.get(flag.name, flag)
        best[flag.name] = min(other, flag, key=lambda flag: order.index(flag.state))
    return [best[name] for name in RULES if name in best]


def row_of(model, flag):
    """A flag as a row of `flags.csv`, a dict.

    Args:
        model: the name of the model.
        flag: the `Flag`.
    """
    case = flag.case
    return {
        "model": model,
        "flag": flag.name,
        "state": flag.state,
        "found": float(case.found),
        "limit": float(flag.rule.limit),
        "slice": "" if case.slice is None else int(case.slice),
        "size": float(case.size),
        "attack": case.attack,
        "rule": flag.rule.text,
        "note": case.note,
    }


class Reached(NamedTuple):
    """What one attack reached on one slice.

    attack: its name.
    slice: the number of the slice; None for a mean over all.
    size: of the attack, such as the radius of the ball.
    value: how far the answer moved, || f(k') - f(k) ||, or any other number that all of these
        attacks are judged by, such as the error.
    sort: what it works with, one of `SORTS`.
    ball: what its change lies in, and what the value is of. Results in one ball, and of one size,
        are compared.
    budget: the number of its gradients, or of its passes where it takes none; 0: not known.
    draws: of the mean that it made large; 0: none, or not known.
    bound: the largest value that a certificate allows; NaN without one.
    seen, unseen: the value on the draws that the attack saw, and on others; NaN where it saw none.
    ways: the sorts of its members, if it has any.
    """

    attack: str
    slice: Optional[int]
    size: float
    value: float
    sort: str = "gradient"
    ball: str = "l2"
    budget: int = 0
    draws: int = 0
    bound: float = math.nan
    seen: float = math.nan
    unseen: float = math.nan
    ways: tuple = ()


def flags_of_results(reached, track="deterministic"):
    """Applies the rules on what attacks reached on one model.

    Args:
        reached: a list of `Reached`, in any order.
        track: of the model, see `tfvn.choices.TRACKS`.

    Returns:
        A list with a `Flag` for every rule of `OF_RESULTS`.

    Raises:
        ValueError: for a sort of attack or a track that is none.
    """
    for one in reached:
        checks.choice("sort", one.sort, SORTS)
    checks.choice("track", track, TRACKS)
    box, transfer, single, monotone, converged, bound, ways, draws = OF_RESULTS
    own = ("gradient", "single step")
    first = [one for one in reached if one.sort != "transfer"]
    return [
        flag_of(
            box,
            _ahead(reached, ("no gradient",), own),
            "No attacks with and without gradients on one slice at one size.",
        ),
        flag_of(
            transfer,
            _ahead(reached, ("transfer",), SORTS[:3]),
            "No change of another model was tried.",
        ),
        flag_of(
            single,
            _ahead(reached, ("single step",), ("gradient",)),
            "No attacks of one and of many steps on one slice at one size.",
        ),
        flag_of(monotone, _falls(reached), "No slice was attacked at two sizes."),
        flag_of(converged, _gains(first, "budget", "draws"), "No attack was run at two budgets."),
        flag_of(bound, _beyond(reached), "No certificate bounds these changes."),
        flag_of(ways, _missing(reached, track), OF_OTHERS),
        flag_of(
            draws,
            [*_gains(first, "draws", "budget"), *_losses(reached)],
            "No attack was run with more draws, or checked with others.",
        ),
    ]


def _ahead(reached, sorts, others):
    """By what share attacks of some sorts are ahead of the others, for each slice and size."""
    cases = []
    for group in _grouped(reached, "ball", "slice", "size"):
        best = _best([one for one in group if one.sort in sorts])
        against = _best([one for one in group if one.sort in others])
        if best and against:
            note = f"{best.value:.4g}, and {against.value:.4g} of {against.attack}"
            share = _excess(best.value, against.value)
            cases.append(Case(share, best.slice, best.size, best.attack, note))
    return cases


def _falls(reached):
    """By what share the best at a size is below the best at a smaller one, for each slice.

    At the smaller size those attacks count that were made at the larger one too.
    """
    cases = []
    for group in _grouped(reached, "ball", "slice"):
        by_size = sorted(_grouped(group, "size"), key=lambda same: same[0].size)
        for place, larger in enumerate(by_size):
            made = {one.attack for one in larger}
            smaller = [one for one in sum(by_size[:place], []) if one.attack in made]
            best, highest = _best(larger), _best(smaller)
            if highest:
                note = f"{best.value:.4g}, and {highest.value:.4g} at {highest.size:g}"
                share = -_excess(best.value, highest.value)
                cases.append(Case(share, best.slice, best.size, best.attack, note))
    return cases


def _gains(reached, more, same):
    """By what share the mean of an attack grows between its two largest budgets or draws.

    Args:
        reached: a list of `Reached`.
        more: the field that grows.
        same: a field that does not.
    """
    cases = []
    for group in _grouped([one for one in reached if getattr(one, more)], "ball", "attack", same):
        for at_size in _grouped(group, "size"):
            amounts = sorted({getattr(one, more) for one in at_size})[-2:]
            if len(amounts) == 2:
                cases.append(_gain(at_size, more, *amounts))
    return cases


def _gain(reached, field, few, many):
    """The `Case` of one attack with few and with many of something, over the slices with both."""
    values = {(getattr(one, field), one.slice): one.value for one in reached}
    slices = {one.slice for one in reached}
    both = [place for place in slices if (few, place) in values and (many, place) in values]
    one = reached[0]
    if not both:
        return Case(math.nan)
    before = float(np.mean([values[few, place] for place in both]))
    after = float(np.mean([values[many, place] for place in both]))
    note = f"{before:.4g} with {field} {few}, {after:.4g} with {many}"
    return Case(_excess(after, before), None, one.size, one.attack, note)


def _losses(reached):
    """By what share the mean of an attack is higher on the draws that it saw than on others."""
    cases = []
    for group in _grouped(reached, "ball", "attack", "size"):
        both = [one for one in group if not math.isnan(one.seen + one.unseen)]
        if both:
            seen = float(np.mean([one.seen for one in both]))
            unseen = float(np.mean([one.unseen for one in both]))
            note = f"{seen:.4g} on the draws that it saw, {unseen:.4g} on others"
            cases.append(Case(_excess(seen, unseen), None, group[0].size, group[0].attack, note))
    return cases


def _beyond(reached):
    """By what share each value is above its bound."""
    cases = []
    for one in [one for one in reached if not math.isnan(one.bound)]:
        note = f"{one.value:.4g}, and a bound of {one.bound:.4g}"
        share = _excess(one.value, one.bound)
        cases.append(Case(share, one.slice, one.size, one.attack, note))
    return cases


def _missing(reached, track):
    """How many ways to attack a dynamic model are missing, for each slice and size."""
    cases = []
    # Of other models the gradient is whole.
    groups = _grouped(reached, "ball", "slice", "size") if track == "dynamic" else []
    for group in groups:
        made = [way for one in group for way in (one.sort, *one.ways)]
        missing = set(_WAYS) - set(made)
        best = _best(group)
        note = f"missing: {', '.join(sorted(missing))}" if missing else ""
        cases.append(Case(float(len(missing)), best.slice, best.size, best.attack, note))
    return cases


def _grouped(reached, *fields):
    """The results as lists, of which each agrees in some fields."""
    groups = {}
    for one in reached:
        groups.setdefault(tuple(getattr(one, field) for field in fields), []).append(one)
    return list(groups.values())


def _best(reached):
    """The result of the largest value, one of NaN after all others; None of none."""
    return max(reached, key=lambda one: (not math.isnan(one.value), one.value), default=None)


def _excess(value, other):
    """value / other - 1; infinity above 0, and NaN of two zeros."""
    if value and not other:
        return math.inf
    if not other:
        return math.nan
    return value / other - 1
