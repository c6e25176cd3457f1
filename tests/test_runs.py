"""Run directories: one configuration each, whole files only."""
import os

import numpy as np
import pytest

from tfvn import runs
from tfvn.data import files


def attributes(**changes):
    return {"model_hash": "a" * 64, "scale": 2.0, "settings": {"radius": 1.0, "attack_steps": 3}, **changes}


def test_a_new_directory_keeps_its_configuration(tmp_path):
    run_dir = tmp_path / "run"
    config = runs.open_run(run_dir, "configs/smoke.yaml", ["sigma=0.05"])
    assert config.sigma == 0.05
    assert runs.open_run(run_dir) == config


def test_another_configuration_is_refused_and_named(tmp_path):
    runs.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match=r"sigma=0.1 \(there: 0.0\)"):
        runs.open_run(tmp_path, "configs/smoke.yaml", ["sigma=0.1"])


def test_settings_that_change_no_weight_may_differ(tmp_path):
    runs.open_run(tmp_path, "configs/smoke.yaml")
    config = runs.open_run(tmp_path, None, ["attack_steps=5", "num_samples=2", "cache_dir=elsewhere"])
    assert (config.attack_steps, config.num_samples) == (5, 2)
    assert runs.open_run(tmp_path).attack_steps == 3


def test_a_mistyped_directory_starts_no_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        runs.open_run(tmp_path / "typo", None, ["attack_steps=5"])
    assert not (tmp_path / "typo").exists()


def test_a_run_without_a_network_says_what_to_do(tmp_path):
    config = runs.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match="Run train.py"):
        runs.network_of(tmp_path, config)


def test_a_file_that_fails_midway_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError):
        with runs.replacing(tmp_path / "a.txt") as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            raise RuntimeError
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    with runs.replacing(tmp_path / "model") as temporary:
        os.mkdir(temporary)
        own = os.path.basename(temporary)
        dead = own.replace(f"-{os.getpid()}-", "-99999999-")
        (tmp_path / dead).mkdir()
        (tmp_path / dead / "saved_model.pb").write_text("half")
        (tmp_path / f"{dead}.h5").write_text("half")
        files.remove_stale(tmp_path)
        assert os.listdir(tmp_path) == [own]
    assert os.listdir(tmp_path) == ["model"]


def test_an_attack_file_returns_what_was_written(tmp_path):
    path = runs.attack_path(tmp_path, 1.5, 3)
    runs.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    attack = runs.read_attack(path, attributes()["settings"], "a" * 64, 2.0)
    np.testing.assert_array_equal(attack["perturbation"], np.ones((4, 3)))
    assert runs.attacks_of(tmp_path) == [("l2", 1.5)]


@pytest.mark.parametrize(
    "expected, message",
    [
        ({"digest": "b" * 64}, "another model"),
        ({"scale": 2.1}, "another slice"),
        ({"settings": {"radius": 1.0, "attack_steps": 9}}, r"attack_steps=9 \(there: 3\)"),
    ],
)
def test_an_attack_made_for_something_else_is_refused(tmp_path, expected, message):
    path = runs.attack_path(tmp_path, 1, 0)
    runs.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    with pytest.raises(ValueError, match=message):
        runs.read_attack(path, **expected)


def test_a_truncated_attack_file_is_named(tmp_path):
    path = runs.attack_path(tmp_path, 1, 0)
    runs.write_attack(path, {"perturbation": np.ones((40, 30), "c8")}, attributes())
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="slice_00000.h5: not an attack file, or damaged"):
        runs.read_attack(path)


def test_stray_folders_are_no_attacks(tmp_path):
    os.makedirs(tmp_path / "attacks" / "radius_old")
    os.makedirs(tmp_path / "attacks" / "radius_2.5")
    assert runs.attacks_of(tmp_path) == [("l2", 2.5)]
