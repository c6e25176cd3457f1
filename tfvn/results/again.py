"""The commands that make a run again elsewhere, for the report."""

import os

from tfvn import attacks
from tfvn.runs import attack_files, directory

__all__ = ["commands"]

# Settings of one call alone, with their defaults: the run would end too early with them, or not
# begin without tensorflow-addons.
_OF_ONE_CALL = {"time_budget": 0, "progress": "tqdm"}


def commands(candidate):
    """Commands that make a run again, from its configuration and what its attacks record.

    Args:
        candidate: a `Candidate`.

    Returns:
        A list of commands, each a list of arguments.
    """
    run_dir = directory.as_argument(os.path.normpath(candidate.run_dir))
    again = f"{run_dir}-again"
    config = os.path.join(run_dir, "config.yaml")
    train = ["python", "train.py", "--config", config, "--run-dir", again]
    attack = ["python", "attack.py", "--run-dir", again]
    found = [_with_settings(train, _changed(_OF_ONE_CALL, candidate.config))]
    for (kind, *settings), sizes in _attacks(candidate).items():
        key = attacks.of(kind).keys["sizes"]
        settings += _changed({key: sizes}, candidate.config)
        found.append(_with_settings(attack, settings))
    return found


def _with_settings(command, settings):
    if not settings:
        return command
    return [*command, "--set", *settings]


def _changed(values, config):
    """Those of the values that a configuration has otherwise, as "key=value"."""
    own = vars(config)
    return [f"{key}={value}" for key, value in values.items() if value != own[key]]


def _attacks(candidate):
    """The sizes of the attacks of a run, by kind and settings: one command makes these."""
    config = candidate.config
    found = {}
    for kind, size in candidate.attacks:
        stored = attack_files.read_attack(candidate.attack_path(kind, size, 0))["settings"]
        values = {key: stored[key] for key in stored.keys() & directory.attack_keys()}
        values["attack_num_samples"] = stored.get("num_samples", config.attack_num_samples)
        values.update(attacks.selected_by(kind))
        settings = _changed(dict(sorted(values.items())), config)
        found.setdefault((kind, *settings), []).append(size)
    return found
