"""The runs that are evaluated, and the slices that they are tested on.

Before any work, `open_candidates` and `check_attacks` make sure that all runs can stand in one
table: they have the same test data, and attacks of one kind have the same settings.
"""

import dataclasses
import functools
import math
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import attacks, data
from tfvn import config as configs
from tfvn.runs import attack_files, directory, signature, trained_on

__all__ = [
    "Case",
    "Candidate",
    "cases",
    "check_attacks",
    "compared_data",
    "names_of",
    "open_candidates",
]

# Beside those of the defence, attacks of one kind may differ in their seed, and in no others. It
# is that of the run.
_SEED = "seed"
_OF_DEFENCE = "defence."


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A test slice, as a batch of one.

    index, name: its number, and its name in the data.
    inputs: what models are given.
    reference: the ground truth, complex (1, rows, width); NaN where there is none.
    """

    index: int
    name: str
    inputs: dict
    reference: tf.Tensor

    @property
    def scale(self):
        """The number by which k-space was divided."""
        return float(self.inputs["scale"][0])

    @functools.cached_property
    def signature(self):
        """As of `tfvn.runs.signature.signature_of`."""
        return signature.signature_of(self.inputs)


def cases(config, source, start=0, step=1):
    """Yields a `Case` for each test slice of a configuration, or for every `step`-th of them."""
    batches = data.load(config, "test", start=start, step=step)
    for number, (inputs, reference) in enumerate(batches):
        index = start + number * step
        yield Case(index, source.name(index), inputs, reference)


class Candidate(NamedTuple):
    """A run that is evaluated.

    name: in the tables.
    run_dir: its directory.
    config: its `tfvn.config.Config`.
    attacks: pairs (kind, size), in the order of the tables.
    """

    name: str
    run_dir: str
    config: configs.Config
    attacks: list

    @property
    def gradients(self):
        """How many gradients of a slice trained all its networks; NaN where that is unknown."""
        found = trained_on.gradients_of_all(self.run_dir, self.config)
        return math.nan if found is None else found

    def attack_path(self, kind, size, index):
        """The file of one attack on one slice."""
        return attack_files.attack_path(self.run_dir, size, index, kind)

    def attack_paths(self, index):
        """The files of all attacks on one slice, in the order of `attacks`."""
        return [self.attack_path(kind, size, index) for kind, size in self.attacks]

    def largest_ball(self):
        """The attack (kind, size) of the largest l2 ball; None where there is none."""
        balls = [attack for attack in self.attacks if attacks.of(attack[0]).bounded_in_l2]

        # What counts in a part of the image alone shows least of all of it. Of several the last
        # one: attacks are in the order of their strength.
        def order(ball):
            return attacks.of(ball[0]).measures_effect, ball[1]

        return max(reversed(balls), key=order, default=None)

    def perturbation(self, kind, size, case, digest, like):
        """The stored change of an attack on one slice, (1, ...), in single precision.

        Args:
            kind, size: the attack.
            case: the `Case`.
            digest: `tfvn.runs.models.model_hash` of the network that must have been attacked.
            like: no change, as the threat's `zero` gives it.

        Raises:
            ValueError: if the file is damaged, or of another model, attack or slice.
        """
        path = self.attack_path(kind, size, case.index)
        found = attack_files.read_attack(
            path, None, digest, case.scale, case.signature, (kind, size)
        )
        r, name = found["perturbation"], str(found.get("name", case.name))
        shape = tuple(like.shape[1:])
        if name != case.name or r.shape != shape or np.iscomplexobj(r) != like.dtype.is_complex:
            raise ValueError(
                f"{path}: made for the slice {name!r} of shape {r.shape}, and this is"
                f" {case.name!r} of shape {shape}. The test data have changed: put the old"
                " ones back, or attack these in another run directory."
            )
        single = np.complex64 if like.dtype.is_complex else np.float32
        return tf.convert_to_tensor(r.astype(single))[None]


def compared_data(config):
    """The keys that decide which slices are tested and how they are sampled, with their values.

    All runs of one table agree in them.
    """
    found = {**config.data.flat(), **config.sampling.flat()}
    # Where prepared slices are kept changes none of them.
    for key in ("cache_dir", *config.dataset.training_keys):
        found.pop(f"data.{key}")
    return found


def open_candidates(run_dirs, overrides):
    """The runs as `Candidate`s, checked to have the same test data.

    Args:
        run_dirs: the run directories.
        overrides: texts `key=value`. Each counts for the runs that have such a key: a run without a
            defence has no number of draws.

    Raises:
        ValueError: for overrides that are the run's own or no run's, a directory without a run, or
            runs of different test data.
    """
    _check_overrides(overrides)
    for run_dir in run_dirs:
        directory.check_name(run_dir, "a run directory")
    candidates = []
    unused = list(overrides)
    for name, run_dir in zip(names_of(run_dirs), run_dirs):
        own = _own_overrides(run_dir, overrides)
        unused = [text for text in unused if text not in own]
        config = directory.open_run(run_dir, None, own)
        # An override is told before the models of other runs are evaluated.
        config.check_models()
        made = [attack for attack in attack_files.attacks_of(run_dir) if attack[1] > 0]
        candidates.append(Candidate(name, run_dir, config, made))
        _check_test_data(candidates[0], candidates[-1])
    if unused:
        raise ValueError(
            "an override must be of a key that a run has. Received:"
            f" {' '.join(unused)}, and no run has it. Leave it out."
        )
    return candidates


def _check_overrides(overrides):
    fixed = [text for text in overrides if _key_of(text) not in directory.FREE_KEYS]
    if fixed:
        raise ValueError(
            f"an evaluation can override {', '.join(directory.FREE_KEYS)} only; all else belongs"
            f" to the run. Received: {' '.join(fixed)}"
        )


def _key_of(override):
    key, _, _ = override.partition("=")
    return key.strip()


def _own_overrides(run_dir, overrides):
    """Those of the overrides whose keys a run has."""
    path = os.path.join(run_dir, directory.CONFIG)
    # With overrides, opening would make a new run of a mistyped directory.
    if not os.path.exists(path):
        raise ValueError(
            f"{run_dir} holds no run: there is no config.yaml. Train or attack a network there"
            " first."
        )
    known = configs.load(path).flat()
    return [text for text in overrides if _key_of(text) in known]


def _check_test_data(first, other):
    here, there = compared_data(other.config), compared_data(first.config)
    # Formats and masks of other names have other keys: the names say it.
    shared = [key for key in here if key in there]
    different = _differences(
        {key: here[key] for key in shared}, {key: there[key] for key in shared}
    )
    if different:
        raise ValueError(
            f"{other.run_dir} and {first.run_dir} have different test data: {different}. "
            "One table compares models on the same slices: evaluate these runs one by one."
        )


def _differences(here, there):
    """The keys in which two dicts differ, with both values, as one text."""
    different = []
    for key in dict.fromkeys([*here, *there]):
        if here.get(key) != there.get(key):
            different.append(f"{key}={here.get(key)!r} (there: {there.get(key)!r})")
    return ", ".join(different)


def names_of(run_dirs):
    """Names of runs: as many last parts of their paths as tell them apart.

    >>> names_of(["/a/x", "/a/y"]), names_of(["/a/x", "/b/x"])
    (['x', 'y'], ['a-x', 'b-x'])

    Raises:
        ValueError: if a directory is there twice.
    """
    parts = [os.path.realpath(run_dir).split(os.sep) for run_dir in run_dirs]
    for depth in range(1, max(len(p) for p in parts) + 1):
        names = ["-".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the run directories must be different. Received: {list(run_dirs)}")


def check_attacks(candidates, count):
    """Checks before any work that the attacks are complete and comparable.

    Args:
        candidates: a list of `Candidate`.
        count: the number of test slices.

    Raises:
        ValueError: if an attack's file is missing, or two attacks of one kind have different
            settings.
    """
    for candidate in candidates:
        for kind, size in candidate.attacks:
            _check_complete(candidate, kind, size, count)
    first = {}
    for candidate in candidates:
        for kind, size in candidate.attacks:
            path = candidate.attack_path(kind, size, 0)
            settings = _compared_settings(path, kind, size)
            earlier_path, earlier = first.setdefault((kind, size), (path, settings))
            different = _differences(settings, earlier)
            if different:
                raise ValueError(
                    f"{path} and {earlier_path} were made by different attacks: {different}. One"
                    " table compares models under the same attack: evaluate these run directories"
                    " one by one, each with an --output of its own."
                )


def _compared_settings(path, kind, size):
    """The stored settings of an attack in which all attacks of its kind must agree."""
    stored = attack_files.read_attack(path, attack=(kind, size))["settings"]
    own = {_SEED, attacks.of(kind).size_name}
    found = {}
    for key in sorted(stored):
        if key not in own and not key.startswith(_OF_DEFENCE):
            found[key] = stored[key]
    return found


def _check_complete(candidate, kind, size, count):
    paths = [candidate.attack_path(kind, size, index) for index in range(count)]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        run_dir = directory.as_argument(candidate.run_dir)
        command = directory.command("python", "attack.py", "--run-dir", run_dir)
        raise ValueError(
            f"{missing[0]} is missing, and {len(missing) - 1} more of {count} slices: attack.py"
            f" has not finished. Run it again with what it was given: {command} [--set ...]"
        )
