"""Run directories: one configuration each, whole files only."""

import os
import threading

import pytest

from tfvn import files
from tfvn.runs import directory


def test_a_new_directory_keeps_its_configuration(tmp_path):
    run_dir = tmp_path / "run"
    config = directory.open_run(
        run_dir,
        "configs/smoke.yaml",
        [
            "training.recipe=noise",
            "training.recipe.sigma=0.05",
            "defence=smoothed",
            "defence.sigma=0.05",
        ],
    )
    assert config.defence.sigma == 0.05
    assert directory.open_run(run_dir) == config


def test_another_configuration_is_refused_and_named(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match=r"sigma=0.1 \(there: 0.0\)"):
        directory.open_run(
            tmp_path,
            "configs/smoke.yaml",
            [
                "training.recipe=noise",
                "training.recipe.sigma=0.1",
                "defence=smoothed",
                "defence.sigma=0.1",
            ],
        )


def test_settings_that_change_no_weight_may_differ(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml")
    config = directory.open_run(
        tmp_path,
        None,
        ["attacks.ascent.steps=5", "defence.num_samples=2", "data.cache_dir=elsewhere"],
    )
    assert (config.attack_steps, config.defence.num_samples) == (5, 2)
    assert directory.open_run(tmp_path).attack_steps == 3


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


def test_of_two_that_begin_at_once_one_begins(tmp_path):
    """The other one has the same configuration, or is refused."""
    for attempt in range(20):
        run_dir, found = str(tmp_path / str(attempt)), {}
        barrier = threading.Barrier(4)

        def begin(sigma, run_dir=run_dir, found=found, barrier=barrier):
            barrier.wait()
            try:
                found[sigma] = start(run_dir, f"sigma={sigma}").sigma
            except ValueError as error:
                found[sigma] = str(error)

        threads = [threading.Thread(target=begin, args=[sigma]) for sigma in (0.0, 0.1, 0.2, 0.3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = directory.open_run(run_dir).sigma
        assert found[stored] == stored and os.listdir(run_dir) == ["config.yaml"]
        others = [text for sigma, text in found.items() if sigma != stored]
        assert len(others) == 3 and all(
            "already holds another configuration: sigma=" in text for text in others
        )


def test_a_file_system_without_links_serves_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(directory.os, "link", refuse)
    assert start(tmp_path / "run", "sigma=0.1").sigma == 0.1
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
