"""Run directories: one configuration each, whole files only."""

import os
import threading

import pytest

from tfvn import files
from tfvn.runs import directory

SMOOTHED = ["defence=smoothed", "defence.sigma=0.05"]


def test_a_new_directory_keeps_its_configuration(tmp_path):
    run_dir = tmp_path / "run"
    config = directory.open_run(run_dir, "configs/smoke.yaml", SMOOTHED)
    assert config.defence.sigma == 0.05
    assert directory.open_run(run_dir) == config


@pytest.mark.parametrize(
    "settings, told",
    [
        (["seed=2"], "seed=2 (there: 1)"),
        (["model.filters=5", "seed=2"], "seed=2 (there: 1), model.filters=5 (there: 4)"),
        (["data.height=40"], "data.height=40 (there: 32)"),
        # Of a part with another name, the name and what both have.
        (SMOOTHED, "defence.name='smoothed' (there: 'none')"),
        (["sampling.mask=constant"], "sampling.mask='constant' (there: 'equispaced')"),
        (
            ["training.optimizer=adam", "training.recipe=noise", "training.recipe.sigma=0.1"],
            "training.optimizer.name='adam' (there: 'ipalm'),"
            " training.recipe.name='noise' (there: 'clean')",
        ),
        (["model.file=a.keras"], "model.file='a.keras' (there: not set)"),
    ],
)
def test_another_configuration_is_refused_and_named(tmp_path, settings, told):
    directory.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError) as error:
        directory.open_run(tmp_path, "configs/smoke.yaml", settings)
    assert f"another configuration: {told}. Use another --run-dir" in str(error.value)


def test_a_run_of_a_given_network_is_no_run_that_trains_one(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml", ["model.file=a.keras"])
    with pytest.raises(ValueError, match=r"another configuration: model\..* \(there: .*\)\. Use"):
        directory.open_run(tmp_path, "configs/smoke.yaml")


def test_settings_that_change_no_weight_may_differ(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml", SMOOTHED)
    free = [
        "attacks=ascent,antun",
        "attacks.ascent.steps=5",
        "attacks.antun.sizes=7",
        "defence.num_samples=2",
        "defence.chunk_size=3",
        "data.cache_dir=elsewhere",
        "search.trials=3",
        "training.time_budget=60",
    ]
    config = directory.open_run(tmp_path, None, free)
    assert [part.name for part in config.attacks] == ["ascent", "antun"]
    assert (config.attacks[0].steps, config.defence.num_samples) == (5, 2)
    (attack,) = directory.open_run(tmp_path).attacks
    assert attack.steps == 3


def test_a_mistyped_directory_starts_no_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        directory.open_run(tmp_path / "typo", None, ["attacks.ascent.steps=5"])
    assert not (tmp_path / "typo").exists()


def test_a_file_that_fails_midway_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.txt") as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    with files.replacing(tmp_path / "model") as temporary:
        os.mkdir(temporary)
        own = os.path.basename(temporary)
        dead = own.replace(f"-{os.getpid()}-", "-99999999-")
        (tmp_path / dead).mkdir()
        (tmp_path / dead / "saved_model.pb").write_text("half")
        (tmp_path / f"{dead}.h5").write_text("half")
        files.remove_stale(tmp_path)
        assert os.listdir(tmp_path) == [own]
    assert os.listdir(tmp_path) == ["model"]


# Beginning


def start(run_dir, *settings):
    return directory.open_run(run_dir, "configs/smoke.yaml", settings)


@pytest.mark.slow
@pytest.mark.one_stack
def test_of_two_that_begin_at_once_one_begins(tmp_path):
    """The other one has the same configuration, or is refused."""
    for attempt in range(20):
        run_dir, found = str(tmp_path / str(attempt)), {}
        barrier = threading.Barrier(4)

        def begin(seed, run_dir=run_dir, found=found, barrier=barrier):
            barrier.wait()
            try:
                found[seed] = start(run_dir, f"seed={seed}").seed
            except ValueError as error:
                found[seed] = str(error)

        threads = [threading.Thread(target=begin, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = directory.open_run(run_dir).seed
        assert found[stored] == stored and os.listdir(run_dir) == ["config.yaml"]
        others = [text for seed, text in found.items() if seed != stored]
        assert len(others) == 3 and all(
            "already holds another configuration: seed=" in text for text in others
        )


def test_a_file_system_without_links_serves_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(directory.os, "link", refuse)
    assert start(tmp_path / "run", "seed=2").seed == 2
    with pytest.raises(ValueError, match="already holds another"):
        start(tmp_path / "run")


def test_where_no_run_can_be_made_that_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name, words in (
        ("file", "a file of that name"),
        ("file/run", "Not a directory"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(ValueError, match=f"cannot make the folder .*{words}"):
            start(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
