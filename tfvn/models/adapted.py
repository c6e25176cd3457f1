"""What models of others have in common, once they are a `Reconstructor`.

Somebody else's network N answers by a function of its user, which says how N reads a measurement
and what its image is:

    f(k) = forward(N, {k, A^H k, S, M})

Whatever `forward` computes is differentiated through: a normalisation, the network, and what is
done to its image. It is called with one slice at a time. So no slice depends on its batch mates,
whatever is in N. Its image is complex, and f(k) its magnitude, or real, and f(k) itself.

The first measurement that an adapted model is given shows whether all of that holds.
"""

import contextlib
import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.models.base import Reconstructor, magnitude
from tfvn.models.failed_call import Fault, raised_outside
from tfvn.physics import measurement

__all__ = ["Adapted", "code_of", "digest_of", "text_of"]

# Two answers to the same data may differ by rounding: where sums are taken in another order.
_ROUNDING = 1e-3
# The gradient is checked over steps of these shares of the data, up to this share of itself and to
# changes that are this share of the answer.
_STEPS, _AGREEMENT, _UNSEEN = (1e-2, 1e-3, 1e-4), 0.05, 1e-6
# And in so many random directions, up to this share of the change of the whole answer.
_DIRECTIONS, _SHARE = 3, 0.2


class Adapted(Reconstructor):
    """A model of others.

    A subclass has `image(inputs)` from the inputs of a batch to a pair: the complex image, and
    whether the answer is its magnitude, True or False or a tensor. It also has `digest()`.

    Args:
        title: what it is, such as "torch module UNet", as errors and run directories call it.
        track: "deterministic", or "dynamic" for a model that optimises for each measurement, always
            with the same result. The gradient of such a model may be cut.
        reads, readout_oversampling, name, dtype: as for `Reconstructor`.
    """

    def __init__(
        self,
        title,
        reads="zero_filled",
        readout_oversampling=False,
        track="deterministic",
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.title = title
        self._track = checks.choice("track", track, ("deterministic", "dynamic"))
        self.reads = checks.choice("reads", reads, measurement.READS)
        self.built = True
        self._was_looked_at = False

    @property
    def track(self):
        """How it must be attacked, as it was told."""
        return self._track

    def image(self, inputs):
        """The complex image, and whether the answer is its magnitude."""
        raise NotImplementedError

    def digest(self):
        """SHA-256 of what the model computes with, as far as that can be known."""
        raise NotImplementedError

    def call(self, inputs):
        image, _ = self.image(inputs)
        return image

    def answer(self, inputs, key=None):
        del key
        image, is_complex = self.image(inputs)
        return tf.where(is_complex, magnitude(image), tf.math.real(image))

    def measured(self, inputs):
        found = super().measured(inputs)
        if tf.executing_eagerly() and not self._was_looked_at:
            self._was_looked_at = self._holds(found)
        return found

    def handed_over(self, inputs):
        """What `forward` is given: the measurement, with A^H k where the model reads k-space."""
        return measurement.with_zero_filled(self.sense, inputs)

    def _holds(self, inputs):
        """Whether the first slice showed that the model can be used.

        Raises:
            ValueError: if it cannot.
        """
        one = {name: x[:1] for name, x in inputs.items()}
        length = _norm(one[self.reads])
        if not length or not np.isfinite(length):
            # What is wrong there is told where measurements are looked at.
            return False
        with raised_outside(), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(one[self.reads])
            image = self.answer(one)
        if not np.isfinite(image).all():
            self.refuse("must answer with finite numbers. Received: NaN or infinity")
        # Of a sum without weights the mean may be all that there is, and a network may remove it.
        weights = np.random.default_rng(0).standard_normal(image.shape)
        weights = tf.constant(weights, image.dtype)
        with raised_outside():
            gradient = tape.gradient(image, one[self.reads], weights)
            again = self.answer(one)
        if gradient is None:
            self.refuse(
                f"must have a gradient in {self.reads}. Received: an image that does not depend on "
                "it, or that is computed outside of TensorFlow"
            )
        if not np.isfinite(tf.abs(gradient)).all():
            self.refuse(f"must have a finite gradient in {self.reads}. Received: NaN or infinity")
        if np.abs(again - image).max() > _ROUNDING * np.abs(image).max():
            self.refuse(
                "must answer the same data twice alike. Received: two answers that differ. Switch "
                "dropout and other draws off in forward"
            )
        if self.track == "deterministic":
            self._check_slope(one, gradient, weights)
            self._check_directions(one, gradient, weights)
        return True

    def _check_slope(self, inputs, gradient, weights):
        """Checks the gradient of sum(weights * answer) by how that changes along it.

        One that is cut somewhere would make the model look robust.
        """
        slope = _norm(gradient)
        # Of a gradient of 0 any direction will do.
        direction = gradient if slope else inputs[self.reads]

        def allowed(found, _):
            return _AGREEMENT * max(abs(found), slope)

        direction = _of_length_1(direction)
        self._compare(slope, inputs, direction, weights, allowed, "along which")

    def _check_directions(self, inputs, gradient, weights):
        """Checks the gradient of sum(weights * answer) in random directions.

        Along itself a gradient shows what it has, and nothing that it lacks at a right angle. A
        part D of the derivative that is lacking changes the sum by <weights, D d> along a direction
        d of length 1. That is about | D d |, however many pixels there are. So it is compared with
        the change of the whole answer: that of the sum may be 0. A part that is as large as the
        rest is missed in one of a hundred models, and one of a tenth of it in most.

        The directions are A r, as attacks take them. The images r are the zero-filled one, with a
        random factor at each pixel: where an image is 0 its magnitude has no slope.
        """
        rng = np.random.default_rng(1)
        image = measurement.zero_filled(self.sense, inputs)
        for _ in range(_DIRECTIONS):
            real, imaginary = rng.standard_normal((2, *image.shape))
            r = image * tf.constant(real + 1j * imaginary, image.dtype)
            changed = measurement.perturbed(self.sense, inputs, r)
            direction = _of_length_1(changed[self.reads] - inputs[self.reads])
            slope = _inner(gradient, direction)
            told = "by which in a random direction"
            self._compare(slope, inputs, direction, weights, _share_of_the_answer, told)

    def _compare(self, slope, inputs, direction, weights, allowed, told):
        """Refuses a slope along a direction that no step confirms.

        Args:
            slope: by the gradient.
            inputs, direction, weights: see `_slopes`.
            allowed: a function of what a step found, to how far off the slope may be.
            told: words for the direction.
        """
        for found, length, rounding in self._slopes(inputs, direction, weights):
            if abs(found - slope) <= allowed(found, length) + rounding:
                return
        self.refuse(
            f"must have the gradient of its answer in {self.reads}. Received: one {told} a sum of "
            f"the answer should grow by {slope:.3g}, and it grows by {found:.3g}. Look for what is "
            "detached in forward, or at the vjp"
        )

    def _slopes(self, inputs, direction, weights):
        """The derivative along a direction by central differences.

        Args:
            inputs: of one slice.
            direction: of length 1.
            weights: of the sum.

        Yields:
            That of sum(weights * answer), the length of that of the answer, and how much of either
            rounding may be, of each step. A network bends within a large one, and rounding hides
            what a small one changes.
        """
        data = inputs[self.reads]
        for share in _STEPS:
            step = share * _norm(data)
            images = []
            for sign in (1, -1):
                moved = data + sign * step * direction
                changed = measurement.with_data(inputs, self.reads, moved)
                with raised_outside():
                    images.append(self.answer(changed))
            change = (images[0] - images[1]) / (2 * step)
            yield _inner(weights, change), _norm(change), _UNSEEN * _norm(images[0]) / step

    def refuse(self, text):
        """Raises what is wrong with the model, as `tfvn.models.failed_call.raised_outside` reads
        it.
        """
        raise Fault(f"The {self.title} {text}.")

    def check_shape(self, received, shape, height, width):
        """Checks that an image of one slice has the shape of A^H k.

        Args:
            received: the image, in words.
            shape: its shape.
            height, width: of k-space.
        """
        rows = height and self.sense.rows(height)[1]
        if not tf.TensorShape(shape).is_compatible_with([1, rows, width]):
            self.refuse(
                "must give an image of the shape of A^H k, (batch, rows, width) = "
                f"{(1, rows, width)}. Received: {received}. Let forward take away the axis of "
                "channels, or crop"
            )

    @contextlib.contextmanager
    def errors_named(self, function):
        """What a function of the user raises is told with the model's name."""
        try:
            yield
        except Fault:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:500]
            self.refuse(f"failed in {function}: {type(error).__name__}: {text}")

    @property
    def architecture(self):
        # It has no twin, and its compiled functions are its own.
        return None

    def save(self, filepath, *args, **kwargs):
        """A model of others has no file of ours.

        Raises:
            ValueError: always; it says what to save.
        """
        raise ValueError(
            f"{checks.shown(filepath)}: the {self.title} is saved by its own library, and adapted "
            "again after it is loaded."
        )

    def get_config(self):
        found = {
            **super().get_config(),
            "reads": self.reads,
            "title": self.title,
            "digest": self.digest(),
        }
        # Hashes of all others are those of before there were tracks.
        if self.track == "dynamic":
            found["track"] = self.track
        return found


def _share_of_the_answer(_, length):
    return _SHARE * length


def _norm(tensor):
    return float(tf.norm(tf.abs(tensor)))


def _of_length_1(tensor):
    return tensor / tf.cast(_norm(tensor), tensor.dtype)


def _inner(one, other):
    """Re <one, other> of two tensors, in double precision."""
    return np.vdot(one.numpy(), other.numpy().astype("complex128")).real


def digest_of(parts):
    """SHA-256 of texts and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(repr((part.shape, part.dtype.str)).encode())
            part = np.ascontiguousarray(part).tobytes()
        else:
            part = str(part).encode()
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def code_of(function):
    """What a function does, as text, as far as its own code says, and the numbers and texts that it
    was made with, those in lists, tuples, sets and dicts among them.

    Of a callable object it is the name of its class.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function).__qualname__
    made_with = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        # A cell is empty until its name has a value, and again after `del`.
        with contextlib.suppress(ValueError):
            made_with.append(cell.cell_contents)
    return " ".join([_text_of(code), *map(text_of, made_with)])


def text_of(value, around=()):
    """A value as text; of what may be another in each Python, its class.

    Args:
        value: any.
        around: the identities of the lists and the like that it lies in.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return digest_of([np.asarray(value)])
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    name = type(value).__qualname__
    # A list may lie in itself.
    if not isinstance(value, (list, tuple, set, frozenset, Mapping)) or id(value) in around:
        return name
    around = (*around, id(value))
    if isinstance(value, Mapping):
        value = value.items()
    inside = [text_of(item, around) for item in value]
    if isinstance(value, (set, frozenset)):
        # Its order is another in each Python.
        inside.sort()
    return f"{name}({', '.join(inside)})"


def _text_of(constant):
    if hasattr(constant, "co_code"):
        inner = ", ".join(map(_text_of, constant.co_consts))
        return f"{constant.co_code.hex()} {constant.co_names} ({inner})"
    if isinstance(constant, frozenset):
        # Its order is another in each Python.
        return str(sorted(map(repr, constant)))
    return repr(constant)
