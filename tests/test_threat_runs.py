"""Attacks of several threats and goals through `attack.py` and `evaluate.py`."""

import csv
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from stored import attacks_of
from test_evaluation import make_run

from tfvn import cluster
from tfvn.results.evaluate import evaluate
from tfvn.runs import attack_files, elsewhere
from tfvn.runs.attack import attack_run
from tfvn.runs.directory import open_run

ATTACKS = [
    "data.num_test=2",
    "attacks=suite,apgd,ascent,universal,discs,random,lines,motion",
    "attacks.random.sizes=0.1",
    "attacks.random.steps=4",
    "attacks.random.threat=maps",
    "attacks.lines.sizes=1,2",
    "attacks.lines.candidates=4",
    "attacks.motion.sizes=1,2",
    "attacks.motion.grid=3",
    "attacks.motion.refinements=1",
    "attacks.motion.goal=error",
    "attacks.suite.sizes=0.5,1",
    "attacks.apgd.sizes=1",
    "attacks.apgd.steps=4",
    "attacks.apgd.threat=kspace",
    "attacks.universal.sizes=1",
    "attacks.universal.steps=4",
    "attacks.universal.num_slices=2",
    "data.num_train=3",
    "attacks.discs.sizes=1",
    "attacks.discs.steps=2",
    "attacks.discs.disc=6",
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "several", *ATTACKS)


@pytest.fixture(scope="module")
def output(run_dir, tmp_path_factory):
    """The folder of an evaluation."""
    output = tmp_path_factory.mktemp("results")
    evaluate([run_dir], output)
    return output


@pytest.mark.slow
def test_a_worker_of_dask_finds_the_bytes_of_this_process(run_dir, output, tmp_path):
    pytest.importorskip("distributed")
    from test_cluster import workers

    shared = tmp_path / Path(run_dir).name
    shutil.copytree(run_dir, shared, ignore=shutil.ignore_patterns("attacks"))
    with workers() as found:
        own = cluster.Cluster(scheduler=found.scheduler_address)
        attack_run(shared, open_run(shared), cluster=own)
        assert attacks_of(shared) == attacks_of(run_dir)
        evaluate([shared], tmp_path / "results", cluster=own)
    for name in ("results.csv", "table1.csv", "flags.csv"):
        assert (tmp_path / "results" / name).read_bytes() == (output / name).read_bytes()
    assert not (tmp_path / "results" / ".unfinished").exists()


@pytest.mark.slow
def test_a_worker_with_other_data_is_refused(run_dir, monkeypatch):
    config = open_run(run_dir)
    elsewhere.ready(config, elsewhere.state_of_data(config))
    monkeypatch.setattr(cluster, "here", lambda: "the worker w")
    with pytest.raises(cluster.Refused, match="^the worker w sees other data"):
        elsewhere.ready(config, elsewhere.state_of_data(config, ("train",)))


@pytest.fixture(scope="module")
def rows(output):
    """The rows of `results.csv`, by attack, radius and slice."""
    with open(output / "results.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    sizes = [float(row["lines"] or row["radius"]) for row in found]
    return {(row["attack"], size, row["slice"]): row for row, size in zip(found, sizes)}


@pytest.mark.slow
def test_a_change_of_kspace_is_stored_for_all_coils_and_measured(run_dir, rows):
    path = attack_files.attack_path(run_dir, 1.0, 0, "apgd-kspace")
    found = attack_files.read_attack(path)
    assert found["perturbation"].shape == (2, 32, 24)
    row = rows["apgd-kspace", 1.0, "0"]
    norm = np.linalg.norm(found["perturbation"])
    assert 0.5 < norm <= 1
    assert float(row["norm"]) == pytest.approx(norm, rel=1e-4)
    assert float(row["kspace_norm"]) == pytest.approx(norm, rel=1e-4)
    assert float(row["effect"]) == pytest.approx(np.sqrt(2 * found["objective"]), rel=1e-3)


def one_of(run_dir, kind, size):
    path = attack_files.attack_path(run_dir, size, 0, kind)
    return attack_files.read_attack(path, attack=(kind, size))


@pytest.mark.slow
def test_wrong_maps_are_stored_and_measured(run_dir, rows):
    found = one_of(run_dir, "random-maps", 0.1)
    row = rows["random-maps", 0.1, "0"]
    assert found["perturbation"].shape == (2, 32, 24) and np.isnan(found["kspace_norm"])
    assert float(row["norm"]) == pytest.approx(0.1, rel=1e-4)
    assert float(row["relative_radius"]) == pytest.approx(0.1, rel=1e-4)
    assert row["kspace_norm"] == row["kspace_l1"] == ""
    assert float(row["effect"]) == pytest.approx(np.sqrt(2 * found["objective"]), rel=1e-3)


@pytest.mark.slow
def test_exchanged_lines_are_stored_and_measured(run_dir, rows):
    for size in (1, 2):
        found = one_of(run_dir, "lines", size)
        row = rows["lines", size, "0"]
        assert found["perturbation"].shape == (24,)
        assert float(row["norm"]) == np.abs(found["perturbation"]).sum() / 2 == size
        assert row["kspace_norm"] == "" and row["radius"] == ""
        assert float(row["effect"]) == pytest.approx(np.sqrt(2 * found["objective"]), rel=1e-3)
    first, second = (float(rows["lines", size, "0"]["effect"]) for size in (1, 2))
    assert first <= second


@pytest.mark.slow
def test_a_movement_is_stored_and_measured_against_what_moved_along(run_dir, rows):
    errors = []
    for size in (1.0, 2.0):
        found = one_of(run_dir, "motion-error", size)
        row = rows["motion-error", size, "0"]
        assert found["perturbation"].shape == (3,)
        assert float(row["norm"]) == pytest.approx(np.abs(found["perturbation"]).max(), rel=1e-5)
        assert 0 < float(row["norm"]) <= size
        errors.append(float(row["rmse"]))
        assert errors[-1] == pytest.approx(np.sqrt(2 * found["objective"]), rel=1e-3)
    assert errors[0] <= errors[1] * (1 + 1e-6)
    assert float(rows["none", 0.0, "0"]["rmse"]) <= errors[0] * (1 + 1e-6)


@pytest.mark.slow
def test_a_list_of_lines_in_place_of_an_image_is_refused(run_dir, tmp_path):
    found = one_of(run_dir, "lines", 1)
    for change, message in (
        (np.full(24, 0.5), "has lines norm inf, beyond its radius 1"),
        (1j * found["perturbation"], "perturbation must be finite, complex numbers"),
        (found["perturbation"][None], "perturbation must be finite, complex numbers"),
    ):
        attributes = {**found, "norm": np.linalg.norm(change)}
        arrays = {"perturbation": change}
        for key in ("perturbation", "history", "objective"):
            attributes.pop(key)
        path = str(tmp_path / "slice_00000.h5")
        attack_files.write_attack(path, arrays, attributes)
        with pytest.raises(ValueError, match=message):
            attack_files.read_attack(path, attack=("lines", 1))


@pytest.mark.slow
def test_a_suite_stores_what_each_member_reached(run_dir, rows):
    path = attack_files.attack_path(run_dir, 1.0, 1, "suite-l2")
    with h5py.File(path) as file:
        reached = [file[f"reached_{name}"][()] for name in ("power", "one-step", "apgd-larger")]
        assert file["history"].shape == (4, 21)
        assert file["objective"][()] == pytest.approx(max(reached), rel=1e-5)
        assert file["history"][()].max() == pytest.approx(max(reached), rel=1e-5)
    assert float(rows["suite-l2", 1.0, "1"]["effect"]) == pytest.approx(
        np.sqrt(2 * max(reached)), rel=1e-3
    )


@pytest.mark.slow
def test_a_larger_radius_of_a_suite_is_at_least_as_strong(rows):
    for index in ("0", "1"):
        small, large = (float(rows["suite-l2", r, index]["effect"]) for r in (0.5, 1.0))
        assert small < large


@pytest.mark.slow
def test_attacks_that_are_done_are_kept(run_dir, capsys):
    path = attack_files.attack_path(run_dir, 1.0, 0, "suite-l2")
    with open(path, "rb") as file:
        before = file.read()
    attack_run(run_dir, open_run(run_dir))
    with open(path, "rb") as file:
        assert file.read() == before
    assert "strongest: power" in capsys.readouterr().out


@pytest.mark.slow
def test_a_changed_change_of_kspace_is_refused(run_dir, tmp_path):
    path = attack_files.attack_path(run_dir, 1.0, 0, "apgd-kspace")
    found = attack_files.read_attack(path)
    changed = {**found, "perturbation": 3 * found["perturbation"]}
    arrays = {key: changed.pop(key) for key in ("perturbation", "history", "objective")}
    changed.pop("norm")
    other = str(tmp_path / "slice_00000.h5")
    attack_files.write_attack(other, arrays, changed)
    with pytest.raises(ValueError, match="beyond its radius 1"):
        attack_files.read_attack(other, attack=("apgd-kspace", 1.0))


@pytest.mark.slow
def test_a_universal_change_is_found_on_training_slices_and_given_to_all_test_slices(run_dir, rows):
    paths = [attack_files.attack_path(run_dir, 1.0, i, "universal-l2") for i in range(2)]
    found = [attack_files.read_attack(path) for path in paths]
    np.testing.assert_array_equal(found[0]["perturbation"], found[1]["perturbation"])
    assert found[0]["objective"] != found[1]["objective"]
    assert float(rows["universal-l2", 1.0, "0"]["effect"]) > 0
    # What was found is kept, and not found anew.
    changed = os.path.join(os.path.dirname(paths[0]), "learned.h5")
    before = os.stat(changed).st_mtime_ns
    os.remove(paths[1])
    attack_run(run_dir, open_run(run_dir))
    again = attack_files.read_attack(paths[1])
    np.testing.assert_array_equal(again["perturbation"], found[1]["perturbation"])
    assert os.stat(changed).st_mtime_ns == before


@pytest.mark.slow
def test_discs_and_changes_for_all_slices_are_shown(run_dir, output, rows):
    path = attack_files.attack_path(run_dir, 1.0, 0, "discs-l2")
    found = attack_files.read_attack(path, needed=("history",))
    # 32 x 24 pixels have 3 x 2 discs of radius 6.
    assert found["history"].shape == (6, 3)
    # The effect of the whole image is more than that of a disc.
    effect = float(rows["discs-l2", 1.0, "0"]["effect"])
    assert effect > np.sqrt(2 * found["history"].max())
    assert (output / "targets.png").stat().st_size > 20_000
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "attack discs or all slices" in page
