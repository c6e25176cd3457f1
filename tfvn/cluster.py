"""Independent work in several processes, on one machine or many, with Dask.

A task writes its result to a file, whole or not at all. The name of the file says what it was made
of. So a task that is done twice writes the same twice, and one that is lost costs only itself. Dask
gives tasks to free workers, and a task of a worker that is gone to another one.

A worker must compute what this process would. Before its first task it compares its version with
that of this process, and looks for a file in the folder of the results. It is refused if it has
another version, does not see the folder, or would do several tasks at once in one process.
"""

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import pathlib
import pickle
import platform
import resource
import secrets
import sys
import time
import warnings
from typing import Any, Callable, NamedTuple

from tfvn import provenance

__all__ = ["Answer", "Cluster", "Refused", "Task", "code", "connected", "here", "peak_bytes"]

# In the folder of the results, while a cluster works for it.
_SIGN = ".tfvn-cluster"
# Seconds that a scheduler may take to answer, and a shared file system to show a new file.
_PATIENCE = 30
# Seconds that a connection may take to be closed.
_GOODBYE = 3
# Results may differ where one of these differs.
_PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "h5py")


class Task(NamedTuple):
    """Something to be computed in another process.

    name: of this task alone.
    work: a function of a module, as `pickle` finds it there.
    arguments: what it is called with. `pickle` knows them.
    after: the names of tasks that must be done before. They stand before this one in the list.
    """

    name: str
    work: Callable
    arguments: tuple
    after: tuple = ()


class Answer(NamedTuple):
    """What has become of a task.

    result: what its function returned.
    seconds: that it took.
    peak: the most memory that its process has had, in bytes.
    warnings: texts.
    """

    result: Any
    seconds: float
    peak: int
    warnings: list


class Refused(ValueError):
    """A worker that would compute something else."""


class _Terms(NamedTuple):
    """What a worker must have: the version, and a file of this content.

    It works in the same folder, so that paths relative to it lead to the same files.
    """

    code: tuple
    folder: str
    sign: str
    token: str


@functools.cache
def code():
    """The version of what computes, as pairs of texts: of the package with its source, of the
    packages that it needs, of Python, and of the products of matrices.
    """
    root = pathlib.Path(__file__).parent
    source = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source.update(str(path.relative_to(root)).encode())
        source.update(path.read_bytes())
    found = {"tfvn": f"{provenance.VERSION} with the source {source.hexdigest()[:12]}"}
    found.update(provenance.versions(_PACKAGES))
    major, minor, _ = platform.python_version_tuple()
    found["Python"] = f"{major}.{minor}"
    found["matrix products"] = provenance.products()
    return tuple(found.items())


def peak_bytes():
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but bytes on macOS.
    return peak if sys.platform == "darwin" else 1024 * peak


# Here


@contextlib.contextmanager
def connected(workers=None, scheduler=None):
    """The `Cluster` that a command line asks for; None for the work of this process alone.

    Args:
        workers, scheduler: of the `Cluster`, one of them or none.
    """
    if not workers and not scheduler:
        yield None
        return
    with Cluster(workers, scheduler) as cluster:
        yield cluster


@contextlib.contextmanager
def _local(workers):
    """The address of a scheduler in this process, with so many workers on this machine."""
    import logging

    import dask
    from distributed import LocalCluster

    # Dask would give each worker one thread for products of matrices, which are rounded otherwise
    # then than in this process.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    # What becomes of workers is told by `Cluster`. Their memory is left to the operating system.
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    try:
        yield cluster.scheduler_address
    finally:
        # All is done. A worker that does not end in time is killed.
        with _quiet(), contextlib.suppress(Exception):
            cluster.close()


class Cluster:
    """Workers of a scheduler of Dask, inside `with`.

    Args:
        workers: the number of processes on this machine. They start with the first task, and end
            with the context.
        scheduler: or the address of a scheduler that has workers, such as "tcp://10.0.0.1:8786".

    Raises:
        ValueError: without Dask.
    """

    def __init__(self, workers=None, scheduler=None):
        if importlib.util.find_spec("distributed") is None:
            flag = "--workers" if workers else "--scheduler"
            raise ValueError(
                f"{flag} needs Dask, and the package distributed is not installed. Install it (pip"
                " install distributed), or leave the flag out."
            )
        self.address = scheduler
        self._workers = workers
        self._context = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._context.close()

    def compute(self, tasks, folder):
        """Yields pairs of a `Task` and its `Answer` as they are done.

        Args:
            tasks: a list of `Task`.
            folder: of the results, which all workers see.

        Raises:
            Refused: if a worker has another version, or does not see the folder.
            ValueError: if the scheduler is lost, or a task ends each worker that it is given to.
            Exception: whatever a task raises. All that is done is kept.
        """
        if not tasks:
            return
        if self.address is None:
            self.address = self._context.enter_context(_local(self._workers))
        with self._client() as client, _signed(folder) as terms:
            futures = _submitted(client, tasks, terms)
            told = set()
            try:
                for future, task in self._as_completed(client, futures):
                    answer = self._answer(future, task)
                    for text in set(answer.warnings) - told:
                        warnings.warn(text, stacklevel=2)
                    told.update(answer.warnings)
                    yield task, answer
            finally:
                # After an error nothing is left to be done there. A lost scheduler would be waited
                # for.
                if client.status == "running":
                    client.cancel(list(futures))

    @contextlib.contextmanager
    def _client(self):
        """A client of the scheduler, once there is a worker."""
        from distributed import Client

        try:
            client = Client(self.address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no scheduler of Dask answers at {self.address} ({error}). Start one (dask"
                " scheduler), and give the address that it tells."
            ) from error
        try:
            with _quiet():
                if not client.scheduler_info()["workers"]:
                    print(f"no worker has come to {self.address} yet: waiting", flush=True)
                yield client
        finally:
            with _quiet(), contextlib.suppress(Exception):
                client.close(timeout=_GOODBYE)

    def _as_completed(self, client, futures):
        """Yields pairs of a future that is done and its task."""
        from distributed import as_completed

        for future in as_completed(list(futures), loop=client.loop):
            yield future, futures[future]

    def _answer(self, future, task):
        from distributed.scheduler import KilledWorker

        try:
            return future.result(timeout=_PATIENCE)
        except KilledWorker as error:
            raise ValueError(
                f"{task.name}: every worker that was given it has ended, the last one"
                f" {error.last_worker.address}. Is there enough memory? Dask ends a worker beyond"
                " its --memory-limit; 0 is none. The same command goes on."
            ) from error
        except Exception as error:
            if _is_lost(error):
                raise ValueError(
                    f"the scheduler {self.address} is lost ({type(error).__name__}). What is done"
                    " is kept. Start it and its workers again, and the same command goes on."
                ) from error
            raise


def _submitted(client, tasks, terms):
    """The tasks by their futures, a dict."""
    futures, by_name = {}, {}
    for task in tasks:
        after = [by_name[name] for name in task.after]
        # Packed, so that a worker of another version compares before it unpacks.
        packed = pickle.dumps((task.work, task.arguments))
        key = f"{task.name}-{terms.token}"
        future = client.submit(_perform, terms, packed, after, key=key, pure=False)
        futures[future], by_name[task.name] = task, future
    return futures


def _is_lost(error):
    """Whether an error says that the scheduler has gone."""
    from concurrent import futures

    from distributed import CancelledError
    from distributed.comm import CommClosedError

    # Some of them are OSError or TimeoutError, which a task may raise too.
    kinds = (CommClosedError, CancelledError, futures.CancelledError, futures.TimeoutError)
    return isinstance(error, kinds)


@contextlib.contextmanager
def _quiet():
    """What Dask logs of lost workers and schedulers is told in other words."""
    import logging

    # Each has a level of its own.
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _signed(folder):
    """The `_Terms` of work for a folder. Inside, there is a file to know it by."""
    from tfvn import files

    path = os.path.join(os.path.abspath(folder), _SIGN)
    token = secrets.token_hex(8)
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(token)
    try:
        yield _Terms(code(), os.getcwd(), path, token)
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)


# There


def here():
    """What messages call this worker."""
    from distributed import get_worker

    return f"the worker {get_worker().address} on {platform.node()}"


def _perform(terms, packed, after):
    """Does a task in a worker. Returns its `Answer`."""
    from distributed import get_worker

    # Dask waits for them.
    del after
    _check(terms)
    # TensorFlow keeps what memory it has had: a worker that pauses for it would never go on.
    get_worker().memory_manager.memory_pause_fraction = False
    os.chdir(terms.folder)
    work, arguments = pickle.loads(packed)
    start = time.monotonic()
    # Bars and names of files would be mixed up with those of other workers.
    silent = io.StringIO()
    quiet = contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent)
    with quiet[0], quiet[1], warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        result = work(*arguments)
    texts = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return Answer(result, time.monotonic() - start, peak_bytes(), texts)


@functools.lru_cache(maxsize=8)
def _check(terms):
    """Raises `Refused` if this worker does not have what a task needs."""
    from distributed import get_worker

    name, threads = here(), get_worker().state.nthreads
    own, wanted = dict(code()), dict(terms.code)
    different = []
    for package in {**wanted, **own}:
        found, expected = own.get(package, "none"), wanted.get(package, "none")
        if found != expected:
            different.append(f"{package} {found} (expected: {expected})")
    if different:
        raise Refused(
            f"{name} has another version: {', '.join(different)}. Install there what is installed"
            " here, and start it again."
        )
    if threads != 1:
        raise Refused(
            f"{name} has {threads} threads, and tasks need a process each. Start it"
            " with --nthreads 1, and as many as there shall be with --nworkers."
        )
    for folder, is_there in (
        (terms.folder, os.path.isdir(terms.folder)),
        (os.path.dirname(terms.sign), _sees(terms)),
    ):
        if not is_there:
            raise Refused(
                f"{name} does not see {folder} as it is here. All workers need the same folders"
                " under the same paths."
            )


def _sees(terms):
    """Whether the file of this work can be read here."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if pathlib.Path(terms.sign).read_text(encoding="utf-8") == terms.token:
                return True
        time.sleep(0.2)
    return False
