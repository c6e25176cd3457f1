"""A board computed from end to end: three rows, one of them broken on purpose, on tiny slices."""

import contextlib
import io
import os
import shutil
import signal
import threading
import time

import h5py
import numpy as np
import processes
import pytest
from broken import Detached

from tfvn import cluster, commands, data
from tfvn.leaderboard import (
    addresses,
    floors,
    run,
    schema,
    store,
    submission,
    summary,
    tasks,
    transfers,
)
from tfvn.leaderboard.board import read
from tfvn.models import MODELS, ZeroFilled
from tfvn.physics.sense import Sense
from tfvn.results import candidates, measure, probes
from tfvn.runs import attack_files, locks

BOARD = """\
title: tiny
version: tiny-1
data: {format: synthetic, height: 20, width: 16, num_coils: 2, num_train: 2, num_test: 2}
sampling: {mask: equispaced, acceleration: 2}
attacks:
  - {name: power, sizes: [0.5, 1.0], steps: 20}
  - {name: apgd, goal: error, sizes: [0.5, 1.0], steps: 4}
rows:
  - {name: cg, config: c.yaml, set: [model=cg-sense, model.iterations=3]}
"""
BROKEN = "  - {name: broken, config: c.yaml, set: [model=detached]}\n"


def files_of(output):
    """The bytes of the files that tell the results, by their names."""
    found = {}
    for name in ("results.csv", "floor.csv", "leaderboard.md", "leaderboard.html"):
        found[name] = (output / name).read_bytes()
    for path in (output / "rows").iterdir():
        found[path.name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def patch():
    """What holds for all tests: the broken model is known, its row alone is probed, and each model
    takes a second.
    """

    def probed(model, *rest):
        return probes.flags_of_model(model, *rest) if isinstance(model, Detached) else ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "detached", Detached)
        patch.setattr(summary, "flags_of_model", probed)
        patch.setattr(summary, "_seconds", lambda *_: 1.0)
        # Files may be changed while the tests run.
        patch.setattr(summary.provenance, "origin", lambda: {"tfvn": "0"})
        yield patch


@pytest.fixture(scope="module")
def board(tmp_path_factory, patch):
    """The folder of a board of two rows, then of three: its file, results, what was counted of
    each call, and what both printed.
    """
    folder = tmp_path_factory.mktemp("board")
    (folder / "c.yaml").write_text("seed: 1\n", encoding="utf-8")
    path, output = folder / "board.yaml", folder / "out"
    path.write_text(BOARD, encoding="utf-8")
    calls = []

    def counted(run_dir, config, **settings):
        calls.append(config.model.name)
        return attack(run_dir, config, **settings)

    attack = run.attack_run
    patch.setattr(run, "attack_run", counted)
    words, printed = [str(path), "--output", str(output)], io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert commands.call("leaderboard", words) == 0
        first = list(calls)
        path.write_text(BOARD + BROKEN, encoding="utf-8")
        assert commands.call("leaderboard", words) == 0
    return path, output, first, calls[len(first) :], printed.getvalue()


def test_a_row_more_computes_only_itself(board):
    _, _, first, second, _ = board
    assert first == ["zero-filled", "zero-filled", "cg-sense", "cg-sense"]
    assert second == ["detached", "detached"]


def test_no_step_of_a_board_tells_a_command_that_would_come_next(board):
    *_, printed = board
    assert printed.count("nothing to train: ") == 3 and printed.count("; wrote ") == 3 * 4
    assert "Next: " not in printed


def rows_of(output):
    found = [store.read_json(path) for path in (output / "rows").iterdir()]
    return {row["name"]: row for row in found}


def test_every_row_is_as_the_schema_says(board):
    rows = rows_of(board[1])
    assert set(rows) == {"zero-filled", "cg", "broken"}
    for row in rows.values():
        schema.check(row)
    linear = rows["zero-filled"]
    # Its worst effect is at most the radius, and that is proved up to rounding.
    assert linear["worst"][1]["effect"] <= linear["proved"][1]["bound"] <= 1.0 + 1e-5
    # Three iterations do not solve CG-SENSE's equations, and so nothing is proved of it.
    cg = rows["cg"]
    assert all(bound["bound"] is None for bound in cg["proved"])
    assert linear["hashes"]["data"] == rows["broken"]["hashes"]["data"]
    assert linear["model"]["trained_on"] is not None


def test_a_broken_model_ends_unreliable_with_its_flags(board):
    row = rows_of(board[1])["broken"]
    raised = {flag["flag"] for flag in row["flags"] if flag["state"] == "raised"}
    assert row["unreliable"] and {"gradient wrong", "partial data path"} <= raised
    text = (board[1] / "leaderboard.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| unreliable")]
    # So few steps are not enough for the exact rows, and nothing else is wrong with them.
    for name in ("zero-filled", "cg"):
        flags = rows_of(board[1])[name]["flags"]
        assert {flag["flag"] for flag in flags if flag["state"] == "raised"} <= {"not converged"}
        assert not rows_of(board[1])[name]["unreliable"]


def test_a_number_is_what_the_stored_change_does(board):
    path, output, *_ = board
    entry = next(one for one in read(path).entries if one.name == "cg")
    there = store.Store(str(output))
    folder = there.row(entry.config)
    model = measure.network_of(folder, entry.config)
    part = entry.config.attacks[1]
    errors = []
    for index, (inputs, reference) in enumerate(data.load(entry.config, "test")):
        run_dir = os.path.join(folder, addresses.of_attack(part))
        file = attack_files.attack_path(run_dir, 1.0, index, "apgd-l2-error")
        r = attack_files.read_attack(file)["perturbation"][None]
        kspace = model.sense.forward(r, inputs["sensitivity_maps"], inputs["mask"])
        changed = {**inputs, "kspace": inputs["kspace"] + kspace.numpy()}
        changed.pop("zero_filled", None)
        image = np.asarray(model.reconstruct(changed))
        errors.append(np.linalg.norm(image - np.abs(reference)))
    row = rows_of(output)["cg"]
    found = next(
        one for one in row["attacks"] if (one["attack"], one["size"]) == ("apgd-l2-error", 1)
    )
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)
    assert row["worst"][1]["rmse"] >= found["rmse"]


def test_the_floor_is_that_of_the_test_slices(board):
    path, output, *_ = board
    protocol = read(path).protocol
    errors = {0.5: [], 1.0: []}
    before = None
    for one in candidates.cases(protocol, data.source(protocol, "test")):
        worst = dict.fromkeys(errors, 0.0)
        for found in floors.floor.floors(one, Sense(), list(errors), before):
            worst[found.radius] = max(worst[found.radius], found.error)
        for radius, error in worst.items():
            errors[radius].append(error)
        before = one.reference[0].numpy()
    for row in rows_of(output).values():
        assert [each["radius"] for each in row["floor"]] == [0.5, 1.0]
        for each in row["floor"]:
            rmse = np.sqrt(np.mean(np.square(errors[each["radius"]])))
            assert each["rmse"] == pytest.approx(rmse, rel=1e-6) and rmse > each["radius"]


def test_pictures_are_those_of_the_attack_that_a_row_errs_most_under(board):
    path, output, *_ = board
    entry = next(one for one in read(path).entries if one.name == "broken")
    folder = store.Store(str(output)).row(entry.config)
    stem = f"{addresses.of_attacks(entry.config)}-0.5.json"
    found = store.read_json(os.path.join(folder, "shown", stem))
    known = store.read_json(os.path.join(folder, store.name_of_row(entry.config)))
    own = [row for row in known["rows"] if row["slice"] == 1 and row["radius"] == 0.5]
    worst = max(own, key=lambda row: row["rmse"])
    assert (found["slice"], found["attack"]) == (1, worst["attack"])
    assert found["rmse"] == pytest.approx(worst["rmse"], rel=1e-5)
    assert set(found["pictures"]) == {"reference", "clean", "attacked", "difference"}
    text = (output / "leaderboard.html").read_text(encoding="utf-8")
    assert text.count(found["pictures"]["attacked"]) == 1
    # All rows have the true image in common.
    assert text.count(found["pictures"]["reference"]) == 1


def test_a_call_with_nothing_to_do_computes_nothing_and_changes_no_byte(board, monkeypatch):
    path, output, *_ = board
    before = files_of(output)

    def never(*_, **__):
        raise AssertionError("nothing is left to be computed")

    computing = [(measure, "load"), (run, "train_run"), (transfers, "answer_to")]
    computing.append((floors.floor, "floors"))
    for module, name in computing:
        monkeypatch.setattr(module, name, never)
    run.leaderboard(str(path), str(output))
    assert files_of(output) == before


def test_a_call_that_was_killed_ends_in_the_same_bytes(board, monkeypatch):
    path, output, *_ = board
    before = files_of(output)
    entry = next(one for one in read(path).entries if one.name == "cg")
    folder = store.Store(str(output)).row(entry.config)
    # It was killed while it measured: what came later is not there, and one file is half a file.
    attacked = os.path.join(folder, addresses.of_attack(entry.config.attacks[0]))
    os.remove(attack_files.attack_path(attacked, 1.0, 1, "power-l2"))
    os.remove(os.path.join(folder, f"row-{addresses.of_attacks(entry.config)}.json"))
    os.remove(os.path.join(attacked, "measured", "slice_00001.json"))
    with open(os.path.join(attacked, "measured", "slice_00000.json"), "w") as file:
        file.write('[{"rmse": 1')
    for name in ("leaderboard.html", "results.csv"):
        os.remove(output / name)
    run.leaderboard(str(path), str(output))
    assert files_of(output) == before


def test_a_second_call_at_the_same_time_is_refused(board):
    path, output, *_ = board
    held = locks.alone(str(output), "computes a leaderboard in it")
    with held, pytest.raises(ValueError, match="is in use"):
        run.leaderboard(str(path), str(output))


# What others find


def climbed(board, radius, steps=20):
    """Changes that go further than those of the zero-filled row, from where these are."""
    path, output, *_ = board
    config = read(path).entries[0].config
    run_dir = os.path.join(
        store.Store(str(output)).row(config), addresses.of_attack(config.attacks[1])
    )
    sense, found = ZeroFilled().sense, []
    for index, (inputs, reference) in enumerate(data.load(config, "test")):
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        file = attack_files.attack_path(run_dir, radius, index, "apgd-l2-error")
        r = attack_files.read_attack(file)["perturbation"][None].astype(np.complex64)
        start = sense.adjoint(inputs["kspace"], maps, mask).numpy()
        for _ in range(steps):
            image = start + sense.adjoint(sense.forward(r, maps, mask), maps, mask).numpy()
            slope = (1 - np.abs(reference) / np.abs(image)) * image
            r = sense.adjoint(sense.forward(slope, maps, mask), maps, mask).numpy()
            r = (radius * r / np.linalg.norm(r.astype(complex))).astype(np.complex64)
        found.append(r[0])
    found = np.array(found, complex)
    norms = np.linalg.norm(found.reshape(len(found), -1), axis=1)
    return found * np.minimum(1, radius / norms)[:, None, None]


@pytest.fixture(scope="module")
def submitted(board, tmp_path_factory):
    """A file of changes, and the row that they are for as it was."""
    file = tmp_path_factory.mktemp("found") / "mine.h5"
    row = rows_of(board[1])["zero-filled"]
    submission.write(file, climbed(board, 1.0), 1.0, row, by="me", note="a longer search")
    return file, row


WRONG = {
    "radius": (1.7, "radius must be one of the board's: 0.5, 1. Received: radius=1.7"),
    "row_hash": ("00" * 12, "for the row of hash 000000000000, and the board has none"),
    "model_hash": ("00" * 32, "its hash of the network is 000000000000, and that of the row"),
    "data_hash": ("00" * 32, "its hash of the test data is 000000000000"),
    "format": ("mine-1", "its format is 'mine-1', and not tfvn-perturbation-1"),
    "by": ("", "by must say who found the changes"),
    "r, shape": (lambda r: r[:, 1:], "r must have the shape (2, 20, 16). Received: r.shape=(2, 19"),
    "r, slices": (lambda r: r[:1], "r must have the shape (2, 20, 16). Received: r.shape=(1, 20"),
    "r, real": (lambda r: np.abs(r), "r must be complex (slices, rows, width)"),
    "r, finite": (lambda r: r * np.nan, "finite and at most the radius 1. Received: slice 0"),
    "r, norm": (lambda r: r * (1 + 3e-6), "Received: slice 0 of norm 1.000003"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_told_and_leaves_nothing_behind(board, submitted, tmp_path, what):
    path, output, *_ = board
    file, (content, message) = tmp_path / "wrong.h5", WRONG[what]
    shutil.copy(submitted[0], file)
    with h5py.File(file, "r+") as opened:
        if what.startswith("r,"):
            changed = content(opened["r"][()])
            del opened["r"]
            opened["r"] = changed
        else:
            opened.attrs[what] = content
    before = files_below(output)
    with pytest.raises(ValueError) as raised:
        submission.submit(str(path), str(output), str(file))
    assert str(raised.value).startswith(f"{file}: ") and message in str(raised.value)
    assert files_below(output) == before


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_no_submission_or_comes_too_early_is_told(board, submitted, tmp_path):
    path, output, *_ = board
    file, row = submitted
    (tmp_path / "text.h5").write_text("r", encoding="utf-8")
    with pytest.raises(ValueError, match="text.h5: no file of tfvn.leaderboard.submission.write"):
        submission.submit(str(path), str(output), str(tmp_path / "text.h5"))
    with pytest.raises(ValueError, match="out is not there: no row has been computed. Compute"):
        submission.submit(str(path), str(tmp_path / "out"), str(file))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="row 'zero-filled' has not been computed yet"):
        submission.submit(str(path), str(tmp_path / "out"), str(file))
    r = np.zeros((2, 20, 16), complex)
    for changed, message in (
        ({"row": {"format": "tfvn-row-2"}}, "is no row"),
        ({"row": "nowhere.json"}, "nowhere.json is no row. Name a file of"),
        ({"r": r[:1]}, "r must have 2 slices"),
        ({"radius": 0.6}, "radius must be one of the board's"),
        ({"note": "x" * 501}, "note must be a text of at most 500 letters"),
    ):
        given = {"r": r, "radius": 1.0, "row": row, "by": "me", **changed}
        with pytest.raises(ValueError, match=message):
            submission.write(tmp_path / "not.h5", **given)
    assert not (tmp_path / "not.h5").exists()


def test_anybodys_change_raises_the_best_known_error_once(board, submitted, tmp_path, capsys):
    path, alone, *_ = board
    file, row = submitted
    # Other tests compare with the board as it was computed.
    output = tmp_path / "out"
    shutil.copytree(alone, output)
    words = [str(path), "--output", str(output), "--submit-perturbation", str(file)]
    assert commands.call("leaderboard", words) == 0
    found = rows_of(output)["zero-filled"]
    schema.check(found)
    best, earlier = found["best_known"][1], row["best_known"][1]
    assert best["found_by"] == ["me"] and best["rmse"] > earlier["rmse"]
    assert found["worst"] == row["worst"] and found["best_known"][0] == row["best_known"][0]
    (one,) = found["submitted"]
    assert (one["by"], one["note"], one["radius"]) == ("me", "a longer search", 1.0)
    assert earlier["rmse"] < one["rmse"] <= best["rmse"]
    # No attack is beyond what is proved.
    assert one["effect"] <= found["proved"][1]["bound"]
    assert best["rmse"] <= found["certified"][1]["rmse"]
    before = files_of(output)
    assert commands.call("leaderboard", words) == 2
    assert "it was submitted before, by 'me'" in capsys.readouterr().err
    assert files_of(output) == before
    (kept,) = output.glob("store/rows/*/submitted/*.json")
    text = kept.read_text(encoding="utf-8")
    kept.write_text(text[:100], encoding="utf-8")
    assert commands.call("leaderboard", words[:3]) == 2
    assert "is damaged. Remove it, and submit the change again." in capsys.readouterr().err
    kept.write_text(text, encoding="utf-8")


def kill_one(workers, folder):
    """Ends a worker by SIGKILL once something has been attacked."""
    from distributed import Client

    while not list(folder.rglob("slice_*.h5")):
        time.sleep(0.02)
    with Client(workers.address, set_as_default=False) as client:
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)


def stored(output, row):
    """The bytes of what is stored of a row and holds no times, by paths."""
    folder = output / "store" / "rows" / row
    found = {}
    for pattern in ("*.h5", "slice_*.json", "transfer/*.json", "shown/*.json"):
        for path in folder.rglob(pattern):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@contextlib.contextmanager
def workers_of(count):
    """A `cluster.Cluster` of so many processes."""
    dask = pytest.importorskip("dask")
    # Imported inside `set`, its own settings would go with the forked ones, for good.
    pytest.importorskip("distributed")
    # They begin with TensorFlow imported, see processes.py.
    processes.run("pass")
    forked = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set(forked), cluster.connected(workers=count) as found:
        yield found


def without_rows(board, output, *names):
    """Copies a board. Returns the folders of some of its rows and of its floors, which are removed
    there.
    """
    _, alone, *_ = board
    shutil.copytree(alone, output)
    rows = rows_of(alone)
    removed = [output / "store" / "rows" / rows[name]["hashes"]["row"] for name in names]
    removed.append(output / "store" / "floors")
    for folder in removed:
        shutil.rmtree(folder)
    return removed


def computed_by(workers, path, output):
    """Computes what is missing of a board in the workers, and writes it."""
    # The broken model is none that they know.
    entries = [one for one in read(path).entries if one.name != "broken"]

    def ahead(there, board, watch):
        tasks.compute(workers, there, board._replace(entries=entries), watch)

    run.leaderboard(str(path), str(output), ahead)


@pytest.mark.slow
def test_two_workers_one_of_which_is_killed_give_the_bytes_of_one_process(board, tmp_path):
    path, alone, *_ = board
    output = tmp_path / "out"
    folder, _ = without_rows(board, output, "cg")
    with workers_of(2) as workers:
        killer = threading.Thread(target=kill_one, args=[workers, folder])
        killer.start()
        computed_by(workers, path, output)
        killer.join()
    assert stored(output, folder.name) == stored(alone, folder.name)
    found, expected = rows_of(output)["cg"], rows_of(alone)["cg"]
    assert found["hashes"] == expected["hashes"] and found["attacks"] == expected["attacks"]
    names = {path.name for path in output.rglob("*")}
    assert not any(".partial-" in name or name == ".tfvn-cluster" for name in names)
    assert run.times_of(store.Store(str(output)))[-1]["what"].startswith("attack cg-sense none ")


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4])
def test_three_and_four_workers_give_the_bytes_of_one_process(board, tmp_path, count):
    path, alone, *_ = board
    output = tmp_path / "out"
    *folders, lowest = without_rows(board, output, "cg", "zero-filled")
    with workers_of(count) as workers:
        computed_by(workers, path, output)
    for folder in folders:
        found = stored(output, folder.name)
        assert found == stored(alone, folder.name) and any("shown" in name for name in found)
    assert (output / "floor.csv").read_bytes() == (alone / "floor.csv").read_bytes()
    assert len(list(lowest.rglob("*.json"))) == 2
    # Workers probe all models.
    found, expected = rows_of(output), rows_of(alone)
    for name in ("cg", "zero-filled"):
        for key in ("hashes", "attacks", "best_known", "transfer", "certified", "floor"):
            assert found[name][key] == expected[name][key]


def test_a_row_more_asks_for_the_changes_that_a_published_folder_lacks(board, tmp_path):
    path, alone, *_ = board
    output = tmp_path / "out"
    shutil.copytree(alone, output)
    for folder in output.glob("store/rows/*/*/attacks"):
        shutil.rmtree(folder)
    more = "  - {name: more, config: c.yaml, set: [model=cg-sense, model.mu=0.5]}\n"
    other = path.with_name("more.yaml")
    other.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    with pytest.raises(
        ValueError, match="for the row 'zero-filled' are not there: .*To attack all"
    ):
        run.leaderboard(str(other), str(output))


TRAINED = """\
data: {format: synthetic, height: 20, width: 16, num_coils: 2, num_train: 2, num_test: 1}
sampling: {mask: equispaced, acceleration: 2}
attacks: [{name: ascent, sizes: [0.5], steps: 2}]
rows:
  - {name: first, config: t.yaml}
  - {name: second, config: t.yaml, set: ["training.initial_weights=row:first", seed=2]}
"""
NETWORK = """\
model: {name: unet, channels: 2, pools: 1}
training: {iterations: 3, batch_size: 1, optimizer: {name: adam, learning_rate: 0.01}}
"""


ALONE = """
import sys
from tfvn.leaderboard import run
run.leaderboard(*sys.argv[1:])
"""


@pytest.mark.slow
def test_networks_that_workers_train_are_those_of_one_process(tmp_path):
    path = tmp_path / "board.yaml"
    path.write_text(TRAINED, encoding="utf-8")
    (tmp_path / "t.yaml").write_text(NETWORK, encoding="utf-8")
    done = processes.run(ALONE, str(path), str(tmp_path / "alone"))
    assert done.returncode == 0, done.stderr
    with workers_of(2) as workers:
        computed_by(workers, path, tmp_path / "out")
    found, expected = (rows_of(tmp_path / name) for name in ("out", "alone"))
    clean = [expected[name]["clean"]["rmse"] for name in ("first", "second")]
    assert clean[0] != clean[1]
    for name in ("first", "second"):
        # The hash of the weights is among these.
        for key in ("hashes", "clean", "attacks", "best_known", "transfer"):
            assert found[name][key] == expected[name][key]
        training = os.path.join("store", "models", expected[name]["hashes"]["training"])
        for file in ("history.csv", "trained_on.json"):
            both = [tmp_path / folder / training / file for folder in ("out", "alone")]
            assert both[0].read_bytes() == both[1].read_bytes()
