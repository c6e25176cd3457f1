"""A quota that is met anywhere in a command ends in one sentence that names the file; no process
crashes, no part of a file stays.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# One process for all: TensorFlow takes long to start.
_COMMANDS = """
import os, resource, shutil, signal, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, sys.argv[1])
import attack, evaluate, train
import tensorflow as tf
# As in most tests, see AS_TRACED of conftest.py.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
smoke = os.path.join(sys.argv[1], "configs", "smoke.yaml")

def files():
    return sorted(os.path.join(where, name) for where, _, names in os.walk("x") for name in names)

def train_in(folder):
    settings = ["training.iterations=2", "training.checkpoint_every=2", "model.num_stages=1"]
    settings.append("training.optimizer=adam")
    return train.main(["--config", smoke, "--run-dir", folder, "--set", *settings])

assert train_in("whole") == 0
assert attack.main(["--run-dir", "whole"]) == 0
for size in map(int, sys.argv[2:]):
    for name, left in (("train", None), ("attack", "attacks"), ("evaluate", "results")):
        shutil.rmtree("x", ignore_errors=True)
        if left:
            shutil.copytree("whole", "x", ignore=shutil.ignore_patterns(left))
        before = files()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        if name == "train":
            code = train_in("x")
        else:
            code = attack.main(["--run-dir", "x"]) if name == "attack" else evaluate.main(["x"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert set(before) <= set(files()), name
        for kind in ("partial", "_temp", "lock"):
            assert not [path for path in files() if kind in path], name
        print("ended", name, size, code, flush=True)
"""


@pytest.mark.slow
def test_every_command_ends_in_a_sentence(tmp_path):
    command = [sys.executable, "-c", _COMMANDS, str(ROOT), "0", "1500", "9000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended ")]
    assert len(ends) == 9 and all(end[2] == "2" for end in ends), ends
    errors = [
        line for line in done.stderr.splitlines() if "error" in line.lower() or "Traceback" in line
    ]
    assert len(errors) == 9 and all(line.startswith("error: cannot write ") for line in errors), (
        errors
    )
