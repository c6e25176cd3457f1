"""The command that sends a scan through a trained network."""

import argparse
import os
import shlex

from tfvn import choices, cli, ranges
from tfvn.commands import smoothing
from tfvn.commands.base import Command

__all__ = ["RECONSTRUCT"]

_DESCRIPTION = """Reconstructs the slices of a scan with a trained network.

    {0} scan.h5 --model model.keras -o out.h5 out.png

K-space comes at any scale. Each slice is divided by max |A^H k| for the network,
and its image is multiplied by it again. Formats and orders of axes are those of
`data.format: measurement`, see docs/howto/data.md. The image of a smoothed network is
the mean of its draws on noisy k-space. The standard deviation is theirs, pixel by
pixel: it says how far such noise moves the network, and is no error bar.
"""
_NAME = "the file of k-space: reconstruct SCAN --model FILE -o FILE"


def _add_flags(parser):
    parser.add_argument("scan", metavar="SCAN", nargs="?", help="k-space: .h5, .npy or .mat")
    parser.add_argument(
        "--model",
        metavar="FILE",
        required=True,
        help="network: .keras, .npz, .pt or a run directory",
    )
    parser.add_several(
        "-o",
        "--output",
        metavar="FILE",
        values=r".+\.(h5|png)",
        required=True,
        help=".h5, and .png for images; both may follow",
    )
    _add_arrays(parser)
    _add_layout(parser)
    smoothing.add_smoothing(parser)


def _add_arrays(parser):
    """Adds the flags that say where the arrays of the scan are."""
    parser.add_argument(
        "--array",
        metavar="NAME",
        default="",
        help="its name in the file, such as scan/kspace (default: kspace, rawdata, raw or the only"
        " one)",
    )
    parser.add_argument(
        "--maps",
        metavar="FILE",
        default="",
        help="coil maps (default: estimated from the centre of k-space)",
    )
    parser.add_argument("--maps-array", metavar="NAME", default="", help="their name in that file")
    parser.add_argument(
        "--maps-method",
        choices=choices.MAPS,
        default=choices.MAPS[0],
        help="how they are estimated (default: %(default)s)",
    )
    parser.add_argument(
        "--maps-from",
        choices=choices.MAPS_FROM,
        default="measured",
        help="that estimate: from what the mask leaves, or from the whole scan, which knows what"
        " the mask removes (measured)",
    )
    parser.add_argument(
        "--calibration-lines",
        metavar="N",
        type=int,
        default=0,
        help="centre lines of that estimate (default: as many as are measured, 24 at most)",
    )
    parser.add_argument(
        "--mask",
        metavar="FILE",
        default="",
        help="undersampling mask (default: where k-space is not 0)",
    )
    parser.add_argument("--mask-array", metavar="NAME", default="", help="its name in that file")


def _add_layout(parser):
    """Adds the flags that say how its axes are read."""
    parser.add_argument(
        "--slices",
        metavar="LIST",
        default="all",
        help="such as 0-3,7, the first being 0 (default: all)",
    )
    parser.add_argument(
        "--coil-axis",
        metavar="N",
        type=int,
        default=-1,
        help="axis of the coils, -2: none (default: see docs/howto/data.md)",
    )
    parser.add_argument(
        "--transpose",
        action="store_true",
        help="phase encoding runs along the height of the file's images",
    )
    parser.add_argument(
        "--readout-oversampling",
        action=argparse.BooleanOptionalAction,
        help="images are the central half of the height (default: as the model was trained)",
    )


def _work(arguments, parser, words):
    _take_scan(arguments, parser)
    _check_slices(arguments, parser)

    def reconstruct():
        from tfvn.tools import reconstruction

        # An error in this file is one of its keys.
        run = smoothing.run_settings(arguments.model)
        with smoothing.in_flags():
            settings = _settings(arguments, run)
            reconstruction.write(
                arguments.model,
                settings,
                arguments.slices,
                arguments.output,
                arguments.force,
                arguments.readout_oversampling,
                shlex.join(words),
            )
        if not any(name.lower().endswith(".png") for name in arguments.output):
            print("Next: the same command with -o images.png, to look at them")

    return cli.guarded(reconstruct, "Nothing was written.")


def _take_scan(arguments, parser):
    """Takes the last output for the scan, if nothing else is: `-o out.h5 scan.h5`."""
    outputs = arguments.output
    if arguments.scan is None and len(outputs) > 1 and os.path.isfile(outputs[-1]):
        arguments.scan = outputs.pop()
    if arguments.scan is None:
        parser.error(f"SCAN is missing, {_NAME}")


def _check_slices(arguments, parser):
    if arguments.slices == "all":
        return
    try:
        ranges.numbers(arguments.slices)
    except ValueError as error:
        parser.error(f"--slices: {error}")


def _settings(arguments, run):
    """The configuration that the flags stand for."""
    from tfvn import config

    for name in (arguments.scan, arguments.maps, arguments.mask):
        if os.path.isdir(name):
            raise ValueError(f"{name} is a folder. Name a file: .h5, .npy or .mat.")
    scan = {
        "format": "measurement",
        "path": arguments.scan,
        "array": arguments.array,
        "sensitivity_path": arguments.maps,
        "sensitivity_array": arguments.maps_array,
        "calibration_lines": arguments.calibration_lines,
        "maps": arguments.maps_method,
        "maps_from": arguments.maps_from,
        "coil_axis": arguments.coil_axis,
        "transpose": arguments.transpose,
    }
    sampling = {"mask": "measured"}
    if arguments.mask:
        sampling = {"mask": "file", "path": arguments.mask, "array": arguments.mask_array}
    settings = {"data": scan, "sampling": sampling, **smoothing.smoothing(arguments, run)}
    found = config.load(settings=settings)
    found.check_models()
    return found


RECONSTRUCT = Command("reconstruct a scan", _DESCRIPTION, _add_flags, _work)
