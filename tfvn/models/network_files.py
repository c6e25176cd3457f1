"""Networks from files: our own `.keras`, and weights trained elsewhere. Nothing here runs code from
a file.

Weights are taken as they are: imported filters need not have zero mean and unit norm. Whether the
readout is oversampled is a property of the scan, not of the weights: imported networks have
`readout_oversampling=False`.
"""

import functools
import io
import json
import os
import re
import tempfile
import zipfile
import zlib

import h5py
import numpy as np
import tensorflow as tf

from tfvn.checks import LIMIT, PRECISIONS
from tfvn.data import recognise
from tfvn.data.hdf5 import member
from tfvn.files import replacing
from tfvn.models.variational import VariationalNetwork
from tfvn.network_size import LARGEST_FILE, largest_file, weight_bytes, weight_shapes

__all__ = ["from_keras", "from_npz", "from_tf1_checkpoint", "from_torch", "load_model", "to_npz"]

_CLASS = {"registered_name": "tfvn>VariationalNetwork", "class_name": "VariationalNetwork"}
_NPZ_KEYS = (
    "kernels",
    "rbf_weights",
    "data_term_weights",
    "vmin",
    "vmax",
    "rbf_sigma",
    "rbf_scale",
)
_TF1_KEYS = ("k1", "w1", "lambda")
_TORCH_KEYS = ("conv_kernel", "activation.w", "lamb")
# Files made to be hostile ran code through `torch.load(weights_only=True)` before 2.6
# (CVE-2025-32434), and could corrupt memory before 2.10 (CVE-2026-24747).
_SAFE_TORCH = (2, 10)
# What `VariationalNetwork.get_config` holds. `True` is no number. The limits of all of it are those
# of its constructor: what can be made can be read.
_SETTINGS = {
    "name": str,
    "dtype": str,
    "num_stages": int,
    "filters": int,
    "kernel_size": int,
    "num_centers": int,
    "grid_limit": float,
    "bandwidth": float,
    "scale": float,
    "initial_scale": float,
    "initial_data_weight": float,
    "readout_oversampling": bool,
    "seed": int,
}
# Bytes that the settings may take.
_LARGEST_CONFIG = 2**20


def from_npz(path):
    """A network from an `.npz` file of plain arrays.

    The file holds `kernels` (stage, row, column, re/im, filter), `rbf_weights` (stage, filter,
    centre), `data_term_weights` (stage,), and the scalars `vmin` = -`vmax` (grid), `rbf_sigma`
    (bandwidth), `rbf_scale`.

    Raises:
        ValueError: if the file is not such a file or its arrays do not fit together.
    """
    path = _file(path)
    try:
        with open(path, "rb") as binary, _opened(binary) as file:
            missing = [key for key in _NPZ_KEYS if key not in file]
            if missing:
                raise ValueError(
                    f"expected the arrays {', '.join(_NPZ_KEYS)}. Missing: {missing}. Received:"
                    f" {_names(file)}"
                )
            arrays = [file[key] for key in _NPZ_KEYS]
            # Of a member without the mark of an array NumPy gives the bytes.
            if not all(isinstance(array, np.ndarray) for array in arrays):
                raise ValueError("it is damaged: not all of its members are arrays. Copy it again.")
            weights, numbers = arrays[:3], arrays[3:]
            vmin, vmax, bandwidth, scale = (float(number.item()) for number in numbers)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(f"{path}: not a file of network weights: {_sentence(error)}") from error
    if not np.isclose(vmin, -vmax):
        raise ValueError(f"{path}: expected a symmetric grid. Received: vmin={vmin}, vmax={vmax}")
    return _network(*weights, vmax, bandwidth, scale, path)


def _opened(binary):
    file = np.load(binary, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array, not an .npz archive.")
    parts = file.zip.infolist()
    size = sum(part.file_size for part in parts)
    if size > LARGEST_FILE:
        raise ValueError(f"expected at most {LARGEST_FILE} bytes. Received: {size} bytes, unpacked")
    if any(part.flag_bits & 1 for part in parts):
        raise ValueError("it is encrypted. Decrypt it first.")
    return file


def _file(path):
    """The path of a file that can be opened, as text.

    Raises:
        ValueError: naming it, if it is missing, empty, a folder, or may not be read.
    """
    recognise.head(path)
    return os.fsdecode(path)


def _sentence(error):
    """One line of what a reader raised, for a message."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError)) or "truncated file" in text:
        text += ". It is damaged or cut short: copy it again"
    return text


def to_npz(network, path):
    """Writes the weights and the activation's settings of a `VariationalNetwork` as `from_npz`
    reads them, bit for bit.

    A file of that name appears whole or not. Weights in float64 are written as such, and rounded
    when they are read.

    Raises:
        ValueError: if the file cannot be written.
    """
    phi = network.stages[0].activation
    weights = (
        np.stack([weight.numpy() for weight in block])
        for block in network.parameter_blocks.values()
    )
    values = (*weights, -phi.grid_limit, phi.grid_limit, phi.bandwidth, phi.scale)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **dict(zip(_NPZ_KEYS, values)))


def from_tf1_checkpoint(prefix, convention="icg", grid_limit=1.0):
    """A network from a TensorFlow 1 checkpoint of the original training script
    (VLOGroup/mri-variationalnetwork).

    Of the variables are read `k1` complex (stage, k, k, 1, filter), whose real part acts on the
    real image and whose imaginary part on the imaginary one, `w1` (stage, filter, centre) and
    `lambda` (stage, 1).

    Args:
        prefix: as in "checkpoint-1000" of the files checkpoint-1000.index and
            checkpoint-1000.data-*; the .index file; or a folder whose file `checkpoint` names the
            latest.
        convention: of the activation, which no checkpoint tells. "icg": a script that imports
            tensorflow.contrib.icg, bandwidth 2 grid_limit / num_centers and scale 1. "optox": one
            that imports optotf, bandwidth 2 grid_limit / (num_centers - 1) and scale 0.4.
        grid_limit: `vmax` of the script's network configuration.

    Raises:
        ValueError: for another convention, if there is no such checkpoint, if it is damaged, or its
            variables are others.
    """
    path = prefix = os.fsdecode(prefix)
    if convention not in ("icg", "optox"):
        raise ValueError(
            f"{path}: convention must be 'icg' or 'optox'. Received: convention={convention!r}"
        )
    try:
        prefix = _latest(path) if os.path.isdir(path) else path.removesuffix(".index")
        k1, w1, data_weights = _variables(prefix)
    except (
        Exception
    ) as error:  # Of a damaged file TensorFlow raises OpError, IndexError, ValueError and more.
        raise ValueError(
            f"{path}: cannot be read as a checkpoint of a variational network: {_sentence(error)}"
        ) from error
    kernels_fit = k1.dtype.kind == "c" and k1.ndim == 5 and k1.shape[3] == 1
    if not kernels_fit or w1.ndim != 3 or not w1.size or data_weights.shape != (len(k1), 1):
        received = f"k1 {k1.dtype} {k1.shape}, w1 {w1.shape}, lambda {data_weights.shape}"
        raise ValueError(
            f"{path}: expected k1 complex (stage, k, k, 1, filter), w1 (stage, filter, centre),"
            f" lambda (stage, 1). Received: {received}"
        )
    kernels = np.concatenate([k1.real, k1.imag], 3)
    bandwidth, scale = {"icg": (2 * grid_limit / w1.shape[2], 1.0), "optox": (None, 0.4)}[
        convention
    ]
    return _network(kernels, w1, data_weights[:, 0], grid_limit, bandwidth, scale, path)


def _latest(folder):
    """The prefix of the checkpoint that the file `checkpoint` of a folder names."""
    # `tf.train.latest_checkpoint` takes a folder with brackets for a pattern.
    state = tf.train.get_checkpoint_state(folder)
    if state is None or not os.path.isfile(f"{state.model_checkpoint_path}.index"):
        found = sorted(name for name in os.listdir(folder) if name.endswith(".index"))
        raise ValueError(
            "its file `checkpoint` names none that is there; name one itself. Received:"
            f" {found[:10]}"
        )
    return state.model_checkpoint_path


def _variables(prefix):
    """k1, w1 and lambda of a checkpoint."""
    folder, name = os.path.split(os.path.abspath(prefix))
    there = os.listdir(folder) if os.path.isdir(folder) else []
    endings = [
        ".index",
        *(found.removeprefix(name) for found in there if found.startswith(f"{name}.data-")),
    ]
    for ending in endings:
        recognise.head(prefix + ending)
    if not set("*?[]\\") & set(prefix):
        return _read_variables(prefix)
    # TensorFlow takes such a name for a pattern.
    with tempfile.TemporaryDirectory() as plain:
        for ending in endings:
            os.symlink(
                os.path.join(folder, name + ending), os.path.join(plain, "checkpoint" + ending)
            )
        return _read_variables(os.path.join(plain, "checkpoint"))


def _read_variables(prefix):
    reader = tf.train.load_checkpoint(prefix)
    variables = reader.get_variable_to_shape_map()
    missing = [key for key in _TF1_KEYS if key not in variables]
    if missing:
        raise ValueError(
            f"expected the variables k1, w1, lambda. Missing: {missing}. Received:"
            f" {_names(variables)}"
        )
    return [reader.get_tensor(key) for key in _TF1_KEYS]


def from_torch(path):
    """A network from a PyTorch state dict of the port rixez/pytorch_mri_variationalnetwork, or one
    below "state_dict".

    For every stage t it holds `cell_list.<t>.conv_kernel` (filter, 1, k, k, 2),
    `cell_list.<t>.activation.w` (1, filter, 1, 1, centre) and `cell_list.<t>.lamb` (). The grid is
    that of the port, [-1, 1]. Only the border differs: the port reflects the image without
    repeating its outermost pixels, here and in the original code they are repeated.

    Raises:
        ValueError: if PyTorch is not installed or one of those that files can attack (before 2.10),
            the file is not such a file, or its arrays do not fit together.
    """
    path = _file(path)
    try:
        import torch
    except (ImportError, OSError) as error:
        raise ValueError(
            f"{path}: a PyTorch file is read by PyTorch, which cannot be imported ({error})."
            " Install it: pip install torch. Or write the arrays to an .npz file where it is"
            " installed; help(tfvn.models.network_files.from_npz) lists them."
        ) from error
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < _SAFE_TORCH:
        raise ValueError(
            f"{path}: PyTorch before {'.'.join(map(str, _SAFE_TORCH))} may run code that is hidden"
            " in such a file (CVE-2025-32434, CVE-2026-24747). Received: PyTorch"
            f" {torch.__version__}. Install a later one, or write the arrays to an .npz file;"
            " help(tfvn.models.network_files.from_npz) lists them."
        )
    try:
        # Without `weights_only` a file may run any code.
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        arrays = {
            key: value.detach().numpy()
            for key, value in state.items()
            if key.startswith("cell_list.")
        }
    except (
        Exception
    ) as error:  # Readers of pickles raise anything; the caller needs the file's name and one type.
        reason = f"{type(error).__name__}: {_sentence(error)}"
        raise ValueError(f"{path}: cannot be loaded as a PyTorch state dict: {reason}") from error
    num_stages = len({key.split(".")[1] for key in arrays})
    expected = {f"cell_list.{t}.{name}" for t in range(num_stages) for name in _TORCH_KEYS}
    if not arrays or arrays.keys() != expected:
        raise ValueError(
            f"{path}: expected cell_list.<stage>.conv_kernel, .activation.w and .lamb of the stages"
            f" 0, 1, ... Missing: {sorted(expected - arrays.keys())}. Received: {_names(state)}"
        )
    blocks = [[arrays[f"cell_list.{t}.{name}"] for t in range(num_stages)] for name in _TORCH_KEYS]
    try:
        kernels, rbf_weights, data_weights = (np.stack(block) for block in blocks)
        kernels, rbf_weights = (
            kernels.squeeze(2).transpose(0, 2, 3, 4, 1),
            rbf_weights.squeeze((1, 3, 4)),
        )
    except ValueError as error:
        shapes = [sorted({array.shape for array in block}) for block in blocks]
        raise ValueError(
            f"{path}: expected of every stage conv_kernel (filter, 1, k, k, 2), activation.w (1,"
            f" filter, 1, 1, centre) and lamb (). Received: {', '.join(map(str, shapes))}"
        ) from error
    return _network(
        kernels, rbf_weights, data_weights, grid_limit=1.0, bandwidth=None, scale=1.0, source=path
    )


def _network(kernels, rbf_weights, data_weights, grid_limit, bandwidth, scale, source):
    """The network of arrays in the layout of `from_npz`; errors begin with `source`. No bandwidth
    means one grid step.
    """
    arrays = {"kernels": kernels, "rbf_weights": rbf_weights, "data_term_weights": data_weights}
    fit = all(array.dtype.kind in "fiu" for array in arrays.values())
    fit = fit and (kernels.ndim, rbf_weights.ndim, data_weights.ndim) == (5, 3, 1)
    if fit:
        stages, rows, columns, channels, filters = kernels.shape
        fit = (
            (rows, channels) == (columns, 2)
            and rbf_weights.shape[:2] == (stages, filters)
            and len(data_weights) == stages
        )
    if not fit:
        received = ", ".join(
            f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()
        )
        raise ValueError(
            f"{source}: expected real kernels (stage, k, k, 2, filter), rbf_weights (stage, filter,"
            f" centre), data_term_weights (stage,). Received: {received}"
        )
    settings = [value for value in (grid_limit, bandwidth, scale) if value is not None]
    # A larger number would be infinite in the network. NaN is not <= anything.
    largest = np.finfo(np.float32).max
    if not all((np.abs(array) <= largest).all() for array in (*arrays.values(), settings)):
        raise ValueError(
            f"{source}: expected finite numbers. Received: NaN, infinite or too large weights or"
            " settings."
        )
    try:
        network = VariationalNetwork(
            num_stages=stages,
            filters=filters,
            kernel_size=rows,
            num_centers=rbf_weights.shape[2],
            grid_limit=grid_limit,
            bandwidth=bandwidth,
            scale=scale,
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    for stage, kernel, weights, data_weight in zip(
        network.stages, kernels, rbf_weights, data_weights
    ):
        stage.kernel.assign(kernel)
        stage.rbf_weights.assign(weights)
        stage.data_weight.assign(data_weight)
    return network


def from_keras(path):
    """A network from a `.keras` file that `network.save` wrote, under Keras 2 or 3, which name the
    groups of the weights differently.

    Keras has no part in it: what its readers find in a file they import and call, with `safe_mode`
    too (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906; the Keras of TensorFlow 2.15 gets no more
    repairs). Settings are read as JSON and checked, weights as arrays of known shapes.

    Raises:
        ValueError: if it is not such a file.
    """
    path = _file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            config = _settings(json.loads(_unpacked(archive, "config.json", _LARGEST_CONFIG)))
            sizes = [config[key] for key in ("filters", "kernel_size", "num_centers")]
            size = (config["num_stages"], *sizes, config["dtype"])
            # Before a network is built: a few digits ask for all the memory that there is.
            weights = _unpacked(
                archive, "model.weights.h5", largest_file(*size), weight_bytes(*size)
            )
        arrays = _stage_weights(weights, config["num_stages"], weight_shapes(*sizes))
        network = VariationalNetwork(**config)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be loaded as a tfvn VariationalNetwork: {_sentence(error)}"
        ) from error
    for stage, values in zip(network.stages, arrays):
        for name, value in values.items():
            getattr(stage, name).assign(value)
    return network


def _unpacked(archive, name, most, least=0):
    # The archive's own word is enough: reading stops there.
    size = archive.getinfo(name).file_size
    if not least <= size <= most:
        raise ValueError(
            f"{name} must have {least} to {most} bytes for this network. Received: {size} bytes"
        )
    return archive.read(name)


def _settings(config):
    """The arguments of `VariationalNetwork` in a `config.json`: plain values of the right type, and
    nothing else.
    """
    received = {key: config.get(key) for key in _CLASS} if isinstance(config, dict) else config
    if received != _CLASS:
        raise ValueError(f"expected a tfvn VariationalNetwork. Received: {str(received)[:200]}")
    settings = config.get("config")
    if not isinstance(settings, dict) or settings.keys() != _SETTINGS.keys():
        raise ValueError(
            f"expected the settings {', '.join(_SETTINGS)}. Received: {str(settings)[:200]}"
        )
    for key, kind in _SETTINGS.items():
        value = settings[key]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if fits and kind in (int, float):
            fits = abs(value) < LIMIT
        if not fits:
            raise ValueError(
                f"{key} must be of type {kind.__name__}, numbers below 2^31. Received:"
                f" {key}={str(value)[:200]}"
            )
    if settings["dtype"] not in PRECISIONS:
        raise ValueError(
            f"dtype must be float32 or float64. Received: dtype={settings['dtype'][:200]!r}"
        )
    return settings


def _stage_weights(content, num_stages, shapes):
    """The weights of every stage, a dict each, from the bytes of a `model.weights.h5`."""
    places = {"kernel": "vars/0", "data_weight": "vars/1", "rbf_weights": "activation/vars/0"}
    with h5py.File(io.BytesIO(content), "r") as file:
        # Keras 2 files the stages under their attribute's name, Keras 3 under that of all layers.
        root = member(file, "stages" if "stages" in file else "layers")
        result = []
        for stage in (f"stage_{t}" if t else "stage" for t in range(num_stages)):
            found = {
                name: functools.reduce(member, [stage, *place.split("/")], root)
                for name, place in places.items()
            }
            for name, item in found.items():
                # Of other shapes or packed, a small file could fill the memory.
                fits = (
                    isinstance(item, h5py.Dataset)
                    and item.shape == shapes[name]
                    and item.dtype.kind == "f"
                )
                if not fits or item.chunks:
                    raise ValueError(
                        f"{name} of {stage} must be numbers of shape {shapes[name]}. Received:"
                        f" {item}"
                    )
            result.append({name: item[()] for name, item in found.items()})
            if not all(np.isfinite(array).all() for array in result[-1].values()):
                raise ValueError(
                    f"the weights of {stage} must be finite. Received: NaN or infinite ones"
                )
    return result


def load_model(path):
    """A `VariationalNetwork` from `network.save("model.keras")` (`from_keras`), an `.npz`
    (`from_npz`) or `.pt`, `.pth` file (`from_torch`), or a run directory. Its content says what a
    file is, not its name. Nothing in the file is run.

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
    if zipfile.is_zipfile(path):
        return _reader_of_archive(path)(path)
    # Older files of PyTorch are pickles, which only its own reader for weights opens.
    if path.endswith((".pt", ".pth")):
        return from_torch(path)
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
            " tfvn.models.network_files.from_tf1_checkpoint."
        )
    elif any(name.endswith((".keras", ".npz", ".pt", ".pth")) for name in found):
        advice = "Name the file in it."
    raise ValueError(
        f"{path}: there is no such model file. Received: a folder of {_names(found) or 'nothing'}."
        f" {advice}"
    )


def _reader_of_archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:
        raise ValueError(
            f"{path}: damaged or cut off: {_sentence(error)}. Copy it again."
        ) from error
    if any(name.endswith("data.pkl") for name in names):
        return from_torch
    if any(name.endswith(".npy") for name in names):
        return from_npz
    return from_keras


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


def _names(names):
    """A list of names for a message."""
    return str(sorted(names)[:20])[:500] if names else ""
