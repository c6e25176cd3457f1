"""Run directories: what one training and its attacks have made."""

from tfvn.runs import attack_files, directory, experiments, locks, models, signature, trained_on

__all__ = [
    "attack_files",
    "directory",
    "experiments",
    "locks",
    "models",
    "signature",
    "trained_on",
]
