"""Runs of models that are in no file: from the run directory to the table and the report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import evaluate
from tfvn import config, defences, models, results, runs

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data.num_test=1", "attacks.ascent.sizes=0.5", "attacks.ascent.steps=1"]


def square(inputs):
    return np.abs(inputs["zero_filled"]) ** 2


def vjp(inputs, cotangent):
    return 2 * inputs["zero_filled"] * cotangent


def of_keras():
    layer = keras.layers.Dense(2, kernel_initializer="identity", use_bias=False)
    layer.build([None, None, None, 2])

    def forward(layer, inputs):
        image = inputs["zero_filled"]
        features = layer(tf.stack([tf.math.real(image), tf.math.imag(image)], -1))
        return tf.complex(features[..., 0], features[..., 1])

    return models.from_keras(layer, forward)


def settings(*overrides):
    return config.load(ROOT / "configs/smoke.yaml", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A Keras model and a smoothed function, attacked and evaluated: the folder of the runs."""
    folder = tmp_path_factory.mktemp("given")
    plain = runs.given.begin(folder / "network", of_keras(), settings())
    runs.attack.attack_run(folder / "network", plain)
    smoothed = settings("defence=smoothed", "defence.sigma=0.05", "defence.num_samples=2")
    smoothed = runs.given.begin(folder / "function", models.from_function(square, vjp), smoothed)
    runs.attack.attack_run(folder / "function", smoothed)
    results.evaluate.evaluate([folder / "network", folder / "function"], folder / "results")
    return folder


def test_models_of_others_stand_in_one_table(made):
    with open(made / "results/results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["network", "network", "function", "function"]
    assert [row["attack"] for row in rows] == ["none", "l2", "none", "l2"]
    for row in rows:
        attacked = row["attack"] == "l2"
        assert (float(row["effect"]) > 0) == attacked
    assert [float(row["sigma"]) for row in rows] == [0, 0, 0.05, 0.05]
    with open(made / "results/certificates.csv", encoding="utf-8") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"function"}


def test_run_directory_and_report_say_what_the_model_is(made):
    told = json.loads((made / "network/given.json").read_text(encoding="utf-8"))
    assert told["title"] == "Keras model Dense"
    written = config.load(made / "network/config.yaml")
    assert written.model.file.endswith("given.json")
    report = (made / "results/report.html").read_text(encoding="utf-8")
    assert "The Keras model Dense, which was given in Python by tfvn.runs.given.begin" in report
    assert "The function square, which was given in Python" in report


def test_the_commands_work_where_the_model_was_given(made, tmp_path, capsys):
    words = [str(made / "network"), str(made / "function"), "--output", str(tmp_path / "table")]
    assert evaluate.main([*words, "--show", "networks"]) == 2
    text = capsys.readouterr().err
    assert "show must name models of the table, each once: network, function. Received: " in text
    assert evaluate.main([*words, "--show", "function"]) == 0
    assert "| network " in capsys.readouterr().out


@pytest.mark.one_stack
def test_another_python_is_told_to_give_it_again(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(runs.given, "_models", {})
    assert evaluate.main([str(made / "network"), "--output", str(tmp_path / "table")]) == 2
    text = capsys.readouterr().err
    assert "is of the Keras model Dense, which is in no file. Give it to this Python" in text
    again = runs.given.begin(made / "network", of_keras(), settings())
    runs.attack.attack_run(made / "network", again)
    assert evaluate.main([str(made / "network"), "--output", str(tmp_path / "table")]) == 0


def test_another_model_or_configuration_needs_another_directory(made):
    other = of_keras()
    other.inner.set_weights([2 * np.eye(2)])
    with pytest.raises(ValueError, match="is of another model: the Keras model Dense, of hash"):
        runs.given.begin(made / "network", other, settings())
    with pytest.raises(ValueError, match="already holds another configuration: seed=7"):
        runs.given.begin(made / "network", of_keras(), settings("seed=7"))


def test_a_run_directory_may_be_named_from_elsewhere_and_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = runs.given.begin("run", of_keras(), settings())
    for name in (tmp_path / "run", "./run", Path("run")):
        assert runs.given.begin(name, of_keras(), settings()) == begun
    (tmp_path / "run").rename("other")
    assert runs.given.begin("other", of_keras(), settings()) == begun


def test_the_next_step_after_an_attack_is_one_of_this_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = runs.given.begin("run", of_keras(), settings())
    runs.attack.attack_run("run", config)
    words = "Next: tfvn.results.evaluate.evaluate(['run'], OUTPUT) in this Python"
    assert capsys.readouterr().out.rstrip().endswith(words)


def test_what_cannot_be_given_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model must be a tfvn.models.Reconstructor"):
        runs.given.begin(tmp_path / "run", square, settings())
    smoothed = defences.Smoothed(models.from_function(square, vjp), 0.1)
    with pytest.raises(ValueError, match="model must be without a defence"):
        runs.given.begin(tmp_path / "run", smoothed, settings())
    model = models.from_function(square, vjp, readout_oversampling=True)
    with pytest.raises(ValueError, match="model must have readout_oversampling=False, as the data"):
        runs.given.begin(tmp_path / "run", model, settings())
    assert not (tmp_path / "run").exists()


def test_a_model_without_weights_yet_is_told(tmp_path):
    network = keras.Sequential([keras.layers.Dense(1)])
    model = models.from_keras(network, lambda network, inputs: inputs["zero_filled"])
    with pytest.raises(ValueError, match="Keras model Sequential has no weights yet. Load them"):
        runs.given.begin(tmp_path / "run", model, settings())
