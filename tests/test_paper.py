"""The paper's protocol, rehearsed on a slice of stamp size, and the comparison with the printed
table.
"""

import csv
import os
import re

import numpy as np
import pytest

from tfvn import config as configs
from tfvn import data
from tfvn.paper import __main__, comparison, demo, models, protocol
from tfvn.runs import directory

SMALL = [
    "data.train_patients=1-2",
    "data.train_slices=1",
    "model.num_stages=1",
    "model.filters=2",
    "model.kernel_size=3",
    "model.num_centers=5",
    "training.batch_size=2",
    "training.optimizer=adam",
    "training.iterations=1",
    "attacks.ascent.steps=1",
    "defence.num_samples=2",
    "attacks.ascent.sizes=[1.0, 3.5]",
]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    parent = tmp_path_factory.mktemp("paper") / "rehearsal"
    __main__.paper(str(parent), None, SMALL, (32, 24, 2))
    return parent


@pytest.mark.slow
def test_a_rehearsal_ends_with_table_figures_comparison_and_times(rehearsal):
    results = set(os.listdir(rehearsal / "results"))
    assert {
        "table1.md",
        "figure1.png",
        "figure2.png",
        "figure3.png",
        "certificates.csv",
        "comparison.md",
    } <= results
    text = (rehearsal / "results" / "table1.md").read_text()
    assert all(f"| {name} " in text for name in protocol.MODELS)
    with open(rehearsal / "times.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["what"].split()[0] for row in rows] == ["training", "attack"] * 5
    assert all(float(row["seconds"]) >= 0 and int(row["peak_bytes"]) > 1e8 for row in rows)


@pytest.mark.slow
def test_the_whole_printed_table_is_compared(rehearsal):
    lines = (rehearsal / "results" / "comparison.md").read_text().splitlines()
    assert len(lines) == 2 + 5 * 4
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    models = [name for name in protocol.MODELS for _ in range(4)]
    assert [row[0] for row in cells] == models
    assert [row[1] for row in cells] == ["0", "1.5", "2.5", "3.5"] * 5
    assert [cells[3][2], cells[3][5]] == ["33.44", "0.718"]
    assert [cells[16][2], cells[16][5]] == ["17.79", "0.851"]
    # The rehearsal of these tests attacks with radii of 1 and 3.5.
    assert all((row[3] == "-") == (row[1] in ("1.5", "2.5")) for row in cells)
    assert all((row[6] == "-") == (row[1] in ("1.5", "2.5")) for row in cells)


@pytest.mark.slow
def test_the_folder_is_that_of_the_knee_data_in_both_formats(rehearsal):
    folder = rehearsal / "data" / "coronal_pd_fs"
    assert sorted(os.listdir(folder / "1")) == ["espirit1.mat", "rawdata1.mat"]
    starts = [(folder / patient / "rawdata1.mat").read_bytes()[:10] for patient in ("1", "2")]
    assert starts == [b"MATLAB 5.0", b"MATLAB 7.3"]
    config = directory.open_run(str(rehearsal / "original"))
    assert data.source(config, "train").shape(0) == (2, 32, 24)


@pytest.mark.slow
def test_the_five_networks_differ_in_their_noise_alone(rehearsal):
    original, *noisy = [directory.open_run(str(rehearsal / name)) for name in protocol.MODELS]
    assert not original.defence.is_named and original.training.recipe.name == "clean"
    for config, sigma in zip(noisy, [0.01, 0.02, 0.05, 0.1]):
        assert config.defence.sigma == config.training.recipe.sigma == sigma
        assert config.defence.num_samples == 2
        assert config.changed({"defence": "none", "training.recipe": "clean"}) == original


@pytest.mark.parametrize(
    "changes, kept",
    [
        (["defence.num_samples=2", "training.recipe.law=laplace"], []),
        (["defence=smoothed", "defence.sigma=0.1"], ["defence=smoothed", "defence.sigma=0.1"]),
        (["defence.name=none", "defence.law=laplace"], ["defence.name=none"]),
        (["training.recipe=noise", "training.iterations=2"],) * 2,
    ],
)
def test_keys_of_noise_change_the_networks_that_have_noise(changes, kept):
    assert __main__._own("original", changes) == kept


@pytest.mark.parametrize("change", ["defence.num_samples=0", "training.recipe.low=laplace"])
def test_a_wrong_key_of_noise_is_told_before_any_work(change, tmp_path):
    parent = tmp_path / "paper"
    with pytest.raises(ValueError, match=change.partition("=")[0]):
        __main__.paper(str(parent), None, [change])
    assert not parent.exists()


def test_all_changes_are_those_of_a_network_with_noise():
    changes = ["defence.num_samples=2", "training.recipe.law=laplace", "seed=3"]
    assert __main__._own("sigma_0.1", changes) == changes
    assert __main__._own("sigma_0.1", ["defence=none", "defence.law=laplace"]) == ["defence=none"]


@pytest.mark.slow
def test_a_second_call_does_nothing_again(rehearsal, capsys):
    before = {path: path.stat().st_mtime_ns for path in rehearsal.rglob("model.keras")}
    __main__.paper(str(rehearsal), None, SMALL, (32, 24, 2))
    assert capsys.readouterr().out.count("already trained") == 5
    assert before == {path: path.stat().st_mtime_ns for path in rehearsal.rglob("model.keras")}


@pytest.mark.slow
def test_another_rehearsal_does_not_take_the_same_folder(rehearsal):
    with pytest.raises(ValueError, match="does not hold these data"):
        __main__.paper(str(rehearsal), None, SMALL, (32, 32, 2))


def test_the_knees_of_the_demo_are_smoothed_and_kept_apart(tmp_path):
    config = configs.load(demo._path("base"), ["data.train_patients=1", "data.train_slices=11"])
    size, root = (32, 24, 2), str(tmp_path / "data")
    protocol.write_knees(root, config, size, 0.0, blur=1.0)
    _, reference = next(iter(data.load(config.changed({"data.path": root}), "test")))
    expected = data.SyntheticKnee(1, *size, None, 0.0, seed=1, blur=1.0)[0].reference
    scale = np.abs(reference[0]).max() / np.abs(expected).max()
    np.testing.assert_allclose(np.abs(reference[0]), scale * np.abs(expected), atol=1e-5)
    with pytest.raises(ValueError, match="does not hold these data(.|\n)*blur 2.0"):
        protocol.write_knees(root, config, size, 0.0, blur=2.0)


@pytest.mark.slow
def test_damaged_data_stop_before_any_training(rehearsal, tmp_path, capsys):
    (tmp_path / "coronal_pd_fs").mkdir()
    code = __main__.main(
        [
            str(tmp_path),
            "--run-dir",
            str(tmp_path / "run"),
            "--set",
            "data.test_patients=1",
            "data.train_patients=1",
            "data.train_slices=1-2",
        ]
    )
    error = capsys.readouterr().err
    assert code == 2 and "3 of 3 slices cannot be used" in error and "rawdata2.mat" in error
    assert not (tmp_path / "run").exists()


def test_data_or_a_rehearsal_must_be_chosen(capsys):
    for arguments in ([], ["folder", "--rehearse"]):
        with pytest.raises(SystemExit):
            __main__.main(arguments)
    assert "give either DATA" in capsys.readouterr().err


def test_printed_numbers_stand_beside_ours_with_the_difference(tmp_path):
    table, printed = tmp_path / "table1.csv", tmp_path / "printed.csv"
    table.write_text(
        "model,attack,radius,rmse,ssim\na,none,0,12.5,0.9\na,l2,3.5,30,0.5\na,antun,,99,0.1\n"
    )
    printed.write_text("model,radius,rmse,ssim\na,0,14.76,0.906\na,3.5,25,0.4\nb,0,1,0.5\n")
    comparison.compare(table, printed, tmp_path / "out.md")
    lines = (tmp_path / "out.md").read_text().splitlines()[2:]
    assert [re.sub(" +", " ", line) for line in lines] == [
        "| a | 0 | 14.76 | 12.50 | -2.26 | 0.906 | 0.900 | -0.006 |",
        "| a | 3.5 | 25 | 30 | +5 | 0.4 | 0.5 | +0.1 |",
        "| b | 0 | 1 | - | - | 0.5 | - | - |",
    ]
    assert len(set(map(len, lines))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "model,radius,metric,value\na,0,rmse,14.8\n",
        "model,radius,rmse,ssim\na,0,fast,0.9\n",
        "model,radius,rmse,ssim\na,0,14.8\n",
    ],
)
def test_printed_numbers_of_another_form_are_refused(tmp_path, text):
    table, printed = tmp_path / "table1.csv", tmp_path / "printed.csv"
    table.write_text("model,attack,radius,rmse,ssim\na,none,0,12.5,0.9\n")
    printed.write_text(text)
    with pytest.raises(ValueError, match="printed.csv: expected model, radius, rmse, ssim"):
        comparison.compare(table, printed, tmp_path / "out.md")


def test_the_printed_table_is_that_of_the_paper():
    with open(os.path.join(protocol.CONFIGS, "knee", "printed.csv"), newline="") as file:
        rows = {(row["model"], float(row["radius"])): row for row in csv.DictReader(file)}
    radii = (0, 1.5, 2.5, 3.5)
    assert set(rows) == {(name, radius) for name in protocol.MODELS for radius in radii}
    for name in protocol.MODELS:
        errors = [float(rows[name, radius]["rmse"]) for radius in radii]
        similarities = [float(rows[name, radius]["ssim"]) for radius in radii]
        assert errors == sorted(errors) and similarities == sorted(similarities, reverse=True)


@pytest.mark.parametrize("name", ["comparison.md", "times.csv"])
def test_what_the_protocol_did_not_write_stays(tmp_path, name):
    path = tmp_path / name
    path.write_text("mine")
    table, printed = tmp_path / "table1.csv", tmp_path / "printed.csv"
    table.write_text("model,attack,radius,rmse,ssim\na,none,0,2,0.5\n")
    printed.write_text("model,radius,rmse,ssim\na,0,1,0.5\n")

    def write():
        if name == "times.csv":
            return protocol.Stopwatch(str(path)).measure("x", 1, lambda: 3)
        return comparison.compare(str(table), str(printed), str(path))

    with pytest.raises(ValueError, match=f"{name} is there, and is no earlier result"):
        write()
    assert path.read_text() == "mine"
    path.unlink()
    for _ in range(2):
        write()


@pytest.mark.slow
def test_models_are_compared_in_one_table(tmp_path, capsys):
    small = ["data.height=32", "data.width=24", "data.num_coils=2", "data.num_test=2"]
    small += ["attacks.ascent.steps=1", "attacks.ascent.sizes=1.5,3.5"]
    for _ in range(2):
        models.compare(["zero_filled", "cg_sense"], 2, str(tmp_path), small)
    told = capsys.readouterr().out
    assert told.endswith((tmp_path / "models.md").read_text())
    with open(tmp_path / "models.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["zero_filled", "cg_sense"]
    assert {(row["parameters"], row["training_minutes"]) for row in rows} == {("0", "")}
    assert "| -" in (tmp_path / "models.md").read_text()
    for row in rows:
        assert 0 < float(row["effect_1.5"]) < float(row["effect_3.5"]) and float(row["rmse"]) > 0
    # Without weights there is one run, whatever the number of seeds.
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "cg_sense-0",
        "results",
        "zero_filled-0",
    ]
    with open(tmp_path / "times.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
