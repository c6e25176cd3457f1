"""Trains, attacks and evaluates networks, as the scripts train.py, attack.py and evaluate.py do,
and reuses them.

    python -m tfvn reconstruct scan.h5 --model model.keras --smooth 0.05 --samples 32 -o out.h5
    out.png python -m tfvn export model.keras -o models/knee/1

`python -m tfvn COMMAND --help` says more. Installed, the command is `tfvn`.
"""

import argparse
import contextlib
import os
import re
import shlex
import sys

from tfvn import cli, config
from tfvn.commands import COMMANDS

# How this command line calls what configurations call by their keys.
_FLAGS = {
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
_SMOOTHING = ("sigma", "num_samples", "noise", "seed")
_RECONSTRUCT = """The slices of a scan through a trained network.

K-space comes at any scale; for the network each slice is divided by max |A^H k|, and its image multiplied by it again.
Formats and orders of axes are those of `dataset: measurement`, see docs/howto/data.md. Of a smoothed network, the
image is the mean of its draws on noisy k-space and the standard deviation is theirs, pixel by pixel: how far such noise moves
the network, and no error bar of the image.
"""
_EXPORT = """A network as a SavedModel, for TensorFlow alone and TF Serving (which wants it in a folder named by a number).

Signature serving_default: kspace and sensitivity_maps complex64 (batch, coils, height, width) and mask float32 (batch, 1, 1 or
height, width) give magnitude float32 (batch, rows, width), and of a smoothed network standard_deviation. Any size, any scale.
"""


@cli.command
def main(argv=None):
    words = sys.argv[1:] if argv is None else list(argv)
    # Installed, it has a name of its own.
    program = "tfvn" if os.path.basename(sys.argv[0]) == "tfvn" else "python -m tfvn"
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[1:], f"{program} {words[0]}")
    parser = cli.Parser(program, description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS:
        commands.add_parser(name, help=f"the same as {name}.py")
    _add_reconstruct(commands)
    _add_export(commands)
    arguments = parser.parse_args(words)
    if "work" not in arguments:
        parser.print_help()
        return 0
    if arguments.work is _reconstruct:
        _take_scan(arguments)
    command = shlex.join([*program.split(), *words])
    settings = None

    def first():
        nonlocal settings
        # An error in this file is one of its keys.
        path = os.path.join(arguments.model, "config.yaml")
        run = config.load(path) if os.path.exists(path) else None
        with _in_flags():
            settings = arguments.settings(arguments, run)

    def work():
        with _in_flags():
            arguments.work(arguments, settings, command)

    return cli.guarded(work, "Nothing was written.", first)


@contextlib.contextmanager
def _in_flags():
    """Errors speak of the flags of this command line, not of configuration keys."""
    try:
        yield
    except ValueError as error:
        raise ValueError(_with_flags(cli.told(error))) from error


def _with_flags(text):
    for key, flag in _FLAGS.items():
        # Some name both.
        text = text.replace(f"{key} ({flag})", flag).replace(f"({key}, {flag})", f"({flag})")
        # Words of a sentence stay, such as "the noise", and names of files that have a key in them.
        value = r"(?==| must | to | >| or | and |\.$|\. )" if "_" in key else r"(?==| must )"
        text = re.sub(rf"(?<![\w./-]){key}{value}", flag, text)
    return text


def _add_reconstruct(commands):
    flags = _command(commands, "reconstruct", "reconstruct a scan", _RECONSTRUCT)
    flags.add_argument("scan", metavar="SCAN", nargs="?", help="k-space: .h5, .npy or .mat")
    flags.add_argument(
        "--model",
        metavar="FILE",
        required=True,
        help="network: .keras, .npz, .pt or a run directory",
    )
    meaning = ".h5, and .png for images; both may follow"
    flags.add_several(
        "-o", "--output", metavar="FILE", values=r".+\.(h5|png)", required=True, help=meaning
    )
    meaning = (
        "its name in the file, such as scan/kspace (default: kspace, rawdata, raw or the only one)"
    )
    flags.add_argument("--array", metavar="NAME", default="", help=meaning)
    flags.add_argument(
        "--maps",
        metavar="FILE",
        default="",
        help="coil maps (default: estimated from the centre of k-space)",
    )
    flags.add_argument("--maps-array", metavar="NAME", default="", help="their name in that file")
    flags.add_argument(
        "--maps-from",
        choices=config.CHOICES["maps_from"],
        default="measured",
        help=(
            "that estimate: from what the mask leaves, or from the whole scan, which knows what the"
            " mask removes (measured)"
        ),
    )
    meaning = "centre lines of that estimate (default: as many as are measured, 24 at most)"
    flags.add_argument("--calibration-lines", metavar="N", type=int, default=0, help=meaning)
    flags.add_argument(
        "--mask",
        metavar="FILE",
        default="",
        help="undersampling mask (default: where k-space is not 0)",
    )
    flags.add_argument("--mask-array", metavar="NAME", default="", help="its name in that file")
    flags.add_argument(
        "--slices",
        metavar="LIST",
        default="all",
        help="such as 0-3,7, the first being 0 (default: all)",
    )
    flags.add_argument(
        "--coil-axis",
        metavar="N",
        type=int,
        default=-1,
        help="axis of the coils, -2: none (default: see docs/howto/data.md)",
    )
    flags.add_argument(
        "--transpose",
        action="store_true",
        help="phase encoding runs along the height of the file's images",
    )
    flags.add_argument(
        "--readout-oversampling",
        action=argparse.BooleanOptionalAction,
        help="images are the central half of the height (default: as the model was trained)",
    )
    _add_smoothing(flags)
    flags.set_defaults(settings=_scan_settings, work=_reconstruct, fail=flags.error)


def _take_scan(arguments):
    """`-o out.h5 scan.h5` is what most would type: the last name is the scan's, if there is no
    other.
    """
    if (
        arguments.scan is None
        and len(arguments.output) > 1
        and os.path.isfile(arguments.output[-1])
    ):
        arguments.scan = arguments.output.pop()
    if arguments.scan is None:
        arguments.fail(
            "SCAN is missing, the file of k-space: reconstruct SCAN --model FILE -o FILE"
        )


def _add_export(commands):
    flags = _command(commands, "export", "write a SavedModel", _EXPORT)
    flags.add_argument(
        "model", metavar="MODEL", help="network: .keras, .npz, .pt or a run directory"
    )
    flags.add_argument("-o", "--output", metavar="DIR", required=True, help="the SavedModel")
    _add_smoothing(flags)
    flags.set_defaults(settings=_export_settings, work=_export)


def _command(commands, name, summary, description):
    return commands.add_parser(name, help=summary, description=description)


def _add_smoothing(flags):
    meaning = (
        "smooth with noise of this deviation (default: a run directory's own, for a file none)"
    )
    flags.add_argument("--smooth", metavar="SIGMA", type=float, help=meaning)
    flags.add_argument(
        "--samples", metavar="K", type=int, help="draws of that noise (32, or the run's)"
    )
    flags.add_argument("--noise", help="gaussian, uniform or laplace (gaussian, or the run's)")
    flags.add_argument("--seed", metavar="N", type=int, help="of the noise (0, or the run's)")
    flags.add_argument("--force", action="store_true", help="overwrite what is there")


def _smoothing(arguments, run):
    """Settings of the smoothing: what was asked for, else those of the run, as attack.py and
    evaluate.py take them.
    """
    given = dict(num_samples=arguments.samples, noise=arguments.noise, seed=arguments.seed)
    given = {key: value for key, value in given.items() if value is not None}
    found = dict(sigma=arguments.smooth or 0.0, num_samples=32, noise="gaussian", seed=0)
    if arguments.smooth is None and run:
        found = {key: getattr(run, key) for key in found}
    if given and not found["sigma"]:
        raise ValueError(
            "--samples, --noise and --seed say how to smooth: they need --smooth SIGMA."
        )
    found.update(given)
    if found["sigma"] and arguments.smooth is None:
        told = ", ".join(f"{key} {value}" for key, value in found.items())
        print(f"{arguments.model} stands for a smoothed network: {told} (--smooth 0: not smoothed)")
    return found


def _scan_settings(arguments, run):
    for name in (arguments.scan, arguments.maps, arguments.mask):
        if os.path.isdir(name):
            raise ValueError(f"{name} is a folder. Name a file: .h5, .npy or .mat.")
    try:
        config.numbers("0" if arguments.slices == "all" else arguments.slices)
    except ValueError as error:
        raise ValueError(f"--slices: {error}") from error
    return config.Config(
        dataset="measurement",
        data_path=arguments.scan,
        data_array=arguments.array,
        sensitivity_path=arguments.maps,
        sensitivity_array=arguments.maps_array,
        calibration_lines=arguments.calibration_lines,
        maps_from=arguments.maps_from,
        mask="file" if arguments.mask else "measured",
        mask_path=arguments.mask,
        mask_array=arguments.mask_array,
        coil_axis=arguments.coil_axis,
        transpose=arguments.transpose,
        **_smoothing(arguments, run),
    )


def _reconstruct(arguments, settings, command):
    from tfvn.tools import reconstruction

    reconstruction.write(
        arguments.model,
        settings,
        arguments.slices,
        arguments.output,
        arguments.force,
        arguments.readout_oversampling,
        command,
    )
    if not any(name.lower().endswith(".png") for name in arguments.output):
        print("Next: the same command with -o images.png, to look at them")


def _export_settings(arguments, run):
    # Checked as a configuration's.
    return config.Config(**_smoothing(arguments, run))


def _export(arguments, settings, command):
    del command  # a SavedModel has no place for it
    from tfvn.defences.smoothing import SmoothedNetwork
    from tfvn.models.network_files import load_model
    from tfvn.tools import serving

    network = load_model(arguments.model)
    smooth = {key: getattr(settings, key) for key in _SMOOTHING}
    model = SmoothedNetwork(network, **smooth) if settings.sigma else network
    serving.export(model, arguments.output, arguments.force)
    print(f"wrote {arguments.output}")
    print(
        f"Next: tf.saved_model.load({arguments.output!r}).signatures['serving_default'], see"
        " docs/howto/reuse.md"
    )


def entry():
    """The program `tfvn` of an installed package."""
    cli.exit_with(main)


if __name__ == "__main__":
    entry()
