"""The attack is tested by its promises, its gradient by central differences, its strength on a
pretrained network.
"""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfvn import attacks, config
from tfvn.attacks import (
    ATTACKS,
    Attack,
    AttackResult,
    PenalisedGradientAscent,
    ProjectedGradientAscent,
    Start,
    keep_region,
)
from tfvn.data import DataWarning
from tfvn.defences.smoothing import Smoothed
from tfvn.models.base import Reconstructor
from tfvn.models.classical import ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.sense import Sense
from tfvn.projections import norm
from tfvn.settings import keys_of

SETTINGS = dict(num_stages=2, filters=4, kernel_size=3, initial_data_weight=0.7)


# The names of the images of a batch.
INDEX = np.array([4, 7, 2], np.int32)


class KspaceReader(Reconstructor):
    """A smooth nonlinear function of `kspace`."""

    reads = "kspace"

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return image + tf.cast(tf.square(tf.abs(image)), image.dtype)


class Linear(Reconstructor):
    """A linear map, f(k) = Re A^H k."""

    def answer(self, inputs, key=None):
        return tf.math.real(inputs["zero_filled"])


def vivid(dtype="float32"):
    """A network with large random activations, far from linear."""
    network = VariationalNetwork(**SETTINGS, dtype=dtype)
    rng = np.random.default_rng(3)
    for stage in network.stages:
        stage.rbf_weights.assign(rng.standard_normal(stage.rbf_weights.shape))
    return network


@pytest.fixture(scope="module")
def network():
    return vivid()


@pytest.fixture(scope="module")
def smoothed(network):
    return Smoothed(network, 0.05, 3)


@pytest.fixture(scope="module")
def models(network, smoothed):
    return {
        "network": network,
        "smoothed": smoothed,
        "reader": KspaceReader(),
        "zero-filled": ZeroFilled(),
        "smoothed reader": Smoothed(KspaceReader(), 0.05, 3),
    }


DETERMINISTIC = ["network", "reader", "zero-filled"]
RANDOM = ["smoothed", "smoothed reader"]
EVERY_MODEL = pytest.mark.parametrize("name", DETERMINISTIC + RANDOM)


def ascend(model, inputs, radius=1.0, steps=5, index=None, **settings):
    """The result of the projected ascent; images of a batch have the names `INDEX`."""
    if index is None:
        index = INDEX[: len(inputs["mask"])]
    return ProjectedGradientAscent(steps=steps, **settings).run(model, inputs, radius, index=index)


def answer(model, inputs):
    """The model's answer to a batch, to its own draws of these images."""
    return model.reconstruct(inputs, model.keys(INDEX[: len(inputs["mask"])]))


@pytest.fixture(scope="module")
def batch(case):
    """Three different slices."""
    return case(batch=3)


def norms(images):
    return np.linalg.norm(np.reshape(np.asarray(images, np.complex128), (len(images), -1)), axis=1)


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


# Promises


@pytest.mark.slow_cases
@EVERY_MODEL
@pytest.mark.parametrize("radius", [0.01, 1.0, 30.0])
def test_every_perturbation_is_inside_the_ball(models, batch, name, radius):
    result = ascend(models[name], batch, radius)
    assert result.perturbation.shape == (3, 24, 20)
    assert (norms(result.perturbation) <= radius).all()


@pytest.mark.slow_cases
@EVERY_MODEL
def test_a_perturbation_reaches_the_sphere_where_more_is_stronger(models, batch, name):
    assert (norms(ascend(models[name], batch, 0.1, steps=20).perturbation) >= 0.0999).all()


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", [*DETERMINISTIC, "smoothed"])
def test_radius_zero_returns_the_clean_reconstruction_bit_for_bit(models, batch, name):
    result = ascend(models[name], batch, 0.0, noise="fixed")
    np.testing.assert_array_equal(result.reconstruction, answer(models[name], batch))


@pytest.mark.slow_cases
@EVERY_MODEL
def test_radius_zero_changes_nothing(models, batch, name):
    result = ascend(models[name], batch, 0.0)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()


@pytest.mark.slow_cases
@EVERY_MODEL
def test_the_reconstruction_is_the_models_answer_to_the_perturbed_measurement(models, batch, name):
    result = ascend(models[name], batch)
    change = Sense().forward(result.perturbation, batch["sensitivity_maps"], batch["mask"])
    expected = answer(models[name], {**batch, "kspace": batch["kspace"] + change})
    np.testing.assert_allclose(result.reconstruction, expected, rtol=0, atol=1e-5)


@pytest.mark.slow_cases
@EVERY_MODEL
def test_the_objective_is_half_the_squared_change_of_the_reconstruction(models, batch, name):
    result = ascend(models[name], batch)
    change = norms(result.reconstruction - answer(models[name], batch))
    np.testing.assert_allclose(result.objective, change**2 / 2, rtol=1e-4)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name, noise",
    [(name, "fresh") for name in DETERMINISTIC] + [(name, "fixed") for name in RANDOM],
)
@pytest.mark.parametrize("step_size", [0.5, 1e4])
def test_the_objective_never_ends_below_its_start(models, batch, name, noise, step_size):
    result = ascend(models[name], batch, step_size=step_size, noise=noise)
    assert (result.objective.numpy() >= result.history[0, 0].numpy() * (1 - 1e-5)).all()


@pytest.mark.slow_cases
@pytest.mark.parametrize("name, noise", [("network", "fresh"), ("smoothed", "fixed")])
def test_the_objective_is_the_best_of_a_history_with_ups_and_downs(models, batch, name, noise):
    # This radius and step jump about, so that the best iterate is neither the first nor the last.
    result = ascend(models[name], batch, 10.0, steps=8, step_size=5.0, restarts=2, noise=noise)
    history = result.history.numpy()
    assert (history[:, 1:-1].max((0, 1)) > history[:, [0, -1]].max((0, 1))).any(), (
        "the example no longer jumps about"
    )
    np.testing.assert_allclose(result.objective, history.max((0, 1)), rtol=1e-5)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name, noise",
    [(name, "fresh") for name in DETERMINISTIC + RANDOM] + [("smoothed", "fixed")],
)
def test_an_attack_is_stronger_than_its_random_start(models, batch, name, noise):
    # Both measured with the model's own draws, which an attack with fresh noise has not seen.
    start = ascend(models[name], batch, steps=1, step_size=0.0, noise=noise)
    result = ascend(models[name], batch, steps=20, noise=noise)
    assert (result.objective.numpy() > 1.2 * start.objective.numpy()).all()


@pytest.mark.slow_cases
@EVERY_MODEL
def test_the_same_seed_gives_the_same_bytes(models, batch, name):
    for a, b in zip(ascend(models[name], batch, seed=3), ascend(models[name], batch, seed=3)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow_cases
@EVERY_MODEL
def test_another_seed_starts_elsewhere(models, batch, name):
    a, b = (ascend(models[name], batch, seed=seed).history[0, 0] for seed in (3, 4))
    assert (a.numpy() != b.numpy()).all()


def test_the_weights_of_the_model_are_unchanged(network, batch):
    before = network.get_weights()
    ascend(network, batch)
    for x, y in zip(before, network.get_weights()):
        np.testing.assert_array_equal(x, y)


def test_the_attack_sees_later_changes_of_the_weights(batch):
    network = vivid()
    first = ascend(network, batch)
    network.stages[0].rbf_weights.assign(0.5 * network.stages[0].rbf_weights)
    assert (ascend(network, batch).objective.numpy() != first.objective.numpy()).all()


@pytest.mark.slow
def test_the_attack_sees_later_changes_of_the_smoothing(network, batch):
    model = Smoothed(network, 0.05, 3)
    first = ascend(model, batch, noise="fixed")
    model.sigma, model.num_samples, model.seed = 0.2, 5, 4
    changed = ascend(model, batch, noise="fixed")
    expected = ascend(Smoothed(network, 0.2, 5, seed=4), batch, noise="fixed")
    for x, y, z in zip(changed[:4], expected, first):
        np.testing.assert_array_equal(x, y)
        assert (x.numpy() != z.numpy()).any()


@pytest.mark.slow_cases
@EVERY_MODEL
def test_an_image_does_not_depend_on_its_batch_mates(models, batch, name):
    together = ascend(models[name], batch, noise="fixed")
    for i in range(3):
        alone = ascend(models[name], one(batch, i), index=INDEX[i : i + 1], noise="fixed")
        np.testing.assert_allclose(
            together.perturbation[i], alone.perturbation[0], rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(together.objective[i], alone.objective[0], rtol=1e-3)


def test_restarts_keep_the_best_of_every_image(network, batch):
    result = ascend(network, batch, restarts=4)
    best = np.max(result.history, 1)
    assert (best.std(0) > 0).all(), "the starts do not differ"
    np.testing.assert_allclose(result.objective, best.max(0), rtol=1e-5)
    first = ascend(network, batch, restarts=1)
    np.testing.assert_allclose(result.history[0], first.history[0], rtol=1e-5)
    assert (result.objective.numpy() >= first.objective.numpy()).all()


def test_the_history_has_a_value_for_every_iterate(network, batch):
    result = ascend(network, batch, steps=4, restarts=2)
    assert isinstance(result, AttackResult)
    assert result.history.shape == (2, 5, 3) and result.objective.shape == (3,)
    assert np.isfinite(result.history).all()


def test_the_start_lies_on_the_sphere(network, batch):
    result = ascend(network, batch, 0.7, steps=1, step_size=0.0)
    np.testing.assert_allclose(norms(result.perturbation), 0.7, rtol=1e-5)
    np.testing.assert_array_equal(result.history[0, 0], result.history[0, 1])


@pytest.mark.slow
def test_images_of_another_index_start_elsewhere(network, case):
    inputs = {key: np.repeat(x, 2, 0) for key, x in case().items()}
    still = dict(steps=1, step_size=0.0)
    starts = ascend(network, inputs, index=np.array([0, 1]), **still).perturbation.numpy()
    assert abs(np.vdot(*starts)) < 0.3
    # Random in direction, not only in sign or phase.
    assert abs(starts.sum()) < 0.3 * np.abs(starts).sum()


def test_momentum_adds_the_earlier_steps(case):
    # Of a linear map the gradient is known: v <- m v + s G Re G r, r <- r + v, projected.
    model = Linear(dtype="float64")
    inputs = case(dtype="complex128")
    fixed = tf.constant(inputs["sensitivity_maps"]), tf.constant(inputs["mask"])
    settings = dict(radius=2.0, momentum=0.9)
    r = ascend(model, inputs, steps=1, step_size=0.0, **settings).perturbation.numpy()
    velocity, energies = np.zeros_like(r), []
    for _ in range(5):
        change = np.real(Sense().normal(tf.constant(r), *fixed))
        energies.append((change**2).sum() / 2)
        velocity = (
            0.9 * velocity
            + 0.5 * Sense().normal(tf.constant(change.astype(complex)), *fixed).numpy()
        )
        r = (r + velocity) * min(1, 2 * (1 - 1e-6) / np.linalg.norm(r + velocity))
    result = ascend(model, inputs, steps=4, step_size=0.5, **settings)
    np.testing.assert_allclose(result.history[0, :, 0], energies, rtol=1e-6)


class Counting(KspaceReader):
    """Counts how often it is traced: Python runs then, and not again."""

    def __init__(self, counted, **kwargs):
        super().__init__(**kwargs)
        self.counted = counted
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.built = True

    def call(self, inputs):
        COUNTS[self.counted] = COUNTS.get(self.counted, 0) + 1
        return tf.cast(self.factor, inputs["kspace"].dtype) * super().call(inputs)

    def get_config(self):
        return {**super().get_config(), "counted": self.counted}


COUNTS = {}


def test_settings_share_one_trace(batch):
    model = Counting("settings")
    ascend(model, batch)
    first = COUNTS["settings"]
    for radius, steps, restarts, seed in ((0.5, 3, 2, 1), (2.0, 1, 1, 2)):
        ascend(model, batch, radius, steps=steps, restarts=restarts, seed=seed)
    assert COUNTS["settings"] == first


@pytest.mark.parametrize(
    "method", [ProjectedGradientAscent(), PenalisedGradientAscent()], ids=lambda a: a.name
)
def test_models_of_one_architecture_share_one_trace(batch, method):
    name = f"models {method.name}"
    models = [Counting(name), Counting(name)]
    models[1].factor.assign(0.5)
    results = [method.run(models[0], batch, 2)]
    first = COUNTS[name]
    results.append(method.run(models[1], batch, 2))
    results.append(method.run(models[0], batch, 2))
    assert COUNTS[name] == first
    np.testing.assert_array_equal(results[0].objective, results[2].objective)
    assert (results[0].objective.numpy() > 2 * results[1].objective.numpy()).all()
    assert [float(model.factor) for model in models] == [1, 0.5]


# Gradients


def energy(model, inputs, r):
    """E(r) from the outside: k-space in, magnitude out."""
    change = Sense().forward(tf.constant(r), inputs["sensitivity_maps"], inputs["mask"])
    attacked = answer(model, {**inputs, "kspace": inputs["kspace"] + change})
    return float(tf.reduce_sum((attacked - answer(model, inputs)) ** 2) / 2)


def initial_image_energy(model, inputs, r):
    """E(r) where the change of the data reaches the first iterate alone, about the point of
    `inputs`.
    """
    maps, mask = tf.constant(inputs["sensitivity_maps"]), tf.constant(inputs["mask"])
    zero_filled = inputs["zero_filled"] + Sense().normal(tf.constant(inputs["centre"]), maps, mask)
    initial = inputs["zero_filled"] + Sense().normal(tf.constant(r), maps, mask)
    fixed = {key: inputs[key] for key in ("sensitivity_maps", "mask")}
    attacked = answer(model, {**fixed, "zero_filled": zero_filled, "initial_image": initial})
    clean = answer(model, {**fixed, "zero_filled": inputs["zero_filled"]})
    return float(tf.reduce_sum((attacked - clean) ** 2) / 2)


def first_step(model, inputs, **settings):
    """The start r of an attack and the unit vector along the gradient there, seen from the outside.

    Without a step the start is returned; one step so long that the start does not matter ends in
    the gradient's direction.
    """
    start, end = (
        ascend(model, inputs, 0.8, steps=1, step_size=s, momentum=0.0, **settings)
        for s in (0.0, 1e12)
    )
    assert (end.objective.numpy() > start.objective.numpy()).all(), "the step was not taken"
    return start.perturbation.numpy(), end.perturbation.numpy() / np.linalg.norm(end.perturbation)


def check_direction(energy_at, start, direction):
    """`direction` is proportional to the gradient of `energy_at` by central differences along
    random directions.
    """
    rng = np.random.default_rng(7)
    probes = rng.standard_normal((6, *start.shape)) + 1j * rng.standard_normal((6, *start.shape))
    probes = np.concatenate([probes, direction[None]])
    differences = np.array(
        [(energy_at(start + 1e-6 * p) - energy_at(start - 1e-6 * p)) / 2e-6 for p in probes]
    )
    slopes = np.array([np.vdot(direction, p).real for p in probes])
    # The slope along the direction itself is the length of the gradient.
    np.testing.assert_allclose(
        slopes * differences[-1], differences, rtol=0, atol=1e-6 * abs(differences[-1])
    )


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["network", "smoothed", "reader"])
def test_the_full_gradient_matches_central_differences(case, name):
    inputs = case(1, 2, 12, 10, dtype="complex128")
    network = vivid("float64")
    model = {
        "network": network,
        "smoothed": Smoothed(network, 0.05, 3, chunk_size=2),
        "reader": KspaceReader(dtype="float64"),
    }[name]
    start, direction = first_step(model, inputs, noise="fixed")
    check_direction(lambda r: energy(model, inputs, r), start, direction)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["network", "smoothed"])
def test_the_initial_image_gradient_matches_central_differences_of_the_first_iterate_alone(
    case, name
):
    inputs = case(1, 2, 12, 10, dtype="complex128")
    network = vivid("float64")
    model = {"network": network, "smoothed": Smoothed(network, 0.05, 3)}[name]
    start, direction = first_step(model, inputs, gradient="initial-image", noise="fixed")
    inputs = {**inputs, "zero_filled": network.zero_filled(inputs).numpy(), "centre": start}
    check_direction(lambda r: initial_image_energy(model, inputs, r), start, direction)


def test_the_two_gradients_differ(network, batch):
    full, initial = (
        ascend(network, batch, gradient=gradient) for gradient in ("full", "initial-image")
    )
    assert (np.abs(full.perturbation - initial.perturbation).max((1, 2)) > 1e-3).all()


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("mask", ["points", "weights"])
def test_two_dimensional_masks_are_attacked_too(network, case, mask):
    inputs = case(mask=mask)
    result = ascend(network, inputs, steps=10)
    assert result.objective[0] > result.history[0, 0, 0]
    assert float(result.objective[0]) == pytest.approx(
        energy(network, inputs, result.perturbation.numpy()), rel=1e-3
    )


@pytest.mark.slow
@pytest.mark.one_stack
def test_readout_oversampling_is_attacked_on_the_rows_of_the_image(case):
    network = VariationalNetwork(**SETTINGS, readout_oversampling=True)
    result = ascend(network, case(height=48, readout_oversampling=True))
    assert (
        result.perturbation.shape == (1, 24, 20) and result.objective[0] > result.history[0, 0, 0]
    )


def test_zero_filled_may_replace_kspace(network, batch):
    short = {key: x for key, x in batch.items() if key != "kspace"}
    short["zero_filled"] = network.zero_filled(batch)
    # Two graphs round differently, and this network is far from linear: 1e-7 grows to 1e-3 in five
    # steps.
    expected = ascend(network, batch, steps=2)
    np.testing.assert_allclose(
        ascend(network, short, steps=2).objective, expected.objective, rtol=1e-3
    )


# Smoothed models


@pytest.mark.slow
@pytest.mark.one_stack
def test_fresh_noise_differs_from_step_to_step(smoothed, batch):
    result = ascend(smoothed, batch, steps=3, step_size=0.0, noise="fresh")
    assert (np.diff(result.history[0], axis=0) != 0).all()


@pytest.mark.slow
@pytest.mark.one_stack
def test_fixed_noise_is_that_of_the_model(smoothed, batch):
    result = ascend(smoothed, batch, steps=3, step_size=0.0, noise="fixed")
    assert (np.diff(result.history[0], axis=0) == 0).all()
    np.testing.assert_allclose(result.objective, result.history[0, -1], rtol=1e-5)


@pytest.mark.slow
def test_the_start_does_not_depend_on_the_noise(smoothed, batch):
    fresh, fixed = (
        ascend(smoothed, batch, steps=1, step_size=0.0, noise=noise) for noise in ("fresh", "fixed")
    )
    np.testing.assert_array_equal(fresh.perturbation, fixed.perturbation)


@EVERY_MODEL
@pytest.mark.parametrize(
    "factor, told",
    [(np.nan, "must be finite.*the first in image 1"), (0, "zero everywhere in image 1")],
)
def test_a_slice_of_nan_or_of_zeros_is_refused_and_named(models, batch, name, factor, told):
    spoilt = {
        **batch,
        "kspace": batch["kspace"] * np.array([1, factor, 1], np.complex64)[:, None, None, None],
    }
    with pytest.raises(ValueError, match=told):
        ascend(models[name], spoilt)


def test_an_answer_that_overflows_names_its_image(batch):
    class Steep(KspaceReader):
        # Overflows as soon as the second image changes.
        def call(self, inputs):
            change = tf.abs(inputs["kspace"] - batch["kspace"])
            power = 1e4 * tf.reduce_sum(change, [1, 2, 3]) * [0.0, 1.0, 0.0]
            factor = tf.cast(tf.exp(power), inputs["kspace"].dtype)
            return factor[:, None, None] * super().call(inputs)

    still = dict(steps=1, step_size=0.0)
    with pytest.raises(
        ValueError, match="Steep.reconstruct must return finite images.*for image 1 of the batch"
    ):
        ascend(Steep(), batch, 1.0, **still)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name, scale", [("network", 1e-5), ("zero-filled", 1e4), ("smoothed reader", 1e4)]
)
def test_data_of_another_scale_than_the_radius_are_warned_of(models, case, name, scale):
    inputs = case()
    told = re.escape(f"A^H kspace is {scale:.3g}, where about 1 is expected")
    with pytest.warns(DataWarning, match=f"{told}.*tfvn.data.prepare"):
        ascend(
            models[name],
            {**inputs, "kspace": (scale * inputs["kspace"]).astype(np.complex64)},
            steps=1,
        )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.2, 5])
def test_normalised_data_are_warned_of_by_nothing(network, case, scale):
    inputs = case()
    ascend(network, {**inputs, "kspace": (scale * inputs["kspace"]).astype(np.complex64)}, steps=1)


# Models that do not keep the contract


def model_of(function):
    """A model that reads k-space."""

    class Model(KspaceReader):
        def call(self, inputs):
            return function(super().call(inputs))

    return Model()


BROKEN = {
    "no gradient": (tf.stop_gradient, "call has no gradient in kspace"),
    "zeros": (lambda image: tf.zeros([1, 24, 20], "complex64"), "call has no gradient in kspace"),
    "real": (tf.abs, "call must return a complex image.*Received: float32"),
    "nothing": (lambda image: None, "call must return a tensor, made by TensorFlow.*None"),
    "cropped": (
        lambda image: image[:, 1:],
        r"call must .* of the shape of A\^H k.*Received: \(1, 23, 20\)",
    ),
    "NaN": (
        lambda image: image * np.nan,
        "reconstruct must return finite images. Received: NaN or infinity for image 0",
    ),
}


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_breaks_its_contract_is_told_how(case, name):
    function, told = BROKEN[name]
    with pytest.raises(ValueError, match=f"^Model.{told}"):
        ascend(model_of(function), case(), steps=1)


NO_MODELS = {
    "nothing": (None, "model must be a tfvn.models.Reconstructor.*Received: model=None"),
    "a path": ("model.keras", r"Load the file: tfvn.load_model\(path\)"),
    "a class": (ZeroFilled, r"the class ZeroFilled. Make an object of it: ZeroFilled\(...\)"),
    "a function": (tf.abs, "Make it a subclass of Reconstructor"),
    "an array": (np.ones(3), "The model comes first, then the inputs"),
}


@pytest.mark.parametrize("name", NO_MODELS)
@pytest.mark.parametrize("method", [attack() for attack in ATTACKS.values()], ids=ATTACKS)
def test_what_is_no_model_is_told_at_the_start(case, name, method):
    model, told = NO_MODELS[name]
    with pytest.raises(ValueError, match=told):
        method.run(model, case(), 1)


def test_swapped_arguments_and_inputs_of_another_kind_are_told(network, case):
    attack = ProjectedGradientAscent()
    with pytest.raises(ValueError, match="The model comes first, then the inputs"):
        attack.run(case(), network, 1.0)
    with pytest.raises(
        ValueError, match=r"inputs must be a dict .*Received: inputs=ndarray of complex64"
    ):
        attack.run(network, case()["kspace"], 1.0)
    with pytest.raises(ValueError, match=r"Of a pair \(inputs, reference\) pass the first"):
        attack.run(network, (case(), 0), 1.0)


@pytest.mark.parametrize("index", [3, [4, 7, 2], np.ones(3), np.ones((3, 1), int), np.ones(2, int)])
@pytest.mark.parametrize("method", [attack() for attack in ATTACKS.values()], ids=ATTACKS)
def test_names_of_images_that_are_no_whole_numbers_of_each_are_refused(batch, method, index):
    with pytest.raises(ValueError, match=r"index must be whole numbers of shape \(batch,\)"):
        method.run(ZeroFilled(), batch, 1, index=index)


# Errors by their words


SLIPS = {
    "sizes": [2.5, "2.5", None, np.ones(2)],
    "step_size": ["0.5", None, True],
    "momentum": ["0.9", None, float("inf"), 1.1],
    "steps": ["5", 2.5, None, True, [5], 2**31, 10**6 + 1],
    "restarts": ["1", None, 10**6 + 1],
    "seed": [1.5, None, "0", True, 2**31],
    "norm": [2, None, ["l2"]],
    "gradient": [None, True],
    "noise": [0, None],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in SLIPS.items() for value in values], ids=repr
)
def test_a_slip_is_told_in_one_sentence(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* Received: {name}="):
        ProjectedGradientAscent(**{name: value})


@pytest.mark.parametrize(
    "value", ["2.5", None, [1, 2], True, 1j, np.ones(2), 1e39, -0.1, np.nan, np.inf], ids=repr
)
def test_a_size_that_is_no_radius_is_refused(network, case, value):
    with pytest.raises(ValueError, match="^size must be a number >= 0. Received: size="):
        ascend(network, case(), value)
    with pytest.raises(ValueError, match="^sizes must be a number >= 0. Received: sizes="):
        ProjectedGradientAscent(sizes=[1.0, value])


def test_a_penalised_attack_tells_slips_too(network, case):
    for name, value in (
        ("penalty", "1"),
        ("sizes", 5),
        ("start_scale", None),
        ("seed", 1.5),
        ("noise", 3),
        ("reference", "image"),
        ("region", 1),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be .* Received: {name}="):
            PenalisedGradientAscent(**{name: value})
    attack = PenalisedGradientAscent(reference="truth")
    image = np.zeros((1, 24, 20))
    for name, reference, start in (
        ("start", image, Start("x")),
        ("start", image, Start(np.full((1, 24, 20), np.nan))),
        ("start.size", image, Start(image, size=-1)),
        ("size", image, Start(image, size=1)),
        ("velocity", image, Start(image, True)),
        ("reference", True, None),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be "):
            attack.run(network, case(), 1, reference, start)
    with pytest.raises(ValueError, match="reference='truth' needs the true image"):
        attack.run(network, case(), 1)
    for sizes in ([0], [2.5], [True], ["5"], [10**6 + 1]):
        with pytest.raises(ValueError, match="^sizes must be a whole number >= 1 and <= 1000000"):
            PenalisedGradientAscent(sizes)
    with pytest.raises(ValueError, match="sizes must be different whole numbers"):
        PenalisedGradientAscent([3, 3])
    for window in (3, ("a", 1), (0.2, 0.4, 0.6), (0.5, float("nan"))):
        with pytest.raises(ValueError, match="rows must be .begin, end."):
            keep_region(np.ones((2, 8, 8)), rows=window)


def test_numbers_of_numpy_and_tensorflow_are_numbers():
    given = dict(sizes=[np.float32(2.5)], steps=np.int64(5), seed=tf.constant(3))
    plain = ProjectedGradientAscent(sizes=[2.5], steps=5, seed=3)
    assert repr(ProjectedGradientAscent(**given)) == repr(plain)


def test_attacks_and_results_show_what_they_are(network, case):
    shown = (
        "ProjectedGradientAscent(sizes=(1.5, 2.5, 3.5), steps=60, step_size=0.5, momentum=0.9,"
        " restarts=1, norm='l2', "
    )
    assert repr(ProjectedGradientAscent()) == shown + "gradient='full', noise='fresh', seed=0)"
    assert repr(PenalisedGradientAscent()).startswith(
        "PenalisedGradientAscent(sizes=(25,), penalty=1.0, step_size=0.005"
    )
    image = "complex64 (1, 24, 20), reconstruction=float32 (1, 24, 20)"
    rest = "objective=float32 (1,), history=float32 (1, 6, 1)"
    assert repr(ascend(network, case())) == (
        f"AttackResult(perturbation={image}, {rest}, velocity=None, iterate=None, reached=None,"
        " left=None, unseen=None)"
    )


def test_a_model_that_reads_kspace_has_no_initial_image(case):
    with pytest.raises(
        ValueError, match="gradient='initial-image' needs a model that reads `initial_image`"
    ):
        ascend(KspaceReader(), case(), gradient="initial-image")


def test_a_model_that_reads_kspace_is_not_given_zero_filled_alone(case):
    inputs = case()
    inputs["zero_filled"] = inputs.pop("kspace")[:, 0]
    with pytest.raises(ValueError, match="The model reads kspace"):
        ascend(KspaceReader(), inputs)


def test_inputs_with_a_first_iterate_of_their_own_are_refused(models, case):
    inputs = case()
    inputs["initial_image"] = inputs["kspace"][:, 0]
    for name in ("network", "reader"):
        with pytest.raises(ValueError, match="Remove"):
            ascend(models[name], inputs)


@pytest.mark.parametrize(
    "name, value",
    [
        ("step_size", -1),
        ("momentum", -0.5),
        ("steps", 0),
        ("steps", 2.5),
        ("restarts", 0),
        ("gradient", "none"),
        ("noise", "no"),
    ],
)
def test_a_setting_outside_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value!r}"):
        ProjectedGradientAscent(**{name: value})


def test_inputs_that_do_not_fit_are_refused(network, case):
    inputs = {**case(), "sensitivity_maps": case(coils=3)["sensitivity_maps"]}
    with pytest.raises(ValueError, match="do not fit"):
        ascend(network, inputs)


# Strength and size


# Other balls


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name, kind, radius",
    [
        ("network", "l1", 3.0),
        ("network", "linf", 0.05),
        ("zero-filled", "l1", 3.0),
        ("zero-filled", "linf", 0.05),
        ("smoothed", "l1", 3.0),
        ("smoothed reader", "linf", 0.05),
    ],
)
def test_perturbations_stay_in_the_ball_of_their_norm_and_help(models, batch, name, kind, radius):
    result = ascend(models[name], batch, radius, norm=kind)
    assert (norm(result.perturbation, kind).numpy() <= radius).all()
    start = norms(ascend(models[name], batch, radius, norm=kind, steps=1, step_size=0).perturbation)
    assert (start > 0).all() and (result.objective.numpy() > 0).all()
    assert (result.history.numpy()[0, -1] > result.history.numpy()[0, 0]).all()


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_ball_that_holds_another_allows_a_stronger_attack(network, batch):
    # l1 <= l2 <= l1 sqrt(n) and linf <= l2.
    inner = ascend(network, batch, 0.5, steps=30, norm="l1").objective.numpy()
    middle = ascend(network, batch, 0.5, steps=30).objective.numpy()
    outer = ascend(network, batch, 0.5, steps=30, norm="linf").objective.numpy()
    assert (inner < middle).all() and (middle < outer).all()


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be one of .*Received: norm='l3'"):
        ProjectedGradientAscent(norm="l3")


# The attack of Antun et al.


def test_the_penalised_ascent_is_its_formula(case):
    inputs = case()
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    rng = np.random.default_rng(0)
    start = (
        0.1 * (rng.standard_normal((1, 24, 20)) + 1j * rng.standard_normal((1, 24, 20)))
    ).astype(np.complex64)
    attack = PenalisedGradientAscent(penalty=0.7, step_size=0.3, momentum=0.8)
    result = attack.run(Linear(), inputs, 4, start=Start(start))
    r, velocity = tf.constant(start), tf.zeros_like(start)
    values = []
    for _ in range(4):
        change = tf.math.real(Sense().normal(r, maps, mask))
        values.append(float(tf.reduce_sum(tf.square(change))) / 2)
        gradient = Sense().normal(tf.cast(change, tf.complex64), maps, mask) - 0.7 * r
        velocity = 0.8 * velocity + 0.3 * gradient
        r = r + velocity
    np.testing.assert_allclose(result.perturbation, r, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.velocity, velocity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.history[0, :-1, 0], values, rtol=1e-5)


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", ["network", "smoothed", "reader"])
def test_a_continued_attack_equals_one_without_a_break(models, batch, name):
    attack = PenalisedGradientAscent(step_size=0.05)
    whole = attack.run(models[name], batch, 5)
    first = attack.run(models[name], batch, 2)
    start = Start(first.perturbation, first.velocity, 2)
    second = attack.run(models[name], batch, 5, start=start)
    np.testing.assert_allclose(second.perturbation, whole.perturbation, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_start_is_real_and_small_and_of_the_image(network, batch):
    def start(inputs, index):
        attack = PenalisedGradientAscent(step_size=0, start_scale=0.5)
        return attack.run(network, inputs, 1, index=index).perturbation.numpy()

    found = start(batch, INDEX)
    assert (found.imag == 0).all() and found.real.min() >= 0 and 0.4 < found.real.max() <= 0.5
    np.testing.assert_array_equal(start(one(batch, 1), INDEX[1:2]), found[1:2])
    assert not np.array_equal(found[0], found[1])


@pytest.mark.slow
def test_references_are_the_prediction_the_truth_or_any_image(network, batch):
    clean = network.reconstruct(batch)
    image = tf.ones_like(clean)
    own = PenalisedGradientAscent(step_size=0.02).run(network, batch, 3, image)
    truth = PenalisedGradientAscent(step_size=0.02, reference="truth")
    same, other = (truth.run(network, batch, 3, reference) for reference in (clean, image))
    np.testing.assert_allclose(own.perturbation, same.perturbation, rtol=0, atol=1e-6)
    assert not np.allclose(own.perturbation, other.perturbation, atol=1e-5)
    change = Sense().forward(other.perturbation, batch["sensitivity_maps"], batch["mask"])
    answer = network.reconstruct({**batch, "kspace": batch["kspace"] + change})
    np.testing.assert_allclose(
        other.objective, np.sum(np.square(answer - image), (1, 2)) / 2, rtol=1e-4
    )


def test_a_larger_penalty_keeps_the_perturbation_smaller(network, batch):
    sizes = [
        norms(
            PenalisedGradientAscent(penalty=penalty, step_size=0.05)
            .run(network, batch, 20)
            .perturbation
        )
        for penalty in (0.0, 5.0)
    ]
    assert (sizes[1] < sizes[0]).all()


def test_settings_and_shapes_of_the_penalised_ascent_are_checked(network, batch):
    for name, value in (
        ("penalty", -1),
        ("step_size", float("nan")),
        ("gradient", "none"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be.*Received: {name}="):
            PenalisedGradientAscent(**{name: value})
    with pytest.raises(
        ValueError, match=r"reference must have the shape of the image.*\(3, 4, 4\)"
    ):
        PenalisedGradientAscent(reference="truth").run(network, batch, 1, np.zeros((3, 4, 4)))


def test_the_region_is_kept_and_the_rest_is_zero():
    image = np.ones((2, 100, 40), np.complex64)
    kept = keep_region(image).numpy()
    assert kept[:, 35:75, 14:28].all() and kept.sum() == 2 * 40 * 14
    with pytest.raises(ValueError, match="rows must be"):
        keep_region(image, rows=(0.7, 0.2))


def test_an_attack_of_a_region_goes_on_from_all_of_r(network, batch):
    whole = PenalisedGradientAscent(step_size=0.05).run(network, batch, 5)
    attack = PenalisedGradientAscent(step_size=0.05, region=True)
    found = attack.run(network, batch, 5)
    np.testing.assert_array_equal(found.iterate, whole.perturbation)
    np.testing.assert_array_equal(found.perturbation, keep_region(whole.perturbation))
    np.testing.assert_array_equal(found.objective, whole.objective)
    change = Sense().forward(found.perturbation, batch["sensitivity_maps"], batch["mask"])
    expected = network.reconstruct({**batch, "kspace": batch["kspace"] + change})
    np.testing.assert_allclose(found.reconstruction, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(whole.reconstruction - expected).max() > 1e-2
    start = attack.start_from(attack.arrays(found), 5)
    np.testing.assert_array_equal(start.perturbation, whole.perturbation[:1])
    np.testing.assert_array_equal(start.velocity, whole.velocity[:1])


# What tables and files say of attacks


def test_every_attack_is_listed_by_its_name():
    for name, cls in ATTACKS.items():
        assert issubclass(cls, Attack) and cls.name == name
        attack = cls()
        assert attack.kind in attacks.kinds() and attacks.of(attack.kind).name == name
        assert all(hasattr(attack, keyword) for keyword in attack.keywords())


@pytest.mark.parametrize("name", ATTACKS)
def test_every_keyword_is_a_key_with_a_meaning_but_for_the_seed(name):
    part = config.load(settings={"attacks": [name]}).attacks[0]
    assert [*part.settings, "seed"] == ATTACKS[name].keywords()
    for keyword, key in keys_of(ATTACKS[name]).items():
        assert key.meaning.endswith("."), keyword


def test_the_kinds_are_in_the_order_of_tables():
    assert list(attacks.kinds())[:4] == ["l2", "l1", "linf", "antun"]
    for kind in attacks.kinds():
        assert attacks.of(kind).kind == kind
        selected = attacks.selected_by(kind)
        assert ATTACKS[selected.pop("name")](**selected).kind == kind
    with pytest.raises(ValueError, match="attack must be one of l2, .*Received: attack='l3'"):
        attacks.of("l3")


@pytest.mark.parametrize(
    "kind, size, folder, dataset, head",
    [
        ("l2", 2.5, "radius_2.5", "radius_2.5", "radius 2.5 (25 %)"),
        ("l2", 1.0, "radius_1.0", "radius_1", "radius 1 (10 %)"),
        ("l2", 0.5, "radius_0.5", "radius_0.5", "radius 0.5 (5 %)"),
        ("l1", 4.0, "l1_radius_4.0", "l1_radius_4", "radius 4"),
        ("linf", 1e-05, "linf_radius_1e-05", "linf_radius_1e-05", "radius 1e-05"),
        ("antun", 2000000, "antun_2000000", "antun_2000000", "2000000 steps"),
    ],
)
def test_an_attack_names_its_folders_datasets_and_columns(kind, size, folder, dataset, head):
    attack = attacks.of(kind)
    assert attack.folder(size) == folder
    assert attacks.of_folder(folder) == (kind, size)
    assert type(attacks.of_folder(folder)[1]) is type(size)
    assert attack.dataset(size) == dataset
    assert attack.head(size, 10.0) == head
    assert attack.label(size, 10.0) == (head if kind == "l2" else f"{kind}, {head}")


@pytest.mark.parametrize(
    "folder", ["", "radius_", "radius_x", "radius_1.2.3", "antun_2.5", "l2_radius_1.0", "other"]
)
def test_a_folder_of_another_name_is_no_attacks(folder):
    assert attacks.of_folder(folder) is None


def test_sizes_of_different_digits_have_folders_of_their_own():
    attack = ProjectedGradientAscent()
    assert attack.folder(0.1 + 0.2) != attack.folder(0.3)


def test_attacks_are_made_as_configured():
    given = config.load(
        settings={
            "seed": 4,
            "attacks": [
                {"name": "ascent", "norm": "l1", "sizes": [3, 1], "steps": 7},
                {"name": "antun", "sizes": [9, 3], "region": True},
            ],
        }
    )
    ascent, penalised = [part.make(seed=given.seed) for part in given.attacks]
    assert type(ascent) is ProjectedGradientAscent and ascent.sizes == (3.0, 1.0)
    assert (ascent.norm, ascent.steps, ascent.seed) == ("l1", 7, 4)
    assert ascent.num_gradients == 14
    assert type(penalised) is PenalisedGradientAscent and penalised.sizes == (3, 9)
    assert penalised.region and penalised.num_gradients == 9 and penalised.seed == 4


def test_what_an_attack_refuses_is_named_as_configured():
    with pytest.raises(
        ValueError,
        match=r": attacks.antun.sizes must be .*Received: attacks.antun.sizes=\[25, 25\]",
    ):
        config.load(None, ["attacks=antun", "attacks.antun.sizes=25,25"])


def test_two_attacks_of_one_kind_are_refused():
    def load(*given):
        return config.load(settings={"attacks": given})

    assert len(load("ascent", "antun", {"name": "ascent", "norm": "l1"}).attacks) == 3
    with pytest.raises(
        ValueError, match="attacks must be of different kinds. Received: attacks of l2, antun, l2"
    ):
        load("ascent", "antun", {"name": "ascent", "sizes": [1.0]})


def test_the_identity_is_made_of_the_keywords():
    assert ProjectedGradientAscent(norm="linf", seed=3).identity(0.5) == {
        "radius": 0.5,
        "steps": 60,
        "step_size": 0.5,
        "momentum": 0.9,
        "restarts": 1,
        "gradient": "full",
        "noise": "fresh",
        "seed": 3,
    }
    assert PenalisedGradientAscent(seed=3).identity(25) == {
        "steps": 25,
        "penalty": 1.0,
        "step_size": 0.005,
        "momentum": 0.9,
        "start_scale": 0.001,
        "reference": "prediction",
        "region": False,
        "gradient": "full",
        "noise": "fresh",
        "seed": 3,
    }


@pytest.mark.one_stack
@pytest.mark.slow
def test_the_papers_setting_reaches_the_published_effect_on_a_pretrained_network(shared_data):
    weights, data = (
        np.load(shared_data("vn_coronal_pd_fs.npz")),
        np.load(shared_data("vn_case.npz")),
    )
    model = VariationalNetwork(
        10, 48, bandwidth=float(weights["rbf_sigma"]), scale=float(weights["rbf_scale"])
    )
    for t, stage in enumerate(model.stages):
        stage.kernel.assign(weights["kernels"][t])
        stage.rbf_weights.assign(weights["rbf_weights"][t])
        stage.data_weight.assign(weights["data_term_weights"][t])
    inputs = {key: data[key][None] for key in ("kspace", "sensitivity_maps")}
    inputs["mask"] = data["mask"][None, None, None]
    attack = ProjectedGradientAscent(steps=60, step_size=0.5, momentum=0.9)
    result = attack.run(model, inputs, 1.0)
    assert norms(result.perturbation)[0] <= 1.0
    assert np.sqrt(2 * result.objective[0]) >= 1.29
    # The start is random and of the same norm.
    assert np.sqrt(2 * result.history[0, 0, 0]) == pytest.approx(0.447, abs=0.03)


_FULL_SIZE = """
import numpy as np
from tfvn.attacks import ProjectedGradientAscent
from tfvn.physics.masks import constant
from tfvn.models.variational import VariationalNetwork

rng = np.random.default_rng(0)
maps, kspace = rng.standard_normal((2, 1, 15, 640, 368, 2), np.float32).view(np.complex64)[..., 0]
maps /= np.sqrt((np.abs(maps) ** 2).sum(1, keepdims=True))
mask = constant(368)[None, None, None]
model = VariationalNetwork()
inputs = {"kspace": 0.01 * mask * kspace, "sensitivity_maps": maps, "mask": mask}
assert model.reconstruct(inputs).shape == (1, 640, 368)
report_peak()
result = ProjectedGradientAscent(steps=1).run(model, inputs, 3.5)
assert np.linalg.norm(result.perturbation.numpy().astype(complex)) <= 3.5
report_peak()
"""


@pytest.mark.one_stack
@pytest.mark.slow
def test_a_full_size_slice_is_reconstructed_and_attacked_within_three_gigabytes(peak_memory):
    # 15 coils, 640 x 368, ten stages of 24 filters of 11 x 11.
    prediction, attack = peak_memory(_FULL_SIZE)
    assert prediction < 3e9 and attack < 3e9
