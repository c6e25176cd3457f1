"""The run directory: everything one run made, and the rules that keep it whole.

    config.yaml          the resolved configuration; a directory never holds two
    checkpoints/         of an unfinished training
    unfinished.keras     the network of a training that its time budget stopped; a finished one removes it
    logs/                TensorBoard, see `tfvn.summaries`
    history.csv          learning curve
    model.keras          the network, once training is done
    tuning/              of a search: see tfvn.tuning
    attacks/radius_R/    one HDF5 file a slice; l1_radius_R, linf_radius_R, antun_N for other attacks
    workers/             signs of life, of a run by several processes

A file appears under its name only when it is complete: it is written beside it and renamed.
"""
import hashlib
import json
import os
import re
import shutil

import h5py
import numpy as np
import tensorflow as tf

from tfvn import config as configs
from tfvn.data.files import member, remove_stale, replacing, writing_hdf5
from tfvn.importers import load_model
from tfvn.network import VariationalNetwork
from tfvn.smoothing import SmoothedNetwork

# Norms of the ball of projected attacks, and the attack of Antun et al.
ATTACKS = ("l2", "l1", "linf", "antun")

# Keys that may differ between the config of a run and a later attack or evaluation of it: they change no trained weight,
# and attacks store those that change a result in each file.
FREE_KEYS = ("num_samples", "chunk_size", "cache_dir")
# Those of a training or a search, too, that change how far one call goes, what it shows or what it logs.
_CALL_KEYS = ("time_budget", "progress", "tune_trials", "log_images_every", "profile")


def open_run(run_dir, config_path=None, overrides=()):
    """The configuration of a run directory, which is created if need be.

    A new directory takes the configuration from `config_path` and `overrides`. An existing one has its own; what is given
    again must agree with it, apart from smoothing and attack settings.

    Raises:
        ValueError: if the directory holds another configuration (the message names the keys), or none is given.
    """
    path = os.path.join(run_dir, "config.yaml")
    if not os.path.exists(path):
        if config_path is None:
            raise ValueError(f"{run_dir} holds no run. Give --config FILE to start one there.")
        config = configs.load(config_path, overrides)
        os.makedirs(run_dir, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(config.to_yaml())
        print(f"wrote {path}")
        return config
    remove_stale(run_dir)
    stored = configs.load(path)
    given = configs.load(config_path, overrides) if config_path else configs.load(path, overrides)
    different = [key for key, value in vars(given).items() if value != vars(stored)[key] and not _is_free(key)]
    if different:
        rows = ", ".join(f"{key}={vars(given)[key]!r} (there: {vars(stored)[key]!r})" for key in different)
        raise ValueError(f"{run_dir} already holds another configuration: {rows}. Use another --run-dir.")
    return given


def remove_if_empty(run_dir):
    """Removes a run directory that holds a configuration and at most an imported model: nothing that took work."""
    if os.path.isdir(run_dir) and set(os.listdir(run_dir)) <= {"config.yaml", "model.keras"}:
        shutil.rmtree(run_dir)


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
            raise ValueError(f"{run_dir} holds no model.keras. Run train.py with the same --config or --run-dir to the end first.")
        network = load_model(config.model)
        save_network(with_readout_oversampling(network, config.readout_oversampling), run_dir)
    return load_model(path)


def with_readout_oversampling(network, readout_oversampling):
    """A network of the same weights, which do not depend on it: it is a property of the scan."""
    if network.sense.readout_oversampling == readout_oversampling:
        return network
    other = VariationalNetwork(**{**network.get_config(), "readout_oversampling": readout_oversampling})
    other.set_weights(network.get_weights())
    return other


def predictor(network, config, num_samples=None, strategy=None):
    """The model that a run stands for: the network itself, or smoothed if it was trained with noise."""
    if not config.sigma:
        return network
    chunk_size = config.chunk_size or "auto"
    num_samples = num_samples or config.num_samples
    return SmoothedNetwork(network, config.sigma, num_samples, chunk_size, config.seed, config.noise, strategy)


def models_of(run_dir, config, workers, count, num_samples=None):
    """The run's network and predictor, once for every device that is to work on whole slices out of `count`.

    If this process has fewer slices than devices and the predictor is smoothed, all devices share its draws instead.

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
    with replacing(path) as temporary:
        network.save(temporary)
    print(f"wrote {path}")


def model_hash(network):
    """SHA-256 of architecture and weights: the same network has the same hash, whatever file it came from."""
    architecture = {key: value for key, value in network.get_config().items() if key not in ("name", "seed")}
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for block in network.parameter_blocks.values():
        for variable in block:
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def attack_dir(run_dir, size, kind="l2"):
    """The folder of an attack: `kind` "l2", "l1" or "linf" is a ball of radius `size`, "antun" stands for `size` steps."""
    # All digits, so that two radii never share a folder.
    name = f"antun_{size:d}" if kind == "antun" else f"{'' if kind == 'l2' else kind + '_'}radius_{float(size)!r}"
    return os.path.join(run_dir, "attacks", name)


def attack_path(run_dir, size, index, kind="l2"):
    return os.path.join(attack_dir(run_dir, size, kind), f"slice_{index:05d}.h5")


def attacks_of(run_dir):
    """The attacks that the run has, as pairs (kind, size): balls of each norm by radius, then those of Antun et al. by steps."""
    folder = os.path.join(run_dir, "attacks")
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match = re.fullmatch(r"(?:(l1|linf)_)?radius_([\d.]+(?:e[-+]?\d+)?)|antun_(\d+)", name)
        if match:
            found.append(("antun", int(match[3])) if match[3] else (match[1] or "l2", float(match[2])))
    return sorted(found, key=lambda attack: (ATTACKS.index(attack[0]), attack[1]))


def write_attack(path, arrays, attributes):
    """One slice's attack as HDF5: `arrays` become datasets, `attributes` (dicts as JSON) attributes of the file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with writing_hdf5(path) as file:
        for name, array in arrays.items():
            file[name] = array
        for name, value in attributes.items():
            file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def read_attack(path, settings=None, digest=None, scale=None):
    """The arrays and attributes of `write_attack`, as one dict.

    Args:
        settings, digest, scale: if given, the settings, the model hash and the slice's scale (max |A^H k| of the raw data)
            that the attack must have been made with.

    Raises:
        ValueError: if the file is damaged or was made with other settings, for another model or for other data.
    """
    try:
        with h5py.File(path, "r") as file:
            attack = {**{name: member(file, name)[()] for name in file}, **dict(file.attrs)}
            attack["settings"] = json.loads(attack["settings"])
            attack["perturbation"], attack["model_hash"], attack["scale"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not an attack file, or damaged ({error}). Remove it and run attack.py again.") from error
    if digest is not None and attack["model_hash"] != digest:
        raise ValueError(f"{path}: made for another model (hash {attack['model_hash'][:12]}, not {digest[:12]}).")
    if scale is not None and not np.isclose(attack["scale"], scale, rtol=1e-4):
        raise ValueError(f"{path}: made for another slice (its scale was {attack['scale']:g}, here {scale:g}). Has the data changed?")
    if settings is not None and attack["settings"] != settings:
        keys = sorted(k for k in {**settings, **attack["settings"]} if settings.get(k) != attack["settings"].get(k))
        rows = ", ".join(f"{key}={settings.get(key)!r} (there: {attack['settings'].get(key)!r})" for key in keys)
        raise ValueError(f"{path}: made with other settings: {rows}. Remove that folder or use another --run-dir.")
    return attack
