"""What `evaluate.py` does: the paper's Table 1 and Figures 1 to 3, from run directories of trained, attacked models.

    results.csv           a row per image: model, slice, radius
    table1.csv, table1.md model x radius
    figure1.png           the data: k-space and map of one coil, zero-filled image, ground truth
    figure2.png           perturbation effect and error against ||r||
    figure3.png           the middle slice as every model sees it
    reconstructions.h5    slices/slice_I/{zero_filled, reference}, models/NAME/slice_I/{clean, radius_R}: magnitudes in
                          normalised units; times the slice's attribute `scale` they are in the scanner's units

All errors are those of magnitude images, in normalised units (DESIGN.md, section 1).
"""
import csv
import dataclasses
import math
import os
from typing import NamedTuple

import h5py
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfvn import config as configs
from tfvn import data, figures, metrics, runs
from tfvn.data.sample import image_rows
from tfvn.operators import Sense

_FIELDS = [field.name for field in dataclasses.fields(configs.Config)]
# What decides which slices are tested and how they are sampled, equal in all runs of one table: all keys of the schema's
# first two sections but those of the training set and the one that changes no data.
TEST_DATA_KEYS = tuple(
    name for name in _FIELDS[: _FIELDS.index("model")] if name not in ("train_patients", "train_slices", "num_train", "cache_dir")
)
# Attacks may differ in these: the rest of their settings must agree in one table.
_OWN_SETTINGS = ("radius", "sigma", "num_samples", "seed")

_FILES = ("reconstructions.h5", "results.csv", "table1.csv", "table1.md", "figure1.png", "figure2.png", "figure3.png")
_MEANS = ("ssim", "nrmse", "psnr", "norm", "kspace_norm", "image_norm", "relative_radius", "effect")


class _Run(NamedTuple):
    name: str
    run_dir: str
    config: configs.Config
    radii: list


def evaluate(run_dirs, output, overrides=()):
    """Evaluates the models of several runs on their common test slices, clean and under all of their attacks.

    A row of `results.csv` is one image f(k + A r). Its columns: `model`, `slice`, `name`, `radius` (0: clean), `norm` =
    ||r||_2, `kspace_norm` = ||A r||_2, `image_norm` = ||y||_2, `relative_radius` = norm / image_norm, `rmse` = || f -
    |y| ||_2 (what a set's RMSE is the root mean square of), `nrmse` = rmse / image_norm (of magnitudes, other than the
    original code's, which is of complex images), `ssim`, `psnr`, `effect` = ||f(k + A r) - f(k)||_2, and the `sigma`,
    `num_samples` and `seed` of the model. Without a reference the columns that need one are empty.

    Args:
        run_dirs: run directories of trained networks, in the order of the table. One without attacks has
            clean rows only.
        output: directory for the results, made if need be. Files of an earlier evaluation are replaced.
        overrides: smoothing settings other than those of the runs, such as `["num_samples=100"]`.

    Returns:
        The paths of all files written; they are printed too, and at the end the table.

    Raises:
        ValueError: if a run is not trained or its attacks are unfinished or of another model, or if the runs have
            different test data. No file is written then.
    """
    trials = _open(run_dirs, overrides)
    source = data.source(trials[0].config, "test")
    names = [source.name(index) for index in range(len(source))]
    _check_attacks(trials, len(names))
    paths = [os.path.join(output, name) for name in _FILES]
    os.makedirs(output, exist_ok=True)
    rows, examples = [], []
    total = len(names) * sum(1 + len(trial.radii) for trial in trials)
    bar = tqdm(total=total, unit="image")
    with runs.replacing(paths[0]) as temporary, bar, h5py.File(temporary, "w") as file:
        shown = _write_slices(file, trials[0].config, names)
        for trial in trials:
            bar.set_description(f"evaluate {trial.name}")
            examples.append(_evaluate_run(trial, names, file, rows, bar))
    table = aggregate(rows)
    text = markdown(table)
    writers = (
        lambda path: _write_csv(path, rows),
        lambda path: _write_csv(path, table),
        lambda path: _write_text(path, text),
        lambda path: figures.figure1(path, *shown),
        lambda path: figures.figure2(path, rows),
        lambda path: figures.figure3(path, shown[2], examples),
    )
    for path, write in zip(paths[1:], writers):
        with runs.replacing(path) as temporary:
            write(temporary)
    for path in paths:
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def aggregate(rows):
    """Table 1 as a list of dicts, one a model and radius, from the rows of `evaluate`.

    `rmse` is sqrt(mean_i rmse_i^2), `effect_25` and `effect_75` are percentiles, the other numbers means, over the
    images that have the number; NaN where none has.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["radius"]), []).append(row)
    table = []
    for (model, radius), group in groups.items():
        values = {key: np.array([row[key] for row in group], float) for key in _MEANS + ("rmse",)}
        values = {key: array[~np.isnan(array)] for key, array in values.items()}
        means = {key: float(array.mean()) if array.size else math.nan for key, array in values.items()}
        effects = np.percentile(values["effect"], [25, 75])
        table.append({
            "model": model,
            "radius": radius,
            "rmse": float(np.sqrt(np.mean(values["rmse"] ** 2))) if values["rmse"].size else math.nan,
            **{key: means[key] for key in _MEANS},
            "effect_25": float(effects[0]),
            "effect_75": float(effects[1]),
            "num_images": len(group),
            **{key: group[0][key] for key in ("sigma", "num_samples", "seed")},
        })  # fmt: skip
    return table


def markdown(table):
    """Table 1 as Markdown: RMSE and SSIM, then mean perturbation effects, model by radius; aligned, to be read as text.

    Args:
        table: the list of dicts of `aggregate`.
    """
    cells = {(entry["model"], entry["radius"]): entry for entry in table}
    models = list(dict.fromkeys(entry["model"] for entry in table))
    radii = sorted({entry["radius"] for entry in table})
    image_norm = table[0]["image_norm"]
    heads = ["clean"] + [f"radius {radius:g}{_percent(radius / image_norm)}" for radius in radii[1:]]

    def cell(model, radius, key, digits):
        return digits(cells[model, radius][key]) if (model, radius) in cells else "-"

    errors = [["model", *(text for head in heads for text in (head, ""))], ["", *(("RMSE", "SSIM") * len(radii))]]
    effects = [["model", "sigma", "K", *heads[1:]]]
    for model in models:
        pairs = [(cell(model, radius, "rmse", _digits), cell(model, radius, "ssim", _decimals)) for radius in radii]
        errors.append([model, *(text for pair in pairs for text in pair)])
        first = cells[model, radii[0]]
        samples = str(first["num_samples"]) if first["sigma"] else "-"
        means = [cell(model, radius, "effect", _digits) for radius in radii[1:]]
        effects.append([model, f"{first['sigma']:g}", samples, *means])
    count = table[0]["num_images"]
    return (
        f"Error of the reconstructions\n\n{_aligned(errors)}\n"
        f"Mean perturbation effect\n\n{_aligned(effects)}\n"
        "RMSE: sqrt(mean || f - |y| ||_2^2); effect: || f(k + A r) - f(k) ||_2 with ||r||_2 <= radius (in %: of the "
        "mean ||y||_2); sigma: k-space noise of training and smoothing; K: draws of the smoothed prediction; "
        f"{count} {'slice' if count == 1 else 'slices'}, normalised to max |A^H k| = 1.\n"
    )


def _aligned(lines):
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], rule, *rows[1:]])


def _digits(value):
    """Three significant digits, no exponent for large values."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _decimals(value):
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(share):
    return "" if math.isnan(share) else f" ({100 * share:.2g} %)" if share < 0.1 else f" ({100 * share:.0f} %)"


def _open(run_dirs, overrides):
    """The runs, named and checked to have the same test data."""
    trials = []
    for name, run_dir in zip(_names(run_dirs), run_dirs):
        # With overrides, opening would make a new run of a mistyped directory.
        if not os.path.exists(os.path.join(run_dir, "config.yaml")):
            raise ValueError(f"{run_dir} holds no run: there is no config.yaml. Train or attack a network there first.")
        config = runs.open_run(run_dir, None, overrides)
        first = trials[0].config if trials else config
        different = [key for key in TEST_DATA_KEYS if getattr(config, key) != getattr(first, key)]
        if different:
            pairs = ", ".join(f"{key}={getattr(config, key)!r} (there: {getattr(first, key)!r})" for key in different)
            raise ValueError(
                f"{run_dir} and {trials[0].run_dir} have different test data: {pairs}. "
                "One table compares models on the same slices: evaluate these runs one by one."
            )
        trials.append(_Run(name, run_dir, config, [radius for radius in runs.attacked_radii(run_dir) if radius > 0]))
    return trials


def _names(run_dirs):
    """Names of the runs: their directories' names, or as many last parts of the paths as tell them apart."""
    parts = [os.path.realpath(run_dir).split(os.sep) for run_dir in run_dirs]
    for depth in range(1, max(len(p) for p in parts) + 1):
        names = ["-".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the run directories must be different. Received: {list(run_dirs)}")


def _check_attacks(trials, count):
    """Before any work: are the attack files of every slice there, and of one attack?"""
    for trial in trials:
        for radius in trial.radii:
            missing = [i for i in range(count) if not os.path.exists(runs.attack_path(trial.run_dir, radius, i))]
            if missing:
                raise ValueError(
                    f"{runs.attack_path(trial.run_dir, radius, missing[0])} is missing, and {len(missing) - 1} more of "
                    f"{count} slices: attack.py has not finished. Run: python attack.py --run-dir {trial.run_dir}"
                )
    first = None
    for path in (runs.attack_path(trial.run_dir, radius, 0) for trial in trials for radius in trial.radii):
        settings = {k: v for k, v in runs.read_attack(path)["settings"].items() if k not in _OWN_SETTINGS}
        first = first or (path, settings)
        if settings != first[1]:
            raise ValueError(
                f"{path} and {first[0]} were made by different attacks: {settings} and {first[1]}. One table compares "
                "models under the same attack: evaluate these runs one by one."
            )


def _write_slices(file, config, names):
    """Writes the images that are the same for all models. Returns the arguments of figure 1, of the middle slice."""
    sense = Sense(config.readout_oversampling)
    for index, (inputs, reference) in enumerate(data.iterate(data.load(config, "test"))):
        zero_filled = sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])[0].numpy()
        group = file.create_group(f"slices/{_key(index)}")
        group.attrs.update(name=names[index], scale=float(inputs["scale"][0]))
        images = {"zero_filled": zero_filled}
        reference = reference[0].numpy()
        if np.isfinite(reference).all():
            images["reference"] = reference
        for name, image in images.items():
            _write_image(group, name, np.abs(image))
        if index == len(names) // 2:
            kspace, maps = inputs["kspace"][0].numpy(), inputs["sensitivity_maps"][0].numpy()
            coil = np.square(np.abs(kspace)).sum((1, 2)).argmax()
            rows = image_rows(maps.shape[1], config.readout_oversampling)
            shown = kspace[coil], maps[coil, rows], images.get("reference"), zero_filled
    return shown


def _evaluate_run(trial, names, file, rows, bar):
    """Evaluates one run: adds to `rows` and `file`. Returns the middle slice as a row of figure 3."""
    config = trial.config
    network = runs.network_of(trial.run_dir, config)
    digest = runs.model_hash(network)
    model = runs.predictor(network, config)
    for index, (inputs, reference) in enumerate(data.iterate(data.load(config, "test"))):
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        zero_filled = model.zero_filled(inputs)
        group = file.create_group(f"models/{trial.name}/{_key(index)}")
        group.attrs.update(name=names[index], scale=float(inputs["scale"][0]))
        clean = clean_scores = None
        for radius in (0.0, *trial.radii):
            if radius:
                scale = float(inputs["scale"][0])
                perturbation = _perturbation(trial, radius, index, names[index], digest, scale, zero_filled.shape)
            else:
                perturbation = tf.zeros_like(zero_filled)
            measured = {
                "sensitivity_maps": maps,
                "mask": mask,
                "sample_index": inputs["sample_index"],
                "zero_filled": zero_filled + network.sense.normal(perturbation, maps, mask),
            }
            image = model.reconstruct(measured)
            clean = clean if radius else image
            norm, image_norm = tf.norm(tf.abs(perturbation)), tf.norm(tf.abs(reference))
            numbers = {
                "norm": norm,
                "kspace_norm": tf.norm(tf.abs(network.sense.forward(perturbation, maps, mask))),
                "image_norm": image_norm,
                "relative_radius": norm / image_norm,
                "rmse": metrics.error_norm(image, reference),
                "nrmse": metrics.nrmse(image, tf.abs(reference)),
                "ssim": metrics.ssim(image, reference),
                "psnr": metrics.psnr(image, reference),
                "effect": tf.norm(image - clean),
            }
            rows.append({
                "model": trial.name,
                "slice": index,
                "name": names[index],
                "radius": radius,
                **{key: float(np.squeeze(value)) for key, value in numbers.items()},
                "sigma": config.sigma,
                "num_samples": config.num_samples if config.sigma else 1,
                "seed": config.seed,
            })  # fmt: skip
            scores = rows[-1]["rmse"], rows[-1]["ssim"]
            clean_scores = scores if clean_scores is None else clean_scores
            _write_image(group, f"radius_{radius:g}" if radius else "clean", image[0].numpy())
            bar.update()
        if index == len(names) // 2:
            # The last radius is the largest.
            attack = (radius, perturbation[0].numpy(), image[0].numpy(), scores) if trial.radii else ()
            example = figures.Example(trial.name, clean[0].numpy(), clean_scores, *attack)
    return example


def _perturbation(trial, radius, index, name, digest, scale, shape):
    """The stored r of one slice, (1, rows, width)."""
    path = runs.attack_path(trial.run_dir, radius, index)
    attack = runs.read_attack(path, digest=digest, scale=scale)
    if attack.get("name", name) != name or attack["perturbation"].shape != tuple(shape[1:]):
        raise ValueError(
            f"{path}: made for the slice {attack.get('name')!r} of shape {attack['perturbation'].shape}, and this is "
            f"{name!r} of shape {tuple(shape[1:])}. The test data have changed: remove that folder, attack again."
        )
    return tf.convert_to_tensor(attack["perturbation"])[None]


def _key(index):
    return f"slice_{index:05d}"


def _write_image(group, name, image):
    group.create_dataset(name, data=image.astype(np.float32), compression="gzip", shuffle=True)


def _write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _csv_field(value) for key, value in row.items()} for row in rows)


def _csv_field(value):
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8g}"


def _write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
