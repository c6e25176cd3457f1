"""The worst of several attacks on each image."""

import math

import pytest

from tfvn.results.aggregate import aggregate
from tfvn.results.rows import CLEAN, size_columns
from tfvn.results.strongest import strongest, winners
from tfvn.results.wording import worst_tables


def row(attack, radius, effect, rmse, image=0, ssim=0.9):
    """A row of `results.csv`."""
    numbers = dict.fromkeys(
        ("nrmse", "psnr", "norm", "kspace_norm", "kspace_l1", "total_variation"), 1.0
    )
    return {
        "model": "m",
        "slice": image,
        "attack": attack,
        **size_columns(attack, radius),
        **numbers,
        "relative_radius": 0.1,
        "image_norm": 10.0,
        "effect": effect,
        "rmse": rmse,
        "ssim": ssim,
        "sigma": 0.0,
        "noise": "",
        "num_samples": 1,
        "seed": 0,
        "track": "deterministic",
        "gradients": 10,
        "missed": math.nan,
    }


ROWS = [
    row(CLEAN, 0.0, 0.0, 2.0),
    row("l2", 1.0, 3.0, 4.0, ssim=0.8),
    row("suite-l2", 1.0, 5.0, 3.0, ssim=0.85),
    row(CLEAN, 0.0, 0.0, 2.0, image=1),
    row("l2", 1.0, 7.0, 6.0, image=1),
    row("suite-l2", 1.0, 5.0, 5.0, image=1),
    # Of other balls and other powers.
    row("apgd-kspace", 1.0, 90.0, 90.0),
    row("antun", 5, 90.0, 90.0),
]


def test_the_worst_is_taken_image_by_image_and_number_by_number():
    found = strongest(ROWS)
    assert [(x["slice"], x["radius"]) for x in found] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [x["effect"] for x in found] == [0, 0, 5, 7]
    assert [x["rmse"] for x in found] == [2, 2, 4, 6]
    assert [x["ssim"] for x in found][2] == 0.8
    # The mean of the worst, and not the worst of the means, which are both 5.
    entry = aggregate(found)[1]
    assert entry["effect"] == 6 and entry["rmse"] == pytest.approx(math.sqrt((16 + 36) / 2))


def test_winners_are_counted():
    assert winners(ROWS) == {"l2": 1, "suite-l2": 1}
    assert winners([x for x in ROWS if x["attack"] in (CLEAN, "l2")]) == {}


def test_one_attack_is_its_own_worst_and_has_no_tables_of_its_own():
    rows = [x for x in ROWS if x["attack"] in (CLEAN, "l2")]
    kept = sorted((x["slice"], x["radius"], x["effect"], x["rmse"]) for x in strongest(rows))
    assert kept == sorted((x["slice"], x["radius"], x["effect"], x["rmse"]) for x in rows)
    assert worst_tables(aggregate(strongest(rows)), winners(rows)) == []


def test_the_tables_say_which_attacks_there_were_and_which_one_won():
    errors, effects = worst_tables(aggregate(strongest(ROWS)), winners(ROWS))
    assert errors.title.endswith("the worst of l2, suite-l2 on each image")
    assert effects.lines[1][-1] == "6.00"
    assert effects.note == "The largest effect is of: l2 1, suite-l2 1 (of 2 cases)."


def test_an_attack_that_one_model_alone_has_counts_for_none():
    other = [{**x, "model": "b"} for x in ROWS if x["attack"] in (CLEAN, "l2")]
    found = [x for x in strongest([*ROWS, *other]) if x["radius"] == 1]
    assert [(x["model"], x["effect"]) for x in found] == [("m", 3), ("m", 7), ("b", 3), ("b", 7)]
    assert winners([*ROWS, *other]) == {}


def test_models_without_an_attack_in_common_have_their_own_and_no_table():
    other = [{**x, "model": "b"} for x in ROWS if x["attack"] in (CLEAN, "l2")]
    rows = [x for x in ROWS if x["attack"] in (CLEAN, "suite-l2")] + other
    found = [x for x in strongest(rows) if x["radius"] == 1]
    assert [(x["model"], x["effect"]) for x in found] == [("m", 5), ("m", 5), ("b", 3), ("b", 7)]
    assert winners(rows) == {}


def test_images_without_a_reference_have_no_error():
    rows = [row(CLEAN, 0.0, 0.0, math.nan), row("l2", 1.0, 3.0, math.nan)]
    assert math.isnan(strongest(rows)[1]["rmse"]) and strongest(rows)[1]["effect"] == 3
