"""What is measured of an image, as a dict of arrays: its only owner.

    kspace            complex (batch, coils, height, width), 0 where not sampled
    sensitivity_maps  complex, same shape
    mask              real (batch, 1, 1, width) or (batch, 1, height, width)
    zero_filled       A^H kspace, complex (batch, rows, width): used in place of `kspace` where it
                      is there; `kspace` may then be missing
    initial_image     optional: a first iterate other than A^H kspace, of its shape

A model reads either `kspace` or `zero_filled`. The functions below give it the one that it reads,
and change that one alone: k + A r and A^H k + A^H A r are one perturbation in two views, k + e and
A^H k + A^H e one noise.
"""

from collections.abc import Mapping

import tensorflow as tf

from tfvn import checks
from tfvn.physics import noise
from tfvn.physics.sense import SHAPES, sizes_fit

__all__ = [
    "RANKS",
    "READS",
    "check",
    "measured_keys",
    "noisy",
    "of_image",
    "perturbed",
    "read_as",
    "sample_index",
    "stopped",
    "with_data",
    "with_kspace",
    "with_maps",
    "with_mask",
    "with_zero_filled",
    "without_padding",
    "zero_filled",
]

# What a model may read.
READS = ("zero_filled", "kspace")
# The arrays of a measurement, and how many axes they have.
RANKS = {"kspace": 4, "sensitivity_maps": 4, "mask": 4, "zero_filled": 3, "initial_image": 3}
_IMAGES = ("zero_filled", "initial_image")


def zero_filled(sense, inputs):
    """A^H kspace, complex (batch, rows, width); the given one where `inputs` hold it."""
    if "zero_filled" in inputs:
        return inputs["zero_filled"]
    return sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])


def read_as(sense, inputs, reads):
    """The measurement of a model that reads `reads`: a dict of it, maps, mask and, if it is given,
    `initial_image`.

    Raises:
        ValueError: if k-space is to be read and is not there.
    """
    if reads == "zero_filled":
        found = {"zero_filled": zero_filled(sense, inputs)}
    elif "kspace" in inputs:
        found = {"kspace": inputs["kspace"]}
    else:
        received = checks.shown(sorted(map(str, inputs)))
        raise ValueError(f"The model reads kspace, which inputs must hold. Received: {received}")
    for key in ("sensitivity_maps", "mask", "initial_image"):
        if key in inputs:
            found[key] = inputs[key]
    return found


def measured_keys(inputs):
    """The keys of what a reconstruction is differentiable in: all but maps and mask."""
    return [key for key in ("kspace", "zero_filled", "initial_image") if key in inputs]


def sample_index(inputs):
    """The numbers that name the slices of a batch, int32 (batch,). Random numbers are keyed by
    them.

    Args:
        inputs: a batch as `tfvn.data` gives it, with `sample_index` beside the measurement.

    Raises:
        ValueError: without them.
    """
    if "sample_index" not in inputs:
        raise ValueError(
            "inputs must hold sample_index, whole numbers of shape (batch,) that name the slices,"
            f" because random numbers are keyed by them. Received: {sorted(map(str, inputs))}."
            " Batches of tfvn.data hold it."
        )
    return inputs["sample_index"]


def stopped(inputs):
    """The measurement, as a constant to gradients in what is measured."""
    found = dict(inputs)
    for key in measured_keys(inputs):
        found[key] = tf.stop_gradient(inputs[key])
    return found


def with_data(inputs, key, data):
    """The measurement with other data, of the same maps and mask.

    Args:
        inputs: a measurement.
        key: what `data` take the place of, "kspace" or "zero_filled".
        data: of its shape.
    """
    return {**inputs, key: data}


def with_zero_filled(sense, inputs):
    """The measurement with A^H kspace beside what it holds."""
    return with_data(inputs, "zero_filled", zero_filled(sense, inputs))


def with_maps(sense, inputs, maps, kspace):
    """The same k-space, measured with other coil maps.

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them.
        maps: the new `sensitivity_maps`.
        kspace: the k-space that A^H k is made of anew, where `inputs` hold that.
    """
    found = {**inputs, "sensitivity_maps": maps}
    if "zero_filled" in inputs:
        found["zero_filled"] = sense.adjoint(kspace, maps, inputs["mask"])
    return found


def with_mask(sense, inputs, mask, kspace):
    """The same object, measured with another mask.

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them.
        mask: the new one, of any type.
        kspace: complex (batch, coils, height, width), of all entries that it samples.
    """
    maps = inputs["sensitivity_maps"]
    sampled = tf.cast(mask, maps.dtype) * kspace
    found = {**inputs, "mask": mask}
    if "zero_filled" in inputs:
        return with_data(found, "zero_filled", sense.adjoint(sampled, maps, mask))
    return with_data(found, "kspace", sampled)


def without_padding(inputs):
    """The mask of what was measured, real, of the shape of `mask` or one for each image.

    A line that holds nothing but zeros was never measured, whatever the mask says; of a mask of
    points, a point. Where there is no `kspace`, the mask is all that is known.

    Args:
        inputs: the measurement as it came.
    """
    mask = tf.convert_to_tensor(inputs["mask"])
    if "kspace" not in inputs:
        return mask
    axes = [1, 2] if mask.shape[2] == 1 else [1]
    holds = tf.reduce_any(tf.convert_to_tensor(inputs["kspace"]) != 0, axes, keepdims=True)
    return tf.where(holds, mask, tf.zeros_like(mask))


def perturbed(sense, inputs, perturbation, mask=None):
    """The measurement k + A r of an image perturbation r, complex (batch, rows, width).

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them.
        perturbation: r.
        mask: of the entries that A r has, as `without_padding` gives it; None: that of the inputs.
    """
    mask = inputs["mask"] if mask is None else mask
    operands = (perturbation, inputs["sensitivity_maps"], mask)
    if "zero_filled" in inputs:
        return {**inputs, "zero_filled": inputs["zero_filled"] + sense.normal(*operands)}
    return {**inputs, "kspace": inputs["kspace"] + sense.forward(*operands)}


def of_image(sense, inputs, image, mask=None):
    """The measurement A u of an image u, complex (batch, rows, width), without noise.

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them. Their view and their maps are kept, and an `initial_image`
            is left out.
        image: u.
        mask: of the new measurement; None: that of the inputs.
    """
    blank = {"sensitivity_maps": inputs["sensitivity_maps"], "mask": inputs["mask"]}
    if mask is not None:
        blank["mask"] = mask
    for key in ("kspace", "zero_filled"):
        if key in inputs:
            blank[key] = tf.zeros_like(inputs[key])
    return perturbed(sense, blank, image)


def with_kspace(sense, inputs, change):
    """The measurement k + e of a change e of the sampled k-space, complex (batch, coils, height,
    width). What e holds at entries that are not sampled is left out.

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them.
        change: e.
    """
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    if "zero_filled" in inputs:
        return {**inputs, "zero_filled": inputs["zero_filled"] + sense.adjoint(change, maps, mask)}
    return {**inputs, "kspace": inputs["kspace"] + tf.cast(mask, change.dtype) * change}


def noisy(sense, inputs, sigma, keys, law="gaussian"):
    """The measurement k + sigma e of noise e, see `tfvn.physics.noise`.

    Args:
        sense: the `Sense` of A.
        inputs: as `read_as` gives them. An `initial_image` is changed as `zero_filled` is.
        sigma: standard deviation of each real component, a number of any type, or one for each
            image, (batch,).
        keys: int32 (batch, 2), one an image.
        law: the distribution of e.
    """
    maps, mask = tf.convert_to_tensor(inputs["sensitivity_maps"]), inputs["mask"]
    if not tf.is_tensor(sigma):
        # By itself TensorFlow would take a number of Python in single precision.
        sigma = tf.constant(sigma, maps.dtype.real_dtype)
    sigma = tf.cast(sigma, maps.dtype)
    if sigma.shape.rank:
        sigma = tf.reshape(sigma, [-1, *[1] * (3 if "zero_filled" not in inputs else 2)])
    if "zero_filled" not in inputs:
        added = sigma * noise.kspace_noise(sense, maps, mask, keys, law)
        return {**inputs, "kspace": inputs["kspace"] + added}
    added = sigma * noise.image_noise(sense, maps, mask, keys, law)
    changed = {key: inputs[key] + added for key in _IMAGES if key in inputs}
    return {**inputs, **changed}


def check(inputs, dtype=None):
    """Checks types, ranks and sizes of a measurement. Other keys are not looked at.

    Args:
        inputs: the dict.
        dtype: "float32" or "float64", the precision that it must have; None: any.

    Raises:
        ValueError: naming the key, what came and what was expected.
    """
    _check_dict(inputs)
    known = {name: inputs[name] for name in RANKS if name in inputs}
    for name, array in known.items():
        _check_array(name, array)
    _check_complex(known)
    _check_sizes(known)
    _check_mask(known["mask"], known["sensitivity_maps"])
    _check_precision(known["sensitivity_maps"], dtype)


def _check_dict(inputs):
    if not isinstance(inputs, Mapping):
        received = checks.shown(inputs)
        if isinstance(inputs, (tuple, list)):
            received = f"a {type(inputs).__name__}. Of a pair (inputs, reference) pass the first"
        raise ValueError(
            "inputs must be a dict of the arrays kspace, sensitivity_maps and mask. "
            f"Received: inputs={received}."
        )
    needed = {"sensitivity_maps", "mask"}
    if "zero_filled" not in inputs:
        needed.add("kspace")
    missing = sorted(needed - set(inputs))
    if missing:
        received = checks.shown(sorted(map(str, inputs)))
        raise ValueError(
            f"inputs must hold {sorted(needed)}. Missing: {missing}. Received: {received}"
        )


def _check_array(name, array):
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise ValueError(
            f"{name} must be an array or a tensor. Received: "
            f"{name}={checks.shown(array)}. Convert it with np.asarray."
        )
    if len(array.shape) != RANKS[name]:
        shape = SHAPES.get(name, "(batch, height, width)")
        raise ValueError(
            f"{name} must have shape {shape}. Received: {name}.shape={tuple(array.shape)}"
        )


def _check_complex(known):
    expected = tf.as_dtype(known["sensitivity_maps"].dtype)
    for name in sorted(set(known) - {"mask"}):
        dtype = tf.as_dtype(known[name].dtype)
        if not dtype.is_complex or dtype != expected:
            raise ValueError(
                "k-space, maps and images must be complex, all of one type. Received: "
                f"{name}.dtype={dtype.name}, sensitivity_maps.dtype={expected.name}. "
                "Convert with .astype('complex64')."
            )


def _check_sizes(known):
    maps = known["sensitivity_maps"]
    if "kspace" in known:
        _check_pair("kspace", known["kspace"], maps, [(0, 0), (1, 1), (2, 2), (3, 3)])
    for name in _IMAGES:
        if name in known:
            _check_pair(name, known[name], maps, [(0, 0), (2, 3)])
    mask = known["mask"]
    _check_pair("mask", mask, maps, [(3, 3)] if mask.shape[2] == 1 else [(2, 2), (3, 3)])


def _check_pair(name, x, maps, axes):
    if not all(sizes_fit(x.shape[one], maps.shape[other]) for one, other in axes):
        raise ValueError(
            f"{name} {SHAPES.get(name, '(batch, height, width)')} and sensitivity_maps "
            f"{SHAPES['sensitivity_maps']} do not fit. Received: {name}.shape={tuple(x.shape)}, "
            f"sensitivity_maps.shape={tuple(maps.shape)}. "
            "Coils, height and width must be of the same scan."
        )


def _check_mask(mask, maps):
    one_coil = mask.shape[1] in (1, None)
    same_batch = mask.shape[0] == 1 or sizes_fit(mask.shape[0], maps.shape[0])
    if not (one_coil and same_batch):
        raise ValueError(
            f"mask must have shape {SHAPES['mask']}. Received: mask.shape={tuple(mask.shape)}"
        )
    if tf.as_dtype(mask.dtype).is_complex:
        raise ValueError(
            f"mask must be real, of zeros and ones. Received: mask={checks.shown(mask)}"
        )


def _check_precision(maps, dtype):
    if dtype is None:
        return
    expected = {"float32": "complex64", "float64": "complex128"}[dtype]
    received = tf.as_dtype(maps.dtype).name
    if received != expected:
        raise ValueError(
            f"The network works in {dtype}: its inputs must be {expected}. Received: "
            f"{received}. Convert them with .astype('{expected}')."
        )
