"""Several processes and devices on one job, slice by slice.

Process i of n takes the slices i, i + n, i + 2 n and so on. Its devices share these. Each process
gives a sign of life in a folder that all of them see, so that none waits for one that is gone.
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

from tfvn.choices import STRATEGIES

__all__ = ["ALONE", "SILENCE", "START", "STRATEGIES", "Watch", "Workers", "each", "start"]

# Seconds after which a process is given up that shows no sign of life, and one that has not come.
# A file system that is shared over a network may show a change a minute late.
SILENCE, START = 120, 900


class Workers(NamedTuple):
    """The processes of a job: which strategy, the number of this one, and how many there are."""

    kind: str = "none"
    index: int = 0
    count: int = 1

    def strategy(self):
        """A `tf.distribute` strategy over all devices of all processes, None for one device.

        With several processes, call it in each of them before TensorFlow computes anything. It
        waits for the others.
        """
        if self.kind == "mirrored":
            return tf.distribute.MirroredStrategy(self.devices())
        if self.kind == "multiworker":
            return _multiworker_strategy()
        return None

    def own(self, count):
        """The numbers out of 0..count-1 that this process takes."""
        return range(self.index, count, self.count)

    def devices(self):
        """Names of this process's devices; [None], wherever TensorFlow likes, for one."""
        if self.kind == "none":
            return [None]
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in devices]


# One process, and one device.
ALONE = Workers()


def _multiworker_strategy():
    _check_own_address()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            f"multiworker must be the first that TensorFlow does in a process ({error})."
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
        return _workers_of_environment(kind)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            'multiworker needs TF_CONFIG in every process, such as {"cluster": {"worker":'
            ' ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}.'
            f" Received: TF_CONFIG={os.environ.get('TF_CONFIG', '')!r}"
        ) from error


def _split_cpu(kind, replicas):
    if kind != "mirrored" or replicas < 1 or tf.config.list_physical_devices("GPU"):
        raise ValueError(
            "--replicas N splits a CPU into N >= 1 devices for --strategy mirrored, where there is"
            f" no GPU. Received: replicas={replicas}, strategy={kind}"
        )
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * replicas
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:
        raise ValueError(
            f"--replicas must be set before TensorFlow computes anything ({error})."
        ) from error


def _workers_of_environment(kind):
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    addresses = resolver.cluster_spec().as_dict()
    tasks = []
    # The chief is the first worker, where there is one.
    for task_type in ("chief", "worker"):
        for number in range(len(addresses.get(task_type, ()))):
            tasks.append((task_type, number))
    return Workers(kind, tasks.index((resolver.task_type, resolver.task_id)), len(tasks))


def each(devices, work, items):
    """Yields `work(number, item)` of every item, made on all devices at once.

    Args:
        devices: names of the devices.
        work: the function; `number` is the device's.
        items: what it is called with. An item is read when there is a device for it.
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
            number = free.get()
            for task in [task for task in running if task.done()]:
                running.remove(task)
                yield task.result()
            running.append(pool.submit(job, number, item))
        for task in running:
            yield task.result()


class Watch:
    """Looks after the processes of a job, inside `with`.

    Each process touches a file of its own in a folder that all share. A process is lost if it
    stopped with an error, if its file has not changed for `silence` seconds, or has not changed at
    all `start` seconds after this one began.

    Args:
        folder: the folder.
        workers: the `Workers`.
        fatal: end this process when another is lost. What it does would wait for it without end:
            sums over processes cannot be interrupted from Python.
        silence, start: see above.
        tidy: the first process removes the folder when all have ended well.

    Raises:
        ValueError: from `with`, if this process's file would lie elsewhere: a link is not followed.
    """

    def __init__(self, folder, workers, fatal=False, silence=SILENCE, start=START, tidy=False):
        self._files = [pathlib.Path(folder, f"worker_{index}") for index in range(workers.count)]
        self._own = self._files[workers.index]
        self._fatal = fatal
        self._silence = silence
        self._start = start
        self._tidy = tidy and workers.index == 0
        self._others = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self):
        if len(self._files) == 1:
            return self
        if self._own.is_symlink() or self._own.parent.is_symlink():
            raise ValueError(
                f"{self._own} must be a file of its own, and no link leads to it. Remove the link."
            )
        with contextlib.suppress(OSError):
            self._own.parent.mkdir(parents=True, exist_ok=True)
        for index, file in enumerate(self._files):
            if file != self._own:
                self._others[index] = _Sign(file)
                self._tell_of_earlier(index, file)
        self._thread.start()
        return self

    def _tell_of_earlier(self, index, file):
        # It may be of an earlier job: this one's may still come.
        if _word(file) == "stopped":
            print(
                f"worker {index} ended with an error before this one began ({file})."
                f" Waiting for it to be started again, at most {self._start} s",
                flush=True,
            )

    def __exit__(self, kind, *_):
        if len(self._files) == 1:
            return
        self._ended.set()
        self._thread.join()
        if kind is not None:
            self._say("stopped")
            return
        self._say("done")
        if self._tidy:
            self._remove_signs()

    def _remove_signs(self):
        # The others have done their work, and are about to say so.
        end = time.monotonic() + 10
        while time.monotonic() < end and not self._all_done() and not self._what_is_lost():
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            for file in self._files:
                file.unlink()
            self._own.parent.rmdir()

    def wait(self, missing):
        """Waits until `missing()` is false, or all other processes have done what they had to do.

        Raises:
            ValueError: if another process is lost meanwhile.
        """
        while missing():
            lost = self._what_is_lost()
            if self._all_done():
                return
            # It may have ended between the two.
            if lost and missing():
                raise ValueError(lost)
            time.sleep(0.2)

    def _beat(self):
        while not self._ended.wait(min(2, self._silence / 4)):
            self._say("")
            if not self._fatal:
                continue
            lost = self._what_is_lost()
            if lost:
                print(f"\nerror: {lost}", file=sys.stderr, flush=True)
                os._exit(2)

    def _say(self, word):
        # What a file system refuses now it may take the next time; until then this process is
        # silent, and not at its end.
        with contextlib.suppress(OSError):
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with open(self._own, "w", encoding="utf-8", opener=_no_link) as file:
                file.write(word)

    def _all_done(self):
        """Whether all other processes have done their work."""
        return all(sign.look().word == "done" for sign in self._others.values())

    def _what_is_lost(self):
        """A sentence on another process that is lost, None where there is none."""
        for index, sign in self._others.items():
            fault = sign.look().fault(self._silence, self._start)
            if fault:
                last = len(self._files) - 1
                return (
                    f"worker {index} of 0 to {last} {fault}. Start the same command in all again:"
                    " it continues."
                )
        return None


class _Sign:
    """The file of another process: what it says, and since when.

    Attributes:
        word: "done" or "stopped", or anything else while the process is at work.
    """

    def __init__(self, file):
        self.word = ""
        self._file = file
        self._began = time.monotonic()
        # What is there now is of an earlier job, until it changes.
        self._modified = _modified(file)
        self._changed = None

    def look(self):
        """Reads the file."""
        modified = _modified(self._file)
        if modified != self._modified:
            self._changed = time.monotonic()
            self._modified = modified
        if self._changed is not None:
            self.word = _word(self._file)
        return self

    def fault(self, silence, start):
        """What is wrong with the process; "" where nothing is."""
        now = time.monotonic()
        if self._changed is None:
            if now - self._began > start:
                return "has not come"
        elif self.word == "stopped":
            return "ended with an error"
        elif self.word != "done" and now - self._changed > silence:
            return f"shows no sign of life for {silence} s"
        return ""


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
