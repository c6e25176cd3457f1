"""`make tensorboard` starts the program itself, which finds the runs."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def recipe():
    """The command of the Makefile, for the Python that runs the tests and a port that is free."""
    lines = re.findall(
        r"^\t(.*/bin/tensorboard .*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M
    )
    assert len(lines) == 1 and "--logdir runs --host 127.0.0.1" in lines[0]
    return lines[0].replace("$(VENV)/bin", str(Path(sys.executable).parent)) + " --port 0"


@pytest.fixture
def address(recipe, tmp_path):
    """Where it serves a folder with the logs of one run."""
    with tf.summary.create_file_writer(str(tmp_path / "runs/mine/logs/train")).as_default():
        tf.summary.scalar("loss", 3.0, step=1)
    with open(tmp_path / "told", "w", encoding="utf-8") as told:
        process = subprocess.Popen(
            f"exec env {recipe}", shell=True, cwd=tmp_path, stdout=told, stderr=told
        )
    try:
        for _ in range(600):
            text = (tmp_path / "told").read_text(encoding="utf-8")
            found = re.search(r"http://127\.0\.0\.1:\d+/", text)
            if found or process.poll() is not None:
                break
            time.sleep(0.2)
        assert found, text
        yield found.group()
    finally:
        process.terminate()
        process.wait(60)


def fetched(address):
    # Not through a proxy: it is on this machine.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        address, timeout=60
    ) as page:
        return page.read()


@pytest.mark.slow
def test_tensorboard_starts_and_finds_the_runs(address):
    assert b"<title>TensorBoard" in fetched(address)
    for _ in range(100):
        # The folder is read beside the server's start.
        runs = json.loads(fetched(f"{address}data/runs"))
        if runs:
            break
        time.sleep(0.2)
    assert runs == ["mine/logs/train"]
