"""`python -m tfvn`: a scan in a file to images in files, and a network to a SavedModel."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfvn
import tfvn.__main__ as command_line
from tfvn import cli, drafts
from tfvn.__main__ import main
from tfvn.commands import COMMANDS, smoothing
from tfvn.defences.smoothing import Smoothed

SCALE = 3e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`scan.h5`, two undersampled slices at a scanner's scale, with `maps.npy`; `full.npy` with
    `mask.npy`; `model.keras`.
    """
    folder = tmp_path_factory.mktemp("main")
    knees = tfvn.data.SyntheticKnee(2, 32, 24, 3, None, 0.001, 0)
    mask = tfvn.physics.masks.equispaced(24, acceleration=3.0, center_fraction=0.34)
    kspace, maps = (
        np.stack([getattr(slice, name) for slice in knees])
        for name in ("kspace", "sensitivity_maps")
    )
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"] = (
            np.complex64(SCALE)
            * kspace
            * mask.astype("f4")
            * np.array([1, 2], "f4")[:, None, None, None]
        )
        # As fastMRI's files have them.
        file["ismrmrd_header"] = "<xml/>"
    np.save(folder / "maps.npy", maps)
    np.save(folder / "full.npy", kspace[0])
    np.save(folder / "mask.npy", mask)
    (folder / "folder.h5").mkdir()
    with h5py.File(folder / "mask.h5", "w") as file:
        file["mask"], file["ismrmrd_header"] = mask, "<xml/>"
    np.save(folder / "small.npy", kspace[0, :, :5, :6])
    np.save(folder / "nan.npy", np.stack([kspace[0], kspace[1] * np.nan]))
    network = tfvn.models.variational.VariationalNetwork(
        num_stages=2, filters=3, kernel_size=5, num_centers=7
    )
    network.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="module")
def network(folder):
    return tfvn.load_model(folder / "model.keras")


@pytest.fixture
def run(folder, monkeypatch):
    """A function that runs a command in the folder, split at spaces."""
    monkeypatch.chdir(folder)
    return lambda command: main(command.split())


def inputs_of(folder, number):
    with h5py.File(folder / "scan.h5", "r") as file:
        kspace = file["kspace"][number]
    maps, mask = np.load(folder / "maps.npy")[number], (kspace != 0).any((0, 1)).astype("f4")
    return {"kspace": kspace[None], "sensitivity_maps": maps[None], "mask": mask[None, None, None]}


SMOOTHED = (
    "reconstruct scan.h5 --maps maps.npy --model model.keras --smooth 0.1 --samples 3 --seed 5"
)


@pytest.fixture(scope="module")
def smoothed(folder):
    """What `-o smooth.h5 smooth.png` of both slices wrote: arrays, attributes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(f"{SMOOTHED} -o smooth.h5 smooth.png".split()) == 0
    with h5py.File(folder / "smooth.h5", "r") as file:
        return {name: file[name][()] for name in file}, dict(file.attrs)


@pytest.mark.slow
def test_every_slice_is_that_of_the_network_at_the_scans_own_scale(folder, run, network, capsys):
    assert run("reconstruct scan.h5 --maps maps.npy --model model.keras -o plain.h5") == 0
    assert "wrote plain.h5" in capsys.readouterr().out
    with h5py.File(folder / "plain.h5", "r") as file:
        assert sorted(file) == ["reconstruction", "zero_filled"] and "num_samples" not in file.attrs
        assert (
            file["reconstruction"].shape == (2, 32, 24)
            and file["reconstruction"].dtype == np.float32
        )
        for number in (0, 1):
            inputs = inputs_of(folder, number)
            zero_filled = network.zero_filled(inputs).numpy()
            scale = np.abs(zero_filled).max()
            assert file.attrs["scale"][number] == pytest.approx(scale, rel=1e-5) and scale < 1e-4
            expected = (
                scale * network.reconstruct({**inputs, "zero_filled": zero_filled / scale})[0]
            )
            np.testing.assert_allclose(
                file["reconstruction"][number], expected, rtol=0, atol=1e-5 * scale
            )
            np.testing.assert_allclose(
                file["zero_filled"][number], np.abs(zero_filled[0]), rtol=0, atol=1e-5 * scale
            )


@pytest.mark.slow
def test_smoothed_it_has_the_mean_and_the_deviation_of_the_draws(folder, network, smoothed):
    arrays, attributes = smoothed
    model = Smoothed(network, 0.1, 3, seed=5)
    inputs = inputs_of(folder, 1)
    scale = attributes["scale"][1]
    inputs["zero_filled"] = network.zero_filled(inputs) / scale
    expected = model.statistics(inputs, model.keys([1]))
    images = {"reconstruction": expected.mean, "standard_deviation": expected.deviation}
    for name, image in images.items():
        np.testing.assert_allclose(arrays[name][1], scale * image[0], rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
def test_the_file_tells_what_it_was_made_of(network, smoothed):
    _, attributes = smoothed
    expected = dict(source="scan.h5", mask="measured", model="model.keras")
    expected.update(sensitivity_maps="from maps.npy, which may know what the mask removes")
    expected.update(
        defence="smoothed",
        sigma=0.1,
        num_samples=3,
        noise="gaussian",
        seed=5,
        model_hash=tfvn.runs.models.model_hash(network),
    )
    expected.update(
        command=f"python -m tfvn {SMOOTHED} -o smooth.h5 smooth.png",
        tensorflow_version=tf.__version__,
    )
    assert {key: attributes[key] for key in expected} == expected
    np.testing.assert_array_equal(attributes["slices"], [0, 1])


@pytest.mark.slow
def test_images_share_one_window_that_is_written_in_them(folder, smoothed):
    arrays, _ = smoothed
    magnitude = arrays["reconstruction"]
    white = np.percentile(magnitude, 99.9)
    for number in (0, 1):
        with Image.open(folder / f"smooth_{number:03d}.png") as image:
            assert (image.mode, image.size) == ("L", (24, 32))
            assert image.info["Comment"] == f"grey 0 to 255: magnitude 0 to {white:g}"
            np.testing.assert_allclose(
                np.asarray(image), np.minimum(magnitude[number] / white, 1) * 255, rtol=0, atol=0.51
            )
        with Image.open(folder / f"smooth_{number:03d}_std.png") as image:
            assert image.width == 2100


def test_a_network_of_double_precision_takes_the_same_scan(folder, run, network):
    exact = tfvn.models.variational.VariationalNetwork(
        **{**network.get_config(), "dtype": "float64", "name": "exact"}
    )
    exact.set_weights(network.get_weights())
    exact.save(folder / "exact.keras")
    for name in ("exact", "model"):
        assert (
            run(f"reconstruct scan.h5 --maps maps.npy --model {name}.keras --slices 0 -o {name}.h5")
            == 0
        )
    with h5py.File("exact.h5", "r") as found, h5py.File("model.h5", "r") as expected:
        image = expected["reconstruction"][()]
        np.testing.assert_allclose(
            found["reconstruction"][()], image, rtol=0, atol=1e-5 * image.max()
        )


def test_one_slice_is_the_same_alone_and_has_one_image(folder, run, smoothed):
    assert run(f"{SMOOTHED} --slices 1 -o one/alone.h5 one/alone.png") == 0
    with h5py.File(folder / "one" / "alone.h5", "r") as file:
        np.testing.assert_array_equal(file["reconstruction"][0], smoothed[0]["reconstruction"][1])
        np.testing.assert_array_equal(
            file["standard_deviation"][0], smoothed[0]["standard_deviation"][1]
        )
        np.testing.assert_array_equal(file.attrs["slices"], [1])
    assert sorted(os.listdir(folder / "one")) == ["alone.h5", "alone.png", "alone_std.png"]


def test_a_full_scan_can_be_undersampled_and_halved(folder, run, capsys):
    assert (
        run(
            "reconstruct full.npy --mask mask.npy --model model.keras --readout-oversampling -o"
            " half.h5"
        )
        == 0
    )
    assert "full.npy: 1 slice of 3 coils, 32 x 24" in capsys.readouterr().out
    with h5py.File(folder / "half.h5", "r") as file:
        assert file["reconstruction"].shape == (1, 16, 24)
        assert (
            file.attrs["mask"] == "mask.npy" and "8 centre lines" in file.attrs["sensitivity_maps"]
        )
        half = file["zero_filled"][0]
    assert run("reconstruct full.npy --mask mask.h5 --model model.keras -o whole.h5") == 0
    with h5py.File(folder / "whole.h5", "r") as file:
        np.testing.assert_allclose(half, file["zero_filled"][0, 9:25], rtol=0, atol=1e-6)


def test_what_is_there_is_overwritten_only_with_force(folder, run, capsys):
    shutil.copy(folder / "model.keras", folder / "there.h5")
    command = "reconstruct full.npy --model model.keras -o there.h5"
    assert run(command) == 2
    assert "there.h5: there already" in capsys.readouterr().err
    assert not h5py.is_hdf5(folder / "there.h5")
    assert run(f"{command} --force") == 0
    assert h5py.is_hdf5(folder / "there.h5")


def test_interrupted_it_leaves_nothing(folder, run, monkeypatch, capsys):
    before, read = sorted(os.listdir(folder)), []
    original = tfvn.data.normalise

    def interrupt(*arguments):
        read.append(arguments)
        if len(read) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(tfvn.data, "normalise", interrupt)
    assert run("reconstruct scan.h5 --maps maps.npy --model model.keras -o cut.h5 cut.png") == 130
    assert "Nothing was written" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == before and len(read) == 2


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize(
    "command, message",
    [
        ("reconstruct none.h5 --model model.keras -o out.h5", "no such file: none.h5"),
        (
            "reconstruct scan.h5 --model none.keras -o out.h5",
            "none.keras: there is no such model file",
        ),
        (
            "reconstruct scan.h5 --model model.keras -o out.dcm",
            "an output ends in .h5 or .png. Received: out.dcm",
        ),
        (
            "reconstruct scan.h5 --model model.keras --slices 1-2 -o out.h5",
            "the file holds the slices 0 to 1",
        ),
        (
            "reconstruct scan.h5 --model model.keras --maps full.npy --slices 1 -o out.h5",
            "the file holds 1 slices",
        ),
        (
            "reconstruct scan.h5 --model model.keras --calibration-lines 24 -o out.h5",
            "--calibration-lines=24 must be 0 or",
        ),
        (
            "reconstruct scan.h5 --model model.keras --maps maps.npy --mask maps.npy -o out.h5",
            "the mask must have shape",
        ),
        (
            "reconstruct scan.h5 --model model.keras --smooth -1 -o out.h5",
            "--smooth must be a number >= 0. Received: --smooth=-1.0",
        ),
        (
            "reconstruct scan.h5 --model model.keras --smooth 1 --samples 1 -o out.h5",
            "needs --samples >= 2",
        ),
        (
            "reconstruct scan.h5 --model model.keras --smooth 1 --noise red -o out.h5",
            "--noise must be one of",
        ),
        (
            "reconstruct scan.h5 --model model.keras --samples 8 -o out.h5",
            "they need --smooth SIGMA",
        ),
        ("export model.keras --smooth 0 --seed 1 -o out.h5", "they need --smooth SIGMA"),
        (
            "reconstruct nan.npy --model model.keras -o out.h5",
            "slice 1: nan.npy: kspace must be finite",
        ),
        (
            "reconstruct small.npy --model model.keras -o out.h5",
            "small.npy: height and width of an image are 8 or more",
        ),
        # Told before the model is read.
        (
            "reconstruct scan.h5 --model none --force -o ./scan.h5",
            "./scan.h5 is read, so it cannot be an output",
        ),
        ("reconstruct scan.h5 --model none -o out.h5 out.h5", "out.h5 would be written twice"),
        (
            "reconstruct scan.h5 --model none --slices 0 --smooth 1 -o a.png a_std.png",
            "a_std.png would be written twice",
        ),
        ("reconstruct scan.h5 --model none --force -o .h5", "an output ends in .h5 or .png"),
        ("reconstruct scan.h5 --model none -o scan.h5/new/out.h5", "scan.h5: Not a directory"),
        ("reconstruct scan.h5 --model none --force -o folder.h5", "folder.h5 is a folder"),
        (
            "reconstruct folder.h5 --model model.keras -o out.h5",
            "folder.h5 is a folder. Name a file: .h5, .npy or .mat.",
        ),
        (
            "reconstruct scan.h5 --maps folder.h5 --model model.keras -o out.h5",
            "folder.h5 is a folder. Name a file",
        ),
        (
            "reconstruct scan.h5 --model model.keras --coil-axis -9 -o out.h5",
            "--coil-axis must be an axis of the file",
        ),
        ("reconstruct scan.h5 --model model.keras --coil-axis 9 -o out.h5", "--coil-axis=9"),
        (
            "reconstruct scan.h5 --model model.keras --slices 7 -o out.h5",
            "slices 0 to 1. Received: --slices=7",
        ),
        (
            "reconstruct scan.h5 --model none --smooth 1 --seed 2147483648 -o out.h5",
            "--seed must be a number < 2147483648",
        ),
        (
            "export model.keras --smooth nan -o out.h5",
            "--smooth must be a finite number, such as 0.05, 1e-3 or 10. Received: --smooth=nan",
        ),
        ("export none.keras -o out.h5", "none.keras: there is no such model file"),
        ("export model.keras --smooth 1 --samples 1 -o out.h5", "needs --samples >= 2"),
    ],
)
def test_wrong_input_ends_in_one_clear_sentence(folder, run, capsys, command, message):
    assert run(command) == 2
    # Behind a progress bar.
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (folder / "out.h5").exists() and not list(folder.rglob("*.partial-*"))


def test_the_exported_network_is_smoothed_as_asked(run, network, monkeypatch, capsys):
    exported = []
    monkeypatch.setattr(tfvn.tools.serving, "export", lambda *arguments: exported.append(arguments))
    assert (
        run(
            "export model.keras --smooth 0.2 --samples 2 --noise laplace --seed 7 -o models/knee/1"
            " --force"
        )
        == 0
    )
    assert "wrote models/knee/1" in capsys.readouterr().out
    assert run("export model.keras -o plain") == 0
    # A run directory stands for the model that it was trained for.
    os.mkdir("smoothed")
    shutil.copy("model.keras", "smoothed")
    settings = tfvn.config.load(
        settings={
            "training.recipe": {"name": "noise", "sigma": 0.3},
            "defence": {"name": "smoothed", "sigma": 0.3, "num_samples": 5, "law": "uniform"},
            "seed": 2,
        }
    )
    Path("smoothed", "config.yaml").write_text(settings.to_yaml())
    for flags in ("", " --samples 6", " --smooth 0"):
        assert run(f"export smoothed -o own{flags}") == 0
    assert (
        "smoothed stands for its network with the defence smoothed: sigma 0.3, num_samples 5"
        in capsys.readouterr().out
    )
    own, more, unsmoothed = (model for model, *_ in exported[2:])
    assert (own.sigma, own.num_samples, own.law, own.seed) == (0.3, 5, "uniform", 2)
    assert (more.sigma, more.num_samples) == (0.3, 6) and isinstance(unsmoothed, type(network))
    (model, *where), (plain, *elsewhere) = exported[:2]
    assert (model.sigma, model.num_samples, model.law, model.seed) == (0.2, 2, "laplace", 7)
    assert where == ["models/knee/1", True] and elsewhere == ["plain", False]
    digest = tfvn.runs.models.model_hash(network)
    assert tfvn.runs.models.model_hash(model.model) == digest
    assert tfvn.runs.models.model_hash(plain) == digest


@pytest.mark.parametrize(
    "words",
    [
        "-o out.h5 scan.h5",
        "-o out.h5 out.png scan.h5",
        "-o out.png --output out.h5 scan.h5",
        "scan.h5 -o out.h5 out.png",
        "-o out.h5 -- scan.h5",
        "-o out.h5 full.npy",
    ],
)
def test_the_scan_may_stand_behind_the_outputs(run, monkeypatch, words):
    written = []
    monkeypatch.setattr(
        tfvn.tools.reconstruction,
        "write",
        lambda *given: written.append((given[1].data.path, given[3])),
    )
    assert run(f"reconstruct --model model.keras {words}") == 0
    ((scan, outputs),) = written
    expected = [word for word in words.split() if word.startswith("out")]
    assert scan in ("scan.h5", "full.npy") and scan in words and outputs == expected


@pytest.mark.parametrize(
    "command, message",
    [
        ("reconstruct --model model.keras -o out.h5", "SCAN is missing, the file of k-space"),
        (
            "reconstruct --model model.keras -o out.h5 out.png",
            "SCAN is missing, the file of k-space",
        ),
        ("reconstruct scan.h5 -o out.h5", "required: --model"),
        ("reconstruct scan.h5 --model model.keras", "required: -o/--output"),
        (
            "reconstruct scan.h5 --model model.keras -o out.h5 full.npy",
            "unrecognized arguments: full.npy",
        ),
        (
            "reconstruct scan.h5 --model model.keras --model b.keras -o out.h5",
            "--model: given twice",
        ),
        ("export model.keras -o a -o b", "-o/--output: given twice"),
        (
            "reconstruct scan.h5 --model model.keras -o out.h5 --seed 1:30",
            "invalid int value: '1:30'",
        ),
        (
            "reconstruct scan.h5 --model model.keras --slices x -o out.h5",
            "error: --slices: expected numbers such as",
        ),
        (
            "reconstruct scan.h5 --model model.keras --slices 0,0 -o out.h5",
            "--slices: expected different numbers",
        ),
        (
            "reconstruct scan.h5 --model model.keras --slices 0-99999999999 -o out.h5",
            "--slices: expected at most 1000000",
        ),
    ],
)
def test_a_wrong_command_line_is_told(run, capsys, command, message):
    with pytest.raises(SystemExit) as ended:
        run(command)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_run_with_a_wrong_configuration_is_told_by_its_file(run, capsys):
    os.makedirs("broken", exist_ok=True)
    Path("broken", "config.yaml").write_text("defence: {name: smoothed, sigma: abc}\n")
    assert run("export broken -o out.h5") == 2
    told = "error: broken/config.yaml: defence.sigma must be a number >= 0"
    assert told in capsys.readouterr().err


def test_errors_speak_of_flags_and_leave_sentences_and_names_of_files_alone():
    told = smoothing.with_flags
    for text, expected in (
        (
            "Set coil_axis to the axis. Received: seed=-1",
            "Set --coil-axis to the axis. Received: --seed=-1",
        ),
        ("Set data.coil_axis (--coil-axis) to 1", "Set --coil-axis to 1"),
        (
            "defence.sigma must be >= 0. Received: defence.sigma=-1",
            "--smooth must be >= 0. Received: --smooth=-1",
        ),
        ("exchange them (data.transpose, --transpose)", "exchange them (--transpose)"),
        ("needs num_samples >= 2", "needs --samples >= 2"),
    ):
        assert told(text) == expected
    for text in (
        "the noise and the seed of sigma",
        "coil_axis.h5: no such file",
        "a/num_samples.npy",
        "data.path/scan.h5: no such file",
        "no such file: x/data.path",
        "sampling.mask: measured",
        "a sigma of 3",
    ):
        assert told(text) == text


def test_told_in_flags_nothing_is_a_configuration_key():
    flags = set(re.findall(r"--[a-z-]+", " ".join(smoothing.FLAGS.values())))
    known = drafts.all_keys(tfvn.config.SECTIONS)
    assert set(smoothing.FLAGS) - {"slices"} <= set(known)
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
        main(["reconstruct", "--help"])
    assert all(flag in text.getvalue() for flag in flags)


def test_alone_it_lists_its_commands_and_nothing_else():
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "tfvn"], capture_output=True, text=True, check=True, env=environment
    )
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{command.summary}$", done.stdout, re.M)
    assert done.stderr == ""


def test_an_unknown_command_is_told_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "invalid choice: 'trian' (choose from " in error
    assert all(name in error for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_where_keys_are_listed_where_a_command_takes_some(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    flags, _, after = text.partition(cli.SECTIONS_HELP)
    assert ended.value.code == 0 and "  -h, --help" in flags
    assert after.strip() == ""
    assert (cli.SECTIONS_HELP in text) == ("  --set SECTION.KEY=VALUE" in text)
    assert max(len(line) for line in cli.SECTIONS_HELP.splitlines()) < 80
    # All of them are there, and no key.
    named = re.findall(r"\w+", cli.SECTIONS_HELP)
    assert set(tfvn.config.SECTIONS) <= set(named)
    assert "num_stages" not in text


def test_the_installed_program_ends_with_the_exit_code_and_the_rest_is_not_interrupted(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tfvn", "export", "none.keras", "-o", "out"])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            command_line.entry()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    assert ended.value.code == 2
    setup = Path(command_line.__file__).resolve().parents[1] / "setup.py"
    assert '"tfvn = tfvn.__main__:entry"' in setup.read_text(encoding="utf-8")
