"""What the formulations need to know of the device, and how they are compiled for it. A CPU works
best on one coil and one copy at a time, which stay in its caches; an accelerator on all at once, as
far as its memory goes.
"""

import contextlib

import tensorflow as tf

__all__ = ["accelerators", "free_memory", "grow_memory", "on_accelerator", "one_graph"]


def accelerators():
    """TensorFlow's names of the GPUs, or TPUs, of this machine; empty on a CPU."""
    return [device for kind in ("GPU", "TPU") for device in tf.config.list_physical_devices(kind)]


def on_accelerator():
    return bool(accelerators())


def grow_memory():
    """Lets TensorFlow take memory of GPUs as it needs it, not all at once. Called before anything
    is computed.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(
            RuntimeError
        ):  # TensorFlow has been computing already: too late to change it
            tf.config.experimental.set_memory_growth(gpu, True)


def free_memory():
    """Bytes that are free for TensorFlow on the first GPU; None on a machine without one."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    from tensorflow.python.client import (
        device_lib,
    )  # the only place where TensorFlow tells the limit

    limits = [
        device.memory_limit
        for device in device_lib.list_local_devices()
        if device.device_type == "GPU"
    ]
    return limits[0] - tf.config.experimental.get_memory_info("GPU:0")["current"]


def one_graph(function):
    """`function` compiled once, wherever it is called. TensorFlow would otherwise inline it:
    optimise all copies anew, and start what is ready in one while another still holds its
    memory.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
