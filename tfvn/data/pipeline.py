"""Sources to batches: `tf.data` sets of (inputs, reference), read lazily, the same at every run.

Training goes through the slices in an order drawn for each epoch from (seed, epoch), without end. A
batch holds slices of one shape; slices left over from an epoch begin the batches of the next. Batch
n is a function of the configuration alone, so a training that resumes with `start=n` sees what an
uninterrupted one would have seen.
"""

import atexit
import collections
import contextlib
import functools
import itertools
import threading

import numpy as np
import tensorflow as tf

from tfvn import config as configuration
from tfvn.data.array_files import read_array
from tfvn.data.measurement import Measurement
from tfvn.data.prepared import PreparedSlices
from tfvn.data.sample import check_mask, mask_array
from tfvn.data.synthetic import SyntheticKnee
from tfvn.data.vlo import VLOKnee, mask_path
from tfvn.physics import masks

__all__ = ["batches", "clear_errors", "iterate", "load", "maps_origin", "mask_of", "source"]

_SPLITS = ("train", "test")
# The synthetic sets are fixed: runs with different seeds train and are compared on the same slices.
_SYNTHETIC_SEEDS = {"train": 0, "test": 1}
# Texts of the last ValueErrors of reading: TensorFlow hides them in a long OpError. Texts alone, as
# an error object would keep the arrays of its frames alive.
_raised = collections.deque(maxlen=16)
_activity = threading.Condition()
_reads = {"inside": 0, "ever": 0, "stopped": False}


@contextlib.contextmanager
def _reading():
    """Round every read, which runs in a thread of TensorFlow: keeps its error, and lets `_stop`
    wait for it.
    """
    with _activity:
        _reads["inside"] += 1
        _reads["ever"] += 1
    try:
        if _reads["stopped"]:
            raise RuntimeError("the interpreter is closing")
        yield
    except ValueError as error:
        _raised.append(str(error))
        raise
    finally:
        with _activity:
            _reads["inside"] -= 1
            _activity.notify_all()


@atexit.register
def _stop():
    # A dataset that is alive when Python closes waits for its reads and they wait for Python: the
    # process would hang. From here on reads fail at once; when none has come for a while, all
    # buffers are full and the threads asleep.
    with _activity:
        _reads["stopped"] = True
        while _reads["ever"] and (_activity.wait(timeout=0.1) or _reads["inside"]):
            pass


def source(config, split="train"):
    """The source of slices that a configuration describes.

    Args:
        config: a `tfvn.config.Config`.
        split: 'train' or 'test'. A measurement is one scan, the same for both.

    Returns:
        An object with `len(source)`, `source.name(index)`, `source[index]` (a `Sample`, not
        normalised), `source.shape(index)`, (coils, height, width), and `source.fingerprint(index)`
        (see `tfvn.data.prepared`).

    Raises:
        ValueError: for missing files or values that make no data.
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}. Received: split={split!r}")
    mask = mask_of(config)
    if config.dataset == "measurement":
        return Measurement(
            _needed(config, "data_path", "the k-space file"),
            sensitivity_path=config.sensitivity_path,
            array=config.data_array,
            sensitivity_array=config.sensitivity_array,
            mask=mask,
            coil_axis=config.coil_axis,
            slice_index=config.slice_index,
            calibration_lines=config.calibration_lines,
            maps_from=config.maps_from,
            mask_name=_mask_file(config),
            readout_oversampling=config.readout_oversampling,
            transpose=config.transpose,
        )
    if config.dataset == "vlo":
        return VLOKnee(
            _needed(config, "data_path", "the folder of the knee data"),
            config.protocol,
            configuration.numbers(getattr(config, f"{split}_patients")),
            configuration.numbers(getattr(config, f"{split}_slices")),
            mask,
            padding_lines=config.padding_lines,
            readout_oversampling=config.readout_oversampling,
            mask_name=_mask_file(config),
        )
    return SyntheticKnee(
        getattr(config, f"num_{split}"),
        config.height,
        config.width,
        config.num_coils,
        mask,
        config.receiver_noise,
        _SYNTHETIC_SEEDS[split],
        readout_oversampling=config.readout_oversampling,
    )


def _needed(config, key, meaning):
    if not getattr(config, key):
        raise ValueError(f"dataset {config.dataset} needs {key}, {meaning}. Received: {key}=''")
    return getattr(config, key)


def mask_of(config):
    """The mask that a configuration asks for: a function of the width, an array, or None for what
    was measured.

    Raises:
        ValueError: naming the mask's file, if it cannot be read or holds no mask.
    """
    if config.mask == "measured":
        return None
    if config.mask == "file":
        return _mask_of_file(_mask_file(config), config)
    if config.mask == "constant":
        return functools.partial(masks.constant, fraction=config.mask_fraction)
    options = dict(acceleration=config.acceleration, center_fraction=config.center_fraction)
    if config.mask == "equispaced":
        return functools.partial(masks.equispaced, **options)
    return functools.partial(masks.random, **options, seed=config.mask_seed)


def _mask_file(config):
    """The path of the mask's file, '' if it comes from none."""
    if config.mask != "file":
        return ""
    path = _needed(config, "mask_path", "the mask's file (vlo: its name)")
    if config.dataset == "vlo":
        path = mask_path(
            _needed(config, "data_path", "the folder of the knee data"), config.protocol, path
        )
    return path


def _mask_of_file(path, config):
    """The mask of a file; an error names it, and not the scan that it is for."""
    mask = np.squeeze(read_array(path, ("mask",), config.mask_array, "mask_array (--mask-array)"))
    try:
        if mask.ndim not in (1, 2):
            raise ValueError(
                "the mask must have shape (width,) or (height, width). Received:"
                f" mask.shape={mask.shape}"
            )
        check_mask(mask)
        if config.dataset == "synthetic":
            mask_array(mask, config.height, config.width)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return mask


def maps_origin(config, split="test"):
    """Where the coil maps of a configuration's slices come from, in words: what they saw decides
    what an error means.

    Of maps in files nobody knows what they were estimated from; it may be fully sampled data, and
    the words say so.

    Args:
        config: a `tfvn.config.Config`.
        split: as for `source`.

    Raises:
        ValueError: as `source`; of a measurement, which is read, also as its slice.
    """
    if config.dataset == "measurement":
        return source(config, split).maps_origin
    if config.dataset == "vlo":
        return "from the files, which may know what the mask removes"
    return "those that the slices were made with"


def load(config, split="train", start=0, *, held_out=0, step=1):
    """Batches of (inputs, reference) as a `tf.data.Dataset`.

    Args:
        config: a `tfvn.config.Config`.
        split: 'train': endless, shuffled, batches of `config.batch_size`. 'test': in order, once,
            one slice a batch. 'validation': the held-out training slices, as 'test'.
        start: number of batches to skip, without reading them.
        held_out: how many of the last training slices 'train' leaves out and 'validation' holds.
        step: 'test': only every step-th slice from there on is read.

    Returns:
        A dataset of pairs. `inputs` is a dict of `kspace` and `sensitivity_maps` complex64 (batch,
        coils, height, width), `mask` float32 (batch, 1, 1, width) or (batch, 1, height, width),
        `sample_index` int32 (batch,), the index in the source, and `scale` float32 (batch,), by
        which k-space and reference were divided. `reference` is complex64 (batch, rows, width), NaN
        where there is none.

    Raises:
        ValueError: as `source`; and while it is iterated through `iterate` or inside
            `clear_errors`.
    """
    slices = PreparedSlices(
        source(config, "train" if split == "validation" else split), config.cache_dir
    )
    if start < 0:
        raise ValueError(f"start must be a number of batches >= 0. Received: start={start}")
    if split == "test":
        return batches(slices, range(start, len(slices), step), 1)
    count = len(slices) - held_out
    if not 0 < count <= len(slices):
        raise ValueError(
            f"held_out (tune_validation) must leave slices to train on, of {len(slices)}. Received:"
            f" held_out={held_out}"
        )
    if split == "validation":
        return batches(slices, range(count + start, len(slices)), 1)
    return batches(
        slices,
        _Endless(_plan(slices, config.batch_size, config.seed, held_out), start),
        config.batch_size,
    )


def _plan(slices, batch_size, seed, held_out=0):
    """The indices of batch 0, 1, 2, ..., each of slices of one shape, without end; never those of
    the last `held_out`.
    """
    waiting = {}
    for epoch in itertools.count():
        for index in (
            np.random.default_rng([seed, epoch]).permutation(len(slices) - held_out).tolist()
        ):
            group = waiting.setdefault(slices.shape(index), [])
            group.append(index)
            if len(group) == batch_size:
                yield tuple(group)
                group.clear()


class _Endless:
    """The indices of a plan from batch `start` on, one after the other, by position."""

    def __init__(self, plan, start):
        self._stream = itertools.chain.from_iterable(itertools.islice(plan, start, None))
        self._known, self._lock = [], threading.Lock()

    def __getitem__(self, position):
        with self._lock:  # two reading threads
            while len(self._known) <= position:
                self._known.append(next(self._stream))
            return self._known[position]


def batches(slices, indices, batch_size):
    """A dataset of the slices `indices` (a sequence) of `PreparedSlices`, in this order, as `load`
    gives them.
    """
    endless = isinstance(indices, _Endless)

    def read(position):
        with _reading():
            index = indices[int(position)]
            sample, scale = slices[index]
            return (*(np.ascontiguousarray(array) for array in sample), np.int32(index), scale)

    kinds = (tf.complex64, tf.complex64, tf.float32, tf.complex64, tf.int32, tf.float32)
    shapes = _static_shapes(slices)

    def read_in_graph(position):
        arrays = tf.numpy_function(read, [position], kinds, stateful=False)
        for array, shape in zip(arrays, shapes):
            array.set_shape(shape)
        kspace, maps, mask, reference, index, scale = arrays
        inputs = dict(
            kspace=kspace, sensitivity_maps=maps, mask=mask, sample_index=index, scale=scale
        )
        return inputs, reference

    positions = tf.data.Dataset.counter() if endless else tf.data.Dataset.range(len(indices))
    dataset = positions.map(read_in_graph, num_parallel_calls=2, deterministic=True)
    # A batch size that is known to the graph, wherever all batches have it.
    dataset = dataset.batch(batch_size, drop_remainder=endless or batch_size == 1).prefetch(1)
    # There is nothing to tune here, and the thread that would: whoever frees the dataset can wait a
    # minute for it to end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _static_shapes(slices):
    """Shapes of (kspace, maps, mask, reference, index, scale) that all slices share; None where
    they differ.
    """
    shapes = {slices.shape(index) for index in range(len(slices))}
    coils, height, width = (
        sizes.pop() if len(sizes) == 1 else None for sizes in map(set, zip(*shapes))
    )
    rows = height and (height // 2 if slices.readout_oversampling else height)
    return (
        (coils, height, width),
        (coils, height, width),
        (1, slices.mask_height, width),
        (rows, width),
        (),
        (),
    )


@contextlib.contextmanager
def clear_errors():
    """Inside, an error of reading data arrives as the ValueError that was raised, not as a
    TensorFlow OpError.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for text in reversed(_raised):
            if text in str(error.message):
                raise ValueError(text) from None
        raise


def iterate(dataset):
    """The elements of a dataset, with clear errors (see `clear_errors`)."""
    with clear_errors():
        yield from dataset
