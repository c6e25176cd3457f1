"""A row as the evaluation knows runs: a candidate whose attacks lie in run directories each."""

import os

from tfvn.leaderboard import addresses
from tfvn.results.candidates import Candidate
from tfvn.runs import attack_files

__all__ = ["Entrant", "entrant_of"]


class Entrant(Candidate):
    """A `Candidate`, of which each attack has a folder of its own in the folder of the row."""

    __slots__ = ()

    def folder(self, part):
        """The run directory of an attack, a `tfvn.parts.Part`."""
        return os.path.join(self.run_dir, addresses.of_attack(part))

    def only(self, part):
        """The same under one attack alone."""
        return self._replace(attacks=[one for one in self.attacks if one in _made(part)])

    def attack_path(self, kind, size, index):
        for part in self.config.attacks:
            if (kind, size) in _made(part):
                return attack_files.attack_path(self.folder(part), size, index, kind)
        raise ValueError(f"the protocol has no attack {kind} of size {size:g}.")


def entrant_of(folder, config):
    """The `Entrant` of a row under all attacks of its configuration.

    Args:
        folder: of the row, whose name stands for it in what is stored.
        config: its `tfvn.config.Config`.
    """
    made = [one for part in config.attacks for one in _made(part)]
    return Entrant(os.path.basename(folder), folder, config, made)


def _made(part):
    """The attacks (kind, size) that a part of a configuration makes; without an empty ball."""
    attack = part.make(seed=0)
    return [(attack.kind, size) for size in attack.sizes if size > 0]
