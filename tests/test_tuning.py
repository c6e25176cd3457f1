"""The search of hyper-parameters: its trials on a tiny problem, its order with trials that only
pretend to train.
"""

import csv
import itertools
import socket
from pathlib import Path

import numpy as np
import processes
import pytest
import tensorflow as tf

import train
from tfvn import config as configs
from tfvn import data, metrics
from tfvn.attacks import ProjectedGradientAscent
from tfvn.runs.train import build_trainer
from tfvn.tools import search_space, trials

ROOT = Path(__file__).resolve().parents[1]
SMOKE = str(ROOT / "configs" / "smoke.yaml")
SETTINGS = (
    "model.num_stages=1",
    "model.filters=2",
    "data.num_train=5",
    "search.validation=2",
    "search.steps=2",
    "search.num_samples=2",
    "search.iterations=9",
    "search.first_iterations=3",
    "search.trials=5",
)
NOISE = (
    "training.recipe=noise",
    "training.recipe.sigma=0.05",
    "defence=smoothed",
    "defence.sigma=0.05",
)
TINY = configs.load(SMOKE, [*SETTINGS, *NOISE])


def search(run_dir, *settings):
    words = ["--config", SMOKE, "--run-dir", str(run_dir), "--tune"]
    return train.main([*words, "--set", *SETTINGS, *NOISE, *settings])


def sigma_of(config):
    """The noise of a configuration, which is that of the training and of the smoothing."""
    if not config.defence.is_named:
        assert config.training.recipe.name == "clean"
        return 0.0
    assert config.training.recipe.sigma == config.defence.sigma > 0
    return config.defence.sigma


def table(run_dir):
    """The rows of the search's table, by trial, without what differs from run to run."""
    with open(run_dir / "tuning" / "tuning.csv", newline="", encoding="utf-8") as file:
        rows = [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]
    return sorted(rows, key=lambda row: row["trial"])


@pytest.fixture
def pretended(monkeypatch):
    """Trials that train nothing: the list of the (iterations, sigma) that were asked for, and a
    list of faults to raise.
    """
    asked, faults = [], []

    def trained(config, iterations, folder):
        asked.append((iterations, sigma_of(config)))
        if faults and faults[0][0] == len(asked):
            raise faults.pop(0)[1]
        return iterations

    def judge(iterations, config):
        return {
            "clean_rmse": 1.0,
            "clean_ssim": 0.5,
            "attacked_rmse": abs(sigma_of(config) - 0.05) + 1 / iterations,
        }

    monkeypatch.setattr(trials, "train", trained)
    monkeypatch.setattr(trials, "judge", judge)
    # It takes seconds among the objects of all tests.
    monkeypatch.setattr(trials.gc, "collect", lambda: 0)
    return asked, faults


# A trial


@pytest.mark.slow
def test_a_trial_that_goes_on_ends_like_one_without_interruption(tmp_path):
    config = TINY.changed({"training.optimizer": "adam"})
    for iterations in (2, 5):
        split = trials.train(config, iterations, str(tmp_path / "split"))
    trainer = build_trainer(config)
    trainer.fit(
        data.load(config, "train", held_out=2).dataset(),
        steps_per_epoch=5,
        shuffle=False,
        verbose=0,
    )
    assert all((a == b).all() for a, b in zip(split.get_weights(), trainer.network.get_weights()))


@pytest.mark.slow
def test_a_trial_that_diverges_is_stored_as_failed(tmp_path, capsys):
    run_dir, settings = (
        tmp_path / "run",
        (
            "training.optimizer=adam",
            "search.parameters=learning_rate",
            "search.learning_rate=1e-3,1e30,1e38",
        ),
    )
    assert (
        search(
            run_dir, *settings, "search.method=bayesian", "search.trials=3", "search.iterations=3"
        )
        == 0
    )
    failed = {float(row["learning_rate"]): row["failed"] for row in table(run_dir)}
    assert len(failed) == 3 and failed[1e-3] == "" and "diverged before iteration" in failed[1e38]
    assert configs.load(run_dir / "tuning" / "best.yaml").training.optimizer.learning_rate == 1e-3
    assert "Traceback" not in capsys.readouterr().err


def test_held_out_slices_are_the_last_and_never_trained_on():
    seen = {
        int(i)
        for inputs, _ in itertools.islice(data.load(TINY, "train", held_out=2), 6)
        for i in inputs["sample_index"]
    }
    held_out = [
        int(inputs["sample_index"][0]) for inputs, _ in data.load(TINY, "validation", held_out=2)
    ]
    assert (seen, held_out) == ({0, 1, 2}, [3, 4])


@pytest.mark.parametrize("held_out", [5, 6, -1])
def test_slices_to_train_on_must_be_left(held_out):
    with pytest.raises(ValueError, match=f"Received: held_out={held_out}"):
        data.load(TINY, "train", held_out=held_out)


@pytest.mark.slow
def test_a_trial_is_judged_by_the_papers_rmse_under_attack_which_must_be_finite():
    config = configs.load(SMOKE, [*SETTINGS, "search.radius=1"])
    network = build_trainer(config).network
    found = trials.judge(network, config)
    batches = list(data.load(config, "validation", held_out=2))
    inputs, reference = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *batches)
    attack = ProjectedGradientAscent(steps=2, seed=config.seed)
    attacked = attack.run(network, inputs, 1.0, index=inputs["sample_index"]).reconstruction
    clean_rmse = float(metrics.rmse(network.reconstruct(inputs), reference))
    attacked_rmse = float(metrics.rmse(attacked, reference))
    assert found["clean_rmse"] == pytest.approx(clean_rmse, rel=1e-4)
    assert found["attacked_rmse"] == pytest.approx(attacked_rmse, rel=1e-3)
    assert found["attacked_rmse"] > found["clean_rmse"]
    network.stages[0].data_weight.assign(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        trials.judge(network, config)


# The search


def test_hyperband_lets_the_best_trials_go_on(pretended, tmp_path):
    asked, _ = pretended
    assert search(tmp_path / "run", "search.parameters=sigma") == 0
    # 3 short trials, the best of which goes on, then 2 whole ones.
    assert [iterations for iterations, _ in asked] == [3, 3, 3, 9, 9, 9]
    assert asked[3][1] == min(asked[:3], key=lambda trial: abs(trial[1] - 0.05))[1]


def test_the_best_is_one_of_those_that_trained_longest(pretended, tmp_path, monkeypatch):
    monkeypatch.setattr(
        trials,
        "judge",
        lambda iterations, config: dict(clean_rmse=1.0, clean_ssim=0.5, attacked_rmse=iterations),
    )
    assert search(tmp_path / "run", "search.parameters=sigma") == 0
    with open(tmp_path / "run" / "tuning" / "tuning.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["iterations"] for row in rows] == ["9"] * 3 + ["3"] * 3
    best = configs.load(tmp_path / "run" / "tuning" / "best.yaml")
    assert sigma_of(best) == float(rows[0]["sigma"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hyperband", "bayesian"])
def test_an_interrupted_search_ends_like_an_uninterrupted_one(pretended, method, tmp_path):
    asked, faults = pretended
    settings = ("search.parameters=sigma,filters", f"search.method={method}")
    assert search(tmp_path / "whole", *settings) == 0
    expected = list(asked)
    asked.clear()
    faults.append((5, KeyboardInterrupt()))
    assert search(tmp_path / "run", *settings) == 130
    (tmp_path / "run" / "tuning" / "search" / "oracle.json").write_text("{")
    assert search(tmp_path / "run", *settings) == 0
    assert asked == expected[:5] + expected[4:]
    assert table(tmp_path / "run") == table(tmp_path / "whole")
    assert search(tmp_path / "run", *settings) == 0
    assert len(asked) == len(expected) + 1


@pytest.mark.slow
def test_a_search_may_be_prolonged(pretended, tmp_path):
    asked, _ = pretended
    for number in (4, 6):
        assert (
            search(
                tmp_path / "run",
                "search.parameters=sigma",
                "search.method=bayesian",
                f"search.trials={number}",
            )
            == 0
        )
    assert len(asked) == len(set(asked)) == len(table(tmp_path / "run")) == 6


def test_a_trial_that_diverges_fails_and_the_search_goes_on(pretended, tmp_path, capsys):
    asked, faults = pretended
    faults.extend(
        (number, FloatingPointError("diverged before iteration 2")) for number in (1, 2, 3, 4)
    )
    run_dir = tmp_path / "run"
    assert search(run_dir, "search.parameters=sigma", "search.method=bayesian") == 0
    rows = table(run_dir)
    assert [row["failed"] for row in rows] == ["diverged before iteration 2"] * 4 + [""]
    best = configs.load(run_dir / "tuning" / "best.yaml")
    sigma = float(rows[4]["sigma"])
    expected = {"training.recipe.sigma": sigma, "defence.sigma": sigma}
    assert best == configs.load(run_dir / "config.yaml").changed(expected)
    assert " failed |" in capsys.readouterr().out


def test_a_search_without_any_result_says_why(pretended, tmp_path, capsys):
    pretended[1].extend((number, FloatingPointError("diverged")) for number in range(1, 6))
    assert search(tmp_path / "run", "search.parameters=sigma", "search.method=bayesian") == 2
    assert "no trial of 5 came to an end (diverged)" in capsys.readouterr().err


def test_what_is_no_fault_of_the_values_ends_the_search(pretended, tmp_path, capsys):
    pretended[1].append((2, OSError("disk full")))
    assert search(tmp_path / "run", "search.parameters=sigma") == 2
    assert "disk full" in capsys.readouterr().err
    assert len(pretended[0]) == 2


def test_values_are_set_where_the_configuration_has_them():
    config = TINY.changed({"training.optimizer": "adam", "defence.num_samples": 4})
    values = {"sigma": 0.2, "num_stages": 3, "filters": 5, "learning_rate": 0.01}
    expected = {
        "training.recipe.sigma": 0.2,
        "defence.sigma": 0.2,
        "model.num_stages": 3,
        "model.filters": 5,
        "training.optimizer.learning_rate": 0.01,
    }
    assert search_space.with_values(config, values) == config.changed(expected)
    clean = search_space.with_values(config, {"sigma": 0.0})
    assert clean == config.changed({"training.recipe": "clean", "defence": "none"})


def test_noise_that_is_not_configured_yet_is_of_one_law():
    config = configs.load(SMOKE, [*SETTINGS, *NOISE[:2], "training.recipe.law=laplace"])
    found = search_space.with_values(config, {"sigma": 0.2})
    assert sigma_of(found) == 0.2
    assert found.training.recipe.law == found.defence.law == "laplace"
    config = config.changed({"training.recipe": "clean"})
    assert search_space.with_values(config, {"sigma": 0.2}).defence.law == "gaussian"


def test_a_list_of_values_is_searched_as_given(pretended, tmp_path):
    settings = (
        "search.parameters=sigma,num_stages",
        "search.sigma=0,0.02,0.05",
        "search.num_stages=3",
        "search.method=bayesian",
    )
    assert search(tmp_path / "run", *settings) == 0
    rows = table(tmp_path / "run")
    assert {row["num_stages"] for row in rows} == {"3"}
    assert {float(row["sigma"]) for row in rows} <= {0, 0.02, 0.05}


@pytest.mark.slow
def test_a_model_without_weights_is_judged_by_its_error_without_an_attack(tmp_path):
    run_dir = tmp_path / "run"
    settings = ["model=total-variation", "model.iterations=3", "data.num_train=3"]
    settings += ["search.parameters=weight", "search.weight=0.001,10,0.01", "search.radius=0"]
    settings += ["search.method=bayesian", "search.trials=3", "search.steps=1"]
    settings += ["search.validation=1"]
    words = ["--config", SMOKE, "--run-dir", str(run_dir), "--tune"]
    assert train.main([*words, "--set", *settings]) == 0
    rows = table(run_dir)
    assert {float(row["weight"]) for row in rows} == {0.001, 0.01, 10}
    for row in rows:
        assert row["attacked_rmse"] == row["clean_rmse"]
    best = min(rows, key=lambda row: float(row["clean_rmse"]))
    assert float(best["weight"]) < 10
    assert configs.load(run_dir / "tuning" / "best.yaml").model.weight == float(best["weight"])


def test_a_trained_network_is_not_searched():
    given = configs.load(SMOKE, ["model.file=x.keras"])
    with pytest.raises(ValueError, match="cannot take a trained one. Received: model.file='x.ker"):
        search_space.space_of(given)


@pytest.mark.parametrize(
    "settings, message",
    [
        (["search.parameters=sigma,width"], "search.parameters must be different ones of sigma"),
        (["search.parameters=sigma,sigma"], "search.parameters must be different ones of sigma"),
        (["search.parameters=learning_rate"], "training.optimizer=ipalm"),
        (
            ["search.parameters=momentum", "training.optimizer=adam"],
            "training.optimizer=adam",
        ),
        (
            ["search.parameters=filters", "training.initial_weights=x"],
            "training.initial_weights='x'",
        ),
        (["search.filters=2.5,3"], "search.filters must be whole numbers"),
        (
            ["search.parameters=num_stages,filters", "search.filters=8,200000"],
            "The file of a network's weights may take up to",
        ),
        (
            ["search.parameters=num_stages", "search.num_stages=1,9999", "search.validation=5"],
            "The file of a network's weights may take up to",
        ),
        (["search.sigma=0.1,0.01"], "in ascending order. Received: search.sigma=[0.1, 0.01]"),
        (
            ["search.validation=5"],
            "held_out (search.validation) must leave slices to train on, of 5. Received:",
        ),
        (
            ["search.first_iterations=10"],
            "Received: search.first_iterations=10, search.iterations=9",
        ),
        (["training.time_budget=60"], "Set training.time_budget=0"),
        (
            [
                "search.parameters=learning_rate",
                "search.learning_rate=0.1,5",
                "training.optimizer=conditional-gradient",
            ],
            "learning_rate must be at most 1. Received: training.optimizer.learning_rate=5",
        ),
        (
            ["defence=smoothed", "defence.sigma=0.1", "defence.num_samples=0"],
            "defence.num_samples must be a whole number >= 1. Received: defence.num_samples=0",
        ),
        (
            ["search.parameters=filters", "search.filters=2,9"],
            "needs twice as many combinations of values. Received: 8",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_the_first_trial(
    settings, message, tmp_path, capsys
):
    assert search(tmp_path / "run", *settings) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_worker_without_an_address_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    assert search(tmp_path / "run") == 2
    assert "Missing: KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_PORT" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.one_stack
def test_chief_and_worker_search_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["search.parameters=learning_rate", "training.optimizer=adam"]
    settings += ["search.method=bayesian", "search.trials=2", "search.iterations=2"]
    words = ["--config", SMOKE, "--run-dir", str(tmp_path), "--tune", "--set", *SETTINGS, *settings]
    code = f"import train\nraise SystemExit(train.main({words!r}))"
    started = {}
    try:
        for name in ("chief", "tuner0"):
            address = dict(
                KERASTUNER_TUNER_ID=name,
                KERASTUNER_ORACLE_IP="127.0.0.1",
                KERASTUNER_ORACLE_PORT=str(port),
            )
            started[name] = processes.Process(code, folder=tmp_path, as_traced=True, **address)
        ended = {name: process.wait() for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    assert [done.returncode for done in ended.values()] == [0, 0], ended
    told = {name: done.stdout + done.stderr for name, done in ended.items()}
    assert told["tuner0"].count("attacked_rmse") == 2 and "best.yaml" not in told["tuner0"]
    assert "best.yaml" in told["chief"]
    assert (
        np.isfinite([float(row["attacked_rmse"]) for row in table(tmp_path)]).all()
        and len(table(tmp_path)) == 2
    )


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name, words",
    [
        ("tuning.csv", "no earlier result"),
        ("best.yaml", "no earlier result"),
        ("search/x.h5", "would be removed"),
    ],
)
def test_a_search_replaces_and_removes_nothing_but_searches(
    pretended, tmp_path, name, words, capsys
):
    run_dir = tmp_path / "run"
    foreign = run_dir / "tuning" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("precious")
    assert search(run_dir, "search.method=bayesian", "search.parameters=sigma") == 2
    assert (
        words in capsys.readouterr().err and foreign.read_text() == "precious" and not pretended[0]
    )
    foreign.unlink()
    for _ in range(2):
        assert search(run_dir, "search.method=bayesian", "search.parameters=sigma") == 0
    assert len(pretended[0]) == 5
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith(f"Next: python train.py --config {run_dir}/tuning/best.yaml")
    )


def test_a_damaged_result_of_a_trial_is_judged_again(pretended, tmp_path):
    settings = ("search.method=bayesian", "search.parameters=sigma", "search.trials=3")
    assert search(tmp_path / "run [1]", *settings) == 0
    before = table(tmp_path / "run [1]")
    for path, text in zip(
        sorted((tmp_path / "run [1]").rglob("result_*.json")), ("", '{"attacked_rmse": NaN}', "[1]")
    ):
        path.write_text(text)
    assert search(tmp_path / "run [1]", *settings) == 0
    assert table(tmp_path / "run [1]") == before and len(pretended[0]) == 6
