"""A row more for the file of a board: the checklist, and the text that is appended."""

import os

import pytest
from boards import TEXT, board_of
from broken import Bent, Detached

from tfvn import commands
from tfvn.leaderboard import adding, board, checklist
from tfvn.models import MODELS
from tfvn.results.flags import Case, flag_of
from tfvn.results.rules import OF_MODELS


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of a board of one row beside the exact ones, and a configuration of two models."""
    monkeypatch.setitem(MODELS, "bent", Bent)
    monkeypatch.setitem(MODELS, "detached", Detached)
    board_of(tmp_path, "first")
    for name in ("bent", "detached"):
        (tmp_path / f"{name}.yaml").write_text(f"model: {name}\n", encoding="utf-8")
    path = tmp_path / "board.yaml"
    path.write_bytes(b"# mine\n" + path.read_bytes())
    return path


def test_a_model_that_passes_becomes_the_last_row_and_no_other_byte_changes(file, capsys):
    before = file.read_bytes()
    words = [str(file), "--add-model", str(file.parent / "bent.yaml"), "--name", "mine: 1"]
    words += ["--licence", "MIT", "--set", "seed=4", "training.iterations=2"]
    assert commands.call("leaderboard", words) == 0
    assert file.read_bytes().startswith(before)
    *others, row = board.read(file).entries
    assert [one.name for one in others] == ["zero-filled", "cg-sense", "first"]
    assert (row.name, row.config.model.name, row.config.seed) == ("mine: 1", "bent", 4)
    assert (row.about["licence"], row.config.training.iterations) == ("MIT", 2)
    told = capsys.readouterr().out
    assert told.count("  passed  ") == 8 and "FAILED" not in told
    assert "it loads: Bent, 0 parameters" in told and "track is declared: deterministic" in told
    assert commands.call("leaderboard", [*words[:4], "again", *words[5:]]) == 2
    assert "this model is the row 'mine: 1' already" in capsys.readouterr().err


def test_a_model_that_fails_is_not_added_and_the_checklist_says_why(file, capsys):
    before = file.read_bytes()
    with pytest.raises(ValueError, match="is not added: 1 of 8 checks failed: the gradient equals"):
        adding.add_model(file, file.parent / "detached.yaml")
    told = capsys.readouterr().out
    assert "  FAILED  the gradient equals central differences: 0." in told
    (file.parent / "half.keras").write_bytes(b"PK")
    with pytest.raises(ValueError, match="1 of 1 checks failed: it loads"):
        adding.add_model(file, file.parent / "half.keras")
    assert "  FAILED  it loads: " in capsys.readouterr().out
    assert file.read_bytes() == before
    assert not [name for name in os.listdir(file.parent) if "partial" in name]


def test_a_model_that_raises_or_answers_another_shape_does_not_pass(file, monkeypatch):
    config = board.read(file).entries[-1].config.changed({"model": {"name": "bent"}})
    whole = Bent.call
    monkeypatch.setattr(Bent, "call", lambda self, inputs: whole(self, inputs)[:, 1:])
    found = {item.what: item for item in checklist.asked(config)}
    assert not found["it has the shape of the true image"].passed

    def broken(self, inputs):
        if inputs["zero_filled"].shape[1] == 20:
            raise ValueError("not of these data")
        return whole(self, inputs)

    monkeypatch.setattr(Bent, "call", broken)
    found = [item for item in checklist.asked(config) if not item.passed]
    assert len(found) == 6 and "not of these data" in found[0].note


def test_a_dynamic_model_needs_no_gradient_and_all_else(file, monkeypatch):
    """All rules are raised, as far as the probes say."""
    known = [rule for rule in OF_MODELS if rule.name in checklist._RULES]
    flags = [flag_of(rule, [Case(0.0 if rule.below else 9.0)]) for rule in known]
    monkeypatch.setattr(checklist, "flags_of_model", lambda *_, **__: flags)
    config = board.read(file).entries[-1].config.changed({"model": {"name": "bent"}})
    failed = {}
    for track in ("deterministic", "dynamic"):
        monkeypatch.setattr(Bent, "track", track)
        failed[track] = {item.what for item in checklist.asked(config) if not item.passed}
    gradients = {"there is a gradient", "the gradient equals central differences"}
    assert failed["deterministic"] - failed["dynamic"] == gradients
    assert len(failed["dynamic"]) == 3


@pytest.fixture
def unasked(monkeypatch):
    """Every model passes."""
    monkeypatch.setattr(checklist, "asked", lambda config: [checklist.Item("it", True, "")])


def test_a_run_directory_brings_its_configuration_and_its_network(file, unasked):
    run_dir = file.parent / "runs" / "mine"
    run_dir.mkdir(parents=True)
    with pytest.raises(ValueError, match="no directory of a trained run"):
        adding.add_model(file, run_dir)
    defence = "defence: {name: smoothed, sigma: 0.5}\n"
    (run_dir / "config.yaml").write_text(f"seed: 9\n{defence}", encoding="utf-8")
    (run_dir / "model.keras").write_bytes(b"1")
    adding.add_model(file, f"{run_dir}/")
    row = board.read(file).entries[-1]
    assert (row.name, row.config.seed, row.config.defence.sigma) == ("mine", 9, 0.5)
    assert os.path.samefile(row.config.model.file, run_dir / "model.keras")


@pytest.mark.parametrize(
    "text, added",
    [
        ("rows:\n- {name: a}\n", "- name: b\n  config: c\n"),
        ("rows:  # all\n\n    - name: a\n      set: []\n", "    - name: b\n      config: c\n"),
        ("rows:\n  - name: a", "\n  - name: b\n    config: c\n"),
        ("title: t\r\n", "rows:\r\n  - name: b\r\n    config: c\r\n"),
        ("rows:\n", "  - name: b\n    config: c\n"),
    ],
)
def test_a_row_is_written_as_the_others_are(text, added):
    assert adding.lines_of(text, {"name": "b", "config": "c"}) == added


@pytest.mark.parametrize("rows", ["rows: []\n", "rows:\n  - {name: a, config: c.yaml}\ntitle: t\n"])
def test_rows_that_are_not_the_last_section_are_told(file, unasked, rows):
    text = TEXT.partition("rows:")[0].format(title="t").partition("\n")[2] + rows
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"board.yaml: the rows must be the last section"):
        adding.add_model(file, file.parent / "bent.yaml")
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("first", (), "different names. Received twice: 'first'"),
        ("new", ("model.filtrs=2",), "filtrs"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_by_the_name_of_the_board(
    file, unasked, name, settings, message
):
    with pytest.raises(ValueError) as raised:
        adding.add_model(file, file.parent / "bent.yaml", name, settings)
    assert message in str(raised.value) and "partial" not in str(raised.value)
    with pytest.raises(ValueError, match="nowhere.keras is not there"):
        adding.add_model(file, "nowhere.keras")


@pytest.mark.parametrize(
    "words", [["--name", "a"], ["--set", "seed=1"], ["--dry-run", "--add-model", "c.yaml"]]
)
def test_flags_that_do_not_go_together_are_told(words, capsys):
    with pytest.raises(SystemExit):
        commands.call("leaderboard", ["board.yaml", *words])
    err = capsys.readouterr().err
    assert "belong to --add-model" in err or "exclude each other" in err
