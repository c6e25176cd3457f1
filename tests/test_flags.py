"""Every broken model raises its flag, and sound models raise none."""

import math
from pathlib import Path

import broken
import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import ProjectedGradientAscent
from tfvn.defences.smoothing import Smoothed
from tfvn.models.base import Reconstructor
from tfvn.models.classical import CGSense, ZeroFilled
from tfvn.models.unet import UNet
from tfvn.models.variational import VariationalNetwork
from tfvn.results.asked import Asked
from tfvn.results.flags import (
    NOT_CHECKED,
    OF_OTHERS,
    PASSED,
    RAISED,
    Case,
    Reached,
    flag_of,
    flags_of_results,
    merged,
    row_of,
    unchecked,
)
from tfvn.results.probes import flags_of_model
from tfvn.results.rules import OF_MODELS, OF_RESULTS, RULES, Rule


def vivid(dtype="float32"):
    """A network with large random activations, far from linear."""
    network = VariationalNetwork(2, 4, 3, initial_data_weight=0.7, dtype=dtype)
    rng = np.random.default_rng(3)
    for stage in network.stages:
        stage.rbf_weights.assign(rng.standard_normal(stage.rbf_weights.shape))
    return network


class KspaceReader(Reconstructor):
    """A smooth nonlinear function of `kspace`."""

    reads = "kspace"

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return broken.bent(image)


@pytest.fixture(scope="module")
def batch(case):
    return case(batch=2)


@pytest.fixture(scope="module")
def truth(batch):
    """Images that the zero-filled ones are near to."""
    image = np.abs(ZeroFilled().zero_filled(batch))
    return image + 0.1 * np.random.default_rng(1).random(image.shape)


def of_model(model, inputs, **settings):
    """The flags of a model by their names."""
    found = flags_of_model(model, inputs, **settings)
    assert [flag.rule for flag in found] == list(OF_MODELS)
    return {flag.name: flag for flag in found}


def names(flags, state):
    return {name for name, flag in flags.items() if flag.state == state}


# Sound models

SOUND = {
    "variational network": vivid,
    "U-Net": lambda: UNet(channels=4, pools=2),
    "CG-SENSE": CGSense,
    "zero-filled": ZeroFilled,
    "smoothed": lambda: Smoothed(vivid(), 0.05, 2),
}


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "name", [*list(SOUND)[:-1], pytest.param("smoothed", marks=pytest.mark.slow)]
)
def test_a_sound_model_raises_no_flag(batch, truth, name):
    flags = of_model(SOUND[name](), batch, reference=truth)
    assert names(flags, RAISED) == set()
    # The kinks of a U-Net may leave it open what its derivative is.
    of_others = {name for name, flag in flags.items() if flag.case.note == OF_OTHERS}
    assert of_others == (set() if name == "smoothed" else {"known draws are no help"})
    assert names(flags, NOT_CHECKED) - of_others <= {"gradient wrong"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_one_slice_of_a_model_that_reads_kspace_raises_no_flag(case, dtype):
    inputs = case(mask="points", dtype=dtype, readout_oversampling=True)
    real = {"complex64": "float32", "complex128": "float64"}[dtype]
    model = KspaceReader(readout_oversampling=True, dtype=real)
    flags = of_model(model, inputs, radius=0.5)
    assert names(flags, RAISED) == set()
    assert names(flags, NOT_CHECKED) == {"constant output", "known draws are no help"}
    assert "needs the true image" in flags["constant output"].case.note


def test_the_probes_take_at_most_60_gradients(batch, monkeypatch):
    counts = {"gradient": 0, "image": 0}
    for name in counts:
        method = getattr(Asked, name)

        def counted(self, *arguments, name=name, method=method, **settings):
            counts[name] += 1
            return method(self, *arguments, **settings)

        monkeypatch.setattr(Asked, name, counted)
    of_model(ZeroFilled(), batch)
    # As the docstring says.
    assert counts["gradient"] == 46 <= 60
    assert counts["image"] < 80


@pytest.mark.slow
def test_the_probes_come_near_the_largest_singular_value(case):
    # Of the map r -> |A^H (k + A r)|, computed densely.
    inputs = case(coils=2, height=6, width=4, dtype="complex128")
    model = ZeroFilled(dtype="float64")
    columns = []
    for place in range(2 * 24):
        r = np.zeros(48)
        r[place] = 1e-6
        r = tf.constant((r[:24] + 1j * r[24:]).reshape(1, 6, 4))
        change = model.sense.forward(r, inputs["sensitivity_maps"], inputs["mask"])
        up, down = (
            model.reconstruct({**inputs, "kspace": inputs["kspace"] + sign * change})
            for sign in (1, -1)
        )
        columns.append(np.ravel(up - down) / 2e-6)
    largest = np.linalg.norm(np.array(columns), 2)
    note = of_model(model, inputs)["linear law broken"].case.note
    # A few iterations see a lower bound.
    assert 0.9 * largest < float(note.split()[-1]) < 1.001 * largest


# Broken models

BROKEN = {
    broken.ZeroBackward: {"zero gradient", "gradient wrong"},
    broken.NoisyBackward: {"gradient wrong", "partial data path"},
    broken.Detached: {"gradient wrong", "partial data path"},
    broken.DataDropped: {"gradient wrong", "partial data path"},
    broken.Quantised: {"saturated output", "zero gradient"},
    broken.StraightThrough: {"saturated output"},
    broken.Clipped: {"saturated output"},
    broken.FreshNoise: {"random"},
    broken.TwoNetworks: {"random"},
    broken.OfKeys: {"random"},
    broken.BatchStatistics: {"batch dependence"},
    broken.Constant: {"constant output", "unbounded attack fails"},
    broken.ExactlyConstant: {"constant output", "unbounded attack fails"},
    broken.Infinite: {"no answer"},
    broken.Failing: {"no answer"},
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_model_raises_its_flags(batch, truth, make):
    tf.random.set_seed(1)
    flags = of_model(make(), batch, reference=truth)
    assert names(flags, RAISED) >= BROKEN[make]


def test_the_model_that_the_broken_ones_are_made_of_is_sound(batch, truth):
    flags = of_model(broken.Bent(), batch, reference=truth)
    assert names(flags, PASSED) == {rule.name for rule in OF_MODELS} - {"known draws are no help"}


def test_a_gradient_that_is_right_at_the_data_alone_breaks_the_linear_law(batch):
    flags = of_model(broken.Masked(batch, 1e-4), batch)
    assert {"linear law broken", "gradient wrong"} <= names(flags, RAISED)


def test_a_gradient_that_dies_away_lets_a_single_step_win(batch):
    flags = of_model(broken.Masked(batch, 0.03), batch)
    assert names(flags, RAISED) == {"single step wins"}


def test_a_flag_holds_the_number_the_limit_and_the_slice(case):
    # The second slice is as dark as the limits of the clip allow.
    inputs = case(batch=2)
    inputs["kspace"] = inputs["kspace"] * np.array([1, 0.2], np.float32)[:, None, None, None]
    flag = of_model(broken.Clipped(), inputs, index=np.array([7, 4]))["saturated output"]
    assert flag.case.slice == 7 and flag.case.found > 0.1 and flag.rule.limit == 1e-3
    clipped = int(flag.case.note.split(", ")[1].split()[0])
    # Those that stay clipped.
    assert 0.8 * clipped < 480 * flag.case.found <= clipped
    assert str(flag).startswith("saturated output: raised, 0.")
    assert ", where at most 0.001 is right (slice 7): " in str(flag)


def test_what_a_fault_makes_meaningless_is_not_checked(batch):
    tf.random.set_seed(1)
    flags = of_model(broken.FreshNoise(), batch)
    assert names(flags, NOT_CHECKED) == set(flags) - {"no answer", "random"}
    assert flags["gradient wrong"].case.note == "Answers to the same data differ."
    flags = of_model(broken.ZeroBackward(), batch)
    assert flags["unbounded attack fails"].case.note == "There is no gradient."
    flags = of_model(broken.Failing(), batch)
    assert names(flags, NOT_CHECKED) == set(flags) - {"no answer"}
    assert flags["no answer"].case.note == "the weights are on another machine"
    assert "has no gradient in zero_filled" in str(
        of_model(broken.Quantised(), batch)["zero gradient"]
    )


def test_a_model_with_draws_that_ignores_its_keys_is_random(batch):
    class Ignoring(broken.FreshNoise):
        draws = 3

        def keys(self, index):
            return tf.zeros([len(index), 2], tf.int32)

    assert of_model(Ignoring(), batch)["random"].raised


def test_a_slice_without_a_truth_says_nothing_of_a_constant_output(batch, truth):
    truth = truth.copy()
    truth[1] = np.nan
    flag = of_model(ZeroFilled(), batch, reference=truth)["constant output"]
    assert flag.state == PASSED and flag.case.slice == 0


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"radius": 0}, "radius must be a number > 0"),
        ({"reference": np.zeros((2, 3, 4))}, r"reference must have the shape \(2, 24, 20\)"),
        ({"index": np.zeros(3, int)}, "index must be whole numbers"),
    ],
)
def test_arguments_that_do_not_fit_are_told(batch, settings, told):
    with pytest.raises(ValueError, match=told):
        flags_of_model(ZeroFilled(), batch, **settings)


def test_inputs_that_do_not_fit_are_told(batch):
    with pytest.raises(ValueError, match="model must be a tfvn.models.Reconstructor"):
        flags_of_model(batch, batch)
    with pytest.raises(ValueError, match="inputs must hold"):
        flags_of_model(ZeroFilled(), {"kspace": batch["kspace"]})
    first = {**batch, "initial_image": np.zeros((2, 24, 20), np.complex64)}
    with pytest.raises(ValueError, match="Remove `initial_image`"):
        flags_of_model(vivid(), first)


# What attacks reached


def of_results(*reached):
    found = flags_of_results(list(reached))
    assert [flag.rule for flag in found] == list(OF_RESULTS)
    return {flag.name: flag for flag in found}


def test_one_attack_at_one_size_checks_nothing():
    flags = of_results(Reached("apgd-l2", 0, 1.5, 2.0), Reached("apgd-l2", 1, 1.5, 2.1))
    assert names(flags, NOT_CHECKED) == {rule.name for rule in OF_RESULTS}
    assert of_results()["not monotone"].case.note == "No slice was attacked at two sizes."
    assert all(math.isnan(flag.case.found) for flag in flags.values())


@pytest.mark.parametrize("sort, name", [("no gradient", "black box wins"), ("transfer", None)])
@pytest.mark.parametrize("value, state", [(2.03, RAISED), (1.9, PASSED)])
def test_a_search_without_gradients_must_not_be_ahead(sort, name, value, state):
    flags = of_results(
        Reached("apgd-l2", 0, 1.5, 2.0),
        Reached("other", 0, 1.5, 1.0, sort),
        Reached("apgd-l2", 3, 1.5, 2.0),
        # The best of those with gradients counts.
        Reached("ascent", 3, 1.5, 1.5),
        Reached("other", 3, 1.5, value, sort),
    )
    flag = flags[name or "transfer wins"]
    assert flag.state == state
    if state == RAISED:
        assert flag.case[:4] == (pytest.approx(0.015), 3, 1.5, "other")
    assert "2 of apgd-l2" in flag.case.note


def test_a_lead_within_the_luck_of_a_start_is_none():
    flags = of_results(
        Reached("apgd-l2", 0, 1.5, 2.0), Reached("square", 0, 1.5, 2.01, "no gradient")
    )
    assert flags["black box wins"].state == PASSED


def test_attacks_in_other_balls_or_of_other_sizes_are_not_compared():
    flags = of_results(
        Reached("apgd-l2", 0, 1.5, 2.0),
        Reached("square-l1", 0, 1.5, 9.0, "no gradient", ball="l1"),
        Reached("square-l2", 0, 2.5, 9.0, "no gradient"),
    )
    assert flags["black box wins"].state == NOT_CHECKED


def test_a_single_step_must_not_be_ahead_of_many():
    for single, state in ((1.9, PASSED), (2.1, RAISED)):
        flags = of_results(
            Reached("apgd-l2", 0, 1.5, 2.0), Reached("fgsm", 0, 1.5, single, "single step")
        )
        assert flags["single step wins"].state == state


def test_a_larger_ball_must_not_give_less():
    values = {1.5: 2.0, 2.5: 3.0, 3.5: 2.9}
    reached = [Reached("apgd-l2", 5, size, value) for size, value in values.items()]
    flag = of_results(*reversed(reached))["not monotone"]
    assert flag.raised and flag.case[:3] == (pytest.approx(0.1 / 3), 5, 3.5)
    # Another attack makes up for it: the worst of all counts.
    assert not of_results(*reached, Reached("ascent", 5, 3.5, 3.2))["not monotone"].raised
    # One that was not made in the larger ball says nothing of it.
    strong = Reached("suite-l2", 5, 1.5, 9.0)
    assert of_results(*reached, strong)["not monotone"].case.found == pytest.approx(0.1 / 3)
    # A fall that is spread over two sizes is one.
    slow = [Reached("apgd-l2", 0, size, 3 - 0.05 * size) for size in (1.0, 2.0, 3.0)]
    assert of_results(*slow)["not monotone"].case.found == pytest.approx(0.1 / 2.95)


@pytest.mark.parametrize("field, name", [("budget", "not converged"), ("draws", "EoT too small")])
def test_twice_as_much_must_not_raise_the_mean(field, name):
    def reached(more):
        return [
            Reached("apgd-l2", slice, 1.5, value, **{field: amount})
            for amount, values in ((20, (1.0, 2.0)), (60, (1.2, 2.0)), (120, (1.2, more)))
            for slice, value in enumerate(values)
        ]

    # The two largest are compared.
    assert of_results(*reached(2.0))[name].state == PASSED
    flag = of_results(*reached(2.2))[name]
    assert flag.raised and flag.case[:2] == (pytest.approx(0.2 / 3.2), None)
    assert flag.case.note == f"1.6 with {field} 60, 1.7 with 120"
    # No slice has both.
    apart = [one for one in reached(2.2) if (one.slice == 0) == (getattr(one, field) == 60)]
    assert of_results(*apart)[name].state == NOT_CHECKED


def test_an_effect_above_its_bound_is_a_fault():
    below, above = (Reached("apgd-l2", 2, 1.5, 2.0, bound=bound) for bound in (2.1, 1.9))
    assert of_results(below)["bound violated"].state == PASSED
    assert of_results(below, above)["bound violated"].raised


def test_nothing_against_nothing_says_nothing():
    flags = of_results(
        Reached("apgd-l2", 0, 0.5, 0.0), Reached("square", 0, 0.5, 0.0, "no gradient")
    )
    assert flags["black box wins"].state == NOT_CHECKED
    flags = of_results(
        Reached("apgd-l2", 0, 0.5, 0.0), Reached("square", 0, 0.5, 0.1, "no gradient")
    )
    assert flags["black box wins"].case.found == math.inf


def test_another_sort_of_attack_is_told():
    with pytest.raises(ValueError, match="sort must be one of"):
        flags_of_results([Reached("apgd-l2", 0, 1.0, 1.0, "best")])


def test_flags_follow_from_attacks_of_ours(batch):
    model, reached = KspaceReader(), []
    for size in (0.3, 0.6):
        for steps in (1, 4, 8, 60, 120):
            attack = ProjectedGradientAscent(steps=steps)
            result = attack.run(model, batch, size, index=np.arange(2))
            sort = "single step" if steps == 1 else "gradient"
            for slice, objective in enumerate(result.objective.numpy()):
                effect = math.sqrt(2 * objective)
                reached.append(Reached(attack.kind, slice, size, effect, sort, budget=steps))
    flags = of_results(*reached)
    assert {"not monotone", "single step wins"} <= names(flags, PASSED)
    assert flags["single step wins"].case.found < -0.05
    short = of_results(*[one for one in reached if one.budget < 10])
    assert short["not converged"].raised
    assert 0 <= flags["not converged"].case.found < short["not converged"].case.found / 2


# Flags themselves

ABOVE, BELOW = Rule("more", "More.", 0.5), Rule("less", "Less.", 0.5, below=True)


def test_the_number_that_went_furthest_decides():
    cases = [Case(0.1, 0), Case(0.9, 1), Case(math.nan, 2)]
    assert flag_of(ABOVE, cases) == (ABOVE, RAISED, cases[1])
    assert flag_of(BELOW, cases) == (BELOW, RAISED, cases[0])
    assert flag_of(ABOVE, cases[:1]).state == PASSED
    assert flag_of(ABOVE, [Case(0.5)]).state == flag_of(BELOW, [Case(0.5)]).state == PASSED
    assert flag_of(ABOVE, [Case(math.inf)]).raised and not flag_of(BELOW, [Case(math.inf)]).raised


def test_without_a_number_a_rule_is_not_checked():
    assert flag_of(ABOVE, [], "No attack.") == unchecked(ABOVE, "No attack.")
    assert flag_of(ABOVE, [Case(math.nan, note="Too small.")], "No.").case.note == "Too small."


def test_of_two_flags_of_a_name_the_worse_one_counts():
    rule = RULES["single step wins"]
    raised, passed = flag_of(rule, [Case(1.0)]), flag_of(rule, [Case(0.0)])
    nothing = unchecked(rule, "No attack.")
    first = flag_of(RULES["random"], [Case(0.0)])
    assert merged([passed, first], [raised], [nothing]) == [first, raised]
    assert merged([nothing], [passed]) == [passed]


def test_a_row_says_all_of_a_flag():
    flag = flag_of(RULES["not monotone"], [Case(0.03, 4, 2.5, "apgd-l2", "2 and 3")])
    row = row_of("demo", flag)
    assert list(row.values())[:8] == [
        "demo",
        "not monotone",
        RAISED,
        0.03,
        0.02,
        4,
        2.5,
        "apgd-l2",
    ]
    assert row["rule"] == flag.rule.text and row["note"] == "2 and 3"
    assert row_of("demo", unchecked(flag.rule, "No."))["slice"] == ""


def test_every_rule_is_on_the_page():
    page = Path(__file__).resolve().parents[1] / "docs/howto/flags.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in RULES if f"| {name} |" not in text] == []
