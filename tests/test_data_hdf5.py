"""Arrays in HDF5 files: found in groups and by name, told where they are not, and never taken from
another file.
"""

import zlib

import h5py
import numpy as np
import pytest

from tfvn import data
from tfvn.config import load
from tfvn.data import array_files, hdf5, mat_files
from tfvn.physics import masks

SCAN = np.random.default_rng(0).normal(size=(3, 24, 20, 2)).astype("f4").view("c8")[..., 0]
NAMES = ("kspace", "rawdata", "raw")


def write(path, put):
    with h5py.File(path, "w", libver="latest") as file:
        put(file)
    return path


def taken(path, **options):
    """The array that is taken for k-space."""
    return array_files.open_array(path, NAMES, least_axes=2, **options)


def put(**arrays):
    """Arrays by name, where __ stands for a group."""
    return lambda file: file.update(
        {name.replace("__", "/"): array for name, array in arrays.items()}
    )


OTHER = np.ones((3, 24, 20), "c8")
CLEAR = {
    "by name": put(kspace=SCAN, image=OTHER),
    "by another name": put(raw=SCAN, image=OTHER),
    "by name in a group": put(scan__kspace=SCAN, scan__image=OTHER, mask=np.ones(20)),
    "by name in a group of a group": put(a__b__rawdata=SCAN, image=OTHER),
    "the only one": put(anything=SCAN),
    "the only one, in a group": put(scan__data=SCAN),
    "beside a number": put(k_space=SCAN, max=np.float64(3), scan__norm=1.0, text="x"),
    "beside lists": put(kData=SCAN, mask=np.ones(20), scan__te=np.ones((4, 1))),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_an_array_is_taken_where_it_is_the_only_one_it_can_be(tmp_path, kind):
    np.testing.assert_array_equal(taken(write(tmp_path / "a.h5", CLEAR[kind]))[...], SCAN)


UNCLEAR = {
    "two": (
        put(a=SCAN, b=OTHER),
        r"Received: a complex64 \(3, 24, 20\), b complex64 \(3, 24, 20\)",
    ),
    "two of a name": (
        put(a__kspace=SCAN, b__kspace=OTHER),
        r"a/kspace complex64 .*, b/kspace complex64",
    ),
    "none": (lambda file: None, "Received: no arrays"),
    "texts": (put(note="x", list=["a", "b"]), r"Received: list \(text\), note \(text\)"),
    "records": (
        lambda file: file.create_dataset("t", (2,), [("a", "f4"), ("b", "i4")]),
        r"Received: t \(records of a, b\)",
    ),
    "acquisitions": (
        lambda file: file.create_dataset(
            "dataset/data", (4,), [("head", "f4", 3), ("data", h5py.vlen_dtype("f4"))]
        ),
        r"dataset/data \(raw acquisitions in the format of ISMRMRD\).* data.format: ismrmrd",
    ),
    "a name that is none": (
        lambda file: file.create_group("kspace"),
        r"Received: kspace \(a group\)",
    ),
    "references": (
        lambda file: file.create_dataset("r", data=file.ref, dtype=h5py.ref_dtype),
        r"Received: r \(references\)",
    ),
    "empty": (
        lambda file: file.create_dataset("kspace", data=h5py.Empty("f4")),
        r"Received: kspace \(empty\)",
    ),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_was_found_is_told_where_no_array_is_the_one(tmp_path, kind):
    content, message = UNCLEAR[kind]
    with pytest.raises(
        ValueError, match=rf"a.h5: expected a variable named kspace or rawdata or raw. .*{message}"
    ):
        taken(write(tmp_path / "a.h5", content))


def test_messages_are_cut(tmp_path):
    path = write(tmp_path / "a.h5", put(**{f"array{number}": SCAN for number in range(200)}))
    with pytest.raises(ValueError, match="and 19[0-9] more") as error:
        taken(path)
    assert len(str(error.value)) < 800


def test_an_array_can_be_named(tmp_path):
    path = write(tmp_path / "a.h5", put(kspace=OTHER, scan__first=SCAN, scan__second=OTHER))
    for name in ("scan/first", "/scan/first", "first"):
        np.testing.assert_array_equal(taken(path, array=name)[...], SCAN)
    for name in ("scan/third", "scan", "third"):
        with pytest.raises(
            ValueError, match=f"named {name}. Received: .*scan/first complex64.* by --array"
        ):
            taken(path, array=name, setting="--array")


def test_a_scan_its_maps_and_its_mask_are_named_in_one_file(tmp_path):
    knee = data.SyntheticKnee(1, 40, 32, 4, None, 0.001, 0)[0]
    lines = masks.equispaced(32, 2, 0.3)
    path = write(
        tmp_path / "a.h5",
        put(scan__k=knee.kspace, scan__s=knee.sensitivity_maps, scan__m=lines, scan__other=OTHER),
    )
    settings = {
        "data.format": "measurement",
        "data.path": str(path),
        "data.sensitivity_path": str(path),
        "sampling.mask": "file",
        "sampling.path": str(path),
    }
    names = {"data.array": "scan/k", "data.sensitivity_array": "scan/s", "sampling.array": "scan/m"}
    sample = data.source(load(settings={**settings, **names}))[0]
    np.testing.assert_array_equal(sample.kspace, knee.kspace * lines)
    np.testing.assert_array_equal(sample.sensitivity_maps, knee.sensitivity_maps)
    for name, flag in {
        "data.array": "--array",
        "data.sensitivity_array": "--maps-array",
        "sampling.array": "--mask-array",
    }.items():
        with pytest.raises(
            ValueError, match=rf"a.h5: .* Received: .*scan/k .* by {name} \({flag}\)"
        ):
            data.source(load(settings={**settings, **{**names, name: ""}}))[0]
    # Slices of two arrays of a file are not taken for each other.
    identities = {
        str(
            data.source(load(settings={**settings, **{**names, "data.array": name}})).fingerprint(0)
        )
        for name in ("scan/k", "scan/s")
    }
    assert len(identities) == 2


def test_real_arrays_are_named_in_one_file(shared_data):
    path = str(shared_data("brain_4ch_mprage.mat"))
    settings = {
        "data.format": "measurement",
        "data.path": path,
        "data.sensitivity_path": path,
        "sampling.mask": "file",
        "sampling.path": path,
    }
    names = {
        "data.array": "kData",
        "data.sensitivity_array": "coil_sens",
        "sampling.array": "kMaskRand7",
    }
    sample = data.source(load(settings={**settings, **names}))[0]
    assert sample.kspace.shape == (4, 256, 256) and 0.1 < sample.mask.mean() < 0.2
    with pytest.raises(
        ValueError, match=r"Received: .*kData complex128 \(256, 256, 4\), kMaskPFACS7 float64"
    ):
        data.source(load(settings={**settings, **{**names, "data.array": ""}}))[0]


def test_variables_of_matlab_are_told_as_such(tmp_path):
    path = tmp_path / "a.mat"
    mat_files.write_mat(path, {"kspace": np.moveaxis(SCAN, 0, -1)}, "7.3")
    with h5py.File(path, "r+") as file:
        file.move("kspace", "scan/kspace")
        file["scan"].attrs["MATLAB_class"] = np.bytes_("struct")
        for name, kind in (("note", "char"), ("list", "cell"), ("f", "function_handle")):
            file[name] = np.ones((1, 3), "u2")
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file["#refs#/a"] = np.ones((3, 3))
    # As MATLAB writes scan.kspace.
    assert taken(path).shape == (24, 20, 3)
    arrays, others = array_files.read_arrays(path), {}
    assert list(arrays) == ["scan/kspace"]
    with h5py.File(path) as file:
        others = hdf5.search(path, file, True)[1]
    assert others == {
        "f": "MATLAB's function_handle",
        "list": "MATLAB's cell",
        "note": "text",
        "scan": "a structure",
    }


# What lies elsewhere


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with secret.h5 and its array kspace."""
    monkeypatch.chdir(tmp_path)
    write("secret.h5", put(kspace=OTHER, number=np.float32(42)))
    return tmp_path


def virtual(file, name, source, inner, shape=SCAN.shape):
    layout = h5py.VirtualLayout(shape, "c8")
    layout[:] = h5py.VirtualSource(source, inner, shape=shape)
    file.create_virtual_dataset(name, layout)


ELSEWHERE = {
    "link": lambda file, name: file.update({name: h5py.ExternalLink("secret.h5", "kspace")}),
    "link to a link": lambda file, name: file.update(
        {name: h5py.SoftLink("/x"), "x": h5py.ExternalLink("secret.h5", "kspace")}
    ),
    "through a group": lambda file, name: file.update(
        {name: h5py.SoftLink("/x/kspace"), "x": h5py.ExternalLink("secret.h5", "/")}
    ),
    "raw bytes": lambda file, name: file.create_dataset(
        name, (3, 24, 20), "c8", external=[("secret.h5", 0, 11520)]
    ),
    "virtual": lambda file, name: virtual(file, name, "secret.h5", "kspace"),
    "virtual, through a link": lambda file, name: (
        virtual(file, name, ".", "x"),
        file.update({"x": h5py.ExternalLink("secret.h5", "kspace")}),
    ),
    "virtual of raw bytes": lambda file, name: (
        virtual(file, name, ".", "/y"),
        file.create_dataset("y", (3, 24, 20), "c8", external=[("secret.h5", 0, 11520)]),
    ),
}


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_no_array_comes_from_another_file(folder, kind, suffix):
    path = write(f"scan{suffix}", lambda file: ELSEWHERE[kind](file, "kspace"))
    readers = (
        taken,
        array_files.read_arrays,
        mat_files.read_mat,
        lambda path: mat_files.mat_shape(path, "kspace"),
    )
    for read in (*readers, lambda path: mat_files.read_mat(path, ("kspace",))):
        with pytest.raises(
            ValueError, match=f"scan{suffix}: .* other file.*|.*another file.* Replace it by a copy"
        ):
            read(path)


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_is_not_read_may_lie_elsewhere(folder, kind):
    path = write(
        "scan.h5", lambda file: (file.update({"kspace": SCAN}), ELSEWHERE[kind](file, "notes"))
    )
    np.testing.assert_array_equal(taken(path)[...], SCAN)
    np.testing.assert_array_equal(array_files.read_arrays(path, ("kspace",))["kspace"], SCAN)
    assert list(array_files.read_arrays(path)) == ["kspace"]
    with pytest.raises(ValueError, match="another file|other files"):
        taken(path, array="notes")


INSIDE = {
    "link": lambda file: file.update({"kspace": h5py.SoftLink("/scan/data")}),
    "relative link": lambda file: file.update(
        {"scan/kspace": h5py.SoftLink("data"), "kspace": h5py.SoftLink("scan/kspace")}
    ),
    "link through a linked group": lambda file: file.update(
        {"g": h5py.SoftLink("scan"), "kspace": h5py.SoftLink("/g/data")}
    ),
    "second name": lambda file: file.update({"kspace": file["scan/data"]}),
    "virtual": lambda file: virtual(file, "kspace", ".", "scan/data"),
    "virtual of virtual": lambda file: (
        virtual(file, "v", ".", "scan/data"),
        virtual(file, "kspace", ".", "v"),
    ),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_links_inside_a_file_are_followed(folder, kind):
    path = write(
        "scan.h5",
        lambda file: (file.update({"scan/data": SCAN, "other": OTHER}), INSIDE[kind](file)),
    )
    np.testing.assert_array_equal(taken(path)[...], SCAN)
    np.testing.assert_array_equal(array_files.read_arrays(path, ("kspace",))["kspace"], SCAN)


CIRCLES = {
    "a link to itself": lambda file: file.update({"kspace": h5py.SoftLink("/kspace")}),
    "two links": lambda file: file.update(
        {"kspace": h5py.SoftLink("/a"), "a": h5py.SoftLink("kspace")}
    ),
    "a virtual one of itself": lambda file: virtual(file, "kspace", ".", "kspace"),
    "two virtual ones": lambda file: (
        virtual(file, "kspace", ".", "a"),
        virtual(file, "a", ".", "kspace"),
    ),
}


@pytest.mark.parametrize("kind", CIRCLES)
def test_circles_end(folder, kind):
    with pytest.raises(ValueError, match="leads in a circle|is made of itself"):
        taken(write("scan.h5", CIRCLES[kind]))


def test_groups_that_hold_themselves_are_searched_once(folder):
    def content(file):
        file["a/scan"] = SCAN
        file["a/b"] = file["/"]
        file["c"] = file["a"]

    np.testing.assert_array_equal(taken(write("scan.h5", content))[...], SCAN)


# Sizes that are declared


def packed(file, chunk):
    dataset = file.create_dataset(
        "kspace", (1000, 1000, 1000), "c8", chunks=chunk, compression="gzip"
    )
    dataset[:1] = 0


HUGE = {
    "never written": lambda file: file.create_dataset("kspace", (1000, 1000, 1000), "c8"),
    "never written, in chunks": lambda file: file.create_dataset(
        "kspace", (1000, 1000, 1000), "c8", chunks=(1, 1000, 1000)
    ),
    "packed zeros": lambda file: packed(file, (1, 1000, 1000)),
    "virtual": lambda file: virtual(file, "kspace", ".", "a", (1000, 1000, 1000)),
}


@pytest.mark.parametrize("kind", HUGE)
def test_no_memory_is_taken_for_what_was_never_written(tmp_path, kind):
    path = write(tmp_path / "scan.h5", HUGE[kind])
    for read in (
        lambda: taken(path)[...],
        lambda: taken(path)[:, 1:, :],
        lambda: array_files.read_arrays(path),
    ):
        with pytest.raises(
            ValueError,
            match=(
                "scan.h5: .* would take (8|7.99) GB, of which the file holds .* less than 1 in 100"
            ),
        ):
            read()
    # A part is read, if it is small.
    assert taken(path)[:1, :, :].shape == (1, 1000, 1000)


def test_a_chunk_that_unpacks_to_all_memory_is_not_unpacked(tmp_path):
    path = write(tmp_path / "scan.h5", lambda file: packed(file, (10, 1000, 1000)))
    with pytest.raises(ValueError, match="a chunk of kspace would take 0.08 GB"):
        taken(path)[:1, :, :]


def test_masks_may_pack_well(tmp_path):
    path = write(
        tmp_path / "mask.h5",
        lambda file: file.create_dataset("mask", data=np.zeros((1000, 1000)), compression="gzip"),
    )
    assert array_files.read_array(path, ("mask",)).shape == (1000, 1000)


@pytest.mark.parametrize("pair", [("real", "imag"), ("r", "i"), ("re", "im")])
@pytest.mark.parametrize("kind", ["f4", "f8", "i2", ">f4"])
def test_pairs_are_complex_numbers(tmp_path, pair, kind):
    array = np.zeros((24, 20), [(name, kind) for name in pair])
    array[pair[0]], array[pair[1]] = 1, 2
    assert (taken(write(tmp_path / "a.h5", put(kspace=array)))[...] == 1 + 2j).all()


@pytest.mark.parametrize("shuffle", [False, True])
def test_chunks_that_unpack_to_another_size_are_refused(tmp_path, shuffle):
    # HDF5 reads what stands in memory behind a shorter one, or ends the process.
    for count in (0, 10, SCAN.nbytes // 3 - 1, SCAN.nbytes // 3 + 1, 2 * SCAN.nbytes):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            dataset = file.create_dataset(
                "kspace", data=SCAN, chunks=(1, 24, 20), compression="gzip", shuffle=shuffle
            )
            dataset.id.write_direct_chunk((1, 0, 0), zlib.compress(bytes(count)))
        with pytest.raises(
            ValueError, match="a.h5 cannot be read as .*: a chunk of kspace has .* Copy it again"
        ):
            taken(tmp_path / "a.h5")[...]
        np.testing.assert_array_equal(taken(tmp_path / "a.h5")[2:, :, :], SCAN[2:])
    # What did not pack at all was stored as it is.
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["kspace"].id.write_direct_chunk(
            (1, 0, 0), np.zeros_like(SCAN[:1]).tobytes(), 2 if shuffle else 1
        )
    assert not taken(tmp_path / "a.h5")[1, :, :].any()


@pytest.mark.slow
def test_parts_that_overlap_are_no_numbers(tmp_path):
    # As a flipped bit in the type makes them; HDF5 ends the process on reading such a one.
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = SCAN.view([("real", "f4"), ("imag", "f4")])
    content = (tmp_path / "a.h5").read_bytes()
    changed, start = bytearray(content), content.index(b"real\0")
    for position in range(start, start + 100):
        for value in (0, 4, 8):
            changed[position] = value
            (tmp_path / "b.h5").write_bytes(bytes(changed))
            try:
                array_files.read_arrays(tmp_path / "b.h5")
            except ValueError as error:
                assert "b.h5" in str(error)
        changed[position] = content[position]
