import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn.attacks.blobs import Blobs, blob
from tfvn.attacks.objective import Objective
from tfvn.compat import variable_of
from tfvn.models.base import Reconstructor
from tfvn.models.classical import ZeroFilled
from tfvn.physics import measurement
from tfvn.physics.noise import fold_in
from tfvn.physics.sense import Sense
from tfvn.projections import norm
from tfvn.training.attacked import Adversarial, EffectPenalty, OneStep
from tfvn.training.averaging import WeightAverage, averaged
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.features import Features
from tfvn.training.first_order import AdamSteps
from tfvn.training.generator import Generator
from tfvn.training.jitter import Jitter, linear_energy
from tfvn.training.recipe import MEASURED_MASK, Recipe
from tfvn.training.recipes import Noise
from tfvn.training.trainer import Trainer

KEYS = tf.constant([[1, 2], [3, 4]])


@keras.utils.register_keras_serializable(package="recipes")
class Curved(Reconstructor):
    """a u + b |u|^2 u of the zero-filled image u: a network with two weights."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        start = keras.initializers.Constant(0.7)
        self.slope = self.add_weight(name="slope", shape=(2,), initializer=start)

    def call(self, inputs):
        image = inputs["zero_filled"]
        slope = tf.convert_to_tensor(self.slope)
        factor = slope[0] + slope[1] * tf.abs(image) ** 2
        return tf.complex(factor, tf.zeros_like(factor)) * image

    def get_config(self):
        return super().get_config()


@pytest.fixture(scope="module")
def network():
    return Curved(dtype="float64")


@pytest.fixture(scope="module")
def batch(case, network):
    """Inputs as a recipe is given them, and references, of two slices in double precision."""
    given = case(2, height=16, width=14, dtype="complex128")
    inputs = {**network.measured(given), MEASURED_MASK: tf.constant(given["mask"])}
    rng = np.random.default_rng(1)
    noise = 0.1 * rng.standard_normal((2, 16, 14))
    return inputs, 0.8 * inputs["zero_filled"] + noise


@pytest.fixture(scope="module")
def slice_(batch):
    """The first of them, as a batch of one."""
    return tf.nest.map_structure(lambda array: array[:1], batch)


@pytest.fixture(scope="module")
def change(slice_):
    """An r of the norm 1."""
    rng = np.random.default_rng(2)
    r = rng.standard_normal((1, 16, 14)) + 1j * rng.standard_normal((1, 16, 14))
    return tf.constant(r / np.linalg.norm(r))


def generator(network, **settings):
    recipe = Generator(channels=1, pools=1, **settings)
    recipe.build(network, 0)
    return recipe


def of_slice(recipe, network, slice_, wanted=()):
    return recipe.loss(network, *slice_, wanted)


def differences(loss, weight, entries, step=1e-6):
    """Central differences of a loss in some entries of a weight."""
    start, found = weight.numpy(), []
    for entry in entries:
        both = []
        for sign in (1, -1):
            moved = start.copy()
            moved[entry] += sign * step
            weight.assign(moved)
            both.append(float(loss()))
        found.append((both[0] - both[1]) / (2 * step))
    weight.assign(start)
    return found


# The loss


@pytest.mark.parametrize(
    "recipe",
    [Adversarial(clean=0.3), Adversarial(clean=0.0), EffectPenalty(weight=0.7), Features()],
    ids=["both", "attacked", "penalty", "features"],
)
def test_the_gradient_of_a_loss_matches_central_differences(network, slice_, change, recipe):
    inputs, reference = slice_
    feature = tf.cast(tf.abs(change) > 0.05, change.dtype)
    inputs = {**inputs, "perturbation": change, "feature": feature}
    weight = variable_of(network.slope)

    def loss():
        return recipe.loss(network, inputs, reference, ("weights",))

    with tf.GradientTape() as tape:
        value = loss()
    expected = differences(loss, weight, [0, 1])
    np.testing.assert_allclose(tape.gradient(value, weight), expected, rtol=1e-6)


def test_the_losses_are_their_formulas(network, slice_, change):
    inputs, reference = slice_
    moved = measurement.perturbed(network.sense, inputs, change)
    clean, attacked = (np.abs(network(given)) for given in (inputs, moved))
    truth = np.abs(reference)
    inputs = {**inputs, "perturbation": change}
    errors = [np.sum((image - truth) ** 2) / 2 for image in (clean, attacked)]
    found = Adversarial(clean=0.3).loss(network, inputs, reference, ())
    assert float(found) == pytest.approx(0.3 * errors[0] + 0.7 * errors[1])
    found = EffectPenalty(weight=0.7).loss(network, inputs, reference, ())
    effect = np.sum((attacked - clean) ** 2) / 2
    assert float(found) == pytest.approx(errors[0] + 0.7 * effect)


def test_the_generator_raises_what_the_network_lowers(network, slice_):
    recipe = generator(network, radius=0.5, weight=2.0)
    slope, bias = (variable_of(x) for x in (network.slope, recipe.generator.bias))
    assert norm(recipe.change(network, slice_[0])) <= 0.5 * (1 + 1e-12)
    with tf.GradientTape() as tape:
        value = of_slice(recipe, network, slice_, ("weights", "generator"))
    lowered, raised = tape.gradient(value, [slope, bias])

    def loss():
        return of_slice(recipe, network, slice_)

    np.testing.assert_allclose(lowered, differences(loss, slope, [0, 1]), rtol=1e-5)
    expected = differences(loss, bias, [0, 1])
    np.testing.assert_allclose(raised, np.negative(expected), rtol=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [
        Jitter(radius=0),
        Adversarial(radius=0),
        OneStep(radius=0),
        EffectPenalty(radius=0),
        Features(brightness=0),
        Generator(radius=0),
    ],
    ids=lambda recipe: type(recipe).__name__,
)
def test_of_radius_0_a_recipe_is_the_plain_one_bit_for_bit(network, batch, slice_, recipe):
    recipe.build(network, 0)
    assert recipe(network, *batch, KEYS) is batch[0]
    plain = Recipe()
    assert float(of_slice(recipe, network, slice_)) == float(of_slice(plain, network, slice_))
    assert recipe.parameter_blocks == {}
    assert (recipe.gradients_before, recipe.gradients_of_loss) == (0, 1)


# What is learned from


@pytest.mark.slow
def test_the_ascent_ends_inside_a_ball_of_its_own_and_above_random_changes(network, batch):
    recipe = Adversarial(radius=2.0, steps=4)
    attacked = tf.function(lambda *given: recipe(network, *given)["perturbation"], autograph=False)
    inputs, reference = batch
    found = attacked(inputs, reference, KEYS)
    sizes = norm(found).numpy()
    assert (sizes > 0).all() and (sizes <= 2).all() and sizes[0] != sizes[1]
    turned = tf.nest.map_structure(lambda array: array[::-1], (inputs, reference, KEYS))
    np.testing.assert_array_equal(attacked(*turned)[::-1], found)

    for change in random_changes(sizes):
        errors = [distances(network, inputs, one, reference) for one in (found, change)]
        assert (errors[0] > errors[1]).all()


def random_changes(sizes):
    """Five random changes of two slices, of these norms."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        parts = rng.standard_normal((2, 2, 16, 14))
        change = tf.constant(parts[0] + 1j * parts[1])
        yield change * tf.cast(sizes / norm(change), change.dtype)[:, None, None]


def distances(network, inputs, change, image):
    """The squared distances of the answers to a change from the magnitudes of an image."""
    moved = measurement.perturbed(network.sense, inputs, change)
    wrong = tf.abs(network(moved)) - tf.abs(image)
    return tf.reduce_sum(tf.square(wrong), [1, 2]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        OneStep(radius=2.0),
        OneStep(radius=2.0, goal="effect"),
        Adversarial(radius=2.0),
        Adversarial(radius=2.0, goal="effect"),
        EffectPenalty(radius=2.0),
    ],
    ids=lambda recipe: f"{type(recipe).__name__} {recipe.goal}",
)
def test_an_attack_in_training_raises_what_its_recipe_lowers(network, batch, recipe):
    inputs, reference = batch
    found = recipe(network, inputs, reference, KEYS)["perturbation"]
    sizes = norm(found).numpy()
    assert (sizes > 0).all() and (sizes <= 2).all()
    is_effect = recipe.goal == "effect"
    image = network(inputs) if is_effect else reference
    # Five steps of the ascent reach far more than one.
    least = 3 if is_effect and recipe.steps > 1 else 1.1
    reached = distances(network, inputs, found, image)
    for change in random_changes(sizes):
        assert (reached > least * distances(network, inputs, change, image)).all()


def test_each_slice_has_a_radius_and_a_start_of_its_own(network, slice_):
    inputs, reference = slice_
    # Steps of no length leave the start where it is.
    recipe = Adversarial(radius=2.0, steps=1, step_size=0)
    draw = tf.function(lambda key: recipe.strongest(network, inputs, reference, key))
    starts = tf.concat([draw(tf.constant([number, 7])) for number in range(100)], 0)
    sizes = np.sort(norm(starts).numpy()) / 2
    # Uniform: within 0.2 of its law for every share, which 100 draws leave once in a thousand.
    assert np.abs(sizes - (np.arange(100) + 0.5) / 100).max() < 0.2
    directions = tf.reshape(starts, [100, -1]) / tf.cast(norm(starts), starts.dtype)[:, None]
    products = np.abs(tf.linalg.matmul(directions, directions, adjoint_b=True)) - np.eye(100)
    assert products.max() < 0.5


def test_jitter_has_the_energy_of_its_rule(network, batch):
    inputs, reference = batch
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    kspace = network.sense.forward(reference, maps, mask)
    given = {"kspace": kspace, "sensitivity_maps": maps, "mask": mask}
    count = 2 * maps.shape[1] * 16 * mask.numpy().sum((1, 2, 3))
    shares = [tf.random.stateless_uniform([], fold_in(key, 0), dtype=tf.float64) for key in KEYS]
    drawn = np.square(2.0 * np.array(shares))
    # Fewer than the numbers of the image, in the subspace of the data.
    dimensions = np.minimum(count, 2 * 16 * 14)
    signal, noise = norm(kspace).numpy(), dimensions * 0.01**2
    root = np.sqrt(noise * (signal**2 - 0.01 + noise))
    linear = (0.01 * noise + 0.1 * signal * root) / (signal**2 - 0.01) * count / dimensions
    for recipe, energy in (
        (Jitter(radius=2.0), drawn),
        (Jitter(radius=0.1, rule="linear", noise=0.01), linear),
    ):
        deviation = recipe.deviation(network.sense, given, reference, KEYS)
        np.testing.assert_allclose(count * np.square(deviation), energy, rtol=1e-12)
        added = recipe(network, given, reference, KEYS)["kspace"] - kspace
        # A sum of so many squares, within three deviations.
        np.testing.assert_allclose(
            np.square(norm(added)), energy, rtol=3 * np.sqrt(2 / count.min())
        )


def test_the_linear_rule_gives_the_best_answer_to_the_worst_change():
    radius, signal, noise = 0.5, 2.0, 0.3

    def worst(share):
        still = np.sqrt((1 - share) ** 2 * signal**2 + share**2 * noise)
        return (still + share * radius) ** 2

    shares = np.linspace(0, 1, 100001)
    best = shares[np.argmin(worst(shares))]
    energy = float(linear_energy(*(tf.constant(x, tf.float64) for x in (radius, signal, noise))))
    assert signal**2 / (signal**2 + noise + energy) == pytest.approx(best, abs=1e-5)


def test_the_linear_rule_needs_data_that_are_larger_than_the_attack(case):
    inputs = case(1, height=8, width=6)
    reference = tf.ones([1, 8, 6], tf.complex64)
    recipe = Jitter(radius=1e3, rule="linear", noise=0.01)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a norm above the radius 1000: "):
        recipe.deviation(Sense(), inputs, reference, None)


def test_the_linear_rule_needs_noise_in_the_data():
    with pytest.raises(ValueError, match="noise must be above 0 with rule=linear.*noise=0.0"):
        Jitter(rule="linear")


def test_a_feature_is_connected_of_few_pixels_and_in_the_image():
    for number in range(8):
        found = blob((12, 9), tf.constant([number, 0]), 3, 9, tf.float64).numpy()
        assert found.min() == 0 and found.max() == 1
        places = {tuple(place) for place in np.argwhere(found)}
        assert 1 <= len(places) <= 9
        reached, waiting = set(), [min(places)]
        while waiting:
            row, column = waiting.pop()
            if (row, column) in places - reached:
                reached.add((row, column))
                waiting += [(row + 1, column), (row - 1, column)]
                waiting += [(row, column + 1), (row, column - 1)]
        assert reached == places


@pytest.mark.slow
def test_the_worst_of_several_features_is_taken(network, slice_):
    recipe = Features(brightness=0.5, positions=3)
    inputs, reference = slice_
    found = recipe.worst(network, inputs, reference, KEYS[0])
    assert float(norm(found, "linf")[0]) == pytest.approx(0.5)
    known = {"object": reference, "mask": inputs[MEASURED_MASK]}
    objective = Objective(
        network, inputs, tf.zeros([1], tf.int32), threat=recipe.threat, known=known
    )
    first = Features(brightness=0.5, positions=1).worst(network, inputs, reference, KEYS[0])
    assert float(objective.value(found)[0]) >= float(objective.value(first)[0]) > 0


def test_a_model_that_sees_all_misses_no_feature_and_one_that_sees_little_does(case):
    inputs, model = case(1, height=16, width=14), ZeroFilled()
    reference = model.zero_filled(inputs)
    attack = Blobs(sizes=(0.5,), steps=2)
    found = []
    for lines in (np.ones(14), np.eye(14)[7]):
        mask = lines.reshape(1, 1, 1, 14).astype("float32")
        kspace = model.sense.forward(reference, inputs["sensitivity_maps"], mask)
        given = {**inputs, "kspace": kspace, "mask": mask}
        result = attack.run(model, given, 0.5, reference=reference)
        found.append(attack.arrays(result))
    assert attack.remark(found).startswith("missed 1 of 2")
    assert found[0]["lost"] < 1e-3
    assert [attack.changes.missed(arrays["lost"], 1.0) for arrays in found] == [0, 1]


@pytest.fixture(scope="module")
def half(case):
    """A fully sampled measurement of an image that is 0 in its right half, and the image."""
    inputs = case(1, height=16, width=14)
    sense = ZeroFilled().sense
    reference = ZeroFilled().zero_filled(inputs) * tf.constant(np.arange(14) < 7, tf.complex64)
    mask = np.ones((1, 1, 1, 14), np.float32)
    kspace = sense.forward(reference, inputs["sensitivity_maps"], mask)
    return {**inputs, "kspace": kspace, "mask": mask}, reference


@pytest.mark.slow
def test_no_feature_is_asked_for_outside_of_the_object(half):
    inputs, reference = half
    model, attack = ZeroFilled(), Blobs(sizes=(0.5,), steps=5)
    for index in range(4):
        found = attack.run(model, inputs, 0.5, reference=reference, index=np.array([index]))
        assert not found.perturbation[..., 7:].numpy().any()
        assert attack.arrays(found)["lost"] < 1e-3
    # Of a change that holds more, no more enters, and no more is asked for.
    every = tf.fill(reference.shape, tf.constant(0.5, tf.complex64))
    known = attack.changes.known(model.sense, inputs, reference)
    given = attack.changes.enter(model.sense, model.measured(inputs), every, known)
    wanted = attack.changes.follow(tf.abs(reference), every, known, is_truth=False)
    np.testing.assert_allclose(model.answer(given), wanted, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_sees_all_learns_of_features_in_the_object_alone(half):
    inputs, reference = half
    model, recipe = ZeroFilled(), Features()
    given = {**model.measured(inputs), MEASURED_MASK: tf.constant(inputs["mask"])}
    for number in range(4):
        found = recipe.worst(model, given, reference, tf.constant([number, 0]))
        assert not found[..., 7:].numpy().any()
        loss = recipe.loss(model, {**given, "feature": found}, reference, ())
        assert float(loss) < 1e-6


def test_an_object_without_a_zero_takes_every_feature_as_it_is(slice_):
    inputs, reference = slice_
    threat = Features().threat
    known = {"object": reference, "mask": inputs[MEASURED_MASK]}
    drawn = threat.draw(tf.zeros_like(reference), KEYS[:1], tf.constant(0.5, tf.float64))
    np.testing.assert_array_equal(threat.entering(drawn, known), drawn)


# The average of the weights


def test_the_average_is_its_formula_and_leaves_the_weights_alone(network):
    weight = variable_of(network.slope)
    start = weight.numpy()
    average = WeightAverage(network, 0.2)
    expected = start
    for step, kept in enumerate((0.1, 2 / 11, 0.2)):
        weight.assign(start + step)
        average.update(step)
        expected = kept * expected + (1 - kept) * (start + step)
    with averaged(average):
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-15)
    np.testing.assert_array_equal(weight.numpy(), start + 2)
    average.take()
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-15)
    weight.assign(start)


@pytest.mark.parametrize("decay, first", [(0.9, 80), (0.97, 290), (0.99, 890)])
def test_a_decay_counts_from_its_step_on(network, decay, first):
    weight = variable_of(network.slope)
    start = weight.numpy()
    assert (10 * decay - 1) / (1 - decay) == pytest.approx(first)
    # Each begins at 0 and takes a weight of 1: what is missing is what the step keeps.
    kept = []
    for number in (first - 1, first, first + 100):
        weight.assign(np.zeros(2))
        average = WeightAverage(network, decay)
        weight.assign(np.ones(2))
        average.update(number)
        kept.append(1 - average.averages[0].numpy()[0])
    weight.assign(start)
    assert kept[0] == pytest.approx(first / (first + 9)) and kept[0] < decay
    np.testing.assert_allclose(kept[1:], decay, rtol=1e-12)


def trainer(averaging, radius=0.5):
    recipe = Generator(radius=radius, channels=1, pools=1)
    return Trainer(Curved(), AdamSteps(learning_rate=0.01), recipe, averaging=averaging)


def fit(model, data, steps):
    model.fit(data, steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0)


def all_weights(model):
    found = [*model.network.get_weights(), *model.weights_of_recipe, *model.average.averages]
    return [np.array(weight) for weight in found]


def continued(made, data, folder):
    """A trainer after two steps, and another that went on from a checkpoint between them.

    Args:
        made: a function that makes a trainer.
        data: what it is trained on.
        folder: where the checkpoint is kept.

    Returns:
        The weights before the first step and after it, and both trainers.
    """
    model = made()
    before = all_weights(model)
    fit(model, data, 1)
    between = all_weights(model)
    Checkpoints(model.checkpoint(), folder).save(1)
    fit(model, data, 1)
    again = made()
    Checkpoints(again.checkpoint(), folder).restore()
    fit(again, data, 1)
    return before, between, model, again


@pytest.fixture(scope="module")
def data(case):
    inputs = case(2, height=16, width=14)
    reference = 0.8 * Curved().zero_filled(inputs)
    return tf.data.Dataset.from_tensors((inputs, reference)).repeat()


@pytest.mark.slow
def test_a_training_with_an_adversary_and_an_average_continues_after_a_checkpoint(data, tmp_path):
    before, between, model, again = continued(lambda: trainer(0.9), data, tmp_path)
    assert np.mean([(a != b).any() for a, b in zip(before, between)]) > 0.9
    for a, b in zip(all_weights(model), all_weights(again)):
        np.testing.assert_array_equal(a, b)
    own = again.network.get_weights()[0]
    inputs, reference = next(iter(data))
    again.reset_metrics()
    loss = float(again.test_step((inputs, reference))["loss"])
    np.testing.assert_array_equal(again.network.get_weights()[0], own)
    trained = again.trained_network()
    assert (trained.get_weights()[0] != own).any()
    # A validation is of the average, and of the measurements as they are.
    errors = np.abs(trained(inputs)) - np.abs(reference)
    assert loss == pytest.approx(np.sum(errors**2) / 4, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        lambda: Noise(0.05),
        lambda: Jitter(radius=0.5),
        lambda: Jitter(radius=0.1, rule="linear", noise=0.01),
        lambda: Adversarial(radius=0.5),
        lambda: Adversarial(radius=0.5, goal="effect"),
        lambda: OneStep(radius=0.5),
        lambda: EffectPenalty(radius=0.5),
        lambda: Features(positions=2),
    ],
    ids=["noise", "jitter", "linear", "error", "effect", "one step", "penalty", "features"],
)
def test_a_training_of_each_recipe_continues_after_a_checkpoint(data, tmp_path, recipe):
    def made():
        return Trainer(Curved(), AdamSteps(learning_rate=0.01), recipe(), averaging=0.9)

    _, between, model, again = continued(made, data, tmp_path)
    for a, b in zip(all_weights(model), all_weights(again)):
        np.testing.assert_array_equal(a, b)
    assert (between[0] != model.network.get_weights()[0]).all()


def test_gradients_are_counted(network):
    counts = []
    for recipe in (None, Adversarial(), Adversarial(clean=0.0), OneStep(), EffectPenalty()):
        counts.append(Trainer(network, AdamSteps(), recipe).gradients_of_slice)
    assert counts == [1, 7, 6, 3, 7]
    assert Trainer(network, "adam", generator(network)).gradients_of_slice == 2
    # One block of weights.
    assert Trainer(network, "ipalm").gradients_of_slice == 1


@pytest.mark.parametrize(
    "recipe, name, value",
    [
        (Adversarial, "radius", -1),
        (Adversarial, "steps", 0),
        (Adversarial, "clean", 1),
        (EffectPenalty, "weight", -1),
        (OneStep, "goal", "insert"),
        (Features, "largest", 2),
        (Generator, "channels", 0),
        (Jitter, "rule", "none"),
    ],
)
def test_settings_outside_their_limits_are_refused(recipe, name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value!r}"):
        recipe(**{name: value})
