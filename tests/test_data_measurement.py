"""One scan of one's own: orders of axes, masks, maps and references, and real brain scans where
they are present.
"""

import h5py
import numpy as np
import pytest

from tfvn.data import DataWarning, Measurement, SyntheticKnee, low_resolution_maps, normalise
from tfvn.data.array_files import read_arrays
from tfvn.data.mat_files import write_mat
from tfvn.data.scan_file import scan_shape
from tfvn.physics import masks
from tfvn.physics.sense import Sense

HEIGHT, WIDTH, COILS = 40, 32, 4


POINTS = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
POINTS[HEIGHT // 2 - 5 :][:10, WIDTH // 2 - 5 :][:, :10] = True


@pytest.fixture(scope="module")
def scan():
    return SyntheticKnee(2, HEIGHT, WIDTH, COILS, None, 0.001, 0)[0]


@pytest.fixture
def npy(tmp_path, scan):
    np.save(tmp_path / "scan.npy", scan.kspace)
    return tmp_path / "scan.npy"


def _save(path, kspace):
    """`kspace` is (slices, coils, height, width); the file's kind follows from its name."""
    stem, suffix = path.stem, path.suffix
    if suffix == ".npy":
        np.save(path, kspace)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            if stem == "compound":
                file["kspace"] = kspace.view([("real", "<f4"), ("imag", "<f4")])
            else:
                file["kspace"] = (
                    kspace if stem == "complex" else np.stack([kspace.real, kspace.imag], -1)
                )
            file["reconstruction_rss"] = np.ones((2, 5, 5))
    else:
        write_mat(
            path,
            {"kspace": kspace.transpose(2, 3, 0, 1), "other": np.ones(3)},
            5 if stem == "five" else "7.3",
        )


@pytest.mark.parametrize(
    "name", ["a.npy", "complex.h5", "compound.h5", "pairs.h5", "five.mat", "seven.mat"]
)
def test_every_kind_of_file_gives_the_same_slice(tmp_path, name):
    slices = SyntheticKnee(2, HEIGHT, WIDTH, COILS, None, 0.001, 0)
    kspace = np.stack([slices[0].kspace, slices[1].kspace])
    _save(tmp_path / name, kspace)
    for index in (0, 1):
        np.testing.assert_array_equal(
            Measurement(tmp_path / name, slice_index=index)[0].kspace, kspace[index]
        )
    with pytest.raises(
        ValueError, match=f"{name}: the file holds 2 slices. Received: data.slice_index=2"
    ):
        Measurement(tmp_path / name, slice_index=2)[0]


def test_of_a_file_of_slices_one_is_read(tmp_path, scan, monkeypatch):
    np.save(tmp_path / "a.npy", np.stack([scan.kspace] * 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.stack([scan.kspace] * 3)
    write_mat(
        tmp_path / "a.mat", {"kspace": np.stack([scan.kspace] * 3).transpose(2, 3, 0, 1)}, "7.3"
    )
    read = []
    original = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda *arguments: read.append(original(*arguments)) or read[-1],
    )
    shape = (3, *scan.kspace.shape)
    assert [scan_shape(tmp_path / name) for name in ("a.npy", "a.h5", "a.mat")] == [
        shape
    ] * 3 and not read
    for name in ("a.h5", "a.mat"):
        assert Measurement(tmp_path / name, slice_index=2)[0].kspace.shape == scan.kspace.shape
    assert [part.size for part in read] == [scan.kspace.size] * 2
    np.save(tmp_path / "one.npy", scan.kspace)
    assert scan_shape(tmp_path / "one.npy") == (1, *scan.kspace.shape)
    np.save(tmp_path / "coil.npy", np.stack([scan.kspace[0].real, scan.kspace[0].imag], -1)[None])
    assert scan_shape(tmp_path / "coil.npy") == (1, 1, *scan.kspace.shape[1:])
    with pytest.raises(ValueError, match="no such file"):
        scan_shape(tmp_path / "none.npy")


@pytest.mark.parametrize(
    "put, message",
    [
        (
            lambda file: file.update(kspace=h5py.ExternalLink("secret.h5", "kspace")),
            "kspace is a link",
        ),
        (
            lambda file: file.update(
                kspace=h5py.SoftLink("/w/kspace"), w=h5py.ExternalLink("secret.h5", "/")
            ),
            "is a link",
        ),
        (
            lambda file: file.create_dataset(
                "kspace", (4, 40, 32), "c8", external=[("secret.h5", 0, 40960)]
            ),
            "from other files",
        ),
        (
            lambda file: file.create_virtual_dataset("kspace", _virtual("secret.h5", (4, 40, 32))),
            "kspace takes its numbers from other files",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_a_scan_that_would_bring_another_file_is_refused(
    tmp_path, scan, monkeypatch, put, message, suffix
):
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        file["kspace"] = scan.kspace
    with h5py.File(f"scan{suffix}", "w") as file:
        put(file)
    for read in (lambda: Measurement(f"scan{suffix}")[0], lambda: read_arrays(f"scan{suffix}")):
        with pytest.raises(ValueError, match=f"scan{suffix}: .*{message}.*Replace it by a copy"):
            read()


def _virtual(path, shape):
    layout = h5py.VirtualLayout(shape, "c8")
    layout[:] = h5py.VirtualSource(path, "kspace", shape=shape)
    return layout


def test_three_axes_follow_the_rule_of_the_language(tmp_path, npy, scan):
    write_mat(tmp_path / "scan.mat", {"anything": np.moveaxis(scan.kspace, 0, -1)})
    for path in (npy, tmp_path / "scan.mat"):
        source = Measurement(path)
        assert (
            len(source) == 1
            and source.name(0) == "scan"
            and source.shape(0) == (COILS, HEIGHT, WIDTH)
        )
        np.testing.assert_array_equal(source[0].kspace, scan.kspace)


def test_two_axes_are_one_coil(tmp_path, scan):
    np.save(tmp_path / "one.npy", scan.kspace[0])
    assert Measurement(tmp_path / "one.npy")[0].kspace.shape == (1, HEIGHT, WIDTH)


def test_coils_elsewhere_are_asked_for_and_then_taken(tmp_path, scan):
    np.save(tmp_path / "last.npy", np.moveaxis(scan.kspace, 0, -1))
    with pytest.raises(
        ValueError, match=r"last.npy: .* ambiguous.*axis 0 of shape \(40, 32, 4\).*coil_axis"
    ):
        Measurement(tmp_path / "last.npy")[0]
    np.testing.assert_array_equal(
        Measurement(tmp_path / "last.npy", coil_axis=2)[0].kspace, scan.kspace
    )
    write_mat(tmp_path / "first.mat", {"kspace": scan.kspace}, "7.3")
    with pytest.raises(ValueError, match="ambiguous"):
        Measurement(tmp_path / "first.mat")[0]
    np.testing.assert_array_equal(
        Measurement(tmp_path / "first.mat", coil_axis=0)[0].kspace, scan.kspace
    )
    with pytest.raises(ValueError, match="coil_axis=3"):
        Measurement(tmp_path / "last.npy", coil_axis=3)[0]


def test_transpose_swaps_height_and_width(npy, scan):
    np.testing.assert_array_equal(
        Measurement(npy, transpose=True)[0].kspace, scan.kspace.swapaxes(1, 2)
    )


@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_reference_is_the_adjoint_of_the_full_scan(npy, readout_oversampling):
    mask = masks.equispaced(WIDTH, 4, 0.25)
    full = Measurement(npy, readout_oversampling=readout_oversampling)[0]
    sample = Measurement(npy, mask=mask, readout_oversampling=readout_oversampling)[0]
    adjoint = Sense(readout_oversampling).adjoint(
        full.kspace[None], full.sensitivity_maps[None], full.mask[None]
    )[0]
    np.testing.assert_allclose(sample.reference, adjoint, atol=1e-5)
    np.testing.assert_array_equal(sample.kspace, full.kspace * mask)
    np.testing.assert_array_equal(sample.mask, mask[None, None])


def test_undersampled_scan_has_its_mask_and_no_reference(tmp_path, scan):
    for name, mask in (("lines", masks.equispaced(WIDTH, 4, 0.4)[None]), ("points", POINTS)):
        np.save(tmp_path / f"{name}.npy", scan.kspace * mask)
        sample = Measurement(tmp_path / f"{name}.npy", calibration_lines=10)[0]
        np.testing.assert_array_equal(sample.mask[0], mask)
        assert np.isnan(sample.reference).all() and sample.reference.shape == (HEIGHT, WIDTH)
    with pytest.raises(
        ValueError, match="lines.npy: .*Received: k-space of which .* Use sampling.mask: measured"
    ):
        Measurement(tmp_path / "lines.npy", mask=np.ones(WIDTH), calibration_lines=10)[0]


def _changed_where_removed(kspace, mask, rng):
    noise = rng.standard_normal((2, *kspace.shape)).astype(np.float32)
    return np.where(mask > 0, kspace, 5 * noise[0] + 5j * noise[1]).astype(np.complex64)


@pytest.mark.parametrize("lines", [0, 8])
@pytest.mark.parametrize(
    "make",
    [lambda: masks.equispaced(WIDTH, 4, 0.25), lambda: masks.random(WIDTH, 2, 0.4), lambda: POINTS],
)
def test_nothing_that_the_mask_removes_is_in_the_inputs(tmp_path, scan, make, lines):
    mask, rng = make(), np.random.default_rng(0)
    np.save(tmp_path / "a.npy", scan.kspace)
    np.save(tmp_path / "b.npy", _changed_where_removed(scan.kspace, mask, rng))
    one, other = (
        Measurement(tmp_path / name, mask=mask, calibration_lines=lines)[0]
        for name in ("a.npy", "b.npy")
    )
    for name in ("kspace", "sensitivity_maps", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.reference != other.reference).any()
    # Nor in what is made of them.
    np.testing.assert_array_equal(normalise(one, "")[0].kspace, normalise(other, "")[0].kspace)
    # The setting that lets maps see it says so.
    seen = [
        Measurement(tmp_path / name, mask=mask, maps_from="fully-sampled")
        for name in ("a.npy", "b.npy")
    ]
    assert (seen[0][0].sensitivity_maps != seen[1][0].sensitivity_maps).any()
    assert "fully sampled scan, before the mask" in seen[0].maps_origin


def test_the_reference_is_the_same_under_every_mask(npy):
    references = [
        Measurement(npy, mask=masks.equispaced(WIDTH, 4, share))[0].reference
        for share in (0.2, 0.4, 0.8)
    ]
    np.testing.assert_array_equal(references[0], references[1])
    np.testing.assert_array_equal(references[0], references[2])


@pytest.mark.parametrize("centre, used", [(0.25, 9), (0.5, 17), (1, 24)])
def test_as_many_centre_lines_as_the_mask_leaves_make_the_maps(npy, scan, centre, used):
    mask = masks.equispaced(WIDTH, 4, centre)
    source = Measurement(npy, mask=mask)
    np.testing.assert_array_equal(
        source[0].sensitivity_maps, low_resolution_maps(scan.kspace * mask, used)
    )
    assert source.maps_origin == f"estimated from {used} centre lines, all measured"


@pytest.mark.parametrize(
    "options, message",
    [
        (
            dict(mask=masks.equispaced(WIDTH, 4, 0)),
            "scan.npy: an estimate of coil maps needs 4 centre lines .* with 1 of them",
        ),
        (
            dict(mask=masks.equispaced(WIDTH, 4, 0.25), calibration_lines=24),
            "data.calibration_lines=24 must be 0 .* with 9 of them",
        ),
        (
            dict(calibration_lines=3),
            "calibration_lines must be 4 or more, or 0 .*Received: calibration_lines=3",
        ),
        (
            dict(maps_from="all"),
            "maps_from must be one of .'measured', 'fully-sampled'.. Received: maps_from='all'",
        ),
        (
            dict(maps_from="fully-sampled", sensitivity_path="scan.npy"),
            "a file or are estimated, not both.* Set one of the two",
        ),
        (dict(coil_axis=-3), "coil_axis must be an axis of the file, -1 .* or -2"),
    ],
)
def test_maps_that_cannot_be_made_as_asked_are_refused_with_the_reason(
    npy, monkeypatch, options, message
):
    monkeypatch.chdir(npy.parent)
    with pytest.raises(ValueError, match=message):
        Measurement("scan.npy", **options)[0]


def test_maps_of_the_whole_scan_need_one(tmp_path, scan):
    np.save(tmp_path / "lines.npy", scan.kspace * masks.equispaced(WIDTH, 2, 0.4))
    with pytest.raises(
        ValueError,
        match="lines.npy: maps from a fully sampled scan need one.* of which 69% was measured",
    ):
        Measurement(tmp_path / "lines.npy", maps_from="fully-sampled")[0]


@pytest.mark.parametrize(
    "change", [lambda maps: maps * np.nan, lambda maps: maps * 0], ids=["NaN", "zero"]
)
def test_an_error_of_maps_begins_with_their_file(tmp_path, npy, scan, change):
    np.save(tmp_path / "maps.npy", change(scan.sensitivity_maps))
    with pytest.raises(
        ValueError,
        match=r"^/\S*maps.npy: sensitivity_maps (must be finite|is zero).*the maps of .*scan.npy",
    ):
        Measurement(npy, tmp_path / "maps.npy")[0]


def test_a_folder_is_called_a_folder(tmp_path):
    for read in (Measurement, scan_shape):
        with pytest.raises(ValueError, match="is a folder.* Name a file"):
            read(tmp_path)


def test_a_mask_in_an_array_may_call_zeros_measured_but_no_empty_line(tmp_path, scan):
    kspace = scan.kspace.copy()
    lines = masks.equispaced(WIDTH, 2, 0.5)
    lost = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.15
    lost[HEIGHT // 2 - 6 :][:12, WIDTH // 2 - 6 :][:, :12] = False
    np.save(tmp_path / "scan.npy", np.where(lost, 0, kspace * lines))
    with pytest.warns(
        DataWarning,
        match="scan.npy: 1.*% of the positions in its lines are zero .* sampling.mask: file",
    ):
        assert Measurement(tmp_path / "scan.npy")[0].mask.shape == (1, HEIGHT, WIDTH)
    with pytest.warns(DataWarning, match="the mask calls 1.*% of its positions measured where"):
        sample = Measurement(tmp_path / "scan.npy", mask=lines)[0]
    np.testing.assert_array_equal(sample.mask[0, 0], lines)
    with pytest.raises(
        ValueError, match="mask.npy: a mask can only undersample .* samples 8 empty lines"
    ):
        Measurement(tmp_path / "scan.npy", mask=np.ones(WIDTH), mask_name="mask.npy")[0]


def test_rows_of_zeros_are_no_more_measured_than_lines(tmp_path, scan):
    kspace = scan.kspace.copy()
    kspace[:, : HEIGHT // 5] = 0
    np.save(tmp_path / "echo.npy", kspace)
    sample = Measurement(tmp_path / "echo.npy", mask=np.ones(WIDTH))[0]
    assert not sample.mask[:, : HEIGHT // 5].any() and sample.mask[:, HEIGHT // 5 :].all()
    assert np.isfinite(sample.reference).all()
    kspace[:, : HEIGHT // 3] = 0
    np.save(tmp_path / "echo.npy", kspace)
    with pytest.raises(ValueError, match=f"samples {HEIGHT // 3} empty lines or rows"):
        Measurement(tmp_path / "echo.npy", mask=np.ones(WIDTH))[0]


def test_lines_of_zeros_at_the_ends_are_never_sampled(tmp_path, scan):
    kspace = scan.kspace.copy()
    kspace[..., :3] = 0
    np.save(tmp_path / "scan.npy", kspace)
    sample = Measurement(tmp_path / "scan.npy", mask=np.ones(WIDTH))[0]
    assert np.isfinite(sample.reference).all() and sample.mask[0, 0, :4].tolist() == [0, 0, 0, 1]


def test_maps_come_from_their_file(tmp_path, npy, scan):
    np.save(tmp_path / "maps.npy", scan.sensitivity_maps)
    sample = Measurement(npy, tmp_path / "maps.npy")[0]
    np.testing.assert_array_equal(sample.sensitivity_maps, scan.sensitivity_maps)
    np.testing.assert_allclose(sample.reference, scan.reference, atol=1e-5)
    np.save(tmp_path / "maps.npy", scan.sensitivity_maps[:3])
    with pytest.raises(
        ValueError,
        match=r"maps.npy: .*maps.shape=\(3, 40, 32\), kspace.shape=\(4, 40, 32\) of .*scan.npy",
    ):
        Measurement(npy, tmp_path / "maps.npy")[0]


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".mat"])
def test_damaged_and_missing_files_are_named(tmp_path, suffix, scan):
    path = tmp_path / f"pairs{suffix}"
    with pytest.raises(ValueError, match=f"no such file: .*pairs{suffix}"):
        Measurement(path)
    _save(path, scan.kspace[None])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"pairs{suffix} cannot be read as .* Copy it again"):
        Measurement(path)[0]


@pytest.mark.parametrize(
    "kspace, message",
    [
        (np.full((2, 20, 20), np.nan + 0j), "NaN or infinite"),
        (np.zeros((2, 20, 20), complex), "zero everywhere"),
        (np.ones((2, 20, 20)), "complex, or real with a last axis"),
        (np.ones((1, 1, 2, 20, 20), complex), "expected axes coils, height, width"),
    ],
)
def test_arrays_that_are_no_scan_are_refused_by_file(tmp_path, kspace, message):
    np.save(tmp_path / "scan.npy", kspace)
    with pytest.raises(ValueError, match=f"scan.npy: .*{message}"):
        Measurement(tmp_path / "scan.npy")[0]


def test_file_with_several_arrays_and_none_of_the_names_lists_them(tmp_path):
    write_mat(tmp_path / "scan.mat", {"a": np.ones(3), "b": np.ones(3)})
    with pytest.raises(
        ValueError,
        match=(
            r"expected a variable named kspace or rawdata or raw. Received: a float64 \(1, 3\), b"
            r" float64 \(1, 3\)"
        ),
    ):
        Measurement(tmp_path / "scan.mat")[0]


def test_brain_scan_gives_the_known_case(shared_data):
    """In MATLAB's order (y, x, slice, coil); the case undersamples y, the first axis, so y has to
    become the width.
    """
    case = np.load(shared_data("vn_case.npz"))
    mask = masks.equispaced(96, 4, 16 / 96)
    source = Measurement(
        shared_data("brain_16ch_raw.mat"), mask=mask, transpose=True, maps_from="fully-sampled"
    )
    sample, scale = normalise(source[0], source.name(0))
    np.testing.assert_array_equal(sample.mask[0, 0], case["mask"])
    assert scale == pytest.approx(float(case["scale"]), rel=1e-5)
    np.testing.assert_allclose(sample.kspace, case["kspace"], atol=1e-6)
    np.testing.assert_allclose(sample.sensitivity_maps, case["sensitivity_maps"], atol=1e-4)
    np.testing.assert_allclose(sample.reference, case["reference"], atol=1e-5)


def test_poisson_scan_has_a_mask_of_points_and_no_reference(shared_data):
    sample = Measurement(shared_data("brain_8ch_kspace.npy"))[0]
    assert sample.mask.shape == (1, 230, 180) and sample.mask.mean() == pytest.approx(
        1 / 8, rel=0.05
    )
    assert np.isnan(sample.reference).all()
