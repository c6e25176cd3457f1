"""Reconstructions without learning: the equations that they solve, and BART's answers to them."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvn import config, data
from tfvn.models import CGSense, TotalVariation, Wavelet
from tfvn.models.sparse import Differences, Haar
from tfvn.physics.sense import Sense

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TRANSFORMS = {"differences": Differences(), "one level": Haar(1), "three levels": Haar(3)}


def complex_normal(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def compiled(model, inputs):
    """The complex image, without TensorFlow's time for single operations."""
    return tf.function(model.call, autograph=False)(model.measured(inputs))


# CG-SENSE


@pytest.mark.slow_cases
@pytest.mark.parametrize("mask", ["columns", "weights"])
@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_cg_sense_equals_the_dense_solution(case, mask, readout_oversampling):
    inputs = case(1, 2, 9, 6, mask, "complex128", readout_oversampling=readout_oversampling)
    sense = Sense(readout_oversampling, dtype="float64")
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    zero_filled = sense.adjoint(inputs["kspace"], maps, mask)
    size = zero_filled.shape[1] * zero_filled.shape[2]
    units = np.eye(size).reshape(-1, *zero_filled.shape[1:]).astype("complex128")
    # The columns of A, from its definition.
    matrix = sense.forward(units, maps, mask).numpy().reshape(size, -1).T
    normal = matrix.conj().T @ matrix + 0.05 * np.eye(size)
    expected = np.linalg.solve(normal, matrix.conj().T @ inputs["kspace"].ravel())
    model = CGSense(0.05, 1e-12, 200, readout_oversampling, dtype="float64")
    np.testing.assert_allclose(np.ravel(model(inputs)), expected, rtol=0, atol=1e-10)


def test_with_the_shipped_settings_cg_sense_ends_by_its_tolerance(case):
    model = config.load(CONFIGS / "models" / "cg_sense.yaml").model.make()
    statistics = model.statistics(case(1, 4, 24, 20))
    # Too few iterations prove nothing.
    short = CGSense(model.mu, model.tolerance, 100)
    assert model.certificates[0].bound(statistics, 1.0) < 100
    assert short.certificates[0].bound(statistics, 1.0) == np.inf


def test_with_a_small_mu_the_gradient_is_that_of_the_result(case):
    inputs = case(1, 4, 24, 20, dtype="complex128")
    model = CGSense(0.0003, 1e-10, dtype="float64")
    given = model.measured(inputs)
    direction = tf.constant(complex_normal(1, *given["zero_filled"].shape))
    factor = tf.constant(complex_normal(2, *given["zero_filled"].shape))

    @tf.function(autograph=False)
    def value(step):
        moved = {
            **given,
            "zero_filled": given["zero_filled"] + tf.cast(step, tf.complex128) * direction,
        }
        return tf.reduce_sum(tf.math.real(tf.math.conj(factor) * model.call(moved)))

    step = tf.constant(0.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(step)
        found = value(step)
    found = tape.gradient(found, step)
    expected = (value(tf.constant(1e-2, tf.float64)) - value(tf.constant(-1e-2, tf.float64))) / 2e-2
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


# Sparse images


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(8, 8), (7, 5)])
def test_synthesis_is_the_adjoint_of_analysis(name, shape):
    transform = TRANSFORMS[name]
    image = complex_normal(0, 2, *shape)
    coefficients = transform.analyse(image)
    other = complex_normal(1, *coefficients.shape)
    one = np.vdot(other, coefficients)
    np.testing.assert_allclose(np.vdot(transform.synthesise(other), image), one, rtol=1e-12)


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_norm_of_a_transform_is_bounded(name):
    transform = TRANSFORMS[name]
    image = complex_normal(0, 1, 16, 16)
    for _ in range(200):
        image = transform.synthesise(transform.analyse(image))
        norm = np.linalg.norm(image)
        image /= norm
    assert 0.95 * transform.squared_norm < norm <= transform.squared_norm * (1 + 1e-12)


def test_the_wavelets_of_a_constant_are_zero_and_of_a_zero_mean_keep_its_norm():
    assert not np.any(Haar(3).analyse(np.ones((1, 8, 8), "complex128")))
    image = complex_normal(0, 1, 8, 8)
    image -= image.mean()
    # After three levels, what is left of 8 x 8 pixels is their mean.
    norm = np.linalg.norm(Haar(3).analyse(image))
    assert norm == pytest.approx(np.linalg.norm(image), rel=1e-12)


def test_the_differences_of_a_ramp_are_its_slopes_and_zero_at_the_last_row_and_column():
    rows, columns = np.mgrid[:4, :3]
    found = Differences().analyse((2.0 * rows + 3j * columns)[None])[0].numpy()
    assert (found[0, :-1] == 2).all() and not found[0, -1].any()
    assert (found[1, :, :-1] == 3j).all() and not found[1, :, -1].any()


@pytest.mark.slow
@pytest.mark.parametrize("Model", [TotalVariation, Wavelet])
def test_the_objective_falls_to_its_minimum(case, Model):
    inputs = case(2, mask="weights", dtype="complex128")
    values = []
    for iterations in (1, 10, 100, 600):
        model = Model(weight=0.05, iterations=iterations, dtype="float64")
        image = compiled(model, inputs)
        values.append(model.objective(inputs, image).numpy())
    first, tenth, hundredth, last = values
    assert (tenth < first).all() and (hundredth < tenth).all()
    np.testing.assert_allclose(hundredth, last, rtol=1e-3)
    # A minimum is lower than everything around it. The objective is convex.
    for size in (1e-3, 1e-1):
        for seed in range(5):
            moved = image + size * complex_normal(seed, *image.shape)
            assert (model.objective(inputs, moved).numpy() > last).all()


@pytest.mark.slow
def test_the_total_variation_satisfies_the_condition_of_a_minimum(case):
    inputs = case(1, 2, 8, 6, dtype="complex128")
    model = TotalVariation(0.1, 3000, dtype="float64")
    image = compiled(model, inputs)
    slope = model.zero_filled(inputs) - model.sense.normal(
        image, inputs["sensitivity_maps"], inputs["mask"]
    )
    differences = Differences().analyse(image)
    total = np.sum(np.sqrt(Differences().squared_magnitudes(differences)))
    # <slope, u> = weight TV(u), and |<slope, v>| <= weight TV(v) for all v: slope is a subgradient.
    assert np.vdot(image, slope).real == pytest.approx(0.1 * total, rel=1e-6)
    for seed in range(20):
        other = complex_normal(seed, *image.shape)
        magnitudes = Differences().squared_magnitudes(Differences().analyse(other))
        assert abs(np.vdot(other, slope)) <= 0.1 * np.sum(np.sqrt(magnitudes)) * (1 + 1e-9)
    # Some of it is flat, and some is not.
    sizes = np.sqrt(Differences().squared_magnitudes(differences))
    assert (sizes < 1e-6).any() and (sizes > 1e-2).any()


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: CGSense(mu=-1), "mu must be a number > 0. Received: mu=-1"),
        (lambda: CGSense(tolerance=0), "tolerance must be a number > 0 and < 1"),
        (lambda: CGSense(iterations=0), "iterations must be a whole number >= 1"),
        (lambda: TotalVariation(weight=0), "weight must be a number >= 1e-12. Received: weight=0"),
        (lambda: TotalVariation(iterations=2.5), "iterations must be a whole number >= 1"),
        (lambda: Wavelet(levels=0), "levels must be a whole number >= 1"),
    ],
)
def test_wrong_settings_are_refused(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


# BART


def to_cfl(path, array):
    """Writes an array as BART reads it: single precision, the first axis fastest."""
    with open(f"{path}.hdr", "w", encoding="ascii") as file:
        file.write(f"# Dimensions\n{' '.join(map(str, array.shape))}\n")
    array.astype("complex64").ravel(order="F").tofile(f"{path}.cfl")


def from_cfl(path):
    with open(f"{path}.hdr", encoding="ascii") as file:
        shape = [int(size) for size in file.read().splitlines()[1].split()]
    return np.fromfile(f"{path}.cfl", "complex64").reshape(shape, order="F")


def as_bart_has_it(coils):
    """(coils, height, width) as (height, width, slices, coils)."""
    return np.moveaxis(coils, 0, -1)[:, :, None]


@pytest.fixture(scope="module")
def brain(shared_data):
    """A measurement of 16 coils, undersampled fourfold: kspace, maps and mask."""
    path = shared_data("brain_16ch_raw.mat")
    configured = config.load(CONFIGS / "brain.yaml", ["model=cg-sense", f"data.path={path}"])
    inputs, _ = next(iter(data.load(configured, "test")))
    return {key: inputs[key].numpy() for key in ("kspace", "sensitivity_maps", "mask")}


@pytest.fixture
def pics(brain, tmp_path):
    """A function from the arguments of `bart pics` to its image of the brain."""
    if not shutil.which("bart"):
        pytest.skip("bart is not installed")
    mask = np.broadcast_to(brain["mask"][0], brain["kspace"][0, :1].shape)
    to_cfl(tmp_path / "pattern", as_bart_has_it(mask))
    to_cfl(tmp_path / "kspace", as_bart_has_it(brain["kspace"][0]))
    to_cfl(tmp_path / "maps", as_bart_has_it(brain["sensitivity_maps"][0]))

    def run(*arguments):
        # Without -w 1 BART divides the data by a scale of its own, and `mu` means something else.
        command = [
            "bart",
            "pics",
            "-w",
            "1",
            "-p",
            "pattern",
            *arguments,
            "kspace",
            "maps",
            "image",
        ]
        # Its threads wait for each other busily, which takes minutes beside other programs.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        return np.squeeze(from_cfl(tmp_path / "image"))[None]

    return run


@pytest.mark.slow_cases
@pytest.mark.parametrize("mu", [0.001, 0.1])
def test_cg_sense_equals_that_of_bart_on_a_real_measurement(brain, pics, mu):
    expected = pics("-l2", "-r", str(mu), "-i", "50")
    found = CGSense(mu)(brain).numpy()
    difference = np.linalg.norm(found - expected)
    assert difference < 1e-4 * np.linalg.norm(expected)


@pytest.mark.slow
def test_the_minimum_of_total_variation_is_that_of_bart_on_a_real_measurement(brain, pics):
    model = TotalVariation(weight=0.001)
    # Flag 3: differences along both axes of the image.
    expected = model.objective(brain, pics("-R", "T:3:0:0.001", "-i", "300"))
    found = model.objective(brain, model(brain))
    np.testing.assert_allclose(found, expected, rtol=0.01)
    assert float(found[0]) < 1.0001 * float(expected[0])
