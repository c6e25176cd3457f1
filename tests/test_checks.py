"""What comes for an argument is taken as it is, or refused in one sentence."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn import checks

NO_NUMBERS = [
    None,
    "2.5",
    True,
    np.True_,
    [1],
    {},
    1j,
    float("nan"),
    np.ones(3),
    np.float32("inf"),
    b"1",
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("check", [checks.number, checks.whole])
def test_what_is_no_number_is_refused_and_shown(check, value):
    with pytest.raises(
        ValueError, match=r"^steps must be a (whole )?number >= 1\. Received: steps=."
    ):
        check("steps", value, 1)


@pytest.mark.parametrize(
    "value", [3, 3.0, np.int64(3), np.float32(3), np.array(3), tf.constant(3.0)], ids=repr
)
def test_numbers_of_every_kind_become_plain_ones(value):
    assert type(checks.number("radius", value, 0)) is float
    assert type(checks.whole("steps", value, 0)) is int
    assert checks.whole("steps", value, 0) == 3


def test_a_whole_number_is_whole_and_fits_into_32_bits():
    assert checks.whole("seed", -(2**31) + 1) == -(2**31) + 1
    for value in (2.5, 2**31, -(2**31), 10**30):
        with pytest.raises(ValueError, match="seed must be a whole number. Received: seed="):
            checks.whole("seed", value)
    with pytest.raises(ValueError, match=r"Its magnitude must be below 2\^31"):
        checks.whole("seed", 2**31)


def test_a_number_is_finite_in_single_precision():
    assert checks.number("radius", 3e38) == 3e38
    with pytest.raises(ValueError, match=r"radius=1e\+39. Its magnitude must be below 3.403e\+38"):
        checks.number("radius", 1e39)


@pytest.mark.parametrize("value", [0, 1, "no", None, "False"])
def test_a_flag_is_true_or_false(value):
    assert checks.flag("centred", np.bool_(False)) is False
    with pytest.raises(ValueError, match="centred must be True or False. Received: centred="):
        checks.flag("centred", value)


@pytest.mark.parametrize("value", [None, 2, ["l2"], np.ones(2), "L2"], ids=repr)
def test_a_choice_is_one_of_its_texts(value):
    with pytest.raises(ValueError, match=r"norm must be one of \('l2', 'l1'\). Received: norm="):
        checks.choice("norm", value, ("l2", "l1"))


@pytest.mark.parametrize(
    "value, told",
    [
        (np.ones((2, 3), np.float32), r"ndarray of float32 \(2, 3\)"),
        (tf.ones([4]), r".*Tensor of float32 \(4,\)"),
        ({"kspace": np.ones(3)}, "a dict of kspace"),
        ("x\ny", r"'x\\ny'"),
        ("a" * 10**6, "'a{199}[.]{3}"),
    ],
    ids=["array", "tensor", "dict", "text", "long"],
)
def test_a_value_is_shown_in_one_short_line(value, told):
    import re

    assert re.fullmatch(told, checks.shown(value))


def test_an_object_that_cannot_be_shown_is_named_by_its_type():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    assert checks.shown(Shy()) == "an object of type Shy"


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", "int32", "complex64", "half", 3, tf.float16, np.float16],
    ids=str,
)
def test_another_precision_is_refused(dtype):
    with pytest.raises(
        ValueError, match="compute in float32 or float64. Received: dtype=.*Pass dtype='float32'"
    ):
        checks.precision(dtype)


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_a_global_policy_of_half_precision_is_refused_by_its_name(policy):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        with pytest.raises(
            ValueError, match=f"Received: the global policy of Keras='{policy}'.*set_global_policy"
        ):
            checks.precision(None)
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        tf.float64,
        np.float64,
        np.dtype("float64"),
        keras.mixed_precision.Policy("float64"),
    ],
)
def test_every_spelling_of_a_precision_is_taken(dtype):
    assert checks.precision(dtype) == "float64"


def test_mixed_precision_means_that_of_the_variables():
    assert checks.precision("mixed_bfloat16") == "float32"
