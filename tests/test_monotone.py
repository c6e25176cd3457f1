"""The monotone variational network: its layers are what its proof demands, and its constants hold
against attacks, of random and of trained weights. What breaks the proof is found.
"""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn import load_model
from tfvn.attacks import AutoProjectedGradient, PowerIteration
from tfvn.certificates.lipschitz import of_monotone
from tfvn.models import CGSense, MonotoneVariationalNetwork, ZeroFilled, filter_bank
from tfvn.models.regulariser import Regulariser
from tfvn.models.splines import MonotoneSpline
from tfvn.training import Trainer

SMALL = dict(num_stages=2, data_steps=2, filters=3, kernel_size=3, num_pieces=4)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def perturbed(model, seed, size):
    """The model, with normal numbers added to all its weights."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + size * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


# The filters


@pytest.mark.parametrize("rows, width", [(9, 8), (4, 7), (1, 1), (6, 4)])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_synthesis_is_the_transpose_of_the_analysis(rows, width, size):
    kernel, image = normal(0, size, size, 2, 3), normal(1, 2, rows, width, 2)
    features = filter_bank.analyse(tf.constant(image), tf.constant(kernel)).numpy()
    other = normal(2, *features.shape)
    back = filter_bank.synthesise(tf.constant(other), tf.constant(kernel), image).numpy()
    assert back.shape == image.shape
    assert np.vdot(features, other) == pytest.approx(np.vdot(image, back), rel=1e-12)


def dense(kernel, rows, width):
    """K as a matrix, by its definition: the columns are the features of single pixels."""
    size, border = kernel.shape[0], kernel.shape[0] // 2
    columns = []
    for one in np.eye(rows * width * 2).reshape(-1, rows, width, 2):
        padded = np.pad(one, [(size, size), (size, size), (0, 0)])
        shifted = []
        for i in range(-border, rows + border):
            for j in range(-border, width + border):
                part = padded[i + size - border :, j + size - border :][:size, :size]
                shifted.append(np.tensordot(part, kernel, 3))
        columns.append(np.ravel(shifted))
    return np.array(columns).T


@pytest.mark.slow
def test_the_norm_bound_is_above_the_singular_values_and_near_them():
    for seed, size in [(0, 3), (1, 5), (2, 3)]:
        kernel = normal(seed, size, size, 2, 3)
        largest = np.linalg.norm(dense(kernel, 10, 9), 2) ** 2
        rough = float(filter_bank.norm_bound(tf.constant(kernel)))
        fine = float(filter_bank.norm_bound(tf.constant(kernel), filter_bank.FINE_POINTS))
        assert largest <= fine <= rough
        # The image has an edge, and the plane has none.
        assert fine <= 1.3 * largest


@pytest.mark.parametrize("seed", range(3))
def test_the_norm_bound_holds_between_the_points_of_its_grid(seed):
    kernel = normal(seed, 5, 5, 2, 4)
    index = np.arange(5)
    largest = 0
    for w in np.random.default_rng(seed).uniform(-np.pi, np.pi, (3000, 2)):
        wave = np.exp(-1j * np.add.outer(w[0] * index, w[1] * index))
        transfer = np.tensordot(wave, kernel, [[0, 1], [0, 1]])
        largest = max(largest, np.linalg.norm(transfer, 2) ** 2)
    for points in (2, filter_bank.POINTS, filter_bank.FINE_POINTS):
        assert largest <= float(filter_bank.norm_bound(tf.constant(kernel), points))
    assert float(filter_bank.norm_bound(tf.constant(kernel), 40)) <= 1.05 * largest


def test_a_single_wave_reaches_the_norm_bound_up_to_its_factor():
    # | 1 - exp(-2 i w) |^2 is 4 at most.
    kernel = np.zeros((3, 3, 2, 1))
    kernel[0, 0, 0], kernel[2, 0, 0] = 1, -1
    bound = float(filter_bank.norm_bound(tf.constant(kernel), 20))
    assert bound == pytest.approx(4 / np.cos(np.pi / 40) ** 4, rel=1e-9)


# The activations


def spline_by_its_formula(x, slopes, reach):
    knots = reach * (np.arange(len(slopes)) / (len(slopes) - 1)) ** 2
    value = 0
    for piece, slope in enumerate(slopes):
        end = knots[piece + 1] if piece + 1 < len(slopes) else np.inf
        value += slope * (np.clip(abs(x), knots[piece], end) - knots[piece])
    return np.sign(x) * value


def test_an_activation_is_its_formula():
    spline = MonotoneSpline(2, 5, reach=0.3, dtype="float64")
    slopes, reaches = spline.slopes().numpy(), spline.reaches().numpy()
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    expected = np.empty_like(x)
    for place in np.ndindex(x.shape):
        expected[place] = spline_by_its_formula(x[place], slopes[place[1]], reaches[place[1]])
    np.testing.assert_allclose(spline(tf.constant(x)), expected, atol=1e-14)


def test_the_slopes_of_an_activation_fall_from_the_first_to_the_last_that_was_set():
    slopes = MonotoneSpline(2, 5, first_slope=0.9, last_slope=0.1, dtype="float64").slopes()
    np.testing.assert_allclose(slopes[0], [0.9, 0.75, 0.5, 0.25, 0.1])
    assert (np.diff(slopes, axis=1) < 0).all()
    # The default is a clip: beyond its reach it hardly rises.
    clip = MonotoneSpline(1, reach=0.02)
    near, far = clip(tf.constant([[0.02], [0.2]])).numpy().ravel()
    assert near < far < 1.2 * near


@pytest.mark.parametrize("seed", range(3))
def test_no_weights_make_an_activation_fall_or_rise_faster_than_its_argument(seed):
    spline = perturbed(MonotoneSpline(3, 6, dtype="float64"), seed, 10.0**seed / 10)
    x = np.sort(normal(seed, 500, 3), 0)
    rise = np.diff(spline(tf.constant(x)), axis=0)
    assert (rise >= -1e-12).all() and (rise <= np.diff(x, axis=0) + 1e-12).all()
    assert spline.measured_slopes().min() > -1e-9 and spline.measured_slopes().max() < 1 + 1e-9


def test_the_gradients_of_an_activation_match_central_differences():
    spline = perturbed(MonotoneSpline(2, 4, dtype="float64"), 0, 0.1)
    x, weight = tf.constant(normal(1, 40, 2)), normal(2, 40, 2)
    variables = spline.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(weight * spline(x))
    gradients = tape.gradient(value, [x, *variables])
    start = spline.get_weights()
    directions = [normal(3 + i, *g.shape) for i, g in enumerate(gradients)]
    ends = []
    for step in (1e-7, -1e-7):
        spline.set_weights([w + step * d for w, d in zip(start, directions[1:])])
        ends.append(np.sum(weight * spline(x + step * directions[0])))
    expected = sum(np.vdot(g, d) for g, d in zip(gradients, directions))
    assert (ends[0] - ends[1]) / 2e-7 == pytest.approx(expected, rel=1e-6)


def test_nan_is_carried_through_an_activation():
    values = MonotoneSpline(1, 4)(tf.constant([[np.nan], [np.inf], [1e30], [0.0]])).numpy()
    assert np.isnan(values[0]) and np.isfinite(values[2:]).all() and values[3] == 0


def test_an_activation_refuses_other_channels():
    with pytest.raises(ValueError, match=r"x must be real of shape \(..., 2\).*Received: x="):
        MonotoneSpline(2)(tf.zeros([3, 4]))


# The network


def test_the_network_is_its_formula(case):
    model = perturbed(MonotoneVariationalNetwork(**SMALL, dtype="float64"), 0, 0.1)
    inputs = model.measured(case(dtype="complex128"))
    zero_filled = inputs["zero_filled"]
    weights, gains = model.data_weights().numpy(), model.gains().numpy()

    def fit(u, weight):
        for _ in range(2):
            normal_u = model.sense.normal(u, inputs["sensitivity_maps"], inputs["mask"])
            u = u - weight * (normal_u - zero_filled)
        return u

    u = fit(tf.zeros_like(zero_filled), weights[0])
    for number, regulariser in enumerate(model.regularisers):
        kernel = regulariser.kernel().numpy()
        parts = tf.stack([tf.math.real(u), tf.math.imag(u)], -1)
        features = tf.nn.conv2d(parts, kernel, 1, "SAME")
        moved = tf.nn.conv2d_transpose(
            regulariser.activation(features), kernel, parts.shape, 1, "SAME"
        )
        u = u - gains[number] * tf.complex(moved[..., 0], moved[..., 1])
        u = fit(u, weights[number + 1])
    np.testing.assert_allclose(model(inputs), u, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_regulariser_is_one(shared):
    model = MonotoneVariationalNetwork(**{**SMALL, "num_stages": 4}, shared=shared)
    assert len(model.regularisers) == (1 if shared else 4)
    assert model.certified_gains().shape == (4,)


def test_settings_outside_their_ranges_are_refused():
    for settings, text in [
        (dict(kernel_size=4), "kernel_size must be odd.*Received: kernel_size=4"),
        (dict(largest_step=2.0), "largest_step must be .*Received: largest_step=2.0"),
        (dict(last_slope=0.0), "last_slope must be .*Received: last_slope=0"),
        (dict(budget=0.0), "budget must be .*Received: budget=0.0"),
        (dict(num_stages=0), "num_stages must be .*Received: num_stages=0"),
        (dict(filters=10**6), "A network has at most .* weights. Received: filters=1000000"),
    ]:
        with pytest.raises(ValueError, match=text):
            MonotoneVariationalNetwork(**settings)


# What holds for all weights


def constants_of(model, inputs):
    """L_k and L_r of a model, the largest of a batch."""
    (certificate,) = model.certificates
    return [pair.max() for pair in certificate.constants(model.statistics(inputs))]


@pytest.mark.parametrize("size", [0.3, 3.0, 100.0])
def test_no_weights_leave_the_conditions(size):
    model = perturbed(MonotoneVariationalNetwork(**SMALL, dtype="float64"), 1, size)
    gains, weights = model.gains().numpy(), model.data_weights().numpy()
    assert (gains >= 0).all() and (gains < 2).all() and gains.sum() <= model.budget * (1 + 1e-9)
    assert (weights >= 0).all() and (weights <= model.largest_step).all()
    for regulariser in model.regularisers:
        assert not regulariser.broken_conditions()
        assert np.linalg.norm(dense(regulariser.kernel().numpy(), 6, 5), 2) <= 1 + 1e-9


def batch_of(case, count=2):
    inputs = case(count, coils=3, height=16, width=12)
    return inputs, ZeroFilled().zero_filled(inputs).numpy() * 1.5


# One architecture, so that attacks are traced once.
ATTACKED = dict(**SMALL, budget=4.0, largest_step=1.9)


def made(name, case):
    """A network that was trained for a while by an optimizer, has its own weights, or others."""
    model = MonotoneVariationalNetwork(**ATTACKED)
    if name.startswith("random"):
        return perturbed(model, int(name[-1]), 0.5)
    if name == "new":
        return model
    inputs, reference = batch_of(case)
    batch = {name: tf.constant(array) for name, array in inputs.items()}, tf.constant(reference)
    optimizer = {"adam": keras.optimizers.Adam(0.03), "ipalm": "ipalm"}[name]
    step = tf.function(Trainer(model, optimizer).train_step, autograph=False)
    losses = [float(step(batch)["step_loss"]) for _ in range(12)]
    assert losses[-1] < 0.95 * losses[0]
    return model


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["ipalm", "adam", "new", "random 3", "random 4"])
def test_no_attack_passes_the_constants(case, name):
    model = made(name, case)
    inputs, _ = batch_of(case)
    of_data, of_image = constants_of(model, inputs)
    assert 0 < of_image <= of_data < 50
    attacks = {
        AutoProjectedGradient(threat="l2", steps=8): of_image,
        PowerIteration(threat="kspace", steps=6): of_data,
    }
    for attack, constant in attacks.items():
        for radius in (0.05, 1.0, 20.0):
            effects = effects_of(attack, model, inputs, radius)
            assert (effects <= constant * radius * (1 + 1e-4)).all()
            assert (effects >= 0.1 * radius).all()


def effects_of(attack, model, inputs, radius):
    """How far an attack moves the answer to each image, (batch,)."""
    moved = attack.run(model, inputs, radius).reconstruction - model.reconstruct(inputs)
    return np.linalg.norm(moved.numpy().reshape(len(moved), -1), axis=1)


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", ["zero-filled", "cg-sense"])
def test_an_attack_on_a_linear_model_comes_near_its_constants(case, name):
    model = {"zero-filled": ZeroFilled(), "cg-sense": CGSense(mu=0.05, tolerance=1e-7)}[name]
    inputs, _ = batch_of(case)
    (certificate,) = model.certificates
    statistics = model.statistics(inputs)
    bounds = {"l2": certificate.image_bound, "kspace": certificate.bound}
    for threat, bound in bounds.items():
        effects = effects_of(PowerIteration(threat=threat, steps=30), model, inputs, 0.5)
        # The phase of the clean image hides a part of the change from its magnitude.
        assert (effects <= bound(statistics, 0.5)).all()
        assert (effects > 0.5 * bound(statistics, 0.5)).all()


# What breaks the proof


class Mirrored(Regulariser):
    """Filters of an image that is continued symmetrically, and cut afterwards."""

    def analyse(self, channels, kernel):
        border = self.kernel_size // 2
        around = [[0, 0], [border, border], [border, border], [0, 0]]
        return tf.nn.conv2d(tf.pad(channels, around, "SYMMETRIC"), kernel, 1, "VALID")

    def synthesise(self, features, kernel, like):
        return tf.nn.conv2d_transpose(features, kernel, tf.shape(like), 1, "SAME")


class Loud(Regulariser):
    """Filters that are multiplied where they are used."""

    def analyse(self, channels, kernel):
        return 2 * super().analyse(channels, kernel)

    def synthesise(self, features, kernel, like):
        return 2 * super().synthesise(features, kernel, like)


class Falling(MonotoneSpline):
    """An activation whose first piece falls."""

    def slopes(self):
        signs = np.where(np.arange(self.num_pieces) == 0, -1.0, 1.0)
        return super().slopes() * tf.constant(signs, self.dtype)


class Broken(MonotoneVariationalNetwork):
    """A network whose layers are exchanged: no other shares its compiled functions."""

    architecture = None


def broken(name):
    """A network of which one condition does not hold, and what its own check says."""
    # Activations are linear where they are used, and the first step takes nearly all of the data.
    settings = dict(num_stages=8, data_steps=1, filters=3, kernel_size=5, num_pieces=3, reach=10.0)
    model = Broken(**settings, budget=15.0, shared=True, name="broken")
    model.raw_steps.assign([0.6] + 8 * [-1.5])
    own = model.regularisers[0].get_config()
    if name == "mirrored":
        model.regularisers[0] = Mirrored.from_config(own)
        # The difference of two corners, of which a mirrored edge repeats one.
        kernel = np.zeros((5, 5, 2, 3))
        kernel[0, 0, 0, 0], kernel[4, 4, 0, 0] = 1, -1
        model.regularisers[0].raw_kernel.assign(kernel)
        return model, r"broken: .*of regulariser 0 K\^T is not the transpose of K"
    if name == "loud":
        model.regularisers[0] = Loud.from_config(own)
        return model, r"of regulariser 0 \|\| K \|\|\^2 is .* and not at most 1"
    if name == "falling":
        model.regularisers[0].activation = Falling(3, 3, reach=10.0)
        return model, r"of regulariser 0 phi has slopes from -.* and not in \[0, 1\]"
    model.largest_step, model.budget = 2.5, 0.1
    model.raw_steps.assign(9 * [0.5])
    return model, "lambda_t must lie between 0 and 2, and are from 2.31 to 2.31"


every_break = pytest.mark.parametrize("name", ["mirrored", "loud", "falling", "step"])


@every_break
def test_a_network_whose_conditions_do_not_hold_has_no_certificate(name):
    model, text = broken(name)
    with pytest.raises(ValueError, match=text):
        model.certificates  # noqa: B018


def gain_and_constant(model):
    """How far a network of linear activations moves an image at most where A is the Fourier
    transform, by its singular values, and what its weights allow.
    """
    # A step that is too large counts as the largest that is allowed.
    weights = np.minimum(model.data_weights().numpy(), 1.999)
    constant = of_monotone(1.0, model.certified_gains(), weights, 1)[1]
    rows, width = 9, 8
    units = np.eye(2 * rows * width, dtype=np.float32).reshape(-1, rows, width, 2)
    images = units[..., 0] + 1j * units[..., 1]
    maps = np.ones((len(images), 1, rows, width), np.complex64)
    mask = np.ones((1, 1, 1, width), np.float32)
    inputs = {"zero_filled": images, "sensitivity_maps": maps, "mask": mask}
    found = model(inputs).numpy().reshape(len(images), -1)
    return np.linalg.norm(np.concatenate([found.real, found.imag], 1), 2), constant


@every_break
def test_a_network_whose_conditions_do_not_hold_passes_the_constants(name):
    gain, constant = gain_and_constant(broken(name)[0])
    assert 1.2 * constant < gain < np.inf


def test_the_same_network_with_its_conditions_does_not_pass_them():
    model, _ = broken("mirrored")
    kernel = model.regularisers[0].get_weights()
    model.regularisers[0] = Regulariser.from_config(model.regularisers[0].get_config())
    model.regularisers[0].set_weights(kernel)
    gain, constant = gain_and_constant(model)
    assert 0.5 * constant < gain <= constant


# Files


@pytest.mark.slow_cases
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_constants_of_a_file_are_those_that_were_saved(case, tmp_path, dtype):
    inputs = case(2, dtype={"float32": "complex64", "float64": "complex128"}[dtype])
    model = perturbed(MonotoneVariationalNetwork(**SMALL, dtype=dtype), 5, 0.2)
    expected = constants_of(model, inputs)
    model.save(tmp_path / "model.keras")
    assert constants_of(load_model(tmp_path / "model.keras"), inputs) == expected
    # None is stored: what changes the weights in a file changes the constants that are told.
    perturbed(model, 6, 0.2).save(tmp_path / "model.keras")
    other = constants_of(load_model(tmp_path / "model.keras"), inputs)
    assert other != expected and other == constants_of(model, inputs)


@pytest.mark.slow
def test_maps_of_another_norm_have_other_constants(case):
    inputs = case()
    model = MonotoneVariationalNetwork(**SMALL)
    expected = constants_of(model, inputs)
    half = {**inputs, "sensitivity_maps": inputs["sensitivity_maps"] / 2}
    (certificate,) = model.certificates
    statistics = model.statistics(half)
    assert float(statistics.operator_norm[0]) == pytest.approx(0.5, rel=1e-4)
    assert (np.ravel(certificate.constants(statistics)) < expected).all()
