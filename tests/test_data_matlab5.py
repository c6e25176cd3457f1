"""MATLAB files of version 5, read by the format alone: what SciPy reads, and no more memory or
bytes than there are.
"""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from tfvn.data import matlab5, recognise
from tfvn.data.array_files import read_arrays
from tfvn.data.mat_files import read_mat

TYPES = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "c8", "c16", "?"]
# What MATLAB itself wrote, of both byte orders.
SCIPYS = Path(scipy.io.matlab.__file__).parent / "tests" / "data"
HEADERS = {
    "little": b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM",
    "big": b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI",
}


def random_array(rng, dtype):
    array = 100 * rng.normal(size=rng.integers(0, 6, rng.integers(2, 5)))
    if np.dtype(dtype).kind == "c":
        array = array * (1 + 2j)
    return array.astype(dtype)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_every_type_and_shape_are_those_that_scipy_reads(tmp_path, compressed):
    rng = np.random.default_rng(0)
    for _ in range(5):
        arrays = {f"x{name}": random_array(rng, name) for name in TYPES if name != "?"}
        arrays.update(
            text="hello",
            cell=np.array([1, "a"], object),
            scan={"kspace": np.ones((2, 3)), "t": "x"},
        )
        arrays.update(sparse=scipy.sparse.eye(3).tocsc(), logical=np.array([[True, False]]))
        scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
        expected = scipy.io.loadmat(tmp_path / "a.mat")
        found = {variable.name: variable for variable in matlab5.variables(tmp_path / "a.mat")}
        assert {
            name: variable.meaning for name, variable in found.items() if variable.dtype is None
        } == {
            "text": "text",
            "cell": "cell array",
            "scan": "structure of kspace, t",
            "sparse": "sparse matrix",
        }
        for name, variable in found.items():
            if variable.dtype is not None:
                array = matlab5.read(tmp_path / "a.mat", variable)
                assert (
                    (array.shape, array.dtype)
                    == (variable.shape, variable.dtype)
                    == (expected[name].shape, expected[name].dtype)
                )
                np.testing.assert_array_equal(array, expected[name])


@pytest.mark.skipif(not SCIPYS.is_dir(), reason="SciPy is installed without its tests")
def test_files_of_matlab_itself_are_read_as_scipy_reads_them():
    compared = 0
    for path in sorted(SCIPYS.glob("*_[67].*_*.mat")):
        if recognise.format_of(path) != "matlab 5":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = scipy.io.loadmat(path)
        for variable in matlab5.variables(path):
            if variable.dtype is not None and variable.name:
                np.testing.assert_array_equal(matlab5.read(path, variable), expected[variable.name])
                compared += 1
    assert compared > 20


def element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(shape, data, kind=6, name=b"kspace", order="<"):
    flags = element(6, struct.pack(f"{order}II", kind, 0), order)
    sizes = element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return element(14, flags + sizes + element(1, name, order) + data, order)


def write(path, *elements, order="little"):
    path.write_bytes(HEADERS[order] + b"".join(elements))
    return path


def test_both_orders_of_bytes_and_small_types_are_read(tmp_path):
    for order, sign in (("little", "<"), ("big", ">")):
        numbers = element(3, np.arange(-3, 3).astype(f"{sign}i2").tobytes(), sign)
        array = read_mat(
            write(tmp_path / "a.mat", matrix((2, 3), numbers, order=sign), order=order)
        )["kspace"]
        assert array.dtype == "f8"  # the class of the variable, whatever its numbers are stored as
        np.testing.assert_array_equal(array, np.arange(-3, 3).reshape(2, 3, order="F"))


def packed(content):
    data = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(data)) + data


NUMBERS = element(9, bytes(48))
DAMAGED = {
    "a type that holds no numbers": matrix((2, 3), element(14, bytes(48))),
    "an unknown type": matrix((2, 3), element(99, bytes(48))),
    "too few numbers": matrix((2, 4), NUMBERS),
    "too many numbers": matrix((2, 2), NUMBERS),
    "half a number": matrix((2, 3), element(9, bytes(44))),
    "negative sizes": matrix((-2, -3), NUMBERS),
    "one size": matrix((6,), NUMBERS),
    "an unknown class": matrix((2, 3), NUMBERS, kind=99),
    "a part longer than the variable": matrix((2, 3), struct.pack("<II", 9, 2**31)),
    "a variable longer than the file": struct.pack("<II", 14, 2**31) + matrix((2, 3), NUMBERS)[8:],
    "something else in the file": element(9, bytes(48)),
    "packed something else": packed(NUMBERS),
    "packed nothing": packed(b""),
    "packed half": packed(matrix((2, 3), NUMBERS)[:-40]),
    "no zlib": element(15, b"not packed"),
    "two of a name": matrix((2, 3), NUMBERS) * 2,
    "a tail": matrix((2, 3), NUMBERS) + b"\0\0\0",
    "a small element that is large": matrix((2, 3), struct.pack("<HH", 9, 60) + bytes(60)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_does_not_keep_the_format_is_refused_by_name(tmp_path, content):
    with pytest.raises(
        ValueError, match="a.mat cannot be read as a MATLAB file: .*Copy it again"
    ) as error:
        read_arrays(write(tmp_path / "a.mat", content))
    assert "\n" not in str(error.value)


def test_no_memory_is_taken_for_numbers_that_are_not_there(tmp_path):
    huge = matrix((30_000, 30_000, 4), element(9, bytes(64)))
    zeros = zlib.compressobj(9)
    inner = matrix((1000, 1000, 1000), b"")
    announced = struct.pack("<II", 14, len(inner) + 8 * 10**9 % 2**32) + inner[8:]
    data = zeros.compress(announced) + zeros.compress(bytes(10**7)) + zeros.flush()
    for content in (huge, struct.pack("<II", 15, len(data)) + data):
        path = write(tmp_path / "a.mat", content)
        for read in (read_mat, lambda name: read_mat(name, ("kspace",))):
            with pytest.raises(
                ValueError, match="a.mat: .* would take .* GB, .* less than 1 in 100"
            ):
                read(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_flipped_bit_of_the_structure_is_harmless(tmp_path, compressed):
    # SciPy's reader ends the process at some of them.
    scipy.io.savemat(
        tmp_path / "a.mat",
        {"kspace": np.eye(3) * 1j, "c": np.array([1, "a"], object)},
        do_compression=compressed,
    )
    content = (tmp_path / "a.mat").read_bytes()
    for position in range(128, len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (tmp_path / "b.mat").write_bytes(bytes(changed))
        try:
            read_arrays(tmp_path / "b.mat")
        except ValueError as error:
            assert "b.mat" in str(error) and "\n" not in str(error)
