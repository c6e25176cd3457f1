"""TensorBoard's event files. Python writes their records, so that a disk that refuses them is told.

TensorFlow's own writer drops what it cannot write without a word. Here a file never ends inside a
record, unless its process was killed; readers leave such a record out.
"""

import contextlib
import glob
import io
import os
import platform
import struct
import time

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image import metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from tfvn.files import replacing

__all__ = ["Growing", "PREFIX", "drop_after", "image", "logs_dir", "scalar", "write"]

PREFIX = "events.out.tfevents"
# Between two writes of a file that grows.
_SECONDS = 10
_VERSION = "brain.Event:2"


def logs_dir(run_dir, *names):
    """The folder of one of TensorBoard's runs, see `tfvn.training.tensorboard`."""
    return os.path.join(run_dir, "logs", *names)


class Growing:
    """A new event file in a folder, which grows while it is written.

    Args:
        folder: the folder, which is made if need be.

    Raises:
        ValueError: here and from `add`, `flush` and `close`, if it cannot be written (full disk,
            quota, permission).
    """

    def __init__(self, folder):
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = f"{PREFIX}.{seconds}.{platform.node()}.{os.getpid()}.{nanoseconds}"
        self.path = os.path.join(folder, name)
        with self._telling():
            os.makedirs(folder, exist_ok=True)
            # Closed by `close`.
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115
        self._waiting = io.BytesIO()
        self._last_write = time.monotonic()
        # Bytes of the file's whole records.
        self._size = 0
        _write(self._waiting, Event(file_version=_VERSION))
        self.flush()

    def add(self, step, *summaries):
        """Adds summaries of one step. They are written soon."""
        for summary in summaries:
            _write(self._waiting, Event(step=step, summary=summary))
        if time.monotonic() - self._last_write > _SECONDS:
            self.flush()

    def flush(self):
        """Writes all that was added; where that fails, none of it."""
        records = self._waiting.getvalue()
        self._waiting = io.BytesIO()
        self._last_write = time.monotonic()
        with self._telling():
            try:
                self._append(records)
            except OSError:
                self._take_back()
                raise
        self._size += len(records)

    def _append(self, records):
        written = 0
        while written < len(records):
            written += self._file.write(records[written:])

    def _take_back(self):
        """Ends the file after its last whole record."""
        with contextlib.suppress(OSError):
            self._file.truncate(self._size)
            # Else the next write would leave a hole of zeros in front of it.
            self._file.seek(self._size)

    def close(self):
        """Writes what was added, and closes the file."""
        try:
            self.flush()
        finally:
            self._file.close()

    @contextlib.contextmanager
    def _telling(self):
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"cannot write {self.path}: {error.strerror or error}. Make room or give "
                "permission there; the same command continues."
            ) from error


def write(path, summaries):
    """Writes an event file of pairs (step, summary), whole or not at all.

    Raises:
        ValueError: as `tfvn.files.replacing`; also if its folder cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror}. Make room or give permission there."
        ) from error
    with replacing(path) as temporary, open(temporary, "wb") as file:
        _write(file, Event(file_version=_VERSION))
        for step, summary in summaries:
            _write(file, Event(step=step, summary=summary))


def _write(file, event):
    event.wall_time = time.time()
    RecordWriter(file).write(event.SerializeToString())


def scalar(tag, value):
    """A number."""
    return scalar_pb(tag, np.float32(value))


def image(tag, png, description=""):
    """A picture, of the bytes of a PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    tensor = tensor_util.make_tensor_proto([str(width).encode(), str(height).encode(), png])
    summary = Summary()
    about = metadata.create_summary_metadata(display_name=None, description=description)
    summary.value.add(tag=tag, tensor=tensor, metadata=about)
    return summary


def drop_after(folder, iteration):
    """Removes all points after an iteration from the event files of a folder, and records that are
    cut off.

    Raises:
        ValueError: if a file cannot be written.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), f"{PREFIX}*")):
        # The loader ends where a record is damaged.
        records = list(RawEventFileLoader(path).Load())
        kept = [record for record in records if Event.FromString(record).step <= iteration]
        with replacing(path) as temporary, open(temporary, "wb") as file:
            for record in kept:
                RecordWriter(file).write(record)
