"""The models that a run stands for: any class of models, under any class of attacks."""

import json
import os

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn import attacks, models
from tfvn.attacks import Attack, AttackResult, Start, of
from tfvn.config import load
from tfvn.data import SyntheticKnee
from tfvn.models import Reconstructor, VariationalNetwork, ZeroFilled, load_model
from tfvn.runs import attack_files, directory
from tfvn.runs import models as run_models
from tfvn.runs.attack import attack_run
from tfvn.runs.models import model_hash, models_of, network_of, with_readout_oversampling
from tfvn.runs.train import build_network


@keras.utils.register_keras_serializable(package="test_run_models")
class FromKspace(Reconstructor):
    """The image of a measured k-space, times a weight."""

    reads = "kspace"

    def __init__(self, readout_oversampling=False, **kwargs):
        super().__init__(readout_oversampling, **kwargs)
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.built = True

    def call(self, inputs):
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        image = self.sense.adjoint(inputs["kspace"], maps, mask)
        return tf.cast(tf.convert_to_tensor(self.factor), image.dtype) * image

    def get_config(self):
        return super().get_config()


@keras.utils.register_keras_serializable(package="test_run_models")
class OtherFromKspace(FromKspace):
    """Another class with the same settings and weights."""

    def get_config(self):
        return super().get_config()


class Constant(Attack):
    """The same number at every pixel; each rung adds to the one before."""

    name = "constant"
    sizes = (1, 3)
    size_name = "steps"
    size_type = int
    continued_from = ("perturbation",)

    def __init__(self, step=0.5):
        self.step = step

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        before = 0 if start is None else start.perturbation
        done = 0 if start is None else start.size
        image = model.sense.adjoint(
            *(inputs[key] for key in ("kspace", "sensitivity_maps", "mask"))
        )
        r = before + tf.cast(self.step * (size - done), image.dtype) * tf.ones_like(image)
        answer = model.reconstruct(inputs)
        return AttackResult(r, answer, tf.ones([1]), tf.ones([1, size - done + 1, 1]))

    def start_from(self, arrays, size):
        return Start(arrays["perturbation"][None], size=size)


ASCENT = {"name": "ascent", "steps": 2, "sizes": [1.0]}


def smoothing(sigma):
    """The section of a defence of two draws, or of none."""
    if not sigma:
        return {"name": "none"}
    return {"name": "smoothed", "sigma": sigma, "num_samples": 2}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that attacks a given model in a new run directory, and returns that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(models.MODELS, "from-kspace", FromKspace)
    np.save("scan.npy", SyntheticKnee(1, 32, 24, 2, None, 0.001, 7)[0].kspace)

    def attacked(model, **settings):
        model.save("model.keras")
        config = load(
            settings={
                "data": {
                    "format": "measurement",
                    "path": "scan.npy",
                    "maps_from": "fully-sampled",
                },
                "sampling.mask": "equispaced",
                "model.file": "model.keras",
                "attacks": [ASCENT],
                **settings,
            }
        )
        attack_run(str(tmp_path / "run"), config)
        return str(tmp_path / "run")

    return attacked


def test_a_run_without_a_network_says_what_to_do(tmp_path):
    config = directory.open_run(tmp_path, "configs/smoke.yaml")
    with pytest.raises(ValueError, match="Run train.py"):
        network_of(tmp_path, config)


def test_initial_weights_are_those_of_a_network_of_the_same_class(tmp_path):
    path = str(tmp_path / "other.keras")
    ZeroFilled().save(path)
    with pytest.raises(ValueError, match="VariationalNetwork. Received: .*keras, of a ZeroFilled"):
        build_network(load(settings={"model.num_stages": 1, "training.initial_weights": path}))


def test_devices_share_the_draws_of_a_model_that_makes_some(monkeypatch):
    monkeypatch.setattr(run_models, "network_of", lambda *_: ZeroFilled())
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    found = models_of("run", load(settings={"defence": smoothing(0.1)}), strategy)
    assert found.predictor.strategy is strategy
    other = found.with_draws(7).predictor
    assert other.draws == 7 and other.strategy is strategy
    assert found.with_draws(0) is found
    with pytest.raises(ValueError, match="--strategy shares the draws .* run has none"):
        models_of("run", load(settings={"defence": smoothing(0.0)}), strategy)


@pytest.mark.slow_cases
@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("cls", [ZeroFilled, FromKspace])
def test_any_model_can_be_attacked_and_smoothed(run, cls, sigma):
    run_dir = run(cls(), defence=smoothing(sigma))
    with h5py.File(attack_files.attack_path(run_dir, 1.0, 0)) as file:
        assert 0.9 < np.linalg.norm(file["perturbation"][()]) <= 1
        assert file.attrs["model_hash"] == model_hash(cls())
        settings = json.loads(file.attrs["settings"])
    defence = {key: value for key, value in settings.items() if key.startswith("defence.")}
    expected = {}
    if sigma:
        own = {"name": "Smoothed", "sigma": 0.1, "num_samples": 2, "law": "gaussian"}
        expected = {f"defence.{key}": value for key, value in own.items()}
    assert defence == expected


@pytest.mark.slow
def test_an_attack_may_see_other_draws_than_the_defence_makes(run):
    ascent = {**ASCENT, "num_samples": 3}
    run_dir = run(ZeroFilled(), defence=smoothing(0.1), attacks=[ascent])
    found = attack_files.read_attack(attack_files.attack_path(run_dir, 1.0, 0))
    assert found["settings"]["defence.num_samples"] == 3


@pytest.mark.slow
def test_a_run_is_attacked_with_all_that_is_configured(run, capsys):
    l1 = {**ASCENT, "norm": "l1", "sizes": [4.0, 2.0]}
    penalised = {"name": "antun", "sizes": [1, 2]}
    run_dir = run(ZeroFilled(), attacks=[penalised, l1, ASCENT])
    made = [("l2", 1.0), ("l1", 2.0), ("l1", 4.0), ("antun", 1), ("antun", 2)]
    assert attack_files.attacks_of(run_dir) == made
    told = [line for line in capsys.readouterr().out.splitlines() if "; wrote " in line]
    names = ["antun 1 steps", "antun 2 steps", "l1 radius 4", "l1 radius 2", "l2 radius 1"]
    assert [line.partition(":")[0] for line in told] == names
    for kind, size in made:
        folder = of(kind).folder(size)
        assert len(os.listdir(os.path.join(run_dir, "logs", "attack", folder))) == 2


def test_a_run_without_attacks_is_told_what_to_do(run):
    with pytest.raises(ValueError, match="attacks must name at least one.*attacks=ascent,antun"):
        run(ZeroFilled(), attacks=[])


def test_an_attack_of_any_class_goes_on_from_its_sizes(run, monkeypatch, capsys):
    monkeypatch.setitem(attacks.ATTACKS, "constant", Constant)
    run_dir = run(ZeroFilled(), attacks=[{"name": "constant", "step": 0.25}])
    assert attack_files.attacks_of(run_dir) == [("constant", 1), ("constant", 3)]
    for size in Constant.sizes:
        path = attack_files.attack_path(run_dir, size, 0, "constant")
        found = attack_files.read_attack(path, attack=("constant", size))
        np.testing.assert_array_equal(found["perturbation"], np.full((32, 24), 0.25 * size))
        assert found["steps"] == size and found["settings"]["step"] == 0.25
    assert "constant steps 3: mean effect 1.414" in capsys.readouterr().out


def test_the_hash_of_a_network_tells_its_class_its_settings_and_its_weights(tmp_path):
    networks = [
        ZeroFilled(),
        ZeroFilled(readout_oversampling=True),
        FromKspace(),
        OtherFromKspace(),
        VariationalNetwork(1, 2, 3, 5),
        VariationalNetwork(1, 2, 3, 5, seed=1),
    ]
    hashes = [model_hash(network) for network in networks]
    assert len(set(hashes)) == len(hashes)
    networks[2].factor.assign(2)
    assert model_hash(networks[2]) != hashes[2]
    networks[4].save(tmp_path / "model.keras")
    assert model_hash(load_model(tmp_path / "model.keras")) == hashes[4]


@pytest.mark.parametrize(
    "settings, digest",
    [
        ({}, "3d0c6e57166bedd3cdcb6c770e17c63f7494f8a8c4322e0057e4dc06b1944c0c"),
        (
            {"readout_oversampling": True, "bandwidth": 0.5, "scale": 0.4, "num_stages": 2},
            "7dfa1f38c833eed26796d95c0343f5929624976ab5b5abf52f8b55731975eea9",
        ),
    ],
)
def test_the_hash_of_a_variational_network_is_that_of_earlier_attacks(settings, digest):
    shape = {"num_stages": 1, "filters": 2, "kernel_size": 3, "num_centers": 5}
    network = VariationalNetwork(**{**shape, **settings})
    network.make_weights()
    number = 0
    for stage in network.stages:
        for weight in (stage.kernel, stage.data_weight, stage.rbf_weights):
            values = np.linspace(-1, 1, int(np.prod(weight.shape)), dtype="f4")
            if weight is stage.data_weight:
                values = np.float32(0.5 + number)
            else:
                values = values.reshape(weight.shape) * (number + 1) / 8
            weight.assign(values)
            number += 1
    assert model_hash(network) == digest


@pytest.mark.parametrize("network", [FromKspace, lambda: VariationalNetwork(1, 2, 3, 5)])
def test_the_scan_of_a_network_changes_and_its_weights_stay(network):
    network = network()
    assert with_readout_oversampling(network, False) is network
    other = with_readout_oversampling(network, True)
    assert type(other) is type(network) and other.sense.readout_oversampling
    for mine, theirs in zip(network.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(mine, theirs)
