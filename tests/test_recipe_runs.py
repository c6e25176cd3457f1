"""Every recipe goes through train, attack and evaluate, and the table compares what they cost."""

import csv
import math
import re

import pytest
from test_recipes import Curved

import attack
import evaluate
import train
from tfvn import load_model, models
from tfvn.config import load
from tfvn.leaderboard import summary
from tfvn.results.candidates import Candidate
from tfvn.runs import trained_on

EXPERIMENT = """
data: {format: synthetic, height: 24, width: 16, num_coils: 2, num_train: 2, num_test: 1}
sampling: {mask: equispaced, acceleration: 2}
model: {name: curved}
training:
  iterations: 1
  batch_size: 2
  checkpoint_every: 1
  log_images_every: 0
  optimizer: {name: adam}
attacks: [{name: ascent, sizes: [0.5], steps: 1}, {name: features, sizes: [0.5], steps: 2}]
"""
# Gradients of a slice in a step, and keys that make a recipe small.
RECIPES = {
    "jitter": (1, ["training.averaging=0.5"]),
    "adversarial": (4, ["training.recipe.steps=2"]),
    "one-step": (3, []),
    "effect-penalty": (4, ["training.recipe.steps=2"]),
    "features": (1, ["training.recipe.positions=2"]),
    "generator": (2, ["training.recipe.channels=1", "training.recipe.pools=1"]),
}


@pytest.mark.slow
def test_every_recipe_is_trained_attacked_and_told_with_its_gradients(tmp_path, monkeypatch):
    monkeypatch.setitem(models.MODELS, "curved", Curved)
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    base = tmp_path / "base"

    def made(run, *keys):
        settings = ["--set", *keys] if keys else []
        assert train.main(["--config", str(path), "--run-dir", str(run), *settings]) == 0

    made(base)
    runs = {"base": base}
    expected = {"base": 2}
    for name, (cost, keys) in RECIPES.items():
        runs[name] = tmp_path / name
        start = f"training.initial_weights={base}"
        made(runs[name], f"training.recipe={name}", start, *keys)
        # One step of two slices, and one before it.
        expected[name] = 2 + 2 * cost
        weights = [load_model(run / "model.keras").get_weights()[0] for run in (base, runs[name])]
        assert (weights[0] != weights[1]).all()
    assert {name: trained_on.gradients(run) for name, run in runs.items()} == expected

    for run in runs.values():
        assert attack.main(["--run-dir", str(run)]) == 0
    results = tmp_path / "results"
    assert evaluate.main([*map(str, runs.values()), "--output", str(results)]) == 0
    with open(results / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"]: int(row["gradients"]) for row in rows} == expected
    for row in rows:
        if row["attack"] != "features":
            assert row["missed"] == ""
            continue
        lost = float(row["effect"]) / float(row["norm"])
        assert float(row["missed"]) == (lost > 0.5)
        assert float(row["radius"]) == 0.5
    table = (results / "table1.md").read_text(encoding="utf-8")
    assert "| gradients | sigma |" in table and "% missed)" in table
    assert re.search(rf"\| +{expected['adversarial']} \|", table)


@pytest.mark.parametrize("start, found", [("", 5), ("unknown.keras", None)])
def test_gradients_are_those_of_the_initial_weights_too(start, found, tmp_path):
    settings = {"training": {"initial_weights": start}, "data": {"height": 24, "width": 16}}
    trained_on.write(tmp_path, load(settings=settings), 5)
    assert trained_on.gradients(tmp_path) == found


@pytest.mark.parametrize("defence", [("ensemble", "others"), ("purified", "denoiser")])
@pytest.mark.parametrize("beside, found", [(7, 12), (None, None)])
def test_gradients_are_those_of_all_networks_of_a_defence(defence, beside, found, tmp_path):
    for name, own in (("run", 5), ("beside", beside)):
        (tmp_path / name).mkdir()
        settings = {"data": {"height": 24, "width": 16}}
        trained_on.write(tmp_path / name, load(settings=settings), own)
    name, key = defence
    config = load(settings={"defence": {"name": name, key: str(tmp_path / "beside")}})
    run = str(tmp_path / "run")
    assert trained_on.gradients_of_all(run, config) == found
    entrant = Candidate("model", run, config, [])
    assert entrant.gradients == found or (found is None and math.isnan(entrant.gradients))
    told = summary._trained_on(entrant, run)
    assert told.get("gradients") == found and told["height"] == 24
    assert trained_on.gradients(run) == 5


_MEMORY = """
import sys
import numpy as np
import tensorflow as tf
from tfvn.models.unet import UNet
from tfvn.training.attacked import Adversarial
from tfvn.training.first_order import AdamSteps
from tfvn.training.trainer import Trainer

rng = np.random.default_rng(0)
model = Trainer(UNet(channels=16, pools=2), AdamSteps(), Adversarial(steps=1))
for batch in map(int, sys.argv[1:]):
    numbers = rng.standard_normal((2, batch, 1, 160, 160, 2), np.float32)
    maps, kspace = numbers.view(np.complex64)[..., 0] / 2
    mask = np.ones((batch, 1, 1, 160), np.float32)
    inputs = {"kspace": kspace, "sensitivity_maps": maps, "mask": mask}
    data = tf.data.Dataset.from_tensors((inputs, kspace[:, 0])).repeat()
    model.fit(data, steps_per_epoch=1, epochs=1, verbose=0)
    report_peak()
"""


@pytest.mark.slow
@pytest.mark.one_stack
def test_memory_of_a_training_does_not_grow_with_the_batch(peak_memory):
    # The first batch is of two, so that sizes are unknown to the graph from the second one on.
    _, few, many = peak_memory(_MEMORY, 2, 3, 8)
    assert many <= 1.1 * few, f"{few / 1e6:.0f} MB with 3 slices, {many / 1e6:.0f} MB with 8"
