"""The trade of accuracy against the proved constant: its runs, its table and its figure."""

import csv
import math
import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tfvn.figures.trade import figure6
from tfvn.paper import protocol, trade

# What the runs of these tests reach: clean error of two slices, effect of two attacks, constants.
NUMBERS = {
    "monotone-1-0.5": (3.0, 2.0, (2.5, 1.2)),
    "monotone-4-0.5": (2.0, 4.0, (5.0, 1.1)),
    "zero_filled": (4.0, 1.0, (1.0, 1.0)),
    "undefended": (1.0, 9.0, None),
    "smoothed": (1.5, 6.0, None),
    **{f"total_variation-{number}": (2.2, 2.0, (4.0, 4.0)) for number in (10, 30, 100)},
}


def fake_results(run_dirs, output):
    """Writes what `evaluate.py` would: results.csv and certificates.csv."""
    rows, claims = [], []
    for run_dir in run_dirs:
        name = os.path.basename(run_dir)
        error, effect, constants = NUMBERS.get(name, (2.5, 1.0, (2.5, 0.9)))
        common = {"model": name, "rmse": error, "ssim": 0.5, "radius": 0}
        rows.append({**common, "attack": "none", "kspace_norm": 0, "norm": 0, "effect": 0})
        rows.append({**rows[0], **common, "rmse": 7 * error})
        for attack, radius, norm, share in (
            ("suite-l2", 2.5, 2.0, 0.25),
            ("suite-l2", 3.5, 4.0, 1.0),
            ("power-kspace", 0.5, 2.0, 1.0),
            ("random-kspace", 2.6, 2.0, 0.1),
        ):
            sizes = {"attack": attack, "radius": radius, "kspace_norm": 2.0, "norm": norm}
            rows.append({**common, **sizes, "effect": share * effect})
        certificate = "lipschitz" if constants else "total-variation"
        told = dict(zip(("lipschitz", "image_lipschitz"), constants or (400.0, "nan")))
        claims.append({"model": name, "certificate": certificate, **told})
    os.makedirs(output, exist_ok=True)
    for name, found in (("results.csv", rows), ("certificates.csv", claims)):
        with open(os.path.join(output, name), "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            writer.writerows(found)


@pytest.fixture
def made(monkeypatch):
    """The runs that were trained and attacked, with their settings, in place of doing it."""
    found = {}

    def train(path, run_dir, overrides):
        found[os.path.basename(run_dir)] = os.path.basename(path), overrides
        return "configuration"

    monkeypatch.setattr(protocol, "train", train)
    monkeypatch.setattr(protocol, "attack", lambda run_dir, config: None)
    monkeypatch.setattr(protocol, "evaluate", fake_results)
    monkeypatch.setattr(protocol, "size_and_time", lambda run_dir: (1, 0.25))
    return found


@pytest.mark.slow
def test_every_network_stands_beside_the_linear_filter_of_its_constant(made, tmp_path, capsys):
    trade.trade([1, 4], [0.5], str(tmp_path), ["data.height=48"])
    with open(tmp_path / "trade.csv", newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(made) == [*NUMBERS, "cg_sense-0.04", "cg_sense-0.01"]
    for name, constant in (("cg_sense-0.04", 2.5), ("cg_sense-0.01", 5.0)):
        mu = float(rows[name]["model"].partition("-")[2])
        assert 1 / (2 * math.sqrt(mu)) == pytest.approx(constant)
        assert f"model.mu={mu}" in made[name][1]
    path, settings = made["monotone-4-0.5"]
    assert path == "monotone.yaml" and settings[-1] == "data.height=48"
    assert {"model.num_stages=4", "model.budget=0.5"} <= set(settings)
    # One table has one attack.
    assert all("attacks.suite.draws=2" in settings for _, settings in made.values())
    assert (
        "defence=smoothed" in made["smoothed"][1]
        and "defence=smoothed" not in made["undefended"][1]
    )
    row = rows["monotone-4-0.5"]
    assert float(row["rmse"]) == pytest.approx(math.sqrt((2**2 + 14**2) / 2))
    assert [float(row[key]) for key in ("lipschitz", "image_lipschitz")] == [5.0, 1.1]
    # The effect is 4, by a change of the data of norm 2 and an image of norm 4.
    assert [float(row[key]) for key in ("amplification", "image_amplification")] == [2.0, 1.0]
    columns = ("effect_2.5", "effect_3.5", "rmse_3.5", "noise", "rmse_noise", "seconds_a_slice")
    assert [float(row[key]) for key in columns] == [1.0, 4.0, 2.0, 2.0, 2.0, 0.25]
    assert rows["smoothed"]["lipschitz"] == rows["undefended"]["lipschitz"] == ""
    assert imread(tmp_path / "trade.png")[..., :3].std() > 0.05
    assert "| undefended " in capsys.readouterr().out
    # A second call replaces what the first one wrote.
    trade.trade([1], [0.5], str(tmp_path))


@pytest.mark.parametrize(
    "stages, budgets, settings, text",
    [
        ([0], [1.0], [], "stages must be .*Received: stages=0"),
        ([1], [0.0], [], "budgets must be .*Received: budgets=0"),
        ([1], [1.0], ["model.width=3"], "width"),
    ],
)
def test_a_wrong_setting_is_told_before_any_training(
    made, tmp_path, stages, budgets, settings, text
):
    with pytest.raises(ValueError, match=text):
        trade.trade(stages, budgets, str(tmp_path), settings)
    assert not made and not list(tmp_path.iterdir())


def test_other_attacks_replace_those_of_the_trade(made, tmp_path):
    trade.trade([1], [0.5], str(tmp_path), ["attacks=ascent", "attacks.ascent.steps=2"])
    for name in ("smoothed", "monotone-1-0.5"):
        chosen = [setting for setting in made[name][1] if setting.startswith("attacks")]
        assert chosen == ["attacks=ascent", "attacks.ascent.steps=2"]


def test_a_file_of_the_users_own_is_not_replaced(made, tmp_path):
    (tmp_path / "trade.csv").write_text("mine")
    with pytest.raises(ValueError, match="trade.csv is there, and is no earlier result"):
        trade.trade([1], [1.0], str(tmp_path))
    assert not made


def row_of(family, budget, rmse, constant, measured):
    return {
        "family": family,
        "budget": budget,
        "rmse": rmse,
        "ssim": 0.6,
        "lipschitz": constant,
        "amplification": measured,
    }


def test_figure6_joins_what_was_measured_and_what_is_proved(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    rows = [
        row_of("monotone", 2.5, 8.0, 5.0, 4.0),
        row_of("monotone", 2.5, 9.0, 3.0, 2.0),
        row_of("undefended", math.nan, 6.0, math.nan, 7.0),
    ]
    figure6(tmp_path / "trade.png", rows)
    lines = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines]
    assert lines[0] == [[3.0, 9.0], [5.0, 8.0]]
    assert [[4.0, 8.0], [5.0, 8.0]] in lines and [[7.0, 6.0]] in lines
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["monotone, budget 2.5", "undefended", "proved", "measured"]
    faces = [line.get_markerfacecolor() for line in drawn[0].axes[0].lines]
    assert faces[-1] == "white" and np.all(drawn[0].axes[1].get_xscale() == "log")
