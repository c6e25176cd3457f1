"""A bar on a terminal, and few lines where there is none."""

import importlib.util
import io
import types

import pytest

from tfvn import progress
from tfvn.config import load
from tfvn.runs.train import _addons_callbacks
from tfvn.training import loop


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, as a list of one number."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "_last_line", [100.0])
    return now


def test_where_there_is_no_terminal_a_line_comes_every_ten_seconds(clock, capsys):
    for work in ("train", "attack"):
        for _ in progress.bar(range(60), desc=work, mininterval=0):
            clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[0].startswith("train") and lines[-1].startswith("attack")
    assert all("\r" not in line and "\x1b" not in line for line in lines)


def test_short_work_makes_no_line_there(clock, capsys):
    for _ in range(100):
        assert list(progress.bar(range(3), mininterval=0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("logs", [{"loss": 0.25}, {"loss": 0.25, "val_nrmse": 0.5}])
def test_the_bar_of_a_training_shows_a_validation_where_there_is_one(logs):
    shown = {}
    bar = types.SimpleNamespace(set_postfix=shown.update)
    loop.ProgressBar(bar).on_epoch_end(0, logs)
    assert shown["loss"] == "0.25" and shown.get("nrmse") == ("0.5000" if len(logs) > 1 else None)


@pytest.mark.parametrize("seconds", [1, 4, 9])
def test_a_row_of_short_bars_makes_as_many_lines_as_a_long_one(seconds, clock, capsys):
    for number in range(0, 60, seconds):
        for _ in progress.bar(range(seconds), desc=f"slice {number}", mininterval=0):
            clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 6 and all(line.startswith("slice ") for line in lines)


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_addons"), reason="needs tensorflow-addons"
)
def test_the_bars_of_tensorflow_addons_make_no_more_lines_than_ours(clock, capsys):
    (bars,) = _addons_callbacks(load(settings={"training.progress": "addons"}).training)
    bars.set_params({"epochs": 6, "steps": 10})
    bars.on_train_begin()
    for epoch in range(6):
        bars.on_epoch_begin(epoch)
        for batch in range(10):
            clock[0] += 1
            bars.on_train_batch_end(batch, {"loss": 1.0})
        bars.on_epoch_end(epoch, {"loss": 1.0})
    bars.on_train_end()
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 6
    assert all("\r" not in line and "\x1b" not in line for line in lines)


def test_without_a_standard_error_the_work_is_done(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress.bar(range(3), desc="train", disable=False)) == [0, 1, 2]
    with progress.bar(total=3) as bar:
        bar.update(3)


def test_a_terminal_shows_a_bar_at_once(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress.bar(range(3), desc="train")) == [0, 1, 2]
    assert "\rtrain" in terminal.getvalue() and "100%" in terminal.getvalue()
