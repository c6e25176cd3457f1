"""Adversarial attacks: what they are, and all that there are."""

from tfvn.attacks.ascent import ProjectedGradientAscent
from tfvn.attacks.base import Attack, AttackResult, Start
from tfvn.attacks.penalised import PenalisedGradientAscent
from tfvn.attacks.region import keep_region

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackResult",
    "PenalisedGradientAscent",
    "ProjectedGradientAscent",
    "Start",
    "from_config",
    "keep_region",
    "kinds",
    "of",
    "of_folder",
    "selected_by",
]

ATTACKS = {"ascent": ProjectedGradientAscent, "antun": PenalisedGradientAscent}

# Names of attacks in configurations that are no names of them here.
_CONFIGURED = {"projected": "ascent"}


def from_config(config):
    """The attack that a configuration asks for."""
    name = _CONFIGURED.get(config.attack_method, config.attack_method)
    return ATTACKS[name].from_config(config)


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


def of(kind):
    """An attack of a kind, with default settings for all else.

    Args:
        kind: a name of `kinds`, which stands in results and in files of perturbations.

    Raises:
        ValueError: for another name.
    """
    known = kinds()
    if kind not in known:
        raise ValueError(f"attack must be one of {', '.join(known)}. Received: attack={kind!r}")
    attack, settings = known[kind]
    return attack(**settings)


def selected_by(kind):
    """The keys of a configuration that ask for an attack of a kind, with their values.

    All other settings, and the sizes, are left as they are.
    """
    attack, settings = kinds()[kind]
    names = {name: configured for configured, name in _CONFIGURED.items()}
    found = {"attack_method": names.get(attack.name, attack.name)}
    for keyword, value in settings.items():
        found[attack.keys[keyword]] = value
    return found


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
