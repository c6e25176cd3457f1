"""Perturbations of one run, given to the models of others; and the parts of their effects."""

import csv
import os

import numpy as np
import pytest
import tensorflow as tf
from test_evaluation import SETTINGS, SMOOTHED, make_run

import evaluate as program
from tfvn import data, load_model
from tfvn.config import load
from tfvn.physics import measurement
from tfvn.results.evaluate import evaluate
from tfvn.results.split import effect_in_parts
from tfvn.results.transfer import transfer
from tfvn.runs import attack_files, directory
from tfvn.runs.attack import attack_run
from tfvn.runs.train import train_run


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    """A run with two attacks in l2 balls, and one with noise and one attack."""
    folder = tmp_path_factory.mktemp("runs")
    several = ["attacks=power,ascent", "attacks.power.steps=1", "attacks.power.sizes=1.0"]
    plain = make_run(folder / "plain", "data.num_test=2", *several)
    return [plain, make_run(folder / "smoothed", "data.num_test=2", *SMOOTHED)]


@pytest.fixture(scope="module")
def rows(run_dirs, tmp_path_factory):
    output = tmp_path_factory.mktemp("transfer")
    paths = transfer(run_dirs, output)
    assert all((output / name).stat().st_size for name in ("transfer.md", "transfer.png"))
    assert len(paths) == 3
    with open(output / "transfer.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return {(row["source"], row["target"], float(row["radius"])): row for row in found}


@pytest.mark.slow
def test_every_source_is_given_to_every_target_at_the_radii_of_both(rows):
    names = ("plain", "smoothed")
    expected = {(one, other, radius) for one in names for other in names for radius in (0.5, 1.0)}
    assert set(rows) == expected


@pytest.mark.slow
def test_an_entry_is_what_the_strongest_r_of_the_source_does(run_dirs, rows):
    config = load(f"{run_dirs[0]}/config.yaml")
    model = load_model(f"{run_dirs[0]}/model.keras")
    effects, errors = [], []
    for index, (inputs, reference) in enumerate(data.load(config, "test")):
        path = attack_files.attack_path(run_dirs[1], 1.0, index, "l2")
        r = attack_files.read_attack(path)["perturbation"][None]
        changed = measurement.perturbed(model.sense, model.measured(inputs), tf.constant(r))
        image = model.reconstruct(changed)
        effects.append(np.linalg.norm(image - model.reconstruct(inputs)))
        errors.append(np.linalg.norm(image - np.abs(reference)))
    found = rows["smoothed", "plain", 1.0]
    assert float(found["effect"]) == pytest.approx(np.mean(effects), rel=1e-4)
    assert float(found["rmse"]) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)


@pytest.mark.slow
def test_on_its_own_model_it_is_the_worst_of_its_attacks(run_dirs, rows, tmp_path):
    evaluate(run_dirs, tmp_path)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        measured = [row for row in csv.DictReader(file) if float(row["radius"]) == 1]
    for name in ("plain", "smoothed"):
        worst = {}
        for row in measured:
            if row["model"] == name:
                worst.setdefault(row["slice"], []).append(float(row["effect"]))
        mean = np.mean([max(effects) for effects in worst.values()])
        assert float(rows[name, name, 1.0]["effect"]) == pytest.approx(mean, rel=1e-5)


@pytest.mark.slow
def test_the_command_says_what_is_missing(run_dirs, tmp_path, capsys):
    output = ["--transfer", "--output", str(tmp_path / "out")]
    assert program.main([run_dirs[0], *output]) == 2
    assert "transfer needs two runs at least" in capsys.readouterr().err
    clean = make_run(tmp_path / "clean", "data.num_test=2", attack=False)
    assert program.main([run_dirs[0], clean, *output]) == 2
    assert "clean: []" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_parts_of_an_effect_are_those_that_the_data_see_and_do_not(run_dirs, tmp_path, capsys):
    assert program.main([*run_dirs, "--parts", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "parts.md").read_text() in capsys.readouterr().out
    with open(tmp_path / "parts.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    evaluate(run_dirs, tmp_path)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        attacked = [row for row in csv.DictReader(file) if row["attack"] != "none"]
    places = ("model", "slice", "attack", "radius")
    assert [[row[key] for key in places] for row in found] == [
        [row[key] for key in places] for row in attacked
    ]
    for row, measured in zip(found, attacked):
        image, numbers = row.pop("image"), {key: float(row[key]) for key in list(row)[5:]}
        assert image == {"plain": "complex", "smoothed": "magnitude"}[row["model"]]
        effect = float(measured["effect"])
        if image == "magnitude":
            assert numbers["change"] == pytest.approx(effect, rel=1e-4)
        # A change of the phase is no effect.
        assert numbers["change"] > 0.999 * effect
        # Directions that are hardly measured belong to neither part by themselves.
        for whole, part in (("change", ""), ("norm", "r_")):
            whole = {**numbers, "norm": float(measured["norm"])}[whole]
            sum_ = np.hypot(numbers[f"{part}range"], numbers[f"{part}null"])
            assert 0.95 * whole < sum_ < 1.001 * whole
        assert 0 < numbers["null"] < numbers["change"]


@pytest.mark.slow
def test_what_a_linear_model_is_changed_in_lies_in_the_range(tmp_path):
    run = tmp_path / "zero-filled"
    of_others = ("model.", "training.")
    settings = [text for text in SETTINGS if not text.startswith(of_others)]
    settings += ["data.num_test=1", "model=zero-filled"]
    config = directory.open_run(run, os.devnull, settings)
    train_run(run, config)
    attack_run(run, config)
    effect_in_parts([run], tmp_path / "out")
    with open(tmp_path / "out" / "parts.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert float(row["null"]) < 0.02 * float(row["change"])


def test_parts_need_an_attack_in_a_ball(tmp_path):
    clean = make_run(tmp_path / "clean", "data.num_test=2", attack=False)
    with pytest.raises(ValueError, match="parts of an effect need a run with an attack"):
        effect_in_parts([clean], tmp_path / "out")
    assert not (tmp_path / "out").exists()
