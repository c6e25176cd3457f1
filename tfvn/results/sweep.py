"""Predictions from draws against their number K: `evaluate.py --num-samples`.

num_samples.csv, num_samples.md   a row for each model and K
num_samples.png                   the same as curves
"""

import math
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfvn import attacks, data, metrics, progress, tables
from tfvn.figures import curves
from tfvn.results.candidates import cases, check_attacks, open_candidates
from tfvn.results.measure import load
from tfvn.results.writing import prepare_folder, write_all
from tfvn.runs import locks

__all__ = ["FILES", "Scores", "sample_sweep"]

# What a sweep may write.
FILES = ("num_samples.csv", "num_samples.md", "num_samples.png")


def sample_sweep(run_dirs, output, counts, overrides=(), strategy=None):
    """Writes what predictions from draws are like with each number of them K, see `FILES`.

    There is a row for each model and K. `rmse_clean` is the error without an attack.
    `rmse_attacked` and `effect` = mean || g_K(k + A r) - g_K(k) || are under the run's attack of
    the largest l2 radius; the stored r is not made anew for each K. `spread` = sqrt(mean || g_K -
    g'_K ||^2 / 2) of two clean predictions from independent draws is the standard deviation that K
    draws leave.

    Args:
        run_dirs, output, overrides: as for `evaluate`. Runs without noise are left out.
        counts: the numbers of draws.
        strategy: a `tf.distribute` strategy over whose devices the draws are split.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: as `evaluate`; also if no run has a defence with noise or a count is not >= 1.
    """
    if not counts or any(count < 1 for count in counts):
        raise ValueError(f"the numbers of draws must be >= 1. Received: {list(counts)}")
    candidates = open_candidates(run_dirs, overrides)
    smoothed = [candidate for candidate in candidates if _has_noise(candidate.config.defence)]
    if not smoothed:
        raise ValueError(
            "a prediction from draws needs a run whose defence makes draws, with a sigma > 0 where"
            " it has one. None of these has."
        )
    count = len(data.source(candidates[0].config, "test"))
    check_attacks(smoothed, count)
    prepare_folder(output, FILES)
    with locks.alone(output, "evaluates into it"):
        rows = []
        for candidate in smoothed:
            # One network at a time is in memory.
            rows.extend(_sweep_run(candidate, load(candidate, strategy), sorted(set(counts))))
        return _write(rows, output)


def _has_noise(defence):
    """Whether a configured defence makes as many draws as it is told."""
    # One without a sigma has noise of another kind.
    return defence.has("num_samples") and defence.get("sigma", 1) > 0


def _write(rows, output):
    """Writes and prints the rows. Returns the paths of the files."""
    lines = [["model", "K", "RMSE clean", "RMSE attacked", "effect", "spread"]]
    for row in rows:
        line = [row["model"], str(row["num_samples"])]
        for key in ("rmse_clean", "rmse_attacked", "effect", "spread"):
            line.append(tables.digits(row[key]))
        lines.append(line)
    radii = sorted({row["radius"] for row in rows if not math.isnan(row["radius"])})
    text = (
        f"{tables.aligned(lines)}\nAttacked: the stored perturbation of ||r||_2 <="
        f" {', '.join(f'{radius:g}' for radius in radii) or '-'}. Spread: sqrt(mean || g_K - g'_K"
        " ||_2^2 / 2) of two clean predictions from independent draws.\n"
    )
    writers = {
        "num_samples.csv": lambda path: tables.write_csv(path, rows),
        "num_samples.md": lambda path: tables.write_text(path, text),
        "num_samples.png": lambda path: curves.figure5(path, rows),
    }
    paths = write_all(output, writers)
    for path in paths:
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


class Scores(NamedTuple):
    """What one number of draws gives for one slice; NaN without an attack.

    clean, attacked: the errors of the predictions.
    effect: || g_K(k + A r) - g_K(k) ||.
    difference: || g_K - g'_K || of clean predictions from independent draws.
    """

    clean: float
    attacked: float
    effect: float
    difference: float


def _sweep_run(candidate, loaded, counts):
    """The rows of one run."""
    config = candidate.config
    source = data.source(config, "test")
    scores = {count: [] for count in counts}
    name, total = f"draws {candidate.name}", len(source) * len(counts)
    with progress.bar(total=total, desc=name, unit="image") as bar:
        for case in cases(config, source):
            pair = _measurements(candidate, case, loaded)
            for count in counts:
                scores[count].append(_measure(loaded.model, config, count, pair, case.reference))
                bar.update()
    noise = loaded.model.identity
    return [_row(candidate, count, values, noise) for count, values in scores.items()]


class _Measurements(NamedTuple):
    """What models are given of one slice: its number, clean, and attacked or None."""

    index: tf.Tensor
    clean: dict
    attacked: Optional[dict]


def _measurements(candidate, case, loaded):
    """The `_Measurements` of a slice, attacked on the largest l2 ball of the run, if it has one."""
    sense = loaded.model.sense
    index = case.inputs["sample_index"]
    clean = loaded.model.measured(case.inputs)
    ball = candidate.largest_ball()
    if ball is None:
        return _Measurements(index, clean, None)
    nothing = attacks.IMAGE.zero(sense, clean)
    perturbation = candidate.perturbation(*ball, case, loaded.digest, nothing)
    known = attacks.IMAGE.known(sense, case.inputs)
    attacked = attacks.IMAGE.enter(sense, clean, perturbation, known)
    return _Measurements(index, clean, attacked)


def _measure(model, config, count, given, reference):
    """The `Scores` of one slice with `count` draws."""
    model.num_samples, model.seed = count, config.seed
    clean = model.reconstruct(given.clean, model.keys(given.index))
    error_attacked = effect = math.nan
    if given.attacked is not None:
        attacked = model.reconstruct(given.attacked, model.keys(given.index))
        error_attacked = metrics.error_norm(attacked, reference)[0]
        effect = tf.norm(attacked - clean)
    model.seed = (config.seed + 1) % 2**31
    other = model.reconstruct(given.clean, model.keys(given.index))
    error = metrics.error_norm(clean, reference)[0]
    return Scores(error, error_attacked, effect, tf.norm(other - clean))


def _row(candidate, count, measured, noise):
    """A row of `num_samples.csv`, from what was measured of all slices."""
    values = Scores(*np.array(measured, float).T)
    ball = candidate.largest_ball()
    radius = math.nan
    if ball is not None:
        _, radius = ball
    return {
        "model": candidate.name,
        "num_samples": count,
        "radius": radius,
        "rmse_clean": _root_mean_square(values.clean),
        "rmse_attacked": _root_mean_square(values.attacked),
        "effect": float(values.effect.mean()),
        "spread": _root_mean_square(values.difference) / math.sqrt(2),
        "num_images": len(measured),
        "sigma": noise.get("sigma", math.nan),
        "noise": noise.get("law", ""),
    }


def _root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values))))
