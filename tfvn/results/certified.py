"""What certificates say of each model and attack, as rows and as a table."""

import math

import numpy as np

from tfvn.certificates import CERTIFICATES
from tfvn.certificates.lipschitz import Lipschitz
from tfvn.certificates.total_variation import range_diameter
from tfvn.models.base import Statistics
from tfvn.results.rows import attack_of, is_clean, size_of
from tfvn.tables import Table, digits

__all__ = [
    "DISTANCES",
    "bound_of",
    "certificate_table",
    "certificates_of",
    "claimed",
    "diameter_of",
    "seen_in",
    "smallest_bound",
    "trade_of",
]

# The columns that hold ||A r||, by the norm.
DISTANCES = {"l2": "kspace_norm", "l1": "kspace_l1"}
# The table asks which ||A r|| changes the image by no more than this share of its norm.
_SHARE = 0.1
_HEADS = (
    "model",
    "certificate",
    "D",
    "Lipschitz constant",
    "of r",
    "certified to",
    "attack",
    "its A r",
    "bound",
    "effect",
    "says something",
)


def claimed(model):
    """Those of a model's certificates that claim something.

    An estimate without a level of confidence claims nothing.

    Raises:
        ValueError: for one that `CERTIFICATES` does not name. A claim stands in a table by its
            name, so that must be of one class.
    """
    for certificate in model.certificates:
        if not isinstance(certificate, CERTIFICATES.get(certificate.name, ())):
            raise ValueError(
                f"certificates of {type(model).__name__} must stand in"
                f" tfvn.certificates.CERTIFICATES by their names, {', '.join(CERTIFICATES)}."
                f" Received: {type(certificate).__name__} with name={certificate.name!r}. Add a"
                " line for it there."
            )
    return [certificate for certificate in model.certificates if certificate.confidence > 0]


def diameter_of(statistics):
    """The diameter of the range of magnitude images that the draws of an answer show, (batch,)."""
    return range_diameter(np.asarray(statistics.largest_norm, float), non_negative=True)


def seen_in(rows):
    """The `Statistics` of all rows together: what the largest draw and the largest || A || show."""
    largest = {}
    for name in ("draw_norm", "operator_norm"):
        largest[name] = np.array([max(row[name] for row in rows)])
    return Statistics(None, None, largest["draw_norm"], largest["operator_norm"])


def bound_of(certificate, statistics, row):
    """The largest effect that a certificate allows of the change of a row, (1,).

    || A r || bounds it, and || r ||_2 where the change is an image r. NaN for a change of A, of
    which nothing is claimed.
    """
    distance = np.array([row[DISTANCES[certificate.norm]]])
    if np.isnan(distance).any():
        return np.array([math.nan])
    bound = certificate.bound(statistics, distance)
    if not is_clean(row) and not attack_of(row).changes.is_image:
        return bound
    return np.minimum(bound, certificate.image_bound(statistics, np.array([row["norm"]])))


def smallest_bound(row, rows, certificates):
    """The smallest bound of a model's certificates on the effect of a row; NaN without any.

    Args:
        row: one of `rows`, which are those of the model.
        certificates: what is `claimed` of it.
    """
    statistics = seen_in(rows)
    bounds = [bound_of(certificate, statistics, row) for certificate in certificates]
    return min((float(np.squeeze(bound)) for bound in bounds), default=math.nan)


def certificates_of(table, rows, certificates):
    """What can be claimed of every model that has certificates.

    There is a dict for each model, certificate and attack. The attack "none" stands for what is
    claimed of the model alone. The keys:

    * `diameter` is sqrt(2) times the largest norm of a single draw in `rows`. It is that of the map
      f whose images are scaled back to that norm, which changes none of the draws that were
      averaged here.
    * `lipschitz` is the Lipschitz constant of the model, in the `norm` of the certificate, and
      `image_lipschitz` that for changes A r, by || r ||_2; NaN where none is known.
    * `certified_distance` is the largest ||A r|| in that norm that certifies a change below a tenth
      of the mean image norm.
    * Of an attack: `distance`, its mean ||A r|| in that norm; `bound`, the certified effect, at it
      and at its mean || r ||_2; `total_variation`, the
      bound as a share of the diameter; and the measured `effect`.
    * `certificate` is its name, and `confidence` its level: 1 for what is proved.

    The bound of a smoothed model is for infinitely many draws: the mean of K has its own spread.

    Args:
        table: the list of dicts of `aggregate`.
        rows: the rows that it was made of.
        certificates: what `claimed` finds of each model: a dict from its name.
    """
    claims = []
    for model, own in certificates.items():
        statistics = seen_in([row for row in rows if row["model"] == model])
        for certificate in own:
            for entry in table:
                # Attacks that change A have no distance.
                known = not math.isnan(entry[DISTANCES[certificate.norm]])
                if entry["model"] == model and known:
                    claims.append(_claim(entry, certificate, statistics))
    return claims


def _claim(entry, certificate, statistics):
    """What is claimed of one model and attack."""
    distance = entry[DISTANCES[certificate.norm]]
    change = _SHARE * entry["image_norm"]
    certified = math.nan
    if not math.isnan(change):
        certified = certificate.certified_distance(statistics, change)
    diameter, bound = diameter_of(statistics), bound_of(certificate, statistics, entry)
    numbers = {
        "diameter": diameter,
        "lipschitz": certificate.lipschitz(statistics),
        "image_lipschitz": certificate.image_lipschitz(statistics),
        "certified_distance": certified,
        "distance": distance,
        "total_variation": bound / diameter,
        "bound": bound,
        "effect": entry["effect"],
    }
    return {
        "model": entry["model"],
        "attack": entry["attack"],
        "size": size_of(entry),
        "sigma": entry["sigma"],
        "noise": entry["noise"],
        "norm": certificate.norm,
        **{key: float(np.squeeze(value)) for key, value in numbers.items()},
        "certificate": certificate.name,
        "confidence": certificate.confidence,
    }


def trade_of(table, rows, claims):
    """What `tfvn.figures.trade.figure6` draws: how accurate models are, and how far answers move.

    Args:
        table, rows: as for `certificates_of`.
        claims: what that finds.

    Returns:
        A dict for each model that was attacked and has an error; [] where fewer than two are, or no
        Lipschitz constant is proved.
    """
    constants = {}
    for claim in claims:
        if claim["certificate"] == Lipschitz.name and math.isfinite(claim["lipschitz"]):
            constants[claim["model"]] = claim["lipschitz"]
    found = []
    for entry in table:
        if not is_clean(entry) or math.isnan(entry["rmse"]):
            continue
        own = [row for row in rows if row["model"] == entry["model"]]
        # Attacks that change A have no distance.
        ratios = [row["effect"] / row["kspace_norm"] for row in own if row["kspace_norm"] > 0]
        if ratios:
            found.append(
                {
                    "family": entry["model"],
                    "budget": math.nan,
                    "rmse": entry["rmse"],
                    "ssim": entry["ssim"],
                    "lipschitz": constants.get(entry["model"], math.nan),
                    "amplification": max(ratios),
                }
            )
    return found if constants and len(found) > 1 else []


def certificate_table(claims):
    """The weakest attack on each model, and what its certificates say of it: a `Table`."""
    names = list(dict.fromkeys(claim["certificate"] for claim in claims))
    lines = [list(_HEADS)]
    for model in dict.fromkeys(claim["model"] for claim in claims):
        for name in names:
            key = (model, name)
            own = [claim for claim in claims if (claim["model"], claim["certificate"]) == key]
            if own:
                lines.append(_line(own))
    note = (
        "D: diameter of the range, sqrt(2) times the largest norm of a single draw here; Lipschitz"
        " constant: of any change of the data; of r: of changes A r, by ||r||_2, which says nothing"
        " of noise; certified to: the largest ||A r|| that cannot change the reconstruction by more"
        f" than {100 * _SHARE:g} % of the mean ||y||_2; attack: the weakest one, with its mean norm"
        " of A r, the bound at it (and at its r) and what it did; the bound says something where it"
        " is below half of D. Norms of A r as the noise demands, of real and imaginary parts."
    )
    title = "Certificates (docs/theorem.md)"
    return Table(title, lines, ("",) * len(_HEADS), note)


def _line(claims):
    """The table's line of one model and certificate."""
    attacks = [claim for claim in claims if not is_clean(claim)]
    # The weakest attack: where even that is beyond the certificate, the others are.
    claim = min(attacks, key=lambda claim: claim["total_variation"], default=claims[0])
    line = [claim["model"], f"{claim['certificate']}, {claim['norm']}"]
    numbers = ("diameter", "lipschitz", "image_lipschitz", "certified_distance")
    line += [digits(claim[key]) for key in numbers]
    if not attacks:
        return line + ["-"] * 5
    line.append(f"{claim['attack']} {claim['size']:g}")
    line += [digits(claim[key]) for key in ("distance", "bound", "effect")]
    line.append("yes" if claim["total_variation"] < 0.5 else "no")
    return line
