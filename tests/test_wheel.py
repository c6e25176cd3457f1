"""What `pip install .` gives: the package, its configurations and the command `tfvn`, away from the
checkout.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USE = """
import pathlib
import numpy as np
import tfvn
from tfvn import __main__ as program
from tfvn.leaderboard import board, schema
from tfvn.paper import demo
from tfvn.paper import protocol
from tfvn.results import report
assert pathlib.Path(tfvn.__file__).parents[1] == pathlib.Path("site").resolve()
for name in ("base", *demo.MODELS):
    tfvn.config.load(demo._path(name))
assert report.page_part("report.js") and schema.schema()
assert board.read(f"{protocol.CONFIGS}/leaderboard/quick.yaml").entries
knee = tfvn.data.SyntheticKnee(1, 32, 24, num_coils=4, mask=None, receiver_noise=0.0, seed=0)
np.save("scan.npy", knee[0].kspace)
network = tfvn.models.variational.VariationalNetwork(2, filters=4, kernel_size=5, num_centers=11)
network.save("network.keras")
words = ["reconstruct", "scan.npy", "--model", "network.keras", "-o", "image.png"]
assert program.main(words) == 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the wheel, unpacked in `site`."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("tfvn", "configs"):
        shutil.copytree(
            ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quietly = ["--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
    subprocess.run(
        [*pip, "install", *quietly, "--target", "site", "./source"], cwd=folder, check=True
    )
    return folder


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_package_needs_no_checkout(folder):
    run(folder, sys.executable, "-c", USE)
    command = str(folder / "site/bin/tfvn")
    assert "reconstruct" in run(folder, sys.executable, command, "--help")
    assert (folder / "image.png").exists()
    assert "--run-dir" in run(folder, sys.executable, "-m", "tfvn.paper.demo", "--help")
