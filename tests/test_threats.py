"""Threats that change what is known of a measurement."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import AutoProjectedGradient, RandomSearch, Start
from tfvn.attacks.threats import THREATS
from tfvn.defences.smoothing import Smoothed
from tfvn.models.adapters import from_function
from tfvn.models.base import Reconstructor
from tfvn.models.classical import TotalVariation, ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.sense import Sense

INDEX = np.array([4, 7, 2], np.int32)


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


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


def run(attack, model, inputs, size, truth=None, **given):
    """The result of an attack on a batch whose images have the names `INDEX`."""
    index = INDEX[: len(inputs["mask"])]
    return attack.run(model, inputs, size, reference=truth, index=index, **given)


# Coil maps


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


def test_gradients_find_worse_maps_than_chance(network, batch):
    found = {}
    for attack in (AutoProjectedGradient(threat="maps", steps=20), RandomSearch(threat="maps")):
        found[attack.name] = run(attack, network, batch, 0.1).objective.numpy()
    assert (found["apgd"] > 2 * found["random"]).all()


def test_a_larger_radius_of_maps_never_gives_less(network, batch):
    attack = AutoProjectedGradient(threat="maps", steps=8)
    small = run(attack, network, batch, 0.1)
    large = run(attack, network, batch, 0.11, start=Start(small.perturbation))
    assert (large.objective >= small.objective * (1 - 1e-5)).numpy().all()


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
