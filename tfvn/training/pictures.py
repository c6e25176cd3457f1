"""The pictures that a training logs: one slice as its network sees it, and the network's stages."""

import io

import numpy as np
import tensorflow as tf

from tfvn.figures.stages import stage_picture
from tfvn.models.stage_view import view_of
from tfvn.training import events

__all__ = ["ERROR_GAIN", "image_summaries", "stage_name", "stage_summaries"]

# The error is shown this many times brighter than the images.
ERROR_GAIN = 5
# Brighter pixels, a thousandth of all, are white too.
_WHITE = 99.9


def stage_name(index):
    """The name of a stage, which sorts by its number."""
    return f"stage_{index + 1:02d}"


def image_summaries(zero_filled, stages, reconstruction, reference):
    """Pictures of one slice, and of its error where there is a reference.

    Args:
        zero_filled: A^H k, (rows, width).
        stages: the image after every stage; nothing of a model without stages.
        reconstruction: the answer.
        reference: the ground truth; not finite where there is none.

    Yields:
        `events.image` of each.
    """
    has_reference = np.isfinite(reference).all()
    measure = reference if has_reference else zero_filled
    white = np.percentile(np.abs(measure), _WHITE)
    images = {"1_zero_filled": zero_filled}
    for index, image in enumerate(stages):
        images[f"2_{stage_name(index)}"] = image
    images["3_reconstruction"] = reconstruction
    if has_reference:
        error = np.abs(reconstruction) - np.abs(reference)
        images["4_reference"] = reference
        images[f"5_error_x{ERROR_GAIN}"] = ERROR_GAIN * error
    note = (
        f"The middle test slice, as the validation sees it. White: {white:.3g}, the 99.9th"
        f" percentile of the {'reference' if has_reference else 'zero-filled image'}; the error's"
        f" magnitude is {ERROR_GAIN} times brighter."
    )
    for name, image in images.items():
        grey = np.clip(np.abs(np.nan_to_num(image)) / white, 0, 1)
        png = tf.io.encode_png(np.uint8(np.round(255 * grey))[..., None]).numpy()
        yield events.image(f"image/{name}", png, note)


def stage_summaries(stages, images):
    """Pictures of the parameters of stages.

    Args:
        stages: the `Stage`s.
        images: the complex image (1, rows, width) that each of them begins with.

    Yields:
        `events.image` of each stage whose parameters are finite.
    """
    for index, (stage, image) in enumerate(zip(stages, images)):
        # Where they are not, the training is about to end with a sentence of its own.
        if all(np.isfinite(weight).all() for weight in stage.get_weights()):
            picture = io.BytesIO()
            stage_picture(picture, f"stage {index + 1}", *view_of(stage, image))
            yield events.image(f"parameters/{stage_name(index)}", picture.getvalue())
