"""Locks of a folder: which process works there, and whether others may.

A process that works in a run directory or in a folder of results holds a lock there. The file
`.tfvn-lock` says which process that is, and what it does. A lock ends with its process, however
that ends. A file system without locks has none: there everybody is let in.
"""

import contextlib
import errno
import fcntl
import os
import platform

from tfvn.runs import directory, trained_on

__all__ = ["alone", "together", "undoing"]

_NAME = ".tfvn-lock"
# What the beginning of a run makes.
_BEGINNING = {directory.CONFIG, directory.MODEL, trained_on.NAME}


class _InUse(ValueError):
    """Another process works there."""


@contextlib.contextmanager
def alone(folder, work, worker=None):
    """Inside, no other process is inside this for the same folder.

    Args:
        folder: the folder, which must be there.
        work: what is done there, in words, such as "trains it". It is told to the others.
        worker: the number of this process, where several work on one job. It is then alone with
            that number. So a job that is started twice is refused in each process that meets its
            double.

    Raises:
        ValueError: if another process is there; it names that one.
    """
    name = _NAME
    if worker is not None:
        name = f"{_NAME}-{worker}"
    with _inside(folder, work, name, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def together(run_dir, config, work):
    """As `alone`, with others that are inside this, such as several attacks on one run.

    Meanwhile no process trains the run, searches in it or takes it back. The process that began a
    run may have taken it back a moment ago. A run that uses a given network is then begun anew.

    Args:
        run_dir: the run directory.
        config: its configuration.
        work: as for `alone`.

    Raises:
        ValueError: if another process is alone there; it names that one.
    """
    if config.model.file:
        directory.make_folder(run_dir)
    with _inside(run_dir, work, _NAME, fcntl.LOCK_SH):
        if config.model.file:
            directory.begin(run_dir, config)
        yield


@contextlib.contextmanager
def undoing(run_dir):
    """Inside, a ValueError takes back the beginning of a run that this call made.

    That is a configuration, a network that it imported with what is known of it, and the directory.
    Nothing is taken back if more than that was made, or if another process is `alone` or `together`
    there. All that was there before stays.
    """
    existed = os.path.isdir(run_dir)
    before = set()
    if existed:
        before.update(os.listdir(run_dir))
    try:
        yield
    except ValueError:
        # Nothing that fails here may take the place of that error.
        with contextlib.suppress(OSError, _InUse):
            _take_back(run_dir, set(os.listdir(run_dir)) - before)
            if not existed:
                # This works if it is empty.
                os.rmdir(run_dir)
        raise


def _take_back(run_dir, made):
    if directory.CONFIG not in made or not made <= _BEGINNING:
        return
    # Another process may have begun to work with them.
    with alone(run_dir, "takes back a run that failed"):
        for name in made:
            os.remove(os.path.join(run_dir, name))


@contextlib.contextmanager
def _inside(folder, work, name, kind):
    path = os.path.join(folder, name)
    with _locked(path, folder, kind) as file:
        _say(file, f"process {os.getpid()} on {platform.node()} {work}")
        try:
            yield
        finally:
            _remove(path, file, kind)


def _say(file, text):
    # On a full disk it is locked all the same.
    with contextlib.suppress(OSError):
        os.truncate(file, 0)
        os.write(file, text.encode())


def _remove(path, file, kind):
    with contextlib.suppress(OSError):
        if kind == fcntl.LOCK_SH:
            # Of several that share it, only the last one is let through here.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.remove(path)


@contextlib.contextmanager
def _locked(path, folder, kind):
    """The descriptor of the lock's file, open and locked."""
    while True:
        file = _opened(path)
        try:
            _lock(file, folder, kind)
            # Its last holder may have removed it in between. Then there is another one, or none.
            if _is_named(file, path):
                yield file
                return
        finally:
            os.close(file)


def _opened(path):
    try:
        # What a link of that name leads to is left alone.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror}. Give permission there, or name another place."
        ) from error


def _lock(file, folder, kind):
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            # The file system has no locks.
            return
        holder = os.pread(file, 200, 0).decode("utf-8", "replace") or "another process"
        raise _InUse(
            f"{folder} is in use: {holder}. Wait for it or stop it, or name another place."
        ) from error


def _is_named(file, path):
    """Whether `path` still leads to the open file."""
    return os.path.exists(path) and os.path.samestat(os.fstat(file), os.stat(path))
