"""TensorBoard's event files: records that are written by Python, so that a disk that refuses them
is told.

TensorFlow's own writer drops what it cannot write without a word. Here a file never ends inside a
record, but where its process was killed; readers leave such a record out.
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

__all__ = ["Growing", "PREFIX", "drop_after", "image", "scalar", "write"]

PREFIX = "events.out.tfevents"
# Between two writes of a file that grows.
_SECONDS = 10


class Growing:
    """A new event file in a folder, which grows while it is written.

    Args:
        folder: the folder, which is made if need be.

    Raises:
        ValueError: here and from `add`, `flush` and `close`, if it cannot be written (full disk,
            quota, permission).
    """

    def __init__(self, folder):
        name = f"{PREFIX}.{time.time_ns() // 10**9}.{platform.node()}.{os.getpid()}.{time.time_ns() % 10**9}"
        self.path = os.path.join(folder, name)
        with self._telling():
            os.makedirs(folder, exist_ok=True)
            self._file = open(self.path, "xb", buffering=0)
        self._waiting, self._last, self._whole = io.BytesIO(), time.monotonic(), 0
        _write(self._waiting, Event(file_version="brain.Event:2"))
        self.flush()

    def add(self, step, *summaries):
        for summary in summaries:
            _write(self._waiting, Event(step=step, summary=summary))
        if time.monotonic() - self._last > _SECONDS:
            self.flush()

    def flush(self):
        """Writes all that was added; where that fails, none of it."""
        records, self._waiting, self._last = (
            self._waiting.getvalue(),
            io.BytesIO(),
            time.monotonic(),
        )
        with self._telling():
            try:
                written = 0
                while written < len(records):
                    written += self._file.write(records[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(self._whole)
                    # Else the next write would leave a hole of zeros in front of it.
                    self._file.seek(self._whole)
                raise
        self._whole += len(records)

    def close(self):
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
    """An event file of pairs (step, summary), whole or not at all.

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
        _write(file, Event(file_version="brain.Event:2"))
        for step, summary in summaries:
            _write(file, Event(step=step, summary=summary))


def _write(file, event):
    event.wall_time = time.time()
    RecordWriter(file).write(event.SerializeToString())


def scalar(tag, value):
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
    """Removes all points after an iteration, and records that are cut off, from the event files of
    a folder.

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
