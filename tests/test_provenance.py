import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfvn
from tfvn import provenance

ROOT = Path(__file__).resolve().parents[1]


def test_the_package_has_one_version():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert re.search(r'version="([^"]+)"', text)[1] == provenance.VERSION == tfvn.__version__


def test_the_origin_tells_versions_machine_and_devices():
    found = provenance.origin()
    assert found["tfvn"] == tfvn.__version__ and found["numpy"] == np.__version__
    assert found["Python"] == sys.version.split()[0]
    assert "CPU:0" in found["devices"]
    assert all(isinstance(value, str) for value in found.values())


def test_packages_that_are_not_there_have_no_version():
    assert provenance.versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}


def test_the_commit_is_that_of_the_packages_own_files(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def git(*words):
        settings = ["-c", "user.name=x", "-c", "user.email=x@y"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *settings, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    copy = tmp_path / "provenance.py"
    shutil.copy(provenance.__file__, copy)
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert provenance.commit() is None
    git("init", "-q")
    # The checkout does not know the file.
    assert provenance.commit() is None
    git("add", ".")
    git("commit", "-qm", "First")
    assert provenance.commit() == git("rev-parse", "HEAD")
    copy.write_text("changed")
    assert provenance.commit() == f"{git('rev-parse', 'HEAD')} with uncommitted changes"


def test_the_command_is_the_whole_of_it():
    code = "from tfvn import provenance; print(provenance.own_command())"
    done = subprocess.run(
        [sys.executable, "-c", code, "a b"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip().endswith("'a b'") and " -c " in done.stdout
