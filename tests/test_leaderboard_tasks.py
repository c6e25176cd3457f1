"""Which tasks a board has, and what each of them waits for."""

import os
from pathlib import Path

import pytest
from boards import TEXT, board_of

from tfvn.leaderboard import floors, plan, run, shown, store, tasks, transfers
from tfvn.leaderboard.board import read

ROWS = """\
  - {name: a, config: c.yaml}
  - {name: a again, config: c.yaml}
  - {name: tuned, config: c.yaml, set: [seed=1, "training.initial_weights=row:a"]}
  - {name: both, config: c.yaml, set: [defence=ensemble, "defence.others=row:tuned"]}
"""


@pytest.fixture
def board(tmp_path):
    board_of(tmp_path)
    path = tmp_path / "board.yaml"
    path.write_text(TEXT.format(title="t", rows=ROWS), encoding="utf-8")
    found = read(path)
    # Without the rows that every board has.
    return found._replace(entries=found.entries[-4:])


def tasks_of(there, board):
    """The tasks of a board by their names."""
    trainings = tasks.training_tasks(there, board)
    found = [*trainings.values(), *tasks.row_tasks(there, board, trainings)]
    names = [task.name for task in found]
    assert len(set(names)) == len(names)
    for number, task in enumerate(found):
        assert set(task.after) <= set(names[:number])
    return dict(zip(names, found))


def test_each_task_waits_for_what_it_needs(board, tmp_path):
    found = tasks_of(store.Store(str(tmp_path / "out")), board)
    # Two rows have one training, and two rows of one hash are one.
    trainings = {name: task.after for name, task in found.items() if name.startswith("train")}
    assert trainings == {"train a": (), "train tuned": ("train a",)}
    assert {name for name in found if name.startswith("tell")} == {
        "tell a",
        "tell tuned",
        "tell both",
    }
    assert found["attack 1 on tuned, slice 0"].after == ("train tuned", "train a")
    assert found["attack 2 on both, slice 2"].after == ("train a", "train tuned")
    assert found["measure clean on a, slice 1"].after == ("train a",)
    assert found["measure attack 1 on a, slice 1"].after == (
        "train a",
        "attack 1 on a, slice 1",
    )
    # 3 slices: clean, and 2 attacks.
    assert len(found["tell a"].after) == 1 + 3 + 2 * (3 + 3)
    assert len(found) == 2 + 3 * (3 + 2 * (3 + 3) + 1)


def test_what_is_there_is_no_task(board, tmp_path):
    there = store.Store(str(tmp_path / "out"))
    config = board.entries[0].config
    Path(there.training(config)).mkdir(parents=True)
    Path(there.training(config), "model.keras").touch()
    entrant = run.row_entrant(there, config)
    for size in (0.5, 1.0, 2.5):
        path = entrant.attack_path("l2", size, 0)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
    store.write_json(run.measured_path(entrant.run_dir, 0), [])
    found = tasks_of(there, board)
    assert found["train tuned"].after == () and "train a" not in found
    assert "attack 1 on a, slice 0" not in found and "attack 1 on a, slice 1" in found
    assert found["measure attack 1 on a, slice 0"].after == ()
    assert "measure clean on a, slice 0" not in found
    store.write_json(there.told(config), {})
    assert not [name for name in tasks_of(there, board) if name.endswith(("on a", " a"))]


def test_a_damaged_row_is_told_again(board, tmp_path):
    there = store.Store(str(tmp_path / "out"))
    for entry in board.entries:
        store.write_json(there.told(entry.config), {})
    assert not tasks.row_tasks(there, board, {})
    Path(there.told(board.entries[0].config)).write_text('{"rows": [', encoding="utf-8")
    assert tasks.row_tasks(there, board, {})[-1].name == "tell a"
    assert plan.work_of(there, board.entries[0].config)


def test_what_is_found_for_a_network_is_given_to_the_same_one_that_was_attacked_otherwise(tmp_path):
    board_of(tmp_path)
    own = "  - {name: more, config: c.yaml, attacks: [{name: apgd, sizes: [0.5]}]}\n"
    path = tmp_path / "board.yaml"
    rows = "  - {name: a, config: c.yaml}\n  - {name: a again, config: c.yaml}\n" + own
    path.write_text(TEXT.format(title="t", rows=rows), encoding="utf-8")
    board = read(path)
    found = transfers.missing(
        store.Store(str(tmp_path / "out")), board._replace(entries=board.entries[-3:])
    )
    assert [(target.name, source.name) for target, source in found] == [
        ("a", "more"),
        ("more", "a"),
    ]


def test_transfers_are_of_pairs_of_different_rows_and_pictures_of_each_once(board, tmp_path):
    there = store.Store(str(tmp_path / "out"))
    for entry in board.entries:
        store.write_json(there.told(entry.config), {"hashes": {"model": "5e"}})
    found = {task.name for task in tasks.transfer_tasks(there, board)}
    # Those of "a again" are those of "a".
    pictures = [task.name for task in tasks.picture_tasks(there, board)]
    assert pictures == ["pictures of a", "pictures of tuned", "pictures of both"]
    entrant = run.row_entrant(there, board.entries[0].config)
    store.write_json(shown.path_of(entrant, board.middle()), {})
    assert [task.name for task in tasks.picture_tasks(there, board)] == pictures[1:]
    assert found == {
        "transfer from tuned, both to a",
        "transfer from a, both to tuned",
        "transfer from a, tuned to both",
    }


def test_a_transfer_has_so_many_sources(board, tmp_path, monkeypatch):
    there = store.Store(str(tmp_path / "out"))
    for entry in board.entries:
        store.write_json(there.told(entry.config), {"hashes": {"model": "5e"}})
    monkeypatch.setattr(tasks, "_SOURCES", 1)
    names = [task.name for task in tasks.transfer_tasks(there, board)]
    assert len(names) == 6 and names[:2] == ["transfer from tuned to a", "transfer from both to a"]


def test_floors_are_of_slices_and_wait_for_nothing(board, tmp_path):
    there = store.Store(str(tmp_path / "out"))
    found = tasks.floor_tasks(there, board)
    assert [task.name for task in found] == [f"floor of slice {index}" for index in range(3)]
    assert {task.after for task in found} == {()}
    store.write_json(floors.path_of(there, board.protocol, board.radii(), 1), [])
    assert [task.name for task in tasks.floor_tasks(there, board)] == [
        "floor of slice 0",
        "floor of slice 2",
    ]
    assert tasks.floor_tasks(there, board._replace(floor=False)) == []
