"""What certificates say of each model and attack, as rows and as a table."""

import math

from tfvn.certificates import total_variation
from tfvn.results.measure import DISTANCES
from tfvn.results.rows import is_clean, size_of
from tfvn.tables import Table, digits

__all__ = ["certificate_table", "certificates_of"]

# The table asks which ||A r|| changes the image by no more than this share of its norm.
_SHARE = 0.1
_HEADS = (
    "model",
    "norm",
    "D",
    "Lipschitz constant",
    "certified to",
    "attack",
    "its A r",
    "bound",
    "effect",
    "says something",
)


def certificates_of(table, rows):
    """What can be claimed of every smoothed model: one dict a model and attack.

    The attack "none" stands for what is claimed of the model alone. The keys:

    * `diameter` is sqrt(2) times the largest norm of a single draw in `rows`. It is that of the map
      f whose images are scaled back to that norm, which changes none of the draws that were
      averaged here.
    * `lipschitz` is the Lipschitz constant of the smoothed map, in the `norm` of the noise's
      certificate.
    * `certified_distance` is the largest ||A r|| in that norm that certifies a change below a tenth
      of the mean image norm.
    * Of an attack: `distance`, its mean ||A r|| in that norm; `total_variation` at it, and `bound`,
      the diameter times that; and the measured `effect`.

    The bound is for infinitely many draws: the mean of K has its own spread.

    Args:
        table: the list of dicts of `aggregate`.
        rows: the rows that it was made of.
    """
    claims = []
    for model in dict.fromkeys(entry["model"] for entry in table if entry["sigma"]):
        largest = max(row["draw_norm"] for row in rows if row["model"] == model)
        diameter = float(total_variation.range_diameter(largest, non_negative=True))
        for entry in table:
            if entry["model"] == model:
                claims.append(_claim(entry, diameter))
    return claims


def _claim(entry, diameter):
    """What is claimed of one model and attack."""
    sigma, noise = entry["sigma"], entry["noise"]
    norm = total_variation.NORMS[noise]
    distance = entry[DISTANCES[norm]]
    change = _SHARE * entry["image_norm"]
    certified = math.nan
    if not math.isnan(change):
        certified = float(total_variation.certified_distance(change, sigma, diameter, noise))
    return {
        "model": entry["model"],
        "attack": entry["attack"],
        "size": size_of(entry),
        "sigma": sigma,
        "noise": noise,
        "norm": norm,
        "diameter": diameter,
        "lipschitz": float(total_variation.lipschitz_constant(sigma, diameter, noise)),
        "certified_distance": certified,
        "distance": distance,
        "total_variation": float(total_variation.total_variation(distance, sigma, noise)),
        "bound": float(total_variation.global_bound(distance, sigma, diameter, noise)),
        "effect": entry["effect"],
    }


def certificate_table(claims):
    """The weakest attack on each smoothed model, and what its certificate says of it: a `Table`."""
    lines = [list(_HEADS)]
    for model in dict.fromkeys(claim["model"] for claim in claims):
        lines.append(_line([claim for claim in claims if claim["model"] == model]))
    note = (
        "D: diameter of the range, sqrt(2) times the largest norm of a single draw here; certified"
        " to: the largest ||A r|| that cannot change the reconstruction by more than"
        f" {100 * _SHARE:g} % of the mean ||y||_2; attack: the weakest one, with its mean norm of A"
        " r, the bound at it and what it did; the bound says something where it is below half of"
        " D. Norms of A r as the noise demands, of real and imaginary parts."
    )
    title = "Certificates of the smoothed models (docs/theorem.md)"
    return Table(title, lines, ("",) * len(_HEADS), note)


def _line(claims):
    """The table's line of one model."""
    attacks = [claim for claim in claims if not is_clean(claim)]
    # The weakest attack: where even that is beyond the certificate, the others are.
    claim = min(attacks, key=lambda claim: claim["total_variation"], default=claims[0])
    line = [claim["model"], claim["norm"]]
    line += [digits(claim[key]) for key in ("diameter", "lipschitz", "certified_distance")]
    if not attacks:
        return line + ["-"] * 5
    line.append(f"{claim['attack']} {claim['size']:g}")
    line += [digits(claim[key]) for key in ("distance", "bound", "effect")]
    line.append("yes" if claim["total_variation"] < 0.5 else "no")
    return line
