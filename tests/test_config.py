import dataclasses
import time

import numpy as np
import pytest
import yaml

import tfvn
from tfvn import choices, config
from tfvn.config import Config, load
from tfvn.ranges import numbers

FIELDS = dataclasses.fields(Config)
KEYS = [field.name for field in FIELDS]
# Keys whose value is any text.
TEXTS = [
    field.name
    for field in FIELDS
    if field.type is str and not field.metadata["choices"] and not field.metadata["numbers"]
]
RANGES = [field.name for field in FIELDS if field.metadata["numbers"]]
# Of a network, whose file keeps them.
NETWORK = ("grid_limit", "bandwidth", "scale", "initial_scale", "initial_data_weight")
NUMBERS = [f.name for f in FIELDS if f.type in (int, float)]
# What YAML 1.1 takes for something else than the text that is written, and what it cuts or refuses.
WRITTEN = [
    "010",
    "0o17",
    "0x1F",
    "0b1",
    "1_000",
    "12:30",
    "12:30:45",
    "1:3",
    "2026-11-25",
    "2026-11-25 12:30:00",
    "1e3",
    "1.50",
    ".5",
    ".inf",
    "no",
    "No",
    "on",
    "off",
    "yes",
    "y",
    "true",
    "null",
    "Null",
    "~",
    "=",
    "<<",
    "it's",
    "a#b",
    "é",
    "a b",
]
SPECIAL = [
    "",
    " x",
    "x ",
    "  ",
    "@x/y.h5",
    "`x`",
    "*.h5",
    "%x",
    "&x",
    "!x",
    "!!int 5",
    "[1].h5",
    "{a}",
    "a: b",
    "a #b",
    "# a",
    "#x",
    "- x",
    "? x",
    "x:",
    "'x'",
    '"x"',
    "x, y",
    "|",
    ">",
    "---",
    "...",
    "a\\b",
    "a\\nb",
    "x" * 300,
    "a  b " * 60,
    "\xa0",
    "\ufeff",
    "\U0001f600",
]


def write(tmp_path, text):
    path = tmp_path / "knee.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_valid():
    assert load() == Config()


def test_yaml_survives_a_round_trip(tmp_path):
    overrides = [
        "sigma=0.05",
        "attack_radii=[1, 2]",
        "readout_oversampling=true",
        "test_slices=22",
        "data_path=a b",
    ]
    changed = load(overrides=overrides)
    assert load(write(tmp_path, changed.to_yaml())) == changed


def test_the_yaml_holds_every_key_flat():
    values = yaml.safe_load(Config().to_yaml())
    assert list(values) == KEYS
    assert not any(isinstance(value, dict) for value in values.values())


@pytest.mark.parametrize(
    "wrong, nearest",
    [
        ("num_stage", "num_stages"),
        ("learningrate", "learning_rate"),
        ("attack_radius", "attack_radii"),
        ("Sigma", "sigma"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one_and_the_file(tmp_path, wrong, nearest):
    with pytest.raises(
        ValueError, match=rf"knee.yaml: unknown key '{wrong}'. Did you mean '{nearest}'\?"
    ):
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
    with pytest.raises(
        ValueError, match="profile must be iterations such as '11-15'. Received: profile='15-11'"
    ):
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
    assert settings.attack_radii == [1.0, 2.0] and all(
        isinstance(r, float) for r in settings.attack_radii
    )


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


@pytest.mark.parametrize(
    "text", ["- 1\n- 2\n", "just words\n", "a: [1\n", "sigma: 0.1\n  filters: 3\n"]
)
def test_a_file_that_is_no_flat_mapping_is_refused_by_its_name(tmp_path, text):
    with pytest.raises(ValueError, match="knee.yaml: "):
        load(write(tmp_path, text))


def test_nested_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="knee.yaml: sigma must be a finite number"):
        load(write(tmp_path, "sigma:\n  train: 0.1\n"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the configuration .*none.yaml"):
        load(tmp_path / "none.yaml")


def test_the_norms_of_the_schema_are_those_of_the_balls():
    assert config.Config.attack_norm in choices.NORMS
    assert tuple(tfvn.projections.BALLS) == choices.NORMS


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().sigma = 1.0


def test_every_key_is_described_in_one_section():
    named = []
    for section in config.SECTIONS:
        assert config.keys(section)
        named += [key.name for key in config.keys(section)]
    assert sorted(named) == sorted(KEYS)


def test_defaults_are_told_as_a_file_has_them():
    told = [key for section in config.SECTIONS for key in config.keys(section)]
    assert load(overrides=[f"{key.name}={key.default}" for key in told]) == Config()
    assert all(key.meaning and len(key.meaning) <= 160 and "\n" not in key.meaning for key in told)


@pytest.mark.parametrize("text", WRITTEN)
def test_of_a_text_key_the_written_text_is_the_value(tmp_path, text):
    for key in TEXTS:
        assert getattr(load(overrides=[f"{key}={text}"]), key) == text
        assert getattr(load(write(tmp_path, f"{key}: {text}\n")), key) == text


@pytest.mark.parametrize("text", [*WRITTEN, *SPECIAL])
def test_any_text_is_taken_from_the_command_line_and_survives_a_round_trip(tmp_path, text):
    settings = load(overrides=[f"{key}={text}" for key in TEXTS])
    assert all(getattr(settings, key) == text for key in TEXTS)
    assert load(write(tmp_path, settings.to_yaml())) == settings
    quoted = "'" + text.replace("'", "''") + "'"
    if text.isprintable():
        assert load(write(tmp_path, "".join(f"{key}: {quoted}\n" for key in TEXTS))) == settings


@pytest.mark.parametrize("text", [*WRITTEN, *SPECIAL])
def test_what_earlier_versions_wrote_is_read_as_it_was_meant(tmp_path, text):
    settings = load(overrides=[f"{key}={text}" for key in TEXTS])
    # Folded at 80 characters, in ASCII, and with lists of floating-point numbers alone.
    values = {**dataclasses.asdict(settings), "antun_steps": [25.0]}
    assert load(write(tmp_path, yaml.safe_dump(values, sort_keys=False))) == settings


def test_any_number_survives_a_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = {}
        for name in NUMBERS:
            field, limits = config._FIELDS[name], config._FIELDS[name].metadata
            highest = limits["maximum"] or limits["below"] or 2**31
            value = max(limits["minimum"] or 0, float(10 ** rng.uniform(-12, 9)))
            values[name] = field.type(min(value, 0.999999 * highest))
        values.update(
            num_stages=3, filters=4, kernel_size=5, num_centers=11, attack_radii=[1e-7, 3e8]
        )
        settings = Config(**values)
        assert load(write(tmp_path, settings.to_yaml())) == settings
        overrides = [f"{key}={value}" for key, value in vars(settings).items()]
        assert load(overrides=overrides) == settings


@pytest.mark.parametrize(
    "text, value",
    [("010", 10), ("007", 7), ("08", 8), ("1e3", 1000), ("+5", 5), ("5.0", 5), (" 7 ", 7)],
)
def test_digits_are_decimal(tmp_path, text, value):
    assert (
        load(overrides=[f"seed={text}"]).seed
        == value
        == load(write(tmp_path, f"seed: {text}\n")).seed
    )
    expected = [1.0, float(value)]
    assert load(overrides=[f"attack_radii=[1, {text}]"]).attack_radii == expected
    assert load(write(tmp_path, f"attack_radii: [1, {text}]\n")).attack_radii == expected


@pytest.mark.parametrize(
    "text",
    ["1_000", "12:30", "0x10", "0o17", "0b1", "2026-11-25", "yes", "null", "~", "1,5", "\u0663"],
)
def test_other_notations_are_no_numbers(tmp_path, text):
    for key in ("seed", "sigma"):
        words = f"{key} must be a .* number, such as .* Received: {key}='{text}'"
        with pytest.raises(ValueError, match=f"--set: {words}"):
            load(None, [f"{key}={text}"])
        with pytest.raises(ValueError, match=f"knee.yaml: {words}"):
            load(write(tmp_path, f"{key}: {text}\n"))


@pytest.mark.parametrize(
    "text, value",
    [("true", True), ("YES", True), ("on", True), ("False", False), ("no", False), ("off", False)],
)
def test_a_switch_is_on_or_off(tmp_path, text, value):
    assert load(overrides=[f"transpose={text}"]).transpose is value
    assert load(write(tmp_path, f"transpose: {text}\n")).transpose is value


def test_patients_with_leading_zeros_are_the_patients_that_are_written(tmp_path):
    for text, expected in (("010", [10]), ("008-010", [8, 9, 10]), ("01, 07", [1, 7])):
        assert numbers(load(write(tmp_path, f"test_patients: {text}\n")).test_patients) == expected
        assert numbers(load(overrides=[f"test_patients={text}"]).test_patients) == expected


@pytest.mark.parametrize(
    "text", ["1:3", "1_0", "0x10", "2026-11-25", "1e1", "10.0", "null", "~", "", "all"]
)
def test_slices_in_other_notations_are_refused_before_any_work(tmp_path, text):
    with pytest.raises(
        ValueError,
        match=f"knee.yaml: test_slices must be slices such as .* Received: test_slices='{text}'",
    ):
        load(write(tmp_path, f"test_slices: {text}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "@data/scan.h5",
        "*.h5",
        "%scan.h5",
        "[1].h5",
        "a: b.h5",
        "&x",
        "&x y",
        "!x",
        "!!int 5",
        "knees #2/x",
    ],
)
def test_a_text_of_which_yaml_would_lose_something_must_be_quoted_in_a_file(tmp_path, text):
    with pytest.raises(ValueError, match=r"knee.yaml: line 2.* in quotes"):
        load(write(tmp_path, f"sigma: 0.1\ndata_path: {text}\n"))
    assert load(write(tmp_path, f"sigma: 0.1\ndata_path: '{text}'\n")).data_path == text


def test_comments_are_comments(tmp_path):
    settings = load(
        write(tmp_path, "data_path: a b # c\nsigma: 0.1 #noise\nprotocol: 'a' #b\n# d\n")
    )
    assert (settings.data_path, settings.protocol, settings.sigma) == ("a b", "a", 0.1)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x1b[1m", "a\tb", "\x85", "\u2028", "\udc80"])
def test_texts_that_tables_and_files_cannot_hold_are_refused(text):
    with pytest.raises(
        ValueError, match="data_path must be one line of text .* Received: data_path="
    ):
        load(overrides=[f"data_path={text}"])


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_is_larger_than_what_is_read_back(name):
    is_kept = config._FIELDS[name].type is int or name in NETWORK
    for value in (2**31 if is_kept else 3.5e38, 2**63 if is_kept else 1e39, 1e300, -1e39):
        with pytest.raises(ValueError, match=rf"{name} must be a number [<>].*Received: {name}="):
            Config(**{name: value})


def test_the_largest_seed_is_that_of_32_bits():
    assert load(overrides=["seed=2147483647"]).seed == 2**31 - 1
    words = (
        "--set: seed must be a number < 2147483648, as it is kept in 32 bits. Received:"
        " seed=2147483648"
    )
    with pytest.raises(ValueError, match=words):
        load(overrides=["seed=2147483648"])


@pytest.mark.parametrize(
    "settings",
    [{"num_stages": 5000}, {"filters": 10**6}, {"kernel_size": 10**4}, {"num_centers": 10**6}],
)
def test_a_network_that_could_not_be_read_back_is_refused(tmp_path, settings):
    ((key, value),) = settings.items()
    words = "The file of a network's weights may take up to 268 MB, and this one's may need"
    with pytest.raises(ValueError, match=words):
        Config(**settings)
    with pytest.raises(ValueError, match=f"^--set: {words}"):
        load(overrides=[f"{key}={value}"])
    # Of two that do not fit together either may be the wrong one.
    with pytest.raises(ValueError, match=f"knee.yaml, --set: {words}"):
        load(write(tmp_path, "filters: 100\n"), ["num_stages=3000"])


@pytest.mark.parametrize("text", ["0-99999999999", "0-999999,1000001", "1-999999999999999999"])
def test_ranges_have_a_limit_that_stands_before_the_list_is_made(text):
    start = time.monotonic()
    with pytest.raises(ValueError, match="expected at most 1000000 numbers. Received: "):
        numbers(text)
    for key in RANGES:
        with pytest.raises(
            ValueError, match=f"--set: {key} must be at most 1000000 numbers. Received: {key}="
        ):
            load(overrides=[f"{key}={text}"])
    assert time.monotonic() - start < 1


def test_a_configuration_takes_the_networks_that_can_be_made():
    largest_file = tfvn.network_size.largest_file
    for sizes in (
        (10, 24, 11, 31),
        (4000, 1, 2, 2),
        (1, 10**5, 5, 11),
        (3, 400, 101, 2),
        (1, 5, 2, 10**6),
    ):
        settings = dict(zip(("num_stages", "filters", "kernel_size", "num_centers"), sizes))
        # From those that can be made to those that cannot.
        for filters in range(settings["filters"], 50 * settings["filters"], settings["filters"]):
            settings["filters"] = filters
            refused = []
            for make in (Config, lambda **given: largest_file(**given, dtype="float32")):
                try:
                    make(**settings)
                except ValueError:
                    refused.append(make)
            assert len(refused) in (0, 2), settings


def test_patients_times_slices_have_that_limit_too(tmp_path):
    path = write(tmp_path, "test_patients: 0-9999\nsigma: 0.1\n")
    with pytest.raises(ValueError) as found:
        load(path, ["test_slices=0-9999", "seed=1"])
    words = (
        "test_patients and test_slices must name at most 1000000 slices together. Received:"
        " test_patients='0-9999'"
    )
    assert str(found.value) == f"{path}, --set: {words}, test_slices='0-9999'"


def test_a_wrong_value_is_blamed_on_where_it_stands(tmp_path):
    right, wrong = write(tmp_path, "sigma: 0.1\n"), tmp_path / "wrong.yaml"
    wrong.write_text("sigma: abc\n")
    for arguments, keywords, source in (
        ((right, ["sigma=abc"]), {}, "--set"),
        ((None, ["sigma=abc"]), {}, "--set"),
        ((wrong, ["seed=1"]), {}, str(wrong)),
        ((right, ["seed=1"]), {"sigma": "abc"}, "config.load"),
    ):
        with pytest.raises(ValueError) as found:
            load(*arguments, **keywords)
        assert str(found.value).startswith(
            f"{source}: sigma must be a finite number, such as"
        ) and "'abc'" in str(found.value)
    assert load(wrong, ["sigma=0.2"]).sigma == 0.2


def test_keys_may_be_given_by_name(tmp_path):
    settings = load(
        write(tmp_path, "sigma: 0.1\n"),
        ["sigma=0.2"],
        sigma=0.3,
        data_path=tmp_path,
        num_stages=np.int64(3),
    )
    assert (settings.sigma, settings.data_path, settings.num_stages) == (0.3, str(tmp_path), 3)
    assert type(settings.num_stages) is int
    with pytest.raises(ValueError, match="config.load: unknown key 'sigmas'. Did you mean 'sigma'"):
        load(sigmas=1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ({"sigma": 1},),
            (
                "config.load: expected the path of a YAML file. Received: path=a dict of sigma."
                " Keys are given by"
            ),
        ),
        (
            (None, "sigma=0.1"),
            r"expected a list of texts such as \['sigma=0.05'\]. Received: overrides='sigma=0.1'",
        ),
        ((None, [("sigma", 1)]), "expected a list of texts"),
        ((None, None), "expected a list of texts"),
        ((None, ["=3"]), "form key=value. Received: '=3'"),
        (
            (None, ["sigma="]),
            "--set: sigma must be a finite number, such as 0.05, 1e-3 or 10. Received: sigma=''",
        ),
    ],
)
def test_slips_in_calls_are_told(arguments, words):
    with pytest.raises(ValueError, match=words):
        load(*arguments)


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(
        ValueError, match="cannot read the configuration .*: it is a folder. Name a YAML file"
    ):
        load(tmp_path)


# Texts that are multiplied by nine a line.
_MULTIPLIED = "sigma: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"k{n}: &{'bcdefghi'[n]} [{','.join(['*' + 'abcdefgh'[n]] * 9)}]\n" for n in range(8)
)
_ODD = {
    "binary": (
        b"\x89HDF\r\n\x1a\n",
        "expected a text file in UTF-8. Received: other bytes, at position 0",
    ),
    "UTF-16": ("sigma: 1\n".encode("utf-16"), "expected a text file in UTF-8"),
    "zero": (b"sigma: \0\n", "expected a text file. Received: a control character, at position 7"),
    "brackets": (b"[" * 50000, "expected lines of 'key: value'. Received: one inside the other"),
    "braces": (
        b"sigma: " + b"{a: " * 20000,
        "expected lines of 'key: value'. Received: one inside the other",
    ),
    "large": (
        b"a" * 2**20,
        "expected a configuration of at most 131072 bytes. Received: a larger file",
    ),
    "twice": (b"seed: 1\n" * 10000, "line 2: given more than once: seed"),
    "list": (b"- sigma\n- seed\n", "expected lines of 'key: value'. Received: a list"),
    "no blank": (b"sigma:0.1\n", "expected lines of 'key: value'. Received: 'sigma:0.1'"),
    "two documents": (
        b"sigma: 0.1\n---\nseed: 1\n",
        "line 2 is no YAML: expected a single document",
    ),
    "key of a list": (b"? [a]\n: 1\n", r"unknown key \['a'\]"),
    "merge": (b"<<: {sigma: 1}\n", "unknown key '<<'"),
    "object": (
        b"sigma: !!python/object/apply:os.system [ls]\n",
        r"put a text that begins with &, \* or ! in quotes",
    ),
    "aliases": (_MULTIPLIED.encode(), r"line 1: put a text that begins with &, \* or ! in quotes"),
    "long value": (b"sigma: [" + b"x," * 40000 + b"x]\n", "sigma must be a finite number"),
    "long key": (b"x" * 50000 + b": 1\n", "is no YAML|unknown key"),
}


@pytest.mark.parametrize("content, words", _ODD.values(), ids=_ODD)
def test_odd_files_end_in_one_short_sentence_at_once(tmp_path, content, words):
    path = tmp_path / "knee.yaml"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"knee.yaml: .*{words}") as found:
        load(path)
    assert (
        time.monotonic() - start < 5
        and len(str(found.value)) < 600
        and "\n" not in str(found.value)
    )


def test_a_file_that_notepad_wrote_is_read(tmp_path):
    path = tmp_path / "knee.yaml"
    path.write_bytes(b"\xef\xbb\xbfsigma: 0.1\r\ndata_path: x\r\n")
    assert (load(path).sigma, load(path).data_path) == (0.1, "x")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("22", [22]),
        (22, [22]),
        ("1-3,7", [1, 2, 3, 7]),
        (" 1 - 2 , 4", [1, 2, 4]),
        ("5-5", [5]),
        ("0", [0]),
    ],
)
def test_numbers_are_read_from_ranges_and_lists(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize("text", ["", "3-1", "a", "1,", "1-2-3", "-1", "1.5"])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(ValueError, match=f"expected numbers such as .* Received: '{text}'"):
        numbers(text)
