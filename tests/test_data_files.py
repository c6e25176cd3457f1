"""Files appear whole or not at all, and a disk that refuses them is told in one sentence."""
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tfvn.data import files

_LIMITED = """
import resource, signal, sys
import numpy as np
from tfvn.data import files
# As a quota: no file may grow beyond this.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
try:
    {write}
except ValueError as error:
    print(error)
    sys.exit(2)
"""
WRITERS = {
    "hdf5": """
    with files.writing_hdf5(sys.argv[1]) as file:
        for number in range(50):
            file.create_dataset(f"x{number}", data=np.random.rand(100, 100), compression="gzip")
""",
    "mat 7.3": "files.write_mat(sys.argv[1], {'x': np.random.rand(100, 100)}, '7.3')",
    "mat 5": "files.write_mat(sys.argv[1], {'x': np.random.rand(100, 100)})",
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_ends_in_one_sentence_and_leaves_what_was_there(tmp_path, write):
    path = tmp_path / "x.mat"
    path.write_text("before")
    command = [sys.executable, "-c", _LIMITED.format(write=write), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"cannot write {path}: File too large.")
    assert len(done.stdout.splitlines()) == 1
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["x.mat"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot write .*: No such file or directory"):
        with files.writing_hdf5(tmp_path / "none" / "x.h5"):
            pass


def test_an_error_of_the_block_is_not_taken_for_one_of_the_disk(tmp_path):
    with pytest.raises(KeyError, match="mine"):
        with files.writing_hdf5(tmp_path / "x.h5"):
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
