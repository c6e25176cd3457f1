"""Prepared slices: the same bits with and without a folder, nothing out of date or damaged served,
nothing half written.
"""

import errno
import functools
import io
import os
import resource
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from tfvn import data, files
from tfvn.config import load
from tfvn.data import (
    Measurement,
    PreparedSlices,
    SyntheticKnee,
    VLOKnee,
    mat_files,
    normalise,
    prepared,
)
from tfvn.data.mat_files import write_mat
from tfvn.data.vlo_folder import write_folder
from tfvn.physics import masks

HEIGHT, WIDTH, COILS = 32, 24, 2
LINES = masks.equispaced(WIDTH, 2, 1 / 3)
POINTS = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
POINTS[HEIGHT // 2 - 4 :][:8, WIDTH // 2 - 4 :][:, :8] = True


def knees(count=2, seed=0, mask=None, **options):
    return SyntheticKnee(count, HEIGHT, WIDTH, COILS, mask, 0.01, seed, **options)


@pytest.fixture
def raw(tmp_path):
    """A folder of every kind of raw file: v5 and v73 (knee folders), scan.npy, scan.h5, maps.npy,
    points.npy (undersampled).
    """
    for name, version in (("v5", 5), ("v73", "7.3")):
        write_folder(tmp_path / name, "pd", [1], [11, 12], knees(), version, padding=(2, 1))
    kspace = np.stack([slice_.kspace for slice_ in (knees()[0], knees()[1])])
    np.save(tmp_path / "scan.npy", kspace)
    np.save(tmp_path / "points.npy", kspace[0] * POINTS)
    np.save(tmp_path / "maps.npy", knees()[0].sensitivity_maps)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = kspace
    return tmp_path


def folder(raw, name="v5", mask=LINES, **options):
    return VLOKnee(raw / name, "pd", [1], [11, 12], mask, **options)


def scan(raw, name="scan.npy", mask=LINES, calibration_lines=8, **options):
    return Measurement(raw / name, mask=mask, calibration_lines=calibration_lines, **options)


SOURCES = {
    "v5": folder,
    "v7.3": functools.partial(folder, name="v73"),
    "v5, mask of points": functools.partial(folder, mask=POINTS),
    "v5, measured": functools.partial(folder, mask=None),
    "v5, padding unmeasured": functools.partial(folder, padding_lines="unmeasured"),
    "v7.3, oversampled": functools.partial(folder, name="v73", readout_oversampling=True),
    "npy": scan,
    "h5": functools.partial(scan, name="scan.h5"),
    "h5, function": functools.partial(
        scan,
        name="scan.h5",
        mask=functools.partial(masks.equispaced, acceleration=2, center_fraction=1 / 3),
    ),
    "npy, no reference": functools.partial(scan, name="points.npy", mask=None),
    "npy, oversampled": functools.partial(scan, mask=POINTS, readout_oversampling=True),
    "synthetic": lambda raw: knees(mask=LINES),
    "synthetic, all samples": lambda raw: knees(),
    "synthetic, oversampled": lambda raw: knees(mask=POINTS, readout_oversampling=True),
}


class Counted:
    """A source that counts its readings."""

    def __init__(self, source):
        self.source, self.readings, self.readout_oversampling = (
            source,
            0,
            source.readout_oversampling,
        )

    def __getattr__(self, name):
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.readings += 1
        return self.source[index]


def bits(slice_):
    sample, scale = slice_
    return [(array.dtype, array.shape, array.tobytes()) for array in (*sample, np.asarray(scale))]


def unprepared(source, index=0):
    return normalise(source[index], source.name(index), source.readout_oversampling)


@pytest.mark.slow_cases
@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_stored_is_bit_for_bit_what_normalise_gives(raw, kind):
    source = Counted(SOURCES[kind](raw))
    for index in range(len(source)):
        expected = bits(unprepared(source, index))
        assert bits(PreparedSlices(source)[index]) == expected
        assert bits(PreparedSlices(source, str(raw / "cache"))[index]) == expected
        readings = source.readings
        assert bits(PreparedSlices(source, str(raw / "cache"))[index]) == expected
        assert source.readings == readings
    assert len(os.listdir(raw / "cache")) == len(source)


@pytest.mark.slow_cases
@pytest.mark.parametrize("dataset", ["vlo", "measurement"])
@pytest.mark.parametrize("mask", ["constant", "file", "measured"])
def test_pipeline_gives_the_same_batches_and_needs_raw_files_once(raw, monkeypatch, dataset, mask):
    write_mat(raw / "v73/pd/masks/points.mat", {"mask": POINTS.astype(float)})
    np.save(raw / "mask.npy", POINTS)
    sections = {
        "vlo": {
            "path": str(raw / "v73"),
            "protocol": "pd",
            "train_patients": "1",
            "train_slices": "11-12",
            "test_patients": "1",
            "test_slices": "12",
        },
        "measurement": {
            "path": str(raw / "scan.h5"),
            "sensitivity_path": str(raw / "maps.npy"),
        },
    }
    mask_path = "points" if dataset == "vlo" else str(raw / "mask.npy")
    choices = {"constant": {"fraction": 0.5}, "file": {"path": mask_path}, "measured": {}}
    config = {
        "data": {"format": dataset, **sections[dataset]},
        "sampling": {"mask": mask, **choices[mask]},
        "training.batch_size": 1,
    }

    def batches(cache_dir=""):
        with_cache = load(settings={**config, "data.cache_dir": cache_dir})
        train = [element for _, element in zip(range(4), data.load(with_cache))]
        elements = [*train, *data.load(with_cache, "test")]
        return [
            [array.numpy().tobytes() for array in (*inputs.values(), reference)]
            for inputs, reference in elements
        ]

    expected = batches()
    assert batches(cache_dir=str(raw / "cache")) == expected

    def raw_is_read(*arguments):
        raise AssertionError(arguments)

    for name in ("vlo.read_mat", "vlo.mat_shape", "measurement.open_kspace"):
        monkeypatch.setattr(f"tfvn.data.{name}", raw_is_read)
    assert batches(cache_dir=str(raw / "cache")) == expected


def _rewrite(path, change):
    """Writes other data of the same size under the same name, a moment later."""
    before = os.stat(path)
    if path.suffix == ".mat":
        write_mat(path, {name: change(array) for name, array in mat_files.read_mat(path).items()})
    else:
        np.save(path, change(np.load(path)))
    assert os.stat(path).st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "make, name",
    [
        (folder, "v5/pd/1/rawdata11.mat"),
        (folder, "v5/pd/1/espirit11.mat"),
        (scan, "scan.npy"),
        (lambda raw: scan(raw, "points.npy", None, sensitivity_path=raw / "maps.npy"), "maps.npy"),
    ],
)
def test_changed_raw_file_is_read_anew_and_takes_the_place_of_the_old(raw, make, name):
    old = bits(PreparedSlices(make(raw), str(raw / "cache"))[0])
    _rewrite(raw / name, lambda array: -array if array.size > 1 else array)
    new = bits(PreparedSlices(make(raw), str(raw / "cache"))[0])
    assert new == bits(unprepared(make(raw))) != old
    assert len(os.listdir(raw / "cache")) == 1


def test_state_of_a_file_is_another_when_path_size_or_time_is(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    states = [files.state(path)]
    os.utime(path, ns=(0, states[0][2] + 1))
    states.append(files.state(path))
    path.write_bytes(b"12")
    os.utime(path, ns=(0, states[1][2]))
    states.append(files.state(path))
    shutil.copy2(path, tmp_path / "b")
    states += [files.state(tmp_path / "b"), files.state(tmp_path / "none")]
    assert len({str(state) for state in states}) == 5
    monkeypatch.chdir(tmp_path)
    assert files.state("b") == states[3]


def test_file_that_changes_while_it_is_read_is_read_again(raw):
    class Slow(VLOKnee):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            _rewrite(
                raw / "v5/pd/1/rawdata11.mat", lambda array: -array if array.size > 1 else array
            )
            return sample

    PreparedSlices(Slow(raw / "v5", "pd", [1], [11], LINES), str(raw / "cache"))[0]
    assert bits(PreparedSlices(folder(raw), str(raw / "cache"))[0]) == bits(unprepared(folder(raw)))


def test_scan_that_changes_after_it_was_read_is_not_stored_as_the_new_one(raw):
    source = scan(raw)
    old = bits(unprepared(source))
    _rewrite(raw / "scan.npy", lambda array: -array)
    assert bits(PreparedSlices(source, str(raw / "cache"))[0]) == old
    assert (
        bits(PreparedSlices(scan(raw), str(raw / "cache"))[0]) == bits(unprepared(scan(raw))) != old
    )


def synthetic(raw, height=HEIGHT, width=WIDTH, coils=COILS, mask=None, noise=0.01, seed=0, **more):
    return SyntheticKnee(1, height, width, coils, mask, noise, seed, **more)


VARIANTS = {
    "vlo": (
        folder,
        [
            dict(name="v73"),
            dict(mask=POINTS),
            dict(mask=None),
            dict(mask=1 - LINES),
            dict(mask=np.ones(WIDTH)),
            dict(mask=functools.partial(masks.constant, fraction=0.4)),
            dict(mask=functools.partial(masks.constant, fraction=0.3)),
            dict(mask=functools.partial(masks.random, acceleration=2, center_fraction=0.2, seed=0)),
            dict(mask=functools.partial(masks.random, acceleration=2, center_fraction=0.2, seed=1)),
            dict(padding_lines="unmeasured"),
            dict(readout_oversampling=True),
        ],
    ),
    "measurement": (
        scan,
        [
            dict(name="scan.h5"),
            dict(mask=None),
            dict(mask=POINTS),
            dict(coil_axis=0),
            dict(slice_index=1),
            dict(transpose=True, mask=None),
            dict(calibration_lines=6),
            dict(maps_from="fully-sampled"),
            dict(readout_oversampling=True),
        ],
    ),
    "synthetic": (
        synthetic,
        [
            dict(height=30),
            dict(width=26),
            dict(coils=3),
            dict(mask=LINES),
            dict(mask=POINTS),
            dict(noise=0.011),
            dict(seed=1),
            dict(blur=0.5),
            dict(detail=0.5),
            dict(readout_oversampling=True),
        ],
    ),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_no_setting_is_served_the_slices_of_another(raw, kind):
    make, variants = VARIANTS[kind]
    sources = [make(raw), *(make(raw, **variant) for variant in variants)]
    for _ in range(2):
        for source in sources:
            assert bits(PreparedSlices(source, str(raw / "cache"))[0]) == bits(unprepared(source))
    assert len(os.listdir(raw / "cache")) == len(sources)


def test_maps_of_a_file_are_not_those_of_the_centre(raw):
    estimated, given = (
        scan(raw, "points.npy", None, sensitivity_path=path) for path in ("", str(raw / "maps.npy"))
    )
    for source in (estimated, given):
        assert bits(PreparedSlices(source, str(raw / "cache"))[0]) == bits(unprepared(source))


def test_slices_of_train_and_test_sets_are_shared(raw):
    source = folder(raw)
    PreparedSlices(source, str(raw / "cache"))[1]
    other = Counted(VLOKnee(raw / "v5", "pd", [1], [12], LINES))
    assert bits(PreparedSlices(other, str(raw / "cache"))[0]) == bits(unprepared(source, 1))
    assert other.readings == 0


def test_new_format_replaces_what_was_stored(raw, monkeypatch):
    source = Counted(knees())
    PreparedSlices(source, str(raw / "cache"))[0]
    monkeypatch.setattr(prepared, "FORMAT", prepared.FORMAT + 1)
    for _ in range(2):
        PreparedSlices(source, str(raw / "cache"))[0]
    assert source.readings == 2 and len(os.listdir(raw / "cache")) == 1


@pytest.fixture
def stored(tmp_path):
    """A source of slices with mask lines, its prepared slices, and the path of the first one's
    file.
    """
    source = Counted(SyntheticKnee(1, 16, 16, 2, masks.constant(16, 0.5), 0.01, 0))
    slices = PreparedSlices(source, str(tmp_path / "cache"))
    slices[0]
    return source, slices, tmp_path / "cache" / os.listdir(tmp_path / "cache")[0]


def _check_that_it_is_noticed(stored, content, capsys):
    source, slices, path = stored
    expected, readings = bits(unprepared(source.source)), source.readings
    path.write_bytes(content)
    assert bits(slices[0]) == expected
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 1
        and lines[0].startswith(f"{path} is damaged (")
        and source.readings == readings + 1
    )
    assert bits(slices[0]) == expected and source.readings == readings + 1
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_every_changed_byte_is_noticed(stored, capsys):
    content = stored[2].read_bytes()
    for position in range(0, len(content), 83):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        _check_that_it_is_noticed(stored, bytes(changed), capsys)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_file_that_is_cut_short_is_noticed(stored, share, capsys):
    content = stored[2].read_bytes()
    _check_that_it_is_noticed(stored, content[: int(share * len(content))], capsys)


def test_another_file_in_its_place_is_noticed(stored, tmp_path, capsys):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.ones(3)
    for content in (b"<html>404</html>" * 100, (tmp_path / "other.h5").read_bytes()):
        _check_that_it_is_noticed(stored, content, capsys)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_is_no_damage_and_stays(stored, monkeypatch, number, capsys):
    source, slices, path = stored
    content, readings = path.read_bytes(), source.readings

    class Failing(io.BytesIO):
        def readinto(self, buffer):
            raise OSError(number, os.strerror(number))

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    for opened in (fail, lambda *arguments: Failing(content)):
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", opened)
            for read in (lambda: slices[0], lambda: slices.shape(0)):
                with pytest.raises(
                    ValueError, match=f"files can be read. Received: {path}: {os.strerror(number)}"
                ) as error:
                    read()
                assert "damaged" not in str(error.value)
    assert (
        path.read_bytes() == content
        and source.readings == readings
        and capsys.readouterr().out == ""
    )
    slices[0]
    assert source.readings == readings


def test_a_folder_in_the_place_of_a_slice_is_told_and_stays(stored):
    _, slices, path = stored
    path.unlink()
    (path / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"Received: {path}: Is a directory"):
        slices[0]
    assert (path / "mine").is_dir()


def test_what_killed_processes_left_is_removed(tmp_path):
    left = tmp_path / f"0123.partial-{files._NODE}-{2**30}-1.h5"
    left.write_bytes(b"half")
    (tmp_path / "mine.h5").write_bytes(b"whole")
    PreparedSlices(knees(), str(tmp_path))
    assert os.listdir(tmp_path) == ["mine.h5"]


def test_damage_is_noticed_before_a_shape_is_taken_from_it(stored, capsys):
    _, slices, path = stored
    path.write_bytes(path.read_bytes()[:100])
    assert slices.shape(0) == (2, 16, 16) and slices.mask_height == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_full_disk_is_one_clear_error_and_leaves_no_file(tmp_path):
    slices = PreparedSlices(knees(), str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(
            ValueError,
            match=f"^data.cache_dir must .* Received: data.cache_dir='{tmp_path}': File too large",
        ):
            slices[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_interrupted_writing_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    slices = PreparedSlices(knees(), str(tmp_path))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupt)
        slices[0]
    assert os.listdir(tmp_path) == []
    assert bits(slices[0]) == bits(unprepared(knees()))


def test_threads_may_prepare_the_same_slice_at_once(tmp_path, capsys, monkeypatch):
    number = 4
    together, write, replace = threading.Barrier(number), prepared._write, os.replace

    def wait_and(function):
        def run(*arguments):
            result = function(*arguments) if function is write else None
            together.wait(timeout=30)
            return result if function is write else function(*arguments)

        return run

    # All write at the same time, and all rename at the same time.
    monkeypatch.setattr(prepared, "_write", wait_and(write))
    monkeypatch.setattr(os, "replace", wait_and(replace))
    slices = PreparedSlices(knees(), str(tmp_path))
    with ThreadPoolExecutor(number) as pool:
        results = list(pool.map(slices.__getitem__, [0] * number))
    assert all(bits(result) == bits(unprepared(knees())) for result in results)
    assert bits(slices[0]) == bits(results[0]) and capsys.readouterr().out == ""
    assert len(os.listdir(tmp_path)) == 1


def test_threads_may_read_while_others_replace(stored, capsys):
    source, slices, path = stored
    expected = bits(slices[0])

    def read(number):
        if number % 3 == 0:
            path.unlink(missing_ok=True)
        return bits(slices[0]) == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(60)))
    assert capsys.readouterr().out == "" and source.readings > 1


@pytest.mark.parametrize("below", ["", "folder"])
def test_folder_that_cannot_be_made_is_refused_before_anything_is_read(tmp_path, below):
    (tmp_path / "file").write_text("")
    config = load(
        settings={
            "data.height": 32,
            "data.width": 24,
            "data.num_coils": 2,
            "data.cache_dir": str(tmp_path / "file" / below),
        }
    )
    with pytest.raises(
        ValueError,
        match="^data.cache_dir must be a folder that can be written.*data.cache_dir='.*file",
    ):
        data.load(config)


def test_folder_that_takes_no_files_is_refused_before_anything_is_read():
    # There is one that refuses even root.
    with pytest.raises(
        ValueError,
        match="^data.cache_dir must be a folder that can be written.*data.cache_dir='/proc'",
    ):
        PreparedSlices(knees(), "/proc")


def test_mask_function_without_a_name_is_refused(raw):
    source = folder(raw, mask=lambda width: masks.equispaced(width, 2, 1 / 3))
    with pytest.raises(
        ValueError, match="with a cache_dir the mask must be .* Received: mask=<function"
    ):
        PreparedSlices(source, str(raw / "cache"))[0]
    assert bits(PreparedSlices(source)[0]) == bits(unprepared(folder(raw)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:300]),
        lambda path: write_mat(path, {"rawdata": np.full((HEIGHT, WIDTH, COILS), np.nan)}),
        lambda path: write_mat(path, {"rawdata": np.zeros((HEIGHT, WIDTH, COILS))}),
        lambda path: write_mat(path, {"rawdata": np.ones((HEIGHT, WIDTH - 1, COILS))}),
        lambda path: write_mat(path, {"data": np.ones(3)}),
    ],
)
def test_errors_of_raw_files_are_the_same_with_a_folder(raw, damage):
    source = folder(raw)
    PreparedSlices(source, str(raw / "cache"))[0]
    damage(raw / "v5/pd/1/rawdata11.mat")
    messages = []
    for cache_dir in ("", str(raw / "cache")):
        with pytest.raises(ValueError) as raised:
            PreparedSlices(source, cache_dir)[0]
        messages.append(str(raised.value))
    assert messages[0] == messages[1] and (
        "rawdata11.mat" in messages[0] or "patient1/slice11" in messages[0]
    )
