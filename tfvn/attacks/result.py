"""What an attack found, and where one goes on."""

from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfvn import checks

__all__ = ["AttackResult", "Start", "Wanted"]


class AttackResult(NamedTuple):
    """What an attack found.

    Attributes:
        perturbation: the change: r, complex (batch, rows, width), or that of another threat.
        reconstruction: the model's answer to k + A r.
        objective: E(r) of every image, (batch,).
        history: E at every iterate, (restarts, steps + 1, batch).
        velocity: the last v of an attack that can go on, else None.
        iterate: the last r of an attack that can go on, where `perturbation` is only a part of it,
            else None. `objective` is E of that r then.
        reached: what each member of a suite reached, a dict of names and E (batch,); else None.
        left: of an answer that is driven towards a target, the share of the way that is left,
            (batch,); else None.
        unseen: of a model with random draws, E on draws that the attack has not seen, (batch,);
            else None.
    """

    perturbation: tf.Tensor
    reconstruction: tf.Tensor
    objective: tf.Tensor
    history: tf.Tensor
    velocity: Optional[tf.Tensor] = None
    iterate: Optional[tf.Tensor] = None
    reached: Optional[dict] = None
    left: Optional[tf.Tensor] = None
    unseen: Optional[tf.Tensor] = None

    def __repr__(self):
        parts = [f"{name}={_short(array)}" for name, array in zip(self._fields, self)]
        return f"AttackResult({', '.join(parts)})"


def _short(array):
    if not tf.is_tensor(array):
        return checks.shown(array)
    return f"{tf.as_dtype(array.dtype).name} {tuple(array.shape)}"


class Start(NamedTuple):
    """Where an attack goes on.

    Attributes:
        perturbation: r, complex (batch, rows, width).
        velocity: v of the same shape, or None for 0.
        size: the size of the attack that r and v come from, or 0.
    """

    perturbation: tf.Tensor
    velocity: Optional[tf.Tensor] = None
    size: float = 0


class Wanted(NamedTuple):
    """What an attack wanted of an image, for a picture of it.

    Attributes:
        text: in a few words.
        target: the image that the answer was to be, real (rows, width); None without one.
        discs: parts of the image that were attacked one by one, (discs, 3) of row, column and
            radius; None without.
        reached: the effect or error in each of them, (discs,); None without.
    """

    text: str
    target: Optional[np.ndarray] = None
    discs: Optional[np.ndarray] = None
    reached: Optional[np.ndarray] = None
