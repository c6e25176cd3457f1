"""Sources to batches of (inputs, reference), read while the batch before is in use.

Training goes through the slices in an order drawn for each epoch from (seed, epoch), without end. A
batch holds slices of one shape; slices left over from an epoch begin the batches of the next. Batch
n is a function of the configuration alone, so a training that resumes with `start=n` sees what an
uninterrupted one would have seen.
"""

import atexit
import collections
import contextlib
import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from tfvn.data.prepared import PreparedSlices
from tfvn.data.remembered import Remembered

__all__ = ["Batches", "Shuffled", "clear_errors", "fingerprints", "load", "maps_origin", "source"]

_SPLITS = ("train", "test")
# Threads that read slices. One more makes batches of them.
_READERS = 2
# The batches whose datasets are being iterated.
_open = []
_MOMENT = 0.2  # seconds


def source(config, split="train"):
    """The source of slices that a configuration describes.

    Args:
        config: a `tfvn.config.Config`.
        split: 'train' or 'test'. A measurement is one scan, the same for both.

    Returns:
        A `tfvn.data.source.Source`.

    Raises:
        ValueError: for missing files or values that make no data.
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}. Received: split={split!r}")
    return config.dataset.source(split)


def fingerprints(config, split="train"):
    """What tells the slices of a split from others: settings, and states of files.

    Args:
        config: a `tfvn.config.Config`.
        split: as for `source`.

    Returns:
        A list with the fingerprint of each slice, see `tfvn.data.source.Source`.
    """
    slices = source(config, split)
    return [slices.fingerprint(index) for index in range(len(slices))]


def maps_origin(config, split="test"):
    """Where the coil maps of a configuration's slices come from, in words.

    What the maps saw decides what an error means. Of maps in files nobody knows what they were
    estimated from. It may be fully sampled data, and the words say so.

    Args:
        config: a `tfvn.config.Config`.
        split: as for `source`.

    Raises:
        ValueError: as `source`; of a measurement, which is read, also as its slice.
    """
    return source(config, split).maps_origin


def load(config, split="train", start=0, *, held_out=0, step=1):
    """Batches of (inputs, reference).

    Args:
        config: a `tfvn.config.Config`.
        split: 'train': endless, shuffled, batches of `training.batch_size`. 'test': in order, once,
            one slice a batch. 'validation': the held-out training slices, as 'test'.
        start: number of batches to skip, without reading them.
        held_out: how many of the last training slices 'train' leaves out and 'validation' holds.
        step: 'test': only every step-th slice from there on is read.

    Returns:
        `Batches`. Each of them is a pair. `inputs` is a dict of `kspace` and `sensitivity_maps`
        complex64 (batch, coils, height, width), `mask` float32 (batch, 1, 1, width) or (batch, 1,
        height, width), `sample_index` int32 (batch,), the index in the source, and `scale` float32
        (batch,), by which k-space and reference were divided. `reference` is complex64 (batch,
        rows, width), NaN where there is none.

    Raises:
        ValueError: as `source`; and while it is iterated, if a slice cannot be read.
    """
    read = split
    if split == "validation":
        read = "train"
    slices = PreparedSlices(source(config, read), config.data.cache_dir)
    if start < 0:
        raise ValueError(f"start must be a number of batches >= 0. Received: start={start}")
    if split == "test":
        return Batches(slices, range(start, len(slices), step), 1)
    count = len(slices) - held_out
    if not 0 < count <= len(slices):
        raise ValueError(
            f"held_out (search.validation) must leave slices to train on, of {len(slices)}."
            f" Received: held_out={held_out}"
        )
    if split == "validation":
        return Batches(slices, range(count + start, len(slices)), 1)
    batch_size = config.training.batch_size
    order = Shuffled(slices, batch_size, config.seed, start, held_out)
    # All else is read once.
    slices = Remembered(slices)
    return Batches(slices, order, batch_size)


class Shuffled:
    """The order of training: indices without end, batch after batch of slices of one shape.

    Args:
        slices: have `len(slices)` and `slices.shape(index)`.
        batch_size: number of slices of a batch.
        seed: of the order.
        start: number of batches to skip.
        held_out: how many of the last slices are left out.
    """

    def __init__(self, slices, batch_size, seed, start=0, held_out=0):
        self._slices = slices
        self._batch_size = batch_size
        self._seed = seed
        self._start = start
        self._count = len(slices) - held_out

    def __iter__(self):
        for batch in itertools.islice(self._batches(), self._start, None):
            yield from batch

    def _batches(self):
        waiting = collections.defaultdict(list)
        for epoch in itertools.count():
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            for index in order.tolist():
                group = waiting[self._slices.shape(index)]
                group.append(index)
                if len(group) == self._batch_size:
                    yield tuple(group)
                    group.clear()


class Batches:
    """Batches of (inputs, reference), as `load` gives them.

    Each iteration begins anew. Threads of its own read the next batch while one is in use; they end
    with the iteration. An error of reading arrives as it was raised.

    Args:
        slices: `PreparedSlices`, or `Remembered` ones.
        indices: the order of the slices: a sequence, or an iterable without end.
        batch_size: number of slices of a batch. The last one of a sequence may hold fewer.

    Attributes:
        error: what ended the last iteration of `dataset()`; None if nothing did, and after
            `clear_errors`.
    """

    def __init__(self, slices, indices, batch_size):
        self._slices = slices
        self._indices = indices
        self._batch_size = batch_size
        # Batches that are made ahead: of enough slices for all readers.
        self._ahead = math.ceil(_READERS / batch_size)
        self.error = None

    def __iter__(self):
        for arrays in self._arrays():
            # As those of a data set, wherever they are used then.
            with tf.device("CPU:0"):
                batch = tf.nest.map_structure(tf.convert_to_tensor, arrays)
            yield batch

    def dataset(self):
        """The same as a `tf.data.Dataset`, which Keras can train on and distribute.

        TensorFlow turns an error of reading into one of its own: see `clear_errors`.
        """
        dataset = tf.data.Dataset.from_generator(self._recorded, output_signature=self._signature())
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(self._count()))
        # There is nothing to tune here, and the thread that would: whoever frees the dataset can
        # wait a minute for it to end.
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)

    def _recorded(self):
        self.error = None
        _open.append(self)
        try:
            yield from self._arrays()
        except Exception as error:
            self.error = error
            raise
        finally:
            _open.remove(self)

    def _arrays(self):
        """The batches as NumPy arrays."""
        readers = ThreadPoolExecutor(_READERS)
        maker = ThreadPoolExecutor(1)
        waiting = collections.deque()
        try:
            for group in self._groups():
                slices = [readers.submit(self._read, index) for index in group]
                waiting.append(maker.submit(_stacked, slices))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever asks no more does not wait for the slices that are being read.
            for pool in (maker, readers):
                pool.shutdown(wait=False, cancel_futures=True)

    def _groups(self):
        """The indices of each batch."""
        indices = iter(self._indices)
        while group := list(itertools.islice(indices, self._batch_size)):
            yield group

    def _read(self, index):
        (kspace, maps, mask, reference), scale = self._slices[index]
        inputs = {
            "kspace": kspace,
            "sensitivity_maps": maps,
            "mask": mask,
            "sample_index": np.int32(index),
            "scale": np.float32(scale),
        }
        return inputs, reference

    def _count(self):
        """The number of batches."""
        if not isinstance(self._indices, collections.abc.Sized):
            return tf.data.INFINITE_CARDINALITY
        return math.ceil(len(self._indices) / self._batch_size)

    def _signature(self):
        """The types and shapes of a batch; sizes that differ between slices are None."""
        batch = None
        if self._batch_size == 1 or self._count() == tf.data.INFINITE_CARDINALITY:
            # All batches have this size, and the graph may know it.
            batch = self._batch_size
        coils, height, width = self._common_shape()
        rows = height
        if height and self._slices.readout_oversampling:
            rows = height // 2
        kspace = tf.TensorSpec((batch, coils, height, width), tf.complex64)
        inputs = {
            "kspace": kspace,
            "sensitivity_maps": kspace,
            "mask": tf.TensorSpec((batch, 1, self._slices.mask_height, width), tf.float32),
            "sample_index": tf.TensorSpec((batch,), tf.int32),
            "scale": tf.TensorSpec((batch,), tf.float32),
        }
        return inputs, tf.TensorSpec((batch, rows, width), tf.complex64)

    def _common_shape(self):
        """(coils, height, width) that all slices share, None where they differ."""
        shapes = {self._slices.shape(index) for index in range(len(self._slices))}
        common = []
        for sizes in zip(*shapes):
            common.append(sizes[0] if len(set(sizes)) == 1 else None)
        return common


def _stacked(slices):
    """A batch of the results of futures."""
    samples = [found.result() for found in slices]
    return tf.nest.map_structure(lambda *arrays: np.stack(arrays), *samples)


@atexit.register
def _let_threads_end():
    # Those of tf.distribute may be asking for a batch. They get an error and end, if Python lives
    # on for a moment; else they would wait for Python, and the process for them. That is rare, if
    # it happens at all: on two busy cores, 25 processes with TensorFlow 2.15 and 6 with 2.21 ended
    # without this, amid batches of a MirroredStrategy. Most ended as soon as those with it, and one
    # after 75 s (November 2026). One more was killed 75 s after its start, and might have ended.
    if _open:
        time.sleep(_MOMENT)


@contextlib.contextmanager
def clear_errors(*batches):
    """Inside, an error of reading arrives as it was raised, not as a TensorFlow OpError.

    Args:
        batches: the `Batches` whose datasets are iterated inside.
    """
    try:
        yield
    except tf.errors.OpError:
        for found in batches:
            if found.error is not None:
                raise found.error from None
        raise
    finally:
        # An error holds the arrays of all functions that it passed through.
        for found in batches:
            found.error = None
