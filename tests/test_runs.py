"""Run directories: one configuration each, whole files only."""

import contextlib
import os
import shlex
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

from tfvn import config as configs
from tfvn import files
from tfvn.config import Config
from tfvn.runs import attack_files, directory, locks
from tfvn.runs.models import network_of


def attributes(**changes):
    return {
        "model_hash": "a" * 64,
        "scale": 2.0,
        "settings": {"radius": 1.0, "attack_steps": 3},
        **changes,
    }


def test_a_new_directory_keeps_its_configuration(tmp_path):
    run_dir = tmp_path / "run"
    config = directory.open_run(run_dir, "configs/smoke.yaml", ["sigma=0.05"])
    assert config.sigma == 0.05
    assert directory.open_run(run_dir) == config


def test_another_configuration_is_refused_and_named(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match=r"sigma=0.1 \(there: 0.0\)"):
        directory.open_run(tmp_path, "configs/smoke.yaml", ["sigma=0.1"])


def test_settings_that_change_no_weight_may_differ(tmp_path):
    directory.open_run(tmp_path, "configs/smoke.yaml")
    config = directory.open_run(
        tmp_path, None, ["attack_steps=5", "num_samples=2", "cache_dir=elsewhere"]
    )
    assert (config.attack_steps, config.num_samples) == (5, 2)
    assert directory.open_run(tmp_path).attack_steps == 3


def test_a_mistyped_directory_starts_no_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        directory.open_run(tmp_path / "typo", None, ["attack_steps=5"])
    assert not (tmp_path / "typo").exists()


def test_a_run_without_a_network_says_what_to_do(tmp_path):
    config = directory.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match="Run train.py"):
        network_of(tmp_path, config)


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


def test_an_attack_file_returns_what_was_written(tmp_path):
    path = attack_files.attack_path(tmp_path, 1.5, 3)
    attack_files.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    attack = attack_files.read_attack(path, attributes()["settings"], "a" * 64, 2.0)
    np.testing.assert_array_equal(attack["perturbation"], np.ones((4, 3)))
    assert attack_files.attacks_of(tmp_path) == [("l2", 1.5)]


@pytest.mark.parametrize(
    "expected, message",
    [
        ({"digest": "b" * 64}, "another model"),
        ({"scale": 2.1}, "another slice"),
        ({"settings": {"radius": 1.0, "attack_steps": 9}}, r"attack_steps=9 \(there: 3\)"),
    ],
)
def test_an_attack_made_for_something_else_is_refused(tmp_path, expected, message):
    path = attack_files.attack_path(tmp_path, 1, 0)
    attack_files.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    with pytest.raises(ValueError, match=message):
        attack_files.read_attack(path, **expected)


def test_a_truncated_attack_file_is_named(tmp_path):
    path = attack_files.attack_path(tmp_path, 1, 0)
    attack_files.write_attack(path, {"perturbation": np.ones((40, 30), "c8")}, attributes())
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="slice_00000.h5: not an attack file, or damaged"):
        attack_files.read_attack(path)


def test_stray_folders_are_no_attacks(tmp_path):
    os.makedirs(tmp_path / "attacks" / "radius_old")
    os.makedirs(tmp_path / "attacks" / "radius_2.5")
    assert attack_files.attacks_of(tmp_path) == [("l2", 2.5)]


# Beginning, and taking back


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
    config = Config(model="some.keras")
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
    config = Config(model="some.keras")
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


def test_two_do_not_work_in_one_folder_at_once(tmp_path):
    code = (
        "import sys, time; from tfvn.runs import locks\n"
        f"with locks.alone({str(tmp_path)!r}, 'trains it'):\n"
        "    print('inside', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "inside\n"
        with (
            pytest.raises(
                ValueError,
                match=f"is in use: process {other.pid} on .* trains it. Wait for it or stop it",
            ),
            locks.alone(tmp_path, "trains it"),
        ):
            pass
    finally:
        # As if the machine had taken it: its lock is gone with it, its file may stay.
        other.kill()
        other.communicate()
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


# Attack files from anywhere


def stored(tmp_path, **changes):
    """An attack of radius 1, as it is written."""
    r = np.zeros((4, 3), "c8")
    r[1, 1] = 0.6 + 0.8j
    arrays = {"perturbation": r, "objective": np.float32(2), "history": np.ones((1, 3), "f4")}
    own = attributes(kind="l2", norm=1.0, name="a")
    for key, value in changes.items():
        (arrays if key in arrays else own)[key] = value
    path = attack_files.attack_path(tmp_path, 1.0, 0)
    attack_files.write_attack(
        path,
        {k: v for k, v in arrays.items() if v is not None},
        {k: v for k, v in own.items() if v is not None},
    )
    return path


def test_a_whole_attack_is_read(tmp_path):
    found = attack_files.read_attack(
        stored(tmp_path), attack=("l2", 1.0), needed=("history", "objective")
    )
    assert found["norm"] == 1 and found["settings"]["radius"] == 1


R = np.full((4, 3), 1, "c8")
DAMAGED = {
    "NaN": dict(perturbation=np.full((4, 3), np.nan, "c8"), norm=None),
    "infinite": dict(perturbation=np.full((4, 3), np.inf, "c8"), norm=None),
    "real": dict(perturbation=np.ones((4, 3), "f4"), norm=None),
    "texts": dict(perturbation=np.array([[b"x"]]), norm=None),
    "three axes": dict(perturbation=R[None], norm=None),
    "a number": dict(perturbation=np.complex64(1), norm=None),
    "no perturbation": dict(perturbation=None),
    "no history": dict(history=None),
    "history of one axis": dict(history=np.ones(3)),
    "empty history": dict(history=np.ones((0, 3))),
    "history of NaN": dict(history=np.full((1, 3), np.nan)),
    "no settings": dict(settings=None),
    "settings that are no JSON": dict(settings="{"),
    "settings that are a list": dict(settings="[1]"),
    "deep settings": dict(settings="[" * 20000),
    "a radius that is text": dict(settings='{"radius": "big"}'),
    "a radius of NaN": dict(settings='{"radius": NaN}'),
    "no hash": dict(model_hash=None),
    "no scale": dict(scale=None),
    "a scale that is text": dict(scale="one"),
    "scales": dict(scale=np.ones(3)),
    "a norm that is text": dict(norm="one"),
}


@pytest.mark.parametrize("changes", DAMAGED.values(), ids=DAMAGED)
def test_a_malformed_attack_file_is_named(tmp_path, changes):
    path = stored(tmp_path, **changes)
    with pytest.raises(
        ValueError,
        match=(
            "slice_00000.h5: not an attack file, or damaged.*Move it away and run attack.py again"
        ),
    ):
        attack_files.read_attack(path, attack=("l2", 1.0), needed=("history", "objective"))


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(perturbation=1000 * R, norm=float(np.linalg.norm(1000 * R))), "beyond its radius 1"),
        (
            dict(perturbation=1.01 * R / np.linalg.norm(R), norm=1.01),
            "l2 norm 1.01, beyond its radius 1",
        ),
        (dict(norm=0.5), "was stored with norm 0.5: it has been changed"),
        (dict(kind="linf"), "holds an attack of linf 1.0, and its folder is that of l2 1"),
        (
            dict(settings={"radius": 2.0}),
            "holds an attack of l2 2.0, and its folder is that of l2 1",
        ),
    ],
)
def test_a_perturbation_that_is_no_such_attacks_is_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"slice_00000.h5: .*{words}"):
        attack_files.read_attack(stored(tmp_path, **changes), attack=("l2", 1.0))


@pytest.mark.parametrize(
    "kind, radius, inside",
    [("l1", 24.0, True), ("l1", 23.0, False), ("linf", 1.0, True), ("linf", 0.9, False)],
)
def test_a_ball_has_its_own_norm(tmp_path, kind, radius, inside):
    r = np.full((4, 3), 1 - 1j, "c8")
    path = stored(tmp_path, perturbation=r, norm=None, kind=kind, settings={"radius": radius})
    if inside:
        attack_files.read_attack(path, attack=(kind, radius))
    else:
        with pytest.raises(ValueError, match=f"{kind} norm .* beyond its radius"):
            attack_files.read_attack(path, attack=(kind, radius))


def test_a_declared_size_is_not_believed(tmp_path):
    path = stored(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["perturbation"]
        file.create_dataset("perturbation", (10**6, 10**6), "c8", chunks=(1000, 1000))
    with pytest.raises(
        ValueError, match="declared to have 8000000000000 bytes, more than the file"
    ):
        attack_files.read_attack(path)


def test_a_failure_to_read_is_no_damage(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="cannot read .*slice_00000.h5: No such file or directory"):
        attack_files.read_attack(attack_files.attack_path(tmp_path, 1, 0))
    path = stored(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(
        ValueError, match="cannot read .*slice_00000.h5: Permission denied. It is left as it is"
    ):
        attack_files.read_attack(path)


def test_other_settings_name_a_command_that_can_be_pasted(tmp_path):
    run_dir = tmp_path / "a run [1]"
    path = attack_files.attack_path(run_dir, 1, 0)
    attack_files.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    with pytest.raises(ValueError, match=r"attack_steps=9 \(there: 3\)") as error:
        attack_files.read_attack(path, {"radius": 1.0, "attack_steps": 9})
    words = shlex.split(str(error.value).partition("with these too: ")[2])
    assert words == [
        "python",
        "attack.py",
        "--config",
        str(run_dir / "config.yaml"),
        "--run-dir",
        f"{run_dir}-other",
        "--set",
        f"model={run_dir}/model.keras",
        "attack_steps=9",
    ]
