"""MoDL's own checkpoints: variables of the names and shapes of its `model.py`, made here."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn import load_model
from tfvn.models import MoDL
from tfvn.models.modl_weights import from_modl_checkpoint


def random_variables(num_layers=3, filters=4):
    rng = np.random.default_rng(0)
    channels = [2, *[filters] * (num_layers - 1), 2]
    variables = {"Wts/lam1": np.float32(0.3)}
    for number, (before, after) in enumerate(zip(channels, channels[1:]), start=1):
        layer = f"Wts/Layer{number}"
        variables[f"{layer}/W"] = rng.normal(size=(3, 3, before, after)).astype("f4") / 4
        for name in ("gamma", "beta", "moving_mean"):
            variables[f"{layer}/BN/{name}"] = rng.normal(size=after).astype("f4")
        variables[f"{layer}/BN/moving_variance"] = rng.uniform(0, 2, after).astype("f4")
    return variables


def write(prefix, variables):
    """A checkpoint as the authors' script leaves it, with state of its optimizer."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in variables.items():
            v1.Variable(value, name=name, use_resource=False)
        v1.Variable(7.0, name="optimizer/beta1_power", use_resource=False)
        v1.Variable(np.ones(3), name="Wts/Layer1/W/Adam", use_resource=False)
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, str(prefix), global_step=50, write_meta_graph=False)


def denoised(variables, image):
    """The network of the authors' `model.py`, after its training."""
    features = np.stack([image.real, image.imag], -1)[None]
    count = max(int(name[9]) for name in variables if name.startswith("Wts/Layer"))
    for number in range(1, count + 1):
        layer = f"Wts/Layer{number}"
        features = tf.nn.conv2d(features, variables[f"{layer}/W"].astype("f8"), 1, "SAME").numpy()
        gamma, beta, mean, variance = (
            variables[f"{layer}/BN/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        features = gamma * (features - mean) / np.sqrt(variance + 1e-3) + beta
        if number < count:
            features = np.maximum(features, 0)
    return image + features[0, ..., 0] + 1j * features[0, ..., 1]


def test_a_checkpoint_becomes_the_network_of_its_variables(tmp_path, case):
    variables = random_variables()
    prefix = write(tmp_path / "model", variables)
    model = from_modl_checkpoint(prefix, num_iterations=2)
    assert isinstance(model, MoDL)
    assert (model.num_iterations, model.cg_steps) == (2, 10)
    assert float(model.regularisation) == pytest.approx(0.3, rel=1e-6)
    image = np.random.default_rng(1).standard_normal((2, 7, 6))
    image = image[0] + 1j * image[1]
    found = model.denoisers[0](image[None].astype("c8"))[0]
    np.testing.assert_allclose(found, denoised(variables, image), rtol=0, atol=1e-4)
    again = from_modl_checkpoint(tmp_path, num_iterations=2)
    again.save(tmp_path / "model.keras")
    inputs = case(1)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(inputs), model(inputs))


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("Wts/lam1", np.float32(-0.1), "expected a lambda > 0. Received: Wts/lam1=-0.1"),
        ("Wts/Layer2/W", np.zeros((3, 3, 4, 5), "f4"), "in layer 2. Received"),
        ("Wts/Layer2/BN/gamma", np.full(4, np.nan, "f4"), "must be finite real numbers"),
        ("Wts/Layer2/BN/beta", None, "Missing: .'Wts/Layer2/BN/beta'"),
    ],
)
def test_other_variables_are_refused(tmp_path, name, value, words):
    variables = random_variables()
    variables[name] = value
    if value is None:
        del variables[name]
    prefix = write(tmp_path / "model", variables)
    with pytest.raises(ValueError, match=f"cannot be read as a checkpoint of MoDL: .*{words}"):
        from_modl_checkpoint(prefix)


def test_a_damaged_and_a_missing_checkpoint_are_refused(tmp_path):
    prefix = write(tmp_path / "model", random_variables())
    with pytest.raises(ValueError, match="other: cannot be read as a checkpoint of MoDL"):
        from_modl_checkpoint(tmp_path / "other")
    index = tmp_path / "model-50.index"
    index.write_bytes(index.read_bytes()[:50])
    with pytest.raises(ValueError, match="model-50: cannot be read as a checkpoint of MoDL"):
        from_modl_checkpoint(prefix)
