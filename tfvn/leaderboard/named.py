"""The networks of other rows, by the names of these rows.

The file of a board has `row:NAME` where a row takes the network of another one. What is stored of
the row has the hash of that training, as names may change. Who reads it sees the name again:

    defence    ensemble others=U-Net, seed 2 + U-Net, seed 3
"""

from tfvn.leaderboard import addresses

__all__ = ["is_plain", "names_of", "networks_of", "told"]

# Between the networks of a list. Names may hold commas.
_AND = " + "
_SECTIONS = ("model", "defence", "training")


def is_plain(row):
    """Whether a row has no defence at test time."""
    return row["model"]["defence"].get("name", "none") == "none"


def names_of(rows):
    """The names of rows by the hashes of their trainings, a dict.

    Several rows may have one network. It is called as the first one of them that has no defence,
    or as the first one.

    Args:
        rows: of a board, as `row.schema.json` says.
    """
    found = {}
    plain = [row for row in rows if is_plain(row)]
    for row in [*plain, *rows]:
        found.setdefault(row["hashes"]["training"], row["name"])
    return found


def told(value, names):
    """A setting whose networks have names.

    Args:
        value: of the setting. What is no text with the hash of a training stays as it is.
        names: as of `names_of`. A training without a name keeps its hash.
    """
    if not isinstance(value, str) or not addresses.NETWORK.search(value):
        return value
    parts = value.split(f",{addresses.TRAINING}")
    joined = f"{_AND}{addresses.TRAINING}".join(parts)
    return addresses.NETWORK.sub(lambda match: names.get(match[1], match[0]), joined)


def networks_of(row, names):
    """The settings of a row that are networks of others, pairs of a key and what it is told as.

    Args:
        row: as `row.schema.json` says.
        names: as of `names_of`.
    """
    sections = {**row["model"], "model": row["model"]["settings"]}
    found = []
    for section in _SECTIONS:
        for key, value in sections[section].items():
            shown = told(value, names)
            if shown != value:
                found.append((f"{section}.{key}", shown))
    return found
