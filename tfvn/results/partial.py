"""Slices of an evaluation that was stopped: each is kept in a file, from which the next goes on.

A file counts only if it was made of the same things, and holds what was written. Otherwise its
slice is evaluated again.
"""

import contextlib
import hashlib
import json
import os
import pathlib

import h5py
import numpy as np

from tfvn import files
from tfvn.results.images import slice_name
from tfvn.runs import attack_files, directory, signature

__all__ = ["Kept"]


class Kept:
    """A folder with the images and rows of slices that are done.

    Args:
        folder: its path. It is made when the first slice is written.
    """

    def __init__(self, folder):
        self.folder = folder

    def path(self, name, index):
        """The file of one slice of the run of that name."""
        # Names may be longer than those of folders, together with what they are told apart by.
        run = hashlib.sha256(name.encode()).hexdigest()[:16]
        return os.path.join(self.folder, run, f"{slice_name(index)}.h5")

    def read(self, path, key, numbers):
        """The images and rows of a slice that was evaluated before, or None.

        Args:
            path: of the file.
            key: a text that says what it must have been made of.
            numbers: the slice's [scale, signature]. They must be those that it was made of, up to
                rounding.
        """
        try:
            return _read(path, key, numbers)
        # Not there, or not readable, in whatever way: done again.
        except Exception:
            return None

    def write(self, path, key, numbers, images, rows):
        """Keeps the images and rows of a slice; `path`, `key` and `numbers` as for `read`."""
        directory.make_folder(os.path.dirname(path))
        numbers, text = json.dumps(numbers), json.dumps(rows)
        with files.writing_hdf5(path, track_order=True) as file:
            for name, image in images.items():
                file[name] = image
            file.attrs.update(key=key, numbers=numbers, rows=text)
            file.attrs["checksum"] = _checksum([key, numbers, text], images)

    def remove(self):
        """Removes the slices of an evaluation that is done, and no other file."""
        folder = pathlib.Path(self.folder)
        for path in folder.glob("*/slice_*.h5"):
            with contextlib.suppress(OSError):
                path.unlink()
        for emptied in (*folder.glob("*"), folder):
            with contextlib.suppress(OSError):
                emptied.rmdir()


def _read(path, key, numbers):
    with h5py.File(path, "r") as file:
        stored, rows = file.attrs["numbers"], file.attrs["rows"]
        if file.attrs["key"] != key or not _alike(json.loads(stored), numbers):
            return None
        images = {name: attack_files.stored_array(file, name) for name in file}
        if file.attrs["checksum"] != _checksum([key, stored, rows], images):
            return None
    return images, json.loads(rows)


def _alike(stored, numbers):
    """Whether two pairs [scale, signature] are of one slice, up to rounding."""
    (scale_there, there), (scale, here) = stored, numbers
    same_scale = np.isclose(scale_there, scale, rtol=1e-4)
    return same_scale and signature.same_slice(there, here)


def _checksum(texts, images):
    """Of all that a file of a slice holds."""
    digest = hashlib.sha256(json.dumps([*texts, list(images)]).encode())
    for image in images.values():
        digest.update(repr((image.shape, image.dtype.str)).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
