"""A run of each defence that is killed while it is attacked or evaluated ends in the same bytes."""

import shutil
from pathlib import Path

import pytest
import yaml
from processes import kill
from stored import attacks_of

import attack
import evaluate
from tfvn.defences import DEFENCES
from tfvn.models.cascade import Cascade
from tfvn.models.unet import UNet

SETTINGS = {
    "smoothed": {"sigma": 0.1, "num_samples": 2},
    "median": {"sigma": 0.1, "num_samples": 2},
    "denoised": {"sigma": 0.1, "num_samples": 2, "denoiser": "denoiser.keras"},
    "stagewise": {"sigma": 0.1, "num_samples": 2},
    "ensemble": {"others": "other.keras"},
    "dropout": {"rate": 0.2, "num_samples": 2},
    "projected": {"cg_steps": 2},
    "cyclic": {"steps": 2},
    "purified": {"denoiser": "denoiser.keras", "steps": 1, "cg_steps": 2},
}


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A function that writes the configuration of a defence: arguments of `attack.py`."""
    monkeypatch.chdir(tmp_path)
    size = {"num_cascades": 2, "num_layers": 2, "filters": 2}
    Cascade(**size).save("model.keras")
    Cascade(**size, seed=1).save("other.keras")
    denoiser = UNet(channels=2, pools=1)
    denoiser.make_weights()
    denoiser.save("denoiser.keras")
    settings = {
        "data": {"height": 16, "width": 16, "num_coils": 2, "num_train": 1, "num_test": 2},
        "sampling": {"mask": "equispaced", "acceleration": 2},
        "model": {"file": "model.keras"},
        "attacks": [{"name": "ascent", "sizes": [0.5], "steps": 2}],
    }

    def written(name):
        settings["defence"] = {"name": name, **SETTINGS[name]}
        Path("defence.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return ["--config", "defence.yaml", "--run-dir"]

    return written


def test_each_defence_is_killed():
    assert {name for name in DEFENCES if name != "none"} == set(SETTINGS)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", SETTINGS)
def test_a_defence_that_is_killed_ends_in_the_same_bytes(name, arguments):
    given = arguments(name)
    assert attack.main([*given, "whole"]) == 0
    # As it begins the second slice.
    kill("attack", [*given, "run"], "ascent.ProjectedGradientAscent", "run", 2)
    assert len(attacks_of("run")) == 1
    assert attack.main([*given, "run"]) == 0
    assert attacks_of("run") == attacks_of("whole") and len(attacks_of("run")) == 2
    assert evaluate.main(["run", "--output", "results"]) == 0
    rows = Path("results/results.csv").read_bytes()
    shutil.rmtree("results")
    kill("evaluate", ["run", "--output", "results"], "measure", "measure_slice", 2)
    assert not Path("results/results.csv").exists()
    assert evaluate.main(["run", "--output", "results"]) == 0
    assert Path("results/results.csv").read_bytes() == rows
