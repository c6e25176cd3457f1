"""Threats that change what is known of a measurement: coil maps, lines of the mask, the place of
the object.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import (
    AutoProjectedGradient,
    ExchangedLines,
    Motion,
    RandomSearch,
    Start,
)
from tfvn.attacks.lines import LineThreat
from tfvn.attacks.motion import MotionThreat, moved
from tfvn.attacks.threats import THREATS
from tfvn.defences.smoothing import Smoothed
from tfvn.models.adapters import from_function
from tfvn.models.base import Reconstructor
from tfvn.models.classical import TotalVariation, ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.sense import Sense

INDEX = np.array([4, 7, 2], np.int32)
LINES, MOTION = LineThreat(), MotionThreat()


class KspaceReader(Reconstructor):
    """A smooth nonlinear function of `kspace`."""

    reads = "kspace"

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return image + tf.cast(tf.square(tf.abs(image)), image.dtype)


@pytest.fixture(scope="module")
def network():
    network = VariationalNetwork(2, 4, 3, initial_data_weight=0.7)
    rng = np.random.default_rng(3)
    for stage in network.stages:
        stage.rbf_weights.assign(0.2 * rng.standard_normal(stage.rbf_weights.shape))
    return network


@pytest.fixture(scope="module")
def models(network):
    return {"network": network, "reader": KspaceReader()}


EVERY_MODEL = pytest.mark.parametrize("name", ["network", "reader"])


@pytest.fixture(scope="module")
def batch(case):
    return case(batch=3)


@pytest.fixture(scope="module")
def truth(batch):
    """Complex images of bright discs, whose k-space is that of the batch on no line."""
    rng = np.random.default_rng(5)
    rows, columns = np.ogrid[:24, :20]
    found = []
    for row, column in rng.uniform(6, 14, (3, 2)):
        distance = np.hypot(rows - row, columns - column)
        found.append(np.exp(1j * rows / 9) / (1 + np.exp(2 * (distance - 4))))
    return np.array(found, np.complex64)


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


def run(attack, model, inputs, size, truth=None, **given):
    """The result of an attack on a batch whose images have the names `INDEX`."""
    index = INDEX[: len(inputs["mask"])]
    return attack.run(model, inputs, size, reference=truth, index=index, **given)


# Coil maps


@pytest.mark.slow_cases
@EVERY_MODEL
@pytest.mark.parametrize("attack", [AutoProjectedGradient, RandomSearch])
def test_wrong_maps_are_given_to_the_model_with_the_data_as_they_are(models, batch, attack, name):
    attack = attack(threat="maps", steps=3)
    result = run(attack, models[name], batch, 0.2)
    change = result.perturbation.numpy()
    maps = batch["sensitivity_maps"]
    size = np.linalg.norm(maps.reshape(3, -1), axis=1)[:, None, None, None]
    wrong = {**batch, "sensitivity_maps": maps + size * change}
    expected = models[name].reconstruct(wrong)
    np.testing.assert_allclose(result.reconstruction, expected, rtol=1e-4, atol=1e-5)
    lengths = [attack.norm_of(one) for one in change]
    assert min(lengths) > 0.19 and max(lengths) <= 0.2


@pytest.mark.slow
def test_gradients_find_worse_maps_than_chance(network, batch):
    found = {}
    for attack in (AutoProjectedGradient(threat="maps", steps=20), RandomSearch(threat="maps")):
        found[attack.name] = run(attack, network, batch, 0.1).objective.numpy()
    assert (found["apgd"] > 2 * found["random"]).all()


@pytest.mark.slow
def test_a_larger_radius_of_maps_never_gives_less(network, batch):
    attack = AutoProjectedGradient(threat="maps", steps=8)
    small = run(attack, network, batch, 0.1)
    large = run(attack, network, batch, 0.11, start=Start(small.perturbation))
    assert (large.objective >= small.objective * (1 - 1e-5)).numpy().all()


@pytest.mark.slow
def test_a_model_without_a_gradient_in_the_maps_is_searched_without_one(batch):
    def zero_filled(inputs):
        return np.abs(inputs["zero_filled"])

    def pulled(inputs, cotangent):
        return cotangent * inputs["zero_filled"] / np.maximum(np.abs(inputs["zero_filled"]), 1e-12)

    models = {
        "TotalVariation": TotalVariation(iterations=3),
        "Smoothed": Smoothed(ZeroFilled(), 0.1, 2),
        "Function": from_function(zero_filled, pulled),
    }
    for name, model in models.items():
        with pytest.raises(ValueError, match=f"{name} has no gradient in sensitivity_maps: .*rand"):
            run(AutoProjectedGradient(threat="maps", steps=1), model, one(batch, 0), 0.1)
        result = run(RandomSearch(threat="maps", steps=2), model, one(batch, 0), 0.1)
        assert result.objective[0] > 0


def test_a_reconstruction_has_no_gradient_in_the_maps_and_a_call_has_one(network, batch):
    maps = tf.constant(batch["sensitivity_maps"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        inputs = {**batch, "sensitivity_maps": maps}
        # A^H k has none here, so that all comes from the stages.
        inputs["zero_filled"] = network.zero_filled(batch)
        image, called = network.reconstruct(inputs), tf.abs(network(inputs))
    assert tape.gradient(image, maps) is None
    assert np.abs(tape.gradient(called, maps)).max() > 1e-3


def test_maps_need_the_kspace(network, batch):
    given = {key: batch[key] for key in ("sensitivity_maps", "mask")}
    given["zero_filled"] = network.zero_filled(batch)
    with pytest.raises(ValueError, match="threat='maps' needs kspace in the inputs, because A.H k"):
        run(AutoProjectedGradient(threat="maps", steps=1), network, given, 0.1)


def test_a_change_of_maps_is_none_of_the_kspace(batch):
    changes = THREATS["maps"]
    change = changes.zero(Sense(), batch)
    known = changes.known(Sense(), batch)
    assert changes.in_kspace(Sense(), batch, change, known) is None
    np.testing.assert_array_equal(changes.full_size(batch, None), [1, 1, 1])


# Lines of the mask


def exchanged(change):
    """The numbers of lines that are left out and that are new, of each image."""
    return (change == -1).sum(1), (change == 1).sum(1)


@pytest.mark.slow_cases
@EVERY_MODEL
@pytest.mark.parametrize("size", [1, 3])
def test_lines_are_exchanged_and_the_model_gets_the_new_mask(models, batch, truth, name, size):
    attack = ExchangedLines(candidates=8)
    result = run(attack, models[name], batch, size, truth)
    change = result.perturbation.numpy()
    np.testing.assert_array_equal(np.unique(change), [-1, 0, 1])
    for counts in exchanged(change):
        assert (counts <= size).all() and (counts > 0).all()
    sizes = [attack.norm_of(one) for one in change]
    np.testing.assert_array_equal(sizes, exchanged(change)[0])
    lines = change[:, None, None]
    assert (batch["mask"][lines == -1] == 1).all() and (batch["mask"][lines == 1] == 0).all()
    # The data of new lines are those of the truth.
    every = Sense().forward(truth, batch["sensitivity_maps"], np.ones_like(batch["mask"]))
    kspace = np.where(lines == 1, every, batch["kspace"]) * (lines != -1)
    expected = models[name].reconstruct({**batch, "kspace": kspace, "mask": batch["mask"] + lines})
    np.testing.assert_allclose(result.reconstruction, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_first_exchange_is_the_best_of_all(network, batch, truth):
    inputs, truth = one(batch, 0), truth[:1]
    known = LINES.known(Sense(), inputs, tf.constant(truth))
    given = network.measured(inputs)
    clean = network.answer(given)
    values = []
    for gone in np.flatnonzero(known["removable"][0]):
        for new in np.flatnonzero(known["new"][0]):
            change = np.zeros((1, 20), np.float32)
            change[0, [gone, new]] = -1, 1
            image = network.answer(LINES.enter(Sense(), given, tf.constant(change), known))
            values.append(float(tf.reduce_sum(tf.square(image - clean)) / 2))
    result = run(ExchangedLines(candidates=len(values)), network, inputs, 1, truth)
    assert float(result.objective[0]) == pytest.approx(max(values), rel=1e-4)
    fewer = run(ExchangedLines(candidates=len(values) // 4), network, inputs, 1, truth)
    assert 0 < fewer.objective[0] < result.objective[0]


def test_more_lines_never_give_less(network, batch, truth):
    attack = ExchangedLines(candidates=6)
    before = np.zeros(3)
    for size in range(5):
        result = run(attack, network, batch, size, truth)
        objective = result.objective.numpy()
        assert result.history.shape == (1, size + 1, 3)
        assert (np.diff(result.history[0], axis=0) >= 0).all()
        assert (objective >= before * (1 - 1e-6)).all()
        before = objective
    # Others than there are cannot be exchanged.
    everything = run(attack, network, batch, 30, truth)
    removable = LINES.known(Sense(), batch, tf.constant(truth))["removable"].numpy().sum(1)
    assert (exchanged(everything.perturbation.numpy())[0] <= removable).all()
    assert (everything.objective.numpy() >= before * (1 - 1e-6)).all()


def test_no_lines_change_nothing(network, batch, truth):
    result = run(ExchangedLines(candidates=3), network, batch, 0, truth)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()
    np.testing.assert_allclose(result.reconstruction, network.reconstruct(batch), atol=1e-6)


def test_lines_are_the_same_with_the_same_seed_and_without_batch_mates(network, batch, truth):
    attack = ExchangedLines(candidates=5)
    result, again = (run(attack, network, batch, 2, truth) for _ in range(2))
    np.testing.assert_array_equal(again.perturbation, result.perturbation)
    np.testing.assert_array_equal(again.objective, result.objective)
    alone = attack.run(network, one(batch, 1), 2, truth[1:2], index=INDEX[1:2])
    np.testing.assert_array_equal(alone.perturbation[0], result.perturbation[1])
    other = run(ExchangedLines(candidates=5, seed=1), network, batch, 2, truth)
    assert (other.perturbation != result.perturbation).numpy().any()


def test_the_centre_and_padding_take_no_part(case, truth):
    inputs = case()
    mask = np.zeros((1, 1, 1, 20), np.float32)
    mask[..., [0, 1, 3, 8, 9, 10, 11, 15, 18]] = 1
    maps = inputs["sensitivity_maps"]
    kspace = Sense().forward(truth[:1], maps, mask).numpy()
    # A line of padding, which the mask counts as sampled.
    kspace[..., 0] = 0
    known = LINES.known(Sense(), {**inputs, "kspace": kspace, "mask": mask}, truth[:1])
    np.testing.assert_array_equal(np.flatnonzero(known["removable"][0]), [1, 3, 15, 18])
    np.testing.assert_array_equal(known["new"][0], 1 - mask[0, 0, 0])
    np.testing.assert_array_equal(known["kspace"][..., 0], kspace[..., 0])


def test_data_that_are_there_are_taken_as_they_are(network, batch, truth):
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((*batch["kspace"].shape, 2)).astype(np.float32)
    full = {**batch, "kspace": kspace.view(np.complex64)[..., 0] / 10}
    for reference in (None, tf.constant(truth)):
        known = LINES.known(Sense(), full, reference)
        np.testing.assert_array_equal(known["kspace"], full["kspace"])
    assert run(ExchangedLines(candidates=3), network, full, 1).objective.numpy().all()


def test_a_size_of_lines_is_honest():
    change = np.zeros((3, 8))
    change[0, [1, 2, 5, 6]] = -1, -1, 1, 1
    change[1, [1, 5]] = -1, 0.5
    change[2, 1] = 1
    np.testing.assert_array_equal(LINES.size(change), [2, math.inf, math.inf])


@pytest.mark.parametrize("mask", ["points", "weights"])
def test_a_mask_that_is_none_of_lines_is_refused(network, case, truth, mask):
    with pytest.raises(ValueError, match="need a mask of lines, .* Received: mask.shape=.1, 1, 24"):
        run(ExchangedLines(), network, case(mask=mask), 1, truth[:1])


@pytest.mark.parametrize("attack", [ExchangedLines(), Motion()], ids=lambda attack: attack.name)
def test_the_true_image_must_be_there_and_complex(network, batch, truth, attack):
    with pytest.raises(ValueError, match="Received: reference=None"):
        run(attack, network, batch, 1)
    with pytest.raises(ValueError, match=f"must be complex for attacks={attack.name}: .* float32"):
        run(attack, network, batch, 1, np.abs(truth))
    with pytest.raises(ValueError, match="reference must have the shape .3, 24, 20."):
        run(attack, network, batch, 1, truth[:, :-1])


@pytest.mark.parametrize(
    "attack, settings, message",
    [
        (ExchangedLines, {"sizes": [1.5]}, "sizes must be a whole number >= 0"),
        (ExchangedLines, {"candidates": 0}, "candidates must be a whole number >= 1"),
        (ExchangedLines, {"goal": "harm"}, "goal must be one of"),
        (Motion, {"sizes": [1.0, 1.0]}, "sizes must be different numbers"),
        (Motion, {"sizes": [46.0]}, "sizes must be a number >= 0 and <= 45"),
        (Motion, {"movement": "jump"}, "movement must be one of .'rotation', 'shift', 'both'"),
        (Motion, {"grid": 1}, "grid must be a whole number >= 2"),
        (Motion, {"refinements": -1}, "refinements must be a whole number >= 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(attack, settings, message):
    with pytest.raises(ValueError, match=message):
        attack(**settings)


# The object moved


def movement(angle=0.0, down=0.0, right=0.0, count=3):
    return tf.constant([[angle, down, right]] * count, tf.float64)


def test_a_shift_by_whole_pixels_rolls_the_image(truth):
    image = tf.constant(truth.astype(np.complex128))
    found = moved(image, movement(down=2.0, right=-3.0))
    np.testing.assert_allclose(found, tf.roll(image, [2, -3], [1, 2]), atol=1e-12)


def test_a_shift_by_parts_of_pixels_is_a_ramp_on_the_phase(truth):
    image = truth.astype(np.complex128)
    frequency = np.fft.fftfreq(24)[:, None] * 0.3 + np.fft.fftfreq(20) * 1.7
    expected = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * frequency))
    found = moved(tf.constant(image), movement(down=0.3, right=1.7))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def blob(row, column):
    """A smooth spot at a place, (1, 32, 28), which is small at the borders."""
    rows, columns = np.ogrid[:32, :28]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)[None] + 0j


def test_a_rotation_turns_a_spot_about_the_middle_and_keeps_the_norm():
    for degrees in (5.0, -30.0, 45.0):
        angle = np.deg2rad(degrees)
        down, right = 3.0, -4.0
        row = 16 + np.sin(angle) * right + np.cos(angle) * down
        column = 14 + np.cos(angle) * right - np.sin(angle) * down
        image = tf.constant(blob(16 + down, 14 + right))
        found = moved(image, movement(degrees, 1.5, -0.5, count=1))
        np.testing.assert_allclose(found, blob(row + 1.5, column - 0.5), atol=1e-3)
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(image), rel=1e-12)


def test_no_movement_is_the_image_bit_for_bit(truth):
    given = tf.constant([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    found = moved(tf.constant(truth), given)
    for i in (0, 2):
        np.testing.assert_array_equal(found[i], truth[i])
    assert np.abs(found[1] - truth[1]).max() > 0.1


@pytest.mark.slow_cases
@EVERY_MODEL
@pytest.mark.parametrize("kind", ["rotation", "shift", "both"])
def test_a_movement_is_what_the_scanner_would_have_measured(models, batch, truth, name, kind):
    attack = Motion(movement=kind, grid=3, refinements=1)
    result = run(attack, models[name], batch, 2.0, truth)
    change = result.perturbation.numpy()
    moving = {"rotation": [1, 0, 0], "shift": [0, 1, 1], "both": [1, 1, 1]}[kind]
    assert not change[:, np.equal(moving, 0)].any() and change.any(1).all()
    assert max(attack.norm_of(one) for one in change) <= 2.0
    maps, mask = batch["sensitivity_maps"], batch["mask"]
    after = moved(tf.constant(truth), result.perturbation)
    kspace = batch["kspace"] + Sense().forward(after - truth, maps, mask)
    image = models[name].reconstruct({**batch, "kspace": kspace})
    np.testing.assert_allclose(result.reconstruction, image, rtol=1e-3, atol=1e-4)
    # The effect is what does not move along.
    clean = tf.cast(models[name].reconstruct(batch), tf.complex64)
    along = tf.math.real(moved(clean, result.perturbation))
    expected = np.square(image - along).sum((1, 2)) / 2
    np.testing.assert_allclose(result.objective, expected, rtol=1e-3)


@pytest.mark.slow
def test_the_error_of_a_movement_is_against_the_moved_truth(network, batch, truth):
    result = run(Motion(grid=3, refinements=1, goal="error"), network, batch, 2.0, truth)
    after = np.abs(moved(tf.constant(truth), result.perturbation))
    expected = np.square(result.reconstruction - after).sum((1, 2)) / 2
    np.testing.assert_allclose(result.objective, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_model_that_follows_every_movement_has_no_effect(case):
    inputs = case(batch=1, coils=1, height=32, width=28)
    truth = blob(14, 12).astype(np.complex64)
    inputs["sensitivity_maps"] = np.ones_like(inputs["sensitivity_maps"])
    inputs["mask"] = np.ones_like(inputs["mask"])
    inputs["kspace"] = Sense().forward(truth, inputs["sensitivity_maps"], inputs["mask"]).numpy()

    class Real(Reconstructor):
        def answer(self, inputs, key=None):
            return tf.math.real(inputs["zero_filled"])

    result = run(Motion(grid=3, refinements=0), Real(), inputs, 3.0, truth)
    assert result.perturbation.numpy().any(1).all()
    assert (np.sqrt(2 * result.objective) < 1e-4 * np.linalg.norm(truth)).all()


@pytest.mark.slow
def test_a_larger_movement_never_gives_less(network, batch, truth):
    attack = Motion(grid=3, refinements=2)
    small = run(attack, network, batch, 1.0, truth)
    start = attack.start_from({"perturbation": small.perturbation[1].numpy()}, 1.0)
    given = {"index": INDEX[1:2], "reference": truth[1:2], "start": start}
    for size in (1.0 + 1e-5, 1.3, 4.0):
        result = attack.run(network, one(batch, 1), size, **given)
        assert result.objective[0] >= small.objective[1] * (1 - 1e-5)
    assert Motion(sizes=[2.0, 1.0]).identity(2.0)["goes_on_from"] == 1.0


@pytest.mark.slow
def test_a_finer_grid_finds_no_less(network, batch, truth):
    found = []
    for refinements in (0, 3):
        attack = Motion(grid=3, refinements=refinements)
        result = run(attack, network, batch, 1.0, truth)
        assert result.history.shape == (1, refinements + 2, 3)
        assert (np.diff(result.history[0], axis=0) >= 0).all()
        found.append(result.objective.numpy())
    assert (found[1] >= found[0]).all() and (found[1] > found[0]).any()


@pytest.mark.slow
def test_no_radius_moves_nothing(network, batch, truth):
    result = run(Motion(grid=2, refinements=1), network, batch, 0.0, truth)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()


@pytest.mark.slow
def test_movements_are_the_same_again_and_without_batch_mates(network, batch, truth):
    attack = Motion(grid=3, refinements=1)
    result, again = (run(attack, network, batch, 2.0, truth) for _ in range(2))
    np.testing.assert_array_equal(again.perturbation, result.perturbation)
    alone = attack.run(network, one(batch, 1), 2.0, truth[1:2], index=INDEX[1:2])
    np.testing.assert_allclose(alone.perturbation[0], result.perturbation[1], atol=1e-6)
    np.testing.assert_allclose(alone.objective[0], result.objective[1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["erase", "insert"])
def test_a_target_moves_along(network, batch, truth, goal):
    attack = Motion(grid=3, refinements=1, goal=goal, goal_region=(11, 9, 4))
    result = run(attack, network, batch, 1.0, truth)
    assert np.isfinite(result.left).all() and (result.objective.numpy() < 0).all()
    still = run(attack, network, batch, 0.0, truth)
    assert (result.objective >= still.objective).numpy().all()
    np.testing.assert_allclose(still.left, 1, rtol=1e-5)


@pytest.mark.slow
def test_random_models_are_searched_over_their_draws(batch, truth):
    model = Smoothed(ZeroFilled(), 0.05, 2)
    for attack in (ExchangedLines(candidates=3, draws=4), Motion(grid=2, refinements=0, draws=4)):
        result = run(attack, model, batch, 1, truth)
        assert (result.objective.numpy() > 0).all()
        assert result.perturbation.numpy().any(1).all()
