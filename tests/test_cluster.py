"""Tasks in workers of Dask: what is done when they fail, and whom they are refused to.

These workers are threads of this process. test_leaderboard_run has some of their own.
"""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import processes
import pytest
import test_docs
import yaml

from tfvn import cluster, commands
from tfvn.cluster import Cluster, Refused, Task, connected

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def workers(count=1, threads=1):
    """The scheduler of some workers, a `distributed.LocalCluster`."""
    with distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=threads,
        processes=False,
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as found:
        yield found


@pytest.fixture(scope="module")
def scheduler():
    with workers() as found:
        yield Cluster(scheduler=found.scheduler_address)


def note(folder, name, *needed):
    """Appends to a file, if those that it needs are there."""
    for other in needed:
        assert os.path.exists(os.path.join(folder, other))
    with open(os.path.join(folder, name), "a", encoding="utf-8") as file:
        file.write("x")
    print("noise")
    return name


def fail(text):
    raise ValueError(text)


def wait(path):
    """Waits until there is a file."""
    while not os.path.exists(path):
        time.sleep(0.02)


def warn(text):
    warnings.warn(text, stacklevel=1)


def names(scheduler, tasks, folder):
    return [task.name for task, _ in scheduler.compute(tasks, folder)]


def test_every_task_is_done_once_after_those_that_it_needs(scheduler, tmp_path, capsys):
    given = str(tmp_path)
    tasks = [Task("a", note, (given, "a")), Task("b", note, (given, "b"))]
    tasks.append(Task("c", note, (given, "c", "a", "b"), after=("a", "b")))
    found = dict(scheduler.compute(tasks, tmp_path))
    assert {task.name: answer.result for task, answer in found.items()} == {
        "a": "a",
        "b": "b",
        "c": "c",
    }
    assert all(answer.seconds >= 0 and answer.peak > 0 for answer in found.values())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys("abc", "x")
    assert capsys.readouterr().out == ""


def test_a_call_again_is_done_again_and_none_does_nothing(scheduler, tmp_path):
    for _ in range(2):
        assert names(scheduler, [Task("a", note, (str(tmp_path), "a"))], tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "xx"
    with connected(workers=3) as own:
        assert names(own, [], tmp_path) == []
        assert own.address is None
    with connected() as nobody:
        assert nobody is None


def test_the_error_of_a_task_is_raised_and_what_needs_it_is_not_done(scheduler, tmp_path):
    tasks = [Task("a", fail, ("three",)), Task("b", note, (str(tmp_path), "b"), ("a",))]
    with pytest.raises(ValueError, match="^three$"):
        names(scheduler, tasks, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_warning_of_several_tasks_is_told_once(scheduler, tmp_path):
    tasks = [Task(f"{number}", warn, ("look out",)) for number in range(3)]
    with pytest.warns(UserWarning) as told:
        names(scheduler, tasks, tmp_path)
    assert [str(one.message) for one in told] == ["look out"]


def with_terms(monkeypatch, **changes):
    """Makes what is expected of workers other than what they have."""
    signed = cluster._signed

    @contextlib.contextmanager
    def changed(folder):
        with signed(folder) as terms:
            yield terms._replace(**changes)

    monkeypatch.setattr(cluster, "_signed", changed)
    monkeypatch.setattr(cluster, "_PATIENCE", 1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"code": (("tfvn", "9.9"),)}, "has another version: tfvn 0.1.0 .*expected: 9.9"),
        ({"token": "other"}, "does not see .* as it is here"),
    ],
)
def test_a_worker_that_would_compute_something_else_is_refused(
    scheduler, tmp_path, monkeypatch, changes, message
):
    with_terms(monkeypatch, **changes)
    with pytest.raises(Refused, match=f"^the worker .*{message}"):
        names(scheduler, [Task("a", note, (str(tmp_path), "a"))], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_version_is_that_of_the_source():
    found = dict(cluster.code())
    assert found["tfvn"].startswith("0.1.0 with the source ")
    assert {"tensorflow", "numpy", "Python"} <= set(found)


SCHEDULER = """
import os, sys, time
from distributed import LocalCluster

if __name__ == "__main__":
    settings = {"processes": False, "threads_per_worker": 1, "protocol": "tcp"}
    with LocalCluster(1, dashboard_address="127.0.0.1:0", **settings) as found:
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(found.scheduler_address)
        os.replace(sys.argv[1] + ".new", sys.argv[1])
        time.sleep(600)
"""


@contextlib.contextmanager
def scheduler_process(file):
    """A scheduler with one worker in a process of its own: the process, and a `Cluster`."""
    process = processes.Process(SCHEDULER, file)
    try:
        wait(file)
        yield process, Cluster(scheduler=file.read_text(encoding="utf-8"))
    finally:
        process.kill()


@pytest.mark.slow
def test_a_killed_scheduler_is_one_error_and_the_same_call_goes_on(tmp_path):
    go = tmp_path / "go"
    tasks = [Task("a", note, (str(tmp_path), "a")), Task("b", wait, (str(go),), ("a",))]
    with scheduler_process(tmp_path / "first") as (process, own):

        def kill():
            wait(tmp_path / "a")
            process.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        message = "the scheduler tcp://.* is lost .* same command goes on"
        with pytest.raises(ValueError, match=message):
            names(own, tasks, tmp_path)
        thread.join()
    go.touch()
    # Called again, it finds what is there, and makes a task of the rest.
    with scheduler_process(tmp_path / "second") as (_, own):
        assert names(own, [tasks[1]._replace(after=())], tmp_path) == ["b"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "x"
    assert not (tmp_path / ".tfvn-cluster").exists()


def fill():
    """A task of a worker that has no memory left for others."""
    memory = distributed.get_worker().memory_manager
    memory.memory_limit = cluster.peak_bytes()
    # Several times as long as it takes until Dask looks.
    time.sleep(5 * memory.memory_monitor_interval)


def test_a_worker_that_has_needed_much_memory_goes_on(tmp_path):
    with workers() as found:
        tasks = [Task("a", fill, ()), Task("b", note, (str(tmp_path), "b"), ("a",))]
        assert names(Cluster(scheduler=found.scheduler_address), tasks, tmp_path) == ["a", "b"]


def test_several_tasks_in_one_process_are_refused(tmp_path):
    with workers(threads=2) as found, pytest.raises(Refused, match="2 threads.*--nthreads 1"):
        names(Cluster(scheduler=found.scheduler_address), [Task("a", fail, ("",))], tmp_path)


def test_a_scheduler_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 0.2)
    with pytest.raises(ValueError, match="no scheduler of Dask answers at tcp://127.0.0.1:1 "):
        names(Cluster(scheduler="tcp://127.0.0.1:1"), [Task("a", fail, ("",))], tmp_path)


def test_without_dask_the_flag_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--scheduler needs Dask.*pip install distributed"):
        Cluster(scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    "command, words, message",
    [
        ("attack", "--run-dir r --workers 2 --strategy mirrored", "leave --strategy out"),
        ("evaluate", "r --workers 2 --transfer", "leave the cluster out"),
        ("evaluate", "r --parts --transfer", "give one of these"),
        ("leaderboard", "b.yaml --workers 2 --scheduler a", "not allowed with"),
        ("leaderboard", "b.yaml --workers 0", "whole number from 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(command, words, message, capsys):
    with pytest.raises(SystemExit):
        commands.call(command, words.split())
    assert message in capsys.readouterr().err


def blocks(kind):
    """The blocks of code of the page in one language."""
    text = (ROOT / "docs" / "howto" / "scale.md").read_text(encoding="utf-8")
    return [content for language, content in test_docs.blocks(text) if language == kind]


def test_the_job_of_the_page_starts_a_worker_of_one_thread(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    (block,) = blocks("py")
    # A queue that takes jobs and starts none, and a command that does nothing.
    (tmp_path / "sbatch").write_text('#!/bin/sh\ncp "$1" job-$$\necho Submitted batch job $$\n')
    (tmp_path / "scancel").write_text("#!/bin/sh\n")
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    called = []
    monkeypatch.setattr(subprocess, "run", lambda words, check: called.append(words))
    found = {}
    exec(block.replace("jobs=16", "jobs=2"), found)
    with found["cluster"] as jobs:
        while len(list(tmp_path.glob("job-*"))) < 2:
            time.sleep(0.05)
        assert called[0][-2:] == ["--scheduler", jobs.scheduler_address]
    job = next(tmp_path.glob("job-*")).read_text(encoding="utf-8")
    assert "#SBATCH -n 1" in job and "#SBATCH -t 24:00:00" in job
    worker = job.splitlines()[-1]
    assert "--nthreads 1" in worker and "--nworkers" not in worker


@pytest.fixture
def started(tmp_path):
    """A function that starts a program of Dask as the page has it, until the test ends."""
    found = []
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(words, **environment):
        # What it says is for a test that fails.
        with open(tmp_path / f"said-{len(found)}", "w") as said:
            own = {**os.environ, **programs, **environment}
            # A shell and what it has started are one group.
            given = {"env": own, "stdout": said, "stderr": said, "start_new_session": True}
            found.append(subprocess.Popen(words, **given))

    yield start
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_the_commands_of_the_page_start_workers_of_one_thread_and_any_memory(started, tmp_path):
    manifest = yaml.safe_load(next(block for block in blocks("text") if "kind:" in block))
    containers = {
        part: manifest["spec"][part]["spec"]["containers"][0] for part in ("scheduler", "worker")
    }
    file = tmp_path / "scheduler.json"
    # On any port, and not on that of the file.
    port = ["--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    started([*containers["scheduler"]["args"], *port])
    wait(file)
    address = json.loads(file.read_text(encoding="utf-8"))["address"]
    # What Kubernetes puts in, and what the operator sets.
    words = [word.replace("$(DASK_WORKER_NAME)", "w") for word in containers["worker"]["args"]]
    started(words, DASK_SCHEDULER_ADDRESS=address)
    (loop,) = re.findall(r"^for gpu .*?^done$", "".join(blocks("sh")), re.M | re.S)
    (line,) = re.findall(r"^\.venv/bin/dask worker .*$", "".join(blocks("sh")), re.M)
    for text in (loop.replace("0 1 2 3", "0 1"), line.replace("--nworkers 4", "--nworkers 2")):
        text = text.replace("tcp://10.0.0.1:8786", address).replace(".venv/bin/", "")
        started(["bash", "-c", f"{text}\nwait"])
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(5, timeout=100)
        found = client.scheduler_info(n_workers=-1)["workers"].values()
        gpus = client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert {(one["nthreads"], one["memory_limit"]) for one in found} == {(1, 0)}
    assert "w" in {one["id"] for one in found}
    assert sorted(gpus.values(), key=str)[:2] == ["0", "1"]
