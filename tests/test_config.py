import dataclasses

import pytest
import yaml

from tfvn import config
from tfvn.config import Config, load, numbers

KEYS = [field.name for field in dataclasses.fields(Config)]


def write(tmp_path, text):
    path = tmp_path / "knee.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_valid():
    assert load() == Config()


def test_yaml_survives_a_round_trip(tmp_path):
    overrides = ["sigma=0.05", "attack_radii=[1, 2]", "readout_oversampling=true", "test_slices=22", "data_path=a b"]
    changed = load(overrides=overrides)
    assert load(write(tmp_path, changed.to_yaml())) == changed


def test_the_yaml_holds_every_key_flat():
    values = yaml.safe_load(Config().to_yaml())
    assert list(values) == KEYS
    assert not any(isinstance(value, dict) for value in values.values())


@pytest.mark.parametrize(
    "wrong, nearest",
    [("num_stage", "num_stages"), ("learningrate", "learning_rate"), ("attack_radius", "attack_radii"), ("Sigma", "sigma")],
)
def test_an_unknown_key_names_the_nearest_known_one_and_the_file(tmp_path, wrong, nearest):
    with pytest.raises(ValueError, match=rf"knee.yaml: unknown key '{wrong}'. Did you mean '{nearest}'\?"):
        load(write(tmp_path, f"{wrong}: 1\n"))


def test_an_unknown_key_without_a_neighbour_is_refused_too(tmp_path):
    with pytest.raises(ValueError, match=r"unknown key 'xyzzy'\.$"):
        load(write(tmp_path, "xyzzy: 1\n"))


def test_an_unknown_key_of_an_override_is_refused():
    with pytest.raises(ValueError, match="unknown key 'num_stage'. Did you mean 'num_stages'"):
        load(overrides=["num_stage=3"])


def test_a_key_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sigma"):
        load(write(tmp_path, "sigma: 0.1\nnum_stages: 3\nsigma: 0.2\n"))


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("num_stages", 0, "num_stages must be a number >= 1"),
        ("height", 15, "height must be a number >= 16"),
        ("kernel_size", 1, "kernel_size must be a number >= 2"),
        ("sigma", -0.1, "sigma must be a number >= 0"),
        ("grid_limit", 0, "grid_limit must be a number > 0"),
        ("mask_fraction", 1.5, "mask_fraction must be a number <= 1"),
        ("acceleration", 0.5, "acceleration must be a number >= 1"),
        ("momentum", 1.5, "momentum must be a number"),
        ("momentum", 1.0, "momentum must be a number"),
        ("learning_rate", 0, "learning_rate must be a number > 0"),
        ("attack_radii", [1.0, -1.0], "attack_radii must be a number >= 0"),
        ("attack_radii", [], "attack_radii must hold at least one number"),
        ("num_stages", 2.5, "num_stages must be a whole number"),
        ("num_stages", True, "num_stages must be a whole number"),
        ("sigma", "much", "sigma must be a finite number"),
        ("sigma", float("nan"), "sigma must be a finite number"),
        ("sigma", float("inf"), "sigma must be a finite number"),
        ("sigma", "1e400", "sigma must be a finite number"),
        ("sigma", None, "sigma must be a finite number"),
        ("optimizer", "sgd", "optimizer must be one of ipalm, adam"),
        ("mask", "spiral", "mask must be one of constant, equispaced, random, file, measured"),
        ("attack_gradient", "none", "attack_gradient must be one of full, initial-image"),
        ("readout_oversampling", 1, "readout_oversampling must be of type bool"),
        ("readout_oversampling", "yes", "readout_oversampling must be of type bool"),
        ("data_path", True, "data_path must be of type str"),
    ],
)
def test_a_value_outside_its_limits_is_refused(key, value, words):
    with pytest.raises(ValueError, match=f"{words}.*Received: {key}"):
        Config(**{key: value})


def test_iterations_to_profile_are_a_range():
    assert Config(profile="11-15").profile == "11-15"
    with pytest.raises(ValueError, match="profile must be iterations such as '11-15'. Received: profile='15-11'"):
        Config(profile="15-11")


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=KEYS)
def test_the_limits_themselves_are_allowed(field):
    for name in ("minimum", "maximum"):
        limit = field.metadata[name]
        if limit is not None:
            value = getattr(Config(**{field.name: limit}), field.name)
            assert value == ([limit] if field.type is list else limit)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", "1e-03"])
def test_yaml_writes_small_numbers_as_people_do(tmp_path, text):
    # YAML 1.1 reads 1e-3 as a string.
    assert load(write(tmp_path, f"learning_rate: {text}\n")).learning_rate == 1e-3


@pytest.mark.parametrize("text", ["1e3", "1000.0", "1000"])
def test_a_whole_number_may_be_written_with_an_exponent(tmp_path, text):
    value = load(write(tmp_path, f"iterations: {text}\n")).iterations
    assert value == 1000 and isinstance(value, int)


def test_numbers_come_in_the_type_of_their_key():
    settings = load(overrides=["sigma=1", "attack_radii=[1, 2e0]"])
    assert isinstance(settings.sigma, float)
    assert settings.attack_radii == [1.0, 2.0] and all(isinstance(r, float) for r in settings.attack_radii)


def test_one_radius_needs_no_brackets():
    assert load(overrides=["attack_radii=2.5"]).attack_radii == [2.5]


def test_a_slice_number_needs_no_quotes(tmp_path):
    assert load(write(tmp_path, "test_slices: 22\n")).test_slices == "22"


def test_overrides_win_over_the_file(tmp_path):
    settings = load(write(tmp_path, "sigma: 0.1\nfilters: 12\n"), ["sigma=0.2"])
    assert settings.sigma == 0.2 and settings.filters == 12


def test_the_last_override_wins():
    assert load(overrides=["sigma=0.1", "sigma=0.2"]).sigma == 0.2


def test_an_override_may_hold_an_equals_sign():
    assert load(overrides=["data_path=/a=b"]).data_path == "/a=b"


def test_an_empty_override_empties_a_text():
    assert load(overrides=["protocol="]).protocol == ""


def test_an_override_without_equals_sign_is_refused():
    with pytest.raises(ValueError, match="form key=value. Received: 'sigma'"):
        load(overrides=["sigma"])


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load(write(tmp_path, "# nothing\n")) == Config()


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just words\n", "a: [1\n", "sigma: 0.1\n  filters: 3\n"])
def test_a_file_that_is_no_flat_mapping_is_refused_by_its_name(tmp_path, text):
    with pytest.raises(ValueError, match="knee.yaml: "):
        load(write(tmp_path, text))


def test_nested_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="knee.yaml: sigma must be a finite number"):
        load(write(tmp_path, "sigma:\n  train: 0.1\n"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the configuration .*none.yaml"):
        load(tmp_path / "none.yaml")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().sigma = 1.0


def test_every_key_is_described():
    text = config.describe()
    assert all(f"  {key} (" in text for key in KEYS)


@pytest.mark.parametrize(
    "text, expected", [("22", [22]), (22, [22]), ("1-3,7", [1, 2, 3, 7]), (" 1 - 2 , 4", [1, 2, 4]), ("5-5", [5]), ("0", [0])]
)
def test_numbers_are_read_from_ranges_and_lists(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,", "1-2-3", "-1", "1.5"])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(ValueError, match=f"expected numbers such as .* Received: '{text}'"):
        numbers(text)
