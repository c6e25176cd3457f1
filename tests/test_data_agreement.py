"""Arrays that do not belong together or follow another convention show it; right ones do not."""

import re
import warnings

import h5py
import numpy as np
import pytest
import scipy.io

from tfvn.data import DataWarning, SyntheticKnee, agreement, low_resolution_maps
from tfvn.data.sample import combine, fft2c, ifft2c
from tfvn.physics import masks

SIZES = [(96, 72), (33, 47), (32, 24), (17, 19), (16, 16), (20, 60), (128, 40)]
COILS = 6


def knee(size=(96, 72), coils=COILS, noise=0.001, seed=0, mask=None, readout_oversampling=False):
    return SyntheticKnee(1, *size, coils, mask, noise, seed, readout_oversampling)[0]


@pytest.fixture(scope="module")
def slice_():
    return knee()


@pytest.fixture(scope="module")
def scans(shared_data):
    """Measured k-space (coils, height, width) by name, from several scanners."""
    with h5py.File(shared_data("brain_16ch_raw.mat")) as file:
        raw = file["raw"][:, 0]
    mprage = scipy.io.loadmat(shared_data("brain_4ch_mprage.mat"))
    with h5py.File(shared_data("phantom_2ch_gre_fastmri.h5")) as file:
        phantom = file["kspace"][0]
    return {
        "16 coils": (raw["real"] + 1j * raw["imag"]).astype(np.complex64),
        "8 coils": np.load(shared_data("brain_8ch_clean.npy")),
        "8 coils, points": np.load(shared_data("brain_8ch_kspace.npy")),
        "4 coils": np.moveaxis(mprage["kData"], -1, 0),
        "1 coil": scipy.io.loadmat(shared_data("brain_1ch_t2.mat"))["kData"][None],
        "phantom": phantom,
    }


def white(rng, shape):
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


def doubts(kspace, *arguments, **options):
    """The texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agreement.check(np.asarray(kspace, np.complex64), "scan 7", *arguments, **options)
    assert all(issubclass(warning.category, DataWarning) for warning in caught)
    texts = [str(warning.message) for warning in caught]
    # Every one says of what it speaks, and holds a number.
    assert all(re.match(r"scan 7: .*\d", text) for text in texts)
    return texts


def refused(match, kspace, *arguments, **options):
    with pytest.raises(ValueError, match=rf"(?i)^scan 7: .*{match}"):
        agreement.check(np.asarray(kspace, np.complex64), "scan 7", *arguments, **options)


@pytest.mark.slow_cases
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coils", [1, 2, 8])
@pytest.mark.parametrize("noise", [0, 0.001, 0.05])
def test_right_slices_of_any_size_number_of_coils_and_noise_raise_nothing(size, coils, noise):
    width = size[1]
    equispaced = masks.equispaced(width, 3, 0.08)
    lines = [masks.constant(width, 0.3), masks.random(width, 4, 0.1), equispaced]
    points = np.random.default_rng(0).random(size) < 0.4
    for seed, mask in enumerate([None, *lines, points]):
        sample = knee(size, coils, noise, seed, mask)
        assert doubts(sample.kspace, sample.sensitivity_maps, sample.reference) == []


def test_right_slices_with_readout_oversampling_partial_lines_and_padding_raise_nothing():
    kspace, maps, _, reference = knee(readout_oversampling=True)
    assert doubts(kspace, maps, reference, readout_oversampling=True) == []
    sample = knee()
    for zero in (slice(0, 27), slice(60, None)):
        kspace = sample.kspace.copy()
        kspace[..., zero] = 0
        assert doubts(kspace, sample.sensitivity_maps, sample.reference) == []


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1e6, 1e20])
def test_the_units_of_kspace_do_not_matter_if_the_reference_has_them(slice_, factor):
    assert doubts(slice_.kspace * factor, slice_.sensitivity_maps, slice_.reference * factor) == []


@pytest.mark.parametrize("shape", [(1, 16, 16), (4, 32, 24), (3, 7, 5), (1, 40, 1), (12, 64, 64)])
def test_white_noise_tells_nothing_and_raises_nothing(shape):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        kspace, maps = white(rng, shape), white(rng, shape)
        maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
        assert doubts(kspace, maps, combine(ifft2c(kspace), maps)) == []
        assert doubts(kspace, maps, readout_oversampling=True) == []


@pytest.mark.parametrize("level", [1, 5, 100])
def test_numbers_where_a_mask_will_remove_them_are_no_zero_frequency(slice_, level):
    noise = white(np.random.default_rng(0), slice_.kspace.shape)
    lines = masks.equispaced(72, 4, 0.25), masks.random(72, 2, 0.4), masks.equispaced(72, 3, 0.6)
    for mask in lines:
        assert doubts(np.where(mask > 0, slice_.kspace, level * noise)) == []


def test_measured_scans_raise_nothing(scans, shared_data):
    for kspace in scans.values():
        assert doubts(kspace) == []
    for name in set(scans) - {"8 coils, points"}:
        maps = low_resolution_maps(scans[name], 24)
        images = ifft2c(scans[name])
        root = np.sqrt((np.abs(images) ** 2).sum(0))
        for reference in (combine(images, maps), root):
            assert doubts(scans[name], maps, reference) == []
    variables = scipy.io.loadmat(shared_data("brain_4ch_mprage.mat"))
    maps = np.moveaxis(variables["coil_sens"], -1, 0)
    for name in ("kMaskPFACS7", "kMaskRand7", "kMaskRandACS7", "kMaskUnACS7"):
        assert doubts(scans["4 coils"] * variables[name], maps) == []
    for name in ("kMaskPFACS2", "kMaskRand2", "kMaskRandACS2", "kMaskUnACS2"):
        mask = scipy.io.loadmat(shared_data("brain_1ch_t2.mat"))[name]
        assert doubts(scans["1 coil"] * mask) == []


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "axes, named", [((1, 2), "height.*width"), ((1,), "height of"), ((2,), "along the width")]
)
def test_a_zero_frequency_in_the_corner_is_refused(scans, axes, named):
    knees = [knee(size, coils, 0.02).kspace for size in SIZES for coils in (1, 8)]
    for kspace in (*scans.values(), *knees):
        refused(rf"{named}.*np.fft.fftshift\(kspace, axes", np.fft.ifftshift(kspace, axes))
    kspace = np.fft.ifftshift(knee().kspace, axes)
    points = np.random.default_rng(0).random((96, 72)) < 0.3
    for mask in (masks.constant(72, 0.3), masks.random(72, 4, 0.1), points):
        refused("zero frequency", kspace * mask)


@pytest.mark.parametrize("part", [0.1, -0.15, 0.3])
def test_a_zero_frequency_beside_the_centre_is_told_with_its_distance(scans, part):
    for kspace in (*scans.values(), knee().kspace):
        shift = int(np.ceil(abs(part) * kspace.shape[2]) * np.sign(part))
        (text,) = doubts(np.roll(kspace, shift, 2))
        assert "of the width away from its centre" in text
        number = float(text.split("lies ")[1].split("%")[0]) / 100
        assert number == pytest.approx(abs(shift) / kspace.shape[2], abs=0.03)


def test_an_image_that_was_not_shifted_is_told(scans):
    for kspace in (*scans.values(), knee().kspace, knee((17, 19)).kspace):
        unshifted = np.fft.fftshift(np.fft.fft2(ifft2c(kspace)), axes=(1, 2))
        (text,) = doubts(unshifted)
        assert "edges of the field of view" in text and "alternate in sign" in text
        # What the message advises.
        image = np.fft.ifftshift(ifft2c(kspace), axes=(1, 2))
        assert doubts(np.fft.fftshift(np.fft.fft2(image), axes=(1, 2))) == []


def test_readout_oversampling_that_cuts_the_object_is_told(scans):
    for name in ("16 coils", "8 coils"):
        (text,) = doubts(scans[name], readout_oversampling=True)
        assert "of the energy lies outside" in text


def test_magnitudes_and_images_are_not_taken_for_kspace(scans):
    for kspace in (*scans.values(), knee().kspace):
        refused("imaginary part is zero everywhere", np.abs(kspace))
        refused("real part is zero everywhere", 1j * np.abs(kspace))
    for name in ("16 coils", "8 coils", "4 coils", "1 coil"):
        assert any("looks like an image" in text for text in doubts(ifft2c(scans[name])))
    assert any("looks like an image" in text for text in doubts(np.full((2, 16, 16), 1 + 1j)))


@pytest.mark.parametrize("axis, name", [(1, "height"), (2, "width")])
def test_scans_that_were_transformed_along_one_axis_are_told(scans, axis, name):
    for kspace in (scans[name] for name in ("16 coils", "8 coils", "4 coils")):
        hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axis), axis=axis), axis)
        texts = doubts(hybrid)
        assert any(f"looks like an image along the {name}" in text for text in texts)


def test_a_mask_that_leaves_the_centre_out_is_told(slice_):
    rng = np.random.default_rng(0)
    constant, points = masks.constant(72, 0.3)[None, None], rng.random((1, 96, 72)) < 0.3
    for right in (constant, points, np.ones((1, 1, 72)), masks.random(72, 4, 0.04)[None, None]):
        assert agreement.mask_doubts(slice_.kspace, right) == []
    noise = white(rng, slice_.kspace.shape)
    assert agreement.mask_doubts(noise, constant) == agreement.mask_doubts(noise, points) == []
    lines = np.ones((1, 1, 72))
    lines[..., 30:42] = 0
    for wrong in (1 - constant, 1 - masks.random(72, 4, 0.1)[None, None], lines):
        (text,) = agreement.mask_doubts(slice_.kspace, wrong)
        assert "inverted (1 - mask)" in text and "% of its energy" in text


def test_a_coil_that_is_another_one_is_told(slice_):
    kspace = slice_.kspace.copy()
    kspace[3] = (2 - 1j) * kspace[1]
    (text,) = doubts(kspace)
    assert "coils 1 and 3 of 6 hold the same numbers" in text
    assert "hold the same numbers" in doubts(np.repeat(kspace[:1], 3, 0))[0]


CHANGES = {
    "conjugated": np.conj,
    "flipped along the width": lambda array: array[..., ::-1],
    "turned by 180 degrees": lambda array: array[..., ::-1, ::-1],
    "shifted by half": lambda array: np.fft.fftshift(array, (-2, -1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_maps_that_were_turned_are_refused_with_what_was_done(slice_, name):
    maps = CHANGES[name](slice_.sensitivity_maps)
    refused(f"of the signal .*{name}.* they fit", slice_.kspace, maps)


def test_maps_of_another_scan_order_or_size_are_refused(scans, slice_):
    maps, other = slice_.sensitivity_maps, knee(seed=1).sensitivity_maps
    left, few = np.arange(72) < 36, (np.arange(6) < 3)[:, None, None]
    for wrong in (np.roll(maps, 1, 0), other, np.abs(maps), maps * left, maps * few):
        refused("of the signal is outside", slice_.kspace, wrong.astype(np.complex64))
    for name in ("16 coils", "8 coils", "4 coils"):
        maps = low_resolution_maps(scans[name], 24)
        for wrong in (np.roll(maps, 1, 0), maps[:, ::-1], maps.conj()):
            refused("of the signal is outside", scans[name], wrong)


def test_a_part_of_the_maps_that_is_missing_is_told_with_its_share(slice_):
    maps = slice_.sensitivity_maps * (np.abs(np.arange(72) - 36) < 22)
    (text,) = doubts(slice_.kspace, maps)
    assert "% of the signal is outside" in text


@pytest.mark.parametrize("factor", [1e-3, 0.05, 1000])
def test_maps_of_another_norm_are_refused(slice_, factor):
    maps = slice_.sensitivity_maps * np.float32(factor)
    refused("root-sum-of-squares .*Received: " + re.escape(f"{factor:.3g}."), slice_.kspace, maps)


def test_maps_of_a_doubtful_norm_are_told(slice_):
    (text,) = doubts(slice_.kspace, slice_.sensitivity_maps * 3)
    assert "Received: 3." in text


def test_references_of_zeros_or_in_other_units_are_refused(slice_):
    kspace, maps, _, reference = slice_
    refused("Received: zeros everywhere", kspace, maps, 0 * reference)
    for factor in (1e6, 20, 0.05, 1e-6):
        text = re.escape(f"Received: one that is {factor:.3g} times as large")
        refused(text, kspace, maps, reference * np.float32(factor))
    (text,) = doubts(kspace, maps, reference * 3)
    assert "3 times as large" in text


def test_references_of_another_phase_belong(slice_):
    kspace, maps, _, reference = slice_
    phase = np.exp(1j * np.linspace(0, 9, 72)).astype(np.complex64)
    for right in (np.abs(reference), reference.conj(), reference * phase):
        assert doubts(kspace, maps, right) == []


def test_references_of_something_else_are_refused_or_told(slice_):
    kspace, maps, _, reference = slice_
    for name in set(CHANGES) - {"conjugated"}:
        refused(f"correlate .*{name}.* it fits", kspace, maps, CHANGES[name](reference))
    refused("flipped along the height it fits", kspace, maps, reference[::-1])
    level = np.abs(reference).mean()
    noise = level * np.random.default_rng(0).standard_normal(reference.shape)
    for wrong in (np.full_like(reference, level), noise.astype(np.complex64)):
        refused("correlate with the combined image by", kspace, maps, wrong)
    refused("correlate with the combined image by 0.", kspace, maps, knee(seed=1).reference)
    (text,) = doubts(kspace, maps, np.roll(reference, 4, 0))
    assert "correlate with the combined image by 0." in text


def test_a_reference_is_compared_only_where_kspace_is_fully_sampled(slice_):
    kspace, maps, _, reference = slice_
    assert doubts(kspace * masks.equispaced(72, 3, 0.1), maps, reference * 1000) == []


def test_with_readout_oversampling_the_cropped_reference_is_compared():
    sample = knee(readout_oversampling=True)
    refused("times as large", sample.kspace, sample.sensitivity_maps, sample.reference * 50, True)


def test_shapes_and_numbers_that_others_refuse_are_left_to_them(slice_):
    kspace, maps, _, reference = slice_
    for array in (kspace[0], kspace * np.nan, kspace * 0):
        assert doubts(array) == []
    for wrong in (maps[:2], maps * np.nan, maps * 0):
        assert doubts(kspace, wrong) == []
    assert doubts(kspace, maps, reference[:5]) == doubts(kspace, maps, reference * np.nan) == []


def test_what_passed_is_not_looked_at_again_in_this_process(slice_):
    agreement.forget()
    wrong = slice_.sensitivity_maps * 3
    assert len(doubts(slice_.kspace, wrong, key="a")) == 1
    assert doubts(slice_.kspace, wrong, key="a") == []
    assert len(doubts(slice_.kspace, wrong, key="b")) == 1
    agreement.forget()
    assert len(doubts(slice_.kspace, wrong, key="a")) == 1
    for _ in range(2):
        refused("Received: 1.5e", slice_.kspace, wrong * 500, key="c")


def test_a_transform_of_an_image_is_in_the_convention(slice_):
    assert doubts(fft2c(ifft2c(slice_.kspace))) == []


def disc(radius, row=0.0, column=0.0, size=128):
    rows, columns = np.meshgrid(*2 * [np.linspace(-1, 1, size)], indexing="ij")
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.complex64)


@pytest.mark.parametrize("radius", [0.03, 0.1, 0.3, 0.6, 0.9, 1.5])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_phantoms_of_any_size_raise_nothing(radius, noise):
    maps = SyntheticKnee(1, 128, 128, 3, None, 0, 0)[0].sensitivity_maps
    images = maps * disc(radius) + noise * white(np.random.default_rng(0), maps.shape)
    assert doubts(fft2c(images), maps, combine(images, maps)) == []


def test_an_object_beside_the_centre_is_right_and_one_at_the_edge_is_told():
    for place in (0.3, -0.3):
        assert doubts(fft2c(disc(0.3, place, place)[None])) == []
    (text,) = doubts(fft2c(disc(0.2, 0.7)[None]))
    assert "along the height (-0." in text
