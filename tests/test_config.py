"""Configurations in sections: what may be written, what it stands for, what is told of slips."""

import copy
import pickle
import re
import time
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from tfvn import drafts, yaml_text
from tfvn.__main__ import main
from tfvn.attacks import ATTACKS
from tfvn.config import SECTIONS, load
from tfvn.models.variational import VariationalNetwork
from tfvn.parts import Section
from tfvn.ranges import numbers
from tfvn.settings import REQUIRED, Key, keys_of


class Place(NamedTuple):
    """A key in full, what must be said for it to be there, and the `Key`."""

    name: str
    words: tuple
    key: Key


def _places_of(section):
    for name in section.names():
        words = []
        place = section.place
        if section.several:
            words.append(f"{section.place}={name}")
            place = f"{section.place}.{name}"
        elif section.picked_by:
            words.append(f"{section.place}={name}")
        if section.place == "data.maps":
            # Data of other formats have maps.
            words.insert(0, "data=fastmri")
        keys = section.keys(name).values()
        words += [f"{place}.{key.name}=1" for key in keys if key.default is REQUIRED]
        for key in keys:
            yield Place(f"{place}.{key.name}", tuple(words), key)


def _all_places():
    found = [Place("seed", (), drafts.SEED)]
    for section in SECTIONS.values():
        for inner in (section, *section.inside.values()):
            found += _places_of(inner)
    return found


PLACES = _all_places()
IDS = [" ".join([*place.words[:1], place.name]) for place in PLACES]
# Of all attacks, as a message has them.
NAMES = ", ".join(ATTACKS)
NUMBERS = [place for place in PLACES if place.key.type in (int, float)]
# Keys whose value is any text, and what makes them keys. The configurations differ in their format.
TEXTS = {
    "vlo": ["data.path", "data.protocol", "data.cache_dir", "training.initial_weights"],
    "measurement": [
        "data.path",
        "data.array",
        "data.sensitivity_path",
        "data.sensitivity_array",
        "sampling.path",
        "sampling.array",
        "model.file",
        "search.parameters",
    ],
    "fastmri": ["data.path", "data.train_folder", "data.test_folder", "data.acquisition"],
    "ismrmrd": ["data.path", "data.train_folder", "data.test_folder", "data.group"],
}
RANGES = [
    "data.train_patients",
    "data.train_slices",
    "data.test_patients",
    "data.test_slices",
    "training.profile",
]
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
    "none",
    "a.b",
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


def as_yaml(values):
    """Sections as YAML, from keys in full and texts that stand in it as they are."""
    lines = []
    before = []
    for key, text in sorted(values.items()):
        *sections, last = key.split(".")
        for depth, section in enumerate(sections):
            if before[: depth + 1] != sections[: depth + 1]:
                lines.append(f"{'  ' * depth}{section}:")
        lines.append(f"{'  ' * len(sections)}{last}: {text}")
        before = sections
    return "\n".join(lines) + "\n"


def with_texts(kind, text):
    """The key of each text of a format, with one text for all, and the names that it takes."""
    names = {"data.format": kind}
    if kind == "measurement":
        names["sampling.mask"] = "file"
    return {**names, **dict.fromkeys(TEXTS[kind], text)}


def as_words(values):
    words = []
    for key, value in values.items():
        if isinstance(value, list):
            value = ",".join(map(str, value))
        words.append(f"{key}={value}")
    return words


def refusal(*arguments, **keywords):
    """The one sentence in which something is refused, by `load` or where models are made."""
    with pytest.raises(ValueError) as found:
        load(*arguments, **keywords).check_models()
    assert type(found.value) is ValueError
    return str(found.value)


# Sections and names


def test_the_defaults_are_valid_and_the_papers():
    settings = load()
    names = {key: value for key, value in settings.flat().items() if "name" in key.split(".")}
    assert names == {
        "model.name": "variational",
        "training.optimizer.name": "ipalm",
        "training.recipe.name": "clean",
        "defence.name": "none",
    }
    assert (settings.data.name, settings.sampling.name) == ("synthetic", "constant")
    assert [attack.name for attack in settings.attacks] == ["ascent"]


def test_a_name_may_stand_in_the_place_of_a_section(tmp_path):
    short = load(write(tmp_path, "data: vlo\nsampling: random\ntraining: {optimizer: adam}\n"))
    long = "data: {format: vlo}\nsampling: {mask: random}\ntraining:\n  optimizer: {name: adam}\n"
    assert short == load(write(tmp_path, long))
    assert short == load(overrides=["data=vlo", "sampling=random", "training.optimizer=adam"])
    assert short == load(
        settings={"data": "vlo", "sampling": "random", "training.optimizer": "adam"}
    )
    assert short.training.optimizer.name == "adam" and short.data.test_slices == "22"


def test_a_name_brings_its_keys_and_takes_away_the_others():
    settings = load(overrides=["training.optimizer=adam"])
    assert settings.training.optimizer.learning_rate == 1e-3
    with pytest.raises(AttributeError, match="'adam' has no setting 'momentum'"):
        _ = settings.training.optimizer.momentum
    assert not settings.training.optimizer.has("momentum")
    assert settings.training.optimizer.get("momentum", 3) == 3


def test_keys_that_both_have_stay_when_the_name_changes(tmp_path):
    text = "sampling: {mask: equispaced, acceleration: 6, center_fraction: 0.3}\n"
    settings = load(write(tmp_path, text), ["sampling=random"])
    assert settings.sampling.flat() == {
        "sampling.mask": "random",
        "sampling.acceleration": 6.0,
        "sampling.center_fraction": 0.3,
        "sampling.seed": 0,
    }
    assert load(write(tmp_path, text), ["sampling=constant"]).sampling.flat() == {
        "sampling.mask": "constant",
        "sampling.fraction": 0.15,
    }
    # What was taken away does not come back.
    there = settings.changed({"sampling": "constant"}).changed({"sampling": "random"})
    assert there.sampling.acceleration == 4.0


def test_a_name_comes_before_the_keys_of_its_place_wherever_it_stands(tmp_path):
    settings = load(overrides=["training.optimizer.learning_rate=0.1", "training.optimizer=adam"])
    assert settings.training.optimizer.learning_rate == 0.1
    text = "defence:\n  sigma: 0.1\n  name: smoothed\n"
    assert load(write(tmp_path, text)).defence.sigma == 0.1
    # A later place that says the same name takes nothing away.
    assert load(write(tmp_path, text), ["defence=smoothed"]).defence.sigma == 0.1
    assert load(write(tmp_path, text), ["defence=none"]).defence.settings == {}


@pytest.mark.parametrize(
    "words, text",
    [
        (
            ["data=knee"],
            "data.format must be one of synthetic, vlo, fastmri, ismrmrd, siemens, images, mea",
        ),
        (
            ["sampling=spiral"],
            "sampling.mask must be one of constant, equispaced, random, fastmri, file, mea",
        ),
        (
            ["model=variation"],
            ". Received: model.name='variation'. Did you mean 'variational'?",
        ),
        (["training.optimizer=sgd"], "training.optimizer.name must be one of ipalm, adam, radam"),
        (["training.recipe.name="], "training.recipe.name must be one of clean, noise, "),
        (["defence=smooth"], "Received: defence.name='smooth'. Did you mean 'smoothed'?"),
        (
            ["attacks=asc"],
            f"attacks.name must be one of {NAMES}. Received: attacks.name='asc'.",
        ),
        (
            ["attacks=ascent,"],
            f"attacks.name must be one of {NAMES}. Received: attacks.name=''",
        ),
        (["model=vn.keras"], "'vn.keras'. A file is given by its own key: model.file=vn.keras"),
        (["model=runs/vn"], "A file is given by its own key: model.file=runs/vn"),
        (["model=unett"], "Did you mean 'unet'? A file is given by model.file."),
        (
            ["training=long"],
            "training is a section with keys of its own. Received: training='long'",
        ),
        (["search=all"], "search is a section with keys of its own. Received: search='all'"),
        (
            ["attacks.ascent=3"],
            "attacks.ascent is a section with keys of its own. Received: attacks.",
        ),
    ],
)
def test_a_name_that_there_is_not_is_told_with_those_that_there_are(tmp_path, words, text):
    told = refusal(overrides=words)
    assert told.startswith("--set: ") and text in told
    ((key, _, value),) = (word.partition("=") for word in words)
    assert text in refusal(write(tmp_path, as_yaml({key: value})))
    assert text in refusal(settings={key: value})


def test_an_empty_section_changes_nothing(tmp_path):
    for nothing in ("", " {}"):
        text = "".join(f"{name}:{nothing}\n" for name in SECTIONS if name != "attacks")
        assert load(write(tmp_path, text)) == load()
        assert load(write(tmp_path, f"training:\n  recipe:{nothing}\n")) == load()
        assert load(write(tmp_path, f"attacks:\n  ascent:{nothing}\n")) == load()
    assert (
        load(settings={"data": {}, "training": {"recipe": {}}, "attacks": {"ascent": {}}}) == load()
    )
    assert load(overrides=["training="]) == load()
    told = "--set: model= names no class. The names are listed by: python -m tfvn keys model"
    assert refusal(overrides=["model="]) == told


def test_a_file_of_a_network_stands_in_the_place_of_a_name(tmp_path):
    settings = load(write(tmp_path, "model: {filters: 3}\n"), ["model.file=vn.keras"])
    assert (settings.model.name, settings.model.file) == ("", "vn.keras")
    assert not settings.model.is_named and not settings.model.has("filters")
    assert settings.model.flat() == {"model.file": "vn.keras"}
    assert load(write(tmp_path, settings.to_yaml())) == settings
    # Without the file, there is a name again.
    again = load(write(tmp_path, "model: {file: vn.keras, filters: 3}\n"), ["model.file="])
    assert (again.model.name, again.model.filters, again.model.file) == ("variational", 3, "")
    assert "model.file" not in again.flat()
    # And what is named later stands in the place of a file before it.
    named = settings.changed({"model": "zero-filled"})
    assert named.model.flat() == {"model.name": "zero-filled"}
    assert load(write(tmp_path, settings.to_yaml()), ["model=zero-filled"]) == named
    with pytest.raises(
        ValueError, match="knee.yaml: model.name must be one of .* by its own key: model.fi"
    ):
        load(write(tmp_path, "model: vn.keras\n"))


def test_a_key_without_a_default_must_be_given(tmp_path):
    told = refusal(overrides=["defence=smoothed"])
    start = "defence.sigma is missing, which defence.name=smoothed needs: "
    meaning = SECTIONS["defence"].keys("smoothed")["sigma"].meaning
    assert told == f"--set: {start}{meaning}"
    text = "defence: {name: smoothed, num_samples: 3}\n"
    assert refusal(write(tmp_path, text)).startswith(f"{tmp_path / 'knee.yaml'}: {start}")
    assert load(write(tmp_path, text), ["defence.sigma=0.1"]).defence.num_samples == 3
    assert refusal(settings={"defence": "smoothed"}).startswith(f"config.load: {start}")


# Attacks


@pytest.mark.parametrize(
    "text",
    [
        "attacks: [ascent, antun]\n",
        "attacks: ascent, antun\n",
        "attacks:\n- ascent\n- antun\n",
        "attacks:\n- name: ascent\n- antun\n",
        "attacks:\n- {sizes: [1.5, 2.5, 3.5], name: ascent}\n- {name: antun}\n",
    ],
)
def test_attacks_are_a_list_of_names_or_of_sections(tmp_path, text):
    settings = load(write(tmp_path, text))
    assert [attack.name for attack in settings.attacks] == ["ascent", "antun"]
    assert (
        settings
        == load(overrides=["attacks=ascent,antun"])
        == load(overrides=["attacks=[ascent, antun]"])
    )
    assert settings == load(settings={"attacks": ["ascent", {"name": "antun"}]})
    assert settings == load(settings={"attacks": "ascent,antun"})
    assert settings.attacks[1].sizes == [25] and settings.attacks[0].num_samples == 0


def test_attacks_that_are_there_keep_their_keys_and_others_go(tmp_path):
    path = write(tmp_path, "attacks:\n- {name: ascent, steps: 7, norm: l1}\n")
    both = load(path, ["attacks=antun,ascent", "attacks.antun.sizes=3", "attacks.ascent.steps=8"])
    assert [attack.name for attack in both.attacks] == ["antun", "ascent"]
    antun, ascent = both.attacks
    assert (antun.sizes, ascent.steps, ascent.norm) == ([3], 8, "l1")
    # A list in Python or in a file is the whole of it.
    assert both.changed({"attacks": [{"name": "ascent"}]}).attacks[0].norm == "l2"
    alone = both.changed({"attacks": {"ascent": {"norm": "linf"}}})
    assert [attack.get("norm") for attack in alone.attacks] == [None, "linf"]
    assert both.attacks[1].norm == "l1"


@pytest.mark.parametrize("text", ["attacks:\n", "attacks: []\n", "attacks: ''\n"])
def test_there_may_be_no_attack(tmp_path, text):
    settings = load(write(tmp_path, text))
    assert settings.attacks == () and load(write(tmp_path, settings.to_yaml())) == settings
    assert settings == load(overrides=["attacks="]) == load(overrides=["attacks=[]"])
    assert settings == load(settings={"attacks": []}) == load().changed({"attacks": ()})
    words = (
        "there is no ascent among the attacks of this configuration: none. Add it: attacks=ascent"
    )
    assert words in refusal(write(tmp_path, text), ["attacks.ascent.steps=3"])


def test_of_two_attacks_of_one_name_only_the_file_says_the_keys(tmp_path):
    text = "attacks:\n- {name: ascent, norm: l2}\n- {name: ascent, norm: l1, steps: 3}\n"
    settings = load(write(tmp_path, text))
    assert [attack.norm for attack in settings.attacks] == ["l2", "l1"]
    assert load(write(tmp_path, settings.to_yaml())) == settings
    flat = settings.flat()
    assert (flat["attacks.ascent.norm"], flat["attacks.ascent.2.norm"]) == ("l2", "l1")
    for word in ("attacks.ascent.steps", "attacks"):
        told = refusal(write(tmp_path, text), [f"{word}=ascent"])
        assert told == (
            f"--set: {word} stands for 2 attacks of this configuration, which are named ascent."
            " Change the file."
        )


def test_an_attack_without_a_name_is_told_whatever_else_is_said():
    settings = {"attacks.ascent.steps": 3, "attacks": [{"sizes": [1.0]}]}
    words = "config.load: each of the attacks must have a name. Received: one without, number 1."
    assert refusal(settings=settings).startswith(words)


def test_two_attacks_of_one_kind_are_refused(tmp_path):
    words = "attacks must be of different kinds. Received: attacks of l2, l2."
    assert refusal(overrides=["attacks=ascent,ascent"]).startswith(f"--set: {words}")
    path = write(tmp_path, "attacks:\n- {name: ascent, steps: 3}\n- {name: ascent}\n")
    assert refusal(path).startswith(f"{path}: {words}")


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "attacks:\n- {steps: 3}\n",
            "each of the attacks must have a name. Received: one without, numb",
        ),
        (
            "attacks:\n- {}\n",
            f"attacks.name must be one of {NAMES}. Received: attacks.name=a dict",
        ),
        ("attacks:\n-\n", f"attacks.name must be one of {NAMES}. Received: attacks.name=''"),
        (
            "attacks:\n- name:\n",
            f"attacks.name must be one of {NAMES}. Received: attacks.name=''",
        ),
        (
            "attacks:\n- name: [a]\n",
            f"attacks.name must be one of {NAMES}. Received: attacks.name=[",
        ),
        (
            "attacks: {}\n",
            "attacks must be a list of names or of sections, [] for none. Received: atta",
        ),
        (
            "attacks: {name: ascent}\n",
            "attacks is a list of sections, each with a name: '- name: ...' in",
        ),
        (
            "attacks:\n  antun: {sizes: 3}\n",
            "there is no antun among the attacks of this configuration: a",
        ),
        (
            "attacks:\n- ascent: {steps: 3}\n",
            "line 2: expected a value. Received: a section, 'ascent'. A ",
        ),
        ("attacks: [[ascent]]\n", "line 1: expected a list of values. Received: a list of lists"),
        (
            "attacks: [ascent, [antun]]\n",
            "line 1: expected a list of values. Received: a list of lists",
        ),
        (
            "attacks: [{name: ascent}, [antun]]\n",
            "line 1: expected a section or a name. Received: a list",
        ),
        (
            "attacks:\n- {name: ascent, step: 3}\n",
            "unknown key 'attacks.ascent.step'. Did you mean 'attac",
        ),
        (
            "attacks:\n- {name: antun, norm: l1}\n",
            "unknown key 'attacks.antun.norm'. attacks.antun.name is",
        ),
        (
            "attacks:\n- {name: antun, sizes: 0}\n",
            "attacks.antun.sizes must be a whole number >= 1",
        ),
        (
            "attacks:\n- {name: ascent, num_samples: -1}\n",
            "attacks.ascent.num_samples must be a whole num",
        ),
    ],
)
def test_a_wrong_list_of_attacks_is_refused(tmp_path, text, words):
    assert refusal(write(tmp_path, text)).startswith(f"{tmp_path / 'knee.yaml'}: {words}")


# Unknown keys


@pytest.mark.parametrize(
    "wrong, nearest",
    [
        ("model.num_stage", "model.num_stages"),
        ("training.optimizer.momentums", "training.optimizer.momentum"),
        ("training.iteration", "training.iterations"),
        ("attacks.ascent.size", "attacks.ascent.sizes"),
        ("model.Filters", "model.filters"),
        ("Seed", "seed"),
        ("defense", "defence"),
        ("num_stage", "model.num_stages"),
        ("laws", "training.recipe.law"),
        ("models.filters", "model.filters"),
        ("trainings.optimizer.momentum", "training.optimizer.momentum"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one_and_its_source(tmp_path, wrong, nearest):
    words = f"unknown key '{wrong}'. Did you mean '{nearest}'?"
    assert refusal(write(tmp_path, as_yaml({wrong: "1"}))) == f"{tmp_path / 'knee.yaml'}: {words}"
    assert refusal(overrides=[f"{wrong}=1"]) == f"--set: {words}"
    assert refusal(settings={wrong: 1}) == f"config.load: {words}"


def test_an_unknown_key_without_a_neighbour_is_refused_too(tmp_path):
    assert refusal(write(tmp_path, "xyzzy: 1\n")).endswith("unknown key 'xyzzy'.")


def test_a_key_of_another_name_is_told_with_the_names_that_have_it(tmp_path):
    words = (
        "unknown key 'training.optimizer.learning_rate'. training.optimizer.name is ipalm, and the"
    )
    words += " key is one of adam, radam-lookahead, conditional-gradient."
    assert refusal(overrides=["training.optimizer.learning_rate=1"]) == f"--set: {words}"
    path = write(tmp_path, "training:\n  optimizer: {learning_rate: 1}\n")
    assert refusal(path) == f"{path}: {words}"
    told = refusal(settings={"defence.sigma": 0.1})
    names = "denoised, median, smoothed, stagewise"
    assert told.endswith(f"'defence.sigma'. defence.name is none, and the key is one of {names}.")


@pytest.mark.parametrize(
    "key", ["seed.x", "model.filters.x", "model.model.filters", ".seed", "seed.", ".", "a.b.c.d.e"]
)
def test_keys_are_not_taken_for_others_that_are_like_them(key):
    assert refusal(overrides=[f"{key}=1"]).startswith(f"--set: unknown key '{key}'.")
    assert refusal(settings={key: 1}).startswith(f"config.load: unknown key '{key}'.")


@pytest.mark.parametrize(
    "key", ["dtype", "trainable", "seed", "readout_oversampling", "kwargs", "strategy"]
)
def test_what_the_program_gives_is_no_key(key):
    for section in ("model", "training.optimizer", "defence", "attacks.ascent"):
        words = ["defence=smoothed", "defence.sigma=1", f"{section}.{key}=1"]
        assert f"unknown key '{section}.{key}'" in refusal(overrides=words)


def test_a_key_given_twice_is_refused(tmp_path):
    for text, words in (
        ("seed: 1\nmodel: {}\nseed: 2\n", "line 3: given more than once: seed"),
        (
            "model: {filters: 3, scale: 1, filters: 3}\n",
            "line 1: given more than once: model.filters",
        ),
        ("model: {filters: 3}\nmodel:\n  scale: 2\n", "line 2: given more than once: model"),
        (
            "attacks:\n- {name: ascent, name: antun}\n",
            "line 2: given more than once: attacks.0.name",
        ),
    ):
        assert refusal(write(tmp_path, text)) == f"{tmp_path / 'knee.yaml'}: {words}"


@pytest.mark.parametrize(
    "text", ["model.filters: 3\n", "training:\n  optimizer.name: adam\n", "'.': 1\n"]
)
def test_a_key_of_a_file_has_no_dot(tmp_path, text):
    words = (
        r"knee.yaml: line \d: a key of a section stands below the section's name, and has no dot"
    )
    with pytest.raises(ValueError, match=words):
        load(write(tmp_path, text))


# Limits


@pytest.mark.parametrize(
    "words, told",
    [
        ("model.num_stages=0", "model.num_stages must be a whole number >= 1"),
        ("model.kernel_size=1", "model.kernel_size must be a whole number >= 2"),
        ("model.grid_limit=0", "model.grid_limit must be a number > 0"),
        ("model.bandwidth=0", "model.bandwidth must be None or a number > 0"),
        ("data.height=15", "data.height must be a whole number >= 16"),
        ("sampling.fraction=1.5", "sampling.fraction must be a number > 0 and <= 1"),
        (
            "sampling.mask=random sampling.acceleration=0.5",
            "sampling.acceleration must be a number >= 1",
        ),
        (
            "training.optimizer.momentum=1",
            "training.optimizer.momentum must be a number >= 0 and < 1",
        ),
        (
            "training.optimizer.name=adam training.optimizer.learning_rate=0",
            "training.optimizer.learning_rate must be a number > 0",
        ),
        (
            "training.recipe.name=noise training.recipe.sigma=-0.1",
            "training.recipe.sigma must be a number >= 0",
        ),
        (
            "training.recipe.name=noise training.recipe.sigma=1 training.recipe.law=red",
            "training.recipe.law must be one of",
        ),
        ("training.batch_size=0", "training.batch_size must be a whole number >= 1 and <= 10000"),
        ("training.progress=x", "training.progress must be one of ('tqdm', 'addons')"),
        ("training.profile=15-11", "training.profile must be iterations such as '11-15'"),
        ("defence.name=smoothed defence.sigma=-1", "defence.sigma must be a number >= 0"),
        ("attacks.ascent.sizes=1,-1", "attacks.ascent.sizes must be a number >= 0"),
        (
            "attacks.ascent.gradient=none",
            "attacks.ascent.gradient must be one of ('full', 'initial-",
        ),
        ("attacks=antun attacks.antun.sizes=3,3", "attacks.antun.sizes must be different"),
        ("search.momentum=1", "search.momentum must be a number >= 0 and < 1"),
        ("search.method=grid", "search.method must be one of ('hyperband', 'bayesian')"),
        ("seed=-1", "seed must be a whole number >= 0"),
    ],
)
def test_a_value_outside_its_limits_is_refused_by_its_key_in_full(tmp_path, words, told):
    words = words.split()
    key, _, value = words[-1].partition("=")
    text = refusal(overrides=words)
    assert text.startswith(f"--set: {told}") and f"Received: {key}=" in text
    # The source is the one of the key, and not of the rest of the section.
    path = write(tmp_path, as_yaml(dict(word.split("=") for word in words[:-1])))
    assert refusal(path, words[-1:]) == text
    if "attacks" not in words[-1]:
        path = write(tmp_path, as_yaml(dict(word.split("=") for word in words)))
        assert refusal(path) == text.replace("--set", str(path), 1)


def test_the_limits_themselves_are_allowed():
    settings = load(
        settings={
            "seed": 0,
            "data": {"height": 16, "width": 2**14, "num_coils": 1024, "receiver_noise": 0},
            "sampling": {"mask": "random", "acceleration": 1, "center_fraction": 1},
            "model": {"num_stages": 1, "filters": 1, "kernel_size": 2, "num_centers": 2},
            "training": {"iterations": 0, "batch_size": 10**4, "checkpoint_every": 1},
            "training.optimizer": {"momentum": 0},
            "defence": {"name": "smoothed", "sigma": 0, "num_samples": 1},
            "attacks": [{"name": "ascent", "sizes": [0], "momentum": 1, "steps": 10**6}],
            "search": {"sigma": 0, "momentum": 0, "radius": 0, "validation": 10**6},
        }
    )
    settings.check_models()
    assert settings.attacks[0].sizes == [0.0] and settings.search.sigma == [0.0]
    assert load(overrides=["sampling.fraction=1"]).sampling.fraction == 1


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("model.num_stages", 2.5, "model.num_stages must be a whole number"),
        ("model.num_stages", True, "model.num_stages must be a whole number"),
        ("model.num_stages", None, "model.num_stages must be a whole number"),
        ("model.num_stages", {}, "model.num_stages must be a whole number"),
        ("model.scale", "much", "model.scale must be a finite number"),
        ("model.scale", float("nan"), "model.scale must be a finite number"),
        ("model.scale", float("inf"), "model.scale must be a finite number"),
        ("model.scale", 10**400, "model.scale must be a number < 3.4e+38"),
        ("model.scale", "1e400", "model.scale must be a finite number"),
        ("model.scale", 1j, "model.scale must be a finite number"),
        ("model.bandwidth", [1.0], "model.bandwidth must be a number or a text"),
        ("model.bandwidth", object(), "model.bandwidth must be a number or a text"),
        ("model.bandwidth", float("nan"), "model.bandwidth must be a finite number"),
        ("attacks.ascent.sizes", [], "attacks.ascent.sizes must hold at least one number"),
        ("attacks.ascent.sizes", [[1]], "attacks.ascent.sizes must be a finite number"),
        ("attacks.ascent.sizes", {1, 2}, "attacks.ascent.sizes must be a finite number"),
        ("search.filters", [8.5], "search.filters must be whole numbers"),
        ("data.readout_oversampling", 1, "data.readout_oversampling must be true or false"),
        ("data.readout_oversampling", "maybe", "data.readout_oversampling must be true or false"),
        ("data.cache_dir", True, "data.cache_dir must be a text"),
        ("data.cache_dir", ["a"], "data.cache_dir must be a text"),
        ("data.cache_dir", b"a", "data.cache_dir must be a text"),
        ("model.name", ["variational"], "model.name must be one of "),
        ("model.name", {"name": "variational"}, "unknown key 'model.name.name'"),
        ("model.name", None, "model.name must be one of "),
        ("defence", True, "defence.name must be one of none, cyclic, denoised"),
        ("attacks", 3, "attacks must be a list of names or of sections, [] for none"),
        ("attacks", {"ascent"}, "attacks must be a list of names or of sections, [] for none"),
        ("attacks", [3], f"attacks.name must be one of {NAMES}"),
        ("attacks", [["ascent"]], f"attacks.name must be one of {NAMES}"),
        ("attacks", ["ascent", None], f"attacks.name must be one of {NAMES}"),
        ("seed", [1], "seed must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(key, value, words):
    told = refusal(settings={key: value})
    assert told.startswith(f"config.load: {words}") and "\n" not in told and len(told) < 500


class _Odd:
    def __repr__(self):
        raise RuntimeError("not to be shown")


def _deep():
    found = inside = {}
    for _ in range(5000):
        inside["a"] = inside = {}
    inside["a"] = 1
    return found


def _in_itself():
    found = {}
    found["model"] = found
    return found


@pytest.mark.parametrize(
    "settings",
    [
        [("seed", 1)],
        "seed",
        3,
        _Odd(),
        {3: 4},
        {None: 1},
        {("a", "b"): 1},
        {"": 1},
        {"model": {3: 1}},
        {"model": {"filters": {"a": 1}}},
        {"seed": {}},
        {"seed": _Odd()},
        {"model.bandwidth": _Odd()},
        {"model": _Odd()},
        {"attacks": _Odd()},
        {"attacks": [_Odd()]},
        {"attacks": [{}]},
        {"attacks": [{"name": "ascent", "a": {"b": 1}}]},
        {"attacks": {0: {"steps": 3}}},
        {"x" * 10**6: 1},
        {"model." + "x" * 10**6: 1},
        {"seed": 10**5000 // 7},
        _deep(),
        _in_itself(),
    ],
    ids=str(range(24)).format,
)
def test_odd_settings_end_in_one_short_sentence(settings):
    told = refusal(settings=settings)
    assert told.startswith("config.load: ") and "\n" not in told and len(told) < 600


@pytest.mark.parametrize("place", NUMBERS, ids=[place.name for place in NUMBERS])
def test_no_number_is_larger_than_what_is_read_back(place):
    is_whole = place.key.type is int
    for value in (2**31 if is_whole else 3.5e38, 2**63 if is_whole else 1e39, 1e300, -1e39):
        with pytest.raises(ValueError, match=rf"{place.name} must be a .*Received: {place.name}="):
            load(overrides=place.words, settings={place.name: value})


def test_the_largest_seed_is_that_of_32_bits():
    assert load(overrides=["seed=2147483647"]).seed == 2**31 - 1
    words = "--set: seed must be a number < 2147483648, as it is kept in 32 bits. Received:"
    assert refusal(overrides=["seed=2147483648"]) == f"{words} seed=2147483648"


@pytest.mark.parametrize(
    "settings",
    [{"num_stages": 5000}, {"filters": 10**6}, {"kernel_size": 10**4}, {"num_centers": 10**6}],
)
def test_a_network_that_could_not_be_read_back_is_refused(tmp_path, settings):
    ((key, value),) = settings.items()
    words = "The file of a network's weights may take up to 268 MB, and this one's may need"
    with pytest.raises(ValueError, match=words):
        VariationalNetwork(**settings)
    with pytest.raises(ValueError, match=f"^--set: {words}.*model.{key}={value}"):
        load(overrides=[f"model.{key}={value}"]).check_models()
    # Of two that do not fit together either may be the wrong one.
    with pytest.raises(ValueError, match=f"knee.yaml, --set: {words}"):
        load(write(tmp_path, "model: {filters: 100}\n"), ["model.num_stages=3000"]).check_models()


@pytest.mark.parametrize("text", ["0-99999999999", "0-999999,1000001", "1-999999999999999999"])
def test_ranges_have_a_limit_that_stands_before_the_list_is_made(text):
    start = time.monotonic()
    with pytest.raises(ValueError, match="expected at most 1000000 numbers. Received: "):
        numbers(text)
    for key in RANGES:
        words = f"--set: {key} must be at most 1000000 numbers. Received: {key}="
        assert refusal(overrides=["data=vlo", f"{key}={text}"]).startswith(words)
    assert time.monotonic() - start < 2


def test_patients_times_slices_have_that_limit_too(tmp_path):
    path = write(tmp_path, "data: {format: vlo, test_patients: 0-9999, path: x}\n")
    told = refusal(path, ["data.test_slices=0-9999", "seed=1"])
    words = "data.test_slices must name at most 1000000 slices of all patients together."
    received = "Received: data.test_patients='0-9999', data.test_slices='0-9999'"
    assert told == f"{path}, --set: {words} {received}"


# What a text stands for


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", "1e-03"])
def test_yaml_writes_small_numbers_as_people_do(tmp_path, text):
    # YAML 1.1 reads 1e-3 as a string.
    path = write(tmp_path, f"training:\n  optimizer: {{name: adam, learning_rate: {text}}}\n")
    assert load(path).training.optimizer.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["1e3", "1000.0", "1000"])
def test_a_whole_number_may_be_written_with_an_exponent(tmp_path, text):
    value = load(write(tmp_path, f"training: {{iterations: {text}}}\n")).training.iterations
    assert value == 1000 and isinstance(value, int)


def test_numbers_come_in_the_type_of_their_key():
    settings = load(overrides=["model.scale=1", "attacks.ascent.sizes=[1, 2e0]"])
    assert isinstance(settings.model.scale, float)
    assert settings.attacks[0].sizes == [1.0, 2.0]
    assert all(isinstance(size, float) for size in settings.attacks[0].sizes)
    assert load(overrides=["search.filters=8.0,24"]).search.filters == [8, 24]


@pytest.mark.parametrize(
    "given, kept",
    [
        (np.int64(3), 3),
        (np.float32(2), 2),
        (np.array(4), 4),
        (3.0, 3),
    ],
)
def test_numbers_of_numpy_are_numbers(tmp_path, given, kept):
    settings = load(settings={"seed": given, "model.bandwidth": given, "model.scale": given})
    assert type(settings.seed) is int and settings.seed == kept
    assert type(settings.model.bandwidth) is type(settings.model.scale) is float
    assert load(write(tmp_path, settings.to_yaml())) == settings
    text = load(settings={"data.cache_dir": np.str_("x"), "model.name": np.str_("zero-filled")})
    assert load(write(tmp_path, text.to_yaml())) == text and text.data.cache_dir == "x"


def test_one_number_is_one_value_however_it_is_written(tmp_path):
    # A run directory would take it for another configuration.
    path = write(tmp_path, "defence: {name: smoothed, sigma: 1}\nmodel: {bandwidth: 2}\n")
    again = load(path, ["defence.sigma=1.0", "model.bandwidth=2e0"])
    assert repr(load(path).flat()) == repr(again.flat())


def test_one_size_needs_no_brackets():
    assert load(overrides=["attacks.ascent.sizes=2.5"]).attacks[0].sizes == [2.5]


def test_a_slice_number_needs_no_quotes(tmp_path):
    path = write(tmp_path, "data: {format: vlo, test_slices: 22}\n")
    assert load(path).data.test_slices == "22"
    assert load(path, settings={"data.test_slices": 7}).data.test_slices == "7"


def test_nothing_is_written_as_null(tmp_path):
    path = write(tmp_path, "model: {bandwidth: 0.3}\n")
    for text in ("null", "", "~", "None"):
        assert load(path, [f"model.bandwidth={text}"]).model.bandwidth is None
        assert load(write(tmp_path, f"model: {{bandwidth: {text}}}\n")).model.bandwidth is None
    assert "bandwidth: null" in load().to_yaml()


@pytest.mark.slow_cases
@pytest.mark.parametrize("text", WRITTEN)
def test_of_a_text_key_the_written_text_is_the_value(tmp_path, text):
    for kind, keys in TEXTS.items():
        values = with_texts(kind, text)
        for settings in (load(overrides=as_words(values)), load(write(tmp_path, as_yaml(values)))):
            flat = settings.flat()
            assert {key: flat[key] for key in keys} == dict.fromkeys(keys, text)


@pytest.mark.slow_cases
@pytest.mark.parametrize("text", [*WRITTEN, *SPECIAL])
def test_any_text_is_taken_from_the_command_line_and_survives_a_round_trip(tmp_path, text):
    quoted = "'" + text.replace("'", "''") + "'"
    for kind, keys in TEXTS.items():
        settings = load(overrides=as_words(with_texts(kind, text)))
        flat = settings.flat()
        assert all(flat.get(key, "") == text for key in keys)
        assert load(write(tmp_path, settings.to_yaml())) == settings
        if text.isprintable():
            file = as_yaml({**with_texts(kind, quoted)})
            assert load(write(tmp_path, file)) == settings


def test_every_other_text_key_has_its_words():
    texts = {key for keys in TEXTS.values() for key in keys}
    for place in PLACES:
        if place.key.type is str and place.name not in texts:
            told = refusal(overrides=[*place.words, f"{place.name}=any text"])
            assert told.startswith(f"--set: {place.name} must be "), place


@pytest.mark.parametrize(
    "text, value",
    [("010", 10), ("007", 7), ("08", 8), ("1e3", 1000), ("+5", 5), ("5.0", 5), (" 7 ", 7)],
)
def test_digits_are_decimal(tmp_path, text, value):
    assert load(overrides=[f"seed={text}"]).seed == value
    assert load(write(tmp_path, f"seed: {text}\n")).seed == value
    expected = [1.5, float(value)]
    assert load(overrides=[f"attacks.ascent.sizes=[1.5, {text}]"]).attacks[0].sizes == expected
    path = write(tmp_path, f"attacks:\n- {{name: ascent, sizes: [1.5, {text}]}}\n")
    assert load(path).attacks[0].sizes == expected


@pytest.mark.parametrize(
    "text",
    ["1_000", "12:30", "0x10", "0o17", "0b1", "2026-11-25", "yes", "null", "~", "1,5", "\u0663"],
)
def test_other_notations_are_no_numbers(tmp_path, text):
    for key in ("seed", "model.scale"):
        words = f"{key} must be a .* number, such as .* Received: {key}='{text}'"
        with pytest.raises(ValueError, match=f"--set: {words}"):
            load(None, [f"{key}={text}"])
        with pytest.raises(ValueError, match=f"knee.yaml: {words}"):
            load(write(tmp_path, as_yaml({key: text})))


@pytest.mark.parametrize(
    "text, value",
    [("true", True), ("YES", True), ("on", True), ("False", False), ("no", False), ("off", False)],
)
def test_a_switch_is_on_or_off(tmp_path, text, value):
    key = "training.optimizer.stagewise"
    assert load(overrides=[f"{key}={text}"]).training.optimizer.stagewise is value
    assert load(write(tmp_path, as_yaml({key: text}))).training.optimizer.stagewise is value


def test_patients_with_leading_zeros_are_the_patients_that_are_written(tmp_path):
    for text, expected in (("010", [10]), ("008-010", [8, 9, 10]), ("01, 07", [1, 7])):
        path = write(tmp_path, f"data:\n  format: vlo\n  test_patients: {text}\n")
        assert numbers(load(path).data.test_patients) == expected
        words = ["data=vlo", f"data.test_patients={text}"]
        assert numbers(load(overrides=words).data.test_patients) == expected


@pytest.mark.parametrize(
    "text", ["1:3", "1_0", "0x10", "2026-11-25", "1e1", "10.0", "null", "~", "", "all"]
)
def test_slices_in_other_notations_are_refused_before_any_work(tmp_path, text):
    path = write(tmp_path, f"data:\n  format: vlo\n  test_slices: {text}\n")
    words = "data.test_slices must be slices such as '11-30' or '22'. Received: data.test_slices="
    assert refusal(path) == f"{path}: {words}'{text}'"


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
    with pytest.raises(ValueError, match=r"knee.yaml: line 3.* in quotes"):
        load(write(tmp_path, f"seed: 1\nmodel:\n  file: {text}\n"))
    assert load(write(tmp_path, f"seed: 1\nmodel:\n  file: '{text}'\n")).model.file == text


def test_comments_are_comments(tmp_path):
    text = "data: #x\n  cache_dir: a b # c\nmodel: {file: 'a' #b\n  }\nseed: 3 #noise\n# d\n"
    settings = load(write(tmp_path, text))
    assert (settings.data.cache_dir, settings.model.file, settings.seed) == ("a b", "a", 3)
    text = "training: {recipe: {name: noise, sigma: 0.1 #x\n  }}\n"
    assert load(write(tmp_path, text)).training.recipe.sigma == 0.1
    told = refusal(write(tmp_path, "attacks:\n- {name: ascent, norm: l2 #x\n  }\n"))
    assert "line 2: is '#x' part of attacks.ascent.norm or a comment?" in told


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x1b[1m", "a\tb", "\x85", "\u2028", "\udc80"])
def test_texts_that_tables_and_files_cannot_hold_are_refused(text):
    words = "--set: model.file must be one line of text .* Received: model.file="
    with pytest.raises(ValueError, match=words):
        load(overrides=[f"model.file={text}"])


# Where a value is said


def test_overrides_win_over_the_file_and_settings_over_both(tmp_path):
    path = write(tmp_path, "seed: 1\nmodel: {filters: 12, scale: 2}\n")
    settings = load(path, ["model.filters=3", "model.scale=3"], {"model": {"scale": np.int64(4)}})
    assert (settings.seed, settings.model.filters, settings.model.scale) == (1, 3, 4.0)


def test_the_last_override_wins():
    assert load(overrides=["seed=1", "seed=2"]).seed == 2
    assert load(overrides=["sampling=random", "sampling=constant"]).sampling.name == "constant"


def test_an_override_may_hold_an_equals_sign_and_blanks():
    settings = load(overrides=["model.file=/a=b", " data.cache_dir = x"])
    assert (settings.model.file, settings.data.cache_dir) == ("/a=b", " x")


def test_an_empty_override_empties_a_text():
    settings = load(overrides=["data=vlo", "data.protocol="])
    assert settings.data.protocol == ""


def test_keys_in_python_are_nested_or_dotted():
    flat = {"model.filters": 4, "training.optimizer.name": "adam", "attacks.ascent.steps": 3}
    nested = {
        "model": {"filters": 4},
        "training": {"optimizer": {"name": "adam"}},
        "attacks": {"ascent": {"steps": 3}},
    }
    assert load(settings=flat) == load(settings=nested)
    assert load(settings={"training": {"optimizer.name": "adam"}}).training.optimizer.name == "adam"
    assert load(settings={}) == load()


def test_paths_are_texts(tmp_path):
    assert load(settings={"model.file": tmp_path / "a.keras"}).model.file == str(
        tmp_path / "a.keras"
    )
    assert load(settings={"model.file": None}) == load()


def test_a_wrong_value_is_blamed_on_where_it_stands(tmp_path):
    right, wrong = write(tmp_path, "seed: 3\n"), tmp_path / "wrong.yaml"
    wrong.write_text("seed: abc\n")
    for arguments, given, source in (
        ((right, ["seed=abc"]), None, "--set"),
        ((None, ["seed=abc"]), None, "--set"),
        ((wrong, ["model.filters=3"]), None, str(wrong)),
        ((right, ["model.filters=3"]), {"seed": "abc"}, "config.load"),
    ):
        told = refusal(*arguments, settings=given)
        assert told == f"{source}: seed must be a whole number, such as 10. Received: seed='abc'"


def test_a_value_that_another_place_corrects_is_told_all_the_same(tmp_path):
    # Of its type; its limits are those of the class that is made in the end.
    assert "seed='abc'" in refusal(write(tmp_path, "seed: abc\n"), ["seed=2"])
    assert load(write(tmp_path, "model: {filters: 0}\n"), ["model.filters=2"]).model.filters == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ({"seed": 1},),
            "config.load: expected the path of a YAML file. Received: path=a dict of seed",
        ),
        (
            (None, "seed=1"),
            "--set: expected a list of texts such as ['defence.sigma=0.05']. Received: ",
        ),
        ((None, [("seed", 1)]), "--set: expected a list of texts"),
        ((None, None), "--set: expected a list of texts"),
        ((None, ["=3"]), "--set: an override has the form key=value. Received: '=3'"),
        ((None, ["seed"]), "--set: an override has the form key=value. Received: 'seed'"),
        ((None, ["seed="]), "--set: seed must be a whole number, such as 10. Received: seed=''"),
        (
            (None, (), [("seed", 1)]),
            "config.load: expected a mapping of keys. Received: settings=[(",
        ),
    ],
)
def test_slips_in_calls_are_told(arguments, words):
    assert refusal(*arguments).startswith(words)


# Files


def test_an_empty_file_gives_the_defaults(tmp_path):
    for text in ("", "# nothing\n", "{}\n"):
        assert load(write(tmp_path, text)) == load()


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n- 2\n",
        "just words\n",
        "a: [1\n",
        "seed: 1\n  model: 3\n",
        "model: {filters: {a: {b: 1}}}\n",
        "model: [{name: variational}]\n",
        "seed: {a: 1}\n",
        "seed: {}\n",
        "? [a]\n: 1\n",
        "model: {? {a: b} : 1}\n",
        "? seed\n",
        "~: 1\n",
        "model: {1: 2}\n",
    ],
)
def test_a_file_that_is_no_mapping_of_sections_is_refused_by_its_name(tmp_path, text):
    told = refusal(write(tmp_path, text))
    assert told.startswith(f"{tmp_path / 'knee.yaml'}: ") and "\n" not in told


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the configuration .*none.yaml"):
        load(tmp_path / "none.yaml")


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(
        ValueError, match="cannot read the configuration .*: it is a folder. Name a YAML file"
    ):
        load(tmp_path)


# Texts that are multiplied by nine a line.
_MULTIPLIED = "seed: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"k{n}: &{'bcdefghi'[n]} [{','.join(['*' + 'abcdefgh'[n]] * 9)}]\n" for n in range(8)
)
_ODD_FILES = {
    "binary": (
        b"\x89HDF\r\n\x1a\n",
        "expected a text file in UTF-8. Received: other bytes, at position 0",
    ),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "expected a text file in UTF-8"),
    "zero": (b"seed: \0\n", "expected a text file. Received: a control character, at position 6"),
    "brackets": (b"[" * 50000, "expected lines of 'key: value'. Received: one inside the other"),
    "braces": (
        b"seed: " + b"{a: " * 20000,
        "expected lines of 'key: value'. Received: one inside the other",
    ),
    "large": (
        b"a" * 2**20,
        "expected a configuration of at most 131072 bytes. Received: a larger file",
    ),
    "twice": (b"seed: 1\n" * 10000, "line 2: given more than once: seed"),
    "list": (b"- model\n- seed\n", "expected lines of 'key: value'. Received: a list"),
    "no blank": (b"seed:1\n", "expected lines of 'key: value'. Received: 'seed:1'"),
    "two documents": (
        b"seed: 1\n---\nseed: 1\n",
        "line 2 is no YAML: expected a single document",
    ),
    "key of a list": (b"? [a]\n: 1\n", "line 1: a key is a text. Received: a list or a section"),
    "merge": (b"<<: {seed: 1}\n", "unknown key '<<.seed'"),
    "object": (
        b"seed: !!python/object/apply:os.system [ls]\n",
        r"put a text that begins with &, \* or ! in quotes",
    ),
    "tagged section": (
        b"model: !x {filters: 3}\n",
        r"line 1: put a text that begins with &, \* or",
    ),
    "aliases": (_MULTIPLIED.encode(), r"line 1: put a text that begins with &, \* or ! in quotes"),
    "long value": (b"seed: [" + b"x," * 40000 + b"x]\n", "seed must be a whole number"),
    "long key": (b"x" * 50000 + b": 1\n", "is no YAML|unknown key"),
    "many keys": (b"".join(b"k%d: 1\n" % n for n in range(9999)), "unknown key 'k0'"),
}


@pytest.mark.slow_cases
@pytest.mark.parametrize("content, words", _ODD_FILES.values(), ids=_ODD_FILES)
def test_odd_files_end_in_one_short_sentence_at_once(tmp_path, content, words):
    path = tmp_path / "knee.yaml"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"knee.yaml: .*{words}") as found:
        load(path)
    assert time.monotonic() - start < 5
    assert len(str(found.value)) < 600 and "\n" not in str(found.value)


def test_a_file_that_notepad_wrote_is_read(tmp_path):
    path = tmp_path / "knee.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 1\r\nmodel:\r\n  file: x\r\n")
    assert (load(path).seed, load(path).model.file) == (1, "x")


# Back to YAML, to keys and to other configurations


@pytest.mark.slow_cases
@pytest.mark.parametrize("place", PLACES, ids=IDS)
def test_the_default_as_it_is_told_is_the_default(place):
    if place.key.default is REQUIRED:
        assert place.key.written == ""
        return
    settings = load(overrides=place.words)
    assert load(overrides=[*place.words, f"{place.name}={place.key.written}"]) == settings


def test_yaml_survives_a_round_trip(tmp_path):
    words = [
        "data=vlo",
        "data.readout_oversampling=true",
        "data.test_slices=22",
        "data.path=a b",
        "training.optimizer=adam",
        "training.recipe=noise",
        "training.recipe.sigma=0.05",
        "defence=smoothed",
        "defence.sigma=0.05",
        "attacks=antun,ascent",
        "attacks.ascent.sizes=[1, 2]",
    ]
    changed = load(overrides=words)
    assert load(write(tmp_path, changed.to_yaml())) == changed
    # What YAML itself makes of it means the same: other programs may read it.
    read = yaml.safe_load(changed.to_yaml())
    assert read == changed.tree() and load(settings=read) == changed
    assert list(read) == ["seed", *SECTIONS]


def test_any_number_survives_a_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(5):
        values = {}
        for key in ("scale", "initial_scale", "bandwidth"):
            values[f"model.{key}"] = float(10 ** rng.uniform(-8, 9))
        for key in ("iterations", "checkpoint_every", "time_budget"):
            values[f"training.{key}"] = int(10 ** rng.uniform(0, 9))
        values["training.optimizer.initial_lipschitz"] = float(10 ** rng.uniform(-3, 12))
        values["attacks.ascent.sizes"] = [1e-7, float(10 ** rng.uniform(-7, 8))]
        values.update({"model.num_stages": 1, "model.filters": 2, "model.num_centers": 3})
        settings = load(settings=values)
        assert {key: settings.flat()[key] for key in values} == values
        assert load(write(tmp_path, settings.to_yaml())) == settings
        assert load(overrides=as_words(settings.flat())) == settings


def test_flat_keys_are_those_that_can_be_set():
    words = ["data=vlo", "attacks=antun,ascent", "defence=smoothed", "defence.sigma=0.1"]
    settings = load(overrides=[*words, "training.optimizer=adam", "attacks.antun.sizes=3"])
    flat = settings.flat()
    assert flat["attacks"] == ["antun", "ascent"] and flat["attacks.antun.sizes"] == [3]
    assert flat["defence.name"] == "smoothed" and flat["seed"] == 0
    assert flat["training.optimizer.name"] == "adam"
    assert load(settings=flat) == settings == load().changed(flat)
    known = {place.name for place in PLACES}
    names = {"attacks", "data.format", "sampling.mask", "model.name", "defence.name"}
    names |= {"training.optimizer.name", "training.recipe.name", "data.maps.method"}
    assert set(flat) <= known | names


def test_changed_makes_another_configuration():
    settings = load(settings={"model.filters": 3, "attacks.ascent.steps": 4})
    other = settings.changed({"model.num_stages": 2, "defence": {"name": "smoothed", "sigma": 1}})
    assert (other.model.filters, other.model.num_stages, other.attacks[0].steps) == (3, 2, 4)
    assert (settings.defence.name, other.defence.name) == ("none", "smoothed")
    assert settings.model.num_stages == 10 and settings != other
    assert other.changed({}) == other and other.changed({"defence": "none"}).defence.settings == {}
    with pytest.raises(ValueError, match="^config.changed: unknown key 'model.filter'. Did you"):
        settings.changed({"model.filter": 1})


def test_a_configuration_is_not_changed():
    settings = load()
    for whole, key, told in (
        (settings, "seed", "'seed': 1"),
        (settings.model, "filters", "'model.filters': 1"),
        (settings.training.optimizer, "momentum", "'training.optimizer.momentum': 1"),
    ):
        with pytest.raises(AttributeError) as found:
            setattr(whole, key, 1)
        words = "a configuration is not changed. Make another one: config.changed({"
        assert str(found.value) == f"{words}{told}}})"
    assert settings == load()
    assert copy.deepcopy(settings) == copy.copy(settings) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_what_a_section_stands_for_is_made_with_what_the_program_gives():
    settings = load(overrides=["model.num_stages=1", "model.filters=2", "sampling=measured"])
    network = settings.model.make(seed=5, readout_oversampling=True, unknown=1)
    assert isinstance(network, VariationalNetwork)
    made_with = {"num_stages": 1, "filters": 2, "seed": 5, "readout_oversampling": True}
    assert made_with.items() <= network.get_config().items()
    assert settings.dataset is settings.dataset and settings.dataset.mask is not None
    assert settings.defended(network) is network
    defended = settings.changed({"defence": {"name": "smoothed", "sigma": 0.1}, "seed": 3})
    assert (defended.defended(network).sigma, defended.defended(network).seed) == (0.1, 3)
    (attack,) = settings.attacks
    assert attack.make(seed=4).seed == 4


def test_a_part_says_what_it_is():
    settings = load(overrides=["training.recipe=noise", "training.recipe.sigma=0.5"])
    part = settings.training
    assert part.recipe.sigma == 0.5 and part.iterations == 1000
    assert "'training.recipe.sigma': 0.5" in repr(part) and "Config({" in repr(settings)
    assert part == load(settings=settings.tree()).training != load().training
    with pytest.raises(AttributeError, match="training has no setting 'iteration'"):
        _ = part.iteration
    with pytest.raises(TypeError, match="unhashable"):
        hash(settings)


# What keys there are


@pytest.mark.parametrize("place", PLACES, ids=IDS)
def test_every_key_is_described(place):
    assert place.key.meaning and "\n" not in place.key.meaning


class _Example:
    """An example.

    Args:
        first, second: numbers, which
            go on.
        third: a text.

    Raises:
        ValueError: never: it is none of them.
    """

    def __init__(self, first, second=2.0, *, third="a", dtype=None, given=None, **kwargs):
        pass


def test_keys_are_the_keyword_arguments_and_their_texts():
    assert keys_of(_Example, ("given",)) == {
        "first": Key("first", REQUIRED, "numbers, which go on."),
        "second": Key("second", 2.0, "numbers, which go on."),
        "third": Key("third", "a", "a text."),
    }
    kinds = {key.name: key.type for key in keys_of(_Example).values()}
    assert kinds == {"first": None, "second": float, "third": str, "given": None}


def test_a_section_of_a_new_class_is_read_by_its_constructor():
    section = Section("extra", "an example", {"one": _Example}, "name", "none", given=("given",))
    found = drafts.Drafts({"extra": section})
    path = ("extra", "first")
    found.take([drafts.Assigned(("extra",), "one", "x"), drafts.Assigned(path, "3", "x", True)])
    part = found.parts()["extra"]
    assert part.flat() == {
        "extra.name": "one",
        "extra.first": 3.0,
        "extra.second": 2.0,
        "extra.third": "a",
    }
    assert isinstance(part.make(given=1, other=2), _Example)


def test_the_command_lists_all_keys_with_their_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["keys"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("seed: ") and "\n  seed=0\n" in text
    for section in SECTIONS.values():
        for inner in (section, *section.inside.values()):
            assert f"{section.place}: {section.meaning}\n" in text
            for group in inner.groups():
                for key in group.keys:
                    told = f"{key.name}={key.written}"
                    if key.default is REQUIRED:
                        told = f"{key.name} (must be given)"
                    assert re.search(rf"\s{re.escape(told)}\s", text), told
    for told in (
        "data.format=synthetic (default) height=640",
        "training.optimizer.name=adam learning_rate=0.001",
        "defence.name=smoothed sigma (must be given)",
        "attacks.antun sizes=25",
        "model.name=zero-filled\n",
    ):
        assert told in text


@pytest.mark.parametrize("name", SECTIONS)
def test_the_command_says_what_the_keys_of_a_section_mean(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["keys", name]) == 0
    text = capsys.readouterr().out
    told = " ".join(text.split())
    section = SECTIONS[name]
    assert text.startswith(f"{name}: {section.meaning}\n")
    for inner in (section, *section.inside.values()):
        for chosen in inner.names():
            for key in inner.keys(chosen).values():
                assert re.search(rf"^  {key.name} ", text, re.M), key.name
                assert " ".join(key.meaning.split()) in told
    for other in SECTIONS.values():
        assert other.place == name or f"{other.place}: {other.meaning}" not in text


@pytest.mark.parametrize("columns", [20, 60, 80, 132])
def test_lists_of_keys_fit_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ([], *([name] for name in SECTIONS)):
        assert main(["keys", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < max(columns, 60)


def test_the_command_tells_the_sections_where_there_is_none_of_a_name(capsys):
    assert main(["keys", "network"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: the sections are {', '.join(SECTIONS)}. Received: 'network'")


# Numbers in ranges, and files of texts


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


def test_entries_of_a_file_are_texts_with_the_keys_that_lead_to_them(tmp_path):
    path = write(tmp_path, "a: 010\nb: {c: no, d: {e: [1, 2]}}\nf:\n- {g: x}\n- h #i\nj: {}\n")
    assert [(entry.path, entry.value) for entry in yaml_text.read(path)] == [
        (("a",), "010"),
        (("b", "c"), "no"),
        (("b", "d", "e"), ["1", "2"]),
        (("f", 0, "g"), "x"),
        (("f", 1), "h"),
        (("j",), {}),
    ]
    assert [entry.comment for entry in yaml_text.read(path)] == ["", "", "", "", "#i", ""]


@pytest.mark.parametrize("text", [*WRITTEN, *SPECIAL])
def test_texts_are_written_as_they_are_read(tmp_path, text):
    path = write(tmp_path, yaml_text.written({"a": {"b": text, "c": [text]}}, only_texts=True))
    assert [entry.value for entry in yaml_text.read(path)] == [text, [text]]


def test_a_file_of_a_network_and_what_it_tells_are_not_said_in_one_place(tmp_path):
    both = write(tmp_path, "model: {filters: 3, file: vn.keras}\n")
    told = "model.file is given, and it tells what model.filters says. Leave out one of the two."
    assert refusal(both) == f"{both}: {told}"
    # Nor is more said over it.
    alone = write(tmp_path, "model: {file: vn.keras}\n")
    assert refusal(alone, ["model.filters=3"]) == f"--set: {told}"
    # Over the configuration of another run it is given alone.
    own = write(tmp_path, "model: {name: variational, filters: 3}\n")
    assert load(own, ["model.file=vn.keras"]).model.file == "vn.keras"
    assert load(own).changed({"model.file": "vn.keras"}).model.name == ""
