"""A network as a SavedModel: a graph and weights that TensorFlow alone runs, without `tfvn` or
Keras, in TF Serving too.

    magnitude = scale f(kspace / scale),    scale = max |A^H kspace|, of each image

so k-space comes as the scanner measured it, and the image is in its units. The noise of a smoothed
network has the standard deviation sigma scale, as sigma is that of k-space whose zero-filled image
has a maximum of 1.
"""

import contextlib
import ctypes
import os
import shutil

import tensorflow as tf

from tfvn.defences.smoothing import Smoothed
from tfvn.files import written
from tfvn.models.variational import VariationalNetwork

__all__ = ["export", "serve"]

_SPECS = {
    "kspace": tf.TensorSpec([None, None, None, None], tf.complex64, "kspace"),
    "sensitivity_maps": tf.TensorSpec([None, None, None, None], tf.complex64, "sensitivity_maps"),
    "mask": tf.TensorSpec([None, 1, None, None], tf.float32, "mask"),
}


def serve(model, kspace, sensitivity_maps, mask):
    """What the signature computes: a dict of `magnitude` and, of a smoothed model,
    `standard_deviation`.

    Args:
        model: a `VariationalNetwork` or a `Smoothed`.
        kspace, sensitivity_maps: complex64 (batch, coils, height, width), k-space at any scale.
        mask: float32 (batch, 1, 1, width) or (batch, 1, height, width), or of batch 1 for all;
            where it is 0 no k-space is used. A height of 1 that is known while tracing makes the
            faster graph.

    Returns:
        Arrays float32 (batch, rows, width), in the units of the zero-filled image. Of k-space that
        is 0 they are 0.
    """
    network = getattr(model, "network", model)
    dtype = tf.complex128 if network.dtype == "float64" else tf.complex64
    inputs = {
        "sensitivity_maps": tf.cast(sensitivity_maps, dtype),
        "mask": tf.cast(mask, dtype.real_dtype),
    }
    # Not a product alone: 0 times NaN is NaN.
    sampled = tf.where(tf.equal(mask, 0), tf.zeros([], kspace.dtype), kspace)
    zero_filled = network.zero_filled({**inputs, "kspace": tf.cast(sampled, dtype)})
    scale = tf.reduce_max(tf.abs(zero_filled), [1, 2], keepdims=True)
    # Part by part: complex numbers are divided by way of | scale |^2, which may underflow.
    parts = (
        tf.math.divide_no_nan(part, scale)
        for part in (tf.math.real(zero_filled), tf.math.imag(zero_filled))
    )
    inputs["zero_filled"] = tf.complex(*parts)
    if model is network:
        found = {"magnitude": model.reconstruct(inputs)}
    else:
        found = dict(
            zip(("magnitude", "standard_deviation"), model.reconstruct_with_deviation(inputs))
        )
    return {name: tf.cast(scale * image, tf.float32) for name, image in found.items()}


def export(model, path, overwrite=False):
    """Writes a SavedModel whose signature `serving_default` is `serve`, for images of every size
    and number of coils.

    The folder appears whole or not. TF Serving wants it below a name, with a number: models/knee/1.

    Args:
        model: a `VariationalNetwork`, or a `Smoothed` with its sigma, noise, seed and two
            draws or more.
        path: the folder.
        overwrite: whether it may replace another SavedModel.

    Raises:
        ValueError: for another model, a single draw, or a folder that is there.
    """
    path = os.path.normpath(os.fspath(path))
    if not isinstance(model, (VariationalNetwork, Smoothed)):
        raise ValueError(
            f"model must be a VariationalNetwork or a Smoothed. Received: {type(model).__name__}"
        )
    if isinstance(model, Smoothed) and model.num_samples < 2:
        raise ValueError(
            "a standard deviation needs num_samples >= 2. Received:"
            f" num_samples={model.num_samples}"
        )
    old = _aside(path)
    _put_back(path, old)
    if os.path.islink(path):
        raise ValueError(
            f"{path} is a link: what it leads to would stay as it is. Name a folder, or the one"
            " that it leads to."
        )
    if os.path.exists(path):
        if not overwrite:
            raise ValueError(
                f"{path} is there already. Name another folder, or allow to overwrite it (--force)."
            )
        if not os.path.isfile(os.path.join(path, "saved_model.pb")):
            raise ValueError(
                f"{path} is no SavedModel, so it is not replaced. Name another folder."
            )

    def signature(kspace, sensitivity_maps, mask):
        return tf.cond(
            # Masks of lines need transforms along the width alone: a graph of their own.
            tf.equal(tf.shape(mask)[2], 1),
            lambda: serve(
                model, kspace, sensitivity_maps, tf.ensure_shape(mask[:, :, :1], [None, 1, 1, None])
            ),
            lambda: serve(model, kspace, sensitivity_maps, mask),
        )

    module = tf.Module()
    module.reconstruct = tf.function(signature, list(_SPECS.values()), autograph=False)
    concrete = module.reconstruct.get_concrete_function()
    # The model itself would bring Keras's own files, and the functions that were traced of it.
    module.values = concrete.graph.variables
    # A folder replaces an empty one only. Old and new model change places, in one step where the
    # system can; else the old one is put aside, and back if the new one cannot take its place.
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with contextlib.suppress(_Exchanged), written(path) as temporary:
            tf.saved_model.save(module, temporary, signatures=concrete)
            if os.path.exists(path):
                if _exchange(temporary, path):
                    # What has the temporary name now, the old model, is removed as whatever has it.
                    raise _Exchanged
                os.rename(path, old)
    except FileExistsError as error:
        raise ValueError(
            f"cannot write {path}: a file is where a folder must be. Name another folder."
        ) from error
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. Name another folder."
        ) from error
    finally:
        _put_back(path, old)


class _Exchanged(Exception):
    """The new model is in its place."""


def _exchange(one, other):
    """Lets two folders change their names in one step. Returns whether the system can do that."""
    current, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return rename(current, os.fsencode(one), current, os.fsencode(other), flag) == 0


def _aside(path):
    """Where a model waits for the one that replaces it; the same for every process, so that the
    next one finds it.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.old")


def _put_back(path, old):
    """Leaves one model: the new one where it has taken its place, else the old one, also of a
    process that was killed.
    """
    if os.path.isfile(os.path.join(old, "saved_model.pb")):
        if os.path.lexists(path):
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)
