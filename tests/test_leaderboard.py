"""What a board's file says, and what is told of rows: on made-up numbers."""

import base64
import copy
import csv
import io
import itertools
import json
import math
import os

import numpy as np
import pytest
import tensorflow as tf
from boards import ATTACKS, TEXT, board_of, flag, known, told_of
from PIL import Image
from test_report import CLOSING, NASTY, Page, browser, errors, opened, resize  # noqa: F401

from tfvn import config as configs
from tfvn.choices import ABOUT
from tfvn.leaderboard import (
    addresses,
    certified,
    floors,
    heat,
    intervals,
    labels,
    named,
    page,
    pareto,
    plan,
    ranking,
    schema,
    shown,
    store,
    told,
)
from tfvn.leaderboard.board import read
from tfvn.leaderboard.entrant import entrant_of
from tfvn.paper import protocol
from tfvn.results import strongest
from tfvn.results.candidates import Case

FORMULA = "=1+1"


@pytest.fixture
def board(tmp_path):
    return board_of(tmp_path, "first", "second")


# The file


def test_a_board_has_the_exact_rows_and_its_own_under_one_protocol(board):
    assert [entry.name for entry in board.entries] == ["zero-filled", "cg-sense", "first", "second"]
    assert {entry.config.data.num_test for entry in board.entries} == {3}
    assert [part.name for part in board.entries[2].config.attacks] == ["ascent", "power"]
    assert (board.entries[2].config.seed, board.entries[0].config.seed) == (3, 0)
    assert board.radii() == [0.5, 1.0, 2.5] and board.middle() == 1.0
    assert (board.title, board.version, board.floor) == ("made up", "made-1", True)


HEARTS = os.path.join("..", "shared", "data", "cardiac_slices.npz")


@pytest.mark.parametrize(
    "name, rows",
    [
        ("quick", 4),
        ("small", 14),
        ("defences", 31),
        ("smoothed", 14),
        ("modl", 17),
        ("dynamic", 7),
        ("hearts", 13),
    ],
)
def test_the_boards_of_the_package_can_be_read(name, rows):
    if name == "hearts" and not os.path.exists(HEARTS):
        pytest.skip(f"{HEARTS} is not here: its content is a part of the hashes")
    found = read(f"{protocol.CONFIGS}/leaderboard/{name}.yaml")
    assert len(found.entries) == rows and len(found.radii()) == 3
    models = {entry.config.model.name for entry in found.entries}
    assert {"zero-filled", "cg-sense"} <= models


def test_what_the_data_are_stands_in_each_row_and_where_they_are_from_below_the_table(tmp_path):
    np.save(tmp_path / "hearts.npy", np.ones((3, 8, 8), np.float32))
    made = "{format: synthetic, height: 20, width: 16, num_coils: 2, num_train: 2, num_test: 3}"
    images = f"{{format: images, path: {tmp_path / 'hearts.npy'}, num_coils: 2}}"
    board_of(tmp_path)
    text = TEXT.format(title="t", rows="source: hearts of *A*, MIT.\n" + ROW)
    text = text.replace("rows:\nsource", "source").replace("MIT.\n", "MIT.\nrows:\n")
    path = tmp_path / "board.yaml"
    path.write_text(text.replace(made, images), encoding="utf-8")
    board = read(path)
    rows = told_of(board, [known()] * 3)
    protocol = rows[0]["protocol"]
    assert (protocol["source"], protocol["data"]["format"]) == ("hearts of *A*, MIT.", "images")
    assert protocol["sampling"] == {"mask": "equispaced", **board.protocol.sampling.settings}
    # Where a file lies is nobody's business.
    assert str(tmp_path) not in json.dumps(rows)
    table = page.markdown(board, rows)
    assert "Data: hearts of *A*, MIT. Protocol made-1: 3 slices" in table
    assert "Data: hearts of *A*, MIT. Protocol" in page.html(board, rows, known()["rows"])


def test_weights_to_begin_with_are_known_by_their_content(tmp_path):
    hashes = []
    for name, content in (("a.keras", b"1"), ("b.keras", b"1"), ("c.keras", b"2")):
        (tmp_path / name).write_bytes(content)
        start = f"training.initial_weights={tmp_path / name}"
        hashes.append(addresses.of_training(configs.load("configs/smoke.yaml", [start])))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_folder_with_a_comma_would_be_two_networks_of_an_ensemble(tmp_path):
    with pytest.raises(ValueError, match="must have no comma in its path.*knees, 20"):
        page.check_output(str(tmp_path / "knees, 20"))


def test_a_row_whose_error_nobody_knows_has_no_rank(tmp_path):
    board = board_of(tmp_path, "a", "b")
    summaries = [known(seed) for seed in range(len(board.entries))]
    for one in summaries[-1]["rows"]:
        one["rmse"] = math.nan
    lines = page.lines_of(board, told_of(board, summaries))
    assert [cells[0] for _, cells in lines] == [("1", 1), ("2", 2), ("3", 3), ("-", None)]


def test_curves_are_of_all_attacks_of_a_row(tmp_path):
    every = [one for seed in (1, 2) for one in known(seed)["rows"]]
    names = ["plain", "attacked by more"]
    for one, name in zip(every, np.repeat(names, len(every) // 2)):
        one["model"] = str(name)
    more = [{**one, "attack": "apgd-l2", "effect": 9.0} for one in every if one["radius"] == 1.0]
    found = page._worst([*every, *(one for one in more if one["model"] == names[1])])
    largest = {name: {one["effect"] for one in found if one["model"] == name} for name in names}
    assert 9.0 in largest[names[1]] and 9.0 not in largest[names[0]]
    # One curve: one name for all.
    assert len({one["attack"] for one in found}) == 2


def test_a_row_of_that_model_stands_for_the_exact_one(tmp_path):
    board_of(tmp_path)
    text = TEXT.format(title="t", rows="  - {name: zf, config: c.yaml, set: [model=zero-filled]}")
    (tmp_path / "board.yaml").write_text(text, encoding="utf-8")
    names = [entry.name for entry in read(tmp_path / "board.yaml").entries]
    assert names == ["cg-sense", "zf"]


def test_a_row_takes_the_networks_of_rows_above(tmp_path):
    board_of(tmp_path)
    rows = """\
  - {name: a, config: c.yaml}
  - {name: a b, config: c.yaml, set: [seed=1, "training.initial_weights=row:a"]}
  - {name: c, config: c.yaml, set: [defence=ensemble, "defence.others=row:a b,row:a"]}
"""
    path = tmp_path / "board.yaml"
    path.write_text(TEXT.format(title="t", rows=rows), encoding="utf-8")
    first, second, third = (entry.config for entry in read(path).entries[-3:])
    trainings = [addresses.of_training(config) for config in (first, second)]
    assert trainings[0] != trainings[1]
    # Their hashes are what a hash depends on, and not where they lie.
    assert second.training.initial_weights == f"training:{trainings[0]}"
    assert third.defence.settings["others"] == f"training:{trainings[1]},training:{trainings[0]}"
    there = store.Store(str(tmp_path))
    assert there.resolved(second).training.initial_weights == there.training(first)
    others = ",".join([there.training(second), there.training(first)])
    assert there.resolved(third).defence.settings["others"] == others
    assert there.resolved(first) is first


ROW = "  - {name: a, config: c.yaml}\n"
OWN = "  - {{name: a, config: c.yaml, attacks: [{}]}}\n"


@pytest.mark.parametrize(
    "changed, rows, message",
    [
        ("", "  - {name: a, confg: c.yaml}\n", "Did you mean 'config'"),
        ("", "  - {config: c.yaml}\n", "row 1 has no name"),
        ("", "  a: {config: c.yaml}\n", "rows are a list of '- name: ...'"),
        (
            "",
            ROW + "  - {name: b, config: c.yaml, set: ['training.initial_weights=row:a, plain']}\n",
            "There is none of that name. Received: 'training.initial_weights=row:a, plain'",
        ),
        (
            "",
            ROW + "  - {name: b, config: c.yaml, set: ['model.file=row:a']}\n",
            "model.file is a file. For the network of a row above give training.initial_weights",
        ),
        ("", "  - {name: a}\n", "row 'a' has no model"),
        ("", ROW + ROW, "different names. Received twice: 'a'"),
        ("", "  - {name: a, config: c.yaml, set: [model.filtrs=3]}\n", "filtrs"),
        ("", "  - {name: zero-filled, config: c.yaml}\n", "is that of a model"),
        ("", '  - {name: a, config: c.yaml, set: ["defence.others=row:a"]}\n', "of a row above"),
        ("model: unet\n", ROW, "belong to the configuration of a row"),
        ("rows: a\n", "", "rows are a list"),
        ("title: [a]\n", ROW, "title is a text"),
        ("floor: perhaps\n", ROW, "floor is true or false. Received: 'perhaps'"),
        (
            "",
            OWN.format("{name: apgd, sizes: [3]}"),
            "radii that the protocol has, [0.5, 1.0, 2.5]",
        ),
        (
            "",
            OWN.format("{name: power, sizes: [1]}"),
            "the attacks of row 'a', with those of the protocol: attacks must be of different",
        ),
        ("", OWN.format("{name: apgd, stps: 3}"), "the attacks of row 'a'"),
        ("", "  - {name: a, config: c.yaml, set: [{a: b}]}\n", "set of a row has no sections"),
    ],
)
def test_what_is_wrong_with_the_file_is_told(tmp_path, changed, rows, message):
    board_of(tmp_path)
    text = TEXT.format(title="t", rows=rows)
    if changed.startswith(("rows", "title")):
        key = changed.partition(":")[0]
        text = "".join(x for x in text.splitlines(True) if not x.startswith(f"{key}:"))
    (tmp_path / "board.yaml").write_text(changed + text, encoding="utf-8")
    with pytest.raises(ValueError, match="board.yaml") as raised:
        read(tmp_path / "board.yaml")
    assert message in str(raised.value)


def test_a_row_may_be_attacked_by_more_than_the_protocol_has(tmp_path):
    board_of(tmp_path)
    rows = OWN.format("{name: apgd, goal: error, gradient: last-steps, sizes: [0.5, 2.5]}, linf")
    rows += ROW.replace("name: a", "name: b")
    text = TEXT.format(title="t", rows=rows.replace("linf", "{name: ascent, norm: linf}"))
    (tmp_path / "board.yaml").write_text(text, encoding="utf-8")
    own, other = (entry.config for entry in read(tmp_path / "board.yaml").entries[-2:])
    kinds = [part.make(seed=0).kind for part in own.attacks]
    assert kinds == ["l2", "power-l2", "apgd-l2-error", "linf"]
    assert own.attacks[:2] == other.attacks
    # The network and its slices are those of any other row; what was measured of them is not.
    assert addresses.of_training(own) == addresses.of_training(other)
    assert addresses.of_attacks(own) != addresses.of_attacks(other)


def test_a_protocol_needs_an_attack_in_l2_balls(tmp_path):
    board_of(tmp_path)
    text = TEXT.format(title="t", rows=ROW).replace("name: ascent", "name: ascent, norm: linf")
    text = text.replace("name: power", "name: power, threat: kspace")
    (tmp_path / "board.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="attacks in l2 balls reach, and the protocol has none"):
        read(tmp_path / "board.yaml")


# Hashes


@pytest.mark.parametrize(
    "settings, same_training, same_row",
    [
        ({"training.progress": "addons"}, True, True),
        ({"data.cache_dir": "elsewhere"}, True, True),
        ({"defence": {"name": "smoothed", "sigma": 0.1}}, True, False),
        ({"seed": 5}, False, False),
        ({"model.filters": 5}, False, False),
        ({"training.iterations": 5}, False, False),
        ({"data.num_test": 2}, False, False),
        ({"sampling.acceleration": 3}, False, False),
    ],
)
def test_a_hash_changes_with_what_the_result_depends_on(board, settings, same_training, same_row):
    config = board.entries[2].config
    other = config.changed(settings)
    trainings = [addresses.of_training(one) for one in (config, other)]
    rows = [addresses.of_row(*both) for both in zip((config, other), trainings)]
    assert (trainings[0] == trainings[1], rows[0] == rows[1]) == (same_training, same_row)


def test_a_weigher_that_is_not_there_leaves_the_hash_as_it_was():
    found = []
    for settings in ({}, {"weigher": 0}, {"weigher": 2}, {"weigher": 3}):
        config = configs.load(settings={"model": {"name": "modl", **settings}})
        found.append(addresses.of_training(config))
    assert found[0] == found[1] and len(set(found)) == 3


def test_a_given_network_is_known_by_its_content(tmp_path):
    found = []
    for name, content in {"a.keras": b"1", "b.keras": b"1", "c.keras": b"2"}.items():
        (tmp_path / name).write_bytes(content)
        config = configs.load(settings={"model": {"file": str(tmp_path / name)}})
        found.append(addresses.of_training(config))
    assert found[0] == found[1] != found[2]
    with pytest.raises(ValueError, match="cannot read nowhere.keras: No such file"):
        addresses.of_training(configs.load(settings={"model": {"file": "nowhere.keras"}}))


@pytest.mark.parametrize("name, key", [("ensemble", "others"), ("purified", "denoiser")])
def test_the_networks_of_a_defence_are_known_by_their_content(tmp_path, name, key):
    found = []
    for content in (b"1", b"2", b"1"):
        (tmp_path / "a.keras").write_bytes(content)
        config = configs.load(settings={"defence": {"name": name, key: str(tmp_path / "a.keras")}})
        found.append(addresses.of_row(config, "a training"))
    assert found[0] == found[2] != found[1]
    os.remove(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="a.keras: No such file"):
        addresses.of_row(config, "a training")


def hashes_of_images(folder):
    files = {"path": "images.npy", "sensitivity_path": "maps.npy"}
    files = {key: str(folder / name) for key, name in files.items()}
    config = configs.load(settings={"data": {"format": "images", **files}})
    training = addresses.of_training(config)
    return training, addresses.of_row(config, training), addresses.of_floor(config, [1.0])


def test_data_in_files_are_known_by_their_content(tmp_path):
    images = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    maps = np.ones((2, 8, 8), np.complex64)
    found = {}
    for name in ("here", "there", "other maps", "other images"):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "images.npy", images * (2 - (name == "other images")))
        np.save(folder / "maps.npy", maps * (2 - (name == "other maps")))
        os.utime(folder / "images.npy", (len(found), 1))
        found[name] = hashes_of_images(folder)
    assert found["here"] == found["there"]
    for name in ("other maps", "other images"):
        assert not set(found["here"]) & set(found[name])
    # A file that was changed after it had been read is another one.
    np.save(tmp_path / "here" / "images.npy", 3 * images)
    assert not set(found["here"]) & set(hashes_of_images(tmp_path / "here"))


def test_each_attack_has_a_folder_of_its_own(board, tmp_path):
    config = board.entries[0].config
    entrant = entrant_of(str(tmp_path / "row"), config)
    assert entrant.attacks == ATTACKS
    first, second = config.attacks
    assert entrant.only(second).attacks == ATTACKS[3:]
    path = entrant.attack_path("power-l2", 1.0, 2)
    assert path.startswith(str(tmp_path / "row" / addresses.of_attack(second)))
    assert entrant.attack_path("l2", 1.0, 2).startswith(entrant.folder(first))
    with pytest.raises(ValueError, match="no attack l1"):
        entrant.attack_path("l1", 1.0, 0)


# What is told


def test_effects_at_all_radii_and_gradients_stand_in_the_table(board):
    trained = known(model={**known()["model"], "trained_on": {"gradients": 4520}})
    heads = [name for name, _ in page.columns(board)]
    for summary, gradients in ((trained, ("4,520", 4520)), (known(), ("-", None))):
        rows = told_of(board, [summary])
        ((_, cells),) = page.lines_of(board, rows)
        assert cells[heads.index("gradients")] == gradients
        effects = [cells[heads.index(f"effect, radius {radius:g}")][1] for radius in board.radii()]
        assert effects == [one["effect"] for one in rows[0]["worst"]]


def test_the_score_is_the_mean_of_the_worst_and_not_the_worst_of_the_means(board):
    summary = known()
    row = told_of(board, [summary])[0]
    for found in row["worst"]:
        own = {}
        for one in summary["rows"]:
            if one["attack"] != "none" and one["radius"] == found["radius"]:
                own.setdefault(one["slice"], []).append(one["rmse"])
        worst = np.array([max(errors) for errors in own.values()])
        assert found["rmse"] == pytest.approx(np.sqrt(np.mean(worst**2)), rel=1e-6)
        assert found["median"] == pytest.approx(np.median(worst), rel=1e-6)
        assert (found["worst"], found["worst_slice"]) == (
            pytest.approx(worst.max(), rel=1e-6),
            worst.argmax(),
        )
        low, high = found["interval"]
        ends = intervals.interval(worst, [row["patient_of"][i] for i in own])
        assert (low, high) == pytest.approx(ends, rel=1e-6) and low <= found["rmse"] <= high
    assert [(one["attack"], one["size"]) for one in row["attacks"]] == ATTACKS


def test_how_far_a_row_is_above_the_rank_before_stands_in_the_table(board):
    rows = told_of(board, [known(n) for n in range(4)])
    head = [name for name, _ in page.columns(board)].index("% above the rank before")
    first, *others = [cells for _, cells in page.lines_of(board, rows)]
    assert first[head] == ("-", None)
    part = ranking.ranked(rows, board.middle())[0].rows
    for cells, row, before in zip(others, part[1:], part):
        errors = [ranking.at_radius(one, 1.0)["errors"] for one in (row, before)]
        share, low, high = intervals.excess(*errors, ["a", "a", "b"])
        assert cells[head][1] == pytest.approx(100 * share)
        assert cells[head][0] == f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    assert rows[0]["patient_of"] == [0, 0, 1]
    part[1]["worst"][1]["errors"][0] = None
    assert page.lines_of(board, rows)[1][1][head] == ("-", None)


def test_another_rows_change_raises_the_best_known_error_and_a_flag(board):
    plain = told_of(board, [known()])[0]
    weak = [{"slice": i, "radius": 1.0, "effect": 0.1, "rmse": 0.1} for i in range(3)]
    weak += [{**one, "radius": radius} for one in weak for radius in (0.5, 2.5)]
    strong = [{**one, "rmse": 9.0, "effect": 99.0} if one["slice"] == 1 else one for one in weak]
    row = told_of(board, [known()], {"weak": weak, "strong": strong})[0]
    best, own = row["best_known"][1], plain["worst"][1]
    assert plain["best_known"][1] == {
        "radius": 1.0,
        "rmse": own["rmse"],
        "found_for": [],
        "found_by": [],
    }
    assert best["found_for"] == ["strong"] and best["rmse"] > math.sqrt(81 / 3)
    # The ranks are by the row's own attacks.
    assert row["worst"] == plain["worst"]
    # An effect of 99 is beyond what is proved, too.
    assert ranking.raised(row) == ["transfer wins", "bound violated"] and row["unreliable"]
    assert ranking.raised(plain) == [] and not plain["unreliable"]
    row = told_of(board, [known()], {"weak": weak})[0]
    assert [one["state"] for one in row["flags"]] == ["passed", "passed"]


@pytest.mark.parametrize("share, preliminary", [(1.019, True), (1.021, False)])
def test_a_change_of_another_row_that_does_little_more_leaves_the_rank(board, share, preliminary):
    found = known()
    found["proved"] = []
    (plain,) = told_of(board, [found])
    others = []
    for one in plain["worst"]:
        for index in range(3):
            numbers = {"effect": share * one["effect"], "rmse": 0.1}
            others.append({"slice": index, "radius": one["radius"], **numbers})
    row = told_of(board, [found], {"other": others})[0]
    assert ranking.raised(row) == ["transfer wins"]
    assert (row["preliminary"], row["unreliable"]) == (preliminary, not preliminary)


@pytest.mark.parametrize("last", [0.1, math.nan])
@pytest.mark.parametrize("key, raised", [("effect", []), ("rmse", ["transfer wins"])])
def test_a_row_that_was_attacked_on_its_error_is_compared_in_its_error(board, key, raised, last):
    found = known()
    found["proved"] = []
    for one in found["rows"]:
        one["attack"] = {"l2": "apgd-l2-error", "power-l2": "power-l2-error"}.get(
            one["attack"], one["attack"]
        )
    (plain,) = told_of(board, [found])
    others = []
    for one in plain["worst"]:
        for index in range(3):
            numbers = {"effect": 0.1, "rmse": 0.1, key: 2 * max(one["errors"])}
            others.append({"slice": index, "radius": one["radius"], **numbers})
    # A change that the row has no answer to is no better than another one.
    none = [{**one, "effect": last, "rmse": last} for one in others]
    row = told_of(board, [found], {"none": none, "other": others})[0]
    assert ranking.raised(row) == raised


@pytest.mark.parametrize("effect, raised", [(1.4, []), (1.6, ["bound violated"])])
def test_a_submitted_change_beyond_a_proof_raises_a_flag(board, effect, raised):
    results = [{"slice": i, "radius": 1.0, "effect": effect, "rmse": 0.1} for i in range(3)]
    one = {"hash": "1a", "by": "me", "note": "", "radius": 1.0, "results": results}
    row = told.row_of(board, board.entries[0], known(), {}, [one])
    assert ranking.raised(row) == raised
    found = [flag for flag in row["flags"] if flag["flag"] == "bound violated"]
    assert [flag["attack"] for flag in found] == ["found by me"][: len(raised)]


def test_a_row_is_as_the_schema_says_and_stays_so_as_json(board):
    (row,) = told_of(board, [known(flags=[flag(found=math.nan)])])
    schema.check(json.loads(json.dumps(row, allow_nan=False)))
    assert row["flags"][-1]["found"] is None


def test_the_schema_has_what_a_row_says_of_itself():
    rule = schema.schema()["properties"]["about"]
    assert tuple(rule["properties"]) == tuple(rule["required"]) == ABOUT


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda row: row.pop("track"), "row.track is missing"),
        (lambda row: row.update(track="fast"), "row.track must be one of"),
        (lambda row: row.update(more=1), "row.more is no key"),
        (lambda row: row["clean"].update(rmse="7"), "row.clean.rmse must be number or null"),
        (lambda row: row.update(unreliable=0), "row.unreliable must be boolean"),
        (lambda row: row.update(slices=True), "row.slices must be integer"),
        (lambda row: row["worst"][0]["interval"].pop(), "worst[0].interval must have 2 to 2"),
        (lambda row: row.update(format="tfvn-row-0"), "row.format must be 'tfvn-row-4'"),
    ],
)
def test_a_row_that_is_none_is_refused(board, change, message):
    (row,) = told_of(board, [known()])
    row = copy.deepcopy(row)
    change(row)
    with pytest.raises(ValueError) as raised:
        schema.check(row, "the row")
    assert message in str(raised.value)


# Ranks


def made(name, error, track="deterministic", unreliable=False, clean=1.0):
    worst = [{"radius": 1.0, "rmse": error}]
    row = {"name": name, "track": track, "unreliable": unreliable, "worst": worst}
    return {**row, "clean": {"rmse": clean}}


def test_rows_are_ranked_in_their_track_and_unreliable_ones_apart():
    rows = [made("b", 3.0), made("broken", 0.1, unreliable=True), made("a", 3.0), made("c", 2.0)]
    rows += [made("random", 1.0, "random"), made("none", None)]
    found = {one.track: one for one in ranking.ranked(rows, 1.0)}
    names = [row["name"] for row in found["deterministic"].rows]
    assert names == ["c", "a", "b", "none"]
    assert [row["name"] for row in found["deterministic"].apart] == ["broken"]
    assert [row["name"] for row in found["random"].rows] == ["random"] and len(found) == 2


@pytest.mark.parametrize(
    "names, unreliable, preliminary",
    [
        ([], False, False),
        (["not converged"], False, True),
        (["not converged", "black box wins"], True, False),
        (["zero gradient"], True, False),
    ],
)
def test_a_row_whose_attack_was_short_is_preliminary(board, names, unreliable, preliminary):
    flags = [flag(name, "raised", 0.5) for name in names]
    (row,) = told_of(board, [known(flags=flags)])
    assert (row["unreliable"], row["preliminary"]) == (unreliable, preliminary)
    (part,) = ranking.ranked([row], 1.0)
    assert len(part.rows) == 1 - unreliable and len(part.apart) == unreliable


def test_how_near_an_attack_came_to_the_bound_is_a_share_of_it(board):
    (row,) = told_of(board, [known()])
    effect = ranking.at_radius(row, 1.0)["effect"]
    assert ranking.share_of_bound(row, 1.0) == effect / 1.5
    assert ranking.share_of_bound(row, 2.5) is None and ranking.share_of_bound(row, 0.5) is None
    row["proved"][0]["bound"] = 0.0
    assert ranking.share_of_bound(row, 1.0) is None


# What is proved


def test_the_certified_error_adds_the_bound_to_the_error_of_every_slice(board):
    summary = known()
    (row,) = told_of(board, [summary])
    errors = [one["rmse"] for one in summary["rows"] if one["attack"] == "none"]
    (found,) = row["certified"]
    assert found["radius"] == 1.0
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((np.array(errors) + 1.5) ** 2)), rel=1e-7)
    assert found["rmse"] <= row["clean"]["rmse"] + 1.5


def test_certified_rows_are_ranked_whatever_attacks_say_unless_the_bound_is_wrong(board):
    proved = [{"radius": 1.0, "bound": 0.5}]
    summaries = [known(0), known(1, proved=proved), known(2, proved=[]), known(3)]
    summaries[0]["flags"] = [flag("zero gradient", "raised", 0.0)]
    summaries[3]["flags"] = [flag("bound violated", "raised", 0.5)]
    rows = told_of(board, summaries)
    found = certified.certified_rows(rows, 1.0)
    assert [row["name"] for _, row in found] == ["cg-sense", "zero-filled"]
    assert rows[0]["unreliable"]
    head, first, second = certified.lines_of(rows, board.radii(), 1.0)
    assert first[:2] == ["1", "cg-sense"] and head[-2].endswith("2.5") and first[-2] == "-"
    assert len(head) == len(first) == len(second)
    assert certified.lines_of(rows[2:], board.radii(), 1.0) == []


@pytest.mark.parametrize("bounds", [(1.5, 2.0), (1.5, 400.0)])
def test_the_plot_of_what_is_proved_has_its_ends_in_their_order(board, bounds):
    summaries = [known(n, proved=[{"radius": 1.0, "bound": one}]) for n, one in enumerate(bounds)]
    found = certified.plot(told_of(board, summaries), 1.0)
    first, second = found["lines"]
    assert 0 < first["to"] < second["to"] < 400 and 0 < first["from"] < 400
    assert len(found["ticks"]) >= 2 and first["y"] < second["y"] < found["height"]
    assert second["proved"] == f"cg-sense: proved to be at most {bounds[1]:g}"


# What no method can be below


def floor_lines():
    """The floors of three slices, as of `floor.csv`."""
    errors = {0: (1.0, 3.0), 1: (2.0, 0.5), 2: (2.0, 2.0)}
    lines = []
    for index, both in errors.items():
        for kind, error in zip(("lesion", "texture"), both):
            one = {"slice": index, "name": f"slice {index}", "kind": kind}
            lines.append({**one, "radius": 1.0, "error": error})
    return lines


def test_the_floor_is_of_the_worst_pair_of_every_slice_and_none_without_all_slices(board):
    lines = floor_lines()
    (found,) = floors.floor_of(lines, 3)
    assert found == {"radius": 1.0, "rmse": pytest.approx(math.sqrt((9 + 4 + 4) / 3))}
    assert floors.floor_of(lines, 4) == [] == floors.floor_of([], 3)


def test_the_floor_stands_beside_the_exact_rows_in_every_file(board, tmp_path):
    lines = floor_lines()
    summaries = [known(0), known(1), known(2), known(3)]
    rows = []
    for entry, summary in zip(board.entries, summaries):
        summary["model"]["settings"] = {"name": entry.config.model.name}
        rows.append(told.row_of(board, entry, summary, {}, (), lines))
        schema.check(rows[-1])
    assert [row["name"] for row in floors.exact(rows)] == ["zero-filled", "cg-sense"]
    head, line = floors.lines_of(rows)
    assert head == ["radius", "floor", "zero-filled, attacked", "cg-sense, attacked"]
    attacked = ranking.at_radius(rows[1], 1.0)["rmse"]
    assert line[:2] == ["1", "2.38"] and float(line[3]) == pytest.approx(attacked, rel=0.01)
    measured = [one["rows"] for one in summaries]
    page.write(board, rows, measured, str(tmp_path), (), lines)
    with open(tmp_path / "floor.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [float(one["error"]) for one in found] == [one["error"] for one in lines]
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "\nFloor:\n" in text and floors.NOTE in text
    shown = Page(tmp_path / "leaderboard.html")
    assert "floor" in [one.get("id") for one in shown.all("section")] and floors.NOTE in shown.text
    # Without floors nothing of it is left.
    page.write(board, [{**row, "floor": []} for row in rows], measured, str(tmp_path))
    assert not (tmp_path / "floor.csv").exists()
    assert "Floor" not in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


def test_slices_without_a_true_image_have_no_floor(board, tmp_path, monkeypatch):
    unknown = Case(0, "a", {}, tf.fill((1, 2, 2), tf.complex(math.nan, 0.0)))
    monkeypatch.setattr(floors, "_case", lambda config, index: unknown)
    there = store.Store(str(tmp_path))
    assert floors.floors_of(there, board) == []
    assert len(list((tmp_path / "store" / "floors").rglob("slice_*.json"))) == 3
    monkeypatch.setattr(floors, "_case", None)
    assert floors.floors_of(there, board) == []
    assert floors.floors_of(None, board._replace(floor=False)) == []


# Transfers


def test_a_cell_of_the_map_is_a_share_of_what_the_own_attacks_do(board):
    summary = known()
    others = {"first": moved(summary, 0.5), "cg-sense": moved(summary, 1.2)}
    rows = told_of(board, [summary], others) + told_of(board, [known(1)])
    rows[1]["name"] = "cg-sense"
    lines = heat.cells_of(rows, 1.0)
    assert lines == [[("100", 10), None], [("120", 11), ("100", 10)]]
    (found,) = [
        one for one in rows[0]["transfer"] if one["radius"] == 1 and one["found_for"] == "first"
    ]
    assert found["effect"] == pytest.approx(0.5 * ranking.at_radius(rows[0], 1.0)["effect"])


# Names of networks

HASHES = ["0a" * 12, "1b" * 12, "2c" * 12]


def with_networks(board):
    """Two rows that have one network, the first of them in a defence of both trainings."""
    first, second, third = (f"training:{each}" for each in HASHES)
    rows = told_of(board, [known(), known(1), known(2)])
    for row, training in zip(rows, (0, 0, 1)):
        row["hashes"] = {**row["hashes"], "training": HASHES[training]}
    rows[0]["model"]["defence"] = {"name": "ensemble", "others": f"{second},{third}"}
    rows[1]["model"]["training"] = {"initial_weights": second, "iterations": 3, "profile": ""}
    rows[2]["model"]["settings"] = {"name": "a", "file": first}
    return rows


def test_networks_of_other_rows_have_the_names_of_these_rows(board):
    rows = with_networks(board)
    names = named.names_of(rows)
    assert names == {HASHES[0]: "cg-sense", HASHES[1]: "first"}
    # That of no row keeps its hash.
    both = f"first + training:{HASHES[2]}"
    assert [named.networks_of(row, names) for row in rows] == [
        [("defence.others", both)],
        [("training.initial_weights", "first")],
        [("model.file", "cg-sense")],
    ]
    assert named.told("first,second", names) == "first,second" and named.told(3, names) == 3


def test_a_reader_sees_the_names_of_the_networks(board):
    rows = with_networks(board)
    table = page.markdown(board, rows)
    assert f" ensemble others=first + training:{HASHES[2]} |" in table and HASHES[1] not in table
    shown = page.html(board, rows, known()["rows"])
    assert "<p>training.initial_weights: the network of first.</p>" in shown


# Pictures


def test_a_picture_shows_its_values_and_a_large_one_the_means_of_blocks():
    image = np.linspace(0, 1, 12).reshape(3, 4)
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.png(image)))))
    np.testing.assert_array_equal(levels, np.rint(255 * image))
    drawn = Image.open(io.BytesIO(base64.b64decode(shown.png(image, "RdBu_r")))).convert("RGB")
    (red, _, blue), (other_red, _, other_blue) = drawn.getpixel((0, 0)), drawn.getpixel((3, 2))
    assert blue > red and other_red > other_blue
    large = np.random.default_rng(0).random((301, 300))
    small = shown.shrunk(large)
    assert small.shape == (150, 150)
    assert small[1, 2] == pytest.approx(large[2:4, 4:6].mean())
    np.testing.assert_array_equal(shown.shrunk(image), image)


def test_the_front_has_what_nothing_is_better_than():
    points = [(1, 4), (2, 2), (3, 3), (4, 1), (2, 2), (4, 2)]
    assert ranking.front(points) == [True, True, False, True, True, False]


def test_points_of_the_plot_are_inside_and_in_the_order_of_their_errors():
    rows = [made("a", 2.0, clean=1.0), made("b", 1.0, clean=3.0), made("c", 0.5, unreliable=True)]
    found = pareto.plot(rows, 1.0)
    (ax, ay), (bx, by), (_, cy) = [(point["x"], point["y"]) for point in found["points"]]
    assert 0 < ax < bx < 400 and 0 < ay < by < cy < 270
    assert found["line"] == [(ax, ay), (bx, ay), (bx, by)]
    assert found["points"][2]["text"].endswith("unreliable")


@pytest.mark.parametrize("number, size", [(16, (400, 270)), (17, (840, 500))])
def test_many_rows_have_a_larger_plot(number, size):
    rows = [made(f"row {one}", 1 + one % 5, clean=1 + one % 7) for one in range(number)]
    found = pareto.plot(rows, 1.0)
    assert (found["width"], found["height"]) == size and found["is_large"] == (number > 16)
    right, bottom = (max(point[axis] for point in found["points"]) for axis in "xy")
    assert size[0] / 2 < right < size[0] and size[1] / 2 < bottom < size[1]
    labelled = [point["label"]["x"] for point in found["points"]]
    assert size[0] / 2 < max(labelled) < size[0]


def box_of(label):
    """Left, top, right and bottom of a name, with letters of the largest width."""
    width = labels.width_of(label["text"])
    left = label["x"] - width if label["anchor"] == "end" else label["x"]
    bottom = label["y"] + 3
    return left, bottom - labels.HEIGHT, left + width, bottom


def overlap(one, other):
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]


CROWD = [f"network {number}, trained" for number in range(16)]


@pytest.mark.parametrize("spread", [0, 3, 30])
def test_no_name_in_the_plot_covers_another_one_or_a_mark(spread):
    rng = np.random.default_rng(0)
    points = np.clip([200, 135] + spread * rng.standard_normal((16, 2)), 5, 265)
    found = labels.placed(points.tolist(), CROWD, (400, 270))
    assert [one["text"] for one in found] == CROWD
    boxes = [box_of(one) for one in found]
    assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair)]
    assert not [(x, y) for x, y in points for box in boxes if overlap(box, (x, y, x, y))]
    assert all(x >= 0 and y >= 0 and right <= 400 for x, y, right, _ in boxes)
    # Whatever is not beside its mark has a line that ends at the name.
    for point, one, (left, top, right, bottom) in zip(points, found, boxes):
        if one["line"]:
            start, (x, y) = one["line"]
            assert start == pytest.approx(tuple(point), abs=0.01)
            assert left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1
        else:
            near = np.clip(point, (left, top), (right, bottom))
            assert np.linalg.norm(near - point) < 14
    assert labels.placed(points.tolist(), CROWD, (400, 270)) == found


def test_a_name_without_a_place_is_left_out_and_a_long_one_is_cut():
    first, second = labels.placed([(30, 9), (70, 9)], ["a", "w" * 40], (400, 30))
    assert (first["text"], second["text"]) == ("a", "w" * 27 + "…")
    assert labels.placed([(50, 5)], ["wide" * 5], (100, 30)) == [None]
    assert labels.width_of("字") > labels.width_of("W") > labels.width_of("a") > 0


def test_a_bound_that_is_infinite_or_not_there_is_none(board):
    (row,) = told_of(board, [known()])
    assert [ranking.bound_at(row, radius) for radius in (0.5, 1.0, 2.5)] == [None, 1.5, None]


# Time left


def test_the_time_left_is_that_of_the_same_work_or_of_its_sort():
    times = [
        {"what": "train unet, iterations", "units": "10", "seconds": "20"},
        {"what": "train rim, iterations", "units": "10", "seconds": "60"},
        {"what": "attack unet none l2, gradients", "units": "0", "seconds": "5"},
    ]
    assert plan.seconds_left([plan.Work("train unet, iterations", 5)], times) == 10
    assert plan.seconds_left([plan.Work("train modl, iterations", 5)], times) == 20
    assert plan.seconds_left([plan.Work("attack unet none l2, gradients", 1)], times) is None
    assert plan.seconds_left([plan.Work("attack unet none l2, gradients", 0)], times) == 0


def test_a_dry_run_counts_and_computes_nothing(board, tmp_path, capsys):
    text = plan.dry_run(tmp_path / "board.yaml", str(tmp_path / "out"))
    assert text.strip() == capsys.readouterr().out.strip()
    # Three slices at three radii: of the ascent a gradient each, and of the power iteration two.
    gradients = 0
    for part in board.protocol.attacks:
        gradients += 3 * part.make(seed=0).num_gradients
    assert f"| {gradients} |" in " ".join(text.split())
    # Two of the rows are one model.
    pairs = "transfers between 6 pairs of rows"
    missing = f"4 of 4 rows, floors of 3 slices, {pairs}, pictures of 3 rows"
    assert f"To compute: {missing}. Time of trainings and attacks: unknown." in text
    assert not (tmp_path / "out").exists()


# Files


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a board with a title and names that are no good in a page or a table."""
    folder = tmp_path_factory.mktemp("board")
    board = board_of(folder, FORMULA, NASTY, title=CLOSING)
    broken = known(3, flags=[flag("gradient wrong", "raised", 0.5)])
    short = known(1, flags=[flag("not converged", "raised", 0.5)])
    summaries = [known(0), short, known(2, "random"), broken]
    names = [entry.name for entry in board.entries]
    rows = []
    for entry, summary in zip(board.entries, summaries):
        others = {name: moved(summary) for name in names if name != entry.name}
        rows.append(told.row_of(board, entry, summary, others))
    output = folder / "out"
    output.mkdir()
    page.check_output(str(output))
    pictures = [pictured(number) for number in range(4)]
    paths = page.write(board, rows, [one["rows"] for one in summaries], str(output), pictures)
    return output, rows, paths


def moved(summary, share=0.5):
    """What others' changes do to a row: a share of what its own do."""
    found = []
    for one in strongest.strongest(summary["rows"]):
        if one["attack"] != "none":
            numbers = {"effect": share * one["effect"], "rmse": share * one["rmse"]}
            found.append({"slice": one["slice"], "radius": one["radius"], **numbers})
    return found


def pictured(seed, size=24):
    """Pictures of a row as `shown.pictures_of` gives them."""
    rng = np.random.default_rng(seed)
    names = ("reference", "clean", "attacked", "difference")
    pictures = {name: shown.png(rng.random((size, size))) for name in names}
    found = {"slice": 1, "name": NASTY, "attack": "l2", "radius": 1.0, "window": 0.9, "factor": 1}
    return {**found, "clean_rmse": 1.5, "rmse": None, "pictures": pictures}


def test_there_is_a_file_for_each_row_under_a_harmless_name(written):
    output, rows, _ = written
    names = names_in(output)
    stems = ["1-1-00000000.json", "cg-sense-00000000.json"]
    assert names[:2] == stems and len(names) == 4
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.") for name in names)
    found = [store.read_json(output / "rows" / name) for name in names]
    assert {one["name"] for one in found} == {row["name"] for row in rows}


def test_two_names_of_one_network_have_two_files():
    rows = [{"name": name, "hashes": {"row": "1a" * 12}} for name in ("a b", "a, b", "c")]
    assert page.files_of(rows) == ["a-b-1a1a1a1a.json", "a-b-1a1a1a1a-1.json", "c-1a1a1a1a.json"]


def names_in(output):
    """The files of the rows of a board."""
    return sorted(path.name for path in (output / "rows").iterdir())


def test_a_row_that_left_the_board_is_removed_and_no_other_file(tmp_path):
    board = board_of(tmp_path, "a")
    summaries = [known(seed) for seed in range(3)]
    rows, measured = told_of(board, summaries), [one["rows"] for one in summaries]
    page.write(board, rows, measured, str(tmp_path))
    (tmp_path / "rows" / "mine.json").write_text("{}", encoding="utf-8")
    old = {**store.read_json(tmp_path / "rows" / names_in(tmp_path)[0]), "format": "tfvn-row-1"}
    store.write_json(tmp_path / "rows" / "old.json", old)
    page.write(board, rows[1:], measured[1:], str(tmp_path))
    assert names_in(tmp_path) == ["a-00000000.json", "cg-sense-00000000.json", "mine.json"]
    (tmp_path / "leaderboard.md").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="no earlier result"):
        page.check_output(str(tmp_path))


def test_the_table_of_lines_has_every_slice_and_no_formula(written):
    output, rows, _ = written
    with open(output / "results.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 3 * (1 + len(ATTACKS))
    names = list(dict.fromkeys(line["model"] for line in lines))
    assert names == ["zero-filled", "cg-sense", f"'{FORMULA}", NASTY]
    assert {line["unreliable"] for line in lines if line["model"] == NASTY} == {"1"}
    assert {line["preliminary"] for line in lines if line["model"] == "cg-sense"} == {"1"}
    assert lines[0]["row"] == rows[0]["hashes"]["row"]


def test_the_ranked_table_names_what_is_unreliable(written):
    text = (written[0] / "leaderboard.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "onerror" in line)
    assert line.startswith("| unreliable ") and "gradient wrong" in line
    assert text.startswith("Leaderboard: ") and "| 1 " in text
    line = next(line for line in text.splitlines() if "cg-sense" in line)
    assert line.startswith("| 2, preliminary |")


def test_the_page_loads_nothing_and_names_stay_text(written):
    found = Page(written[0] / "leaderboard.html")
    for tag, attributes in found.elements:
        for key in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
    kinds = [attributes.get("type") for attributes in found.all("script")]
    assert not found.all("img") and kinds.count(None) == 1
    # The true image once, and the pictures of each row.
    assert len(kinds) == len(found.scripts) == 1 + 1 + 4
    for script in found.scripts[:-1]:
        json.loads(script)
    assert NASTY in found.text and CLOSING in found.text and FORMULA in found.text
    policy = found.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'") and "NaN" not in found.text
    assert "A rule." in found.text and "a note" in found.text


def test_the_same_rows_are_the_same_bytes(written, tmp_path):
    board = board_of(tmp_path, FORMULA, NASTY, title=CLOSING)
    rows = told_of(board, [known(0), known(1)])
    texts = [page.html(board, rows, known(0)["rows"]) for _ in range(2)]
    assert texts[0] == texts[1]


SCRIPT = "[...document.querySelectorAll('#ranks tbody tr')]"


@pytest.mark.slow_cases
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_sorted_filtered_and_read_by_keyboard(browser, written, width):  # noqa: F811
    from selenium.webdriver.common.keys import Keys

    path = written[0] / "leaderboard.html"
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(path.as_uri())

    def ask(script):
        return browser.execute_script(f"return {script}")

    head = browser.find_elements("css selector", "#ranks th[data-kind=number] button")[1]
    assert head.text == "RMSE, clean"
    for direction, order in (("ascending", 1), ("descending", -1)):
        head.send_keys(Keys.ENTER)
        values = ask(f"{SCRIPT}.map(line => Number(line.cells[2].dataset.value))")
        assert values == sorted(values, reverse=order < 0)
        assert ask(f"document.querySelector('#ranks th[aria-sort={direction}]').textContent")
    wanted = browser.find_element("id", "wanted")
    wanted.send_keys("onerror")
    shown = f"{SCRIPT}.filter(line => line.offsetParent).length"
    assert ask(shown) == 1
    assert ask("document.getElementById('how-many').textContent") == "1 of 4 shown"
    assert ask("document.querySelectorAll('#pareto svg [data-model]:not(.filtered)').length") == 1
    browser.find_element("id", "reliable").send_keys(Keys.SPACE)
    assert ask(shown) == 0
    wanted.clear()
    wanted.send_keys(Keys.SPACE, Keys.BACKSPACE)
    assert ask(shown) == 3
    mark = "document.querySelector('#pareto .mark[tabindex=\"0\"]')"
    browser.execute_script(f"{mark}.focus()")
    assert "attacked" in ask("document.getElementById('tip').textContent")
    ask("location.hash = '#row-2'")
    assert ask("document.getElementById('row-2').open")
    pictures = "[...document.querySelectorAll('#row-2 .pictures img')]"
    wait_for(browser, f"{pictures}.length == 4 && {pictures}.every(one => one.naturalWidth == 24)")
    assert ask("document.querySelectorAll('.pictures img').length") == 4
    assert "attacked (l2), error –" in ask(f"{pictures}[2].alt")
    assert ask("document.querySelector('#row-2 .save').dataset.file") == "1-1-00000000.json"
    assert ask("document.querySelectorAll('.heat tbody tr')[1].cells[1].textContent") == "50"
    proved = browser.find_element("css selector", "#certified .mark[tabindex='0']")
    browser.execute_script("arguments[0].focus()", proved)
    assert "attacks have reached" in ask("document.getElementById('tip').textContent")
    proved.send_keys(Keys.ARROW_RIGHT)
    assert "proved to be at most 1.5" in ask("document.getElementById('tip').textContent")
    assert ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert ask("document.title").startswith("Leaderboard: </script>") and not errors(browser)


BOXES = """
const boxes = [];
for (const label of document.querySelectorAll("#pareto text.label")) {
  const {x, y, width, height} = label.getBBox();
  boxes.push([x, y, x + width, y + height]);
}
return boxes;
"""


@pytest.mark.parametrize("number", [16, 24])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_crowded_plot_is_drawn_without_names_that_overlap(
    browser,  # noqa: F811
    tmp_path,
    width,
    number,
):
    board = board_of(tmp_path, *(f"network {one}, trained" for one in range(2, number)))
    summary = known()
    rows = told_of(board, [summary] * number)
    for place, row in enumerate(rows):
        # All are as good as each other, up to a thousandth.
        row["clean"]["rmse"] = 1 + place % 4 / 1000
    rows[0]["clean"]["rmse"] = 2.0
    path = tmp_path / "crowded.html"
    path.write_text(page.html(board, rows, summary["rows"]), encoding="utf-8")
    resize(browser, width)
    browser.get(path.as_uri())
    boxes = browser.execute_script(BOXES)
    assert len(boxes) == number and boxes[0][2] > boxes[0][0]
    assert sum(overlap(*pair) for pair in itertools.combinations(boxes, 2)) == 0
    needed = "return document.documentElement.scrollWidth"
    assert browser.execute_script(needed) <= width


def wait_for(browser, script):  # noqa: F811
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20, poll_frequency=0.02).until(
        lambda b: b.execute_script(f"return {script}")
    )
