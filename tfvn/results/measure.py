"""From one image to one row of `results.csv`.

All errors are those of magnitude images, in normalised units (docs/mathematics.md).
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import attacks, metrics, projections, replicas
from tfvn.attacks.threats import IMAGE
from tfvn.models.base import Reconstructor, Statistics
from tfvn.physics import measurement
from tfvn.results.certified import DISTANCES, claimed, diameter_of
from tfvn.results.rows import CLEAN, dataset_of, size_columns
from tfvn.runs import elsewhere
from tfvn.runs.models import model_hash, network_of, splits_draws

__all__ = ["Answer", "Loaded", "check_finite", "load", "load_kept", "measure", "measure_slice"]


class Loaded(NamedTuple):
    """A run's model, in memory.

    network: the trained network.
    model: what predicts: the trained network, or a defence around it.
    digest: `tfvn.runs.models.model_hash` of the network.
    """

    network: Reconstructor
    model: Reconstructor
    digest: str


def load(candidate, strategy=None):
    """The `Loaded` model of a `Candidate`.

    With a `tf.distribute` strategy it is one over its replicas, if it has draws that these share.
    """
    with replicas.scope(strategy):
        network = network_of(candidate.run_dir, candidate.config)
    model = candidate.config.defended(network, strategy)
    if strategy is not None and not splits_draws(model):
        return load(candidate)
    return Loaded(network, model, model_hash(network))


def load_kept(candidate):
    """The same in a worker, which keeps it for its next tasks."""
    found = elsewhere.model_of(candidate.run_dir, candidate.config)
    return Loaded(found.network, found.predictor, model_hash(found.network))


class Answer(NamedTuple):
    """What a model answers to one perturbed measurement.

    kind, size: the attack; `CLEAN` and 0 without one.
    perturbation: the change: r, complex (1, rows, width), or that of another threat.
    statistics: what the draws of f(k + A r) show.
    """

    kind: str
    size: float
    perturbation: tf.Tensor
    statistics: Statistics

    @property
    def image(self):
        """f(k + A r), real (1, rows, width)."""
        return self.statistics.mean


def measure_slice(candidate, case, loaded):
    """The images and the rows of one slice, clean and under all attacks of a candidate.

    Args:
        candidate: the `Candidate`.
        case: the `Case`.
        loaded: the `Loaded` model of the candidate.

    Returns:
        A dict from the name of a dataset to the image, float32 (rows, width), and a list of rows.

    Raises:
        ValueError: if a reconstruction is not finite, or an attack is of another model or slice.
    """
    images, rows = {}, []
    # Once: a model may have to look at all its weights to know what is proved.
    claims = claimed(loaded.model)
    clean = _clean_answer(case, loaded.model)
    for answer in [clean, *_attacked_answers(candidate, case, loaded)]:
        attacked = {"attack": answer.kind, **size_columns(answer.kind, answer.size)}
        what = f"{case.name} ({dataset_of(attacked)})"
        check_finite(candidate, what, answer.image)
        numbers = measure(loaded.model, case, answer, clean, claims)
        row = _row(candidate, case, loaded.model, answer, numbers)
        images[dataset_of(row)] = answer.image[0].numpy()
        rows.append(row)
    return images, rows


def _clean_answer(case, model):
    """The `Answer` to the measurement as it is."""
    nothing = tf.zeros_like(measurement.zero_filled(model.sense, case.inputs))
    statistics = model.statistics(case.inputs, model.keys(case.inputs["sample_index"]))
    return Answer(CLEAN, 0.0, nothing, statistics)


def _attacked_answers(candidate, case, loaded):
    """Yields the `Answer` to each attack."""
    model = loaded.model
    given = model.measured(case.inputs)
    keys = model.keys(case.inputs["sample_index"])
    for kind, size in candidate.attacks:
        changes = attacks.of(kind).changes
        like = changes.zero(model.sense, case.inputs)
        perturbation = candidate.perturbation(kind, size, case, loaded.digest, like)
        known = changes.known(model.sense, case.inputs, case.reference)
        changed = changes.enter(model.sense, given, perturbation, known)
        yield Answer(kind, size, perturbation, model.statistics(changed, keys))


def check_finite(candidate, what, image):
    """Checks that a reconstruction is finite.

    Args:
        candidate: the `Candidate`.
        what: the name of the slice and, where it has one, of the attack.
        image: the reconstruction.

    Raises:
        ValueError: if it is not.
    """
    if not np.isfinite(image).all():
        raise ValueError(
            f"{candidate.run_dir}: the reconstruction of {what} is not finite. Leave this run out,"
            " or train its network again with a lower learning rate."
        )


def measure(model, case, answer, clean, claims=()):
    """The numbers of one answer, as a dict of floats in the order of the columns.

    Args:
        model: the model that answered.
        case: the `Case`.
        answer, clean: the `Answer` to measure, and that to the clean measurement.
        claims: what is claimed of the model, a list of `Certificate`.
    """
    changes = IMAGE if answer.kind == CLEAN else attacks.of(answer.kind).changes
    known = changes.known(model.sense, case.inputs, case.reference)
    change = changes.in_kspace(model.sense, case.inputs, answer.perturbation, known)
    # The images that the answer is compared with.
    along = answer.perturbation, known
    reference = changes.follow(case.reference, *along, is_truth=True)
    unchanged = changes.follow(clean.image, *along, is_truth=False)
    image = answer.image
    norm = changes.amount(answer.perturbation)
    image_norm = tf.norm(tf.abs(reference))
    distances = dict.fromkeys(DISTANCES, tf.constant([math.nan]))
    if change is not None:
        distances = {kind: projections.norm(change, kind) for kind in DISTANCES}
    numbers = {
        "norm": norm,
        **{DISTANCES[kind]: distance for kind, distance in distances.items()},
        "total_variation": _share(claims, answer.statistics, distances),
        "image_norm": image_norm,
        "relative_radius": norm / changes.full_size(case.inputs, reference),
        "rmse": metrics.error_norm(image, reference),
        "nrmse": metrics.nrmse(image, tf.abs(reference)),
        "ssim": metrics.ssim(image, reference),
        "psnr": metrics.psnr(image, reference),
        "draw_norm": answer.statistics.largest_norm,
        "operator_norm": model.sense.norm_bound(
            case.inputs["sensitivity_maps"], case.inputs["mask"]
        ),
        "effect": tf.norm(image - unchanged),
    }
    numbers = {key: float(np.squeeze(value)) for key, value in numbers.items()}
    return {**numbers, "missed": changes.missed(numbers["effect"], numbers["norm"])}


def _share(claims, statistics, distances):
    """What the first claim allows at ||A r||, as a share of the diameter of the model's range.

    Of a smoothed model it is the total variation. NaN without claims, and of a change of A, of
    which nothing is claimed.
    """
    if not claims:
        return math.nan
    distance = np.asarray(distances[claims[0].norm], float)
    if np.isnan(distance).any():
        return math.nan
    bound = claims[0].bound(statistics, distance)
    return bound / diameter_of(statistics)


def _row(candidate, case, model, answer, numbers):
    """A row of `results.csv`."""
    identity = model.identity
    return {
        "model": candidate.name,
        "slice": case.index,
        "name": case.name,
        "attack": answer.kind,
        **size_columns(answer.kind, answer.size),
        **numbers,
        "sigma": identity.get("sigma", 0.0),
        "noise": identity.get("law", ""),
        "num_samples": model.draws or 1,
        "seed": candidate.config.seed,
        "track": model.track,
        "gradients": candidate.gradients,
    }
