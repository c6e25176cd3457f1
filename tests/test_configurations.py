"""The configurations that come with the package: each can be read, and its network made and
trained.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import attack
import evaluate
import train
from tfvn import load_model, tables
from tfvn.config import load
from tfvn.paper.models import COMPARED
from tfvn.runs.train import build_network

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "knee", "defences")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))]


# Seconds each to make, and no other networks than the small ones of configs/models.
LARGE = ("e2e_varnet", "e2e_varnet_maps")
PAGE = (ROOT / "docs/howto/models.md").read_text(encoding="utf-8")
PARAMETERS = dict(
    re.findall(r"^\| `(\w+)` \| ([\d,]+) \| [\d.-]+ \| [\d.-]+ \| [\d-] ", PAGE, re.M)
)


def test_shares_of_an_average_count_within_the_training_and_its_trials():
    config = load(ROOT / "configs/defences/average.yaml", ["training.initial_weights="])
    iterations = min(config.training.iterations, config.search.iterations)
    for share in (config.training.averaging, *config.search.averaging):
        assert (10 * share - 1) / (1 - share) < iterations


@pytest.mark.slow_cases
@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_a_configuration_is_read_and_its_network_is_made(path):
    folder, name = path.parent.name, path.stem
    # Those of a defence may begin with a network that was trained before.
    config = load(path, ["training.initial_weights="])
    assert config.attacks
    if folder == "models" or name not in LARGE:
        network = build_network(config)
    if folder == "models" and name in PARAMETERS:
        assert f"{network.count_params():,}" == PARAMETERS[name]
    # The commands in its comments are about files that are there.
    named = re.findall(r"\bconfigs/[\w/.-]+\w", path.read_text(encoding="utf-8"))
    assert f"configs/{folder}/{path.name}" in named
    for other in named:
        assert (ROOT / other).exists(), other


def test_the_page_on_models_tells_of_all_of_its_table_how_large_they_are():
    assert set(PARAMETERS) >= set(COMPARED)


@pytest.mark.parametrize("name", ["total_variation", "wavelet", "cg_sense"])
def test_what_is_not_trained_is_the_same_for_the_knees_until_it_is_searched(name):
    ours, theirs = (load(ROOT / f"configs/{folder}/{name}.yaml") for folder in ("models", "knee"))
    found = dict(ours.model.settings)
    if name == "cg_sense":
        # Its mu is that of other data, as it says.
        found["mu"] = theirs.model.settings["mu"]
    assert found == dict(theirs.model.settings)


# Settings that make the graph of a training step small: each step of a network is in it.
FEWER = {
    "modl": "model.num_iterations=1",
    "cascade": "model.num_cascades=1",
    "rim": "model.num_steps=2",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FEWER)
def test_a_training_step_of_a_configuration_changes_all_weights(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / f"configs/models/{name}.yaml")
    settings = "data.height=32 data.width=24 data.num_coils=2 data.num_train=2 data.num_test=1"
    settings += " training.iterations=1 training.checkpoint_every=1 training.batch_size=2"
    settings = [*settings.split(), "training.log_images_every=0", FEWER[name]]
    assert train.main(["--config", path, "--run-dir", "run", "--set", *settings]) == 0
    before = build_network(load(path, settings)).get_weights()
    after = load_model("run/model.keras").get_weights()
    unchanged = [x.shape for x, y in zip(before, after) if np.array_equal(x, y)]
    assert before and not unchanged
    assert all(np.isfinite(weight).all() for weight in after)


# RMSE, RMSE under the attack of radius 1, and its effect: those of docs/howto/attack.md, and with
# maps that know the whole scan.
OF_THE_BRAIN = {"measured": (2.18, 2.41, 1.25), "fully-sampled": (2.01, 2.37, 1.34)}


@pytest.mark.slow
@pytest.mark.parametrize("maps_from", OF_THE_BRAIN)
def test_a_network_of_others_on_a_real_scan_has_the_numbers_of_the_page(
    maps_from, shared_data, tmp_path, monkeypatch
):
    for name in ("brain_16ch_raw.mat", "vn_coronal_pd_fs.npz"):
        shared_data(name)
    # The paths of the configuration begin beside the project.
    monkeypatch.chdir(ROOT)
    run_dir, results = str(tmp_path / "brain"), tmp_path / "results"
    settings = [f"data.maps_from={maps_from}", "attacks.ascent.sizes=1"]
    words = ["--config", "configs/brain.yaml", "--run-dir", run_dir, "--set", *settings]
    assert attack.main(words) == 0
    assert evaluate.main([run_dir, "--output", str(results)]) == 0
    _, (clean, attacked) = tables.read_csv(results / "table1.csv")
    found = [clean["rmse"], attacked["rmse"], attacked["effect"]]
    assert [float(f"{float(x):.3g}") for x in found] == list(OF_THE_BRAIN[maps_from])
