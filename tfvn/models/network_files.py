"""Models in files: the `.keras` files that `model.save` writes, and `load_model` for all formats
there are. Nothing here runs code from a file.

Keras has no part in reading. What its readers find in a file they import and call, with `safe_mode`
too (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and the Keras of TensorFlow 2.15 gets no more
repairs. So the file only names a class of `tfvn.models.MODELS`. Its settings are read as JSON, and
its constructor checks them. The class also says where its weights lie (`Reconstructor.places`),
which are read as arrays of known shapes.
"""

import functools
import inspect
import io
import json
import math
import os
import zipfile

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn.checks import LIMIT
from tfvn.data import recognise
from tfvn.data.hdf5 import member
from tfvn.models.bart_weights import from_bart_file
from tfvn.models.base import Reconstructor
from tfvn.models.cascade_weights import from_deep_mri_file, is_deep_mri
from tfvn.models.cfl_files import ENDINGS
from tfvn.models.imported import from_npz, from_torch_file, names_of, readable, sentence

__all__ = ["from_keras_file", "load_model"]

# Bytes that the settings may take.
_LARGEST_CONFIG = 2**20
# A file holds each weight up to twice, and the state of an optimizer, up to three numbers for each.
_NUMBERS_PER_WEIGHT = 5
# The structure of the file itself, in bytes.
_OVERHEAD = 2**20
_OVERHEAD_PER_WEIGHT = 2**16


def from_keras_file(path):
    """A model from a `.keras` file that `model.save` wrote, under Keras 2 or 3.

    Raises:
        ValueError: if it is not such a file.
    """
    path = readable(path)
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(_unpacked(archive, "config.json", 0, _LARGEST_CONFIG))
            model = _made(config)
            sizes = _sizes(model.weights)
            # An archive of a few bytes may unpack to all the memory that there is.
            content = _unpacked(archive, "model.weights.h5", *sizes)
        _read_weights(model, content)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be loaded as a model of tfvn: {sentence(error)}"
        ) from error
    return model


def _unpacked(archive, name, least, most):
    """The bytes of a member of an archive."""
    # The archive's own word is enough: reading stops there.
    size = archive.getinfo(name).file_size
    if not least <= size <= most:
        raise ValueError(
            f"{name} must have {least} to {most} bytes for this model. Received: {size} bytes"
        )
    return archive.read(name)


def _sizes(weights):
    """The least and the most bytes that a file of these weights may have."""
    least = 0
    for weight in weights:
        least += math.prod(weight.shape) * tf.as_dtype(weight.dtype).size
    most = _NUMBERS_PER_WEIGHT * least + _OVERHEAD_PER_WEIGHT * len(weights) + _OVERHEAD
    return least, most


def _made(config):
    """The model of a `config.json`, with the weights that it begins with."""
    cls = _class_of(config)
    settings = config.get("config")
    _check_settings(settings, _settings_of(cls))
    model = cls(**settings)
    missing = sorted(model.get_config().keys() - settings.keys())
    if missing:
        raise ValueError(f"expected all settings of {cls.__name__}. Missing: {missing}")
    model.make_weights()
    return model


def _class_of(config):
    """The class that a `config.json` names, out of those of this package."""
    # Where the classes are listed, this module's reader is as well.
    from tfvn.models import MODELS

    received = str(config)
    if isinstance(config, dict):
        names = config.get("registered_name"), config.get("class_name")
        for cls in MODELS.values():
            if names == (keras.utils.get_registered_name(cls), cls.__name__):
                return cls
        received = ", ".join(map(str, names))
    known = sorted(cls.__name__ for cls in MODELS.values())
    raise ValueError(
        f"expected a model of the classes of tfvn.models.MODELS, {', '.join(known)}. "
        f"Received: {received[:200]}"
    )


def _settings_of(cls):
    """The names that the constructor of a model takes."""
    names = {"name", "dtype"}
    for base in cls.__mro__:
        if issubclass(base, Reconstructor):
            names.update(inspect.signature(base).parameters)
    return names - {"args", "kwargs"}


def _check_settings(settings, known):
    """Checks that settings are of known names, and plain values.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"expected a dict of settings. Received: {str(settings)[:200]}")
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(
            f"expected the settings {', '.join(sorted(known))}. Received also: {unknown[:10]}"
        )
    for name, value in settings.items():
        if not _is_plain(value):
            raise ValueError(
                f"{name} must be a text, True, False, null, a finite number below 2^31 or a list "
                f"of them. Received: {name}={str(value)[:200]}"
            )


def _is_plain(value):
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, (int, float)):
        # NaN is not below anything.
        return abs(value) < LIMIT
    return value is None or isinstance(value, str)


def _read_weights(model, content):
    """Gives a model the weights of a `model.weights.h5`."""
    with h5py.File(io.BytesIO(content), "r") as file:
        values = []
        places = model.places(list(file))
        for place, weight in places.items():
            values.append(_values(file, place, tuple(weight.shape)))
    for place, value in zip(places, values):
        if not np.isfinite(value).all():
            raise ValueError(f"{place} must be finite. Received: NaN or infinite weights")
    for weight, value in zip(places.values(), values):
        weight.assign(value)


def _values(file, place, shape):
    """The numbers at a place of an HDF5 file, checked before they are read."""
    try:
        item = functools.reduce(member, place.split("/"), file)
    except KeyError as error:
        raise ValueError(
            f"{place} must be there, but {error.args[0]}. Only variational networks are read under "
            "another Keras, 2 or 3, than the one that they were saved under."
        ) from error
    # Of other shapes or packed, a small file could fill the memory.
    fits = isinstance(item, h5py.Dataset) and item.shape == shape and not item.chunks
    if not fits or item.dtype.kind not in "fiu":
        raise ValueError(f"{place} must be numbers of shape {shape}. Received: {item}")
    return item[()]


def load_model(path):
    """A model from a file, or from a run directory.

    It is a `.keras` file that `model.save` wrote, of any class of `tfvn.models.MODELS`; or an
    `.npz` file or a `.pt` or `.pth` file of a variational network, see `tfvn.models.imported`; or
    an `.npz` file of a deep cascade, see `tfvn.models.cascade_weights`; or a `.cfl` file of BART's
    weights, see `tfvn.models.bart_weights`. The content says what a file is, not its name, apart
    from BART's. Nothing in the file is run.

    Raises:
        ValueError: if there is no such file or it holds something else; the text says what it
            holds.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise ValueError(
            "expected the path of a model file or of a run directory. Received:"
            f" path={str(path)[:200]}"
        )
    path = os.fsdecode(path)
    if os.path.isdir(path):
        path = _model_of(path)
    if not os.path.lexists(path):
        raise ValueError(f"{path}: there is no such model file. Check the path.")
    content = recognise.head(path)
    if path.endswith(ENDINGS):
        return from_bart_file(path)
    if zipfile.is_zipfile(path):
        return _reader_of_archive(path)(path)
    # Older files of PyTorch are pickles, which only its own reader for weights opens.
    if path.endswith((".pt", ".pth")):
        return from_torch_file(path)
    if path.endswith(".npz"):
        return from_npz(path)
    raise ValueError(
        f"{path}: damaged or cut off, or none of the formats of models: .keras, .npz, .pt or .pth."
        f" {_what(content)}"
    )


def _model_of(folder):
    """The model file of a run directory."""
    path = os.path.join(folder, "model.keras")
    if os.path.lexists(path):
        return path
    try:
        found = sorted(os.listdir(folder))
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be read: {error.strerror}. Ask its owner for the permission."
        ) from error
    advice = "Train it first, or name a model file."
    if "saved_model.pb" in found:
        advice = (
            "It is a SavedModel, an export that is not read back: name the model that was exported."
        )
    elif any(name.endswith(".index") for name in found):
        advice = (
            "It holds checkpoints: those of the original code are read by"
            " tfvn.models.imported.from_tf1_checkpoint."
        )
    elif any(name.endswith((".keras", ".npz", ".pt", ".pth")) for name in found):
        advice = "Name the file in it."
    held = names_of(found) or "nothing"
    raise ValueError(f"{path}: there is no such model file. Received: a folder of {held}. {advice}")


def _reader_of_archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:
        raise ValueError(
            f"{path}: damaged or cut off: {sentence(error)}. Copy it again."
        ) from error
    if any(name.endswith("data.pkl") for name in names):
        return from_torch_file
    if is_deep_mri(names):
        return from_deep_mri_file
    if any(name.endswith(".npy") for name in names):
        return from_npz
    return from_keras_file


def _what(content):
    """What a file is that is no model, and what to do."""
    if content.startswith(b"\x89HDF"):
        return (
            "It is an HDF5 file, such as weights alone: save the network by"
            " network.save('model.keras')."
        )
    if content.lstrip().startswith((b"{", b"[")):
        return "It is text that looks like JSON: a network's settings are no weights."
    if content.startswith((b"\x93NUMPY", b"MATLAB")):
        return "It is a file of arrays."
    meaning, _ = recognise.seems(content)
    return f"{meaning[0].upper()}{meaning[1:]}."
