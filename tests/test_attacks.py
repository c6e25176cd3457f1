"""The attack is tested by its promises, its gradient by central differences, its strength on a
pretrained network.
"""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import (
    AttackResult,
    PenalisedGradientAscent,
    ProjectedGradientAscent,
    ascent,
    keep_region,
)
from tfvn.data import DataWarning
from tfvn.defences.smoothing import SmoothedNetwork
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.sense import Sense
from tfvn.projections import norm

SETTINGS = dict(num_stages=2, filters=4, kernel_size=3, initial_data_weight=0.7)


class Stub:
    """The least that can be attacked: a smooth nonlinear function of `kspace`."""

    def reconstruct(self, inputs):
        image = Sense().adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return tf.square(tf.abs(image)) + tf.math.real(image)


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
    return SmoothedNetwork(network, 0.05, 3)


@pytest.fixture(scope="module")
def models(network, smoothed):
    return {"network": network, "smoothed": smoothed, "stub": Stub()}


EVERY_MODEL = pytest.mark.parametrize("name", ["network", "smoothed", "stub"])


def attack(radius=1.0, steps=5, **settings):
    return ProjectedGradientAscent(radius, steps=steps, **settings)


@pytest.fixture(scope="module")
def batch(case):
    """Three different slices with their identities."""
    return {**case(batch=3), "sample_index": np.array([4, 7, 2], np.int32)}


def norms(images):
    return np.linalg.norm(np.reshape(np.asarray(images, np.complex128), (len(images), -1)), axis=1)


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


# Promises


@EVERY_MODEL
@pytest.mark.parametrize("radius", [0.01, 1.0, 30.0])
def test_every_perturbation_is_inside_the_ball(models, batch, name, radius):
    result = attack(radius).run(models[name], batch)
    assert result.perturbation.shape == (3, 24, 20)
    assert (norms(result.perturbation) <= radius).all()


@EVERY_MODEL
def test_a_perturbation_reaches_the_sphere_where_more_is_stronger(models, batch, name):
    assert (norms(attack(0.1, steps=20).run(models[name], batch).perturbation) >= 0.0999).all()


@pytest.mark.parametrize("name", ["network", "smoothed"])
def test_radius_zero_returns_the_clean_reconstruction_bit_for_bit(models, batch, name):
    result = attack(0.0, noise="fixed").run(models[name], batch)
    np.testing.assert_array_equal(result.reconstruction, models[name].reconstruct(batch))


@EVERY_MODEL
def test_radius_zero_changes_nothing(models, batch, name):
    result = attack(0.0).run(models[name], batch)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()


@EVERY_MODEL
def test_the_reconstruction_is_the_models_answer_to_the_perturbed_measurement(models, batch, name):
    result = attack().run(models[name], batch)
    change = Sense().forward(result.perturbation, batch["sensitivity_maps"], batch["mask"])
    expected = models[name].reconstruct({**batch, "kspace": batch["kspace"] + change})
    np.testing.assert_allclose(result.reconstruction, expected, rtol=0, atol=1e-5)


@EVERY_MODEL
def test_the_objective_is_half_the_squared_change_of_the_reconstruction(models, batch, name):
    result = attack().run(models[name], batch)
    change = norms(result.reconstruction - models[name].reconstruct(batch))
    np.testing.assert_allclose(result.objective, change**2 / 2, rtol=1e-4)


@pytest.mark.parametrize(
    "name, noise", [("network", "fresh"), ("smoothed", "fixed"), ("stub", "fresh")]
)
@pytest.mark.parametrize("step_size", [0.5, 1e4])
def test_the_objective_never_ends_below_its_start(models, batch, name, noise, step_size):
    result = attack(step_size=step_size, noise=noise).run(models[name], batch)
    assert (result.objective.numpy() >= result.history[0, 0].numpy() * (1 - 1e-5)).all()


@pytest.mark.parametrize("name, noise", [("network", "fresh"), ("smoothed", "fixed")])
def test_the_objective_is_the_best_of_a_history_with_ups_and_downs(models, batch, name, noise):
    # This radius and step jump about, so that the best iterate is neither the first nor the last.
    result = attack(10.0, steps=8, step_size=5.0, restarts=2, noise=noise).run(models[name], batch)
    history = result.history.numpy()
    assert (history[:, 1:-1].max((0, 1)) > history[:, [0, -1]].max((0, 1))).any(), (
        "the example no longer jumps about"
    )
    np.testing.assert_allclose(result.objective, history.max((0, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    "name, noise",
    [("network", "fresh"), ("smoothed", "fixed"), ("smoothed", "fresh"), ("stub", "fresh")],
)
def test_an_attack_is_stronger_than_its_random_start(models, batch, name, noise):
    # Both measured with the model's own draws, which an attack with fresh noise has not seen.
    start = attack(steps=1, step_size=0.0, noise=noise).run(models[name], batch)
    result = attack(steps=20, noise=noise).run(models[name], batch)
    assert (result.objective.numpy() > 1.2 * start.objective.numpy()).all()


@EVERY_MODEL
def test_the_same_seed_gives_the_same_bytes(models, batch, name):
    for a, b in zip(
        attack(seed=3).run(models[name], batch), attack(seed=3).run(models[name], batch)
    ):
        np.testing.assert_array_equal(a, b)


@EVERY_MODEL
def test_another_seed_starts_elsewhere(models, batch, name):
    a, b = (attack(seed=seed).run(models[name], batch).history[0, 0] for seed in (3, 4))
    assert (a.numpy() != b.numpy()).all()


def test_the_weights_of_the_model_are_unchanged(network, batch):
    before = network.get_weights()
    attack().run(network, batch)
    for x, y in zip(before, network.get_weights()):
        np.testing.assert_array_equal(x, y)


def test_the_attack_sees_later_changes_of_the_weights(batch):
    network = vivid()
    first = attack().run(network, batch)
    network.stages[0].rbf_weights.assign(0.5 * network.stages[0].rbf_weights)
    assert (attack().run(network, batch).objective.numpy() != first.objective.numpy()).all()


def test_the_attack_sees_later_changes_of_the_smoothing_and_traces_nothing(network, batch):
    model = SmoothedNetwork(network, 0.05, 3)
    first = attack(noise="fixed").run(model, batch)
    model.sigma, model.num_samples, model.seed = 0.2, 5, 4
    changed = attack(noise="fixed").run(model, batch)
    expected = attack(noise="fixed").run(SmoothedNetwork(network, 0.2, 5, seed=4), batch)
    for x, y, z in zip(changed[:4], expected, first):
        np.testing.assert_array_equal(x, y)
        assert (x.numpy() != z.numpy()).any()
    assert ascent._compiled(model, "l2", "full", "fixed").experimental_get_tracing_count() == 1


@EVERY_MODEL
def test_an_image_does_not_depend_on_its_batch_mates(models, batch, name):
    together = attack(noise="fixed").run(models[name], batch)
    for i in range(3):
        alone = attack(noise="fixed").run(models[name], one(batch, i))
        np.testing.assert_allclose(
            together.perturbation[i], alone.perturbation[0], rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(together.objective[i], alone.objective[0], rtol=1e-3)


def test_restarts_keep_the_best_of_every_image(network, batch):
    result = attack(restarts=4).run(network, batch)
    best = np.max(result.history, 1)
    assert (best.std(0) > 0).all(), "the starts do not differ"
    np.testing.assert_allclose(result.objective, best.max(0), rtol=1e-5)
    first = attack(restarts=1).run(network, batch)
    np.testing.assert_allclose(result.history[0], first.history[0], rtol=1e-5)
    assert (result.objective.numpy() >= first.objective.numpy()).all()


def test_the_history_has_a_value_for_every_iterate(network, batch):
    result = attack(steps=4, restarts=2).run(network, batch)
    assert isinstance(result, AttackResult)
    assert result.history.shape == (2, 5, 3) and result.objective.shape == (3,)
    assert np.isfinite(result.history).all()


def test_the_start_lies_on_the_sphere(network, batch):
    result = attack(0.7, steps=1, step_size=0.0).run(network, batch)
    np.testing.assert_allclose(norms(result.perturbation), 0.7, rtol=1e-5)
    np.testing.assert_array_equal(result.history[0, 0], result.history[0, 1])


def test_images_of_another_index_start_elsewhere(network, case):
    inputs = {key: np.repeat(x, 2, 0) for key, x in case().items()}
    starts = (
        attack(steps=1, step_size=0.0)
        .run(network, {**inputs, "sample_index": np.array([0, 1])})
        .perturbation.numpy()
    )
    assert abs(np.vdot(*starts)) < 0.3
    # Random in direction, not only in sign or phase.
    assert abs(starts.sum()) < 0.3 * np.abs(starts).sum()


def test_momentum_adds_the_earlier_steps(case):
    # Of a linear map the gradient is known: v <- m v + s G Re G r, r <- r + v, projected.
    class Linear:
        def reconstruct(self, inputs):
            return tf.math.real(
                Sense().adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
            )

    inputs = case(dtype="complex128")
    fixed = tf.constant(inputs["sensitivity_maps"]), tf.constant(inputs["mask"])
    settings = dict(radius=2.0, momentum=0.9)
    r = attack(steps=1, step_size=0.0, **settings).run(Linear(), inputs).perturbation.numpy()
    velocity, energies = np.zeros_like(r), []
    for _ in range(5):
        change = np.real(Sense().normal(tf.constant(r), *fixed))
        energies.append((change**2).sum() / 2)
        velocity = (
            0.9 * velocity
            + 0.5 * Sense().normal(tf.constant(change.astype(complex)), *fixed).numpy()
        )
        r = (r + velocity) * min(1, 2 * (1 - 1e-6) / np.linalg.norm(r + velocity))
    result = attack(steps=4, step_size=0.5, **settings).run(Linear(), inputs)
    np.testing.assert_allclose(result.history[0, :, 0], energies, rtol=1e-6)


def test_settings_share_one_trace(batch):
    class Counting(Stub):
        calls = 0

        def reconstruct(self, inputs):
            # Python runs while a graph is traced, and not again.
            self.calls += 1
            return super().reconstruct(inputs)

    model = Counting()
    attack().run(model, batch)
    first = model.calls
    for radius, steps, restarts, seed in ((0.5, 3, 2, 1), (2.0, 1, 1, 2)):
        attack(radius, steps=steps, restarts=restarts, seed=seed).run(model, batch)
    assert model.calls == first


# Gradients


def energy(model, inputs, r):
    """E(r) from the outside: k-space in, magnitude out."""
    change = Sense().forward(tf.constant(r), inputs["sensitivity_maps"], inputs["mask"])
    attacked = model.reconstruct({**inputs, "kspace": inputs["kspace"] + change})
    return float(tf.reduce_sum((attacked - model.reconstruct(inputs)) ** 2) / 2)


def initial_image_energy(model, inputs, r):
    """E(r) where the change of the data reaches the first iterate alone, about the point of
    `inputs`.
    """
    maps, mask = tf.constant(inputs["sensitivity_maps"]), tf.constant(inputs["mask"])
    zero_filled = inputs["zero_filled"] + Sense().normal(tf.constant(inputs["centre"]), maps, mask)
    initial = inputs["zero_filled"] + Sense().normal(tf.constant(r), maps, mask)
    fixed = {key: inputs[key] for key in ("sensitivity_maps", "mask")}
    attacked = model.reconstruct({**fixed, "zero_filled": zero_filled, "initial_image": initial})
    return float(
        tf.reduce_sum(
            (attacked - model.reconstruct({**fixed, "zero_filled": inputs["zero_filled"]})) ** 2
        )
        / 2
    )


def first_step(model, inputs, **settings):
    """The start r of an attack and the unit vector along the gradient there, seen from the outside.

    Without a step the start is returned; one step so long that the start does not matter ends in
    the gradient's direction.
    """
    start, end = (
        attack(0.8, steps=1, step_size=s, momentum=0.0, **settings).run(model, inputs)
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


@pytest.mark.parametrize("name", ["network", "smoothed", "stub"])
def test_the_full_gradient_matches_central_differences(case, name):
    inputs = case(1, 2, 12, 10, dtype="complex128")
    network = vivid("float64")
    model = {
        "network": network,
        "smoothed": SmoothedNetwork(network, 0.05, 3, chunk_size=2),
        "stub": Stub(),
    }[name]
    start, direction = first_step(model, inputs, noise="fixed")
    check_direction(lambda r: energy(model, inputs, r), start, direction)


@pytest.mark.parametrize("name", ["network", "smoothed"])
def test_the_initial_image_gradient_matches_central_differences_of_the_first_iterate_alone(
    case, name
):
    inputs = case(1, 2, 12, 10, dtype="complex128")
    network = vivid("float64")
    model = {"network": network, "smoothed": SmoothedNetwork(network, 0.05, 3)}[name]
    start, direction = first_step(model, inputs, gradient="initial-image", noise="fixed")
    inputs = {**inputs, "zero_filled": network.zero_filled(inputs).numpy(), "centre": start}
    check_direction(lambda r: initial_image_energy(model, inputs, r), start, direction)


def test_the_two_gradients_differ(network, batch):
    full, initial = (
        attack(gradient=gradient).run(network, batch) for gradient in ("full", "initial-image")
    )
    assert (np.abs(full.perturbation - initial.perturbation).max((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("mask", ["points", "weights"])
def test_two_dimensional_masks_are_attacked_too(network, case, mask):
    inputs = case(mask=mask)
    result = attack(steps=10).run(network, inputs)
    assert result.objective[0] > result.history[0, 0, 0]
    assert float(result.objective[0]) == pytest.approx(
        energy(network, inputs, result.perturbation.numpy()), rel=1e-3
    )


def test_readout_oversampling_is_attacked_on_the_rows_of_the_image(case):
    network = VariationalNetwork(**SETTINGS, readout_oversampling=True)
    result = attack().run(network, case(height=48, readout_oversampling=True))
    assert (
        result.perturbation.shape == (1, 24, 20) and result.objective[0] > result.history[0, 0, 0]
    )


def test_zero_filled_may_replace_kspace(network, batch):
    short = {key: x for key, x in batch.items() if key != "kspace"}
    short["zero_filled"] = network.zero_filled(batch)
    # Two graphs round differently, and this network is far from linear: 1e-7 grows to 1e-3 in five
    # steps.
    expected = attack(steps=2).run(network, batch)
    np.testing.assert_allclose(
        attack(steps=2).run(network, short).objective, expected.objective, rtol=1e-3
    )


# Smoothed models


def test_fresh_noise_differs_from_step_to_step(smoothed, batch):
    result = attack(steps=3, step_size=0.0, noise="fresh").run(smoothed, batch)
    assert (np.diff(result.history[0], axis=0) != 0).all()


def test_fixed_noise_is_that_of_the_model(smoothed, batch):
    result = attack(steps=3, step_size=0.0, noise="fixed").run(smoothed, batch)
    assert (np.diff(result.history[0], axis=0) == 0).all()
    np.testing.assert_allclose(result.objective, result.history[0, -1], rtol=1e-5)


def test_the_start_does_not_depend_on_the_noise(smoothed, batch):
    fresh, fixed = (
        attack(steps=1, step_size=0.0, noise=noise).run(smoothed, batch)
        for noise in ("fresh", "fixed")
    )
    np.testing.assert_array_equal(fresh.perturbation, fixed.perturbation)


def test_a_smoothed_stub_is_attacked(case):
    # What smoothing asks of a model is `reconstruct` of `zero_filled`, `sense` and `zero_filled()`.
    class Reader:
        sense = Sense()

        def zero_filled(self, inputs):
            if "zero_filled" in inputs:
                return inputs["zero_filled"]
            return self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])

        def reconstruct(self, inputs):
            return tf.square(tf.abs(inputs["zero_filled"]))

    result = attack(noise="fixed").run(SmoothedNetwork(Reader(), 0.05, 3), case())
    assert result.objective[0] > result.history[0, 0, 0]


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
        attack().run(models[name], spoilt)


def test_an_answer_that_overflows_names_its_image(batch):
    class Steep(Stub):
        # Overflows as soon as the second image changes.
        def reconstruct(self, inputs):
            image = super().reconstruct(inputs)
            change = tf.abs(inputs["kspace"] - batch["kspace"])
            power = (
                1e4 * tf.reduce_sum(change, [1, 2, 3])[:, None, None] * [[[0.0]], [[1.0]], [[0.0]]]
            )
            return image * tf.exp(power)

    still = dict(steps=1, step_size=0.0)
    with pytest.raises(
        ValueError, match="Steep.reconstruct must return finite images.*for image 1 of the batch"
    ):
        attack(1.0, **still).run(Steep(), batch)


@EVERY_MODEL
@pytest.mark.parametrize("scale", [1e-5, 1e4])
def test_data_of_another_scale_than_the_radius_are_warned_of(models, case, name, scale):
    inputs = case()
    told = re.escape(f"A^H kspace is {scale:.3g}, where about 1 is expected")
    with pytest.warns(DataWarning, match=f"{told}.*tfvn.data.prepare"):
        attack(steps=1).run(
            models[name], {**inputs, "kspace": (scale * inputs["kspace"]).astype(np.complex64)}
        )


@pytest.mark.parametrize("scale", [0.2, 5])
def test_normalised_data_are_warned_of_by_nothing(network, case, scale):
    inputs = case()
    attack(steps=1).run(
        network, {**inputs, "kspace": (scale * inputs["kspace"]).astype(np.complex64)}
    )


# Models that do not keep the contract


def adjoint(inputs):
    return tf.abs(Sense().adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"]))


def model_of(function, **attributes):
    return type("Model", (), {"reconstruct": staticmethod(function), **attributes})()


BROKEN = {
    "no gradient": (lambda i: tf.stop_gradient(adjoint(i)), "has no gradient in kspace"),
    "zeros": (lambda i: tf.zeros([1, 24, 20]), "has no gradient in kspace"),
    "complex": (
        lambda i: i["kspace"][:, 0],
        "must return a real image. Received: complex64. Take the magnitude",
    ),
    "float64": (
        lambda i: tf.cast(adjoint(i), "float64"),
        "must return float32, the precision of its inputs.*float64",
    ),
    "integers": (lambda i: tf.cast(adjoint(i), "int32"), "must return float32.*int32"),
    "NumPy": (lambda i: np.abs(np.asarray(i["kspace"])), "must compute with TensorFlow"),
    ".numpy()": (lambda i: i["kspace"].numpy(), "must compute with TensorFlow"),
    "an array": (
        lambda i: np.zeros((1, 24, 20), "float32"),
        r"must return a tensor.*ndarray of float32 \(1, 24, 20\)",
    ),
    "nothing": (lambda i: None, "must return a tensor, made by TensorFlow. Received: None"),
    "a pair": (lambda i: (adjoint(i), 0), "must return a tensor"),
    "a channel": (
        lambda i: adjoint(i)[..., None],
        r"of the shape of A\^H k.*\(1, 24, 20\). Received: \(1, 24, 20, 1\)",
    ),
    "cropped": (lambda i: adjoint(i)[:, 1:], r"of the shape of A\^H k.*Received: \(1, 23, 20\)"),
    "NaN": (
        lambda i: adjoint(i) * np.nan,
        "must return finite images. Received: NaN or infinity for image 0",
    ),
    "no inputs": (lambda: 0, "must take one argument, the inputs"),
    "another key": (
        lambda i: tf.abs(i["zero_filled"]),
        "reads 'zero_filled' from its inputs. Received: .'kspace'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_breaks_its_contract_is_told_how(case, name):
    function, told = BROKEN[name]
    with pytest.raises(ValueError, match=f"^[Mm]odel.reconstruct .*{told}"):
        attack(steps=1).run(model_of(function), case())


NO_MODELS = {
    "nothing": (None, "model must be an object with .reconstruct.*Received: model=None"),
    "a path": ("model.keras", r"Load the file: tfvn.load_model\(path\)"),
    "a class": (Stub, r"the class Stub. Make an object of it: Stub\(...\)"),
    "a function": (adjoint, "needs a class around it"),
    "an array": (np.ones(3), "The model comes first, then the inputs"),
    "zero_filled": (model_of(adjoint, zero_filled=3), "zero_filled must be a function"),
    "magnitudes": (
        model_of(adjoint, zero_filled=staticmethod(adjoint)),
        r"zero_filled must return A\^H k, complex64",
    ),
    "sense": (
        model_of(adjoint, sense="multicoil"),
        "sense must be a tfvn.physics.sense.Sense. Received: 'multicoil'",
    ),
    "unhashable": (model_of(adjoint, __hash__=None), "must be hashable.*eq=False"),
}


@pytest.mark.parametrize("name", NO_MODELS)
@pytest.mark.parametrize(
    "method", [attack(steps=1), PenalisedGradientAscent(steps=1)], ids=["projected", "penalised"]
)
def test_what_is_no_model_is_told_at_the_start(case, name, method):
    model, told = NO_MODELS[name]
    with pytest.raises(ValueError, match=told):
        method.run(model, case())


def test_swapped_arguments_and_inputs_of_another_kind_are_told(network, case):
    with pytest.raises(ValueError, match="The model comes first, then the inputs"):
        attack().run(case(), network)
    with pytest.raises(
        ValueError, match=r"inputs must be a dict .*Received: inputs=ndarray of complex64"
    ):
        attack().run(network, case()["kspace"])
    with pytest.raises(ValueError, match=r"Of a pair \(inputs, reference\) pass the first"):
        attack().run(network, (case(), 0))


def test_a_smoothed_reader_of_kspace_is_attacked(case):
    result = attack(steps=10, noise="fixed").run(SmoothedNetwork(Stub(), 0.05, 3), case())
    assert result.objective[0] > result.history[0, 0, 0]


# Errors by their words


SLIPS = {
    "radius": ["2.5", None, [1, 2], True, 1j, np.ones(2), 1e39],
    "step_size": ["0.5", None, True],
    "momentum": ["0.9", None, float("inf")],
    "steps": ["5", 2.5, None, True, [5], 2**31],
    "restarts": ["1", None],
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
        ProjectedGradientAscent(**{"radius": 1.0, name: value})


def test_a_penalised_attack_tells_slips_too(network, case):
    for name, value in (
        ("penalty", "1"),
        ("steps", "5"),
        ("start_scale", None),
        ("seed", 1.5),
        ("noise", 3),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be .* Received: {name}="):
            PenalisedGradientAscent(**{name: value})
    ascent_of_one = PenalisedGradientAscent(steps=1)
    for name, value in (
        ("start", "x"),
        ("start", np.full((1, 24, 20), np.nan)),
        ("steps_done", -1),
        ("reference", True),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be "):
            ascent_of_one.run(network, case(), **{name: value})
    for window in (3, ("a", 1), (0.2, 0.4, 0.6), (0.5, float("nan"))):
        with pytest.raises(ValueError, match="rows must be .begin, end."):
            keep_region(np.ones((2, 8, 8)), rows=window)


def test_numbers_of_numpy_and_tensorflow_are_numbers():
    shown = repr(ProjectedGradientAscent(2.5, steps=5, seed=3))
    assert (
        repr(ProjectedGradientAscent(np.float32(2.5), steps=np.int64(5), seed=tf.constant(3)))
        == shown
    )


def test_attacks_and_results_show_what_they_are(network, case):
    shown = (
        "ProjectedGradientAscent(radius=1.0, steps=5, step_size=0.5, momentum=0.9, restarts=1,"
        " norm='l2', "
    )
    assert repr(attack()) == shown + "gradient='full', noise='fresh', seed=0)"
    assert repr(PenalisedGradientAscent()).startswith(
        "PenalisedGradientAscent(penalty=1.0, steps=25, step_size=0.005"
    )
    image = "complex64 (1, 24, 20), reconstruction=float32 (1, 24, 20)"
    rest = "objective=float32 (1,), history=float32 (1, 6, 1), velocity=None"
    assert repr(attack().run(network, case())) == f"AttackResult(perturbation={image}, {rest})"


def test_a_model_that_reads_kspace_has_no_initial_image(case):
    with pytest.raises(
        ValueError, match="gradient='initial-image' needs a model that reads `initial_image`"
    ):
        attack(gradient="initial-image").run(Stub(), case())


def test_a_model_that_reads_kspace_is_not_given_zero_filled_alone(case):
    inputs = case()
    inputs["zero_filled"] = inputs.pop("kspace")[:, 0]
    with pytest.raises(ValueError, match="kspace"):
        attack().run(Stub(), inputs)


@pytest.mark.parametrize(
    "name, value", [("radius", -0.1), ("radius", float("nan")), ("radius", float("inf"))]
)
def test_a_radius_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=f"radius must be a number >= 0. Received: radius={value}"):
        attack(value)


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
        ProjectedGradientAscent(1.0, **{name: value})


def test_inputs_that_do_not_fit_are_refused(network, case):
    inputs = {**case(), "sensitivity_maps": case(coils=3)["sensitivity_maps"]}
    with pytest.raises(ValueError, match="do not fit"):
        attack().run(network, inputs)


# Strength and size


# Other balls


@pytest.mark.parametrize("kind, radius", [("l1", 3.0), ("linf", 0.05)])
@EVERY_MODEL
def test_perturbations_stay_in_the_ball_of_their_norm_and_help(models, batch, name, kind, radius):
    result = attack(radius, norm=kind).run(models[name], batch)
    assert (norm(result.perturbation, kind).numpy() <= radius).all()
    start = norms(
        attack(radius, norm=kind, steps=1, step_size=0).run(models[name], batch).perturbation
    )
    assert (start > 0).all() and (result.objective.numpy() > 0).all()
    assert (result.history.numpy()[0, -1] > result.history.numpy()[0, 0]).all()


def test_a_ball_that_holds_another_allows_a_stronger_attack(network, batch):
    # l1 <= l2 <= l1 sqrt(n) and linf <= l2.
    inner = attack(0.5, steps=30, norm="l1").run(network, batch).objective.numpy()
    middle = attack(0.5, steps=30).run(network, batch).objective.numpy()
    outer = attack(0.5, steps=30, norm="linf").run(network, batch).objective.numpy()
    assert (inner < middle).all() and (middle < outer).all()


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be one of .*Received: norm='l3'"):
        attack(norm="l3")


# The attack of Antun et al.


def linear_case(case):
    """Inputs and G = A^H A of a linear map, f(k) = Re A^H k."""
    inputs = case()
    sense = Sense()

    class Linear:
        zero_filled = staticmethod(
            lambda inputs: (
                inputs.get("zero_filled", 0)
                if "zero_filled" in inputs
                else sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
            )
        )

        def reconstruct(self, inputs):
            return tf.math.real(self.zero_filled(inputs))

    return Linear(), inputs, lambda x: sense.normal(x, inputs["sensitivity_maps"], inputs["mask"])


def test_the_penalised_ascent_is_its_formula(case):
    model, inputs, normal = linear_case(case)
    rng = np.random.default_rng(0)
    start = (
        0.1 * (rng.standard_normal((1, 24, 20)) + 1j * rng.standard_normal((1, 24, 20)))
    ).astype(np.complex64)
    result = PenalisedGradientAscent(0.7, steps=4, step_size=0.3, momentum=0.8).run(
        model, inputs, start=start
    )
    r, velocity = tf.constant(start), tf.zeros_like(start)
    values = []
    for _ in range(4):
        change = tf.math.real(normal(r))
        values.append(float(tf.reduce_sum(tf.square(change))) / 2)
        gradient = normal(tf.cast(change, tf.complex64)) - 0.7 * r
        velocity = 0.8 * velocity + 0.3 * gradient
        r = r + velocity
    np.testing.assert_allclose(result.perturbation, r, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.velocity, velocity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.history[0, :-1, 0], values, rtol=1e-5)


@pytest.mark.parametrize("name", ["network", "stub"])
def test_a_continued_attack_equals_one_without_a_break(models, batch, name):
    whole = PenalisedGradientAscent(steps=5, step_size=0.05).run(models[name], batch)
    first = PenalisedGradientAscent(steps=2, step_size=0.05).run(models[name], batch)
    rest = PenalisedGradientAscent(steps=3, step_size=0.05)
    second = rest.run(models[name], batch, start=first.perturbation, velocity=first.velocity)
    np.testing.assert_allclose(second.perturbation, whole.perturbation, rtol=0, atol=1e-6)


def test_the_start_is_real_and_small_and_of_the_image(network, batch):
    def start(inputs):
        return (
            PenalisedGradientAscent(steps=1, step_size=0, start_scale=0.5)
            .run(network, inputs)
            .perturbation.numpy()
        )

    found = start(batch)
    assert (found.imag == 0).all() and found.real.min() >= 0 and 0.4 < found.real.max() <= 0.5
    np.testing.assert_array_equal(start(one(batch, 1)), found[1:2])
    assert not np.array_equal(found[0], found[1])


def test_references_are_the_prediction_the_truth_or_any_image(network, batch):
    clean = network.reconstruct(batch)
    image = tf.ones_like(clean)
    settings = PenalisedGradientAscent(steps=3, step_size=0.02)
    own, same, other = (
        settings.run(network, batch, reference) for reference in (None, clean, image)
    )
    np.testing.assert_allclose(own.perturbation, same.perturbation, rtol=0, atol=1e-6)
    assert not np.allclose(own.perturbation, other.perturbation, atol=1e-5)
    answer = network.reconstruct(
        {
            **batch,
            "kspace": (
                batch["kspace"]
                + network.sense.forward(
                    other.perturbation, batch["sensitivity_maps"], batch["mask"]
                )
            ),
        }
    )
    np.testing.assert_allclose(
        other.objective, np.sum(np.square(answer - image), (1, 2)) / 2, rtol=1e-4
    )


def test_a_larger_penalty_keeps_the_perturbation_smaller(network, batch):
    sizes = [
        norms(
            PenalisedGradientAscent(penalty, steps=20, step_size=0.05)
            .run(network, batch)
            .perturbation
        )
        for penalty in (0.0, 5.0)
    ]
    assert (sizes[1] < sizes[0]).all()


def test_settings_and_shapes_of_the_penalised_ascent_are_checked(network, batch):
    for name, value in (
        ("penalty", -1),
        ("step_size", float("nan")),
        ("steps", 0),
        ("gradient", "none"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be.*Received: {name}="):
            PenalisedGradientAscent(**{name: value})
    with pytest.raises(ValueError, match="A velocity needs the start"):
        PenalisedGradientAscent().run(network, batch, velocity=np.zeros((3, 24, 20)))
    with pytest.raises(
        ValueError, match=r"reference must have the shape of the image.*\(3, 4, 4\)"
    ):
        PenalisedGradientAscent().run(network, batch, np.zeros((3, 4, 4)))


def test_the_region_is_kept_and_the_rest_is_zero():
    image = np.ones((2, 100, 40), np.complex64)
    kept = keep_region(image).numpy()
    assert kept[:, 35:75, 14:28].all() and kept.sum() == 2 * 40 * 14
    with pytest.raises(ValueError, match="rows must be"):
        keep_region(image, rows=(0.7, 0.2))


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
    result = ProjectedGradientAscent(1.0, steps=60, step_size=0.5, momentum=0.9).run(model, inputs)
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
result = ProjectedGradientAscent(3.5, steps=1).run(model, inputs)
assert np.linalg.norm(result.perturbation.numpy().astype(complex)) <= 3.5
report_peak()
"""


@pytest.mark.slow
def test_a_full_size_slice_is_reconstructed_and_attacked_within_three_gigabytes(peak_memory):
    # 15 coils, 640 x 368, ten stages of 24 filters of 11 x 11.
    prediction, attack = peak_memory(_FULL_SIZE)
    assert prediction < 3e9 and attack < 3e9
