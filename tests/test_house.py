"""One of each kind, made here and put into its dict, goes through all commands.

A network, a defence, an attack, a certificate and a format of data: nothing else of the package
knows them.
"""

import ast
import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import attack
import evaluate
import train
from tfvn import __main__ as program
from tfvn import attacks, certificates, config, data, defences, files, load_model, models
from tfvn.attacks.base import checked_measurement
from tfvn.data import sample
from tfvn.data.format import Format
from tfvn.models.base import magnitude
from tfvn.physics import measurement
from tfvn.results.certified import claimed
from tfvn.results.rows import CLEAN

SHAPE = (3, 24, 16)


@keras.utils.register_keras_serializable(package="toy")
class Gain(models.Reconstructor):
    """A^H k times a weight, for a model that reads k-space.

    Args:
        start: the weight before the training.
    """

    reads = "kspace"

    def __init__(self, start=0.5, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.gain = self.add_weight(
            name="gain", shape=(), initializer=keras.initializers.Constant(start)
        )

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return tf.complex(self.gain, 0.0) * image

    def get_config(self):
        return {**super().get_config(), "start": self.start}


class Gentle(defences.Defence):
    """Answers (1 - share) f(k) + share |A^H k|.

    Args:
        share: of the zero-filled image, in [0, 1].

    Raises:
        ValueError: for another share.
    """

    def __init__(self, model, share=0.5):
        super().__init__(model)
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1]. Received: share={share}")
        self.share = share

    @property
    def certificates(self):
        return (Slope(2.0),)

    def answer(self, inputs, key=None):
        plain = magnitude(measurement.zero_filled(self.sense, inputs))
        return (1 - self.share) * self.model.answer(inputs, key) + self.share * plain


class Slope(certificates.Certificate):
    """|| f(k + d) - f(k) || <= slope || d ||."""

    name = "slope"

    def __init__(self, slope):
        self.slope = slope

    def bound(self, statistics, distance):
        return self.slope * distance + 0 * statistics.largest_norm

    def lipschitz(self, statistics):
        return self.slope + 0 * statistics.largest_norm

    def certified_distance(self, statistics, change):
        return change / self.slope + 0 * statistics.largest_norm


class Brighten(attacks.Attack):
    """An r that is the same everywhere.

    Args:
        sizes: its l2 norms.
    """

    name = "brighten"
    bounded_in_l2 = True

    def __init__(self, sizes=(1.0,)):
        self.sizes = self.check_sizes(sizes)

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        inputs = checked_measurement(model, inputs)
        image = measurement.zero_filled(model.sense, inputs)
        ones = tf.ones_like(image)
        r = ones * tf.cast(size / tf.norm(tf.abs(ones)), image.dtype)
        clean = model.reconstruct(inputs)
        changed = model.reconstruct(measurement.perturbed(model.sense, inputs, r))
        value = tf.reduce_sum((changed - clean) ** 2, [1, 2]) / 2
        return attacks.AttackResult(r, changed, value, value[None, None])


class Folder(Format):
    """The slices of a folder: `train` and `test` in it hold NAME.npz.

    Args:
        path: the folder.
    """

    def __init__(self, path="", mask=None):
        super().__init__(mask=mask)
        self.path = path

    def source(self, split):
        return FolderSource(Path(self.path, split), self.read_mask())


class FolderSource(data.Source):
    """The slices of one split."""

    mask_height = 1

    def __init__(self, folder, mask):
        self._paths = sorted(folder.glob("*.npz"))
        self._mask = mask
        if not self._paths:
            raise ValueError(f"{folder} holds no .npz files.")

    def __len__(self):
        return len(self._paths)

    def name(self, index):
        return self._paths[index].stem

    def shape(self, index):
        return SHAPE

    def fingerprint(self, index):
        state = files.state(self._paths[index])
        return {"source": "npz", "mask": sample.mask_digest(self._mask)}, [state]

    def __getitem__(self, index):
        with np.load(self._paths[index]) as file:
            kspace, maps = file["kspace"], file["sensitivity_maps"]
        mask = sample.mask_array(self._mask, *kspace.shape[1:])
        reference = sample.combine(sample.ifft2c(kspace), maps)
        return data.Sample(kspace * mask, maps, mask, reference)


@pytest.fixture
def house(monkeypatch):
    """The dicts of the package, with one more name in each."""
    monkeypatch.setitem(models.MODELS, "gain", Gain)
    monkeypatch.setitem(defences.DEFENCES, "gentle", Gentle)
    monkeypatch.setitem(attacks.ATTACKS, "brighten", Brighten)
    monkeypatch.setitem(certificates.CERTIFICATES, "slope", Slope)
    monkeypatch.setitem(data.FORMATS, "folder", Folder)


@pytest.fixture
def experiment(house, tmp_path):
    """A YAML file of an experiment on slices that lie in files."""
    coils, height, width = SHAPE
    for seed, split in enumerate(("train", "test")):
        folder = tmp_path / "slices" / split
        folder.mkdir(parents=True)
        knees = data.SyntheticKnee(2, height, width, coils, None, 0.0, seed)
        for index in range(2):
            knee = knees[index]
            arrays = {"kspace": knee.kspace, "sensitivity_maps": knee.sensitivity_maps}
            np.savez(folder / f"{split}-{index}.npz", **arrays)
    path = tmp_path / "experiment.yaml"
    path.write_text(
        f"data: {{format: folder, path: {tmp_path / 'slices'}}}\n"
        "sampling: {mask: equispaced, acceleration: 2}\n"
        "model: {name: gain, start: 0.25}\n"
        "training:\n"
        "  iterations: 3\n"
        "  batch_size: 2\n"
        "  checkpoint_every: 3\n"
        "  optimizer: {name: adam, learning_rate: 0.1}\n"
        "  recipe: {name: noise, sigma: 0.01}\n"
        "defence: {name: gentle, share: 0.25}\n"
        "attacks: [{name: brighten, sizes: [0.5, 1.0]}, {name: ascent, sizes: [1.0], steps: 2}]\n",
        encoding="utf-8",
    )
    return path


def test_one_of_each_kind_goes_through_train_attack_evaluate_and_the_report(experiment, tmp_path):
    run, results = tmp_path / "run", tmp_path / "results"
    assert train.main(["--config", str(experiment), "--run-dir", str(run)]) == 0
    network = load_model(run / "model.keras")
    assert isinstance(network, Gain) and float(network.gain) > 0.25
    assert attack.main(["--run-dir", str(run)]) == 0
    assert evaluate.main([str(run), "--output", str(results)]) == 0

    with open(results / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"test-0", "test-1"}
    assert [row["attack"] for row in rows[:4]] == ["none", "l2", "brighten", "brighten"]
    for row in rows:
        if row["attack"] == "brighten":
            assert abs(float(row["norm"]) - float(row["radius"])) < 1e-5
            # (1 - share) times the gain, and share times 1, of at most || A r ||.
            slope = 0.75 * float(network.gain) + 0.25
            assert 0 < float(row["effect"]) <= slope * float(row["kspace_norm"]) * (1 + 1e-5)

    with open(results / "certificates.csv", encoding="utf-8") as file:
        claims = list(csv.DictReader(file))
    assert {claim["certificate"] for claim in claims} == {"slope"}
    for claim in claims:
        assert float(claim["lipschitz"]) == 2
        assert float(claim["bound"]) == pytest.approx(2 * float(claim["distance"]))
    report = (results / "report.html").read_text(encoding="utf-8")
    for word in ("brighten", "slope", "gentle", "share: 0.25", "start: 0.25", "format: folder"):
        assert word in report, word


@pytest.mark.parametrize(
    "names, name, told",
    [
        (models.MODELS, "gain", "model.name must be one of .* Received: model.name='gain'"),
        (defences.DEFENCES, "gentle", "defence.name must be one of .*defence.name='gentle'"),
        (attacks.ATTACKS, "brighten", "attacks.*Received: .*brighten"),
        (certificates.CERTIFICATES, "slope", "of Gentle must stand in .*Slope with name='slope'"),
        (data.FORMATS, "folder", "data.format must be one of .*data.format='folder'"),
    ],
    ids=["network", "defence", "attack", "certificate", "format"],
)
def test_each_needs_its_name_in_the_dict_of_its_kind(experiment, monkeypatch, names, name, told):
    monkeypatch.delitem(names, name)
    with pytest.raises(ValueError, match=told):
        config.load(experiment).check_models()
        claimed(Gentle(Gain()))


def test_a_setting_of_one_is_refused_in_the_words_of_its_constructor(experiment):
    with pytest.raises(ValueError, match="--set: defence.share must lie in .0, 1.. Received: def"):
        config.load(experiment, ["defence.share=2"]).check_models()
    with pytest.raises(ValueError, match="unknown key 'defence.sare'. Did you mean 'defence.shar"):
        config.load(experiment, ["defence.sare=0.2"])
    with pytest.raises(ValueError, match="model.start must be a finite number"):
        config.load(experiment, ["model.start=much"])


def test_the_keys_of_one_are_listed_with_what_its_docstring_says(house, capsys):
    assert program.main(["keys", "defence"]) == 0
    listed = capsys.readouterr().out
    assert "defence.name=gentle" in listed
    assert "share                 of the zero-filled image, in [0, 1]. (0.5)" in listed


@pytest.mark.one_stack
def test_an_attack_of_another_setting_of_the_defence_is_not_taken_for_this_one(
    experiment, tmp_path, capsys
):
    run = tmp_path / "run"
    assert train.main(["--config", str(experiment), "--run-dir", str(run)]) == 0
    assert attack.main(["--run-dir", str(run)]) == 0
    told = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(told.replace("share: 0.25", "share: 0.5"), encoding="utf-8")
    capsys.readouterr()
    assert attack.main(["--run-dir", str(run)]) == 2
    assert "defence.share" in capsys.readouterr().err


# Comparisons with words that name something else than an attack.
OF_OTHER_KINDS = {
    "arguments.strategy != 'none'",
    "row['model']['defence'].get('name', 'none') == 'none'",
    "'random' in raised",
}
# The spelling of the first edition, which had two attacks and no dict of them.
WITH_NAMES_OF_ATTACKS = {"first_edition.py"}
# What tells whether something is a model at all.
WITH_ATTRIBUTES_OF_MODELS = {"models/contract.py"}


def expressions(kind):
    """Pairs of a file of the package and an expression in it, of one kind of node."""
    package = Path(sys.modules["tfvn"].__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path.relative_to(package).as_posix(), node


@pytest.mark.one_stack
def test_nothing_of_the_package_compares_the_name_of_an_attack():
    names = {*attacks.ATTACKS, CLEAN}
    found = {}
    for place, node in expressions((ast.Compare, ast.MatchValue)):
        told = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
        if told & names:
            found[ast.unparse(node)] = place
    assert "method == 'antun'" in found
    for text, place in found.items():
        assert text in OF_OTHER_KINDS or place in WITH_NAMES_OF_ATTACKS, (place, text)
    assert set(found) >= OF_OTHER_KINDS


@pytest.mark.one_stack
def test_the_name_of_an_attack_of_the_first_edition_stands_where_it_is_defined():
    places = {place for place, node in expressions(ast.Constant) if node.value == "antun"}
    assert places == {"attacks/penalised.py", "attacks/__init__.py", *WITH_NAMES_OF_ATTACKS}


@pytest.mark.one_stack
def test_nothing_of_the_package_asks_whether_a_model_has_an_attribute():
    found = {}
    for place, node in expressions(ast.Call):
        asks = ast.unparse(node.func) == "hasattr"
        asks |= ast.unparse(node.func) == "getattr" and len(node.args) == 3
        if asks and re.search("model|network|predictor|defence", ast.unparse(node.args[0])):
            found[ast.unparse(node)] = place
    assert found
    for text, place in found.items():
        assert place in WITH_ATTRIBUTES_OF_MODELS, (place, text)
