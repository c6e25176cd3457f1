"""The boards in docs/leaderboard: their pages, tables and rows say the same, of one protocol."""

import collections
import csv
import html
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfvn.leaderboard import addresses, run, schema
from tfvn.leaderboard.board import read

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "leaderboard"
HEARTS = ROOT.parent / "shared" / "data" / "cardiac_slices.npz"
BOARDS = sorted(path.parent for path in FOLDER.glob("*/results.csv"))


def rows_of(board):
    """The rows of a board by name, and the texts of their files."""
    texts = {}
    for path in sorted((board / "rows").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        texts[json.loads(text)["name"]] = text
    return {name: json.loads(text) for name, text in texts.items()}, texts


def worst_of(board):
    """The worst rmse of each slice from the table, by row and radius; the largest effects too."""
    found = collections.defaultdict(dict)
    with open(board / "results.csv", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            slices = found[line["model"], float(line["radius"])]
            rmse, effect = slices.get(line["slice"], (0, 0))
            slices[line["slice"]] = (
                max(rmse, float(line["rmse"])),
                max(effect, float(line["effect"])),
            )
    return found


def test_there_is_a_board():
    assert BOARDS


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_rows_and_results_agree(board):
    rows, _ = rows_of(board)
    worst = worst_of(board)
    radii = {radius for _, radius in worst}
    assert {name for name, _ in worst} == set(rows)
    for name, row in rows.items():
        schema.check(row, name)
        told = {0.0: row["clean"], **{one["radius"]: one for one in row["worst"]}}
        assert set(told) == radii
        for radius, numbers in told.items():
            errors, effects = zip(*worst[name, radius].values())
            assert len(errors) == row["slices"]
            rmse = math.sqrt(sum(error**2 for error in errors) / len(errors))
            assert numbers["rmse"] == pytest.approx(rmse, rel=1e-6)
            assert numbers["worst"] == pytest.approx(max(errors), rel=1e-6)
            if radius:
                # That of the change with the worst error.
                assert numbers["effect"] <= sum(effects) / len(effects) * (1 + 1e-6)


def file_of(board):
    """The file of a published board, whose hashes are those of what is published."""
    rows, _ = rows_of(board)
    row = next(iter(rows.values()))
    theirs = row["origin"]["numpy"]
    if theirs.split(".")[0] != np.__version__.split(".")[0]:
        pytest.skip(
            f"the board was computed with NumPy {theirs}: another one pickles masks otherwise"
        )
    if row["protocol"]["source"] and not HEARTS.exists():
        pytest.skip(f"{HEARTS} is not here: its content is a part of the hashes")
    return ROOT / "configs" / "leaderboard" / f"{board.name}.yaml"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_its_file_still_stands_for_what_is_published(board):
    # A new setting of a model that changes a hash computes all of its rows again: see `_YOUNGER`.
    rows, _ = rows_of(board)
    found = {}
    for entry in read(file_of(board)).entries:
        training = addresses.of_training(entry.config)
        found[entry.name] = training, addresses.of_row(entry.config, training)
    hashes = {name: row["hashes"] for name, row in rows.items()}
    assert found == {name: (one["training"], one["row"]) for name, one in hashes.items()}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_floor_is_that_of_its_lines(board):
    rows, _ = rows_of(board)
    largest = collections.defaultdict(lambda: collections.defaultdict(float))
    lines = []
    if (board / "floor.csv").exists():
        with open(board / "floor.csv", encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    for line in lines:
        own = largest[float(line["radius"])]
        own[line["slice"]] = max(own[line["slice"]], float(line["error"]))
    for row in rows.values():
        assert [one["radius"] for one in row["floor"]] == list(largest)
        for one in row["floor"]:
            errors = largest[one["radius"]].values()
            rmse = math.sqrt(sum(error**2 for error in errors) / len(errors))
            assert len(errors) == row["slices"]
            assert one["rmse"] == pytest.approx(rmse, rel=1e-6)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_all_rows_are_of_one_protocol_and_stand_on_the_page(board):
    rows, texts = rows_of(board)
    assert len({json.dumps(row["protocol"]) for row in rows.values()}) == 1
    assert len({row["hashes"]["data"] for row in rows.values()}) == 1
    page = html.unescape((board / "leaderboard.html").read_text(encoding="utf-8"))
    table = (board / "leaderboard.md").read_text(encoding="utf-8")
    for name, text in texts.items():
        assert text.strip() in page
        assert f" {name} |" in table


WITH_STORE = [board for board in BOARDS if (board / "store").exists()]


@pytest.mark.slow
@pytest.mark.parametrize("board", WITH_STORE, ids=lambda board: board.name)
def test_a_call_in_a_published_folder_computes_nothing(board, tmp_path, monkeypatch):
    path, there = file_of(board), tmp_path / "out"
    shutil.copytree(board, there)
    monkeypatch.setattr(run, "train_run", None)
    monkeypatch.setattr(run, "attack_run", None)
    # Paths of data are from here.
    monkeypatch.chdir(ROOT)
    run.leaderboard(str(path), str(there))
    before, after = (
        {one.relative_to(folder): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
        for folder in (board, there)
    )
    assert before == after
