"""What reconstruct and export share: flags of the smoothing, and errors that speak of flags."""

import contextlib
import os
import re

from tfvn import choices, cli, config

__all__ = ["FLAGS", "add_smoothing", "in_flags", "run_settings", "smoothing", "with_flags"]

# How these command lines call what configurations call by their keys.
FLAGS = {
    "data_path": "SCAN",
    "data_array": "--array",
    "sensitivity_path": "--maps",
    "sensitivity_array": "--maps-array",
    "maps_from": "--maps-from",
    "calibration_lines": "--calibration-lines",
    "mask_path": "--mask",
    "mask_array": "--mask-array",
    "coil_axis": "--coil-axis",
    "transpose": "--transpose",
    "slice_index": "--slices",
    "slices": "--slices",
    "readout_oversampling": "--readout-oversampling",
    "sigma": "--smooth",
    "num_samples": "--samples",
    "noise": "--noise",
    "seed": "--seed",
}


def add_smoothing(parser):
    """Adds the flags that say how a network is smoothed."""
    parser.add_argument(
        "--smooth",
        metavar="SIGMA",
        type=float,
        help="smooth with noise of this deviation (default: that of a run directory, else none)",
    )
    parser.add_argument(
        "--samples", metavar="K", type=int, help="draws of that noise (32, or the run's)"
    )
    laws = ", ".join(choices.LAWS)
    parser.add_argument("--noise", help=f"its distribution: {laws} (gaussian, or the run's)")
    parser.add_argument("--seed", metavar="N", type=int, help="of the noise (0, or the run's)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run_settings(model):
    """The configuration of a run directory; None for a file of a network."""
    path = os.path.join(model, "config.yaml")
    if os.path.exists(path):
        return config.load(path)
    return None


def smoothing(arguments, run):
    """The configuration keys of the smoothing, in a dict.

    They are what was asked for, else those of the run, as train and attack take them.

    Args:
        arguments: parsed words with the flags of `add_smoothing` and a `model`.
        run: a configuration or None, see `run_settings`.

    Raises:
        ValueError: if flags say how to smooth, and there is nothing to smooth with.
    """
    found = dict(sigma=arguments.smooth or 0.0, num_samples=32, noise="gaussian", seed=0)
    if arguments.smooth is None and run:
        found = {key: getattr(run, key) for key in found}
    given = dict(num_samples=arguments.samples, noise=arguments.noise, seed=arguments.seed)
    given = {key: value for key, value in given.items() if value is not None}
    if given and not found["sigma"]:
        raise ValueError(
            "--samples, --noise and --seed say how to smooth: they need --smooth SIGMA."
        )
    found.update(given)
    if found["sigma"] and arguments.smooth is None:
        told = ", ".join(f"{key} {value}" for key, value in found.items())
        print(f"{arguments.model} stands for a smoothed network: {told} (--smooth 0: not smoothed)")
    return found


@contextlib.contextmanager
def in_flags():
    """A context in which errors speak of flags, not of configuration keys."""
    try:
        yield
    except ValueError as error:
        raise ValueError(with_flags(cli.told(error))) from error


def with_flags(text):
    """A message with the names of flags in the place of configuration keys."""
    for key, flag in FLAGS.items():
        # Some name both.
        text = text.replace(f"{key} ({flag})", flag).replace(f"({key}, {flag})", f"({flag})")
        # Words of a sentence stay, such as "the noise", and names of files that have a key in them.
        what_follows = r"(?==| must )"
        if "_" in key:
            what_follows = r"(?==| must | to | >| or | and |\.$|\. )"
        text = re.sub(rf"(?<![\w./-]){key}{what_follows}", flag, text)
    return text
