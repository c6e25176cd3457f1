"""What an attack is: a search for a small change of the measurement that changes the image much.

The change is A r, with r a complex image. An attack has sizes: radii of the ball that r stays in,
or numbers of steps. It is run on a batch of images at one of them.
"""

import inspect
import math
import re

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.attacks.threats import IMAGE
from tfvn.models import compiled
from tfvn.models.contract import check_model
from tfvn.physics import measurement
from tfvn.physics.values import check_values

__all__ = [
    "Attack",
    "check_result",
    "checked_measurement",
    "compute",
    "finite_image",
    "numbers_of",
]


class Attack:
    """An attack with its settings. The keywords of the constructor are the settings.

    They are also the keys of a configuration. `seed` is none of them: every attack of a
    configuration has the configuration's seed.

    A new attack is a subclass that has a constructor, a `name` and `run`. All else has a default
    here. An attribute of the same name as each keyword holds its value.

    Attributes:
        name: the attack's name in `tfvn.attacks.ATTACKS`.
        kinds: names of its variants, each with the settings that make it. An attack without any is
            its only variant, under its own name.
        sizes: the sizes that it is run at, in this order.
        size_name: what a size is, and the column of the results in which it stands.
        size_type: the type of a size, float or int.
        changes: the threat: what a change is, see `tfvn.attacks.threats`.
        comparable: whether an attack of one size has the same power against every model.
        bounded_in_l2: whether a size is the largest l2 norm of r.
        objective_array: the name under which `arrays` holds E(r).
        continued_from: names of arrays that the next size goes on from; none if it begins anew.
        learns: whether its change is found on training slices, by a method `learn(model, slices,
            size)`, and given to `run` as a start.
        needs_reference: whether `run` needs the true image.
        sort: what it works with, "gradient", "single step" or "no gradient", as flags compare it.
        steady: whether its first steps are those of a shorter search too.
        repeats: whether its last search is one more of the kind before it, or goes on from there.
        measures_effect: whether E(r) is half the squared change of the model's answer to
            `perturbation`.
        measures_error: whether E(r) is half the squared error of that answer.
    """

    name = ""
    kinds = {}
    sizes = ()
    size_name = "radius"
    size_type = float
    changes = IMAGE
    comparable = True
    bounded_in_l2 = False
    objective_array = "objective"
    continued_from = ()
    learns = False
    needs_reference = False
    sort = "gradient"
    steady = False
    repeats = True
    measures_effect = True
    measures_error = False

    def __repr__(self):
        return checks.described(self, self.keywords())

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Attacks every image of a batch, each on its own.

        Args:
            model: the model that is attacked.
            inputs: the measurement k, a dict of `kspace`, `sensitivity_maps` and `mask`.
            size: the size of the attack.
            reference: the true images, (batch, rows, width), for attacks that need them.
            start: a `Start` to go on from, for attacks that can.
            index: whole numbers (batch,) that name the images. Random numbers of an image depend
                on its own. None names all of them 0.

        Returns:
            An `AttackResult`.

        Raises:
            ValueError: for arguments that do not fit.
        """
        raise NotImplementedError

    @property
    def kind(self):
        """The attack's name in results: that of the variant."""
        return self.name

    @property
    def prefix(self):
        """The beginning of the names of its folders and datasets."""
        return self.name

    @property
    def ball(self):
        """What its change lies in. Results of one ball and size are compared."""
        return "l2" if self.bounded_in_l2 else self.kind

    @property
    def title(self):
        """What the titles of its tables say of it; nothing for the one that all others follow."""
        return f"attack {self.kind}"

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        return len(self.sizes)

    @property
    def num_answers(self):
        """The number of answers without a gradient, of a search that takes none. As above."""
        return 0

    @property
    def continues(self):
        """Whether a size goes on from the size before."""
        return bool(self.continued_from)

    def first_step(self, before):
        """The number of the first step in the curve of a size that goes on from the size `before`.

        It is 0 unless sizes are numbers of steps of one ascent.
        """
        del before
        return 0

    def folder(self, size):
        """The name of the folder of one size. All digits are there: no two sizes share one."""
        return f"{self.prefix}_{size!r}"

    def size_of(self, folder):
        """The size that a folder of this name holds, or None if it is no folder of the attack."""
        number = r"\d+" if self.size_type is int else r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
        match = re.fullmatch(f"{re.escape(self.prefix)}_({number})", folder)
        return self.size_type(match[1]) if match else None

    def dataset(self, size):
        """The name of the reconstructions of one size, for readers."""
        return f"{self.prefix}_{_short_number(size)}"

    def head(self, size, image_norm=math.nan):
        """What one size is called above a column.

        Args:
            size: the size.
            image_norm: the mean l2 norm of the true images. A size that is an l2 norm is told in
                percent of it, too.
        """
        text = f"{self.size_name} {size:g}"
        if self.bounded_in_l2 and not math.isnan(image_norm):
            text += f" ({_percent(size / image_norm)})"
        return text

    def label(self, size, image_norm=math.nan):
        """The same, with the name of the attack."""
        return f"{self.kind}, {self.head(size, image_norm)}"

    def identity(self, size):
        """What tells the attack of one size from all others, as stored with its perturbations.

        Two attacks of the same identity find the same r, for the same model and measurement.
        """
        # The variant is known from the folder.
        known = {"sizes", *self.kinds.get(self.kind, {})}
        found = {self.size_name: size}
        for keyword in self.keywords():
            if keyword not in known:
                value = getattr(self, keyword)
                # As JSON has it.
                found[keyword] = list(value) if isinstance(value, tuple) else value
        return found

    def check_size(self, size, name="size"):
        """The size as a number of its type.

        Args:
            size: the size.
            name: what it is called in a message.

        Raises:
            ValueError: for anything that is no size of the attack.
        """
        return checks.number(name, size, 0)

    def check_sizes(self, sizes):
        """Some sizes, as a tuple.

        Raises:
            ValueError: for anything but a list of sizes.
        """
        if not isinstance(sizes, (list, tuple)):
            raise ValueError(
                f"sizes must be a list of numbers. Received: sizes={checks.shown(sizes)}"
            )
        return tuple(self.check_size(size, "sizes") for size in sizes)

    def norm_of(self, perturbation):
        """The norm of a change that a size bounds, in double precision; None where it bounds none.

        Args:
            perturbation: the change of one image, a NumPy array, such as r, complex (rows, width).
        """
        del perturbation

    def arrays(self, result):
        """What is stored beside the perturbation of the first image of a result.

        Returns:
            A dict of names and NumPy arrays.
        """
        return {self.objective_array: result.objective[0].numpy()}

    def remark(self, found):
        """What is said of the attacks of one size on all images; "" for nothing.

        Args:
            found: for each image a dict of what is stored, see `arrays`.
        """
        del found
        return ""

    def wanted(self, stored, clean):
        """What the attack wanted of an image, where a picture shows more than a number does.

        Args:
            stored: the arrays and settings of the image's file.
            clean: the model's answer to the clean measurement, real (rows, width).

        Returns:
            A `tfvn.attacks.result.Wanted`, or None.
        """
        del stored, clean

    def members_of(self, stored):
        """What members of the attack reached, where it has any.

        Args:
            stored: the arrays of one image, see `arrays`.

        Returns:
            A list of the name of a member, its `sort`, and E.
        """
        del stored
        return []

    def on_draws(self, stored):
        """The effect, or the error, on the draws that the attack saw, and on others, a pair.

        Args:
            stored: the arrays of one image, `history` and those of `arrays`.

        Returns:
            Two numbers; None where it has not been measured on others.
        """
        del stored

    def start_from(self, arrays, size):
        """The `Start` that the stored arrays of the size before stand for."""
        raise ValueError(f"the attack {self.name} does not go on from another: start with none.")

    @classmethod
    def keywords(cls):
        """The names of its settings, in the order of the constructor."""
        return list(inspect.signature(cls).parameters)


def _short_number(size):
    if isinstance(size, int):
        return str(size)
    return f"{size:g}"


def _percent(share):
    if share < 0.1:
        return f"{100 * share:.2g} %"
    return f"{100 * share:.0f} %"


def checked_measurement(model, inputs):
    """The measurement as the model reads it, checked.

    Raises:
        ValueError: for what is no model, and for inputs that do not fit, are not finite or hold an
            `initial_image` of their own.

    Warns:
        tfvn.data.DataWarning: for images of another scale than that of a radius.
    """
    check_model(model)
    found = model.measured(inputs)
    if "initial_image" in found:
        raise ValueError(
            "The attack starts the model at A^H (k + A r). Remove `initial_image` from the inputs."
        )
    if tf.executing_eagerly():
        image = measurement.zero_filled(model.sense, found)
        # A radius is in units of images of maximum 1, whatever the model is made for.
        check_values(found, image, stacklevel=4)
    return found


def numbers_of(index, inputs):
    """The numbers that name the images of a batch, int32 (batch,).

    Args:
        index: whole numbers (batch,), or None for zeros.
        inputs: the measurement.

    Raises:
        ValueError: for anything else.
    """
    maps = inputs["sensitivity_maps"]
    if index is None:
        return tf.zeros(tf.shape(maps)[:1], tf.int32)
    shape = getattr(index, "shape", None)
    fits = shape is not None and len(shape) == 1 and maps.shape[:1].is_compatible_with(shape)
    if not fits or not tf.as_dtype(index.dtype).is_integer:
        raise ValueError(
            "index must be whole numbers of shape (batch,), a number for every image. Received: "
            f"index={checks.shown(index)}"
        )
    return tf.cast(index, tf.int32)


def compute(function, model, settings, *arguments):
    """`function(model, *settings, *arguments)`, compiled.

    What is compiled serves all models of one architecture, see `tfvn.models.compiled`.

    Args:
        function: a function of a module.
        model: the model.
        settings: what another function must be compiled for: names and flags.
        arguments: tensors, and structures of them.
    """
    if tf.executing_eagerly():
        return compiled.shared(model, function, *settings)(*arguments)
    return function(model, *settings, *arguments)


def finite_image(name, array):
    """A tensor of an image, real or complex, of finite numbers.

    Raises:
        ValueError: for anything else.
    """
    try:
        tensor = tf.convert_to_tensor(array)
    except (TypeError, ValueError):
        tensor = None
    if tensor is None or not (tensor.dtype.is_complex or tensor.dtype.is_floating):
        raise ValueError(
            f"{name} must be an image of numbers, real or complex. Received: "
            f"{name}={checks.shown(array)}"
        )
    if tf.executing_eagerly() and not np.isfinite(tensor).all():
        count = np.count_nonzero(~np.isfinite(tensor))
        raise ValueError(f"{name} must be finite. Received: {count} NaN or infinite entries")
    return tensor


def check_result(model, result):
    """Checks that the model's answer at the start of an attack was finite.

    Inside a graph nothing is known of it. Steps that diverge later show in the result itself.

    Raises:
        ValueError: if it was not.
    """
    if not tf.executing_eagerly():
        return
    wrong = ~np.isfinite(result.history[:, 0].numpy())
    if wrong.any():
        image = np.argwhere(wrong)[0][1]
        raise ValueError(
            f"{type(model).__name__}.reconstruct must return finite images. Received: NaN or "
            f"infinity for image {image} of the batch, at the start of the attack. Are the "
            "model's weights finite?"
        )
