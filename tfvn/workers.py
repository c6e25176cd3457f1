"""Several devices and processes on one training, or several devices on the draws of one model.

How they share a batch says `tfvn.replicas`. Slices and runs that do not depend on each other are
shared by `tfvn.cluster`.
"""

import contextlib
import os
import signal
import socket
import threading
from typing import NamedTuple

import tensorflow as tf

from tfvn.choices import STRATEGIES

__all__ = ["ALONE", "Workers", "start"]


class Workers(NamedTuple):
    """The processes of a training: which strategy, this one's number, how many there are."""

    kind: str = "none"
    index: int = 0
    count: int = 1

    def strategy(self):
        """A `tf.distribute` strategy over all devices of all processes, None for one device.

        With several processes, call it in each of them before TensorFlow computes anything. It
        waits for the others.
        """
        if self.kind == "mirrored":
            return tf.distribute.MirroredStrategy(_devices())
        if self.kind == "multiworker":
            return _multiworker_strategy()
        return None


# One process, and one device.
ALONE = Workers()


def _devices():
    """The names of this process's devices."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _multiworker_strategy():
    _check_own_address()
    try:
        with _ended_by_ctrl_c():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            f"multiworker must be the first that TensorFlow does in a process ({error})."
        ) from error


@contextlib.contextmanager
def _ended_by_ctrl_c():
    """Inside, Ctrl-C ends the process: TensorFlow waits for the others where Python hears nothing.

    Nothing has been done by then but the beginning of a run directory. In other threads than the
    first, Python sets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
