"""Attacks made of a threat, a goal and a search, by their promises and against closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvn import attacks
from tfvn.attacks import (
    AutoProjectedGradient,
    PenalisedGradientAscent,
    PowerIteration,
    ProjectedGradientAscent,
    Suite,
    Universal,
    schedule,
)
from tfvn.attacks import apgd as apgd_module
from tfvn.attacks.goals import GOALS, goal_of, target_with, target_without
from tfvn.attacks.objective import Objective
from tfvn.attacks.problem import MOVES, Problem
from tfvn.attacks.region import window
from tfvn.attacks.suite import SUITES, Member
from tfvn.attacks.threats import THREATS, threat_of
from tfvn.defences.smoothing import Smoothed
from tfvn.models.base import Reconstructor
from tfvn.models.classical import CGSense, ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.physics.sense import Sense
from tfvn.projections import norm

INDEX = np.array([4, 7, 2], np.int32)
DISC = (11, 9, 4)


class Linear(Reconstructor):
    """A linear map, f(k) = Re A^H k."""

    def answer(self, inputs, key=None):
        return tf.math.real(inputs["zero_filled"])


class ComplexCGSense(CGSense):
    """CG-SENSE that answers with real and imaginary part side by side, and not with a magnitude:
    a linear map.
    """

    def answer(self, inputs, key=None):
        image = self.call_for(inputs, ())
        return tf.concat([tf.math.real(image), tf.math.imag(image)], -1)


class KspaceReader(Reconstructor):
    """A smooth nonlinear function of `kspace`."""

    reads = "kspace"

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return image + tf.cast(tf.square(tf.abs(image)), image.dtype)


def vivid(dtype="float32"):
    """A network with large random activations, far from linear."""
    network = VariationalNetwork(2, 4, 3, initial_data_weight=0.7, dtype=dtype)
    rng = np.random.default_rng(3)
    for stage in network.stages:
        stage.rbf_weights.assign(rng.standard_normal(stage.rbf_weights.shape))
    return network


@pytest.fixture(scope="module")
def network():
    return vivid()


@pytest.fixture(scope="module")
def batch(case):
    return case(batch=3)


@pytest.fixture(scope="module")
def truth(batch):
    """Images that are not the network's answers."""
    rng = np.random.default_rng(5)
    return rng.random((3, 24, 20)).astype(np.float32)


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


def run(attack, model, inputs, radius=1.0, **given):
    """The result of an attack on a batch whose images have the names `INDEX`."""
    return attack.run(model, inputs, radius, index=INDEX[: len(inputs["mask"])], **given)


def effects(result):
    return np.sqrt(2 * result.objective.numpy())


# What a change is, and what is wanted of it


@pytest.mark.slow_cases
@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("region, reader", [(DISC, False), ((), True)])
def test_the_gradient_of_every_threat_and_goal_matches_central_differences(
    case, threat, goal, region, reader
):
    inputs = case(dtype="complex128", height=24, width=20)
    model = KspaceReader(dtype="float64") if reader else vivid("float64")
    changes = threat_of(threat, () if threat in ("kspace", "maps") else region)
    given = model.measured(inputs)
    like = changes.zero(model.sense, given)
    objective = Objective(
        model,
        given,
        tf.zeros([1], tf.int32),
        threat=changes,
        goal=goal_of(goal, region),
        reference=tf.constant(np.random.default_rng(5).random((1, 24, 20))),
        support=changes.support(inputs, like),
        known=changes.known(model.sense, inputs),
    )
    rng = np.random.default_rng(7)
    point, direction = (
        tf.constant(0.1 * rng.standard_normal((*like.shape, 2)).view(complex)[..., 0])
        for _ in range(2)
    )
    if threat == "maps":
        # As a share of all maps, which is large.
        point /= 30
    _, gradient = objective.value_and_gradient(point)
    along = tf.reduce_sum(tf.math.real(tf.math.conj(gradient) * direction))
    step = 1e-6
    ahead, behind = (objective.value(point + sign * step * direction) for sign in (1, -1))
    np.testing.assert_allclose(along, (ahead[0] - behind[0]) / (2 * step), rtol=1e-6)


def test_a_change_of_kspace_enters_what_a_model_reads(case):
    inputs = case()
    sense, changes = Sense(), THREATS["kspace"]
    change = np.random.default_rng(0).standard_normal((*inputs["kspace"].shape, 2))
    change = change.astype(np.float32).view(np.complex64)[..., 0]
    sampled = change * inputs["mask"]
    in_kspace = changes.enter(sense, inputs, change, {})
    np.testing.assert_allclose(in_kspace["kspace"], inputs["kspace"] + sampled, atol=1e-6)
    zero_filled = {
        "zero_filled": sense.adjoint(*(inputs[key] for key in inputs)),
        "sensitivity_maps": inputs["sensitivity_maps"],
        "mask": inputs["mask"],
    }
    seen = changes.enter(sense, zero_filled, change, {})["zero_filled"]
    expected = sense.adjoint(inputs["kspace"] + sampled, inputs["sensitivity_maps"], inputs["mask"])
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_erasing_fills_a_region_from_around_it():
    image = np.ones((1, 20, 16), np.float32)
    image[0, 8:12, 6:10] = 5
    box = (8, 11, 6, 9)
    np.testing.assert_allclose(target_without(tf.constant(image), box), 1, rtol=1e-6)
    rows = np.broadcast_to(np.arange(20.0, dtype=np.float32)[:, None], (1, 20, 16))
    filled = target_without(tf.constant(rows), (10, 8, 3)).numpy()
    # By symmetry the middle of a slope stays; all else lies between the values around.
    assert filled[0, 10, 8] == pytest.approx(10, abs=1e-4)
    assert (filled >= 6).all(where=window((10, 8, 3), 20, 16).numpy())
    np.testing.assert_array_equal(filled[0, :6], rows[0, :6])


def test_a_region_without_surroundings_cannot_be_erased():
    with pytest.raises(ValueError, match="must leave some of the image around it"):
        target_without(tf.ones([1, 6, 5]), (0, 5, 0, 4))


def test_inserting_brightens_a_region_alone():
    image = np.random.default_rng(0).random((2, 21, 17)).astype(np.float32)
    changed = target_with(tf.constant(image), (10, 8, 3)).numpy() - image
    inside = window((10, 8, 3), 21, 17).numpy()
    assert (changed[:, ~inside] == 0).all()
    np.testing.assert_allclose(changed[:, 10, 8], 0.3 * image.max((1, 2)), rtol=1e-5)
    assert (changed.max((1, 2)) == changed[:, 10, 8]).all()


def test_without_a_region_a_lesion_is_in_the_middle():
    image = tf.ones([1, 24, 36])
    changed = np.argwhere(target_with(image, ()).numpy()[0] > 1)
    assert np.abs(changed - [12, 18]).max() <= 2


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"threat": "l3"}, "threat must be one of .'l2', 'l1', 'linf', 'kspace'"),
        ({"goal": "harm"}, "goal must be one of .'effect', 'error', 'erase', 'insert'"),
        ({"threat_region": [1, 2]}, "threat_region must be a disc .row, column, radius. or a box"),
        ({"goal_region": [5, 3, 1, 2]}, "goal_region must be a disc"),
        ({"goal_region": 5}, "goal_region must be a list of numbers"),
        ({"goal_region": [5, 5, -1]}, "goal_region must be a whole number >= 0"),
        ({"threat": "kspace", "threat_region": DISC}, "threat_region must be empty with threat="),
        ({"threat": "maps", "threat_region": DISC}, "must be empty with threat='maps': it is a"),
        ({"steps": 0}, "steps must be a whole number >= 1"),
        ({"steps": 2, "start": "larger"}, "steps must be a whole number >= 3"),
        ({"steps": 3, "start": "moved"}, "steps must be a whole number >= 4"),
        ({"start": "here"}, "start must be one of .'random', 'singular', 'larger', 'moved'"),
        ({"sizes": [-1]}, "sizes must be a number >= 0"),
        ({"draws": 0}, "draws must be a whole number >= 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AutoProjectedGradient(**settings)


def test_regions_outside_the_image_and_missing_images_are_refused(network, batch, truth):
    attack = AutoProjectedGradient(steps=1, threat_region=(22, 9, 4))
    with pytest.raises(ValueError, match="inside the image of 24 x 20 pixels. .* rows 18 to 26"):
        run(attack, network, batch)
    attack = AutoProjectedGradient(steps=1, goal="error")
    with pytest.raises(ValueError, match="goal='error' needs the true image"):
        run(attack, network, batch)
    with pytest.raises(ValueError, match="reference must have the shape .3, 24, 20."):
        run(attack, network, batch, reference=truth[:, :-1])
    start = attacks.Start(truth[:2].astype(np.complex64))
    with pytest.raises(ValueError, match="start must have the shape"):
        run(AutoProjectedGradient(steps=1), network, batch, start=start)


# What every search promises

SEARCHES = {
    "apgd": AutoProjectedGradient(steps=12),
    "apgd l1": AutoProjectedGradient(steps=12, threat="l1"),
    "apgd linf": AutoProjectedGradient(steps=12, threat="linf"),
    "apgd kspace": AutoProjectedGradient(steps=12, threat="kspace"),
    "apgd maps": AutoProjectedGradient(steps=12, threat="maps"),
    "apgd larger": AutoProjectedGradient(steps=12, start="larger", restarts=2),
    "apgd moved": AutoProjectedGradient(steps=20, start="moved", threat_region=DISC, seed=1),
    "apgd beside": AutoProjectedGradient(steps=20, start="beside", threat_region=DISC),
    "apgd singular": AutoProjectedGradient(steps=12, start="singular"),
    "apgd region": AutoProjectedGradient(steps=12, threat_region=DISC),
    "power": PowerIteration(steps=8),
    "power kspace": PowerIteration(steps=8, threat="kspace"),
    "power maps": PowerIteration(steps=8, threat="maps"),
}
EVERY_SEARCH = pytest.mark.parametrize("name", SEARCHES)


@pytest.fixture(scope="module")
def found(network, batch):
    """A function of a search's name: its result on the network, made once."""
    return functools.cache(lambda name: run(SEARCHES[name], network, batch))


@pytest.mark.slow_cases
@EVERY_SEARCH
def test_every_change_is_inside_its_ball_and_near_its_surface(found, name):
    attack = SEARCHES[name]
    for change in found(name).perturbation.numpy():
        size = attack.norm_of(change)
        assert 0.95 < size <= 1.0


@pytest.mark.slow_cases
@EVERY_SEARCH
def test_the_result_is_the_largest_that_the_search_saw(found, name):
    result = found(name)
    history = result.history.numpy()
    assert history.shape[2] == 3 and np.isfinite(history).all()
    np.testing.assert_allclose(result.objective, history.max((0, 1)), rtol=1e-4)


@pytest.mark.slow_cases
@EVERY_SEARCH
def test_a_search_is_stronger_than_random_changes_of_the_same_norm(found, network, batch, name):
    attack = SEARCHES[name]
    like = attack.changes.zero(network.sense, batch)
    support = attack.changes.support(batch, like)
    objective = Objective(
        network,
        network.measured(batch),
        tf.constant(INDEX),
        threat=attack.changes,
        support=support,
        known=attack.changes.known(network.sense, batch),
    )
    for seed in range(3):
        keys = tf.constant([[seed, n] for n in range(3)])
        change = attack.changes.draw(like, keys, tf.constant(1.0))
        assert (objective.value(change) < found(name).objective).numpy().all()


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", ["apgd", "apgd kspace", "power"])
def test_an_image_does_not_depend_on_its_batch_mates(found, network, batch, name):
    alone = SEARCHES[name].run(network, one(batch, 1), 1.0, index=INDEX[1:2])
    np.testing.assert_allclose(alone.objective[0], found(name).objective[1], rtol=1e-4)


@pytest.mark.slow_cases
@EVERY_SEARCH
def test_the_same_seed_gives_the_same_bytes(found, network, batch, name):
    again = run(SEARCHES[name], network, batch)
    np.testing.assert_array_equal(again.perturbation, found(name).perturbation)


class _Counted:
    """E of an image is the brightness of its pixel (2, 1), of a `Problem` that knows no more."""

    _support = None

    @staticmethod
    def value(change, step=None):
        return tf.abs(change[:, 2, 1])


def test_the_neighbour_of_a_change_is_the_strongest_of_those_moved_by_a_pixel():
    images = np.zeros([3, 4, 3], np.complex64)
    # Diagonally beside the pixel that counts, and across the edge; on it, and brighter beside it.
    images[0, 1, 0] = images[1, 3, 2] = 1j
    images[2, 2, 1], images[2, 2, 2] = 5, 2
    moved = Problem.neighbour(_Counted, tf.constant(images)).numpy()
    np.testing.assert_array_equal(moved[0], np.roll(images[0], (1, 1), (0, 1)))
    np.testing.assert_array_equal(moved[1], np.roll(images[1], (-1, -1), (0, 1)))
    # The image itself is none of them, however strong.
    np.testing.assert_array_equal(moved[2], np.roll(images[2], (0, -1), (0, 1)))
    assert len(set(MOVES)) == 8 and (0, 0) not in MOVES


@pytest.mark.slow
def test_a_moved_search_keeps_what_it_found_before_it_moved(network, batch, monkeypatch):
    # It moves for the last step alone, which is too late to find as much again.
    monkeypatch.setitem(schedule.BALLS, "moved", ((1.0, 0.95), (1.0, 0.05)))
    result = run(SEARCHES["apgd moved"], network, batch)
    history = result.history.numpy()[0]
    before, after = history[:19].max(0), history[19:].max(0)
    assert len(history) == 21 and (after < before).all()
    np.testing.assert_allclose(result.objective, before, rtol=1e-4)


def test_only_an_image_is_moved():
    settings = {"sizes": [1.0, 2.0], "steps": 20, "start": "moved", "restarts": 3}
    assert AutoProjectedGradient(**settings).num_answers == 2 * 3 * 8
    # Twice, in one ball.
    assert AutoProjectedGradient(sizes=[1.0], start="beside").num_answers == 2 * 8
    for threat in ("kspace", "maps"):
        attack = AutoProjectedGradient(threat=threat, **settings)
        assert (attack.num_answers, attack.fixed()) == (0, ("random", False))


@pytest.mark.slow
def test_a_search_through_larger_balls_ends_inside_however_few_its_steps(network, batch):
    for steps in (3, 4, 5):
        attack = AutoProjectedGradient(steps=steps, start="larger")
        result = run(attack, network, one(batch, 0))
        assert attack.norm_of(result.perturbation[0].numpy()) <= 1
        assert result.history.shape[1] == steps + 1 - round(0.6 * steps)


@pytest.mark.slow_cases
@EVERY_SEARCH
def test_radius_zero_changes_nothing(network, batch, name):
    result = run(SEARCHES[name], network, batch, 0.0)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apgd region", "apgd moved"])
def test_a_change_in_a_region_is_zero_outside_of_it(found, name):
    change = found(name).perturbation.numpy()
    inside = window(DISC, 24, 20).numpy()
    assert change[:, inside].any() and not change[:, ~inside].any()


@pytest.fixture
def padded(batch):
    """The batch with padding: lines of zeros that the mask calls sampled."""
    found = {**batch, "kspace": batch["kspace"].copy(), "mask": np.ones_like(batch["mask"])}
    found["kspace"][..., :4] = 0
    return found


@pytest.mark.slow
def test_a_change_of_kspace_leaves_what_was_not_measured(network, padded):
    unmeasured = (padded["kspace"] == 0).all((1, 2), keepdims=True)
    assert unmeasured.sum() >= 12
    change = run(SEARCHES["apgd kspace"], network, padded).perturbation.numpy()
    assert change.any() and not (change * unmeasured).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        AutoProjectedGradient(steps=4),
        ProjectedGradientAscent(steps=4),
        PenalisedGradientAscent(sizes=[4]),
    ],
    ids=lambda attack: attack.name,
)
@pytest.mark.parametrize("reads", ["zero_filled", "kspace"])
def test_a_change_of_the_image_leaves_padding_as_it_is(network, padded, attack, reads):
    model = network if reads == "zero_filled" else KspaceReader()
    inputs = one(padded, 0)
    result = run(attack, model, inputs, attack.check_size(4))
    known = attack.changes.known(model.sense, inputs)
    change = attack.changes.in_kspace(model.sense, inputs, result.perturbation, known).numpy()
    unmeasured = (inputs["kspace"] == 0).all((1, 2), keepdims=True)
    assert change.any() and not (change * unmeasured).any()
    # A r on all lines that the mask calls sampled is another change.
    everywhere = model.sense.forward(
        result.perturbation, inputs["sensitivity_maps"], inputs["mask"]
    )
    assert np.abs(everywhere * unmeasured).max() > 0.1 * np.abs(change).max()
    changed = model.reconstruct({**inputs, "kspace": inputs["kspace"] + change})
    np.testing.assert_allclose(result.reconstruction, changed, atol=1e-4)


@pytest.mark.slow
def test_an_attack_on_kspace_is_at_least_as_strong_as_one_on_the_image(found, network, batch):
    r = found("apgd").perturbation
    reached = Sense().forward(r, batch["sensitivity_maps"], batch["mask"])
    for i, radius in enumerate(norm(reached).numpy()):
        attack = AutoProjectedGradient(steps=60, threat="kspace")
        result = attack.run(network, one(batch, i), float(radius), index=INDEX[i : i + 1])
        assert result.objective[0] > found("apgd").objective[i]


@pytest.mark.slow
def test_a_goal_counts_in_its_region_alone(network, batch, truth):
    attack = AutoProjectedGradient(steps=12, goal="error", goal_region=DISC)
    result = run(attack, network, batch, reference=truth)
    inside = window(DISC, 24, 20).numpy()
    error = np.square(result.reconstruction.numpy() - truth)[:, inside].sum(1)
    np.testing.assert_allclose(result.objective, error / 2, rtol=1e-4)
    whole = run(AutoProjectedGradient(steps=12, goal="error"), network, batch, reference=truth)
    assert (error > np.square(whole.reconstruction.numpy() - truth)[:, inside].sum(1)).all(), (
        "the attack on a region is not the stronger one there"
    )


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["erase", "insert"])
def test_an_answer_is_driven_towards_a_target(network, batch, goal):
    attack = AutoProjectedGradient(steps=40, goal=goal, goal_region=DISC)
    result = run(attack, network, batch, 2.0)
    clean = network.reconstruct(batch)
    target = attack.wants.compared_with(clean, None)
    inside = window(DISC, 24, 20).numpy()

    def distance(image):
        return np.linalg.norm((image - target).numpy()[:, inside], axis=1)

    assert (distance(result.reconstruction) < 0.65 * distance(clean)).all()
    left = distance(result.reconstruction) / distance(clean)
    np.testing.assert_allclose(result.left, left, rtol=1e-4)
    expected = -np.square(result.reconstruction - target).sum((1, 2)) / 2
    np.testing.assert_allclose(result.objective, expected, rtol=1e-4)


# Closed forms


def matrix(model, inputs, shape):
    """The map from a change r to the change of a linear model's answer, by columns."""
    sense = model.sense
    clean = np.ravel(model.answer(model.measured(inputs)))
    size = int(np.prod(shape))
    # All changes at once, as a batch: first the real parts, then the imaginary ones.
    r = np.concatenate([np.eye(size), 1j * np.eye(size)]).reshape(-1, *shape)
    maps = np.repeat(inputs["sensitivity_maps"], len(r), 0)
    kspace = inputs["kspace"] + sense.forward(r, maps, inputs["mask"])
    batch = {"kspace": kspace, "sensitivity_maps": maps, "mask": inputs["mask"]}
    answers = model.answer(model.measured(batch)).numpy()
    return (answers.reshape(len(r), -1) - clean).T


@pytest.fixture(scope="module")
def linear(case):
    """Small linear models in float64, a measurement, and the largest gain of each."""
    inputs = case(height=8, width=6, dtype="complex128")
    models = {
        "zero-filled": Linear(dtype="float64"),
        "cg-sense": ComplexCGSense(mu=0.05, dtype="float64"),
    }
    gains = {}
    for name, model in models.items():
        gains[name] = np.linalg.svd(matrix(model, inputs, (8, 6)), compute_uv=False)[0]
    return models, inputs, gains


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", ["zero-filled", "cg-sense"])
def test_the_suite_reaches_the_worst_case_of_a_linear_model(linear, name):
    models, inputs, gains = linear
    result = Suite().run(models[name], inputs, 2.0)
    assert 0.99 * 2 * gains[name] <= effects(result)[0] <= 2 * gains[name] * (1 + 1e-6)


@pytest.mark.slow
def test_power_iteration_finds_the_top_singular_vector(linear):
    models, inputs, gains = linear
    result = PowerIteration(steps=200).run(models["cg-sense"], inputs, 2.0)
    assert effects(result)[0] == pytest.approx(2 * gains["cg-sense"], rel=3e-3)


@pytest.mark.slow
def test_a_search_from_the_singular_vector_begins_near_the_worst_case(linear):
    models, inputs, gains = linear
    attack = AutoProjectedGradient(steps=1, start="singular")
    result = attack.run(models["zero-filled"], inputs, 2.0)
    assert np.sqrt(2 * result.history[0, 0, 0]) > 0.95 * 2 * gains["zero-filled"]


@pytest.mark.slow
def test_l1_and_linf_reach_their_worst_case_of_a_linear_model(linear):
    models, inputs, _ = linear
    columns = matrix(models["zero-filled"], inputs, (8, 6))
    # In an l1 ball the worst change is a single part.
    worst = np.linalg.norm(columns, axis=0).max()
    attack = AutoProjectedGradient(threat="l1", steps=100, restarts=3)
    assert effects(attack.run(models["zero-filled"], inputs, 1.0))[0] > 0.95 * worst
    # In a linf ball it is a corner: none of many random ones is worse.
    rng = np.random.default_rng(0)
    corners = rng.choice([-1.0, 1.0], (columns.shape[1], 2000))
    attack = AutoProjectedGradient(threat="linf", steps=100)
    reached = effects(attack.run(models["zero-filled"], inputs, 1.0))[0]
    assert reached > np.linalg.norm(columns @ corners, axis=0).max()


def test_checkpoints_are_those_of_the_paper():
    places = [place for place, _ in schedule.checkpoints(100, sparse=False)]
    assert places == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.slow
def test_apgd_is_no_weaker_than_the_papers_attack(network, batch):
    paper = run(ProjectedGradientAscent(steps=30), network, batch, 3.0)
    apgd = run(AutoProjectedGradient(steps=30), network, batch, 3.0)
    assert apgd.objective.numpy().mean() > 0.99 * paper.objective.numpy().mean()


# Models with random draws


@pytest.mark.slow
def test_loss_and_gradient_are_means_over_the_same_draws(network, batch):
    model = Smoothed(network, 0.05, 2)
    objective = Objective(model, model.measured(batch), tf.constant(INDEX), sets=3)
    r = tf.complex(tf.ones([3, 24, 20]), tf.zeros([3, 24, 20])) / 20
    value, gradient = objective.value_and_gradient(r)
    every = [objective.value_and_gradient(r, step) for step in range(3)]
    np.testing.assert_allclose(value, np.mean([v for v, _ in every], 0), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in every], 0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(objective.value(r), value, rtol=1e-5)
    assert not objective.value(tf.zeros_like(r)).numpy().any()


def test_an_attack_takes_as_many_draws_as_it_is_told(network):
    model = Smoothed(network, 0.05, 3)
    assert AutoProjectedGradient(draws=20)._sets(model) == 7
    assert AutoProjectedGradient(draws=20, noise="fixed")._sets(model) == 1
    assert AutoProjectedGradient(draws=20)._sets(network) == 1


@pytest.mark.slow
def test_fresh_draws_are_not_the_models(batch):
    model = Smoothed(ZeroFilled(), 0.2, 2)
    values = {}
    for noise in ("fresh", "fixed"):
        attack = PowerIteration(steps=3, noise=noise, draws=4)
        values[noise] = run(attack, model, batch)
    best = values["fixed"].history.numpy().max((0, 1))
    np.testing.assert_allclose(values["fixed"].objective, best, rtol=1e-4)
    assert (values["fresh"].history[0, 0] != values["fixed"].history[0, 0]).numpy().all()


# The suite


@pytest.fixture(scope="module")
def suite(network, batch):
    return run(Suite(), network, batch)


@pytest.mark.slow
def test_a_suite_keeps_the_strongest_of_its_members(suite, network, batch):
    assert list(suite.reached) == [member.name for member in SUITES["small-1"]]
    reached = np.array([objective.numpy() for objective in suite.reached.values()])
    np.testing.assert_allclose(suite.objective, reached.max(0), rtol=1e-5)
    again = network.reconstruct(
        {
            **batch,
            "kspace": batch["kspace"]
            + Sense().forward(suite.perturbation, batch["sensitivity_maps"], batch["mask"]),
        }
    )
    np.testing.assert_allclose(suite.reconstruction, again, atol=1e-5)


def test_a_suite_stores_what_each_member_reached(suite):
    arrays = Suite().arrays(suite)
    names = ("power", "one-step", "apgd-larger")
    assert set(arrays) == {"objective", *(f"reached_{name}" for name in names)}
    best = max(arrays["reached_power"], arrays["reached_apgd-larger"])
    assert arrays["objective"] == pytest.approx(best, rel=1e-5)
    told = [
        {"reached_power": power, "reached_one-step": 0.5, "reached_apgd-larger": larger}
        for power, larger in ((1.0, 2.0), (3.0, 2.0), (1.0, 2.0))
    ]
    assert Suite().remark(told) == "strongest: power 1, one-step 0, apgd-larger 2"


def test_a_suite_keeps_the_first_number_that_is_none(network, batch, monkeypatch):
    # As a single search does, so that it is reported.
    original, values = PowerIteration.run, iter([1.0, np.nan, 2.0])

    def made_up(self, *arguments):
        result = original(self, *arguments)
        return result._replace(
            history=0 * result.history + next(values),
            perturbation=0 * result.perturbation + self.steps,
        )

    monkeypatch.setattr(PowerIteration, "run", made_up)
    members = [Member(str(steps), PowerIteration, {"steps": steps}) for steps in (1, 2, 3)]
    monkeypatch.setitem(SUITES, "three", members)
    assert (run(Suite(version="three"), network, batch).perturbation == 2).numpy().all()


@pytest.mark.slow
def test_a_member_may_go_on_from_the_strongest_change(network, batch, monkeypatch):
    first = SUITES["small-1"][0]
    last = Member("last", AutoProjectedGradient, {"steps": 12}, goes_on=True)
    monkeypatch.setitem(SUITES, "two", (first, last))
    result = run(Suite(version="two"), network, batch)
    found = result.history[0].numpy()
    # Both histories, of which the first is padded to the length of the longer one.
    np.testing.assert_allclose(result.history[1, 0], found.max(0), rtol=1e-4)
    np.testing.assert_allclose(result.reached["power"], found.max(0), rtol=1e-6)
    assert (result.reached["last"] >= result.reached["power"] * (1 - 1e-4)).numpy().all()


def test_a_suite_tells_where_it_goes_on_from():
    assert Suite(sizes=[1.5, 3.5]).identity(3.5)["goes_on_from"] == 1.5
    assert Suite(sizes=[3.5]).identity(3.5) != Suite(sizes=[1.5, 3.5]).identity(3.5)


@pytest.mark.slow
def test_what_is_left_of_the_way_to_a_target_is_told(network, batch):
    attack = Suite(goal="insert", goal_region=DISC)
    result = attack.run(network, one(batch, 0), 2.0)
    arrays = attack.arrays(result)
    assert 0 < arrays["left"] == result.left[0] < 1
    reached = int(arrays["left"] < 0.5)
    assert attack.remark([arrays]).endswith(
        f"insert: {reached} of 1 (mean left {arrays['left']:.2f})"
    )
    assert "left" not in Suite().arrays(run(Suite(), network, one(batch, 0)))


@pytest.mark.slow
def test_a_larger_radius_never_gives_less(suite, network, batch):
    attack = Suite()
    start = attack.start_from({"perturbation": suite.perturbation[1].numpy()}, 1.0)
    for radius in (1.0 + 1e-5, 1.5):
        result = attack.run(network, one(batch, 1), radius, start=start, index=INDEX[1:2])
        assert result.objective[0] >= suite.objective[1] * (1 - 1e-6)


# A released version never changes. Whoever changes a suite gives it another name, and a line here.
VERSIONS = {
    "small-1": [
        ("power", "power", {"steps": 19}),
        ("one-step", "power", {"steps": 1}),
        ("apgd-larger", "apgd", {"steps": 50, "restarts": 2, "start": "larger"}),
    ],
    "standard-1": [
        ("power", "power", {"steps": 19}),
        ("one-step", "power", {"steps": 1}),
        ("apgd-singular", "apgd", {"steps": 30, "start": "singular"}),
        ("square", "square", {"steps": 300}),
        ("apgd-moved", "apgd", {"steps": 70, "restarts": 7, "start": "moved"}),
        ("apgd-best", "apgd", {"steps": 50, "start": "beside"}),
    ],
    "dynamic-1": [
        ("last-steps", "apgd", {"steps": 60, "gradient": "last-steps"}),
        ("straight", "apgd", {"steps": 60, "gradient": "straight-through"}),
        ("surrogate", "apgd", {"steps": 60, "gradient": "surrogate"}),
        ("square", "square", {"steps": 300}),
    ],
    "dynamic-small-1": [
        ("last-steps", "apgd", {"steps": 15, "gradient": "last-steps"}),
        ("straight", "apgd", {"steps": 15, "gradient": "straight-through"}),
        ("surrogate", "apgd", {"steps": 40, "gradient": "surrogate"}),
        ("square", "square", {"steps": 20}),
    ],
}
# What members do not say, the defaults of their searches do.
DEFAULTS = {
    "power": {"steps": 20},
    "apgd": {"steps": 100, "restarts": 1, "start": "random", "gradient": "full"},
    "square": {"steps": 1000},
}


def test_the_versions_of_suites_are_what_they_were():
    found = {}
    for version, members in SUITES.items():
        found[version] = [(one.name, one.attack.name, one.settings) for one in members]
    assert found == VERSIONS
    following = [one.name for members in SUITES.values() for one in members if one.goes_on]
    assert following == ["apgd-best"]
    for name, settings in DEFAULTS.items():
        attack = attacks.ATTACKS[name]()
        assert {key: getattr(attack, key) for key in settings} == settings
    suite = Suite()
    assert (suite.version, suite.draws, suite.noise) == ("small-1", 20, "fresh")


@pytest.mark.parametrize(
    "version, gradients, answers",
    [
        ("small-1", 120, 0),
        ("standard-1", 600, 372),
        ("dynamic-1", 180, 300),
        ("dynamic-small-1", 70, 20),
    ],
)
def test_suites_take_the_gradients_and_answers_that_they_say(version, gradients, answers):
    suite = Suite(sizes=[1.0, 2.0], version=version)
    assert (suite.num_gradients, suite.num_answers) == (2 * gradients, 2 * answers)
    assert gradients <= {"small-1": 120}.get(version, 600)
    assert f"{gradients}" in " ".join(Suite.__doc__.split())


@pytest.mark.slow
def test_each_member_of_a_suite_has_random_starts_of_its_own(network, batch):
    members = Suite(version="standard-1")._attacks()
    assert [attack.place for attack in members] == list(range(len(members)))
    begun = set()
    for attack in members[:3]:
        attack.steps = 1
        begun.add(float(run(attack, network, batch).history[0, 0, 0]))
    assert len(begun) == 3


def test_in_each_ball_of_a_sparse_search_the_step_begins_anew_with_its_radius(batch):
    ones = tf.complex(tf.ones([2, 4, 3]), tf.ones([2, 4, 3]))
    ones *= tf.constant([1.0, 0.0], tf.complex64)[:, None, None]
    state = apgd_module._begin(_Ball, ones, tf.constant(3.0), sparse=True)
    # The second r has become sparser.
    state = state._replace(step=tf.constant([0.1, 0.1]))
    after, _ = apgd_module._checked_sparse(state, ones, tf.constant(3.0))
    np.testing.assert_allclose(after.step, [0.3, 3.0], rtol=1e-6)


class _Ball:
    """What a search asks of a problem when it begins."""

    start_share = 1.0


def test_radii_of_a_suite_are_sorted_and_not_doubled():
    assert Suite(sizes=[2.5, 1.5]).sizes == (1.5, 2.5)
    with pytest.raises(ValueError, match="sizes must be different numbers"):
        Suite(sizes=[1.5, 1.5])


# One change for many slices


@pytest.mark.slow
def test_a_universal_change_is_one_for_all_and_beats_random_ones_on_other_slices(network, case):
    seen, held_out = case(batch=4, seed=0), case(batch=3, seed=1)
    # Slices of one scan share maps and mask.
    for key in ("sensitivity_maps", "mask"):
        held_out[key] = seen[key][:3]
    # Lines of that mask are no padding.
    held_out["kspace"] += 1e-6
    attack = Universal(steps=40)
    seen["sample_index"] = np.arange(4, dtype=np.int32)
    slices = [(one(seen, i), np.zeros((1, 24, 20))) for i in range(4)]
    start = attack.learn(network, slices, 1.0)
    assert 0.95 < np.linalg.norm(start.perturbation) <= 1
    result = run(attack, network, held_out, start=start)
    for change in result.perturbation:
        np.testing.assert_array_equal(change, start.perturbation[0])
    objective = Objective(network, network.measured(held_out), tf.constant(INDEX))
    for seed in range(3):
        keys = tf.constant([[seed, n] for n in range(3)])
        random = attack.changes.draw(objective.like, keys, tf.constant(1.0))
        assert (objective.value(random) < result.objective).numpy().all()


def test_slices_of_several_sizes_have_no_universal_change(network, case):
    index = np.zeros(1, np.int32)
    slices = [({**case(width=width), "sample_index": index}, None) for width in (20, 22)]
    with pytest.raises(ValueError, match="needs training slices of one size. .*24, 20.*24, 22"):
        Universal(steps=1).learn(network, slices, 1.0)
    with pytest.raises(ValueError, match="no size, as there are none"):
        Universal(steps=1).learn(network, [], 1.0)
    with pytest.raises(ValueError, match="inputs must hold sample_index.*Received: .'kspace',"):
        Universal(steps=1).learn(network, [(case(), None)], 1.0)
