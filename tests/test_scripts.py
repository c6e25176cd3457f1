"""The three scripts on the smallest configuration, as a user calls them."""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
from processes import kill
from stored import attacks_of
from tensorflow import keras

import attack
import evaluate
import tfvn
import tfvn.__main__
import train
from tfvn import cli

ROOT = Path(__file__).resolve().parents[1]
SMOKE = str(ROOT / "configs" / "smoke.yaml")
# Of the run that most tests use, and make again.
SMALL = [
    "training.recipe=noise",
    "training.recipe.sigma=0.05",
    "defence=smoothed",
    "defence.sigma=0.05",
    "model.num_stages=1",
]
# Where the optimizer does not matter: a step of iPALM takes seconds to trace.
QUICK = [*SMALL, "training.optimizer=adam"]


def contents(run_dir):
    """Weights and attacks of a run, as bytes."""
    weights = b"".join(w.tobytes() for w in tfvn.load_model(run_dir).get_weights())
    return {"weights": weights, **attacks_of(run_dir)}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    run_dir = str(tmp_path_factory.mktemp("runs") / "smoke")
    assert train.main(["--config", SMOKE, "--run-dir", run_dir, "--set", *SMALL]) == 0
    assert attack.main(["--run-dir", run_dir]) == 0
    return run_dir


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A trained run of the settings QUICK."""
    run_dir = str(tmp_path_factory.mktemp("runs") / "quick")
    assert train.main(["--config", SMOKE, "--run-dir", run_dir, "--set", *QUICK]) == 0
    return run_dir


def test_a_run_directory_holds_all_that_a_run_made(smoke):
    for name in ("config.yaml", "model.keras", "history.csv", "logs", "checkpoints"):
        assert os.path.exists(os.path.join(smoke, name)), name
    assert len(list(Path(smoke, "attacks").rglob("slice_*.h5"))) == 4
    with h5py.File(tfvn.runs.attack_files.attack_path(smoke, 1.0, 0)) as file:
        assert {"radius", "seed", "settings", "model_hash", "kspace_norm"} <= set(file.attrs)
        assert np.linalg.norm(file["perturbation"][()]) <= 1.0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(smoke, tmp_path):
    run_dir = str(tmp_path / "again")
    train.main(["--config", SMOKE, "--run-dir", run_dir, "--set", *SMALL])
    attack.main(["--run-dir", run_dir])
    assert contents(run_dir) == contents(smoke)


@pytest.mark.slow
def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    quick, tmp_path, monkeypatch, capsys
):
    run_dir = str(tmp_path / "interrupted")
    arguments = ["--config", SMOKE, "--run-dir", run_dir, "--set", *QUICK]

    def interrupt(self, batch, logs=None):
        if int(self.model.steps_done) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tfvn.training.loop.ProgressBar, "on_train_batch_end", interrupt)
        assert train.main(arguments) == 130
    assert "continues" in capsys.readouterr().err
    assert not os.path.exists(os.path.join(run_dir, "model.keras"))
    assert train.main(arguments) == 0
    assert "continuing" in capsys.readouterr().out
    assert contents(run_dir)["weights"] == contents(quick)["weights"]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_addons"), reason="needs tensorflow-addons"
)
def test_a_time_budget_stops_at_a_checkpoint_from_which_the_training_goes_on(
    quick, tmp_path, monkeypatch, capsys
):
    run_dir = str(tmp_path / "run")
    # A second that is over at the first look.
    clock = iter(range(0, 1000, 10))
    with monkeypatch.context() as patch:
        module = tfvn.compat.addons("this test", "another").callbacks.time_stopping
        patch.setattr(module, "time", types.SimpleNamespace(time=lambda: next(clock)))
        # Each frame makes a line.
        patch.setattr(tfvn.progress, "_SECONDS", 0)
        arguments = [*QUICK, "training.time_budget=1", "training.progress=addons"]
        assert train.main(["--config", SMOKE, "--run-dir", run_dir, "--set", *arguments]) == 0
    told = capsys.readouterr()
    assert "stopped by the time budget at iteration 4 of 6" in told.out and "Training:" in told.err
    unfinished = os.path.join(run_dir, "unfinished.keras")
    assert os.path.exists(unfinished) and not os.path.exists(os.path.join(run_dir, "model.keras"))
    other = str(tmp_path / "other")
    given = [word for word in QUICK if not word.startswith("model.")]
    given.append(f"model.file={unfinished}")
    assert train.main(["--config", SMOKE, "--run-dir", other, "--set", *given]) == 0
    assert (
        train.main(
            ["--run-dir", run_dir, "--set", "training.time_budget=0", "training.progress=tqdm"]
        )
        == 0
    )
    assert contents(run_dir)["weights"] == contents(quick)["weights"] != contents(other)["weights"]
    assert not os.path.exists(unfinished)


@pytest.mark.parametrize(
    "setting, instead",
    [
        ("training.time_budget=5", "training.time_budget=0"),
        ("training.progress=addons", "training.progress=tqdm"),
    ],
)
def test_without_tensorflow_addons_its_callbacks_name_another_way(
    setting, instead, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    assert (
        train.main(["--config", SMOKE, "--run-dir", str(tmp_path / "run"), "--set", setting]) == 2
    )
    assert f"Use {instead}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
# In the middle of a step's epoch, and between the writing of a file and its renaming.
@pytest.mark.parametrize(
    "module, name, number",
    [
        ("loop.ProgressBar", "on_train_batch_end", 5),
        ("files.os", "replace", 3),
    ],
)
def test_a_killed_training_ends_like_an_uninterrupted_one(quick, tmp_path, module, name, number):
    run_dir = str(tmp_path / "killed")
    arguments = ["--config", SMOKE, "--run-dir", run_dir, "--set", *QUICK]
    kill("train", arguments, module, name, number)
    assert not os.path.exists(os.path.join(run_dir, "model.keras"))
    assert train.main(arguments) == 0
    assert contents(run_dir)["weights"] == contents(quick)["weights"]
    histories = [Path(folder, "history.csv").read_text() for folder in (run_dir, quick)]
    assert histories[0] == histories[1]
    assert not list(Path(run_dir).rglob("*.partial-*"))


@pytest.mark.slow
def test_a_training_killed_at_its_end_needs_no_data(quick, tmp_path, monkeypatch):
    run_dir = str(tmp_path / "killed")
    shutil.copytree(quick, run_dir, ignore=shutil.ignore_patterns("model.keras"))

    def moved(*_, **__):
        raise ValueError("the data have been moved away")

    monkeypatch.setattr(tfvn.data, "load", moved)
    monkeypatch.setattr(tfvn.data, "source", moved)
    assert train.main(["--run-dir", run_dir]) == 0
    assert contents(run_dir)["weights"] == contents(quick)["weights"]


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_killed_attack_goes_on_after_its_last_slice(smoke, tmp_path):
    run_dir = str(tmp_path / "killed")
    shutil.copytree(smoke, run_dir, ignore=shutil.ignore_patterns("attacks"))
    # Between the writing of its second file and the renaming.
    kill("attack", ["--run-dir", run_dir], "files.os", "replace", 2)
    found = list(Path(run_dir, "attacks").rglob("slice_?????.h5"))
    assert 0 < len(found) < 4
    times = {path: path.stat().st_mtime_ns for path in found}
    assert attack.main(["--run-dir", run_dir]) == 0
    assert contents(run_dir) == contents(smoke)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert not list(Path(run_dir).rglob("*.partial-*"))


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_suite_that_is_killed_between_its_members_goes_on_to_the_same_bytes(smoke, tmp_path):
    suite = ["--set", "attacks=suite", "attacks.suite.sizes=0.5"]
    # Of the draws of a smoothed network one is enough.
    suite += ["attacks.suite.num_samples=1", "attacks.suite.draws=1"]
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    for folder in (whole, killed):
        shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns("attacks"))
    assert attack.main(["--run-dir", whole, *suite]) == 0
    # In the second slice, before its last member.
    arguments = ["--run-dir", killed, *suite]
    kill("attack", arguments, "apgd.AutoProjectedGradient", "run", 2)
    found = list(Path(killed, "attacks").rglob("slice_?????.h5"))
    assert len(found) == 1
    assert attack.main(arguments) == 0
    assert contents(killed) == contents(whole)


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_killed_evaluation_goes_on_after_its_last_slice(smoke, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert evaluate.main([smoke, "--output", str(whole)]) == 0
    kill("evaluate", [smoke, "--output", str(killed)], "measure", "measure_slice", 2)
    assert (
        len(list((killed / ".unfinished").rglob("*.h5"))) == 1
        and not (killed / "results.csv").exists()
    )
    assert evaluate.main([smoke, "--output", str(killed)]) == 0
    assert sorted(os.listdir(killed)) == sorted(os.listdir(whole))
    assert (killed / "results.csv").read_text() == (whole / "results.csv").read_text()


@pytest.mark.slow
def test_a_rerun_attacks_only_what_is_missing(smoke, tmp_path):
    run_dir = str(tmp_path / "copy")
    shutil.copytree(smoke, run_dir)
    missing, kept = (
        tfvn.runs.attack_files.attack_path(run_dir, 1.0, 1),
        tfvn.runs.attack_files.attack_path(run_dir, 1.0, 0),
    )
    os.remove(missing)
    before = os.stat(kept).st_mtime_ns
    assert attack.main(["--run-dir", run_dir]) == 0
    assert os.stat(kept).st_mtime_ns == before
    assert contents(run_dir) == contents(smoke)


@pytest.mark.slow
def test_evaluation_prints_every_file_it_writes(smoke, tmp_path, capsys):
    output = tmp_path / "results"
    assert evaluate.main([smoke, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for name in os.listdir(output):
        assert f"wrote {output / name}" in printed
    assert (output / "table1.md").read_text() in printed


def test_a_trained_run_is_left_as_it_is(smoke, capsys):
    before = contents(smoke)
    assert train.main(["--run-dir", smoke]) == 0
    assert "already trained" in capsys.readouterr().out
    assert contents(smoke) == before


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        (
            train,
            ["--config", SMOKE, "--set", "model.num_stage=3"],
            "--set: unknown key 'model.num_stage'. Did you mean 'model.num_stages'?",
        ),
        (
            train,
            [
                "--config",
                SMOKE,
                "--set",
                "training.recipe=noise",
                "training.recipe.sigma=-0.1",
                "defence=smoothed",
                "defence.sigma=0.1",
            ],
            "training.recipe.sigma must be a number >= 0. Received: training.recipe.sigma=-0.1",
        ),
        (
            train,
            ["--config", SMOKE, "--set", *SMALL, "defence.num_samples=0"],
            "defence.num_samples must be a whole number >= 1. Received: defence.num_samples=0",
        ),
        (
            train,
            ["--config", SMOKE, "--set", "defence.num_samples=3"],
            "defence.name is none, and the key is one of denoised, dropout, median, purified,",
        ),
        (
            train,
            ["--config", SMOKE, "--set", "sigma=0.1", "num_stages=1"],
            "--set: the keys of a configuration stand in sections now, see",
        ),
        (
            train,
            ["--config", SMOKE, "--set", "attacks.ascent.sizes=-1"],
            "attacks.ascent.sizes must be a number >= 0",
        ),
        (train, ["--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (train, ["--config", SMOKE, "--set", "data.format=vlo", "data.path=nowhere"], "nowhere"),
        (
            train,
            ["--config", SMOKE, "--set", "training.initial_weights=nowhere.keras"],
            "no such model file",
        ),
        (attack, ["--config", SMOKE], "Run train.py"),
    ],
)
def test_wrong_input_ends_in_one_clear_sentence(script, arguments, message, tmp_path, capsys):
    assert script.main([*arguments, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "error: " in error and message in error and "Traceback" not in error
    assert not list(tmp_path.rglob("*partial*")) and not list(tmp_path.rglob("model.keras"))


def test_on_an_existing_run_a_wrong_value_is_blamed_on_where_it_stands(smoke, capsys):
    for script, arguments in (
        (train, ["--run-dir", smoke]),
        (attack, ["--run-dir", smoke]),
        (evaluate, [smoke]),
    ):
        assert script.main([*arguments, "--set", "defence.num_samples=12:30"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(
            "error: --set: defence.num_samples must be a whole number, such as 10. Received:"
            " defence.num_samples='12:30'"
        )


@pytest.fixture(params=["through parse_known_args", "by itself"])
def intermixed(request, monkeypatch):
    """How argparse parses flags between words: as up to Python 3.12.7 and 3.13.0, and as later."""
    original = argparse.ArgumentParser.parse_known_intermixed_args

    def by_itself(parser, args=None, namespace=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cli.Parser, "parse_known_args", argparse.ArgumentParser.parse_known_args)
            return original(parser, args, namespace)

    if request.param == "by itself":
        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_intermixed_args", by_itself)


@pytest.mark.usefixtures("intermixed")
@pytest.mark.parametrize(
    "words, expected",
    [
        (
            "runs/a --set defence.num_samples=3 defence.chunk_size=2 --num-samples 1 3 9 27",
            (["runs/a"], ["defence.num_samples=3", "defence.chunk_size=2"], [1, 3, 9, 27]),
        ),
        ("--set defence.num_samples=3 a b", (["a", "b"], ["defence.num_samples=3"], [])),
        (
            "--set defence.num_samples=3 defence.chunk_size=1 a --set data.cache_dir=x b",
            (["a", "b"], ["defence.num_samples=3", "defence.chunk_size=1", "data.cache_dir=x"], []),
        ),
        ("--num-samples 1 3 a b", (["a", "b"], [], [1, 3])),
        ("--num-samples 1 a --num-samples 3", (["a"], [], [1, 3])),
        ("b --num-samples 1 3 --output o a", (["b", "a"], [], [1, 3])),
        (
            "a --set defence.num_samples=3 runs/acc=4",
            (["a", "runs/acc=4"], ["defence.num_samples=3"], []),
        ),
        ("--num-samples 3 -- 5", (["5"], [], [3])),
        (
            "--run-dir a --set defence.num_samples=3 --run-dir b",
            (["a", "b"], ["defence.num_samples=3"], []),
        ),
        ("a --set", "--set: expected one argument"),
        ("a --num-samples", "--num-samples: expected one argument"),
        ("--num-samples a", "expected a whole number from 1 to 2147483647. Received: 'a'"),
        ("a --num-samples 1_0", "expected a whole number from 1 to 2147483647. Received: '1_0'"),
        (
            "a --num-samples 9999999999",
            "expected a whole number from 1 to 2147483647. Received: '9999999999'",
        ),
        ("--set defence.num_samples=3", "give at least one RUN_DIR"),
        ("a --output b --output c", "--output: given twice"),
        ("a --num 3 --strategy all", "invalid choice: 'all'"),
    ],
)
def test_flags_of_several_values_leave_run_directories_alone(words, expected, monkeypatch, capsys):
    found = []

    def evaluated(run_dirs, output, overrides, strategy, shown, probe, cluster):
        found.append((run_dirs, overrides, []))

    def swept(run_dirs, output, counts, overrides, strategy):
        found.append((run_dirs, overrides, counts))

    monkeypatch.setattr(tfvn.results.evaluate, "evaluate", evaluated)
    monkeypatch.setattr(tfvn.results.sweep, "sample_sweep", swept)
    if isinstance(expected, str):
        with pytest.raises(SystemExit) as ended:
            evaluate.main(words.split())
        assert ended.value.code == 2 and expected in capsys.readouterr().err
    else:
        assert evaluate.main(words.split()) == 0 and found == [expected]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "runs/smoke",
            (
                "what is runs/smoke? A configuration is given by --config FILE, a run directory by"
                " --run-dir DIR"
            ),
        ),
        ("--config a.yaml --set attacks.ascent.sizes=[1.5, 2.5]", "what is 2.5]?"),
        ("--config a.yaml --set seed = 1", "without blanks around = or in quotes"),
        ("--config a.yaml --config b.yaml", "--config: given twice"),
        ("--run-dir a --run-dir b", "--run-dir: given twice"),
        ("--set", "--set: expected one argument"),
        ("", "give --config FILE, or --run-dir DIR of an existing run"),
        ("--set seed=1", "give --config FILE, or --run-dir DIR of an existing run"),
    ],
)
def test_a_wrong_command_line_is_told(words, message, capsys):
    for script in (train, attack):
        with pytest.raises(SystemExit) as ended:
            script.main(words.split())
        assert ended.value.code == 2 and message in capsys.readouterr().err


def call(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "module, arguments",
    [
        ("train", ["--help"]),
        ("train", ["--unknown"]),
        ("attack", ["--config", SMOKE, "seed=1"]),
        ("attack", []),
        ("evaluate", ["--num-samples", "x"]),
        ("tfvn.__main__", []),
        ("tfvn.__main__", ["train", "--config", SMOKE, "--tune", "--strategy", "mirrored"]),
        ("tfvn.__main__", ["evaluate"]),
        ("tfvn.__main__", ["reconstruct", "--help"]),
        (
            "tfvn.__main__",
            ["reconstruct", "scan.h5", "--model", "x", "-o", "y.h5", "--slices", "0-99999999999"],
        ),
    ],
)
def test_what_is_wrong_with_words_is_told_before_tensorflow_is_imported(module, arguments):
    code = f"""
import importlib, sys
try:
    importlib.import_module({module!r}).main({arguments!r})
except SystemExit:
    pass
assert not {{"tensorflow", "h5py", "matplotlib"}} & set(sys.modules)
"""
    done = call(code)
    assert done.returncode == 0, done.stderr


def test_a_pipe_that_is_closed_ends_a_command_quietly():
    for command in (["train.py", "--help"], ["-m", "tfvn", "export", "--help"]):
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        # argparse keeps silent where it writes more than a buffer holds.
        assert process.wait() in (0, 141)


@pytest.mark.slow
def test_a_standard_output_that_is_closed_is_no_fault():
    cases = [("train.py --help", 0), ("-m tfvn", 0), ("evaluate.py --unknown", 2)]
    for arguments, expected in cases:
        command = ["sh", "-c", f"{sys.executable} {arguments} >&-"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == expected and "Traceback" not in done.stderr, done.stderr


def test_called_from_python_a_command_leaves_signals_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tfvn"])
    before, codes = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: codes.append(tfvn.__main__.main()))
    thread.start()
    thread.join()
    assert [*codes, tfvn.__main__.main()] == [0, 0]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_when_all_is_done_changes_nothing():
    code = """
import atexit, os, signal
from tfvn import cli

@cli.command
def main(argv=None):
    print("done")
    return 0

atexit.register(os.kill, os.getpid(), signal.SIGINT)
cli.exit_with(main)
"""
    done = call(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_lack_of_memory_is_told_in_a_sentence(capsys):
    def work():
        raise MemoryError("Unable to allocate 9.00 TiB for an array")

    assert cli.guarded(work) == 2
    assert (
        capsys.readouterr().err
        == "error: there is not enough memory. Unable to allocate 9.00 TiB for an array\n"
    )


def test_a_fault_of_ours_is_not_hidden():
    def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        cli.guarded(work)


def test_checked_data_say_what_is_next(tmp_path, capsys):
    assert train.main(["--config", SMOKE, "--run-dir", str(tmp_path / "run"), "--check-data"]) == 0
    *_, found, closing = capsys.readouterr().out.splitlines()
    assert (
        found.endswith("all can be used")
        and closing == "Next: the same command without --check-data"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_may_be_configured_can_be_used_to_the_end(tmp_path):
    run_dir = str(tmp_path / "run")
    settings = [
        *QUICK,
        "seed=2147483647",
        "training.iterations=1",
        "training.batch_size=1",
        "attacks.ascent.steps=1",
        "attacks.ascent.sizes=0.5",
    ]
    assert train.main(["--config", SMOKE, "--run-dir", run_dir, "--set", *settings]) == 0
    assert attack.main(["--run-dir", run_dir]) == 0
    assert evaluate.main(["--set", "defence.num_samples=2", run_dir]) == 0
    assert (
        evaluate.main(["--num-samples", "1", "2", run_dir, "--output", str(tmp_path / "swept")])
        == 0
    )


def test_evaluating_a_directory_without_a_run_is_an_error(tmp_path, capsys):
    assert evaluate.main([str(tmp_path), "--output", str(tmp_path / "results")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["train", "attack", "evaluate"])
def test_the_scripts_are_commands_too(name, capsys):
    with pytest.raises(SystemExit):
        {"train": train, "attack": attack, "evaluate": evaluate}[name].main(["--help"])
    text = capsys.readouterr().out
    with pytest.raises(SystemExit):
        tfvn.__main__.main([name, "--help"])
    assert (
        capsys.readouterr().out.split()
        == text.replace(f"python {name}.py", f"python -m tfvn {name}").split()
    )


def test_the_network_is_a_keras_model_for_reuse(smoke):
    assert isinstance(
        keras.models.load_model(os.path.join(smoke, "model.keras")),
        tfvn.models.variational.VariationalNetwork,
    )
