import numpy as np
import pytest
import tensorflow as tf

from tfvn.data import DataWarning
from tfvn.defences.smoothing import Smoothed
from tfvn.models import Reconstructor, VariationalNetwork
from tfvn.physics.fourier import fft2c
from tfvn.physics.sense import Sense

SETTINGS = dict(num_stages=2, filters=4, kernel_size=3)


class Stub(Reconstructor):
    """The least that can be smoothed: a real function of `zero_filled`."""

    reads_initial_image = True

    def __init__(self, function, dtype=None):
        super().__init__(dtype=dtype)
        self.function = function
        self.built = True

    def answer(self, inputs, key=None):
        return self.function(inputs["zero_filled"])


@pytest.fixture(scope="module")
def network():
    return VariationalNetwork(**SETTINGS)


def smoothed(network, inputs, sigma=0.1, num_samples=7, chunk_size=1, seed=0, index=None):
    model = Smoothed(network, sigma, num_samples, chunk_size, seed)
    key = None if index is None else model.keys(index)
    return model.reconstruct(inputs, key).numpy()


@pytest.mark.slow
def test_without_noise_it_is_the_network(case, network):
    np.testing.assert_array_equal(smoothed(network, case(), sigma=0), network.reconstruct(case()))


@pytest.mark.slow
@pytest.mark.one_stack
def test_draws_are_independent(case):
    # Draw by draw: K g_K - (K - 1) g_(K-1) is the K-th draw, a reconstruction of its own noisy
    # measurement.
    inputs, model = case(), Stub(tf.math.real)
    draws = [
        k * smoothed(model, inputs, num_samples=k)
        - (k - 1) * smoothed(model, inputs, num_samples=k - 1)
        for k in (2, 3)
    ]
    noise = [draw - np.real(model.zero_filled(inputs)) for draw in draws]
    assert np.linalg.norm(noise[0]) > 0.1
    assert abs(np.vdot(*noise)) < 0.3 * np.linalg.norm(noise[0]) * np.linalg.norm(noise[1])


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("num_samples", [10, 100, 1000])
def test_of_a_linear_map_the_mean_tends_to_the_map_as_one_over_root_k(case, num_samples):
    # E ||Re A^H mean(e)||^2 = sigma^2 trace(A^H A) / K, and the trace is that of the mask for
    # unit-RSS maps.
    inputs, model, sigma = case(), Stub(tf.math.real), 0.1
    error = smoothed(model, inputs, sigma, num_samples) - np.real(model.zero_filled(inputs))
    expected = sigma**2 * 24 * inputs["mask"].sum() / num_samples
    assert (error**2).sum() == pytest.approx(expected, rel=0.4)


@pytest.mark.slow_cases
@pytest.mark.parametrize("chunk_size", [1, 3])
def test_single_draws_are_those_whose_mean_is_the_answer(case, network, chunk_size):
    model, inputs = Smoothed(network, 0.1, 7, chunk_size), case(batch=2)
    key = model.keys([4, 5])
    draws = [draw.numpy() for draw in model.single_draws(inputs, key, 7)]
    assert len(draws) == 7 and draws[0].shape == (2, 24, 20)
    np.testing.assert_allclose(np.mean(draws, 0), model.reconstruct(inputs, key), atol=1e-6)
    spread = model.statistics(inputs, key).deviation
    np.testing.assert_allclose(np.std(draws, 0, ddof=1), spread, atol=1e-6)


@pytest.mark.slow_cases
@pytest.mark.parametrize("chunk_size", [3, 7, 20])
def test_the_chunk_size_does_not_matter(case, network, chunk_size):
    inputs = case(batch=2)
    expected = smoothed(network, inputs)
    np.testing.assert_allclose(
        smoothed(network, inputs, chunk_size=chunk_size), expected, rtol=0, atol=1e-6
    )


def test_the_same_seed_gives_the_same_bytes(case, network):
    np.testing.assert_array_equal(
        smoothed(network, case(), seed=3), smoothed(network, case(), seed=3)
    )


def test_another_seed_gives_other_noise(case, network):
    assert (smoothed(network, case(), seed=3) != smoothed(network, case(), seed=4)).any()


def test_a_key_takes_the_place_of_the_model_s_own(case, network):
    key = np.array([[9, 9]], np.int32)
    images = [Smoothed(network, 0.1, 7, 1, seed).reconstruct(case(), key) for seed in (3, 4)]
    np.testing.assert_array_equal(*images)
    assert (images[0].numpy() != smoothed(network, case())).any()


@pytest.mark.parametrize(
    "key", [np.array([1, 2]), np.array([[0.5, 1]]), np.array([[1, 2, 3]]), 7, "seed"]
)
def test_a_key_of_another_kind_is_refused(case, network, key):
    with pytest.raises(ValueError, match="key must be whole numbers of shape .*Received: key="):
        Smoothed(network, 0.1, 2).reconstruct(case(), key)


def test_batch_mates_do_not_matter(case, network):
    inputs, index = case(batch=3), np.array([5, 8, 2])
    together = smoothed(network, inputs, index=index)
    for i in range(3):
        own = {key: x[i : i + 1] for key, x in inputs.items()}
        alone = smoothed(network, own, index=index[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-6)


def test_images_share_their_noise_if_and_only_if_they_share_their_index(case, network):
    inputs = {key: np.repeat(x, 3, 0) for key, x in case().items()}
    same = smoothed(network, inputs)
    np.testing.assert_allclose(same[1:], same[:2], rtol=0, atol=1e-6)
    images = smoothed(network, inputs, index=np.array([0, 1, 0]))
    np.testing.assert_allclose(images[0], images[2], rtol=0, atol=1e-6)
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_one_mask_serves_the_whole_batch(case, network):
    inputs = case(batch=2)
    inputs["mask"] = inputs["mask"][:1]
    repeated = {**inputs, "mask": np.repeat(inputs["mask"], 2, 0)}
    np.testing.assert_array_equal(smoothed(network, inputs), smoothed(network, repeated))


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_noise_lives_on_sampled_entries_alone_and_has_the_given_deviation(case, mask):
    # One coil of unit sensitivity: the k-space of A^H (k + e) is k + e itself.
    inputs = case(coils=1, height=48, width=40, mask=mask)
    inputs["sensitivity_maps"] = np.ones_like(inputs["sensitivity_maps"])
    sampled = np.broadcast_to(inputs["mask"][:, 0] > 0, (1, 48, 40))
    for part in (tf.math.real, tf.math.imag):
        spectra = Stub(lambda zero_filled, part=part: part(fft2c(zero_filled)))
        noise = smoothed(spectra, inputs, sigma=0.1, num_samples=1) - part(inputs["kspace"][:, 0])
        np.testing.assert_allclose(noise[~sampled], 0, atol=1e-6)
        assert np.std(noise[sampled]) == pytest.approx(0.1, rel=0.1)


def test_a_separate_initial_image_gets_the_same_noise(case):
    class Difference(Stub):
        def answer(self, inputs, key=None):
            return tf.math.real(inputs["initial_image"] - inputs["zero_filled"])

    model, inputs = Difference(None), case()
    inputs["initial_image"] = 2 * model.zero_filled(inputs)
    np.testing.assert_allclose(
        smoothed(model, inputs), np.real(model.zero_filled(inputs)), rtol=0, atol=1e-6
    )


class Counted(Stub):
    """Counts how often it is traced."""

    traced = 0

    def answer(self, inputs, key=None):
        self.traced += 1
        return super().answer(inputs, key)


def test_the_same_shapes_are_traced_once(case):
    network = Counted(tf.math.real)
    model = Smoothed(network, 0.1, 3)
    model.reconstruct(case())
    traced = network.traced
    for seed in range(3):
        model.reconstruct(case(seed=seed))
    assert network.traced == traced


@pytest.mark.slow_cases
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_sizes_may_be_unknown_while_tracing(case, network, chunk_size):
    inputs, model = case(batch=2), Smoothed(network, 0.1, 3, chunk_size)
    signature = {
        key: tf.TensorSpec([None] * 4, tf.complex64) for key in ("kspace", "sensitivity_maps")
    }
    signature["mask"] = tf.TensorSpec([None, 1, 1, None])
    traced = tf.function(model.reconstruct, input_signature=[signature])
    np.testing.assert_allclose(traced(inputs), model.reconstruct(inputs), rtol=0, atol=1e-6)


def test_a_temporary_smoothed_network_reconstructs(case):
    assert Smoothed(VariationalNetwork(**SETTINGS), 0.1, 2).reconstruct(case()).shape == (
        1,
        24,
        20,
    )


# Settings that are changed later


CHANGES = [
    dict(sigma=0.3),
    dict(num_samples=8),
    dict(seed=5),
    dict(sigma=0.0),
    dict(sigma=0.05, num_samples=1, seed=-2),
]


@pytest.mark.slow_cases
@pytest.mark.parametrize("chunk_size", [1, 3])
def test_a_setting_changed_later_acts_as_one_of_a_new_model_and_traces_nothing(case, chunk_size):
    settings, inputs = dict(sigma=0.1, num_samples=7, seed=0), case(batch=2)
    network = Counted(tf.math.real)
    model = Smoothed(network, chunk_size=chunk_size, **settings)
    previous = model.reconstruct(inputs).numpy()
    traced = network.traced
    for change in CHANGES:
        settings.update(change)
        for name, value in change.items():
            setattr(model, name, value)
            assert getattr(model, name) == value
        result = model.reconstruct(inputs).numpy()
        assert network.traced == traced
        other = smoothed(Stub(tf.math.real), inputs, chunk_size=chunk_size, **settings)
        np.testing.assert_array_equal(result, other)
        assert (result != previous).any()
        previous = result


@pytest.mark.parametrize(
    "name, value",
    [
        ("sigma", -0.1),
        ("sigma", float("nan")),
        ("num_samples", 0),
        ("num_samples", 2.5),
        ("num_samples", "many"),
    ],
)
def test_a_wrong_value_is_refused_later_in_the_words_of_construction(network, name, value):
    settings = dict(sigma=0.1, num_samples=3)
    with pytest.raises(ValueError) as at_construction:
        Smoothed(network, **{**settings, name: value})
    assert f"Received: {name}={value!r}" in str(at_construction.value)
    model = Smoothed(network, **settings)
    with pytest.raises(ValueError) as later:
        setattr(model, name, value)
    assert str(later.value) == str(at_construction.value)
    assert (model.sigma, model.num_samples) == (0.1, 3)


# Gradients


def gradient(model, inputs, weight, key):
    variable = tf.constant(inputs[key])
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = tf.reduce_sum(weight * model.reconstruct({**inputs, key: variable}))
    return tape.gradient(value, variable)


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize(
    "key, chunk_size", [("kspace", 1), ("kspace", 2), ("zero_filled", 1), ("initial_image", 1)]
)
def test_the_gradient_matches_central_differences(case, key, chunk_size):
    network = VariationalNetwork(**SETTINGS, dtype="float64")
    model, inputs = (
        Smoothed(network, 0.05, 3, chunk_size),
        case(2, 2, 12, 10, dtype="complex128"),
    )
    rng = np.random.default_rng(2)
    if key != "kspace":
        inputs[key] = network.zero_filled(inputs).numpy()
    weight = rng.standard_normal((2, 12, 10))
    direction = rng.standard_normal(inputs[key].shape) + 1j * rng.standard_normal(inputs[key].shape)
    values = [
        np.sum(weight * model.reconstruct({**inputs, key: inputs[key] + step * direction}))
        for step in (1e-6, -1e-6)
    ]
    derivative = np.vdot(gradient(model, inputs, weight, key), direction).real
    assert derivative == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


@pytest.mark.slow
@pytest.mark.one_stack
def test_an_image_given_in_both_places_is_counted_once_in_each(case):
    network = VariationalNetwork(**SETTINGS, dtype="float64")
    model, inputs = Smoothed(network, 0.05, 3), case(1, 2, 12, 10, dtype="complex128")
    image = network.zero_filled(inputs)
    apart = {**inputs, "zero_filled": tf.identity(image), "initial_image": tf.identity(image)}
    expected = gradient(model, apart, 1.0, "zero_filled") + gradient(
        model, apart, 1.0, "initial_image"
    )
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(
            model.reconstruct({**inputs, "zero_filled": image, "initial_image": image})
        )
    np.testing.assert_allclose(tape.gradient(value, image), expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("chunk_size", [3, 7])
def test_the_gradient_does_not_depend_on_the_chunk_size(case, network, chunk_size):
    inputs = case(batch=2)
    expected = gradient(Smoothed(network, 0.1, 7), inputs, 1.0, "kspace")
    actual = gradient(Smoothed(network, 0.1, 7, chunk_size), inputs, 1.0, "kspace")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_model_that_reads_zero_filled_alone_has_a_gradient(case):
    # d sum(Re A^H k) / dk is A applied to an image of ones.
    inputs, model = case(), Stub(tf.math.real)
    expected = model.sense.forward(
        tf.ones([1, 24, 20], tf.complex64), inputs["sensitivity_maps"], inputs["mask"]
    )
    actual = gradient(Smoothed(model, 0.1, 3), inputs, 1.0, "kspace")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_there_is_no_gradient_in_the_weights(case, network):
    # Rather none than a part of it: training takes noisy copies.
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(Smoothed(network, 0.1, 2).reconstruct(case()))
    assert all(
        g is None or not np.any(g) for g in tape.gradient(value, network.trainable_variables)
    )


# A network that reads k-space alone


class Reader(Reconstructor):
    """A nonlinear function of `kspace`."""

    reads = "kspace"

    def __init__(self, dtype=None):
        super().__init__(dtype=dtype)
        self.built = True

    def answer(self, inputs, key=None):
        operands = [inputs[name] for name in ("kspace", "sensitivity_maps", "mask")]
        return of_zero_filled(self.sense.adjoint(*operands))


def of_zero_filled(image):
    return tf.square(tf.abs(image)) + tf.math.real(image)


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "mask, law", [("columns", "gaussian"), ("points", "laplace"), ("weights", "uniform")]
)
def test_smoothed_through_kspace_it_is_what_it_is_through_the_zero_filled_image(case, mask, law):
    # One draw, two views.
    inputs = case(2, mask=mask)
    by_image = Smoothed(Stub(of_zero_filled), 0.1, 5, seed=3, law=law)
    by_kspace = Smoothed(Reader(), 0.1, 5, seed=3, law=law)
    key = by_image.keys(np.array([4, 7]))
    expected = by_image.reconstruct(inputs, key)
    np.testing.assert_allclose(by_kspace.reconstruct(inputs, key), expected, rtol=0, atol=1e-5)
    for a, b in zip(by_image.statistics(inputs, key), by_kspace.statistics(inputs, key)):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_its_gradient_in_kspace_matches_central_differences(case, chunk_size):
    model, inputs = (
        Smoothed(Reader("float64"), 0.05, 3, chunk_size),
        case(2, 2, 12, 10, dtype="complex128"),
    )
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((2, 12, 10))
    direction = rng.standard_normal(inputs["kspace"].shape) + 1j * rng.standard_normal(
        inputs["kspace"].shape
    )
    values = [
        np.sum(
            weight * model.reconstruct({**inputs, "kspace": inputs["kspace"] + step * direction})
        )
        for step in (1e-6, -1e-6)
    ]
    derivative = np.vdot(gradient(model, inputs, weight, "kspace"), direction).real
    assert derivative == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_without_noise_a_reader_of_kspace_is_itself(case):
    np.testing.assert_allclose(
        smoothed(Reader(), case(), sigma=0), Reader().reconstruct(case()), rtol=0, atol=1e-6
    )


def test_its_batch_mates_do_not_matter(case):
    inputs, index = case(batch=3), np.array([5, 8, 2])
    together = smoothed(Reader(), inputs, index=index)
    for i in range(3):
        own = {key: x[i : i + 1] for key, x in inputs.items()}
        alone = smoothed(Reader(), own, index=index[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-6)


def test_it_is_not_given_zero_filled_alone(case):
    inputs = case()
    inputs["zero_filled"] = inputs.pop("kspace")[:, 0]
    with pytest.raises(ValueError, match="reads kspace, which inputs must hold. Received: "):
        Smoothed(Reader(), 0.1, 2).reconstruct(inputs)
    with pytest.raises(ValueError, match="Reader reads no initial_image"):
        image = inputs["zero_filled"]
        Smoothed(Reader(), 0.1, 2).reconstruct({**case(), "initial_image": image})


# Memory

_MEMORY = """
import numpy as np
from tfvn.attacks import ProjectedGradientAscent
from tfvn.models import Reconstructor, VariationalNetwork
from tfvn.defences.smoothing import Smoothed

rng = np.random.default_rng(0)
numbers = rng.standard_normal((2, 1, 8, 128, 128, 2), np.float32)
maps, kspace = numbers.view(np.complex64)[..., 0] / 4
inputs = {"kspace": kspace, "sensitivity_maps": maps, "mask": np.ones((1, 1, 1, 128), np.float32)}
network = VariationalNetwork(num_stages=2, filters=8, kernel_size=5)
class Reader(Reconstructor):
    reads = "kspace"
    def call(self, inputs):
        return network(inputs)
model = Smoothed(Reader() if sys.argv[1] == "kspace" else network, 0.1, 1)
# Nothing is traced for the second number, as a trace takes memory too.
for model.num_samples in map(int, sys.argv[2:]):
    # Its last step is a prediction.
    ProjectedGradientAscent(steps=1, noise="fixed").run(model, inputs, 1.0)
    report_peak()
"""


@pytest.mark.one_stack
@pytest.mark.slow
@pytest.mark.parametrize("reads", ["zero_filled", "kspace"])
def test_memory_does_not_grow_with_the_number_of_draws(peak_memory, reads):
    # All 32 draws of an attack held at once (chunk_size=32) take 1.4 times the memory of 4.
    few, many = peak_memory(_MEMORY, reads, 4, 32)
    assert many <= 1.1 * few, f"{few / 1e6:.0f} MB with 4 draws, {many / 1e6:.0f} MB with 32"


# Errors by their words


@pytest.mark.parametrize("sigma", [-0.1, float("nan")])
def test_a_negative_sigma_is_refused(network, sigma):
    with pytest.raises(ValueError, match=f"sigma must be a number >= 0. Received: sigma={sigma}"):
        Smoothed(network, sigma, 3)


@pytest.mark.parametrize("value", [0, 2.5, float("nan"), 2**31])
def test_a_number_of_draws_below_one_is_refused(network, value):
    told = f"num_samples must be a whole number >= 1. Received: num_samples={value!r}"
    with pytest.raises(ValueError, match=told):
        Smoothed(network, 0.1, value)


@pytest.mark.parametrize("value", [-1, 2.5, 10**6 + 1, "auto"])
def test_a_negative_or_huge_chunk_size_is_refused(network, value):
    told = f"chunk_size must be a whole number >= 0 and <= 1000000. Received: chunk_size={value!r}"
    with pytest.raises(ValueError, match=told):
        Smoothed(network, 0.1, 3, value)


def test_inputs_that_do_not_fit_are_refused(case, network):
    inputs = {**case(), "mask": np.ones((1, 1, 1, 19), np.float32)}
    with pytest.raises(ValueError, match="mask .* do not fit"):
        Smoothed(network, 0.1, 3).reconstruct(inputs)


SLIPS = {
    "sigma": ["0.1", None, [0.1], True],
    "num_samples": [None, "3", True, [3]],
    "chunk_size": [None, "1", True, 0.5],
    "seed": [None, 1.5, "1", True, 2**31],
    "law": [None, 3, ["gaussian"]],
    "strategy": ["mirrored", 2],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in SLIPS.items() for value in values]
)
def test_a_slip_is_told_in_one_sentence(network, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* Received: {name}="):
        Smoothed(**{"model": network, "sigma": 0.1, "num_samples": 3, name: value})


@pytest.mark.parametrize(
    "value, told",
    [
        (None, "Received: model=None"),
        ("model.keras", r"model='model.keras'. Load the file: tfvn.load_model\(path\)"),
        (Reader, r"Received: the class Reader. Make an object of it: Reader\(...\)"),
        (tf.abs, "Make it a subclass of Reconstructor"),
        (type("Arrays", (), {"reconstruct": np.ones(3)})(), "must be a tfvn.models.Reconstructor"),
    ],
)
def test_what_is_no_network_is_told_at_construction(value, told):
    with pytest.raises(ValueError, match=told):
        Smoothed(value, 0.1, 3)


def test_it_shows_its_settings(network):
    model = Smoothed(network, 0.1, 3, seed=4)
    settings = "sigma=0.1, num_samples=3, chunk_size=0, seed=4, law='gaussian'"
    assert repr(model) == f"Smoothed(model={network!r}, {settings})"


def test_its_identity_tells_what_it_is_made_of(network):
    assert network.identity == {}
    inner = Smoothed(network, 0.1, law="laplace")
    own = {"name": "Smoothed", "sigma": 0.1, "num_samples": 9, "law": "laplace"}
    assert inner.identity == own
    outer = Smoothed(inner, 0.2, 3)
    assert outer.identity == {
        "name": "Smoothed",
        "sigma": 0.2,
        "num_samples": 3,
        "law": "gaussian",
        **{f"model.{name}": value for name, value in own.items()},
    }
    # Without noise it is its model, but for the draws of a random one.
    assert Smoothed(network, 0).identity == {}
    assert Smoothed(inner, 0).identity != own


def test_with_other_draws_it_keeps_its_other_settings(case, network):
    model = Smoothed(network, 0.1, 7, 2, 3, "uniform")
    other = model.with_draws(4)
    assert repr(other) == repr(Smoothed(network, 0.1, 4, 2, 3, "uniform"))
    assert (other.model, model.num_samples) == (network, 7)
    np.testing.assert_array_equal(
        other.reconstruct(case()), Smoothed(network, 0.1, 4, 2, 3, "uniform").reconstruct(case())
    )
    assert network.with_draws(4) is network


def test_with_other_draws_it_keeps_its_strategy():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = Smoothed(VariationalNetwork(**SETTINGS), 0.1, strategy=strategy)
    assert model.with_draws(4).strategy is strategy


def test_data_of_another_scale_are_warned_of_with_a_number(case, network):
    for model in (network, Reader()):
        with pytest.warns(
            DataWarning, match="largest magnitude of A.H kspace is 1e-05, where about 1"
        ):
            Smoothed(model, 0.1, 2).reconstruct({**case(), "kspace": 1e-5 * case()["kspace"]})


def test_an_unknown_law_is_refused(network):
    with pytest.raises(ValueError, match="law must be one of .*Received: law='salt'"):
        Smoothed(network, 0.1, 3, law="salt")


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["uniform", "laplace"])
def test_other_noises_are_drawn_and_chunked_alike(case, network, noise):
    results = [
        Smoothed(network, 0.1, 7, chunk, law=noise).reconstruct(case()).numpy()
        for chunk in (1, 3, 7)
    ]
    np.testing.assert_allclose(results[1:], results[:1] * np.ones((2, 1, 1, 1)), rtol=0, atol=1e-6)
    assert not np.allclose(results[0], smoothed(network, case()), atol=1e-4)


@pytest.mark.slow
def test_the_deviation_is_that_of_the_single_draws(case, network):
    inputs, model, sums = case(batch=2), Smoothed(network, 0.1, 1), [0]
    for model.num_samples in range(1, 7):
        sums.append(model.num_samples * np.float64(model.reconstruct(inputs)))
    draws = [after - before for before, after in zip(sums, sums[1:])]
    mean, deviation, *_ = model.statistics(inputs)
    np.testing.assert_allclose(mean, model.reconstruct(inputs), rtol=0, atol=1e-6)
    # Differences of single-precision sums.
    np.testing.assert_allclose(deviation, np.std(draws, 0, ddof=1), rtol=0, atol=1e-5)
    assert deviation.shape == (2, 24, 20) and deviation.numpy().mean() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [4, 7, 20])
def test_the_chunk_size_does_not_matter_to_the_deviation(case, network, chunk_size):
    one, many = (
        Smoothed(network, 0.1, 7, size).statistics(case()).deviation for size in (1, chunk_size)
    )
    np.testing.assert_allclose(many, one, rtol=0, atol=1e-6)


def test_the_deviation_keeps_its_digits_far_from_zero(case):
    # A sum of squares in single precision would give 0 or NaN here.
    inputs = case()
    near, far = (
        Smoothed(Stub(lambda x, far=far: tf.math.real(x) + far), 1e-3, 50, 3)
        .statistics(inputs)
        .deviation
        for far in (0.0, 10.0)
    )
    np.testing.assert_allclose(far, near, rtol=0.02)
    # Of the real part of a unitary map, where half of the lines are sampled.
    assert np.sqrt(np.mean(np.square(near))) == pytest.approx(
        1e-3 * np.sqrt(inputs["mask"].mean()), rel=0.05
    )


def test_a_single_draw_has_no_deviation_and_no_noise_none(case, network):
    deviation = Smoothed(network, 0.1, 1).statistics(case()).deviation
    assert np.isnan(deviation).all()
    image, deviation, *_ = Smoothed(network, 0, 5).statistics(case())
    assert not np.any(deviation)
    np.testing.assert_array_equal(image, network.reconstruct(case()))


# Around a model that draws random numbers itself


@pytest.mark.slow
def test_draws_of_the_model_inside_are_others_in_every_draw(case):
    inner = Smoothed(Stub(tf.math.real), 0.2, 2, 1)
    inputs, outer = case(), Smoothed(inner, 1e-6, 8, 1)
    deviation = outer.statistics(inputs).deviation
    single = Smoothed(Stub(tf.math.real), 0.2, 8, 1).statistics(inputs).deviation
    # The mean of two draws has their deviation over sqrt(2).
    ratio = np.linalg.norm(deviation) / np.linalg.norm(single)
    assert ratio == pytest.approx(2**-0.5, rel=0.2)
    other = outer.reconstruct(inputs, outer.keys([3]))
    assert np.abs(other - outer.reconstruct(inputs)).max() > 1e-2


@pytest.mark.slow
def test_without_noise_a_random_model_stays_one(case):
    inner = Smoothed(Stub(tf.math.real), 0.2, 2, 1)
    outer = Smoothed(inner, 0.0, 5)
    assert outer.draws == 2
    images = [outer.reconstruct(case(), outer.keys([number])) for number in (3, 4)]
    assert np.abs(images[0] - images[1]).max() > 1e-2


@pytest.mark.slow
def test_it_takes_the_operator_of_its_model(case):
    class Other(Sense):
        def adjoint(self, *operands):
            return 2 * super().adjoint(*operands)

    model = Stub(tf.math.real)
    model.sense = Other()
    inputs = case()
    np.testing.assert_array_equal(smoothed(model, inputs, sigma=0), model.reconstruct(inputs))
