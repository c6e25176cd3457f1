"""The last whole checkpoint is found, in any folder, and what fails is told as what it is."""

import os
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

from tfvn.training.checkpoints import Checkpoints


def state(value, size=8):
    return tf.train.Checkpoint(weights=tf.Variable(tf.fill([size, size], float(value))))


def restored(folder):
    """The path that is read, and the value that is found there."""
    found = state(0)
    path = Checkpoints(found, folder).restore()
    return path, float(found.weights[0, 0])


def write(folder, numbers, keep=2):
    one = state(0)
    saved = Checkpoints(one, folder, keep)
    for number in numbers:
        one.weights.assign(tf.fill([8, 8], float(number)))
        saved.save(number)
    return saved


NAMES = [
    "plain",
    "acc=[4,8]",
    "a b",
    "*",
    "what?",
    "{1,2}",
    "100%d",
    "[",
    "[!a]",
    "Müller 腦",
    r"back\slash",
    "-x",
    "$HOME",
    "'quoted\"",
]


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [False, True])
def test_no_sign_in_a_path_is_more_than_a_sign(tmp_path, monkeypatch, name, relative):
    # Neighbours that a pattern would find.
    write(tmp_path / "acc=4" / "checkpoints", [9])
    folder = tmp_path / name / "checkpoints"
    if relative:
        monkeypatch.chdir(tmp_path)
        folder = os.path.join(name, "checkpoints")
    saved = write(folder, [2, 4, 6, 10])
    assert saved.numbers() == [6, 10] and len(os.listdir(folder)) == 4
    assert restored(folder) == (saved.path(10), 10.0)


def test_a_folder_without_any_is_a_beginning(tmp_path):
    assert restored(tmp_path / "none") == (None, 0.0)
    assert restored(tmp_path) == (None, 0.0)


@pytest.mark.parametrize("end", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("length", [0, 0.5, None])
def test_for_a_damaged_checkpoint_the_one_before_serves(tmp_path, end, length, capsys):
    write(tmp_path, [2, 4])
    path = tmp_path / f"ckpt-4{end}"
    if length is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(length * path.stat().st_size)])
    assert restored(tmp_path) == (str(tmp_path / "ckpt-2"), 2.0)
    # A file without its index was never finished: nothing to tell.
    assert ("ckpt-4 is damaged" in capsys.readouterr().out) == (
        end != ".index" or length is not None
    )
    # The damaged one is made anew.
    write(tmp_path, [4])
    assert restored(tmp_path)[1] == 4


def test_where_all_are_damaged_nothing_is_removed_and_the_advice_keeps_them(tmp_path):
    write(tmp_path, [2, 4])
    for path in tmp_path.glob("*.index"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(
        ValueError, match="all checkpoints are damaged. To begin again .*, move that folder away"
    ):
        restored(tmp_path)
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize("text", ["", "garbage \0", 'model_checkpoint_path: "elsewhere"'])
def test_tensorflows_own_index_and_clock_decide_nothing(tmp_path, text):
    one = state(3)
    # As written before there was `Checkpoints`.
    manager = tf.train.CheckpointManager(one, str(tmp_path), max_to_keep=2)
    manager.save()
    one.weights.assign(tf.fill([8, 8], 4.0))
    manager.save()
    (tmp_path / "checkpoint").write_text(text)
    os.utime(tmp_path / "ckpt-2.index", (1, 1))
    assert restored(tmp_path) == (str(tmp_path / "ckpt-2"), 4.0)
    write(tmp_path, [50])
    assert restored(tmp_path)[1] == 50


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_not_damaged(tmp_path):
    write(tmp_path, [2])
    (tmp_path / "ckpt-2.index").chmod(0)
    with pytest.raises(
        ValueError, match="ckpt-2: Permission denied. It is left as it is: give permission"
    ):
        restored(tmp_path)


def test_a_failure_that_is_no_damage_keeps_its_reason(tmp_path, monkeypatch):
    write(tmp_path, [2, 4])
    for error, words in (
        (PermissionError(13, "Permission denied"), "cannot read .*ckpt-4: Permission denied"),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
            "cannot read .*ckpt-4: OOM when allocating",
        ),
    ):

        def fail(path, error=error):
            raise error

        found = state(0)
        monkeypatch.setattr(found, "read", fail)
        with pytest.raises(ValueError, match=words):
            Checkpoints(found, tmp_path).restore()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot read .*file: Not a directory"):
        restored(tmp_path / "file")


def test_a_full_disk_keeps_the_checkpoints_before_and_leaves_no_part(tmp_path):
    write(tmp_path, [2, 4])
    before = sorted(os.listdir(tmp_path))
    limits, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(
            ValueError,
            match=r"cannot write .*ckpt-6: File too large\. The checkpoints before it are left",
        ):
            Checkpoints(state(6, size=100), tmp_path).save(6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(os.listdir(tmp_path)) == before
    assert restored(tmp_path)[1] == 4


def test_what_a_killed_process_left_goes_with_the_next_and_nothing_else(tmp_path):
    write(tmp_path, [2])
    (tmp_path / "ckpt-4_temp").mkdir()
    (tmp_path / "ckpt-4_temp" / "part-00000").write_text("half")
    (tmp_path / "ckpt-4.data-00000-of-00001").write_text("half")
    (tmp_path / "notes-4.txt").write_text("mine")
    assert restored(tmp_path)[1] == 2
    write(tmp_path, [6])
    files = {
        f"ckpt-{number}{end}" for number in (2, 6) for end in (".index", ".data-00000-of-00001")
    }
    assert set(os.listdir(tmp_path)) == files | {"notes-4.txt"}
    np.testing.assert_equal(restored(tmp_path)[1], 6)
