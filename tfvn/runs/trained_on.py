"""Do a scan and a network belong together? What a network was trained on is kept, and compared.

A network knows its sampling, its resolution and its scale of brightness. On another it invents
texture or leaves aliasing in, and nothing in its image tells. `trained_on.json` of a run directory
says, of some of its training slices:

    sampled         share of k-space where the mask is 1
    centre_lines    of the mask, without a gap
    points          whether the mask is one of points, not of lines
    height, width   of k-space
    rms             root mean square of |A^H k|, whose maximum is 1

Beside it stands `gradients`: how many gradients of a slice its training takes, with that of its
initial weights. It is left out where theirs is not known. Of the other networks of a defence it
holds nothing: each has a file of its own.

Of runs that have none the configuration tells some of it. Nothing is said where nothing is known.
"""

import contextlib
import json
import os
import warnings

import numpy as np

from tfvn import config as configuration
from tfvn import data
from tfvn.checks import DataWarning
from tfvn.data.centre import lines_of
from tfvn.data.sample import combine, ifft2c, mask_array
from tfvn.defences.networks import files_of
from tfvn.files import replacing
from tfvn.runs import directory

__all__ = [
    "NAME",
    "describe",
    "differences",
    "gradients",
    "gradients_of_all",
    "known",
    "warn",
    "warn_of_data",
    "warn_of_trained_slices",
    "write",
    "write_untrained",
]

NAME = "trained_on.json"
# So many training slices are looked at, from first to last.
_SLICES = 8
# A scan is another where a number differs by such a factor or more, either way. The images have a
# maximum of 1; the slices of one protocol differ by 1.5 in their root mean square.
_FACTORS = {"sampled": 1.5, "centre_lines": 2, "height": 1.5, "width": 1.5, "rms": 3}
# The share of sampled lines hardly depends on the width. Where that is unknown, this one is taken.
_SOME_WIDTH = 368
_ADVICE = {
    "sampled": (
        "Undersample a complete scan as in training (sampling.mask, --mask), or take a network that"
        " was trained for this sampling. Where whole rows are measured, exchange height and width"
        " (data.transpose, --transpose)."
    ),
    "size": "Its filters have learned structures of another size in pixels.",
    "rms": (
        "A single bright spot scales all else down; sigma and radii are in units of the maximum."
    ),
}


def describe(sample, readout_oversampling=False):
    """What is compared of one normalised slice: the dict of the module's text.

    Args:
        sample: a `tfvn.data.Sample` with max |A^H k| = 1.
        readout_oversampling: the image is the central half of the height.
    """
    height, width = sample.kspace.shape[1:]
    image = combine(ifft2c(sample.kspace), sample.sensitivity_maps, readout_oversampling)
    rms = float(np.sqrt(np.mean(np.abs(image) ** 2)))
    return {**_of_mask(sample.mask), "height": height, "width": width, "rms": rms}


def _of_mask(mask):
    """What is known of a mask (1, height or 1, width)."""
    lines = mask[0].all(0)
    return {
        "sampled": float(mask.mean()),
        "centre_lines": _centre_lines(lines),
        "points": bool(mask.shape[-2] > 1),
    }


def _centre_lines(lines):
    """How many lines around the centre are sampled without a gap."""
    count = 0
    while count < len(lines) and lines[lines_of(len(lines), count + 1)].all():
        count += 1
    return count


def write(run_dir, config, own_gradients=None):
    """Writes `trained_on.json` into a run directory, unless it is there.

    It holds medians over some slices. Of a run that uses a given network it holds what is known of
    that one.

    Args:
        run_dir, config: the run.
        own_gradients: how many gradients of a slice its own training takes; None: unknown.

    Raises:
        ValueError: as `tfvn.data.source`, and if the file cannot be written.
    """
    path = os.path.join(run_dir, NAME)
    if os.path.exists(path):
        return
    given = config.model.file
    found = known(given) if given else {**_of_slices(config), **_effort(config, own_gradients)}
    if found:
        _store(path, found)


def _effort(config, own_gradients):
    """The entry `gradients` as a dict, empty where it is not known."""
    before = 0
    if config.training.initial_weights:
        before = gradients(config.training.initial_weights)
    if own_gradients is None or before is None:
        return {}
    return {"gradients": own_gradients + before}


def gradients(model_path):
    """How many gradients of a slice the training of a model takes; None where that is unknown.

    Args:
        model_path: as for `known`.
    """
    found = known(model_path).get("gradients")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def gradients_of_all(run_dir, config):
    """How many gradients of a slice the trainings of all networks of a run take; None where that of
    one is unknown.

    They are those of its own network and of the networks of its defence, added up. A start that
    several of them have in common counts for each.

    Args:
        run_dir: the run directory, with the run's own network.
        config: its `tfvn.config.Config`.
    """
    paths = [run_dir, *files_of(config.defence.tree())]
    found = [gradients(path) for path in paths]
    return None if None in found else sum(found)


def write_untrained(run_dir):
    """Writes that the model of a run was trained on nothing: it belongs to every scan.

    Raises:
        ValueError: if the file cannot be written.
    """
    _store(os.path.join(run_dir, NAME), {})


def _store(path, found):
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)


def _of_slices(config):
    readout_oversampling = config.dataset.readout_oversampling
    slices = data.PreparedSlices(data.source(config), config.data.cache_dir)
    rows = []
    # Of a few slices each is taken once.
    for index in np.unique(np.linspace(0, len(slices) - 1, _SLICES).astype(int)).tolist():
        sample, _ = slices[index]
        rows.append(describe(sample, readout_oversampling))
    found = {
        "dataset": config.data.name,
        "slices": len(rows),
        "readout_oversampling": readout_oversampling,
    }
    for name in rows[0]:
        found[name] = np.median([row[name] for row in rows]).item()
    return {**found, "points": bool(found["points"])}


def known(model_path):
    """What is known of the data that a network was trained on: some of the module's dict.

    Args:
        model_path: a run directory, or a model's file in one.
    """
    is_run = os.path.isdir(model_path)
    folder = model_path
    if not is_run:
        folder = os.path.dirname(model_path)
    found = _stored(os.path.join(folder, NAME))
    if found is not None:
        return found
    if is_run or os.path.basename(model_path) == directory.MODEL:
        return _of_config(os.path.join(folder, directory.CONFIG))
    return {}


def _stored(path):
    """What was written; None where that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return {}
    return found


def _of_config(path):
    """What the configuration of a run tells, if it trained its network itself."""
    # A folder may hold a config.yaml of anything, and a mask may be gone: then nothing is known.
    with contextlib.suppress(OSError, ValueError):
        config = configuration.load(path)
        mask = config.dataset.read_mask()
        if config.model.file:
            return {}
        size = config.dataset.kspace_size()
        if size:
            return _of_size_and_mask(*size, mask)
        if callable(mask):
            return {"sampled": _of_mask(mask_array(mask, 1, _SOME_WIDTH))["sampled"]}
    return {}


def _of_size_and_mask(height, width, mask):
    """What is known where every k-space has one size."""
    if mask is None:
        mask = np.ones(width)
    return {"height": height, "width": width, **_of_mask(mask_array(mask, height, width))}


def differences(network, scan):
    """Sentences, with numbers, on what differs much.

    Args:
        network: what `known` found.
        scan: what `describe` gave.
    """
    found = []
    sampling = _difference_of_sampling(network, scan)
    if sampling:
        found.append(f"{sampling}. {_ADVICE['sampled']}")
    for name in ("height", "width"):
        if _differ(network, scan, name):
            found.append(
                f"the network was trained on k-space of {name} {network[name]:.0f}, and that of "
                f"the scan is {scan[name]}. {_ADVICE['size']}"
            )
    if _differ(network, scan, "rms"):
        found.append(
            "the zero-filled images of the training had a root mean square of "
            f"{network['rms']:.3f} at a maximum of 1, that of the scan has {scan['rms']:.3f}. "
            f"{_ADVICE['rms']}"
        )
    return found


def _difference_of_sampling(network, scan):
    """What differs most in the sampling; "" where nothing does."""
    if network.get("points") is False and scan["points"]:
        return "the network was trained on masks of lines, and the scan samples points"
    if _differ(network, scan, "sampled"):
        return (
            f"the network was trained with {network['sampled']:.0%} of k-space sampled, and of the "
            f"scan {scan['sampled']:.0%} is"
        )
    if _differ(network, scan, "centre_lines"):
        return (
            f"the network was trained with {network['centre_lines']:.0f} centre lines, and the "
            f"scan has {scan['centre_lines']}"
        )
    return ""


def _differ(network, scan, name):
    there = network.get(name)
    here = scan[name]
    is_number = isinstance(there, (int, float)) and not isinstance(there, bool)
    if not is_number or not there > 0 or not here > 0:
        return False
    return max(there / here, here / there) > _FACTORS[name]


def warn(model_path, sample, name, readout_oversampling=False):
    """Warns where a scan is unlike what the network was trained on.

    Args:
        model_path: as for `known`.
        sample: a normalised `tfvn.data.Sample`.
        name: of the slice, for the message.
        readout_oversampling: the image is the central half of the height.

    Warns:
        DataWarning: for each difference, with its numbers.
    """
    network = known(model_path)
    if not network:
        return
    for sentence in differences(network, describe(sample, readout_oversampling)):
        warnings.warn(f"{name}: {sentence}", DataWarning, stacklevel=2)


def warn_of_data(model_path, config):
    """Warns as `warn`, of the middle one of the slices that a configuration tests on.

    Raises:
        ValueError: as `tfvn.data.source`, and as its slice.
    """
    if known(model_path):
        source = data.source(config, "test")
        index = len(source) // 2
        sample, _ = data.PreparedSlices(source, config.data.cache_dir)[index]
        warn(model_path, sample, source.name(index), config.dataset.readout_oversampling)


def warn_of_trained_slices(config, scans=False):
    """Warns where slices to test on trained the given model, as its run directory tells.

    Args:
        config: the configuration.
        scans: whether to warn also of slices of patients of whom others trained the network. It is
            the given one, or that of the configuration itself.

    Warns:
        DataWarning: with the number of these slices and the name of the first one.
    """
    model_path = config.model.file
    tested = config.dataset.identities("test")
    known_slices = set(_trained(config)) if model_path or scans else set()
    if model_path:
        both = [identity for identity in tested if identity in known_slices]
        _warn_of(both, tested, f"trained the model {model_path}", "others")
    if scans:
        # The last of its names is the number of the slice.
        known_scans = {identity[:-1] for identity in known_slices}
        others = [x for x in tested if x not in known_slices and x[:-1] in known_scans]
        what = "are of patients of whom other slices trained the network"
        _warn_of(others, tested, what, "other patients")


def _warn_of(found, tested, what, others):
    """Warns of the slices that were found among those to test on, if there are any."""
    if found:
        first = " ".join(map(str, found[0][1:]))
        text = (
            f"{len(found)} of {len(tested)} slices to test on {what}, the first {first}: errors on"
            f" {others} will be larger."
        )
        warnings.warn(text, DataWarning, stacklevel=3)


def _trained(config):
    """What names the slices that trained the network of a configuration; none if unknown."""
    model_path = config.model.file
    if not model_path:
        return config.dataset.identities("train")
    try:
        trained = configuration.load(os.path.join(os.path.dirname(model_path), directory.CONFIG))
    except (OSError, ValueError):
        # It has none, or one of another version.
        return []
    # A run whose model was given has trained nothing.
    return [] if trained.model.file else trained.dataset.identities("train")
