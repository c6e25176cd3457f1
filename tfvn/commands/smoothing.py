"""What reconstruct and export share: flags of the smoothing, and errors that speak of flags."""

import contextlib
import os
import re

from tfvn import choices, cli

__all__ = ["FLAGS", "add_smoothing", "in_flags", "run_settings", "smoothing", "with_flags"]

# How these command lines call what configurations call by their keys.
FLAGS = {
    "data.path": "SCAN",
    "data.array": "--array",
    "data.sensitivity_path": "--maps",
    "data.sensitivity_array": "--maps-array",
    "data.maps_from": "--maps-from",
    "data.calibration_lines": "--calibration-lines",
    "data.coil_axis": "--coil-axis",
    "data.transpose": "--transpose",
    "data.slice_index": "--slices",
    "data.readout_oversampling": "--readout-oversampling",
    "sampling.mask": "--mask",
    "sampling.path": "--mask",
    "sampling.array": "--mask-array",
    "defence.sigma": "--smooth",
    "defence.num_samples": "--samples",
    "defence.law": "--noise",
    "seed": "--seed",
    "slices": "--slices",
}
# Arguments of Python that are keys of two sections, or another word in most messages.
_UNCLEAR = ("path", "array", "mask")
# How many draws there are where nothing is said.
_NUM_SAMPLES = 32


def add_smoothing(parser):
    """Adds the flags that say how a network is smoothed."""
    parser.add_argument(
        "--smooth",
        metavar="SIGMA",
        type=float,
        help="smooth with noise of this deviation (default: that of a run directory, else none)",
    )
    parser.add_argument(
        "--samples",
        metavar="K",
        type=int,
        help=f"draws of that noise ({_NUM_SAMPLES}, or the run's)",
    )
    laws = ", ".join(choices.LAWS)
    parser.add_argument("--noise", help=f"its distribution: {laws} (gaussian, or the run's)")
    parser.add_argument("--seed", metavar="N", type=int, help="of the noise (0, or the run's)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run_settings(model):
    """The configuration of a run directory; None for a file of a network."""
    from tfvn import config

    path = os.path.join(model, "config.yaml")
    if not os.path.exists(path):
        return None
    run = config.load(path)
    run.check_models()
    return run


def smoothing(arguments, run):
    """The defence and the seed of a configuration, as `tfvn.config.load` takes them.

    They are what was asked for, else those of the run, as train and attack take them.

    Args:
        arguments: parsed words with the flags of `add_smoothing` and a `model`.
        run: a configuration or None, see `run_settings`.

    Raises:
        ValueError: if flags say how to smooth, and there is nothing to smooth with.
    """
    of_run = arguments.smooth is None and run is not None
    defence, seed = {"name": "none"}, 0
    if of_run:
        defence, seed = run.defence.tree(), run.seed
    elif arguments.smooth:
        defence = {"name": "smoothed", "sigma": arguments.smooth, "num_samples": _NUM_SAMPLES}
    given = {"num_samples": arguments.samples, "law": arguments.noise}
    given = {key: value for key, value in given.items() if value is not None}
    if (given or arguments.seed is not None) and not defence.get("sigma"):
        raise ValueError(
            "--samples, --noise and --seed say how to smooth: they need --smooth SIGMA."
        )
    defence.update(given)
    if arguments.seed is not None:
        seed = arguments.seed
    if of_run and run.defence.is_named:
        _tell(arguments.model, defence, seed)
    return {"defence": defence, "seed": seed}


def _tell(model, defence, seed):
    """Prints how the network of a run directory is defended."""
    settings = ", ".join(f"{key} {value}" for key, value in defence.items() if key != "name")
    print(
        f"{model} stands for its network with the defence {defence['name']}: {settings}, seed"
        f" {seed} (--smooth 0: the network alone)"
    )


@contextlib.contextmanager
def in_flags():
    """A context in which errors speak of flags, not of configuration keys."""
    try:
        yield
    except ValueError as error:
        # The flags are what the configuration is made of.
        text = cli.told(error).removeprefix("config.load: ")
        raise ValueError(with_flags(text)) from error


def with_flags(text):
    """A message with the names of flags in the place of configuration keys."""
    for key, flag in FLAGS.items():
        # Some name both.
        text = text.replace(f"{key} ({flag})", flag).replace(f"({key}, {flag})", f"({flag})")
        text = _with_flag(text, key, flag)
        _, _, keyword = key.rpartition(".")
        if keyword not in _UNCLEAR:
            text = _with_flag(text, keyword, flag)
    return text


def _with_flag(text, name, flag):
    # Words of a sentence stay, such as "the noise", and names of files that have a key in them.
    what_follows = r"(?==| must )"
    if "_" in name or "." in name:
        what_follows = r"(?==| must | to | >| or | and |\.$|\. )"
    return re.sub(rf"(?<![\w./-]){re.escape(name)}{what_follows}", flag, text)
