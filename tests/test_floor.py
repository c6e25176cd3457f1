"""The error that no method can be below: distances are those of the operator itself."""

import csv
import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from tfvn import __main__ as program
from tfvn import config, data
from tfvn.attacks.discs import grid
from tfvn.models import ZeroFilled
from tfvn.physics.sense import Sense
from tfvn.results import floor
from tfvn.results.candidates import Case, open_candidates
from tfvn.runs import given

DISC = 2
KINDS = [("columns", False), ("points", False), ("columns", True)]
every_kind = pytest.mark.parametrize("mask, oversampling", KINDS)


def made(case, mask, oversampling, seed=0):
    """A `Case` of noise with a bright object, and its `Sense`."""
    inputs = case(mask=mask, readout_oversampling=oversampling, dtype="complex128")
    sense = Sense(oversampling, dtype="float64")
    _, rows, _ = sense.rows(inputs["kspace"].shape[2])
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.5, 1, (1, rows, 20)) * np.exp(1j * rng.uniform(0, 6, (1, rows, 20)))
    return Case(0, "one", inputs, tf.constant(image)), sense


def seen(one, sense, changes):
    """A of images, (changes, values)."""
    maps, mask = one.inputs["sensitivity_maps"], one.inputs["mask"]
    repeated = [np.repeat(x, len(changes), 0) for x in (maps, mask)]
    return sense.forward(changes, *repeated).numpy().reshape(len(changes), -1)


def inside(disc, shape):
    row, column, radius = disc
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@every_kind
def test_the_gram_matrix_is_that_of_the_operator(case, mask, oversampling):
    one, sense = made(case, mask, oversampling)
    shape = one.reference.shape[1:]
    pixels = np.array([0, 1, 3, shape[0] - 1]), np.array([0, 19, 4, 7])
    units = np.zeros((4, *shape), complex)
    units[(np.arange(4), *pixels)] = 1
    data_of_units = seen(one, sense, units)
    found = floor.gram(*floor._operands(one, sense), pixels)
    np.testing.assert_allclose(found, data_of_units.conj() @ data_of_units.T, atol=1e-12)


@pytest.mark.slow
@every_kind
def test_a_small_floor_is_the_radius_times_what_the_data_show_least(case, mask, oversampling):
    one, sense = made(case, mask, oversampling)
    image = one.reference[0].numpy()
    phase, ratios = image / np.abs(image), {"lesion": [], "texture": []}
    for disc in grid(DISC, *image.shape):
        rows, columns = np.nonzero(inside(disc, image.shape))
        units = np.zeros((len(rows), *image.shape), complex)
        units[np.arange(len(rows)), rows, columns] = phase[rows, columns]
        matrix = seen(one, sense, units).T
        matrix = np.concatenate([matrix.real, matrix.imag])
        ratios["lesion"].append(np.sqrt(len(rows)) / np.linalg.norm(matrix.sum(1)))
        ratios["texture"].append(1 / np.linalg.svd(matrix)[1][-1])
    radius = 1e-4
    for found in floor.lesion_floors(one, sense, [radius], DISC):
        assert found.error == pytest.approx(radius * max(ratios[found.kind]), rel=1e-6)
        assert found.radius == radius and found.error > radius


def test_a_floor_grows_until_the_contrast_ends_it(case):
    one, sense = made(case, "columns", False)
    radii = [0.01, 0.1, 1.0, 1e3, 1e4]
    errors = [found.error for found in floor.lesion_floors(one, sense, radii, DISC, 0.3)]
    lesions, textures = errors[:5], errors[5:]
    for values in (lesions, textures):
        assert values == sorted(values) and values[1] < values[3] == values[4]
    # 13 pixels of the largest change.
    largest = 0.3 * np.abs(one.reference).max()
    assert lesions[4] == pytest.approx(np.sqrt(13) * largest / 2)


def test_a_floor_never_falls_with_the_radius(case, monkeypatch):
    # The magnitude folds large changes, so the largest of one radius may be below a smaller one's.
    one, sense = made(case, "columns", False)
    monkeypatch.setattr(floor, "_largest", lambda *_: np.array([1.0, 0.5, 2.0]))
    found = floor.lesion_floors(one, sense, [5.0, 1.0, 3.0], DISC)
    assert [one.error for one in found] == 2 * [2.0, 0.5, 2.0]


def test_outside_of_the_object_there_is_no_lesion(case):
    one, sense = made(case, "columns", False)
    image = one.reference.numpy()
    image[0, :, 3:] *= 1e-3
    dark = dataclasses.replace(one, reference=tf.constant(image))
    # Touching discs of 5 columns have less than a tenth of the largest magnitude but for the first.
    maps = one.inputs["sensitivity_maps"].copy()
    maps[..., 5:] = 0
    blind = dataclasses.replace(dark, inputs={**dark.inputs, "sensitivity_maps": maps})
    for here, there in zip(
        floor.lesion_floors(dark, sense, [1e-4], DISC),
        floor.lesion_floors(blind, sense, [1e-4], DISC),
    ):
        # What no coil sees is no reason for an error of a half.
        assert here.error == pytest.approx(there.error, rel=1e-6)


def test_a_pair_counts_from_the_radius_on_that_joins_its_data(case):
    one, sense = made(case, "columns", False)
    other = made(case, "columns", False, seed=1)[0].reference[0].numpy()
    pair = floor.pair_of(one, sense, other)
    image = one.reference.numpy()
    joined = np.abs(other) * image / np.abs(image)
    assert pair.radius == pytest.approx(np.linalg.norm(seen(one, sense, joined - image)) / 2)
    assert pair.error == pytest.approx(np.linalg.norm(np.abs(other) - np.abs(image)) / 2)
    below, above = floor.pair_floors(pair, [0.99 * pair.radius, 1.01 * pair.radius])
    assert below.error == 0 and above.error == pair.error


def test_no_method_is_below_the_floor_at_both_images(case):
    # The zero-filled image and a constant, at the data between those of an image and its lesion.
    one, sense = made(case, "columns", False)
    image, radius = one.reference.numpy(), 0.2
    phase = image / np.abs(image)
    best = max(found.error for found in floor.lesion_floors(one, sense, [radius], DISC)[:1])
    worst = 0
    for disc in grid(DISC, *image.shape[1:]):
        change = phase * inside(disc, image.shape[1:])
        change *= 2 * radius / np.linalg.norm(seen(one, sense, change))
        middle = seen(one, sense, image + change / 2).reshape(one.inputs["kspace"].shape)
        maps, mask = one.inputs["sensitivity_maps"], one.inputs["mask"]
        for answer in (np.abs(sense.adjoint(middle, maps, mask)), np.full(image.shape, 0.7)):
            errors = [np.linalg.norm(answer - np.abs(y)) for y in (image, image + change)]
            assert max(errors) >= np.linalg.norm(change) / 2
        worst = max(worst, np.linalg.norm(change) / 2)
    assert best == pytest.approx(worst)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "zero_filled"
    settings = ["data.height=32", "data.width=24", "data.num_coils=2", "data.num_test=3"]
    given.begin(run_dir, ZeroFilled(), config.load(os.devnull, settings))
    return str(run_dir)


def test_the_floors_of_a_run_are_written_whatever_its_model(run_dir, tmp_path, capsys):
    words = ["certify", run_dir, "--floor", "--radii", "0.2", "50", "--output", str(tmp_path)]
    assert program.main(words) == 0
    assert sorted(os.listdir(tmp_path)) == sorted(floor.FILES)
    with open(tmp_path / "floor.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Before the first slice there is none.
    assert len(rows) == 2 * (2 * 3 + 2)
    errors = {}
    for row in rows:
        errors.setdefault((row["kind"], float(row["radius"])), []).append(float(row["error"]))
    configured = config.load(os.path.join(run_dir, "config.yaml"))
    (_, first), (inputs, second), _ = list(data.load(configured, "test"))
    one = Case(1, "second", inputs, second)
    for found in floor.floors(one, Sense(), [0.2, 50.0], first[0].numpy()):
        values = errors[found.kind, found.radius]
        position = 0 if found.kind == "pair" else 1
        assert values[position] == pytest.approx(found.error, rel=1e-6)
    assert errors["pair", 0.2] == [0, 0] and min(errors["pair", 50.0]) > 0
    text = (tmp_path / "floor.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out and " 2 of 2 |" in text


def test_floors_need_radii_and_no_draws(run_dir, tmp_path, capsys):
    assert program.main(["certify", run_dir, "--floor", "--output", str(tmp_path / "out")]) == 2
    assert "radii must be given" in capsys.readouterr().err and not (tmp_path / "out").exists()
    for flag in ("--dry-run", "--alpha=0.1", "--miss=0.1", "--num-draws=3"):
        with pytest.raises(SystemExit):
            program.main(["certify", run_dir, "--floor", flag])
        assert "--floor makes no draws" in capsys.readouterr().err


def test_radii_are_those_of_balls_of_kspace(run_dir):
    (candidate,) = open_candidates([run_dir], ())
    made = [("l2", 1.5), ("apgd-kspace", 2.0), ("power-kspace", 0.5), ("apgd-l2", 2.5)]
    made += [("minimum-kspace", 3.0), ("apgd-maps", 3.5), ("random-kspace-error", 2.0)]
    assert floor._radii_of(candidate._replace(attacks=made)) == [0.5, 2.0]


def test_without_a_reference_there_is_no_floor(run_dir, tmp_path, monkeypatch):
    def hidden(configured, source):
        for number, (inputs, reference) in enumerate(data.load(configured, "test")):
            yield Case(number, "hidden", inputs, reference * np.nan)

    monkeypatch.setattr(floor, "cases", hidden)
    with pytest.raises(ValueError, match="hidden has no reference"):
        floor.floor_of_run(run_dir, tmp_path, [1.0])
    assert not os.listdir(tmp_path)
