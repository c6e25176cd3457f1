"""Stored perturbations of every model evaluated on every other: `evaluate.py --transfer`.

transfer.csv, transfer.md   a row for each source, target and radius
transfer.png                the largest radius as a heat map

No attack is made anew. An attack that was made for another model and is stronger than a model's own
says that the own one has failed: its gradient is masked, or it has not converged.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import attacks, data, metrics, progress, tables
from tfvn.figures import heat_map
from tfvn.models import compiled
from tfvn.results.candidates import cases, check_attacks, open_candidates
from tfvn.results.measure import load
from tfvn.results.writing import prepare_folder, write_all
from tfvn.runs import locks

__all__ = ["FILES", "answer_to", "balls", "measured_with", "stored", "transfer"]

# What it may write.
FILES = ("transfer.csv", "transfer.md", "transfer.png")


def transfer(run_dirs, output, overrides=()):
    """Writes what the perturbations of each run do to the models of all, see `FILES`.

    `effect` is the mean over the slices of || f(k + A r) - f(k) ||, f the target and r that of the
    source's attacks in l2 balls which changes f most. `rmse` is of the same r.

    Args:
        run_dirs, output, overrides: as for `tfvn.results.evaluate.evaluate`.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: as `evaluate`; also if fewer than two runs have attacks in l2 balls of a radius
            that both have.
    """
    candidates = open_candidates(run_dirs, overrides)
    radii = _shared_radii(candidates)
    check_attacks(candidates, len(data.source(candidates[0].config, "test")))
    prepare_folder(output, FILES)
    with locks.alone(output, "evaluates into it"):
        # One network at a time is in memory.
        digests = [load(candidate).digest for candidate in candidates]
        rows = []
        for target in candidates:
            rows.extend(_rows(target, candidates, digests, radii))
        return _write(rows, [candidate.name for candidate in candidates], radii, output)


def stored(output):
    """The rows of the `transfer.csv` in a folder of results, a list of dicts; empty where there is
    none, or another file of that name.
    """
    path = os.path.join(output, FILES[0])
    found = []
    try:
        _, rows = tables.read_csv(path)
        for row in rows:
            numbers = {key: float(row[key]) for key in ("radius", "effect")}
            found.append({"source": row["source"], "target": row["target"], **numbers})
    except (OSError, KeyError, TypeError, ValueError):
        return []
    return found


def _shared_radii(candidates):
    """The radii of l2 balls that all runs were attacked in.

    Raises:
        ValueError: if there are none.
    """
    found = []
    for candidate in candidates:
        found.append({size for _, size in balls(candidate)})
    shared = sorted(set.intersection(*found))
    if len(candidates) < 2 or not shared:
        told = [f"{one.name}: {sorted(radii)}" for one, radii in zip(candidates, found)]
        raise ValueError(
            "transfer needs two runs at least, with attacks in l2 balls of the same radii."
            f" Received: {', '.join(told)}"
        )
    return shared


def balls(candidate):
    """The attacks (kind, radius) of a run in l2 balls."""
    return [attack for attack in candidate.attacks if attacks.of(attack[0]).bounded_in_l2]


class _Found(NamedTuple):
    """What the strongest r of a source does to one slice of a target."""

    effect: float
    rmse: float


def _rows(target, sources, digests, radii):
    """The rows of one target."""
    loaded = load(target)
    source = data.source(target.config, "test")
    found = {}
    with progress.bar(total=len(source), desc=f"transfer to {target.name}", unit="slice") as bar:
        for case in cases(target.config, source):
            clean = answer_to(loaded.model, case, None)
            for one, digest in zip(sources, digests):
                for radius in radii:
                    worst = _strongest(loaded.model, case, clean, one, digest, radius)
                    found.setdefault((one.name, radius), []).append(worst)
            bar.update()
    rows = []
    for (name, radius), slices in found.items():
        values = _Found(*np.array(slices, float).T)
        rows.append(
            {
                "source": name,
                "target": target.name,
                "radius": radius,
                "effect": float(values.effect.mean()),
                "rmse": float(np.sqrt(np.mean(np.square(values.rmse)))),
                "num_images": len(slices),
            }
        )
    return rows


def _strongest(model, case, clean, source, digest, radius):
    """What the r of a source does that changes the target's answer most."""
    nothing = attacks.IMAGE.zero(model.sense, case.inputs)
    results = []
    for kind, size in balls(source):
        if size == radius:
            r = source.perturbation(kind, size, case, digest, nothing)
            image = answer_to(model, case, r)
            error = metrics.error_norm(image, case.reference)
            results.append(_Found(float(tf.norm(image - clean)), float(np.squeeze(error))))
    return max(results)


def measured_with(model, case, perturbation):
    """The measurement of a slice as a model reads it, with r in it or None."""
    given = model.measured(case.inputs)
    if perturbation is None:
        return given
    known = attacks.IMAGE.known(model.sense, case.inputs)
    # Eagerly A^H A takes as long as an answer.
    return compiled.shared(model, _entered)(given, perturbation, known)


def _entered(model, given, perturbation, known):
    return attacks.IMAGE.enter(model.sense, given, perturbation, known)


def answer_to(model, case, perturbation):
    """The answer to a slice, with r in it or None, to the model's own draws."""
    given = measured_with(model, case, perturbation)
    return model.reconstruct(given, model.keys(case.inputs["sample_index"]))


def _write(rows, names, radii, output):
    """Writes and prints the rows. Returns the paths of the files."""
    text = "".join(f"{part.as_text()}\n" for part in _tables(rows, names, radii))
    text += (
        "Effect || f(k + A r) - f(k) ||_2 on the model of a column, of the strongest r that the"
        " attacks on the model of a row have found. A number above that of the diagonal in its"
        " column says that the model's own attack has failed.\n"
    )
    largest = [row for row in rows if row["radius"] == radii[-1]]
    writers = {
        "transfer.csv": lambda path: tables.write_csv(path, rows),
        "transfer.md": lambda path: tables.write_text(path, text),
        "transfer.png": lambda path: heat_map.transfer(path, largest, names),
    }
    paths = write_all(output, writers)
    for path in paths:
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def _tables(rows, names, radii):
    """A `Table` for each radius: a line for each source, a column for each target."""
    effects = {(row["source"], row["target"], row["radius"]): row["effect"] for row in rows}
    found = []
    for radius in radii:
        lines = [["r found on", *names]]
        for source in names:
            cells = [tables.digits(effects[source, target, radius]) for target in names]
            lines.append([source, *cells])
        title = f"Effect of transferred perturbations, radius {radius:g}"
        found.append(tables.Table(title, lines, ("",) * len(lines[0])))
    return found
