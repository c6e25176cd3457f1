"""Lines of the mask exchanged: the scanner has measured others than it should.

Of the sampled lines n are left out, and n others are measured in their place. Neither the lines of
the centre that are sampled without a gap nor padding take part. The model is given the new mask,
and the data of the new lines: from the k-space where it holds them, and otherwise A x of the true
image x, with the maps as they are and without noise.

The search is greedy. Each exchange is the one with the largest E of some that are tried on top of
those before, or none where no one is larger. So more lines never give less.
"""

import dataclasses

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.search import Found, SearchedAttack, kinds_of
from tfvn.attacks.threats import Threat
from tfvn.models.e2e_varnet import centre_lines
from tfvn.physics import measurement

__all__ = ["ExchangedLines", "LineThreat"]


@dataclasses.dataclass(frozen=True)
class LineThreat(Threat):
    """Another mask, of as many lines.

    A change is real (batch, width): -1 where a line is left out, 1 where one is new, 0 elsewhere.
    """

    length = "exchanged lines"
    changes = "mask"
    needs_truth = True

    def zero(self, sense, inputs):
        del sense
        return tf.zeros_like(tf.math.real(inputs["sensitivity_maps"][:, 0, 0]))

    def known(self, sense, inputs, reference=None):
        """The k-space of all lines; and which may be left out or be new, (batch, width) of 0 and 1.

        Raises:
            ValueError: for a mask that is none of lines, and where the data of new lines are
                missing.
        """
        mask = tf.convert_to_tensor(inputs["mask"])
        _check_lines(mask)
        _check_kspace(inputs)
        kspace, maps = (tf.convert_to_tensor(inputs[key]) for key in ("kspace", "sensitivity_maps"))
        held = tf.reduce_any(kspace != 0, [1, 2], keepdims=True)
        if reference is not None:
            every = tf.ones_like(mask)
            kspace = tf.where(held | (mask != 0), kspace, sense.forward(reference, maps, every))
        elif tf.executing_eagerly() and not tf.reduce_all(held | (mask != 0)):
            raise ValueError(
                "Exchanged lines need the data of lines that are not sampled. Received:"
                " reference=None, and a kspace without them. Give the true image, complex."
            )
        removable = measurement.without_padding(inputs) * (1 - centre_lines(mask))
        real = kspace.dtype.real_dtype
        shape = [tf.shape(kspace)[0], tf.shape(kspace)[3]]
        found = {"kspace": kspace}
        for name, lines in (("removable", removable), ("new", 1 - mask)):
            found[name] = tf.broadcast_to(tf.cast(lines[:, 0, 0], real), shape)
        return found

    def enter(self, sense, inputs, change, known):
        mask = tf.cast(inputs["mask"], change.dtype) + change[:, None, None]
        return measurement.with_mask(sense, inputs, mask, known["kspace"])

    def in_kspace(self, sense, inputs, change, known):
        del sense, inputs, change, known

    def amount(self, change):
        return self.size(change)[0]

    def full_size(self, inputs, reference):
        """The number of sampled lines."""
        del reference
        return tf.reduce_sum(tf.convert_to_tensor(inputs["mask"]), [1, 2, 3])

    def size(self, change):
        """The number of exchanged lines, (batch,); infinite where a change is no exchange."""
        change = tf.math.real(change)
        new, gone = (tf.reduce_sum(tf.nn.relu(sign * change), 1) for sign in (1, -1))
        whole = tf.reduce_all((change == 0) | (tf.abs(change) == 1), 1)
        return tf.where(whole & (new == gone), new, tf.constant(float("inf"), new.dtype))


def _check_lines(mask):
    # Numbers are looked at where they are known.
    binary = not tf.executing_eagerly() or tf.reduce_all((mask == 0) | (mask == 1))
    if mask.shape[2] != 1 or not binary:
        raise ValueError(
            "Exchanged lines need a mask of lines, (batch, 1, 1, width) of 0 and 1. Received:"
            f" mask.shape={tuple(mask.shape)}, values from {float(tf.reduce_min(mask)):g} to"
            f" {float(tf.reduce_max(mask)):g}. Take another threat for it."
        )


def _check_kspace(inputs):
    if "kspace" not in inputs:
        raise ValueError(
            "Exchanged lines need kspace in the inputs. Received:"
            f" {sorted(map(str, inputs))}. A^H k does not tell its lines apart."
        )


class ExchangedLines(SearchedAttack):
    """The exchange of sampled lines for others that changes the answer most. It needs no gradient.

    Args:
        sizes: the numbers of lines that are exchanged at most.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        candidates: how many exchanges of one line are tried before one is made. Each takes an
            answer of the model. Where there are more, they are drawn at random.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over.
        seed: the seed of the candidates and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "lines"
    size_name = "lines"
    size_type = int
    sort = "no gradient"
    threats = {"lines": LineThreat()}
    kinds = kinds_of("lines", threats=("lines",))

    def __init__(
        self,
        sizes=(1, 2, 4),
        goal="effect",
        candidates=100,
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(sizes, "lines", goal, (), goal_region, noise, draws, seed)
        self.candidates = checks.whole("candidates", candidates, 1, most=ranges.MOST)

    @property
    def num_gradients(self):
        """None."""
        return 0

    @property
    def num_answers(self):
        """The number of answers of all sizes together, for one image."""
        return self.candidates * sum(self.sizes)

    def check_size(self, size, name="size"):
        """The number of lines of one size."""
        return checks.whole(name, size, 0, most=ranges.MOST)

    def numbers(self, real):
        return {"candidates": tf.constant(self.candidates)}

    @staticmethod
    def search(problem, numbers):
        """The exchanges that were made, and E after each of them."""
        steps = tf.cast(tf.round(problem.radius), tf.int32)
        history = tf.TensorArray(
            problem.radius.dtype, size=steps + 1, element_shape=problem.like.shape[:1]
        )

        def body(step, change, value, history):
            change, value = _exchanged(problem, change, value, step, numbers["candidates"])
            return step + 1, change, value, history.write(step + 1, value)

        value = problem.value(problem.like)
        begin = (tf.constant(0), problem.like, value, history.write(0, value))
        _, change, _, history = tf.while_loop(
            lambda step, *_: step < steps, body, begin, parallel_iterations=1
        )
        return Found(change, history.stack()[None])


def _exchanged(problem, change, value, step, count):
    """A change with the best of `count` further exchanges, and E of it."""
    width = tf.shape(change)[1]
    # Each line takes part once.
    free = tf.cast(change == 0, change.dtype)
    gone, new = (free * problem.known[name] for name in ("removable", "new"))
    possible = tf.reshape(gone[:, :, None] * new[:, None], [-1, width * width])
    # A mate with more of them must not matter.
    order = tf.where(possible > 0, problem.uniform(step, [width * width]), -1.0)
    most = tf.cast(tf.reduce_max(tf.reduce_sum(possible, 1)), tf.int32)
    chances, places = tf.math.top_k(order, tf.minimum(count, width * width))

    def body(number, best, best_value):
        place = places[:, number]
        swap = tf.one_hot(place % width, width, dtype=change.dtype)
        swap -= tf.one_hot(place // width, width, dtype=change.dtype)
        is_possible = chances[:, number] >= 0
        candidate = change + tf.where(is_possible[:, None], swap, tf.zeros_like(swap))
        best, best_value = loop.better(candidate, problem.value(candidate), best, best_value)
        return number + 1, tf.ensure_shape(best, change.shape), best_value

    _, best, best_value = tf.while_loop(
        lambda number, *_: number < tf.minimum(count, most),
        body,
        (tf.constant(0), change, value),
        parallel_iterations=1,
    )
    return best, best_value
