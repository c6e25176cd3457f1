"""Models of each track are attacked as they deserve: deterministic, random and dynamic ones."""

import math

import broken
import dynamic
import numpy as np
import pytest
import tensorflow as tf

import tfvn
from tfvn import attacks
from tfvn.attacks import AutoProjectedGradient, PowerIteration, ProjectedGradientAscent, Suite
from tfvn.attacks.objective import CHECK_DRAWS, Objective, numbered_keys
from tfvn.attacks.suite import SUITES
from tfvn.choices import GRADIENTS, SURROGATE, TRACKS
from tfvn.defences import Defence, Smoothed
from tfvn.models import MODELS, ZeroFilled, from_keras
from tfvn.models.backward import answer_through
from tfvn.models.base import magnitude
from tfvn.physics import noise
from tfvn.results.flags import OF_OTHERS, RAISED, Reached, flags_of_results
from tfvn.results.probes import flags_of_model
from tfvn.results.wording import tracks_text

INDEX = np.array([4, 7], np.int32)


class Faithful(Defence):
    """A defence that optimises for each measurement, and finds the answer at once."""

    track = "dynamic"

    def answer(self, inputs, key=None):
        return tf.stop_gradient(self.model.answer(inputs, key))


class Plain(Defence):
    """A defence that does nothing."""

    def answer(self, inputs, key=None):
        return self.model.answer(inputs, key)


@pytest.fixture(scope="module")
def batch(case):
    return case(batch=2, height=16, width=12)


def run(attack, model, inputs, radius=1.0, **given):
    return attack.run(model, inputs, radius, index=INDEX[: len(inputs["mask"])], **given)


def effects(result):
    return np.sqrt(2 * result.objective.numpy())


# What a model says of itself


def test_a_model_is_deterministic_unless_it_draws():
    assert ZeroFilled().track == "deterministic"
    assert Smoothed(ZeroFilled(), 0.1).track == "random"
    # Without noise it draws nothing.
    assert Smoothed(ZeroFilled(), 0.0).track == "deterministic"
    assert {make().track for make in (MODELS["unet"], MODELS["modl"])} == {"deterministic"}


def test_a_defence_is_of_the_harder_track_of_both():
    descent = dynamic.Descent()
    assert Plain(descent).track == "dynamic"
    assert Smoothed(descent, 0.1).track == "dynamic"
    assert Smoothed(descent, 0.1).draws == 9
    assert Plain(Smoothed(ZeroFilled(), 0.1)).track == "random"
    assert Faithful(Smoothed(ZeroFilled(), 0.1)).track == "dynamic"


def test_the_track_is_read_back_with_a_model(batch, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "descent", dynamic.Descent)
    model = dynamic.Descent(steps=3)
    model.save(tmp_path / "model.keras")
    again = tfvn.load_model(str(tmp_path / "model.keras"))
    assert again.track == "dynamic" and again.steps == 3
    np.testing.assert_array_equal(again.reconstruct(batch), model.reconstruct(batch))


def adapted(forward, **settings):
    layer = tf.keras.layers.Layer()
    return from_keras(layer, forward, **settings)


def test_a_model_of_others_is_told_its_track(batch):
    def cut(layer, inputs):
        image = inputs["zero_filled"]
        return tf.stop_gradient(0.9 * tf.roll(image, 1, 1)) + 0.1 * image

    with pytest.raises(ValueError, match="must have the gradient of its answer"):
        adapted(cut).reconstruct(batch)
    model = adapted(cut, track="dynamic")
    assert model.track == "dynamic" and np.isfinite(model.reconstruct(batch)).all()
    assert model.get_config()["track"] == "dynamic"
    assert "track" not in adapted(cut).get_config()
    with pytest.raises(ValueError, match="track must be one of .'deterministic', 'dynamic'"):
        adapted(cut, track="random")


def test_a_table_tells_tracks_that_are_not_deterministic():
    entries = [{"model": name, "track": track} for name, track in zip("abc", TRACKS)]
    assert tracks_text(entries).startswith("Tracks, beside deterministic: b random, c dynamic (")
    assert tracks_text(entries[:1]) == ""


# Gradients


def gradient_of(model, inputs, gradient):
    """An answer to the batch, and the gradient of a sum of it in A^H k."""
    given = model.measured(inputs)
    with tf.GradientTape() as tape:
        tape.watch(given["zero_filled"])
        image = answer_through(gradient, model, given)
        value = tf.reduce_sum(image * tf.range(image.shape[-1], dtype=image.dtype))
    return image, tape.gradient(value, given["zero_filled"])


def test_only_an_attack_on_the_surrogate_sees_other_answers(batch):
    model = Plain(dynamic.Descent())
    answer = model.answer(model.measured(batch))
    for gradient in ("full", "last-steps", "straight-through"):
        np.testing.assert_allclose(gradient_of(model, batch, gradient)[0], answer, rtol=1e-5)
    surrogate, own = gradient_of(model, batch, SURROGATE)
    np.testing.assert_allclose(surrogate, np.abs(ZeroFilled().zero_filled(batch)), rtol=1e-5)
    _, straight = gradient_of(model, batch, "straight-through")
    np.testing.assert_array_equal(straight, own)


def test_the_surrogate_of_a_defence_is_the_model_inside(batch):
    model = Faithful(broken.Bent())
    image, gradient = gradient_of(model, batch, SURROGATE)
    expected, slope = gradient_of(model.model, batch, "full")
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(gradient, slope)
    # What it finds at once has that gradient.
    np.testing.assert_array_equal(gradient_of(model, batch, "straight-through")[1], slope)
    assert gradient_of(model, batch, "full")[1] is None


def test_of_a_model_without_steps_the_last_are_all(batch):
    model = broken.Bent()
    for given, expected in zip(
        gradient_of(model, batch, "last-steps"), gradient_of(model, batch, "full")
    ):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.slow
def test_noise_around_a_dynamic_model_leaves_its_last_steps(batch):
    model = Smoothed(dynamic.Descent(), 0.05, 2)
    plain, last = (gradient_of(model, batch, name)[1] for name in ("full", "last-steps"))
    assert np.linalg.norm(last) > 2 * np.linalg.norm(plain)


def test_a_gradient_that_a_model_has_not_is_told(batch):
    with pytest.raises(ValueError, match="needs a model that reads `initial_image`"):
        run(AutoProjectedGradient(steps=1, gradient="initial-image"), ZeroFilled(), batch)
    with pytest.raises(ValueError, match="gradient must be one of .'full'"):
        AutoProjectedGradient(gradient="none")
    # An ascent that measures at every step has no use for a surrogate alone.
    with pytest.raises(ValueError, match="gradient must be one of"):
        ProjectedGradientAscent(gradient=SURROGATE)
    assert SURROGATE not in GRADIENTS


@pytest.mark.slow
def test_what_is_found_on_a_surrogate_is_measured_on_the_model(batch):
    model = Plain(dynamic.Descent())
    result = run(AutoProjectedGradient(steps=5, gradient=SURROGATE), model, batch)
    on_surrogate = run(AutoProjectedGradient(steps=5), ZeroFilled(), batch)
    np.testing.assert_allclose(result.perturbation, on_surrogate.perturbation, atol=1e-5)
    objective = Objective(model, model.measured(batch), tf.constant(INDEX))
    value = objective.value(result.perturbation)
    assert result.history.shape == (1, 1, 2)
    np.testing.assert_allclose(result.history[0, 0], value, rtol=1e-4)
    np.testing.assert_allclose(result.objective, value, rtol=1e-4)


# Dynamic models


@pytest.fixture(scope="module")
def found(batch):
    """What the dynamic suite found of a model whose gradient is cut."""
    return run(Suite(version="dynamic-1"), dynamic.Descent(), batch)


@pytest.mark.slow
def test_the_dynamic_suite_finds_more_than_the_gradient_that_is_cut(found, batch):
    plain = run(AutoProjectedGradient(steps=180), dynamic.Descent(), batch)
    assert (effects(found) > 1.2 * effects(plain)).all()
    assert list(found.reached) == ["last-steps", "straight", "surrogate", "square"]
    reached = np.array([value.numpy() for value in found.reached.values()])
    np.testing.assert_allclose(found.objective, reached.max(0), rtol=1e-4)


@pytest.mark.slow
def test_the_dynamic_suite_attacks_a_model_without_any_gradient(batch):
    model = dynamic.Sampler()
    with pytest.raises(ValueError, match="has no gradient in zero_filled"):
        run(AutoProjectedGradient(steps=1), model, batch)
    last, straight, *_ = Suite(version="dynamic-1")._attacks()
    last.steps = 3
    # Without a gradient a search stays where it begins, and others do not.
    stays = run(last, model, batch)
    np.testing.assert_allclose(stays.history[0, 1:], stays.history[0, :-1], rtol=1e-5)
    assert (effects(run(straight, model, batch)) > 2 * effects(stays)).all()


@pytest.mark.slow
def test_a_larger_radius_of_the_dynamic_suite_never_gives_less(found, batch):
    first, *_ = Suite(version="dynamic-1")._attacks()
    first.steps = 1
    start = attacks.Start(found.perturbation)
    larger = run(first, dynamic.Descent(), batch, 1.0 + 1e-5, start=start)
    assert (larger.objective.numpy() >= found.objective.numpy() * (1 - 1e-5)).all()


def flag(reached, name, **settings):
    flags = {one.name: one for one in flags_of_results(reached, **settings)}
    return flags[name]


def test_a_dynamic_model_that_was_attacked_by_its_gradient_alone_is_flagged():
    one = Reached("apgd-l2", 0, 1.0, 2.0)
    half = flag([one], "half attacked", track="dynamic")
    assert half.state == RAISED and half.case.found == 2
    assert half.case.note == "missing: no gradient, transfer"
    members = tuple(sort for _, sort, _ in Suite().members_of(every_member("dynamic-1")))
    whole = flag([one._replace(ways=members)], "half attacked", track="dynamic")
    assert whole.state == "passed"
    other = flag([one], "half attacked", track="random")
    assert other.case.note == OF_OTHERS
    with pytest.raises(ValueError, match="track must be one of"):
        flags_of_results([one], track="static")


def every_member(version):
    """The stored arrays of a suite of which each member reached 1."""
    return {f"reached_{member.name}": np.float32(1) for member in SUITES[version]}


def test_members_of_suites_are_of_their_sorts():
    sorts = {name: sort for name, sort, _ in Suite().members_of(every_member("dynamic-1"))}
    assert sorts == {
        "last-steps": "gradient",
        "straight": "gradient",
        "surrogate": "transfer",
        "square": "no gradient",
    }
    sorts = {name: sort for name, sort, _ in Suite().members_of(every_member("standard-1"))}
    assert sorts["one-step"] == "single step" and sorts["square"] == "no gradient"


# Random models


def test_no_draw_of_an_attack_is_one_of_the_models():
    model = Smoothed(ZeroFilled(), 0.1, 3, seed=5)
    index = tf.constant(INDEX)
    keys = {tuple(key) for key in model.keys(index).numpy()}
    for stream in (noise.ATTACK, noise.ATTACK_CHECK):
        for number in range(40):
            keys |= {tuple(key) for key in numbered_keys(5, stream, number, index).numpy()}
    assert len(keys) == 2 * (1 + 40 + 40)


@pytest.mark.slow
def test_what_is_left_on_other_draws_is_the_mean_over_them(batch):
    model = Smoothed(broken.Bent(), 0.1, 30)
    result = run(AutoProjectedGradient(steps=3, draws=30, seed=5), model, batch)
    # 100 draws are 4 answers of 30.
    values = []
    for number in range(4):
        keys = numbered_keys(5, noise.ATTACK_CHECK, number, tf.constant(INDEX))
        changed = model.sense.forward(result.perturbation, batch["sensitivity_maps"], batch["mask"])
        attacked = {**batch, "kspace": batch["kspace"] + changed}
        moved = model.reconstruct(attacked, keys) - model.reconstruct(batch, keys)
        values.append(np.square(moved).sum((1, 2)) / 2)
    assert math.ceil(CHECK_DRAWS / 30) == 4
    np.testing.assert_allclose(result.unseen, np.mean(values, 0), rtol=1e-4)


@pytest.mark.slow
def test_an_attack_that_sees_no_fresh_draws_is_not_checked_with_others(batch):
    model = Smoothed(ZeroFilled(), 0.1, 3)
    for one, settings in ((model, {"noise": "fixed"}), (ZeroFilled(), {})):
        result = run(PowerIteration(steps=1, **settings), one, batch)
        assert result.unseen is None
        assert "unseen" not in PowerIteration().arrays(result)


def eot(attack, result):
    """The flag on the draws of an attack, from what is stored of each image."""
    reached = []
    for number, stored in enumerate(stored_of(attack, result)):
        seen, unseen = attack.on_draws(stored)
        reached.append(Reached(attack.kind, number, 1.0, seen, seen=seen, unseen=unseen))
    return flag(reached, "EoT too small")


def stored_of(attack, result):
    found = []
    for number in range(len(result.objective)):
        one = {}
        for name in ("perturbation", "reconstruction", "objective", "unseen"):
            one[name] = getattr(result, name)[number : number + 1]
        history = result.history[..., number]
        stored = attack.arrays(result._replace(**one))
        found.append({**stored, "history": history.numpy()})
    return found


@pytest.mark.slow
def test_an_attack_that_has_learned_its_draws_is_flagged(batch):
    # A model that hears the noise far more than the object.
    model = Smoothed(broken.Bent(), 1.0, 1)
    few, many = (AutoProjectedGradient(steps=30, draws=draws) for draws in (1, 60))
    learned = eot(few, run(few, model, batch))
    assert learned.raised and learned.case.found > 0.05
    assert "on the draws that it saw" in learned.case.note
    assert eot(many, run(many, model, batch)).case.found < 0.5 * learned.case.found


@pytest.mark.slow
def test_an_attack_says_what_is_left_on_other_draws(batch):
    model = Smoothed(broken.Bent(), 0.5, 2)
    attack = AutoProjectedGradient(steps=3)
    stored = stored_of(attack, run(attack, model, batch))
    seen, unseen = np.mean([attack.on_draws(one) for one in stored], 0)
    assert attack.remark(stored) == f"on its own draws {seen:.4g}, on 100 others {unseen:.4g}"


@pytest.mark.slow
def test_a_suite_keeps_what_is_left_of_its_strongest_member(batch):
    model = Smoothed(broken.Bent(), 0.3, 4)
    result = run(Suite(draws=4), model, batch)
    objective = Objective(model, model.measured(batch), tf.constant(INDEX), sets=1)
    np.testing.assert_allclose(result.unseen, objective.unseen(result.perturbation, 25), rtol=1e-4)
    seen = np.max([value.numpy() for value in result.reached.values()], 0)
    np.testing.assert_allclose(seen, result.history.numpy().max((0, 1)), rtol=1e-6)


class KnownDraws(broken.Bent):
    """It adds noise by its key. For the keys that it announces, its gradient is that of another
    image.
    """

    draws = 1

    def keys(self, index):
        return noise.keys(3, noise.SMOOTHING, index)

    def answer(self, inputs, key=None):
        image = inputs["zero_filled"]
        own = tf.reduce_all(key[:, :1] == self.keys(tf.constant(INDEX))[:, :1])

        @tf.custom_gradient
        def masked(image):
            def gradient(cotangent):
                return tf.where(own, tf.roll(cotangent, [12, 10], [1, 2]), cotangent)

            return tf.identity(image), gradient

        drawn = noise.image_noise(self.sense, inputs["sensitivity_maps"], inputs["mask"], key)
        return magnitude(broken.bent(masked(image) + 0.02 * drawn))


@pytest.mark.slow
def test_a_search_that_knows_the_draws_must_not_do_less(batch):
    model = KnownDraws()
    flags = {one.name: one for one in flags_of_model(model, batch, index=INDEX)}
    assert flags["known draws are no help"].raised
    sound = Smoothed(broken.Bent(), 0.05, 3)
    flags = {one.name: one for one in flags_of_model(sound, batch, index=INDEX)}
    found = flags["known draws are no help"]
    assert found.state == "passed"
    assert " of a search that knows the draws, " in found.case.note
    flags = {one.name: one for one in flags_of_model(broken.Bent(), batch, index=INDEX)}
    assert flags["known draws are no help"].case.note == OF_OTHERS
