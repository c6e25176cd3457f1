"""A suite of attacks: of every image the strongest result of all its members.

A robust number is worth what its attack is worth, and no single search is the best on every image.
A suite is a named list of searches that does not change: another list has another version.
"""

import collections
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.attacks import loop
from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.power import PowerIteration
from tfvn.attacks.result import AttackResult, Start
from tfvn.attacks.search import SearchedAttack, kinds_of
from tfvn.attacks.square import Square
from tfvn.choices import SURROGATE

__all__ = ["Member", "SUITES", "Suite"]


class Member(NamedTuple):
    """A member of a suite.

    name: in what is stored and shown.
    attack: its class, a `SearchedAttack`.
    settings: keywords of the class that are not its defaults.
    goes_on: whether it begins with the strongest change of the members before.
    """

    name: str
    attack: type
    settings: dict
    goes_on: bool = False


# How the names of arrays begin that hold what a member reached.
_REACHED = "reached_"
_POWER = Member("power", PowerIteration, {"steps": 19})
# Where it is ahead of the others, their gradient is useless.
_ONE_STEP = Member("one-step", PowerIteration, {"steps": 1})
SUITES = {
    # 120 gradients.
    "small-1": (
        _POWER,
        _ONE_STEP,
        Member(
            "apgd-larger", AutoProjectedGradient, {"steps": 50, "start": "larger", "restarts": 2}
        ),
    ),
    # 600 gradients, and 372 answers without one.
    "standard-1": (
        _POWER,
        _ONE_STEP,
        Member("apgd-singular", AutoProjectedGradient, {"steps": 30, "start": "singular"}),
        Member("square", Square, {"steps": 300}),
        Member("apgd-moved", AutoProjectedGradient, {"steps": 70, "start": "moved", "restarts": 7}),
        Member("apgd-best", AutoProjectedGradient, {"steps": 50, "start": "beside"}, goes_on=True),
    ),
    # 180 gradients, and 300 answers without one: for models that optimise or sample for each
    # measurement.
    "dynamic-1": (
        Member("last-steps", AutoProjectedGradient, {"steps": 60, "gradient": "last-steps"}),
        Member("straight", AutoProjectedGradient, {"steps": 60, "gradient": "straight-through"}),
        Member("surrogate", AutoProjectedGradient, {"steps": 60, "gradient": SURROGATE}),
        Member("square", Square, {"steps": 300}),
    ),
    # 70 gradients, and 20 answers without one: the same, where an answer takes a second.
    "dynamic-small-1": (
        Member("last-steps", AutoProjectedGradient, {"steps": 15, "gradient": "last-steps"}),
        Member("straight", AutoProjectedGradient, {"steps": 15, "gradient": "straight-through"}),
        Member("surrogate", AutoProjectedGradient, {"steps": 40, "gradient": SURROGATE}),
        Member("square", Square, {"steps": 20}),
    ),
}


class Suite(SearchedAttack):
    """A suite of searches for one threat and one goal.

    A radius goes on from the radius before: its first search begins at what was found there. So a
    larger radius never gives less, for a model without random draws and a goal without a target.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        version: the list of searches. "small-1" takes 120 gradients a slice and radius,
            "standard-1" 600, and 372 answers without a gradient. "dynamic-1" is for models that
            optimise or sample for each measurement: it takes 180 gradients in three ways round one
            that may be cut, and 300 answers. "dynamic-small-1" takes 70 and 20. Square, which
            makes these answers, is left out for threats and goals that it does not know.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over. Loss and gradient see the same.
        seed: the seed of random starts and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "suite"
    kinds = kinds_of("suite")
    continued_from = ("perturbation",)

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        version="small-1",
        threat="l2",
        goal="effect",
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(sizes, threat, goal, threat_region, goal_region, noise, draws, seed)
        self.version = checks.choice("version", version, SUITES)

    @property
    def members(self):
        """Its members, a list of `Member`."""
        wanted = {"threat": self.threat, "goal": self.goal}
        found = []
        for member in SUITES[self.version]:
            if wanted in member.attack.kinds.values():
                found.append(member)
        return found

    @property
    def repeats(self):
        """Whether its last member is several searches, or goes on from those before it."""
        last = self.members[-1]
        return last.goes_on or last.settings.get("restarts", 1) > 1

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        return len(self.sizes) * sum(attack.num_gradients for attack in self._attacks())

    @property
    def num_answers(self):
        """The number of answers of members that take no gradient. As above."""
        return len(self.sizes) * sum(attack.num_answers for attack in self._attacks())

    def arrays(self, result):
        """What is stored beside the perturbation: E, and what each member reached."""
        found = super().arrays(result)
        for name, objective in result.reached.items():
            found[f"{_REACHED}{name}"] = objective[0].numpy()
        return found

    def members_of(self, stored):
        found = []
        for members in SUITES.values():
            for member in members:
                name = f"{_REACHED}{member.name}"
                if name in stored:
                    sort = member.attack(**member.settings).sort
                    found.append((member.name, sort, float(stored[name])))
        return list(dict.fromkeys(found))

    def remark(self, found):
        """How many images each member was the strongest on."""
        names = [member.name for member in self.members]
        wins = collections.Counter()
        for arrays in found:
            wins[max(names, key=lambda name: float(arrays[f"{_REACHED}{name}"]))] += 1
        strongest = ", ".join(f"{name} {wins[name]}" for name in names)
        return "; ".join([f"strongest: {strongest}", super().remark(found)]).rstrip("; ")

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Attacks every image of a batch with all members, and keeps the strongest result of each.

        Arguments, errors and warnings are those of `SearchedAttack.run`.

        Returns:
            An `AttackResult`, with what each member `reached`. Its history has the searches of all
            members, one after the other; shorter ones stay where they end.
        """
        best, reached, histories = None, {}, []
        for member, attack in zip(self.members, self._attacks()):
            if member.goes_on and best is not None:
                start = Start(best.perturbation, size=size)
            result = attack.run(model, inputs, size, reference, start, index)
            # One change of a smaller radius is enough to begin with.
            start = None
            # On the draws that the attack saw: it cannot know the model's.
            reached[member.name] = tf.reduce_max(result.history, [0, 1])
            histories.append(result.history)
            found = reached[member.name]
            if best is None:
                best, value = result, found
            improved = loop.is_better(found, value)
            best, value = _where(improved, result, best), tf.where(improved, found, value)
        return best._replace(history=_side_by_side(histories), reached=reached)

    def _attacks(self):
        """The attacks of its members, for one size."""
        found = []
        for place, member in enumerate(self.members):
            attack = member.attack(
                sizes=[1.0],
                threat=self.threat,
                goal=self.goal,
                threat_region=self.threat_region,
                goal_region=self.goal_region,
                noise=self.noise,
                draws=self.draws,
                seed=self.seed,
                **member.settings,
            )
            attack.place = place
            found.append(attack)
        return found


def _where(improved, other, one):
    """Image by image, one of two results."""
    found = {}
    for field in ("perturbation", "reconstruction", "objective", "left", "unseen"):
        new, old = getattr(other, field), getattr(one, field)
        if new is not None:
            found[field] = tf.where(loop.by_image(improved, new), new, old)
    return AttackResult(**found, history=one.history)


def _side_by_side(histories):
    """Histories (searches, steps, batch) of several lengths as one."""
    longest = max(history.shape[1] for history in histories)
    padded = []
    for history in histories:
        missing = longest - history.shape[1]
        padded.append(np.pad(history, [(0, 0), (0, missing), (0, 0)], mode="edge"))
    return tf.concat(padded, 0)
