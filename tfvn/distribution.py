"""Several devices or processes on one job: `tf.distribute` strategies, and how work is split over
their replicas.

A batch is split slice by slice, draws number by number: replica i of n takes i, i + n, i + 2 n, ...
Sums over the replicas are all-reduced, so that n replicas give what one gives, up to the order of
the summation.
"""

import contextlib
import os
import pathlib
import queue
import socket
import sys
import threading
import time
from concurrent import futures
from typing import NamedTuple

import tensorflow as tf

__all__ = [
    "SILENCE",
    "START",
    "STRATEGIES",
    "Watch",
    "Workers",
    "agree",
    "check_variables",
    "each",
    "own_slices",
    "replica",
    "run",
    "scope",
    "start",
    "total",
]

STRATEGIES = ("none", "mirrored", "multiworker")

# Seconds after which a process is given up that shows no sign of life, and one that has not come.
# (A file system that is shared over a network may show a change a minute late.)
SILENCE, START = 120, 900


class Workers(NamedTuple):
    """The processes of a job: which strategy, the number of this one, and how many there are."""

    kind: str = "none"
    index: int = 0
    count: int = 1

    def strategy(self):
        """A `tf.distribute` strategy over all devices of all processes, None for one device. With
        several processes, call it in each of them before TensorFlow computes anything; it waits for
        the others.
        """
        if self.kind == "mirrored":
            return tf.distribute.MirroredStrategy(self.devices())
        if self.kind == "multiworker":
            _check_own_address()
            try:
                return tf.distribute.MultiWorkerMirroredStrategy()
            except RuntimeError as error:
                raise ValueError(
                    f"multiworker must be the first that TensorFlow does in a process ({error})."
                ) from error
        return None

    def own(self, count):
        """The numbers out of 0..count-1 that this process takes."""
        return range(self.index, count, self.count)

    def devices(self):
        """Names of this process's devices; [None], wherever TensorFlow likes, for one."""
        if self.kind == "none":
            return [None]
        return [
            d.name
            for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        ]


def start(kind, replicas=None):
    """The `Workers` that a command line asks for. Called before TensorFlow computes anything.

    Args:
        kind: "none", "mirrored": all devices of this machine, or "multiworker": all devices of all
            processes that `TF_CONFIG` names, as `tf.distribute.MultiWorkerMirroredStrategy` reads
            it.
        replicas: logical devices to split a CPU into, None for one.

    Raises:
        ValueError: for another kind, for `replicas` where there is an accelerator, or without a
            usable TF_CONFIG.
    """
    if kind not in STRATEGIES:
        raise ValueError(
            f"strategy must be one of {', '.join(STRATEGIES)}. Received: strategy={kind!r}"
        )
    if replicas is not None:
        _split_cpu(kind, replicas)
    if kind != "multiworker":
        return Workers(kind)
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        tasks = resolver.cluster_spec().as_dict()
        names = [("chief", i) for i in range(len(tasks.get("chief", ())))]
        names += [("worker", i) for i in range(len(tasks.get("worker", ())))]
        return Workers(kind, names.index((resolver.task_type, resolver.task_id)), len(names))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            'multiworker needs TF_CONFIG in every process, such as {"cluster": {"worker":'
            ' ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.'
            f" Received: TF_CONFIG={os.environ.get('TF_CONFIG', '')!r}"
        ) from error


def _check_own_address():
    """At one that does not exist TensorFlow would wait without end, deaf to signals."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    address = resolver.cluster_spec().task_address(resolver.task_type, resolver.task_id)
    host, _, port = address.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (ValueError, OSError) as error:
        task = f"{resolver.task_type} {resolver.task_id}"
        raise ValueError(
            "TF_CONFIG: the address of this process must be a host that this machine can find, and"
            f" a port. Received: {address!r} for {task} ({error})"
        ) from error


def _split_cpu(kind, replicas):
    if kind != "mirrored" or replicas < 1 or tf.config.list_physical_devices("GPU"):
        raise ValueError(
            "--replicas N splits a CPU into N >= 1 devices for --strategy mirrored, where there is"
            f" no GPU. Received: replicas={replicas}, strategy={kind}"
        )
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
        )
    except RuntimeError as error:
        raise ValueError(
            f"--replicas must be set before TensorFlow computes anything ({error})."
        ) from error


# Over the replicas of a strategy


def scope(strategy):
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def run(strategy, function, *arguments):
    """`function(*arguments)` on every replica, once where `strategy` is None."""
    return function(*arguments) if strategy is None else strategy.run(function, arguments)


def total(strategy, function, *arguments):
    """The list of tensors `function(*arguments)`, of one dtype, summed over the replicas."""
    if strategy is None:
        return function(*arguments)
    shapes = []

    def packed(*arguments):
        tensors = function(*arguments)
        shapes[:] = [tensor.shape for tensor in tensors]
        if not all(shape.is_fully_defined() for shape in shapes):
            return tensors
        # One message for all of them.
        return [tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)]

    sums = [
        strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None)
        for part in strategy.run(packed, arguments)
    ]
    if not all(shape.is_fully_defined() for shape in shapes):
        return sums
    parts = tf.split(sums[0], [shape.num_elements() for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]


def agree(strategy, number):
    """Whether all processes have the same whole number."""
    if strategy is None:
        return True
    sums = tf.function(
        lambda: total(strategy, lambda: [tf.constant([number, number**2], tf.float64)])[0],
        autograph=False,
    )()
    return strategy.num_replicas_in_sync * float(sums[1]) == float(sums[0]) ** 2


def replica():
    """Inside `run`: the number of this replica, and how many there are."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def own_slices(arrays, batch):
    """This replica's slices of nested arrays, whose first axes are `batch` or 1, and how many they
    are.

    A replica without a slice holds the last one, and the number 0.
    """
    number, replicas = replica()
    if replicas == 1:
        return arrays, batch
    own = tf.range(number, tf.maximum(batch, number + 1), replicas)
    taken = tf.nest.map_structure(
        lambda x: tf.gather(x, tf.minimum(own, tf.shape(x)[0] - 1)), arrays
    )
    return taken, tf.where(number < batch, tf.size(own), 0)


def check_variables(strategy, variables):
    """Checks that the variables of a network were made for the strategy, if there is one.

    Raises:
        ValueError: if they were not.
    """
    if strategy is not None and not all(
        strategy.extended.variable_created_in_scope(v) for v in variables
    ):
        raise ValueError(
            "The network belongs to no strategy or to another. Make or load it inside `with"
            " strategy.scope():`."
        )


# Over devices and processes, slice by slice


def each(devices, work, items):
    """Yields `work(number, item)` of every item, made on as many devices at once as there are;
    `number` is the device's.
    """
    if len(devices) == 1:
        for item in items:
            yield work(0, item)
        return
    free = queue.SimpleQueue()
    for number in range(len(devices)):
        free.put(number)

    def job(number, item):
        try:
            with tf.device(devices[number]):
                return work(number, item)
        finally:
            free.put(number)

    with futures.ThreadPoolExecutor(len(devices)) as pool:
        running = []
        for item in items:
            # An item is read when there is a device for it.
            number = free.get()
            for task in [task for task in running if task.done()]:
                running.remove(task)
                yield task.result()
            running.append(pool.submit(job, number, item))
        for task in running:
            yield task.result()


class Watch:
    """Looks after the processes of a job, inside `with`: each touches a file of its own in a folder
    that all share.

    A process is lost if it stopped with an error, if its file has not changed for `silence`
    seconds, or has not changed at all `start` seconds after this one began.

    Args:
        folder: the folder.
        workers: the `Workers`.
        fatal: end this process when another is lost. What it does would wait for it without end:
            sums over processes cannot be interrupted from Python.
        tidy: the first process removes the folder when all have ended well.

    Raises:
        ValueError: from `with`, if this process's file would lie elsewhere: a link is not followed.
    """

    def __init__(self, folder, workers, fatal=False, silence=SILENCE, start=START, tidy=False):
        self._files = [pathlib.Path(folder, f"worker_{index}") for index in range(workers.count)]
        self._own, self._fatal, self._limits = workers.index, fatal, (silence, start)
        self._tidy = tidy and workers.index == 0
        self._ended, self._seen = threading.Event(), {}
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self):
        if len(self._files) > 1:
            own = self._files[self._own]
            if own.is_symlink() or own.parent.is_symlink():
                raise ValueError(
                    f"{own} must be a file of its own, and no link leads to it. Remove the link."
                )
            with contextlib.suppress(OSError):
                own.parent.mkdir(parents=True, exist_ok=True)
            self._began = time.monotonic()
            # What is there now is of an earlier job, until it changes.
            self._seen = {
                index: (_modified(file), None)
                for index, file in enumerate(self._files)
                if index != self._own
            }
            for index, file in enumerate(self._files):
                if index != self._own and _word(file) == "stopped":
                    # It may be of an earlier job: this one's may still come.
                    print(
                        f"worker {index} ended with an error before this one began ({file})."
                        f" Waiting for it to be started again, at most {self._limits[1]} s",
                        flush=True,
                    )
            self._thread.start()
        return self

    def __exit__(self, kind, *_):
        if len(self._files) > 1:
            self._ended.set()
            self._thread.join()
            self._say("done" if kind is None else "stopped")
            if self._tidy and kind is None:
                self._remove_signs()

    def _remove_signs(self):
        # The others have done their work, and are about to say so.
        end = time.monotonic() + 10
        while self._lost() is None and time.monotonic() < end:
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            for file in self._files:
                file.unlink()
            self._files[0].parent.rmdir()

    def wait(self, missing):
        """Returns as soon as `missing()` is false, or all other processes have done what they had
        to do.

        Raises:
            ValueError: if another process is lost meanwhile.
        """
        while missing():
            lost = self._lost()
            # They may have ended between the two.
            if lost and missing():
                raise ValueError(lost)
            if lost == "":
                return
            time.sleep(0.2)

    def _beat(self):
        while not self._ended.wait(min(2, self._limits[0] / 4)):
            self._say("")
            lost = self._fatal and self._lost()
            if lost:
                print(f"\nerror: {lost}", file=sys.stderr, flush=True)
                os._exit(2)

    def _say(self, word):
        # What a file system refuses now it may take the next time; until then this process is
        # silent, and not at its end.
        with contextlib.suppress(OSError):
            self._files[self._own].parent.mkdir(parents=True, exist_ok=True)
            with open(self._files[self._own], "w", encoding="utf-8", opener=_no_link) as file:
                file.write(word)

    def _lost(self):
        """What is wrong with another process; "" if all have done their work, None if they are at
        it.
        """
        now, (silence, start), at_it = time.monotonic(), self._limits, False
        for index, (modified, when) in self._seen.items():
            found, known = _modified(self._files[index]), when
            if found != modified:
                self._seen[index], known = (found, now), now
            word = _word(self._files[index]) if known is not None else ""
            if word == "done":
                continue
            at_it = True
            since, limit, why = known, silence, f"shows no sign of life for {silence} s"
            if known is None:
                since, limit, why = self._began, start, "has not come"
            elif word == "stopped":
                limit, why = -1, "ended with an error"
            if now - since > limit:
                last = len(self._files) - 1
                return (
                    f"worker {index} of 0 to {last} {why}. Start the same command in all again: it"
                    " continues."
                )
        return None if at_it else ""


def _no_link(path, flags):
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _word(path):
    """The first few letters of a sign; whatever else the file holds is none."""
    try:
        with open(path, "rb") as file:
            return file.read(16).decode("utf-8", "replace")
    except OSError:
        return ""


def _modified(path):
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
