"""Adversarial attacks: what they are, and all that there are."""

from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.ascent import ProjectedGradientAscent
from tfvn.attacks.base import Attack
from tfvn.attacks.blobs import Blobs
from tfvn.attacks.discs import WorstDisc
from tfvn.attacks.lines import ExchangedLines
from tfvn.attacks.minimum import MinimumNorm
from tfvn.attacks.motion import Motion
from tfvn.attacks.penalised import PenalisedGradientAscent
from tfvn.attacks.power import PowerIteration
from tfvn.attacks.random_search import RandomSearch
from tfvn.attacks.region import keep_region
from tfvn.attacks.result import AttackResult, Start
from tfvn.attacks.square import Square
from tfvn.attacks.suite import Suite
from tfvn.attacks.threats import IMAGE
from tfvn.attacks.universal import Universal

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackResult",
    "AutoProjectedGradient",
    "Blobs",
    "ExchangedLines",
    "IMAGE",
    "MinimumNorm",
    "Motion",
    "PenalisedGradientAscent",
    "PowerIteration",
    "ProjectedGradientAscent",
    "RandomSearch",
    "Square",
    "Start",
    "Suite",
    "Universal",
    "WorstDisc",
    "check_kinds",
    "keep_region",
    "kinds",
    "of",
    "of_folder",
    "selected_by",
]

# The paper's and that of Antun et al. first, then what is no change of the image. The others are in
# the order of their strength.
ATTACKS = {
    "ascent": ProjectedGradientAscent,
    "antun": PenalisedGradientAscent,
    "lines": ExchangedLines,
    "motion": Motion,
    "features": Blobs,
    "random": RandomSearch,
    "universal": Universal,
    "square": Square,
    "minimum": MinimumNorm,
    "discs": WorstDisc,
    "power": PowerIteration,
    "apgd": AutoProjectedGradient,
    "suite": Suite,
}


def kinds():
    """The names of all attacks and their variants, in the order of tables.

    Returns:
        A dict of names. Each has the class of the attack and the settings of the variant.
    """
    found = {}
    for name, attack in ATTACKS.items():
        for kind, settings in (attack.kinds or {name: {}}).items():
            found[kind] = attack, settings
    return found


def of(kind, settings=None):
    """An attack of a kind, with default settings for all else.

    Args:
        kind: a name of `kinds`, which stands in results and in files of perturbations.
        settings: those that are no defaults, a dict. What is no keyword of the attack is passed
            over: files hold more than that.

    Raises:
        ValueError: for another name.
    """
    known = kinds()
    if kind not in known:
        raise ValueError(f"attack must be one of {', '.join(known)}. Received: attack={kind!r}")
    attack, variant = known[kind]
    own = {name: value for name, value in (settings or {}).items() if name in attack.keywords()}
    return attack(**{**own, **variant})


def selected_by(kind):
    """The settings that pick an attack of a kind in a configuration, as a dict.

    They are its name in `ATTACKS` and the keywords that make the variant.

    >>> selected_by("l1")
    {'name': 'ascent', 'norm': 'l1'}
    """
    attack, settings = kinds()[kind]
    return {"name": attack.name, **settings}


def check_kinds(found):
    """Checks that some attacks can stand in one run.

    Args:
        found: the attacks.

    Raises:
        ValueError: if two of them are of one kind. Their files would have the same names.
    """
    names = [attack.kind for attack in found]
    if len(set(names)) < len(names):
        raise ValueError(
            f"attacks must be of different kinds. Received: attacks of {', '.join(names)}. Give all"
            " sizes of a kind to one attack, or attack in another run directory."
        )


def of_folder(folder):
    """The kind and the size of the attack whose perturbations lie in a folder of this name.

    Returns:
        The kind and the size, or None for the name of another folder.
    """
    for kind in kinds():
        size = of(kind).size_of(folder)
        if size is not None:
            return kind, size
    return None
