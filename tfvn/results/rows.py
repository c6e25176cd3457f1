"""How a row of `results.csv` names its attack: its kind, its size, and the image that it made."""

__all__ = ["CLEAN", "dataset_of", "size_of"]

# Stands in the column `attack` of an image that was not attacked.
CLEAN = "none"


def size_of(row):
    """The size of a row's attack: the radius of its ball, or its steps."""
    return row["steps"] if row["attack"] == "antun" else row["radius"]


def dataset_of(kind, size):
    """The name of an attacked image in `reconstructions.h5`."""
    if kind == CLEAN:
        return "clean"
    if kind == "antun":
        return f"antun_{size:d}"
    prefix = "" if kind == "l2" else f"{kind}_"
    return f"{prefix}radius_{size:g}"
