"""Weights of the published D5-C5: against its formulas, and on images."""

import numpy as np
import pytest
import scipy.signal

import tfvn
from tfvn.models import Cascade
from tfvn.models.cascade_weights import from_deep_mri_file


def random_arrays(num_cascades=2, num_layers=3, filters=4):
    """Kernels (output, input, row, column) and biases, in the order of layers."""
    rng = np.random.default_rng(0)
    arrays = []
    for _ in range(num_cascades):
        channels = [2, *[filters] * (num_layers - 1), 2]
        for before, after in zip(channels, channels[1:]):
            arrays.append(rng.normal(size=(after, before, 3, 3)).astype("f4") / 6)
            arrays.append(rng.normal(size=after).astype("f4") / 6)
    return arrays


def applied(product, arrays, image):
    """One cascade on (re, im), by a `product` of two images without padding."""
    features = image
    for kernels, biases in zip(arrays[::2], arrays[1::2]):
        if features is not image:
            features = np.maximum(features, 0)
        padded = np.pad(features, [(0, 0), (1, 1), (1, 1)])
        found = []
        for kernel, bias in zip(kernels, biases):
            found.append(bias + sum(map(product, padded, kernel)))
        features = np.stack(found)
    return image + features


@pytest.mark.parametrize("flip", [False, True])
def test_the_network_is_that_of_its_arrays_on_the_transposed_image(tmp_path, flip):
    arrays = random_arrays()
    path = tmp_path / "weights.npz"
    np.savez(path, *arrays)
    model = from_deep_mri_file(path, flip=flip)
    assert (model.data_step, model.mu, len(model.networks)) == ("replace", 0, 2)
    image = np.random.default_rng(1).standard_normal((2, 7, 6))
    product = scipy.signal.convolve if flip else scipy.signal.correlate
    for number, network in enumerate(model.networks):
        own = arrays[6 * number : 6 * number + 6]
        turned = applied(lambda x, k: product(x, k, "valid"), own, image.transpose(0, 2, 1))
        expected = turned.transpose(0, 2, 1)
        found = network((image[0] + 1j * image[1])[None].astype("c8"))[0]
        np.testing.assert_allclose(found, expected[0] + 1j * expected[1], rtol=0, atol=1e-5)


def test_it_is_read_by_load_model_and_saved_as_other_models_are(tmp_path, case):
    path = tmp_path / "weights.npz"
    np.savez(path, *random_arrays())
    model = tfvn.load_model(path)
    assert isinstance(model, Cascade)
    model.save(tmp_path / "model.keras")
    again = tfvn.load_model(tmp_path / "model.keras")
    inputs = case(1, coils=1)
    np.testing.assert_array_equal(again(inputs), model(inputs))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays: arrays[:-1], "expected"),
        (lambda arrays: [*arrays[:2], arrays[2][:3], *arrays[3:]], "expected cascades of one size"),
        (lambda arrays: [array * np.nan for array in arrays], "expected finite numbers"),
        (lambda arrays: [np.zeros(3)], "expected kernels and biases in turn"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, words):
    path = tmp_path / "weights.npz"
    np.savez(path, *change(random_arrays()))
    with pytest.raises(ValueError, match=f"weights.npz: not a file of a deep cascade: .*{words}"):
        tfvn.load_model(path)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, *random_arrays())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="weights.npz"):
        tfvn.load_model(path)
    with pytest.raises(ValueError, match="weights.npz: not a file of a deep cascade"):
        from_deep_mri_file(path)


def test_the_published_weights_halve_the_error_of_a_heart_sampled_four_times_less(shared_data):
    model = tfvn.load_model(shared_data("d5_c5.npz"))
    assert model.count_params() == 565_770
    with np.load(shared_data("cardiac_slices.npz")) as file:
        image = (file["images"][3] / file["peak"][3])[64:160, 64:160]
    width = image.shape[1]
    mask = np.zeros(width, "f4")
    mask[width // 2 - 4 : width // 2 + 4] = 1
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, width / 5, size=1000).round().astype(int)
    for offset in offsets:
        if mask.sum() < width // 4 and abs(offset) < width // 2:
            mask[width // 2 + offset] = 1
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    kspace = (spectrum * mask).astype("c8")[None, None]
    inputs = {
        "kspace": kspace,
        "sensitivity_maps": np.ones_like(kspace),
        "mask": mask[None, None, None],
    }

    def error(found):
        return np.linalg.norm(np.abs(found[0]) - image)

    assert error(model(inputs)) < 0.5 * error(model.zero_filled(inputs))
