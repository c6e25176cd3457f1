"""Files that are written whole or not at all.

Everything is written to a temporary file beside its place, which then takes that place. Whatever
fails in between, a reader finds the earlier file or the new one, and nothing half written stays.

A result replaces an earlier one of the same name. The name alone must not decide that: a folder of
scans may hold a `reconstructions.h5` too. Each of our files begins in a way of its own, and
`check_replaceable` looks for it before any work.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import threading
from pathlib import Path

import h5py
import tensorflow as tf

__all__ = [
    "check_replaceable",
    "digest",
    "new_hdf5",
    "reason",
    "remove_stale",
    "replacing",
    "state",
    "writing_hdf5",
    "written",
]

# In the names of temporary files, as folders may be shared between machines.
_NODE = re.sub(r"\W", "", platform.node())[:64] or "here"
_LONGEST_NAME = 255  # bytes of a file's name

# How each text file of results begins.
_BEGINNINGS = {
    "results.csv": "model,slice,name,attack,",
    "table1.csv": "model,attack,radius,steps,",
    "table1.md": "Error of the reconstructions",
    "certificates.csv": "model,attack,size,",
    "flags.csv": "model,flag,state,",
    "num_samples.csv": "model,num_samples,radius,",
    "num_samples.md": "| model",
    "parts.csv": "model,slice,name,attack,radius,image,",
    "parts.md": "| model",
    "draws.csv": "model,slice,name,certificate,",
    "draws.md": "| certificate",
    "floor.csv": "slice,name,kind,radius,",
    "floor.md": "| floor",
    "comparison.md": "| model",
    "tuning.csv": "trial,",
    "best.yaml": "# The best of the ",
    "history.csv": "iteration,",
    "times.csv": "what,units,seconds",
    "trade.csv": "model,family,",
    "leaderboard.md": "Leaderboard: ",
    "demo_search.csv": "problem,seed,",
    "demo_search.md": "| problem ",
}
# What these kinds of files are is told by their content, see `_is_ours`.
_KNOWN_KINDS = (".h5", ".png", ".html")


@contextlib.contextmanager
def replacing(path):
    """A temporary path that replaces `path` when the block ends well.

    It lies beside `path`, and vanishes when the block does not end well. Processes and threads
    that write the same path at once have different ones; the last to end wins. The block may make
    a folder of the temporary path; it replaces no folder but an empty one. Where `path` is a link,
    the link is replaced, and what it leads to stays as it is.

    Raises:
        ValueError: if the file cannot be written (full disk, quota, permission). What was there is
            left as it was.
    """
    # Without it, the temporary path of a folder's name that ends in a slash would lie inside that
    # folder.
    path = os.path.normpath(os.fspath(path))
    temporary = _temporary(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # The block may read other files; what is wrong with them is another error.
        if error.filename is not None and not str(error.filename).startswith(temporary):
            raise
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. What was there is left as it was. "
            "Make room or give permission there, or name another place."
        ) from error
    finally:
        _remove(temporary)


def _temporary(path):
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    mark = f".partial-{_NODE}-{os.getpid()}-{threading.get_ident()}{suffix}"
    # A name that is just short enough would be too long with the mark.
    if len(os.fsencode(stem + mark)) > _LONGEST_NAME:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:16]
    return os.path.join(folder, stem + mark)


def _remove(path):
    """Removes a file or a folder, if it is there and may be removed: this only tidies up."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.remove(path)


def remove_stale(folder):
    """Removes what killed processes have left half written, anywhere below `folder`.

    These are the temporary files of `replacing` whose process ran on this machine and lives no
    more.
    """
    for path in Path(folder).rglob(f"*.partial-{_NODE}-*"):
        match = re.search(rf"\.partial-{_NODE}-(\d+)-\d+", path.name)
        if match and not _is_alive(int(match[1])):
            _remove(path)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True


@contextlib.contextmanager
def written(path):
    """As `replacing`, for a block in which TensorFlow or Keras writes.

    Their errors are told in the same way.
    """
    with replacing(path) as temporary:
        try:
            yield temporary
        except tf.errors.OpError as error:
            raise OSError(None, reason(error)) from error


def reason(error):
    """The reason alone of an error of the file system or of TensorFlow."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(getattr(error, "message", None) or error).strip()
    if not text:
        return type(error).__name__
    line = text.splitlines()[0]
    line = re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:\w+\]", "", line)
    # What follows the name of a file.
    return re.sub(r"^.*; ", "", line)[:200]


@contextlib.contextmanager
def writing_hdf5(path, **options):
    """An open HDF5 file that replaces `path` when the block ends well, see `replacing`.

    Args:
        path: the file.
        options: of `h5py.File`, such as `track_order`.

    Raises:
        ValueError: as `replacing`.
    """
    with replacing(path) as temporary, new_hdf5(temporary, **options) as file:
        yield file


@contextlib.contextmanager
def new_hdf5(path, **options):
    """A new HDF5 file, open for writing, whose first error of writing is the one that is raised.

    Args:
        path: the file, a temporary one.
        options: of `h5py.File`.

    Raises:
        OSError: if the file cannot be written.
    """
    # Without a buffer: what it could not write would be tried again, and fail, wherever the file is
    # looked at.
    with open(path, "w+b", buffering=0) as opened:
        sink = _Sink(opened)
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file
        finally:
            # The first cause of whatever went wrong after it.
            if sink.error:
                raise sink.error


class _Sink:
    """A file for HDF5 that keeps its first error and drops what comes after it.

    HDF5 would crash the process where a full disk refuses what it writes.
    """

    def __init__(self, file):
        self._file = file
        self.error = None

    def _attempt(self, work, otherwise):
        if self.error is None:
            try:
                return work()
            except OSError as error:
                self.error = error
            # HDF5 would turn Ctrl-C into an error of its own.
            except BaseException as error:
                self.error = error
                raise
        return otherwise

    def write(self, data):
        self._attempt(lambda: self._write_all(memoryview(data)), None)
        return len(data)

    def _write_all(self, data):
        while len(data):
            count = self._file.write(data)
            data = data[count:]

    def truncate(self, size=None):
        return self._attempt(lambda: self._file.truncate(size), size)

    def flush(self):
        self._attempt(self._file.flush, None)

    def __getattr__(self, name):
        return getattr(self._file, name)


def digest(path):
    """The SHA-256 of a file's content.

    Raises:
        OSError: if it cannot be read.
    """
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            found.update(block)
    return found.hexdigest()


def state(path):
    """What tells a file from a later one: [absolute path, size in bytes, time of its change in ns].

    It is another after every change, but for one that keeps size and time, as a copying tool may.
    A file that is not there has None for size and time.
    """
    try:
        status = os.stat(path)
    except OSError:
        return [os.path.abspath(path), None, None]
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def check_replaceable(folder, names):
    """Checks that results take the place of earlier results only.

    Args:
        folder: where results go; it need not be there.
        names: of the files, and of folders.

    Raises:
        ValueError: naming what is not ours, a link among it, or a folder that is none.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ValueError(
            f"{folder} is a file, and results need a folder. Name another one (--output)."
        )
    if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"cannot write to {folder}: Permission denied. Give permission there, or name another"
            " folder (--output)."
        )
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path):
            raise ValueError(
                f"{path} is a link, and would be replaced. Move it away, or name another folder"
                " (--output)."
            )
        if os.path.lexists(path) and not _is_ours(path):
            raise ValueError(
                f"{path} is there, and is no earlier result of this command: it would be lost. Move"
                " it away, or name another folder (--output)."
            )


def _is_ours(path):
    """Whether a file or folder is an earlier result."""
    name = os.path.basename(path)
    beginnings = _beginnings(name)
    if not beginnings and not name.endswith(_KNOWN_KINDS):
        return os.path.isdir(path)
    if not os.path.isfile(path):
        return False
    try:
        if name.endswith(".h5"):
            with h5py.File(path, "r") as file:
                return {"slices", "models"} <= set(file)
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        return False
    if name.endswith(".png"):
        return b"Software\0Matplotlib" in start and _is_beside_results(path)
    if name.endswith(".html"):
        return b'<meta name="generator" content="tfvn ' in start
    return start.startswith(tuple(text.encode() for text in beginnings))


def _is_beside_results(path):
    """Whether a table of ours, which is written before its pictures, lies beside a picture.

    The picture itself tells only what drew it.
    """
    folder = os.path.dirname(path)
    tables = ("results.csv", "num_samples.csv", "trade.csv")
    return any(_is_ours(os.path.join(folder, table)) for table in tables)


def _beginnings(name):
    """How a file of ours of that name begins; under a name of the caller's, as any of its kind."""
    if name in _BEGINNINGS:
        return [_BEGINNINGS[name]]
    suffix = os.path.splitext(name)[1]
    if not suffix:
        return []
    return [text for ours, text in _BEGINNINGS.items() if ours.endswith(suffix)]
