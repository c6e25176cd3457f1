import csv
import os
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_pixels
from scipy.special import erf
from skimage.metrics import structural_similarity

from tfvn import data
from tfvn.attacks import PenalisedGradientAscent, Start
from tfvn.config import load
from tfvn.figures import curves, paper
from tfvn.models import ZeroFilled
from tfvn.results import aggregate, evaluate, measure, sweep, wording, writing
from tfvn.results.again import commands
from tfvn.results.candidates import cases, compared_data, names_of, open_candidates
from tfvn.results.partial import Kept
from tfvn.runs import attack_files, directory, locks, signature
from tfvn.runs.attack import attack_run
from tfvn.runs.attack_job import attack_settings
from tfvn.runs.models import model_hash, network_of, save_network
from tfvn.runs.signature import TOLERANCE, distance, signature_of
from tfvn.runs.train import train_run

RADII = (0.5, 1.0)
SETTINGS = [
    "data.height=32",
    "data.width=24",
    "data.num_coils=2",
    "data.num_test=3",
    "sampling.fraction=0.4",
    "model.num_stages=1",
    "model.filters=3",
    "model.kernel_size=3",
    "training.iterations=0",
    "training.optimizer=adam",
    "attacks.ascent.steps=2",
    "attacks.ascent.sizes=[0.5, 1.0]",
]
SMOOTHED = [
    "training.recipe=noise",
    "training.recipe.sigma=0.05",
    "defence=smoothed",
    "defence.sigma=0.05",
    "defence.num_samples=2",
    "seed=1",
]


def make_run(run_dir, *settings, attack=True):
    """A run directory of a network in its initial state, attacked."""
    config = directory.open_run(run_dir, os.devnull, [*SETTINGS, *settings])
    train_run(run_dir, config)
    if attack:
        attack_run(run_dir, config)
    return str(run_dir)


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / "original"), make_run(folder / "sigma_0.05", *SMOOTHED)]


@pytest.fixture(scope="module")
def results(run_dirs, tmp_path_factory):
    """The directory of results of both runs, and the paths that `evaluate` returned."""
    output = tmp_path_factory.mktemp("results")
    return output, evaluate.evaluate(run_dirs, output)


@pytest.fixture(autouse=True)
def _without_drawing(monkeypatch):
    """What a test evaluates itself is not drawn: `results` and `kinds` are, by fixtures of the
    module, which come first.
    """
    draw_pixels(monkeypatch)


@pytest.fixture
def original(run_dirs, tmp_path):
    """A copy of the first run that a test may damage."""
    return shutil.copytree(run_dirs[0], tmp_path / "original")


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_lines(text):
    """The cells of each line of the Markdown tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_every_file_is_written_and_nothing_else(results):
    output, paths = results
    assert sorted(os.path.basename(path) for path in paths) == sorted(os.listdir(output))
    assert {os.path.basename(path) for path in paths} == {
        "results.csv",
        "table1.csv",
        "table1.md",
        "figure1.png",
        "figure2.png",
        "figure3.png",
        "reconstructions.h5",
        "certificates.csv",
        "flags.csv",
        "report.html",
    }
    assert all(os.path.getsize(path) > (20_000 if path.endswith(".png") else 200) for path in paths)


@pytest.mark.parametrize("number", [0, 1])
def test_a_row_equals_an_independent_computation(run_dirs, results, number):
    config = directory.open_run(run_dirs[number])
    model = config.defended(network_of(run_dirs[number], config))
    rows = {
        (int(row["slice"]), float(row["radius"])): row
        for row in read_csv(results[0] / "results.csv")
        if row["model"] == os.path.basename(run_dirs[number])
    }
    assert set(rows) == {(index, radius) for index in range(3) for radius in (0, *RADII)}
    for index, (inputs, reference) in enumerate(data.load(config, "test")):
        truth = np.abs(reference[0].numpy())
        inputs = {key: inputs[key].numpy() for key in inputs}
        keys = model.keys(inputs["sample_index"])
        clean = model.reconstruct(inputs, keys)[0].numpy()
        for radius in RADII:
            with h5py.File(attack_files.attack_path(run_dirs[number], radius, index)) as file:
                r = file["perturbation"][()]
            coil_images = np.fft.ifftshift(inputs["sensitivity_maps"] * r, (-2, -1))
            change = (
                np.fft.fftshift(np.fft.fft2(coil_images, norm="ortho"), (-2, -1)) * inputs["mask"]
            )
            attacked = {**inputs, "kspace": (inputs["kspace"] + change).astype(np.complex64)}
            image = model.reconstruct(attacked, keys)[0].numpy()
            error = np.linalg.norm(image - truth)
            expected = {
                "norm": np.linalg.norm(r),
                "kspace_norm": np.linalg.norm(change),
                "kspace_l1": np.abs(change.real).sum() + np.abs(change.imag).sum(),
                "image_norm": np.linalg.norm(truth),
                "relative_radius": np.linalg.norm(r) / np.linalg.norm(truth),
                "rmse": error,
                "nrmse": error / np.linalg.norm(truth),
                "ssim": structural_similarity(
                    truth,
                    image,
                    gaussian_weights=True,
                    use_sample_covariance=False,
                    data_range=np.ptp(truth),
                ),
                "psnr": 20 * np.log10(truth.max() * np.sqrt(truth.size) / error),
                "effect": np.linalg.norm(image - clean),
                "sigma": [0, 0.05][number],
                "num_samples": [1, 2][number],
                "seed": config.seed,
            }
            row = rows[index, radius]
            assert row["name"] == data.source(config, "test").name(index)
            np.testing.assert_allclose(
                [float(row[key]) for key in expected], list(expected.values()), rtol=1e-4
            )
        assert float(rows[index, 0]["effect"]) == float(rows[index, 0]["norm"]) == 0


def test_the_tables_rmse_is_the_root_of_the_mean_square(results):
    rows = read_csv(results[0] / "results.csv")
    table = read_csv(results[0] / "table1.csv")
    assert len(table) == 2 * 3
    for entry in table:
        group = [
            row
            for row in rows
            if (row["model"], row["radius"]) == (entry["model"], entry["radius"])
        ]
        keys = ("rmse", "ssim", "psnr", "nrmse", "effect")
        column = {key: np.array([float(row[key]) for row in group]) for key in keys}
        expected = {key: values.mean() for key, values in column.items()}
        expected["rmse"] = np.sqrt(np.mean(column["rmse"] ** 2))
        expected["effect_25"], expected["effect_75"] = np.percentile(column["effect"], [25, 75])
        np.testing.assert_allclose(
            [float(entry[key]) for key in expected], list(expected.values()), rtol=1e-6
        )
        assert int(entry["num_images"]) == 3


def test_the_markdown_has_a_row_a_model_and_columns_for_each_radius(results):
    table = read_csv(results[0] / "table1.csv")
    lines = table_lines((results[0] / "table1.md").read_text())
    share = 100 / float(table[0]["image_norm"])
    heads = [cell for cell in lines[0] if cell]
    assert heads == [
        "model",
        "clean",
        f"radius 0.5 ({0.5 * share:.2g} %)",
        f"radius 1 ({share:.2g} %)",
    ]
    assert lines[2] == ["", "RMSE", "SSIM", "RMSE", "SSIM", "RMSE", "SSIM"]
    assert [line[0] for line in lines[3:5]] == ["original", "sigma_0.05"]
    for line, entries in zip(lines[3:5], (table[:3], table[3:])):
        for n, entry in enumerate(entries):
            assert float(line[1 + 2 * n]) == pytest.approx(float(entry["rmse"]), rel=5e-3)
            assert float(line[2 + 2 * n]) == pytest.approx(float(entry["ssim"]), abs=6e-4)
    assert lines[5][:3] == ["model", "sigma", "K"] and lines[8][:3] == ["sigma_0.05", "0.05", "2"]
    assert float(lines[8][-1]) == pytest.approx(float(table[-1]["effect"]), rel=5e-3)


def test_reconstructions_come_back_to_the_scanners_units(run_dirs, results):
    config = directory.open_run(run_dirs[0])
    source = data.source(config, "test")
    with h5py.File(results[0] / "reconstructions.h5") as file:
        assert set(file["models"]) == {"original", "sigma_0.05"} and len(file["slices"]) == 3
        shared, group = file["slices/slice_00001"], file["models/original/slice_00001"]
        assert set(group) == {"clean", "radius_0.5", "radius_1"} and group.attrs[
            "name"
        ] == source.name(1)
        reference = shared["reference"][()] * shared.attrs["scale"]
        np.testing.assert_allclose(reference, np.abs(source[1].reference), rtol=1e-5, atol=1e-7)
        error = np.linalg.norm(group["radius_1"][()] - shared["reference"][()])
        assert (
            shared["zero_filled"][()].max() == pytest.approx(1, rel=1e-5)
            and group["clean"].compression == "gzip"
        )
    (row,) = [
        row
        for row in read_csv(results[0] / "results.csv")
        if (row["model"], row["slice"], row["radius"]) == ("original", "1", "1")
    ]
    assert float(row["rmse"]) == pytest.approx(error, rel=1e-5)


def test_every_file_and_the_table_are_printed(original, tmp_path, capsys):
    # Also: a run without attacks has a clean column only.
    shutil.rmtree(original / "attacks")
    paths = evaluate.evaluate([original], tmp_path / "results")
    printed = capsys.readouterr().out
    assert all(f"wrote {path}\n" in printed for path in paths)
    assert printed.endswith((tmp_path / "results" / "table1.md").read_text())
    lines = table_lines((tmp_path / "results" / "table1.md").read_text())
    assert [cell for cell in lines[0] if cell] == ["model", "clean"]
    assert [row["radius"] for row in read_csv(tmp_path / "results" / "results.csv")] == ["0"] * 3


def test_overrides_change_the_smoothing_alone(run_dirs, tmp_path):
    with pytest.raises(ValueError, match="Received: defence.sigma=0.1"):
        evaluate.evaluate([run_dirs[1]], tmp_path / "results", ["defence.sigma=0.1"])
    smoothed = shutil.copytree(
        run_dirs[1], tmp_path / "smoothed", ignore=shutil.ignore_patterns("attacks")
    )
    evaluate.evaluate([smoothed], tmp_path / "results", ["defence.num_samples=3"])
    assert {row["num_samples"] for row in read_csv(tmp_path / "results" / "results.csv")} == {"3"}


def test_an_override_counts_for_the_runs_that_have_its_key(run_dirs):
    overrides = ["defence.num_samples=3", "data.cache_dir=prepared"]
    original, smoothed = open_candidates(run_dirs, overrides)
    assert smoothed.config.defence.num_samples == 3
    assert original.config.data.cache_dir == smoothed.config.data.cache_dir == "prepared"
    told = "Received: defence.num_samples=3, and no run has it"
    with pytest.raises(ValueError, match=told):
        open_candidates(run_dirs[:1], overrides)
    with pytest.raises(ValueError, match="--set: defence.num_samples must be .* >= 1"):
        open_candidates(run_dirs, ["defence.num_samples=0"])


def without_reference(config, split="train", start=0, step=1):
    nothing = tf.constant(complex(np.nan, np.nan), tf.complex64)
    for inputs, reference in data.pipeline.load(config, split, start, step=step):
        yield inputs, tf.fill(tf.shape(reference), nothing)


@pytest.mark.slow
def test_without_a_reference_the_effect_remains(run_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", without_reference)
    evaluate.evaluate(run_dirs[:1], tmp_path)
    for row in read_csv(tmp_path / "results.csv") + read_csv(tmp_path / "table1.csv"):
        needing_one = ("rmse", "ssim", "nrmse", "psnr", "image_norm", "relative_radius")
        assert {row[key] for key in needing_one} == {""}
        assert float(row["effect"]) > 0 or float(row["radius"]) == 0
    # Flags have a table of their own below.
    lines = table_lines((tmp_path / "table1.md").read_text().split("\nFlags")[0])
    assert lines[0][1::2] == ["clean", "radius 0.5", "radius 1"]
    assert lines[3][1:] == ["-"] * 6 and float(lines[-1][-1]) > 0
    with h5py.File(tmp_path / "reconstructions.h5") as file:
        assert set(file["slices/slice_00000"]) == {"zero_filled"}


def test_a_network_that_answers_with_no_number_is_an_error(original, tmp_path):
    shutil.rmtree(original / "attacks")
    network = network_of(original, directory.open_run(original))
    network.stages[0].data_weight.assign(1e38)
    save_network(network, original)
    with pytest.raises(
        ValueError, match=r"original: the reconstruction of synthetic-0000 \(clean\) is not finite"
    ):
        evaluate.evaluate([original], tmp_path / "results")


def test_an_unfinished_attack_is_an_error(original, tmp_path):
    os.remove(attack_files.attack_path(original, 1.0, 1))
    with pytest.raises(ValueError, match=r"slice_00001.h5 is missing.*attack.py has not finished"):
        evaluate.evaluate([original], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_an_attack_on_another_model_is_an_error_and_nothing_is_written(
    run_dirs, original, tmp_path
):
    shutil.copy(os.path.join(run_dirs[1], "model.keras"), original / "model.keras")
    with pytest.raises(ValueError, match="made for another model"):
        evaluate.evaluate([original], tmp_path / "results")
    assert os.listdir(tmp_path / "results") == []


def test_an_attack_on_other_data_is_an_error(original, tmp_path):
    with h5py.File(attack_files.attack_path(original, 1.0, 2), "r+") as file:
        file.attrs["name"] = "synthetic-0007"
    with pytest.raises(
        ValueError, match="made for the slice 'synthetic-0007'.*test data have changed"
    ):
        evaluate.evaluate([original], tmp_path / "results")


def test_runs_of_different_data_are_an_error_that_names_the_keys(run_dirs, tmp_path):
    other = make_run(
        tmp_path / "other",
        "data.receiver_noise=0.01",
        "sampling.fraction=0.5",
        "model.filters=4",
        attack=False,
    )
    words = r"test data: data.receiver_noise=0.01 \(there: 0.002\), sampling.fraction=0.5"
    with pytest.raises(ValueError, match=words) as error:
        evaluate.evaluate([run_dirs[0], other], tmp_path / "results")
    assert "filters" not in str(error.value)


def test_a_directory_that_is_no_run_stays_untouched(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        evaluate.evaluate([tmp_path / "typo"], tmp_path / "results", ["defence.num_samples=3"])
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_old_results_and_no_partial_file(original, tmp_path, monkeypatch):
    def fail(path, *_):
        with open(path, "w") as file:
            file.write("half")
        raise OSError("no space left")

    shutil.rmtree(original / "attacks")
    output = tmp_path / "results"
    evaluate.evaluate([original], output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    monkeypatch.setattr(curves, "figure2", fail)
    with pytest.raises(ValueError, match="cannot write .*figure2.png: no space"):
        evaluate.evaluate([original], output)
    assert (output / "figure2.png").read_bytes() == before["figure2.png"]
    # Slices that are done wait there for the next call.
    assert set(os.listdir(output)) == {*before, ".unfinished"}


def test_equal_names_are_told_apart():
    assert names_of(["/a/x", "/a/y"]) == ["x", "y"]
    assert names_of(["/a/x", "/b/x/"]) == ["a-x", "b-x"]
    with pytest.raises(ValueError, match="must be different"):
        names_of(["/a/x", "/a/x/."])


def test_a_model_without_a_radius_has_a_dash_there():
    def entry(model, radius, rmse):
        numbers = {
            "rmse": rmse,
            "ssim": 0.5,
            "effect": radius,
            "image_norm": 20.0,
            "num_images": 1,
            "noise": "",
            "gradients": np.nan,
        }
        return {
            "model": model,
            "attack": "l2" if radius else "none",
            "radius": radius,
            "sigma": 0.0,
            "num_samples": 1,
            **numbers,
        }

    lines = table_lines(
        wording.markdown([entry("a", 0.0, 0.0123), entry("a", 2.0, 1234.4), entry("b", 0.0, 33.44)])
    )
    assert lines[0][3] == "radius 2 (10 %)"
    assert lines[3] == ["a", "0.0123", "0.500", "1234", "0.500"]
    assert lines[4] == ["b", "33.4", "0.500", "-", "-"]
    assert lines[-1] == ["b", "0", "-", "-"]


@pytest.mark.slow
def test_runs_with_and_without_prepared_slices_are_compared(original, tmp_path):
    cached = tmp_path / "cached"
    shutil.copytree(original, cached)
    config = directory.open_run(cached)
    config = config.changed({"data.cache_dir": tmp_path / "prepared"})
    (cached / "config.yaml").write_text(config.to_yaml())
    evaluate.evaluate([original, cached], tmp_path / "results")
    assert os.listdir(tmp_path / "prepared")


@pytest.mark.parametrize(
    "settings, left_out",
    [
        ({}, {"data.num_train", "data.cache_dir"}),
        (
            {"data.format": "vlo", "sampling.mask": "random"},
            {"data.train_patients", "data.train_slices", "data.cache_dir"},
        ),
        ({"data.format": "measurement", "sampling.mask": "file"}, {"data.cache_dir"}),
    ],
)
def test_all_keys_of_the_test_data_are_compared(settings, left_out):
    flat = load(settings=settings).flat()
    keys = {key for key in flat if key.startswith(("data.", "sampling."))}
    compared = compared_data(load(settings=settings))
    assert set(compared) == keys - left_out
    assert compared.items() <= flat.items()


def test_of_data_of_two_formats_the_names_are_told(run_dirs, tmp_path):
    scan = {"data.format": "measurement", "data.path": "scan.h5", "sampling.mask": "measured"}
    directory.begin(tmp_path / "other", load(settings=scan))
    words = (
        r"different test data: data.format='measurement' \(there: 'synthetic'\),"
        r" sampling.mask='measured' \(there: 'constant'\). One table"
    )
    with pytest.raises(ValueError, match=words):
        open_candidates([run_dirs[0], str(tmp_path / "other")], ())


# Other attacks, certificates, draws


@pytest.fixture(scope="module")
def smoothed_run(run_dirs, tmp_path_factory):
    """The noisy run with attacks of all kinds."""
    run_dir = shutil.copytree(run_dirs[1], tmp_path_factory.mktemp("kinds") / "smoothed")
    for overrides in (
        ["attacks=antun", "attacks.antun.sizes=[2, 5]"],
        ["attacks.ascent.norm=l1", "attacks.ascent.sizes=20"],
        ["attacks.ascent.norm=linf", "attacks.ascent.sizes=0.02"],
    ):
        attack_run(run_dir, directory.open_run(run_dir, None, overrides))
    return run_dir


@pytest.fixture(scope="module")
def kinds(smoothed_run, tmp_path_factory):
    output, figure4 = tmp_path_factory.mktemp("kinds"), curves.figure4
    with pytest.MonkeyPatch.context() as patch:
        # The others are drawn for `results`.
        draw_pixels(patch)
        patch.setattr(curves, "figure4", figure4)
        evaluate.evaluate([smoothed_run], output)
    return output


@pytest.mark.slow
def test_every_kind_of_attack_has_its_rows_and_its_table(kinds):
    rows = read_csv(kinds / "results.csv")
    found = {(row["attack"], row["radius"], row["steps"]) for row in rows}
    balls = {("l2", "0.5", ""), ("l2", "1", ""), ("l1", "20", ""), ("linf", "0.02", "")}
    assert found == {("none", "0", ""), *balls, ("antun", "", "2"), ("antun", "", "5")}
    text = (kinds / "table1.md").read_text()
    assert "l1 balls" in text and "linf balls" in text and "attack of Antun et al." in text
    assert (kinds / "figure4.png").stat().st_size > 20_000
    with h5py.File(kinds / "reconstructions.h5") as file:
        assert {"clean", "radius_1", "l1_radius_20", "linf_radius_0.02", "antun_5"} <= set(
            file["models/smoothed/slice_00000"]
        )


@pytest.mark.slow
def test_the_report_shows_every_kind_and_commands_that_make_each_attack_again(kinds, smoothed_run):
    text = (kinds / "report.html").read_text()
    for title in ("l2 balls", "l1 balls", "linf balls", "attack of Antun et al."):
        assert f"<h3>{title}</h3>" in text
    (candidate,) = open_candidates([str(smoothed_run)], ())
    train, *others = commands(candidate)
    assert train[:4] == [
        "python",
        "train.py",
        "--config",
        os.path.join(smoothed_run, "config.yaml"),
    ]
    assert train[-1] == f"{smoothed_run}-again"
    made = {}
    for command in others:
        assert command[:4] == ["python", "attack.py", "--run-dir", f"{smoothed_run}-again"]
        config = directory.open_run(smoothed_run, None, command[5:])
        (part,) = config.attacks
        attack = part.make(seed=config.seed)
        model = config.defended(ZeroFilled()).with_draws(part.num_samples)
        for size in attack.sizes:
            made[attack.kind, size] = attack_settings(model, attack, size)
    paths = {
        (kind, size): attack_files.attack_path(smoothed_run, size, 0, kind)
        for kind, size in candidate.attacks
    }
    assert made == {
        attacked: attack_files.read_attack(path)["settings"] for attacked, path in paths.items()
    }
    assert len(made) == 6


@pytest.mark.slow
def test_the_ladder_continues_its_first_rung(smoothed_run):
    config = directory.open_run(smoothed_run)
    model = config.defended(network_of(smoothed_run, config))
    inputs, _ = next(iter(data.load(config, "test")))
    first, second = (
        attack_files.read_attack(attack_files.attack_path(smoothed_run, steps, 0, "antun"))
        for steps in (2, 5)
    )
    attack = PenalisedGradientAscent(seed=config.seed)
    start = Start(first["iterate"][None], first["velocity"][None], 2)
    again = attack.run(model, inputs, 5, start=start)
    np.testing.assert_array_equal(again.perturbation[0], second["perturbation"])
    assert second["settings"]["steps"] == 5 and second["norm"] == pytest.approx(
        np.linalg.norm(second["perturbation"])
    )


def test_the_two_attacks_are_compared_at_equal_norm():
    def row(attack, norm, effect):
        return {"model": "m", "slice": 0, "attack": attack, "norm": norm, "effect": effect}

    rows = [
        row("none", 0, 0),
        row("l2", 1, 2),
        row("l2", 3, 4),
        row("antun", 0.5, 0.8),
        row("antun", 2, 3.5),
        row("antun", 5, 9),
    ]
    pairs = aggregate.compare_attacks(rows)
    np.testing.assert_allclose([pair.projected for pair in pairs], [np.nan, 3, np.nan])
    text = wording.comparison_text(pairs)
    assert (
        "stronger in 0 of 1 cases" in text
        and "2 of 3 cases are outside the radii: ||r||_2 from 0.5 to 5" in text
    )


@pytest.mark.slow
def test_a_certificate_is_computed_from_what_is_in_the_table(kinds):
    claims = {(row["attack"], row["size"]): row for row in read_csv(kinds / "certificates.csv")}
    rows = read_csv(kinds / "results.csv")
    diameter = np.sqrt(2) * max(float(row["draw_norm"]) for row in rows)
    claim, group = claims["l2", "1"], [row for row in rows if row["radius"] == "1"]
    distance = np.mean([float(row["kspace_norm"]) for row in group])
    assert float(claim["diameter"]) == pytest.approx(diameter, rel=1e-6)
    assert float(claim["lipschitz"]) == pytest.approx(
        diameter / (np.sqrt(2 * np.pi) * 0.05), rel=1e-6
    )
    assert float(claim["distance"]) == pytest.approx(distance, rel=1e-6)
    assert float(claim["bound"]) == pytest.approx(
        diameter * erf(distance / (2 * np.sqrt(2) * 0.05)), rel=1e-6
    )
    assert all(float(row["bound"]) >= float(row["effect"]) for row in claims.values())
    lines = table_lines((kinds / "table1.md").read_text())
    weakest = min(
        float(row["total_variation"]) for row in claims.values() if row["attack"] != "none"
    )
    assert lines[-1][0] == "smoothed" and lines[-1][-1] == ("yes" if weakest < 0.5 else "no")


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_after_its_last_slice(
    smoothed_run, kinds, tmp_path, monkeypatch
):
    done = []
    measure_slice = measure.measure_slice

    def stop_at_the_third(candidate, case, loaded):
        if case.index == 2 and len(done) == 2:
            raise KeyboardInterrupt
        done.append(case.index)
        return measure_slice(candidate, case, loaded)

    monkeypatch.setattr(measure, "measure_slice", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate([smoothed_run], tmp_path)
    assert not (tmp_path / "results.csv").exists()
    done.append("again")
    evaluate.evaluate([smoothed_run], tmp_path)
    assert done == [0, 1, "again", 2]
    assert (tmp_path / "results.csv").read_text() == (kinds / "results.csv").read_text()
    assert sorted(os.listdir(tmp_path)) == sorted(os.listdir(kinds))


@pytest.mark.slow
def test_slices_of_an_earlier_evaluation_with_other_settings_are_not_used(
    smoothed_run, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(paper, "figure1", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate.evaluate([smoothed_run], tmp_path)
    evaluate.evaluate([smoothed_run], tmp_path, ["defence.num_samples=3"])
    assert {row["num_samples"] for row in read_csv(tmp_path / "results.csv")} == {"3"}


@pytest.mark.slow
def test_the_spread_falls_with_the_root_of_the_number_of_draws(run_dirs, tmp_path, capsys):
    paths = sweep.sample_sweep(run_dirs, tmp_path, [1, 4, 16])
    assert sorted(os.path.basename(path) for path in paths) == [
        "num_samples.csv",
        "num_samples.md",
        "num_samples.png",
    ]
    rows = read_csv(tmp_path / "num_samples.csv")
    # The run without noise has no draws.
    assert [(row["model"], row["num_samples"]) for row in rows] == [
        ("sigma_0.05", n) for n in ["1", "4", "16"]
    ]
    spread = [float(row["spread"]) for row in rows]
    np.testing.assert_allclose([spread[0] / spread[1], spread[1] / spread[2]], 2, rtol=0.2)
    assert all(float(row["rmse_attacked"]) > 0 and float(row["radius"]) == 1 for row in rows)
    assert (tmp_path / "num_samples.md").read_text() in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_over_draws_equals_an_evaluation_with_that_many(run_dirs, results, tmp_path):
    sweep.sample_sweep(run_dirs[1:], tmp_path, [2])
    (row,) = read_csv(tmp_path / "num_samples.csv")
    table = [
        entry for entry in read_csv(results[0] / "table1.csv") if entry["model"] == "sigma_0.05"
    ]
    assert float(row["rmse_clean"]) == pytest.approx(float(table[0]["rmse"]), rel=1e-5)
    assert float(row["rmse_attacked"]) == pytest.approx(float(table[-1]["rmse"]), rel=1e-5)
    assert float(row["effect"]) == pytest.approx(float(table[-1]["effect"]), rel=1e-5)


def test_a_sweep_is_alone_in_its_folder(run_dirs, tmp_path):
    with (
        locks.alone(tmp_path, "evaluates into it"),
        pytest.raises(ValueError, match="is in use"),
    ):
        sweep.sample_sweep(run_dirs, tmp_path, [1])
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_the_results_say_that_maps_may_know_what_the_mask_removes(run_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "maps_origin", lambda config: "those of the test")
    evaluate.evaluate(run_dirs[:1], tmp_path)
    assert "Coil maps: those of the test." in (tmp_path / "table1.md").read_text()
    with h5py.File(tmp_path / "reconstructions.h5", "r") as file:
        assert file.attrs["coil_maps"] == "those of the test"


def test_a_sweep_needs_noise_and_draws(run_dirs, tmp_path):
    with pytest.raises(ValueError, match="a run whose defence makes draws.* None of these has."):
        sweep.sample_sweep(run_dirs[:1], tmp_path, [1])
    with pytest.raises(ValueError, match="must be >= 1"):
        sweep.sample_sweep(run_dirs, tmp_path, [0])


@pytest.mark.slow
def test_a_sweep_leaves_runs_without_noise_untouched(run_dirs, original, tmp_path):
    os.remove(original / "model.keras")
    before = tree(original)
    sweep.sample_sweep([original, run_dirs[1]], tmp_path / "out", [1])
    assert tree(original) == before
    assert [row["model"] for row in read_csv(tmp_path / "out" / "num_samples.csv")] == [
        "sigma_0.05"
    ]


def test_a_sweep_loads_a_network_after_all_checks_and_after_the_one_before(
    run_dirs, tmp_path, monkeypatch
):
    other = shutil.copytree(run_dirs[1], tmp_path / "other")
    calls = []
    monkeypatch.setattr(sweep, "load", lambda candidate, _: calls.append("load"))
    monkeypatch.setattr(sweep, "_sweep_run", lambda *_: calls.append("sweep") or [])
    monkeypatch.setattr(sweep, "_write", lambda rows, output: rows)
    sweep.sample_sweep([run_dirs[1], other], tmp_path / "out", [1])
    assert calls == ["load", "sweep", "load", "sweep"]
    os.remove(attack_files.attack_path(other, 1.0, 0))
    with pytest.raises(ValueError, match="attack.py has not finished"):
        sweep.sample_sweep([run_dirs[1], other], tmp_path / "out", [1])
    assert len(calls) == 4


def test_the_norm_in_a_certificate_is_that_of_single_draws_not_of_their_mean(run_dirs, results):
    config = directory.open_run(run_dirs[1])
    model = config.defended(network_of(run_dirs[1], config))
    inputs, _ = next(iter(data.load(config, "test")))
    mean, _, norm, _ = model.statistics(inputs)
    np.testing.assert_allclose(mean, model.reconstruct(inputs), rtol=0, atol=1e-6)
    assert float(norm[0]) > float(tf.norm(mean))
    model.num_samples = 1
    first = float(tf.norm(model.reconstruct(inputs)))
    # Of two draws, a and (a + b) / 2 are known, so b is.
    second = float(tf.norm(2 * mean - model.reconstruct(inputs)))
    assert float(norm[0]) == pytest.approx(max(first, second), rel=1e-5)
    (row,) = [
        r
        for r in read_csv(results[0] / "results.csv")
        if (r["model"], r["slice"], r["radius"]) == ("sigma_0.05", "0", "0")
    ]
    assert float(row["draw_norm"]) == pytest.approx(float(norm[0]), rel=1e-5)


@pytest.mark.slow
def test_slices_are_evaluated_again_when_their_data_have_changed(original, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(paper, "figure1", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate.evaluate([original], tmp_path)
    source = type(data.source(directory.open_run(original), "test"))
    monkeypatch.setattr(source, "fingerprint", lambda self, index: ({"changed": True}, []))
    done = []
    measure_slice = measure.measure_slice
    monkeypatch.setattr(measure, "measure_slice", lambda *a: done.append(0) or measure_slice(*a))
    evaluate.evaluate([original], tmp_path)
    assert len(done) == 3


@pytest.mark.slow
def test_files_of_an_earlier_table_do_not_stay_beside_a_new_one(run_dirs, tmp_path):
    evaluate.evaluate(run_dirs, tmp_path)
    assert "certificates.csv" in os.listdir(tmp_path)
    shutil.copy(tmp_path / "figure2.png", tmp_path / "figure4.png")
    evaluate.evaluate(run_dirs[:1], tmp_path)
    assert not {"certificates.csv", "figure4.png"} & set(os.listdir(tmp_path))


# What is not ours


def tree(folder):
    """Every file below a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", [*writing.FILES, ".unfinished"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder"])
def test_what_evaluate_did_not_write_is_never_replaced(original, tmp_path, name, kind, monkeypatch):
    output, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    output.mkdir()
    elsewhere.write_text("precious")
    if kind == "file":
        (output / name).write_text("precious")
    elif kind == "folder":
        if name == ".unfinished":
            pytest.skip("that one is a folder")
        (output / name).mkdir()
        (output / name / "x").write_text("precious")
    else:
        (output / name).symlink_to(elsewhere if kind == "link" else tmp_path / "none")
    before = tree(tmp_path)
    monkeypatch.setattr(evaluate, "_gather", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(ValueError, match=f"{name} is (there, and is no earlier result|a link)"):
        evaluate.evaluate([original], output)
    assert tree(tmp_path) == before


def test_a_scan_called_like_a_result_is_a_scan(original, tmp_path):
    with h5py.File(tmp_path / "reconstructions.h5", "w") as file:
        file["kspace"] = np.ones((2, 8, 8), "c8")
    with pytest.raises(ValueError, match="reconstructions.h5 is there, and is no earlier result"):
        evaluate.evaluate([original], tmp_path)
    with h5py.File(tmp_path / "reconstructions.h5") as file:
        assert list(file) == ["kspace"]


@pytest.mark.slow
def test_results_may_be_made_anew_also_through_a_link(run_dirs, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for _ in range(2):
        evaluate.evaluate(run_dirs, tmp_path / "link")
    # Of an attack with a ladder, with a target, and of volumes.
    optional = {"figure4.png", "figure6.png", "targets.png", "volumes.csv"}
    assert set(os.listdir(tmp_path / "real")) == set(writing.FILES) - optional
    for name in sweep.FILES:
        (tmp_path / "real" / name).write_text("mine")
        with pytest.raises(ValueError, match=f"{name} is there, and is no earlier"):
            sweep.sample_sweep(run_dirs, tmp_path / "real", [1])
        (tmp_path / "real" / name).unlink()
    for _ in range(2):
        sweep.sample_sweep(run_dirs, tmp_path / "real", [1])


def test_a_file_in_place_of_the_folder_of_results_is_named(original, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output, words in (
        ("file", "is a file"),
        ("file/below", "cannot make the folder.*Not a directory"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluate.evaluate([original], tmp_path / output)


# Other data, other numbers


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "change",
    [
        lambda kspace, maps: (kspace[:, ::-1], maps[:, ::-1]),
        lambda kspace, maps: (kspace * np.exp(0.3j), maps),
        lambda kspace, maps: (kspace[::-1], maps[::-1]),
        lambda kspace, maps: (kspace + 0.01 * kspace[::-1], maps),
        lambda kspace, maps: (kspace, np.roll(maps, 1, -1)),
    ],
    ids=[
        "upside down",
        "a phase",
        "coils in another order",
        "one hundredth of another",
        "maps moved",
    ],
)
def test_other_data_of_the_same_name_and_scale_are_refused(original, tmp_path, monkeypatch, change):
    load = data.load

    def changed(*arguments, **settings):
        for inputs, reference in load(*arguments, **settings):
            pair = change(inputs["kspace"][0].numpy(), inputs["sensitivity_maps"][0].numpy())
            for key, array in zip(("kspace", "sensitivity_maps"), pair):
                inputs[key] = tf.convert_to_tensor(array[None].astype("c8"))
            yield inputs, reference

    monkeypatch.setattr(data, "load", changed)
    with pytest.raises(
        ValueError, match="slice_00000.h5: made for other data than these.* differ by about .* %"
    ):
        evaluate.evaluate([original], tmp_path / "results")


def test_rounding_is_no_change_of_the_data(original):
    config = directory.open_run(original)
    inputs, _ = next(iter(data.load(config, "test")))
    inputs = {key: inputs[key].numpy() for key in inputs}
    rng = np.random.default_rng(0)
    signature = signature_of(inputs)
    noisy = {
        **inputs,
        "kspace": (
            inputs["kspace"] * (1 + 1e-4 * rng.standard_normal(inputs["kspace"].shape).astype("f4"))
        ),
    }
    assert distance(signature, signature_of(noisy)) < TOLERANCE / 3
    path = attack_files.attack_path(original, 1.0, 0)
    attack_files.read_attack(path, signature=signature_of(noisy))
    # Files of before there was one are read with what is known.
    with h5py.File(path, "r+") as file:
        del file.attrs["signature"]
    attack_files.read_attack(path, signature=2 * signature)


def test_an_attack_is_not_taken_for_one_of_another_radius(original, tmp_path):
    shutil.rmtree(attack_files.attack_dir(original, 1.0))
    shutil.copytree(attack_files.attack_dir(original, 0.5), attack_files.attack_dir(original, 1.0))
    with pytest.raises(
        ValueError, match="holds an attack of l2 0.5, and its folder is that of l2 1"
    ):
        evaluate.evaluate([original], tmp_path / "results")


@pytest.mark.slow
def test_a_damaged_slice_of_an_unfinished_evaluation_is_evaluated_again(
    original, tmp_path, monkeypatch
):
    whole, output = tmp_path / "whole", tmp_path / "results"
    evaluate.evaluate([original], whole)
    with monkeypatch.context() as patch:
        patch.setattr(paper, "figure1", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate.evaluate([original], output)
    first, second, third = sorted(output.glob(".unfinished/*/*.h5"))
    with h5py.File(first, "r+") as file:
        file["clean"][...] *= 2
    with h5py.File(second, "r+") as file:
        file.attrs["rows"] = file.attrs["rows"].replace("rmse", "rsme")
    third.write_bytes(b"no HDF5")
    evaluate.evaluate([original], output)
    assert (output / "results.csv").read_text() == (whole / "results.csv").read_text()
    assert not (output / ".unfinished").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size, again", [(1e-6, 0), (0.1, 3)])
def test_slices_that_are_done_count_where_the_data_differ_by_rounding_alone(
    original, tmp_path, monkeypatch, size, again
):
    with monkeypatch.context() as patch:
        patch.setattr(paper, "figure1", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate.evaluate([original], tmp_path / "results")
    asked = []
    monkeypatch.setattr(signature, "signature_of", lambda inputs: signature_of(inputs) * (1 + size))

    def measured(*_):
        asked.append(True)
        return {"clean": np.zeros((2, 2))}, []

    monkeypatch.setattr(measure, "measure_slice", measured)
    config = directory.open_run(original)
    (candidate,), source = open_candidates([original], ()), data.source(config, "test")
    network = network_of(original, config)
    loaded = measure.Loaded(network, network, model_hash(network))
    kept = Kept(tmp_path / "results" / ".unfinished")
    for case in cases(config, source):
        evaluate.Evaluation(candidate, source, loaded, kept).evaluated(case)
    assert len(asked) == again


def test_a_mean_over_fewer_slices_says_so(run_dirs, tmp_path, monkeypatch):
    load = data.load

    def one_empty(*arguments, **settings):
        for inputs, reference in load(*arguments, **settings):
            is_empty = inputs["sample_index"][0] == 1
            yield inputs, tf.zeros_like(reference) if is_empty else reference

    monkeypatch.setattr(data, "load", one_empty)
    evaluate.evaluate(run_dirs[:1], tmp_path)
    lines = table_lines((tmp_path / "table1.md").read_text())
    # An empty image has no SSIM, and an error.
    assert all(cell.endswith(" (2)") for cell in lines[3][2::2]) and not any(
        "(" in cell for cell in lines[3][1::2]
    )
    assert "(n): a mean over n slices alone" in (tmp_path / "table1.md").read_text()
    assert {
        (row["num_rmse"], row["num_ssim"], row["num_images"])
        for row in read_csv(tmp_path / "table1.csv")
    } == {("3", "2", "3")}
    assert (
        "★" not in (tmp_path / "report.html").read_text().split("<tbody>")[1].split("</tbody>")[0]
    )


@pytest.mark.slow
def test_other_norms_tell_the_l2_norm_beside_the_effect(kinds):
    table = {(row["attack"], row["radius"]): row for row in read_csv(kinds / "table1.csv")}
    text = (kinds / "table1.md").read_text()
    for kind, radius in (("l1", "20"), ("linf", "0.02")):
        title = f"Mean perturbation effect, and mean ||r||_2, {kind} balls"
        assert title in text
        cell = table_lines(text.split(title)[1])[2][-1]
        entry = table[kind, radius]
        assert [float(part) for part in cell.split(", ")] == pytest.approx(
            [float(entry["effect"]), float(entry["norm"])], rel=5e-3
        )


# Names

HOSTILE = [
    "=1+2",
    "@SUM(A1)",
    "-1",
    "$run\\frac$",
    "a|b",
    "two\nlines",
    "_low",
    "100 % {x} [y]",
    "Müller 腦",
    "x" * 200,
]


@pytest.mark.slow
def test_names_stay_names(run_dirs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in HOSTILE:
        shutil.copytree(
            run_dirs[0],
            tmp_path / name,
            ignore=shutil.ignore_patterns("logs", *["attacks"] * (name > "A")),
        )
    evaluate.evaluate([os.path.join(".", name) for name in HOSTILE], "results")
    rows = read_csv(tmp_path / "results" / "results.csv")
    names = list(dict.fromkeys(row["model"] for row in rows))
    assert names == [f"'{name}" if name[0] in "=@-" else name for name in HOSTILE]
    assert not any(
        text[:1] in "=+-@"
        for row in rows
        for text in row.values()
        if text and not text[0].isdigit()
    )
    lines = table_lines((tmp_path / "results" / "table1.md").read_text().replace("\\|", "/"))
    assert [line[0] for line in lines[3 : 3 + len(HOSTILE)]] == [
        name.replace("|", "/").replace("\n", " ") for name in HOSTILE
    ]
    assert len({len(line) for line in lines[: 3 + len(HOSTILE)]}) == 1


@pytest.mark.parametrize("name", [b"bytes\xff", os.fsdecode(b"not-utf8-\xff")])
def test_names_that_are_no_text_are_refused_before_any_work(original, tmp_path, name):
    for run_dirs, output in (([name], tmp_path / "results"), ([original], name)):
        with pytest.raises(ValueError, match="must be text in UTF-8. Received: "):
            evaluate.evaluate(run_dirs, output)
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        directory.open_run(name, os.devnull)
    assert os.listdir(tmp_path) == ["original"]


def test_attacks_of_one_kind_have_one_setting(original):
    with pytest.raises(ValueError, match=r"made with other settings.*steps=9 \(there: 2\)"):
        attack_run(
            original,
            directory.open_run(
                original, None, ["attacks.ascent.steps=9", "attacks.ascent.sizes=2"]
            ),
        )
    assert attack_files.attacks_of(original) == [("l2", 0.5), ("l2", 1.0)]


def test_a_diverged_attack_is_not_stored(original):
    config = directory.open_run(
        original, None, ["attacks=antun", "attacks.antun.step_size=1e30", "attacks.antun.sizes=8"]
    )
    with pytest.raises(ValueError, match="has diverged"):
        attack_run(original, config)
    assert not any(kind == "antun" for kind, _ in attack_files.attacks_of(original))


def test_attacks_on_the_truth_need_one(original, monkeypatch):
    monkeypatch.setattr(data, "load", without_reference)
    config = directory.open_run(original, None, ["attacks=antun", "attacks.antun.reference=truth"])
    with pytest.raises(ValueError, match="has no ground truth"):
        attack_run(original, config)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_a_ladder_is_one_attack_with_stops(run_dirs, original, sigma):
    run_dir = original if not sigma else run_dirs[1]
    config = directory.open_run(run_dir)
    model = config.defended(network_of(run_dir, config))
    inputs, _ = next(iter(data.load(config, "test")))
    attack = PenalisedGradientAscent(step_size=0.05)
    whole = attack.run(model, inputs, 4)
    first = attack.run(model, inputs, 1)
    start = Start(first.perturbation, first.velocity, 1)
    second = attack.run(model, inputs, 4, start=start)
    np.testing.assert_allclose(second.perturbation, whole.perturbation, rtol=0, atol=1e-6)
