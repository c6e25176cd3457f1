"""What holds for every model that `MODELS` names, on slices of a few pixels.

A new model adds a row to ROWS. What is of one model alone is tested in a module of its own.
"""

import inspect
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfvn import load_model
from tfvn.attacks import ProjectedGradientAscent
from tfvn.attacks.threats import THREATS
from tfvn.defences.smoothing import Smoothed
from tfvn.models import MODELS, ZeroFilled
from tfvn.models.contract import check_gradient
from tfvn.physics import measurement


class Row(NamedTuple):
    """A small model.

    name: in MODELS.
    settings: that make it small.
    case: of its slices, as `make_case` has them.
    """

    name: str
    settings: dict = {}
    case: dict = {}


ROWS = {
    "variational": Row("variational", dict(num_stages=2, filters=2, kernel_size=3, num_centers=5)),
    "zero-filled": Row("zero-filled"),
    "cg-sense": Row("cg-sense", dict(mu=1.0, tolerance=1e-12, iterations=20)),
    "total-variation": Row("total-variation", dict(weight=0.01, iterations=5)),
    "wavelet": Row("wavelet", dict(weight=0.01, levels=2, iterations=5)),
    "rim": Row("rim", dict(filters=3, num_steps=2)),
    "modl": Row(
        "modl",
        # Far from solved: the gradient is that of the steps.
        dict(num_iterations=2, num_layers=2, filters=3, cg_steps=3, tolerance=0),
    ),
    "cascade": Row(
        "cascade", dict(num_cascades=2, num_layers=2, filters=3, cg_steps=3, tolerance=0)
    ),
    "cascade of replaced samples": Row(
        "cascade",
        dict(num_cascades=2, num_layers=2, filters=3, data_step="replace", mu=0),
        dict(coils=1),
    ),
    "monotone": Row(
        "monotone", dict(num_stages=2, data_steps=2, filters=2, kernel_size=3, num_pieces=3)
    ),
    "convex-ridge": Row(
        "convex-ridge",
        dict(
            mu=30.0,
            strength=1.0,
            filters=2,
            kernel_size=3,
            num_pieces=3,
            tolerance=1e-12,
            gradient_tolerance=1e-12,
            iterations=16,
        ),
    ),
    "unet": Row("unet", dict(channels=2, pools=2)),
    "unet of magnitudes": Row("unet", dict(channels=2, pools=1, image="magnitude")),
    "e2e-varnet": Row("e2e-varnet", dict(num_cascades=1, channels=2, pools=1)),
    "e2e-varnet of found maps": Row(
        "e2e-varnet",
        dict(num_cascades=1, channels=2, pools=1, sensitivity_channels=2, sensitivity_pools=1),
    ),
    "dagan": Row("dagan", dict(filters=2, levels=2)),
    "automap": Row(
        "automap",
        dict(height=24, width=20, hidden=8, filters=2),
        dict(coils=1, height=24, width=20),
    ),
}
every_model = pytest.mark.parametrize("row", ROWS)
# Of what takes long, a model of each view and a loop of each kind.
SHORT = ("variational", "zero-filled", "modl", "unet of magnitudes")


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def test_every_model_has_a_row():
    assert {row.name for row in ROWS.values()} == set(MODELS)


class Small:
    """A model in float64 with its slices and its one graph.

    Args:
        row: of ROWS.
        case: the function `make_case`.
    """

    def __init__(self, row, case):
        self.model = MODELS[row.name](**row.settings, dtype="float64")
        self.case = lambda seed: case(2, dtype="complex128", seed=seed, **row.case)
        self.inputs = self.model.measured(self.case(0))
        self.shape = self.model.zero_filled(self.case(0)).shape
        self._graph = tf.function(self._differentiate, autograph=False)
        self._maps_graph = tf.function(self._differentiate_maps, autograph=False)

    def _differentiate_maps(self, inputs, kspace, change, weight):
        with tf.GradientTape() as tape:
            tape.watch(change)
            known = {"kspace": kspace}
            changed = THREATS["maps"].enter(self.model.sense, inputs, change, known)
            value = tf.reduce_sum(weight * self.model.answer(changed))
        return value, tape.gradient(value, change)

    def value_and_maps_gradient(self, change, weight):
        """sum(weight * f) of wrong maps, and its gradient in their change; None without one."""
        kspace = tf.constant(self.case(0)["kspace"])
        found = self._maps_graph(self.inputs, kspace, tf.constant(change), tf.constant(weight))
        return [None if x is None else x.numpy() for x in found]

    def _differentiate(self, inputs, perturbation, weight):
        with tf.GradientTape() as tape:
            tape.watch(perturbation)
            changed = measurement.perturbed(self.model.sense, inputs, perturbation)
            image = self.model.answer(changed)
            value = tf.reduce_sum(weight * image)
        return image, tape.gradient(value, perturbation)

    def image_and_gradient(self, inputs, perturbation, weight):
        """f(k + A r) of perturbations r, and the gradient of sum(weight * f(k + A r)) in r."""
        weight, perturbation = tf.constant(weight), tf.constant(perturbation)
        image, gradient = self._graph(inputs, perturbation, weight)
        return image.numpy(), gradient.numpy()


_made = {}


@pytest.fixture
def small(row, case):
    """The small model of a row, made once."""
    if row not in _made:
        _made[row] = Small(ROWS[row], case)
    return _made[row]


@pytest.fixture
def eagerly():
    """Functions run without a trace, which would take longer than all that is computed here."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def complex_normal(seed, shape):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@every_model
def test_the_gradient_in_the_perturbation_matches_central_differences(small):
    weight = np.random.default_rng(1).standard_normal(small.shape)
    start, direction = (complex_normal(seed, small.shape) for seed in (2, 3))
    start *= 0.01
    _, gradient = small.image_and_gradient(small.inputs, start, weight)
    step = 1e-6
    ends = []
    for sign in (1, -1):
        image, _ = small.image_and_gradient(small.inputs, start + sign * step * direction, weight)
        ends.append(np.sum(weight * image))
    expected = (ends[0] - ends[1]) / (2 * step)
    assert np.vdot(gradient, direction).real == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow_cases
@every_model
def test_the_gradient_in_the_coil_maps_matches_central_differences_or_is_refused(small):
    shape = small.inputs["sensitivity_maps"].shape
    weight = np.random.default_rng(1).standard_normal(small.shape)
    start, direction = (complex_normal(seed, shape) for seed in (2, 3))
    start *= 0.003
    # Maps are long: of a large step some unit of a network passes 0.
    step = 1e-8
    _, gradient = small.value_and_maps_gradient(start, weight)
    ends = []
    for sign in (1, -1):
        value, _ = small.value_and_maps_gradient(start + sign * step * direction, weight)
        ends.append(value)
    expected = (ends[0] - ends[1]) / (2 * step)
    if gradient is None:
        # It reads no maps.
        assert small.model.reads == "kspace" and expected == 0
    elif small.model.has_maps_gradient:
        assert np.vdot(gradient, direction).real == pytest.approx(expected, rel=1e-6)
        assert abs(expected) > 1e-3
    if gradient is None or not small.model.has_maps_gradient:
        with pytest.raises(ValueError, match="has no gradient in sensitivity_maps"):
            check_gradient(small.model, gradient, "sensitivity_maps")


def test_only_models_that_are_differentiated_by_hand_have_no_gradient_in_the_maps():
    without = {name for name, model in MODELS.items() if not model.has_maps_gradient}
    assert without == {"total-variation", "wavelet"}
    assert not Smoothed(ZeroFilled(), 0.1).has_maps_gradient


@pytest.mark.slow_cases
@every_model
def test_what_was_not_sampled_does_not_matter(small):
    inputs = small.case(0)
    elsewhere = np.where(inputs["mask"] > 0, 0, complex_normal(4, inputs["kspace"].shape))
    changed = small.model.measured({**inputs, "kspace": inputs["kspace"] + elsewhere})
    nothing = np.zeros(small.shape, complex)
    weight = np.random.default_rng(1).standard_normal(small.shape)
    image, gradient = small.image_and_gradient(changed, nothing, weight)
    expected, expected_gradient = small.image_and_gradient(small.inputs, nothing, weight)
    assert np.abs(elsewhere).max() > 1
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.slow_cases
@every_model
def test_a_slice_does_not_depend_on_its_batch_mate(small):
    other = small.model.measured(small.case(1))
    mixed = {}
    for key, value in small.inputs.items():
        # The mate is of another scale as well.
        scale = 1
        if value.dtype.is_complex and key != "sensitivity_maps":
            scale = 3
        mixed[key] = tf.concat([value[:1], scale * other[key][1:]], 0)
    r = complex_normal(2, small.shape)
    weight = np.random.default_rng(1).standard_normal(small.shape)
    alone, gradient = small.image_and_gradient(small.inputs, r, weight)
    mated, mated_gradient = small.image_and_gradient(mixed, r, weight)
    np.testing.assert_allclose(mated[0], alone[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(mated_gradient[0], gradient[0], rtol=0, atol=1e-6)


@every_model
def test_a_model_comes_back_from_its_file(small, tmp_path):
    path = tmp_path / "model.keras"
    small.model.save(path)
    loaded = load_model(path)
    assert type(loaded) is type(small.model)
    assert loaded.get_config() == small.model.get_config()
    expected = np.abs(small.model(small.inputs))
    np.testing.assert_allclose(np.abs(loaded(small.inputs)), expected, rtol=0, atol=1e-12)


@pytest.mark.slow_cases
@every_model
def test_a_damaged_and_a_foreign_file_are_refused(small, tmp_path):
    path, cut = tmp_path / "model.keras", tmp_path / "cut.keras"
    small.model.save(path)
    content = path.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut.keras: damaged or cut off"):
        load_model(cut)
    if not small.model.weights:
        return
    other, foreign = tmp_path / "other.keras", tmp_path / "foreign.keras"
    ZeroFilled().save(other)
    with zipfile.ZipFile(foreign, "w") as archive:
        with zipfile.ZipFile(path) as own:
            archive.writestr("config.json", own.read("config.json"))
        with zipfile.ZipFile(other) as others:
            archive.writestr("model.weights.h5", others.read("model.weights.h5"))
    with pytest.raises(ValueError, match="foreign.keras: cannot be loaded as a model of tfvn"):
        load_model(foreign)


# The others have their gradients compared with central differences above.
@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("row", [name if name in SHORT else slow(name) for name in ROWS])
def test_a_model_is_smoothed_and_attacked_in_single_precision(row, case, eagerly):
    name, settings, own_case = ROWS[row]
    smoothed = Smoothed(MODELS[name](**settings), 0.05, 2)
    inputs = case(1, **own_case)
    result = ProjectedGradientAscent(steps=1).run(smoothed, inputs, 0.5)
    clean = smoothed.reconstruct(inputs)
    assert result.reconstruction.dtype == clean.dtype == tf.float32
    assert result.reconstruction.shape == clean.shape
    assert float(tf.norm(tf.abs(result.perturbation))) <= 0.5 * (1 + 1e-5)
    assert 0 < float(result.objective[0]) < np.inf


@pytest.mark.slow_cases
@every_model
def test_large_seeds_give_weights_of_their_own(row):
    name, settings, _ = ROWS[row]
    if "seed" not in inspect.signature(MODELS[name]).parameters:
        pytest.skip("the model has no seed")
    found = []
    # Keras 3 takes seeds modulo 2^31 - 2, and 1000 * (2^30 - 1) is a multiple of that.
    for seed in (0, 2**30 - 1, 2**31 - 1):
        model = MODELS[name](**settings, seed=seed)
        found.append(np.concatenate([np.ravel(weight) for weight in model.get_weights()]))
    assert np.isfinite(found).all()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (found[one] != found[other]).mean() > 0.5


@pytest.mark.slow_cases
@every_model
def test_a_model_takes_odd_sizes_and_half_of_the_readout(row, case):
    name, settings, own_case = ROWS[row]
    if "height" in own_case:
        pytest.skip("the model is of one size")
    own_case = {"coils": 3, **own_case, "height": 46, "width": 19, "readout_oversampling": True}
    model = MODELS[name](**settings, readout_oversampling=True)
    image = model(case(2, **own_case)).numpy()
    assert image.shape == (2, 23, 19)
    assert np.isfinite(image).all() and np.abs(image).max() > 0


@pytest.mark.slow_cases
@every_model
def test_sizes_may_be_unknown_while_tracing(row):
    model = MODELS[ROWS[row].name](**ROWS[row].settings)
    arrays = tf.TensorSpec([None, None, None, None], "complex64")
    specs = {
        "sensitivity_maps": arrays,
        "mask": tf.TensorSpec([None, 1, None, None], "float32"),
        "kspace": arrays,
        "zero_filled": tf.TensorSpec([None, None, None], "complex64"),
    }
    read = {name: specs[name] for name in ("sensitivity_maps", "mask", model.reads)}
    traced = tf.function(model.answer, autograph=False).get_concrete_function(read)
    assert traced.structured_outputs.shape.rank == 3
