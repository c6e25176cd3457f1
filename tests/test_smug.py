"""SMUG's training: its loss is that of the network as it is defended, with exact gradients."""

import numpy as np
import pytest
import tensorflow as tf
from test_recipes import differences

import tfvn
from tfvn.compat import variable_of
from tfvn.defences import Stagewise
from tfvn.models import Cascade, MoDL, UNet, VariationalNetwork, magnitude
from tfvn.runs import trained_on
from tfvn.runs.attack import attack_run
from tfvn.runs.train import build_network, train_run
from tfvn.training.recipe import Recipe
from tfvn.training.smug import SMUG
from tfvn.training.trainer import Trainer

KEYS = tf.constant([[3, 4]])
SIZES = {"num_cascades": 2, "num_layers": 2, "filters": 3}


@pytest.fixture(scope="module")
def given(case):
    return case(1, height=8, width=6, dtype="complex128")


def modl():
    model = MoDL(num_iterations=2, num_layers=2, filters=3, cg_steps=3, dtype="float64")
    return model, model.denoisers[0].kernels[0]


def cascade():
    model = Cascade(**SIZES, data_step="replace", mu=0.3, dtype="float64")
    return model, model.trainable_weights[0]


def weighing():
    model = Cascade(**SIZES, data_step="replace", mu=0.3, weigher=2, dtype="float64")
    # Draws whose weights differ.
    model.weigher.slope.assign([[300.0], [-100.0]])
    return model, model.weigher.kernels[0]


def variational():
    model = VariationalNetwork(num_stages=2, filters=2, kernel_size=3, dtype="float64")
    return model, model.stages[0].kernel


def loss_of(recipe, model, given, keys=KEYS):
    measured = model.measured(given)
    reference = 0.8 * measured["zero_filled"]
    inputs = recipe(model, measured, reference, keys)
    return recipe.loss(model, inputs, reference, tuple(model.parameter_blocks))


@pytest.mark.parametrize(
    "made", [modl, weighing, cascade, pytest.param(variational, marks=pytest.mark.slow)]
)
def test_the_gradient_in_the_weights_matches_central_differences(given, made):
    model, weight = made()
    weight, recipe = variable_of(weight), SMUG(0.1, num_samples=2, weight=0.3)
    with tf.GradientTape() as tape:
        value = loss_of(recipe, model, given)
    found = tape.gradient(value, weight).numpy()
    entries = [(0, 0, 0, 0), (1, 2, 1, 1)]
    expected = differences(lambda: loss_of(recipe, model, given), weight, entries)
    np.testing.assert_allclose([found[entry] for entry in entries], expected, rtol=1e-5)


@pytest.mark.parametrize("made", [modl, weighing, variational])
def test_without_its_second_term_the_loss_is_the_error_of_the_defended_network(given, made):
    model, _ = made()
    found = loss_of(SMUG(0.1, num_samples=3, weight=0.0), model, given)
    image = Stagewise(model, 0.1, num_samples=3).answer(model.measured(given), KEYS)
    reference = 0.8 * model.measured(given)["zero_filled"]
    np.testing.assert_allclose(found, np.sum((image - magnitude(reference)) ** 2) / 2, rtol=1e-10)


def test_the_second_term_compares_each_denoiser_with_its_answer_to_the_reference(given):
    # Denoisers that change nothing: what is left is the noise, and how far the stages are off.
    model, kernel = modl()
    kernel.assign(np.zeros(kernel.shape))
    by_weight = [float(loss_of(SMUG(0.1, 100, weight), model, given)) for weight in (0.0, 1.0)]
    zero_filled = model.measured(given)["zero_filled"]
    stages = []
    model.unrolled(
        model.measured(given), lambda stage, denoiser, image: stages.append(image) or image
    )
    expected = sum(np.sum(np.abs(image - 0.8 * zero_filled) ** 2) / 2 for image in stages)
    # Two stages of 8 x 6 complex pixels of noise.
    expected += 2 * 48 * 0.1**2
    assert by_weight[1] - by_weight[0] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("made", [cascade, weighing])
def test_slices_are_not_mixed(case, made):
    model, _ = made()
    both, keys = case(2, height=8, width=6, dtype="complex128"), tf.constant([[3, 4], [5, 6]])
    measured = model.measured(both)
    losses = []
    for part in (slice(0, 2), slice(0, 1), slice(1, 2)):
        one = {name: x[part] if x.shape[0] == 2 else x for name, x in measured.items()}
        losses.append(float(loss_of(SMUG(0.1, 2, weight=0.5), model, one, keys[part])))
    assert losses[0] == pytest.approx(losses[1] + losses[2], rel=1e-12)


def test_without_noise_it_is_the_plain_recipe_bit_for_bit(given):
    model, _ = weighing()
    found, expected = (loss_of(recipe, model, given) for recipe in (SMUG(0), Recipe()))
    assert float(found) == float(expected)


def test_gradients_are_counted_and_a_network_needs_stages():
    counts = []
    for recipe in (SMUG(0), SMUG(0.1), SMUG(0.1, 3, weight=0)):
        counts.append(Trainer(cascade()[0], "adam", recipe).gradients_of_slice)
    assert counts == [1, 5, 3]
    with pytest.raises(ValueError, match="recipe smug needs a model of stages .* model=UNet"):
        Trainer(UNet(channels=2, pools=1), "adam", SMUG(0.1))


def test_a_weigher_begins_where_the_network_is_trained_further(tmp_path):
    plain = cascade()[0]
    plain.save(tmp_path / "plain.keras")
    settings = {
        "model": {"name": "cascade", **SIZES, "data_step": "replace", "mu": 0.3, "weigher": 2},
        "training.initial_weights": str(tmp_path / "plain.keras"),
    }
    # In single precision, as all networks of configurations.
    network = build_network(tfvn.config.load(settings=settings))
    own = Cascade.from_config(network.get_config()).weigher.get_weights()
    for ours, begun in zip(network.weigher.get_weights(), own):
        np.testing.assert_array_equal(ours, begun)
    for ours, theirs in zip(network.networks, plain.networks):
        for one, other in zip(ours.get_weights(), theirs.get_weights()):
            np.testing.assert_array_equal(one, other.astype("float32"))
    again = Cascade.from_config({**network.get_config(), "seed": 3})
    again.begin_with(network)
    for one, other in zip(again.get_weights(), network.get_weights()):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError):
        network.begin_with(Cascade(1, 2, filters=3))


def test_the_network_itself_does_not_use_its_weigher(given):
    plain, network = cascade()[0], weighing()[0]
    network.begin_with(plain)
    found, expected = (model.reconstruct(given).numpy() for model in (network, plain))
    np.testing.assert_array_equal(found, expected)


def test_a_file_keeps_a_weigher_and_those_without_one_say_nothing_of_it(tmp_path):
    network = weighing()[0]
    network.save(tmp_path / "weighing.keras")
    loaded = tfvn.load_model(tmp_path / "weighing.keras")
    assert loaded.get_config() == network.get_config() and loaded.weigher.channels == 2
    for one, other in zip(loaded.weigher.get_weights(), network.weigher.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert "weigher" not in cascade()[0].get_config()


def test_weights_with_another_weigher_are_refused(tmp_path):
    network = weighing()[0]
    network.save(tmp_path / "weighing.keras")
    model = {**network.get_config(), "name": "cascade", "weigher": 3}
    for key in ("dtype", "seed", "readout_oversampling"):
        model.pop(key)
    start = str(tmp_path / "weighing.keras")
    for weigher in (0, 3):
        settings = {"model": {**model, "weigher": weigher}, "training.initial_weights": start}
        configured = weigher or "none"
        with pytest.raises(ValueError, match=rf"weigher=2 \(configured: {configured}\)"):
            build_network(tfvn.config.load(settings=settings))


@pytest.mark.slow
def test_a_network_is_trained_for_its_defence_and_attacked_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {
        "data": {"height": 16, "width": 16, "num_coils": 2, "num_train": 2, "num_test": 1},
        "sampling": {"mask": "equispaced", "acceleration": 2},
        "model": {
            "name": "cascade",
            "num_cascades": 2,
            "num_layers": 2,
            "filters": 3,
            "weigher": 2,
        },
        "training.iterations": 2,
        "training.batch_size": 2,
        "training.checkpoint_every": 1,
        "training.optimizer": {"name": "adam"},
        "training.recipe": {"name": "smug", "sigma": 0.1},
        "defence": {"name": "stagewise", "sigma": 0.1, "num_samples": 2},
        "attacks": [{"name": "ascent", "sizes": [0.5], "steps": 2}],
    }
    config = tfvn.config.load(settings=settings)
    train_run("run", config)
    assert trained_on.gradients("run") == 2 * 2 * 5
    begun, trained = build_network(config), tfvn.load_model("run/model.keras")
    for one, other in zip(begun.weigher.kernels, trained.weigher.kernels):
        assert np.abs(one.numpy() - other.numpy()).max() > 1e-5
    attack_run("run", config)
