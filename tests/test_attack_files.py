"""The files of attacks: what they hold, and what they were made for."""

import os
import shlex

import h5py
import numpy as np
import pytest

from tfvn import attacks
from tfvn.attacks import PenalisedGradientAscent
from tfvn.config import load
from tfvn.runs import attack_files


def attributes(**changes):
    return {
        "model_hash": "a" * 64,
        "scale": 2.0,
        "settings": {"radius": 1.0, "steps": 3},
        **changes,
    }


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
        ({"settings": {"radius": 1.0, "steps": 9}}, r"steps=9 \(there: 3\)"),
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


# From anywhere


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
    "four axes": dict(perturbation=R[None, None], norm=None),
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
    path = attack_files.attack_path(run_dir, 1, 0, "l1")
    attack_files.write_attack(path, {"perturbation": np.ones((4, 3), "c8")}, attributes())
    given = {"radius": 1.0, "steps": 9, "defence.num_samples": 5}
    with pytest.raises(ValueError, match=r"steps=9 \(there: 3\)") as error:
        attack_files.read_attack(path, given)
    words = shlex.split(str(error.value).partition("with these too: ")[2])
    assert words == [
        "python",
        "attack.py",
        "--config",
        str(run_dir / "config.yaml"),
        "--run-dir",
        f"{run_dir}-other",
        "--set",
        f"model.file={run_dir}/model.keras",
        "attacks=ascent",
        "attacks.ascent.norm=l1",
        "attacks.ascent.steps=9",
        "attacks.ascent.num_samples=5",
    ]
    config = load("configs/smoke.yaml", words[7:])
    assert config.model.file == f"{run_dir}/model.keras"
    (attack,) = config.attacks
    assert attack.make().identity(1.0)["steps"] == 9 and attack.make().kind == "l1"


def test_a_configuration_makes_what_was_stored():
    stored = {**attacks.of("antun").identity(5), "defence.sigma": 0.1, "defence.num_samples": 3}
    found = attack_files.configured("antun", stored)
    assert found.pop("num_samples") == 3
    assert PenalisedGradientAscent(**found).identity(5) == attacks.of("antun").identity(5)
    assert "seed" not in found and "sizes" not in found
