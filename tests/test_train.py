"""What a configuration makes of a training: its model, its keys, and what is told early."""

import os

import pytest

from tfvn import data
from tfvn.config import load
from tfvn.models import VariationalNetwork, ZeroFilled, load_model
from tfvn.results import evaluate
from tfvn.runs import trained_on
from tfvn.runs.attack import attack_run
from tfvn.runs.train import build_network, build_trainer, train_run
from tfvn.training.settings import Search, Training

SMALL = {
    "data": {"height": 24, "width": 20, "num_coils": 2, "num_train": 2, "num_test": 1},
    "sampling": {"mask": "equispaced", "acceleration": 2},
    "training": {"batch_size": 1, "iterations": 2, "log_images_every": 0},
    "attacks": [{"name": "ascent", "sizes": [1.0], "steps": 1}],
}
NETWORK = {"num_stages": 1, "filters": 2, "kernel_size": 3, "num_centers": 5}


def configured(**sections):
    return load(settings={**SMALL, "model": NETWORK, **sections})


@pytest.fixture
def no_data(monkeypatch):
    def read(*_, **__):
        pytest.fail("data are read")

    for name in ("check", "load", "source"):
        monkeypatch.setattr(data, name, read)


# Models


def test_a_network_has_all_configured_settings():
    settings = {
        **NETWORK,
        "grid_limit": 1.5,
        "bandwidth": 0.4,
        "scale": 0.7,
        "initial_scale": 0.1,
        "initial_data_weight": 0.5,
    }
    network = build_network(
        load(settings={**SMALL, "model": settings, "seed": 3, "data.readout_oversampling": True})
    )
    assert type(network) is VariationalNetwork
    expected = {**settings, "seed": 3, "readout_oversampling": True}
    assert {key: network.get_config()[key] for key in expected} == expected


def test_without_a_bandwidth_it_is_the_grid_step():
    network = build_network(configured())
    assert network.get_config()["bandwidth"] == 0.5


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_model_without_weights_is_kept_as_it_is(tmp_path, capsys):
    config = load(settings={**SMALL, "model": "zero-filled"})
    run = tmp_path / "run"
    train_run(str(run), config)
    told = capsys.readouterr().out
    assert f"wrote {run}/model.keras" in told
    assert "nothing to train: zero-filled has no weights\nNext: python attack.py" in told
    assert type(load_model(run / "model.keras")) is ZeroFilled
    assert sorted(os.listdir(run)) == ["model.keras", "trained_on.json"]
    (run / "config.yaml").write_text(config.to_yaml())
    # Nothing was trained, so no scan differs from those of a training.
    assert trained_on.known(run) == {}
    attack_run(str(run), config)
    evaluate.evaluate([str(run)], str(run / "results"))
    assert (run / "results" / "results.csv").exists()


# Initial weights


def test_a_training_starts_from_given_weights(tmp_path):
    path = str(tmp_path / "given.keras")
    given = VariationalNetwork(**NETWORK, seed=5, initial_scale=0.2)
    given.save(path)
    network = build_network(configured(training={"initial_weights": path}))
    for ours, theirs in zip(network.get_weights(), given.get_weights()):
        assert (ours == theirs).all()


def test_weights_of_other_settings_are_refused_with_all_of_them(tmp_path):
    path = str(tmp_path / "given.keras")
    VariationalNetwork(**{**NETWORK, "filters": 3}, scale=0.4).save(path)
    message = (
        f"training.initial_weights={path} belong to another network: filters=3 "
        r"\(configured: 2\), scale=0.4 \(configured: 1.0\). Configure the same."
    )
    with pytest.raises(ValueError, match=message):
        build_network(configured(training={"initial_weights": path}))


# What is told before data are read


@pytest.mark.parametrize("optimizer", ["radam-lookahead", "conditional-gradient"])
def test_what_is_missing_is_told_before_data_are_read(tmp_path, monkeypatch, no_data, optimizer):
    monkeypatch.setitem(os.sys.modules, "tensorflow_addons", None)
    config = configured(training={"optimizer": optimizer})
    with pytest.raises(ValueError, match=f"the optimizer {optimizer} needs tensorflow-addons"):
        train_run(str(tmp_path / "run"), config)


@pytest.mark.parametrize(
    "key, settings, words",
    [
        ("optimizer", {"momentum": 1}, r"optimizer\.momentum must be a number >= 0 and < 1"),
        ("optimizer", {"name": "adam", "schedule": "x"}, r"optimizer\.schedule must be one of"),
        ("recipe", {"name": "noise", "sigma": 1, "law": "x"}, r"recipe\.law must be one of"),
        ("recipe", {"name": "noise", "sigma": -1}, r"recipe\.sigma must be a number >= 0"),
    ],
)
def test_a_wrong_optimizer_or_recipe_is_told_as_the_configuration_is_read(key, settings, words):
    with pytest.raises(ValueError, match=rf"training\.{words}"):
        configured(training={key: settings})


def test_a_schedule_is_given_the_configured_iterations():
    optimizer = {"name": "adam", "learning_rate": 0.01, "schedule": "cosine"}
    trainer = build_trainer(configured(training={"optimizer": optimizer, "iterations": 7}))
    rate = trainer.optimizer.get_config()["learning_rate"]["config"]
    assert (rate["initial_learning_rate"], rate["decay_steps"]) == (0.01, 7)


# Limits of the sections


@pytest.mark.parametrize(
    "settings",
    [
        dict(iterations=-1),
        dict(iterations=1.5),
        dict(batch_size=0),
        dict(batch_size=10**4 + 1),
        dict(checkpoint_every=0),
        dict(log_images_every=-1),
        dict(profile="some"),
        dict(profile="15-11"),
        dict(time_budget=-1),
        dict(progress="none"),
    ],
)
def test_a_training_outside_its_limits_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} must be .*Received: {name}="):
        Training(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        dict(sigma=[-0.1, 0.1]),
        dict(sigma=[]),
        dict(num_stages=[0, 2]),
        dict(filters=[1.5]),
        dict(momentum=[0, 1]),
        dict(learning_rate=[0, 0.1]),
        dict(method="grid"),
        dict(trials=0),
        dict(iterations=0),
        dict(first_iterations=0),
        dict(validation=0),
        dict(validation=10**6 + 1),
        dict(radius=-1),
        dict(steps=0),
        dict(steps=10**6 + 1),
        dict(num_samples=0),
    ],
)
def test_a_search_outside_its_limits_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} must .*Received: {name}="):
        Search(**settings)


def test_one_value_to_search_is_a_list_of_one():
    assert Search(filters=8).filters == [8] and Training(profile="").profile == ""
