"""`python -m tfvn certify`: what single draws prove of a run, of a map that needs no training."""

import csv
import math
import os
import warnings

import h5py
import numpy as np
import pytest

from tfvn import __main__ as program
from tfvn import config, data
from tfvn.certificates import Draws, Median
from tfvn.certificates.total_variation import NORMS
from tfvn.data.vlo_folder import write_folder
from tfvn.models import ZeroFilled
from tfvn.physics import noise
from tfvn.results import drawn
from tfvn.results.writing import prepare_folder
from tfvn.runs import given, locks

SIGMA = 0.1
DATA = ["data.height=16", "data.width=16", "data.num_coils=2", "data.num_test=3"]
SMOOTHED = ["defence=smoothed", f"defence.sigma={SIGMA}"]
PLAN = drawn.Plan(alpha=0.3, miss=0.5, radii=(0.02, 0.05))


def make_run(run_dir, *settings):
    configured = config.load(os.devnull, [*DATA, *settings])
    given.begin(run_dir, ZeroFilled(), configured)
    return str(run_dir)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "smoothed", *SMOOTHED)


@pytest.fixture(scope="module")
def rows(run_dir, tmp_path_factory):
    """The rows of `draws.csv`, what `draws.md` says, and the path of `draws.h5`."""
    output = tmp_path_factory.mktemp("certified")
    paths = drawn.certify(run_dir, output, PLAN)
    assert [os.path.basename(path) for path in paths] == list(drawn.FILES)
    assert sorted(os.listdir(output)) == sorted(drawn.FILES)
    return read_csv(paths[0]), (output / "draws.md").read_text(encoding="utf-8"), paths[2]


def read_csv(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_slice_has_a_row_of_each_certificate_and_radius(rows):
    names = ("median", "center", "trace", "expected-error", "covariance")
    found = {(row["slice"], row["certificate"], float(row["radius"])) for row in rows[0]}
    expected = {(str(i), name, r) for i in range(3) for name in names for r in PLAN.radii}
    assert found == expected | {("-1", "next-patient", r) for r in PLAN.radii}
    assert len(rows[0]) == len(found)
    for row in rows[0]:
        assert float(row["sigma"]) == SIGMA and row["abstains"] == "0"
        assert float(row["bound"]) > 0 and row["about"]
        assert int(row["needed"]) <= int(row["draws"])
    levels = {row["certificate"]: float(row["confidence"]) for row in rows[0]}
    assert levels == {**dict.fromkeys(names, 0.7), "covariance": 0, "next-patient": 0.5}


def draws_of(run_dir, case_number, count):
    """Draws of a slice as they are defined: of the map at noisy data."""
    configured = config.load(os.path.join(run_dir, "config.yaml"))
    for number, (inputs, reference) in enumerate(data.load(configured, "test")):
        if number == case_number:
            model = configured.defended(ZeroFilled())
            keys = noise.keys(configured.seed, noise.CERTIFYING, inputs["sample_index"])
            images = [one[0].numpy() for one in model.single_draws(inputs, keys, count)]
            return np.array(images), np.abs(reference[0].numpy())
    raise AssertionError


@pytest.mark.slow
def test_a_row_is_the_claim_of_the_slice_s_own_draws(run_dir, rows):
    row = next(row for row in rows[0] if row["slice"] == "1" and row["certificate"] == "median")
    images, truth = draws_of(run_dir, 1, int(row["draws"]))
    with Draws(truth.shape) as draws:
        for image in images:
            draws.append(image)
        (claim, _) = Median(PLAN.alpha).claims(draws, SIGMA, PLAN.radii, truth)
    assert float(row["bound"]) == pytest.approx(claim.bound, rel=1e-6)
    assert float(row["share"]) == pytest.approx(claim.bound / np.linalg.norm(truth), rel=1e-6)
    assert float(row["error"]) == pytest.approx(np.linalg.norm(np.median(images, 0) - truth))
    assert int(row["needed"]) == Median(PLAN.alpha).needed(256, PLAN.radii[0] / SIGMA)


def test_the_images_between_which_every_pixel_lies_are_written(run_dir, rows):
    _, _, path = rows
    images, truth = draws_of(run_dir, 1, int(rows[0][0]["draws"]))
    with h5py.File(path, "r") as file:
        group = file["models/smoothed/slice_00001"]
        np.testing.assert_allclose(group["median"], np.median(images, 0), rtol=1e-6)
        np.testing.assert_allclose(file["slices/slice_00001/reference"], truth, rtol=1e-6)
        names = [f"median_{side}_{r}" for side in ("lower", "upper") for r in PLAN.radii]
        assert set(group) == {"median", "center", *names}
        lower, upper = Median(PLAN.alpha).places(len(images), 256, PLAN.radii[1] / SIGMA)
        ordered = np.sort(images, 0)
        np.testing.assert_array_equal(group["median_lower_0.05"], ordered[lower - 1])
        np.testing.assert_array_equal(group["median_upper_0.05"], ordered[upper - 1])


def test_the_next_patient_is_bounded_by_the_first_draws_of_the_others(run_dir, rows):
    scores = []
    for number in range(3):
        images, truth = draws_of(run_dir, number, 1)
        scores.append(np.linalg.norm(images[0] - truth))
    (row, _) = (row for row in rows[0] if row["certificate"] == "next-patient")
    assert row["draws"] == "3" and row["name"] == "all" and not row["error"] + row["share"]
    # b is 0.58, and its place among 3 is ceil(4 b) = 3.
    assert float(row["bound"]) == pytest.approx(max(scores))


def test_a_map_without_expansion_changes_less_than_all_bounds(rows):
    # A^H k changes by || A r || at most, and so do its medians and means.
    for row in rows[0]:
        if row["certificate"] in ("median", "center"):
            assert float(row["bound"]) >= float(row["radius"])


def test_the_table_tells_means_and_what_they_are_about(rows):
    _, text, _ = rows
    own = [row for row in rows[0] if row["certificate"] == "center"][::2]
    mean = np.mean([float(row["bound"]) for row in own])
    (line,) = [line for line in text.splitlines() if line.startswith("| center") and "0.02" in line]
    assert f" {mean:#.3g} " in line and "0 of 3" in line
    assert all(f"{row['certificate']}: {row['about']}" in text for row in rows[0])


@pytest.mark.slow
def test_slices_that_are_done_are_kept_and_used_if_they_are_of_the_same_plan(
    run_dir, rows, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(drawn, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drawn.certify(run_dir, tmp_path, PLAN)
    with monkeypatch.context() as patch:
        patch.setattr(drawn, "_certify", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drawn.certify(run_dir, tmp_path, PLAN._replace(miss=0.4))
        drawn.certify(run_dir, tmp_path, PLAN)
    assert read_csv(tmp_path / "draws.csv") == rows[0]
    assert sorted(os.listdir(tmp_path)) == sorted(drawn.FILES)


def test_too_few_draws_abstain(run_dir, tmp_path):
    drawn.certify(run_dir, tmp_path, PLAN._replace(num_draws=4, radii=(0.3,)))
    told = {row["certificate"]: row["abstains"] for row in read_csv(tmp_path / "draws.csv")}
    silent = {name for name, abstains in told.items() if abstains == "1"}
    assert silent >= {"median", "center", "next-patient"} and told["covariance"] == "0"


def test_a_dry_run_says_what_is_needed_and_makes_nothing(run_dir, capsys):
    before = sorted(os.listdir(run_dir))
    program.main(["certify", run_dir, "--dry-run", "--num-draws", "50"])
    text = capsys.readouterr().out
    lines = {}
    for line in text.splitlines():
        if line.startswith("|"):
            name, _, ratio, needed, there, claims = (cell.strip() for cell in line.split("|")[1:-1])
            lines[name, ratio] = needed, there, claims
    assert len(lines) == 2 + 3 * 6
    assert lines["median", "0.5"] == (f"{Median().needed(256, 0.5)} draws", "50", "yes")
    assert lines["median", "1"] == (f"{Median().needed(256, 1)} draws", "50", "no")
    assert lines["next-patient", "1"] == ("88 patients", "3", "no")
    assert "Slices: 3, of 256 pixels at most, with 50 draws each. Time: about " in text
    assert "at a time: 0.0512 MB" in text
    assert sorted(os.listdir(run_dir)) == before


def test_radii_are_shares_of_the_noise_and_draws_what_they_need_unless_they_are_given():
    plan = drawn.Plan().completed(SIGMA, 640 * 368)
    assert plan.radii == (0.025, 0.05, 0.1)
    assert plan.num_draws == max(one.needed(640 * 368, 1) for one in plan.certificates()) == 524
    assert drawn.Plan(radii=(0.2,)).completed(SIGMA, 640 * 368).num_draws == 1079
    assert drawn.Plan(radii=(0.3,)).completed(SIGMA, 640 * 368).num_draws == 14785
    assert drawn.Plan(num_draws=7).completed(SIGMA, 9).num_draws == 7
    # The centre abstains alone.
    sure = drawn.Plan(alpha=1e-12).completed(SIGMA, 9)
    assert sure.num_draws == Median(1e-12).needed(9, 1.0)
    assert drawn.Plan(radii=(0.1, 0.1)).completed(SIGMA, 9).radii == (0.1,)
    with pytest.raises(ValueError, match="no number of draws is enough for a radius of 5 with"):
        drawn.Plan(radii=(5.0,)).completed(SIGMA, 9)
    assert math.isfinite(drawn.Plan(radii=(5.0,), num_draws=9).completed(SIGMA, 9).num_draws)


@pytest.mark.parametrize("settings", [[], [*SMOOTHED[:1], "defence.sigma=0"]])
def test_a_run_without_noise_is_refused(settings, tmp_path):
    made = make_run(tmp_path / "run", *settings)
    with pytest.raises(ValueError, match="smoothed alone, with sigma > 0 .*Received: defence="):
        drawn.certify(made, tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("law", sorted(set(NORMS) - {"gaussian"}))
def test_other_noise_is_refused(law, tmp_path):
    made = make_run(tmp_path / "run", *SMOOTHED, f"defence.law={law}")
    with pytest.raises(ValueError, match=f"and the law gaussian.*Received: .*law={law}"):
        drawn.dry_run(made, PLAN)


def test_patients_whom_the_network_was_trained_on_are_told(run_dir, tmp_path, monkeypatch):
    slices = data.SyntheticKnee(4, 16, 16, 2, None, 0.01, 0)
    write_folder(tmp_path / "knees", "pd", [1, 2], [11, 12], slices, 5, mask=np.ones(16))
    run = tmp_path / "run"
    run.mkdir()

    def configured(**keys):
        keys = dict(format="vlo", path=tmp_path / "knees", protocol="pd", train_slices=11) | keys
        words = [f"data.{key}={value}" for key, value in keys.items()]
        return config.load(None, [*words, "sampling.mask=file", "sampling.path=mask"])

    def told(made):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            drawn._warn_of_training(made)
        return [str(one.message) for one in caught if one.category is data.DataWarning]

    trained = configured(train_patients="1", test_patients="1-2", test_slices="12")
    (run / "config.yaml").write_text(trained.to_yaml())
    text = "1 of 2 slices to test on are of patients of whom other slices trained the network"
    (sentence,) = told(trained)
    assert sentence.startswith(f"{text}, the first pd 1 12")
    model = {"model": {"file": str(run / "model.keras")}}
    leaking = configured(train_patients="2", test_patients="1-2", test_slices="11-12")
    found = told(leaking.changed(model))
    assert f"1 of 4 slices to test on trained the model {run / 'model.keras'}" in found[0]
    assert found[1].startswith("1 of 4 slices to test on are of patients")
    clean = configured(train_patients="1", test_patients="2", test_slices="11-12")
    assert not told(clean) and not told(clean.changed(model))
    # Before a draw is made.
    monkeypatch.setattr(drawn, "_warn_of_training", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drawn.dry_run(run_dir, PLAN._replace(num_draws=4))


def test_results_do_not_lie_among_attacks(run_dir, tmp_path):
    output = os.path.join(run_dir, "attacks")
    with pytest.raises(ValueError, match="results must not lie among the attacks .*output="):
        drawn.certify(run_dir, output, PLAN)
    assert not os.path.exists(output)
    # Of no run it is a folder as any other.
    prepare_folder(tmp_path / "attacks", drawn.FILES)
    assert (tmp_path / "attacks").is_dir()


def test_it_is_alone_in_its_folder(run_dir, tmp_path):
    with locks.alone(tmp_path, "certifies into it"), pytest.raises(ValueError, match="is in use"):
        drawn.certify(run_dir, tmp_path, PLAN)


@pytest.mark.parametrize("words", ["--alpha 0", "--miss 1", "--radii 0", "--radii -1"])
def test_values_that_make_no_certificate_are_told_in_a_sentence(run_dir, words, capsys):
    flag, value = words.split()
    assert program.main(["certify", run_dir, f"{flag}={value}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and f"={value}" in told and "Traceback" not in told


def test_of_an_image_without_signal_nothing_is_a_share(run_dir):
    run, _ = drawn._opened(run_dir, PLAN, ())
    (claim,) = run.plan.next_patient().claims([1.0] * 9, SIGMA, [0.01])
    assert claim.bound == 1 and math.isnan(drawn._row(run, claim, None, np.zeros((2, 2)))["share"])


def test_one_slice_of_each_patient_counts(run_dir):
    class Source:
        def __len__(self):
            return 7

        def patient(self, index):
            return "abbbbca"[index]

    run = drawn._Run(None, Source(), None, PLAN)
    assert run.patients() == [6, 3, 5]
    assert data.SyntheticKnee(2, 16, 16, 1, None, 0.0, 0).patient(1) == "synthetic-0001"
    assert data.Source().patient(0) == data.Source().patient(5)
