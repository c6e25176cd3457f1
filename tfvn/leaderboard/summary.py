"""What is known of a row once it was measured: its model, flags and certificates, as a dict.

Seconds, versions and the machine are those of this moment. They are stored with all else, so that
another call tells the same.
"""

import hashlib
import os
import time

import numpy as np

from tfvn import attacks, data, provenance
from tfvn.leaderboard import addresses, store
from tfvn.results import certified, flagged, measure
from tfvn.results.aggregate import aggregate
from tfvn.results.candidates import cases
from tfvn.results.flags import row_of
from tfvn.results.probes import flags_of_model
from tfvn.runs import trained_on

__all__ = ["data_hash", "summary_of"]

# Calls of a model whose median is its time.
_TIMED_CALLS = 5
_ARRAYS = ("kspace", "sensitivity_maps", "mask")


def summary_of(entrant, config, training, rows):
    """All that is known of a row.

    Args:
        entrant: the `tfvn.leaderboard.entrant.Entrant`.
        config: the row's, which tells networks of other rows by their hashes and not by paths.
        training: the run directory of its training.
        rows: what was measured, as in `results.csv`.

    Returns:
        A dict that JSON knows: `rows`, `patients`, `hashes`, `model`, `flags`, `proved`,
        `certificates` and `origin`.
    """
    source = data.source(config, "test")
    loaded = measure.load(entrant._replace(attacks=[]))
    every = list(cases(config, source))
    middle = every[len(every) // 2]
    index = middle.inputs["sample_index"]
    probed = flags_of_model(loaded.model, middle.inputs, middle.reference, index)
    claims = certified.claimed(loaded.model)
    flags = flagged.flags_of_run(entrant, rows, claims, probed)
    hashes = {}
    for part in config.attacks:
        hashes[part.make(seed=config.seed).kind] = addresses.of_attack(part)
    return {
        "rows": rows,
        "patients": [str(source.patient(case.index)) for case in every],
        "hashes": {
            "row": os.path.basename(entrant.run_dir),
            "training": os.path.basename(training),
            "model": loaded.digest,
            "data": data_hash(every),
            "attacks": hashes,
        },
        "model": _model(loaded, config, _trained_on(entrant, training), middle),
        "flags": [row_of(entrant.name, flag) for flag in flags],
        "proved": _proved(claims, entrant, rows),
        "certificates": certified.certificates_of(aggregate(rows), rows, {entrant.name: claims}),
        "origin": provenance.origin(),
    }


def _proved(claims, entrant, rows):
    """The largest effect that is proved to be possible in each l2 ball, the error of a solver and
    all; nothing where nothing is proved. What holds with a probability does not count.
    """
    statistics = certified.seen_in(rows)
    radii = {size for kind, size in entrant.attacks if attacks.of(kind).bounded_in_l2}
    found = []
    for radius in sorted(radii):
        bounds = []
        for one in claims:
            if one.confidence == 1:
                bound = one.image_bound(statistics, np.array([radius]))
                bounds.append(float(np.squeeze(bound)))
        if bounds:
            found.append({"radius": radius, "bound": min(bounds)})
    return found


def data_hash(every):
    """The hash of the content of test slices, a list of `tfvn.results.candidates.Case`."""
    found = hashlib.sha256()
    for case in every:
        for array in (*(case.inputs[key] for key in _ARRAYS), case.reference):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _trained_on(entrant, training):
    """What `trained_on.json` says of the row's own network, with the gradients of all networks."""
    found = store.read_json(os.path.join(training, trained_on.NAME))
    if not found or "gradients" not in found:
        return found
    found["gradients"] = trained_on.gradients_of_all(training, entrant.config)
    if found["gradients"] is None:
        del found["gradients"]
    return found


def _parameters(model):
    """The number of trainable weights of a model in its defence, each once."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def _model(loaded, config, known, case):
    """What the model of a row is, and how long one of its answers takes."""
    return {
        "class": type(loaded.network).__name__,
        "parameters": _parameters(loaded.model),
        "draws": int(loaded.model.draws),
        "track": loaded.model.track,
        "seconds_a_slice": _seconds(loaded.model, case),
        "seed": config.seed,
        "settings": config.model.tree(),
        "defence": config.defence.tree(),
        "training": config.training.tree() if loaded.network.trainable_weights else {},
        "trained_on": known,
    }


def _seconds(model, case):
    """The seconds of one answer to a slice: the median of some calls."""
    keys = model.keys(case.inputs["sample_index"])
    inputs = model.measured(case.inputs)
    found = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        np.asarray(model.reconstruct(inputs, keys))
        found.append(time.perf_counter() - start)
    return float(f"{np.median(found):.3g}")
