"""The errors of volumes as fastMRI computes them."""

import h5py
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tfvn.results import volume_protocol
from tfvn.results.volume_protocol import scores


def volume(slices=3, height=340, width=30, seed=0, scale=1e-5):
    rng = np.random.default_rng(seed)
    references = np.abs(np.cumsum(rng.standard_normal((slices, height, width)), 1))
    references *= scale * np.arange(1, slices + 1)[:, None, None]
    return np.abs(references + scale * rng.standard_normal(references.shape)), references


def test_a_volume_has_the_scores_of_fastmri():
    images, references = volume()
    found = scores(images, references)
    # The centre: rows 10 to 329 of 340, all columns.
    images, references = images[:, 10:330], references[:, 10:330]
    largest = references.max()
    expected = [
        structural_similarity(reference, image, data_range=largest)
        for image, reference in zip(images, references)
    ]
    assert found.ssim == pytest.approx(np.mean(expected), abs=1e-9)
    assert found.psnr == pytest.approx(
        peak_signal_noise_ratio(references, images, data_range=largest), abs=1e-9
    )
    error = np.linalg.norm(images - references) ** 2 / np.linalg.norm(references) ** 2
    assert found.nmse == pytest.approx(error, rel=1e-12)


def test_the_units_of_a_volume_do_not_matter():
    large, small = (scores(*volume(2, 20, 24, scale=scale)) for scale in (1.0, 1e-5))
    assert small == pytest.approx(large, rel=1e-9)


def test_equal_images_have_no_error():
    images, _ = volume(2, 20, 24)
    assert scores(images, images) == (0.0, np.inf, 1.0)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(2, 20, 20), (2, 20, 21)], "one shape .slices, height, width.. Received: .2, 20, 20."),
        ([(20, 20), (20, 20)], "Received: .20, 20. and"),
        ([(2, 6, 20), (2, 6, 20)], "at least 7 x 7 pixels. Received: .6, 20."),
    ],
)
def test_images_that_are_no_volume_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        scores(*map(np.ones, shapes))


def test_the_slices_of_an_evaluation_are_put_together_in_their_own_units(tmp_path):
    images, references = volume(3, 20, 24)
    path = tmp_path / "reconstructions.h5"
    names = ["a/slice0", "b/slice0", "b/slice1"]
    with h5py.File(path, "w") as file:
        for number, name in enumerate(names):
            scale = references[number].max()
            file[f"slices/slice_{number:05d}/reference"] = references[number] / scale
            group = file.create_group(f"models/net/slice_{number:05d}")
            group.attrs.update(name=name, scale=scale)
            group["clean"] = images[number] / scale
            group["radius_1"] = references[number] / scale
    found = {row[:3]: row[3:] for row in volume_protocol.measured(path)}
    assert set(found) == {
        ("net", name, answer) for name in "ab" for answer in ("clean", "radius_1")
    }
    count, score = found["net", "b", "clean"]
    assert count == 2 and score == pytest.approx(scores(images[1:], references[1:]), rel=1e-9)
    assert found["net", "a", "radius_1"][1].ssim == pytest.approx(1)


def test_a_file_of_other_things_is_named(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones(3)
    with pytest.raises(ValueError, match="other.h5"):
        volume_protocol.measured(path)


def test_the_table_is_of_means_over_volumes():
    found = [
        ("net", "a", "clean", 3, volume_protocol.Scores(0.1, 30.0, 0.5)),
        ("net", "b", "clean", 2, volume_protocol.Scores(0.3, 20.0, 0.7)),
        ("net", "a", "radius_1", 3, volume_protocol.Scores(0.5, 10.0, 0.25)),
    ]
    table = volume_protocol.table_of(found)
    assert table.lines[1:] == [
        ["net", "clean", "2", "0.200", "25.0", "0.600"],
        ["net", "radius_1", "1", "0.500", "10.0", "0.250"],
    ]
    assert volume_protocol.rows_of(found)[1] == dict(
        model="net", volume="b", answer="clean", slices=2, nmse=0.3, psnr=20.0, ssim=0.7
    )
