"""The command that writes a network as a SavedModel."""

from tfvn import cli
from tfvn.commands import smoothing
from tfvn.commands.base import Command

__all__ = ["EXPORT"]

_DESCRIPTION = """Writes a network as a SavedModel, for TensorFlow alone and for TF Serving.

    {0} model.keras -o models/knee/1

TF Serving wants it in a folder named by a number. The signature serving_default
takes kspace and sensitivity_maps, complex64 (batch, coils, height, width), and
mask, float32 (batch, 1, 1 or height, width), of any size and scale. It gives
magnitude, float32 (batch, rows, width), and of a smoothed network
standard_deviation.
"""


def _add_flags(parser):
    parser.add_argument(
        "model", metavar="MODEL", help="network: .keras, .npz, .pt or a run directory"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the SavedModel")
    smoothing.add_smoothing(parser)


def _work(arguments, parser, words):
    del parser, words

    def export():
        # An error in this file is one of its keys.
        run = smoothing.run_settings(arguments.model)
        with smoothing.in_flags():
            _export(arguments, run)
        print(f"wrote {arguments.output}")
        print(
            f"Next: tf.saved_model.load({arguments.output!r}).signatures['serving_default'], see"
            " docs/howto/reuse.md"
        )

    return cli.guarded(export, "Nothing was written.")


def _export(arguments, run):
    from tfvn import config
    from tfvn.models.network_files import load_model
    from tfvn.tools import serving

    settings = config.load(settings=smoothing.smoothing(arguments, run))
    settings.check_models()
    model = settings.defended(load_model(arguments.model))
    serving.export(model, arguments.output, arguments.force)


EXPORT = Command("write a network as a SavedModel", _DESCRIPTION, _add_flags, _work)
