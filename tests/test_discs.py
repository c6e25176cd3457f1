"""The attack on each disc of an image, by its promises and against a closed form."""

import numpy as np
import pytest
import tensorflow as tf
from test_apgd import Linear, matrix, run, vivid

from tfvn.attacks import WorstDisc
from tfvn.attacks.discs import grid
from tfvn.attacks.region import in_disc

HEIGHT, WIDTH, DISC, STEPS = 24, 20, 4, 12


@pytest.fixture(scope="module")
def attack():
    return WorstDisc(disc=DISC, steps=STEPS)


@pytest.fixture(scope="module")
def batch(case):
    return case(batch=2, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def found(attack, batch):
    return run(attack, vivid(), batch)


def inside(disc):
    row, column, radius = disc
    return in_disc(row, column, radius, HEIGHT, WIDTH).numpy()


def test_discs_touch_and_reach_all_sides():
    discs = grid(DISC, HEIGHT, WIDTH)
    assert (discs[:, 2] == DISC).all()
    assert len(np.unique(discs, axis=0)) == len(discs)
    covered = np.sum([inside(disc) for disc in discs], 0)
    for side in (covered[0], covered[-1], covered[:, 0], covered[:, -1]):
        assert side.any()
    # Discs in touching squares cover pi / 4 of a plane.
    assert np.mean(covered > 0) > 0.7
    # The usual ones are lesions.
    assert grid(0, 96, 72)[0, 2] == 6


@pytest.mark.parametrize("radius", [10, 12])
def test_a_disc_larger_than_the_image_is_refused(radius):
    with pytest.raises(ValueError, match=f"must fit into the image of 24 x 20 .* disc={radius}"):
        grid(radius, HEIGHT, WIDTH)


def test_a_goal_with_a_target_is_refused():
    with pytest.raises(
        ValueError, match="goal must be one of .'effect', 'error'.\\. Received: goal='erase'"
    ):
        WorstDisc(goal="erase")


@pytest.mark.slow
def test_the_kept_change_is_that_of_the_worst_disc(attack, batch, found):
    model, discs = vivid(), grid(DISC, HEIGHT, WIDTH)
    clean = model.reconstruct(batch)
    difference = np.square(found.reconstruction - clean)
    assert found.history.shape == (len(discs), STEPS + 1, 2)
    for image in range(2):
        reached = found.history[..., image].numpy().max(1)
        kept = [difference[image][inside(disc)].sum() / 2 for disc in discs]
        assert np.argmax(kept) == np.argmax(reached)
        np.testing.assert_allclose(max(kept), max(reached), rtol=1e-4)
    assert (np.linalg.norm(found.perturbation, axis=(1, 2)) <= 1).all()


@pytest.mark.slow
def test_every_disc_of_a_linear_model_reaches_its_worst_case(case):
    inputs = case(batch=1, height=HEIGHT, width=WIDTH, dtype="complex128")
    model = Linear(dtype="float64")
    jacobian = matrix(model, inputs, (HEIGHT, WIDTH))
    result = run(WorstDisc(disc=DISC, steps=25), model, inputs)
    reached = np.sqrt(2 * result.history.numpy().max(1)[:, 0])
    for disc, effect in zip(grid(DISC, HEIGHT, WIDTH), reached):
        worst = np.linalg.norm(jacobian[inside(disc).ravel()], 2)
        assert 0.95 * worst < effect <= worst * (1 + 1e-4)


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch_mates(attack, batch, found):
    alone = {key: x[:1] for key, x in batch.items()}
    again = run(attack, vivid(), alone)
    np.testing.assert_allclose(again.history[..., 0], found.history[..., 0], rtol=1e-4)


@pytest.mark.slow
def test_a_picture_shows_what_was_reached_in_each_disc(attack, found):
    stored = {"settings": attack.identity(1.0), "history": found.history[..., 0].numpy()}
    wanted = attack.wanted(stored, tf.zeros((HEIGHT, WIDTH)))
    np.testing.assert_array_equal(wanted.discs, grid(DISC, HEIGHT, WIDTH))
    np.testing.assert_allclose(wanted.reached**2 / 2, stored["history"].max(1), rtol=1e-5)
    assert f"to {wanted.reached.max():.2g}" in wanted.text
    assert f"{wanted.reached.max():.3g}" in attack.remark([stored])
