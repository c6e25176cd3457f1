"""Defences at test time: their limits, their means, and their gradients in double precision."""

import csv
import inspect
import math

import numpy as np
import pytest
import tensorflow as tf

import attack
import evaluate
import tfvn
from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.suite import SUITES, Suite
from tfvn.attacks.threats import IMAGE
from tfvn.certificates.total_variation import TotalVariation
from tfvn.defences import (
    DEFENCES,
    GIVEN,
    Cyclic,
    DenoisedSmoothing,
    Dropout,
    Ensemble,
    MedianSmoothed,
    Projected,
    Purified,
    Smoothed,
    Stagewise,
    cyclic,
)
from tfvn.defences.cyclic import shifted
from tfvn.defences.projected import parts
from tfvn.defences.purified import denoised
from tfvn.defences.stagewise import noisy_copies
from tfvn.leaderboard import summary
from tfvn.models import (
    Cascade,
    CGSense,
    E2EVarNet,
    MoDL,
    UNet,
    VariationalNetwork,
    ZeroFilled,
    magnitude,
)
from tfvn.models.base import Reconstructor
from tfvn.physics import measurement, noise
from tfvn.projections import norm
from tfvn.runs.attack import attack_run

# Without conjugate gradients: nothing here is compiled.
SMALL = dict(num_cascades=2, num_layers=2, filters=3, data_step="replace", mu=0.3)


def cascade(seed=0):
    return Cascade(**SMALL, seed=seed, dtype="float64")


def weighing():
    """The same, whose weights of the draws differ."""
    model = Cascade(**SMALL, weigher=2, dtype="float64")
    model.weigher.slope.assign([[20.0], [20.0]])
    return model


def variational():
    return VariationalNetwork(num_stages=2, filters=2, kernel_size=3, dtype="float64")


@pytest.fixture(scope="module")
def network():
    return cascade()


@pytest.fixture(scope="module")
def denoiser():
    return UNet(channels=2, pools=1, dtype="float64")


@pytest.fixture(scope="module")
def inputs(network, case):
    given = case(2, height=8, width=6, dtype="complex128")
    return network.measured(given)


def answer(model, inputs, index=None):
    key = None if index is None else model.keys(index)
    return model.answer(inputs, key).numpy()


# Limits


def plain_limits(network, denoiser):
    """Defences of settings at which they do nothing."""
    return {
        "smoothed": Smoothed(network, 0),
        "median": MedianSmoothed(network, 0),
        "one plain draw": Smoothed(network, 0, 1),
        "stagewise": Stagewise(network, 0),
        "dropout": Dropout(network, 0),
        "ensemble": Ensemble(network),
        "projected": Projected(network, cg_steps=0),
        "cyclic": Cyclic(network, steps=0),
        "purified": Purified(network, denoiser, steps=0),
    }


def test_at_its_limit_every_defence_is_the_model_bit_for_bit(network, denoiser, inputs):
    expected = network.answer(inputs).numpy()
    for name, defence in plain_limits(network, denoiser).items():
        np.testing.assert_array_equal(answer(defence, inputs), expected, err_msg=name)
        assert defence.draws == 0 and defence.track == "deterministic", name


def test_no_setting_of_a_defence_has_the_name_of_something_that_models_have():
    for name, kind in DEFENCES.items():
        settings = set(inspect.signature(kind).parameters) - set(GIVEN)
        assert not settings & set(dir(Reconstructor)), name


def random_ones(network, denoiser, num_samples, chunk_size=1):
    """Defences that draw, of so many draws."""
    given = dict(num_samples=num_samples, chunk_size=chunk_size)
    steps = dict(steps=2, mu=0.5, cg_steps=4, tolerance=0.0)
    return {
        "smoothed": Smoothed(network, 0.1, **given),
        "median": MedianSmoothed(network, 0.1, **given),
        "stagewise": Stagewise(network, 0.1, **given),
        "weighted": Stagewise(weighing(), 0.1, **given),
        "dropped pixels": Dropout(network, 0.3, **given),
        "dropped stages": Dropout(network, 0.5, "stage", **given),
        "purified": Purified(network, denoiser, **steps, **given),
        "denoised": DenoisedSmoothing(network, denoiser, 0.1, **given),
    }


@pytest.mark.slow
def test_the_chunk_size_and_batch_mates_do_not_matter(network, denoiser, inputs):
    index = np.array([4, 7])
    second = {key: x[1:] for key, x in inputs.items()}
    ones, twos = (random_ones(network, denoiser, 3, size) for size in (1, 2))
    for name, defence in ones.items():
        expected = answer(defence, inputs, index)
        np.testing.assert_allclose(
            answer(twos[name], inputs, index), expected, rtol=0, atol=1e-9, err_msg=name
        )
        np.testing.assert_allclose(
            answer(defence, second, index[1:])[0], expected[1], rtol=0, atol=1e-9, err_msg=name
        )
        assert defence.draws == 3 and defence.with_draws(2).draws == 2, name
        assert np.abs(expected - network.answer(inputs)).max() > 1e-3, name


@pytest.mark.slow
def test_other_seeds_and_other_slices_have_other_draws(network, denoiser, inputs):
    for name, defence in random_ones(network, denoiser, 2).items():
        first = answer(defence, inputs, [0, 0])
        assert np.abs(first - answer(defence, inputs, [1, 1])).max() > 1e-6, name
        defence.seed = 5
        assert np.abs(first - answer(defence, inputs, [0, 0])).max() > 1e-6, name


@pytest.mark.slow
def test_the_median_is_that_of_the_draws(network, inputs):
    for count in (4, 5):
        model = MedianSmoothed(network, 0.1, count)
        draws = [Smoothed(network, 0.1, number).answer(inputs) for number in range(1, count + 1)]
        sums = [number * image for number, image in zip(range(1, count + 1), draws)]
        single = np.diff(np.stack([np.zeros_like(sums[0]), *sums]), axis=0)
        np.testing.assert_allclose(answer(model, inputs), np.median(single, 0), atol=1e-9)
    assert model.certificates == () and len(Smoothed(network, 0.1).certificates) == 1
    statistics = model.measure(inputs)
    np.testing.assert_allclose(statistics.mean, answer(model, inputs), atol=1e-12)
    np.testing.assert_allclose(statistics.deviation, np.std(single, 0, ddof=1), atol=1e-8)


# SMUG


def test_of_an_exact_denoiser_stagewise_smoothing_is_the_model(case):
    # D = 0: no noise is left.
    model = MoDL(num_iterations=2, num_layers=1, initial_lambda=0.3, dtype="float64")
    kernel = np.zeros((3, 3, 2, 2))
    kernel[1, 1] = -np.eye(2)
    model.denoisers[0].kernels[0].assign(kernel)
    inputs = model.measured(case(2, height=8, width=6, dtype="complex128"))
    expected = model.answer(inputs)
    for num_samples in (1, 3):
        found = answer(Stagewise(model, 0.5, num_samples), inputs)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_weighted_mean_of_equal_weights_or_of_one_draw_is_the_mean(network, inputs):
    equal = weighing()
    equal.weigher.slope.assign(tf.zeros([2, 1], tf.float64))
    for model, num_samples in ((equal, 3), (weighing(), 1)):
        found = answer(Stagewise(model, 0.1, num_samples, chunk_size=2), inputs)
        expected = answer(Stagewise(network, 0.1, num_samples), inputs)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_draws_count_by_their_weights(case):
    # One stage of D = I, so that its image is the weighted mean of the noisy ones.
    model = Cascade(1, 1, mu=0.0, data_step="replace", weigher=2, dtype="float64")
    model.networks[0].kernels[0].assign(np.zeros((3, 3, 2, 2)))
    model.weigher.slope.assign([[30.0], [-10.0]])
    image = model.measured(case(1, height=8, width=6, dtype="complex128"))["zero_filled"]
    key = tf.constant([[3, 4]])
    found = Stagewise(model, 0.3, 5, chunk_size=2)._smoothed(key, 0, model.networks[0], image)
    copies = noisy_copies(image, 0.3, noise.fold_in_all(key, 0), 0, 5)
    weights = model.weigher(copies).numpy()
    assert weights.min() > 0 and weights.max() < 1 and np.ptp(weights) > 0.01
    expected = np.average(copies, axis=0, weights=weights)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-12)


def test_small_weights_are_weights_and_those_of_zero_leave_a_finite_image(inputs):
    model = weighing()
    found = []
    for offset in (-40.0, -50.0, -1e4):
        model.weigher.offset.assign([offset])
        found.append(answer(Stagewise(model, 0.1, 2), inputs))
    # exp(x) of numbers far below 0, whose ratios do not depend on the offset.
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9)
    assert np.isfinite(found[2]).all()


def unrolled_models():
    modl = MoDL(num_iterations=1, num_layers=2, filters=3, initial_lambda=0.3, dtype="float64")
    return {"modl": modl, "cascade": cascade(), "variational": variational()}


@pytest.mark.slow
def test_noise_of_no_size_leaves_the_stages_as_they_are(inputs):
    for name, model in unrolled_models().items():
        found = answer(Stagewise(model, 1e-12, 3, chunk_size=2), inputs)
        np.testing.assert_allclose(found, model.answer(inputs), rtol=0, atol=1e-9, err_msg=name)


def test_a_linear_denoiser_sees_the_mean_of_the_noise_of_its_stage(case):
    # D = I in one stage: u_1 = (A^H A + lambda)^-1 (A^H k + lambda (A^H k + sigma mean n)).
    model = MoDL(num_iterations=1, num_layers=1, initial_lambda=1.0, dtype="float64")
    model.denoisers[0].kernels[0].assign(np.zeros((3, 3, 2, 2)))
    inputs = model.measured(case(1, height=8, width=6, dtype="complex128"))
    one, many = (answer(Stagewise(model, 0.1, count), inputs) for count in (1, 64))
    spread = [np.linalg.norm(image - model.answer(inputs)) for image in (one, many)]
    assert 4 < spread[0] / spread[1] < 16


def test_stagewise_smoothing_needs_stages():
    assert Stagewise(ZeroFilled(), 0.1).draws == 8
    with pytest.raises(ValueError, match="needs a model of stages .* Received: model=UNet"):
        Stagewise(UNet(channels=2, pools=1), 0.1)


# Dropout


def test_draws_of_dropped_stages_are_networks_without_them(network, inputs):
    # Of two stages and a rate of 1/2 there are four draws: a denoiser is left out or counts twice.
    def with_factors(*factors):
        def part(stage, denoiser, image):
            return image + factors[stage] * (denoiser(image) - image)

        return magnitude(network.unrolled(inputs, part)).numpy()

    possible = [with_factors(one, other) for one in (0, 2) for other in (0, 2)]
    model = Dropout(network, 0.5, "stage")
    seen = set()
    for draw in range(24):
        images = model.one(inputs, model.keys([draw, draw]), None).numpy()
        for number, image in enumerate(images):
            errors = [np.abs(image - one[number]).max() for one in possible]
            assert min(errors) < 1e-12
            seen.add(int(np.argmin(errors)))
    assert seen == {0, 1, 2, 3}


def test_dropped_pixels_leave_what_a_stage_does_in_the_mean(network, inputs):
    image = tf.ones([2, 40, 50], tf.complex128)
    keys = tf.constant([[1, 2], [3, 4]])
    found = Dropout(network, 0.2)._dropped(keys, 1, lambda u: 3 * u, image)
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_allclose(values, [1, 1 + 2 / 0.8])
    assert abs(counts[0] / counts.sum() - 0.2) < 0.03
    other = Dropout(network, 0.2)._dropped(keys, 0, lambda u: 3 * u, image)
    assert np.any(other != found)


def test_dropout_needs_stages():
    with pytest.raises(ValueError, match="dropout needs a model of stages .* model=UNet"):
        Dropout(UNet(channels=2, pools=1))
    with pytest.raises(ValueError, match="rate must be a number >= 0 and < 1. Received: rate=1"):
        Dropout(cascade(), 1)


# Ensembles


def test_an_ensemble_answers_with_the_mean(inputs):
    models = [cascade(seed) for seed in range(3)]
    expected = np.mean([model.answer(inputs) for model in models], 0)
    found = Ensemble(models[0], models[1:])
    np.testing.assert_allclose(answer(found, inputs), expected, rtol=0, atol=1e-12)
    assert found.identity["others"].count(",") == 1
    assert found.identity != Ensemble(models[0], models[:2]).identity


def test_the_parameters_are_those_of_all_networks_each_once(network, denoiser):
    one = summary._parameters(network)
    assert one == sum(weight.size for weight in network.get_weights()) > 0
    of_denoiser = summary._parameters(denoiser)
    for defence, expected in (
        (Ensemble(network, [cascade(1), cascade(2)]), 3 * one),
        (Ensemble(network, [network]), one),
        (Purified(network, denoiser), one + of_denoiser),
        (DenoisedSmoothing(Ensemble(network, [cascade(1)]), denoiser, 0.1), 2 * one + of_denoiser),
        (Smoothed(network, 0.1), one),
    ):
        assert summary._parameters(defence) == expected


def test_models_of_both_views_make_an_ensemble_that_reads_k_space(case, tmp_path):
    given = case(1, height=8, width=8)
    unet, varnet = UNet(channels=2, pools=1), E2EVarNet(num_cascades=1, channels=2, pools=1)
    varnet.make_weights()
    varnet.save(str(tmp_path / "varnet.keras"))
    found = Ensemble(unet, str(tmp_path / "varnet.keras"))
    expected = [magnitude(model(given)) for model in (unet, varnet)]
    assert found.reads == "kspace" and not found.reads_initial_image
    measured = found.measured(given)
    np.testing.assert_allclose(found.answer(measured), np.mean(expected, 0), atol=1e-5)
    # Of a file the content counts, not the name.
    assert found.identity["others"] == Ensemble(unet, [varnet]).identity["others"]


def test_an_ensemble_is_as_random_as_its_members(network, inputs):
    noisy = Smoothed(network, 0.1, 3)
    found = Ensemble(network, [noisy, noisy])
    assert (found.draws, found.track) == (3, "random")
    assert found.with_draws(2).draws == 2
    images = [answer(found, inputs, index) for index in ([0, 0], [1, 1])]
    assert np.abs(images[0] - images[1]).max() > 1e-4


def test_graphs_can_be_made_around_random_models(network, denoiser, inputs):
    noisy = Smoothed(network, 0.1, 2)
    ensemble = Ensemble(network, [noisy])
    found = ensemble.reconstruct(inputs).numpy()
    np.testing.assert_allclose(np.abs(found), answer(ensemble, inputs, [0, 0]), atol=1e-10)
    # Without a step it is the model inside, with draws of its own.
    none = Purified(noisy, denoiser, steps=0)
    assert none.identity != noisy.identity and none.reconstruct(inputs).shape == found.shape


@pytest.mark.slow
def test_a_dynamic_defence_of_a_random_model_is_attacked_in_every_way(network, denoiser, inputs):
    purified = Purified(Smoothed(network, 0.1, 2), denoiser, steps=1)
    for gradient in ("surrogate", "straight-through"):
        attack = AutoProjectedGradient(sizes=[0.1], steps=2, draws=2, gradient=gradient)
        assert np.isfinite(attack.run(purified, inputs, 0.1).objective).all()


def test_without_noise_a_random_model_inside_has_other_draws_and_another_identity(network, inputs):
    noisy = Smoothed(network, 0.1, 2)
    around = Smoothed(noisy, 0, 4)
    assert around.draws == 2 and around.identity != noisy.identity
    assert np.abs(answer(around, inputs, [0, 1]) - answer(noisy, inputs, [0, 1])).max() > 1e-4
    assert Smoothed(network, 0).identity == network.identity


def test_a_denoiser_stays_without_noise_and_so_does_what_is_proved(network, denoiser):
    found = DenoisedSmoothing(CGSense(dtype="float64"), denoiser, 0.1)
    with pytest.raises(ValueError, match="sigma must be a number > 0. Received: sigma=0"):
        found.sigma = 0
    assert found.sigma == 0.1 and type(found.certificates[0]) is TotalVariation


def test_masks_are_moved_by_one_number_of_lines_or_by_several(network):
    for given in (-2, (-2,)):
        assert list(Cyclic(network, shifts=given).shifts) == [-2]
    for wrong in (0, (1, 0), ()):
        with pytest.raises(ValueError, match="shifts must hold numbers of lines other than 0"):
            Cyclic(network, shifts=wrong)


def test_members_of_one_seed_share_no_noise(network, inputs):
    noisy = Smoothed(network, 0.1, 1)
    alone, twice = noisy.answer(inputs), Ensemble(noisy, [noisy])
    found = twice.answer(inputs)
    assert np.abs(found - alone).max() > 1e-3
    # Without a key they are those of the image 0, as of other defences.
    np.testing.assert_array_equal(found, answer(twice, inputs, [0, 0]))


def test_what_is_no_network_is_told(network):
    with pytest.raises(ValueError, match="others must be the files of networks.*others=3"):
        Ensemble(network, 3)
    with pytest.raises(ValueError, match="missing.keras: there is no such model file"):
        Ensemble(network, "missing.keras")
    with pytest.raises(ValueError, match="others must work in float64.*a Cascade of float32"):
        Ensemble(network, [Cascade(**SMALL)])
    with pytest.raises(ValueError, match="denoiser must be one file"):
        Purified(network, "")
    with pytest.raises(ValueError, match="denoiser must read the zero-filled image"):
        Purified(Cascade(**SMALL), E2EVarNet(num_cascades=1, channels=2, pools=1))
    with pytest.raises(ValueError, match="projected needs a model without random draws"):
        Projected(Smoothed(network, 0.1))
    with pytest.raises(ValueError, match="cyclic needs a model without random draws"):
        Cyclic(UNet(channels=2, pools=1, image="magnitude"))


# Projection


def test_a_projected_answer_agrees_with_the_data_and_keeps_the_null_space(network, inputs):
    operands = inputs["sensitivity_maps"], inputs["mask"]

    def residual(image):
        return np.linalg.norm(network.sense.normal(image, *operands) - inputs["zero_filled"])

    image = network(inputs)
    found = Projected(network, mu=1e-6, cg_steps=60, tolerance=1e-14)
    consistent = found.call(inputs)
    assert residual(consistent) < 1e-3 * residual(image)
    of_change = parts(network.sense, inputs, consistent - image, mu=1e-9)
    assert np.linalg.norm(of_change.null) < 1e-3 * np.linalg.norm(of_change.range)
    sizes = [np.linalg.norm(part) for part in of_change]
    assert math.hypot(*sizes) == pytest.approx(np.linalg.norm(consistent - image), rel=1e-3)
    np.testing.assert_allclose(answer(found, inputs), magnitude(consistent), atol=1e-12)
    # Of a larger mu they share directions, and point to one side.
    shared = parts(network.sense, inputs, consistent - image, mu=0.1)
    assert np.vdot(*shared).real > 0.01 * np.linalg.norm(consistent - image) ** 2
    # Of all trust in the model nothing changes.
    trusting = Projected(network, mu=1e9)
    np.testing.assert_allclose(answer(trusting, inputs), network.answer(inputs), atol=1e-7)


# Cyclic consistency


def test_a_mask_is_moved_but_for_its_centre():
    mask = tf.constant([1, 0, 0, 1, 1, 1, 0, 0, 1, 0], tf.float32)[None, None, None]
    found = shifted(mask, 1)[0, 0, 0].numpy()
    np.testing.assert_array_equal(found, [0, 1, 0, 1, 1, 1, 1, 0, 0, 1])
    np.testing.assert_array_equal(shifted(mask, 0), mask)


def attacked(network, inputs):
    """The measurement with the r of norm 1 that a power iteration of five steps ends with."""
    clean = network.answer(inputs)
    rng = np.random.default_rng(0)
    r = tf.constant(rng.standard_normal((2, 8, 6)) + 0j)
    for _ in range(5):
        with tf.GradientTape() as tape:
            tape.watch(r)
            image = network.answer(measurement.perturbed(network.sense, inputs, r))
            effect = tf.reduce_sum(tf.square(image - clean))
        r = IMAGE.steepest(tape.gradient(effect, r))
    return measurement.perturbed(network.sense, inputs, r)


@pytest.mark.slow
def test_the_steps_make_an_attacked_model_more_consistent(network, inputs):
    given = attacked(network, inputs)
    assert (norm(network.answer(given) - network.answer(inputs)) > 1).numpy().all()
    defence = Cyclic(network, steps=6, noise=0, bound=0.1, step_size=0.02)
    cycle = cyclic._Cycle(defence, given)
    state = cycle.start()
    losses = [cycle.loss(state.r)]
    for first in (0, 2, 4):
        # That of the last r: the least one of all cannot rise.
        state = cycle.descended(state, first, first + 2)
        losses.append(cycle.loss(state.r))
    assert (np.diff(losses, axis=0) < 0).all() and (losses[-1] < 0.97 * losses[0]).numpy().all()
    expected = network.answer(measurement.perturbed(network.sense, given, cycle.last(state)))
    np.testing.assert_allclose(answer(defence, given), expected, rtol=0, atol=1e-12)


def test_the_noise_of_a_cycle_is_of_its_seed_and_not_of_its_slice(network, inputs):
    defence = Cyclic(network, noise=1.0)
    cycle = cyclic._Cycle(defence, inputs, tf.ones([2], tf.float64))
    blank = {**inputs, "zero_filled": tf.zeros_like(inputs["zero_filled"])}
    # Two slices of one scan.
    same = {key: tf.repeat(x[:1], 2, 0) for key, x in blank.items()}
    found = cycle._noisy(same, 0)["zero_filled"].numpy()
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found).max() > 0.1
    assert (found != cycle._noisy(same, 1)["zero_filled"]).numpy().any()
    other = cyclic._Cycle(Cyclic(network, noise=1.0, seed=1), inputs, cycle.deviation)
    assert (found != other._noisy(same, 0)["zero_filled"]).numpy().any()


def test_the_noise_of_a_cycle_is_that_of_the_data(case):
    # The answer of CG-SENSE to noise-free data leaves no residual.
    model = CGSense(mu=1e-9, tolerance=1e-12, dtype="float64")
    given = model.measured(case(2, coils=4, height=16, width=12, dtype="complex128"))
    exact = cyclic._Cycle(Cyclic(model, noise=1.0), given).deviation
    assert (exact < 1e-6).numpy().all()
    # Of no answer at all it is that of the data, taken for noise.
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 2, 4, 16, 12)) * 0.1
    kspace = given["mask"].numpy() * (noise[0] + 1j * noise[1])
    zero = Projected(ZeroFilled(dtype="float64"), mu=1e9)
    zero.call = lambda inputs: tf.zeros_like(inputs["zero_filled"])
    noisy = {
        **given,
        "zero_filled": model.sense.adjoint(kspace, given["sensitivity_maps"], given["mask"]),
    }
    found = cyclic._Cycle(Cyclic(zero, noise=2.0), noisy).deviation
    np.testing.assert_allclose(found, 0.2, rtol=0.15)


@pytest.mark.slow
def test_the_last_steps_are_those_of_the_answer(network, inputs, monkeypatch):
    led, path = [], cyclic._Cycle._path

    def counted(self, r, first):
        led.append((first, self.defence.steps))
        return path(self, r, first)

    monkeypatch.setattr(cyclic._Cycle, "_path", counted)
    for steps in (2, 7):
        defence = Cyclic(network, steps=steps)
        np.testing.assert_allclose(
            defence.last_steps(inputs), defence.answer(inputs), rtol=0, atol=1e-9
        )
    # Both of two, and the last five of seven.
    assert led == [(0, 2), (2, 7)]
    assert defence.track == "dynamic" and defence.draws == 0


@pytest.mark.slow
def test_the_gradient_of_the_last_steps_is_that_of_one_after_the_other(network, inputs):
    cycle = cyclic._Cycle(Cyclic(network, steps=3, step_size=0.02, noise=0), inputs)
    rs, losses = [cycle.start().r], []
    for number in range(3):
        moved, loss = cycle._step(rs[-1], tf.constant(number))
        rs.append(moved)
        losses.append(loss)
    chosen = np.argmin([*losses, cycle.loss(rs[-1])], 0)
    assert chosen.max() > 0
    rng = np.random.default_rng(5)
    shape = rs[0].shape
    cotangent = tf.constant(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))

    def of(number):
        return cotangent * (chosen == number)[:, None, None]

    now, expected = of(3), 0
    for number in (2, 1, 0):
        now, more = cycle._pulled_back(rs[number], tf.constant(number), now)
        now, expected = now + of(number), expected + more
    with tf.GradientTape() as tape:
        tape.watch(cycle.measured)
        best = cycle.led(cycle.start(), 0)
    (found,) = tape.gradient(best, cycle.measured, cotangent)
    np.testing.assert_array_equal(best, tf.gather(tf.stack(rs, 1), chosen, batch_dims=1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


# Purification


def test_a_denoiser_reads_an_image_as_fully_sampled(denoiser, inputs):
    image = tf.constant(inputs["zero_filled"])
    full = {**inputs, "mask": np.ones((2, 1, 1, 6))}
    np.testing.assert_array_equal(denoised(denoiser, inputs, image), denoiser(full))


def test_purified_data_are_those_of_the_last_image(network, inputs):
    # A denoiser that changes nothing, on data of which A^H k is the solution for any mu.
    identity = ZeroFilled(dtype="float64")
    full = {**inputs, "mask": tf.ones_like(inputs["mask"])}
    purified = Purified(network, identity, steps=3, level=0.0)
    np.testing.assert_allclose(answer(purified, full), network.answer(full), atol=1e-6)
    assert purified.track == "dynamic"


# Gradients


def with_gradients(network, denoiser):
    """Functions of the measurement whose gradient is exact."""
    given = {name: one.answer for name, one in random_ones(network, denoiser, 2).items()}
    given["variational"] = Stagewise(variational(), 0.1, 2).answer
    given["ensemble"] = Ensemble(network, [cascade(1)]).answer
    given["projected"] = Projected(network, cg_steps=4, tolerance=0.0).answer
    return given


def slope_and_difference(function, inputs, step=1e-7):
    """<gradient, d> of a weighted sum of the answer, and its central difference along d."""
    rng = np.random.default_rng(1)
    data = inputs["zero_filled"]
    weight = rng.standard_normal(data.shape)
    direction = tf.constant(rng.standard_normal(data.shape) + 1j * rng.standard_normal(data.shape))

    def value(moved):
        return tf.reduce_sum(weight * function({**inputs, "zero_filled": moved}))

    with tf.GradientTape() as tape:
        tape.watch(data)
        total = value(data)
    gradient = tape.gradient(total, data)
    slope = tf.reduce_sum(tf.math.real(tf.math.conj(gradient) * direction))
    difference = (value(data + step * direction) - value(data - step * direction)) / (2 * step)
    return float(slope), float(difference)


@pytest.mark.slow
def test_every_gradient_is_that_of_central_differences(network, denoiser, inputs):
    first = {key: x[:1] for key, x in inputs.items()}
    for name, function in with_gradients(network, denoiser).items():
        slope, difference = slope_and_difference(function, first)
        assert slope == pytest.approx(difference, rel=1e-4), name


def test_the_gradient_of_a_cycle_is_that_of_the_model_at_the_changed_data(network, inputs):
    # A sign does not move: the central difference sees no other term.
    defence = Cyclic(network, steps=2)
    slope, difference = slope_and_difference(defence.answer, inputs)
    assert slope == pytest.approx(difference, rel=1e-3)


def test_a_step_of_a_cycle_is_pulled_back_by_second_differences(network, inputs):
    # It has the gradient of a step against g / sqrt(g^2 + m^2).
    defence = Cyclic(network, steps=3, step_size=1e-5, noise=0)
    cycle = cyclic._Cycle(defence, inputs)
    rng = np.random.default_rng(3)
    r = tf.constant(1e-3 * (rng.standard_normal((2, 8, 6)) + 1j * rng.standard_normal((2, 8, 6))))
    cotangent = tf.constant(rng.standard_normal(r.shape) + 1j * rng.standard_normal(r.shape))
    length = float(cycle._length(tf.constant(1), tf.float64))
    found = cycle._pulled_back(r, tf.constant(1), cotangent)
    _, gradient = cycle._gradient(r)
    fixed = tf.reduce_mean(tf.square(tf.abs(gradient)), [1, 2], keepdims=True)

    def stepped(r, data):
        other = cyclic._Cycle(defence, {**inputs, "zero_filled": data}, cycle.deviation)
        _, gradient = other._gradient(r)
        signs = [g / tf.sqrt(tf.square(g) + fixed) for g in cyclic._components(gradient)]
        return r - length * tf.complex(*signs)

    def inner(one, other):
        return float(tf.reduce_sum(tf.math.real(tf.math.conj(one) * other)))

    data = inputs["zero_filled"]
    direction = tf.constant(rng.standard_normal(r.shape) + 1j * rng.standard_normal(r.shape))
    for place, one in enumerate(found):
        step = 1e-6 * direction
        moves = [(step, 0 * step), (0 * step, step)][place]
        ahead, behind = (stepped(r + sign * moves[0], data + sign * moves[1]) for sign in (1, -1))
        difference = inner(cotangent, ahead - behind) / 2e-6
        assert inner(one, direction) == pytest.approx(difference, rel=1e-3)


@pytest.mark.slow
def test_an_attack_is_led_through_the_last_steps(network, inputs):
    # Differences so long that signs move: what an attack sees of the steps.
    span, defence = 0.02, Cyclic(network, steps=5, bound=0.05, step_size=0.02)
    first = {key: x[:1] for key, x in inputs.items()}
    units = np.eye(48).reshape(48, 8, 6)
    moves = np.concatenate([units, 1j * units])
    many = {key: tf.repeat(x, len(moves), 0) for key, x in first.items()}

    def energies(step):
        moved = {**many, "zero_filled": many["zero_filled"] + step * moves}
        return tf.reduce_sum(defence.answer(moved) ** 2, [1, 2]).numpy()

    path = np.tensordot((energies(span) - energies(-span)) / (2 * span), moves, 1)
    cosines = []
    for function in (defence.answer, defence.last_steps):
        with tf.GradientTape() as tape:
            tape.watch(first["zero_filled"])
            value = tf.reduce_sum(function(first) ** 2)
        gradient = tape.gradient(value, first["zero_filled"])[0].numpy()
        norms = np.linalg.norm(gradient) * np.linalg.norm(path)
        cosines.append(np.vdot(gradient, path).real / norms)
    assert cosines[1] > cosines[0] + 0.003 and cosines[1] > 0.5


# What is said of them


def test_every_setting_is_kept_and_told(network, denoiser):
    made = {**random_ones(network, denoiser, 2), **plain_limits(network, denoiser)}
    for name, defence in made.items():
        names = set(inspect.signature(type(defence)).parameters) - {"model", "seed", "strategy"}
        assert set(defence.settings) == names, name
        assert "chunk_size" not in defence.identity, name


# Runs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that attacks a network in a defence, in a run directory of the name `run`."""
    monkeypatch.chdir(tmp_path)
    Cascade(**SMALL).save("model.keras")
    size = {"height": 16, "width": 16, "num_coils": 2, "num_train": 1, "num_test": 1}

    def attacked(**defence):
        settings = {
            "data": size,
            "sampling": {"mask": "equispaced", "acceleration": 2},
            "model.file": "model.keras",
            "defence": defence,
            "attacks": [{"name": "ascent", "sizes": [0.5], "steps": 2}],
        }
        attack_run("run", tfvn.config.load(settings=settings))

    return attacked


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_of_an_ensemble_knows_its_networks_and_not_their_files(run, tmp_path, capsys):
    Cascade(**SMALL, seed=1).save("other.keras")
    run(name="ensemble", others="other.keras")
    assert evaluate.main(["run", "--output", "results"]) == 0
    attacked = rows_of("results/results.csv")[-1]
    assert attacked["track"] == "deterministic" and float(attacked["effect"]) > 0
    Cascade(**SMALL, seed=2).save("other.keras")
    capsys.readouterr()
    assert attack.main(["--run-dir", "run"]) == 2
    assert "defence.others" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("part", ["pixel", "stage"])
def test_a_run_of_dropout_is_attacked_and_evaluated(run, part):
    run(name="dropout", part=part, num_samples=2)
    assert evaluate.main(["run", "--output", "results"]) == 0
    attacked = rows_of("results/results.csv")[-1]
    assert (attacked["track"], attacked["num_samples"]) == ("random", "2")
    assert float(attacked["effect"]) > 0


OTHER_RUNS = {
    "cyclic": ({"steps": 2}, "dynamic"),
    "purified": ({"denoiser": "denoiser.keras", "steps": 1, "cg_steps": 2}, "dynamic"),
    "projected": ({"cg_steps": 2}, "deterministic"),
    "median": ({"sigma": 0.1, "num_samples": 2}, "random"),
}


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", OTHER_RUNS)
def test_a_run_of_every_other_defence_is_attacked_and_evaluated(run, name):
    settings, track = OTHER_RUNS[name]
    denoiser = UNet(channels=2, pools=1)
    denoiser.make_weights()
    denoiser.save("denoiser.keras")
    run(name=name, **settings)
    # What was stored is read again, and is what was attacked.
    assert attack.main(["--run-dir", "run"]) == 0
    assert evaluate.main(["run", "--output", "results"]) == 0
    clean, attacked = rows_of("results/results.csv")
    assert (clean["attack"], attacked["track"]) == ("none", track)
    assert float(attacked["effect"]) > 0 and float(attacked["norm"]) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["cyclic", "purified"])
def test_the_dynamic_suite_attacks_a_defence(name, case, monkeypatch):
    members = []
    for member in SUITES["dynamic-1"]:
        members.append(member._replace(settings={**member.settings, "steps": 2}))
    monkeypatch.setitem(SUITES, "dynamic-1", tuple(members))
    network, denoiser = Cascade(**SMALL), UNet(channels=2, pools=1)
    defence = {
        "cyclic": Cyclic(network, steps=2),
        "purified": Purified(network, denoiser, steps=1, level=0.0, cg_steps=2),
    }[name]
    inputs = case(1, height=8, width=6)
    result = Suite(version="dynamic-1").run(defence, inputs, 0.5, index=np.array([3]))
    assert list(result.reached) == ["last-steps", "straight", "surrogate", "square"]
    reached = np.array([value.numpy() for value in result.reached.values()])
    assert (reached > 0).all()
    np.testing.assert_allclose(result.objective, reached.max(0), rtol=1e-4)
    changed = measurement.perturbed(network.sense, defence.measured(inputs), result.perturbation)
    effect = norm(defence.answer(changed) - defence.answer(defence.measured(inputs)))
    np.testing.assert_allclose(tf.square(effect) / 2, result.objective, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.one_stack
def test_draws_of_every_kind_are_counted_in_a_sweep(run, tmp_path):
    run(name="stagewise", sigma=0.1, num_samples=2)
    assert evaluate.main(["run", "--output", "results", "--num-samples", "1", "4"]) == 0
    one, four = rows_of("results/num_samples.csv")
    assert (one["num_samples"], four["num_samples"]) == ("1", "4")
    assert (one["sigma"], one["noise"]) == ("0.1", "gaussian")
    assert float(one["spread"]) > float(four["spread"]) > 0


def test_a_defence_says_what_to_save(network, denoiser, tmp_path):
    for defence in plain_limits(network, denoiser).values():
        with pytest.raises(ValueError, match="is not saved. Save its network") as refused:
            defence.save(tmp_path / "defence.keras")
        assert f"call {type(defence).__name__} on it again" in str(refused.value)
    assert not list(tmp_path.iterdir())
