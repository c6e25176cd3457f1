"""Reuses a trained network.

    python -m tfvn reconstruct scan.h5 --model model.keras --smooth 0.05 --samples 32 -o out.h5 out.png
    python -m tfvn export model.keras -o models/knee/1

`python -m tfvn COMMAND --help` says more. Networks are trained, attacked and evaluated by the scripts train.py, attack.py and
evaluate.py.
"""
import argparse
import os
import shlex
import sys

from tfvn import cli, config, reconstruction, runs, serving
from tfvn.importers import load_model
from tfvn.smoothing import SmoothedNetwork

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


def main(argv=None):
    parser = argparse.ArgumentParser(
        "python -m tfvn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_reconstruct(commands)
    _add_export(commands)
    arguments = parser.parse_args(argv)
    if "work" not in arguments:
        parser.print_help()
        return 0
    command = shlex.join(["python", "-m", "tfvn", *(sys.argv[1:] if argv is None else argv)])
    return cli.guarded(lambda: arguments.work(arguments, command), "Nothing was written.")


def _add_reconstruct(commands):
    flags = _command(commands, "reconstruct", "reconstruct a scan", _RECONSTRUCT)
    flags.add_argument("scan", metavar="SCAN", help="k-space: .h5, .npy or .mat")
    flags.add_argument("--model", metavar="FILE", required=True, help="network: .keras, .npz, .pt or a run directory")
    flags.add_argument("-o", "--output", metavar="FILE", nargs="+", required=True, help=".h5, and .png for images")
    flags.add_argument("--maps", metavar="FILE", default="", help="coil maps (default: estimated from the centre of k-space)")
    flags.add_argument("--calibration-lines", metavar="N", type=int, default=24, help="centre lines of that estimate (24)")
    flags.add_argument("--mask", metavar="FILE", default="", help="undersampling mask (default: where k-space is not 0)")
    flags.add_argument("--slices", metavar="LIST", default="all", help="such as 0-3,7, the first being 0 (default: all)")
    flags.add_argument("--coil-axis", metavar="N", type=int, default=-1, help="axis of the coils (default: see docs/howto/data.md)")
    flags.add_argument("--transpose", action="store_true", help="phase encoding runs along the height of the file's images")
    flags.add_argument(
        "--readout-oversampling",
        action=argparse.BooleanOptionalAction,
        help="images are the central half of the height (default: as the model was trained)",
    )
    _add_smoothing(flags)
    flags.set_defaults(work=_reconstruct)


def _add_export(commands):
    flags = _command(commands, "export", "write a SavedModel", _EXPORT)
    flags.add_argument("model", metavar="MODEL", help="network: .keras, .npz, .pt or a run directory")
    flags.add_argument("-o", "--output", metavar="DIR", required=True, help="the SavedModel")
    _add_smoothing(flags)
    flags.set_defaults(work=_export)


def _command(commands, name, summary, description):
    return commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _add_smoothing(flags):
    meaning = "smooth with noise of this deviation (default: a run directory's own, for a file none)"
    flags.add_argument("--smooth", metavar="SIGMA", type=float, help=meaning)
    flags.add_argument("--samples", metavar="K", type=int, help="draws of that noise (32, or the run's)")
    flags.add_argument("--noise", help="gaussian, uniform or laplace (gaussian, or the run's)")
    flags.add_argument("--seed", metavar="N", type=int, help="of the noise (0, or the run's)")
    flags.add_argument("--force", action="store_true", help="overwrite what is there")


def _smoothing(arguments):
    """Settings of the smoothing: what was asked for, else those of the run, as attack.py and evaluate.py take them."""
    given = dict(num_samples=arguments.samples, noise=arguments.noise, seed=arguments.seed)
    given = {key: value for key, value in given.items() if value is not None}
    found = dict(sigma=arguments.smooth or 0.0, num_samples=32, noise="gaussian", seed=0)
    if arguments.smooth is None and os.path.exists(os.path.join(arguments.model, "config.yaml")):
        run = runs.open_run(arguments.model)
        found = {key: getattr(run, key) for key in found}
    if given and not found["sigma"]:
        raise ValueError("--samples, --noise and --seed say how to smooth: they need --smooth SIGMA.")
    found.update(given)
    if found["sigma"] and arguments.smooth is None:
        told = ", ".join(f"{key} {value}" for key, value in found.items())
        print(f"{arguments.model} stands for a smoothed network: {told} (--smooth 0: not smoothed)")
    return found


def _reconstruct(arguments, command):
    settings = config.Config(
        dataset="measurement",
        data_path=arguments.scan,
        sensitivity_path=arguments.maps,
        calibration_lines=arguments.calibration_lines,
        mask="file" if arguments.mask else "measured",
        mask_path=arguments.mask,
        coil_axis=arguments.coil_axis,
        transpose=arguments.transpose,
        **_smoothing(arguments),
    )
    reconstruction.write(
        arguments.model,
        settings,
        arguments.slices,
        arguments.output,
        arguments.force,
        arguments.readout_oversampling,
        command,
    )


def _export(arguments, command):
    del command  # a SavedModel has no place for it
    network = load_model(arguments.model)
    smooth = _smoothing(arguments)
    model = SmoothedNetwork(network, **smooth) if smooth["sigma"] else network
    serving.export(model, arguments.output, arguments.force)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    sys.exit(main())
