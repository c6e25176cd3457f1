"""A board whose process is killed again and again, in trainings, attacks and tables."""

import signal

import processes
import pytest
from test_leaderboard_run import NETWORK, files_of

BOARD = """\
data: {format: synthetic, height: 20, width: 16, num_coils: 2, num_train: 4, num_test: 2}
sampling: {mask: equispaced, acceleration: 2}
attacks: [{name: apgd, goal: error, sizes: [0.5, 1.0], steps: 4}]
rows:
  - {name: first, config: t.yaml}
  - {name: second, config: t.yaml, set: ["training.initial_weights=row:first", seed=2]}
"""

# A process that ends by SIGKILL at the n-th call of a function, or never.
CALL = """
import os, signal, sys
from tfvn import files
from tfvn.leaderboard import run, summary
from tfvn.training import loop

board, output, function, number = sys.argv[1:]
# These differ from call to call, or take long.
summary._seconds = lambda *_: 1.0
summary.flags_of_model = lambda *_: ()
module, name = {"batch": (loop.ProgressBar, "on_train_batch_end"), "file": (files.os, "replace")}[
    function
]
original, calls = getattr(module, name), []

def counted(*arguments, **settings):
    calls.append(name)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **settings)

setattr(module, name, counted)
run.leaderboard(board, output)
print(len(calls), "calls")
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A board's file, and the files of one whose process was let alone."""
    folder = tmp_path_factory.mktemp("killed")
    path = folder / "board.yaml"
    path.write_text(BOARD, encoding="utf-8")
    checkpoints = NETWORK.replace("batch_size: 1", "batch_size: 1, checkpoint_every: 1")
    (folder / "t.yaml").write_text(checkpoints, encoding="utf-8")
    done = called(path, folder / "alone", "file", 0)
    assert done.returncode == 0, done.stderr
    return path, files_of(folder / "alone"), int(done.stdout.splitlines()[-1].split()[0])


def called(board, output, function, number):
    return processes.run(CALL, board, output, function, number, as_traced=True)


def left_over(output):
    return [path.name for path in output.rglob("*.partial-*")]


@pytest.mark.slow
def test_a_board_killed_in_both_trainings_ends_in_the_same_bytes(board, tmp_path):
    path, expected, _ = board
    # In the middle of the first training, then in that of the second.
    for number in (2, 4):
        done = called(path, tmp_path, "batch", number)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list(tmp_path.glob("store/models/*/checkpoints/*.index"))) > 0
    done = called(path, tmp_path, "batch", 0)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path) == expected and not left_over(tmp_path)


@pytest.mark.slow
def test_a_board_killed_at_every_tenth_file_ends_in_the_same_bytes(board, tmp_path):
    path, expected, writes = board
    # Each call is killed between the writing of its tenth file and its renaming.
    killed = 0
    while (done := called(path, tmp_path, "file", 10)).returncode == -signal.SIGKILL:
        killed += 1
        assert killed <= writes
    assert done.returncode == 0, done.stderr
    assert killed >= 3
    assert files_of(tmp_path) == expected and not left_over(tmp_path)
