"""Keys of the first edition, without sections: one error says how they are written now."""

import shlex

import pytest

from tfvn import drafts
from tfvn.config import SECTIONS, load
from tfvn.first_edition import OLD_KEYS

# What else is said where an old key has a meaning beside another alone.
BESIDE = {
    "dataset=vlo": """
        data_path protocol train_patients train_slices test_patients test_slices padding_lines
    """,
    "dataset=measurement": """
        data_array sensitivity_path sensitivity_array calibration_lines maps_from coil_axis
        transpose slice_index
    """,
    "mask=equispaced": "acceleration center_fraction",
    "mask=random": "mask_seed",
    "mask=file": "mask_path mask_array",
    "optimizer=adam": "learning_rate learning_rate_schedule",
    "sigma=0.1": "noise num_samples chunk_size model",
    "attack_method=antun": """
        antun_steps antun_step_size antun_penalty antun_start_scale antun_reference antun_region
    """,
}
# Other values than the defaults. That of all other keys is 30.
VALUES = {
    "dataset": "vlo",
    "data_path": "a b: #c",
    "protocol": "010",
    "train_patients": "1-3",
    "train_slices": "4",
    "padding_lines": "unmeasured",
    "maps_from": "fully-sampled",
    "coil_axis": "1",
    "transpose": "true",
    "readout_oversampling": "yes",
    "mask": "random",
    "mask_fraction": "0.5",
    "center_fraction": "0.5",
    "model": "the network.keras",
    "optimizer": "adam",
    "stagewise": "on",
    "momentum": "0.3",
    "learning_rate_schedule": "cosine",
    "profile": "3-4",
    "progress": "addons",
    "sigma": "0.1",
    "noise": "uniform",
    "tune_momentum": "0.5",
    "tune_method": "bayesian",
    "attack_method": "projected",
    "attack_norm": "l1",
    "attack_momentum": "0.2",
    "attack_gradient": "initial-image",
    "attack_noise": "fixed",
    "antun_reference": "truth",
    "antun_region": "true",
}
# The value in Python of a text that is no number.
IN_PYTHON = {"true": True, "yes": True, "on": True, "projected": ["ascent"]}


def write(tmp_path, text):
    path = tmp_path / "knee.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(*arguments, **keywords):
    """The error in which `load` refuses something."""
    with pytest.raises(ValueError) as found:
        load(*arguments, **keywords)
    return str(found.value)


def as_words(values):
    return [f"{key}={value}" for key, value in values.items()]


def anew(told):
    return told.partition(" These keys, written anew:")[2]


def with_others(key):
    """An old key and what gives it a meaning, with values."""
    values = {}
    for other, keys in BESIDE.items():
        if key in keys.split():
            name, _, value = other.partition("=")
            values[name] = value
    values[key] = VALUES.get(key, "30")
    return values


@pytest.mark.parametrize("key", OLD_KEYS)
def test_what_is_said_to_be_written_now_is_read_and_means_the_same(tmp_path, key):
    values = with_others(key)
    told = refusal(overrides=as_words(values))
    assert told.startswith("--set: the keys of a configuration stand in sections now, see docs/")
    expected = load(overrides=shlex.split(anew(told)))
    written = IN_PYTHON.get(values[key], values[key])
    for place in OLD_KEYS[key]:
        place = place.replace("attacks.ascent", f"attacks.{expected.attacks[0].name}")
        kept = expected.flat()[place]
        if isinstance(kept, list) and key != "attack_method":
            kept = kept[0]
        if isinstance(kept, (int, float)) and not isinstance(kept, bool):
            written = float(written)
        assert kept == written
    # A file and Python say the same.
    quoted = {name: f"'{value}'" for name, value in values.items()}
    path = write(tmp_path, "".join(f"{name}: {text}\n" for name, text in quoted.items()))
    told = refusal(path)
    assert told.startswith(f"{path}: the keys of a configuration stand in sections now, see docs/")
    assert "Nothing used" not in told
    assert load(write(tmp_path, anew(told))) == expected
    told = refusal(settings=values)
    assert told.startswith("config.load: ") and load(overrides=shlex.split(anew(told))) == expected


def test_every_place_of_an_old_key_is_a_key():
    known = {"attacks", *drafts.all_keys(SECTIONS)}
    for places in OLD_KEYS.values():
        assert set(places) <= known


WHOLE = """\
dataset: synthetic
data_path: ''
protocol: coronal_pd_fs
train_patients: 1-10
padding_lines: measured
data_array: ''
coil_axis: -1
readout_oversampling: true
cache_dir: ''
height: 32
num_test: 2
mask: constant
mask_fraction: 0.2
acceleration: 4.0
mask_seed: 0
model: ''
num_stages: 2
filters: 4
bandwidth: 0.0
optimizer: ipalm
momentum: 0.5
learning_rate: 0.001
learning_rate_schedule: constant
sigma: {sigma}
noise: laplace
seed: 7
tune_sigma: [0.0, 0.1]
num_samples: 3
chunk_size: 0
attack_method: {method}
attack_norm: l1
attack_radii: [0.5, 1.0]
attack_momentum: 0.8
antun_steps: [25]
antun_region: true
"""


@pytest.mark.parametrize("sigma", ["0.0", "0.05"])
@pytest.mark.parametrize("method", ["projected", "antun"])
def test_a_whole_file_of_the_first_edition_means_what_it_meant(tmp_path, sigma, method):
    told = refusal(write(tmp_path, WHOLE.format(sigma=sigma, method=method)))
    settings = load(write(tmp_path, anew(told)))
    expected = {
        "seed": 7,
        "data": {"format": "synthetic", "readout_oversampling": True, "height": 32, "num_test": 2},
        "sampling": {"mask": "constant", "fraction": 0.2},
        "model": {"num_stages": 2, "filters": 4},
        "training": {"optimizer": {"name": "ipalm", "momentum": 0.5}},
        "search": {"sigma": [0.0, 0.1]},
    }
    unused = "data_path, protocol, train_patients, padding_lines, data_array, coil_axis,"
    unused += " acceleration, mask_seed, learning_rate, learning_rate_schedule"
    if sigma == "0.0":
        unused += ", noise, num_samples, chunk_size"
    else:
        expected["training"]["recipe"] = {"name": "noise", "sigma": 0.05, "law": "laplace"}
        expected["defence"] = {
            "name": "smoothed",
            "sigma": 0.05,
            "num_samples": 3,
            "law": "laplace",
        }
    if method == "antun":
        unused += ", attack_norm, attack_radii"
        expected["attacks"] = [{"name": "antun", "sizes": [25], "region": True, "momentum": 0.8}]
    else:
        unused += ", antun_steps, antun_region"
        sizes = [0.5, 1.0]
        expected["attacks"] = [{"name": "ascent", "norm": "l1", "sizes": sizes, "momentum": 0.8}]
    assert settings == load(settings=expected)
    assert f". Nothing used {unused}. These keys, written anew:" in told


def test_beside_the_file_of_a_network_nothing_used_what_it_tells(tmp_path):
    text = "model: vn.keras\nnum_stages: 3\nfilters: 8\niterations: 5\nbandwidth: 0.0\n"
    told = refusal(write(tmp_path, text))
    assert ". Nothing used num_stages, filters, bandwidth. These keys, written anew:" in told
    settings = load(write(tmp_path, anew(told)))
    assert settings == load(settings={"model.file": "vn.keras", "training.iterations": 5})


@pytest.mark.parametrize(
    "words, expected",
    [
        (
            "sigma=0.1",
            "training.recipe=noise defence=smoothed training.recipe.sigma=0.1 defence.sigma=0.1",
        ),
        ("sigma=0", "training.recipe=clean defence=none"),
        ("num_samples=27", "defence.num_samples=27"),
        ("noise=uniform", "training.recipe.law=uniform defence.law=uniform"),
        ("learning_rate=0.1", "training.optimizer.learning_rate=0.1"),
        ("optimizer=adam iterations=3", "training.optimizer=adam training.iterations=3"),
        ("data_path=/knee", "data.path=/knee"),
        ("dataset=vlo data_path='/the knee'", "data.format=vlo 'data.path=/the knee'"),
        ("mask=random", "sampling.mask=random"),
        (
            "model=vn.keras seed=3 sigma=0",
            "seed=3 model.file=vn.keras training.recipe=clean defence=none",
        ),
        ("bandwidth=0", "model.bandwidth=null"),
        ("attack_radii=1,2 attack_steps=3", "attacks.ascent.sizes=1,2 attacks.ascent.steps=3"),
        (
            "antun_steps=3 attack_method=antun attack_momentum=0",
            "attacks=antun attacks.antun.sizes=3 attacks.antun.momentum=0",
        ),
        ("attack_method=projected", "attacks=ascent"),
        ("tune_trials=3", "search.trials=3"),
    ],
)
def test_old_words_are_told_as_words(words, expected):
    told = refusal(overrides=shlex.split(words))
    assert told.startswith("--set: the keys of a configuration stand in sections now, see docs/")
    found = shlex.split(anew(told))
    assert sorted(found) == sorted(shlex.split(expected))
    assert "\n" not in told


@pytest.mark.parametrize(
    "text",
    ["sigma: [1]\n", "attack_method: [a]\n", "attack_method:\n", "sigma: {}\n", "noise: ''\n"],
)
def test_odd_values_of_old_keys_are_told_too(tmp_path, text):
    assert "the keys of a configuration stand in sections now" in refusal(write(tmp_path, text))


def test_new_keys_are_not_taken_for_old_ones(tmp_path):
    assert load(write(tmp_path, "seed: 1\nmodel: zero-filled\n")).model.name == "zero-filled"
    assert "stand in sections now" not in refusal(overrides=["model=x.keras"])
    assert "stand in sections now" not in refusal(overrides=["model.sigma=x"])
