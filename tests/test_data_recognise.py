"""Files are what their content says, and what cannot be read is told by its cause: only damage is
called damage.
"""

import errno
import gzip
import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from tfvn.checks import DataWarning
from tfvn.data import Measurement, array_files, mat_files, recognise
from tfvn.data.scan_file import scan_shape

SCAN = np.random.default_rng(0).normal(size=(3, 24, 20, 2)).astype("f4").view("c8")[..., 0]
READERS = {
    "read_arrays": array_files.read_arrays,
    "read_mat": mat_files.read_mat,
    "mat_shape": lambda path: mat_files.mat_shape(path, "kspace"),
    "open_array": lambda path: array_files.open_array(path, ("kspace",)),
    "is_matlab": array_files.is_matlab,
    "scan_shape": scan_shape,
    "Measurement": lambda path: Measurement(path)[0],
}


def write(path, kind=None):
    """A scan as a file of some kind, by default that of its suffix."""
    kind = kind or path.suffix
    if kind == ".npy":
        with open(path, "wb") as file:
            np.save(file, SCAN)
    elif kind == ".h5":
        with h5py.File(path, "w") as file:
            file["kspace"] = SCAN
    else:
        mat_files.write_mat(
            path, {"kspace": np.moveaxis(SCAN, 0, -1)}, 5 if kind == "v5" else "7.3"
        )
    return path


def refused(path, message, readers=READERS):
    """Every reader refuses the file with this message, in one sentence that names it and speaks of
    no damage.
    """
    for name in readers:
        with pytest.raises(ValueError, match=message) as error:
            READERS[name](path)
        text = str(error.value)
        assert str(path) in text and "\n" not in text and len(text) < 1000, name
        if "damaged" not in message:
            assert "damaged" not in text, text


NOT_DATA = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "Git LFS .* git lfs pull",
    ),
    "annex": (b"/annex/objects/MD5-s1--0\n", "git annex get"),
    "web": (b"\n<!DOCTYPE html><html>404</html>", "web page .* Download it again"),
    "page": (b"<HTML><head>" * 20, "web page"),
    "gzip": (gzip.compress(b"data"), "compressed by gzip. Unpack it"),
    "bzip2": (b"BZh91AY&SY" + bytes(50), "compressed by bzip2"),
    "encrypted": (b"Salted__" + bytes(range(200)), "encrypted by OpenSSL. Decrypt it"),
    "pickle": (pickle.dumps([1]), "a pickle, which is never opened"),
    "text": (b"1.0, 2.0, 3.0\n" * 30, "text that begins with '1.0, 2.0"),
    "version 4": (
        bytes([0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]) + b"a\0" + bytes(8),
        "version 4. Save it",
    ),
    "octave": (b"# Created by Octave 8.4\n# name: kspace\n", "Octave's text format"),
    "dicom": (bytes(128) + b"DICM" + bytes(range(1, 90)), "DICOM"),
    "empty": (b"", "it is empty .* Copy it again"),
    "zeros": (bytes(5000), "damaged or cut short. Copy it again"),
    "bytes": (
        bytes(range(128, 256)) * 3,
        "begins with the bytes 80 81 .* If it should be one of them, it is damaged: copy it again",
    ),
}


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".npy", ".dat", ""])
@pytest.mark.parametrize("content, message", NOT_DATA.values(), ids=NOT_DATA)
def test_what_stands_in_place_of_data_is_told(tmp_path, content, message, suffix):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    refused(path, f"cannot be read as .*{message}")


def test_archives_are_told(tmp_path):
    np.savez(tmp_path / "scan.npz", kspace=SCAN, mask=np.ones(3))
    refused(tmp_path / "scan.npz", r"\.npz archive of kspace.npy, mask.npy. .* np.save")
    with zipfile.ZipFile(tmp_path / "scan.h5", "w") as archive:
        archive.writestr("scan.h5", "x")
    refused(tmp_path / "scan.h5", "a zip archive of scan.h5. Unpack it")
    content = bytearray((tmp_path / "scan.h5").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "scan.h5").write_bytes(bytes(content))
    refused(tmp_path / "scan.h5", "an encrypted zip archive. Decrypt")


def test_places_without_a_file_are_told(tmp_path):
    for name in ("none.h5", "none/none.mat", "file/none.npy"):
        (tmp_path / "file").touch()
        refused(tmp_path / name, "no such file")
    (tmp_path / "link.h5").symlink_to(tmp_path / "gone.h5")
    refused(tmp_path / "link.h5", "a link to .*gone.h5, which is not there")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "folder.h5 is a folder that is empty. Name a file")
    (tmp_path / "folder.h5" / "scan.npy").touch()
    refused(tmp_path / "folder.h5", "folder that holds scan.npy. Name a file")
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "no file but a device or a pipe")
    refused(tmp_path / ("x" * 300 + ".h5"), "File name too long")
    for path in (None, 3.5, ["scan.h5"]):
        with pytest.raises(ValueError, match="expected the path of a file. Received: path="):
            array_files.read_arrays(path)


@pytest.mark.parametrize(
    "number, message",
    [
        (errno.EACCES, "cannot be read: Permission denied. Ask its owner"),
        (errno.EIO, "cannot be read: Input/output error. Try again"),
        (errno.ESTALE, "cannot be read: Stale file handle. Try again"),
        (errno.EMFILE, "Too many open files. Allow more"),
    ],
)
def test_what_the_system_refuses_is_no_damage(tmp_path, monkeypatch, number, message):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    paths = [write(tmp_path / name) for name in ("a.h5", "a.npy")] + [
        write(tmp_path / "a.mat", "v5")
    ]
    # At opening, and later inside each reader.
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail)
        for path in paths:
            refused(path, message)
    with monkeypatch.context() as patch:
        patch.setattr(h5py.File, "__init__", fail)
        refused(paths[0], message)
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        refused(paths[1], message, ["read_arrays", "open_array"])


def test_a_file_that_is_being_written_is_no_damage(tmp_path):
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print(1, flush=True);"
        " sys.stdin.read()"
    )
    path = write(tmp_path / "scan.h5")
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        refused(path, "open in another program, which writes it, or its drive knows no locks. Wait")
        writer.stdin.close()
    assert array_files.read_arrays(path)["kspace"].shape == SCAN.shape
    # A copy of one that was never closed.
    with h5py.File(tmp_path / "open.h5", "w", libver="latest") as file:
        file["kspace"] = SCAN
        file.flush()
        shutil.copy(tmp_path / "open.h5", tmp_path / "copy.h5")
    refused(tmp_path / "copy.h5", "is being written, or what wrote it was stopped")


@pytest.mark.parametrize("kind", [".npy", ".h5", "v5", "v7.3"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_what_is_cut_short_is_to_be_copied_again(tmp_path, kind, share):
    path = write(tmp_path / "scan.dat", kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        ValueError, match="scan.dat cannot be read as .*(cut short|damaged).* Copy it again"
    ):
        array_files.read_arrays(path)


def test_a_missing_filter_is_named_with_its_remedy(tmp_path, monkeypatch):
    def put(name, filters, flag=h5py.h5z.FLAG_OPTIONAL, skipped=0):
        with h5py.File(tmp_path / name, "w") as file:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk(SCAN.shape)
            for number in filters:
                plist.set_filter(number, flag, ())
            kind, space = h5py.h5t.py_create(SCAN.dtype), h5py.h5s.create_simple(SCAN.shape)
            dataset = h5py.h5d.create(file.id, b"kspace", kind, space, plist)
            dataset.write_direct_chunk((0, 0, 0), SCAN.tobytes(), skipped)
            file["mask"] = np.ones(3)
        return tmp_path / name

    readers = ("read_arrays", "Measurement")
    refused(
        put("a.h5", [32001]),
        r"kspace is compressed by the HDF5 filter 32001 \(Blosc\), which is not installed",
        readers,
    )
    refused(put("b.h5", [32015]), r"filter 32015 \(Zstandard\).*pip install hdf5plugin", readers)
    refused(put("c.h5", [31999]), r"filter 31999 \(unknown\)", readers)
    # What is not read, and what was stored without it, can be read.
    assert array_files.read_arrays(tmp_path / "a.h5", ("mask",))["mask"].shape == (3,)
    np.testing.assert_array_equal(
        array_files.read_arrays(put("d.h5", [32001], skipped=1))["kspace"], SCAN
    )


@pytest.mark.parametrize("kind", [".npy", ".h5", "v5", "v7.3"])
@pytest.mark.parametrize("name", ["scan.npy", "scan.h5", "scan.HDF5", "scan.dat", "scan", "a.b"])
def test_the_content_decides_what_a_file_is(tmp_path, kind, name):
    path = write(tmp_path / name, kind)
    assert array_files.is_matlab(path) == kind.startswith("v")
    np.testing.assert_array_equal(Measurement(path)[0].kspace, SCAN)
    assert scan_shape(path) == (1, *SCAN.shape)


@pytest.mark.parametrize("name", ["scan.mat", "SCAN.MAT"])
def test_what_is_called_mat_has_matlabs_order_only_if_it_is_matlabs(tmp_path, name):
    for kind in ("v5", "v7.3", ".npy"):
        np.testing.assert_array_equal(Measurement(write(tmp_path / name, kind))[0].kspace, SCAN)
    path = write(tmp_path / name, ".h5")
    with pytest.warns(
        DataWarning,
        match=rf"{name} is called .mat, but .* NumPy's order, .* \(3, 24, 20\)",
    ):
        np.testing.assert_array_equal(array_files.open_array(path, ("kspace",))[...], SCAN)
    # A variable's class says it too, where the header was lost.
    with h5py.File(path, "r+") as file:
        file["kspace"].attrs["MATLAB_class"] = np.bytes_("single")
    assert array_files.is_matlab(path) and array_files.open_array(path, ("kspace",)).shape == (
        20,
        24,
        3,
    )


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a"]),
        np.array([{}]),
        np.zeros(3, [("a", "f4"), ("b", "f8")]),
        np.array(["2020"], "M8[D]"),
    ],
)
def test_arrays_of_something_else_are_told(tmp_path, array):
    np.save(tmp_path / "scan.npy", array)
    readers = ("read_arrays", "open_array", "Measurement")
    refused(
        tmp_path / "scan.npy", "Expected numbers|expected an array of numbers. Received: ", readers
    )


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**62, 4), (-1, 4), (10**30,)])
def test_no_memory_is_taken_for_what_a_header_says(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<c8", "fortran_order": False, "shape": shape}
    )
    (tmp_path / "scan.npy").write_bytes(header.getvalue() + bytes(1000))
    with pytest.raises(
        ValueError,
        match="scan.npy cannot be read as a NumPy file: .*damaged or cut short. Copy it again",
    ):
        array_files.read_arrays(tmp_path / "scan.npy")


def test_a_limit_stands_before_every_array(monkeypatch):
    for needed, stored in ((recognise.ALWAYS, 0), (2**30, 2**30 // recognise.MOST_PACKED + 1)):
        recognise.check_size("kspace", needed, stored)
    for needed, stored in ((recognise.ALWAYS + 1, 0), (2**33, 2**20)):
        with pytest.raises(
            ValueError, match=f"kspace would take .* GB, of which the file holds {stored} bytes"
        ):
            recognise.check_size("kspace", needed, stored)
    monkeypatch.setattr(os, "sysconf", lambda name: 2**15)
    with pytest.raises(
        ValueError, match=r"2.15 GB, more than the memory of this machine \(1.07 GB\)"
    ):
        recognise.check_size("kspace", 2**31, 2**31)


def test_names_in_files_cannot_move_a_terminals_cursor(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["a\x1b[2J\n"] = file["b"] = np.ones((3, 3))
    with pytest.raises(ValueError, match=r"Received: a\?\[2J") as error:
        array_files.open_array(tmp_path / "scan.h5", ("kspace",))
    assert str(error.value).isprintable()
