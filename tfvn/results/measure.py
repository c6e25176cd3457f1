"""From one image to one row of `results.csv`.

All errors are those of magnitude images, in normalised units (docs/mathematics.md).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import metrics, projections
from tfvn.certificates import total_variation
from tfvn.results.rows import CLEAN, dataset_of

__all__ = ["DISTANCES", "Answer", "Loaded", "ask", "measure", "measure_slice"]

# The columns that hold ||A r||, by the norm.
DISTANCES = {"l2": "kspace_norm", "l1": "kspace_l1"}


class Loaded(NamedTuple):
    """A run's model, in memory.

    network: the trained network.
    model: what predicts: the network itself, or the network smoothed.
    digest: `directory.model_hash` of the network.
    """

    network: object
    model: object
    digest: str


class Answer(NamedTuple):
    """What a model answers to one perturbed measurement.

    kind, size: the attack; `CLEAN` and 0 without one.
    perturbation: r, complex (1, rows, width).
    image: f(k + A r), real (1, rows, width).
    draw_norm: the largest norm of a single draw; of a model without draws that of the image.
    """

    kind: str
    size: float
    perturbation: tf.Tensor
    image: tf.Tensor
    draw_norm: tf.Tensor


def measure_slice(trial, case, loaded):
    """The images and the rows of one slice, clean and under all attacks of a trial.

    Args:
        trial: the `Trial`.
        case: the `Case`.
        loaded: the `Loaded` model of the trial.

    Returns:
        A dict from the name of a dataset to the image, float32 (rows, width), and a list of rows.

    Raises:
        ValueError: if a reconstruction is not finite, or an attack is of another model or slice.
    """
    answers = list(_answers(trial, case, loaded))
    clean = answers[0]
    images, rows = {}, []
    for answer in answers:
        images[dataset_of(answer.kind, answer.size)] = answer.image[0].numpy()
        numbers = measure(loaded, case, answer, clean, trial.config)
        rows.append(_row(trial, case, answer, numbers))
    return images, rows


def _answers(trial, case, loaded):
    """Yields the `Answer` to the clean measurement, then those to the attacks."""
    zero_filled = loaded.model.zero_filled(case.inputs)
    nothing = tf.zeros_like(zero_filled)
    smoothed = bool(trial.config.sigma)
    for kind, size in [(CLEAN, 0.0), *trial.attacks]:
        perturbation = nothing
        if kind != CLEAN:
            shape = zero_filled.shape[1:]
            perturbation = trial.perturbation(kind, size, case, loaded.digest, shape)
        image, draw_norm = ask(loaded, case.inputs, zero_filled, perturbation, smoothed)
        if not np.isfinite(image).all():
            raise ValueError(
                f"{trial.run_dir}: the reconstruction of {case.name} ({dataset_of(kind, size)}) is"
                " not finite. Leave this run out, or train its network again with a lower learning"
                " rate."
            )
        yield Answer(kind, size, perturbation, image, draw_norm)


def ask(loaded, inputs, zero_filled, perturbation, smoothed):
    """A model's answer to k + A r, and the largest norm of a single draw."""
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    measured = {
        "sensitivity_maps": maps,
        "mask": mask,
        "sample_index": inputs["sample_index"],
        "zero_filled": zero_filled + loaded.network.sense.normal(perturbation, maps, mask),
    }
    if smoothed:
        return loaded.model.reconstruct_with_norm(measured)
    image = loaded.model.reconstruct(measured)
    return image, tf.norm(image, axis=[1, 2])


def measure(loaded, case, answer, clean, config):
    """The numbers of one answer, as a dict of floats in the order of the columns.

    Args:
        loaded: the `Loaded` model.
        case: the `Case`.
        answer, clean: the `Answer` to measure, and that to the clean measurement.
        config: the configuration of the model.
    """
    image, reference = answer.image, case.reference
    maps, mask = case.inputs["sensitivity_maps"], case.inputs["mask"]
    change = loaded.network.sense.forward(answer.perturbation, maps, mask)
    norm = tf.norm(tf.abs(answer.perturbation))
    image_norm = tf.norm(tf.abs(reference))
    distances = {column: projections.norm(change, kind) for kind, column in DISTANCES.items()}
    numbers = {
        "norm": norm,
        **distances,
        "total_variation": _variation(distances, config),
        "image_norm": image_norm,
        "relative_radius": norm / image_norm,
        "rmse": metrics.error_norm(image, reference),
        "nrmse": metrics.nrmse(image, tf.abs(reference)),
        "ssim": metrics.ssim(image, reference),
        "psnr": metrics.psnr(image, reference),
        "draw_norm": answer.draw_norm,
        "effect": tf.norm(image - clean.image),
    }
    return {key: float(np.squeeze(value)) for key, value in numbers.items()}


def _variation(distances, config):
    """The total variation at ||A r|| of a smoothed model; NaN of another one."""
    if not config.sigma:
        return math.nan
    column = DISTANCES[total_variation.NORMS[config.noise]]
    distance = float(distances[column][0])
    return total_variation.total_variation(distance, config.sigma, config.noise)


def _row(trial, case, answer, numbers):
    """A row of `results.csv`."""
    config = trial.config
    laddered = answer.kind == "antun"
    return {
        "model": trial.name,
        "slice": case.index,
        "name": case.name,
        "attack": answer.kind,
        "radius": math.nan if laddered else answer.size,
        "steps": answer.size if laddered else math.nan,
        **numbers,
        "sigma": config.sigma,
        "noise": config.noise if config.sigma else "",
        "num_samples": config.num_samples if config.sigma else 1,
        "seed": config.seed,
    }
