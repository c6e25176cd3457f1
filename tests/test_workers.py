"""Several processes and devices on one job: their signs of life, and who takes what."""

import json
import os
import shutil
import threading
import time

import pytest
import tensorflow as tf

from tfvn.workers import Watch, Workers, each, start


def watch(folder, index=0, start=0.6, fatal=False):
    return Watch(folder, Workers("multiworker", index, 2), fatal, silence=0.4, start=start)


def test_a_watch_outlives_its_folder(tmp_path):
    folder = tmp_path / "workers"
    with watch(folder):
        shutil.rmtree(folder)
    assert (folder / "worker_0").read_text() == "done"


def test_a_worker_that_does_not_come_is_named(tmp_path):
    # That of an earlier run counts for nothing.
    (tmp_path / "worker_1").write_text("done")
    with pytest.raises(ValueError, match="worker 1 .* has not come"), watch(tmp_path) as waiting:
        waiting.wait(lambda: True)
    assert (tmp_path / "worker_0").read_text() == "stopped"


def test_a_worker_that_falls_silent_or_fails_is_named(tmp_path):
    for word, message in (("", "no sign of life for 0.4 s"), ("stopped", "ended with an error")):
        with (
            pytest.raises(ValueError, match=f"worker 1 .*{message}.* it continues"),
            watch(tmp_path) as waiting,
        ):
            (tmp_path / "worker_1").write_text(word)
            waiting.wait(lambda: True)


def test_a_worker_that_failed_before_is_told_at_once(tmp_path, capsys):
    (tmp_path / "worker_1").write_text("stopped")
    with pytest.raises(ValueError, match="worker 1 .* has not come"), watch(tmp_path) as waiting:
        assert "worker 1 ended with an error before this one began" in capsys.readouterr().out
        waiting.wait(lambda: True)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"x" * 10**6, b""])
def test_a_sign_may_hold_anything(tmp_path, content):
    with pytest.raises(ValueError, match="worker 1 .* no sign of life"), watch(tmp_path) as waiting:
        (tmp_path / "worker_1").write_bytes(content)
        waiting.wait(lambda: True)


def test_signs_follow_no_link(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "signs").mkdir()
    (tmp_path / "signs" / "worker_0").symlink_to(tmp_path / "precious")
    (tmp_path / "linked").symlink_to(tmp_path / "signs")
    for folder in ("signs", "linked"):
        with (
            pytest.raises(ValueError, match="worker_0 must be a file of its own"),
            watch(tmp_path / folder),
        ):
            pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_the_first_removes_the_signs_when_all_are_done(tmp_path):
    workers = [Workers("multiworker", index, 2) for index in range(2)]
    with Watch(tmp_path / "signs", workers[0], tidy=True):
        with Watch(tmp_path / "signs", workers[1], tidy=True):
            time.sleep(0.1)
        assert (tmp_path / "signs" / "worker_1").read_text() == "done"
    assert not os.listdir(tmp_path)


def test_nobody_waits_for_those_who_are_done(tmp_path):
    with watch(tmp_path, start=60) as waiting:
        with watch(tmp_path, index=1, start=60):
            time.sleep(0.2)
        waiting.wait(lambda: True)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"done"}


def test_a_process_that_cannot_go_on_ends(tmp_path, monkeypatch, capfd):
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: ended.set() if code == 2 else None)
    with watch(tmp_path, fatal=True):
        assert ended.wait(timeout=20)
    assert "error: worker 1 of 0 to 1 has not come" in capfd.readouterr().err


# The command line


def test_the_task_is_read_from_the_environment(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    for task, index in ((("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)):
        monkeypatch.setenv(
            "TF_CONFIG",
            json.dumps({"cluster": cluster, "task": dict(zip(("type", "index"), task))}),
        )
        workers = start("multiworker")
        assert workers == Workers("multiworker", index, 3)
    assert list(workers.own(8)) == [2, 5]


@pytest.mark.parametrize(
    "text", ["", "{", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_wrong_task_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="multiworker needs TF_CONFIG"):
        start("multiworker")


def test_replicas_are_for_a_mirrored_cpu():
    with pytest.raises(ValueError, match="Received: replicas=2, strategy=none"):
        start("none", 2)
    with pytest.raises(ValueError, match="before TensorFlow computes anything"):
        tf.zeros([])
        start("mirrored", 7)


def test_an_error_on_one_of_several_devices_is_raised():
    def work(number, item):
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        list(each(["CPU:0", "CPU:0"], work, range(6)))
    assert sorted(each(["CPU:0", "CPU:0"], work, range(3))) == [0, 1, 2]
