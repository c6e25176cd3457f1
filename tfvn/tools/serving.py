"""A model as a SavedModel, for TensorFlow alone and for TF Serving.

It is a graph and its weights, and needs neither `tfvn` nor Keras. What it computes is

    magnitude = scale f(kspace / scale),    scale = max |A^H kspace|, of each image

So k-space comes as the scanner measured it, and the image is in its units. The sigma of a smoothed
model is meant for k-space whose zero-filled image has a maximum of 1. Here its noise has the
standard deviation sigma scale.
"""

import contextlib
import ctypes
import os
import shutil

import tensorflow as tf

from tfvn.files import written
from tfvn.models.contract import check_model
from tfvn.physics import measurement

__all__ = ["export", "serve"]

_SPECS = {
    "kspace": tf.TensorSpec([None, None, None, None], tf.complex64, "kspace"),
    "sensitivity_maps": tf.TensorSpec([None, None, None, None], tf.complex64, "sensitivity_maps"),
    "mask": tf.TensorSpec([None, 1, None, None], tf.float32, "mask"),
}
_LINES = [None, 1, 1, None]
# It predicts. The gradients would take most of the time, and half of the file.
_OPTIONS = tf.saved_model.SaveOptions(experimental_custom_gradients=False)


def serve(model, kspace, sensitivity_maps, mask):
    """What the signature computes.

    Args:
        model: a `Reconstructor`.
        kspace, sensitivity_maps: complex64 (batch, coils, height, width), k-space at any scale.
        mask: float32 (batch, 1, 1, width) or (batch, 1, height, width), or of batch 1 for all;
            where it is 0 no k-space is used. A height of 1 that is known while tracing makes the
            faster graph.

    Returns:
        A dict of `magnitude` and, of a model with draws, `standard_deviation`: float32 (batch,
        rows, width), in the units of the zero-filled image. Of k-space that is 0 they are 0.
    """
    dtype = tf.complex128 if model.dtype == "float64" else tf.complex64
    # Not a product alone: 0 times NaN is NaN.
    sampled = tf.where(tf.equal(mask, 0), tf.zeros([], kspace.dtype), kspace)
    given = {
        "kspace": tf.cast(sampled, dtype),
        "sensitivity_maps": tf.cast(sensitivity_maps, dtype),
        "mask": tf.cast(mask, dtype.real_dtype),
    }
    image = measurement.zero_filled(model.sense, given)
    scale = tf.reduce_max(tf.abs(image), [1, 2], keepdims=True)
    # The model takes what it reads. The other is never computed.
    kspace = _divided(given["kspace"], scale[:, None])
    inputs = measurement.with_data(given, "kspace", kspace)
    inputs = measurement.with_data(inputs, "zero_filled", _divided(image, scale))
    statistics = model.statistics(inputs)
    found = {"magnitude": statistics.mean, "standard_deviation": statistics.deviation}
    result = {}
    for name, image in found.items():
        if image is not None:
            result[name] = tf.cast(scale * image, tf.float32)
    return result


def _divided(values, scale):
    """Complex values divided by real ones, 0 where these are 0."""
    # Part by part: complex numbers are divided by way of | scale |^2, which may underflow.
    real = tf.math.divide_no_nan(tf.math.real(values), scale)
    imaginary = tf.math.divide_no_nan(tf.math.imag(values), scale)
    return tf.complex(real, imaginary)


def export(model, path, overwrite=False):
    """Writes a SavedModel whose signature `serving_default` is `serve`.

    It takes images of every size and number of coils. The folder appears whole or not. TF Serving
    wants it below a name, with a number: models/knee/1.

    Args:
        model: a `Reconstructor`, of two draws or more if it has any.
        path: the folder.
        overwrite: whether it may replace another SavedModel.

    Raises:
        ValueError: for another model, a single draw, or a folder that is there.
    """
    path = os.path.normpath(os.fspath(path))
    check_model(model)
    if model.draws == 1:
        raise ValueError("a standard deviation needs num_samples >= 2. Received: num_samples=1")
    old = _aside(path)
    _put_back(path, old)
    _check_folder(path, overwrite)
    module, signature = _module(model)
    # A folder replaces an empty one only. Old and new model change places, in one step where the
    # system can; else the old one is put aside, and back if the new one cannot take its place.
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with contextlib.suppress(_Exchanged), written(path) as temporary:
            tf.saved_model.save(module, temporary, signature, _OPTIONS)
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


def _check_folder(path, overwrite):
    """Checks that a SavedModel may be written there."""
    if os.path.islink(path):
        raise ValueError(
            f"{path} is a link: what it leads to would stay as it is. Name a folder, or the one"
            " that it leads to."
        )
    if not os.path.exists(path):
        return
    if not overwrite:
        raise ValueError(
            f"{path} is there already. Name another folder, or allow to overwrite it (--force)."
        )
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise ValueError(f"{path} is no SavedModel, so it is not replaced. Name another folder.")


def _module(model):
    """What TensorFlow saves, and its signature."""

    def signature(kspace, sensitivity_maps, mask):
        def of_lines():
            lines = tf.ensure_shape(mask[:, :, :1], _LINES)
            return serve(model, kspace, sensitivity_maps, lines)

        def of_points():
            return serve(model, kspace, sensitivity_maps, mask)

        # Masks of lines need transforms along the width alone: a graph of their own.
        return tf.cond(tf.equal(tf.shape(mask)[2], 1), of_lines, of_points)

    module = tf.Module()
    module.reconstruct = tf.function(signature, list(_SPECS.values()), autograph=False)
    concrete = module.reconstruct.get_concrete_function()
    _check_needs_no_python(model, concrete.graph.as_graph_def())
    # The model itself would bring Keras's own files, and the functions that were traced of it.
    module.values = concrete.graph.variables
    return module, concrete


def _check_needs_no_python(model, graph):
    """Checks that a graph calls no function of this Python, which no file holds.

    Raises:
        ValueError: if it does.
    """
    nodes = list(graph.node)
    for function in graph.library.function:
        nodes += function.node_def
    if any(node.op in ("EagerPyFunc", "PyFunc", "PyFuncStateless") for node in nodes):
        raise ValueError(
            "model must compute with TensorFlow alone to be exported. Received: a "
            f"{type(model).__name__} that calls Python, as models of others do"
        )


class _Exchanged(Exception):
    """The new model is in its place."""


def _exchange(one, other):
    """Lets two folders change their names in one step. Returns whether the system can do that."""
    # AT_FDCWD and RENAME_EXCHANGE of the C library.
    current = -100
    flag = 2
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return rename(current, os.fsencode(one), current, os.fsencode(other), flag) == 0


def _aside(path):
    """Where a model waits for the one that replaces it.

    The place is the same for every process, so that the next one finds the model.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.old")


def _put_back(path, old):
    """Leaves one model: the new one where it has taken its place, else the old one.

    The old one may be that of a process that was killed.
    """
    if os.path.isfile(os.path.join(old, "saved_model.pb")):
        if os.path.lexists(path):
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)
