"""Networks from files: our own `.keras`, and weights trained elsewhere. Nothing here runs code from a file."""
import os
import zipfile
import zlib

import numpy as np
from tensorflow import keras

from tfvn.network import VariationalNetwork

_NPZ_KEYS = ("kernels", "rbf_weights", "data_term_weights", "vmin", "vmax", "rbf_sigma", "rbf_scale")


def from_npz(path):
    """A network from an `.npz` file of plain arrays.

    The file holds `kernels` (stage, row, column, re/im, filter), `rbf_weights` (stage, filter, centre), `data_term_weights`
    (stage,), and the scalars `vmin` = -`vmax` (grid), `rbf_sigma` (bandwidth), `rbf_scale`. Weights are taken as they are:
    imported filters need not have zero mean and unit norm.

    Raises:
        ValueError: if the file is not such a file or its arrays do not fit together.
    """
    try:
        with open(path, "rb") as binary, _opened(binary) as file:
            missing = [key for key in _NPZ_KEYS if key not in file]
            if missing:
                raise ValueError(f"expected the arrays {', '.join(_NPZ_KEYS)}. Missing: {missing}. Received: {sorted(file)}")
            arrays = {key: file[key] for key in _NPZ_KEYS}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a file of network weights: {error}") from error
    kernels, rbf_weights, data_weights = (arrays[key] for key in _NPZ_KEYS[:3])
    expected = "kernels (stage, k, k, 2, filter), rbf_weights (stage, filter, centre), data_term_weights (stage,)"
    shapes = f"Received: {kernels.shape}, {rbf_weights.shape}, {data_weights.shape}"
    if (kernels.ndim, rbf_weights.ndim, data_weights.ndim) != (5, 3, 1):
        raise ValueError(f"{path}: expected {expected}. {shapes}")
    stages, rows, columns, channels, filters = kernels.shape
    if (rows, channels) != (columns, 2) or rbf_weights.shape[:2] != (stages, filters) or len(data_weights) != stages:
        raise ValueError(f"{path}: expected {expected}. {shapes}")
    if not np.isclose(arrays["vmin"], -arrays["vmax"]):
        raise ValueError(f"{path}: expected a symmetric grid. Received: vmin={arrays['vmin']}, vmax={arrays['vmax']}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{path}: the weights hold NaN or infinite values.")
    network = VariationalNetwork(
        num_stages=stages,
        filters=filters,
        kernel_size=rows,
        num_centers=rbf_weights.shape[2],
        grid_limit=float(arrays["vmax"]),
        bandwidth=float(arrays["rbf_sigma"]),
        scale=float(arrays["rbf_scale"]),
    )
    for stage, kernel, weights, data_weight in zip(network.stages, kernels, rbf_weights, data_weights):
        stage.kernel.assign(kernel)
        stage.rbf_weights.assign(weights)
        stage.data_weight.assign(data_weight)
    return network


def _opened(binary):
    file = np.load(binary, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array, not an .npz archive.")
    return file


def load_model(path):
    """A `VariationalNetwork` from `network.save("model.keras")`, an `.npz` file (`from_npz`) or a run directory.

    Raises:
        ValueError: if there is no such file or it holds something else.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "model.keras")
    if not os.path.isfile(path):
        raise ValueError(f"{path}: there is no such model file.")
    if path.endswith(".npz"):
        return from_npz(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a model in the .keras or .npz format. This file is neither, or is damaged.")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly every type here; the caller needs the file's name and one type.
        raise ValueError(f"{path}: cannot be loaded as a Keras model: {error}") from error
    if not isinstance(model, VariationalNetwork):
        raise ValueError(f"{path}: expected a tfvn VariationalNetwork. Received: a model of type {type(model).__name__}")
    return model
