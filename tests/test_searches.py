"""Searches without gradients, and the smallest change that reaches a goal.

On a linear model the answers are known: f = Re A^H k changes by B r, with a matrix B.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import AutoProjectedGradient, MinimumNorm, RandomSearch, Square, Start, square
from tfvn.attacks.goals import target_with
from tfvn.models.base import Reconstructor
from tfvn.physics.sense import Sense

HEIGHT, WIDTH = 16, 12
# The names of the images of a batch.
INDEX = np.array([4, 7, 2], np.int32)


class Linear(Reconstructor):
    """f(k) = Re A^H k."""

    def answer(self, inputs, key=None):
        return tf.math.real(inputs["zero_filled"])


class Curved(Reconstructor):
    """A smooth map that is not linear."""

    def answer(self, inputs, key=None):
        image = inputs["zero_filled"]
        return tf.abs(image + tf.complex(tf.square(tf.abs(image)), 0.0))


@tf.custom_gradient
def without_gradient(image):
    """The image itself. Backwards, nothing comes through."""
    return tf.identity(image), tf.zeros_like


class Masked(Linear):
    """The same answers as `Linear`, and a gradient of 0."""

    def answer(self, inputs, key=None):
        return without_gradient(super().answer(inputs, key))


@pytest.fixture(scope="module")
def linear():
    return Linear()


@pytest.fixture(scope="module")
def curved():
    return Curved()


@pytest.fixture(scope="module")
def batch(case):
    """Three different slices."""
    return case(batch=3, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def matrices(batch):
    """B of every slice, real (3, pixels, 2 pixels)."""
    pixels = HEIGHT * WIDTH
    parts = np.eye(2 * pixels, dtype="float32")
    images = (parts[:, :pixels] + 1j * parts[:, pixels:]).reshape(-1, HEIGHT, WIDTH)
    found = []
    for maps, mask in zip(batch["sensitivity_maps"], batch["mask"]):
        maps = np.broadcast_to(maps, (len(images), *maps.shape))
        answers = np.real(Sense().normal(tf.constant(images), tf.constant(maps), mask[None]))
        found.append(answers.reshape(len(images), pixels).T.astype(float))
    return np.array(found)


@pytest.fixture(scope="module")
def gains(matrices):
    """The largest singular value of each B: the worst effect of an r of norm 1."""
    return np.linalg.norm(matrices, 2, axis=(1, 2))


def run(attack, model, inputs, size, index=INDEX, **settings):
    return attack.run(model, inputs, size, index=index, **settings)


def sizes(attack, result):
    """The norms of what was found, in double precision."""
    return np.array([float(attack.changes.size(r[None])[0]) for r in double(result)])


def double(result):
    return result.perturbation.numpy().astype(complex)


def effects(result):
    return np.sqrt(2 * result.objective.numpy())


def one(inputs, i):
    return {key: x[i : i + 1] for key, x in inputs.items()}


IN_BALLS = {
    "random l2": RandomSearch(steps=20),
    "random linf": RandomSearch(steps=20, threat="linf"),
    "square l2": Square(steps=20),
    "square linf": Square(steps=20, threat="linf"),
}
MINIMA = {"bisection": MinimumNorm(), "ddn": MinimumNorm(method="ddn")}
# Of the same traces, and with a tenth of the gradients.
QUICK = {name: MinimumNorm(method=name, restarts=1, halvings=2) for name in MINIMA}
EVERY = {**IN_BALLS, **QUICK}
in_a_ball = pytest.mark.parametrize("name", IN_BALLS)
minimal = pytest.mark.parametrize("name", MINIMA)
every = pytest.mark.parametrize("name", EVERY)


# Promises


@pytest.mark.slow_cases
@in_a_ball
@pytest.mark.parametrize("radius", [0.01, 1.0, 30.0])
def test_every_change_lies_on_the_surface_of_its_ball(linear, batch, name, radius):
    attack = IN_BALLS[name]
    result = run(attack, linear, batch, radius)
    assert result.perturbation.shape == (3, HEIGHT, WIDTH)
    assert (sizes(attack, result) <= radius).all()
    np.testing.assert_allclose(sizes(attack, result), radius, rtol=1e-5)


@pytest.mark.slow_cases
@every
def test_a_radius_or_threshold_of_0_changes_nothing(linear, batch, name):
    result = run(EVERY[name], linear, batch, 0.0)
    assert not result.perturbation.numpy().any() and not result.objective.numpy().any()
    np.testing.assert_array_equal(result.reconstruction, linear.reconstruct(batch))


@pytest.mark.slow_cases
@every
def test_the_same_seed_gives_the_same_bytes(linear, batch, name):
    for a, b in zip(*(run(EVERY[name], linear, batch, 1.0)[:4] for _ in range(2))):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "make, settings",
    [(RandomSearch, dict(steps=20)), (Square, dict(steps=20)), (MinimumNorm, dict(halvings=2))],
)
def test_another_seed_or_index_searches_elsewhere(linear, batch, make, settings):
    attack, other = (make(seed=seed, **settings) for seed in (0, 1))
    first = run(attack, linear, batch, 1.0).perturbation.numpy()
    second = run(other, linear, batch, 1.0).perturbation.numpy()
    assert (second != first).any((1, 2)).all()
    renamed = run(attack, linear, batch, 1.0, index=INDEX + [0, 0, 1]).perturbation.numpy()
    np.testing.assert_array_equal(renamed[:2], first[:2])
    assert (renamed[2] != first[2]).any()


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", ["random l2", "square l2", "square linf", "bisection"])
def test_an_image_does_not_depend_on_its_batch_mates(linear, batch, name):
    together = run(EVERY[name], linear, batch, 1.0)
    for i in (0, 2):
        alone = run(EVERY[name], linear, one(batch, i), 1.0, index=INDEX[i : i + 1])
        np.testing.assert_allclose(
            together.perturbation[i], alone.perturbation[0], rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(together.objective[i], alone.objective[0], rtol=1e-4)


@pytest.mark.slow_cases
@every
def test_the_objective_is_half_the_squared_change_of_the_answer(linear, batch, matrices, name):
    result = run(EVERY[name], linear, batch, 1.0)
    r = double(result).reshape(3, -1)
    r = np.concatenate([r.real, r.imag], 1)
    expected = np.linalg.norm(np.einsum("bij,bj->bi", matrices, r), axis=1)
    np.testing.assert_allclose(effects(result), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["random l2", "square l2"])
def test_a_start_is_the_first_change_that_is_tried(linear, batch, name):
    given = run(EVERY[name], linear, batch, 0.5)
    result = run(EVERY[name], linear, batch, 1.0, start=Start(given.perturbation))
    np.testing.assert_allclose(result.history[0, 0], given.objective, rtol=1e-5)
    assert (result.objective.numpy() >= given.objective.numpy() * (1 - 1e-6)).all()


# Random search


def test_random_search_keeps_the_best_and_forgets_no_value(linear, batch):
    few, many = (run(RandomSearch(steps=steps), linear, batch, 1.0) for steps in (20, 60))
    assert few.history.shape == (1, 20, 3) and many.history.shape == (1, 60, 3)
    np.testing.assert_array_equal(few.history[0], many.history[0, :20])
    np.testing.assert_allclose(many.objective, np.max(many.history, (0, 1)), rtol=1e-6)
    assert (many.objective.numpy() >= few.objective.numpy()).all()


def test_random_search_of_kspace_stays_where_something_was_sampled(linear, batch):
    attack = RandomSearch(threat="kspace", steps=20)
    result = run(attack, linear, batch, 1.0)
    assert result.perturbation.shape == batch["kspace"].shape
    assert not double(result)[np.broadcast_to(batch["mask"] == 0, batch["kspace"].shape)].any()
    np.testing.assert_allclose(sizes(attack, result), 1.0, rtol=1e-5)


# Square


@pytest.mark.slow_cases
@pytest.mark.parametrize("threat", ["l2", "linf"])
def test_the_effect_never_falls_on_the_accepted_path(linear, batch, threat):
    result = run(Square(steps=300, threat=threat), linear, batch, 1.0)
    assert result.history.shape == (1, 301, 3)
    assert (np.diff(result.history[0], axis=0) >= 0).all()
    assert (result.history[0, -1].numpy() > 1.2 * result.history[0, 0].numpy()).all()
    np.testing.assert_allclose(result.objective, result.history[0, -1], rtol=1e-6)


def test_square_comes_near_the_worst_of_a_linear_model_and_random_search_does_not(
    linear, batch, gains
):
    found = effects(run(Square(steps=1000), linear, batch, 1.0)) / gains
    floor = effects(run(RandomSearch(steps=300), linear, batch, 1.0)) / gains
    assert (found >= 0.65).all() and (found <= 1 + 1e-5).all()
    assert (floor < 0.9 * found).all()


@pytest.mark.slow
def test_square_equals_the_gradient_search_in_an_linf_ball(linear, batch):
    settings = dict(threat="linf")
    found = effects(run(Square(steps=1000, **settings), linear, batch, 0.1))
    expected = effects(run(AutoProjectedGradient(steps=20, **settings), linear, batch, 0.1))
    assert (found >= 0.9 * expected).all()


@pytest.mark.slow
def test_square_finds_out_a_model_whose_gradient_is_masked(batch):
    model = Masked()
    deceived = run(AutoProjectedGradient(steps=20), model, batch, 1.0)
    np.testing.assert_allclose(deceived.history[0, 0], deceived.objective, rtol=1e-5)
    found = run(Square(steps=300), model, batch, 1.0)
    assert (effects(found) > 1.2 * effects(deceived)).all()


@pytest.mark.slow_cases
@pytest.mark.parametrize("threat, region", [("linf", [8, 6, 3]), ("l2", [2, 3, 4, 9])])
def test_square_stays_in_a_region(linear, batch, threat, region):
    attack = Square(steps=200, threat=threat, threat_region=region)
    result = run(attack, linear, batch, 1.0)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    inside = (rows >= 2) & (rows <= 3) & (columns >= 4) & (columns <= 9)
    if len(region) == 3:
        inside = (rows - 8) ** 2 + (columns - 6) ** 2 <= 9
    assert not double(result)[:, ~inside].any()
    assert (double(result)[:, inside].any(1)).all()
    np.testing.assert_allclose(sizes(attack, result), 1.0, rtol=1e-5)
    # Windows are of the region: it is not lost in the image.
    assert (result.objective.numpy() > 1.1 * result.history[0, 0].numpy()).all()


@pytest.mark.parametrize("steps", [10000, 500])
def test_windows_become_smaller_along_the_budget(steps):
    problem = SimpleNamespace(radius=tf.constant(1.0), threat=SimpleNamespace(ball="linf"))
    canvas = SimpleNamespace(size=(tf.constant(96.0), tf.constant(72.0)))
    found = []
    for thousandth in (0, 1.2, 6, 21, 51, 101, 201, 401, 601, 801):
        step = tf.constant(int(np.ceil(thousandth * steps / 1000)))
        found.append(float(square._side(problem, canvas, step, tf.constant(steps))))
    expected = [round((0.8 / 2**n * 96 * 72) ** 0.5) for n in range(10)]
    if steps == 500:
        # The first step comes after the first of the shares, so there is no time between.
        assert found[2:] == expected[2:] and found[0] == expected[0]
    else:
        assert found == expected


@pytest.fixture(scope="module")
def canvas():
    """A canvas of the whole image."""
    threat = SimpleNamespace(ball="l2", region=())
    like = tf.zeros([1, HEIGHT, WIDTH], tf.complex64)
    return square._canvas(SimpleNamespace(radius=tf.constant(1.0), like=like, threat=threat))


@pytest.mark.parametrize("side", [1, 3, 12, 13, 40])
def test_windows_are_cut_to_the_image_and_reach_its_corners(canvas, side):
    draws = tf.constant([[0.0, 0.0], [0.999, 0.999]])
    window = square._window(canvas, tf.constant(float(side)), draws)
    inside = window.inside.numpy()
    height, width = min(side, HEIGHT), min(side, WIDTH)
    assert (inside.sum((1, 2)) == height * width).all()
    assert inside[0, :height, :width].all() and inside[1, -height:, -width:].all()


@pytest.mark.parametrize("height, width", [(3, 3), (5, 5), (6, 6), (7, 4), (12, 12)])
def test_a_bump_is_two_heaps_of_squares(canvas, height, width):
    draws = tf.constant([[0.0, 0.0]])
    window = square._window(canvas, tf.constant(12.0), draws)
    window = window._replace(size=(tf.constant(float(height)), tf.constant(float(width))))
    close = dict(rtol=1e-5, atol=1e-6)
    found = square._bump(canvas, window)[0].numpy()
    np.testing.assert_allclose(found[:height, :width], heaps(height, width), **close)
    turned = square._bump(canvas, window.transposed(tf.constant(True)))[0].numpy()
    np.testing.assert_allclose(turned[:height, :width], heaps(width, height).T, **close)
    for image in (found, turned):
        assert np.count_nonzero(image) == height * width


def heaps(height, width):
    """Two heaps of squares, built one square after the other."""
    found = np.zeros((height, width))
    upper = height // 2
    for first, size, sign in ((0, upper, 1), (upper, height - upper, -1)):
        row, column = first + size // 2, width // 2
        for n in range(max(height - upper, width) // 2 + 1):
            rows = slice(max(row - n, first), min(row + n + 1, first + size))
            found[rows, max(column - n, 0) : min(column + n + 1, width)] += sign / (n + 1) ** 2
    return found


# Minimum norm


@pytest.mark.slow
@minimal
@pytest.mark.parametrize("threshold", [0.3, 2.0])
def test_the_minimum_norm_of_a_linear_model_is_found(linear, batch, gains, name, threshold):
    result = run(MINIMA[name], linear, batch, threshold)
    assert (effects(result) >= threshold * (1 - 1e-5)).all()
    assert (effects(result) <= threshold * 1.01).all()
    smallest = threshold / gains
    assert (norms(result) >= smallest * (1 - 1e-5)).all()
    np.testing.assert_allclose(norms(result), smallest, rtol=0.02)


def norms(result):
    return np.linalg.norm(double(result).reshape(3, -1), axis=1)


@minimal
def test_where_no_change_reaches_the_threshold_the_strongest_of_the_largest_is_told(
    linear, batch, gains, name
):
    attack = MinimumNorm(method=name, largest=0.5)
    result = run(attack, linear, batch, 30.0)
    assert (effects(result) < 30).all()
    assert (norms(result) <= 0.5).all()
    np.testing.assert_allclose(norms(result), 0.5, rtol=1e-4)
    assert (effects(result) >= 0.98 * 0.5 * gains).all()


@pytest.mark.slow_cases
@minimal
def test_images_of_a_batch_have_radii_of_their_own(linear, batch, name):
    attack = MINIMA[name]
    plain = norms(run(attack, linear, batch, 0.5))
    # The second image answers a tenth to a change, so that it takes ten times as much.
    mixed = {key: x.copy() for key, x in batch.items()}
    mixed["mask"][1] *= np.sqrt(0.1)
    mixed["kspace"][1] *= np.sqrt(10)
    found = norms(run(attack, linear, mixed, 0.5))
    np.testing.assert_allclose(found[[0, 2]], plain[[0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found[1], 10 * plain[1], rtol=0.02)


@pytest.mark.slow
def test_what_a_search_reaches_at_a_radius_has_no_larger_minimum(curved, batch):
    reached = effects(run(AutoProjectedGradient(steps=50), curved, batch, 0.5))
    threshold = float(max(reached))
    result = run(MINIMA["bisection"], curved, batch, threshold)
    assert norms(result)[np.argmax(reached)] <= 0.5 * 1.02
    np.testing.assert_allclose(effects(result), threshold, rtol=0.01)


@pytest.mark.slow
def test_a_start_is_where_the_search_for_a_minimum_begins(linear, batch, matrices, gains):
    worst = np.array([np.linalg.svd(matrix)[2][0] for matrix in matrices])
    worst = (worst[:, : HEIGHT * WIDTH] + 1j * worst[:, HEIGHT * WIDTH :]).reshape(3, HEIGHT, WIDTH)
    attack = MinimumNorm(restarts=1, halvings=0, largest=1.0)
    result = run(attack, linear, batch, 0.3, start=Start(worst))
    # What it was given is scaled down by eight halvings.
    np.testing.assert_allclose(norms(result), 0.3 / gains, rtol=0, atol=1.1 / 2**8)


def test_an_error_that_is_there_already_takes_no_change(linear, batch):
    clean = linear.reconstruct(batch).numpy()
    truth = np.abs(clean) * np.array([3, 1, 1], "float32")[:, None, None]
    distances = np.linalg.norm((clean - truth).reshape(3, -1), axis=1)
    threshold = 1.05 * float(max(distances[1:]))
    assert distances[0] > threshold
    attack = MinimumNorm(goal="error", method="ddn")
    result = run(attack, linear, batch, threshold, reference=truth)
    assert norms(result)[0] == 0 and (norms(result)[1:] > 0.1).all()
    errors = np.linalg.norm(np.reshape(result.reconstruction - truth, (3, -1)), axis=1)
    np.testing.assert_allclose(errors[1:], threshold, rtol=0.01)
    assert (errors >= threshold * (1 - 1e-5)).all()


@pytest.mark.slow
def test_a_change_of_kspace_may_be_smaller_than_one_of_the_image(linear, batch):
    attack = MinimumNorm(threat="kspace", method="ddn")
    result = run(attack, linear, batch, 0.5)
    assert result.perturbation.shape == batch["kspace"].shape
    np.testing.assert_allclose(effects(result), 0.5, rtol=0.01)
    # || A r || <= || r ||, and A r is one of the changes of k-space.
    assert (norms(result) < norms(run(MINIMA["ddn"], linear, batch, 0.5))).all()


@pytest.mark.slow
def test_a_lesion_is_inserted_by_the_smallest_change(linear, batch, matrices):
    region = [8, 6, 3]
    clean = linear.reconstruct(batch)
    target = target_with(clean, region) - clean
    lesion = np.linalg.norm(np.reshape(target, (3, -1)), axis=1)
    attack = MinimumNorm(goal="insert", goal_region=region)
    threshold = 0.8 * float(lesion.min())
    result = run(attack, linear, batch, threshold)
    distance = np.sqrt(-2 * result.objective.numpy())
    assert (distance <= threshold * (1 + 1e-5)).all()
    for i in range(3):
        least = least_norm(matrices[i], np.ravel(target[i]), threshold)
        assert least * (1 - 1e-4) <= norms(result)[i] <= 1.05 * least


def least_norm(matrix, target, distance):
    """The norm of the smallest r with || B r - target || <= distance, by Lagrange's multiplier."""
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    parts = left.T @ target
    outside = target @ target - parts @ parts
    low, high = -12.0, 12.0
    for _ in range(100):
        penalty = 10 ** ((low + high) / 2)
        left_over = parts * penalty / (values**2 + penalty)
        if outside + left_over @ left_over <= distance**2:
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return np.linalg.norm(parts * values / (values**2 + 10**low))


# What they are told as, and what they refuse


def test_a_threshold_is_a_size_of_its_own():
    attack = MinimumNorm(threat="linf")
    assert attack.folder(2.0) == "minimum-linf_threshold_2.0"
    assert attack.size_of("minimum-linf_threshold_2.0") == 2.0
    assert attack.head(2.0, 10.0) == "threshold 2"
    assert not attack.comparable and not MinimumNorm().bounded_in_l2
    assert attack.norm_of(np.ones((2, 2), complex)) is None
    assert attack.num_gradients == 3 * 2 * 9 * 25


@pytest.mark.parametrize("threat", ["l1", "kspace"])
def test_square_refuses_what_it_has_no_windows_for(threat):
    with pytest.raises(
        ValueError, match=rf"threat must be one of \('l2', 'linf'\). Received: threat='{threat}'"
    ):
        Square(threat=threat)


@pytest.mark.parametrize("goal", ["erase", "insert"])
def test_what_stays_on_the_surface_refuses_goals_with_a_target(goal):
    words = rf"goal must be one of \('effect', 'error'\).* Received: goal='{goal}'"
    with pytest.raises(ValueError, match=words):
        Square(goal=goal)
    with pytest.raises(ValueError, match=words):
        MinimumNorm(goal=goal, method="ddn")


@pytest.mark.parametrize(
    "make, settings, words",
    [
        (RandomSearch, dict(steps=0), "steps must be a whole number >= 1"),
        (Square, dict(steps=0), "steps must be a whole number >= 1"),
        (MinimumNorm, dict(largest=0), "largest must be a number > 0"),
        (MinimumNorm, dict(halvings=-1), "halvings must be a whole number >= 0"),
        (MinimumNorm, dict(method="fab"), "method must be one of"),
        (MinimumNorm, dict(method="ddn", threat="linf"), r"threat must be one of \('l2', 'kspace'"),
        (MinimumNorm, dict(sizes=[-1.0]), "sizes must be a number >= 0"),
    ],
)
def test_a_wrong_setting_is_told(make, settings, words):
    with pytest.raises(ValueError, match=f"{words}.* Received: "):
        make(**settings)
