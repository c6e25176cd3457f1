"""Do a scan and a network belong together? What a network was trained on is kept, and compared.

A network knows its sampling, its resolution and its scale of brightness. On another it invents
texture or leaves aliasing in, and nothing in its image tells. `trained_on.json` of a run directory
says, of some of its training slices:

    sampled         share of k-space where the mask is 1
    centre_lines    of the mask, without a gap
    points          whether the mask is one of points, not of lines
    height, width   of k-space
    rms             root mean square of |A^H k|, whose maximum is 1

Of runs that have none the configuration tells some of it. Nothing is said where nothing is known.
"""

import json
import os
import warnings

import numpy as np

from tfvn import config as configuration
from tfvn import data
from tfvn.checks import DataWarning
from tfvn.data.sample import combine, ifft2c, mask_array
from tfvn.files import replacing

__all__ = ["NAME", "describe", "differences", "known", "warn", "warn_of_data", "write"]

NAME = "trained_on.json"
# So many training slices are looked at, from first to last.
_SLICES = 8
# Factors, either way, from which a scan is another. Of images that have a maximum of 1 the slices
# of one protocol differ by 1.5 in their root mean square.
_SAMPLED, _CENTRE, _SIZE, _RMS = 1.5, 2, 1.5, 3
# Of which the share of sampled lines is told where the width is not known: it hardly depends on it.
_SOME_WIDTH = 368
_ADVICE = {
    "sampled": (
        "Undersample a complete scan as in training (mask, --mask), or take a network that was "
        "trained for this sampling. Where whole rows are measured, exchange height and width "
        "(transpose, --transpose)."
    ),
    "size": "Its filters have learned structures of another size in pixels.",
    "rms": (
        "A single bright spot scales all else down; sigma and radii are in units of the maximum."
    ),
}


def describe(sample, readout_oversampling=False):
    """What is compared, of one normalised slice: a dict, see the module's text.

    Args:
        sample: a `tfvn.data.Sample` with max |A^H k| = 1.
        readout_oversampling: the image is the central half of the height.
    """
    height, width = sample.kspace.shape[1:]
    image = combine(ifft2c(sample.kspace), sample.sensitivity_maps, readout_oversampling)
    rms = float(np.sqrt(np.mean(np.abs(image) ** 2)))
    return {**_of_mask(sample.mask), "height": height, "width": width, "rms": rms}


def _of_mask(mask):
    width = mask.shape[-1]
    lines = mask[0].all(0)
    centre = 0
    while centre < width and lines[_centre(width, centre + 1)].all():
        centre += 1
    points = bool(mask.shape[-2] > 1)
    return {"sampled": float(mask.mean()), "centre_lines": centre, "points": points}


def _centre(width, lines):
    return slice(width // 2 - lines // 2, width // 2 - lines // 2 + lines)


def write(run_dir, config):
    """Writes `trained_on.json` into a run directory, unless it is there: medians over some slices.

    Of a run that uses a given network it is what is known of that one.

    Raises:
        ValueError: as `tfvn.data.source`, and if the file cannot be written.
    """
    path = os.path.join(run_dir, NAME)
    if os.path.exists(path):
        return
    found = known(config.model) if config.model else _of_slices(config)
    if found:
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


def _of_slices(config):
    slices = data.PreparedSlices(data.source(config), config.cache_dir)
    indices = np.unique(np.linspace(0, len(slices) - 1, _SLICES).astype(int))
    rows = [describe(slices[index][0], config.readout_oversampling) for index in indices.tolist()]
    found = {"dataset": config.dataset, "slices": len(rows)}
    found["readout_oversampling"] = config.readout_oversampling
    for name in rows[0]:
        found[name] = np.median([row[name] for row in rows]).item()
    return {**found, "points": bool(found["points"])}


def known(model_path):
    """What is known of the data that a network was trained on: some of the module's dict.

    Args:
        model_path: a run directory, or a model's file in one.
    """
    folder = model_path if os.path.isdir(model_path) else os.path.dirname(model_path)
    try:
        with open(os.path.join(folder, NAME), encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        pass
    if folder == model_path or os.path.basename(model_path) == "model.keras":
        return _of_config(os.path.join(folder, "config.yaml"))
    return {}


def _of_config(path):
    """What the configuration of a run tells, if it trained its network itself."""
    try:
        config = configuration.load(path)
        mask = data.pipeline.mask_of(config)
        if config.model:
            return {}
        if config.dataset == "synthetic":
            size = {"height": config.height, "width": config.width}
            mask = np.ones(config.width) if mask is None else mask
            return {**size, **_of_mask(mask_array(mask, config.height, config.width))}
        if callable(mask):
            return {"sampled": _of_mask(mask_array(mask, 1, _SOME_WIDTH))["sampled"]}
    # A folder may hold a config.yaml of anything, and a mask may be gone: then nothing is known.
    except (OSError, ValueError):
        pass
    return {}


def differences(network, scan):
    """Sentences, with numbers, on what differs much.

    Args:
        network: what `known` found.
        scan: what `describe` gave.
    """
    found = []
    if network.get("points") is False and scan["points"]:
        found.append(
            "the network was trained on masks of lines, and the scan samples points. "
            f"{_ADVICE['sampled']}"
        )
    elif _differ(network, scan, "sampled", _SAMPLED):
        found.append(
            f"the network was trained with {network['sampled']:.0%} of k-space sampled, and of the "
            f"scan {scan['sampled']:.0%} is. {_ADVICE['sampled']}"
        )
    elif _differ(network, scan, "centre_lines", _CENTRE):
        found.append(
            f"the network was trained with {network['centre_lines']:.0f} centre lines, and the "
            f"scan has {scan['centre_lines']}. {_ADVICE['sampled']}"
        )
    for name in ("height", "width"):
        if _differ(network, scan, name, _SIZE):
            found.append(
                f"the network was trained on k-space of {name} {network[name]:.0f}, and that of "
                f"the scan is {scan[name]}. {_ADVICE['size']}"
            )
    if _differ(network, scan, "rms", _RMS):
        found.append(
            "the zero-filled images of the training had a root mean square of "
            f"{network['rms']:.3f} at a maximum of 1, that of the scan has {scan['rms']:.3f}. "
            f"{_ADVICE['rms']}"
        )
    return found


def _differ(network, scan, name, factor):
    there, here = network.get(name), scan[name]
    is_number = isinstance(there, (int, float)) and not isinstance(there, bool)
    if not is_number or not there > 0 or not here > 0:
        return False
    return max(there / here, here / there) > factor


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
    if network:
        for sentence in differences(network, describe(sample, readout_oversampling)):
            warnings.warn(f"{name}: {sentence}", DataWarning, stacklevel=2)


def warn_of_data(model_path, config):
    """As `warn`, of the middle one of the slices that a configuration tests on.

    Raises:
        ValueError: as `tfvn.data.source`, and as its slice.
    """
    if known(model_path):
        source = data.source(config, "test")
        index = len(source) // 2
        sample, _ = data.PreparedSlices(source, config.cache_dir)[index]
        warn(model_path, sample, source.name(index), config.readout_oversampling)
