"""The pass over all data before a training: every problem at once, each with the name of its
file.
"""

import os
import re
import warnings

import numpy as np
import pytest

import attack
import train
from tfvn import config, data
from tfvn.data import DataWarning, SyntheticKnee, check
from tfvn.data.mat_files import read_mat, write_mat
from tfvn.data.vlo_folder import slice_paths, write_folder
from tfvn.runs import directory, trained_on
from tfvn.runs.train import train_run

HEIGHT, WIDTH, COILS = 16, 16, 2
VERSIONS = [5, "7.3"]


def write(root, version=5):
    """Patients 1 to 3 with the slices 11 and 12."""
    slices = SyntheticKnee(6, HEIGHT, WIDTH, COILS, None, 0.01, 0)
    write_folder(root, "pd", [1, 2, 3], [11, 12], slices, version, mask=np.ones(WIDTH))


def overrides(root, **changes):
    """The words of --set for that folder; `changes` are keys of its section."""
    values = dict(
        format="vlo",
        path=root,
        protocol="pd",
        train_patients="1-2",
        train_slices="11-12",
        test_patients="3",
        test_slices="11-12",
    )
    values.update(changes)
    words = [f"data.{key}={value}" for key, value in values.items()]
    return [*words, "sampling.mask=file", "sampling.path=mask"]


def settings(root, model="", **changes):
    return config.load(None, [f"model.file={model}", *overrides(root, **changes)])


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path, version=5, **arrays):
    write_mat(path, {**read_mat(path), **arrays}, version)


def damage(root, version):
    """One file missing, one cut short, one of another shape, one with NaN: their paths, in the
    order of the slices.
    """
    (missing, _), (_, short), (shape, _), (values, _) = (
        slice_paths(root, "pd", *key) for key in [(1, 11), (1, 12), (2, 12), (3, 11)]
    )
    missing.unlink()
    truncate(short)
    change(shape, version, rawdata=read_mat(shape)["rawdata"][..., :1])
    rawdata = read_mat(values)["rawdata"].copy()
    rawdata[3, 4, 1] = np.nan
    change(values, version, rawdata=rawdata)
    return missing, short, shape, values


def lines_of(text):
    """The lines below the head of the one error."""
    return [line[2:] for line in text.splitlines() if line.startswith("  ")]


def assert_all_damage_is_named(text, paths):
    lines = lines_of(text)
    for line, path, reason in zip(
        lines, paths, ("no such file", "cannot be read", "same shape", "1 NaN")
    ):
        assert str(path) in line and reason in line, line
    assert "4 of 6 slices cannot be used:" in text and len(lines) == 4


def error_of(*arguments):
    with pytest.raises(ValueError) as caught:
        check(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_good_data_pass_and_each_slice_is_read_once(tmp_path, version, monkeypatch):
    write(tmp_path, version)
    names = []

    def reading(path, *rest):
        names.append(path)
        return read_mat(path, *rest)

    monkeypatch.setattr("tfvn.data.vlo.read_mat", reading)
    assert check(settings(tmp_path)) == 6
    assert len(names) == len(set(names)) == 12
    assert check(settings(tmp_path), ["test"]) == 2
    names.clear()
    # Slices in both splits, which a given model was not trained on here.
    assert check(settings(tmp_path, test_patients="2-3", model="model.keras")) == 6
    assert len(names) == len(set(names)) == 12


@pytest.mark.parametrize("version", VERSIONS)
def test_all_damage_is_named_in_one_error(tmp_path, version):
    write(tmp_path, version)
    paths = damage(tmp_path, version)
    assert_all_damage_is_named(error_of(settings(tmp_path)), paths)
    assert error_of(settings(tmp_path), ["test"]).startswith("1 of 2 slices")


def test_both_files_of_a_slice_are_named(tmp_path):
    write(tmp_path)
    raw, maps = slice_paths(tmp_path, "pd", 1, 11)
    raw.unlink()
    truncate(maps)
    text = error_of(settings(tmp_path))
    missing, short = lines_of(text)
    assert text.startswith("1 of 6 slices") and str(raw) in missing and str(maps) in short


@pytest.mark.parametrize(
    "which, arrays, reason",
    [
        (1, {"sensitivities": np.zeros((HEIGHT, WIDTH, COILS), complex)}, "finite maximum > 0"),
        (0, {"rawdata": np.zeros((HEIGHT, WIDTH, COILS), complex)}, "zero everywhere"),
        (1, {"reference": np.full((HEIGHT, WIDTH), np.nan)}, "reference holds NaN"),
        (1, {"reference": np.ones((HEIGHT, 3))}, "reference must have the size"),
        (0, {"rawdata": np.full((HEIGHT, WIDTH - 2, COILS), 1 + 1j)}, "the mask must have shape"),
        (0, {"padlength_left": np.nan}, "padlength_left=nan"),
        (0, {"padlength_right": np.inf}, "padlength_right=inf"),
    ],
)
def test_unusable_values_are_named_with_their_file(tmp_path, which, arrays, reason):
    write(tmp_path)
    path = slice_paths(tmp_path, "pd", 2, 11)[which]
    change(path, **arrays)
    (line,) = lines_of(error_of(settings(tmp_path)))
    assert str(path) in line and reason in line


def test_what_concerns_all_slices_is_said_once(tmp_path):
    write(tmp_path)
    mask = tmp_path / "pd/masks/mask.mat"
    mask.unlink()
    text = error_of(settings(tmp_path))
    assert text.startswith("6 of 6 slices cannot be used:\n  no such file:") and str(mask) in text
    assert len(lines_of(text)) == 1


def test_a_long_list_is_cut_and_the_rest_counted(tmp_path):
    nowhere = config.load(
        None,
        [
            "data.format=vlo",
            f"data.path={tmp_path}",
            "data.train_patients=1-10",
            "data.train_slices=1-5",
        ],
    )
    lines = lines_of(error_of(nowhere, ["train"]))
    assert len(lines) == 51 and lines[-1] == "... and 50 more"


@pytest.mark.parametrize("dataset", ["vlo", "measurement"])
def test_a_data_set_without_its_path_is_refused_at_once(dataset):
    with pytest.raises(ValueError, match=f"^data.format {dataset} needs data.path"):
        check(config.load(settings={"data.format": dataset}))


@pytest.mark.parametrize("splits", ["test", [], ["training"]])
def test_unknown_splits_are_refused(splits):
    with pytest.raises(ValueError, match=re.escape(f"Received: splits={splits!r}")):
        check(config.load(), splits)


def test_synthetic_slices_of_both_splits_count():
    assert (
        check(
            config.load(
                None,
                [
                    "data.height=16",
                    "data.width=16",
                    "data.num_coils=2",
                    "data.num_train=3",
                    "data.num_test=2",
                ],
            )
        )
        == 5
    )


def test_a_scan_without_a_reference_can_be_attacked_but_not_trained_on(tmp_path):
    path = tmp_path / "scan.npy"
    kspace = SyntheticKnee(1, HEIGHT, WIDTH, COILS, None, 0.01, 0)[0].kspace
    kspace[..., [0, 1, 2, 3, 12, 13, 14, 15]] = 0
    np.save(path, kspace)
    values = [
        "data.format=measurement",
        f"data.path={path}",
        "sampling.mask=measured",
        "data.calibration_lines=8",
    ]
    undersampled = config.load(None, values)
    assert check(undersampled, ["test"]) == 1
    text = error_of(undersampled)
    assert text.startswith("1 of 1 slices") and "training needs" in text and str(path) in text
    assert check(config.load(None, [*values, "model.file=model.keras"])) == 1


def test_the_pass_fills_the_cache(tmp_path):
    write(tmp_path)
    cache = tmp_path / "cache"
    assert check(settings(tmp_path, cache_dir=cache)) == 6
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(before) == 6
    assert check(settings(tmp_path, cache_dir=cache)) == 6
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_the_flag_lists_all_damage_and_starts_no_run(tmp_path, monkeypatch, capsys):
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write(root)
    file = tmp_path / "knee.yaml"
    file.write_text(config.load().to_yaml())
    arguments = ["--config", str(file), "--check-data", "--set", *overrides(root)]
    assert train.main(arguments) == 0
    assert "read 6 slices (train, test): all can be used" in capsys.readouterr().out
    assert attack.main(arguments) == 0
    assert "read 2 slices (test): all can be used" in capsys.readouterr().out
    paths = damage(root, 5)
    assert train.main(arguments) == 2
    assert_all_damage_is_named(capsys.readouterr().err, paths)
    assert not os.listdir(elsewhere)


def test_the_flag_takes_the_configuration_of_a_run(tmp_path, capsys):
    write(tmp_path)
    run_dir = tmp_path / "run"
    assert train.main(["--run-dir", str(run_dir), "--check-data"]) == 2
    assert "holds no run" in capsys.readouterr().err and not run_dir.exists()
    file = tmp_path / "knee.yaml"
    file.write_text(config.load().to_yaml())
    directory.open_run(str(run_dir), str(file), overrides(tmp_path))
    assert attack.main(["--run-dir", str(run_dir), "--check-data"]) == 0
    assert os.listdir(run_dir) == ["config.yaml"]


def doubts_of(*arguments, work=check):
    """The texts of the warnings of a check that ends well."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work(*arguments)
    assert all(issubclass(warning.category, DataWarning) for warning in caught)
    return [str(warning.message) for warning in caught]


def test_slices_in_both_splits_are_refused_and_other_problems_are_told_too(tmp_path):
    write(tmp_path)
    paths = damage(tmp_path, 5)
    text = error_of(settings(tmp_path, test_patients="2-3"))
    lines = lines_of(text)
    assert text.startswith("5 of 6 slices") and len(lines) == 5
    (both,) = [line for line in lines if "must not be trained on. Received: 2 in both" in line]
    assert str(slice_paths(tmp_path, "pd", 2, 11)[0]) in both and "data.test_patients='2-3'" in both
    assert all(any(str(path) in line for line in lines) for path in paths)


def test_the_same_numbers_are_no_matter_for_one_split_or_a_given_model(tmp_path):
    write(tmp_path)
    assert check(settings(tmp_path, test_patients="2-3"), ["train"]) == 4
    assert check(settings(tmp_path, test_patients="2-3"), ["test"]) == 4
    assert check(settings(tmp_path, test_patients="2-3", model="model.keras")) == 6


@pytest.mark.parametrize("factor", [1, 1000, 0.3 - 2j])
def test_the_same_slice_under_two_names_is_refused_in_training_and_test(tmp_path, factor):
    write(tmp_path)
    source, copy = (slice_paths(tmp_path, "pd", *key) for key in ((1, 12), (3, 11)))
    for original, path in zip(source, copy):
        arrays = read_mat(original)
        for name in {"rawdata", "reference"} & set(arrays):
            arrays[name] = arrays[name] * factor
        write_mat(path, arrays, "7.3")
    text = error_of(settings(tmp_path))
    (line,) = lines_of(text)
    assert text.startswith("1 of 6 slices")
    assert "patient3/slice11 and patient1/slice12 hold the same k-space" in line
    assert "must not be trained on" in line
    assert check(settings(tmp_path), ["test"]) == 2
    # Twice in training is odd, but no error.
    (text,) = doubts_of(settings(tmp_path, train_patients="1,3", test_patients="2"))
    assert "1 of 6 slices" in text and "hold the same k-space: is one a copy?" in text


def test_patients_of_both_splits_with_other_slices_are_told(tmp_path):
    write(tmp_path)
    values = settings(tmp_path, train_slices="11", test_patients="1,3", test_slices="12")
    (text,) = doubts_of(values)
    assert text.startswith("1 of 2 patients to test on are trained on too, in other slices (1)")


def test_a_scan_that_trains_and_validates_is_told(tmp_path):
    path = tmp_path / "scan.npy"
    slices = SyntheticKnee(4, HEIGHT, WIDTH, COILS, None, 0.01, 0)
    np.save(path, np.stack([slices[index].kspace for index in range(4)]))
    values = [
        "data.format=measurement",
        f"data.path={path}",
        "data.slice_index=2",
        "sampling.fraction=1",
    ]
    (text,) = doubts_of(config.load(None, values))
    assert text.startswith(f"slice 2 of 4 of {path} both trains and validates")
    for splits in (["train"], ["test"]):
        assert doubts_of(config.load(None, values), splits) == []
    assert doubts_of(config.load(None, [*values, "model.file=model.keras"])) == []


def test_doubts_are_one_warning_with_their_number_and_a_few_lines(tmp_path, capsys):
    slices = SyntheticKnee(14, HEIGHT, WIDTH, COILS, None, 0.01, 0)
    write_folder(tmp_path, "pd", [1, 2], range(1, 8), slices, mask=np.ones(WIDTH))
    for patient in (1, 2):
        for number in range(1, 7):
            path = slice_paths(tmp_path, "pd", patient, number)[1]
            change(path, reference=3 * read_mat(path)["reference"])
    chosen = dict(train_patients="1", train_slices="1-7", test_patients="2", test_slices="1-7")
    values = settings(tmp_path, **chosen)
    # Told at every check, though each slice is looked at once in a process.
    for _ in range(2):
        (text,) = doubts_of(values)
        assert text.startswith("12 of 14 slices can be used, but are probably not what they are")
        assert len(lines_of(text)) == 11 and text.endswith("... and 2 more")
        assert "3 times as large" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.source(values)[0]
    file = tmp_path / "knee.yaml"
    file.write_text(values.to_yaml())
    with warnings.catch_warnings():
        warnings.simplefilter("default", DataWarning)
        assert train.main(["--config", str(file), "--check-data"]) == 0
    output = capsys.readouterr()
    assert "read 14 slices (train, test): all can be used, 12 with doubts" in output.out
    assert "warning: 12 of 14 slices" in output.err


def test_a_cache_tells_the_doubts_of_its_slices_again(tmp_path):
    write(tmp_path)
    path = slice_paths(tmp_path, "pd", 2, 12)[1]
    change(path, reference=3 * read_mat(path)["reference"])
    values = settings(tmp_path, cache_dir=tmp_path / "cache")
    first, second = doubts_of(values), doubts_of(values)
    assert first == second and "1 of 6 slices" in first[0] and "3 times as large" in first[0]
    # Not at every epoch.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            data.PreparedSlices(data.source(values), values.data.cache_dir)[3]


def test_other_warnings_of_reading_are_passed_on(tmp_path, monkeypatch):
    write(tmp_path)

    def reading(path, *rest):
        warnings.warn("odd", RuntimeWarning, stacklevel=2)
        return read_mat(path, *rest)

    monkeypatch.setattr("tfvn.data.vlo.read_mat", reading)
    with pytest.warns(RuntimeWarning, match="odd"):
        assert check(settings(tmp_path)) == 6


def test_slices_that_a_given_model_was_trained_on_are_told(tmp_path):
    write(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(settings(tmp_path).to_yaml())
    model = run / "model.keras"

    def told(root=tmp_path, **changes):
        return doubts_of(settings(root, **changes), work=trained_on.warn_of_trained_slices)

    (text,) = told(test_patients="2-3", model=model)
    assert text.startswith(f"2 of 4 slices to test on trained the model {model}, the first pd 2 11")
    assert told(model=model) == []
    assert told(test_patients="2-3") == []
    assert told(test_patients="2-3", model="other/model.keras") == []
    # Other data have patients of these numbers too.
    write(tmp_path / "more")
    assert told(tmp_path / "more", test_patients="2-3", model=model) == []
    (run / "config.yaml").write_text("[")
    assert told(test_patients="2-3", model=model) == []


def test_both_checks_of_data_tell_such_slices(tmp_path, capsys):
    write(tmp_path / "data")
    given = tmp_path / "given"
    given.mkdir()
    (given / "config.yaml").write_text(settings(tmp_path / "data").to_yaml())
    values = settings(tmp_path / "data", test_patients="2-3", model=given / "model.keras")
    words = "2 of 4 slices to test on trained the model"
    file = tmp_path / "knee.yaml"
    file.write_text(values.to_yaml())
    with warnings.catch_warnings():
        warnings.simplefilter("default", DataWarning)
        assert attack.main(["--config", str(file), "--check-data"]) == 0
    assert f"warning: {words}" in capsys.readouterr().err
    # Before the network is looked for.
    with pytest.warns(DataWarning, match=words), pytest.raises(ValueError, match="model.keras"):
        train_run(str(tmp_path / "run"), values)
