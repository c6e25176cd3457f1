"""What TensorBoard is given, read back from the event files."""

import contextlib
import csv
import os
import resource
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import metadata

from tfvn import data
from tfvn.models.base import Reconstructor
from tfvn.results import evaluate
from tfvn.runs import directory
from tfvn.runs.attack import attack_run
from tfvn.runs.models import network_of
from tfvn.runs.train import train_run
from tfvn.training import events, history, hparams, loop, tensorboard
from tfvn.training.recipes import Noise
from tfvn.training.trainer import Trainer

SETTINGS = [
    "data.height=24",
    "data.width=20",
    "data.num_coils=2",
    "data.num_train=2",
    "data.num_test=2",
    "sampling.mask=equispaced",
    "sampling.acceleration=2",
    "training.batch_size=2",
    "model.num_stages=2",
    "model.filters=3",
    "model.kernel_size=5",
    "model.num_centers=7",
    "training.iterations=5",
    "training.checkpoint_every=2",
    "training.recipe=noise",
    "training.recipe.sigma=0.05",
    "defence=smoothed",
    "defence.sigma=0.05",
    "defence.num_samples=2",
    "attacks.ascent.sizes=0.5,1",
    "attacks.ascent.steps=2",
    "attacks.ascent.restarts=2",
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that was trained, attacked and evaluated."""
    run_dir = str(tmp_path_factory.mktemp("runs") / "whole")
    config = directory.open_run(run_dir, os.devnull, SETTINGS)
    train_run(run_dir, config)
    attack_run(run_dir, config)
    evaluate.evaluate([run_dir], os.path.join(run_dir, "results"))
    return run_dir


def values(run_dir, *names):
    """All points of one of TensorBoard's runs as they stand in its files, {tag: {step: value}};
    none may be there twice.
    """
    found = {}
    for path in sorted(Path(run_dir, "logs", *names).glob("*tfevents*")):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                curve = found.setdefault(value.tag, {})
                assert event.step not in curve, f"{value.tag} has step {event.step} twice"
                # What the HParams table reads stands in the metadata.
                own = value.tag == metadata.SESSION_START_INFO_TAG
                curve[event.step] = (
                    value.metadata.plugin_data.content if own else tf.make_ndarray(value.tensor)
                )
    return found


def rows_of(run_dir):
    """{iteration: row} of the learning curve."""
    with open(Path(run_dir, "history.csv"), newline="", encoding="utf-8") as file:
        return {
            int(row.pop("iteration")): {key: float(text) for key, text in row.items()}
            for row in csv.DictReader(file)
        }


def picture(curve, step):
    return tf.io.decode_png(curve[step][2]).numpy()


def test_every_iteration_is_logged(run_dir):
    found, rows = values(run_dir, "train"), rows_of(run_dir)
    blocks = ("kernel", "rbf_weights", "data_weight")
    assert set(found) == {
        "error/loss",
        "data_weight/stage_01",
        "data_weight/stage_02",
        *(f"ipalm/{k}_{b}" for k in ("lipschitz", "trials") for b in blocks),
    }
    assert all(list(curve) == [1, 2, 3, 4, 5] for curve in found.values())
    loss = found["error/loss"]
    np.testing.assert_allclose(
        [(loss[1] + loss[2]) / 2, (loss[3] + loss[4]) / 2, loss[5]],
        [row["loss"] for row in rows.values()],
        rtol=1e-6,
    )
    for block in blocks:
        for iteration, row in rows.items():
            assert found[f"ipalm/lipschitz_{block}"][iteration] == pytest.approx(
                row[f"lipschitz_{block}"], rel=1e-6
            )
            assert found[f"ipalm/trials_{block}"][iteration] == row[f"trials_{block}"]
    stages = network_of(run_dir, directory.open_run(run_dir)).stages
    assert [found[f"data_weight/stage_0{t}"][5] for t in (1, 2)] == [
        stage.data_weight.numpy() for stage in stages
    ]


def test_the_validation_is_that_of_the_learning_curve(run_dir):
    found, rows = values(run_dir, "validation"), rows_of(run_dir)
    assert list(rows) == [2, 4, 5]
    for iteration, row in rows.items():
        for name in ("loss", "nrmse", "ssim"):
            assert found[f"error/{name}"][iteration] == pytest.approx(row[f"val_{name}"], rel=1e-6)
        assert found["error/rmse"][iteration] == pytest.approx(
            np.sqrt(2 * row["val_loss"]), rel=1e-6
        )
    assert all(list(curve) == [2, 4, 5] for curve in found.values())


def test_the_pictures_are_those_of_the_middle_slice(run_dir):
    found = values(run_dir, "validation")
    names = (
        "1_zero_filled",
        "2_stage_01",
        "2_stage_02",
        "3_reconstruction",
        "4_reference",
        "5_error_x5",
    )
    assert {tag for tag in found if tag.startswith("image/")} == {f"image/{name}" for name in names}
    images = {name: picture(found[f"image/{name}"], 5).astype(float) for name in names}
    assert all(image.shape == (24, 20, 1) for image in images.values())
    np.testing.assert_array_equal(images["2_stage_02"], images["3_reconstruction"])
    error = 5 * np.abs(images["3_reconstruction"] - images["4_reference"])
    inside = np.maximum(images["3_reconstruction"], images["4_reference"]) < 255
    np.testing.assert_allclose(images["5_error_x5"][inside], np.minimum(error, 255)[inside], atol=6)
    with h5py.File(Path(run_dir, "results", "reconstructions.h5")) as file:
        reference = np.abs(file["slices/slice_00001/reference"][()])
    white = np.percentile(reference, 99.9)
    np.testing.assert_allclose(
        images["4_reference"][..., 0], 255 * np.clip(reference / white, 0, 1), atol=0.51
    )
    for tag in ("parameters/stage_01", "parameters/stage_02"):
        assert picture(found[tag], 2).std() > 10


@pytest.mark.slow
def test_a_training_that_goes_on_leaves_no_point_twice_and_logging_changes_no_weight(
    run_dir, tmp_path, monkeypatch
):
    again = str(tmp_path / "again")
    config = directory.open_run(again, os.devnull, [*SETTINGS, "training.log_images_every=0"])

    def interrupt(self, batch, logs=None):
        if int(self.model.steps_done) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.ProgressBar, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_run(again, config)
    assert list(values(again, "train")["error/loss"]) == [1, 2, 3]
    # As if it had been killed while it wrote.
    (path,) = Path(again, "logs", "train").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert list(values(again, "train")["error/loss"]) == [1, 2, 3]

    train_run(
        again,
        directory.open_run(again, None, ["training.log_images_every=0", "training.profile=4"]),
    )
    for name in ("train", "validation"):
        expected = {
            tag: curve
            for tag, curve in values(run_dir, name).items()
            if not tag.startswith(("image/", "parameters/"))
        }
        assert values(again, name) == expected
    weights = [network_of(folder, config).get_weights() for folder in (run_dir, again)]
    assert all((a == b).all() for a, b in zip(*weights))
    assert list(Path(again, "logs", "plugins", "profile").rglob("*.xplane.pb"))


class Brightness(Reconstructor):
    """A^H of the k-space, times a number."""

    reads = "kspace"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.built = True

    def call(self, inputs):
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        image = self.sense.adjoint(inputs["kspace"], maps, mask)
        return tf.cast(tf.convert_to_tensor(self.factor), image.dtype) * image


def test_a_model_without_stages_logs_scores_and_images(tmp_path):
    config = directory.open_run(
        str(tmp_path / "run"), os.devnull, [*SETTINGS, "training.iterations=2"]
    )
    trainer = Trainer(Brightness(), "adam", Noise(0.05))
    with tensorboard.TrainingSummaries(str(tmp_path), config) as log:
        loop.train_to(
            2,
            trainer,
            batches=lambda done: data.load(config, "train", start=done),
            every=2,
            validation=data.load(config, "test"),
            callbacks=[log],
        )
    assert set(values(tmp_path, "train")) == {"error/loss"}
    found = values(tmp_path, "validation")
    names = ("1_zero_filled", "3_reconstruction", "4_reference", "5_error_x5")
    scores = {f"error/{name}" for name in ("loss", "nrmse", "ssim", "rmse")}
    assert set(found) == scores | {f"image/{name}" for name in names}
    assert picture(found["image/3_reconstruction"], 2).std() > 10
    assert table_row(tmp_path)[2]["score/val_rmse"] > 0


def test_only_points_up_to_the_checkpoint_stay(tmp_path):
    for first in (0, 4):
        writer = tf.summary.create_file_writer(str(tmp_path / "logs"))
        with writer.as_default():
            for step in range(first, first + 4):
                tf.summary.scalar("tag", 10 * step, step=step)
        writer.close()
    events.drop_after(str(tmp_path / "logs"), 5)
    assert values(tmp_path) == {"tag": {step: 10 * step for step in range(6)}}
    events.drop_after(str(tmp_path / "nowhere"), 5)


def test_attack_curves_are_the_stored_histories_also_after_a_rerun(run_dir, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(run_dir, copy)
    lost = Path(copy, "logs", "attack", "radius_1.0", "events.out.tfevents.slice_00001")
    lost.unlink()
    attack_run(copy, directory.open_run(copy))
    for folder in (run_dir, copy):
        for name in ("radius_0.5", "radius_1.0"):
            found, best = values(folder, "attack", name), []
            for index in range(2):
                with h5py.File(Path(folder, "attacks", name, f"slice_{index:05d}.h5")) as file:
                    stored = file["history"][()]
                best.append(stored[np.argmax(stored.max(1))])
                for curve, tag in zip(
                    stored, (f"attack/slice_0000{index}", f"attack/slice_0000{index}_restart_2")
                ):
                    assert found.pop(tag) == dict(enumerate(curve))
            mean = found.pop("attack/mean_of_slices")
            np.testing.assert_allclose(list(mean.values()), np.mean(best, 0), rtol=1e-6)
            assert list(mean) == [0, 1, 2] and not found


def test_curves_of_a_ladder_go_on_where_the_last_rung_ended(tmp_path):
    tensorboard.write_attack(str(tmp_path), "antun_7", 0, np.array([[1.0, 2.0, 4.0]]), first_step=5)
    assert values(tmp_path, "attack", "antun_7") == {"attack/slice_00000": {5: 1.0, 6: 2.0, 7: 4.0}}


def table_row(run_dir):
    """Name, settings and scores of a run's row of the HParams table, from its one file."""
    assert len(os.listdir(Path(run_dir, "logs", "hparams"))) == 1
    found = values(run_dir, "hparams")
    start = metadata.parse_session_start_info_plugin_data(
        found.pop(metadata.SESSION_START_INFO_TAG)[0]
    )
    settings = {
        name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()
    }
    return start.group_name, settings, {tag: float(*curve.values()) for tag, curve in found.items()}


NETWORK = {
    "model.name": "variational",
    "model.num_stages": 2,
    "model.filters": 3,
    "model.kernel_size": 5,
    "model.num_centers": 7,
    "model.grid_limit": 1.0,
    "model.bandwidth": pytest.approx(1 / 3),
    "model.scale": 1.0,
    "model.initial_scale": 0.04,
    "model.initial_data_weight": 1.0,
}
TRAINING = {
    "seed": 0,
    "training.iterations": 5,
    "training.batch_size": 2,
    "training.optimizer.name": "ipalm",
    "training.optimizer.momentum": 0.7,
    "training.optimizer.initial_lipschitz": 1000.0,
    "training.optimizer.stagewise": False,
    "training.recipe.name": "noise",
    "training.recipe.sigma": 0.05,
    "training.recipe.law": "gaussian",
}


def test_a_run_is_one_row_of_the_hparams_table_and_the_last_evaluation_counts(run_dir, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(run_dir, copy)
    for draws in (2, 3):
        if draws == 3:
            evaluate.evaluate([copy], os.path.join(copy, "results"), ["defence.num_samples=3"])
        name, settings, scores = table_row(copy)
        of = Path(copy if draws == 3 else run_dir)
        assert name == f"{of.name} ({of.parent.name})"
        assert settings == {
            **NETWORK,
            **TRAINING,
            "defence.name": "smoothed",
            "defence.sigma": 0.05,
            "defence.num_samples": draws,
            "defence.chunk_size": 0,
            "defence.law": "gaussian",
        }
        last = rows_of(copy)[5]
        expected = {
            "score/val_rmse": np.sqrt(2 * last["val_loss"]),
            "score/val_ssim": last["val_ssim"],
        }
        with open(Path(copy, "results", "table1.csv"), newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                head = "clean" if row["attack"] == "none" else f"r{float(row['radius']):g}"
                for key in ("rmse", "ssim" if head == "clean" else "effect"):
                    expected[f"score/{head}_{key}"] = float(row[key])
        assert len(expected) == 8
        assert scores == pytest.approx(expected, rel=1e-6)


def test_a_run_that_cannot_be_written_is_left_as_it_is(run_dir, tmp_path, monkeypatch):
    config = directory.open_run(run_dir)
    monkeypatch.setattr(hparams.os, "access", lambda path, mode: False)
    hparams.write_hparams(str(tmp_path), config, network_of(run_dir, config).get_config())
    assert not os.listdir(tmp_path)


def test_settings_without_a_meaning_for_a_run_are_left_out(run_dir, tmp_path):
    config = directory.open_run(run_dir)
    other = config.changed({"training.optimizer": "adam", "defence": "none", "seed": 3})
    architecture = network_of(run_dir, config).get_config()
    hparams.write_hparams(str(tmp_path), other, architecture, {"clean_rmse": float("nan")})
    _, settings, scores = table_row(tmp_path)
    assert not scores and settings["seed"] == 3 and settings["defence.name"] == "none"
    assert settings["training.optimizer.learning_rate"] == 0.001
    assert {"training.optimizer.momentum", "defence.sigma"}.isdisjoint(settings)


def test_of_a_given_network_its_own_settings_are_shown(run_dir, tmp_path):
    config = directory.open_run(run_dir)
    architecture = network_of(run_dir, config).get_config()
    given = config.changed({"model": {"file": "x.keras"}, "defence": "none"})
    hparams.write_hparams(str(tmp_path), given, architecture)
    _, settings, _ = table_row(tmp_path)
    expected = {**NETWORK, "model.file": "x.keras", "defence.name": "none"}
    del expected["model.name"]
    assert settings == expected


# Disks and damaged files


def test_a_full_disk_is_told_and_the_file_ends_with_a_whole_record(tmp_path):
    """As a quota; TensorFlow's own writer would drop the rest without a word."""
    growing = events.Growing(str(tmp_path / "logs"))
    growing.add(1, events.scalar("tag", 10))
    growing.flush()
    size = os.path.getsize(growing.path)
    with limited(4096):
        growing.add(2, *(events.scalar("tag", 20) for _ in range(100)))
        with pytest.raises(
            ValueError, match=f"cannot write {growing.path}: File too large. Make room"
        ):
            growing.close()
        with pytest.raises(ValueError, match="cannot write .*mean: File too large"):
            tensorboard.write_mean_attack(str(tmp_path), "radius_1.0", [np.ones((1, 500))])
    assert os.path.getsize(growing.path) == size
    assert values(tmp_path) == {"tag": {1: 10.0}}
    assert not list(tmp_path.rglob("*mean*"))


def test_a_file_goes_on_without_a_hole_where_a_disk_was_full_for_a_while(tmp_path):
    growing = events.Growing(str(tmp_path / "logs"))
    with limited(4096):
        growing.add(1, *(events.scalar("tag", 20) for _ in range(100)))
        with pytest.raises(ValueError, match="File too large"):
            growing.flush()
    growing.add(2, events.scalar("tag", 10))
    growing.close()
    assert values(tmp_path) == {"tag": {2: 10.0}}


@contextlib.contextmanager
def limited(size):
    """Inside, no file of this process may grow beyond `size` bytes."""
    limits, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_nothing_is_written_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda *_, **__: pytest.fail("a folder elsewhere"))
    tensorboard.write_attack(str(tmp_path), "radius_1.0", 0, np.ones((1, 3)))


MALFORMED = {
    "nothing but names": "iteration,loss\n",
    "empty": "",
    "a line": "what is this\n",
    "another table": "model,slice\na,1\n",
    "too few": "iteration,loss\n2\n",
    "too many": "iteration,loss\n2,1,3\n",
    "a fraction": "iteration,loss\n2.5,1\n",
    "words": "iteration,loss\n2,much\n",
    "bytes": b"iteration,loss\n2,\xff\n",
    "zeros": b"\0" * 50,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_learning_curve_is_read_or_named(run_dir, tmp_path, text):
    path = tmp_path / "history.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        assert history.read_history(str(path)) == []
    except ValueError as error:
        assert str(error).startswith(f"{path} is no learning curve") and "Move it away" in str(
            error
        )
    else:
        assert text in ("", "iteration,loss\n")
    # An evaluation has other things to tell.
    config = directory.open_run(run_dir)
    hparams.write_hparams(str(tmp_path), config, network_of(run_dir, config).get_config())
    assert table_row(tmp_path)[2] == {}


def test_a_training_does_not_begin_beside_a_foreign_learning_curve(tmp_path):
    config = directory.open_run(str(tmp_path), os.devnull, SETTINGS)
    (tmp_path / "history.csv").write_text("patient,visit\n1,2\n")
    with pytest.raises(ValueError, match="history.csv is no learning curve"):
        train_run(str(tmp_path), config)
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "history.csv"]


@pytest.mark.slow
def test_a_training_without_its_checkpoints_says_that_it_begins_again(run_dir, tmp_path, capsys):
    copy = shutil.copytree(
        run_dir,
        tmp_path / "copy",
        ignore=shutil.ignore_patterns("checkpoints", "model.keras", "attacks"),
    )
    train_run(str(copy), directory.open_run(copy))
    told = capsys.readouterr().out
    assert "holds no checkpoint: the training of" in told and "begins again at iteration 0" in told
    assert list(rows_of(copy)) == [2, 4, 5]
    # What was reached, and what is next.
    last = rows_of(copy)[5]
    assert (
        f"trained 5 iterations; validation: RMSE {np.sqrt(2 * last['val_loss']):.4g}, NRMSE"
        f" {last['val_nrmse']:.4g}" in told
    )
    assert told.rstrip().endswith(f"Next: python attack.py --run-dir {copy}")


def test_an_attack_says_what_it_reached(run_dir, tmp_path, capsys):
    copy = str(shutil.copytree(run_dir, tmp_path / "a copy"))
    attack_run(copy, directory.open_run(copy))
    told = capsys.readouterr().out
    with open(Path(run_dir, "results", "table1.csv"), newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["attack"] == "l2":
                effect, norm = (f"{float(row[key]):.4g}" for key in ("effect", "norm"))
                assert (
                    f"l2 radius {float(row['radius']):g}: mean effect {effect}, mean ||r||_2 {norm}"
                    " (2 slices)" in told
                )
    assert told.rstrip().endswith(f"Next: python evaluate.py '{copy}'")
