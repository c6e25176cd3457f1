"""What the surroundings say does not decide whether, what or how loudly the package computes."""

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import tfvn
from tfvn import surroundings

ROOT = Path(__file__).resolve().parents[1]


def python(*arguments, folder, **variables):
    """A new Python in `folder`. A variable that is None is unset."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": None, **variables}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


PICTURE = """
import hashlib, pathlib
from tfvn.figures import curves
rows = [
    dict(model="a_1", radius=r, norm=r, effect=r, rmse=1 + r, image_norm=20.0)
    for r in (0.0, 1.0, 2.0)
]
curves.figure2("picture.png", rows)
digest = hashlib.sha256(pathlib.Path("picture.png").read_bytes()).hexdigest()
"""
EVERYTHING = f"""
import sys
import time
# Nothing of ours looks at the command line. TensorFlow does, while it is imported.
words = vars(sys).pop("argv")
import tfvn
assert "tensorflow" not in sys.modules and "matplotlib" not in sys.modules
from tfvn import cli, drafts, first_edition, provenance, tables
assert "tensorflow" not in sys.modules and "matplotlib" not in sys.modules
sys.argv = words
import tensorflow
del sys.argv
config = tfvn.config.load({str(ROOT / "configs/smoke.yaml")!r})
inputs, reference = next(iter(tfvn.data.load(config, "test")))
network = tfvn.models.variational.VariationalNetwork(2, filters=4, kernel_size=5, num_centers=11)
assert network.reconstruct(inputs).shape == reference.shape
{PICTURE}
print(digest)
"""


def drawn_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(PICTURE, names)
    return names["digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile",
    [
        # As a notebook starts it, where the package that draws in notebooks is not there.
        dict(
            MPLBACKEND="module://no_such_package.backend",
            TF_USE_LEGACY_KERAS="1",
            KERAS_BACKEND="jax",
        ),
        dict(
            MPLBACKEND="inline",
            MATPLOTLIBRC="odd",
            PYTHONWARNINGS="error",
            HOME=None,
            TMPDIR="/nowhere",
            LC_ALL="C",
        ),
    ],
)
def test_it_computes_and_draws_the_same_in_silence_whatever_the_surroundings_say(
    hostile, tmp_path, monkeypatch
):
    (tmp_path / "odd").write_text(
        "font.size: 31\nfigure.dpi: 33\nlines.linewidth: 9\ntext.usetex: True\n", encoding="utf-8"
    )
    done = python("-c", EVERYTHING, folder=tmp_path, **hostile)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [drawn_here(tmp_path, monkeypatch)]


@pytest.mark.slow
def test_drawing_to_files_leaves_the_users_backend_alone(tmp_path):
    code = f"{PICTURE}\nimport matplotlib.pyplot\nprint(matplotlib.get_backend())"
    done = python("-c", code, folder=tmp_path, MPLBACKEND="svg")
    assert done.stdout.split() == ["svg"], done.stderr


def test_the_package_shows_what_is_there_to_use():
    assert sorted([*tfvn.__all__, "__version__"]) == dir(tfvn)
    assert all(
        isinstance(getattr(tfvn, name), types.ModuleType)
        for name in tfvn.__all__
        if name != "load_model"
    )
    with pytest.raises(AttributeError, match="tfvn has no 'defense'. It has .* defences"):
        _ = tfvn.defense


def test_our_programs_drop_advice_on_tracing_alone(capsys):
    logger = logging.getLogger("tensorflow")
    advice = "5 out of the last 9 calls to <f> triggered tf.function retracing."
    handler = logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    try:
        with surroundings.without_advice():
            logger.warning(advice)
            logger.warning("something else")
        logger.warning("after: %s", advice)
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr().out == f"something else\nafter: {advice}\n"


NOISE = (
    "WARNING: All log messages before absl::InitializeLog() is called\nI0000 00:00:1.5 1 a.cc:1]"
    " fine\n"
)
NEWS = "E0000 00:00:1.5 1 a.cc:1] broken\nF0000 00:00:1.5 1 a.cc:1] and out\nanything else\n"
WRITE = f"""
import os
from tfvn import surroundings
with surroundings.quietly():
    os.write(2, {(NOISE + NEWS).encode()!r})
    {{}}
os.write(2, b"after")
"""


@pytest.mark.parametrize(
    "level, last, told",
    [
        (None, "", NEWS + "after"),
        ("3", "os.abort()", NEWS),
        ("0", "", NOISE + NEWS + "after"),
        # Without a program to filter, everything is told.
        (None, "", NOISE + NEWS + "after"),
    ],
    ids=["quiet", "aborted", "asked for", "no grep"],
)
def test_only_known_information_is_dropped(level, last, told, tmp_path, request):
    path = "/nowhere" if "no grep" in request.node.name else os.environ["PATH"]
    done = python("-c", WRITE.format(last), folder=tmp_path, TF_CPP_MIN_LOG_LEVEL=level, PATH=path)
    assert done.stderr == told


def test_it_works_without_a_standard_error(tmp_path):
    code = (
        "import os\nos.close(2)\nfrom tfvn import surroundings\nwith surroundings.quietly():\n   "
        " print('done')"
    )
    assert python("-c", code, folder=tmp_path).stdout == "done\n"


@pytest.mark.slow
def test_who_inherited_the_descriptor_is_not_waited_for(tmp_path):
    code = """
import os, subprocess, time
from tfvn import surroundings
with surroundings.quietly():
    late = "sleep 3; echo I0000 00:00:1.5 fine >&2; echo late >&2; exec sleep 50"
    child = subprocess.Popen(["sh", "-c", late])
began = time.monotonic()
os.write(2, b"not filtered;")
time.sleep(2)
child.kill()
child.wait()
print(time.monotonic() - began < 20)
"""
    done = python("-W", "error", "-c", code, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", "not filtered;late\n")


@pytest.fixture
def around(tmp_path, monkeypatch):
    """The contexts entered for `fails_once`, a module whose first import fails."""
    code = "import builtins as b\nb.tries = getattr(b, 'tries', 0) + 1\nassert b.tries > 1"
    (tmp_path / "fails_once.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entered = []

    @contextlib.contextmanager
    def context():
        entered.append("fails_once")
        yield

    monkeypatch.setitem(surroundings._AROUND, "fails_once", context)
    yield entered
    sys.modules.pop("fails_once", None)
    vars(importlib.import_module("builtins")).pop("tries", None)


def test_a_module_that_was_only_looked_for_or_failed_is_still_loaded_in_its_context(around):
    for _ in range(2):
        assert importlib.util.find_spec("fails_once").name == "fails_once"
    assert around == []
    with pytest.raises(AssertionError):
        importlib.import_module("fails_once")
    assert around == ["fails_once"]
    importlib.import_module("fails_once")
    assert around == ["fails_once"] * 2
    importlib.reload(sys.modules["fails_once"])


@pytest.mark.slow
def test_a_tensorflow_that_was_looked_for_is_quiet_and_knows_our_networks(tmp_path):
    small = {
        "num_stages": 1,
        "filters": 2,
        "kernel_size": 3,
        "num_centers": 3,
    }
    tfvn.models.variational.VariationalNetwork(**small).save(tmp_path / "model.keras")
    code = """
import importlib.util, sys
import tfvn
importlib.util.find_spec("tensorflow")
import tensorflow as tf
assert "tfvn.models.variational" in sys.modules
print(type(tf.keras.models.load_model("model.keras")).__name__)
"""
    done = python("-c", code, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("VariationalNetwork\n", "")


@pytest.mark.slow
def test_keras_may_be_imported_after_the_package_and_before_tensorflow(tmp_path):
    code = "import sys, tfvn, keras; print('tfvn.models.variational' in sys.modules)"
    done = python("-c", code, folder=tmp_path)
    assert done.stdout == "True\n"


def test_another_backend_of_keras_that_is_in_use_is_named(monkeypatch):
    other = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", other)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with pytest.raises(ImportError, match="with the backend jax. Import tfvn first"):
        surroundings.prepare()


@pytest.mark.one_stack
def test_without_docstrings_it_works_or_says_so(tmp_path):
    done = python(
        "-OO", "-c", "import tfvn; tfvn.models.variational; print('works')", folder=tmp_path
    )
    assert (
        done.stdout == "works\n"
        or "Received: PYTHONOPTIMIZE=2 or python -OO" in done.stderr.splitlines()[-1]
    )


SCRIPTS = f"""
import sys, train, attack, evaluate
config = {str(ROOT / "configs/smoke.yaml")!r}
small = ["model.num_stages=1", "training.iterations=2", "training.checkpoint_every=2"]
small += ["training.optimizer=adam"]
small += ["training.recipe=noise", "training.recipe.sigma=0.05"]
small += ["defence=smoothed", "defence.sigma=0.05", "defence.num_samples=2"]
small += ["attacks.ascent.steps=2", "attacks.ascent.sizes=1"]
code = train.main(["--config", config, "--run-dir", "run", "--set", *small])
sys.exit(code or attack.main(["--run-dir", "run"]) or evaluate.main(["run"]))
"""


@pytest.mark.slow
def test_training_attack_and_evaluation_write_nothing_but_progress(tmp_path):
    started = time.monotonic()
    done = python("-c", SCRIPTS, folder=tmp_path)
    elapsed = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    lines = done.stderr.replace("\r", "\n").splitlines()
    assert [line for line in lines if line.strip() and "%|" not in line] == []
    # In a log file, such as this one, progress is one line in ten seconds at most.
    assert len([line for line in lines if line.strip()]) <= elapsed / 10
