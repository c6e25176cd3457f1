import sys
from importlib.util import find_spec

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn.compat import variable_of
from tfvn.models.base import Reconstructor, magnitude
from tfvn.models.classical import ZeroFilled
from tfvn.models.dagan import DAGAN
from tfvn.models.e2e_varnet import E2EVarNet
from tfvn.models.unet import UNet
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.noise import VALIDATION
from tfvn.projections import non_negative
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.ipalm import IPALM
from tfvn.training.ipalm_steps import IPALMSteps
from tfvn.training.optimizers import OPTIMIZERS
from tfvn.training.recipes import Clean, Noise
from tfvn.training.trainer import Trainer

ADDONS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not find_spec("tensorflow_addons"), reason="needs tensorflow-addons"
        ),
    )
    for name in ("radam-lookahead", "conditional-gradient")
]
SETTINGS = dict(num_stages=2, filters=3, kernel_size=3, num_centers=7, initial_data_weight=0.5)


def trainer(optimizer="ipalm", sigma=0.0, seed=0, num_stages=2, law="gaussian", **settings):
    """A trainer of a small network; `settings` are those of the optimizer."""
    network = VariationalNetwork(**{**SETTINGS, "num_stages": num_stages})
    if settings:
        optimizer = OPTIMIZERS[optimizer](**settings)
    recipe = Noise(sigma, law) if sigma else Clean()
    return Trainer(network, optimizer, recipe, seed=seed)


@pytest.fixture(scope="module")
def data(case):
    """A repeated batch of two undersampled slices and their fully sampled references."""
    return _data(case, 2)


def _data(case, batch):
    full = case(batch, height=24, width=20)
    maps, lines = full["sensitivity_maps"], full["mask"] * np.ones((1, 1, 1, 20), np.float32)
    rng = np.random.default_rng(4)
    # Smooth references, so that there is something to learn.
    image = np.cumsum(
        np.cumsum(
            rng.standard_normal((batch, 24, 20)) + 1j * rng.standard_normal((batch, 24, 20)), 1
        ),
        2,
    )
    image /= np.abs(image).max((1, 2), keepdims=True)
    model = VariationalNetwork(**SETTINGS)
    maps, reference = tf.constant(maps), tf.constant(image, tf.complex64)
    kspace = model.sense.forward(reference, maps, lines)
    inputs = {
        "kspace": kspace,
        "sensitivity_maps": maps,
        "mask": lines,
        "sample_index": tf.range(batch),
    }
    return tf.data.Dataset.from_tensors((inputs, reference)).repeat()


def fit(model, data, steps, callbacks=()):
    """The loss of each step."""
    return model.fit(
        data, steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0, callbacks=list(callbacks)
    ).history["loss"]


def weights(model):
    return model.network.get_weights()


def same(a, b):
    return all((x == y).all() for x, y in zip(a, b))


class Feasible(keras.callbacks.Callback):
    """Asserts every constraint after each step."""

    def on_train_batch_end(self, batch, logs=None):
        for stage in self.model.network.stages:
            kernel = stage.kernel.numpy().astype(float)
            np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
            assert (np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0) <= 1 + 1e-6).all()
            assert stage.data_weight.numpy() >= 0


def step_size(optimizer, learning_rate, initial_lipschitz):
    """The setting that decides how far an optimizer steps."""
    if optimizer == "ipalm":
        return {"initial_lipschitz": initial_lipschitz}
    return {"learning_rate": learning_rate}


@pytest.mark.slow_cases
@pytest.mark.parametrize("optimizer", ["ipalm", "adam", *ADDONS])
def test_the_loss_falls_and_every_constraint_holds_after_each_step(data, optimizer):
    # Steps large enough to leave the sets if nothing projected them back.
    model = trainer(optimizer, **step_size(optimizer, 0.01, 10.0))
    losses = fit(model, data, 8, [Feasible()])
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_the_loss_falls_with_any_keras_optimizer(data):
    model = trainer(keras.optimizers.SGD(0.01))
    losses = fit(model, data, 8, [Feasible()])
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("optimizer", ["ipalm", "adam", ADDONS[0]])
def test_a_data_weight_that_wants_to_be_negative_ends_at_zero(data, optimizer):
    model = trainer(optimizer, **step_size(optimizer, 10.0, 1e-3))
    model.network.stages[0].data_weight.assign(1e-3)
    fit(model, data, 3, [Feasible()])


@pytest.mark.slow
@pytest.mark.one_stack
def test_without_noise_ipalm_does_not_end_above_its_start(data):
    model, (inputs, reference) = trainer(), next(iter(data))
    before = float(model.batch_loss(inputs, reference))
    fit(model, data, 20)
    assert float(model.batch_loss(inputs, reference)) < before


def test_the_loss_is_half_the_mean_squared_error_norm_of_magnitudes(data):
    model, (inputs, reference) = trainer(), next(iter(data))
    image = np.abs(model.network(inputs))
    expected = ((image - np.abs(reference)) ** 2).sum() / (2 * 2)
    assert float(model.batch_loss(inputs, reference)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_reported_loss_is_that_before_the_step(data):
    model, (inputs, reference) = trainer("adam"), next(iter(data))
    expected = float(model.batch_loss(inputs, reference))
    assert fit(model, data, 1) == pytest.approx([expected], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ADDONS[1:])
def test_a_filter_goes_a_share_of_the_way_to_its_vertex(data, optimizer):
    model, (inputs, reference) = trainer(optimizer, learning_rate=0.25), next(iter(data))
    before = [stage.kernel.numpy() for stage in model.network.stages]
    gradients = model.loss_and_gradients(inputs, reference)[1]
    fit(model, data, 1)
    for stage, old, gradient in zip(model.network.stages, before, gradients):
        vertex = -(gradient.numpy() - gradient.numpy().mean((0, 1, 2)))
        vertex /= np.sqrt((vertex**2).sum((0, 1, 2)))
        np.testing.assert_allclose(stage.kernel, 0.75 * old + 0.25 * vertex, rtol=0, atol=1e-5)


# Noise


def noise(model, data, first_seed=0):
    """The noise that the model adds to A^H k of both slices."""
    inputs, reference = next(iter(data))
    keys = tf.constant([[first_seed, 0], [first_seed + 1, 0]])
    noisy = model.training_inputs(inputs, reference, keys)["zero_filled"]
    return (noisy - model.network.zero_filled(inputs)).numpy()


def still(sigma=0.1):
    """A trainer whose network stands still, so that only the noise can change the loss."""
    return trainer(keras.optimizers.SGD(0.0), sigma=sigma, num_stages=1)


def only(data, *positions):
    return data.map(lambda *both: tf.nest.map_structure(lambda x: tf.gather(x, positions), both))


@pytest.mark.slow
@pytest.mark.one_stack
def test_noise_is_the_adjoint_of_kspace_noise_of_the_given_deviation(data):
    # E ||A^H e||^2 = 2 sigma^2 trace(A^H A), and the trace is that of the mask for maps of unit
    # root-sum-of-squares.
    model, sigma = trainer(sigma=0.1), 0.1
    mask = next(iter(data))[0]["mask"].numpy()
    energy = np.mean(
        [(np.abs(noise(model, data, 2 * step)) ** 2).sum((1, 2)) for step in range(50)], 0
    )
    np.testing.assert_allclose(energy, 2 * sigma**2 * 24 * mask.sum((1, 2, 3)), rtol=0.1)


@pytest.mark.slow
def test_without_noise_kspace_reaches_the_network_as_it_is(data):
    assert not noise(trainer(), data).any()


@pytest.mark.slow
@pytest.mark.one_stack
def test_each_step_of_a_fit_sees_fresh_noise(data):
    assert len(set(fit(still(), data, 3))) == 3


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_slices_of_a_batch_have_their_own_noise(data):
    # The mean over two equal slices is not the loss of one.
    assert fit(still(), only(data, 0, 0), 1)[0] != pytest.approx(
        fit(still(), only(data, 0), 1)[0], rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.one_stack
def test_noise_depends_on_the_position_in_the_batch_but_not_on_its_size(data):
    # A second slice of zeros adds nothing to the sum of squares and halves the mean.
    def blank_second(*both):
        return tf.nest.map_structure(lambda x: tf.concat([x[:1], tf.zeros_like(x[1:])], 0), both)

    assert fit(still(), data.map(blank_second), 1)[0] == pytest.approx(
        fit(still(), only(data, 0), 1)[0] / 2, rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_seed_alone_decides_a_training_run(data):
    runs = []
    for seed in (1, 1, 2):
        model = trainer("adam", sigma=0.1, seed=seed, num_stages=1)
        fit(model, data, 3)
        runs.append(weights(model))
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("law", ["uniform", "laplace"])
def test_the_law_of_the_noise_can_be_chosen(data, law):
    chosen, normal = trainer(sigma=0.1, law=law), trainer(sigma=0.1)
    assert not np.allclose(noise(chosen, data), noise(normal, data), atol=1e-3)


def test_another_law_is_refused():
    with pytest.raises(ValueError, match="law must be one of .*Received: law='salt'"):
        Noise(0.1, "salt")


# Stage by stage


@pytest.mark.slow
@pytest.mark.one_stack
def test_stagewise_ipalm_updates_one_stage_at_a_time(data):
    model = trainer(stagewise=True, initial_lipschitz=10.0)
    inputs, reference = next(iter(data))
    names = [
        f"{name}_{stage}" for stage in (1, 2) for name in ("kernel", "rbf_weights", "data_weight")
    ]

    def snapshot():
        return [[x.numpy() for x in block] for block in model.ipalm._blocks()]

    before = snapshot()
    logs = model.train_step((inputs, reference))
    assert [len(block) for block in before] == [1] * 6
    assert list(logs) == [
        "loss",
        "step_loss",
        *(f"{kind}_{name}" for name in names for kind in ("lipschitz", "trials")),
    ]
    assert all((a != b).any() for old, new in zip(before, snapshot()) for a, b in zip(old, new))


@pytest.mark.slow
@pytest.mark.one_stack
def test_of_a_network_with_one_stage_both_variants_are_the_same(data):
    models = [
        trainer(num_stages=1, initial_lipschitz=10.0, stagewise=stagewise)
        for stagewise in (False, True)
    ]
    losses = [fit(model, data, 4) for model in models]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_stagewise_step_is_that_of_ipalm_on_the_stages_blocks(data):
    # Against the algorithm on the same blocks with gradients from the outside.
    model, other = (
        trainer(initial_lipschitz=10.0, stagewise=stagewise) for stagewise in (True, False)
    )
    inputs, reference = next(iter(data))
    blocks = [
        [getattr(stage, name)]
        for stage in other.network.stages
        for name in ("kernel", "rbf_weights", "data_weight")
    ]
    plain = IPALM(
        blocks, [block[0].constraint or tf.identity for block in blocks], initial_lipschitz=10.0
    )

    def energy():
        return other.batch_loss(inputs, reference)

    def energy_and_gradients(index):
        with tf.GradientTape() as tape:
            error = magnitude(other.network(inputs)) - magnitude(reference)
            loss = tf.reduce_sum(tf.square(error)) / 4
        return loss, tape.gradient(loss, blocks[index])

    for _ in range(2):
        model.train_step((inputs, reference))
        plain.step(energy, energy_and_gradients)
    for a, b in zip(weights(model), weights(other)):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


# Validation


def test_evaluation_reports_loss_nrmse_and_ssim_and_changes_nothing(data):
    model = trainer(sigma=0.1)
    before = [x.numpy() for x in model.network.weights + model.ipalm.weights]
    first = model.evaluate(data, steps=2, verbose=0, return_dict=True)
    assert set(first) == {"loss", "nrmse", "ssim"}
    assert same(before, [x.numpy() for x in model.network.weights + model.ipalm.weights])
    assert model.evaluate(data, steps=2, verbose=0, return_dict=True) == first


@pytest.mark.one_stack
def test_validation_noise_is_that_of_the_slice_wherever_it_stands(data):
    model = trainer(sigma=0.1)
    losses = [
        model.evaluate(only(data, *order), steps=1, verbose=0, return_dict=True)["loss"]
        for order in ((0, 1), (1, 0))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.one_stack
def test_training_and_validation_noise_never_meet(data):
    model = still()
    validation = model.evaluate(data, steps=1, verbose=0, return_dict=True)["loss"]
    assert fit(model, data, 1)[0] != pytest.approx(validation, rel=1e-4)


def test_a_validation_needs_the_names_of_slices_for_random_numbers_alone(data):
    inputs, reference = next(iter(data))
    del inputs["sample_index"]
    assert "kspace" not in trainer().validation_inputs(inputs, reference)
    with pytest.raises(ValueError, match="inputs must hold sample_index.*Batches of tfvn.data"):
        trainer(sigma=0.1).validation_inputs(inputs, reference)


def test_the_validation_loss_is_that_of_training(data):
    model, (inputs, reference) = trainer(), next(iter(data))
    reported = model.evaluate(data, steps=1, verbose=0, return_dict=True)["loss"]
    assert reported == pytest.approx(float(model.batch_loss(inputs, reference)), rel=1e-4)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "cls, settings, has_phase",
    [
        (UNet, (2, 1), True),
        (UNet, (2, 1, "magnitude"), False),
        (DAGAN, (2, 2), False),
        (E2EVarNet, (1, 2, 1), True),
        (E2EVarNet, (1, 2, 1, 2, 1), False),
    ],
)
def test_the_nrmse_is_of_complex_images_where_there_is_a_phase(data, cls, settings, has_phase):
    network = cls(*settings)
    inputs, reference = next(iter(data))
    image, reference = network(inputs).numpy(), reference.numpy()
    assert np.isreal(image).all() != has_phase
    if not has_phase:
        image, reference = np.abs(image), np.abs(reference)
    axes = (1, 2)
    errors = np.linalg.norm(image - reference, axis=axes) / np.linalg.norm(reference, axis=axes)
    model = Trainer(network, "adam")
    found = model.evaluate(data, steps=1, verbose=0, return_dict=True)["nrmse"]
    assert found == pytest.approx(errors.mean(), rel=1e-4)


# Mixed precision


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_changes_neither_reconstruction_nor_training(data, policy):
    inputs = next(iter(data))[0]
    # Weights that half precision would round.
    inputs = {**inputs, "mask": inputs["mask"] * 0.3}

    def results():
        network = VariationalNetwork(**SETTINGS)
        image = network.reconstruct(inputs).numpy()
        fit(Trainer(network, keras.optimizers.SGD(0.01)), data, 2)
        return [image, *network.get_weights()]

    expected, before = results(), keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        found = results()
    finally:
        keras.mixed_precision.set_global_policy(before)
    # Nothing is computed in half precision, so this is far within the 1e-3 that would do.
    for a, b in zip(expected, found):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


# Any model


class LineWeights(Reconstructor):
    """A^H of the k-space, every line of which has a learned weight; and a learned brightness."""

    reads = "kspace"

    def __init__(self, width=20, constraint=None, **kwargs):
        super().__init__(**kwargs)
        self.lines = self.add_weight(
            name="lines", shape=(width,), initializer="ones", constraint=constraint
        )
        self.brightness = self.add_weight(name="brightness", shape=(), initializer="ones")
        self.unused = self.add_weight(name="unused", shape=(2,), initializer="ones")
        self.built = True

    def call(self, inputs):
        lines = tf.cast(tf.convert_to_tensor(self.lines), inputs["kspace"].dtype)
        brightness = tf.cast(tf.convert_to_tensor(self.brightness), lines.dtype)
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        return brightness * self.sense.adjoint(inputs["kspace"] * lines, maps, mask)


@pytest.mark.slow_cases
@pytest.mark.parametrize("optimizer", ["adam", "ipalm"])
@pytest.mark.parametrize("recipe", [Clean(), Noise(0.01)], ids=["clean", "noise"])
def test_a_model_that_reads_kspace_is_trained(data, optimizer, recipe):
    settings = step_size(optimizer, 0.05, 10.0)
    model = Trainer(LineWeights(), OPTIMIZERS[optimizer](**settings), recipe)
    losses = fit(model, data, 8)
    assert losses[-1] < 0.8 * losses[0]
    assert set(model.evaluate(data, steps=1, verbose=0, return_dict=True)) >= {"loss", "nrmse"}


def test_its_gradients_are_those_of_the_whole_batch(data):
    network, (inputs, reference) = LineWeights(), next(iter(data))
    weights = [network.lines, network.brightness, network.unused]
    with tf.GradientTape() as tape:
        error = magnitude(network(inputs)) - magnitude(reference)
        expected = tf.reduce_sum(tf.square(error)) / 4
    gradients = tape.gradient(expected, [variable_of(weight) for weight in weights])
    loss, found = Trainer(network, "adam").loss_and_gradients(inputs, reference)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for a, b in zip(found[:2], gradients):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert gradients[2] is None and not found[2].numpy().any()


def test_a_recipe_is_given_what_the_network_reads_and_keys_of_the_slices(data):
    given = []

    def recipe(network, inputs, reference, keys):
        given.append((network, inputs, reference, keys))
        return {**inputs, "kspace": 0 * inputs["kspace"]}

    network = LineWeights()
    model = Trainer(network, "adam", recipe, seed=4)
    inputs, reference = next(iter(data))
    inputs["sample_index"] = tf.constant([7, 2])
    found = model.validation_inputs(inputs, reference)
    assert not found["kspace"].numpy().any()
    ((network_given, measured, truth, keys),) = given
    assert network_given is network and truth is reference
    assert set(measured) == {"kspace", "sensitivity_maps", "mask", "measured_mask"}
    assert keys.numpy().tolist() == [[7, VALIDATION], [2, VALIDATION]]
    # The answer is 0 then, whatever the weights are.
    energy = np.square(np.abs(reference)).sum() / 4
    assert fit(model, data, 1)[0] == pytest.approx(energy, rel=1e-4)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match="ZeroFilled has no weights to train"):
        Trainer(ZeroFilled(), "adam")


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="network must be a tfvn.models.Reconstructor"):
        Trainer(keras.Sequential(), "adam")


@pytest.mark.parametrize(
    "make", [lambda: keras.layers.Dropout(0.1), keras.layers.BatchNormalization]
)
def test_layers_that_differ_in_training_are_refused_wherever_they_are(make):
    class Inner(keras.layers.Layer):
        def __init__(self, layer):
            super().__init__()
            self.steps = [{"normal": keras.Sequential([layer])}]

    layer = make()
    network = LineWeights()
    network.inner = Inner(layer)
    with pytest.raises(ValueError, match=f"LineWeights must.*a {type(layer).__name__} named"):
        Trainer(network, "adam")


def test_a_model_whose_answer_does_not_depend_on_its_weights_is_refused(data):
    class Fixed(LineWeights):
        def call(self, inputs):
            maps, mask = inputs["sensitivity_maps"], inputs["mask"]
            return self.sense.adjoint(inputs["kspace"], maps, mask)

    with pytest.raises(ValueError, match="Fixed.call has no gradient in the weights"):
        Trainer(Fixed(), "adam").loss_and_gradients(*next(iter(data)))


def test_ipalm_needs_blocks_with_one_projection():
    with pytest.raises(ValueError, match="one constraint in common.*LineWeights, whose block"):
        Trainer(LineWeights(constraint=non_negative), "ipalm")


def test_ipalm_goes_stage_by_stage_where_there_are_stages():
    class Blocks(LineWeights):
        @property
        def parameter_blocks(self):
            return {"lines": [self.lines], "others": [self.brightness, self.unused]}

    with pytest.raises(ValueError, match="Received: Blocks with {'lines': 1, 'others': 2}"):
        Trainer(Blocks(), IPALMSteps(stagewise=True))
    assert len(Trainer(Blocks(), "ipalm").ipalm.lipschitz) == 2


@pytest.mark.parametrize("optimizer", ADDONS[1:])
def test_frank_wolfe_needs_filters(optimizer):
    with pytest.raises(ValueError, match="needs a network with filters.*LineWeights"):
        Trainer(LineWeights(), optimizer)


# Saving


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["ipalm", "adam"])
def test_saved_weights_and_checkpoints_continue_an_interrupted_training_identically(
    data, optimizer, tmp_path
):
    def make():
        settings = step_size(optimizer, 1e-3, 10.0)
        return trainer(optimizer, sigma=0.05, num_stages=1, **settings)

    first, second = make(), make()
    fit(first, data, 2)
    first.save_weights(str(tmp_path / "x.weights.h5"))
    checkpoint, saved_weights = first.checkpoint().save(str(tmp_path / "x")), weights(first)
    fit(first, data, 2)
    second.load_weights(str(tmp_path / "x.weights.h5"))
    assert int(second.steps_done) == 2 and same(weights(second), saved_weights)
    fit(second, data, 2)
    assert same(weights(second), weights(first))
    # Once more, from the checkpoint, whatever was trained before.
    second.checkpoint().restore(checkpoint).assert_existing_objects_matched()
    assert int(second.steps_done) == 2 and same(weights(second), saved_weights)
    fit(second, data, 2)
    assert same(weights(second), weights(first))


@pytest.mark.slow_cases
@pytest.mark.parametrize("optimizer", ADDONS)
def test_a_checkpoint_continues_an_interrupted_training_identically(data, optimizer, tmp_path):
    def make():
        rate = keras.optimizers.schedules.CosineDecay(0.01, 8)
        return trainer(optimizer, sigma=0.05, num_stages=1, learning_rate=rate)

    # Lookahead goes back towards its weights of the start at step 6.
    first, second = make(), make()
    fit(first, data, 5)
    saved(first, tmp_path).save(5)
    last = saved(second, tmp_path)
    assert last.restore() == str(tmp_path / "ckpt-5")
    for model in (first, second):
        fit(model, data, 2)
    assert same(weights(second), weights(first))


def saved(model, folder):
    return Checkpoints(model.checkpoint(), folder)


@pytest.mark.parametrize("changes", [dict(num_stages=2), dict(filters=4), dict(optimizer="adam")])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, changes):
    network = VariationalNetwork(**{**SETTINGS, "num_stages": 1})
    saved(Trainer(network), tmp_path).save(1)
    settings = {**SETTINGS, "num_stages": 1, "optimizer": "ipalm", **changes}
    optimizer = settings.pop("optimizer")
    other = Trainer(VariationalNetwork(**settings), optimizer)
    with pytest.raises(ValueError, match="ckpt-1: a checkpoint of another network or optimizer"):
        saved(other, tmp_path).restore()


@pytest.mark.slow
def test_the_network_is_trained_in_place(data):
    network = VariationalNetwork(**SETTINGS)
    before = network.get_weights()
    inputs = next(iter(data))[0]
    image = network.reconstruct(inputs).numpy()
    fit(Trainer(network, "adam"), data, 1)
    assert not same(before, network.get_weights())
    assert (network.reconstruct(inputs).numpy() != image).any()


# Errors by their words


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer must be one of .*Received: optimizer='sgd'"):
        trainer("sgd")


@pytest.mark.parametrize("optimizer", ["radam-lookahead", "conditional-gradient"])
def test_without_tensorflow_addons_its_optimizers_name_another(optimizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    message = (
        f"^the optimizer {optimizer} needs tensorflow-addons, which exists only .* "
        "Use the optimizer adam.$"
    )
    with pytest.raises(ValueError, match=message):
        trainer(optimizer)


@pytest.mark.parametrize("optimizer", ADDONS[1:])
def test_a_share_above_one_is_refused(optimizer):
    with pytest.raises(ValueError, match="at most 1. Received: learning_rate=1.5"):
        trainer(optimizer, learning_rate=1.5)
    with pytest.raises(ValueError, match="at most 1. Received: learning_rate=2"):
        trainer(optimizer, learning_rate=keras.optimizers.schedules.CosineDecay(2.0, 8))


@pytest.mark.slow
def test_cosine_is_the_schedule_of_keras_over_all_iterations(data):
    def losses(**settings):
        return fit(trainer("adam", num_stages=1, **settings), data, 4)

    rate = keras.optimizers.schedules.CosineDecay(0.01, 4)
    cosine = losses(learning_rate=0.01, schedule="cosine", iterations=4)
    assert cosine == losses(learning_rate=rate)
    assert cosine != losses(learning_rate=0.01)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(schedule="cosine"), "iterations must be given for schedule=cosine"),
        (dict(schedule="linear", iterations=4), "schedule must be one of"),
        (dict(learning_rate=0), "learning_rate must be a number > 0"),
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "radam-lookahead", "conditional-gradient"])
def test_another_learning_rate_is_refused(optimizer, settings, words):
    with pytest.raises(ValueError, match=words):
        OPTIMIZERS[optimizer](**settings)


def test_noise_of_no_deviation_is_none(data):
    inputs, reference = next(iter(data))
    assert Noise(0.0)(VariationalNetwork(**SETTINGS), inputs, reference, None) is inputs


@pytest.mark.parametrize("sigma", [-0.1, float("nan")])
def test_a_negative_sigma_is_refused(sigma):
    with pytest.raises(ValueError, match=f"Received: sigma={sigma}"):
        Noise(sigma)


def test_a_momentum_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="Received: momentum=1.0"):
        trainer(momentum=1.0)
