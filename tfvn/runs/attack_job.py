"""One attack on the slices of a run: what it reads and writes, slice by slice."""

import math
import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import attacks, data
from tfvn.runs import attack_files
from tfvn.runs.signature import signature_of
from tfvn.training import tensorboard

__all__ = ["Done", "Job", "attack_settings"]

# In the folder of an attack that is found on training slices.
_LEARNED = "learned.h5"


def attack_settings(predictor, attack, size):
    """What identifies an attack and the model that it was made for, as stored in its files.

    Args:
        predictor: what is attacked, a `Reconstructor`.
        attack: the attack.
        size: its size.
    """
    defence = {f"defence.{key}": value for key, value in predictor.identity.items()}
    return {**attack.identity(size), **defence}


class Done(NamedTuple):
    """A slice that has been attacked."""

    index: int
    # The objective at every iterate, (restarts, steps + 1).
    history: np.ndarray
    # Whether an earlier call attacked it.
    was_there: bool


class Job(NamedTuple):
    """One attack on the slices of a run."""

    run_dir: str
    config: Any
    attack: attacks.Attack
    source: Any
    # `RunModels` of as many draws as the attack sees; None where slices are only told of.
    models: Any
    # The hash of the network.
    digest: str

    def ladder(self):
        """The sizes, each with the one that it goes on from, or None."""
        before = None
        for size in self.attack.sizes:
            yield size, before
            if self.attack.continues:
                before = size

    def path(self, size, index):
        """The file of the attack on one slice."""
        return attack_files.attack_path(self.run_dir, size, index, self.attack.kind)

    def paths(self, size):
        """The files of the attacks of one size, slice by slice."""
        return [self.path(size, index) for index in range(len(self.source))]

    def settings(self, size):
        """What identifies the attack of one size."""
        return attack_settings(self.models.predictor, self.attack, size)

    def read(self, path, size, **made_with):
        """What the file of an attack holds; what is known of it is checked, see `read_attack`."""
        return attack_files.read_attack(path, attack=(self.attack.kind, size), **made_with)

    def check_earlier(self):
        """Attacks of one kind in one run must be of one setting.

        No table could hold others together.
        """
        for kind, size in attack_files.attacks_of(self.run_dir):
            path = attack_files.attack_path(self.run_dir, size, 0, kind)
            if kind == self.attack.kind and os.path.exists(path):
                self.read(path, size, settings=self.settings(size))

    def attack_slice(self, size, before, item):
        """Writes the attack on one slice, unless it is there.

        Args:
            size: the size of the attack.
            before: the size that it goes on from, or None.
            item: the slice, (index, (inputs, reference)).

        Returns:
            What was `Done`.
        """
        index, (inputs, reference) = item
        path = self.path(size, index)
        made_of = {
            "digest": self.digest,
            "scale": float(inputs["scale"][0]),
            "signature": signature_of(inputs),
        }
        if os.path.exists(path):
            made_of["settings"] = self.settings(size)
            there = self.read(path, size, needed=("history",), **made_of)
            return Done(index, there["history"], was_there=True)
        self._check_reference(index, reference)
        result = self.attack.run(
            self.models.predictor,
            inputs,
            size,
            reference=reference,
            start=self._start(size, before, index, made_of),
            index=inputs["sample_index"],
        )
        self._write(path, size, index, (inputs, reference), result, made_of)
        return Done(index, _history(result), was_there=False)

    def _check_reference(self, index, reference):
        if self.attack.needs_reference and not np.isfinite(reference).all():
            raise ValueError(
                f"{self.source.name(index)} has no ground truth, and the attack needs one:"
                f" {self.attack}. Configure it without, or give a slice that has one."
            )

    def _start(self, size, before, index, made_of):
        """Where the attack on a slice goes on, None where it begins anew."""
        if self.attack.learns:
            return self._learned(size)
        if before is None:
            return None
        path = self.path(before, index)
        arrays = self.read(path, before, needed=self.attack.continued_from, **made_of)
        return self.attack.start_from(arrays, before)

    def _learned(self, size):
        """The `Start` that was found on training slices, from its file or found anew."""
        folder = attack_files.attack_dir(self.run_dir, size, self.attack.kind)
        path = os.path.join(folder, _LEARNED)
        if os.path.exists(path):
            there = self.read(path, size, settings=self.settings(size), digest=self.digest)
            return attacks.Start(there["perturbation"][None], size=size)
        wanted, count = self.attack.num_slices, len(data.source(self.config, "train"))
        if not wanted < count:
            raise ValueError(
                f"attacks.{self.attack.name}.num_slices must be below the number of training"
                f" slices, {count}. Received: {wanted}"
            )
        slices = data.load(self.config, "validation", held_out=wanted)
        found = self.attack.learn(self.models.predictor, slices, size)
        perturbation = found.perturbation[0].numpy()
        attributes = {
            "model_hash": self.digest,
            "scale": 1.0,
            "kind": self.attack.kind,
            self.attack.size_name: size,
            "norm": float(np.linalg.norm(perturbation)),
            "settings": self.settings(size),
        }
        attack_files.write_attack(path, {"perturbation": perturbation}, attributes)
        return found

    def _write(self, path, size, index, case, result, made_of):
        """Writes what was found for one slice."""
        perturbation = result.perturbation[0].numpy()
        found = (perturbation, result.objective[0].numpy(), _history(result))
        if not all(np.isfinite(array).all() for array in found):
            raise ValueError(
                f"the attack on {self.source.name(index)} has diverged (NaN). Does the model answer"
                " with finite images to all data? Lower the step size, if the attack has one."
            )
        arrays = {
            "perturbation": perturbation,
            "history": _history(result),
            **self.attack.arrays(result),
        }
        attributes = {
            "name": self.source.name(index),
            "scale": made_of["scale"],
            "signature": made_of["signature"],
            "model_hash": made_of["digest"],
            "kind": self.attack.kind,
            self.attack.size_name: size,
            "norm": float(np.linalg.norm(perturbation)),
            "kspace_norm": self._kspace_norm(case, result),
            "seed": self.config.seed,
            "settings": self.settings(size),
        }
        attack_files.write_attack(path, arrays, attributes)

    def _kspace_norm(self, case, result):
        """The norm of the change of the k-space; NaN where it is A that was changed."""
        inputs, reference = case
        sense, changes = self.models.network.sense, self.attack.changes
        known = changes.known(sense, inputs, reference)
        kspace = changes.in_kspace(sense, inputs, result.perturbation, known)
        if kspace is None:
            return math.nan
        return float(tf.norm(tf.abs(kspace)))

    def log(self, size, before, done):
        """Writes the curve of a slice for TensorBoard."""
        tensorboard.write_attack(
            self.run_dir,
            self.attack.folder(size),
            done.index,
            done.history,
            first_step=self.attack.first_step(before),
            keep=done.was_there,
        )

    def conclude(self):
        """Says what the attacks of all sizes came to, and writes their mean curves."""
        for size, before in self.ladder():
            self._conclude_size(size, before)

    def _conclude_size(self, size, before):
        """Says what the attacks of one size came to, and writes their mean curve."""
        found = []
        for path in self.paths(size):
            needed = ("history", self.attack.objective_array)
            found.append(self.read(path, size, needed=needed))
        tensorboard.write_mean_attack(
            self.run_dir,
            self.attack.folder(size),
            [attacked["history"] for attacked in found],
            first_step=self.attack.first_step(before),
        )
        folder = attack_files.attack_dir(self.run_dir, size, self.attack.kind)
        print(f"{self._reached(size, found)}; wrote {folder}")

    def _reached(self, size, found):
        """What the attacks of one size came to, in words."""
        changes = self.attack.changes
        norms = [changes.amount(attacked["perturbation"][None]) for attacked in found]
        told = f"mean {changes.length} {np.mean(norms):.4g}"
        if self.attack.measures_effect:
            effects = []
            for attacked in found:
                # E = effect^2 / 2
                objective = float(np.squeeze(attacked[self.attack.objective_array]))
                effects.append(np.sqrt(2 * objective))
            told = f"mean effect {np.mean(effects):.4g}, {told}"
        slices = "slice" if len(found) == 1 else "slices"
        head = self.attack.head(size)
        remark = self.attack.remark(found)
        if remark:
            told += f", {remark}"
        return f"{self.attack.kind} {head}: {told} ({len(found)} {slices})"


def _history(result):
    """The objective of the one image at every iterate, (restarts, steps + 1)."""
    return result.history[..., 0].numpy()
