"""Volumes of five sizes, through training, attack, evaluation and report."""

import csv
import os

import pytest
from volumes import knees, write_volume

from tfvn.results import volume_protocol
from tfvn.results.evaluate import evaluate
from tfvn.runs import directory
from tfvn.runs.attack import attack_run
from tfvn.runs.train import train_run

# Of each volume its slices, coils, height and width.
TRAIN = [(2, 3, 48, 32), (1, 2, 40, 32), (1, 3, 32, 40)]
TEST = [(1, 3, 48, 36), (1, 2, 36, 28)]
SETTINGS = [
    "data.format=fastmri",
    "data.target=rss",
    "sampling.mask=fastmri",
    "sampling.kind=equispaced-fraction",
    "sampling.accelerations=2.5",
    "sampling.center_fractions=0.2",
    "model.num_stages=1",
    "model.filters=2",
    "model.kernel_size=3",
    "model.num_centers=5",
    "training.iterations=3",
    "training.batch_size=1",
    "attacks.ascent.sizes=0.5",
    "attacks.ascent.steps=1",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of the volumes."""
    root = tmp_path_factory.mktemp("volumes")
    for folder, sizes in (("multicoil_train", TRAIN), ("multicoil_val", TEST)):
        for number, size in enumerate(sizes):
            write_volume(root / folder / f"{number}.h5", knees(*size, seed=number), (1, 2))
    return root


@pytest.mark.slow
def test_volumes_of_different_sizes_are_trained_on_attacked_and_evaluated(root, tmp_path):
    run, results = tmp_path / "run", tmp_path / "results"
    config = directory.open_run(run, os.devnull, [*SETTINGS, f"data.path={root}"])
    train_run(run, config)
    attack_run(run, config)
    evaluate([str(run)], results)
    with open(results / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"0/slice0", "1/slice0"}
    for row in rows:
        # In units of the slice: values of 1e-5 are as good as others.
        assert 0 < float(row["rmse"]) < 100
        assert 0 < float(row["ssim"]) < 1
    attacked = [row for row in rows if row["radius"] == "0.5"]
    assert len(attacked) == 2 and all(float(row["effect"]) > 0 for row in attacked)
    volumes = volume_protocol.measured(results / "reconstructions.h5")
    assert {volume[:3] for volume in volumes} == {
        ("run", name, answer) for name in "01" for answer in ("clean", "radius_0.5")
    }
    assert all(0 < scores.nmse < 0.1 for *_, scores in volumes)
    with open(results / "volumes.csv", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [float(row["nmse"]) for row in written] == [
        pytest.approx(scores.nmse, rel=1e-5) for *_, scores in volumes
    ]
    assert "Errors of volumes, as fastMRI" in (results / "table1.md").read_text(encoding="utf-8")
    report = (results / "report.html").read_text(encoding="utf-8")
    for word in ("equispaced-fraction", "target: rss", "centre lines"):
        assert word in report, word
