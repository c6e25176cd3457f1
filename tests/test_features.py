"""Complex images as two channels."""

import numpy as np
import pytest

from tfvn.models.features import as_channels, as_image


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_channels_are_the_real_and_the_imaginary_part(dtype):
    image = np.array([[[1 + 2j, 3 - 4j, 0]]], dtype)
    channels = as_channels(image).numpy()
    assert channels.tolist() == [[[[1, 2], [3, -4], [0, 0]]]]
    assert channels.dtype == np.abs(image).dtype


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_an_image_comes_back_from_its_channels(dtype):
    rng = np.random.default_rng(0)
    image = (rng.standard_normal((2, 5, 3)) + 1j * rng.standard_normal((2, 5, 3))).astype(dtype)
    back = as_image(as_channels(image)).numpy()
    assert back.dtype == image.dtype and (back == image).all()
