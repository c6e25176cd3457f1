"""The search for the demo's problem: its runs, its tables and what it says of a problem."""

import csv
import os

import pytest

from tfvn import config as configs
from tfvn.paper import demo_search, protocol

# Slices of stamp size.
SMALL = [f"data.{key}" for key in ("height=16", "width=16", "num_coils=1", "num_test=2")]
SMALL += ["sampling.fraction=0.5"]
# The RMSE and SSIM of each model, and its RMSE under each attack as a multiple of the radius.
NUMBERS = {
    "zero_filled": (9.0, 0.4, 3.0),
    "cg_sense": (8.0, 0.5, 3.0),
    "original": (0.2, 0.9, 4.0),
    "sigma_0.05": (0.25, 0.85, 2.5),
    "sigma_0.1": (0.3, 0.8, 1.0),
}


@pytest.fixture
def attacked():
    """The names of the runs that were attacked."""
    return []


@pytest.fixture
def made(monkeypatch, attacked):
    """The settings of the runs that were trained, in the place of training and attacking them."""
    found = {}

    def train(path, run_dir, overrides):
        config = configs.load(path, overrides)
        found[run_dir.split(os.sep)[-2] + "/" + os.path.basename(run_dir)] = config
        return config

    def evaluate(run_dirs, output):
        lines = ["model,attack,radius,rmse,ssim,effect"]
        for run_dir in run_dirs:
            name = os.path.basename(run_dir)
            clean, ssim, factor = NUMBERS[name]
            lines.append(f"{name},none,0.0,{clean},{ssim},0.0")
            config = found[f"{os.path.basename(os.path.dirname(run_dir))}/{name}"]
            for size in config.attacks[0].sizes:
                lines.append(f"{name},l2,{size},{factor * size},0.5,1.0")
        os.makedirs(output, exist_ok=True)
        with open(os.path.join(output, "table1.csv"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines))

    monkeypatch.setattr(protocol, "train", train)
    monkeypatch.setattr(
        protocol, "attack", lambda run_dir, config: attacked.append(os.path.basename(run_dir))
    )
    monkeypatch.setattr(protocol, "evaluate", evaluate)
    return found


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A function that writes lines as the list of problems."""
    path = tmp_path / "problems.csv"

    def write(*lines):
        path.write_text("\n".join(["name,percents,sigmas,continued,settings", *lines]))

    write("first,10 5,0.05 0.1,7,data.blur=1", "second,5,0.1,9,data.detail=0 model.filters=3")
    monkeypatch.setattr(demo_search, "_PROBLEMS", str(path))
    return write


def test_all_networks_of_a_problem_continue_from_one_equally_long(made, listed, tmp_path):
    demo_search.search(["second"], 2, str(tmp_path), SMALL)
    names = ["base", "zero_filled", "cg_sense", "original", "sigma_0.1"]
    assert list(made) == [f"second-{seed}/{name}" for seed in (0, 1) for name in names]
    base, _, _, original, noisy = list(made.values())[5:]
    assert (base.seed, original.seed, noisy.seed) == (1, 2, 2)
    assert base.data.detail == 0 and base.model.filters == 3 and base.data.num_test == 2
    assert original.training.iterations == noisy.training.iterations == 9
    assert original.training.initial_weights == str(tmp_path / "second-1" / "base")
    assert noisy.training.recipe.sigma == noisy.defence.sigma == 0.1
    changes = {"defence": "none", "training.recipe": "clean", "attacks.ascent.num_samples": 0}
    assert noisy.changed(changes) == original
    assert made["second-0/cg_sense"].model.mu > 0
    for config in made.values():
        assert config.data.detail == 0


def test_a_first_look_takes_fewer_slices_and_spares_models_without_weights(
    made, attacked, listed, tmp_path
):
    small = ["--run-dir", str(tmp_path), "--set", *SMALL]
    small.remove("data.num_test=2")
    assert demo_search.main(["second", "--screen", *small]) == 0
    assert attacked == ["original", "sigma_0.1"]
    assert all(config.data.num_test == 4 for config in made.values())
    assert made["second-0/original"].attacks[0].steps == 15 and "second-1/base" not in made
    assert demo_search.main(["second", *small]) == 0
    assert made["second-1/original"].attacks[0].steps == 60
    assert attacked[2:6] == ["zero_filled", "cg_sense", "original", "sigma_0.1"]


def test_a_radius_is_a_share_of_the_mean_image_norm(made, listed, tmp_path):
    demo_search.search(["first"], 1, str(tmp_path), SMALL)
    config = made["first-0/original"]
    norm = demo_search._mean_norm(config)
    assert config.attacks[0].sizes == pytest.approx((norm / 10, norm / 20), rel=0.005)
    with open(tmp_path / "demo_search.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["percent"] for row in rows[:3]] == ["0", "10", "5"]
    assert [row["model"] for row in rows[::3]] == list(NUMBERS)
    assert float(rows[1]["radius"]) == config.attacks[0].sizes[0]


def test_a_problem_is_judged_by_the_largest_radius(made, listed, tmp_path, capsys):
    demo_search.search(["first"], 1, str(tmp_path), SMALL)
    # A second call replaces what the first one wrote.
    demo_search.search(["first"], 1, str(tmp_path), SMALL)
    lines = (tmp_path / "demo_search.md").read_text().splitlines()
    assert lines[-1] in capsys.readouterr().out
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[7] for row in cells] == ["0.05", "0.1"]
    assert all(row[:5] == ["first", "0", "8.00", "0.200", "0.900"] for row in cells)
    radius = made["first-0/original"].attacks[0].sizes[0]
    for row, factor in zip(cells, (2.5, 1.0)):
        share = 1 - (factor * radius - 0.2) / (4 * radius - 0.2)
        assert row[10] == f"{100 * share:.0f} %"
    assert [row[-3:] for row in cells] == [["yes", "yes", "no"], ["yes", "yes", "yes"]]


def rows_of(errors):
    """Rows of demo_search.csv of models with these clean and attacked RMSE, and an SSIM of 0.85."""
    rows = []
    for model, (clean, attacked) in errors.items():
        common = dict(problem="a", seed=0, model=model, ssim=0.85, radius=1.0)
        rows.append({**common, "percent": 0, "rmse": clean})
        rows.append({**common, "percent": 10, "rmse": attacked})
    return rows


@pytest.mark.parametrize(
    "attacked, smoothed, expected",
    [
        (4.0, 3.0, ["50 %", "yes", "yes", "yes"]),
        (3.9, 2.9, ["53 %", "yes", "no", "yes"]),
        (4.0, 3.1, ["45 %", "yes", "yes", "no"]),
        (4.0, 4.5, ["-25 %", "yes", "yes", "no"]),
    ],
)
def test_the_limits_belong_to_what_is_looked_for(attacked, smoothed, expected):
    errors = {"cg_sense": (3.0, 3.5), "original": (2.0, attacked), "sigma_0.1": (2.5, smoothed)}
    rows = rows_of(errors)
    assert [line[-4:] for line in demo_search._verdicts(rows)] == [expected]


@pytest.mark.slow
def test_the_problems_of_the_package_can_be_made():
    found = demo_search.problems()
    assert {"first_demo", "blur_1_more_data"} <= set(found)
    for problem in found.values():
        runs = demo_search._Runs(problem, 0, "runs", [])
        runs.check()
        assert problem.percents and problem.sigmas


@pytest.mark.parametrize(
    "line",
    ["a,10,0.1,0,", "a,-10,0.1,5,", "a,ten,0.1,5,", "a,10,0.1,5", "a,10,0.1,5,data.blur=1,more"],
)
def test_a_line_that_is_no_problem_is_told(line, listed):
    listed(line)
    with pytest.raises(ValueError, match="problems.csv: a line must have name, percents.*Received"):
        demo_search.problems()


@pytest.mark.parametrize(
    "names, seeds, settings, text",
    [
        (["third"], 1, [], "NAME must be one of .*'second'.*Received: NAME='third'"),
        ([], 0, [], "seeds must be .*Received: seeds=0"),
        ([], 1, ["data.blue=1"], "blur"),
    ],
)
def test_a_wrong_word_is_told_before_any_training(
    names, seeds, settings, text, made, listed, tmp_path
):
    with pytest.raises(ValueError, match=text):
        demo_search.search(names, seeds, str(tmp_path / "search"), settings)
    assert not made


def test_a_file_of_the_users_own_is_not_replaced(made, listed, tmp_path):
    (tmp_path / "demo_search.csv").write_text("mine")
    with pytest.raises(ValueError, match="demo_search.csv is there, and is no earlier result"):
        demo_search.search([], 1, str(tmp_path))
    assert not made
