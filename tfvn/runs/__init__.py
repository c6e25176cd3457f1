"""Run directories: what one training and its attacks have made."""

from tfvn.runs import (
    attack,
    attack_files,
    attack_job,
    directory,
    elsewhere,
    given,
    locks,
    models,
    signature,
    train,
    trained_on,
)

__all__ = [
    "attack",
    "attack_files",
    "attack_job",
    "directory",
    "elsewhere",
    "given",
    "locks",
    "models",
    "signature",
    "train",
    "trained_on",
]
