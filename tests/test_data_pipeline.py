"""Batches: of the configuration alone, lazy, resumable, of known shape, with errors that a user can
read.
"""

import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from tfvn import checks, data
from tfvn.config import load
from tfvn.data import pipeline, prepared, recognise, remembered
from tfvn.data.mat_files import write_mat
from tfvn.data.sample import fft2c, mask_array
from tfvn.data.vlo_folder import write_folder
from tfvn.physics import masks

SLICES = {"height": 32, "width": 24, "num_coils": 2, "num_train": 5, "num_test": 3}
TINY = {"data": SLICES, "training.batch_size": 2, "sampling.fraction": 0.5}


class Counting:
    """A source that keeps what was read; slice i has shape `shapes[i]`."""

    readout_oversampling, mask_height = False, 1

    def __init__(self, shapes):
        self.shapes, self.read = shapes, []

    def __len__(self):
        return len(self.shapes)

    def name(self, index):
        return f"slice{index}"

    def shape(self, index):
        return self.shapes[index]

    def __getitem__(self, index):
        self.read.append(index)
        ones = np.ones(self.shapes[index], np.complex64)
        return data.Sample(ones, ones, ones[:1, :1].real, ones[0])


def endless(source, batch_size=2, seed=0, start=0):
    slices = data.PreparedSlices(source)
    order = pipeline.Shuffled(slices, batch_size, seed, start)
    return data.Batches(slices, order, batch_size)


def indices(batches, count=None):
    return [
        inputs["sample_index"].numpy().tolist() for inputs, _ in itertools.islice(batches, count)
    ]


def test_batches_have_the_shapes_and_types_of_the_design():
    config = load(settings=TINY)
    batches = data.load(config)
    inputs, reference = next(iter(batches))
    shapes = {key: (value.shape, value.dtype) for key, value in inputs.items()}
    assert shapes == {
        "kspace": ((2, 2, 32, 24), tf.complex64),
        "sensitivity_maps": ((2, 2, 32, 24), tf.complex64),
        "mask": ((2, 1, 1, 24), tf.float32),
        "sample_index": ((2,), tf.int32),
        "scale": ((2,), tf.float32),
    }
    assert reference.shape == (2, 32, 24) and reference.dtype == tf.complex64
    for spec, value in zip(
        tf.nest.flatten(batches.dataset().element_spec), tf.nest.flatten((inputs, reference))
    ):
        assert spec.shape == value.shape
    np.testing.assert_array_equal(inputs["mask"][0, 0, 0], masks.constant(24, 0.5))


def test_no_thread_of_tensorflow_tunes_the_pipeline():
    # Freeing a dataset that was a minute old waited up to a minute for it.
    for split in ("train", "test"):
        dataset = data.load(load(settings=TINY), split).dataset()
        assert dataset.options().autotune.enabled is False


def test_test_split_is_finite_in_order_and_equal_to_the_source():
    config = load(settings={**TINY, "data": {**SLICES, "readout_oversampling": True}})
    source = data.source(config, "test")
    elements = list(data.load(config, "test"))
    assert [int(inputs["sample_index"][0]) for inputs, _ in elements] == [0, 1, 2]
    sample, scale = data.normalise(source[1], source.name(1), True)
    inputs, reference = elements[1]
    np.testing.assert_array_equal(inputs["kspace"][0], sample.kspace)
    np.testing.assert_array_equal(reference[0], sample.reference)
    assert inputs["scale"][0] == scale and reference.shape == (1, 16, 24)


def test_splits_of_the_synthetic_set_differ():
    config = load(settings=TINY)
    train, test = data.source(config), data.source(config, "test")
    assert len(train) == 5 and len(test) == 3
    assert all(
        np.abs(train[i].reference - test[j].reference).max() > 0.1
        for i in range(5)
        for j in range(3)
    )


def test_every_epoch_is_another_permutation_keyed_by_the_seed():
    order = np.concatenate(indices(endless(Counting([(1, 4, 4)] * 4)), 6)).reshape(3, 4)
    assert (np.sort(order) == np.arange(4)).all() and len({tuple(row) for row in order}) > 1
    assert indices(endless(Counting([(1, 4, 4)] * 4), seed=1), 6) != order.reshape(6, 2).tolist()


def test_resumed_training_sees_the_same_batches():
    config = load(settings=TINY)
    whole = list(itertools.islice(data.load(config), 6))
    resumed = list(itertools.islice(data.load(config, start=4), 2))
    tf.nest.map_structure(np.testing.assert_array_equal, whole[4:], resumed)


def test_start_skips_without_reading_and_nothing_is_read_early():
    source = Counting([(1, 4, 4)] * 100)
    batches = endless(source, start=20)
    assert source.read == []
    assert indices(batches, 1) == indices(endless(Counting([(1, 4, 4)] * 100)), 21)[20:]
    # One batch is delivered; a few wait in the buffers.
    assert len(source.read) <= 12


def test_training_reads_a_slice_once_as_far_as_they_fit_into_the_memory():
    source = Counting([(1, 4, 4)] * 6)
    plain = data.PreparedSlices(source)
    size = sum(array.nbytes for array in plain[0][0])
    kept = remembered.Remembered(plain, 4 * size + 1)
    source.read.clear()
    order = [3, 0, 5, 1, 2, 4]
    for _ in range(3):
        for index in order:
            (found, scale), (expected, same) = kept[index], plain[index]
            tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
            assert scale == same
    # Of the reads of `plain` itself each is one more.
    counts = [source.read.count(index) - 3 for index in order]
    assert counts == [1, 1, 1, 1, 3, 3]
    assert len(kept) == 6 and kept.shape(2) == (1, 4, 4) and kept.mask_height == 1


def test_what_a_training_reads_is_remembered(monkeypatch):
    config = load(settings=TINY)
    made = []
    normalise = prepared.normalise
    monkeypatch.setattr(prepared, "normalise", lambda *x: made.append(x[1]) or normalise(*x))
    first, second = (indices(data.load(config), 8) for _ in range(2))
    assert first == second
    # Each iteration asks three times for a slice; two threads may ask for one at once.
    assert set(made) == {data.source(config).name(index) for index in range(5)}
    assert max(made.count(name) for name in made) <= 4


def test_a_batch_never_mixes_shapes_and_no_slice_is_left_out():
    source = Counting([(1, 4, 4), (1, 4, 6), (1, 4, 4), (1, 4, 6), (1, 4, 6)])
    spec = endless(source).dataset().element_spec
    assert spec[0]["kspace"].shape == (2, 1, 4, None)
    batches = indices(endless(source), 10)
    assert all(len({source.shapes[index] for index in batch}) == 1 for batch in batches)
    assert {index for batch in batches for index in batch} == set(range(5))


def test_slices_of_several_shapes_are_tested_one_by_one():
    slices = data.PreparedSlices(Counting([(1, 4, 4), (1, 4, 6)]))
    assert [inputs["kspace"].shape[-1] for inputs, _ in data.Batches(slices, range(2), 1)] == [4, 6]


@pytest.fixture
def knees(tmp_path):
    slices = data.SyntheticKnee(4, 32, 24, 2, None, 0.01, 0)
    write_folder(
        tmp_path, "pd", [1, 2], [11, 12], slices, mask=masks.constant(24, 0.5), mask_name="half"
    )
    paths = {
        "data.path": str(tmp_path),
        "data.protocol": "pd",
        "data.train_patients": "1-2",
        "data.train_slices": "11,12",
        "training.batch_size": 2,
    }
    return load(
        settings={
            **paths,
            "data.format": "vlo",
            "sampling.mask": "file",
            "sampling.path": "half",
            "data.test_patients": "2",
            "data.test_slices": "12",
        }
    )


def test_knee_folder_feeds_training_and_test(knees):
    inputs, reference = next(iter(data.load(knees)))
    assert inputs["kspace"].shape == (2, 2, 32, 24) and reference.shape == (2, 32, 24)
    assert inputs["mask"][0, 0, 0].numpy().tolist() == masks.constant(24, 0.5).tolist()
    assert data.source(knees, "test").name(0) == "patient2/slice12" and indices(
        data.load(knees, "test")
    ) == [[0]]


def test_damaged_file_reaches_the_user_as_one_clear_error(knees, tmp_path):
    path = tmp_path / "pd/2/espirit12.mat"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="^/.*espirit12.mat cannot be read as a MATLAB file"):
        list(data.load(knees, "test"))
    batches = data.load(knees, "test")
    count = tf.function(lambda dataset: dataset.reduce(0, lambda n, _: n + 1))
    with (
        pytest.raises(recognise.FileError, match="^/.*espirit12.mat cannot be read"),
        data.clear_errors(batches),
    ):
        count(batches.dataset())
    with pytest.raises(ValueError, match="espirit12.mat cannot be read"):
        for _ in zip(range(3), data.load(knees)):
            pass


def test_slice_that_cannot_be_reconstructed_is_named(knees, tmp_path):
    write_mat(tmp_path / "pd/2/rawdata12.mat", {"rawdata": np.zeros((32, 24, 2), complex)})
    with pytest.raises(ValueError, match="^patient2/slice12: kspace is zero everywhere"):
        list(data.load(knees, "test"))


def test_measurement_serves_both_splits(tmp_path):
    np.save(tmp_path / "scan.npy", data.SyntheticKnee(1, 32, 24, 2, None, 0.01, 0)[0].kspace)
    mask = masks.equispaced(24, 2, 0.25)
    np.save(tmp_path / "mask.npy", mask)
    scan = {
        "data.format": "measurement",
        "data.path": str(tmp_path / "scan.npy"),
        "training.batch_size": 1,
    }
    config = load(
        settings={**scan, "sampling.mask": "file", "sampling.path": str(tmp_path / "mask.npy")}
    )
    train, test = next(iter(data.load(config))), next(iter(data.load(config, "test")))
    tf.nest.map_structure(np.testing.assert_array_equal, train, test)
    assert test[0]["mask"].numpy().ravel().tolist() == mask.tolist()
    measured = next(iter(data.load(load(settings={**scan, "sampling.mask": "measured"}), "test")))
    assert measured[0]["mask"].numpy().min() == 1


@pytest.mark.parametrize(
    "values, expected",
    [
        (dict(mask="constant", fraction=0.3), masks.constant(24, 0.3)),
        (
            dict(mask="equispaced", acceleration=3, center_fraction=0.2),
            masks.equispaced(24, 3, 0.2),
        ),
        (
            dict(mask="random", acceleration=3, center_fraction=0.2, seed=4),
            masks.random(24, 3, 0.2, 4),
        ),
        (dict(mask="measured"), np.ones(24)),
    ],
)
def test_mask_follows_the_configuration(values, expected):
    sample = data.source(load(settings={"data": SLICES, "sampling": values}))[0]
    np.testing.assert_array_equal(sample.mask[0, 0], expected)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"data.format": "vlo"}, "data.format vlo needs data.path"),
        ({"data.format": "measurement"}, "data.format measurement needs data.path"),
        ({"sampling.mask": "file"}, "sampling.mask file needs sampling.path"),
        (
            {"sampling.mask": "file", "sampling.path": "/nowhere/mask.npy"},
            "no such file: /nowhere/mask.npy",
        ),
        (
            {"data.format": "vlo", "data.path": "/nowhere"},
            "400 of 400 files are missing below /nowhere/coronal_pd_fs",
        ),
    ],
)
def test_configuration_without_data_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        data.load(load(settings=values))


BAD_MASKS = {
    "values": (
        np.full(24, 255),
        "a mask holds zeros and at least one 1. Received: int64 mask with values",
    ),
    "nan": (np.full(24, np.nan), "a mask holds zeros and at least one 1"),
    "empty": (np.zeros(24), "a mask holds zeros and at least one 1"),
    "width": (
        np.ones(23),
        (
            r"must have shape \(width,\) .* mask.shape=\(23,\), height=32, width=24. Use a mask"
            r" made for this"
        ),
    ),
    "transposed": (np.ones((24, 32)), "These are height and width exchanged: transpose the mask"),
    "height": (np.ones(32), "This is a line for each row"),
}


@pytest.mark.parametrize("mask, message", BAD_MASKS.values(), ids=BAD_MASKS)
@pytest.mark.parametrize("dataset", ["synthetic", "measurement"])
def test_an_error_of_a_mask_begins_with_the_file_of_the_mask(tmp_path, dataset, mask, message):
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "scan.npy", data.SyntheticKnee(1, 32, 24, 2, None, 0.01, 0)[0].kspace)
    sections = {"synthetic": SLICES, "measurement": {"path": str(tmp_path / "scan.npy")}}
    config = load(
        settings={
            "data": {"format": dataset, **sections[dataset]},
            "sampling": {"mask": "file", "path": str(tmp_path / "mask.npy")},
        }
    )
    with pytest.raises(ValueError, match=f"^/.*mask.npy: .*{message}"):
        data.source(config)[0]


def test_of_knee_folders_too(knees, tmp_path):
    for mask, message in (
        (np.full((32, 24), 255.0), "a mask holds zeros"),
        (np.ones((32, 23)), "must have shape"),
    ):
        write_mat(tmp_path / "pd/masks/half.mat", {"mask": mask})
        with pytest.raises(ValueError, match=f"^/.*half.mat: .*{message}"):
            data.source(knees)[0]


SAME_MASKS = {
    "bool": masks.equispaced(24, 2, 0.25) > 0,
    "uint8": masks.equispaced(24, 2, 0.25).astype(np.uint8),
    "float64": masks.equispaced(24, 2, 0.25).astype(np.float64),
    "complex": masks.equispaced(24, 2, 0.25).astype(complex),
    "a row": masks.equispaced(24, 2, 0.25)[None],
    "a column, as MATLAB keeps vectors": masks.equispaced(24, 2, 0.25)[:, None],
    "as a network takes it": masks.equispaced(24, 2, 0.25)[None, None],
    "points": np.repeat(masks.equispaced(24, 2, 0.25)[None], 32, 0),
}


@pytest.mark.parametrize("mask", SAME_MASKS.values(), ids=SAME_MASKS)
def test_a_mask_may_have_any_type_of_zeros_and_ones_and_axes_of_length_1(tmp_path, mask):
    np.save(tmp_path / "mask.npy", mask)
    sample = data.source(
        load(
            settings={
                "data": SLICES,
                "sampling": {"mask": "file", "path": str(tmp_path / "mask.npy")},
            }
        )
    )[0]
    np.testing.assert_array_equal(sample.mask[0, 0], masks.equispaced(24, 2, 0.25))


def test_where_maps_come_from_is_told_in_words(knees, tmp_path):
    np.save(tmp_path / "scan.npy", data.SyntheticKnee(1, 32, 24, 2, None, 0.01, 0)[0].kspace)
    scan = {
        "data.format": "measurement",
        "data.path": str(tmp_path / "scan.npy"),
        "sampling.mask": "equispaced",
        "sampling.center_fraction": 0.25,
    }
    may_know = ", which may know what the mask removes"
    assert data.maps_origin(knees) == f"from the files{may_know}"
    assert data.maps_origin(load(settings=TINY)) == "those that the slices were made with"
    assert data.maps_origin(load(settings=scan)) == "estimated from 6 centre lines, all measured"
    np.save(
        tmp_path / "maps.npy", data.SyntheticKnee(1, 32, 24, 2, None, 0.01, 0)[0].sensitivity_maps
    )
    given = load(settings={**scan, "data.sensitivity_path": str(tmp_path / "maps.npy")})
    assert data.maps_origin(given) == f"from maps.npy{may_know}"
    full = "estimated from 24 centre lines of the fully sampled scan, before the mask"
    assert data.maps_origin(load(settings={**scan, "data.maps_from": "fully-sampled"})) == full


@pytest.mark.slow
@pytest.mark.one_stack
def test_process_ends_while_slices_are_being_read():
    """Threads of TensorFlow that wait for Python, and Python for them, would wait for ever."""
    # All in one process: batches, a data set, and one that TensorFlow reads ahead of.
    code = """
from tfvn import config, data
slices = dict(height=96, width=72, num_coils=8, num_train=20)
batches = data.load(config.load(settings={"data": slices}))
ends = [batches, batches.dataset(), batches.dataset().prefetch(2)]
iterators = [iter(end) for end in ends]
for iterator in iterators:
    next(iterator)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_next_batch_is_read_while_one_is_in_use():
    source = Counting([(1, 4, 4)] * 100)
    iterator = iter(endless(source))
    next(iterator)
    wait_until(lambda: len(source.read) == 4)


def test_threads_of_forgotten_iterations_end():
    before = threading.active_count()
    for count in range(5):
        iterator = iter(endless(Counting([(1, 4, 4)] * 100)))
        for _ in range(count):
            next(iterator)
    del iterator
    wait_until(lambda: threading.active_count() <= before)


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    assert condition()


def test_a_data_set_is_made_of_the_same_batches():
    batches = data.load(load(settings=TINY))
    found = list(itertools.islice(batches.dataset(), 5))
    tf.nest.map_structure(np.testing.assert_array_equal, found, list(itertools.islice(batches, 5)))
    assert batches.dataset().cardinality() == tf.data.INFINITE_CARDINALITY
    assert data.load(load(settings=TINY), "test").dataset().cardinality() == 3


def test_batches_begin_anew_with_each_iteration():
    batches = data.load(load(settings=TINY))
    assert indices(batches, 4) == indices(batches, 4)


class Failing(Counting):
    """A source whose slice 3 cannot be read."""

    def __getitem__(self, index):
        if index == 3:
            raise KeyError("slice 3")
        return super().__getitem__(index)


def test_an_error_arrives_in_its_place_and_as_it_was_raised():
    batches = data.Batches(data.PreparedSlices(Failing([(1, 4, 4)] * 9)), range(9), 1)
    iterator = iter(batches)
    read = [next(iterator) for _ in range(3)]
    with pytest.raises(KeyError, match="slice 3"):
        next(iterator)
    assert [int(inputs["sample_index"][0]) for inputs, _ in read] == [0, 1, 2]
    with pytest.raises(KeyError, match="slice 3"), data.clear_errors(batches):
        list(batches.dataset())
    # It would keep the arrays of its frames.
    assert batches.error is None


def test_errors_of_others_stay_what_they_are():
    with pytest.raises(tf.errors.NotFoundError), data.clear_errors(data.load(load(settings=TINY))):
        raise tf.errors.NotFoundError(None, None, "another")


def test_every_format_can_be_chosen():
    for name, maker in data.FORMATS.items():
        config = load(settings={"data.format": name})
        assert type(config.dataset) is maker and config.data.name == name
    for name, maker in data.MASKS.items():
        config = load(settings={"sampling.mask": name})
        assert type(config.dataset.mask) is maker and config.sampling.name == name


class OnesFormat(data.Format):
    """A format of ones, as an example of another one.

    Args:
        count: slices of each split.
    """

    def __init__(self, count=3, mask=None):
        super().__init__(mask=mask)
        self._count = checks.whole("count", count, 1)

    def source(self, split):
        return Ones(self._count, self.read_mask())


class Ones(data.Source):
    """Its slices."""

    mask_height = 1
    maps_origin = "invented"

    def __init__(self, count, mask):
        self._count = count
        self._mask = mask

    def __len__(self):
        return self._count

    def name(self, index):
        return f"ones{index}"

    def shape(self, index):
        return (1, 16, 16)

    def fingerprint(self, index):
        return {"source": "ones", "index": index}, []

    def __getitem__(self, index):
        mask = mask_array(self._mask, 16, 16)
        rng = np.random.default_rng(index)
        image = (rng.standard_normal((16, 16)) + 1j).astype(np.complex64)
        maps = np.ones((1, 16, 16), np.complex64)
        return data.Sample(fft2c(image)[None] * mask, maps, mask, image)


def test_a_format_of_its_own_is_a_class_and_a_line(monkeypatch, tmp_path):
    monkeypatch.setitem(data.FORMATS, "ones", OnesFormat)
    own = {"format": "ones", "count": 3, "cache_dir": str(tmp_path)}
    values = load(settings={"data": own, "training.batch_size": 2, "sampling.fraction": 0.5})
    inputs, reference = next(iter(data.load(values)))
    assert inputs["kspace"].shape == (2, 1, 16, 16) and reference.shape == (2, 16, 16)
    assert data.maps_origin(values) == "invented"
    assert data.source(values, "test").name(2) == "ones2"
    with pytest.raises(ValueError, match="ones0 and ones0 hold the same k-space"):
        data.check(values)
    assert data.check(values, ["test"]) == 3
