"""The object moved: turned by an angle and shifted by parts of a pixel, before it is measured.

    k' = k + A (T x - x)

x is the true image, and T x the image after the movement. So the noise of k and whatever else is
not A x stay as they are, and no movement changes nothing. An answer is compared with what moves
along: the goal "error" with |T x|, and all others with T f(k), or with their moved target. A model
that follows every movement has no effect.

A rotation is three shears, and a shear or a shift is a ramp on the phase of a Fourier transform
along one axis. These are exact for the trigonometric polynomial through the pixels, and keep the
norm. What leaves the image on one side comes back on the other. Pixels are taken to be squares.

Source of the shears: Unser, Thevenaz and Yaroslavsky, IEEE TIP 4(10), 1995.
"""

import dataclasses
import math

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.goals import GOALS
from tfvn.attacks.search import Found, SearchedAttack, kinds_of
from tfvn.attacks.threats import Threat, known_object
from tfvn.physics import measurement
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["MOVEMENTS", "Motion", "MotionThreat", "moved"]

# Which of angle, shift of rows and shift of columns may differ from 0.
MOVEMENTS = {"rotation": (1, 0, 0), "shift": (0, 1, 1), "both": (1, 1, 1)}
# The largest angle: beyond it three shears tear the image.
_LARGEST = 45


def moved(image, movement):
    """T x: the image turned about its middle, and then shifted.

    Args:
        image: x, complex (batch, rows, width).
        movement: real (batch, 3): the angle in degrees, clockwise where the first row is on top,
            and the shifts down and to the right in pixels.

    Returns:
        An image of the same shape. Without a movement it is x, bit for bit.
    """
    angle = movement[:, 0, None] * (math.pi / 180)
    down, right = movement[:, 1, None], movement[:, 2, None]
    _, rows, width = static_or_dynamic_shape(image)
    row, column = (_places(size, movement.dtype) for size in (rows, width))
    lean = -tf.tan(angle / 2)
    found = _sheared(image, lean * row)
    found = _transposed(_sheared(_transposed(found), tf.sin(angle) * column + down))
    found = _sheared(found, lean * (row - down) + right)
    stays = tf.reduce_all(movement == 0, 1)
    return tf.where(stays[:, None, None], image, found)


def _places(size, real):
    """The distances of pixels from the middle of an axis, where the zero frequency would be."""
    return tf.cast(tf.range(size) - size // 2, real)


def _sheared(image, shifts):
    """Each row shifted to the right by its number of pixels, (batch, rows)."""
    width = static_or_dynamic_shape(image)[-1]
    frequency = tf.signal.ifftshift(_places(width, shifts.dtype)) / tf.cast(width, shifts.dtype)
    phase = -2 * math.pi * shifts[..., None] * frequency
    ramp = tf.complex(tf.cos(phase), tf.sin(phase))
    return tf.signal.ifft(tf.signal.fft(image) * tf.cast(ramp, image.dtype))


def _transposed(image):
    return tf.transpose(image, [0, 2, 1])


@dataclasses.dataclass(frozen=True)
class MotionThreat(Threat):
    """The object at another place: a change is its movement, real (batch, 3), as for `moved`.

    The size is the largest of |angle| in degrees and of the two |shifts| in pixels.
    """

    length = "movement in degrees or pixels"
    needs_truth = True

    def zero(self, sense, inputs):
        del sense
        one = tf.zeros_like(tf.math.real(inputs["sensitivity_maps"][:, 0, 0, :1]))
        return tf.tile(one, [1, 3])

    def known(self, sense, inputs, reference=None):
        del sense
        return known_object(inputs, reference, "A movement needs the true image.")

    def enter(self, sense, inputs, change, known):
        return measurement.perturbed(sense, inputs, _step(change, known), known["mask"])

    def in_kspace(self, sense, inputs, change, known):
        # A certificate bounds the change of an answer, and not how far it is from one that moved.
        del sense, inputs, change, known

    def follow(self, image, change, known, is_truth):
        if is_truth:
            return tf.abs(moved(known["object"], change))
        return tf.math.real(moved(tf.cast(image, known["object"].dtype), change))

    def amount(self, change):
        return self.size(change)[0]

    def full_size(self, inputs, reference):
        """1: a movement is compared with a degree and a pixel."""
        del reference
        return tf.ones_like(tf.math.real(inputs["sensitivity_maps"][:, 0, 0, 0]))

    def project(self, change, radius):
        return tf.clip_by_value(change, -radius, radius)

    def size(self, change):
        return tf.reduce_max(tf.abs(change), 1)


def _step(change, known):
    """T x - x."""
    return moved(known["object"], change) - known["object"]


class Motion(SearchedAttack):
    """The movement of the object that changes the answer most. It needs no gradient.

    A grid of movements is tried, and then finer ones around the best of them. A size goes on from
    the size before: its search includes what was found there. So a larger one never gives less.

    Args:
        sizes: the largest angles, in degrees, and shifts, in pixels.
        movement: "rotation", "shift", or "both" at once.
        goal: what the adversary wants: the largest "effect" on the answer, apart from the movement
            itself; the largest "error" of it, against the moved truth; to "erase" what it shows in
            `goal_region`, or to "insert" a lesion there, which move along.
        grid: how many values of each angle and shift are tried, >= 2.
        refinements: how often the grid around the best movement is made finer by half. Each tries
            three values of each angle and shift.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over.
        seed: the seed of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "motion"
    sort = "no gradient"
    threats = {"motion": MotionThreat()}
    kinds = kinds_of("motion", GOALS, ("motion",))
    continued_from = ("perturbation",)

    def __init__(
        self,
        sizes=(1.0, 2.0, 5.0),
        movement="both",
        goal="effect",
        grid=5,
        refinements=4,
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(sizes, "motion", goal, (), goal_region, noise, draws, seed)
        self.movement = checks.choice("movement", movement, MOVEMENTS)
        self.grid = checks.whole("grid", grid, 2, most=ranges.MOST)
        self.refinements = checks.whole("refinements", refinements, 0, most=ranges.MOST)

    @property
    def num_gradients(self):
        """None."""
        return 0

    @property
    def num_answers(self):
        """The number of answers of all sizes together, for one image."""
        moving = sum(MOVEMENTS[self.movement])
        return len(self.sizes) * (1 + self.grid**moving + self.refinements * 3**moving)

    def check_size(self, size, name="size"):
        """The largest angle and shift of one size."""
        return checks.number(name, size, 0, most=_LARGEST)

    def numbers(self, real):
        return {"grid": tf.constant(self.grid), "refinements": tf.constant(self.refinements)}

    def fixed(self):
        return (MOVEMENTS[self.movement],)

    @staticmethod
    def search(problem, numbers, moving):
        """The best movement, and E after the start, the grid and every refinement."""
        rounds = numbers["refinements"] + 2
        history = tf.TensorArray(
            problem.radius.dtype, size=rounds, element_shape=problem.like.shape[:1]
        )
        start = problem.like if problem.start is None else problem.project(problem.start)
        value = problem.value(start)
        reach = problem.radius
        best, value = _best_of_grid(problem, start, value, (0.0, reach, numbers["grid"]), moving)
        history = history.write(0, problem.value(start)).write(1, value)
        # Half of the distance of two points of the grid.
        reach /= tf.cast(numbers["grid"] - 1, reach.dtype)

        def body(number, best, value, reach, history):
            best, value = _best_of_grid(problem, best, value, (best, reach, 3), moving)
            return number + 1, best, value, reach / 2, history.write(number, value)

        begin = (tf.constant(2), best, value, reach, history)
        _, best, _, _, history = tf.while_loop(
            lambda number, *_: number < rounds, body, begin, parallel_iterations=1
        )
        return Found(best, history.stack()[None])


def _best_of_grid(problem, best, value, grid, moving):
    """The best movement of a grid and of one that is known, and E of it.

    Args:
        problem: the `tfvn.attacks.problem.Problem`.
        best, value: the known movement, and E of it.
        grid: its middle, how far it reaches to both sides, and the number of its points on an axis.
        moving: 1 for each of angle and shifts that the grid extends along, otherwise 0.
    """
    middle, reach, count = grid
    places = [count if is_moving else 1 for is_moving in moving]
    total = math.prod(places) if isinstance(count, int) else tf.reduce_prod(tf.stack(places))

    def point(number):
        """The steps of a point from the middle, between -1 and 1."""
        steps = []
        for place, is_moving in zip(places, moving):
            step = tf.cast(2 * (number % place), problem.radius.dtype)
            step = step / tf.cast(tf.maximum(place - 1, 1), step.dtype) - is_moving
            steps.append(step)
            number //= place
        return tf.stack(steps)

    def body(number, best, value):
        candidate = problem.project(middle + reach * point(number) + problem.like)
        best, value = loop.better(candidate, problem.value(candidate), best, value)
        return number + 1, tf.ensure_shape(best, problem.like.shape), value

    _, best, value = tf.while_loop(
        lambda number, *_: number < total,
        body,
        (tf.constant(0), best, value),
        parallel_iterations=1,
    )
    return best, value
