"""The flags of an evaluation: its file, its table, and where their numbers come from."""

import csv
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from test_evaluation import SMOOTHED, make_run
from test_strongest import row

from tfvn.results import flagged
from tfvn.results.evaluate import evaluate
from tfvn.results.flags import NOT_CHECKED, RAISED, Case, flag_of, unchecked
from tfvn.results.rules import OF_MODELS, RULES
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


@pytest.mark.parametrize("square, state", [(5.0, RAISED), (2.0, "passed")])
def test_members_of_a_suite_are_compared_with_each_other(tmp_path, square, state):
    path = str(tmp_path / "slice_00000.h5")
    reached = {"power": 3.0, "square": square, "apgd-larger": 4.0}
    arrays = {f"reached_{name}": np.float32(value**2 / 2) for name, value in reached.items()}
    best = max(reached.values())
    arrays["history"] = np.full((2, 3), best**2 / 2, np.float32)
    arrays["perturbation"] = np.ones((2, 2), np.complex64) / 2
    attributes = {"kind": "suite-l2", "scale": 1.0, "model_hash": "x", "settings": {"radius": 1.0}}
    attack_files.write_attack(path, arrays, attributes)
    candidate = SimpleNamespace(attack_path=lambda *_: path)
    rows = [{**row("suite-l2", 1.0, best, 1.0), "draw_norm": 9.0, "operator_norm": 1.0}]
    flags = {flag.name: flag for flag in flagged.flags_of_run(candidate, rows, [])}
    assert flags["black box wins"].state == state
    assert flags["black box wins"].case.found == pytest.approx(square / 4 - 1, abs=1e-5)


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


def test_the_report_shows_a_raised_flag(original, tmp_path, monkeypatch):
    monkeypatch.setattr(flagged, "flags_of_run", lambda *_: [RAISED_ONE])
    evaluate([original], tmp_path)
    for name in ("report.html", "table1.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "these say that a number is likely to be wrong" in text
        assert "square-l2" in text
