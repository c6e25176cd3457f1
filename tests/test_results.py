"""From one image to rows and tables, without drawing, of any model, attack and certificate."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tfvn import attacks, config, metrics
from tfvn.attacks import Attack
from tfvn.certificates import CERTIFICATES, Certificate
from tfvn.defences import Smoothed
from tfvn.models import Reconstructor, ZeroFilled
from tfvn.physics.noise import SMOOTHING
from tfvn.physics.noise import keys as noise_keys
from tfvn.results import aggregate, certified, charts, measure, rows, wording
from tfvn.results.candidates import Case
from tfvn.results.measure import Loaded


class FromKspace(Reconstructor):
    """The zero-filled image, of a model that reads k-space."""

    reads = "kspace"
    certificates = ZeroFilled.certificates

    def __init__(self):
        super().__init__()
        self.built = True

    def call(self, inputs):
        return self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])


class Toy(Attack):
    """An attack that is run with a budget."""

    name = "toy"
    size_name = "budget"
    size_type = int
    title = "attack of the toys"


@pytest.fixture
def named(monkeypatch):
    """The certificate below has a name that tables know."""
    monkeypatch.setitem(CERTIFICATES, "constant", Lipschitz)


class Lipschitz(Certificate):
    """A constant that holds for every measurement."""

    name = "constant"

    def bound(self, statistics, distance):
        return np.atleast_1d(2.0 * distance)

    def lipschitz(self, statistics):
        return np.array([2.0])

    def certified_distance(self, statistics, change):
        return np.array([change / 2])


class Candidate(NamedTuple):
    """A candidate whose perturbations are random."""

    name: str
    attacks: list
    config: config.Config
    run_dir: str = "runs/candidate"
    gradients: float = math.nan

    def perturbation(self, kind, size, case, digest, like):
        rng = np.random.default_rng(round(10 * size))
        shape = like.shape[1:]
        r = rng.standard_normal((1, *shape)) + 1j * rng.standard_normal((1, *shape))
        return tf.constant(size * r / np.linalg.norm(r), tf.complex64)


@pytest.fixture
def slice_(case):
    arrays = {key: tf.convert_to_tensor(array) for key, array in case(coils=3).items()}
    inputs = {**arrays, "sample_index": tf.constant([4]), "scale": tf.constant([2.0])}
    reference = ZeroFilled().zero_filled(inputs) * 1.1
    return Case(4, "knee", inputs, reference)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(attacks.ATTACKS, "toy", Toy)


def measured(model, case, made, **settings):
    candidate = Candidate("model", made, config.load(settings=settings))
    return measure.measure_slice(candidate, case, Loaded(model, model, "hash"))


def test_a_model_is_measured_whatever_it_reads(slice_):
    made = [("l2", 0.5), ("l2", 2.0), ("antun", 5)]
    images, found = measured(ZeroFilled(), slice_, made)
    others, equal = measured(FromKspace(), slice_, made)
    assert list(images) == list(others) == ["clean", "radius_0.5", "radius_2", "antun_5"]
    for row, other in zip(found, equal):
        assert list(row) == list(other)
        for key, value in row.items():
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True)
            assert other[key] == value
    image = images["radius_2"]
    assert found[2]["rmse"] == pytest.approx(
        float(metrics.error_norm(image[None], slice_.reference)[0]), rel=1e-5
    )
    assert found[2]["effect"] == pytest.approx(np.linalg.norm(image - images["clean"]), rel=1e-5)
    assert [row["norm"] for row in found] == pytest.approx([0, 0.5, 2, 5], rel=1e-5)


@pytest.mark.slow
def test_the_draws_of_a_slice_are_its_own(slice_):
    model = Smoothed(ZeroFilled(), sigma=0.1, num_samples=3, seed=7)
    (row,) = measured(model, slice_, [], seed=7)[1]
    keys = noise_keys(7, SMOOTHING, tf.constant([slice_.index]))
    statistics = model.statistics(slice_.inputs, keys)
    assert row["draw_norm"] == pytest.approx(float(statistics.largest_norm[0]))
    assert (row["sigma"], row["noise"], row["num_samples"], row["seed"]) == (0.1, "gaussian", 3, 7)


def test_an_image_that_is_not_finite_is_named(slice_):
    class Broken(ZeroFilled):
        def call(self, inputs):
            return inputs["zero_filled"] / 0

    with pytest.raises(ValueError, match=r"reconstruction of knee \(clean\) is not finite"):
        measured(Broken(), slice_, [])


def test_an_attack_has_its_column_its_table_and_its_curves(slice_, toy):
    _, found = measured(ZeroFilled(), slice_, [("l2", 0.5), ("toy", 3)])
    assert [(row["radius"], row["budget"]) for row in found[:2]] == [(0, math.nan), (0.5, math.nan)]
    assert math.isnan(found[2]["radius"]) and found[2]["budget"] == 3
    table = aggregate.aggregate(found)
    assert rows.size_of(table[2]) == 3 and rows.dataset_of(table[2]) == "toy_3"
    titles = [part.title for part in wording.tables(table)]
    assert titles[2:] == [
        "Error of the reconstructions, attack of the toys",
        "Mean perturbation effect, and mean ||r||_2, attack of the toys",
    ]
    labels = wording.labels_of(table)
    assert labels["toy_3"] == "toy, budget 3"
    named = [{**row, "dataset": rows.dataset_of(row)} for row in found]
    drawn = charts.charts_of(named, ["model"], labels)
    assert [chart["title"] for chart in drawn] == ["l2 balls", "attack of the toys"]
    assert drawn[1]["axis"] == "budget, attack of the toys"
    assert drawn[1]["lines"][1].points["effect"][0] == 3


def test_any_certificate_of_a_model_is_tabulated(slice_, named):
    class Certified(ZeroFilled):
        certificates = (Lipschitz(),)

    model = Certified()
    _, found = measured(model, slice_, [("l2", 0.5)])
    table = aggregate.aggregate(found)
    claims = certified.certificates_of(table, found, {"model": certified.claimed(model)})
    clean, attacked = claims
    assert attacked["certificate"] == "constant" and attacked["lipschitz"] == 2
    assert attacked["bound"] == pytest.approx(2 * attacked["distance"])
    assert attacked["distance"] == pytest.approx(found[1]["kspace_norm"])
    assert clean["certified_distance"] == pytest.approx(0.05 * found[0]["image_norm"])
    line = certified.certificate_table(claims).lines[1]
    assert line[:2] == ["model", "constant, l2"] and line[-1] == "yes"


def test_nothing_is_claimed_of_attacks_that_change_the_operator(slice_, named):
    class Certified(ZeroFilled):
        certificates = (Lipschitz(),)

    _, found = measured(Certified(), slice_, [("l2", 0.5), ("random-maps", 0.1)])
    for key in ("kspace_norm", "kspace_l1", "total_variation"):
        assert math.isnan(found[2][key]) and not math.isnan(found[1][key])
    assert found[2]["norm"] == pytest.approx(0.1) and found[2]["effect"] > 0
    table = aggregate.aggregate(found)
    claims = certified.certificates_of(table, found, {"model": Certified.certificates})
    assert [claim["attack"] for claim in claims] == ["none", "l2"]


def test_what_is_proved_stands_beside_what_was_measured():
    rows = []
    for model, error, effect in (("linear", 3.0, 1.5), ("network", 1.0, 4.0)):
        common = {"model": model, "ssim": 0.5, "radius": 0.5}
        rows.append({**common, "attack": "none", "rmse": error, "kspace_norm": 0, "effect": 0})
        rows.append({**rows[-1], "rmse": 7 * error})
        for distance, moved in ((0.5, effect / 2), (2.0, effect), (math.nan, 100.0)):
            attacked = {"attack": "l2", "rmse": 9.0, "kspace_norm": distance, "effect": moved}
            rows.append({**common, **attacked})
    proved = [{"model": "linear", "certificate": "lipschitz", "lipschitz": 2.0}]
    noisy = [{"model": "network", "certificate": "total-variation", "lipschitz": 400.0}]
    table = []
    for model, error in (("linear", 15.0), ("network", 5.0), ("unknown", math.nan)):
        clean = {"model": model, "attack": "none", "rmse": error, "ssim": 0.5}
        table += [clean, {**clean, "attack": "l2", "rmse": 9.0}]
    linear, network = certified.trade_of(table, rows, [*proved, *noisy])
    assert (linear["family"], linear["lipschitz"], linear["amplification"]) == ("linear", 2.0, 1.5)
    assert linear["rmse"] == 15 and linear["ssim"] == 0.5
    assert math.isnan(network["lipschitz"]) and network["amplification"] == 4
    assert certified.trade_of(table, rows, noisy) == []
    assert certified.trade_of(table[:2], rows, proved) == []
    infinite = [{**proved[0], "lipschitz": math.inf}]
    assert certified.trade_of(table, rows, infinite) == []


def test_estimates_without_a_level_of_confidence_claim_nothing(named):
    class Guess(Lipschitz):
        confidence = 0.0

    class Guessed(ZeroFilled):
        certificates = (Guess(), Lipschitz())

    assert [type(one) for one in certified.claimed(Guessed())] == [Lipschitz]


def test_a_mean_is_over_the_images_that_have_a_number():
    base = dict.fromkeys(("nrmse", "psnr", "norm", "kspace_norm", "kspace_l1"), 1.0)
    base.update(dict.fromkeys(("total_variation", "image_norm", "relative_radius"), 1.0))
    base.update(model="m", attack="none", radius=0.0, steps=math.nan)
    base.update(sigma=0.0, noise="", num_samples=1, seed=0, track="deterministic")
    base.update(missed=math.nan, gradients=math.nan)
    numbers = [(3.0, 0.5, 0.0), (4.0, math.nan, 2.0)]
    found = [{**base, "rmse": a, "ssim": b, "effect": c} for a, b, c in numbers]
    (entry,) = aggregate.aggregate(found)
    assert entry["rmse"] == pytest.approx(math.sqrt((9 + 16) / 2))
    assert entry["ssim"] == 0.5 and entry["effect"] == 1
    assert (entry["num_rmse"], entry["num_ssim"], entry["num_images"]) == (2, 1, 2)
