"""The network against a plain double-precision reference: padded SAME convolutions, 31 Gaussians,
k-space residuals.
"""

import zipfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import tfvn
from tfvn.data import DataWarning
from tfvn.models.activations import RBFActivation
from tfvn.models.base import magnitude
from tfvn.models.descent import PARAMETERS
from tfvn.models.variational import Stage, VariationalNetwork
from tfvn.network_size import LARGEST_FILE, largest_file, weight_bytes
from tfvn.physics.sense import Sense

# One architecture and size for most tests: a fused kernel is compiled once a shape.
SETTINGS = dict(num_stages=2, filters=4, kernel_size=3, initial_data_weight=0.7)


def network(dtype="float32", **settings):
    """A network with random, not only initial, activations."""
    result = VariationalNetwork(dtype=dtype, **{**SETTINGS, **settings})
    rng = np.random.default_rng(3)
    for stage in result.stages:
        stage.rbf_weights.assign(0.1 * rng.standard_normal(stage.rbf_weights.shape))
        stage.data_weight.assign(rng.uniform(0.3, 1))
    return result


@pytest.fixture(scope="module")
def small():
    return network()


@pytest.fixture(scope="module")
def small_double():
    return network("float64")


@pytest.mark.one_stack
def test_the_image_after_a_stage_is_that_of_the_network_that_ends_there(small, case):
    inputs = case(batch=2)
    images = small.stage_images(inputs).numpy()
    first = VariationalNetwork(**{**SETTINGS, "num_stages": 1})
    first.set_weights(small.stages[0].get_weights())
    assert images.shape == (2, 2, 24, 20)
    np.testing.assert_allclose(images[0], first(inputs), atol=1e-6)
    np.testing.assert_allclose(images[1], small(inputs), atol=1e-6)


# The plain reference


def _centred_dft(size):
    index = np.arange(size) - size // 2
    return tf.constant(np.exp(-2j * np.pi * np.outer(index, index) / size) / np.sqrt(size))


def _forward(image, maps, mask, top):
    height, width = maps.shape[2:]
    image = tf.pad(image, [[0, 0], [top, height - image.shape[1] - top], [0, 0]])
    return mask * (
        _centred_dft(height) @ (maps * image[:, None]) @ tf.transpose(_centred_dft(width))
    )


def _adjoint(kspace, maps, mask, top, rows):
    height, width = maps.shape[2:]
    coil_images = (
        tf.math.conj(_centred_dft(height))
        @ (mask * kspace)
        @ tf.math.conj(tf.transpose(_centred_dft(width)))
    )
    return tf.reduce_sum(tf.math.conj(maps) * coil_images, 1)[:, top : top + rows]


def plain(model, kspace, maps, mask, parameters, initial_image=None):
    """The complex result of `model` for (kernels, rbf_weights, data_weights), from the formulas, in
    complex128.
    """
    stage = model.stages[0]
    activation, k = stage.activation, stage.kernel_size
    height = maps.shape[2]
    top, rows = (height // 4 + 1, height // 2) if stage.sense.readout_oversampling else (0, height)
    maps, mask = tf.cast(maps, tf.complex128), tf.cast(mask, tf.complex128)
    centers = np.linspace(-activation.grid_limit, activation.grid_limit, activation.num_centers)
    image = _adjoint(kspace, maps, mask, top, rows) if initial_image is None else initial_image
    for kernel, weights, data_weight in zip(*parameters):
        channels = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
        padded = tf.pad(channels, [[0, 0], [k, k], [k, k], [0, 0]], "SYMMETRIC")
        features = tf.nn.conv2d(padded, kernel, 1, "SAME")
        gaussians = tf.exp(-((features[..., None] - centers) ** 2) / (2 * activation.bandwidth**2))
        features = activation.scale * tf.reduce_sum(weights * gaussians, -1)
        regular = (
            tf.nn.conv2d_transpose(features, kernel, tf.shape(padded), 1, "SAME")[:, k:-k, k:-k]
            / stage.filters
        )
        residual = _adjoint(_forward(image, maps, mask, top) - kspace, maps, mask, top, rows)
        image = (
            image
            - tf.complex(regular[..., 0], regular[..., 1])
            - tf.cast(data_weight, tf.complex128) * residual
        )
    return image


def parameters_of(model):
    return [[tf.cast(x, tf.float64) for x in block] for block in model.parameter_blocks.values()]


CASES = {
    "columns": dict(batch=2, coils=3, height=24, width=20),
    "odd sizes": dict(batch=1, coils=2, height=23, width=19),
    "one coil": dict(batch=1, coils=1, height=13, width=14),
    "points": dict(batch=2, coils=2, height=17, width=22, mask="points"),
    "weights": dict(batch=1, coils=2, height=24, width=20, mask="weights"),
    "readout oversampling": dict(batch=2, coils=2, height=38, width=15, readout_oversampling=True),
    "readout oversampling, points": dict(
        batch=1, coils=2, height=40, width=16, mask="points", readout_oversampling=True
    ),
}
ARCHITECTURES = {
    "kernel 5": dict(kernel_size=5),
    "kernel 11": dict(kernel_size=11, filters=3),
    "even kernel": dict(kernel_size=4),
    "one filter": dict(filters=1),
    "another activation": dict(scale=0.4, bandwidth=2 / 31),
}


def assert_close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def check_against_plain(model, inputs, dtype="complex128", tolerance=1e-9, graph=False):
    """Result and gradients in k-space and all parameters, of a weighted sum over a magnitude image,
    against autodiff.
    """
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    kspace, parameters = tf.constant(inputs["kspace"], tf.complex128), parameters_of(model)
    with tf.GradientTape() as tape:
        tape.watch([kspace, parameters])
        expected = plain(model, kspace, maps, mask, parameters)
        weight = tf.constant(np.random.default_rng(9).standard_normal(expected.shape))
        loss = tf.reduce_sum(weight * magnitude(expected))
    expected_gradients = tape.gradient(loss, [kspace, *parameters])

    def gradients(kspace):
        with tf.GradientTape() as tape:
            tape.watch(kspace)
            image = model({**inputs, "kspace": kspace})
            loss = tf.reduce_sum(tf.cast(weight, image.dtype.real_dtype) * magnitude(image))
        return image, tape.gradient(loss, [kspace, *model.parameter_blocks.values()])

    image, actual_gradients = (tf.function(gradients) if graph else gradients)(
        tf.constant(inputs["kspace"], dtype)
    )
    assert_close(image, expected, tolerance)
    assert_close(actual_gradients[0], expected_gradients[0], tolerance)
    for actual_block, expected_block in zip(actual_gradients[1:], expected_gradients[1:]):
        # Relative to the block: one coil of unit maps leaves the first stage no residual and no
        # gradient.
        assert_close(np.stack(actual_block), np.stack(expected_block), tolerance)


@pytest.mark.slow_cases
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_result_and_every_gradient_equal_plain_automatic_differentiation(case, settings):
    oversampled = settings.get("readout_oversampling", False)
    model = network("float64", readout_oversampling=oversampled)
    check_against_plain(model, case(dtype="complex128", **settings))


@pytest.mark.slow
@pytest.mark.one_stack
def test_they_are_equal_in_a_graph(case, small_double):
    check_against_plain(small_double, case(batch=2, dtype="complex128"), graph=True)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("settings", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_they_are_equal_for_other_architectures(case, settings):
    check_against_plain(
        network("float64", **settings), case(height=21, width=18, dtype="complex128")
    )


def test_the_reconstruction_is_the_magnitude_of_the_last_iterate(case, small):
    inputs = case()
    image = small(inputs).numpy()
    np.testing.assert_allclose(
        small.reconstruct(inputs), np.sqrt(np.abs(image) ** 2 + 1e-12), rtol=1e-6
    )


def test_the_magnitude_is_differentiable_at_zero():
    image = tf.zeros([1, 2, 2], tf.complex64)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(magnitude(image))
    np.testing.assert_array_equal(tape.gradient(value, image), image)


# Inputs


def test_zero_filled_may_replace_kspace(case, small):
    inputs = case()
    zero_filled = small.zero_filled(inputs)
    short = {
        "zero_filled": zero_filled,
        "sensitivity_maps": inputs["sensitivity_maps"],
        "mask": inputs["mask"],
    }
    np.testing.assert_allclose(small(short), small(inputs), rtol=0, atol=1e-6)


def test_the_network_may_start_from_another_image(case, small_double):
    inputs = case(dtype="complex128")
    start = 0.5 * inputs["sensitivity_maps"][:, 0]
    kspace, maps, mask = (
        tf.constant(inputs[key]) for key in ("kspace", "sensitivity_maps", "mask")
    )
    expected = plain(small_double, kspace, maps, mask, parameters_of(small_double), start)
    assert_close(small_double({**inputs, "initial_image": start}), expected, 1e-9)


def test_a_slice_does_not_depend_on_its_batch_mates(case, small):
    inputs = case(batch=3)
    together = small.reconstruct(inputs)
    for i in range(3):
        alone = small.reconstruct({key: x[i : i + 1] for key, x in inputs.items()})
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-6)


def test_one_mask_serves_the_whole_batch(case, small):
    inputs = case(batch=3)
    inputs["mask"] = inputs["mask"][:1]
    repeated = {**inputs, "mask": np.repeat(inputs["mask"], 3, 0)}
    np.testing.assert_array_equal(small.reconstruct(inputs), small.reconstruct(repeated))


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_sizes_may_be_unknown_while_tracing(case, small, mask):
    inputs = case(batch=2, height=23, width=19, mask=mask)
    unknown, rows = [None, None, None, None], 1 if mask == "columns" else None
    signature = {
        "kspace": tf.TensorSpec(unknown, tf.complex64),
        "sensitivity_maps": tf.TensorSpec(unknown, tf.complex64),
        "mask": tf.TensorSpec([None, 1, rows, None], tf.float32),
    }
    traced = tf.function(small.reconstruct, input_signature=[signature])
    np.testing.assert_allclose(traced(inputs), small.reconstruct(inputs), rtol=0, atol=1e-6)


def test_keras_predicts_batch_by_batch(case, small):
    inputs = case(batch=3)
    np.testing.assert_allclose(
        small.predict(inputs, batch_size=2, verbose=0), small(inputs), rtol=0, atol=1e-6
    )


def test_a_temporary_network_reconstructs(case):
    assert VariationalNetwork(**SETTINGS).reconstruct(case()).shape == (1, 24, 20)


class Counted(VariationalNetwork):
    """Counts how often it is traced."""

    traced = 0

    def call(self, inputs, wanted=None):
        self.traced += 1
        return super().call(inputs, wanted)


def test_the_same_shapes_are_traced_once(case):
    model = Counted(**SETTINGS)
    for seed in range(3):
        model.reconstruct(case(seed=seed))
    assert model.traced == 1


# Gradients on demand


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize(
    "wanted", [(), ("kernel",), ("rbf_weights",), ("data_weight",), PARAMETERS]
)
def test_wanted_gradients_are_the_same_and_others_are_missing(case, small_double, wanted):
    inputs = case(dtype="complex128")
    blocks = small_double.parameter_blocks

    def gradients(wanted):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(magnitude(small_double(inputs, wanted=wanted)) ** 2)
        return tape.gradient(loss, blocks)

    expected, actual = gradients(None), gradients(wanted)
    for name in PARAMETERS:
        if name in wanted:
            assert_close(np.stack(actual[name]), np.stack(expected[name]), 1e-12)
        else:
            assert actual[name] == [None] * 2


# Parameters


def test_the_initial_filters_are_feasible():
    model = VariationalNetwork(num_stages=3, filters=5)
    for stage in model.stages:
        kernel = stage.kernel.numpy()
        np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
        assert (np.linalg.norm(kernel.reshape(-1, 5), axis=0) <= 1 + 1e-6).all()


def test_the_seed_alone_decides_the_initial_filters():
    a, b, c = (VariationalNetwork(**SETTINGS, seed=seed).get_weights() for seed in (1, 1, 2))
    for x, y in zip(a, b):
        np.testing.assert_array_equal(x, y)
    assert any((x != y).any() for x, y in zip(a, c))


def test_stages_start_from_different_filters():
    first, second = VariationalNetwork(**SETTINGS).stages
    assert (first.kernel.numpy() != second.kernel.numpy()).all()


def test_blocks_hold_every_trainable_variable_once(small):
    blocks = [x for block in small.parameter_blocks.values() for x in block]
    assert len(blocks) == len(small.trainable_variables) == 6
    assert {id(x) for x in blocks} == {id(x) for x in small.trainable_variables}


# Saving


def test_the_configuration_survives_a_round_trip():
    model = VariationalNetwork(
        3, 5, 7, 9, 0.8, 0.1, 0.4, 0.05, 0.9, True, 7, name="knee", dtype="float64"
    )
    copy = VariationalNetwork.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert len(copy.stages) == 3 and copy.dtype == "float64"


def test_every_constructor_argument_is_in_the_configuration():
    import inspect

    names = set(inspect.signature(VariationalNetwork.__init__).parameters) - {"self", "kwargs"}
    assert names <= set(VariationalNetwork(**SETTINGS).get_config())


def test_a_saved_model_holds_no_code(small, tmp_path):
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert loaded.get_config() == small.get_config()
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"Lambda" not in archive.read("config.json")


def test_saved_weights_restore_the_same_images(case, small, tmp_path):
    small.save_weights(tmp_path / "network.weights.h5")
    other = VariationalNetwork(**SETTINGS, seed=5)
    other.load_weights(tmp_path / "network.weights.h5")
    np.testing.assert_array_equal(other.reconstruct(case()), small.reconstruct(case()))


@pytest.mark.slow
def test_an_exported_graph_gives_the_same_images(case, tmp_path):
    # A SavedModel for TensorFlow Serving and other languages: no Python of ours when it is loaded.
    small, inputs = network(num_stages=1), case(batch=2)
    signature = {
        key: tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=key) for key, x in inputs.items()
    }
    serve = tf.function(small.reconstruct, input_signature=[signature])
    tf.saved_model.save(small, str(tmp_path / "export"), signatures=serve.get_concrete_function())
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    (output,) = loaded.signatures["serving_default"](
        **{key: tf.constant(x) for key, x in inputs.items()}
    ).values()
    np.testing.assert_allclose(output, small.reconstruct(inputs), rtol=0, atol=1e-6)


# The pretrained network


def test_the_pretrained_network_reproduces_an_independent_implementation(shared_data):
    weights, data = (
        np.load(shared_data("vn_coronal_pd_fs.npz")),
        np.load(shared_data("vn_case.npz")),
    )
    model = VariationalNetwork(
        num_stages=10,
        filters=48,
        bandwidth=float(weights["rbf_sigma"]),
        scale=float(weights["rbf_scale"]),
    )
    for t, stage in enumerate(model.stages):
        stage.kernel.assign(weights["kernels"][t])
        stage.rbf_weights.assign(weights["rbf_weights"][t])
        stage.data_weight.assign(weights["data_term_weights"][t])
    inputs = {key: data[key][None] for key in ("kspace", "sensitivity_maps")}
    inputs["mask"] = data["mask"][None, None, None]
    np.testing.assert_allclose(model(inputs)[0], data["reconstruction"], rtol=0, atol=1e-4)


# Errors by their words


@pytest.mark.parametrize("shape", [(9, 20), (20, 9)])
def test_an_image_below_the_padding_is_refused(case, shape):
    model = VariationalNetwork(num_stages=1, filters=2, kernel_size=11)
    with pytest.raises(
        ValueError,
        match=f"at least 13 rows and columns.*Received: image of {shape[0]} x {shape[1]}",
    ):
        model.reconstruct(case(height=shape[0], width=shape[1]))


def test_inputs_that_do_not_fit_are_refused_before_anything_is_computed(case, small):
    inputs = {**case(), "sensitivity_maps": case(coils=3)["sensitivity_maps"]}
    for function in (small, small.reconstruct):
        with pytest.raises(ValueError, match="kspace .* and sensitivity_maps .* do not fit"):
            function(inputs)


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_stages", 0),
        ("num_stages", 1.5),
        ("filters", 0),
        ("kernel_size", 1),
        ("kernel_size", 2.5),
        ("num_centers", 1),
    ]
    + [("grid_limit", 0), ("bandwidth", 0), ("initial_data_weight", -1)],
)
def test_a_setting_outside_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value}"):
        VariationalNetwork(**{name: value})


# What can be made can be read back

TAKEN = {
    "plain": {},
    "numpy": dict(
        num_stages=np.int64(2),
        filters=np.float32(4),
        grid_limit=np.float32(0.8),
        readout_oversampling=np.bool_(0),
    ),
    "largest seed": dict(seed=2**31 - 1),
    "smallest seed": dict(seed=-(2**31) + 1),
    "negative seed": dict(seed=-3),
    "large numbers": dict(
        grid_limit=2.0**31 - 1000, scale=1e9, initial_scale=-1e9, initial_data_weight=1e9
    ),
    "small numbers": dict(
        grid_limit=1e-6, bandwidth=1e-9, scale=1e-30, initial_scale=0, initial_data_weight=0
    ),
    "float64": dict(dtype="float64"),
    "a type": dict(dtype=tf.float64),
    "mixed precision": dict(dtype="mixed_bfloat16"),
    "a name": dict(name="knee.1_a-b"),
    "a long name": dict(name="k" * 200),
    "even kernel": dict(kernel_size=2, filters=1, num_centers=2),
    "many centres": dict(num_centers=200),
    "not trainable": dict(trainable=False),
}


@pytest.mark.slow_cases
@pytest.mark.filterwarnings("ignore::tfvn.data.DataWarning")
@pytest.mark.parametrize("settings", TAKEN.values(), ids=TAKEN)
def test_whatever_the_constructor_takes_is_read_back_to_the_same_image(case, tmp_path, settings):
    model = VariationalNetwork(
        **{"num_stages": 1, "filters": 2, "kernel_size": 3, "num_centers": 5, **settings}
    )
    inputs = case(dtype="complex64" if model.dtype == "float32" else "complex128")
    model.save(tmp_path / "model.keras")
    copy = tfvn.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    np.testing.assert_array_equal(copy.reconstruct(inputs), model.reconstruct(inputs))
    assert np.isfinite(model.reconstruct(inputs)).all()


REFUSED = {
    "seed": [2**31, -(2**31), 20261125143355, 1.5, None, "0", True],
    "num_stages": [0, 1.5, True, "2", None, 10**6, 2**31, float("nan")],
    "filters": [0, "4", None, True, 10**7, [4]],
    "kernel_size": [1, "11", None, True, 10**4],
    "num_centers": [1, None, "31", True, 10**7],
    "grid_limit": [0, 3e9, float("nan"), float("inf"), "1", None, True, 1e-300],
    "bandwidth": [0, 3e9, float("nan"), "1", True, 1e-300],
    "scale": [3e9, float("nan"), float("inf"), None, "1", True],
    "initial_scale": [-3e9, float("nan"), None, "1", True],
    "initial_data_weight": [-1, 3e9, float("inf"), float("nan"), None, "1", True],
    "readout_oversampling": ["no", 0, 1, None],
    "name": [5, "", "a b", "_a", "a/b", "\u00e9", "k" * 201, "a\n"],
    "dtype": ["float16", "bfloat16", tf.float16, "complex64", "int32", "double precision"],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_whatever_it_does_not_take_is_refused_in_one_sentence(name, value):
    with pytest.raises(ValueError, match="Received: ") as error:
        VariationalNetwork(**{name: value})
    assert name in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_no_network_is_made_in_half_precision(policy):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        for layer in (VariationalNetwork, Stage, RBFActivation, Sense):
            with pytest.raises(
                ValueError,
                match=f"float32 or float64. Received: the global policy of Keras='{policy}'",
            ):
                layer()
        assert VariationalNetwork(**SETTINGS, dtype="float32").dtype == "float32"
    finally:
        keras.mixed_precision.set_global_policy(before)


def test_the_largest_network_is_refused_before_it_takes_memory():
    sizes = dict(num_stages=1, filters=1, kernel_size=2, num_centers=2, dtype="float32")
    assert weight_bytes(**sizes) == 4 * (8 + 1 + 2)
    assert largest_file(**sizes) < LARGEST_FILE
    with pytest.raises(
        ValueError,
        match="may take up to 268 MB, and this one's may need .* Received: num_stages=1, filters=",
    ):
        Stage(filters=10**9)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_file_with_the_state_of_an_optimizer_is_read(case, tmp_path, compiled):
    model = VariationalNetwork(1, 40, 11, 31)
    if compiled:
        model.compile(keras.optimizers.Adam(amsgrad=True), "mse")
        model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(tfvn.load_model(tmp_path / "model.keras")(case()), model(case()))


@pytest.mark.parametrize("name", ["model.h5", "model", "model.weights.h5", "model.keras.zip"])
def test_a_network_is_saved_to_what_is_read_back(small, tmp_path, name):
    with pytest.raises(
        ValueError, match="saved to a file with the ending .keras. Received: filepath="
    ):
        small.save(tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_a_network_that_has_diverged_is_not_saved(tmp_path):
    model = VariationalNetwork(**SETTINGS)
    model.stages[1].rbf_weights.assign(np.nan * np.ones((4, 31)))
    with pytest.raises(
        ValueError, match="model.keras: the network's weights are NaN or infinite: it has diverged"
    ):
        model.save(tmp_path / "model.keras")
    assert not any(tmp_path.iterdir())


# Inputs of another kind


WRONG = {
    "an array": (lambda i: i["kspace"], "inputs must be a dict .*Received: inputs=.*complex64"),
    "a pair": (lambda i: (i, 0), "Of a pair .inputs, reference. pass the first"),
    "nothing": (lambda i: None, "inputs must be a dict"),
    "a missing key": (lambda i: {"kspace": i["kspace"]}, "Missing: .'mask', 'sensitivity_maps'."),
    "real numbers": (lambda i: {**i, "kspace": i["kspace"].real}, "must be complex"),
    "double precision": (
        lambda i: {
            **i,
            "kspace": i["kspace"].astype("complex128"),
            "sensitivity_maps": i["sensitivity_maps"].astype("complex128"),
        },
        "works in float32: its inputs must be complex64. Received: complex128. Convert",
    ),
    "another batch": (lambda i: {**i, "kspace": np.repeat(i["kspace"], 2, 0)}, "do not fit"),
    "a vector for a mask": (
        lambda i: {**i, "mask": i["mask"][0, 0, 0]},
        r"mask must have shape .*Received: mask.shape=.20,.",
    ),
    "a list": (lambda i: {**i, "mask": [1.0]}, "mask must be an array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_inputs_of_another_kind_are_told_in_one_line_by_every_call(case, small, name):
    change, told = WRONG[name]
    for function in (small, small.reconstruct, small.zero_filled, small.stage_images):
        with pytest.raises(ValueError, match=f"^[^\n]*{told}[^\n]*$"):
            function(change(case()))


@pytest.mark.slow_cases
@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8", "float64"])
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_a_mask_of_any_real_type_gives_the_same_image(case, small, dtype, mask):
    inputs = case(mask=mask)
    other = {**inputs, "mask": inputs["mask"].astype(dtype)}
    np.testing.assert_array_equal(small.reconstruct(other), small.reconstruct(inputs))


def test_numbers_that_are_not_finite_are_refused_and_another_scale_is_warned_of(case, small):
    with pytest.raises(ValueError, match="kspace must be finite"):
        small.reconstruct({**case(), "kspace": case()["kspace"] * np.nan})
    with pytest.warns(DataWarning, match="is 1e-05, where about 1 is expected"):
        small.reconstruct({**case(), "kspace": case()["kspace"] * np.float32(1e-5)})


def test_layers_show_their_settings(small):
    shown = (
        "VariationalNetwork(dtype='float32', num_stages=2, filters=4, kernel_size=3,"
        " num_centers=31, grid_limit=1.0"
    )
    assert repr(small).startswith(shown) and repr(small).endswith("seed=0)")
    assert repr(Sense(True)) == "Sense(readout_oversampling=True)"
    activation = "RBFActivation(num_centers=31, grid_limit=1.0, bandwidth="
    assert repr(small.stages[1]).startswith(
        f"Stage(filters=4, kernel_size=3, seed=1, activation={activation}"
    )


@pytest.mark.slow
def test_a_stage_alone_survives_a_round_trip():
    stage = Stage(filters=3, kernel_size=5, seed=4, name="first")
    assert Stage.from_config(stage.get_config()).get_config() == stage.get_config()
