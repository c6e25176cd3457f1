"""Run directories: what one training and its attacks have made."""

from tfvn.runs import (
    attack,
    attack_files,
    directory,
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
    "directory",
    "given",
    "locks",
    "models",
    "signature",
    "train",
    "trained_on",
]
