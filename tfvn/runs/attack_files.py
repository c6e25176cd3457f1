"""The files of attacks in a run directory: one folder an attack and size, one HDF5 file a slice.

A file holds the perturbation, what else is known of it, and what it was made with. Whoever reads it
says what it must have been made with.
"""

import json
import os

import h5py
import numpy as np

from tfvn import attacks
from tfvn.data.hdf5 import member
from tfvn.files import writing_hdf5
from tfvn.runs import directory
from tfvn.runs.signature import TOLERANCE, distance

__all__ = [
    "attack_dir",
    "attack_path",
    "attacks_of",
    "configured",
    "holds_attacks",
    "read_attack",
    "stored_array",
    "write_attack",
]

_FOLDER = "attacks"
_CHANGED = "Has the data changed? Put the old ones back, or attack these in another run directory."

# How names of stored settings began in the first edition.
_FIRST_EDITION = ("attack_", "antun_")


def attack_dir(run_dir, size, kind="l2"):
    """The folder of an attack.

    Args:
        run_dir: the run directory.
        size: the attack's size.
        kind: its kind, a name of `tfvn.attacks.kinds`.
    """
    attack = attacks.of(kind)
    return os.path.join(run_dir, _FOLDER, attack.folder(attack.size_type(size)))


def attack_path(run_dir, size, index, kind="l2"):
    """The file of an attack on the slice of number `index`."""
    return os.path.join(attack_dir(run_dir, size, kind), f"slice_{index:05d}.h5")


def attacks_of(run_dir):
    """The attacks that the run has, as pairs (kind, size).

    They are in the order of tables: kind by kind, and in each kind by size.
    """
    folder = os.path.join(run_dir, _FOLDER)
    if not os.path.isdir(folder):
        return []
    found = []
    for name in os.listdir(folder):
        attack = attacks.of_folder(name)
        if attack is not None:
            found.append(attack)
    order = list(attacks.kinds())
    return sorted(found, key=lambda attack: (order.index(attack[0]), attack[1]))


def holds_attacks(folder):
    """Whether a folder is that of the attacks of a run."""
    run_dir, name = os.path.split(os.path.realpath(folder))
    return name == _FOLDER and os.path.exists(os.path.join(run_dir, directory.CONFIG))


def write_attack(path, arrays, attributes):
    """Writes one slice's attack.

    Args:
        path: the file.
        arrays: become datasets.
        attributes: become attributes of the file, dicts as JSON.

    Raises:
        ValueError: if it cannot be written.
    """
    directory.make_folder(os.path.dirname(path))
    with writing_hdf5(path) as file:
        for name, array in arrays.items():
            file[name] = array
        for name, value in attributes.items():
            if isinstance(value, dict):
                value = json.dumps(value, sort_keys=True)
            file.attrs[name] = value


def read_attack(
    path, settings=None, digest=None, scale=None, signature=None, attack=None, needed=()
):
    """The arrays and attributes of `write_attack`, as one dict.

    What is given must agree with what the attack was made with.

    Args:
        path: the file.
        settings: the attack's settings.
        digest: the model hash.
        scale: the slice's scale, max |A^H k| of the raw data.
        signature: `signature_of` the slice. Files of before 2026-11 have none: theirs is not
            compared.
        attack: the pair (kind, size) that the file's folder stands for.
        needed: names of arrays that must be there, beside `perturbation`.

    Raises:
        ValueError: if the file cannot be read, is damaged, holds a perturbation that is no such
            attack's, or was made with other settings, for another model or for other data.
    """
    found = _whole(path, needed)
    _check_attack(path, found, attack)
    if digest is not None:
        _check_model(path, found, digest)
    if scale is not None:
        _check_scale(path, found, scale)
    if signature is not None and "signature" in found:
        _check_data(path, found, signature)
    if settings is not None:
        _check_settings(path, found, settings)
    return found


# What a file holds


def _whole(path, needed):
    """What the file holds, of the types that it must have."""
    try:
        # Its own reasons not to be read: it is no damage where it may not be, or is not there.
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}. It is left as it is.") from error
    try:
        found = _read(path)
        _check_numbers(found)
        _check_arrays(found, needed)
    # Readers of damaged files raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{path}: not an attack file, or damaged ({type(error).__name__}: {str(error)[:200]})."
            " Move it away and run attack.py again, which makes that slice's attack anew."
        ) from error
    return found


def _read(path):
    with h5py.File(path, "r") as file:
        found = {name: stored_array(file, name) for name in file}
        found.update(file.attrs)
    found["settings"] = json.loads(found["settings"])
    found["model_hash"] = str(found["model_hash"])
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


def _check_numbers(found):
    numbers = {"scale": found["scale"], "norm": found.get("norm", 0)}
    for attack in attacks.ATTACKS.values():
        numbers[attack.size_name] = found["settings"].get(attack.size_name, 0)
    if not all(np.isfinite(float(number)) for number in numbers.values()):
        raise ValueError(f"expected numbers, not {numbers}")


def _check_arrays(found, needed):
    r = found["perturbation"]
    # An image, the k-space or the maps of all coils, or a real number for each line.
    is_image = r.ndim in (2, 3) and r.dtype.kind == "c"
    is_list = r.ndim == 1 and r.dtype.kind == "f"
    if not (is_image or is_list) or not np.isfinite(r).all():
        raise ValueError(
            "perturbation must be finite, complex numbers (rows, width) or (coils, height, width)"
            f" or a list of real ones, not {r.dtype} of shape {r.shape}"
        )
    for name in needed:
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} must be finite")
    if "history" in needed and (found["history"].ndim != 2 or not found["history"].size):
        raise ValueError(
            f"history must have the shape (restarts, steps + 1), not {found['history'].shape}"
        )


# Whether it is what it is taken for


def _check_attack(path, found, attack):
    """Checks that the perturbation is one of the attack that it is taken for."""
    kind = found.get("kind")
    size = None
    if attack is not None:
        kind, size = attack
        _check_place(path, found, kind, size)
    _check_unchanged(path, found)
    # Of a file that does not say its kind, and lies anywhere, no more is known.
    if kind in attacks.kinds():
        _check_ball(path, found, kind, size)


def _check_place(path, found, kind, size):
    stored_kind = found.get("kind", kind)
    stored_size = found["settings"].get(attacks.of(kind).size_name)
    # Not every file tells its size.
    if stored_kind != kind or stored_size not in (None, size):
        raise ValueError(
            f"{path}: holds an attack of {stored_kind} {stored_size}, and its folder is that of"
            f" {kind} {size:g}. Put it back where it was, or move it away and run attack.py again."
        )


def _check_unchanged(path, found):
    norm = float(np.linalg.norm(found["perturbation"]))
    if "norm" in found and not np.isclose(float(found["norm"]), norm, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"{path}: the perturbation has norm {norm:.4g}, and was stored with norm"
            f" {float(found['norm']):.4g}: it has been changed. Move the file away and run"
            " attack.py again."
        )


def _check_ball(path, found, kind, size):
    attack = attacks.of(kind)
    if size is None:
        size = found["settings"].get(attack.size_name)
    norm = attack.norm_of(found["perturbation"])
    if size is None or norm is None:
        return
    # Rounding is no way out of the ball.
    if norm > size * (1 + 1e-4) + 1e-6:
        raise ValueError(
            f"{path}: the perturbation has {kind} norm {norm:.4g}, beyond its radius {size:g}."
            " Move the file away and run attack.py again."
        )


def _check_model(path, found, digest):
    if found["model_hash"] != digest:
        raise ValueError(
            f"{path}: made for another model (hash {found['model_hash'][:12]}, not {digest[:12]})."
            " Attack this one in a run directory of its own."
        )


def _check_scale(path, found, scale):
    if not np.isclose(found["scale"], scale, rtol=1e-4):
        raise ValueError(
            f"{path}: made for another slice (its scale was {found['scale']:g}, here {scale:g})."
            f" {_CHANGED}"
        )


def _check_data(path, found, signature):
    change = distance(found["signature"], signature)
    # A NaN is no small distance.
    if not change < TOLERANCE:
        raise ValueError(
            f"{path}: made for other data than these: k-space, maps or mask differ by about"
            f" {100 * change:.2g} %. {_CHANGED}"
        )


def _check_settings(path, found, settings):
    there = found["settings"]
    different = {}
    for key in sorted({*settings, *there}):
        if settings.get(key) != there.get(key):
            different[key] = settings.get(key)
    if not different:
        return
    if any(key.startswith(_FIRST_EDITION) for key in there):
        raise ValueError(
            f"{path}: made by the first edition, which stored settings under other names. Attack"
            " the network in another run directory:"
            f" {_command_elsewhere(path, {})}"
        )
    rows = [f"{key}={value!r} (there: {there.get(key)!r})" for key, value in different.items()]
    raise ValueError(
        f"{path}: made with other settings: {', '.join(rows)}. One run directory holds attacks of"
        " one setting. To attack its network with these too:"
        f" {_command_elsewhere(path, different)}"
    )


def _command_elsewhere(path, settings):
    """The command that attacks the network of a file with other settings, in another run."""
    folder = os.path.dirname(path)
    run_dir = os.path.dirname(os.path.dirname(folder))
    run_dir = directory.as_argument(run_dir or os.curdir)
    words = directory.attack_elsewhere(
        run_dir, os.path.join(run_dir, directory.MODEL), f"{run_dir}-other"
    )
    kind, _ = attacks.of_folder(os.path.basename(folder))
    name = attacks.of(kind).name
    words.append(f"attacks={name}")
    for keyword, value in configured(kind, settings).items():
        if value is None:
            # The defence there has draws, and this one has none.
            continue
        words.append(f"attacks.{name}.{keyword}={value}")
    return directory.command(*words)


def configured(kind, settings):
    """What a configuration says of an attack, by the keys of its section. The sizes are left out.

    Args:
        kind: the attack's kind.
        settings: stored settings of it, all or some.
    """
    _, found = attacks.kinds()[kind]
    found = dict(found)
    for keyword in attacks.of(kind).keywords():
        # The seed is the configuration's.
        if keyword in settings and keyword != "seed":
            found[keyword] = settings[keyword]
    if "defence.num_samples" in settings:
        found["num_samples"] = settings["defence.num_samples"]
    return found
