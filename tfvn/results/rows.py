"""How a row of `results.csv` names its attack: its kind, its size, and the image that it made."""

import math

from tfvn import attacks

__all__ = ["CLEAN", "attack_of", "dataset_of", "is_clean", "is_in_ball", "size_columns", "size_of"]

# Stands in the column `attack` of an image that was not attacked.
CLEAN = "none"


def is_clean(row):
    """Whether a row is of an image that was not attacked."""
    return row["attack"] == CLEAN


def attack_of(row):
    """The kind of `Attack` that made an attacked row, with default settings."""
    return attacks.of(row["attack"])


def is_in_ball(row):
    """Whether a row is clean, or of an attack whose size is the largest l2 norm of r."""
    return is_clean(row) or attack_of(row).bounded_in_l2


def size_columns(kind, size):
    """The columns with the sizes of all kinds of attacks, NaN in those of other kinds."""
    columns = dict.fromkeys([attacks.of(other).size_name for other in attacks.kinds()], math.nan)
    if kind == CLEAN:
        columns["radius"] = size
    else:
        columns[attacks.of(kind).size_name] = size
    return columns


def size_of(row):
    """The size of a row's attack: the radius of its ball, or its steps."""
    if is_clean(row):
        return row["radius"]
    return row[attack_of(row).size_name]


def dataset_of(row):
    """The name of a row's image in `reconstructions.h5`."""
    if is_clean(row):
        return "clean"
    return attack_of(row).dataset(size_of(row))
