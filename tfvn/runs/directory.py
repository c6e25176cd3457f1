"""The run directory: everything one run made, and the rules that keep it whole.

    config.yaml          the resolved configuration; a directory never holds two
    checkpoints/         of an unfinished training
    unfinished.keras     the network of a training that its time budget stopped; a finished one removes it
    logs/                TensorBoard, see `tfvn.training.tensorboard`
    history.csv          learning curve
    model.keras          the network, once training is done
    tuning/              of a search: see tfvn.tools.tuning
    attacks/radius_R/    one HDF5 file a slice; l1_radius_R, linf_radius_R, antun_N for other attacks
    workers/             signs of life, of a run by several processes
    trained_on.json      what the network was trained on, see `tfvn.runs.trained_on`
    .tfvn-lock           while a process works there; .tfvn-lock-I of worker I, of several on one job

A file appears under its name only when it is complete: it is written beside it and renamed.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex

import h5py
import numpy as np
import tensorflow as tf

from tfvn import config as configs
from tfvn.runs import trained_on
from tfvn.data.files import remove_stale, replacing, writing_hdf5
from tfvn.data.hdf5 import member
from tfvn.models.network_files import load_model
from tfvn.models.variational import VariationalNetwork
from tfvn.outputs import written
from tfvn.defences.smoothing import SmoothedNetwork

__all__ = [
    "ATTACKS",
    "FREE_KEYS",
    "alone",
    "as_argument",
    "attack_dir",
    "attack_elsewhere",
    "attack_path",
    "attacks_of",
    "check_name",
    "command",
    "make_folder",
    "model_hash",
    "models_of",
    "network_of",
    "open_run",
    "predictor",
    "read_attack",
    "same_slice",
    "save_network",
    "signature_of",
    "stored_array",
    "together",
    "undoing",
    "with_readout_oversampling",
    "write_attack",
]

# Norms of the ball of projected attacks, and the attack of Antun et al.
ATTACKS = ("l2", "l1", "linf", "antun")

# Keys that may differ between the config of a run and a later attack or evaluation of it: they
# change no trained weight, and attacks store those that change a result in each file.
FREE_KEYS = ("num_samples", "chunk_size", "cache_dir")
# Those of a training or a search, too, that change how far one call goes, what it shows or what it
# logs.
_CALL_KEYS = ("time_budget", "progress", "tune_trials", "log_images_every", "profile")


def open_run(run_dir, config_path=None, overrides=()):
    """The configuration of a run directory, which is created if need be.

    A new directory takes the configuration from `config_path` and `overrides`. An existing one has
    its own; what is given again must agree with it, apart from smoothing and attack settings.

    Raises:
        ValueError: if the directory holds another configuration (the message names the keys), none
            is given, or it cannot be written.
    """
    check_name(run_dir, "a run directory")
    path = os.path.join(run_dir, "config.yaml")
    if not os.path.exists(path):
        if config_path is None:
            raise ValueError(f"{run_dir} holds no run. Give --config FILE to start one there.")
        config = configs.load(config_path, overrides)
        if _create(path, config.to_yaml()):
            print(f"wrote {path}")
            return config
        # Another process was faster: its configuration is the one that counts.
    remove_stale(run_dir)
    stored = configs.load(path)
    given = configs.load(config_path, overrides) if config_path else configs.load(path, overrides)
    different = [
        key
        for key, value in vars(given).items()
        if value != vars(stored)[key] and not _is_free(key)
    ]
    if different:
        rows = ", ".join(
            f"{key}={vars(given)[key]!r} (there: {vars(stored)[key]!r})" for key in different
        )
        raise ValueError(
            f"{run_dir} already holds another configuration: {rows}. Use another --run-dir."
        )
    return given


def check_name(path, what):
    """Checks a path that becomes part of names in results.

    Raises:
        ValueError: if it is no text that UTF-8 can hold.
    """
    path = os.fspath(path)
    try:
        whole = isinstance(path, str) and "\0" not in path and bool(path.encode("utf-8"))
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise ValueError(
            f"the name of {what} must be text in UTF-8. Received: {ascii(path)[:200]}. Rename it."
        )


class _ThereAlready(Exception):
    """Another process has made the file."""


def _create(path, text):
    """Writes a file, whole, unless there is one. Returns whether it did."""
    make_folder(os.path.dirname(path))
    try:
        with replacing(path) as temporary:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
            # In one step, and only if the name is free; what `replacing` does after it changes
            # nothing.
            try:
                os.link(temporary, path)
            except FileExistsError as error:
                raise _ThereAlready from error
            except OSError as error:
                # A file system without links.
                if os.path.lexists(path):
                    raise _ThereAlready from error
    except _ThereAlready:
        return False
    return True


def command(*words):
    """A command to be pasted into a shell.

    >>> command("python", "attack.py", "--run-dir", "runs/a b")
    "python attack.py --run-dir 'runs/a b'"
    """
    return shlex.join(words)


def as_argument(path):
    """A path as a word of a command, that is not taken for a flag."""
    path = os.fspath(path)
    return os.path.join(os.curdir, path) if path.startswith("-") else path


def make_folder(folder):
    """Makes a folder, and those that it lies in, unless it is there.

    Raises:
        ValueError: if it cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        reason = (
            "there is a file of that name" if isinstance(error, FileExistsError) else error.strerror
        )
        raise ValueError(
            f"cannot make the folder {folder}: {reason}. Name another place."
        ) from error


@contextlib.contextmanager
def undoing(run_dir):
    """Inside, a ValueError takes back the beginning of a run: what this call made, if no work has
    been done on it.

    That is a configuration, a network that it imported with what is known of it, and the directory.
    All that was there before stays, and all of it if another process is `alone` or `together`
    there.
    """
    before = set(os.listdir(run_dir)) if os.path.isdir(run_dir) else None
    try:
        yield
    except ValueError:
        with contextlib.suppress(OSError, _InUse):
            _take_back(run_dir, before)
        raise


def _take_back(run_dir, before):
    made = set(os.listdir(run_dir)) - (before or set())
    if "config.yaml" in made and made <= {"config.yaml", "model.keras", trained_on.NAME}:
        # Another process may have begun to work with them.
        with alone(run_dir, "takes back a run that failed"):
            for name in made:
                os.remove(os.path.join(run_dir, name))
    if before is None:
        # If it is empty.
        os.rmdir(run_dir)


class _InUse(ValueError):
    """Another process works there."""


_LOCK = ".tfvn-lock"


@contextlib.contextmanager
def alone(folder, work, worker=None):
    """Inside, no other process is inside this for the same folder. `work` tells the others what is
    being done.

    A lock ends with its process, however that ends. (A file system without locks has none.)

    Args:
        folder: the folder, which must be there.
        work: in words, such as "trains it".
        worker: of several processes on one job, the number of one that is to be alone with that
            number. A job that is started twice is so refused in each of its processes that meets
            its double; one that comes first, where its double is late, waits for the others as long
            as for any that does not come (`distribution.START`).

    Raises:
        ValueError: if another process is there; it names that one.
    """
    with _inside(folder, work, _LOCK if worker is None else f"{_LOCK}-{worker}", fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def together(run_dir, config, work):
    """As `alone`, with others that are inside this, such as several attacks on one run.

    Meanwhile no process trains the run, searches in it or takes it back. A run that uses a given
    network is begun anew, with `config`, if the process that began it has just taken it back.

    Raises:
        ValueError: if another process is alone there; it names that one.
    """
    if config.model:
        make_folder(run_dir)
    with _inside(run_dir, work, _LOCK, fcntl.LOCK_SH):
        if config.model:
            _create(os.path.join(run_dir, "config.yaml"), config.to_yaml())
        yield


@contextlib.contextmanager
def _inside(folder, work, name, kind):
    path = os.path.join(folder, name)
    with _locked(path, folder, kind) as file:
        # On a full disk it is locked all the same.
        with contextlib.suppress(OSError):
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {platform.node()} {work}".encode())
        try:
            yield
        finally:
            # Of several that share it the last one removes it.
            with contextlib.suppress(OSError):
                if kind == fcntl.LOCK_SH:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.remove(path)


@contextlib.contextmanager
def _locked(path, folder, kind):
    """The descriptor of an open file with a lock; that of the name, and not one that its holder has
    just removed.
    """
    while True:
        try:
            # What a link of that name leads to is left alone.
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise ValueError(
                f"cannot write {path}: {error.strerror}. Give permission there, or name another"
                " place."
            ) from error
        try:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    holder = os.pread(file, 200, 0).decode("utf-8", "replace") or "another process"
                    raise _InUse(
                        f"{folder} is in use: {holder}. Wait for it or stop it, or name another"
                        " place."
                    ) from error
            if os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path)):
                yield file
                return
        finally:
            os.close(file)


def _is_free(key):
    return key in FREE_KEYS + _CALL_KEYS or key.startswith(("attack_", "antun_"))


def network_of(run_dir, config):
    """The run's network: `model.keras`, made from `config.model` on first use.

    Raises:
        ValueError: if the run has not been trained.
    """
    path = os.path.join(run_dir, "model.keras")
    if not os.path.exists(path):
        if not config.model:
            raise ValueError(
                f"{run_dir} holds no model.keras. Run train.py with the same --config or --run-dir"
                " to the end first."
            )
        network = load_model(config.model)
        save_network(with_readout_oversampling(network, config.readout_oversampling), run_dir)
    return load_model(path)


def with_readout_oversampling(network, readout_oversampling):
    """A network of the same weights, which do not depend on it: it is a property of the scan."""
    if network.sense.readout_oversampling == readout_oversampling:
        return network
    other = VariationalNetwork(
        **{**network.get_config(), "readout_oversampling": readout_oversampling}
    )
    other.set_weights(network.get_weights())
    return other


def predictor(network, config, num_samples=None, strategy=None):
    """The model that a run stands for: the network itself, or smoothed if it was trained with
    noise.
    """
    if not config.sigma:
        return network
    chunk_size = config.chunk_size or "auto"
    num_samples = num_samples or config.num_samples
    return SmoothedNetwork(
        network, config.sigma, num_samples, chunk_size, config.seed, config.noise, strategy
    )


def models_of(run_dir, config, workers, count, num_samples=None):
    """The run's network and predictor, once for every device that is to work on whole slices out of
    `count`.

    If this process has fewer slices than devices and the predictor is smoothed, all devices share
    its draws instead.

    Returns:
        The devices, as for `distribution.each`, and a pair (network, predictor) for each.
    """
    devices, models = workers.devices(), []
    if config.sigma and 0 < len(workers.own(count)) < len(devices):
        strategy = tf.distribute.MirroredStrategy(devices)
        with strategy.scope():
            network = network_of(run_dir, config)
        return [None], [(network, predictor(network, config, num_samples, strategy))]
    for device in devices:
        with tf.device(device):
            network = network_of(run_dir, config)
            models.append((network, predictor(network, config, num_samples)))
    return devices, models


def save_network(network, run_dir, name="model.keras"):
    """Writes the network to a file of the run directory."""
    path = os.path.join(run_dir, name)
    with written(path) as temporary:
        network.save(temporary)
    print(f"wrote {path}")


def model_hash(network):
    """SHA-256 of architecture and weights: the same network has the same hash, whatever file it
    came from.
    """
    architecture = {
        key: value for key, value in network.get_config().items() if key not in ("name", "seed")
    }
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for block in network.parameter_blocks.values():
        for variable in block:
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def attack_dir(run_dir, size, kind="l2"):
    """The folder of an attack: `kind` "l2", "l1" or "linf" is a ball of radius `size`, "antun"
    stands for `size` steps.
    """
    # All digits, so that two radii never share a folder.
    name = (
        f"antun_{size:d}"
        if kind == "antun"
        else f"{'' if kind == 'l2' else kind + '_'}radius_{float(size)!r}"
    )
    return os.path.join(run_dir, "attacks", name)


def attack_path(run_dir, size, index, kind="l2"):
    return os.path.join(attack_dir(run_dir, size, kind), f"slice_{index:05d}.h5")


def attacks_of(run_dir):
    """The attacks that the run has, as pairs (kind, size): balls of each norm by radius, then those
    of Antun et al. by steps.
    """
    folder = os.path.join(run_dir, "attacks")
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match = re.fullmatch(r"(?:(l1|linf)_)?radius_([\d.]+(?:e[-+]?\d+)?)|antun_(\d+)", name)
        if match:
            found.append(
                ("antun", int(match[3])) if match[3] else (match[1] or "l2", float(match[2]))
            )
    return sorted(found, key=lambda attack: (ATTACKS.index(attack[0]), attack[1]))


def write_attack(path, arrays, attributes):
    """One slice's attack as HDF5: `arrays` become datasets, `attributes` (dicts as JSON) attributes
    of the file.

    Raises:
        ValueError: if it cannot be written.
    """
    make_folder(os.path.dirname(path))
    with writing_hdf5(path) as file:
        for name, array in arrays.items():
            file[name] = array
        for name, value in attributes.items():
            file.attrs[name] = (
                json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
            )


def read_attack(
    path, settings=None, digest=None, scale=None, signature=None, attack=None, needed=()
):
    """The arrays and attributes of `write_attack`, as one dict.

    Args:
        settings, digest, scale, signature: if given, the settings, the model hash, the slice's
            scale (max |A^H k| of the raw data) and `signature_of` the slice that the attack must
            have been made with. Files of before 2026-11 have no
            signature: theirs is not compared.
        attack: the pair (kind, size) that the file's folder stands for, if known.
        needed: names of arrays that must be there, beside `perturbation`.

    Raises:
        ValueError: if the file cannot be read, is damaged, holds a perturbation that is no such
            attack's, or was made with other settings, for another model or for other data.
    """
    found = _whole(path, needed)
    _check_ball(path, found, attack)
    if digest is not None and found["model_hash"] != digest:
        raise ValueError(
            f"{path}: made for another model (hash {found['model_hash'][:12]}, not {digest[:12]})."
            " Attack this one in a run directory of its own."
        )
    if scale is not None and not np.isclose(found["scale"], scale, rtol=1e-4):
        raise ValueError(
            f"{path}: made for another slice (its scale was {found['scale']:g}, here {scale:g})."
            f" {_CHANGED}"
        )
    if signature is not None and "signature" in found:
        change = _distance(found["signature"], signature)
        if not change < _TOLERANCE:
            raise ValueError(
                f"{path}: made for other data than these: k-space, maps or mask differ by about"
                f" {100 * change:.2g} %. {_CHANGED}"
            )
    if settings is not None and found["settings"] != settings:
        keys = sorted(
            k
            for k in {**settings, **found["settings"]}
            if settings.get(k) != found["settings"].get(k)
        )
        rows = ", ".join(
            f"{key}={settings.get(key)!r} (there: {found['settings'].get(key)!r})" for key in keys
        )
        raise ValueError(
            f"{path}: made with other settings: {rows}. One run directory holds attacks of one"
            " setting. To attack its network with these too:"
            f" {_elsewhere(path, {key: settings.get(key) for key in keys})}"
        )
    return found


def _elsewhere(path, settings):
    """The command that attacks the network of an attack's file with other settings, in a run
    directory of its own.
    """
    run_dir = as_argument(os.path.dirname(os.path.dirname(os.path.dirname(path))) or os.curdir)
    given = [
        f"{key}={value}" for key, value in settings.items() if key.startswith(("attack_", "antun_"))
    ]
    return command(
        *attack_elsewhere(run_dir, os.path.join(run_dir, "model.keras"), f"{run_dir}-other"), *given
    )


def attack_elsewhere(run_dir, model, other):
    """The words of a command that attacks a network of a run in another run directory; more
    settings may follow.
    """
    config = os.path.join(as_argument(run_dir), "config.yaml")
    return [
        "python",
        "attack.py",
        "--config",
        config,
        "--run-dir",
        as_argument(other),
        "--set",
        f"model={model}",
    ]


_CHANGED = "Has the data changed? Put the old ones back, or attack these in another run directory."


def _whole(path, needed):
    """What the file holds, of the types that it must have."""
    try:
        # Its own reasons not to be read: it is no damage where it may not be, or is not there.
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}. It is left as it is.") from error
    try:
        with h5py.File(path, "r") as file:
            found = {name: stored_array(file, name) for name in file}
            found.update(file.attrs)
        found["settings"] = json.loads(found["settings"])
        found["model_hash"] = str(found["model_hash"])
        numbers = {"scale": found["scale"], "norm": found.get("norm", 0)}
        numbers.update({key: found["settings"].get(key, 0) for key in ("radius", "steps")})
        if not all(np.isfinite(float(number)) for number in numbers.values()):
            raise ValueError(f"expected numbers, not {numbers}")
        r = found["perturbation"]
        if r.ndim != 2 or r.dtype.kind != "c" or not np.isfinite(r).all():
            raise ValueError(
                f"perturbation must be finite complex numbers (rows, width), not {r.dtype} of shape"
                f" {r.shape}"
            )
        for name in needed:
            if not np.isfinite(found[name]).all():
                raise ValueError(f"{name} must be finite")
        if "history" in needed and (found["history"].ndim != 2 or not found["history"].size):
            raise ValueError(
                f"history must have the shape (restarts, steps + 1), not {found['history'].shape}"
            )
    # Readers of damaged files raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{path}: not an attack file, or damaged ({type(error).__name__}: {str(error)[:200]})."
            " Move it away and run attack.py again, which makes that slice's attack anew."
        ) from error
    return found


def stored_array(file, name):
    """An array of an open HDF5 file that was written without compression.

    Raises:
        ValueError: if it is none, lies in another file, or is declared larger than the file is.
    """
    item = member(file, name)
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biufc":
        raise ValueError(f"{name} is no array of numbers")
    if item.nbytes > os.path.getsize(file.filename):
        raise ValueError(f"{name} is declared to have {item.nbytes} bytes, more than the file")
    return item[()]


def _check_ball(path, found, attack):
    """Checks that the perturbation is one of the attack that it is taken for."""
    kind, size = attack or (found.get("kind"), None)
    stored = found["settings"].get("steps" if kind == "antun" else "radius")
    if attack is not None and (found.get("kind", kind) != kind or stored not in (None, size)):
        raise ValueError(
            f"{path}: holds an attack of {found.get('kind', kind)} {stored}, and its folder is that"
            f" of {kind} {size:g}. Put it back where it was, or move it away and run attack.py"
            " again."
        )
    r = found["perturbation"]
    norm = float(np.linalg.norm(r))
    radius = stored if size is None else size
    if "norm" in found and not np.isclose(float(found["norm"]), norm, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"{path}: the perturbation has norm {norm:.4g}, and was stored with norm"
            f" {float(found['norm']):.4g}: it has been changed. Move the file away and run"
            " attack.py again."
        )
    if kind in _NORMS and radius is not None and _NORMS[kind](r) > radius * (1 + 1e-4) + 1e-6:
        raise ValueError(
            f"{path}: the perturbation has {kind} norm {_NORMS[kind](r):.4g}, beyond its radius"
            f" {radius:g}. Move the file away and run attack.py again."
        )


def _parts(r):
    return np.abs([r.real, r.imag]).astype(np.float64)


_NORMS = {
    "l2": lambda r: float(np.sqrt(np.square(_parts(r)).sum())),
    "l1": lambda r: float(_parts(r).sum()),
    "linf": lambda r: float(_parts(r).max(initial=0)),
}

# Of a signature, relative to the data. Maps that are estimated on another machine differ by less;
# other scans by far more.
_TOLERANCE, _PATTERNS = 1e-3, 8


def signature_of(inputs):
    """Numbers that tell a slice from another: projections of its k-space, maps and mask on fixed
    patterns, over their norms.

    Not a digest of bytes: rounding may differ between machines and libraries, and changes these by
    as little.

    Args:
        inputs: of one slice, a batch of one.

    Returns:
        Array float64 (3, patterns, 2), of real and imaginary parts.
    """
    found = []
    for key in ("kspace", "sensitivity_maps", "mask"):
        array = np.asarray(inputs[key])[0].astype(np.complex128)
        norm = max(float(np.linalg.norm(array)), 1e-30)
        by_width = array @ _waves(array.shape[2], 0)
        by_height = np.einsum("chk,hk->ck", by_width, _waves(array.shape[1], 1))
        projected = (by_height * _waves(array.shape[0], 2)).sum(0)
        found.append(np.stack([projected.real, projected.imag], -1) / norm)
    return np.stack(found)


def _waves(size, axis):
    """Phases exp(i a n^2 + i b n), (size, patterns), a and b of every pattern and axis: no symmetry
    of an image repeats them.
    """
    n = np.arange(size)[:, None]
    k = 1 + axis + 3 * np.arange(_PATTERNS)
    return np.exp(2j * np.pi * (np.sqrt(2) * k * n**2 + np.sqrt(3) * k * n))


def same_slice(signature, other):
    """Whether two of `signature_of` are those of one slice, up to rounding."""
    return _distance(signature, other) < _TOLERANCE


def _distance(signature, other):
    """How far two slices are apart, relative to their norms, as far as the signatures tell."""
    if np.shape(signature) != np.shape(other) or not np.isfinite(signature).all():
        return 1.0
    return float(np.sqrt(np.square(np.subtract(signature, other)).sum((1, 2)).max() / _PATTERNS))
