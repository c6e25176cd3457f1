"""What the formulations need to know of the device, and how they are compiled for it.

A CPU works best on one coil and one copy at a time, which stay in its caches. An accelerator works
best on all at once, as far as its memory goes.
"""

import contextlib

import tensorflow as tf

__all__ = ["accelerators", "free_memory", "grow_memory", "on_accelerator", "one_graph"]


def accelerators():
    """TensorFlow's names of the GPUs, or TPUs, of this machine; empty on a CPU."""
    return tf.config.list_physical_devices("GPU") + tf.config.list_physical_devices("TPU")


def on_accelerator():
    """Whether this machine has a GPU or a TPU."""
    return bool(accelerators())


def grow_memory():
    """Lets TensorFlow take memory of GPUs as it needs it, not all at once.

    It is called before anything is computed. Later it is too late, and nothing changes.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)


def free_memory():
    """Bytes that are free for TensorFlow on the first GPU; None on a machine without one."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    # The only place where TensorFlow tells the limit.
    from tensorflow.python.client import device_lib

    devices = device_lib.list_local_devices()
    limits = [device.memory_limit for device in devices if device.device_type == "GPU"]
    used = tf.config.experimental.get_memory_info("GPU:0")["current"]
    return limits[0] - used


def one_graph(function):
    """`function` compiled once, wherever it is called.

    TensorFlow would otherwise inline it. It would optimise all copies anew, and start what is ready
    in one while another still holds its memory.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
