"""The flags of an evaluation: its file, its table, and where their numbers come from."""

import csv
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from test_evaluation import SMOOTHED, make_run
from test_strongest import row

from tfvn import tables
from tfvn.results import flagged
from tfvn.results.evaluate import evaluate
from tfvn.results.flags import NOT_CHECKED, RAISED, Case, flag_of, unchecked
from tfvn.results.rules import OF_MODELS, RULES
from tfvn.results.transfer import transfer
from tfvn.runs import attack_files

TWO = ["data.num_test=2", "attacks.ascent.sizes=0.5,1"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run whose attack has three starts of two steps each."""
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "original", *TWO, "attacks.ascent.restarts=3")


def read(folder):
    """The rows of `flags.csv` by their flags."""
    with open(folder / "flags.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return {row["flag"]: row for row in found}


@pytest.mark.slow
def test_a_run_has_a_row_for_every_rule(original, tmp_path):
    paths = evaluate([original], tmp_path)
    assert str(tmp_path / "flags.csv") in paths
    found = read(tmp_path)
    assert list(found) == list(RULES)
    assert {row["model"] for row in found.values()} == {"original"}
    assert found["not monotone"]["state"] == "passed"
    unknown = [rule.name for rule in OF_MODELS] + ["black box wins", "transfer wins"]
    assert {found[name]["state"] for name in unknown} == {NOT_CHECKED}
    assert found["random"]["note"] == "Only evaluate.py --probe looks at the model."
    assert found["bound violated"]["state"] == NOT_CHECKED


@pytest.mark.slow
def test_one_more_restart_is_seen_in_the_stored_history(original, tmp_path):
    evaluate([original], tmp_path)
    means = []
    for radius in (0.5, 1.0):
        histories = []
        for index in range(2):
            with h5py.File(attack_files.attack_path(original, radius, index)) as file:
                histories.append(file["history"][()])
        effects = np.sqrt(2 * np.array(histories).max(-1))
        means.append((effects[:, :2].max(1).mean(), effects.max(1).mean()))
    gains = [after / before - 1 for before, after in means]
    row = read(tmp_path)["not converged"]
    assert float(row["found"]) == pytest.approx(max(gains), abs=1e-4)
    assert row["state"] == (RAISED if max(gains) > 0.02 else "passed")
    assert "with budget 2, " in row["note"]


@pytest.mark.slow
def test_a_smoothed_run_is_probed_and_compared_with_its_bound(tmp_path):
    run_dir = make_run(tmp_path / "smoothed", *SMOOTHED, *TWO)
    evaluate([run_dir], tmp_path / "results", probe=True)
    found = read(tmp_path / "results")
    for rule in OF_MODELS:
        assert found[rule.name]["state"] == "passed"
    # The middle slice of two.
    assert found["random"]["slice"] == "1"
    assert found["bound violated"]["state"] == "passed"
    # Each step of its attack saw other draws.
    assert found["not converged"]["state"] == NOT_CHECKED
    text = (tmp_path / "results/table1.md").read_text(encoding="utf-8")
    assert "Flags: 0 raised of " in text


@pytest.mark.parametrize("kind, measure", [("suite-l2", "effect"), ("suite-l2-error", "rmse")])
@pytest.mark.parametrize("square, state", [(5.0, RAISED), (2.0, "passed")])
def test_members_of_a_suite_are_compared_with_each_other(tmp_path, square, state, kind, measure):
    path = str(tmp_path / "slice_00000.h5")
    reached = {"power": 3.0, "square": square, "apgd-larger": 4.0}
    arrays = {f"reached_{name}": np.float32(value**2 / 2) for name, value in reached.items()}
    best = max(reached.values())
    arrays["history"] = np.full((2, 3), best**2 / 2, np.float32)
    arrays["perturbation"] = np.ones((2, 2), np.complex64) / 2
    attributes = {"kind": kind, "scale": 1.0, "model_hash": "x", "settings": {"radius": 1.0}}
    attack_files.write_attack(path, arrays, attributes)
    candidate = SimpleNamespace(name="m", attack_path=lambda *_: path)
    rows = [row("none", 0.0, 0.0, 1.0), {**row(kind, 1.0, 1.5, 1.5), measure: best}]
    rows = [{**one, "draw_norm": 9.0, "operator_norm": 1.0} for one in rows]
    flags = {flag.name: flag for flag in flagged.flags_of_run(candidate, rows, [])}
    assert flags["black box wins"].state == state
    assert flags["black box wins"].case.found == pytest.approx(square / 4 - 1, abs=1e-5)
    # The whole history is of one number.
    assert flags["not converged"].case.found == pytest.approx(0)


@pytest.mark.parametrize("version", ["dynamic-1", "dynamic-small-1"])
def test_a_last_search_of_another_kind_says_nothing_of_convergence(tmp_path, version):
    """The proposals that end these suites find less than their gradients, however short."""
    path = str(tmp_path / "slice_00000.h5")
    settings = {"radius": 1.0, "version": version}
    attributes = {"kind": "suite-l2", "scale": 1.0, "model_hash": "x", "settings": settings}
    arrays = {"history": np.float32([[0.0, 8.0], [0.0, 0.5]])}
    arrays["perturbation"] = np.ones((2, 2), np.complex64) / 2
    attack_files.write_attack(path, arrays, attributes)
    candidate = SimpleNamespace(name="m", attack_path=lambda *_: path)
    rows = [row("none", 0.0, 0.0, 1.0), {**row("suite-l2", 1.0, 4.0, 1.5)}]
    rows = [{**one, "draw_norm": 9.0, "operator_norm": 1.0} for one in rows]
    flags = {flag.name: flag for flag in flagged.flags_of_run(candidate, rows, [])}
    assert flags["not converged"].state == NOT_CHECKED


@pytest.mark.parametrize("error, state", [(2.9, "passed"), (3.1, RAISED)])
def test_an_error_is_at_most_that_without_an_attack_and_a_proved_effect(error, state, monkeypatch):
    stored = {"settings": {"radius": 1.0}, "history": np.full((1, 3), error**2 / 2)}
    monkeypatch.setattr(attack_files, "read_attack", lambda *_, **__: stored)
    monkeypatch.setattr(flagged, "smallest_bound", lambda *_: 2.0)
    candidate = SimpleNamespace(name="m", attack_path=lambda *_: "")
    rows = [row("none", 0.0, 0.0, 1.0), row("apgd-l2-error", 1.0, 0.5, error)]
    # An attack on the effect is not compared with it.
    rows.append(row("apgd-l2", 1.0, 1.0, 9.0))
    flags = {flag.name: flag for flag in flagged.flags_of_run(candidate, rows, [])}
    assert flags["bound violated"].state == state
    assert flags["bound violated"].case.found == pytest.approx(error / 3 - 1)
    assert flags["single step wins"].state == NOT_CHECKED


RAISED_ONE = flag_of(RULES["black box wins"], [Case(0.05, 3, 1.5, "square-l2", "2.1, and 2")])
FLAGS = {
    "first": [RAISED_ONE, flag_of(RULES["not monotone"], [Case(0.0, 1, 1.5)])],
    "second": [unchecked(RULES["black box wins"], "No attack."), *map(unchecked, OF_MODELS, "x")],
}


def test_the_table_has_the_raised_flags_alone():
    table = flagged.flag_table(FLAGS)
    line = ["first", "black box wins", "0.0500", "0.0100", "3", "1.50", "square-l2"]
    assert table.lines[1:] == [line]
    assert table.note.startswith(
        "Flags: 1 raised of 2 that could be checked. Not checked, of some model at least: "
        "black box wins, no answer."
    )
    assert flagged.flag_table({"second": FLAGS["second"]}) is None


@pytest.mark.slow
def test_the_report_shows_a_raised_flag(original, tmp_path, monkeypatch):
    monkeypatch.setattr(flagged, "flags_of_run", lambda *_: [RAISED_ONE])
    evaluate([original], tmp_path)
    for name in ("report.html", "table1.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "these say that a number is likely to be wrong" in text
        assert "square-l2" in text


# Models with random draws


@pytest.mark.slow
def test_what_an_attack_has_learned_of_its_draws_is_read_from_its_files(tmp_path):
    settings = [*SMOOTHED, "data.num_test=2", "defence.num_samples=1"]
    settings += ["attacks=apgd,ascent"]
    settings += ["attacks.apgd.sizes=0.5", "attacks.apgd.steps=8", "attacks.apgd.draws=1"]
    run_dir = make_run(tmp_path / "smoothed", *settings)
    seen, unseen = [], []
    for index in range(2):
        with h5py.File(attack_files.attack_path(run_dir, 0.5, index, "apgd-l2")) as file:
            seen.append(np.sqrt(2 * file["history"][()].max()))
            unseen.append(np.sqrt(2 * file["unseen"][()]))
    evaluate([run_dir], tmp_path / "results")
    row = read(tmp_path / "results")["EoT too small"]
    gain = np.mean(seen) / np.mean(unseen) - 1
    assert float(row["found"]) == pytest.approx(gain, rel=1e-4)
    assert row["state"] == (RAISED if gain > 0.02 else "passed")
    assert row["attack"] == "apgd-l2" and "on the draws that it saw" in row["note"]
    text = (tmp_path / "results/table1.md").read_text(encoding="utf-8")
    assert "Tracks, beside deterministic: smoothed random" in text


# Several runs, and attacks of one step


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs, the first with an attack of one step, and a folder with their transfers."""
    folder = tmp_path_factory.mktemp("pair")
    several = ["attacks=power,ascent", "attacks.power.steps=1", "attacks.power.sizes=1.0"]
    run_dirs = [make_run(folder / "one", "data.num_test=2", *several)]
    run_dirs.append(make_run(folder / "other", "data.num_test=2", "model.filters=2"))
    transfer(run_dirs, folder / "results")
    return run_dirs, folder / "results"


def read_transfer(folder):
    with open(folder / "transfer.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def states_of(folder, name):
    """What became of a rule, by the models."""
    with open(folder / "flags.csv", newline="", encoding="utf-8") as file:
        return {entry["model"]: entry for entry in csv.DictReader(file) if entry["flag"] == name}


@pytest.mark.slow
def test_changes_of_other_runs_are_compared_where_they_were_transferred(pair, tmp_path):
    run_dirs, folder = pair
    output = shutil.copytree(folder, tmp_path / "results")
    evaluate(run_dirs, output)
    effects = {}
    for entry in read_transfer(folder):
        place = entry["source"], entry["target"], float(entry["radius"])
        effects[place] = float(entry["effect"])
    for own, other in (("one", "other"), ("other", "one")):
        gains = []
        for radius in (0.5, 1.0):
            gains.append(effects[other, own, radius] / effects[own, own, radius] - 1)
        row = states_of(output, "transfer wins")[own]
        assert float(row["found"]) == pytest.approx(max(gains), rel=1e-3, abs=1e-5)
        assert row["state"] == (RAISED if max(gains) > 1e-3 else "passed")
        assert row["attack"] == f"found for {other}" and row["slice"] == ""


@pytest.mark.slow
def test_transfers_of_other_attacks_count_for_nothing(pair, tmp_path):
    run_dirs, folder = pair
    output = shutil.copytree(folder, tmp_path / "results")
    rows = read_transfer(folder)
    for entry in rows:
        entry["effect"] = 1.5 * float(entry["effect"])
    tables.write_csv(output / "transfer.csv", rows)
    evaluate(run_dirs[:1], output)
    assert states_of(output, "transfer wins")["one"]["state"] == NOT_CHECKED
    (output / "transfer.csv").write_text("source,target\n1,2\n")
    evaluate(run_dirs[:1], output)
    assert states_of(output, "transfer wins")["one"]["state"] == NOT_CHECKED


@pytest.mark.slow
def test_an_attack_of_one_step_is_compared_with_others(pair, tmp_path):
    run_dirs, _ = pair
    evaluate(run_dirs, tmp_path)
    found = states_of(tmp_path, "single step wins")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = [entry for entry in csv.DictReader(file) if entry["model"] == "one"]
    gains = []
    for index in ("0", "1"):
        effects = {}
        for entry in rows:
            if entry["slice"] == index and float(entry["radius"]) == 1:
                effects[entry["attack"]] = float(entry["effect"])
        gains.append(effects["power-l2"] / effects["l2"] - 1)
    assert float(found["one"]["found"]) == pytest.approx(max(gains), rel=1e-3, abs=1e-5)
    assert found["one"]["attack"] == "power-l2"
    assert found["other"]["state"] == NOT_CHECKED
