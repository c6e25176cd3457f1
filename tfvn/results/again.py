"""The commands that make a run again elsewhere, for the report."""

import os

from tfvn import attacks
from tfvn.runs import attack_files, directory, given

__all__ = ["commands"]

# Settings of one call alone, with their defaults: the run would end too early with them, or not
# begin without tensorflow-addons.
_OF_ONE_CALL = {"training.time_budget": 0, "training.progress": "tqdm"}


def commands(candidate):
    """Commands that make a run again, from its configuration and what its attacks record.

    Args:
        candidate: a `Candidate`.

    Returns:
        A list of commands, each a list of arguments. There is none for a model that was given in
        Python.
    """
    if given.is_given(candidate.config):
        return []
    run_dir = directory.as_argument(os.path.normpath(candidate.run_dir))
    again = f"{run_dir}-again"
    config = os.path.join(run_dir, "config.yaml")
    train = ["python", "train.py", "--config", config, "--run-dir", again]
    attack = ["python", "attack.py", "--run-dir", again]
    found = [_with_settings(train, _changed(_OF_ONE_CALL, candidate.config.flat()))]
    for (kind, *settings), sizes in _attacks(candidate).items():
        name = attacks.of(kind).name
        settings += _changed({f"attacks.{name}.sizes": sizes}, _before(candidate.config, name))
        found.append(_with_settings(attack, settings))
    return found


def _with_settings(command, settings):
    if not settings:
        return command
    return [*command, "--set", *settings]


def _changed(values, before):
    """Those of the values that were others before, as "key=value"."""
    return [f"{key}={value}" for key, value in values.items() if value != before.get(key)]


def _before(config, name):
    """The settings of the attack of a name once `attacks=name` has been set, by keys in full."""
    there = {part.name: part for part in config.attacks}
    if name in there:
        return there[name].flat()
    return config.changed({"attacks": [name]}).attacks[0].flat()


def _attacks(candidate):
    """The sizes of the attacks of a run, by kind and settings: one command makes these."""
    found = {}
    for kind, size in candidate.attacks:
        stored = attack_files.read_attack(candidate.attack_path(kind, size, 0))["settings"]
        settings = _settings(kind, stored, candidate.config)
        found.setdefault((kind, *settings), []).append(size)
    return found


def _settings(kind, stored, config):
    """What to set for an attack of a kind and of stored settings, as "key=value"."""
    name = attacks.of(kind).name
    picked = []
    if [part.name for part in config.attacks] != [name]:
        picked.append(f"attacks={name}")
    values = {}
    for keyword, value in attack_files.configured(kind, stored).items():
        values[f"attacks.{name}.{keyword}"] = value
    return picked + _changed(values, _before(config, name))
