"""Files appear whole or not at all, and a disk that refuses them is told in one sentence."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tfvn import files

# One process for all that is written there: TensorFlow takes long to start.
_LIMITED = """
import functools, gc, json, resource, signal, sys
import numpy as np
from tfvn import files
from tfvn.data import mat_files

def write_hdf5(path):
    with files.writing_hdf5(path) as file:
        for number in range(50):
            file.create_dataset(f"x{number}", data=np.random.rand(100, 100), compression="gzip")

def write_mat(path, version=5):
    mat_files.write_mat(path, {"x": np.random.rand(100, 100)}, version)

def fail(path):
    for attempt in range(5):
        try:
            with files.writing_hdf5(path) as file:
                kept = [file.create_group(f"h/{number}") for number in range(200)]
                for group in kept:
                    group.attrs["name"] = "x" * 200
                    group["z"] = np.ones((9, 9))
                raise KeyError(attempt)
        except (KeyError, ValueError) as error:
            kept.append(error)
    gc.collect()
    raise ValueError("all is well")

def error_of(write, path):
    try:
        write(path)
    except ValueError as error:
        return str(error)

# As a quota: no file may grow beyond this.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
writers = {
    "hdf5": write_hdf5,
    "mat 7.3": functools.partial(write_mat, version="7.3"),
    "mat 5": write_mat,
    "living": fail,
}
print(json.dumps([error_of(writers[name], path) for name, path in json.loads(sys.argv[1])]))
"""
WRITERS = ("hdf5", "mat 7.3", "mat 5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each writer, with a file that was there before."""
    found = {name: tmp_path_factory.mktemp(name) for name in WRITERS}
    for folder in found.values():
        (folder / "x.mat").write_text("before")
    found["living"] = tmp_path_factory.mktemp("living")
    return found


@pytest.fixture(scope="module")
def errors(folders):
    """What each writer says on a full disk."""
    paths = [(name, str(folder / "x.mat")) for name, folder in folders.items()]
    command = [sys.executable, "-c", _LIMITED, json.dumps(paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(zip(folders, json.loads(done.stdout)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_ends_in_one_sentence_and_leaves_what_was_there(folders, errors, name):
    path = folders[name] / "x.mat"
    assert errors[name].startswith(f"cannot write {path}: File too large.")
    assert len(errors[name].splitlines()) == 1
    assert path.read_text() == "before" and os.listdir(folders[name]) == ["x.mat"]


@pytest.mark.slow
def test_objects_of_a_file_that_found_no_room_may_live_on(folders, errors):
    """HDF5 asks its file for a place long after an error, and ends the process where that fails."""
    assert errors["living"] == "all is well"
    assert not os.listdir(folders["living"])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(ValueError, match="cannot write .*: No such file or directory"),
        files.writing_hdf5(tmp_path / "none" / "x.h5"),
    ):
        pass


def test_an_error_of_the_block_is_not_taken_for_one_of_the_disk(tmp_path):
    with pytest.raises(KeyError, match="mine"), files.writing_hdf5(tmp_path / "x.h5"):
        raise KeyError("mine")
    assert not os.listdir(tmp_path)


def test_what_is_written_is_read(tmp_path):
    array = np.arange(10000.0).reshape(100, 100)
    with files.writing_hdf5(tmp_path / "x.h5", track_order=True) as file:
        file.create_dataset("b", data=array, chunks=(1, 100), compression="gzip", shuffle=True)
        file["a"] = 1
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["b"][()], array)
        assert list(file) == ["b", "a"]


PLACES = {
    "a folder in its way": lambda folder: (folder / "x.h5" / "inner").mkdir(parents=True),
    "no folder": lambda folder: "none/x.h5",
    "a file for a folder": lambda folder: "file/x.h5",
    "a name that is too long": lambda folder: "x" * 300 + ".h5",
    "a folder that takes no files": lambda folder: "/proc/x.h5",
}


@pytest.mark.parametrize("place", PLACES)
def test_places_that_cannot_be_written_are_named_and_stay(tmp_path, place):
    (tmp_path / "file").touch()
    path = PLACES[place](tmp_path)
    path = tmp_path / (path if isinstance(path, str) else "x.h5")
    before = sorted(tmp_path.rglob("*"))
    for write in (lambda: writes_hdf5(path), lambda: writes_bytes(path)):
        with pytest.raises(
            ValueError, match=f"^cannot write {path}: [A-Z].* was there is left as it was"
        ) as error:
            write()
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def writes_hdf5(path):
    with files.writing_hdf5(path) as file:
        file["x"] = np.ones(3)


def writes_bytes(path, content=b"new"):
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def test_names_as_long_as_they_may_be_and_of_any_bytes_are_written(tmp_path):
    for name in (
        "x" * 252 + ".h5",
        "\u00e9" * 126 + ".h5",
        os.fsdecode(b"\xff\xfe.h5"),
        " .h5",
        "[1]*?.h5",
        "a\nb.h5",
    ):
        writes_hdf5(tmp_path / name)
        with h5py.File(tmp_path / name) as file:
            assert file["x"].shape == (3,)
        os.remove(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").write_text("before")
    for target in ("mine", "none"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(tmp_path / target)
        writes_bytes(tmp_path / "link")
        assert (tmp_path / "link").read_bytes() == b"new" and not (tmp_path / "link").is_symlink()
    assert (tmp_path / "mine").read_text() == "before" and not (tmp_path / "none").exists()


def test_what_is_wrong_with_another_file_is_not_called_an_error_of_writing(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="other"),
        files.replacing(tmp_path / "x"),
    ):
        (tmp_path / "other").read_bytes()
    with (
        pytest.raises(ValueError, match="^cannot write .*x: No such file"),
        files.replacing(tmp_path / "x"),
    ):
        pass  # nothing was made that could take its place


class Interrupted:
    """An open file whose writing is interrupted by Ctrl-C from some time on."""

    def __init__(self, file):
        self.file, self.now = file, False

    def write(self, data):
        if self.now:
            raise KeyboardInterrupt
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_an_interrupt_while_hdf5_writes_stays_an_interrupt(tmp_path, monkeypatch):
    opened = []

    def interrupted(*arguments, **settings):
        file = open(*arguments, **settings)  # noqa: SIM115 (`Interrupted` closes it)
        opened.append(Interrupted(file))
        return opened[0]

    monkeypatch.setattr(files, "open", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt), files.writing_hdf5(tmp_path / "x.h5") as file:
        file["x"] = np.ones(3)
        opened[0].now = True
        file["y"] = np.ones((1000, 1000))
    assert not os.listdir(tmp_path)
