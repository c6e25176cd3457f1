"""Scans and networks that do not belong together: what is known of a training is written, compared
and told with numbers.
"""

import json
import shutil
import warnings

import numpy as np
import pytest

from tfvn import data
from tfvn.config import load
from tfvn.data import DataWarning, SyntheticKnee, normalise
from tfvn.physics import masks
from tfvn.runs import trained_on

SIZE = {"height": 32, "width": 24, "num_coils": 2, "num_train": 20}
SAMPLING = {"mask": "equispaced", "acceleration": 4, "center_fraction": 0.25}
RUN = load(settings={"data": SIZE, "sampling": SAMPLING})


EQUISPACED = masks.equispaced(24, 4, 0.25)


def knee(height=32, width=24, mask=EQUISPACED, bright=0):
    """A normalised slice; `bright` adds one bright spot."""
    sample = SyntheticKnee(1, height, width, 2, None, 0.001, 7)[0]
    spot = np.zeros((height, width), np.complex64)
    spot[height // 2, width // 2] = bright
    kspace = sample.kspace + data.sample.fft2c(sample.sensitivity_maps * spot)
    mask = data.sample.mask_array(mask, height, width)
    return normalise(sample._replace(kspace=kspace * mask, mask=mask), "")[0]


@pytest.fixture
def run(tmp_path):
    trained_on.write(tmp_path, RUN)
    (tmp_path / "config.yaml").write_text(RUN.to_yaml())
    return tmp_path


def told(path, sample):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained_on.warn(path, sample, "scan.h5, slice 3")
    assert all(issubclass(item.category, DataWarning) for item in caught)
    return [str(item.message) for item in caught]


def test_what_a_network_was_trained_on_is_written_once(run):
    text = (run / "trained_on.json").read_text()
    known = json.loads(text)
    assert {key: known[key] for key in ("height", "width", "points", "slices", "dataset")} == dict(
        height=32, width=24, points=False, slices=8, dataset="synthetic"
    )
    assert (
        known["sampled"] == pytest.approx(masks.equispaced(24, 4, 0.25).mean())
        and known["centre_lines"] == 6
    )
    images = [
        np.abs(data.sample.combine(data.sample.ifft2c(s.kspace), s.sensitivity_maps))
        for s in [knee()]
    ]
    assert known["rms"] == pytest.approx(np.sqrt(np.mean(images[0] ** 2)), rel=0.5)
    trained_on.write(run, load(settings={"data": {**SIZE, "width": 32}}))
    assert (run / "trained_on.json").read_text() == text


@pytest.mark.parametrize("place", ["", "model.keras", "renamed.keras"])
def test_a_scan_like_the_training_is_no_reason_for_words(run, place):
    assert told(str(run / place), knee()) == []


DIFFERENT = {
    "complete": (
        dict(mask=np.ones(24)),
        "trained with 46% of k-space sampled, and of the scan 100% is",
    ),
    "fewer lines": (
        dict(mask=masks.equispaced(24, 12, 0.17)),
        "trained with 46% of k-space sampled, and of the scan 21% is",
    ),
    "another centre": (
        dict(mask=masks.equispaced(24, 2, 0.1)),
        "with 6 centre lines, and the scan has 2",
    ),
    "points": (
        dict(mask=np.arange(32 * 24).reshape(32, 24) % 5 < 2),
        "trained on masks of lines, and the scan samples points",
    ),
    "size": (dict(height=64), "trained on k-space of height 32, and that of the scan is 64"),
    "scale": (
        dict(bright=60),
        r"root mean square of 0\.\d+ at a maximum of 1, that of the scan has 0\.0\d+",
    ),
}


@pytest.mark.parametrize("change, words", DIFFERENT.values(), ids=DIFFERENT)
@pytest.mark.parametrize("place", ["", "model.keras"])
def test_each_difference_is_told_once_with_its_numbers(run, place, change, words):
    import re

    (text,) = told(str(run / place), knee(**change))
    assert text.startswith("scan.h5, slice 3: ") and re.search(words, text), text


def test_of_an_older_run_the_configuration_tells(run):
    (run / "trained_on.json").unlink()
    (text,) = told(str(run), knee(mask=np.ones(24)))
    assert "with 46% of k-space sampled" in text
    assert told(str(run / "model.keras"), knee(height=64)) != []
    assert told(str(run / "other.keras"), knee(height=64)) == []


@pytest.mark.parametrize(
    "values, share",
    [
        (dict(mask="constant", fraction=0.15), 0.15),
        (dict(mask="random", acceleration=5), 0.2),
        (dict(mask="equispaced", acceleration=4, center_fraction=0), 0.25),
        (dict(mask="file", path="x"), None),
        (dict(mask="measured"), None),
    ],
)
def test_of_a_run_on_files_it_tells_the_sampling(tmp_path, values, share):
    folder = {"format": "vlo", "path": "/nowhere"}
    (tmp_path / "config.yaml").write_text(
        load(settings={"data": folder, "sampling": values}).to_yaml()
    )
    known = trained_on.known(tmp_path)
    assert known == ({} if share is None else {"sampled": pytest.approx(share, rel=0.01)})


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"sampled": "x", "height": null, "rms": 0}', "\x00"]
)
def test_where_nothing_is_known_nothing_is_said(tmp_path, text):
    assert told(str(tmp_path), knee(mask=np.ones(24))) == []
    (tmp_path / "trained_on.json").write_text(text)
    (tmp_path / "config.yaml").write_text("model: {file: some.keras}")
    assert told(str(tmp_path), knee(mask=np.ones(24))) == []
    (tmp_path / "config.yaml").write_text("anything")
    assert told(str(tmp_path), knee(mask=np.ones(24))) == []


@pytest.mark.slow
def test_a_training_is_saved_though_its_data_are_gone(tmp_path, monkeypatch):
    from tfvn.runs.train import train_run

    config = load(
        settings={
            "data": {**SIZE, "num_train": 2, "num_test": 1},
            "sampling.mask": "equispaced",
            "model.num_stages": 1,
            "model.filters": 2,
            "model.kernel_size": 3,
            "model.num_centers": 5,
            "training.optimizer": "adam",
            "training.batch_size": 1,
            "training.iterations": 2,
            "training.checkpoint_every": 1,
            "training.log_images_every": 0,
        }
    )
    begun, of_slices = [], trained_on._of_slices

    def watched(config):
        begun.append((tmp_path / "checkpoints").exists())
        return of_slices(config)

    monkeypatch.setattr(trained_on, "_of_slices", watched)
    train_run(tmp_path, config)
    assert begun == [False] and trained_on.known(tmp_path)["slices"] == 2
    # As if the disk had been full at the end of a training that an older version began.
    (tmp_path / "model.keras").unlink()
    (tmp_path / "trained_on.json").unlink()

    def gone(config):
        raise ValueError("no data here")

    monkeypatch.setattr(trained_on, "_of_slices", gone)
    train_run(tmp_path, config)
    assert (tmp_path / "model.keras").exists()


@pytest.mark.one_stack
@pytest.mark.slow
def test_a_run_on_a_given_network_tells_at_each_step(tmp_path, monkeypatch, capsys):
    from tfvn.models.variational import VariationalNetwork
    from tfvn.results import evaluate
    from tfvn.runs.attack import attack_run
    from tfvn.runs.train import train_run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "trained").mkdir()
    VariationalNetwork(1, 3, 3, 5).save("trained/model.keras")
    trained_on.write("trained", RUN)
    np.save("scan.npy", SyntheticKnee(1, 32, 24, 2, None, 0.001, 7)[0].kspace)
    config = load(
        settings={
            "data.format": "measurement",
            "data.path": "scan.npy",
            "sampling.mask": "measured",
            "model.file": "trained/model.keras",
            "attacks.ascent.steps": 1,
            "attacks.ascent.sizes": [1.0],
        }
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config.to_yaml())
    shutil.copytree("run", "attacked")
    with pytest.warns(DataWarning):
        attack_run("attacked", config)
    assert trained_on.known("attacked") == trained_on.known("trained")
    for work in (
        train_run,
        attack_run,
        lambda run, config: evaluate.evaluate([run], output="results"),
    ):
        with pytest.warns(
            DataWarning, match="scan: the network was trained with 46% .* of the scan 100% is"
        ):
            work("run", config)
    assert (
        "the network is trained/model.keras\nNext: python attack.py --run-dir run"
        in capsys.readouterr().out
    )
    # It stands for the same network.
    assert trained_on.known("run") == trained_on.known("trained")
