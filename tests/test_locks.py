"""Locks of a run directory, and taking back what failed."""

import contextlib
import os
import time

import processes
import pytest

from tfvn import config as configs
from tfvn.config import load
from tfvn.runs import directory, locks


def start(run_dir, *settings):
    return directory.open_run(run_dir, "configs/smoke.yaml", settings)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("name", ["model.keras", "notes.txt", "checkpoints/ckpt-1.index"])
def test_a_run_that_never_began_takes_back_only_what_it_made(tmp_path, name, linked):
    real = tmp_path / "real"
    (real / name).parent.mkdir(parents=True)
    (real / name).write_text("put there by hand")
    run_dir = tmp_path / "link" if linked else real
    if linked:
        run_dir.symlink_to(real)
    with pytest.raises(ValueError, match="no data"), locks.undoing(run_dir):
        start(run_dir)
        raise ValueError("no data")
    assert [str(path.relative_to(real)) for path in real.rglob("*") if path.is_file()] == [name]
    assert (real / name).read_text() == "put there by hand" and run_dir.exists()


def test_a_run_that_never_began_leaves_no_directory_and_one_with_work_stays(tmp_path):
    for work in ("", "logs"):
        with pytest.raises(ValueError, match="no data"), locks.undoing(tmp_path / "run"):
            start(tmp_path / "run")
            (tmp_path / "run" / "model.keras").write_text("imported")
            if work:
                (tmp_path / "run" / work).mkdir()
            raise ValueError("no data")
        assert (tmp_path / "run").exists() == bool(work)
    # Of an earlier call.
    with pytest.raises(ValueError, match="later"), locks.undoing(tmp_path / "run"):
        raise ValueError("later")
    assert len(os.listdir(tmp_path / "run")) == 3


def test_what_another_process_works_on_is_not_taken_back(tmp_path):
    with pytest.raises(ValueError, match="no data"), locks.undoing(tmp_path / "run"):
        start(tmp_path / "run")
        with locks.alone(tmp_path / "run", "trains it"):
            raise ValueError("no data")
    assert not (tmp_path / "run").exists()
    with contextlib.ExitStack() as other:
        with pytest.raises(ValueError, match="no data"), locks.undoing(tmp_path / "run"):
            start(tmp_path / "run")
            other.enter_context(locks.alone(tmp_path / "run", "trains it"))
            raise ValueError("no data")
        assert (tmp_path / "run" / "config.yaml").exists()


def test_a_run_that_others_attack_is_not_taken_back_nor_trained(tmp_path):
    run_dir = tmp_path / "run"
    config = load(settings={"model.file": "some.keras"})
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        with pytest.raises(ValueError, match="no data"), locks.undoing(run_dir):
            start(run_dir)
            first.enter_context(locks.together(run_dir, config, "attacks it"))
            second.enter_context(locks.together(run_dir, config, "attacks it"))
            first.close()
            raise ValueError("no data")
        assert (run_dir / "config.yaml").exists()
        with (
            pytest.raises(ValueError, match="is in use: process .* attacks it"),
            locks.alone(run_dir, "trains it"),
        ):
            pass
    assert os.listdir(run_dir) == ["config.yaml"]
    with (
        locks.alone(run_dir, "trains it"),
        pytest.raises(ValueError, match="is in use: process .* trains it"),
        locks.together(run_dir, config, "attacks it"),
    ):
        pass


def test_a_run_that_was_taken_back_just_before_an_attack_is_begun_again(tmp_path):
    config = load(settings={"model.file": "some.keras"})
    with locks.together(tmp_path / "run", config, "attacks it"):
        assert configs.load(tmp_path / "run" / "config.yaml") == config


def test_what_is_known_of_an_imported_network_is_taken_back_too(tmp_path):
    with pytest.raises(ValueError, match="no data"), locks.undoing(tmp_path / "run"):
        start(tmp_path / "run")
        (tmp_path / "run" / "model.keras").write_text("imported")
        (tmp_path / "run" / "trained_on.json").write_text("{}")
        raise ValueError("no data")
    assert not (tmp_path / "run").exists()


def test_each_worker_is_alone_with_its_number(tmp_path):
    with (
        locks.alone(tmp_path, "trains it"),
        locks.alone(tmp_path, "trains it", 1),
        locks.alone(tmp_path, "trains it", 2),
        pytest.raises(ValueError, match="is in use"),
        locks.alone(tmp_path, "trains it", 1),
    ):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_two_do_not_work_in_one_folder_at_once(tmp_path, tmp_path_factory):
    code = """
import os, sys, time
from pathlib import Path
from tfvn.runs import locks
with locks.alone(sys.argv[1], "trains it"):
    Path(sys.argv[2]).symlink_to(str(os.getpid()))
    time.sleep(600)
"""
    inside = tmp_path_factory.mktemp("inside") / "process"
    other = processes.Process(code, tmp_path, inside)
    try:
        began = time.monotonic()
        while not inside.is_symlink() and time.monotonic() < began + 60:
            time.sleep(0.1)
        told = f"is in use: process {os.readlink(inside)} on .* trains it. Wait for it or stop it"
        with pytest.raises(ValueError, match=told), locks.alone(tmp_path, "trains it"):
            pass
    finally:
        # As if the machine had taken it: its lock is gone with it, its file may stay.
        other.kill()
    with locks.alone(tmp_path, "trains it"):
        assert str(os.getpid()) in (tmp_path / ".tfvn-lock").read_text()
    assert not os.listdir(tmp_path)


def test_a_link_in_place_of_the_lock_leads_nowhere(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".tfvn-lock").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(
            ValueError, match="cannot write .*tfvn-lock: Too many levels of symbolic links"
        ),
        locks.alone(tmp_path, "trains it"),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
