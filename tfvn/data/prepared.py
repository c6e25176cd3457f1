"""Normalised slices, and a folder that keeps them: raw files are read and prepared once.

A file of the folder holds one slice:

    sensitivity_maps, mask    of its `Sample`
    sampled                   (coils, samples): k-space where the mask is 1; it is 0 elsewhere
    reference                 (1, rows, width)
    scale, fingerprint        attributes: max |A^H k| of the raw data, and what the slice is of
    doubts                    attribute: the texts of the warnings of its source, to be told again

A fingerprint holds the settings of the source and path, size and modification time of each raw
file. The settings and the paths name the file, so that slices of several sources or masks share a
folder; one whose fingerprint is another is replaced. HDF5 checks the arrays by their Fletcher-32
sums and, in its newest layout, everything else by sums of its own: a damaged file is replaced too.
The data are not compressed, which would cost more time than it saves.
"""

import contextlib
import hashlib
import json
import os
import tempfile

import h5py
import numpy as np

from tfvn.data import agreement
from tfvn.data.sample import Sample, normalise
from tfvn.files import remove_stale, writing_hdf5

__all__ = ["FORMAT", "PreparedSlices"]

# To be raised with every change of this layout or of what the package makes of the same files and
# settings.
FORMAT = 2


class PreparedSlices:
    """The slices of a source, normalised.

    `prepared[index]` is what `normalise` returns, bit for bit, stored or not. Threads and processes
    may share a folder. It may be deleted at any time between runs.

    Args:
        source: a source of slices, see `tfvn.data.source.Source`. `source.fingerprint(index)`
            returns all that a slice depends on: settings, a dict of plain values, and the list of
            `tfvn.files.state` of the files that it is read from.
        cache_dir: folder that keeps prepared slices, made if need be; empty: a slice is prepared
            each time that it is asked for.

    Raises:
        ValueError: at construction if the folder cannot be written; when a slice is read, what the
            source and `normalise` raise, or if it cannot be stored.
    """

    def __init__(self, source, cache_dir=""):
        self._source, self._folder = source, cache_dir
        self.readout_oversampling = source.readout_oversampling
        if cache_dir:
            with self._writing():
                os.makedirs(cache_dir, exist_ok=True)
                tempfile.TemporaryFile(dir=cache_dir).close()
            remove_stale(cache_dir)

    def __len__(self):
        return len(self._source)

    def shape(self, index):
        """(coils, height, width) of a slice."""
        stored = self._stored(*self._place(index), lambda file: file["sensitivity_maps"].shape)
        return stored or self._source.shape(index)

    @property
    def mask_height(self):
        """1 where all masks are constant along the height; None if that is not known."""
        # A source of one slice may have to read it to know.
        stored = len(self) == 1 and self._stored(
            *self._place(0), lambda file: file["mask"].shape[1]
        )
        return stored or self._source.mask_height

    def __getitem__(self, index):
        # Asked before the raw files are read: should they change meanwhile, what is stored is out
        # of date, never wrong.
        path, fingerprint = self._place(index)
        stored = self._stored(path, fingerprint, _read)
        if stored:
            sample, scale, doubts = stored
            # What the source told when the slice was prepared.
            agreement.tell(doubts, fingerprint)
            return sample, scale
        source = self._source
        sample, scale = normalise(source[index], source.name(index), source.readout_oversampling)
        if path:
            with self._writing(), writing_hdf5(path, libver="latest") as file:
                _write(file, sample, scale, fingerprint, self._doubts(index))
            # The source has told them.
            agreement.tell([], fingerprint)
        return sample, scale

    def _doubts(self, index):
        # A source that is none of this package's may tell of none.
        doubts = getattr(self._source, "doubts", None)
        if doubts is None:
            return []
        return doubts(index)

    def _place(self, index):
        """The path and the fingerprint of a slice's file; None without a folder."""
        if not self._folder:
            return None, None
        settings, states = self._source.fingerprint(index)
        identity = _text([settings, [path for path, *_ in states]])
        path = os.path.join(self._folder, hashlib.sha256(identity).hexdigest()[:32] + ".h5")
        return path, _text([FORMAT, settings, states])

    def _stored(self, path, fingerprint, read):
        """What `read` gives of a slice's open file; None if there is none that can be used."""
        if not path:
            return None
        try:
            # A Python file: HDF5 itself looks at the path again after opening it, when another may
            # have replaced the file.
            with open(path, "rb") as opened, h5py.File(opened, "r") as file:
                if file.attrs["fingerprint"] != fingerprint:
                    return None
                return read(file)
        except FileNotFoundError:
            return None
        # As in `tfvn.data.recognise`: readers of damaged files raise nearly anything.
        except Exception as error:
            # What the system does not let us read may be whole: another user's, or on a drive that
            # fails for a while.
            if isinstance(error, OSError) and error.errno:
                raise ValueError(
                    f"data.cache_dir must be a folder whose files can be read. Received: {path}:"
                    f" {os.strerror(error.errno)}. Give permission there, name another folder, or"
                    " '' for none."
                ) from error
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"{path} is damaged ({reason}). Its slice is prepared again.", flush=True)
            with contextlib.suppress(OSError):
                os.remove(path)  # reported once
            return None

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        # `writing_hdf5` raises the latter, for the former.
        except (OSError, ValueError) as error:
            cause = error
            if not isinstance(error, OSError):
                cause = error.__cause__
            raise ValueError(
                "data.cache_dir must be a folder that can be written, with space for the prepared"
                f" slices. Received: data.cache_dir={self._folder!r}:"
                f" {getattr(cause, 'strerror', None) or error}. Name another, or '' for none."
            ) from error


def _text(values):
    return json.dumps(values, sort_keys=True, default=str).encode()


def _points(mask, maps):
    """Where the mask is 1: bool (height, width)."""
    return np.broadcast_to(mask[0] > 0, maps.shape[1:])


def _read(file):
    """The `Sample` of an open file, its scale, and the texts of warnings."""
    maps = file["sensitivity_maps"][()]
    mask = file["mask"][()]
    reference = file["reference"][0]
    kspace = np.zeros(maps.shape, np.complex64)
    kspace[:, _points(mask, maps)] = file["sampled"][()]
    sample = Sample(kspace, maps, mask, reference)
    return sample, file.attrs["scale"], json.loads(file.attrs["doubts"])


def _write(file, sample, scale, fingerprint, doubts):
    kspace, maps, mask, reference = sample
    arrays = dict(
        sensitivity_maps=maps,
        mask=mask,
        sampled=kspace[:, _points(mask, maps)],
        reference=reference[None],
    )
    for name, array in arrays.items():
        # A coil a chunk: the check of a chunk then runs in the processor's cache.
        file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), fletcher32=True)
    # Of fixed length: HDF5 keeps text of variable length where no sum guards it.
    file.attrs.update(
        fingerprint=np.bytes_(fingerprint), scale=scale, doubts=np.bytes_(_text(doubts))
    )
