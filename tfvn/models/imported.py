"""Variational networks whose weights were trained elsewhere: arrays in an `.npz` file, TensorFlow 1
checkpoints, PyTorch state dicts. Nothing here runs code from a file.

Weights are taken as they are: imported filters need not have zero mean and unit norm. Whether the
readout is oversampled is a property of the scan, not of the weights: imported networks have
`readout_oversampling=False`.
"""

import os
import re
import tempfile
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from tfvn.data import recognise
from tfvn.files import replacing
from tfvn.models.fastmri_weights import is_fastmri, network_of
from tfvn.models.variational import VariationalNetwork
from tfvn.network_size import LARGEST_FILE

__all__ = [
    "from_npz",
    "from_tf1_checkpoint",
    "from_torch_file",
    "names_of",
    "opened_npz",
    "read_checkpoint",
    "readable",
    "sentence",
    "to_npz",
]

_NPZ_WEIGHTS = ("kernels", "rbf_weights", "data_term_weights")
_NPZ_NUMBERS = ("vmin", "vmax", "rbf_sigma", "rbf_scale")
_NPZ_KEYS = _NPZ_WEIGHTS + _NPZ_NUMBERS
_TF1_KEYS = ("k1", "w1", "lambda")
_TORCH_KEYS = ("conv_kernel", "activation.w", "lamb")
# Files made to be hostile ran code through `torch.load(weights_only=True)` before 2.6
# (CVE-2025-32434), and could corrupt memory before 2.10 (CVE-2026-24747).
_SAFE_TORCH = (2, 10)


def from_npz(path):
    """A network from an `.npz` file of plain arrays.

    The file holds `kernels` (stage, row, column, re/im, filter), `rbf_weights` (stage, filter,
    centre), `data_term_weights` (stage,), and the scalars `vmin` = -`vmax` (grid), `rbf_sigma`
    (bandwidth), `rbf_scale`.

    Raises:
        ValueError: if the file is not such a file or its arrays do not fit together.
    """
    path = readable(path)
    try:
        with open(path, "rb") as binary, opened_npz(binary) as file:
            weights, numbers = _npz_arrays(file)
        vmin, vmax, bandwidth, scale = (float(number.item()) for number in numbers)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(f"{path}: not a file of network weights: {sentence(error)}") from error
    if not np.isclose(vmin, -vmax):
        raise ValueError(f"{path}: expected a symmetric grid. Received: vmin={vmin}, vmax={vmax}")
    return _network(*weights, vmax, bandwidth, scale, path)


def _npz_arrays(file):
    """The arrays of weights in an open `.npz` file, and those of single numbers."""
    missing = [key for key in _NPZ_KEYS if key not in file]
    if missing:
        raise ValueError(
            f"expected the arrays {', '.join(_NPZ_KEYS)}. Missing: {missing}. Received:"
            f" {names_of(file)}"
        )
    arrays = [file[key] for key in _NPZ_KEYS]
    # Of a member without the mark of an array NumPy gives the bytes.
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise ValueError("it is damaged: not all of its members are arrays. Copy it again.")
    return arrays[: len(_NPZ_WEIGHTS)], arrays[len(_NPZ_WEIGHTS) :]


def to_npz(network, path):
    """Writes the weights and the activation's settings of a `VariationalNetwork` as `from_npz`
    reads them, bit for bit.

    A file of that name appears whole or not. Weights in float64 are written as such, and rounded
    when they are read.

    Raises:
        ValueError: if the file cannot be written.
    """
    phi = network.stages[0].activation
    values = []
    for block in network.parameter_blocks.values():
        values.append(np.stack([weight.numpy() for weight in block]))
    values += [-phi.grid_limit, phi.grid_limit, phi.bandwidth, phi.scale]
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
    path = os.fsdecode(prefix)
    if convention not in ("icg", "optox"):
        raise ValueError(
            f"{path}: convention must be 'icg' or 'optox'. Received: convention={convention!r}"
        )
    try:
        k1, w1, data_weights = read_checkpoint(path, lambda found: _TF1_KEYS).values()
    # Of a damaged file TensorFlow raises OpError, IndexError, ValueError and more.
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read as a checkpoint of a variational network: {sentence(error)}"
        ) from error
    kernels_fit = k1.dtype.kind == "c" and k1.ndim == 5 and k1.shape[3] == 1
    if not kernels_fit or w1.ndim != 3 or not w1.size or data_weights.shape != (len(k1), 1):
        received = f"k1 {k1.dtype} {k1.shape}, w1 {w1.shape}, lambda {data_weights.shape}"
        raise ValueError(
            f"{path}: expected k1 complex (stage, k, k, 1, filter), w1 (stage, filter, centre),"
            f" lambda (stage, 1). Received: {received}"
        )
    kernels = np.concatenate([k1.real, k1.imag], 3)
    bandwidth, scale = None, 0.4
    if convention == "icg":
        bandwidth, scale = 2 * grid_limit / w1.shape[2], 1.0
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


def read_checkpoint(path, wanted):
    """Variables of a TensorFlow 1 checkpoint, a dict from their names to arrays.

    Args:
        path: as for `from_tf1_checkpoint`.
        wanted: a function from the names that are there to those that are read.

    Raises:
        ValueError: if one of them is missing; any error of TensorFlow for a damaged file.
    """
    prefix = path
    if os.path.isdir(path):
        prefix = _latest(path)
    prefix = prefix.removesuffix(".index")
    folder, name = os.path.split(os.path.abspath(prefix))
    endings = [".index"]
    if os.path.isdir(folder):
        for found in os.listdir(folder):
            if found.startswith(f"{name}.data-"):
                endings.append(found.removeprefix(name))
    for ending in endings:
        recognise.head(prefix + ending)
    if not set("*?[]\\") & set(prefix):
        return _read_variables(prefix, wanted)
    # TensorFlow takes such a name for a pattern.
    with tempfile.TemporaryDirectory() as plain:
        for ending in endings:
            link = os.path.join(plain, "checkpoint" + ending)
            os.symlink(os.path.join(folder, name + ending), link)
        return _read_variables(os.path.join(plain, "checkpoint"), wanted)


def _read_variables(prefix, wanted):
    reader = tf.train.load_checkpoint(prefix)
    variables = reader.get_variable_to_shape_map()
    keys = wanted(variables)
    missing = [key for key in keys if key not in variables]
    if missing:
        raise ValueError(
            f"expected the variables {', '.join(keys)[:100]}. Missing: {missing[:3]}. Received:"
            f" {names_of(variables)}"
        )
    return {key: reader.get_tensor(key) for key in keys}


def from_torch_file(path):
    """A network from a PyTorch state dict, or from one below "state_dict".

    It is one of fastMRI, see `tfvn.models.fastmri_weights`, or one of the port
    rixez/pytorch_mri_variationalnetwork. The latter holds for every stage t
    `cell_list.<t>.conv_kernel` (filter, 1, k, k, 2), `cell_list.<t>.activation.w` (1, filter, 1, 1,
    centre) and `cell_list.<t>.lamb` (). The grid is that of the port, [-1, 1]. Only the border
    differs: the port reflects the image without repeating its outermost pixels, here and in the
    original code they are repeated.

    Raises:
        ValueError: if PyTorch is not installed or one of those that files can attack (before 2.10),
            the file is not such a file, or its arrays do not fit together.
    """
    path = readable(path)
    torch = _torch(path)
    try:
        # Without `weights_only` a file may run any code.
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        from_fastmri = is_fastmri(state)
        arrays = {}
        for key, value in state.items():
            if from_fastmri or key.startswith("cell_list."):
                arrays[key] = value.detach().numpy()
    # Readers of pickles raise anything; the caller needs the file's name and one type.
    except Exception as error:
        reason = f"{type(error).__name__}: {sentence(error)}"
        raise ValueError(f"{path}: cannot be loaded as a PyTorch state dict: {reason}") from error
    if from_fastmri:
        return network_of(arrays, path)
    return _of_port(arrays, path, state)


def _of_port(arrays, path, names):
    """The network of the port's arrays, out of a state dict of these names."""
    stages = range(len({key.split(".")[1] for key in arrays}))
    expected = {f"cell_list.{t}.{name}" for t in stages for name in _TORCH_KEYS}
    if not arrays or arrays.keys() != expected:
        raise ValueError(
            f"{path}: expected cell_list.<stage>.conv_kernel, .activation.w and .lamb of the stages"
            f" 0, 1, ... Missing: {sorted(expected - arrays.keys())}. Received: {names_of(names)}"
        )
    blocks = []
    for name in _TORCH_KEYS:
        blocks.append([arrays[f"cell_list.{t}.{name}"] for t in stages])
    try:
        kernels, rbf_weights, data_weights = map(np.stack, blocks)
        kernels = kernels.squeeze(2).transpose(0, 2, 3, 4, 1)
        rbf_weights = rbf_weights.squeeze((1, 3, 4))
    except ValueError as error:
        shapes = [str(_shapes(block)) for block in blocks]
        raise ValueError(
            f"{path}: expected of every stage conv_kernel (filter, 1, k, k, 2), activation.w (1,"
            f" filter, 1, 1, centre) and lamb (). Received: {', '.join(shapes)}"
        ) from error
    return _network(
        kernels, rbf_weights, data_weights, grid_limit=1.0, bandwidth=None, scale=1.0, source=path
    )


def _torch(path):
    """The module torch, if it is safe to read the file with.

    Raises:
        ValueError: naming the file, if it is not, or not installed.
    """
    instead = "help(tfvn.models.imported.from_npz) lists them."
    try:
        import torch
    except (ImportError, OSError) as error:
        raise ValueError(
            f"{path}: a PyTorch file is read by PyTorch, which cannot be imported ({error})."
            " Install it: pip install torch. Or write the arrays to an .npz file where it is"
            f" installed; {instead}"
        ) from error
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < _SAFE_TORCH:
        raise ValueError(
            f"{path}: PyTorch before {'.'.join(map(str, _SAFE_TORCH))} may run code that is hidden"
            " in such a file (CVE-2025-32434, CVE-2026-24747). Received: PyTorch"
            f" {torch.__version__}. Install a later one, or write the arrays to an .npz file;"
            f" {instead}"
        )
    return torch


def _shapes(arrays):
    return sorted({array.shape for array in arrays})


def _network(kernels, rbf_weights, data_weights, grid_limit, bandwidth, scale, source):
    """The network of arrays in the layout of `from_npz`; errors begin with `source`. No bandwidth
    means one grid step.
    """
    arrays = dict(zip(_NPZ_WEIGHTS, (kernels, rbf_weights, data_weights)))
    if not _fit_together(kernels, rbf_weights, data_weights):
        received = [f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()]
        raise ValueError(
            f"{source}: expected real kernels (stage, k, k, 2, filter), rbf_weights (stage, filter,"
            f" centre), data_term_weights (stage,). Received: {', '.join(received)}"
        )
    settings = [value for value in (grid_limit, bandwidth, scale) if value is not None]
    # A larger number would be infinite in the network. NaN is not <= anything.
    largest = np.finfo(np.float32).max
    if not all((np.abs(array) <= largest).all() for array in (*arrays.values(), settings)):
        raise ValueError(
            f"{source}: expected finite numbers. Received: NaN, infinite or too large weights or"
            " settings."
        )
    num_stages, kernel_size, _, _, filters = kernels.shape
    try:
        network = VariationalNetwork(
            num_stages=num_stages,
            filters=filters,
            kernel_size=kernel_size,
            num_centers=rbf_weights.shape[2],
            grid_limit=grid_limit,
            bandwidth=bandwidth,
            scale=scale,
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    for number, stage in enumerate(network.stages):
        stage.kernel.assign(kernels[number])
        stage.rbf_weights.assign(rbf_weights[number])
        stage.data_weight.assign(data_weights[number])
    return network


def _fit_together(kernels, rbf_weights, data_weights):
    """Whether arrays are real, and the weights of one network."""
    arrays = (kernels, rbf_weights, data_weights)
    if not all(array.dtype.kind in "fiu" for array in arrays):
        return False
    if [array.ndim for array in arrays] != [5, 3, 1]:
        return False
    stages, rows, columns, channels, filters = kernels.shape
    if rows != columns or channels != 2:
        return False
    return rbf_weights.shape[:2] == (stages, filters) and len(data_weights) == stages


# What readers of models say


def readable(path):
    """The path of a file that can be opened, as text.

    Raises:
        ValueError: naming it, if it is missing, empty, a folder, or may not be read.
    """
    recognise.head(path)
    return os.fsdecode(path)


def opened_npz(binary):
    """The `NpzFile` of an open file.

    Raises:
        ValueError: if it is another file, or larger than any network when it is unpacked.
    """
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


def sentence(error):
    """One line of what a reader raised, for a message."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError)) or "truncated file" in text:
        text += ". It is damaged or cut short: copy it again"
    return text


def names_of(names):
    """A list of names for a message, "" for none."""
    if not names:
        return ""
    return str(sorted(names)[:20])[:500]
